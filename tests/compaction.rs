//! Compaction topics (`cleanup.policy=COMPACTION`): the last message of each key stays, also when the commit log
//! has lost it; restarts, kills, crashes of its actors and a change of master do not change that.

mod common;

use common::console::{actors, crash, escape, get, restarts};
use common::pair::Pair;
use common::pop::{Who, pop_now};
use common::record::{Record, parse_all};
use common::remoting::{Client, Frame};
use common::requests::{
    DELETE_EXPIRED_COMMITLOG, DELETE_TOPIC_IN_BROKER, GET_MAX_OFFSET, GET_MIN_OFFSET, PULL_MESSAGE,
    SEND_MESSAGE_V2, UPDATE_AND_CREATE_TOPIC, commit, create_group, must, offset_of, properties,
    pull_ext, send_ext, set, topic_ext, wait_dispatched,
};
use common::server::{Cluster, is_java};
use common::{PATIENCE, eventually};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const TOPIC: &str = "Compacted";
const MESSAGE_ILLEGAL: i32 = 13;
const KEYS: &[(&str, &str)] = &[
    ("compactionMappedFileSize", "23000"),
    ("compactionCqMappedFileSize", "2300"),
    ("compactionScheduleInternal", "1"),
    ("mappedFileSizeCommitLog", "65536"),
    ("mappedFileSizeConsumeQueue", "2000"),
    ("fileReservedTime", "0"),
];

fn connect(to: SocketAddr) -> Client {
    Client::connect(to).expect("connect")
}

fn make_topic(client: &Client) {
    make_topic_of(client, 2);
}

fn make_topic_of(client: &Client, queues: i32) {
    let mut ext = topic_ext(TOPIC, queues);
    ext.push(("attributes", "+cleanup.policy=COMPACTION".into()));
    let made = client.call(UPDATE_AND_CREATE_TOPIC, &ext, b"", PATIENCE);
    must(made, "create topic");
    create_group(client, "test_group");
}

fn try_send(client: &Client, text: &str, body: &[u8]) -> Frame {
    let ext = send_ext(TOPIC, 0, text);
    let answer = client.call(SEND_MESSAGE_V2, &ext, body, PATIENCE);
    answer.expect("an answer")
}

/// What was sent to queue 0, by offset: key and body.
#[derive(Default)]
struct Sent(BTreeMap<i64, (String, String)>);

impl Sent {
    fn send(&mut self, client: &Client, key: &str, body: &str) {
        let tag = if self.0.len().is_multiple_of(2) {
            "even"
        } else {
            "odd"
        };
        let text = properties(&[("KEYS", key), ("TAGS", tag)]);
        let sent = must(Ok(try_send(client, &text, body.as_bytes())), "send");
        let at = sent.ext_number("queueOffset");
        self.0.insert(at, (key.to_owned(), body.to_owned()));
    }

    fn send_many(&mut self, client: &Client, count: usize) {
        for n in 0..count {
            let at = self.0.len();
            let body = format!("{at} {}", "x".repeat(at * 37 % 200));
            self.send(client, &format!("key-{}", n % 10), &body);
        }
    }

    /// What is left when all before `cut` is compacted.
    fn left(&self, cut: i64) -> BTreeMap<i64, (String, String)> {
        let mut lasts = BTreeMap::new();
        for (at, (key, _)) in self.0.range(..cut) {
            lasts.insert(key, *at);
        }
        let stays = |at: &i64, key: &String, body: &String| {
            *at >= cut || (lasts[key] == *at && !body.is_empty())
        };
        let all = self.0.iter();
        let left = all.filter(|(at, (key, body))| stays(at, key, body));
        left.map(|(at, message)| (*at, message.clone())).collect()
    }

    /// Whether these are all messages but those that some compaction took.
    fn fits(&self, found: &BTreeMap<i64, (String, String)>) -> bool {
        let end = self.0.keys().last().map_or(0, |last| last + 1);
        (0..=end).any(|cut| self.left(cut) == *found)
    }

    /// Waits until at most so many messages are left, and checks which.
    fn wait_left(&self, client: &Client, most: usize) -> BTreeMap<i64, (String, String)> {
        let what = format!("at most {most} messages of {} are left", self.0.len());
        let left = eventually(&what, || {
            let kept = kept(client, "*");
            (kept.len() <= most).then_some(kept)
        });
        assert!(self.fits(&left), "{:?}", left.keys().collect::<Vec<_>>());
        left
    }
}

