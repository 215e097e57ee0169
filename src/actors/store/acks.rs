//! Holds the answers that wait for the disk or for slaves, and nothing else.
//!
//! Owns waiting replies, each with its own deadline. The writer sends replies, the flush actor and
//! the replicators tell that a mark moved. After a restart those that waited are answered
//! FLUSH_DISK_TIMEOUT or FLUSH_SLAVE_TIMEOUT with their full header: their records are stored.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::{
    append::{AppendReply, Appended, PutStatus},
    watermarks::Watermarks,
};
use crate::{
    actors::kernel::{ActorCell, Permit, Shutdown},
    config::Derived,
};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// What an answer waits for.
#[derive(Debug, Clone, Copy)]
pub struct WaitFor {
    /// SYNC_FLUSH: on disk, at most this long (`syncFlushTimeout`).
    pub flush: Option<Duration>,
    /// SYNC_MASTER: on so many slaves, at most this long (`slaveTimeout`).
    pub slaves: Option<(usize, Duration)>,
}

impl WaitFor {
    /// Whether answers wait at all.
    pub fn anything(&self) -> bool {
        self.flush.is_some() || self.slaves.is_some()
    }
}

/// An answer that has to wait until the marks pass `end`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Hold {
    /// Behind the batch's last record.
    pub end: i64,
    /// The outcome to tell.
    pub outcome: Appended,
    /// Whom.
    pub reply: Box<dyn AppendReply>,
    /// The budget that the batch holds until it is answered.
    pub permit: Option<Permit>,
}

/// A mark moved.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct MarksMoved;

struct Waiting {
    since: Instant,
    hold: Hold,
}

/// The actor; see the module.
pub struct Acks {
    cell: Arc<ActorCell>,
    watermarks: Watermarks,
    wait_for: Derived<WaitFor>,
    waiting: VecDeque<Waiting>,
}

impl Acks {
    /// State for a first start and for every restart: nobody waits.
    pub fn recover(
        cell: Arc<ActorCell>,
        watermarks: Watermarks,
        wait_for: Derived<WaitFor>,
    ) -> Self {
        Self {
            cell,
            watermarks,
            wait_for,
            waiting: VecDeque::new(),
        }
    }

    /// Answers all whose conditions hold; they wait in the order of the log.
    fn release(&mut self) {
        let reached = self.reached();
        while self.waiting.front().is_some_and(|w| w.hold.end <= reached) {
            self.cell.fail_point("mid_release");
            let Some(done) = self.waiting.pop_front() else {
                return;
            };
            done.hold.reply.answer(&done.hold.outcome);
        }
    }

    fn reached(&self) -> i64 {
        let mut reached = i64::MAX;
        let wait_for = self.wait_for.load();
        if wait_for.flush.is_some() {
            reached = reached.min(self.watermarks.flushed());
        }
        if let Some((slaves, _)) = wait_for.slaves {
            reached = reached.min(self.watermarks.replicated(slaves));
        }
        reached
    }

    /// Answers those whose time is over: the oldest are in front.
    fn expire(&mut self) {
        self.release();
        while let Some(oldest) = self.waiting.front() {
            let Some(status) = self.timed_out(oldest) else {
                return;
            };
            let Some(mut late) = self.waiting.pop_front() else {
                return;
            };
            late.hold.outcome.demote(status);
            late.hold.reply.answer(&late.hold.outcome);
        }
    }

    fn timed_out(&self, waiting: &Waiting) -> Option<PutStatus> {
        let waited = waiting.since.elapsed();
        let wait_for = self.wait_for.load();
        if let Some(limit) = wait_for.flush
            && waited >= limit
            && waiting.hold.end > self.watermarks.flushed()
        {
            return Some(PutStatus::FlushDiskTimeout);
        }
        let (slaves, limit) = wait_for.slaves?;
        let missing = waiting.hold.end > self.watermarks.replicated(slaves);
        (waited >= limit && missing).then_some(PutStatus::FlushSlaveTimeout)
    }

    /// The last life's waiters: their records are stored, whether durably is not known here.
    fn answer_as_timed_out(&mut self) {
        let status = if self.wait_for.load().flush.is_some() {
            PutStatus::FlushDiskTimeout
        } else {
            PutStatus::FlushSlaveTimeout
        };
        let reached = self.reached();
        for mut waiting in self.waiting.drain(..) {
            if waiting.hold.end > reached {
                waiting.hold.outcome.demote(status);
            }
            waiting.hold.reply.answer(&waiting.hold.outcome);
        }
    }
}

impl Actor for Acks {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.wait_for.load().anything() {
            ctx.run_interval(TICK, |actor, _| actor.expire());
        }
    }
}

impl Supervised for Acks {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.answer_as_timed_out();
        *self = Self::recover(
            self.cell.clone(),
            self.watermarks.clone(),
            self.wait_for.clone(),
        );
    }
}

impl Handler<Hold> for Acks {
    type Result = ();

    fn handle(&mut self, hold: Hold, _: &mut Self::Context) {
        self.cell.begin_work();
        self.waiting.push_back(Waiting {
            since: Instant::now(),
            hold,
        });
        self.release();
    }
}

impl Handler<MarksMoved> for Acks {
    type Result = ();

    fn handle(&mut self, _: MarksMoved, _: &mut Self::Context) {
        self.cell.begin_work();
        self.release();
    }
}

impl Handler<Shutdown> for Acks {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.answer_as_timed_out();
        ctx.stop();
    }
}

crate::crashable!(Acks);
