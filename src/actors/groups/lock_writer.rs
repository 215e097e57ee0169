//! The actor that writes queue locks down.
//!
//! A lock is answered once the file has its new holder; one write serves all who wait. Renewals are
//! gathered for a while. It has no state of its own: a restart writes once more.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::locks::LockBook;
use crate::{
    actors::kernel::{ActorCell, Shutdown, now_ms},
    crashable,
    store::queue_locks::QueueLocksFile,
};

/// The actor.
pub struct LockWriter {
    cell: Arc<ActorCell>,
    book: Arc<LockBook>,
    file: QueueLocksFile,
}

/// Write down who holds what, unless the file says so; answered when that was tried. When the disk
/// refuses, locks are given all the same: consumption goes on, as without the file.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct WriteLocks;

impl LockWriter {
    /// An actor that writes `file`.
    pub fn recover(cell: Arc<ActorCell>, book: Arc<LockBook>, file: QueueLocksFile) -> Self {
        let shown = book.clone();
        cell.set_detail(
            move || serde_json::json!({ "locks": shown.total(), "behind": shown.is_behind() }),
        );
        Self { cell, book, file }
    }

    fn write(&self) {
        self.cell.fail_point("before_write");
        let save = |locks: &_| self.cell.write_file(|| self.file.save(locks));
        self.book.write(now_ms(), save);
    }

    fn write_if_stale(&self) {
        if self.book.is_stale() {
            self.write();
        }
    }
}

impl Actor for LockWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let every = Duration::from_millis(self.book.write_renewals_every_ms());
        ctx.run_interval(every, |act, _| act.write_if_stale());
    }
}

impl Supervised for LockWriter {
    fn restarting(&mut self, _: &mut Self::Context) {
        // What was being written may not be there.
        self.book.doubt_file();
    }
}

crashable!(LockWriter);

impl Handler<WriteLocks> for LockWriter {
    type Result = ();

    fn handle(&mut self, _: WriteLocks, _: &mut Self::Context) {
        self.cell.begin_work();
        if self.book.is_behind() {
            self.write();
        }
    }
}

impl Handler<Shutdown> for LockWriter {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.write_if_stale();
        ctx.stop();
    }
}
