//! A master and its slave as real processes: the same log on both, whoever is killed; sends that wait
//! for the slave; what consumers see meanwhile; histories that went apart.

mod common;

use common::check::Ledger;
use common::eventually;
use common::load::{Load, LoadOptions};
use common::pair::{Pair, assert_same_log, flip_byte, follower_state, ha_status, segments};
use common::remoting::Client;
use common::requests::{
    DELETE_EXPIRED_COMMITLOG, PULL_MESSAGE, SEND_MESSAGE_V2, UPDATE_AND_CREATE_TOPIC, create_topic,
    must, pull_ext, send_ext, topic_ext,
};
use common::rng::Rng;
use common::server::Broker;
use common::{PATIENCE, env_number};
use std::net::SocketAddr;
use std::time::Duration;

const TOPIC: &str = "ReplicaTopic";
const QUEUES: i32 = 4;

fn options(first_sender: u32) -> LoadOptions {
    LoadOptions {
        topic: TOPIC.into(),
        queues: QUEUES,
        senders: 4,
        first_sender,
        window: 32,
        body_len: 700,
        reconnect: false,
        first_numbers: Vec::new(),
    }
}

fn prepare(to: SocketAddr) -> Client {
    let client = Client::connect(to).expect("connect");
    create_topic(&client, TOPIC, QUEUES);
    client
}

#[test]
fn a_slave_holds_the_same_log_and_serves_it() {
    let mut rng = Rng::for_test("replication");
    let mut pair = Pair::master(&[]);
    let _client = prepare(pair.master.address());
    let load = Load::start(pair.master.address(), &options(0));
    load.wait_acked(3_000);
    pair.start_slave();
    load.wait_acked(3_000);
    // The slave goes and comes, by a kill and by a stop, under load.
    pair.slave().kill9();
    load.wait_acked(1_000);
    pair.slave().restart();
    load.wait_acked(1_000);
    pair.slave().stop();
    load.wait_acked(1_000);
    pair.slave().restart();
    load.wait_acked(1_000);
    let reports = load.stop();
    pair.wait_in_sync();
    pair.wait_mirrored(TOPIC);
    let slave = pair.slave().address();
    let checked = Ledger::new(TOPIC, QUEUES).check(slave, &reports, &mut rng);
    println!("on the slave: {checked:?}");
    pair.stop();
    let segments = assert_same_log(&pair.master, pair.slave.as_ref().expect("slave"));
    assert!(segments > 1, "{segments} segments");
}

#[test]
fn a_master_that_is_killed_comes_back_to_its_slave() {
    let mut rng = Rng::for_test("master_killed");
    let mut pair = Pair::start(&[]);
    let _client = prepare(pair.master.address());
    let mut ledger = Ledger::new(TOPIC, QUEUES);
    for round in 0..env_number("CALLBOARD_ROUNDS", 2) as u32 {
        let load = Load::start(pair.master.address(), &options(round * 10));
        load.wait_acked(2_000);
        pair.master.kill9();
        let reports = load.stop();
        pair.master.restart();
        let probe = Load::start(pair.master.address(), &options(round * 10 + 5));
        probe.wait_acked(100);
        let mut all = reports;
        all.extend(probe.stop());
        pair.wait_in_sync();
        pair.wait_mirrored(TOPIC);
        let checked = ledger.check(pair.slave().address(), &all, &mut rng);
        println!("round {round}: {checked:?}");
    }
    pair.stop();
    assert_same_log(&pair.master, pair.slave.as_ref().expect("slave"));
}

fn send(client: &Client, queue_id: i32, body: &[u8]) -> (i32, String) {
    let ext = send_ext(TOPIC, queue_id, "");
    let answer = client.call(SEND_MESSAGE_V2, &ext, body, PATIENCE);
    let answer = answer.expect("an answer");
    (answer.code, answer.remark)
}

fn pull_code(client: &Client, queue_id: i32, offset: i64) -> i32 {
    let ext = pull_ext(TOPIC, queue_id, offset, 0);
    let answer = client.call(PULL_MESSAGE, &ext, b"", PATIENCE);
    answer.expect("an answer").code
}

