//! What one revive queue says: check points in its order, and which of their messages were
//! acknowledged (`PopReviveService.consumeReviveMessage`).
//!
//! A check point is settled when the queue has been read so far that its acknowledgements would have
//! been seen: they are due when its messages come back, and the newest due time that was read lies
//! more than [`SETTLE_AFTER_MS`] behind that. When the queue is read to its end, time itself counts.

use std::collections::VecDeque;

use crate::{
    hash::HashMap,
    protocol::{
        body::pop::{ACK_TAG, AckMsg, BATCH_ACK_TAG, CK_TAG, PopCheckPoint},
        fastjson,
    },
};

/// A check point is settled so long after its messages came back, ms (`ackTimeInterval` and a
/// second).
pub const SETTLE_AFTER_MS: i64 = 2000;

/// At the end of the queue time counts when nothing came for so long, ms.
const QUIET_MS: i64 = 3000;

/// Check points that are held at most; the queue is read on when the first of them are settled.
pub const POINTS_MAX: usize = 100_000;

/// What a check point and its acknowledgements agree in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PopId {
    topic: String,
    group: String,
    queue_id: i32,
    start_offset: i64,
    pop_time: i64,
    broker: String,
}

/// One record of the queue.
#[derive(Debug, Clone, Copy)]
pub struct ReviveRecord<'a> {
    /// Its offset in the revive queue.
    pub offset: i64,
    /// TAGS.
    pub tags: &'a str,
    /// Body.
    pub body: &'a [u8],
    /// When it was due, ms; 0 if it does not say.
    pub due: i64,
}

/// A check point that was read.
#[derive(Debug, Clone)]
pub struct Point {
    /// What was stored.
    pub body: PopCheckPoint,
    /// Topic that the messages lie in.
    pub topic: String,
    /// Group that popped them.
    pub group: String,
    /// Offset of the record in the revive queue.
    pub offset: i64,
    acked: u32,
    /// It was written again behind this place.
    replaced: bool,
}

impl Point {
    /// Queue offsets of the messages that nobody acknowledged.
    pub fn open(&self) -> impl Iterator<Item = i64> + '_ {
        let is_open = |at: &usize| !self.replaced && self.acked >> at & 1 == 0;
        let open = (0..self.body.len()).filter(is_open);
        open.filter_map(|at| self.body.offset_of(at))
    }

    fn id(&self, own_broker: &str) -> PopId {
        let broker = self.body.broker_name.as_deref().unwrap_or(own_broker);
        PopId {
            topic: self.topic.clone(),
            group: self.group.clone(),
            queue_id: self.body.queue_id,
            start_offset: self.body.start_offset,
            pop_time: self.body.pop_time,
            broker: broker.to_owned(),
        }
    }
}

/// The ledger; see the module.
#[derive(Debug)]
pub struct Ledger {
    own_broker: String,
    points: VecDeque<Point>,
    /// Numbers of the points; the first one in `points` has `settled`.
    numbers: HashMap<PopId, u64>,
    settled: u64,
    /// The next offset to read.
    next: i64,
    /// The newest due time that was read, ms, never ahead of time.
    end_time: i64,
}

impl Ledger {
    /// A ledger that begins at an offset. `own_broker` is whom acknowledgements without a name mean.
    pub fn new(own_broker: &str, next: i64) -> Self {
        Self {
            own_broker: own_broker.to_owned(),
            points: VecDeque::new(),
            numbers: HashMap::default(),
            settled: 0,
            next,
            end_time: 0,
        }
    }

    /// The next offset to read.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// The queue lacks what lies before this offset.
    pub fn skip_to(&mut self, offset: i64) {
        self.next = offset;
    }

    /// How many check points wait.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether no check point waits.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Whether no more is to be read until some are settled.
    pub fn is_full(&self) -> bool {
        self.points.len() >= POINTS_MAX
    }

    /// Takes a record, read at `now` (ms). What cannot be read is passed over, as by Java.
    pub fn take(&mut self, record: &ReviveRecord<'_>, now: i64) {
        self.next = record.offset + 1;
        let known = match record.tags {
            CK_TAG => self.check_point(record),
            ACK_TAG | BATCH_ACK_TAG => self.ack(record),
            _ => false,
        };
        if !known {
            log::debug!("a revive record means nothing offset={}", record.offset);
        }
        // One that lies here before its time must not hurry the others.
        self.end_time = self.end_time.max(record.due.min(now));
    }

