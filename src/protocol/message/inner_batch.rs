//! Inner batches: several messages that a topic with `queue.type=BatchCQ` keeps as one record.
//!
//! The record's body is the wire batch ([`super::batch`]), its system flag has
//! [`INNER_BATCH`](sys_flag::INNER_BATCH) and [`NEED_UNWRAP`](sys_flag::NEED_UNWRAP), and two of its
//! properties tell how many messages these are (`INNER_NUM`) and which queue offset the first of them
//! has (`INNER_BASE`). Clients unwrap it (`MessageDecoder.decodeMessage`).
//!
//! The broker knows the offset when the record is encoded already; its number has a fixed width, so
//! that the length of the record does not change.

use super::{batch, properties, sys_flag};

/// Digits of `INNER_BASE` as this broker writes it: those of the largest offset.
pub const BASE_DIGITS: usize = 19;

/// How many messages a record holds: one, unless it is an inner batch that says otherwise
/// (`CommitLog.setBatchSizeIfNeeded`).
pub fn messages_of(flag: i32, text: &[u8]) -> i16 {
    if flag & sys_flag::INNER_BATCH == 0 {
        return 1;
    }
    let base = properties::get(text, properties::INNER_BASE);
    let number = properties::get(text, properties::INNER_NUM);
    let has_base = base.is_some_and(|base| base.parse::<i64>().is_ok());
    let number = number.and_then(|number| number.parse().ok());
    number.filter(|&number| has_base && number > 0).unwrap_or(1)
}

/// How many messages a wire batch holds, if it can be an inner batch: RocketMQ counts by the length
/// fields of the messages, which ordinary batches may have wrong (`MessageDecoder.countInnerMsgNum`),
/// and the number is a short.
pub fn count(body: &[u8]) -> Option<i16> {
    let mut rest = body;
    let mut number: i16 = 0;
    for message in batch::messages(body) {
        let message = message.ok()?;
        let len = batch::MESSAGE_LEN_MIN + message.body.len() + message.properties.len();
        let (told, _) = rest.split_first_chunk::<4>()?;
        if usize::try_from(i32::from_be_bytes(*told)).ok()? != len {
            return None;
        }
        rest = rest.get(len..)?;
        number = number.checked_add(1)?;
    }
    (number > 0).then_some(number)
}

/// Adds what tells of the batch to the properties of its record, with room for the offset: it stands in
/// the last [`BASE_DIGITS`] bytes before the last one.
pub fn append_properties(text: &mut Vec<u8>, messages: i16) {
    properties::append(text, properties::INNER_NUM, &messages.to_string());
    properties::append(text, properties::INNER_BASE, &"0".repeat(BASE_DIGITS));
}

/// Where the offset stands in a record of `len` bytes, which ends with these properties.
pub fn base_place(len: usize) -> usize {
    len.saturating_sub(BASE_DIGITS + size_of_val(&properties::ENTRY_SEPARATOR))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::message::multi_dispatch::fill_offset;

    fn body(lens: &[usize]) -> BytesMut {
        let mut out = BytesMut::new();
        for len in lens {
            let message = batch::BatchMessage {
                flag: 0,
                body: &vec![7; *len],
                properties: b"a\x01b\x02",
            };
            batch::encode_message(&message, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn only_inner_batches_hold_several_messages() {
        let mut text = b"KEYS\x01k\x02".to_vec();
        append_properties(&mut text, 7);
        assert_eq!(messages_of(0, &text), 1);
        let flag = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
        assert_eq!(messages_of(flag, &text), 7);
        let place = base_place(text.len());
        fill_offset(&mut text[place..place + BASE_DIGITS], 1234);
        let base = properties::get(&text, properties::INNER_BASE).unwrap();
        assert_eq!(base.parse(), Ok(1234));
        assert_eq!(messages_of(flag, &text), 7);
        assert_eq!(messages_of(flag, b"INNER_NUM\x017\x02"), 1);
        for number in ["0", "-3", "99999", "x"] {
            let text = format!("INNER_NUM\x01{number}\x02INNER_BASE\x010\x02");
            assert_eq!(messages_of(flag, text.as_bytes()), 1, "{number}");
        }
    }

    #[test]
    fn messages_are_counted_as_rocketmq_does() {
        assert_eq!(count(&body(&[0, 10, 300])), Some(3));
        assert_eq!(count(b""), None);
        let mut wrong = body(&[5, 5]);
        wrong[3] += 1;
        assert_eq!(count(&wrong), None);
        assert_eq!(count(&body(&[5, 5])[..40]), None);
        assert_eq!(count(&body(&vec![0; i16::MAX as usize])), Some(i16::MAX));
        assert_eq!(count(&body(&vec![0; i16::MAX as usize + 1])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_counted_without_panic(bytes: Vec<u8>, flag: i32) {
            let _ = count(&bytes);
            prop_assert!(messages_of(flag, &bytes) > 0);
        }
    }
}
