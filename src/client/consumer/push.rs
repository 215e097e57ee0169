//! A consumer that calls a function with messages as they come: RocketMQ's DefaultMQPushConsumer,
//! concurrent.
//!
//! Each queue has a task that pulls, with long polling, into its cache; a fixed number of workers
//! call the function. An offset is committed up to the oldest message that is not consumed yet,
//! so that nothing is skipped: messages may come twice, never not at all.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::client::api::{PullAnswer, PullRequest, SendBack};
use crate::client::consumer::allocate::{AllocateStrategy, Averagely};
use crate::client::consumer::offset_store::OffsetStore;
use crate::client::consumer::process_queue::{ProcessQueue, Thresholds};
use crate::client::consumer::subscription::{Expression, subscription_data, tag_matches};
use crate::client::consumer::{ConsumeFrom, MessageModel};
use crate::client::error::ClientError;
use crate::client::instance::{ConsumerHandle, Inner, MqClient};
use crate::client::message::MessageExt;
use crate::client::{lock, now_ms};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::{
    self, ConsumeFromWhere, ConsumeType, ConsumerData, SubscriptionData,
};
use crate::protocol::body::running_info::{
    CmResult, ConsumeMessageDirectlyResult, ConsumerRunningInfo, ProcessQueueInfo,
};
use crate::protocol::message::{names, properties, sys_flag};
use crate::protocol::{ResponseCode, Str};

/// How long a pull may be held by the broker, and how long its answer is awaited.
const SUSPEND: Duration = Duration::from_secs(15);
const PULL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed pull, while a cache is full, and when the broker asks for less.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(3);
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(50);
const PAUSE_FLOW_CONTROL: Duration = Duration::from_millis(20);
/// Pause before a message is consumed again here, when it could not be handed back.
const PAUSE_LOCAL_RETRY: Duration = Duration::from_secs(5);
/// Pause before a queue whose offset was wrong is taken again.
const PAUSE_OFFSET_MOVED: Duration = Duration::from_millis(100);

/// What became of messages handed to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeOutcome {
    /// Done with.
    Success,
    /// Again later: the broker delivers them once more after a while, and after the group's
    /// maximum of tries puts them into the dead-letter topic. When broadcasting they are dropped.
    Later,
}

type Listener = dyn Fn(Vec<MessageExt>) -> BoxFuture<'static, ConsumeOutcome> + Send + Sync;

/// Settings of a push consumer; the defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) model: MessageModel,
    pub(crate) from: ConsumeFrom,
    pub(crate) strategy: Arc<dyn AllocateStrategy>,
    workers: usize,
    batch_max: usize,
    pull_batch: i32,
    pull_bytes: i32,
    pull_interval: Duration,
    thresholds: Thresholds,
    reconsume_times_max: i32,
    offsets_directory: PathBuf,
}

/// Builds a [`PushConsumer`].
#[derive(Debug, Clone)]
pub struct PushConsumerBuilder {
    group: Str,
    config: Config,
    topics: Vec<(Str, Expression)>,
}

impl PushConsumerBuilder {
    /// A consumer of a group.
    pub fn new(group: impl Into<Str>) -> Self {
        let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        PushConsumerBuilder {
            group: group.into(),
            config: Config {
                model: MessageModel::Clustering,
                from: ConsumeFrom::LastOffset,
                strategy: Arc::new(Averagely),
                workers: 20,
                batch_max: 1,
                pull_batch: 32,
                pull_bytes: 256 * 1024,
                pull_interval: Duration::ZERO,
                thresholds: Thresholds {
                    messages: 1_000,
                    bytes: 100 * 1024 * 1024,
                    span: 2_000,
                },
                reconsume_times_max: -1,
                offsets_directory: home.join(".rocketmq_offsets"),
            },
            topics: Vec::new(),
        }
    }

    /// Subscribes to a topic.
    pub fn subscribe(mut self, topic: impl Into<Str>, expression: impl Into<Expression>) -> Self {
        self.topics.push((topic.into(), expression.into()));
        self
    }

    /// Clustering (the default) or broadcasting.
    pub fn model(mut self, model: MessageModel) -> Self {
        self.config.model = model;
        self
    }

