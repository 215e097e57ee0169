//! Acknowledged means kept: producers with retries off at full rate, `kill -9` of the broker at
//! random moments, and after each restart everything that was acknowledged is at the place that
//! its sender was told, in both flush modes.
//!
//! `CALLBOARD_ROUNDS` says how often (one kill without it), `CALLBOARD_PRELOAD_MB` how much is
//! stored before the first kill. Times to ready are printed and judged by nobody here, unless
//! `CALLBOARD_READY_MAX_MS` gives a bound.

mod common;

use common::check::Ledger;
use common::load::{Load, LoadOptions};
use common::remoting::Client;
use common::requests::create_topic;
use common::rng::Rng;
use common::server::{Cluster, is_java};
use std::time::Duration;

const TOPIC: &str = "KillTopic";
const QUEUES: i32 = 4;

#[test]
fn with_async_flush() {
    kills("ASYNC_FLUSH", &[]);
}

#[test]
fn with_sync_flush() {
    kills("SYNC_FLUSH", &[]);
}

/// Segments so small that a kill often falls beside the birth of a file, of the log, a queue or
/// the index.
#[test]
fn with_small_segments() {
    kills(
        "ASYNC_FLUSH",
        &[
            ("mappedFileSizeCommitLog", "1048576"),
            ("mappedFileSizeConsumeQueue", "20000"),
            ("maxHashSlotNum", "500"),
            ("maxIndexNum", "2000"),
        ],
    );
}

fn kills(flush: &str, extra: &[(&str, &str)]) {
    let mut rng = Rng::for_test(flush);
    let mut keys = vec![("flushDiskType", flush)];
    keys.extend(extra);
    let mut cluster = Cluster::start(&keys);
    let to = cluster.broker.address();
    create_topic(&Client::connect(to).expect("connect"), TOPIC, QUEUES);
    let mut ledger = Ledger::new(TOPIC, QUEUES);
    let mut options = LoadOptions {
        topic: TOPIC.into(),
        queues: QUEUES,
        senders: 4,
        first_sender: 0,
        // Java's send threads reorder what one connection has in flight.
        window: if is_java() { 1 } else { 32 },
        body_len: 1024,
        reconnect: false,
        first_numbers: vec![0; 4],
    };
    preload(&mut cluster, &mut ledger, &mut options, &mut rng);
    for round in 0..common::env_number("CALLBOARD_ROUNDS", 1) {
        let load = Load::start(to, &options);
        load.wait_acked(rng.between(1, 2_000));
        std::thread::sleep(Duration::from_millis(rng.between(0, 1_500)));
        cluster.broker.kill9();
        let reports = load.stop();
        cluster.broker.restart();
        let ready = cluster.broker.ready_after;
        options.first_numbers = reports.iter().map(|r| r.next_number).collect();
        let checked = ledger.check(to, &reports, &mut rng);
        println!("{flush} round {round}: ready after {ready:?}, {checked:?}");
        assert!(
            checked.acked > 0,
            "nothing was acknowledged before the kill"
        );
        assert!(checked.stored >= checked.acked);
        let bound = common::env_number("CALLBOARD_READY_MAX_MS", u64::MAX);
        assert!(
            ready.as_millis() <= u128::from(bound),
            "ready after {ready:?}"
        );
    }
    ledger.check_all_again(to);
    cluster.broker.stop();
    cluster.broker.restart();
    ledger.check_all_again(to);
    println!("{flush}: {} acknowledged, all there", ledger.acked_total);
}

/// Fills the store before the first kill, as `CALLBOARD_PRELOAD_MB` says.
fn preload(cluster: &mut Cluster, ledger: &mut Ledger, options: &mut LoadOptions, rng: &mut Rng) {
    let wanted = common::env_number("CALLBOARD_PRELOAD_MB", 0) * 1024;
    if wanted == 0 {
        return;
    }
    let load = Load::start(cluster.broker.address(), options);
    while load.acked() < wanted {
        load.wait_acked(1_000.min(wanted));
    }
    let reports = load.stop();
    options.first_numbers = reports.iter().map(|r| r.next_number).collect();
    let checked = ledger.check(cluster.broker.address(), &reports, rng);
    println!("preloaded: {checked:?}");
}
