//! Topics with `queue.type=BatchCQ`: a batch is stored as one record, takes an offset for each of its
//! messages, and is found by any of them.

mod common;

use common::console::crash;
use common::pair::Pair;
use common::pop::{POP_MESSAGE, Who, pop_ext};
use common::record::{self, Record};
use common::remoting::{Client, Frame};
use common::requests::{
    DELETE_EXPIRED_COMMITLOG, DELETE_TOPIC_IN_BROKER, Ext, GET_MAX_OFFSET, GET_MIN_OFFSET,
    PULL_MESSAGE, SEND_MESSAGE_V2, UPDATE_AND_CREATE_TOPIC, create_group, create_topic, must,
    offset_of, properties, pull_all, pull_ext, send_ext, set, topic_ext, view, wait_dispatched,
};
use common::server::{Cluster, is_java};
use common::{PATIENCE, eventually};
use std::net::SocketAddr;

const TOPIC: &str = "BatchTopic";
const SEND_BATCH_MESSAGE: i32 = 320;
const CONSUMER_SEND_MSG_BACK: i32 = 36;
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const QUERY_CONSUME_QUEUE: i32 = 321;
const KEYS: &[(&str, &str)] = &[
    // Several files of each kind.
    ("mappedFileSizeCommitLog", "65536"),
    ("mappedFileSizeConsumeQueue", "2000"),
    ("mapperFileSizeBatchConsumeQueue", "2300"),
];
const INNER_BATCH: i32 = 0x80;
const NEED_UNWRAP: i32 = 0x40;

fn connect(to: SocketAddr) -> Client {
    Client::connect(to).expect("connect")
}

fn create_batch_topic(client: &Client, topic: &str) {
    let mut ext = topic_ext(topic, 1);
    ext.push(("attributes", "+queue.type=BatchCQ".into()));
    let made = client.call(UPDATE_AND_CREATE_TOPIC, &ext, b"", PATIENCE);
    must(made, "create topic");
    create_group(client, "test_group");
}

/// A wire batch of these bodies.
fn batch_of(bodies: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    for body in bodies {
        let text = properties(&[("UNIQ_KEY", body), ("number", body)]);
        let size = 22 + body.len() + text.len();
        for word in [size, 0, 0, 7, body.len()] {
            out.extend((word as u32).to_be_bytes());
        }
        out.extend(body.as_bytes());
        out.extend((text.len() as u16).to_be_bytes());
        out.extend(text.as_bytes());
    }
    out
}

/// The bodies in a wire batch.
fn bodies_in(mut batch: &[u8]) -> Vec<String> {
    let mut bodies = Vec::new();
    while !batch.is_empty() {
        let word = |at: usize| u32::from_be_bytes(batch[at..at + 4].try_into().unwrap()) as usize;
        let (size, len) = (word(0), word(16));
        bodies.push(String::from_utf8(batch[20..20 + len].to_vec()).expect("text"));
        batch = &batch[size..];
    }
    bodies
}

fn batch_ext(topic: &str, id: Option<&str>) -> Ext {
    let text = id.map(|id| properties(&[("UNIQ_KEY", id), ("KEYS", id), ("TAGS", "t")]));
    let mut ext = send_ext(topic, 0, &text.unwrap_or_default());
    set(&mut ext, "m", "true");
    ext
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Sends the numbers `from..to`: in batches with an id, in one without, and singly.
fn send_numbers(client: &Client, from: usize, to: usize) {
    let mut next = from;
    for turn in 0.. {
        if next >= to {
            return;
        }
        let size = [5, 1, 17, 2, 3][turn % 5].min(to - next);
        let bodies = numbers(next..next + size);
        let id = format!("id-{next}");
        let answer = match turn % 5 {
            1 => {
                let ext = send_ext(TOPIC, 0, "");
                client.call(SEND_MESSAGE_V2, &ext, bodies[0].as_bytes(), PATIENCE)
            }
            3 => {
                let ext = batch_ext(TOPIC, None);
                client.call(SEND_BATCH_MESSAGE, &ext, &batch_of(&bodies), PATIENCE)
            }
            _ => {
                let ext = batch_ext(TOPIC, Some(&id));
                client.call(SEND_BATCH_MESSAGE, &ext, &batch_of(&bodies), PATIENCE)
            }
        };
        let answer = must(answer, "send");
        assert_eq!(answer.ext_number("queueOffset"), next as i64);
        if ![1, 3].contains(&(turn % 5)) {
            assert_eq!(answer.ext_text("batchUniqId"), id);
            assert_eq!(answer.ext_text("transactionId"), id);
            assert!(!answer.ext_text("msgId").contains(','));
        }
        next += size;
    }
}

/// The messages in records, by their offsets.
fn unwrapped(records: &[Record]) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    for record in records {
        let bodies = match record.property("INNER_NUM") {
            None => vec![String::from_utf8(record.body.clone()).expect("text")],
            Some(number) => {
                let bodies = bodies_in(&record.body);
                assert_eq!(number.parse(), Ok(bodies.len()));
                let base = record.property("INNER_BASE").expect("a base");
                assert_eq!(base.parse(), Ok(record.queue_offset));
                bodies
            }
        };
        all.extend((record.queue_offset..).zip(bodies));
    }
    all
}

