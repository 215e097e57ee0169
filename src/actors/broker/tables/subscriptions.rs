//! The consumer groups that may consume (`SubscriptionGroupManager`) and how they get their messages
//! (`MessageRequestModeManager`): published tables, and the actor that alone changes them and keeps
//! subscriptionGroup.json and messageRequestMode.json.
//!
//! A change is answered once it is on disk; one write serves all changes of one drain. A crash
//! loses the answers of that drain ("outcome unknown"), never the tables.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use actix::ArbiterHandle;
use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::{attributes::AttributeError, table_version::TableVersion};
use crate::{
    actors::kernel::{ActorError, ActorRef, Shutdown, Tree, spawn},
    config::{BrokerConfig, Live},
    hash::DashMap,
    protocol::{
        ResponseCode, Str,
        body::{
            DataVersion,
            assignment::{MessageRequestModeSerializeWrapper, SetMessageRequestModeRequestBody},
            subscription_group::{SubscriptionGroupConfig, SubscriptionGroupWrapper},
        },
        message::names,
    },
    store::{
        error::StoreError,
        now_ms,
        tables::{ConfigFile, Tables},
    },
};

mod actor;

use actor::{Change, ChangeGroups, SubscriptionsActor};

/// Groups that a broker keeps at most.
pub const GROUPS_MAX: usize = 1 << 20;
/// Number of the bit of the forbidden table that forbids reading (`PermName.INDEX_PERM_READ`).
pub const FORBIDDEN_READ: u32 = 2;

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
    /// `enableLmq`.
    lmqs: bool,
    groups: DashMap<Str, Arc<SubscriptionGroupConfig>>,
    /// Bits by group and topic.
    forbidden: DashMap<Str, Forbidden>,
    /// How many groups have forbidden topics: mostly none, and then nobody looks.
    forbidden_len: AtomicUsize,
    modes: ArcSwap<MessageRequestModeSerializeWrapper>,
    version: TableVersion,
    dirty: AtomicBool,
    modes_dirty: AtomicBool,
    /// Only the actor writes them.
    file: Mutex<ConfigFile<SubscriptionGroupWrapper>>,
    modes_file: Mutex<ConfigFile<MessageRequestModeSerializeWrapper>>,
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
    /// Reads the files, adds the system's groups, and starts the actor at
    /// `parent/subscriptions`. Its thread writes files: it should be one that may block.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn start(
        tree: &Tree,
        parent: &str,
        arbiter: &ArbiterHandle,
        tables: &Tables,
        config: Arc<Live<BrokerConfig>>,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::load(tables, config)?);
        let own = shared.clone();
        let actor = spawn(
            tree,
            parent,
            "subscriptions",
            "subscriptions",
            arbiter,
            tree.restart_policy(),
            move |cell| SubscriptionsActor::recover(cell, own),
        );
        Ok(Self { shared, actor })
    }

    /// Names of the groups that are not among others.
    pub fn names_but(&self, is_known: impl Fn(&str) -> bool) -> Vec<String> {
        let names = self
            .shared
            .groups
            .iter()
            .map(|group| group.key().to_string());
        names.filter(|name| !is_known(name)).collect()
    }

    /// A group that exists. With `enableLmq` every group with the prefix of light message queues does.
    pub fn get(&self, group: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        if self.shared.is_lmq(group) {
            return Some(Arc::new(SubscriptionGroupConfig::new(group)));
        }
        self.shared.groups.get(group).map(|config| config.clone())
    }

    /// Whether the group exists.
    pub fn contains(&self, group: &str) -> bool {
        self.shared.is_lmq(group) || self.shared.groups.contains_key(group)
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
        self.shared.version.get()
    }

    /// Ends with the next change; one between this call and the first await counts, too.
    pub fn next_change(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.version.next_change()
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
    pub async fn update(
        &self,
        mut configs: Vec<SubscriptionGroupConfig>,
    ) -> Result<(), GroupError> {
        configs.retain(|config| !self.shared.is_lmq(&config.group_name));
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
    /// Whether the group need not be made and is in no table (`LmqSubscriptionGroupManager`).
    fn is_lmq(&self, group: &str) -> bool {
        self.lmqs && names::is_lmq(group)
    }

    fn load(tables: &Tables, config: Arc<Live<BrokerConfig>>) -> Result<Self, StoreError> {
        let (file, loaded) = tables.subscription_groups()?;
        let (modes_file, modes) = tables.message_request_modes()?;
        let shared = Self {
            lmqs: config.load().store.enable_lmq,
            config,
            groups: DashMap::default(),
            forbidden: DashMap::default(),
            forbidden_len: AtomicUsize::new(0),
            modes: ArcSwap::from_pointee(modes.unwrap_or_default()),
            version: TableVersion::new(DataVersion::at(now_ms())),
            dirty: AtomicBool::new(false),
            modes_dirty: AtomicBool::new(false),
            file: Mutex::new(file),
            modes_file: Mutex::new(modes_file),
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
        self.version.set(table.data_version);
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
            data_version: self.version.get(),
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
        self.version.count();
        self.dirty.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests;
