//! When a run measures and when it ends: shared by all connections of the (single) load thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::process::{self, Reading};
use crate::report::{Report, Tally};

/// Ends of a run: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Time before anything is counted.
    pub warm_up: Duration,
    /// Time that is counted.
    pub duration: Option<Duration>,
    /// Messages that are counted.
    pub count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measuring,
    Over,
}

#[derive(Debug, Clone, Copy, Default)]
struct Edge {
    server: Option<Reading>,
    own: Option<Reading>,
}

impl Edge {
    fn now(server_pid: Option<u32>) -> Self {
        Edge {
            server: server_pid.and_then(process::read),
            own: process::read(std::process::id()),
        }
    }
}

/// The clock of a run.
#[derive(Debug)]
pub struct Control {
    limits: Limits,
    server_pid: Option<u32>,
    phase: Cell<Phase>,
    begin: Cell<Instant>,
    elapsed: Cell<Duration>,
    counted: Cell<u64>,
    edges: RefCell<(Edge, Edge)>,
    failure: RefCell<Option<String>>,
    over: tokio::sync::Notify,
}

impl Control {
    /// A run that starts to warm up now.
    pub fn new(limits: Limits, server_pid: Option<u32>) -> Rc<Self> {
        let control = Rc::new(Control {
            limits,
            server_pid,
            phase: Cell::new(Phase::WarmUp),
            begin: Cell::new(Instant::now()),
            elapsed: Cell::default(),
            counted: Cell::new(0),
            edges: RefCell::default(),
            failure: RefCell::default(),
            over: tokio::sync::Notify::new(),
        });
        if limits.warm_up.is_zero() {
            control.measure();
        }
        control
    }

    /// Moves through the phases by time; ends with the run.
    pub async fn keep_time(&self) {
        if self.phase.get() == Phase::WarmUp {
            tokio::time::sleep(self.limits.warm_up).await;
            self.measure();
        }
        match self.limits.duration {
            Some(duration) => {
                let _ = tokio::time::timeout(duration, self.over.notified()).await;
                self.finish(Instant::now());
            }
            None if self.is_over() => {}
            None => self.over.notified().await,
        }
    }

    /// Begins to measure.
    pub fn measure(&self) {
        if self.phase.get() == Phase::WarmUp {
            self.edges.borrow_mut().0 = Edge::now(self.server_pid);
            self.begin.set(Instant::now());
            self.phase.set(Phase::Measuring);
        }
    }

    /// Ends the run.
    pub fn finish(&self, now: Instant) {
        if self.phase.get() == Phase::Measuring {
            self.elapsed
                .set(now.saturating_duration_since(self.begin.get()));
            self.edges.borrow_mut().1 = Edge::now(self.server_pid);
        }
        if self.phase.replace(Phase::Over) != Phase::Over {
            self.over.notify_one();
        }
    }

    /// Ends the run because it can't go on.
    pub fn fail(&self, reason: String) {
        self.failure.borrow_mut().get_or_insert(reason);
        self.finish(Instant::now());
    }

    /// Whether answers count at the moment.
    pub fn measuring(&self) -> bool {
        self.phase.get() == Phase::Measuring
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    /// Counts messages towards the limit.
    pub fn count(&self, messages: u64, now: Instant) {
        let counted = self.counted.get() + messages;
        self.counted.set(counted);
        if self.limits.count.is_some_and(|limit| counted >= limit) {
            self.finish(now);
        }
    }

    /// The report of the finished run.
    pub fn report(&self, mode: &'static str, tally: &Tally) -> Result<Report, String> {
        if let Some(reason) = self.failure.borrow().clone() {
            return Err(reason);
        }
        let mut report = Report::new(mode, tally, self.elapsed.get());
        let (begin, end) = *self.edges.borrow();
        if let (Some(pid), Some(before), Some(after)) = (self.server_pid, begin.server, end.server)
        {
            report.server = Some(after.since(&before, tally.messages, pid));
        }
        if let (Some(before), Some(after)) = (begin.own, end.own) {
            let spent = after.since(&before, tally.messages, std::process::id());
            report.client_cpu_us_per_message = spent.cpu_us_per_message;
        }
        Ok(report)
    }
}
