//! The snapshot actor: writes the route tables down while they change, and once more at the end.
//!
//! It looks at the tables at every tick and writes when they changed, or when the signs of life in
//! the file have become old. It has no state that matters: a restart writes once more.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Supervised};

use super::shared::Shared;
use crate::actors::kernel::{ActorCell, Shutdown};
use crate::routes::snapshot::Snapshot;

/// Age of the signs of life in the file after which it is written though nothing else changed.
const REFRESH_MS: u64 = 20_000;
/// Longest that writing may take before the actor counts as stuck.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// The actor.
pub struct SnapshotWriter {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    path: PathBuf,
    /// State of the tables that the file has, and when it was written.
    written: Option<(u64, u64)>,
}

impl SnapshotWriter {
    /// An actor that writes `path`.
    pub fn new(cell: Arc<ActorCell>, shared: Arc<Shared>, path: PathBuf) -> Self {
        Self {
            cell,
            shared,
            path,
            written: None,
        }
    }

    fn write_if_old(&mut self) {
        let now_ms = self.shared.now_ms();
        let changes = self.shared.tables.changes();
        let nobody = self.shared.tables.counts() == (0, 0, 0);
        let fresh = match self.written {
            Some((seen, at_ms)) => {
                seen == changes && (nobody || now_ms.saturating_sub(at_ms) < REFRESH_MS)
            }
            None => false,
        };
        if !fresh {
            self.write(changes, now_ms);
        }
    }

    fn write(&mut self, changes: u64, now_ms: u64) {
        let snapshot = Snapshot::take(&self.shared.tables, now_ms);
        let written = self
            .cell
            .blocking(WRITE_LIMIT, || snapshot.write(&self.path));
        if let Err(error) = written {
            let path = self.path.display();
            log::error!("{} not written file={path} error={error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
        }
        // After an error too: the next change or refresh tries again, not every tick.
        self.written = Some((changes, now_ms));
    }
}

impl Actor for SnapshotWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let delay = self
            .shared
            .config
            .load()
            .own_namesrv
            .route_snapshot_delay_ms;
        let delay = Duration::from_millis(delay.clamp(10, 3_600_000));
        ctx.run_interval(delay, |actor, _| {
            actor.cell.beat();
            actor.write_if_old();
        });
    }
}

impl Supervised for SnapshotWriter {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.written = None;
    }
}

crate::crashable!(SnapshotWriter);

impl Handler<Shutdown> for SnapshotWriter {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        let (changes, now_ms) = (self.shared.tables.changes(), self.shared.now_ms());
        self.write(changes, now_ms);
        ctx.stop();
    }
}
