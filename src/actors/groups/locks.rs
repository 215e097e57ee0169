//! Queue locks, for orderly consumption (`RebalanceLockManager`).
//!
//! A client owns a queue for 60 s after it last said so (`rebalanceLockLifeMs`); it asks again every
//! 20 s and gives up by itself after 30 s without an answer. So whoever holds a queue when the broker
//! dies may work on it for a while: locks are written down ([`super::lock_writer`]), and hold after a
//! restart as long as they may have held before.

use std::{
    collections::HashMap,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{AcqRel, Acquire, Release},
    },
};

use crate::{
    hash::DashMap,
    protocol::Str,
    store::queue_locks::{HeldQueue, QueueLocks},
};

/// Queues that one group may hold locks on.
pub const LOCKS_MAX: usize = 1 << 20;

/// A queue as clients name it: also of topics and brokers that are unknown here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockKey {
    /// Topic.
    pub topic: Str,
    /// Name of the broker.
    pub broker_name: Str,
    /// Number of the queue.
    pub queue_id: i32,
}

#[derive(Debug, Clone)]
struct Lock {
    client_id: Str,
    renewed_ms: u64,
}

/// What came of asking for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// The client has the queue, and did not have it before.
    Taken,
    /// The client has it still.
    Renewed,
    /// Another client has it, or the group has too many.
    Refused,
}

/// The locks of one group.
#[derive(Debug)]
pub struct LockTable {
    locks: HashMap<LockKey, Lock>,
    /// How long a lock lives without being renewed.
    life_ms: u64,
}

impl LockTable {
    /// No locks; each lives for `life_ms` after it was last renewed.
    pub fn new(life_ms: u64) -> Self {
        Self {
            locks: HashMap::new(),
            life_ms,
        }
    }

    /// Locks or renews a queue for a client.
    pub fn lock(&mut self, key: &LockKey, client_id: &Str, now_ms: u64) -> Locked {
        let full = self.locks.len() >= LOCKS_MAX;
        let life_ms = self.life_ms;
        match self.locks.get_mut(key) {
            Some(lock) if lock.client_id == *client_id || lock.is_expired(now_ms, life_ms) => {
                lock.renewed_ms = now_ms;
                if lock.client_id == *client_id {
                    return Locked::Renewed;
                }
                lock.client_id = client_id.clone();
                Locked::Taken
            }
            Some(_) => Locked::Refused,
            None if full => Locked::Refused,
            None => {
                let lock = Lock {
                    client_id: client_id.clone(),
                    renewed_ms: now_ms,
                };
                self.locks.insert(key.clone(), lock);
                Locked::Taken
            }
        }
    }

    /// Gives a queue back; false if the client does not hold it.
    pub fn unlock(&mut self, key: &LockKey, client_id: &Str) -> bool {
        let mine = self
            .locks
            .get(key)
            .is_some_and(|lock| lock.client_id == *client_id);
        mine && self.locks.remove(key).is_some()
    }

    /// Who holds a queue.
    pub fn holder(&self, key: &LockKey, now_ms: u64) -> Option<&Str> {
        let lock = self.locks.get(key)?;
        (!lock.is_expired(now_ms, self.life_ms)).then_some(&lock.client_id)
    }

    /// Forgets what nobody holds any more; yields how many are left.
    pub fn expire(&mut self, now_ms: u64) -> usize {
        let life_ms = self.life_ms;
        self.locks
            .retain(|_, lock| !lock.is_expired(now_ms, life_ms));
        self.locks.len()
    }

    /// How many locks there are, expired ones included.
    pub fn len(&self) -> usize {
        self.locks.len()
    }

    /// Whether there is no lock at all.
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty()
    }

    fn held(&self, now_ms: u64) -> Vec<HeldQueue> {
        let locks = self.locks.iter();
        let held = locks.filter(|(_, lock)| !lock.is_expired(now_ms, self.life_ms));
        let held = held.map(|(key, lock)| HeldQueue {
            topic: key.topic.to_string(),
            broker_name: key.broker_name.to_string(),
            queue_id: key.queue_id,
            client_id: lock.client_id.to_string(),
        });
        held.collect()
    }
}

impl Lock {
    fn is_expired(&self, now_ms: u64, life_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) > life_ms
    }
}

