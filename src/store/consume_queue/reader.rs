//! Reading entries: from memory where the tail is, with positioned reads elsewhere.

use std::sync::Arc;

use super::{
    ConsumeQueue, ENTRY_LEN, Entry, OpenFile,
    unit::{UNIT_LEN_MAX, Unit},
};
use crate::store::{
    error::StoreError,
    fs::{FileRef, OpenMode},
};

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
        self.get_into(from, count_max, &mut entries)?;
        Ok(entries)
    }

    /// As [`get`](Self::get), but adds to `entries`.
    ///
    /// # Errors
    /// From the file system; `entries` then has those that could be read.
    pub fn get_into(
        &mut self,
        from: i64,
        count_max: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), StoreError> {
        if from < self.min_offset() || from >= self.max_offset() {
            return Ok(());
        }
        let position = from as u64 * ENTRY_LEN as u64;
        let len = (count_max as u64).saturating_mul(ENTRY_LEN as u64);
        let upto = position.saturating_add(len).min(self.end);
        self.read_into(position, upto, entries)
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
        mut position: u64,
        upto: u64,
        units: &mut Vec<U>,
    ) -> Result<(), StoreError> {
        units.reserve((upto - position) as usize / U::LEN);
        let decode_all = |bytes: &[u8], units: &mut Vec<U>| {
            units.extend(bytes.chunks_exact(U::LEN).map(U::of_bytes));
        };
        let tail_start = self.tail_start();
        let mut buf = Vec::new();
        while position < upto.min(tail_start) {
            let in_file = upto
                .min(tail_start)
                .min(self.file_start(position) + self.home.file_size);
            let step = (in_file - position).min((READ_UNITS * U::LEN) as u64);
            buf.resize(step as usize, 0);
            self.read_exact(position, &mut buf)?;
            decode_all(&buf, units);
            position += step;
        }
        if position < upto {
            let range = (position - tail_start) as usize..(upto - tail_start) as usize;
            decode_all(&self.tail[range], units);
        }
        Ok(())
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
            self.read_exact(position, bytes)?;
        }
        Ok(U::of_bytes(bytes))
    }

    /// Reads within one file.
    fn read_exact(&mut self, position: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let start = self.file_start(position);
        let file = self.file_for_reading(start)?;
        let read = file
            .read_at(buf, position - start)
            .map_err(|e| StoreError::io("read", &self.file_path(start), e))?;
        if read < buf.len() {
            let end = position - start + read as u64;
            return Err(StoreError::corrupt(
                &self.file_path(start),
                end,
                "file ends here",
            ));
        }
        Ok(())
    }

    fn file_for_reading(&mut self, start: u64) -> Result<FileRef, StoreError> {
        for open in [&self.writing, &self.reading].into_iter().flatten() {
            if open.start == start {
                return Ok(Arc::clone(&open.file));
            }
        }
        let path = self.file_path(start);
        let file = (self.home.fs.open(&path, OpenMode::Read))
            .map_err(|e| StoreError::io("open", &path, e))?;
        self.reading = Some(OpenFile::new(&self.home, start, &file));
        Ok(file)
    }
}

/// Units read at once.
const READ_UNITS: usize = 3276;
