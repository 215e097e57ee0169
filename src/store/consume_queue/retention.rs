//! Following the commit log where it was cut: at its end after a crash, at its start by age.

use super::{ConsumeQueue, unit::Unit};
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
        let (first, end) = (self.files.first, self.end);
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
            end if end == self.files.first => -1,
            end => match self.entry_at(end - U::LEN as u64)? {
                entry if entry.is_blank() => -1,
                // not -1 even for a damaged entry: the queue is not a new one
                entry => entry.physical_end().max(0),
            },
        };
        self.files.clear_from(cut)?;
        if self.files.first == self.files.end && self.tail.is_empty() && cut > 0 {
            // Nothing was written yet: a file tells the offset after a restart.
            self.files.for_writing(self.files.first)?;
        }
        // A removed file must not come back behind new entries.
        self.files.sync_names()
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
        let removed = self.files.remove_before(self.min)?;
        self.synced = self.synced.max(self.files.first);
        if self.min < self.end && self.extensions().is_some() {
            let oldest = self.entry_at(self.min)?;
            if let Some(extensions) = self.extensions() {
                extensions.delete_before(oldest.entry().tags_code)?;
            }
        }
        Ok(removed)
    }

    /// Removes the queue from memory and disk: it is as new.
    ///
    /// # Errors
    /// From the file system; some files may be gone then, and the next call removes the rest.
    pub fn destroy(&mut self) -> Result<(), StoreError> {
        let (topic, queue_id) = (self.files.topic.clone(), self.files.queue_id);
        let mut old =
            std::mem::replace(self, Self::empty(self.files.home.clone(), topic, queue_id)?);
        if let Some(extensions) = &mut old.extensions {
            extensions.destroy()?;
        }
        old.files.destroy()
    }
}
