//! Timed messages: takes them from the queue of rmq_sys_wheel_timer into the wheel, and brings them to
//! their topics when their slot has passed (RocketMQ: `TimerMessageStore`).
//!
//! Owns the timer's files. Nobody sends to it; it reads its queue, its slots and the commit log, and
//! appends to the log. One thing is done at a time, in batches: messages that are taken in and messages
//! that are due take turns. A restart opens the files again and goes on where they tell; what was
//! delivered and not counted yet is found in the commit log and not delivered twice.
//!
//! A slave takes in what its master has taken in, and delivers nothing: started as a master it goes on.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, Supervised,
    WrapFuture,
};
use tokio::sync::oneshot;

use crate::{
    actors::{
        kernel::{ActorCell, Shutdown},
        store::append::PutStatus,
    },
    protocol::message::names,
    store::{
        StoreError,
        consume_queue::Entry,
        now_ms,
        timer::{TimerStore, wheel::SLOTS_TOTAL},
    },
};

mod ahead;
mod due;
mod keep;
mod marks;
mod parts;
mod running;
mod start;

use super::append::append_all;
use ahead::Ahead;
use due::Recalls;
pub use marks::TimerMarks;
pub use parts::{Timer, TimerParts, TimerPolicy};
use running::{Batch, Leftovers, Reading, Running};

/// How often the queue is looked at, as by RocketMQ's `TimerEnqueueGetService` at its precision of a second;
/// the clock is, when its next tick begins.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(100);

/// How long the timer rests after an append or a file that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Messages that are taken in with one look at the queue.
const TAKE_IN_MAX: usize = 1024;

/// The longest that one batch may wait for the disk before the watchdog counts the timer as stuck.
const BATCH_READ_MAX: Duration = Duration::from_secs(60);

/// How often files of the timer log are looked at that may go.
const CLEAN_EVERY: Duration = Duration::from_secs(30);

/// The actor; see the module.
pub struct TimerActor {
    cell: Arc<ActorCell>,
    parts: TimerParts,
    /// Nothing until the files are open, and after a failure.
    running: Option<Running>,
    /// Something is under way: files are being opened, a queue read, or messages appended.
    busy: bool,
    /// Whether due messages are next, where both wait.
    turn_of_due: bool,
    syncing: bool,
    last_sync: Instant,
    /// Who waits for the end, while something is under way.
    stopping: Option<oneshot::Sender<()>>,
}

impl TimerActor {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: TimerParts) -> Self {
        Self {
            cell,
            parts,
            running: None,
            busy: false,
            turn_of_due: false,
            syncing: false,
            last_sync: Instant::now(),
            stopping: None,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.stopping.is_some() {
            return;
        }
        let Some(running) = &mut self.running else {
            return self.open(ctx);
        };
        running.write_time_ms = running.write_time_ms.max(running.store.floor(now_ms()));
        if !self.parts.delivers {
            self.follow_master();
        }
        let policy = self.parts.policy.load_full();
        let takes_in = !policy.stops_taking_in && self.has_new();
        let delivers = self.parts.delivers && !policy.stops_delivering;
        let is_due = match delivers.then(|| self.find_due()) {
            None => false,
            Some(Ok(is_due)) => is_due,
            Some(Err(error)) => return self.failed(&error.to_string(), ctx),
        };
        match (takes_in, is_due) {
            (true, false) => self.read_queue(ctx),
            (true, true) if !self.turn_of_due => self.read_queue(ctx),
            (_, true) => self.deliver(ctx),
            (false, false) if delivers => {
                if let Err(error) = self.read_ahead() {
                    self.failed(&error.to_string(), ctx);
                }
            }
            (false, false) => {}
        }
    }

