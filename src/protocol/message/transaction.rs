//! Messages of transactions: how a half message is kept, what becomes of its properties, and the marks
//! of half messages that were ended.
//!
//! A half message lies in RMQ_SYS_TRANS_HALF_TOPIC with its topic and queue in REAL_TOPIC and REAL_QID.
//! A mark (op message) lies in RMQ_SYS_TRANS_OP_HALF_TOPIC with tag [`OP_TAG`]; its body is a list of
//! queue offsets of half messages, each with a comma behind it:
//!
//! ```text
//! 17,18,23,
//! ```
//!
//! Brokers before 5.0 write one offset without a comma. What is no number is passed over. The rules
//! come from `TransactionalMessageBridge`, `TransactionalMessageUtil` and
//! `TransactionalMessageServiceImpl`.

use super::{properties, sys_flag};

/// The tag of a mark (`TransactionalMessageUtil.REMOVE_TAG`).
pub const OP_TAG: &str = "d";

/// Between and behind the offsets in a mark.
const SEPARATOR: u8 = b',';

/// The half messages that a mark names.
pub fn marked_offsets(body: &[u8]) -> impl Iterator<Item = i64> + '_ {
    let parts = body.split(|&byte| byte == SEPARATOR);
    parts.filter_map(|part| {
        let offset: i64 = std::str::from_utf8(part).ok()?.parse().ok()?;
        (offset >= 0).then_some(offset)
    })
}

/// Adds a half message to the body of a mark.
pub fn mark_offset(body: &mut Vec<u8>, offset: i64) {
    body.extend_from_slice(offset.to_string().as_bytes());
    body.push(SEPARATOR);
}

/// The properties of a mark.
pub fn mark_properties() -> Vec<u8> {
    let mut text = Vec::new();
    properties::append(&mut text, properties::WAIT, "true");
    properties::append(&mut text, properties::TAGS, OP_TAG);
    text
}

/// The properties of a half message, from those of the message that a producer sent.
pub fn half_properties(given: &[u8], topic: &str, queue_id: i32) -> Vec<u8> {
    let mut edited = properties::Editor::new(given);
    if let Some(key) = properties::get(given, properties::UNIQ_KEY) {
        edited.set(properties::TRANSACTION_ID, key);
    }
    edited.set(properties::REAL_TOPIC, topic);
    edited.set(properties::REAL_QID, queue_id.to_string());
    edited.to_vec()
}

/// The properties of a committed message, from those of its half message.
pub fn committed_properties(half: &[u8]) -> Vec<u8> {
    let mut edited = properties::Editor::new(half);
    edited.remove(properties::REAL_TOPIC);
    edited.remove(properties::REAL_QID);
    edited.to_vec()
}

/// The properties of a half message that is put at the end of its queue again; `name` is what is
/// counted or remembered with it. As they were where they would grow too long.
pub fn moved_properties(half: &[u8], name: &str, value: i64) -> Vec<u8> {
    let mut edited = properties::Editor::new(half);
    edited.set(properties::WAIT, "false");
    edited.set(name, value.to_string());
    let text = edited.to_vec();
    if text.len() > properties::PROPERTIES_LEN_MAX {
        return half.to_vec();
    }
    text
}

/// The system flag of a committed message.
pub fn committed_sys_flag(half: i32) -> i32 {
    sys_flag::with_transaction_type(half, sys_flag::TRANSACTION_COMMIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_of_the_reference_is_read() {
        assert_eq!(marked_offsets(b"0,1,").collect::<Vec<_>>(), [0, 1]);
        assert_eq!(marked_offsets(b"7").collect::<Vec<_>>(), [7]);
        let strange = b",x,-3, 4,5,\xff,99999999999999999999,6";
        assert_eq!(marked_offsets(strange).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn a_half_message_becomes_what_was_sent() {
        let sent = b"UNIQ_KEY\x01k\x02REAL_TOPIC\x01forged\x02TRAN_MSG\x01true\x02";
        let half = half_properties(sent, "T", 3);
        assert_eq!(properties::get(&half, properties::REAL_TOPIC), Some("T"));
        assert_eq!(properties::get_int(&half, properties::REAL_QID), Some(3));
        assert_eq!(
            committed_properties(&half),
            b"UNIQ_KEY\x01k\x02TRAN_MSG\x01true\x02__transactionId__\x01k\x02"
        );
        let moved = moved_properties(&half, properties::TRANSACTION_CHECK_TIMES, 2);
        assert!(!properties::waits_for_store(&moved));
        let times = properties::get_int(&moved, properties::TRANSACTION_CHECK_TIMES);
        assert_eq!(times, Some(2));
    }

    #[test]
    fn properties_that_would_grow_too_long_stay() {
        let mut long = Vec::new();
        let value = "v".repeat(properties::PROPERTIES_LEN_MAX - 3);
        properties::append(&mut long, "n", &value);
        let moved = moved_properties(&long, properties::TRANSACTION_CHECK_TIMES, 1);
        assert_eq!(moved, long);
    }

    proptest! {
        #[test]
        fn marks_round_trip(offsets in proptest::collection::vec(0..i64::MAX, 0..40)) {
            let mut body = Vec::new();
            offsets.iter().for_each(|&offset| mark_offset(&mut body, offset));
            prop_assert_eq!(marked_offsets(&body).collect::<Vec<_>>(), offsets);
        }

        #[test]
        fn any_bytes_are_read(body: Vec<u8>) {
            let offsets: Vec<i64> = marked_offsets(&body).collect();
            prop_assert!(offsets.iter().all(|&offset| offset >= 0));
            let mut again = Vec::new();
            offsets.iter().for_each(|&offset| mark_offset(&mut again, offset));
            prop_assert_eq!(marked_offsets(&again).collect::<Vec<_>>(), offsets);
        }
    }
}
