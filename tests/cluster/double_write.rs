//! The master's host is lost under load, and its slave is all that is left: with SYNC_MASTER nothing
//! that was acknowledged or seen is missing there; with ASYNC_MASTER the loss is the end of the log
//! and nothing else.

use crate::checker::{ALWAYS, COPIED, KEPT, SEEN, assert_holds, check};
use crate::clients::{Clients, Reader, Writer};
use crate::common::rng::Rng;
use crate::common::{env_number, eventually};
use crate::history::{Clock, Figures, History, Operation, Replica, Sent};
use crate::nodes::{Cluster, QUEUES};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAIRS: usize = 2;
const WRITERS_PER_QUEUE: usize = 2;

fn writers(clients: &mut Clients, cluster: &Cluster, pair: usize) {
    let to = cluster.broker(pair, Replica::Master).address();
    for queue in Cluster::queues(pair) {
        for _ in 0..WRITERS_PER_QUEUE {
            clients.write(Writer {
                to,
                queue,
                pace: Duration::ZERO,
                retries: false,
            });
        }
    }
}

fn reader(clients: &mut Clients, cluster: &Cluster, pair: usize, replica: Replica, seed: u64) {
    clients.read(Reader {
        to: cluster.broker(pair, replica).address(),
        pair,
        replica,
        queues: QUEUES,
        seed,
    });
}

/// What was done with one pair.
fn of_pair(operations: &[Operation], pair: usize) -> Vec<Operation> {
    let of_pair = operations.iter().filter(|o| o.queue().pair == pair);
    of_pair.cloned().collect()
}

/// Acknowledged messages that the slave has, and those that it lacks.
fn found_on_the_slave(history: &History) -> (usize, usize) {
    let (mut found, mut lost) = (0, 0);
    for send in history.sends() {
        if let Sent::Acked(offset) = send.sent {
            let entries = &history.last[&(send.queue, Replica::Slave)];
            match entries.get(offset as usize) {
                Some(entry) if *entry == (offset, send.message) => found += 1,
                _ => lost += 1,
            }
        }
    }
    (found, lost)
}

/// Loses masters under load, again and again, and looks at what their slaves have meanwhile.
fn rounds(role: &str, promised: &[&[crate::checker::Named]]) {
    let mut rng = Rng::for_test(role);
    let flush = ["ASYNC_FLUSH", "SYNC_FLUSH"][rng.between(0, 2) as usize];
    let mut cluster = Cluster::start(PAIRS, role, &[("flushDiskType", flush)]);
    let clock = Arc::new(Clock::new());
    let mut operations: Vec<Operation> = Vec::new();
    for round in 0..env_number("CALLBOARD_ROUNDS", 1) {
        let victim = rng.between(0, PAIRS as u64) as usize;
        let mut clients = Clients::new(&clock, PAIRS);
        // A slave that lags, so that there is something to wait for, or to lose.
        let is_slow = cluster.has_links() && (round == 0 || rng.between(0, 2) == 0);
        if is_slow {
            cluster.slow(victim, Replica::Slave);
        }
        for pair in 0..PAIRS {
            writers(&mut clients, &cluster, pair);
            reader(&mut clients, &cluster, pair, Replica::Master, rng.next());
        }
        clients.wait_acked(victim, rng.between(200, 1_500) as usize);
        std::thread::sleep(Duration::from_millis(rng.between(0, 300)));
        cluster.lose(victim, Replica::Master);
        cluster.heal(victim, Replica::Slave);
        for other in (0..PAIRS).filter(|pair| *pair != victim) {
            clients.wait_acked(other, 200);
        }
        let new = clients.stop();
        let known = operations.len();
        operations.extend(new);
        let history = History {
            operations: of_pair(&operations, victim),
            last: cluster.read_all(victim, Replica::Slave),
        };
        let figures = Figures::of(&History {
            operations: of_pair(&operations[known..], victim),
            ..History::default()
        });
        let (found, lost) = found_on_the_slave(&history);
        println!(
            "{role} {flush} round {round}: master {victim} lost, slow slave={is_slow}, acked={} unknown={} seen={}; of all \
             acknowledged so far on the slave: found={found} lost={lost}",
            figures.acked, figures.unknown, figures.seen
        );
        assert!(figures.acked >= 200, "{figures:?}");
        // The checker sees the loss that was counted without it.
        assert_eq!(check(&history, &[KEPT]).len(), lost);
        assert_holds(&history, promised);
        cluster.bring_back(victim, Replica::Master);
        cluster.wait_healed();
    }
    // A killed process loses nothing: with the masters back, all of it is there, on both sides.
    let mut history = History {
        operations,
        ..History::default()
    };
    for pair in 0..PAIRS {
        for replica in [Replica::Master, Replica::Slave] {
            history.last.append(&mut cluster.read_all(pair, replica));
        }
    }
    assert_holds(&history, &[ALWAYS, KEPT, SEEN, COPIED]);
    println!("{role}: {:?}", Figures::of(&history));
    cluster.stop_and_compare();
}

