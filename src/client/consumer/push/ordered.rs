//! Orderly consumption (RocketMQ's ConsumeMessageOrderlyService): one call at a time for each queue, in
//! the order of the queue, by the one client that holds the queue's lock.
//!
//! A broker keeps a lock for a minute after it was last asked for; this side asks every 20 s, and trusts
//! its lock for 30 s only ([`LockTimes`]). A queue whose lock another client may have had meanwhile is given
//! up, and taken again from the group's offset.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::working::restore_topic;
use super::{ConsumeOutcome, QueueState, Shared};
use crate::client::consumer::MessageModel;
use crate::client::error::ClientError;
use crate::client::message::MessageExt;
use crate::client::{lock, now_ms};
use crate::protocol::body::MessageQueue;

/// How long locks are good for, in terms of how often they are renewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockTimes {
    /// How often locks are renewed.
    every: Duration,
    /// How long this side trusts a lock (`ProcessQueue.REBALANCE_LOCK_MAX_LIVE_TIME`).
    trusted_ms: i64,
    /// How long a broker keeps one (`RebalanceLockManager`).
    kept_ms: i64,
}

impl LockTimes {
    /// For a broker that keeps locks three times as long.
    pub(super) fn renewed_every(every: Duration) -> Self {
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX / 4);
        LockTimes {
            every,
            trusted_ms: every_ms.saturating_mul(3) / 2,
            kept_ms: every_ms.saturating_mul(3),
        }
    }
}

/// Pause before a lock that was not given is asked for again.
const PAUSE_LOCKED: Duration = Duration::from_millis(500);
/// How long a pause after a message that failed may be.
pub(super) const SUSPEND_MIN: Duration = Duration::from_millis(10);
pub(super) const SUSPEND_MAX: Duration = Duration::from_secs(30);

/// What an ordered consumer keeps of one queue.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// Pulled and not consumed, in the order of the queue.
    waiting: Mutex<VecDeque<MessageExt>>,
    arrived: Notify,
    /// When the lock was last given, ms; 0 is never.
    pub(super) locked_ms: AtomicI64,
    /// Held during a call: also over a queue's being given up and taken again.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Order {
    /// Of a queue whose lock was just given.
    fn locked_now(turn: Arc<tokio::sync::Mutex<()>>) -> Self {
        Order {
            locked_ms: AtomicI64::new(now_ms()),
            turn,
            ..Order::default()
        }
    }

    /// Of the same queue, started anew at another offset.
    pub(super) fn again(&self) -> Self {
        Order {
            locked_ms: AtomicI64::new(self.locked_ms.load(Ordering::Acquire)),
            turn: self.turn.clone(),
            ..Order::default()
        }
    }

    pub(super) fn put(&self, messages: Vec<MessageExt>) {
        lock(&self.waiting).extend(messages);
        self.arrived.notify_one();
    }

    /// The next messages, which stay where they are until they are [`Order::done`].
    fn next(&self, count: usize) -> Vec<MessageExt> {
        lock(&self.waiting).iter().take(count).cloned().collect()
    }

    fn done(&self, count: usize) {
        lock(&self.waiting).drain(..count);
    }

    /// Counts one more try of the first messages.
    fn again_later(&self, count: usize) {
        for message in lock(&self.waiting).iter_mut().take(count) {
            message.reconsume_times += 1;
        }
    }

    fn is_locked(&self, times: &LockTimes) -> bool {
        let age_ms = now_ms() - self.locked_ms.load(Ordering::Acquire);
        (0..=times.trusted_ms).contains(&age_ms)
    }
}

impl Shared {
    /// Whether queues have to be locked: each client of a broadcasting group has all of them.
    pub(in crate::client::consumer) fn needs_locks(&self) -> bool {
        self.config.orderly && self.config.model == MessageModel::Clustering
    }

    /// Locks a queue that is to be taken; `None` while another client has it.
    pub(in crate::client::consumer) async fn order_of(
        self: &Arc<Self>,
        queue: &MessageQueue,
    ) -> Result<Option<Order>, ClientError> {
        let turn = lock(&self.turns).entry(queue.clone()).or_default().clone();
        if self.needs_locks() {
            let addr = self.client.queue_addr(queue).await?;
            if self
                .lock_queues(&addr, vec![queue.clone()])
                .await?
                .is_empty()
            {
                self.rebalance_after(PAUSE_LOCKED);
                return Ok(None);
            }
        }
        Ok(Some(Order::locked_now(turn)))
    }

    async fn lock_queues(
        &self,
        addr: &str,
        queues: Vec<MessageQueue>,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let id = &self.client.config.client_id;
        let api = &self.client.api;
        api.lock_queues(addr, &self.group, id, queues).await
    }

