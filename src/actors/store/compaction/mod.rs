//! Compaction topics (`cleanup.policy=COMPACTION`): one actor for each of their queues copies its messages into
//! a log of their own, compacts that log now and then, and answers pulls of what is in it.
//!
//! The messages come from the ordinary queue, which is written as for every topic: the actor reads it from where
//! its own log ends. So nothing else of the store knows of it but the queue, which asks [`Compactions`] whether
//! a pull is for what was copied already, and hands it on then. What was not copied yet, and pulls that wait for
//! the next message, are served as ever; what the ordinary queue has lost with the commit log's old files is
//! still here.
//!
//! All of it has a thread of its own: it reads and writes files.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use actix::Message;

use super::cold_reader::Asker;
use crate::{actors::kernel::TellRef, hash::DashMap, store::queue_table::QueueSlot};

mod from_master;
mod queue;
mod service;

pub use self::{
    from_master::FromMaster,
    queue::{CompactedQueue, CompactionParts},
    service::{CompactionHandle, CompactionService, Forget, ServiceParts},
};

/// A pull, or a read of the broker's own, of what was copied into a compaction log.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct GetCompacted(pub Asker);

/// What is published of a queue of a compaction topic.
#[derive(Debug)]
pub struct Compacted {
    /// Below this queue offset all that is kept is in the compaction log; `i64::MAX` until that is known, so
    /// that no reader is sent past what is kept.
    end: AtomicI64,
    /// Queue offset of the first message that is kept; −1 until that is known.
    min: AtomicI64,
    /// When its actor has something to do though nothing arrives, ms.
    due_ms: AtomicI64,
    reader: OnceLock<TellRef<GetCompacted>>,
}

impl Default for Compacted {
    fn default() -> Self {
        Self {
            end: AtomicI64::new(i64::MAX),
            min: AtomicI64::new(-1),
            due_ms: AtomicI64::new(0),
            reader: OnceLock::new(),
        }
    }
}

impl Compacted {
    fn end(&self) -> i64 {
        self.end.load(Ordering::Acquire)
    }

    fn set_end(&self, queue_offset: i64) {
        self.end.store(queue_offset, Ordering::Release);
    }
}

#[derive(Default)]
struct Inner {
    any: AtomicBool,
    /// By the generation of their slots.
    queues: DashMap<u64, Arc<Compacted>>,
}

/// All queues of compaction topics; cheap to clone.
#[derive(Clone, Default)]
pub struct Compactions(Arc<Inner>);

impl Compactions {
    /// Who answers a read of a queue from an offset on, if that is not the queue itself. While there is no
    /// compaction topic that costs one load.
    pub fn reader_of(&self, slot: &QueueSlot, offset: i64) -> Option<TellRef<GetCompacted>> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let compacted = self.0.queues.get(&slot.generation)?;
        let is_there = offset < compacted.end();
        is_there.then(|| compacted.reader.get().cloned()).flatten()
    }

    /// Queue offset of the first message of a queue that is kept, if the queue is compacted: pulls that the
    /// queue itself answers tell it, too.
    pub fn min_offset(&self, slot: &QueueSlot) -> Option<i64> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let compacted = self.0.queues.get(&slot.generation)?;
        let min = compacted.min.load(Ordering::Acquire);
        (min >= 0).then_some(min)
    }

    fn put(&self, slot: &QueueSlot, compacted: Arc<Compacted>) {
        self.0.queues.insert(slot.generation, compacted);
        self.0.any.store(true, Ordering::Release);
    }

    fn remove(&self, slot: &QueueSlot) {
        self.0.queues.remove(&slot.generation);
    }
}
