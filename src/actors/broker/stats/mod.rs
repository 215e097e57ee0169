//! What the broker counts, under RocketMQ's names (`BrokerStatsManager`, `StoreStatsService`).
//!
//! Senders and readers only add to atomics: of their queue, or of their group. Everything else is
//! derived by the sampler, an actor that looks at the totals now and then.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, ArbiterHandle, AsyncContext, Context, Supervised};
use hdrhistogram::Histogram;

use self::window::{Total, Windows};
use crate::{
    actors::{
        kernel::{ActorCell, ActorRef, Tree, spawn},
        store::append::AppendRequest,
    },
    hash::DashMap,
    protocol::body::stats::BrokerStatsData,
    store::{
        now_ms,
        queue_table::{QueueKey, QueueTable},
    },
};

mod window;

/// How often totals are sampled for the rates over 10, 60 and 600 seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Samples for the longest of those.
const SECONDS_KEPT: usize = 601;

/// The longest store that is told apart from longer ones, in microseconds.
const PUT_MICROS_MAX: u64 = 60_000_000;

/// RocketMQ's classes of store times: name and upper bound in ms.
const PUT_BUCKETS_MS: [(&str, u64); 13] = [
    ("<=0ms", 1),
    ("0~10ms", 10),
    ("10~50ms", 50),
    ("50~100ms", 100),
    ("100~200ms", 200),
    ("200~500ms", 500),
    ("500ms~1s", 1_000),
    ("1~2s", 2_000),
    ("2~3s", 3_000),
    ("3~4s", 4_000),
    ("4~5s", 5_000),
    ("5~10s", 10_000),
    ("10s~", u64::MAX),
];

/// Every how many seconds the windows of topics and groups are sampled.
const WINDOW_SECONDS: u64 = 10;

/// What one group read of one topic, and gave back.
#[derive(Debug, Default)]
struct GroupCounters {
    messages: AtomicU64,
    bytes: AtomicU64,
    pulls: AtomicU64,
    sent_back: AtomicU64,
    dead: AtomicU64,
    acknowledged: AtomicU64,
}

/// Totals of the whole broker since it started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Messages stored.
    pub put: u64,
    /// Their bytes.
    pub put_bytes: u64,
    /// Sends that were refused by the store.
    pub put_failed: u64,
    /// Pulls that found messages.
    pub found: u64,
    /// Pulls that found none.
    pub missed: u64,
    /// Messages read.
    pub got: u64,
}

#[derive(Debug, Default)]
struct Broker {
    put: AtomicU64,
    put_bytes: AtomicU64,
    put_failed: AtomicU64,
    found: AtomicU64,
    missed: AtomicU64,
    got: AtomicU64,
    acknowledged: AtomicU64,
    get_micros_max: AtomicU64,
}

/// How long stores of messages took, in microseconds.
#[derive(Debug)]
struct PutTimes(Histogram<u64>);

impl Default for PutTimes {
    fn default() -> Self {
        Self(Histogram::new_with_max(PUT_MICROS_MAX, 2).expect("the bounds are constants"))
    }
}

/// Totals at midnight.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mornings {
    /// Messages stored: at yesterday's and at today's begin.
    pub put: (u64, u64),
    /// Messages read.
    pub got: (u64, u64),
}

#[derive(Debug, Default)]
struct Sampled {
    windows: HashMap<(&'static str, String), Windows>,
    seconds: VecDeque<(i64, Totals)>,
    mornings: Mornings,
    day: Option<jiff::civil::Date>,
}

#[derive(Debug, Default)]
struct Shared {
    cluster: String,
    broker: Broker,
    groups: DashMap<String, Arc<GroupCounters>>,
    table: OnceLock<Arc<QueueTable>>,
    sampled: Mutex<Sampled>,
    put_times: Mutex<PutTimes>,
    sampler: OnceLock<ActorRef<Sampler>>,
}

/// The broker's statistics; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stats(Arc<Shared>);

impl Stats {
    /// Starts the sampler at `parent/stats`.
    pub fn start(tree: &Tree, parent: &str, arbiter: &ArbiterHandle, cluster: &str) -> Self {
        let stats = Self(Arc::new(Shared {
            cluster: cluster.to_owned(),
            ..Shared::default()
        }));
        let own = stats.clone();
        let policy = tree.restart_policy();
        let sampler = spawn(
            tree,
            parent,
            "stats",
            "stats",
            arbiter,
            policy,
            move |cell| Sampler {
                cell,
                stats: own,
                ticks: 0,
            },
        );
        // Held, for an actor that only its timers wake is not restarted without an address.
        let _ = stats.0.sampler.set(sampler);
        stats
    }

    /// Gives the table whose queues count their messages.
    pub fn attach(&self, table: Arc<QueueTable>) {
        let _ = self.0.table.set(table);
    }

