//! Messages of one queue that were pulled and are not consumed yet (RocketMQ's ProcessQueue).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::client::message::MessageExt;
use crate::client::{lock, now_ms};

/// Limits of what may be cached per queue; past one of them pulling pauses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) span: i64,
}

#[derive(Debug, Default)]
struct Cached {
    sizes: BTreeMap<i64, usize>,
    bytes: usize,
    /// Highest offset ever put in.
    max_offset: Option<i64>,
}

/// The cache of one queue.
#[derive(Debug, Default)]
pub(crate) struct ProcessQueue {
    cached: Mutex<Cached>,
    dropped: AtomicBool,
    pub(crate) shrunk: Notify,
    pub(crate) given_up: Notify,
    pub(crate) last_pull_ms: AtomicI64,
    pub(crate) last_consume_ms: AtomicI64,
}

/// What tools see of the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheInfo {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    pub(crate) min_offset: i64,
    pub(crate) max_offset: i64,
}

impl ProcessQueue {
    pub(crate) fn put(&self, messages: &[MessageExt]) {
        let mut cached = lock(&self.cached);
        for message in messages {
            let size = message.body.len();
            let old = cached.sizes.insert(message.queue_offset, size).unwrap_or(0);
            cached.bytes = (cached.bytes + size).saturating_sub(old);
            cached.max_offset = cached.max_offset.max(Some(message.queue_offset));
        }
    }

    /// Takes consumed messages out; returns the offset that may be committed: everything below it
    /// is consumed. None when nothing was ever cached.
    pub(crate) fn remove(&self, offsets: impl IntoIterator<Item = i64>) -> Option<i64> {
        let mut cached = lock(&self.cached);
        for offset in offsets {
            if let Some(size) = cached.sizes.remove(&offset) {
                cached.bytes = cached.bytes.saturating_sub(size);
            }
        }
        let first = cached.sizes.keys().next().copied();
        let commit = first.or_else(|| cached.max_offset.map(|offset| offset + 1));
        drop(cached);
        self.last_consume_ms.store(now_ms(), Ordering::Relaxed);
        self.shrunk.notify_one();
        commit
    }

    pub(crate) fn is_full(&self, limits: &Thresholds) -> bool {
        let cached = lock(&self.cached);
        let first = cached.sizes.keys().next();
        let last = cached.sizes.keys().next_back();
        let span = first.zip(last).map_or(0, |(first, last)| last - first);
        cached.sizes.len() > limits.messages || cached.bytes > limits.bytes || span > limits.span
    }

    pub(crate) fn info(&self) -> CacheInfo {
        let cached = lock(&self.cached);
        CacheInfo {
            count: cached.sizes.len(),
            bytes: cached.bytes,
            min_offset: cached.sizes.keys().next().copied().unwrap_or(0),
            max_offset: cached.sizes.keys().next_back().copied().unwrap_or(0),
        }
    }

    /// Marks the queue as no longer this consumer's: nothing more is pulled, and offsets of what
    /// is still being consumed are not committed.
    pub(crate) fn drop_queue(&self) {
        self.dropped.store(true, Ordering::Release);
        self.shrunk.notify_one();
        self.given_up.notify_one();
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::message::testing::{plain, stored};
    use crate::protocol::message::record::NewRecord;

    fn message(queue_offset: i64, body: &[u8]) -> MessageExt {
        let record = NewRecord { body, ..plain() };
        let stored = stored(&record, queue_offset);
        MessageExt::decode(&stored).unwrap().0
    }

    #[test]
    fn the_commit_offset_waits_for_the_oldest() {
        let queue = ProcessQueue::default();
        assert_eq!(queue.remove([]), None);
        queue.put(&[message(5, b"a"), message(6, b"b"), message(7, b"c")]);
        assert_eq!(queue.remove([6, 7]), Some(5));
        assert_eq!(queue.remove([5]), Some(8));
        assert_eq!(queue.info().count, 0);
        assert_eq!(queue.info().bytes, 0);
    }

    #[test]
    fn each_threshold_stops_pulling() {
        let queue = ProcessQueue::default();
        queue.put(&[message(0, b"abc"), message(10, b"abc")]);
        let wide = Thresholds {
            messages: 2,
            bytes: 6,
            span: 10,
        };
        assert!(!queue.is_full(&wide));
        assert!(queue.is_full(&Thresholds {
            messages: 1,
            ..wide
        }));
        assert!(queue.is_full(&Thresholds { bytes: 5, ..wide }));
        assert!(queue.is_full(&Thresholds { span: 9, ..wide }));
    }

    #[test]
    fn the_same_message_twice_counts_once() {
        let queue = ProcessQueue::default();
        queue.put(&[message(1, b"abc")]);
        queue.put(&[message(1, b"abc")]);
        assert_eq!(queue.info().bytes, 3);
    }
}
