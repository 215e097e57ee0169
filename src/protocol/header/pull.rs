//! Pulling messages: codes 11 and 361.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Asks for messages of one queue.
    pub struct PullMessageRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Index in the queue.
        queue_offset: i64 => "queueOffset",
        /// Most messages to answer with.
        max_msg_nums: i32 => "maxMsgNums",
        /// Bits of [`crate::protocol::message::sys_flag`].
        sys_flag: i32 => "sysFlag",
        /// Offset to commit.
        commit_offset: i64 => "commitOffset",
        /// How long the request may wait, ms.
        suspend_timeout_millis: i64 => "suspendTimeoutMillis",
        /// Filter expression; for tags the tags.
        subscription: Option<Str> => "subscription",
        /// Version of the subscription, ms.
        sub_version: i64 => "subVersion",
        /// `TAG` or `SQL92`.
        expression_type: Option<Str> => "expressionType",
        /// Most bytes to answer with.
        max_msg_bytes: Option<i32> => "maxMsgBytes",
        /// Where the request comes from: -1 or absent a client, 0 to 2 a proxy.
        request_source: Option<i32> => "requestSource",
        /// The client that a proxy asks for. RocketMQ's spelling.
        proxy_forward_client_id: Option<Str> => "proxyFrowardClientId",
    }
}

command_header! {
    /// Where to go on, and what the queue has.
    pub struct PullMessageResponseHeader {
        /// The broker to pull from next.
        suggest_which_broker_id: i64 => "suggestWhichBrokerId",
        /// Where to go on.
        next_begin_offset: i64 => "nextBeginOffset",
        /// First index of the queue.
        min_offset: i64 => "minOffset",
        /// One behind the last index of the queue.
        max_offset: i64 => "maxOffset",
        /// To add to the offsets of the messages (static topics).
        offset_delta: Option<i64> => "offsetDelta",
        /// Bits of the topic.
        topic_sys_flag: Option<i32> => "topicSysFlag",
        /// Bits of the group.
        group_sys_flag: Option<i32> => "groupSysFlag",
        /// Why pulling is forbidden: 1 broker, 2 group, 3 topic, 4 broadcasting, 5 subscription.
        forbidden_type: Option<i32> => "forbiddenType",
    }
}
