//! What a NameServer knows: queues of topics, groups of brokers, who is alive.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::protocol::Str;
pub use crate::protocol::body::data_version::DataVersion;
pub use crate::protocol::body::route::MASTER_ID;
pub use crate::protocol::body::topic_queue_mapping::TopicQueueMappingInfo as QueueMapping;

/// Permission bit: the queues may be read.
pub const PERM_READ: i32 = 4;
/// Permission bit: the queues may be written.
pub const PERM_WRITE: i32 = 2;
/// Silence after which a broker is forgotten, unless its registration says otherwise.
pub const BROKER_TIMEOUT_MS: u64 = 120_000;

/// Queues that one group of brokers has of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// Queues to read from.
    pub read_queue_nums: i32,
    /// Queues to write to.
    pub write_queue_nums: i32,
    /// [`PERM_READ`], [`PERM_WRITE`] and RocketMQ's inherit bit 1.
    pub perm: i32,
    /// Flags of the topic (unit, unit subscription).
    pub topic_sys_flag: i32,
}

/// A topic's queues on one group, and where they are from.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueEntry {
    /// The queues.
    pub queues: Queues,
    /// Set for an entry out of a snapshot that its broker has not confirmed: the version of the
    /// broker's table as of then. A registration under another version replaces the entry.
    pub restored: Option<DataVersion>,
}

/// A topic: its queues by broker name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicEntry {
    /// Queues by broker name.
    pub brokers: BTreeMap<Str, QueueEntry>,
    /// When a broker first told of it, in milliseconds since 1970; 0 if it came out of a snapshot
    /// or from an administrator.
    pub born_ms: u64,
}

/// A group of brokers: a master and its slaves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerGroup {
    /// The cluster that the group's first broker named.
    pub cluster: Str,
    /// The name that the brokers share.
    pub name: Str,
    /// Addresses by broker id.
    pub addrs: BTreeMap<i64, Str>,
    /// The zone, if it has one.
    pub zone: Option<Str>,
    /// A slave may act for the master.
    pub enable_acting_master: bool,
}

impl BrokerGroup {
    /// Smallest id with its address.
    pub fn smallest(&self) -> Option<(i64, &Str)> {
        self.addrs.first_key_value().map(|(id, addr)| (*id, addr))
    }

    /// Whether there are brokers but no master among them.
    pub fn lacks_master(&self) -> bool {
        !self.addrs.is_empty() && !self.addrs.contains_key(&MASTER_ID)
    }
}

/// Identity of one broker process: an address within a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BrokerAddr {
    /// The cluster.
    pub cluster: Str,
    /// `host:port`.
    pub addr: Str,
}

impl fmt::Display for BrokerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.addr)
    }
}

/// The connection that a broker registered over.
pub trait Channel: Send + Sync {
    /// Number of the connection, unique in this process.
    fn id(&self) -> u64;
    /// Closes it.
    fn close(&self);
    /// Whether it is closed.
    fn is_closed(&self) -> bool;
}

/// A broker that registered: refreshed by registrations and heartbeats from any thread.
pub struct Live {
    /// When it was last heard of, in milliseconds since 1970.
    pub last_update_ms: AtomicU64,
    /// Silence after which it is forgotten, in milliseconds.
    pub timeout_ms: u64,
    /// Version of its topic table.
    pub version: DataVersion,
    /// Its connection; none when restored from a snapshot.
    pub channel: Option<Arc<dyn Channel>>,
    /// Where slaves connect to it.
    pub ha_server_addr: Str,
    /// Its filter servers (RocketMQ 4's message filters).
    pub filter_servers: Vec<Str>,
}

impl Live {
    /// Whether it has been silent for longer than it may.
    pub fn expired(&self, now_ms: u64) -> bool {
        let last = self.last_update_ms.load(Ordering::Relaxed);
        last.saturating_add(self.timeout_ms) < now_ms
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("last_update_ms", &self.last_update_ms)
            .field("timeout_ms", &self.timeout_ms)
            .field("version", &self.version)
            .field(
                "channel",
                &self.channel.as_ref().map(|channel| channel.id()),
            )
            .finish_non_exhaustive()
    }
}

/// One topic of a registration.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredTopic {
    /// Its name.
    pub name: Str,
    /// Its queues on the broker.
    pub queues: Queues,
}

/// What a broker says when it registers (code 103).
#[derive(Clone, Default)]
pub struct Registration {
    /// Its cluster.
    pub cluster: Str,
    /// Its group's name.
    pub broker_name: Str,
    /// Its number in the group.
    pub broker_id: i64,
    /// Its address for clients.
    pub broker_addr: Str,
    /// Its address for slaves.
    pub ha_server_addr: Str,
    /// Its zone.
    pub zone: Option<Str>,
    /// Silence after which it may be forgotten.
    pub timeout_ms: Option<u64>,
    /// Whether slaves act for masters; absent from older brokers.
    pub enable_acting_master: Option<bool>,
    /// Version of its topic table.
    pub version: DataVersion,
    /// Its topics, or those that changed.
    pub topics: Vec<RegisteredTopic>,
    /// Mappings of its static topics.
    pub mappings: Vec<QueueMapping>,
    /// Its filter servers, if it says.
    pub filter_servers: Option<Vec<Str>>,
    /// Its connection.
    pub channel: Option<Arc<dyn Channel>>,
}

impl Registration {
    /// Who registers.
    pub fn identity(&self) -> BrokerAddr {
        BrokerAddr {
            cluster: self.cluster.clone(),
            addr: self.broker_addr.clone(),
        }
    }
}

/// How a registration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// It holds, or it was ignored because a newer broker has its place (then without fields).
    Accepted {
        /// The master's address for slaves, told to slaves.
        ha_server_addr: Option<Str>,
        /// The master's address, told to slaves.
        master_addr: Option<Str>,
    },
    /// A single topic of a broker that is not registered as a whole.
    Unknown,
    /// The table is full.
    Full,
}

/// A broker that leaves (code 104, a lost connection, silence).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unregistration {
    /// Its group's name.
    pub broker_name: Str,
    /// Its number.
    pub broker_id: i64,
    /// Who it is.
    pub identity: BrokerAddr,
}

/// The smallest id of a group changed: its brokers are told (code 905).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinIdChange {
    /// The smallest id now.
    pub min_id: i64,
    /// Its address.
    pub min_addr: Str,
    /// The broker that left, if one did.
    pub offline_addr: Option<Str>,
    /// The address for slaves of the broker that came, if one came.
    pub ha_addr: Option<Str>,
    /// Whom to tell.
    pub tell: Vec<Str>,
}
