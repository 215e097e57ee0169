//! What a broker forgets of its mappings (`TopicQueueMappingCleanService`).

use std::collections::BTreeMap;

use super::LogicQueueMappingItem;
use crate::protocol::body::topic_queue_mapping::TopicQueueMappingDetail;

/// The oldest stretch of each queue that the broker leads, where there are others behind it: whether it
/// still has messages is to be asked.
pub fn oldest(mapping: &TopicQueueMappingDetail) -> BTreeMap<i32, &LogicQueueMappingItem> {
    let queues = mapping.hosted_queues.iter();
    let led = queues.filter(|(queue, items)| items.len() > 1 && mapping.led(**queue).is_some());
    led.filter_map(|(queue, items)| Some((*queue, items.first()?)))
        .collect()
}

/// The mapping without the oldest stretch of each of these queues.
pub fn without_oldest(
    mapping: &TopicQueueMappingDetail,
    expired: impl IntoIterator<Item = i32>,
) -> TopicQueueMappingDetail {
    let mut left = mapping.clone();
    for queue in expired {
        if let Some(items) = left.hosted_queues.get_mut(&queue)
            && items.len() > 1
        {
            items.remove(0);
        }
    }
    left
}

/// Whether nothing is left of a stretch, by the first and the next offset of its queue.
pub fn is_expired(min: i64, max: i64) -> bool {
    max == min || max == 0
}

/// The queues that others lead, with the leader that is known here.
pub fn led_elsewhere(mapping: &TopicQueueMappingDetail) -> BTreeMap<i32, &str> {
    let queues = mapping.hosted_queues.iter();
    let last = queues.filter_map(|(queue, items)| Some((*queue, &*items.last()?.bname)));
    last.filter(|(_, leader)| *leader != mapping.bname)
        .collect()
}

/// Whether a queue that others lead is none of this broker's business any more: it was moved on since,
/// as its present leader, whose mapping is `theirs`, confirms. Who only lost it last keeps it, for what
/// it has is read by way of its stretches.
pub fn is_superseded(
    mapping: &TopicQueueMappingDetail,
    queue: i32,
    known_leader: &str,
    theirs: &TopicQueueMappingDetail,
) -> bool {
    theirs.total_queues == mapping.total_queues
        && theirs.epoch == mapping.epoch
        && theirs.led(queue).is_some()
        && theirs.bname != known_leader
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::item;
    use super::*;

    fn mapping(
        broker: &str,
        queues: Vec<(i32, Vec<LogicQueueMappingItem>)>,
    ) -> TopicQueueMappingDetail {
        TopicQueueMappingDetail {
            topic: "T".into(),
            bname: broker.into(),
            epoch: 5,
            total_queues: 4,
            hosted_queues: queues.into_iter().collect(),
            ..TopicQueueMappingDetail::default()
        }
    }

    #[test]
    fn only_leaders_forget_the_oldest_stretch() {
        let (old, new) = (item("b", 0, 3, 0), item("a", 1, 0, 100));
        let all = mapping(
            "a",
            vec![
                (0, vec![old.clone(), new.clone()]),
                (1, vec![item("a", 0, 1, 0)]),
                (2, vec![new.clone(), item("b", 2, 0, 200)]),
            ],
        );
        assert_eq!(oldest(&all), [(0, &old)].into());
        let left = without_oldest(&all, [0, 1, 9]);
        assert_eq!(left.hosted_queues[&0], [new]);
        assert_eq!(left.hosted_queues[&1], all.hosted_queues[&1]);
        assert_eq!((left.epoch, left.hosted_queues.len()), (5, 3));
        assert!(is_expired(7, 7) && is_expired(0, 0) && !is_expired(3, 7));
    }

    #[test]
    fn a_queue_that_was_moved_on_twice_is_forgotten() {
        let moved = vec![item("a", 0, 0, 0), item("b", 1, 0, 100)];
        let mut onward = moved.clone();
        onward.push(item("c", 2, 0, 200));
        let here = mapping("a", vec![(0, moved.clone()), (1, vec![item("a", 0, 1, 0)])]);
        assert_eq!(led_elsewhere(&here), [(0, "b")].into());
        let there = mapping("c", vec![(0, onward.clone())]);
        assert!(is_superseded(&here, 0, "b", &there));
        // Moved once only, of another epoch, or not led there.
        assert!(!is_superseded(
            &here,
            0,
            "b",
            &mapping("b", vec![(0, moved)])
        ));
        let mut other = there.clone();
        other.epoch = 6;
        assert!(!is_superseded(&here, 0, "b", &other));
        assert!(!is_superseded(
            &here,
            0,
            "b",
            &mapping("d", vec![(0, onward)])
        ));
    }
}
