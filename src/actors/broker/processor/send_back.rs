//! CONSUMER_SEND_MSG_BACK (36): a consumer gives a message back, to get it again later or, after too
//! many times, never (`AbstractSendMessageProcessor.consumerSendMsgBack`).

use bytes::BytesMut;

use super::{answer, decode, query::whole_record};
use crate::{
    actors::broker::{
        context::BrokerContext,
        inner::InnerMessage,
        refusal::{Refusal, SEE_FAQ},
        send::response_of,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        header::client::ConsumerSendMsgBackRequestHeader,
        language::version,
        message::{
            names, perm, properties,
            record::{CheckCrc, RecordView},
            sys_flag,
        },
    },
};

/// Queues of a dead letter topic (`DLQ_NUMS_PER_GROUP`).
pub const DLQ_QUEUES: i32 = 1;

/// The level of the first retry without a wish of the consumer: 10 s by default.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Answers CONSUMER_SEND_MSG_BACK.
pub async fn send_back(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    try_send_back(ctx, request).await?;
    Ok(answer(request))
}

/// Where a message goes that was given back.
struct Destination {
    topic: String,
    queue_id: i32,
    delay_level: i32,
}

async fn try_send_back(ctx: &BrokerContext, request: &RemotingCommand) -> Result<(), Refusal> {
    let header: ConsumerSendMsgBackRequestHeader = decode(request)?;
    let group = &header.group;
    let Some(config) = ctx.subscriptions.find(group).await else {
        let remark = format!("subscription group not exist, {group} {SEE_FAQ}");
        return Err(Refusal::new(
            ResponseCode::SubscriptionGroupNotExist,
            remark,
        ));
    };
    let broker = ctx.config.load_full();
    if !perm::is_writable(broker.broker.broker_permission) {
        let ip = &broker.broker.broker_ip1;
        let remark = format!("the broker[{ip}] sending message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if config.retry_queue_nums <= 0 {
        return Ok(());
    }
    let retry_topic = names::retry_topic(group);
    let made = ctx
        .topics
        .create_retry(&retry_topic, config.retry_queue_nums, false, 0)
        .await;
    let retry = made.map_err(|_| topic_missing(&retry_topic))?;
    if !perm::is_writable(retry.perm) {
        let remark = format!("the topic[{retry_topic}] sending message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    let Some(record) = whole_record(ctx, header.offset) else {
        let remark = format!("look message by offset failed, {}", header.offset);
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    let view = RecordView::parse(&record, CheckCrc::No)
        .map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))?;
    let asked = (request.version >= version::V3_4_9).then_some(header.max_reconsume_times);
    let max = asked.flatten().unwrap_or(config.retry_max_times);
    let dead = view.reconsume_times >= max || header.delay_level < 0;
    let to = if dead {
        let topic = names::dlq_topic(group);
        let made = ctx.topics.create_retry(&topic, DLQ_QUEUES, false, 0).await;
        made.map_err(|_| topic_missing(&topic))?;
        Destination {
            topic,
            queue_id: 0,
            delay_level: 0,
        }
    } else {
        let level = match header.delay_level {
            0 => FIRST_RETRY_LEVEL + view.reconsume_times,
            level => level,
        };
        let queue_id = rand::random_range(0..config.retry_queue_nums);
        Destination {
            topic: retry_topic,
            queue_id,
            delay_level: level,
        }
    };
    store(ctx, &view, to).await?;
    let origin = view.property(properties::RETRY_TOPIC).unwrap_or(view.topic);
    ctx.stats.sent_back(origin, group, dead);
    Ok(())
}

fn topic_missing(topic: &str) -> Refusal {
    Refusal::new(
        ResponseCode::SystemError,
        format!("topic[{topic}] not exist"),
    )
}

/// Stores the message again, one time older, and knowing where it came from.
async fn store(ctx: &BrokerContext, view: &RecordView<'_>, to: Destination) -> Result<(), Refusal> {
    if view.sys_flag & sys_flag::INNER_BATCH != 0 {
        // As RocketMQ, for a retry topic takes no batches. The client sends the message itself then.
        return Err(Refusal::new(ResponseCode::SystemError, "MESSAGE_ILLEGAL"));
    }
    let origin = view.offset_id();
    let mut edited = properties::Editor::new(view.properties);
    edited.set_if_absent(properties::RETRY_TOPIC, view.topic);
    edited.set_if_absent(properties::ORIGIN_MESSAGE_ID, origin.as_str());
    edited.set(properties::WAIT, "false");
    edited.set(properties::DELAY, to.delay_level.to_string());
    let text = edited.to_vec();
    let message = InnerMessage {
        reconsume_times: view.reconsume_times + 1,
        ..InnerMessage::of_record(view, &to.topic, to.queue_id, &text)
    };
    let mut buf = BytesMut::with_capacity(view.body.len() + text.len() + 256);
    let append = message.into_request(&ctx.store, to.delay_level, &mut buf)?;
    // WAIT=false, as RocketMQ stores it: the copy does not wait for the disk.
    let outcome = ctx.append_own(append, false).await?;
    if outcome.status.is_stored() {
        return Ok(());
    }
    let (code, remark) = response_of(outcome.status, outcome.error.as_deref());
    Err(Refusal::new(code, remark.unwrap_or_default()))
}
