//! Popping through the raw client, with receipts built from an answer's header as Java clients do.

use super::PATIENCE;
use super::record::{self, Record};
use super::remoting::{Client, Frame, NoAnswer};
use super::requests::{Ext, now_ms};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use std::collections::BTreeMap;

pub const POP_MESSAGE: i32 = 200050;
pub const ACK_MESSAGE: i32 = 200051;
pub const PEEK_MESSAGE: i32 = 200052;
pub const CHANGE_MESSAGE_INVISIBLETIME: i32 = 200053;
pub const NOTIFICATION: i32 = 200054;
pub const POLLING_INFO: i32 = 200055;
pub const BATCH_ACK_MESSAGE: i32 = 200151;

/// Whom pops are for.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub topic: &'static str,
    pub group: &'static str,
}

/// A popped message and what acknowledges it.
#[derive(Clone, Debug)]
pub struct Popped {
    pub record: Record,
    pub receipt: String,
}

impl Popped {
    pub fn text(&self) -> String {
        String::from_utf8(self.record.body.clone()).expect("text")
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.record.property(name)
    }

    /// Part of the receipt, by its place.
    pub fn part(&self, at: usize) -> &str {
        self.receipt.split(' ').nth(at).expect("part of a receipt")
    }
}

/// The fields of a pop; `change` may add others or set them anew.
pub fn pop_ext(
    who: Who,
    max: usize,
    hidden_ms: u64,
    poll_ms: u64,
    change: &[(&'static str, &str)],
) -> Ext {
    let mut fields: BTreeMap<&'static str, String> = BTreeMap::from([
        ("consumerGroup", who.group.to_string()),
        ("topic", who.topic.to_string()),
        ("queueId", "-1".to_string()),
        ("maxMsgNums", max.to_string()),
        ("invisibleTime", hidden_ms.to_string()),
        ("pollTime", poll_ms.to_string()),
        ("bornTime", now_ms().to_string()),
        ("initMode", "0".to_string()),
        ("expType", "TAG".to_string()),
        ("exp", "*".to_string()),
        ("order", "false".to_string()),
    ]);
    for (name, value) in change {
        fields.insert(name, (*value).to_string());
    }
    fields.into_iter().collect()
}

/// The messages of an answer, with their receipts (`MQClientAPIImpl.processPopResponse`).
pub fn popped(who: Who, frame: &Frame) -> Vec<Popped> {
    let starts = list(frame.ext_text("startOffsetInfo"));
    let offsets = list(frame.ext_text("msgOffsetInfo"));
    let (pop_time, hidden) = (frame.ext_text("popTime"), frame.ext_text("invisibleTime"));
    let revive = frame.ext_text("reviveQid");
    let build = |record: Record| {
        let carried = Popped {
            record: record.clone(),
            receipt: String::new(),
        };
        if let Some(receipt) = carried.property("POP_CK") {
            return Popped {
                receipt: receipt.to_string(),
                record,
            };
        }
        let kind = match record.topic.strip_prefix("%RETRY%") {
            None => "0",
            Some(name) if name.contains('+') => "2",
            Some(_) => "1",
        };
        // As Java's client does it (`MQClientAPIImpl.processPopResponse`).
        let light = record.light_offset(who.topic).filter(|_| kind == "0");
        let (queue, own) = match light {
            Some(offset) => (0, offset),
            None => (record.queue_id, record.queue_offset),
        };
        let place = format!("{kind} {queue}");
        let known = &offsets[&place];
        let own = own.to_string();
        assert!(
            known.split(',').any(|offset| offset == own),
            "{own} in {known}"
        );
        let start = &starts[&place];
        let receipt = format!("{start} {pop_time} {hidden} {revive} {kind} broker-a {queue} {own}");
        Popped { record, receipt }
    };
    let all: Vec<Popped> = record::parse_all(&frame.body)
        .into_iter()
        .map(build)
        .collect();
    let light = |popped: &&Popped| popped.record.light_offset(who.topic).is_some();
    let others = all.iter().filter(|popped| !light(popped));
    let topics = others.map(|popped| &popped.record.topic);
    assert!(
        topics.clone().all(|topic| topic == who.topic),
        "{:?}",
        topics.collect::<Vec<_>>()
    );
    all
}

