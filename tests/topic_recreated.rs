//! A topic that is deleted and made again under load, with `kill -9` between: no message of the
//! old topic appears in the new one, and none is missing that was acknowledged after the topic was
//! made again.
//!
//! Each load numbers its senders after its epoch, so a message tells which topic it was sent to. An
//! old sender may go on while the topic is made again: what it sends then belongs to the new topic,
//! and only what was answered before (or went down with the broker) does not.
//!
//! `CALLBOARD_ROUNDS` says how often each variant runs, on the same store.

mod common;

use common::check::Ledger;
use common::load::{Load, LoadOptions, Report, body_of};
use common::remoting::Client;
use common::requests::{
    DELETE_TOPIC_IN_BROKER, GET_TOPIC_CONFIG, QUERY_CONSUMER_OFFSET, SEND_MESSAGE_V2,
    UPDATE_CONSUMER_OFFSET, commit_ext, create_topic, must, send_ext,
};
use common::rng::Rng;
use common::server::Cluster;
use common::{PATIENCE, eventually};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TOPIC: &str = "PhoenixTopic";
const QUEUES: i32 = 4;
const SENDERS: u32 = 3;
const GROUP: &str = "test_group";
/// An offset that no queue of a new topic reaches in these tests.
const OLD_OFFSET: i64 = 1 << 40;

/// The sender of messages that wait in the first delay level, a second, when their topic is deleted.
const DELAYED: u32 = 0;

/// Topics come from create requests only, so that no send of the old load makes the new topic.
const KEYS: &[(&str, &str)] = &[
    ("flushDiskType", "ASYNC_FLUSH"),
    ("autoCreateTopicEnable", "false"),
];

/// Where the broker is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    /// While the deletion is on its way: its outcome is unknown.
    BeforeDeleteAnswered,
    /// Between the deletion's answer and the request for the new topic.
    AfterDeleteAnswered,
    /// While the new topic takes its first messages; the old load ended before.
    AfterCreateAnswered,
    /// As before, with the old load running through all of it.
    WithOldLoadRunning,
}

#[test]
fn killed_before_the_deletion_is_answered() {
    rounds("before_delete_answered", Kill::BeforeDeleteAnswered);
}

#[test]
fn killed_after_the_deletion_is_answered() {
    rounds("after_delete_answered", Kill::AfterDeleteAnswered);
}

#[test]
fn killed_after_the_topic_is_made_again() {
    rounds("after_create_answered", Kill::AfterCreateAnswered);
}

#[test]
fn killed_with_the_old_load_running() {
    rounds("with_old_load_running", Kill::WithOldLoadRunning);
}

fn rounds(name: &str, kill: Kill) {
    let mut rng = Rng::for_test(name);
    let mut phoenix = Phoenix {
        cluster: Cluster::start(KEYS),
        epoch: 0,
    };
    phoenix.create();
    for round in 0..common::env_number("CALLBOARD_ROUNDS", 1) {
        println!("{name} round {round}");
        phoenix.round(kill, &mut rng);
    }
}

/// What the old load may not have left in the new topic.
#[derive(Default)]
struct Old {
    /// Per old sender: what it sent below this number was answered before the topic was made again.
    settled: HashMap<u32, u32>,
    /// Per old sender: what it sent from this number on went to the new topic.
    sent_later: HashMap<u32, u32>,
}

/// A broker whose topic dies and comes back.
struct Phoenix {
    cluster: Cluster,
    epoch: u32,
}

impl Phoenix {
    fn to(&self) -> SocketAddr {
        self.cluster.broker.address()
    }

    fn client(&self) -> Client {
        Client::connect(self.to()).expect("connect")
    }

    fn create(&self) {
        create_topic(&self.client(), TOPIC, QUEUES);
    }

    /// A load of an epoch of its own.
    fn load(&mut self) -> Load {
        self.epoch += 1;
        let options = LoadOptions {
            topic: TOPIC.into(),
            queues: QUEUES,
            senders: SENDERS,
            first_sender: self.epoch * SENDERS,
            window: 16,
            body_len: 256,
            reconnect: false,
            first_numbers: vec![],
        };
        Load::start(self.to(), &options)
    }

    fn delete(&self) {
        must(
            self.client()
                .call(DELETE_TOPIC_IN_BROKER, &delete_ext(), b"", PATIENCE),
            "delete topic",
        );
    }

    fn kill_and_restart(&mut self) {
        self.cluster.broker.kill9();
        self.cluster.broker.restart();
    }

