//! What the actors of a NameServer and its connections share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Serialize;

use crate::actors::net::ConnectionHandle;
use crate::config::{Live as LiveConfig, NamesrvConfig};
use crate::protocol::fastjson::to_vec;
use crate::routes::model::{Channel, Registration, Unregistration};
use crate::routes::tables::RouteTables;

/// Namespace of the order configurations of topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Milliseconds since 1970: a parameter, so that tests have their own time.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Read by everybody; each part is changed by its one owner.
pub struct Shared {
    /// Routes; changed by the route table actor.
    pub tables: RouteTables,
    /// Key-value store; changed by the key-value actor.
    pub kv: KvTable,
    /// Configuration; changed through requests to the key-value actor, which owns both files.
    pub config: Arc<LiveConfig<NamesrvConfig>>,
    /// The time.
    pub clock: Clock,
    /// When the process started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Brokers that wait to be unregistered.
    pub unregistrations_waiting: AtomicUsize,
}

impl Shared {
    /// Empty tables.
    pub fn new(config: Arc<LiveConfig<NamesrvConfig>>, clock: Clock) -> Arc<Self> {
        let started_ms = clock();
        Arc::new(Self {
            tables: RouteTables::default(),
            kv: KvTable::default(),
            config,
            clock,
            started_ms,
            unregistrations_waiting: AtomicUsize::new(0),
        })
    }

    /// Whether routes are given out: not during `waitSecondsForService` where that is wanted.
    pub fn is_ready(&self) -> bool {
        let config = self.config.load();
        let wait_ms = config.namesrv.wait_seconds_for_service.saturating_mul(1000);
        let waited_ms = self.now_ms().saturating_sub(self.started_ms);
        !config.namesrv.need_wait_for_service || waited_ms >= wait_ms
    }

    /// The time now, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        (self.clock)()
    }
}

/// Values by key, by namespace.
pub type KvMap = BTreeMap<String, BTreeMap<String, String>>;

/// The key-value store as everybody reads it.
#[derive(Debug, Default)]
pub struct KvTable(ArcSwap<KvMap>);

/// RocketMQ's `KVTable`.
#[derive(Serialize)]
struct KvListBody<'a> {
    table: &'a BTreeMap<String, String>,
}

impl KvTable {
    /// Everything, as of now.
    pub fn load(&self) -> Arc<KvMap> {
        self.0.load_full()
    }

    pub(super) fn store(&self, map: KvMap) {
        self.0.store(Arc::new(map));
    }

    /// One value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<String> {
        self.0.load().get(namespace)?.get(key).cloned()
    }

    /// A namespace as RocketMQ's `KVTable` body; none if there is no such namespace.
    pub fn list(&self, namespace: &str) -> Option<Bytes> {
        let map = self.0.load();
        let table = map.get(namespace)?;
        to_vec(&KvListBody { table }).ok().map(Bytes::from)
    }
}

impl Channel for ConnectionHandle {
    fn id(&self) -> u64 {
        self.id
    }

    fn close(&self) {
        ConnectionHandle::close(self);
    }

    fn is_closed(&self) -> bool {
        ConnectionHandle::is_closed(self)
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("identity", &self.identity())
            .field("broker_name", &self.broker_name)
            .field("broker_id", &self.broker_id)
            .field("topics", &self.topics.len())
            .finish_non_exhaustive()
    }
}

/// Counts a broker as waiting; false if too many wait already.
pub(super) fn take_unregistration_place(shared: &Shared, capacity: usize) -> bool {
    use std::sync::atomic::Ordering::Relaxed;
    let waiting = &shared.unregistrations_waiting;
    let taken = waiting.fetch_update(Relaxed, Relaxed, |n| (n < capacity).then_some(n + 1));
    taken.is_ok()
}

/// Gives the places of handled brokers back.
pub(super) fn free_unregistration_places(shared: &Shared, handled: &[Unregistration]) {
    use std::sync::atomic::Ordering::Relaxed;
    let waiting = &shared.unregistrations_waiting;
    let _ = waiting.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(handled.len())));
}