fn message_of(record: &Record) -> (String, String) {
    let key = record.property("KEYS").expect("a key").to_owned();
    (key, String::from_utf8(record.body.clone()).expect("text"))
}

/// All that a reader from offset 0 on gets of queue 0.
fn kept(client: &Client, tags: &str) -> BTreeMap<i64, (String, String)> {
    let mut all = BTreeMap::new();
    let mut at = 0;
    loop {
        let mut ext = pull_ext(TOPIC, 0, at, 0);
        set(&mut ext, "subscription", tags);
        let answer = client.call(PULL_MESSAGE, &ext, b"", PATIENCE);
        let answer = answer.expect("an answer");
        match answer.code {
            0 => {
                for record in parse_all(&answer.body) {
                    assert!(record.queue_offset >= at);
                    all.insert(record.queue_offset, message_of(&record));
                }
            }
            19 => return all,
            20 => {}
            // Its actor crashed.
            1 => continue,
            code => panic!("{code} {} at {at}", answer.remark),
        }
        let next = answer.ext_number("nextBeginOffset");
        assert!(next > at, "{next} after {at}");
        at = next;
    }
}

#[test]
fn the_last_of_each_key_is_left() {
    let mut cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    make_topic(&client);
    let mut sent = Sent::default();
    sent.send_many(&client, 300);
    let before = sent.wait_left(&client, 120);
    if !is_java() {
        // RocketMQ stumbles over an empty body.
        sent.send(&client, "key-3", "");
        sent.send_many(&client, 3);
        sent.send(&client, "key-5", "last of 5");
    }
    for n in 0..200 {
        sent.send(
            &client,
            &format!("other-{}", n % 4),
            &format!("{n} of others"),
        );
    }
    let left = sent.wait_left(&client, 100);
    assert!(left.len() != before.len() || left != before);
    let lasts: BTreeMap<_, _> = left.values().cloned().collect();
    if !is_java() {
        assert!(!lasts.contains_key("key-3"), "{lasts:?}");
        assert_eq!(lasts["key-5"], "last of 5");
    }
    let first = *left.keys().next().expect("something");
    let answer = must(
        client.call(PULL_MESSAGE, &pull_ext(TOPIC, 0, 0, 0), b"", PATIENCE),
        "pull",
    );
    assert_eq!(answer.ext_number("minOffset"), first);
    let end = offset_of(&client, GET_MAX_OFFSET, TOPIC, 0);
    assert_eq!(answer.ext_number("maxOffset"), end);
    assert_eq!(end, sent.0.len() as i64);

    // A reader who waits for the next message gets it.
    let waiting = std::thread::spawn({
        let to = cluster.broker.address();
        move || {
            connect(to).call(
                PULL_MESSAGE,
                &pull_ext(TOPIC, 0, end, 20_000),
                b"",
                PATIENCE,
            )
        }
    });
    sent.send(&client, "key-1", "news");
    let news = must(waiting.join().expect("no panic"), "a pull that waits");
    assert_eq!(message_of(&parse_all(&news.body)[0]).1, "news");

    drop(client);
    cluster.broker.stop();
    cluster.broker.restart();
    let client = connect(cluster.broker.address());
    sent.wait_left(&client, 100);
    cluster.broker.kill9();
    cluster.broker.restart();
    let client = connect(cluster.broker.address());
    sent.wait_left(&client, 100);
    sent.send_many(&client, 100);
    wait_dispatched(&client);
    assert!(sent.fits(&kept(&client, "*")));
}

