//! Finds the queues of compaction topics and has an actor for each of them (`CompactionStore`).
//!
//! Owns which of them there are. Deletions of topics are sent to it. A restart loses a deletion that was being
//! handled, whose asker hears of it; the queues' actors live on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Message,
    ResponseActFuture, Supervised, WrapFuture,
};
use futures_util::future::join_all;

use super::{
    Compacted, Compactions,
    queue::{CompactedQueue, CompactionParts, Destroy, Work},
};
use crate::{
    actors::{
        broker::tables::topics::Topics,
        kernel::{ActorCell, ActorRef, Shutdown, Tree, lock, spawn},
    },
    hash::HashMap,
    protocol::{Str, body::data_version::DataVersion},
    store::{
        compaction::{Check, CompactionHome},
        now_ms,
        queue_table::{QueueKey, QueueSlot, QueueTable},
    },
};

/// How often it is looked whether a queue has something to do.
const TICK: Duration = Duration::from_millis(100);

/// How often the table of topics is looked at while none is compacted: most brokers have no such topic.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// Topics are looked at when their table changed, and this often (`CompactionStore.scanInterval`).
const SCAN_EVERY: Duration = Duration::from_secs(30);

/// Where the actors stand in the tree.
const PATH: &str = "broker/store/compaction";

/// The topic was deleted: its files go. Answered when they are gone.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), String>")]
pub struct Forget(pub Str);

/// What the service is made of.
#[derive(Clone)]
pub struct ServiceParts {
    /// The actor tree.
    pub tree: Tree,
    /// The thread of all queues of compaction topics.
    pub arbiter: ArbiterHandle,
    /// All topics.
    pub topics: Topics,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// Where it is published which queues are compacted.
    pub compactions: Compactions,
    /// What their actors share.
    pub queues: Arc<CompactionParts>,
}

/// What the rest of the broker holds of compaction.
#[derive(Clone)]
pub struct CompactionHandle {
    home: Arc<CompactionHome>,
    /// None with `enableCompaction=false`.
    actor: Option<ActorRef<CompactionService>>,
}

impl CompactionHandle {
    /// Starts the service at `broker/store/compaction`. `parts` is nothing with `enableCompaction=false`:
    /// compaction topics are then served as others.
    pub fn start(home: Arc<CompactionHome>, parts: Option<ServiceParts>) -> Self {
        let Some(parts) = parts else {
            return Self { home, actor: None };
        };
        let (tree, arbiter) = (parts.tree.clone(), parts.arbiter.clone());
        let policy = tree.restart_policy().without_backoff();
        let (parent, name) = ("broker/store", "compaction");
        let actor = spawn(&tree, parent, name, name, &arbiter, policy, move |cell| {
            CompactionService::recover(cell, parts)
        });
        let actor = Some(actor);
        Self { home, actor }
    }

    /// Ends when the queues that have files are found: no pull shall be answered before.
    pub async fn ready(&self) {
        if let Some(actor) = &self.actor {
            let _ = actor.ask(Scan).await;
        }
    }

    /// Removes the files of a deleted topic.
    ///
    /// # Errors
    /// A text when that cannot be done now.
    pub async fn forget(&self, topic: &str) -> Result<(), String> {
        match &self.actor {
            Some(actor) => {
                let forgotten = actor.ask(Forget(Str::from(topic.to_owned()))).await;
                forgotten.map_err(|error| error.to_string())?
            }
            None => {
                let (home, topic) = (Arc::clone(&self.home), topic.to_owned());
                let removed = tokio::task::spawn_blocking(move || home.remove_topic(&topic)).await;
                let removed = removed.map_err(|error| error.to_string())?;
                removed.map_err(|error| error.to_string())
            }
        }
    }

    /// The actor that ends all of it.
    pub fn actor(&self) -> Option<&ActorRef<CompactionService>> {
        self.actor.as_ref()
    }
}

/// Looks for queues of compaction topics.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Scan;

struct Child {
    queue: ActorRef<CompactedQueue>,
    slot: Arc<QueueSlot>,
    published: Arc<Compacted>,
    /// Its files are being removed.
    ending: bool,
}

/// The actor; see the module.
pub struct CompactionService {
    cell: Arc<ActorCell>,
    parts: ServiceParts,
    children: HashMap<QueueKey, Child>,
    /// Compaction topics and how many queues they have.
    topics: Vec<(Str, i32)>,
    scanned: Option<(DataVersion, Instant)>,
}

