//! One actor per socket. It owns the socket, the read buffer and the service of its client; a
//! restart makes no sense without the socket, so its first panic closes it.

use std::collections::VecDeque;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll, ready};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context, Supervised};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use super::Service;
use super::config::{
    FRAMES_PER_CALL_MAX, IOV_MAX, PARTIAL_FREE_LEN_MAX, READ_LEN_MIN, READS_PER_TURN_MAX,
};
use super::handle::ConnectionHandle;
use super::hub::Hub;
use super::outbox::Release;
use crate::actors::kernel::{ActorCell, Permit, PermitClass};
use crate::protocol::{FrameCodec, FrameError, RemotingCommand};

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The server closed it.
    Closed,
    /// The client closed it.
    Eof,
    /// The socket failed, mostly because the client is gone.
    Io(io::Error),
    /// The client does not speak the protocol.
    Bad(FrameError),
}

/// Whether the connection may read now.
enum Reading {
    Yes,
    /// Its own budget is spent: whoever frees some wakes it.
    OverBudget,
    /// The server's budget for arriving frames is spent: the ticker wakes it.
    Starved,
}

pub(super) struct Connection {
    cell: Arc<ActorCell>,
    hub: Arc<Hub>,
    arbiter: usize,
    handle: Arc<ConnectionHandle>,
    stream: TcpStream,
    service: Box<dyn Service>,
    codec: FrameCodec,
    inbuf: BytesMut,
    /// The buffer may hold more whole frames than were served.
    backlog: bool,
    read_len: usize,
    /// Held while a large frame is arriving.
    inbound: Option<Permit>,
    frames: Vec<RemotingCommand>,
    writing: VecDeque<Bytes>,
    releases: VecDeque<Release>,
    /// The outbox was taken up to this position of the stream.
    taken: u64,
}

impl Connection {
    /// Registers the socket with this thread's reactor.
    pub(super) fn new(
        cell: Arc<ActorCell>,
        hub: Arc<Hub>,
        arbiter: usize,
        handle: Arc<ConnectionHandle>,
        stream: TcpStream,
        service: Box<dyn Service>,
    ) -> Self {
        let codec = FrameCodec {
            max_frame_len: handle.config.frame_len_max,
        };
        Connection {
            cell,
            hub,
            arbiter,
            handle,
            stream,
            service,
            codec,
            inbuf: BytesMut::new(),
            backlog: false,
            read_len: READ_LEN_MIN,
            inbound: None,
            frames: Vec::new(),
            writing: VecDeque::new(),
            releases: VecDeque::new(),
            taken: 0,
        }
    }

    /// One turn: writes what is queued, reads what has come, serves it, writes the answers.
    fn drive(&mut self, cx: &mut TaskContext<'_>) -> Poll<End> {
        self.handle.turn_begins(cx.waker());
        if self.handle.take_trim() {
            self.trim();
        }
        let mut reads = 0;
        loop {
            if self.handle.is_closed() {
                return Poll::Ready(End::Closed);
            }
            let blocked = match self.flush(cx) {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => return Poll::Ready(End::Io(error)),
                Poll::Pending => true,
            };
            if reads >= READS_PER_TURN_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let reading = self.reading();
            if matches!(reading, Reading::Yes)
                && let Poll::Ready(read) = self.read(cx)
            {
                match read.and_then(|()| self.serve()) {
                    Ok(()) => reads += 1,
                    Err(end) => return Poll::Ready(end),
                }
                continue;
            }
            match reading {
                Reading::OverBudget if !self.handle.may_pause() => continue,
                Reading::Starved => self.handle.pause(),
                _ => {}
            }
            // While the socket takes nothing the next turn begins with a write anyhow.
            if blocked || self.handle.may_sleep(self.taken) {
                return Poll::Pending;
            }
        }
    }

    fn reading(&mut self) -> Reading {
        if !self.handle.within_budget() {
            return Reading::OverBudget;
        }
        let Some(len) = self.arriving_len() else {
            return Reading::Yes;
        };
        if len > PARTIAL_FREE_LEN_MAX && self.inbound.is_none() {
            // A frame larger than the whole budget takes all of it, or it would wait for ever.
            let permits = &self.hub.permits;
            let len = len.min(permits.limit(PermitClass::Inbound).bytes_max);
            self.inbound = permits.try_acquire(PermitClass::Inbound, 1, len);
            if self.inbound.is_none() {
                return Reading::Starved;
            }
        }
        Reading::Yes
    }

    /// The length of the frame whose beginning is in the buffer.
    fn arriving_len(&self) -> Option<usize> {
        let prefix = self.inbuf.first_chunk::<4>()?;
        usize::try_from(i32::from_be_bytes(*prefix)).ok()
    }

