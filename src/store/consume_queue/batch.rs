//! The queue of a topic with `queue.type=BatchCQ`: its records hold one or several messages each, and
//! take as many queue offsets.

use std::{fmt, sync::Arc};

use super::{
    BatchUnit, Boundary, ConsumeQueue, ConsumeQueueError, QueueHome, QueueTail,
    batch_unit::OFFSET_MAX, unit::Unit,
};
use crate::{protocol::Str, store::error::StoreError};

/// What readers of a queue that never had a batch are told as its first offset
/// (`BatchConsumeQueue.minOffsetInQueue`).
pub const MIN_OFFSET_BEFORE_BATCHES: i64 = -1;

/// Units that one read for a reader takes at most.
const READ_UNITS: usize = 64;

/// One topic queue's units (RocketMQ's `BatchConsumeQueue`).
///
/// Offsets are those of messages; units lie one behind the other wherever the queue begins. The files
/// themselves are those of a [`ConsumeQueue`], and so are the rules of appending, recovering and cutting.
pub struct BatchConsumeQueue {
    units: ConsumeQueue<BatchUnit>,
    /// Offset of the oldest message that the log still holds; `max_offset` when there is none.
    min_offset: i64,
    /// Offset of the next message.
    max_offset: i64,
}

impl BatchConsumeQueue {
    /// As [`ConsumeQueue::recover`].
    ///
    /// # Errors
    /// As there.
    pub fn recover(home: Arc<QueueHome>, topic: Str, queue_id: i32) -> Result<Self, StoreError> {
        Self::of(ConsumeQueue::recover_files(home, topic, queue_id)?)
    }

    /// As [`ConsumeQueue::resume`].
    ///
    /// # Errors
    /// As there.
    pub fn resume(
        home: Arc<QueueHome>,
        topic: Str,
        queue_id: i32,
        tail: QueueTail,
    ) -> Result<Self, StoreError> {
        let find_end = |units: &ConsumeQueue<BatchUnit>, files: &[u64]| {
            end_on_disk(units, files, tail.max_offset)
        };
        let units = ConsumeQueue::resume_at(home, topic, queue_id, tail, find_end)?;
        Self::of(units)
    }

    fn of(units: ConsumeQueue<BatchUnit>) -> Result<Self, StoreError> {
        let mut queue = Self {
            units,
            min_offset: 0,
            max_offset: 0,
        };
        queue.max_offset = queue
            .last_unit()?
            .map_or(0, |last| last.end_offset().max(0));
        queue.find_min()?;
        Ok(queue)
    }

    fn last_unit(&mut self) -> Result<Option<BatchUnit>, StoreError> {
        match self.units.end {
            end if end == self.units.files.first => Ok(None),
            end => self.units.entry_at(end - BatchUnit::LEN as u64).map(Some),
        }
    }

    fn find_min(&mut self) -> Result<(), StoreError> {
        self.min_offset = match self.units.min < self.units.end {
            // Never above the end, whatever a damaged file says.
            true => (self.units.entry_at(self.units.min)?.base_offset).clamp(0, self.max_offset),
            false => self.max_offset,
        };
        Ok(())
    }

    /// Topic of this queue.
    pub fn topic(&self) -> &Str {
        self.units.topic()
    }

    /// Queue offset of the oldest message that can be read; equals [`max_offset`](Self::max_offset)
    /// when there is none.
    pub fn min_offset(&self) -> i64 {
        self.min_offset
    }

    /// Queue offset of the next message.
    pub fn max_offset(&self) -> i64 {
        self.max_offset
    }

    /// End of the newest record in the commit log, -1 if there is none.
    pub fn last_physical_offset(&self) -> i64 {
        self.units.last_physical_offset()
    }

    /// Takes the next unit into memory, and tells whether it was new. Nothing is written yet.
    ///
    /// One that the queue has is dropped, so that a stretch of the log may come twice. A queue without
    /// units starts at any offset. A unit that a power loss tears is none any more, for the number of its
    /// messages stands on the lost page, or nothing of worth does.
    ///
    /// # Errors
    /// [`ConsumeQueueError::Gap`] when messages before it are missing.
    pub fn append(&mut self, unit: &BatchUnit) -> Result<bool, ConsumeQueueError> {
        let last_physical = self.units.last_physical;
        if unit.physical_end() <= last_physical {
            return Ok(false);
        }
        if !unit.is_sane() {
            let what = format!("{unit:?} of {}", self.units.name());
            return Err(StoreError::invalid(what).into());
        }
        if unit.base_offset < self.max_offset && last_physical >= 0 {
            log::warn!(
                "{} has another message at queue offset {}, physical_offset={}",
                self.units.name(),
                unit.base_offset,
                unit.entry.physical_offset
            );
            return Ok(false);
        }
        if unit.base_offset > self.max_offset && last_physical >= 0 {
            return Err(ConsumeQueueError::Gap {
                queue: self.units.name(),
                expected: self.max_offset,
                got: unit.base_offset,
            });
        }
        if self.units.min == self.units.end {
            self.min_offset = unit.base_offset;
        }
        self.units.push(unit);
        self.max_offset = unit.end_offset();
        Ok(true)
    }

    /// Makes a queue without units go on at `queue_offset`: the messages before are gone. Its files
    /// cannot tell that after a restart, only the queues' tails can, as in RocketMQ.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a queue with units, and for an offset that no queue has.
    pub fn begin_at(&mut self, queue_offset: i64) -> Result<(), StoreError> {
        if self.units.last_physical >= 0 || !(0..=OFFSET_MAX).contains(&queue_offset) {
            let what = format!("{} cannot begin at {queue_offset}", self.units.name());
            return Err(StoreError::invalid(what));
        }
        (self.min_offset, self.max_offset) = (queue_offset, queue_offset);
        Ok(())
    }

