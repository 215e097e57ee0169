//! Messages: sendMessage, consumeMessage, the queries and printMsg.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::{Context, time};
use crate::client::consumer::{Expression, PullConsumer, PullStatus};
use crate::client::{ClientError, Message, MessageExt, MessageQueue, Producer, now_ms};
use crate::protocol::message::{names, properties};

/// Group that the tool produces as, RocketMQ's name.
const PRODUCER_GROUP: &str = "TOOLS_PRODUCER";
/// Messages asked for in one pull.
const PULL_MAX: u32 = 32;

#[derive(Debug, Args)]
pub(super) struct SendMessage {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Body.
    #[arg(short = 'p', long)]
    body: String,
    /// Keys.
    #[arg(short = 'k', long)]
    key: Option<String>,
    /// Tags.
    #[arg(short = 'c', long)]
    tags: Option<String>,
    /// Broker name.
    #[arg(short, long)]
    broker: Option<String>,
    /// Queue id; needs a broker.
    #[arg(short = 'i', long, requires = "broker")]
    qid: Option<i32>,
    /// Accepted for RocketMQ's sake: this tool sends no traces.
    #[arg(short = 'm', long = "msgTraceEnable")]
    msg_trace_enable: Option<bool>,
}

impl SendMessage {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic = self.topic.trim();
        let mut message = Message::new(topic, self.body.into_bytes());
        if let Some(key) = self.key {
            message = message.with_keys(key.trim());
        }
        if let Some(tags) = self.tags {
            message = message.with_tags(tags.trim());
        }
        let producer = Producer::new(&ctx.client, PRODUCER_GROUP)?;
        let result = match self.broker {
            Some(broker) => {
                let queues = producer.queues(topic).await?;
                let ours = |queue: &&MessageQueue| {
                    queue.broker_name == broker.trim()
                        && self.qid.is_none_or(|id| queue.queue_id == id)
                };
                let queue = queues.iter().find(ours).cloned();
                let queue = queue.ok_or_else(|| ClientError::NoQueue(topic.to_owned()))?;
                producer.send_to(message, &queue).await?
            }
            None => producer.send(message).await?,
        };
        let value = json!({
            "brokerName": result.queue.broker_name,
            "queueId": result.queue.queue_id,
            "queueOffset": result.queue_offset,
            "sendResult": result.status.name(),
            "msgId": result.message_id,
            "offsetMsgId": result.offset_id,
        });
        ctx.out.show(&value, || {
            println!(
                "{:<32}  {:<4}  {:<20}    #MsgId",
                "#Broker Name", "#QID", "#Send Result"
            );
            let (queue, id) = (&result.queue, &result.message_id);
            let status = result.status.name();
            println!(
                "{:<32}  {:<4}  {status:<20}    {id}",
                queue.broker_name, queue.queue_id
            );
        });
        Ok(())
    }
}

/// A message as one JSON value.
fn to_value(message: &MessageExt) -> Value {
    let properties: serde_json::Map<String, Value> = property_pairs(message)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "offsetMsgId": message.offset_id(),
        "msgId": message.message_id(),
        "topic": message.topic,
        "brokerName": message.broker_name,
        "tags": message.tags(),
        "keys": message.keys(),
        "queueId": message.queue_id,
        "queueOffset": message.queue_offset,
        "commitLogOffset": message.physical_offset,
        "reconsumeTimes": message.reconsume_times,
        "bornTimestamp": message.born_timestamp,
        "storeTimestamp": message.store_timestamp,
        "bornHost": message.born_host.to_string(),
        "storeHost": message.store_host.to_string(),
        "sysFlag": message.sys_flag,
        "flag": message.flag,
        "properties": properties,
        "body": String::from_utf8_lossy(&message.body),
    })
}

fn property_pairs(message: &MessageExt) -> impl Iterator<Item = (&str, &str)> {
    properties::entries(&message.properties).filter_map(|(name, value)| {
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    })
}

