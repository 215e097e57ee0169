//! The rules by which the route tables change (RocketMQ's `RouteInfoManager`).
//!
//! Every function is called by the route table actor only. A panic between two steps leaves each
//! entry whole; [`reconcile`] then brings the tables in line with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::model::{
    BROKER_TIMEOUT_MS, BrokerAddr, BrokerGroup, Live, MASTER_ID, MinIdChange, PERM_READ,
    PERM_WRITE, QueueEntry, Queues, Registered, RegisteredTopic, Registration, TopicEntry,
    Unregistration,
};
use super::tables::{BROKERS_MAX, RouteTables, TOPICS_MAX};
use crate::protocol::Str;

/// Forgets the sign of life of a broker that is in no group.
pub fn forget_live(tables: &RouteTables, identity: &BrokerAddr) {
    tables.live.remove(identity);
}

/// Takes a registration in.
pub fn register(
    tables: &RouteTables,
    registration: &Registration,
    delete_absent_topics: bool,
    now_ms: u64,
) -> (Registered, Option<MinIdChange>) {
    let identity = registration.identity();
    let old = tables.group(&registration.broker_name);
    let known_id = old
        .as_ref()
        .is_some_and(|g| g.addrs.contains_key(&registration.broker_id));
    if let Some(newer) = old
        .as_deref()
        .and_then(|group| newer_holder(tables, group, registration))
    {
        log::warn!(
            "namesrv/route_table registration ignored broker={} id={} addr={identity} held_by={newer}",
            registration.broker_name,
            registration.broker_id,
        );
        tables.live.remove(&identity);
        return (
            Registered::Accepted {
                ha_server_addr: None,
                master_addr: None,
            },
            None,
        );
    }
    if !known_id && registration.topics.len() == 1 {
        log::warn!(
            "namesrv/route_table single topic of an unknown broker refused broker={} id={} addr={identity}",
            registration.broker_name,
            registration.broker_id,
        );
        return (Registered::Unknown, None);
    }
    if !has_room(tables, registration, known_id) {
        log::error!("namesrv/route_table full, registration refused addr={identity}");
        return (Registered::Full, None);
    }
    let smallest_before = old
        .as_ref()
        .and_then(|group| group.smallest())
        .map_or(0, |(id, _)| id);
    let group = put_group(tables, old, registration);
    let first = !known_id;
    put_topics(
        tables,
        registration,
        &group,
        first,
        delete_absent_topics,
        now_ms,
    );
    put_live(tables, registration, now_ms);
    let change = (registration.broker_id < smallest_before)
        .then(|| min_id_change(&group, None, Some(registration.ha_server_addr.clone())))
        .flatten();
    (answer(tables, &group, registration), change)
}

/// Whether a registration keeps the tables within their maxima.
fn has_room(tables: &RouteTables, registration: &Registration, known_id: bool) -> bool {
    let topics = tables.topics.len();
    if topics + registration.topics.len() > TOPICS_MAX {
        let new = registration
            .topics
            .iter()
            .filter(|t| !tables.topics.contains_key(&t.name));
        if topics + new.count() > TOPICS_MAX {
            return false;
        }
    }
    known_id || tables.live.len() < BROKERS_MAX
}

/// The broker that already has the registration's number, if its table is of a later term.
fn newer_holder(
    tables: &RouteTables,
    group: &BrokerGroup,
    registration: &Registration,
) -> Option<Str> {
    let holder = group.addrs.get(&registration.broker_id)?;
    if *holder == registration.broker_addr {
        return None;
    }
    let identity = BrokerAddr {
        cluster: registration.cluster.clone(),
        addr: holder.clone(),
    };
    let live = tables.live(&identity)?;
    (live.version.state_version > registration.version.state_version).then(|| holder.clone())
}

