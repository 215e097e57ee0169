//! A master and its slave, each a process of its own, with a NameServer.

use super::eventually;
use super::remoting::Client;
use super::requests::{GET_BROKER_HA_STATUS, GET_TOPIC_CONFIG, must};
use super::server::{Broker, Folder, Namesrv};
use super::{PATIENCE, console};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

/// Keys of every broker of a pair: small segments, so that a log has several.
const KEYS: &[(&str, &str)] = &[
    ("mappedFileSizeCommitLog", "4194304"),
    ("slaveReadEnable", "true"),
    ("haHousekeepingInterval", "5000"),
    ("haSendHeartbeatInterval", "500"),
];

pub struct Pair {
    pub master: Broker,
    pub slave: Option<Broker>,
    pub namesrv: Namesrv,
    extra: Vec<(String, String)>,
    // Dropped last: the processes are gone by then.
    dir: Folder,
}

impl Pair {
    /// A master with these keys and no slave yet.
    pub fn master(extra: &[(&str, &str)]) -> Pair {
        let dir = Folder::new();
        let namesrv = Namesrv::start(&dir.0);
        let keys: Vec<_> = KEYS.iter().chain(extra).copied().collect();
        let master = Broker::start_in(&dir.0.join("master"), namesrv.address(), &keys);
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Pair {
            master,
            slave: None,
            namesrv,
            extra: extra.iter().map(own).collect(),
            dir,
        }
    }

    /// A master and its slave, which follows it.
    pub fn start(extra: &[(&str, &str)]) -> Pair {
        let mut pair = Pair::master(extra);
        pair.start_slave();
        let master = Client::connect(pair.master.address()).expect("connect");
        eventually("the slave follows its master", || {
            let status = ha_status(&master);
            let slaves = status["haConnectionInfo"].as_array()?;
            (!slaves.is_empty()).then_some(())
        });
        pair
    }

    /// Starts the slave, with the master's keys but for those that make it a slave.
    pub fn start_slave(&mut self) {
        let borrowed = self.extra.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let own = [("brokerRole", "SLAVE"), ("brokerId", "1")];
        let keys: Vec<_> = KEYS.iter().copied().chain(borrowed).chain(own).collect();
        let slave = Broker::start_in(&self.slave_dir(), self.namesrv.address(), &keys);
        self.slave = Some(slave);
    }

    pub fn slave_dir(&self) -> std::path::PathBuf {
        self.dir.0.join("slave")
    }

    /// Waits until the slave knows a topic of the master.
    pub fn wait_mirrored(&mut self, topic: &str) {
        let slave = Client::connect(self.slave().address()).expect("connect");
        eventually("the slave knows the topic", || {
            let ext = [("topic", topic.to_owned())];
            let answer = slave.call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE).ok()?;
            (answer.code == 0).then_some(())
        });
    }

    pub fn slave(&mut self) -> &mut Broker {
        self.slave.as_mut().expect("a slave")
    }

    /// Waits until the slave holds all that the master holds now.
    pub fn wait_in_sync(&self) {
        wait_in_sync(self.master.address());
    }

    /// Stops both, the slave first unless the log is to be drained to it.
    pub fn stop(&mut self) {
        self.master.stop();
        if let Some(slave) = &mut self.slave {
            slave.stop();
        }
    }
}

/// Waits until a slave holds all that its master holds now.
pub fn wait_in_sync(master: SocketAddr) {
    let master = Client::connect(master).expect("connect");
    eventually("the slave holds the master's log", || {
        let status = ha_status(&master);
        let end = status["masterCommitLogMaxOffset"].as_i64().expect("end");
        let slaves = status["haConnectionInfo"].as_array().expect("slaves");
        let held = slaves.iter().filter_map(|s| s["slaveAckOffset"].as_i64());
        held.max().filter(|&held| held >= end && end > 0)
    });
}

/// What code 907 answers.
pub fn ha_status(client: &Client) -> Value {
    let answer = must(
        client.call(GET_BROKER_HA_STATUS, &[], b"", PATIENCE),
        "HA status",
    );
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The files of a broker's log, in order.
pub fn segments(broker: &Broker) -> Vec<String> {
    let dir = broker.store().join("commitlog");
    let mut names: Vec<_> = std::fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("entry").file_name())
        .map(|name| name.into_string().expect("a number"))
        .collect();
    names.sort();
    names
}

/// Asserts that both logs hold the same bytes, in files of the same names.
pub fn assert_same_log(one: &Broker, other: &Broker) -> u64 {
    let names = segments(one);
    assert_eq!(names, segments(other), "names of segments");
    assert!(!names.is_empty());
    for name in &names {
        let read = |broker: &Broker| {
            let path = broker.store().join("commitlog").join(name);
            std::fs::read(path).expect("segment")
        };
        let (ours, theirs) = (read(one), read(other));
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        assert_eq!((ours.len(), differs), (theirs.len(), None), "{name:?}");
    }
    names.len() as u64
}

/// The state that the follower shows at the debug endpoint.
pub fn follower_state(slave: &Broker) -> String {
    let answer = console::get(slave.console(), "/actors/broker/ha/follower");
    let answer = answer.map(|answer| answer.json()).unwrap_or_default();
    let state = answer["detail"]["state"].as_str();
    state.unwrap_or_default().to_owned()
}

/// Overwrites a byte of a file.
pub fn flip_byte(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0xff], at).expect("write");
}
