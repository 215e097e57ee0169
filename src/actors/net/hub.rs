//! The actor above listeners and connections, and what they share.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actix::{Actor, ArbiterHandle, AsyncContext, Context, Supervised};
use serde_json::json;
use tokio::net::TcpStream;

use super::ServiceFactory;
use super::config::{NetConfig, READ_LEN_ALL, READ_LEN_MAX, READ_LEN_SHARE_MIN};
use super::connection::Connection;
use super::handle::ConnectionHandle;
use super::listener::{Listener, bind};
use crate::actors::kernel::{
    ActorCell, ActorError, ActorRef, PermitClass, PermitLimit, Permits, RestartPolicy, Shutdown,
    Tree, lock, now_ms, spawn,
};

/// Counters of the network side, for metrics and the tree. Frames and bytes come a tick late.
#[derive(Debug, Default)]
pub struct NetCounters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because too many were open.
    pub refused: AtomicU64,
    /// Failed accepts, mostly for want of files.
    pub accept_errors: AtomicU64,
    /// Connections ended by a panic.
    pub crashed: AtomicU64,
    /// Connections closed because they were idle or stalled.
    pub timed_out: AtomicU64,
    /// Connections closed because a frame was malformed.
    pub bad_frames: AtomicU64,
    /// Frames read.
    pub received_frames: AtomicU64,
    /// Bytes read.
    pub received_bytes: AtomicU64,
    /// Bytes written.
    pub sent_bytes: AtomicU64,
}

/// Lets one log line a minute pass and counts the others.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    last_ms: AtomicU64,
    held_back: AtomicU64,
}

impl LogLimit {
    /// Calls `line` with the number of lines held back since the last one.
    pub(super) fn once_a_minute(&self, line: impl FnOnce(u64)) {
        let (now, last) = (now_ms(), self.last_ms.load(Relaxed));
        let due = last == 0 || now.saturating_sub(last) >= 60_000;
        if due
            && self
                .last_ms
                .compare_exchange(last, now, Relaxed, Relaxed)
                .is_ok()
        {
            line(self.held_back.swap(0, Relaxed));
        } else {
            self.held_back.fetch_add(1, Relaxed);
        }
    }
}

/// Shared by the listeners and connections of one server.
pub(super) struct Hub {
    pub(super) path: String,
    pub(super) permits: Permits,
    pub(super) counters: Arc<NetCounters>,
    pub(super) bad_frame_log: LogLimit,
    pub(super) accept_log: LogLimit,
    tree: Tree,
    config: Arc<NetConfig>,
    /// The arbiters of connections, each with the number it has.
    arbiters: Vec<(ArbiterHandle, AtomicUsize)>,
    next_id: AtomicU64,
    connections: Mutex<HashMap<u64, Arc<ConnectionHandle>>>,
}

