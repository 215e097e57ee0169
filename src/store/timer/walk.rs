//! Reading a slot: its chain leads from the newest unit to the oldest, and the oldest goes first.

use super::{log::TimerLog, unit::Unit, wheel::Slot};
use crate::store::error::StoreError;

/// Units that are in memory at a time; a slot may hold millions.
pub const CHUNK: usize = 16 * 1024;

/// A slot that is being read: one walk over the chain finds its pieces, a second one reads them. A slot of
/// one piece is kept from the first, for every unit is a read.
#[derive(Debug)]
pub struct SlotWalk {
    /// Where the pieces begin, the newest first.
    marks: Vec<i64>,
    /// The marks of recalls.
    deletes: Vec<Unit>,
    units: usize,
    /// The newest piece, newest unit first.
    newest: Vec<Unit>,
    /// Position of a unit before which the walk ends.
    known: Option<i64>,
    tick: i64,
    precision_ms: i64,
}

impl SlotWalk {
    pub(super) fn begin(
        log: &TimerLog,
        slot: &Slot,
        known: Option<i64>,
        precision_ms: i64,
    ) -> Result<Self, StoreError> {
        let mut walk = Self {
            marks: Vec::new(),
            deletes: Vec::new(),
            units: 0,
            newest: Vec::new(),
            known,
            tick: slot.tick,
            precision_ms,
        };
        let mut pos = slot.last_pos;
        while pos >= 0 && Some(pos) != known {
            let Some(unit) = log.unit(pos)? else {
                // Its file went with the messages that it told of.
                ::log::warn!("timer log has no unit at {pos}, tick={}", slot.tick);
                break;
            };
            if walk.units.is_multiple_of(CHUNK) {
                walk.marks.push(pos);
            }
            walk.units += 1;
            if walk.is_mine(&unit) {
                if is_recall(&unit) {
                    walk.deletes.push(unit);
                } else if walk.marks.len() == 1 {
                    walk.newest.push(unit);
                }
            }
            pos = unit.prev_pos;
        }
        if walk.marks.len() > 1 {
            walk.newest = Vec::new();
        }
        Ok(walk)
    }

    /// Whether a unit is for the slot's time: a wheel that is damaged must not make it early.
    fn is_mine(&self, unit: &Unit) -> bool {
        unit.time_ms().div_euclid(self.precision_ms) == self.tick
    }

    /// How many units the slot has.
    pub fn len(&self) -> usize {
        self.units
    }

    /// Whether the slot has none.
    pub fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// The marks of recalls, which count for the whole slot.
    pub fn take_deletes(&mut self) -> Vec<Unit> {
        std::mem::take(&mut self.deletes)
    }

    /// The next units that are delivered or roll, oldest first; `None` behind the last. A piece may be
    /// empty.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn next_piece(&mut self, log: &TimerLog) -> Result<Option<Vec<Unit>>, StoreError> {
        let Some(mut pos) = self.marks.pop() else {
            return Ok(None);
        };
        let mut piece = std::mem::take(&mut self.newest);
        if self.units > CHUNK {
            for _ in 0..CHUNK {
                if Some(pos) == self.known {
                    break;
                }
                let Some(unit) = log.unit(pos)? else { break };
                if self.is_mine(&unit) && !is_recall(&unit) {
                    piece.push(unit);
                }
                pos = unit.prev_pos;
            }
        }
        piece.reverse();
        Ok(Some(piece))
    }
}

/// Whether a unit marks a message of its slot; the mark of one beyond the roll window rolls as that does.
fn is_recall(unit: &Unit) -> bool {
    unit.is_delete() && !unit.rolls()
}
