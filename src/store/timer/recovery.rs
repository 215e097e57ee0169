//! Opening the timer's files, whoever wrote them and however it ended (`TimerMessageStore.recover`).
//!
//! The timer log is the truth: its end is found, and the wheel is brought up to it. A wheel that is
//! absent, or that knows units which the log lost (a power loss), is made anew from all of the log.

use std::collections::HashMap;

use super::{
    Opened, TimerConfig, TimerStore,
    checkpoint::TimerCheckpointFile,
    hint::TimerHintFile,
    log::TimerLog,
    wheel::{Slot, Wheel},
};
use crate::store::{error::StoreError, fs::Fs};

pub(super) fn open(fs: &Fs, config: &TimerConfig) -> Result<Opened, StoreError> {
    let (file, found) = TimerCheckpointFile::open(fs, &config.root.join("config/timercheck"))?;
    let has_checkpoint = found.is_some_and(|found| found.last_read_time_ms > 0);
    let checkpoint = found.unwrap_or_default();
    let (hint_file, hint) = TimerHintFile::open(fs, &config.own_dir.join("timer"))?;
    let (wheel, is_new) = Wheel::open(fs, &config.root.join("timerwheel"))?;
    let mut log = TimerLog::open(fs, &config.root.join("timerlog"), config.log_file_len)?;

    let flushed = checkpoint.last_timer_log_flush_pos;
    let from = flushed.saturating_sub(log.file_len()).max(0);
    let read_time = checkpoint.last_read_time_ms;
    let precision_ms = precision(
        &wheel,
        config.precision_ms,
        hint.map(|h| h.precision_ms),
        read_time,
    )?;
    let first_tick = read_time.div_euclid(precision_ms);

    let mut tail = Vec::new();
    let is_dead = |slot: &Slot, end: i64| slot.tick >= first_tick && slot.last_pos >= end;
    if !is_new {
        let mut slots = SlotCache::new(&wheel, first_tick, precision_ms);
        log.find_end(from, |pos, unit| slots.note(pos, unit))?;
        tail = slots.changed()?;
    }
    let known = wheel.slots()?;
    if is_new || known.iter().any(|slot| is_dead(slot, log.end())) {
        if !log.is_empty() {
            ::log::warn!("the timer wheel is made anew from the timer log");
        }
        wheel.clear()?;
        let mut slots = SlotCache::new(&wheel, first_tick, precision_ms);
        log.find_end(log.start(), |pos, unit| slots.note(pos, unit))?;
        tail = slots.changed()?;
    }
    tail.iter().try_for_each(|slot| wheel.put(slot))?;
    let waiting = wheel
        .slots()?
        .into_iter()
        .filter(|slot| slot.tick >= first_tick);
    let pending = waiting.map(|slot| i64::from(slot.num)).sum();
    let lost_units = log.end() < flushed;
    Ok(Opened {
        store: TimerStore {
            wheel,
            log,
            file,
            hint_file,
            hint,
            checkpoint,
            precision_ms,
            roll_window: config.roll_window(),
            pending,
        },
        has_checkpoint,
        lost_units,
    })
}

/// The precision to go on with: the one that what waits was taken in with.
fn precision(
    wheel: &Wheel,
    configured: i64,
    before: Option<i64>,
    read_time: i64,
) -> Result<i64, StoreError> {
    let Some(before) = before.filter(|&before| before != configured && before > 0) else {
        return Ok(configured);
    };
    let first_tick = read_time.div_euclid(before);
    let waits = wheel.slots()?.iter().any(|slot| slot.tick >= first_tick);
    if !waits {
        return Ok(configured);
    }
    ::log::warn!(
        "timerPrecisionMs={before} stays in force while messages wait that were taken in with it"
    );
    Ok(before)
}

/// Slots that a walk over the log may change.
struct SlotCache<'a> {
    wheel: &'a Wheel,
    first_tick: i64,
    precision_ms: i64,
    slots: HashMap<i64, (Slot, bool)>,
    failed: Option<StoreError>,
}

impl<'a> SlotCache<'a> {
    fn new(wheel: &'a Wheel, first_tick: i64, precision_ms: i64) -> Self {
        Self {
            wheel,
            first_tick,
            precision_ms,
            slots: HashMap::new(),
            failed: None,
        }
    }

    /// A unit that its slot does not know yet goes into it (`reviseSlot`); slots that are delivered
    /// already are of no interest.
    fn note(&mut self, pos: i64, unit: &super::unit::Unit) {
        let tick = unit.time_ms().div_euclid(self.precision_ms);
        if tick < self.first_tick.max(1) {
            return;
        }
        let (slot, changed) = match self.slots.entry(tick) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => match self.wheel.get(tick) {
                Ok(slot) => place.insert((slot, false)),
                Err(error) => {
                    self.failed.get_or_insert(error);
                    return;
                }
            },
        };
        if pos > slot.last_pos {
            slot.push(pos, unit.is_delete());
            *changed = true;
        }
    }

    fn changed(self) -> Result<Vec<Slot>, StoreError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let slots = self.slots.into_values();
        Ok(slots
            .filter(|(_, changed)| *changed)
            .map(|(slot, _)| slot)
            .collect())
    }
}
