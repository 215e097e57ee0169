//! Open half messages by topic (`TransactionMetrics`) with their file, and what happened since the start.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    actors::kernel::lock,
    protocol::body::files::{Metric, TransactionMetrics},
    store::{error::StoreError, now_ms, tables::ConfigFile},
};

/// Topics that are counted at most.
const TOPICS_MAX: usize = 1 << 20;

/// Published: counters of transactions. Whoever stores or ends a half message counts it.
#[derive(Debug)]
pub struct TransactionCounts {
    open: Mutex<Open>,
    file: Mutex<ConfigFile<TransactionMetrics>>,
    /// Transactions that were committed.
    pub commits: AtomicU64,
    /// Transactions that were rolled back.
    pub rollbacks: AtomicU64,
    /// Questions to producers.
    pub checks: AtomicU64,
    /// Questions that no producer was there for.
    pub unasked: AtomicU64,
    /// Half messages that were given up.
    pub given_up: AtomicU64,
}

#[derive(Debug)]
struct Open {
    table: TransactionMetrics,
    dirty: bool,
}

impl TransactionCounts {
    /// Goes on with the table of the file.
    pub fn new(file: ConfigFile<TransactionMetrics>, table: Option<TransactionMetrics>) -> Self {
        let open = Open {
            table: table.unwrap_or_default(),
            dirty: false,
        };
        Self {
            open: Mutex::new(open),
            file: Mutex::new(file),
            commits: AtomicU64::new(0),
            rollbacks: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    /// So many half messages of a topic more, or fewer.
    pub fn add(&self, topic: &str, count: i64) {
        let now = now_ms();
        let mut open = lock(&self.open);
        let topics = &mut open.table.transaction_count;
        if !topics.contains_key(topic) {
            if topics.len() >= TOPICS_MAX {
                return;
            }
            topics.insert(topic.to_owned(), Metric::default());
        }
        if let Some(metric) = topics.get_mut(topic) {
            metric.count += count;
            metric.time_stamp = now;
        }
        open.table.data_version.next(now, 0);
        open.dirty = true;
    }

    /// A topic is gone.
    pub fn forget(&self, topic: &str) {
        let mut open = lock(&self.open);
        if open.table.transaction_count.remove(topic).is_some() {
            open.dirty = true;
        }
    }

    /// Open half messages by topic.
    pub fn open(&self) -> Vec<(String, i64)> {
        let open = lock(&self.open);
        let topics = open.table.transaction_count.iter();
        topics
            .map(|(topic, metric)| (topic.clone(), metric.count))
            .collect()
    }

    /// Writes the table down if it changed.
    ///
    /// # Errors
    /// Those of [`ConfigFile::save`]; the next call tries again.
    pub fn save(&self) -> Result<(), StoreError> {
        let table = {
            let mut open = lock(&self.open);
            if !std::mem::take(&mut open.dirty) {
                return Ok(());
            }
            open.table.clone()
        };
        let saved = lock(&self.file).save(&table);
        if saved.is_err() {
            lock(&self.open).dirty = true;
        }
        saved.map(drop)
    }

    /// The counters for the debug endpoint.
    pub fn detail(&self) -> serde_json::Value {
        let open: i64 = self.open().iter().map(|(_, count)| count).sum();
        serde_json::json!({
            "open": open,
            "commits": self.commits.load(Relaxed),
            "rollbacks": self.rollbacks.load(Relaxed),
            "checks": self.checks.load(Relaxed),
            "unasked": self.unasked.load(Relaxed),
            "given_up": self.given_up.load(Relaxed),
        })
    }
}
