//! Topics, groups and offsets of a master on its slave, and what becomes of offsets when the two
//! change places: consumers read nothing again that they read before.
//!
//! The stories behind it are alibaba/rocketmq issue 28 and apache/rocketmq issue 1094: a slave that
//! copies offsets once a minute knows old ones when its master is lost, and a master that returns
//! brings its own old ones back.

mod common;

use common::pair::Pair;
use common::remoting::Client;
use common::requests::{self, GET_TOPIC_CONFIG, create_group, create_topic, must};
use common::rng::Rng;
use common::server::Broker;
use common::{PATIENCE, eventually};
use std::time::{Duration, Instant};

const TOPIC: &str = "MirrorTopic";
const GROUP: &str = "test_group";
const SET_MESSAGE_REQUEST_MODE: i32 = 401;
const GET_ALL_MESSAGE_REQUEST_MODE: i32 = 402;

fn connect(broker: &Broker) -> Client {
    Client::connect(broker.address()).expect("connect")
}

fn commit(client: &Client, queue_id: i32, offset: i64) {
    requests::commit(client, GROUP, TOPIC, queue_id, offset);
}

fn committed(client: &Client, queue_id: i32) -> Option<i64> {
    requests::committed(client, GROUP, TOPIC, queue_id)
}

/// A pair whose slave knows topic and group.
fn start() -> Pair {
    let mut pair = Pair::start(&[]);
    create_topic(&connect(&pair.master), TOPIC, 4);
    pair.wait_mirrored(TOPIC);
    pair
}

fn wait_committed(broker: &Broker, queue_id: i32, offset: i64) {
    let client = connect(broker);
    eventually("the offset is there", || {
        (committed(&client, queue_id) == Some(offset)).then_some(())
    });
}

#[test]
fn topics_groups_and_offsets_follow_the_master() {
    let mut pair = start();
    let (master, slave) = (connect(&pair.master), connect(pair.slave()));
    create_group(&master, "another_group");
    for queue_id in 0..4 {
        commit(&master, queue_id, 10 + i64::from(queue_id));
    }
    for queue_id in 0..4 {
        wait_committed(pair.slave(), queue_id, 10 + i64::from(queue_id));
    }
    // How the group gets its messages, though nothing else of a group has changed.
    let mode = format!(
        r#"{{"topic":"{TOPIC}","consumerGroup":"another_group","mode":"POP","popShareQueueNum":8}}"#
    );
    let set = master.call(SET_MESSAGE_REQUEST_MODE, &[], mode.as_bytes(), PATIENCE);
    must(set, "set mode");
    eventually("the slave knows the mode", || {
        let modes = slave.call(GET_ALL_MESSAGE_REQUEST_MODE, &[], b"", PATIENCE);
        let body = String::from_utf8(must(modes, "modes").body).expect("text");
        body.contains("another_group").then_some(())
    });
    // A smaller offset is an operator's wish, and goes over as well.
    commit(&master, 0, 3);
    wait_committed(pair.slave(), 0, 3);
    // A deleted topic goes, with what was committed in it.
    let ext = [("topic", TOPIC.to_owned())];
    must(master.call(215, &ext, b"", PATIENCE), "delete topic");
    eventually("the topic is gone from the slave", || {
        let answer = slave.call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE).ok()?;
        (answer.code == 17).then_some(())
    });
    create_topic(&master, TOPIC, 4);
    pair.wait_mirrored(TOPIC);
    assert_eq!(committed(&slave, 1), None, "offsets of the old topic");
    // All of it survives a restart of the slave.
    commit(&master, 2, 77);
    wait_committed(pair.slave(), 2, 77);
    pair.master.stop();
    pair.slave().stop();
    pair.slave().restart();
    assert_eq!(committed(&connect(pair.slave()), 2), Some(77));
}

