//! The `groups` actor.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::{consumers::ConsumerGroups, producers::ProducerGroups};
use crate::{
    actors::kernel::{ActorCell, ChildGaveUp, Shutdown, now_ms},
    crashable,
};

/// How often silent clients are looked for.
const SCAN_EVERY: Duration = Duration::from_secs(10);

/// Above all groups' actors: looks for silent clients and replaces an actor that gave up.
///
/// It has no state; a restart loses nothing.
pub struct Groups {
    pub(super) cell: Arc<ActorCell>,
    pub(super) consumers: ConsumerGroups,
    pub(super) producers: ProducerGroups,
}

impl Actor for Groups {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (consumers, producers) = (self.consumers.clone(), self.producers.clone());
        self.cell.set_detail(move || {
            serde_json::json!({
                "consumer_groups": consumers.len(),
                "producer_groups": producers.len(),
                "actors_made": consumers.actors_made(),
            })
        });
        ctx.run_interval(SCAN_EVERY, |_, ctx| ctx.notify(Scan { now_ms: now_ms() }));
    }
}

impl Supervised for Groups {}

crashable!(Groups);

/// Look for silent clients now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Scan {
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Handler<Scan> for Groups {
    type Result = ();

    fn handle(&mut self, scan: Scan, _: &mut Self::Context) {
        self.cell.begin_work();
        let config = self.consumers.config();
        let limit_ms = u64::try_from(config.broker.channel_expired_timeout_ms).unwrap_or(0);
        let subscription_limit_ms = config.broker.subscription_expired_timeout_ms;
        drop(config);
        self.consumers.scan(scan.now_ms, limit_ms);
        self.consumers
            .forget_pulls(scan.now_ms, subscription_limit_ms);
        self.producers.expire(scan.now_ms, limit_ms);
    }
}

impl Handler<ChildGaveUp> for Groups {
    type Result = ();

    fn handle(&mut self, child: ChildGaveUp, _: &mut Self::Context) {
        self.cell.begin_work();
        log::error!(
            "{} starts afresh path={} error={}",
            self.cell.path(),
            child.path,
            child.error
        );
        self.consumers.forget(&child.path);
    }
}

impl Handler<Shutdown> for Groups {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.consumers.shut_down();
        ctx.stop();
    }
}