fn pull_at(client: &Client, offset: i64, max: i64) -> Frame {
    let mut ext = pull_ext(TOPIC, 0, offset, 0);
    set(&mut ext, "maxMsgNums", max.to_string());
    let answer = client.call(PULL_MESSAGE, &ext, b"", PATIENCE);
    must(answer, "pull")
}

/// The queue holds the numbers `min..sent`, each at its own offset, and is read from any of them.
fn check(client: &Client, min: usize, sent: usize) {
    let records = pull_all(client, TOPIC, 0, min as i64);
    let wanted = |from: usize| (from as i64..).zip(numbers(from..sent)).collect::<Vec<_>>();
    assert_eq!(unwrapped(&records), wanted(min));
    assert_eq!(offset_of(client, GET_MAX_OFFSET, TOPIC, 0), sent as i64);
    assert_eq!(offset_of(client, GET_MIN_OFFSET, TOPIC, 0), min as i64);
    for from in (min..sent).step_by(7) {
        let frame = pull_at(client, from as i64, 3);
        let found = record::parse_all(&frame.body);
        let next = frame.ext_number("nextBeginOffset");
        let first = &found[0];
        assert!(first.queue_offset <= from as i64 && next > from as i64);
        assert!(
            found.len() == 1 || next - first.queue_offset <= 3,
            "no more than asked for"
        );
        let holds = records
            .iter()
            .rfind(|known| known.queue_offset <= from as i64);
        assert_eq!(
            holds.expect("one").physical_offset,
            first.physical_offset,
            "{from}"
        );
    }
}

#[test]
fn a_batch_is_found_by_each_of_its_offsets() {
    let mut cluster = Cluster::start(KEYS);
    let mut client = connect(cluster.broker.address());
    create_batch_topic(&client, TOPIC);
    send_numbers(&client, 0, 2000);
    check(&client, 0, 2000);
    let rounds: [fn(&mut Cluster); 3] = [
        |cluster| cluster.broker.stop(),
        |cluster| cluster.broker.kill9(),
        |cluster| {
            cluster.broker.stop();
            let folder = cluster.broker.store().join("batchconsumequeue").join(TOPIC);
            std::fs::remove_dir_all(folder).expect("removed");
        },
    ];
    // RocketMQ makes nothing anew that reaches below its checkpoint.
    let count = if is_java() { 2 } else { 3 };
    let mut sent = 2000;
    for end in rounds.into_iter().take(count) {
        end(&mut cluster);
        cluster.broker.restart();
        client = connect(cluster.broker.address());
        check(&client, 0, sent);
        send_numbers(&client, sent, sent + 300);
        sent += 300;
        check(&client, 0, sent);
    }
    let store = cluster.broker.store();
    assert!(
        store
            .join("batchconsumequeue")
            .join(TOPIC)
            .join("0")
            .exists()
    );
    assert!(!store.join("consumequeue").join(TOPIC).exists());
    if is_java() {
        return;
    }
    for actor in ["commit_log_writer", "dispatcher", "index"] {
        let path = format!("broker/store/{actor}");
        crash(cluster.broker.console(), &path, None);
        send_numbers(&client, sent, sent + 50);
        sent += 50;
        check(&client, 0, sent);
    }
    // Written, and then nobody was told: the next batch begins behind all of it.
    let writer = "broker/store/commit_log_writer";
    crash(cluster.broker.console(), writer, Some("after_bytes"));
    let bodies = numbers(sent..sent + 9);
    let ext = batch_ext(TOPIC, Some("untold"));
    let untold = client.call(SEND_BATCH_MESSAGE, &ext, &batch_of(&bodies), PATIENCE);
    assert_ne!(untold.expect("answered").code, 0);
    wait_dispatched(&client);
    let now = offset_of(&client, GET_MAX_OFFSET, TOPIC, 0) as usize;
    assert!(
        now == sent || now == sent + 9,
        "all of it or nothing: {now} of {sent}"
    );
    send_numbers(&client, now, now + 40);
    check(&client, 0, now + 40);
    // A queue whose actor dies with a hand-over reads it again.
    let queue = format!("broker/store/queues/0/{TOPIC}/0");
    crash(cluster.broker.console(), &queue, Some("mid_write"));
    send_numbers(&client, now + 40, now + 80);
    check(&client, 0, now + 80);
}

