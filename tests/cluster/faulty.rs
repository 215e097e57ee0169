//! A cluster under a random schedule of faults, whose history is checked: nothing is lost for ever
//! here, so that all properties have to hold after healing.

use crate::checker::{ALWAYS, COPIED, KEPT, SEEN, assert_holds};
use crate::clients::{Clients, Reader, Writer};
use crate::common::env_number;
use crate::common::rng::Rng;
use crate::faults::schedule;
use crate::history::{Clock, Figures, History, Replica};
use crate::nodes::{Cluster, QUEUES};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two messages of a writer: the load is not the point, and two cores are to carry it.
const PACE: Duration = Duration::from_millis(4);

#[test]
fn a_history_under_faults_holds() {
    let seed = Rng::seed_for_test("faults");
    let seconds = env_number("CALLBOARD_CLUSTER_SECONDS", 12);
    let flush = if seed.is_multiple_of(2) {
        "ASYNC_FLUSH"
    } else {
        "SYNC_FLUSH"
    };
    let mut cluster = Cluster::start(2, "SYNC_MASTER", &[("flushDiskType", flush)]);
    let schedule = schedule(seed, seconds * 1_000, cluster.hosts());
    println!(
        "schedule of seed {seed}, {seconds} s (host 0: NameServer, 1 3: masters, 2 4: slaves):"
    );
    for event in &schedule {
        println!("  {event}");
    }
    let clock = Arc::new(Clock::new());
    let mut clients = Clients::new(&clock, cluster.pairs);
    for pair in 0..cluster.pairs {
        let to = cluster.broker(pair, Replica::Master).address();
        for queue in Cluster::queues(pair) {
            // The first half has one writer each, that sends everything once; the others are shared
            // by two that try again until they know.
            let is_shared = queue.id >= QUEUES / 2;
            for _ in 0..if is_shared { 2 } else { 1 } {
                clients.write(Writer {
                    to,
                    queue,
                    pace: PACE,
                    retries: is_shared,
                });
            }
        }
        for replica in [Replica::Master, Replica::Slave] {
            clients.read(Reader {
                to: cluster.broker(pair, replica).address(),
                pair,
                replica,
                queues: QUEUES,
                seed: seed ^ pair as u64,
            });
        }
    }
    cluster.suffer(&schedule);
    let begun = Instant::now();
    cluster.wait_followed_by_all();
    println!(
        "all slaves follow {:?} after the last fault",
        begun.elapsed()
    );
    for pair in 0..cluster.pairs {
        // Service is back without anybody's help.
        clients.wait_acked(pair, 20);
    }
    let mut history = History {
        operations: clients.stop(),
        ..History::default()
    };
    cluster.wait_healed();
    for pair in 0..cluster.pairs {
        for replica in [Replica::Master, Replica::Slave] {
            history.last.append(&mut cluster.read_all(pair, replica));
        }
    }
    let figures = Figures::of(&history);
    println!("seed {seed}: {figures:?}");
    assert!(figures.acked > 100 && figures.seen > 100, "{figures:?}");
    assert_holds(&history, &[ALWAYS, KEPT, SEEN, COPIED]);
    cluster.stop_and_compare();
}
