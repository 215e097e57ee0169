//! Keys that take effect while the broker runs, as in RocketMQ, through the request that
//! `mqadmin updateBrokerConfig` sends; and keys of Callboard that take effect at the start.

mod common;

use common::PATIENCE;
use common::console::{actors, get, post};
use common::eventually;
use common::load::{Load, LoadOptions};
use common::record::parse_all;
use common::remoting::{Client, Frame};
use common::requests::{
    DELETE_EXPIRED_COMMITLOG, GET_MIN_OFFSET, PULL_MESSAGE, SEND_MESSAGE_V2, create_topic, must,
    offset_of, pull_all, pull_ext, send_ext, update_config, wait_dispatched,
};
use common::server::{Cluster, is_java};
use std::path::Path;
use std::time::{Duration, Instant};

const TOPIC: &str = "HotTopic";
const MESSAGE_ILLEGAL: i32 = 13;

struct Bench {
    cluster: Cluster,
    client: Client,
}

impl Bench {
    fn start(keys: &[(&str, &str)]) -> Bench {
        let cluster = Cluster::start(keys);
        let client = Client::connect(cluster.broker.address()).expect("connect");
        create_topic(&client, TOPIC, 1);
        Bench { cluster, client }
    }

    fn update(&self, text: &str) {
        update_config(&self.client, text);
    }

    fn try_send(&self, len: usize) -> Frame {
        let ext = send_ext(TOPIC, 0, "");
        let answer = self
            .client
            .call(SEND_MESSAGE_V2, &ext, &vec![b'x'; len], PATIENCE);
        answer.expect("an answer")
    }

    fn send(&self, len: usize) -> Frame {
        let answer = must(Ok(self.try_send(len)), "send");
        wait_dispatched(&self.client);
        answer
    }

    /// How many messages one pull from the start gives.
    fn pulled(&self) -> usize {
        let ext = pull_ext(TOPIC, 0, 0, 0);
        let answer = self.client.call(PULL_MESSAGE, &ext, b"", PATIENCE);
        parse_all(&answer.expect("an answer").body).len()
    }

    fn delete_expired(&self) {
        let answer = self
            .client
            .call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE);
        must(answer, "delete");
    }

    fn min_offset(&self) -> i64 {
        offset_of(&self.client, GET_MIN_OFFSET, TOPIC, 0)
    }
}

#[test]
fn sends_follow_size_and_marks() {
    let bench = Bench::start(&[("maxMessageSize", "4096")]);
    bench.send(2000);
    bench.update("maxMessageSize=1000\n");
    assert_eq!(bench.try_send(2000).code, MESSAGE_ILLEGAL);
    bench.update("maxMessageSize=3000\ntraceOn=false\nregionId=elsewhere\n");
    let answer = bench.send(2000);
    let stored = pull_all(&bench.client, TOPIC, 0, 1).pop();
    let stored = stored.expect("the message");
    let has = |text: &str| stored.properties.contains(text);
    if !is_java() {
        // RocketMQ's answers do not change with its configuration.
        assert_eq!(answer.ext_text("TRACE_ON"), "false");
        assert_eq!(answer.ext_text("MSG_REGION"), "elsewhere");
    }
    assert!(has("TRACE_ON\u{1}false") && has("MSG_REGION\u{1}elsewhere"));
}

#[test]
fn pulls_follow_their_limits() {
    let bench = Bench::start(&[]);
    for _ in 0..40 {
        bench.send(100);
    }
    eventually("all can be read", || (bench.pulled() == 40).then_some(()));
    bench.update("maxTransferCountOnMessageInMemory=3\n");
    assert_eq!(bench.pulled(), 3);
    bench.update("maxTransferCountOnMessageInMemory=32\nmaxTransferBytesOnMessageInMemory=1500\n");
    let few = bench.pulled();
    assert!((1..15).contains(&few), "{few}");
    // Nothing counts as in memory any more.
    bench.update("accessMessageInMemoryMaxRatio=0\nmaxTransferCountOnMessageInDisk=5\n");
    assert_eq!(bench.pulled(), 5);
    bench.update("maxTransferBytesOnMessageInDisk=1\n");
    assert_eq!(bench.pulled(), 1, "the first one always fits");
}

/// `physicMsgTimestamp` of the checkpoint: 0 as long as nothing of the log was flushed.
fn flushed_time(store: &Path) -> i64 {
    let page = std::fs::read(store.join("checkpoint")).unwrap_or_default();
    let first = page.get(..8).and_then(|bytes| bytes.try_into().ok());
    first.map_or(0, i64::from_be_bytes)
}