    /// Reads once, unless the buffer holds whole frames still.
    fn read(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), End>> {
        if self.backlog {
            return Poll::Ready(Ok(()));
        }
        if self.inbuf.capacity() - self.inbuf.len() < self.read_len / 2 {
            self.inbuf.reserve(self.read_len);
        }
        let room = self.inbuf.capacity() - self.inbuf.len();
        let read = ready!(poll_read_buf(
            Pin::new(&mut self.stream),
            cx,
            &mut self.inbuf
        ));
        let len = read.map_err(End::Io)?;
        self.handle.count_read(len);
        if len == room {
            self.read_len = (self.read_len * 2).min(self.hub.read_len_max(self.arbiter));
        } else if len < self.read_len / 8 {
            self.read_len = (self.read_len / 2).max(READ_LEN_MIN);
        }
        Poll::Ready(if len == 0 { Err(End::Eof) } else { Ok(()) })
    }

    /// Hands the whole frames of the buffer to the service, also those before a bad one.
    fn serve(&mut self) -> Result<(), End> {
        let mut count = 0;
        let mut bad = None;
        self.backlog = true;
        while self.backlog && self.frames.len() < FRAMES_PER_CALL_MAX {
            match self.codec.decode(&mut self.inbuf) {
                Ok(Some(frame)) => {
                    count += 1;
                    self.inbound = None;
                    if frame.is_response() {
                        self.handle.answered_call(frame);
                    } else {
                        self.frames.push(frame);
                    }
                }
                Ok(None) => self.backlog = false,
                Err(error) => {
                    self.backlog = false;
                    bad = Some(error);
                }
            }
        }
        self.cell.count_handled(count);
        self.handle.count_frames(count, !self.inbuf.is_empty());
        if !self.frames.is_empty() {
            self.cell.fail_point("before_frames");
            self.service.frames(&mut self.frames, &self.handle);
            self.frames.clear();
        }
        bad.map_or(Ok(()), |error| Err(End::Bad(error)))
    }

    /// Writes until the outbox is empty or the socket takes no more.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.writing.len() < IOV_MAX && self.handle.queued() != self.taken {
                self.taken = self
                    .handle
                    .take_outbox(&mut self.writing, &mut self.releases);
            }
            if self.writing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut slices = [IoSlice::new(&[]); IOV_MAX];
            let filled = slices.iter_mut().zip(&self.writing);
            let count = filled
                .map(|(slice, part)| *slice = IoSlice::new(part))
                .count();
            let slices = slices.get(..count).unwrap_or(&[]);
            let stream = Pin::new(&mut self.stream);
            let len = ready!(stream.poll_write_vectored(cx, slices))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(len);
        }
    }

    /// Drops what the socket took, and with it permits and the requests' share of the budget.
    fn written(&mut self, len: usize) {
        let mut left = len;
        while let Some(part) = self.writing.front_mut() {
            if part.len() > left {
                part.advance(left);
                break;
            }
            left -= part.len();
            self.writing.pop_front();
        }
        let position = self.handle.count_written(len);
        while self
            .releases
            .front()
            .is_some_and(|release| release.end <= position)
        {
            if let Some(release) = self.releases.pop_front() {
                self.handle.free(release);
            }
        }
    }

    /// Gives the memory of an idle connection back.
    fn trim(&mut self) {
        if self.inbuf.is_empty() {
            self.inbuf = BytesMut::new();
            self.read_len = READ_LEN_MIN;
        }
        self.frames = Vec::new();
        self.writing.shrink_to(0);
        self.releases.shrink_to(0);
        self.handle.trim();
    }

    fn ended(&self, end: &End) {
        let peer = self.handle.peer;
        match end {
            End::Closed | End::Eof => log::debug!("{} closed end={end:?}", self.cell.path()),
            End::Io(error) => log::debug!("{} closed error=\"{error}\"", self.cell.path()),
            End::Bad(error) => {
                self.hub.counters.bad_frames.fetch_add(1, Relaxed);
                self.hub.bad_frame_log.once_a_minute(|more| {
                    log::warn!(
                        "{} closed a connection that broke the protocol peer={peer} \
                         error=\"{error}\" more={more}",
                        self.hub.path
                    );
                });
            }
        }
    }
}

impl Drop for Connection {
    /// Runs also after a panic, outside of the unwinding: the guard has caught it by then.
    fn drop(&mut self) {
        for release in self.releases.drain(..) {
            self.handle.free(release);
        }
        self.handle.finish();
        self.hub
            .closed(&self.handle, self.arbiter, self.cell.restarts() > 0);
        self.service.closed(&self.handle);
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Drive);
    }
}

impl Supervised for Connection {}

crate::crashable!(Connection);

/// The future that drives the connection at every wake-up of its actor.
struct Drive;

impl ActorFuture<Connection> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        connection: &mut Connection,
        ctx: &mut Context<Connection>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let end = ready!(connection.drive(cx));
        connection.ended(&end);
        ctx.stop();
        Poll::Ready(())
    }
}
