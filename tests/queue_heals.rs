//! The log is the truth: a queue whose files have a hole makes them anew from the log while the broker
//! runs. Readers at the tail and readers that wait see every message that the log has, once.

mod common;

use common::console::{actors, crash, post};
use common::record::{Record, parse_all};
use common::remoting::{Arrival, Client, Frame, NoAnswer};
use common::requests::{
    DELETE_EXPIRED_COMMITLOG, GET_MAX_OFFSET, GET_MIN_OFFSET, PULL_MESSAGE, SEND_MESSAGE_V2,
    create_topic, must, offset_of, pull_all, pull_ext, send_ext, wait_dispatched,
};
use common::server::{Cluster, is_java};
use common::{PATIENCE, eventually};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc;

const TOPIC: &str = "HealTopic";
const ENTRY_LEN: u64 = 20;
/// Entries of one queue file.
const PER_FILE: u64 = 100;

struct Bench {
    cluster: Cluster,
    client: Client,
    sent: i64,
    body_len: usize,
}

impl Bench {
    fn start(extra: &[(&str, &str)]) -> Bench {
        let mut keys = vec![("mappedFileSizeConsumeQueue", "2000")];
        keys.extend(extra);
        let cluster = Cluster::start(&keys);
        let client = Client::connect(cluster.broker.address()).expect("connect");
        create_topic(&client, TOPIC, 1);
        Bench {
            cluster,
            client,
            sent: 0,
            body_len: 1,
        }
    }

    fn try_send(&self) -> Result<Frame, NoAnswer> {
        let body = format!("{:<len$}", self.sent, len = self.body_len);
        let ext = send_ext(TOPIC, 0, "");
        self.client
            .call(SEND_MESSAGE_V2, &ext, body.as_bytes(), PATIENCE)
    }

    /// Sends messages whose body begins with their queue offset.
    fn send(&mut self, count: i64) {
        for _ in 0..count {
            let answer = must(self.try_send(), "send");
            assert_eq!(answer.ext_number("queueOffset"), self.sent);
            self.sent += 1;
        }
        wait_dispatched(&self.client);
    }

    fn dir(&self) -> PathBuf {
        self.cluster
            .broker
            .store()
            .join("consumequeue")
            .join(TOPIC)
            .join("0")
    }

    fn file(&self, number: u64) -> PathBuf {
        self.dir()
            .join(format!("{:020}", number * PER_FILE * ENTRY_LEN))
    }

    /// Waits until the entries below `count` are in the files.
    fn wait_written(&self, count: u64) {
        let (file, last) = (self.file((count - 1) / PER_FILE), (count - 1) % PER_FILE);
        eventually("entries are written", || {
            let mut size = [0; 4];
            let file = fs::File::open(&file).ok()?;
            file.read_exact_at(&mut size, last * ENTRY_LEN + 8).ok()?;
            (size != [0; 4]).then_some(())
        });
    }

