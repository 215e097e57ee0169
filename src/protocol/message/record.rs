//! One message as the commit log stores it and as pull answers carry it.
//!
//! ```text
//! 0       4       8       12      16      20              28              36      40
//! | size  | magic | crc   | queue | flag  | queue offset  | physical off. | sys   | ...
//! ```
//!
//! | offset | width   | name                 | meaning                                         |
//! |--------|---------|----------------------|-------------------------------------------------|
//! | 0      | 4       | size                 | of the whole record                             |
//! | 4      | 4       | magic                | [`MAGIC_V1`] or [`MAGIC_V2`]; [`MAGIC_BLANK`] ends a file |
//! | 8      | 4       | body CRC             | CRC-32 of the stored body, 31 bits              |
//! | 12     | 4       | queue id             |                                                 |
//! | 16     | 4       | flag                 | the user's                                      |
//! | 20     | 8       | queue offset         | index in the consume queue                      |
//! | 28     | 8       | physical offset      | position in the commit log                      |
//! | 36     | 4       | sys flag             | [`super::sys_flag`]                             |
//! | 40     | 8       | born timestamp       | ms                                              |
//! | 48     | 8 or 20 | born host            | address (4 or 16) and port (4)                  |
//! | 56     | 8       | store timestamp      | ms; 12 further on after an IPv6 born host, as all that follow |
//! | 64     | 8 or 20 | store host           |                                                 |
//! | 72     | 4       | reconsume times      |                                                 |
//! | 76     | 8       | prepared transaction offset |                                          |
//! | 84     | 4 + n   | body                 |                                                 |
//! |        | 1 + n   | topic                | 2 + n with magic v2                             |
//! |        | 2 + n   | properties           | [`super::properties`]                           |
//!
//! All integers are big-endian and signed. The classes behind it are `MessageExtEncoder`,
//! `MessageDecoder` and `CommitLog.checkMessageAndReturnSize`.

use super::sys_flag::{BORN_HOST_V6, STORE_HOST_V6};
use bytes::{BufMut, BytesMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Magic of a record whose topic has at most 127 bytes.
pub const MAGIC_V1: i32 = 0xDAA3_20A7_u32 as i32;
/// Magic of a record whose topic is longer.
pub const MAGIC_V2: i32 = 0xDAA3_20AB_u32 as i32;
/// Magic of the filler at the end of a file: size and magic, the rest is undefined.
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;
/// Size and magic of a filler; a record must leave this much room in its file.
pub const BLANK_LEN: usize = 8;
/// The smallest record: IPv4 hosts, no body, no topic, no properties.
pub const RECORD_LEN_MIN: usize = 91;

/// Longest topic of a record of version 1.
const TOPIC_LEN_V1_MAX: usize = i8::MAX as usize;
/// Longest topic of a record at all.
const TOPIC_LEN_MAX: usize = i16::MAX as usize;
/// Longest properties of a record.
const PROPERTIES_LEN_MAX: usize = super::properties::PROPERTIES_LEN_MAX;
/// Where the queue offset is.
const QUEUE_OFFSET_AT: usize = 20;
/// Where the physical offset is.
const PHYSICAL_OFFSET_AT: usize = 28;
/// Where the flag is that tells the width of the hosts.
const SYS_FLAG_AT: usize = 36;
/// Where the producer's address is.
const BORN_HOST_AT: usize = 48;
/// Where the store timestamp is behind an IPv4 born host.
const STORE_TIMESTAMP_AT: usize = 56;
/// How much longer an IPv6 host is.
const V6_EXTRA: usize = 12;

/// Why a record can't be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The topic does not fit its length field.
    #[error("topic of {0} bytes is too long")]
    TopicTooLong(usize),
    /// The properties do not fit their length field.
    #[error("properties of {0} bytes are too long")]
    PropertiesTooLong(usize),
    /// The record does not fit its length field.
    #[error("record of {0} bytes is too long")]
    RecordTooLong(usize),
    /// The bytes end before the record does.
    #[error("record is cut off: {have} of {need} bytes")]
    CutOff {
        /// Bytes at hand.
        have: usize,
        /// Bytes the record claims.
        need: usize,
    },
    /// No magic of a record.
    #[error("bad magic {0:#010x}")]
    BadMagic(i32),
    /// A length inside the record is negative or leads out of it, or the parts do not add up to
    /// its size.
    #[error("bad length of {what}")]
    BadLength {
        /// Which part.
        what: &'static str,
    },
    /// The body is not what was stored.
    #[error("body crc is {found:#010x}, the record says {expected:#010x}")]
    BadCrc {
        /// CRC of the body.
        found: i32,
        /// CRC in the record.
        expected: i32,
    },
    /// The topic is not UTF-8.
    #[error("topic is not text")]
    BadTopic,
}