impl CompactionService {
    /// State for a first start and for every restart: no queue is known.
    pub fn recover(cell: Arc<ActorCell>, parts: ServiceParts) -> Self {
        Self {
            cell,
            parts,
            children: HashMap::default(),
            topics: Vec::new(),
            scanned: None,
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.drop_removed(ctx);
        self.scan();
        let now = now_ms();
        for child in self.children.values() {
            let has_new = child.slot.readable_end() > child.published.end();
            let is_due = child.published.due_ms.load(Ordering::Relaxed) <= now;
            // One that waits for its files has a mailbox to fill.
            let is_busy = child.queue.cell().mailbox_len() > 1;
            if (has_new || is_due) && !child.ending && !is_busy {
                child.queue.tell(Work);
            }
        }
        let is_idle = self.topics.is_empty() && self.children.is_empty();
        let pause = if is_idle { IDLE_TICK } else { TICK };
        ctx.run_later(pause, Self::tick);
    }

    /// Ends the actors of queues whose topic was deleted; a slave hears of that only so.
    fn drop_removed(&mut self, ctx: &mut Context<Self>) {
        for child in self.children.values_mut() {
            if child.ending || !child.slot.is_removed() {
                continue;
            }
            child.ending = true;
            let (ended, key) = (child.queue.ask(Destroy), child.slot.key.clone());
            let ended = actix::fut::wrap_future::<_, Self>(ended);
            ctx.spawn(ended.map(move |_, service, _| service.gone(&key)));
        }
    }

    fn gone(&mut self, key: &QueueKey) {
        if let Some(child) = self.children.remove(key) {
            self.parts.compactions.remove(&child.slot);
        }
    }

    fn scan(&mut self) {
        let version = self.parts.topics.version();
        let is_new = self
            .scanned
            .is_none_or(|(seen, at)| seen != version || at.elapsed() >= SCAN_EVERY);
        if is_new {
            let topics = self.parts.topics.all();
            let topics = topics.iter();
            let topics = topics.filter(|topic| topic.is_compaction());
            let with_queues = topics.map(|topic| {
                let queues = topic.write_queue_nums.max(topic.read_queue_nums);
                (Str::from(topic.topic_name.clone()), queues)
            });
            self.topics = with_queues.collect();
            self.scanned = Some((version, Instant::now()));
        }
        for at in 0..self.topics.len() {
            let (topic, queues) = self.topics[at].clone();
            for queue_id in 0..queues {
                self.adopt(&topic, queue_id);
            }
        }
    }

    /// Has an actor for a queue that has messages, or had some.
    fn adopt(&mut self, topic: &Str, queue_id: i32) {
        let key = QueueKey::new(topic.clone(), queue_id);
        let known = self.children.get(&key);
        if known.is_some_and(|child| child.ending || child.queue.connected()) {
            return;
        }
        let slot = self.parts.table.get(topic, queue_id);
        let Some(slot) = slot.filter(|slot| !slot.is_removed()) else {
            return;
        };
        let published = Arc::new(Compacted::default());
        let mut check = Check::Ends;
        match known {
            // One that spent its restarts is born again, and goes on with what it had published.
            Some(child) => published.set_end(child.published.end()),
            None if !self.parts.queues.has_all => check = Check::All,
            None => {}
        }
        let queue = self.born(&slot, &published, check);
        let _ = published.reader.set(queue.narrow());
        self.parts.compactions.put(&slot, Arc::clone(&published));
        let child = Child {
            queue,
            slot,
            published,
            ending: false,
        };
        self.children.insert(key, child);
    }

    fn born(
        &self,
        slot: &Arc<QueueSlot>,
        published: &Arc<Compacted>,
        check: Check,
    ) -> ActorRef<CompactedQueue> {
        let tree = &self.parts.tree;
        let parent = format!("{PATH}/{}", slot.key.topic);
        let name = slot.key.queue_id.to_string();
        let (parts, slot) = (Arc::clone(&self.parts.queues), Arc::clone(slot));
        let (published, policy) = (Arc::clone(published), tree.restart_policy());
        spawn(
            tree,
            &parent,
            &name,
            "compacted_queue",
            &self.parts.arbiter,
            policy,
            move |cell| CompactedQueue::recover(cell, parts, slot, published, check),
        )
    }
}

impl Actor for CompactionService {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tick(ctx);
    }
}

impl Supervised for CompactionService {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The queues' actors live on: two for one queue's files would be worse than a torn map.
        let children = std::mem::take(&mut self.children);
        *self = Self::recover(self.cell.clone(), self.parts.clone());
        self.children = children;
        for child in self.children.values_mut() {
            // Whoever waited for its end is gone; asked again it answers that it is over.
            child.ending = false;
        }
    }
}

impl Handler<Scan> for CompactionService {
    type Result = ();

    fn handle(&mut self, _: Scan, _: &mut Self::Context) {
        self.cell.begin_work();
        self.scan();
    }
}

impl Handler<Forget> for CompactionService {
    type Result = ResponseActFuture<Self, Result<(), String>>;

    fn handle(&mut self, forget: Forget, _: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let Forget(topic) = forget;
        let of_topic = self.children.values_mut();
        let of_topic = of_topic.filter(|child| child.slot.key.topic == topic);
        let ends = of_topic.map(|child| {
            child.ending = true;
            child.queue.ask(Destroy)
        });
        let all = join_all(ends.collect::<Vec<_>>());
        Box::pin(all.into_actor(self).map(move |_, service, _| {
            service.children.retain(|key, child| {
                let stays = key.topic != topic;
                if !stays {
                    service.parts.compactions.remove(&child.slot);
                }
                stays
            });
            let queues = &service.parts.queues;
            let removed = queues.home.remove_topic(&topic);
            let mut positions = lock(&queues.positions);
            let forgotten = positions.forget_topic(&topic);
            removed.and(forgotten).map_err(|error| error.to_string())
        }))
    }
}

impl Handler<Shutdown> for CompactionService {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Shutdown, _: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let ends = self.children.drain();
        let ends = ends.map(|(_, child)| child.queue.ask(Shutdown));
        let all = join_all(ends.collect::<Vec<_>>());
        Box::pin(all.into_actor(self).map(|_, _, ctx| ctx.stop()))
    }
}

crate::crashable!(CompactionService);