fn properties_text(message: &MessageExt) -> String {
    let parts: Vec<String> = property_pairs(message)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

/// All fields of a message, one a line. RocketMQ's tool writes the body to a file and names it;
/// here it is printed.
fn print_detail(message: &MessageExt) {
    let line = |name: &str, value: &dyn std::fmt::Display| println!("{name:<20} {value}");
    let or_null = |text: Option<&str>| format!("[{}]", text.unwrap_or("null"));
    line("OffsetID:", &message.offset_id());
    line("Topic:", &message.topic);
    line("Tags:", &or_null(message.tags()));
    line("Keys:", &or_null(message.keys()));
    line("Queue ID:", &message.queue_id);
    line("Queue Offset:", &message.queue_offset);
    line("CommitLog Offset:", &message.physical_offset);
    line("Reconsume Times:", &message.reconsume_times);
    line("Born Timestamp:", &time::with_ms(message.born_timestamp));
    line("Store Timestamp:", &time::with_ms(message.store_timestamp));
    line("Born Host:", &message.born_host);
    line("Store Host:", &message.store_host);
    line("System Flag:", &message.sys_flag);
    line("Properties:", &properties_text(message));
    line("Message Body:", &String::from_utf8_lossy(&message.body));
}

/// Shows messages in full, with the groups that consumed them or not.
async fn show_detail(ctx: &Context, messages: &[MessageExt]) -> Result<(), ClientError> {
    let mut values = Vec::new();
    for message in messages {
        let tracks = tracks(ctx, message).await;
        let mut value = to_value(message);
        value["consumers"] = tracks
            .iter()
            .map(|(group, state)| json!({ "group": group, "state": state }))
            .collect();
        values.push(value);
        if ctx.out.json {
            continue;
        }
        print_detail(message);
        if tracks.is_empty() {
            println!("\n\nWARN: No Consumer");
            continue;
        }
        println!("\n");
        for (group, state) in tracks {
            println!("MessageTrack [consumerGroup={group}, trackType={state}, exceptionDesc=null]");
        }
    }
    ctx.out.show(&values, || {});
    Ok(())
}

/// What each group of the topic did with a message, told from its offsets.
async fn tracks(ctx: &Context, message: &MessageExt) -> Vec<(String, &'static str)> {
    let mut tracks = Vec::new();
    for group in super::topic::groups_of(ctx, &message.topic).await {
        let online = super::group::group_connection(ctx, &group).await.is_ok();
        let stats = super::group::group_stats(ctx, &group, Some(&message.topic), None).await;
        let consumed = stats.ok().map(|stats| {
            stats.offset_table.iter().any(|(queue, offset)| {
                queue.queue_id == message.queue_id
                    && *queue.topic == *message.topic
                    && offset.consumer_offset > message.queue_offset
            })
        });
        let state = match (consumed, online) {
            (Some(true), _) => "CONSUMED",
            (Some(false), true) => "NOT_CONSUME_YET",
            (Some(false), false) => "NOT_ONLINE",
            (None, _) => "UNKNOWN",
        };
        tracks.push((group, state));
    }
    tracks
}

#[derive(Debug, Args)]
pub(super) struct QueryMsgById {
    /// Topic.
    #[arg(short, long)]
    topic: Option<String>,
    /// Offset ids, `,` between them.
    #[arg(short = 'i', long = "msgId")]
    msg_id: String,
    /// Group of a client that should consume the message now.
    #[arg(short = 'g', long = "consumerGroup", requires = "client_id")]
    consumer_group: Option<String>,
    /// Client that should consume the message now.
    #[arg(short = 'd', long = "clientId", requires = "consumer_group")]
    client_id: Option<String>,
    /// Sends the message once more.
    #[arg(short = 's', long = "sendMessage")]
    send_message: Option<bool>,
    /// Accepted for RocketMQ's sake.
    #[arg(short, long = "unitName")]
    unit_name: Option<String>,
    /// Accepted for RocketMQ's sake: bodies are shown as UTF-8.
    #[arg(short = 'f', long = "bodyFormat")]
    body_format: Option<String>,
    /// Accepted for RocketMQ's sake: the id names the broker.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl QueryMsgById {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic = self.topic.as_deref().unwrap_or_default().trim();
        let mut messages = Vec::new();
        for id in self
            .msg_id
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty())
        {
            messages.push(ctx.admin.message_by_offset_id(topic, id).await?);
        }
        if let (Some(group), Some(client_id)) = (&self.consumer_group, &self.client_id) {
            return push_to(ctx, &messages, group.trim(), client_id.trim()).await;
        }
        if self.send_message == Some(true) {
            return resend(ctx, &messages).await;
        }
        show_detail(ctx, &messages).await
    }
}