/// A message about to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Bits of [`super::sys_flag`]; those of the hosts are set by the encoder.
    pub sys_flag: i32,
    /// When the producer made the message, ms.
    pub born_timestamp: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// The broker's address, where clients ask for the message again.
    pub store_host: SocketAddr,
    /// How often consuming it failed.
    pub reconsume_times: i32,
    /// Position of the half message this one ends.
    pub prepared_transaction_offset: i64,
    /// Body, compressed or not.
    pub body: &'a [u8],
    /// Text of the properties.
    pub properties: &'a [u8],
}

/// The CRC of a body as records keep it: 31 bits of CRC-32.
pub fn body_crc(body: &[u8]) -> i32 {
    (crc32fast::hash(body) & 0x7fff_ffff) as i32
}

/// The length of a host in a record.
fn host_len(host: SocketAddr) -> usize {
    if host.is_ipv6() { 20 } else { 8 }
}

fn put_host(out: &mut BytesMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_i32(i32::from(host.port()));
}

/// The length of the record that [`encode_record`] would write.
pub fn record_len(record: &NewRecord<'_>) -> usize {
    let topic_width = if record.topic.len() > TOPIC_LEN_V1_MAX {
        2
    } else {
        1
    };
    RECORD_LEN_MIN - 1 - 16
        + host_len(record.born_host)
        + host_len(record.store_host)
        + record.body.len()
        + topic_width
        + record.topic.len()
        + record.properties.len()
}

/// Writes a record and returns its length.
///
/// Queue offset, physical offset and store timestamp are 0 until [`patch_record`] sets them.
/// Nothing is written when it fails.
pub fn encode_record(record: &NewRecord<'_>, out: &mut BytesMut) -> Result<usize, RecordError> {
    if record.topic.len() > TOPIC_LEN_MAX {
        return Err(RecordError::TopicTooLong(record.topic.len()));
    }
    if record.properties.len() > PROPERTIES_LEN_MAX {
        return Err(RecordError::PropertiesTooLong(record.properties.len()));
    }
    let len = record_len(record);
    let size = i32::try_from(len).map_err(|_| RecordError::RecordTooLong(len))?;
    let long_topic = record.topic.len() > TOPIC_LEN_V1_MAX;
    let mut sys_flag = record.sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6);
    if record.born_host.is_ipv6() {
        sys_flag |= BORN_HOST_V6;
    }
    if record.store_host.is_ipv6() {
        sys_flag |= STORE_HOST_V6;
    }
    out.reserve(len);
    out.put_i32(size);
    out.put_i32(if long_topic { MAGIC_V2 } else { MAGIC_V1 });
    out.put_i32(body_crc(record.body));
    out.put_i32(record.queue_id);
    out.put_i32(record.flag);
    out.put_i64(0);
    out.put_i64(0);
    out.put_i32(sys_flag);
    out.put_i64(record.born_timestamp);
    put_host(out, record.born_host);
    out.put_i64(0);
    put_host(out, record.store_host);
    out.put_i32(record.reconsume_times);
    out.put_i64(record.prepared_transaction_offset);
    out.put_u32(record.body.len() as u32);
    out.put_slice(record.body);
    if long_topic {
        out.put_u16(record.topic.len() as u16);
    } else {
        out.put_u8(record.topic.len() as u8);
    }
    out.put_slice(record.topic.as_bytes());
    out.put_u16(record.properties.len() as u16);
    out.put_slice(record.properties);
    Ok(len)
}

