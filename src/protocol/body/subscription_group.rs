//! The groups of a broker: codes 200, 201, 225, 352, 353 and the file subscriptionGroup.json.

use super::DataVersion;
use crate::protocol::fastjson::PrimitiveArray;
use std::collections::BTreeMap;

body! {
    /// One group of consumers.
    pub struct SubscriptionGroupConfig {
        /// Attributes.
        attributes: BTreeMap<String, String>,
        /// Broker to consume from at first.
        broker_id: i64,
        /// Whether broadcasting is allowed.
        consume_broadcast_enable: bool = true,
        /// Whether consuming is allowed.
        consume_enable: bool = true,
        /// Whether new groups begin at the first message.
        consume_from_min_enable: bool = true,
        /// Whether messages are consumed in order.
        consume_message_orderly: bool,
        /// How long consuming one message may take, minutes.
        consume_timeout_minute: i32 = 15,
        /// Group.
        group_name: String,
        /// When a message is tried again.
        group_retry_policy: GroupRetryPolicy,
        /// Bits of the group.
        group_sys_flag: i32,
        /// Whether clients are told when the group changes.
        notify_consumer_ids_changed_enable: bool = true,
        /// How often a message is tried again.
        retry_max_times: i32 = 16,
        /// Queues of the retry topic.
        retry_queue_nums: i32 = 1,
        /// What the group may subscribe to.
        subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
        /// Broker to consume from when consuming is slow.
        which_broker_when_consume_slowly: i64 = 1,
    }
}

impl SubscriptionGroupConfig {
    /// A group with the defaults.
    pub fn new(group: &str) -> Self {
        Self {
            group_name: group.to_owned(),
            ..Self::default()
        }
    }
}

text_enum! {
    /// Kinds of retry policies.
    pub enum GroupRetryPolicyType {
        /// A list of delays.
        #[default]
        Customized = "CUSTOMIZED",
        /// Each delay is a multiple of the last.
        Exponential = "EXPONENTIAL",
    }
}

body! {
    /// When a message is tried again.
    pub struct GroupRetryPolicy {
        /// Delays, if they are not the usual ones.
        customized_retry_policy: Option<CustomizedRetryPolicy>,
        /// Growing delays.
        exponential_retry_policy: Option<ExponentialRetryPolicy>,
        /// Which of the two counts.
        r#type: GroupRetryPolicyType,
    }
}

/// The usual delays, ms: those of the delay levels 1 to 18 and then on.
const DELAYS_MS: [i64; 18] = [
    1000, 5000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

body! {
    /// A list of delays.
    pub struct CustomizedRetryPolicy {
        /// Delay before each try, ms.
        next: PrimitiveArray = PrimitiveArray(DELAYS_MS.to_vec()),
    }
}

body! {
    /// Growing delays.
    pub struct ExponentialRetryPolicy {
        /// First delay, ms.
        initial: i64 = 5000,
        /// Longest delay, ms.
        max: i64 = 7_200_000,
        /// By how much the delay grows.
        multiplier: i64 = 2,
    }
}

body! {
    /// A subscription that a group is limited to.
    #[derive(Eq)]
    pub struct SimpleSubscriptionData {
        /// Filter expression.
        expression: String,
        /// `TAG` or `SQL92`.
        expression_type: String,
        /// Topic.
        topic: String,
        /// Version.
        version: i64,
    }
}

body! {
    /// All groups.
    pub struct SubscriptionGroupWrapper {
        /// Version of the table.
        data_version: DataVersion,
        /// Bits of what is forbidden, by group and topic.
        forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        /// Groups by name.
        subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
    }
}

body! {
    /// Several groups to create (code 225).
    pub struct SubscriptionGroupList {
        /// Groups.
        group_config_list: Vec<SubscriptionGroupConfig>,
    }
}

body! {
    /// Whether a group may read a topic (code 353).
    #[derive(Eq)]
    pub struct GroupForbidden {
        /// Group.
        group: String,
        /// Whether it may read.
        readable: Option<bool>,
        /// Topic.
        topic: String,
    }
}
