//! What RocketMQ's admin tool writes to a file before and after it changes a static topic
//! (`TopicRemappingDetailWrapper`).

use std::collections::{BTreeMap, BTreeSet};

use super::topic_config::TopicConfigAndQueueMapping;

/// Type of a wrapper that tells of a creation, or of more queues.
pub const CREATE_OR_UPDATE: &str = "CREATE_OR_UPDATE";
/// Type of a wrapper that tells of queues that move.
pub const REMAPPING: &str = "REMAPPING";

body! {
    /// A static topic on all its brokers.
    #[derive(Eq)]
    pub struct TopicRemappingDetailWrapper {
        /// Configuration and mapping by broker.
        broker_config_map: BTreeMap<String, TopicConfigAndQueueMapping>,
        /// Brokers that get queues.
        broker_to_map_in: BTreeSet<String>,
        /// Brokers that give queues away.
        broker_to_map_out: BTreeSet<String>,
        /// Version of the mapping.
        epoch: i64,
        /// Topic.
        topic: String,
        /// [`CREATE_OR_UPDATE`] or [`REMAPPING`].
        r#type: String,
    }
}
