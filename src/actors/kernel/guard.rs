//! The guard: an actor's context future, polled inside `catch_unwind`.
//!
//! actix 0.13's own `Supervisor` restarts an actor only when it stops by itself; a panic unwinds
//! through it and ends mailbox and actor. The guard catches the panic outside the context future
//! and calls [`ContextFut::restart`], which drops the futures of the old life, calls
//! `Supervised::restarting`, and lets `started` run again at the next poll. The receiver of the
//! mailbox is never dropped, so addresses stay connected and queued messages wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use actix::dev::ContextFut;
use actix::dev::channel::channel;
use actix::{Actor, ActorContext, Addr, ArbiterHandle, Context, Handler, Supervised};
use actix_rt::time::{Sleep, sleep};

use super::actor_ref::ActorRef;
use super::cell::{ActorCell, ActorState};
use super::messages::{ChildGaveUp, Crash};
use super::panics::{self, PanicReport};
use super::policy::{OnSpent, RestartHistory, RestartPolicy};
use super::tree::Tree;

/// Starts a guarded actor at `parent/name` on `arbiter`.
///
/// `make` runs on the arbiter's thread and builds the first state; a panic in it counts as a spent
/// budget, for there is nothing to restart. Messages may be sent at once: they wait.
pub fn spawn<A, F>(
    tree: &Tree,
    parent: &str,
    name: &str,
    kind: &'static str,
    arbiter: &ArbiterHandle,
    policy: RestartPolicy,
    make: F,
) -> ActorRef<A>
where
    A: Actor<Context = Context<A>> + Supervised + Handler<Crash>,
    F: FnOnce(Arc<ActorCell>) -> A + Send + 'static,
{
    let cell = tree.insert(parent, name, kind);
    // Capacity 0 is unbounded: work is bounded by permits at the edge, and a bounded mailbox
    // would only delay `send` behind its own clones.
    let (sender, receiver) = channel::<A>(0);
    let addr = Addr::new(sender);
    let weak = addr.downgrade();
    cell.set_send_crash(move || match weak.upgrade() {
        Some(addr) => {
            addr.do_send(Crash);
            true
        }
        None => false,
    });
    let birth = Birth(Some((tree.clone(), cell.clone())));
    // Without its arbiter the birth is dropped unused and takes the cell out of the tree.
    arbiter.spawn_fn(move || {
        let Some((tree, cell)) = birth.begin() else {
            return;
        };
        match panics::catch(|| make(cell.clone())) {
            Ok(actor) => {
                let context = Context::with_receiver(receiver).into_future(actor);
                actix_rt::spawn(Guard::new(context, tree, cell, policy));
            }
            Err(report) => {
                // Nobody is left to read the mailbox: close it before anybody is told.
                drop(receiver);
                cell.set_last_error(&report.to_string());
                give_up(&tree, &cell, &policy, &report);
            }
        }
    });
    ActorRef::new(addr, cell)
}

/// An actor on its way to its arbiter, which may have stopped or stop before it looks.
struct Birth(Option<(Tree, Arc<ActorCell>)>);

impl Birth {
    fn begin(mut self) -> Option<(Tree, Arc<ActorCell>)> {
        self.0.take()
    }
}

impl Drop for Birth {
    fn drop(&mut self) {
        if let Some((tree, cell)) = self.0.take() {
            log::warn!("{} not started: its arbiter is gone", cell.path());
            cell.finished();
            tree.remove(&cell);
        }
    }
}

struct Guard<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    /// `None` once the actor is over.
    context: Option<ContextFut<A, Context<A>>>,
    tree: Tree,
    cell: Arc<ActorCell>,
    policy: RestartPolicy,
    history: RestartHistory,
    next: Next,
}

/// What the guard does at its next poll.
enum Next {
    /// Polls the actor.
    Run,
    /// Waits out the back-off, then builds the next life.
    RestartAfter(Pin<Box<Sleep>>),
    /// Builds the next life.
    Restart,
}

/// What a turn of the guard led to.
enum Turn {
    /// Nothing to do before the next wake-up.
    Wait,
    /// Something changed: another turn.
    Again,
    /// The actor is over.
    Over,
}

