//! How far topics and groups are: codes 202, 208, 303, 317 and 321.

use std::collections::{BTreeMap, BTreeSet};

use super::{answer, decode, json, query};
use crate::{
    actors::broker::{context::BrokerContext, pull, refusal::Refusal},
    filter::bloom,
    protocol::{
        RemotingCommand, ResponseCode,
        body::{
            MessageQueue,
            heartbeat::SubscriptionData,
            offset::QueryCorrectionOffsetBody,
            query::{ConsumeQueueData, QueryConsumeQueueResponseBody, QueueTimeSpan},
            stats::{ConsumeStats, ConsumeStatsList, OffsetWrapper, TopicOffset, TopicStatsTable},
        },
        fastjson,
        header::{
            group::{
                GetConsumeStatsInBrokerHeader, GetConsumeStatsRequestHeader,
                QueryConsumeTimeSpanRequestHeader, QueryCorrectionOffsetHeader,
            },
            query::QueryConsumeQueueRequestHeader,
            topic::GetTopicStatsInfoRequestHeader,
        },
        message::names,
    },
    store::{
        consume_queue::{Extension, is_address},
        get_message::EntryFilter,
    },
};

/// Entries that one look into a queue answers at most.
const QUEUE_ENTRIES_MAX: i32 = 4096;

/// GET_TOPIC_STATS_INFO (202): offsets and last store times of a topic's queues.
///
/// Tools ask for the end of an old stretch of a static topic, to place the next one behind it: there all
/// that is stored counts, visible or not.
pub async fn topic_stats(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetTopicStatsInfoRequestHeader = decode(request)?;
    let topic = &header.topic;
    let Some(config) = ctx.topics.get(topic) else {
        return Err(no_topic(topic));
    };
    let mapping = ctx.topics.mappings().detail(topic);
    let mut table = TopicStatsTable::default();
    for queue_id in 0..config.write_queue_nums.max(config.read_queue_nums) {
        let (min, max) = query::queue_range(ctx, topic, queue_id).await;
        let is_old = mapping
            .as_ref()
            .is_some_and(|mapping| !mapping.takes_into(queue_id));
        let slot = ctx.store.table.get(topic, queue_id).filter(|_| is_old);
        let stored = slot.map_or(max, |slot| slot.next_offset());
        let last = match max > min {
            true => query::store_time(ctx, topic, queue_id, max - 1).await,
            false => None,
        };
        let queue = MessageQueue::new(topic, &ctx.identity.broker_name, queue_id);
        let offset = TopicOffset {
            last_update_timestamp: last.unwrap_or(0),
            max_offset: max.max(stored).max(0),
            min_offset: min.max(0),
        };
        table.offset_table.insert(queue, offset);
    }
    table.topic_put_tps = ctx.stats.topic_put_tps(topic);
    json(request, &table)
}

fn no_topic(topic: &str) -> Refusal {
    Refusal::new(
        ResponseCode::TopicNotExist,
        format!("topic[{topic}] not exist"),
    )
}

/// GET_CONSUME_STATS (208): how far a group is in its topics.
pub async fn consume_stats(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetConsumeStatsRequestHeader = decode(request)?;
    let group = &header.consumer_group;
    let topics: BTreeSet<String> = match (&header.topic_list, &header.topic) {
        (Some(list), _) if !list.is_empty() => list
            .split(';')
            .filter(|topic| !topic.is_empty())
            .map(str::to_owned)
            .collect(),
        (_, Some(topic)) if !topic.is_empty() => BTreeSet::from([topic.to_string()]),
        _ => topics_of(ctx, group),
    };
    let mut stats = ConsumeStats::default();
    for topic in &topics {
        // Who puts logic queues together from their stretches has to know where the group never was.
        let nowhere = match ctx.topics.mapping(topic) {
            Some(_) => -1,
            None => 0,
        };
        let one = group_progress(ctx, group, topic, nowhere).await;
        stats.consume_tps += one.consume_tps;
        stats.offset_table.extend(one.offset_table);
    }
    json(request, &stats)
}

/// The topics that a group committed offsets for.
fn topics_of(ctx: &BrokerContext, group: &str) -> BTreeSet<String> {
    let topics = ctx.offsets.table().topics_of(group);
    topics.into_iter().map(|topic| topic.to_string()).collect()
}

