//! What the rest of the server holds of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use super::calls::{CallAnswer, CallError, Calls};
use super::config::{NetConfig, TRIM_AFTER_TICKS};
use super::hub::NetCounters;
use super::outbox::{Outbox, Outgoing, Release};
use super::responder::Responder;
use super::watch::{Seen, Watch};
use crate::actors::kernel::{Permit, lock, now_ms};
use crate::protocol::RemotingCommand;

/// A connection as the rest of the server sees it: it sends, calls and closes from any thread.
///
/// It outlives the socket: what is sent to a closed connection is dropped.
pub struct ConnectionHandle {
    /// Unique within the server's life.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// When the connection was accepted, in milliseconds since the Unix epoch.
    pub opened_ms: u64,
    pub(super) config: Arc<NetConfig>,
    pub(super) counters: Arc<NetCounters>,
    outbox: Mutex<Outbox>,
    calls: Mutex<Calls>,
    waker: AtomicWaker,
    /// The connection will look at the outbox before it sleeps: nobody has to wake it.
    awake: AtomicBool,
    /// The connection does not read for want of budget: whoever frees some wakes it.
    paused: AtomicBool,
    closed: AtomicBool,
    trim: AtomicBool,
    partial: AtomicBool,
    queued: AtomicU64,
    written: AtomicU64,
    received: AtomicU64,
    frames: AtomicU64,
    in_flight: AtomicUsize,
    in_flight_bytes: AtomicUsize,
    watch: Mutex<Watch>,
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ConnectionHandle({} {})", self.id, self.peer)
    }
}

impl ConnectionHandle {
    pub(super) fn new(
        id: u64,
        peer: SocketAddr,
        local: SocketAddr,
        config: Arc<NetConfig>,
        counters: Arc<NetCounters>,
    ) -> Self {
        ConnectionHandle {
            id,
            peer,
            local,
            opened_ms: now_ms(),
            config,
            counters,
            outbox: Mutex::default(),
            calls: Mutex::default(),
            waker: AtomicWaker::new(),
            awake: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            trim: AtomicBool::new(false),
            partial: AtomicBool::new(false),
            queued: AtomicU64::new(0),
            written: AtomicU64::new(0),
            received: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
            watch: Mutex::default(),
        }
    }

