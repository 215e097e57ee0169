//! All consumer groups (`ConsumerManager`): the handle that processors read and send through, and
//! the `groups` actor above the groups' own actors.
//!
//! A group's actor is born with its first message and ends once the group has no members. Both happen
//! under the table's lock: whoever sends to a group holds the lock of its entry while sending, and an
//! entry is removed only while its actor has nothing to do, so no message meets a dying actor. Queue
//! locks outlive it, and the broker ([`LockBook`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use actix::{ArbiterHandle, Context, Handler, Message, dev::ToEnvelope};

use super::{
    info::GroupInfo,
    lock_writer::{LockWriter, WriteLocks},
    locks::{LockBook, LockKey},
    member::Member,
    producers::ProducerGroups,
    rebalancer::{Expire, Leave, LockQueues, Published, Rebalancer, Register, UnlockQueues},
    scanner::Groups,
};
use crate::{
    actors::{
        kernel::{ActorError, ActorRef, Shutdown, Tree, lock, now_ms, spawn},
        net::ConnectionHandle,
    },
    config::{BrokerConfig, Live},
    hash::DashMap,
    protocol::{Str, body::heartbeat::SubscriptionData},
    store::queue_locks::QueueLocksFile,
};

/// Groups that subscriptions of pulls without heartbeats are kept for at most.
const PULL_GROUPS_MAX: usize = 1 << 16;

struct Entry {
    published: Arc<Published>,
    actor: ActorRef<Rebalancer>,
}

struct Shared {
    tree: Tree,
    path: Box<str>,
    arbiter: ArbiterHandle,
    config: Arc<Live<BrokerConfig>>,
    groups: DashMap<Str, Entry>,
    /// The groups of each connection.
    connections: DashMap<u64, Vec<Str>>,
    /// Subscriptions that came with pulls, of clients that send no heartbeats.
    pulls: DashMap<Str, BTreeMap<Str, Arc<SubscriptionData>>>,
    started: AtomicU64,
    locks: Arc<LockBook>,
    /// Absent in tests that need no file.
    lock_writer: OnceLock<ActorRef<LockWriter>>,
    /// Held, for an actor that only its timers wake is not restarted without an address.
    scanner: OnceLock<ActorRef<Groups>>,
}

/// All consumer groups of a broker. Cloning it is one reference count.
#[derive(Clone)]
pub struct ConsumerGroups(Arc<Shared>);

impl std::fmt::Debug for ConsumerGroups {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ConsumerGroups({} groups)", self.0.groups.len())
    }
}

impl ConsumerGroups {
    /// No groups yet; actors are made at `parent/groups` on `arbiter`.
    pub fn new(
        tree: &Tree,
        parent: &str,
        arbiter: ArbiterHandle,
        config: Arc<Live<BrokerConfig>>,
    ) -> Self {
        let lock_life_ms = config.load().own_broker.rebalance_lock_life_ms;
        Self(Arc::new(Shared {
            tree: tree.clone(),
            path: format!("{parent}/groups").into(),
            arbiter,
            config,
            groups: DashMap::default(),
            connections: DashMap::default(),
            pulls: DashMap::default(),
            started: AtomicU64::new(0),
            locks: Arc::new(LockBook::new(lock_life_ms)),
            lock_writer: OnceLock::new(),
            scanner: OnceLock::new(),
        }))
    }

    /// Starts the `groups` actor, which throws out silent clients of all groups.
    pub fn start(&self, producers: ProducerGroups) -> ActorRef<Groups> {
        let (parent, name) = self.parent();
        let consumers = self.clone();
        let actor = spawn(
            &self.0.tree,
            parent,
            name,
            "groups",
            &self.0.arbiter,
            self.0.tree.restart_policy(),
            move |cell| Groups {
                cell,
                consumers,
                producers,
            },
        );
        actor.supervise();
        // A second one is only ever started by mistake; its caller holds it then.
        let _ = self.0.scanner.set(actor.clone());
        actor
    }

    /// Takes the queue locks of the last run out of `file`, and keeps them there from now on, by an actor
    /// at `parent/queue_locks` on `arbiter`.
    pub fn keep_locks(&self, arbiter: &ArbiterHandle, file: QueueLocksFile) {
        let shared = &self.0;
        shared.locks.restore(file.load(), now_ms());
        let book = shared.locks.clone();
        let actor = spawn(
            &shared.tree,
            self.parent().0,
            "queue_locks",
            "queue_locks",
            arbiter,
            shared.tree.restart_policy(),
            move |cell| LockWriter::recover(cell, book, file),
        );
        // A second one is only ever started by mistake; it ends for want of an address.
        let _ = shared.lock_writer.set(actor);
    }

    /// The path above the `groups` actor, and its name.
    fn parent(&self) -> (&str, &str) {
        let path = &*self.0.path;
        path.rsplit_once('/').unwrap_or(("", path))
    }

    /// Waits until the file has all locks as they are now.
    async fn write_locks(&self) -> Result<(), ActorError> {
        match self.0.lock_writer.get() {
            Some(writer) if self.0.locks.is_behind() => writer.ask(WriteLocks).await,
            _ => Ok(()),
        }
    }

