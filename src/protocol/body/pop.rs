//! Acknowledging popped messages: code 200151.

body! {
    /// Acknowledgements of messages that were popped together.
    #[derive(Eq)]
    pub struct BatchAck {
        /// Base64 of a little-endian bit set: bit i stands for the start offset plus i.
        #[serde(rename = "b")]
        bit_set: String,
        /// Group.
        #[serde(rename = "c")]
        consumer_group: String,
        /// How long the messages stay hidden, ms.
        #[serde(rename = "it")]
        invisible_time: i64,
        /// When they were popped, ms.
        #[serde(rename = "pt")]
        pop_time: i64,
        /// Queue of the topic.
        #[serde(rename = "q")]
        queue_id: i32,
        /// `1` when they came from the retry topic.
        #[serde(rename = "r")]
        retry: String,
        /// Queue of the revive topic.
        #[serde(rename = "rq")]
        revive_queue_id: i32,
        /// Offset of the first message.
        #[serde(rename = "so")]
        start_offset: i64,
        /// Topic.
        #[serde(rename = "t")]
        topic: String,
    }
}

body! {
    /// Acknowledgements for one broker.
    #[derive(Eq)]
    pub struct BatchAckMessageRequestBody {
        /// Acknowledgements.
        acks: Vec<BatchAck>,
        /// Name of the broker.
        broker_name: String,
    }
}
