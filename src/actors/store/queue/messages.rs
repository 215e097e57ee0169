//! What a queue is sent, and what [`Inspect`] may look at.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::{
    actors::store::{
        cold_reader::{Brought, Turn},
        dispatcher::Dispatched,
        pull::Pull,
    },
    store::{
        commit_log::CommitLogReader,
        consume_queue::{Boundary, Entry, Extension, TopicQueue},
        error::StoreError,
        get_message::{GetRequest, GetResult},
    },
};

/// Records of this queue became visible.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Arrived {
    /// The records, in order.
    pub items: Vec<Dispatched>,
    /// The log is handed over up to here.
    pub log_end: i64,
}

/// Write what is unwritten, answer pulls whose time is over.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Tick {
    /// The log is handed over up to here.
    pub log_end: i64,
}

/// A pull.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Serve {
    /// The pull.
    pub pull: Box<Pull>,
    /// What the cold reader had to read for its filter.
    pub turn: Option<Turn>,
}

/// A read by the broker itself. What is found comes with its bytes in memory; the reply is dropped when
/// the queue cannot be read now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Read {
    /// What is read.
    pub request: GetRequest,
    /// What the cold reader has brought for it.
    pub brought: Brought,
    /// Who reads.
    pub reply: oneshot::Sender<GetResult>,
}

/// Read from the log what the files lack: a hand-over may have been lost.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CatchUp;

/// Nothing has happened for long: write what is unwritten and end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Sleep;

/// A look at the queue's entries by a request processor or a delivery actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Inspect(pub Box<dyn FnOnce(&mut QueueView<'_>) + Send>);

/// The log was cut at its old end: entries below its first offset are gone.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct LogCut {
    /// First offset of the log.
    pub log_min: i64,
}

/// The topic was deleted: the files go.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Destroy(pub Arc<AllGone>);

/// Shared by all queues of a deleted topic; the last one to drop it tells the asker.
#[derive(Debug)]
pub struct AllGone {
    done: Option<oneshot::Sender<i64>>,
    log_end: i64,
}

impl AllGone {
    /// Sends `log_end` to `done` when the last clone is dropped.
    pub fn new(done: oneshot::Sender<i64>, log_end: i64) -> Arc<Self> {
        let done = Some(done);
        Arc::new(Self { done, log_end })
    }
}

impl Drop for AllGone {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // The asker may have gone.
            let _ = done.send(self.log_end);
        }
    }
}

/// What [`Inspect`] may look at.
pub struct QueueView<'a> {
    pub(super) queue: &'a mut TopicQueue,
    pub(super) log: &'a CommitLogReader,
}

impl QueueView<'_> {
    /// First and behind-the-last offset.
    pub fn range(&self) -> (i64, i64) {
        (self.queue.min_offset(), self.queue.max_offset())
    }

    /// Where the records lie that hold the messages from `from` on, `count` of them at most.
    pub fn entries(&mut self, from: i64, count: usize) -> Result<Vec<Entry>, StoreError> {
        self.queue.entries(from, count)
    }

    /// As [`entries`](Self::entries), with their extensions, one an entry; none at all where they are not
    /// kept.
    pub fn extended_entries(
        &mut self,
        from: i64,
        count: usize,
    ) -> Result<(Vec<Entry>, Vec<Option<Extension>>), StoreError> {
        let TopicQueue::Simple(queue) = &mut *self.queue else {
            return Ok((self.queue.entries(from, count)?, Vec::new()));
        };
        let (mut entries, mut extensions) = (Vec::new(), Vec::new());
        queue.get_into(from, count, &mut entries, Some(&mut extensions))?;
        Ok((entries, extensions))
    }

    /// The offset whose message was stored around `timestamp` (ms).
    pub fn offset_by_time(
        &mut self,
        timestamp: i64,
        boundary: Boundary,
    ) -> Result<i64, StoreError> {
        let log = self.log;
        self.queue.offset_by_time(timestamp, boundary, |entry| {
            log.store_timestamp_at(entry.physical_offset)
        })
    }

    /// Store time (ms) of the message at an offset.
    pub fn store_time(&mut self, offset: i64) -> Option<i64> {
        let entries = self.queue.entries(offset, 1).ok()?;
        self.log
            .store_timestamp_at(entries.first()?.physical_offset)
    }
}
