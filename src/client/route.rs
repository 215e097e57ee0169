//! Where a topic's queues are, from the NameServer's answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::protocol::Str;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::route::TopicRouteData;
use crate::protocol::message::perm;

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
        let write_queues = write_queues(topic, &data);
        let mut read_queues: Vec<MessageQueue> = data
            .queue_datas
            .iter()
            .filter(|queue_data| perm::is_readable(queue_data.perm))
            .flat_map(|queue_data| {
                queues(topic, &queue_data.broker_name, queue_data.read_queue_nums)
            })
            .collect();
        read_queues.sort();
        // A random start, so that many producers do not begin on the same queue.
        let next = AtomicUsize::new(rand::random::<u16>().into());
        TopicRoute {
            data,
            write_queues,
            read_queues,
            is_default,
            next,
        }
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

/// Queues for sending: those of the order configuration (`broker:count;...`) if there is one,
/// else those of all brokers that are writable and have a master.
fn write_queues(topic: &Str, data: &TopicRouteData) -> Vec<MessageQueue> {
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
    fn a_default_route_is_limited() {
        let route = TopicRoute::from_default(&"New".into(), data(), 1);
        assert_eq!(route.write_queues.len(), 1);
        assert_eq!(route.write_queues[0].topic, "New");
    }
}
