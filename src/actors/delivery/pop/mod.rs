//! Pop: consumers ask for messages, which are hidden from others until they are acknowledged or a
//! time is over, when they come back in a retry topic (`PopMessageProcessor`).
//!
//! A pop belongs to the shard of its topic and group ([`shard`]): there its queues are locked
//! ([`locks`]) while messages are taken ([`take`]), and there it waits when there are none
//! ([`waiting`]). What is in flight is written down as check points and acknowledgements in the
//! revive topic ([`records`]), which [`super::revive`] reads; of ordered pops it is kept in a table
//! ([`orders`]).

use std::{
    hash::BuildHasher,
    sync::{Arc, atomic::AtomicU64},
};

use actix::ArbiterHandle;

use self::{
    in_flight::InFlight,
    orders::{Orders, OrdersActor},
    records::ReviveLog,
    shard::{PopShard, ShardParts},
    waiting::WaitLimits,
};
use crate::{
    actors::{
        broker::{
            stats::Stats,
            tables::{offsets::Offsets, subscriptions::SubscriptionGroups, topics::Topics},
        },
        kernel::{ActorRef, Shutdown, TellRef, Tree, spawn},
    },
    config::{BrokerConfig, Derived},
    protocol::{Str, message::names},
    store::tables::{ConfigFile, ConsumerOrderInfo},
};

pub mod after_kill;
pub mod in_flight;
pub mod locks;
pub mod orders;
pub mod records;
pub mod request;
pub mod shard;
pub mod take;
pub mod waiting;

/// What pops follow of the configuration.
#[derive(Debug, Clone)]
pub struct PopPolicy {
    /// Percent of the pops that look at the retry topic first.
    pub from_retry_probability: i32,
    /// Retry topics have names of the second form.
    pub retry_v2: bool,
    /// Those of the first form are read as well.
    pub reads_retry_v1: bool,
    /// Messages of a retry topic carry its name.
    pub actual_retry_topic: bool,
    /// New groups begin at the first message while it is recent
    /// (`initPopOffsetByCheckMsgInMem`).
    pub init_by_memory: bool,
    /// Messages of a queue that may be in flight; none is no bound.
    pub in_flight_max: Option<i64>,
    /// Limits of waiting requests.
    pub waiting: WaitLimits,
    /// Waiting requests of the broker.
    pub waiting_max: usize,
}

impl PopPolicy {
    /// As the configuration has it.
    pub fn of(config: &BrokerConfig) -> Self {
        let broker = &config.broker;
        Self {
            from_retry_probability: broker.pop_from_retry_probability,
            retry_v2: broker.enable_retry_topic_v2,
            reads_retry_v1: broker.retrieve_message_from_pop_retry_topic_v1,
            actual_retry_topic: broker.pop_response_return_actual_retry_topic,
            init_by_memory: broker.init_pop_offset_by_check_msg_in_mem,
            in_flight_max: broker
                .enable_pop_message_threshold
                .then_some(broker.pop_inflight_message_threshold),
            waiting: WaitLimits {
                per_place: broker.pop_polling_size,
                places: broker.pop_polling_map_size,
            },
            waiting_max: broker.max_pop_polling_size,
        }
    }

    /// The topic that a group's messages of a topic come back in.
    pub fn retry_topic(&self, topic: &str, group: &str) -> String {
        if self.retry_v2 {
            names::pop_retry_topic_v2(topic, group)
        } else {
            names::pop_retry_topic_v1(topic, group)
        }
    }

    /// Every topic that they may have come back in, the present one first.
    pub fn retry_topics(&self, topic: &str, group: &str) -> Vec<String> {
        let mut topics = vec![self.retry_topic(topic, group)];
        if self.retry_v2 && self.reads_retry_v1 {
            topics.push(names::pop_retry_topic_v1(topic, group));
        }
        topics
    }
}

/// What all shards share.
pub struct PopParts {
    /// Writes check points and acknowledgements.
    pub log: ReviveLog,
    /// Name of this broker.
    pub broker_name: String,
    /// Queues of the revive topic.
    pub revive_queues: i32,
    /// Counts pops, which go to the revive queues in turns.
    pub pops: AtomicU64,
    /// Topics.
    pub topics: Topics,
    /// Groups.
    pub groups: SubscriptionGroups,
    /// Offsets of groups.
    pub offsets: Offsets,
    /// What ordered pops have in flight.
    pub orders: Orders,
    /// How many messages are in flight.
    pub in_flight: InFlight,
    /// Statistics.
    pub stats: Stats,
    /// See [`PopPolicy`].
    pub policy: Derived<PopPolicy>,
}

