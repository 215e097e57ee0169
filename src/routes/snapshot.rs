//! The route snapshot: what lets a restarted NameServer answer at once.
//!
//! One file, written whole beside its place, synced and renamed. Integers of the head are
//! big-endian.
//!
//! ```text
//! 0               8       12      16
//! | magic         | format| crc   | payload ...
//! ```
//!
//! | offset | width | name    | meaning                                          |
//! |--------|-------|---------|--------------------------------------------------|
//! | 0      | 8     | magic   | `CBROUTES`                                       |
//! | 8      | 4     | format  | 1; any other is ignored                          |
//! | 12     | 4     | crc     | CRC-32 of the payload                            |
//! | 16     | rest  | payload | MessagePack of [`Snapshot`], fields by position  |
//!
//! A restored broker is alive until 120 s after it was last heard of, whatever time-out it had
//! asked for: it may not know yet that the NameServer is back. Its queues are marked until it
//! registers again (see [`QueueEntry::restored`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::model::{
    BROKER_TIMEOUT_MS, BrokerAddr, BrokerGroup, DataVersion, Live, QueueEntry, QueueMapping, Queues,
};
use super::tables::{BROKERS_MAX, RouteTables, TOPICS_MAX};
use crate::protocol::Str;

const MAGIC: &[u8; 8] = b"CBROUTES";
const FORMAT: u32 = 1;
const HEAD_LEN: usize = 16;
/// Largest snapshot that is read, in bytes.
pub const SNAPSHOT_LEN_MAX: u64 = 1 << 30;

/// Why a snapshot was not used.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not a snapshot of this format.
    #[error("{0}")]
    Foreign(&'static str),
    /// The payload is damaged.
    #[error("payload: {0}")]
    Payload(#[from] rmp_serde::decode::Error),
    /// The tables cannot be written down.
    #[error("encoding: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// The tables at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was made, in milliseconds since 1970.
    pub written_ms: u64,
    /// Groups of brokers.
    pub groups: Vec<BrokerGroup>,
    /// Broker names by cluster.
    pub clusters: BTreeMap<Str, BTreeSet<Str>>,
    /// Brokers that were alive.
    pub live: Vec<LiveRecord>,
    /// Queues of topics.
    pub topics: Vec<TopicRecord>,
    /// Mappings of static topics.
    pub mappings: Vec<QueueMapping>,
}

/// A live broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveRecord {
    /// Who it is.
    pub identity: BrokerAddr,
    /// When it was last heard of, in milliseconds since 1970.
    pub last_update_ms: u64,
    /// Version of its topic table.
    pub version: DataVersion,
    /// Where slaves connect to it.
    pub ha_server_addr: Str,
    /// Its filter servers.
    pub filter_servers: Vec<Str>,
}

/// A topic: broker name, queues, and the version its broker's table had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicRecord {
    /// The topic.
    pub name: Str,
    /// Its queues.
    pub brokers: Vec<(Str, Queues, DataVersion)>,
}

impl Snapshot {
    /// Copies the tables as they are now.
    pub fn take(tables: &RouteTables, now_ms: u64) -> Self {
        let mut live: Vec<LiveRecord> = tables
            .live
            .iter()
            .map(|e| LiveRecord::of(e.key(), e.value()))
            .collect();
        live.sort_unstable_by(|a, b| a.identity.cmp(&b.identity));
        let versions: BTreeMap<&BrokerAddr, DataVersion> = live
            .iter()
            .map(|record| (&record.identity, record.version))
            .collect();
        let groups: Vec<BrokerGroup> = tables
            .groups()
            .values()
            .map(|g| g.as_ref().clone())
            .collect();
        // The topics of a group are those of its smallest id.
        let as_of: BTreeMap<&Str, DataVersion> = groups
            .iter()
            .filter_map(|group| {
                let (_, addr) = group.smallest()?;
                let identity = BrokerAddr {
                    cluster: group.cluster.clone(),
                    addr: addr.clone(),
                };
                Some((
                    &group.name,
                    versions.get(&identity).copied().unwrap_or_default(),
                ))
            })
            .collect();
        let topics = tables.topics.iter().map(|entry| TopicRecord {
            name: entry.key().clone(),
            brokers: entry
                .brokers
                .iter()
                .map(|(name, queues)| {
                    let known = queues.restored.or_else(|| as_of.get(name).copied());
                    (name.clone(), queues.queues, known.unwrap_or_default())
                })
                .collect(),
        });
        let mut topics: Vec<TopicRecord> = topics.collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mappings = tables
            .mappings
            .iter()
            .flat_map(|m| m.values().cloned().collect::<Vec<_>>());
        let mappings = mappings.collect();
        let clusters = tables.clusters().as_ref().clone();
        Self {
            written_ms: now_ms,
            groups,
            clusters,
            live,
            topics,
            mappings,
        }
    }

