//! The topics of a broker (`TopicConfigManager`): a published table, and the actor that alone changes
//! it and keeps topics.json. The mappings of static topics ([`super::mappings`]) are its business as well.
//!
//! A change is in the table at once and answered once it is on disk: one write serves all changes
//! of one drain of the mailbox. The table outlives a crash of its actor; a restart writes it down
//! once more, and the changes that were not answered yet are told "outcome unknown".

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use actix::ArbiterHandle;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{
    attributes::{self, AttributeError},
    mappings::{Mapping, Mappings},
    system_topics,
    table_version::TableVersion,
};
use crate::{
    actors::kernel::{ActorError, ActorRef, Shutdown, Tree, lock, spawn},
    config::{BrokerConfig, Live},
    hash::DashMap,
    protocol::{
        ResponseCode, Str,
        body::{
            DataVersion,
            topic_config::{
                TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicConfigSerializeWrapper,
            },
            topic_queue_mapping::TopicQueueMappingDetail,
        },
        message::{
            names::{self, NameError},
            perm, sys_flag,
        },
        static_topic::accept::MappingRefused,
    },
    store::{
        error::StoreError,
        now_ms,
        tables::{ConfigFile, Tables},
    },
};

mod actor;

use actor::{Change, ChangeTopics, TopicsActor};

/// Topics that a broker keeps at most.
pub const TOPICS_MAX: usize = 1 << 20;

/// Why there is no such topic, or why it was not changed. The text is the remark to answer with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopicError {
    /// The name cannot be a topic's.
    #[error(transparent)]
    BadName(#[from] NameError),
    /// It does not exist, and may not be made.
    #[error(
        "topic[{0}] not exist, apply first please!\n\
         See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    NotExist(String),
    /// It belongs to the system.
    #[error("The topic[{0}] is conflict with system topic.")]
    System(String),
    /// Its attributes cannot be changed so.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// Its mapping cannot be taken.
    #[error(transparent)]
    Mapping(#[from] MappingRefused),
    /// The table is full.
    #[error("the broker has {TOPICS_MAX} topics and takes no more")]
    Full,
    /// What belongs to its predecessor is not gone yet.
    #[error("topic[{0}] is being deleted, try again later")]
    BeingDeleted(String),
    /// The topics actor crashed with the change: it may have been made.
    #[error("{0}")]
    Actor(#[from] ActorError),
}

impl TopicError {
    /// The code to answer with.
    pub fn code(&self) -> ResponseCode {
        match self {
            Self::BadName(_) | Self::System(_) => ResponseCode::InvalidParameter,
            Self::NotExist(_) => ResponseCode::TopicNotExist,
            Self::BeingDeleted(_) => ResponseCode::SystemBusy,
            _ => ResponseCode::SystemError,
        }
    }
}

/// Topics that were made or changed.
#[derive(Debug, Clone)]
pub struct TopicsChanged {
    /// The topics as they are now.
    pub topics: Vec<Arc<TopicConfig>>,
    /// Names of those that were deleted.
    pub deleted: Vec<Str>,
    /// The table's version after the change.
    pub version: DataVersion,
}

/// Ends once those who are to know of a change before its answer know of it, or have had their time.
pub type Spread = BoxFuture<'static, ()>;

type BeforePut = Box<dyn Fn(&TopicConfig) + Send + Sync>;

type Listener = Box<dyn Fn(&TopicsChanged) -> Option<Spread> + Send + Sync>;

struct Shared {
    config: Arc<Live<BrokerConfig>>,
    /// `enableLmq`.
    lmqs: bool,
    topics: DashMap<Str, Arc<TopicConfig>>,
    mappings: Mappings,
    system: BTreeSet<String>,
    version: TableVersion,
    dirty: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
    before_put: OnceLock<BeforePut>,
    /// Only the actor writes it.
    file: Mutex<ConfigFile<TopicConfigSerializeWrapper>>,
    /// Topics that nobody may make until their deletion has ended.
    being_deleted: Mutex<BTreeSet<String>>,
    /// Deletions and changes of static topics come one after the other.
    alone: tokio::sync::Mutex<()>,
}

/// The topics of a broker. Cloning it is two reference counts.
#[derive(Clone)]
pub struct Topics {
    shared: Arc<Shared>,
    actor: ActorRef<TopicsActor>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Topics({})", self.shared.topics.len())
    }
}

/// A send to a topic that does not exist.
#[derive(Debug, Clone)]
pub struct CreateForSend<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The topic to make it after: `TBW102`.
    pub default_topic: &'a str,
    /// How many queues the client wants at most.
    pub queue_nums: i32,
    /// Whether the client works in unit mode.
    pub unit_mode: bool,
}

