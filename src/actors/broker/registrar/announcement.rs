//! What a NameServer is told about the broker's topics, and which logic queues of static ones it leads
//! (code 103).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::{
    actors::{broker::tables::Topics, kernel::lock},
    config::BrokerConfig,
    protocol::{
        RemotingCommand, RequestCode,
        body::{
            DataVersion,
            register_broker::{RegisterBrokerBody, body_crc32},
            topic_config::{TopicConfig, TopicConfigAndMappingSerializeWrapper},
            topic_queue_mapping::TopicQueueMappingInfo,
        },
        fastjson,
        header::namesrv::RegisterBrokerRequestHeader,
        message::perm,
    },
};

/// The bytes of one registration.
#[derive(Debug, Clone)]
pub struct Body {
    bytes: Bytes,
    crc: i32,
    compressed: bool,
}

/// A registration of all topics as of some version, kept for the other NameServers and periods.
#[derive(Debug, Clone)]
struct Kept {
    version: DataVersion,
    permission: i32,
    compressed: bool,
    chunk_len: usize,
    bodies: Arc<[Body]>,
}

/// Makes registrations.
#[derive(Debug)]
pub struct Announcements {
    mapping_version: DataVersion,
    kept: Mutex<Option<Kept>>,
}

impl Announcements {
    /// Nothing is kept yet.
    pub fn new(now_ms: i64) -> Self {
        Self {
            mapping_version: DataVersion::at(now_ms),
            kept: Mutex::default(),
        }
    }

    /// Registrations that together hold all topics: several with `enableSplitRegistration`.
    pub fn all(&self, config: &BrokerConfig, topics: &Topics) -> Arc<[Body]> {
        let broker = &config.broker;
        let chunk_len = match broker.enable_split_registration {
            true => broker.split_registration_size.max(1),
            false => usize::MAX,
        };
        let wanted = (
            topics.version(),
            broker.broker_permission,
            broker.compressed_register,
        );
        if let Some(kept) = &*lock(&self.kept)
            && (kept.version, kept.permission, kept.compressed) == wanted
            && kept.chunk_len == chunk_len
        {
            return kept.bodies.clone();
        }
        let table = topics.snapshot();
        let version = table.data_version;
        let mut configs: Vec<TopicConfig> = table.topic_config_table.into_values().collect();
        let mut bodies = Vec::new();
        loop {
            let rest = configs.split_off(configs.len().min(chunk_len));
            // With the last of them, as RocketMQ.
            let is_last = rest.is_empty();
            let infos = match is_last {
                true => topics.mappings().infos_of(|_| true),
                false => BTreeMap::new(),
            };
            bodies.push(self.encode(config, configs, infos, version));
            if is_last {
                break;
            }
            configs = rest;
        }
        let bodies: Arc<[Body]> = bodies.into();
        let (_, permission, compressed) = wanted;
        let kept = Kept {
            version,
            permission,
            compressed,
            chunk_len,
            bodies: bodies.clone(),
        };
        *lock(&self.kept) = Some(kept);
        bodies
    }

    /// A registration of topics that changed.
    pub fn some(
        &self,
        config: &BrokerConfig,
        topics: &Topics,
        changed: BTreeMap<String, TopicConfig>,
        version: DataVersion,
    ) -> Body {
        let infos = topics
            .mappings()
            .infos_of(|topic| changed.contains_key(topic));
        self.encode(config, changed.into_values(), infos, version)
    }

    fn encode(
        &self,
        config: &BrokerConfig,
        topics: impl IntoIterator<Item = TopicConfig>,
        infos: BTreeMap<String, TopicQueueMappingInfo>,
        version: DataVersion,
    ) -> Body {
        let permission = config.broker.broker_permission;
        let is_full = perm::is_readable(permission) && perm::is_writable(permission);
        let shown = topics.into_iter().map(|mut topic| {
            if !is_full {
                topic.perm &= permission;
            }
            (topic.topic_name.clone(), topic)
        });
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper {
                data_version: version,
                mapping_data_version: Some(self.mapping_version),
                topic_config_table: shown.collect(),
                topic_queue_mapping_info_map: infos,
                ..Default::default()
            },
            ..Default::default()
        };
        let compressed = config.broker.compressed_register;
        let packed = if compressed {
            body.encode_compressed().ok()
        } else {
            None
        };
        let compressed = packed.is_some();
        let bytes = packed.unwrap_or_else(|| fastjson::to_vec(&body).unwrap_or_default());
        Body {
            crc: body_crc32(&bytes),
            bytes: bytes.into(),
            compressed,
        }
    }
}

impl Body {
    /// The request that carries it. RocketMQ says `compressed=false` even of a compressed body,
    /// which no NameServer can read; here the header tells the truth.
    pub fn request(&self, config: &BrokerConfig) -> RemotingCommand {
        let broker = &config.broker;
        let acting = broker.enable_slave_acting_master;
        let header = RegisterBrokerRequestHeader {
            broker_name: broker.broker_name.clone().into(),
            broker_addr: config.broker_addr().into(),
            cluster_name: broker.broker_cluster_name.clone().into(),
            ha_server_addr: config.ha_server_addr().into(),
            broker_id: broker.broker_id,
            heartbeat_timeout_millis: acting.then_some(broker.broker_not_active_timeout_ms),
            enable_acting_master: Some(acting),
            compressed: self.compressed,
            body_crc32: self.crc,
        };
        RemotingCommand::request(RequestCode::RegisterBroker, &header).with_body(self.bytes.clone())
    }
}
