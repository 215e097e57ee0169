//! Who is connected: codes 203, 204 and 328.

use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use std::collections::BTreeMap;

body! {
    /// One connection of a client.
    #[derive(Eq, PartialOrd, Ord)]
    pub struct Connection {
        /// Address of the client.
        client_addr: String,
        /// Client.
        client_id: String,
        /// Name of its language.
        language: String,
        /// Its version ordinal.
        version: i32,
    }
}

body! {
    /// The connections of a group of consumers.
    #[derive(Eq)]
    pub struct ConsumerConnection {
        /// Connections.
        connection_set: Vec<Connection>,
        /// Where the group begins when it is new.
        consume_from_where: ConsumeFromWhere,
        /// How it gets messages.
        consume_type: ConsumeType,
        /// Who of the group gets a message.
        message_model: MessageModel,
        /// Subscriptions by topic.
        subscription_table: BTreeMap<String, SubscriptionData>,
    }
}

body! {
    /// The connections of a group of producers.
    #[derive(Eq)]
    pub struct ProducerConnection {
        /// Connections.
        connection_set: Vec<Connection>,
    }
}

body! {
    /// One producer.
    #[derive(Eq)]
    pub struct ProducerInfo {
        /// Client.
        client_id: String,
        /// Name of its language.
        language: String,
        /// When it was last heard of, ms.
        last_update_timestamp: i64,
        /// Its address, with a leading slash.
        #[serde(rename = "remoteIP")]
        remote_ip: String,
        /// Its version ordinal.
        version: i32,
    }
}

body! {
    /// All producers by group.
    #[derive(Eq)]
    pub struct ProducerTableInfo {
        /// Producers.
        data: BTreeMap<String, Vec<ProducerInfo>>,
    }
}
