//! What consumers say of popped messages: ACK_MESSAGE (200051), BATCH_ACK_MESSAGE (200151) and
//! CHANGE_MESSAGE_INVISIBLETIME (200053) (`AckMessageProcessor`, `ChangeInvisibleTimeProcessor`).
//!
//! An acknowledgement is one record in the revive topic; whether its receipt still means anything is
//! found out when the messages would come back. Here it is answered when it is stored, and refused
//! when that fails: RocketMQ answers SUCCESS then, too.

use super::{answer, decode, read_json, refused};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            pop::illegal_queue,
            refusal::{Refusal, SEE_FAQ},
        },
        delivery::pop::request::{AckOrdered, HideOrdered, OrderAnswer, Whom},
        net::ConnectionHandle,
    },
    protocol::{
        RemotingCommand, ResponseCode, Str,
        body::pop::{AckMsg, BatchAck, BatchAckMessageRequestBody, PopCheckPoint},
        detached,
        header::pop::{
            AckMessageRequestHeader, ChangeInvisibleTimeRequestHeader,
            ChangeInvisibleTimeResponseHeader,
        },
        message::receipt::{ORDER_REVIVE_QUEUE, Receipt, RetryKind},
    },
    store::now_ms,
};

/// What RocketMQ remarks where it sets no remark.
pub const NOTHING_SAID: &str = "not set any response code";