impl Hub {
    /// Makes a connection out of an accepted socket, on the arbiter that has the fewest.
    pub(super) fn accepted(
        self: &Arc<Self>,
        stream: StdStream,
        peer: SocketAddr,
        factory: &ServiceFactory,
    ) {
        self.counters.accepted.fetch_add(1, Relaxed);
        let prepared = stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true))
            .and_then(|()| stream.local_addr());
        let Ok(local) = prepared else { return };
        if lock(&self.connections).len() >= self.config.connections_max {
            self.counters.refused.fetch_add(1, Relaxed);
            return;
        }
        let fewest = self
            .arbiters
            .iter()
            .enumerate()
            .min_by_key(|(_, (_, n))| n.load(Relaxed));
        let Some((arbiter, (place, load))) = fewest else {
            return;
        };
        load.fetch_add(1, Relaxed);
        let id = self.next_id.fetch_add(1, Relaxed);
        let (config, counters) = (self.config.clone(), self.counters.clone());
        let handle = Arc::new(ConnectionHandle::new(id, peer, local, config, counters));
        lock(&self.connections).insert(id, handle.clone());
        let parent = format!("{}/connection", self.path);
        let mut name = peer.to_string();
        if self.tree.contains(&format!("{parent}/{name}")) {
            // The same client port on two of our ports.
            name = format!("{name}#{id}");
        }
        let pending = Pending {
            hub: self.clone(),
            handle,
            arbiter,
            over: false,
        };
        let factory = factory.clone();
        let policy = RestartPolicy::never();
        spawn(
            &self.tree,
            &parent,
            &name,
            "connection",
            place,
            policy,
            move |cell| pending.connect(cell, stream, &factory),
        );
    }

    /// A connection is over.
    pub(super) fn closed(&self, handle: &ConnectionHandle, arbiter: usize, crashed: bool) {
        lock(&self.connections).remove(&handle.id);
        if let Some((_, load)) = self.arbiters.get(arbiter) {
            load.fetch_sub(1, Relaxed);
        }
        if crashed {
            self.counters.crashed.fetch_add(1, Relaxed);
        }
    }

    /// The largest buffer for one read of a connection of this arbiter: an equal share, because
    /// what is read past the permits is refused anyhow, and its bytes cost memory and cache.
    pub(super) fn read_len_max(&self, arbiter: usize) -> usize {
        let connections = self
            .arbiters
            .get(arbiter)
            .map(|(_, load)| load.load(Relaxed));
        (READ_LEN_ALL / connections.unwrap_or(1).max(1)).clamp(READ_LEN_SHARE_MIN, READ_LEN_MAX)
    }

    fn all(&self) -> Vec<Arc<ConnectionHandle>> {
        lock(&self.connections).values().cloned().collect()
    }

    fn detail(&self) -> serde_json::Value {
        let counters = &self.counters;
        json!({
            "connections": lock(&self.connections).len(),
            "accepted": counters.accepted.load(Relaxed),
            "refused": counters.refused.load(Relaxed),
            "accept_errors": counters.accept_errors.load(Relaxed),
            "crashed": counters.crashed.load(Relaxed),
            "timed_out": counters.timed_out.load(Relaxed),
            "bad_frames": counters.bad_frames.load(Relaxed),
            "received_frames": counters.received_frames.load(Relaxed),
            "received_bytes": counters.received_bytes.load(Relaxed),
            "sent_bytes": counters.sent_bytes.load(Relaxed),
            "inbound": self.permits.usage(PermitClass::Inbound),
        })
    }
}

/// A connection on its way to its arbiter: if it never gets there its place is given back.
struct Pending {
    hub: Arc<Hub>,
    handle: Arc<ConnectionHandle>,
    arbiter: usize,
    over: bool,
}

impl Pending {
    fn connect(
        mut self,
        cell: Arc<ActorCell>,
        stream: StdStream,
        factory: &ServiceFactory,
    ) -> Connection {
        let stream = TcpStream::from_std(stream).expect("an accepted socket can be registered");
        let service = factory(&self.handle);
        let shown = Arc::downgrade(&self.handle);
        cell.set_detail(move || {
            shown.upgrade().map_or(serde_json::Value::Null, |conn| {
                json!({
                    "id": conn.id,
                    "local": conn.local.to_string(),
                    "opened_ms": conn.opened_ms,
                    "received_frames": conn.received_frames(),
                    "received_bytes": conn.received_bytes(),
                    "in_flight": conn.in_flight(),
                    "unsent_bytes": conn.unsent_bytes(),
                })
            })
        });
        self.over = true;
        let (hub, handle) = (self.hub.clone(), self.handle.clone());
        Connection::new(cell, hub, self.arbiter, handle, stream, service)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.over {
            self.handle.finish();
            self.hub.closed(&self.handle, self.arbiter, true);
        }
    }
}

/// The ticker: looks at every connection once a tick. A restart loses nothing, for what it
/// compares is kept with the connections.
struct HubActor {
    cell: Arc<ActorCell>,
    hub: Arc<Hub>,
}

impl Actor for HubActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(self.hub.config.tick, |actor, _| actor.tick());
    }
}

impl HubActor {
    fn tick(&mut self) {
        self.cell.beat();
        let now = Instant::now();
        for connection in self.hub.all() {
            connection.tick(now);
            connection.nudge();
        }
    }
}

