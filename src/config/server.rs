//! Keys of the listening side: what is used of RocketMQ's `NettyServerConfig`.

use super::key::section;

section! {
    /// Keys of the listening side, the same for broker and NameServer.
    ServerSection {
        /// Address to listen on.
        bind_address: String = "bindAddress", Is("0.0.0.0"), Start;
        /// Seconds after which a silent connection is closed.
        server_channel_max_idle_time_s: u64 = "serverChannelMaxIdleTimeSeconds", Is("120"), Start;
        /// Connections waiting to be accepted.
        server_socket_backlog: i32 = "serverSocketBacklog", Is("1024"), Start;
        /// Send buffer of the socket; 0 is the system's.
        server_socket_snd_buf_bytes: i32 = "serverSocketSndBufSize", Is("0"), Start;
        /// Receive buffer of the socket; 0 is the system's.
        server_socket_rcv_buf_bytes: i32 = "serverSocketRcvBufSize", Is("0"), Start;
        /// Clients are told to go away (code 1500) before connections close.
        enable_shutdown_gracefully: bool = "enableShutdownGracefully", Is("false"), Kept;
        /// Seconds between telling and closing.
        shutdown_wait_time_s: u64 = "shutdownWaitTimeSeconds", Is("30"), Kept;    }
}
