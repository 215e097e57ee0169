//! Static topics: logic queues that two brokers keep between them, moved from one to the other and back.
//! What is sent to a logic queue is read there in order, wherever it lies and whoever was killed.

mod common;

use common::console::crash;
use common::pair::{Pair, ha_status};
use common::remoting::{Client, Frame};
use common::requests::{
    DELETE_EXPIRED_COMMITLOG, DELETE_TOPIC_IN_BROKER, Ext, GET_CONSUME_STATS, GET_MAX_OFFSET,
    GET_MIN_OFFSET, PULL_MESSAGE, QUERY_CONSUMER_OFFSET, SEND_MESSAGE_V2, UPDATE_CONSUMER_OFFSET,
    commit, commit_ext, committed, create_group, must, now_ms, offset_of, send_ext,
    wait_dispatched,
};
use common::server::{Broker, Folder, is_java};
use common::static_topic::{
    Mapping, Masters, NOT_LEADER_FOR_QUEUE, Stretch, logic_pull_ext, mapping_at, name, read, route,
    send, send_mapping, sent,
};
use common::{PATIENCE, eventually};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TOPIC: &str = "StaticTopic";
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const GET_EARLIEST_MSG_STORETIME: i32 = 32;
const GET_TOPIC_STATS_INFO: i32 = 202;
const GET_ALL_TOPIC_CONFIG: i32 = 21;
const SYSTEM_ERROR: i32 = 1;
const FLUSH_SLAVE_TIMEOUT: i32 = 12;
const QUERY_NOT_FOUND: i32 = 22;
/// The epoch of the first mapping.
const EPOCH: i64 = 1_000_000;
const A: usize = 0;
const B: usize = 1;

fn mapping(broker: usize, epoch: i64, queues: &[(i32, &[Stretch])]) -> Mapping {
    Mapping {
        topic: TOPIC,
        broker,
        epoch,
        total: 3,
        queues: queues
            .iter()
            .map(|(queue, stretches)| (*queue, stretches.to_vec()))
            .collect(),
    }
}

fn ask(client: &Client, code: i32, ext: &Ext) -> Frame {
    client.call(code, ext, b"", PATIENCE).expect("answered")
}

fn queue_ext(queue: i32) -> Ext {
    vec![("topic", TOPIC.into()), ("queueId", queue.to_string())]
}

fn offset_at(client: &Client, queue: i32, time: i64, boundary: &str) -> i64 {
    let mut ext = queue_ext(queue);
    ext.push(("timestamp", time.to_string()));
    ext.push(("boundaryType", boundary.into()));
    let answer = client.call(SEARCH_OFFSET_BY_TIMESTAMP, &ext, b"", PATIENCE);
    must(answer, "offset at a time").ext_number("offset")
}

/// Creates three logic queues: 0 and 1 on A, 2 on B.
fn create(masters: &Masters) {
    let on_a: [(i32, &[Stretch]); 2] = [(0, &[(A, 0, 0, 0)]), (1, &[(A, 0, 1, 0)])];
    mapping(A, EPOCH, &on_a).put(&masters.client(A), 2);
    mapping(B, EPOCH, &[(2, &[(B, 0, 0, 0)])]).put(&masters.client(B), 1);
}

fn numbered(name: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{name}-{number}")).collect()
}

/// Sends; yields the logic offsets.
fn send_all(client: &Client, queue: i32, bodies: &[String]) -> Vec<i64> {
    let send = |body: &String| sent(client, TOPIC, queue, body);
    let offsets = bodies.iter().map(send).collect();
    wait_dispatched(client);
    offsets
}

