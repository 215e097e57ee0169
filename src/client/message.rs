//! Messages as programs see them: [`Message`] to send, [`MessageExt`] as received.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::client::error::ClientError;
use crate::client::{compression, unique_id};
use crate::protocol::Str;
use crate::protocol::body::MessageQueue;
use crate::protocol::message::record::{CheckCrc, RecordView};
use crate::protocol::message::{batch, id, names, properties, sys_flag};

/// The bits of a record that clients take apart.
const WRAPPED: i32 = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;

/// A message to be sent.
///
/// Properties are kept in the order they were set; a name set twice has its last value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Topic.
    pub topic: Str,
    /// A number that is kept with the message and means nothing to brokers.
    pub flag: i32,
    /// Content.
    pub body: Bytes,
    properties: Vec<(Str, Str)>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<Str>, body: impl Into<Bytes>) -> Self {
        Message {
            topic: topic.into(),
            flag: 0,
            body: body.into(),
            properties: Vec::new(),
        }
    }

    /// Sets the tag that consumers can filter by.
    pub fn with_tags(self, tags: impl Into<Str>) -> Self {
        self.with_property(properties::TAGS, tags)
    }

    /// Sets the keys that the message can be found by, separated by spaces.
    pub fn with_keys(self, keys: impl Into<Str>) -> Self {
        self.with_property(properties::KEYS, keys)
    }

    /// Delivers the message later: level n of the broker's `messageDelayLevel`.
    pub fn with_delay_level(self, level: u32) -> Self {
        self.with_property(properties::DELAY, level.to_string())
    }

    /// Delivers the message after a time, at most three days unless the broker's `timerMaxDelaySec` says
    /// otherwise: not before, and less than a second after.
    pub fn with_delay(self, delay: Duration) -> Self {
        self.with_property(properties::TIMER_DELAY_MS, delay.as_millis().to_string())
    }

    /// Delivers the message at a time, ms since 1970; as [`with_delay`](Self::with_delay).
    pub fn with_deliver_time_ms(self, time_ms: i64) -> Self {
        self.with_property(properties::TIMER_DELIVER_MS, time_ms.to_string())
    }

    /// Whether the broker answers only when the message is as safe as it is configured to be.
    pub fn with_wait_store_ok(self, wait: bool) -> Self {
        self.with_property(properties::WAIT, if wait { "true" } else { "false" })
    }

    /// Sets a property.
    pub fn with_property(mut self, name: impl Into<Str>, value: impl Into<Str>) -> Self {
        self.set_property(name, value);
        self
    }

    /// Sets a property.
    pub fn set_property(&mut self, name: impl Into<Str>, value: impl Into<Str>) {
        let (name, value) = (name.into(), value.into());
        match self.properties.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => self.properties.push((name, value)),
        }
    }

    /// Removes a property.
    pub fn remove_property(&mut self, name: &str) {
        self.properties.retain(|(known, _)| known != name);
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    /// All properties.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties
            .iter()
            .map(|(name, value)| (&**name, &**value))
    }

    /// The id given before sending; a new one when there is none yet.
    pub(crate) fn ensure_unique_key(&mut self) -> Str {
        if let Some(known) = self.property(properties::UNIQ_KEY) {
            return known.into();
        }
        let key = Str::from(unique_id::create());
        self.set_property(properties::UNIQ_KEY, key.clone());
        key
    }

    /// The properties as a header carries them.
    pub(crate) fn encode_properties(&self) -> String {
        let len = self
            .properties
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2)
            .sum();
        let mut text = String::with_capacity(len);
        for (name, value) in &self.properties {
            text.push_str(name);
            text.push(char::from(properties::NAME_VALUE_SEPARATOR));
            text.push_str(value);
            text.push(char::from(properties::ENTRY_SEPARATOR));
        }
        text
    }

    /// Checks what would make the message unreadable or refused: name, emptiness, separators.
    pub(crate) fn check(&self, body_len_max: usize) -> Result<(), ClientError> {
        names::validate_topic(&self.topic)
            .map_err(|error| ClientError::Invalid(error.to_string()))?;
        if names::is_forbidden_to_send(&self.topic) {
            let text = format!("sending to topic {} is not allowed", self.topic);
            return Err(ClientError::Invalid(text));
        }
        if self.body.is_empty() {
            return Err(ClientError::Invalid("the message has no body".into()));
        }
        if self.body.len() > body_len_max {
            let text = format!("body of {} bytes exceeds {body_len_max}", self.body.len());
            return Err(ClientError::Invalid(text));
        }
        let bad = self.properties.iter().find(|(name, value)| {
            name.contains(['\u{1}', '\u{2}']) || value.contains(['\u{1}', '\u{2}'])
        });
        match bad {
            Some((name, _)) => {
                let text = format!("property {name:?} contains a separator (U+0001 or U+0002)");
                Err(ClientError::Invalid(text))
            }
            None => Ok(()),
        }
    }
}