    /// Reads the slot of the present shortly before it is over, once.
    fn read_ahead(&mut self) -> Result<(), StoreError> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let (begin_ms, precision_ms) = (running.write_time_ms, running.store.precision_ms());
        let known = running.ahead.as_ref().map(Ahead::tick);
        let end_ms = begin_ms + precision_ms;
        if known == Some(begin_ms.div_euclid(precision_ms))
            || !Ahead::is_time(end_ms, precision_ms, now_ms())
        {
            return Ok(());
        }
        let Some(slot) = running.store.next_slot(begin_ms, end_ms)? else {
            return Ok(());
        };
        let handles = &self.parts.store;
        let read = || Ahead::read(handles, &running.store, slot);
        running.ahead = Some(self.cell.blocking(BATCH_READ_MAX, read)?);
        Ok(())
    }

    /// Opens the files and finds out where to go on.
    fn open(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        let parts = self.parts.clone();
        let opening = async move {
            start::writer_passed(&parts).await;
        };
        ctx.spawn(opening.into_actor(self).map(|(), actor, ctx| {
            let opened = actor.cell.blocking(start::OPEN_MAX, || {
                TimerStore::open(&actor.parts.fs, &actor.parts.config)
            });
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => return actor.failed(&error.to_string(), ctx),
            };
            let parts = actor.parts.clone();
            let wanted = start::wanted_offset(&parts, &opened);
            let asking = async move { start::queue_start(&parts, wanted).await };
            ctx.spawn(asking.into_actor(actor).map(|queue, actor, ctx| {
                let Some(queue) = queue else {
                    return actor.failed("the timer's queue cannot be read", ctx);
                };
                let running = actor.cell.blocking(start::OPEN_MAX, || {
                    start::running(&actor.parts, opened, &queue)
                });
                match running {
                    Ok(running) => actor.opened(running, ctx),
                    Err(error) => actor.failed(&error.to_string(), ctx),
                }
            }));
        }));
    }

    fn opened(&mut self, running: Running, ctx: &mut Context<Self>) {
        let store = &running.store;
        log::info!(
            "{} opened: {} wait, read_time={} queue_offset={} log_end={}",
            self.cell.path(),
            store.pending(),
            running.read_time_ms,
            running.queue_offset,
            store.log().end()
        );
        self.parts
            .marks
            .set_wheel(store.wheel(), store.precision_ms());
        self.running = Some(running);
        self.commit();
        self.next(ctx);
    }

    /// Ends what was under way; there may be more.
    fn next(&mut self, ctx: &mut Context<Self>) {
        self.busy = false;
        if self.stopping.is_some() {
            return self.stop(ctx);
        }
        ctx.notify(Look);
    }

    /// Nothing is known any more of what was under way: after a rest the files are opened again.
    fn failed(&mut self, error: &str, ctx: &mut Context<Self>) {
        log::warn!("{} begins anew: {error}", self.cell.path());
        self.cell.set_last_error(error);
        self.running = None;
        self.busy = true;
        ctx.run_later(REST_AFTER_FAILURE, |actor, ctx| actor.next(ctx));
    }

    /// Whether the queue has messages that may be taken in.
    fn has_new(&self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let Some(slot) = self.parts.store.table.get(names::TIMER_TOPIC, 0) else {
            return false;
        };
        // After an absence of a week the slots are needed for what waits in them.
        let behind_ms = running.write_time_ms - running.read_time_ms;
        if self.parts.delivers && behind_ms > SLOTS_TOTAL * running.store.precision_ms() {
            return false;
        }
        running.queue_offset < self.limit(slot.readable_end())
    }

    /// A slave takes in what its master has taken in, and no more: that may have been delivered at once.
    fn limit(&self, queue_end: i64) -> i64 {
        if self.parts.delivers {
            return queue_end;
        }
        let master = self.parts.marks.master();
        queue_end.min(master.map_or(0, |master| master.master_timer_queue_offset))
    }

    fn read_queue(&mut self, ctx: &mut Context<Self>) {
        let Some(running) = &self.running else { return };
        let Some(slot) = self.parts.store.table.get(names::TIMER_TOPIC, 0) else {
            return;
        };
        self.busy = true;
        self.turn_of_due = true;
        let (from, limit) = (running.queue_offset, self.limit(slot.readable_end()));
        let count = usize::try_from(limit - from).unwrap_or(0).min(TAKE_IN_MAX);
        let shards = self.parts.store.shards.clone();
        let asked = async move {
            let found = shards.inspect(slot, move |view| {
                // What retention took from the front is gone.
                let from = from.max(view.range().0);
                view.entries(from, count).map(|entries| (from, entries))
            });
            match found.await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        ctx.spawn(asked.into_actor(self).map(|found, actor, ctx| match found {
            Ok((from, entries)) => actor.take_in(from, &entries, ctx),
            Err(error) => actor.failed(&error, ctx),
        }));
    }

    /// Puts messages into the wheel; those that are late already are delivered at once.
    fn take_in(&mut self, from: i64, entries: &[Entry], ctx: &mut Context<Self>) {
        let (parts, cell) = (self.parts.clone(), Arc::clone(&self.cell));
        let Some(running) = &mut self.running else {
            return;
        };
        running.queue_offset = from;
        let mut batch = Batch::default();
        let mut timed = Vec::new();
        cell.blocking(BATCH_READ_MAX, || {
            for entry in entries {
                if batch.is_full() {
                    break;
                }
                running.take_in(&parts, entry, &mut timed, &mut batch);
                batch.taken_in += 1;
            }
        });
        if batch.taken_in == 0 {
            return self.next(ctx);
        }
        parts.marks.taken_in.add(timed.len() as u64);
        if let Err(error) = running.store.take_in(running.write_time_ms, &timed) {
            return self.failed(&error.to_string(), ctx);
        }
        cell.fail_point("after_take_in");
        self.append(batch, ctx);
    }

    /// Whether a slot is due; moves over those without messages.
    fn find_due(&mut self) -> Result<bool, StoreError> {
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        if running.reading.is_some() {
            return Ok(true);
        }
        if running.read_time_ms >= running.write_time_ms {
            return Ok(false);
        }
        let found = running
            .store
            .next_slot(running.read_time_ms, running.write_time_ms)?;
        let Some(slot) = found else {
            running.read_time_ms = running.write_time_ms;
            self.commit();
            return Ok(false);
        };
        let (walk, marks, ahead) = ahead::begin(&running.store, &slot, running.ahead.take())?;
        running.read_time_ms = running.store.time_of(&slot);
        running.reading = Some(Reading {
            slot,
            walk,
            ahead,
            piece: VecDeque::new(),
            recalls: Recalls::read(&self.parts.store, &marks),
            log_position: self.parts.store.watermarks.appended(),
        });
        Ok(true)
    }

    /// Appends the next messages of the slot that is due.
    fn deliver(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let Some(running) = &mut self.running else {
            return;
        };
        self.busy = true;
        self.turn_of_due = false;
        let mut batch = Batch::default();
        let filled = self.cell.blocking(BATCH_READ_MAX, || {
            while !batch.is_full() {
                if !running.deliver_next(&parts, &mut batch)? {
                    break;
                }
            }
            Ok::<_, StoreError>(())
        });
        match filled {
            Ok(()) => self.append(batch, ctx),
            Err(error) => self.failed(&error.to_string(), ctx),
        }
    }

    /// Appends a batch and counts it when it is stored.
    fn append(&mut self, mut batch: Batch, ctx: &mut Context<Self>) {
        let requests = std::mem::take(&mut batch.requests);
        if requests.is_empty() {
            self.appended(batch);
            return self.next(ctx);
        }
        let parts = self.parts.clone();
        // What can never be stored is given up, as by RocketMQ (`PUT_NO_RETRY`).
        let gone = &[PutStatus::TopicDeleted, PutStatus::MessageIllegal];
        let appending =
            async move { append_all(&parts.store, &parts.permits, requests, gone).await };
        ctx.spawn(appending.into_actor(self).map(|stored, actor, ctx| {
            if let Err(error) = stored {
                return actor.failed(&error.remark, ctx);
            }
            actor.cell.fail_point("after_append");
            actor.appended(batch);
            actor.next(ctx);
        }));
    }

    fn appended(&mut self, batch: Batch) {
        self.parts.marks.count(batch.counts);
        self.parts.marks.delivered.add(batch.delivered);
        if let Some(running) = &mut self.running {
            running.queue_offset += batch.taken_in;
        }
        self.commit();
    }

    /// A slave's slots are delivered when its master says so.
    fn follow_master(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(master) = self.parts.marks.master() else {
            return;
        };
        if master == running.known_master {
            return;
        }
        running.known_master = master;
        running.store.follow_version(&master);
        while let Ok(Some(slot)) = running
            .store
            .next_slot(running.read_time_ms, master.last_read_time_ms)
        {
            running.store.slot_done(&slot);
            running.read_time_ms = running.store.time_of(&slot) + running.store.precision_ms();
        }
        running.read_time_ms = master.last_read_time_ms;
        self.commit();
    }
}

