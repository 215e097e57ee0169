//! One connection of a [`RemotingClient`](super::remoting::RemotingClient): a writing task, a
//! reading task and a sweeper for timeouts, around two small tables under short locks.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::codec::Decoder;
use tokio_util::sync::CancellationToken;

use crate::client::lock;
use crate::client::remoting::{
    PendingTable, PushHandler, PushOrigin, RemotingConfig, RemotingError,
};
use crate::protocol::{FrameCodec, RemotingCommand};

/// How often the sweeper looks for requests whose time is over, while any is pending.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);
/// A connection on which a request ran into its timeout and nothing at all was heard for this long
/// is taken for dead and closed.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Room made in the read buffer before each read.
const READ_CHUNK: usize = 64 * 1024;

/// A request that waits for its answer.
pub(super) struct Pending {
    answer: oneshot::Sender<Result<RemotingCommand, RemotingError>>,
    deadline: Instant,
    timeout: Duration,
    _place: OwnedSemaphorePermit,
}

/// Outcome of handing bytes to the writing task.
pub(super) enum Enqueued {
    Yes,
    Refused(RemotingError),
}

pub(super) struct Connection {
    addr: Box<str>,
    local: SocketAddr,
    frame_len_max: usize,
    unsent_bytes_max: usize,
    out: Mutex<BytesMut>,
    written: Notify,
    wake_writer: Notify,
    writing: std::sync::atomic::AtomicBool,
    pending: Mutex<PendingTable>,
    wake_sweeper: Notify,
    places: Arc<Semaphore>,
    closed: CancellationToken,
    close_reason: Mutex<String>,
    opened: Instant,
    heard_ms: AtomicU64,
}

