//! Messages that enter several queues: the light message queues (LMQ) that a sender names in
//! `INNER_MULTI_DISPATCH` beside the queue of the topic, as `name,name,...`.
//!
//! The broker writes the message's offset in each into `INNER_MULTI_QUEUE_OFFSET`, as `offset,offset,...`
//! in the same order (RocketMQ's `LmqDispatch`). There the numbers have a fixed width, so that the
//! length of a record is known before its offsets are.

use smallvec::SmallVec;

use super::{names, properties, record::RecordView};

/// Between the names and between the offsets (`MixAll.LMQ_DISPATCH_SEPARATOR`).
pub const SEPARATOR: char = ',';

/// The only queue of a light message queue (`MixAll.LMQ_QUEUE_ID`).
pub const LMQ_QUEUE_ID: i32 = 0;

/// Digits of an offset as this broker writes it: those of the largest one.
pub const OFFSET_DIGITS: usize = 19;

/// Longest name of a light message queue, bytes: it names a folder.
pub const LMQ_NAME_LEN_MAX: usize = 255;

/// Whether messages of a topic may enter light message queues (`MixAll.topicAllowsLMQ`). RocketMQ
/// allows those of half messages and dead letters, too: the former may be rolled back, the latter
/// entered when they were sent.
pub fn is_allowed(topic: &str) -> bool {
    !names::is_retry_topic(topic) && !names::is_dlq_topic(topic) && !names::is_system_topic(topic)
}

/// Whether a name is that of a light message queue, and can be a folder's.
pub fn is_valid_name(name: &str) -> bool {
    names::is_lmq(name)
        && name.len() <= LMQ_NAME_LEN_MAX
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control)
}

/// The queues that a value of `INNER_MULTI_DISPATCH` names. Empty names at the end do not count, as in
/// Java's `split`.
pub fn queue_names(value: &str) -> impl Iterator<Item = &str> {
    value.trim_end_matches(SEPARATOR).split(SEPARATOR)
}

/// A text for offsets that are not known yet, and where that of each light message queue among the
/// names stands in it. Other names have none there, as in RocketMQ.
pub fn offsets_to_fill(value: &str) -> (String, Vec<(&str, usize)>) {
    let (mut text, mut places) = (String::new(), Vec::new());
    for (number, name) in queue_names(value).enumerate() {
        if number > 0 {
            text.push(SEPARATOR);
        }
        if is_valid_name(name) {
            places.push((name, text.len()));
            text.extend(std::iter::repeat_n('0', OFFSET_DIGITS));
        }
    }
    (text, places)
}

