//! The expressions of consumer groups (`ConsumerFilterManager`): the table, and the actor that brings
//! it to disk.
//!
//! Heartbeats write into the table, pulls read it; an expression is parsed when it comes. A group
//! that has gone keeps its entry for `filterDataCleanTimeSpan`, marked as dead. The actor writes
//! consumerFilter.json every ten seconds, if there is something new, and at shutdown. What a crash
//! loses the next heartbeats bring again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use actix::ArbiterHandle;
use bytes::Bytes;
use smallvec::SmallVec;

use self::actor::FiltersActor;
use crate::{
    actors::{
        groups::ConsumerGroups,
        kernel::{ActorError, ActorRef, Shutdown, Tree, lock, spawn},
    },
    config::{BrokerConfig, Live},
    filter::{
        FilterError, SqlFilter,
        bloom::{BitMaps, Bloom, GroupBits},
    },
    hash::DashMap,
    protocol::{
        Str,
        body::{
            files::{ConsumerFilterData, ConsumerFilterTable, FilterDataMapByTopic},
            heartbeat::{EXPRESSION_SQL92, SubscriptionData},
        },
    },
    store::{
        error::StoreError,
        get_message::EntryFilter,
        now_ms,
        tables::{ConfigFile, Tables},
    },
};

mod actor;

/// Expressions of all groups that are kept at most; further ones are refused.
const FILTERS_MAX: usize = 1 << 16;

/// Expressions of pulls that are kept parsed (RocketMQ's `SelectorParser` keeps 100).
const PARSED_MAX: usize = 100;

/// A group's expression for a topic.
#[derive(Debug)]
pub struct GroupFilter {
    /// As the file has it.
    pub data: ConsumerFilterData,
    /// Parsed; `None` for one from the file that is none.
    pub filter: Option<Arc<SqlFilter>>,
    /// Where it shows in the bit maps of messages.
    pub bits: Option<Arc<GroupBits>>,
}

impl GroupFilter {
    fn new(data: ConsumerFilterData, filter: Option<Arc<SqlFilter>>) -> Arc<Self> {
        let bits = data.bloom_filter_data.as_ref();
        let bits = bits.and_then(|bits| GroupBits::new(bits, data.born_time));
        Arc::new(Self {
            bits: bits.map(Arc::new),
            data,
            filter,
        })
    }

    /// The filter on queue entries; `None` for an expression that is none.
    pub fn on_entries(&self) -> Option<EntryFilter> {
        let filter = self.filter.clone()?;
        Some(EntryFilter::Sql(filter, self.bits.clone()))
    }
}

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no such language.
    #[error("Invalid MessageSelector. There is no filter of type {0}")]
    UnknownType(String),
    /// The expression is bad.
    #[error(transparent)]
    Bad(#[from] FilterError),
}

type Groups = BTreeMap<Str, Arc<GroupFilter>>;

struct SharedTable {
    by_topic: DashMap<Str, Groups>,
    bloom: Bloom,
    /// The last expressions of pulls that brought their own, oldest first.
    parsed: Mutex<VecDeque<(Box<str>, Arc<SqlFilter>)>>,
    dirty: AtomicBool,
    config: Arc<Live<BrokerConfig>>,
    consumers: ConsumerGroups,
    file: Mutex<ConfigFile<ConsumerFilterTable>>,
}

/// The expressions of all groups. Cloning it is two reference counts.
#[derive(Clone)]
pub struct Filters {
    shared: Arc<SharedTable>,
    actor: ActorRef<FiltersActor>,
}

/// Parses an expression of a language.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(kind: &str, expression: &str) -> Result<SqlFilter, CompileError> {
    if kind != EXPRESSION_SQL92 {
        return Err(CompileError::UnknownType(kind.to_owned()));
    }
    Ok(SqlFilter::parse(expression)?)
}