/// The handle for request processors; cheap to clone.
#[derive(Clone)]
pub struct Pops {
    /// What the shards share.
    pub parts: Arc<PopParts>,
    shards: Arc<[ActorRef<PopShard>]>,
    orders: ActorRef<OrdersActor>,
    hasher: foldhash::fast::RandomState,
}

impl Pops {
    /// Starts so many shards at `broker/delivery/pop/<n>`, and the table of ordered pops. `misc` is
    /// a thread that may block on a small file.
    pub fn start(
        tree: &Tree,
        arbiters: impl ExactSizeIterator<Item = ArbiterHandle>,
        misc: &ArbiterHandle,
        parts: PopParts,
        file: ConfigFile<ConsumerOrderInfo>,
    ) -> Self {
        let parts = Arc::new(parts);
        let parent = "broker/delivery/pop";
        let orders_parts = orders::OrdersParts {
            orders: parts.orders.clone(),
            file: Arc::new(std::sync::Mutex::new(file)),
            topics: parts.topics.clone(),
            groups: parts.groups.clone(),
        };
        let policy = tree.restart_policy();
        let orders = spawn(
            tree,
            parent,
            "orders",
            "pop_orders",
            misc,
            policy,
            move |cell| OrdersActor::recover(cell, orders_parts),
        );
        let count = arbiters.len();
        let waiting: Arc<[_]> = (0..count).map(|_| Default::default()).collect();
        let shards = arbiters.enumerate().map(|(id, arbiter)| {
            let own = ShardParts {
                id,
                pops: Arc::clone(&parts),
                waiting: Arc::clone(&waiting),
            };
            let policy = tree.restart_policy();
            let name = id.to_string();
            spawn(tree, parent, &name, "pop", &arbiter, policy, move |cell| {
                PopShard::recover(cell, own)
            })
        });
        let shards: Arc<[ActorRef<PopShard>]> = shards.collect();
        let listeners = shards.iter().map(ActorRef::narrow).collect();
        parts.log.store.arrivals.set(listeners);
        Self {
            parts,
            shards,
            orders,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// The shard of a topic and group.
    pub fn shard(&self, topic: &str, group: &str) -> Option<&ActorRef<PopShard>> {
        let hash = self.hasher.hash_one((topic, group));
        let count = u64::try_from(self.shards.len()).unwrap_or(1).max(1);
        self.shards.get((hash % count) as usize)
    }

    /// What has to end before the store does, in order.
    pub fn steps(&self) -> Vec<TellRef<Shutdown>> {
        let mut steps: Vec<_> = self.shards.iter().map(ActorRef::narrow).collect();
        steps.push(self.orders.narrow());
        steps
    }
}

impl PopParts {
    /// The offset that a group would go on with in a queue (`getPopOffset` of the processors that
    /// only look): nothing is set by asking.
    pub fn offset(&self, topic: &str, group: &str, queue_id: i32) -> i64 {
        let committed = self.offsets.query(group, topic, queue_id);
        let slot = self.log.store.table.get(topic, queue_id);
        committed.unwrap_or_else(|| slot.map_or(0, |slot| slot.min_offset()))
    }

    /// How many messages a group has not popped of a queue.
    pub fn rest(&self, topic: &str, group: &str, queue_id: i32) -> i64 {
        let slot = self.log.store.table.get(topic, queue_id);
        let end = slot.map_or(0, |slot| slot.readable_end());
        // An offset is whatever somebody committed.
        end.saturating_sub(self.offset(topic, group, queue_id))
    }

    /// The read queues of a topic; none if it does not exist.
    pub fn read_queues(&self, topic: &str) -> i32 {
        self.topics
            .get(topic)
            .map_or(0, |config| config.read_queue_nums)
    }

    /// A key of the queue as the locks have it.
    fn lock_key(topic: &str, group: &Str, queue_id: i32) -> locks::LockKey {
        (crate::protocol::detached(topic), group.clone(), queue_id)
    }
}