/// How far a group is in one topic; nothing for a topic that does not exist, or that an online
/// group no longer subscribes to. `nowhere` is told of queues that the group has no offset in.
async fn group_progress(
    ctx: &BrokerContext,
    group: &str,
    topic: &str,
    nowhere: i64,
) -> ConsumeStats {
    let mut stats = ConsumeStats::default();
    let Some(config) = ctx.topics.get(topic) else {
        return stats;
    };
    // What is popped of a topic comes back in a topic of its own, which nobody subscribes to.
    let subscribed = names::normal_topic(topic, group).unwrap_or(topic);
    if let Some(online) = ctx.consumers.get(group)
        && online.subscription(topic).is_none()
        && online.subscription(subscribed).is_none()
        && !online.subscriptions.is_empty()
    {
        return stats;
    }
    for queue_id in 0..config.read_queue_nums {
        let (_, max) = query::queue_range(ctx, topic, queue_id).await;
        let known = ctx.offsets.query(group, topic, queue_id);
        let (committed, least) = (known.unwrap_or(-1), known.map_or(nowhere, |_| 0));
        // Popped messages lie before the offset; tools show the distance as what is in flight.
        let in_flight = ctx.pops.parts.in_flight.get(topic, group, queue_id);
        let pulled = ctx
            .offsets
            .pulled(group, topic, queue_id)
            .map(|pulled| pulled.max(committed.saturating_add(in_flight)));
        let last = match committed > 0 {
            true => query::store_time(ctx, topic, queue_id, committed - 1).await,
            false => None,
        };
        let queue = MessageQueue::new(topic, &ctx.identity.broker_name, queue_id);
        let offset = OffsetWrapper {
            broker_offset: max.max(0),
            consumer_offset: committed.max(least),
            last_timestamp: last.unwrap_or(0),
            pull_offset: pulled.unwrap_or(least).max(least),
        };
        stats.offset_table.insert(queue, offset);
    }
    stats.consume_tps = ctx.stats.group_get_tps(topic, group);
    stats
}

/// GET_BROKER_CONSUME_STATS (317): how far all groups are.
pub async fn all_consume_stats(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetConsumeStatsInBrokerHeader = decode(request)?;
    let mut list = ConsumeStatsList {
        broker_addr: Some(ctx.identity.broker_addr.clone()),
        ..ConsumeStatsList::default()
    };
    let groups = ctx.subscriptions.snapshot().subscription_group_table;
    for group in groups.keys() {
        let mut of_group = Vec::new();
        for topic in topics_of(ctx, group) {
            if header.is_order && !ctx.topics.is_order(&topic) {
                continue;
            }
            let stats = group_progress(ctx, group, &topic, 0).await;
            list.total_diff += stats.total_diff();
            list.total_inflight_diff += stats.inflight_diff();
            of_group.push(stats);
        }
        list.consume_stats_list
            .push(BTreeMap::from([(group.to_string(), of_group)]));
    }
    json(request, &list)
}

/// QUERY_CORRECTION_OFFSET (308): by queue of a topic the smallest offset of all groups but some; the
/// largest number there is where the compared group is behind all of them.
pub fn correction_offsets(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QueryCorrectionOffsetHeader = decode(request)?;
    let left_out = header.filter_groups.as_deref().unwrap_or_default();
    let min_offset = |queue_id| {
        let slot = ctx.store.table.get(&header.topic, queue_id);
        slot.map_or(0, |slot| slot.min_offset())
    };
    let mut smallest = BTreeMap::new();
    for group in ctx.offsets.table().groups_of(&header.topic) {
        if left_out.split(',').any(|name| name == &*group) {
            continue;
        }
        let committed = ctx.offsets.of_group(&group, &header.topic);
        for (queue_id, offset) in committed.unwrap_or_default() {
            if offset >= min_offset(queue_id) {
                let known = smallest.entry(queue_id).or_insert(offset);
                *known = offset.min(*known);
            }
        }
    }
    let compared = ctx.offsets.of_group(&header.compare_group, &header.topic);
    for (queue_id, offset) in compared.unwrap_or_default() {
        if let Some(known) = smallest.get_mut(&queue_id)
            && *known > offset
        {
            *known = i64::MAX;
        }
    }
    let correction_offsets = smallest;
    json(request, &QueryCorrectionOffsetBody { correction_offsets })
}

