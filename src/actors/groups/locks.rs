//! Queue locks of one group, for orderly consumption (`RebalanceLockManager`).
//!
//! A client owns a queue for 60 s after it last said so (`rebalanceLockLifeMs`); it asks again every
//! 20 s and gives up by itself after 30 s without an answer.

use std::collections::HashMap;

use crate::protocol::Str;

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

    /// Locks or renews a queue for a client; false while another one holds it.
    pub fn lock(&mut self, key: &LockKey, client_id: &Str, now_ms: u64) -> bool {
        let full = self.locks.len() >= LOCKS_MAX;
        let life_ms = self.life_ms;
        match self.locks.get_mut(key) {
            Some(lock) if lock.client_id == *client_id || lock.is_expired(now_ms, life_ms) => {
                if lock.client_id != *client_id {
                    lock.client_id = client_id.clone();
                }
                lock.renewed_ms = now_ms;
                true
            }
            Some(_) => false,
            None if full => false,
            None => {
                let lock = Lock {
                    client_id: client_id.clone(),
                    renewed_ms: now_ms,
                };
                self.locks.insert(key.clone(), lock);
                true
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
}

impl Lock {
    fn is_expired(&self, now_ms: u64, life_ms: u64) -> bool {
        now_ms.saturating_sub(self.renewed_ms) > life_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_renewed_by_its_holder_and_expires() {
        let mut locks = LockTable::new(60_000);
        let key = LockKey {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id: 1,
        };
        let (a, b): (Str, Str) = ("a".into(), "b".into());
        assert!(locks.lock(&key, &a, 0));
        assert!(!locks.lock(&key, &b, 60_000));
        assert!(locks.lock(&key, &a, 60_000));
        assert_eq!(locks.holder(&key, 120_000), Some(&a));
        assert!(locks.lock(&key, &b, 120_001));
        assert!(!locks.unlock(&key, &a) && locks.unlock(&key, &b));
        assert!(locks.lock(&key, &a, 120_001));
        assert_eq!(locks.expire(180_002), 0);
        assert_eq!(locks.holder(&key, 180_002), None);
    }
}
