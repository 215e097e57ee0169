//! Light message queues: one record in several queues, named by its sender
//! (`enableLmq`, `enableMultiDispatch`).

mod common;

use common::console::crash;
use common::pair::Pair;
use common::pop::{Popped, Who, pop_now, try_ack};
use common::record::Record;
use common::remoting::{Client, Frame};
use common::requests::{
    DELETE_TOPIC_IN_BROKER, GET_MAX_OFFSET, GET_TOPIC_CONFIG, SEND_MESSAGE_V2, commit, committed,
    create_group, create_topic, must, offset_of, properties, pull_all, send_ext, wait_dispatched,
};
use common::server::{Cluster, is_java};
use common::{PATIENCE, eventually};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const TOPIC: &str = "ParentTopic";
const A: &str = "%LMQ%a";
const B: &str = "%LMQ%b";
const KEYS: &[(&str, &str)] = &[
    ("enableLmq", "true"),
    ("enableMultiDispatch", "true"),
    // Several files of each kind.
    ("mappedFileSizeCommitLog", "65536"),
    ("mappedFileSizeConsumeQueue", "2000"),
];
const SYSTEM_ERROR: i32 = 1;

fn connect(to: SocketAddr) -> Client {
    Client::connect(to).expect("connect")
}

fn try_send(client: &Client, topic: &str, body: &str, names: &str) -> Frame {
    let text = properties(&[
        ("TAGS", "t"),
        ("INNER_MULTI_DISPATCH", names),
        ("KEYS", body),
    ]);
    let ext = send_ext(topic, 0, &text);
    let answer = client.call(SEND_MESSAGE_V2, &ext, body.as_bytes(), PATIENCE);
    answer.expect("an answer")
}

fn send(client: &Client, body: &str, names: &str) {
    must(Ok(try_send(client, TOPIC, body, names)), "send");
}

/// Sends `numbers`: all to A, every third to B, too.
fn send_numbers(client: &Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let names = match number % 3 {
            0 => format!("{A},{B}"),
            _ => A.to_owned(),
        };
        send(client, &number.to_string(), &names);
    }
}

fn bodies(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8(record.body.clone()).expect("text");
    records.iter().map(text).collect()
}

/// Each queue has what it should, at the offsets that the records name.
fn check(client: &Client, sent: usize) {
    let wanted = |step: usize| (0..sent).step_by(step).map(|n| n.to_string());
    for (queue, step) in [(TOPIC, 1), (A, 1), (B, 3)] {
        let records = pull_all(client, queue, 0, 0);
        assert_eq!(
            bodies(&records),
            wanted(step).collect::<Vec<_>>(),
            "{queue}"
        );
        assert!(records.iter().all(|record| record.topic == TOPIC));
        if queue != TOPIC {
            let named = records.iter().map(|record| record.light_offset(queue));
            assert!(named.eq((0..records.len() as i64).map(Some)), "{queue}");
        }
        let max = offset_of(client, GET_MAX_OFFSET, queue, 0);
        assert_eq!(max, records.len() as i64, "{queue}");
    }
}

