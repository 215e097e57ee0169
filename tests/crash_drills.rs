//! A crash of one actor is a hiccup: every kind of actor is crashed under load through the debug
//! endpoint, between messages and at its fail points. Connections stay (but a crashed
//! connection's own), no sender waits without an answer, nothing acknowledged is lost, `restarts`
//! counts it and no other actor restarts; afterwards log, queues and index agree.

mod common;

use common::check::Ledger;
use common::console::{ActorInfo, actors, crash, escape, post, restarts};
use common::load::{Load, LoadOptions, Report};
use common::remoting::Client;
use common::requests::{
    GET_ROUTEINFO_BY_TOPIC, PULL_MESSAGE, commit_ext, create_topic, heartbeat_body, must, pull_ext,
};
use common::rng::Rng;
use common::server::Cluster;
use common::{PATIENCE, eventually};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;

const TOPIC: &str = "DrillTopic";
const QUEUES: i32 = 4;

/// Kinds that only give the tree its shape, and the root, whose end is the process's.
const NOT_DRILLED: &[&str] = &["group", "broker", "namesrv"];

/// Every kind that a broker under this load must have: if one is missing here, it was not drilled.
const BROKER_KINDS: &[&str] = &[
    "commit_log_writer",
    "flush",
    "acks",
    "dispatcher",
    "index",
    "shard",
    "queue",
    "cold_reader",
    "far_reader",
    "retention",
    "compaction",
    "transactions",
    "static_topics",
    "listener",
    "connection",
];

/// Where each actor can be made to fail in the middle of its work.
const FAIL_POINTS: &[(&str, &str)] = &[
    ("commit_log_writer", "after_bytes"),
    ("commit_log_writer", "after_publish"),
    ("commit_log_writer", "before_replies"),
    ("flush", "after_fsync"),
    ("acks", "mid_release"),
    ("dispatcher", "mid_fan_out"),
    ("queue", "mid_write"),
];

/// A broker under load: senders, a consumer that follows each queue, a group with heartbeats.
struct Drill {
    cluster: Cluster,
    load: Load,
    consumers: Vec<Consumer>,
    ledger: Ledger,
    rng: Rng,
    _member: Client,
}

impl Drill {
    fn start(name: &str, flush: &str) -> Drill {
        let rng = Rng::for_test(name);
        let cluster = Cluster::start(&[("flushDiskType", flush)]);
        let to = cluster.broker.address();
        let member = Client::connect(to).expect("connect");
        create_topic(&member, TOPIC, QUEUES);
        let beat = heartbeat_body("drill-client", "test_group", TOPIC);
        must(member.call(34, &[], &beat, PATIENCE), "heartbeat");
        let commit = commit_ext("test_group", TOPIC, 0, 0);
        must(member.call(15, &commit, b"", PATIENCE), "offset commit");
        let load = Load::start(
            to,
            &LoadOptions {
                topic: TOPIC.into(),
                queues: QUEUES,
                senders: 3,
                first_sender: 0,
                window: 16,
                body_len: 512,
                reconnect: false,
                first_numbers: vec![],
            },
        );
        load.wait_acked(50);
        Drill {
            load,
            consumers: (0..QUEUES).map(|id| Consumer::start(to, id)).collect(),
            ledger: Ledger::new(TOPIC, QUEUES),
            rng,
            cluster,
            _member: member,
        }
    }

    fn console(&self) -> SocketAddr {
        self.cluster.broker.console()
    }

    /// Crashes the actor at `path`, now or at a fail point, and waits until it is back and served.
    fn crash(&self, path: &str, at: Option<&str>) {
        let before = restarts(self.console());
        let what = format!("{path} at {at:?}");
        crash(self.console(), path, at);
        let own = before.get(path).copied().unwrap_or(0);
        eventually(&format!("{what} restarts"), || {
            let now = restarts(self.console());
            (now.get(path).copied().unwrap_or(0) > own).then_some(())
        });
        self.load.wait_acked(100);
        let after = restarts(self.console());
        for (other, count) in &after {
            let expected = before.get(other).copied().unwrap_or(0) + u64::from(other == path);
            assert_eq!(
                *count, expected,
                "restarts of {other} after a crash of {what}"
            );
        }
    }

    /// Ends the load and checks everything.
    fn finish(mut self) {
        let reports = self.load.stop();
        unharmed(&reports);
        let checked = self
            .ledger
            .check(self.cluster.broker.address(), &reports, &mut self.rng);
        println!("{checked:?}");
        for consumer in self.consumers {
            consumer.finish();
        }
        assert!(self.cluster.broker.is_running());
        self.cluster.broker.stop();
        self.cluster.broker.restart();
        self.ledger.check_all_again(self.cluster.broker.address());
    }
}

