//! What lies far back in the log is answered on a way of its own (`far_reader`), and read from the disk
//! first where it is not in memory (`cold_reader`): readers that begin there get every message once, in
//! order and whole, whatever is in memory and whoever crashes.

mod common;

use common::console::{actors, crash, restarts};
use common::record::parse_all;
use common::remoting::{Arrival, Client};
use common::requests::{
    PULL_MESSAGE, SEND_MESSAGE_V2, create_topic, pull_ext, send_ext, wait_dispatched,
};
use common::server::Cluster;
use common::{PATIENCE, eventually};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

const TOPIC: &str = "FarTopic";
const QUEUES: i32 = 4;
/// More than 64 MiB behind the first half of them.
const EACH: i64 = 1000;
/// The first ones of each queue are small: many of them, of all queues in turn, lie within one block.
const SMALL: i64 = 400;

fn body(queue_id: i32, number: i64) -> Vec<u8> {
    let len = if number < SMALL { 1_000 } else { 60_000 };
    format!("{queue_id} {number:<len$}").into_bytes()
}

fn fill(client: &Client) {
    create_topic(client, TOPIC, QUEUES);
    let (to, answers) = mpsc::channel::<Arrival>();
    for number in 0..EACH {
        for queue_id in 0..QUEUES {
            let ext = send_ext(TOPIC, queue_id, "");
            let body = body(queue_id, number);
            client
                .start(SEND_MESSAGE_V2, &ext, &body, &to)
                .expect("open");
        }
        for _ in 0..QUEUES {
            let arrival = answers.recv_timeout(PATIENCE).expect("an answer");
            assert_eq!(arrival.answer.expect("an answer").code, 0);
        }
    }
    wait_dispatched(client);
}

/// Reads a queue from its first message to its last; returns how often a crash took a pull.
fn read_all(to: SocketAddr, queue_id: i32) -> u64 {
    let client = Client::connect(to).expect("connect");
    let (mut next, mut lost) = (0, 0);
    while next < EACH {
        let ext = pull_ext(TOPIC, queue_id, next, 0);
        let answer = client.call(PULL_MESSAGE, &ext, b"", PATIENCE);
        let answer = answer.unwrap_or_else(|error| panic!("queue {queue_id}: {error:?}"));
        if answer.code == 1 {
            // The pull was lost in a crash.
            lost += 1;
            continue;
        }
        assert_eq!(answer.code, 0, "{}", answer.remark);
        for record in parse_all(&answer.body) {
            assert_eq!((record.queue_id, record.queue_offset), (queue_id, next));
            assert_eq!(record.body, body(queue_id, next), "message {next}");
            next += 1;
        }
        assert_eq!(answer.ext_number("nextBeginOffset"), next);
    }
    lost
}

fn read_all_queues(to: SocketAddr) -> u64 {
    let readers = (0..QUEUES).map(|id| std::thread::spawn(move || read_all(to, id)));
    let readers: Vec<_> = readers.collect();
    let lost = readers.into_iter().map(|reader| reader.join());
    lost.map(|lost| lost.expect("a reader failed")).sum()
}

fn evict(cluster: &Cluster) {
    let store = cluster.broker.store();
    let queues = (0..QUEUES).map(|id| store.join(format!("consumequeue/{TOPIC}/{id}")));
    for folder in queues.chain([store.join("commitlog")]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqbench"));
        let status = command.arg("evict").arg(folder).status();
        assert!(status.expect("mqbench").success());
    }
}

#[test]
fn far_messages_come_once_and_whole() {
    // Several segments: the last one is read through the page cache, the others past it.
    let cluster = Cluster::start(&[("mappedFileSizeCommitLog", "33554432")]);
    let to = cluster.broker.address();
    let client = Client::connect(to).expect("connect");
    fill(&client);
    assert_eq!(read_all_queues(to), 0, "in memory");
    evict(&cluster);
    assert_eq!(read_all_queues(to), 0, "from the disk");

    // And while the actors on the way crash.
    let console = cluster.broker.console();
    let on_the_way: Vec<_> = actors(console)
        .into_iter()
        .filter(|actor| matches!(actor.kind.as_str(), "far_reader" | "cold_reader"))
        .collect();
    assert!(on_the_way.len() > 1, "{on_the_way:?}");
    let is_over = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let readers = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Ordering::Acquire) {
                evict(&cluster);
                let lost = read_all_queues(to);
                println!("round {rounds}: {lost} pulls lost");
                rounds += 1;
            }
            rounds
        });
        for _ in 0..3 {
            for actor in &on_the_way {
                let before = restarts(console)[&actor.path];
                crash(console, &actor.path, None);
                eventually("it restarts", || {
                    (*restarts(console).get(&actor.path)? > before).then_some(())
                });
            }
        }
        is_over.store(true, Ordering::Release);
        readers.join().expect("the readers failed")
    });
    assert!(rounds > 0);
}
