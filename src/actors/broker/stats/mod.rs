//! Counters of what the broker does, in RocketMQ's terms.

use std::sync::Arc;

use crate::{actors::store::append::AppendRequest, store::queue_table::QueueKey};

/// The broker's statistics; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stats(Arc<()>);

impl Stats {
    /// Records were appended; requests that were not stored are among them.
    pub fn stored(&self, requests: &[AppendRequest]) {
        let _ = (requests, &self.0);
    }

    /// A group read messages of a queue.
    pub fn pulled(&self, group: &str, queue: &QueueKey, messages: usize, bytes: usize) {
        let _ = (group, queue, messages, bytes);
    }
}
