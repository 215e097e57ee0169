//! The bloom filter that tells by a few bits which groups' expressions a message fits
//! (`org.apache.rocketmq.filter.util.BloomFilter`).

use std::f64::consts::{E, LN_2};

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
}
