//! The group-commit hook.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext};

/// A context-spawned future that never ends and acts at each poll.
struct AfterDrain<F>(F);

impl<A, F> ActorFuture<A> for AfterDrain<F>
where
    A: Actor,
    F: FnMut(&mut A, &mut A::Context) + Unpin + 'static,
{
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        act: &mut A,
        ctx: &mut A::Context,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        (self.0)(act, ctx);
        Poll::Pending
    }
}

/// Runs `act` after each drain of the mailbox, once per wake-up of the actor.
///
/// Handlers collect, `act` commits: one write serves every message of the drain. actix 0.13 polls
/// a context's futures right after it has emptied the mailbox, which is what this relies on
/// (`tests/supervision_kernel.rs` checks it). Call it in `started`, which runs again after every
/// restart. `act` is also called when nothing was collected, and must be cheap then. A mailbox
/// that never empties would never commit: handlers call the same function at a bound of their own.
/// The actor no longer stops when its last address is dropped: it must stop itself.
pub fn after_drain<A, F>(ctx: &mut A::Context, act: F)
where
    A: Actor,
    A::Context: AsyncContext<A>,
    F: FnMut(&mut A, &mut A::Context) + Unpin + 'static,
{
    ctx.spawn(AfterDrain(act));
}
