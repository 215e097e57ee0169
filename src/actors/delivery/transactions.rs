//! Transactions: half messages are ended as their producers say, and producers that say nothing are asked.
//!
//! Owns which half messages are open; request processors send it what producers say ([`End`]). The
//! message of a committed transaction and the mark of its half message are stored with one write, the
//! message first: it is delivered again only where a broker dies within that write. A half message that
//! is asked about goes to the end of its queue, and the mark of the old one goes with it, so that a
//! restart never asks about both.
//!
//! Consumer offsets of CID_RMQ_SYS_TRANS tell where the next round begins, for us and for RocketMQ
//! (`TransactionalMessageServiceImpl`). A restart loses what was being ended: its producer is asked.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};
use tokio::sync::oneshot;

use self::{
    ledger::{Fate, Ledger},
    round::Round,
};
use crate::{
    actors::{
        broker::{
            context::StoreHandles,
            tables::{offsets::Offsets, topics::Topics},
        },
        groups::ProducerGroups,
        kernel::{ActorCell, ActorRef, PermitClass, Permits, Shutdown, after_drain},
        store::append::{AppendBatch, AppendReply, AppendRequest, Appended, PutStatus},
    },
    config::{Live, broker::BrokerConfig},
    protocol::message::{names, transaction},
};

mod counts;
mod half;
mod ledger;
mod round;

pub use counts::TransactionCounts;
pub use half::{committed, copy_of, immunity_ms};

/// The queue of half messages, and that of their marks.
const QUEUE_ID: i32 = 0;

/// Transactions that are ended with one append.
const BATCH_MAX: usize = 256;

/// Bytes of messages that are stored with one append.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The handle for request processors.
#[derive(Clone)]
pub struct Transactions {
    /// Published counters.
    pub counts: Arc<TransactionCounts>,
    /// The actor.
    pub actor: ActorRef<TransactionsActor>,
}

/// What the actor is made of.
#[derive(Clone)]
pub struct TransactionParts {
    /// The store.
    pub store: StoreHandles,
    /// The broker's own share of the budget.
    pub permits: Permits,
    /// Times and limits, which may change at any time.
    pub config: Arc<Live<BrokerConfig>>,
    /// Where the next round begins.
    pub offsets: Offsets,
    /// To make TRANS_CHECK_MAX_TIME_TOPIC.
    pub topics: Topics,
    /// Who is asked.
    pub producers: ProducerGroups,
    /// Published counters and their file.
    pub counts: Arc<TransactionCounts>,
    /// Whether producers are asked: a slave leaves that to its master.
    pub delivers: bool,
}

/// What a producer says of a transaction.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct End {
    /// Queue offset of the half message that the producer knows.
    pub half: i64,
    /// Topic of the message.
    pub topic: String,
    /// The message to deliver; none for a rollback.
    pub message: Option<AppendRequest>,
    /// How it ended; dropped when the outcome is unknown.
    pub answer: oneshot::Sender<Ended>,
}

/// How storing the end of a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Outcome; of a rollback that of the mark.
    pub status: PutStatus,
    /// Why it failed.
    pub error: Option<String>,
}

/// The actor; see the module.
pub struct TransactionsActor {
    cell: Arc<ActorCell>,
    parts: TransactionParts,
    ledger: Ledger,
    /// Collected since the last turn.
    ends: Vec<End>,
    /// Half messages whose end or move is being stored.
    busy: BTreeSet<i64>,
    /// Ends of busy half messages: they are looked at again when that is over.
    held: Vec<End>,
    round: Option<Round>,
    /// The offset of marks as of the last round; see [`TransactionsActor::commit_offsets`].
    last_op: i64,
}

