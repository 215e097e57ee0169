//! The liveness actor: looks for brokers that fell silent.
//!
//! It reads the published table of live brokers and tells the route table whom it misses. It has
//! no state; a restart loses nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::route_table::{Expired, RouteTable};
use super::shared::Shared;
use crate::actors::kernel::{ActorCell, ActorRef, Shutdown};
use crate::routes::registry;

/// Looks at once; the answer is how many brokers were missed.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct Scan;

/// The actor.
pub struct Liveness {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    route_table: ActorRef<RouteTable>,
}

impl Liveness {
    /// An actor that tells `route_table`.
    pub fn new(
        cell: Arc<ActorCell>,
        shared: Arc<Shared>,
        route_table: ActorRef<RouteTable>,
    ) -> Self {
        Self {
            cell,
            shared,
            route_table,
        }
    }

    fn scan(&mut self) -> usize {
        let missed = registry::missed(&self.shared.tables, self.shared.now_ms());
        for (identity, live) in &missed {
            let timeout_ms = live.timeout_ms;
            log::warn!(
                "{} broker is silent addr={identity} timeout_ms={timeout_ms}",
                self.cell.path()
            );
            if let Some(channel) = &live.channel {
                channel.close();
            }
            self.route_table.tell(Expired {
                identity: identity.clone(),
            });
        }
        missed.len()
    }
}

impl Actor for Liveness {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let interval = self
            .shared
            .config
            .load()
            .namesrv
            .scan_not_active_broker_interval_ms;
        let interval = Duration::from_millis(interval.clamp(10, 3_600_000));
        ctx.run_interval(interval, |actor, _| {
            actor.cell.beat();
            actor.scan();
        });
    }
}

impl Supervised for Liveness {}

crate::crashable!(Liveness);

impl Handler<Scan> for Liveness {
    type Result = usize;

    fn handle(&mut self, _: Scan, _: &mut Self::Context) -> usize {
        self.cell.begin_work();
        self.scan()
    }
}

impl Handler<Shutdown> for Liveness {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}
