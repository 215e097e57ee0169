//! The bounds of the network side, by name.

use std::time::Duration;

use crate::config::{OwnSection, ServerSection};
use crate::protocol::frame::FRAME_LEN_MAX;

/// Buffers handed to one vectored write.
pub(super) const IOV_MAX: usize = 64;
/// Reads of one connection before it lets the others of its arbiter have a turn.
pub(super) const READS_PER_TURN_MAX: usize = 4;
/// Requests handed to the service at once; between two calls the budget is looked at again.
pub(super) const FRAMES_PER_CALL_MAX: usize = 256;
/// The smallest buffer for one read; it grows with what arrives.
pub(super) const READ_LEN_MIN: usize = 4 * 1024;
/// The largest buffer for one read.
pub(super) const READ_LEN_MAX: usize = 256 * 1024;
/// Read buffers of all connections of one arbiter together, while each has its least share.
pub(super) const READ_LEN_ALL: usize = 8 * 1024 * 1024;
/// The least share of a connection that reads much, however many there are.
pub(super) const READ_LEN_SHARE_MIN: usize = 32 * 1024;
/// A frame longer than this needs a permit while it is still arriving.
pub(super) const PARTIAL_FREE_LEN_MAX: usize = 64 * 1024;
/// Body slices shorter than this are copied behind their header: cheaper than a buffer of their own.
pub(super) const COPY_LEN_MAX: usize = 256;
/// Calls of the server to one client that wait for an answer.
pub(super) const CALLS_MAX: usize = 4096;
/// Connections accepted in one turn before others of the arbiter have one.
pub(super) const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Pause of the listener when the process has no more files.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A connection idle for so many ticks gives its buffers back.
pub(super) const TRIM_AFTER_TICKS: u64 = 5;

/// What one connection may take, and for how long.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// The largest value of a frame's length field; a longer one closes the connection.
    pub frame_len_max: usize,
    /// Pending connections of the listening socket.
    pub backlog: i32,
    /// Send buffer of each socket in bytes; 0 is the system's.
    pub send_buffer_len: usize,
    /// Receive buffer of each socket in bytes; 0 is the system's.
    pub recv_buffer_len: usize,
    /// Open connections; more are accepted and closed at once.
    pub connections_max: usize,
    /// Answer bytes of one connection not yet taken by its socket; past it, it is not read.
    pub unsent_bytes_max: usize,
    /// Requests of one connection without a written answer; past it, it is not read.
    pub in_flight_max: usize,
    /// Their bytes; past it, the connection is not read.
    pub in_flight_bytes_max: usize,
    /// Large frames still arriving, over all connections, in bytes.
    pub inbound_bytes_max: usize,
    /// A connection without read and write for so long is closed
    /// (`serverChannelMaxIdleTimeSeconds`).
    pub idle_timeout: Duration,
    /// A connection that takes no answer for so long is closed, and one that leaves a frame
    /// unfinished for so long.
    pub stall_timeout: Duration,
    /// How often idle, stalled and overdue things are looked for.
    pub tick: Duration,
}

impl NetConfig {
    /// The bounds as the configuration has them.
    pub fn of(server: &ServerSection, own: &OwnSection) -> Self {
        let len = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        NetConfig {
            frame_len_max: own.max_frame_bytes,
            backlog: server.server_socket_backlog,
            send_buffer_len: len(server.server_socket_snd_buf_bytes),
            recv_buffer_len: len(server.server_socket_rcv_buf_bytes),
            connections_max: own.max_connections,
            unsent_bytes_max: own.connection_unsent_bytes,
            in_flight_max: own.connection_requests,
            in_flight_bytes_max: own.connection_read_bytes,
            idle_timeout: Duration::from_secs(server.server_channel_max_idle_time_s.max(1)),
            stall_timeout: Duration::from_millis(own.connection_unsent_ms),
            ..NetConfig::default()
        }
    }
}

impl Default for NetConfig {
    fn default() -> Self {
        NetConfig {
            frame_len_max: FRAME_LEN_MAX,
            backlog: 1024,
            send_buffer_len: 0,
            recv_buffer_len: 0,
            connections_max: 100_000,
            unsent_bytes_max: 16 * 1024 * 1024,
            in_flight_max: 4096,
            in_flight_bytes_max: 64 * 1024 * 1024,
            inbound_bytes_max: 256 * 1024 * 1024,
            idle_timeout: Duration::from_secs(120),
            stall_timeout: Duration::from_secs(120),
            tick: Duration::from_secs(1),
        }
    }
}
