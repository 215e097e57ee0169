//! Appending entries, and bringing them to disk.

use std::sync::{Arc, LazyLock};

use super::{
    CACHED_TAIL_UNITS, ConsumeQueue, ConsumeQueueError, ENTRY_LEN, Entry, FLUSH_RUN_LEN, OpenFile,
    PAGE_LEN, UnsyncedNames, unit::Unit,
};
use crate::store::{
    error::StoreError,
    fs::{FileRef, OpenMode},
};

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
        let mut appended = 0;
        for (entry, queue_offset) in entries.iter().zip(first_queue_offset..) {
            if entry.physical_end() <= self.last_physical {
                if entry.physical_end() == self.last_physical {
                    self.heal_last(queue_offset, entry)?;
                }
                continue;
            }
            let is_known_index = self.append_one(queue_offset, entry)?;
            appended += usize::from(!is_known_index);
        }
        Ok(appended)
    }

    /// Writes the last entry again if it lies on two pages, of which a power loss took the second.
    fn heal_last(&mut self, queue_offset: i64, entry: &Entry) -> Result<(), ConsumeQueueError> {
        let Some(position) = self.end.checked_sub(ENTRY_LEN as u64) else {
            return Ok(());
        };
        let in_page = position % self.home.file_size % PAGE_LEN;
        let is_on_two_pages = in_page + ENTRY_LEN as u64 > PAGE_LEN;
        if !is_on_two_pages || queue_offset != self.max_offset() - 1 || entry.is_blank() {
            return Ok(());
        }
        if self.entry_at(position)? != *entry {
            log::info!(
                "{} has its last entry torn, max_offset={}",
                self.name(),
                self.max_offset()
            );
            self.truncate_at(position)?;
            self.append_one(queue_offset, entry)?;
        }
        Ok(())
    }

    /// Whether the queue holds another entry with this queue offset already, which stays.
    fn append_one(&mut self, queue_offset: i64, entry: &Entry) -> Result<bool, ConsumeQueueError> {
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
        self.push(entry);
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
        self.file_for_writing(self.file_start(position))?;
        self.flush()
    }

    /// Makes a queue that has no entries begin at `position`. The space before it in its file is
    /// filled with blanks at the next flush, as RocketMQ does.
    fn start_at(&mut self, position: u64) -> Result<(), StoreError> {
        let start = self.file_start(position);
        let has_only_that_file =
            self.first_file == start && self.files_end == start + self.home.file_size;
        if !has_only_that_file {
            self.remove_files_from(self.first_file)?;
            self.first_file = start;
            self.files_end = start;
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
        while self.written < self.end {
            let start = self.file_start(self.written);
            if start >= self.files_end && self.files_end > self.first_file {
                // So only the last file can have holes after a power loss.
                self.sync_written()?;
            }
            let file = self.file_for_writing(start)?;
            let tail_start = self.tail_start();
            if self.written < tail_start {
                self.write_blanks(&file, start, tail_start)?;
            }
            let upto = self.end.min(start + self.home.file_size);
            let run =
                &self.tail[(self.written - tail_start) as usize..(upto - tail_start) as usize];
            file.write_at(run, self.written - start)
                .map_err(|e| StoreError::io("write", &self.file_path(start), e))?;
            self.written = upto;
        }
        let cached = CACHED_TAIL_UNITS * U::LEN;
        if self.tail.len() > 2 * cached {
            let surplus = self.tail.len() - cached;
            self.tail.drain(..surplus);
        }
        Ok(())
    }

    fn write_blanks(&mut self, file: &FileRef, start: u64, upto: u64) -> Result<(), StoreError> {
        log::info!(
            "{} starts inside a file, entries={}",
            self.name(),
            self.end / U::LEN as u64
        );
        while self.written < upto {
            let len = (upto - self.written).min(BLANKS.len() as u64);
            file.write_at(&BLANKS[..len as usize], self.written - start)
                .map_err(|e| StoreError::io("write", &self.file_path(start), e))?;
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
        self.sync_written()?;
        self.sync_names()
    }

    fn sync_written(&mut self) -> Result<(), StoreError> {
        while self.synced < self.written {
            let start = self.file_start(self.synced);
            let file = self.file_for_writing(start)?;
            file.sync_data()
                .map_err(|e| StoreError::io("sync", &self.file_path(start), e))?;
            self.synced = self.written.min(start + self.home.file_size);
        }
        Ok(())
    }

    pub(super) fn sync_names(&mut self) -> Result<(), StoreError> {
        let dirs = match self.unsynced_names {
            UnsyncedNames::None => return Ok(()),
            UnsyncedNames::Files => vec![self.dir()],
            UnsyncedNames::Directories => vec![
                self.dir(),
                self.home.topic_dir(&self.topic),
                self.home.root.clone(),
            ],
        };
        for dir in dirs {
            self.home
                .fs
                .sync_dir(&dir)
                .map_err(|e| StoreError::io("sync", &dir, e))?;
        }
        self.unsynced_names = UnsyncedNames::None;
        Ok(())
    }

    /// Whether a power loss could take back what was appended.
    pub fn needs_sync(&self) -> bool {
        self.synced < self.end || self.unsynced_names != UnsyncedNames::None
    }

    /// The file that starts at `start`, made when it is the next one.
    pub(super) fn file_for_writing(&mut self, start: u64) -> Result<FileRef, StoreError> {
        if let Some(open) = &self.writing
            && open.start == start
        {
            return Ok(Arc::clone(&open.file));
        }
        let path = self.file_path(start);
        let fs = &self.home.fs;
        let file = if start < self.files_end {
            fs.open(&path, OpenMode::Write)
                .map_err(|e| StoreError::io("open", &path, e))?
        } else {
            let names = if self.first_file == self.files_end {
                let dir = self.dir();
                fs.create_dir_all(&dir)
                    .map_err(|e| StoreError::io("create", &dir, e))?;
                UnsyncedNames::Directories
            } else {
                UnsyncedNames::Files
            };
            let file = fs
                .open(&path, OpenMode::Create)
                .map_err(|e| StoreError::io("create", &path, e))?;
            file.set_len(self.home.file_size)
                .map_err(|e| StoreError::io("extend", &path, e))?;
            self.files_end = start + self.home.file_size;
            self.unsynced_names = self.unsynced_names.max(names);
            file
        };
        if self
            .reading
            .as_ref()
            .is_some_and(|open| open.start == start)
        {
            self.reading = None;
        }
        self.writing = Some(OpenFile::new(&self.home, start, &file));
        Ok(file)
    }
}
