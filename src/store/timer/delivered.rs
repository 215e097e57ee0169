//! What was delivered already: read back from the commit log after a kill.
//!
//! A timed message is delivered as a new record with the same unique key, time of birth, body and
//! TIMER_OUT_MS. Two that agree in all of that are the same message sent twice, so fingerprints are
//! counted: as many as were found are skipped.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::protocol::message::{properties, record::RecordView};

/// Fingerprints of delivered messages; see the module. Its size is bounded by what one slot holds and
/// one round takes in, for everything before is counted by `timercheck`.
#[derive(Debug, Default)]
pub struct Delivered {
    counts: HashMap<Fingerprint, u32>,
}

/// What tells one delivery from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn of(view: &RecordView<'_>, topic: &str, queue_id: i32, rolls: i64) -> Self {
        let names = [properties::UNIQ_KEY, properties::TIMER_OUT_MS];
        let [unique_key, out_ms] = properties::get_all(view.properties, names);
        let hash = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            seed.hash(&mut hasher);
            (topic, queue_id, rolls).hash(&mut hasher);
            unique_key.hash(&mut hasher);
            out_ms.hash(&mut hasher);
            (view.born_timestamp, view.body_crc, view.body.len()).hash(&mut hasher);
            hasher.finish()
        };
        Self(hash(0), hash(1))
    }
}

impl Delivered {
    /// Looks at a record of the commit log and keeps it if the timer put it there.
    pub fn note(&mut self, view: &RecordView<'_>) {
        if view.property(properties::TIMER_DEQUEUE_MS).is_none() {
            return;
        }
        let rolls = properties::get_int(view.properties, properties::TIMER_ROLL_TIMES);
        let print = Fingerprint::of(view, view.topic, view.queue_id, rolls.unwrap_or(0));
        *self.counts.entry(print).or_default() += 1;
    }

    /// Takes one delivery of a message to `topic` out, which rolled so often before; whether there was one.
    pub fn take(&mut self, view: &RecordView<'_>, topic: &str, queue_id: i32, rolls: i64) -> bool {
        if self.is_empty() {
            return false;
        }
        let print = Fingerprint::of(view, topic, queue_id, rolls);
        let Some(count) = self.counts.get_mut(&print) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&print);
        }
        true
    }

    /// How many deliveries are known.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
