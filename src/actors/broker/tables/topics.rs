//! The topics of a broker (`TopicConfigManager`): a published table, and the actor that alone changes
//! it and keeps topics.json.
//!
//! A change is in the table at once and answered once it is on disk: one write serves all changes
//! of one drain of the mailbox. The table outlives a crash of its actor; a restart writes it down
//! once more, and the changes that were not answered yet are told "outcome unknown".

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ArbiterHandle, AsyncContext, Context, Handler, Message, Supervised,
};
use dashmap::DashMap;
use tokio::sync::oneshot;

use super::{
    attributes::{self, AttributeError},
    file::{TableError, TableFile},
    system_topics,
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
            topic_config::{TopicConfig, TopicConfigSerializeWrapper},
        },
        message::{
            names::{self, NameError},
            perm, sys_flag,
        },
    },
    store::fs::Fs,
};

/// Topics that a broker keeps at most.
pub const TOPICS_MAX: usize = 1 << 20;
/// How often a table that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

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
    /// The table is full.
    #[error("the broker has {TOPICS_MAX} topics and takes no more")]
    Full,
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

type Listener = Box<dyn Fn(&TopicsChanged) + Send + Sync>;

struct Shared {
    config: Arc<Live<BrokerConfig>>,
    topics: DashMap<Str, Arc<TopicConfig>>,
    system: BTreeSet<String>,
    version: Mutex<DataVersion>,
    dirty: AtomicBool,
    listeners: Mutex<Vec<Listener>>,
    file: TableFile,
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
    /// Reads topics.json below `store_root`, adds the system's topics, and starts the actor at
    /// `parent/topics`. Its thread writes files: it should be one that may block.
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
            "topics",
            "topics",
            arbiter,
            RestartPolicy::default(),
            move |cell| TopicsActor::recover(cell, own),
        );
        Ok(Self { shared, actor })
    }

    /// A topic.
    pub fn get(&self, topic: &str) -> Option<Arc<TopicConfig>> {
        self.shared.topics.get(topic).map(|config| config.clone())
    }

    /// Whether the topic exists.
    pub fn contains(&self, topic: &str) -> bool {
        self.shared.topics.contains_key(topic)
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
        *lock(&self.shared.version)
    }

    /// All topics, in no order.
    pub fn all(&self) -> Vec<Arc<TopicConfig>> {
        self.shared
            .topics
            .iter()
            .map(|config| config.clone())
            .collect()
    }

    /// All topics by name with the table's version.
    pub fn snapshot(&self) -> TopicConfigSerializeWrapper {
        self.shared.snapshot()
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
    /// block.
    pub fn on_change(&self, listener: impl Fn(&TopicsChanged) + Send + Sync + 'static) {
        lock(&self.shared.listeners).push(Box::new(listener));
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

    /// Makes or changes topics; their attributes are changes with signs, see [`attributes`]. With an
    /// error some of them may have been changed, as in RocketMQ.
    ///
    /// # Errors
    /// [`TopicError::Attribute`], [`TopicError::Full`].
    pub async fn update(&self, configs: Vec<TopicConfig>) -> Result<(), TopicError> {
        self.change(Change::Update(configs)).await.map(drop)
    }

    /// Replaces the whole table by a master's, version included.
    ///
    /// # Errors
    /// [`TopicError::Actor`].
    pub async fn mirror(&self, table: TopicConfigSerializeWrapper) -> Result<(), TopicError> {
        self.change(Change::Mirror(table)).await.map(drop)
    }

    /// Deletes a topic from the table; false if there was none. What belongs to it elsewhere is
    /// the caller's business.
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
    fn load(
        fs: Fs,
        store_root: &Path,
        config: Arc<Live<BrokerConfig>>,
    ) -> Result<Self, TableError> {
        let file = TableFile::new(fs, store_root, "topics.json");
        let loaded: Option<TopicConfigSerializeWrapper> = file.load()?;
        let topics = DashMap::new();
        let running = config.load();
        let system = system_topics::names_of(&running);
        for topic in system_topics::at_start(&running) {
            topics.insert(Str::from(topic.topic_name.clone()), Arc::new(topic));
        }
        drop(running);
        let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
        let mut version = DataVersion::at(now);
        if let Some(loaded) = loaded {
            version = loaded.data_version;
            for (name, topic) in loaded.topic_config_table {
                topics.insert(Str::from(name), Arc::new(topic));
            }
        }
        Ok(Self {
            config,
            topics,
            system,
            version: Mutex::new(version),
            dirty: AtomicBool::new(false),
            listeners: Mutex::default(),
            file,
        })
    }

    fn snapshot(&self) -> TopicConfigSerializeWrapper {
        let topics = self.topics.iter();
        TopicConfigSerializeWrapper {
            data_version: *lock(&self.version),
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
        let config = Arc::new(config);
        self.topics.insert(name, config.clone());
        self.count_change();
        Ok(config)
    }

    fn count_change(&self) {
        let now = i64::try_from(now_ms()).unwrap_or(i64::MAX);
        lock(&self.version).next(now, 0);
        self.dirty.store(true, Relaxed);
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

/// A change of the table. The answer holds what was changed, and comes once that is on disk.
#[derive(Debug)]
enum Change {
    CreateForSend {
        topic: String,
        default_topic: String,
        queue_nums: i32,
        topic_sys_flag: i32,
    },
    CreateRetry(TopicConfig),
    CreateIfAbsent(TopicConfig),
    Update(Vec<TopicConfig>),
    Mirror(TopicConfigSerializeWrapper),
    Delete(String),
    MarkOrdered(Vec<String>),
}

type Changed = Result<Vec<Arc<TopicConfig>>, TopicError>;

/// Change the table.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChangeTopics {
    change: Change,
    reply: Option<oneshot::Sender<Changed>>,
}

/// Alone changes the table of topics and writes it down.
pub struct TopicsActor {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    /// Answers that wait for the table to be written.
    waiting: Vec<(oneshot::Sender<Changed>, Changed)>,
    changed: BTreeMap<String, Arc<TopicConfig>>,
    deleted: BTreeSet<String>,
}

impl TopicsActor {
    fn recover(cell: Arc<ActorCell>, shared: Arc<Shared>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            let version = *lock(&shown.version);
            serde_json::json!({
                "topics": shown.topics.len(), "version": version.counter,
                "unwritten": shown.dirty.load(Relaxed),
            })
        });
        Self {
            cell,
            shared,
            waiting: Vec::new(),
            changed: BTreeMap::new(),
            deleted: BTreeSet::new(),
        }
    }

    fn apply(&mut self, change: Change) -> Changed {
        let shared = self.shared.clone();
        match change {
            Change::CreateForSend {
                topic,
                default_topic,
                queue_nums,
                topic_sys_flag,
            } => {
                if let Some(known) = shared.topics.get(topic.as_str()) {
                    return Ok(vec![known.clone()]);
                }
                let Some(parent) = shared.heritage(&default_topic) else {
                    return Err(TopicError::NotExist(topic));
                };
                let queue_nums = queue_nums.min(parent.write_queue_nums).max(0);
                let config = TopicConfig {
                    topic_sys_flag,
                    topic_filter_type: parent.topic_filter_type.clone(),
                    ..TopicConfig::new(&topic, queue_nums, parent.perm & !perm::INHERIT)
                };
                self.put(config).map(|made| vec![made])
            }
            Change::CreateRetry(config) => {
                let known = shared
                    .topics
                    .get(config.topic_name.as_str())
                    .map(|known| known.clone());
                match known {
                    Some(known) if known.order == config.order => Ok(vec![known]),
                    Some(known) => {
                        let config = TopicConfig {
                            order: config.order,
                            ..(*known).clone()
                        };
                        self.put(config).map(|made| vec![made])
                    }
                    None => self.put(config).map(|made| vec![made]),
                }
            }
            Change::CreateIfAbsent(config) => {
                if let Some(known) = shared.topics.get(config.topic_name.as_str()) {
                    return Ok(vec![known.clone()]);
                }
                self.put(config).map(|made| vec![made])
            }
            Change::Update(configs) => configs
                .into_iter()
                .map(|config| self.update(config))
                .collect(),
            Change::Mirror(table) => self.mirror(table),
            Change::Delete(topic) => Ok(self.delete(&topic).into_iter().collect()),
            Change::MarkOrdered(topics) => self.mark_ordered(&topics),
        }
    }

    fn put(&mut self, config: TopicConfig) -> Result<Arc<TopicConfig>, TopicError> {
        let config = self.shared.put(config)?;
        self.deleted.remove(&config.topic_name);
        self.changed
            .insert(config.topic_name.clone(), config.clone());
        Ok(config)
    }

    fn update(&mut self, mut config: TopicConfig) -> Result<Arc<TopicConfig>, TopicError> {
        let known = self
            .shared
            .topics
            .get(config.topic_name.as_str())
            .map(|known| known.clone());
        let current = known.as_ref().map(|known| &known.attributes);
        let after = attributes::alter(attributes::OF_TOPICS, current, &config.attributes)?;
        config.attributes = after;
        log::info!(
            "{} {} topic={} read={} write={} perm={}",
            self.cell.path(),
            if known.is_some() { "changes" } else { "makes" },
            config.topic_name,
            config.read_queue_nums,
            config.write_queue_nums,
            perm::text(config.perm)
        );
        self.put(config)
    }

    fn delete(&mut self, topic: &str) -> Option<Arc<TopicConfig>> {
        let (_, old) = self.shared.topics.remove(topic)?;
        log::info!("{} deletes topic={topic}", self.cell.path());
        self.shared.count_change();
        self.changed.remove(topic);
        self.deleted.insert(topic.to_owned());
        Some(old)
    }

    fn mirror(&mut self, table: TopicConfigSerializeWrapper) -> Changed {
        let shared = &self.shared;
        shared
            .topics
            .retain(|name, _| table.topic_config_table.contains_key(&**name));
        for (name, config) in table.topic_config_table {
            shared.topics.insert(name.into(), Arc::new(config));
        }
        *lock(&shared.version) = table.data_version;
        shared.dirty.store(true, Relaxed);
        Ok(Vec::new())
    }

    fn mark_ordered(&mut self, topics: &[String]) -> Changed {
        let known = topics
            .iter()
            .filter_map(|topic| self.shared.topics.get(topic.as_str()));
        let plain = known.filter(|config| !config.order);
        let ordered: Vec<TopicConfig> = plain
            .map(|config| TopicConfig {
                order: true,
                ..(**config).clone()
            })
            .collect();
        // The NameServer knows already: nobody has to be told, and all of them are one change.
        for config in &ordered {
            self.shared
                .topics
                .insert(config.topic_name.clone().into(), Arc::new(config.clone()));
        }
        if !ordered.is_empty() {
            self.shared.count_change();
        }
        Ok(Vec::new())
    }

    /// After each drain: writes the table, tells the listeners, answers.
    fn commit(&mut self) {
        if self.shared.dirty.load(Relaxed) {
            self.save();
        }
        if !self.changed.is_empty() || !self.deleted.is_empty() {
            let changed = TopicsChanged {
                topics: std::mem::take(&mut self.changed).into_values().collect(),
                deleted: std::mem::take(&mut self.deleted)
                    .into_iter()
                    .map(Str::from)
                    .collect(),
                version: *lock(&self.shared.version),
            };
            for listener in lock(&self.shared.listeners).iter() {
                listener(&changed);
            }
        }
        for (reply, answer) in self.waiting.drain(..) {
            let _ = reply.send(answer);
        }
    }

    fn save(&mut self) {
        const WRITE_LIMIT: Duration = Duration::from_secs(60);
        self.cell.fail_point("before_save");
        self.shared.dirty.store(false, Relaxed);
        let table = self.shared.snapshot();
        let saved = self
            .cell
            .blocking(WRITE_LIMIT, || self.shared.file.save(&table));
        if let Err(error) = saved {
            // As RocketMQ: the topic works, and the next change or tick writes it down.
            log::error!("{} not written error={error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
            self.shared.dirty.store(true, Relaxed);
        }
    }
}

impl Actor for TopicsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, |act: &mut Self, _| {
            if !act.waiting.is_empty() || !act.changed.is_empty() {
                act.commit();
            }
        });
        ctx.run_interval(RETRY_EVERY, |act, _| act.commit());
    }
}

impl Supervised for TopicsActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.shared.clone());
        self.shared.dirty.store(true, Relaxed);
    }
}

crashable!(TopicsActor);

impl Handler<ChangeTopics> for TopicsActor {
    type Result = ();

    fn handle(&mut self, message: ChangeTopics, _: &mut Self::Context) {
        self.cell.begin_work();
        let answer = self.apply(message.change);
        self.cell.fail_point("after_change");
        if let Some(reply) = message.reply {
            self.waiting.push((reply, answer));
        }
    }
}

impl Handler<Shutdown> for TopicsActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.commit();
        ctx.stop();
    }
}
