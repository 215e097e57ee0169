//! Names of topics and groups: which are the system's own, how derived ones are built and which
//! characters a name may have (`TopicValidator`, `MixAll`, `KeyBuilder`).

use crate::protocol::java::is_blank;

/// The topic that new topics are created after, if the broker allows it.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Delayed messages wait here, one queue for each level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// For throughput tests.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Half messages of transactions.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Marks of half messages that were ended.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages that were checked too often.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Self tests of the broker.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Events of consumers whose offset was out of range.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Consumer offsets in RocksDB mode.
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
/// Timer messages wait here.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Half messages in RocksDB mode; only listed by code 305.
pub const ROCKSDB_TRANS_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";
/// Marks of half messages in RocksDB mode; only listed by code 305.
pub const ROCKSDB_TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC";
/// Every topic that begins so belongs to the system.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Topics of pop check points, one per cluster.
pub const REVIVE_TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// Topics of broker member groups, one per broker.
pub const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// The topics of the system that every broker knows; a broker adds those named after itself and
/// its cluster.
pub const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    CHECKPOINT_TOPIC,
];

const FORBIDDEN_TO_SEND: [&str; 6] = [
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// The topic of a group's messages that have to be consumed again begins so.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// The topic of a group's messages that were given up begins so.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Light message queues begin so.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// The reply topic of a cluster ends so, after an underscore.
pub const REPLY_TOPIC_POSTFIX: &str = "REPLY_TOPIC";

/// Every group that begins so belongs to the system.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// The group that consumes half messages.
pub const TRANS_GROUP: &str = "CID_RMQ_SYS_TRANS";
/// The group of command line tools.
pub const TOOLS_GROUP: &str = "TOOLS_CONSUMER";
/// The name a producer gives itself inside a consumer.
pub const CLIENT_INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";

/// The groups of the system; not to be deleted or listed as a user's.
pub const SYSTEM_GROUPS: [&str; 14] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    TOOLS_GROUP,
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    CLIENT_INNER_PRODUCER,
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
    TRANS_GROUP,
];

/// The groups that a broker creates when it starts.
pub const GROUPS_AT_START: [&str; 8] = [
    TOOLS_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANS_GROUP,
];

/// Longest name of a topic.
pub const TOPIC_LEN_MAX: usize = 127;
/// Longest name of a retry or dead letter topic.
pub const RETRY_TOPIC_LEN_MAX: usize = 255;
/// Longest name of a group.
pub const GROUP_LEN_MAX: usize = 120;
/// What a name may consist of, as the refusals state it.
const PATTERN: &str = "^[%|a-zA-Z0-9_-]+$";

/// Whether the topic belongs to the system by its name alone.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Whether clients may not send to the topic.
pub fn is_forbidden_to_send(topic: &str) -> bool {
    FORBIDDEN_TO_SEND.contains(&topic)
}

/// Whether the group belongs to the system: created on demand in any case.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// Whether the group is one of the system's predefined ones or begins like one.
pub fn is_predefined_group(group: &str) -> bool {
    is_system_group(group) || SYSTEM_GROUPS.contains(&group)
}

/// Whether the topic holds messages to consume again.
pub fn is_retry_topic(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// Whether the topic holds messages that were given up.
pub fn is_dlq_topic(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// Whether the topic is a light message queue.
pub fn is_lmq(topic: &str) -> bool {
    topic.starts_with(LMQ_PREFIX)
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The reply topic of a cluster.
pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}_{REPLY_TOPIC_POSTFIX}")
}

/// The topic of a cluster's pop check points.
pub fn revive_topic(cluster: &str) -> String {
    format!("{REVIVE_TOPIC_PREFIX}{cluster}")
}

/// The group whose retry or dead letter topic this is.
pub fn group_of_topic(topic: &str) -> Option<&str> {
    topic
        .strip_prefix(RETRY_PREFIX)
        .or_else(|| topic.strip_prefix(DLQ_PREFIX))
}

/// The topic that a pop consumer's messages of a topic are retried in, old form.
pub fn pop_retry_topic_v1(topic: &str, group: &str) -> String {
    format!("{RETRY_PREFIX}{group}_{topic}")
}

/// The topic that a pop consumer's messages of a topic are retried in, new form.
pub fn pop_retry_topic_v2(topic: &str, group: &str) -> String {
    format!("{RETRY_PREFIX}{group}+{topic}")
}

/// Whether the topic is a pop retry topic with a name of the new form; no other name has a `+`.
pub fn is_pop_retry_topic_v2(topic: &str) -> bool {
    is_retry_topic(topic) && topic.contains('+')
}

/// The topic that a group's pop retry topic belongs to (`KeyBuilder.parseNormalTopic`); any other
/// topic is itself. None for a retry topic that is not one of this group's.
pub fn normal_topic<'a>(topic: &'a str, group: &str) -> Option<&'a str> {
    let Some(rest) = topic.strip_prefix(RETRY_PREFIX) else {
        return Some(topic);
    };
    let rest = rest.strip_prefix(group)?;
    rest.strip_prefix('+').or_else(|| rest.strip_prefix('_'))
}