#[test]
fn one_record_is_one_answer_for_many_messages() {
    let cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    create_batch_topic(&client, TOPIC);
    let range = |code| offset_of(&client, code, TOPIC, 0);
    assert_eq!(range(GET_MAX_OFFSET), 0);
    send_numbers(&client, 0, 56);
    let records = pull_all(&client, TOPIC, 0, 0);
    let first = &records[0];
    let raw = view(&client, first.physical_offset).expect("the record");
    assert_eq!(raw.property("INNER_NUM"), Some("5"));
    assert_eq!(raw.property("CLUSTER"), Some("DefaultCluster"));
    // By key: the batch's own.
    let found = eventually("the key is found", || {
        let found = common::requests::query_by_key(&client, TOPIC, "id-0");
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(found[0].physical_offset, first.physical_offset);
    // A held pull is woken, and goes on behind the batch.
    let (to, from) = std::sync::mpsc::channel();
    let held = pull_ext(TOPIC, 0, 56, 15_000);
    client.start(PULL_MESSAGE, &held, b"", &to).expect("sent");
    send_numbers(&client, 56, 61);
    let woken = from
        .recv_timeout(PATIENCE)
        .expect("woken")
        .answer
        .expect("an answer");
    assert_eq!((woken.code, woken.ext_number("nextBeginOffset")), (0, 61));
    // Entries of the queue: those of the records that hold the wanted messages.
    let ext = [
        ("topic", TOPIC.to_owned()),
        ("queueId", "0".to_owned()),
        ("index", "2".to_owned()),
        ("count", "5".to_owned()),
    ];
    let told = client.call(QUERY_CONSUME_QUEUE, &ext, b"", PATIENCE);
    let told: serde_json::Value = serde_json::from_slice(&must(told, "321").body).expect("JSON");
    let places = told["queueData"].as_array().expect("entries").iter();
    let places: Vec<i64> = places
        .filter_map(|one| one["physicOffset"].as_i64())
        .collect();
    let wanted = records[..3].iter().map(|record| record.physical_offset);
    assert!(wanted.eq(places.iter().copied()), "{places:?}");
    // By time: the first message of a record, and never behind the last.
    let last = records.last().expect("one");
    for (time, offset) in [
        (0, 0),
        (first.store_timestamp, 0),
        (last.store_timestamp + 3_600_000, 56),
    ] {
        let ext = [
            ("topic", TOPIC.to_owned()),
            ("queueId", "0".to_owned()),
            ("timestamp", time.to_string()),
        ];
        let answer = client.call(SEARCH_OFFSET_BY_TIMESTAMP, &ext, b"", PATIENCE);
        assert_eq!(must(answer, "search").ext_number("offset"), offset);
    }
    // A retry topic takes no batches; single messages come back.
    let ext = |record: &Record| -> Ext {
        vec![
            ("offset", record.physical_offset.to_string()),
            ("group", "test_group".into()),
            ("delayLevel", "3".into()),
            ("originMsgId", "x".into()),
            ("originTopic", TOPIC.into()),
            ("unitMode", "false".into()),
            ("maxReconsumeTimes", "16".into()),
        ]
    };
    let back = client.call(CONSUMER_SEND_MSG_BACK, &ext(first), b"", PATIENCE);
    let back = back.expect("answered");
    assert_eq!((back.code, &*back.remark), (1, "MESSAGE_ILLEGAL"));
    let single = client.call(CONSUMER_SEND_MSG_BACK, &ext(&records[1]), b"", PATIENCE);
    must(single, "a single message goes back");
}

#[test]
fn what_is_no_inner_batch_is_refused() {
    let cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    create_batch_topic(&client, TOPIC);
    create_topic(&client, "Plain", 1);
    let call = |code, ext: &Ext, body: &[u8]| {
        let answer = client.call(code, ext, body, PATIENCE);
        answer.expect("answered").code
    };
    let numbered = properties(&[("INNER_NUM", "2")]);
    let marked = |topic: &str| {
        let mut ext = send_ext(
            topic,
            0,
            &properties(&[("INNER_NUM", "2"), ("UNIQ_KEY", "u")]),
        );
        set(&mut ext, "f", (INNER_BATCH | NEED_UNWRAP).to_string());
        ext
    };
    let two = batch_of(&numbers(0..2));
    for topic in [TOPIC, "Plain"] {
        let ext = send_ext(topic, 0, &numbered);
        assert_eq!(call(SEND_MESSAGE_V2, &ext, b"x"), 13, "{topic}");
    }
    assert_eq!(call(SEND_MESSAGE_V2, &marked("Plain"), &two), 13);
    assert_eq!(
        call(SEND_MESSAGE_V2, &marked(TOPIC), &two),
        0,
        "marked by its sender"
    );
    assert_eq!(offset_of(&client, GET_MAX_OFFSET, TOPIC, 0), 2);
    // Batches to ordinary topics are stored as their messages, as ever.
    assert_eq!(
        call(SEND_BATCH_MESSAGE, &batch_ext("Plain", Some("id")), &two),
        0
    );
    let plain = pull_all(&client, "Plain", 0, 0);
    assert!(plain.len() == 2 && plain.iter().all(|one| one.property("INNER_NUM").is_none()));
    if is_java() {
        return;
    }
    let mut cut = two.clone();
    cut.pop();
    let mut wrong_size = two.clone();
    wrong_size[3] += 1;
    let mut delayed = batch_ext(TOPIC, Some("id"));
    set(
        &mut delayed,
        "i",
        properties(&[("UNIQ_KEY", "u"), ("DELAY", "1")]),
    );
    let id = batch_ext(TOPIC, Some("id"));
    for (ext, body) in [(&id, &cut), (&id, &wrong_size), (&delayed, &two)] {
        assert_eq!(call(SEND_BATCH_MESSAGE, ext, body), 13);
    }
    let many = batch_of(&vec![String::new(); i16::MAX as usize + 1]);
    assert_eq!(
        call(SEND_BATCH_MESSAGE, &id, &many),
        13,
        "their number is a short"
    );
    assert_eq!(offset_of(&client, GET_MAX_OFFSET, TOPIC, 0), 2);
    let who = Who {
        topic: TOPIC,
        group: "test_group",
    };
    let popped = client.call(POP_MESSAGE, &pop_ext(who, 1, 10_000, 0, &[]), b"", PATIENCE);
    let popped = popped.expect("answered");
    assert_eq!(popped.code, 3, "{}", popped.remark);
    assert!(
        popped.remark.contains("queue.type=BatchCQ"),
        "{}",
        popped.remark
    );
}

#[test]
fn old_batches_go_with_the_log() {
    if is_java() {
        println!("NOT RUN: RocketMQ corrects the smallest offsets once a minute");
        return;
    }
    let mut cluster = Cluster::start(&[KEYS, &[("fileReservedTime", "0")]].concat());
    let mut client = connect(cluster.broker.address());
    create_batch_topic(&client, TOPIC);
    send_numbers(&client, 0, 3000);
    check(&client, 0, 3000);
    let deleted = client.call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE);
    must(deleted, "delete");
    let min = eventually("the old messages go", || {
        let min = offset_of(&client, GET_MIN_OFFSET, TOPIC, 0);
        (min > 1000).then_some(min)
    });
    // Retention may go on: what is there is whole.
    let files = |cluster: &Cluster| {
        let folder = cluster
            .broker
            .store()
            .join("batchconsumequeue")
            .join(TOPIC)
            .join("0");
        std::fs::read_dir(folder).expect("files").count()
    };
    eventually("the queue's old files go, too", || {
        (files(&cluster) < 15).then_some(())
    });
    let first = record::parse_all(&pull_at(&client, min, 1).body);
    assert_eq!(first[0].queue_offset, min);
    cluster.broker.kill9();
    cluster.broker.restart();
    client = connect(cluster.broker.address());
    let min = offset_of(&client, GET_MIN_OFFSET, TOPIC, 0);
    send_numbers(&client, 3000, 3100);
    let all = unwrapped(&pull_all(&client, TOPIC, 0, min));
    assert_eq!(
        all,
        (min..).zip(numbers(min as usize..3100)).collect::<Vec<_>>()
    );
}

#[test]
fn a_queue_without_messages_goes_on_at_its_offset() {
    if is_java() {
        println!("NOT RUN: RocketMQ begins at 0 again");
        return;
    }
    let mut cluster = Cluster::start(&[KEYS, &[("fileReservedTime", "0")]].concat());
    let mut client = connect(cluster.broker.address());
    create_batch_topic(&client, TOPIC);
    create_topic(&client, "Other", 1);
    send_numbers(&client, 0, 100);
    let fill = |client: &Client| {
        for _ in 0..40 {
            let ext = send_ext("Other", 0, "");
            must(
                client.call(SEND_MESSAGE_V2, &ext, &[7; 4000], PATIENCE),
                "send",
            );
        }
        must(
            client.call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE),
            "delete",
        );
    };
    fill(&client);
    eventually("all of its messages go", || {
        (offset_of(&client, GET_MIN_OFFSET, TOPIC, 0) == 100).then_some(())
    });
    for round in 0..3 {
        cluster.broker.stop();
        if round > 0 {
            let folder = cluster.broker.store().join("batchconsumequeue");
            std::fs::remove_dir_all(folder).expect("removed");
        }
        cluster.broker.restart();
        client = connect(cluster.broker.address());
        let range = [GET_MIN_OFFSET, GET_MAX_OFFSET].map(|code| offset_of(&client, code, TOPIC, 0));
        assert_eq!(range, [100 + round; 2], "round {round}");
        let ext = send_ext(TOPIC, 0, "");
        let sent = must(client.call(SEND_MESSAGE_V2, &ext, b"x", PATIENCE), "send");
        assert_eq!(sent.ext_number("queueOffset"), 100 + round);
        let left = pull_all(&client, TOPIC, 0, 100 + round);
        assert_eq!(left.len(), 1, "round {round}");
        fill(&client);
        eventually("that one goes, too", || {
            (offset_of(&client, GET_MIN_OFFSET, TOPIC, 0) == 101 + round).then_some(())
        });
    }
}