/// The locks of all groups. Only the groups' actors lock and unlock; they are kept here so that they
/// outlive them.
#[derive(Debug)]
pub struct LockBook {
    groups: DashMap<Str, LockTable>,
    life_ms: u64,
    /// How often a queue's holder has changed.
    changes: AtomicU64,
    /// As of which change the file is.
    written: AtomicU64,
    /// A lock was renewed since the file was written.
    renewed: AtomicBool,
}

impl LockBook {
    /// No locks; each lives for `life_ms` after it was last renewed.
    pub fn new(life_ms: u64) -> Self {
        Self {
            groups: DashMap::default(),
            life_ms,
            changes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            renewed: AtomicBool::new(false),
        }
    }

    /// Longest that a renewal may be missing in the file, ms.
    pub fn write_renewals_every_ms(&self) -> u64 {
        (self.life_ms / 12).clamp(50, 5_000)
    }

    /// Locks or renews queues of a group for a client; `queues` are then those that it has.
    pub fn lock(&self, group: &Str, client_id: &Str, queues: &mut Vec<LockKey>, now_ms: u64) {
        if queues.is_empty() {
            return;
        }
        let entry = self.groups.entry(group.clone());
        let mut table = entry.or_insert_with(|| LockTable::new(self.life_ms));
        let (mut changed, mut renewed) = (false, false);
        queues.retain(|queue| {
            let locked = table.lock(queue, client_id, now_ms);
            changed |= locked == Locked::Taken;
            renewed |= locked == Locked::Renewed;
            locked != Locked::Refused
        });
        self.note(changed, renewed);
    }

    /// Gives queues back; those that the client does not hold stay as they are.
    pub fn unlock(&self, group: &str, client_id: &Str, queues: &[LockKey]) {
        let Some(mut table) = self.groups.get_mut(group) else {
            return;
        };
        let mut changed = false;
        for queue in queues {
            changed |= table.unlock(queue, client_id);
        }
        self.note(changed, false);
    }

    /// Called under the lock of the group's entry: who has read the number of changes sees them all.
    fn note(&self, changed: bool, renewed: bool) {
        if changed {
            self.changes.fetch_add(1, AcqRel);
        }
        if renewed {
            self.renewed.store(true, Release);
        }
    }

    /// Who holds a queue.
    pub fn holder(&self, group: &str, queue: &LockKey, now_ms: u64) -> Option<Str> {
        self.groups.get(group)?.holder(queue, now_ms).cloned()
    }

    /// Whether any queue of a group is held.
    pub fn any_held(&self, group: &str, now_ms: u64) -> bool {
        let table = self.groups.get(group);
        table.is_some_and(|table| {
            let mut locks = table.locks.values();
            locks.any(|lock| !lock.is_expired(now_ms, self.life_ms))
        })
    }

    /// Forgets all locks that nobody holds any more.
    pub fn expire_all(&self, now_ms: u64) {
        self.groups.retain(|_, table| table.expire(now_ms) > 0);
    }

    /// How many locks a group has, expired ones included.
    pub fn len(&self, group: &str) -> usize {
        self.groups.get(group).map_or(0, |table| table.len())
    }

    /// How many locks there are, expired ones included.
    pub fn total(&self) -> usize {
        self.groups.iter().map(|table| table.len()).sum()
    }

    /// Whether a holder changed since the file was written.
    pub fn is_behind(&self) -> bool {
        self.written.load(Acquire) < self.changes.load(Acquire)
    }

    /// Whether the file differs from the book in anything.
    pub fn is_stale(&self) -> bool {
        self.is_behind() || self.renewed.load(Acquire)
    }

    /// The file may lack what the last [`LockBook::write`] was to bring there.
    pub fn doubt_file(&self) {
        self.renewed.store(true, Release);
    }

    /// Hands the book to `save`, which yields whether it was written.
    pub fn write(&self, now_ms: u64, save: impl FnOnce(&QueueLocks) -> bool) {
        let changes = self.changes.load(Acquire);
        let renewed = self.renewed.swap(false, AcqRel);
        let groups = self.groups.iter();
        let groups = groups.map(|table| (table.key().to_string(), table.held(now_ms)));
        let locks = QueueLocks {
            renewed_by_ms: now_ms.saturating_add(self.write_renewals_every_ms()),
            groups: groups.filter(|(_, held)| !held.is_empty()).collect(),
        };
        if save(&locks) {
            self.written.fetch_max(changes, AcqRel);
        } else if renewed {
            self.renewed.store(true, Release);
        }
    }

