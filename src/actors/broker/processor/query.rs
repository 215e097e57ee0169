//! Queries: messages by key and by id, offsets of queues.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{answer, decode};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            refusal::Refusal,
            static_topics::{mapping_of, queues},
        },
        store::index::FindKey,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        header::{
            offset::{
                GetEarliestMsgStoretimeRequestHeader, GetEarliestMsgStoretimeResponseHeader,
                GetMaxOffsetRequestHeader, GetMinOffsetRequestHeader, OffsetResponseHeader,
                SearchOffsetRequestHeader,
            },
            query::{
                QueryMessageRequestHeader, QueryMessageResponseHeader, ViewMessageRequestHeader,
            },
        },
        java::IndexKeyHash,
        message::record::{CheckCrc, RecordView},
    },
    store::{
        consume_queue::{Boundary, MIN_OFFSET_BEFORE_BATCHES},
        queue_table::{QueueKind, QueueSlot},
    },
};

/// Bytes that one query answers at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024 - 64 * 1024;

/// QUERY_MESSAGE (12): messages with a key.
pub async fn query_message(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QueryMessageRequestHeader = decode(request)?;
    let unique = header.unique_key_query == Some(true);
    let config = ctx.config.load_full();
    let max = if unique {
        config.store.default_query_max_num
    } else {
        (header.max_num.max(0) as usize).min(config.store.max_msgs_num_batch)
    };
    let by_tag = header.index_type.as_deref() == Some("T");
    let hash = if by_tag {
        IndexKeyHash::of(&header.topic).tags(&header.key)
    } else {
        IndexKeyHash::of(&header.topic).key(&header.key)
    };
    let find = FindKey {
        hash,
        max,
        begin: header.begin_timestamp,
        end: header.end_timestamp,
    };
    let found = match &ctx.store.index {
        Some(index) => index.ask(find).await.unwrap_or_default(),
        None => Default::default(),
    };
    let mut offsets = found.offsets;
    offsets.sort_unstable();
    let mut body = BytesMut::new();
    for offset in offsets {
        if let Some(record) = ctx.store.watermarks.log().record_at(offset)
            && body.len() + record.len() <= ANSWER_BYTES_MAX
        {
            body.extend_from_slice(&record);
        }
    }
    if body.is_empty() {
        // Only what was found tells how far the index is.
        let nothing = QueryMessageResponseHeader {
            index_last_update_timestamp: 0,
            index_last_update_phy_offset: 0,
        };
        return Ok(
            RemotingCommand::response(request, ResponseCode::QueryNotFound)
                .with_header(&nothing)
                .with_remark("can not find message, maybe time range not correct"),
        );
    }
    let answered = QueryMessageResponseHeader {
        index_last_update_timestamp: found.last_timestamp,
        index_last_update_phy_offset: found.last_physical,
    };
    Ok(answer(request)
        .with_header(&answered)
        .with_body(body.freeze()))
}

/// VIEW_MESSAGE_BY_ID (33): the message at a place of the log.
pub async fn view_message(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: ViewMessageRequestHeader = decode(request)?;
    match whole_record(ctx, header.offset) {
        Some(record) => Ok(answer(request).with_body(record)),
        None => {
            let remark = format!("can not find message by the offset, {}", header.offset);
            Err(Refusal::new(ResponseCode::SystemError, remark))
        }
    }
}

/// The record at a physical offset, if that is where one starts: the offset comes from outside, so
/// that the record is checked as if it came from there, too.
pub fn whole_record(ctx: &BrokerContext, offset: i64) -> Option<Bytes> {
    let visible = ctx.store.watermarks.visible();
    let record = ctx.store.watermarks.log().record_at(offset)?;
    let view = RecordView::parse(&record, CheckCrc::Body).ok()?;
    let whole = view.physical_offset == offset && offset + record.len() as i64 <= visible;
    whole.then_some(record)
}

/// The queue's slot, if it ever held a message.
fn slot_of(ctx: &BrokerContext, topic: &str, queue_id: i32) -> Option<Arc<QueueSlot>> {
    ctx.store.table.get(topic, queue_id)
}

