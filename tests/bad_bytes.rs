//! Bad bytes cost nobody else anything: wrong lengths, unknown codes, half-open connections and
//! slow readers each end in a clear error or a closed connection, while a well-behaved client
//! beside them gets every answer. What a client that has gone had asked for is forgotten.

mod common;

use common::console::{actors, escape, get};
use common::load::{Load, LoadOptions, Report};
use common::remoting::{Client, encode, read_frame};
use common::requests::{
    GET_CONSUME_STATS, GET_MAX_OFFSET, GET_ROUTEINFO_BY_TOPIC, PULL_MESSAGE, SEND_MESSAGE_V2,
    commit, create_group, create_topic, must, offset_of, pull_ext, send_ext,
};
use common::server::{Cluster, is_java};
use common::{PATIENCE, eventually};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

const TOPIC: &str = "BadBytesTopic";

/// Load on one connection that must not notice anything.
struct Neighbour(Load);

impl Neighbour {
    fn start(to: SocketAddr) -> Neighbour {
        let load = Load::start(
            to,
            &LoadOptions {
                topic: TOPIC.into(),
                queues: 4,
                senders: 1,
                first_sender: 0,
                window: 4,
                body_len: 200,
                reconnect: false,
                first_numbers: vec![],
            },
        );
        load.wait_acked(20);
        Neighbour(load)
    }

    /// It goes on being answered right now.
    fn is_served(&self) {
        self.0.wait_acked(50);
    }

    fn finish(self) {
        let reports: Vec<Report> = self.0.stop();
        for report in reports {
            assert_eq!(report.disconnects, 0, "the neighbour was disconnected");
            assert_eq!(report.unknown, 0, "the neighbour lost answers");
            assert!(report.stuck.is_empty(), "the neighbour waits");
            assert!(report.refused.is_empty(), "refused: {:?}", report.refused);
            println!(
                "neighbour: {} acknowledged, slowest answer {:?}",
                report.acked.len(),
                report.slowest
            );
        }
    }
}

fn start() -> (Cluster, Client) {
    let cluster = Cluster::start(&[]);
    let client = Client::connect(cluster.broker.address()).expect("connect");
    create_topic(&client, TOPIC, 4);
    (cluster, client)
}

/// Writes bytes and waits for the server to close: nothing may come back but the end.
fn is_closed_after(to: SocketAddr, bytes: &[u8], what: &str) {
    let mut stream = TcpStream::connect(to).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    // The server may close while we still write.
    let _ = stream.write_all(bytes);
    let mut answer = [0u8; 1024];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Ok(_) => {} // an error answer before the end is fine
            Err(error) => panic!("{what}: the connection stays open ({error})"),
        }
    }
}

fn frame_of(header: &[u8], marked_header_len: u32, len: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(len.to_be_bytes());
    frame.extend(marked_header_len.to_be_bytes());
    frame.extend(header);
    frame
}

/// Frames whose lengths contradict themselves or the limit.
fn wrong_lengths() -> Vec<(&'static str, Vec<u8>)> {
    let json = br#"{"code":105,"flag":0,"language":"JAVA","opaque":1,"version":0}"#;
    let n = json.len() as u32;
    let binary_extra = [
        0, 105, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0,
    ];
    vec![
        ("length above 16 MiB", frame_of(json, n, 16_777_217)),
        ("length of 2 GiB - 1", frame_of(json, n, 0x7FFF_FFFF)),
        ("negative length", frame_of(json, n, 0xFFFF_FFF0)),
        (
            "header longer than the frame",
            frame_of(json, n + 100, 4 + n),
        ),
        (
            "header length of 16 MiB",
            frame_of(json, 0x00FF_FFFF, 4 + n),
        ),
        ("header cut in the middle", frame_of(&json[..20], 20, 24)),
        ("header that is no JSON", frame_of(b"hello, broker", 13, 17)),
        (
            "binary header with a remark longer than itself",
            frame_of(&binary_extra, 0x0100_0000 | 21, 25),
        ),
    ]
}

#[test]
fn wrong_lengths_close_only_their_own_connection() {
    let (mut cluster, client) = start();
    let neighbour = Neighbour::start(cluster.broker.address());
    for (what, bytes) in wrong_lengths() {
        for to in [cluster.broker.address(), cluster.namesrv.address()] {
            // Java answers broken headers never, but keeps some of these connections.
            if !is_java() || what.contains("above") || what.contains("2 GiB") {
                is_closed_after(to, &bytes, what);
            }
        }
        neighbour.is_served();
    }
    assert!(cluster.broker.is_running() && cluster.namesrv.is_running());
    assert!(!client.is_closed());
    neighbour.finish();
}