#[test]
fn what_was_acknowledged_or_seen_is_on_the_slave() {
    rounds("SYNC_MASTER", &[ALWAYS, KEPT, SEEN]);
}

/// How much is lost is measured, and printed. What is there is a prefix of each queue: offsets
/// without a hole, at each the message that its sender was told, and nothing that nobody sent.
#[test]
fn without_double_write_the_end_is_lost_and_nothing_else() {
    rounds("ASYNC_MASTER", &[ALWAYS]);
}

/// A master that comes back from a crash knows what its log holds, and by its snapshot of the tails what
/// was visible: what it shows beyond that before the slave is there would be lost with it.
#[test]
fn what_a_restarted_master_shows_is_on_the_slave() {
    let mut cluster = Cluster::start(1, "SYNC_MASTER", &[]);
    let clock = Arc::new(Clock::new());
    let mut clients = Clients::new(&clock, 1);
    writers(&mut clients, &cluster, 0);
    reader(&mut clients, &cluster, 0, Replica::Master, 1);
    clients.wait_acked(0, 200);
    // From here on nothing is copied any more.
    cluster.pause(0, Replica::Slave);
    std::thread::sleep(Duration::from_millis(1_500));
    let mut operations = clients.stop();
    cluster.kill(0, Replica::Master);
    cluster.bring_back(0, Replica::Master);
    let mut clients = Clients::new(&clock, 1);
    reader(&mut clients, &cluster, 0, Replica::Master, 2);
    std::thread::sleep(Duration::from_millis(500));
    operations.extend(clients.stop());
    cluster.lose(0, Replica::Master);
    cluster.resume(0, Replica::Slave);
    let history = History {
        operations,
        last: cluster.read_all(0, Replica::Slave),
    };
    println!("{:?}", Figures::of(&history));
    assert_holds(&history, &[ALWAYS, KEPT, SEEN]);
}

/// The master keeps what it may not show yet to itself while its slave is away, and shows it once
/// the slave is back.
#[test]
fn what_the_slave_lacks_is_shown_when_it_is_back() {
    let cluster = Cluster::start(1, "SYNC_MASTER", &[]);
    let clock = Arc::new(Clock::new());
    let mut clients = Clients::new(&clock, 1);
    writers(&mut clients, &cluster, 0);
    clients.wait_acked(0, 200);
    cluster.pause(0, Replica::Slave);
    std::thread::sleep(Duration::from_millis(1_500));
    let operations = clients.stop();
    let stored = |history: &History| {
        let sends = history.sends();
        sends.filter(|s| matches!(s.sent, Sent::Stored(_))).count()
    };
    let mut history = History {
        operations,
        last: cluster.read_all(0, Replica::Master),
    };
    assert!(stored(&history) > 0, "the slave was away");
    assert_holds(&history, &[ALWAYS, KEPT]);
    let hidden = check(&history, &[COPIED]);
    assert!(!hidden.is_empty(), "it showed what only it has");
    cluster.resume(0, Replica::Slave);
    let begun = Instant::now();
    eventually("all is shown", || {
        history.last = cluster.read_all(0, Replica::Master);
        check(&history, &[COPIED]).is_empty().then_some(())
    });
    cluster.wait_in_sync(0);
    history
        .last
        .append(&mut cluster.read_all(0, Replica::Slave));
    assert_holds(&history, &[ALWAYS, KEPT, COPIED]);
    println!(
        "{:?}, shown after {:?}",
        Figures::of(&history),
        begun.elapsed()
    );
}
