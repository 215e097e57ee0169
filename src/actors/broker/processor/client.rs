//! Clients and their groups: heartbeats, leaving, who is online, queue locks
//! (`ClientManageProcessor`, `ConsumerManageProcessor`, `AdminBrokerProcessor`).

use std::sync::Arc;

use super::{answer, decode, json, read_json};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            pull,
            refusal::Refusal,
            tables::{filters, topics::TopicError},
        },
        groups::{Member, locks::LockKey, rebalancer::Register},
        kernel::{ActorError, now_ms},
        net::ConnectionHandle,
    },
    protocol::{
        RemotingCommand, ResponseCode, Str,
        body::{
            MessageQueue,
            connection::{
                Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTableInfo,
            },
            heartbeat::{CheckClientRequestBody, ConsumeType, ConsumerData, HeartbeatData},
            list::GetConsumerListByGroupResponseBody,
            lock::{LockBatchRequestBody, LockBatchResponseBody},
        },
        header::client::{
            GetConsumerConnectionListRequestHeader, GetConsumerListByGroupRequestHeader,
            GetProducerConnectionListRequestHeader, UnregisterClientRequestHeader,
        },
        message::{names, sys_flag},
    },
};

/// Name of the field that tells a client of the second version of heartbeats.
const SUPPORTS_V2: &str = "IS_SUPPORT_HEART_BEAT_V2";
/// Name of the field that has a client send its subscriptions again.
const SUB_CHANGE: &str = "IS_SUB_CHANGE";

impl From<ActorError> for Refusal {
    fn from(error: ActorError) -> Self {
        Refusal::new(ResponseCode::SystemError, error.to_string())
    }
}

/// HEART_BEAT (34), both versions. The second sends a fingerprint of what does not change, and
/// leaves the subscriptions out while the broker knows it.
pub async fn heartbeat(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) -> Result<RemotingCommand, Refusal> {
    let data: HeartbeatData = read_json(request)?;
    let now_ms = now_ms();
    let member = Member::new(
        &data.client_id,
        conn,
        request.language,
        request.version,
        now_ms,
    );
    let is_v2 = data.heartbeat_fingerprint != 0;
    // The first version has no way to leave subscriptions out, so all is told as changed.
    let mut sub_change = !is_v2;
    for consumer in data.consumer_data_set {
        let beat = Beat {
            member: &member,
            fingerprint: data.heartbeat_fingerprint,
            with_sub: !(is_v2 && data.without_sub),
            now_ms,
        };
        sub_change |= beat.register(ctx, consumer).await?;
    }
    let config = ctx.config.load();
    let only_known =
        !config.broker.enable_register_producer && config.broker.reject_transaction_message;
    for producer in &data.producer_data_set {
        if !only_known || ctx.producers.contains(&producer.group_name, conn.id) {
            ctx.producers
                .register(&producer.group_name, &member, now_ms);
        }
    }
    let mut response = answer(request);
    response.ext_fields.insert(SUPPORTS_V2, "true");
    response
        .ext_fields
        .insert(SUB_CHANGE, if sub_change { "true" } else { "false" });
    Ok(response)
}

/// What a heartbeat says beside its groups.
struct Beat<'a> {
    member: &'a Arc<Member>,
    fingerprint: i32,
    with_sub: bool,
    now_ms: u64,
}

impl Beat<'_> {
    /// Takes one consumer group of a heartbeat; true if the client has to send its subscriptions
    /// again.
    async fn register(&self, ctx: &BrokerContext, data: ConsumerData) -> Result<bool, Refusal> {
        let is_pull = data.consume_type == ConsumeType::ConsumeActively;
        if is_pull && ctx.config.load().broker.reject_pull_consumer_enable {
            return Ok(false);
        }
        if data.group_name.is_empty() {
            let remark = "a consumer without a group";
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        let Some(group) = ctx.subscriptions.find(&data.group_name).await else {
            return Ok(false);
        };
        let before = ctx
            .consumers
            .swap_fingerprint(&data.group_name, self.fingerprint);
        let order = data
            .subscription_data_set
            .iter()
            .any(|sub| ctx.topics.is_order(&sub.topic));
        let sys_flag = if data.unit_mode {
            sys_flag::topic::UNIT_SUB
        } else {
            0
        };
        let retry_topic = names::retry_topic(&data.group_name);
        let made = ctx
            .topics
            .create_retry(&retry_topic, group.retry_queue_nums, order, sys_flag);
        made.await
            .map_err(|error: TopicError| Refusal::from(error))?;
        let group_name = data.group_name.clone();
        let data = Arc::new(data);
        let heartbeat = Register {
            member: self.member.clone(),
            data: data.clone(),
            with_sub: self.with_sub,
            notify: group.notify_consumer_ids_changed_enable,
            now_ms: self.now_ms,
        };
        ctx.consumers.register(heartbeat).await?;
        if self.with_sub {
            ctx.filters
                .register(&group_name, &data.subscription_data_set);
        }
        let other_fingerprint = before.is_some_and(|before| before != self.fingerprint);
        // RocketMQ does not notice that it was restarted and knows no subscriptions any more.
        let unknown = !self.with_sub
            && ctx
                .consumers
                .get(&group_name)
                .is_none_or(|info| info.subscriptions.is_empty());
        Ok(other_fingerprint || unknown)
    }
}

