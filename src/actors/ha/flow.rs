//! The limit on the bytes a second that all slaves together are sent (`FlowMonitor`).

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::actors::kernel::lock;

#[derive(Debug)]
struct Window {
    since: Instant,
    sent: u64,
}

/// Counts by seconds, as RocketMQ does. Cloning it is one reference count.
#[derive(Debug, Clone)]
pub(super) struct FlowLimit(Arc<Mutex<Window>>);

impl Default for FlowLimit {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Window {
            since: Instant::now(),
            sent: 0,
        })))
    }
}

impl FlowLimit {
    /// Bytes that may be sent now, at most `wanted`; where none may, how long to wait.
    pub(super) fn take(&self, wanted: usize, per_second_max: u64) -> Result<usize, Duration> {
        let mut window = lock(&self.0);
        let elapsed = window.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            *window = Window {
                since: Instant::now(),
                sent: 0,
            };
        }
        let left = per_second_max.saturating_sub(window.sent);
        if left == 0 {
            return Err(Duration::from_secs(1).saturating_sub(elapsed));
        }
        let taken = usize::try_from(left).map_or(wanted, |left| wanted.min(left));
        window.sent += taken as u64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_bytes() {
        let flow = FlowLimit::default();
        assert_eq!(flow.take(60, 100), Ok(60));
        assert_eq!(flow.clone().take(60, 100), Ok(40));
        let wait = flow.take(1, 100).unwrap_err();
        assert!(wait <= Duration::from_secs(1));
        lock(&flow.0).since -= Duration::from_secs(1);
        assert_eq!(flow.take(1, 100), Ok(1));
    }
}
