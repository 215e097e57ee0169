//! What ordered pops have in flight (`ConsumerOrderInfoManager`): the table, and the actor that
//! brings it to consumerOrderInfo.json.
//!
//! A queue stays blocked for its group while a message of the last pop is neither acknowledged nor
//! visible again. Shards of pops change the table under the queue's lock; the file is written every
//! ten seconds and at the end. A crash of the actor loses nothing; one of the process loses what was
//! popped since: those messages are popped again, for the committed offset stands before them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::AcqRel},
    },
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Supervised};

use crate::{
    actors::{
        broker::tables::{subscriptions::SubscriptionGroups, topics::Topics},
        kernel::{ActorCell, Shutdown, lock},
    },
    protocol::message::receipt::InfoList,
    store::{
        now_ms,
        tables::{ConfigFile, ConsumerOrderInfo, OrderInfo},
    },
};

/// How often the file is written (`BrokerController`).
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// What has not been consumed for so long is forgotten, ms (`CLEAN_SPAN_FROM_LAST`).
const FORGET_AFTER_MS: i64 = 24 * 3600 * 1000;

/// A queue as a group pops it.
#[derive(Debug, Clone, Copy)]
pub struct OrderKey<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Group.
    pub group: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
}

/// What an acknowledgement of an ordered message leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The group's offset becomes this.
    Next(i64),
    /// It belongs to an earlier pop and counts no more.
    Stale,
    /// The message was not popped.
    Illegal,
}

/// An ordered pop that found messages.
#[derive(Debug)]
pub struct OrderedPop<'a> {
    /// Names the attempt.
    pub attempt_id: Option<&'a str>,
    /// When, ms.
    pub pop_time: i64,
    /// How long the messages stay hidden, ms.
    pub invisible_time: i64,
    /// Offsets of the messages.
    pub offsets: &'a [i64],
}

type Table = BTreeMap<String, BTreeMap<i32, OrderInfo>>;

/// The table; cheap to clone.
#[derive(Clone)]
pub struct Orders(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    changed: AtomicBool,
}