impl TransactionsActor {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: TransactionParts) -> Self {
        let committed = |topic| {
            let offsets = &parts.offsets;
            offsets
                .query(names::TRANS_GROUP, topic, QUEUE_ID)
                .unwrap_or(0)
        };
        let half = committed(names::TRANS_HALF_TOPIC);
        let op = committed(names::TRANS_OP_HALF_TOPIC);
        Self {
            cell,
            parts,
            ledger: Ledger::new(half, op),
            ends: Vec::new(),
            busy: BTreeSet::new(),
            held: Vec::new(),
            round: None,
            last_op: op,
        }
    }

    /// Stores what was collected.
    fn take_ends(&mut self, ctx: &mut Context<Self>) {
        if self.ends.is_empty() {
            return;
        }
        let mark_max = self.parts.config.load().broker.transaction_op_msg_size_max;
        let mark_max = usize::try_from(mark_max).unwrap_or(0);
        let mut batch = EndBatch::default();
        for mut end in std::mem::take(&mut self.ends) {
            let half = match self.ledger.fate(end.half) {
                // Twice the same word, or two different ones: the first counts.
                Fate::Ended => {
                    let _ = end.answer.send(Ended::stored());
                    continue;
                }
                Fate::Open(newest) => newest,
                Fate::Unknown => end.half,
            };
            if !self.busy.insert(half) {
                self.held.push(end);
                continue;
            }
            batch.bytes += end
                .message
                .as_ref()
                .map_or(0, |message| message.bytes.len());
            batch.requests.extend(end.message.take());
            transaction::mark_offset(&mut batch.mark, half);
            batch.items.push(EndItem {
                half,
                has_message: batch.requests.len() > batch.messages,
                topic: end.topic,
                answer: end.answer,
            });
            batch.messages = batch.requests.len();
            let full = batch.items.len() >= BATCH_MAX
                || batch.bytes >= BATCH_BYTES_MAX
                || batch.mark.len() >= mark_max;
            if full {
                self.store_ends(std::mem::take(&mut batch), ctx);
            }
        }
        self.store_ends(batch, ctx);
    }

    fn store_ends(&mut self, mut batch: EndBatch, ctx: &mut Context<Self>) {
        if batch.items.is_empty() {
            return;
        }
        let appended = match half::mark(&batch.mark, &self.parts.store) {
            Ok(mark) => {
                batch.requests.push(mark);
                // As in RocketMQ nobody waits for the disk: what is lost with the power is asked about.
                append(&self.parts, std::mem::take(&mut batch.requests), false)
            }
            Err(_) => None,
        };
        let Some(appended) = appended else {
            let busy = "the budget of the broker's own appends is spent";
            let failed = Stored::failed(batch.messages + 1, busy);
            return self.ended(batch.items, &failed, ctx);
        };
        let items = batch.items;
        ctx.spawn(
            appended
                .into_actor(self)
                .map(move |stored, actor, ctx| match stored {
                    Ok(stored) => actor.ended(items, &stored, ctx),
                    // Dropping the askers tells them that the outcome is unknown. What was stored is
                    // read from the queue of marks.
                    Err(_) => actor.free(items.iter().map(|item| item.half), ctx),
                }),
        );
    }

    /// The end of some transactions was stored, or not.
    fn ended(&mut self, items: Vec<EndItem>, stored: &Stored, ctx: &mut Context<Self>) {
        self.cell.fail_point("after_end");
        let counts = &self.parts.counts;
        let marked = stored.statuses.last().copied();
        let marked = marked.unwrap_or(PutStatus::WriteFailed);
        let mut messages = stored.statuses.iter().copied();
        let halves: Vec<i64> = items.iter().map(|item| item.half).collect();
        for item in items {
            let message = item.has_message.then(|| messages.next()).flatten();
            let status = message.unwrap_or(marked);
            // A message that is stored must not be stored again, though its mark is not.
            if marked.is_stored() || status.is_stored() {
                self.ledger.end(item.half);
                counts.add(&item.topic, -1);
                match message {
                    Some(status) if !status.is_stored() => {}
                    Some(_) => drop(counts.commits.fetch_add(1, Relaxed)),
                    None => drop(counts.rollbacks.fetch_add(1, Relaxed)),
                }
            }
            let error = stored.error.clone().filter(|_| !status.is_stored());
            let _ = item.answer.send(Ended { status, error });
        }
        self.free(halves, ctx);
    }

    /// Half messages are not busy any more: whoever waited for them goes on.
    fn free(&mut self, halves: impl IntoIterator<Item = i64>, ctx: &mut Context<Self>) {
        for half in halves {
            self.busy.remove(&half);
        }
        if !self.held.is_empty() {
            self.ends.append(&mut self.held);
            self.take_ends(ctx);
        }
    }

    /// Commits where the next round begins. The offset of marks is that of the round before: the two
    /// are not written to the file at one moment, and a mark must not be forgotten before its half
    /// message is passed.
    fn commit_offsets(&mut self) {
        self.cell.fail_point("before_commit");
        let (half, op) = self.ledger.committed();
        self.commit_at(half, self.last_op);
        self.last_op = op;
    }

    fn commit_at(&self, half: i64, op: i64) {
        let (offsets, group) = (&self.parts.offsets, names::TRANS_GROUP);
        for (topic, offset) in [
            (names::TRANS_HALF_TOPIC, half),
            (names::TRANS_OP_HALF_TOPIC, op),
        ] {
            if offsets.query(group, topic, QUEUE_ID) != Some(offset) {
                offsets.commit(group, topic, QUEUE_ID, offset);
            }
        }
    }

    fn persist(&self) {
        if let Err(error) = self.parts.counts.save() {
            log::warn!("{} cannot write its counts: {error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
        }
    }

    fn persist_later(&self, ctx: &mut Context<Self>) {
        let every = self
            .parts
            .config
            .load()
            .broker
            .transaction_metric_flush_interval_ms;
        ctx.run_later(positive_ms(every), |actor, ctx| {
            actor.persist();
            actor.persist_later(ctx);
        });
    }
}

