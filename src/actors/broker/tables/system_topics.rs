//! Topics and groups that every broker has (`TopicConfigManager.init`, `TopicValidator`).

use std::collections::BTreeSet;

use crate::{
    config::BrokerConfig,
    protocol::{
        body::topic_config::TopicConfig,
        message::{names, perm},
    },
};

/// Queues of the topic for throughput tests.
const BENCHMARK_QUEUES: i32 = 1024;
/// Queues of the cluster's topic: those of a topic whose creator says nothing.
const CLUSTER_QUEUES: i32 = 16;
/// Queues of the topic for delayed messages: one for each level.
const SCHEDULE_QUEUES: i32 = 18;

const READ_WRITE: i32 = perm::READ | perm::WRITE;

/// The topics that a broker makes when it starts, unless its file knows them already.
pub fn at_start(config: &BrokerConfig) -> Vec<TopicConfig> {
    let broker = &config.broker;
    let named = |enabled: bool| perm::INHERIT | if enabled { READ_WRITE } else { 0 };
    let cluster = broker.broker_cluster_name.as_str();
    let plain = |topic: &str, queues: i32| TopicConfig::new(topic, queues, READ_WRITE);
    let sync_member = format!("{}{}", names::SYNC_BROKER_MEMBER_PREFIX, broker.broker_name);
    let mut topics = vec![
        plain(names::SELF_TEST_TOPIC, 1),
        plain(names::BENCHMARK_TOPIC, BENCHMARK_QUEUES),
        TopicConfig::new(cluster, CLUSTER_QUEUES, named(broker.cluster_topic_enable)),
        TopicConfig::new(&broker.broker_name, 1, named(broker.broker_topic_enable)),
        plain(names::OFFSET_MOVED_EVENT, 1),
        plain(names::SCHEDULE_TOPIC, SCHEDULE_QUEUES),
        plain(&names::reply_topic(cluster), 1),
        plain(&names::revive_topic(cluster), broker.revive_queue_num),
        TopicConfig::new(&sync_member, 1, perm::INHERIT),
        plain(names::TRANS_HALF_TOPIC, 1),
        plain(names::TRANS_OP_HALF_TOPIC, 1),
        plain(names::ROCKSDB_TRANS_HALF_TOPIC, 1),
        plain(names::ROCKSDB_TRANS_OP_HALF_TOPIC, 1),
    ];
    if broker.auto_create_topic_enable {
        let queues = broker.default_topic_queue_nums;
        let inherited =
            TopicConfig::new(names::AUTO_CREATE_TOPIC, queues, READ_WRITE | perm::INHERIT);
        topics.push(inherited);
    }
    if broker.trace_topic_enable {
        topics.push(plain(&broker.msg_trace_topic_name, 1));
    }
    if config.store.timer_wheel_enable {
        topics.push(plain(names::TIMER_TOPIC, 1));
    }
    topics
}

/// The names that belong to the system on this broker: code 305, and what may not be changed.
pub fn names_of(config: &BrokerConfig) -> BTreeSet<String> {
    let fixed = names::SYSTEM_TOPICS.iter().map(|&topic| topic.to_owned());
    let own = at_start(config).into_iter().map(|topic| topic.topic_name);
    fixed.chain(own).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::test_env;

    #[test]
    fn the_names_are_those_of_the_reference() {
        let settings = [("listenPort", "20911"), ("brokerName", "broker-a")];
        let config = BrokerConfig::load(None, &settings, &test_env(Path::new("/h"))).unwrap();
        let names = names_of(&config);
        let seen = [
            "RMQ_SYS_TRANS_HALF_TOPIC",
            "BenchmarkTest",
            "TRANS_CHECK_MAX_TIME_TOPIC",
            "OFFSET_MOVED_EVENT",
            "TBW102",
            "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC",
            "rmq_sys_REVIVE_LOG_DefaultCluster",
            "SELF_TEST_TOPIC",
            "DefaultCluster",
            "SCHEDULE_TOPIC_XXXX",
            "RMQ_SYS_TRACE_TOPIC",
            "DefaultCluster_REPLY_TOPIC",
            "rmq_sys_wheel_timer",
            "CHECKPOINT_TOPIC",
            "rmq_sys_SYNC_BROKER_MEMBER_broker-a",
            "RMQ_SYS_TRANS_OP_HALF_TOPIC",
            "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC",
            "broker-a",
        ];
        let seen: BTreeSet<String> = seen.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(names, seen);
    }
}
