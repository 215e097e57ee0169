//! Pop consumption: codes 200050 to 200055.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Asks for messages and hides them for a while (code 200050).
    pub struct PopMessageRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 = 0 => "queueId",
        /// Most messages to answer with.
        max_msg_nums: i32 = 0 => "maxMsgNums",
        /// How long the messages stay hidden, ms.
        invisible_time: i64 = 0 => "invisibleTime",
        /// How long the request may wait, ms.
        poll_time: i64 = 0 => "pollTime",
        /// When the request was made, ms.
        born_time: i64 = 0 => "bornTime",
        /// Where a new group begins: 0 the first, 1 the last message.
        init_mode: i32 = 0 => "initMode",
        /// `TAG` or `SQL92`.
        exp_type: Option<Str> => "expType",
        /// Filter expression.
        exp: Option<Str> => "exp",
        /// Whether messages are ordered.
        order: bool = false => "order",
        /// Names one attempt of an ordered receive.
        attempt_id: Option<Str> => "attemptId",
    }
}

command_header! {
    /// What the messages of a pop answer belong to.
    pub struct PopMessageResponseHeader {
        /// When the messages were popped, ms.
        pop_time: i64 = 0 => "popTime",
        /// How long the messages stay hidden, ms.
        invisible_time: i64 = 0 => "invisibleTime",
        /// Queue of the revive topic.
        revive_qid: i32 = 0 => "reviveQid",
        /// How many messages are left.
        rest_num: i64 = 0 => "restNum",
        /// First offsets of the queues.
        start_offset_info: Option<Str> => "startOffsetInfo",
        /// Offsets of the messages.
        msg_offset_info: Option<Str> => "msgOffsetInfo",
        /// How often ordered messages were consumed.
        order_count_info: Option<Str> => "orderCountInfo",
    }
}

command_header! {
    /// Asks for messages without hiding them (code 200052).
    pub struct PeekMessageRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 = 0 => "queueId",
        /// Most messages to answer with.
        max_msg_nums: i32 = 0 => "maxMsgNums",
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
    }
}

command_header! {
    /// Marks a message as consumed (code 200051).
    pub struct AckMessageRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Receipt handle of the message.
        extra_info: Str => "extraInfo",
        /// Offset.
        offset: i64 => "offset",
    }
}

command_header! {
    /// Changes how long a message stays hidden (code 200053).
    pub struct ChangeInvisibleTimeRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Receipt handle of the message.
        extra_info: Str => "extraInfo",
        /// Offset.
        offset: i64 => "offset",
        /// How long the messages stay hidden, ms.
        invisible_time: i64 => "invisibleTime",
    }
}

command_header! {
    /// The new check point.
    pub struct ChangeInvisibleTimeResponseHeader {
        /// When the messages were popped, ms.
        pop_time: i64 = 0 => "popTime",
        /// How long the messages stay hidden, ms.
        invisible_time: i64 = 0 => "invisibleTime",
        /// Queue of the revive topic.
        revive_qid: i32 = 0 => "reviveQid",
    }
}

command_header! {
    /// Waits until there are messages (code 200054).
    pub struct NotificationRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 = 0 => "queueId",
        /// How long the request may wait, ms.
        poll_time: i64 = 0 => "pollTime",
        /// When the request was made, ms.
        born_time: i64 = 0 => "bornTime",
        /// Whether messages are ordered.
        order: bool = false => "order",
        /// Names one attempt of an ordered receive.
        attempt_id: Option<Str> => "attemptId",
    }
}

command_header! {
    /// Whether there are messages.
    pub struct NotificationResponseHeader {
        /// Whether there are messages.
        has_msg: bool = false => "hasMsg",
        /// Whether too many requests wait.
        polling_full: bool = false => "pollingFull",
    }
}

command_header! {
    /// Asks how many requests wait (code 200055).
    pub struct PollingInfoRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 = 0 => "queueId",
    }
}

command_header! {
    /// How many requests wait.
    pub struct PollingInfoResponseHeader {
        /// How many requests wait.
        polling_num: i32 = 0 => "pollingNum",
    }
}
