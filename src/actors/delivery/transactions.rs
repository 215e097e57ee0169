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

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use tokio::sync::oneshot;

use self::{
    ends::{Stored, acquire, append},
    ledger::Ledger,
    round::Round,
};
use crate::{
    actors::{
        broker::{
            context::StoreHandles,
            tables::{offsets::Offsets, topics::Topics},
        },
        groups::ProducerGroups,
        kernel::{ActorCell, ActorRef, Permits, Shutdown, after_drain},
        store::append::{AppendRequest, PutStatus},
    },
    config::{Live, broker::BrokerConfig},
    protocol::message::names,
};

mod counts;
mod ends;
mod half;
mod ledger;
mod round;

pub use counts::TransactionCounts;
pub use half::{committed, copy_of, immunity_ms};

/// The queue of half messages, and that of their marks.
const QUEUE_ID: i32 = 0;

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
    /// Whether it waits for a share of the budget.
    waits: bool,
    /// Ends of busy half messages: they are looked at again when that is over.
    held: Vec<End>,
    round: Option<Round>,
    /// Where a round ended, to be committed.
    reached: Option<Reached>,
    /// The offset of marks that goes with the next commit; see
    /// [`TransactionsActor::commit_offsets`].
    last_op: i64,
}

/// Where a round ended.
#[derive(Debug, Clone, Copy)]
struct Reached {
    half: i64,
    op: i64,
    /// End of the log: what settled the half messages lies before it.
    log_end: i64,
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
            waits: false,
            held: Vec::new(),
            round: None,
            reached: None,
            last_op: op,
        }
    }

    fn reached(&self) -> Reached {
        let (half, op) = self.ledger.committed();
        let log_end = self.parts.store.watermarks.appended();
        Reached { half, op, log_end }
    }

    /// Commits where an earlier round ended, as soon as everything that settled its half messages is
    /// visible: offsets must not survive a loss of power, or of the machine, that the log's end does
    /// not survive. The offset of marks is older still: the two are not written to the file at one
    /// moment, and a mark must not be forgotten before its half message is passed.
    fn commit_offsets(&mut self) {
        self.cell.fail_point("before_commit");
        let visible = self.parts.store.watermarks.visible();
        if let Some(reached) = self.reached.take_if(|at| at.log_end <= visible) {
            self.commit_at(reached.half, self.last_op);
            self.last_op = reached.op;
        }
        if self.reached.is_none() {
            self.reached = Some(self.reached());
        }
    }

    fn commit_at(&self, half: i64, op: i64) {
        let (offsets, group) = (&self.parts.offsets, names::TRANS_GROUP);
        for (topic, offset) in [
            (names::TRANS_HALF_TOPIC, half),
            (names::TRANS_OP_HALF_TOPIC, op),
        ] {
            // As RocketMQ, a group that never had anything to do has no offset.
            if offsets.query(group, topic, QUEUE_ID).unwrap_or(0) != offset {
                offsets.commit(group, topic, QUEUE_ID, offset);
            }
        }
    }

    fn persist(&self) {
        // What could not be written is written at the next tick.
        self.cell.write_file(|| self.parts.counts.save());
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

/// A time of the configuration, at least 100 ms.
fn positive_ms(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(100))
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
        if self.ends.len() >= ends::BATCH_MAX {
            self.take_ends(ctx);
        }
    }
}

impl Handler<Shutdown> for TransactionsActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        let reached = self.reached();
        let visible = self.parts.store.watermarks.visible();
        if self.parts.delivers && reached.log_end <= visible {
            self.commit_at(reached.half, reached.op);
        }
        self.persist();
        ctx.stop();
    }
}

crate::crashable!(TransactionsActor);