/// QUERY_CONSUME_TIME_SPAN (303): the store times that a group is at.
pub async fn time_span(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QueryConsumeTimeSpanRequestHeader = decode(request)?;
    let (topic, group) = (&header.topic, &header.group);
    let Some(config) = ctx.topics.get(topic) else {
        return Err(no_topic(topic));
    };
    let mut spans = Vec::new();
    for queue_id in 0..config.write_queue_nums {
        let (min, max) = query::queue_range(ctx, topic, queue_id).await;
        let at = |offset| query::store_time(ctx, topic, queue_id, offset);
        let first = at(min).await.unwrap_or(-1);
        let last = at(max - 1).await.unwrap_or(-1);
        let committed = ctx.offsets.query(group, topic, queue_id).unwrap_or(-1);
        let consumed = match committed > 0 {
            true => at(committed - 1).await.unwrap_or(-1),
            false => first,
        };
        let delay = match committed < max {
            true => at(committed.max(min))
                .await
                .map_or(0, |time| crate::store::now_ms() - time),
            false => 0,
        };
        let queue = MessageQueue::new(topic, &ctx.identity.broker_name, queue_id);
        spans.push(QueueTimeSpan::new(queue, first, last, consumed, delay));
    }
    json(request, &serde_json::json!({ "consumeTimeSpanSet": spans }))
}

/// QUERY_CONSUME_QUEUE (321): entries of a queue.
pub async fn consume_queue(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QueryConsumeQueueRequestHeader = decode(request)?;
    let topic = header.topic.clone().unwrap_or_default();
    let Some(slot) = ctx.store.table.get(&topic, header.queue_id) else {
        let remark = format!("{}@{topic} is not exist!", header.queue_id);
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    let (from, count) = (
        header.index,
        header.count.clamp(0, QUEUE_ENTRIES_MAX) as usize,
    );
    let looked = ctx.store.shards.inspect(slot, move |view| {
        let range = view.range();
        (range, view.extended_entries(from.max(range.0), count))
    });
    let Ok(((min, max), Ok((entries, extensions)))) = looked.await else {
        let remark = "the queue's files cannot be read";
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    if entries.is_empty() && count > 0 {
        let remark = format!("Index {from} of {}@{topic} is not exist!", header.queue_id);
        return Ok(answer(request).with_remark(remark));
    }
    let group = header.consumer_group.as_deref().unwrap_or_default();
    let subscription = ctx.consumers.subscription(group, &topic);
    let filter_data = match (&header.consumer_group, &subscription) {
        (None, _) => None,
        (Some(_), None) => Some(format!("{group}@{topic} is not online!")),
        (Some(_), Some(_)) => {
            let known = ctx.filters.get(&topic, group);
            let data = known.as_ref().map(|known| &known.data);
            fastjson::to_vec_pretty(&data)
                .ok()
                .map(|text| String::from_utf8_lossy(&text).into_owned())
        }
    };
    let filter = (subscription.as_deref()).and_then(|data| known_filter(ctx, group, data));
    let mut extensions = extensions.into_iter();
    let data = entries.iter().map(|entry| {
        let extension = extensions.next().flatten();
        let extension = extension.as_ref();
        let is_lost = extension.is_none() && is_address(entry.tags_code);
        let maps = extension.filter(|own| !own.bit_map.is_empty());
        ConsumeQueueData {
            bit_map: maps.map(|own| bloom::to_text(&own.bit_map)),
            eval: extension.is_some()
                && (filter.as_ref())
                    .is_some_and(|filter| filter.matches_extended(entry.tags_code, extension)),
            extend_data_json: extension.map(extension_json),
            msg: is_lost.then(|| format!("Cq extend not exist!addr: {}", entry.tags_code)),
            physic_offset: entry.physical_offset,
            physic_size: entry.size,
            tags_code: entry.tags_code,
        }
    });
    json(
        request,
        &QueryConsumeQueueResponseBody {
            filter_data,
            max_queue_index: max,
            min_queue_index: min,
            queue_data: Some(data.collect()),
            subscription_data: subscription.map(|data| (*data).clone()),
        },
    )
    .map(|response| response.with_remark("not set any response code"))
}

/// What of a group's subscription entries tell about.
fn known_filter(ctx: &BrokerContext, group: &str, data: &SubscriptionData) -> Option<EntryFilter> {
    if data.is_tag_type() {
        return pull::filter_of(ctx, data);
    }
    ctx.filters.get(&data.topic, group)?.on_entries()
}

/// An extension as text (`CqExtUnit`).
fn extension_json(extension: &Extension) -> String {
    let mut fields = serde_json::Map::new();
    if !extension.bit_map.is_empty() {
        // As Java has them: with a sign.
        let bytes = extension.bit_map.iter().map(|byte| byte.cast_signed());
        fields.insert("filterBitMap".into(), bytes.collect());
    }
    fields.insert("msgStoreTime".into(), extension.store_time.into());
    fields.insert("size".into(), extension.encoded_len().into());
    fields.insert("tagsCode".into(), extension.tags_code.into());
    serde_json::Value::Object(fields).to_string()
}
