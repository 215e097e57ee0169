//! Overload bends: at twice the rate that the broker can take, every send ends as acknowledged,
//! refused or timed out at its client; heartbeats and offset commits pass; memory stays below the
//! bound that is stated here.
//!
//! The capacity is the closed-loop rate with one request on each connection; twice that is offered,
//! and then twice the rate with sixteen on each. A quick run judges no rates; with
//! `CALLBOARD_STRICT=1` (`.ci/long`, release build) at least 90 % of the capacity must be
//! acknowledged within a second in the first of the two. `CALLBOARD_OVERLOAD_CONNECTIONS` and
//! `CALLBOARD_OVERLOAD_SECONDS` give the size: 256 and 60 in the long run.

mod common;

use common::many::{Pattern, Plan};
use common::remoting::Client;
use common::requests::{QUERY_CONSUMER_OFFSET, commit_ext, create_topic, heartbeat_body, must};
use common::server::Cluster;
use common::{PATIENCE, env_number};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOPIC: &str = "OverloadTopic";
const QUEUES: i32 = 8;
const BODY_LEN: usize = 1024;
/// Anonymous memory of the broker under overload, stated beforehand.
const MEMORY_MAX: u64 = 256 << 20;
/// A client gives up after this long.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(3);

#[test]
fn twice_the_capacity() {
    let connections = env_number("CALLBOARD_OVERLOAD_CONNECTIONS", 24);
    let seconds = env_number("CALLBOARD_OVERLOAD_SECONDS", 5);
    let cluster = Cluster::start(&[("brokerFastFailureEnable", "true")]);
    let to = cluster.broker.address();
    create_topic(&Client::connect(to).expect("connect"), TOPIC, QUEUES);
    let plan = Plan {
        to,
        topic: TOPIC,
        queues: QUEUES,
        body_len: BODY_LEN,
        connections,
        lasting: Duration::from_secs(seconds),
        timeout: CLIENT_TIMEOUT,
    };
    let measured = Plan {
        lasting: Duration::from_secs(seconds.clamp(2, 10)),
        ..plan
    };
    let [capacity, most] = [1, 16].map(|window| {
        let rate = capacity(measured, window);
        println!("closed loop {rate}/s, {window} requests on each of {connections} connections");
        rate
    });
    let in_time = overload(&cluster, plan, capacity * 2);
    if env_number("CALLBOARD_STRICT", 0) == 1 {
        assert!(
            in_time * 10 >= capacity * 9,
            "{in_time}/s of {capacity}/s within a second"
        );
    }
    // Far beyond: no rate is asked for, but the same manners.
    overload(&cluster, plan, most.max(capacity) * 2);
}

/// Offers so much, checks what became of it, and tells how many a second were acknowledged within
/// a second.
fn overload(cluster: &Cluster, plan: Plan, rate: u64) -> u64 {
    let control = Control::start(plan.to);
    let peak = watch_memory(cluster);
    let total = plan.run(Pattern::Open { rate });
    let control = control.finish();
    let peak = peak.finish();

    let per_second = |count: u64| count / plan.lasting.as_secs();
    println!(
        "offered {}/s, acknowledged {}/s, of these within 1 s {}/s; refused {:?}; timed out {}; \
         never got out of the client {}",
        per_second(total.offered),
        per_second(total.acked),
        per_second(total.in_time),
        total.refused,
        total.timed_out,
        total.unsent,
    );
    println!(
        "control requests {control:?}; peak anonymous memory {} KiB",
        peak >> 10
    );
    assert_eq!(total.closed, 0, "requests lost with their connections");
    assert_eq!(total.stuck, 0, "sends that were never answered");
    assert_eq!(total.ended(), total.offered, "every send ends one way");
    assert!(control.passed > 0 && control.failed == 0, "{control:?}");
    assert!(peak < MEMORY_MAX, "{peak} bytes of anonymous memory");
    for code in total.refused.keys() {
        assert_eq!(*code, 2, "the only refusal is SYSTEM_BUSY");
    }
    per_second(total.in_time)
}

/// The median of five closed-loop rates, each connection with so many requests in flight.
fn capacity(plan: Plan, window: usize) -> u64 {
    let lasting = plan.lasting.div_f64(5.0);
    let mut rates: Vec<_> = (0..5)
        .map(|_| {
            let total = Plan { lasting, ..plan }.run(Pattern::Closed { window });
            assert_eq!(total.acked, total.offered, "{total:?}");
            (total.acked as f64 / lasting.as_secs_f64()) as u64
        })
        .collect();
    rates.sort_unstable();
    rates[2].max(1)
}

#[derive(Debug, Default)]
struct ControlCount {
    passed: u64,
    failed: u64,
    slowest: Duration,
}

/// A thread beside the load, ended by its flag.
struct Beside<T> {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<T>,
}

impl<T: Send + 'static> Beside<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Beside<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        Beside {
            stop,
            thread: std::thread::spawn(move || work(&flag)),
        }
    }

    fn finish(self) -> T {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("a thread beside the load failed")
    }
}

/// Heartbeats, offset commits and offset queries while the sends are refused.
struct Control;

impl Control {
    fn start(to: SocketAddr) -> Beside<ControlCount> {
        Beside::start(move |stop| {
            let client = Client::connect(to).expect("connect");
            let mut count = ControlCount::default();
            let mut offset = 0;
            while !stop.load(Ordering::Acquire) {
                offset += 1;
                let beat = heartbeat_body("control", "test_group", TOPIC);
                let commit = commit_ext("test_group", TOPIC, 0, offset);
                let requests = [(34, vec![], beat), (15, commit.clone(), vec![])];
                for (code, ext, body) in requests {
                    let begun = Instant::now();
                    match client.call(code, &ext, &body, PATIENCE) {
                        Ok(frame) if frame.code == 0 => count.passed += 1,
                        _ => count.failed += 1,
                    }
                    count.slowest = count.slowest.max(begun.elapsed());
                }
                let answer = client.call(QUERY_CONSUMER_OFFSET, &commit[..3], b"", PATIENCE);
                let stored = must(answer, "offset query").ext_number("offset");
                assert_eq!(stored, offset, "the offset that was just committed");
                std::thread::sleep(Duration::from_millis(50));
            }
            count
        })
    }
}

fn watch_memory(cluster: &Cluster) -> Beside<u64> {
    let pid = cluster.broker.pid();
    Beside::start(move |stop| {
        let mut peak = 0;
        while !stop.load(Ordering::Acquire) {
            peak = peak.max(common::server::proc_status(pid, "RssAnon:"));
            std::thread::sleep(Duration::from_millis(50));
        }
        peak
    })
}