/// A message as a broker delivered it.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageExt {
    /// Topic; for a retried message the topic it was first sent to.
    pub topic: Str,
    /// Broker it came from.
    pub broker_name: Str,
    /// Queue.
    pub queue_id: i32,
    /// Place in the queue.
    pub queue_offset: i64,
    /// Place in the broker's commit log.
    pub physical_offset: i64,
    /// Bytes of the stored record.
    pub store_size: usize,
    /// The producer's number.
    pub flag: i32,
    /// Bits of [`sys_flag`].
    pub sys_flag: i32,
    /// When it was made, ms.
    pub born_timestamp: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// When it was stored, ms.
    pub store_timestamp: i64,
    /// The broker's address as stored.
    pub store_host: SocketAddr,
    /// How often consuming it failed.
    pub reconsume_times: i32,
    /// CRC-32 of the stored body, 31 bits.
    pub body_crc: i32,
    /// Position of the half message this one ends.
    pub prepared_transaction_offset: i64,
    /// Content, decompressed.
    pub body: Bytes,
    /// Text of the properties as stored.
    pub properties: Bytes,
}

impl MessageExt {
    /// Reads the record at the start of `bytes` and returns the message and the record's length.
    /// The body is decompressed, unless its compression is not known here: then it is left as
    /// stored and [`MessageExt::is_compressed`] stays true.
    pub fn decode(bytes: &Bytes) -> Result<(Self, usize), ClientError> {
        let invalid = |reason: String| ClientError::BadAnswer {
            what: "a message",
            addr: "the broker".into(),
            reason,
        };
        let view =
            RecordView::parse(bytes, CheckCrc::Body).map_err(|error| invalid(error.to_string()))?;
        let mut sys_flag = view.sys_flag;
        let mut body = bytes.slice_ref(view.body);
        if let Some(plain) = compression::decompress(sys_flag, &body)
            .map_err(|error| invalid(format!("body cannot be decompressed: {error}")))?
        {
            body = plain;
            sys_flag &= !(sys_flag::COMPRESSED | sys_flag::COMPRESSION_MASK);
        }
        let message = MessageExt {
            topic: view.topic.into(),
            broker_name: Str::new(),
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset,
            store_size: view.size,
            flag: view.flag,
            sys_flag,
            born_timestamp: view.born_timestamp,
            born_host: view.born_host,
            store_timestamp: view.store_timestamp,
            store_host: view.store_host,
            reconsume_times: view.reconsume_times,
            body_crc: view.body_crc,
            prepared_transaction_offset: view.prepared_transaction_offset,
            body,
            properties: bytes.slice_ref(view.properties),
        };
        Ok((message, view.size))
    }

