//! The only actor that appends to the log.
//!
//! Owns the log's tail and the queues' next offsets. Connections and delivery actors send batches.
//! It collects until its mailbox is empty or a bound is reached, writes once, and publishes in this
//! order: bytes, next offsets, the log's end; then it tells the dispatcher, then it answers. It never
//! lingers for more work and never asks another actor. A restart loses unanswered batches, whose
//! senders learn that the outcome is unknown; whole records that were written are kept.
//! On a slave it takes the raw bytes of the master's log instead ([`AppendRaw`]).

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use bytes::BytesMut;
use tokio::sync::oneshot;

use super::{
    acks::{Acks, Hold},
    append::{AppendBatch, AppendReply, AppendRequest, Appended, PutStatus},
    dispatcher::{Dispatch, Dispatched, Dispatcher, LogReopened, TopicRemoved},
    flush::{FlushActor, FlushPolicy, FlushWake},
    watermarks::Watermarks,
};

mod follow;

pub use follow::{AppendRaw, Followed};

use crate::{
    actors::{
        broker::stats::Stats,
        kernel::{self, ActorCell, ActorRef, Permit, Shutdown},
    },
    config::Derived,
    protocol::Str,
    store::{
        commit_log::{CommitLogWriter as LogFiles, RecordCutter},
        deleted_topics::DeletedTopics,
        dispatch::DispatchRecord,
        error::StoreError,
        now_ms,
        queue_table::QueueTable,
    },
};

/// Bytes that are written at the latest, though more wait.
const COMMIT_BYTES: usize = 1024 * 1024;

/// Records that are written at the latest, though more wait.
const COMMIT_RECORDS: usize = 512;

/// A topic is deleted: its queues take nothing more.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RemoveTopic {
    /// The topic.
    pub topic: Str,
    /// Told the log's end as of the deletion, when nothing of the topic is on its way any more and
    /// its queues are gone. The topic then stays closed ([`QueueTable::close_topic`]).
    pub done: oneshot::Sender<i64>,
}

/// What the writer is made of.
#[derive(Clone)]
pub struct WriterParts {
    /// Positions.
    pub watermarks: Watermarks,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// Whether answers wait for the disk or for slaves.
    pub holds_answers: bool,
    /// Whether this is a slave: the log takes its master's bytes and nothing else.
    pub follows: bool,
    /// The deleted topics.
    pub deleted: Arc<Mutex<DeletedTopics>>,
    /// Gets what was published.
    pub dispatcher: ActorRef<Dispatcher>,
    /// Holds answers that wait.
    pub acks: ActorRef<Acks>,
    /// Makes the log durable.
    pub flush: ActorRef<FlushActor>,
    /// Collapses wakes of `flush`.
    pub flush_wake: FlushWake,
    /// Whether writes wake `flush`.
    pub flush_policy: Derived<FlushPolicy>,
    /// Statistics.
    pub stats: Stats,
}

/// A batch whose requests wait in [`CommitLogWriter::requests`].
struct WaitingBatch {
    requests: usize,
    wait_store_ok: bool,
    permit: Option<Permit>,
    reply: Box<dyn AppendReply>,
}

/// The actor; see the module.
pub struct CommitLogWriter {
    cell: Arc<ActorCell>,
    parts: WriterParts,
    files: Option<LogFiles>,
    /// On a slave: finds the records in its master's bytes.
    cutter: Option<RecordCutter>,
    requests: Vec<AppendRequest>,
    batches: Vec<WaitingBatch>,
    waiting_bytes: usize,
}

