//! Appending: the only code that changes the log's bytes while it is in use.

use std::{
    io::IoSlice,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::{
    cutter::pieces_between,
    reader::CommitLogReader,
    segment::Segment,
    state::{LogState, find},
    tail::{quarantine_rest, quarantine_segment},
};
use crate::{
    protocol::message::record::{self, Peek},
    store::error::StoreError,
};

pub(super) use record::BLANK_LEN;

/// Whole records of one queue that have to lie in one segment: one record, or those of one batch.
///
/// They are encoded already, with zeros for queue offset, physical offset and store time.
pub trait AppendUnit {
    /// The records, one after the other.
    fn bytes(&self) -> &[u8];

    /// The same, to be patched.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Queue offset of the first record; each further one gets one more. 0 for half and rolled back
    /// messages.
    fn queue_offset(&self) -> i64;

    /// Called once the bytes are in the file and before the log's end is published: the place to
    /// move the queue's next offset. Must not block.
    fn stored(&mut self, physical_offset: i64, store_timestamp: i64);
}

/// The plain [`AppendUnit`].
#[derive(Debug)]
pub struct Pending {
    /// The encoded records.
    pub bytes: BytesMut,
    /// Queue offset of the first one.
    pub queue_offset: i64,
    /// Where the first one was stored; -1 until then.
    pub physical_offset: i64,
}

impl Pending {
    /// Records to be appended.
    pub fn new(bytes: BytesMut, queue_offset: i64) -> Self {
        Self {
            bytes,
            queue_offset,
            physical_offset: -1,
        }
    }
}

impl AppendUnit for Pending {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn queue_offset(&self) -> i64 {
        self.queue_offset
    }

    fn stored(&mut self, physical_offset: i64, _store_timestamp: i64) {
        self.physical_offset = physical_offset;
    }
}

/// An append that stopped half way.
#[derive(Debug, Error)]
#[error("appended {appended} units, then: {source}")]
pub struct AppendError {
    /// This many units, from the first on, are stored and published.
    pub appended: usize,
    /// Why the next one is not. [`StoreError::Invalid`] concerns that one unit only.
    pub source: StoreError,
}

/// The one who appends. On a master it lays out records; on a slave it takes raw bytes.
#[derive(Debug)]
pub struct CommitLogWriter {
    pub(super) state: Arc<LogState>,
    /// The segment that `end` lies in or at the end of; `None` in an empty log.
    current: Option<Arc<Segment>>,
}

impl CommitLogWriter {
    /// A writer that goes on at the published end.
    pub(super) fn new(state: Arc<LogState>) -> Self {
        let current = state.segments.load().last().cloned();
        Self { state, current }
    }

    /// A reader of this log.
    pub fn reader(&self) -> CommitLogReader {
        CommitLogReader {
            state: self.state.clone(),
        }
    }

    /// Byte after the last whole record.
    pub fn end(&self) -> i64 {
        self.state.end.get()
    }

    /// Whether a unit of this many bytes can be stored in a segment at all.
    pub fn fits(&self, len: usize) -> bool {
        (len as u64).saturating_add(BLANK_LEN as u64) <= self.state.config.segment_len
    }

    /// Appends units in order: gives them physical offsets, patches them, writes each run that lies
    /// in one segment with one system call, and publishes the end.
    ///
    /// A run is all or nothing: after an error its bytes are wiped and nothing of it is published,
    /// so later appends work once the cause is gone.
    ///
    /// # Errors
    /// How many units were stored, and why the others were not: [`StoreError::Full`],
    /// [`StoreError::Io`], [`StoreError::Invalid`] or [`StoreError::Poisoned`].
    pub fn append<U: AppendUnit>(
        &mut self,
        units: &mut [U],
        store_timestamp: i64,
    ) -> Result<(), AppendError> {
        let mut appended = 0;
        while let Some(rest) = units.get_mut(appended..).filter(|rest| !rest.is_empty()) {
            match self.append_run(rest, store_timestamp) {
                Ok(count) => appended += count,
                Err(source) => return Err(AppendError { appended, source }),
            }
        }
        Ok(())
    }

    /// Appends as many units as fit in the current segment, after rolling to the next one when not
    /// even the first does. Returns how many.
    fn append_run<U: AppendUnit>(
        &mut self,
        units: &mut [U],
        store_timestamp: i64,
    ) -> Result<usize, StoreError> {
        self.check_usable()?;
        let Some(first) = units.first() else {
            return Ok(0);
        };
        let first_len = first.bytes().len();
        if !self.fits(first_len) {
            let what = format!("{first_len} bytes that have to lie in one segment");
            return Err(StoreError::invalid(what));
        }
        let segment = self.segment_with_room(first_len)?;
        let start = self.end();
        let (count, run_end) = lay_out(units, start, segment.end(), store_timestamp)?;
        let Some(run) = units.get_mut(..count) else {
            return Ok(0);
        };
        let mut slices = Vec::with_capacity(count);
        slices.extend(run.iter().map(|unit| IoSlice::new(unit.bytes())));
        let written = segment
            .file()?
            .write_vectored_at(&slices, segment.position(start));
        if let Err(error) = written {
            self.state.unclean_until.set(run_end);
            // Tried again before the next append when it fails now.
            let _ = self.wipe();
            return Err(StoreError::io("write", segment.path(), error));
        }
        let mut offset = start;
        for unit in run {
            let len = unit.bytes().len() as i64;
            unit.stored(offset, store_timestamp);
            offset += len;
        }
        self.publish(run_end, store_timestamp);
        Ok(count)
    }

    /// The segment to append `len` bytes to: the current one, or the next when they do not fit.
    fn segment_with_room(&mut self, len: usize) -> Result<Arc<Segment>, StoreError> {
        let end = self.end();
        let Some(current) = self.current.clone() else {
            return self.roll(end);
        };
        if end + (len + BLANK_LEN) as i64 <= current.end() {
            return Ok(current);
        }
        self.roll(current.end())
    }

    /// Goes to the segment that starts at `start`: the prepared one if it is that, else a new one.
    /// It is durable before it is published; a current segment is closed with a blank first.
    fn roll(&mut self, start: i64) -> Result<Arc<Segment>, StoreError> {
        let state = self.state.clone();
        // Held until the segment is published: the preparer looks at the last one under this lock.
        let mut prepared = state.prepared();
        let next = match prepared.take() {
            Some(segment) if segment.start() == start => segment,
            _ => state.create_segment(start)?,
        };
        if let Some(current) = &self.current
            && let Err(error) = self.write_blank(current)
        {
            *prepared = Some(next);
            return Err(error);
        }
        state.push_segment(&next);
        drop(prepared);
        if self.current.is_none() {
            state.min.set(start);
            state.flushed.set(start);
        }
        state.end.set(start);
        self.current = Some(next.clone());
        Ok(next)
    }

    /// Closes a segment: space left and magic, if there is room for them at all.
    fn write_blank(&self, segment: &Segment) -> Result<(), StoreError> {
        let end = self.end();
        let left = segment.end() - end;
        if left < BLANK_LEN as i64 {
            return Ok(());
        }
        let blank = encode_blank(left);
        let written = segment.file()?.write_at(&blank, segment.position(end));
        written.map_err(|error| {
            self.state.unclean_until.set(end + BLANK_LEN as i64);
            let _ = self.wipe();
            StoreError::io("write", segment.path(), error)
        })
    }

    fn publish(&self, end: i64, store_timestamp: i64) {
        self.state.end.set(end);
        self.state.end_timestamp.set(store_timestamp);
    }

    /// Refuses work after a failed fsync, and wipes what an earlier failed write left behind.
    fn check_usable(&self) -> Result<(), StoreError> {
        if self.state.is_poisoned() {
            return Err(StoreError::Poisoned);
        }
        self.wipe()
    }

    /// Makes everything from the end to `unclean_until` read as zeros: else the remains of a refused
    /// record could look like a stored one after a crash.
    pub(super) fn wipe(&self) -> Result<(), StoreError> {
        let (end, unclean_until) = (self.end(), self.state.unclean_until.get());
        if unclean_until <= end {
            return Ok(());
        }
        let segments = self.state.segments.load();
        if let Some(segment) = find(&segments, end) {
            let len = (unclean_until.min(segment.end()) - end) as u64;
            segment
                .file()?
                .zero(segment.position(end), len)
                .map_err(|e| StoreError::io("wipe", segment.path(), e))?;
        }
        self.state.unclean_until.set(0);
        Ok(())
    }

    /// Appends raw bytes of a master's log at exactly `offset`, which has to be the end (in an empty
    /// log: the start of a segment). The pieces follow one another; they may cross segments and need
    /// not end at a record.
    ///
    /// Returns the new end. Bytes up to it are published, also when a later part fails.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the offset does not fit; else as [`append`](Self::append).
    pub fn append_raw(&mut self, offset: i64, pieces: &[Bytes]) -> Result<i64, StoreError> {
        self.check_usable()?;
        let segment_len = self.state.config.segment_len as i64;
        let expected = match &self.current {
            Some(_) => self.end(),
            None if offset >= 0 && offset % segment_len == 0 => offset,
            None => {
                let what = format!("raw bytes at {offset} in an empty log, not at a segment start");
                return Err(StoreError::invalid(what));
            }
        };
        if offset != expected {
            let what = format!("raw bytes at {offset} where the log ends at {expected}");
            return Err(StoreError::invalid(what));
        }
        let end = offset + pieces.iter().map(|piece| piece.len() as i64).sum::<i64>();
        let mut at = offset;
        while at < end {
            let segment = match &self.current {
                Some(current) if at < current.end() => current.clone(),
                _ => self.roll(at)?,
            };
            let until = end.min(segment.end());
            let part = pieces_between(pieces, offset, at, until);
            let slices: Vec<_> = part.iter().map(|piece| IoSlice::new(piece)).collect();
            let written = segment
                .file()?
                .write_vectored_at(&slices, segment.position(at));
            if let Err(error) = written {
                self.state.unclean_until.set(until);
                let _ = self.wipe();
                return Err(StoreError::io("write", segment.path(), error));
            }
            at = until;
            self.state.end.set(at);
        }
        Ok(self.end())
    }

    /// Takes the bytes of a record that is not whole yet off the end of a slave's log: `boundary` is
    /// where that record begins. They come again with the next connection to the master.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the log ends at the boundary nevertheless.
    pub fn cut_back(&mut self, boundary: i64) -> Result<(), StoreError> {
        let end = self.end();
        if boundary >= end {
            return Ok(());
        }
        self.state.unclean_until.set(end);
        self.state.end.set(boundary);
        self.state
            .flushed
            .set(self.state.flushed.get().min(boundary));
        self.wipe()
    }

    /// Ends the log at `boundary`, where a record ends. What is behind is kept beside the log; yields
    /// the files that it is in now. Nobody else may use the log meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the log has then lost its last segments, or nothing.
    pub fn truncate(&mut self, boundary: i64) -> Result<Vec<PathBuf>, StoreError> {
        let segments = self.state.segments.load_full();
        let mut kept_in = Vec::new();
        // The last one first: a failure in between leaves a log without a gap.
        for (number, segment) in segments.iter().enumerate().rev() {
            if segment.end() <= boundary {
                break;
            }
            if number > 0 && segment.start() >= boundary {
                kept_in.push(quarantine_segment(&self.state.fs, segment)?);
                self.state
                    .segments
                    .store(Arc::new(segments.iter().take(number).cloned().collect()));
                continue;
            }
            let position = segment.position(boundary);
            kept_in.push(quarantine_rest(&self.state.fs, segment, position)?);
            let file = segment.file()?;
            file.zero(position, segment.len() - position)
                .and_then(|()| file.sync_data())
                .map_err(|e| StoreError::io("wipe", segment.path(), e))?;
        }
        self.state.end.set(boundary);
        self.state.flushed.set(boundary);
        self.current = self.state.segments.load().last().cloned();
        Ok(kept_in)
    }

    /// Tells the store time of the newest record among raw bytes, for the checkpoint's sake.
    pub fn note_store_timestamp(&self, store_timestamp: i64) {
        self.state.end_timestamp.set(store_timestamp);
    }

    /// Ends the log: removes a segment that was prepared and not used, as Java's broker expects
    /// after a clean stop.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the log is whole nevertheless.
    pub fn close(self) -> Result<(), StoreError> {
        let mut prepared = self.state.prepared();
        let Some(segment) = prepared.take() else {
            return Ok(());
        };
        segment.remove()
    }

    /// Whether an fsync failed for good.
    pub fn is_poisoned(&self) -> bool {
        self.state.poisoned.load(Ordering::Acquire)
    }
}

/// Gives as many units as fit before `segment_end` their offsets and patches their records.
/// Returns how many, and the physical offset after the last.
fn lay_out<U: AppendUnit>(
    units: &mut [U],
    start: i64,
    segment_end: i64,
    store_timestamp: i64,
) -> Result<(usize, i64), StoreError> {
    let mut offset = start;
    let mut count = 0;
    for unit in units {
        let len = unit.bytes().len() as i64;
        if offset + len + BLANK_LEN as i64 > segment_end {
            break;
        }
        let queue_offset = unit.queue_offset();
        match patch_unit(unit.bytes_mut(), queue_offset, offset, store_timestamp) {
            Ok(()) => {}
            // The units before are stored first; the bad one is then the first of the next run.
            Err(_) if count > 0 => break,
            Err(error) => return Err(error),
        }
        offset += len;
        count += 1;
    }
    Ok((count, offset))
}

/// Patches each record of a unit.
fn patch_unit(
    bytes: &mut [u8],
    queue_offset: i64,
    physical_offset: i64,
    store_timestamp: i64,
) -> Result<(), StoreError> {
    let mut at = 0;
    let mut number = 0;
    while at < bytes.len() || number == 0 {
        let rest = bytes.get_mut(at..).unwrap_or_default();
        let record = match record::peek(rest) {
            Peek::Record { size } => rest.get_mut(..size),
            _ => None,
        };
        let Some(record) = record else {
            let what = format!("bytes that are not a whole record at {at} of a unit");
            return Err(StoreError::invalid(what));
        };
        at += record.len();
        let physical = physical_offset + (at - record.len()) as i64;
        record::patch_record(record, queue_offset + number, physical, store_timestamp);
        number += 1;
    }
    Ok(())
}

/// The bytes that close a segment: the space left and the blank magic, two big-endian ints.
fn encode_blank(space_left: i64) -> [u8; BLANK_LEN] {
    let space_left = i32::try_from(space_left).unwrap_or(i32::MAX);
    let long = (i64::from(space_left) << 32) | i64::from(record::MAGIC_BLANK as u32);
    long.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{EMPTY_LEN, Place, SEGMENT_LEN, unit};
    use super::*;

    fn bodies(reader: &CommitLogReader) -> Vec<(i64, i64, i32)> {
        let scan = reader.scan(reader.min_offset(), reader.end());
        let all: Result<Vec<_>, _> = scan.collect();
        let tell = |s: crate::store::ScannedRecord| {
            (
                s.record.physical_offset,
                s.record.queue_offset,
                s.record.size,
            )
        };
        all.unwrap().into_iter().map(tell).collect()
    }

    #[test]
    fn an_empty_log_has_no_files() {
        let place = Place::new();
        let (writer, report) = place.open_clean();
        let reader = writer.reader();
        assert_eq!(
            (reader.min_offset(), reader.end(), reader.flushed()),
            (0, 0, 0)
        );
        assert!(reader.slice(0, 1).is_none());
        assert!(reader.segments().unwrap().is_empty());
        assert_eq!(report.records, 0);
        assert!(!place.dir.path().join("commitlog").exists());
    }

    #[test]
    fn a_batch_goes_over_segments_with_a_blank_between() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let reader = writer.reader();
        let mut units: Vec<_> = (0..10).map(|i| unit(900, i)).collect();
        writer.append(&mut units, 123).unwrap();
        let len = (900 + EMPTY_LEN) as i64;
        for (i, unit) in units.iter().enumerate() {
            let i = i as i64;
            // 4 records of 996 bytes leave 112: too little for another one
            let expected = (i / 4) * SEGMENT_LEN as i64 + (i % 4) * len;
            assert_eq!(unit.physical_offset, expected);
            let record = reader.record_at(expected).unwrap();
            assert_eq!(record[..], unit.bytes[..]);
            assert_eq!(reader.store_timestamp_at(expected), Some(123));
        }
        assert_eq!(bodies(&reader).len(), 10);
        assert_eq!(reader.end(), 2 * SEGMENT_LEN as i64 + 2 * len);
        let blank = reader.slice(4 * len, 8).unwrap();
        assert_eq!(blank[..4], 112_i32.to_be_bytes());
        assert_eq!(blank[4..], [0xCB, 0xD4, 0x31, 0x94]);
        assert!(reader.slice(4000, 200).is_none(), "across segments");
        assert!(
            reader.slice(reader.end() - 1, 2).is_none(),
            "beyond the end"
        );
        assert!(reader.record_at(1).is_none());
        let mut buf = [0; 5000];
        assert_eq!(reader.read_at(4090, &mut buf).unwrap(), 6);
        assert_eq!(reader.read_at(reader.end(), &mut buf).unwrap(), 0);
        assert!(reader.resident(0, 4000));
    }

    #[test]
    fn a_unit_of_several_records_stays_in_one_segment() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let mut first = [unit(3000, 0)];
        writer.append(&mut first, 1).unwrap();
        let mut joined = unit(500, 0);
        joined.queue_offset = 40;
        joined.bytes.extend_from_slice(&unit(600, 0).bytes);
        let mut units = [joined];
        writer.append(&mut units, 2).unwrap();
        let start = SEGMENT_LEN as i64;
        assert_eq!(units[0].physical_offset, start);
        let second = start + (500 + EMPTY_LEN) as i64;
        let found = bodies(&writer.reader());
        assert_eq!(found[1].1, 40);
        assert_eq!(found[2], (second, 41, (600 + EMPTY_LEN) as i32));
    }

    #[test]
    fn the_largest_record_leaves_room_for_a_blank() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let body = SEGMENT_LEN as usize - 8 - EMPTY_LEN;
        assert!(writer.fits(body + EMPTY_LEN));
        assert!(!writer.fits(body + EMPTY_LEN + 1));
        writer
            .append(&mut [unit(body, 0), unit(body, 1)], 1)
            .unwrap();
        assert_eq!(writer.end(), 2 * SEGMENT_LEN as i64 - 8);
        let error = writer.append(&mut [unit(1, 2), unit(body + 1, 3)], 1);
        let error = error.unwrap_err();
        assert_eq!(error.appended, 1);
        assert!(matches!(error.source, StoreError::Invalid { .. }));
        assert_eq!(bodies(&writer.reader()).len(), 3);
    }

    #[test]
    fn a_unit_that_is_no_record_is_refused_alone() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        for bad in [&b""[..], b"short", &[0; 200], &unit(9, 0).bytes[..100]] {
            let bad = Pending::new(BytesMut::from(bad), 0);
            let error = writer.append(&mut [unit(5, 0), bad, unit(5, 1)], 1);
            let error = error.unwrap_err();
            assert_eq!(error.appended, 1);
            assert!(matches!(error.source, StoreError::Invalid { .. }));
        }
        assert_eq!(bodies(&writer.reader()).len(), 4);
    }

    #[test]
    fn raw_bytes_make_the_same_log() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let mut units: Vec<_> = (0..30).map(|i| unit(50 * i as usize, i)).collect();
        writer.append(&mut units, 9).unwrap();
        let reader = writer.reader();
        let slave = Place::new();
        let (mut copy, _) = slave.open_clean();
        let wrong = copy.append_raw(7, &[Bytes::from_static(b"x")]);
        assert!(matches!(wrong, Err(StoreError::Invalid { .. })));
        let mut buf = [0; 777];
        let mut at = 0;
        while at < reader.end() {
            let read = reader.read_at(at, &mut buf).unwrap();
            at = copy
                .append_raw(
                    at,
                    &[
                        Bytes::copy_from_slice(&buf[..read / 2]),
                        Bytes::copy_from_slice(&buf[read / 2..read]),
                    ],
                )
                .unwrap();
        }
        // The beginning of a record that never came whole is taken back.
        let torn = Bytes::copy_from_slice(&units[29].bytes[..60]);
        copy.append_raw(at, &[torn]).unwrap();
        copy.cut_back(at).unwrap();
        assert_eq!(copy.end(), at);
        assert!(
            copy.append_raw(at - 1, &[Bytes::from_static(b"x")])
                .is_err()
        );
        assert_eq!(bodies(&copy.reader()), bodies(&reader));
        copy.flusher().flush(i64::MAX).unwrap();
        assert_eq!(copy.reader().flushed(), reader.end());
    }

    #[test]
    fn a_slave_may_begin_late() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let start = 5 * SEGMENT_LEN as i64;
        writer
            .append_raw(start, &[Bytes::from_static(b"abc")])
            .unwrap();
        let reader = writer.reader();
        assert_eq!((reader.min_offset(), reader.end()), (start, start + 3));
        assert_eq!(reader.flushed(), start);
        assert_eq!(reader.slice(start, 3).unwrap()[..], *b"abc");
        assert!(reader.slice(0, 1).is_none());
    }

    #[test]
    fn a_prepared_segment_is_used_and_an_unused_one_removed() {
        for preallocation in [
            super::super::Preallocation::Sparse,
            super::super::Preallocation::Reserve,
            super::super::Preallocation::Zeros,
        ] {
            let place = Place::new();
            let config = super::super::CommitLogConfig {
                preallocation,
                ..place.config()
            };
            let from = super::super::RecoverFrom::default();
            let (mut writer, _) = CommitLogWriter::recover(&place.fs, config, &from).unwrap();
            let preparer = writer.reader().preparer();
            assert!(!preparer.prepare().unwrap(), "an empty log needs none");
            writer.append(&mut [unit(10, 0)], 1).unwrap();
            assert!(preparer.prepare().unwrap());
            assert!(!preparer.prepare().unwrap());
            let second = place.dir.path().join("commitlog/00000000000000004096");
            assert_eq!(std::fs::metadata(&second).unwrap().len(), SEGMENT_LEN);
            writer.append(&mut [unit(3900, 1)], 1).unwrap();
            assert!(preparer.prepare().unwrap());
            let third = place.dir.path().join("commitlog/00000000000000008192");
            assert!(third.exists());
            writer.close().unwrap();
            assert!(!third.exists());
            assert_eq!(place.open_clean().1.records, 2);
        }
    }

    #[test]
    fn the_oldest_segments_go_and_their_slices_stay() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let reader = writer.reader();
        let mut units: Vec<_> = (0..9).map(|i| unit(900, i)).collect();
        writer.append(&mut units, 1).unwrap();
        assert_eq!(reader.delete_oldest_segment().unwrap(), None, "unflushed");
        writer.flusher().flush(i64::MAX).unwrap();
        let kept = reader.record_at(0).unwrap();
        let infos = reader.segments().unwrap();
        assert_eq!(infos.len(), 3);
        assert!(infos[0].modified > std::time::SystemTime::UNIX_EPOCH);
        let step = SEGMENT_LEN as i64;
        assert_eq!(reader.delete_oldest_segment().unwrap(), Some(step));
        assert!(!infos[0].path.exists());
        assert!(reader.record_at(0).is_none());
        assert_eq!(kept[..], units[0].bytes[..]);
        assert_eq!(reader.delete_oldest_segment().unwrap(), Some(2 * step));
        assert_eq!(reader.delete_oldest_segment().unwrap(), None, "the last");
        assert_eq!(reader.min_offset(), 2 * step);
        assert_eq!(reader.last_segment_start(), 2 * step);
        assert_eq!(bodies(&reader).len(), 1);
        let (_, report) = place.open_clean();
        assert_eq!((report.min_offset, report.records), (2 * step, 1));
        reader.release_cold(0);
        reader.release_cold(0);
        assert_eq!(bodies(&reader).len(), 1);
    }

    #[test]
    fn several_directories_take_turns() {
        let place = Place::new();
        let config = super::super::CommitLogConfig {
            dirs: vec![place.dir.path().join("a"), place.dir.path().join("b")],
            ..place.config()
        };
        let from = super::super::RecoverFrom::default();
        let (mut writer, _) = CommitLogWriter::recover(&place.fs, config.clone(), &from).unwrap();
        let mut units: Vec<_> = (0..12).map(|i| unit(900, i)).collect();
        writer.append(&mut units, 1).unwrap();
        assert!(place.dir.path().join("a/00000000000000000000").exists());
        assert!(place.dir.path().join("b/00000000000000004096").exists());
        assert!(place.dir.path().join("a/00000000000000008192").exists());
        drop(writer);
        let (_, report) = CommitLogWriter::recover(&place.fs, config, &from).unwrap();
        assert_eq!(report.records, 12);
    }
}
