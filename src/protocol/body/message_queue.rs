//! One queue of a topic on a broker, also as a key of maps.

use std::fmt;

body! {
    /// One queue of a topic on a broker.
    #[derive(Eq, Hash, PartialOrd, Ord)]
    pub struct MessageQueue {
        /// Name of the broker.
        broker_name: String,
        /// Queue of the topic; -1 stands for any.
        queue_id: i32,
        /// Topic.
        topic: String,
    }
}

impl MessageQueue {
    /// A queue of a topic on a broker.
    pub fn new(topic: &str, broker_name: &str, queue_id: i32) -> Self {
        Self {
            broker_name: broker_name.to_owned(),
            queue_id,
            topic: topic.to_owned(),
        }
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            broker_name,
            queue_id,
        } = self;
        write!(
            f,
            "MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]"
        )
    }
}
