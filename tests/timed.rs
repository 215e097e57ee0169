//! Timed messages: delivered at their time, never early, never lost and never twice, whatever is killed
//! or crashed meanwhile; called back while there is time; and a slave that becomes a master goes on.
//!
//! `CALLBOARD_TIMED` says how many messages the kill drill sends (400 without it), `CALLBOARD_ROUNDS` how
//! often it kills the broker at least.

mod common;

use callboard::client::{ClientConfig, Message, MqClient, Producer};
use callboard::protocol::message::recall::RecallHandle;
use common::console::{crash, get, restarts};
use common::ours::wait_route;
use common::pair::Pair;
use common::record::Record;
use common::remoting::{Client, Frame};
use common::requests::{
    GET_BROKER_RUNTIME_INFO, SEND_MESSAGE_V2, create_topic, must, now_ms, properties, pull_all,
    send_ext, set, update_config,
};
use common::rng::Rng;
use common::server::{Broker, Cluster, Namesrv, is_java};
use common::{PATIENCE, block_on, env_number, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const TOPIC: &str = "TimedTopic";
const QUEUES: i32 = 2;
const RECALL_MESSAGE: i32 = 370;

/// Sends a message for a time; its body tells the time.
fn send_for(client: &Client, key: &str, queue_id: i32, deliver_ms: i64) -> Option<Frame> {
    let text = properties(&[
        ("UNIQ_KEY", key),
        ("TIMER_DELIVER_MS", &deliver_ms.to_string()),
    ]);
    let ext = send_ext(TOPIC, queue_id, &text);
    let body = format!("{key} {deliver_ms}");
    let answer = client.call(SEND_MESSAGE_V2, &ext, body.as_bytes(), PATIENCE);
    answer.ok().filter(|frame| frame.code == 0)
}

fn key_of(record: &Record) -> &str {
    std::str::from_utf8(&record.body)
        .ok()
        .and_then(|body| body.split(' ').next())
        .expect("a body of ours")
}

fn time_of(record: &Record) -> i64 {
    let body = std::str::from_utf8(&record.body).expect("text");
    let time = body.split(' ').nth(1).expect("a time");
    time.parse().expect("a number")
}

/// How often each message was delivered; none of them early.
fn delivered(client: &Client) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for queue_id in 0..QUEUES {
        for record in pull_all(client, TOPIC, queue_id, 0) {
            let early = time_of(&record) - record.store_timestamp;
            assert!(early <= 0, "{} ms early: {record:?}", early);
            *counts.entry(key_of(&record).to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Waits until each of these was delivered; the counts of all.
fn wait_delivered(to: SocketAddr, acked: &[String]) -> BTreeMap<String, usize> {
    let client = Client::connect(to).expect("connect");
    eventually("all timed messages are delivered", || {
        std::thread::sleep(Duration::from_millis(200));
        let counts = delivered(&client);
        acked
            .iter()
            .all(|key| counts.contains_key(key))
            .then_some(counts)
    })
}

/// A thread that sends messages for the next seconds, whatever happens to the broker, and tells which
/// were acknowledged.
struct Sending {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Sending {
    fn start(to: SocketAddr, count: u64, spread_ms: u64, seed: u64) -> Sending {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut rng = Rng::seeded(seed);
            let mut acked = Vec::new();
            let mut client = None;
            for number in 0..count {
                let key = format!("{seed:08X}{number:08X}");
                if client.as_ref().is_none_or(Client::is_closed) {
                    client = Some(eventually("a connection", || Client::connect(to).ok()));
                }
                let ahead = rng.between(0, spread_ms) as i64;
                let queue_id = (number % QUEUES as u64) as i32;
                let client = client.as_ref().expect("connected");
                if send_for(client, &key, queue_id, now_ms() + ahead).is_some() {
                    acked.push(key);
                }
            }
            told.store(true, Ordering::Release);
            acked
        });
        Sending { ended, thread }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn acked(self) -> Vec<String> {
        self.thread.join().expect("the sender")
    }
}

fn start(flush: &str) -> Cluster {
    let cluster = Cluster::start(&[
        ("flushDiskType", flush),
        ("recallMessageEnable", "true"),
        ("mappedFileSizeTimerLog", "65536"),
    ]);
    let client = Client::connect(cluster.broker.address()).expect("connect");
    create_topic(&client, TOPIC, QUEUES);
    cluster
}

fn assert_once(what: &str, acked: &[String], counts: &BTreeMap<String, usize>) {
    let twice: Vec<_> = counts.iter().filter(|&(_, &count)| count > 1).collect();
    println!(
        "{what}: {} acknowledged, {} delivered, {} more than once",
        acked.len(),
        counts.len(),
        twice.len()
    );
    if !is_java() {
        assert!(twice.is_empty(), "delivered more than once: {twice:?}");
    }
}

#[test]
fn nothing_is_lost_early_or_twice_when_the_broker_is_killed() {
    kills("ASYNC_FLUSH");
}

#[test]
fn nor_in_sync_flush() {
    kills("SYNC_FLUSH");
}

fn kills(flush: &str) {
    let seed = Rng::seed_for_test(flush);
    let mut rng = Rng::seeded(seed);
    let mut cluster = start(flush);
    let to = cluster.broker.address();
    let count = env_number("CALLBOARD_TIMED", 400);
    let senders = 4;
    let sending: Vec<_> = (0..senders)
        .map(|n| {
            Sending::start(
                to,
                count / senders,
                6_000,
                seed.wrapping_add(n) & 0xFFFF_FFFF,
            )
        })
        .collect();
    let mut kills = 0;
    let least = env_number("CALLBOARD_ROUNDS", 2);
    while kills < least || !sending.iter().all(Sending::has_ended) {
        std::thread::sleep(Duration::from_millis(rng.between(50, 1_700)));
        cluster.broker.kill9();
        cluster.broker.restart();
        kills += 1;
        if rng.between(0, 3) == 0 {
            // Once more before it has met what the killed one delivered: its first note of progress told
            // a place of the log behind those deliveries, and they were made again.
            cluster.broker.kill9();
            cluster.broker.restart();
            kills += 1;
        }
    }
    let acked: Vec<_> = sending.into_iter().flat_map(Sending::acked).collect();
    let counts = wait_delivered(to, &acked);
    // Once more, so that what would come late and twice has come.
    std::thread::sleep(Duration::from_millis(1_500));
    let client = Client::connect(to).expect("connect");
    let later = delivered(&client);
    assert!(later.len() >= counts.len());
    assert_once(&format!("{flush}, {kills} kills"), &acked, &later);
}

#[test]
fn a_crash_of_the_timer_costs_nothing() {
    let seed = Rng::seed_for_test("timer drill");
    let cluster = start("ASYNC_FLUSH");
    let to = cluster.broker.address();
    let console = cluster.broker.console();
    let path = "broker/delivery/timer";
    let points = [
        None,
        Some("after_take_in"),
        Some("after_append"),
        Some("after_append"),
    ];
    let mut acked = Vec::new();
    for (round, point) in (0..).zip(points) {
        let before = restarts(console)[path];
        crash(console, path, point);
        let round_seed = seed.wrapping_add(round) & 0xFFFF_FFFF;
        let sending = Sending::start(to, 100, 3_000, round_seed);
        eventually("the timer restarts", || {
            (restarts(console)[path] > before).then_some(())
        });
        // The next life must not forget what it has not met yet of the one before.
        crash(console, path, None);
        acked.extend(sending.acked());
    }
    wait_delivered(to, &acked);
    std::thread::sleep(Duration::from_millis(1_500));
    let client = Client::connect(to).expect("connect");
    let counts = delivered(&client);
    assert_eq!(acked.len(), 400);
    assert_once("timer drill", &acked, &counts);
    let others: u64 = restarts(console)
        .iter()
        .filter(|(other, _)| *other != path)
        .map(|(_, restarts)| restarts)
        .sum();
    assert_eq!(others, 0, "no other actor restarts");
}

/// A slot of the wheel is delivered when all of it is over: who asked for its beginning has waited longest.
#[test]
fn within_a_slot_the_earliest_goes_first() {
    let cluster = start("ASYNC_FLUSH");
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let mut round = 0;
    let acked = loop {
        round += 1;
        let slot_ms = (now_ms() / 1000 + 3) * 1000;
        let times = [900, 100, 500, 100, 1000, 1];
        let sent = times.iter().enumerate().map(|(number, within_ms)| {
            let key = format!("{round:08X}{number:08X}");
            send_for(&client, &key, 0, slot_ms + within_ms).expect("acknowledged");
            key
        });
        let mut sent: Vec<String> = sent.collect();
        // One comes late, when the others may have been read ahead of their time.
        while now_ms() < slot_ms + 850 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let key = format!("{round:08X}{:08X}", times.len());
        send_for(&client, &key, 0, slot_ms + 950).expect("acknowledged");
        sent.push(key);
        // On a machine that stood still meanwhile they were delivered as they came.
        if now_ms() < slot_ms + 900 {
            break sent;
        }
    };
    wait_delivered(cluster.broker.address(), &acked);
    let records = pull_all(&client, TOPIC, 0, 0);
    let keys = records.iter().map(key_of);
    let keys: Vec<&str> = keys
        .filter(|key| acked.iter().any(|own| own == key))
        .collect();
    if !is_java() {
        let wanted = [5, 1, 3, 2, 0, 6, 4].map(|number: usize| acked[number].as_str());
        assert_eq!(keys, wanted);
    }
}

fn recall(client: &Client, topic: &str, handle: &str) -> Frame {
    let ext = [
        ("producerGroup", "test_producer".to_owned()),
        ("topic", topic.to_owned()),
        ("recallHandle", handle.to_owned()),
    ];
    let answer = client.call(RECALL_MESSAGE, &ext, b"", PATIENCE);
    answer.expect("an answer")
}

#[test]
fn a_message_that_is_called_back_is_not_delivered() {
    let mut cluster = start("ASYNC_FLUSH");
    let to = cluster.broker.address();
    let client = Client::connect(to).expect("connect");
    let at = now_ms() + 6_000;
    let kept = send_for(&client, "KEPT", 0, at).expect("stored");
    let gone = send_for(&client, "GONE", 0, at).expect("stored");
    let handle = gone.ext_text("recallHandle");
    assert_ne!(kept.ext_text("recallHandle"), handle);
    let answer = recall(&client, TOPIC, handle);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(answer.ext_text("msgId"), "GONE");
    assert_eq!(answer.ext_text("MSG_REGION"), "DefaultRegion");

    // What is refused, each with RocketMQ's code.
    create_topic(&client, "OtherTopic", 1);
    for (topic, handle, code) in [
        (TOPIC, "nonsense!", 604),
        (TOPIC, "", 604),
        ("OtherTopic", handle, 604),
        ("NoSuchTopic", handle, 17),
    ] {
        let answer = recall(&client, topic, handle);
        assert_eq!(answer.code, code, "{topic} {handle}: {answer:?}");
        assert_eq!(answer.ext_text("MSG_REGION"), "DefaultRegion");
    }
    // The mark survives a kill as the message does.
    cluster.broker.kill9();
    cluster.broker.restart();
    let counts = wait_delivered(to, &["KEPT".to_owned()]);
    assert_eq!(counts.get("KEPT"), Some(&1));
    std::thread::sleep(Duration::from_millis(1_200));
    let client = Client::connect(to).expect("connect");
    assert!(!delivered(&client).contains_key("GONE"));
    let late = recall(&client, TOPIC, kept.ext_text("recallHandle"));
    assert_eq!(late.code, 604, "{late:?}");
    // Nothing waits any more, and the figures say so.
    let metrics = must(client.call(61, &[], b"", PATIENCE), "timer metrics");
    let metrics: Value = serde_json::from_slice(&metrics.body).expect("JSON");
    assert_eq!(metrics["timingCount"][TOPIC]["count"], 0);
    let info = must(
        client.call(GET_BROKER_RUNTIME_INFO, &[], b"", PATIENCE),
        "runtime info",
    );
    let info: Value = serde_json::from_slice(&info.body).expect("JSON");
    assert_eq!(info["table"]["timerCongestNum"], "0");
    assert_eq!(info["table"]["timerOffsetBehind"], "0");
    let check = must(client.call(60, &[], b"", PATIENCE), "timer check point");
    assert_eq!(check.body.len(), 56);
    let detail = get(cluster.broker.console(), "/actors/broker/delivery/timer");
    let detail = detail.expect("the console").json();
    assert_eq!(detail["detail"]["pending"], 0);
}

/// The time of a transaction's message counts when it is committed: it waits in its slot then.
#[test]
fn a_committed_message_waits_for_its_time() {
    let cluster = start("ASYNC_FLUSH");
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let text = properties(&[
        ("UNIQ_KEY", "HALF"),
        ("TRAN_MSG", "true"),
        ("PGROUP", "test_producer"),
        ("TIMER_DELAY_MS", "2000"),
    ]);
    let mut ext = send_ext(TOPIC, 0, &text);
    set(&mut ext, "f", "4");
    let half = client.call(SEND_MESSAGE_V2, &ext, b"HALF 0", PATIENCE);
    let half = must(half, "a half message");
    assert_eq!(half.ext_text("recallHandle"), "");
    let offset_id = half.ext_text("msgId");
    let offset = i64::from_str_radix(&offset_id[offset_id.len() - 16..], 16).expect("an offset");
    let end = [
        ("topic", TOPIC.to_owned()),
        ("producerGroup", "test_producer".to_owned()),
        (
            "tranStateTableOffset",
            half.ext_text("queueOffset").to_owned(),
        ),
        ("commitLogOffset", offset.to_string()),
        ("commitOrRollback", "8".to_owned()),
        ("fromTransactionCheck", "false".to_owned()),
        ("msgId", "HALF".to_owned()),
        ("transactionId", "HALF".to_owned()),
    ];
    let began = now_ms();
    must(client.call(37, &end, b"", PATIENCE), "commit");
    wait_delivered(cluster.broker.address(), &["HALF".to_owned()]);
    let delivered = pull_all(&client, TOPIC, 0, 0);
    let at = delivered.first().expect("delivered").store_timestamp;
    assert!(at >= began + 2_000, "{} ms early", began + 2_000 - at);
}

#[test]
fn a_recall_may_name_the_topic_of_its_message() {
    let cluster = start("ASYNC_FLUSH");
    let client = Client::connect(cluster.broker.address()).expect("connect");
    create_topic(&client, "OtherTopic", 1);
    let at = now_ms() + 3_000;
    let sent = |key: &str| {
        let sent = send_for(&client, key, 0, at).expect("stored");
        RecallHandle::decode(sent.ext_text("recallHandle")).expect("a handle")
    };
    let of_other_topic = |handle: &RecallHandle| RecallHandle {
        topic: "OtherTopic".into(),
        ..handle.clone()
    };
    // By its key alone, as by default, a message is called back for whatever topic.
    let by_key = of_other_topic(&sent("BY_KEY"));
    assert_eq!(recall(&client, "OtherTopic", &by_key.encode()).code, 0);
    update_config(&client, "appendTopicForTimerDeleteKey=true");
    let kept = of_other_topic(&sent("KEPT"));
    assert_eq!(recall(&client, "OtherTopic", &kept.encode()).code, 0);
    let gone = sent("GONE");
    assert_eq!(recall(&client, TOPIC, &gone.encode()).code, 0);
    wait_delivered(cluster.broker.address(), &["KEPT".to_owned()]);
    // A message behind them all: no slot of theirs is left.
    send_for(&client, "LAST", 0, at + 1_500).expect("stored");
    let counts = wait_delivered(cluster.broker.address(), &["LAST".to_owned()]);
    let keys: Vec<_> = counts.keys().map(String::as_str).collect();
    assert_eq!(keys, ["KEPT", "LAST"]);
}

#[test]
fn our_own_client_sends_for_a_time_and_calls_back() {
    let cluster = start("ASYNC_FLUSH");
    let namesrv = cluster.namesrv.address().to_string();
    block_on(async {
        let client = MqClient::start(ClientConfig::new(&namesrv)).expect("a client");
        wait_route(&client, TOPIC).await;
        let producer = Producer::new(&client, "timed_producer").expect("a producer");
        let send = async |key: &str| {
            let body = format!("{key} {}", now_ms() + 3_000);
            let message = Message::new(TOPIC, body).with_delay(Duration::from_secs(3));
            producer.send(message).await.expect("sent")
        };
        send("KEPT").await;
        let gone = send("GONE").await;
        let handle = gone.recall_handle.expect("a handle");
        let id = producer.recall(TOPIC, &handle).await.expect("called back");
        assert_eq!(id, gone.message_id);
        let other = producer.recall("NoSuchTopic", &handle).await;
        assert!(other.is_err(), "{other:?}");
        assert!(producer.recall(TOPIC, "nonsense").await.is_err());
        client.shut_down().await;
    });
    let counts = wait_delivered(cluster.broker.address(), &["KEPT".to_owned()]);
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[test]
fn times_that_are_no_good_are_refused() {
    let mut cluster = start("ASYNC_FLUSH");
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let send = |client: &Client, name: &str, value: &str| {
        let text = properties(&[("UNIQ_KEY", "K"), (name, value)]);
        let ext = send_ext(TOPIC, 0, &text);
        let answer = client.call(SEND_MESSAGE_V2, &ext, b"x 0", PATIENCE);
        answer.expect("an answer")
    };
    let far = send(&client, "TIMER_DELAY_SEC", "259300");
    assert_eq!(far.code, 13);
    assert!(far.remark.starts_with("timer message illegal"), "{far:?}");
    assert_eq!(send(&client, "TIMER_DELAY_MS", "soon").code, 13);
    let past = send(&client, "TIMER_DELIVER_MS", "1000");
    assert_eq!((past.code, past.ext_text("recallHandle")), (0, ""));
    assert_eq!(pull_all(&client, TOPIC, 0, 0).len(), 1, "delivered at once");

    cluster.broker.stop();
    cluster.broker.set("timerWheelEnable", "false");
    cluster.broker.set("recallMessageEnable", "false");
    cluster.broker.restart();
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let off = send(&client, "TIMER_DELAY_SEC", "1");
    assert_eq!(off.code, 1);
    assert!(off.remark.contains("timerWheelEnable is false"), "{off:?}");
    assert_eq!(
        client.call(60, &[], b"", PATIENCE).expect("an answer").code,
        1
    );
    assert_eq!(recall(&client, TOPIC, "x").code, 16);
}

#[test]
fn a_slave_that_is_made_master_goes_on() {
    let mut pair = Pair::start(&[]);
    let client = Client::connect(pair.master.address()).expect("connect");
    create_topic(&client, TOPIC, QUEUES);
    let count = 200;
    let began = now_ms();
    let keys: Vec<_> = (0..count).map(|number| format!("S{number:06}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let at = began + 1_000 + number as i64 * 30;
        send_for(&client, key, number as i32 % QUEUES, at).expect("stored");
    }
    pair.wait_mirrored(TOPIC);
    eventually("some are delivered", || {
        (delivered(&client).len() > 20).then_some(())
    });
    pair.wait_in_sync();
    pair.master.kill9();
    let slave = pair.slave();
    let before = Client::connect(slave.address()).expect("connect");
    let at_slave = delivered(&before).len();
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(
        delivered(&before).len(),
        at_slave,
        "a slave delivers nothing"
    );
    slave.become_master();
    let to = slave.address();
    wait_delivered(to, &keys);
    std::thread::sleep(Duration::from_millis(1_200));
    let counts = delivered(&Client::connect(to).expect("connect"));
    assert_once("slave made master", &keys, &counts);
}

/// A broker in a folder of its own, for what needs its files.
#[test]
fn a_wheel_that_is_lost_is_made_anew() {
    let dir = tempfile::tempdir().expect("folder");
    let namesrv = Namesrv::start(dir.path());
    let mut broker = Broker::start(dir.path(), namesrv.address(), &[]);
    let client = Client::connect(broker.address()).expect("connect");
    create_topic(&client, TOPIC, QUEUES);
    let at = now_ms() + 4_000;
    let keys: Vec<_> = (0..50).map(|number| format!("W{number:03}")).collect();
    for key in &keys {
        send_for(&client, key, 0, at).expect("stored");
    }
    std::thread::sleep(Duration::from_millis(300));
    broker.kill9();
    std::fs::remove_file(broker.store().join("timerwheel")).expect("the wheel");
    broker.restart();
    // Once more, without any of the files: the queue tells it all.
    broker.kill9();
    std::fs::remove_file(broker.store().join("timerwheel")).expect("the wheel");
    std::fs::remove_dir_all(broker.store().join("timerlog")).expect("the log");
    broker.restart();
    let counts = wait_delivered(broker.address(), &keys);
    assert_once("lost files", &keys, &counts);
}
