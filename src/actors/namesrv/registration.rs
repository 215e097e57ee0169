//! Reading what brokers send: registrations in their three forms, and single topics.
//!
//! The compressed form is a zlib stream (RFC 1950) over these parts, lengths as big-endian `int`:
//!
//! | part | meaning |
//! |------|---------|
//! | length, JSON | the table's `DataVersion` |
//! | count, then length and text each | topics: name, read queues, write queues, permissions, filter type and attributes, separated by one space |
//! | length, JSON | filter servers, an array |
//! | count, then length and JSON each | mappings of static topics, from brokers of 5.0.0 on |

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::model::{DataVersion, QueueMapping, Queues, RegisteredTopic, Registration};
use crate::protocol::fastjson::{self, JsonError};
use crate::protocol::header::namesrv::RegisterBrokerRequestHeader;
use crate::protocol::language::version;
use crate::protocol::{HeaderError, RemotingCommand, Str, detached};

/// Largest registration after inflating, in bytes.
pub const INFLATED_LEN_MAX: u64 = 128 << 20;
/// Largest part of a compressed registration, in bytes.
const PART_LEN_MAX: usize = 1 << 20;
/// `extFields` key of a broker's or client's zone.
pub const ZONE_NAME: &str = "__ZONE_NAME";
/// `extFields` key of a client that wants its own zone only.
pub const ZONE_MODE: &str = "__ZONE_MODE";