    /// Requests went through the writer; those that were not stored are among them.
    pub fn stored(&self, requests: &[AppendRequest]) {
        let (mut messages, mut total_bytes, mut failed) = (0, 0, 0);
        for request in requests {
            let count = request.messages() as u64;
            if !request.status.is_stored() {
                failed += count;
                continue;
            }
            let bytes = request
                .records
                .iter()
                .map(|record| u64::from(record.len))
                .sum();
            request.slot.count_put(count, bytes);
            messages += count;
            total_bytes += bytes;
        }
        let broker = &self.0.broker;
        broker.put.fetch_add(messages, Relaxed);
        broker.put_bytes.fetch_add(total_bytes, Relaxed);
        if failed > 0 {
            broker.put_failed.fetch_add(failed, Relaxed);
        }
    }

    /// A write of so many messages took so long.
    pub fn put_took(&self, messages: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros())
            .unwrap_or(u64::MAX)
            .min(PUT_MICROS_MAX);
        let mut times = self
            .0
            .put_times
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Within the bounds, so that there is no error.
        let _ = times.0.record_n(micros, messages as u64);
    }

    /// A look for messages took so long.
    pub fn get_took(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.broker.get_micros_max.fetch_max(micros, Relaxed);
    }

    /// The longest look for messages, ms.
    pub fn get_ms_max(&self) -> u64 {
        self.0.broker.get_micros_max.load(Relaxed) / 1000
    }

    /// The longest store, ms.
    pub fn put_ms_max(&self) -> u64 {
        self.put_times().0.max() / 1000
    }

