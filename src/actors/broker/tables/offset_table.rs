//! How far each group has come in each queue: the table behind [`super::offsets::Offsets`].
//!
//! Commits are written straight into this table by the thread that received them, under the lock of
//! one of its shards: nothing is lost when an actor restarts, a query sees every commit that its
//! connection sent before, and a commit costs a hash and a short search. The offsets actor only
//! brings the table to disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{
        AtomicBool, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::offset_key::KeyLike;
pub use super::offset_key::OffsetKey;
use crate::{
    hash::DashMap,
    protocol::{
        Str,
        body::mirror::{MirroredOffset, OwnCommit},
    },
};

/// Queues that one topic and group may have offsets in. Queue numbers come from clients and are
/// not checked against the topic, as in RocketMQ.
pub const QUEUES_PER_GROUP_MAX: usize = 65_536;

/// Stands for "no offset": no client ever commits it.
const NONE: i64 = i64::MIN;

/// The offsets of one queue.
#[derive(Debug, Clone, Copy)]
struct QueueOffsets {
    queue_id: i32,
    /// What the group committed.
    committed: i64,
    /// Where its last pull ended (`pullOffsetTable`): never written to disk.
    pulled: i64,
    /// Where an operator sent it; the next pull takes it (`resetOffsetTable`).
    reset: i64,
    /// Number of the change that set `committed`, see [`OffsetTable::sequence`].
    changed: u64,
    /// On a slave: what the master had when a client committed here; `NONE` while nobody did.
    base: i64,
}

/// The offsets of one topic and group, sorted by queue.
#[derive(Debug, Default)]
struct GroupOffsets(Vec<QueueOffsets>);

impl GroupOffsets {
    fn get(&self, queue_id: i32) -> Option<&QueueOffsets> {
        let at = self
            .0
            .binary_search_by_key(&queue_id, |queue| queue.queue_id)
            .ok()?;
        self.0.get(at)
    }

    fn get_mut(&mut self, queue_id: i32) -> Option<&mut QueueOffsets> {
        let at = self
            .0
            .binary_search_by_key(&queue_id, |queue| queue.queue_id)
            .ok()?;
        self.0.get_mut(at)
    }

    /// The entry of a queue, made when absent; `None` past the maximum.
    fn entry(&mut self, queue_id: i32) -> Option<&mut QueueOffsets> {
        let at = match self
            .0
            .binary_search_by_key(&queue_id, |queue| queue.queue_id)
        {
            Ok(at) => at,
            Err(_) if self.0.len() >= QUEUES_PER_GROUP_MAX => return None,
            Err(at) => {
                let fresh = QueueOffsets {
                    queue_id,
                    committed: NONE,
                    pulled: NONE,
                    reset: NONE,
                    changed: 0,
                    base: NONE,
                };
                self.0.insert(at, fresh);
                at
            }
        };
        self.0.get_mut(at)
    }

    fn committed(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let known = self.0.iter().filter(|queue| queue.committed != NONE);
        known.map(|queue| (queue.queue_id, queue.committed))
    }
}

/// Committed offsets of one group in one topic: queue and offset, sorted by queue.
pub type Committed = Vec<(i32, i64)>;

/// Offsets of all groups, read and written from any thread.
#[derive(Debug)]
pub struct OffsetTable {
    groups: DashMap<OffsetKey, GroupOffsets>,
    /// Resets that no pull has taken yet: while there are none, nobody looks for them.
    resets: AtomicUsize,
    commits: AtomicU64,
    /// Number of the last change. It is taken under the lock of the entry's shard: who reads it and
    /// then looks through all shards sees every change up to it.
    sequence: AtomicU64,
    /// Whether this is a slave's table, where commits of clients are kept apart.
    follows: AtomicBool,
    dirty: AtomicBool,
}

impl Default for OffsetTable {
    fn default() -> Self {
        Self::new()
    }
}

