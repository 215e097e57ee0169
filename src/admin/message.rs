//! Messages: sendMessage, sendMsgStatus and the queries.

use clap::Args;
use serde_json::{Value, json};

use crate::admin::print::{properties_text, property_pairs, to_value};
use crate::admin::{Context, time};
use crate::client::consumer::{Expression, PullConsumer, PullStatus};
use crate::client::{ClientError, Message, MessageExt, MessageQueue, Producer};
use crate::protocol::message::names;

/// Group that the tool produces as, RocketMQ's name.
const PRODUCER_GROUP: &str = "TOOLS_PRODUCER";

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
    /// Sends a trace of it, too.
    #[arg(short = 'm', long = "msgTraceEnable")]
    pub(super) msg_trace_enable: Option<bool>,
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
