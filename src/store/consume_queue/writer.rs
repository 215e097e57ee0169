//! Appending entries, and bringing them to disk.

use std::sync::LazyLock;

use super::{
    CACHED_TAIL_UNITS, ConsumeQueue, ConsumeQueueError, ENTRY_LEN, Entry, Extension, FLUSH_RUN_LEN,
    PAGE_LEN, files::UnsyncedNames, unit::Unit,
};
use crate::store::error::StoreError;

/// Largest position that still leaves room for a whole file behind it.
const POSITION_MAX: u64 = i64::MAX as u64 / 2;

/// Blank entries to write at once.
static BLANKS: LazyLock<Vec<u8>> = LazyLock::new(|| Entry::BLANK.encode().repeat(3276));

impl ConsumeQueue {
    /// Takes entries with consecutive queue offsets from `first_queue_offset` on, in log order, into
    /// memory, and returns how many of them were new. Nothing is written yet.
    ///
    /// Entries that the queue has are dropped, so that a stretch of the log may come twice. A queue
    /// without entries starts at any offset.
    ///
    /// # Errors
    /// [`ConsumeQueueError::Gap`] when entries in between are missing; those before the gap are kept.
    pub fn append(
        &mut self,
        first_queue_offset: i64,
        entries: &[Entry],
    ) -> Result<usize, ConsumeQueueError> {
        self.append_extended(first_queue_offset, entries, &[])
    }

    /// As [`append`](Self::append), of entries with these extensions, one an entry.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_extended(
        &mut self,
        first_queue_offset: i64,
        entries: &[Entry],
        extensions: &[Extension],
    ) -> Result<usize, ConsumeQueueError> {
        let mut appended = 0;
        let mut extensions = extensions.iter();
        for (entry, queue_offset) in entries.iter().zip(first_queue_offset..) {
            let extension = extensions.next();
            if entry.physical_end() <= self.last_physical {
                if entry.physical_end() == self.last_physical {
                    self.heal_last(queue_offset, entry)?;
                }
                continue;
            }
            let is_known_index = self.append_one(queue_offset, entry, extension)?;
            appended += usize::from(!is_known_index);
        }
        Ok(appended)
    }

    /// Writes the last entry again if it lies on two pages, of which a power loss took the second.
    fn heal_last(&mut self, queue_offset: i64, entry: &Entry) -> Result<(), ConsumeQueueError> {
        let Some(position) = self.end.checked_sub(ENTRY_LEN as u64) else {
            return Ok(());
        };
        let in_page = position % self.files.file_size() % PAGE_LEN;
        let is_on_two_pages = in_page + ENTRY_LEN as u64 > PAGE_LEN;
        if !is_on_two_pages || queue_offset != self.max_offset() - 1 || entry.is_blank() {
            return Ok(());
        }
        let mut there = [self.entry_at(position)?];
        self.resolve(&mut there, None);
        if there != [*entry] {
            log::info!(
                "{} has its last entry torn, max_offset={}",
                self.name(),
                self.max_offset()
            );
            self.truncate_at(position)?;
            self.append_one(queue_offset, entry, None)?;
        }
        Ok(())
    }

    /// Whether the queue holds another entry with this queue offset already, which stays.
    fn append_one(
        &mut self,
        queue_offset: i64,
        entry: &Entry,
        extension: Option<&Extension>,
    ) -> Result<bool, ConsumeQueueError> {
        let position = u64::try_from(queue_offset)
            .ok()
            .and_then(|offset| offset.checked_mul(ENTRY_LEN as u64))
            .filter(|position| *position <= POSITION_MAX);
        let (Some(position), true) = (position, entry.is_sane() && !entry.is_blank()) else {
            let what = format!(
                "{entry:?} at queue offset {queue_offset} of {}",
                self.name()
            );
            return Err(StoreError::invalid(what).into());
        };
        if position != self.end {
            if self.last_physical < 0 {
                self.start_at(position)?;
            } else if position < self.end {
                log::warn!(
                    "{} has another entry at queue offset {queue_offset}, physical_offset={}",
                    self.name(),
                    entry.physical_offset
                );
                return Ok(true);
            } else {
                return Err(ConsumeQueueError::Gap {
                    queue: self.name(),
                    expected: self.max_offset(),
                    got: queue_offset,
                });
            }
        }
        let address = extension.and_then(|unit| self.extensions()?.keep(unit));
        self.push(&Entry {
            tags_code: address.unwrap_or(entry.tags_code),
            ..*entry
        });
        Ok(false)
    }

    /// Makes a queue without entries go on at `queue_offset`: the messages before are gone, and the
    /// next one shall not get one of their offsets.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a queue with entries, and for an offset that no queue has; from
    /// the file system.
    pub fn begin_at(&mut self, queue_offset: i64) -> Result<(), StoreError> {
        let position = u64::try_from(queue_offset)
            .ok()
            .and_then(|offset| offset.checked_mul(ENTRY_LEN as u64))
            .filter(|position| *position <= POSITION_MAX && self.last_physical < 0);
        let Some(position) = position else {
            let what = format!("{} cannot begin at {queue_offset}", self.name());
            return Err(StoreError::invalid(what));
        };
        self.start_at(position)?;
        // A file, though without an entry: it tells the offset after a restart.
        self.files.for_writing(self.files.start_of(position))?;
        self.flush()
    }

    /// Makes a queue that has no entries begin at `position`. The space before it in its file is
    /// filled with blanks at the next flush, as RocketMQ does.
    fn start_at(&mut self, position: u64) -> Result<(), StoreError> {
        let start = self.files.start_of(position);
        let has_only_that_file =
            self.files.first == start && self.files.end == start + self.files.file_size();
        if !has_only_that_file {
            self.files.remove_from(self.files.first)?;
            self.files.first = start;
            self.files.end = start;
        }
        self.written = start;
        self.synced = start;
        self.min = position;
        self.min_physical = -1;
        self.end = position;
        self.tail.clear();
        Ok(())
    }
}

