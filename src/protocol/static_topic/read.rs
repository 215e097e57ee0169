//! Reading a logic queue at its leader: from a logic offset to the stretch that has it, and from that
//! stretch's answer back to logic offsets.
//!
//! Mirrors `rewriteRequestForStaticTopic` and `rewriteResponseForStaticTopic` of `PullMessageProcessor`
//! and the lookups of `TopicQueueMappingUtils`.

use super::item::find;
use crate::protocol::ResponseCode;
use crate::protocol::body::topic_queue_mapping::{
    LogicQueueMappingItem, TopicQueueMappingDetail, TopicQueueMappingInfo,
};

impl LogicQueueMappingItem {
    /// The physical offset of a logic one of this stretch (`computePhysicalQueueOffset`); one before
    /// the stretch lies before its start.
    pub fn physical_offset(&self, logic: i64) -> i64 {
        logic
            .saturating_sub(self.logic_offset)
            .saturating_add(self.start_offset)
    }

    /// Whether the end of the stretch is known (`checkIfEndOffsetDecided`).
    pub fn has_end(&self) -> bool {
        self.end_offset > self.start_offset
    }

    /// Whether the stretch has its place in the logic queue (`checkIfLogicoffsetDecided`).
    pub fn is_placed(&self) -> bool {
        self.logic_offset >= 0
    }

    /// What clients add to the offsets of messages in the answer to a pull (`computeOffsetDelta`).
    pub fn offset_delta(&self) -> i64 {
        self.logic_offset.saturating_sub(self.start_offset)
    }
}

impl TopicQueueMappingDetail {
    /// The stretches of a logic queue that this broker knows, the oldest first.
    pub fn stretches(&self, queue: i32) -> &[LogicQueueMappingItem] {
        self.hosted_queues.get(&queue).map_or(&[], Vec::as_slice)
    }

    /// The last stretch of a logic queue, if it lies at the broker of this mapping: it leads the queue
    /// then (`TopicQueueMappingContext.isLeader`).
    pub fn led(&self, queue: i32) -> Option<&LogicQueueMappingItem> {
        let last = self.stretches(queue).last()?;
        (last.bname == self.bname).then_some(last)
    }

    /// Whether messages are let into a physical queue of this broker, as the last stretch of a logic queue.
    pub fn takes_into(&self, queue_id: i32) -> bool {
        let mut queues = self.hosted_queues.keys();
        queues.any(|&queue| self.led(queue).is_some_and(|led| led.queue_id == queue_id))
    }

    /// One behind the last logic offset that the mapping alone tells of (`computeMaxOffsetFromMapping`).
    pub fn max_offset_known(&self, queue: i32) -> i64 {
        let last = self.stretches(queue).last();
        last.map_or(-1, LogicQueueMappingItem::max_static_offset)
    }

    /// What NameServers are told: which logic queues the broker leads (`cloneAsMappingInfo`).
    pub fn to_info(&self) -> TopicQueueMappingInfo {
        let led = self.hosted_queues.keys();
        let led = led.filter_map(|&queue| Some((queue, self.led(queue)?.queue_id)));
        TopicQueueMappingInfo {
            bname: self.bname.clone(),
            curr_id_map: led.collect(),
            epoch: self.epoch,
            topic: self.topic.clone(),
            total_queues: self.total_queues,
            ..TopicQueueMappingInfo::default()
        }
    }
}

/// The stretch behind another one, if it has its place in the logic queue yet (`findNext`).
pub fn next<'a>(
    items: &'a [LogicQueueMappingItem],
    current: &LogicQueueMappingItem,
) -> Option<&'a LogicQueueMappingItem> {
    let at = items.iter().position(|item| item.r#gen == current.r#gen)?;
    items.get(at + 1).filter(|next| next.is_placed())
}

/// What a pull is answered with: code and offsets, of a physical or of a logic queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullOffsets {
    /// Code of the answer.
    pub code: ResponseCode,
    /// Where the reader goes on.
    pub next_begin: i64,
    /// First offset of the queue.
    pub min: i64,
    /// One behind its last offset.
    pub max: i64,
}