    /// Where to begin in a queue without an offset.
    pub fn from(mut self, from: ConsumeFrom) -> Self {
        self.config.from = from;
        self
    }

    /// How queues are divided among the group's members; all members have to agree.
    pub fn strategy(mut self, strategy: impl AllocateStrategy) -> Self {
        self.config.strategy = Arc::new(strategy);
        self
    }

    /// How many calls of the function run at once.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Messages handed over in one call, at most.
    pub fn consume_batch_max(mut self, messages: usize) -> Self {
        self.config.batch_max = messages.max(1);
        self
    }

    /// Messages asked for in one pull.
    pub fn pull_batch(mut self, messages: u16) -> Self {
        self.config.pull_batch = i32::from(messages).max(1);
        self
    }

    /// Pause between pulls of a queue.
    pub fn pull_interval(mut self, interval: Duration) -> Self {
        self.config.pull_interval = interval;
        self
    }

    /// What may be cached per queue before pulling pauses: messages, body bytes, and the distance
    /// from the oldest to the newest offset.
    pub fn cache_limits(mut self, messages: usize, bytes: usize, span: i64) -> Self {
        self.config.thresholds = Thresholds {
            messages,
            bytes,
            span,
        };
        self
    }

    /// How often a message is tried before it goes to the dead-letter topic; the broker's
    /// setting of the group holds without this.
    pub fn reconsume_times_max(mut self, times: u16) -> Self {
        self.config.reconsume_times_max = times.into();
        self
    }

    /// Where offsets of broadcasting consumers are kept.
    pub fn offsets_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.offsets_directory = directory.into();
        self
    }

    /// Starts consuming: `listener` is called with messages of one queue.
    pub async fn start<F>(
        self,
        client: &MqClient,
        listener: impl Fn(Vec<MessageExt>) -> F + Send + Sync + 'static,
    ) -> Result<PushConsumer, ClientError>
    where
        F: Future<Output = ConsumeOutcome> + Send + 'static,
    {
        names::validate_group(&self.group)
            .map_err(|error| ClientError::Invalid(error.to_string()))?;
        if self.topics.is_empty() {
            return Err(ClientError::Invalid("subscribe to a topic first".into()));
        }
        let listener: Arc<Listener> = Arc::new(move |messages| listener(messages).boxed());
        let shared = Shared::new(client.inner.clone(), self, listener)?;
        shared.start().await?;
        Ok(PushConsumer { shared })
    }
}

/// A running push consumer. [`PushConsumer::shut_down`] stores offsets and leaves the group at
/// once; a dropped consumer stops as well, but its group notices only when heartbeats stay away.
pub struct PushConsumer {
    shared: Arc<Shared>,
}

impl PushConsumer {
    /// Starts building a consumer of a group.
    pub fn builder(group: impl Into<Str>) -> PushConsumerBuilder {
        PushConsumerBuilder::new(group)
    }

    /// Subscribes to one more topic, or changes a subscription.
    pub async fn subscribe(
        &self,
        topic: impl Into<Str>,
        expression: impl Into<Expression>,
    ) -> Result<(), ClientError> {
        self.shared.subscribe(topic.into(), &expression.into())?;
        self.shared.client.heartbeat_all().await;
        self.shared.rebalance_all().await;
        Ok(())
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, topic: &str) {
        lock(&self.shared.subscriptions).remove(topic);
        self.shared.client.heartbeat_all().await;
        self.shared.rebalance_all().await;
    }

    /// The queues that are this consumer's at the moment.
    pub fn queues(&self) -> Vec<MessageQueue> {
        lock(&self.shared.queues).keys().cloned().collect()
    }

    /// Stops pulling, waits (at most `timeout`) for calls that run, stores the offsets and leaves
    /// the group.
    pub async fn shut_down(self, timeout: Duration) {
        let shared = self.shared.clone();
        shared.closed.cancel();
        let workers = u32::try_from(shared.config.workers).unwrap_or(u32::MAX);
        let idle = shared.places.acquire_many(workers);
        let _ = tokio::time::timeout(timeout, idle).await;
        let _no_more_queues = shared.rebalancing.lock().await;
        let queues: Vec<_> = lock(&shared.queues).keys().cloned().collect();
        for queue in queues {
            shared.release(&queue).await;
        }
        shared.client.unregister(None, Some(&shared.group)).await;
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        self.shared.closed.cancel();
        for state in lock(&self.shared.queues).values() {
            state.process.drop_queue();
        }
    }
}

