//! Answers on their way from any thread to one socket.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::config::COPY_LEN_MAX;
use crate::actors::kernel::Permit;

/// One thing to write: parts that follow each other on the wire, none of them copied.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub(super) parts: SmallVec<[Bytes; 3]>,
    pub(super) permit: Option<Permit>,
}

impl Outgoing {
    /// A single part.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let mut outgoing = Outgoing::default();
        outgoing.parts.push(bytes.into());
        outgoing
    }

    /// Adds a part behind the others.
    pub fn with_part(mut self, bytes: impl Into<Bytes>) -> Self {
        self.parts.push(bytes.into());
        self
    }

    /// Keeps a permit until the last byte has been written, or the connection is gone.
    pub fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// Bytes over all parts.
    pub fn byte_len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// What becomes free when the stream has been written up to a position.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) end: u64,
    pub(super) permit: Option<Permit>,
    pub(super) requests: usize,
    pub(super) request_bytes: usize,
}

/// Filled under the connection's lock by anybody, emptied by the connection.
///
/// Headers and small bodies are written one after the other into `tail`, so that a run of small
/// answers is one buffer and no allocation of its own; larger bodies are kept as they are.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    ready: VecDeque<Bytes>,
    tail: BytesMut,
    /// Position of the stream behind the last byte queued.
    queued: u64,
    releases: VecDeque<Release>,
    closed: bool,
}

impl Outbox {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// Lets `encode` write behind everything queued so far. If it panics nothing of it stays:
    /// half a frame would shift everything after it.
    pub(super) fn encode(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        let mut undo = Undo {
            tail: &mut self.tail,
            keep: before,
        };
        encode(undo.tail);
        undo.keep = undo.tail.len();
        self.queued += (undo.keep - before) as u64;
    }

    /// Queues a body slice without copying it, unless it is tiny.
    pub(super) fn push(&mut self, part: Bytes) {
        if part.len() < COPY_LEN_MAX {
            if part.is_empty() {
                return;
            }
            self.encode(|tail| tail.extend_from_slice(&part));
            return;
        }
        self.queued += part.len() as u64;
        self.seal();
        self.ready.push_back(part);
    }

    /// Remembers what becomes free once everything queued so far is written.
    pub(super) fn release_here(&mut self, permit: Option<Permit>, requests: usize, bytes: usize) {
        if permit.is_some() || requests > 0 {
            self.releases.push_back(Release {
                end: self.queued,
                permit,
                requests,
                request_bytes: bytes,
            });
        }
    }

    /// Moves everything to the connection's own side.
    pub(super) fn take(&mut self, bytes: &mut VecDeque<Bytes>, releases: &mut VecDeque<Release>) {
        self.seal();
        bytes.append(&mut self.ready);
        releases.append(&mut self.releases);
    }

    /// Takes nothing more; what was queued comes out to be dropped outside the lock.
    pub(super) fn close(&mut self) -> Outbox {
        let rest = std::mem::take(self);
        self.queued = rest.queued;
        self.closed = true;
        rest
    }

    /// What is still owed when the outbox is dropped unwritten.
    pub(super) fn into_releases(self) -> VecDeque<Release> {
        self.releases
    }

    /// Gives idle memory back.
    pub(super) fn trim(&mut self) {
        if self.tail.is_empty() {
            self.tail = BytesMut::new();
        }
        self.ready.shrink_to(0);
        self.releases.shrink_to(0);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }
}

/// Cuts the tail back to what is to be kept.
struct Undo<'a> {
    tail: &'a mut BytesMut,
    keep: usize,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.tail.truncate(self.keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things_share_a_buffer_and_large_ones_are_not_copied() {
        let mut outbox = Outbox::default();
        let body = Bytes::from(vec![7; 4096]);
        outbox.encode(|tail| tail.extend_from_slice(b"head"));
        outbox.push(Bytes::from_static(b"tiny"));
        outbox.push(body.clone());
        outbox.release_here(None, 1, 10);
        outbox.encode(|tail| tail.extend_from_slice(b"next"));
        let (mut bytes, mut releases) = (VecDeque::new(), VecDeque::new());
        outbox.take(&mut bytes, &mut releases);
        assert_eq!(bytes, [&b"headtiny"[..], &body[..], &b"next"[..]]);
        assert_eq!(bytes[1].as_ptr(), body.as_ptr());
        assert_eq!((releases[0].end, outbox.queued()), (8 + 4096, 8 + 4096 + 4));
    }

    #[test]
    fn a_panic_while_encoding_leaves_no_trace() {
        let mut outbox = Outbox::default();
        outbox.encode(|tail| tail.extend_from_slice(b"whole"));
        let encode = std::panic::AssertUnwindSafe(|| {
            outbox.encode(|tail| {
                tail.extend_from_slice(b"half");
                panic!("on the way");
            });
        });
        assert!(std::panic::catch_unwind(encode).is_err());
        outbox.encode(|tail| tail.extend_from_slice(b"!"));
        let (mut bytes, mut releases) = (VecDeque::new(), VecDeque::new());
        outbox.take(&mut bytes, &mut releases);
        assert_eq!(
            (bytes, outbox.queued()),
            (VecDeque::from([Bytes::from("whole!")]), 6)
        );
    }

    #[test]
    fn closing_yields_what_is_owed() {
        let mut outbox = Outbox::default();
        outbox.encode(|tail| tail.extend_from_slice(b"x"));
        outbox.release_here(None, 2, 30);
        let owed = outbox.close().into_releases();
        assert_eq!((owed[0].requests, owed[0].request_bytes), (2, 30));
        assert!(outbox.is_closed());
    }
}
