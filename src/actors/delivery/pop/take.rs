//! Taking messages for a pop: its queues are locked one after the other and read, then one append
//! stores the check points of all, and only then do the group's offsets move.
//!
//! A crash between the two has the messages popped twice, and loses none.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use bytes::{Bytes, BytesMut};

use super::{
    PopParts, PopPolicy,
    locks::{Locks, QueueLock},
    orders::{OrderKey, OrderedPop},
    request::Whom,
};
use crate::{
    protocol::{
        body::pop::PopCheckPoint,
        message::{
            multi_dispatch, names, properties,
            receipt::{InfoList, ORDER_REVIVE_QUEUE, Receipt, RetryKind},
            record::{self, CheckCrc, NewRecord, RecordView, patch_record},
        },
    },
    store::{
        get_message::{EntryFilter, GetRequest, GetResult, GetStatus, PULL_BYTES_MAX},
        now_ms,
    },
};

/// What a pop asks for.
pub struct Wanted {
    /// For whom.
    pub whom: Whom,
    /// Most messages.
    pub max: usize,
    /// How long they stay hidden, ms.
    pub invisible_time: i64,
    /// 0: a new group begins at the first message.
    pub init_mode: i32,
    /// Which messages.
    pub filter: EntryFilter,
}

/// What it gets.
#[derive(Default)]
pub struct Taken {
    /// When, ms.
    pub pop_time: i64,
    /// Queue of the revive topic.
    pub revive_queue: i32,
    /// Messages that are left.
    pub rest: i64,
    /// `startOffsetInfo`.
    pub starts: InfoList,
    /// `msgOffsetInfo`.
    pub offsets: InfoList,
    /// `orderCountInfo`.
    pub counts: InfoList,
    /// The messages.
    pub parts: Vec<Bytes>,
    /// How many.
    pub messages: usize,
}

/// The messages of one queue, whose lock is held until they are accounted for.
struct FromQueue {
    topic: String,
    queue_id: i32,
    /// The offset that was read from.
    start: i64,
    /// The group's next offset.
    next: i64,
    offsets: Vec<i64>,
    found: GetResult,
    _lock: QueueLock,
}

/// One pop under way.
struct Taking<'a> {
    parts: &'a PopParts,
    policy: Arc<PopPolicy>,
    locks: &'a Locks,
    wanted: &'a Wanted,
    taken: Taken,
    queues: Vec<FromQueue>,
    /// Messages in `queues`.
    count: usize,
}

/// Takes messages; see the module.
pub async fn take(parts: &PopParts, locks: &Locks, wanted: &Wanted) -> Taken {
    let revive_queue = if wanted.whom.order {
        ORDER_REVIVE_QUEUE
    } else {
        let number = parts.pops.fetch_add(1, Relaxed);
        i32::try_from(number % u64::from(parts.revive_queues.max(1).unsigned_abs())).unwrap_or(0)
    };
    let mut taking = Taking {
        parts,
        policy: Arc::clone(&parts.policy.load()),
        locks,
        wanted,
        taken: Taken {
            pop_time: now_ms(),
            revive_queue,
            ..Taken::default()
        },
        queues: Vec::new(),
        count: 0,
    };
    taking.all().await;
    taking.finish().await
}