impl<A> Guard<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    fn new(
        context: ContextFut<A, Context<A>>,
        tree: Tree,
        cell: Arc<ActorCell>,
        policy: RestartPolicy,
    ) -> Self {
        Guard {
            context: Some(context),
            tree,
            cell,
            policy,
            history: RestartHistory::default(),
            next: Next::Run,
        }
    }

    /// Polls the actor once.
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Turn {
        let Some(context) = &mut self.context else {
            return Turn::Over;
        };
        self.cell.poll_begins();
        let polled = panics::catch(|| Pin::new(&mut *context).poll(cx));
        self.cell.poll_ends(matches!(polled, Ok(Poll::Pending)));
        match polled {
            Ok(Poll::Pending) => Turn::Wait,
            Ok(Poll::Ready(())) => {
                self.end();
                Turn::Over
            }
            Err(report) => self.panicked(&report),
        }
    }

    /// Counts a panic of a turn or of a recovery and decides what comes next.
    fn panicked(&mut self, report: &PanicReport) -> Turn {
        self.cell.panicked(&report.to_string());
        if let Some(trace) = &report.backtrace {
            log::debug!("{} backtrace of the panic\n{trace}", self.cell.path());
        }
        let Some(pause) = self.history.panicked(&self.policy, Instant::now()) else {
            self.abandon();
            give_up(&self.tree, &self.cell, &self.policy, report);
            return Turn::Over;
        };
        log::warn!(
            "{} panicked, restarts restarts={} pause_ms={} error={report}",
            self.cell.path(),
            self.cell.restarts(),
            pause.as_millis()
        );
        self.next = match pause {
            Duration::ZERO => Next::Restart,
            pause => Next::RestartAfter(Box::pin(sleep(pause))),
        };
        Turn::Again
    }

    /// Builds the next life. A panic in recovery is counted like any other.
    fn restart(&mut self) -> Turn {
        let Some(context) = &mut self.context else {
            return Turn::Over;
        };
        match panics::catch(|| context.restart()) {
            Ok(true) => {
                self.next = Next::Run;
                self.cell.set_state(ActorState::Running);
                log::info!(
                    "{} restarted restarts={}",
                    self.cell.path(),
                    self.cell.restarts()
                );
                Turn::Again
            }
            Ok(false) => {
                // actix does not restart without an address; only timers could have woken it.
                log::warn!("{} not restarted: no address is left", self.cell.path());
                self.abandon();
                self.end();
                Turn::Over
            }
            Err(report) => self.panicked(&report),
        }
    }

    /// Drops the actor without `stopped`: what panicked is not called again.
    fn abandon(&mut self) {
        if let Some(mut context) = self.context.take() {
            context.ctx().terminate();
            if let Err(report) = panics::catch(move || drop(context)) {
                log::warn!("{} panicked while dropped error={report}", self.cell.path());
            }
        }
    }

    /// The actor stopped by itself.
    fn end(&mut self) {
        if let Some(context) = self.context.take()
            && let Err(report) = panics::catch(move || drop(context))
        {
            log::warn!("{} panicked while dropped error={report}", self.cell.path());
        }
        self.cell.finished();
        self.tree.remove(&self.cell);
    }
}

/// Closes the books of an actor that will not come back, then tells whom the policy names.
fn give_up(tree: &Tree, cell: &Arc<ActorCell>, policy: &RestartPolicy, report: &PanicReport) {
    cell.finished();
    tree.remove(cell);
    let error: Arc<str> = report.to_string().into();
    match policy.on_spent {
        OnSpent::Drop => log::warn!("{} panicked and is dropped error={error}", cell.path()),
        OnSpent::Escalate => {
            log::error!(
                "{} gives up restarts={} error={error}",
                cell.path(),
                cell.restarts()
            );
            let (path, kind, restarts) = (cell.path().clone(), cell.kind(), cell.restarts());
            tree.escalate(&ChildGaveUp {
                path,
                kind,
                error,
                restarts,
            });
        }
    }
}

impl<A> Future for Guard<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let turn = match &mut self.next {
                Next::Run => self.turn(cx),
                Next::Restart => self.restart(),
                Next::RestartAfter(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.restart()
                }
            };
            match turn {
                Turn::Wait => return Poll::Pending,
                Turn::Again => {}
                Turn::Over => return Poll::Ready(()),
            }
        }
    }
}

impl<A> Drop for Guard<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    /// The arbiter stops with the actor alive. actix would poll the context once more, which runs
    /// `started` without a reactor if it never ran before: terminate first.
    fn drop(&mut self) {
        if self.context.is_some() {
            self.abandon();
            self.cell.finished();
            self.tree.remove(&self.cell);
        }
    }
}
