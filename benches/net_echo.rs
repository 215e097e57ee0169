//! What the network side costs by itself: canned answers to 1 KiB requests, nothing stored.
//!
//! `cargo bench --bench net_echo`. Prints the processor time of the network thread per request,
//! the number to trust on a shared machine, and the rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::System;
use bytes::BytesMut;
use callboard::actors::kernel::{Role, ThreadPlan, Threads, Tree};
use callboard::actors::net::{ConnectionHandle, Net, NetConfig, Service, ServiceFactory};
use callboard::protocol::{FrameCodec, RemotingCommand, RequestCode, ResponseCode};
use tokio_util::codec::Decoder;

struct Canned;

impl Service for Canned {
    fn frames(&mut self, frames: &mut Vec<RemotingCommand>, conn: &Arc<ConnectionHandle>) {
        for frame in frames.drain(..) {
            let extra = [
                ("msgId", "7F00000100002A9F0000000000001234"),
                ("queueId", "3"),
                ("queueOffset", "123456"),
            ];
            let responder = conn.responder(&frame);
            responder.answer(ResponseCode::Success, None, None, &extra, []);
        }
    }
}

/// Processor time of the thread with this name.
fn thread_cpu(name: &str) -> Option<Duration> {
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim() == name {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            return stat
                .split(' ')
                .next()?
                .parse()
                .ok()
                .map(Duration::from_nanos);
        }
    }
    None
}

/// Keeps `window` requests out for `time`; yields the number answered.
fn client(address: SocketAddr, window: usize, time: Duration) -> u64 {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a socket");
    let mut command = RemotingCommand::request_without_header(RequestCode::SendMessageV2);
    for (key, value) in [
        ("a", "bench"),
        ("b", "TopicTest"),
        ("e", "3"),
        ("g", "1790000000000"),
    ] {
        command.ext_fields.push(key, value);
    }
    let mut request = BytesMut::new();
    command.with_body(vec![b'x'; 1024]).encode(&mut request);
    stream
        .write_all(&request.repeat(window))
        .expect("the server reads");
    let (mut codec, mut arrived) = (FrameCodec::default(), BytesMut::new());
    let (mut answered, begun) = (0, Instant::now());
    let mut buffer = vec![0; 256 * 1024];
    while begun.elapsed() < time {
        let len = stream.read(&mut buffer).expect("the server answers");
        assert!(len > 0, "the server closed");
        arrived.extend_from_slice(buffer.get(..len).unwrap_or_default());
        let mut batch = 0;
        while codec.decode(&mut arrived).expect("a frame").is_some() {
            batch += 1;
        }
        answered += batch as u64;
        stream
            .write_all(&request.repeat(batch))
            .expect("the server reads");
    }
    answered
}

fn main() {
    // `cargo test --all-targets` runs it too, without this flag.
    if !std::env::args().any(|flag| flag == "--bench") {
        return;
    }
    System::new().block_on(async {
        let threads = Threads::start(ThreadPlan {
            net: 1,
            log: false,
            shards: 0,
        })
        .expect("threads");
        let tree = Tree::new("bench");
        let arbiters = vec![threads.get(Role::Net(0))];
        let net = Net::start(&tree, "bench", arbiters, NetConfig::default());
        let factory: ServiceFactory = Arc::new(|_| Box::new(Canned));
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = net.listen(local, factory).expect("a free port");
        println!("connections window requests/s cpu_us/request");
        for (connections, window) in [(1, 1), (16, 1), (64, 1), (1, 16), (1, 256), (16, 64)] {
            let (cpu, begun) = (thread_cpu("net-0"), Instant::now());
            let clients: Vec<_> = (0..connections)
                .map(|_| {
                    std::thread::spawn(move || client(address, window, Duration::from_secs(2)))
                })
                .collect();
            let joined = clients
                .into_iter()
                .map(|client| client.join().expect("a client"));
            let answered: u64 = joined.sum();
            let spent = thread_cpu("net-0")
                .zip(cpu)
                .map(|(after, before)| after - before);
            let rate = answered as f64 / begun.elapsed().as_secs_f64();
            let each = spent.unwrap_or_default().as_secs_f64() * 1e6 / answered.max(1) as f64;
            println!("{connections:11} {window:6} {rate:10.0} {each:14.2}");
        }
        net.stop_listening().await;
        threads.stop();
    });
}
