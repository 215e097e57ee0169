//! The actor behind [`super::Topics`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Shared, TopicError, TopicsChanged};
use crate::{
    actors::{
        broker::tables::attributes,
        kernel::{ActorCell, Shutdown, after_drain, lock},
    },
    crashable,
    protocol::{
        Str,
        body::{
            topic_config::{TopicConfig, TopicConfigAndMappingSerializeWrapper},
            topic_queue_mapping::TopicQueueMappingDetail,
        },
        message::perm,
        static_topic::accept::accept,
    },
};

/// How often a table that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// A change of the table. The answer holds what was changed, and comes once that is on disk and its
/// [`Spread`](super::Spread) has ended.
#[derive(Debug)]
pub(super) enum Change {
    CreateForSend {
        topic: String,
        default_topic: String,
        queue_nums: i32,
        topic_sys_flag: i32,
    },
    CreateRetry(TopicConfig),
    CreateIfAbsent(TopicConfig),
    Update(Vec<TopicConfig>),
    UpdateStatic {
        config: TopicConfig,
        mapping: TopicQueueMappingDetail,
        force: bool,
    },
    ReplaceMapping {
        before: Arc<TopicQueueMappingDetail>,
        after: TopicQueueMappingDetail,
    },
    Mirror(TopicConfigAndMappingSerializeWrapper),
    Delete(String),
    MarkOrdered(Vec<String>),
    AdvanceVersion,
}

pub(super) type Changed = Result<Vec<Arc<TopicConfig>>, TopicError>;

/// Change the table.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChangeTopics {
    pub(super) change: Change,
    pub(super) reply: Option<oneshot::Sender<Changed>>,
}

/// Alone changes the table of topics and writes it down.
pub struct TopicsActor {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    /// Answers that wait for the table to be written.
    waiting: Vec<(oneshot::Sender<Changed>, Changed)>,
    changed: BTreeMap<String, Arc<TopicConfig>>,
    deleted: BTreeSet<String>,
    /// Topics may have gone whose mappings are still there.
    sweeps: bool,
}

