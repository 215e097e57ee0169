//! The topics of a broker: codes 17, 18, 21, 103, 351 and the file topics.json.

use super::DataVersion;
use super::topic_queue_mapping::{TopicQueueMappingDetail, TopicQueueMappingInfo};
use crate::protocol::fastjson::{JsonError, from_str, to_string};
use crate::protocol::message::perm;
use std::collections::BTreeMap;

/// Queues of a topic whose creator did not say how many.
const QUEUE_NUMS_DEFAULT: i32 = 16;
/// Queues that one topic may have, logic ones too; RocketMQ has no limit.
pub const QUEUES_MAX: i32 = 1 << 20;
/// Filter type of topics whose messages have one tag.
const SINGLE_TAG: &str = "SINGLE_TAG";

body! {
    /// One topic.
    #[derive(Eq)]
    pub struct TopicConfig {
        /// Attributes such as `message.type`.
        attributes: BTreeMap<String, String>,
        /// Whether messages are ordered.
        order: bool,
        /// Permission, see [`crate::protocol::message::perm`].
        perm: i32 = perm::READ | perm::WRITE,
        /// Queues to read from.
        read_queue_nums: i32 = QUEUE_NUMS_DEFAULT,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: String = SINGLE_TAG.to_owned(),
        /// Topic.
        topic_name: String,
        /// Bits of [`crate::protocol::message::sys_flag::topic`].
        topic_sys_flag: i32,
        /// Queues to write to.
        write_queue_nums: i32 = QUEUE_NUMS_DEFAULT,
    }
}

/// Name and value of the attribute of a topic with queues of batches.
pub const BATCH_CQ: (&str, &str) = ("queue.type", "BatchCQ");

/// Name and value of the attribute of a topic of which the last message of each key is kept.
pub const COMPACTION: (&str, &str) = ("cleanup.policy", "COMPACTION");

/// Whether attributes have one with this name and value.
pub fn has(attributes: &BTreeMap<String, String>, (name, value): (&str, &str)) -> bool {
    attributes.get(name).is_some_and(|given| given == value)
}

impl TopicConfig {
    /// A topic with this many queues to read from and to write to.
    pub fn new(topic: &str, queue_nums: i32, perm: i32) -> Self {
        Self {
            topic_name: topic.to_owned(),
            read_queue_nums: queue_nums,
            write_queue_nums: queue_nums,
            perm,
            ..Self::default()
        }
    }

    /// Whether its queues are queues of batches (`QueueTypeUtils.isBatchCq`).
    pub fn is_batch_cq(&self) -> bool {
        has(&self.attributes, BATCH_CQ)
    }

    /// Whether the last message of each key is kept (`CleanupPolicyUtils.isCompaction`).
    pub fn is_compaction(&self) -> bool {
        has(&self.attributes, COMPACTION)
    }

    /// The topic as RocketMQ's remarks name it (`TopicConfig.toString`).
    pub fn describe(&self) -> String {
        let attributes: Vec<String> = self
            .attributes
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!(
            "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, \
             topicFilterType={}, topicSysFlag={}, order={}, attributes={{{}}}]",
            self.topic_name,
            self.read_queue_nums,
            self.write_queue_nums,
            perm::text(self.perm),
            self.topic_filter_type,
            self.topic_sys_flag,
            self.order,
            attributes.join(", ")
        )
    }

    /// The line of a compressed register body. It loses `order` and `topic_sys_flag`.
    pub fn to_line(&self) -> Result<String, JsonError> {
        let Self {
            topic_name,
            read_queue_nums,
            write_queue_nums,
            perm,
            ..
        } = self;
        let attributes = to_string(&self.attributes)?;
        let filter = &self.topic_filter_type;
        Ok(format!(
            "{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter} {attributes}"
        ))
    }

    /// Reads a line of a compressed register body.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(6, ' ');
        Some(Self {
            topic_name: parts.next()?.to_owned(),
            read_queue_nums: parts.next()?.parse().ok()?,
            write_queue_nums: parts.next()?.parse().ok()?,
            perm: parts.next()?.parse().ok()?,
            topic_filter_type: parts.next()?.to_owned(),
            attributes: parts
                .next()
                .and_then(|json| from_str(json).ok())
                .unwrap_or_default(),
            ..Self::default()
        })
    }
}

body! {
    /// One topic with its mapping if it is static: the answer to code 351.
    #[derive(Eq)]
    pub struct TopicConfigAndQueueMapping {
        /// Attributes such as `message.type`.
        attributes: BTreeMap<String, String>,
        /// Mapping of a static topic.
        mapping_detail: Option<TopicQueueMappingDetail>,
        /// Whether messages are ordered.
        order: bool,
        /// Permission.
        perm: i32 = perm::READ | perm::WRITE,
        /// Queues to read from.
        read_queue_nums: i32 = QUEUE_NUMS_DEFAULT,
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: String = SINGLE_TAG.to_owned(),
        /// Topic.
        topic_name: String,
        /// Bits of the topic.
        topic_sys_flag: i32,
        /// Queues to write to.
        write_queue_nums: i32 = QUEUE_NUMS_DEFAULT,
    }
}

impl From<TopicConfig> for TopicConfigAndQueueMapping {
    fn from(config: TopicConfig) -> Self {
        Self {
            attributes: config.attributes,
            mapping_detail: None,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}

body! {
    /// All topics: the file topics.json, and what old brokers register.
    #[derive(Eq)]
    pub struct TopicConfigSerializeWrapper {
        /// Version of the table.
        data_version: DataVersion,
        /// Topics by name.
        topic_config_table: BTreeMap<String, TopicConfig>,
    }
}

body! {
    /// All topics with the mappings of static ones.
    #[derive(Eq)]
    pub struct TopicConfigAndMappingSerializeWrapper {
        /// Version of the table.
        data_version: DataVersion,
        /// Version of the mappings.
        mapping_data_version: Option<DataVersion>,
        /// Topics by name.
        topic_config_table: BTreeMap<String, TopicConfig>,
        /// Mappings with their history, by topic.
        topic_queue_mapping_detail_map: BTreeMap<String, TopicQueueMappingDetail>,
        /// Mappings, by topic.
        topic_queue_mapping_info_map: BTreeMap<String, TopicQueueMappingInfo>,
    }
}

impl From<TopicConfigSerializeWrapper> for TopicConfigAndMappingSerializeWrapper {
    fn from(wrapper: TopicConfigSerializeWrapper) -> Self {
        Self {
            data_version: wrapper.data_version,
            topic_config_table: wrapper.topic_config_table,
            ..Self::default()
        }
    }
}

body! {
    /// Several topics to create (code 18).
    #[derive(Eq)]
    pub struct CreateTopicListRequestBody {
        /// Topics.
        topic_config_list: Vec<TopicConfig>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_the_parts_of_the_reference() {
        let mut topic = TopicConfig::new("T", 4, 6);
        topic.attributes.insert("message.type".into(), "a b".into());
        let line = topic.to_line().unwrap();
        assert_eq!(line, "T 4 4 6 SINGLE_TAG {\"message.type\":\"a b\"}");
        assert_eq!(TopicConfig::from_line(&line), Some(topic));
        assert_eq!(
            TopicConfig::from_line("T 4 4 6 SINGLE_TAG").map(|t| t.perm),
            Some(6)
        );
        assert_eq!(TopicConfig::from_line("T 4 4 6"), None);
        assert_eq!(TopicConfig::from_line("T 4 x 6 SINGLE_TAG"), None);
    }
}