#[test]
fn a_topic_may_be_made_again_with_another_kind_of_queue() {
    let mut cluster = Cluster::start(KEYS);
    let mut client = connect(cluster.broker.address());
    let mut restart = |client: &mut Client| {
        cluster.broker.kill9();
        cluster.broker.restart();
        *client = connect(cluster.broker.address());
        let there = |kind: &str| cluster.broker.store().join(kind).join(TOPIC).exists();
        (there("consumequeue"), there("batchconsumequeue"))
    };
    let delete = |client: &Client| {
        let ext = [("topic", TOPIC.to_owned())];
        let deleted = client.call(DELETE_TOPIC_IN_BROKER, &ext, b"", PATIENCE);
        must(deleted, "delete");
    };
    for round in 0..2 {
        create_batch_topic(&client, TOPIC);
        send_numbers(&client, 0, 100);
        check(&client, 0, 100);
        assert_eq!(restart(&mut client), (false, true), "round {round}");
        check(&client, 0, 100);
        delete(&client);
        create_topic(&client, TOPIC, 1);
        for number in 0..10 {
            let body = format!("plain {number}");
            let ext = send_ext(TOPIC, 0, "");
            must(
                client.call(SEND_MESSAGE_V2, &ext, body.as_bytes(), PATIENCE),
                "send",
            );
        }
        for _ in 0..2 {
            let records = pull_all(&client, TOPIC, 0, 0);
            assert_eq!(records.len(), 10);
            assert_eq!(records[9].queue_offset, 9);
            assert_eq!(restart(&mut client), (true, false), "round {round}");
        }
        delete(&client);
    }
}

