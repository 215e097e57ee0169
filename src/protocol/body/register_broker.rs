//! What a broker tells a NameServer about itself (code 103), also in its compressed form.
//!
//! The compressed form is one zlib stream of parts, each an int length and that many bytes:
//!
//! | part                 | bytes                                                         |
//! |----------------------|---------------------------------------------------------------|
//! | data version         | JSON of the data version                                      |
//! | number of topics     | no bytes: the int is the number                               |
//! | each topic           | a line, see [`TopicConfig::to_line`]                          |
//! | filter servers       | JSON list                                                     |
//! | number of mappings   | only from brokers since 5.0; the int is the number            |
//! | each mapping         | JSON of the mapping                                           |

use super::topic_config::{TopicConfig, TopicConfigAndMappingSerializeWrapper};
use super::topic_queue_mapping::TopicQueueMappingInfo;
use crate::protocol::fastjson::{JsonError, from_slice, to_vec};
use crate::protocol::language::version;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::io::{self, Read, Write};

/// The most that a compressed body may inflate to.
pub const INFLATED_LEN_MAX: u64 = 128 * 1024 * 1024;

body! {
    /// What a broker registers.
    #[derive(Eq)]
    pub struct RegisterBrokerBody {
        /// Filter servers; always empty.
        filter_server_list: Vec<String>,
        /// All topics, or those that changed.
        topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
    }
}

/// Why a register body can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterBodyError {
    /// A JSON in it is malformed.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The stream is no zlib, ends early or inflates beyond [`INFLATED_LEN_MAX`].
    #[error("compressed body: {0}")]
    Io(#[from] io::Error),
    /// A length is negative.
    #[error("compressed body has a negative length {0}")]
    BadLength(i32),
    /// A line is no topic.
    #[error("compressed body has a bad topic line")]
    BadTopic,
}

impl RegisterBrokerBody {
    /// Reads a body that came with these two fields of its header and its frame.
    pub fn decode(
        bytes: &[u8],
        compressed: bool,
        broker_version: i32,
    ) -> Result<Self, RegisterBodyError> {
        if !compressed {
            return Ok(from_slice(bytes)?);
        }
        let mut reader = Reader {
            inner: ZlibDecoder::new(bytes).take(INFLATED_LEN_MAX),
        };
        let mut body = Self::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = from_slice(&reader.part()?)?;
        for _ in 0..reader.count()? {
            let line = reader.part()?;
            let line = std::str::from_utf8(&line).map_err(|_| RegisterBodyError::BadTopic)?;
            let topic = TopicConfig::from_line(line).ok_or(RegisterBodyError::BadTopic)?;
            wrapper
                .topic_config_table
                .insert(topic.topic_name.clone(), topic);
        }
        body.filter_server_list = from_slice(&reader.part()?)?;
        if broker_version >= version::V5_0_0 {
            for _ in 0..reader.count()? {
                let mapping: TopicQueueMappingInfo = from_slice(&reader.part()?)?;
                wrapper
                    .topic_queue_mapping_info_map
                    .insert(mapping.topic.clone(), mapping);
            }
        }
        Ok(body)
    }

    /// Writes the compressed form.
    pub fn encode_compressed(&self) -> Result<Vec<u8>, RegisterBodyError> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
        let wrapper = &self.topic_config_serialize_wrapper;
        put_part(&mut out, &to_vec(&wrapper.data_version)?)?;
        put_len(&mut out, wrapper.topic_config_table.len())?;
        for topic in wrapper.topic_config_table.values() {
            put_part(&mut out, topic.to_line()?.as_bytes())?;
        }
        put_part(&mut out, &to_vec(&self.filter_server_list)?)?;
        put_len(&mut out, wrapper.topic_queue_mapping_info_map.len())?;
        for mapping in wrapper.topic_queue_mapping_info_map.values() {
            put_part(&mut out, &to_vec(mapping)?)?;
        }
        Ok(out.finish()?)
    }
}

/// The CRC that the header carries of the body: CRC-32 with 31 bits.
pub fn body_crc32(body: &[u8]) -> i32 {
    crate::protocol::message::record::body_crc(body)
}

fn put_len(out: &mut impl Write, len: usize) -> io::Result<()> {
    let len = i32::try_from(len).map_err(io::Error::other)?;
    out.write_all(&len.to_be_bytes())
}

fn put_part(out: &mut impl Write, part: &[u8]) -> io::Result<()> {
    put_len(out, part.len())?;
    out.write_all(part)
}

struct Reader<R> {
    inner: R,
}

impl<R: Read> Reader<R> {
    fn count(&mut self) -> Result<u32, RegisterBodyError> {
        let mut word = [0; 4];
        self.inner.read_exact(&mut word)?;
        let count = i32::from_be_bytes(word);
        u32::try_from(count).map_err(|_| RegisterBodyError::BadLength(count))
    }

    /// Reads one part. Memory grows with what is really there, not with the claimed length.
    fn part(&mut self) -> Result<Vec<u8>, RegisterBodyError> {
        let len = self.count()?;
        let mut part = Vec::new();
        let read = (&mut self.inner)
            .take(u64::from(len))
            .read_to_end(&mut part)?;
        if read as u64 != u64::from(len) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version.counter = 5;
        for topic in ["T1", "T2"] {
            wrapper
                .topic_config_table
                .insert(topic.into(), TopicConfig::new(topic, 8, 6));
        }
        let mapping = TopicQueueMappingInfo {
            topic: "S".into(),
            ..Default::default()
        };
        wrapper
            .topic_queue_mapping_info_map
            .insert("S".into(), mapping);
        body
    }

    #[test]
    fn both_forms_round_trip() {
        let body = sample();
        let compressed = body.encode_compressed().unwrap();
        assert_eq!(compressed[..2], [0x78, 0xda]);
        assert_eq!(
            RegisterBrokerBody::decode(&compressed, true, version::V5_4_0).unwrap(),
            body
        );
        let old = RegisterBrokerBody::decode(&compressed, true, version::V4_0_0).unwrap();
        assert!(
            old.topic_config_serialize_wrapper
                .topic_queue_mapping_info_map
                .is_empty()
        );
        let plain = to_vec(&body).unwrap();
        assert_eq!(RegisterBrokerBody::decode(&plain, false, 0).unwrap(), body);
    }

    #[test]
    fn cut_off_and_lying_streams_are_errors() {
        let whole = sample().encode_compressed().unwrap();
        for len in 0..whole.len() - 8 {
            assert!(RegisterBrokerBody::decode(&whole[..len], true, version::V5_4_0).is_err());
        }
        for length in [i32::MAX, -1] {
            let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
            out.write_all(&length.to_be_bytes()).unwrap();
            let lie = out.finish().unwrap();
            assert!(RegisterBrokerBody::decode(&lie, true, 0).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = RegisterBrokerBody::decode(&bytes, true, version::V5_4_0);
            let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
            out.write_all(&bytes).unwrap();
            let _ = RegisterBrokerBody::decode(&out.finish().unwrap(), true, version::V5_4_0);
        }
    }
}
