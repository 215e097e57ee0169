//! What travels to the commit log writer, and how its answers travel back.

use std::sync::Arc;

use actix::Message;
use bytes::BytesMut;
use smallvec::SmallVec;

use crate::{
    actors::kernel::{ActorCell, Permit},
    protocol::message::{inner_batch::BASE_DIGITS, multi_dispatch},
    store::{commit_log::AppendUnit, queue_table::QueueSlot},
};

/// How RocketMQ calls the outcomes of storing a message (`PutMessageStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutStatus {
    /// Stored as the mode in force demands.
    PutOk,
    /// Stored, but not known to be on disk in time (SYNC_FLUSH).
    FlushDiskTimeout,
    /// Stored, but not known to be on enough slaves in time (SYNC_MASTER).
    FlushSlaveTimeout,
    /// Not stored: the disk is full or the broker is stopping.
    ServiceNotAvailable,
    /// Not stored: the record can never fit.
    MessageIllegal,
    /// Not stored: the topic was deleted after the request was checked.
    TopicDeleted,
    /// Not stored: the disk refused the write.
    WriteFailed,
}

impl PutStatus {
    /// Whether the message is in the log.
    pub fn is_stored(self) -> bool {
        matches!(
            self,
            Self::PutOk | Self::FlushDiskTimeout | Self::FlushSlaveTimeout
        )
    }
}

/// What the tags code of a record's queue entry is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagsCode {
    /// The hash of its tags.
    Hash(i64),
    /// Store time plus this delay in ms: the deliver time of a delayed message.
    DeliverAfter(i64),
}

impl TagsCode {
    /// The code of a record stored at `store_timestamp` (ms).
    pub fn at(self, store_timestamp: i64) -> i64 {
        match self {
            Self::Hash(code) => code,
            Self::DeliverAfter(delay_ms) => store_timestamp + delay_ms,
        }
    }
}

/// What queues and index will need of one encoded record.
#[derive(Debug, Clone)]
pub struct RecordMeta {
    /// Length of the record in bytes.
    pub len: u32,
    /// Its tags.
    pub tags_code: TagsCode,
    /// Its system flag.
    pub sys_flag: i32,
    /// Set for an inner batch.
    pub inner: Option<InnerBatch>,
    /// Hashes of its keys for the index.
    pub index_keys: SmallVec<[i32; 4]>,
    /// The light message queues that it enters, too.
    pub further: Option<Box<[FurtherQueue]>>,
}

/// What the writer has to know of a record that holds several messages.
#[derive(Debug, Clone, Copy)]
pub struct InnerBatch {
    /// How many.
    pub messages: i16,
    /// Where the record has the queue offset of the first: so many bytes from its start.
    pub place: usize,
}

/// A light message queue that a record names.
#[derive(Debug, Clone)]
pub struct FurtherQueue {
    /// The queue.
    pub slot: Arc<QueueSlot>,
    /// Where the record has the offset in it: so many bytes from its start.
    pub place: usize,
    /// Set by the writer; `None` where the record enters the queue already, by another name of it.
    pub queue_offset: Option<i64>,
}

impl RecordMeta {
    /// How many messages it holds.
    pub fn messages(&self) -> i16 {
        self.inner.map_or(1, |inner| inner.messages)
    }

    /// Takes offsets in further queues and writes them into the record, which is `bytes`; only for
    /// the writer. `own` is the queue of its topic with its offset there.
    fn take_further(&mut self, bytes: &mut [u8], own: (&Arc<QueueSlot>, i64)) {
        let further = self.further.as_deref_mut().unwrap_or_default();
        for at in 0..further.len() {
            let before = further[..at].iter();
            let known = before
                .filter_map(|other| Some((&other.slot, other.queue_offset?)))
                .chain([own])
                .find(|(slot, _)| Arc::ptr_eq(slot, &further[at].slot))
                .map(|(_, offset)| offset);
            let queue = &mut further[at];
            let offset = known.unwrap_or_else(|| *queue.queue_offset.insert(queue.slot.reserve(1)));
            let place = queue.place..queue.place + multi_dispatch::OFFSET_DIGITS;
            if let Some(place) = bytes.get_mut(place) {
                multi_dispatch::fill_offset(place, offset);
            }
        }
    }

    /// The further queues that it enters, with its offsets there.
    pub fn further(&self) -> impl Iterator<Item = (&Arc<QueueSlot>, i64)> {
        let further = self.further.as_deref().unwrap_or_default().iter();
        further.filter_map(|queue| Some((&queue.slot, queue.queue_offset?)))
    }
}

/// Records of one queue that are stored and answered together: one message, or one wire batch.
#[derive(Debug)]
pub struct AppendRequest {
    /// The queue.
    pub slot: Arc<QueueSlot>,
    /// The encoded records back to back, with zeros for what the writer gives.
    pub bytes: BytesMut,
    /// One entry a record.
    pub records: SmallVec<[RecordMeta; 1]>,
    /// Set by the writer: queue offset of the first record.
    pub queue_offset: i64,
    /// Set by the writer: where the first record was stored; -1 if it was not.
    pub physical_offset: i64,
    /// Set by the writer.
    pub status: PutStatus,
    /// Set by the writer: where a drill may crash it, between bytes and publishing.
    pub crash_when_stored: Option<Arc<ActorCell>>,
}