/// One queue that is this consumer's.
pub(crate) struct QueueState {
    pub(super) queue: MessageQueue,
    pub(super) process: ProcessQueue,
    next_offset: AtomicI64,
}

impl QueueState {
    pub(super) fn new(queue: MessageQueue, offset: i64) -> Self {
        let next_offset = AtomicI64::new(offset);
        QueueState {
            queue,
            process: ProcessQueue::default(),
            next_offset,
        }
    }
}

/// Messages for one call.
struct Job {
    state: Arc<QueueState>,
    messages: Vec<MessageExt>,
}

/// A consumer's state, shared by its tasks.
pub(crate) struct Shared {
    pub(super) client: Arc<Inner>,
    pub(super) group: Str,
    pub(super) config: Config,
    pub(super) subscriptions: Mutex<HashMap<Str, SubscriptionData>>,
    pub(super) queues: Mutex<HashMap<MessageQueue, Arc<QueueState>>>,
    pub(super) offsets: OffsetStore,
    pub(super) rebalancing: tokio::sync::Mutex<()>,
    listener: Arc<Listener>,
    places: Semaphore,
    jobs: mpsc::UnboundedSender<Job>,
    /// Until the workers are started.
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Job>>>,
    pub(super) closed: CancellationToken,
    started_ms: i64,
}

impl Shared {
    fn new(
        client: Arc<Inner>,
        builder: PushConsumerBuilder,
        listener: Arc<Listener>,
    ) -> Result<Arc<Self>, ClientError> {
        let PushConsumerBuilder {
            group,
            config,
            topics,
        } = builder;
        let offsets = match config.model {
            MessageModel::Clustering => OffsetStore::remote(client.clone(), &group),
            MessageModel::Broadcasting => {
                let id = client.config.client_id.clone();
                OffsetStore::local(&config.offsets_directory, &id, &group)?
            }
        };
        // Unbounded, but filled only by queues whose caches are not full.
        let (jobs, waiting) = mpsc::unbounded_channel();
        let shared = Shared {
            closed: client.closed.child_token(),
            client,
            places: Semaphore::new(config.workers),
            config,
            subscriptions: Mutex::default(),
            queues: Mutex::default(),
            offsets,
            rebalancing: tokio::sync::Mutex::new(()),
            listener,
            jobs,
            waiting: Mutex::new(Some(waiting)),
            started_ms: now_ms(),
            group,
        };
        for (topic, expression) in &topics {
            shared.subscribe(topic.clone(), expression)?;
        }
        if shared.config.model == MessageModel::Clustering {
            let retry = names::retry_topic(&shared.group);
            shared.subscribe(retry.into(), &Expression::all())?;
        }
        Ok(Arc::new(shared))
    }

    fn subscribe(&self, topic: Str, expression: &Expression) -> Result<(), ClientError> {
        let data = subscription_data(&topic, expression, now_ms())?;
        lock(&self.subscriptions).insert(topic, data);
        Ok(())
    }

    /// Registers, tells the brokers and takes the first queues. Routes come first, because the
    /// brokers that a heartbeat goes to are those of known routes.
    async fn start(self: &Arc<Self>) -> Result<(), ClientError> {
        let as_handle: Arc<dyn ConsumerHandle> = self.clone();
        self.client
            .register_consumer(&self.group, Arc::downgrade(&as_handle))?;
        let topics: Vec<Str> = lock(&self.subscriptions).keys().cloned().collect();
        for topic in topics {
            match self.client.fetch_route(&topic, None).await {
                Ok(_) | Err(ClientError::NoRoute(_)) => {}
                Err(error) => {
                    self.client.unregister(None, Some(&self.group)).await;
                    return Err(error);
                }
            }
        }
        if let Some(jobs) = lock(&self.waiting).take() {
            tokio::spawn(self.clone().work_loop(jobs));
        }
        self.client.heartbeat_all().await;
        self.rebalance_all().await;
        Ok(())
    }

