//! Tables that are never the body of a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::body::{DataVersion, topic_queue_mapping::TopicQueueMappingDetail};

/// The file topicQueueMapping.json.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicQueueMappingSerializeWrapper {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Mappings of static topics by topic.
    pub topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingDetail>,
}

/// The file consumerOrderInfo.json: what ordered pop consumers have in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerOrderInfo {
    /// How far ordered consumption reaches: `QUEUE`.
    pub ordered_consumption_level: String,
    /// By `topic@group` and queue.
    pub table: BTreeMap<String, BTreeMap<i32, OrderInfo>>,
}

impl Default for ConsumerOrderInfo {
    fn default() -> Self {
        Self {
            ordered_consumption_level: "QUEUE".to_owned(),
            table: BTreeMap::new(),
        }
    }
}

/// The last pop of one queue by one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderInfo {
    /// Attempt that popped.
    #[serde(rename = "a")]
    pub attempt_id: Option<String>,
    /// Bit i is set when message i of `offsets` was acknowledged.
    #[serde(rename = "cm")]
    pub commit_offset_bit: i64,
    /// How long the messages are invisible, ms.
    #[serde(rename = "i")]
    pub invisible_time: Option<i64>,
    /// When they were last consumed, ms.
    #[serde(rename = "l")]
    pub last_consume_timestamp: i64,
    /// The first queue offset, then the distances of the others from it.
    #[serde(rename = "o")]
    pub offsets: Option<Vec<i64>>,
    /// How often each was consumed, by queue offset.
    #[serde(rename = "oc")]
    pub offset_consumed_count: Option<BTreeMap<i64, i32>>,
    /// When each is visible again (ms), by queue offset.
    #[serde(rename = "ot")]
    pub offset_next_visible_time: Option<BTreeMap<i64, i64>>,
    /// When they were popped, ms.
    #[serde(rename = "popTime")]
    pub pop_time: i64,
}