impl Topics {
    /// Reads topics.json, adds the system's topics, and starts the actor at `parent/topics`. Its
    /// thread writes files: it should be one that may block.
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
            "topics",
            "topics",
            arbiter,
            tree.restart_policy(),
            move |cell| TopicsActor::recover(cell, own),
        );
        Ok(Self { shared, actor })
    }

    /// A topic. With `enableLmq` every light message queue is one, of one queue.
    pub fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        if self.shared.is_lmq(topic) {
            let config = TopicConfig::new(topic, 1, perm::READ | perm::WRITE);
            return Some(Arc::new(config));
        }
        self.shared.topics.get(topic).map(|config| config.clone())
    }

    /// Whether the topic exists.
    pub fn contains(&self, topic: &str) -> bool {
        self.shared.is_lmq(topic) || self.shared.topics.contains_key(topic)
    }

    /// The mapping of a topic, if it is a static one.
    pub fn mapping(&self, topic: &str) -> Option<Arc<Mapping>> {
        self.shared.mappings.get(topic)
    }

    /// The mappings of static topics.
    pub fn mappings(&self) -> &Mappings {
        &self.shared.mappings
    }

    /// Whether the topic exists and its messages are ordered.
    pub fn is_order(&self, topic: &str) -> bool {
        self.shared
            .topics
            .get(topic)
            .is_some_and(|config| config.order)
    }

    /// Whether the topic belongs to the system.
    pub fn is_system(&self, topic: &str) -> bool {
        names::is_system_topic(topic) || self.shared.system.contains(topic)
    }

    /// The names that belong to the system (code 305).
    pub fn system_names(&self) -> &BTreeSet<String> {
        &self.shared.system
    }

    /// The table's version.
    pub fn version(&self) -> DataVersion {
        self.shared.version.get()
    }

    /// All topics, in no order.
    pub fn all(&self) -> Vec<Arc<TopicConfig>> {
        self.shared
            .topics
            .iter()
            .map(|config| config.clone())
            .collect()
    }

    /// All topics by name, with the mappings of static ones and the versions of both.
    pub fn snapshot(&self) -> TopicConfigAndMappingSerializeWrapper {
        let table = self.shared.snapshot();
        let mappings = &self.shared.mappings;
        TopicConfigAndMappingSerializeWrapper {
            mapping_data_version: Some(mappings.version()),
            topic_queue_mapping_detail_map: mappings
                .details_of(|topic| table.topic_config_table.contains_key(topic)),
            ..table.into()
        }
    }

    /// Names of the topics that are not among others.
    pub fn names_but(&self, is_known: impl Fn(&str) -> bool) -> Vec<String> {
        let names = self
            .shared
            .topics
            .iter()
            .map(|topic| topic.key().to_string());
        names.filter(|name| !is_known(name)).collect()
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.shared.topics.len()
    }

    /// Whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.shared.topics.is_empty()
    }

    /// Has `listener` called after each change that is on disk, on the actor's thread: it must not
    /// block. Whoever asked for the change is answered after what it yields has ended.
    pub fn on_change(
        &self,
        listener: impl Fn(&TopicsChanged) -> Option<Spread> + Send + Sync + 'static,
    ) {
        lock(&self.shared.listeners).push(Box::new(listener));
    }

    /// Has `told` called for each topic that is made, changed or taken from a master, before anybody finds
    /// it here; once.
    pub fn before_put(&self, told: impl Fn(&TopicConfig) + Send + Sync + 'static) {
        // A second one is not asked for.
        let _ = self.shared.before_put.set(Box::new(told));
    }

    /// Ends with the next change; one between this call and the first await counts, too.
    pub fn next_change(&self) -> tokio::sync::futures::Notified<'_> {
        self.shared.version.next_change()
    }

    /// Makes the topic of a send after the default topic, if that may be inherited. A retry topic
    /// is made in any case.
    ///
    /// # Errors
    /// [`TopicError::BadName`], [`TopicError::NotExist`] where it may not be made.
    pub async fn create_for_send(
        &self,
        request: CreateForSend<'_>,
    ) -> Result<Arc<TopicConfig>, TopicError> {
        names::validate_topic(request.topic)?;
        let is_retry = names::is_retry_topic(request.topic);
        let topic_sys_flag = match (request.unit_mode, is_retry) {
            (false, _) => 0,
            (true, true) => sys_flag::topic::UNIT_SUB,
            (true, false) => sys_flag::topic::UNIT,
        };
        let change = Change::CreateForSend {
            topic: request.topic.to_owned(),
            default_topic: request.default_topic.to_owned(),
            queue_nums: request.queue_nums,
            topic_sys_flag,
        };
        match self.change(change).await {
            Err(TopicError::NotExist(_)) if is_retry => {
                self.create_retry(request.topic, 1, false, topic_sys_flag)
                    .await
            }
            made => one(made?, request.topic),
        }
    }

    /// Makes a retry or dead letter topic; one that exists gets `order` and is otherwise left.
    /// Does not ask the actor if there is nothing to do.
    ///
    /// # Errors
    /// [`TopicError::Full`], [`TopicError::Actor`].
    pub async fn create_retry(
        &self,
        topic: &str,
        queue_nums: i32,
        order: bool,
        topic_sys_flag: i32,
    ) -> Result<Arc<TopicConfig>, TopicError> {
        if let Some(config) = self.get(topic).filter(|config| config.order == order) {
            return Ok(config);
        }
        let mut config = TopicConfig::new(topic, queue_nums, perm::READ | perm::WRITE);
        config.order = order;
        config.topic_sys_flag = topic_sys_flag;
        one(self.change(Change::CreateRetry(config)).await?, topic)
    }

    /// Makes a topic unless it exists.
    ///
    /// # Errors
    /// [`TopicError::Full`], [`TopicError::Actor`].
    pub async fn create_if_absent(
        &self,
        config: TopicConfig,
    ) -> Result<Arc<TopicConfig>, TopicError> {
        if let Some(config) = self.get(&config.topic_name) {
            return Ok(config);
        }
        let topic = config.topic_name.clone();
        one(self.change(Change::CreateIfAbsent(config)).await?, &topic)
    }

    /// Makes or changes topics; their attributes are changes with signs, see [`super::attributes`]. With an
    /// error some of them may have been changed, as in RocketMQ.
    ///
    /// # Errors
    /// [`TopicError::Attribute`], [`TopicError::Full`].
    pub async fn update(&self, mut configs: Vec<TopicConfig>) -> Result<(), TopicError> {
        configs.retain(|config| !self.shared.is_lmq(&config.topic_name));
        self.change(Change::Update(configs)).await.map(drop)
    }

    /// Makes or changes a static topic with its mapping; with `force` whatever mapping is known. With an
    /// error nothing was changed. (RocketMQ changes the topic before it looks at the mapping.)
    ///
    /// # Errors
    /// [`TopicError::Mapping`] and those of [`Topics::update`].
    pub async fn update_static(
        &self,
        config: TopicConfig,
        mapping: TopicQueueMappingDetail,
        force: bool,
    ) -> Result<(), TopicError> {
        let change = Change::UpdateStatic {
            config,
            mapping,
            force,
        };
        self.change(change).await.map(drop)
    }

    /// Changes what is in the mapping of a topic, unless it was changed since it was looked at.
    ///
    /// # Errors
    /// [`TopicError::Mapping`], [`TopicError::Actor`].
    pub async fn replace_mapping(
        &self,
        before: Arc<TopicQueueMappingDetail>,
        after: TopicQueueMappingDetail,
    ) -> Result<(), TopicError> {
        let change = Change::ReplaceMapping { before, after };
        self.change(change).await.map(drop)
    }

    /// Replaces both tables by a master's, versions included.
    ///
    /// # Errors
    /// [`TopicError::Actor`].
    pub async fn mirror(
        &self,
        tables: TopicConfigAndMappingSerializeWrapper,
    ) -> Result<(), TopicError> {
        self.change(Change::Mirror(tables)).await.map(drop)
    }

    /// Counts a change of what registrations say of the topics although the topics did not change:
    /// NameServers take a registration in whose version is new (`RouteInfoManager.registerBroker`).
    ///
    /// # Errors
    /// [`TopicError::Actor`].
    pub async fn advance_version(&self) -> Result<(), TopicError> {
        self.change(Change::AdvanceVersion).await.map(drop)
    }

    /// Waits until no deletion, nor change of a static topic, is under way; holds others off while the
    /// guard lives.
    pub async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.shared.alone.lock().await
    }

    /// Nothing is left of a deleted topic: it may be made again.
    pub fn end_deletion(&self, topic: &str) {
        lock(&self.shared.being_deleted).remove(topic);
    }

    /// Deletes a topic from the table; false if there was none. What belongs to it elsewhere is
    /// the caller's business: until [`end_deletion`](Self::end_deletion) nobody makes it again.
    ///
    /// # Errors
    /// [`TopicError::Actor`].
    pub async fn delete(&self, topic: &str) -> Result<bool, TopicError> {
        Ok(!self
            .change(Change::Delete(topic.to_owned()))
            .await?
            .is_empty())
    }

    /// Marks topics as ordered, as the NameServer's order configuration has them.
    pub fn mark_ordered(&self, topics: impl IntoIterator<Item = String>) {
        let news: Vec<String> = topics
            .into_iter()
            .filter(|topic| self.get(topic).is_some_and(|config| !config.order))
            .collect();
        if !news.is_empty() {
            self.actor.tell(ChangeTopics {
                change: Change::MarkOrdered(news),
                reply: None,
            });
        }
    }

    /// Writes the table down if it is not, and stops the actor.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when it crashed meanwhile.
    pub async fn shut_down(&self) -> Result<(), ActorError> {
        self.actor.ask(Shutdown).await
    }

    async fn change(&self, change: Change) -> Result<Vec<Arc<TopicConfig>>, TopicError> {
        let (reply, answer) = oneshot::channel();
        self.actor.tell(ChangeTopics {
            change,
            reply: Some(reply),
        });
        answer
            .await
            .unwrap_or(Err(TopicError::Actor(ActorError::Gone)))
    }
}

