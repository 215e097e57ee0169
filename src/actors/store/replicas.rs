//! The slaves that copy this log, as their replicators publish them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

/// One connection of a slave.
#[derive(Debug)]
pub struct Replica {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it holds for certain: bytes below this were sent on this connection and acknowledged.
    acked: AtomicI64,
    /// What it says that it holds.
    reported: AtomicI64,
    /// The next byte to be sent; -1 before its first report.
    next: AtomicI64,
    /// A newer connection came from the same address and nothing was heard on this one since: it may
    /// be the same slave, and one copy must not count twice.
    doubted: AtomicBool,
    sent_bytes: AtomicU64,
    bytes_per_second: AtomicU64,
    moved: Notify,
}

impl Replica {
    fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            acked: AtomicI64::new(0),
            reported: AtomicI64::new(-1),
            next: AtomicI64::new(-1),
            doubted: AtomicBool::new(false),
            sent_bytes: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            moved: Notify::new(),
        }
    }

    /// What it holds for certain.
    pub fn acked(&self) -> i64 {
        self.acked.load(Acquire)
    }

    /// What it said last that it holds; -1 before its first report.
    pub fn reported(&self) -> i64 {
        self.reported.load(Acquire)
    }

    /// The next byte that it is sent; -1 before its first report.
    pub fn next(&self) -> i64 {
        self.next.load(Acquire)
    }

    /// Publishes the next byte to be sent, before the bytes below it leave: an acknowledgement of
    /// them may come at once.
    pub fn set_next(&self, next: i64) {
        self.next.store(next, Release);
    }

    /// Counts bytes that were written to the socket.
    pub fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Bytes written to the socket so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Relaxed)
    }

    /// Bytes that were sent in the last second.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second.load(Relaxed)
    }

    /// Publishes the bytes of the last second.
    pub fn set_bytes_per_second(&self, bytes: u64) {
        self.bytes_per_second.store(bytes, Relaxed);
    }

    /// Comes back when the log moved since the last call, or does.
    pub async fn log_moved(&self) {
        self.moved.notified().await;
    }
}

#[derive(Debug)]
struct Shared {
    slaves: ArcSwap<Vec<Arc<Replica>>>,
    /// The highest position that ever was held by as many slaves as are asked for: a copy does not
    /// vanish with its connection.
    held: AtomicI64,
}

/// All slaves of this broker. Cloning it is one reference count.
#[derive(Debug, Clone)]
pub struct Replicas(Arc<Shared>);

impl Replicas {
    /// No slaves yet; `held` is what counts as copied nevertheless.
    pub fn new(held: i64) -> Self {
        Self(Arc::new(Shared {
            slaves: ArcSwap::default(),
            held: AtomicI64::new(held),
        }))
    }

    /// The slaves that are connected.
    pub fn all(&self) -> Arc<Vec<Arc<Replica>>> {
        self.0.slaves.load_full()
    }

    /// A slave connected.
    pub fn join(&self, peer: SocketAddr) -> Arc<Replica> {
        let replica = Arc::new(Replica::new(peer));
        self.0.slaves.rcu(|slaves| {
            let mut more = Vec::clone(slaves);
            more.push(Arc::clone(&replica));
            more
        });
        for other in self.0.slaves.load().iter() {
            if other.peer.ip() == peer.ip() && !Arc::ptr_eq(other, &replica) {
                other.doubted.store(true, Release);
            }
        }
        replica
    }

    /// A slave's connection is gone.
    pub fn leave(&self, replica: &Arc<Replica>) {
        self.0.slaves.rcu(|slaves| {
            let others = slaves.iter().filter(|other| !Arc::ptr_eq(other, replica));
            others.cloned().collect::<Vec<_>>()
        });
    }

    /// Takes a report; returns whether what it holds for certain has grown. Only what was sent on its
    /// connection counts, whatever it says.
    pub fn reported(&self, replica: &Replica, offset: i64, slaves_needed: usize) -> bool {
        replica.doubted.store(false, Release);
        let first = replica.reported.swap(offset, AcqRel) < 0;
        let sent = replica.next();
        if first || sent < 0 {
            return false;
        }
        let grew = replica.acked.fetch_max(offset.min(sent), AcqRel) < offset.min(sent);
        if grew {
            self.held_by(slaves_needed);
        }
        grew
    }

    /// The highest position that at least so many slaves hold, or held.
    pub fn held_by(&self, slaves_needed: usize) -> i64 {
        let Some(last) = slaves_needed.checked_sub(1) else {
            return i64::MAX;
        };
        let slaves = self.0.slaves.load();
        let counted = slaves.iter().filter(|slave| !slave.doubted.load(Acquire));
        let mut held: smallvec::SmallVec<[i64; 8]> = counted.map(|slave| slave.acked()).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let now = held.get(last).copied().unwrap_or(0);
        self.0.held.fetch_max(now, AcqRel).max(now)
    }

    /// There is more to send.
    pub fn wake(&self) {
        for slave in self.0.slaves.load().iter() {
            slave.moved.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn only_what_was_sent_counts() {
        let replicas = Replicas::new(7);
        let slave = replicas.join(peer(1));
        assert!(!replicas.reported(&slave, 100, 1), "it only asks");
        assert_eq!(replicas.held_by(1), 7);
        slave.set_next(150);
        assert!(replicas.reported(&slave, 120, 1));
        assert_eq!(replicas.held_by(1), 120);
        assert!(replicas.reported(&slave, 900, 1));
        assert_eq!((slave.acked(), slave.reported()), (150, 900));
        assert!(!replicas.reported(&slave, 150, 1));
        assert_eq!(replicas.held_by(2), 150, "what was held once stays held");
        replicas.leave(&slave);
        assert_eq!(replicas.held_by(1), 150);
        assert!(replicas.all().is_empty());
        assert_eq!(replicas.held_by(0), i64::MAX);
    }

    #[test]
    fn a_slave_that_comes_twice_counts_once() {
        let replicas = Replicas::new(0);
        let ack = |slave: &Arc<Replica>, offset| {
            replicas.reported(slave, 0, 2);
            slave.set_next(offset);
            replicas.reported(slave, offset, 2);
        };
        let old = replicas.join(peer(1));
        ack(&old, 100);
        let new = replicas.join(peer(2));
        ack(&new, 100);
        assert_eq!(replicas.held_by(2), 0, "the old connection may be a ghost");
        replicas.reported(&old, 100, 2);
        assert_eq!(replicas.held_by(2), 100, "it lives: there are two");
    }
}