impl Filters {
    /// Reads consumerFilter.json and starts the actor at `parent/filters`. Its thread writes files:
    /// it should be one that may block.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn start(
        tree: &Tree,
        parent: &str,
        arbiter: &ArbiterHandle,
        tables: &Tables,
        config: Arc<Live<BrokerConfig>>,
        consumers: ConsumerGroups,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(SharedTable::load(tables, config, consumers)?);
        let own = shared.clone();
        let actor = spawn(
            tree,
            parent,
            "filters",
            "filters",
            arbiter,
            tree.restart_policy(),
            move |cell| FiltersActor::recover(cell, own),
        );
        Ok(Self { shared, actor })
    }

    /// Takes the subscriptions of a group's heartbeat: expressions that are new are parsed, those
    /// for topics that it no longer subscribes to are dead.
    pub fn register(&self, group: &str, subscriptions: &[SubscriptionData]) {
        let now_ms = now_ms();
        for sub in subscriptions.iter().filter(|sub| !sub.is_tag_type()) {
            self.shared.register(group, sub, now_ms);
        }
        self.shared.bury(now_ms, |topic, owner| {
            owner == group && !subscriptions.iter().any(|sub| sub.topic == topic)
        });
    }

    /// A group's expression for a topic.
    pub fn get(&self, topic: &str, group: &str) -> Option<Arc<GroupFilter>> {
        self.shared.by_topic.get(topic)?.get(group).cloned()
    }

    /// What evaluates the expressions for new messages.
    pub fn bit_maps(&self) -> Arc<dyn BitMaps> {
        self.shared.clone()
    }

    /// A group's expressions, by topic.
    pub fn of_group(&self, group: &str) -> Vec<(Str, Arc<SqlFilter>)> {
        let topics = self.shared.by_topic.iter();
        let own = topics.filter_map(|topic| {
            let filter = topic.get(group)?.filter.clone()?;
            Some((topic.key().clone(), filter))
        });
        own.collect()
    }

    /// The expression of a pull that brings its own: parsed once, not for each pull.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn parsed(&self, kind: &str, expression: &str) -> Result<Arc<SqlFilter>, CompileError> {
        let find = |parsed: &VecDeque<(Box<str>, Arc<SqlFilter>)>| {
            let found = parsed.iter().find(|(text, _)| **text == *expression);
            found.map(|(_, filter)| filter.clone())
        };
        if kind == EXPRESSION_SQL92
            && let Some(known) = find(&lock(&self.shared.parsed))
        {
            return Ok(known);
        }
        let filter = Arc::new(compile(kind, expression)?);
        let mut parsed = lock(&self.shared.parsed);
        if parsed.len() >= PARSED_MAX {
            parsed.pop_front();
        }
        parsed.push_back((expression.into(), filter.clone()));
        Ok(filter)
    }

    /// Writes the table down and stops the actor.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the actor crashed meanwhile.
    pub async fn shut_down(&self) -> Result<(), ActorError> {
        self.actor.ask(Shutdown).await
    }
}

impl SharedTable {
    fn load(
        tables: &Tables,
        config: Arc<Live<BrokerConfig>>,
        consumers: ConsumerGroups,
    ) -> Result<Self, StoreError> {
        let (file, loaded) = tables.consumer_filters()?;
        let broker = config.load_full();
        let shared = Self {
            by_topic: DashMap::default(),
            bloom: Bloom::new(
                broker.broker.max_error_rate_of_bloom_filter,
                broker.broker.expect_consumer_num_use_filter,
            ),
            parsed: Mutex::default(),
            dirty: AtomicBool::new(false),
            config,
            consumers,
            file: Mutex::new(file),
        };
        let now_ms = now_ms();
        for (topic, groups) in loaded.unwrap_or_default().filter_data_by_topic {
            for (group, data) in groups.group_filter_data {
                shared.load_one(&topic, &group, data, now_ms);
            }
        }
        Ok(shared)
    }

    /// Takes an entry of the file. Its group is taken for dead until it comes back; one whose bits
    /// were made with other dimensions gets new ones, and is as good as made now.
    fn load_one(&self, topic: &str, group: &str, mut data: ConsumerFilterData, now_ms: i64) {
        const UNTIL_THE_STOP_MS: i64 = 30_000;
        let filter = compile(&data.expression_type, &data.expression);
        if let Err(error) = &filter {
            log::warn!("filter topic={topic} group={group} cannot be used: {error}");
        }
        let bits = self.bloom.generate(&format!("{group}#{topic}"));
        if data.bloom_filter_data.as_ref() != Some(&bits) {
            data.bloom_filter_data = Some(bits);
            data.born_time = now_ms;
            data.dead_time = 0;
        }
        if data.dead_time == 0 {
            data.dead_time = data.born_time.max(now_ms - UNTIL_THE_STOP_MS);
        }
        let filter = filter.ok().map(Arc::new);
        self.put(topic, group, data, filter);
    }

    fn put(
        &self,
        topic: &str,
        group: &str,
        mut data: ConsumerFilterData,
        filter: Option<Arc<SqlFilter>>,
    ) {
        data.dead = data.dead_time >= data.born_time;
        let mut groups = self.by_topic.entry(topic.to_owned().into()).or_default();
        groups.insert(group.to_owned().into(), GroupFilter::new(data, filter));
        self.dirty.store(true, Relaxed);
    }

