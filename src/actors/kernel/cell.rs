//! What the process may know about an actor without asking it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::WeakRecipient;
use serde::Serialize;

use super::messages::ChildGaveUp;
use super::{lock, now_ms};

/// The state of an actor as the debug endpoint shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorState {
    /// Alive and making progress, or idle.
    Running,
    /// Panicked; waiting out the back-off or recovering.
    Restarting,
    /// Put to sleep by its parent; its next message wakes it.
    Asleep,
    /// Ended, on purpose or after giving up.
    Stopped,
    /// Work waits and nothing has moved for longer than the watchdog allows.
    Stuck,
}

impl ActorState {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => ActorState::Running,
            1 => ActorState::Restarting,
            2 => ActorState::Asleep,
            _ => ActorState::Stopped,
        }
    }
}

type Detail = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;
type SendCrash = Arc<dyn Fn() -> bool + Send + Sync>;

/// What changes rarely, behind one lock that is never held across foreign code.
#[derive(Default)]
struct Cold {
    last_error: Option<Arc<str>>,
    detail: Option<Detail>,
    send_crash: Option<SendCrash>,
    armed: Vec<String>,
    supervisor: Option<WeakRecipient<ChildGaveUp>>,
}

/// Written by senders: apart from what the actor writes, so that they do not share a cache line.
#[repr(align(64))]
#[derive(Default)]
struct Sent(AtomicU64);

/// Counters and facts of one actor: written by it and its senders, read by anybody.
pub struct ActorCell {
    path: Arc<str>,
    kind: &'static str,
    sent: Sent,
    // Written by the actor's own thread only: plain loads and stores.
    handled: AtomicU64,
    taken: AtomicU64,
    beats: AtomicU64,
    mailbox_max: AtomicU64,
    polling: AtomicBool,
    armed: AtomicBool,
    blocked_limit_ms: AtomicU64,
    // Written by the guard.
    state: AtomicU8,
    since_ms: AtomicU64,
    generation: AtomicU64,
    // Written by the watchdog.
    stuck: AtomicBool,
    seen_progress: AtomicU64,
    seen_at_ms: AtomicU64,
    cold: Mutex<Cold>,
}

impl ActorCell {
    pub(super) fn new(path: Arc<str>, kind: &'static str) -> Self {
        ActorCell {
            path,
            kind,
            sent: Sent::default(),
            handled: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            mailbox_max: AtomicU64::new(0),
            polling: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            blocked_limit_ms: AtomicU64::new(0),
            state: AtomicU8::new(ActorState::Running as u8),
            since_ms: AtomicU64::new(now_ms()),
            generation: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            // The first look always counts as progress.
            seen_progress: AtomicU64::new(u64::MAX),
            seen_at_ms: AtomicU64::new(0),
            cold: Mutex::default(),
        }
    }

    /// A cell that stands in no tree: for tests of an actor without a system.
    pub fn detached(path: &str) -> Arc<Self> {
        Arc::new(ActorCell::new(path.into(), "detached"))
    }

    /// The path, which is also the prefix of the actor's log lines.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The kind of actor: many paths, one kind.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The first line of every handler: counts the message as taken out of the mailbox.
    ///
    /// Only the actor's own thread calls it. It costs two loads and two stores.
    #[inline]
    pub fn begin_work(&self) {
        bump(&self.handled, 1);
        bump(&self.taken, 1);
    }

    /// Counts work that does not come through the mailbox, such as frames from a socket.
    #[inline]
    pub fn count_handled(&self, more: u64) {
        bump(&self.handled, more);
    }

    /// Tells the watchdog that a long turn is alive. Only the actor's own thread calls it.
    #[inline]
    pub fn beat(&self) {
        bump(&self.beats, 1);
    }

    /// Runs a call that may block for up to `limit` without counting as stuck, such as an fsync.
    pub fn blocking<T>(&self, limit: Duration, call: impl FnOnce() -> T) -> T {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.blocked_limit_ms.store(limit_ms, Relaxed);
        self.beat();
        let result = call();
        self.blocked_limit_ms.store(0, Relaxed);
        self.beat();
        result
    }

    /// Writes a table of the actor to its file, which may take a while; whether that went well. An error
    /// is logged, and the actor's last.
    pub fn write_file<T, E: std::fmt::Display>(
        &self,
        write: impl FnOnce() -> Result<T, E>,
    ) -> bool {
        const WRITE_LIMIT: Duration = Duration::from_secs(60);
        match self.blocking(WRITE_LIMIT, write) {
            Ok(_) => true,
            Err(error) => {
                log::error!("{} not written error={error}", self.path());
                self.set_last_error(&error.to_string());
                false
            }
        }
    }

