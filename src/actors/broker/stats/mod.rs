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
use dashmap::DashMap;

use self::window::{Total, Windows};
use crate::{
    actors::{
        kernel::{ActorCell, RestartPolicy, Tree, spawn},
        store::append::AppendRequest,
    },
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
        let policy = RestartPolicy::default();
        spawn(
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
            let count = request.records.len() as u64;
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

    /// A total's rate a second over the last 10, 60 and 600 seconds, with blanks between.
    pub fn rates(&self, of: impl Fn(&Totals) -> u64) -> String {
        let sampled = self.sampled();
        let Some((now, latest)) = sampled.seconds.back() else {
            return "0.0 0.0 0.0".to_owned();
        };
        let rate = |seconds: usize| {
            let from = sampled.seconds.len().saturating_sub(seconds + 1);
            sampled.seconds.get(from).map_or(0.0, |(then, totals)| {
                let elapsed_ms = (now - then).max(1) as f64;
                of(latest).saturating_sub(of(totals)) as f64 * 1000.0 / elapsed_ms
            })
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