impl CommitLogWriter {
    /// State for a first start (with the files that recovery opened) and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: WriterParts, files: Option<LogFiles>) -> Self {
        let mut writer = Self {
            cell,
            parts,
            files,
            cutter: None,
            requests: Vec::new(),
            batches: Vec::new(),
            waiting_bytes: 0,
        };
        if writer.files.is_none() {
            writer.reopen();
        }
        writer
    }

    /// Opens the log's tail again. Whole records beyond the published end are kept, and their queues'
    /// next offsets with them.
    fn reopen(&mut self) {
        let log = self.parts.watermarks.log();
        if self.parts.follows {
            self.cutter = None;
            match log.resume_at(self.parts.watermarks.whole()) {
                Ok((files, _)) => self.files = Some(files),
                Err(error) => self.unusable(&error),
            }
            return;
        }
        match log.resume() {
            Ok((files, report)) => {
                for scanned in log.scan(report.scan_from, report.end).map_while(Result::ok) {
                    let (key, record) = (scanned.key, scanned.record);
                    // A topic without a slot was deleted meanwhile.
                    if let Some(slot) = self.parts.table.get(&key.topic, key.queue_id) {
                        slot.raise_next_offset(record.queue_offset + slot.offsets_of(&record));
                    }
                }
                self.files = Some(files);
            }
            Err(error) => self.unusable(&error),
        }
    }

    fn unusable(&self, error: &StoreError) {
        log::error!("{} cannot open the log: {error}", self.cell.path());
        self.cell.set_last_error(&error.to_string());
    }

    fn collect(&mut self, batch: AppendBatch) {
        self.waiting_bytes += batch.requests.iter().map(|r| r.bytes.len()).sum::<usize>();
        self.batches.push(WaitingBatch {
            requests: batch.requests.len(),
            wait_store_ok: batch.wait_store_ok,
            permit: batch.permit,
            reply: batch.reply,
        });
        self.requests.extend(batch.requests);
        if self.waiting_bytes >= COMMIT_BYTES || self.requests.len() >= COMMIT_RECORDS {
            self.commit();
        }
    }

    /// Writes all that waits, publishes it, tells the dispatcher, answers.
    fn commit(&mut self) {
        if self.batches.is_empty() {
            return;
        }
        self.waiting_bytes = 0;
        let mut requests = std::mem::take(&mut self.requests);
        let batches = std::mem::take(&mut self.batches);
        let store_timestamp = now_ms();
        let start = self.parts.watermarks.appended();
        let begun = Instant::now();
        let error = self.store(&mut requests, store_timestamp);
        self.parts.stats.put_took(requests.len(), begun.elapsed());
        self.cell.fail_point("after_publish");
        self.dispatch(&mut requests, start, store_timestamp);
        self.cell.fail_point("before_replies");
        self.parts.stats.stored(&requests);
        self.answer(requests, batches, store_timestamp, error);
    }

    /// Appends every request that can be; the others keep their status. Returns why one failed.
    fn store(&mut self, requests: &mut [AppendRequest], store_timestamp: i64) -> Option<String> {
        if self.parts.follows {
            fail(requests, PutStatus::ServiceNotAvailable);
            return Some("this broker is a slave".to_owned());
        }
        if self.parts.watermarks.refuses_writes() {
            fail(requests, PutStatus::ServiceNotAvailable);
            return Some("the disk failed: writes are refused until a restart".to_owned());
        }
        if self.parts.watermarks.is_disk_full() {
            fail(requests, PutStatus::ServiceNotAvailable);
            return Some("the disk is full".to_owned());
        }
        if self.files.is_none() {
            self.reopen();
        }
        let Some(files) = self.files.as_mut() else {
            fail(requests, PutStatus::ServiceNotAvailable);
            return Some("the log cannot be opened".to_owned());
        };
        let mut why = None;
        let mut at = 0;
        while at < requests.len() {
            if requests[at].is_too_late() {
                requests[at].status = PutStatus::TopicDeleted;
                at += 1;
                continue;
            }
            // Requests to deleted topics are told so; those around them are stored.
            let rest = &mut requests[at..];
            let alive = rest
                .iter()
                .take_while(|request| !request.is_too_late())
                .count();
            let run = &mut rest[..alive];
            if let Some(first) = run.first_mut() {
                first.crash_when_stored = Some(Arc::clone(&self.cell));
            }
            for request in run.iter_mut() {
                request.reserve();
            }
            let Err(stopped) = files.append(run, store_timestamp) else {
                at += alive;
                continue;
            };
            let failed = &mut run[stopped.appended..];
            failed.iter().for_each(AppendRequest::release_reserved);
            at += stopped.appended;
            why = Some(stopped.source.to_string());
            let status = status_of(&stopped.source);
            if matches!(stopped.source, StoreError::Invalid { .. }) {
                // Only the first one is at fault; the others get another try.
                requests[at].status = status;
                at += 1;
                continue;
            }
            log::warn!("{} refuses sends: {}", self.cell.path(), stopped.source);
            self.cell.set_last_error(&stopped.source.to_string());
            fail(&mut requests[at..], status);
            break;
        }
        why
    }

    fn dispatch(&self, requests: &mut [AppendRequest], start: i64, store_timestamp: i64) {
        let mut records = Vec::with_capacity(requests.len());
        let mut end = start;
        for request in requests
            .iter_mut()
            .filter(|request| request.status.is_stored())
        {
            request.bytes = BytesMut::new();
            let mut physical_offset = request.physical_offset;
            for (queue_offset, record) in (request.queue_offset..).zip(&mut request.records) {
                let own = DispatchRecord {
                    queue_offset,
                    physical_offset,
                    size: record.len as i32,
                    tags_code: record.tags_code.at(store_timestamp),
                    store_timestamp,
                    sys_flag: record.sys_flag,
                    messages: record.messages(),
                    index_keys: std::mem::take(&mut record.index_keys),
                };
                records.extend(record.further().map(|(slot, queue_offset)| Dispatched {
                    slot: Arc::clone(slot),
                    record: own.in_further_queue(queue_offset),
                }));
                records.push(Dispatched {
                    slot: Arc::clone(&request.slot),
                    record: own,
                });
                physical_offset += i64::from(record.len);
            }
            end = physical_offset;
        }
        if end > start {
            self.parts.dispatcher.tell(Dispatch {
                start,
                end,
                records,
            });
            self.wake_others();
        }
    }

    /// The log grew: the flush and the slaves have something to do.
    fn wake_others(&self) {
        let flush = self.parts.flush_policy.load();
        if flush.is_woken() {
            self.parts.flush_wake.wake(&self.parts.flush);
        }
        // In SYNC_FLUSH slaves get what is on disk: the flush wakes them.
        if !flush.sync {
            self.parts.watermarks.replicas().wake();
        }
    }

    fn answer(
        &self,
        mut requests: Vec<AppendRequest>,
        batches: Vec<WaitingBatch>,
        store_timestamp: i64,
        error: Option<String>,
    ) {
        let last = batches.len().saturating_sub(1);
        for (number, batch) in batches.into_iter().enumerate() {
            let mine = if number == last {
                std::mem::take(&mut requests)
            } else {
                let later = requests.split_off(batch.requests);
                std::mem::replace(&mut requests, later)
            };
            let outcome = Appended {
                requests: mine,
                store_timestamp,
                error: error.clone(),
            };
            let end = outcome
                .requests
                .iter()
                .rev()
                .find(|r| r.status.is_stored())
                .map(end_of);
            match end {
                Some(end) if batch.wait_store_ok && self.parts.holds_answers => {
                    let (reply, permit) = (batch.reply, batch.permit);
                    self.parts.acks.tell(Hold {
                        end,
                        outcome,
                        reply,
                        permit,
                    });
                }
                _ => batch.reply.answer(&outcome),
            }
        }
    }
}

