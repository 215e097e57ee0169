//! One shard of the topic queues: which of its queues are awake, and the tick that serves them.
//!
//! Owns the map from queues to their actors. Connections, the dispatcher and request processors
//! send to it; whether a message is forwarded to a queue or the queue is put to sleep is decided in
//! one turn of the shard, so that no message meets a dying queue. A restart keeps the map, for the
//! queues live on, and asks those that lack records to read them from the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Message,
    ResponseActFuture, Supervised, WrapFuture,
};

use super::{
    dispatcher::Dispatched,
    far_reader::AnswerFar,
    queue::{AllGone, Arrived, CatchUp, Destroy, LogCut, Queue, QueueParts, Sleep, Tick},
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown, TellRef, Tree, spawn},
    hash::HashMap,
    store::queue_table::{QueueSlot, QueueTable},
};

/// How often queues with unwritten entries or waiting pulls are visited.
pub const TICK: Duration = Duration::from_millis(250);

/// A tick has the unwritten entries of so many queues written, and where more of them wait, of so
/// many that each has its turn within [`ROUND_TICKS`]: thousands of queues that get a few messages
/// each would otherwise cost a write for every entry, which is more than all the rest.
const VISITS_MIN: usize = 1024;

/// See [`VISITS_MIN`].
const ROUND_TICKS: usize = 8;

/// Records for several queues of this shard, in log order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct HandOver {
    /// The records; none at all just moves the end.
    pub items: Vec<Dispatched>,
    /// Everything below this position of the log has been handed over.
    pub log_end: i64,
}

/// A message for one queue, which is woken for it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ToQueue<M: Message<Result = ()> + Send> {
    /// The queue.
    pub slot: Arc<QueueSlot>,
    /// What it gets.
    pub message: M,
}

/// The topic of this queue was deleted: its files go with it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct DropQueue {
    /// The queue, which the writer has removed from the table.
    pub slot: Arc<QueueSlot>,
    /// Dropped when the files are gone.
    pub gone: Arc<AllGone>,
}

/// The log was cut at its old end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CutQueues {
    /// First offset of the log.
    pub log_min: i64,
}

/// Counters that a queue shares with its shard.
#[derive(Debug)]
pub struct QueueGauge {
    /// Pulls that the queue holds.
    pub held: AtomicUsize,
    /// When the first of them may expire, ms after `since`.
    due_ms: AtomicU64,
    since: Instant,
}

impl Default for QueueGauge {
    fn default() -> Self {
        Self {
            held: AtomicUsize::new(0),
            due_ms: AtomicU64::new(u64::MAX),
            since: Instant::now(),
        }
    }
}

impl QueueGauge {
    /// A pull is held until then.
    pub fn holds_until(&self, until: Instant) {
        self.due_ms.fetch_min(self.ms(until), Ordering::Relaxed);
    }

    /// The first of the held pulls expires then.
    pub fn set_due(&self, first: Option<Instant>) {
        let due_ms = first.map_or(u64::MAX, |first| self.ms(first));
        self.due_ms.store(due_ms, Ordering::Relaxed);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.held.load(Ordering::Relaxed) > 0 && self.due_ms.load(Ordering::Relaxed) <= self.ms(now)
    }

    fn ms(&self, time: Instant) -> u64 {
        let ms = time.saturating_duration_since(self.since).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX)
    }
}

struct Awake {
    queue: ActorRef<Queue>,
    slot: Arc<QueueSlot>,
    gauge: Arc<QueueGauge>,
    used: Instant,
    /// End of the log at the last hand-over to this queue.
    handed: i64,
}

/// What a shard is made of.
#[derive(Clone)]
pub struct ShardParts {
    /// The actor tree.
    pub tree: Tree,
    /// Number of this shard.
    pub id: usize,
    /// How many shards there are.
    pub shards: usize,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// What the queues share.
    pub queues: Arc<QueueParts>,
    /// Answers what lies far back, on the shard's thread.
    pub far_reader: TellRef<AnswerFar>,
    /// A queue idle for this long sleeps: its actor goes, its files are closed (`queueSleepMs`).
    pub sleep_after: Duration,
    /// The shard's own thread, where its queues live, too.
    pub arbiter: ArbiterHandle,
    /// Published: below this position of the log every entry of this shard is in a file.
    pub complete: Arc<AtomicI64>,
}

