//! Counters of what the broker does, in RocketMQ's terms.

use std::sync::Arc;

use actix::ArbiterHandle;

use crate::{
    actors::{kernel::Tree, store::append::AppendRequest},
    protocol::message::record::RecordView,
    store::queue_table::QueueKey,
};

/// The broker's statistics; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stats(Arc<()>);

impl Stats {
    /// Starts the sampler.
    pub fn start(_tree: &Tree, _parent: &str, _arbiter: &ArbiterHandle, _cluster: &str) -> Self {
        Self::default()
    }

    /// Records were appended; requests that were not stored are among them.
    pub fn stored(&self, requests: &[AppendRequest]) {
        let _ = (requests, &self.0);
    }

    /// A group read messages of a queue.
    pub fn pulled(&self, group: &str, queue: &QueueKey, messages: usize, bytes: usize) {
        let _ = (group, queue, messages, bytes);
    }

    /// A consumer gave a message back; `dead` if it went to the dead letter topic.
    pub fn sent_back(&self, group: &str, record: &RecordView<'_>, dead: bool) {
        let _ = (group, record, dead);
    }
}
