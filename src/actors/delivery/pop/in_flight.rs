//! How many popped messages are neither acknowledged nor back (`PopInflightMessageCounter`).
//!
//! A published count for people and for `enablePopMessageThreshold`; it begins at 0 with the
//! process, so that acknowledgements of earlier pops do not count.

use std::sync::Arc;

use crate::{
    hash::DashMap,
    protocol::{Str, detached},
};

/// The counts by topic, group and queue; cheap to clone.
#[derive(Debug, Clone)]
pub struct InFlight {
    counts: Arc<DashMap<(Str, Str, i32), i64>>,
    /// Pops before this time (ms) were not counted.
    since: i64,
}

impl InFlight {
    /// Counts pops from `since` (ms) on.
    pub fn new(since: i64) -> Self {
        Self {
            counts: Arc::default(),
            since,
        }
    }

    /// Messages were popped.
    pub fn popped(&self, topic: &str, group: &str, queue: i32, messages: usize) {
        if messages > 0 {
            let key = (detached(topic), detached(group), queue);
            *self.counts.entry(key).or_default() += messages as i64;
        }
    }

    /// Messages that were popped at `pop_time` (ms) were acknowledged or came back.
    pub fn settled(&self, topic: &str, group: &str, queue: i32, pop_time: i64, messages: usize) {
        if pop_time < self.since {
            return;
        }
        let key = (Str::from(topic), Str::from(group), queue);
        if let Some(mut count) = self.counts.get_mut(&key) {
            *count -= messages as i64;
        }
        self.counts.remove_if(&key, |_, count| *count <= 0);
    }

    /// An ordered pop begins anew: what was in flight is popped again.
    pub fn clear(&self, topic: &str, group: &str, queue: i32) {
        let key = (Str::from(topic), Str::from(group), queue);
        self.counts.remove(&key);
    }

    /// A topic was deleted.
    pub fn forget_topic(&self, topic: &str) {
        self.counts.retain(|(known, _, _), _| **known != *topic);
    }

    /// A group was deleted.
    pub fn forget_group(&self, group: &str) {
        self.counts.retain(|(_, known, _), _| **known != *group);
    }

    /// How many are in flight.
    pub fn get(&self, topic: &str, group: &str, queue: i32) -> i64 {
        let key = (Str::from(topic), Str::from(group), queue);
        self.counts.get(&key).map_or(0, |count| *count)
    }

    /// How many are in flight in all.
    pub fn total(&self) -> i64 {
        self.counts.iter().map(|count| *count.value()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end_at_nothing() {
        let counts = InFlight::new(100);
        counts.popped("t", "g", 0, 3);
        counts.popped("t", "g", 1, 1);
        counts.settled("t", "g", 0, 99, 1);
        assert_eq!(counts.get("t", "g", 0), 3);
        counts.settled("t", "g", 0, 100, 2);
        assert_eq!((counts.get("t", "g", 0), counts.total()), (1, 2));
        counts.settled("t", "g", 0, 100, 9);
        assert_eq!(counts.get("t", "g", 0), 0);
        counts.clear("t", "g", 1);
        counts.popped("t", "h", 1, 1);
        counts.popped("u", "g", 1, 1);
        counts.forget_topic("t");
        assert_eq!((counts.get("t", "h", 1), counts.total()), (0, 1));
        counts.forget_group("g");
        assert_eq!(counts.total(), 0);
    }
}
