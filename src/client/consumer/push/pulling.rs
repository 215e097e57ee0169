//! The pull loop of one queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Job, QueueState, Shared};
use crate::client::api::{PullAnswer, PullRequest};
use crate::client::consumer::MessageModel;
use crate::client::consumer::subscription::tag_matches;
use crate::client::error::ClientError;
use crate::client::message::MessageExt;
use crate::client::route::MASTER_ID;
use crate::client::{lock, now_ms};
use crate::protocol::ResponseCode;
use crate::protocol::body::heartbeat::SubscriptionData;
use crate::protocol::message::sys_flag;
use crate::protocol::static_topic::is_mock_broker;

/// How long a pull may be held by the broker, and how long its answer is awaited.
const SUSPEND: Duration = Duration::from_secs(15);
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed pull, while a cache is full, and when the broker asks for less.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(3);
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(50);
const PAUSE_FLOW_CONTROL: Duration = Duration::from_millis(20);
/// Pause before a queue whose offset was wrong is taken again.
const PAUSE_OFFSET_MOVED: Duration = Duration::from_millis(100);

impl Shared {
    /// Pulls and, if it is to be in order, consumes one queue until it is given up.
    pub(in crate::client::consumer) async fn run(self: Arc<Self>, state: Arc<QueueState>) {
        if self.config.orderly {
            tokio::spawn(self.clone().order_loop(state.clone()));
        }
        self.pull_loop(state).await;
    }

