//! Which half messages are still open, as far as this life of the actor knows.
//!
//! Half messages are settled (ended, moved to the end of the queue, or given up) in any order; the
//! first one that is not is where the next round begins, and marks whose half messages lie before it
//! need not be read again. Both positions are the consumer offsets of CID_RMQ_SYS_TRANS, so that a
//! restart, a slave that becomes the master, and a Java broker begin there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Settled half messages behind the first open one, and marks, that are remembered at most. Beyond it
/// marks are read later.
const SETTLED_MAX: usize = 1 << 20;

/// Moves that are remembered at most; without one a producer's late word ends a copy that was moved on,
/// and it is asked again.
const MOVES_MAX: usize = 1 << 17;

/// Ended half messages that are remembered at most, so that a word that comes twice is one word.
const RECENT_MAX: usize = 1 << 16;

/// What is known of a half message that its producer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is open; its newest copy is at this offset.
    Open(i64),
    /// It was ended before, in this life.
    Ended,
    /// It may have been ended in an earlier life, or moved or given up then; or it was given up in
    /// this one.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Offset of the first half message that is not settled.
    half: i64,
    /// Offset of the next mark to read.
    next_op: i64,
    /// Settled ones at and behind `half`.
    settled: BTreeSet<i64>,
    /// Those that producers ended in this life.
    recent: BTreeSet<i64>,
    /// Marks that were read and are needed, each with the largest offset that it names.
    marks: VecDeque<(i64, i64)>,
    /// Where a half message was moved to; nowhere if it was given up.
    moves: BTreeMap<i64, Option<i64>>,
}

impl Ledger {
    /// Begins at committed offsets.
    pub(super) fn new(half: i64, op: i64) -> Self {
        Self {
            half,
            next_op: op,
            ..Self::default()
        }
    }

    /// Offset of the first half message that is not settled.
    pub(super) fn half(&self) -> i64 {
        self.half
    }

    /// Offset of the next mark to read.
    pub(super) fn next_op(&self) -> i64 {
        self.next_op
    }

    /// The queue of half messages holds these offsets.
    pub(super) fn clamp_half(&mut self, min: i64, max: i64) {
        self.half = self.half.clamp(min, max.max(min));
        self.settle();
    }

    /// The queue of marks holds these offsets.
    pub(super) fn clamp_op(&mut self, min: i64, max: i64) {
        self.next_op = self.next_op.clamp(min, max.max(min));
    }

    /// Whether no more marks can be taken for now.
    pub(super) fn is_full(&self) -> bool {
        self.settled.len() >= SETTLED_MAX || self.marks.len() >= SETTLED_MAX
    }

    /// Takes the next mark.
    pub(super) fn read_mark(&mut self, offset: i64, halves: impl Iterator<Item = i64>) {
        self.next_op = offset + 1;
        let mut largest = -1;
        for half in halves {
            largest = largest.max(half);
            self.note(half);
        }
        self.marks.push_back((offset, largest));
        self.settle();
    }

    /// A half message was ended here. Past the bound it is read from its mark instead.
    pub(super) fn end(&mut self, half: i64) {
        self.recent.insert(half);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
        if self.settled.len() < SETTLED_MAX {
            self.note(half);
            self.settle();
        }
    }

    /// A half message is done with that the walk has just met: nothing before it is open.
    pub(super) fn pass(&mut self, half: i64) {
        self.note(half);
        self.settle();
    }

    /// A half message was stored again at `to`, or given up.
    pub(super) fn moved(&mut self, from: i64, to: Option<i64>) {
        self.moves.insert(from, to);
        if self.moves.len() > MOVES_MAX {
            self.moves.pop_first();
        }
        self.pass(from);
    }

    fn note(&mut self, half: i64) {
        if half >= self.half {
            self.settled.insert(half);
        }
    }

    fn settle(&mut self) {
        while let Some(&first) = self.settled.first() {
            if first > self.half {
                break;
            }
            self.settled.pop_first();
            self.half = self.half.max(first + 1);
        }
        while let Some(&(_, largest)) = self.marks.front() {
            if largest >= self.half {
                break;
            }
            self.marks.pop_front();
        }
    }