    /// Writes the queue locks down and stops that actor.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the actor crashed meanwhile.
    pub async fn shut_down_locks(&self) -> Result<(), ActorError> {
        match self.0.lock_writer.get() {
            Some(writer) => writer.ask(Shutdown).await,
            None => Ok(()),
        }
    }

    /// What is known about a group; `None` while none of its clients is online.
    pub fn get(&self, group: &str) -> Option<Arc<GroupInfo>> {
        self.0.groups.get(group)?.published.info.load_full()
    }

    /// What an online group subscribes to in a topic, by its heartbeats.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<Arc<SubscriptionData>> {
        let entry = self.0.groups.get(group)?;
        let info = entry.published.info.load();
        info.as_ref()?.subscription(topic).cloned()
    }

    /// As [`ConsumerGroups::subscription`], or else what the group's last pull of the topic said.
    pub fn last_subscription(&self, group: &str, topic: &str) -> Option<Arc<SubscriptionData>> {
        self.subscription(group, topic)
            .or_else(|| self.0.pulls.get(group)?.get(topic).cloned())
    }

    /// Keeps the subscription of a pull: for tools that ask what a group reads. Done again only
    /// when it has changed or is a minute old.
    pub fn note_pull(
        &self,
        group: &str,
        topic: &str,
        expression: &str,
        make: impl FnOnce() -> SubscriptionData,
    ) {
        const REFRESH_MS: i64 = 60_000;
        let known = self
            .0
            .pulls
            .get(group)
            .and_then(|topics| topics.get(topic).cloned());
        let now_ms = crate::store::now_ms();
        if known.is_some_and(|known| {
            *known.sub_string == *expression && now_ms - known.sub_version < REFRESH_MS
        }) {
            return;
        }
        if self.0.pulls.len() >= PULL_GROUPS_MAX && !self.0.pulls.contains_key(group) {
            return;
        }
        let sub = SubscriptionData {
            sub_version: now_ms,
            ..make()
        };
        let mut topics = self.0.pulls.entry(group.to_owned().into()).or_default();
        topics.insert(topic.to_owned().into(), Arc::new(sub));
    }

    /// A client of a group by name.
    pub fn find(&self, group: &str, client_id: &str) -> Option<Arc<Member>> {
        self.get(group)?.member(client_id).cloned()
    }

    /// Online groups that subscribe to a topic.
    pub fn groups_of(&self, topic: &str) -> BTreeSet<Str> {
        let groups = self.0.groups.iter();
        let mine = groups.filter(|entry| {
            let info = entry.published.info.load();
            info.as_ref()
                .is_some_and(|info| info.subscription(topic).is_some())
        });
        mine.map(|entry| entry.key().clone()).collect()
    }

    /// All online groups.
    pub fn all(&self) -> Vec<Arc<GroupInfo>> {
        self.0
            .groups
            .iter()
            .filter_map(|entry| entry.published.info.load_full())
            .collect()
    }

    /// The fingerprint of the group's latest heartbeat, which is replaced by `fingerprint`.
    pub fn swap_fingerprint(&self, group: &str, fingerprint: i32) -> Option<i32> {
        self.with_entry(group, |entry| {
            lock(&entry.published.fingerprint).replace(fingerprint)
        })
    }

    /// Takes a heartbeat; true if members or subscriptions changed.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the group's actor crashed meanwhile: the client sends another.
    pub async fn register(&self, heartbeat: Register) -> Result<bool, ActorError> {
        let group = Str::from(heartbeat.data.group_name.to_string());
        let conn = heartbeat.member.conn.clone();
        {
            let mut mine = self.0.connections.entry(conn.id).or_default();
            if !mine.contains(&group) {
                mine.push(group.clone());
            }
        }
        let changed = self.ask(&group, heartbeat).await;
        // It may have been closed before it was written down: then nobody would clean up.
        if conn.is_closed() {
            self.closed(&conn);
        }
        changed
    }

    /// A client leaves a group.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the group's actor crashed meanwhile.
    pub async fn unregister(&self, group: &str, conn: u64, notify: bool) -> Result<(), ActorError> {
        if let Some(mut mine) = self.0.connections.get_mut(&conn) {
            mine.retain(|name| **name != *group);
        }
        self.0
            .connections
            .remove_if(&conn, |_, mine| mine.is_empty());
        if !self.0.groups.contains_key(group) {
            return Ok(());
        }
        self.ask(group, Leave { conn, notify }).await
    }

    /// A connection is gone: its clients leave all groups.
    pub fn closed(&self, conn: &ConnectionHandle) {
        let Some((_, groups)) = self.0.connections.remove(&conn.id) else {
            return;
        };
        for group in groups {
            if let Some(entry) = self.0.groups.get(&group) {
                entry.actor.tell(Leave {
                    conn: conn.id,
                    notify: true,
                });
            }
        }
    }

    /// Locks or renews queues for a client; yields those that it has now, once the file says so, too.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when an actor crashed meanwhile.
    pub async fn lock(
        &self,
        group: &str,
        client_id: Str,
        queues: Vec<LockKey>,
    ) -> Result<Vec<LockKey>, ActorError> {
        let wanted = LockQueues {
            client_id,
            queues,
            now_ms: now_ms(),
        };
        let mine = self.ask(group, wanted).await?;
        // Also when nothing changed hands now: the same question may have been asked before, and its
        // answer wait for the file still.
        self.write_locks().await?;
        Ok(mine)
    }

    /// Gives queues back.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when an actor crashed meanwhile.
    pub async fn unlock(
        &self,
        group: &str,
        client_id: Str,
        queues: Vec<LockKey>,
    ) -> Result<(), ActorError> {
        if self.0.locks.len(group) == 0 {
            return Ok(());
        }
        self.ask(group, UnlockQueues { client_id, queues }).await?;
        self.write_locks().await
    }

    /// The client that holds the lock of a queue.
    pub fn lock_holder(&self, group: &str, queue: &LockKey) -> Option<Str> {
        self.0.locks.holder(group, queue, now_ms())
    }

    /// Whether a client of the group holds a queue lock: then its messages are ordered.
    pub fn holds_locks(&self, group: &str) -> bool {
        self.0.locks.any_held(group, now_ms())
    }

    fn ask<M>(
        &self,
        group: &str,
        message: M,
    ) -> impl Future<Output = Result<M::Result, ActorError>> + use<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Rebalancer: Handler<M>,
        Context<Rebalancer>: ToEnvelope<Rebalancer, M>,
    {
        self.with_entry(group, |entry| entry.actor.ask(message))
    }

    /// Runs `act` on a group's entry, which is made when absent, under the lock of that entry.
    fn with_entry<R>(&self, group: &str, act: impl FnOnce(&Entry) -> R) -> R {
        if let Some(entry) = self.0.groups.get(group) {
            return act(&entry);
        }
        let group = Str::from(group.to_owned());
        let entry = self
            .0
            .groups
            .entry(group.clone())
            .or_insert_with(|| self.make(group));
        act(&entry)
    }

    fn make(&self, group: Str) -> Entry {
        let shared = &self.0;
        shared.started.fetch_add(1, Relaxed);
        let published = Arc::new(Published::default());
        let parent = format!("{}/rebalancer", shared.path);
        // Names are checked before a group is made; a path is never built from others.
        let name = group.replace('/', "_");
        let (config, own) = (shared.config.clone(), published.clone());
        let locks = shared.locks.clone();
        let actor = spawn(
            &shared.tree,
            &parent,
            &name,
            "rebalancer",
            &shared.arbiter,
            shared.tree.restart_policy(),
            move |cell| Rebalancer::recover(cell, group, config, own, locks),
        );
        Entry { published, actor }
    }

    /// How many groups have an actor.
    pub fn len(&self) -> usize {
        self.0.groups.len()
    }

    /// Whether no group has an actor.
    pub fn is_empty(&self) -> bool {
        self.0.groups.is_empty()
    }

    /// How many actors were made so far.
    pub(super) fn actors_made(&self) -> u64 {
        self.0.started.load(Relaxed)
    }

    pub(super) fn config(&self) -> Arc<BrokerConfig> {
        self.0.config.load_full()
    }

    /// Ends the actors of all groups.
    pub(super) fn shut_down(&self) {
        for entry in self.0.groups.iter() {
            entry.actor.tell(Shutdown);
        }
    }

    /// One scan over all groups: silent clients go, and so do groups that have nothing to keep.
    pub(super) fn scan(&self, now_ms: u64, limit_ms: u64) {
        self.0.locks.expire_all(now_ms);
        let mut idle = Vec::new();
        for entry in self.0.groups.iter() {
            if is_idle(&entry) {
                idle.push(entry.key().clone());
            } else {
                entry.actor.tell(Expire { now_ms, limit_ms });
            }
        }
        for group in idle {
            let removed = self.0.groups.remove_if(&group, |_, entry| is_idle(entry));
            if let Some((_, entry)) = removed {
                entry.actor.tell(Shutdown);
            }
        }
    }

    /// Forgets subscriptions of pulls that were not repeated for `limit_ms`.
    pub(super) fn forget_pulls(&self, now_ms: u64, limit_ms: i64) {
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        self.0.pulls.retain(|_, topics| {
            topics.retain(|_, sub| now_ms.saturating_sub(sub.sub_version) <= limit_ms);
            !topics.is_empty()
        });
    }

    /// Forgets a group whose actor gave up: its next message makes another. Its clients are
    /// written down again by their next heartbeats.
    pub(super) fn forget(&self, path: &str) {
        self.0
            .groups
            .retain(|_, entry| **entry.actor.cell().path() != *path);
    }
}

/// Whether an actor has nothing to keep and nothing to do. Called on the arbiter of the groups'
/// actors, so none of them is in the middle of a turn, and under the lock that senders hold.
fn is_idle(entry: &Entry) -> bool {
    entry.published.info.load().is_none() && entry.actor.cell().mailbox_len() == 0
}