fn unharmed(reports: &[Report]) {
    for report in reports {
        assert_eq!(report.disconnects, 0, "a sender was disconnected");
        assert_eq!(report.unknown, 0, "a sender's connection ended");
        assert!(
            report.stuck.is_empty(),
            "a sender waits: {:?}",
            report.stuck
        );
        println!(
            "sender {}: {} acknowledged, slowest {:?}, refused {:?}",
            report.sender,
            report.acked.len(),
            report.slowest,
            report.refused
        );
        for (code, remark) in report.refused.keys() {
            // Unknown outcome, busy, or stored and not flushed in time: each a clear answer.
            assert!(matches!(code, 1 | 2 | 10), "{code} {remark}");
        }
    }
}

/// Follows one queue with long polling; every offset comes once and in order.
struct Consumer {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicI64>,
    thread: JoinHandle<()>,
}

impl Consumer {
    fn start(to: SocketAddr, queue_id: i32) -> Consumer {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicI64::new(0));
        let (stopped, at) = (stop.clone(), next.clone());
        let thread = std::thread::spawn(move || {
            let client = Client::connect(to).expect("connect");
            while !stopped.load(Ordering::Acquire) {
                let offset = at.load(Ordering::Relaxed);
                let ext = pull_ext(TOPIC, queue_id, offset, 1_000);
                let answer = client
                    .call(PULL_MESSAGE, &ext, b"", PATIENCE)
                    .unwrap_or_else(|error| panic!("consumer of queue {queue_id}: {error:?}"));
                if answer.code == 0 {
                    for (record, expected) in
                        common::record::parse_all(&answer.body).iter().zip(offset..)
                    {
                        assert_eq!(record.queue_offset, expected, "queue {queue_id}");
                    }
                    let next = answer.ext_number("nextBeginOffset");
                    at.store(next, Ordering::Relaxed);
                } else {
                    // 1: the pull was lost in a crash; 19: nothing new. Anything else is a fault.
                    assert!(
                        matches!(answer.code, 1 | 19),
                        "{} {}",
                        answer.code,
                        answer.remark
                    );
                }
            }
        });
        Consumer { stop, next, thread }
    }

    fn finish(self) {
        let before = self.next.load(Ordering::Relaxed);
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("a consumer failed");
        assert!(before > 0, "a consumer got nothing");
    }
}

/// One actor of each kind, the one that comes first.
fn one_of_each_kind(console: SocketAddr) -> BTreeMap<String, ActorInfo> {
    let mut kinds = BTreeMap::new();
    for actor in actors(console) {
        if !NOT_DRILLED.contains(&actor.kind.as_str()) && actor.state == "running" {
            kinds.entry(actor.kind.clone()).or_insert(actor);
        }
    }
    kinds
}

/// A queue that is under load, rather than one of a system topic.
fn busy_queue(console: SocketAddr) -> Option<ActorInfo> {
    let wanted = format!("/{TOPIC}/");
    actors(console)
        .into_iter()
        .find(|actor| actor.kind == "queue" && actor.path.contains(&wanted))
}

fn every_kind(name: &str, flush: &str) {
    let drill = Drill::start(name, flush);
    // A queue wakes with its first message.
    let kinds = eventually(&format!("one of each kind of {BROKER_KINDS:?}"), || {
        let kinds = one_of_each_kind(drill.console());
        let there = |kind: &&str| kinds.contains_key(*kind);
        BROKER_KINDS.iter().all(there).then_some(kinds)
    });
    println!("kinds: {:?}", kinds.keys().collect::<Vec<_>>());
    for (kind, actor) in &kinds {
        match kind.as_str() {
            "connection" => {} // below: its crash closes its socket
            "queue" => {
                let queue = busy_queue(drill.console()).expect("a queue of the topic");
                drill.crash(&queue.path, None);
            }
            _ => drill.crash(&actor.path, None),
        }
        println!("crashed {kind}");
    }
    a_connection(&drill);
    drill.finish();
}

/// A crashed connection closes its own socket and nothing else.
fn a_connection(drill: &Drill) {
    let victim = Client::connect(drill.cluster.broker.address()).expect("connect");
    must(
        victim.call(
            34,
            &[],
            &heartbeat_body("victim", "test_group", TOPIC),
            PATIENCE,
        ),
        "heartbeat",
    );
    let port = victim.local.port().to_string();
    let own = actors(drill.console())
        .into_iter()
        .find(|actor| actor.kind == "connection" && actor.path.contains(&port))
        .expect("the connection is in the tree");
    let before = restarts(drill.console());
    let answer = post(
        drill.console(),
        &format!("/actors/{}/crash", escape(&own.path)),
    );
    assert!((200..300).contains(&answer.expect("crash").status));
    eventually("the crashed connection closes", || {
        victim.is_closed().then_some(())
    });
    drill.load.wait_acked(100);
    for (path, count) in restarts(drill.console()) {
        if path != own.path {
            assert_eq!(before.get(&path).copied().unwrap_or(0), count, "{path}");
        }
    }
}

