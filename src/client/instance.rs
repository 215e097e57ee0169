//! One client instance: the connections, routes and heartbeats that its producers and consumers
//! share (RocketMQ's MQClientInstance).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::client::api::{self, Api};
use crate::client::config::ClientConfig;
use crate::client::error::ClientError;
use crate::client::from_server::FromServer;
use crate::client::lock;
use crate::client::message::MessageExt;
use crate::client::remoting::RemotingClient;
use crate::client::route::{MASTER_ID, TopicRoute};
use crate::client::trace::Tracer;
use crate::protocol::FieldValue::{Bool, Str as Text};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::{ConsumerData, HeartbeatData, ProducerData};
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::body::running_info::{ConsumeMessageDirectlyResult, ConsumerRunningInfo};
use crate::protocol::{RemotingCommand, RequestCode, ResponseCode, Str, fastjson};

/// Heartbeats and route requests start this soon after the client.
const FIRST_TICK: Duration = Duration::from_millis(1_000);

/// What the instance needs of a consumer.
pub(crate) trait ConsumerHandle: Send + Sync {
    /// What the heartbeat says about it.
    fn consumer_data(&self) -> ConsumerData;
    /// Topics whose routes it needs.
    fn topics(&self) -> Vec<Str>;
    /// Computes anew which queues are its own.
    fn rebalance(self: Arc<Self>) -> BoxFuture<'static, ()>;
    /// Sends or writes its offsets.
    fn persist_offsets(&self) -> BoxFuture<'_, ()>;
    /// Goes on at these offsets.
    fn reset_offsets(
        self: Arc<Self>,
        topic: &str,
        table: BTreeMap<MessageQueue, i64>,
    ) -> BoxFuture<'static, ()>;
    /// Offsets consumed so far.
    fn offsets(&self, topic: &str) -> BTreeMap<MessageQueue, i64>;
    /// For `consumerStatus`.
    fn running_info(&self) -> ConsumerRunningInfo;
    /// Consumes one message outside of any queue.
    fn consume_directly(&self, message: MessageExt) -> BoxFuture<'_, ConsumeMessageDirectlyResult>;
}

/// What the instance needs of a producer.
pub(crate) trait ProducerHandle: Send + Sync {
    /// Says how a transaction ended that the broker was not told about; answers on its own.
    fn check_transaction(&self, addr: String, request: RemotingCommand);
}

/// A client of a RocketMQ cluster. Clones share everything; the background tasks end with the
/// last clone, or with [`MqClient::shut_down`].
#[derive(Clone)]
pub struct MqClient {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) api: Api,
    namesrv: AtomicUsize,
    pub(crate) routes: DashMap<Str, Arc<TopicRoute>>,
    pub(crate) brokers: DashMap<String, BTreeMap<i64, String>>,
    pub(crate) fetching: tokio::sync::Mutex<()>,
    producers: Mutex<HashMap<String, Weak<dyn ProducerHandle>>>,
    consumers: Mutex<HashMap<String, Weak<dyn ConsumerHandle>>>,
    pub(crate) replies: DashMap<String, tokio::sync::oneshot::Sender<MessageExt>>,
    rebalance_now: Arc<Notify>,
    pub(crate) closed: CancellationToken,
    tracer: OnceLock<Tracer>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl MqClient {
    /// Starts a client: nothing is connected before it is needed. Has to be called within a tokio
    /// runtime, on which its background tasks run.
    pub fn start(config: ClientConfig) -> Result<Self, ClientError> {
        if config.namesrv_addrs.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        let remoting = RemotingClient::new(config.remoting.clone());
        let inner = Arc::new(Inner {
            api: Api {
                remoting: remoting.clone(),
                timeout: config.api_timeout,
            },
            config,
            namesrv: AtomicUsize::new(0),
            routes: DashMap::new(),
            brokers: DashMap::new(),
            fetching: tokio::sync::Mutex::new(()),
            producers: Mutex::default(),
            consumers: Mutex::default(),
            replies: DashMap::new(),
            rebalance_now: Arc::new(Notify::new()),
            closed: CancellationToken::new(),
            tracer: OnceLock::new(),
        });
        if let Some(topic) = &inner.config.trace_topic {
            let _ = inner
                .tracer
                .set(Tracer::start(Arc::downgrade(&inner), topic));
        }
        remoting.set_push_handler(Arc::new(FromServer::new(Arc::downgrade(&inner))));
        inner.start_tasks();
        Ok(MqClient { inner })
    }

    /// Name of this client towards the brokers.
    pub fn client_id(&self) -> &str {
        &self.inner.config.client_id
    }

    /// The connections, for requests that this client has no function for.
    pub fn remoting(&self) -> &RemotingClient {
        &self.inner.api.remoting
    }

    /// The route of a topic, from the cache or the NameServer.
    pub async fn route(&self, topic: &str) -> Result<Arc<TopicRoute>, ClientError> {
        self.inner.route(&topic.into(), None).await
    }

    /// Tells the brokers that this client is gone and closes all connections. Consumers are shut
    /// down first, by their own `shut_down`, so that their last offsets are not lost.
    pub async fn shut_down(&self) {
        if let Some(tracer) = self.inner.tracer() {
            tracer.flush().await;
        }
        self.inner.closed.cancel();
        self.inner.api.remoting.drain(Duration::from_secs(1)).await;
        self.inner.api.remoting.shut_down();
    }
}

