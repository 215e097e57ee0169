//! Settings of a push consumer.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::ordered::{self, LockTimes};
use super::{ConsumeOutcome, Listener, PushConsumer, Shared};
use crate::client::consumer::allocate::{AllocateStrategy, Averagely};
use crate::client::consumer::process_queue::Thresholds;
use crate::client::consumer::subscription::Expression;
use crate::client::consumer::{ConsumeFrom, MessageModel};
use crate::client::error::ClientError;
use crate::client::instance::MqClient;
use crate::client::message::MessageExt;
use crate::protocol::Str;
use crate::protocol::message::names;

/// Settings of a push consumer; the defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) model: MessageModel,
    pub(crate) from: ConsumeFrom,
    pub(crate) strategy: Arc<dyn AllocateStrategy>,
    pub(super) workers: usize,
    pub(super) batch_max: usize,
    pub(super) pull_batch: i32,
    pub(super) pull_bytes: i32,
    pub(super) pull_interval: Duration,
    pub(super) thresholds: Thresholds,
    pub(super) reconsume_times_max: i32,
    pub(super) offsets_directory: PathBuf,
    pub(crate) orderly: bool,
    pub(super) suspend: Duration,
    pub(super) locks: LockTimes,
}

/// Builds a [`PushConsumer`].
#[derive(Debug, Clone)]
pub struct PushConsumerBuilder {
    pub(super) group: Str,
    pub(super) config: Config,
    pub(super) topics: Vec<(Str, Expression)>,
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