/// The answer for a logic queue out of one of a stretch of it, `current`, to a pull of the physical
/// offset `requested` there. At the end of an old stretch the reader goes on in the next one.
///
/// Yields what clients add to the messages' offsets, too.
pub fn to_logic(
    items: &[LogicQueueMappingItem],
    current: &LogicQueueMappingItem,
    requested: i64,
    answer: PullOffsets,
) -> (PullOffsets, i64) {
    let (stretch, answer) = match answer.code {
        ResponseCode::Success => (current, answer),
        _ => moved_on(items, current, requested, answer),
    };
    translated(items, stretch, answer)
}

/// The answer for a logic queue out of one of a stretch of it, as it is: the reader goes where it says.
pub fn translated(
    items: &[LogicQueueMappingItem],
    stretch: &LogicQueueMappingItem,
    answer: PullOffsets,
) -> (PullOffsets, i64) {
    let next_begin = match stretch.has_end() {
        true => answer.next_begin.min(stretch.end_offset),
        false => answer.next_begin,
    };
    let known = items.last().map_or(-1, |last| last.max_static_offset());
    let logic = PullOffsets {
        code: answer.code,
        next_begin: stretch.static_offset(next_begin),
        min: stretch.static_offset(answer.min),
        max: stretch.static_offset(answer.max).max(known),
    };
    (logic, stretch.offset_delta())
}

