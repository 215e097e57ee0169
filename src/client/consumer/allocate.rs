//! Which queues of a topic belong to which consumer of a group: RocketMQ's allocation strategies.
//!
//! Every member of a group computes this for itself from the same two sorted lists, so a strategy
//! has to give exactly what the Java class of the same name gives: a queue that two members count
//! as theirs is consumed twice, one that nobody counts is consumed by none.

use std::collections::BTreeMap;
use std::fmt::Debug;

use md5::{Digest, Md5};

use crate::client::MessageQueue;

/// Virtual nodes per consumer on the ring, as in Java.
const RING_REPLICAS: usize = 10;

/// Divides the queues of a topic among the consumers of a group.
pub trait AllocateStrategy: Send + Sync + Debug + 'static {
    /// Name shown by tools; consumers of one group should agree on it.
    fn name(&self) -> &'static str;

    /// The queues of `client_id`. Both lists are sorted; a client that is not in `clients` gets
    /// nothing.
    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue>;
}

/// Neighbouring queues in equal shares (`AVG`), the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Averagely;

impl AllocateStrategy for Averagely {
    fn name(&self) -> &'static str {
        "AVG"
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let Some(index) = clients.iter().position(|client| client == client_id) else {
            return Vec::new();
        };
        let share = queues.len() / clients.len();
        let rest = queues.len() % clients.len();
        // The first `rest` consumers take one queue more.
        let len = share + usize::from(index < rest);
        let begin = index * share + index.min(rest);
        queues.iter().skip(begin).take(len).cloned().collect()
    }
}

/// Every n-th queue (`AVG_BY_CIRCLE`).
#[derive(Debug, Clone, Copy, Default)]
pub struct AveragelyByCircle;

impl AllocateStrategy for AveragelyByCircle {
    fn name(&self) -> &'static str {
        "AVG_BY_CIRCLE"
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let Some(index) = clients.iter().position(|client| client == client_id) else {
            return Vec::new();
        };
        queues
            .iter()
            .skip(index)
            .step_by(clients.len())
            .cloned()
            .collect()
    }
}

/// Queues and consumers on one hash ring (`CONSISTENT_HASH`): few queues move when a consumer
/// comes or goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConsistentHash;

impl AllocateStrategy for ConsistentHash {
    fn name(&self) -> &'static str {
        "CONSISTENT_HASH"
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let mut ring: BTreeMap<i64, &str> = BTreeMap::new();
        for client in clients {
            for replica in 0..RING_REPLICAS {
                ring.insert(ring_hash(&format!("{client}-{replica}")), client);
            }
        }
        let owner = |queue: &MessageQueue| {
            let name = format!(
                "MessageQueue [topic={}, brokerName={}, queueId={}]",
                queue.topic, queue.broker_name, queue.queue_id
            );
            let after = ring.range(ring_hash(&name)..).next();
            after
                .or_else(|| ring.iter().next())
                .map(|(_, client)| *client)
        };
        queues
            .iter()
            .filter(|queue| owner(queue) == Some(client_id))
            .cloned()
            .collect()
    }
}

/// First four bytes of the MD5 as an unsigned number, Java's default ring function: the other members
/// of a group may be Java clients.
fn ring_hash(key: &str) -> i64 {
    let [a, b, c, d, ..]: [u8; 16] = Md5::digest(key.as_bytes()).into();
    i64::from(u32::from_be_bytes([a, b, c, d]))
}

/// A fixed list for this consumer (`CONFIG`).
#[derive(Debug, Clone, Default)]
pub struct ByConfig {
    /// The queues; those that the topic does not have are asked for all the same, as in Java.
    pub queues: Vec<MessageQueue>,
}

impl AllocateStrategy for ByConfig {
    fn name(&self) -> &'static str {
        "CONFIG"
    }

    fn allocate(&self, _: &str, _: &[MessageQueue], _: &[String]) -> Vec<MessageQueue> {
        self.queues.clone()
    }
}

/// Equal shares of the queues on brokers named `room@broker` whose room is in the list
/// (`MACHINE_ROOM`).
#[derive(Debug, Clone, Default)]
pub struct ByMachineRoom {
    /// Rooms this group consumes from.
    pub rooms: Vec<String>,
}

