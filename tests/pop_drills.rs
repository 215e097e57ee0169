//! Pops under load while the broker is killed, and while each of its pop actors is crashed: eight
//! consumers, two of which never acknowledge anything. Nothing that was acknowledged to a sender is
//! lost: in the end every message has reached a consumer that acknowledged it. How often messages
//! came more than once is printed.
//!
//! `CALLBOARD_ROUNDS` says how many kills; one without it.

mod common;

use common::console::{actors, crash, restarts};
use common::pop::{Who, pop_ext, popped, try_ack, try_pop};
use common::remoting::Client;
use common::requests::{SEND_MESSAGE_V2, create_group, create_topic, send_ext};
use common::rng::Rng;
use common::server::Cluster;
use common::{PATIENCE, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const WHO: Who = Who {
    topic: "PopDrill",
    group: "drill_group",
};
const QUEUES: i32 = 4;
const CONSUMERS: usize = 8;

/// How long popped messages stay hidden: short, so that what is not acknowledged is soon back.
const HIDDEN_MS: u64 = 1500;

#[derive(Default)]
struct Seen {
    /// Stored, as the sender was told.
    sent: BTreeSet<String>,
    /// How often each came.
    came: BTreeMap<String, usize>,
    /// Acknowledged, as the consumer was told.
    acked: BTreeSet<String>,
    /// Acknowledged, but the answer was lost or an error: such a message may come again or not.
    unsure: BTreeSet<String>,
}

struct Shared {
    to: SocketAddr,
    sending: AtomicBool,
    /// Consumers that never acknowledge take part only while this is set.
    careless: AtomicBool,
    running: AtomicBool,
    pops: AtomicUsize,
    seen: Mutex<Seen>,
}

struct Drill {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drill {
    fn start(to: SocketAddr) -> Drill {
        let client = Client::connect(to).expect("connect");
        create_topic(&client, WHO.topic, QUEUES);
        create_group(&client, WHO.group);
        let shared = Arc::new(Shared {
            to,
            sending: AtomicBool::new(true),
            careless: AtomicBool::new(true),
            running: AtomicBool::new(true),
            pops: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let mut threads = Vec::new();
        let own = shared.clone();
        threads.push(std::thread::spawn(move || send(&own)));
        for number in 0..CONSUMERS {
            let own = shared.clone();
            let acknowledges = number >= 2;
            threads.push(std::thread::spawn(move || consume(&own, acknowledges)));
        }
        Drill { shared, threads }
    }

    fn wait_acked(&self, more: usize) {
        let acked = || self.shared.seen.lock().expect("seen").acked.len();
        let wanted = acked() + more;
        eventually("acknowledgements", || (acked() >= wanted).then_some(()));
    }

    /// Lets all that was sent be consumed, and checks it.
    fn finish(self, what: &str) {
        self.shared.sending.store(false, Relaxed);
        self.shared.careless.store(false, Relaxed);
        let open = || {
            let seen = self.shared.seen.lock().expect("seen");
            let settled = |text: &String| seen.acked.contains(text) || seen.unsure.contains(text);
            let open: Vec<String> = seen.sent.iter().filter(|t| !settled(t)).cloned().collect();
            open
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        while !open().is_empty() {
            let left = open();
            assert!(
                std::time::Instant::now() < deadline,
                "{what}: {} never came to be acknowledged: {:?}",
                left.len(),
                &left[..left.len().min(10)]
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.shared.running.store(false, Relaxed);
        for thread in self.threads {
            thread.join().expect("no thread panics");
        }
        let seen = self.shared.seen.lock().expect("seen");
        let again: usize = seen.came.values().map(|times| times - 1).sum();
        println!(
            "{what}: {} sent, all acknowledged, {} of them without an answer; {} pops, {again} \
             deliveries more than one each",
            seen.sent.len(),
            seen.unsure.difference(&seen.acked).count(),
            self.shared.pops.load(Relaxed)
        );
        assert!(!seen.sent.is_empty());
    }
}

fn connect(shared: &Shared) -> Option<Client> {
    while shared.running.load(Relaxed) {
        match Client::connect(shared.to) {
            Ok(client) => return Some(client),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    None
}

fn send(shared: &Shared) {
    let Some(mut client) = connect(shared) else {
        return;
    };
    let mut number = 0;
    while shared.sending.load(Relaxed) {
        let text = format!("m{number}");
        let ext = send_ext(WHO.topic, number % QUEUES, "");
        match client.call(SEND_MESSAGE_V2, &ext, text.as_bytes(), PATIENCE) {
            Ok(frame) if frame.code == 0 => {
                shared.seen.lock().expect("seen").sent.insert(text);
            }
            Ok(_) => {}
            Err(_) => match connect(shared) {
                Some(again) => client = again,
                None => return,
            },
        }
        number += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn consume(shared: &Shared, acknowledges: bool) {
    let Some(mut client) = connect(shared) else {
        return;
    };
    while shared.running.load(Relaxed) && (acknowledges || shared.careless.load(Relaxed)) {
        let max = if acknowledges { 16 } else { 2 };
        let ext = pop_ext(WHO, max, HIDDEN_MS, 500, &[]);
        let Ok(frame) = try_pop(&client, &ext) else {
            match connect(shared) {
                Some(again) => client = again,
                None => return,
            }
            continue;
        };
        if frame.code != 0 {
            // Nothing there, or the actor crashed with this pop.
            assert!(
                [210, 1, 2].contains(&frame.code),
                "{} {}",
                frame.code,
                frame.remark
            );
            continue;
        }
        shared.pops.fetch_add(1, Relaxed);
        for message in popped(WHO, &frame) {
            let text = message.text();
            *shared
                .seen
                .lock()
                .expect("seen")
                .came
                .entry(text.clone())
                .or_default() += 1;
            if !acknowledges {
                continue;
            }
            let answer = try_ack(&client, WHO, &message);
            let mut seen = shared.seen.lock().expect("seen");
            match answer {
                Ok(answer) if answer.code == 0 => {
                    seen.acked.insert(text);
                }
                Ok(answer) => {
                    assert!([1, 2].contains(&answer.code), "{}", answer.remark);
                    seen.unsure.insert(text);
                }
                Err(_) => {
                    seen.unsure.insert(text);
                    break;
                }
            }
        }
    }
}

#[test]
fn a_kill_loses_nothing() {
    let mut rng = Rng::for_test("pop kills");
    let mut cluster = Cluster::start(&[]);
    let drill = Drill::start(cluster.broker.address());
    for round in 0..common::env_number("CALLBOARD_ROUNDS", 1) {
        drill.wait_acked(rng.between(50, 400) as usize);
        std::thread::sleep(Duration::from_millis(rng.between(0, 1000)));
        cluster.broker.kill9();
        cluster.broker.restart();
        println!(
            "round {round}: ready after {:?}",
            cluster.broker.ready_after
        );
    }
    drill.wait_acked(100);
    drill.finish("kills");
}

#[test]
fn a_crash_of_an_actor_loses_nothing() {
    let cluster = Cluster::start(&[]);
    let console = cluster.broker.console();
    let drill = Drill::start(cluster.broker.address());
    drill.wait_acked(50);
    let is_pop = |kind: &str| ["pop", "pop_orders", "revive"].contains(&kind);
    let all = actors(console);
    let of_pops: Vec<_> = all.iter().filter(|actor| is_pop(&actor.kind)).collect();
    let kinds: BTreeSet<&str> = of_pops.iter().map(|actor| &*actor.kind).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    let points = [("pop", "before_answer"), ("revive", "before_round")];
    for actor in of_pops {
        let of_kind = points.iter().filter(|(kind, _)| *kind == actor.kind);
        let places = std::iter::once(None).chain(of_kind.map(|(_, at)| Some(*at)));
        for at in places {
            let before = restarts(console)[&actor.path];
            crash(console, &actor.path, at);
            eventually(&format!("{} at {at:?} restarts", actor.path), || {
                (restarts(console)[&actor.path] > before).then_some(())
            });
            drill.wait_acked(20);
        }
    }
    drill.finish("crashes");
}