/// Prints how long after the answer to its maker a new topic is known at the slave.
#[test]
fn topics_are_told_at_once() {
    let mut pair = start();
    let (master, slave) = (connect(&pair.master), connect(pair.slave()));
    let mut rng = Rng::for_test("topics told");
    let mut took = Vec::new();
    for number in 0..20 {
        let topic = format!("Told{number}");
        // At any moment of the slave's round.
        std::thread::sleep(Duration::from_millis(rng.between(0, 200)));
        create_topic(&master, &topic, 1);
        let made = Instant::now();
        let ext = [("topic", topic)];
        let known = || slave.call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE);
        while known().expect("an answer").code != 0 {
            assert!(made.elapsed() < PATIENCE, "the slave never knew {ext:?}");
            std::thread::sleep(Duration::from_micros(200));
        }
        took.push(made.elapsed());
    }
    took.sort();
    println!(
        "a new topic is at the slave after {:?}, at most {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

/// Master and slave change places.
fn swap(to_be_master: &mut Broker, to_be_slave: &mut Broker) {
    to_be_slave.stop();
    to_be_master.stop();
    for (key, value) in [("brokerRole", "ASYNC_MASTER"), ("brokerId", "0")] {
        to_be_master.set(key, value);
    }
    for (key, value) in [("brokerRole", "SLAVE"), ("brokerId", "1")] {
        to_be_slave.set(key, value);
    }
    to_be_master.restart();
    to_be_slave.restart();
}

#[test]
fn a_planned_change_of_places_costs_no_offset() {
    let mut pair = start();
    let mut offset = 0;
    for round in 0..2 {
        let Pair { master, slave, .. } = &mut pair;
        let slave = slave.as_mut().expect("a slave");
        let (old, new) = if round == 0 {
            (master, slave)
        } else {
            (slave, master)
        };
        let client = connect(old);
        for _ in 0..20 {
            offset += 1;
            commit(&client, 0, offset);
        }
        // Planned: nothing is committed any more, and what was has gone over.
        wait_committed(new, 0, offset);
        swap(new, old);
        assert_eq!(committed(&connect(new), 0), Some(offset), "round {round}");
        wait_committed(old, 0, offset);
    }
}

#[test]
fn a_killed_master_costs_no_more_than_the_last_commits() {
    let mut pair = start();
    let client = connect(&pair.master);
    let begun = Instant::now();
    let mut commits = Vec::new();
    while begun.elapsed() < Duration::from_secs(2) {
        let offset = commits.len() as i64 + 1;
        commit(&client, 0, offset);
        commits.push((begun.elapsed(), offset));
    }
    pair.master.kill9();
    let killed_at = begun.elapsed();
    let known = committed(&connect(pair.slave()), 0).expect("an offset");
    let (_, last) = *commits.last().expect("commits");
    let lost = commits.iter().filter(|(_, offset)| *offset > known);
    let oldest_lost = lost.map(|(at, _)| killed_at - *at).max();
    println!(
        "committed {last}, the slave knows {known}; the oldest lost one was {oldest_lost:?} old"
    );
    assert!(known > 0);
    if std::env::var_os("CALLBOARD_STRICT").is_some() {
        assert!(oldest_lost.unwrap_or_default() < Duration::from_secs(1));
    }
}

#[test]
fn a_master_that_returns_does_not_drag_offsets_back() {
    let mut pair = start();
    commit(&connect(&pair.master), 0, 100);
    commit(&connect(&pair.master), 1, 100);
    wait_committed(pair.slave(), 0, 100);
    wait_committed(pair.slave(), 1, 100);
    pair.master.kill9();
    // Consumers go on at the slave, and commit there.
    commit(&connect(pair.slave()), 0, 150);
    commit(&connect(pair.slave()), 2, 7);
    pair.master.restart();
    let master = connect(&pair.master);
    // At once: a consumer that asks first would read again from 100.
    assert_eq!(committed(&master, 0), Some(150));
    assert_eq!(committed(&master, 1), Some(100));
    assert_eq!(committed(&master, 2), Some(7));
    commit(&master, 1, 101);
    wait_committed(pair.slave(), 1, 101);
    assert_eq!(committed(&connect(pair.slave()), 0), Some(150));
    // The slave that was away while the master took commits drags nothing back either.
    pair.slave().kill9();
    commit(&master, 0, 160);
    pair.slave().restart();
    wait_committed(pair.slave(), 0, 160);
    assert_eq!(committed(&master, 0), Some(160));
}