#[test]
fn unknown_codes_are_answered() {
    let (cluster, client) = start();
    let namesrv = Client::connect(cluster.namesrv.address()).expect("connect");
    for code in [29_999, 0, -1, i32::MAX, i32::MIN] {
        for (name, peer) in [("broker", &client), ("namesrv", &namesrv)] {
            let answer = peer.call(code, &[], b"anything", PATIENCE);
            let answer = answer.unwrap_or_else(|e| panic!("{name}, code {code}: {e:?}"));
            assert_eq!(answer.code, 3, "{name}: {}", answer.remark);
            let remark = format!(" request type {code} not supported");
            assert_eq!(answer.remark, remark, "{name}");
        }
    }
    // Not an answer to a oneway request, whatever its code: the next answer is the next call's.
    client
        .write_raw(&encode(29_999, 77_777, 2, &[], b""))
        .expect("write");
    offset_of(&client, GET_MAX_OFFSET, TOPIC, 0);
    assert!(!client.is_closed());
}

#[test]
fn broken_fields_are_answered_with_an_error() {
    let (cluster, client) = start();
    // A send without a topic, with a queue id that is no number, and with a body that is no batch.
    let mut no_topic = send_ext(TOPIC, 0, "");
    no_topic.retain(|(name, _)| *name != "b");
    let mut bad_queue = send_ext(TOPIC, 0, "");
    bad_queue.retain(|(name, _)| *name != "e");
    bad_queue.push(("e", "three".into()));
    let mut batch = send_ext(TOPIC, 0, "");
    batch.retain(|(name, _)| *name != "m");
    batch.push(("m", "true".into()));
    for (what, code, ext, body) in [
        ("no topic", SEND_MESSAGE_V2, &no_topic, &b"x"[..]),
        ("queue id three", SEND_MESSAGE_V2, &bad_queue, b"x"),
        ("no batch", 320, &batch, b"\xFF\xFF\xFF\xFFnot a batch"),
        ("batch cut", 320, &batch, b"\x00\x00\x00\x40\x00\x00"),
    ] {
        match client.call(code, ext, body, PATIENCE) {
            Ok(answer) => {
                assert_ne!(answer.code, 0, "{what} was accepted");
                println!("{what}: {} {}", answer.code, answer.remark);
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
    for queue_id in 0..4 {
        let max = offset_of(&client, GET_MAX_OFFSET, TOPIC, queue_id);
        assert_eq!(max, 0, "something of it was stored in queue {queue_id}");
    }
    assert!(!client.is_closed());
    drop(cluster);
}

#[test]
fn half_open_connections_cost_nothing() {
    let (mut cluster, _client) = start();
    let to = cluster.broker.address();
    let neighbour = Neighbour::start(to);
    let whole = encode(
        SEND_MESSAGE_V2,
        5,
        0,
        &send_ext(TOPIC, 0, ""),
        &[b'x'; 4096],
    );
    // Every kind of beginning, left there.
    let open: Vec<TcpStream> = [0, 1, 3, 4, 6, 8, 60, whole.len() - 1]
        .iter()
        .cycle()
        .take(200)
        .map(|cut| {
            let mut stream = TcpStream::connect(to).expect("connect");
            stream.write_all(&whole[..*cut]).expect("write");
            stream
        })
        .collect();
    neighbour.is_served();
    // Some end in the middle, some have only stopped writing, the rest stays.
    for (number, stream) in open.iter().enumerate() {
        match number % 3 {
            0 => drop(stream.shutdown(Shutdown::Both)),
            1 => drop(stream.shutdown(Shutdown::Write)),
            _ => {}
        }
    }
    neighbour.is_served();
    // The frames that were left whole but for a byte can still be completed.
    let mut last = open
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 8 == 7 && number % 3 == 2)
        .map(|(_, stream)| stream.try_clone().expect("clone"));
    let mut stream = last.next().expect("one is left");
    stream.write_all(&whole[whole.len() - 1..]).expect("write");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let answer = read_frame(&mut stream).expect("an answer");
    assert_eq!((answer.code, answer.opaque), (0, 5), "{}", answer.remark);
    drop(open);
    neighbour.is_served();
    assert!(cluster.broker.is_running());
    neighbour.finish();
}

/// A client that goes while its pull is held has pulled nothing of what comes afterwards.
#[test]
fn a_held_pull_of_a_client_that_has_gone_takes_nothing() {
    if is_java() {
        return;
    }
    const PULLED: &str = "PulledTopic";
    let (cluster, client) = start();
    create_topic(&client, PULLED, 1);
    create_group(&client, "test_group");
    let send = || {
        let ext = send_ext(PULLED, 0, "");
        must(client.call(SEND_MESSAGE_V2, &ext, b"x", PATIENCE), "send");
    };
    let pull_offset = || {
        let of = [
            ("consumerGroup", "test_group".to_owned()),
            ("topic", PULLED.to_owned()),
        ];
        let stats = client.call(GET_CONSUME_STATS, &of, b"", PATIENCE);
        let text = String::from_utf8(must(stats, "consume stats").body).expect("text");
        let value = text.split(r#""pullOffset":"#).nth(1);
        let digits = value.expect("one queue").chars();
        let digits: String = digits.take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().expect("a number")
    };
    let console = cluster.broker.console();
    let held = || {
        let end = format!("/{PULLED}/0");
        let all = actors(console);
        let queue = all.iter().find(|actor| actor.path.ends_with(&end))?;
        let detail = get(console, &format!("/actors/{}", escape(&queue.path)));
        detail.ok()?.json()["detail"]["held_pulls"].as_i64()
    };
    let connections = || {
        let all = actors(console);
        all.iter()
            .filter(|actor| actor.kind == "connection")
            .count()
    };
    send();
    let other = Client::connect(cluster.broker.address()).expect("connect");
    let first = other.call(PULL_MESSAGE, &pull_ext(PULLED, 0, 0, 0), b"", PATIENCE);
    assert_eq!(must(first, "pull").code, 0);
    commit(&client, "test_group", PULLED, 0, 1);
    assert_eq!(pull_offset(), 1);

    let (to, _answers) = mpsc::channel();
    let at_the_end = pull_ext(PULLED, 0, 1, 300_000);
    other.start(PULL_MESSAGE, &at_the_end, b"", &to);
    eventually("the pull is held", || (held() == Some(1)).then_some(()));
    let open = connections();
    drop(other);
    eventually("the connection is gone", || {
        (connections() < open).then_some(())
    });
    send();
    eventually("no pull is held", || (held() == Some(0)).then_some(()));
    assert_eq!(pull_offset(), 1);
}

/// A consumer that asks for far more than it reads. Its answers must not be piled up in memory,
/// and nobody else may wait for it.
#[test]
fn slow_readers_cost_nothing() {
    let (mut cluster, client) = start();
    let to = cluster.broker.address();
    let body = vec![b'y'; 1 << 20];
    for number in 0..24 {
        let ext = send_ext(TOPIC, number % 4, "");
        must(client.call(SEND_MESSAGE_V2, &ext, &body, PATIENCE), "send");
    }
    let neighbour = Neighbour::start(to);
    let before = cluster.broker.anonymous_memory();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let stream = TcpStream::connect(to).expect("connect");
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("timeout");
        let mut writer = stream.try_clone().expect("clone");
        // 8 × 500 answers of up to 4 MiB each are 16 GiB. Once the broker stops reading (that is
        // its right), the write times out.
        for opaque in 0..500 {
            let ext = pull_ext(TOPIC, opaque % 4, 0, 0);
            if writer.write_all(&encode(11, opaque, 0, &ext, b"")).is_err() {
                break;
            }
        }
        slow.push(stream);
    }
    neighbour.is_served();
    let grown = cluster.broker.anonymous_memory().saturating_sub(before);
    println!("anonymous memory grew by {} KiB", grown >> 10);
    assert!(
        is_java() || grown < 64 << 20,
        "the broker holds {grown} bytes for readers that do not read"
    );
    // One of them wakes up and reads on: it gets whole, right frames.
    let mut reader = slow.pop().expect("one");
    reader.set_read_timeout(Some(PATIENCE)).expect("timeout");
    for _ in 0..8 {
        let frame = read_frame(&mut reader).expect("an answer");
        assert_eq!(frame.code, 0, "{}", frame.remark);
        assert!(!common::record::parse_all(&frame.body).is_empty());
    }
    drop(slow);
    neighbour.is_served();
    assert!(cluster.broker.is_running());
    neighbour.finish();
}

/// Random bytes, random cuts of real frames, and real frames with single bytes changed.
#[test]
fn noise_is_survived() {
    let mut rng = common::rng::Rng::for_test("noise");
    let (mut cluster, client) = start();
    let neighbour = Neighbour::start(cluster.broker.address());
    let topic = vec![("topic", TOPIC.to_string())];
    let real = [
        encode(
            SEND_MESSAGE_V2,
            1,
            0,
            &send_ext(TOPIC, 0, "a\u{1}b\u{2}"),
            b"body",
        ),
        encode(11, 2, 0, &pull_ext(TOPIC, 0, 0, 0), b""),
        encode(GET_ROUTEINFO_BY_TOPIC, 3, 0, &topic, b""),
        encode(
            34,
            4,
            0,
            &[],
            &common::requests::heartbeat_body("c", "g", TOPIC),
        ),
    ];
    for round in 0..400 {
        let to = if round % 4 == 0 {
            cluster.namesrv.address()
        } else {
            cluster.broker.address()
        };
        let mut bytes = if rng.next().is_multiple_of(5) {
            (0..rng.between(1, 300)).map(|_| rng.next() as u8).collect()
        } else {
            real[rng.between(0, real.len() as u64) as usize].clone()
        };
        for _ in 0..rng.between(1, 4) {
            let at = rng.between(0, bytes.len() as u64) as usize;
            bytes[at] = rng.next() as u8;
        }
        let mut stream = TcpStream::connect(to).expect("connect");
        let _ = stream.write_all(&bytes);
    }
    neighbour.is_served();
    must(
        client.call(
            34,
            &[],
            &common::requests::heartbeat_body("h", "g", TOPIC),
            PATIENCE,
        ),
        "heartbeat",
    );
    assert!(cluster.broker.is_running() && cluster.namesrv.is_running());
    neighbour.finish();
}
