//! Creation and remapping of static topics: from the mappings that are there to those that shall be.
//! Nothing here talks to anybody; who writes the plan to the brokers, and in which order, is
//! `client::admin::static_topics`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::check::{self, agreed, logic_queues, physical_queues};
use super::{BrokerConfigs, LogicQueueMappingItem, StaticTopicError};
use crate::protocol::body::topic_config::{TopicConfig, TopicConfigAndQueueMapping};
use crate::protocol::body::topic_queue_mapping::TopicQueueMappingDetail;
use crate::protocol::body::topic_remapping::{
    CREATE_OR_UPDATE, REMAPPING, TopicRemappingDetailWrapper,
};
use crate::protocol::message::perm;

/// A logic queue that moves goes on at a multiple of this (`DEFAULT_BLOCK_SEQ_SIZE`).
pub const BLOCK_SIZE: i64 = 10_000;
/// How far the epoch rises with each change at least, ms.
const EPOCH_STEP: i64 = 1_000;

/// Where a queue that ended at `offset` goes on: the next multiple of `block`, or the one after that
/// when the next is less than half a block away, so that what is still being written to the old
/// stretch has room (`blockSeqRoundUp`).
pub fn round_up(offset: i64, block: i64) -> i64 {
    let block = block.max(1);
    let blocks = if offset % block < block / 2 { 1 } else { 2 };
    (offset / block)
        .saturating_add(blocks)
        .saturating_mul(block)
}

/// A static topic with so many queues on these brokers, or an existing one with more of them; those
/// that exist stay where they are. Each new one goes to a broker with the fewest; `shuffle` decides
/// among equals (`createTopicConfigMapping`).
pub fn create(
    topic: &str,
    queues: i32,
    targets: &BTreeSet<String>,
    mut brokers: BrokerConfigs,
    now_ms: i64,
    mut shuffle: impl FnMut(&mut [String]),
) -> Result<TopicRemappingDetailWrapper, StaticTopicError> {
    if targets.is_empty() {
        return Err(StaticTopicError::NoTargets);
    }
    for (broker, config) in &brokers {
        let hosted = config.mapping_detail.as_ref().map(|m| &m.hosted_queues);
        let hosts = hosted.is_some_and(|hosted| !hosted.is_empty());
        if hosts && !targets.contains(broker) {
            return Err(StaticTopicError::BrokerNotInTargets(broker.clone()));
        }
    }
    let epoch = agreed(topic, &brokers)?.map_or(now_ms, |agreed| agreed.epoch);
    let leaders: BTreeMap<i32, String> = match brokers.is_empty() {
        true => BTreeMap::new(),
        false => {
            let existing = logic_queues(&brokers)?;
            physical_queues(&brokers)?;
            let leader = existing.iter().map(|(id, q)| (*id, q.leader().to_owned()));
            leader.collect()
        }
    };
    match usize::try_from(queues).unwrap_or(0).cmp(&leaders.len()) {
        std::cmp::Ordering::Less => {
            return Err(StaticTopicError::Fewer {
                wanted: queues,
                existing: leaders.len(),
            });
        }
        std::cmp::Ordering::Equal => return Err(StaticTopicError::SameNumber),
        std::cmp::Ordering::Greater => {}
    }
    let mut counts: BTreeMap<String, usize> = targets.iter().map(|b| (b.clone(), 0)).collect();
    for leader in leaders.values() {
        *counts.entry(leader.clone()).or_default() += 1;
    }
    let mut allocator = Allocator::new(counts);
    for queue in leaders.len() as i32..queues {
        let broker = allocator.next(|equals| shuffle(equals));
        let config = brokers
            .entry(broker.clone())
            .or_insert_with(|| empty(topic, &broker));
        let stretch = LogicQueueMappingItem {
            queue_id: one_more_queue(config),
            bname: broker.clone(),
            ..LogicQueueMappingItem::default()
        };
        host(config, queue, vec![stretch]);
    }
    let epoch = next_epoch(epoch, now_ms);
    stamp(&mut brokers, epoch, queues);
    agreed(topic, &brokers)?;
    logic_queues(&brokers)?;
    physical_queues(&brokers)?;
    Ok(TopicRemappingDetailWrapper {
        topic: topic.to_owned(),
        r#type: CREATE_OR_UPDATE.to_owned(),
        epoch,
        broker_config_map: brokers,
        ..TopicRemappingDetailWrapper::default()
    })
}

