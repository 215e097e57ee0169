//! Permits: the bounds of the work inside, taken at the edge.
//!
//! A permit is taken when a request is decoded, travels in the message, and is given back when
//! the answer has been written to the socket or the message is dropped. Mailboxes inside are
//! unbounded; these budgets are what bounds them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Relaxed},
};

use serde::Serialize;

/// What kind of work a permit stands for. A class never waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PermitClass {
    /// Messages on their way into the log, by count and bytes.
    Sends,
    /// Heartbeats, offsets, locks, administration: never behind sends.
    Control,
    /// Pulls that wait for a next message.
    HeldPulls,
    /// Appends of the broker itself: retry, delay, revive, half messages.
    Internal,
    /// Large frames that are still arriving, by bytes.
    Inbound,
}

impl PermitClass {
    /// Every class, in the order of the budgets.
    pub const ALL: [PermitClass; 5] = [
        PermitClass::Sends,
        PermitClass::Control,
        PermitClass::HeldPulls,
        PermitClass::Internal,
        PermitClass::Inbound,
    ];

    /// The name in metrics and in the tree.
    pub fn name(self) -> &'static str {
        match self {
            PermitClass::Sends => "sends",
            PermitClass::Control => "control",
            PermitClass::HeldPulls => "held_pulls",
            PermitClass::Internal => "internal",
            PermitClass::Inbound => "inbound",
        }
    }
}

/// The most that one class may have out at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitLimit {
    /// Requests.
    pub count_max: usize,
    /// Bytes.
    pub bytes_max: usize,
}

impl PermitLimit {
    /// A limit that is never reached.
    pub const NONE: PermitLimit = PermitLimit {
        count_max: usize::MAX,
        bytes_max: usize::MAX,
    };

    /// A limit on the count alone.
    pub fn count(count_max: usize) -> Self {
        PermitLimit {
            count_max,
            bytes_max: usize::MAX,
        }
    }
}

struct Budget {
    limit: PermitLimit,
    count: AtomicUsize,
    bytes: AtomicUsize,
    refused: AtomicU64,
    count_peak: AtomicUsize,
    bytes_peak: AtomicUsize,
}

/// One class at one moment, for metrics and the tree.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PermitUsage {
    /// The class.
    pub class: PermitClass,
    /// Requests out.
    pub count: usize,
    /// Bytes out.
    pub bytes: usize,
    /// The most requests ever out at a time.
    pub count_peak: usize,
    /// The most bytes ever out at a time.
    pub bytes_peak: usize,
    /// Requests refused.
    pub refused: u64,
}

/// The budgets of a broker or a NameServer. Cloning it is one reference count.
#[derive(Clone)]
pub struct Permits(Arc<[Budget; 5]>);

impl fmt::Debug for Permits {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list()
            .entries(PermitClass::ALL.iter().map(|&class| self.usage(class)))
            .finish()
    }
}

impl Permits {
    /// Budgets with these limits; a class that is not named has none.
    pub fn new(limits: &[(PermitClass, PermitLimit)]) -> Self {
        Permits(Arc::new(PermitClass::ALL.map(|class| {
            let named = limits.iter().find(|(named, _)| *named == class);
            Budget {
                limit: named.map_or(PermitLimit::NONE, |(_, limit)| *limit),
                count: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                refused: AtomicU64::new(0),
                count_peak: AtomicUsize::new(0),
                bytes_peak: AtomicUsize::new(0),
            }
        })))
    }

    /// Takes a permit if the budget allows it. Never blocks, never waits.
    ///
    /// A request larger than the whole budget of bytes is never let in: limits are above the
    /// largest frame.
    pub fn try_acquire(&self, class: PermitClass, count: usize, bytes: usize) -> Option<Permit> {
        let budget = self.budget(class);
        if !take(
            &budget.count,
            count,
            budget.limit.count_max,
            &budget.count_peak,
        ) {
            budget.refused.fetch_add(1, Relaxed);
            return None;
        }
        if !take(
            &budget.bytes,
            bytes,
            budget.limit.bytes_max,
            &budget.bytes_peak,
        ) {
            budget.count.fetch_sub(count, AcqRel);
            budget.refused.fetch_add(1, Relaxed);
            return None;
        }
        Some(Permit {
            permits: self.clone(),
            class,
            count,
            bytes,
        })
    }

    /// What a class has out now.
    pub fn usage(&self, class: PermitClass) -> PermitUsage {
        let budget = self.budget(class);
        PermitUsage {
            class,
            count: budget.count.load(Relaxed),
            bytes: budget.bytes.load(Relaxed),
            count_peak: budget.count_peak.load(Relaxed),
            bytes_peak: budget.bytes_peak.load(Relaxed),
            refused: budget.refused.load(Relaxed),
        }
    }