/// Appends requests with one write; none when the budget is spent. The outcome is an error when the
/// writer crashed.
fn append(
    parts: &TransactionParts,
    requests: Vec<AppendRequest>,
    wait_store_ok: bool,
) -> Option<oneshot::Receiver<Stored>> {
    let bytes = requests.iter().map(|request| request.bytes.len()).sum();
    let class = PermitClass::Internal;
    let permit = parts.permits.try_acquire(class, requests.len(), bytes)?;
    let (answer, answered) = oneshot::channel();
    parts.store.writer.tell(AppendBatch {
        requests,
        wait_store_ok,
        permit: Some(permit),
        reply: Box::new(ReplyStored(answer)),
    });
    Some(answered)
}

/// A time of the configuration, at least 100 ms.
fn positive_ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(100))
}

/// Transactions that are ended with one append: their messages, then one mark for all.
#[derive(Default)]
struct EndBatch {
    requests: Vec<AppendRequest>,
    messages: usize,
    bytes: usize,
    mark: Vec<u8>,
    items: Vec<EndItem>,
}

struct EndItem {
    half: i64,
    has_message: bool,
    topic: String,
    answer: oneshot::Sender<Ended>,
}

impl Ended {
    fn stored() -> Self {
        Self {
            status: PutStatus::PutOk,
            error: None,
        }
    }
}

/// How an append ended, request by request.
#[derive(Debug)]
struct Stored {
    statuses: Vec<PutStatus>,
    /// Queue offset and physical offset of each.
    places: Vec<(i64, i64)>,
    error: Option<String>,
}

impl Stored {
    fn failed(requests: usize, why: &str) -> Self {
        Self {
            statuses: vec![PutStatus::ServiceNotAvailable; requests],
            places: Vec::new(),
            error: Some(why.to_owned()),
        }
    }
}

#[derive(Debug)]
struct ReplyStored(oneshot::Sender<Stored>);

impl AppendReply for ReplyStored {
    fn answer(self: Box<Self>, outcome: &Appended) {
        let requests = || outcome.requests.iter();
        // The actor may have crashed meanwhile.
        let _ = self.0.send(Stored {
            statuses: requests().map(|request| request.status).collect(),
            places: requests()
                .map(|request| (request.queue_offset, request.physical_offset))
                .collect(),
            error: outcome.error.clone(),
        });
    }
}

impl Actor for TransactionsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, Self::take_ends);
        if self.parts.delivers {
            self.round_later(ctx);
        }
        self.persist_later(ctx);
        let (counts, offsets) = (Arc::clone(&self.parts.counts), self.parts.offsets.clone());
        self.cell.set_detail(move || {
            let mut detail = counts.detail();
            let offset = |topic| offsets.query(names::TRANS_GROUP, topic, QUEUE_ID);
            if let Some(fields) = detail.as_object_mut() {
                let half = offset(names::TRANS_HALF_TOPIC);
                let op = offset(names::TRANS_OP_HALF_TOPIC);
                fields.insert("half_offset".to_owned(), half.into());
                fields.insert("op_offset".to_owned(), op.into());
            }
            detail
        });
    }
}

impl Supervised for TransactionsActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<End> for TransactionsActor {
    type Result = ();

    fn handle(&mut self, end: End, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.ends.push(end);
        if self.ends.len() >= BATCH_MAX {
            self.take_ends(ctx);
        }
    }
}

impl Handler<Shutdown> for TransactionsActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        let (half, op) = self.ledger.committed();
        if self.parts.delivers {
            self.commit_at(half, op);
        }
        self.persist();
        ctx.stop();
    }
}

crate::crashable!(TransactionsActor);
