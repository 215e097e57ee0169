//! Producer groups (`ProducerManager`): which connections can be asked about a transaction or be
//! handed a reply.
//!
//! No actor owns them: nothing depends on the order of two clients' heartbeats, so whoever received
//! one writes it down. The `groups` actor throws out what has been silent for too long.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use dashmap::DashMap;

use super::member::Member;
use crate::{actors::net::ConnectionHandle, protocol::Str};

/// Producer groups that are kept at most: their names come from clients, unchecked.
pub const PRODUCER_GROUPS_MAX: usize = 1 << 17;
/// Clients of one producer group that are kept at most.
pub const PRODUCERS_PER_GROUP_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Tables {
    /// Group, then connection.
    groups: DashMap<Str, BTreeMap<u64, Arc<Member>>>,
    clients: DashMap<Str, Arc<Member>>,
    /// The groups of each connection.
    connections: DashMap<u64, Vec<Str>>,
    next: AtomicUsize,
}

/// All producer groups of a broker. Cloning it is one reference count.
#[derive(Debug, Clone, Default)]
pub struct ProducerGroups(Arc<Tables>);

impl ProducerGroups {
    /// A heartbeat of a producer. False when the tables are full or the connection is closed.
    pub fn register(&self, group: &str, member: &Arc<Member>, now_ms: u64) -> bool {
        let tables = &self.0;
        if let Some(known) = tables
            .groups
            .get(group)
            .and_then(|all| all.get(&member.conn.id).cloned())
            && known.client_id == member.client_id
        {
            known.seen(now_ms);
            return true;
        }
        if tables.groups.len() >= PRODUCER_GROUPS_MAX && !tables.groups.contains_key(group) {
            return false;
        }
        let group = Str::from(group.to_owned());
        {
            let mut members = tables.groups.entry(group.clone()).or_default();
            if members.len() >= PRODUCERS_PER_GROUP_MAX {
                return false;
            }
            members.insert(member.conn.id, member.clone());
        }
        tables
            .clients
            .insert(member.client_id.clone(), member.clone());
        let mut mine = tables.connections.entry(member.conn.id).or_default();
        if !mine.contains(&group) {
            mine.push(group);
        }
        drop(mine);
        // It may have been closed before it was written down: then nobody would clean up.
        if member.conn.is_closed() {
            self.closed(member.conn.id);
            return false;
        }
        true
    }

    /// Whether a connection is known as a producer of the group.
    pub fn contains(&self, group: &str, conn: u64) -> bool {
        self.0
            .groups
            .get(group)
            .is_some_and(|members| members.contains_key(&conn))
    }

    /// A client leaves a group.
    pub fn unregister(&self, group: &str, conn: u64) {
        if let Some(mut mine) = self.0.connections.get_mut(&conn) {
            mine.retain(|name| **name != *group);
        }
        self.0
            .connections
            .remove_if(&conn, |_, mine| mine.is_empty());
        self.remove(group, conn);
    }

    fn remove(&self, group: &str, conn: u64) {
        let removed = self
            .0
            .groups
            .get_mut(group)
            .and_then(|mut members| members.remove(&conn));
        self.0
            .groups
            .remove_if(group, |_, members| members.is_empty());
        if let Some(member) = removed
            && !self.0.connections.contains_key(&conn)
        {
            self.0
                .clients
                .remove_if(&member.client_id, |_, known| known.conn.id == conn);
        }
    }

    /// A connection is gone.
    pub fn closed(&self, conn: u64) {
        let Some((_, groups)) = self.0.connections.remove(&conn) else {
            return;
        };
        for group in groups {
            self.remove(&group, conn);
        }
    }

    /// Throws out clients that have been silent for longer than `limit_ms` and closes their
    /// connections.
    pub fn expire(&self, now_ms: u64, limit_ms: u64) {
        let mut silent = Vec::new();
        for group in self.0.groups.iter() {
            let expired = group
                .values()
                .filter(|member| member.is_expired(now_ms, limit_ms));
            silent.extend(expired.map(|member| (group.key().clone(), member.clone())));
        }
        for (group, member) in silent {
            log::warn!(
                "broker/groups removes a silent producer group={group} client={} peer={}",
                member.client_id,
                member.conn.peer
            );
            self.unregister(&group, member.conn.id);
            member.conn.close();
        }
    }

    /// The clients of a group; `None` for an unknown group.
    pub fn members(&self, group: &str) -> Option<Vec<Arc<Member>>> {
        Some(self.0.groups.get(group)?.values().cloned().collect())
    }

    /// All groups with their clients.
    pub fn all(&self) -> BTreeMap<Str, Vec<Arc<Member>>> {
        let groups = self.0.groups.iter();
        groups
            .map(|group| (group.key().clone(), group.values().cloned().collect()))
            .collect()
    }

    /// A connection of the group that can be written to: each call yields the next one.
    pub fn available(&self, group: &str) -> Option<Arc<ConnectionHandle>> {
        let members = self.0.groups.get(group)?;
        let turn = self.0.next.fetch_add(1, Relaxed);
        let (count, start) = (members.len(), turn.checked_rem(members.len())?);
        let round = members.values().cycle().skip(start).take(count);
        round
            .map(|member| &member.conn)
            .find(|conn| !conn.is_closed())
            .cloned()
    }

    /// The connection of a client.
    pub fn find(&self, client_id: &str) -> Option<Arc<ConnectionHandle>> {
        Some(self.0.clients.get(client_id)?.conn.clone())
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.0.groups.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.0.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::LanguageCode;

    fn member(client: &str, now_ms: u64) -> Arc<Member> {
        Member::new(
            client,
            &ConnectionHandle::detached(),
            LanguageCode::JAVA,
            493,
            now_ms,
        )
    }

    #[test]
    fn a_closed_connection_leaves_all_its_groups() {
        let groups = ProducerGroups::default();
        let one = member("c", 0);
        assert!(groups.register("G", &one, 0) && groups.register("H", &one, 0));
        assert!(groups.find("c").is_some() && groups.available("G").is_some());
        groups.unregister("H", one.conn.id);
        assert!(groups.find("c").is_some() && groups.members("H").is_none());
        groups.closed(one.conn.id);
        assert!(groups.is_empty() && groups.find("c").is_none());
        assert!(groups.0.connections.is_empty());
    }

    #[test]
    fn the_silent_go() {
        let groups = ProducerGroups::default();
        let one = member("c", 0);
        groups.register("G", &one, 0);
        assert!(groups.register("G", &member("c", 100), 100));
        groups.expire(220, 120);
        assert_eq!(groups.len(), 1);
        groups.expire(221, 120);
        assert!(groups.is_empty() && one.conn.is_closed());
    }

    #[test]
    fn nobody_is_written_down_for_a_closed_connection() {
        let groups = ProducerGroups::default();
        let one = member("c", 0);
        one.conn.close();
        assert!(!groups.register("G", &one, 0));
        assert!(groups.is_empty() && groups.available("G").is_none());
    }
}
