//! The actor behind [`super::Filters`].

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::{Groups, SharedTable};
use crate::{
    actors::kernel::{ActorCell, Shutdown, lock},
    crashable,
    store::now_ms,
};

/// How often the table is written, as in RocketMQ's `BrokerController`.
const PERSIST_EVERY: Duration = Duration::from_secs(10);

/// Brings the expressions to disk, and notices groups that have gone.
pub struct FiltersActor {
    cell: Arc<ActorCell>,
    shared: Arc<SharedTable>,
}

impl FiltersActor {
    pub(super) fn recover(cell: Arc<ActorCell>, shared: Arc<SharedTable>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            let dead = |groups: &Groups| groups.values().filter(|entry| entry.data.dead).count();
            serde_json::json!({
                "topics": shown.by_topic.len(),
                "filters": shown.by_topic.iter().map(|groups| groups.len()).sum::<usize>(),
                "dead": shown.by_topic.iter().map(|groups| dead(&groups)).sum::<usize>(),
                "parsed_for_pulls": lock(&shown.parsed).len(),
            })
        });
        Self { cell, shared }
    }

    fn round(&mut self) {
        let now_ms = now_ms();
        let shared = &self.shared;
        shared.bury(now_ms, |_, group| shared.consumers.get(group).is_none());
        shared.clean(now_ms);
        self.save();
    }

    fn save(&mut self) {
        if !self.shared.dirty.swap(false, Relaxed) {
            return;
        }
        self.cell.fail_point("before_save");
        let table = self.shared.snapshot();
        let file = &self.shared.file;
        if !self.cell.write_file(|| lock(file).save(&table)) {
            self.shared.dirty.store(true, Relaxed);
        }
    }
}

impl Actor for FiltersActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(PERSIST_EVERY, |_, ctx| ctx.notify(Round));
    }
}

impl Supervised for FiltersActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.shared.clone());
        // What was being written may be half on disk.
        self.shared.dirty.store(true, Relaxed);
    }
}

crashable!(FiltersActor);

/// Look for groups that have gone, and write the table down.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Round;

impl Handler<Round> for FiltersActor {
    type Result = ();

    fn handle(&mut self, _: Round, _: &mut Self::Context) {
        self.cell.begin_work();
        self.round();
    }
}

impl Handler<Shutdown> for FiltersActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.save();
        ctx.stop();
    }
}
