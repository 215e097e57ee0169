//! Pops and questions for messages to pop: the checks of a request on the connection's thread, before
//! it goes to its shard. The rules, their order and their words are RocketMQ's
//! (`PopMessageProcessor`, `NotificationProcessor`).

use std::{net::SocketAddr, sync::Arc};

use super::{
    context::BrokerContext,
    pull::filter_of,
    refusal::{OVERLOAD, Refusal, SEE_FAQ},
    tables::attributes,
};
use crate::{
    actors::{
        delivery::pop::request::{MESSAGES_MAX, Notify, Pop, Whom},
        kernel::PermitClass,
        net::{ConnectionHandle, Responder},
    },
    protocol::{
        CommandHeader, CommandHeaderFields, RemotingCommand, RequestCode, ResponseCode, Str,
        body::heartbeat::SubscriptionData,
        header::pop::{
            NotificationRequestHeader, NotificationResponseHeader, PopMessageRequestHeader,
            PopMessageResponseHeader,
        },
        message::perm,
    },
    store::{get_message::EntryFilter, now_ms},
};

/// The longest that a request is held, whatever it asks for, ms.
const HOLD_MAX_MS: i64 = 300_000;

/// A pop that comes so long after its client's time is over is not served, ms
/// (`isTimeoutTooMuch`).
const TOO_LATE_MS: i64 = 500;

/// Takes a request of POP_MESSAGE or NOTIFICATION: sends it to its shard, or refuses it.
pub fn take(
    ctx: &Arc<BrokerContext>,
    code: RequestCode,
    request: RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) {
    let mut responder = conn.responder(&request);
    let Some(permit) = ctx.permits.try_acquire(PermitClass::HeldPulls, 1, 0) else {
        return responder.fail(ResponseCode::SystemBusy, OVERLOAD);
    };
    responder.set_permit(permit);
    let asked = match Asked::decode(code, &request) {
        Ok(asked) => asked,
        Err(error) => return responder.fail(ResponseCode::SystemError, &error.to_string()),
    };
    if ctx.subscriptions.get(asked.group()).is_some() {
        return check_and_send(ctx, asked, responder);
    }
    // The rare road: the group is made first, where that is allowed.
    let ctx = Arc::clone(ctx);
    actix_rt::spawn(async move {
        ctx.subscriptions.find(asked.group()).await;
        check_and_send(&ctx, asked, responder);
    });
}

/// A request that was read.
enum Asked {
    Pop(PopMessageRequestHeader),
    Notify(NotificationRequestHeader),
}

impl Asked {
    fn decode(
        code: RequestCode,
        request: &RemotingCommand,
    ) -> Result<Self, crate::protocol::HeaderError> {
        let fields = &request.ext_fields;
        Ok(if code == RequestCode::PopMessage {
            Self::Pop(PopMessageRequestHeader::decode(fields)?)
        } else {
            Self::Notify(NotificationRequestHeader::decode(fields)?)
        })
    }

    fn group(&self) -> &Str {
        match self {
            Self::Pop(header) => &header.consumer_group,
            Self::Notify(header) => &header.consumer_group,
        }
    }
}

/// Sends a request to its shard. A refusal has the header of an answer without anything in it.
fn check_and_send(ctx: &BrokerContext, asked: Asked, responder: Responder) {
    let (pop_header, notify_header) = (
        PopMessageResponseHeader::default(),
        NotificationResponseHeader::default(),
    );
    let (sent, empty): (_, &dyn CommandHeaderFields) = match asked {
        Asked::Pop(header) => (pop(ctx, header, responder), &pop_header),
        Asked::Notify(header) => (notify(ctx, header, responder), &notify_header),
    };
    if let Err((refusal, responder)) = sent {
        responder.answer(refusal.code, Some(&refusal.remark), Some(empty), &[], []);
    }
}

/// Until when a request may wait, ms; none if it does not want to.
fn wait_until(born: i64, poll: i64) -> Option<i64> {
    let now = now_ms();
    let born = if born == 0 { now } else { born };
    (poll > 0).then(|| born.saturating_add(poll).min(now + HOLD_MAX_MS))
}

type Sent = Result<(), (Refusal, Responder)>;

fn pop(ctx: &BrokerContext, header: PopMessageRequestHeader, responder: Responder) -> Sent {
    let filter = match check_pop(ctx, &header, responder.conn().peer) {
        Ok(filter) => filter,
        Err(refusal) => return Err((refusal, responder)),
    };
    // A frame's bytes must not live as long as a request that waits.
    let own = |text: &Str| crate::protocol::detached(text);
    let pop = Pop {
        max: usize::try_from(header.max_msg_nums).unwrap_or(0),
        invisible_time: header.invisible_time,
        init_mode: header.init_mode,
        filter,
        wait_until: wait_until(header.born_time, header.poll_time),
        rechecked: false,
        whom: Whom {
            topic: own(&header.topic),
            group: own(&header.consumer_group),
            queue_id: header.queue_id,
            order: header.order,
            attempt_id: header.attempt_id.as_ref().map(own),
        },
        responder,
    };
    if let Some(shard) = ctx.pops.shard(&pop.whom.topic, &pop.whom.group) {
        shard.tell(pop);
    }
    Ok(())
}