    /// A quantile of the times that stores took, ms.
    pub fn put_ms_at(&self, quantile: f64) -> f64 {
        self.put_times().0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Stores by how long they took (`StoreStatsService.getPutMessageDistributeTimeStringInfo`).
    pub fn put_distribution(&self) -> String {
        let times = self.put_times();
        let mut text = String::new();
        let mut low = 0;
        for (name, high) in PUT_BUCKETS_MS {
            let (from, to) = (low * 1000, high.saturating_mul(1000).min(PUT_MICROS_MAX));
            let count = if from < to {
                times.0.count_between(from, to - 1)
            } else {
                0
            };
            text.push_str(&format!("[{name}]:{count} "));
            low = high;
        }
        text
    }

    fn put_times(&self) -> MutexGuard<'_, PutTimes> {
        self.0
            .put_times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A group read messages of a queue.
    pub fn pulled(&self, group: &str, queue: &QueueKey, messages: usize, bytes: usize) {
        let broker = &self.0.broker;
        broker.found.fetch_add(1, Relaxed);
        broker.got.fetch_add(messages as u64, Relaxed);
        let counters = self.of_group(&queue.topic, group);
        counters.messages.fetch_add(messages as u64, Relaxed);
        counters.bytes.fetch_add(bytes as u64, Relaxed);
        counters.pulls.fetch_add(1, Relaxed);
    }

    /// A pull found nothing.
    pub fn missed(&self) {
        self.0.broker.missed.fetch_add(1, Relaxed);
    }

    /// A consumer gave a message back; `dead` if it went to the dead letter topic.
    pub fn sent_back(&self, topic: &str, group: &str, dead: bool) {
        let counters = self.of_group(topic, group);
        counters.sent_back.fetch_add(1, Relaxed);
        if dead {
            counters.dead.fetch_add(1, Relaxed);
        }
    }

    /// A group acknowledged popped messages.
    pub fn acknowledged(&self, topic: &str, group: &str, messages: usize) {
        let counters = self.of_group(topic, group);
        counters.acknowledged.fetch_add(messages as u64, Relaxed);
        self.0
            .broker
            .acknowledged
            .fetch_add(messages as u64, Relaxed);
    }

    fn of_group(&self, topic: &str, group: &str) -> Arc<GroupCounters> {
        let key = format!("{topic}@{group}");
        if let Some(counters) = self.0.groups.get(&key) {
            return Arc::clone(&counters);
        }
        Arc::clone(&self.0.groups.entry(key).or_default())
    }

    /// Totals since the start.
    pub fn totals(&self) -> Totals {
        let broker = &self.0.broker;
        Totals {
            put: broker.put.load(Relaxed),
            put_bytes: broker.put_bytes.load(Relaxed),
            put_failed: broker.put_failed.load(Relaxed),
            found: broker.found.load(Relaxed),
            missed: broker.missed.load(Relaxed),
            got: broker.got.load(Relaxed),
        }
    }

    /// Totals at midnight.
    pub fn mornings(&self) -> Mornings {
        self.sampled().mornings
    }

    /// A total's rate a second over the last 10, 60 and 600 seconds, with blanks between; empty for a
    /// time that the broker does not run yet (`StoreStatsService.getPutTps`).
    pub fn rates(&self, of: impl Fn(&Totals) -> u64) -> String {
        let sampled = self.sampled();
        let rate = |seconds: usize| {
            let from = sampled.seconds.len().checked_sub(seconds + 1);
            let then = from.and_then(|from| sampled.seconds.get(from));
            let (Some((then, before)), Some((now, latest))) = (then, sampled.seconds.back()) else {
                return String::new();
            };
            let elapsed_ms = (now - then).max(1) as f64;
            let rate = of(latest).saturating_sub(of(before)) as f64 * 1000.0 / elapsed_ms;
            format!("{rate:?}")
        };
        format!("{} {} {}", rate(10), rate(60), rate(600))
    }

    /// The windows of a figure (code 315); `None` for one that was never counted.
    pub fn view(&self, name: &str, key: &str) -> Option<BrokerStatsData> {
        let sampled = self.sampled();
        let windows = sampled
            .windows
            .iter()
            .find(|((known, of), _)| *known == name && of == key);
        windows.map(|(_, windows)| windows.data())
    }

    /// Messages a second that a group reads of a topic, over the last minute.
    pub fn group_get_tps(&self, topic: &str, group: &str) -> f64 {
        let data = self.view("GROUP_GET_NUMS", &format!("{topic}@{group}"));
        data.map_or(0.0, |data| data.stats_minute.tps)
    }

    /// Messages a second that are stored in a topic, over the last minute.
    pub fn topic_put_tps(&self, topic: &str) -> f64 {
        self.view("TOPIC_PUT_NUMS", topic)
            .map_or(0.0, |data| data.stats_minute.tps)
    }

    fn sampled(&self) -> MutexGuard<'_, Sampled> {
        self.0
            .sampled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Every figure with its running total.
    fn figures(&self) -> Vec<((&'static str, String), Total)> {
        let mut figures = Vec::new();
        let mut topics: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
        let slots = self
            .0
            .table
            .get()
            .map(|table| table.slots())
            .unwrap_or_default();
        for slot in &slots {
            let (messages, bytes, requests) = slot.put_counts();
            let topic = topics.entry(&slot.key.topic).or_default();
            *topic = (topic.0 + messages, topic.1 + bytes, topic.2 + requests);
        }
        for (topic, (messages, bytes, times)) in topics {
            let key = |name| (name, topic.to_owned());
            figures.push((
                key("TOPIC_PUT_NUMS"),
                Total {
                    sum: messages,
                    times,
                },
            ));
            figures.push((key("TOPIC_PUT_SIZE"), Total { sum: bytes, times }));
        }
        for item in &self.0.groups {
            let (of, counters) = (item.key(), item.value());
            let times = counters.pulls.load(Relaxed);
            let mut add = |name, counter: &AtomicU64, times| {
                figures.push((
                    (name, of.clone()),
                    Total {
                        sum: counter.load(Relaxed),
                        times,
                    },
                ));
            };
            add("GROUP_GET_NUMS", &counters.messages, times);
            add("GROUP_GET_SIZE", &counters.bytes, times);
            add(
                "SNDBCK_PUT_NUMS",
                &counters.sent_back,
                counters.sent_back.load(Relaxed),
            );
            add("DLQ_PUT_NUMS", &counters.dead, counters.dead.load(Relaxed));
            let acknowledged = counters.acknowledged.load(Relaxed);
            add("GROUP_ACK_NUMS", &counters.acknowledged, acknowledged);
        }
        let totals = self.totals();
        let cluster = |name| (name, self.0.cluster.clone());
        let put = Total {
            sum: totals.put,
            times: totals.put,
        };
        let got = Total {
            sum: totals.got,
            times: totals.found,
        };
        figures.push((cluster("BROKER_PUT_NUMS"), put));
        figures.push((cluster("BROKER_GET_NUMS"), got));
        let acknowledged = self.0.broker.acknowledged.load(Relaxed);
        let acks = Total {
            sum: acknowledged,
            times: acknowledged,
        };
        figures.push((cluster("BROKER_ACK_NUMS"), acks));
        figures
    }

    fn sample_second(&self) {
        let totals = self.totals();
        let today = jiff::Zoned::now().date();
        let mut sampled = self.sampled();
        if sampled.seconds.len() >= SECONDS_KEPT {
            sampled.seconds.pop_front();
        }
        sampled.seconds.push_back((now_ms(), totals));
        if sampled.day.is_some_and(|day| day != today) {
            let mornings = &mut sampled.mornings;
            mornings.put = (mornings.put.1, totals.put);
            mornings.got = (mornings.got.1, totals.got);
        }
        sampled.day = Some(today);
    }

    fn sample_windows(&self) {
        let figures = self.figures();
        let now = now_ms();
        let mut sampled = self.sampled();
        for (key, total) in figures {
            sampled.windows.entry(key).or_default().sample(now, total);
        }
    }
}

/// Looks at the totals now and then. A restart loses nothing: what it keeps is shared.
struct Sampler {
    cell: Arc<ActorCell>,
    stats: Stats,
    ticks: u64,
}

impl Actor for Sampler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SECOND, |sampler, _| {
            sampler.cell.beat();
            sampler.stats.sample_second();
            if sampler.ticks.is_multiple_of(WINDOW_SECONDS) {
                sampler.stats.sample_windows();
            }
            sampler.ticks += 1;
        });
    }
}

impl Supervised for Sampler {}

crate::crashable!(Sampler);