async fn push_to(
    ctx: &Context,
    messages: &[MessageExt],
    group: &str,
    client_id: &str,
) -> Result<(), ClientError> {
    for message in messages {
        let addr = message.store_host.to_string();
        let result = ctx
            .admin
            .consume_directly(&addr, group, client_id, message)
            .await?;
        ctx.out.show(&result, || {
            println!(
                "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, \
                 remark={}, spentTimeMills={}]",
                result.order,
                result.auto_commit,
                result.consume_result,
                result.remark.as_deref().unwrap_or("null"),
                result.spent_time_mills
            );
        });
    }
    Ok(())
}

async fn resend(ctx: &Context, messages: &[MessageExt]) -> Result<(), ClientError> {
    let producer = Producer::new(&ctx.client, "ReSendMsgById")?;
    for message in messages {
        let mut again = Message::new(message.topic.clone(), message.body.clone());
        again.flag = message.flag;
        for (name, value) in property_pairs(message) {
            again.set_property(name, value);
        }
        let result = producer.send(again).await?;
        let (old, new) = (message.message_id(), &result.message_id);
        let text = format!(
            "prepare resend msg. originalMsgId={old}\nsendStatus={} msgId={new}",
            result.status.name()
        );
        ctx.out.done(&text);
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct QueryMsgByKey {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Key.
    #[arg(short = 'k', long = "msgKey")]
    msg_key: String,
    /// Stored from, ms.
    #[arg(short, long = "beginTimestamp", default_value_t = 0)]
    begin_timestamp: i64,
    /// Stored until, ms.
    #[arg(short, long = "endTimestamp", default_value_t = i64::MAX)]
    end_timestamp: i64,
    /// Messages at most.
    #[arg(short, long = "maxNum", default_value_t = 64)]
    max_num: i32,
    /// Accepted for RocketMQ's sake.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl QueryMsgByKey {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (topic, key) = (self.topic.trim(), self.msg_key.trim());
        let (begin, end) = (self.begin_timestamp, self.end_timestamp);
        let found = ctx
            .admin
            .messages_by_key(topic, key, self.max_num, begin, end)
            .await?;
        let values: Vec<Value> = found.iter().map(to_value).collect();
        ctx.out.show(&values, || {
            println!("{:<50} {:>4} {:>40}", "#Message ID", "#QID", "#Offset");
            for message in &found {
                let id = message.message_id();
                println!(
                    "{id:<50} {:>4} {:>40}",
                    message.queue_id, message.queue_offset
                );
            }
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct QueryMsgByUniqueKey {
    /// Unique key.
    #[arg(short = 'i', long = "msgId")]
    msg_id: String,
    /// Group of a client that should consume the message now.
    #[arg(short = 'g', long = "consumerGroup", requires = "client_id")]
    consumer_group: Option<String>,
    /// Client that should consume the message now.
    #[arg(short = 'd', long = "clientId", requires = "consumer_group")]
    client_id: Option<String>,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// All messages with this key instead of the last.
    #[arg(short = 'a', long = "showAll")]
    show_all: bool,
    /// Accepted for RocketMQ's sake.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl QueryMsgByUniqueKey {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (topic, key) = (self.topic.trim(), self.msg_id.trim());
        let mut found = ctx.admin.messages_by_unique_key(topic, key).await?;
        if found.is_empty() {
            return Err(ClientError::Invalid(format!(
                "no message of {topic} has the id {key}"
            )));
        }
        if !self.show_all {
            found.drain(..found.len() - 1);
        }
        match (&self.consumer_group, &self.client_id) {
            (Some(group), Some(client_id)) => {
                push_to(ctx, &found, group.trim(), client_id.trim()).await
            }
            _ => show_detail(ctx, &found).await,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct QueryMsgByOffset {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Broker name.
    #[arg(short, long = "brokerName")]
    broker_name: String,
    /// Queue id.
    #[arg(short = 'i', long = "queueId")]
    queue_id: i32,
    /// Offset in the queue.
    #[arg(short, long)]
    offset: i64,
    /// Accepted for RocketMQ's sake: bodies are shown as UTF-8.
    #[arg(short = 'f', long = "bodyFormat")]
    body_format: Option<String>,
}

impl QueryMsgByOffset {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let consumer = PullConsumer::new(&ctx.client, names::TOOLS_GROUP)?;
        let queue = MessageQueue::new(self.topic.trim(), self.broker_name.trim(), self.queue_id);
        let found = consumer
            .pull(&queue, &Expression::all(), self.offset, 1)
            .await?;
        match found.status {
            PullStatus::Found => show_detail(ctx, &found.messages).await,
            status => {
                let text = format!("{queue}: no message at {}: {status:?}", self.offset);
                Err(ClientError::Invalid(text))
            }
        }
    }
}

/// What a walk over queues prints.
struct Walk<'a> {
    ctx: &'a Context,
    consumer: PullConsumer,
    expression: Expression,
    print_message: bool,
    print_body: bool,
    values: Vec<Value>,
}

impl Walk<'_> {
    /// Prints the messages of a queue from `from` to before `to`.
    async fn queue(&mut self, queue: &MessageQueue, from: i64, to: i64) -> Result<(), ClientError> {
        let mut offset = from;
        while offset < to {
            let count = u32::try_from(to - offset).unwrap_or(PULL_MAX).min(PULL_MAX);
            let found = self
                .consumer
                .pull(queue, &self.expression, offset, count)
                .await?;
            let text = !self.ctx.out.json;
            match found.status {
                PullStatus::Found => {
                    let ours = |message: &&MessageExt| message.queue_offset < to;
                    for message in found.messages.iter().filter(ours) {
                        self.values.push(to_value(message));
                        if text && self.print_message {
                            self.print(message);
                        }
                    }
                }
                PullStatus::NoMatchedMessage if text => {
                    println!("{queue} no matched msg. status=NO_MATCHED_MSG, offset={offset}");
                }
                PullStatus::NoMatchedMessage => {}
                PullStatus::NoNewMessage | PullStatus::OffsetIllegal => {
                    if text {
                        let next = found.next_offset;
                        println!(
                            "{queue} print msg finished. status={:?}, offset={next}",
                            found.status
                        );
                    }
                    return Ok(());
                }
            }
            if found.next_offset <= offset {
                return Ok(());
            }
            offset = found.next_offset;
        }
        Ok(())
    }

    fn print(&self, message: &MessageExt) {
        let body = match self.print_body {
            true => String::from_utf8_lossy(&message.body),
            false => "NOT PRINT BODY".into(),
        };
        println!(
            "MSGID: {} MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, \
             sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, \
             commitLogOffset={}, bodyCRC={}, reconsumeTimes={}, topic={}, flag={}, properties={}] \
             BODY: {body}",
            message.message_id(),
            message.broker_name,
            message.queue_id,
            message.store_size,
            message.queue_offset,
            message.sys_flag,
            message.born_timestamp,
            message.born_host,
            message.store_timestamp,
            message.store_host,
            message.physical_offset,
            message.body_crc,
            message.reconsume_times,
            message.topic,
            message.flag,
            properties_text(message),
        );
    }

    /// The offsets of a queue between two times.
    async fn range(
        &self,
        queue: &MessageQueue,
        begin: Option<&str>,
        end: Option<&str>,
    ) -> Result<(i64, i64), ClientError> {
        let at = async |text: &str| {
            let ms = time::parse(text, now_ms())?;
            self.consumer.offset_by_time(queue, ms).await
        };
        let from = match begin {
            Some(text) => at(text).await?,
            None => self.consumer.min_offset(queue).await?,
        };
        let to = match end {
            Some(text) => at(text).await?,
            None => self.consumer.max_offset(queue).await?,
        };
        Ok((from, to))
    }
}

#[derive(Debug, Args)]
pub(super) struct PrintMsg {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Accepted for RocketMQ's sake: bodies are shown as UTF-8.
    #[arg(short = 'c', long = "charsetName")]
    charset_name: Option<String>,
    /// Tags, e.g. `TagA || TagB`.
    #[arg(short = 's', long = "subExpression", default_value = "*")]
    sub_expression: String,
    /// Stored from: ms, `now` or `yyyy-MM-dd#HH:mm:ss:SSS`.
    #[arg(short, long = "beginTimestamp")]
    begin_timestamp: Option<String>,
    /// Stored until.
    #[arg(short, long = "endTimestamp")]
    end_timestamp: Option<String>,
    /// Prints bodies.
    #[arg(short = 'd', long = "printBody")]
    print_body: Option<bool>,
    /// Accepted for RocketMQ's sake.
    #[arg(short, long = "lmqParentTopic")]
    lmq_parent_topic: Option<String>,
}

impl PrintMsg {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let consumer = PullConsumer::new(&ctx.client, names::TOOLS_GROUP)?;
        let queues = consumer.queues(self.topic.trim()).await?;
        let mut walk = Walk {
            ctx,
            consumer,
            expression: self.sub_expression.trim().into(),
            print_message: true,
            print_body: self.print_body.unwrap_or(true),
            values: Vec::new(),
        };
        let (begin, end) = (
            self.begin_timestamp.as_deref(),
            self.end_timestamp.as_deref(),
        );
        for queue in queues {
            let (from, to) = walk.range(&queue, begin, end).await?;
            if !ctx.out.json {
                println!("minOffset={from}, maxOffset={to}, {queue}");
            }
            walk.queue(&queue, from, to).await?;
            if !ctx.out.json {
                println!("--------------------------------------------------------");
            }
        }
        ctx.out.show(&walk.values, || {});
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct ConsumeMessage {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Broker name.
    #[arg(short, long = "brokerName")]
    broker_name: Option<String>,
    /// Queue id; needs a broker.
    #[arg(short = 'i', long = "queueId", requires = "broker_name")]
    queue_id: Option<i32>,
    /// Offset to begin at; needs a queue.
    #[arg(short, long, requires = "queue_id")]
    offset: Option<i64>,
    /// Group.
    #[arg(short = 'g', long = "consumerGroup", default_value = names::TOOLS_GROUP)]
    consumer_group: String,
    /// Stored from: ms, `now` or `yyyy-MM-dd#HH:mm:ss:SSS`.
    #[arg(short = 's', long = "beginTimestamp")]
    begin_timestamp: Option<String>,
    /// Stored until.
    #[arg(short, long = "endTimestamp")]
    end_timestamp: Option<String>,
    /// Messages at most.
    #[arg(short = 'c', long = "MessageNumber", default_value_t = 128)]
    message_number: i64,
}

impl ConsumeMessage {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        if self.message_number <= 0 {
            return Err(ClientError::Invalid(
                "Please input a positive messageNumber!".into(),
            ));
        }
        let consumer = PullConsumer::new(&ctx.client, self.consumer_group.trim())?;
        let mut queues = consumer.queues(self.topic.trim()).await?;
        if let Some(broker) = &self.broker_name {
            queues.retain(|queue| queue.broker_name == broker.trim());
        }
        if let Some(id) = self.queue_id {
            queues.retain(|queue| queue.queue_id == id);
        }
        let mut walk = Walk {
            ctx,
            consumer,
            expression: Expression::all(),
            print_message: true,
            print_body: true,
            values: Vec::new(),
        };
        let (begin, end) = (
            self.begin_timestamp.as_deref(),
            self.end_timestamp.as_deref(),
        );
        let mut left = self.message_number;
        for queue in queues {
            let (from, to) = walk.range(&queue, begin, end).await?;
            let from = self.offset.map_or(from, |offset| offset.max(from));
            let to = to.min(from.saturating_add(left));
            if from >= to {
                continue;
            }
            if !ctx.out.json {
                println!("Consume ok");
            }
            walk.queue(&queue, from, to).await?;
            left -= to - from;
            if left <= 0 {
                break;
            }
        }
        ctx.out.show(&walk.values, || {});
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct PrintMsgByQueue {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Broker name.
    #[arg(short = 'a', long = "brokerName")]
    broker_name: String,
    /// Queue id.
    #[arg(short = 'i', long = "queueId")]
    queue_id: i32,
    /// Accepted for RocketMQ's sake: bodies are shown as UTF-8.
    #[arg(short = 'c', long = "charsetName")]
    charset_name: Option<String>,
    /// Tags, e.g. `TagA || TagB`.
    #[arg(short = 's', long = "subExpression", default_value = "*")]
    sub_expression: String,
    /// Stored from: ms, `now` or `yyyy-MM-dd#HH:mm:ss:SSS`.
    #[arg(short, long = "beginTimestamp")]
    begin_timestamp: Option<String>,
    /// Stored until.
    #[arg(short, long = "endTimestamp")]
    end_timestamp: Option<String>,
    /// Prints messages.
    #[arg(short = 'p', long = "printMsg")]
    print_msg: Option<bool>,
    /// Prints bodies.
    #[arg(short = 'd', long = "printBody")]
    print_body: Option<bool>,
    /// Counts messages by tag.
    #[arg(short = 'f', long)]
    calculate: Option<bool>,
}

impl PrintMsgByQueue {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let queue = MessageQueue::new(self.topic.trim(), self.broker_name.trim(), self.queue_id);
        let mut walk = Walk {
            ctx,
            consumer: PullConsumer::new(&ctx.client, names::TOOLS_GROUP)?,
            expression: self.sub_expression.trim().into(),
            print_message: self.print_msg.unwrap_or(false),
            print_body: self.print_body.unwrap_or(false),
            values: Vec::new(),
        };
        let (begin, end) = (
            self.begin_timestamp.as_deref(),
            self.end_timestamp.as_deref(),
        );
        let (from, to) = walk.range(&queue, begin, end).await?;
        walk.queue(&queue, from, to).await?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for tag in walk
            .values
            .iter()
            .filter_map(|value| value["tags"].as_str())
        {
            *counts.entry(tag).or_default() += 1;
        }
        let value = json!({ "messages": walk.values, "tags": counts });
        ctx.out.show(&value, || {
            if self.calculate == Some(true) {
                let mut sorted: Vec<_> = counts.iter().collect();
                sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
                for (tag, count) in sorted {
                    println!("Tag: {tag:<30} Count: {count}");
                }
            }
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct SendMsgStatus {
    /// Broker name; messages go to the topic of that name.
    #[arg(short, long = "brokerName")]
    broker_name: String,
    /// Body bytes.
    #[arg(short = 's', long = "messageSize", default_value_t = 128)]
    message_size: usize,
    /// Messages.
    #[arg(short, long, default_value_t = 50)]
    count: usize,
}

impl SendMsgStatus {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let producer = Producer::new(&ctx.client, "PID_SMSC")?;
        let mut rows = Vec::new();
        for _ in 0..self.count {
            let body = vec![b'a'; self.message_size];
            let begin = std::time::Instant::now();
            let result = producer
                .send(Message::new(self.broker_name.trim(), body))
                .await?;
            let ms = begin.elapsed().as_millis() as u64;
            let (status, id) = (result.status.name(), &result.message_id);
            if !ctx.out.json {
                println!("rt={ms}ms, SendResult=SendResult [sendStatus={status}, msgId={id}]");
            }
            rows.push(json!({ "rtMs": ms, "sendStatus": status, "msgId": id }));
        }
        ctx.out.show(&rows, || {});
        Ok(())
    }
}
