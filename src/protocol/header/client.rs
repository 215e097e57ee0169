//! Clients and their groups: codes 35, 36, 38, 40, 203, 204, 307 and 309.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Takes a client out of a group (code 35).
    pub struct UnregisterClientRequestHeader {
        /// Client.
        client_id: Str => "clientID",
        /// Group of the producer.
        producer_group: Option<Str> => "producerGroup",
        /// Group of the consumer.
        consumer_group: Option<Str> => "consumerGroup",
    }
}

command_header! {
    /// Gives a message back to be consumed again later (code 36).
    pub struct ConsumerSendMsgBackRequestHeader {
        /// Offset.
        offset: i64 => "offset",
        /// Group of the consumer.
        group: Str => "group",
        /// Delay level before the next try; 0 lets the broker choose, -1 gives up.
        delay_level: i32 => "delayLevel",
        /// Offset message id of the message.
        origin_msg_id: Option<Str> => "originMsgId",
        /// Topic of the message.
        origin_topic: Option<Str> => "originTopic",
        /// Whether the client works in unit mode.
        unit_mode: bool = false => "unitMode",
        /// How often the message may be consumed again.
        max_reconsume_times: Option<i32> => "maxReconsumeTimes",
    }
}

command_header! {
    /// Asks for the clients of a group (code 38).
    pub struct GetConsumerListByGroupRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
    }
}

command_header! {
    /// Tells a client that its group has changed (code 40).
    pub struct NotifyConsumerIdsChangedRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
    }
}

command_header! {
    /// Asks for the connections of a group of consumers (code 203).
    pub struct GetConsumerConnectionListRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
    }
}

command_header! {
    /// Asks for the connections of a group of producers (code 204).
    pub struct GetProducerConnectionListRequestHeader {
        /// Group of the producer.
        producer_group: Str => "producerGroup",
    }
}

command_header! {
    /// Asks a consumer how it is (code 307), relayed by the broker.
    pub struct GetConsumerRunningInfoRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Client.
        client_id: Str => "clientId",
        /// Whether to add the stacks of all threads.
        jstack_enable: bool = false => "jstackEnable",
    }
}

command_header! {
    /// Has a consumer consume one message (code 309), relayed by the broker.
    pub struct ConsumeMessageDirectlyResultRequestHeader {
        /// Group of the consumer.
        consumer_group: Str => "consumerGroup",
        /// Client.
        client_id: Option<Str> => "clientId",
        /// Identifier of the message.
        msg_id: Option<Str> => "msgId",
        /// Name of the broker.
        broker_name: Option<Str> => "brokerName",
        /// Topic.
        topic: Option<Str> => "topic",
        /// Bits of the topic.
        topic_sys_flag: Option<i32> => "topicSysFlag",
        /// Bits of the group.
        group_sys_flag: Option<i32> => "groupSysFlag",
    }
}
