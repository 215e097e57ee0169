//! Finding messages by key or by identifier, and reading consume queues: codes 12, 33 and 321.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Asks for messages by key (code 12).
    pub struct QueryMessageRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Key.
        key: Str => "key",
        /// Most messages to find.
        max_num: i32 => "maxNum",
        /// Earliest store time, ms.
        begin_timestamp: i64 => "beginTimestamp",
        /// Latest store time, ms.
        end_timestamp: i64 => "endTimestamp",
        /// `K` key, `U` unique key or `T` tags.
        index_type: Option<Str> => "indexType",
        /// Where a longer query goes on.
        last_key: Option<Str> => "lastKey",
        /// Whether the key is a unique key.
        unique_key_query: Option<bool> => "_UNIQUE_KEY_QUERY",
    }
}

command_header! {
    /// How far the index reaches.
    pub struct QueryMessageResponseHeader {
        /// Store time of the last indexed message, ms.
        index_last_update_timestamp: i64 => "indexLastUpdateTimestamp",
        /// Position of the last indexed message.
        index_last_update_phy_offset: i64 => "indexLastUpdatePhyoffset",
    }
}

command_header! {
    /// Asks for the message at a position of the commit log (code 33).
    pub struct ViewMessageRequestHeader {
        /// Topic.
        topic: Option<Str> => "topic",
        /// Offset.
        offset: i64 => "offset",
    }
}

command_header! {
    /// Asks for entries of a consume queue (code 321).
    pub struct QueryConsumeQueueRequestHeader {
        /// Topic.
        topic: Option<Str> => "topic",
        /// Queue of the topic.
        queue_id: i32 = 0 => "queueId",
        /// First index asked for.
        index: i64 = 0 => "index",
        /// How many entries are asked for.
        count: i32 = 0 => "count",
        /// Group of the consumer.
        consumer_group: Option<Str> => "consumerGroup",
    }
}
