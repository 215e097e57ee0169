//! Messages that belong to the kernel.

use std::sync::Arc;

use actix::Message;

/// Panics the actor that handles it: for drills and tests.
///
/// Every guarded actor handles it; [`crate::crashable!`] writes the handler. It runs between
/// messages and tears nothing; to crash in the middle of a turn arm a fail point with
/// [`super::ActorCell::arm`].
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Crash;

/// Asks an actor to finish what it holds and stop. The answer means that it is done.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Shutdown;

/// A descendant has spent its restart budget: its address is closed, its state is gone.
///
/// The supervisor starts a fresh child, or passes the message on with [`super::Tree::escalate`].
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct ChildGaveUp {
    /// The path of the actor that gave up.
    pub path: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// The panic that spent the budget.
    pub error: Arc<str>,
    /// Restarts over its whole life.
    pub restarts: u64,
}

/// Writes `Handler<Crash>` for an actor, which every guarded actor needs.
#[macro_export]
macro_rules! crashable {
    ($actor:ty) => {
        impl ::actix::Handler<$crate::actors::kernel::Crash> for $actor {
            type Result = ();
            fn handle(
                &mut self,
                _: $crate::actors::kernel::Crash,
                _: &mut <$actor as ::actix::Actor>::Context,
            ) {
                panic!("crash asked for");
            }
        }
    };
}