/// Whether every character may be in the name of a topic or group.
pub fn has_valid_characters(name: &str) -> bool {
    let valid =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    name.bytes().all(valid)
}

/// Why a name is refused, in the words of the reference implementation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No visible character.
    #[error("The specified {0} is blank.")]
    Blank(&'static str),
    /// A character outside the pattern.
    #[error("The specified {0}: {1}, contains illegal characters, allowing only {PATTERN}")]
    IllegalCharacters(&'static str, String),
    /// A topic or group with too long a name.
    #[error("The specified {0}: {1}, is longer than {0} max length: {2}")]
    TooLong(&'static str, String, usize),
    /// A retry or dead letter topic with too long a name.
    #[error(
        "The specified topic is DLQ or Retry topic: {0}, and it's longer than topic max length: \
         {RETRY_TOPIC_LEN_MAX}"
    )]
    DerivedTopicTooLong(String),
}

/// Checks the name of a topic. The error's text is the remark to answer with.
pub fn validate_topic(topic: &str) -> Result<(), NameError> {
    validate(topic, "topic")?;
    if is_retry_topic(topic) || is_dlq_topic(topic) {
        if topic.len() > RETRY_TOPIC_LEN_MAX {
            return Err(NameError::DerivedTopicTooLong(topic.to_owned()));
        }
    } else if topic.len() > TOPIC_LEN_MAX {
        return Err(NameError::TooLong("topic", topic.to_owned(), TOPIC_LEN_MAX));
    }
    Ok(())
}

/// Checks the name of a group. The error's text is the remark to answer with.
pub fn validate_group(group: &str) -> Result<(), NameError> {
    validate(group, "group")?;
    if group.len() > GROUP_LEN_MAX {
        return Err(NameError::TooLong("group", group.to_owned(), GROUP_LEN_MAX));
    }
    Ok(())
}

fn validate(name: &str, kind: &'static str) -> Result<(), NameError> {
    if is_blank(name) {
        return Err(NameError::Blank(kind));
    }
    if !has_valid_characters(name) {
        return Err(NameError::IllegalCharacters(kind, name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_with_the_words_of_the_reference() {
        assert_eq!(validate_topic("%RETRY%a-b_c|9"), Ok(()));
        let text = |result: Result<(), NameError>| result.unwrap_err().to_string();
        assert_eq!(text(validate_topic(" ")), "The specified topic is blank.");
        assert_eq!(
            text(validate_group("a b")),
            "The specified group: a b, contains illegal characters, allowing only \
             ^[%|a-zA-Z0-9_-]+$"
        );
        let long = "t".repeat(128);
        assert_eq!(
            text(validate_topic(&long)),
            format!("The specified topic: {long}, is longer than topic max length: 127")
        );
        assert_eq!(validate_topic(&retry_topic(&long)), Ok(()));
        assert!(text(validate_topic(&dlq_topic(&"t".repeat(255)))).ends_with("max length: 255"));
        assert!(validate_group(&"g".repeat(120)).is_ok());
        assert!(validate_group(&"g".repeat(121)).is_err());
    }

    #[test]
    fn system_names_are_known() {
        assert!(is_system_topic("rmq_sys_wheel_timer") && is_system_topic("TBW102"));
        assert!(!is_system_topic("T") && is_forbidden_to_send(SCHEDULE_TOPIC));
        assert!(!is_forbidden_to_send(BENCHMARK_TOPIC));
        assert_eq!(group_of_topic(&retry_topic("g")), Some("g"));
        assert_eq!(group_of_topic(&dlq_topic("g")), Some("g"));
        assert_eq!(group_of_topic("g"), None);
        assert!(is_predefined_group("TOOLS_CONSUMER") && !is_predefined_group("g"));
        for retry in [pop_retry_topic_v1("t", "g"), pop_retry_topic_v2("t", "g")] {
            assert_eq!(normal_topic(&retry, "g"), Some("t"));
            assert_eq!(normal_topic(&retry, "other"), None);
        }
        assert_eq!(normal_topic("t", "g"), Some("t"));
    }
}