fn one(changed: Vec<Arc<TopicConfig>>, topic: &str) -> Result<Arc<TopicConfig>, TopicError> {
    changed
        .into_iter()
        .next()
        .ok_or_else(|| TopicError::NotExist(topic.to_owned()))
}

impl Shared {
    fn load(tables: &Tables, config: Arc<Live<BrokerConfig>>) -> Result<Self, StoreError> {
        let (file, loaded) = tables.topics()?;
        let topics = DashMap::default();
        let running = config.load();
        let system = system_topics::names_of(&running);
        for topic in system_topics::at_start(&running) {
            topics.insert(Str::from(topic.topic_name.clone()), Arc::new(topic));
        }
        let lmqs = running.store.enable_lmq;
        drop(running);
        let mut version = DataVersion::at(now_ms());
        if let Some(loaded) = loaded {
            version = loaded.data_version;
            for (name, topic) in loaded.topic_config_table {
                topics.insert(Str::from(name), Arc::new(topic));
            }
        }
        let shared = Self {
            config,
            lmqs,
            topics,
            mappings: Mappings::load(tables)?,
            system,
            version: TableVersion::new(version),
            dirty: AtomicBool::new(false),
            listeners: Mutex::default(),
            before_put: OnceLock::new(),
            file: Mutex::new(file),
            being_deleted: Mutex::default(),
            alone: tokio::sync::Mutex::default(),
        };
        shared
            .mappings
            .keep(|topic| shared.topics.contains_key(topic));
        for topic in shared.topics.iter() {
            if let Some(what) = attributes::not_built(&topic.attributes) {
                log::error!(
                    "topic={} is not served: {what} is not supported",
                    topic.key()
                );
            }
        }
        Ok(shared)
    }

