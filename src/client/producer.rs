//! Sending: RocketMQ's DefaultMQProducer as async functions.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::client::RemotingError;
use crate::client::error::ClientError;
use crate::client::fault::{FaultTable, SendOutcome};
use crate::client::instance::{Inner, MqClient, ProducerHandle};
use crate::client::message::Message;
use crate::client::route::TopicRoute;
use crate::client::transaction::TransactionListener;
use crate::protocol::body::MessageQueue;
use crate::protocol::message::{names, sys_flag};
use crate::protocol::{RemotingCommand, RequestCode, ResponseCode, Str};

mod encoded;
mod result;

use encoded::Encoded;
use result::read_answer;
pub use result::{SendResult, SendStatus};

/// Refusals after which another broker is tried, as in the Java producer.
const RETRY_CODES: [ResponseCode; 7] = [
    ResponseCode::TopicNotExist,
    ResponseCode::ServiceNotAvailable,
    ResponseCode::SystemError,
    ResponseCode::SystemBusy,
    ResponseCode::NoPermission,
    ResponseCode::NoBuyerId,
    ResponseCode::NotInCurrentUnit,
];

/// Settings of a [`Producer`]; the defaults are RocketMQ's.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// Time for one send, retries included.
    pub send_timeout: Duration,
    /// How often a failed send is tried again, on another broker where there is one.
    pub retry_times: u32,
    /// Largest body, in bytes, before compression.
    pub body_len_max: usize,
    /// Bodies from this length on are compressed.
    pub compress_from: usize,
    /// Whether brokers that were slow or failed are left out for a while.
    pub avoid_slow_brokers: bool,
    /// Whether a message that was stored, but not flushed or replicated in time, is sent again.
    pub retry_when_not_safe: bool,
    /// Topic after which missing topics are made.
    pub default_topic: Str,
    /// Queues of a topic made that way.
    pub default_topic_queues: i32,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            send_timeout: Duration::from_secs(3),
            retry_times: 2,
            body_len_max: 4 * 1024 * 1024,
            compress_from: 4 * 1024,
            avoid_slow_brokers: false,
            retry_when_not_safe: false,
            default_topic: names::AUTO_CREATE_TOPIC.into(),
            default_topic_queues: 4,
        }
    }
}

/// Sends messages. Clones share everything; [`Producer::shut_down`] tells the brokers.
#[derive(Clone)]
pub struct Producer {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) client: Arc<Inner>,
    pub(crate) group: Str,
    pub(crate) config: ProducerConfig,
    pub(crate) transactions: Option<Arc<dyn TransactionListener>>,
    faults: FaultTable,
}

impl Producer {
    /// A producer of a group on a client.
    pub fn new(client: &MqClient, group: &str) -> Result<Self, ClientError> {
        Self::with_config(client, group, ProducerConfig::default())
    }

    /// As [`Producer::new`], with settings.
    pub fn with_config(
        client: &MqClient,
        group: &str,
        config: ProducerConfig,
    ) -> Result<Self, ClientError> {
        Self::build(client, group, config, None)
    }