/// Enters cluster and group; an address that changed its number leaves its old one.
fn put_group(
    tables: &RouteTables,
    old: Option<Arc<BrokerGroup>>,
    registration: &Registration,
) -> Arc<BrokerGroup> {
    let mut group = old.as_deref().cloned().unwrap_or_else(|| BrokerGroup {
        cluster: registration.cluster.clone(),
        name: registration.broker_name.clone(),
        ..BrokerGroup::default()
    });
    group.enable_acting_master = registration.enable_acting_master.unwrap_or(false);
    group.zone.clone_from(&registration.zone);
    group
        .addrs
        .retain(|id, addr| *addr != registration.broker_addr || *id == registration.broker_id);
    group
        .addrs
        .insert(registration.broker_id, registration.broker_addr.clone());
    if old.as_deref() == Some(&group) {
        return old.unwrap_or_default();
    }
    let group = Arc::new(group);
    tables.groups.insert(group.name.clone(), Arc::clone(&group));
    change_clusters(tables, |clusters| {
        clusters
            .entry(registration.cluster.clone())
            .or_default()
            .insert(group.name.clone())
    });
    tables.changed();
    group
}

fn change_clusters<T>(
    tables: &RouteTables,
    change: impl FnOnce(&mut BTreeMap<Str, BTreeSet<Str>>) -> T,
) {
    let mut clusters = tables.clusters.load().as_ref().clone();
    change(&mut clusters);
    tables.clusters.store(Arc::new(clusters));
}

/// Enters topics, for a master or for the slave that stands in for one.
fn put_topics(
    tables: &RouteTables,
    registration: &Registration,
    group: &BrokerGroup,
    first: bool,
    delete_absent_topics: bool,
    now_ms: u64,
) {
    let is_master = registration.broker_id == MASTER_ID;
    let smallest = group.smallest().map(|(id, _)| id);
    let stands_in = !is_master
        && registration.enable_acting_master.is_some()
        && smallest == Some(registration.broker_id);
    if !is_master && !stands_in {
        return;
    }
    if delete_absent_topics && registration.mappings.is_empty() {
        remove_absent_topics(tables, registration);
    }
    let known = tables
        .live(&registration.identity())
        .map(|live| live.version);
    let changed = first || known != Some(registration.version);
    let read_only = stands_in && group.enable_acting_master;
    for topic in &registration.topics {
        let mut queues = topic.queues;
        if read_only {
            queues.perm &= !PERM_WRITE;
        }
        put_queues(tables, registration, topic, queues, changed, now_ms);
    }
    if changed {
        for mapping in &registration.mappings {
            let mut entry = tables
                .mappings
                .entry(mapping.topic.clone().into())
                .or_default();
            Arc::make_mut(&mut entry).insert(mapping.bname.clone().into(), mapping.clone());
            tables.changed();
        }
    }
}

fn put_queues(
    tables: &RouteTables,
    registration: &Registration,
    topic: &RegisteredTopic,
    queues: Queues,
    changed: bool,
    now_ms: u64,
) {
    let born = || {
        Arc::new(TopicEntry {
            born_ms: now_ms,
            ..TopicEntry::default()
        })
    };
    let mut entry = tables.topics.entry(topic.name.clone()).or_insert_with(born);
    let unconfirmed = |old: &QueueEntry| {
        old.restored
            .is_some_and(|as_of| as_of != registration.version)
    };
    let put = match entry.brokers.get(&registration.broker_name) {
        None => true,
        Some(old) if changed || unconfirmed(old) => old.queues != queues || old.restored.is_some(),
        Some(_) => false,
    };
    if put {
        let fresh = QueueEntry {
            queues,
            restored: None,
        };
        Arc::make_mut(&mut entry)
            .brokers
            .insert(registration.broker_name.clone(), fresh);
        tables.changed();
    } else if entry
        .brokers
        .get(&registration.broker_name)
        .is_some_and(|old| old.restored.is_some())
    {
        // Confirmed as it is, wiped permissions included.
        let brokers = &mut Arc::make_mut(&mut entry).brokers;
        brokers
            .entry(registration.broker_name.clone())
            .and_modify(|old| old.restored = None);
    }
}

