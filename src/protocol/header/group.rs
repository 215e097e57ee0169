//! Groups of consumers: codes 201, 207, 208, 303, 308, 314, 317, 343, 345, 352 and 353, and the reset
//! of their offsets: codes 220 to 223.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Asks for all groups, in portions (code 201).
    pub struct GetAllSubscriptionGroupRequestHeader {
        /// Index of the first group asked for.
        group_seq: Option<i32> => "groupSeq",
        /// JSON of the asker's data version.
        data_version: Option<Str> => "dataVersion",
        /// Most groups to answer with.
        max_group_num: Option<i32> => "maxGroupNum",
    }
}

command_header! {
    /// How many groups there are in all.
    pub struct GetAllSubscriptionGroupResponseHeader {
        /// How many groups there are.
        total_group_num: Option<i32> => "totalGroupNum",
    }
}

command_header! {
    /// Asks for one group (code 352).
    pub struct GetSubscriptionGroupConfigRequestHeader {
        /// Group of the consumer.
        group: Str => "group",
    }
}

command_header! {
    /// Deletes a group (code 207).
    pub struct DeleteSubscriptionGroupRequestHeader {
        /// Group.
        group_name: Str => "groupName",
        /// Whether the group's offsets are deleted as well.
        clean_offset: bool = false => "cleanOffset",
    }
}

command_header! {
    /// Forbids a group to read a topic (code 353).
    pub struct UpdateGroupForbiddenRequestHeader {
        /// Group of the consumer.
        group: Str => "group",
        /// Topic.
        topic: Str => "topic",
        /// Whether the group may read the topic; absent asks only.
        readable: Option<bool> => "readable",
    }
}

command_header! {
    /// Asks for the progress of a group (code 208).
    pub struct GetConsumeStatsRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Topic.
        topic: Option<Str> => "topic",
        /// Several topics, separated by semicolons.
        topic_list: Option<Str> => "topicList",
    }
}

command_header! {
    /// Asks for the progress of all groups (code 317).
    pub struct GetConsumeStatsInBrokerHeader {
        /// Whether to ask for ordered topics.
        is_order: bool = false => "isOrder",
    }
}

command_header! {
    /// Asks which topics a group consumes (code 343).
    pub struct QueryTopicsByConsumerRequestHeader {
        /// Group of the consumer.
        group: Str => "group",
    }
}

command_header! {
    /// Asks how a group subscribes to a topic (code 345).
    pub struct QuerySubscriptionByConsumerRequestHeader {
        /// Group of the consumer.
        group: Str => "group",
        /// Topic.
        topic: Option<Str> => "topic",
    }
}

command_header! {
    /// Asks for the store times a group is at (code 303).
    pub struct QueryConsumeTimeSpanRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Group of the consumer.
        group: Str => "group",
    }
}

command_header! {
    /// Asks for offsets to correct (code 308).
    pub struct QueryCorrectionOffsetHeader {
        /// Groups, separated by commas.
        filter_groups: Option<Str> => "filterGroups",
        /// Group to compare with.
        compare_group: Str => "compareGroup",
        /// Topic.
        topic: Str => "topic",
    }
}

command_header! {
    /// Copies one group's offsets to another (code 314).
    pub struct CloneGroupOffsetRequestHeader {
        /// Group to copy from.
        src_group: Str => "srcGroup",
        /// Group to copy to.
        dest_group: Str => "destGroup",
        /// Topic.
        topic: Option<Str> => "topic",
        /// Whether the target group has to be offline.
        offline: bool = false => "offline",
    }
}

command_header! {
    /// Sets a group's offsets back or forth (codes 222 and 220).
    pub struct ResetOffsetRequestHeader {
        /// Group of the consumer.
        group: Str => "group",
        /// Topic.
        topic: Str => "topic",
        /// Queue of the topic.
        queue_id: i32 = -1 => "queueId",
        /// Offset.
        offset: Option<i64> => "offset",
        /// Time, ms.
        timestamp: i64 = 0 => "timestamp",
        /// Whether offsets may move forward as well, not only back.
        is_force: bool = false => "isForce",
    }
}

command_header! {
    /// Asks clients for their offsets (codes 223 and 221).
    pub struct GetConsumerStatusRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Group of the consumer.
        group: Str => "group",
        /// Only the client at this address.
        client_addr: Option<Str> => "clientAddr",
    }
}