/// First and behind-the-last offset of a queue; zeros for one that never held a message.
pub async fn queue_range(ctx: &BrokerContext, topic: &str, queue_id: i32) -> (i64, i64) {
    let Some(slot) = slot_of(ctx, topic, queue_id) else {
        return (0, 0);
    };
    let known = (slot.min_offset(), slot.readable_end());
    ctx.store
        .shards
        .inspect(slot, |view| view.range())
        .await
        .unwrap_or(known)
}

/// Store time (ms) of the message at an offset of a queue.
pub async fn store_time(
    ctx: &BrokerContext,
    topic: &str,
    queue_id: i32,
    offset: i64,
) -> Option<i64> {
    let slot = slot_of(ctx, topic, queue_id)?;
    ctx.store
        .shards
        .inspect(slot, move |view| view.store_time(offset))
        .await
        .ok()
        .flatten()
}

/// The offset whose message was stored around a time (ms); 0 for a queue without messages.
pub async fn offset_by_time(
    ctx: &BrokerContext,
    topic: &str,
    queue_id: i32,
    timestamp: i64,
    boundary: Boundary,
) -> i64 {
    let Some(slot) = slot_of(ctx, topic, queue_id) else {
        return 0;
    };
    let looked = ctx
        .store
        .shards
        .inspect(slot, move |view| view.offset_by_time(timestamp, boundary));
    looked.await.ok().and_then(Result::ok).unwrap_or(0)
}

/// Store time (ms) of the first message of a queue; -1 for one without messages.
pub async fn earliest(ctx: &BrokerContext, topic: &str, queue_id: i32) -> i64 {
    let (min, _) = queue_range(ctx, topic, queue_id).await;
    let found = store_time(ctx, topic, queue_id, min).await;
    found.unwrap_or(-1)
}

/// SEARCH_OFFSET_BY_TIMESTAMP (29).
pub async fn search_offset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: SearchOffsetRequestHeader = decode(request)?;
    let upper = header
        .boundary_type
        .as_deref()
        .is_some_and(|b| b.eq_ignore_ascii_case("upper"));
    let boundary = if upper {
        Boundary::Upper
    } else {
        Boundary::Lower
    };
    let (topic, queue_id) = (&header.topic, header.queue_id);
    let offset = match mapping_of(ctx, topic, request) {
        Some(mapping) => queues::search_offset(ctx, mapping, &header, boundary).await?,
        None => offset_by_time(ctx, topic, queue_id, header.timestamp, boundary).await,
    };
    Ok(answer(request).with_header(&OffsetResponseHeader { offset }))
}

/// GET_MAX_OFFSET (30).
pub async fn max_offset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetMaxOffsetRequestHeader = decode(request)?;
    let offset = match mapping_of(ctx, &header.topic, request) {
        Some(mapping) => queues::max_offset(ctx, mapping, &header).await?,
        None => queue_range(ctx, &header.topic, header.queue_id).await.1,
    };
    Ok(answer(request).with_header(&OffsetResponseHeader { offset }))
}

/// GET_MIN_OFFSET (31).
pub async fn min_offset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetMinOffsetRequestHeader = decode(request)?;
    let offset = match mapping_of(ctx, &header.topic, request) {
        Some(mapping) => queues::min_offset(ctx, mapping, &header).await?,
        None => {
            let (min, max) = queue_range(ctx, &header.topic, header.queue_id).await;
            match ctx.store.table.kind_of(&header.topic) {
                QueueKind::Batch if max == 0 => MIN_OFFSET_BEFORE_BATCHES,
                _ => min,
            }
        }
    };
    Ok(answer(request).with_header(&OffsetResponseHeader { offset }))
}

/// GET_EARLIEST_MSG_STORETIME (32).
pub async fn earliest_store_time(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetEarliestMsgStoretimeRequestHeader = decode(request)?;
    let timestamp = match mapping_of(ctx, &header.topic, request) {
        Some(mapping) => queues::earliest_store_time(ctx, mapping, &header).await?,
        None => earliest(ctx, &header.topic, header.queue_id).await,
    };
    Ok(answer(request).with_header(&GetEarliestMsgStoretimeResponseHeader { timestamp }))
}