impl AllocateStrategy for ByMachineRoom {
    fn name(&self) -> &'static str {
        "MACHINE_ROOM"
    }

    fn allocate(
        &self,
        client_id: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Vec<MessageQueue> {
        let Some(index) = clients.iter().position(|client| client == client_id) else {
            return Vec::new();
        };
        let ours: Vec<&MessageQueue> = queues
            .iter()
            .filter(|queue| {
                let name: &str = &queue.broker_name;
                let mut parts = name.split('@');
                let room = parts.next().unwrap_or_default();
                parts.next().is_some()
                    && parts.next().is_none()
                    && self.rooms.iter().any(|known| known == room)
            })
            .collect();
        let share = ours.len() / clients.len();
        let rest = ours.len() % clients.len();
        let mut mine: Vec<MessageQueue> = ours
            .iter()
            .skip(index * share)
            .take(share)
            .map(|queue| (*queue).clone())
            .collect();
        if index < rest
            && let Some(extra) = ours.get(index + share * clients.len())
        {
            mine.push((*extra).clone());
        }
        mine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(n: i32) -> Vec<MessageQueue> {
        (0..n)
            .map(|id| MessageQueue::new("T", "broker-a", id))
            .collect()
    }

    fn clients(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("10.0.0.{i}@1")).collect()
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn averagely_gives_neighbours_and_the_rest_to_the_first() {
        let (queues, clients) = (queues(8), clients(3));
        let of = |i: usize| ids(&Averagely.allocate(&clients[i], &queues, &clients));
        assert_eq!(
            [of(0), of(1), of(2)],
            [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]
        );
        assert!(Averagely.allocate("stranger", &queues, &clients).is_empty());
    }

    #[test]
    fn more_consumers_than_queues_leaves_some_idle() {
        let (queues, clients) = (queues(2), clients(3));
        let of = |i: usize| ids(&Averagely.allocate(&clients[i], &queues, &clients));
        assert_eq!([of(0), of(1), of(2)], [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn by_circle_steps() {
        let (queues, clients) = (queues(5), clients(2));
        assert_eq!(
            ids(&AveragelyByCircle.allocate(&clients[1], &queues, &clients)),
            [1, 3]
        );
    }

    #[test]
    fn the_ring_hashes_with_the_first_four_bytes_of_md5() {
        // Digests of RFC 1321, A.5.
        assert_eq!(ring_hash(""), 0xd41d_8cd9);
        assert_eq!(ring_hash("message digest"), 0xf96b_697d);
    }

    #[test]
    fn every_strategy_gives_each_queue_to_exactly_one() {
        let strategies: [&dyn AllocateStrategy; 3] =
            [&Averagely, &AveragelyByCircle, &ConsistentHash];
        for strategy in strategies {
            for n in 1..9 {
                for m in 0..17 {
                    let (queues, clients) = (queues(m), clients(n));
                    let mut all: Vec<i32> = clients
                        .iter()
                        .flat_map(|client| ids(&strategy.allocate(client, &queues, &clients)))
                        .collect();
                    all.sort_unstable();
                    assert_eq!(
                        all,
                        (0..m).collect::<Vec<_>>(),
                        "{} {n} {m}",
                        strategy.name()
                    );
                }
            }
        }
    }

    #[test]
    fn machine_rooms_are_told_by_the_broker_name() {
        let queues: Vec<_> = ["r1@b", "r2@b", "plain"]
            .iter()
            .flat_map(|broker| (0..3).map(move |id| MessageQueue::new("T", broker, id)))
            .collect();
        let strategy = ByMachineRoom {
            rooms: vec!["r1".into()],
        };
        let clients = clients(2);
        let first = strategy.allocate(&clients[0], &queues, &clients);
        let second = strategy.allocate(&clients[1], &queues, &clients);
        assert_eq!(ids(&first), [0, 2]);
        assert_eq!(ids(&second), [1]);
        assert!(first.iter().all(|queue| queue.broker_name == "r1@b"));
    }
}
