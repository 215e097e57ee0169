//! What has to hold among the mappings of a static topic's brokers, before and after a change.

use std::collections::{BTreeMap, BTreeSet};

use super::{BrokerConfigs, LogicQueueMappingItem, StaticTopicError};
use crate::protocol::body::topic_queue_mapping::TopicQueueMappingDetail;

/// What all brokers say alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Version of the mapping.
    pub epoch: i64,
    /// Logic queues in all.
    pub total_queues: i32,
}

/// One logic queue, as its leader has it (`TopicQueueMappingOne`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicQueue<'a> {
    /// The mapping that it stands in: the leader's.
    pub mapping: &'a TopicQueueMappingDetail,
    /// Its stretches, the oldest first; never empty.
    pub items: &'a [LogicQueueMappingItem],
}

impl LogicQueue<'_> {
    /// Name of the leader.
    pub fn leader(&self) -> &str {
        &self.mapping.bname
    }
}

/// Checks that every broker has a mapping of this topic and that all tell the same epoch, number of
/// queues and scope; yields these, or none of no brokers (`checkNameEpochNumConsistence`).
pub fn agreed(topic: &str, brokers: &BrokerConfigs) -> Result<Option<Agreed>, StaticTopicError> {
    let mut first: Option<&TopicQueueMappingDetail> = None;
    for (broker, config) in brokers {
        let name = || broker.clone();
        let mapping = config
            .mapping_detail
            .as_ref()
            .ok_or_else(|| StaticTopicError::NoMapping(name()))?;
        if *broker != mapping.bname {
            let found = mapping.bname.clone();
            let expected = name();
            return Err(StaticTopicError::BrokerName { expected, found });
        }
        if mapping.dirty {
            return Err(StaticTopicError::Dirty(name()));
        }
        if config.topic_name != mapping.topic {
            return Err(StaticTopicError::TopicsDiffer(name()));
        }
        if topic != mapping.topic {
            return Err(StaticTopicError::OtherTopic(name()));
        }
        let known = *first.get_or_insert(mapping);
        if known.scope != mapping.scope {
            return Err(StaticTopicError::Scope {
                found: mapping.scope.clone(),
                expected: known.scope.clone(),
                broker: name(),
            });
        }
        if known.epoch != mapping.epoch {
            return Err(StaticTopicError::Epoch {
                expected: known.epoch,
                found: mapping.epoch,
                broker: name(),
            });
        }
        if known.total_queues != mapping.total_queues {
            return Err(StaticTopicError::TotalQueues {
                expected: known.total_queues,
                found: mapping.total_queues,
                broker: name(),
            });
        }
    }
    Ok(first.map(|mapping| Agreed {
        epoch: mapping.epoch,
        total_queues: mapping.total_queues,
    }))
}

/// The logic queues by number, each from its leader, with all checks of a sound mapping
/// (`checkAndBuildMappingItems` and `checkIfReusePhysicalQueue`).
pub fn logic_queues(
    brokers: &BrokerConfigs,
) -> Result<BTreeMap<i32, LogicQueue<'_>>, StaticTopicError> {
    let queues = collect(brokers, false)?;
    let total = mappings(brokers).map(|mapping| mapping.total_queues);
    let total = total.max().unwrap_or(0);
    if usize::try_from(total) != Ok(queues.len()) {
        return Err(StaticTopicError::HostedQueues {
            expected: total,
            found: queues.len(),
        });
    }
    if let Some(missing) = (0..total).find(|id| !queues.contains_key(id)) {
        return Err(StaticTopicError::MissingQueue(missing));
    }
    no_shared_queue(&queues)?;
    Ok(queues)
}

/// As [`logic_queues`], of whatever is there: of two leaders the one of the later epoch counts.
pub fn logic_queues_so_far(
    brokers: &BrokerConfigs,
) -> Result<BTreeMap<i32, LogicQueue<'_>>, StaticTopicError> {
    let queues = collect(brokers, true)?;
    no_shared_queue(&queues)?;
    Ok(queues)
}

fn mappings(brokers: &BrokerConfigs) -> impl Iterator<Item = &TopicQueueMappingDetail> {
    brokers
        .values()
        .filter_map(|config| config.mapping_detail.as_ref())
}

fn collect(
    brokers: &BrokerConfigs,
    later_epoch_wins: bool,
) -> Result<BTreeMap<i32, LogicQueue<'_>>, StaticTopicError> {
    let mut details: Vec<_> = mappings(brokers).collect();
    details.sort_by_key(|mapping| std::cmp::Reverse(mapping.epoch));
    let mut queues = BTreeMap::new();
    for mapping in details {
        for (id, items) in &mapping.hosted_queues {
            stretches(items)?;
            let leads = items.last().is_some_and(|last| last.bname == mapping.bname);
            if !leads {
                continue;
            }
            if !queues.contains_key(id) {
                queues.insert(*id, LogicQueue { mapping, items });
            } else if !later_epoch_wins {
                return Err(StaticTopicError::TwoLeaders(mapping.bname.clone()));
            }
        }
    }
    Ok(queues)
}

