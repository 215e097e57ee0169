//! Static topics (RocketMQ's logic queues): a topic whose queues have numbers that do not depend on
//! which broker keeps them.
//!
//! A logic queue is a list of stretches ([`LogicQueueMappingItem`]), each a physical queue of some
//! broker. The broker of the last stretch is the leader: it takes the messages, and answers for the
//! whole queue. Remapping opens a new stretch elsewhere; the offsets of the logic queue go on there,
//! at a round number beyond the old one's end, so that nobody has to stop for it.
//!
//! | module | what |
//! | --- | --- |
//! | [`item`] | offsets of one stretch |
//! | [`check`] | what has to hold among the brokers' mappings |
//! | [`plan`] | creation and remapping: from the mappings that are there to those that shall be |
//! | [`route`] | which broker a client asks for which queue |
//! | [`report`] | what tools show of a static topic, from the numbers of physical queues |
//!
//! Mirrors `TopicQueueMappingUtils` and the static part of `ClientMetadata` and `MQAdminUtils`.

use std::collections::BTreeMap;

pub use crate::protocol::body::topic_queue_mapping::{LogicQueueMappingItem, SCOPE_GLOBAL};

use crate::protocol::body::topic_config::TopicConfigAndQueueMapping;

pub mod check;
pub mod item;
pub mod plan;
pub mod report;
pub mod route;

/// The static topic's configuration by broker.
pub type BrokerConfigs = BTreeMap<String, TopicConfigAndQueueMapping>;

/// What the name of no broker begins with (`MixAll.LOGICAL_QUEUE_MOCK_BROKER_PREFIX`).
pub const MOCK_PREFIX: &str = "__syslo__";

/// The broker name under which clients see the queues of a scope
/// (`TopicQueueMappingUtils.getMockBrokerName`).
pub fn mock_broker_name(scope: &str) -> String {
    let short = match scope {
        SCOPE_GLOBAL => SCOPE_GLOBAL.strip_prefix("__").unwrap_or(SCOPE_GLOBAL),
        scope => scope,
    };
    format!("{MOCK_PREFIX}{short}")
}

/// Whether a queue of this broker name is a logic queue.
pub fn is_mock_broker(name: &str) -> bool {
    name.starts_with(MOCK_PREFIX)
}

/// Why a static topic cannot be made or moved. The texts are those of RocketMQ's tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the texts tell
pub enum StaticTopicError {
    #[error("Mapping info should not be null in broker {0}")]
    NoMapping(String),
    #[error("The broker name is not equal {expected} != {found} ")]
    BrokerName { expected: String, found: String },
    #[error("The mapping info is dirty in broker  {0}")]
    Dirty(String),
    #[error("The topic name is inconsistent in broker  {0}")]
    TopicsDiffer(String),
    #[error("The topic name is not match for broker  {0}")]
    OtherTopic(String),
    #[error("scope does not match {found} != {expected} in {broker}")]
    Scope {
        found: String,
        expected: String,
        broker: String,
    },
    #[error("epoch does not match {expected} != {found} in {broker}")]
    Epoch {
        expected: i64,
        found: i64,
        broker: String,
    },
    #[error("total queue number does not match {expected} != {found} in {broker}")]
    TotalQueues {
        expected: i32,
        found: i32,
        broker: String,
    },
    #[error("The field is illegal, should not be negative")]
    Negative,
    #[error("The non-latest item has negative logic offset")]
    LogicOffsetUnknown,
    #[error("The gen does not increase monotonically")]
    Generations,
    #[error("The endOffset is smaller than the start offset")]
    EndBeforeStart,
    #[error("The base logic offset does not increase monotonically")]
    LogicOffsets,
    #[error("The max logic offset does not increase monotonically")]
    MaxLogicOffsets,
    #[error("The queue id is duplicated in broker {0} {0}")]
    TwoLeaders(String),
    #[error(
        "The total queue number in config does not match the real hosted queues {expected} != {found}"
    )]
    HostedQueues { expected: i32, found: usize },
    #[error("The queue number {0} is not in globalIdMap")]
    MissingQueue(i32),
    #[error(
        "Topic {topic} global queue id {first} and {second} shared the same physical queue {queue}"
    )]
    SharedQueue {
        topic: String,
        first: i32,
        second: i32,
        queue: String,
    },
    #[error("The leader broker does not in target broker")]
    LeaderNotInTargets,
    #[error("Read queues is smaller than write queues")]
    ReadQueues,
    #[error("The start offset does not begin from 0")]
    StartOffset,
    #[error("The broker of item does not exist")]
    UnknownBroker,
    #[error("The physical queue id is overflow the write queues")]
    QueueIdOverflow,
    #[error("The existed broker {0} does not in target brokers ")]
    BrokerNotInTargets(String),
    #[error("Cannot decrease the queue num for static topic {wanted} < {existing}")]
    Fewer { wanted: i32, existing: usize },
    #[error("The topic queue num is equal the existed queue num, do nothing")]
    SameNumber,
    #[error("Find none brokers, do nothing")]
    NoTargets,
    #[error("Cannot get the max offset for old leader {0:?}")]
    NoMaxOffset(LogicQueueMappingItem),
    #[error("The max offset is smaller then the start offset {item:?} {max_offset}")]
    MaxBeforeStart {
        item: LogicQueueMappingItem,
        max_offset: i64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mock_names_are_rocketmqs() {
        assert_eq!(mock_broker_name(SCOPE_GLOBAL), "__syslo__global__");
        assert_eq!(mock_broker_name("zone"), "__syslo__zone");
        assert!(is_mock_broker("__syslo__global__"));
        assert!(!is_mock_broker("broker-a"));
    }
}
