//! Figures: codes 28, 202, 208, 315 and 317.

use super::MessageQueue;
use std::collections::BTreeMap;

body! {
    /// Any table of texts: answers to 28, 219 and to registering.
    #[derive(Eq)]
    pub struct KvTable {
        /// Values by key.
        table: BTreeMap<String, String>,
    }
}

body! {
    /// How far a group is in one queue.
    #[derive(Eq)]
    pub struct OffsetWrapper {
        /// End of the queue.
        broker_offset: i64,
        /// Offset of the group.
        consumer_offset: i64,
        /// Store time of the last message consumed, ms.
        last_timestamp: i64,
        /// Offset up to which messages were pulled.
        pull_offset: i64,
    }
}

body! {
    /// How far a group is.
    pub struct ConsumeStats {
        /// Messages per second.
        consume_tps: f64,
        /// Offsets by queue.
        offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
    }
}

impl ConsumeStats {
    /// Messages that are not consumed yet.
    pub fn total_diff(&self) -> i64 {
        self.offset_table
            .values()
            .map(|offset| offset.broker_offset - offset.consumer_offset)
            .sum()
    }

    /// Messages that were pulled and are not consumed yet.
    pub fn inflight_diff(&self) -> i64 {
        let pulled = self.offset_table.values();
        pulled
            .map(|offset| offset.pull_offset - offset.consumer_offset)
            .sum()
    }
}

body! {
    /// How far all groups are.
    pub struct ConsumeStatsList {
        /// Address of the broker.
        broker_addr: Option<String>,
        /// Progress by group.
        consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        /// Messages that are not consumed yet.
        total_diff: i64,
        /// Messages that are being consumed.
        total_inflight_diff: i64,
    }
}

body! {
    /// The offsets of one queue.
    #[derive(Eq)]
    pub struct TopicOffset {
        /// Store time of the last message, ms.
        last_update_timestamp: i64,
        /// One behind the last index.
        max_offset: i64,
        /// First index.
        min_offset: i64,
    }
}

body! {
    /// The offsets of a topic.
    pub struct TopicStatsTable {
        /// Offsets by queue.
        offset_table: BTreeMap<MessageQueue, TopicOffset>,
        /// Messages put per second.
        topic_put_tps: f64,
    }
}

body! {
    /// One statistic over one span of time.
    pub struct BrokerStatsItem {
        /// Value per time.
        avgpt: f64,
        /// Sum.
        sum: i64,
        /// Times per second.
        tps: f64,
    }
}

body! {
    /// One statistic (code 315).
    pub struct BrokerStatsData {
        /// Over the last day.
        stats_day: BrokerStatsItem,
        /// Over the last hour.
        stats_hour: BrokerStatsItem,
        /// Over the last minute.
        stats_minute: BrokerStatsItem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fastjson::{from_str, to_string};

    #[test]
    fn queues_are_keys() {
        let text = r#"{"consumeTps":0.5,"offsetTable":{{"brokerName":"b-a","queueId":1,"topic":"T"}:{"brokerOffset":10,"consumerOffset":5,"lastTimestamp":0,"pullOffset":0}}}"#;
        let stats: ConsumeStats = from_str(text).unwrap();
        assert_eq!(stats.total_diff(), 5);
        assert_eq!(to_string(&stats).unwrap(), text);
    }
}
