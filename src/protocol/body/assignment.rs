//! Queues that a broker assigns to clients: codes 400 to 402.

use super::MessageQueue;
use super::heartbeat::MessageModel;
use std::collections::BTreeMap;

text_enum! {
    /// How clients get the messages of a queue.
    pub enum MessageRequestMode {
        /// They pull.
        #[default]
        Pull = "PULL",
        /// They pop.
        Pop = "POP",
    }
}

body! {
    /// Asks for a client's queues (code 400).
    #[derive(Eq)]
    pub struct QueryAssignmentRequestBody {
        /// Client.
        client_id: String,
        /// Group.
        consumer_group: String,
        /// Who of the group gets a message.
        message_model: MessageModel,
        /// Name of the strategy, such as `AVG`.
        strategy_name: String,
        /// Topic.
        topic: String,
    }
}

body! {
    /// One queue of a client.
    #[derive(Eq)]
    pub struct MessageQueueAssignment {
        /// Whatever else belongs to it.
        attachments: Option<BTreeMap<String, String>>,
        /// Queue; its id is -1 for any queue of the broker.
        message_queue: MessageQueue,
        /// How to get its messages.
        mode: MessageRequestMode,
    }
}

body! {
    /// A client's queues. Without the list the client keeps those it has.
    #[derive(Eq)]
    pub struct QueryAssignmentResponseBody {
        /// Queues.
        message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
    }
}

body! {
    /// Sets how a group gets the messages of a topic (code 401).
    #[derive(Eq)]
    pub struct SetMessageRequestModeRequestBody {
        /// Group.
        consumer_group: String,
        /// Mode.
        mode: MessageRequestMode,
        /// How many clients share a queue when popping.
        pop_share_queue_num: i32,
        /// Topic.
        topic: String,
    }
}

body! {
    /// All modes: code 402 and the file messageRequestMode.json.
    #[derive(Eq)]
    pub struct MessageRequestModeSerializeWrapper {
        /// Modes by topic and group.
        message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
    }
}
