//! Requests about timed messages: calling one back, and what slaves copy.

use bytes::BytesMut;

use super::{answer, decode, json};
use crate::{
    actors::{
        broker::{context::BrokerContext, inner::InnerMessage, refusal::Refusal},
        delivery::timer::Timer,
        net::ConnectionHandle,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        header::send::{RecallMessageRequestHeader, RecallMessageResponseHeader},
        message::{
            perm, properties,
            recall::{RecallHandle, delete_key_with_topic},
        },
    },
    store::now_ms,
};

/// Tag of the mark of a recall (`RECALL_MESSAGE_TAG`).
const RECALL_TAG: &str = "_RECALL_TAG_";

/// The remark where the broker, not the handle, is at fault.
const NOT_AVAILABLE: &str = "recall failed, broker service not available";

/// RECALL_MESSAGE (370): a mark in the slot of the message says that it is not delivered
/// (`RecallMessageProcessor`). All answers tell the region.
pub async fn recall(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<RemotingCommand, Refusal> {
    let recalled = try_recall(ctx, request, conn).await;
    let mut response = match recalled {
        Ok(msg_id) => answer(request).with_header(&RecallMessageResponseHeader {
            msg_id: msg_id.as_str().into(),
        }),
        Err(refusal) => super::refused(request, &refusal),
    };
    let region = &ctx.marks.load().region;
    response.ext_fields.insert(properties::MSG_REGION, region);
    Ok(response)
}

async fn try_recall(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<String, Refusal> {
    let header: RecallMessageRequestHeader = decode(request)?;
    may_recall(ctx)?;
    if ctx.topics.get(&header.topic).is_none() {
        let remark = format!("recall failed, the topic[{}] not exist", header.topic);
        return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
    }
    let illegal = |remark: &str| Refusal::new(ResponseCode::IllegalOperation, remark);
    let handle = RecallHandle::decode(&header.recall_handle)
        .map_err(|invalid| illegal(&invalid.to_string()))?;
    if handle.topic != *header.topic {
        return Err(illegal("recall failed, topic not match"));
    }
    if handle.broker_name != ctx.identity.broker_name {
        return Err(illegal(NOT_AVAILABLE));
    }
    let delay_max_ms = ctx.timed.load().delay_max_ms;
    let left_ms = handle
        .timestamp
        .parse::<i64>()
        .map_or(0, |time| time.saturating_sub(now_ms()));
    if left_ms <= 0 || left_ms >= delay_max_ms {
        return Err(illegal("recall failed, timestamp invalid"));
    }
    mark(ctx, &header, &handle, conn).await?;
    Ok(handle.unique_key)
}

/// Whether messages can be called back here and now.
fn may_recall(ctx: &BrokerContext) -> Result<(), Refusal> {
    let config = ctx.config.load();
    if !config.broker.recall_message_enable {
        let remark = "recall failed, operation is forbidden";
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if !ctx.is_master() {
        return Err(Refusal::new(ResponseCode::SlaveNotAvailable, NOT_AVAILABLE));
    }
    let opens_at = config.broker.start_accept_send_request_timestamp_ms;
    let writable = perm::is_writable(config.broker.broker_permission)
        || config.broker.allow_recall_when_broker_not_writeable;
    if now_ms() < opens_at || !writable {
        return Err(Refusal::new(
            ResponseCode::ServiceNotAvailable,
            NOT_AVAILABLE,
        ));
    }
    Ok(())
}

/// Stores the mark; in the same slot as the message, for it names a time in that slot.
async fn mark(
    ctx: &BrokerContext,
    header: &RecallMessageRequestHeader,
    handle: &RecallHandle,
    conn: &ConnectionHandle,
) -> Result<(), Refusal> {
    let failed = || Refusal::new(ResponseCode::SystemError, "recall failed, execute error");
    let now = now_ms();
    let born = now.to_string();
    let group = header.producer_group.as_deref().unwrap_or_default();
    let key = match ctx.config.load().store.append_topic_for_timer_delete_key {
        true => &delete_key_with_topic(&handle.topic, &handle.unique_key),
        false => &handle.unique_key,
    };
    let mut text = Vec::new();
    for (name, value) in [
        (properties::TAGS, RECALL_TAG),
        (properties::TIMER_DEL_UNIQKEY, key),
        (properties::UNIQ_KEY, &handle.unique_key),
        (properties::TIMER_DELIVER_MS, &handle.timestamp),
        (properties::BORN_TIMESTAMP, &born),
        (properties::PGROUP, group),
    ] {
        properties::append(&mut text, name, value);
    }
    let message = InnerMessage {
        born_timestamp: now,
        ..InnerMessage::own(&handle.topic, 0, b"0", &text, conn.peer)
    };
    // Its time may have come while it was on its way.
    let slot = ctx.timed_slot(&message);
    let out_ms = slot.ok().flatten().ok_or_else(failed)?;
    let mut buf = BytesMut::new();
    let append = message.into_timed_request(&ctx.store, out_ms, &mut buf)?;
    let outcome = ctx.append_own(append, true).await?;
    if outcome.status.is_stored() {
        return Ok(());
    }
    Err(failed())
}

/// GET_TIMER_CHECK_POINT (60).
pub fn check_point(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let timer = timer(ctx, "The checkpoint is null")?;
    let bytes = timer.marks.checkpoint().encode();
    Ok(answer(request).with_body(bytes.to_vec()))
}

/// GET_TIMER_METRICS (61).
pub fn metrics(ctx: &BrokerContext, request: &RemotingCommand) -> Result<RemotingCommand, Refusal> {
    let timer = timer(ctx, "The timer message store is null")?;
    json(request, &timer.marks.metrics())
}

fn timer<'a>(ctx: &'a BrokerContext, remark: &str) -> Result<&'a Timer, Refusal> {
    let missing = || Refusal::new(ResponseCode::SystemError, remark);
    ctx.timer.as_ref().ok_or_else(missing)
}
