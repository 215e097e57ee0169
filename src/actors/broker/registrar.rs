//! Registration with NameServers (`BrokerOuterAPI`): one actor per NameServer, so that a dead one
//! delays nobody, and the `registrar` actor above them, which follows `namesrvAddr`.
//!
//! All NameServers are told at start, every `registerNameServerPeriod`, and of each changed topic at
//! once: whoever made it is answered when they know, so that its clients find the route. Nothing is
//! owned here but sessions: a restart registers everything once more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ArbiterHandle, AsyncContext, Context, Handler, Message, Supervised,
};
use arc_swap::ArcSwapOption;
use futures_util::{FutureExt, future::join_all};
use tokio::sync::{Notify, oneshot};

use super::tables::{
    Topics,
    topics::{Spread, TopicsChanged},
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, ChildGaveUp, Shutdown, Tree, lock, spawn},
    client::{RemotingClient, RemotingConfig},
    config::{BrokerConfig, Live},
    crashable,
    protocol::header::namesrv::RegisterBrokerResponseHeader,
};

mod announcement;
mod masters;
mod routes;
mod session;

use announcement::Announcements;
use session::{Announce, RegisterAll, Registrar, Unregister};

/// How often `namesrvAddr` is looked at: it may be changed while the broker runs.
const FOLLOW_EVERY: Duration = Duration::from_secs(5);
/// NameServers that a broker registers with at most.
pub const NAMESRVS_MAX: usize = 64;

/// How long an answer waits at most for NameServers to know of what was made. Clients give a send or
/// a heartbeat 3 s; RocketMQ waits for `registerBrokerTimeoutMills`, 24 s by default.
const SPREAD_MAX: Duration = Duration::from_secs(2);

/// Where a slave's master is, as NameServers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterAddrs {
    /// Address of the master's replication.
    pub ha_server_addr: String,
    /// Address of the master.
    pub master_addr: String,
}

struct Session {
    actor: ActorRef<Registrar>,
    /// Whether the last registration worked; `None` before the first.
    registered: Option<bool>,
}

struct Shared {
    tree: Tree,
    path: String,
    arbiter: ArbiterHandle,
    config: Arc<Live<BrokerConfig>>,
    topics: Topics,
    client: RemotingClient,
    announcements: Announcements,
    routes: routes::Routes,
    masters: masters::Masters,
    sessions: Mutex<BTreeMap<String, Session>>,
    /// Told when a registration of one of them ended.
    ended: Notify,
    master: ArcSwapOption<MasterAddrs>,
    follower: OnceLock<ActorRef<Follower>>,
}

/// All NameServers of a broker. Cloning it is one reference count.
#[derive(Clone)]
pub struct Registrars(Arc<Shared>);

impl std::fmt::Debug for Registrars {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Registrars({:?})", self.addresses())
    }
}

impl Registrars {
    /// Nobody is told anything before [`Registrars::start`]; actors are made below
    /// `parent/registrar` on `arbiter`.
    pub fn new(
        tree: &Tree,
        parent: &str,
        arbiter: &ArbiterHandle,
        config: Arc<Live<BrokerConfig>>,
        topics: Topics,
    ) -> Self {
        Self(Arc::new(Shared {
            tree: tree.clone(),
            path: format!("{parent}/registrar"),
            arbiter: arbiter.clone(),
            config,
            topics,
            client: RemotingClient::new(RemotingConfig::default()),
            announcements: Announcements::new(crate::store::now_ms()),
            routes: routes::Routes::new(),
            masters: masters::Masters::default(),
            sessions: Mutex::default(),
            ended: Notify::new(),
            master: ArcSwapOption::empty(),
            follower: OnceLock::new(),
        }))
    }

    /// Registers with all NameServers, without waiting for them, and from now on keeps doing so.
    pub fn start(&self) {
        let (parent, name) = self.0.path.rsplit_once('/').unwrap_or(("", &self.0.path));
        let registrars = self.clone();
        let follower = spawn(
            &self.0.tree,
            parent,
            name,
            "registrars",
            &self.0.arbiter,
            self.0.tree.restart_policy(),
            move |cell| Follower { cell, registrars },
        );
        follower.supervise();
        if self.0.follower.set(follower).is_err() {
            return;
        }
        self.follow();
        let weak = Arc::downgrade(&self.0);
        self.0.topics.on_change(move |changed| {
            let shared = weak.upgrade().filter(|_| !changed.topics.is_empty())?;
            Some(shared.announce(changed))
        });
    }

