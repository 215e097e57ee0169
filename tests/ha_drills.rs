//! A crash of a replication actor is a hiccup: each of them is crashed under load on a pair that
//! writes double, between messages and at its fail points. Nobody gets a wrong answer, no other actor
//! restarts, replication goes on by itself, and at the end both logs are the same.

mod common;

use common::check::Ledger;
use common::console::{ActorInfo, actors, crash, restarts};
use common::eventually;
use common::load::{Load, LoadOptions};
use common::pair::{Pair, assert_same_log, ha_status};
use common::remoting::Client;
use common::requests::create_topic;
use common::rng::Rng;
use std::net::SocketAddr;

const TOPIC: &str = "HaDrillTopic";
const QUEUES: i32 = 4;

/// On which side, which kind, and where in its work.
const DRILLS: &[(Side, &str, Option<&str>)] = &[
    (Side::Master, "ha_listener", None),
    (Side::Master, "replicator", None),
    (Side::Master, "replicator", Some("mid_transfer")),
    (Side::Master, "replicator", Some("mid_ack")),
    (Side::Master, "acks", Some("mid_release")),
    (Side::Slave, "follower", None),
    (Side::Slave, "follower", Some("after_append")),
    (Side::Slave, "mirror", None),
    (Side::Slave, "commit_log_writer", None),
    (Side::Slave, "commit_log_writer", Some("after_bytes")),
    (Side::Slave, "dispatcher", Some("mid_fan_out")),
    (Side::Slave, "flush", None),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Master,
    Slave,
}

fn of_kind(console: SocketAddr, kind: &str) -> ActorInfo {
    eventually(&format!("an actor of kind {kind}"), || {
        let mut all = actors(console).into_iter();
        all.find(|actor| actor.kind == kind && actor.state == "running")
    })
}

#[test]
fn every_replication_actor_under_load() {
    let mut rng = Rng::for_test("ha drills");
    let mut pair = Pair::start(&[
        ("brokerRole", "SYNC_MASTER"),
        ("inSyncReplicas", "2"),
        ("slaveTimeout", "30000"),
    ]);
    let to = pair.master.address();
    create_topic(&Client::connect(to).expect("connect"), TOPIC, QUEUES);
    let options = LoadOptions {
        topic: TOPIC.into(),
        queues: QUEUES,
        senders: 3,
        first_sender: 0,
        window: 16,
        body_len: 512,
        reconnect: false,
        first_numbers: vec![],
    };
    let load = Load::start(to, &options);
    load.wait_acked(200);
    for (side, kind, point) in DRILLS {
        let consoles = [pair.master.console(), pair.slave().console()];
        let console = consoles[usize::from(*side == Side::Slave)];
        let victim = of_kind(console, kind);
        let before: Vec<_> = consoles.iter().map(|c| restarts(*c)).collect();
        crash(console, &victim.path, *point);
        // A replicator's state is its socket: its crash ends it, and the slave comes again.
        eventually(&format!("{} crashes", victim.path), || {
            let now = restarts(console);
            let own = before[usize::from(*side == Side::Slave)].get(&victim.path);
            (now.get(&victim.path) > own || !now.contains_key(&victim.path)).then_some(())
        });
        load.wait_acked(300);
        for (console, before) in consoles.iter().zip(&before) {
            for (path, count) in restarts(*console) {
                let known = before.get(&path).copied().unwrap_or(0);
                assert!(
                    count == known || path == victim.path,
                    "restarts of {path} after a crash of {}",
                    victim.path
                );
            }
        }
        println!("crashed {side:?} {kind} {point:?}");
    }
    let reports = load.stop();
    for report in &reports {
        assert_eq!(report.unknown, 0, "a sender's connection ended");
        // 1: the append was in a crashed actor's hands; 12: stored, and its waiter was in one's.
        let codes: Vec<_> = report.refused.keys().map(|(code, _)| *code).collect();
        assert!(
            codes.iter().all(|code| matches!(code, 1 | 12)),
            "{:?}",
            report.refused
        );
    }
    pair.wait_in_sync();
    pair.wait_mirrored(TOPIC);
    let checked = Ledger::new(TOPIC, QUEUES).check(pair.slave().address(), &reports, &mut rng);
    println!("{checked:?}");
    let slaves = ha_status(&Client::connect(to).expect("connect"))["haConnectionInfo"].clone();
    assert_eq!(slaves.as_array().map(Vec::len), Some(1), "{slaves}");
    pair.stop();
    assert_same_log(&pair.master, pair.slave.as_ref().expect("slave"));
}