    pub(crate) fn build(
        client: &MqClient,
        group: &str,
        config: ProducerConfig,
        transactions: Option<Arc<dyn TransactionListener>>,
    ) -> Result<Self, ClientError> {
        names::validate_group(group).map_err(|error| ClientError::Invalid(error.to_string()))?;
        let shared = Arc::new(Shared {
            client: client.inner.clone(),
            group: group.into(),
            config,
            transactions,
            faults: FaultTable::default(),
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        client.inner.register_producer(group, weak);
        Ok(Producer { shared })
    }

    /// The queues of a topic that can be sent to.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.shared.route(&topic.into()).await?.write_queues.clone())
    }

    /// Sends a message to one of the topic's queues in turn, and waits for the answer.
    pub async fn send(&self, message: Message) -> Result<SendResult, ClientError> {
        let encoded = self.shared.encode(message, 0)?;
        self.shared.send_anywhere(&encoded).await
    }

    /// Sends a message to this queue; it is not tried again.
    pub async fn send_to(
        &self,
        message: Message,
        queue: &MessageQueue,
    ) -> Result<SendResult, ClientError> {
        if *message.topic != *queue.topic {
            let text = format!(
                "message of {} for a queue of {}",
                message.topic, queue.topic
            );
            return Err(ClientError::Invalid(text));
        }
        let encoded = self.shared.encode(message, 0)?;
        self.shared.route(&encoded.topic).await?;
        self.shared
            .send_once(&encoded, queue, self.shared.config.send_timeout)
            .await
    }

    /// Sends a message to the queue that `select` names by its index in the list of the topic's
    /// queues; an index beyond it is taken modulo the length.
    pub async fn send_selected(
        &self,
        message: Message,
        select: impl FnOnce(&[MessageQueue], &Message) -> usize,
    ) -> Result<SendResult, ClientError> {
        let route = self.shared.route(&message.topic).await?;
        if route.write_queues.is_empty() {
            return Err(ClientError::NoQueue(message.topic.to_string()));
        }
        let index = select(&route.write_queues, &message) % route.write_queues.len();
        let queue = route.write_queues.get(index).cloned();
        let queue = queue.ok_or_else(|| ClientError::NoQueue(message.topic.to_string()))?;
        self.send_to(message, &queue).await
    }

    /// Sends a message in the background; `done` gets the result.
    pub fn send_with_callback(
        &self,
        message: Message,
        done: impl FnOnce(Result<SendResult, ClientError>) + Send + 'static,
    ) {
        let producer = self.clone();
        tokio::spawn(async move { done(producer.send(message).await) });
    }

    /// Sends a message that nobody answers: it may be lost without a trace.
    pub async fn send_oneway(&self, message: Message) -> Result<(), ClientError> {
        let encoded = self.shared.encode(message, 0)?;
        let route = self.shared.route(&encoded.topic).await?;
        let queue = self.shared.pick(&route, None)?;
        let addr = self.shared.client.queue_master_addr(queue).await?;
        let broker = self.shared.client.broker_of(queue).unwrap_or_default();
        let request = self.shared.request(&encoded, queue, &broker);
        Ok(self
            .shared
            .client
            .api
            .remoting
            .oneway(&addr, request)
            .await?)
    }

    /// Sends messages of one topic together; they are stored one after the other in one queue.
    /// Delay levels and retry topics are not allowed in a batch.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<SendResult, ClientError> {
        let encoded = self.shared.encode_batch(messages)?;
        self.shared.send_anywhere(&encoded).await
    }

    /// Tells the brokers that this producer is gone. The client goes on.
    pub async fn shut_down(&self) {
        self.shared
            .client
            .unregister(Some(&self.shared.group), None)
            .await;
    }
}

impl ProducerHandle for Shared {
    fn check_transaction(&self, addr: String, request: RemotingCommand) {
        crate::client::transaction::answer_check(self, addr, request);
    }
}

impl Shared {
    pub(crate) async fn route(&self, topic: &Str) -> Result<Arc<TopicRoute>, ClientError> {
        let default = (
            &*self.config.default_topic,
            self.config.default_topic_queues,
        );
        self.client.route(topic, Some(default)).await
    }

    pub(crate) async fn send_prepared(&self, message: Message) -> Result<SendResult, ClientError> {
        let encoded = self.encode(message, sys_flag::TRANSACTION_PREPARED)?;
        self.send_anywhere(&encoded).await
    }

    pub(crate) async fn send_reply(&self, message: Message) -> Result<SendResult, ClientError> {
        let mut encoded = self.encode(message, 0)?;
        encoded.code = RequestCode::SendReplyMessageV2;
        self.send_anywhere(&encoded).await
    }