/// Sets what is known only when the place of a record in the log is known.
///
/// `record` must begin with a whole record; of anything shorter nothing or a part is set.
pub fn patch_record(
    record: &mut [u8],
    queue_offset: i64,
    physical_offset: i64,
    store_timestamp: i64,
) {
    let store_timestamp_at = store_timestamp_at(record);
    let mut put = |at: usize, value: i64| {
        if let Some(place) = record.get_mut(at..at + 8) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    };
    put(QUEUE_OFFSET_AT, queue_offset);
    put(PHYSICAL_OFFSET_AT, physical_offset);
    put(store_timestamp_at, store_timestamp);
}

fn store_timestamp_at(record: &[u8]) -> usize {
    let sys_flag = int_at(record, SYS_FLAG_AT).unwrap_or(0);
    STORE_TIMESTAMP_AT
        + if sys_flag & BORN_HOST_V6 != 0 {
            V6_EXTRA
        } else {
            0
        }
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| i32::from_be_bytes(*word))
}

fn long_at(bytes: &[u8], at: usize) -> Option<i64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|word| i64::from_be_bytes(*word))
}

/// The store timestamp of a record, without reading the rest of it.
pub fn peek_store_timestamp(record: &[u8]) -> Option<i64> {
    long_at(record, store_timestamp_at(record))
}

/// The queue offset of a record, without reading the rest of it.
pub fn peek_queue_offset(record: &[u8]) -> Option<i64> {
    long_at(record, QUEUE_OFFSET_AT)
}

/// The physical offset of a record, without reading the rest of it.
pub fn peek_physical_offset(record: &[u8]) -> Option<i64> {
    long_at(record, PHYSICAL_OFFSET_AT)
}

/// The properties of a whole record, without reading the rest of it; `None` where its lengths lead
/// out of it.
pub fn peek_properties(record: &[u8]) -> Option<&[u8]> {
    let sys_flag = int_at(record, SYS_FLAG_AT)?;
    let host_len = |v6| if sys_flag & v6 != 0 { 20 } else { 8 };
    // Behind the hosts and the store timestamp: reconsume times and prepared offset.
    let hosts_len = host_len(BORN_HOST_V6) + 8 + host_len(STORE_HOST_V6);
    let body_at = BORN_HOST_AT + hosts_len + 4 + 8;
    let body_len = usize::try_from(int_at(record, body_at)?).ok()?;
    let rest = record.get(body_at + 4..)?.get(body_len..)?;
    let mut cursor = Cursor { rest };
    let topic_len = match int_at(record, 4)? {
        MAGIC_V2 => cursor.short(),
        _ => cursor.byte(),
    };
    cursor.bytes(topic_len.ok()?, "topic").ok()?;
    let len = cursor.short().ok()?;
    cursor.bytes(len, "properties").ok()
}

/// What begins at some place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// The filler at the end of a file.
    Blank {
        /// Bytes to the end of the file.
        size: usize,
    },
    /// A record, if the rest is as good as its first eight bytes.
    Record {
        /// Its length.
        size: usize,
    },
    /// Neither.
    Invalid,
}

/// Tells what the first eight bytes begin.
pub fn peek(bytes: &[u8]) -> Peek {
    let (Some(size), Some(magic)) = (int_at(bytes, 0), int_at(bytes, 4)) else {
        return Peek::Invalid;
    };
    match (magic, usize::try_from(size)) {
        (MAGIC_BLANK, Ok(size @ BLANK_LEN..)) => Peek::Blank { size },
        (MAGIC_V1 | MAGIC_V2, Ok(size @ RECORD_LEN_MIN..)) => Peek::Record { size },
        _ => Peek::Invalid,
    }
}