/// The queues of a static topic spread over these brokers and no others. As few as possible move; a
/// broker either gets queues or gives some away. A queue that moves gets a new stretch whose logic
/// offset is not decided yet, see [`decide_logic_offsets`] (`remappingStaticTopic`). Where RocketMQ
/// goes by the order of a hash map, the order here is that of names.
pub fn remap(
    topic: &str,
    mut brokers: BrokerConfigs,
    targets: &BTreeSet<String>,
    now_ms: i64,
) -> Result<TopicRemappingDetailWrapper, StaticTopicError> {
    if targets.is_empty() {
        return Err(StaticTopicError::NoTargets);
    }
    let before = agreed(topic, &brokers)?;
    let epoch = before.map_or(now_ms, |agreed| agreed.epoch);
    let total = before.map_or(0, |agreed| agreed.total_queues);
    let queues: BTreeMap<i32, (String, Vec<LogicQueueMappingItem>)> = logic_queues(&brokers)?
        .into_iter()
        .map(|(id, queue)| (id, (queue.leader().to_owned(), queue.items.to_vec())))
        .collect();
    physical_queues(&brokers)?;

    let leaders = queues
        .iter()
        .map(|(id, (leader, _))| (*id, leader.as_str()));
    let moves = moves(leaders.collect(), targets);
    let epoch = next_epoch(epoch, now_ms);
    let (mut map_in, mut map_out) = (BTreeSet::new(), BTreeSet::new());
    for (id, to) in moves {
        let Some((from, mut items)) = queues.get(&id).cloned() else {
            continue;
        };
        let config = brokers
            .entry(to.clone())
            .or_insert_with(|| empty(topic, &to));
        let generation = items.last().map_or(0, |last| last.r#gen.saturating_add(1));
        items.push(LogicQueueMappingItem {
            r#gen: generation,
            queue_id: one_more_queue(config),
            bname: to.clone(),
            logic_offset: -1,
            ..LogicQueueMappingItem::default()
        });
        host(config, id, items.clone());
        if let Some(old) = brokers.get_mut(&from) {
            host(old, id, items);
        }
        map_in.insert(to);
        map_out.insert(from);
    }
    stamp(&mut brokers, epoch, total);
    agreed(topic, &brokers)?;
    check::led_by(&logic_queues(&brokers)?, targets)?;
    physical_queues(&brokers)?;
    Ok(TopicRemappingDetailWrapper {
        topic: topic.to_owned(),
        r#type: REMAPPING.to_owned(),
        epoch,
        broker_config_map: brokers,
        broker_to_map_in: map_in,
        broker_to_map_out: map_out,
    })
}

/// Which queues have to move, and to whom.
fn moves(leaders: BTreeMap<i32, &str>, targets: &BTreeSet<String>) -> BTreeMap<i32, String> {
    let mut has: BTreeMap<&str, usize> = BTreeMap::new();
    for leader in leaders.values() {
        *has.entry(leader).or_default() += 1;
    }
    let mut allocator = Allocator::new(targets.iter().map(|b| (b.clone(), 0)).collect());
    for _ in 0..leaders.len() {
        // Who has most already is the first to get one more, so that less moves.
        allocator.next(|equals| {
            equals.sort_by_key(|broker| has.get(broker.as_str()).copied().unwrap_or(0));
        });
    }
    let mut free = allocator.counts;
    let mut waiting = VecDeque::new();
    for (id, leader) in leaders {
        match free.get_mut(leader).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => waiting.push_back(id),
        }
    }
    let places = free
        .into_iter()
        .flat_map(|(broker, left)| std::iter::repeat_n(broker, left));
    waiting.into_iter().zip(places).collect()
}

