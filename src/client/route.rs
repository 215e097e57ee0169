//! Where a topic's queues are, from the NameServer's answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::protocol::Str;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::message::perm;
use crate::protocol::static_topic;
use crate::protocol::static_topic::route::Leader;

pub use crate::protocol::body::route::MASTER_ID;

/// A topic's route, prepared for sending and consuming.
#[derive(Debug)]
pub struct TopicRoute {
    /// The NameServer's answer.
    pub data: TopicRouteData,
    /// Queues that can be written to, in RocketMQ's order.
    pub write_queues: Vec<MessageQueue>,
    /// Queues that can be read, sorted.
    pub read_queues: Vec<MessageQueue>,
    /// Whether the topic does not exist yet and this is made after the default topic's route.
    pub is_default: bool,
    /// Of a static topic: who leads its queues, by the broker name that clients see. Else empty.
    leaders: BTreeMap<String, Vec<Leader>>,
    /// When it was made of the NameServer's answer.
    pub(crate) made: Instant,
    next: AtomicUsize,
}

impl TopicRoute {
    /// Prepares the route of an existing topic.
    pub fn new(topic: &Str, data: TopicRouteData) -> Self {
        Self::build(topic, data, false)
    }

    /// A route for a topic that the brokers will make on the first send, after the route of the
    /// default topic, with at most `queues` queues on each broker.
    pub fn from_default(topic: &Str, mut data: TopicRouteData, queues: i32) -> Self {
        for queue_data in &mut data.queue_datas {
            let queues = queues.min(queue_data.read_queue_nums).max(0);
            queue_data.read_queue_nums = queues;
            queue_data.write_queue_nums = queues;
        }
        Self::build(topic, data, true)
    }

    fn build(topic: &Str, data: TopicRouteData, is_default: bool) -> Self {
        let leaders = static_topic::route::leaders(&data);
        let write_queues = write_queues(topic, &data, &leaders);
        let mut read_queues: Vec<MessageQueue> = match leaders.is_empty() {
            true => data
                .queue_datas
                .iter()
                .filter(|queue_data| perm::is_readable(queue_data.perm))
                .flat_map(|queue_data| {
                    queues(topic, &queue_data.broker_name, queue_data.read_queue_nums)
                })
                .collect(),
            false => logic_queues(topic, &leaders).collect(),
        };
        read_queues.sort();
        // A random start, so that many producers do not begin on the same queue.
        let next = AtomicUsize::new(rand::random::<u16>().into());
        TopicRoute {
            data,
            write_queues,
            read_queues,
            is_default,
            leaders,
            made: Instant::now(),
            next,
        }
    }

    /// Whether its queues are logic queues, which may move from broker to broker.
    pub fn is_static(&self) -> bool {
        !self.leaders.is_empty()
    }

    /// Name of the broker that is asked for a queue: its own, or that of the leader of a logic queue.
    /// None while a logic queue has no leader.
    pub fn broker_of<'a>(&'a self, queue: &'a MessageQueue) -> Option<&'a str> {
        if !static_topic::is_mock_broker(&queue.broker_name) {
            return Some(&queue.broker_name);
        }
        let id = usize::try_from(queue.queue_id).ok()?;
        self.leaders.get(&queue.broker_name)?.get(id)?.as_deref()
    }

    /// The next queue in turn that passes, if any does.
    pub fn pick(&self, passes: impl Fn(&MessageQueue) -> bool) -> Option<&MessageQueue> {
        for _ in 0..self.write_queues.len() {
            let index = self.next.fetch_add(1, Ordering::Relaxed) % self.write_queues.len();
            let queue = self.write_queues.get(index).filter(|queue| passes(queue));
            if queue.is_some() {
                return queue;
            }
        }
        None
    }

    /// Addresses of the brokers that have queues of the topic, by name and id.
    pub fn broker_addrs(&self) -> impl Iterator<Item = (&String, &BTreeMap<i64, String>)> {
        self.data
            .broker_datas
            .iter()
            .map(|broker| (&broker.broker_name, &broker.broker_addrs))
    }
}

fn queues(topic: &str, broker: &str, count: i32) -> impl Iterator<Item = MessageQueue> {
    (0..count).map(move |queue_id| MessageQueue::new(topic, broker, queue_id))
}

/// The queues of a static topic, in the order of their numbers.
fn logic_queues(
    topic: &str,
    leaders: &BTreeMap<String, Vec<Leader>>,
) -> impl Iterator<Item = MessageQueue> {
    leaders.iter().flat_map(move |(broker, leaders)| {
        let count = i32::try_from(leaders.len()).unwrap_or(i32::MAX);
        queues(topic, broker, count)
    })
}