/// Whether reading a record checks the CRC of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckCrc {
    /// The body is taken as it is.
    No,
    /// The body must fit its CRC.
    Body,
}

/// A record taken apart; texts and bytes point into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Length of the whole record.
    pub size: usize,
    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    pub magic: i32,
    /// CRC-32 of the body, 31 bits.
    pub body_crc: i32,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Index in the consume queue.
    pub queue_offset: i64,
    /// Position in the commit log.
    pub physical_offset: i64,
    /// Bits of [`super::sys_flag`].
    pub sys_flag: i32,
    /// When the producer made the message, ms.
    pub born_timestamp: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// When the broker stored the message, ms.
    pub store_timestamp: i64,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often consuming it failed.
    pub reconsume_times: i32,
    /// Position of the half message this one ends.
    pub prepared_transaction_offset: i64,
    /// Body as stored, compressed or not.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Text of the properties, not necessarily UTF-8.
    pub properties: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `bytes`; what follows it is not looked at.
    pub fn parse(bytes: &'a [u8], check: CheckCrc) -> Result<Self, RecordError> {
        let cut_off = |need| RecordError::CutOff {
            have: bytes.len(),
            need,
        };
        let magic = int_at(bytes, 4).ok_or(cut_off(BLANK_LEN))?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::BadMagic(magic));
        }
        let size = int_at(bytes, 0)
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(0);
        if size < RECORD_LEN_MIN {
            return Err(RecordError::BadLength { what: "record" });
        }
        let mut cursor = Cursor {
            rest: bytes.get(8..size).ok_or(cut_off(size))?,
        };
        let body_crc = cursor.int()?;
        let queue_id = cursor.int()?;
        let flag = cursor.int()?;
        let queue_offset = cursor.long()?;
        let physical_offset = cursor.long()?;
        let sys_flag = cursor.int()?;
        let born_timestamp = cursor.long()?;
        let born_host = cursor.host(sys_flag & BORN_HOST_V6 != 0)?;
        let store_timestamp = cursor.long()?;
        let store_host = cursor.host(sys_flag & STORE_HOST_V6 != 0)?;
        let reconsume_times = cursor.int()?;
        let prepared_transaction_offset = cursor.long()?;
        let body_len = i64::from(cursor.int()?);
        let body = cursor.bytes(body_len, "body")?;
        let topic_len = if magic == MAGIC_V2 {
            cursor.short()?
        } else {
            cursor.byte()?
        };
        let topic = cursor.bytes(topic_len, "topic")?;
        let properties_len = cursor.short()?;
        let properties = cursor.bytes(properties_len, "properties")?;
        if !cursor.rest.is_empty() {
            return Err(RecordError::BadLength { what: "record" });
        }
        if check == CheckCrc::Body {
            let found = self::body_crc(body);
            if found != body_crc {
                return Err(RecordError::BadCrc {
                    found,
                    expected: body_crc,
                });
            }
        }
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::BadTopic)?;
        Ok(Self {
            size,
            magic,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        super::properties::get(self.properties, name)
    }

    /// The offset message id: where clients ask for this message again.
    pub fn offset_id(&self) -> String {
        super::id::offset_id(self.store_host, self.physical_offset)
    }

    /// The same message as one about to be stored.
    pub fn to_new(&self) -> NewRecord<'a> {
        NewRecord {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties,
        }
    }
}

/// The bytes of the whole records that lie one behind the other, up to the first place where none begins.
/// Nothing but their lengths is looked at.
pub fn slices(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let Peek::Record { size } = peek(rest) else {
            return None;
        };
        let (first, behind) = rest.split_at_checked(size)?;
        rest = behind;
        Some(first)
    })
}