impl OffsetTable {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            groups: DashMap::default(),
            resets: AtomicUsize::new(0),
            commits: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            follows: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
        }
    }

    /// Runs `act` on the entry of a queue, which is made when absent. `None` past the maximum.
    fn with<R>(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        act: impl FnOnce(&mut QueueOffsets) -> R,
    ) -> Option<R> {
        let key: &dyn KeyLike = &(topic, group);
        if let Some(mut offsets) = self.groups.get_mut(key) {
            return offsets.entry(queue_id).map(act);
        }
        // Copies: slices of a frame would keep the whole frame in memory.
        let key = OffsetKey {
            topic: topic.to_owned().into(),
            group: group.to_owned().into(),
        };
        let mut offsets = self.groups.entry(key).or_default();
        offsets.entry(queue_id).map(act)
    }

    fn read<R>(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        look: impl FnOnce(&QueueOffsets) -> R,
    ) -> Option<R> {
        let key: &dyn KeyLike = &(topic, group);
        self.groups.get(key)?.get(queue_id).map(look)
    }

    /// Commits an offset, whatever it is, and yields how many commits there were so far. `None`
    /// when the group has offsets in too many queues of the topic.
    pub fn commit(&self, topic: &str, group: &str, queue_id: i32, offset: i64) -> Option<u64> {
        let follows = self.follows.load(Relaxed);
        self.with(topic, group, queue_id, |queue| {
            if follows && queue.base == NONE {
                queue.base = queue.committed.max(-1);
            }
            self.set(queue, offset);
        })?;
        self.dirty.store(true, Release);
        Some(self.commits.fetch_add(1, Relaxed) + 1)
    }

    fn set(&self, queue: &mut QueueOffsets, offset: i64) {
        queue.committed = offset;
        queue.changed = self.sequence.fetch_add(1, Relaxed) + 1;
    }

    /// Keeps where a pull ended.
    pub fn set_pulled(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        self.with(topic, group, queue_id, |queue| queue.pulled = offset);
    }

    /// What the group committed.
    pub fn committed(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        self.read(topic, group, queue_id, |queue| queue.committed)
            .filter(|&offset| offset != NONE)
    }

    /// Where the last pull ended.
    pub fn pulled(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        self.read(topic, group, queue_id, |queue| queue.pulled)
            .filter(|&offset| offset != NONE)
    }

    /// Forgets where pulls of a group ended.
    pub fn clear_pulled(&self, topic: &str, group: &str) {
        let key: &dyn KeyLike = &(topic, group);
        if let Some(mut offsets) = self.groups.get_mut(key) {
            offsets.0.iter_mut().for_each(|queue| queue.pulled = NONE);
        }
    }

    /// Sends a group to an offset: commits it, and has the next pull start there.
    pub fn set_reset(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        let is_new = self.with(topic, group, queue_id, |queue| {
            self.set(queue, offset);
            std::mem::replace(&mut queue.reset, offset) == NONE
        });
        if is_new == Some(true) {
            self.resets.fetch_add(1, Release);
        }
        self.dirty.store(true, Release);
    }

    /// The reset that waits for the next pull.
    pub fn reset(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        if self.resets.load(Acquire) == 0 {
            return None;
        }
        self.read(topic, group, queue_id, |queue| queue.reset)
            .filter(|&offset| offset != NONE)
    }

    /// Takes the reset that waits for the next pull.
    pub fn take_reset(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        if self.resets.load(Acquire) == 0 {
            return None;
        }
        let key: &dyn KeyLike = &(topic, group);
        let mut offsets = self.groups.get_mut(key)?;
        let reset = std::mem::replace(&mut offsets.get_mut(queue_id)?.reset, NONE);
        if reset == NONE {
            return None;
        }
        self.resets.fetch_sub(1, Release);
        Some(reset)
    }

    /// What a group committed in all queues of a topic.
    pub fn of_group(&self, topic: &str, group: &str) -> Option<Committed> {
        let key: &dyn KeyLike = &(topic, group);
        let committed: Committed = self.groups.get(key)?.committed().collect();
        Some(committed).filter(|committed| !committed.is_empty())
    }

    /// Gives a group the offsets of another. False when there are none.
    pub fn clone_group(&self, topic: &str, from: &str, to: &str) -> bool {
        let Some(committed) = self.of_group(topic, from) else {
            return false;
        };
        self.replace(
            OffsetKey {
                topic: topic.to_owned().into(),
                group: to.to_owned().into(),
            },
            committed,
        );
        self.dirty.store(true, Release);
        true
    }

    /// Sets all committed offsets of a group, as when the table is loaded or mirrored.
    pub fn replace(&self, key: OffsetKey, committed: impl IntoIterator<Item = (i32, i64)>) {
        let mut offsets = GroupOffsets::default();
        for (queue_id, offset) in committed {
            if let Some(queue) = offsets.entry(queue_id) {
                self.set(queue, offset);
            }
        }
        if let Some(old) = self.groups.insert(key, offsets) {
            self.forget_resets(&old);
        }
    }

    fn forget_resets(&self, offsets: &GroupOffsets) {
        let waiting = offsets.0.iter().filter(|queue| queue.reset != NONE).count();
        self.resets.fetch_sub(waiting, Release);
    }

    fn remove_where(&self, goes: impl Fn(&OffsetKey) -> bool) -> usize {
        let mut removed = 0;
        self.groups.retain(|key, offsets| {
            let keep = !goes(key);
            if !keep {
                removed += 1;
                self.forget_resets(offsets);
            }
            keep
        });
        if removed > 0 {
            self.dirty.store(true, Release);
        }
        removed
    }

    /// Forgets a deleted topic; yields how many groups had offsets in it.
    pub fn remove_topic(&self, topic: &str) -> usize {
        self.remove_where(|key| *key.topic == *topic)
    }

    /// Forgets a group; yields in how many topics it had offsets.
    pub fn remove_group(&self, group: &str) -> usize {
        self.remove_where(|key| {
            let rest = key.group.strip_prefix(group);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        })
    }

    /// Forgets one group in one topic.
    pub fn remove(&self, topic: &str, group: &str) -> bool {
        self.remove_where(|key| *key.topic == *topic && *key.group == *group) > 0
    }

    /// Topics that a group has offsets in.
    pub fn topics_of(&self, group: &str) -> BTreeSet<Str> {
        let mine = self
            .groups
            .iter()
            .filter(|entry| *entry.key().group == *group)
            .filter(|entry| entry.committed().next().is_some());
        mine.map(|entry| entry.key().topic.clone()).collect()
    }

    /// Groups that have offsets in a topic.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<Str> {
        let plain = self.groups.iter().filter(|entry| entry.key().is_plain());
        let mine = plain.filter(|entry| *entry.key().topic == *topic);
        let mine = mine.filter(|entry| entry.committed().next().is_some());
        mine.map(|entry| entry.key().group.clone()).collect()
    }

    /// Everything that was committed.
    pub fn all(&self) -> BTreeMap<String, Committed> {
        let entries = self.groups.iter();
        let all = entries.map(|entry| (entry.key().to_string(), entry.committed().collect()));
        all.filter(|(_, committed): &(String, Committed)| !committed.is_empty())
            .collect()
    }

    /// Topics of every group, as they stand in the file.
    pub fn group_topics(&self) -> BTreeMap<Str, BTreeSet<Str>> {
        let mut map: BTreeMap<Str, BTreeSet<Str>> = BTreeMap::new();
        for entry in self.groups.iter().filter(|entry| entry.key().is_plain()) {
            if entry.committed().next().is_some() {
                let key = entry.key();
                map.entry(key.group.clone())
                    .or_default()
                    .insert(key.topic.clone());
            }
        }
        map
    }

    /// Number of the last change of a committed offset.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Acquire)
    }

    /// From now on commits of clients are kept apart, until the master has them.
    pub fn follow(&self) {
        self.follows.store(true, Relaxed);
    }

    /// Offsets that changed after `since`, the oldest changes first and at most `max` of them, and the
    /// number of the change up to which these are all.
    pub fn changed_since(&self, since: u64, max: usize) -> (Vec<MirroredOffset>, u64) {
        let now = self.sequence();
        if now == since {
            return (Vec::new(), now);
        }
        let mut changes = Vec::new();
        for entry in &self.groups {
            let known = entry.0.iter().filter(|queue| queue.committed != NONE);
            let changed = known.filter(|queue| queue.changed > since && queue.changed <= now);
            changes.extend(changed.map(|queue| (queue.changed, mirrored(entry.key(), queue))));
        }
        changes.sort_unstable_by_key(|(changed, _)| *changed);
        let upto = match changes.get(max) {
            Some(_) => changes.get(max - 1).map_or(since, |(changed, _)| *changed),
            None => now,
        };
        changes.truncate(max);
        (
            changes.into_iter().map(|(_, offset)| offset).collect(),
            upto,
        )
    }

    /// On a slave: offsets that clients committed here and the master may not have, at most `max`.
    pub fn own_commits(&self, max: usize) -> Vec<OwnCommit> {
        let mut own = Vec::new();
        for entry in &self.groups {
            let mine = entry.0.iter().filter(|queue| queue.base != NONE);
            own.extend(mine.take(max - own.len()).map(|queue| OwnCommit {
                offset: mirrored(entry.key(), queue),
                base: queue.base,
            }));
            if own.len() >= max {
                break;
            }
        }
        own
    }

    /// On a slave: the master took these. What was committed again meanwhile is kept for the next time.
    pub fn commits_taken(&self, commits: &[OwnCommit]) {
        for OwnCommit { offset, .. } in commits {
            self.with(&offset.topic, &offset.group, offset.queue_id, |queue| {
                queue.base = if queue.committed == offset.offset {
                    NONE
                } else {
                    offset.offset
                };
            });
        }
    }

    /// On a slave: takes an offset of the master, unless a client committed here since.
    pub fn mirror(&self, offset: &MirroredOffset) {
        self.with(&offset.topic, &offset.group, offset.queue_id, |queue| {
            if queue.base == NONE || queue.base != offset.offset {
                queue.base = NONE;
                self.set(queue, offset.offset);
            }
        });
        self.dirty.store(true, Release);
    }

    /// On a master: takes what clients committed at a slave, unless they committed more here since.
    pub fn take_back(&self, commit: &OwnCommit) {
        let offset = &commit.offset;
        self.with(&offset.topic, &offset.group, offset.queue_id, |queue| {
            if commit.outranks(queue.committed) {
                self.set(queue, offset.offset);
            }
        });
        self.dirty.store(true, Release);
    }

    /// Whether something was committed since the last call, which clears the mark.
    pub fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Acquire)
    }

    /// Sets the mark that [`OffsetTable::take_dirty`] clears.
    pub fn mark_dirty(&self) {
        self.dirty.store(true, Release);
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// How many topics and groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether nothing was committed.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

fn mirrored(key: &OffsetKey, queue: &QueueOffsets) -> MirroredOffset {
    MirroredOffset {
        topic: key.topic.to_string(),
        group: key.group.to_string(),
        queue_id: queue.queue_id,
        offset: queue.committed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_seen_at_once_and_any_value_is_taken() {
        let table = OffsetTable::new();
        assert_eq!(table.committed("T", "G", 0), None);
        assert_eq!(table.commit("T", "G", 3, 10), Some(1));
        assert_eq!(table.commit("T", "G", 0, 7), Some(2));
        assert_eq!(table.commit("T", "G", 3, 4), Some(3));
        assert_eq!(table.committed("T", "G", 3), Some(4));
        assert_eq!(table.of_group("T", "G"), Some(vec![(0, 7), (3, 4)]));
        assert!(table.take_dirty() && !table.take_dirty());
    }

    #[test]
    fn pulled_offsets_are_not_committed_ones() {
        let table = OffsetTable::new();
        table.set_pulled("T", "G", 0, 9);
        assert_eq!(table.pulled("T", "G", 0), Some(9));
        assert_eq!(table.committed("T", "G", 0), None);
        assert!(table.all().is_empty() && table.group_topics().is_empty());
        table.clear_pulled("T", "G");
        assert_eq!(table.pulled("T", "G", 0), None);
    }

    #[test]
    fn a_reset_is_taken_once() {
        let table = OffsetTable::new();
        table.commit("T", "G", 0, 5);
        assert_eq!(table.reset("T", "G", 0), None);
        table.set_reset("T", "G", 0, 2);
        table.set_reset("T", "G", 0, 3);
        assert_eq!(table.committed("T", "G", 0), Some(3));
        assert_eq!(table.take_reset("T", "G", 1), None);
        assert_eq!(table.take_reset("T", "G", 0), Some(3));
        assert_eq!(table.take_reset("T", "G", 0), None);
        assert_eq!(table.resets.load(Acquire), 0);
    }

    #[test]
    fn topics_and_groups_go_with_their_resets() {
        let table = OffsetTable::new();
        for (topic, group) in [("T", "G"), ("T", "H"), ("U", "G"), ("U", "G@broadcast")] {
            table.commit(topic, group, 0, 1);
        }
        table.set_reset("T", "G", 0, 0);
        assert_eq!(table.groups_of("U"), ["G".into()].into());
        assert_eq!(table.remove_topic("T"), 2);
        assert_eq!(table.reset("T", "G", 0), None);
        assert_eq!(table.topics_of("G"), ["U".into()].into());
        assert_eq!(table.remove_group("G"), 2);
        assert!(table.is_empty());
    }

    #[test]
    fn a_clone_is_a_copy_of_what_was_committed() {
        let table = OffsetTable::new();
        table.commit("T", "G", 0, 5);
        table.commit("T", "H", 1, 6);
        assert!(table.clone_group("T", "G", "H") && !table.clone_group("X", "G", "H"));
        assert_eq!(table.of_group("T", "H"), Some(vec![(0, 5)]));
        assert_eq!(
            OffsetKey::parse("a@b@broadcast").unwrap().group,
            "b@broadcast"
        );
        assert_eq!(OffsetKey::parse("a"), None);
    }

    #[test]
    fn changes_are_told_in_order_and_in_parts() {
        let table = OffsetTable::new();
        for queue_id in 0..5 {
            table.commit("T", "G", queue_id, 10);
        }
        table.commit("T", "G", 0, 11);
        let (first, upto) = table.changed_since(0, 3);
        let queues = |offsets: &[MirroredOffset]| -> Vec<_> {
            offsets.iter().map(|o| (o.queue_id, o.offset)).collect()
        };
        assert_eq!(queues(&first), [(1, 10), (2, 10), (3, 10)]);
        let (rest, upto) = table.changed_since(upto, 3);
        assert_eq!(queues(&rest), [(4, 10), (0, 11)]);
        assert_eq!(upto, table.sequence());
        assert_eq!(table.changed_since(upto, 3), (Vec::new(), upto));
    }

    #[test]
    fn commits_at_a_slave_go_to_the_master_and_are_not_dragged_back() {
        let (master, slave) = (OffsetTable::new(), OffsetTable::new());
        slave.follow();
        let mirror = || {
            for offset in &master.changed_since(0, 100).0 {
                slave.mirror(offset);
            }
        };
        master.commit("T", "G", 0, 5);
        master.commit("T", "G", 1, 5);
        mirror();
        assert!(slave.own_commits(9).is_empty());
        // The master is away: clients commit at the slave; it comes back with what it had.
        slave.commit("T", "G", 0, 8);
        slave.commit("T", "G", 2, 1);
        mirror();
        assert_eq!(slave.committed("T", "G", 0), Some(8));
        let own = slave.own_commits(9);
        assert_eq!(own.len(), 2);
        slave.commit("T", "G", 2, 2);
        own.iter().for_each(|commit| master.take_back(commit));
        slave.commits_taken(&own);
        assert_eq!(master.committed("T", "G", 0), Some(8));
        assert_eq!(master.committed("T", "G", 2), Some(1));
        let again = slave.own_commits(9);
        assert_eq!(
            (again.len(), again[0].base, again[0].offset.offset),
            (1, 1, 2)
        );
        // Later commits at the master count, smaller ones as well.
        master.commit("T", "G", 0, 3);
        mirror();
        assert_eq!(slave.committed("T", "G", 0), Some(3));
    }

    #[test]
    fn queue_numbers_are_bounded() {
        let table = OffsetTable::new();
        for queue_id in 0..QUEUES_PER_GROUP_MAX as i32 {
            assert!(table.commit("T", "G", queue_id, 1).is_some());
        }
        assert_eq!(table.commit("T", "G", -5, 1), None);
        assert!(table.commit("T", "G", 5, 2).is_some());
    }
}
