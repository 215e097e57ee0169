//! The broker is killed, and the actor crashed, among transactions.

use crate::common::console::{crash, restarts};
use crate::common::remoting::Client;
use crate::common::requests::create_topic;
use crate::common::rng::Rng;
use crate::common::server::Cluster;
use crate::common::{env_number, eventually};
use crate::load::{Book, Load, QUEUES, check};
use crate::producer::TOPIC;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Producers are asked soon, and never given up.
const KEYS: [(&str, &str); 4] = [
    ("transactionTimeOut", "500"),
    ("transactionCheckInterval", "150"),
    ("transactionCheckMax", "100000"),
    ("flushConsumerOffsetInterval", "300"),
];

const PRODUCERS: u64 = 4;

fn start() -> Cluster {
    let cluster = Cluster::start(&KEYS);
    let client = Client::connect(cluster.broker.address()).expect("connect");
    create_topic(&client, TOPIC, QUEUES);
    cluster
}

fn report(name: &str, book: &Book, twice: usize) {
    println!(
        "{name}: {} half messages, {} ends acknowledged, {} unknown, {} questions, {twice} delivered twice",
        book.halves(),
        book.ended.load(Ordering::Relaxed),
        book.unknown.load(Ordering::Relaxed),
        book.asked.load(Ordering::Relaxed),
    );
}

#[test]
fn a_killed_broker_loses_no_commit_and_delivers_no_rollback() {
    let mut rng = Rng::for_test("transactions");
    let mut cluster = start();
    let book = Arc::new(Book::default());
    let wanted = env_number("CALLBOARD_TRANSACTIONS", 240);
    for round in 0..env_number("CALLBOARD_ROUNDS", 2) {
        let before = book.halves() as u64;
        let name = format!("kill{round}");
        let load = Load::start(cluster.broker.address(), &book, &name, PRODUCERS);
        let kill_at = before + rng.between(1, wanted);
        eventually("half messages", || {
            (book.halves() as u64 >= kill_at).then_some(())
        });
        // Also while questions are under way.
        std::thread::sleep(Duration::from_millis(rng.between(0, 900)));
        cluster.broker.kill9();
        load.stop();
        cluster.broker.restart();
        let twice = check(cluster.broker.address(), &book);
        report(&name, &book, twice);
    }
    cluster.broker.stop();
    cluster.broker.restart();
    let twice = check(cluster.broker.address(), &book);
    report("at last", &book, twice);
}

/// The actor itself, and the one who appends for it.
#[test]
fn crashes_are_hiccups() {
    const ACTOR: &str = "broker/delivery/transactions";
    const WRITER: &str = "broker/store/commit_log_writer";
    let mut cluster = start();
    let (to, console) = (cluster.broker.address(), cluster.broker.console());
    let book = Arc::new(Book::default());
    let load = Load::start(to, &book, "crash", PRODUCERS);
    let points = [
        (ACTOR, None),
        (ACTOR, Some("after_end")),
        (WRITER, Some("after_bytes")),
        (ACTOR, Some("after_move")),
        (WRITER, Some("before_replies")),
        (ACTOR, Some("before_commit")),
    ];
    let restarts_of = |path: &str| restarts(console).get(path).copied().unwrap_or(0);
    for (path, point) in points {
        let halves = book.halves() + 40;
        eventually("half messages", || (book.halves() >= halves).then_some(()));
        let before = restarts_of(path);
        crash(console, path, point);
        eventually(&format!("a restart of {path} after {point:?}"), || {
            (restarts_of(path) > before).then_some(())
        });
    }
    load.stop();
    let twice = check(to, &book);
    report("crashes", &book, twice);
    let counts = restarts(console);
    let total: u64 = counts.values().sum();
    assert_eq!(
        total,
        points.len() as u64,
        "other actors restarted: {counts:?}"
    );
    assert!(cluster.broker.is_running());
}
