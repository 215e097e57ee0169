//! The consumer groups that may consume (`SubscriptionGroupManager`) and how they get their messages
//! (`MessageRequestModeManager`): published tables, and the actor that alone changes them and keeps
//! subscriptionGroup.json and messageRequestMode.json.
//!
//! A change is answered once it is on disk; one write serves all changes of one drain. A crash
//! loses the answers of that drain ("outcome unknown"), never the tables.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ArbiterHandle, AsyncContext, Context, Handler, Message, Supervised,
};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::oneshot;

use super::{
    attributes::{self, AttributeError},
    file::{TableError, TableFile},
};
use crate::{
    actors::kernel::{
        ActorCell, ActorError, ActorRef, RestartPolicy, Shutdown, Tree, after_drain, lock, now_ms,
        spawn,
    },
    config::{BrokerConfig, Live},
    crashable,
    protocol::{
        ResponseCode, Str,
        body::{
            DataVersion,
            assignment::{MessageRequestModeSerializeWrapper, SetMessageRequestModeRequestBody},
            subscription_group::{SubscriptionGroupConfig, SubscriptionGroupWrapper},
        },
        message::names,
    },
    store::fs::Fs,
};

/// Groups that a broker keeps at most.
pub const GROUPS_MAX: usize = 1 << 20;
/// Number of the bit of the forbidden table that forbids reading (`PermName.INDEX_PERM_READ`).
pub const FORBIDDEN_READ: u32 = 2;
/// How often a table that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Why a group was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GroupError {
    /// It belongs to nobody: it was not made, and may not be made by a lookup.
    #[error("subscription group [{0}] does not exist")]
    NotExist(String),
    /// Its attributes cannot be changed so.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// The table is full.
    #[error("the broker has {GROUPS_MAX} groups and takes no more")]
    Full,
    /// The actor crashed with the change: it may have been made.
    #[error("{0}")]
    Actor(#[from] ActorError),
}

impl GroupError {
    /// The code to answer with.
    pub fn code(&self) -> ResponseCode {
        match self {
            Self::NotExist(_) => ResponseCode::SubscriptionGroupNotExist,
            _ => ResponseCode::SystemError,
        }
    }
}

type Forbidden = BTreeMap<String, i32>;

struct Shared {
    config: Arc<Live<BrokerConfig>>,
    groups: DashMap<Str, Arc<SubscriptionGroupConfig>>,
    /// Bits by group and topic.
    forbidden: DashMap<Str, Forbidden>,
    /// How many groups have forbidden topics: mostly none, and then nobody looks.
    forbidden_len: AtomicUsize,
    modes: ArcSwap<MessageRequestModeSerializeWrapper>,
    version: Mutex<DataVersion>,
    dirty: AtomicBool,
    modes_dirty: AtomicBool,
    file: TableFile,
    modes_file: TableFile,
}

/// The groups of a broker. Cloning it is two reference counts.
#[derive(Clone)]
pub struct SubscriptionGroups {
    shared: Arc<Shared>,
    actor: ActorRef<SubscriptionsActor>,
}

impl std::fmt::Debug for SubscriptionGroups {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "SubscriptionGroups({})", self.shared.groups.len())
    }
}