    /// Fills empty tables.
    pub fn restore(self, tables: &RouteTables) {
        for group in self.groups.into_iter().take(BROKERS_MAX) {
            tables.groups.insert(group.name.clone(), Arc::new(group));
        }
        tables.clusters.store(Arc::new(self.clusters));
        for record in self.live.into_iter().take(BROKERS_MAX) {
            let live = Live {
                last_update_ms: AtomicU64::new(record.last_update_ms),
                timeout_ms: BROKER_TIMEOUT_MS,
                version: record.version,
                channel: None,
                ha_server_addr: record.ha_server_addr,
                filter_servers: record.filter_servers,
            };
            tables.live.insert(record.identity, Arc::new(live));
        }
        for record in self.topics.into_iter().take(TOPICS_MAX) {
            let mut entry = tables.topics.entry(record.name).or_default();
            let brokers = &mut Arc::make_mut(&mut entry).brokers;
            for (name, queues, version) in record.brokers {
                brokers.insert(
                    name,
                    QueueEntry {
                        queues,
                        restored: Some(version),
                    },
                );
            }
        }
        for mapping in self.mappings.into_iter().take(TOPICS_MAX) {
            let mut entry = tables
                .mappings
                .entry(mapping.topic.clone().into())
                .or_default();
            Arc::make_mut(&mut entry).insert(mapping.bname.clone().into(), mapping);
        }
        tables.changed();
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let payload = rmp_serde::to_vec(self)?;
        let mut bytes = Vec::with_capacity(HEAD_LEN + payload.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }

    /// Reads the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let foreign = SnapshotError::Foreign;
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(foreign("too short"))?;
        let (format, rest) = rest.split_first_chunk::<4>().ok_or(foreign("too short"))?;
        let (crc, payload) = rest.split_first_chunk::<4>().ok_or(foreign("too short"))?;
        if magic != MAGIC {
            return Err(foreign("not a route snapshot"));
        }
        if u32::from_be_bytes(*format) != FORMAT {
            return Err(foreign("a format of another version"));
        }
        if u32::from_be_bytes(*crc) != crc32fast::hash(payload) {
            return Err(foreign("the checksum differs"));
        }
        Ok(rmp_serde::from_slice(payload)?)
    }

