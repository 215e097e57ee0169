//! Sending: codes 10, 310, 320 with the same header under long or short names, the replies 324, 325
//! and 326, and the recall of a timer message (370).
//!
//! Java sends 310 and 320 with one-letter names, the Go client 10 with long and 320 with one-letter
//! names; other clients mix them, so [`SendMessageRequestHeader::of_request`] takes either form for
//! any of these codes.

use crate::command_header;
use crate::protocol::command_header::CommandHeader;
use crate::protocol::{ExtFields, HeaderError, RequestCode, Str};

command_header! {
    /// Sends one message or a batch; all names in full (`SendMessageRequestHeader`).
    pub struct SendMessageRequestHeader {
        /// Group of the producer.
        producer_group: Str => "producerGroup",
        /// Topic.
        topic: Str => "topic",
        /// The topic to create a missing one after.
        default_topic: Str => "defaultTopic",
        /// How many queues a created topic is to have at most.
        default_topic_queue_nums: i32 => "defaultTopicQueueNums",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Bits of [`crate::protocol::message::sys_flag`].
        sys_flag: i32 => "sysFlag",
        /// When the producer made the message, ms.
        born_timestamp: i64 => "bornTimestamp",
        /// The user's flag.
        flag: i32 => "flag",
        /// Text of the properties.
        properties: Option<Str> => "properties",
        /// How often consuming the message failed.
        reconsume_times: Option<i32> => "reconsumeTimes",
        /// Whether the client works in unit mode.
        unit_mode: Option<bool> => "unitMode",
        /// Whether the body is a batch.
        batch: Option<bool> => "batch",
        /// How often the message may be consumed again.
        max_reconsume_times: Option<i32> => "maxReconsumeTimes",
    }
}

command_header! {
    /// Where a message was stored.
    pub struct SendMessageResponseHeader {
        /// Identifier of the message.
        msg_id: Str => "msgId",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Index in the queue.
        queue_offset: i64 => "queueOffset",
        /// Unique key of the message.
        transaction_id: Option<Str> => "transactionId",
        /// Unique key of an inner batch.
        batch_uniq_id: Option<Str> => "batchUniqId",
        /// Names a timer message to recall.
        recall_handle: Option<Str> => "recallHandle",
    }
}

command_header! {
    /// Brings a reply to the client that waits for it (code 326).
    pub struct ReplyMessageRequestHeader {
        /// Group of the producer.
        producer_group: Str => "producerGroup",
        /// Topic.
        topic: Str => "topic",
        /// The topic to create a missing one after.
        default_topic: Str => "defaultTopic",
        /// How many queues a created topic is to have at most.
        default_topic_queue_nums: i32 => "defaultTopicQueueNums",
        /// Queue of the topic.
        queue_id: i32 => "queueId",
        /// Bits of [`crate::protocol::message::sys_flag`].
        sys_flag: i32 => "sysFlag",
        /// When the producer made the message, ms.
        born_timestamp: i64 => "bornTimestamp",
        /// The user's flag.
        flag: i32 => "flag",
        /// Text of the properties.
        properties: Option<Str> => "properties",
        /// How often consuming the message failed.
        reconsume_times: Option<i32> => "reconsumeTimes",
        /// Whether the client works in unit mode.
        unit_mode: bool = false => "unitMode",
        /// Address of the producer.
        born_host: Str => "bornHost",
        /// Address of the broker.
        store_host: Str => "storeHost",
        /// When the broker stored the message, ms.
        store_timestamp: i64 = 0 => "storeTimestamp",
    }
}

command_header! {
    /// Takes a timer message back (code 370).
    pub struct RecallMessageRequestHeader {
        /// Group of the producer.
        producer_group: Option<Str> => "producerGroup",
        /// Topic.
        topic: Str => "topic",
        /// Names a timer message to recall.
        recall_handle: Str => "recallHandle",
    }
}

command_header! {
    /// The message that was taken back.
    pub struct RecallMessageResponseHeader {
        /// Identifier of the message.
        msg_id: Str => "msgId",
    }
}