fn check_pop(
    ctx: &BrokerContext,
    header: &PopMessageRequestHeader,
    peer: SocketAddr,
) -> Result<EntryFilter, Refusal> {
    let config = ctx.config.load();
    let ip = &config.broker.broker_ip1;
    let now = now_ms();
    let born = if header.born_time == 0 {
        now
    } else {
        header.born_time
    };
    if now.saturating_sub(born).saturating_sub(header.poll_time) > TOO_LATE_MS {
        let remark = format!("the broker[{ip}] pop message is timeout too much");
        return Err(Refusal::new(ResponseCode::PollingTimeout, remark));
    }
    if !perm::is_readable(config.broker.broker_permission) {
        let remark = format!("the broker[{ip}] pop message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if header.max_msg_nums > MESSAGES_MAX {
        let remark = format!("the broker[{ip}] pop message's num is greater than 32");
        return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    }
    if !config.store.timer_wheel_enable {
        let remark =
            format!("the broker[{ip}] pop message is forbidden because timerWheelEnable is false");
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    let hidden_max = ctx.timed.load().delay_max_ms;
    if !header.order && header.invisible_time > hidden_max {
        // RocketMQ gives the messages away and never stores their check point.
        let remark = format!("invisibleTime is greater than {hidden_max}");
        return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    }
    let (topic, group) = (&header.topic, &header.consumer_group);
    check_place(ctx, topic, group, header.queue_id, peer)?;
    let expression = header.exp.as_deref().filter(|text| !text.is_empty());
    let kind = header.exp_type.as_deref().filter(|_| expression.is_some());
    let text = expression.unwrap_or("*");
    let bad = || {
        let remark = "parse the consumer's subscription failed";
        Refusal::new(ResponseCode::SubscriptionParseFailed, remark)
    };
    let data = SubscriptionData::build(topic, text, kind, now).map_err(|_| bad())?;
    // For tools that ask what a group reads (`compensateSubscribeData`).
    ctx.consumers.note_pull(group, topic, text, || data.clone());
    filter_of(ctx, &data).ok_or_else(bad)
}

/// Whether a group may read a queue of a topic; a negative queue is all of them. Shared by the
/// requests of this family, and in their common order.
///
/// # Errors
/// The refusal to answer with.
pub fn check_place(
    ctx: &BrokerContext,
    topic: &str,
    group: &str,
    queue_id: i32,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    check_queue(ctx, topic, queue_id, peer)?;
    let Some(config) = ctx.subscriptions.get(group) else {
        let remark = format!("subscription group [{group}] does not exist, {SEE_FAQ}");
        return Err(Refusal::new(
            ResponseCode::SubscriptionGroupNotExist,
            remark,
        ));
    };
    if !config.consume_enable {
        let remark = format!("subscription group no permission, {group}");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    Ok(())
}

fn check_queue(
    ctx: &BrokerContext,
    topic: &str,
    queue_id: i32,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    let Some(config) = ctx.topics.get(topic) else {
        let remark = format!("topic[{topic}] not exist, apply first please! {SEE_FAQ}");
        return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
    };
    if let Some(what) = attributes::not_built(&config.attributes) {
        return Err(Refusal::not_built(topic, what));
    }
    if config.is_batch_cq() {
        // RocketMQ pops the records, and its clients do not unwrap them.
        let what = "to pop from queue.type=BatchCQ";
        return Err(Refusal::not_built(topic, what));
    }
    if !perm::is_readable(config.perm) {
        let remark = format!("the topic[{topic}] peeking message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if queue_id >= config.read_queue_nums {
        return Err(Refusal::new(
            ResponseCode::InvalidParameter,
            illegal_queue(queue_id, topic, config.read_queue_nums, peer),
        ));
    }
    Ok(())
}

/// RocketMQ's words about a queue that a topic does not have.
pub fn illegal_queue(queue_id: i32, topic: &str, read_queues: i32, peer: SocketAddr) -> String {
    format!(
        "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{read_queues}] \
         consumer:[/{peer}]"
    )
}

fn notify(ctx: &BrokerContext, header: NotificationRequestHeader, responder: Responder) -> Sent {
    let (topic, group) = (&header.topic, &header.consumer_group);
    if let Err(refusal) = check_peek(ctx, topic, group, header.queue_id, responder.conn().peer) {
        return Err((refusal, responder));
    }
    let own = |text: &Str| crate::protocol::detached(text);
    let notify = Notify {
        whom: Whom {
            topic: own(topic),
            group: own(group),
            queue_id: header.queue_id,
            order: header.order,
            attempt_id: header.attempt_id.as_ref().map(own),
        },
        wait_until: wait_until(header.born_time, header.poll_time),
        responder,
    };
    if let Some(shard) = ctx.pops.shard(&notify.whom.topic, &notify.whom.group) {
        shard.tell(notify);
    }
    Ok(())
}

/// The checks of requests that look at messages and take none.
///
/// # Errors
/// The refusal to answer with.
pub fn check_peek(
    ctx: &BrokerContext,
    topic: &str,
    group: &str,
    queue_id: i32,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    let config = ctx.config.load();
    if !perm::is_readable(config.broker.broker_permission) {
        let ip = &config.broker.broker_ip1;
        let remark = format!("the broker[{ip}] peeking message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    check_place(ctx, topic, group, queue_id, peer)
}
