//! Offsets of queues and of groups: codes 14, 15, 29, 30, 31 and 32.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Asks for a group's offset in a queue (code 14).
    pub struct QueryConsumerOffsetRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Whether a group without an offset gets 0.
        set_zero_if_not_found: Option<bool> => "setZeroIfNotFound",
    }
}

command_header! {
    /// Commits a group's offset in a queue (code 15).
    pub struct UpdateConsumerOffsetRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Offset to commit.
        commit_offset: i64 => "commitOffset",
    }
}

command_header! {
    /// Asks for the offset at a time (code 29).
    pub struct SearchOffsetRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Time, ms.
        timestamp: i64 => "timestamp",
        /// `LOWER` or `UPPER`, in any case.
        boundary_type: Option<Str> => "boundaryType",
    }
}

command_header! {
    /// Asks for the end of a queue (code 30).
    pub struct GetMaxOffsetRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Whether only what is replicated counts.
        committed: bool = true => "committed",
    }
}

command_header! {
    /// Asks for the start of a queue (code 31).
    pub struct GetMinOffsetRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
    }
}

command_header! {
    /// The offset that codes 14, 29, 30 and 31 asked for.
    pub struct OffsetResponseHeader {
        /// Offset.
        offset: i64 => "offset",
    }
}

command_header! {
    /// Asks for the store time of the first message of a queue (code 32).
    pub struct GetEarliestMsgStoretimeRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
    }
}

command_header! {
    /// Store time of the first message, ms.
    pub struct GetEarliestMsgStoretimeResponseHeader {
        /// Time, ms.
        timestamp: i64 => "timestamp",
    }
}