/// ACK_MESSAGE (200051).
pub async fn ack(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<RemotingCommand, Refusal> {
    let header: AckMessageRequestHeader = decode(request)?;
    let (topic, queue_id, offset) = (&header.topic, header.queue_id, header.offset);
    check_queue(ctx, topic, queue_id, conn)?;
    let (min, max) = range_of(ctx, topic, queue_id);
    if offset < min || offset > max {
        let remark = format!(
            "offset is illegal, key:{topic}@{queue_id}, commit:{offset}, store:{min}~{max}"
        );
        return Err(Refusal::new(ResponseCode::NoMessage, remark));
    }
    let receipt = receipt_of(&header.extra_info)?;
    let group = &header.consumer_group;
    if receipt.is_order() {
        let place = place(topic, group, queue_id);
        ack_ordered(ctx, place, offset, receipt.pop_time, conn).await?;
        return Ok(answer(request));
    }
    check_revive_queue(ctx, receipt.revive_qid)?;
    let ack = ack_of(&receipt, topic, group, queue_id, offset);
    store_ack(ctx, receipt.revive_qid, &ack, receipt.revive_time(), 1).await?;
    Ok(answer(request))
}

/// BATCH_ACK_MESSAGE (200151). What cannot be acknowledged is passed over, as in RocketMQ.
pub async fn batch_ack(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<RemotingCommand, Refusal> {
    if request.body.is_empty() {
        return Err(Refusal::new(ResponseCode::NoMessage, ""));
    }
    let body: BatchAckMessageRequestBody = read_json(request)?;
    if body.acks.is_empty() {
        return Err(Refusal::new(ResponseCode::NoMessage, ""));
    }
    for ack in &body.acks {
        ack_several(ctx, ack, &body.broker_name, conn).await?;
    }
    Ok(answer(request))
}

async fn ack_several(
    ctx: &BrokerContext,
    ack: &BatchAck,
    broker_name: &str,
    conn: &ConnectionHandle,
) -> Result<(), Refusal> {
    let bad = |what: &str| Refusal::new(ResponseCode::SystemError, what.to_owned());
    let kind =
        RetryKind::from_text(&ack.retry).ok_or_else(|| bad("getRetry fail, format is wrong"))?;
    let topic = kind.real_topic(&ack.topic, &ack.consumer_group);
    let queue_id = ack.queue_id;
    if ctx.store.table.get(&topic, queue_id).is_none() {
        log::debug!("a batch acknowledgement for no queue topic={topic} queue={queue_id}");
        return Ok(());
    }
    let (min, max) = range_of(ctx, &topic, queue_id);
    let offsets = ack
        .offsets()
        .ok_or_else(|| bad("the bit set is no Base64"))?;
    let known = offsets
        .into_iter()
        .filter(|offset| (min..=max).contains(offset));
    let offsets: Vec<i64> = known.collect();
    if ack.revive_queue_id == ORDER_REVIVE_QUEUE {
        for offset in offsets {
            let place = place(&topic, &ack.consumer_group, queue_id);
            ack_ordered(ctx, place, offset, ack.pop_time, conn).await?;
        }
        return Ok(());
    }
    if offsets.is_empty() {
        return Ok(());
    }
    check_revive_queue(ctx, ack.revive_queue_id)?;
    let messages = offsets.len();
    let record = AckMsg {
        ack_offset: -1,
        ack_offset_list: Some(offsets),
        broker_name: Some(broker_name.to_owned()),
        consumer_group: ack.consumer_group.clone(),
        pop_time: ack.pop_time,
        queue_id,
        start_offset: ack.start_offset,
        topic,
    };
    let due = ack.pop_time.saturating_add(ack.invisible_time);
    store_ack(ctx, ack.revive_queue_id, &record, due, messages).await
}

/// The acknowledgement of one message by its receipt.
fn ack_of(receipt: &Receipt, topic: &str, group: &str, queue_id: i32, offset: i64) -> AckMsg {
    AckMsg {
        ack_offset: offset,
        ack_offset_list: None,
        broker_name: Some(receipt.broker_name.clone()),
        consumer_group: group.to_owned(),
        pop_time: receipt.pop_time,
        queue_id,
        start_offset: receipt.start_offset,
        topic: topic.to_owned(),
    }
}

async fn store_ack(
    ctx: &BrokerContext,
    revive_queue: i32,
    ack: &AckMsg,
    due: i64,
    messages: usize,
) -> Result<(), Refusal> {
    let parts = &ctx.pops.parts;
    let record = parts.log.ack(revive_queue, ack, due)?;
    parts.log.append(vec![record]).await?;
    ctx.stats
        .acknowledged(&ack.topic, &ack.consumer_group, messages);
    let (topic, group) = (&ack.topic, &ack.consumer_group);
    parts
        .in_flight
        .settled(topic, group, ack.queue_id, ack.pop_time, messages);
    Ok(())
}

fn place(topic: &str, group: &str, queue_id: i32) -> Whom {
    Whom {
        topic: detached(topic),
        group: detached(group),
        queue_id,
        order: true,
        attempt_id: None,
    }
}

async fn ack_ordered(
    ctx: &BrokerContext,
    whom: Whom,
    offset: i64,
    pop_time: i64,
    conn: &ConnectionHandle,
) -> Result<(), Refusal> {
    let (topic, group, queue_id) = (whom.topic.clone(), whom.group.clone(), whom.queue_id);
    let unknown = || Refusal::new(ResponseCode::SystemError, "outcome unknown");
    let shard = ctx.pops.shard(&topic, &group).ok_or_else(unknown)?;
    let ack = AckOrdered {
        whom,
        offset,
        pop_time,
    };
    match shard.ask(ack).await.map_err(|_| unknown())? {
        OrderAnswer::Done => {
            ctx.stats.acknowledged(&topic, &group, 1);
            let in_flight = &ctx.pops.parts.in_flight;
            in_flight.settled(&topic, &group, queue_id, pop_time, 1);
            Ok(())
        }
        OrderAnswer::Past => Ok(()),
        OrderAnswer::Illegal(old) => {
            let peer = conn.peer;
            let remark = format!(
                "offset is illegal, key:{topic}@{group}@{queue_id}, old:{old}, commit:{offset}, \
                 next:-1, /{peer}"
            );
            Err(Refusal::new(ResponseCode::MessageIllegal, remark))
        }
    }
}

/// CHANGE_MESSAGE_INVISIBLETIME (200053): a new check point for one message, and the old one is
/// acknowledged. Both are stored with one append, in this order.
pub async fn change_invisible(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<RemotingCommand, Refusal> {
    let header: ChangeInvisibleTimeRequestHeader = decode(request)?;
    Ok(match hide_either(ctx, &header, conn).await {
        Ok(told) => answer(request).with_remark(NOTHING_SAID).with_header(&told),
        Err(refusal) => {
            let empty = ChangeInvisibleTimeResponseHeader::default();
            refused(request, &refusal).with_header(&empty)
        }
    })
}

async fn hide_either(
    ctx: &BrokerContext,
    header: &ChangeInvisibleTimeRequestHeader,
    conn: &ConnectionHandle,
) -> Result<ChangeInvisibleTimeResponseHeader, Refusal> {
    let (topic, queue_id, offset) = (&header.topic, header.queue_id, header.offset);
    check_queue(ctx, topic, queue_id, conn)?;
    let (min, max) = range_of(ctx, topic, queue_id);
    if offset < min || offset >= max {
        return Err(Refusal::new(ResponseCode::NoMessage, NOTHING_SAID));
    }
    let receipt = receipt_of(&header.extra_info)?;
    let now = now_ms();
    if receipt.is_order() {
        return hide_ordered(ctx, header, &receipt, now).await;
    }
    check_revive_queue(ctx, receipt.revive_qid)?;
    hide(ctx, header, &receipt, now).await?;
    Ok(ChangeInvisibleTimeResponseHeader {
        pop_time: now,
        invisible_time: header.invisible_time,
        revive_qid: receipt.revive_qid,
    })
}

async fn hide(
    ctx: &BrokerContext,
    header: &ChangeInvisibleTimeRequestHeader,
    receipt: &Receipt,
    now: i64,
) -> Result<(), Refusal> {
    let parts = &ctx.pops.parts;
    let (topic, group) = (&header.topic, &header.consumer_group);
    let point = PopCheckPoint {
        broker_name: Some(receipt.broker_name.clone()),
        consumer_group: Some(group.to_string()),
        queue_offset_diff: Some(vec![0]),
        invisible_time: header.invisible_time,
        num: 1,
        pop_time: now,
        queue_id: header.queue_id,
        revive_time: now.saturating_add(header.invisible_time),
        start_offset: header.offset,
        topic: Some(topic.to_string()),
        ..PopCheckPoint::default()
    };
    let old = ack_of(receipt, topic, group, header.queue_id, header.offset);
    let queue = receipt.revive_qid;
    let records = vec![
        parts.log.check_point(queue, &point)?,
        parts.log.ack(queue, &old, receipt.revive_time())?,
    ];
    parts.log.append(records).await
}

async fn hide_ordered(
    ctx: &BrokerContext,
    header: &ChangeInvisibleTimeRequestHeader,
    receipt: &Receipt,
    now: i64,
) -> Result<ChangeInvisibleTimeResponseHeader, Refusal> {
    let unknown = || Refusal::new(ResponseCode::SystemError, "outcome unknown");
    let (topic, group) = (&header.topic, &header.consumer_group);
    let visible_at = now.saturating_add(header.invisible_time);
    let shard = ctx.pops.shard(topic, group).ok_or_else(unknown)?;
    let hide = HideOrdered {
        whom: place(topic, group, header.queue_id),
        offset: header.offset,
        pop_time: receipt.pop_time,
        visible_at,
    };
    Ok(match shard.ask(hide).await.map_err(|_| unknown())? {
        OrderAnswer::Done => ChangeInvisibleTimeResponseHeader {
            pop_time: receipt.pop_time,
            invisible_time: visible_at.saturating_sub(receipt.pop_time),
            revive_qid: receipt.revive_qid,
        },
        OrderAnswer::Past | OrderAnswer::Illegal(_) => ChangeInvisibleTimeResponseHeader::default(),
    })
}

fn receipt_of(text: &Str) -> Result<Receipt, Refusal> {
    let receipt = text.parse();
    receipt.map_err(|error: crate::protocol::message::receipt::ReceiptError| {
        Refusal::new(ResponseCode::SystemError, error.to_string())
    })
}

/// A receipt names the queue of the revive topic: nobody reads another one.
fn check_revive_queue(ctx: &BrokerContext, revive_queue: i32) -> Result<(), Refusal> {
    if (0..ctx.pops.parts.revive_queues).contains(&revive_queue) {
        return Ok(());
    }
    let remark = format!("there is no revive queue {revive_queue}");
    Err(Refusal::new(ResponseCode::MessageIllegal, remark))
}

fn check_queue(
    ctx: &BrokerContext,
    topic: &str,
    queue_id: i32,
    conn: &ConnectionHandle,
) -> Result<(), Refusal> {
    let Some(config) = ctx.topics.get(topic) else {
        let remark = format!("topic[{topic}] not exist, apply first please! {SEE_FAQ}");
        return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
    };
    if queue_id < 0 || queue_id >= config.read_queue_nums {
        let remark = illegal_queue(queue_id, topic, config.read_queue_nums, conn.peer);
        return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
    }
    Ok(())
}

/// First and behind-the-last offset of a queue, as published: the first one may be too low while the
/// queue sleeps, and an acknowledgement of a message that is gone does no harm.
fn range_of(ctx: &BrokerContext, topic: &str, queue_id: i32) -> (i64, i64) {
    let slot = ctx.store.table.get(topic, queue_id);
    slot.map_or((0, 0), |slot| (slot.min_offset(), slot.readable_end()))
}
