//! The orderly end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::actor_ref::{ActorError, TellRef};
use super::messages::Shutdown;

/// Asks actors to shut down, one after the other, each only after the one before has answered.
///
/// An actor that is gone or does not answer in time is passed over: those behind it still get
/// their turn, but no more than a short one once the deadline is over. The result names the ones
/// that did not end well; the caller then must not remove the `abort` file.
pub async fn shutdown_in_order(
    steps: &[TellRef<Shutdown>],
    deadline: Duration,
) -> Vec<(Arc<str>, ActorError)> {
    const LAST_CHANCE: Duration = Duration::from_millis(200);
    let end = Instant::now() + deadline;
    let mut failed = Vec::new();
    for step in steps {
        let left = end
            .saturating_duration_since(Instant::now())
            .max(LAST_CHANCE);
        let path = step.cell().path();
        let answer = actix_rt::time::timeout(left, step.ask(Shutdown)).await;
        if let Err(error) = answer.unwrap_or(Err(ActorError::Timeout)) {
            log::warn!("{path} did not shut down error=\"{error}\"");
            failed.push((path.clone(), error));
        }
    }
    failed
}
