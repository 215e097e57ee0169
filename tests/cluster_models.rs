//! Each cluster model runs from its folder in `config/` with one command: it takes messages on all
//! masters, its slaves hold them, and SIGTERM ends all of it. And what happens when a server of it, or
//! the command itself, ends in another way.

mod common;

use common::PATIENCE;
use common::cluster::{Model, Server};
use common::eventually;
use common::pair::ha_status;
use common::remoting::Client;
use common::requests::{GET_TOPIC_CONFIG, SEND_MESSAGE_V2, create_topic, pull_all, send_ext};
use std::net::TcpListener;

const TOPIC: &str = "ModelTopic";
const QUEUES: i32 = 4;
const MESSAGES: usize = 5;

fn connect(server: &Server) -> Client {
    Client::connect(server.address).unwrap_or_else(|error| panic!("{}: {error}", server.name))
}

fn bodies_of(server: &Server, queue_id: i32, from: usize) -> Vec<Vec<u8>> {
    let body = |number| format!("{} {queue_id} {number}", server.key("brokerName")).into_bytes();
    (from..from + MESSAGES).map(body).collect()
}

/// Sends to each queue of a master; each send has to be answered with SEND_OK.
fn fill(master: &Server, from: usize) {
    let client = connect(master);
    create_topic(&client, TOPIC, QUEUES);
    for queue_id in 0..QUEUES {
        for body in bodies_of(master, queue_id, from) {
            let ext = send_ext(TOPIC, queue_id, "");
            let answer = client.call(SEND_MESSAGE_V2, &ext, &body, PATIENCE);
            let answer = answer.expect("an answer");
            assert_eq!(answer.code, 0, "{}: {}", master.name, answer.remark);
        }
    }
}

/// Waits until each queue has exactly what was sent.
fn check(server: &Server, rounds: usize) {
    let client = connect(server);
    for queue_id in 0..QUEUES {
        let sent: Vec<_> = (0..rounds)
            .flat_map(|round| bodies_of(server, queue_id, round * MESSAGES))
            .collect();
        let what = format!("{} has what was sent to queue {queue_id}", server.name);
        eventually(&what, || {
            let found = pull_all(&client, TOPIC, queue_id, 0);
            let found: Vec<_> = found.into_iter().map(|record| record.body).collect();
            assert!(found.len() <= sent.len(), "more than was sent");
            (found == sent).then_some(())
        });
    }
}

/// Waits until every slave of a master follows it and holds its log.
fn wait_in_sync(model: &Model, master: &Server) {
    let slaves = model.slaves();
    let slaves = slaves.filter(|slave| slave.key("brokerName") == master.key("brokerName"));
    let slaves = slaves.count();
    let client = connect(master);
    eventually("the slaves hold the log", || {
        let status = ha_status(&client);
        let end = status["masterCommitLogMaxOffset"].as_i64()?;
        let all = status["haConnectionInfo"].as_array()?;
        let holds = |slave: &&serde_json::Value| slave["slaveAckOffset"].as_i64() == Some(end);
        (all.iter().filter(holds).count() == slaves).then_some(())
    });
}

/// A slave is asked only for topics that it knows.
fn wait_mirrored(slave: &Server) {
    let client = connect(slave);
    eventually("the slave knows the topic", || {
        let ext = [("topic", TOPIC.to_owned())];
        let answer = client.call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE).ok()?;
        (answer.code == 0).then_some(())
    });
}

fn run(name: &str) {
    let mut model = Model::copy(name);
    model.start(&[]);
    assert_eq!(model.children().len(), model.servers.len());
    model.wait_registered();
    for master in model.masters() {
        wait_in_sync(&model, master);
        fill(master, 0);
        check(master, 1);
        wait_in_sync(&model, master);
    }
    for slave in model.slaves() {
        wait_mirrored(slave);
        check(slave, 1);
    }
    let data = std::fs::canonicalize(model.data()).expect("data");
    for broker in model.brokers() {
        assert!(model.store(broker).starts_with(&data));
        assert!(model.store(broker).join("commitlog").is_dir());
    }
    assert_eq!(model.stop(), 0, "{}", model.log_text());
    let log = model.log_text();
    let stopped = |server: &Server| {
        let line = format!("{} stopped with exit status: 0", server.name);
        log.find(&line)
            .unwrap_or_else(|| panic!("no {line:?} in {log}"))
    };
    let of = |servers: &mut dyn Iterator<Item = &Server>| -> Vec<usize> {
        servers.map(stopped).collect()
    };
    // Masters end before their slaves, which take the rest of the log, and NameServers last.
    let (masters, slaves) = (of(&mut model.masters()), of(&mut model.slaves()));
    let namesrvs = of(&mut model.servers.iter().filter(|server| server.is_namesrv()));
    assert!(
        masters
            .iter()
            .all(|at| slaves.iter().all(|other| at < other))
    );
    let brokers = masters.iter().chain(&slaves);
    assert!(brokers.max() < namesrvs.iter().min(), "{log}");
    for broker in model.brokers() {
        let abort = model.store(broker).join("abort");
        assert!(!abort.exists(), "{} did not stop in order", broker.name);
    }
}

