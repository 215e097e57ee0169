//! UPDATE_AND_CREATE_STATIC_TOPIC (513): a topic gets a mapping, or another one.
//!
//! Who moves a queue elsewhere asks afterwards where it ends here, and readers go on behind that. So the
//! answer waits until every message that was let in by the old mapping has its offset: its send was
//! answered then. What is not visible yet (in SYNC_FLUSH, or while slaves lag) holds its readers back
//! by itself ([`LogicPull`](crate::actors::store::pull::LogicPull)).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    actors::broker::{
        context::BrokerContext,
        processor::{
            answer, decode, read_json,
            topic::{NOT_SET, check_config, config_of},
        },
        refusal::Refusal,
        tables::{mappings::Mapping, topics::TopicError},
    },
    protocol::{
        RemotingCommand, ResponseCode,
        body::{
            topic_config::{QUEUES_MAX, TopicConfig},
            topic_queue_mapping::TopicQueueMappingDetail,
        },
        header::topic::CreateTopicRequestHeader,
        static_topic::accept::MappingRefused,
    },
};

/// How long sends by the old mapping are waited for: longer than flush and slaves may take.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// How often they are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Checks the topic and its mapping, changes both, and waits for what is under way by the old one.
///
/// # Errors
/// RocketMQ's, and where the mapping names another broker or topic. SYSTEM_BUSY when sends by the old
/// mapping do not end: the new one is in force then, and the request may be repeated.
pub async fn update(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: CreateTopicRequestHeader = decode(request)?;
    let force = header.force;
    let config = TopicConfig {
        // RocketMQ reads neither for static topics.
        order: false,
        attributes: Default::default(),
        ..config_of(ctx, header)?
    };
    check_config(ctx, &config)?;
    let mapping: TopicQueueMappingDetail = read_json(request)?;
    check_mapping(ctx, &config.topic_name, &mapping)?;
    let _alone = ctx.topics.alone().await;
    let before = ctx.topics.mapping(&config.topic_name);
    let after = mapping.clone();
    ctx.topics.update_static(config, mapping, force).await?;
    if let Some(before) = before.filter(|before| gives_away(before.detail(), &after)) {
        left(before).await?;
    }
    Ok(answer(request).with_remark(NOT_SET))
}

/// Whether it is a mapping of this broker and topic, of so many queues as a topic may have. RocketMQ leaves
/// that to assertions, which no broker checks.
fn check_mapping(
    ctx: &BrokerContext,
    topic: &str,
    mapping: &TopicQueueMappingDetail,
) -> Result<(), Refusal> {
    let own = &ctx.identity.broker_name;
    if mapping.bname != *own {
        let (found, own) = (mapping.bname.clone(), own.clone());
        return Err(TopicError::from(MappingRefused::OtherBroker { found, own }).into());
    }
    if mapping.topic != topic {
        let remark = format!("The mapping is of topic {}, not of {topic}", mapping.topic);
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    let queues = 0..=QUEUES_MAX;
    let hosted = &mapping.hosted_queues;
    if !queues.contains(&mapping.total_queues) || hosted.keys().any(|queue| !queues.contains(queue))
    {
        let remark = format!("a topic has from 0 to {QUEUES_MAX} logic queues");
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    Ok(())
}

/// Whether a queue that this broker led is led elsewhere, or by another of its queues, from now on.
fn gives_away(before: &TopicQueueMappingDetail, after: &TopicQueueMappingDetail) -> bool {
    let mut queues = before.hosted_queues.keys();
    queues.any(|&queue| {
        let led = before.led(queue).map(|item| item.r#gen);
        let still = match after.hosted_queues.contains_key(&queue) {
            true => after.led(queue).map(|item| item.r#gen),
            // What is not named stays.
            false => led,
        };
        led.is_some() && led != still
    })
}

/// Waits until nothing is under way by a mapping that was replaced.
async fn left(before: Arc<Mapping>) -> Result<(), Refusal> {
    let begun = Instant::now();
    while !before.is_left() {
        if begun.elapsed() > LEAVE_MAX {
            let remark = "sends by the former mapping are still under way, try again";
            return Err(Refusal::new(ResponseCode::SystemBusy, remark));
        }
        actix_rt::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body::topic_queue_mapping::LogicQueueMappingItem;

    fn item(broker: &str, r#gen: i32) -> LogicQueueMappingItem {
        LogicQueueMappingItem {
            bname: broker.into(),
            r#gen,
            ..LogicQueueMappingItem::default()
        }
    }

    fn mapping(items: Vec<LogicQueueMappingItem>) -> TopicQueueMappingDetail {
        TopicQueueMappingDetail {
            bname: "a".into(),
            hosted_queues: [(0, items)].into(),
            ..TopicQueueMappingDetail::default()
        }
    }

    #[test]
    fn only_a_queue_that_goes_elsewhere_is_given_away() {
        let led = mapping(vec![item("a", 0)]);
        let moved = mapping(vec![item("a", 0), item("b", 1)]);
        let back = mapping(vec![item("a", 0), item("b", 1), item("a", 2)]);
        assert!(gives_away(&led, &moved));
        assert!(gives_away(&led, &back));
        assert!(!gives_away(&led, &led));
        assert!(!gives_away(&moved, &back));
        let unnamed = TopicQueueMappingDetail::default();
        assert!(!gives_away(&led, &unnamed));
    }
}
