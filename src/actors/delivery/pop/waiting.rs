//! Requests that wait until there is a message to pop (`PopLongPollingService`).
//!
//! Each waits under its topic, group and queue, -1 for all queues, until a deadline. Those whose
//! time is up first go first.

use std::collections::BTreeMap;

use crate::{hash::HashMap, protocol::Str};

/// Group and queue; -1 is every queue.
type Place = (Str, i32);

/// Deadline and number of a request.
type Turn = (i64, u64);

/// Limits of waiting requests (`popPollingSize`, `popPollingMapSize`, `maxPopPollingSize`).
#[derive(Debug, Clone, Copy)]
pub struct WaitLimits {
    /// Requests of one topic, group and queue: one more than this many may wait, as in RocketMQ.
    pub per_place: usize,
    /// Different topics, groups and queues.
    pub places: usize,
}

/// The table; see the module.
pub struct Waiting<W> {
    topics: HashMap<Str, BTreeMap<Place, BTreeMap<Turn, W>>>,
    places: usize,
    total: usize,
    next: u64,
}

impl<W> Default for Waiting<W> {
    fn default() -> Self {
        Self {
            topics: HashMap::default(),
            places: 0,
            total: 0,
            next: 0,
        }
    }
}

impl<W> Waiting<W> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many wait at one place.
    pub fn len_at(&self, topic: &str, group: &str, queue: i32) -> usize {
        let place = (Str::from(group), queue);
        self.topics
            .get(topic)
            .and_then(|places| places.get(&place))
            .map_or(0, BTreeMap::len)
    }

    /// Whether somebody of the group waits for the topic.
    pub fn has_group(&self, topic: &str, group: &str) -> bool {
        self.places_of(topic).any(|(known, _)| *known == *group)
    }

    /// Whether anybody waits for the topic.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    fn places_of(&self, topic: &str) -> impl Iterator<Item = &Place> {
        self.topics.get(topic).into_iter().flat_map(BTreeMap::keys)
    }

    /// Keeps a request until `deadline` (ms); gives it back where too many wait.
    pub fn keep(
        &mut self,
        (topic, group, queue): (&Str, &Str, i32),
        deadline: i64,
        limits: WaitLimits,
        request: W,
    ) -> Result<(), W> {
        let waiting = self.len_at(topic, group, queue);
        if waiting > limits.per_place || (waiting == 0 && self.places >= limits.places) {
            return Err(request);
        }
        self.next += 1;
        let places = self.topics.entry(topic.clone()).or_default();
        let place = places.entry((group.clone(), queue)).or_default();
        place.insert((deadline, self.next), request);
        self.places += usize::from(waiting == 0);
        self.total += 1;
        Ok(())
    }

    /// Takes the request of a place whose time is up first.
    pub fn take(&mut self, topic: &str, group: &str, queue: i32) -> Option<W> {
        let place = (Str::from(group), queue);
        let (_, request) = self.topics.get_mut(topic)?.get_mut(&place)?.pop_first()?;
        self.taken(topic, &place, 1);
        Some(request)
    }

    /// Takes at most `count` requests of each group at a queue of the topic, and as many that wait
    /// for all its queues.
    pub fn take_for(&mut self, topic: &str, queue: i32, count: usize) -> Vec<W> {
        let places = self.places_of(topic).cloned();
        let concerned: Vec<Place> = places
            .filter(|(_, waits_for)| *waits_for == queue || *waits_for < 0)
            .collect();
        let mut all = Vec::new();
        for (group, waits_for) in concerned {
            for _ in 0..count.max(1) {
                let Some(request) = self.take(topic, &group, waits_for) else {
                    break;
                };
                all.push(request);
            }
        }
        all
    }

    /// Takes one request of a group, whatever queue it waits for, all queues first.
    pub fn take_of_group(&mut self, topic: &str, group: &str) -> Option<W> {
        let queue = self
            .places_of(topic)
            .filter(|(known, _)| *known == *group)
            .map(|(_, queue)| *queue)
            .min()?;
        self.take(topic, group, queue)
    }

    /// Takes all whose deadline is not after `now` (ms).
    pub fn expired(&mut self, now: i64) -> Vec<W> {
        let mut all = Vec::new();
        let mut emptier = Vec::new();
        for (topic, places) in &mut self.topics {
            for (place, requests) in places.iter_mut() {
                let before = all.len();
                while let Some(first) = requests.first_entry() {
                    if first.key().0 > now {
                        break;
                    }
                    all.push(first.remove());
                }
                if all.len() > before {
                    emptier.push((topic.clone(), place.clone(), all.len() - before));
                }
            }
        }
        for (topic, place, count) in emptier {
            self.taken(&topic, &place, count);
        }
        all
    }

    /// Counts requests that were taken, and forgets a place where nobody waits any more.
    fn taken(&mut self, topic: &str, place: &Place, count: usize) {
        self.total -= count;
        let Some(places) = self.topics.get_mut(topic) else {
            return;
        };
        if places.get(place).is_some_and(BTreeMap::is_empty) {
            places.remove(place);
            self.places -= 1;
        }
        if places.is_empty() {
            self.topics.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: WaitLimits = WaitLimits {
        per_place: 3,
        places: 3,
    };

    fn keep(table: &mut Waiting<u32>, place: (&str, &str, i32), deadline: i64, id: u32) -> bool {
        let (topic, group) = (Str::from(place.0), Str::from(place.1));
        table
            .keep((&topic, &group, place.2), deadline, LIMITS, id)
            .is_ok()
    }

    #[test]
    fn the_most_urgent_goes_first() {
        let mut table = Waiting::default();
        for (deadline, id) in [(30, 3), (10, 1), (20, 2), (10, 4)] {
            assert!(keep(&mut table, ("t", "g", -1), deadline, id));
        }
        assert!(!keep(&mut table, ("t", "g", -1), 5, 9), "the place is full");
        assert!(keep(&mut table, ("t", "h", 0), 5, 5));
        assert!(keep(&mut table, ("t", "h", 1), 50, 6));
        assert!(!keep(&mut table, ("u", "h", 1), 50, 7), "too many places");
        assert_eq!((table.len(), table.len_at("t", "g", -1)), (6, 4));
        assert_eq!(table.take("t", "g", -1), Some(1));
        assert_eq!(table.take_for("t", 1, 1), [4, 6]);
        assert_eq!(table.expired(20), [2, 5]);
        assert!(table.has_group("t", "g") && !table.has_group("t", "h"));
        assert_eq!(table.take_of_group("t", "g"), Some(3));
        assert!(table.is_empty() && table.topics.is_empty() && table.places == 0);
    }

    proptest! {
        #[test]
        fn nobody_is_lost(steps in proptest::collection::vec((0u8..4, 0i32..3, 0i64..9), 0..60)) {
            let mut table = Waiting::default();
            let (mut kept, mut taken) = (0u32, 0usize);
            for (kind, queue, number) in steps {
                let topic = if number % 2 == 0 { "t" } else { "u" };
                match kind {
                    0 | 1 => kept += u32::from(keep(&mut table, (topic, "g", queue - 1), number, kept)),
                    2 => taken += table.take_for(topic, queue, number as usize).len(),
                    _ => taken += table.expired(number - 4).len(),
                }
                prop_assert_eq!(table.len() + taken, kept as usize);
            }
            prop_assert_eq!(table.expired(i64::MAX).len() + taken, kept as usize);
            prop_assert!(table.topics.is_empty() && table.places == 0);
        }
    }
}