impl Inner {
    /// Who is told of sends and consumption, if anybody is.
    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.tracer.get()
    }

    fn start_tasks(self: &Arc<Self>) {
        let config = &self.config;
        self.every(FIRST_TICK, config.heartbeat_interval, |inner| async move {
            inner.heartbeat_all().await;
        });
        self.every(
            config.poll_route_interval,
            config.poll_route_interval,
            |inner| async move {
                inner.refresh_routes().await;
            },
        );
        let interval = config.persist_offsets_interval;
        self.every(interval, interval, |inner| async move {
            for consumer in inner.consumers() {
                consumer.persist_offsets().await;
            }
        });
        self.rebalance_by_time_or_notice(config.rebalance_interval);
    }

    fn rebalance_by_time_or_notice(self: &Arc<Self>, interval: Duration) {
        // The task must not keep the client alive while it waits.
        let (weak, closed) = (Arc::downgrade(self), self.closed.clone());
        let now = self.rebalance_now.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = tokio::time::timeout(interval, now.notified()) => {}
                    () = closed.cancelled() => return,
                }
                let Some(inner) = weak.upgrade() else { return };
                for consumer in inner.consumers() {
                    consumer.rebalance().await;
                }
            }
        });
    }

    /// Runs something again and again until the client is gone.
    fn every<F>(
        self: &Arc<Self>,
        first: Duration,
        interval: Duration,
        run: impl Fn(Arc<Inner>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let (weak, closed) = (Arc::downgrade(self), self.closed.clone());
        tokio::spawn(async move {
            let mut pause = first;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = closed.cancelled() => return,
                }
                let Some(inner) = weak.upgrade() else { return };
                run(inner).await;
                pause = interval;
            }
        });
    }

    /// Asks a NameServer; when it can't be reached, the next one, each at most once.
    pub(crate) async fn ask_namesrv(
        &self,
        request: RemotingCommand,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let addrs = &self.config.namesrv_addrs;
        let mut last = ClientError::NoNameServer;
        for _ in 0..addrs.len() {
            let index = self.namesrv.load(Ordering::Relaxed);
            let Some(addr) = addrs.get(index % addrs.len()) else {
                break;
            };
            match self
                .api
                .remoting
                .call(addr, request.clone(), self.api.timeout)
                .await
            {
                Ok(answer) => return Ok((addr.clone(), answer)),
                Err(error) => last = error.into(),
            }
            let _ = self.namesrv.compare_exchange(
                index,
                index.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Err(last)
    }

    /// The route of a topic; `default` names the topic after which a missing one will be made,
    /// and how many queues it gets at most.
    pub(crate) async fn route(
        &self,
        topic: &Str,
        default: Option<(&str, i32)>,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        if let Some(route) = self.routes.get(topic) {
            return Ok(route.clone());
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(route) = self.routes.get(topic) {
            return Ok(route.clone());
        }
        self.fetch_route(topic, default).await
    }

    /// Asks the NameServer for a route, whatever the cache has.
    pub(crate) async fn fetch_route(
        &self,
        topic: &Str,
        default: Option<(&str, i32)>,
    ) -> Result<Arc<TopicRoute>, ClientError> {
        let route = match (self.ask_route(topic).await, default) {
            (Ok(data), _) => TopicRoute::new(topic, data),
            (Err(ClientError::NoRoute(_)), Some((default, queues))) => {
                let data = self.ask_route(default).await;
                let data = data.map_err(|error| match error {
                    ClientError::NoRoute(_) => ClientError::NoRoute(topic.to_string()),
                    error => error,
                })?;
                TopicRoute::from_default(topic, data, queues)
            }
            (Err(error), _) => return Err(error),
        };
        let route = Arc::new(route);
        for (name, addrs) in route.broker_addrs() {
            self.brokers.insert(name.clone(), addrs.clone());
        }
        self.routes.insert(topic.clone(), route.clone());
        Ok(route)
    }

    async fn ask_route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        let fields = [
            ("topic", Text(topic)),
            ("acceptStandardJsonOnly", Bool(true)),
        ];
        let request = api::request(RequestCode::GetRouteinfoByTopic, &fields);
        let (addr, answer) = self.ask_namesrv(request).await?;
        if answer.code == ResponseCode::TopicNotExist.code() {
            return Err(ClientError::NoRoute(topic.to_owned()));
        }
        let answer = api::success(&addr, answer)?;
        crate::client::read_json(&addr, "a route", &answer.body)
    }

    /// Forgets a route: the next use asks for it again.
    pub(crate) fn forget_route(&self, topic: &Str) {
        self.routes.remove(topic);
    }

    async fn refresh_routes(&self) {
        let known = self
            .routes
            .iter()
            .map(|route| (route.key().clone(), route.is_default));
        let mut topics: BTreeMap<Str, bool> = known.collect();
        for consumer in self.consumers() {
            for topic in consumer.topics() {
                topics.entry(topic).or_insert(false);
            }
        }
        for (topic, is_default) in topics {
            match self.fetch_route(&topic, None).await {
                Ok(_) => {}
                // Not made yet; what was built after the default topic still serves.
                Err(ClientError::NoRoute(_)) if is_default => {}
                Err(ClientError::NoRoute(_)) => self.forget_route(&topic),
                Err(error) => {
                    log::warn!("client: route not refreshed topic={topic} error={error}");
                    return;
                }
            }
        }
        let routes = self.routes.iter();
        let used: BTreeSet<String> = routes
            .flat_map(|route| {
                route
                    .broker_addrs()
                    .map(|(name, _)| name.clone())
                    .collect::<Vec<_>>()
            })
            .collect();
        self.brokers.retain(|name, _| used.contains(name));
    }

    /// The address of a broker's master.
    pub(crate) fn master_addr(&self, broker_name: &str) -> Option<String> {
        self.brokers.get(broker_name)?.get(&MASTER_ID).cloned()
    }

    /// The address to read from: the wanted replica, else the next, else any.
    pub(crate) fn read_addr(&self, broker_name: &str, broker_id: i64) -> Option<String> {
        let addrs = self.brokers.get(broker_name)?;
        let wanted = addrs
            .get(&broker_id)
            .or_else(|| addrs.get(&(broker_id + 1)));
        wanted.or_else(|| addrs.values().next()).cloned()
    }

    pub(crate) fn register_producer(&self, group: &str, producer: Weak<dyn ProducerHandle>) {
        lock(&self.producers).insert(group.to_owned(), producer);
    }

    /// Adds a consumer; one client may have one consumer per group.
    pub(crate) fn register_consumer(
        &self,
        group: &str,
        consumer: Weak<dyn ConsumerHandle>,
    ) -> Result<(), ClientError> {
        let mut consumers = lock(&self.consumers);
        if consumers
            .get(group)
            .is_some_and(|known| known.strong_count() > 0)
        {
            let text = format!("this client already has a consumer of group {group}");
            return Err(ClientError::Invalid(text));
        }
        consumers.insert(group.to_owned(), consumer);
        Ok(())
    }

    pub(crate) fn consumer(&self, group: &str) -> Option<Arc<dyn ConsumerHandle>> {
        lock(&self.consumers).get(group)?.upgrade()
    }

    pub(crate) fn producer(&self, group: &str) -> Option<Arc<dyn ProducerHandle>> {
        lock(&self.producers).get(group)?.upgrade()
    }

    fn consumers(&self) -> Vec<Arc<dyn ConsumerHandle>> {
        lock(&self.consumers)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Removes a group and tells the brokers.
    pub(crate) async fn unregister(&self, producer: Option<&str>, consumer: Option<&str>) {
        if let Some(group) = producer {
            lock(&self.producers).remove(group);
        }
        if let Some(group) = consumer {
            lock(&self.consumers).remove(group);
        }
        let connected = self.api.remoting.connected();
        let addrs = self.broker_addrs(false).into_iter();
        let calls = addrs.filter(|addr| connected.iter().any(|open| **open == **addr));
        let all = calls.map(async |addr| {
            let id = &self.config.client_id;
            if let Err(error) = self.api.unregister(&addr, id, producer, consumer).await {
                log::info!("client: not unregistered broker={addr} error={error}");
            }
        });
        join_all(all).await;
    }

    fn broker_addrs(&self, masters_only: bool) -> BTreeSet<String> {
        let mut addrs = BTreeSet::new();
        for broker in self.brokers.iter() {
            let wanted = broker
                .iter()
                .filter(|(id, _)| !masters_only || **id == MASTER_ID);
            addrs.extend(wanted.map(|(_, addr)| addr.clone()));
        }
        addrs
    }

    /// Tells all brokers which groups live here. Slaves are told when there are consumers.
    pub(crate) async fn heartbeat_all(&self) {
        let consumers = self.consumers();
        let producers: Vec<ProducerData> = lock(&self.producers)
            .iter()
            .filter(|(_, producer)| producer.strong_count() > 0)
            .map(|(group, _)| ProducerData {
                group_name: group.clone(),
            })
            .collect();
        if consumers.is_empty() && producers.is_empty() {
            return;
        }
        let heartbeat = HeartbeatData {
            client_id: self.config.client_id.clone(),
            consumer_data_set: consumers.iter().map(|c| c.consumer_data()).collect(),
            producer_data_set: producers,
            ..HeartbeatData::default()
        };
        let body = fastjson::to_vec(&heartbeat).unwrap_or_default();
        let all = self
            .broker_addrs(consumers.is_empty())
            .into_iter()
            .map(async |addr| {
                if let Err(error) = self.api.heartbeat(&addr, body.clone()).await {
                    log::info!("client: heartbeat failed broker={addr} error={error}");
                }
            });
        join_all(all).await;
    }

    /// Wakes the rebalancing task.
    pub(crate) fn rebalance_soon(&self) {
        self.rebalance_now.notify_one();
    }
}