#[test]
fn a_queue_is_read_in_order_across_its_moves() {
    let mut masters = Masters::start(2, &[]);
    create(&masters);
    let (a, b) = (masters.client(A), masters.client(B));
    let first = numbered("first", 0..40);
    for (client, queue) in [(&a, 0), (&a, 1), (&b, 2)] {
        let offsets = send_all(client, queue, &first);
        assert_eq!(offsets, (0..40).collect::<Vec<_>>());
        let found = read(client, TOPIC, queue, 0, 7);
        assert_eq!((found.bodies(), found.end), (refs(&first), 40));
    }
    refuses_others_queues(&a, 2);
    refuses_others_queues(&b, 0);
    commit(&a, "test_group", TOPIC, 0, 25);
    assert_eq!(committed(&a, "test_group", TOPIC, 0), Some(25));
    let leaders = |masters: &Masters| {
        let by_broker = route(&masters.namesrv, TOPIC)?["topicQueueMappingByBroker"].clone();
        let map = |at: usize| by_broker[name(at)]["currIdMap"].clone();
        Some((map(A), map(B)))
    };
    let told = |masters: &Masters, a: &str, b: &str| {
        let read = |text| serde_json::from_str::<Value>(text).expect("JSON");
        let wanted = Some((read(a), read(b)));
        if is_java() {
            // Its answer does not wait for the NameServer.
            eventually("the route", || (leaders(masters) == wanted).then_some(()));
        }
        assert_eq!(leaders(masters), wanted);
    };
    told(&masters, r#"{"0":0,"1":1}"#, r#"{"2":0}"#);

    // B takes queue 0 over: first without a place in it, then A lets go.
    let undecided: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 1, -1)];
    let on_b = |stretches| [(0, stretches), (2, &[(B, 0, 0, 0)][..])];
    let on_a = |stretches| [(0, stretches), (1, &[(A, 0, 1, 0)][..])];
    let epoch = EPOCH + 1000;
    mapping(B, epoch, &on_b(undecided)).put(&b, 2);
    mapping(A, epoch, &on_a(undecided)).put(&a, 2);
    told(&masters, r#"{"1":1}"#, r#"{"0":1,"2":0}"#);
    refuses_others_queues(&a, 0);
    let second = numbered("second", 0..30);
    assert_eq!(sent(&b, TOPIC, 0, &second[0]), -1);
    // What lies at A is read by way of B, and nothing of B's yet.
    let found = read(&b, TOPIC, 0, 0, 7);
    assert_eq!((found.bodies(), found.end), (refs(&first), 40));
    assert_eq!(offset_of(&b, GET_MIN_OFFSET, TOPIC, 0), 0);
    if !is_java() {
        // It asks A for the end of B's queue.
        assert_eq!(offset_of(&b, GET_MAX_OFFSET, TOPIC, 0), 40);
    }
    let between = now_ms();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let placed: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 1, 10_000)];
    mapping(B, epoch, &on_b(placed)).put(&b, 2);
    let offsets = send_all(&b, 0, &second[1..]);
    assert_eq!(offsets, (10_001..10_030).collect::<Vec<_>>());
    let both: Vec<&str> = refs(&first).into_iter().chain(refs(&second)).collect();
    let check = |leader: &Client| {
        for batch in [1, 7, 100] {
            let found = read(leader, TOPIC, 0, 0, batch);
            assert_eq!((found.bodies(), found.end), (both.clone(), 10_030));
            let offsets: Vec<i64> = found.messages.iter().map(|(offset, _)| *offset).collect();
            let wanted: Vec<i64> = (0..40).chain(10_000..10_030).collect();
            assert_eq!(offsets, wanted);
        }
        let late = read(leader, TOPIC, 0, 38, 100);
        assert_eq!(late.bodies(), both[38..]);
        // What nobody was ever told lies behind the end of the first stretch.
        let gap = read(leader, TOPIC, 0, 5_000, 100);
        assert_eq!(gap.bodies(), both[40..]);
    };
    check(&b);
    offsets_of_the_moved_queue(&a, &b, between);

    // Whoever is killed finds its mapping again.
    drop((a, b));
    for at in [A, B] {
        masters.brokers[at].kill9();
        masters.brokers[at].restart();
        eventually("the other broker finds it again", || {
            let leader = masters.client(B);
            let ext = logic_pull_ext(TOPIC, 0, 0, 1);
            (ask(&leader, PULL_MESSAGE, &ext).code == 0).then_some(())
        });
        check(&masters.client(B));
    }
    let (a, b) = (masters.client(A), masters.client(B));
    refuses_others_queues(&a, 0);
    let committed_at_b = committed(&b, "test_group", TOPIC, 0);

    // And back: the third stretch lies in another queue of A.
    let undecided: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 1, 10_000), (A, 2, 2, -1)];
    let placed: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 1, 10_000), (A, 2, 2, 30_000)];
    let epoch = epoch + 1000;
    mapping(A, epoch, &on_a(undecided)).put(&a, 3);
    mapping(B, epoch, &on_b(undecided)).put(&b, 2);
    mapping(A, epoch, &on_a(placed)).put(&a, 3);
    let third = numbered("third", 0..20);
    let offsets = send_all(&a, 0, &third);
    assert_eq!(offsets, (30_000..30_020).collect::<Vec<_>>());
    let all: Vec<&str> = both.iter().copied().chain(refs(&third)).collect();
    let found = read(&a, TOPIC, 0, 0, 9);
    assert_eq!((found.bodies(), found.end), (all, 30_020));
    // The group's offset lies at B; a kill may have taken the last commits.
    assert_eq!(committed(&a, "test_group", TOPIC, 0), committed_at_b);
    commit(&a, "test_group", TOPIC, 0, 10_005);
    assert_eq!(committed(&a, "test_group", TOPIC, 0), Some(10_005));

    // A deleted topic has no mapping, and a new one of its name is an ordinary one.
    for client in [&a, &b] {
        let ext: Ext = vec![("topic", TOPIC.into())];
        must(Ok(ask(client, DELETE_TOPIC_IN_BROKER, &ext)), "delete");
        assert_eq!(mapping_at(client, TOPIC), None);
    }
    common::requests::create_topic(&a, TOPIC, 4);
    assert_eq!(sent(&a, TOPIC, 3, "ordinary"), 0);
    drop((a, b));
    masters.brokers[A].stop();
    let file = masters.brokers[A]
        .store()
        .join("config/topicQueueMapping.json");
    let text = std::fs::read_to_string(file).expect("a file");
    assert!(!text.contains(TOPIC), "{text}");
}

