//! The route tables as everybody reads them.
//!
//! The route table actor alone writes them (through [`super::registry`]); connections read them
//! without asking it. Entries are replaced whole, one key at a time. Groups are published before
//! the queues that name them and taken away after them, so that a reader never sees queues whose
//! brokers it should know and does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::model::{
    BrokerAddr, BrokerGroup, DataVersion, Live, MASTER_ID, PERM_WRITE, QueueMapping, Queues,
    TopicEntry,
};
use crate::protocol::Str;

/// Most topics a NameServer keeps.
pub const TOPICS_MAX: usize = 1_000_000;
/// Most brokers a NameServer keeps.
pub const BROKERS_MAX: usize = 100_000;
/// Topics with this prefix carry a group's own news; their routes are never dressed up.
const MEMBER_GROUP_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// How long after its birth a topic may still be on its way to the NameServer from some masters.
const SPREADING_MS: u64 = 1000;
const UNIT_FLAG: i32 = 1;
const UNIT_SUB_FLAG: i32 = 2;

/// All tables of a NameServer.
#[derive(Debug, Default)]
pub struct RouteTables {
    pub(super) topics: DashMap<Str, Arc<TopicEntry>>,
    pub(super) mappings: DashMap<Str, Arc<BTreeMap<Str, QueueMapping>>>,
    pub(super) groups: DashMap<Str, Arc<BrokerGroup>>,
    pub(super) clusters: ArcSwap<BTreeMap<Str, BTreeSet<Str>>>,
    pub(super) live: DashMap<BrokerAddr, Arc<Live>>,
    pub(super) changes: AtomicU64,
}

/// Where a topic can be found: the answer to code 105 before it becomes JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    /// Queues by broker name.
    pub queues: Vec<(Str, Queues)>,
    /// The groups of those brokers.
    pub groups: Vec<BrokerGroup>,
    /// Filter servers by broker address.
    pub filter_servers: BTreeMap<Str, Vec<Str>>,
    /// Mappings of a static topic by broker name.
    pub mappings: Option<Arc<BTreeMap<Str, QueueMapping>>>,
}

/// Which topics of the unit kinds are wanted (codes 311, 312, 313).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitTopics {
    /// Those of a unit.
    Unit,
    /// Those with subscriptions from units.
    UnitSub,
    /// Those with subscriptions from units that are of no unit themselves.
    UnitSubNotUnit,
}

impl RouteTables {
    /// The route of a topic; none unless both queues and at least one group are known.
    pub fn route(&self, topic: &str, support_acting_master: bool) -> Option<Route> {
        let entry = self.topics.get(topic).map(|entry| Arc::clone(&entry))?;
        let mut route = Route::default();
        for (name, queues) in &entry.brokers {
            route.queues.push((name.clone(), queues.queues));
            if let Some(group) = self.group(name) {
                self.add_filter_servers(&group, &mut route);
                route.groups.push(BrokerGroup::clone(&group));
            }
        }
        if route.groups.is_empty() {
            return None;
        }
        route.mappings = self
            .mappings
            .get(topic)
            .map(|mappings| Arc::clone(&mappings));
        if support_acting_master && !topic.starts_with(MEMBER_GROUP_PREFIX) {
            route.let_slaves_act();
        }
        Some(route)
    }

    /// Whether a topic was born just now and some master of its clusters has not told of it yet.
    pub fn is_spreading(&self, topic: &str, now_ms: u64) -> bool {
        let Some(entry) = self.topics.get(topic).map(|entry| Arc::clone(&entry)) else {
            return false;
        };
        if now_ms.saturating_sub(entry.born_ms) >= SPREADING_MS {
            return false;
        }
        let lacks = |name: &Str| {
            let group = self.group(name);
            let has_master = group.is_some_and(|group| group.addrs.contains_key(&MASTER_ID));
            has_master && !entry.brokers.contains_key(name)
        };
        let clusters = self.clusters.load();
        let mut its = clusters
            .values()
            .filter(|names| entry.brokers.keys().any(|name| names.contains(name)));
        its.any(|names| names.iter().any(lacks))
    }

    fn add_filter_servers(&self, group: &BrokerGroup, route: &mut Route) {
        for addr in group.addrs.values() {
            let identity = BrokerAddr {
                cluster: group.cluster.clone(),
                addr: addr.clone(),
            };
            if let Some(live) = self
                .live(&identity)
                .filter(|live| !live.filter_servers.is_empty())
            {
                route
                    .filter_servers
                    .insert(addr.clone(), live.filter_servers.clone());
            }
        }
    }

    /// A group of brokers.
    pub fn group(&self, name: &str) -> Option<Arc<BrokerGroup>> {
        self.groups.get(name).map(|group| Arc::clone(&group))
    }

    /// All groups, by name.
    pub fn groups(&self) -> BTreeMap<Str, Arc<BrokerGroup>> {
        let groups = self.groups.iter();
        groups
            .map(|group| (group.key().clone(), Arc::clone(group.value())))
            .collect()
    }