    /// Reads a file; none if there is no file.
    pub fn read(path: &Path) -> Result<Option<Self>, SnapshotError> {
        let bytes = match std::fs::metadata(path) {
            Ok(meta) if meta.len() > SNAPSHOT_LEN_MAX => {
                return Err(SnapshotError::Foreign("too long"));
            }
            Ok(_) => std::fs::read(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Self::decode(&bytes).map(Some)
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), SnapshotError> {
        Ok(write_whole(path, &self.encode()?)?)
    }
}

impl LiveRecord {
    fn of(identity: &BrokerAddr, live: &Live) -> Self {
        Self {
            identity: identity.clone(),
            last_update_ms: live.last_update_ms.load(Ordering::Relaxed),
            version: live.version,
            ha_server_addr: live.ha_server_addr.clone(),
            filter_servers: live.filter_servers.clone(),
        }
    }
}

/// Replaces a file as a whole: a crash leaves the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::model::{RegisteredTopic, Registration};
    use crate::routes::registry;

    fn master(counter: i64, perm: i32, names: &[&'static str]) -> Registration {
        let queues = Queues {
            read_queue_nums: 1,
            write_queue_nums: 1,
            perm,
            topic_sys_flag: 0,
        };
        let topic = |name: &&'static str| RegisteredTopic {
            name: (*name).into(),
            queues,
        };
        Registration {
            cluster: "C".into(),
            broker_name: "a".into(),
            broker_addr: "m:1".into(),
            ha_server_addr: "m:2".into(),
            version: DataVersion {
                counter,
                ..DataVersion::default()
            },
            topics: names.iter().map(topic).collect(),
            mappings: vec![QueueMapping {
                topic: "T".into(),
                bname: "a".into(),
                ..QueueMapping::default()
            }],
            filter_servers: Some(vec!["f:1".into()]),
            ..Registration::default()
        }
    }

    fn restarted(before: &RouteTables) -> RouteTables {
        let bytes = Snapshot::take(before, 5).encode().expect("encodes");
        let after = RouteTables::default();
        Snapshot::decode(&bytes).expect("decodes").restore(&after);
        after
    }

    fn perm(tables: &RouteTables, topic: &str) -> Option<i32> {
        Some(tables.route(topic, false)?.queues.first()?.1.perm)
    }

    #[test]
    fn routes_survive_and_expire_by_their_last_heartbeat() {
        let before = RouteTables::default();
        registry::register(&before, &master(1, 6, &["T", "U"]), false, 1000);
        let after = restarted(&before);
        assert_eq!(after.route("T", false), before.route("T", false));
        assert_eq!(after.clusters(), before.clusters());
        assert!(registry::missed(&after, 1000 + BROKER_TIMEOUT_MS).is_empty());
        assert_eq!(registry::missed(&after, 1001 + BROKER_TIMEOUT_MS).len(), 1);
        assert_eq!(Snapshot::take(&after, 5), Snapshot::take(&before, 5));
    }

    #[test]
    fn a_restored_broker_is_asked_to_register() {
        let before = RouteTables::default();
        let full = master(1, 6, &["T", "U"]);
        registry::register(&before, &full, false, 1000);
        let after = restarted(&before);
        let identity = full.identity();
        assert_eq!(
            after.query_version(&identity, full.version, 1000),
            (true, Some(full.version))
        );
    }

    /// While the NameServer was down T lost its write permission; then a single registration of
    /// another topic arrives first, and carries the version that the full one will carry too.
    #[test]
    fn what_changed_meanwhile_is_learnt_from_the_full_registration() {
        let before = RouteTables::default();
        registry::register(&before, &master(1, 6, &["T", "U"]), false, 1000);
        let after = restarted(&before);
        registry::register(&after, &master(3, 6, &["New"]), false, 1000);
        registry::register(&after, &master(3, 4, &["T", "U", "New"]), false, 1000);
        assert_eq!(perm(&after, "T"), Some(4));
        assert_eq!(
            perm(&after, "New"),
            Some(6),
            "same version, and not restored"
        );
    }

    #[test]
    fn a_wiped_permission_stays_wiped() {
        let before = RouteTables::default();
        let full = master(1, 6, &["T", "U"]);
        registry::register(&before, &full, false, 1000);
        registry::set_write_permission(&before, "a", false);
        let after = restarted(&before);
        registry::register(&after, &full, false, 1000);
        assert_eq!(perm(&after, "T"), Some(4));
    }

    #[test]
    fn damage_is_an_error() {
        let before = RouteTables::default();
        registry::register(&before, &master(1, 6, &["T", "U"]), false, 1000);
        let good = Snapshot::take(&before, 5).encode().expect("encodes");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            Snapshot::decode(&bad).expect_err("one bit is wrong");
            Snapshot::decode(&good[..at]).expect_err("cut");
        }
        // Damage that the checksum does not see must not panic either.
        for at in HEAD_LEN..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let crc = crc32fast::hash(&bad[HEAD_LEN..]).to_be_bytes();
            bad[12..16].copy_from_slice(&crc);
            let _ = Snapshot::decode(&bad);
        }
    }

    #[test]
    fn files_are_replaced_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("below/routes.mp");
        assert!(
            Snapshot::read(&path)
                .expect("no file is no error")
                .is_none()
        );
        let snapshot = Snapshot {
            written_ms: 7,
            ..Snapshot::default()
        };
        snapshot.write(&path).expect("written");
        assert_eq!(Snapshot::read(&path).expect("readable"), Some(snapshot));
    }
}