    fn round(&mut self, kill: Kill, rng: &mut Rng) {
        let old_load = self.load();
        old_load.wait_acked(rng.between(1, 3_000));
        // Long enough, at times, for a checkpoint that knows the old queues.
        sleep(rng.between(0, 3_500));
        let commit = commit_ext(GROUP, TOPIC, 0, OLD_OFFSET);
        let client = self.client();
        let answer = client.call(UPDATE_CONSUMER_OFFSET, &commit, b"", PATIENCE);
        must(answer, "commit an offset");
        for queue_id in 0..QUEUES {
            let ext = send_ext(TOPIC, queue_id, "DELAY\u{1}1\u{2}");
            let body = body_of(DELAYED, queue_id as u32, 64);
            let answer = client.call(SEND_MESSAGE_V2, &ext, &body, PATIENCE);
            must(answer, "send a delayed message");
        }
        match kill {
            Kill::BeforeDeleteAnswered => self.kill_in_deletion(old_load, rng),
            Kill::AfterDeleteAnswered => {
                self.delete();
                sleep(rng.between(0, 5));
                self.kill_and_restart();
                let old = ended(&old_load.stop());
                self.live_again(None, old, rng);
            }
            Kill::AfterCreateAnswered => {
                self.delete();
                let old = ended(&old_load.stop());
                self.live_again(Some(Vec::new()), old, rng);
            }
            Kill::WithOldLoadRunning => {
                self.delete();
                self.live_again(Some(vec![old_load]), Old::default(), rng);
            }
        }
    }

    /// The deletion is asked for and the broker killed; then the operator asks once more, unless the
    /// topic is seen to be gone.
    fn kill_in_deletion(&mut self, old_load: Load, rng: &mut Rng) {
        let client = self.client();
        let (answer_to, _answers) = std::sync::mpsc::channel();
        client.start(DELETE_TOPIC_IN_BROKER, &delete_ext(), b"", &answer_to);
        if rng.between(0, 2) == 0 {
            std::thread::sleep(Duration::from_micros(rng.between(0, 30_000)));
        } else {
            // Its first step was made; the others mostly were not.
            eventually("a topic that is gone", || {
                (!self.topic_exists()).then_some(())
            });
        }
        self.kill_and_restart();
        let old = ended(&old_load.stop());
        let gone = !self.topic_exists();
        println!("the topic is {}", if gone { "gone" } else { "still there" });
        if !gone {
            self.delete();
        }
        self.live_again(None, old, rng);
    }

    fn topic_exists(&self) -> bool {
        let ext = [("topic", TOPIC.to_string())];
        let answer = self.client().call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE);
        let answer = answer.unwrap_or_else(|error| panic!("topic configuration: {error:?}"));
        assert!(matches!(answer.code, 0 | 17), "{}", answer.remark);
        answer.code == 0
    }

    /// Makes the topic again, puts load on it, kills the broker if `kill_with` says so (with the
    /// old loads that still run), and checks what is stored.
    fn live_again(&mut self, kill_with: Option<Vec<Load>>, mut old: Old, rng: &mut Rng) {
        let running = kill_with.as_deref().unwrap_or_default();
        let first_old = self.epoch * SENDERS;
        let senders = || running.iter().flat_map(Load::progress).zip(first_old..);
        for (progress, sender) in senders() {
            let settled = progress.settled.load(Ordering::Acquire);
            old.settled.insert(sender, settled);
        }
        self.create();
        for (progress, sender) in senders() {
            let next = progress.next.load(Ordering::Acquire);
            old.sent_later.insert(sender, next);
        }
        let load = self.load();
        load.wait_acked(rng.between(1, 1_000));
        sleep(rng.between(0, 2_500));
        let mut reports = Vec::new();
        if let Some(old_loads) = kill_with {
            self.cluster.broker.kill9();
            reports.extend(old_loads.into_iter().flat_map(Load::stop));
            for report in &mut reports {
                let from = old.sent_later[&report.sender];
                report.acked.retain(|ack| ack.number >= from);
            }
            reports.extend(load.stop());
            self.cluster.broker.restart();
        } else {
            reports.extend(load.stop());
        }
        let mut ledger = Ledger::new(TOPIC, QUEUES);
        let checked = ledger.check(self.to(), &reports, rng);
        println!("the new topic: {checked:?}");
        assert!(checked.acked > 0, "nothing was acknowledged");
        let first_new = self.epoch * SENDERS;
        for &(sender, number) in ledger.seen() {
            let settled = match sender < first_new {
                true => old.settled.get(&sender).copied().unwrap_or(u32::MAX),
                false => 0,
            };
            assert!(
                number >= settled,
                "message {number} of old sender {sender} is in the new topic"
            );
        }
        self.no_old_offset();
        ledger.check_all_again(self.to());
        self.kill_and_restart();
        ledger.check_all_again(self.to());
        self.no_old_offset();
    }

    /// What consumers committed to the old topic must not make them skip messages of the new one.
    fn no_old_offset(&self) {
        let client = self.client();
        let mut ext = commit_ext(GROUP, TOPIC, 0, 0);
        ext.retain(|(name, _)| *name != "commitOffset");
        let answer = eventually("an answer", || {
            client.call(QUERY_CONSUMER_OFFSET, &ext, b"", PATIENCE).ok()
        });
        if answer.code == 0 {
            let offset = answer.ext_number("offset");
            assert!(offset < OLD_OFFSET, "the old topic's offset {offset}");
        }
    }
}

/// Everything these senders sent was answered, or its connection has ended.
fn ended(reports: &[Report]) -> Old {
    for report in reports {
        assert!(report.stuck.is_empty(), "a sender waits: {report:?}");
    }
    let all = reports.iter().map(|r| (r.sender, r.next_number));
    Old {
        settled: all.collect(),
        sent_later: HashMap::new(),
    }
}

fn delete_ext() -> Vec<(&'static str, String)> {
    vec![("topic", TOPIC.to_string())]
}

fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
