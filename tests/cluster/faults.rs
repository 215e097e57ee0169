//! What befalls the hosts, and when: a pure function of a seed, so that a run can be had again.

use crate::common::rng::Rng;
use std::fmt;

/// The host of the NameServer; it has no disk of its own.
pub const NAMESRV: usize = 0;

/// Whom a host is parted from: see [`Fault::Part`].
pub fn partner(host: usize) -> usize {
    match host {
        NAMESRV => 1,
        // Masters have odd numbers, and their slaves follow them.
        master if master % 2 == 1 => master + 1,
        slave => slave - 1,
    }
}

/// What befalls a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The link carries nothing.
    Cut,
    /// It hears nobody.
    CutIn,
    /// Nobody hears it.
    CutOut,
    /// A master and its slave do not hear each other; clients reach both. (The NameServer's host and
    /// the first master's.)
    Part,
    /// Packets come late.
    Slow,
    /// Packets get lost.
    Lossy,
    /// SIGSTOP, and SIGCONT at the end.
    Pause,
    /// `kill -9`, and a start at the end.
    Kill,
    /// The disk has no more room.
    DiskFull,
    /// The clock is set forward, and right again at the end: it then goes back.
    ClockAhead,
    /// The clock is set back.
    ClockBack,
}

/// Seconds that a wrong clock is off: more than any interval of brokers and NameServers.
pub const CLOCK_OFF: i64 = 300;

const ALL: [Fault; 11] = [
    Fault::Cut,
    Fault::CutIn,
    Fault::CutOut,
    Fault::Part,
    Fault::Slow,
    Fault::Lossy,
    Fault::Pause,
    Fault::Kill,
    Fault::DiskFull,
    Fault::ClockAhead,
    Fault::ClockBack,
];

impl Fault {
    pub fn needs_link(self) -> bool {
        !matches!(self, Fault::Pause | Fault::Kill | Fault::DiskFull) && !self.needs_clock()
    }

    pub fn needs_clock(self) -> bool {
        matches!(self, Fault::ClockAhead | Fault::ClockBack)
    }
}

/// A fault of one host, from when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub from_ms: u64,
    pub to_ms: u64,
    pub host: usize,
    pub fault: Fault,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event {
            from_ms,
            to_ms,
            host,
            fault,
        } = self;
        write!(f, "{from_ms:>6}..{to_ms:<6} host {host} {fault:?}")
    }
}

/// The faults of a run: two at a time, never of one host, all over before the end.
pub fn schedule(seed: u64, lasting_ms: u64, hosts: usize) -> Vec<Event> {
    let mut rng = Rng::seeded(seed);
    let mut events: Vec<Event> = Vec::new();
    // Kinds come in a shuffled order, so that a short run has most of them.
    let mut kinds: Vec<Fault> = Vec::new();
    for lane in 0..2 {
        let mut at = 300 + lane * 700;
        loop {
            let from_ms = at + rng.between(100, 800);
            let to_ms = from_ms + rng.between(300, 2_500);
            if to_ms >= lasting_ms {
                break;
            }
            at = to_ms;
            // Some rest between two faults of one host: it is to come back at times.
            let is_free = |host: usize| {
                !events.iter().any(|other| {
                    other.host == host && other.from_ms < to_ms + 300 && from_ms < other.to_ms + 300
                })
            };
            let free: Vec<usize> = (0..hosts).filter(|host| is_free(*host)).collect();
            if free.is_empty() {
                continue;
            }
            let host = free[rng.between(0, free.len() as u64) as usize];
            if kinds.is_empty() {
                kinds = ALL.to_vec();
            }
            let mut fault = kinds.swap_remove(rng.between(0, kinds.len() as u64) as usize);
            if host == NAMESRV && fault == Fault::DiskFull {
                fault = Fault::Kill;
            }
            events.push(Event {
                from_ms,
                to_ms,
                host,
                fault,
            });
        }
    }
    events.sort_by_key(|event| event.from_ms);
    events
}

#[test]
fn a_schedule_follows_from_its_seed() {
    for seed in 0..200 {
        let events = schedule(seed, 30_000, 5);
        assert_eq!(events, schedule(seed, 30_000, 5));
        assert_ne!(events, schedule(seed + 1, 30_000, 5));
        assert!(events.len() > 8, "seed {seed}: {}", events.len());
        for (at, event) in events.iter().enumerate() {
            assert!(event.from_ms < event.to_ms && event.to_ms < 30_000);
            assert!(event.host < 5);
            assert!(event.host != NAMESRV || event.fault != Fault::DiskFull);
            let others = events[..at].iter();
            let during: Vec<_> = others.filter(|e| e.to_ms > event.from_ms).collect();
            assert!(during.len() < 2, "seed {seed}: more than two at a time");
            assert!(during.iter().all(|other| other.host != event.host));
        }
    }
    let faults = |seed| schedule(seed, 60_000, 5).into_iter().map(|e| e.fault);
    for fault in ALL {
        assert!(faults(1).any(|f| f == fault), "{fault:?} never happens");
    }
}
