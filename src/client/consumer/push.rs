//! A consumer that calls a function with messages as they come: RocketMQ's DefaultMQPushConsumer,
//! concurrent or orderly.
//!
//! Each queue has a task that pulls, with long polling, into its cache; a fixed number of workers
//! call the function. An offset is committed up to the oldest message that is not consumed yet,
//! so that nothing is skipped: messages may come twice, never not at all.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::builder::Config;
use self::ordered::{Order, Turns};
use crate::client::consumer::MessageModel;
use crate::client::consumer::offset_store::OffsetStore;
use crate::client::consumer::process_queue::ProcessQueue;
use crate::client::consumer::subscription::{Expression, subscription_data};
use crate::client::error::ClientError;
use crate::client::instance::{ConsumerHandle, Inner};
use crate::client::message::MessageExt;
use crate::client::route::MASTER_ID;
use crate::client::{lock, now_ms};
use crate::protocol::Str;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::SubscriptionData;
use crate::protocol::message::names;

mod builder;
mod handle;
pub(super) mod ordered;
mod pulling;
mod working;

pub use self::builder::PushConsumerBuilder;

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
        let (topic, expression) = (topic.into(), expression.into());
        let data = subscription_data(&topic, &expression, now_ms())?;
        self.shared.check_subscription(&data).await?;
        lock(&self.shared.subscriptions).insert(topic, data);
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
            let subscription = lock(&self.subscriptions).get(&topic).cloned();
            let mut ready = self.client.fetch_route(&topic, None).await.map(|_| ());
            if let (Ok(()), Some(subscription)) = (&ready, subscription) {
                ready = self.check_subscription(&subscription).await;
            }
            match ready {
                Ok(()) | Err(ClientError::NoRoute(_)) => {}
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

    /// Fails when a broker of the topic does not take the subscription's filter
    /// (`MQClientInstance.checkClientInBroker`). One that cannot be asked refuses the pulls instead.
    async fn check_subscription(&self, subscription: &SubscriptionData) -> Result<(), ClientError> {
        if subscription.is_tag_type() {
            return Ok(());
        }
        let topic = Str::from(subscription.topic.clone());
        let Ok(route) = self.client.route(&topic, None).await else {
            return Ok(());
        };
        for (name, _) in route.broker_addrs() {
            let Some(addr) = self.client.read_addr(name, MASTER_ID) else {
                continue;
            };
            let (group, id) = (&self.group, &self.client.config.client_id);
            let check = self
                .client
                .api
                .check_subscription(&addr, group, id, subscription);
            if let Err(error @ ClientError::Refused { .. }) = check.await {
                return Err(error);
            }
        }
        Ok(())
    }
}
