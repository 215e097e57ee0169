//! What the ticker remembers of a connection between two looks.
//!
//! Time is counted in ticks, so that a connection in use costs no clock and an idle one no timer.

use std::time::Duration;

use super::config::NetConfig;

/// Counters of a connection at one look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Bytes read.
    pub(super) received: u64,
    /// Bytes queued for writing.
    pub(super) queued: u64,
    /// Bytes written.
    pub(super) written: u64,
    /// Frames read.
    pub(super) frames: u64,
    /// A frame has begun to arrive and the connection is being read.
    pub(super) partial: bool,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Seen,
    idle_ticks: u64,
    /// What was queued when everything before it had been written.
    unsent_mark: u64,
    unsent_ticks: u64,
    partial_ticks: u64,
}

impl Watch {
    /// What came since the last look: bytes read, bytes written, frames read.
    pub(super) fn since(&self, seen: &Seen) -> [u64; 3] {
        let last = &self.last;
        [
            seen.received - last.received,
            seen.written - last.written,
            seen.frames - last.frames,
        ]
    }

    /// Compares with the last look: why the connection has to be closed, if it has.
    pub(super) fn look(&mut self, seen: Seen, config: &NetConfig) -> Option<&'static str> {
        let tick_ms = config.tick.as_millis().max(1);
        let ticks_in = |time: Duration| (time.as_millis() / tick_ms).max(1) as u64;
        let [received, written, frames] = self.since(&seen);
        self.idle_ticks = if received + written == 0 {
            self.idle_ticks + 1
        } else {
            0
        };
        if seen.written >= self.unsent_mark {
            (self.unsent_mark, self.unsent_ticks) = (seen.queued, 0);
        } else {
            self.unsent_ticks += 1;
        }
        let unfinished = seen.partial && self.last.partial && frames == 0;
        self.partial_ticks = if unfinished {
            self.partial_ticks + 1
        } else {
            0
        };
        self.last = seen;
        let stall_ticks = ticks_in(config.stall_timeout);
        if self.unsent_ticks >= stall_ticks {
            Some("answers not read")
        } else if self.partial_ticks >= stall_ticks {
            Some("frame not finished")
        } else if self.idle_ticks >= ticks_in(config.idle_timeout) {
            Some("idle")
        } else {
            None
        }
    }

    /// Looks in a row at which nothing had moved.
    pub(super) fn idle_ticks(&self) -> u64 {
        self.idle_ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(idle: u64, stall: u64) -> NetConfig {
        NetConfig {
            idle_timeout: Duration::from_secs(idle),
            stall_timeout: Duration::from_secs(stall),
            ..NetConfig::default()
        }
    }

    #[test]
    fn idle_is_neither_read_nor_write() {
        let (mut watch, config) = (Watch::default(), config(2, 100));
        let mut seen = Seen {
            received: 5,
            ..Seen::default()
        };
        assert_eq!(watch.look(seen, &config), None);
        assert_eq!(watch.look(seen, &config), None);
        seen.queued = 9;
        seen.written = 9;
        assert_eq!(watch.look(seen, &config), None);
        assert_eq!(watch.look(seen, &config), None);
        assert_eq!(watch.look(seen, &config), Some("idle"));
    }

    #[test]
    fn a_trickle_does_not_save_a_deaf_client() {
        let (mut watch, config) = (Watch::default(), config(100, 3));
        let mut seen = Seen {
            queued: 1000,
            ..Seen::default()
        };
        for _ in 0..3 {
            // It takes a byte a tick while more and more is queued.
            seen.written += 1;
            seen.queued += 500;
            assert_eq!(watch.look(seen, &config), None);
        }
        seen.written += 1;
        assert_eq!(watch.look(seen, &config), Some("answers not read"));
    }

    #[test]
    fn a_reader_that_keeps_up_is_never_late() {
        let (mut watch, config) = (Watch::default(), config(100, 2));
        let mut seen = Seen::default();
        for _ in 0..20 {
            seen.written = seen.queued;
            seen.queued += 1_000_000;
            assert_eq!(watch.look(seen, &config), None);
        }
    }

    #[test]
    fn a_frame_has_to_end_in_time() {
        let (mut watch, config) = (Watch::default(), config(100, 2));
        let mut seen = Seen {
            partial: true,
            ..Seen::default()
        };
        for _ in 0..5 {
            seen.received += 10;
            seen.frames += 1;
            assert_eq!(watch.look(seen, &config), None);
        }
        seen.received += 1;
        assert_eq!(watch.look(seen, &config), None);
        assert_eq!(watch.look(seen, &config), Some("frame not finished"));
    }
}