#[test]
fn every_kind_with_async_flush() {
    every_kind("async", "ASYNC_FLUSH");
}

#[test]
fn every_kind_with_sync_flush() {
    every_kind("sync", "SYNC_FLUSH");
}

/// In the middle of the work: between bytes and publication, between fsync and answers, half-way
/// through a fan-out. SYNC_FLUSH, so that every actor of the walk has a part.
#[test]
fn every_fail_point() {
    let drill = Drill::start("fail points", "SYNC_FLUSH");
    for (kind, point) in FAIL_POINTS {
        let actor = if *kind == "queue" {
            busy_queue(drill.console())
        } else {
            one_of_each_kind(drill.console()).remove(*kind)
        };
        let actor = actor.unwrap_or_else(|| panic!("no actor of kind {kind}"));
        for _ in 0..2 {
            drill.crash(&actor.path, Some(point));
        }
        println!("failed {kind} at {point}");
    }
    drill.finish();
}

/// An actor that keeps crashing escalates: the process ends by itself with a code that is not 0,
/// and the next start has everything.
#[test]
fn an_actor_that_keeps_crashing_gives_up() {
    let mut rng = Rng::for_test("gives up");
    let mut cluster = Cluster::start(&[]);
    let to = cluster.broker.address();
    create_topic(&Client::connect(to).expect("connect"), TOPIC, QUEUES);
    let load = Load::start(
        to,
        &LoadOptions {
            topic: TOPIC.into(),
            queues: QUEUES,
            senders: 2,
            first_sender: 0,
            window: 8,
            body_len: 256,
            reconnect: false,
            first_numbers: vec![],
        },
    );
    load.wait_acked(100);
    let console = cluster.broker.console();
    let writer = one_of_each_kind(console)
        .remove("commit_log_writer")
        .expect("a writer");
    let path = format!("/actors/{}/crash", escape(&writer.path));
    let code = eventually("the broker gives up", || {
        // An error is the end that we wait for.
        let _ = post(console, &path);
        if cluster.broker.is_running() {
            None
        } else {
            Some(cluster.broker.wait_exit())
        }
    });
    println!("exit code {code}");
    assert!(
        code > 0,
        "a clean exit with a code that is not 0, got {code}"
    );
    let reports = load.stop();
    cluster.broker.kill9(); // reaps it
    cluster.broker.restart();
    let mut ledger = Ledger::new(TOPIC, QUEUES);
    println!("{:?}", ledger.check(to, &reports, &mut rng));
}

/// Without the switch, nobody can crash anything.
#[test]
fn crashing_is_off_by_default() {
    let cluster = Cluster::start(&[("debugAllowCrash", "false")]);
    let console = cluster.broker.console();
    let any = actors(console).into_iter().next_back().expect("an actor");
    let answer = post(console, &format!("/actors/{}/crash", escape(&any.path))).expect("answer");
    assert_eq!(answer.status, 403, "{}", answer.text());
}

/// The NameServer's actors: routes are answered on, and the broker stays known.
#[test]
fn the_nameservers_actors() {
    let cluster = Cluster::start(&[]);
    let to = cluster.broker.address();
    create_topic(&Client::connect(to).expect("connect"), TOPIC, QUEUES);
    let client = Client::connect(cluster.namesrv.address()).expect("connect");
    let ext = [("topic", TOPIC.to_string())];
    let route = || client.call(GET_ROUTEINFO_BY_TOPIC, &ext, b"", PATIENCE);
    eventually("the topic's route", || {
        (route().expect("an answer").code == 0).then_some(())
    });
    let console = cluster.namesrv.console();
    for (kind, actor) in one_of_each_kind(console) {
        if kind == "connection" {
            continue;
        }
        let before = restarts(console);
        // A connection that a crashed console had taken last may be closed with it.
        let asked_for = format!("/actors/{}/crash", escape(&actor.path));
        let answer = eventually("the console answers", || post(console, &asked_for).ok());
        assert!((200..300).contains(&answer.status));
        eventually(&format!("{} restarts", actor.path), || {
            (restarts(console).get(&actor.path) > before.get(&actor.path)).then_some(())
        });
        let frame = must(route(), "route");
        assert!(
            !frame.body.is_empty(),
            "an empty route after a crash of {kind}"
        );
        println!("crashed {kind}");
    }
    assert!(!client.is_closed());
}