impl SubscriptionGroups {
    /// Reads the files below `store_root`, adds the system's groups, and starts the actor at
    /// `parent/subscriptions`. Its thread writes files: it should be one that may block.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn start(
        tree: &Tree,
        parent: &str,
        arbiter: &ArbiterHandle,
        fs: Fs,
        store_root: &Path,
        config: Arc<Live<BrokerConfig>>,
    ) -> Result<Self, TableError> {
        let shared = Arc::new(Shared::load(fs, store_root, config)?);
        let own = shared.clone();
        let actor = spawn(
            tree,
            parent,
            "subscriptions",
            "subscriptions",
            arbiter,
            RestartPolicy::default(),
            move |cell| SubscriptionsActor::recover(cell, own),
        );
        Ok(Self { shared, actor })
    }

    /// A group that exists.
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        self.shared.groups.get(group).map(|config| config.clone())
    }

    /// Whether the group exists.
    pub fn contains(&self, group: &str) -> bool {
        self.shared.groups.contains_key(group)
    }

    /// A group, which is made when absent and `autoCreateSubscriptionGroup` allows it. Does not ask
    /// the actor if it exists.
    pub async fn find(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if let Some(config) = self.get(group) {
            return Some(config);
        }
        if !self.may_create(group) {
            return None;
        }
        self.change(Change::Create(group.to_owned())).await.ok()?;
        self.get(group)
    }

    fn may_create(&self, group: &str) -> bool {
        let config = self.shared.config.load();
        let allowed = config.broker.auto_create_subscription_group
            || config.broker.enable_create_sys_group && names::is_system_group(group);
        allowed && names::validate_group(group).is_ok()
    }

    /// The bits of what a group may not do with a topic.
    pub fn forbidden(&self, group: &str, topic: &str) -> i32 {
        if self.shared.forbidden_len.load(Relaxed) == 0 {
            return 0;
        }
        let bits = self
            .shared
            .forbidden
            .get(group)
            .and_then(|topics| topics.get(topic).copied());
        bits.unwrap_or(0).max(0)
    }

    /// Whether a group may not read a topic.
    pub fn is_read_forbidden(&self, group: &str, topic: &str) -> bool {
        self.forbidden(group, topic) & (1 << FORBIDDEN_READ) != 0
    }

    /// The table's version.
    pub fn version(&self) -> DataVersion {
        *lock(&self.shared.version)
    }

    /// All groups by name, with what is forbidden and the table's version.
    pub fn snapshot(&self) -> SubscriptionGroupWrapper {
        self.shared.snapshot()
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.shared.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.shared.groups.is_empty()
    }

    /// How a group gets the messages of a topic, if somebody has set it.
    pub fn request_mode(
        &self,
        topic: &str,
        group: &str,
    ) -> Option<SetMessageRequestModeRequestBody> {
        let modes = self.shared.modes.load();
        modes
            .message_request_mode_map
            .get(topic)?
            .get(group)
            .cloned()
    }

    /// All modes that somebody has set (code 402).
    pub fn request_modes(&self) -> Arc<MessageRequestModeSerializeWrapper> {
        self.shared.modes.load_full()
    }

    /// Makes or changes groups; their attributes are changes with signs. With an error some of
    /// them may have been changed, as in RocketMQ.
    ///
    /// # Errors
    /// [`GroupError::Attribute`], [`GroupError::Full`], [`GroupError::Actor`].
    pub async fn update(&self, configs: Vec<SubscriptionGroupConfig>) -> Result<(), GroupError> {
        self.change(Change::Update(configs)).await
    }

    /// Deletes a group from the table.
    ///
    /// # Errors
    /// [`GroupError::NotExist`], [`GroupError::Actor`].
    pub async fn delete(&self, group: &str) -> Result<(), GroupError> {
        self.change(Change::Delete(group.to_owned())).await
    }

    /// Sets or clears a bit of what a group may not do with a topic.
    ///
    /// # Errors
    /// [`GroupError::Actor`].
    pub async fn set_forbidden(
        &self,
        group: &str,
        topic: &str,
        bit: u32,
        on: bool,
    ) -> Result<(), GroupError> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.change(Change::Forbid {
            group,
            topic,
            bits: 1 << bit,
            on,
        })
        .await
    }

    /// Sets how a group gets the messages of a topic.
    ///
    /// # Errors
    /// [`GroupError::Actor`].
    pub async fn set_request_mode(
        &self,
        mode: SetMessageRequestModeRequestBody,
    ) -> Result<(), GroupError> {
        self.change(Change::SetMode(mode)).await
    }

    /// Replaces the whole table by a master's, version included.
    ///
    /// # Errors
    /// [`GroupError::Actor`].
    pub async fn mirror(&self, table: SubscriptionGroupWrapper) -> Result<(), GroupError> {
        self.change(Change::Mirror(table)).await
    }

    /// Replaces all modes by a master's.
    ///
    /// # Errors
    /// [`GroupError::Actor`].
    pub async fn mirror_modes(
        &self,
        modes: MessageRequestModeSerializeWrapper,
    ) -> Result<(), GroupError> {
        self.change(Change::MirrorModes(modes)).await
    }

    /// Writes the tables down if they are not, and stops the actor.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when it crashed meanwhile.
    pub async fn shut_down(&self) -> Result<(), ActorError> {
        self.actor.ask(Shutdown).await
    }

    async fn change(&self, change: Change) -> Result<(), GroupError> {
        let (reply, answer) = oneshot::channel();
        self.actor.tell(ChangeGroups { change, reply });
        answer
            .await
            .unwrap_or(Err(GroupError::Actor(ActorError::Gone)))
    }
}