fn refs(bodies: &[String]) -> Vec<&str> {
    bodies.iter().map(String::as_str).collect()
}

/// A broker that does not lead a logic queue answers nothing about it.
fn refuses_others_queues(client: &Client, queue: i32) {
    let refused = send(client, TOPIC, queue, "lost");
    assert_eq!(refused.code, NOT_LEADER_FOR_QUEUE, "{}", refused.remark);
    let words =
        format!("{TOPIC}-{queue} does not exit in request process of current broker broker-");
    assert!(refused.remark.starts_with(&words), "{}", refused.remark);
    let mut search = queue_ext(queue);
    search.push(("timestamp", "0".into()));
    let mut of_group = queue_ext(queue);
    of_group.push(("consumerGroup", "test_group".into()));
    for (code, ext) in [
        (PULL_MESSAGE, logic_pull_ext(TOPIC, queue, 0, 1)),
        (GET_MAX_OFFSET, queue_ext(queue)),
        (GET_MIN_OFFSET, queue_ext(queue)),
        (GET_EARLIEST_MSG_STORETIME, queue_ext(queue)),
        (SEARCH_OFFSET_BY_TIMESTAMP, search),
        (QUERY_CONSUMER_OFFSET, of_group),
        (
            UPDATE_CONSUMER_OFFSET,
            commit_ext("test_group", TOPIC, queue, 3),
        ),
    ] {
        let refused = ask(client, code, &ext);
        let what = format!("{code}: {} {}", refused.code, refused.remark);
        assert_eq!(refused.code, NOT_LEADER_FOR_QUEUE, "{what}");
    }
}

