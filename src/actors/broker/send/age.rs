//! How long sends have waited to be read, and when to refuse those that waited for too long.
//!
//! Requests wait in socket buffers, the client's and ours; a broker learns of that time through
//! nothing but the time of birth that a send tells. The clocks of client and broker may differ by
//! any amount, but by nearly the same one for all sends of a connection: the smallest difference
//! seen lately is that of a send that did not wait.

/// The smallest difference is looked for among the sends of one to two such periods, in
/// milliseconds: a clock that was set is believed after that.
const PERIOD_MS: i64 = 60_000;

/// The ages of the sends of one connection.
#[derive(Debug, Default)]
pub(super) struct SendAge {
    period_began_ms: i64,
    /// Broker's time less time of birth (ms), the least of the last period and of this one.
    least_before: Option<i64>,
    least: Option<i64>,
    /// Since when (broker's time, ms) every send had waited for too long.
    late_since_ms: Option<i64>,
}

impl SendAge {
    /// Looks at a send, read at `now_ms`. `Some(age in ms)` if it shall be refused: it waited for
    /// more than `wait_max_ms`, and so did all others for as long a time. The ages that a mere
    /// pause of the broker leaves behind are gone by then; what is left of them are requests that
    /// come faster than they are served.
    pub(super) fn too_old(&mut self, now_ms: i64, born_ms: i64, wait_max_ms: i64) -> Option<i64> {
        let age = self.of(now_ms, born_ms);
        if age <= wait_max_ms {
            self.late_since_ms = None;
            return None;
        }
        let since = *self.late_since_ms.get_or_insert(now_ms);
        (now_ms.saturating_sub(since) >= wait_max_ms).then_some(age)
    }

    fn of(&mut self, now_ms: i64, born_ms: i64) -> i64 {
        if now_ms.saturating_sub(self.period_began_ms) >= PERIOD_MS {
            self.period_began_ms = now_ms;
            self.least_before = self.least.take();
        }
        let apart = now_ms.saturating_sub(born_ms);
        let least = self.least.map_or(apart, |least| least.min(apart));
        self.least = Some(least);
        let least = self.least_before.map_or(least, |before| before.min(least));
        apart.saturating_sub(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn clocks_may_differ() {
        for skew in [-86_400_000, -1, 0, 1, 86_400_000, -NOW] {
            let mut age = SendAge::default();
            assert_eq!(age.of(NOW, NOW + skew), 0, "{skew}");
            for waited in [0, 700, 3] {
                let born = NOW + 5_000 - waited + skew;
                assert_eq!(age.of(NOW + 5_000, born), waited, "{skew}");
            }
        }
        // What no clock says does no harm either.
        let mut age = SendAge::default();
        for born in [i64::MIN, i64::MAX, 0, -1] {
            assert!(age.of(NOW, born) >= 0);
        }
    }

    #[test]
    fn old_sends_are_taken_until_they_do_not_end() {
        let mut age = SendAge::default();
        assert_eq!(age.too_old(NOW, NOW, 200), None);
        // A pause of a second: what waited is taken, and the rest is younger and younger.
        for (later, waited) in [(1_000, 1_000), (1_100, 600), (1_190, 201), (1_200, 100)] {
            assert_eq!(age.too_old(NOW + later, NOW + later - waited, 200), None);
        }
        // A queue that stays.
        assert_eq!(age.too_old(NOW + 2_000, NOW + 1_700, 200), None);
        assert_eq!(age.too_old(NOW + 2_199, NOW + 1_800, 200), None);
        assert_eq!(age.too_old(NOW + 2_200, NOW + 1_800, 200), Some(400));
        assert_eq!(age.too_old(NOW + 2_300, NOW + 2_200, 200), None);
        assert_eq!(age.too_old(NOW + 2_400, NOW + 2_100, 200), None);
    }

    #[test]
    fn a_clock_that_was_set_back_is_believed_in_the_end() {
        let mut age = SendAge::default();
        assert_eq!(age.of(NOW, NOW), 0);
        let mut seen = Vec::new();
        for later in (1_000..180_000).step_by(1_000) {
            seen.push(age.of(NOW + later, NOW + later - 10_000));
        }
        assert_eq!((seen[0], *seen.last().unwrap()), (10_000, 0));
    }
}