impl Shared {
    fn load(
        fs: Fs,
        store_root: &Path,
        config: Arc<Live<BrokerConfig>>,
    ) -> Result<Self, TableError> {
        let file = TableFile::new(fs.clone(), store_root, "subscriptionGroup.json");
        let modes_file = TableFile::new(fs, store_root, "messageRequestMode.json");
        let loaded: Option<SubscriptionGroupWrapper> = file.load()?;
        let modes: Option<MessageRequestModeSerializeWrapper> = modes_file.load()?;
        let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
        let shared = Self {
            config,
            groups: DashMap::new(),
            forbidden: DashMap::new(),
            forbidden_len: AtomicUsize::new(0),
            modes: ArcSwap::from_pointee(modes.unwrap_or_default()),
            version: Mutex::new(DataVersion::at(now)),
            dirty: AtomicBool::new(false),
            modes_dirty: AtomicBool::new(false),
            file,
            modes_file,
        };
        for group in names::GROUPS_AT_START {
            let config = SubscriptionGroupConfig::new(group);
            shared
                .groups
                .insert(Str::from_static(group), Arc::new(config));
        }
        if let Some(loaded) = loaded {
            shared.take(loaded);
        }
        Ok(shared)
    }

    fn take(&self, table: SubscriptionGroupWrapper) {
        *lock(&self.version) = table.data_version;
        for (name, config) in table.subscription_group_table {
            self.groups.insert(name.into(), Arc::new(config));
        }
        for (group, topics) in table.forbidden_table {
            self.forbidden.insert(group.into(), topics);
        }
        self.forbidden_len.store(self.forbidden.len(), Relaxed);
    }

    fn snapshot(&self) -> SubscriptionGroupWrapper {
        let (groups, forbidden) = (self.groups.iter(), self.forbidden.iter());
        SubscriptionGroupWrapper {
            data_version: *lock(&self.version),
            forbidden_table: forbidden
                .map(|topics| (topics.key().to_string(), topics.value().clone()))
                .collect(),
            subscription_group_table: groups
                .map(|group| (group.key().to_string(), (**group.value()).clone()))
                .collect(),
        }
    }

    fn put(&self, config: SubscriptionGroupConfig) -> Result<(), GroupError> {
        let name = Str::from(config.group_name.clone());
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&name) {
            return Err(GroupError::Full);
        }
        self.groups.insert(name, Arc::new(config));
        self.count_change();
        Ok(())
    }

    fn count_change(&self) {
        let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
        lock(&self.version).next(now, 0);
        self.dirty.store(true, Relaxed);
    }
}

/// A change of the tables, answered once it is on disk.
#[derive(Debug)]
enum Change {
    Create(String),
    Update(Vec<SubscriptionGroupConfig>),
    Delete(String),
    Forbid {
        group: String,
        topic: String,
        bits: i32,
        on: bool,
    },
    SetMode(SetMessageRequestModeRequestBody),
    Mirror(SubscriptionGroupWrapper),
    MirrorModes(MessageRequestModeSerializeWrapper),
}

type Changed = Result<(), GroupError>;

/// Change the tables.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChangeGroups {
    change: Change,
    reply: oneshot::Sender<Changed>,
}

/// Alone changes the tables of groups and writes them down.
pub struct SubscriptionsActor {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    /// Answers that wait for the tables to be written.
    waiting: Vec<(oneshot::Sender<Changed>, Changed)>,
}