/// Checks the stretches of one logic queue: generations and offsets rise
/// (`checkLogicQueueMappingItemOffset`).
fn stretches(items: &[LogicQueueMappingItem]) -> Result<(), StaticTopicError> {
    let mut later: Option<&LogicQueueMappingItem> = None;
    for item in items.iter().rev() {
        if item.start_offset < 0 || item.r#gen < 0 || item.queue_id < 0 {
            return Err(StaticTopicError::Negative);
        }
        if item.end_offset != -1 && item.end_offset < item.start_offset {
            return Err(StaticTopicError::EndBeforeStart);
        }
        if let Some(later) = later {
            if item.logic_offset < 0 {
                return Err(StaticTopicError::LogicOffsetUnknown);
            }
            if item.r#gen >= later.r#gen {
                return Err(StaticTopicError::Generations);
            }
            if later.logic_offset >= 0 && item.logic_offset >= later.logic_offset {
                return Err(StaticTopicError::LogicOffsets);
            }
            if later.logic_offset >= 0 && item.max_static_offset() >= later.logic_offset {
                return Err(StaticTopicError::MaxLogicOffsets);
            }
        }
        later = Some(item);
    }
    Ok(())
}

fn no_shared_queue(queues: &BTreeMap<i32, LogicQueue<'_>>) -> Result<(), StaticTopicError> {
    let mut seen = BTreeMap::new();
    for (id, queue) in queues {
        for item in queue.items {
            let Some(first) = seen.insert((&item.bname, item.queue_id), *id) else {
                continue;
            };
            return Err(StaticTopicError::SharedQueue {
                topic: queue.mapping.topic.clone(),
                first,
                second: *id,
                queue: format!("{}-{}", item.bname, item.queue_id),
            });
        }
    }
    Ok(())
}

/// Checks that every stretch begins at 0 of a queue that its broker has
/// (`checkPhysicalQueueConsistence`).
pub fn physical_queues(brokers: &BrokerConfigs) -> Result<(), StaticTopicError> {
    for config in brokers.values() {
        if config.read_queue_nums < config.write_queue_nums {
            return Err(StaticTopicError::ReadQueues);
        }
        let mapping = config.mapping_detail.iter();
        for item in mapping.flat_map(|m| m.hosted_queues.values().flatten()) {
            if item.start_offset != 0 {
                return Err(StaticTopicError::StartOffset);
            }
            let of_item = brokers
                .get(&item.bname)
                .ok_or(StaticTopicError::UnknownBroker)?;
            if item.queue_id >= of_item.write_queue_nums {
                return Err(StaticTopicError::QueueIdOverflow);
            }
        }
    }
    Ok(())
}

