//! What the timer publishes: its progress, its figures, and single slots of the wheel.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    actors::kernel::lock,
    protocol::body::files::{Metric, TimerMetrics},
    store::{
        now_ms,
        timer::{checkpoint::TimerCheckpoint, wheel::Wheel},
    },
};

/// How long a rate is counted before it is told, ms.
const RATE_WINDOW_MS: i64 = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct TimerMarks {
    checkpoint: Mutex<TimerCheckpoint>,
    /// A slave's master, as it answered last.
    master: Mutex<Option<TimerCheckpoint>>,
    metrics: Mutex<TimerMetrics>,
    wheel: OnceLock<Wheel>,
    precision_ms: AtomicI64,
    pending: AtomicI64,
    queue_offset: AtomicI64,
    /// Messages taken in.
    pub(super) taken_in: Rate,
    /// Messages delivered or rolled.
    pub(super) delivered: Rate,
    /// Deliveries that were found done after a kill or a crash.
    pub(super) skipped: AtomicU64,
    /// Messages that the commit log had no more.
    pub(super) missed: AtomicU64,
}

impl TimerMarks {
    /// With the figures of the file timermetrics.
    pub fn new(metrics: TimerMetrics, precision_ms: i64) -> Self {
        Self {
            metrics: Mutex::new(metrics),
            precision_ms: AtomicI64::new(precision_ms),
            ..Self::default()
        }
    }

    /// How far the timer is; what code 60 answers.
    pub fn checkpoint(&self) -> TimerCheckpoint {
        *lock(&self.checkpoint)
    }

    pub(super) fn set_checkpoint(&self, checkpoint: TimerCheckpoint) {
        *lock(&self.checkpoint) = checkpoint;
    }

    /// Takes what a master told.
    pub fn follow(&self, master: TimerCheckpoint) {
        *lock(&self.master) = Some(master);
    }

    pub(super) fn master(&self) -> Option<TimerCheckpoint> {
        *lock(&self.master)
    }

    /// How many wait for each topic; what code 61 answers.
    pub fn metrics(&self) -> TimerMetrics {
        lock(&self.metrics).clone()
    }

    /// Takes a master's figures.
    pub fn mirror_metrics(&self, metrics: TimerMetrics) {
        *lock(&self.metrics) = metrics;
    }

    /// Forgets a topic that was deleted.
    pub fn forget_topic(&self, topic: &str) {
        lock(&self.metrics).timing_count.remove(topic);
    }

    pub(super) fn count(&self, changes: BTreeMap<String, i64>) {
        if changes.is_empty() {
            return;
        }
        let now = now_ms();
        let mut metrics = lock(&self.metrics);
        for (topic, change) in changes {
            metrics.data_version.next(now, 0);
            let metric = metrics.timing_count.entry(topic).or_insert(Metric {
                count: 0,
                time_stamp: now,
            });
            metric.count += change;
            metric.time_stamp = now;
        }
    }

    /// Takes what was counted anew; a topic that is not among it has nothing.
    pub(super) fn recount(&self, found: &BTreeMap<String, i64>) {
        let known = self.metrics().timing_count;
        let before = |topic: &String| known.get(topic).map_or(0, |metric| metric.count);
        let topics = known.keys().chain(found.keys());
        let changes = topics.map(|topic| {
            let now = found.get(topic).copied().unwrap_or(0);
            (topic.clone(), now - before(topic))
        });
        self.count(changes.filter(|(_, change)| *change != 0).collect());
    }

    pub(super) fn set_wheel(&self, wheel: &Wheel, precision_ms: i64) {
        // The file is the same one in every life of the actor.
        let _ = self.wheel.set(wheel.clone());
        self.precision_ms.store(precision_ms, Relaxed);
    }

    /// Milliseconds of a slot.
    pub fn precision_ms(&self) -> i64 {
        self.precision_ms.load(Relaxed).max(1)
    }

    /// How many messages wait in the slot of a time (ms); none where that is not known.
    pub fn waiting_at(&self, time_ms: i64) -> i64 {
        let tick = time_ms.div_euclid(self.precision_ms());
        let slot = self.wheel.get().and_then(|wheel| wheel.get(tick).ok());
        slot.map_or(0, |slot| i64::from(slot.num))
    }

    /// Messages that wait, less the marks of recalled ones.
    pub fn pending(&self) -> i64 {
        self.pending.load(Relaxed)
    }

    /// The next message of the timer's queue that is taken in.
    pub fn queue_offset(&self) -> i64 {
        self.queue_offset.load(Relaxed)
    }

    pub(super) fn publish(&self, pending: i64, queue_offset: i64) {
        self.pending.store(pending, Relaxed);
        self.queue_offset.store(queue_offset, Relaxed);
    }

    /// Messages taken in and delivered a second, of late.
    pub fn rates(&self) -> (f64, f64) {
        (self.taken_in.per_second(), self.delivered.per_second())
    }

    /// For the console.
    pub fn detail(&self) -> serde_json::Value {
        let checkpoint = self.checkpoint();
        serde_json::json!({
            "readTimeMs": checkpoint.last_read_time_ms,
            "queueOffset": self.queue_offset(),
            "pending": self.pending(),
            "takenIn": self.taken_in.total(),
            "delivered": self.delivered.total(),
            "skipped": self.skipped.load(Relaxed),
            "missed": self.missed.load(Relaxed),
        })
    }
}

/// A count, and how fast it grew in the last full second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    total: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    begun_ms: i64,
    at_begin: u64,
    last: f64,
}

impl Rate {
    pub(super) fn add(&self, count: u64) {
        let total = self.total.fetch_add(count, Relaxed);
        lock(&self.window).turn(now_ms(), total);
    }

    fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    fn per_second(&self) -> f64 {
        let mut window = lock(&self.window);
        window.turn(now_ms(), self.total());
        window.last
    }
}

impl Window {
    fn turn(&mut self, now: i64, total: u64) {
        let took = now - self.begun_ms;
        if took < RATE_WINDOW_MS {
            return;
        }
        self.last = (total - self.at_begin.min(total)) as f64 * 1000.0 / took as f64;
        self.begun_ms = now;
        self.at_begin = total;
    }
}
