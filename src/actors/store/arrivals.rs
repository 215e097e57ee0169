//! Who is to hear that messages of a topic arrived: pops that wait belong to no single queue, so they
//! are not held by queues as pulls are.
//!
//! Queues tell what arrived; while nobody watches any topic that costs one load of an atomic.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use actix::Message;
use dashmap::DashMap;
use smallvec::SmallVec;

use crate::{
    actors::kernel::TellRef,
    protocol::{Str, detached},
    store::queue_table::QueueKey,
};

/// Messages of a watched topic became readable.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct TopicArrived {
    /// The queue that they lie in.
    pub queue: QueueKey,
    /// Their tags codes; empty when they are not known.
    pub tags_codes: SmallVec<[i64; 4]>,
}

#[derive(Default)]
struct Inner {
    listeners: OnceLock<Box<[TellRef<TopicArrived>]>>,
    watched: AtomicUsize,
    /// Numbers of the listeners by topic.
    topics: DashMap<Str, SmallVec<[usize; 2]>>,
}

/// See the module; cheap to clone.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Inner>);

impl Arrivals {
    /// Names the listeners; a second call has no effect.
    pub fn set(&self, listeners: Vec<TellRef<TopicArrived>>) {
        let _ = self.0.listeners.set(listeners.into());
    }

    /// From now on listener number `listener` hears of a topic.
    pub fn watch(&self, topic: &str, listener: usize) {
        let mut listeners = self.0.topics.entry(detached(topic)).or_default();
        if !listeners.contains(&listener) {
            listeners.push(listener);
            self.0.watched.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The listener hears of the topic no longer.
    pub fn unwatch(&self, topic: &str, listener: usize) {
        self.0.topics.remove_if_mut(topic, |_, listeners| {
            self.remove(listeners, listener);
            listeners.is_empty()
        });
    }

    /// The listener hears of nothing any longer: it was made anew.
    pub fn forget(&self, listener: usize) {
        self.0.topics.retain(|_, listeners| {
            self.remove(listeners, listener);
            !listeners.is_empty()
        });
    }

    fn remove(&self, listeners: &mut SmallVec<[usize; 2]>, listener: usize) {
        if let Some(at) = listeners.iter().position(|&known| known == listener) {
            listeners.swap_remove(at);
            self.0.watched.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Tells the listeners of a topic that messages arrived in one of its queues.
    pub fn tell(&self, queue: &QueueKey, tags_codes: impl IntoIterator<Item = i64>) {
        if self.0.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(numbers) = self.0.topics.get(&queue.topic).map(|found| found.clone()) else {
            return;
        };
        let event = TopicArrived {
            queue: queue.clone(),
            tags_codes: tags_codes.into_iter().collect(),
        };
        let listeners = self.0.listeners.get().map_or(&[][..], |all| all);
        for number in numbers {
            if let Some(listener) = listeners.get(number) {
                listener.tell(event.clone());
            }
        }
    }

    /// How many pairs of topic and listener there are.
    pub fn watched(&self) -> usize {
        self.0.watched.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watching_is_counted_once_and_ends() {
        let arrivals = Arrivals::default();
        arrivals.watch("a", 0);
        arrivals.watch("a", 0);
        arrivals.watch("a", 1);
        arrivals.watch("b", 1);
        assert_eq!(arrivals.watched(), 3);
        arrivals.unwatch("a", 0);
        arrivals.unwatch("a", 0);
        arrivals.unwatch("c", 0);
        assert_eq!(arrivals.watched(), 2);
        arrivals.forget(1);
        assert_eq!((arrivals.watched(), arrivals.0.topics.len()), (0, 0));
        arrivals.tell(&QueueKey::new("a".into(), 0), [1]);
    }
}