/// Offsets of queue 0 when A has 40 messages of it and B, which leads it, 30 from 10,000 on.
fn offsets_of_the_moved_queue(a: &Client, b: &Client, between: i64) {
    assert_eq!(offset_of(b, GET_MIN_OFFSET, TOPIC, 0), 0);
    assert_eq!(offset_of(b, GET_MAX_OFFSET, TOPIC, 0), 10_030);
    if !is_java() {
        // RocketMQ's leader takes the last stretch that answers, and 0 for any other's first message.
        assert_eq!(offset_at(b, 0, 0, "lower"), 0);
        let there = offset_at(b, 0, between, "lower");
        assert!((10_000..=10_001).contains(&there), "{there}");
        assert_eq!(offset_at(b, 0, now_ms() + 1000, "lower"), 10_030);
        assert_eq!(offset_at(b, 0, now_ms() + 1000, "upper"), 10_029);
        assert_eq!(offset_at(b, 0, 0, "upper"), 0);
        let earliest = ask(b, GET_EARLIEST_MSG_STORETIME, &queue_ext(0));
        let time = must(Ok(earliest), "earliest").ext_number("timestamp");
        assert!(time > 0 && time <= between, "{time}");
        // The last that is not later than the first message's time is one of the first's.
        assert!(offset_at(b, 0, time, "upper") < 40);
    }
    // The group was at A only; its offset is asked for there.
    assert_eq!(committed(b, "test_group", TOPIC, 0), Some(25));
    commit(b, "test_group", TOPIC, 0, 31);
    assert_eq!(committed(b, "test_group", TOPIC, 0), Some(31));
    commit(b, "test_group", TOPIC, 0, 10_005);
    assert_eq!(committed(b, "test_group", TOPIC, 0), Some(10_005));
    // Physical offsets are where their stretches are.
    let physical = |client: &Client, queue: i32| {
        let mut ext = queue_ext(queue);
        ext.push(("consumerGroup", "test_group".into()));
        ext.push(("lo", "false".into()));
        must(Ok(ask(client, QUERY_CONSUMER_OFFSET, &ext)), "query").ext_number("offset")
    };
    assert_eq!((physical(a, 0), physical(b, 1)), (31, 5));
    let mut nobody = queue_ext(0);
    nobody.push(("consumerGroup", "nobody".into()));
    let answer = ask(b, QUERY_CONSUMER_OFFSET, &nobody);
    assert_eq!(answer.code, QUERY_NOT_FOUND, "{}", answer.remark);
    // Tools put the stretches together, and have to know where the group never was.
    let stats = |client: &Client| {
        let ext: Ext = vec![
            ("consumerGroup", "test_group".into()),
            ("topic", TOPIC.into()),
        ];
        let answer = must(Ok(ask(client, GET_CONSUME_STATS, &ext)), "stats");
        String::from_utf8(answer.body).expect("text")
    };
    assert!(stats(a).contains("\"consumerOffset\":-1"), "{}", stats(a));
}