/// UNREGISTER_CLIENT (35).
pub async fn unregister(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) -> Result<RemotingCommand, Refusal> {
    let header: UnregisterClientRequestHeader = decode(request)?;
    if let Some(group) = &header.producer_group {
        ctx.producers.unregister(group, conn.id);
    }
    if let Some(group) = &header.consumer_group {
        let config = ctx.subscriptions.get(group);
        let notify = config.is_none_or(|config| config.notify_consumer_ids_changed_enable);
        ctx.consumers.unregister(group, conn.id, notify).await?;
    }
    Ok(answer(request))
}

/// CHECK_CLIENT_CONFIG (46): whether a subscription's filter would work here.
pub async fn check_config(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let body: CheckClientRequestBody = read_json(request)?;
    let data = &body.subscription_data;
    if data.is_tag_type() {
        return Ok(answer(request));
    }
    if !ctx.config.load().broker.enable_property_filter {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            pull::not_supported(data),
        ));
    }
    filters::compile(&data.expression_type, &data.sub_string)
        .map_err(|e| Refusal::new(ResponseCode::SubscriptionParseFailed, e.to_string()))?;
    Ok(answer(request))
}

/// GET_CONSUMER_LIST_BY_GROUP (38).
pub async fn consumer_list(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetConsumerListByGroupRequestHeader = decode(request)?;
    let Some(info) = ctx.consumers.get(&header.consumer_group) else {
        let remark = format!("no consumer for this group, {}", header.consumer_group);
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    let ids = info.client_ids().iter().map(Str::to_string).collect();
    json(
        request,
        &GetConsumerListByGroupResponseBody {
            consumer_id_list: ids,
        },
    )
}

fn connection(member: &Arc<Member>) -> Connection {
    Connection {
        client_addr: member.conn.peer.to_string(),
        client_id: member.client_id.to_string(),
        language: member.language.name().to_owned(),
        version: member.version,
    }
}

/// GET_CONSUMER_CONNECTION_LIST (203).
pub async fn consumer_connections(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetConsumerConnectionListRequestHeader = decode(request)?;
    let Some(info) = ctx.consumers.get(&header.consumer_group) else {
        let remark = format!("the consumer group[{}] not online", header.consumer_group);
        return Err(Refusal::new(ResponseCode::ConsumerNotOnline, remark));
    };
    let subscriptions = info.subscriptions.iter();
    let body = ConsumerConnection {
        connection_set: info.members.iter().map(connection).collect(),
        consume_from_where: info.consume_from_where,
        consume_type: info.consume_type,
        message_model: info.message_model,
        subscription_table: subscriptions
            .map(|(topic, sub)| (topic.clone(), (**sub).clone()))
            .collect(),
    };
    json(request, &body)
}

/// GET_PRODUCER_CONNECTION_LIST (204).
pub async fn producer_connections(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetProducerConnectionListRequestHeader = decode(request)?;
    let Some(members) = ctx.producers.members(&header.producer_group) else {
        let remark = format!("the producer group[{}] not exist", header.producer_group);
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    let connection_set = members.iter().map(connection).collect();
    json(request, &ProducerConnection { connection_set })
}

/// GET_ALL_PRODUCER_INFO (328).
pub async fn producers(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let info = |member: &Arc<Member>| ProducerInfo {
        client_id: member.client_id.to_string(),
        language: member.language.name().to_owned(),
        last_update_timestamp: i64::try_from(member.seen_ms()).unwrap_or(i64::MAX),
        remote_ip: format!("/{}", member.conn.peer),
        version: member.version,
    };
    let groups = ctx.producers.all().into_iter();
    let data = groups
        .map(|(group, members)| (group.to_string(), members.iter().map(info).collect()))
        .collect();
    json(request, &ProducerTableInfo { data })
}

fn lock_keys(queues: &[MessageQueue]) -> Vec<LockKey> {
    let key = |queue: &MessageQueue| LockKey {
        topic: queue.topic.clone().into(),
        broker_name: queue.broker_name.clone().into(),
        queue_id: queue.queue_id,
    };
    queues.iter().map(key).collect()
}

/// A group's actor is made for it: only for names that a group may have.
fn check_group(group: &str) -> Result<(), Refusal> {
    names::validate_group(group)
        .map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))
}

/// LOCK_BATCH_MQ (41): locks queues or renews the locks for 60 s; the answer holds those that the
/// client has now. `lockInStrictMode` is not looked at: replicas are not asked.
pub async fn lock(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let body: LockBatchRequestBody = read_json(request)?;
    check_group(&body.consumer_group)?;
    let queues = lock_keys(&body.mq_set);
    let mine = ctx
        .consumers
        .lock(&body.consumer_group, body.client_id.into(), queues)
        .await?;
    let queue = |key: LockKey| MessageQueue::new(&key.topic, &key.broker_name, key.queue_id);
    let lock_ok_mq_set = mine.into_iter().map(queue).collect();
    json(request, &LockBatchResponseBody { lock_ok_mq_set })
}

/// UNLOCK_BATCH_MQ (42).
pub async fn unlock(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let body: LockBatchRequestBody = read_json(request)?;
    let queues = lock_keys(&body.mq_set);
    ctx.consumers
        .unlock(&body.consumer_group, body.client_id.into(), queues)
        .await?;
    Ok(answer(request))
}
