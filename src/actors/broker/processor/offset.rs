//! Offsets of consumer groups: query, commit, list, reset, clone (`ConsumerManageProcessor`,
//! `AdminBrokerProcessor`, `Broker2Client`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{answer, decode, json, query};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            refusal::Refusal,
            static_topics::{Led, mapping_of, offsets},
        },
        groups::Member,
    },
    protocol::{
        LanguageCode, RemotingCommand, RequestCode, ResponseCode,
        body::{
            MessageQueue,
            list::{GroupList, TopicList},
            offset::{GetConsumerStatusBody, ResetOffsetBody, ResetOffsetBodyForC},
            query::QuerySubscriptionResponseBody,
        },
        fastjson,
        header::{
            group::{
                CloneGroupOffsetRequestHeader, GetConsumerStatusRequestHeader,
                QuerySubscriptionByConsumerRequestHeader, QueryTopicsByConsumerRequestHeader,
                ResetOffsetRequestHeader,
            },
            offset::{
                OffsetResponseHeader, QueryConsumerOffsetRequestHeader,
                UpdateConsumerOffsetRequestHeader,
            },
            topic::QueryTopicConsumeByWhoRequestHeader,
        },
        java,
    },
    store::consume_queue::Boundary,
};

/// How long a client may take to tell its offsets.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

fn refuse<T>(code: ResponseCode, remark: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, remark))
}

/// QUERY_CONSUMER_OFFSET (14). A group without an offset begins at 0 while the first message of
/// the queue is still in memory, unless the client wants to know.
pub async fn query_offset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let mut header: QueryConsumerOffsetRequestHeader = decode(request)?;
    if let Some(mapping) = mapping_of(ctx, &header.topic, request) {
        let led = Led::of(mapping, header.queue_id)?;
        match led.only_stretch() {
            Some(only) => header.queue_id = only.queue_id,
            None => {
                let offset = offsets::committed(ctx, &led, &header).await?;
                return Ok(answer(request).with_header(&OffsetResponseHeader { offset }));
            }
        }
    }
    let (group, topic) = (&header.consumer_group, &header.topic);
    let offset = match ctx.offsets.query(group, topic, header.queue_id) {
        Some(offset) if offset >= 0 => offset,
        _ if header.set_zero_if_not_found == Some(false) => {
            let remark = "Not found, do not set to zero, maybe this group boot first";
            return refuse(ResponseCode::QueryNotFound, remark);
        }
        _ if ctx.store.first_in_memory(topic, header.queue_id).await => 0,
        _ => {
            let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
            return refuse(ResponseCode::QueryNotFound, remark);
        }
    };
    Ok(answer(request).with_header(&OffsetResponseHeader { offset }))
}

/// UPDATE_CONSUMER_OFFSET (15). Any offset is taken, also a smaller one; none while a reset waits
/// for the group's next pull.
pub async fn update_offset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let mut header: UpdateConsumerOffsetRequestHeader = decode(request)?;
    if let Some(mapping) = mapping_of(ctx, &header.topic, request) {
        let led = Led::of(mapping, header.queue_id)?;
        if offsets::commit(ctx, &led, &mut header).await? {
            return Ok(answer(request));
        }
    }
    let (group, topic) = (&header.consumer_group, &header.topic);
    if !ctx.subscriptions.contains(group) {
        let code = ResponseCode::SubscriptionGroupNotExist;
        return refuse(code, format!("Group {group} not exist!"));
    }
    if !ctx.topics.contains(topic) {
        return refuse(
            ResponseCode::TopicNotExist,
            format!("Topic {topic} not exist!"),
        );
    }
    if ctx
        .offsets
        .pending_reset(group, topic, header.queue_id)
        .is_some()
    {
        return Ok(answer(request).with_remark("Offset has been previously reset"));
    }
    ctx.offsets
        .commit(group, topic, header.queue_id, header.commit_offset);
    Ok(answer(request))
}

/// GET_ALL_CONSUMER_OFFSET (43).
pub async fn all_offsets(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    json(request, &ctx.offsets.snapshot())
}

/// INVOKE_BROKER_TO_RESET_OFFSET (222).
pub async fn reset_offset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: ResetOffsetRequestHeader = decode(request)?;
    log::info!(
        "broker/offsets resets group={} topic={} queue={} offset={:?} timestamp={}",
        header.group,
        header.topic,
        header.queue_id,
        header.offset,
        header.timestamp
    );
    if ctx.config.load().broker.use_server_side_reset_offset {
        let body = reset_here(ctx, &header).await?;
        return json(request, &body);
    }
    let body = offsets_to_push(ctx, &header).await?;
    push_reset(ctx, request, &header, &body)?;
    json(request, &body)
}