    /// Whether a half message at or behind [`Ledger::half`] is settled.
    pub(super) fn is_settled(&self, half: i64) -> bool {
        half < self.half || self.settled.contains(&half)
    }

    /// What is known of the half message that was stored at `half` first.
    pub(super) fn fate(&self, half: i64) -> Fate {
        let mut newest = half;
        while let Some(to) = self.moves.get(&newest) {
            match *to {
                // A copy always lies behind what it was made of.
                Some(to) if to > newest => newest = to,
                _ => return Fate::Unknown,
            }
        }
        if self.recent.contains(&newest) {
            return Fate::Ended;
        }
        if !self.is_settled(newest) {
            return Fate::Open(newest);
        }
        if newest != half {
            return Fate::Ended;
        }
        Fate::Unknown
    }

    /// The offsets to commit: of half messages, and of marks. In this order; the other way round a
    /// mark could be forgotten whose half message is looked at again.
    pub(super) fn committed(&self) -> (i64, i64) {
        let op = self
            .marks
            .front()
            .map_or(self.next_op, |&(offset, _)| offset);
        (self.half, op)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_late_word_ends_the_newest_copy() {
        let mut ledger = Ledger::new(0, 0);
        assert_eq!(ledger.fate(0), Fate::Open(0));
        ledger.moved(0, Some(5));
        ledger.moved(5, Some(9));
        assert_eq!(ledger.fate(0), Fate::Open(9));
        assert_eq!(ledger.half(), 1);
        ledger.end(9);
        assert_eq!(ledger.fate(0), Fate::Ended);
        (1..9).for_each(|half| ledger.end(half));
        assert_eq!((ledger.half(), ledger.settled.len()), (10, 0));
        assert_eq!(ledger.fate(0), Fate::Ended);
        assert_eq!(ledger.fate(3), Fate::Ended);
        ledger.pass(10);
        assert_eq!(ledger.fate(10), Fate::Unknown);
    }

    #[test]
    fn what_was_given_up_may_still_be_ended() {
        let mut ledger = Ledger::new(0, 0);
        ledger.moved(0, Some(1));
        ledger.moved(1, None);
        assert_eq!((ledger.fate(0), ledger.half()), (Fate::Unknown, 2));
    }

    #[test]
    fn a_mark_is_needed_until_all_before_it_is_settled() {
        let mut ledger = Ledger::new(10, 4);
        ledger.read_mark(4, [3, 12, 10].into_iter());
        ledger.read_mark(5, [11].into_iter());
        ledger.read_mark(6, [14].into_iter());
        assert_eq!(ledger.committed(), (13, 6));
        ledger.end(13);
        assert_eq!(ledger.committed(), (15, 7));
        ledger.clamp_half(20, 30);
        ledger.clamp_op(0, 5);
        assert_eq!(ledger.committed(), (20, 5));
    }

    proptest! {
        /// After a restart at the committed offsets, reading the marks again, the same half messages
        /// are open.
        #[test]
        fn committed_offsets_are_enough(
            marks in proptest::collection::vec(proptest::collection::vec(0..40i64, 0..6), 0..20),
            read in 0..20usize,
        ) {
            let mut ledger = Ledger::new(0, 0);
            let all = (0..).zip(&marks);
            for (offset, halves) in all.clone().take(read) {
                ledger.read_mark(offset, halves.iter().copied());
            }
            let (half, op) = ledger.committed();
            let mut again = Ledger::new(half, op);
            for (offset, halves) in all.clone().skip(op as usize) {
                again.read_mark(offset, halves.iter().copied());
            }
            for (offset, halves) in all.skip(read) {
                ledger.read_mark(offset, halves.iter().copied());
            }
            for half in 0..40 {
                let ended = marks.iter().any(|halves| halves.contains(&half));
                prop_assert_eq!(ledger.is_settled(half), ended);
                prop_assert_eq!(again.is_settled(half), ended);
            }
            prop_assert_eq!(ledger.half(), again.half());
        }
    }
}
