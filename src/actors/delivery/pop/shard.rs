//! One shard of pops: those of the topics and groups whose hash it has.
//!
//! Owns the locks of their queues and the requests that wait for messages. Connections send it
//! requests, queues tell it of new messages. A restart loses both: requests are answered "outcome
//! unknown", and clients ask again. What was popped and not told anybody comes back when its time
//! is over.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture,
    Supervised, WrapFuture,
};

use super::{
    PopParts,
    locks::{LockKey, Locks},
    orders::{Committed, OrderKey},
    request::{AckOrdered, CountWaiting, HideOrdered, Notify, OrderAnswer, Pop, Whom},
    take::{Taken, Wanted, take},
    waiting::Waiting,
};
use crate::{
    actors::{
        broker::processor::ack::NOTHING_SAID,
        kernel::{ActorCell, ActorRef, Shutdown},
        store::arrivals::TopicArrived,
    },
    hash::HashMap,
    protocol::{
        ResponseCode, Str, detached,
        header::pop::{NotificationResponseHeader, PopMessageResponseHeader},
    },
    store::now_ms,
};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long a pop rests that was woken in vain and still sees messages.
const RECHECK: Duration = Duration::from_millis(200);

/// A waiting request is answered so long before its deadline, ms (`PopRequest.isTimeout`).
const EARLY_MS: i64 = 50;

/// What a shard is made of.
#[derive(Clone)]
pub struct ShardParts {
    /// Number of this shard.
    pub id: usize,
    /// What all shards share.
    pub pops: Arc<PopParts>,
    /// Published: how many requests wait in each shard.
    pub waiting: Arc<[AtomicUsize]>,
}

/// The actor; see the module.
pub struct PopShard {
    cell: Arc<ActorCell>,
    parts: ShardParts,
    locks: Locks,
    pops: Waiting<Pop>,
    notifies: Waiting<Notify>,
    /// The topic and group that a watched retry topic belongs to.
    retries: HashMap<Str, (Str, Str)>,
    /// When queues of ordered pops are free again.
    releases: BinaryHeap<Reverse<(i64, LockKey)>>,
}

impl PopShard {
    /// State for a first start and for every restart: nobody waits, no queue is locked.
    pub fn recover(cell: Arc<ActorCell>, parts: ShardParts) -> Self {
        parts.pops.log.store.arrivals.forget(parts.id);
        let waiting = Arc::clone(&parts.waiting);
        let locks = Locks::default();
        let (id, shown, in_flight) = (parts.id, locks.clone(), parts.pops.in_flight.clone());
        cell.set_detail(move || {
            serde_json::json!({
                "waiting": waiting.get(id).map_or(0, |count| count.load(Relaxed)),
                "queues_locked": shown.len(),
                "in_flight_of_the_broker": in_flight.total(),
            })
        });
        let shard = Self {
            cell,
            parts,
            locks,
            pops: Waiting::default(),
            notifies: Waiting::default(),
            retries: HashMap::default(),
            releases: BinaryHeap::new(),
        };
        shard.publish();
        shard
    }

    fn publish(&self) {
        if let Some(count) = self.parts.waiting.get(self.parts.id) {
            count.store(self.pops.len() + self.notifies.len(), Relaxed);
        }
    }

    fn is_full(&self) -> bool {
        let waiting = self.parts.waiting.iter().map(|count| count.load(Relaxed));
        waiting.sum::<usize>() >= self.parts.pops.policy.load().waiting_max
    }

    /// Takes messages for a pop, and answers it or lets it wait.
    fn begin(&mut self, mut pop: Pop, ctx: &mut Context<Self>) {
        if pop.responder.conn().is_closed() {
            // Its messages would be hidden from everybody for nothing.
            return;
        }
        let wanted = Wanted {
            whom: pop.whom.clone(),
            max: pop.max,
            invisible_time: pop.invisible_time,
            init_mode: pop.init_mode,
            filter: std::mem::take(&mut pop.filter),
        };
        let (parts, locks) = (Arc::clone(&self.parts.pops), self.locks.clone());
        let taking = async move {
            let taken = take(&parts, &locks, &wanted).await;
            pop.filter = wanted.filter;
            (pop, taken)
        };
        let taking = taking.into_actor(self);
        ctx.spawn(taking.map(|(pop, taken), shard, ctx| shard.taken(pop, taken, ctx)));
    }

