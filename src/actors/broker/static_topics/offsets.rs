//! Offsets of groups in logic queues: codes 14 and 15 (`ConsumerManageProcessor`). They are kept as
//! physical offsets, by whoever keeps the stretch that they lie in.

use super::Led;
use crate::{
    actors::broker::{context::BrokerContext, refusal::Refusal},
    protocol::{
        RequestCode, ResponseCode,
        body::topic_queue_mapping::LogicQueueMappingItem,
        header::offset::{
            OffsetResponseHeader, QueryConsumerOffsetRequestHeader,
            UpdateConsumerOffsetRequestHeader,
        },
    },
};

use super::forward::success;

impl Led {
    /// The stretch of a queue that was never moved: its offsets are those of the physical queue.
    pub fn only_stretch(&self) -> Option<&LogicQueueMappingItem> {
        match self.items() {
            [only] if only.logic_offset == 0 && only.start_offset == 0 => Some(only),
            _ => None,
        }
    }
}

/// The logic offset of a group: the one in the newest stretch that it has one in.
///
/// # Errors
/// QUERY_NOT_FOUND, and when a broker that may know does not answer.
pub async fn committed(
    ctx: &BrokerContext,
    led: &Led,
    header: &QueryConsumerOffsetRequestHeader,
) -> Result<i64, Refusal> {
    let (group, topic) = (&header.consumer_group, &header.topic);
    // Nobody was ever told an offset of a stretch without a place.
    for item in led.items().iter().rev().filter(|item| item.is_placed()) {
        let found = match led.is_here(item) {
            true => ctx.offsets.query(group, topic, item.queue_id),
            false => committed_there(ctx, item, header).await?,
        };
        if let Some(offset) = found.filter(|&offset| offset >= 0) {
            return Ok(item.static_offset(offset));
        }
    }
    let remark = "Not found, maybe this group consumer boot first";
    Err(Refusal::new(ResponseCode::QueryNotFound, remark))
}

async fn committed_there(
    ctx: &BrokerContext,
    item: &LogicQueueMappingItem,
    header: &QueryConsumerOffsetRequestHeader,
) -> Result<Option<i64>, Refusal> {
    let asked = QueryConsumerOffsetRequestHeader {
        queue_id: item.queue_id,
        set_zero_if_not_found: Some(false),
        ..header.clone()
    };
    let forwarder = &ctx.static_topics.forwarder;
    let code = RequestCode::QueryConsumerOffset;
    let answer = forwarder.ask(&item.bname, code, &asked).await?;
    if answer.code == ResponseCode::QueryNotFound.code() {
        return Ok(None);
    }
    let answer = success(&item.bname, answer)?;
    let header: Result<OffsetResponseHeader, _> = answer.decode_header();
    Ok(header.ok().map(|header| header.offset))
}

/// Where a commit of a logic offset belongs: the stretch, and the physical offset there. One before the
/// first stretch is the beginning of that.
///
/// # Errors
/// When no stretch has its place yet.
pub fn place(led: &Led, logic_offset: i64) -> Result<(&LogicQueueMappingItem, i64), Refusal> {
    let item = led.at(logic_offset)?;
    let offset = item.physical_offset(logic_offset).max(item.start_offset);
    Ok((item, offset))
}

/// Makes a commit of a logic offset one of a physical offset. Where another broker keeps that, it is
/// committed there: true then.
///
/// # Errors
/// When that broker does not take it.
pub async fn commit(
    ctx: &BrokerContext,
    led: &Led,
    header: &mut UpdateConsumerOffsetRequestHeader,
) -> Result<bool, Refusal> {
    let (item, offset) = place(led, header.commit_offset)?;
    header.queue_id = item.queue_id;
    header.commit_offset = offset;
    if led.is_here(item) {
        return Ok(false);
    }
    let code = RequestCode::UpdateConsumerOffset;
    let forwarder = &ctx.static_topics.forwarder;
    success(&item.bname, forwarder.ask(&item.bname, code, header).await?)?;
    Ok(true)
}
