//! Receipts of popped messages, and what a pop's answer tells about them (`ExtraInfoUtil`).
//!
//! A receipt is a text of eight parts with a space between them; the gRPC proxy adds a ninth:
//!
//! ```text
//! ckQueueOffset popTime invisibleTime reviveQid t brokerName queueId msgQueueOffset [commitLogOffset]
//! ```
//!
//! | part            | meaning                                                                  |
//! |-----------------|--------------------------------------------------------------------------|
//! | ckQueueOffset   | first offset of the pop in its queue: names the check point               |
//! | popTime         | when the message was popped, ms                                          |
//! | invisibleTime   | how long it stays hidden, ms                                             |
//! | reviveQid       | queue of the revive topic, or [`ORDER_REVIVE_QUEUE`]                     |
//! | t               | [`RetryKind`]: what topic the message lies in                            |
//! | brokerName      | who popped it                                                            |
//! | queueId         | queue of that topic                                                      |
//! | msgQueueOffset  | offset of the message                                                    |
//!
//! Remoting clients build receipts from the header of a pop's answer, whose fields are lists with
//! `;` between their entries: `startOffsetInfo` has `t queueId startOffset`, `msgOffsetInfo` has
//! `t queueId offset,offset`, `orderCountInfo` has `t queueId count` and `t qoQUEUE%OFFSET count`.

use std::{
    fmt::{self, Write},
    str::FromStr,
};

use super::names;

/// The queue id in receipts of ordered pops, which have no check point (`POP_ORDER_REVIVE_QUEUE`).
pub const ORDER_REVIVE_QUEUE: i32 = 999;

/// The longest receipt that is read; a broker's name may be 255 bytes, numbers have 20 digits.
const RECEIPT_LEN_MAX: usize = 1024;

/// The most entries of one of the lists, and the most offsets of an entry.
const LIST_LEN_MAX: usize = 1 << 16;

/// Why a receipt or a list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The text ends before this part.
    #[error("receipt without {0}")]
    Missing(&'static str),
    /// This part is no number, or not one of its range.
    #[error("bad {0} in a receipt")]
    Bad(&'static str),
    /// No receipt is so long.
    #[error("receipt of {0} bytes")]
    TooLong(usize),
}

/// What topic a popped message lies in, as receipts say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryKind {
    /// The topic itself.
    Normal,
    /// Its retry topic with a name of the first form.
    V1,
    /// Its retry topic with a name of the second form.
    V2,
}

impl RetryKind {
    /// The kind of a topic, by its name alone.
    pub fn of(topic: &str) -> Self {
        if !names::is_retry_topic(topic) {
            Self::Normal
        } else if names::is_pop_retry_topic_v2(topic) {
            Self::V2
        } else {
            Self::V1
        }
    }

    /// As it stands in receipts.
    pub fn text(self) -> &'static str {
        match self {
            Self::Normal => "0",
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }

    /// The kind with this text.
    pub fn from_text(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Normal),
            "1" => Some(Self::V1),
            "2" => Some(Self::V2),
            _ => None,
        }
    }

    /// The topic that the messages of `topic` lie in for a group.
    pub fn real_topic(self, topic: &str, group: &str) -> String {
        match self {
            Self::Normal => topic.to_owned(),
            Self::V1 => names::pop_retry_topic_v1(topic, group),
            Self::V2 => names::pop_retry_topic_v2(topic, group),
        }
    }
}

/// A receipt; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// First offset of the pop in its queue.
    pub start_offset: i64,
    /// When the message was popped, ms.
    pub pop_time: i64,
    /// How long it stays hidden, ms.
    pub invisible_time: i64,
    /// Queue of the revive topic.
    pub revive_qid: i32,
    /// What topic it lies in.
    pub kind: RetryKind,
    /// Who popped it.
    pub broker_name: String,
    /// Queue of the topic.
    pub queue_id: i32,
    /// Offset of the message.
    pub queue_offset: i64,
}

impl Receipt {
    /// Whether it is one of an ordered pop.
    pub fn is_order(&self) -> bool {
        self.revive_qid == ORDER_REVIVE_QUEUE
    }

    /// When the message comes back, ms.
    pub fn revive_time(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} {} {} {} {} {} {} {}",
            self.start_offset,
            self.pop_time,
            self.invisible_time,
            self.revive_qid,
            self.kind.text(),
            self.broker_name,
            self.queue_id,
            self.queue_offset,
        )
    }
}

impl FromStr for Receipt {
    type Err = ReceiptError;