    fn taken(&mut self, pop: Pop, taken: Taken, ctx: &mut Context<Self>) {
        self.cell.fail_point("before_answer");
        let whom = pop.whom.clone();
        let rest = taken.rest;
        if taken.messages > 0 {
            if whom.order {
                self.watch_releases(&whom);
            }
            answer(pop, taken, ResponseCode::Success);
            // Whoever came while the queues were locked passed over them.
            if rest > 0 || self.has_messages(&whom) {
                self.wake_one(&whom, ctx);
            }
        } else {
            self.wait(pop, taken, ctx);
        }
    }

    fn wait(&mut self, mut pop: Pop, taken: Taken, ctx: &mut Context<Self>) {
        let now = now_ms();
        let Some(until) = pop.wait_until.filter(|&until| is_ahead(until, now)) else {
            return answer(pop, taken, ResponseCode::PollingTimeout);
        };
        if self.is_full() {
            return answer(pop, taken, ResponseCode::PollingFull);
        }
        let whom = pop.whom.clone();
        let rechecked = std::mem::replace(&mut pop.rechecked, true);
        pop.responder.park();
        self.watch(&whom);
        let place = (&whom.topic, &whom.group, whom.queue_id);
        let limits = self.parts.pops.policy.load().waiting;
        let kept = self.pops.keep(place, until, limits, pop);
        self.publish();
        if let Err(pop) = kept {
            self.unwatch(&whom);
            return answer(pop, taken, ResponseCode::PollingFull);
        }
        // A message may have come between the look and the watch, or lie in a queue that another
        // pops. Where it cannot be popped for now, looking again must not become a loop.
        if !self.has_messages(&whom) {
            return;
        }
        if rechecked {
            ctx.run_later(RECHECK, move |shard, ctx| shard.wake_one(&whom, ctx));
        } else {
            self.wake_one(&whom, ctx);
        }
    }

    /// Whether a queue has messages that could be popped.
    fn has_messages(&self, whom: &Whom) -> bool {
        let parts = &self.parts.pops;
        let has = |topic: &str, queue_id: i32| {
            if whom.order {
                // As Java asks: the topic's own entry stands for that of the retry topic, too.
                let key = order_key(whom, queue_id);
                if parts.orders.is_blocked(key, whom.attempt_id.as_deref(), 0) {
                    return false;
                }
            }
            parts.rest(topic, &whom.group, queue_id) > 0
        };
        let of_topic = |topic: &str| (0..parts.read_queues(topic)).any(|queue| has(topic, queue));
        let mut own = match whom.queue_id {
            ..0 => of_topic(&whom.topic),
            queue => has(&whom.topic, queue),
        };
        if !own && !whom.order {
            let policy = parts.policy.load();
            let retries = policy.retry_topics(&whom.topic, &whom.group);
            own = retries.iter().any(|topic| of_topic(topic));
        }
        own
    }

    fn notify(&mut self, mut notify: Notify, may_wait: bool) {
        let now = now_ms();
        let has = self.has_messages(&notify.whom);
        let until = notify.wait_until.filter(|&until| is_ahead(until, now));
        let Some(until) = until.filter(|_| !has && may_wait) else {
            return tell(notify, has, false);
        };
        if self.is_full() {
            return tell(notify, false, true);
        }
        let whom = notify.whom.clone();
        notify.responder.park();
        self.watch(&whom);
        let place = (&whom.topic, &whom.group, whom.queue_id);
        let limits = self.parts.pops.policy.load().waiting;
        let kept = self.notifies.keep(place, until, limits, notify);
        self.publish();
        match kept {
            Err(notify) => {
                self.unwatch(&whom);
                tell(notify, false, true);
            }
            Ok(()) if self.has_messages(&whom) => {
                let waits = self.notifies.take(&whom.topic, &whom.group, whom.queue_id);
                self.unwatch(&whom);
                waits
                    .into_iter()
                    .for_each(|notify| tell(notify, true, false));
            }
            Ok(()) => {}
        }
    }