const SYNC: &[(&str, &str)] = &[
    ("brokerRole", "SYNC_MASTER"),
    ("inSyncReplicas", "2"),
    ("slaveTimeout", "300"),
];

#[test]
fn a_slave_that_falls_behind_leaves_the_thread_of_the_writer() {
    let keys = [("logThread", "false"), ("slaveTimeout", "20")];
    let keys: Vec<_> = SYNC.iter().chain(&keys).copied().collect();
    let mut pair = Pair::start(&keys);
    let client = prepare(pair.master.address());
    assert_eq!(send(&client, 0, b"it keeps up").0, 0);
    let moves = |master: &Broker| -> Vec<bool> {
        let text = master.log_text();
        let places = text
            .lines()
            .filter_map(|line| line.split_once(" goes on place="));
        places
            .map(|(_, place)| place.starts_with("BesideWriter"))
            .collect()
    };
    eventually("it is served beside the writer", || {
        (moves(&pair.master) == [true]).then_some(())
    });
    // More than the sockets hold, so that the log runs away from what was sent.
    pair.slave().pause();
    let body = vec![7; 1 << 20];
    for _ in 0..24 {
        assert_eq!(send(&client, 0, &body).0, 12, "FLUSH_SLAVE_TIMEOUT");
    }
    pair.slave().resume();
    pair.wait_in_sync();
    eventually("it went away and came back", || {
        (moves(&pair.master) == [true, false, true]).then_some(())
    });
    eventually("a send is answered in time again", || {
        (send(&client, 0, b"it keeps up again").0 == 0).then_some(())
    });
    pair.wait_in_sync();
    pair.stop();
    let segments = assert_same_log(&pair.master, pair.slave.as_ref().expect("slave"));
    assert!(segments > 4, "{segments} segments");
}

#[test]
fn double_write_waits_for_the_slave_and_hides_what_it_lacks() {
    let mut pair = Pair::master(SYNC);
    let client = prepare(pair.master.address());
    let (code, remark) = send(&client, 0, b"nobody copies it");
    assert_eq!(code, 12, "FLUSH_SLAVE_TIMEOUT: {remark}");
    assert_eq!(pull_code(&client, 0, 0), 19, "it could still vanish");
    pair.start_slave();
    eventually("the slave makes it visible", || {
        (pull_code(&client, 0, 0) == 0).then_some(())
    });
    let (code, remark) = send(&client, 0, b"on two machines");
    assert_eq!(code, 0, "{remark}");
    eventually("it is visible", || {
        (pull_code(&client, 0, 1) == 0).then_some(())
    });
    // Without the slave sends end in a timeout again, and what was seen stays to be seen.
    pair.slave().kill9();
    let (code, _) = send(&client, 0, b"on one machine");
    assert_eq!(code, 12);
    assert_eq!(pull_code(&client, 0, 1), 0);
    assert_eq!(pull_code(&client, 0, 2), 19);
    // Nor does a restart of the master, by a stop or by a kill, show what no slave has.
    pair.master.stop();
    pair.master.restart();
    let client = Client::connect(pair.master.address()).expect("connect");
    assert_eq!(pull_code(&client, 0, 1), 0);
    assert_eq!(pull_code(&client, 0, 2), 19);
    assert_eq!(send(&client, 0, b"on one machine again").0, 12);
    pair.master.kill9();
    pair.master.restart();
    let client = Client::connect(pair.master.address()).expect("connect");
    assert_eq!(pull_code(&client, 0, 2), 19);
    pair.slave().restart();
    eventually("it is visible with the slave's return", || {
        (pull_code(&client, 0, 2) == 0 && pull_code(&client, 0, 3) == 0).then_some(())
    });
    let status = ha_status(&client);
    assert_eq!(status["haConnectionInfo"].as_array().map(Vec::len), Some(1));
}