/// Decides where the stretches begin that one broker's queues went to, from where its own end: the
/// step between "nobody may write to the old stretch" and "readers may go on to the new one"
/// (`MQAdminUtils.remappingStaticTopic`, step 3). `max_offset` tells the end of a physical queue.
pub fn decide_logic_offsets(
    plan: &mut TopicRemappingDetailWrapper,
    map_out: &str,
    mut max_offset: impl FnMut(&LogicQueueMappingItem) -> Option<i64>,
) -> Result<(), StaticTopicError> {
    let config = plan.broker_config_map.get_mut(map_out);
    let Some(mapping) = config.and_then(|config| config.mapping_detail.as_mut()) else {
        return Ok(());
    };
    let mut decided = Vec::new();
    for (id, items) in &mut mapping.hosted_queues {
        let [.., old, new] = items.as_mut_slice() else {
            continue;
        };
        if new.logic_offset > 0 {
            continue;
        }
        let end = max_offset(old).ok_or_else(|| StaticTopicError::NoMaxOffset(old.clone()))?;
        if end < old.start_offset {
            return Err(StaticTopicError::MaxBeforeStart {
                item: old.clone(),
                max_offset: end,
            });
        }
        new.logic_offset = round_up(old.static_offset(end), BLOCK_SIZE);
        decided.push((*id, new.bname.clone(), items.clone()));
    }
    for (id, broker, items) in decided {
        if let Some(config) = plan.broker_config_map.get_mut(&broker) {
            host(config, id, items);
        }
    }
    Ok(())
}

/// Gives every other broker of the cluster the topic without a queue, so that each of them can say
/// who has which (`MQAdminUtils.completeNoTargetBrokers`).
pub fn complete(plan: &mut TopicRemappingDetailWrapper, cluster: &BTreeSet<String>) {
    let known = plan.broker_config_map.values();
    let total = known
        .filter_map(|config| config.mapping_detail.as_ref())
        .map(|mapping| mapping.total_queues)
        .next();
    for broker in cluster {
        plan.broker_config_map
            .entry(broker.clone())
            .or_insert_with(|| {
                let mut config = empty(&plan.topic, broker);
                if let Some(mapping) = &mut config.mapping_detail {
                    mapping.epoch = plan.epoch;
                    mapping.total_queues = total.unwrap_or(0);
                }
                config
            });
    }
}

fn next_epoch(epoch: i64, now_ms: i64) -> i64 {
    epoch.saturating_add(EPOCH_STEP).max(now_ms)
}

/// The topic on a broker that has none of its queues.
fn empty(topic: &str, broker: &str) -> TopicConfigAndQueueMapping {
    TopicConfigAndQueueMapping {
        mapping_detail: Some(TopicQueueMappingDetail {
            topic: topic.to_owned(),
            bname: broker.to_owned(),
            ..TopicQueueMappingDetail::default()
        }),
        ..TopicConfig::new(topic, 0, perm::READ | perm::WRITE).into()
    }
}

/// Gives a broker one more physical queue, and tells its number.
fn one_more_queue(config: &mut TopicConfigAndQueueMapping) -> i32 {
    let number = config.write_queue_nums;
    config.write_queue_nums = config.write_queue_nums.saturating_add(1);
    config.read_queue_nums = config.read_queue_nums.saturating_add(1);
    number
}

fn host(config: &mut TopicConfigAndQueueMapping, queue: i32, items: Vec<LogicQueueMappingItem>) {
    if let Some(mapping) = &mut config.mapping_detail {
        mapping.hosted_queues.insert(queue, items);
    }
}

fn stamp(brokers: &mut BrokerConfigs, epoch: i64, total: i32) {
    let mappings = brokers
        .values_mut()
        .filter_map(|c| c.mapping_detail.as_mut());
    for mapping in mappings {
        mapping.epoch = epoch;
        mapping.total_queues = total;
    }
}

/// Gives out queues one by one, always to a broker that has the fewest (`MappingAllocator`).
struct Allocator {
    counts: BTreeMap<String, usize>,
    /// Those with the fewest that are still to get one, and who of them is next.
    fewest: Vec<String>,
    next: usize,
}

impl Allocator {
    fn new(counts: BTreeMap<String, usize>) -> Self {
        Allocator {
            counts,
            fewest: Vec::new(),
            next: 0,
        }
    }