impl Orders {
    /// The table as the file has it.
    pub fn new(loaded: ConsumerOrderInfo) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::new(loaded.table),
            changed: AtomicBool::new(false),
        }))
    }

    fn with<R>(&self, key: OrderKey<'_>, act: impl FnOnce(&mut OrderInfo) -> R) -> Option<R> {
        let mut table = lock(&self.0.table);
        let queues = table.get_mut(&name_of(key))?;
        queues.get_mut(&key.queue_id).map(act)
    }

    fn set_changed(&self) {
        self.0
            .changed
            .store(true, std::sync::atomic::Ordering::Release);
    }

    /// Whether the last pop blocks the queue for this attempt (`checkBlock`).
    pub fn is_blocked(
        &self,
        key: OrderKey<'_>,
        attempt: Option<&str>,
        invisible_time: i64,
    ) -> bool {
        let now = now_ms();
        let blocks = self.with(key, |info| info.blocks(attempt, invisible_time, now));
        blocks.unwrap_or(false)
    }

    /// Keeps what was popped, and tells in `counts` how often each message was popped before.
    pub fn popped(&self, key: OrderKey<'_>, pop: &OrderedPop<'_>, counts: &mut InfoList) {
        let mut table = lock(&self.0.table);
        let queues = table.entry(name_of(key)).or_default();
        let mut info = OrderInfo {
            attempt_id: pop.attempt_id.map(str::to_owned),
            commit_offset_bit: 0,
            invisible_time: Some(pop.invisible_time),
            last_consume_timestamp: now_ms(),
            offsets: Some(relative(pop.offsets)),
            offset_consumed_count: None,
            offset_next_visible_time: None,
            pop_time: pop.pop_time,
        };
        if let Some(before) = queues.get(&key.queue_id) {
            info.offset_consumed_count = Some(counts_after(before, &info));
        }
        let known = info.offset_consumed_count.iter().flatten();
        for (&offset, &count) in known {
            counts.push_count(key.topic, key.queue_id, offset, count);
        }
        counts.push_number(key.topic, key.queue_id, i64::from(info.consumed_least()));
        queues.insert(key.queue_id, info);
        drop(table);
        self.set_changed();
    }

    /// Marks a message as consumed (`commitAndNext`).
    pub fn acknowledged(&self, key: OrderKey<'_>, offset: i64, pop_time: i64) -> Committed {
        let done = self.with(key, |info| info.acknowledged(offset, pop_time));
        self.set_changed();
        // Nothing is known of the queue: Java commits behind the message.
        done.unwrap_or(Committed::Next(offset.saturating_add(1)))
    }

    /// Changes when a message is visible again, ms (`updateNextVisibleTime`).
    pub fn set_visible(&self, key: OrderKey<'_>, offset: i64, pop_time: i64, visible_at: i64) {
        let _ = self.with(key, |info| {
            if info.pop_time == pop_time && info.index_of(offset).is_some() {
                let times = info.offset_next_visible_time.get_or_insert_default();
                times.insert(offset, visible_at);
            }
        });
        self.set_changed();
    }

    /// When the queue is free again, ms; none if that is not known.
    pub fn free_at(&self, key: OrderKey<'_>) -> Option<i64> {
        let now = now_ms();
        self.with(key, |info| info.free_at(now)).flatten()
    }

    /// Every queue that is blocked, with the time when it is free again: topic, group, queue, ms.
    pub fn blocked(&self) -> Vec<(String, String, i32, i64)> {
        let now = now_ms();
        let table = lock(&self.0.table);
        let queues = table.iter().filter_map(|(name, queues)| {
            let (topic, group) = name.split_once('@')?;
            Some((topic, group, queues))
        });
        let infos = queues.flat_map(|(topic, group, queues)| {
            queues.iter().filter_map(move |(&queue, info)| {
                let free_at = info.free_at(now).filter(|&free_at| free_at > now)?;
                Some((topic.to_owned(), group.to_owned(), queue, free_at))
            })
        });
        infos.collect()
    }

    /// Forgets a queue: its offset was reset.
    pub fn clear(&self, key: OrderKey<'_>) {
        let mut table = lock(&self.0.table);
        if let Some(queues) = table.get_mut(&name_of(key)) {
            queues.remove(&key.queue_id);
        }
        drop(table);
        self.set_changed();
    }

    /// Forgets a topic that was deleted: a new one of its name has other messages.
    pub fn forget_topic(&self, topic: &str) {
        let is_of = |name: &str| {
            name.split_once('@')
                .is_some_and(|(known, _)| known == topic)
        };
        lock(&self.0.table).retain(|name, _| !is_of(name));
        self.set_changed();
    }

    /// How many queues have an entry.
    pub fn len(&self) -> usize {
        lock(&self.0.table).values().map(BTreeMap::len).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The table as it is written.
    pub fn snapshot(&self) -> ConsumerOrderInfo {
        ConsumerOrderInfo {
            table: lock(&self.0.table).clone(),
            ..ConsumerOrderInfo::default()
        }
    }

    /// Forgets what belongs to nothing any more (`autoClean`).
    fn clean(&self, topics: &Topics, groups: &SubscriptionGroups, now: i64) {
        lock(&self.0.table).retain(|name, queues| {
            let Some((topic, group)) = name.split_once('@') else {
                return true;
            };
            let Some(config) = topics.get(topic).filter(|_| groups.contains(group)) else {
                return false;
            };
            queues.retain(|&queue, info| {
                queue < config.read_queue_nums
                    && now.saturating_sub(info.last_consume_timestamp) <= FORGET_AFTER_MS
            });
            !queues.is_empty()
        });
    }
}

fn name_of(key: OrderKey<'_>) -> String {
    format!("{}@{}", key.topic, key.group)
}

/// The first offset, and the distances of the others from it.
fn relative(offsets: &[i64]) -> Vec<i64> {
    let first = offsets.first().copied().unwrap_or(0);
    let rest = offsets.iter().skip(1).map(|offset| offset - first);
    offsets.first().copied().into_iter().chain(rest).collect()
}

/// How often each message of `info` was popped before, those that were not left out
/// (`mergeOffsetConsumedCount`). The same attempt again counts as none.
fn counts_after(before: &OrderInfo, info: &OrderInfo) -> BTreeMap<i64, i32> {
    let old = before.offset_consumed_count.clone().unwrap_or_default();
    if before.attempt_id.is_some() && before.attempt_id == info.attempt_id {
        return old;
    }
    let again = info
        .queue_offsets()
        .filter(|&offset| before.index_of(offset).is_some());
    again
        .map(|offset| {
            (
                offset,
                old.get(&offset).map_or(1, |count| count.saturating_add(1)),
            )
        })
        .collect()
}

