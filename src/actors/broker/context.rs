//! What every request processor and delivery actor of a broker shares: published tables, addresses
//! of actors, positions. Cheap to clone behind an [`Arc`]; nothing in it is owned by a connection.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    inner::InnerMessage,
    refusal::Refusal,
    registrar::Registrars,
    static_topics::StaticTopics,
    stats::Stats,
    tables::{
        filters::Filters, offsets::Offsets, subscriptions::SubscriptionGroups, topics::Topics,
    },
    timed::TimedRules,
};
use crate::{
    actors::{
        delivery::{pop::Pops, schedule::Schedule, timer::Timer, transactions::Transactions},
        groups::{ConsumerGroups, ProducerGroups},
        ha::Ha,
        kernel::{ActorRef, Permits, Tree},
        store::{
            acks::Acks,
            arrivals::Arrivals,
            cold_reader::is_far,
            commit_log_writer::CommitLogWriter,
            compaction::CompactionHandle,
            dispatcher::Dispatcher,
            index::{IndexActor, IndexMarks},
            queues::QueueShards,
            retention::Retention,
            watermarks::Watermarks,
        },
    },
    config::{Derived, Live, broker::BrokerConfig},
    protocol::{
        ResponseCode,
        body::ha::HaRuntimeInfo,
        message::{id::UniqueKeys, multi_dispatch, properties},
    },
    store::{
        consume_queue::QueueHomes,
        deleted_topics::DeletedTopics,
        epoch::EpochFile,
        queue_table::{QueueSlot, QueueTable},
    },
};

/// The remark where there are too many light message queues (`SendMessageProcessor`).
const LMQS_EXCEEDED: &str = "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]broker config enableLmq and \
     enableMultiDispatch, lmq consumeQueue num exceed maxLmqConsumeQueueNum config num, default limit 2w.";

/// Who this broker is; fixed at its start.
#[derive(Debug)]
pub struct Identity {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the group of replicas.
    pub broker_name: String,
    /// 0 for the master.
    pub broker_id: i64,
    /// `ip:port` that clients are sent to.
    pub broker_addr: String,
    /// The same, as it stands in records and message ids.
    pub store_host: SocketAddr,
    /// `ip:port` of replication.
    pub ha_server_addr: String,
    /// Makes unique keys for messages that come without.
    pub unique_keys: UniqueKeys,
}

/// What a broker adds to messages and to answers; follows the configuration.
#[derive(Debug)]
pub struct SendMarks {
    /// `MSG_REGION` of answers.
    pub region: String,
    /// `TRACE_ON` of answers.
    pub trace_on: bool,
    /// Property text that is added to every sent message: CLUSTER, MSG_REGION, TRACE_ON.
    pub stored_properties: Box<[u8]>,
}

impl SendMarks {
    /// As the configuration has them.
    pub fn of(config: &BrokerConfig) -> Self {
        let broker = &config.broker;
        let mut text = Vec::new();
        properties::append(&mut text, properties::CLUSTER, &broker.broker_cluster_name);
        properties::append(&mut text, properties::MSG_REGION, &broker.region_id);
        let trace_on = if broker.trace_on { "true" } else { "false" };
        properties::append(&mut text, properties::TRACE_ON, trace_on);
        Self {
            region: broker.region_id.clone(),
            trace_on: broker.trace_on,
            stored_properties: text.into_boxed_slice(),
        }
    }

    /// The header fields that every answer to a send has, also a refusal.
    pub fn fields(&self) -> [(&'static str, &str); 2] {
        let trace_on = if self.trace_on { "true" } else { "false" };
        [
            (properties::MSG_REGION, &self.region),
            (properties::TRACE_ON, trace_on),
        ]
    }
}

/// The store's actors and published positions.
#[derive(Clone)]
pub struct StoreHandles {
    /// Positions of the log, and its reading side.
    pub watermarks: Watermarks,
    /// All topic queues.
    pub table: Arc<QueueTable>,
    /// Their actors.
    pub shards: QueueShards,
    /// The key index, unless it is off.
    pub index: Option<ActorRef<IndexActor>>,
    /// Positions of the index.
    pub index_marks: Arc<IndexMarks>,
    /// The one who appends.
    pub writer: ActorRef<CommitLogWriter>,
    /// Holds the answers that wait.
    pub acks: ActorRef<Acks>,
    /// Hands over what became visible.
    pub dispatcher: ActorRef<Dispatcher>,
    /// Deletes old files.
    pub retention: ActorRef<Retention>,
    /// Where the queues' files live.
    pub homes: QueueHomes,
    /// The deleted topics.
    pub deleted: Arc<Mutex<DeletedTopics>>,
    /// Who hears of messages of whole topics.
    pub arrivals: Arrivals,
    /// Address in records.
    pub store_host: SocketAddr,
    /// `maxMessageSize`, bytes: follows the configuration.
    pub max_message_size: Arc<AtomicUsize>,
    /// `maxLmqConsumeQueueNum`.
    pub max_lmqs: usize,
}

impl StoreHandles {
    /// Bytes of the largest message body.
    pub fn max_message_size(&self) -> usize {
        self.max_message_size.load(Relaxed)
    }