    /// Never called without a broker.
    fn next(&mut self, order: impl FnOnce(&mut [String])) -> String {
        if self.fewest.is_empty() {
            let least = self.counts.values().min().copied().unwrap_or(0);
            let equals = self.counts.iter().filter(|(_, count)| **count == least);
            self.fewest = equals.map(|(broker, _)| broker.clone()).collect();
            order(&mut self.fewest);
            self.next = self.fewest.len() - 1;
        }
        let broker = self.fewest.remove(self.next % self.fewest.len());
        *self.counts.entry(broker.clone()).or_default() += 1;
        broker
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn made(queues: i32, targets: &[&str]) -> TopicRemappingDetailWrapper {
        create("T", queues, &names(targets), BTreeMap::new(), 1_000, |_| {}).unwrap()
    }

    fn led(plan: &TopicRemappingDetailWrapper) -> BTreeMap<String, usize> {
        let mut led = BTreeMap::new();
        for queue in logic_queues(&plan.broker_config_map).unwrap().values() {
            *led.entry(queue.leader().to_owned()).or_default() += 1;
        }
        led
    }

    #[test]
    fn offsets_go_on_at_round_numbers() {
        let ends = [0, 4_999, 5_000, 9_999, 10_000, 15_000];
        let starts = ends.map(|end| round_up(end, BLOCK_SIZE));
        assert_eq!(starts, [10_000, 10_000, 20_000, 20_000, 20_000, 30_000]);
        assert_eq!(round_up(i64::MAX, BLOCK_SIZE), i64::MAX);
    }

    #[test]
    fn queues_are_spread_and_added() {
        let plan = made(5, &["a", "b"]);
        assert_eq!(plan.r#type, CREATE_OR_UPDATE);
        let counts: Vec<usize> = led(&plan).into_values().collect();
        assert!(counts == [2, 3] || counts == [3, 2], "{counts:?}");
        assert_eq!(plan.epoch, 2_000);
        let first: Vec<_> = logic_queues(&plan.broker_config_map)
            .unwrap()
            .into_iter()
            .map(|(id, queue)| (id, queue.items.to_vec()))
            .collect();
        let targets = names(&["a", "b", "c"]);
        let more = create("T", 8, &targets, plan.broker_config_map, 1_500, |_| {}).unwrap();
        assert_eq!(more.epoch, 3_000);
        let now = logic_queues(&more.broker_config_map).unwrap();
        assert!(first.iter().all(|(id, items)| now[id].items == items));
        assert_eq!(led(&more)["c"], 3);
        let again = |queues| {
            create(
                "T",
                queues,
                &targets,
                more.broker_config_map.clone(),
                0,
                |_| {},
            )
        };
        assert_eq!(again(8), Err(StaticTopicError::SameNumber));
        assert!(matches!(again(7), Err(StaticTopicError::Fewer { .. })));
        let only = create(
            "T",
            9,
            &names(&["a"]),
            more.broker_config_map.clone(),
            0,
            |_| {},
        );
        assert_eq!(only, Err(StaticTopicError::BrokerNotInTargets("b".into())));
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let none = create("T", 1, &names(&[]), BTreeMap::new(), 0, |_| {});
        assert_eq!(none, Err(StaticTopicError::NoTargets));
        let zero = create("T", 0, &names(&["a"]), BTreeMap::new(), 0, |_| {});
        assert_eq!(zero, Err(StaticTopicError::SameNumber));
    }

    #[test]
    fn half_of_the_queues_move_to_a_new_broker() {
        let plan = remap(
            "T",
            made(10, &["a"]).broker_config_map,
            &names(&["a", "b"]),
            0,
        )
        .unwrap();
        assert_eq!(plan.broker_to_map_in, names(&["b"]));
        assert_eq!(plan.broker_to_map_out, names(&["a"]));
        assert_eq!(led(&plan), [("a".into(), 5), ("b".into(), 5)].into());
        let b = plan.broker_config_map["b"].mapping_detail.as_ref().unwrap();
        assert_eq!(
            b.hosted_queues.keys().collect::<Vec<_>>(),
            [&5, &6, &7, &8, &9]
        );
        let [old, new] = b.hosted_queues[&7].as_slice() else {
            panic!()
        };
        assert_eq!((&*old.bname, old.queue_id, old.logic_offset), ("a", 7, 0));
        assert_eq!(
            (&*new.bname, new.r#gen, new.queue_id, new.logic_offset),
            ("b", 1, 2, -1)
        );
        assert_eq!(plan.broker_config_map["b"].write_queue_nums, 5);
    }

    #[test]
    fn logic_offsets_are_decided_by_the_old_ends() {
        let mut plan = remap("T", made(2, &["a"]).broker_config_map, &names(&["b"]), 0).unwrap();
        let undecided = plan.clone();
        let none = decide_logic_offsets(&mut plan, "a", |_| None).unwrap_err();
        assert!(matches!(none, StaticTopicError::NoMaxOffset(_)), "{none}");
        plan = undecided;
        decide_logic_offsets(&mut plan, "a", |old| Some(i64::from(old.queue_id) * 7_000)).unwrap();
        let b = plan.broker_config_map["b"].mapping_detail.as_ref().unwrap();
        let starts: Vec<i64> = b
            .hosted_queues
            .values()
            .map(|q| q[1].logic_offset)
            .collect();
        assert_eq!(starts, [10_000, 20_000]);
    }

    #[test]
    fn an_unfinished_remapping_is_not_gone_on_from() {
        let plan = remap("T", made(2, &["a"]).broker_config_map, &names(&["b"]), 0).unwrap();
        let again = remap("T", plan.broker_config_map, &names(&["a"]), 0);
        assert_eq!(again, Err(StaticTopicError::LogicOffsetUnknown));
    }

    #[test]
    fn the_rest_of_a_cluster_hears_of_it() {
        let mut plan = made(3, &["a"]);
        complete(&mut plan, &names(&["a", "z"]));
        let z = &plan.broker_config_map["z"];
        assert_eq!((z.write_queue_nums, z.read_queue_nums, z.perm), (0, 0, 6));
        assert!(agreed("T", &plan.broker_config_map).is_ok());
    }

    proptest! {
        /// However a topic is spread again and again: every queue has one leader among the targets,
        /// their numbers differ by one at most, no more moves than has to, no broker both gives and
        /// takes, and offsets rise from stretch to stretch.
        #[test]
        fn remappings_keep_every_queue(
            queues in 1..40_i32,
            rounds in prop::collection::vec((1..63_u8, 0..30_000_i64), 1..6),
        ) {
            let mut brokers = made(queues, &["b0"]).broker_config_map;
            for (mask, sent) in rounds {
                let chosen = (0..6).filter(|bit| mask & (1 << bit) != 0);
                let targets: BTreeSet<String> = chosen.map(|bit| format!("b{bit}")).collect();
                let before: BTreeMap<i32, String> = logic_queues(&brokers).unwrap()
                    .into_iter().map(|(id, queue)| (id, queue.leader().to_owned())).collect();
                let mut plan = remap("T", brokers, &targets, 0).unwrap();
                for broker in plan.broker_to_map_out.clone() {
                    decide_logic_offsets(&mut plan, &broker, |_| Some(sent)).unwrap();
                }
                let (ins, outs) = (&plan.broker_to_map_in, &plan.broker_to_map_out);
                prop_assert!(ins.is_disjoint(outs));
                let counts = led(&plan);
                let most = counts.values().max().copied().unwrap_or(0);
                let least = match counts.len() == targets.len() {
                    true => counts.values().min().copied().unwrap_or(0),
                    false => 0,
                };
                prop_assert!(most - least <= 1, "{counts:?}");
                let after = logic_queues(&plan.broker_config_map).unwrap();
                let moved: Vec<_> = after
                    .iter()
                    .filter(|(id, queue)| before[*id] != queue.leader())
                    .collect();
                let kept: usize = targets.iter().map(|broker| {
                    let had = before.values().filter(|leader| *leader == broker).count();
                    had.min(counts.get(broker).copied().unwrap_or(0))
                }).sum();
                prop_assert_eq!(moved.len(), queues as usize - kept);
                for (_, queue) in moved {
                    let [.., old, new] = queue.items else { panic!("one stretch") };
                    prop_assert!(old.static_offset(sent) < new.logic_offset);
                }
                brokers = plan.broker_config_map;
            }
        }
    }
}