#[test]
fn a_mapping_that_does_not_fit_is_refused_as_rocketmq_does() {
    let masters = Masters::start(1, &[]);
    let a = masters.client(A);
    let known = mapping(A, EPOCH, &[(0, &[(A, 0, 0, 0)]), (1, &[(A, 0, 1, 0)])]);
    known.put(&a, 2);
    let refused = |mapping: &Mapping| {
        let answer = mapping.send(&a, 2, false);
        assert_eq!(answer.code, SYSTEM_ERROR, "{}", answer.remark);
        answer.remark
    };
    let older = Mapping {
        epoch: EPOCH - 1,
        ..known.clone()
    };
    let words = format!("Can't accept data with small epoch {} < {EPOCH}", EPOCH - 1);
    assert_eq!(refused(&older), words);
    let fewer = mapping(A, EPOCH, &[(0, &[(A, 0, 0, 0)])]);
    let words = "Cannot accept equal epoch with null data";
    assert_eq!(refused(&fewer), words);
    let moved: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 0, -1)];
    let elsewhere = mapping(A, EPOCH, &[(0, moved), (1, &[(A, 0, 1, 0)])]);
    let words = "The new leader is different but epoch equal";
    assert_eq!(refused(&elsewhere), words);
    for (stretches, words) in [
        (
            &[(A, 1, 0, 0), (A, 0, 1, 9)][..],
            "The gen does not increase monotonically",
        ),
        (
            &[(A, 0, 0, -1), (A, 1, 1, 9)],
            "The non-latest item has negative logic offset",
        ),
        (
            &[(A, 0, 0, 9), (A, 1, 1, 9)],
            "The base logic offset does not increase monotonically",
        ),
        (
            &[(A, 0, -1, 0)],
            "The field is illegal, should not be negative",
        ),
        (&[], "The new item list is null or empty"),
    ] {
        let broken = mapping(A, EPOCH + 9, &[(0, stretches), (1, &[(A, 0, 1, 0)])]);
        assert_eq!(refused(&broken), words);
    }
    let mut scoped = known.json();
    scoped["scope"] = "zone".into();
    let answer = send_mapping(&a, TOPIC, 2, false, &scoped);
    let words = "Can't accept data with unmatched scope zone != __global__";
    assert_eq!((answer.code, &*answer.remark), (SYSTEM_ERROR, words));
    if !is_java() {
        // RocketMQ leaves these to assertions, which it does not check.
        let mut other = known.json();
        other["bname"] = "broker-z".into();
        let answer = send_mapping(&a, TOPIC, 2, false, &other);
        let words = "The mapping is of broker broker-z, this is broker-a";
        assert_eq!((answer.code, &*answer.remark), (SYSTEM_ERROR, words));
        let changed = mapping(A, EPOCH + 9, &[(0, &[(A, 0, 7, 0)])]);
        let words = "The stretch of generation 0 is told otherwise than before";
        assert_eq!(refused(&changed), words);
        let mut other = known.json();
        other["topic"] = "OtherTopic".into();
        let answer = send_mapping(&a, TOPIC, 2, false, &other);
        assert_eq!(answer.code, SYSTEM_ERROR, "{}", answer.remark);
    }
    // Nothing of that was kept, but what is forced is.
    let hosted = |client: &Client| {
        let mapping = mapping_at(client, TOPIC).expect("a mapping");
        (mapping["epoch"].clone(), mapping["hostedQueues"].clone())
    };
    assert_eq!(hosted(&a).0, EPOCH);
    must(Ok(older.send(&a, 2, true)), "forced");
    let (epoch, queues) = hosted(&a);
    assert_eq!(epoch, EPOCH - 1);
    assert_eq!(queues["0"][0]["queueId"], 0);
    // A system topic, and no topic.
    for topic in ["TBW102", "a b"] {
        let answer = send_mapping(&a, topic, 2, false, &known.json());
        assert_eq!(answer.code, 29, "{topic}: {}", answer.remark);
    }
}