impl Taking<'_> {
    /// Reads the retry topic and the topic, in the order that chance has for this pop.
    async fn all(&mut self) {
        let whom = &self.wanted.whom;
        let random = rand::random_range(0..100);
        let retry_first = random < self.policy.from_retry_probability && !whom.order;
        // One pop may read one of the two retry topics only: the answer cannot tell them apart.
        let retry_v1 = self.policy.retry_v2 && self.policy.reads_retry_v1 && random % 2 == 0;
        let retry_topic = if retry_v1 {
            names::pop_retry_topic_v1(&whom.topic, &whom.group)
        } else {
            self.policy.retry_topic(&whom.topic, &whom.group)
        };
        if retry_first {
            self.topic(&retry_topic, random).await;
        }
        if whom.queue_id < 0 {
            self.topic(&whom.topic, random).await;
        } else {
            self.queue(&whom.topic, whom.queue_id).await;
        }
        if !retry_first && !whom.order && self.count < self.wanted.max {
            self.topic(&retry_topic, random).await;
        }
    }

    /// Reads all queues of a topic, from a random one on.
    async fn topic(&mut self, topic: &str, random: i32) {
        let queues = self.parts.read_queues(topic);
        for number in 0..queues {
            self.queue(topic, (random + number) % queues).await;
        }
    }

    fn order_key<'k>(&'k self, topic: &'k str, queue_id: i32) -> OrderKey<'k> {
        OrderKey {
            topic,
            group: &self.wanted.whom.group,
            queue_id,
        }
    }

    /// Reads one queue, if nobody else pops it now.
    async fn queue(&mut self, topic: &str, queue_id: i32) {
        let whom = &self.wanted.whom;
        let key = PopParts::lock_key(topic, &whom.group, queue_id);
        let rest = self.parts.rest(topic, &whom.group, queue_id);
        let Some(lock) = self.locks.try_lock(&key) else {
            if !whom.order {
                self.leave(rest);
            }
            return;
        };
        let in_flight = || self.parts.in_flight.get(topic, &whom.group, queue_id);
        if self
            .policy
            .in_flight_max
            .is_some_and(|max| in_flight() > max)
        {
            self.leave(rest);
            return;
        }
        let start = self.start_offset(topic, queue_id).await;
        if whom.order {
            let attempt = whom.attempt_id.as_deref();
            let key = self.order_key(topic, queue_id);
            if self
                .parts
                .orders
                .is_blocked(key, attempt, self.wanted.invisible_time)
            {
                return;
            }
            self.parts.in_flight.clear(topic, &whom.group, queue_id);
        }
        if self.count >= self.wanted.max {
            self.leave(self.parts.rest(topic, &whom.group, queue_id));
            return;
        }
        let Some((start, found)) = self.read(topic, queue_id, start).await else {
            return;
        };
        self.leave(found.max_offset - found.next_begin_offset);
        let next = found.next_begin_offset;
        if found.messages == 0 {
            // Nothing that the filter wants, or nothing that is still there: others need not look.
            if next > start && found.status != GetStatus::OffsetFoundNull {
                self.parts
                    .offsets
                    .commit(&whom.group, topic, queue_id, next);
            }
            return;
        }
        let offsets = offsets_of(topic, &found);
        self.count += offsets.len();
        self.queues.push(FromQueue {
            topic: topic.to_owned(),
            queue_id,
            start,
            next,
            offsets,
            found,
            _lock: lock,
        });
    }

    /// Counts messages that are left for another pop.
    fn leave(&mut self, messages: i64) {
        self.taken.rest = self.taken.rest.saturating_add(messages);
    }

    /// Reads messages. An offset outside of the queue is put right first.
    async fn read(&self, topic: &str, queue_id: i32, start: i64) -> Option<(i64, GetResult)> {
        let store = &self.parts.log.store;
        let slot = store.slot(topic, queue_id);
        let mut request = GetRequest {
            offset: start,
            max_messages: self.wanted.max - self.count,
            max_bytes: PULL_BYTES_MAX,
            filter: self.wanted.filter.clone(),
        };
        let found = store.shards.read(Arc::clone(&slot), request.clone()).await;
        let found = found.ok()?;
        let is_off = matches!(
            found.status,
            GetStatus::OffsetTooSmall | GetStatus::OffsetOverflowBadly
        );
        if !is_off {
            return Some((start, found));
        }
        let right = found.next_begin_offset;
        let group = &self.wanted.whom.group;
        log::warn!(
            "pop corrects an offset topic={topic} group={group} queue={queue_id} from={start} to={right}"
        );
        self.parts.offsets.commit(group, topic, queue_id, right);
        request.offset = right;
        let found = store.shards.read(slot, request).await.ok()?;
        Some((right, found))
    }

    /// Where the group goes on (`getPopOffset`): where an operator sent it, where it stands, or where
    /// a new group begins.
    async fn start_offset(&self, topic: &str, queue_id: i32) -> i64 {
        let whom = &self.wanted.whom;
        let offsets = &self.parts.offsets;
        if let Some(reset) = offsets.take_reset(&whom.group, topic, queue_id) {
            self.parts.orders.clear(self.order_key(topic, queue_id));
            offsets.commit(&whom.group, topic, queue_id, reset);
            return reset;
        }
        if let Some(committed) = offsets.query(&whom.group, topic, queue_id) {
            return committed;
        }
        let begin = self.first_offset(topic, queue_id).await;
        offsets.commit(&whom.group, topic, queue_id, begin);
        begin
    }

    /// Where a new group begins (`getInitOffset`).
    async fn first_offset(&self, topic: &str, queue_id: i32) -> i64 {
        const FROM_FIRST: i32 = 0;
        let store = &self.parts.log.store;
        let Some(slot) = store.table.get(topic, queue_id) else {
            return 0;
        };
        let min = slot.min_offset();
        if self.wanted.init_mode == FROM_FIRST || names::is_retry_topic(topic) {
            return min;
        }
        if self.policy.init_by_memory && store.first_in_memory(topic, queue_id).await {
            return 0;
        }
        (slot.readable_end() - 1).max(0)
    }

    /// Stores the check points, moves the offsets, and puts the answer together.
    async fn finish(mut self) -> Taken {
        if self.queues.is_empty() {
            return self.taken;
        }
        if !self.wanted.whom.order && !self.store_check_points().await {
            // Nobody was told of these messages, and no offset moved: they are popped again.
            self.leave(self.count as i64);
            return self.taken;
        }
        let queues = std::mem::take(&mut self.queues);
        for queue in queues {
            self.account(&queue);
            self.deliver(queue);
        }
        self.taken
    }

    async fn store_check_points(&self) -> bool {
        let log = &self.parts.log;
        let mut requests = Vec::with_capacity(self.queues.len());
        for queue in &self.queues {
            let distances = queue
                .offsets
                .iter()
                .map(|offset| (offset - queue.start) as i32);
            let point = PopCheckPoint {
                broker_name: Some(self.parts.broker_name.clone()),
                consumer_group: Some(self.wanted.whom.group.to_string()),
                queue_offset_diff: Some(distances.collect()),
                invisible_time: self.wanted.invisible_time,
                num: queue.offsets.len() as i8,
                pop_time: self.taken.pop_time,
                queue_id: queue.queue_id,
                revive_time: self
                    .taken
                    .pop_time
                    .saturating_add(self.wanted.invisible_time),
                start_offset: queue.start,
                topic: Some(queue.topic.clone()),
                ..PopCheckPoint::default()
            };
            match log.check_point(self.taken.revive_queue, &point) {
                Ok(request) => requests.push(request),
                Err(refusal) => {
                    log::warn!("pop cannot write a check point: {refusal}");
                    return false;
                }
            }
        }
        match log.append(requests).await {
            Ok(()) => true,
            Err(refusal) => {
                log::warn!("pop cannot store its check points: {refusal}");
                false
            }
        }
    }

    /// Moves the group's offset, and tells in the answer where the messages lie.
    fn account(&mut self, queue: &FromQueue) {
        let (parts, wanted) = (self.parts, self.wanted);
        let (topic, group, queue_id) = (&*queue.topic, &*wanted.whom.group, queue.queue_id);
        if wanted.whom.order {
            let pop = OrderedPop {
                attempt_id: wanted.whom.attempt_id.as_deref(),
                pop_time: self.taken.pop_time,
                invisible_time: wanted.invisible_time,
                offsets: &queue.offsets,
            };
            let key = OrderKey {
                topic,
                group,
                queue_id,
            };
            parts.orders.popped(key, &pop, &mut self.taken.counts);
            // It moves with the acknowledgements.
            parts.offsets.commit(group, topic, queue_id, queue.start);
        } else {
            parts.offsets.commit(group, topic, queue_id, queue.next);
        }
        let messages = queue.offsets.len();
        parts.in_flight.popped(topic, group, queue_id, messages);
        let key = &parts.log.store.slot(topic, queue_id).key;
        parts.stats.pulled(group, key, messages, queue.found.bytes);
        self.taken.starts.push_number(topic, queue_id, queue.start);
        self.taken
            .offsets
            .push_offsets(topic, queue_id, &queue.offsets);
        self.taken.messages += messages;
    }

    fn deliver(&mut self, queue: FromQueue) {
        let as_stored = RetryKind::of(&queue.topic) == RetryKind::Normal
            || names::is_retry_topic(&self.wanted.whom.topic)
            || self.policy.actual_retry_topic;
        if as_stored {
            self.taken.parts.extend(queue.found.parts);
            return;
        }
        let mut out = BytesMut::with_capacity(queue.found.bytes + queue.offsets.len() * 128);
        let records = queue.found.parts.iter();
        for record in records.flat_map(|part| record::slices(part)) {
            if let Ok(view) = RecordView::parse(record, CheckCrc::No) {
                self.of_topic(&view, &queue, &mut out);
            }
        }
        self.taken.parts.push(out.freeze());
    }

    /// Encodes a message of the retry topic as one of the topic that was asked for. It carries its
    /// receipt, because the client could not tell what topic it lies in.
    fn of_topic(&self, view: &RecordView<'_>, queue: &FromQueue, out: &mut BytesMut) {
        let receipt = Receipt {
            start_offset: queue.start,
            pop_time: self.taken.pop_time,
            invisible_time: self.wanted.invisible_time,
            revive_qid: self.taken.revive_queue,
            kind: RetryKind::of(&queue.topic),
            broker_name: self.parts.broker_name.clone(),
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
        };
        let mut edited = properties::Editor::new(view.properties);
        edited.set_if_absent(properties::POP_CK, receipt.to_string());
        let text = edited.to_vec();
        let record = NewRecord {
            topic: &self.wanted.whom.topic,
            properties: &text,
            ..view.to_new()
        };
        let mut one = BytesMut::with_capacity(view.size + 128);
        if let Err(error) = record::encode_record(&record, &mut one) {
            log::warn!("pop leaves out a message that became too long: {error}");
            return;
        }
        patch_record(
            &mut one,
            view.queue_offset,
            view.physical_offset,
            view.store_timestamp,
        );
        out.extend_from_slice(&one);
    }
}

/// Offsets in a queue of `topic` of the messages that were found.
fn offsets_of(topic: &str, found: &GetResult) -> Vec<i64> {
    let all = found.parts.iter().flat_map(|part| record::slices(part));
    if !names::is_lmq(topic) {
        return all.filter_map(record::peek_queue_offset).collect();
    }
    let views = all.filter_map(|record| RecordView::parse(record, CheckCrc::No).ok());
    views
        .map(|view| multi_dispatch::offset_in(topic, &view))
        .collect()
}
