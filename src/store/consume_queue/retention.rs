//! Following the commit log where it was cut: at its end after a crash, at its start by age.

use super::{ConsumeQueue, UnsyncedNames, unit::Unit};
use crate::store::error::StoreError;

impl<U: Unit> ConsumeQueue<U> {
    /// Drops all entries whose message does not end at or before `physical`, for good: what is left
    /// of them on disk reads as zeros, so that no later recovery takes them for new ones.
    ///
    /// # Errors
    /// From the file system; the queue is then to be recovered again.
    pub fn truncate_above(&mut self, physical: i64) -> Result<(), StoreError> {
        match self.first_above(physical)? {
            Some(cut) => self.truncate_at(cut),
            None => Ok(()),
        }
    }

    /// The first entry whose message does not end at or before `physical`.
    pub(super) fn first_above(&mut self, physical: i64) -> Result<Option<u64>, StoreError> {
        if self.last_physical <= physical {
            return Ok(None);
        }
        let (first, end) = (self.first_file, self.end);
        let cut = self.partition_point(first, end, |entry| {
            entry.is_blank() || entry.physical_end() <= physical
        })?;
        log::info!(
            "{} is cut, physical_end={physical} entries={} were={}",
            self.name(),
            cut / U::LEN as u64,
            end / U::LEN as u64
        );
        Ok(Some(cut))
    }

    /// Makes `cut` the end of the queue, in memory and on disk.
    pub(super) fn truncate_at(&mut self, cut: u64) -> Result<(), StoreError> {
        let tail_start = self.tail_start();
        self.tail.truncate(cut.saturating_sub(tail_start) as usize);
        self.end = cut;
        self.written = self.written.min(cut);
        self.synced = self.synced.min(cut);
        if self.min >= cut {
            self.min = cut;
            self.min_physical = -1;
        }
        self.last_physical = match self.end {
            end if end == self.first_file => -1,
            end => match self.entry_at(end - U::LEN as u64)? {
                entry if entry.is_blank() => -1,
                // not -1 even for a damaged entry: the queue is not a new one
                entry => entry.physical_end().max(0),
            },
        };
        self.clear_files_from(cut)?;
        // A removed file must not come back behind new entries.
        self.sync_names()
    }

    /// Makes the files hold nothing from `position` on. One file stays, in a queue that has any: it
    /// tells the queue offset to go on with.
    pub(super) fn clear_files_from(&mut self, position: u64) -> Result<(), StoreError> {
        let size = self.home.file_size;
        let keep_upto = position.max(self.first_file + 1).div_ceil(size) * size;
        self.remove_files_from(keep_upto)?;
        let start = self.file_start(position);
        if start >= self.files_end {
            return Ok(());
        }
        let file = self.file_for_writing(start)?;
        file.zero(position - start, start + size - position)
            .and_then(|()| file.sync_data())
            .map_err(|e| StoreError::io("clear", &self.file_path(start), e))
    }

    /// Removes the files from the one that starts at `start` on, newest first.
    pub(super) fn remove_files_from(&mut self, start: u64) -> Result<(), StoreError> {
        while self.files_end > start.max(self.first_file) {
            let newest = self.files_end - self.home.file_size;
            self.remove_file(newest)?;
            self.files_end = newest;
        }
        Ok(())
    }

    fn remove_file(&mut self, start: u64) -> Result<(), StoreError> {
        for open in [&mut self.writing, &mut self.reading] {
            if open.as_ref().is_some_and(|open| open.start == start) {
                *open = None;
            }
        }
        let path = self.file_path(start);
        log::info!("{} file removed, path={}", self.name(), path.display());
        match self.home.fs.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &path, e));
            }
            _ => {}
        }
        self.unsynced_names = self.unsynced_names.max(UnsyncedNames::Files);
        Ok(())
    }

    /// Moves the min offset to the first entry whose message starts at or after `log_min`, the
    /// physical offset at which the commit log begins. When there is none, min and max are equal.
    ///
    /// # Errors
    /// From the file system.
    pub fn correct_min_offset(&mut self, log_min: i64) -> Result<(), StoreError> {
        if self.min >= self.end || self.min_physical >= log_min.max(0) {
            return Ok(());
        }
        let (min, end) = (self.min, self.end);
        let is_expired = |unit: U| unit.is_blank() || unit.entry().physical_offset < log_min;
        if is_expired(self.entry_at(end - U::LEN as u64)?) {
            self.min = end;
            self.min_physical = -1;
            return Ok(());
        }
        // Most often nothing changed since the last time.
        let oldest = self.entry_at(min)?;
        if is_expired(oldest) {
            self.min = self.partition_point(min, end, is_expired)?;
            self.min_physical = self.entry_at(self.min)?.entry().physical_offset;
        } else {
            self.min_physical = oldest.entry().physical_offset;
        }
        Ok(())
    }

    /// Removes the files all of whose messages start before `log_min`, and corrects the min offset.
    /// The newest file stays, for it tells the queue offset to go on with. Returns the number of
    /// removed files.
    ///
    /// # Errors
    /// From the file system.
    pub fn delete_expired(&mut self, log_min: i64) -> Result<usize, StoreError> {
        self.correct_min_offset(log_min)?;
        let mut removed = 0;
        let size = self.home.file_size;
        while self.first_file + size <= self.min && self.first_file + size < self.files_end {
            self.remove_file(self.first_file)?;
            self.first_file += size;
            self.synced = self.synced.max(self.first_file);
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes the queue from memory and disk: it is as new.
    ///
    /// # Errors
    /// From the file system; some files may be gone then, and the next call removes the rest.
    pub fn destroy(&mut self) -> Result<(), StoreError> {
        *self = Self::empty(self.home.clone(), self.topic.clone(), self.queue_id)?;
        self.home.remove_queue(&self.topic, self.queue_id)
    }
}
