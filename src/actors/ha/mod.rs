//! Replication on RocketMQ's HA protocol: a master's log, byte for byte, on its slaves.
//!
//! ```text
//! broker/ha/listener           accepts slaves
//! broker/ha/replicator/<peer>  the master's side of one slave: sends the log, takes reports
//! broker/ha/follower           the slave's side: hands raw bytes to the writer, reports
//! broker/ha/mirror             the slave's side: topics, groups and offsets of its master
//! ```
//!
//! Every broker listens: a slave gives its log to others, as RocketMQ's does. Where RocketMQ's
//! protocol is silent: a report beyond the end of the log is refused; an acknowledgement counts only
//! for what was sent on its connection; in SYNC_FLUSH only what is on disk is sent; and a follower
//! asks for the last bytes that it has once more and compares them, so that two histories are told
//! apart before anything is appended.

mod flow;
mod follower;
mod listener;
mod mirror;
mod replicator;
mod status;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    flow::FlowLimit,
    follower::{Follower, FollowerParts},
    listener::{HaListener, Spawner},
    mirror::{Mirror, MirrorParts},
};
use super::{
    kernel::{
        ActorRef, RestartPolicy, Role, Shutdown, Threads, Tree, now_ms, shutdown_in_order, spawn,
    },
    net::{NetConfig, bind},
    store::{
        acks::Acks, commit_log_writer::CommitLogWriter, dispatcher::Dispatcher,
        watermarks::Watermarks,
    },
};
use crate::config::{
    BrokerConfig, Derived,
    store::{BrokerRole, FlushDiskType},
};

pub use self::{follower::FollowerStatus, mirror::MirrorSource, status::runtime_info};

/// Where the actors stand in the tree.
const PATH: &str = "broker/ha";

/// How long a broker that stops gives its slaves to take the rest of the log.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Times and sizes of replication; follows the configuration.
#[derive(Debug, Clone, Copy)]
pub struct HaPolicy {
    /// Pause after which a side that has nothing to say says so (`haSendHeartbeatInterval`).
    pub heartbeat: Duration,
    /// Silence of the other side after which a connection is closed (`haHousekeepingInterval`).
    pub housekeeping: Duration,
    /// Bytes of log in one transfer (`haTransferBatchSize`).
    pub batch_len: usize,
    /// Bytes behind which a slave does not count as in sync (`haMaxGapNotInSync`).
    pub gap_max: i64,
    /// Bytes a second that all slaves together are sent; `None` without a limit.
    pub bytes_per_second_max: Option<u64>,
    /// Slaves that have to hold a message before its send is answered.
    pub slaves_needed: usize,
}

impl HaPolicy {
    /// As the configuration has it.
    pub fn of(config: &BrokerConfig) -> Self {
        let store = &config.store;
        let ms = |value: i64| Duration::from_millis(value.max(1) as u64);
        Self {
            heartbeat: ms(store.ha_send_heartbeat_interval_ms),
            housekeeping: ms(store.ha_housekeeping_interval_ms),
            batch_len: store.ha_transfer_batch_bytes.clamp(1, 1 << 20),
            gap_max: store.ha_max_gap_not_in_sync_bytes,
            bytes_per_second_max: store
                .ha_flow_control_enable
                .then(|| store.max_ha_transfer_byte_in_second.max(1) as u64),
            slaves_needed: super::broker::settings::slaves_in_sync(config),
        }
    }
}

/// What both sides of replication are made of.
#[derive(Clone)]
pub struct HaParts {
    /// Positions of the log, and its slaves.
    pub watermarks: Watermarks,
    /// The one who appends.
    pub writer: ActorRef<CommitLogWriter>,
    /// Holds the answers that wait for slaves.
    pub acks: ActorRef<Acks>,
    /// Hands over what became visible.
    pub dispatcher: ActorRef<Dispatcher>,
    /// Times and sizes.
    pub policy: Derived<HaPolicy>,
    /// SYNC_FLUSH: only what is on disk is sent, and reported.
    pub flushed_only: bool,
}

impl HaParts {
    /// Up to where the log may be sent, or be reported as held.
    fn limit(&self) -> i64 {
        let whole = self.watermarks.whole();
        if self.flushed_only {
            whole.min(self.watermarks.flushed())
        } else {
            whole
        }
    }
}

