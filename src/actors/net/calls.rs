//! Requests of the server to a client.

use std::collections::HashMap;
use std::time::Instant;

use tokio::sync::oneshot;

use super::config::CALLS_MAX;
use crate::protocol::RemotingCommand;

/// Why a call to a client has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The client did not answer in time.
    #[error("the client did not answer in time")]
    Timeout,
    /// Too many calls to this client wait already.
    #[error("too many calls to this client wait already")]
    TooMany,
}

pub(super) type CallAnswer = oneshot::Sender<Result<RemotingCommand, CallError>>;

/// The calls of one connection that wait, by opaque.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next_opaque: i32,
    waiting: HashMap<i32, (Instant, CallAnswer)>,
    closed: bool,
}

impl Calls {
    /// The next number of a request of ours: a counter of this connection alone.
    pub(super) fn next_opaque(&mut self) -> i32 {
        let opaque = self.next_opaque;
        self.next_opaque = opaque.wrapping_add(1);
        opaque
    }

    /// Keeps who waits for `opaque`, or says at once why not.
    pub(super) fn add(&mut self, opaque: i32, deadline: Instant, answer: CallAnswer) -> bool {
        let refusal = if self.closed {
            CallError::Closed
        } else if self.waiting.len() >= CALLS_MAX {
            CallError::TooMany
        } else {
            self.waiting.insert(opaque, (deadline, answer));
            return true;
        };
        let _ = answer.send(Err(refusal));
        false
    }

    /// Whoever waits for the answer with this number. An answer that is late meets nobody.
    pub(super) fn take(&mut self, opaque: i32) -> Option<CallAnswer> {
        self.waiting.remove(&opaque).map(|(_, answer)| answer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those whose time is up at `now`.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<CallAnswer> {
        let overdue = self.waiting.extract_if(|_, (deadline, _)| *deadline <= now);
        overdue.map(|(_, (_, answer))| answer).collect()
    }

    /// Nobody gets an answer any more.
    pub(super) fn close(&mut self) -> Vec<CallAnswer> {
        self.closed = true;
        self.waiting
            .drain()
            .map(|(_, (_, answer))| answer)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn overdue_and_closed_calls_are_told() {
        let mut calls = Calls::default();
        let now = Instant::now();
        let mut receivers = Vec::new();
        for wait in [1, 5] {
            let (answer, receiver) = oneshot::channel();
            let opaque = calls.next_opaque();
            assert!(calls.add(opaque, now + Duration::from_secs(wait), answer));
            receivers.push(receiver);
        }
        let overdue = calls.take_overdue(now + Duration::from_secs(2));
        assert_eq!((overdue.len(), calls.is_empty()), (1, false));
        assert_eq!(calls.close().len(), 1);
        let (answer, mut receiver) = oneshot::channel();
        assert!(!calls.add(9, now, answer));
        assert_eq!(receiver.try_recv().unwrap().unwrap_err(), CallError::Closed);
    }
}
