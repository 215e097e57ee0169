//! The kernel: what every actor of the tree stands on.
//!
//! * [`spawn`] starts an actor inside a guard. A panic in any of its turns is caught, the actor
//!   is rebuilt by [`actix::Supervised::restarting`], and its mailbox and addresses live on: only
//!   the message that was being handled is lost (its sender sees [`ActorError::Gone`]).
//! * [`RestartPolicy`] is data: how many restarts within how long, with which back-off. A spent
//!   budget is escalated to the nearest ancestor that supervises ([`ActorRef::supervise`]), and
//!   past the last one to the closure given to [`Tree::on_gave_up`], which ends the process.
//! * [`ActorCell`] holds what the rest of the process may know about an actor without asking it.
//! * [`Tree`] maps paths such as `broker/store/commit_log_writer` to cells.
//! * [`ActorRef`] and [`TellRef`] are counted addresses, one reference count each to clone.
//! * [`elsewhere()`] runs a piece of an actor's work on another thread.
//! * [`after_drain`] is the group-commit hook: it runs once after each drain of the mailbox.
//!
//! ```
//! use actix::prelude::*;
//! use callboard::actors::kernel::{ActorCell, RestartPolicy, Tree, spawn};
//! use std::sync::Arc;
//!
//! struct Counter { cell: Arc<ActorCell>, total: u64 }
//! impl Actor for Counter { type Context = Context<Self>; }
//! impl Supervised for Counter {
//!     fn restarting(&mut self, _: &mut Context<Self>) { self.total = 0; }
//! }
//! callboard::crashable!(Counter);
//!
//! #[derive(Message)]
//! #[rtype(result = "u64")]
//! struct Add(u64);
//! impl Handler<Add> for Counter {
//!     type Result = u64;
//!     fn handle(&mut self, add: Add, _: &mut Context<Self>) -> u64 {
//!         self.cell.begin_work();
//!         self.total += add.0;
//!         self.total
//!     }
//! }
//!
//! actix::System::new().block_on(async {
//!     let tree = Tree::new("demo");
//!     let here = Arbiter::current();
//!     let counter = spawn(&tree, "demo", "counter", "counter", &here, RestartPolicy::default(),
//!         |cell| Counter { cell, total: 0 });
//!     assert_eq!(counter.ask(Add(2)).await.unwrap(), 2);
//! });
//! ```

mod actor_ref;
mod cell;
mod drain;
mod elsewhere;
mod guard;
mod messages;
mod panics;
mod permits;
mod policy;
mod shutdown;
mod threads;
mod tree;
mod watchdog;

pub use actor_ref::{ActorError, ActorRef, TellRef};
pub use cell::{ActorCell, ActorState};
pub use drain::after_drain;
pub use elsewhere::elsewhere;
pub use guard::spawn;
pub use messages::{ChildGaveUp, Crash, Shutdown};
pub use panics::PanicReport;
pub use permits::{Permit, PermitClass, PermitLimit, PermitUsage, Permits};
pub use policy::{OnSpent, RestartPolicy};
pub use shutdown::shutdown_in_order;
pub use threads::{Role, ThreadPlan, Threads};
pub use tree::{ActorView, MailboxView, Page, Tree};
pub use watchdog::{Watchdog, WatchdogConfig};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Locks a mutex whose data is valid at every moment, so that a panic elsewhere does not matter.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since the Unix epoch; 0 for a clock before it.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
}