#[test]
fn standalone() {
    run("standalone");
}

#[test]
fn one_master_one_slave_async() {
    run("1m-1s-async");
}

#[test]
fn one_master_one_slave_sync() {
    run("1m-1s-sync");
}

#[test]
fn two_masters() {
    run("2m-noslave");
}

#[test]
fn two_masters_two_slaves_async() {
    run("2m-2s-async");
}

#[test]
fn two_masters_two_slaves_sync() {
    run("2m-2s-sync");
}

/// docs/clusters.md: the files change, the stores stay.
#[test]
fn roles_change_by_hand() {
    let mut model = Model::copy("1m-1s-sync");
    model.start(&[]);
    let (old, new) = ("broker-a", "broker-a-s");
    wait_in_sync(&model, model.server(old));
    fill(model.server(old), 0);
    wait_in_sync(&model, model.server(old));
    wait_mirrored(model.server(new));
    assert_eq!(model.stop(), 0, "{}", model.log_text());
    for (key, slave, master) in [
        ("brokerRole", "SLAVE", "SYNC_MASTER"),
        ("brokerId", "1", "0"),
        ("inSyncReplicas", "1", "2"),
    ] {
        model.set(old, key, slave);
        model.set(new, key, master);
    }
    model.start(&[]);
    model.wait_registered();
    let master = model.server(new);
    check(master, 1);
    wait_in_sync(&model, master);
    fill(master, MESSAGES);
    wait_in_sync(&model, master);
    check(master, 2);
    check(model.server(old), 2);
    assert_eq!(model.stop(), 0, "{}", model.log_text());
}

#[test]
fn the_others_go_on_when_one_ends() {
    let mut model = Model::copy("2m-noslave");
    model.start(&[]);
    model.child("broker-b").kill9();
    model.wait_for("broker-b ended by itself with signal: 9");
    assert_eq!(model.children().len(), 2, "and it was waited for");
    fill(model.server("broker-a"), 0);
    check(model.server("broker-a"), 1);
    // The one that is gone is no reason to say that the stop failed.
    assert_eq!(model.stop(), 0, "{}", model.log_text());
}

#[test]
fn all_end_with_one_if_told_so() {
    let mut model = Model::copy("2m-noslave");
    model.start(&["--exit-when-one-ends"]);
    let children = model.children();
    model.child("broker-b").kill9();
    let code = eventually("the end", || model.process().exited());
    assert_eq!(code, 1, "{}", model.log_text());
    assert!(!children.iter().any(|child| child.is_listed()));
    let log = model.log_text();
    assert!(log.contains("namesrv stopped with exit status: 0"), "{log}");
}

/// Nobody is there to stop them in order, so the kernel tells them.
#[test]
fn the_servers_end_with_the_command() {
    let mut model = Model::copy("1m-1s-async");
    model.start(&[]);
    fill(model.server("broker-a"), 0);
    let children = model.children();
    assert_eq!(children.len(), 3);
    model.process().kill();
    eventually("all servers end", || {
        (!children.iter().any(|child| child.is_running())).then_some(())
    });
    for broker in model.brokers() {
        let abort = model.store(broker).join("abort");
        assert!(!abort.exists(), "{} did not stop in order", broker.name);
    }
}

#[test]
fn a_server_that_does_not_start_is_named() {
    let mut model = Model::copy("2m-noslave");
    let taken = TcpListener::bind(model.server("broker-b").address).expect("bind");
    model.spawn(&[]);
    let code = eventually("the end", || model.process().exited());
    drop(taken);
    let log = model.log_text();
    assert_eq!(code, 1, "{log}");
    let file = model.server("broker-b").file.display().to_string();
    let words = format!("broker-b did not start: broker -c {file} ended with exit status: 1");
    let (_, after) = log.split_once(&words).unwrap_or_else(|| panic!("{log}"));
    assert!(after.contains("Address already in use"), "{log}");
    assert!(log.contains("namesrv stopped with exit status: 0"), "{log}");
    assert!(!log.contains("cluster ready"), "{log}");
}
