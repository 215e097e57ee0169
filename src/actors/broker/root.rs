//! The root of a broker's tree: hears of every actor that gave up.
//!
//! Owns nothing. A queue that spent its restarts is born again by its shard at the next message, the
//! compacted one beside it by its service; anything else that gives up ends the process with a code that is not zero, for the store is made
//! to be recovered at a start.

use std::sync::Arc;

use actix::{Actor, ActorContext, Context, Handler, Supervised};

use crate::actors::kernel::{ActorCell, ChildGaveUp, Shutdown, Tree, after_drain};

/// The actor; see the module.
pub struct Root {
    cell: Arc<ActorCell>,
    tree: Tree,
}

impl Root {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, tree: Tree) -> Self {
        Self { cell, tree }
    }
}

impl Actor for Root {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Without an address it would end.
        after_drain(ctx, |_: &mut Self, _| {});
    }
}

impl Supervised for Root {}

impl Handler<ChildGaveUp> for Root {
    type Result = ();

    fn handle(&mut self, event: ChildGaveUp, _: &mut Self::Context) {
        self.cell.begin_work();
        if matches!(event.kind, "queue" | "compacted_queue") {
            log::error!("{} gave up; it is started anew", event.path);
            return;
        }
        self.tree.escalate_above(self.cell.path(), &event);
    }
}

impl Handler<Shutdown> for Root {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

crate::crashable!(Root);