/// An answer without messages: where its reader belongs. The order of the questions is RocketMQ's, for a
/// stretch may be both the first and the last one.
fn moved_on<'a>(
    items: &'a [LogicQueueMappingItem],
    current: &'a LogicQueueMappingItem,
    requested: i64,
    answer: PullOffsets,
) -> (&'a LogicQueueMappingItem, PullOffsets) {
    let is_current =
        |item: Option<&LogicQueueMappingItem>| item.is_some_and(|item| item.r#gen == current.r#gen);
    let is_last = is_current(items.last());
    let is_first = is_current(find(items, 0));
    let mut moved = answer;
    if is_last {
        if requested > answer.max {
            if answer.code == ResponseCode::PullOffsetMoved {
                moved.next_begin = answer.max;
            }
        } else if requested < answer.min {
            moved.code = ResponseCode::PullRetryImmediately;
            moved.next_begin = answer.min;
        }
    }
    if is_first {
        if requested < answer.min {
            moved.code = ResponseCode::PullOffsetMoved;
            moved.next_begin = answer.min;
        } else if requested >= answer.max {
            return behind(items, current, moved);
        } else {
            moved.code = answer.code;
        }
    } else if !is_last {
        if requested < answer.min {
            moved.code = ResponseCode::PullRetryImmediately;
            moved.next_begin = answer.min;
        } else if requested >= answer.max {
            return behind(items, current, moved);
        }
    }
    (current, moved)
}

/// The reader has everything of the stretch: it goes to the next one, or waits until that has its place.
fn behind<'a>(
    items: &'a [LogicQueueMappingItem],
    current: &'a LogicQueueMappingItem,
    answer: PullOffsets,
) -> (&'a LogicQueueMappingItem, PullOffsets) {
    match next(items, current) {
        Some(next) => {
            let begins = PullOffsets {
                code: ResponseCode::PullRetryImmediately,
                next_begin: next.start_offset,
                min: next.start_offset,
                max: next.start_offset,
            };
            (next, begins)
        }
        None => {
            let waits = PullOffsets {
                code: ResponseCode::PullNotFound,
                ..answer
            };
            (current, waits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::item;
    use super::*;
    use ResponseCode::{PullNotFound, PullOffsetMoved, PullRetryImmediately, Success};
    use proptest::prelude::*;

    fn three() -> Vec<LogicQueueMappingItem> {
        vec![
            item("a", 0, 0, 0),
            item("b", 1, 3, 10_000),
            item("a", 2, 5, 30_000),
        ]
    }

    fn answer(code: ResponseCode, next_begin: i64, min: i64, max: i64) -> PullOffsets {
        PullOffsets {
            code,
            next_begin,
            min,
            max,
        }
    }

    /// Pulls a physical offset of a stretch and takes its answer.
    fn pulled(
        items: &[LogicQueueMappingItem],
        at: usize,
        requested: i64,
        physical: PullOffsets,
    ) -> PullOffsets {
        to_logic(items, &items[at], requested, physical).0
    }

    #[test]
    fn messages_are_answered_with_their_logic_offsets() {
        let items = three();
        let (found, delta) = to_logic(&items, &items[1], 4, answer(Success, 6, 2, 9));
        assert_eq!(found, answer(Success, 10_006, 10_002, 30_000));
        assert_eq!(delta, 10_000);
        let found = pulled(&items, 2, 4, answer(Success, 6, 2, 9));
        assert_eq!(found, answer(Success, 30_006, 30_002, 30_009));
    }

    #[test]
    fn a_reader_at_the_end_of_an_old_stretch_goes_to_the_next_one() {
        let items = three();
        for at in [0, 1] {
            let next = items[at + 1].logic_offset;
            let moved = pulled(&items, at, 9, answer(PullNotFound, 9, 0, 9));
            assert_eq!(moved, answer(PullRetryImmediately, next, next, 30_000));
            // Far beyond, and in a queue that never had a message.
            let moved = pulled(&items, at, 77, answer(PullOffsetMoved, 9, 0, 9));
            assert_eq!((moved.code, moved.next_begin), (PullRetryImmediately, next));
            let moved = pulled(&items, at, 0, answer(PullNotFound, 0, 0, 0));
            assert_eq!((moved.code, moved.next_begin), (PullRetryImmediately, next));
        }
        let waits = pulled(&items, 2, 9, answer(PullNotFound, 9, 0, 9));
        assert_eq!(waits, answer(PullNotFound, 30_009, 30_000, 30_009));
    }

    #[test]
    fn a_reader_waits_for_a_stretch_that_has_no_place_yet() {
        let mut items = three();
        items[2].logic_offset = -1;
        let waits = pulled(&items, 1, 9, answer(PullNotFound, 9, 0, 9));
        assert_eq!((waits.code, waits.next_begin), (PullNotFound, 10_009));
        items.pop();
        items[1].logic_offset = -1;
        let waits = pulled(&items, 0, 9, answer(PullNotFound, 9, 0, 9));
        assert_eq!((waits.code, waits.next_begin), (PullNotFound, 9));
    }

    #[test]
    fn a_reader_before_the_first_message_is_moved() {
        let items = three();
        let moved = pulled(&items, 0, 1, answer(PullOffsetMoved, 4, 4, 9));
        assert_eq!((moved.code, moved.next_begin), (PullOffsetMoved, 4));
        for at in [1, 2] {
            let moved = pulled(&items, at, 1, answer(PullOffsetMoved, 4, 4, 9));
            let there = items[at].logic_offset + 4;
            assert_eq!(
                (moved.code, moved.next_begin),
                (PullRetryImmediately, there)
            );
        }
        // Nothing passed the filter: it goes on where the answer says.
        let on = pulled(&items, 1, 5, answer(PullRetryImmediately, 7, 4, 9));
        assert_eq!((on.code, on.next_begin), (PullRetryImmediately, 10_007));
    }

    #[test]
    fn the_only_stretch_is_the_first_and_the_last() {
        let items = [item("a", 0, 0, 0)];
        let waits = pulled(&items, 0, 9, answer(PullNotFound, 9, 0, 9));
        assert_eq!(waits, answer(PullNotFound, 9, 0, 9));
        let far = pulled(&items, 0, 12, answer(PullOffsetMoved, 9, 0, 9));
        assert_eq!((far.code, far.next_begin), (PullNotFound, 9));
        let early = pulled(&items, 0, 1, answer(PullOffsetMoved, 3, 3, 9));
        assert_eq!((early.code, early.next_begin), (PullOffsetMoved, 3));
    }

    #[test]
    fn an_end_that_is_known_is_not_passed() {
        let mut items = three();
        items[0].end_offset = 8;
        let found = pulled(&items, 0, 6, answer(Success, 9, 0, 9));
        assert_eq!(found.next_begin, 8);
    }

    #[test]
    fn a_reader_that_is_sent_somewhere_goes_there() {
        let items = three();
        let sent = translated(&items, &items[0], answer(PullOffsetMoved, 3, 0, 9)).0;
        assert_eq!((sent.code, sent.next_begin), (PullOffsetMoved, 3));
    }

    #[test]
    fn only_led_queues_are_told() {
        let mapping = TopicQueueMappingDetail {
            topic: "T".into(),
            bname: "a".into(),
            total_queues: 3,
            epoch: 7,
            hosted_queues: [
                (0, three()),
                (1, vec![item("a", 0, 1, 0), item("b", 1, 4, -1)]),
                (2, Vec::new()),
            ]
            .into(),
            ..TopicQueueMappingDetail::default()
        };
        let info = mapping.to_info();
        assert_eq!(info.curr_id_map, [(0, 5)].into());
        assert_eq!((info.epoch, info.total_queues, &*info.bname), (7, 3, "a"));
        assert!(mapping.led(1).is_none() && mapping.led(9).is_none());
        assert_eq!(
            [0, 1, 5].map(|id| mapping.takes_into(id)),
            [false, false, true]
        );
        assert_eq!(mapping.max_offset_known(0), 30_000);
        assert_eq!(mapping.max_offset_known(9), -1);
    }

    fn any_stretches() -> impl Strategy<Value = Vec<LogicQueueMappingItem>> {
        prop::collection::vec((1..100_000_i64, 0..1000_i64), 1..6).prop_map(|lens| {
            let mut logic_offset = 0;
            let stretch = |(r#gen, (len, start_offset)): (usize, (i64, i64))| {
                let item = LogicQueueMappingItem {
                    start_offset,
                    ..item("a", r#gen as i32, 0, logic_offset)
                };
                logic_offset += len;
                item
            };
            lens.into_iter().enumerate().map(stretch).collect()
        })
    }

    proptest! {
        #[test]
        fn logic_offsets_survive_the_way_there_and_back(
            items in any_stretches(),
            offset in 0..600_000_i64,
        ) {
            let found = find(&items, offset).unwrap();
            prop_assert_eq!(found.static_offset(found.physical_offset(offset)), offset);
            // It is the stretch that has it, and no other.
            prop_assert!(found.logic_offset <= offset);
            let next = next(&items, found);
            prop_assert!(next.is_none_or(|next| offset < next.logic_offset));
        }

        #[test]
        fn numbers_from_afar_break_nothing(
            items in prop::collection::vec(
                (any::<i32>(), any::<i64>(), any::<i64>(), any::<i64>()), 0..5),
            requested in any::<i64>(),
            numbers in (any::<i64>(), any::<i64>(), any::<i64>()),
        ) {
            let item = |(r#gen, logic_offset, start_offset, end_offset)| LogicQueueMappingItem {
                r#gen, logic_offset, start_offset, end_offset,
                ..LogicQueueMappingItem::default()
            };
            let items: Vec<_> = items.into_iter().map(item).collect();
            for code in [Success, PullNotFound, PullOffsetMoved, PullRetryImmediately] {
                let physical = answer(code, numbers.0, numbers.1, numbers.2);
                for current in &items {
                    current.physical_offset(requested);
                    to_logic(&items, current, requested, physical);
                }
            }
        }

        /// A reader that takes what it is answered gets every message of every stretch once, in
        /// order, and ends at the end of the last one.
        #[test]
        fn a_reader_gets_everything_in_order(
            lens in prop::collection::vec(0..40_i64, 1..5),
            batch in 1..7_i64,
        ) {
            let items: Vec<_> = (0..lens.len())
                .map(|at| item("a", at as i32, at as i32, at as i64 * 100)).collect();
            let (mut offset, mut got) = (0, Vec::new());
            for _ in 0..1000 {
                let stretch = find(&items, offset).unwrap();
                let (at, physical) = (stretch.r#gen as usize, stretch.physical_offset(offset));
                let len = lens[at];
                let found = if physical < len {
                    let next = (physical + batch).min(len);
                    got.extend((physical..next).map(|number| (at, number)));
                    answer(Success, next, 0, len)
                } else {
                    answer(if physical == len { PullNotFound } else { PullOffsetMoved }, len, 0, len)
                };
                let told = to_logic(&items, stretch, physical, found).0;
                offset = told.next_begin;
                if told.code == PullNotFound { break; }
            }
            let all = lens.iter().enumerate().flat_map(|(at, &len)| (0..len).map(move |n| (at, n)));
            prop_assert_eq!(got, all.collect::<Vec<_>>());
            let last = lens.len() - 1;
            prop_assert_eq!(offset, last as i64 * 100 + lens[last]);
        }
    }
}