    /// Pulls one queue until it is given up.
    pub(super) async fn pull_loop(self: Arc<Self>, state: Arc<QueueState>) {
        let mut broker_id = 0;
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
        let addr = match self.client.read_addr(&queue.broker_name, *broker_id) {
            Some(addr) => addr,
            None => self.client.queue_addr(queue).await?,
        };
        let commit = match self.config.model {
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
        let answer = self.client.api.pull(&addr, &pull, PULL_TIMEOUT).await?;
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
                let broker = &state.queue.broker_name;
                let mut messages = MessageExt::decode_all(answer.body, &broker.as_str().into())?;
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

    async fn restart_at(self: &Arc<Self>, state: &Arc<QueueState>, offset: i64) {
        state.process.drop_queue();
        self.offsets.update(&state.queue, offset, false);
        if let Err(error) = self.offsets.persist_one(&state.queue).await {
            log::warn!(
                "client: offset not stored queue={:?} error={error}",
                state.queue
            );
        }
        let new = Arc::new(QueueState::new(state.queue.clone(), offset));
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
            self.pull_loop(state).await;
        }
        .boxed()
    }

    fn submit(self: &Arc<Self>, state: &Arc<QueueState>, messages: Vec<MessageExt>) {
        if messages.is_empty() {
            return;
        }
        state.process.put(&messages);
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

    /// Hands jobs to workers, as many at once as configured.
    async fn work_loop(self: Arc<Self>, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                () = self.closed.cancelled() => return,
            };
            let Some(job) = job else { return };
            let Ok(place) = self.places.acquire().await else {
                return;
            };
            place.forget();
            let shared = self.clone();
            tokio::spawn(async move {
                shared.consume(job).await;
                shared.places.add_permits(1);
            });
        }
    }

    async fn consume(self: &Arc<Self>, job: Job) {
        let Job {
            state,
            mut messages,
        } = job;
        if state.process.is_dropped() {
            return;
        }
        for message in &mut messages {
            restore_topic(message);
        }
        let outcome = self.call_listener(messages.clone()).await;
        let mut done: Vec<i64> = Vec::with_capacity(messages.len());
        let mut again = Vec::new();
        for message in messages {
            let handled = match (outcome, self.config.model) {
                (ConsumeOutcome::Success, _) => true,
                (ConsumeOutcome::Later, MessageModel::Broadcasting) => {
                    let id = message.message_id();
                    log::warn!(
                        "client: broadcast message dropped group={} id={id}",
                        self.group
                    );
                    true
                }
                (ConsumeOutcome::Later, MessageModel::Clustering) => self.hand_back(&message).await,
            };
            if handled {
                done.push(message.queue_offset);
            } else {
                again.push(message);
            }
        }
        let commit = state.process.remove(done);
        if let Some(offset) = commit
            && !state.process.is_dropped()
        {
            self.offsets.update(&state.queue, offset, true);
        }
        if !again.is_empty() {
            let (jobs, job) = (
                self.jobs.clone(),
                Job {
                    state,
                    messages: again,
                },
            );
            tokio::spawn(async move {
                tokio::time::sleep(PAUSE_LOCAL_RETRY).await;
                let _ = jobs.send(job);
            });
        }
    }

    /// A listener that panics asks for the messages again, as one that throws does in Java.
    async fn call_listener(&self, messages: Vec<MessageExt>) -> ConsumeOutcome {
        let listener = self.listener.clone();
        let call = AssertUnwindSafe(async move { listener(messages).await });
        call.catch_unwind().await.unwrap_or_else(|_| {
            log::warn!("client: listener panicked group={}", self.group);
            ConsumeOutcome::Later
        })
    }

    async fn hand_back(&self, message: &MessageExt) -> bool {
        let back = SendBack {
            group: &self.group,
            physical_offset: message.physical_offset,
            delay_level: 0,
            message_id: &message.message_id(),
            topic: &message.topic,
            reconsume_times_max: match self.config.reconsume_times_max {
                -1 => 16,
                times => times,
            },
        };
        let result = match self.client.queue_addr(&message.queue()).await {
            Ok(addr) => self.client.api.send_back(&addr, &back).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            let id = back.message_id;
            log::warn!(
                "client: message not handed back group={} id={id} error={error}",
                self.group
            );
        }
        result.is_ok()
    }