/// Takes away the queues of topics that the broker has no longer
/// (`deleteTopicWithBrokerRegistration`).
fn remove_absent_topics(tables: &RouteTables, registration: &Registration) {
    let present: BTreeSet<&str> = registration.topics.iter().map(|t| &*t.name).collect();
    let name = &registration.broker_name;
    retain_topics(tables, |topic, brokers| {
        if !present.contains(topic) {
            brokers.remove(name);
        }
    });
}

/// Lets `change` edit the brokers of every topic; topics without brokers go.
fn retain_topics(
    tables: &RouteTables,
    mut change: impl FnMut(&str, &mut BTreeMap<Str, QueueEntry>),
) {
    let mut gone = Vec::new();
    for mut entry in tables.topics.iter_mut() {
        let mut brokers = entry.value().brokers.clone();
        change(entry.key(), &mut brokers);
        if brokers.is_empty() {
            gone.push(entry.key().clone());
        }
        if entry.value().brokers != brokers {
            Arc::make_mut(entry.value_mut()).brokers = brokers;
            tables.changed();
        }
    }
    for topic in gone {
        remove_topic(tables, &topic);
    }
}

fn remove_topic(tables: &RouteTables, topic: &str) {
    if tables.topics.remove(topic).is_some() {
        tables.mappings.remove(topic);
        tables.changed();
        log::debug!("namesrv/route_table topic removed topic={topic}");
    }
}

fn put_live(tables: &RouteTables, registration: &Registration, now_ms: u64) {
    let identity = registration.identity();
    let previous = tables.live(&identity);
    let filter_servers = match (&registration.filter_servers, &previous) {
        (Some(servers), _) => servers.clone(),
        (None, Some(previous)) => previous.filter_servers.clone(),
        (None, None) => Vec::new(),
    };
    let live = Live {
        last_update_ms: AtomicU64::new(now_ms),
        timeout_ms: registration.timeout_ms.unwrap_or(BROKER_TIMEOUT_MS),
        version: registration.version,
        channel: registration.channel.clone(),
        ha_server_addr: registration.ha_server_addr.clone(),
        filter_servers,
    };
    if previous.is_none() {
        log::info!(
            "namesrv/route_table broker registered broker={} id={} addr={identity} ha={}",
            registration.broker_name,
            registration.broker_id,
            registration.ha_server_addr,
        );
    }
    if previous.is_none_or(|previous| previous.version != live.version) {
        tables.changed();
    }
    tables.live.insert(identity, Arc::new(live));
}

/// Slaves are told their master, if it is alive.
fn answer(tables: &RouteTables, group: &BrokerGroup, registration: &Registration) -> Registered {
    let nobody = Registered::Accepted {
        ha_server_addr: None,
        master_addr: None,
    };
    if registration.broker_id == MASTER_ID {
        return nobody;
    }
    let Some(addr) = group.addrs.get(&MASTER_ID) else {
        return nobody;
    };
    let identity = BrokerAddr {
        cluster: registration.cluster.clone(),
        addr: addr.clone(),
    };
    match tables.live(&identity) {
        Some(live) => Registered::Accepted {
            ha_server_addr: Some(live.ha_server_addr.clone()),
            master_addr: Some(addr.clone()),
        },
        None => nobody,
    }
}

