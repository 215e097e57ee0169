//! Producers under load, whose transactions end as their keys say, and the check of what came of them.

use crate::common::remoting::Client;
use crate::common::requests::{self, pull_all};
use crate::common::{PATIENCE, eventually};
use crate::producer::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub const GROUP: &str = "tx_load";
pub const QUEUES: i32 = 4;

/// A third is committed, a third rolled back, and a third left to the check-back, which commits or
/// rolls back one half of them each.
const ENDS: [&str; 6] = ["c", "r", "sc", "c", "r", "sr"];

/// What the producer of a transaction says when it is asked.
fn outcome_of(key: &str) -> Outcome {
    if key.ends_with('c') {
        Outcome::Commit
    } else {
        Outcome::Rollback
    }
}

/// Says something of its own accord.
fn speaks(key: &str) -> bool {
    !key.contains('s')
}

/// What is known of all transactions so far.
#[derive(Default)]
pub struct Book {
    /// Acknowledged half messages.
    halves: Mutex<BTreeSet<String>>,
    /// Ends that were acknowledged.
    pub ended: AtomicU64,
    /// Ends without an answer, or with "outcome unknown".
    pub unknown: AtomicU64,
    /// Questions that were answered.
    pub asked: AtomicU64,
}

impl Book {
    pub fn halves(&self) -> usize {
        self.halves.lock().expect("book").len()
    }
}

/// Producers that send until they are stopped or their connection ends.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(to: SocketAddr, book: &Arc<Book>, name: &str, producers: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..producers)
            .map(|number| {
                let (stop, book) = (stop.clone(), book.clone());
                let name = format!("{name}-{number}");
                std::thread::spawn(move || produce(to, &book, &name, &stop))
            })
            .collect();
        Load { stop, threads }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("a producer");
        }
    }
}

fn produce(to: SocketAddr, book: &Book, name: &str, stop: &AtomicBool) {
    let Ok(producer) = Producer::connect(to, GROUP) else {
        return;
    };
    let checks = producer.checks();
    for (number, end) in (0..).zip(ENDS.into_iter().cycle()) {
        if stop.load(Ordering::Acquire) || producer.client.is_closed() {
            return;
        }
        answer_checks(&producer, &checks, book);
        let key = format!("{name}-{number}-{end}");
        let Ok(answer) = producer.try_half(&key, number % QUEUES, "") else {
            return;
        };
        if answer.code != 0 {
            continue;
        }
        book.halves.lock().expect("book").insert(key.clone());
        if speaks(&key) {
            say(&producer, &half_of(&answer), outcome_of(&key), book);
        }
    }
}

fn say(producer: &Producer, half: &Half, outcome: Outcome, book: &Book) {
    let count = match producer.end(half, outcome) {
        Ok(answer) if answer.code == 0 => &book.ended,
        _ => &book.unknown,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

fn answer_checks(producer: &Producer, checks: &Checks, book: &Book) {
    while let Some(check) = checks.waiting() {
        let outcome = outcome_of(&check.half.key);
        say(producer, &check.half, outcome, book);
        book.asked.fetch_add(1, Ordering::Relaxed);
    }
}

/// Answers questions until everything is settled; then what was committed is there, what was rolled
/// back is not. Returns how many came more than once.
pub fn check(to: SocketAddr, book: &Book) -> usize {
    let client = Client::connect(to).expect("connect");
    let producer = Producer::connect(to, GROUP).expect("connect");
    let checks = producer.checks();
    eventually("everything is settled", || {
        answer_checks(&producer, &checks, book);
        std::thread::sleep(Duration::from_millis(20));
        (settled(&client) && checks.waiting().is_none()).then_some(())
    });
    let mut delivered: BTreeMap<String, usize> = BTreeMap::new();
    for queue_id in 0..QUEUES {
        for record in pull_all(&client, TOPIC, queue_id, 0) {
            let key = String::from_utf8(record.body).expect("text");
            *delivered.entry(key).or_default() += 1;
        }
    }
    let rolled_back = |key: &&String| outcome_of(key) == Outcome::Rollback;
    let wrong: Vec<_> = delivered.keys().filter(rolled_back).collect();
    assert!(wrong.is_empty(), "rolled back and delivered: {wrong:?}");
    let halves = book.halves.lock().expect("book");
    let is_lost =
        |key: &&String| outcome_of(key) == Outcome::Commit && !delivered.contains_key(key.as_str());
    let lost: Vec<_> = halves.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "committed and lost: {lost:?}");
    delivered.values().map(|count| count - 1).sum()
}

/// Whether no half message is open: the broker has passed all of them.
pub fn settled(client: &Client) -> bool {
    let max = requests::offset_of(client, requests::GET_MAX_OFFSET, HALF_TOPIC, 0);
    let ext = [
        ("consumerGroup", SYSTEM_GROUP.to_string()),
        ("topic", HALF_TOPIC.into()),
        ("queueId", "0".into()),
    ];
    let code = requests::QUERY_CONSUMER_OFFSET;
    let answer = client.call(code, &ext, b"", PATIENCE).expect("an answer");
    answer.code == 0 && answer.ext_number("offset") == max
}