/// Queues for sending: those of the order configuration (`broker:count;...`) if there is one, else those
/// of a static topic, else those of all brokers that are writable and have a master
/// (`MQClientInstance.topicRouteData2TopicPublishInfo`).
fn write_queues(
    topic: &Str,
    data: &TopicRouteData,
    leaders: &BTreeMap<String, Vec<Leader>>,
) -> Vec<MessageQueue> {
    if let Some(order) = data
        .order_topic_conf
        .as_ref()
        .filter(|text| !text.is_empty())
    {
        let parts = order.split(';').filter_map(|part| part.split_once(':'));
        let counted = parts.filter_map(|(broker, count)| Some((broker, count.parse().ok()?)));
        return counted
            .flat_map(|(broker, count): (&str, i32)| queues(topic, broker, count))
            .collect();
    }
    if !leaders.is_empty() {
        return logic_queues(topic, leaders).collect();
    }
    let has_master = |name: &String| {
        let mut brokers = data.broker_datas.iter();
        brokers.any(|b| b.broker_name == *name && b.broker_addrs.contains_key(&MASTER_ID))
    };
    let mut queue_datas: Vec<_> = data
        .queue_datas
        .iter()
        .filter(|queue_data| perm::is_writable(queue_data.perm))
        .filter(|queue_data| has_master(&queue_data.broker_name))
        .collect();
    queue_datas.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
    queue_datas
        .into_iter()
        .flat_map(|queue_data| queues(topic, &queue_data.broker_name, queue_data.write_queue_nums))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body::route::{BrokerData, QueueData};
    use crate::protocol::body::topic_queue_mapping::TopicQueueMappingInfo;

    fn data() -> TopicRouteData {
        let queue_data = |name: &str, perm| QueueData {
            broker_name: name.into(),
            perm,
            read_queue_nums: 3,
            write_queue_nums: 2,
            ..QueueData::default()
        };
        let broker = |name: &str, id| BrokerData {
            broker_name: name.into(),
            broker_addrs: [(id, "h:1".into())].into(),
            ..BrokerData::default()
        };
        TopicRouteData {
            queue_datas: vec![queue_data("b", 6), queue_data("a", 6), queue_data("c", 4)],
            broker_datas: vec![broker("a", 0), broker("b", 1), broker("c", 0)],
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn only_writable_masters_are_written_to() {
        let route = TopicRoute::new(&"T".into(), data());
        let write: Vec<_> = route
            .write_queues
            .iter()
            .map(|q| (&*q.broker_name, q.queue_id))
            .collect();
        assert_eq!(write, [("a", 0), ("a", 1)]);
        assert_eq!(route.read_queues.len(), 9);
    }

    #[test]
    fn queues_are_taken_in_turn() {
        let route = TopicRoute::new(&"T".into(), data());
        let first = route.pick(|_| true).unwrap().queue_id;
        let second = route.pick(|_| true).unwrap().queue_id;
        assert_eq!(first + second, 1);
        assert!(route.pick(|queue| &*queue.broker_name == "b").is_none());
    }

    #[test]
    fn the_order_configuration_wins() {
        let mut data = data();
        data.order_topic_conf = Some("b:1;a:2;nonsense".into());
        let route = TopicRoute::new(&"T".into(), data);
        let write: Vec<_> = route
            .write_queues
            .iter()
            .map(|q| (&*q.broker_name, q.queue_id))
            .collect();
        assert_eq!(write, [("b", 0), ("a", 0), ("a", 1)]);
    }

    #[test]
    fn a_static_topic_has_the_queues_of_its_mapping() {
        let mut data = data();
        let info = |bname: &str, epoch, ids: &[i32]| TopicQueueMappingInfo {
            bname: bname.into(),
            epoch,
            total_queues: 3,
            curr_id_map: ids.iter().map(|id| (*id, 0)).collect(),
            ..TopicQueueMappingInfo::default()
        };
        let infos = [info("a", 1, &[0, 1]), info("b", 2, &[1])];
        let by_broker = infos.map(|info| (info.bname.clone(), info));
        data.topic_queue_mapping_by_broker = Some(by_broker.into());
        let route = TopicRoute::new(&"T".into(), data);
        assert!(route.is_static());
        assert_eq!(route.write_queues, route.read_queues);
        let brokers: Vec<_> = route
            .read_queues
            .iter()
            .map(|q| route.broker_of(q))
            .collect();
        assert_eq!(brokers, [Some("a"), Some("b"), None]);
        assert_eq!(route.read_queues[0].broker_name, "__syslo__global__");
        assert_eq!(route.broker_of(&MessageQueue::new("T", "c", 7)), Some("c"));
        assert_eq!(
            route.broker_of(&MessageQueue::new("T", "__syslo__other", 0)),
            None
        );
    }

    #[test]
    fn a_default_route_is_limited() {
        let route = TopicRoute::from_default(&"New".into(), data(), 1);
        assert_eq!(route.write_queues.len(), 1);
        assert_eq!(route.write_queues[0].topic, "New");
    }
}