/// Takes brokers away: all at once, since every topic is looked at.
pub fn unregister(tables: &RouteTables, leaving: &[Unregistration]) -> Vec<MinIdChange> {
    let mut gone = BTreeSet::new();
    let mut reduced = BTreeSet::new();
    let mut lost_smallest = BTreeMap::new();
    for one in leaving {
        let was_live = tables.live.remove(&one.identity).is_some();
        log::info!(
            "namesrv/route_table broker unregistered broker={} id={} addr={} was_live={was_live}",
            one.broker_name,
            one.broker_id,
            one.identity,
        );
        tables.changed();
        let Some(group) = tables.group(&one.broker_name) else {
            gone.insert(one.clone());
            continue;
        };
        let was_smallest = group.smallest().is_some_and(|(id, _)| id == one.broker_id);
        let mut left = BrokerGroup::clone(&group);
        left.addrs.retain(|_, addr| *addr != one.identity.addr);
        if left.addrs.is_empty() {
            gone.insert(one.clone());
            reduced.remove(&one.broker_name);
            lost_smallest.remove(&one.broker_name);
            continue;
        }
        if was_smallest && left.enable_acting_master {
            lost_smallest.insert(one.broker_name.clone(), one.identity.addr.clone());
        }
        tables.groups.insert(left.name.clone(), Arc::new(left));
        reduced.insert(one.broker_name.clone());
    }
    clean_topics(tables, &gone, &reduced);
    for one in &gone {
        tables.groups.remove(&one.broker_name);
    }
    change_clusters(tables, |clusters| {
        for one in &gone {
            if let Some(names) = clusters.get_mut(&one.identity.cluster) {
                names.remove(&one.broker_name);
            }
        }
        clusters.retain(|_, names| !names.is_empty());
    });
    let change = |(name, offline): (Str, Str)| {
        min_id_change(tables.group(&name)?.as_ref(), Some(offline), None)
    };
    lost_smallest.into_iter().filter_map(change).collect()
}

/// Queues of groups that are gone go; those of groups that lost their master, and want a slave to
/// act for it, cannot be written any more.
fn clean_topics(tables: &RouteTables, gone: &BTreeSet<Unregistration>, reduced: &BTreeSet<Str>) {
    let masterless: Vec<&Str> = reduced
        .iter()
        .filter(|name| {
            let group = tables.group(name);
            group.is_some_and(|group| group.enable_acting_master && group.lacks_master())
        })
        .collect();
    if gone.is_empty() && masterless.is_empty() {
        return;
    }
    retain_topics(tables, |_, brokers| {
        for one in gone {
            brokers.remove(&one.broker_name);
        }
        for name in &masterless {
            if let Some(entry) = brokers.get_mut(*name) {
                entry.queues.perm &= !PERM_WRITE;
            }
        }
    });
}

fn min_id_change(
    group: &BrokerGroup,
    offline_addr: Option<Str>,
    ha_addr: Option<Str>,
) -> Option<MinIdChange> {
    let (min_id, min_addr) = group.smallest()?;
    let everybody = offline_addr.is_some() || group.addrs.len() == 1;
    let tell = group
        .addrs
        .iter()
        .filter(|(id, _)| everybody || **id != min_id);
    Some(MinIdChange {
        min_id,
        min_addr: min_addr.clone(),
        offline_addr,
        ha_addr,
        tell: tell.map(|(_, addr)| addr.clone()).collect(),
    })
}

/// The broker behind a live entry, as it would unregister itself.
pub fn unregistration_of(tables: &RouteTables, identity: &BrokerAddr) -> Option<Unregistration> {
    tables.groups.iter().find_map(|group| {
        if group.cluster != identity.cluster {
            return None;
        }
        let (id, _) = group
            .addrs
            .iter()
            .find(|(_, addr)| **addr == identity.addr)?;
        Some(Unregistration {
            broker_name: group.name.clone(),
            broker_id: *id,
            identity: identity.clone(),
        })
    })
}

/// Live brokers that came over this connection.
pub fn brokers_of_channel(tables: &RouteTables, channel_id: u64) -> Vec<BrokerAddr> {
    let live = tables.live.iter();
    let over = live.filter(|live| live.channel.as_ref().is_some_and(|c| c.id() == channel_id));
    over.map(|live| live.key().clone()).collect()
}