#[test]
fn a_record_enters_the_queues_that_it_names() {
    let mut cluster = Cluster::start(KEYS);
    let mut client = connect(cluster.broker.address());
    create_topic(&client, TOPIC, 1);
    send_numbers(&client, 0..300);
    check(&client, 300);
    // A queue without its files gets them again from the log, as after a crash of its actor.
    let rounds: [fn(&mut Cluster); 3] = [
        |cluster| cluster.broker.stop(),
        |cluster| cluster.broker.kill9(),
        |cluster| {
            cluster.broker.stop();
            let folder = cluster.broker.store().join("consumequeue").join(B);
            std::fs::remove_dir_all(folder).expect("removed");
        },
    ];
    // RocketMQ finds nothing missing as long as another queue reaches to the log's end.
    let count = if is_java() { 2 } else { 3 };
    for (round, end) in (1..).zip(rounds).take(count) {
        end(&mut cluster);
        cluster.broker.restart();
        client = connect(cluster.broker.address());
        check(&client, round * 300);
        send_numbers(&client, round * 300..(round + 1) * 300);
        check(&client, (round + 1) * 300);
    }
    if is_java() {
        return;
    }
    for actor in ["commit_log_writer", "dispatcher", "index"] {
        crash(
            cluster.broker.console(),
            &format!("broker/store/{actor}"),
            None,
        );
    }
    send_numbers(&client, 1200..1299);
    check(&client, 1299);
    // Written, and then nobody was told: all of its queues have it, or none.
    let writer = "broker/store/commit_log_writer";
    crash(cluster.broker.console(), writer, Some("after_bytes"));
    let untold = try_send(&client, TOPIC, "1299", &format!("{A},{B}"));
    assert_ne!(untold.code, 0);
    wait_dispatched(&client);
    let sent = offset_of(&client, GET_MAX_OFFSET, TOPIC, 0) as usize;
    check(&client, sent);
    send_numbers(&client, sent..1400);
    check(&client, 1400);
    // Queues without traffic of their own are found by key once, not once a queue.
    let found = eventually("the key is found", || {
        let found = common::requests::query_by_key(&client, TOPIC, "3");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(found.len(), 1);
}

#[test]
fn groups_and_topics_of_light_queues_need_not_be_made() {
    let mut cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    create_topic(&client, TOPIC, 1);
    send_numbers(&client, 0..10);
    let known = |client: &Client, topic: &str| {
        let ext = [("topic", topic.to_owned())];
        let answer = client.call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE);
        answer.expect("an answer").code
    };
    assert_eq!(known(&client, A), 0);
    create_group(&client, "test_group");
    commit(&client, "%LMQ%group", A, 0, 4);
    commit(&client, "test_group", TOPIC, 0, 5);
    cluster.broker.stop();
    let config = cluster.broker.store().join("config");
    let text = std::fs::read_to_string(config.join("lmqConsumerOffset.json")).expect("a file");
    // RocketMQ's keys are no strings.
    assert!(text.contains(r#""%LMQ%a@%LMQ%group":4"#), "{text}");
    assert!(text.contains(r#""ParentTopic@test_group""#), "{text}");
    assert!(!std::fs::exists(config.join("consumerOffset.json")).expect("looked"));
    let topics = std::fs::read_to_string(config.join("topics.json")).expect("a file");
    assert!(!topics.contains("%LMQ%"), "{topics}");
    cluster.broker.restart();
    let client = connect(cluster.broker.address());
    assert_eq!(committed(&client, "%LMQ%group", A, 0), Some(4));
    assert_eq!(committed(&client, "test_group", TOPIC, 0), Some(5));
    assert_eq!(pull_all(&client, A, 0, 4).len(), 6);
    // Switched off, they are topics like others.
    cluster.broker.stop();
    cluster.broker.set("enableLmq", "false");
    cluster.broker.restart();
    let client = connect(cluster.broker.address());
    assert_ne!(known(&client, A), 0);
    send(&client, "10", B);
    assert_eq!(pull_all(&client, TOPIC, 0, 10).len(), 1);
}

#[test]
fn names_that_are_no_light_queues_are_passed_over() {
    let mut keys = KEYS.to_vec();
    keys.push(("maxLmqConsumeQueueNum", "2"));
    let cluster = Cluster::start(&keys);
    let client = connect(cluster.broker.address());
    create_topic(&client, TOPIC, 1);
    let many = "%LMQ%x/y,%LMQ%a,,other";
    for (body, names) in (0..).zip(["other", "%LMQ%x/y", many]) {
        send(&client, &format!("{body}"), names);
    }
    assert_eq!(bodies(&pull_all(&client, TOPIC, 0, 0)), ["0", "1", "2"]);
    if is_java() {
        // An entry at all, the same queue twice, and the bound are ours.
        return;
    }
    assert_eq!(bodies(&pull_all(&client, A, 0, 0)), ["2"]);
    // The same queue twice, and the queue that it is sent to.
    send(&client, "3", &format!("{A},{A}"));
    must(Ok(try_send(&client, A, "4", &format!("{B},{A}"))), "send");
    assert_eq!(bodies(&pull_all(&client, A, 0, 0)), ["2", "3", "4"]);
    assert_eq!(bodies(&pull_all(&client, B, 0, 0)), ["4"]);
    let full = try_send(&client, TOPIC, "5", "%LMQ%c");
    assert_eq!(full.code, SYSTEM_ERROR);
    assert!(full.remark.starts_with("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]"));
    assert_eq!(pull_all(&client, TOPIC, 0, 0).len(), 4);
}

#[test]
fn a_light_queue_is_popped() {
    let cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    create_topic(&client, TOPIC, 1);
    create_group(&client, "test_group");
    send_numbers(&client, 0..30);
    wait_dispatched(&client);
    let who = Who {
        topic: B,
        group: "test_group",
    };
    let texts = |popped: &[Popped]| popped.iter().map(Popped::text).collect::<BTreeSet<_>>();
    let popped = pop_now(&client, who, 32, 1_000);
    let numbers = (0..30).step_by(3).map(|n| n.to_string());
    assert_eq!(texts(&popped), numbers.collect());
    assert!(
        pop_now(&client, who, 32, 1_000).is_empty(),
        "they are hidden"
    );
    for message in &popped[1..] {
        must(try_ack(&client, who, message), "ack");
    }
    let back = eventually("the one comes back", || {
        let back = pop_now(&client, who, 32, 60_000);
        (!back.is_empty()).then_some(back)
    });
    assert_eq!(texts(&back), texts(&popped[..1]));
    must(try_ack(&client, who, &back[0]), "ack");
    // The copy that came back entered no light queue again.
    assert_eq!(pull_all(&client, B, 0, 0).len(), 10);
}

#[test]
fn a_deleted_light_queue_begins_anew() {
    let mut cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    create_topic(&client, TOPIC, 1);
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let client = connect(cluster.broker.address());
            let mut number = 0;
            while !stop.load(Relaxed) {
                // One that comes into a deletion is refused, and stored nowhere.
                try_send(&client, TOPIC, &number.to_string(), A);
                number += 1;
            }
            number
        });
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(50));
            let ext = [("topic", A.to_owned())];
            let deleted = client.call(DELETE_TOPIC_IN_BROKER, &ext, b"", PATIENCE);
            must(deleted, "delete");
        }
        stop.store(true, Relaxed);
        sender.join().expect("a sender")
    });
    send(&client, "last", A);
    let read = |client: &Client| {
        let records = pull_all(client, A, 0, 0);
        let offsets = records.iter().map(|record| record.light_offset(A));
        assert!(offsets.eq((0..records.len() as i64).map(Some)));
        bodies(&records)
    };
    let before = read(&client);
    assert_eq!(before.last().map(String::as_str), Some("last"));
    assert!(before.len() < sent, "nothing was deleted");
    if is_java() {
        // Whether a deletion outlives a kill there is another question.
        return;
    }
    cluster.broker.kill9();
    cluster.broker.restart();
    assert_eq!(read(&connect(cluster.broker.address())), before);
}

#[test]
fn a_slave_has_the_same_queues() {
    let mut pair = Pair::start(&KEYS[..2]);
    let client = connect(pair.master.address());
    create_topic(&client, TOPIC, 1);
    send_numbers(&client, 0..50);
    pair.wait_in_sync();
    pair.wait_mirrored(TOPIC);
    let slave = connect(pair.slave().address());
    eventually("the slave has handed all on", || {
        (offset_of(&slave, GET_MAX_OFFSET, A, 0) == 50).then_some(())
    });
    check(&slave, 50);
}