    /// Has queues tell of new messages in a topic and its retry topics.
    fn watch(&mut self, whom: &Whom) {
        let (topic, group) = (&whom.topic, &whom.group);
        if self.pops.has_group(topic, group) || self.notifies.has_group(topic, group) {
            return;
        }
        let arrivals = &self.parts.pops.log.store.arrivals;
        arrivals.watch(topic, self.parts.id);
        for retry in self.parts.pops.policy.load().retry_topics(topic, group) {
            arrivals.watch(&retry, self.parts.id);
            let of = (topic.clone(), group.clone());
            self.retries.insert(detached(&retry), of);
        }
    }

    /// After requests have gone: nobody may be left who wants to hear of the topic.
    fn unwatch(&mut self, whom: &Whom) {
        self.publish();
        let (topic, group) = (&whom.topic, &whom.group);
        if self.pops.has_group(topic, group) || self.notifies.has_group(topic, group) {
            return;
        }
        let arrivals = &self.parts.pops.log.store.arrivals;
        for retry in self.parts.pops.policy.load().retry_topics(topic, group) {
            arrivals.unwatch(&retry, self.parts.id);
            self.retries.remove(&*retry);
        }
        if !self.pops.has_topic(topic) && !self.notifies.has_topic(topic) {
            arrivals.unwatch(topic, self.parts.id);
        }
    }

    /// One more pop of the same kind may find the rest.
    fn wake_one(&mut self, whom: &Whom, ctx: &mut Context<Self>) {
        let next = self.pops.take(&whom.topic, &whom.group, whom.queue_id);
        self.resume(next.into_iter().collect(), ctx);
    }

    fn resume(&mut self, woken: Vec<Pop>, ctx: &mut Context<Self>) {
        for pop in woken {
            self.unwatch(&pop.whom);
            self.begin(pop, ctx);
        }
    }

    fn resume_notifies(&mut self, woken: Vec<Notify>, may_wait: bool) {
        for notify in woken {
            self.unwatch(&notify.whom);
            if !notify.responder.conn().is_closed() {
                self.notify(notify, may_wait);
            }
        }
    }

    fn arrived(&mut self, event: &TopicArrived, ctx: &mut Context<Self>) {
        let topic = &event.queue.topic;
        if let Some((topic, group)) = self.retries.get(topic).cloned() {
            let pop = self.pops.take_of_group(&topic, &group);
            self.resume(pop.into_iter().map(Pop::fresh).collect(), ctx);
            let notify = self.notifies.take_of_group(&topic, &group);
            self.resume_notifies(notify.into_iter().collect(), true);
            return;
        }
        let wants = |pop: &Pop| {
            event.tags_codes.is_empty()
                || event
                    .tags_codes
                    .iter()
                    .any(|&code| pop.filter.matches(code))
        };
        let woken = self.pops.take_for(topic, event.queue.queue_id, 1);
        let (woken, others): (Vec<_>, Vec<_>) = woken.into_iter().partition(wants);
        for pop in others {
            self.keep_again(pop);
        }
        let woken = woken.into_iter().map(Pop::fresh).collect();
        self.resume(woken, ctx);
        let count = event.tags_codes.len().max(1);
        let notifies = self.notifies.take_for(topic, event.queue.queue_id, count);
        self.resume_notifies(notifies, true);
    }

    /// Puts a pop back that was looked at only: there is room for it.
    fn keep_again(&mut self, pop: Pop) {
        let whom = pop.whom.clone();
        let place = (&whom.topic, &whom.group, whom.queue_id);
        let limits = self.parts.pops.policy.load().waiting;
        let until = pop.wait_until.unwrap_or(0);
        if let Err(pop) = self.pops.keep(place, until, limits, pop) {
            answer(pop, Taken::default(), ResponseCode::PollingFull);
        }
        self.publish();
    }