    /// `FilterDataMapByTopic.register`.
    fn register(&self, group: &str, sub: &SubscriptionData, now_ms: i64) {
        if sub.sub_string.is_empty() {
            return;
        }
        let known = self.by_topic.get(&*sub.topic);
        let known = known.and_then(|groups| groups.get(group).cloned());
        let Some(old) = known else {
            let count: usize = self.by_topic.iter().map(|groups| groups.len()).sum();
            if count < FILTERS_MAX {
                self.make(group, sub, now_ms);
            }
            return;
        };
        let is_same = old.data.expression == sub.sub_string
            && old.data.expression_type == sub.expression_type;
        if sub.sub_version < old.data.client_version
            || (sub.sub_version == old.data.client_version && !old.data.dead)
        {
            return;
        }
        if sub.sub_version > old.data.client_version && !is_same {
            if !self.make(group, sub, now_ms)
                && let Some(mut groups) = self.by_topic.get_mut(&*sub.topic)
            {
                // The client is told by its pulls that there is none.
                groups.remove(group);
                self.dirty.store(true, Relaxed);
            }
            return;
        }
        let data = ConsumerFilterData {
            client_version: sub.sub_version,
            dead_time: 0,
            ..old.data.clone()
        };
        self.put(&sub.topic, group, data, old.filter.clone());
    }

    /// Makes an entry; false if the expression is bad.
    fn make(&self, group: &str, sub: &SubscriptionData, now_ms: i64) -> bool {
        let filter = match compile(&sub.expression_type, &sub.sub_string) {
            Ok(filter) => Arc::new(filter),
            Err(error) => {
                let topic = &sub.topic;
                log::warn!("filter topic={topic} group={group} refused: {error}");
                return false;
            }
        };
        let bits = self.bloom.generate(&format!("{group}#{}", sub.topic));
        let data = ConsumerFilterData {
            bloom_filter_data: Some(bits),
            born_time: now_ms,
            client_version: sub.sub_version,
            consumer_group: group.to_owned(),
            dead: false,
            dead_time: 0,
            expression: sub.sub_string.clone(),
            expression_type: sub.expression_type.clone(),
            topic: sub.topic.clone(),
        };
        self.put(&sub.topic, group, data, Some(filter));
        true
    }

    /// Marks entries as dead.
    fn bury(&self, now_ms: i64, has_gone: impl Fn(&str, &str) -> bool) {
        for mut topic in self.by_topic.iter_mut() {
            let (topic, groups) = topic.pair_mut();
            for (group, entry) in groups.iter_mut() {
                if !entry.data.dead && has_gone(topic, group) {
                    let data = ConsumerFilterData {
                        dead: true,
                        dead_time: now_ms.max(entry.data.born_time),
                        ..entry.data.clone()
                    };
                    let filter = entry.filter.clone();
                    *entry = GroupFilter::new(data, filter);
                    self.dirty.store(true, Relaxed);
                }
            }
        }
    }

    /// Forgets what has been dead for too long.
    fn clean(&self, now_ms: i64) {
        let span_ms = self.config.load().broker.filter_data_clean_time_ms;
        self.by_topic.retain(|topic, groups| {
            groups.retain(|group, entry| {
                let keep = !entry.data.dead || now_ms - entry.data.dead_time < span_ms;
                if !keep {
                    log::info!("filter topic={topic} group={group} forgotten");
                    self.dirty.store(true, Relaxed);
                }
                keep
            });
            !groups.is_empty()
        });
    }

    fn snapshot(&self) -> ConsumerFilterTable {
        let by_topic = self.by_topic.iter().map(|groups| {
            let topic = groups.key().to_string();
            let groups = groups.value().iter();
            let group_filter_data = groups
                .map(|(group, entry)| (group.to_string(), entry.data.clone()))
                .collect();
            let map = FilterDataMapByTopic {
                group_filter_data,
                topic: topic.clone(),
            };
            (topic, map)
        });
        ConsumerFilterTable {
            filter_data_by_topic: by_topic.collect(),
        }
    }
}

/// `CommitLogDispatcherCalcBitMap`: all groups, also those that have gone, for they may come back and go
/// on where they were.
impl BitMaps for SharedTable {
    fn bit_map(&self, topic: &str, properties: &dyn Fn() -> Option<Bytes>) -> SmallVec<[u8; 16]> {
        let mut bit_map = SmallVec::new();
        if !self.config.load().broker.enable_calc_filter_bit_map {
            return bit_map;
        }
        let Some(groups) = self.by_topic.get(topic) else {
            return bit_map;
        };
        let Some(properties) = properties() else {
            return bit_map;
        };
        bit_map.resize(self.bloom.map_len(), 0);
        for group in groups.values() {
            if let (Some(filter), Some(bits)) = (&group.filter, &group.bits)
                && filter.matches(&properties)
            {
                bits.set(&mut bit_map);
            }
        }
        bit_map
    }
}

#[cfg(test)]
mod tests;