    /// Crashes the queue's actor, so that it opens its files again.
    fn reopen(&self) {
        let console = self.cluster.broker.console();
        let end = format!("/{TOPIC}/0");
        let all = actors(console);
        let queue = all.iter().find(|actor| actor.path.ends_with(&end));
        let path = &queue.expect("the queue is awake").path;
        let answer = post(console, &format!("/actors/{path}/crash")).expect("crash");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// A pull that waits at the end; its answer comes by the receiver.
    fn wait_at_the_end(&self) -> mpsc::Receiver<Arrival> {
        let (to, from) = mpsc::channel();
        let ext = pull_ext(TOPIC, 0, self.sent, 50_000);
        self.client.start(PULL_MESSAGE, &ext, b"", &to);
        from
    }

    fn healed(&self) -> usize {
        let log = self.cluster.broker.log_text();
        log.matches("builds its files anew from the log").count()
    }

    /// What the log has is what readers see.
    fn check(&self, from: i64) {
        assert_whole(&pull_all(&self.client, TOPIC, 0, from), from, self.sent);
        assert_eq!(offset_of(&self.client, GET_MAX_OFFSET, TOPIC, 0), self.sent);
    }
}

fn assert_whole(records: &[Record], from: i64, upto: i64) {
    let offsets: Vec<i64> = records.iter().map(|record| record.queue_offset).collect();
    assert_eq!(offsets, (from..upto).collect::<Vec<_>>());
    for record in records {
        let body = std::str::from_utf8(&record.body).expect("text");
        assert_eq!(body.trim_end(), record.queue_offset.to_string());
    }
}

#[test]
fn a_hole_that_a_reader_meets_is_filled() {
    if is_java() {
        return;
    }
    let mut bench = Bench::start(&[]);
    bench.send(650);
    bench.wait_written(300);
    let zeros = OpenOptions::new().write(true).open(bench.file(1));
    let written = zeros.and_then(|file| file.write_all_at(&[0; 100], 10 * ENTRY_LEN));
    written.expect("a hole");
    bench.check(0);
    assert_eq!(bench.healed(), 1);
    // A whole file is gone below the reader.
    bench.wait_written(300);
    fs::remove_file(bench.file(2)).expect("removed");
    bench.reopen();
    bench.check(0);
    assert_eq!(bench.healed(), 2);
    bench.send(10);
    bench.check(0);
    assert_eq!(bench.healed(), 2);
}

#[test]
fn who_waits_at_the_end_gets_the_next_message() {
    if is_java() {
        return;
    }
    let mut bench = Bench::start(&[]);
    // More than one turn of reading the log.
    bench.body_len = 16 << 10;
    bench.send(350);
    bench.wait_written(300);
    let waiting = bench.wait_at_the_end();
    // One answered call behind it on the same connection: the pull has arrived.
    bench.check(340);
    fs::remove_dir_all(bench.dir()).expect("removed");
    bench.reopen();
    bench.check(0);
    assert!(waiting.try_recv().is_err(), "there was nothing to answer");
    let expected = bench.sent;
    bench.send(1);
    let arrival = waiting.recv_timeout(PATIENCE).expect("an answer");
    let answer = arrival.answer.expect("no disconnect");
    assert_eq!(answer.code, 0, "{}", answer.remark);
    assert_whole(&parse_all(&answer.body), expected, bench.sent);
    assert_eq!(bench.healed(), 1);
    // And so it is found by the next start.
    bench.cluster.broker.stop();
    bench.cluster.broker.restart();
    bench.client = Client::connect(bench.cluster.broker.address()).expect("connect");
    bench.check(0);
    assert_eq!(bench.healed(), 0);
}

#[test]
fn files_made_anew_begin_where_the_log_does() {
    if is_java() {
        return;
    }
    let mut bench = Bench::start(&[
        ("mappedFileSizeCommitLog", "16384"),
        ("fileReservedTime", "0"),
        // What is not on disk yet is not deleted.
        ("flushDiskType", "SYNC_FLUSH"),
        // Nothing is deleted but on request.
        ("cleanResourceInterval", "3600000"),
    ]);
    bench.send(350);
    bench.wait_written(300);
    let answer = bench
        .client
        .call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE);
    must(answer, "delete");
    let first = eventually("old messages go", || {
        let min = offset_of(&bench.client, GET_MIN_OFFSET, TOPIC, 0);
        (min > 0).then_some(min)
    });
    fs::remove_dir_all(bench.dir()).expect("removed");
    bench.reopen();
    bench.send(20);
    let first = first.max(offset_of(&bench.client, GET_MIN_OFFSET, TOPIC, 0));
    bench.check(first);
    assert_eq!(bench.healed(), 1);
    assert!(!bench.file(0).exists() || first < PER_FILE as i64);
}

#[test]
fn what_a_crashed_writer_left_is_read_without_more_traffic() {
    if is_java() {
        return;
    }
    let mut bench = Bench::start(&[]);
    bench.send(5);
    let writer = "broker/store/commit_log_writer";
    crash(bench.cluster.broker.console(), writer, Some("after_bytes"));
    // In the log, and nobody was told.
    assert_ne!(bench.try_send().expect("an answer").code, 0);
    bench.sent += 1;
    bench.check(0);
}

/// Without a clean end the log is read from the last snapshot on. A start takes one of its own: a
/// broker killed again before it would be due does not read the same a second time.
#[test]
fn what_one_start_read_the_next_one_need_not() {
    if is_java() {
        return;
    }
    let mut bench = Bench::start(&[("tailsIntervalMs", "3600000")]);
    let tails = bench.cluster.broker.store().join("callboard/tails");
    bench.send(50);
    bench.cluster.broker.kill9();
    assert!(!tails.exists(), "no snapshot was due");
    bench.cluster.broker.restart();
    assert!(opened(&bench).starts_with("clean=false mode=Abnormal scan_from=0 "));
    eventually("the start's own snapshot", || tails.exists().then_some(()));
    bench.cluster.broker.kill9();
    bench.cluster.broker.restart();

    let opened = opened(&bench);
    let field = |name: &str| {
        let value = opened.split(' ').find_map(|part| part.strip_prefix(name));
        value.unwrap_or_else(|| panic!("no {name} in {opened}"))
    };
    assert_eq!(field("mode="), "Snapshot");
    assert_eq!(field("scan_from="), field("end="));
    bench.client = Client::connect(bench.cluster.broker.address()).expect("connect");
    assert_whole(&pull_all(&bench.client, TOPIC, 0, 0), 0, 50);
    bench.send(1);
}

/// What the broker says of its store at its start.
fn opened(bench: &Bench) -> String {
    let log = bench.cluster.broker.log_text();
    let line = log
        .lines()
        .find_map(|line| line.split_once("store opened "));
    line.expect("a line of the store").1.to_owned()
}
