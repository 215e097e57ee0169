//! Offsets of groups: codes 43, 45, 220 to 223, 308 and the files consumerOffset.json and
//! delayOffset.json.

use super::{DataVersion, MessageQueue};
use std::collections::BTreeMap;

/// Between topic and group in the keys of [`ConsumerOffsetTable::offset_table`].
pub const TOPIC_GROUP_SEPARATOR: char = '@';

body! {
    /// The offsets of all groups.
    #[derive(Eq)]
    pub struct ConsumerOffsetTable {
        /// Version of the table.
        data_version: DataVersion,
        /// Topics by group.
        group_topic_map: BTreeMap<String, Vec<String>>,
        /// With `enableLmq`: offsets of light message queues by `topic@group`
        /// (`LmqConsumerOffsetManager`).
        lmq_offset_table: Option<BTreeMap<String, i64>>,
        /// Offsets by queue, by `topic@group`; broadcast offsets have `topic@group@broadcast`.
        offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    }
}

body! {
    /// How far each delay level is.
    #[derive(Eq)]
    pub struct DelayOffsetTable {
        /// Version of the table.
        data_version: DataVersion,
        /// Queue offset by level.
        offset_table: BTreeMap<i32, i64>,
    }
}

body! {
    /// New offsets of a group.
    #[derive(Eq)]
    pub struct ResetOffsetBody {
        /// Offsets by queue.
        offset_table: BTreeMap<MessageQueue, i64>,
    }
}

body! {
    /// The new offset of one queue, for C++ clients.
    #[derive(Eq)]
    pub struct MessageQueueForC {
        /// Name of the broker.
        broker_name: String,
        /// New offset.
        offset: i64,
        /// Queue of the topic.
        queue_id: i32,
        /// Topic.
        topic: String,
    }
}

body! {
    /// New offsets of a group, for C++ clients.
    #[derive(Eq)]
    pub struct ResetOffsetBodyForC {
        /// Offsets.
        offset_table: Vec<MessageQueueForC>,
    }
}

impl From<&ResetOffsetBody> for ResetOffsetBodyForC {
    fn from(body: &ResetOffsetBody) -> Self {
        let entry = |(queue, offset): (&MessageQueue, &i64)| MessageQueueForC {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        };
        Self {
            offset_table: body.offset_table.iter().map(entry).collect(),
        }
    }
}

body! {
    /// The offsets of clients (codes 221 and 223).
    #[derive(Eq)]
    pub struct GetConsumerStatusBody {
        /// Offsets by queue, by client.
        consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
        /// Offsets by queue, of one client.
        message_queue_table: BTreeMap<MessageQueue, i64>,
    }
}

body! {
    /// Offsets to correct (code 308).
    #[derive(Eq)]
    pub struct QueryCorrectionOffsetBody {
        /// Offset by queue.
        correction_offsets: BTreeMap<i32, i64>,
    }
}