#[test]
fn nothing_that_was_acknowledged_is_left_behind_by_a_move() {
    // In SYNC_FLUSH a message is acknowledged, and visible, a while after it has its offset.
    let masters = Masters::start(2, &[("flushDiskType", "SYNC_FLUSH")]);
    create(&masters);
    let (a, b) = (masters.client(A), masters.client(B));
    let stop = Arc::new(AtomicBool::new(false));
    let addresses = [A, B].map(|at| masters.brokers[at].address());
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let clients = addresses.map(|to| Client::connect(to).expect("connect"));
                let (mut leader, mut acked, mut number) = (0, Vec::new(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let body = format!("{sender}/{number}");
                    match send(&clients[leader], TOPIC, 0, &body) {
                        answer if answer.code == 0 => {
                            acked.push(body);
                            number += 1;
                        }
                        answer => {
                            assert_eq!(answer.code, NOT_LEADER_FOR_QUEUE, "{}", answer.remark);
                            leader = 1 - leader;
                        }
                    }
                }
                acked
            })
        })
        .collect();
    let mut stretches: Vec<Stretch> = vec![(A, 0, 0, 0)];
    let mut physical = [2, 1];
    let (mut offset, mut got) = (0, Vec::new());
    for turn in 1..=6_i32 {
        let (old, new) = if turn % 2 == 1 { (A, B) } else { (B, A) };
        let clients = [&a, &b];
        std::thread::sleep(std::time::Duration::from_millis(60));
        let epoch = EPOCH + i64::from(turn) * 1000;
        stretches.push((new, turn, physical[new], -1));
        physical[new] += 1;
        let put = |at: usize, stretches: &[Stretch]| {
            let other: (i32, &[Stretch]) = match at {
                A => (1, &[(A, 0, 1, 0)]),
                _ => (2, &[(B, 0, 0, 0)]),
            };
            mapping(at, epoch, &[(0, stretches), other]).put(clients[at], physical[at]);
        };
        put(new, &stretches);
        put(old, &stretches);
        // Where the old stretch ends, as tools ask for it; a reader is there already.
        let at = stretches.len() - 2;
        let mut ext = queue_ext(stretches[at].2);
        ext.push(("lo", "false".into()));
        let end = ask(clients[old], GET_MAX_OFFSET, &ext).ext_number("offset");
        stretches[at + 1].3 = (stretches[at].3 + end) / 10_000 * 10_000 + 20_000;
        put(new, &stretches);
        let found = read(clients[new], TOPIC, 0, offset, 32);
        offset = found.end;
        got.extend(found.messages);
    }
    stop.store(true, Ordering::Relaxed);
    let acked: Vec<Vec<String>> = senders
        .into_iter()
        .map(|s| s.join().expect("ran"))
        .collect();
    got.extend(read(&a, TOPIC, 0, offset, 32).messages);
    let all = read(&a, TOPIC, 0, 0, 1000).messages;
    assert_eq!(got, all, "who read meanwhile got what is there");
    assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for (sender, acked) in acked.iter().enumerate() {
        let prefix = format!("{sender}/");
        let mut bodies = got.iter().map(|(_, body)| body);
        // Each in its order, and none but those.
        let own: Vec<&String> = bodies
            .by_ref()
            .filter(|body| body.starts_with(&prefix))
            .collect();
        assert_eq!(own, acked.iter().collect::<Vec<_>>());
    }
    println!("{} messages over {} stretches", got.len(), stretches.len());
}

#[test]
fn a_reader_waits_for_what_is_stored_and_not_visible_yet() {
    if is_java() {
        println!("NOT RUN: its readers go on, and never see it");
        return;
    }
    // What no slave has is stored, and neither acknowledged nor visible.
    let keys = [
        ("brokerRole", "SYNC_MASTER"),
        ("inSyncReplicas", "2"),
        ("slaveTimeout", "2000"),
    ];
    let mut pair = Pair::start(&keys);
    let folder = Folder::new();
    let namesrv = pair.namesrv.address();
    let other = Broker::start_in(&folder.0, namesrv, &[("brokerName", "broker-b")]);
    let a = Client::connect(pair.master.address()).expect("connect");
    let b = Client::connect(other.address()).expect("connect");
    for client in [&a, &b] {
        create_group(client, "test_group");
    }
    mapping(A, EPOCH, &[(0, &[(A, 0, 0, 0)])]).put(&a, 1);
    let first = numbered("first", 0..5);
    send_all(&a, 0, &first);
    pair.slave().pause();
    let stored = |client: &Client| ha_status(client)["masterCommitLogMaxOffset"].as_i64();
    let before = stored(&a);
    let (late, answers) = std::sync::mpsc::channel();
    let ext = send_ext(TOPIC, 0, "");
    a.start(SEND_MESSAGE_V2, &ext, b"late", &late)
        .expect("sent");
    eventually("it is stored", || (stored(&a) > before).then_some(()));
    let undecided: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 0, -1)];
    mapping(B, EPOCH + 1, &[(0, undecided)]).put(&b, 1);
    mapping(A, EPOCH + 1, &[(0, undecided)]).put(&a, 1);
    // A let go when it had answered all it had let in.
    let answered = answers.try_recv().expect("answered before").answer;
    assert_eq!(answered.expect("a frame").code, FLUSH_SLAVE_TIMEOUT);
    let ext: Ext = vec![("topic", TOPIC.into())];
    let stats = must(Ok(ask(&a, GET_TOPIC_STATS_INFO, &ext)), "202");
    let text = String::from_utf8(stats.body).expect("text");
    assert!(text.contains("\"maxOffset\":6"), "{text}");
    let placed: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 0, 10_000)];
    mapping(B, EPOCH + 1, &[(0, placed)]).put(&b, 1);
    assert_eq!(sent(&b, TOPIC, 0, "next"), 10_000);
    let found = read(&b, TOPIC, 0, 0, 10);
    assert_eq!((found.bodies(), found.end), (refs(&first), 5));
    pair.slave().resume();
    eventually("all of it is read", || {
        let found = read(&b, TOPIC, 0, 5, 10);
        (found.bodies() == ["late", "next"]).then_some(())
    });
}