/// The records of the body of a pull answer, up to the first that can't be read.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<RecordView<'_>, RecordError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let result = RecordView::parse(bytes, CheckCrc::No);
        let size = result.as_ref().map_or(bytes.len(), |record| record.size);
        bytes = bytes.get(size..).unwrap_or(&[]);
        Some(result)
    })
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let split = self.rest.split_first_chunk::<N>();
        let (taken, rest) = split.ok_or(RecordError::BadLength { what: "record" })?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from(i8::from_be_bytes(self.take()?)))
    }

    fn short(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from(i16::from_be_bytes(self.take()?)))
    }

    fn int(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn long(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// An address and a port; of the port's four bytes only two can mean anything.
    fn host(&mut self, v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        };
        let port = self.int()?;
        Ok(SocketAddr::new(ip, port as u16))
    }

    fn bytes(&mut self, len: i64, what: &'static str) -> Result<&'a [u8], RecordError> {
        let len = usize::try_from(len).map_err(|_| RecordError::BadLength { what })?;
        let split = self.rest.split_at_checked(len);
        let (taken, rest) = split.ok_or(RecordError::BadLength { what })?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample<'a>(topic: &'a str, born: &str, store: &str) -> NewRecord<'a> {
        NewRecord {
            topic,
            queue_id: 3,
            flag: 5,
            sys_flag: 0x301,
            born_timestamp: 1_700_000_000_000,
            born_host: born.parse().unwrap(),
            store_host: store.parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 77,
            body: b"body",
            properties: b"a\x01b\x02",
        }
    }

    fn encoded(record: &NewRecord<'_>) -> BytesMut {
        let mut out = BytesMut::new();
        let len = encode_record(record, &mut out).unwrap();
        assert_eq!((len, out.len()), (record_len(record), len));
        out
    }

    #[test]
    fn smallest_record_has_91_bytes() {
        let mut record = sample("", "1.2.3.4:5", "1.2.3.4:5");
        (record.body, record.properties) = (b"", b"");
        assert_eq!(encoded(&record).len(), RECORD_LEN_MIN);
    }

    #[test]
    fn patched_record_is_read_again_for_every_kind_of_host() {
        let long = "t".repeat(128);
        for topic in ["T", &long] {
            for (born, store) in [
                ("1.2.3.4:5", "6.7.8.9:65535"),
                ("[::1]:5", "6.7.8.9:10"),
                ("1.2.3.4:5", "[::2]:10"),
                ("[::1]:5", "[::2]:10"),
            ] {
                let record = sample(topic, born, store);
                let mut bytes = encoded(&record);
                patch_record(&mut bytes, 11, 22, 33);
                let view = RecordView::parse(&bytes, CheckCrc::Body).unwrap();
                assert_eq!((view.queue_offset, view.physical_offset), (11, 22));
                assert_eq!(view.store_timestamp, 33);
                assert_eq!(view.magic, if topic == "T" { MAGIC_V1 } else { MAGIC_V2 });
                assert_eq!((view.topic, view.body), (topic, record.body));
                assert_eq!(
                    (view.born_host, view.store_host),
                    (record.born_host, record.store_host)
                );
                assert_eq!(view.property("a"), Some("b"));
                assert_eq!(peek_store_timestamp(&bytes), Some(33));
                assert_eq!(peek(&bytes), Peek::Record { size: bytes.len() });
                let mut again = encoded(&view.to_new());
                patch_record(&mut again, 11, 22, 33);
                assert_eq!(again, bytes);
            }
        }
    }

    #[test]
    fn damage_is_told_apart() {
        let good = encoded(&sample("T", "1.2.3.4:5", "1.2.3.4:5"));
        let parse = |bytes: &[u8]| RecordView::parse(bytes, CheckCrc::Body).map(|view| view.size);
        for len in 0..good.len() {
            assert!(
                matches!(parse(&good[..len]), Err(RecordError::CutOff { .. })),
                "{len}"
            );
        }
        let mut bad = good.clone();
        bad[4] = 0;
        assert!(matches!(parse(&bad), Err(RecordError::BadMagic(_))));
        let mut bad = good.clone();
        bad[89] ^= 1;
        assert!(matches!(parse(&bad), Err(RecordError::BadCrc { .. })));
        for (at, what) in [(84, "body"), (92, "topic"), (94, "properties")] {
            let mut bad = good.clone();
            bad[at] = 0x80;
            assert_eq!(parse(&bad), Err(RecordError::BadLength { what }));
        }
        let mut bad = good.clone();
        bad[95] = 3;
        assert_eq!(parse(&bad), Err(RecordError::BadLength { what: "record" }));
    }

    #[test]
    fn fields_that_do_not_fit_are_refused() {
        let (topic, properties) = ("t".repeat(32768), vec![0; 32768]);
        let mut out = BytesMut::new();
        let mut record = sample(&topic, "1.2.3.4:5", "1.2.3.4:5");
        assert_eq!(
            encode_record(&record, &mut out),
            Err(RecordError::TopicTooLong(32768))
        );
        (record.topic, record.properties) = ("T", &properties);
        assert_eq!(
            encode_record(&record, &mut out),
            Err(RecordError::PropertiesTooLong(32768))
        );
        assert!(out.is_empty());
    }

    #[test]
    fn filler_is_known_by_its_magic() {
        let mut blank = [0; 8];
        blank[..4].copy_from_slice(&100_i32.to_be_bytes());
        blank[4..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
        assert_eq!(peek(&blank), Peek::Blank { size: 100 });
        assert_eq!(peek(&blank[..7]), Peek::Invalid);
        assert_eq!(peek(&[0; 8]), Peek::Invalid);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>, v2: bool) {
            let _ = RecordView::parse(&bytes, CheckCrc::Body);
            let magic = if v2 { MAGIC_V2 } else { MAGIC_V1 };
            let size = (bytes.len() + 8) as i32;
            bytes.splice(0..0, [size.to_be_bytes(), magic.to_be_bytes()].concat());
            if let Ok(view) = RecordView::parse(&bytes, CheckCrc::No) {
                prop_assert_eq!(peek_properties(&bytes), Some(view.properties));
            }
            patch_record(&mut bytes, 1, 2, 3);
            let _ = peek_properties(&bytes);
        }

        #[test]
        fn properties_are_found_without_the_rest(
            body: Vec<u8>,
            topic in "[a-z]{1,140}",
            properties in "[a-z]{0,40}",
            v6: (bool, bool),
        ) {
            let host = |v6| if v6 { "[::1]:6" } else { "1.2.3.4:5" };
            let mut record = sample(&topic, host(v6.0), host(v6.1));
            record.body = &body;
            record.properties = properties.as_bytes();
            let mut out = BytesMut::new();
            encode_record(&record, &mut out).unwrap();
            prop_assert_eq!(peek_properties(&out), Some(properties.as_bytes()));
        }

        #[test]
        fn records_in_a_row_are_read_one_by_one(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            topic in "[a-z]{1,140}",
        ) {
            let mut out = BytesMut::new();
            for body in &bodies {
                let mut record = sample(&topic, "1.2.3.4:5", "[::1]:6");
                record.body = body;
                encode_record(&record, &mut out).unwrap();
            }
            let read: Vec<_> = records(&out).map(|record| record.unwrap().body.to_vec()).collect();
            let body_of = |one| RecordView::parse(one, CheckCrc::Body).unwrap().body.to_vec();
            let cut: Vec<_> = slices(&out).map(body_of).collect();
            prop_assert_eq!(&cut, &bodies);
            prop_assert_eq!(read, bodies);
            // What is torn off at the end is no whole record.
            let torn = out.len().saturating_sub(1);
            let whole = slices(&out[..torn]).count();
            prop_assert_eq!(whole, cut.len().saturating_sub(1));
        }

        #[test]
        fn any_bytes_are_cut(bytes: Vec<u8>, mut record_like: Vec<u8>) {
            record_like.splice(0..0, [96i32.to_be_bytes(), MAGIC_V1.to_be_bytes()].concat());
            for bytes in [bytes, record_like] {
                let cut: usize = slices(&bytes).map(<[u8]>::len).sum();
                prop_assert!(cut <= bytes.len());
            }
        }
    }
}
