//! Accepts slaves. It owns the listening socket; a restart keeps it.

use std::{net::TcpListener, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ArbiterHandle, AsyncContext, Context, Handler, Supervised, WrapFuture,
};

use super::{HaParts, PATH, flow::FlowLimit, replicator::Replicator};
use crate::{
    actors::kernel::{ActorCell, RestartPolicy, Shutdown, Tree, spawn},
    crashable,
};

/// Connections of slaves at a time; more are closed at once.
const SLAVES_MAX: usize = 64;

/// Pause after an accept that failed, for the process may have no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often the bytes of the last second are published.
const SECOND: Duration = Duration::from_secs(1);

/// The actor; see the module.
pub struct HaListener {
    cell: Arc<ActorCell>,
    spawner: Spawner,
    socket: TcpListener,
}

/// What a replicator is made with.
#[derive(Clone)]
pub(super) struct Spawner {
    pub(super) tree: Tree,
    pub(super) arbiter: ArbiterHandle,
    /// Where the writer is, if slaves that keep up may be served from there.
    pub(super) beside_writer: Option<ArbiterHandle>,
    pub(super) parts: HaParts,
    pub(super) flow: FlowLimit,
}

impl HaListener {
    pub(super) fn new(cell: Arc<ActorCell>, spawner: Spawner, socket: TcpListener) -> Self {
        Self {
            cell,
            spawner,
            socket,
        }
    }

    /// Publishes what each slave was sent since the last time.
    fn count_seconds(&mut self, before: &mut Vec<(Arc<super::replicator::Replica>, u64)>) {
        let slaves = self.spawner.parts.watermarks.replicas().all();
        let now: Vec<_> = slaves
            .iter()
            .map(|slave| (Arc::clone(slave), slave.sent_bytes()))
            .collect();
        for (slave, sent) in &now {
            let earlier = before.iter().find(|(other, _)| Arc::ptr_eq(other, slave));
            slave.set_bytes_per_second(sent - earlier.map_or(0, |(_, sent)| *sent));
        }
        *before = now;
    }
}

async fn accept(cell: Arc<ActorCell>, socket: std::io::Result<TcpListener>, spawner: Spawner) {
    let listening = socket.and_then(tokio::net::TcpListener::from_std);
    let listening = listening.expect("the listening socket can be registered");
    loop {
        let (stream, peer) = match listening.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::warn!("{} cannot accept error=\"{error}\"", cell.path());
                actix_rt::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if spawner.parts.watermarks.replicas().all().len() >= SLAVES_MAX {
            log::warn!(
                "{} refuses a slave peer={peer}: there are {SLAVES_MAX}",
                cell.path()
            );
            continue;
        }
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!(
                    "{} loses a slave peer={peer} error=\"{error}\"",
                    cell.path()
                );
                continue;
            }
        };
        let (parts, flow) = (spawner.parts.clone(), spawner.flow.clone());
        let beside_writer = spawner.beside_writer.clone();
        spawn(
            &spawner.tree,
            PATH,
            &format!("replicator/{peer}"),
            "replicator",
            &spawner.arbiter,
            RestartPolicy::never(),
            move |cell| Replicator::new(cell, parts, flow, beside_writer, stream, peer),
        );
    }
}

impl Actor for HaListener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let accepting = accept(
            self.cell.clone(),
            self.socket.try_clone(),
            self.spawner.clone(),
        );
        ctx.spawn(accepting.into_actor(self));
        let mut before = Vec::new();
        ctx.run_interval(SECOND, move |listener, _| {
            listener.count_seconds(&mut before)
        });
    }
}

impl Supervised for HaListener {}

crashable!(HaListener);

impl Handler<Shutdown> for HaListener {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}