/// `t queueId value` entries by `t queueId`.
fn list(text: &str) -> BTreeMap<String, String> {
    let entries = text.split(';').filter(|entry| !entry.is_empty());
    let split = entries.map(|entry| entry.rsplit_once(' ').expect("an entry of three"));
    split
        .map(|(place, value)| (place.to_string(), value.to_string()))
        .collect()
}

pub fn try_pop(client: &Client, ext: &Ext) -> Result<Frame, NoAnswer> {
    client.call(POP_MESSAGE, ext, b"", PATIENCE)
}

/// Pops what there is now, without waiting.
pub fn pop_now(client: &Client, who: Who, max: usize, hidden_ms: u64) -> Vec<Popped> {
    pop_with(client, who, &pop_ext(who, max, hidden_ms, 0, &[]))
}

/// Pops, and waits for as long as the request says; none is an answer, too.
pub fn pop_with(client: &Client, who: Who, ext: &Ext) -> Vec<Popped> {
    let frame = try_pop(client, ext).unwrap_or_else(|error| panic!("pop: {error:?}"));
    match frame.code {
        0 => popped(who, &frame),
        210 => Vec::new(),
        code => panic!("pop: {code} {}", frame.remark),
    }
}

/// The topic that acknowledgements name: that of the queue where the message lies.
pub fn real_topic(who: Who, receipt: &str) -> String {
    match receipt.split(' ').nth(4) {
        Some("1") => format!("%RETRY%{}_{}", who.group, who.topic),
        Some("2") => format!("%RETRY%{}+{}", who.group, who.topic),
        _ => who.topic.to_string(),
    }
}

pub fn ack_ext(who: Who, popped: &Popped) -> Ext {
    vec![
        ("consumerGroup", who.group.to_string()),
        ("topic", real_topic(who, &popped.receipt)),
        ("queueId", popped.part(6).to_string()),
        ("extraInfo", popped.receipt.clone()),
        ("offset", popped.part(7).to_string()),
    ]
}

pub fn try_ack(client: &Client, who: Who, popped: &Popped) -> Result<Frame, NoAnswer> {
    client.call(ACK_MESSAGE, &ack_ext(who, popped), b"", PATIENCE)
}

/// Acknowledges messages with one request.
pub fn batch_ack(client: &Client, who: Who, messages: &[&Popped]) -> Frame {
    // All of a receipt but the offset of its message: one queue of one pop.
    let mut acks: BTreeMap<&str, Vec<&Popped>> = BTreeMap::new();
    for popped in messages {
        let (key, _) = popped.receipt.rsplit_once(' ').expect("a receipt");
        acks.entry(key).or_default().push(popped);
    }
    let acks: Vec<_> = acks
        .values()
        .map(|of_queue| {
            let first = of_queue[0];
            let start: i64 = first.part(0).parse().expect("start");
            let mut bits = vec![0u8; 64];
            for popped in of_queue {
                let at = (popped.part(7).parse::<i64>().expect("offset") - start) as usize;
                bits[at / 8] |= 1 << (at % 8);
            }
            let number = |at: usize| first.part(at).parse::<i64>().expect("number");
            json!({
                "b": BASE64_STANDARD.encode(&bits), "c": who.group, "it": number(2), "pt": number(1),
                "q": number(6), "r": first.part(4), "rq": number(3), "so": start, "t": who.topic,
            })
        })
        .collect();
    let body = json!({"acks": acks, "brokerName": "broker-a"}).to_string();
    client
        .call(BATCH_ACK_MESSAGE, &[], body.as_bytes(), PATIENCE)
        .unwrap_or_else(|error| panic!("batch ack: {error:?}"))
}

/// Hides a message for another time; gives the new receipt.
pub fn change_invisible(client: &Client, who: Who, popped: &Popped, hidden_ms: u64) -> Popped {
    let mut ext = ack_ext(who, popped);
    ext.push(("invisibleTime", hidden_ms.to_string()));
    let answer = client.call(CHANGE_MESSAGE_INVISIBLETIME, &ext, b"", PATIENCE);
    let frame = super::requests::must(answer, "change invisible time");
    let offset = popped.part(7);
    let receipt = format!(
        "{offset} {} {} {} {} broker-a {} {offset}",
        frame.ext_text("popTime"),
        frame.ext_text("invisibleTime"),
        frame.ext_text("reviveQid"),
        popped.part(4),
        popped.part(6),
    );
    Popped {
        receipt,
        record: popped.record.clone(),
    }
}