    /// A place where a test can make the actor panic. One relaxed load while nothing is armed.
    ///
    /// # Panics
    /// If `point` was armed with [`ActorCell::arm`]; it is disarmed first.
    #[inline]
    pub fn fail_point(&self, point: &str) {
        if self.armed.load(Relaxed) {
            self.fail_if_armed(point);
        }
    }

    #[cold]
    fn fail_if_armed(&self, point: &str) {
        let hit = {
            let mut cold = lock(&self.cold);
            let at = cold.armed.iter().position(|armed| armed == point);
            if let Some(at) = at {
                cold.armed.swap_remove(at);
            }
            self.armed.store(!cold.armed.is_empty(), Relaxed);
            at.is_some()
        };
        assert!(!hit, "fail point {point}");
    }

    /// Arms a fail point: the next pass of the actor panics there, once per call.
    pub fn arm(&self, point: &str) {
        const ARMED_MAX: usize = 64;
        let mut cold = lock(&self.cold);
        if cold.armed.len() < ARMED_MAX {
            cold.armed.push(point.to_string());
        }
        self.armed.store(true, Relaxed);
    }

    /// Sends [`super::Crash`] to the actor; false if it is gone.
    pub fn crash(&self) -> bool {
        let send = lock(&self.cold).send_crash.clone();
        send.is_some_and(|send| send())
    }

    /// Sets what the debug endpoint shows as `detail`. It is called on foreign threads: it reads
    /// published atomics and never asks the actor.
    pub fn set_detail(&self, detail: impl Fn() -> serde_json::Value + Send + Sync + 'static) {
        lock(&self.cold).detail = Some(Arc::new(detail));
    }

    /// What [`ActorCell::set_detail`] yields now; null without one, or if it panics.
    pub fn detail(&self) -> serde_json::Value {
        let detail = lock(&self.cold).detail.clone();
        detail.map_or(serde_json::Value::Null, |detail| {
            super::panics::catch(|| detail()).unwrap_or(serde_json::Value::Null)
        })
    }

    /// The state, `Stuck` as soon as the watchdog says so.
    pub fn state(&self) -> ActorState {
        match ActorState::from_u8(self.state.load(Relaxed)) {
            ActorState::Running if self.stuck.load(Relaxed) => ActorState::Stuck,
            state => state,
        }
    }

    /// Whether the watchdog has seen no progress while work waits.
    pub fn is_stuck(&self) -> bool {
        self.state() == ActorState::Stuck
    }

