//! Reading what is published: zero-copy slices, and positioned reads for cold data.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{
    config::{DelayLevels, DispatchRules},
    scan::Scan,
    state::{LogState, find},
};
use crate::{
    protocol::message::record::{self, Peek},
    store::{
        error::StoreError,
        fs::{FileRef, OpenMode, read_through},
        mapped,
        tails::Anchor,
    },
};

/// A piece of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Physical offset of the first byte.
    pub offset: i64,
    /// Bytes.
    pub len: usize,
}

impl Range {
    /// Physical offset of the byte behind the last.
    pub fn end(&self) -> i64 {
        self.offset + self.len as i64
    }
}

/// Reads a commit log; clones share everything.
///
/// All offsets are physical offsets: bytes since the beginning of the log's history.
#[derive(Debug, Clone)]
pub struct CommitLogReader {
    pub(super) state: Arc<LogState>,
}

impl CommitLogReader {
    /// Byte after the last whole record: the log's max offset.
    pub fn end(&self) -> i64 {
        self.state.end.get()
    }

    /// Bytes below this survive a power loss.
    pub fn flushed(&self) -> i64 {
        self.state.flushed.get()
    }

    /// The first byte that is still there; equal to [`end`](Self::end) in an empty log.
    pub fn min_offset(&self) -> i64 {
        self.state.min.get()
    }

    /// Store time (ms) of the newest record; 0 when not known.
    pub fn end_timestamp(&self) -> i64 {
        self.state.end_timestamp.get()
    }

    /// Store time (ms) of a record that is on disk with all before it: what the checkpoint's
    /// physicMsgTimestamp may be.
    pub fn flushed_timestamp(&self) -> i64 {
        self.state.flushed_timestamp.get()
    }

    /// Whether an fsync failed for good, so that nothing is written until the next start.
    pub fn is_poisoned(&self) -> bool {
        self.state.is_poisoned()
    }

    /// Length of each segment, in bytes.
    pub fn segment_len(&self) -> u64 {
        self.state.config.segment_len
    }

    /// The delay levels that tags codes of scheduled messages are computed with.
    pub fn delay_levels(&self) -> &DelayLevels {
        &self.state.config.dispatch.delay_levels
    }

    /// What decides which queues a record enters.
    pub fn dispatch_rules(&self) -> &Arc<DispatchRules> {
        &self.state.config.dispatch
    }

    /// Physical offset of the segment that holds `offset`, whether or not it exists.
    pub fn segment_start(&self, offset: i64) -> i64 {
        offset - offset.rem_euclid(self.state.config.segment_len as i64)
    }

    /// A zero-copy slice out of a mapping. `None` below the min offset, beyond the end, across two
    /// segments, or when the file cannot be mapped.
    ///
    /// Looking at the bytes may wait for the disk, see [`resident`](Self::resident).
    pub fn slice(&self, offset: i64, len: usize) -> Option<Bytes> {
        let end = offset.checked_add(i64::try_from(len).ok()?)?;
        if offset < self.min_offset() || end > self.end() {
            return None;
        }
        let segments = self.state.segments.load();
        let segment = find(&segments, offset)?;
        if end > segment.end() {
            return None;
        }
        match segment.slice(segment.position(offset), len) {
            Ok(slice) => Some(slice),
            Err(error) => {
                log::error!("store/commit_log cannot read offset={offset} len={len}: {error}");
                None
            }
        }
    }

    /// The whole record at `offset`, zero-copy. `None` where no record starts or it is not whole.
    ///
    /// Only the record's size and magic number are looked at, not its CRC.
    pub fn record_at(&self, offset: i64) -> Option<Bytes> {
        match record::peek(&self.slice(offset, record::BLANK_LEN)?) {
            Peek::Record { size } => self.slice(offset, size),
            _ => None,
        }
    }

    /// Store time (ms) of the record at `offset`; `None` where no record starts.
    pub fn store_timestamp_at(&self, offset: i64) -> Option<i64> {
        record::peek_store_timestamp(&self.record_at(offset)?)
    }

