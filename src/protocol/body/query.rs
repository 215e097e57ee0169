//! Looking into queues: codes 303, 321, 345 and 354.

use super::MessageQueue;
use super::heartbeat::SubscriptionData;

body! {
    /// One entry of a consume queue.
    #[derive(Eq)]
    pub struct ConsumeQueueData {
        /// Bits of the extended entry.
        bit_map: Option<String>,
        /// Whether the subscription matches.
        eval: bool,
        /// The extended entry.
        extend_data_json: Option<String>,
        /// Why there is nothing.
        msg: Option<String>,
        /// Position in the commit log.
        physic_offset: i64,
        /// Size of the record.
        physic_size: i32,
        /// Tags code.
        tags_code: i64,
    }
}

body! {
    /// Entries of a consume queue (code 321).
    #[derive(Eq)]
    pub struct QueryConsumeQueueResponseBody {
        /// Filter of the group.
        filter_data: Option<String>,
        /// One behind the last index.
        max_queue_index: i64,
        /// First index.
        min_queue_index: i64,
        /// Entries.
        queue_data: Option<Vec<ConsumeQueueData>>,
        /// Subscription of the group.
        subscription_data: Option<SubscriptionData>,
    }
}

body! {
    /// How a group subscribes to a topic (code 345).
    #[derive(Eq)]
    pub struct QuerySubscriptionResponseBody {
        /// Group.
        group: String,
        /// Subscription.
        subscription_data: Option<SubscriptionData>,
        /// Topic.
        topic: String,
    }
}

body! {
    /// The store times a group is at in one queue.
    #[derive(Eq)]
    pub struct QueueTimeSpan {
        /// Store time of the last message consumed, ms.
        consume_time_stamp: i64,
        /// The same as text.
        consume_time_stamp_str: String,
        /// How far the group is behind, ms.
        delay_time: i64,
        /// Store time of the last message, ms.
        max_time_stamp: i64,
        /// The same as text.
        max_time_stamp_str: String,
        /// Queue.
        message_queue: MessageQueue,
        /// Store time of the first message, ms.
        min_time_stamp: i64,
        /// The same as text.
        min_time_stamp_str: String,
    }
}

impl QueueTimeSpan {
    /// The times of a queue, with their texts in the local time zone.
    pub fn new(message_queue: MessageQueue, min: i64, max: i64, consume: i64, delay: i64) -> Self {
        Self {
            consume_time_stamp: consume,
            consume_time_stamp_str: time_text(consume),
            delay_time: delay,
            max_time_stamp: max,
            max_time_stamp_str: time_text(max),
            message_queue,
            min_time_stamp: min,
            min_time_stamp_str: time_text(min),
        }
    }
}

/// A time as `yyyy-MM-dd#HH:mm:ss:SSS` in the local time zone (`UtilAll.formatDate`).
fn time_text(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => {
            let zone = jiff::tz::TimeZone::system();
            time.to_zoned(zone)
                .strftime("%Y-%m-%d#%H:%M:%S:%3f")
                .to_string()
        }
        Err(_) => ms.to_string(),
    }
}

body! {
    /// The store times a group is at (code 303).
    #[derive(Eq)]
    pub struct QueryConsumeTimeSpanBody {
        /// Times by queue.
        consume_time_span_set: Vec<QueueTimeSpan>,
    }
}

body! {
    /// How far consume queues are written in RocksDB (code 354).
    #[derive(Eq)]
    pub struct CheckRocksdbCqWriteResult {
        /// Why.
        check_result: Option<String>,
        /// 0 they agree, 1 they do not, 2 it is being checked, 3 it failed.
        check_status: i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_milliseconds_after_a_colon() {
        let text = time_text(1_795_389_561_755);
        assert_eq!(text.len(), "2026-11-22#23:59:21:755".len());
        assert!(text.contains('#') && text.ends_with(":755"), "{text}");
    }
}
