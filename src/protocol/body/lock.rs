//! Locks on queues: codes 41 and 42.

use super::MessageQueue;

body! {
    /// Queues to lock or unlock for a client; code 42 has the same fields.
    #[derive(Eq)]
    pub struct LockBatchRequestBody {
        /// Client.
        client_id: String,
        /// Group.
        consumer_group: String,
        /// Queues.
        mq_set: Vec<MessageQueue>,
        /// Whether slaves need not know.
        only_this_broker: bool,
    }
}

body! {
    /// Queues that the client now has.
    #[derive(Eq)]
    pub struct LockBatchResponseBody {
        /// Queues.
        #[serde(rename = "lockOKMQSet")]
        lock_ok_mq_set: Vec<MessageQueue>,
    }
}
