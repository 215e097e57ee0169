//! Forgets what mappings need no longer (`TopicQueueMappingCleanService`): every five minutes, in the hours
//! in which old files go (`deleteWhen`), the oldest stretch of a queue when nothing is left of its
//! messages, and whole queues that went on elsewhere twice since they were here.
//!
//! Owns nothing: a restart loses the round under way. With code 329 a round is made at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, Message,
    Supervised, WrapFuture,
};

use super::forward::{ForwardError, Forwarder, success};
use crate::{
    actors::{
        broker::{
            context::StoreHandles,
            registrar::Registrars,
            settings::retention_policy,
            tables::{Topics, topics::TopicError},
        },
        kernel::{ActorCell, ActorRef, Shutdown, Tree, spawn},
        store::retention::is_hour,
    },
    config::{BrokerConfig, Live},
    crashable,
    protocol::{
        RequestCode, Str,
        body::{
            MessageQueue, stats::TopicStatsTable, topic_config::TopicConfigAndQueueMapping,
            topic_queue_mapping::TopicQueueMappingDetail,
        },
        fastjson,
        header::topic::{GetTopicConfigRequestHeader, GetTopicStatsInfoRequestHeader},
        static_topic::{
            clean::{is_expired, is_superseded, led_elsewhere, oldest, without_oldest},
            mock_broker_name, route,
        },
    },
};

/// How often it is looked whether it is time.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// What serves static topics beside the tables.
#[derive(Clone)]
pub struct StaticTopics {
    /// Asks other brokers.
    pub forwarder: Arc<Forwarder>,
    /// Forgets what is needed no longer.
    pub actor: ActorRef<Cleaner>,
}

impl StaticTopics {
    /// Starts the actor at `parent/static_topics`.
    pub fn start(tree: &Tree, parent: &str, arbiter: &ArbiterHandle, parts: CleanerParts) -> Self {
        let forwarder = Arc::clone(&parts.forwarder);
        let policy = tree.restart_policy();
        let name = "static_topics";
        let actor = spawn(tree, parent, name, name, arbiter, policy, move |cell| {
            Cleaner::recover(cell, parts)
        });
        Self { forwarder, actor }
    }
}

/// What the cleaner is made of.
#[derive(Clone)]
pub struct CleanerParts {
    /// Configuration.
    pub config: Arc<Live<BrokerConfig>>,
    /// Topics and their mappings.
    pub topics: Topics,
    /// The queues here.
    pub store: StoreHandles,
    /// Asks the other brokers.
    pub forwarder: Arc<Forwarder>,
}

/// The actor; see the module.
pub struct Cleaner {
    cell: Arc<ActorCell>,
    parts: CleanerParts,
    /// A round is under way.
    busy: bool,
}

/// Make a round now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CleanNow;

impl Cleaner {
    /// State for a first start and for every restart.
    fn recover(cell: Arc<ActorCell>, parts: CleanerParts) -> Self {
        let forwarder = Arc::clone(&parts.forwarder);
        let topics = parts.topics.clone();
        cell.set_detail(move || {
            let (asked, failed, under_way) = forwarder.counts();
            serde_json::json!({
                "mappings": topics.mappings().len(),
                "forwarded": asked, "forwards_failed": failed, "forwards_under_way": under_way,
            })
        });
        Self {
            cell,
            parts,
            busy: false,
        }
    }

    /// A slave has what its master has.
    fn round(&mut self, ctx: &mut Context<Self>) {
        let is_master = self.parts.config.load().is_master();
        if self.busy || !is_master || self.parts.topics.mappings().is_empty() {
            return;
        }
        self.busy = true;
        let parts = self.parts.clone();
        let path = Arc::clone(self.cell.path());
        let round = async move {
            for (topic, mapping) in parts.topics.mappings().details() {
                parts.clean(&path, &topic, mapping).await;
            }
        };
        let ended = round.into_actor(self).map(|(), actor, _| {
            actor.busy = false;
            actor.cell.count_handled(1);
        });
        ctx.spawn(ended);
    }
}

impl CleanerParts {
    async fn clean(&self, path: &str, topic: &Str, mapping: Arc<TopicQueueMappingDetail>) {
        let expired = self.expired(path, topic, &mapping).await;
        if !expired.is_empty() {
            let left = without_oldest(&mapping, expired.iter().copied());
            let done = self
                .topics
                .replace_mapping(Arc::clone(&mapping), left)
                .await;
            report(path, topic, "forgets the oldest stretch of", &expired, done);
            return;
        }
        let superseded = self.superseded(path, topic, &mapping).await;
        if !superseded.is_empty() {
            let mut left = (*mapping).clone();
            left.hosted_queues
                .retain(|queue, _| !superseded.contains(queue));
            let done = self.topics.replace_mapping(mapping, left).await;
            report(path, topic, "forgets", &superseded, done);
        }
    }