/// Writes an offset of a queue into its place.
pub fn fill_offset(place: &mut [u8], offset: i64) {
    let mut rest = offset.max(0).unsigned_abs();
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// The light message queues that a stored message entered, and its offset in each. None where
/// the two properties do not fit each other (`ConsumeQueue.multiDispatchLmqQueue`).
pub fn entries_of<'a>(topic: &str, text: &'a [u8]) -> SmallVec<[(&'a str, i64); 4]> {
    let mut entries: SmallVec<[(&str, i64); 4]> = SmallVec::new();
    let queues = properties::get(text, properties::INNER_MULTI_DISPATCH);
    let offsets = properties::get(text, properties::INNER_MULTI_QUEUE_OFFSET);
    let (Some(queues), Some(offsets)) = (queues, offsets) else {
        return entries;
    };
    if !is_allowed(topic) || queue_names(queues).count() != offsets.split(SEPARATOR).count() {
        return entries;
    }
    for (name, offset) in queue_names(queues).zip(offsets.split(SEPARATOR)) {
        let is_new = name != topic && entries.iter().all(|(known, _)| *known != name);
        if is_new
            && is_valid_name(name)
            && let Ok(offset) = offset.parse()
        {
            entries.push((name, offset));
        }
    }
    entries
}

/// The offset of a stored message in a queue of `topic`: that of the record, unless `topic` is a light
/// message queue that the message only names.
pub fn offset_in(topic: &str, view: &RecordView<'_>) -> i64 {
    if !names::is_lmq(topic) || view.topic == topic {
        return view.queue_offset;
    }
    let entries = entries_of(view.topic, view.properties);
    let own = entries.iter().find(|(name, _)| *name == topic);
    own.map_or(view.queue_offset, |(_, offset)| *offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in proptest::collection::btree_map("%LMQ%[a-z%_]{1,8}", 0..=i64::MAX, 1..9)
        ) {
            let names: Vec<&str> = entries.keys().map(String::as_str).collect();
            let names = names.join(",");
            let offsets = filled(&names, entries.values());
            let text = text(&names, &offsets);
            let read = entries_of("T", &text).into_iter();
            let read = read.map(|(name, offset)| (name.to_owned(), offset));
            prop_assert!(read.eq(entries));
        }
    }

    fn text(queues: &str, offsets: &str) -> Vec<u8> {
        let mut text = Vec::new();
        properties::append(&mut text, "TAGS", "t");
        properties::append(&mut text, properties::INNER_MULTI_DISPATCH, queues);
        properties::append(&mut text, properties::INNER_MULTI_QUEUE_OFFSET, offsets);
        text
    }

    fn filled<'a>(names: &str, known: impl IntoIterator<Item = &'a i64>) -> String {
        let (text, places) = offsets_to_fill(names);
        let mut offsets = text.into_bytes();
        for ((_, at), offset) in places.iter().zip(known) {
            fill_offset(&mut offsets[*at..*at + OFFSET_DIGITS], *offset);
        }
        String::from_utf8(offsets).unwrap()
    }

    #[test]
    fn offsets_are_filled_into_their_places() {
        let names = "%LMQ%a,other,%LMQ%b,%LMQ%c";
        let offsets = filled(names, &[7, i64::MAX, 120]);
        let expected = "0000000000000000007,,9223372036854775807,0000000000000000120";
        assert_eq!(offsets, expected);
        assert_eq!(
            entries_of("T", &text(names, &offsets))[..],
            [("%LMQ%a", 7), ("%LMQ%b", i64::MAX), ("%LMQ%c", 120)]
        );
        assert!(offsets_to_fill("other,").1.is_empty());
    }

    #[test]
    fn java_writes_plain_numbers() {
        let found = |queues: &str, offsets: &str| {
            let text = text(queues, offsets);
            let entries = entries_of("T", &text).into_iter();
            entries
                .map(|(name, at)| format!("{name}:{at}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(found("%LMQ%a,%LMQ%b", "7,0"), ["%LMQ%a:7", "%LMQ%b:0"]);
        assert_eq!(found("%LMQ%a,%LMQ%a", "7,7"), ["%LMQ%a:7"]);
        assert_eq!(found("%LMQ%a,", "7"), ["%LMQ%a:7"]);
        assert_eq!(found("other,%LMQ%a,%LMQ%b/c", "1,2,3"), ["%LMQ%a:2"]);
        assert!(found("%LMQ%a,%LMQ%b", "7").is_empty());
        assert!(found("%LMQ%a", "x").is_empty());
    }

    #[test]
    fn some_topics_never_share_their_messages() {
        assert!(is_allowed("T"));
        assert!(is_allowed("%LMQ%a"));
        let text = text("%LMQ%a", "7");
        for topic in [
            "%RETRY%G",
            "%DLQ%G",
            names::SCHEDULE_TOPIC,
            names::TRANS_HALF_TOPIC,
        ] {
            assert!(!is_allowed(topic), "{topic}");
            assert!(entries_of(topic, &text).is_empty());
        }
        assert!(
            entries_of("%LMQ%a", &text).is_empty(),
            "it is there already"
        );
    }

    #[test]
    fn names_become_folders() {
        assert!(is_valid_name("%LMQ%a%b"));
        for name in ["", "a", "%LMQ%a/b", "%LMQ%\\", "%LMQ%\0"] {
            assert!(!is_valid_name(name), "{name:?}");
        }
        assert!(!is_valid_name(&format!("%LMQ%{}", "x".repeat(255))));
    }
}