    /// A queue of an ordered pop is free when its messages are visible again.
    fn watch_releases(&mut self, whom: &Whom) {
        let queues = match whom.queue_id {
            ..0 => 0..self.parts.pops.read_queues(&whom.topic),
            queue => queue..queue + 1,
        };
        for queue in queues {
            self.watch_release(whom, queue);
        }
    }

    fn watch_release(&mut self, whom: &Whom, queue_id: i32) {
        const RELEASES_MAX: usize = 1 << 20;
        let free_at = self.parts.pops.orders.free_at(order_key(whom, queue_id));
        let now = now_ms();
        if let Some(free_at) = free_at.filter(|&at| at > now)
            && self.releases.len() < RELEASES_MAX
        {
            let key = (whom.topic.clone(), whom.group.clone(), queue_id);
            self.releases.push(Reverse((free_at, key)));
        }
    }

    /// A queue of ordered messages may have become free.
    fn released(&mut self, (topic, group, queue): &LockKey, ctx: &mut Context<Self>) {
        if self.parts.pops.rest(topic, group, *queue) <= 0 {
            return;
        }
        let pop = self.pops.take(topic, group, -1);
        let pop = pop.or_else(|| self.pops.take(topic, group, *queue));
        self.resume(pop.into_iter().collect(), ctx);
        let notify = self.notifies.take(topic, group, -1);
        let notify = notify.or_else(|| self.notifies.take(topic, group, *queue));
        self.resume_notifies(notify.into_iter().collect(), true);
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = now_ms();
        while let Some(Reverse((free_at, _))) = self.releases.peek()
            && *free_at <= now
        {
            if let Some(Reverse((_, key))) = self.releases.pop() {
                self.released(&key, ctx);
            }
        }
        if self.pops.is_empty() && self.notifies.is_empty() {
            return;
        }
        let expired = self.pops.expired(now + EARLY_MS);
        self.resume(expired, ctx);
        let expired = self.notifies.expired(now + EARLY_MS);
        self.resume_notifies(expired, false);
    }
}

/// Whether a deadline leaves time to wait.
fn is_ahead(until: i64, now: i64) -> bool {
    now <= until.saturating_sub(EARLY_MS)
}

fn order_key(whom: &Whom, queue_id: i32) -> OrderKey<'_> {
    OrderKey {
        topic: &whom.topic,
        group: &whom.group,
        queue_id,
    }
}

fn answer(pop: Pop, taken: Taken, code: ResponseCode) {
    let counts = taken.counts.into_text();
    let header = PopMessageResponseHeader {
        pop_time: taken.pop_time,
        invisible_time: pop.invisible_time,
        revive_qid: taken.revive_queue,
        rest_num: taken.rest,
        start_offset_info: Some(taken.starts.into_text().into()),
        msg_offset_info: Some(taken.offsets.into_text().into()),
        order_count_info: pop.whom.order.then(|| counts.into()),
    };
    let remark = match code {
        ResponseCode::Success => "FOUND",
        _ => "NO_MESSAGE_IN_QUEUE",
    };
    pop.responder
        .answer(code, Some(remark), Some(&header), &[], taken.parts);
}

fn tell(notify: Notify, has_msg: bool, polling_full: bool) {
    let header = NotificationResponseHeader {
        has_msg,
        polling_full,
    };
    notify.responder.answer(
        ResponseCode::Success,
        Some(NOTHING_SAID),
        Some(&header),
        &[],
        [],
    );
}

impl Actor for PopShard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |shard, ctx| shard.tick(ctx));
        // Every shard looks at all of them; what is not its own finds nobody waiting.
        for (topic, group, queue, free_at) in self.parts.pops.orders.blocked() {
            let key = (Str::from(topic), Str::from(group), queue);
            self.releases.push(Reverse((free_at, key)));
        }
    }
}

impl Supervised for PopShard {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Pop> for PopShard {
    type Result = ();