impl OrderInfo {
    /// Queue offsets of the messages.
    fn queue_offsets(&self) -> impl Iterator<Item = i64> + '_ {
        let offsets = self.offsets.as_deref().unwrap_or_default();
        let first = offsets.first().copied().unwrap_or(0);
        let rest = offsets
            .iter()
            .skip(1)
            .map(move |offset| first.wrapping_add(*offset));
        offsets.first().copied().into_iter().chain(rest)
    }

    fn index_of(&self, offset: i64) -> Option<usize> {
        self.queue_offsets().position(|known| known == offset)
    }

    /// Offsets of messages that are not acknowledged; there are marks for 64 of them.
    fn open(&self) -> impl Iterator<Item = i64> + '_ {
        let is_open = |at: usize| at < 64 && self.commit_offset_bit >> at & 1 == 0;
        let numbered = self.queue_offsets().enumerate();
        numbered
            .filter(move |(at, _)| is_open(*at))
            .map(|(_, offset)| offset)
    }

    fn visible_at(&self, offset: i64) -> i64 {
        let changed = self.offset_next_visible_time.as_ref();
        let changed = changed.and_then(|times| times.get(&offset).copied());
        let invisible = self.invisible_time.unwrap_or(0);
        changed.unwrap_or(self.pop_time.saturating_add(invisible))
    }

    fn blocks(&mut self, attempt: Option<&str>, invisible_time: i64, now: i64) -> bool {
        if self.attempt_id.is_some() && self.attempt_id.as_deref() == attempt {
            return false;
        }
        if self.invisible_time.is_none_or(|time| time <= 0) {
            self.invisible_time = Some(invisible_time);
        }
        self.open().any(|offset| now < self.visible_at(offset))
    }

    fn free_at(&self, now: i64) -> Option<i64> {
        self.offsets
            .as_ref()
            .filter(|offsets| !offsets.is_empty())?;
        let mut blocking = self.open().map(|offset| self.visible_at(offset));
        if self.invisible_time.is_none_or(|time| time <= 0) && self.open().next().is_some() {
            return None;
        }
        Some(blocking.find(|&at| now < at).unwrap_or(now))
    }

    fn acknowledged(&mut self, offset: i64, pop_time: i64) -> Committed {
        if self.offsets.as_ref().is_none_or(Vec::is_empty) {
            return Committed::Illegal;
        }
        if pop_time != self.pop_time {
            return Committed::Stale;
        }
        let Some(at) = self.index_of(offset).filter(|&at| at < 64) else {
            return Committed::Illegal;
        };
        self.commit_offset_bit |= 1 << at;
        let first_open = self.open().next();
        let behind_last = self
            .queue_offsets()
            .last()
            .map(|last| last.saturating_add(1));
        first_open
            .or(behind_last)
            .map_or(Committed::Stale, Committed::Next)
    }

    /// How often each message was consumed at least.
    fn consumed_least(&self) -> i32 {
        let counts = self.offset_consumed_count.as_ref();
        let messages = self.offsets.as_ref().map_or(0, Vec::len);
        match counts {
            Some(counts) if counts.len() == messages => counts.values().copied().min().unwrap_or(0),
            _ => 0,
        }
    }
}

/// What the actor is made of.
#[derive(Clone)]
pub struct OrdersParts {
    /// The table.
    pub orders: Orders,
    /// consumerOrderInfo.json; only the actor writes it.
    pub file: Arc<Mutex<ConfigFile<ConsumerOrderInfo>>>,
    /// Topics: entries of those that are gone go.
    pub topics: Topics,
    /// Groups, likewise.
    pub groups: SubscriptionGroups,
}

/// Brings the table to disk; see the module.
pub struct OrdersActor {
    cell: Arc<ActorCell>,
    parts: OrdersParts,
}

impl OrdersActor {
    /// State for a first start and for every restart: none of its own.
    pub fn recover(cell: Arc<ActorCell>, parts: OrdersParts) -> Self {
        let orders = parts.orders.clone();
        cell.set_detail(move || serde_json::json!({"queues": orders.len()}));
        Self { cell, parts }
    }

    fn save(&self) {
        let orders = &self.parts.orders;
        orders.clean(&self.parts.topics, &self.parts.groups, now_ms());
        if !orders.0.changed.swap(false, AcqRel) {
            return;
        }
        let table = orders.snapshot();
        if !self.cell.write_file(|| lock(&self.parts.file).save(&table)) {
            orders.set_changed();
        }
    }
}

