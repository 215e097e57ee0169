//! Accepts connections. It owns the listening socket; a restart keeps it and loses nothing, for
//! the kernel's backlog holds those who knock meanwhile.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll, ready};

use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Supervised};
use actix_rt::time::{Sleep, sleep};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener as Accepting;

use super::ServiceFactory;
use super::config::{ACCEPT_PAUSE, ACCEPTS_PER_TURN_MAX, NetConfig};
use super::hub::Hub;
use crate::actors::kernel::{ActorCell, Shutdown};

/// Binds a listening socket as a Java server does: the address can be taken again at once.
///
/// # Errors
/// Mostly that the address is in use.
pub fn bind(address: SocketAddr, config: &NetConfig) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Accepted sockets inherit the buffers.
    if config.send_buffer_len > 0 {
        socket.set_send_buffer_size(config.send_buffer_len)?;
    }
    if config.recv_buffer_len > 0 {
        socket.set_recv_buffer_size(config.recv_buffer_len)?;
    }
    socket.listen(config.backlog)?;
    Ok(socket.into())
}

pub(super) struct Listener {
    cell: Arc<ActorCell>,
    hub: Arc<Hub>,
    factory: ServiceFactory,
    /// `None` after a shutdown: the port is free by the time that is answered.
    socket: Option<TcpListener>,
    accepting: Option<Accepting>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener {
    pub(super) fn new(
        cell: Arc<ActorCell>,
        hub: Arc<Hub>,
        factory: ServiceFactory,
        socket: TcpListener,
    ) -> Self {
        Listener {
            cell,
            hub,
            factory,
            socket: Some(socket),
            accepting: None,
            pause: None,
        }
    }

    fn accept(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let Some(accepting) = &self.accepting else {
                return Poll::Ready(());
            };
            // The socket moves to the reactor of its connection's arbiter.
            let accepted = ready!(accepting.poll_accept(cx))
                .and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
            match accepted {
                Ok((stream, peer)) => {
                    self.cell.count_handled(1);
                    self.hub.accepted(stream, peer, &self.factory);
                }
                Err(error) => self.refused(&error),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// An error of one client is passed over; when the process has no more files or memory the
    /// backlog waits a moment, for a close somewhere to make room.
    fn refused(&mut self, error: &io::Error) {
        self.hub.counters.accept_errors.fetch_add(1, Relaxed);
        let of_client = [libc::ECONNABORTED, libc::EINTR, libc::EPROTO, libc::EPERM];
        if error
            .raw_os_error()
            .is_some_and(|code| of_client.contains(&code))
        {
            return;
        }
        self.hub.accept_log.once_a_minute(|more| {
            log::warn!(
                "{} cannot accept error=\"{error}\" more={more}",
                self.cell.path()
            );
        });
        self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(socket) = &self.socket else { return };
        let registered = socket.try_clone().and_then(Accepting::from_std);
        self.accepting = Some(registered.expect("the listening socket can be registered"));
        ctx.spawn(Accept);
    }
}

impl Supervised for Listener {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.accepting = None;
        self.pause = None;
    }
}

crate::crashable!(Listener);

impl Handler<Shutdown> for Listener {
    type Result = ();

    /// Stops accepting; open connections stay.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.accepting = None;
        self.socket = None;
        ctx.stop();
    }
}

struct Accept;

impl ActorFuture<Listener> for Accept {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        listener: &mut Listener,
        _: &mut Context<Listener>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        listener.accept(cx)
    }
}