    /// Changes the state, for parents that put an actor to sleep and for the guard.
    pub fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Relaxed);
        self.since_ms.store(now_ms(), Relaxed);
    }

    /// When the actor got into its state, in milliseconds since the Unix epoch.
    pub fn since_ms(&self) -> u64 {
        self.since_ms.load(Relaxed)
    }

    /// The number of the actor's life: 0 before the first restart.
    ///
    /// Requests carry it where a late answer to an earlier life would do harm.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Restarts since the actor was spawned.
    pub fn restarts(&self) -> u64 {
        self.generation()
    }

    /// Messages whose handler has begun.
    pub fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    /// Messages sent and not yet begun: cancelled ones leave the count at the next drain.
    pub fn mailbox_len(&self) -> u64 {
        self.sent
            .0
            .load(Relaxed)
            .saturating_sub(self.taken.load(Relaxed))
    }

    /// The longest mailbox seen at the beginning of a drain.
    pub fn mailbox_max(&self) -> u64 {
        self.mailbox_max.load(Relaxed)
    }

    /// The last panic or give-up, as text with its place.
    pub fn last_error(&self) -> Option<Arc<str>> {
        lock(&self.cold).last_error.clone()
    }

    /// Keeps an error that did not panic the actor for the debug endpoint.
    pub fn set_last_error(&self, error: &str) {
        lock(&self.cold).last_error = Some(error.into());
    }

    /// A message is about to be in the mailbox. Counted before the push, so that a count that
    /// includes it can only be early, never left over.
    #[inline]
    pub(super) fn count_sent(&self) {
        self.sent.0.fetch_add(1, Relaxed);
    }

    /// The guard is about to poll.
    pub(super) fn poll_begins(&self) {
        let waiting = self.mailbox_len();
        if waiting > self.mailbox_max.load(Relaxed) {
            self.mailbox_max.store(waiting, Relaxed);
        }
        self.beat();
        self.polling.store(true, Relaxed);
    }

    /// The poll ended. After a complete drain the mailbox is empty, also of what its senders took
    /// back and no handler ever saw. A message sent in this very moment may be missed in the
    /// count; its own poll follows and sets it right.
    pub(super) fn poll_ends(&self, drained: bool) {
        self.polling.store(false, Relaxed);
        if drained {
            self.taken.store(self.sent.0.load(Relaxed), Relaxed);
        }
    }

    pub(super) fn panicked(&self, error: &str) {
        self.set_last_error(error);
        self.generation.fetch_add(1, Relaxed);
        self.set_state(ActorState::Restarting);
    }

    pub(super) fn set_send_crash(&self, send: impl Fn() -> bool + Send + Sync + 'static) {
        lock(&self.cold).send_crash = Some(Arc::new(send));
    }

    pub(super) fn set_supervisor(&self, supervisor: WeakRecipient<ChildGaveUp>) {
        lock(&self.cold).supervisor = Some(supervisor);
    }

    /// Hands a give-up to the actor of this cell; false if it does not supervise or is gone.
    pub(super) fn tell_supervisor(&self, event: &ChildGaveUp) -> bool {
        let recipient = {
            let cold = lock(&self.cold);
            cold.supervisor.as_ref().and_then(WeakRecipient::upgrade)
        };
        recipient.is_some_and(|recipient| {
            let told = recipient.connected();
            recipient.do_send(event.clone());
            told
        })
    }

    /// The actor is over: lets go of every address, so that nothing keeps its mailbox.
    pub(super) fn finished(&self) {
        self.set_state(ActorState::Stopped);
        let mut cold = lock(&self.cold);
        cold.send_crash = None;
        cold.supervisor = None;
    }

    /// One look of the watchdog, `now_ms` on a clock of its own: true while stuck.
    pub(super) fn watch(&self, now_ms: u64, stuck_after_ms: u64) -> bool {
        let progress = self.handled.load(Relaxed) + self.beats.load(Relaxed);
        let waiting = self.polling.load(Relaxed) || self.mailbox_len() > 0;
        let running = self.state.load(Relaxed) == ActorState::Running as u8;
        if progress != self.seen_progress.load(Relaxed) || !waiting || !running {
            self.seen_progress.store(progress, Relaxed);
            self.seen_at_ms.store(now_ms, Relaxed);
            self.stuck.store(false, Relaxed);
            return false;
        }
        let allowed_ms = stuck_after_ms.max(self.blocked_limit_ms.load(Relaxed));
        let stuck = now_ms.saturating_sub(self.seen_at_ms.load(Relaxed)) >= allowed_ms;
        self.stuck.store(stuck, Relaxed);
        stuck
    }
}

impl std::fmt::Debug for ActorCell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ActorCell")
            .field("path", &self.path)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Adds to a counter that one thread alone writes: no locked instruction.
#[inline]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_length_heals_after_a_cancelled_request() {
        let cell = ActorCell::detached("t/a");
        cell.count_sent();
        cell.count_sent();
        assert_eq!(cell.mailbox_len(), 2);
        cell.poll_begins();
        cell.begin_work();
        cell.poll_ends(true);
        assert_eq!(
            (cell.mailbox_len(), cell.handled(), cell.mailbox_max()),
            (0, 1, 2)
        );
    }

    #[test]
    fn fail_point_fires_once() {
        let cell = ActorCell::detached("t/a");
        cell.fail_point("here");
        cell.arm("here");
        cell.fail_point("elsewhere");
        let hit = std::panic::catch_unwind(|| cell.fail_point("here"));
        assert!(hit.is_err());
        cell.fail_point("here");
    }

    #[test]
    fn watchdog_wants_progress_only_while_work_waits() {
        let cell = ActorCell::detached("t/a");
        assert!(!cell.watch(1_000, 30_000));
        cell.count_sent();
        assert!(!cell.watch(2_000, 30_000));
        assert!(!cell.watch(30_999, 30_000));
        assert!(cell.watch(31_000, 30_000));
        assert_eq!(cell.state(), ActorState::Stuck);
        cell.beat();
        assert!(!cell.watch(32_000, 30_000));
        assert_eq!(cell.state(), ActorState::Running);
    }
}
