//! Whether a broker takes a mapping in place of the one it has
//! (`TopicQueueMappingManager.updateTopicQueueMapping`).

use super::{LogicQueueMappingItem, StaticTopicError, check};
use crate::protocol::body::topic_queue_mapping::TopicQueueMappingDetail;

/// Why a broker does not take a mapping. The texts are RocketMQ's, where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingRefused {
    /// The stretches of a queue do not fit each other.
    #[error(transparent)]
    Stretches(#[from] StaticTopicError),
    /// It is another broker's.
    #[error("The mapping is of broker {found}, this is {own}")]
    OtherBroker {
        /// The broker that it names.
        found: String,
        /// This one.
        own: String,
    },
    /// It is older than the one that is known.
    #[error("Can't accept data with small epoch {new} < {known}")]
    Epoch {
        /// The one that was told.
        new: i64,
        /// The one that is known.
        known: i64,
    },
    /// It is of another scope.
    #[error("Can't accept data with unmatched scope {new} != {known}")]
    Scope {
        /// The one that was told.
        new: String,
        /// The one that is known.
        known: String,
    },
    /// A queue that is known is missing, though the epoch is the same.
    #[error("Cannot accept equal epoch with null data")]
    NoData,
    /// A queue that is known has no stretches any more.
    #[error("The new item list is null or empty")]
    NoStretches,
    /// A stretch that is known is told otherwise. RocketMQ has this as an assertion, which no broker
    /// checks.
    #[error("The stretch of generation {0} is told otherwise than before")]
    Changed(i32),
    /// The last stretch is another one, though the epoch is the same.
    #[error("The new leader is different but epoch equal")]
    Leader,
}

/// The mapping to keep: the new one, with the queues that only the old one has.
///
/// With `force` nothing of the old one is held against it.
///
/// # Errors
/// See [`MappingRefused`].
pub fn accept(
    old: Option<&TopicQueueMappingDetail>,
    mut new: TopicQueueMappingDetail,
    force: bool,
) -> Result<TopicQueueMappingDetail, MappingRefused> {
    for items in new.hosted_queues.values() {
        check::stretches(items)?;
    }
    let Some(old) = old else {
        return Ok(new);
    };
    if !force {
        if new.epoch < old.epoch {
            return Err(MappingRefused::Epoch {
                new: new.epoch,
                known: old.epoch,
            });
        }
        if new.scope != old.scope {
            return Err(MappingRefused::Scope {
                new: new.scope,
                known: old.scope.clone(),
            });
        }
    }
    let same_epoch = new.epoch == old.epoch;
    for (&queue, known) in &old.hosted_queues {
        match new.hosted_queues.get(&queue) {
            None if same_epoch && !force => return Err(MappingRefused::NoData),
            None => {
                new.hosted_queues.insert(queue, known.clone());
            }
            Some(_) if force => {}
            Some(items) => unchanged(known, items, same_epoch)?,
        }
    }
    Ok(new)
}

