//! Walking over queues: printMsg, printMsgByQueue, consumeMessage; and how a message is shown.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::{Context, time};
use crate::client::consumer::{Expression, PullConsumer, PullStatus};
use crate::client::{ClientError, MessageExt, MessageQueue, now_ms};
use crate::protocol::message::{names, properties};

/// Messages asked for in one pull.
const PULL_MAX: u32 = 32;

/// A message as one JSON value.
pub(super) fn to_value(message: &MessageExt) -> Value {
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

/// Names and values of a message's properties, those that are not text left out.
pub(super) fn property_pairs(message: &MessageExt) -> impl Iterator<Item = (&str, &str)> {
    properties::entries(&message.properties).filter_map(|(name, value)| {
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    })
}

/// The properties as Java prints a map.
pub(super) fn properties_text(message: &MessageExt) -> String {
    let parts: Vec<String> = property_pairs(message)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("{{{}}}", parts.join(", "))
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
