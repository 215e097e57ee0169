//! The bloom filter that tells by a few bits which groups' expressions a message fits
//! (`org.apache.rocketmq.filter.util.BloomFilter`).

use std::{
    f64::consts::{E, LN_2},
    fmt::Write,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::protocol::{body::files::BloomFilterData, fastjson::PrimitiveArray};

/// A bloom filter's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bloom {
    /// Bits of each entry.
    positions: i32,
    /// Bits in all, a multiple of 8.
    bits: i32,
}

impl Bloom {
    /// For `count` entries, of which one that is not there is taken for one that is in
    /// `error_percent` of 100 cases. Numbers out of range (1 to 99, at least 1) are taken as the
    /// nearest in it; RocketMQ does not start with them.
    pub fn new(error_percent: i32, count: i32) -> Self {
        let error_rate = f64::from(error_percent.clamp(1, 99)) / 100.0;
        let positions = (error_rate.ln() / 0.5_f64.ln()).ceil() as i32;
        let bits = f64::from(count.max(1)) * ((1.0 / error_rate).ln() / LN_2) * (E.ln() / LN_2);
        let bytes = (bits.ceil() / 8.0).ceil() as i32;
        Self {
            positions,
            bits: bytes.saturating_mul(8),
        }
    }

    /// Bytes of a bit map.
    pub fn map_len(&self) -> usize {
        usize::try_from(self.bits / 8).unwrap_or(0)
    }

    /// The bits of an entry, by the two halves of one hash (Kirsch and Mitzenmacher).
    pub fn generate(&self, entry: &str) -> BloomFilterData {
        // Reading from a slice does not fail.
        let hash = murmur3::murmur3_x64_128(&mut entry.as_bytes(), 0).unwrap_or(0);
        let (low, high) = (hash as i32, (hash >> 32) as i32);
        let position = |i: i32| {
            let combined = low.wrapping_add(i.wrapping_mul(high));
            let flipped = if combined < 0 { !combined } else { combined };
            i64::from(flipped % self.bits)
        };
        BloomFilterData {
            bit_num: self.bits,
            bit_pos: PrimitiveArray((1..=self.positions).map(position).collect()),
        }
    }
}

/// Where a group's expression for a topic shows in the bit maps of messages (`ConsumerFilterData`).
#[derive(Debug, Clone, PartialEq)]
pub struct GroupBits {
    /// Bits of a map.
    bits: usize,
    /// Those of the group; all of them lie in the map.
    positions: SmallVec<[usize; 4]>,
    /// Since when the expression is known, in milliseconds.
    born_time: i64,
}

/// Bit maps of messages that came so soon after an expression may be without it: one that is being
/// registered has its time before others can see it. In milliseconds.
const BIRTH_MS: i64 = 1000;

impl GroupBits {
    /// Those of a group whose expression was registered at `born_time`; `None` for positions outside of
    /// the map.
    pub fn new(data: &BloomFilterData, born_time: i64) -> Option<Self> {
        let bits = usize::try_from(data.bit_num).ok()?;
        let positions = data.bit_pos.0.iter();
        let positions = positions.map(|&at| usize::try_from(at).ok().filter(|at| *at < bits));
        Some(Self {
            bits,
            positions: positions.collect::<Option<_>>()?,
            born_time,
        })
    }

    /// Whether the expression may be true for a message that was stored at `store_time` (ms), with this
    /// bit map. One from before the expression was known may, and one with a map of another length
    /// (`ExpressionMessageFilter.isMatchedByConsumeQueue`).
    pub fn may_match(&self, store_time: i64, bit_map: &[u8]) -> bool {
        let is_in_map = |at: &usize| {
            bit_map
                .get(at / 8)
                .is_some_and(|byte| byte & (1 << (at % 8)) != 0)
        };
        store_time <= self.born_time.saturating_add(BIRTH_MS)
            || bit_map.len() * 8 != self.bits
            || self.positions.iter().all(is_in_map)
    }

    /// Notes in a bit map that the expression is true.
    pub fn set(&self, bit_map: &mut [u8]) {
        for at in &self.positions {
            if let Some(byte) = bit_map.get_mut(at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
    }
}

/// A bit map as text, the last bit first (`BitsArray.toString`).
pub fn to_text(bit_map: &[u8]) -> String {
    let mut text = String::with_capacity(bit_map.len() * 9);
    for (at, byte) in bit_map.iter().enumerate().rev() {
        let _ = write!(text, "{byte:08b}");
        if at % 8 == 0 {
            text.push('\n');
        }
    }
    text
}

/// Evaluates the expressions of all groups for new messages.
pub trait BitMaps: Send + Sync {
    /// The bit map of a message of a topic with these properties; empty when no group has an expression
    /// for the topic, or none is to be evaluated.
    fn bit_map(&self, topic: &str, properties: &dyn Fn() -> Option<Bytes>) -> SmallVec<[u8; 16]>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_rocketmqs() {
        let data = Bloom::new(20, 32).generate("G#T");
        assert_eq!((data.bit_num, data.bit_pos.0.len()), (112, 3));
        let data = Bloom::new(1, 1).generate("G#T");
        assert_eq!((data.bit_num, data.bit_pos.0.len()), (16, 7));
        assert!(data.bit_pos.0.iter().all(|&bit| (0..16).contains(&bit)));
        assert_eq!(Bloom::new(0, 0), Bloom::new(1, 1));
    }

    #[test]
    fn a_group_is_found_in_the_maps_of_what_it_wants() {
        let bloom = Bloom::new(20, 32);
        let bits = |group: &str| GroupBits::new(&bloom.generate(group), 5000).unwrap();
        let (own, other) = (bits("G#T"), bits("H#T"));
        let mut map = vec![0; bloom.map_len()];
        other.set(&mut map);
        let late = 5000 + BIRTH_MS + 1;
        assert!(other.may_match(late, &map) && !own.may_match(late, &map));
        assert!(own.may_match(late - 1, &map), "before it was known");
        assert!(own.may_match(late, &map[1..]), "a map of another length");
        assert!(own.may_match(late, &[]), "no map");
        own.set(&mut map);
        assert!(own.may_match(late, &map));
    }

    #[test]
    fn positions_outside_of_the_map_are_none() {
        for position in [-1, 16] {
            let data = BloomFilterData {
                bit_num: 16,
                bit_pos: PrimitiveArray(vec![position]),
            };
            assert_eq!(GroupBits::new(&data, 0), None);
        }
    }

    #[test]
    fn maps_are_told_from_their_end() {
        assert_eq!(to_text(&[1, 0x80]), "1000000000000001\n");
        assert_eq!(
            to_text(&[0; 9]),
            "00000000\n".to_owned() + &"0".repeat(64) + "\n"
        );
    }
}
