//! The properties of a message: one text `name U+0001 value U+0002 name U+0001 value U+0002 ...`.
//!
//! An entry without a separator, with an empty name or with an empty value is dropped, as
//! `MessageDecoder.string2messageProperties` does it; a name that comes twice has its last value.
//! The last U+0002 may be missing. Everything here works on bytes, because what a disk holds need
//! not be UTF-8.

use memchr::memchr;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// After each entry.
pub const ENTRY_SEPARATOR: u8 = 2;
/// The longest text of properties that a record can hold.
pub const PROPERTIES_LEN_MAX: usize = i16::MAX as usize;
/// Between the keys in [`KEYS`].
pub const KEY_SEPARATOR: char = ' ';

macro_rules! names {
    ($($name:ident = $text:literal,)+) => {
        $(
            #[doc = concat!("The property `", $text, "`.")]
            pub const $name: &str = $text;
        )+
    };
}

names! {
    KEYS = "KEYS",
    TAGS = "TAGS",
    WAIT = "WAIT",
    DELAY = "DELAY",
    RETRY_TOPIC = "RETRY_TOPIC",
    REAL_TOPIC = "REAL_TOPIC",
    REAL_QID = "REAL_QID",
    TRAN_MSG = "TRAN_MSG",
    PGROUP = "PGROUP",
    MIN_OFFSET = "MIN_OFFSET",
    MAX_OFFSET = "MAX_OFFSET",
    BUYER_ID = "BUYER_ID",
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID",
    TRANSFER_FLAG = "TRANSFER_FLAG",
    CORRECTION_FLAG = "CORRECTION_FLAG",
    MQ2_FLAG = "MQ2_FLAG",
    RECONSUME_TIME = "RECONSUME_TIME",
    MSG_REGION = "MSG_REGION",
    TRACE_ON = "TRACE_ON",
    UNIQ_KEY = "UNIQ_KEY",
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO",
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES",
    CONSUME_START_TIMESTAMP = "CONSUME_START_TIME",
    INNER_NUM = "INNER_NUM",
    INNER_BASE = "INNER_BASE",
    DUP_INFO = "DUP_INFO",
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS",
    TRANSACTION_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET",
    TRANSACTION_ID = "__transactionId__",
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES",
    INSTANCE_ID = "INSTANCE_ID",
    CORRELATION_ID = "CORRELATION_ID",
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT",
    TTL = "TTL",
    REPLY_MESSAGE_ARRIVE_TIME = "ARRIVE_TIME",
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME",
    CLUSTER = "CLUSTER",
    MSG_TYPE = "MSG_TYPE",
    POP_CK = "POP_CK",
    POP_CK_OFFSET = "POP_CK_OFFSET",
    FIRST_POP_TIME = "1ST_POP_TIME",
    SHARDING_KEY = "__SHARDINGKEY",
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID",
    REDIRECT = "REDIRECT",
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH",
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET",
    TRACE_CONTEXT = "TRACE_CONTEXT",
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC",
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS",
    BORN_HOST = "__BORNHOST",
    BORN_TIMESTAMP = "BORN_TIMESTAMP",
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS",
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS",
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES",
    TIMER_OUT_MS = "TIMER_OUT_MS",
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY",
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL",
    TIMER_DELAY_MS = "TIMER_DELAY_MS",
    CRC32 = "__CRC32#",
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC",
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID",
    TRANSIENT_TOPIC_CONFIG = "__RMQ.TRANSIENT.TOPIC_SYS_FLAG",
    TRANSIENT_GROUP_CONFIG = "__RMQ.TRANSIENT.GROUP_SYS_FLAG",
    ORIGIN_GROUP = "ORIGIN_GROUP",
}

