//! Pulls of logic queues (`PullMessageProcessor.rewriteRequestForStaticTopic`).

use std::{sync::Arc, time::Duration};

use super::{Led, not_leader, offsets};
use crate::{
    actors::{
        broker::{context::BrokerContext, refusal::Refusal},
        net::Responder,
        store::pull::LogicPull,
    },
    protocol::{
        RemotingCommand, RequestCode, ResponseCode,
        body::{route::MASTER_ID, topic_queue_mapping::TopicQueueMappingDetail},
        header::pull::{PullMessageRequestHeader, PullMessageResponseHeader},
        message::sys_flag::pull::{COMMIT_OFFSET, SUSPEND},
        static_topic::read::PullOffsets,
    },
};

/// Where a pull of a logic queue is answered.
pub enum Place {
    /// Here: it is one of a physical queue now.
    Here(LogicPull),
    /// At the broker of this name, which keeps that stretch.
    There(LogicPull, String),
}

/// Makes a pull of a logic queue one of a physical queue.
///
/// # Errors
/// NOT_LEADER_FOR_QUEUE: also a consumer in order, which locks its queue at the leader, is to ask there.
pub fn place(
    mapping: Arc<TopicQueueMappingDetail>,
    header: &mut PullMessageRequestHeader,
) -> Result<Place, Refusal> {
    let (topic, queue, bname) = (&header.topic, header.queue_id, mapping.bname.clone());
    let led = Led::of(mapping, queue).map_err(|_| {
        not_leader(format!(
            "{topic}-{queue} cannot find mapping item in request process of current broker {bname}"
        ))
    })?;
    let item = led.at(header.queue_offset)?;
    header.queue_id = item.queue_id;
    header.queue_offset = item.physical_offset(header.queue_offset);
    if item.has_end() {
        let len = item.end_offset.saturating_sub(item.start_offset);
        let len = i32::try_from(len).unwrap_or(i32::MAX);
        header.max_msg_nums = header.max_msg_nums.min(len);
    }
    let generation = item.r#gen;
    let elsewhere = (!led.is_here(item)).then(|| item.bname.clone());
    let Led { mapping, queue } = led;
    let logic = LogicPull::Logic {
        mapping,
        queue,
        generation,
    };
    Ok(match elsewhere {
        None => Place::Here(logic),
        Some(broker) => Place::There(logic, broker),
    })
}

/// Commits the logic offset that comes with a pull, if this broker keeps the stretch that it lies in;
/// else the client does that by itself, a few seconds later. (RocketMQ commits the logic offset as a
/// physical one.)
pub fn commit(ctx: &BrokerContext, header: &PullMessageRequestHeader, logic: &LogicPull) {
    let LogicPull::Logic { mapping, queue, .. } = logic else {
        return;
    };
    let Ok(led) = Led::of(Arc::clone(mapping), *queue) else {
        return;
    };
    if let Ok((item, offset)) = offsets::place(&led, header.commit_offset)
        && led.is_here(item)
    {
        let (group, topic) = (&header.consumer_group, &header.topic);
        ctx.offsets.commit(group, topic, item.queue_id, offset);
    }
}

/// Has another broker answer a pull of a stretch that it keeps, in a task of its own that holds the pull's
/// permit. It does not hold the pull, nor commit an offset: what is new comes here.
pub fn forward(
    ctx: &Arc<BrokerContext>,
    mut header: PullMessageRequestHeader,
    logic: LogicPull,
    broker: String,
    responder: Responder,
) {
    let may_wait = header.sys_flag & SUSPEND != 0;
    header.sys_flag &= !(SUSPEND | COMMIT_OFFSET);
    let ctx = Arc::clone(ctx);
    actix_rt::spawn(async move {
        match ask(&ctx, &header, &logic, &broker).await {
            Ok((code, answered, answer)) => {
                if code == ResponseCode::PullNotFound && may_wait {
                    // The next stretch has no place yet: its readers should not ask all the time.
                    actix_rt::time::sleep(pause(&ctx, &header)).await;
                }
                let is_found = code == ResponseCode::Success;
                let remark = is_found.then_some("");
                responder.answer(code, remark, Some(&answered), &[], [answer.body]);
            }
            Err(refusal) => responder.fail(refusal.code, &refusal.remark),
        }
    });
}

fn pause(ctx: &BrokerContext, header: &PullMessageRequestHeader) -> Duration {
    let short = ctx.config.load().broker.short_polling_time_ms;
    let asked = header.suspend_timeout_millis.min(short);
    Duration::from_millis(u64::try_from(asked).unwrap_or(0))
}

/// The answer of another broker, its offsets made logic ones.
async fn ask(
    ctx: &BrokerContext,
    header: &PullMessageRequestHeader,
    logic: &LogicPull,
    broker: &str,
) -> Result<(ResponseCode, PullMessageResponseHeader, RemotingCommand), Refusal> {
    let forwarder = &ctx.static_topics.forwarder;
    let code = RequestCode::PullMessage;
    let answer = forwarder.ask(broker, code, header).await?;
    let code = answer.response_code().filter(|code| {
        matches!(
            code,
            ResponseCode::Success
                | ResponseCode::PullNotFound
                | ResponseCode::PullRetryImmediately
                | ResponseCode::PullOffsetMoved
        )
    });
    let decoded = answer.decode_header::<PullMessageResponseHeader>();
    let (Some(code), Ok(mut answered)) = (code, decoded) else {
        let (code, remark) = (answer.code, answer.remark.unwrap_or_default());
        let remark = format!("broker {broker} answered a pull with code {code}: {remark}");
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    let physical = PullOffsets {
        code,
        next_begin: answered.next_begin_offset,
        min: answered.min_offset,
        max: answered.max_offset,
    };
    let (offsets, delta) = logic.answered(Some(header.queue_offset), physical);
    answered.next_begin_offset = offsets.next_begin;
    answered.min_offset = offsets.min;
    answered.max_offset = offsets.max;
    answered.offset_delta = delta;
    // A slave of that broker is none of this one's.
    answered.suggest_which_broker_id = MASTER_ID;
    Ok((offsets.code, answered, answer))
}