/// The actor; see the module.
pub struct Shard {
    cell: Arc<ActorCell>,
    parts: ShardParts,
    awake: HashMap<u64, Awake>,
    log_end: i64,
}

impl Shard {
    /// State for a first start and for every restart: no queue is awake.
    pub fn recover(cell: Arc<ActorCell>, parts: ShardParts) -> Self {
        let log_end = parts.complete.load(Ordering::Acquire);
        Self {
            cell,
            parts,
            awake: HashMap::default(),
            log_end,
        }
    }

    /// The actor of a queue, born now if it sleeps.
    fn wake(&mut self, slot: &Arc<QueueSlot>) -> &mut Awake {
        let id = slot.generation;
        if self
            .awake
            .get(&id)
            .is_some_and(|awake| !awake.queue.connected())
        {
            // It spent its restarts; a fresh one may fare better.
            self.awake.remove(&id);
        }
        let Self {
            parts,
            awake,
            log_end,
            ..
        } = self;
        let awake = awake.entry(id).or_insert_with(|| {
            if slot.readable_end() == slot.next_offset() {
                // Nothing is on its way to a sleeping queue: its files are complete.
                slot.set_complete_upto((*log_end).max(slot.complete_upto()));
            }
            let gauge = Arc::new(QueueGauge::default());
            // Before its birth: a queue with a hole in its files takes the mark back.
            let handed = slot.complete_upto();
            Awake {
                queue: born(parts, slot, &gauge),
                slot: Arc::clone(slot),
                gauge,
                used: Instant::now(),
                handed,
            }
        });
        awake.used = Instant::now();
        awake
    }

    fn hand_over(&mut self, hand_over: HandOver) {
        let log_end = hand_over.log_end;
        let mut by_queue: HashMap<u64, Vec<Dispatched>> = HashMap::default();
        let mut items = hand_over.items.into_iter().peekable();
        while let Some(first) = items.next() {
            if first.slot.is_removed() {
                continue;
            }
            // The records of a batch follow each other: one look-up for all of them.
            let generation = first.slot.generation;
            let queue = by_queue.entry(generation).or_default();
            queue.push(first);
            while let Some(next) = items.next_if(|next| next.slot.generation == generation) {
                queue.push(next);
            }
        }
        for items in by_queue.into_values() {
            let Some(slot) = items.first().map(|first| Arc::clone(&first.slot)) else {
                continue;
            };
            let awake = self.wake(&slot);
            awake.handed = log_end;
            awake.queue.tell(Arrived { items, log_end });
        }
        self.log_end = self.log_end.max(log_end);
    }

    /// Visits queues with something to do, sends idle ones to sleep, publishes what is complete.
    fn tick(&mut self) {
        let (log_end, now) = (self.log_end, Instant::now());
        let mut complete = log_end;
        let sleep_after = self.parts.sleep_after;
        let mut behind = Vec::new();
        self.awake.retain(|&id, awake| {
            let upto = awake.slot.complete_upto();
            if upto < awake.handed {
                complete = complete.min(upto);
                behind.push((upto, id));
                return true;
            }
            awake.slot.set_complete_upto(log_end);
            if awake.gauge.is_due(now) {
                awake.queue.tell(Tick { log_end });
            } else if awake.gauge.held.load(Ordering::Relaxed) == 0
                && now.saturating_duration_since(awake.used) >= sleep_after
            {
                awake.queue.tell(Sleep);
                return false;
            }
            true
        });
        self.parts.complete.store(complete, Ordering::Release);
        let visits = VISITS_MIN.max(behind.len() / ROUND_TICKS);
        if behind.len() > visits {
            // Those that lack the oldest records: they hold back what counts as complete.
            behind.select_nth_unstable(visits);
        }
        for (number, (_, id)) in behind.iter().enumerate() {
            let Some(awake) = self.awake.get(id) else {
                continue;
            };
            if number < visits || awake.gauge.is_due(now) {
                awake.queue.tell(Tick { log_end });
            }
        }
    }

