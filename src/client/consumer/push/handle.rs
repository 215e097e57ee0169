//! What the client instance, and through it brokers and tools, ask of a push consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Shared;
use crate::client::consumer::{ConsumeFrom, MessageModel};
use crate::client::instance::ConsumerHandle;
use crate::client::lock;
use crate::client::message::MessageExt;
use crate::protocol::Str;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::{self, ConsumeFromWhere, ConsumeType, ConsumerData};
use crate::protocol::body::running_info::{
    ConsumeMessageDirectlyResult, ConsumerRunningInfo, ProcessQueueInfo,
};

impl ConsumerHandle for Shared {
    fn consumer_data(&self) -> ConsumerData {
        ConsumerData {
            group_name: self.group.to_string(),
            consume_type: ConsumeType::ConsumePassively,
            message_model: match self.config.model {
                MessageModel::Clustering => heartbeat::MessageModel::Clustering,
                MessageModel::Broadcasting => heartbeat::MessageModel::Broadcasting,
            },
            consume_from_where: match self.config.from {
                ConsumeFrom::LastOffset => ConsumeFromWhere::LastOffset,
                ConsumeFrom::FirstOffset => ConsumeFromWhere::FirstOffset,
                ConsumeFrom::Timestamp(_) => ConsumeFromWhere::Timestamp,
            },
            subscription_data_set: lock(&self.subscriptions).values().cloned().collect(),
            unit_mode: false,
        }
    }

    fn topics(&self) -> Vec<Str> {
        lock(&self.subscriptions).keys().cloned().collect()
    }

    fn rebalance(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move { self.rebalance_all().await }.boxed()
    }

    fn persist_offsets(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = self.offsets.persist().await {
                log::warn!(
                    "client: offsets not stored group={} error={error}",
                    self.group
                );
            }
        }
        .boxed()
    }

    fn reset_offsets(
        self: Arc<Self>,
        topic: &str,
        table: BTreeMap<MessageQueue, i64>,
    ) -> BoxFuture<'static, ()> {
        let topic = Str::from(topic);
        async move {
            for (queue, offset) in table {
                let state = lock(&self.queues).get(&queue).cloned();
                if let Some(state) = state.filter(|state| *state.queue.topic == *topic) {
                    self.restart_at(&state, offset).await;
                }
            }
        }
        .boxed()
    }

    fn offsets(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        self.offsets.of_topic(topic)
    }

    fn running_info(&self) -> ConsumerRunningInfo {
        let mut info = ConsumerRunningInfo::default();
        let mut set = |key: &str, value: String| {
            info.properties.insert(key.into(), value);
        };
        set("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY".into());
        set("PROP_CONSUMEORDERLY", self.config.orderly.to_string());
        set("PROP_THREADPOOL_CORE_SIZE", self.config.workers.to_string());
        set("PROP_CONSUMER_START_TIMESTAMP", self.started_ms.to_string());
        set(
            "PROP_NAMESERVER_ADDR",
            self.client.config.namesrv_addrs.join(";"),
        );
        info.subscription_set
            .extend(lock(&self.subscriptions).values().cloned());
        for (queue, state) in lock(&self.queues).iter() {
            let cache = state.process.info();
            let (locked, last_lock_timestamp) = self.lock_info(state);
            info.mq_table.insert(
                queue.clone(),
                ProcessQueueInfo {
                    commit_offset: self.offsets.known(queue).unwrap_or(-1),
                    cached_msg_min_offset: cache.min_offset,
                    cached_msg_max_offset: cache.max_offset,
                    cached_msg_count: cache.count as i32,
                    cached_msg_size_in_mib: (cache.bytes >> 20) as i32,
                    droped: state.process.is_dropped(),
                    locked,
                    last_lock_timestamp,
                    last_pull_timestamp: state.process.last_pull_ms.load(Ordering::Relaxed),
                    last_consume_timestamp: state.process.last_consume_ms.load(Ordering::Relaxed),
                    ..ProcessQueueInfo::default()
                },
            );
        }
        info
    }

    fn consume_directly(&self, message: MessageExt) -> BoxFuture<'_, ConsumeMessageDirectlyResult> {
        self.consume_one_directly(message).boxed()
    }
}