    /// The led queues of whose oldest stretch nothing is left.
    async fn expired(
        &self,
        path: &str,
        topic: &Str,
        mapping: &TopicQueueMappingDetail,
    ) -> Vec<i32> {
        let mut tables: BTreeMap<&str, Option<TopicStatsTable>> = BTreeMap::new();
        let mut expired = Vec::new();
        for (queue, item) in oldest(mapping) {
            let range = if item.bname == mapping.bname {
                let slot = self.store.table.get(topic, item.queue_id);
                Some(slot.map_or((0, 0), |slot| (slot.min_offset(), slot.next_offset())))
            } else {
                let broker = &*item.bname;
                if !tables.contains_key(broker) {
                    let table = self.stats(topic, broker).await;
                    tables.insert(broker, told(path, topic, broker, table));
                }
                let table = tables.get(broker).and_then(Option::as_ref);
                let key = MessageQueue::new(topic, broker, item.queue_id);
                let offset = table.and_then(|table| table.offset_table.get(&key));
                offset.map(|offset| (offset.min_offset, offset.max_offset))
            };
            // Who does not tell keeps it.
            if range.is_some_and(|(min, max)| is_expired(min, max)) {
                expired.push(queue);
            }
        }
        expired
    }

    /// The queues that went on without this broker.
    async fn superseded(
        &self,
        path: &str,
        topic: &Str,
        mapping: &TopicQueueMappingDetail,
    ) -> Vec<i32> {
        let elsewhere = led_elsewhere(mapping);
        if elsewhere.is_empty() {
            return Vec::new();
        }
        let Some(route) = self.registrars().route(topic).await else {
            return Vec::new();
        };
        let leaders = route::leaders(&route);
        let leaders = leaders.get(&mock_broker_name(&mapping.scope));
        let mut theirs: BTreeMap<&str, Option<TopicQueueMappingDetail>> = BTreeMap::new();
        let mut superseded = Vec::new();
        for (queue, known) in elsewhere {
            let at = usize::try_from(queue).unwrap_or(usize::MAX);
            let leader = leaders.and_then(|all| all.get(at)?.as_deref());
            let Some(leader) = leader else { continue };
            if !theirs.contains_key(leader) {
                let asked = self.mapping(topic, leader).await;
                let asked = told(path, topic, leader, asked).flatten();
                theirs.insert(leader, asked.filter(|theirs| theirs.bname == leader));
            }
            let there = theirs.get(leader).and_then(Option::as_ref);
            if there.is_some_and(|theirs| is_superseded(mapping, queue, known, theirs)) {
                superseded.push(queue);
            }
        }
        superseded
    }

    fn registrars(&self) -> &Registrars {
        self.forwarder.registrars()
    }

    async fn stats(&self, topic: &Str, broker: &str) -> Result<TopicStatsTable, ForwardError> {
        let header = GetTopicStatsInfoRequestHeader {
            topic: topic.clone(),
        };
        let code = RequestCode::GetTopicStatsInfo;
        let answer = success(broker, self.forwarder.ask(broker, code, &header).await?)?;
        body(broker, &answer.body)
    }

    async fn mapping(
        &self,
        topic: &Str,
        broker: &str,
    ) -> Result<Option<TopicQueueMappingDetail>, ForwardError> {
        let header = GetTopicConfigRequestHeader {
            topic: topic.clone(),
        };
        let code = RequestCode::GetTopicConfig;
        let asked = self.forwarder.ask_logic(broker, code, &header).await?;
        let config: TopicConfigAndQueueMapping = body(broker, &success(broker, asked)?.body)?;
        Ok(config.mapping_detail)
    }
}

fn body<T: serde::de::DeserializeOwned>(broker: &str, bytes: &[u8]) -> Result<T, ForwardError> {
    fastjson::from_slice(bytes).map_err(|error| ForwardError::Body {
        broker: broker.to_owned(),
        reason: error.to_string(),
    })
}

/// What another broker told, or a line in the log.
fn told<T>(path: &str, topic: &str, broker: &str, asked: Result<T, ForwardError>) -> Option<T> {
    asked
        .inspect_err(|error| {
            log::warn!("{path} cannot ask about topic={topic} broker={broker} error={error}");
        })
        .ok()
}

fn report(path: &str, topic: &str, what: &str, queues: &[i32], done: Result<(), TopicError>) {
    match done {
        Ok(()) => log::info!("{path} {what} topic={topic} queues={queues:?}"),
        Err(error) => log::warn!("{path} cannot clean topic={topic} error={error}"),
    }
}

impl Actor for Cleaner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, |actor, ctx| {
            let hours = retention_policy(&actor.parts.config.load()).hours;
            if is_hour(&hours) {
                actor.round(ctx);
            }
        });
    }
}

impl Supervised for Cleaner {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

crashable!(Cleaner);

impl Handler<CleanNow> for Cleaner {
    type Result = ();

    fn handle(&mut self, _: CleanNow, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.round(ctx);
    }
}

impl Handler<Shutdown> for Cleaner {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.parts.forwarder.shut_down();
        ctx.stop();
    }
}