/// Checks that what is known of a queue's stretches is told alike. Either list may lack some: the oldest
/// ones are cleaned, and a queue may come back to a broker
/// (`makeSureLogicQueueMappingItemImmutable`).
fn unchanged(
    known: &[LogicQueueMappingItem],
    new: &[LogicQueueMappingItem],
    same_epoch: bool,
) -> Result<(), MappingRefused> {
    let Some(known_leader) = known.last() else {
        return Ok(());
    };
    let leader = new.last().ok_or(MappingRefused::NoStretches)?;
    for item in new {
        let before = known.iter().find(|known| known.r#gen == item.r#gen);
        let alike = |known: &LogicQueueMappingItem| {
            same_place(known, item)
                && (known.logic_offset == -1 || known.logic_offset == item.logic_offset)
        };
        if !before.is_none_or(alike) {
            return Err(MappingRefused::Changed(item.r#gen));
        }
    }
    let is_same = known_leader.r#gen == leader.r#gen && same_place(known_leader, leader);
    match same_epoch && !is_same {
        true => Err(MappingRefused::Leader),
        false => Ok(()),
    }
}

fn same_place(one: &LogicQueueMappingItem, other: &LogicQueueMappingItem) -> bool {
    one.bname == other.bname
        && one.queue_id == other.queue_id
        && one.start_offset == other.start_offset
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::item;
    use super::*;

    fn mapping(
        epoch: i64,
        queues: Vec<(i32, Vec<LogicQueueMappingItem>)>,
    ) -> TopicQueueMappingDetail {
        TopicQueueMappingDetail {
            topic: "T".into(),
            bname: "a".into(),
            epoch,
            total_queues: 2,
            hosted_queues: queues.into_iter().collect(),
            ..TopicQueueMappingDetail::default()
        }
    }

    fn known() -> TopicQueueMappingDetail {
        mapping(
            5,
            vec![(0, vec![item("a", 0, 0, 0)]), (1, vec![item("a", 0, 1, 0)])],
        )
    }

    fn refused(new: TopicQueueMappingDetail) -> MappingRefused {
        accept(Some(&known()), new, false).unwrap_err()
    }

    #[test]
    fn the_first_mapping_and_a_later_one_are_taken() {
        assert_eq!(accept(None, known(), false), Ok(known()));
        let moved = vec![item("a", 0, 0, 0), item("b", 1, 0, -1)];
        let later = accept(Some(&known()), mapping(6, vec![(0, moved.clone())]), false).unwrap();
        assert_eq!(later.hosted_queues[&0], moved);
        // What it does not name stays.
        assert_eq!(later.hosted_queues[&1], known().hosted_queues[&1]);
        // The place of the new stretch is told with the same epoch.
        let mut placed = later.clone();
        placed.hosted_queues.get_mut(&0).unwrap()[1].logic_offset = 10_000;
        assert_eq!(
            accept(Some(&later), placed.clone(), false),
            Ok(placed.clone())
        );
        let again = accept(Some(&placed), later, false);
        assert_eq!(again, Err(MappingRefused::Changed(1)));
    }

    #[test]
    fn an_older_or_another_mapping_is_refused_as_rocketmq_does() {
        let error = refused(mapping(4, vec![])).to_string();
        assert_eq!(error, "Can't accept data with small epoch 4 < 5");
        let mut other = known();
        other.scope = "zone".into();
        let error = refused(other).to_string();
        assert_eq!(
            error,
            "Can't accept data with unmatched scope zone != __global__"
        );
        assert_eq!(refused(mapping(5, vec![])), MappingRefused::NoData);
        let none = vec![(0, Vec::new())];
        assert_eq!(refused(mapping(6, none)), MappingRefused::NoStretches);
        let mut led = known();
        led.hosted_queues
            .get_mut(&0)
            .unwrap()
            .push(item("b", 1, 0, -1));
        assert_eq!(refused(led.clone()), MappingRefused::Leader);
        led.epoch = 6;
        assert_eq!(accept(Some(&known()), led.clone(), false), Ok(led.clone()));
        led.hosted_queues.get_mut(&0).unwrap()[0].queue_id = 9;
        assert_eq!(refused(led.clone()), MappingRefused::Changed(0));
        let broken = mapping(7, vec![(0, vec![item("a", 1, 0, 0), item("b", 0, 0, 9)])]);
        assert_eq!(refused(broken), StaticTopicError::Generations.into());
    }

    #[test]
    fn force_takes_anything_sound_and_keeps_the_rest() {
        let forced = mapping(1, vec![(0, vec![item("b", 7, 3, 0)])]);
        let taken = accept(Some(&known()), forced, true).unwrap();
        assert_eq!(taken.epoch, 1);
        assert_eq!(taken.hosted_queues[&0], [item("b", 7, 3, 0)]);
        assert_eq!(taken.hosted_queues[&1], known().hosted_queues[&1]);
        let broken = mapping(9, vec![(0, vec![item("a", 0, -1, 0)])]);
        let error = accept(Some(&known()), broken, true);
        assert_eq!(error, Err(StaticTopicError::Negative.into()));
    }

    #[test]
    fn stretches_may_have_been_cleaned_on_either_side() {
        let long = vec![
            item("a", 0, 0, 0),
            item("b", 1, 0, 100),
            item("a", 2, 2, 200),
        ];
        let old = mapping(5, vec![(0, long.clone())]);
        let cleaned = mapping(5, vec![(0, long[1..].to_vec())]);
        assert_eq!(
            accept(Some(&old), cleaned.clone(), false),
            Ok(cleaned.clone())
        );
        assert_eq!(accept(Some(&cleaned), old.clone(), false), Ok(old));
    }
}