impl<U: Unit> ConsumeQueue<U> {
    /// Takes the next unit.
    pub(super) fn push(&mut self, unit: &U) {
        if self.min == self.end {
            self.min_physical = unit.entry().physical_offset;
        }
        unit.push_to(&mut self.tail);
        self.end += U::LEN as u64;
        self.last_physical = unit.physical_end();
    }

    /// Bytes that [`flush`](Self::flush) would write.
    pub fn pending_len(&self) -> usize {
        (self.end - self.written.max(self.tail_start())) as usize
    }

    /// Whether a whole run waits to be written; the owner then flushes, and does so anyway at times.
    pub fn needs_flush(&self) -> bool {
        self.pending_len() >= FLUSH_RUN_LEN
    }

    /// Writes what is only in memory, one write per file.
    ///
    /// # Errors
    /// From the file system; what was not written stays in memory, and the next call tries again.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if let Some(extensions) = self.loaded_extensions() {
            // First, for entries tell where they are.
            extensions.flush()?;
        }
        while self.written < self.end {
            let start = self.files.start_of(self.written);
            if start >= self.files.end && self.files.end > self.files.first {
                // So only the last file can have holes after a power loss.
                self.sync_written()?;
            }
            let tail_start = self.tail_start();
            if self.written < tail_start {
                self.write_blanks(tail_start)?;
            }
            let upto = self.end.min(start + self.files.file_size());
            let run =
                &self.tail[(self.written - tail_start) as usize..(upto - tail_start) as usize];
            self.files.write(self.written, run)?;
            self.written = upto;
        }
        let cached = CACHED_TAIL_UNITS * U::LEN;
        if self.tail.len() > 2 * cached {
            let surplus = self.tail.len() - cached;
            self.tail.drain(..surplus);
        }
        Ok(())
    }

    fn write_blanks(&mut self, upto: u64) -> Result<(), StoreError> {
        log::info!(
            "{} starts inside a file, entries={}",
            self.name(),
            self.end / U::LEN as u64
        );
        while self.written < upto {
            let len = (upto - self.written).min(BLANKS.len() as u64);
            self.files.write(self.written, &BLANKS[..len as usize])?;
            self.written += len;
        }
        Ok(())
    }

    /// Writes what is only in memory and makes everything durable, names of new files included.
    ///
    /// # Errors
    /// From the file system; the next call tries again.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if let Some(extensions) = self.loaded_extensions() {
            extensions.sync()?;
        }
        self.sync_written()?;
        self.files.sync_names()
    }

    fn sync_written(&mut self) -> Result<(), StoreError> {
        self.files.sync_data(self.synced, self.written)?;
        self.synced = self.synced.max(self.written);
        Ok(())
    }

    /// Whether a power loss could take back what was appended.
    pub fn needs_sync(&self) -> bool {
        self.synced < self.end || self.files.unsynced_names != UnsyncedNames::None
    }
}
