//! Makes the log durable, on a thread of its own.
//!
//! Owns the log's [`Flusher`]. In SYNC_FLUSH the writer wakes it, one fsync serves all who wait, and it runs
//! for as long as the log's end is ahead of the flushed position, waiter or not. In ASYNC_FLUSH it makes one
//! pass a round, up to where the log ended then: what comes meanwhile is the next round's, or one fsync
//! would follow the other while messages come (RocketMQ's `FlushRealTimeService`). A restart loses nothing:
//! the position is published, and the next tick starts from it.
//!
//! [`Flusher`]: crate::store::commit_log::Flusher

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::{acks::MarksMoved, dispatcher::VisibleMoved, watermarks::Watermarks};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown, TellRef},
    config::Derived,
    store::commit_log::Flusher,
};

/// The longest that one fsync may take before the watchdog counts it as stuck.
const FSYNC_MAX: Duration = Duration::from_secs(60);

/// Bytes of a page.
const PAGE_LEN: i64 = 4096;

/// The pause between two looks at the time of the next round.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// When the log is flushed.
#[derive(Debug, Clone, Copy)]
pub struct FlushPolicy {
    /// SYNC_FLUSH: at every wake, so that one call serves all that wait (group commit).
    pub sync: bool,
    /// ASYNC_FLUSH: how often (`flushIntervalCommitLog`).
    pub interval: Duration,
    /// ASYNC_FLUSH: not more often, though the log grows (`flushCommitLogTimed`).
    pub timed: bool,
    /// ASYNC_FLUSH: pages of 4 KiB below which a round is skipped (`flushCommitLogLeastPages`)…
    pub least_pages: i64,
    /// …unless the last flush is this long ago (`flushCommitLogThoroughInterval`).
    pub thorough_interval: Duration,
}

impl FlushPolicy {
    /// Whether the flush is woken when the log grew, or comes by itself in time.
    pub fn is_woken(&self) -> bool {
        self.sync || !self.timed
    }
}

/// The log grew.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// Collapses wakes: at most one [`Flush`] is in the mailbox.
#[derive(Debug, Clone, Default)]
pub struct FlushWake(Arc<AtomicBool>);

impl FlushWake {
    /// Wakes the flush actor unless that is done already.
    pub fn wake(&self, flush: &ActorRef<FlushActor>) {
        if !self.0.swap(true, Ordering::AcqRel) {
            flush.tell(Flush);
        }
    }

    fn awake(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What a flush actor is made of.
#[derive(Clone)]
pub struct FlushParts {
    /// Positions.
    pub watermarks: Watermarks,
    /// When.
    pub policy: Derived<FlushPolicy>,
    /// Collapses wakes.
    pub wake: FlushWake,
    /// Holds the answers that wait.
    pub acks: TellRef<MarksMoved>,
    /// Hands over what became visible.
    pub dispatcher: TellRef<VisibleMoved>,
    /// How many passes were made.
    pub passes: Arc<AtomicU64>,
}

/// The actor; see the module.
pub struct FlushActor {
    cell: Arc<ActorCell>,
    parts: FlushParts,
    flusher: Flusher,
    last_round: Instant,
    last_thorough: Instant,
}

impl FlushActor {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: FlushParts) -> Self {
        let flusher = parts.watermarks.log().flusher();
        Self {
            cell,
            parts,
            flusher,
            last_round: Instant::now(),
            last_thorough: Instant::now(),
        }
    }

    /// Flushes until the log's end is reached.
    fn flush_all(&mut self) {
        while self.flush_once() {}
    }

    /// Flushes up to where the log ends now; whether something was to do, and was done.
    fn flush_once(&mut self) -> bool {
        let end = self.parts.watermarks.appended();
        if self.parts.watermarks.flushed() >= end || self.parts.watermarks.refuses_writes() {
            return false;
        }
        let flusher = &mut self.flusher;
        let outcome = self.cell.blocking(FSYNC_MAX, || flusher.flush(end));
        self.parts.passes.fetch_add(1, Ordering::Relaxed);
        self.cell.fail_point("after_fsync");
        match outcome {
            Ok(_) => {
                self.parts.acks.tell(MarksMoved);
                self.parts.dispatcher.tell(VisibleMoved);
                self.parts.watermarks.tell_flush_moved();
                true
            }
            Err(error) => {
                log::error!("{} gives up on the disk: {error}", self.cell.path());
                self.cell.set_last_error(&error.to_string());
                self.parts.watermarks.refuse_writes();
                false
            }
        }
    }

    /// Flushes if enough was written, or long enough ago.
    fn round(&mut self, policy: &FlushPolicy) {
        self.last_round = Instant::now();
        let behind = self.parts.watermarks.appended() - self.parts.watermarks.flushed();
        let thorough = self.last_thorough.elapsed() >= policy.thorough_interval;
        if behind >= policy.least_pages * PAGE_LEN || (thorough && behind > 0) {
            self.last_thorough = Instant::now();
            self.flush_once();
        }
    }

    /// Has a round come in time. A long interval is slept in pieces, for it may be shortened.
    fn next_round(&self, ctx: &mut Context<Self>) {
        let left =
            |policy: &FlushPolicy, since: Instant| policy.interval.saturating_sub(since.elapsed());
        let pause = left(&self.parts.policy.load(), self.last_round).clamp(PAUSE_MIN, PAUSE_MAX);
        ctx.run_later(pause, move |actor, ctx| {
            let policy = actor.parts.policy.load_full();
            if left(&policy, actor.last_round).is_zero() {
                actor.round(&policy);
            }
            actor.next_round(ctx);
        });
    }
}

impl Actor for FlushActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.parts.wake.awake();
        ctx.notify(Flush);
        self.next_round(ctx);
        let (marks, passes) = (
            self.parts.watermarks.clone(),
            Arc::clone(&self.parts.passes),
        );
        self.cell.set_detail(move || {
            serde_json::json!({
                "flushed": marks.flushed(),
                "passes": passes.load(Ordering::Relaxed),
            })
        });
    }
}

impl Supervised for FlushActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Flush> for FlushActor {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Self::Context) {
        self.cell.begin_work();
        self.parts.wake.awake();
        let policy = self.parts.policy.load_full();
        if policy.sync {
            self.flush_all();
        } else if !policy.timed {
            self.round(&policy);
        }
    }
}

impl Handler<Shutdown> for FlushActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.flush_all();
        ctx.stop();
    }
}

crate::crashable!(FlushActor);
