//! A small seeded generator, so that a failing run can be replayed.

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    /// Seeds from `CALLBOARD_SEED`, else from the clock; prints the seed with the test's name.
    pub fn for_test(name: &str) -> Rng {
        Rng(Rng::seed_for_test(name))
    }

    /// The seed alone, for what is to follow from it and nothing else.
    pub fn seed_for_test(name: &str) -> u64 {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64);
        let seed = super::env_number("CALLBOARD_SEED", clock & 0xFFFF_FFFF);
        println!("{name}: CALLBOARD_SEED={seed}");
        seed
    }

    pub fn seeded(seed: u64) -> Rng {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `low..high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}
