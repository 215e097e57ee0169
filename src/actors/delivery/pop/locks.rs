//! Who pops a queue right now (`PopMessageProcessor.QueueLockManager`).
//!
//! A group's offset in a queue moves under this lock alone. Pops try it and pass over queues that
//! others hold; acknowledgements of ordered messages wait for it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use crate::{actors::kernel::lock, hash::HashMap, protocol::Str};

/// A queue as one group pops it: topic, group, queue.
pub type LockKey = (Str, Str, i32);

type Waiters = VecDeque<oneshot::Sender<QueueLock>>;

/// The locks of one shard of pops; a restarted shard begins without any.
#[derive(Clone, Default)]
pub struct Locks(Arc<Mutex<HashMap<LockKey, Waiters>>>);

/// Holds one queue until it is dropped.
pub struct QueueLock {
    locks: Locks,
    key: LockKey,
}

impl Locks {
    /// Takes the lock if nobody holds it.
    pub fn try_lock(&self, key: &LockKey) -> Option<QueueLock> {
        let mut held = lock(&self.0);
        if held.contains_key(key) {
            return None;
        }
        held.insert(key.clone(), Waiters::new());
        Some(self.held(key))
    }

    /// Takes the lock when those before have given it back.
    pub async fn lock(&self, key: &LockKey) -> QueueLock {
        loop {
            let given = {
                let mut held = lock(&self.0);
                let Some(waiters) = held.get_mut(key) else {
                    held.insert(key.clone(), Waiters::new());
                    return self.held(key);
                };
                let (next, given) = oneshot::channel();
                waiters.push_back(next);
                given
            };
            if let Ok(lock) = given.await {
                return lock;
            }
        }
    }

    /// Whether somebody holds the lock.
    pub fn is_locked(&self, key: &LockKey) -> bool {
        lock(&self.0).contains_key(key)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn held(&self, key: &LockKey) -> QueueLock {
        QueueLock {
            locks: self.clone(),
            key: key.clone(),
        }
    }
}

impl std::fmt::Debug for QueueLock {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (topic, group, queue) = &self.key;
        write!(out, "QueueLock({topic}@{group}@{queue})")
    }
}

impl Drop for QueueLock {
    fn drop(&mut self) {
        let next = {
            let mut held = lock(&self.locks.0);
            let next = held.get_mut(&self.key).and_then(Waiters::pop_front);
            if next.is_none() {
                held.remove(&self.key);
            }
            next
        };
        if let Some(next) = next {
            // One who has gone meanwhile gives it back here, to the next in the row.
            drop(next.send(self.locks.held(&self.key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(queue: i32) -> LockKey {
        ("t".into(), "g".into(), queue)
    }

    #[tokio::test]
    async fn the_next_in_the_row_gets_it() {
        let locks = Locks::default();
        let first = locks.try_lock(&key(0)).expect("free");
        assert!(locks.try_lock(&key(0)).is_none() && locks.try_lock(&key(1)).is_some());
        let first_key = key(0);
        let gone = locks.lock(&first_key);
        let own = locks.clone();
        let waits = tokio::spawn(async move { own.lock(&key(0)).await });
        {
            // Waits for a moment and goes away.
            tokio::pin!(gone);
            assert!(futures_util::poll!(&mut gone).is_pending());
        }
        tokio::task::yield_now().await;
        drop(first);
        let second = waits.await.expect("locked");
        assert!(locks.is_locked(&key(0)));
        drop(second);
        assert!(locks.is_empty());
    }
}