/// Checks that every queue is led by one of these brokers (`checkLeaderInTargetBrokers`).
pub fn led_by(
    queues: &BTreeMap<i32, LogicQueue<'_>>,
    targets: &BTreeSet<String>,
) -> Result<(), StaticTopicError> {
    match queues
        .values()
        .all(|queue| targets.contains(queue.leader()))
    {
        true => Ok(()),
        false => Err(StaticTopicError::LeaderNotInTargets),
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::item;
    use super::*;
    use crate::protocol::body::topic_config::TopicConfigAndQueueMapping;

    fn config(broker: &str, queues: Vec<(i32, Vec<LogicQueueMappingItem>)>) -> BrokerConfigs {
        let mapping = TopicQueueMappingDetail {
            topic: "T".into(),
            bname: broker.into(),
            epoch: 5,
            total_queues: queues.len() as i32,
            hosted_queues: queues.into_iter().collect(),
            ..TopicQueueMappingDetail::default()
        };
        let config = TopicConfigAndQueueMapping {
            topic_name: "T".into(),
            mapping_detail: Some(mapping),
            ..TopicConfigAndQueueMapping::default()
        };
        [(broker.to_owned(), config)].into()
    }

    fn mapping<'a>(
        configs: &'a mut BrokerConfigs,
        broker: &str,
    ) -> &'a mut TopicQueueMappingDetail {
        let config = configs.get_mut(broker).unwrap();
        config.mapping_detail.as_mut().unwrap()
    }

    #[test]
    fn brokers_have_to_agree() {
        assert_eq!(agreed("T", &BrokerConfigs::new()), Ok(None));
        let mut both = config("a", vec![(0, vec![item("a", 0, 0, 0)])]);
        both.extend(config("b", Vec::new()));
        let error = agreed("T", &both).unwrap_err();
        assert!(
            matches!(error, StaticTopicError::TotalQueues { .. }),
            "{error}"
        );
        mapping(&mut both, "b").total_queues = 1;
        let expected = Agreed {
            epoch: 5,
            total_queues: 1,
        };
        assert_eq!(agreed("T", &both), Ok(Some(expected)));
        let error = agreed("U", &both).unwrap_err();
        assert_eq!(error, StaticTopicError::OtherTopic("a".into()));
        mapping(&mut both, "b").epoch = 6;
        let error = agreed("T", &both).unwrap_err().to_string();
        assert_eq!(error, "epoch does not match 5 != 6 in b");
        mapping(&mut both, "a").dirty = true;
        assert_eq!(agreed("T", &both), Err(StaticTopicError::Dirty("a".into())));
        both.get_mut("a").unwrap().mapping_detail = None;
        assert_eq!(
            agreed("T", &both),
            Err(StaticTopicError::NoMapping("a".into()))
        );
    }

    #[test]
    fn stretches_rise() {
        let sound = [
            item("a", 0, 0, 0),
            item("b", 1, 0, 10_000),
            item("a", 2, 1, -1),
        ];
        assert_eq!(stretches(&sound), Ok(()));
        let broken = |change: fn(&mut [LogicQueueMappingItem; 3])| {
            let mut items = sound.clone();
            change(&mut items);
            stretches(&items).unwrap_err()
        };
        use StaticTopicError::*;
        assert_eq!(broken(|items| items[0].start_offset = -1), Negative);
        assert_eq!(
            broken(|items| items[1].logic_offset = -1),
            LogicOffsetUnknown
        );
        assert_eq!(broken(|items| items[1].r#gen = 2), Generations);
        assert_eq!(broken(|items| items[0].logic_offset = 10_000), LogicOffsets);
        assert_eq!(
            broken(|items| items[0].end_offset = 10_000),
            MaxLogicOffsets
        );
        assert_eq!(
            broken(|items| (items[0].start_offset, items[0].end_offset) = (3, 2)),
            EndBeforeStart
        );
    }

    #[test]
    fn each_queue_has_one_leader_and_its_own_physical_queues() {
        let all = config(
            "a",
            vec![(0, vec![item("a", 0, 0, 0)]), (1, vec![item("a", 0, 1, 0)])],
        );
        let queues = logic_queues(&all).unwrap();
        assert_eq!(queues.len(), 2);
        assert_eq!(queues[&1].leader(), "a");
        let shared = config(
            "a",
            vec![(0, vec![item("a", 0, 0, 0)]), (1, vec![item("a", 0, 0, 0)])],
        );
        let error = logic_queues(&shared).unwrap_err().to_string();
        assert_eq!(
            error,
            "Topic T global queue id 0 and 1 shared the same physical queue a-0"
        );
        let gap = config(
            "a",
            vec![(0, vec![item("a", 0, 0, 0)]), (2, vec![item("a", 0, 1, 0)])],
        );
        assert_eq!(logic_queues(&gap), Err(StaticTopicError::MissingQueue(1)));
        let elsewhere = config("a", vec![(0, vec![item("b", 0, 0, 0)])]);
        assert!(matches!(
            logic_queues(&elsewhere),
            Err(StaticTopicError::HostedQueues { .. })
        ));
        let mut twice = config("a", vec![(0, vec![item("a", 0, 0, 0)])]);
        twice.extend(config("b", vec![(0, vec![item("b", 1, 0, 0)])]));
        assert!(matches!(
            logic_queues(&twice),
            Err(StaticTopicError::TwoLeaders(_))
        ));
        mapping(&mut twice, "b").epoch = 6;
        assert_eq!(logic_queues_so_far(&twice).unwrap()[&0].leader(), "b");
    }

    #[test]
    fn stretches_lie_in_queues_that_exist() {
        let mut all = config("a", vec![(0, vec![item("a", 0, 0, 0)])]);
        assert_eq!(physical_queues(&all), Ok(()));
        all.get_mut("a").unwrap().write_queue_nums = 0;
        assert_eq!(
            physical_queues(&all),
            Err(StaticTopicError::QueueIdOverflow)
        );
        all.get_mut("a").unwrap().write_queue_nums = 17;
        assert_eq!(physical_queues(&all), Err(StaticTopicError::ReadQueues));
        let away = config("a", vec![(0, vec![item("c", 0, 0, 0)])]);
        assert_eq!(physical_queues(&away), Err(StaticTopicError::UnknownBroker));
    }
}
