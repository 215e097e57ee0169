//! The published table of topic queues: who they are and which offset their next message gets.
//!
//! Many threads look queues up; the commit log's writer alone moves the offsets. A [`QueueSlot`] is
//! handed around so that the hot path hashes a topic once, where a request is validated.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::Entry;

use super::dispatch::DispatchRecord;
use crate::{
    hash::DashMap,
    protocol::{
        Str,
        body::topic_config::TopicConfig,
        message::{names, sys_flag},
    },
};

/// What kind of queue a topic has (RocketMQ's `CQType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// A record is a message (`queue.type=SimpleCQ`, the default).
    Simple,
    /// A record holds one or several messages and takes as many offsets (`queue.type=BatchCQ`).
    Batch,
}

impl QueueKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Simple, Self::Batch];

    /// The kind that a topic's attributes ask for.
    pub fn of(topic: &TopicConfig) -> Self {
        match topic.is_batch_cq() {
            false => Self::Simple,
            true => Self::Batch,
        }
    }
}

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

/// 1 for a light message queue.
fn is_lmq(topic: &str) -> usize {
    usize::from(names::is_lmq(topic))
}

/// One topic queue, from its creation until its topic is deleted.
#[derive(Debug)]
pub struct QueueSlot {
    /// Which queue.
    pub key: QueueKey,
    /// Differs between a deleted topic's queue and its successor of the same name.
    pub generation: u64,
    /// End of the log when the slot was made: what lies below is of a deleted topic of that name.
    born_at: i64,
    /// Whether it is a queue of batches.
    is_batch: AtomicBool,
    next_offset: AtomicI64,
    reserved: AtomicI64,
    readable_end: AtomicI64,
    min_offset: AtomicI64,
    complete_upto: AtomicI64,
    last_physical: AtomicI64,
    put_messages: AtomicU64,
    put_bytes: AtomicU64,
    put_requests: AtomicU64,
    removed: AtomicBool,
}

impl QueueSlot {
    /// A slot of its own, for tests and for tools without a table.
    pub fn detached(key: QueueKey, generation: u64, next_offset: i64) -> Arc<Self> {
        Arc::new(Self::new(key, generation, 0, next_offset))
    }

    fn new(key: QueueKey, generation: u64, born_at: i64, next_offset: i64) -> Self {
        Self {
            key,
            generation,
            born_at,
            is_batch: AtomicBool::new(false),
            next_offset: AtomicI64::new(next_offset),
            reserved: AtomicI64::new(next_offset),
            readable_end: AtomicI64::new(next_offset),
            min_offset: AtomicI64::new(0),
            complete_upto: AtomicI64::new(born_at),
            last_physical: AtomicI64::new(-1),
            put_messages: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            put_requests: AtomicU64::new(0),
            removed: AtomicBool::new(false),
        }
    }

    /// Whether a record of its topic and number at this place of the log can be one of this queue.
    pub fn may_hold(&self, physical_offset: i64) -> bool {
        physical_offset >= self.born_at
    }

    /// Which kind of queue it is. A slave may learn late that it is one of batches.
    pub fn kind(&self) -> QueueKind {
        match self.is_batch.load(Ordering::Acquire) {
            false => QueueKind::Simple,
            true => QueueKind::Batch,
        }
    }

