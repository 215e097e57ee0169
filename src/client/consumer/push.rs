//! A consumer that calls a function with messages as they come: RocketMQ's DefaultMQPushConsumer,
//! concurrent or orderly.
//!
//! Each queue has a task that pulls, with long polling, into its cache; a fixed number of workers
//! call the function. An offset is committed up to the oldest message that is not consumed yet,
//! so that nothing is skipped: messages may come twice, never not at all.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::ordered::{LockTimes, Order, Turns};
use crate::client::consumer::allocate::{AllocateStrategy, Averagely};
use crate::client::consumer::offset_store::OffsetStore;
use crate::client::consumer::process_queue::{ProcessQueue, Thresholds};
use crate::client::consumer::subscription::{Expression, subscription_data};
use crate::client::consumer::{ConsumeFrom, MessageModel};
use crate::client::error::ClientError;
use crate::client::instance::{ConsumerHandle, Inner, MqClient};
use crate::client::message::MessageExt;
use crate::client::{lock, now_ms};
use crate::protocol::Str;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::SubscriptionData;
use crate::protocol::message::names;

mod handle;
pub(super) mod ordered;
mod pulling;
mod working;

/// What became of messages handed to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeOutcome {
    /// Done with.
    Success,
    /// Again later: the broker delivers them once more after a while, and after the group's
    /// maximum of tries puts them into the dead-letter topic. When broadcasting they are dropped.
    /// An orderly consumer tries them again itself, and nothing behind them meanwhile.
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
    pub(crate) orderly: bool,
    suspend: Duration,
    locks: LockTimes,
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
                orderly: false,
                suspend: Duration::from_secs(1),
                locks: LockTimes::renewed_every(Duration::from_secs(20)),
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

    /// Consumes each queue in its order: one call at a time, and by one client of the group, which
    /// locks the queue at its broker. Messages of one key have to be sent to one queue for that.
    pub fn orderly(mut self) -> Self {
        self.config.orderly = true;
        self
    }

    /// The pause of an orderly consumer's queue after [`ConsumeOutcome::Later`]: one second without
    /// this, 10 ms to 30 s.
    pub fn suspend(mut self, pause: Duration) -> Self {
        self.config.suspend = pause.clamp(ordered::SUSPEND_MIN, ordered::SUSPEND_MAX);
        self
    }

    /// How often an orderly consumer renews its locks: every 20 s without this, for brokers that keep
    /// them a minute. All members of a group have to agree.
    pub fn lock_renewal(mut self, every: Duration) -> Self {
        self.config.locks = LockTimes::renewed_every(every);
        self
    }

    /// How often a message is tried before it goes to the dead-letter topic; the broker's
    /// setting of the group holds without this. An orderly consumer tries for ever without it.
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
            if let Some(state) = shared.give_up(&queue).await {
                let _ = tokio::time::timeout(timeout, shared.unlock(&state)).await;
            }
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
    order: Order,
}

impl QueueState {
    pub(super) fn new(queue: MessageQueue, offset: i64, order: Order) -> Self {
        let next_offset = AtomicI64::new(offset);
        QueueState {
            queue,
            process: ProcessQueue::default(),
            next_offset,
            order,
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
    turns: Turns,
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
            turns: Turns::default(),
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
        if self.needs_locks() {
            tokio::spawn(self.clone().renew_loop());
        }
        self.client.heartbeat_all().await;
        self.rebalance_all().await;
        Ok(())
    }
}
