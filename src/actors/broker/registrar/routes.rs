//! Routes of topics as NameServers know them, for assignments over all brokers
//! (`TopicRouteInfoManager`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;

use super::Registrars;
use crate::protocol::{
    RemotingCommand, RequestCode, ResponseCode,
    body::{MessageQueue, route::TopicRouteData},
    fastjson,
    header::namesrv::GetRouteInfoRequestHeader,
    message::perm,
};

/// How long a route is used.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// How long a topic without a route is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// How long one NameServer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Routes that are kept.
const ROUTES_MAX: usize = 1 << 14;

/// Routes that were asked for.
pub(super) type Routes = DashMap<String, (Instant, Option<Arc<TopicRouteData>>)>;

impl Registrars {
    /// The route of a topic; `None` where no NameServer knows one.
    pub async fn route(&self, topic: &str) -> Option<Arc<TopicRouteData>> {
        let routes = &self.0.routes;
        if let Some(known) = routes.get(topic) {
            let (asked, route) = known.value();
            let limit = if route.is_some() {
                KNOWN_FOR
            } else {
                UNKNOWN_FOR
            };
            if asked.elapsed() < limit {
                return route.clone();
            }
        }
        let route = self.ask_route(topic).await.map(Arc::new);
        if routes.len() >= ROUTES_MAX {
            routes.clear();
        }
        routes.insert(topic.to_owned(), (Instant::now(), route.clone()));
        route
    }

    async fn ask_route(&self, topic: &str) -> Option<TopicRouteData> {
        let header = GetRouteInfoRequestHeader {
            topic: topic.to_owned().into(),
            accept_standard_json_only: None,
        };
        // Those that answered last time first: a dead one costs its timeout.
        for addr in self.addresses_alive_first() {
            let request = RemotingCommand::request(RequestCode::GetRouteinfoByTopic, &header);
            let Ok(answer) = self.0.client.call(&addr, request, TIMEOUT).await else {
                continue;
            };
            if answer.code == ResponseCode::Success.code() {
                return fastjson::from_slice(&answer.body).ok();
            }
            if answer.code == ResponseCode::TopicNotExist.code() {
                return None;
            }
        }
        None
    }

    /// The queues that can be read of a topic, on all brokers and in order. Without any
    /// NameServer the broker's own.
    pub async fn readable_queues(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let mut queues = Vec::new();
        if self.addresses().is_empty() {
            let config = self.0.topics.get(topic)?;
            let broker = self.0.config.load().broker.broker_name.clone();
            let ids = 0..config.read_queue_nums;
            queues.extend(ids.map(|queue_id| MessageQueue::new(topic, &broker, queue_id)));
            return Some(queues);
        }
        let route = self.route(topic).await?;
        for data in route
            .queue_datas
            .iter()
            .filter(|data| perm::is_readable(data.perm))
        {
            // What a foreign server says does not decide how much memory is taken.
            const QUEUES_MAX: i32 = 1 << 16;
            let ids = 0..data.read_queue_nums.min(QUEUES_MAX);
            queues.extend(ids.map(|id| MessageQueue::new(topic, &data.broker_name, id)));
        }
        // RocketMQ compares topic, broker and queue.
        queues.sort_by(|a, b| {
            (&a.topic, &a.broker_name, a.queue_id).cmp(&(&b.topic, &b.broker_name, b.queue_id))
        });
        queues.dedup();
        Some(queues)
    }
}
