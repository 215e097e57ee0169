//! How a consumer is: codes 307 and 309.

use super::MessageQueue;
use super::heartbeat::SubscriptionData;
use std::collections::BTreeMap;

body! {
    /// How a consumer is.
    pub struct ConsumerRunningInfo {
        /// Stacks of its threads.
        jstack: Option<String>,
        /// Queues it pops from.
        mq_pop_table: BTreeMap<MessageQueue, PopProcessQueueInfo>,
        /// Queues it pulls from.
        mq_table: BTreeMap<MessageQueue, ProcessQueueInfo>,
        /// Its settings.
        properties: BTreeMap<String, String>,
        /// Figures by topic.
        status_table: BTreeMap<String, ConsumeStatus>,
        /// What it subscribes to.
        subscription_set: Vec<SubscriptionData>,
        /// What its user adds.
        user_consumer_info: BTreeMap<String, String>,
    }
}

body! {
    /// One queue that is pulled from.
    #[derive(Eq)]
    pub struct ProcessQueueInfo {
        /// Messages at hand.
        cached_msg_count: i32,
        /// Last offset at hand.
        cached_msg_max_offset: i64,
        /// First offset at hand.
        cached_msg_min_offset: i64,
        /// Size of the messages at hand, MiB.
        #[serde(rename = "cachedMsgSizeInMiB")]
        cached_msg_size_in_mib: i32,
        /// Committed offset.
        commit_offset: i64,
        /// Whether the queue was given up. RocketMQ's spelling.
        droped: bool,
        /// When a message was last consumed, ms.
        last_consume_timestamp: i64,
        /// When the queue was last locked, ms.
        last_lock_timestamp: i64,
        /// When messages were last pulled, ms.
        last_pull_timestamp: i64,
        /// Whether the queue is locked.
        locked: bool,
        /// Messages of transactions at hand.
        transaction_msg_count: i32,
        /// Last offset of those.
        transaction_msg_max_offset: i64,
        /// First offset of those.
        transaction_msg_min_offset: i64,
        /// How often unlocking was tried.
        try_unlock_times: i64,
    }
}

body! {
    /// One queue that is popped from.
    #[derive(Eq)]
    pub struct PopProcessQueueInfo {
        /// Whether the queue was given up. RocketMQ's spelling.
        droped: bool,
        /// When messages were last popped, ms.
        last_pop_timestamp: i64,
        /// Messages that are not acknowledged.
        wait_ack_count: i32,
    }
}

body! {
    /// Figures of a topic.
    pub struct ConsumeStatus {
        /// Messages that failed.
        consume_failed_msgs: i64,
        /// Failures per second.
        #[serde(rename = "consumeFailedTPS")]
        consume_failed_tps: f64,
        /// Messages consumed per second.
        #[serde(rename = "consumeOKTPS")]
        consume_ok_tps: f64,
        /// How long consuming takes, ms.
        #[serde(rename = "consumeRT")]
        consume_rt: f64,
        /// How long pulling takes, ms.
        #[serde(rename = "pullRT")]
        pull_rt: f64,
        /// Messages pulled per second.
        #[serde(rename = "pullTPS")]
        pull_tps: f64,
    }
}

text_enum! {
    /// How consuming one message ended.
    pub enum CmResult {
        /// Well.
        #[default]
        Success = "CR_SUCCESS",
        /// To be tried later.
        Later = "CR_LATER",
        /// Rolled back.
        Rollback = "CR_ROLLBACK",
        /// Committed.
        Commit = "CR_COMMIT",
        /// With an exception.
        ThrowException = "CR_THROW_EXCEPTION",
        /// With nothing.
        ReturnNull = "CR_RETURN_NULL",
    }
}

body! {
    /// How consuming one message directly ended (code 309).
    #[derive(Eq)]
    pub struct ConsumeMessageDirectlyResult {
        /// Whether offsets are committed without being asked.
        auto_commit: bool = true,
        /// Result.
        consume_result: CmResult,
        /// Whether messages are consumed in order.
        order: bool,
        /// Text of the exception.
        remark: Option<String>,
        /// How long it took, ms. RocketMQ's spelling.
        spent_time_mills: i64,
    }
}