#[test]
fn visibility_can_be_told_not_to_wait() {
    let mut keys = SYNC.to_vec();
    keys.push(("visibleWithoutReplicas", "true"));
    let pair = Pair::master(&keys);
    let client = prepare(pair.master.address());
    assert_eq!(send(&client, 0, b"nobody copies it").0, 12);
    assert_eq!(pull_code(&client, 0, 0), 0);
}

#[test]
fn what_was_acknowledged_is_on_the_slave_when_the_master_is_lost() {
    let mut rng = Rng::for_test("double_write");
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let mut keys = SYNC.to_vec();
        keys.extend([("flushDiskType", flush), ("slaveTimeout", "5000")]);
        let mut pair = Pair::start(&keys);
        let _client = prepare(pair.master.address());
        // The topic goes to the slave beside the log, not with it.
        pair.wait_mirrored(TOPIC);
        let load = Load::start(pair.master.address(), &options(0));
        load.wait_acked(rng.between(1_000, 3_000));
        pair.master.kill9();
        let reports = load.stop();
        // What came to the slave is there: nobody has to come back for it.
        let slave = pair.slave().address();
        let checked = Ledger::new(TOPIC, QUEUES).check(slave, &reports, &mut rng);
        println!("{flush}: {checked:?}");
    }
}

#[test]
fn a_slave_of_another_history_stops_and_overwrites_nothing() {
    let mut pair = Pair::start(&[]);
    let client = prepare(pair.master.address());
    for number in 0..50_i32 {
        assert_eq!(send(&client, 0, &number.to_be_bytes()).0, 0);
    }
    pair.wait_in_sync();
    pair.slave().stop();
    let segment = pair.slave().store().join("commitlog/00000000000000000000");
    let before = std::fs::read(&segment).expect("segment");
    // A byte of the host's port: no CRC covers it, so that recovery sees nothing wrong.
    flip_byte(&segment, 4 + 4 + 4 + 4 + 4 + 8 + 8 + 4 + 8 + 5);
    pair.slave().restart();
    let state = eventually("the slave finds the difference", || {
        let state = follower_state(pair.slave.as_ref().expect("slave"));
        state.contains("differs from the master's").then_some(state)
    });
    assert!(state.contains("00000000000000000000"), "{state}");
    assert_eq!(send(&client, 0, b"more").0, 0);
    std::thread::sleep(Duration::from_millis(300));
    pair.slave().stop();
    let after = std::fs::read(&segment).expect("segment");
    let differs: Vec<_> = (0..before.len())
        .filter(|&at| before[at] != after[at])
        .collect();
    assert_eq!(
        differs.len(),
        1,
        "only the byte that was changed: {differs:?}"
    );
}

#[test]
fn a_slave_that_is_ahead_is_not_counted() {
    let mut pair = Pair::start(SYNC);
    let client = prepare(pair.master.address());
    for number in 0..20_i32 {
        assert_eq!(send(&client, 0, &number.to_be_bytes()).0, 0);
    }
    pair.wait_in_sync();
    pair.master.kill9();
    // The master's disk lost the end of the log (a power loss without SYNC_FLUSH).
    let segment = pair.master.store().join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&segment).expect("segment");
    let record = u32::from_be_bytes(bytes[..4].try_into().expect("a length")) as usize;
    bytes[10 * record..].fill(0);
    std::fs::write(&segment, bytes).expect("write");
    let _ = std::fs::remove_dir_all(pair.master.store().join("callboard"));
    let _ = std::fs::remove_dir_all(pair.master.store().join("consumequeue"));
    pair.master.restart();
    let client = Client::connect(pair.master.address()).expect("connect");
    let (code, remark) = send(&client, 1, b"something else");
    assert_eq!(code, 12, "the slave holds none of it: {remark}");
    let state = eventually("the slave finds the difference", || {
        let state = follower_state(pair.slave.as_ref().expect("slave"));
        (state.contains("differs from the master's") || state.contains("may end before"))
            .then_some(state)
    });
    println!("{state}");
}