const RESERVED: &[&str] = &[
    TRACE_ON,
    MSG_REGION,
    KEYS,
    TAGS,
    WAIT,
    DELAY,
    RETRY_TOPIC,
    REAL_TOPIC,
    REAL_QID,
    TRAN_MSG,
    PGROUP,
    MIN_OFFSET,
    MAX_OFFSET,
    BUYER_ID,
    ORIGIN_MESSAGE_ID,
    TRANSFER_FLAG,
    CORRECTION_FLAG,
    MQ2_FLAG,
    RECONSUME_TIME,
    UNIQ_KEY,
    MAX_RECONSUME_TIMES,
    CONSUME_START_TIMESTAMP,
    POP_CK,
    POP_CK_OFFSET,
    FIRST_POP_TIME,
    TRANSACTION_PREPARED_QUEUE_OFFSET,
    DUP_INFO,
    EXTEND_UNIQ_INFO,
    INSTANCE_ID,
    CORRELATION_ID,
    REPLY_TO_CLIENT,
    TTL,
    REPLY_MESSAGE_ARRIVE_TIME,
    PUSH_REPLY_TIME,
    CLUSTER,
    MSG_TYPE,
    INNER_MULTI_QUEUE_OFFSET,
    TIMER_DELAY_MS,
    TIMER_DELAY_SEC,
    TIMER_DELIVER_MS,
    TIMER_ENQUEUE_MS,
    TIMER_DEQUEUE_MS,
    TIMER_ROLL_TIMES,
    TIMER_OUT_MS,
    TIMER_DEL_UNIQKEY,
    TIMER_DELAY_LEVEL,
    BORN_HOST,
    BORN_TIMESTAMP,
    DLQ_ORIGIN_TOPIC,
    DLQ_ORIGIN_MESSAGE_ID,
    CRC32,
];

/// Whether a name belongs to the system and is refused as a user's property
/// (`MessageConst.STRING_HASH_SET`).
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The entries of a text of properties, as bytes.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

/// The entries of a text of properties, in order, those that are no entries left out.
pub fn entries(properties: &[u8]) -> Entries<'_> {
    Entries { rest: properties }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr(ENTRY_SEPARATOR, self.rest);
            let (entry, rest) = match end.and_then(|end| self.rest.split_at_checked(end)) {
                Some((entry, rest)) => (entry, rest.get(1..).unwrap_or(&[])),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            let separator = memchr(NAME_VALUE_SEPARATOR, entry);
            let split = separator.and_then(|at| Some((entry.get(..at)?, entry.get(at + 1..)?)));
            if let Some((name, value)) = split.filter(|(n, v)| !n.is_empty() && !v.is_empty()) {
                return Some((name, value));
            }
        }
        None
    }
}

/// As [`entries`], as texts; entries that are not UTF-8 are left out.
pub fn texts(properties: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    entries(properties).filter_map(|(name, value)| {
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(value).ok()?,
        ))
    })
}

/// The value of a property; none if it is absent or not UTF-8.
pub fn get<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    let found = entries(properties)
        .filter(|(known, _)| *known == name.as_bytes())
        .last();
    found.and_then(|(_, value)| std::str::from_utf8(value).ok())
}

/// The values of several properties, each as [`get`] tells it, from one walk over the text.
pub fn get_all<'a, const N: usize>(properties: &'a [u8], names: [&str; N]) -> [Option<&'a str>; N] {
    let mut values = [None; N];
    for (known, value) in entries(properties) {
        let named = names.iter().zip(&mut values);
        for (_, found) in named.filter(|(name, _)| known == name.as_bytes()) {
            *found = std::str::from_utf8(value).ok();
        }
    }
    values
}

/// The value of a property as a number.
pub fn get_int(properties: &[u8], name: &str) -> Option<i64> {
    get(properties, name)?.parse().ok()
}

/// Whether the message asks to be answered only when it is safe (`WAIT`, true unless it says
/// otherwise).
pub fn waits_for_store(properties: &[u8]) -> bool {
    get(properties, WAIT).is_none_or(|text| text.eq_ignore_ascii_case("true"))
}

/// The keys of a message that are indexed: the parts of [`KEYS`] between spaces.
pub fn keys(properties: &[u8]) -> impl Iterator<Item = &str> {
    let keys = get(properties, KEYS).unwrap_or("");
    keys.split(KEY_SEPARATOR).filter(|key| !key.is_empty())
}

/// Writes one entry.
pub fn append(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value.as_bytes());
    out.push(ENTRY_SEPARATOR);
}