    /// How many of the queue's offsets a record takes.
    pub fn offsets_of(&self, record: &DispatchRecord) -> i64 {
        match self.kind() {
            QueueKind::Simple => 1,
            QueueKind::Batch => i64::from(record.messages),
        }
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

    /// Takes the next `count` offsets for records that are about to be written and returns the
    /// first; only for the writer. They count once [`set_next_offset`](Self::set_next_offset) is
    /// called for them.
    pub fn reserve(&self, count: i64) -> i64 {
        let first = self
            .reserved
            .load(Ordering::Relaxed)
            .max(self.next_offset());
        self.reserved.store(first + count, Ordering::Relaxed);
        first
    }

    /// Gives back what was reserved and not written; only for the writer.
    pub fn release_reserved(&self) {
        self.reserved.store(self.next_offset(), Ordering::Relaxed);
    }

    /// Queue offset behind the last message that consumers may see.
    pub fn readable_end(&self) -> i64 {
        self.readable_end.load(Ordering::Acquire)
    }

    /// Publishes the readable end; only for the queue's owner and for recovery.
    pub fn set_readable_end(&self, offset: i64) {
        self.readable_end.store(offset, Ordering::Release);
    }

    /// Queue offset of the first message that the log still holds, as last looked at.
    pub fn min_offset(&self) -> i64 {
        self.min_offset.load(Ordering::Acquire)
    }

    /// Publishes the first offset; only for the queue's owner and for recovery.
    pub fn set_min_offset(&self, offset: i64) {
        self.min_offset.store(offset, Ordering::Release);
    }

    /// Position in the log below which the queue's files hold all of its entries: where a restart
    /// of its owner has to read the log again from.
    pub fn complete_upto(&self) -> i64 {
        self.complete_upto.load(Ordering::Acquire)
    }

    /// Publishes the complete position; only for the queue's owner and for recovery.
    pub fn set_complete_upto(&self, physical_offset: i64) {
        self.complete_upto.store(physical_offset, Ordering::Release);
    }

    /// End of the newest message that the queue's files know, in the log; -1 if there is none.
    pub fn last_physical(&self) -> i64 {
        self.last_physical.load(Ordering::Acquire)
    }

    /// Publishes the end of the newest message; only for the queue's owner and for recovery.
    pub fn set_last_physical(&self, physical_offset: i64) {
        self.last_physical.store(physical_offset, Ordering::Release);
    }

    /// Counts a request that stored messages in this queue.
    pub fn count_put(&self, messages: u64, bytes: u64) {
        self.put_messages.fetch_add(messages, Ordering::Relaxed);
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.put_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages, bytes and requests stored in this queue since the start.
    pub fn put_counts(&self) -> (u64, u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (
            load(&self.put_messages),
            load(&self.put_bytes),
            load(&self.put_requests),
        )
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
    /// How many of them are light message queues.
    lmqs: AtomicUsize,
    /// Topics that are being deleted.
    closed: Mutex<HashSet<Str>>,
    /// Topics whose queues are queues of batches.
    batch_topics: DashMap<Str, ()>,
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

    /// Notes which kind of queues a topic has. Slots that it has already follow: on a slave a record
    /// may come before its topic does.
    pub fn set_kind(&self, topic: &str, kind: QueueKind) {
        let is_batch = kind == QueueKind::Batch;
        let was_batch = self.batch_topics.contains_key(topic);
        if is_batch == was_batch {
            return;
        }
        match is_batch {
            true => drop(self.batch_topics.insert(Str::from(topic), ())),
            false => drop(self.batch_topics.remove(topic)),
        }
        for slot in self.slots.iter().filter(|slot| *slot.key.topic == *topic) {
            log::info!("queue={} is one of kind={kind:?}", slot.key);
            slot.is_batch.store(is_batch, Ordering::Release);
        }
    }

    /// Which kind of queues a topic has.
    pub fn kind_of(&self, topic: &str) -> QueueKind {
        match self.batch_topics.contains_key(topic) {
            false => QueueKind::Simple,
            true => QueueKind::Batch,
        }
    }

    /// As [`get_or_create_at`](Self::get_or_create_at), for a record of the log: an inner batch tells that
    /// its topic takes such, which RocketMQ's brokers see to.
    pub fn slot_for(
        &self,
        key: &QueueKey,
        record: &DispatchRecord,
        log_end: i64,
    ) -> Arc<QueueSlot> {
        if record.sys_flag & sys_flag::INNER_BATCH != 0
            && record.in_queue()
            && !names::is_lmq(&key.topic)
            && !names::is_system_topic(&key.topic)
            && self.kind_of(&key.topic) == QueueKind::Simple
        {
            self.set_kind(&key.topic, QueueKind::Batch);
        }
        self.get_or_create_at(&key.topic, key.queue_id, log_end)
    }

    /// The slot of a queue, made with next offset 0 when absent.
    pub fn get_or_create(&self, topic: &str, queue_id: i32) -> Arc<QueueSlot> {
        self.get_or_create_at(topic, queue_id, 0)
    }

    /// As [`get_or_create`](Self::get_or_create); a new slot's files count as complete up to
    /// `log_end`, for no record of it can lie below.
    pub fn get_or_create_at(&self, topic: &str, queue_id: i32, log_end: i64) -> Arc<QueueSlot> {
        if let Some(slot) = self.get(topic, queue_id) {
            return slot;
        }
        // A copy: a slice of the frame that named the topic would keep the whole frame in memory.
        let key = QueueKey::new(Str::from(topic), queue_id);
        let make = |key: QueueKey| {
            let generation = self.generations.fetch_add(1, Ordering::Relaxed);
            QueueSlot::new(key, generation, log_end, 0)
        };
        match self.slots.entry(key.clone()) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            // Looked at under the entry's lock: it was closed before its queues are looked for.
            Entry::Vacant(_) if self.closed().contains(topic) => {
                let slot = make(key);
                slot.removed.store(true, Ordering::Release);
                Arc::new(slot)
            }
            Entry::Vacant(place) => {
                self.lmqs.fetch_add(is_lmq(topic), Ordering::Relaxed);
                let slot = Arc::clone(&place.insert(Arc::new(make(key))));
                // Behind the insertion: whoever changes the kind meanwhile finds the slot.
                let is_batch = self.batch_topics.contains_key(topic);
                slot.is_batch.store(is_batch, Ordering::Release);
                slot
            }
        }
    }

    fn closed(&self) -> MutexGuard<'_, HashSet<Str>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all queues of a topic out; their slots refuse appends from now on. Until
    /// [`reopen`](Self::reopen) the topic gets no new ones: who asks for one gets a slot that refuses
    /// appends, for the old files may still be there.
    pub fn close_topic(&self, topic: &str) -> Vec<Arc<QueueSlot>> {
        self.closed().insert(Str::from(topic));
        self.remove_topic(topic)
    }

    /// Nothing is left of a topic's old queues: it may have new ones.
    pub fn reopen(&self, topic: &str) {
        self.closed().remove(topic);
    }

    /// Takes one queue out.
    pub fn remove(&self, slot: &QueueSlot) {
        slot.removed.store(true, Ordering::Release);
        let removed = self
            .slots
            .remove_if(&slot.key, |_, known| known.generation == slot.generation);
        if removed.is_some() {
            self.lmqs
                .fetch_sub(is_lmq(&slot.key.topic), Ordering::Relaxed);
        }
    }

    fn remove_topic(&self, topic: &str) -> Vec<Arc<QueueSlot>> {
        let mut removed = Vec::new();
        self.slots.retain(|key, slot| {
            let keep = *key.topic != *topic;
            if !keep {
                slot.removed.store(true, Ordering::Release);
                removed.push(Arc::clone(slot));
            }
            keep
        });
        let lmqs = removed.iter().map(|slot| is_lmq(&slot.key.topic)).sum();
        self.lmqs.fetch_sub(lmqs, Ordering::Relaxed);
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
            self.lmqs
                .fetch_sub(is_lmq(&slot.key.topic), Ordering::Relaxed);
            false
        });
    }