    /// Pulls one queue until it is given up.
    async fn pull_loop(self: Arc<Self>, state: Arc<QueueState>) {
        let mut broker_id = MASTER_ID;
        while !state.process.is_dropped() && !self.closed.is_cancelled() {
            if state.process.is_full(&self.config.thresholds) {
                let shrunk = state.process.shrunk.notified();
                let _ = tokio::time::timeout(PAUSE_WHEN_FULL, shrunk).await;
                continue;
            }
            let pulled = tokio::select! {
                pulled = self.pull_once(&state, &mut broker_id) => pulled,
                () = self.closed.cancelled() => return,
            };
            let pause = match pulled {
                Ok(pause) => pause,
                Err(error) => {
                    let (group, queue) = (&self.group, &state.queue);
                    log::warn!("client: pull failed group={group} queue={queue:?} error={error}");
                    PAUSE_AFTER_ERROR
                }
            };
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.closed.cancelled() => return,
                }
            }
        }
    }

    /// One pull; returns the pause before the next.
    async fn pull_once(
        self: &Arc<Self>,
        state: &Arc<QueueState>,
        broker_id: &mut i64,
    ) -> Result<Duration, ClientError> {
        let queue = &state.queue;
        let subscription = lock(&self.subscriptions).get(queue.topic.as_str()).cloned();
        let Some(subscription) = subscription else {
            return Ok(PAUSE_AFTER_ERROR);
        };
        let since = Instant::now();
        let addr = match self.client.queue_read_addr(queue, *broker_id) {
            Some(addr) => addr,
            None => self.client.queue_addr(queue).await?,
        };
        let commit = match self.config.model {
            // RocketMQ's brokers take the offset of a logic queue, told in a pull, for one of the physical
            // queue that the pull reads.
            MessageModel::Clustering if is_mock_broker(&queue.broker_name) => None,
            MessageModel::Clustering => self.offsets.known(queue).filter(|offset| *offset > 0),
            MessageModel::Broadcasting => None,
        };
        let offset = state.next_offset.load(Ordering::Acquire);
        let commit_flag = commit.map_or(0, |_| sys_flag::pull::COMMIT_OFFSET);
        let pull = PullRequest {
            group: &self.group,
            queue,
            offset,
            messages_max: self.config.pull_batch,
            bytes_max: self.config.pull_bytes,
            sys_flag: sys_flag::pull::SUSPEND | commit_flag,
            commit_offset: commit.unwrap_or(0),
            suspend: SUSPEND,
            subscription: None,
            expression_type: &subscription.expression_type,
            sub_version: subscription.sub_version,
        };
        state
            .process
            .last_pull_ms
            .store(now_ms(), Ordering::Relaxed);
        let answer = match self.client.api.pull(&addr, &pull, PULL_TIMEOUT).await {
            Err(error) if error.is(ResponseCode::NotLeaderForQueue) => {
                self.client.leader_moved(queue, since).await;
                *broker_id = MASTER_ID;
                return Ok(Duration::ZERO);
            }
            answer => answer?,
        };
        if state.process.is_dropped() {
            return Ok(Duration::ZERO);
        }
        *broker_id = answer.suggested_broker;
        self.take_answer(state, &subscription, offset, &addr, answer)
            .await
    }

    async fn take_answer(
        self: &Arc<Self>,
        state: &Arc<QueueState>,
        subscription: &SubscriptionData,
        asked: i64,
        addr: &str,
        answer: PullAnswer,
    ) -> Result<Duration, ClientError> {
        let next = answer.next_offset.unwrap_or(asked);
        // A reset that came meanwhile wins.
        let advance = || {
            let order = (Ordering::AcqRel, Ordering::Acquire);
            state
                .next_offset
                .compare_exchange(asked, next, order.0, order.1)
                .is_ok()
        };
        match ResponseCode::from_code(answer.code) {
            Some(ResponseCode::Success) => {
                let mut messages = answer.messages(&state.queue)?;
                messages.retain(|message| tag_matches(subscription, message));
                if advance() {
                    self.submit(state, messages);
                }
                Ok(self.config.pull_interval)
            }
            Some(ResponseCode::PullNotFound | ResponseCode::PullRetryImmediately) => {
                // Nothing is cached: all that was skipped is as good as consumed.
                if advance() && state.process.info().count == 0 {
                    self.offsets.update(&state.queue, next, true);
                }
                Ok(Duration::ZERO)
            }
            Some(ResponseCode::PullOffsetMoved) => {
                self.offset_moved(state, asked, next).await;
                Ok(Duration::ZERO)
            }
            Some(ResponseCode::FlowControl) => Ok(PAUSE_FLOW_CONTROL),
            _ => Err(ClientError::refused(
                addr,
                answer.code,
                answer.remark.as_deref(),
            )),
        }
    }

    /// The broker does not have the offset: the queue is given up and taken again at the offset
    /// that the broker named, so that messages cached before cannot commit over it.
    async fn offset_moved(self: &Arc<Self>, state: &Arc<QueueState>, asked: i64, next: i64) {
        let (group, queue) = (&self.group, &state.queue);
        log::warn!("client: offset moved group={group} queue={queue:?} from={asked} to={next}");
        self.restart_at(state, next).await;
    }

    pub(super) async fn restart_at(self: &Arc<Self>, state: &Arc<QueueState>, offset: i64) {
        state.process.drop_queue();
        self.offsets.update(&state.queue, offset, false);
        if let Err(error) = self.offsets.persist_one(&state.queue).await {
            log::warn!(
                "client: offset not stored queue={:?} error={error}",
                state.queue
            );
        }
        let new = Arc::new(QueueState::new(
            state.queue.clone(),
            offset,
            state.order.again(),
        ));
        let still_mine = {
            let mut queues = lock(&self.queues);
            match queues.get_mut(&state.queue) {
                Some(known) if Arc::ptr_eq(known, state) => {
                    *known = new.clone();
                    true
                }
                _ => false,
            }
        };
        if still_mine {
            tokio::spawn(self.clone().pull_after_pause(new));
        }
    }

    /// Boxed, because a pull loop may start its own successor.
    fn pull_after_pause(self: Arc<Self>, state: Arc<QueueState>) -> BoxFuture<'static, ()> {
        async move {
            tokio::time::sleep(PAUSE_OFFSET_MOVED).await;
            self.run(state).await;
        }
        .boxed()
    }

    fn submit(self: &Arc<Self>, state: &Arc<QueueState>, messages: Vec<MessageExt>) {
        if messages.is_empty() {
            return;
        }
        state.process.put(&messages);
        if self.config.orderly {
            return state.order.put(messages);
        }
        let mut rest = messages.into_iter().peekable();
        while rest.peek().is_some() {
            let messages = rest.by_ref().take(self.config.batch_max).collect();
            // Fails only when the consumer is shut down.
            let _ = self.jobs.send(Job {
                state: state.clone(),
                messages,
            });
        }
    }
}