#[test]
fn a_slave_has_the_same_queues() {
    if is_java() {
        println!("NOT RUN: RocketMQ's slaves learn of topics a minute late");
        return;
    }
    let mut pair = Pair::start(KEYS);
    let master = connect(pair.master.address());
    create_batch_topic(&master, TOPIC);
    // At once, so that records may come before their topic does.
    let ext = send_ext(TOPIC, 0, "");
    must(master.call(SEND_MESSAGE_V2, &ext, b"0", PATIENCE), "send");
    send_numbers(&master, 1, 500);
    pair.wait_mirrored(TOPIC);
    let caught_up = |pair: &mut Pair, sent: i64| {
        let slave = connect(pair.slave().address());
        eventually("the slave has all", || {
            (offset_of(&slave, GET_MAX_OFFSET, TOPIC, 0) == sent).then_some(())
        });
        slave
    };
    let slave = caught_up(&mut pair, 500);
    check(&slave, 0, 500);
    let store = pair.slave().store();
    assert!(!store.join("consumequeue").join(TOPIC).exists());
    pair.slave().kill9();
    send_numbers(&master, 500, 800);
    pair.slave().restart();
    let slave = caught_up(&mut pair, 800);
    check(&slave, 0, 800);
    // One without anything has the log sooner than the topics, or the other way round.
    for _ in 0..3 {
        pair.slave().kill9();
        std::fs::remove_dir_all(pair.slave().store()).expect("removed");
        pair.slave().restart();
        pair.wait_mirrored(TOPIC);
        let slave = caught_up(&mut pair, 800);
        check(&slave, 0, 800);
        assert!(
            !pair
                .slave()
                .store()
                .join("consumequeue")
                .join(TOPIC)
                .exists()
        );
    }
    pair.master.kill9();
    pair.slave().become_master();
    let risen = connect(pair.slave().address());
    check(&risen, 0, 800);
    send_numbers(&risen, 800, 900);
    check(&risen, 0, 900);
}