    /// The next queue in turn, away from the broker that failed last and, with latency fault
    /// tolerance, from those that are left out at the moment.
    fn pick<'a>(
        &self,
        route: &'a TopicRoute,
        failed: Option<&str>,
    ) -> Result<&'a MessageQueue, ClientError> {
        let on_other = |passes: &dyn Fn(&str) -> bool| {
            route.pick(|queue| {
                let broker = route.broker_of(queue);
                broker.is_some_and(|broker| failed != Some(broker) && passes(broker))
            })
        };
        let mut found = None;
        if self.config.avoid_slow_brokers {
            let now = Instant::now();
            let faults = &self.faults;
            found = on_other(&|broker| faults.is_available(broker, now))
                .or_else(|| on_other(&|broker| faults.is_reachable(broker)));
        }
        found
            .or_else(|| on_other(&|_| true))
            .or_else(|| route.pick(|_| true))
            .ok_or_else(|| ClientError::NoQueue(route_topic(route)))
    }

    async fn send_anywhere(&self, encoded: &Encoded) -> Result<SendResult, ClientError> {
        let begin = Instant::now();
        let timeout = self.config.send_timeout;
        let mut failed: Option<String> = None;
        let mut attempts = 0;
        loop {
            let route = self.route(&encoded.topic).await?;
            let queue = self.pick(&route, failed.as_deref())?;
            let rest = timeout.saturating_sub(begin.elapsed());
            attempts += 1;
            let result = self.send_once(encoded, queue, rest).await;
            let again = match &result {
                Ok(sent) => sent.status != SendStatus::Ok && self.config.retry_when_not_safe,
                Err(error) => may_try_again(error),
            };
            let out_of_tries = attempts > self.config.retry_times || begin.elapsed() >= timeout;
            match result {
                result if !again => return result,
                Ok(sent) if out_of_tries => return Ok(sent),
                Err(last) if out_of_tries && attempts == 1 => return Err(last),
                Err(last) if out_of_tries => {
                    let elapsed = begin.elapsed();
                    return Err(ClientError::Exhausted {
                        attempts,
                        elapsed,
                        last: Box::new(last),
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    if error.is(ResponseCode::TopicNotExist) {
                        self.client.forget_route(&encoded.topic);
                    }
                }
            }
            failed = route.broker_of(queue).map(str::to_owned);
        }
    }

    /// Sends to one queue; to a logic queue that moved meanwhile, where it is now: its former broker has
    /// stored nothing.
    async fn send_once(
        &self,
        encoded: &Encoded,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let begin = Instant::now();
        loop {
            let since = Instant::now();
            let rest = timeout.saturating_sub(begin.elapsed());
            match self.attempt(encoded, queue, rest).await {
                Err(error)
                    if error.is(ResponseCode::NotLeaderForQueue) && begin.elapsed() < timeout =>
                {
                    self.client.leader_moved(queue, since).await;
                }
                result => return result,
            }
        }
    }

    async fn attempt(
        &self,
        encoded: &Encoded,
        queue: &MessageQueue,
        timeout: Duration,
    ) -> Result<SendResult, ClientError> {
        let addr = self.client.queue_master_addr(queue).await?;
        let broker = self.client.broker_of(queue).unwrap_or_default();
        let begin = Instant::now();
        let request = self.request(encoded, queue, &broker);
        let result = self.client.api.remoting.call(&addr, request, timeout).await;
        let result = match result {
            Ok(answer) => read_answer(&addr, &answer, encoded, queue),
            Err(error) => Err(error.into()),
        };
        if self.config.avoid_slow_brokers {
            let outcome = match &result {
                Ok(_) => SendOutcome::Answered(begin.elapsed()),
                Err(ClientError::Remoting(_)) => SendOutcome::Unreachable,
                Err(_) => SendOutcome::Refused,
            };
            self.faults.report(&broker, outcome, Instant::now());
        }
        if let Some(tracer) = self.client.tracer() {
            for message in &encoded.traced {
                tracer.sent(&self.group, message, &addr, begin.elapsed(), &result);
            }
        }
        result
    }

    /// Runs something on the client's runtime.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(future);
    }
}

fn route_topic(route: &TopicRoute) -> String {
    let mut queues = route.read_queues.iter().chain(&route.write_queues);
    queues
        .next()
        .map(|queue| queue.topic.to_string())
        .unwrap_or_default()
}

/// Whether another attempt makes sense: the broker was not reached, did not answer, or refused
/// for a reason of its own.
fn may_try_again(error: &ClientError) -> bool {
    match error {
        ClientError::Remoting(RemotingError::TooLarge { .. } | RemotingError::ShutDown) => false,
        ClientError::Remoting(_) | ClientError::UnknownBroker(_) => true,
        ClientError::Refused { code, .. } => RETRY_CODES.iter().any(|known| known.code() == *code),
        _ => false,
    }
}
