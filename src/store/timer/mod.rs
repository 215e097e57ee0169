//! The timer wheel: messages that wait for a time of their own.
//!
//! Four files, RocketMQ's, so that either broker goes on where the other was stopped or killed:
//!
//! * `timerwheel`, a slot for each tick ([`wheel`]);
//! * `timerlog/`, a unit for each waiting message; the units of a slot are chained ([`mod@unit`], [`log`]);
//! * `config/timercheck`, how far all that is ([`checkpoint`]);
//! * `config/timermetrics`, how many wait for each topic ([`tables`](super::tables)).
//!
//! The messages themselves stay in the commit log, in the queue of `rmq_sys_wheel_timer`. [`TimerStore`]
//! opens the files, takes messages in and hands out slots; who reads queues and appends to the commit
//! log is the actor's business (`actors/delivery/timer`). A fifth file is ours ([`hint`]): it shortens the
//! search for what was [`delivered`] already when a broker was killed.

use std::{collections::HashMap, path::PathBuf};

use self::{
    checkpoint::{TimerCheckpoint, TimerCheckpointFile},
    hint::{TimerHint, TimerHintFile},
    log::TimerLog,
    unit::{MAGIC_DEFAULT, MAGIC_DELETE, MAGIC_ROLL, Unit},
    walk::SlotWalk,
    wheel::{BLANK_SLOTS, SLOTS_TOTAL, Slot, Wheel},
};
use super::{
    error::StoreError,
    fs::{FileRef, Fs},
};

pub mod checkpoint;
pub mod delivered;
pub mod hint;
pub mod log;
mod recovery;
#[cfg(test)]
mod tests;
pub mod unit;
pub mod walk;
pub mod wheel;

/// Where the timer's files are, and how it counts.
#[derive(Debug, Clone)]
pub struct TimerConfig {
    /// Root of the store.
    pub root: PathBuf,
    /// Directory of the files that RocketMQ does not know.
    pub own_dir: PathBuf,
    /// Milliseconds of a slot (`timerPrecisionMs`).
    pub precision_ms: i64,
    /// Slots after which a message is looked at again (`timerRollWindowSlot`).
    pub roll_window_slots: i64,
    /// Bytes of a file of the timer log (`mappedFileSizeTimerLog`).
    pub log_file_len: u64,
}

impl TimerConfig {
    /// The window in force: within what the wheel can hold (`TimerMessageStore`).
    pub fn roll_window(&self) -> i64 {
        let widest = SLOTS_TOTAL - BLANK_SLOTS;
        if (2..=widest).contains(&self.roll_window_slots) {
            self.roll_window_slots
        } else {
            widest
        }
    }
}

/// Ticks above which all slots are looked at instead of one after the other.
const LOOK_AT_ALL_FROM: i64 = 4096;

/// A message that is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// TIMER_OUT_MS: its slot.
    pub out_ms: i64,
    /// Where it is in the commit log.
    pub physical_offset: i64,
    /// Its length there.
    pub size: i32,
    /// Java's hash of the topic that it is for.
    pub topic_hash: i32,
    /// Whether it marks a recall.
    pub is_delete: bool,
}

/// The open files; see the module.
#[derive(Debug)]
pub struct TimerStore {
    wheel: Wheel,
    log: TimerLog,
    file: TimerCheckpointFile,
    hint_file: TimerHintFile,
    hint: Option<TimerHint>,
    checkpoint: TimerCheckpoint,
    precision_ms: i64,
    roll_window: i64,
    pending: i64,
}

/// A store that was opened, and what was found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: TimerStore,
    /// Whether there was a `timercheck`.
    pub has_checkpoint: bool,
    /// Whether the timer log ends before the place that `timercheck` tells: a power loss, or it was
    /// removed. What it lacks has to be taken in again.
    pub lost_units: bool,
}

/// Messages by Java's hash of their topic, each with one of them.
pub type TopicCounts = HashMap<i32, (i64, Unit)>;

/// What a commit tells.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Slots before this time (ms) are delivered.
    pub read_time_ms: i64,
    /// Messages of the queue before this one are taken in.
    pub queue_offset: i64,
    /// The same at the master; as `queue_offset` at a master.
    pub master_queue_offset: i64,
    /// Deliveries that this does not count lie at or behind this position of the commit log; nothing at
    /// a slave, which does not know.
    pub log_position: Option<i64>,
}