    /// A connection without a socket: for tests of a service. [`ConnectionHandle::sent`] yields
    /// what would have been written.
    pub fn detached() -> Arc<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (config, counters) = (Arc::default(), Arc::default());
        Arc::new(ConnectionHandle::new(0, nowhere, nowhere, config, counters))
    }

    /// Takes everything queued out of a [`ConnectionHandle::detached`] connection.
    pub fn sent(&self) -> BytesMut {
        let (mut bytes, mut releases) = Default::default();
        lock(&self.outbox).take(&mut bytes, &mut releases);
        let mut all = BytesMut::new();
        bytes.iter().for_each(|part| all.extend_from_slice(part));
        self.count_written(all.len());
        releases.into_iter().for_each(|release| self.free(release));
        all
    }

    /// Queues parts to be written. Dropped, with its permit, if the connection is closed.
    pub fn send(&self, outgoing: Outgoing) {
        if outgoing.byte_len() == 0 {
            return;
        }
        let Outgoing { parts, permit } = outgoing;
        self.enqueue(permit, 0, 0, |outbox| {
            parts.into_iter().for_each(|part| outbox.push(part))
        });
    }

    /// Queues a whole command; its body is not copied.
    pub fn reply(&self, command: &RemotingCommand) {
        self.enqueue(None, 0, 0, |outbox| {
            outbox.encode(|tail| command.encode_head(command.body.len(), tail));
            outbox.push(command.body.clone());
        });
    }

    /// The right to answer a request, which counts against this connection's budget until the
    /// answer is written or the responder is dropped.
    pub fn responder(self: &Arc<Self>, request: &RemotingCommand) -> Responder {
        Responder::new(self.clone(), request)
    }

    /// Sends a request to the client and yields its answer.
    ///
    /// The command gets a number of this connection's own counter. Time is looked at once a
    /// second, so a timeout comes up to a second late. Dropping the future forgets the answer.
    pub fn call(
        &self,
        mut command: RemotingCommand,
        timeout: Duration,
    ) -> impl Future<Output = Result<RemotingCommand, CallError>> + Send + use<> {
        let (answer, receiver) = oneshot::channel();
        let added = {
            let mut calls = lock(&self.calls);
            command.opaque = calls.next_opaque();
            calls.add(command.opaque, Instant::now() + timeout, answer)
        };
        if added {
            self.reply(&command);
        }
        async move { receiver.await.unwrap_or(Err(CallError::Closed)) }
    }

    /// Sends a request that nobody answers, such as NOTIFY_CONSUMER_IDS_CHANGED. Dropped if the
    /// client has not taken what was sent before: it is not to grow a queue without bound.
    pub fn notify(&self, command: RemotingCommand) {
        if self.unsent_bytes() > self.config.unsent_bytes_max as u64 {
            return;
        }
        let mut command = command.mark_oneway();
        command.opaque = lock(&self.calls).next_opaque();
        self.reply(&command);
    }

    /// Closes the connection; what is queued and not written yet is lost.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        self.waker.wake();
    }

    /// Whether the connection is closed or about to be.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Answer bytes the socket has not taken yet.
    pub fn unsent_bytes(&self) -> u64 {
        self.queued
            .load(SeqCst)
            .saturating_sub(self.written.load(SeqCst))
    }

    /// Requests without a written answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Bytes read since the connection was accepted.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Frames read since the connection was accepted.
    pub fn received_frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Lets `fill` queue something, and wakes the connection if it sleeps. Once the connection is
    /// closed `fill` is not called and the permit is given back.
    pub(super) fn enqueue(
        &self,
        permit: Option<Permit>,
        requests: usize,
        request_bytes: usize,
        fill: impl FnOnce(&mut Outbox),
    ) {
        let mut outbox = lock(&self.outbox);
        if outbox.is_closed() {
            drop(outbox);
            self.free_requests(requests, request_bytes);
            return;
        }
        fill(&mut outbox);
        outbox.release_here(permit, requests, request_bytes);
        self.queued.store(outbox.queued(), SeqCst);
        drop(outbox);
        if !self.awake.swap(true, SeqCst) {
            self.waker.wake();
        }
    }

    // ---- The connection's side ----

    /// The connection begins a turn: it will look at the outbox before it sleeps.
    pub(super) fn turn_begins(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
        self.paused.store(false, SeqCst);
        self.awake.store(true, SeqCst);
    }

    /// Whether the connection may sleep: false if something was queued since `taken`.
    pub(super) fn may_sleep(&self, taken: u64) -> bool {
        self.awake.store(false, SeqCst);
        if self.queued.load(SeqCst) == taken {
            return true;
        }
        self.awake.store(true, SeqCst);
        false
    }

    /// Whether the connection may stop reading: false if budget became free meanwhile.
    pub(super) fn may_pause(&self) -> bool {
        self.paused.store(true, SeqCst);
        if !self.within_budget() {
            return true;
        }
        self.paused.store(false, SeqCst);
        false
    }

    /// Stops reading until the ticker wakes the connection.
    pub(super) fn pause(&self) {
        self.paused.store(true, SeqCst);
    }

    pub(super) fn within_budget(&self) -> bool {
        self.unsent_bytes() <= self.config.unsent_bytes_max as u64
            && self.in_flight.load(SeqCst) < self.config.in_flight_max
            && self.in_flight_bytes.load(SeqCst) < self.config.in_flight_bytes_max
    }

    /// The stream position behind the last byte queued.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(SeqCst)
    }

    /// Yields the stream position up to which everything was taken.
    pub(super) fn take_outbox(
        &self,
        bytes: &mut std::collections::VecDeque<bytes::Bytes>,
        releases: &mut std::collections::VecDeque<Release>,
    ) -> u64 {
        let mut outbox = lock(&self.outbox);
        outbox.take(bytes, releases);
        outbox.queued()
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_frames(&self, frames: u64, partial: bool) {
        self.frames.fetch_add(frames, Relaxed);
        self.partial.store(partial, Relaxed);
    }

    /// Yields the stream position that is written now.
    pub(super) fn count_written(&self, bytes: usize) -> u64 {
        self.written.fetch_add(bytes as u64, SeqCst) + bytes as u64
    }

    /// The bytes before a release are written, or never will be.
    pub(super) fn free(&self, release: Release) {
        drop(release.permit);
        self.free_requests(release.requests, release.request_bytes);
    }

    pub(super) fn begin_request(&self, bytes: usize) {
        self.in_flight.fetch_add(1, SeqCst);
        self.in_flight_bytes.fetch_add(bytes, SeqCst);
    }

    pub(super) fn free_requests(&self, requests: usize, bytes: usize) {
        if requests == 0 {
            return;
        }
        self.in_flight.fetch_sub(requests, SeqCst);
        self.in_flight_bytes.fetch_sub(bytes, SeqCst);
        if self.paused.load(SeqCst) {
            self.waker.wake();
        }
    }

    pub(super) fn answered_call(&self, response: RemotingCommand) {
        let answer = lock(&self.calls).take(response.opaque);
        if let Some(answer) = answer {
            let _ = answer.send(Ok(response));
        }
    }

    /// Whether idle memory shall be given back now.
    pub(super) fn take_trim(&self) -> bool {
        self.trim.swap(false, Relaxed)
    }

    pub(super) fn trim(&self) {
        lock(&self.outbox).trim();
    }

    /// The socket is gone: frees what was owed and tells those who wait for an answer.
    pub(super) fn finish(&self) {
        self.closed.store(true, SeqCst);
        // The last look counts what came since the one before.
        let _ = self.look();
        let rest = lock(&self.outbox).close();
        rest.into_releases()
            .into_iter()
            .for_each(|release| self.free(release));
        let waiting: Vec<CallAnswer> = lock(&self.calls).close();
        for answer in waiting {
            let _ = answer.send(Err(CallError::Closed));
        }
    }

    // ---- The ticker's side ----

    /// One look at the connection: closes it if it is idle or stalled for too long, and tells
    /// calls that are overdue.
    pub(super) fn tick(&self, now: Instant) {
        let overdue = {
            let mut calls = lock(&self.calls);
            if calls.is_empty() {
                Vec::new()
            } else {
                calls.take_overdue(now)
            }
        };
        for answer in overdue {
            let _ = answer.send(Err(CallError::Timeout));
        }
        if let Some(why) = self.look()
            && !self.is_closed()
        {
            log::debug!("connection {} closed why=\"{why}\"", self.peer);
            self.counters.timed_out.fetch_add(1, Relaxed);
            self.close();
        }
    }

    /// Compares with the last look: why the connection has to be closed, if it has.
    fn look(&self) -> Option<&'static str> {
        let mut watch = lock(&self.watch);
        let seen = self.seen();
        self.report(&watch, &seen);
        let why = watch.look(seen, &self.config);
        if watch.idle_ticks() == TRIM_AFTER_TICKS {
            self.trim.store(true, Relaxed);
            self.waker.wake();
        }
        why
    }

    fn seen(&self) -> Seen {
        // Written first: it must not seem ahead of what was queued.
        let written = self.written.load(SeqCst);
        Seen {
            received: self.received.load(Relaxed),
            queued: self.queued.load(SeqCst),
            written,
            frames: self.frames.load(Relaxed),
            partial: self.partial.load(Relaxed) && !self.paused.load(Relaxed),
        }
    }

    /// Adds what came since the last look to the server's counters: they are shared by all
    /// network threads, so not touched per read.
    fn report(&self, watch: &Watch, seen: &Seen) {
        let [received, written, frames] = watch.since(seen);
        self.counters.received_bytes.fetch_add(received, Relaxed);
        self.counters.sent_bytes.fetch_add(written, Relaxed);
        self.counters.received_frames.fetch_add(frames, Relaxed);
    }

    /// Wakes a connection that waits for the server's common budget.
    pub(super) fn nudge(&self) {
        if self.paused.load(SeqCst) {
            self.waker.wake();
        }
    }
}
