//! Reading entries: from memory where the tail is, with positioned reads elsewhere.

use super::{
    ColdPiece, ConsumeQueue, ENTRY_LEN, Entry, Extension,
    files::FileRun,
    unit::{UNIT_LEN_MAX, Unit},
};
use crate::store::error::StoreError;

/// How a piece of a queue's files is read: waiting for the disk, or not.
type ReadFile = fn(&mut FileRun, u64, &mut [u8]) -> Result<Option<ColdPiece>, StoreError>;

impl FileRun {
    fn wait(&mut self, position: u64, buf: &mut [u8]) -> Result<Option<ColdPiece>, StoreError> {
        self.read_exact(position, buf).map(|()| None)
    }
}

/// Which message a search by time finds (RocketMQ's `BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Boundary {
    /// The first message stored at or after the time.
    #[default]
    Lower,
    /// The last message stored at or before the time.
    Upper,
}

impl ConsumeQueue {
    /// At most `count_max` entries from queue offset `from` on; fewer at the end of the queue, none
    /// outside of it.
    ///
    /// On a disk that lost power entries may read as zeros: see [`Entry::is_sane`].
    ///
    /// # Errors
    /// From the file system.
    pub fn get(&mut self, from: i64, count_max: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        self.get_into(from, count_max, &mut entries, None)?;
        Ok(entries)
    }

    /// As [`get`](Self::get), but adds to `entries`; and to `extensions`, if there is room for them, those of
    /// the entries, one an entry; none at all where extensions are not kept.
    ///
    /// # Errors
    /// From the file system; `entries` then has those that could be read.
    pub fn get_into(
        &mut self,
        from: i64,
        count_max: usize,
        entries: &mut Vec<Entry>,
        extensions: Option<&mut Vec<Option<Extension>>>,
    ) -> Result<(), StoreError> {
        self.get_with(from, count_max, entries, extensions, FileRun::wait)?;
        Ok(())
    }

    /// As [`get_into`](Self::get_into), without waiting for a disk: answers what has to be brought into
    /// memory first, if anything has; `entries` has those before it then. Extensions are waited for.
    ///
    /// # Errors
    /// As [`get_into`](Self::get_into).
    pub fn get_in_memory_into(
        &mut self,
        from: i64,
        count_max: usize,
        entries: &mut Vec<Entry>,
        extensions: Option<&mut Vec<Option<Extension>>>,
    ) -> Result<Option<ColdPiece>, StoreError> {
        let read = FileRun::read_in_memory;
        self.get_with(from, count_max, entries, extensions, read)
    }

    fn get_with(
        &mut self,
        from: i64,
        count_max: usize,
        entries: &mut Vec<Entry>,
        extensions: Option<&mut Vec<Option<Extension>>>,
        read: ReadFile,
    ) -> Result<Option<ColdPiece>, StoreError> {
        let first = entries.len();
        let cold = self.read_entries(from, count_max, entries, read)?;
        if cold.is_none() {
            self.resolve(&mut entries[first..], extensions);
        }
        Ok(cold)
    }

    /// Gives entries that have an extension their tags codes (`ConsumeQueueIterator.next`); one whose
    /// extension was lost keeps its address.
    pub(super) fn resolve(
        &mut self,
        entries: &mut [Entry],
        extensions: Option<&mut Vec<Option<Extension>>>,
    ) {
        if let Some(own) = self.extensions() {
            own.resolve(entries, extensions);
        }
    }

    fn read_entries(
        &mut self,
        from: i64,
        count_max: usize,
        entries: &mut Vec<Entry>,
        read: ReadFile,
    ) -> Result<Option<ColdPiece>, StoreError> {
        if from < self.min_offset() || from >= self.max_offset() {
            return Ok(None);
        }
        let position = from as u64 * ENTRY_LEN as u64;
        let len = (count_max as u64).saturating_mul(ENTRY_LEN as u64);
        let upto = position.saturating_add(len).min(self.end);
        self.read_with(position, upto, entries, read)
    }