    /// Reads into `buf` with a positioned read, which reports a bad disk as an error where a
    /// mapping would raise a signal. Returns how much was read: less than `buf` at the log's end
    /// or at the end of a segment, 0 below the min offset.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read_at(&self, offset: i64, buf: &mut [u8]) -> Result<usize, StoreError> {
        self.read_with(offset, buf, |file, buf, at| file.read_at(buf, at))
    }

    /// Copies ranges, one behind the other, without waiting for a disk; `None` when they are not all in
    /// memory, or not in the log any more.
    ///
    /// Where a slice has the kernel map each page into this process, and a page that went meanwhile
    /// stops the thread that looks at it, this costs a copy and never waits.
    ///
    /// # Errors
    /// [`StoreError::Io`], of kind `Unsupported` where the file system cannot tell what is in memory.
    pub fn copy_in_memory(&self, ranges: &[Range]) -> Result<Option<Bytes>, StoreError> {
        self.copy_with(ranges, read_in_memory)
    }

    /// As [`read_at`](Self::read_at), without waiting for a disk: reads up to what is not in memory.
    ///
    /// # Errors
    /// As [`copy_in_memory`](Self::copy_in_memory).
    pub fn read_in_memory_at(&self, offset: i64, buf: &mut [u8]) -> Result<usize, StoreError> {
        self.read_with(offset, buf, read_in_memory)
    }

    /// Copies ranges, one behind the other, by way of the page cache; `None` when they are not in the log
    /// any more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn copy(&self, ranges: &[Range]) -> Result<Option<Bytes>, StoreError> {
        self.copy_with(ranges, |file, buf, at| file.read_at(buf, at))
    }

    fn copy_with(
        &self,
        ranges: &[Range],
        read: impl Fn(&FileRef, &mut [u8], u64) -> io::Result<usize>,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut copy = vec![0; ranges.iter().map(|range| range.len).sum()];
        let mut rest = &mut copy[..];
        for range in ranges {
            let (part, behind) = rest.split_at_mut(range.len);
            if self.read_with(range.offset, part, &read)? < range.len {
                return Ok(None);
            }
            rest = behind;
        }
        Ok(Some(copy.into()))
    }

    fn read_with(
        &self,
        offset: i64,
        buf: &mut [u8],
        read: impl FnOnce(&FileRef, &mut [u8], u64) -> io::Result<usize>,
    ) -> Result<usize, StoreError> {
        if offset < self.min_offset() {
            return Ok(0);
        }
        let segments = self.state.segments.load();
        let Some(segment) = find(&segments, offset) else {
            return Ok(0);
        };
        let readable = self.end().min(segment.end()).saturating_sub(offset).max(0);
        let len = buf
            .len()
            .min(usize::try_from(readable).unwrap_or(usize::MAX));
        read(&segment.file()?, &mut buf[..len], segment.position(offset))
            .map_err(|e| StoreError::io("read", segment.path(), e))
    }

    /// Opens the segment that starts at an offset for reads past the page cache
    /// ([`OpenMode::Direct`]); `None` when it is gone.
    pub(super) fn open_direct(&self, segment_start: i64) -> Result<Option<FileRef>, StoreError> {
        let segments = self.state.segments.load();
        let Some(segment) = find(&segments, segment_start) else {
            return Ok(None);
        };
        let open = self.state.fs.open(segment.path(), OpenMode::Direct);
        open.map(Some)
            .map_err(|e| StoreError::io("open", segment.path(), e))
    }

    /// Whether a range is in memory, so that reading it does not wait for a disk. `true` also where
    /// there is nothing to read.
    pub fn resident(&self, offset: i64, len: usize) -> bool {
        self.slice(offset, len)
            .is_none_or(|slice| mapped::resident(&slice))
    }

    /// Whether all of several ranges is; see [`Self::resident`].
    pub fn all_resident(&self, ranges: &[Range]) -> bool {
        ranges
            .iter()
            .all(|range| self.resident(range.offset, range.len))
    }

    /// Asks the kernel to bring a range into memory soon.
    pub fn will_need(&self, offset: i64, len: usize) {
        if let Some(slice) = self.slice(offset, len) {
            mapped::will_need(&slice);
        }
    }

    /// Brings a range into memory, which waits for the disk, through `piece`, whose content is of no use.
    /// What cannot be read is left out.
    pub fn bring(&self, range: Range, piece: &mut [u8]) {
        read_through(piece, range.len, |piece, done| {
            self.read_at(range.offset + done as i64, piece)
        });
    }

    /// Walks the records from `from`, which has to be the start of a record (or of a blank or of a
    /// segment), up to `to`, with positioned reads; bodies are checked against their CRC if the
    /// configuration says so.
    pub fn scan(&self, from: i64, to: i64) -> Scan {
        let check_crc = self.state.config.check_crc_on_recover;
        self.scan_with(from, to, check_crc)
    }

    /// As [`scan`](Self::scan), with a say on checking CRCs.
    pub fn scan_with(&self, from: i64, to: i64, check_crc: bool) -> Scan {
        let segments = self.state.segments.load_full();
        let rules = self.dispatch_rules().clone();
        Scan::new(segments, from, to.min(self.end()), check_crc, rules)
    }

    /// Ties a snapshot of the queues' tails to the end of the given record, the last one that the
    /// snapshot covers. `None` when no record is there any more.
    pub fn anchor(&self, last_record: i64) -> Option<Anchor> {
        let record = self.record_at(last_record)?;
        Some(Anchor {
            log_end: last_record + record.len() as i64,
            last_record: Some(last_record),
            last_store_timestamp: record::peek_store_timestamp(&record)?,
        })
    }

    /// Unmaps what was not read since the last call, and closes files of which nothing is mapped
    /// and everything flushed, while more than `open_max` are open. Called now and then.
    pub fn release_cold(&self, open_max: usize) {
        let segments = self.state.segments.load();
        segments.iter().for_each(|s| s.unmap_unused());
        let mut open = segments.iter().filter(|s| s.is_open()).count();
        let flushed = self.flushed();
        for segment in segments.iter().filter(|s| s.end() <= flushed) {
            if open <= open_max {
                break;
            }
            segment.close_if_unmapped();
            open -= usize::from(!segment.is_open());
        }
    }

    /// The directories that hold the log.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.state.config.dirs
    }
}