    /// Broker names by cluster.
    pub fn clusters(&self) -> Arc<BTreeMap<Str, BTreeSet<Str>>> {
        self.clusters.load_full()
    }

    /// A broker that is registered.
    pub fn live(&self, identity: &BrokerAddr) -> Option<Arc<Live>> {
        self.live.get(identity).map(|live| Arc::clone(&live))
    }

    /// Answers a broker's question about its topic table (code 322), and counts as a sign of
    /// life. The result: whether it has to register again, and the version that is known.
    pub fn query_version(
        &self,
        identity: &BrokerAddr,
        version: DataVersion,
        now_ms: u64,
    ) -> (bool, Option<DataVersion>) {
        let known = self.live(identity).map(|live| {
            live.last_update_ms.store(now_ms, Ordering::Relaxed);
            (live.version, live.channel.is_none())
        });
        // What came out of a snapshot may lack what the broker said in the meantime.
        let changed = known.is_none_or(|(mine, restored)| restored || mine != version);
        (changed, known.map(|(mine, _)| mine))
    }

    /// A sign of life (code 904).
    pub fn heartbeat(&self, identity: &BrokerAddr, now_ms: u64) {
        if let Some(live) = self.live(identity) {
            live.last_update_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Names of all topics, sorted.
    pub fn topics(&self) -> Vec<Str> {
        self.topics_where(|_| true)
    }

    /// Topics with queues on brokers of a cluster, sorted.
    pub fn topics_of_cluster(&self, cluster: &str) -> Vec<Str> {
        let clusters = self.clusters.load();
        let Some(names) = clusters.get(cluster) else {
            return Vec::new();
        };
        self.topics_where(|entry| entry.brokers.keys().any(|name| names.contains(name)))
    }

    /// Topics of a unit kind, sorted. As in RocketMQ the flags of one group speak for all.
    pub fn unit_topics(&self, kind: UnitTopics) -> Vec<Str> {
        self.topics_where(|entry| {
            let Some(first) = entry.brokers.values().next() else {
                return false;
            };
            let flag = first.queues.topic_sys_flag;
            let (unit, sub) = (flag & UNIT_FLAG != 0, flag & UNIT_SUB_FLAG != 0);
            match kind {
                UnitTopics::Unit => unit,
                UnitTopics::UnitSub => sub,
                UnitTopics::UnitSubNotUnit => sub && !unit,
            }
        })
    }

    fn topics_where(&self, wanted: impl Fn(&TopicEntry) -> bool) -> Vec<Str> {
        let entries = self.topics.iter().filter(|entry| wanted(entry.value()));
        let mut names: Vec<Str> = entries.map(|entry| entry.key().clone()).collect();
        names.sort_unstable();
        names
    }

    /// Clusters and broker names, which are names of topics too, and the address of some broker
    /// (code 304).
    pub fn system_topics(&self) -> (Vec<Str>, Option<Str>) {
        let mut names = Vec::new();
        for (cluster, brokers) in self.clusters.load().iter() {
            names.push(cluster.clone());
            names.extend(brokers.iter().cloned());
        }
        let groups = self.groups();
        let addr = groups
            .values()
            .find_map(|group| group.addrs.values().next().cloned());
        (names, addr)
    }

    /// Moves with every change of topics, groups or clusters: tells a snapshot that it is old.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Topics, groups and live brokers: for the debug endpoint.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.topics.len(), self.groups.len(), self.live.len())
    }

    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Route {
    /// Presents the smallest id of each group without a master as its master, where that group
    /// wants it and its queues cannot be written anyway.
    fn let_slaves_act(&mut self) {
        for group in &mut self.groups {
            if !group.enable_acting_master || !group.lacks_master() {
                continue;
            }
            let queues = self.queues.iter().find(|(name, _)| *name == group.name);
            let read_only = queues.is_some_and(|(_, queues)| queues.perm & PERM_WRITE == 0);
            if read_only && let Some((_, addr)) = group.addrs.pop_first() {
                group.addrs.insert(MASTER_ID, addr);
            }
        }
    }

    /// Takes out what is in other zones, except for groups without a master: then a slave
    /// elsewhere is better than none.
    pub fn keep_zone(&mut self, zone: &str) {
        let near = |group: &BrokerGroup| {
            let same = group
                .zone
                .as_ref()
                .is_some_and(|own| own.eq_ignore_ascii_case(zone));
            same || !group.addrs.contains_key(&MASTER_ID)
        };
        let (kept, removed): (Vec<_>, Vec<_>) = self.groups.drain(..).partition(|g| near(g));
        self.groups = kept;
        self.queues
            .retain(|(name, _)| !removed.iter().any(|group| group.name == *name));
        for addr in removed.iter().flat_map(|group| group.addrs.values()) {
            self.filter_servers.remove(addr);
        }
    }
}