    /// Reads all records of a pull answer.
    pub fn decode_all(mut bytes: Bytes, broker_name: &Str) -> Result<Vec<Self>, ClientError> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let (mut message, size) = Self::decode(&bytes)?;
            message.broker_name = broker_name.clone();
            messages.push(message);
            bytes = bytes.split_off(size.min(bytes.len()));
        }
        Ok(messages)
    }

    /// Reads all records of a pull answer as [`decode_all`](Self::decode_all) does, and takes inner batches
    /// apart: each of their messages has its own body, properties and queue offset.
    pub fn decode_unwrapped(bytes: Bytes, broker_name: &Str) -> Result<Vec<Self>, ClientError> {
        let mut messages = Vec::new();
        for message in Self::decode_all(bytes, broker_name)? {
            if message.sys_flag & WRAPPED == WRAPPED {
                message.unwrap_into(&mut messages)?;
            } else {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn unwrap_into(self, messages: &mut Vec<Self>) -> Result<(), ClientError> {
        for (queue_offset, inner) in (self.queue_offset..).zip(batch::messages(&self.body)) {
            let inner = inner.map_err(|error| ClientError::BadAnswer {
                what: "an inner batch",
                addr: "the broker".into(),
                reason: error.to_string(),
            })?;
            messages.push(Self {
                queue_offset,
                flag: inner.flag,
                body: self.body.slice_ref(inner.body),
                properties: self.body.slice_ref(inner.properties),
                ..self.clone()
            });
        }
        Ok(())
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        properties::get(&self.properties, name)
    }

    /// The tag.
    pub fn tags(&self) -> Option<&str> {
        self.property(properties::TAGS)
    }

    /// The keys, separated by spaces.
    pub fn keys(&self) -> Option<&str> {
        self.property(properties::KEYS)
    }

    /// The id that the producer gave, or the offset id when there is none.
    pub fn message_id(&self) -> String {
        self.property(properties::UNIQ_KEY)
            .map_or_else(|| self.offset_id(), str::to_owned)
    }

    /// The id that tells broker and position.
    pub fn offset_id(&self) -> String {
        id::offset_id(self.store_host, self.physical_offset)
    }

    /// The queue it came from.
    pub fn queue(&self) -> MessageQueue {
        MessageQueue::new(&self.topic, &self.broker_name, self.queue_id)
    }

    /// Whether the body is still compressed, by a method that this client does not know.
    pub fn is_compressed(&self) -> bool {
        self.sys_flag & sys_flag::COMPRESSED != 0
    }
}

/// Records for tests of the client.
#[cfg(test)]
pub(crate) mod testing {
    use bytes::{Bytes, BytesMut};

    use crate::protocol::message::record::{NewRecord, encode_record, patch_record};

    /// Of queue 3 of topic T, with nothing in it.
    pub(crate) fn plain() -> NewRecord<'static> {
        let host = "10.0.0.1:10911".parse().unwrap();
        NewRecord {
            topic: "T",
            queue_id: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"",
            properties: b"",
        }
    }

    /// As a broker stores it at an offset of its queue.
    pub(crate) fn stored(record: &NewRecord<'_>, queue_offset: i64) -> Bytes {
        let mut out = BytesMut::new();
        encode_record(record, &mut out).unwrap();
        patch_record(&mut out, queue_offset, 0, 0);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::testing::{plain, stored};
    use super::*;
    use crate::protocol::message::record::NewRecord;

    fn record(sys_flag: i32, body: &[u8]) -> Bytes {
        let record = NewRecord {
            flag: 1,
            sys_flag,
            born_timestamp: 5,
            body,
            properties: b"TAGS\x01A\x02UNIQ_KEY\x01K\x02",
            ..plain()
        };
        stored(&record, 0)
    }

    #[test]
    fn records_become_messages() {
        let mut two = BytesMut::from(&record(0, b"one")[..]);
        let (zipped, flag) = compression::compress(&Bytes::from(vec![7_u8; 9_000])).unwrap();
        two.extend_from_slice(&record(flag, &zipped));
        let messages = MessageExt::decode_all(two.freeze(), &"b".into()).unwrap();
        assert_eq!(messages[0].body, "one");
        assert_eq!(messages[0].tags(), Some("A"));
        assert_eq!(messages[0].message_id(), "K");
        assert_eq!(messages[1].body, vec![7_u8; 9_000]);
        assert!(!messages[1].is_compressed());
        assert_eq!(messages[1].broker_name, "b");
    }

    #[test]
    fn inner_batches_are_taken_apart() {
        let mut body = BytesMut::new();
        for text in ["first", "second"] {
            let properties = format!("UNIQ_KEY\x01{text}\x02");
            let message = batch::BatchMessage {
                flag: 9,
                body: text.as_bytes(),
                properties: properties.as_bytes(),
            };
            batch::encode_message(&message, &mut body).unwrap();
        }
        let bytes = [record(0, b"one"), record(WRAPPED, &body)].concat();
        let messages = MessageExt::decode_unwrapped(bytes.into(), &"b".into()).unwrap();
        let told = |m: &MessageExt| (m.body.clone(), m.queue_offset, m.message_id(), m.queue_id);
        let told: Vec<_> = messages.iter().map(told).collect();
        assert_eq!(
            told,
            [
                ("one".into(), 0, "K".into(), 3),
                ("first".into(), 0, "first".into(), 3),
                ("second".into(), 1, "second".into(), 3)
            ]
        );
        let torn = record(WRAPPED, &body[..body.len() - 1]);
        assert!(MessageExt::decode_unwrapped(torn, &"b".into()).is_err());
    }

    #[test]
    fn a_torn_answer_is_an_error() {
        let whole = record(0, b"one");
        let torn = whole.slice(..whole.len() - 1);
        assert!(MessageExt::decode_all(torn, &"b".into()).is_err());
    }

    #[test]
    fn what_a_broker_could_not_read_is_refused_here() {
        assert!(Message::new("T", "x").check(10).is_ok());
        assert!(Message::new("T", "").check(10).is_err());
        assert!(Message::new("T T", "x").check(10).is_err());
        assert!(Message::new("T", "x").check(0).is_err());
        assert!(
            Message::new("T", "x")
                .with_property("a", "b\u{1}")
                .check(10)
                .is_err()
        );
        assert!(Message::new("SCHEDULE_TOPIC_XXXX", "x").check(10).is_err());
    }

    #[test]
    fn properties_are_written_in_order() {
        let message = Message::new("T", "x")
            .with_tags("A")
            .with_keys("k")
            .with_tags("B");
        assert_eq!(
            message.encode_properties(),
            "TAGS\u{1}B\u{2}KEYS\u{1}k\u{2}"
        );
    }
}