    /// The slot of a queue, made now if the queue never held a message.
    pub fn slot(&self, topic: &str, queue_id: i32) -> Arc<QueueSlot> {
        self.table
            .get_or_create_at(topic, queue_id, self.watermarks.appended())
    }

    /// The slot of a light message queue, made now if it never held a message.
    ///
    /// # Errors
    /// RocketMQ's answer when there are `maxLmqConsumeQueueNum` of them.
    pub fn lmq_slot(&self, name: &str) -> Result<Arc<QueueSlot>, Refusal> {
        let known = self.table.get(name, multi_dispatch::LMQ_QUEUE_ID);
        if known.is_none() && self.table.lmq_count() >= self.max_lmqs {
            return Err(Refusal::new(ResponseCode::SystemError, LMQS_EXCEEDED));
        }
        Ok(known.unwrap_or_else(|| self.slot(name, multi_dispatch::LMQ_QUEUE_ID)))
    }

    /// Whether a queue still has its first message, and that is in memory
    /// (`checkInMemByConsumeOffset`).
    ///
    /// What is near the log's end counts as in memory without asking the kernel (RocketMQ asks it
    /// always): whether a new group sees a topic's first messages is not to hang on what else the
    /// machine does.
    pub async fn first_in_memory(&self, topic: &str, queue_id: i32) -> bool {
        let Some(slot) = self.table.get(topic, queue_id) else {
            return false;
        };
        let log = self.watermarks.log().clone();
        let looked = self.shards.inspect(slot, move |view| {
            if view.range().0 > 0 {
                return false;
            }
            let entries = view.entries(0, 1).unwrap_or_default();
            entries.first().is_some_and(|entry| {
                let len = usize::try_from(entry.size).unwrap_or(0);
                !is_far(&log, entry.physical_offset) || log.resident(entry.physical_offset, len)
            })
        });
        looked.await.unwrap_or(false)
    }
}

/// See the module.
pub struct BrokerContext {
    /// Configuration, some of which may change while the broker runs.
    pub config: Arc<Live<BrokerConfig>>,
    /// Who this broker is.
    pub identity: Identity,
    /// What is added to sends and their answers.
    pub marks: Derived<SendMarks>,
    /// When it started, ms.
    pub started_at_ms: i64,
    /// The actor tree.
    pub tree: Tree,
    /// The broker's budgets.
    pub permits: Permits,
    /// The store.
    pub store: StoreHandles,
    /// Topics.
    pub topics: Topics,
    /// Subscription groups.
    pub subscriptions: SubscriptionGroups,
    /// Consumer offsets.
    pub offsets: Offsets,
    /// Expressions of consumer groups.
    pub filters: Filters,
    /// Consumer groups that are online.
    pub consumers: ConsumerGroups,
    /// Producer groups that are online.
    pub producers: ProducerGroups,
    /// One registrar per NameServer.
    pub registrars: Registrars,
    /// Counts the lives of masters of this name.
    pub epoch: Arc<Mutex<EpochFile>>,
    /// Replication; set before the first request is taken.
    pub ha: OnceLock<Ha>,
    /// Delay levels.
    pub schedule: Schedule,
    /// Transactions.
    pub transactions: Transactions,
    /// The timer wheel, unless it is off.
    pub timer: Option<Timer>,
    /// What timed sends are held to; follows the configuration.
    pub timed: Derived<TimedRules>,
    /// Pops.
    pub pops: Pops,
    /// Compaction topics.
    pub compaction: CompactionHandle,
    /// Static topics.
    pub static_topics: StaticTopics,
    /// Statistics.
    pub stats: Stats,
}

impl BrokerContext {
    /// The slot of a message that names its time of delivery, if that is to come.
    ///
    /// # Errors
    /// When the time is too far ahead or none, or timed messages are switched off.
    pub fn timed_slot(&self, message: &InnerMessage<'_>) -> Result<Option<i64>, Refusal> {
        let marks = self.timer.as_ref().map(|timer| &*timer.marks);
        let rules = self.timed.load();
        rules.slot_of(message.properties, message.sys_flag, marks)
    }

    /// Whether this broker is a master: its number tells, for the configuration forces a master's to 0
    /// and a slave's above it.
    pub fn is_master(&self) -> bool {
        self.identity.broker_id == 0
    }

    /// How replication is.
    pub fn ha_status(&self) -> HaRuntimeInfo {
        self.ha.get().map(Ha::runtime_info).unwrap_or_default()
    }
}
