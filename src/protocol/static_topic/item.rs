//! Offsets of one stretch of a logic queue (`LogicQueueMappingItem`).
//!
//! `logic_offset` is where the stretch begins in the logic queue, -1 while that is not decided;
//! `start_offset` where it begins in the physical queue, always 0; `end_offset` one behind its end
//! there, -1 while it is open. All arithmetic saturates: the numbers come from files and the wire.

use crate::protocol::body::topic_queue_mapping::LogicQueueMappingItem;

impl LogicQueueMappingItem {
    /// The logic offset of a physical one; what lies before the start is at the start
    /// (`computeStaticQueueOffsetStrictly`). Only for a stretch whose logic offset is decided.
    pub fn static_offset(&self, physical: i64) -> i64 {
        let into = physical.max(self.start_offset);
        self.logic_offset
            .saturating_add(into.saturating_sub(self.start_offset))
    }

    /// The same where a stretch may be undecided (-1) and what lies beyond its end is at the end
    /// (`computeStaticQueueOffsetLoosely`).
    pub fn static_offset_loosely(&self, physical: i64) -> i64 {
        if self.logic_offset < 0 {
            return -1;
        }
        if self.end_offset >= self.start_offset {
            return self.static_offset(physical.min(self.end_offset));
        }
        self.static_offset(physical)
    }

    /// One behind the last logic offset that the stretch is known to have
    /// (`computeMaxStaticQueueOffset`).
    pub fn max_static_offset(&self) -> i64 {
        match self.end_offset >= self.start_offset {
            true => self.static_offset(self.end_offset),
            false => self.logic_offset,
        }
    }
}

/// The stretch that has a logic offset: the last one that begins at or before it, else the first
/// (`TopicQueueMappingUtils.findLogicQueueMappingItem`, undecided ones ignored).
pub fn find(items: &[LogicQueueMappingItem], logic_offset: i64) -> Option<&LogicQueueMappingItem> {
    let decided = || items.iter().filter(|item| item.logic_offset >= 0);
    decided()
        .rfind(|item| logic_offset >= item.logic_offset)
        .or_else(|| decided().next())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn item(
        broker: &str,
        r#gen: i32,
        queue_id: i32,
        logic: i64,
    ) -> LogicQueueMappingItem {
        LogicQueueMappingItem {
            bname: broker.into(),
            r#gen,
            queue_id,
            logic_offset: logic,
            ..LogicQueueMappingItem::default()
        }
    }

    #[test]
    fn offsets_are_moved_by_the_start() {
        let mut stretch = item("b", 1, 0, 10_000);
        assert_eq!(stretch.static_offset(7), 10_007);
        assert_eq!(stretch.static_offset(-3), 10_000);
        assert_eq!(stretch.max_static_offset(), 10_000);
        stretch.end_offset = 5;
        assert_eq!(stretch.static_offset_loosely(7), 10_005);
        assert_eq!(stretch.max_static_offset(), 10_005);
        stretch.logic_offset = -1;
        assert_eq!(stretch.static_offset_loosely(7), -1);
        let far = item("b", 0, 0, i64::MAX - 1);
        assert_eq!(far.static_offset(i64::MAX), i64::MAX);
    }

    #[test]
    fn the_stretch_of_an_offset_is_found() {
        let items = [
            item("a", 0, 3, 0),
            item("b", 1, 0, 10_000),
            item("a", 2, 9, -1),
        ];
        let generation = |offset| find(&items, offset).map(|item| item.r#gen);
        assert_eq!(generation(0), Some(0));
        assert_eq!(generation(9_999), Some(0));
        assert_eq!(generation(10_000), Some(1));
        assert_eq!(generation(i64::MAX), Some(1));
        assert_eq!(generation(-5), Some(0));
        assert_eq!(find(&items[2..], 0), None);
    }
}
