//! The published table of topic queues: who they are and which offset their next message gets.
//!
//! Many threads look queues up; the commit log's writer alone moves the offsets. A [`QueueSlot`] is
//! handed around so that the hot path hashes a topic once, where a request is validated.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use dashmap::DashMap;

use crate::protocol::Str;

/// Names one queue of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    /// The topic.
    pub topic: Str,
    /// The queue's number within the topic.
    pub queue_id: i32,
}

impl QueueKey {
    /// A key; the topic's bytes are shared, not copied.
    pub fn new(topic: Str, queue_id: i32) -> Self {
        Self { topic, queue_id }
    }
}

impl std::fmt::Display for QueueKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.queue_id)
    }
}

/// Lets the table be asked with a borrowed topic, so that a lookup allocates nothing.
trait KeyLike {
    fn parts(&self) -> (&str, i32);
}

impl KeyLike for QueueKey {
    fn parts(&self) -> (&str, i32) {
        (&self.topic, self.queue_id)
    }
}

impl KeyLike for (&str, i32) {
    fn parts(&self) -> (&str, i32) {
        *self
    }
}

impl Hash for dyn KeyLike + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn KeyLike + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn KeyLike + '_ {}

impl Hash for QueueKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<'a> Borrow<dyn KeyLike + 'a> for QueueKey {
    fn borrow(&self) -> &(dyn KeyLike + 'a) {
        self
    }
}

/// One topic queue, from its creation until its topic is deleted.
#[derive(Debug)]
pub struct QueueSlot {
    /// Which queue.
    pub key: QueueKey,
    /// Differs between a deleted topic's queue and its successor of the same name.
    pub generation: u64,
    next_offset: AtomicI64,
    removed: AtomicBool,
}

impl QueueSlot {
    /// A slot of its own, for tests and for tools without a table.
    pub fn detached(key: QueueKey, generation: u64, next_offset: i64) -> Arc<Self> {
        Arc::new(Self {
            key,
            generation,
            next_offset: AtomicI64::new(next_offset),
            removed: AtomicBool::new(false),
        })
    }

    /// The queue offset that the next message gets: the queue's max offset.
    pub fn next_offset(&self) -> i64 {
        self.next_offset.load(Ordering::Acquire)
    }

    /// Moves the next offset; only for the commit log's writer and for recovery.
    pub fn set_next_offset(&self, next_offset: i64) {
        self.next_offset.store(next_offset, Ordering::Release);
    }

    /// Raises the next offset to at least `next_offset`; only for the writer and for recovery.
    pub fn raise_next_offset(&self, next_offset: i64) {
        self.next_offset.fetch_max(next_offset, Ordering::AcqRel);
    }

    /// Whether the topic was deleted since this slot was handed out: appends to it are refused.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// All topic queues of a store.
#[derive(Debug, Default)]
pub struct QueueTable {
    slots: DashMap<QueueKey, Arc<QueueSlot>>,
    generations: AtomicU64,
}

impl QueueTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The slot of a queue, if it has one.
    pub fn get(&self, topic: &str, queue_id: i32) -> Option<Arc<QueueSlot>> {
        let key: &dyn KeyLike = &(topic, queue_id);
        self.slots.get(key).map(|slot| Arc::clone(&slot))
    }

    /// The slot of a queue, made with next offset 0 when absent.
    pub fn get_or_create(&self, topic: &str, queue_id: i32) -> Arc<QueueSlot> {
        if let Some(slot) = self.get(topic, queue_id) {
            return slot;
        }
        // A copy: a slice of the frame that named the topic would keep the whole frame in memory.
        let key = QueueKey::new(Str::from(topic), queue_id);
        let entry = self.slots.entry(key.clone()).or_insert_with(|| {
            let generation = self.generations.fetch_add(1, Ordering::Relaxed);
            QueueSlot::detached(key, generation, 0)
        });
        Arc::clone(&entry)
    }

    /// Takes all queues of a topic out; their slots refuse appends from now on.
    pub fn remove_topic(&self, topic: &str) -> Vec<Arc<QueueSlot>> {
        let mut removed = Vec::new();
        self.slots.retain(|key, slot| {
            let keep = *key.topic != *topic;
            if !keep {
                slot.removed.store(true, Ordering::Release);
                removed.push(Arc::clone(slot));
            }
            keep
        });
        removed.sort_by_key(|slot| slot.key.queue_id);
        removed
    }

    /// All slots as of now, in no order.
    pub fn slots(&self) -> Vec<Arc<QueueSlot>> {
        self.slots.iter().map(|slot| Arc::clone(&slot)).collect()
    }

    /// Empties the table, as recovery does before it rebuilds it.
    pub fn clear(&self) {
        self.slots.retain(|_, slot| {
            slot.removed.store(true, Ordering::Release);
            false
        });
    }

    /// How many queues there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no queues.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_made_once_and_found_by_borrowed_name() {
        let table = QueueTable::new();
        assert!(table.get("T", 1).is_none());
        let slot = table.get_or_create("T", 1);
        slot.set_next_offset(7);
        assert_eq!(table.get_or_create("T", 1).next_offset(), 7);
        assert_eq!(table.get("T", 1).unwrap().key.to_string(), "T/1");
        assert!(table.get("T", 2).is_none());
        slot.raise_next_offset(5);
        assert_eq!(slot.next_offset(), 7);
    }

    #[test]
    fn a_deleted_topic_starts_a_new_generation() {
        let table = QueueTable::new();
        let old = table.get_or_create("T", 0);
        let other = table.get_or_create("U", 0);
        table.get_or_create("T", 1);
        let removed = table.remove_topic("T");
        assert_eq!(removed.len(), 2);
        assert!(old.is_removed());
        assert!(!other.is_removed());
        let new = table.get_or_create("T", 0);
        assert_ne!(new.generation, old.generation);
        assert!(!new.is_removed());
        assert_eq!(table.len(), 2);
        table.clear();
        assert!(table.is_empty());
    }
}
