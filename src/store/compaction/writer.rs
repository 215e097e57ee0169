//! Appending to the files of a queue.

use std::path::Path;

use super::{
    entry::{CompactionEntry, ENTRY_LEN},
    files::{CompactionFiles, Pair, file_name},
};
use crate::{
    protocol::message::record::{BLANK_LEN, MAGIC_BLANK},
    store::{
        error::StoreError,
        fs::{Fs, OpenMode},
    },
};

/// A record that is appended.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The record.
    pub record: &'a [u8],
    /// Its queue offset.
    pub queue_offset: i64,
    /// Hash of its tags.
    pub tags_code: i64,
    /// Its store time, ms.
    pub store_time: i64,
}

impl Pair {
    fn has_room(&self, record_len: u64) -> bool {
        let unit = ENTRY_LEN as u64;
        // Room for what ends the files stays.
        !self.closed
            && (self.entries + 1) * unit < self.cq_len
            && self.used + record_len + BLANK_LEN as u64 <= self.log_len
    }
}

impl CompactionFiles {
    /// Appends records in the order of their queue offsets. Those that are there already are passed over, as
    /// is one that fits into no file. On an error nothing of what was not written counts.
    ///
    /// # Errors
    /// From the file system.
    pub fn append<'a>(
        &mut self,
        items: impl IntoIterator<Item = Item<'a>>,
    ) -> Result<(), StoreError> {
        let mut run = Run::default();
        let mut next_offset = self.next_offset();
        for item in items {
            let len = item.record.len() as u64;
            if item.queue_offset < next_offset {
                continue;
            }
            if self.places.is_none() && len > self.home.record_len_max() {
                log::warn!(
                    "compaction leaves out a message that is longer than a file, file={} queue_offset={} size={len}",
                    self.log_dir.display(),
                    item.queue_offset
                );
                continue;
            }
            if !self.pairs.last().is_some_and(|last| run.fits(last, len)) {
                self.write(&mut run)?;
                self.roll()?;
            }
            let Some(last) = self.pairs.last() else { break };
            run.push(last, &item);
            next_offset = item.queue_offset.saturating_add(1);
        }
        self.write(&mut run)
    }

    /// Writes a run to the newest file.
    fn write(&mut self, run: &mut Run) -> Result<(), StoreError> {
        let Some((first, last)) = run.offsets.take() else {
            return Ok(());
        };
        let Some(index) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let (log, cq) = self.handles(index)?;
        let pair = &self.pairs[index];
        let unit = ENTRY_LEN as u64;
        (log.write_at(&run.records, pair.used))
            .map_err(|e| StoreError::io("write", &self.log_path(pair.start), e))?;
        (cq.write_at(&run.entries, pair.entries * unit))
            .map_err(|e| StoreError::io("write", &self.cq_path(pair.start), e))?;
        self.dirty = true;
        let pair = &mut self.pairs[index];
        if pair.entries == 0 {
            pair.first = first;
        }
        pair.last = last;
        pair.used += run.records.len() as u64;
        pair.entries += run.entries.len() as u64 / unit;
        run.records.clear();
        run.entries.clear();
        Ok(())
    }

    /// Ends the newest file and makes the next one.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.close_last()?;
        let (start, log_len, cq_len) = self.next_place()?;
        for (dir, len) in [(&self.log_dir, log_len), (&self.cq_dir, cq_len)] {
            (self.fs().create_dir_all(dir)).map_err(|e| StoreError::io("create", dir, e))?;
            make_file(self.fs(), &dir.join(file_name(start)), len)?;
            (self.fs().sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
        }
        self.pairs.push(Pair {
            closed: false,
            ..Pair::empty(start, log_len, cq_len)
        });
        Ok(())
    }

    /// Where the next pair of files begins, and how long they are.
    fn next_place(&mut self) -> Result<(i64, u64, u64), StoreError> {
        if let Some(places) = &mut self.places {
            let full = || StoreError::invalid("a compaction leaves more than there was");
            let place = places.pop().ok_or_else(full)?;
            return Ok((place.start, place.log_len, place.cq_len));
        }
        let last = self.pairs.last();
        let start = last.map_or(0, |last| last.start.saturating_add_unsigned(last.log_len));
        Ok((start, self.home.log_len, self.home.cq_len))
    }

    /// Writes what ends the newest files, and syncs them: nothing is added to them any more.
    pub(super) fn close_last(&mut self) -> Result<(), StoreError> {
        let Some(index) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let (log, cq) = self.handles(index)?;
        let pair = &self.pairs[index];
        let rest = pair.log_len.saturating_sub(pair.used);
        if rest >= BLANK_LEN as u64 {
            let size = i32::try_from(rest).unwrap_or(i32::MAX).to_be_bytes();
            let blank = [size, MAGIC_BLANK.to_be_bytes()].concat();
            (log.write_at(&blank, pair.used))
                .map_err(|e| StoreError::io("write", &self.log_path(pair.start), e))?;
        }
        let at = pair.entries * ENTRY_LEN as u64;
        if at + ENTRY_LEN as u64 <= pair.cq_len {
            (cq.write_at(&CompactionEntry::END.encode(), at))
                .map_err(|e| StoreError::io("write", &self.cq_path(pair.start), e))?;
        }
        self.dirty = true;
        self.pairs[index].closed = true;
        self.sync()
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// From the file system.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        let Some(index) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let (log, cq) = self.handles(index)?;
        let start = self.pairs[index].start;
        // The records first: entries without them would have to be found out.
        (log.sync_data()).map_err(|e| StoreError::io("sync", &self.log_path(start), e))?;
        (cq.sync_data()).map_err(|e| StoreError::io("sync", &self.cq_path(start), e))?;
        self.dirty = false;
        Ok(())
    }
}

/// Records and their entries that are written together.
#[derive(Default)]
struct Run {
    records: Vec<u8>,
    entries: Vec<u8>,
    /// Queue offsets of the first and the last of them.
    offsets: Option<(i64, i64)>,
}

impl Run {
    fn fits(&self, pair: &Pair, record_len: u64) -> bool {
        let ahead = Pair {
            used: pair.used + self.records.len() as u64,
            entries: pair.entries + (self.entries.len() / ENTRY_LEN) as u64,
            ..pair.clone()
        };
        ahead.has_room(record_len)
    }

    fn push(&mut self, pair: &Pair, item: &Item<'_>) {
        let written = pair.used + self.records.len() as u64;
        let position = pair.start.saturating_add_unsigned(written);
        let entry = CompactionEntry {
            position,
            size: i32::try_from(item.record.len()).unwrap_or(i32::MAX),
            tags_code: item.tags_code,
            store_time: item.store_time,
            queue_offset: item.queue_offset,
            batch: 1,
        };
        self.records.extend_from_slice(item.record);
        self.entries.extend_from_slice(&entry.encode());
        let first = self.offsets.map_or(item.queue_offset, |(first, _)| first);
        self.offsets = Some((first, item.queue_offset));
    }
}

/// Makes a file of zeros, whatever has its name.
pub(super) fn make_file(fs: &Fs, path: &Path, len: u64) -> Result<(), StoreError> {
    let made = fs.open(path, OpenMode::Create).and_then(|file| {
        file.set_len(0)?;
        file.set_len(len)?;
        file.sync_data()
    });
    made.map_err(|e| StoreError::io("create", path, e))
}