/// Live brokers that have been silent for too long, or whose connection is closed.
pub fn missed(tables: &RouteTables, now_ms: u64) -> Vec<(BrokerAddr, Arc<Live>)> {
    let closed = |live: &Live| {
        live.channel
            .as_ref()
            .is_some_and(|channel| channel.is_closed())
    };
    let live = tables.live.iter();
    let missed = live.filter(|live| live.expired(now_ms) || closed(live));
    missed
        .map(|live| (live.key().clone(), Arc::clone(live.value())))
        .collect()
}

/// Sets or takes the write permission of all queues of a group; tells how many topics it has.
/// The broker's next registration under a changed version brings its own permissions back.
pub fn set_write_permission(tables: &RouteTables, broker_name: &str, write: bool) -> i32 {
    let mut count = 0;
    for mut entry in tables.topics.iter_mut() {
        let Some(old) = entry.brokers.get(broker_name) else {
            continue;
        };
        let perm = if write {
            PERM_READ | PERM_WRITE
        } else {
            old.queues.perm & !PERM_WRITE
        };
        count += 1;
        if old.queues.perm != perm
            && let Some(entry) = Arc::make_mut(entry.value_mut())
                .brokers
                .get_mut(broker_name)
        {
            entry.queues.perm = perm;
        }
    }
    tables.changed();
    count
}

/// Takes a topic away, everywhere or from the brokers of one cluster.
pub fn delete_topic(tables: &RouteTables, topic: &str, cluster: Option<&str>) {
    let Some(cluster) = cluster.filter(|cluster| !cluster.is_empty()) else {
        remove_topic(tables, topic);
        return;
    };
    let clusters = tables.clusters();
    let Some(names) = clusters.get(cluster) else {
        return;
    };
    let mut empty = false;
    if let Some(mut entry) = tables.topics.get_mut(topic) {
        let entry = Arc::make_mut(entry.value_mut());
        entry.brokers.retain(|name, _| !names.contains(name));
        empty = entry.brokers.is_empty();
        tables.changed();
    }
    if empty {
        remove_topic(tables, topic);
    }
}

/// Enters single queues of a topic (code 217). It stops at the first broker that is not known: a
/// topic that is new then is not entered at all, one that was there keeps what came before.
pub fn register_topic(tables: &RouteTables, topic: &Str, queues: &[(Str, Queues)]) {
    let known = queues
        .iter()
        .take_while(|(name, _)| tables.groups.contains_key(name))
        .count();
    let exists = tables.topics.contains_key(topic);
    if known < queues.len() {
        log::warn!("namesrv/route_table topic names an unknown broker topic={topic}");
    }
    if queues.is_empty() || (known < queues.len() && !exists) {
        return;
    }
    let mut entry = tables.topics.entry(topic.clone()).or_default();
    let brokers = &mut Arc::make_mut(&mut entry).brokers;
    for (name, queues) in queues.iter().take(known) {
        brokers.insert(
            name.clone(),
            QueueEntry {
                queues: *queues,
                restored: None,
            },
        );
    }
    tables.changed();
}

/// Brings the tables in line with each other after a panic between two steps: what refers to
/// something that is not there goes, and clusters are collected from the groups.
pub fn reconcile(tables: &RouteTables) {
    tables.groups.retain(|_, group| !group.addrs.is_empty());
    retain_topics(tables, |_, brokers| {
        brokers.retain(|name, _| tables.groups.contains_key(name));
    });
    tables.live.retain(|identity, _| {
        let mut groups = tables.groups.iter();
        groups.any(|group| group.addrs.values().any(|addr| *addr == identity.addr))
    });
    change_clusters(tables, |clusters| {
        for group in tables.groups.iter() {
            clusters
                .entry(group.cluster.clone())
                .or_default()
                .insert(group.name.clone());
        }
        for names in clusters.values_mut() {
            names.retain(|name| tables.groups.contains_key(name));
        }
        clusters.retain(|_, names| !names.is_empty());
    });
    tables.changed();
}

#[cfg(test)]
mod tests;
