//! Topics: make, change, delete, list (`AdminBrokerProcessor`).

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use super::{answer, decode, json, read_json};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            refusal::Refusal,
            static_topics,
            tables::{attributes, topics::TopicError},
        },
        kernel::lock,
        store::commit_log_writer::RemoveTopic,
    },
    protocol::{
        RemotingCommand, ResponseCode, Str,
        body::{
            DataVersion,
            list::TopicList,
            topic_config::{
                CreateTopicListRequestBody, QUEUES_MAX, TopicConfig,
                TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping,
            },
        },
        fastjson,
        header::topic::{
            CreateTopicRequestHeader, DeleteTopicRequestHeader, GetAllTopicConfigRequestHeader,
            GetAllTopicConfigResponseHeader, GetTopicConfigRequestHeader,
        },
        java,
        message::names,
    },
    store::{deleted_topics::DeletedTopics, error::StoreError},
};

/// The remark that RocketMQ leaves on some answers that say nothing else.
pub const NOT_SET: &str = "not set any response code";

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}

fn invalid(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::InvalidParameter, remark)
}

/// What may not be made or changed by a client.
fn check_name(ctx: &BrokerContext, topic: &str) -> Result<(), Refusal> {
    names::validate_topic(topic).map_err(|error| invalid(error.to_string()))?;
    check_not_system(ctx, topic)
}

fn check_not_system(ctx: &BrokerContext, topic: &str) -> Result<(), Refusal> {
    let checked = ctx
        .config
        .load()
        .broker
        .validate_system_topic_when_update_topic;
    if checked && ctx.topics.is_system(topic) {
        return Err(TopicError::System(topic.to_owned()).into());
    }
    Ok(())
}

/// Whether a client may make or change a topic to this.
///
/// # Errors
/// RocketMQ's refusals.
pub fn check_config(ctx: &BrokerContext, config: &TopicConfig) -> Result<(), Refusal> {
    check_name(ctx, &config.topic_name)?;
    let message_type = config
        .attributes
        .get(&format!("+{}", attributes::MESSAGE_TYPE));
    let mixed = message_type.is_some_and(|value| value == "MIXED");
    if mixed && !ctx.config.load().broker.enable_mixed_message_type {
        return Err(invalid("MIXED message type is not supported."));
    }
    for queues in [config.read_queue_nums, config.write_queue_nums] {
        if !(0..=QUEUES_MAX).contains(&queues) {
            return Err(invalid(format!(
                "a topic has from 0 to {QUEUES_MAX} queues, not {queues}"
            )));
        }
    }
    Ok(())
}