impl TopicsActor {
    pub(super) fn recover(cell: Arc<ActorCell>, shared: Arc<Shared>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            let version = shown.version.get();
            serde_json::json!({
                "topics": shown.topics.len(), "mappings": shown.mappings.len(),
                "version": version.counter,
                "unwritten": shown.dirty.load(Relaxed),
            })
        });
        Self {
            cell,
            shared,
            waiting: Vec::new(),
            changed: BTreeMap::new(),
            deleted: BTreeSet::new(),
            sweeps: true,
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
            Change::UpdateStatic {
                config,
                mapping,
                force,
            } => self.update_static(config, mapping, force),
            Change::ReplaceMapping { before, after } => self.replace_mapping(&before, after),
            Change::Mirror(tables) => self.mirror(tables),
            Change::Delete(topic) => Ok(self.delete(&topic).into_iter().collect()),
            Change::MarkOrdered(topics) => self.mark_ordered(&topics),
            Change::AdvanceVersion => {
                shared.count_change();
                Ok(Vec::new())
            }
        }
    }

    fn put(&mut self, config: TopicConfig) -> Result<Arc<TopicConfig>, TopicError> {
        if lock(&self.shared.being_deleted).contains(&config.topic_name) {
            return Err(TopicError::BeingDeleted(config.topic_name));
        }
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

    /// The mapping first: a send that finds the topic is to find what its queues are, too.
    fn update_static(
        &mut self,
        config: TopicConfig,
        mapping: TopicQueueMappingDetail,
        force: bool,
    ) -> Changed {
        let shared = self.shared.clone();
        let topic = config.topic_name.clone();
        let before = shared.mappings.get(&topic);
        let known = before.as_ref().map(|before| &**before.detail());
        let taken = accept(known, mapping, force)?;
        log::info!(
            "{} maps topic={topic} epoch={} queues={} total={} force={force}",
            self.cell.path(),
            taken.epoch,
            taken.hosted_queues.len(),
            taken.total_queues
        );
        shared.mappings.put(&topic, taken);
        match self.update(config) {
            Ok(config) => Ok(vec![config]),
            Err(error) => {
                shared.mappings.restore(&topic, before);
                Err(error)
            }
        }
    }

    fn replace_mapping(
        &mut self,
        before: &Arc<TopicQueueMappingDetail>,
        after: TopicQueueMappingDetail,
    ) -> Changed {
        let shared = &self.shared;
        let known = shared.mappings.detail(&before.topic);
        if known.is_some_and(|known| Arc::ptr_eq(&known, before)) {
            shared.mappings.put(&before.topic, after);
            // So that slaves hear of it.
            shared.count_change();
        }
        Ok(Vec::new())
    }

    fn delete(&mut self, topic: &str) -> Option<Arc<TopicConfig>> {
        lock(&self.shared.being_deleted).insert(topic.to_owned());
        self.sweeps = true;
        let (_, old) = self.shared.topics.remove(topic)?;
        log::info!("{} deletes topic={topic}", self.cell.path());
        self.shared.count_change();
        self.changed.remove(topic);
        self.deleted.insert(topic.to_owned());
        Some(old)
    }

    fn mirror(&mut self, tables: TopicConfigAndMappingSerializeWrapper) -> Changed {
        let shared = &self.shared;
        shared.mappings.mirror(
            tables.topic_queue_mapping_detail_map,
            tables.mapping_data_version,
        );
        shared
            .topics
            .retain(|name, _| tables.topic_config_table.contains_key(&**name));
        for (name, config) in tables.topic_config_table {
            shared.tell_before_put(&config);
            shared.topics.insert(name.into(), Arc::new(config));
        }
        shared.version.set(tables.data_version);
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

    /// After each drain: writes the table, tells the listeners, answers once they are done.
    fn commit(&mut self) {
        // Mappings before their topics: see `super::super::mappings`. While they cannot be written the
        // topics are not either, and the next tick tries again.
        let is_mapped = self.shared.mappings.save(&self.cell);
        if self.shared.dirty.load(Relaxed) {
            if is_mapped {
                self.save();
            }
            self.shared.version.tell();
        }
        self.sweep();
        let mut spreads = Vec::new();
        if !self.changed.is_empty() || !self.deleted.is_empty() {
            let changed = TopicsChanged {
                topics: std::mem::take(&mut self.changed).into_values().collect(),
                deleted: std::mem::take(&mut self.deleted)
                    .into_iter()
                    .map(Str::from)
                    .collect(),
                version: self.shared.version.get(),
            };
            for listener in lock(&self.shared.listeners).iter() {
                spreads.extend(listener(&changed));
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        let answer_all = move || {
            for (reply, answer) in waiting {
                let _ = reply.send(answer);
            }
        };
        if spreads.is_empty() {
            answer_all();
        } else {
            // Not the actor's: what is on disk is answered, whether it stops or crashes meanwhile.
            actix::spawn(async move {
                join_all(spreads).await;
                answer_all();
            });
        }
    }

    /// Forgets the mappings of topics that are gone, once they are gone on disk as well.
    fn sweep(&mut self) {
        let shared = &self.shared;
        if !self.sweeps || shared.dirty.load(Relaxed) {
            return;
        }
        self.sweeps = false;
        let is_there = |topic: &str| shared.topics.contains_key(topic);
        shared.mappings.keep(is_there);
        shared.mappings.save(&self.cell);
    }

    fn save(&mut self) {
        self.cell.fail_point("before_save");
        self.shared.dirty.store(false, Relaxed);
        let table = self.shared.snapshot();
        let file = &self.shared.file;
        if !self.cell.write_file(|| lock(file).save(&table)) {
            // As RocketMQ: the topic works, and the next change or tick writes it down.
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
        self.shared.mappings.save_again();
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
