//! Offsets of logic queues: codes 29 to 32 (`AdminBrokerProcessor`).

use futures_util::future::{join, try_join};

use super::{Led, forward::Forwarder, not_leader};
use crate::{
    actors::broker::{context::BrokerContext, processor::query, refusal::Refusal},
    protocol::{
        RequestCode, Str,
        body::topic_queue_mapping::{LogicQueueMappingItem, TopicQueueMappingDetail},
        header::offset::{
            GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
            GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader, OffsetResponseHeader,
            SearchOffsetRequestHeader,
        },
    },
    store::consume_queue::Boundary,
};
use std::sync::Arc;

/// A stretch of a logic queue, here or at another broker: its physical offsets.
struct Stretch<'a> {
    ctx: &'a BrokerContext,
    topic: &'a Str,
    item: &'a LogicQueueMappingItem,
    is_here: bool,
}

impl<'a> Stretch<'a> {
    fn new(
        ctx: &'a BrokerContext,
        topic: &'a Str,
        led: &Led,
        item: &'a LogicQueueMappingItem,
    ) -> Self {
        let is_here = led.is_here(item);
        Self {
            ctx,
            topic,
            item,
            is_here,
        }
    }

    fn forwarder(&self) -> &Forwarder {
        &self.ctx.static_topics.forwarder
    }

    async fn max(&self) -> Result<i64, Refusal> {
        let (topic, queue_id) = (self.topic, self.item.queue_id);
        if self.is_here {
            return Ok(query::queue_range(self.ctx, topic, queue_id).await.1);
        }
        let header = GetMaxOffsetRequestHeader {
            topic: topic.clone(),
            queue_id,
            committed: true,
        };
        self.ask(RequestCode::GetMaxOffset, &header).await
    }

    async fn min(&self) -> Result<i64, Refusal> {
        let (topic, queue_id) = (self.topic, self.item.queue_id);
        if self.is_here {
            return Ok(query::queue_range(self.ctx, topic, queue_id).await.0);
        }
        let header = GetMinOffsetRequestHeader {
            topic: topic.clone(),
            queue_id,
        };
        self.ask(RequestCode::GetMinOffset, &header).await
    }

    async fn range(&self) -> Result<(i64, i64), Refusal> {
        if self.is_here {
            return Ok(query::queue_range(self.ctx, self.topic, self.item.queue_id).await);
        }
        try_join(self.min(), self.max()).await
    }

    /// The first message that was stored at a time or later; one behind the last if there is none.
    async fn first_since(&self, timestamp: i64) -> Result<i64, Refusal> {
        let (topic, queue_id) = (self.topic, self.item.queue_id);
        if self.is_here {
            let lower = Boundary::Lower;
            return Ok(query::offset_by_time(self.ctx, topic, queue_id, timestamp, lower).await);
        }
        let header = SearchOffsetRequestHeader {
            topic: topic.clone(),
            queue_id,
            timestamp,
            boundary_type: Some(Str::from("lower")),
        };
        self.ask(RequestCode::SearchOffsetByTimestamp, &header)
            .await
    }

    async fn ask(
        &self,
        code: RequestCode,
        header: &impl crate::protocol::CommandHeader,
    ) -> Result<i64, Refusal> {
        let asked = self.forwarder().expect(&self.item.bname, code, header);
        let answer: OffsetResponseHeader = asked.await?;
        Ok(answer.offset)
    }
}

/// GET_MAX_OFFSET (30) of a logic queue: where the last stretch with a place in it ends.
///
/// While that is an old one, RocketMQ asks it for the end of the queue of the new one.
///
/// # Errors
/// When this broker does not lead the queue, or the one with that stretch does not answer.
pub async fn max_offset(
    ctx: &BrokerContext,
    mapping: Arc<TopicQueueMappingDetail>,
    header: &GetMaxOffsetRequestHeader,
) -> Result<i64, Refusal> {
    let led = Led::of(mapping, header.queue_id)?;
    let last = led.at(i64::MAX)?;
    let max = Stretch::new(ctx, &header.topic, &led, last).max().await?;
    Ok(last.static_offset(max))
}

/// GET_MIN_OFFSET (31) of a logic queue: where its first stretch begins.
///
/// # Errors
/// As [`max_offset`].
pub async fn min_offset(
    ctx: &BrokerContext,
    mapping: Arc<TopicQueueMappingDetail>,
    header: &GetMinOffsetRequestHeader,
) -> Result<i64, Refusal> {
    let bname = mapping.bname.clone();
    let led = Led::of(mapping, header.queue_id).map_err(|_| {
        let (topic, queue) = (&header.topic, header.queue_id);
        let code = RequestCode::GetMinOffset.code();
        not_leader(format!(
            "{topic}-{queue} is not leader in broker {bname}, request code {code}"
        ))
    })?;
    let first = led.at(0)?;
    let min = Stretch::new(ctx, &header.topic, &led, first).min().await?;
    Ok(first.static_offset_loosely(min))
}

/// GET_EARLIEST_MSG_STORETIME (32) of a logic queue: of the first message of its first stretch, -1
/// without one. RocketMQ asks for the queue with the logic queue's number, and itself as well.
///
/// # Errors
/// As [`max_offset`].
pub async fn earliest_store_time(
    ctx: &BrokerContext,
    mapping: Arc<TopicQueueMappingDetail>,
    header: &GetEarliestMsgStoretimeRequestHeader,
) -> Result<i64, Refusal> {
    let led = Led::of(mapping, header.queue_id)?;
    let first = led.at(0)?;
    if led.is_here(first) {
        return Ok(query::earliest(ctx, &header.topic, first.queue_id).await);
    }
    let header = GetEarliestMsgStoretimeRequestHeader {
        topic: header.topic.clone(),
        queue_id: first.queue_id,
    };
    let forwarder = &ctx.static_topics.forwarder;
    let code = RequestCode::GetEarliestMsgStoretime;
    let asked = forwarder.expect(&first.bname, code, &header);
    let answer: GetEarliestMsgStoretimeResponseHeader = asked.await?;
    Ok(answer.timestamp)
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29) of a logic queue: in the first stretch with a message of that time or
/// later; with `Upper` the last message of that time or earlier, wherever it is.
///
/// RocketMQ takes the last stretch that answers at all, and a physical offset 0 for a logic one.
///
/// # Errors
/// As [`max_offset`].
pub async fn search_offset(
    ctx: &BrokerContext,
    mapping: Arc<TopicQueueMappingDetail>,
    header: &SearchOffsetRequestHeader,
    boundary: Boundary,
) -> Result<i64, Refusal> {
    let led = Led::of(mapping, header.queue_id)?;
    let since = match boundary {
        Boundary::Lower => header.timestamp,
        Boundary::Upper => header.timestamp.saturating_add(1),
    };
    let mut placed = led
        .items()
        .iter()
        .filter(|item| item.is_placed())
        .peekable();
    let mut last_before = None;
    while let Some(item) = placed.next() {
        let stretch = Stretch::new(ctx, &header.topic, &led, item);
        let (found, range) = join(stretch.first_since(since), stretch.range()).await;
        let (found, (min, max)) = (found?, range?);
        if found > min {
            last_before = Some(item.static_offset(found.saturating_sub(1)));
        }
        if found < max || placed.peek().is_none() {
            return Ok(match boundary {
                Boundary::Lower => item.static_offset(found),
                Boundary::Upper => last_before.unwrap_or(item.static_offset(min)),
            });
        }
    }
    // None has its place yet.
    Ok(-1)
}