/// The topic that a request describes; its attributes are changes with signs.
///
/// # Errors
/// RocketMQ's refusals of what cannot be a topic.
pub fn config_of(
    ctx: &BrokerContext,
    header: CreateTopicRequestHeader,
) -> Result<TopicConfig, Refusal> {
    check_name(ctx, &header.topic)?;
    let filter_type = match &*header.topic_filter_type {
        "" => TopicConfig::default().topic_filter_type,
        known @ ("SINGLE_TAG" | "MULTI_TAG") => known.to_owned(),
        other => {
            let remark = format!("topicFilterType = [{other}] value invalid");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
    };
    let attributes = attributes::parse(header.attributes.as_deref().unwrap_or_default())
        .map_err(TopicError::from)?;
    Ok(TopicConfig {
        attributes,
        order: header.order,
        perm: header.perm,
        read_queue_nums: header.read_queue_nums,
        topic_filter_type: filter_type,
        topic_name: header.topic.to_string(),
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        write_queue_nums: header.write_queue_nums,
    })
}

/// UPDATE_AND_CREATE_TOPIC (17).
pub async fn update(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: CreateTopicRequestHeader = decode(request)?;
    let config = config_of(ctx, header)?;
    check_config(ctx, &config)?;
    change(ctx, vec![config]).await?;
    Ok(answer(request).with_remark(NOT_SET))
}

/// UPDATE_AND_CREATE_TOPIC_LIST (18).
pub async fn update_list(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let body: CreateTopicListRequestBody = read_json(request)?;
    body.topic_config_list
        .iter()
        .try_for_each(|config| check_config(ctx, config))?;
    change(ctx, body.topic_config_list).await?;
    Ok(answer(request).with_remark(NOT_SET))
}

/// Changes topics; those that are as wanted already are left alone. (RocketMQ leaves the whole
/// list of code 18 alone if it meets one of those.)
async fn change(ctx: &BrokerContext, mut configs: Vec<TopicConfig>) -> Result<(), Refusal> {
    configs.retain(|config| {
        ctx.topics
            .get(&config.topic_name)
            .is_none_or(|known| *known != *config)
    });
    if !configs.is_empty() {
        ctx.topics.update(configs).await?;
    }
    Ok(())
}

/// DELETE_TOPIC_IN_BROKER (215): also the pop retry topics of all groups that consumed it.
/// Answered once nothing of it is left but its messages in the log.
pub async fn delete(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: DeleteTopicRequestHeader = decode(request)?;
    if java::is_blank(&header.topic) {
        return Err(invalid("The specified topic is blank."));
    }
    check_not_system(ctx, &header.topic)?;
    let mut topics = vec![header.topic.to_string()];
    if ctx.config.load().broker.clear_retry_topic_when_delete_topic {
        for group in ctx.offsets.table().groups_of(&header.topic) {
            let retry_topics = [
                names::pop_retry_topic_v2(&header.topic, &group),
                names::pop_retry_topic_v1(&header.topic, &group),
            ];
            topics.extend(
                retry_topics
                    .into_iter()
                    .filter(|topic| ctx.topics.contains(topic)),
            );
        }
    }
    for topic in topics {
        delete_one(ctx, topic).await?;
    }
    Ok(answer(request))
}

/// The order matters: the intent is on disk, then no new send is let in, then everything on its way
/// through the store has passed and the queues are gone, then nobody's offsets point into it, then
/// the deletion is on disk, and only then the topic may be made again. A process that is killed in
/// between goes on with it when it starts ([`finish_deletions`]).
pub async fn delete_one(ctx: &BrokerContext, topic: String) -> Result<(), Refusal> {
    let failed = |what: &str| {
        let remark = format!("topic[{topic}] is not deleted completely, try again: {what}");
        Refusal::new(ResponseCode::SystemError, remark)
    };
    let _alone = ctx.topics.alone().await;
    let name = topic.clone();
    remembered(ctx, move |deleted| deleted.begin(&name))
        .await
        .map_err(|error| failed(&error))?;
    ctx.topics.delete(&topic).await?;
    let (done, removed) = oneshot::channel();
    // A copy: a slice of the request would keep its frame in memory.
    ctx.store.writer.tell(RemoveTopic {
        topic: Str::from(topic.clone()),
        done,
    });
    let log_end = removed
        .await
        .map_err(|_| failed("the store did not answer"))?;
    ctx.transactions.counts.forget(&topic);
    if ctx.offsets.table().remove_topic(&topic) > 0 {
        // A new topic's consumers would skip what lies below the old one's offsets.
        let persisted = ctx.offsets.persist().await;
        persisted.map_err(|error| failed(&error.to_string()))?;
    }
    let forgotten = ctx.compaction.forget(&topic).await;
    forgotten.map_err(|error| failed(&error))?;
    let log_min = ctx.store.watermarks.log().min_offset();
    let (homes, name) = (ctx.store.homes.clone(), topic.clone());
    let end = move |deleted: &mut DeletedTopics| {
        homes.remove_topic(&name)?;
        deleted.remember(&name, log_end, log_min)
    };
    remembered(ctx, end).await.map_err(|error| failed(&error))?;
    ctx.store.table.reopen(&topic);
    if let Some(timer) = &ctx.timer {
        timer.marks.forget_topic(&topic);
    }
    ctx.pops.parts.in_flight.forget_topic(&topic);
    ctx.pops.parts.orders.forget_topic(&topic);
    ctx.topics.end_deletion(&topic);
    Ok(())
}

/// Changes the file of deleted topics, on a thread that may block.
async fn remembered(
    ctx: &BrokerContext,
    change: impl FnOnce(&mut DeletedTopics) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), String> {
    let deleted = Arc::clone(&ctx.store.deleted);
    let changed = tokio::task::spawn_blocking(move || change(&mut lock(&deleted))).await;
    match changed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// At a start: ends the deletions that the process before was killed with. A topic that is still in
/// the table has lost nothing yet (or a Java broker has made it again): it stays.
pub async fn finish_deletions(ctx: &BrokerContext) {
    let begun = lock(&ctx.store.deleted).begun();
    for topic in begun {
        let name = topic.clone();
        let ended = if ctx.topics.contains(&topic) {
            remembered(ctx, move |deleted| deleted.forget_begun(&name)).await
        } else {
            delete_one(ctx, name).await.map_err(|error| error.remark)
        };
        if let Err(error) = ended {
            log::warn!("broker cannot end the deletion of topic={topic} error={error}");
        }
    }
}

/// GET_ALL_TOPIC_CONFIG (21): all topics, or a portion of them in the order of their names.
pub async fn list(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetAllTopicConfigRequestHeader = decode(request)?;
    let table = ctx.topics.snapshot();
    let total = table.topic_config_table.len();
    let portion = Portion::of(
        ctx,
        header.data_version.as_deref(),
        header.topic_seq,
        header.max_topic_num,
        table.data_version,
    );
    let topics: BTreeMap<_, _> = portion.cut(table.topic_config_table);
    let mut mappings = table.topic_queue_mapping_detail_map;
    mappings.retain(|topic, _| topics.contains_key(topic));
    let body = TopicConfigAndMappingSerializeWrapper {
        data_version: table.data_version,
        mapping_data_version: table.mapping_data_version,
        topic_config_table: topics,
        topic_queue_mapping_detail_map: mappings,
        ..Default::default()
    };
    let header = GetAllTopicConfigResponseHeader {
        total_topic_num: Some(i32::try_from(total).unwrap_or(i32::MAX)),
    };
    Ok(json(request, &body)?.with_header(&header))
}

/// GET_TOPIC_CONFIG (351); with `lo=true` also the mapping of a static topic.
pub async fn get(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetTopicConfigRequestHeader = decode(request)?;
    let Some(config) = ctx.topics.get(&header.topic) else {
        let remark = format!("No topic in this broker. topic: {}", header.topic);
        return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
    };
    let mapping = match static_topics::wants_mapping(request) {
        true => ctx.topics.mappings().detail(&header.topic),
        false => None,
    };
    let body = TopicConfigAndQueueMapping {
        mapping_detail: mapping.map(|mapping| (*mapping).clone()),
        ..(*config).clone().into()
    };
    json(request, &body)
}

/// GET_SYSTEM_TOPIC_LIST_FROM_BROKER (305).
pub async fn system_list(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let topic_list = ctx.topics.system_names().iter().cloned().collect();
    json(
        request,
        &TopicList {
            topic_list,
            ..TopicList::default()
        },
    )
}

/// Which entries of a table are asked for by codes 21 and 201.
pub(super) struct Portion {
    skip: usize,
    take: usize,
}

impl Portion {
    /// Everything for an old peer, which sends none of the three fields; from the beginning for
    /// one whose data version is another.
    pub(super) fn of(
        ctx: &BrokerContext,
        asked_version: Option<&str>,
        first: Option<i32>,
        max: Option<i32>,
        version: DataVersion,
    ) -> Self {
        let config = ctx.config.load();
        let old = asked_version.is_none() && first.is_none() && max.is_none();
        if old || !config.broker.enable_split_metadata {
            return Self {
                skip: 0,
                take: usize::MAX,
            };
        }
        let asked = asked_version.and_then(|text| fastjson::from_str::<DataVersion>(text).ok());
        let count = |number: i32| usize::try_from(number).unwrap_or(0);
        let skip = if asked == Some(version) {
            first.map_or(0, count)
        } else {
            0
        };
        let take = max
            .map_or(usize::MAX, count)
            .min(config.broker.split_metadata_size);
        Self { skip, take }
    }

    /// The entries of the portion.
    pub(super) fn cut<T: FromIterator<E>, E>(&self, table: impl IntoIterator<Item = E>) -> T {
        table.into_iter().skip(self.skip).take(self.take).collect()
    }
}