    /// The queue offset of the message that was stored around `timestamp` (ms), always within
    /// [`min_offset`](Self::min_offset) and [`max_offset`](Self::max_offset).
    ///
    /// `Lower`: the first stored at or after it; the max offset when all are older. `Upper`: the last
    /// stored at or before it; the min offset when all are newer.
    ///
    /// `store_time` tells when the message of an entry was stored; `None`, for one that the log does
    /// not have, counts as older than any time.
    ///
    /// # Errors
    /// From the file system.
    pub fn offset_by_time(
        &mut self,
        timestamp: i64,
        boundary: Boundary,
        mut store_time: impl FnMut(Entry) -> Option<i64>,
    ) -> Result<i64, StoreError> {
        let (min, end) = (self.min, self.end);
        let found = self.partition_point(min, end, |entry| match store_time(entry) {
            None => true,
            Some(time) if boundary == Boundary::Lower => time < timestamp,
            Some(time) => time <= timestamp,
        })?;
        let position = match boundary {
            Boundary::Lower => found,
            Boundary::Upper => found.saturating_sub(ENTRY_LEN as u64).max(min),
        };
        Ok((position / ENTRY_LEN as u64) as i64)
    }
}

impl<U: Unit> ConsumeQueue<U> {
    /// Adds the units of a range between the first file and the end to `units`.
    pub(super) fn read_into(
        &mut self,
        position: u64,
        upto: u64,
        units: &mut Vec<U>,
    ) -> Result<(), StoreError> {
        self.read_with(position, upto, units, FileRun::wait)?;
        Ok(())
    }

    /// As [`read_into`](Self::read_into), up to what `read` answers as cold.
    fn read_with(
        &mut self,
        mut position: u64,
        upto: u64,
        units: &mut Vec<U>,
        read: ReadFile,
    ) -> Result<Option<ColdPiece>, StoreError> {
        units.reserve((upto - position) as usize / U::LEN);
        let decode_all = |bytes: &[u8], units: &mut Vec<U>| {
            units.extend(bytes.chunks_exact(U::LEN).map(U::of_bytes));
        };
        let tail_start = self.tail_start();
        let mut buf = Vec::new();
        while position < upto.min(tail_start) {
            let in_file = upto
                .min(tail_start)
                .min(self.files.start_of(position) + self.files.file_size());
            let step = (in_file - position).min((READ_UNITS * U::LEN) as u64);
            buf.resize(step as usize, 0);
            if let Some(cold) = read(&mut self.files, position, &mut buf)? {
                return Ok(Some(cold));
            }
            decode_all(&buf, units);
            position += step;
        }
        if position < upto {
            let range = (position - tail_start) as usize..(upto - tail_start) as usize;
            decode_all(&self.tail[range], units);
        }
        Ok(None)
    }

    /// First position of `low..high` whose entry is not before the sought place.
    pub(super) fn partition_point(
        &mut self,
        mut low: u64,
        mut high: u64,
        mut is_before: impl FnMut(U) -> bool,
    ) -> Result<u64, StoreError> {
        let unit = U::LEN as u64;
        while low < high {
            let middle = low + (high - low) / unit / 2 * unit;
            if is_before(self.entry_at(middle)?) {
                low = middle + unit;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The entry at a position between the first file and the end.
    pub(super) fn entry_at(&mut self, position: u64) -> Result<U, StoreError> {
        let mut bytes = [0; UNIT_LEN_MAX];
        let bytes = &mut bytes[..U::LEN];
        let tail_start = self.tail_start();
        if position >= tail_start {
            let at = (position - tail_start) as usize;
            bytes.copy_from_slice(&self.tail[at..at + U::LEN]);
        } else if position >= self.written {
            return Ok(U::BLANK); // between the last flush and the first entry
        } else {
            self.files.read_exact(position, bytes)?;
        }
        Ok(U::of_bytes(bytes))
    }
}

/// Units read at once.
const READ_UNITS: usize = 3276;