    fn handle(&mut self, pop: Pop, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.begin(pop, ctx);
    }
}

impl Handler<Notify> for PopShard {
    type Result = ();

    fn handle(&mut self, notify: Notify, _: &mut Self::Context) {
        self.cell.begin_work();
        self.notify(notify, true);
    }
}

impl Handler<TopicArrived> for PopShard {
    type Result = ();

    fn handle(&mut self, event: TopicArrived, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.arrived(&event, ctx);
    }
}

impl Handler<CountWaiting> for PopShard {
    type Result = usize;

    fn handle(&mut self, CountWaiting(whom): CountWaiting, _: &mut Self::Context) -> usize {
        self.cell.begin_work();
        self.pops.len_at(&whom.topic, &whom.group, whom.queue_id)
    }
}

/// A queue of ordered messages changed: its own message, for the change is made in a future.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
struct OrderChanged(Whom);

impl Handler<OrderChanged> for PopShard {
    type Result = ();

    fn handle(&mut self, OrderChanged(whom): OrderChanged, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.watch_release(&whom, whom.queue_id);
        let key = order_key(&whom, whom.queue_id);
        if !self.parts.pops.orders.is_blocked(key, None, 0) {
            let key = (whom.topic.clone(), whom.group.clone(), whom.queue_id);
            self.released(&key, ctx);
        }
    }
}

impl PopShard {
    /// Runs `act` under the lock of a queue, unless the message lies before the group's offset.
    fn under_lock(
        &self,
        whom: Whom,
        offset: i64,
        ctx: &mut Context<Self>,
        act: impl FnOnce(&PopParts, &Whom, i64) -> OrderAnswer + 'static,
    ) -> ResponseFuture<OrderAnswer> {
        let (parts, locks) = (Arc::clone(&self.parts.pops), self.locks.clone());
        let own = ActorRef::new(ctx.address(), Arc::clone(&self.cell));
        Box::pin(async move {
            let committed = || {
                let offset = parts.offsets.query(&whom.group, &whom.topic, whom.queue_id);
                offset.unwrap_or(-1)
            };
            if offset < committed() {
                return OrderAnswer::Past;
            }
            let key = PopParts::lock_key(&whom.topic, &whom.group, whom.queue_id);
            let lock = locks.lock(&key).await;
            let old = committed();
            if offset < old {
                return OrderAnswer::Past;
            }
            let answer = act(&parts, &whom, old);
            drop(lock);
            own.tell(OrderChanged(whom));
            answer
        })
    }
}

impl Handler<AckOrdered> for PopShard {
    type Result = ResponseFuture<OrderAnswer>;

    fn handle(&mut self, ack: AckOrdered, ctx: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let (offset, pop_time) = (ack.offset, ack.pop_time);
        self.under_lock(ack.whom, offset, ctx, move |parts, whom, old| {
            let key = order_key(whom, whom.queue_id);
            match parts.orders.acknowledged(key, offset, pop_time) {
                Committed::Next(next) => {
                    let (group, topic) = (&whom.group, &whom.topic);
                    let reset = parts.offsets.pending_reset(group, topic, whom.queue_id);
                    if reset.is_none() {
                        parts.offsets.commit(group, topic, whom.queue_id, next);
                    }
                    OrderAnswer::Done
                }
                Committed::Stale => OrderAnswer::Past,
                Committed::Illegal => OrderAnswer::Illegal(old),
            }
        })
    }
}

impl Handler<HideOrdered> for PopShard {
    type Result = ResponseFuture<OrderAnswer>;

    fn handle(&mut self, hide: HideOrdered, ctx: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let (offset, pop_time, visible_at) = (hide.offset, hide.pop_time, hide.visible_at);
        self.under_lock(hide.whom, offset, ctx, move |parts, whom, _| {
            let key = order_key(whom, whom.queue_id);
            parts.orders.set_visible(key, offset, pop_time, visible_at);
            OrderAnswer::Done
        })
    }
}

impl Handler<Shutdown> for PopShard {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

crate::crashable!(PopShard);