    fn mine(&self, slot: &QueueSlot) -> bool {
        slot.generation as usize % self.parts.shards == self.parts.id
    }

    /// After a restart: queues that were promised records ask the log for them.
    fn catch_up(&mut self) {
        let log_end = self.parts.queues.watermarks.visible();
        for slot in self.parts.table.slots() {
            if self.mine(&slot) && slot.next_offset() > slot.readable_end() {
                let awake = self.wake(&slot);
                awake.handed = log_end;
                awake.queue.tell(CatchUp);
            }
        }
    }
}

/// Starts a queue's actor. Files that cannot be opened are tried again, so it may restart often.
fn born(parts: &ShardParts, slot: &Arc<QueueSlot>, gauge: &Arc<QueueGauge>) -> ActorRef<Queue> {
    let parent = format!("broker/store/queues/{}/{}", parts.id, slot.key.topic);
    let name = slot.key.queue_id.to_string();
    let (slot, gauge) = (Arc::clone(slot), Arc::clone(gauge));
    let (queues, far_reader) = (Arc::clone(&parts.queues), parts.far_reader.clone());
    let policy = parts.tree.restart_policy();
    spawn(
        &parts.tree,
        &parent,
        &name,
        "queue",
        &parts.arbiter,
        policy,
        move |cell| Queue::recover(cell, slot, queues, far_reader, gauge),
    )
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |shard, _| shard.tick());
    }
}

impl Supervised for Shard {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The queues live on; two actors for one queue's files would be worse than a torn map, and
        // the map is only changed by calls that do not panic.
        let awake = std::mem::take(&mut self.awake);
        *self = Self::recover(self.cell.clone(), self.parts.clone());
        self.awake = awake;
        self.catch_up();
    }
}

impl Handler<HandOver> for Shard {
    type Result = ();

    fn handle(&mut self, hand_over: HandOver, _: &mut Self::Context) {
        self.cell.begin_work();
        self.hand_over(hand_over);
    }
}

impl<M> Handler<ToQueue<M>> for Shard
where
    M: Message<Result = ()> + Send + 'static,
    Queue: Handler<M>,
{
    type Result = ();

    fn handle(&mut self, to: ToQueue<M>, _: &mut Self::Context) {
        self.cell.begin_work();
        if !to.slot.is_removed() {
            self.wake(&to.slot).queue.tell(to.message);
        }
    }
}

impl Handler<DropQueue> for Shard {
    type Result = ();

    fn handle(&mut self, message: DropQueue, _: &mut Self::Context) {
        self.cell.begin_work();
        let slot = message.slot;
        let queue = self.wake(&slot).queue.clone();
        self.awake.remove(&slot.generation);
        queue.tell(Destroy(message.gone));
    }
}

impl Handler<CutQueues> for Shard {
    type Result = ();

    fn handle(&mut self, cut: CutQueues, _: &mut Self::Context) {
        self.cell.begin_work();
        for slot in self.parts.table.slots() {
            if self.mine(&slot) {
                self.wake(&slot).queue.tell(LogCut {
                    log_min: cut.log_min,
                });
            }
        }
    }
}

impl Handler<Shutdown> for Shard {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let stopping: Vec<_> = self
            .awake
            .drain()
            .map(|(_, awake)| awake.queue.ask(Shutdown))
            .collect();
        let all = futures_util::future::join_all(stopping);
        Box::pin(all.into_actor(self).map(|_, shard, ctx| {
            shard.parts.complete.store(shard.log_end, Ordering::Release);
            ctx.stop();
        }))
    }
}

crate::crashable!(Shard);