#[test]
fn a_slave_has_the_mapping_and_takes_over_with_it() {
    if is_java() {
        println!("NOT RUN: RocketMQ's slaves ask for mappings and forget them");
        return;
    }
    let mut pair = Pair::start(&[]);
    let master = Client::connect(pair.master.address()).expect("connect");
    create_group(&master, "test_group");
    let queues: [(i32, &[Stretch]); 2] = [(0, &[(A, 0, 1, 500)]), (1, &[(A, 0, 0, 0)])];
    mapping(A, EPOCH, &queues).put(&master, 2);
    let bodies = numbered("message", 0..10);
    let offsets = send_all(&master, 0, &bodies);
    assert_eq!(offsets, (500..510).collect::<Vec<_>>());
    pair.wait_mirrored(TOPIC);
    pair.wait_in_sync();
    let told = mapping_at(&master, TOPIC).expect("a mapping");
    let slave = Client::connect(pair.slave().address()).expect("connect");
    eventually("the slave has the mapping", || {
        (mapping_at(&slave, TOPIC)? == told).then_some(())
    });
    // The table for RocketMQ's slaves has it, too.
    let all = must(Ok(ask(&master, GET_ALL_TOPIC_CONFIG, &Ext::new())), "21");
    let text = String::from_utf8(all.body).expect("text");
    let wanted = format!("\"topicQueueMappingDetailMap\":{{\"{TOPIC}\":");
    assert!(text.contains(&wanted), "{text}");
    drop((master, slave));
    pair.master.stop();
    pair.slave().become_master();
    let master = Client::connect(pair.slave().address()).expect("connect");
    assert_eq!(mapping_at(&master, TOPIC), Some(told));
    let found = read(&master, TOPIC, 0, 500, 100);
    assert_eq!((found.bodies(), found.end), (refs(&bodies), 510));
    assert_eq!(sent(&master, TOPIC, 0, "more"), 510);
}