/// Replication of a running broker.
pub struct Ha {
    parts: HaParts,
    is_master: bool,
    listener: ActorRef<HaListener>,
    follower: Option<(ActorRef<Follower>, Arc<FollowerStatus>)>,
    mirror: Option<ActorRef<Mirror>>,
}

impl Ha {
    /// Listens for slaves on `address`; on a slave, follows the master that `source` names.
    ///
    /// # Errors
    /// Whatever binding says, mostly that the address is in use.
    pub fn start(
        tree: &Tree,
        threads: &Threads,
        address: SocketAddr,
        parts: HaParts,
        config: &BrokerConfig,
        source: MirrorSource,
    ) -> std::io::Result<Self> {
        let socket = bind(address, &NetConfig::default())?;
        let policy = tree.restart_policy();
        let arbiter = threads.get(Role::Ha);
        let spawner = Spawner {
            tree: tree.clone(),
            arbiter: arbiter.clone(),
            // With a thread of its own the log is a hop away from the answer anyway.
            beside_writer: (!threads.plan().log).then(|| threads.get(Role::Log)),
            parts: parts.clone(),
            flow: FlowLimit::default(),
        };
        let listener = spawn(
            tree,
            PATH,
            "listener",
            "ha_listener",
            &arbiter,
            policy,
            move |cell| HaListener::new(cell, spawner, socket),
        );
        let is_master = config.store.broker_role != BrokerRole::Slave;
        let mut ha = Self {
            parts,
            is_master,
            listener,
            follower: None,
            mirror: None,
        };
        if !is_master {
            ha.follow(tree, threads, policy, config, source);
        }
        Ok(ha)
    }

    fn follow(
        &mut self,
        tree: &Tree,
        threads: &Threads,
        policy: RestartPolicy,
        config: &BrokerConfig,
        source: MirrorSource,
    ) {
        let status = Arc::new(FollowerStatus::default());
        let parts = FollowerParts {
            ha: self.parts.clone(),
            fixed_address: config.store.ha_master_address.clone(),
            registrars: source.registrars.clone(),
            status: Arc::clone(&status),
        };
        let follower = spawn(
            tree,
            PATH,
            "follower",
            "follower",
            // Beside the writer: it has nothing to do but to hand it what came.
            &threads.get(Role::Log),
            policy,
            move |cell| Follower::recover(cell, parts),
        );
        self.follower = Some((follower, status));
        let parts = MirrorParts::new(source);
        let mirror = spawn(
            tree,
            PATH,
            "mirror",
            "mirror",
            &threads.get(Role::Ha),
            policy,
            move |cell| Mirror::recover(cell, parts),
        );
        self.mirror = Some(mirror);
    }

    /// On a slave: whether the master was heard within a few heartbeats.
    pub fn master_alive(&self) -> bool {
        let policy = self.parts.policy.load();
        let follower = self.follower.as_ref();
        follower.is_some_and(|(_, status)| {
            let silent_ms = now_ms().saturating_sub(status.last_read_ms());
            status.is_connected() && u128::from(silent_ms) < policy.housekeeping.as_millis()
        })
    }

    /// What code 907 tells.
    pub fn runtime_info(&self) -> crate::protocol::body::ha::HaRuntimeInfo {
        let follower = self.follower.as_ref().map(|(_, status)| &**status);
        runtime_info(&self.parts, self.is_master, follower)
    }

    /// Lets the slaves take what is left of the log, for a short while, and ends.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let begun = Instant::now();
        let end = self.parts.limit();
        let behind = || {
            let slaves = self.parts.watermarks.replicas().all();
            slaves
                .iter()
                .any(|slave| slave.next() >= 0 && slave.acked() < end)
        };
        while behind() && begun.elapsed() < DRAIN_MAX.min(deadline) {
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
        let mut steps = vec![self.listener.narrow::<Shutdown>()];
        steps.extend(self.mirror.iter().map(ActorRef::narrow));
        steps.extend(self.follower.iter().map(|(actor, _)| actor.narrow()));
        shutdown_in_order(&steps, deadline).await.is_empty()
    }
}

/// Whether only what is on disk is sent and reported.
pub fn flushed_only(config: &BrokerConfig) -> bool {
    config.store.flush_disk_type == FlushDiskType::Sync
}
