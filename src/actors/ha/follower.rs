//! The slave's side of replication: hands its master's bytes to the writer and reports what it has.
//!
//! Owns the socket to the master. It knows its place by the log alone, so that a restart connects
//! again and goes on where the log ends. Where the master's log differs from what is here it stops,
//! names file and offset, and overwrites nothing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Supervised, WrapFuture,
    fut::ActorFutureExt,
};

use self::session::{End, Session};
use super::HaParts;
use crate::{
    actors::{
        broker::registrar::Registrars,
        kernel::{ActorCell, Shutdown, lock, now_ms},
    },
    crashable,
};

mod session;

/// Pause before the second try to connect, and before the later ones at most.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often the NameServers are asked for the master while none is known, and how often it is looked
/// whether one told.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// See [`ASK_EVERY`].
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a follower is made of.
#[derive(Clone)]
pub(super) struct FollowerParts {
    pub(super) ha: HaParts,
    /// `haMasterAddress`: follow this one, whatever the NameServers say.
    pub(super) fixed_address: Option<String>,
    pub(super) registrars: Registrars,
    pub(super) status: Arc<FollowerStatus>,
}

impl FollowerParts {
    /// Where the master's replication is.
    fn master(&self) -> Option<String> {
        self.fixed_address.clone().or_else(|| {
            let master = self.registrars.master()?;
            Some(master.ha_server_addr.clone()).filter(|address| !address.is_empty())
        })
    }
}

/// Published: how the follower is.
#[derive(Debug, Default)]
pub struct FollowerStatus {
    master: Mutex<String>,
    /// What it is about, for people.
    state: Mutex<String>,
    last_read_ms: AtomicU64,
    last_write_ms: AtomicU64,
    read_bytes: AtomicU64,
    bytes_per_second: AtomicU64,
    connected: AtomicBool,
}

impl FollowerStatus {
    /// The master's replication address; empty while none is known.
    pub fn master(&self) -> String {
        lock(&self.master).clone()
    }

    /// What it is about, for people.
    pub fn state(&self) -> String {
        lock(&self.state).clone()
    }

    /// When the master was last heard, ms.
    pub fn last_read_ms(&self) -> u64 {
        self.last_read_ms.load(Relaxed)
    }

    /// Whether there is a connection to the master.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// When it was last told something, ms.
    pub fn last_write_ms(&self) -> u64 {
        self.last_write_ms.load(Relaxed)
    }

    /// Bytes that came in the last second.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second.load(Relaxed)
    }

    fn set_state(&self, state: impl Into<String>) {
        *lock(&self.state) = state.into();
    }

    fn heard(&self, bytes: usize) {
        self.connected.store(true, Relaxed);
        self.last_read_ms.store(now_ms(), Relaxed);
        self.read_bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn told(&self) {
        self.last_write_ms.store(now_ms(), Relaxed);
    }
}

/// The actor; see the module.
pub struct Follower {
    cell: Arc<ActorCell>,
    parts: FollowerParts,
    pause: Duration,
    /// When the NameServers were asked for the master last.
    asked: Instant,
}

impl Follower {
    /// State for a first start and for every restart.
    pub(super) fn recover(cell: Arc<ActorCell>, parts: FollowerParts) -> Self {
        let (status, watermarks) = (parts.status.clone(), parts.ha.watermarks.clone());
        cell.set_detail(move || {
            serde_json::json!({
                "master": status.master(),
                "state": status.state(),
                "end": watermarks.appended(),
                "bytes_per_second": status.bytes_per_second(),
            })
        });
        Self {
            cell,
            parts,
            pause: PAUSE_MIN,
            asked: Instant::now(),
        }
    }

    /// Connects to the master, if one is known, and follows it until that ends.
    fn connect(&mut self, ctx: &mut Context<Self>) {
        let status = &self.parts.status;
        let Some(address) = self.parts.master() else {
            status.set_state("no master is known");
            return self.ask_for_master(ctx);
        };
        *lock(&status.master) = address.clone();
        status.set_state("connecting");
        let session = Session::new(self.cell.clone(), self.parts.clone(), address);
        let followed = session.run().into_actor(self);
        ctx.spawn(followed.map(|end, follower, ctx| follower.ended(&end, ctx)));
    }

    fn ended(&mut self, end: &End, ctx: &mut Context<Self>) {
        let path = self.cell.path();
        self.parts.status.connected.store(false, Relaxed);
        self.parts.status.set_state(end.to_string());
        if let End::Diverged { .. } = end {
            // For an operator to decide: nothing here gets better by itself.
            log::error!("{path} stops: {end}");
            self.cell.set_last_error(&end.to_string());
            return;
        }
        if self.pause == PAUSE_MIN || end.followed() {
            log::warn!("{path} lost its master: {end}");
        }
        self.pause = if end.followed() {
            PAUSE_MIN
        } else {
            (self.pause * 2).min(PAUSE_MAX)
        };
        ctx.run_later(self.pause, |follower, ctx| follower.connect(ctx));
    }

    fn ask_for_master(&mut self, ctx: &mut Context<Self>) {
        ctx.run_later(LOOK_EVERY, |follower, ctx| follower.connect(ctx));
        if self.asked.elapsed() < ASK_EVERY {
            return;
        }
        self.asked = Instant::now();
        let registrars = self.parts.registrars.clone();
        // The answer to a registration names the master.
        let asked = async move {
            registrars.register_all().await;
        };
        ctx.spawn(asked.into_actor(self));
    }
}

impl Actor for Follower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.connect(ctx);
        ctx.run_interval(Duration::from_secs(1), |follower, _| {
            let status = &follower.parts.status;
            let bytes = status.read_bytes.swap(0, AcqRel);
            status.bytes_per_second.store(bytes, Relaxed);
        });
    }
}

impl Supervised for Follower {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

crashable!(Follower);

impl Handler<Shutdown> for Follower {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}