    /// Reads a receipt; parts behind the eighth are not looked at. The last two may be missing, as
    /// in receipts of clients before 4.9.3, and are -1 then.
    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > RECEIPT_LEN_MAX {
            return Err(ReceiptError::TooLong(text.len()));
        }
        let mut parts = text.split(' ');
        let mut part = |name: &'static str| parts.next().ok_or(ReceiptError::Missing(name));
        let start_offset = number(part("ckQueueOffset")?, "ckQueueOffset")?;
        let pop_time = number(part("popTime")?, "popTime")?;
        let invisible_time = number(part("invisibleTime")?, "invisibleTime")?;
        let revive_qid = number(part("reviveQid")?, "reviveQid")?;
        let kind = RetryKind::from_text(part("t")?).ok_or(ReceiptError::Bad("t"))?;
        let broker_name = part("brokerName")?.to_owned();
        let queue_id = part("queueId").map_or(Ok(-1), |text| number(text, "queueId"))?;
        let offset = part("msgQueueOffset").map_or(Ok(-1), |text| number(text, "msgQueueOffset"));
        Ok(Self {
            start_offset,
            pop_time,
            invisible_time,
            revive_qid,
            kind,
            broker_name,
            queue_id,
            queue_offset: offset?,
        })
    }
}

fn number<N: FromStr>(text: &str, name: &'static str) -> Result<N, ReceiptError> {
    text.parse().map_err(|_| ReceiptError::Bad(name))
}

/// One of the lists in a pop's answer while it is written.
#[derive(Debug, Default)]
pub struct InfoList(String);

impl InfoList {
    fn begin(&mut self, topic: &str, place: fmt::Arguments<'_>) {
        if !self.0.is_empty() {
            self.0.push(';');
        }
        let _ = write!(self.0, "{} {place} ", RetryKind::of(topic).text());
    }

    /// Adds `t queueId number`: the start offset of a queue, or how often its messages were
    /// consumed at least.
    pub fn push_number(&mut self, topic: &str, queue_id: i32, number: i64) {
        self.begin(topic, format_args!("{queue_id}"));
        let _ = write!(self.0, "{number}");
    }

    /// Adds `t queueId offset,offset`.
    pub fn push_offsets(&mut self, topic: &str, queue_id: i32, offsets: &[i64]) {
        self.begin(topic, format_args!("{queue_id}"));
        for (at, offset) in offsets.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            let _ = write!(self.0, "{separator}{offset}");
        }
    }

    /// Adds `t qoQUEUE%OFFSET count`: how often one message was consumed.
    pub fn push_count(&mut self, topic: &str, queue_id: i32, offset: i64, count: i32) {
        self.begin(topic, format_args!("qo{queue_id}%{offset}"));
        let _ = write!(self.0, "{count}");
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// What a list says about one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo<T> {
    /// What topic the queue belongs to.
    pub kind: RetryKind,
    /// The queue.
    pub queue_id: i32,
    /// What is said.
    pub value: T,
}

/// Reads `startOffsetInfo`.
///
/// # Errors
/// [`ReceiptError`] when an entry is malformed.
pub fn parse_start_offsets(text: &str) -> Result<Vec<QueueInfo<i64>>, ReceiptError> {
    let offset = |text: &str| number(text, "startOffset");
    entries(text)
        .map(|entry| queue_info(entry, offset))
        .collect()
}

/// Reads `msgOffsetInfo`.
///
/// # Errors
/// [`ReceiptError`] when an entry is malformed.
pub fn parse_msg_offsets(text: &str) -> Result<Vec<QueueInfo<Vec<i64>>>, ReceiptError> {
    let offsets = |text: &str| {
        let offsets = text.split(',').take(LIST_LEN_MAX);
        offsets.map(|offset| number(offset, "msgOffset")).collect()
    };
    entries(text)
        .map(|entry| queue_info(entry, offsets))
        .collect()
}

/// Reads how often each message was consumed from `orderCountInfo`: queue, offset, count. Entries
/// about whole queues, which are there for old clients, are left out.
///
/// # Errors
/// [`ReceiptError`] when an entry is malformed.
pub fn parse_order_counts(text: &str) -> Result<Vec<(i32, i64, i32)>, ReceiptError> {
    let mut counts = Vec::new();
    for entry in entries(text) {
        let mut parts = entry.split(' ');
        let _kind = parts.next();
        let place = parts.next().ok_or(ReceiptError::Missing("queue"))?;
        let count = parts.next().ok_or(ReceiptError::Missing("count"))?;
        let Some(place) = place.strip_prefix("qo") else {
            continue;
        };
        let (queue, offset) = place.split_once('%').ok_or(ReceiptError::Bad("queue"))?;
        counts.push((
            number(queue, "queue")?,
            number(offset, "offset")?,
            number(count, "count")?,
        ));
    }
    Ok(counts)
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(';')
        .filter(|entry| !entry.is_empty())
        .take(LIST_LEN_MAX)
}