/// Why a registration cannot be read.
#[derive(Debug, Error)]
pub enum RegistrationError {
    /// A field of the header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body is not what its checksum says.
    #[error("crc32 not match")]
    Crc,
    /// The body is no JSON of the wanted shape.
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Json(#[from] JsonError),
    /// The compressed body is damaged or too long.
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Compressed(#[from] io::Error),
    /// A part of the compressed body is not as it should be.
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Part(&'static str),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VersionBody {
    counter: i64,
    state_version: i64,
    timestamp: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicBody {
    topic_name: Str,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_sys_flag: i32,
}

impl Default for TopicBody {
    /// RocketMQ's `TopicConfig` has these before its JSON is read.
    fn default() -> Self {
        Self {
            topic_name: Str::new(),
            read_queue_nums: 16,
            write_queue_nums: 16,
            perm: 6,
            topic_sys_flag: 0,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MappingBody {
    topic: Str,
    scope: Str,
    total_queues: i32,
    bname: Str,
    epoch: i64,
    dirty: bool,
    curr_id_map: BTreeMap<i32, i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TableBody {
    data_version: VersionBody,
    topic_config_table: BTreeMap<Str, TopicBody>,
    topic_queue_mapping_info_map: BTreeMap<Str, MappingBody>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RegisterBody {
    topic_config_serialize_wrapper: TableBody,
    filter_server_list: Vec<Str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueueBody {
    broker_name: Str,
    read_queue_nums: i32,
    write_queue_nums: i32,
    perm: i32,
    topic_sys_flag: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RouteBody {
    queue_datas: Vec<QueueBody>,
}

impl From<VersionBody> for DataVersion {
    fn from(body: VersionBody) -> Self {
        let VersionBody {
            counter,
            state_version,
            timestamp,
        } = body;
        Self {
            state_version,
            timestamp,
            counter,
        }
    }
}

impl From<TopicBody> for RegisteredTopic {
    fn from(body: TopicBody) -> Self {
        let queues = Queues {
            read_queue_nums: body.read_queue_nums,
            write_queue_nums: body.write_queue_nums,
            perm: body.perm,
            topic_sys_flag: body.topic_sys_flag,
        };
        Self {
            name: body.topic_name,
            queues,
        }
    }
}

impl From<MappingBody> for QueueMapping {
    fn from(body: MappingBody) -> Self {
        let MappingBody {
            topic,
            scope,
            total_queues,
            bname,
            epoch,
            dirty,
            curr_id_map,
        } = body;
        Self {
            topic,
            scope,
            total_queues,
            bname,
            epoch,
            dirty,
            curr_id_map,
        }
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    fastjson::from_slice(bytes)
}

/// Reads a registration (code 103); the caller adds the connection.
pub fn decode(request: &RemotingCommand) -> Result<Registration, RegistrationError> {
    let header: RegisterBrokerRequestHeader = request.decode_header()?;
    if header.body_crc32 != 0 {
        let crc = crc32fast::hash(&request.body) & 0x7fff_ffff;
        if i64::from(crc) != i64::from(header.body_crc32) {
            return Err(RegistrationError::Crc);
        }
    }
    let timeout_ms = header
        .heartbeat_timeout_millis
        .and_then(|ms| u64::try_from(ms).ok());
    let mut registration = Registration {
        cluster: detached(&header.cluster_name),
        broker_name: detached(&header.broker_name),
        broker_id: header.broker_id,
        broker_addr: detached(&header.broker_addr),
        ha_server_addr: detached(&header.ha_server_addr),
        zone: request.ext_fields.get(ZONE_NAME).map(detached),
        timeout_ms,
        enable_acting_master: header.enable_acting_master,
        ..Registration::default()
    };
    let wrapped = request.version >= version::V3_0_11;
    if wrapped {
        registration.filter_servers = Some(Vec::new());
    }
    if request.body.is_empty() {
        return Ok(registration);
    }
    if wrapped && header.compressed {
        inflate(&request.body, request.version, &mut registration)?;
    } else if wrapped {
        let body: RegisterBody = json(&request.body)?;
        registration.filter_servers = Some(body.filter_server_list);
        fill(&mut registration, body.topic_config_serialize_wrapper);
    } else {
        fill(&mut registration, json(&request.body)?);
    }
    Ok(registration)
}

fn fill(registration: &mut Registration, table: TableBody) {
    registration.version = table.data_version.into();
    registration.topics = table
        .topic_config_table
        .into_values()
        .map(Into::into)
        .collect();
    let mappings = table.topic_queue_mapping_info_map.into_iter();
    registration.mappings = mappings
        .map(|(topic, mapping)| QueueMapping {
            topic,
            ..QueueMapping::from(mapping)
        })
        .collect();
}

/// Reads the compressed form.
fn inflate(
    body: &[u8],
    broker_version: i32,
    registration: &mut Registration,
) -> Result<(), RegistrationError> {
    let mut stream = ZlibDecoder::new(body).take(INFLATED_LEN_MAX);
    registration.version = json::<VersionBody>(&part(&mut stream)?)?.into();
    let mut topics = BTreeMap::new();
    for _ in 0..count(&mut stream)? {
        let line = part(&mut stream)?;
        let line = std::str::from_utf8(&line).map_err(|_| RegistrationError::Part("not UTF-8"))?;
        if let Some(topic) = topic_of_line(line) {
            topics.insert(topic.name.clone(), topic);
        }
    }
    registration.topics = topics.into_values().collect();
    registration.filter_servers = Some(json(&part(&mut stream)?).unwrap_or_default());
    if broker_version >= version::V5_0_0 {
        for _ in 0..count(&mut stream)? {
            let mapping: MappingBody = json(&part(&mut stream)?)?;
            registration.mappings.push(mapping.into());
        }
    }
    Ok(())
}

/// A count. Nothing is allocated for it; what it counts has to come out of the stream.
fn count(stream: &mut impl Read) -> Result<u32, RegistrationError> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    let count = i32::from_be_bytes(bytes);
    u32::try_from(count).map_err(|_| RegistrationError::Part("a count is negative"))
}

fn part(stream: &mut impl Read) -> Result<Vec<u8>, RegistrationError> {
    let len = count(stream)? as usize;
    if len > PART_LEN_MAX {
        return Err(RegistrationError::Part("a part is too long"));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// `name readQueueNums writeQueueNums perm topicFilterType {attributes}`; nothing if there are
/// fewer parts, as RocketMQ leaves such a topic empty.
fn topic_of_line(line: &str) -> Option<RegisteredTopic> {
    let mut parts = line.split(' ');
    let name = detached(parts.next()?);
    let read_queue_nums = parts.next()?.parse().ok()?;
    let write_queue_nums = parts.next()?.parse().ok()?;
    let perm = parts.next()?.parse().ok()?;
    parts.next()?;
    let queues = Queues {
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_sys_flag: 0,
    };
    Some(RegisteredTopic { name, queues })
}

/// Reads a `DataVersion` (body of code 322); none if there is no body.
pub fn decode_version(body: &[u8]) -> Result<Option<DataVersion>, JsonError> {
    if body.is_empty() {
        return Ok(None);
    }
    Ok(Some(json::<VersionBody>(body)?.into()))
}

/// Reads the queues of a `TopicRouteData` (body of code 217).
pub fn decode_queues(body: &[u8]) -> Result<Vec<(Str, Queues)>, JsonError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let route: RouteBody = json(body)?;
    let queues = route.queue_datas.into_iter().map(|one| {
        let queues = Queues {
            read_queue_nums: one.read_queue_nums,
            write_queue_nums: one.write_queue_nums,
            perm: one.perm,
            topic_sys_flag: one.topic_sys_flag,
        };
        (one.broker_name, queues)
    });
    Ok(queues.collect())
}
