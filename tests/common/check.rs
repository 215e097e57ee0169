//! What a broker must still have: everything acknowledged at its place, nothing twice, queues
//! without holes, and log, queues and index in agreement. Seen through the wire only.

use super::load::{Report, identity_of, key_of};
use super::record::Record;
use super::remoting::Client;
use super::requests::{GET_MAX_OFFSET, GET_MIN_OFFSET, offset_of, pull_all, query_by_key, view};
use super::rng::Rng;
use super::{PATIENCE, eventually};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

/// What is known of a topic's content over several rounds of load and kills.
pub struct Ledger {
    pub topic: String,
    pub queues: i32,
    /// Per queue: who sent the message at this offset, for all that was checked so far.
    checked: Vec<Vec<(u32, u32)>>,
    seen: HashSet<(u32, u32)>,
    pub acked_total: usize,
}

/// A few figures for the test's output.
#[derive(Debug, Default)]
pub struct Checked {
    pub acked: usize,
    pub stored: usize,
    pub unknown: usize,
    pub refused: usize,
    pub keys_queried: usize,
}

impl Ledger {
    pub fn new(topic: &str, queues: i32) -> Ledger {
        Ledger {
            topic: topic.to_string(),
            queues,
            checked: vec![Vec::new(); queues as usize],
            seen: HashSet::new(),
            acked_total: 0,
        }
    }

    /// Checks everything stored since the last call against what the senders were told.
    pub fn check(&mut self, to: SocketAddr, reports: &[Report], rng: &mut Rng) -> Checked {
        let client = Client::connect(to).expect("connect for the check");
        for report in reports {
            assert!(
                report.stuck.is_empty(),
                "sender {} waits for answers on a living connection: {:?}",
                report.sender,
                report.stuck
            );
            rising(report);
        }
        let mut fresh = Vec::new();
        for queue_id in 0..self.queues {
            fresh.extend(self.read_queue(&client, queue_id));
        }
        self.find_acked(reports);
        self.tiles(&client, &mut fresh);
        let keys_queried = self.check_keys(&client, &fresh, rng);
        let acked: usize = reports.iter().map(|r| r.acked.len()).sum();
        self.acked_total += acked;
        Checked {
            acked,
            stored: fresh.len(),
            unknown: reports.iter().map(|r| r.unknown).sum(),
            refused: reports.iter().flat_map(|r| r.refused.values()).sum(),
            keys_queried,
        }
    }

    /// Who sent what was found so far, and its number.
    pub fn seen(&self) -> &HashSet<(u32, u32)> {
        &self.seen
    }

    /// Reads the rest of a queue: offsets without a hole, nobody's message twice.
    fn read_queue(&mut self, client: &Client, queue_id: i32) -> Vec<Record> {
        let known = &mut self.checked[queue_id as usize];
        let min = offset_of(client, GET_MIN_OFFSET, &self.topic, queue_id);
        assert_eq!(min, 0, "minimum offset of queue {queue_id}");
        let records = pull_all(client, &self.topic, queue_id, known.len() as i64);
        for record in &records {
            assert_eq!(record.topic, self.topic);
            assert_eq!(record.queue_id, queue_id);
            assert_eq!(
                record.queue_offset,
                known.len() as i64,
                "a hole in {queue_id}"
            );
            let who = identity_of(&record.body);
            assert!(self.seen.insert(who), "{who:?} is stored twice");
            known.push(who);
        }
        let max = offset_of(client, GET_MAX_OFFSET, &self.topic, queue_id);
        assert_eq!(known.len() as i64, max, "end of queue {queue_id}");
        records
    }

    /// Every acknowledged message is at the place that its sender was told.
    fn find_acked(&self, reports: &[Report]) {
        for report in reports {
            for ack in &report.acked {
                let queue = &self.checked[ack.queue_id as usize];
                let there = usize::try_from(ack.queue_offset)
                    .ok()
                    .and_then(|at| queue.get(at));
                assert_eq!(
                    there,
                    Some(&(report.sender, ack.number)),
                    "acknowledged message of sender {} lost: {ack:?} (queue ends at {})",
                    report.sender,
                    queue.len()
                );
            }
        }
    }

    /// Log against queues: the pulled records lie one behind the other in the log. Where they do
    /// not, the log has no record of this topic there (a blank at a segment's end, other topics).
    fn tiles(&self, client: &Client, fresh: &mut [Record]) {
        fresh.sort_by_key(|record| record.physical_offset);
        for pair in fresh.windows(2) {
            let mut at = pair[0].physical_offset + i64::from(pair[0].size);
            let next = pair[1].physical_offset;
            assert!(
                at <= next,
                "two queue entries share bytes of the log at {at}"
            );
            while at < next {
                match view(client, at) {
                    Some(foreign) => {
                        assert_ne!(
                            foreign.topic, self.topic,
                            "in the log but in no queue: {at}"
                        );
                        at += i64::from(foreign.size);
                    }
                    None => break, // the blank at the end of a segment
                }
            }
        }
    }

    /// Index against log: keys of a random choice, and of all of the last messages, are found once.
    fn check_keys(&self, client: &Client, fresh: &[Record], rng: &mut Rng) -> usize {
        const LAST: usize = 200;
        const CHOSEN: u64 = 300;
        let tail = fresh.len().saturating_sub(LAST);
        let mut wanted: Vec<&Record> = fresh[tail..].iter().collect();
        if tail > 0 {
            wanted.extend((0..CHOSEN).map(|_| &fresh[rng.between(0, tail as u64) as usize]));
        }
        let begun = Instant::now();
        for record in &wanted {
            let (sender, number) = identity_of(&record.body);
            let key = key_of(sender, number);
            // The index follows the log; it must get there.
            let found = eventually(&format!("index entry of {key}"), || {
                let mut found = query_by_key(client, &self.topic, &key);
                // The index knows hashes, not keys: a client drops what only has the same hash
                // (`MQAdminImpl.queryMessage`). Of millions of keys some do.
                found.retain(|record| identity_of(&record.body) == (sender, number));
                (!found.is_empty()).then_some(found)
            });
            assert!(begun.elapsed() < 4 * PATIENCE, "the index is far behind");
            assert_eq!(
                found.len(),
                1,
                "{key} is in the index {} times",
                found.len()
            );
            assert_eq!(found[0].physical_offset, record.physical_offset, "{key}");
        }
        wanted.len()
    }

    /// Reads all queues once more from the beginning: nothing that was there has changed.
    pub fn check_all_again(&self, to: SocketAddr) {
        let client = Client::connect(to).expect("connect for the last check");
        for queue_id in 0..self.queues {
            let records = pull_all(&client, &self.topic, queue_id, 0);
            let now: Vec<(u32, u32)> = records.iter().map(|r| identity_of(&r.body)).collect();
            assert_eq!(now.len(), self.checked[queue_id as usize].len());
            assert!(
                now == self.checked[queue_id as usize],
                "queue {queue_id} changed"
            );
        }
    }
}

/// Per sender and queue, acknowledged numbers and offsets rise together.
fn rising(report: &Report) {
    let mut by_queue: HashMap<i32, Vec<(u32, i64)>> = HashMap::new();
    for ack in &report.acked {
        let list = by_queue.entry(ack.queue_id).or_default();
        list.push((ack.number, ack.queue_offset));
    }
    for (queue_id, mut list) in by_queue {
        list.sort_unstable();
        for pair in list.windows(2) {
            assert!(
                pair[0].1 < pair[1].1,
                "sender {} in queue {queue_id}: {:?} then {:?}",
                report.sender,
                pair[0],
                pair[1]
            );
        }
    }
}