/// Name and value of a property.
type Property<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Properties that are being changed. Nothing is copied but what is set.
#[derive(Clone, Debug, Default)]
pub struct Editor<'a> {
    entries: SmallVec<[Property<'a>; 8]>,
}

impl<'a> Editor<'a> {
    /// Takes a text of properties apart.
    pub fn new(properties: &'a [u8]) -> Self {
        let parts = entries(properties);
        Self {
            entries: parts
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// The value of a property; none if it is absent or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut newest_first = self.entries.iter().rev();
        let found = newest_first.find(|(known, _)| **known == *name.as_bytes());
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Sets a property in its place, or at the end if it is new. An empty value removes it,
    /// because it could not be read again.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (into_bytes(name.into()), into_bytes(value.into()));
        let place = self.entries.iter().rposition(|(known, _)| *known == name);
        match place.and_then(|at| self.entries.get_mut(at)) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((name, value)),
        }
    }

    /// Sets a property unless it is there.
    pub fn set_if_absent(&mut self, name: &'a str, value: impl Into<Cow<'a, str>>) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    /// Removes a property and tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|(known, _)| **known != *name.as_bytes());
        self.entries.len() != before
    }

    /// Names and values in order, those that are not UTF-8 left out.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|(name, value)| {
            Some((
                std::str::from_utf8(name).ok()?,
                std::str::from_utf8(value).ok()?,
            ))
        })
    }

    /// The text of the properties as they are now.
    pub fn to_vec(&self) -> Vec<u8> {
        let len = self
            .entries
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let mut out = Vec::with_capacity(len);
        for (name, value) in self.entries.iter().filter(|(_, value)| !value.is_empty()) {
            out.extend_from_slice(name);
            out.push(NAME_VALUE_SEPARATOR);
            out.extend_from_slice(value);
            out.push(ENTRY_SEPARATOR);
        }
        out
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_no_entry_is_dropped() {
        let text = b"a\x01b\x02\x02\x01c\x02d\x01\x02e\x02f\x01g\x01h\x02i\x01\xff\x02a\x01z";
        let found: Vec<_> = entries(text).collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"a", b"b"),
            (b"f", b"g\x01h"),
            (b"i", b"\xff"),
            (b"a", b"z"),
        ];
        assert_eq!(found, expected);
        assert_eq!(get(text, "a"), Some("z"));
        assert_eq!(get(text, "i"), None);
        assert_eq!(
            get_all(text, ["f", "i", "a", "x"]),
            [Some("g\u{1}h"), None, Some("z"), None]
        );
    }

    #[test]
    fn editing_keeps_the_rest() {
        let text = b"KEYS\x01k1 k2\x02WAIT\x01false\x02POP_CK\x01x\x02\xff\x01\xfe";
        assert_eq!(keys(text).collect::<Vec<_>>(), ["k1", "k2"]);
        assert!(!waits_for_store(text));
        let mut editor = Editor::new(text);
        assert!(editor.remove(POP_CK));
        editor.set(CLUSTER, String::from("c"));
        editor.set(WAIT, "true");
        editor.set_if_absent(WAIT, "false");
        assert_eq!(editor.get(CLUSTER), Some("c"));
        let expected = b"KEYS\x01k1 k2\x02WAIT\x01true\x02\xff\x01\xfe\x02CLUSTER\x01c\x02";
        assert_eq!(editor.to_vec(), expected);
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(pairs in proptest::collection::vec(("[a-c]{1,2}", "[^\u{1}\u{2}]{1,5}"), 0..12)) {
            let mut text = Vec::new();
            for (name, value) in &pairs {
                append(&mut text, name, value);
            }
            let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
            for (name, value) in &map {
                prop_assert_eq!(get(&text, name), Some(value.as_str()));
            }
            let names = ["a", "ab", "c"];
            prop_assert_eq!(get_all(&text, names), names.map(|name| get(&text, name)));
            prop_assert_eq!(Editor::new(&text).to_vec(), text);
        }

        #[test]
        fn never_panics(text: Vec<u8>) {
            let rebuilt = Editor::new(&text).to_vec();
            prop_assert_eq!(Editor::new(&rebuilt).to_vec(), rebuilt.clone());
            prop_assert!(entries(&rebuilt).eq(entries(&text)));
        }
    }
}