#[test]
fn a_slave_refuses_what_is_the_masters_business() {
    let mut pair = Pair::start(&[("slaveReadEnable", "false")]);
    let client = prepare(pair.master.address());
    assert_eq!(send(&client, 0, b"x").0, 0);
    pair.wait_in_sync();
    let slave = Client::connect(pair.slave().address()).expect("connect");
    let (code, remark) = send(&slave, 0, b"x");
    assert_eq!(code, 2);
    assert!(remark.starts_with("[REJECTREQUEST]"), "{remark}");
    assert_eq!(pull_code(&slave, 0, 0), 2);
    let ext = topic_ext("T2", 1);
    let answer = slave.call(UPDATE_AND_CREATE_TOPIC, &ext, b"", PATIENCE);
    let answer = answer.expect("an answer");
    assert_eq!(answer.code, 1, "{}", answer.remark);
    let status = ha_status(&slave);
    assert_eq!(status["master"], false);
    assert_eq!(
        status["haClientRuntimeInfo"]["maxOffset"],
        ha_status(&client)["masterCommitLogMaxOffset"]
    );
    must(client.call(907, &[], b"", PATIENCE), "status");
}

#[test]
fn a_topic_that_is_made_again_starts_anew_on_the_slave() {
    let mut rng = Rng::for_test("made_again");
    let mut pair = Pair::start(&[]);
    let client = prepare(pair.master.address());
    let load = Load::start(pair.master.address(), &options(0));
    load.wait_acked(1_000);
    load.stop();
    pair.wait_in_sync();
    pair.wait_mirrored(TOPIC);
    // One time the slave sees the change, the other time it finds it in the log when it comes back.
    for (round, is_there) in [(1, true), (2, false)] {
        if !is_there {
            pair.slave().kill9();
        }
        let ext = [("topic", TOPIC.to_owned())];
        must(client.call(215, &ext, b"", PATIENCE), "delete topic");
        create_topic(&client, TOPIC, QUEUES);
        let load = Load::start(pair.master.address(), &options(round * 10));
        load.wait_acked(500);
        let reports = load.stop();
        if !is_there {
            pair.slave().restart();
        }
        pair.wait_in_sync();
        pair.wait_mirrored(TOPIC);
        let slave = pair.slave().address();
        let checked = Ledger::new(TOPIC, QUEUES).check(slave, &reports, &mut rng);
        println!("round {round}: {checked:?}");
        pair.slave().kill9();
        pair.slave().restart();
        pair.wait_in_sync();
        Ledger::new(TOPIC, QUEUES).check(slave, &reports, &mut rng);
    }
}

#[test]
fn an_operator_truncates_a_slave_of_another_history() {
    let mut pair = Pair::start(&[]);
    let client = prepare(pair.master.address());
    for number in 0..60_i32 {
        assert_eq!(send(&client, 0, &number.to_be_bytes()).0, 0);
    }
    pair.wait_in_sync();
    pair.slave().stop();
    let segment = pair.slave().store().join("commitlog/00000000000000000000");
    let bytes = std::fs::read(&segment).expect("segment");
    let record = u32::from_be_bytes(bytes[..4].try_into().expect("a length"));
    // The port of the thirtieth message's sender.
    flip_byte(&segment, u64::from(record) * 30 + 53);
    pair.slave().restart();
    let state = eventually("the slave finds the difference", || {
        let state = follower_state(pair.slave.as_ref().expect("slave"));
        state.contains("differs from the master's").then_some(state)
    });
    let truncate = |pair: &Pair| {
        let offset = state
            .split("offset ")
            .nth(1)
            .and_then(|rest| rest.split(',').next());
        std::process::Command::new(env!("CARGO_BIN_EXE_mqadmin"))
            .args(["truncateLog", "-o", offset.expect("an offset"), "-f"])
            .arg(pair.slave_dir().join("broker.conf"))
            .output()
            .expect("mqadmin")
    };
    let refused = truncate(&pair);
    assert!(!refused.status.success(), "the broker runs: {refused:?}");
    pair.slave().stop();
    let done = truncate(&pair);
    assert!(done.status.success(), "{done:?}");
    println!("{}", String::from_utf8_lossy(&done.stdout));
    pair.slave().restart();
    assert_eq!(send(&client, 0, b"more").0, 0);
    pair.wait_in_sync();
    pair.stop();
    assert_same_log(&pair.master, pair.slave.as_ref().expect("slave"));
}