#[test]
fn what_is_needed_no_longer_is_forgotten() {
    if is_java() {
        println!("NOT RUN: it cleans at its hour");
        return;
    }
    const C: usize = 2;
    let masters = Masters::start(3, &[]);
    let clients = [A, B, C].map(|at| masters.client(at));
    let stretches = |at: usize, queue: &str| {
        let mapping = mapping_at(&clients[at], TOPIC).unwrap_or_default();
        mapping["hostedQueues"][queue]
            .as_array()
            .map_or(0, Vec::len)
    };
    // Queue 0 went from A, where it never had a message, to B. Queue 1 has one at A.
    let queues: [(i32, &[Stretch]); 2] = [(0, &[(A, 0, 0, 0)]), (1, &[(A, 0, 1, 0)])];
    mapping(A, EPOCH, &queues).put(&clients[A], 2);
    sent(&clients[A], TOPIC, 1, "kept");
    wait_dispatched(&clients[A]);
    let empty: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 0, 10_000)];
    let full: &[Stretch] = &[(A, 0, 1, 0), (B, 1, 1, 10_000)];
    for at in [B, A] {
        mapping(at, EPOCH + 1, &[(0, empty), (1, full)]).put(&clients[at], 2);
    }
    sent(&clients[B], TOPIC, 1, "here");
    must(
        Ok(ask(&clients[B], DELETE_EXPIRED_COMMITLOG, &Ext::new())),
        "329",
    );
    eventually("the empty stretch is forgotten", || {
        (stretches(B, "0") == 1).then_some(())
    });
    assert_eq!(stretches(B, "1"), 2);
    let found = read(&clients[B], TOPIC, 1, 0, 10);
    assert_eq!(found.bodies(), ["kept", "here"]);
    assert_eq!(sent(&clients[B], TOPIC, 0, "first"), 10_000);
    assert_eq!(read(&clients[B], TOPIC, 0, 0, 10).bodies(), ["first"]);

    // Queue 1 goes on to C: B is asked for what it has, but A leads nowhere any more.
    let onward: &[Stretch] = &[(A, 0, 1, 0), (B, 1, 1, 10_000), (C, 2, 0, 20_000)];
    let at_b: &[Stretch] = &[(B, 1, 0, 10_000)];
    mapping(C, EPOCH + 2, &[(1, onward)]).put(&clients[C], 1);
    mapping(B, EPOCH + 2, &[(0, at_b), (1, onward)]).put(&clients[B], 2);
    mapping(A, EPOCH + 2, &[(0, empty), (1, full)]).put(&clients[A], 2);
    for client in &clients[..2] {
        must(
            Ok(ask(client, DELETE_EXPIRED_COMMITLOG, &Ext::new())),
            "329",
        );
    }
    eventually("A forgets the queue that went on without it", || {
        (stretches(A, "1") == 0).then_some(())
    });
    assert_eq!((stretches(A, "0"), stretches(B, "1")), (2, 3));
    let found = read(&clients[C], TOPIC, 1, 0, 10);
    assert_eq!((found.bodies(), found.end), (vec!["kept", "here"], 20_000));
}

#[test]
fn a_crash_of_an_actor_loses_no_mapping() {
    if is_java() {
        println!("NOT RUN: no actors");
        return;
    }
    let masters = Masters::start(2, &[]);
    create(&masters);
    let (a, b) = (masters.client(A), masters.client(B));
    let bodies = numbered("message", 0..10);
    send_all(&a, 0, &bodies);
    let stretches: &[Stretch] = &[(A, 0, 0, 0), (B, 1, 1, 10_000)];
    for (epoch, at, point) in [
        (1, B, None),
        (2, A, Some("after_change")),
        (3, B, Some("before_save")),
    ] {
        let console = masters.brokers[at].console();
        crash(console, "broker/topics", point);
        crash(console, "broker/static_topics", None);
        // The change that the actor dies of may be made or not; the next one is.
        let other: (i32, &[Stretch]) = match at {
            A => (1, &[(A, 0, 1, 0)]),
            _ => (2, &[(B, 0, 0, 0)]),
        };
        let change = mapping(at, EPOCH + epoch, &[(0, stretches), other]);
        let client = masters.client(at);
        eventually("the mapping is taken", || {
            (change.send(&client, 2, false).code == 0).then_some(())
        });
        let told = mapping_at(&client, TOPIC).expect("a mapping");
        assert_eq!(told["epoch"], EPOCH + epoch);
    }
    let found = read(&b, TOPIC, 0, 0, 4);
    assert_eq!((found.bodies(), found.end), (refs(&bodies), 10_000));
    refuses_others_queues(&a, 0);
}
