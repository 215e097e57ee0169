//! Pipelined calls to any number of servers: one connection per address, opened on first use and
//! again, with back-off, after it broke. Mirrors the promises of RocketMQ's NettyRemotingClient.
//!
//! * Requests are matched with answers by `opaque`; any number may be on the way (bounded by
//!   [`RemotingConfig::in_flight_max`]), and all requests that were handed over while a write was
//!   running leave in the next one.
//! * There is no timer per request: one sweeper per connection sleeps while nothing is pending and
//!   looks every 50 ms otherwise, so a timeout comes at most that much late.
//! * Requests that the *server* makes (a changed group, a transaction check, ...) go to the
//!   [`PushHandler`].
//!
//! The client spawns its tasks on the tokio runtime it is called from; it works on an actix
//! arbiter as well as on a multi-threaded runtime.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;

use crate::client::connection::{Connection, Enqueued};
use crate::client::lock;
use crate::protocol::RemotingCommand;

/// Limits and times of a [`RemotingClient`].
#[derive(Debug, Clone)]
pub struct RemotingConfig {
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// Largest frame accepted from a server, bytes after the length field.
    pub frame_len_max: usize,
    /// Requests without an answer yet, per connection; more callers wait.
    pub in_flight_max: usize,
    /// Bytes handed over and not yet written, per connection; more callers wait.
    pub unsent_bytes_max: usize,
    /// First pause after a failed connection attempt; it doubles with each failure.
    pub backoff_min: Duration,
    /// Longest pause between connection attempts.
    pub backoff_max: Duration,
}

impl Default for RemotingConfig {
    fn default() -> Self {
        RemotingConfig {
            connect_timeout: Duration::from_secs(3),
            frame_len_max: 16 * 1024 * 1024,
            in_flight_max: 65_535,
            unsent_bytes_max: 64 * 1024 * 1024,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(3),
        }
    }
}

/// Failure of one call.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RemotingError {
    /// The connection could not be opened; the request was not sent.
    #[error("cannot connect to {addr}: {reason}")]
    Connect {
        /// Where to.
        addr: String,
        /// Why not.
        reason: String,
    },
    /// No answer within the time allowed; the server may have acted on the request.
    #[error("no answer from {addr} within {timeout:?}")]
    Timeout {
        /// Who was asked.
        addr: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The connection ended while the answer was awaited.
    #[error("connection to {addr} ended: {reason}")]
    Closed {
        /// Who was asked.
        addr: String,
        /// Why it ended.
        reason: String,
    },
    /// The request could not be encoded within the frame limit.
    #[error("request of {len} bytes exceeds the frame limit of {max}")]
    TooLarge {
        /// Bytes of the encoded request.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// [`RemotingClient::shut_down`] was called.
    #[error("the remoting client is shut down")]
    ShutDown,
}

/// Answers requests that servers make over the client's connections.
pub trait PushHandler: Send + Sync + 'static {
    /// Takes one request. Runs on the connection's reading task, so it must not block; long work
    /// is spawned and answers later through `origin`.
    fn on_push(&self, request: RemotingCommand, origin: PushOrigin);
}

/// Where a server's request came from, and the way to answer it.
#[derive(Clone)]
pub struct PushOrigin {
    connection: Arc<Connection>,
    opaque: i32,
    oneway: bool,
}

impl PushOrigin {
    pub(super) fn new(connection: Arc<Connection>, request: &RemotingCommand) -> Self {
        PushOrigin {
            connection,
            opaque: request.opaque,
            oneway: request.is_oneway(),
        }
    }

    /// Address of the server, as it was given to [`RemotingClient::call`].
    pub fn addr(&self) -> &str {
        self.connection.addr()
    }

    /// Sends the answer; does nothing when the request was oneway. The opaque and the response
    /// bit are set here.
    pub fn reply(&self, mut response: RemotingCommand) {
        if self.oneway {
            return;
        }
        response.opaque = self.opaque;
        response.flag |= 1;
        self.connection.send_unbounded(&response);
    }
}

/// What is known about one address.
struct Slot {
    live: ArcSwapOption<Connection>,
    attempts: tokio::sync::Mutex<Attempts>,
}

#[derive(Default)]
struct Attempts {
    failures: u32,
    not_before: Option<Instant>,
    last_error: String,
}

struct Inner {
    config: RemotingConfig,
    slots: DashMap<Box<str>, Arc<Slot>>,
    opaque: AtomicI32,
    handler: Mutex<Option<Arc<dyn PushHandler>>>,
    shut_down: std::sync::atomic::AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for slot in self.slots.iter() {
            if let Some(connection) = slot.live.load_full() {
                connection.close("the client was dropped");
            }
        }
    }
}

/// Handle to the connections of one client; clones share them.
#[derive(Clone)]
pub struct RemotingClient {
    inner: Arc<Inner>,
}

impl RemotingClient {
    /// A client without connections; they are opened by the first call to each address.
    pub fn new(config: RemotingConfig) -> Self {
        RemotingClient {
            inner: Arc::new(Inner {
                config,
                slots: DashMap::new(),
                opaque: AtomicI32::new(0),
                handler: Mutex::new(None),
                shut_down: false.into(),
            }),
        }
    }

    /// Sets who answers the servers' own requests. Connections that are open already keep the
    /// handler they were opened with, so this is called before the first call.
    pub fn set_push_handler(&self, handler: Arc<dyn PushHandler>) {
        *lock(&self.inner.handler) = Some(handler);
    }