    /// The units that hold messages of `from..from + offsets`, in order; the first may begin before.
    /// None outside of the queue.
    ///
    /// # Errors
    /// From the file system; [`StoreError::Corrupt`] where units are missing.
    pub fn get(&mut self, from: i64, offsets: usize) -> Result<Vec<BatchUnit>, StoreError> {
        let mut found = Vec::new();
        if from < self.min_offset || from >= self.max_offset || offsets == 0 {
            return Ok(found);
        }
        let upto = from.saturating_add(i64::try_from(offsets).unwrap_or(i64::MAX));
        let (min, end) = (self.units.min, self.units.end);
        let is_before = |unit: BatchUnit| unit.end_offset() <= from;
        let mut position = self.units.partition_point(min, end, is_before)?;
        while position < end {
            let step = (READ_UNITS.min(offsets) * BatchUnit::LEN) as u64;
            let step_end = position.saturating_add(step).min(end);
            self.units.read_into(position, step_end, &mut found)?;
            position = step_end;
            if found.last().is_some_and(|last| last.end_offset() >= upto) {
                break;
            }
        }
        found.truncate(found.partition_point(|unit| unit.base_offset < upto));
        let is_whole = found.iter().all(BatchUnit::is_sane)
            && found.is_sorted_by(|one, next| one.end_offset() <= next.base_offset);
        if !is_whole || found.is_empty() {
            let file = self.units.files.path(self.units.files.start_of(position));
            let what = format!("no units for the messages from {from} on");
            return Err(StoreError::corrupt(&file, 0, what));
        }
        Ok(found)
    }

    /// The queue offset of a record that was stored around `timestamp` (ms): of its first message.
    ///
    /// `Lower`: the first record stored at or after it. `Upper`: the last one stored at that time, the
    /// first after it where there is none. The last record when all are older. (RocketMQ's
    /// `BatchConsumeQueue.getOffsetInQueueByTime`, which is not what ordinary queues answer.)
    ///
    /// # Errors
    /// From the file system.
    pub fn offset_by_time(
        &mut self,
        timestamp: i64,
        boundary: Boundary,
    ) -> Result<i64, StoreError> {
        let (min, end) = (self.units.min, self.units.end);
        let len = BatchUnit::LEN as u64;
        if min >= end {
            return Ok(self.min_offset);
        }
        let last = self.units.entry_at(end - len)?;
        if timestamp >= last.store_time {
            return Ok(last.base_offset);
        }
        let found = self
            .units
            .partition_point(min, end, |unit| match boundary {
                Boundary::Lower => unit.store_time < timestamp,
                Boundary::Upper => unit.store_time <= timestamp,
            })?;
        if boundary == Boundary::Upper && found > min {
            let before = self.units.entry_at(found - len)?;
            if before.store_time == timestamp {
                return Ok(before.base_offset);
            }
        }
        Ok(self.units.entry_at(found)?.base_offset)
    }

    /// As [`ConsumeQueue::truncate_above`]: a record goes as a whole.
    ///
    /// # Errors
    /// As there.
    pub fn truncate_above(&mut self, physical: i64) -> Result<(), StoreError> {
        let Some(cut) = self.units.first_above(physical)? else {
            return Ok(());
        };
        if cut < self.units.end {
            self.max_offset = self.units.entry_at(cut)?.base_offset.max(0);
        }
        self.units.truncate_at(cut)?;
        self.find_min()
    }

    /// As [`ConsumeQueue::correct_min_offset`].
    ///
    /// # Errors
    /// As there.
    pub fn correct_min_offset(&mut self, log_min: i64) -> Result<(), StoreError> {
        self.units.correct_min_offset(log_min)?;
        self.find_min()
    }

    /// As [`ConsumeQueue::delete_expired`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_expired(&mut self, log_min: i64) -> Result<usize, StoreError> {
        let removed = self.units.delete_expired(log_min)?;
        self.find_min()?;
        Ok(removed)
    }

    /// As [`ConsumeQueue::destroy`].
    ///
    /// # Errors
    /// As there.
    pub fn destroy(&mut self) -> Result<(), StoreError> {
        (self.min_offset, self.max_offset) = (0, 0);
        self.units.destroy()
    }

    /// The files, for what has nothing to do with offsets.
    pub(super) fn files(&mut self) -> &mut ConsumeQueue<BatchUnit> {
        &mut self.units
    }

    /// Writes what is only in memory.
    ///
    /// # Errors
    /// From the file system; the next call tries again.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.units.flush()
    }

    /// Writes what is only in memory and makes everything durable.
    ///
    /// # Errors
    /// From the file system; the next call tries again.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.units.sync()
    }

    /// Whether a whole run waits to be written.
    pub fn needs_flush(&self) -> bool {
        self.units.needs_flush()
    }
}

impl fmt::Debug for BatchConsumeQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchConsumeQueue")
            .field("min", &self.min_offset)
            .field("max", &self.max_offset)
            .field("units", &self.units)
            .finish()
    }
}

/// Position behind the unit whose last message lies before `max_offset`, in files of which the last one
/// may end in zeros.
fn end_on_disk(
    units: &ConsumeQueue<BatchUnit>,
    files: &[u64],
    max_offset: i64,
) -> Result<Option<u64>, StoreError> {
    let (Some(&first), Some(&last)) = (files.first(), files.last()) else {
        return Ok(None);
    };
    let len = BatchUnit::LEN as u64;
    let (mut low, mut high) = (first, last + units.files.file_size());
    while low < high {
        let middle = low + (high - low) / len / 2 * len;
        let unit = units.disk_entry(files, middle)?;
        if unit.is_sane() && unit.end_offset() <= max_offset {
            low = middle + len;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}
