//! The files below `config/` that are not the body of a request as well.

use super::DataVersion;
use crate::protocol::fastjson::PrimitiveArray;
use std::collections::BTreeMap;

body! {
    /// The file kvConfig.json of the NameServer.
    #[derive(Eq)]
    pub struct KvConfigTable {
        /// Values by namespace and key.
        config_table: BTreeMap<String, BTreeMap<String, String>>,
    }
}

body! {
    /// Bits of a group in the bloom filter of a topic.
    #[derive(Eq)]
    pub struct BloomFilterData {
        /// Bits of the filter.
        bit_num: i32,
        /// Bits of the group.
        bit_pos: PrimitiveArray,
    }
}

body! {
    /// The filter of a group for a topic.
    #[derive(Eq)]
    pub struct ConsumerFilterData {
        /// Bits.
        bloom_filter_data: Option<BloomFilterData>,
        /// When it was made, ms.
        born_time: i64,
        /// Version of the subscription.
        client_version: i64,
        /// Group.
        consumer_group: String,
        /// Whether the group has gone.
        dead: bool,
        /// When the group went, ms; 0 while it is there.
        dead_time: i64,
        /// Expression.
        expression: String,
        /// `SQL92`.
        expression_type: String,
        /// Topic.
        topic: String,
    }
}

body! {
    /// The filters for a topic.
    #[derive(Eq)]
    pub struct FilterDataMapByTopic {
        /// Filters by group.
        group_filter_data: BTreeMap<String, ConsumerFilterData>,
        /// Topic.
        topic: String,
    }
}

body! {
    /// The file consumerFilter.json.
    #[derive(Eq)]
    pub struct ConsumerFilterTable {
        /// Filters by topic.
        filter_data_by_topic: BTreeMap<String, FilterDataMapByTopic>,
    }
}

body! {
    /// How many messages of a topic wait.
    #[derive(Eq)]
    pub struct Metric {
        /// Messages.
        count: i64,
        /// When that was, ms.
        time_stamp: i64,
    }
}

body! {
    /// The file timermetrics and the answer to code 61; in one line.
    #[derive(Eq)]
    pub struct TimerMetrics {
        /// Version of the table.
        data_version: DataVersion,
        /// Waiting messages by topic.
        timing_count: BTreeMap<String, Metric>,
    }
}

body! {
    /// The file transactionMetrics; in one line.
    #[derive(Eq)]
    pub struct TransactionMetrics {
        /// Version of the table.
        data_version: DataVersion,
        /// Half messages by topic.
        transaction_count: BTreeMap<String, Metric>,
    }
}
