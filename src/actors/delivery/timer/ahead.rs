//! Reads a slot shortly before it is over, and puts its messages into the order of the times that they
//! asked for.
//!
//! A slot is delivered when all of it is over, so that who asked for its beginning waits for nearly a tick:
//! those go first, and nothing is left to be read when the tick ends.

use std::time::{Duration, Instant};

use super::due::waiting;
use crate::{
    actors::broker::{context::StoreHandles, timed::time_within_slot},
    store::{
        StoreError,
        timer::{
            TimerStore,
            unit::Unit,
            walk::{CHUNK, SlotWalk},
            wheel::Slot,
        },
    },
};

/// How long before its end a slot is read.
const AHEAD_MAX_MS: i64 = 250;

/// How long messages may be read for their times; the rest goes first, in the order of sending.
const READ_MAX: Duration = Duration::from_millis(100);

/// A unit, and the time that its message asked for where that is known.
pub(super) type AskedUnit = (Option<i64>, Unit);

/// What a slot held shortly before its end.
pub(super) struct Ahead {
    slot: Slot,
    marks: Vec<Unit>,
    units: Vec<AskedUnit>,
}

impl Ahead {
    /// Whether a slot that ends at `end_ms` may be read now.
    pub(super) fn is_time(end_ms: i64, precision_ms: i64, now_ms: i64) -> bool {
        end_ms - now_ms <= AHEAD_MAX_MS.min(precision_ms / 2)
    }

    /// Reads a slot; one that is too large for the memory is left for its time.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn read(
        handles: &StoreHandles,
        store: &TimerStore,
        slot: Slot,
    ) -> Result<Self, StoreError> {
        let nothing = Slot::empty(slot.tick);
        if usize::try_from(slot.num).unwrap_or(0) > CHUNK {
            return Ok(Self::of(nothing));
        }
        let mut walk = store.walk(&slot, None)?;
        if walk.len() > CHUNK {
            return Ok(Self::of(nothing));
        }
        let mut ahead = Self::of(slot);
        ahead.marks = walk.take_deletes();
        let units = walk.next_piece(store.log())?.unwrap_or_default();
        ahead.units = asked(handles, units);
        Ok(ahead)
    }

    fn of(slot: Slot) -> Self {
        Self {
            slot,
            marks: Vec::new(),
            units: Vec::new(),
        }
    }

    /// The tick that was read.
    pub(super) fn tick(&self) -> i64 {
        self.slot.tick
    }
}

/// A slot that is over: the walk over what has come since it was read ahead, all marks of recalls, and what
/// was read.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn begin(
    store: &TimerStore,
    slot: &Slot,
    ahead: Option<Ahead>,
) -> Result<(SlotWalk, Vec<Unit>, Vec<AskedUnit>), StoreError> {
    let ahead = ahead.filter(|ahead| ahead.tick() == slot.tick);
    let ahead = ahead.unwrap_or_else(|| Ahead::of(Slot::empty(slot.tick)));
    let known = (ahead.slot.last_pos >= 0).then_some(ahead.slot.last_pos);
    let mut walk = store.walk(slot, known)?;
    let mut marks = ahead.marks;
    marks.append(&mut walk.take_deletes());
    Ok((walk, marks, ahead.units))
}

/// What was read ahead and what came later, in the order of the times that were asked for; equal ones in the
/// order of sending.
pub(super) fn in_time_order(
    handles: &StoreHandles,
    ahead: Vec<AskedUnit>,
    later: Vec<Unit>,
) -> impl Iterator<Item = Unit> {
    let mut units = ahead;
    units.append(&mut asked(handles, later));
    units.sort_by_key(|(asked_ms, _)| *asked_ms);
    units.into_iter().map(|(_, unit)| unit)
}

/// The times that messages asked for, as far as they can be read in time.
fn asked(handles: &StoreHandles, units: Vec<Unit>) -> Vec<AskedUnit> {
    let since = Instant::now();
    let asked_ms = |unit: &Unit| {
        if since.elapsed() > READ_MAX {
            return None;
        }
        waiting(handles, unit.place(), |view| {
            time_within_slot(view.properties, view.store_timestamp)
        })?
    };
    units
        .into_iter()
        .map(|unit| (asked_ms(&unit), unit))
        .collect()
}
