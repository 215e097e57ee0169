//! Whom to ask about a queue: its broker, or the one that leads a logic queue at the moment; and what to
//! do when that one has changed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::client::error::ClientError;
use crate::client::instance::Inner;
use crate::client::route::MASTER_ID;
use crate::protocol::body::MessageQueue;
use crate::protocol::static_topic::is_mock_broker;
use crate::protocol::{ResponseCode, Str};

/// Pause before a queue that nobody leads is asked for again.
const PAUSE_NO_LEADER: Duration = Duration::from_millis(100);

impl Inner {
    /// Name of the broker that is asked for a queue, as its
    /// [route](super::route::TopicRoute::broker_of) tells; of a queue of a static topic, only once that is
    /// known.
    pub(crate) fn broker_of<'a>(&self, queue: &'a MessageQueue) -> Option<Cow<'a, str>> {
        if !is_mock_broker(&queue.broker_name) {
            return Some(Cow::Borrowed(&queue.broker_name));
        }
        let route = self.routes.get(queue.topic.as_str())?;
        Some(Cow::Owned(route.broker_of(queue)?.to_owned()))
    }

    /// As [`Inner::read_addr`], for the broker of a queue.
    pub(crate) fn queue_read_addr(&self, queue: &MessageQueue, broker_id: i64) -> Option<String> {
        self.read_addr(&self.broker_of(queue)?, broker_id)
    }

    /// As [`Inner::queue_read_addr`] for the master, asking for the topic's route when the broker is
    /// not known.
    pub(crate) async fn queue_addr(&self, queue: &MessageQueue) -> Result<String, ClientError> {
        self.addr_by_route(queue, || self.queue_read_addr(queue, MASTER_ID))
            .await
    }

    /// The address of the master of a queue's broker, asking for the topic's route when it is not known.
    pub(crate) async fn queue_master_addr(
        &self,
        queue: &MessageQueue,
    ) -> Result<String, ClientError> {
        self.addr_by_route(queue, || self.master_addr(&self.broker_of(queue)?))
            .await
    }

    async fn addr_by_route(
        &self,
        queue: &MessageQueue,
        find: impl Fn() -> Option<String>,
    ) -> Result<String, ClientError> {
        if let Some(addr) = find() {
            return Ok(addr);
        }
        self.fetch_route(&queue.topic.as_str().into(), None).await?;
        find().ok_or_else(|| ClientError::UnknownBroker(queue.broker_name.to_string()))
    }

    /// After a broker said that it does not lead a queue: gets a route that is younger than `since`, and
    /// waits a little when it still names the same broker. Java's clients keep the old route until they
    /// refresh it, up to 30 s later.
    pub(crate) async fn leader_moved(&self, queue: &MessageQueue, since: Instant) {
        let before = self.broker_of(queue).map(Cow::into_owned);
        match self
            .younger_route(&queue.topic.as_str().into(), since)
            .await
        {
            Ok(true) => self.heartbeat_all().await,
            Ok(false) => {}
            Err(error) => log::warn!("client: no new route queue={queue:?} error={error}"),
        }
        let after = self.broker_of(queue).map(Cow::into_owned);
        if after.is_none() || after == before {
            tokio::time::sleep(PAUSE_NO_LEADER).await;
        }
    }

    /// Asks for a route unless the known one is younger: of many queues that moved together the first
    /// does. Tells whether it names a broker that was not known, for that one refuses whoever it has not
    /// heard of.
    async fn younger_route(&self, topic: &Str, since: Instant) -> Result<bool, ClientError> {
        let _one_at_a_time = self.fetching.lock().await;
        if self
            .routes
            .get(topic)
            .is_some_and(|route| route.made > since)
        {
            return Ok(false);
        }
        let known: BTreeSet<String> = self.brokers.iter().map(|b| b.key().clone()).collect();
        let route = self.fetch_route(topic, None).await?;
        let mut brokers = route.broker_addrs();
        Ok(brokers.any(|(name, _)| !known.contains(name)))
    }

    /// Asks the broker of a queue; of a logic queue that moved meanwhile, the one that leads it now, for as
    /// long as a request may take.
    pub(crate) async fn ask_queue<T, F>(
        &self,
        queue: &MessageQueue,
        ask: impl Fn(String) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        // A pull may have been held for long before it was refused.
        let mut first_refused: Option<Instant> = None;
        loop {
            let since = Instant::now();
            let addr = self.queue_addr(queue).await?;
            let result = ask(addr).await;
            let moved = matches!(&result, Err(error) if error.is(ResponseCode::NotLeaderForQueue));
            let first = *first_refused.get_or_insert_with(Instant::now);
            if !moved || first.elapsed() >= self.api.timeout {
                return result;
            }
            self.leader_moved(queue, since).await;
        }
    }

    /// The offset that a group has committed in a queue.
    pub(crate) async fn query_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        let api = &self.api;
        self.ask_queue(queue, |addr| async move {
            api.query_offset(&addr, group, queue).await
        })
        .await
    }

    /// Commits a group's offset in a queue; with `oneway` nobody waits for the broker.
    pub(crate) async fn update_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
        oneway: bool,
    ) -> Result<(), ClientError> {
        let api = &self.api;
        self.ask_queue(queue, |addr| async move {
            api.update_offset(&addr, group, queue, offset, oneway).await
        })
        .await
    }

    pub(crate) async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let api = &self.api;
        self.ask_queue(
            queue,
            |addr| async move { api.min_offset(&addr, queue).await },
        )
        .await
    }

    pub(crate) async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let api = &self.api;
        self.ask_queue(
            queue,
            |addr| async move { api.max_offset(&addr, queue).await },
        )
        .await
    }

    pub(crate) async fn search_offset(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let api = &self.api;
        self.ask_queue(queue, |addr| async move {
            api.search_offset(&addr, queue, timestamp_ms).await
        })
        .await
    }
}
