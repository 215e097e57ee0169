//! Topics of a broker: codes 17, 21, 202, 215, 300 and 351.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Creates or changes a topic (codes 17 and 513).
    pub struct CreateTopicRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// The topic to create a missing one after.
        default_topic: Str => "defaultTopic",
        /// Queues to read from.
        read_queue_nums: i32 => "readQueueNums",
        /// Queues to write to.
        write_queue_nums: i32 => "writeQueueNums",
        /// Permission, see [`crate::protocol::message::perm`].
        perm: i32 => "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: Str => "topicFilterType",
        /// Bits of the topic.
        topic_sys_flag: Option<i32> => "topicSysFlag",
        /// Whether messages are ordered.
        order: bool = false => "order",
        /// Changes of the attributes: `+key=value,-key`.
        attributes: Option<Str> => "attributes",
        /// Whether to force the change.
        force: bool = false => "force",
    }
}

command_header! {
    /// Asks for all topics, in portions (code 21).
    pub struct GetAllTopicConfigRequestHeader {
        /// Index of the first topic asked for.
        topic_seq: Option<i32> => "topicSeq",
        /// JSON of the asker's data version.
        data_version: Option<Str> => "dataVersion",
        /// Most topics to answer with.
        max_topic_num: Option<i32> => "maxTopicNum",
    }
}

command_header! {
    /// How many topics there are in all.
    pub struct GetAllTopicConfigResponseHeader {
        /// How many topics there are.
        total_topic_num: Option<i32> => "totalTopicNum",
    }
}

command_header! {
    /// Asks for one topic (code 351).
    pub struct GetTopicConfigRequestHeader {
        /// Topic.
        topic: Str => "topic",
    }
}

command_header! {
    /// Deletes a topic (code 215).
    pub struct DeleteTopicRequestHeader {
        /// Topic.
        topic: Str => "topic",
    }
}

command_header! {
    /// Asks for the offsets of a topic (code 202).
    pub struct GetTopicStatsInfoRequestHeader {
        /// Topic.
        topic: Str => "topic",
    }
}

command_header! {
    /// Asks which groups consume a topic (code 300).
    pub struct QueryTopicConsumeByWhoRequestHeader {
        /// Topic.
        topic: Str => "topic",
    }
}