impl SubscriptionsActor {
    fn recover(cell: Arc<ActorCell>, shared: Arc<Shared>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            serde_json::json!({
                "groups": shown.groups.len(), "version": lock(&shown.version).counter,
                "unwritten": shown.dirty.load(Relaxed),
            })
        });
        Self {
            cell,
            shared,
            waiting: Vec::new(),
        }
    }

    fn apply(&mut self, change: Change) -> Changed {
        let shared = &self.shared;
        match change {
            Change::Create(group) if shared.groups.contains_key(group.as_str()) => Ok(()),
            Change::Create(group) => {
                log::info!("{} makes group={group}", self.cell.path());
                shared.put(SubscriptionGroupConfig::new(&group))
            }
            Change::Update(configs) => configs
                .into_iter()
                .try_for_each(|config| self.update(config)),
            Change::Delete(group) => {
                if shared.forbidden.remove(group.as_str()).is_some() {
                    shared.forbidden_len.store(shared.forbidden.len(), Relaxed);
                }
                if shared.groups.remove(group.as_str()).is_none() {
                    return Err(GroupError::NotExist(group));
                }
                log::info!("{} deletes group={group}", self.cell.path());
                shared.count_change();
                Ok(())
            }
            Change::Forbid {
                group,
                topic,
                bits,
                on,
            } => {
                self.forbid(group, topic, bits, on);
                Ok(())
            }
            Change::SetMode(mode) => {
                let mut modes = (*shared.modes.load_full()).clone();
                let groups = modes
                    .message_request_mode_map
                    .entry(mode.topic.clone())
                    .or_default();
                groups.insert(mode.consumer_group.clone(), mode);
                self.set_modes(modes);
                Ok(())
            }
            Change::Mirror(table) => {
                shared
                    .groups
                    .retain(|name, _| table.subscription_group_table.contains_key(&**name));
                shared.forbidden.clear();
                shared.take(table);
                shared.dirty.store(true, Relaxed);
                Ok(())
            }
            Change::MirrorModes(modes) => {
                self.set_modes(modes);
                Ok(())
            }
        }
    }

    fn update(&self, mut config: SubscriptionGroupConfig) -> Changed {
        let known = self
            .shared
            .groups
            .get(config.group_name.as_str())
            .map(|known| known.clone());
        let current = known.as_ref().map(|known| &known.attributes);
        config.attributes = attributes::alter(attributes::OF_GROUPS, current, &config.attributes)?;
        log::info!(
            "{} {} group={}",
            self.cell.path(),
            if known.is_some() { "changes" } else { "makes" },
            config.group_name
        );
        self.shared.put(config)
    }

    /// RocketMQ forgets all topics of the group when the last bit of one is cleared, and does not
    /// write that down; here only that topic is forgotten, and it is written down.
    fn forbid(&self, group: String, topic: String, bits: i32, on: bool) {
        let shared = &self.shared;
        {
            let mut topics = shared.forbidden.entry(group.into()).or_default();
            let now = topics.entry(topic).or_insert(0);
            *now = if on { *now | bits } else { *now & !bits };
            topics.retain(|_, bits| *bits > 0);
        }
        shared.forbidden.retain(|_, topics| !topics.is_empty());
        shared.forbidden_len.store(shared.forbidden.len(), Relaxed);
        shared.count_change();
    }

    fn set_modes(&self, modes: MessageRequestModeSerializeWrapper) {
        self.shared.modes.store(Arc::new(modes));
        self.shared.modes_dirty.store(true, Relaxed);
    }

    /// After each drain: writes the tables, then answers.
    fn commit(&mut self) {
        if self.shared.dirty.swap(false, Relaxed) {
            let table = self.shared.snapshot();
            self.save(|shared| shared.file.save(&table), |shared| &shared.dirty);
        }
        if self.shared.modes_dirty.swap(false, Relaxed) {
            let modes = self.shared.modes.load_full();
            self.save(
                |shared| shared.modes_file.save(&*modes),
                |shared| &shared.modes_dirty,
            );
        }
        for (reply, answer) in self.waiting.drain(..) {
            let _ = reply.send(answer);
        }
    }

    fn save(
        &self,
        write: impl FnOnce(&Shared) -> Result<(), TableError>,
        mark: impl FnOnce(&Shared) -> &AtomicBool,
    ) {
        const WRITE_LIMIT: Duration = Duration::from_secs(60);
        self.cell.fail_point("before_save");
        if let Err(error) = self.cell.blocking(WRITE_LIMIT, || write(&self.shared)) {
            // As RocketMQ: the group works, and the next change or tick writes it down.
            log::error!("{} not written error={error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
            mark(&self.shared).store(true, Relaxed);
        }
    }
}

impl Actor for SubscriptionsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, |act: &mut Self, _| {
            if !act.waiting.is_empty() {
                act.commit();
            }
        });
        ctx.run_interval(RETRY_EVERY, |act, _| act.commit());
    }
}