    async fn consume_one_directly(&self, mut message: MessageExt) -> ConsumeMessageDirectlyResult {
        let begin = Instant::now();
        restore_topic(&mut message);
        let outcome = self.call_listener(vec![message]).await;
        ConsumeMessageDirectlyResult {
            order: false,
            auto_commit: true,
            consume_result: match outcome {
                ConsumeOutcome::Success => CmResult::Success,
                ConsumeOutcome::Later => CmResult::Later,
            },
            spent_time_mills: begin.elapsed().as_millis() as i64,
            remark: None,
        }
    }
}

/// A message from a retry topic gets the topic it was first sent to.
fn restore_topic(message: &mut MessageExt) {
    if names::is_retry_topic(&message.topic)
        && let Some(topic) = message.property(properties::RETRY_TOPIC)
    {
        message.topic = topic.into();
    }
}

impl ConsumerHandle for Shared {
    fn consumer_data(&self) -> ConsumerData {
        ConsumerData {
            group_name: self.group.to_string(),
            consume_type: ConsumeType::ConsumePassively,
            message_model: match self.config.model {
                MessageModel::Clustering => heartbeat::MessageModel::Clustering,
                MessageModel::Broadcasting => heartbeat::MessageModel::Broadcasting,
            },
            consume_from_where: match self.config.from {
                ConsumeFrom::LastOffset => ConsumeFromWhere::LastOffset,
                ConsumeFrom::FirstOffset => ConsumeFromWhere::FirstOffset,
                ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
            },
            subscription_data_set: lock(&self.subscriptions).values().cloned().collect(),
            unit_mode: false,
        }
    }

    fn topics(&self) -> Vec<Str> {
        lock(&self.subscriptions).keys().cloned().collect()
    }

    fn rebalance(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move { self.rebalance_all().await }.boxed()
    }

    fn persist_offsets(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = self.offsets.persist().await {
                log::warn!(
                    "client: offsets not stored group={} error={error}",
                    self.group
                );
            }
        }
        .boxed()
    }

    fn reset_offsets(
        self: Arc<Self>,
        topic: &str,
        table: BTreeMap<MessageQueue, i64>,
    ) -> BoxFuture<'static, ()> {
        let topic = Str::from(topic);
        async move {
            for (queue, offset) in table {
                let state = lock(&self.queues).get(&queue).cloned();
                if let Some(state) = state.filter(|state| *state.queue.topic == *topic) {
                    self.restart_at(&state, offset).await;
                }
            }
        }
        .boxed()
    }

    fn offsets(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        self.offsets.of_topic(topic)
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        let mut info = ConsumerRunningInfo::default();
        let mut set = |key: &str, value: String| {
            info.properties.insert(key.into(), value);
        };
        set("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".into());
        set("PROP_CONSUMEORDERLY", "false".into());
        set("PROP_THREADPOOL_CORE_SIZE", self.config.workers.to_string());
        set("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string());
        set(
            "PROP_NAMESERVER_ADDR",
            self.client.config.namesrv_addrs.join(";"),
        );
        info.subscription_set
            .extend(lock(&self.subscriptions).values().cloned());
        for (queue, state) in lock(&self.queues).iter() {
            let cache = state.process.info();
            info.mq_table.insert(
                queue.clone(),
                ProcessQueueInfo {
                    commit_offset: self.offsets.known(queue).unwrap_or(-1),
                    cached_msg_min_offset: cache.min_offset,
                    cached_msg_max_offset: cache.max_offset,
                    cached_msg_count: cache.count as i32,
                    cached_msg_size_in_mib: (cache.bytes >> 20) as i32,
                    droped: state.process.is_dropped(),
                    last_pull_timestamp: state.process.last_pull_ms.load(Ordering::Relaxed),
                    last_consume_timestamp: state.process.last_consume_ms.load(Ordering::Relaxed),
                    ..ProcessQueueInfo::default()
                },
            );
        }
        info
    }

    fn consume_directly(&self, message: MessageExt) -> BoxFuture<'_, ConsumeMessageDirectlyResult> {
        self.consume_one_directly(message).boxed()
    }
}