    /// Sends a request and awaits its answer, whatever its code. `timeout` covers connecting,
    /// waiting for a free place and the answer. Dropping the future forgets the request; the
    /// server may still act on it.
    pub async fn call(
        &self,
        addr: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RemotingError> {
        let begin = Instant::now();
        let connection = self.connection(addr).await?;
        let rest = timeout.saturating_sub(begin.elapsed());
        let opaque = self.next_opaque();
        connection.call(request, opaque, rest, timeout).await
    }

    /// Sends a request that is never answered. Returns when it is queued for writing.
    pub async fn oneway(&self, addr: &str, request: RemotingCommand) -> Result<(), RemotingError> {
        let connection = self.connection(addr).await?;
        let mut request = request.mark_oneway();
        request.opaque = self.next_opaque();
        match connection.send(&request).await {
            Enqueued::Yes => Ok(()),
            Enqueued::Refused(error) => Err(error),
        }
    }

    /// The local address of the open connection to `addr`, if there is one.
    pub fn local_addr(&self, addr: &str) -> Option<std::net::SocketAddr> {
        self.inner
            .slots
            .get(addr)?
            .live
            .load_full()
            .map(|connection| connection.local())
    }

    /// Opens the connection if it is not open. Tells whether the address can be reached.
    pub async fn connect(&self, addr: &str) -> Result<(), RemotingError> {
        self.connection(addr).await.map(|_| ())
    }

    /// Ends the connection to `addr`; calls that wait fail with [`RemotingError::Closed`]. The
    /// next call opens it again.
    pub fn disconnect(&self, addr: &str) {
        if let Some((_, slot)) = self.inner.slots.remove(addr)
            && let Some(connection) = slot.live.load_full()
        {
            connection.close("closed by this client");
        }
    }

    /// Writes out what is queued, waiting at most `timeout`: for oneway requests before an exit.
    pub async fn drain(&self, timeout: Duration) {
        let live: Vec<_> = self
            .inner
            .slots
            .iter()
            .filter_map(|slot| slot.live.load_full())
            .collect();
        let all = async {
            for connection in live {
                connection.drained().await;
            }
        };
        let _ = tokio::time::timeout(timeout, all).await;
    }

    /// Ends all connections for good; every later call fails with [`RemotingError::ShutDown`].
    pub fn shut_down(&self) {
        self.inner.shut_down.store(true, Ordering::Release);
        for slot in self.inner.slots.iter() {
            if let Some(connection) = slot.live.load_full() {
                connection.close("the client was shut down");
            }
        }
        self.inner.slots.clear();
    }

    /// Addresses with an open connection.
    pub fn connected(&self) -> Vec<String> {
        self.inner
            .slots
            .iter()
            .filter(|slot| {
                slot.live
                    .load()
                    .as_ref()
                    .is_some_and(|live| !live.is_closed())
            })
            .map(|slot| slot.key().to_string())
            .collect()
    }

    fn next_opaque(&self) -> i32 {
        self.inner.opaque.fetch_add(1, Ordering::Relaxed)
    }

    async fn connection(&self, addr: &str) -> Result<Arc<Connection>, RemotingError> {
        if self.inner.shut_down.load(Ordering::Acquire) {
            return Err(RemotingError::ShutDown);
        }
        let slot = self.slot(addr);
        if let Some(live) = slot.live.load_full()
            && !live.is_closed()
        {
            return Ok(live);
        }
        self.open(addr, &slot).await
    }

    fn slot(&self, addr: &str) -> Arc<Slot> {
        if let Some(slot) = self.inner.slots.get(addr) {
            return slot.clone();
        }
        self.inner
            .slots
            .entry(addr.into())
            .or_insert_with(|| {
                Arc::new(Slot {
                    live: ArcSwapOption::empty(),
                    attempts: tokio::sync::Mutex::new(Attempts::default()),
                })
            })
            .clone()
    }

    /// Opens a connection; callers that come meanwhile wait for this attempt and share its result.
    async fn open(&self, addr: &str, slot: &Slot) -> Result<Arc<Connection>, RemotingError> {
        let mut attempts = slot.attempts.lock().await;
        if let Some(live) = slot.live.load_full()
            && !live.is_closed()
        {
            return Ok(live);
        }
        if attempts
            .not_before
            .is_some_and(|time| Instant::now() < time)
        {
            let reason = attempts.last_error.clone();
            return Err(RemotingError::Connect {
                addr: addr.to_owned(),
                reason,
            });
        }
        let config = &self.inner.config;
        let connecting = tokio::net::TcpStream::connect(addr);
        let reason = match tokio::time::timeout(config.connect_timeout, connecting).await {
            Ok(Ok(stream)) => {
                let handler = lock(&self.inner.handler).clone();
                let connection = Connection::start(addr, stream, config, handler);
                match connection {
                    Ok(connection) => {
                        *attempts = Attempts::default();
                        slot.live.store(Some(connection.clone()));
                        return Ok(connection);
                    }
                    Err(error) => error.to_string(),
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not connected within {:?}", config.connect_timeout),
        };
        attempts.failures = attempts.failures.saturating_add(1);
        let factor = 1_u32 << (attempts.failures - 1).min(16);
        let pause = config
            .backoff_min
            .saturating_mul(factor)
            .min(config.backoff_max);
        attempts.not_before = Some(Instant::now() + pause);
        attempts.last_error.clone_from(&reason);
        Err(RemotingError::Connect {
            addr: addr.to_owned(),
            reason,
        })
    }
}

impl Default for RemotingClient {
    fn default() -> Self {
        Self::new(RemotingConfig::default())
    }
}

/// Requests by opaque that wait for their answer.
pub(super) type PendingTable = HashMap<i32, super::connection::Pending>;

#[cfg(test)]
mod tests;