    /// The limit of a class.
    pub fn limit(&self, class: PermitClass) -> PermitLimit {
        self.budget(class).limit
    }

    fn budget(&self, class: PermitClass) -> &Budget {
        // `ALL` has the order of the declaration, so the discriminant is the index.
        &self.0[class as usize]
    }
}

/// Adds within a maximum, or not at all.
fn take(used: &AtomicUsize, wanted: usize, max: usize, peak: &AtomicUsize) -> bool {
    let before = used.fetch_add(wanted, AcqRel);
    let after = before.saturating_add(wanted);
    if after > max {
        used.fetch_sub(wanted, AcqRel);
        return false;
    }
    if after > peak.load(Relaxed) {
        peak.fetch_max(after, Relaxed);
    }
    true
}

/// A share of a budget, given back when dropped.
#[must_use = "a dropped permit is given back at once"]
pub struct Permit {
    permits: Permits,
    class: PermitClass,
    count: usize,
    bytes: usize,
}

impl fmt::Debug for Permit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Permit({} count={} bytes={})",
            self.class.name(),
            self.count,
            self.bytes
        )
    }
}

impl Permit {
    /// The class it counts for.
    pub fn class(&self) -> PermitClass {
        self.class
    }

    /// Requests it stands for.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes it stands for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Cuts a part off: one permit per answer of a batch. At most what this one holds.
    pub fn split(&mut self, count: usize, bytes: usize) -> Permit {
        let count = count.min(self.count);
        let bytes = bytes.min(self.bytes);
        self.count -= count;
        self.bytes -= bytes;
        Permit {
            permits: self.permits.clone(),
            class: self.class,
            count,
            bytes,
        }
    }

    /// Takes another permit in, if it is of the same class and the same budgets.
    ///
    /// # Errors
    /// Gives the other one back if it is not.
    pub fn merge(&mut self, mut other: Permit) -> Result<(), Permit> {
        if other.class != self.class || !Arc::ptr_eq(&self.permits.0, &other.permits.0) {
            return Err(other);
        }
        self.count += std::mem::take(&mut other.count);
        self.bytes += std::mem::take(&mut other.bytes);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let budget = self.permits.budget(self.class);
        if self.count > 0 {
            budget.count.fetch_sub(self.count, AcqRel);
        }
        if self.bytes > 0 {
            budget.bytes.fetch_sub(self.bytes, AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits() -> Permits {
        let limit = PermitLimit {
            count_max: 3,
            bytes_max: 100,
        };
        Permits::new(&[(PermitClass::Sends, limit)])
    }

    #[test]
    fn count_and_bytes_both_bound() {
        let permits = permits();
        let first = permits.try_acquire(PermitClass::Sends, 1, 90).unwrap();
        assert!(permits.try_acquire(PermitClass::Sends, 1, 11).is_none());
        assert_eq!(permits.usage(PermitClass::Sends).count, 1);
        let rest = permits.try_acquire(PermitClass::Sends, 2, 10).unwrap();
        assert!(permits.try_acquire(PermitClass::Sends, 1, 0).is_none());
        drop((first, rest));
        let usage = permits.usage(PermitClass::Sends);
        assert_eq!((usage.count, usage.bytes, usage.refused), (0, 0, 2));
        assert_eq!((usage.count_peak, usage.bytes_peak), (3, 100));
    }

    #[test]
    fn classes_do_not_wait_for_each_other() {
        let permits = permits();
        let _sends = permits.try_acquire(PermitClass::Sends, 3, 0).unwrap();
        assert!(permits.try_acquire(PermitClass::Sends, 1, 0).is_none());
        assert!(
            permits
                .try_acquire(PermitClass::Control, 1_000, 1 << 40)
                .is_some()
        );
    }

    #[test]
    fn parts_sum_up() {
        let permits = permits();
        let mut whole = permits.try_acquire(PermitClass::Sends, 3, 60).unwrap();
        let part = whole.split(1, 20);
        assert_eq!(
            (whole.count(), whole.bytes(), part.count(), part.bytes()),
            (2, 40, 1, 20)
        );
        drop(part);
        assert_eq!(permits.usage(PermitClass::Sends).bytes, 40);
        let other = permits.try_acquire(PermitClass::Sends, 1, 5).unwrap();
        whole.merge(other).unwrap();
        assert!(
            whole
                .merge(permits.try_acquire(PermitClass::Control, 1, 0).unwrap())
                .is_err()
        );
        drop(whole);
        assert_eq!(permits.usage(PermitClass::Sends).count, 0);
    }
}