/// The slave knew the topic as an ordinary one, and made its queue so: now it hears what it is.
#[test]
fn a_slave_may_learn_late_of_which_kind_a_topic_is() {
    if is_java() {
        println!("NOT RUN: RocketMQ's slaves do not start again then");
        return;
    }
    let mut pair = Pair::start(KEYS);
    let master = connect(pair.master.address());
    create_batch_topic(&master, TOPIC);
    for number in 0..9 {
        let ext = send_ext(TOPIC, 0, "");
        let body = number.to_string();
        must(
            master.call(SEND_MESSAGE_V2, &ext, body.as_bytes(), PATIENCE),
            "send",
        );
    }
    pair.wait_mirrored(TOPIC);
    pair.wait_in_sync();
    let store = pair.slave().store();
    let has = |kind: &str| store.join(kind).join(TOPIC).exists();
    // First with single messages only, then with batches, which tell by themselves.
    for round in 0..2 {
        // A clean stop writes the table down.
        pair.slave().stop();
        let file = store.join("config/topics.json");
        let text = std::fs::read(&file).expect("a table");
        let mut table: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        table["topicConfigTable"][TOPIC]["attributes"] = serde_json::json!({});
        table["dataVersion"]["counter"] = serde_json::json!(0);
        std::fs::write(&file, table.to_string()).expect("written");
        let _ = std::fs::remove_file(store.join("callboard/tails"));
        pair.slave().restart();
        let slave = connect(pair.slave().address());
        let sent = 9 + round * 200;
        eventually("its queue is one of batches", || {
            check(&slave, 0, sent);
            (has("batchconsumequeue") && !has("consumequeue")).then_some(())
        });
        send_numbers(&master, sent, sent + 200);
        eventually("the slave has all", || {
            let max = offset_of(&slave, GET_MAX_OFFSET, TOPIC, 0);
            (max == sent as i64 + 200).then_some(())
        });
        check(&slave, 0, sent + 200);
    }
}
