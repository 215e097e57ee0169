//! A consumer that pops when the program says so: messages are hidden from the rest of the group for
//! a while, and come back unless they are acknowledged. There is nothing to rebalance and no offset
//! to keep: any number of consumers may share a queue.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    client::{
        api,
        consumer::{
            ConsumeFrom,
            subscription::{Expression, subscription_data, tag_matches},
        },
        error::ClientError,
        instance::{Inner, MqClient},
        message::MessageExt,
        now_ms,
    },
    protocol::{
        CommandHeader, RemotingCommand, RequestCode, ResponseCode, Str,
        body::MessageQueue,
        header::pop::{
            AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader,
            ChangeInvisibleTimeResponseHeader, PopMessageRequestHeader, PopMessageResponseHeader,
        },
        message::{
            names, properties,
            receipt::{self, Receipt, ReceiptError, RetryKind},
        },
    },
};

/// What an answer may take longer than the broker holds the pop.
const HELD_MARGIN: Duration = Duration::from_secs(10);

/// The most messages that a broker gives to one pop.
pub const POP_MESSAGES_MAX: u32 = 32;

/// The queue that stands for all queues of a broker.
const ANY_QUEUE: i32 = -1;

/// How a pop is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopOptions {
    /// Most messages, at most [`POP_MESSAGES_MAX`].
    pub messages_max: u32,
    /// How long the messages stay hidden from others.
    pub invisible: Duration,
    /// How long the broker holds the request when there is no message.
    pub wait: Duration,
    /// Where a new group begins; a time counts as the end.
    pub from: ConsumeFrom,
}

impl Default for PopOptions {
    fn default() -> Self {
        Self {
            messages_max: POP_MESSAGES_MAX,
            invisible: Duration::from_secs(60),
            wait: Duration::from_secs(15),
            from: ConsumeFrom::default(),
        }
    }
}

/// A popped message, and what acknowledges it.
#[derive(Debug, Clone, PartialEq)]
pub struct PoppedMessage {
    /// The message; its topic is the one that was asked for, also when it comes back.
    pub message: MessageExt,
    /// Its receipt; [`Receipt`] prints and reads the text that RocketMQ's clients exchange.
    pub receipt: Receipt,
}

/// Pops messages of a group; see the module.
///
/// ```no_run
/// use callboard::client::{ClientConfig, ClientError, MqClient, PopConsumer, PopOptions};
///
/// # async fn run() -> Result<(), ClientError> {
/// let client = MqClient::start(ClientConfig::new("127.0.0.1:9876"))?;
/// let consumer = PopConsumer::new(&client, "workers")?;
/// for popped in consumer.pop("Jobs", &"*".into(), PopOptions::default()).await? {
///     println!("{:?}", popped.message.body);
///     consumer.ack(&popped).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PopConsumer {
    client: Arc<Inner>,
    group: Str,
    turn: Arc<AtomicUsize>,
}

impl PopConsumer {
    /// A consumer of a group on a client.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when the group has no legal name.
    pub fn new(client: &MqClient, group: &str) -> Result<Self, ClientError> {
        names::validate_group(group).map_err(|error| ClientError::Invalid(error.to_string()))?;
        Ok(Self {
            client: client.inner.clone(),
            group: group.into(),
            turn: Arc::default(),
        })
    }