fn end_of(request: &AppendRequest) -> i64 {
    let len: i64 = request
        .records
        .iter()
        .map(|record| i64::from(record.len))
        .sum();
    request.physical_offset + len
}

fn fail(requests: &mut [AppendRequest], status: PutStatus) {
    for request in requests {
        request.status = status;
    }
}

/// What a sender is told of an error of the store.
fn status_of(error: &StoreError) -> PutStatus {
    match error {
        StoreError::Full { .. } | StoreError::Poisoned => PutStatus::ServiceNotAvailable,
        StoreError::Invalid { .. } => PutStatus::MessageIllegal,
        _ => PutStatus::WriteFailed,
    }
}

impl Actor for CommitLogWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        kernel::after_drain(ctx, |writer: &mut Self, _| writer.commit());
        self.hand_on_rest(ctx);
    }
}

impl Supervised for CommitLogWriter {
    fn restarting(&mut self, _: &mut Self::Context) {
        // Dropping the waiting replies answers them: the outcome is unknown.
        *self = Self::recover(self.cell.clone(), self.parts.clone(), None);
        for slot in self.parts.table.slots() {
            slot.release_reserved();
        }
        self.parts.dispatcher.tell(LogReopened);
        self.parts.flush_wake.wake(&self.parts.flush);
    }
}

impl Handler<AppendBatch> for CommitLogWriter {
    type Result = ();

    fn handle(&mut self, batch: AppendBatch, _: &mut Self::Context) {
        self.cell.begin_work();
        self.collect(batch);
    }
}

impl Handler<RemoveTopic> for CommitLogWriter {
    type Result = ();

    fn handle(&mut self, remove: RemoveTopic, _: &mut Self::Context) {
        self.cell.begin_work();
        self.commit();
        let slots = self.parts.table.close_topic(&remove.topic);
        // A barrier behind everything of the topic that was handed over.
        self.parts.dispatcher.tell(TopicRemoved {
            slots,
            done: remove.done,
        });
    }
}

impl Handler<Shutdown> for CommitLogWriter {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.commit();
        if let Some(mut files) = self.files.take() {
            // A clean stop leaves whole records only: recovery takes anything else for damage.
            if let Err(error) = files.cut_back(self.parts.watermarks.whole()) {
                log::warn!("{} left a part of a record: {error}", self.cell.path());
            }
            if let Err(error) = files.close() {
                log::warn!("{} left a prepared segment: {error}", self.cell.path());
            }
        }
        ctx.stop();
    }
}

crate::crashable!(CommitLogWriter);
