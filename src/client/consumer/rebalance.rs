//! Which queues are this consumer's, and what happens to those that come and go.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::client::consumer::push::{QueueState, Shared};
use crate::client::consumer::{ConsumeFrom, MessageModel};
use crate::client::error::ClientError;
use crate::client::lock;
use crate::client::route::MASTER_ID;
use crate::protocol::body::MessageQueue;
use crate::protocol::message::names;
use crate::protocol::{ResponseCode, Str};

impl Shared {
    /// Computes this consumer's queues of every subscribed topic.
    pub(super) async fn rebalance_all(self: &Arc<Self>) {
        // Two at once would both take a queue, and one of its two pull loops would be forgotten.
        let _one_at_a_time = self.rebalancing.lock().await;
        if self.closed.is_cancelled() {
            return;
        }
        let topics: Vec<Str> = lock(&self.subscriptions).keys().cloned().collect();
        for topic in &topics {
            if let Err(error) = self.rebalance_topic(topic).await {
                let group = &self.group;
                // A retry topic appears with the first heartbeat that a broker gets.
                let expected =
                    names::is_retry_topic(topic) && matches!(error, ClientError::NoRoute(_));
                if !expected {
                    log::warn!(
                        "client: rebalance failed group={group} topic={topic} error={error}"
                    );
                }
            }
        }
        let subscribed: BTreeSet<String> = topics.iter().map(Str::to_string).collect();
        let stale: Vec<MessageQueue> = {
            let queues = lock(&self.queues);
            queues
                .keys()
                .filter(|queue| !subscribed.contains(&queue.topic))
                .cloned()
                .collect()
        };
        for queue in stale {
            self.release(&queue).await;
        }
    }

    async fn rebalance_topic(self: &Arc<Self>, topic: &Str) -> Result<(), ClientError> {
        let route = self.client.route(topic, None).await?;
        let all = &route.read_queues;
        let mine = match self.config.model {
            MessageModel::Broadcasting => all.clone(),
            MessageModel::Clustering => {
                let Some(clients) = self.members(topic).await? else {
                    return Ok(());
                };
                self.config
                    .strategy
                    .allocate(&self.client.config.client_id, all, &clients)
            }
        };
        let mine: BTreeSet<MessageQueue> = mine.into_iter().collect();
        let (gone, new) = {
            let queues = lock(&self.queues);
            let ours = queues.keys().filter(|queue| *queue.topic == **topic);
            let gone: Vec<_> = ours
                .filter(|queue| !mine.contains(*queue))
                .cloned()
                .collect();
            let new: Vec<_> = mine
                .iter()
                .filter(|q| !queues.contains_key(*q))
                .cloned()
                .collect();
            (gone, new)
        };
        let changed = !gone.is_empty() || !new.is_empty();
        for queue in gone {
            self.release(&queue).await;
        }
        if !new.is_empty() {
            // A broker that is new to the topic knows nothing of this group, and would refuse its pulls
            // until the next heartbeat in turn (RebalancePushImpl.messageQueueChanged).
            self.client.heartbeat_all().await;
        }
        for queue in new {
            self.offsets.forget(&queue);
            match self.try_take(&queue).await {
                Ok(()) => {}
                Err(error) => {
                    let group = &self.group;
                    log::warn!(
                        "client: queue not taken group={group} queue={queue:?} error={error}"
                    );
                }
            }
        }
        if changed {
            let (group, count) = (&self.group, mine.len());
            log::info!("client: queues changed group={group} topic={topic} queues={count}");
        }
        Ok(())
    }

    /// The sorted client ids of the group, asked of any broker of the topic; None when the broker
    /// does not know this client yet (its heartbeat is on the way), so that nothing is decided.
    async fn members(&self, topic: &Str) -> Result<Option<Vec<String>>, ClientError> {
        let route = self.client.route(topic, None).await?;
        let mut last = ClientError::NoRoute(topic.to_string());
        for (name, _) in route.broker_addrs() {
            let Some(addr) = self.client.read_addr(name, MASTER_ID) else {
                continue;
            };
            match self.client.api.consumer_ids(&addr, &self.group).await {
                Ok(mut ids) => {
                    ids.sort();
                    return Ok(ids.contains(&self.client.config.client_id).then_some(ids));
                }
                Err(error) if error.is(ResponseCode::SystemError) => return Ok(None),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where to begin: the group's offset, else what the consumer was configured to do.
    async fn first_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        if let Some(offset) = self.offsets.read(queue).await? {
            return Ok(offset);
        }
        let client = &self.client;
        let retry = names::is_retry_topic(&queue.topic);
        match self.config.from {
            ConsumeFrom::FirstOffset => Ok(0),
            ConsumeFrom::LastOffset if retry => Ok(0),
            ConsumeFrom::LastOffset => client.max_offset(queue).await,
            ConsumeFrom::Timestamp(_) if retry => client.max_offset(queue).await,
            ConsumeFrom::Timestamp(ms) => client.search_offset(queue, ms).await,
        }
    }

    /// Takes a queue; one that another client has locked is left for later.
    async fn try_take(self: &Arc<Self>, queue: &MessageQueue) -> Result<(), ClientError> {
        let Some(order) = self.order_of(queue).await? else {
            return Ok(());
        };
        let offset = self.first_offset(queue).await?;
        let state = Arc::new(QueueState::new(queue.clone(), offset, order));
        lock(&self.queues).insert(queue.clone(), state.clone());
        tokio::spawn(self.clone().run(state));
        Ok(())
    }

    /// Gives a queue up, and its lock once the call that may run has ended.
    pub(super) async fn release(self: &Arc<Self>, queue: &MessageQueue) {
        if let Some(state) = self.give_up(queue).await
            && self.needs_locks()
        {
            let shared = self.clone();
            tokio::spawn(async move { shared.unlock(&state).await });
        }
    }

    /// Gives a queue up: stores its offset and stops pulling it.
    pub(super) async fn give_up(&self, queue: &MessageQueue) -> Option<Arc<QueueState>> {
        let state = lock(&self.queues).remove(queue);
        if let Some(state) = &state {
            state.process.drop_queue();
        }
        if let Err(error) = self.offsets.persist_one(queue).await {
            log::warn!("client: offset not stored queue={queue:?} error={error}");
        }
        self.offsets.forget(queue);
        state
    }
}