    /// Pops messages of a topic from its brokers in turns; none when there was none in time.
    ///
    /// # Errors
    /// When no broker has the topic, or the one whose turn it is refuses or cannot be reached: the
    /// next call asks the next one.
    pub async fn pop(
        &self,
        topic: &str,
        expression: &Expression,
        options: PopOptions,
    ) -> Result<Vec<PoppedMessage>, ClientError> {
        let route = self.client.route(&topic.into(), None).await?;
        let mut brokers: Vec<&str> = Vec::new();
        if route.is_static() {
            // Pops go to physical queues, also to those whose logic queue has moved away.
            brokers.extend(route.broker_addrs().map(|(name, _)| &**name));
        } else {
            for queue in &route.read_queues {
                if !brokers.contains(&&*queue.broker_name) {
                    brokers.push(&queue.broker_name);
                }
            }
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        let broker = brokers
            .get(turn.checked_rem(brokers.len()).unwrap_or(0))
            .ok_or_else(|| ClientError::Invalid(format!("topic {topic} cannot be read")))?;
        let queue = MessageQueue::new(topic, broker, ANY_QUEUE);
        self.pop_from(&queue, expression, options).await
    }

    /// Pops messages of one queue, or of all queues of its broker if its id is -1.
    ///
    /// # Errors
    /// When the broker refuses or cannot be reached.
    pub async fn pop_from(
        &self,
        queue: &MessageQueue,
        expression: &Expression,
        options: PopOptions,
    ) -> Result<Vec<PoppedMessage>, ClientError> {
        let subscription = subscription_data(&queue.topic, expression, 0)?;
        let header = PopMessageRequestHeader {
            consumer_group: self.group.clone(),
            topic: queue.topic.as_str().into(),
            queue_id: queue.queue_id,
            max_msg_nums: i32::try_from(options.messages_max).unwrap_or(i32::MAX),
            invisible_time: millis(options.invisible),
            poll_time: millis(options.wait),
            born_time: now_ms(),
            init_mode: i32::from(options.from != ConsumeFrom::FirstOffset),
            exp_type: Some(expression.kind().into()),
            exp: Some(expression.text().clone()),
            order: false,
            attempt_id: None,
        };
        let addr = self.client.queue_addr(queue).await?;
        let request = api::request(RequestCode::PopMessage, &[]).with_header(&header);
        let timeout = options.wait + HELD_MARGIN;
        let answer = self
            .client
            .api
            .remoting
            .call(&addr, request, timeout)
            .await?;
        match ResponseCode::from_code(answer.code) {
            Some(ResponseCode::Success) => {}
            Some(ResponseCode::PollingTimeout) => return Ok(Vec::new()),
            _ => {
                let remark = answer.remark.as_deref();
                return Err(ClientError::refused(&addr, answer.code, remark));
            }
        }
        let mut wanted = Vec::new();
        for popped in received(&addr, queue, answer)? {
            if tag_matches(&subscription, &popped.message) {
                wanted.push(popped);
            } else {
                // Its tag only hashes to the same number: nobody of this group wants it.
                self.ack(&popped).await?;
            }
        }
        Ok(wanted)
    }

    /// Acknowledges a message: it does not come back.
    ///
    /// # Errors
    /// When the broker refuses or cannot be reached: the message may come back.
    pub async fn ack(&self, popped: &PoppedMessage) -> Result<(), ClientError> {
        let receipt = &popped.receipt;
        let header = AckMessageRequestHeader {
            consumer_group: self.group.clone(),
            topic: self.real_topic(popped),
            queue_id: receipt.queue_id,
            extra_info: receipt.to_string().into(),
            offset: receipt.queue_offset,
        };
        let addr = self.addr_of(popped).await?;
        let request = api::request(RequestCode::AckMessage, &[]).with_header(&header);
        self.client.api.ask(&addr, request).await.map(drop)
    }

    /// Hides a message for another while, counted from now; the old receipt counts no more.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn change_invisible(
        &self,
        popped: &mut PoppedMessage,
        invisible: Duration,
    ) -> Result<(), ClientError> {
        let receipt = &popped.receipt;
        let header = ChangeInvisibleTimeRequestHeader {
            consumer_group: self.group.clone(),
            topic: self.real_topic(popped),
            queue_id: receipt.queue_id,
            extra_info: receipt.to_string().into(),
            offset: receipt.queue_offset,
            invisible_time: millis(invisible),
        };
        let addr = self.addr_of(popped).await?;
        let code = RequestCode::ChangeMessageInvisibletime;
        let request = api::request(code, &[]).with_header(&header);
        let answer = self.client.api.ask(&addr, request).await?;
        let told = ChangeInvisibleTimeResponseHeader::decode(&answer.ext_fields)
            .map_err(|error| bad_answer(&addr, "a new receipt", &error))?;
        let receipt = &mut popped.receipt;
        receipt.start_offset = receipt.queue_offset;
        receipt.pop_time = told.pop_time;
        receipt.invisible_time = told.invisible_time;
        receipt.revive_qid = told.revive_qid;
        Ok(())
    }

    fn real_topic(&self, popped: &PoppedMessage) -> Str {
        let topic = &popped.message.topic;
        let kind = popped.receipt.kind;
        kind.real_topic(topic, &self.group).into()
    }

    async fn addr_of(&self, popped: &PoppedMessage) -> Result<String, ClientError> {
        let broker = &popped.receipt.broker_name;
        let queue = MessageQueue::new(&popped.message.topic, broker, ANY_QUEUE);
        self.client.queue_addr(&queue).await
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn bad_answer(addr: &str, what: &'static str, error: &dyn std::fmt::Display) -> ClientError {
    ClientError::BadAnswer {
        what,
        addr: addr.to_owned(),
        reason: error.to_string(),
    }
}

/// The messages of an answer with their receipts (`MQClientAPIImpl.processPopResponse`). Those that
/// come back carry theirs; those of the topic itself have it in the answer's header.
fn received(
    addr: &str,
    queue: &MessageQueue,
    answer: RemotingCommand,
) -> Result<Vec<PoppedMessage>, ClientError> {
    let bad = |error: &dyn std::fmt::Display| bad_answer(addr, "popped messages", error);
    let header =
        PopMessageResponseHeader::decode(&answer.ext_fields).map_err(|error| bad(&error))?;
    let starts = header.start_offset_info.as_deref().unwrap_or_default();
    let starts = receipt::parse_start_offsets(starts).map_err(|error| bad(&error))?;
    let broker = queue.broker_name.as_str();
    let messages = MessageExt::decode_all(answer.body, &broker.into())?;
    let with_receipt = |mut message: MessageExt| {
        let receipt = match message.property(properties::POP_CK) {
            Some(text) => text.parse()?,
            None => {
                let kind = RetryKind::of(&message.topic);
                let of_queue = |info: &&receipt::QueueInfo<i64>| {
                    info.kind == kind && info.queue_id == message.queue_id
                };
                let start = starts.iter().find(of_queue);
                Receipt {
                    start_offset: start.ok_or(ReceiptError::Missing("startOffset"))?.value,
                    pop_time: header.pop_time,
                    invisible_time: header.invisible_time,
                    revive_qid: header.revive_qid,
                    kind,
                    broker_name: broker.to_owned(),
                    queue_id: message.queue_id,
                    queue_offset: message.queue_offset,
                }
            }
        };
        // With `popResponseReturnActualRetryTopic` it has the name of the retry topic.
        message.topic = queue.topic.as_str().into();
        Ok::<_, ReceiptError>(PoppedMessage { message, receipt })
    };
    let all: Result<Vec<_>, _> = messages.into_iter().map(with_receipt).collect();
    all.map_err(|error| bad(&error))
}