    /// Waits until each NameServer answered the first registration, or did not, as for a new topic.
    pub async fn first_heard(&self) {
        let is_told = || {
            let sessions = lock(&self.0.sessions);
            sessions
                .values()
                .all(|session| session.registered.is_some())
        };
        spread(async {
            loop {
                let ended = self.0.ended.notified();
                if is_told() {
                    return;
                }
                ended.await;
            }
        })
        .await;
    }

    /// Registers everything with everybody now, and waits as for a new topic.
    pub async fn announce_all(&self) {
        let answers = self.0.tell_all(|reply| RegisterAll { reply });
        heard(answers).await;
    }

    /// Registers everything with everybody now; yields how many NameServers took it and how many
    /// there are.
    pub async fn register_all(&self) -> (usize, usize) {
        let answers = self.0.tell_all(|reply| RegisterAll { reply });
        let answers: Vec<_> = answers.into_iter().map(|(_, answer)| answer).collect();
        let count = answers.len();
        let answers = join_all(answers).await;
        (
            answers
                .into_iter()
                .filter(|answer| matches!(answer, Ok(true)))
                .count(),
            count,
        )
    }

    /// Takes the broker out of all NameServers, for which they have 3 s, and ends the actors.
    pub async fn unregister(&self) {
        if let Some(follower) = self.0.follower.get() {
            follower.tell(Shutdown);
        }
        let sessions: Vec<Session> = std::mem::take(&mut *lock(&self.0.sessions))
            .into_values()
            .collect();
        join_all(sessions.iter().map(|session| session.actor.ask(Unregister))).await;
        for session in &sessions {
            session.actor.tell(Shutdown);
        }
        self.0.client.shut_down();
    }

    /// The NameServers in use.
    pub fn addresses(&self) -> Vec<String> {
        lock(&self.0.sessions).keys().cloned().collect()
    }

    /// The NameServers in use, those that answered last time first.
    fn addresses_alive_first(&self) -> Vec<String> {
        let sessions = lock(&self.0.sessions);
        let mut all: Vec<_> = sessions
            .iter()
            .map(|(addr, session)| (session.registered != Some(true), addr.clone()))
            .collect();
        all.sort();
        all.into_iter().map(|(_, addr)| addr).collect()
    }

    /// The NameServers with what is known of each: whether the last registration worked.
    pub fn states(&self) -> BTreeMap<String, Option<bool>> {
        let sessions = lock(&self.0.sessions);
        sessions
            .iter()
            .map(|(addr, session)| (addr.clone(), session.registered))
            .collect()
    }

    /// A slave's master, as the NameServers told last.
    pub fn master(&self) -> Option<Arc<MasterAddrs>> {
        self.0.master.load_full()
    }

    /// The client that talks to NameServers, for other requests to them.
    pub fn client(&self) -> &RemotingClient {
        &self.0.client
    }

    /// Makes actors for new addresses in `namesrvAddr`, and ends those of old ones.
    fn follow(&self) {
        let wanted = self.0.config.load().namesrv_addrs();
        let mut sessions = lock(&self.0.sessions);
        sessions.retain(|addr, session| {
            let keep = wanted.contains(addr);
            if !keep {
                log::info!("{} leaves addr={addr}", self.0.path);
                session.actor.tell(Shutdown);
                self.0.client.disconnect(addr);
            }
            keep
        });
        for addr in wanted.into_iter().take(NAMESRVS_MAX) {
            sessions
                .entry(addr.clone())
                .or_insert_with(|| self.open(addr));
        }
    }

