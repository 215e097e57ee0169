//! Restart policy: data, not code.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What happens to an actor whose restart budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSpent {
    /// The nearest supervising ancestor is told, or the root's closure if there is none.
    Escalate,
    /// The actor is dropped and nobody is told: a connection closes only its own socket.
    Drop,
}

/// How many restarts within how long, after which pause, and what comes then.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// Restarts allowed within [`RestartPolicy::within`]; one more panic spends the budget.
    pub max_restarts: usize,
    /// The sliding window in which restarts are counted.
    pub within: Duration,
    /// Pause before the first restart of a window; zero restarts at once.
    pub backoff_min: Duration,
    /// The pause doubles with each restart in the window up to this.
    pub backoff_max: Duration,
    /// What happens when the budget is spent.
    pub on_spent: OnSpent,
}

impl Default for RestartPolicy {
    /// Ten restarts a minute, the first after 1 ms, later ones after at most 2 s.
    fn default() -> Self {
        RestartPolicy {
            max_restarts: 10,
            within: Duration::from_secs(60),
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_secs(2),
            on_spent: OnSpent::Escalate,
        }
    }
}

impl RestartPolicy {
    /// The first panic is the last: for actors whose state is a socket.
    pub fn never() -> Self {
        RestartPolicy {
            max_restarts: 0,
            on_spent: OnSpent::Drop,
            ..RestartPolicy::default()
        }
    }

    /// The same policy with another number of restarts allowed within the window.
    pub fn with_max_restarts(self, max_restarts: usize) -> Self {
        RestartPolicy {
            max_restarts,
            ..self
        }
    }

    /// The same policy without any pause before a restart.
    pub fn without_backoff(self) -> Self {
        RestartPolicy {
            backoff_min: Duration::ZERO,
            backoff_max: Duration::ZERO,
            ..self
        }
    }
}

/// The restarts of one actor within its policy's window.
#[derive(Debug, Default)]
pub(super) struct RestartHistory {
    at: VecDeque<Instant>,
}

impl RestartHistory {
    /// Counts a panic at `now`: the pause before the restart, or `None` if the budget is spent.
    pub(super) fn panicked(&mut self, policy: &RestartPolicy, now: Instant) -> Option<Duration> {
        while self
            .at
            .front()
            .is_some_and(|&at| now.duration_since(at) > policy.within)
        {
            self.at.pop_front();
        }
        if self.at.len() >= policy.max_restarts {
            return None;
        }
        let doublings = u32::try_from(self.at.len()).unwrap_or(u32::MAX).min(20);
        self.at.push_back(now);
        let pause = policy.backoff_min.saturating_mul(1 << doublings);
        Some(pause.min(policy.backoff_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_counted_within_the_window() {
        let policy = RestartPolicy {
            max_restarts: 2,
            within: Duration::from_secs(10),
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(8),
            on_spent: OnSpent::Escalate,
        };
        let start = Instant::now();
        let mut history = RestartHistory::default();
        assert_eq!(
            history.panicked(&policy, start),
            Some(Duration::from_millis(5))
        );
        assert_eq!(
            history.panicked(&policy, start),
            Some(Duration::from_millis(8))
        );
        assert_eq!(history.panicked(&policy, start), None);
        let later = start + Duration::from_secs(11);
        assert_eq!(
            history.panicked(&policy, later),
            Some(Duration::from_millis(5))
        );
    }

    #[test]
    fn never_means_never() {
        let mut history = RestartHistory::default();
        assert_eq!(
            history.panicked(&RestartPolicy::never(), Instant::now()),
            None
        );
    }
}