impl Connection {
    pub(super) fn start(
        addr: &str,
        stream: TcpStream,
        config: &RemotingConfig,
        handler: Option<Arc<dyn PushHandler>>,
    ) -> io::Result<Arc<Self>> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let (reader, writer) = stream.into_split();
        let connection = Arc::new(Connection {
            addr: addr.into(),
            local,
            frame_len_max: config.frame_len_max,
            unsent_bytes_max: config.unsent_bytes_max,
            out: Mutex::new(BytesMut::new()),
            written: Notify::new(),
            wake_writer: Notify::new(),
            writing: false.into(),
            pending: Mutex::default(),
            wake_sweeper: Notify::new(),
            places: Arc::new(Semaphore::new(config.in_flight_max)),
            closed: CancellationToken::new(),
            close_reason: Mutex::default(),
            opened: Instant::now(),
            heard_ms: AtomicU64::new(0),
        });
        tokio::spawn(connection.clone().write_loop(writer));
        tokio::spawn(connection.clone().read_loop(reader, handler));
        tokio::spawn(connection.clone().sweep_loop());
        Ok(connection)
    }

    pub(super) fn addr(&self) -> &str {
        &self.addr
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends the connection; all pending calls fail with the reason.
    pub(super) fn close(&self, reason: &str) {
        {
            let mut first = lock(&self.close_reason);
            if first.is_empty() {
                reason.clone_into(&mut first);
            }
        }
        self.closed.cancel();
        self.places.close();
        let waiting: Vec<Pending> = lock(&self.pending).drain().map(|(_, call)| call).collect();
        for call in waiting {
            let _ = call.answer.send(Err(self.closed_error()));
        }
        self.written.notify_waiters();
    }

    pub(super) async fn call(
        self: &Arc<Self>,
        mut request: RemotingCommand,
        opaque: i32,
        rest: Duration,
        timeout: Duration,
    ) -> Result<RemotingCommand, RemotingError> {
        let deadline = Instant::now() + rest;
        let place = self.place(deadline, timeout).await?;
        let (answer, receiver) = oneshot::channel();
        request.opaque = opaque;
        self.register(
            opaque,
            Pending {
                answer,
                deadline,
                timeout,
                _place: place,
            },
        )?;
        let forget = Forget {
            connection: self,
            opaque,
        };
        if let Enqueued::Refused(error) = self.send(&request).await {
            return Err(error);
        }
        drop(request);
        let result = receiver.await.unwrap_or_else(|_| Err(self.closed_error()));
        drop(forget);
        result
    }

    /// Queues a frame, waiting while too many bytes are unsent.
    pub(super) async fn send(&self, command: &RemotingCommand) -> Enqueued {
        loop {
            let written = self.written.notified();
            if self.is_closed() {
                return Enqueued::Refused(self.closed_error());
            }
            if lock(&self.out).len() < self.unsent_bytes_max {
                break;
            }
            written.await;
        }
        let mut out = lock(&self.out);
        let begin = out.len();
        command.encode(&mut out);
        let len = out.len() - begin;
        if len > self.frame_len_max {
            out.truncate(begin);
            return Enqueued::Refused(RemotingError::TooLarge {
                len,
                max: self.frame_len_max,
            });
        }
        drop(out);
        self.wake_writer.notify_one();
        Enqueued::Yes
    }

    /// Queues an answer to a server's request; these are few and small.
    pub(super) fn send_unbounded(&self, command: &RemotingCommand) {
        if !self.is_closed() {
            command.encode(&mut lock(&self.out));
            self.wake_writer.notify_one();
        }
    }

    /// Resolves when everything queued so far was written, or the connection ended.
    pub(super) async fn drained(&self) {
        loop {
            let written = self.written.notified();
            let idle = lock(&self.out).is_empty() && !self.writing.load(Ordering::Acquire);
            if idle || self.is_closed() {
                return;
            }
            written.await;
        }
    }

    async fn place(
        &self,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<OwnedSemaphorePermit, RemotingError> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let waiting = self.places.clone().acquire_owned();
        match tokio::time::timeout_at(deadline.into(), waiting).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(self.closed_error()),
            Err(_) => Err(RemotingError::Timeout {
                addr: self.addr.to_string(),
                timeout,
            }),
        }
    }

    fn register(&self, opaque: i32, call: Pending) -> Result<(), RemotingError> {
        let mut pending = lock(&self.pending);
        // `close` cancels before it drains the table: one of the two sees this call.
        if self.is_closed() {
            return Err(self.closed_error());
        }
        let first = pending.is_empty();
        pending.insert(opaque, call);
        drop(pending);
        if first {
            self.wake_sweeper.notify_one();
        }
        Ok(())
    }

    fn closed_error(&self) -> RemotingError {
        let reason = lock(&self.close_reason).clone();
        RemotingError::Closed {
            addr: self.addr.to_string(),
            reason,
        }
    }

    async fn write_loop(self: Arc<Self>, mut writer: OwnedWriteHalf) {
        let mut batch = BytesMut::new();
        loop {
            {
                let mut out = lock(&self.out);
                std::mem::swap(&mut *out, &mut batch);
                self.writing.store(!batch.is_empty(), Ordering::Release);
            }
            if batch.is_empty() {
                self.written.notify_waiters();
                tokio::select! {
                    () = self.wake_writer.notified() => continue,
                    () = self.closed.cancelled() => return,
                }
            }
            let result = tokio::select! {
                result = writer.write_all(&batch) => result,
                () = self.closed.cancelled() => return,
            };
            if let Err(error) = result {
                return self.close(&error.to_string());
            }
            batch.clear();
            if batch.capacity() > self.unsent_bytes_max {
                batch = BytesMut::new();
            }
            self.written.notify_waiters();
        }
    }

    async fn read_loop(
        self: Arc<Self>,
        mut reader: OwnedReadHalf,
        handler: Option<Arc<dyn PushHandler>>,
    ) {
        let mut codec = FrameCodec {
            max_frame_len: self.frame_len_max,
        };
        let mut input = BytesMut::with_capacity(READ_CHUNK);
        loop {
            input.reserve(READ_CHUNK / 4);
            let result = tokio::select! {
                result = reader.read_buf(&mut input) => result,
                () = self.closed.cancelled() => return,
            };
            match result {
                Ok(0) => return self.close("closed by the server"),
                Ok(_) => {}
                Err(error) => return self.close(&error.to_string()),
            }
            let heard = self.opened.elapsed().as_millis() as u64;
            self.heard_ms.store(heard, Ordering::Relaxed);
            loop {
                match codec.decode(&mut input) {
                    Ok(Some(command)) => self.dispatch(command, handler.as_ref()),
                    Ok(None) => break,
                    Err(error) => return self.close(&format!("bad frame: {error}")),
                }
            }
        }
    }

    fn dispatch(
        self: &Arc<Self>,
        command: RemotingCommand,
        handler: Option<&Arc<dyn PushHandler>>,
    ) {
        if !command.is_response() {
            if let Some(handler) = handler {
                let origin = PushOrigin::new(self.clone(), &command);
                handler.on_push(command, origin);
            }
            return;
        }
        let call = lock(&self.pending).remove(&command.opaque);
        // An answer nobody waits for came after its timeout.
        if let Some(call) = call {
            let _ = call.answer.send(Ok(command));
        }
    }

    async fn sweep_loop(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.wake_sweeper.notified() => {}
                () = self.closed.cancelled() => return,
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep(SWEEP_INTERVAL) => {}
                    () = self.closed.cancelled() => return,
                }
                if self.sweep(Instant::now()) == 0 {
                    break;
                }
            }
        }
    }

    /// Fails calls whose time is over; returns how many still wait.
    fn sweep(&self, now: Instant) -> usize {
        let mut expired = Vec::new();
        let rest = {
            let mut pending = lock(&self.pending);
            let over: Vec<i32> = pending
                .iter()
                .filter(|(_, call)| call.deadline <= now)
                .map(|(opaque, _)| *opaque)
                .collect();
            expired.extend(over.iter().filter_map(|opaque| pending.remove(opaque)));
            pending.len()
        };
        let any = !expired.is_empty();
        for call in expired {
            let timeout = call.timeout;
            let addr = self.addr.to_string();
            let _ = call
                .answer
                .send(Err(RemotingError::Timeout { addr, timeout }));
        }
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        if any && self.opened.elapsed().saturating_sub(heard) > SILENCE_MAX {
            self.close("nothing heard from the server");
        }
        rest
    }
}

/// Takes a call out of the table when its future is dropped or done.
struct Forget<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.connection.pending).remove(&self.opaque);
    }
}