    fn check_point(&mut self, record: &ReviveRecord<'_>) -> bool {
        let Ok(body) = fastjson::from_slice::<PopCheckPoint>(record.body) else {
            return false;
        };
        let (Some(topic), Some(group)) = (body.topic.clone(), body.consumer_group.clone()) else {
            return false;
        };
        let point = Point {
            body,
            topic,
            group,
            offset: record.offset,
            acked: 0,
            replaced: false,
        };
        let number = self.settled + self.points.len() as u64;
        let before = self.numbers.insert(point.id(&self.own_broker), number);
        if let Some(before) = before.and_then(|number| self.point(number)) {
            before.replaced = true;
        }
        self.points.push_back(point);
        true
    }

    fn point(&mut self, number: u64) -> Option<&mut Point> {
        let at = usize::try_from(number.checked_sub(self.settled)?).ok()?;
        self.points.get_mut(at)
    }

    fn ack(&mut self, record: &ReviveRecord<'_>) -> bool {
        let Ok(ack) = fastjson::from_slice::<AckMsg>(record.body) else {
            return false;
        };
        let broker = ack.broker_name.filter(|name| !name.trim().is_empty());
        let id = PopId {
            topic: ack.topic,
            group: ack.consumer_group,
            queue_id: ack.queue_id,
            start_offset: ack.start_offset,
            pop_time: ack.pop_time,
            broker: broker.unwrap_or_else(|| self.own_broker.clone()),
        };
        let Some(&number) = self.numbers.get(&id) else {
            return false;
        };
        let Some(point) = self.point(number) else {
            return false;
        };
        let single = Some(ack.ack_offset).filter(|_| record.tags == ACK_TAG);
        let several = ack.ack_offset_list.filter(|_| record.tags == BATCH_ACK_TAG);
        let offsets = single.into_iter().chain(several.into_iter().flatten());
        for offset in offsets {
            if let Some(at) = point.body.index_of(offset) {
                point.acked |= 1 << at;
            }
        }
        true
    }

    /// The queue is read to its end. `on_time` says that nothing is late which belongs into it.
    pub fn drained(&mut self, now: i64, on_time: bool) {
        if on_time && self.end_time != 0 && now - self.end_time > QUIET_MS {
            self.end_time = now;
        }
    }

    /// The check points that can be settled, in their order.
    pub fn due(&self) -> impl Iterator<Item = &Point> {
        let end = self.end_time;
        let is_due = move |point: &&Point| end.saturating_sub(point.body.due()) > SETTLE_AFTER_MS;
        self.points.iter().take_while(is_due)
    }

    /// The first so many check points are settled.
    pub fn settle(&mut self, count: usize) {
        for _ in 0..count {
            let Some(point) = self.points.pop_front() else {
                return;
            };
            let id = point.id(&self.own_broker);
            if self.numbers.get(&id) == Some(&self.settled) {
                self.numbers.remove(&id);
            }
            self.settled += 1;
        }
    }