    fn rebalance_after(self: &Arc<Self>, pause: Duration) {
        let shared = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => shared.client.rebalance_soon(),
                () = shared.closed.cancelled() => {}
            }
        });
    }

    /// Gives the lock of a queue back once the call that may run has ended.
    pub(in crate::client::consumer) async fn unlock(&self, state: &QueueState) {
        if !self.needs_locks() {
            return;
        }
        let _ended = state.order.turn.lock().await;
        let id = &self.client.config.client_id;
        let result = match self.client.queue_addr(&state.queue).await {
            Ok(addr) => {
                let (api, queues) = (&self.client.api, vec![state.queue.clone()]);
                api.unlock_queues(&addr, &self.group, id, queues).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            let queue = &state.queue;
            log::warn!("client: lock not given back queue={queue:?} error={error}");
        }
    }

    /// Renews all locks now and then.
    pub(super) async fn renew_loop(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.locks.every) => self.renew_locks().await,
                () = self.closed.cancelled() => return,
            }
        }
    }

    async fn renew_locks(self: &Arc<Self>) {
        let mut by_broker: HashMap<String, Vec<Arc<QueueState>>> = HashMap::new();
        for state in lock(&self.queues).values() {
            let broker = self.client.broker_of(&state.queue);
            let broker = broker.unwrap_or_default().into_owned();
            by_broker.entry(broker).or_default().push(state.clone());
        }
        for states in by_broker.into_values() {
            if let Err(error) = self.renew(&states).await {
                log::warn!(
                    "client: locks not renewed group={} error={error}",
                    self.group
                );
            }
        }
    }

    /// Renews the locks of queues of one broker.
    async fn renew(self: &Arc<Self>, states: &[Arc<QueueState>]) -> Result<(), ClientError> {
        let Some(first) = states.first() else {
            return Ok(());
        };
        let addr = self.client.queue_addr(&first.queue).await?;
        let queues = states.iter().map(|state| state.queue.clone()).collect();
        let mine = self.lock_queues(&addr, queues).await?;
        for state in states {
            let before = state.order.locked_ms.load(Ordering::Acquire);
            let kept = mine.contains(&state.queue) && now_ms() - before < self.config.locks.kept_ms;
            if kept {
                state.order.locked_ms.store(now_ms(), Ordering::Release);
            } else {
                let (group, queue) = (&self.group, &state.queue);
                log::warn!("client: lock lost group={group} queue={queue:?}");
                let _one_at_a_time = self.rebalancing.lock().await;
                self.release(&state.queue).await;
                self.rebalance_after(PAUSE_LOCKED);
            }
        }
        Ok(())
    }

    /// Calls the listener with the messages of one queue until the queue is given up.
    pub(in crate::client::consumer) async fn order_loop(self: Arc<Self>, state: Arc<QueueState>) {
        while !state.process.is_dropped() && !self.closed.is_cancelled() {
            let pause = if self.needs_locks() && !self.is_locked(&state) {
                if let Err(error) = self.renew(std::slice::from_ref(&state)).await {
                    let (group, queue) = (&self.group, &state.queue);
                    log::warn!("client: not locked group={group} queue={queue:?} error={error}");
                }
                PAUSE_LOCKED
            } else {
                let Some(pause) = self.consume_in_order(&state).await else {
                    tokio::select! {
                        () = state.order.arrived.notified() => {}
                        () = state.process.given_up.notified() => {}
                        () = self.closed.cancelled() => return,
                    }
                    continue;
                };
                pause
            };
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.closed.cancelled() => return,
                }
            }
        }
    }

    /// One call; yields the pause before the next, or nothing when no message waits.
    async fn consume_in_order(&self, state: &QueueState) -> Option<Duration> {
        let messages = state.order.next(self.config.batch_max);
        if messages.is_empty() {
            return None;
        }
        let _turn = state.order.turn.lock().await;
        let Ok(_place) = self.places.acquire().await else {
            return Some(SUSPEND_MAX);
        };
        // Both may have taken long.
        if state.process.is_dropped() || (self.needs_locks() && !self.is_locked(state)) {
            return Some(Duration::ZERO);
        }
        let mut given = messages.clone();
        for message in &mut given {
            restore_topic(message);
        }
        let outcome = self.call_traced(given).await;
        if outcome == ConsumeOutcome::Later && !self.give_up_tries(&messages).await {
            state.order.again_later(messages.len());
            return Some(self.config.suspend);
        }
        state.order.done(messages.len());
        let offsets = messages.iter().map(|message| message.queue_offset);
        if let Some(offset) = state.process.remove(offsets)
            && !state.process.is_dropped()
        {
            self.offsets.update(&state.queue, offset, false);
        }
        Some(Duration::ZERO)
    }

    /// Whether all messages were tried as often as they may be, and are with the dead letters now:
    /// only then does their queue go on.
    async fn give_up_tries(&self, messages: &[MessageExt]) -> bool {
        let max = self.config.reconsume_times_max;
        let exhausted = |message: &MessageExt| max >= 0 && message.reconsume_times >= max;
        if self.config.model == MessageModel::Broadcasting || !messages.iter().all(exhausted) {
            return false;
        }
        for message in messages {
            if !self.hand_back(message, DEAD_LETTER).await {
                return false;
            }
        }
        true
    }

    fn is_locked(&self, state: &QueueState) -> bool {
        state.order.is_locked(&self.config.locks)
    }

    /// What tools are told of a queue's lock: whether it is there, and since when, ms.
    pub(super) fn lock_info(&self, state: &QueueState) -> (bool, i64) {
        let last_ms = state.order.locked_ms.load(Ordering::Acquire);
        (self.needs_locks() && self.is_locked(state), last_ms)
    }
}

/// The delay level by which a message that is handed back becomes a dead letter.
const DEAD_LETTER: i32 = -1;

/// The turns of queues, which outlive their being given up.
pub(super) type Turns = Mutex<HashMap<MessageQueue, Arc<tokio::sync::Mutex<()>>>>;