    fn open(&self, addr: String) -> Session {
        let shared = self.0.clone();
        let name = addr.replace('/', "_");
        let actor = spawn(
            &self.0.tree,
            &self.0.path,
            &name,
            "registrar",
            &self.0.arbiter,
            self.0.tree.restart_policy(),
            move |cell| Registrar::recover(cell, addr, shared),
        );
        Session {
            actor,
            registered: None,
        }
    }
}

/// A NameServer's answer, and whether its last registration did not fail.
type Expected = (bool, oneshot::Receiver<bool>);

/// Waits for NameServers, [`SPREAD_MAX`] at most.
async fn spread<T>(heard: impl Future<Output = T>) {
    if tokio::time::timeout(SPREAD_MAX, heard).await.is_err() {
        log::warn!("a NameServer does not answer: clients may not find a new topic yet");
    }
}

/// Waits for those NameServers that answered last time.
async fn heard(answers: Vec<Expected>) {
    let awaited = answers
        .into_iter()
        .filter_map(|(is_up, answer)| is_up.then_some(answer));
    spread(join_all(awaited)).await;
}

impl Shared {
    /// Tells every session, with a place for its answer.
    fn tell_all<M>(&self, message: impl Fn(oneshot::Sender<bool>) -> M) -> Vec<Expected>
    where
        M: Message<Result = ()> + Send + 'static,
        Registrar: Handler<M>,
    {
        let tell = |session: &Session| {
            let (reply, answer) = oneshot::channel();
            session.actor.tell(message(reply));
            (session.registered != Some(false), answer)
        };
        lock(&self.sessions).values().map(tell).collect()
    }

    fn announce(&self, changed: &TopicsChanged) -> Spread {
        let changed = Arc::new(changed.clone());
        let answers = self.tell_all(|reply| Announce {
            changed: Arc::clone(&changed),
            reply,
        });
        heard(answers).boxed()
    }

    fn set_state(&self, addr: &str, registered: bool) {
        if let Some(session) = lock(&self.sessions).get_mut(addr) {
            session.registered = Some(registered);
        }
        self.ended.notify_waiters();
    }

    fn first_success(&self, addr: &str) -> bool {
        lock(&self.sessions)
            .get(addr)
            .is_some_and(|session| session.registered.is_none())
    }

    fn learn_master(&self, header: &RegisterBrokerResponseHeader) {
        let (Some(ha), Some(master)) = (&header.ha_server_addr, &header.master_addr) else {
            return;
        };
        if ha.is_empty() && master.is_empty() {
            return;
        }
        let addrs = MasterAddrs {
            ha_server_addr: ha.to_string(),
            master_addr: master.to_string(),
        };
        let known = self.master.load();
        if known.as_deref() != Some(&addrs) {
            log::info!("{} learns of its master addr={master} ha={ha}", self.path);
            self.master.store(Some(Arc::new(addrs)));
        }
    }
}

/// Above all registrars: follows `namesrvAddr` and replaces an actor that gave up. No state.
struct Follower {
    cell: Arc<ActorCell>,
    registrars: Registrars,
}

impl Actor for Follower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let weak = Arc::downgrade(&self.registrars.0);
        self.cell.set_detail(move || {
            let Some(shared) = weak.upgrade() else {
                return serde_json::Value::Null;
            };
            serde_json::json!({ "namesrvs": Registrars(shared).states() })
        });
        ctx.run_interval(FOLLOW_EVERY, |_, ctx| ctx.notify(Follow));
    }
}

impl Supervised for Follower {}

crashable!(Follower);

/// Look at `namesrvAddr`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Follow;

impl Handler<Follow> for Follower {
    type Result = ();

    fn handle(&mut self, _: Follow, _: &mut Self::Context) {
        self.cell.begin_work();
        self.registrars.follow();
    }
}

impl Handler<ChildGaveUp> for Follower {
    type Result = ();

    fn handle(&mut self, child: ChildGaveUp, _: &mut Self::Context) {
        self.cell.begin_work();
        log::error!(
            "{} starts afresh path={} error={}",
            self.cell.path(),
            child.path,
            child.error
        );
        lock(&self.registrars.0.sessions)
            .retain(|_, session| **session.actor.cell().path() != *child.path);
        self.registrars.follow();
    }
}

impl Handler<Shutdown> for Follower {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