impl TimerStore {
    /// Opens the files and makes those that are absent; brings the wheel up to the end of the timer log.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for files of a wrong length, [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(fs: &Fs, config: &TimerConfig) -> Result<Opened, StoreError> {
        recovery::open(fs, config)
    }

    /// Milliseconds of a slot. Another `timerPrecisionMs` counts only once nothing waits any more, for
    /// what waits is found by the old one.
    pub fn precision_ms(&self) -> i64 {
        self.precision_ms
    }

    /// The wheel, for those who look at single slots.
    pub fn wheel(&self) -> &Wheel {
        &self.wheel
    }

    /// The timer log.
    pub fn log(&self) -> &TimerLog {
        &self.log
    }

    /// What is on disk.
    pub fn checkpoint(&self) -> &TimerCheckpoint {
        &self.checkpoint
    }

    /// The hint that was found at the start, if it holds.
    pub fn hint(&self) -> Option<&TimerHint> {
        self.hint
            .as_ref()
            .filter(|hint| hint.holds_for(&self.checkpoint))
    }

    /// Messages that wait, less the marks of recalled ones.
    pub fn pending(&self) -> i64 {
        self.pending
    }

    /// A time (ms) cut to whole ticks.
    pub fn floor(&self, time_ms: i64) -> i64 {
        time_ms - time_ms.rem_euclid(self.precision_ms)
    }

    fn tick(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.precision_ms)
    }

    /// The slot of a message that is taken in at `write_time_ms`, and the magic of its unit: one that is
    /// further ahead than the window comes back before its time (`TimerMessageStore.doEnqueue`).
    pub fn place(&self, out_ms: i64, write_time_ms: i64) -> (i64, i32) {
        let window_ms = self.roll_window * self.precision_ms;
        let beyond = out_ms
            .saturating_sub(write_time_ms)
            .saturating_sub(window_ms);
        if beyond < 0 {
            return (out_ms, MAGIC_DEFAULT);
        }
        let step = if beyond < self.roll_window / 3 * self.precision_ms {
            self.roll_window / 2 * self.precision_ms
        } else {
            window_ms
        };
        (write_time_ms + step, MAGIC_DEFAULT | MAGIC_ROLL)
    }

    /// Takes messages in, in the order of the queue: their units go to the log with one write, then the
    /// slots to the wheel. After an error the store has to be opened again.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn take_in(&mut self, write_time_ms: i64, messages: &[Timed]) -> Result<(), StoreError> {
        let mut slots: HashMap<i64, Slot> = HashMap::new();
        let mut batch = self.log.batch();
        for message in messages {
            let (time_ms, mut magic) = self.place(message.out_ms, write_time_ms);
            if message.is_delete {
                magic |= MAGIC_DELETE;
            }
            let tick = self.tick(time_ms);
            let slot = match slots.entry(tick) {
                std::collections::hash_map::Entry::Occupied(slot) => slot.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    let slot = self.wheel.get(tick)?;
                    // A slot of long ago may point behind what a power loss left of the log.
                    let is_dead = slot.last_pos >= self.log.end();
                    place.insert(if is_dead { Slot::empty(tick) } else { slot })
                }
            };
            let prev_pos = slot.last_pos;
            let pos = self.log.add(&mut batch, |_| Unit {
                prev_pos,
                magic,
                write_time_ms,
                delay_ms: (time_ms - write_time_ms) as i32,
                physical_offset: message.physical_offset,
                size: message.size,
                topic_hash: message.topic_hash,
            });
            slot.push(pos, message.is_delete);
            self.pending += if message.is_delete { -1 } else { 1 };
        }
        self.log.write(&batch)?;
        slots.values().try_for_each(|slot| self.wheel.put(slot))
    }

    /// The next slot with something in it from `from_ms` on and before `before_ms`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn next_slot(&self, from_ms: i64, before_ms: i64) -> Result<Option<Slot>, StoreError> {
        let ticks = self.tick(from_ms)..self.tick(before_ms);
        if ticks.end.saturating_sub(ticks.start) > LOOK_AT_ALL_FROM {
            let slots = self.wheel.slots()?.into_iter();
            let within = slots.filter(|slot| ticks.contains(&slot.tick));
            return Ok(within.min_by_key(|slot| slot.tick));
        }
        for tick in ticks {
            let slot = self.wheel.get(tick)?;
            if !slot.is_empty() {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// The time of a slot, ms.
    pub fn time_of(&self, slot: &Slot) -> i64 {
        slot.tick.saturating_mul(self.precision_ms)
    }

    /// Begins to read a slot, or what it has got since the unit at `known` was its newest.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn walk(&self, slot: &Slot, known: Option<i64>) -> Result<SlotWalk, StoreError> {
        SlotWalk::begin(&self.log, slot, known, self.precision_ms)
    }

    /// How many messages wait for each topic, less the marks of recalled ones, by Java's hash of the
    /// topic; nothing when more than `units_max` wait.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn count_topics(
        &self,
        read_time_ms: i64,
        units_max: usize,
    ) -> Result<Option<TopicCounts>, StoreError> {
        let mut counts = TopicCounts::new();
        let mut units = 0;
        let first_tick = self.tick(read_time_ms);
        for slot in self.wheel.slots()? {
            if slot.tick < first_tick {
                continue;
            }
            let mut pos = slot.last_pos;
            while let Some(unit) = self.log.unit(pos)? {
                units += 1;
                if units > units_max {
                    return Ok(None);
                }
                let count = counts.entry(unit.topic_hash).or_insert((0, unit));
                count.0 += if unit.is_delete() { -1 } else { 1 };
                pos = unit.prev_pos;
            }
        }
        Ok(Some(counts))
    }

    /// A slot is delivered: its messages wait no more.
    pub fn slot_done(&mut self, slot: &Slot) {
        self.pending -= i64::from(slot.num);
    }

    /// Writes down how far the timer is; a killed process leaves that behind whole.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn commit(&mut self, progress: &Progress, now_ms: i64) -> Result<(), StoreError> {
        let mut next = TimerCheckpoint {
            last_read_time_ms: progress.read_time_ms,
            last_timer_log_flush_pos: self.log.end(),
            last_timer_queue_offset: progress.queue_offset.min(progress.master_queue_offset),
            master_timer_queue_offset: progress.master_queue_offset,
            data_version: self.checkpoint.data_version,
        };
        if next != self.checkpoint {
            if progress.log_position.is_some() {
                next.data_version.next(now_ms, 0);
            }
            self.file.write(&next)?;
            self.checkpoint = next;
        }
        if let Some(log_position) = progress.log_position {
            self.hint_file.write(&TimerHint {
                precision_ms: self.precision_ms,
                read_time_ms: next.last_read_time_ms,
                queue_offset: next.last_timer_queue_offset,
                log_position,
            })?;
        }
        Ok(())
    }

    /// Takes the version of the master's checkpoint.
    pub fn follow_version(&mut self, master: &TimerCheckpoint) {
        self.checkpoint.data_version = master.data_version;
    }

    /// Everything that has to be synced, in this order, to make what was written durable.
    pub fn take_unsynced(&mut self) -> Unsynced {
        Unsynced {
            log: self.log.take_unsynced(),
            wheel: self.wheel.clone(),
            file: self.file.clone(),
        }
    }

    /// Removes files of the timer log whose messages the commit log has no more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn delete_expired(&mut self, min_offset: i64) -> Result<usize, StoreError> {
        self.log.delete_expired(min_offset)
    }
}

/// Files to be synced, on a thread that may wait.
#[derive(Debug)]
pub struct Unsynced {
    log: Vec<FileRef>,
    wheel: Wheel,
    file: TimerCheckpointFile,
}

impl Unsynced {
    /// Whether nothing was added to the timer log.
    pub fn is_log_clean(&self) -> bool {
        self.log.is_empty()
    }

    /// Syncs the log, then the wheel that points into it, then the checkpoint that counts both.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        for file in &self.log {
            let synced = file.sync_data();
            synced.map_err(|e| StoreError::io("sync", std::path::Path::new("timerlog"), e))?;
        }
        self.wheel.sync()?;
        self.file.sync()
    }
}
