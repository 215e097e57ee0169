//! The NameServer: which brokers there are, and which topics they have.
//!
//! ```text
//! namesrv
//! ├─ route_table   changes routes; owner of every table in [`crate::routes::tables`]
//! ├─ liveness      looks for brokers that fell silent
//! ├─ kv_config     changes keys, values and configuration; owner of both files
//! ├─ snapshot      writes the routes down, so that a restart answers at once
//! ├─ notifier      tells brokers that their group's smallest id changed
//! ├─ net           listener and connections
//! └─ console       the debug endpoint, where the program starts it
//! ```
//!
//! Questions are answered by the connection that reads them, out of published tables; only
//! changes travel to an actor. What an actor's crash loses:
//!
//! | actor | lost | those concerned | back after |
//! |-------|------|-----------------|------------|
//! | route_table | the change being made, departures collected in that turn | answered "outcome unknown"; departures are found by liveness | one turn; tables are brought in line |
//! | liveness | nothing | | the next tick |
//! | kv_config | the change being made | answered "outcome unknown" | one turn |
//! | snapshot | nothing | | the next tick writes |
//! | notifier | notices on their way | brokers look at their group by themselves | one turn |

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Arbiter, ArbiterHandle, Context, Handler};
use thiserror::Error;

use self::kv_config::KvConfig;
use self::liveness::Liveness;
use self::notifier::Notifier;
use self::route_table::RouteTable;
use self::service::Doors;
use self::shared::{Clock, Shared};
use self::snapshot_writer::SnapshotWriter;
use crate::actors::kernel::{
    ActorRef, PermitClass, PermitLimit, Permits, Shutdown, Tree, now_ms, spawn,
};
use crate::actors::net::{Net, NetConfig};
use crate::config::{Live, NamesrvConfig, OwnSection};
use crate::protocol::body::files::KvConfigTable;
use crate::routes::{registry, snapshot::Snapshot};
use crate::store::error::StoreError;
use crate::store::fs::RealFs;
use crate::store::tables::{ConfigFile, load_kv_config};

mod debug;
pub mod json;
pub mod kv_config;
pub mod liveness;
pub mod notifier;
pub mod registration;
pub mod route_table;
pub mod service;
pub mod shared;
pub mod snapshot_writer;

/// Path of a NameServer in its tree.
pub const ROOT: &str = "namesrv";
/// Longest that one actor may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Why a NameServer did not start.
#[derive(Debug, Error)]
pub enum NamesrvError {
    /// `bindAddress` is no address.
    #[error("bindAddress={0}: an address is wanted")]
    BindAddress(String),
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The key-value file is damaged, and so is its backup.
    #[error("the key-value file cannot be read: {0}")]
    Kv(#[source] StoreError),
}

/// Threads that a NameServer's actors live on.
#[derive(Debug, Clone)]
pub struct NamesrvThreads {
    /// Connections.
    pub network: Vec<ArbiterHandle>,
    /// Route table, liveness, notifier.
    pub tables: ArbiterHandle,
    /// Whatever writes files.
    pub disk: ArbiterHandle,
}

impl NamesrvThreads {
    /// New threads: as many for the network as `networkThreads` says, by default half the cores.
    pub fn spawn(own: &OwnSection) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let network = match own.network_threads {
            0 => cores / 2,
            threads => threads,
        };
        Self {
            network: (0..network.clamp(1, 64))
                .map(|n| named(format!("net-{n}")))
                .collect(),
            tables: named("tables".to_owned()),
            disk: named("disk".to_owned()),
        }
    }

    /// Everything on the caller's thread: for tests.
    pub fn current() -> Self {
        let here = Arbiter::current();
        Self {
            network: vec![here.clone()],
            tables: here.clone(),
            disk: here,
        }
    }
}

/// A thread that shows its name in ps and top.
fn named(name: String) -> ArbiterHandle {
    let arbiter = Arbiter::new().handle();
    arbiter.spawn_fn(move || {
        if let Ok(name) = std::ffi::CString::new(name) {
            let _ = rustix::thread::set_name(&name);
        }
    });
    arbiter
}

/// A NameServer that runs.
pub struct Namesrv {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its tables and configuration.
    pub shared: Arc<Shared>,
    /// Its network side.
    pub net: Net,
    /// Its liveness actor, for those who do not want to wait for its tick.
    pub liveness: ActorRef<Liveness>,
    /// Its route table actor.
    pub route_table: ActorRef<RouteTable>,
    permits: Permits,
    kv: ActorRef<KvConfig>,
    snapshot: Option<ActorRef<SnapshotWriter>>,
    notifier: ActorRef<Notifier>,
}