fn queue_info<T>(
    entry: &str,
    value: impl Fn(&str) -> Result<T, ReceiptError>,
) -> Result<QueueInfo<T>, ReceiptError> {
    let mut parts = entry.split(' ');
    let mut part = |name| parts.next().ok_or(ReceiptError::Missing(name));
    Ok(QueueInfo {
        kind: RetryKind::from_text(part("t")?).ok_or(ReceiptError::Bad("t"))?,
        queue_id: number(part("queueId")?, "queueId")?,
        value: value(part("value")?)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_receipt_is_read_as_java_writes_it() {
        let text = "100 1700000000000 60000 3 1 broker-a 2 105";
        let receipt: Receipt = text.parse().unwrap();
        assert_eq!(receipt.kind, RetryKind::V1);
        assert_eq!((receipt.start_offset, receipt.queue_offset), (100, 105));
        assert_eq!(receipt.revive_time(), 1_700_000_060_000);
        assert_eq!(receipt.to_string(), text);
        let with_log_offset: Receipt = format!("{text} 4711").parse().unwrap();
        assert_eq!(with_log_offset, receipt);
        let short: Receipt = "100 1700000000000 60000 999 0 b".parse().unwrap();
        assert!(short.is_order() && short.queue_id == -1 && short.queue_offset == -1);
        let missing = "1 2 3".parse::<Receipt>();
        assert_eq!(missing, Err(ReceiptError::Missing("reviveQid")));
        assert_eq!(
            "1 2 3 4 9 b 0 0".parse::<Receipt>(),
            Err(ReceiptError::Bad("t"))
        );
        assert!("x".repeat(2000).parse::<Receipt>().is_err());
    }

    #[test]
    fn kinds_follow_the_names_of_topics() {
        for kind in [RetryKind::Normal, RetryKind::V1, RetryKind::V2] {
            assert_eq!(RetryKind::of(&kind.real_topic("T", "G")), kind);
            assert_eq!(RetryKind::from_text(kind.text()), Some(kind));
        }
    }

    #[test]
    fn lists_are_those_of_the_reference() {
        let mut starts = InfoList::default();
        starts.push_number("T", 3, 100);
        starts.push_number("%RETRY%G_T", 0, 7);
        assert_eq!(starts.into_text(), "0 3 100;1 0 7");
        let mut offsets = InfoList::default();
        offsets.push_offsets("T", 3, &[100, 102]);
        offsets.push_offsets("%RETRY%G+T", 0, &[7]);
        let text = offsets.into_text();
        assert_eq!(text, "0 3 100,102;2 0 7");
        let read = parse_msg_offsets(&text).unwrap();
        assert_eq!(read[0].value, [100, 102]);
        assert_eq!(read[1].kind, RetryKind::V2);
        let mut counts = InfoList::default();
        counts.push_count("T", 1, 5, 2);
        counts.push_number("T", 1, 0);
        let text = counts.into_text();
        assert_eq!(text, "0 qo1%5 2;0 1 0");
        assert_eq!(parse_order_counts(&text).unwrap(), [(1, 5, 2)]);
        assert!(parse_start_offsets("").unwrap().is_empty());
        assert!(parse_start_offsets("0 1").is_err());
    }

    proptest! {
        #[test]
        fn receipts_round_trip(start: i64, pop: i64, hidden: i64, revive: i32, kind in 0u8..3,
            broker in "[a-zA-Z0-9_-]{1,20}", queue: i32, offset: i64) {
            let kind = RetryKind::from_text(&kind.to_string()).unwrap();
            let receipt = Receipt { start_offset: start, pop_time: pop, invisible_time: hidden,
                revive_qid: revive, kind, broker_name: broker, queue_id: queue, queue_offset: offset };
            prop_assert_eq!(receipt.to_string().parse::<Receipt>(), Ok(receipt));
        }

        #[test]
        fn nothing_makes_a_reader_panic(text in ".{0,80}", like in "[0-9;, qo%-]{0,40}") {
            for text in [text, like] {
                let _ = text.parse::<Receipt>();
                let _ = parse_start_offsets(&text);
                let _ = parse_msg_offsets(&text);
                let _ = parse_order_counts(&text);
            }
        }
    }
}
