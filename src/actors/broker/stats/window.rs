//! Rates over the last minute, hour and day, out of running totals (`StatsItem`).

use std::collections::VecDeque;

use crate::protocol::body::stats::{BrokerStatsData, BrokerStatsItem};

/// A running total at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// What was counted.
    pub sum: u64,
    /// How many times something was counted.
    pub times: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    total: Total,
}

/// Samples at equal distances, the newest last.
#[derive(Debug)]
struct Window {
    samples: VecDeque<Sample>,
    kept: usize,
    every_ms: i64,
}

impl Window {
    fn new(kept: usize, every_ms: i64) -> Self {
        Self {
            samples: VecDeque::new(),
            kept,
            every_ms,
        }
    }

    fn sample(&mut self, at_ms: i64, total: Total) {
        let due = self
            .samples
            .back()
            .is_none_or(|last| at_ms - last.at_ms >= self.every_ms);
        if !due {
            return;
        }
        if self.samples.is_empty() {
            // What was counted before the first sample counts, too (`StatsItem.samplingInSeconds`).
            let before = Sample {
                at_ms: at_ms - self.every_ms,
                total: Total::default(),
            };
            self.samples.push_back(before);
        } else if self.samples.len() >= self.kept {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at_ms, total });
    }

    /// What happened between the oldest and the newest sample.
    fn item(&self) -> BrokerStatsItem {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return BrokerStatsItem::default();
        };
        let sum = last.total.sum.saturating_sub(first.total.sum);
        let times = last.total.times.saturating_sub(first.total.times);
        let elapsed_ms = last.at_ms - first.at_ms;
        BrokerStatsItem {
            sum: sum as i64,
            tps: if elapsed_ms > 0 {
                sum as f64 * 1000.0 / elapsed_ms as f64
            } else {
                0.0
            },
            avgpt: if times > 0 {
                sum as f64 / times as f64
            } else {
                0.0
            },
        }
    }
}

/// The three windows of one figure: 7 samples of 10 s, 7 of 10 min, 25 of 1 h.
#[derive(Debug)]
pub struct Windows {
    minute: Window,
    hour: Window,
    day: Window,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            minute: Window::new(7, 10_000),
            hour: Window::new(7, 600_000),
            day: Window::new(25, 3_600_000),
        }
    }
}

impl Windows {
    /// Takes a sample into those windows where one is due.
    pub fn sample(&mut self, at_ms: i64, total: Total) {
        self.minute.sample(at_ms, total);
        self.hour.sample(at_ms, total);
        self.day.sample(at_ms, total);
    }

    /// The figures as code 315 answers them.
    pub fn data(&self) -> BrokerStatsData {
        BrokerStatsData {
            stats_minute: self.minute.item(),
            stats_hour: self.hour.item(),
            stats_day: self.day.item(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_difference_over_the_time_between() {
        let mut windows = Windows::default();
        for step in 1..=10_u64 {
            let total = Total {
                sum: step * 50,
                times: step * 10,
            };
            windows.sample(step as i64 * 10_000, total);
        }
        let data = windows.data();
        assert_eq!(data.stats_minute.sum, 300);
        assert_eq!(data.stats_minute.tps, 5.0);
        assert_eq!(data.stats_minute.avgpt, 5.0);
        assert_eq!(data.stats_hour.sum, 50);
    }

    #[test]
    fn what_came_before_the_first_sample_counts() {
        let mut windows = Windows::default();
        windows.sample(20_000, Total { sum: 6, times: 6 });
        let data = windows.data();
        assert_eq!((data.stats_minute.sum, data.stats_minute.tps), (6, 0.6));
        assert_eq!(data.stats_day.sum, 6);
    }

    #[test]
    fn samples_that_come_too_early_are_left_out() {
        let mut windows = Windows::default();
        windows.sample(0, Total { sum: 1, times: 1 });
        windows.sample(5_000, Total { sum: 9, times: 9 });
        assert_eq!(windows.data().stats_minute.sum, 1);
    }
}
