//! What tools show of a static topic: the offsets of its logic queues from those of physical ones.

use super::check::logic_queues_so_far;
use super::{BrokerConfigs, StaticTopicError, item, mock_broker_name};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::stats::{ConsumeStats, OffsetWrapper, TopicOffset, TopicStatsTable};

/// Adds the logic queues to the offsets of a topic's physical queues
/// (`MQAdminUtils.convertPhysicalTopicStats`).
pub fn add_topic_stats(
    topic: &str,
    brokers: &BrokerConfigs,
    stats: &mut TopicStatsTable,
) -> Result<(), StaticTopicError> {
    for (id, queue) in logic_queues_so_far(brokers)? {
        let first = item::find(queue.items, 0);
        let last = item::find(queue.items, i64::MAX);
        let (Some(first), Some(last)) = (first, last) else {
            continue;
        };
        let at = |item: &super::LogicQueueMappingItem| {
            let queue = MessageQueue::new(topic, &item.bname, item.queue_id);
            stats.offset_table.get(&queue).cloned()
        };
        let (Some(min), Some(max)) = (at(first), at(last)) else {
            continue;
        };
        let offset = TopicOffset {
            min_offset: first.static_offset_loosely(min.min_offset).max(0),
            max_offset: last.static_offset(max.max_offset).max(0),
            last_update_timestamp: max.last_update_timestamp,
        };
        let broker = mock_broker_name(&queue.mapping.scope);
        let queue = MessageQueue::new(topic, &broker, id);
        stats.offset_table.insert(queue, offset);
    }
    Ok(())
}

/// How far a group is in the logic queues of a topic
/// (`MQAdminUtils.convertPhysicalConsumeStats`, which leaves the group's offset a physical one: it
/// is an offset of the logic queue here).
pub fn consume_stats(
    topic: &str,
    brokers: &BrokerConfigs,
    physical: &ConsumeStats,
) -> Result<ConsumeStats, StaticTopicError> {
    let mut stats = ConsumeStats::default();
    for (id, queue) in logic_queues_so_far(brokers)? {
        let (mut end, mut group) = (None, None);
        for stretch in queue.items.iter().rev() {
            let place = MessageQueue::new(topic, &stretch.bname, stretch.queue_id);
            let Some(known) = physical.offset_table.get(&place) else {
                continue;
            };
            if stretch.logic_offset < 0 {
                continue;
            }
            if group.is_none() && known.consumer_offset >= 0 {
                group = Some((stretch, known));
            }
            end.get_or_insert_with(|| stretch.static_offset(known.broker_offset));
        }
        if let (Some(end), Some((stretch, known))) = (end, group) {
            let broker = mock_broker_name(&queue.mapping.scope);
            let offset = OffsetWrapper {
                broker_offset: end,
                consumer_offset: stretch.static_offset(known.consumer_offset),
                last_timestamp: known.last_timestamp,
                pull_offset: stretch.static_offset(known.pull_offset.max(known.consumer_offset)),
            };
            let queue = MessageQueue::new(topic, &broker, id);
            stats.offset_table.insert(queue, offset);
        }
    }
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::plan::{create, decide_logic_offsets, remap};
    use super::*;

    /// A topic of one queue that moved from a to b when it had 7 messages.
    fn moved() -> BrokerConfigs {
        let on = |name: &str| BTreeSet::from([name.to_owned()]);
        let made = create("T", 1, &on("a"), BrokerConfigs::new(), 0, |_| {}).unwrap();
        let mut plan = remap("T", made.broker_config_map, &on("b"), 0).unwrap();
        decide_logic_offsets(&mut plan, "a", |_| Some(7)).unwrap();
        plan.broker_config_map
    }

    #[test]
    fn the_ends_of_a_logic_queue_lie_on_two_brokers() {
        let mut stats = TopicStatsTable::default();
        let mut put = |broker: &str, min_offset, max_offset| {
            let offset = TopicOffset {
                min_offset,
                max_offset,
                last_update_timestamp: max_offset,
            };
            let queue = MessageQueue::new("T", broker, 0);
            stats.offset_table.insert(queue, offset);
        };
        put("a", 2, 7);
        put("b", 0, 4);
        add_topic_stats("T", &moved(), &mut stats).unwrap();
        assert_eq!(stats.offset_table.len(), 3);
        let logic = &stats.offset_table[&MessageQueue::new("T", "__syslo__global__", 0)];
        let expected = (2, 10_004, 4);
        let found = (
            logic.min_offset,
            logic.max_offset,
            logic.last_update_timestamp,
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn a_group_is_where_its_last_commit_is() {
        let mut physical = ConsumeStats::default();
        let mut put = |broker: &str, broker_offset, consumer_offset| {
            let offset = OffsetWrapper {
                broker_offset,
                consumer_offset,
                ..OffsetWrapper::default()
            };
            let queue = MessageQueue::new("T", broker, 0);
            physical.offset_table.insert(queue, offset);
        };
        put("a", 7, 7);
        put("b", 4, -1);
        let logic = MessageQueue::new("T", "__syslo__global__", 0);
        let stats = consume_stats("T", &moved(), &physical).unwrap();
        let known = &stats.offset_table[&logic];
        assert_eq!((known.broker_offset, known.consumer_offset), (10_004, 7));
        let b = MessageQueue::new("T", "b", 0);
        physical.offset_table.get_mut(&b).unwrap().consumer_offset = 3;
        let stats = consume_stats("T", &moved(), &physical).unwrap();
        assert_eq!(stats.offset_table[&logic].consumer_offset, 10_003);
        physical.offset_table.clear();
        let stats = consume_stats("T", &moved(), &physical).unwrap();
        assert!(stats.offset_table.is_empty());
    }
}