#[test]
fn the_flush_follows_its_interval() {
    if is_java() {
        return;
    }
    let bench = Bench::start(&[
        ("flushIntervalCommitLog", "3600000"),
        ("tailsIntervalMs", "100"),
    ]);
    let store = bench.cluster.broker.store();
    let tails = store.join("callboard/tails");
    bench.send(100);
    eventually("the checkpoint is written", || tails.exists().then_some(()));
    assert_eq!(flushed_time(&store), 0);
    bench.update(
        "flushIntervalCommitLog=50\nflushCommitLogLeastPages=0\nflushCommitLogThoroughInterval=0\n",
    );
    eventually("the log is flushed", || {
        // The checkpoint is written while the log grows.
        bench.send(100);
        (flushed_time(&store) > 0).then_some(())
    });
}

#[test]
fn appends_wake_the_flush_where_that_is_wanted() {
    if is_java() {
        return;
    }
    let bench = Bench::start(&[
        ("flushIntervalCommitLog", "3600000"),
        ("flushCommitLogLeastPages", "0"),
        ("tailsIntervalMs", "100"),
    ]);
    let store = bench.cluster.broker.store();
    bench.send(100);
    let tails = store.join("callboard/tails");
    eventually("the checkpoint is written", || tails.exists().then_some(()));
    assert_eq!(flushed_time(&store), 0);
    bench.update("flushCommitLogTimed=false\n");
    eventually("the log is flushed", || {
        bench.send(100);
        (flushed_time(&store) > 0).then_some(())
    });
}

#[test]
fn deletion_follows_age_and_hours() {
    let keys = [
        ("mappedFileSizeCommitLog", "16384"),
        ("cleanResourceInterval", "200"),
        // An hour that is far.
        ("deleteWhen", "04"),
    ];
    let bench = Bench::start(&keys);
    let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
    for _ in 0..40 {
        bench.send(1000);
    }
    // Asked for, and yet too young.
    bench.delete_expired();
    assert_eq!(bench.min_offset(), 0);
    bench.update(&format!(
        "fileReservedTime=0\ndeleteWhen={}\n",
        hours.join(";")
    ));
    eventually("old messages go", || (bench.min_offset() > 0).then_some(()));
}

#[test]
fn an_asynchronous_flush_makes_one_pass_an_interval() {
    if is_java() {
        return;
    }
    const INTERVAL: Duration = Duration::from_millis(700);
    let begin = Instant::now();
    let interval = INTERVAL.as_millis().to_string();
    let bench = Bench::start(&[("flushIntervalCommitLog", interval.as_str())]);
    let load = Load::start(
        bench.cluster.broker.address(),
        &LoadOptions {
            topic: TOPIC.to_owned(),
            queues: 1,
            senders: 4,
            first_sender: 0,
            window: 8,
            body_len: 1024,
            reconnect: false,
            first_numbers: Vec::new(),
        },
    );
    let console = bench.cluster.broker.console();
    let passes = || {
        let answer = get(console, "/actors/broker/store/flush").ok()?;
        answer.json()["detail"]["passes"].as_u64()
    };
    // Messages come all the while, so that there is always something to flush.
    let made = eventually("three passes", || passes().filter(|made| *made >= 3));
    let intervals = begin.elapsed().as_millis() / INTERVAL.as_millis();
    assert!(
        u128::from(made) <= intervals + 1,
        "{made} passes in {intervals} intervals"
    );
    load.stop();
}

#[test]
fn an_idle_queue_sleeps_when_configured() {
    if is_java() {
        return;
    }
    let bench = Bench::start(&[("queueSleepMs", "300")]);
    bench.send(100);
    let awake = || {
        let end = format!("/{TOPIC}/0");
        let all = actors(bench.cluster.broker.console());
        all.iter()
            .any(|actor| actor.kind == "queue" && actor.path.ends_with(&end))
    };
    eventually("the queue sleeps", || (!awake()).then_some(()));
    assert_eq!(bench.pulled(), 1);
}

#[test]
fn the_budget_of_restarts_is_configured() {
    if is_java() {
        return;
    }
    let mut bench = Bench::start(&[("actorRestartsMax", "1")]);
    let console = bench.cluster.broker.console();
    let path = "/actors/broker/store/commit_log_writer/crash";
    assert_eq!(post(console, path).expect("crash").status, 200);
    bench.send(100);
    assert_eq!(post(console, path).expect("crash").status, 200);
    let code = bench.cluster.broker.wait_exit();
    assert!(
        code > 0,
        "a clean exit with a code that is not 0, got {code}"
    );
}