    fn snapshot(&self) -> TopicConfigSerializeWrapper {
        let topics = self.topics.iter();
        TopicConfigSerializeWrapper {
            data_version: self.version.get(),
            topic_config_table: topics
                .map(|topic| (topic.key().to_string(), (**topic.value()).clone()))
                .collect(),
        }
    }

    fn put(&self, config: TopicConfig) -> Result<Arc<TopicConfig>, TopicError> {
        let name = Str::from(config.topic_name.clone());
        if self.topics.len() >= TOPICS_MAX && !self.topics.contains_key(&name) {
            return Err(TopicError::Full);
        }
        self.tell_before_put(&config);
        let config = Arc::new(config);
        self.topics.insert(name, config.clone());
        self.count_change();
        Ok(config)
    }

    fn tell_before_put(&self, config: &TopicConfig) {
        if let Some(told) = self.before_put.get() {
            told(config);
        }
    }

    fn count_change(&self) {
        self.version.count();
        self.dirty.store(true, Relaxed);
    }

    /// Whether the topic is a light message queue, which need not be made and is in no table
    /// (`LmqTopicConfigManager`).
    fn is_lmq(&self, topic: &str) -> bool {
        self.lmqs && names::is_lmq(topic)
    }

    /// The topic that a new one is made after, if that is allowed.
    fn heritage(&self, default_topic: &str) -> Option<Arc<TopicConfig>> {
        let mut parent = self.topics.get(default_topic)?.clone();
        let auto_create = self.config.load().broker.auto_create_topic_enable;
        if default_topic == names::AUTO_CREATE_TOPIC && !auto_create {
            // A file of earlier days may have it inheritable.
            parent = Arc::new(TopicConfig {
                perm: perm::READ | perm::WRITE,
                ..(*parent).clone()
            });
            self.topics
                .insert(default_topic.to_owned().into(), parent.clone());
        }
        perm::is_inherited(parent.perm).then_some(parent)
    }
}