#[test]
fn what_the_commit_log_lost_is_still_there() {
    let mut cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    make_topic(&client);
    let mut sent = Sent::default();
    for key in ["one", "two", "three"] {
        sent.send(&client, key, key);
    }
    sent.send_many(&client, 600);
    let left = sent.wait_left(&client, 120);
    eventually("old files of the commit log go", || {
        must(
            client.call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE),
            "delete old files",
        );
        (offset_of(&client, GET_MIN_OFFSET, TOPIC, 0) > 300).then_some(())
    });
    let again = kept(&client, "*");
    assert!(sent.fits(&again));
    for (at, key) in ["one", "two", "three"].into_iter().enumerate() {
        let message = (key.to_owned(), key.to_owned());
        assert_eq!(again.get(&(at as i64)), Some(&message));
        assert_eq!(left.get(&(at as i64)), Some(&message));
    }
    if !is_java() {
        let even = kept(&client, "even");
        let of_all = again.iter().filter(|(at, _)| *at % 2 == 0);
        assert!(
            even.iter().eq(of_all),
            "{:?}",
            even.keys().collect::<Vec<_>>()
        );
    }
    for kill in [false, true] {
        if kill {
            cluster.broker.kill9();
        } else {
            cluster.broker.stop();
        }
        cluster.broker.restart();
        let client = connect(cluster.broker.address());
        assert!(sent.fits(&kept(&client, "*")));
        assert!(kept(&client, "*").contains_key(&0));
    }
    // Pops begin where the group stands.
    let client = connect(cluster.broker.address());
    commit(&client, "test_group", TOPIC, 0, 0);
    let who = Who {
        topic: TOPIC,
        group: "test_group",
    };
    let popped = pop_now(&client, who, 2, 60_000);
    let offsets: Vec<_> = popped
        .iter()
        .map(|popped| popped.record.queue_offset)
        .collect();
    assert_eq!(offsets, [0, 1]);
}

#[test]
fn a_message_without_a_key_is_refused() {
    let cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    make_topic(&client);
    for text in [properties(&[("TAGS", "a")]), properties(&[("KEYS", " ")])] {
        let refused = try_send(&client, &text, b"body");
        let wanted = (MESSAGE_ILLEGAL, "Required message key is missing");
        assert_eq!((refused.code, &*refused.remark), wanted);
    }
    must(
        Ok(try_send(&client, &properties(&[("KEYS", "a")]), b"body")),
        "send",
    );
}

fn of_kind(console: SocketAddr, kind: &str) -> String {
    let wanted = |path: &str| kind != "compacted_queue" || path.ends_with(&format!("{TOPIC}/0"));
    eventually(&format!("an actor of kind {kind}"), || {
        let found = actors(console).into_iter();
        let mut found = found.filter(|actor| actor.kind == kind && wanted(&actor.path));
        found.next().map(|actor| actor.path)
    })
}

/// Up to which queue offset an actor has copied its queue, if there is such an actor.
fn copied_upto(console: SocketAddr, path: &str) -> Option<i64> {
    let answer = get(console, &format!("/actors/{}", escape(path))).ok()?;
    answer.json()["detail"]["copied_upto"].as_i64()
}

#[test]
fn a_crash_of_its_actors_loses_nothing() {
    if is_java() {
        println!("NOT RUN: RocketMQ has no actors");
        return;
    }
    let mut cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    make_topic(&client);
    let mut sent = Sent::default();
    sent.send_many(&client, 100);
    let console = cluster.broker.console();
    let drills = [
        ("compacted_queue", None),
        ("compacted_queue", Some("mid_copy")),
        ("compacted_queue", Some("mid_compaction")),
        ("compaction", None),
    ];
    for (kind, at) in drills {
        let path = of_kind(console, kind);
        let before = restarts(console);
        crash(console, &path, at);
        // A compaction and a copy come with messages.
        eventually(&format!("{kind} restarts at {at:?}"), || {
            sent.send_many(&client, 30);
            let now = restarts(console);
            (now[&path] > before[&path]).then_some(())
        });
        for (other, count) in restarts(console) {
            if other != path {
                assert_eq!(before.get(&other).copied().unwrap_or(0), count, "{other}");
            }
        }
        wait_dispatched(&client);
        assert!(sent.fits(&kept(&client, "*")), "after {kind} at {at:?}");
    }
    sent.wait_left(&client, 120);
    cluster.broker.stop();
    cluster.broker.restart();
    sent.wait_left(&connect(cluster.broker.address()), 120);
}

#[test]
fn a_topic_that_is_made_again_has_nothing_of_the_old_one() {
    let mut cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    make_topic(&client);
    let mut sent = Sent::default();
    sent.send_many(&client, 200);
    sent.wait_left(&client, 120);
    if is_java() {
        println!("NOT RUN: RocketMQ keeps the files of a deleted topic");
        return;
    }
    let ext = [("topic", TOPIC.to_owned())];
    let deleted = client.call(DELETE_TOPIC_IN_BROKER, &ext, b"", PATIENCE);
    must(deleted, "delete topic");
    let store = cluster.broker.store().join("compaction");
    assert!(!store.join("compactionLog").join(TOPIC).exists());
    assert!(!store.join("compactionCq").join(TOPIC).exists());
    make_topic(&client);
    let mut sent = Sent::default();
    sent.send_many(&client, 200);
    sent.wait_left(&client, 120);
    cluster.broker.kill9();
    cluster.broker.restart();
    sent.wait_left(&connect(cluster.broker.address()), 120);
}

