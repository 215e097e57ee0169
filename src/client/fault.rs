//! Which brokers a producer avoids for a while: RocketMQ's MQFaultStrategy.
//!
//! Each send reports how long it took. A slow broker is left out for a time that the table below
//! gives; a failed send counts as ten seconds and marks the broker unreachable.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::client::lock;

/// `(latency from, time left out)` in ms, RocketMQ's `latencyMax` and `notAvailableDuration`.
const TABLE_MS: [(u64, u64); 7] = [
    (50, 0),
    (100, 0),
    (550, 2_000),
    (1_800, 5_000),
    (3_000, 6_000),
    (5_000, 10_000),
    (15_000, 30_000),
];
/// Latency that a failed send counts as.
const FAILURE_LATENCY: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
struct Fault {
    not_before: Instant,
    reachable: bool,
}

/// What the sends so far told about each broker.
#[derive(Debug, Default)]
pub struct FaultTable {
    faults: Mutex<HashMap<String, Fault>>,
}

/// How a send to a broker went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// Answered, whatever the code, after this time.
    Answered(Duration),
    /// Refused by the broker for a reason that another broker may not have.
    Refused,
    /// Not reached, or no answer.
    Unreachable,
}

impl FaultTable {
    /// Takes the outcome of one send into account.
    pub fn report(&self, broker: &str, outcome: SendOutcome, now: Instant) {
        let (latency, reachable) = match outcome {
            SendOutcome::Answered(latency) => (latency, true),
            SendOutcome::Refused => (FAILURE_LATENCY, true),
            SendOutcome::Unreachable => (FAILURE_LATENCY, false),
        };
        let left_out = left_out(latency);
        let mut faults = lock(&self.faults);
        if left_out.is_zero() && reachable {
            faults.remove(broker);
            return;
        }
        faults.insert(
            broker.to_owned(),
            Fault {
                not_before: now + left_out,
                reachable,
            },
        );
    }

    /// Whether the broker is not left out at the moment.
    pub fn is_available(&self, broker: &str, now: Instant) -> bool {
        lock(&self.faults)
            .get(broker)
            .is_none_or(|fault| now >= fault.not_before)
    }

    /// Whether the last send to the broker got an answer.
    pub fn is_reachable(&self, broker: &str) -> bool {
        lock(&self.faults)
            .get(broker)
            .is_none_or(|fault| fault.reachable)
    }
}

fn left_out(latency: Duration) -> Duration {
    let ms = latency.as_millis() as u64;
    let found = TABLE_MS.iter().rev().find(|(from, _)| ms >= *from);
    Duration::from_millis(found.map_or(0, |(_, time)| *time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_rocketmqs() {
        let ms = Duration::from_millis;
        assert_eq!(left_out(ms(10)), ms(0));
        assert_eq!(left_out(ms(549)), ms(0));
        assert_eq!(left_out(ms(550)), ms(2_000));
        assert_eq!(left_out(ms(60_000)), ms(30_000));
    }

    #[test]
    fn a_failed_broker_is_left_out_and_comes_back() {
        let table = FaultTable::default();
        let now = Instant::now();
        table.report("a", SendOutcome::Unreachable, now);
        assert!(!table.is_available("a", now));
        assert!(!table.is_reachable("a"));
        assert!(table.is_available("a", now + Duration::from_secs(10)));
        table.report("a", SendOutcome::Answered(Duration::from_millis(3)), now);
        assert!(table.is_available("a", now) && table.is_reachable("a"));
        assert!(table.is_available("unknown", now));
    }
}