command_header! {
    /// The same header under its one-letter names (`SendMessageRequestHeaderV2`).
    pub struct SendMessageRequestHeaderV2 {
        /// Group of the producer.
        producer_group: Str => "a",
        /// Topic.
        topic: Str => "b",
        /// The topic to create a missing one after.
        default_topic: Str => "c",
        /// How many queues a created topic is to have at most.
        default_topic_queue_nums: i32 => "d",
        /// Queue of the topic.
        queue_id: i32 => "e",
        /// Bits of [`crate::protocol::message::sys_flag`].
        sys_flag: i32 => "f",
        /// When the producer made the message, ms.
        born_timestamp: i64 => "g",
        /// The user's flag.
        flag: i32 => "h",
        /// Text of the properties.
        properties: Option<Str> => "i",
        /// How often consuming the message failed.
        reconsume_times: Option<i32> => "j",
        /// Whether the client works in unit mode.
        unit_mode: Option<bool> => "k",
        /// Whether the body is a batch.
        batch: Option<bool> => "m",
        /// How often the message may be consumed again.
        max_reconsume_times: Option<i32> => "l",
        /// Name of the broker.
        broker_name: Option<Str> => "n",
    }
}

impl From<SendMessageRequestHeaderV2> for SendMessageRequestHeader {
    fn from(header: SendMessageRequestHeaderV2) -> Self {
        Self {
            producer_group: header.producer_group,
            topic: header.topic,
            default_topic: header.default_topic,
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: header.properties,
            reconsume_times: header.reconsume_times,
            unit_mode: header.unit_mode,
            max_reconsume_times: header.max_reconsume_times,
            batch: header.batch,
        }
    }
}

impl From<SendMessageRequestHeader> for SendMessageRequestHeaderV2 {
    fn from(header: SendMessageRequestHeader) -> Self {
        Self {
            producer_group: header.producer_group,
            topic: header.topic,
            default_topic: header.default_topic,
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: header.properties,
            reconsume_times: header.reconsume_times,
            unit_mode: header.unit_mode,
            max_reconsume_times: header.max_reconsume_times,
            batch: header.batch,
            broker_name: None,
        }
    }
}

impl SendMessageRequestHeader {
    /// Only the time of birth (ms) of a request of one of the sending codes, without reading the
    /// rest of its header; `None` if there is none.
    pub fn born_timestamp_of(fields: &ExtFields) -> Option<i64> {
        let text = fields.get("g").or_else(|| fields.get("bornTimestamp"))?;
        text.parse().ok()
    }

    /// Reads the header of a request of one of the sending codes, under whichever names it came.
    pub fn of_request(code: RequestCode, fields: &ExtFields) -> Result<Self, HeaderError> {
        let short_first = matches!(
            code,
            RequestCode::SendMessageV2
                | RequestCode::SendBatchMessage
                | RequestCode::SendReplyMessageV2
        );
        let short = || SendMessageRequestHeaderV2::decode(fields).map(Self::from);
        let long = || Self::decode(fields);
        // What the header lacks is reported in the names of its code.
        if short_first {
            short().or_else(|error| long().map_err(|_| error))
        } else {
            long().or_else(|error| short().map_err(|_| error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RemotingCommand;

    fn sample() -> SendMessageRequestHeader {
        SendMessageRequestHeader {
            producer_group: "pg".into(),
            topic: "T".into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id: 1,
            born_timestamp: 5,
            properties: Some("a\u{1}b\u{2}".into()),
            batch: Some(true),
            ..SendMessageRequestHeader::default()
        }
    }

    #[test]
    fn both_names_are_understood_for_every_code() {
        let long = RemotingCommand::request(RequestCode::SendMessage, &sample());
        let header = SendMessageRequestHeaderV2::from(sample());
        let short = RemotingCommand::request(RequestCode::SendMessageV2, &header);
        assert_eq!(short.ext_fields.get("a"), Some("pg"));
        for code in [RequestCode::SendMessage, RequestCode::SendBatchMessage] {
            for command in [&long, &short] {
                let read = SendMessageRequestHeader::of_request(code, &command.ext_fields);
                assert_eq!(read, Ok(sample()));
            }
        }
    }

    #[test]
    fn missing_field_is_named_as_its_code_names_it() {
        let none = ExtFields::new();
        for (code, field) in [
            (RequestCode::SendMessage, "producerGroup"),
            (RequestCode::SendMessageV2, "a"),
        ] {
            let read = SendMessageRequestHeader::of_request(code, &none);
            assert_eq!(read, Err(HeaderError::Missing { field }));
        }
    }
}
