//! Where topics live: codes 105, 106 and 901.

use super::topic_queue_mapping::TopicQueueMappingInfo;
use std::collections::BTreeMap;

/// Id of the master among the brokers of one name.
pub const MASTER_ID: i64 = 0;

body! {
    /// The route of a topic.
    pub struct TopicRouteData {
        /// Brokers that have the topic.
        broker_datas: Vec<BrokerData>,
        /// Filter servers by broker; always empty.
        filter_server_table: BTreeMap<String, Vec<String>>,
        /// Queues of an ordered topic.
        order_topic_conf: Option<String>,
        /// Queues of the topic by broker.
        queue_datas: Vec<QueueData>,
        /// Static topics by broker.
        topic_queue_mapping_by_broker: Option<BTreeMap<String, TopicQueueMappingInfo>>,
    }
}

body! {
    /// The queues of a topic on the brokers of one name.
    #[derive(Eq, PartialOrd, Ord)]
    pub struct QueueData {
        /// Name of the broker.
        broker_name: String,
        /// Permission.
        perm: i32,
        /// Queues to read from.
        read_queue_nums: i32,
        /// Bits of the topic.
        topic_sys_flag: i32,
        /// Queues to write to.
        write_queue_nums: i32,
    }
}

body! {
    /// The brokers of one name.
    #[derive(Eq)]
    pub struct BrokerData {
        /// Addresses by broker id; 0 is the master.
        broker_addrs: BTreeMap<i64, String>,
        /// Name of the broker.
        broker_name: String,
        /// Cluster.
        cluster: String,
        /// Whether the slave with the least id acts for a lost master.
        enable_acting_master: bool,
        /// Zone.
        zone_name: Option<String>,
    }
}

impl BrokerData {
    /// The master's address, or that of the slave with the least id.
    pub fn select_addr(&self) -> Option<&str> {
        self.broker_addrs.values().next().map(String::as_str)
    }

    /// The master's address.
    pub fn master_addr(&self) -> Option<&str> {
        self.broker_addrs.get(&MASTER_ID).map(String::as_str)
    }
}

body! {
    /// All brokers and clusters.
    pub struct ClusterInfo {
        /// Brokers by name.
        broker_addr_table: BTreeMap<String, BrokerData>,
        /// Names of brokers by cluster.
        cluster_addr_table: BTreeMap<String, Vec<String>>,
    }
}

impl ClusterInfo {
    /// The address of the master of a broker's name.
    pub fn master_addr(&self, broker: &str) -> Option<&str> {
        self.broker_addr_table.get(broker)?.master_addr()
    }
}

body! {
    /// The brokers of one name, as brokers see it.
    #[derive(Eq)]
    pub struct BrokerMemberGroup {
        /// Addresses by broker id.
        broker_addrs: BTreeMap<i64, String>,
        /// Name of the broker.
        broker_name: String,
        /// Cluster.
        cluster: String,
    }
}

body! {
    /// Answer to code 901.
    #[derive(Eq)]
    pub struct GetBrokerMemberGroupResponseBody {
        /// The brokers.
        broker_member_group: Option<BrokerMemberGroup>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fastjson::{from_str, to_string, to_vec_standard};

    #[test]
    fn route_is_written_in_both_forms() {
        let text = r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:10921"},"brokerName":"b-a","cluster":"C","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"b-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
        let route: TopicRouteData = from_str(text).unwrap();
        assert_eq!(to_string(&route).unwrap(), text);
        let standard = String::from_utf8(to_vec_standard(&route).unwrap()).unwrap();
        assert_eq!(
            standard,
            text.replace("0:\"", "\"0\":\"")
                .replace("1:\"127", "\"1\":\"127")
        );
        assert_eq!(from_str::<TopicRouteData>(&standard).unwrap(), route);
        assert_eq!(route.broker_datas[0].master_addr(), Some("127.0.0.1:10911"));
        assert_eq!(route.broker_datas[0].select_addr(), Some("127.0.0.1:10911"));
    }
}