    /// The offset to commit: that of the last record which is not needed any more, for Java's reader
    /// goes on behind it.
    pub fn committable(&self) -> i64 {
        let first = self.points.front().map_or(self.next, |point| point.offset);
        first - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ck(start: i64, pop: i64, hidden: i64, distances: &[i32]) -> Vec<u8> {
        let point = PopCheckPoint {
            broker_name: Some("b".to_owned()),
            consumer_group: Some("g".to_owned()),
            topic: Some("t".to_owned()),
            queue_offset_diff: Some(distances.to_vec()),
            num: distances.len() as i8,
            pop_time: pop,
            invisible_time: hidden,
            start_offset: start,
            ..PopCheckPoint::default()
        };
        fastjson::to_vec(&point).unwrap()
    }

    fn ack(start: i64, pop: i64, offsets: &[i64]) -> (&'static str, Vec<u8>) {
        let is_single = offsets.len() == 1;
        let body = AckMsg {
            ack_offset: if is_single { offsets[0] } else { -1 },
            ack_offset_list: (!is_single).then(|| offsets.to_vec()),
            consumer_group: "g".to_owned(),
            topic: "t".to_owned(),
            pop_time: pop,
            start_offset: start,
            ..AckMsg::default()
        };
        let tags = if is_single { ACK_TAG } else { BATCH_ACK_TAG };
        (tags, fastjson::to_vec(&body).unwrap())
    }

    fn put(ledger: &mut Ledger, tags: &str, body: &[u8], due: i64, now: i64) {
        let offset = ledger.next_offset();
        let record = ReviveRecord {
            offset,
            tags,
            body,
            due,
        };
        ledger.take(&record, now);
    }

    #[test]
    fn what_is_not_acknowledged_is_open() {
        let mut ledger = Ledger::new("b", 5);
        put(
            &mut ledger,
            CK_TAG,
            &ck(100, 1000, 60_000, &[0, 2, 3]),
            60_000,
            60_500,
        );
        assert_eq!((ledger.len(), ledger.committable()), (1, 4));
        let (tags, body) = ack(100, 1000, &[102]);
        put(&mut ledger, tags, &body, 61_000, 61_200);
        let (tags, body) = ack(100, 999, &[100]);
        put(&mut ledger, tags, &body, 61_000, 61_200);
        assert_eq!(ledger.due().count(), 0);
        ledger.drained(63_500, true);
        assert_eq!(ledger.due().count(), 0, "not quiet for long enough");
        ledger.drained(64_500, false);
        assert_eq!(ledger.due().count(), 0, "something is late");
        ledger.drained(64_500, true);
        let open: Vec<_> = ledger.due().flat_map(Point::open).collect();
        assert_eq!(open, [100, 103]);
        ledger.settle(1);
        assert_eq!((ledger.len(), ledger.committable()), (0, 7));
        assert!(ledger.numbers.is_empty());
        let (tags, body) = ack(100, 1000, &[100, 103]);
        put(&mut ledger, tags, &body, 65_000, 65_000);
        assert_eq!(ledger.committable(), 8);
    }

    #[test]
    fn a_check_point_that_is_written_again_counts_once() {
        let mut ledger = Ledger::new("b", 0);
        let body = ck(100, 1000, 1000, &[0]);
        put(&mut ledger, CK_TAG, &body, 1, 9000);
        put(&mut ledger, CK_TAG, &body, 9000, 9000);
        let open: Vec<_> = ledger.due().flat_map(Point::open).collect();
        assert_eq!(open, [100]);
        ledger.settle(2);
        assert!(ledger.numbers.is_empty() && ledger.is_empty());
    }

    #[test]
    fn records_before_their_time_hurry_nobody() {
        let mut ledger = Ledger::new("b", 0);
        put(&mut ledger, CK_TAG, &ck(1, 1000, 5000, &[0]), 5000, 1000);
        put(
            &mut ledger,
            CK_TAG,
            &ck(2, 1000, 3_600_000, &[0]),
            3_600_000,
            1000,
        );
        ledger.drained(4500, true);
        assert_eq!(ledger.due().count(), 0);
        ledger.drained(8500, true);
        assert_eq!(ledger.due().count(), 1);
    }

    proptest! {
        #[test]
        fn open_are_exactly_the_others(
            distances in proptest::collection::btree_set(0i32..100, 1..32),
            acked in proptest::collection::vec(0i64..100, 0..40),
        ) {
            let distances: Vec<i32> = distances.into_iter().collect();
            let mut ledger = Ledger::new("b", 0);
            put(&mut ledger, CK_TAG, &ck(50, 1, 1, &distances), 1, 9999);
            for offset in &acked {
                let (tags, body) = ack(50, 1, &[50 + offset]);
                put(&mut ledger, tags, &body, 9999, 9999);
            }
            ledger.drained(99_999, true);
            let open: Vec<i64> = ledger.due().flat_map(Point::open).collect();
            let expected: Vec<i64> = distances.iter().map(|d| i64::from(*d))
                .filter(|d| !acked.contains(d)).map(|d| 50 + d).collect();
            prop_assert_eq!(open, expected);
        }

        #[test]
        fn any_bytes_may_come(bodies in proptest::collection::vec((0usize..4, ".{0,60}", any::<i64>()), 0..20)) {
            let mut ledger = Ledger::new("b", 0);
            let count = bodies.len();
            for (kind, body, due) in bodies {
                let tags = [CK_TAG, ACK_TAG, BATCH_ACK_TAG, "x"][kind];
                put(&mut ledger, tags, body.as_bytes(), due, 1000);
            }
            ledger.drained(i64::MAX / 2, true);
            ledger.settle(ledger.due().count());
            prop_assert!(ledger.committable() < count as i64);
        }
    }
}