    /// Takes the locks of a run that has ended: they hold as long as they may have held then.
    pub fn restore(&self, locks: QueueLocks, now_ms: u64) {
        let renewed_ms = locks.renewed_by_ms.min(now_ms);
        for (group, held) in locks.groups {
            let entry = self.groups.entry(group.into());
            let mut table = entry.or_insert_with(|| LockTable::new(self.life_ms));
            for queue in held {
                let key = LockKey {
                    topic: queue.topic.into(),
                    broker_name: queue.broker_name.into(),
                    queue_id: queue.queue_id,
                };
                table.lock(&key, &queue.client_id.into(), renewed_ms);
            }
        }
        self.expire_all(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_id: i32) -> LockKey {
        LockKey {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id,
        }
    }

    #[test]
    fn a_lock_is_renewed_by_its_holder_and_expires() {
        let mut locks = LockTable::new(60_000);
        let key = queue(1);
        let (a, b): (Str, Str) = ("a".into(), "b".into());
        assert_eq!(locks.lock(&key, &a, 0), Locked::Taken);
        assert_eq!(locks.lock(&key, &b, 60_000), Locked::Refused);
        assert_eq!(locks.lock(&key, &a, 60_000), Locked::Renewed);
        assert_eq!(locks.holder(&key, 120_000), Some(&a));
        assert_eq!(locks.lock(&key, &b, 120_001), Locked::Taken);
        assert!(!locks.unlock(&key, &a) && locks.unlock(&key, &b));
        assert_eq!(locks.lock(&key, &a, 120_001), Locked::Taken);
        assert_eq!(locks.expire(180_002), 0);
        assert_eq!(locks.holder(&key, 180_002), None);
    }

    fn lock(book: &LockBook, client: &'static str, ids: &[i32], now_ms: u64) -> Vec<i32> {
        let mut queues = ids.iter().map(|&id| queue(id)).collect();
        book.lock(&"G".into(), &client.into(), &mut queues, now_ms);
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    fn written(book: &LockBook, now_ms: u64) -> QueueLocks {
        let mut seen = QueueLocks::default();
        book.write(now_ms, |locks| {
            seen = locks.clone();
            true
        });
        seen
    }

    #[test]
    fn locks_hold_over_a_restart_for_as_long_as_they_may_have_held() {
        let book = LockBook::new(60_000);
        assert_eq!(lock(&book, "a", &[0, 1], 1_000), [0, 1]);
        assert_eq!(lock(&book, "b", &[1, 2], 1_000), [2]);
        let locks = written(&book, 10_000);
        assert_eq!(locks.renewed_by_ms, 15_000);
        // A renewal after that moment would be in a later file.
        let again = LockBook::new(60_000);
        again.restore(locks.clone(), 70_000);
        assert_eq!(lock(&again, "b", &[0, 1, 2], 75_000), [2]);
        assert_eq!(lock(&again, "a", &[0], 75_000), [0]);
        assert_eq!(lock(&again, "b", &[0, 1, 2], 75_001), [1, 2]);
        // A start long after takes none; a clock that was set back makes none live longer.
        let late = LockBook::new(60_000);
        late.restore(locks.clone(), 75_001);
        assert_eq!(late.total(), 0);
        let early = LockBook::new(60_000);
        early.restore(locks, 500);
        assert!(lock(&early, "b", &[0], 60_500).is_empty());
        assert_eq!(lock(&early, "b", &[0], 60_501), [0]);
    }

    #[test]
    fn what_the_file_lacks_is_known() {
        let book = LockBook::new(60_000);
        assert!(!book.is_stale());
        lock(&book, "a", &[0], 0);
        assert!(book.is_behind());
        book.write(0, |_| false);
        assert!(book.is_behind(), "the file could not be written");
        written(&book, 0);
        assert!(!book.is_stale());
        lock(&book, "b", &[0], 1);
        assert!(!book.is_stale(), "b was refused");
        lock(&book, "a", &[0], 1);
        assert!(book.is_stale() && !book.is_behind(), "a renewal can wait");
        written(&book, 1);
        book.unlock("G", &"b".into(), &[queue(0)]);
        assert!(!book.is_stale());
        book.unlock("G", &"a".into(), &[queue(0)]);
        assert!(book.is_behind());
        assert_eq!(written(&book, 2).groups, []);
        assert!(!book.any_held("G", 2));
    }
}