impl Supervised for HubActor {}

crate::crashable!(HubActor);

/// The network side of one server: its listeners and connections.
#[derive(Clone)]
pub struct Net {
    hub: Arc<Hub>,
    actor: ActorRef<HubActor>,
    listeners: Arc<Mutex<Vec<ActorRef<Listener>>>>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Net({})", self.hub.path)
    }
}

impl Net {
    /// Starts the network side at `parent/net`. Connections are spread over `arbiters`; listeners
    /// and ticker live on the first.
    ///
    /// # Panics
    /// Without an arbiter.
    pub fn start(
        tree: &Tree,
        parent: &str,
        arbiters: Vec<ArbiterHandle>,
        config: NetConfig,
    ) -> Net {
        let first = arbiters
            .first()
            .expect("the network needs an arbiter")
            .clone();
        let inbound = PermitLimit {
            count_max: usize::MAX,
            bytes_max: config.inbound_bytes_max,
        };
        let hub = Arc::new(Hub {
            path: format!("{parent}/net"),
            permits: Permits::new(&[(PermitClass::Inbound, inbound)]),
            counters: Arc::default(),
            bad_frame_log: LogLimit::default(),
            accept_log: LogLimit::default(),
            tree: tree.clone(),
            config: Arc::new(config),
            arbiters: arbiters
                .into_iter()
                .map(|one| (one, AtomicUsize::new(0)))
                .collect(),
            next_id: AtomicU64::new(1),
            connections: Mutex::default(),
        });
        let (own, shown) = (hub.clone(), hub.clone());
        let policy = tree.restart_policy();
        let actor = spawn(tree, parent, "net", "net", &first, policy, move |cell| {
            cell.set_detail(move || shown.detail());
            HubActor { cell, hub: own }
        });
        Net {
            hub,
            actor,
            listeners: Arc::default(),
        }
    }

    /// Binds and accepts on `address`; yields the address bound, for port 0.
    ///
    /// # Errors
    /// Whatever binding says, mostly that the address is in use.
    pub fn listen(&self, address: SocketAddr, factory: ServiceFactory) -> io::Result<SocketAddr> {
        let socket = bind(address, &self.hub.config)?;
        let bound = socket.local_addr()?;
        let parent = format!("{}/listener", self.hub.path);
        let name = bound.port().to_string();
        let Some((arbiter, _)) = self.hub.arbiters.first() else {
            return Ok(bound);
        };
        let (hub, policy) = (self.hub.clone(), self.hub.tree.restart_policy());
        let make = move |cell| Listener::new(cell, hub, factory, socket);
        let listener = spawn(
            &self.hub.tree,
            &parent,
            &name,
            "listener",
            arbiter,
            policy,
            make,
        );
        lock(&self.listeners).push(listener);
        Ok(bound)
    }

    /// The open connections.
    pub fn connections(&self) -> Vec<Arc<ConnectionHandle>> {
        self.hub.all()
    }

    /// The connection with this id, while it is open.
    pub fn connection(&self, id: u64) -> Option<Arc<ConnectionHandle>> {
        lock(&self.hub.connections).get(&id).cloned()
    }

    /// The counters.
    pub fn counters(&self) -> &Arc<NetCounters> {
        &self.hub.counters
    }

    /// The cell of the actor at `parent/net`.
    pub fn cell(&self) -> &Arc<ActorCell> {
        self.actor.cell()
    }

    /// Stops accepting; open connections stay.
    pub async fn stop_listening(&self) {
        let listeners = std::mem::take(&mut *lock(&self.listeners));
        for listener in listeners {
            let stopped: Result<(), ActorError> = listener.ask(Shutdown).await;
            if stopped.is_err() {
                log::debug!("{} was stopped already", listener.cell().path());
            }
        }
    }

    /// Closes every connection; answers not written yet are lost.
    pub fn close_all(&self) {
        self.hub
            .all()
            .iter()
            .for_each(|connection| connection.close());
    }
}