/// Looks at queue and clock.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Look;

impl Actor for TimerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(CLEAN_EVERY, |actor, _| actor.clean());
        schedule_sync(self, ctx);
        let marks = Arc::clone(&self.parts.marks);
        self.cell.set_detail(move || marks.detail());
        look_again(self, ctx);
    }
}

/// Looks, and again at the next tick.
fn look_again(actor: &mut TimerActor, ctx: &mut Context<TimerActor>) {
    actor.look(ctx);
    let to_tick = actor.running.as_ref().map_or(LOOK_EVERY_MAX, |running| {
        let now_ms = now_ms();
        let tick_ms = running.store.floor(now_ms) + running.store.precision_ms();
        Duration::from_millis(u64::try_from(tick_ms - now_ms).unwrap_or(0).max(1))
    });
    ctx.run_later(to_tick.min(LOOK_EVERY_MAX), look_again);
}

/// The next sync, in the interval that is configured then.
fn schedule_sync(actor: &mut TimerActor, ctx: &mut Context<TimerActor>) {
    let after = actor.parts.policy.load_full().sync_every;
    ctx.run_later(after, |actor, ctx| {
        actor.sync(ctx);
        schedule_sync(actor, ctx);
    });
}

impl Supervised for TimerActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Look> for TimerActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<Shutdown> for TimerActor {
    type Result = ResponseFuture<()>;

    /// What is under way ends first: what was appended shall be counted.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let (answer, ended) = oneshot::channel();
        self.stopping = Some(answer);
        if !self.busy || self.running.is_none() {
            self.stop(ctx);
        }
        Box::pin(async move {
            let _ = ended.await;
        })
    }
}

crate::crashable!(TimerActor);