impl AppendRequest {
    /// A request that has not been stored yet.
    pub fn new(slot: Arc<QueueSlot>, bytes: BytesMut, records: SmallVec<[RecordMeta; 1]>) -> Self {
        Self {
            slot,
            bytes,
            records,
            queue_offset: -1,
            physical_offset: -1,
            status: PutStatus::WriteFailed,
            crash_when_stored: None,
        }
    }

    /// How many queue offsets the records take. An inner batch is the only record of its request.
    pub fn messages(&self) -> i64 {
        match self.records.as_slice() {
            [one] => i64::from(one.messages()),
            several => several.len() as i64,
        }
    }

    /// Whether a topic that the records are to enter was deleted since the request was made.
    pub fn is_too_late(&self) -> bool {
        let records = self.records.iter();
        let mut further = records.flat_map(|record| record.further.as_deref().unwrap_or_default());
        self.slot.is_removed() || further.any(|queue| queue.slot.is_removed())
    }

    /// Takes the offsets that the records get in their queues; only for the writer, which writes
    /// them next or gives them back.
    pub fn reserve(&mut self) {
        self.queue_offset = self.slot.reserve(self.messages());
        if let Some(inner) = self.records.first().and_then(|record| record.inner)
            && let Some(place) = (self.bytes).get_mut(inner.place..inner.place + BASE_DIGITS)
        {
            multi_dispatch::fill_offset(place, self.queue_offset);
        }
        let mut start = 0;
        for (queue_offset, record) in (self.queue_offset..).zip(&mut self.records) {
            let end = start + record.len as usize;
            if record.further.is_some()
                && let Some(bytes) = self.bytes.get_mut(start..end)
            {
                record.take_further(bytes, (&self.slot, queue_offset));
            }
            start = end;
        }
    }

    /// Gives them back.
    pub fn release_reserved(&self) {
        self.slot.release_reserved();
        for (slot, _) in self.records.iter().flat_map(RecordMeta::further) {
            slot.release_reserved();
        }
    }

    /// Where each record was stored.
    pub fn physical_offsets(&self) -> impl Iterator<Item = i64> + '_ {
        self.records
            .iter()
            .scan(self.physical_offset, |next, record| {
                let mine = *next;
                *next += i64::from(record.len);
                Some(mine)
            })
    }
}

impl AppendUnit for AppendRequest {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn queue_offset(&self) -> i64 {
        self.queue_offset
    }

    fn stored(&mut self, physical_offset: i64, _store_timestamp: i64) {
        if let Some(cell) = self.crash_when_stored.take() {
            cell.fail_point("after_bytes");
        }
        self.physical_offset = physical_offset;
        self.status = PutStatus::PutOk;
        self.slot
            .set_next_offset(self.queue_offset + self.messages());
        for (slot, offset) in self.records.iter().flat_map(RecordMeta::further) {
            slot.set_next_offset(offset + 1);
        }
    }
}

/// One message of a connection (all sends of one read) or of a delivery actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AppendBatch {
    /// The requests, in order.
    pub requests: Vec<AppendRequest>,
    /// Whether the answer waits for flush and slaves as the broker's mode demands.
    pub wait_store_ok: bool,
    /// What this batch holds of the broker's budget.
    pub permit: Option<Permit>,
    /// Who is told.
    pub reply: Box<dyn AppendReply>,
}

/// A batch with its outcome.
#[derive(Debug)]
pub struct Appended {
    /// The requests; those that were stored have offsets.
    pub requests: Vec<AppendRequest>,
    /// Store time (ms) of all records.
    pub store_timestamp: i64,
    /// Why some were not stored, for people.
    pub error: Option<String>,
}

impl Appended {
    /// Changes the status of all stored requests.
    pub fn demote(&mut self, status: PutStatus) {
        for request in &mut self.requests {
            if request.status.is_stored() {
                request.status = status;
            }
        }
    }
}

/// Who waits for an append. Dropped without an answer it has to tell its asker that the outcome is
/// unknown (`SYSTEM_ERROR`): no crash leaves a sender waiting.
pub trait AppendReply: Send + std::fmt::Debug {
    /// Answers.
    fn answer(self: Box<Self>, outcome: &Appended);
}

/// A reply into a oneshot channel, for delivery actors and request processors.
#[derive(Debug)]
pub struct ReplyTo(pub tokio::sync::oneshot::Sender<AppendOutcome>);

/// The outcome of a single record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    /// Outcome.
    pub status: PutStatus,
    /// Offset in the log.
    pub physical_offset: i64,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// Store time, ms.
    pub store_timestamp: i64,
    /// Why it failed.
    pub error: Option<String>,
}

impl AppendReply for ReplyTo {
    fn answer(self: Box<Self>, outcome: &Appended) {
        let first = outcome.requests.first();
        // The asker may have gone: nobody is left to tell.
        let _ = self.0.send(AppendOutcome {
            status: first.map_or(PutStatus::WriteFailed, |r| r.status),
            physical_offset: first.map_or(-1, |r| r.physical_offset),
            queue_offset: first.map_or(-1, |r| r.queue_offset),
            store_timestamp: outcome.store_timestamp,
            error: outcome.error.clone(),
        });
    }
}