fn read_in_memory(file: &FileRef, buf: &mut [u8], at: u64) -> io::Result<usize> {
    match file.read_in_memory_at(buf, at) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::commit_log::{
        CommitLogWriter, RecoverFrom,
        testing::{Place, unit},
    };

    #[test]
    fn ranges_are_copied_from_memory_or_after_they_were_brought() {
        let place = Place::new();
        let mut config = place.config();
        config.segment_len = 1 << 20;
        let from = RecoverFrom::default();
        let (mut writer, _) = CommitLogWriter::recover(&place.fs, config, &from).unwrap();
        let mut units: Vec<_> = (0..4).map(|at| unit(400_000, at)).collect();
        writer.append(&mut units, 1).unwrap();
        let log = writer.reader();
        let (segment, end) = (1 << 20, log.end());
        let ranges = [(segment, 1000), (7, 500_000), (end - 9, 9)];
        let ranges = ranges.map(|(offset, len)| Range { offset, len });
        let expected: Vec<u8> = ranges
            .iter()
            .flat_map(|range| log.slice(range.offset, range.len).unwrap())
            .collect();
        let copy = |ranges: &[Range]| log.copy_in_memory(ranges).unwrap();
        assert_eq!(copy(&ranges).unwrap(), expected);

        writer.flusher().flush(end).unwrap();
        for offset in [0, segment] {
            let file = std::fs::File::open(log.path_of(offset).unwrap()).unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        // A file system in memory has nothing to bring.
        assert!(copy(&ranges).is_none_or(|copy| copy == expected));
        let mut piece = [0; 4096];
        ranges
            .iter()
            .for_each(|range| log.bring(*range, &mut piece));
        assert_eq!(copy(&ranges).unwrap(), expected);
        assert_eq!(log.copy(&ranges).unwrap().unwrap(), expected);

        assert_eq!(copy(&[]).unwrap(), Bytes::new());
        for (offset, len) in [(end - 9, 10), (segment - 5, 10), (-1, 1)] {
            assert_eq!(copy(&[Range { offset, len }]), None, "{offset}");
            assert_eq!(log.copy(&[Range { offset, len }]).unwrap(), None);
        }
    }
}