/// The offset at a time; behind the last message for a negative one.
async fn offset_at(ctx: &BrokerContext, topic: &str, queue_id: i32, timestamp: i64) -> i64 {
    if timestamp < 0 {
        return query::queue_range(ctx, topic, queue_id).await.1;
    }
    query::offset_by_time(ctx, topic, queue_id, timestamp, Boundary::Lower).await
}

/// Resets at the broker: the next pull of each queue is sent to its new offset.
async fn reset_here(
    ctx: &BrokerContext,
    header: &ResetOffsetRequestHeader,
) -> Result<ResetOffsetBody, Refusal> {
    let (group, topic) = (&header.group, &header.topic);
    let config = ctx.config.load_full();
    if !config.is_master() {
        return refuse(
            ResponseCode::SystemError,
            "Can not reset offset in slave broker",
        );
    }
    let Some(topic_config) = ctx.topics.get(topic) else {
        return refuse(
            ResponseCode::TopicNotExist,
            format!("Topic {topic} does not exist"),
        );
    };
    if !ctx.subscriptions.contains(group) {
        let code = ResponseCode::SubscriptionGroupNotExist;
        return refuse(code, format!("Group {group} does not exist"));
    }
    let queues = match header.queue_id {
        one if one >= 0 => one..one.saturating_add(1),
        _ => 0..topic_config.read_queue_nums,
    };
    let mut offsets = Vec::new();
    for queue_id in queues {
        let asked = header
            .offset
            .filter(|&offset| header.queue_id >= 0 && offset != -1);
        let offset = match asked {
            None => offset_at(ctx, topic, queue_id, header.timestamp).await,
            Some(offset) => {
                let (min, max) = query::queue_range(ctx, topic, queue_id).await;
                if offset < min || offset > max + 1 {
                    let remark =
                        format!("Target offset {offset} not in consume queue range [{min}-{max}]");
                    return refuse(ResponseCode::SystemError, remark);
                }
                offset
            }
        };
        offsets.push((queue_id, offset));
    }
    if offsets.is_empty() {
        return refuse(ResponseCode::SystemError, "No queues to reset.");
    }
    let mut body = ResetOffsetBody::default();
    for (queue_id, offset) in offsets {
        ctx.offsets.reset(group, topic, queue_id, offset);
        let queue = MessageQueue::new(topic, &config.broker.broker_name, queue_id);
        body.offset_table.insert(queue, offset);
    }
    Ok(body)
}

/// The older way: the offsets that the group's clients are told to go to.
async fn offsets_to_push(
    ctx: &BrokerContext,
    header: &ResetOffsetRequestHeader,
) -> Result<ResetOffsetBody, Refusal> {
    let (group, topic) = (&header.group, &header.topic);
    let Some(topic_config) = ctx.topics.get(topic) else {
        let remark =
            format!("[reset-offset] reset offset failed, no topic in this broker. topic={topic}");
        return refuse(ResponseCode::TopicNotExist, remark);
    };
    let mut body = ResetOffsetBody::default();
    for queue_id in 0..topic_config.write_queue_nums {
        let Some(committed) = ctx.offsets.query(group, topic, queue_id) else {
            let remark = format!("THe consumer group <{group}> not exist");
            return refuse(ResponseCode::SystemError, remark);
        };
        // Only -1 means the end here; RocketMQ takes other negative times as the beginning.
        let there = match header.timestamp {
            -1 => offset_at(ctx, topic, queue_id, -1).await,
            time => offset_at(ctx, topic, queue_id, time.max(0)).await.max(0),
        };
        let offset = if header.is_force || there < committed {
            there
        } else {
            committed
        };
        let queue = MessageQueue::new(topic, &ctx.identity.broker_name, queue_id);
        body.offset_table.insert(queue, offset);
    }
    Ok(body)
}

fn push_reset(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: &ResetOffsetRequestHeader,
    body: &ResetOffsetBody,
) -> Result<(), Refusal> {
    let Some(info) = ctx.consumers.get(&header.group) else {
        let remark = format!(
            "Consumer not online, so can not reset offset, Group: {} Topic: {} Timestamp: {}",
            header.group, header.topic, header.timestamp
        );
        return refuse(ResponseCode::ConsumerNotOnline, remark);
    };
    // C++ clients cannot read objects as keys.
    let bytes = if request.language == LanguageCode::CPP {
        fastjson::to_vec(&ResetOffsetBodyForC::from(body))
    } else {
        fastjson::to_vec(body)
    };
    let bytes = bytes.map_err(|e| Refusal::new(ResponseCode::SystemError, e.to_string()))?;
    let pushed = RemotingCommand::request(
        RequestCode::ResetConsumerClientOffset,
        &ResetOffsetRequestHeader {
            topic: header.topic.clone(),
            group: header.group.clone(),
            timestamp: header.timestamp,
            ..ResetOffsetRequestHeader::default()
        },
    );
    let pushed = pushed.with_body(bytes);
    for member in &info.members {
        member.conn.notify(pushed.clone());
    }
    Ok(())
}

/// INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): asks the group's clients for their offsets (221).
pub async fn consumer_status(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetConsumerStatusRequestHeader = decode(request)?;
    let Some(info) = ctx.consumers.get(&header.group) else {
        let remark = format!(
            "No Any Consumer online in the consumer group: [{}]",
            header.group
        );
        return refuse(ResponseCode::SystemError, remark);
    };
    let only = header
        .client_addr
        .as_deref()
        .filter(|client| !java::is_blank(client));
    let asked = RemotingCommand::request(
        RequestCode::GetConsumerStatusFromClient,
        &GetConsumerStatusRequestHeader {
            topic: header.topic.clone(),
            group: header.group.clone(),
            client_addr: None,
        },
    );
    let members = info.members.iter();
    let members = members.filter(|member| only.is_none_or(|only| *member.client_id == *only));
    // All at once: a client that does not answer costs its timeout only once.
    let answers = join_all(members.map(|member| ask_status(member, asked.clone()))).await;
    let consumer_table = answers.into_iter().flatten().collect();
    json(
        request,
        &GetConsumerStatusBody {
            consumer_table,
            ..Default::default()
        },
    )
}

type Status = (String, BTreeMap<MessageQueue, i64>);

async fn ask_status(member: &Arc<Member>, asked: RemotingCommand) -> Option<Status> {
    let answer = member.conn.call(asked, CLIENT_TIMEOUT).await.ok()?;
    if answer.code != ResponseCode::Success.code() || answer.body.is_empty() {
        return None;
    }
    let body: GetConsumerStatusBody = fastjson::from_slice(&answer.body).ok()?;
    Some((member.client_id.to_string(), body.message_queue_table))
}

/// QUERY_TOPIC_CONSUME_BY_WHO (300): groups that subscribe to a topic now or have offsets in it.
pub async fn groups_of_topic(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QueryTopicConsumeByWhoRequestHeader = decode(request)?;
    let mut groups = ctx.consumers.groups_of(&header.topic);
    groups.append(&mut ctx.offsets.table().groups_of(&header.topic));
    let group_list = groups.iter().map(ToString::to_string).collect();
    json(request, &GroupList { group_list })
}

/// QUERY_TOPICS_BY_CONSUMER (343): topics that a group has offsets in.
pub async fn topics_of_group(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QueryTopicsByConsumerRequestHeader = decode(request)?;
    let topics = ctx.offsets.table().topics_of(&header.group);
    let body = TopicList {
        broker_addr: Some(ctx.identity.broker_addr.clone()),
        topic_list: topics.iter().map(ToString::to_string).collect(),
    };
    json(request, &body)
}

/// QUERY_SUBSCRIPTION_BY_CONSUMER (345).
pub async fn subscription(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: QuerySubscriptionByConsumerRequestHeader = decode(request)?;
    let topic = header.topic.as_deref().unwrap_or_default();
    let known = ctx.consumers.last_subscription(&header.group, topic);
    let body = QuerySubscriptionResponseBody {
        group: header.group.to_string(),
        subscription_data: known.map(|known| (*known).clone()),
        topic: topic.to_owned(),
    };
    json(request, &body)
}

/// CLONE_GROUP_OFFSET (314): without a topic, in all topics that the source has offsets in.
/// (RocketMQ clones nothing then.)
pub async fn clone_offsets(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: CloneGroupOffsetRequestHeader = decode(request)?;
    let topics = match header.topic.filter(|topic| !java::is_blank(topic)) {
        Some(topic) => [topic].into(),
        None => ctx.offsets.table().topics_of(&header.src_group),
    };
    for topic in topics.iter().filter(|topic| ctx.topics.contains(topic)) {
        // An online group that does not subscribe to the topic has no business with it any more.
        let online = ctx.consumers.get(&header.src_group);
        let subscribes = online
            .is_none_or(|info| info.subscriptions.is_empty() || info.subscription(topic).is_some());
        if header.offline || subscribes {
            ctx.offsets
                .clone_group(&header.src_group, &header.dest_group, topic);
        }
    }
    Ok(answer(request))
}