impl Actor for OrdersActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(WRITE_EVERY, |actor, _| actor.save());
    }
}

impl Supervised for OrdersActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
        // What was being written may be half on disk.
        self.parts.orders.set_changed();
    }
}

impl Handler<Shutdown> for OrdersActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.save();
        ctx.stop();
    }
}

crate::crashable!(OrdersActor);

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: OrderKey<'_> = OrderKey {
        topic: "t",
        group: "g",
        queue_id: 2,
    };

    fn pop(
        orders: &Orders,
        attempt: Option<&str>,
        offsets: &[i64],
        invisible: i64,
    ) -> (i64, String) {
        let pop_time = now_ms();
        let mut counts = InfoList::default();
        let pop = OrderedPop {
            attempt_id: attempt,
            pop_time,
            invisible_time: invisible,
            offsets,
        };
        orders.popped(KEY, &pop, &mut counts);
        (pop_time, counts.into_text())
    }

    #[test]
    fn a_queue_is_blocked_until_all_are_acknowledged() {
        let orders = Orders::new(ConsumerOrderInfo::default());
        assert!(!orders.is_blocked(KEY, None, 60_000));
        assert_eq!(orders.acknowledged(KEY, 7, 1), Committed::Next(8));
        let (pop_time, counts) = pop(&orders, Some("a1"), &[10, 11, 13], 60_000);
        assert_eq!(counts, "0 2 0");
        assert!(orders.is_blocked(KEY, None, 60_000) && orders.is_blocked(KEY, Some("a2"), 60_000));
        assert!(
            !orders.is_blocked(KEY, Some("a1"), 60_000),
            "the same attempt"
        );
        assert_eq!(orders.blocked().len(), 1);
        assert_eq!(orders.acknowledged(KEY, 11, pop_time), Committed::Next(10));
        assert_eq!(orders.acknowledged(KEY, 10, pop_time), Committed::Next(13));
        assert_eq!(orders.acknowledged(KEY, 12, pop_time), Committed::Illegal);
        assert_eq!(orders.acknowledged(KEY, 13, pop_time - 1), Committed::Stale);
        assert!(orders.is_blocked(KEY, None, 60_000));
        assert_eq!(orders.acknowledged(KEY, 13, pop_time), Committed::Next(14));
        assert!(!orders.is_blocked(KEY, None, 60_000) && orders.blocked().is_empty());
    }

    #[test]
    fn what_comes_back_is_counted() {
        let orders = Orders::new(ConsumerOrderInfo::default());
        pop(&orders, None, &[10, 11], 0);
        let (_, counts) = pop(&orders, None, &[10, 11, 12], 1);
        assert_eq!(counts, "0 qo2%10 1;0 qo2%11 1;0 2 0");
        let (pop_time, counts) = pop(&orders, Some("a"), &[10, 11], 60_000);
        assert_eq!(counts, "0 qo2%10 2;0 qo2%11 2;0 2 2");
        let (_, again) = pop(&orders, Some("a"), &[10, 11], 60_000);
        assert_eq!(again, counts, "an attempt that is made again counts once");
        orders.set_visible(KEY, 10, pop_time, 1);
        orders.set_visible(KEY, 99, pop_time, i64::MAX);
        orders.set_visible(KEY, 11, pop_time - 5, i64::MAX);
        assert!(orders.free_at(KEY).is_some());
        orders.clear(KEY);
        assert_eq!(orders.free_at(KEY), None);
        pop(&orders, None, &[1], 1);
        orders.forget_topic("other");
        assert_eq!(orders.len(), 1);
        orders.forget_topic("t");
        assert!(orders.is_empty());
    }

    #[test]
    fn a_foreign_file_may_say_anything() {
        let mut info = OrderInfo {
            offsets: Some((0..200).collect()),
            pop_time: i64::MAX,
            invisible_time: Some(i64::MAX),
            ..OrderInfo::default()
        };
        assert!(info.blocks(None, 1, 5));
        assert_eq!(info.acknowledged(199, i64::MAX), Committed::Illegal);
        let mut empty = OrderInfo::default();
        assert!(!empty.blocks(None, 1, 5));
        assert_eq!(
            (empty.free_at(1), empty.acknowledged(0, 0)),
            (None, Committed::Illegal)
        );
    }
}