/// A reader who comes while the actors of a topic's queues are born loses no message and is not told to read
/// again what it has asked for.
#[test]
fn a_topic_is_read_while_its_actors_come() {
    if is_java() {
        println!("NOT RUN: RocketMQ has no actors");
        return;
    }
    const QUEUES: i32 = 64;
    let cluster = Cluster::start(KEYS);
    let client = connect(cluster.broker.address());
    make_topic_of(&client, QUEUES);
    for queue in 0..QUEUES {
        let ext = send_ext(TOPIC, queue, &properties(&[("KEYS", "a")]));
        must(client.call(SEND_MESSAGE_V2, &ext, b"one", PATIENCE), "send");
    }
    wait_dispatched(&client);
    // The service looks for queues within a second.
    let until = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for first in 0..4 {
            let to = cluster.broker.address();
            scope.spawn(move || {
                let client = connect(to);
                while Instant::now() < until {
                    for queue in (first..QUEUES).step_by(4) {
                        let ext = pull_ext(TOPIC, queue, 0, 0);
                        let found = must(client.call(PULL_MESSAGE, &ext, b"", PATIENCE), "pull");
                        assert_eq!(parse_all(&found.body)[0].body, b"one");
                    }
                }
            });
        }
    });
    let console = cluster.broker.console();
    eventually("all queues are copied", || {
        let paths = (0..QUEUES).map(|queue| format!("broker/store/compaction/{TOPIC}/{queue}"));
        let mut copied = paths.map(|path| copied_upto(console, &path));
        copied.all(|upto| upto == Some(1)).then_some(())
    });
}

/// A slave that is made when the master's log has lost its beginning.
#[test]
fn a_slave_that_is_made_late_has_the_last_of_each_key() {
    if is_java() {
        println!("NOT RUN: a slave of ours");
        return;
    }
    let mut pair = Pair::master(KEYS);
    let client = connect(pair.master.address());
    make_topic(&client);
    let mut sent = Sent::default();
    for key in ["one", "two", "three"] {
        sent.send(&client, key, key);
    }
    sent.send_many(&client, 600);
    sent.wait_left(&client, 120);
    eventually("old files of the commit log go", || {
        must(
            client.call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE),
            "delete old files",
        );
        (offset_of(&client, GET_MIN_OFFSET, TOPIC, 0) > 300).then_some(())
    });
    pair.start_slave();
    pair.wait_mirrored(TOPIC);
    pair.wait_in_sync();
    let slave = pair.slave();
    let console = slave.console();
    eventually("the slave has copied all", || {
        let queue = of_kind(console, "compacted_queue");
        (copied_upto(console, &queue) == Some(sent.0.len() as i64)).then_some(())
    });
    slave.kill9();
    slave.restart();
    pair.master.kill9();
    let slave = pair.slave();
    slave.become_master();
    let client = connect(slave.address());
    let left = sent.wait_left(&client, 120);
    for (at, key) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(
            left.get(&(at as i64)),
            Some(&(key.to_owned(), key.to_owned()))
        );
    }
    sent.send_many(&client, 100);
    wait_dispatched(&client);
    assert!(sent.fits(&kept(&client, "*")));
}

#[test]
fn a_slave_that_becomes_master_has_the_last_of_each_key() {
    if is_java() {
        println!("NOT RUN: a slave of ours");
        return;
    }
    let mut pair = Pair::start(KEYS);
    let client = connect(pair.master.address());
    make_topic(&client);
    pair.wait_mirrored(TOPIC);
    let mut sent = Sent::default();
    sent.send_many(&client, 300);
    sent.wait_left(&client, 120);
    pair.wait_in_sync();
    pair.master.kill9();
    let slave = pair.slave();
    slave.become_master();
    let client = connect(slave.address());
    sent.wait_left(&client, 120);
    sent.send_many(&client, 100);
    wait_dispatched(&client);
    assert!(sent.fits(&kept(&client, "*")));
}
