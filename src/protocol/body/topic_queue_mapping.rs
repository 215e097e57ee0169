//! Static topics: which logic queue is which queue of which broker.

use std::collections::BTreeMap;

/// The scope of a mapping that is not limited.
pub const SCOPE_GLOBAL: &str = "__global__";

body! {
    /// The logic queues of a topic on one broker.
    #[derive(Eq)]
    pub struct TopicQueueMappingInfo {
        /// Name of the broker.
        bname: String,
        /// Current queue by logic queue.
        curr_id_map: BTreeMap<i32, i32>,
        /// Whether the mapping is not settled.
        dirty: bool,
        /// Version of the mapping.
        epoch: i64,
        /// Scope.
        scope: String = SCOPE_GLOBAL.to_owned(),
        /// Topic.
        topic: String,
        /// Logic queues in all.
        total_queues: i32,
    }
}

body! {
    /// The same with the history of every logic queue.
    #[derive(Eq)]
    pub struct TopicQueueMappingDetail {
        /// Name of the broker.
        bname: String,
        /// Current queue by logic queue.
        curr_id_map: BTreeMap<i32, i32>,
        /// Whether the mapping is not settled.
        dirty: bool,
        /// Version of the mapping.
        epoch: i64,
        /// History by logic queue.
        hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
        /// Scope.
        scope: String = SCOPE_GLOBAL.to_owned(),
        /// Topic.
        topic: String,
        /// Logic queues in all.
        total_queues: i32,
    }
}

body! {
    /// One stretch of a logic queue.
    #[derive(Eq)]
    pub struct LogicQueueMappingItem {
        /// Name of the broker.
        bname: String,
        /// End in the queue, -1 while open.
        end_offset: i64 = -1,
        /// Generation.
        r#gen: i32,
        /// Offset of the start in the logic queue.
        logic_offset: i64,
        /// Queue of the broker.
        queue_id: i32,
        /// Start in the queue.
        start_offset: i64,
        /// Time of the end, ms.
        time_of_end: i64 = -1,
        /// Time of the start, ms.
        time_of_start: i64 = -1,
    }
}