impl Supervised for SubscriptionsActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.shared.clone());
        self.shared.dirty.store(true, Relaxed);
        self.shared.modes_dirty.store(true, Relaxed);
    }
}

crashable!(SubscriptionsActor);

impl Handler<ChangeGroups> for SubscriptionsActor {
    type Result = ();

    fn handle(&mut self, message: ChangeGroups, _: &mut Self::Context) {
        self.cell.begin_work();
        let answer = self.apply(message.change);
        self.cell.fail_point("after_change");
        self.waiting.push((message.reply, answer));
    }
}

impl Handler<Shutdown> for SubscriptionsActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.commit();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use actix::{Arbiter, System};

    use super::*;
    use crate::{
        config::test_env, protocol::body::assignment::MessageRequestMode, store::fs::RealFs,
    };

    fn start(tree: &Tree, dir: &Path, auto_create: &str) -> SubscriptionGroups {
        let settings = [
            ("listenPort", "20911"),
            ("autoCreateSubscriptionGroup", auto_create),
        ];
        let config = BrokerConfig::load(None, &settings, &test_env(dir)).unwrap();
        let (arbiter, fs) = (Arbiter::current(), Arc::new(RealFs));
        SubscriptionGroups::start(tree, "broker", &arbiter, fs, dir, Live::new(config)).unwrap()
    }

    #[test]
    fn a_lookup_makes_a_group_where_that_is_allowed() {
        System::new().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let groups = start(&Tree::new("t"), dir.path(), "true");
            assert_eq!(groups.len(), 8);
            assert!(groups.get("G").is_none());
            assert_eq!(groups.find("G").await.unwrap().retry_max_times, 16);
            assert!(groups.find("a b").await.is_none());
            assert_eq!(groups.version().counter, 1);
            groups.delete("G").await.unwrap();
            assert!(matches!(
                groups.delete("G").await,
                Err(GroupError::NotExist(_))
            ));
            groups.find("H").await.unwrap();
            let strict = start(&Tree::new("t2"), dir.path(), "false");
            assert!(strict.contains("H") && !strict.contains("G"));
            assert!(strict.find("G").await.is_none());
            assert!(strict.find("CID_RMQ_SYS_X").await.is_some());
        });
    }

    #[test]
    fn updates_and_forbidden_topics_are_kept() {
        System::new().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let tree = Tree::new("t");
            let groups = start(&tree, dir.path(), "true");
            let mut config = SubscriptionGroupConfig::new("G");
            config.retry_max_times = 3;
            groups.update(vec![config.clone()]).await.unwrap();
            config.attributes.insert("+a".into(), "b".into());
            let refused = groups.update(vec![config]).await.unwrap_err();
            assert_eq!(refused.to_string(), "unsupported key: a");
            groups
                .set_forbidden("G", "T", FORBIDDEN_READ, true)
                .await
                .unwrap();
            groups
                .set_forbidden("G", "U", FORBIDDEN_READ, true)
                .await
                .unwrap();
            groups
                .set_forbidden("G", "U", FORBIDDEN_READ, false)
                .await
                .unwrap();
            tree.get("broker/subscriptions")
                .unwrap()
                .arm("after_change");
            assert!(groups.find("lost").await.is_none());
            groups.shut_down().await.unwrap();
            let again = start(&Tree::new("t2"), dir.path(), "true");
            assert_eq!(again.get("G").unwrap().retry_max_times, 3);
            assert!(again.is_read_forbidden("G", "T") && !again.is_read_forbidden("G", "U"));
            assert!(again.contains("lost"));
            again.delete("G").await.unwrap();
            assert!(!again.is_read_forbidden("G", "T"));
        });
    }

    #[test]
    fn modes_have_a_file_of_their_own() {
        System::new().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let groups = start(&Tree::new("t"), dir.path(), "true");
            let mode = SetMessageRequestModeRequestBody {
                topic: "T".into(),
                consumer_group: "G".into(),
                mode: MessageRequestMode::Pop,
                pop_share_queue_num: 2,
            };
            groups.set_request_mode(mode.clone()).await.unwrap();
            let again = start(&Tree::new("t2"), dir.path(), "true");
            assert_eq!(again.request_mode("T", "G"), Some(mode));
            assert_eq!(again.request_mode("T", "H"), None);
        });
    }
}