impl Namesrv {
    /// Reads the files, starts the actors and listens. `clock` is the system's where none is
    /// given.
    pub fn start(
        config: NamesrvConfig,
        tree: &Tree,
        threads: &NamesrvThreads,
        clock: Option<Clock>,
    ) -> Result<Self, NamesrvError> {
        let bind_address = config.server.bind_address.clone();
        let ip: IpAddr = bind_address
            .parse()
            .map_err(|_| NamesrvError::BindAddress(bind_address))?;
        let address = SocketAddr::new(ip, config.namesrv.listen_port);
        let own = &config.own;
        tree.set_restart_budget(own.actor_restarts_max, own.actor_restarts_within_ms);
        let policy = tree.restart_policy();
        let permits = control_permits(&config.own);
        let net_config = NetConfig::of(&config.server, &config.own);
        let shared = Shared::new(Live::new(config), clock.unwrap_or_else(|| Arc::new(now_ms)));
        let kv_file = recover(&shared)?;

        let notifier = spawn(
            tree,
            ROOT,
            "notifier",
            "notifier",
            &threads.tables,
            policy,
            Notifier::new,
        );
        let (own, to_notifier) = (shared.clone(), notifier.clone());
        let route_table = spawn(
            tree,
            ROOT,
            "route_table",
            "route_table",
            &threads.tables,
            policy,
            move |cell| RouteTable::new(cell, own, to_notifier),
        );
        let (own, to_table) = (shared.clone(), route_table.clone());
        let liveness = spawn(
            tree,
            ROOT,
            "liveness",
            "liveness",
            &threads.tables,
            policy,
            move |cell| Liveness::new(cell, own, to_table),
        );
        let own = shared.clone();
        let kv = spawn(
            tree,
            ROOT,
            "kv_config",
            "kv_config",
            &threads.disk,
            policy,
            move |cell| KvConfig::new(cell, own, kv_file),
        );
        let snapshot = shared.config.load().route_snapshot_path().map(|path| {
            let own = shared.clone();
            spawn(
                tree,
                ROOT,
                "snapshot",
                "snapshot",
                &threads.disk,
                policy,
                move |cell| SnapshotWriter::new(cell, own, path),
            )
        });
        let net = Net::start(tree, ROOT, threads.network.clone(), net_config);
        let doors = Doors {
            shared: shared.clone(),
            route_table: route_table.clone(),
            kv: kv.clone(),
            permits: permits.clone(),
        };
        let address = net
            .listen(address, doors.factory())
            .map_err(|source| NamesrvError::Listen { address, source })?;
        Ok(Self {
            address,
            shared,
            net,
            liveness,
            route_table,
            permits,
            kv,
            snapshot,
            notifier,
        })
    }

    /// Stops in order: no new connections, no more changes, a last snapshot, then the connections
    /// are closed (their brokers are not unregistered by that).
    pub async fn shutdown(&self) {
        self.net.stop_listening().await;
        stop(&self.liveness).await;
        stop(&self.route_table).await;
        if let Some(snapshot) = &self.snapshot {
            stop(snapshot).await;
        }
        stop(&self.kv).await;
        stop(&self.notifier).await;
        self.net.close_all();
    }
}

async fn stop<A>(actor: &ActorRef<A>)
where
    A: Actor<Context = Context<A>> + Handler<Shutdown>,
    A::Context: ToEnvelope<A, Shutdown>,
{
    let path = actor.cell().path();
    match tokio::time::timeout(STOP_LIMIT, actor.ask(Shutdown)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("{path} did not stop in order error={error}"),
        Err(_) => log::warn!("{path} did not stop in time"),
    }
}

/// Fills the tables from the files, and forgets at once who has been silent for too long. Returns the
/// key-value file, for its actor.
fn recover(shared: &Shared) -> Result<ConfigFile<KvConfigTable>, NamesrvError> {
    let config = shared.config.load();
    let kv_path = &config.namesrv.kv_config_path;
    let (kv_file, kv) = load_kv_config(RealFs::shared(), kv_path).map_err(NamesrvError::Kv)?;
    shared.kv.store(kv.unwrap_or_default().config_table);
    let Some(path) = config.route_snapshot_path() else {
        return Ok(kv_file);
    };
    match Snapshot::read(&path) {
        Ok(None) => {}
        Ok(Some(snapshot)) => {
            let tables = &shared.tables;
            snapshot.restore(tables);
            registry::reconcile(tables);
            let silent = registry::missed(tables, shared.now_ms());
            let leaving = silent
                .iter()
                .filter_map(|(id, _)| registry::unregistration_of(tables, id));
            let leaving: Vec<_> = leaving.collect();
            registry::unregister(tables, &leaving);
            let (topics, groups, live) = tables.counts();
            log::info!(
                "{ROOT}/route_table restored topics={topics} groups={groups} live_brokers={live}"
            );
        }
        Err(error) => {
            log::warn!(
                "{ROOT}/route_table snapshot not used file={} error={error}",
                path.display()
            );
        }
    }
    Ok(kv_file)
}

fn control_permits(own: &OwnSection) -> Permits {
    let limit = PermitLimit {
        count_max: own.permit_controls,
        bytes_max: own.permit_control_bytes,
    };
    Permits::new(&[(PermitClass::Control, limit)])
}
