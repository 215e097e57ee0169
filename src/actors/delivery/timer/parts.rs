//! What the timer is made of, and who may look at it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{TimerActor, TimerMarks};
use crate::{
    actors::{
        broker::context::StoreHandles,
        kernel::{ActorRef, Permits},
    },
    config::{Derived, broker::BrokerConfig},
    protocol::body::files::TimerMetrics,
    store::{fs::Fs, tables::ConfigFile, timer::TimerConfig},
};

/// What of the configuration may change while the timer runs.
#[derive(Debug, Clone, Copy)]
pub struct TimerPolicy {
    /// Milliseconds between syncs (`timerFlushIntervalMs`).
    pub sync_every: Duration,
    /// `timerStopEnqueue`.
    pub stops_taking_in: bool,
    /// `timerStopDequeue`.
    pub stops_delivering: bool,
    /// Messages up to which a start counts anew how many wait (`timerMetricSmallThreshold`).
    pub recounts_up_to: usize,
}

impl TimerPolicy {
    /// As the configuration has it.
    pub fn of(config: &BrokerConfig) -> Self {
        let sync_every = config.store.timer_flush_interval_ms.max(10);
        Self {
            sync_every: Duration::from_millis(sync_every as u64),
            stops_taking_in: config.store.timer_stop_enqueue,
            stops_delivering: config.store.timer_stop_dequeue,
            recounts_up_to: usize::try_from(config.store.timer_metric_small_threshold).unwrap_or(0),
        }
    }
}

/// The handle for those who look at the timer.
#[derive(Clone)]
pub struct Timer {
    /// Published progress.
    pub marks: Arc<TimerMarks>,
    /// The actor.
    pub actor: ActorRef<TimerActor>,
}

/// What the timer is made of.
#[derive(Clone)]
pub struct TimerParts {
    /// The store.
    pub store: StoreHandles,
    /// The broker's own share of the budget.
    pub permits: Permits,
    /// The file system.
    pub fs: Fs,
    /// Where the files are.
    pub config: TimerConfig,
    /// What may change.
    pub policy: Derived<TimerPolicy>,
    /// timermetrics; only the actor writes it.
    pub file: Arc<Mutex<ConfigFile<TimerMetrics>>>,
    /// Published progress.
    pub marks: Arc<TimerMarks>,
    /// Whether messages are delivered: a slave leaves that to its master.
    pub delivers: bool,
}
