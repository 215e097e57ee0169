//! Which logic queues of static topics are which queues of which broker (`TopicQueueMappingManager`).
//!
//! Published as the topics are, and changed by their actor alone: a topic and its mapping change in one
//! turn, are told to NameServers in one registration, and go together. They have a file each, of which a
//! kill may leave one old: a mapping is written down before its topic, and forgotten after it, so that
//! no static topic is ever taken for an ordinary one. What is left without a topic goes at the next start.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::table_version::TableVersion;
use crate::{
    actors::kernel::{ActorCell, lock},
    hash::DashMap,
    protocol::{
        Str,
        body::{
            DataVersion,
            topic_queue_mapping::{TopicQueueMappingDetail, TopicQueueMappingInfo},
        },
    },
    store::{
        error::StoreError,
        now_ms,
        tables::{ConfigFile, Tables, TopicQueueMappingSerializeWrapper},
    },
};

/// The mapping of one topic, until it is replaced by the next.
///
/// Sends keep it until they are answered, and nobody else keeps it for longer than a look: so who
/// replaced it can wait until nothing is under way by the old one ([`Mapping::is_left`]). Whoever
/// wants only to know what is in it takes [`Mapping::detail`].
#[derive(Debug)]
pub struct Mapping {
    detail: Arc<TopicQueueMappingDetail>,
}

impl Mapping {
    fn new(detail: TopicQueueMappingDetail) -> Arc<Self> {
        let detail = Arc::new(detail);
        Arc::new(Self { detail })
    }

    /// What is in it.
    pub fn detail(&self) -> &Arc<TopicQueueMappingDetail> {
        &self.detail
    }

    /// Whether nobody but the caller has it any more. For one that was replaced: then it stays so.
    pub fn is_left(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }
}

/// The mappings of a broker, by topic.
pub struct Mappings {
    table: DashMap<Str, Arc<Mapping>>,
    /// Those in the table. Most brokers have none, and then a look costs one load.
    count: AtomicUsize,
    version: TableVersion,
    dirty: AtomicBool,
    /// Only the actor of the topics writes it.
    file: Mutex<ConfigFile<TopicQueueMappingSerializeWrapper>>,
}

impl Mappings {
    /// Reads topicQueueMapping.json.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub(super) fn load(tables: &Tables) -> Result<Self, StoreError> {
        let (file, loaded) = tables.topic_queue_mapping()?;
        let version = loaded.as_ref().map(|loaded| loaded.data_version);
        let mappings = Self {
            table: DashMap::default(),
            count: AtomicUsize::new(0),
            version: TableVersion::new(version.unwrap_or_else(|| DataVersion::at(now_ms()))),
            dirty: AtomicBool::new(false),
            file: Mutex::new(file),
        };
        mappings.fill(loaded.unwrap_or_default().topic_queue_mapping_info_map);
        Ok(mappings)
    }

    fn fill(&self, all: BTreeMap<String, TopicQueueMappingDetail>) {
        for (topic, detail) in all {
            self.table.insert(topic.into(), Mapping::new(detail));
        }
        self.count.store(self.table.len(), Release);
    }

    /// The mapping of a topic, if it is a static one.
    pub fn get(&self, topic: &str) -> Option<Arc<Mapping>> {
        if self.count.load(Acquire) == 0 {
            return None;
        }
        self.table.get(topic).map(|mapping| mapping.clone())
    }

    /// What is in the mapping of a topic.
    pub fn detail(&self, topic: &str) -> Option<Arc<TopicQueueMappingDetail>> {
        Some(self.get(topic)?.detail.clone())
    }

    /// The topics that have one, with what is in it.
    pub fn details(&self) -> Vec<(Str, Arc<TopicQueueMappingDetail>)> {
        let all = self.table.iter();
        all.map(|mapping| (mapping.key().clone(), mapping.detail.clone()))
            .collect()
    }

    /// What is in the mappings of some topics, for other brokers.
    pub fn details_of(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, TopicQueueMappingDetail> {
        self.of(is_wanted, TopicQueueMappingDetail::clone)
    }

    /// What NameServers are told of the mappings of some topics.
    pub fn infos_of(
        &self,
        is_wanted: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, TopicQueueMappingInfo> {
        self.of(is_wanted, TopicQueueMappingDetail::to_info)
    }

    fn of<T>(
        &self,
        is_wanted: impl Fn(&str) -> bool,
        what: impl Fn(&TopicQueueMappingDetail) -> T,
    ) -> BTreeMap<String, T> {
        let all = self.details().into_iter();
        all.filter(|(topic, _)| is_wanted(topic))
            .map(|(topic, detail)| (topic.to_string(), what(&detail)))
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count.load(Acquire)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The table's version.
    pub fn version(&self) -> DataVersion {
        self.version.get()
    }

    pub(super) fn put(&self, topic: &str, detail: TopicQueueMappingDetail) {
        self.table
            .insert(Str::from(topic.to_owned()), Mapping::new(detail));
        self.changed();
    }

    /// Takes a change back: `before` is what there was.
    pub(super) fn restore(&self, topic: &str, before: Option<Arc<Mapping>>) {
        match before {
            Some(before) => drop(self.table.insert(Str::from(topic.to_owned()), before)),
            None => drop(self.table.remove(topic)),
        }
        self.changed();
    }

    /// Forgets those whose topic is gone.
    pub(super) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        let before = self.table.len();
        self.table.retain(|topic, _| is_there(topic));
        if self.table.len() != before {
            self.changed();
        }
    }

    /// Takes a master's, with their version.
    pub(super) fn mirror(
        &self,
        all: BTreeMap<String, TopicQueueMappingDetail>,
        version: Option<DataVersion>,
    ) {
        if let Some(version) = version {
            self.version.set(version);
        }
        if all.is_empty() && self.is_empty() {
            return;
        }
        self.table.retain(|topic, _| all.contains_key(&**topic));
        self.fill(all);
        self.dirty.store(true, Relaxed);
    }

    fn changed(&self) {
        self.count.store(self.table.len(), Release);
        self.version.count();
        self.dirty.store(true, Relaxed);
    }

    /// Has the next [`save`](Self::save) write them down once more.
    pub(super) fn save_again(&self) {
        let has_any = !self.is_empty();
        self.dirty.fetch_or(has_any, Relaxed);
    }

    /// Writes them down if they changed since; false when that failed, which the next call mends.
    pub(super) fn save(&self, cell: &ActorCell) -> bool {
        if !self.dirty.swap(false, Relaxed) {
            return true;
        }
        let table = TopicQueueMappingSerializeWrapper {
            data_version: self.version(),
            topic_queue_mapping_info_map: self.details_of(|_| true),
        };
        let saved = cell.write_file(|| lock(&self.file).save(&table));
        self.dirty.fetch_or(!saved, Relaxed);
        saved
    }
}