#[test]
fn a_slave_serves_reads_and_sends_its_readers_back() {
    let mut pair = Pair::start(&[]);
    let client = prepare(pair.master.address());
    for number in 0..10_i32 {
        assert_eq!(send(&client, 0, &number.to_be_bytes()).0, 0);
    }
    pair.wait_in_sync();
    pair.wait_mirrored(TOPIC);
    let slave = Client::connect(pair.slave().address()).expect("connect");
    let pull = |offset: i64| {
        let ext = pull_ext(TOPIC, 0, offset, 0);
        let answer = slave.call(PULL_MESSAGE, &ext, b"", PATIENCE);
        let answer = answer.expect("an answer");
        let next = answer.ext_number("nextBeginOffset");
        (answer.code, next, answer.ext_number("suggestWhichBrokerId"))
    };
    eventually("the slave has them all", || (pull(9).0 == 0).then_some(()));
    assert_eq!(pull(0), (0, 10, 0), "messages, and back to the master");
    // It may be the slave that is behind: nobody's offset is corrected, and none waits here.
    assert_eq!(pull(10), (20, 10, 0));
    assert_eq!(pull(500), (20, 500, 0));
    assert_eq!(pull(-7), (20, -7, 0));
    pair.master.kill9();
    eventually("the slave knows that its master is gone", || {
        (pull(10) == (19, 10, 0)).then_some(())
    });
    assert_eq!(pull(3), (0, 10, 0));
    assert_eq!(pull(500), (20, 500, 0));
    pair.slave().stop();
    pair.slave().set("offsetCheckInSlave", "true");
    pair.slave().restart();
    let slave = Client::connect(pair.slave().address()).expect("connect");
    let ext = pull_ext(TOPIC, 0, 500, 0);
    let answer = slave.call(PULL_MESSAGE, &ext, b"", PATIENCE);
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.code, answer.ext_number("nextBeginOffset")),
        (21, 10)
    );
}

#[test]
fn a_slave_that_was_away_for_too_long_says_so_and_can_begin_anew() {
    let mut pair = Pair::start(&[("fileReservedTime", "0"), ("cleanResourceInterval", "100")]);
    let client = prepare(pair.master.address());
    assert_eq!(send(&client, 0, b"both have it").0, 0);
    pair.wait_in_sync();
    pair.slave().stop();
    // Three segments later the master lets go of the first.
    let load = Load::start(pair.master.address(), &options(0));
    load.wait_acked(16_000);
    let reports = load.stop();
    assert!(reports.iter().all(|report| report.refused.is_empty()));
    // Of the others some may not be on disk yet, and would go while the slave copies them.
    eventually("the master deletes all but its newest segment", || {
        let answer = client.call(DELETE_EXPIRED_COMMITLOG, &[], b"", PATIENCE);
        must(answer, "delete expired");
        let end = ha_status(&client)["masterCommitLogMaxOffset"].as_u64()?;
        // A prepared one begins at the end or behind it.
        let end = format!("{end:020}");
        let begun = segments(&pair.master)
            .into_iter()
            .filter(|name| *name < end);
        (begun.count() == 1).then_some(())
    });
    pair.slave().restart();
    eventually("the slave says what is wrong", || {
        let state = follower_state(pair.slave.as_ref().expect("slave"));
        state.contains("begin behind it").then_some(())
    });
    pair.slave().stop();
    std::fs::remove_dir_all(pair.slave().store()).expect("an empty store");
    pair.slave().restart();
    pair.wait_in_sync();
    assert!(
        !pair
            .slave()
            .store()
            .join("commitlog/00000000000000000000")
            .exists()
    );
    pair.stop();
    assert_same_log(&pair.master, pair.slave.as_ref().expect("slave"));
}