    /// How many light message queues there are.
    pub fn lmq_count(&self) -> usize {
        self.lmqs.load(Ordering::Relaxed)
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
        let removed = table.close_topic("T");
        assert_eq!(removed.len(), 2);
        assert!(old.is_removed());
        assert!(!other.is_removed());
        assert!(table.get_or_create("T", 0).is_removed());
        assert!(table.get("T", 0).is_none());
        table.reopen("T");
        assert_eq!(table.lmq_count(), 0);
        let lmq = table.get_or_create("%LMQ%a", 0);
        assert_eq!(table.lmq_count(), 1);
        table.remove(&lmq);
        table.remove(&lmq);
        assert_eq!(table.lmq_count(), 0);
        let new = table.get_or_create("T", 0);
        assert_ne!(new.generation, old.generation);
        assert!(!new.is_removed());
        assert_eq!(table.len(), 2);
        table.clear();
        assert!(table.is_empty());
    }

    #[test]
    fn queues_are_of_their_topics_kind() {
        let table = QueueTable::new();
        let early = table.get_or_create("B", 0);
        assert_eq!(early.kind(), QueueKind::Simple);
        table.set_kind("B", QueueKind::Batch);
        assert_eq!(early.kind(), QueueKind::Batch);
        assert_eq!(table.get_or_create("B", 1).kind(), QueueKind::Batch);
        assert_eq!(table.get_or_create("S", 0).kind(), QueueKind::Simple);
        table.set_kind("B", QueueKind::Simple);
        assert_eq!(early.kind(), QueueKind::Simple);
    }
}
