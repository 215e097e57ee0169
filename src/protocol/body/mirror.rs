//! What a Callboard slave learns of its Callboard master besides the log: codes 20101 and 20102.
//!
//! RocketMQ's slaves copy tables once a minute; a slave that was away from its master for that long
//! has its consumers read a minute's messages twice. Between our brokers changes go within a few
//! hundred milliseconds: the slave asks with what it has, and the master answers when there is more.
//! A Java master answers REQUEST_CODE_NOT_SUPPORTED, and the slave copies as RocketMQ's do.
//!
//! Bodies are compressed MessagePack arrays, the first element the version of the format. Tables travel as the
//! JSON texts of RocketMQ's own requests (21, 201, 402, 45).

use std::io::{Read, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{DataVersion, register_broker::INFLATED_LEN_MAX};

/// Version of both bodies; another one is not understood.
const FORMAT_VERSION: u32 = 1;

/// Offsets in one answer at most; the rest goes with the next.
pub const OFFSETS_PER_ANSWER_MAX: usize = 20_000;

/// Commits in one request at most.
pub const COMMITS_PER_REQUEST_MAX: usize = 20_000;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirroredOffset {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// The queue.
    pub queue_id: i32,
    /// What was committed.
    pub offset: i64,
}

/// An offset that clients committed at a slave, while they could not reach the master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCommit {
    /// What was committed where.
    pub offset: MirroredOffset,
    /// What the master had, as far as the slave knows; -1 for nothing.
    pub base: i64,
}

impl OwnCommit {
    /// Whether the master is to have it instead of its own offset (`known`, negative for none): it does
    /// unless clients went further there since. A master that was killed may know less than it once
    /// told the slave.
    pub fn outranks(&self, known: i64) -> bool {
        known.max(-1) == self.base || known < self.offset.offset
    }
}

/// What a slave has of its master.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRequest {
    /// The master's epoch that the rest belongs to.
    pub epoch: u64,
    /// All changes of offsets up to this one are here.
    pub sequence: u64,
    /// Version of the topics that are here.
    pub topics: DataVersion,
    /// Version of the groups that are here.
    pub groups: DataVersion,
    /// Offsets that were committed at the slave.
    pub commits: Vec<OwnCommit>,
}

/// What changed at the master.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorAnswer {
    /// Counts the lives of masters of this name: a smaller one is of an old master.
    pub epoch: u64,
    /// With `offsets` all changes up to this one are told.
    pub sequence: u64,
    /// All topics, if they changed: the body of code 21.
    pub topics: Option<String>,
    /// All groups, if they changed: the body of code 201.
    pub groups: Option<String>,
    /// Modes, with the groups: the body of code 402.
    pub modes: Option<String>,
    /// Delay offsets: the body of code 45.
    pub delay: Option<String>,
    /// Offsets that changed.
    pub offsets: Vec<MirroredOffset>,
}

/// What a master that starts asks a slave: code 20102.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetsRequest {
    /// Changes up to this one were told already.
    pub since: u64,
}

/// The offsets that a slave knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetsAnswer {
    /// The epoch of the master that it followed last.
    pub epoch: u64,
    /// With `offsets` all changes up to this one are told.
    pub sequence: u64,
    /// Whether there is more.
    pub more: bool,
    /// Offsets, the oldest changes first.
    pub offsets: Vec<MirroredOffset>,
    /// Those that clients committed at the slave; with the first answer.
    pub commits: Vec<OwnCommit>,
}

/// A body as zlib-compressed MessagePack: a hundred thousand topics are 20 MB of JSON, more than a
/// frame may have.
///
/// # Errors
/// A text that says what cannot be encoded.
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, String> {
    let plain = rmp_serde::to_vec(&(FORMAT_VERSION, body)).map_err(|error| error.to_string())?;
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    let packed = zlib.write_all(&plain).and_then(|()| zlib.finish());
    packed.map_err(|error| error.to_string())
}

/// Reads a body.
///
/// # Errors
/// A text that says what is wrong with it, another version included.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut plain = Vec::new();
    let mut zlib = ZlibDecoder::new(bytes).take(INFLATED_LEN_MAX);
    zlib.read_to_end(&mut plain)
        .map_err(|error| error.to_string())?;
    decode_plain(&plain)
}

/// Reads a body that is not compressed any more.
///
/// # Errors
/// As [`decode`].
pub fn decode_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (version, body): (u32, T) =
        rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != FORMAT_VERSION {
        return Err(format!("version {version}, {FORMAT_VERSION} is wanted"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 33 was known of the master when clients committed 77, or 10 after a reset.
    #[test]
    fn an_own_commit_outranks_what_was_known_and_what_is_less() {
        let commit = |offset| OwnCommit {
            offset: MirroredOffset {
                topic: "T".into(),
                group: "G".into(),
                queue_id: 0,
                offset,
            },
            base: 33,
        };
        let cases = [(77, 33), (77, -1), (77, 20), (77, 40), (10, 33), (10, -1)];
        for (offset, known) in cases {
            assert!(commit(offset).outranks(known), "{offset} over {known}");
        }
        for (offset, known) in [(77, 80), (10, 20)] {
            assert!(!commit(offset).outranks(known), "{offset} over {known}");
        }
    }

    #[test]
    fn bodies_come_back() {
        let offset = MirroredOffset {
            topic: "T".into(),
            group: "G".into(),
            queue_id: 3,
            offset: 77,
        };
        let request = MirrorRequest {
            epoch: 2,
            commits: vec![OwnCommit {
                offset: offset.clone(),
                base: -1,
            }],
            ..MirrorRequest::default()
        };
        assert_eq!(decode(&encode(&request).unwrap()), Ok(request));
        let answer = MirrorAnswer {
            sequence: 9,
            topics: Some("{}".to_owned()),
            offsets: vec![offset],
            ..MirrorAnswer::default()
        };
        assert_eq!(decode(&encode(&answer).unwrap()), Ok(answer));
        let other = rmp_serde::to_vec(&(2_u32, OffsetsRequest::default())).unwrap();
        decode_plain::<OffsetsRequest>(&other).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = decode::<MirrorRequest>(&bytes);
            let _ = decode_plain::<MirrorRequest>(&bytes);
            let _ = decode_plain::<MirrorAnswer>(&bytes);
        }
    }
}
