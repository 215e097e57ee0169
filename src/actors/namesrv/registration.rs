//! Reading what brokers send: registrations in their three forms, and single topics.

use thiserror::Error;

use crate::protocol::body::data_version::DataVersion;
use crate::protocol::body::register_broker::{RegisterBodyError, RegisterBrokerBody, body_crc32};
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::body::topic_config::{TopicConfig, TopicConfigAndMappingSerializeWrapper};
use crate::protocol::fastjson::{JsonError, from_slice};
use crate::protocol::header::namesrv::RegisterBrokerRequestHeader;
use crate::protocol::language::version;
use crate::protocol::{HeaderError, RemotingCommand, Str, detached};
use crate::routes::model::{Queues, RegisteredTopic, Registration};

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
    /// The body is not a registration.
    #[error("Failed to decode RegisterBrokerBody: {0}")]
    Body(#[from] RegisterBodyError),
}

/// Reads a registration (code 103); the caller adds the connection.
pub fn decode(request: &RemotingCommand) -> Result<Registration, RegistrationError> {
    let header: RegisterBrokerRequestHeader = request.decode_header()?;
    if header.body_crc32 != 0 && header.body_crc32 != body_crc32(&request.body) {
        return Err(RegistrationError::Crc);
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
    // Brokers before 3.0.11 send the bare table and do not speak of filter servers.
    let wrapped = request.version >= version::V3_0_11;
    if wrapped {
        registration.filter_servers = Some(Vec::new());
    }
    if request.body.is_empty() {
        return Ok(registration);
    }
    let table = if wrapped {
        let body = RegisterBrokerBody::decode(&request.body, header.compressed, request.version)?;
        let servers = body.filter_server_list.into_iter().map(Str::from);
        registration.filter_servers = Some(servers.collect());
        body.topic_config_serialize_wrapper
    } else {
        from_slice(&request.body).map_err(RegisterBodyError::Json)?
    };
    fill(&mut registration, table);
    Ok(registration)
}

fn fill(registration: &mut Registration, table: TopicConfigAndMappingSerializeWrapper) {
    registration.version = table.data_version;
    registration.topics = table
        .topic_config_table
        .into_values()
        .map(registered)
        .collect();
    let mappings = table.topic_queue_mapping_info_map.into_iter();
    registration.mappings = mappings
        .map(|(topic, mut mapping)| {
            mapping.topic = topic;
            mapping
        })
        .collect();
}

fn registered(topic: TopicConfig) -> RegisteredTopic {
    let queues = Queues {
        read_queue_nums: topic.read_queue_nums,
        write_queue_nums: topic.write_queue_nums,
        perm: topic.perm,
        topic_sys_flag: topic.topic_sys_flag,
    };
    RegisteredTopic {
        name: topic.topic_name.into(),
        queues,
    }
}

/// Reads a `DataVersion` (body of code 322); none if there is no body.
pub fn decode_version(body: &[u8]) -> Result<Option<DataVersion>, JsonError> {
    if body.is_empty() {
        return Ok(None);
    }
    from_slice(body).map(Some)
}

/// Reads the queues of a `TopicRouteData` (body of code 217).
pub fn decode_queues(body: &[u8]) -> Result<Vec<(Str, Queues)>, JsonError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let route: TopicRouteData = from_slice(body)?;
    let queues = route.queue_datas.into_iter().map(|one| {
        let queues = Queues {
            read_queue_nums: one.read_queue_nums,
            write_queue_nums: one.write_queue_nums,
            perm: one.perm,
            topic_sys_flag: one.topic_sys_flag,
        };
        (one.broker_name.into(), queues)
    });
    Ok(queues.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RequestCode;
    use crate::protocol::fastjson::to_vec;

    fn request(body: Vec<u8>, compressed: bool) -> RemotingCommand {
        let header = RegisterBrokerRequestHeader {
            broker_name: "a".into(),
            broker_addr: "m:1".into(),
            cluster_name: "C".into(),
            ha_server_addr: "m:2".into(),
            compressed,
            body_crc32: body_crc32(&body),
            ..RegisterBrokerRequestHeader::default()
        };
        RemotingCommand::request(RequestCode::RegisterBroker, &header).with_body(body)
    }

    fn sample() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper;
        table.data_version.counter = 5;
        for name in ["T", "U"] {
            table
                .topic_config_table
                .insert(name.into(), TopicConfig::new(name, 8, 6));
        }
        body
    }

    #[test]
    fn all_forms_say_the_same() {
        let body = sample();
        let table = to_vec(&body.topic_config_serialize_wrapper).expect("encodes");
        let plain = decode(&request(to_vec(&body).expect("encodes"), false)).expect("plain");
        assert_eq!(plain.topics.len(), 2);
        assert_eq!(
            (plain.version.counter, plain.filter_servers),
            (5, Some(Vec::new()))
        );
        let small = body.encode_compressed().expect("encodes");
        let small = decode(&request(small, true)).expect("compressed");
        assert_eq!(
            (small.topics, small.version),
            (plain.topics.clone(), plain.version)
        );
        let mut old = request(table, false);
        old.version = version::V3_0_11 - 1;
        let old = decode(&old).expect("the bare table");
        assert_eq!((old.topics, old.filter_servers), (plain.topics, None));
        let empty = decode(&request(Vec::new(), false)).expect("no body");
        assert!(empty.topics.is_empty());
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let mut bad = request(to_vec(&sample()).expect("encodes"), false);
        bad.body = bad.body.slice(1..);
        let error = decode(&bad).expect_err("the body is another");
        assert_eq!(error.to_string(), "crc32 not match");
    }

    #[test]
    fn queues_of_a_route() {
        let body = br#"{"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4}]}"#;
        let queues = decode_queues(body).expect("readable");
        assert_eq!(queues[0].0, "a");
        assert_eq!(
            (queues[0].1.read_queue_nums, queues[0].1.write_queue_nums),
            (4, 0)
        );
        assert!(decode_queues(b"").expect("nothing").is_empty());
        decode_queues(b"[").expect_err("no JSON");
    }
}
