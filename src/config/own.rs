//! Keys that RocketMQ does not have. Every one of them is here, and nowhere else.

use super::key::section;

section! {
    /// Keys of Callboard for broker and NameServer alike.
    OwnSection {
        /// Where the debug endpoint listens; loopback unless set. Empty switches it off. When
        /// not set: port `listenPort` + 2 of a broker, `listenPort` + 1 of a NameServer.
        debug_listen_addr: Option<String> = "debugListenAddr", Unset, Start;
        /// The debug endpoint may crash actors and arm fail points: for drills.
        debug_allow_crash: bool = "debugAllowCrash", Is("false"), Start;
        /// Threads of the network; 0 is half the cores.
        network_threads: usize = "networkThreads", Is("0"), Start;
        /// Largest remoting frame in bytes (RocketMQ's `com.rocketmq.remoting.frameMaxLength`).
        max_frame_bytes: usize = "maxFrameBytes", Is("16777216"), Start;
        /// Open connections; further ones are closed at once.
        max_connections: usize = "maxConnections", Is("50000"), Start;
        /// Heartbeats, offsets, locks and admin requests being worked on.
        permit_controls: usize = "permitControls", Is("20000"), Start;
        /// Bytes of those.
        permit_control_bytes: usize = "permitControlBytes", Is("67108864"), Start;
        /// Bytes of requests of one connection being worked on; past it the socket is not read.
        /// A single frame always fits.
        connection_read_bytes: usize = "connectionReadBytes", Is("8388608"), Start;
        /// Requests of one connection being worked on; past it the socket is not read.
        connection_requests: usize = "connectionRequests", Is("4096"), Start;
        /// Bytes of answers that one connection has not taken; past it the socket is not read.
        connection_unsent_bytes: usize = "connectionUnsentBytes", Is("16777216"), Start;
        /// Milliseconds after which a connection that takes no answers is closed.
        connection_unsent_ms: u64 = "connectionUnsentMs", Is("120000"), Start;
        /// Restarts of one actor within `actorRestartsWithinMs` before its parent is told.
        actor_restarts_max: u32 = "actorRestartsMax", Is("10"), Start;
        /// See `actorRestartsMax`.
        actor_restarts_within_ms: u64 = "actorRestartsWithinMs", Is("60000"), Start;
        /// Milliseconds without progress, with work waiting, after which an actor counts as stuck.
        actor_stuck_ms: u64 = "actorStuckMs", Is("30000"), Start;
        /// Milliseconds that an orderly stop may take.
        shutdown_ms: u64 = "shutdownMs", Is("10000"), Start;
    }
}

section! {
    /// Keys of Callboard for brokers.
    OwnBrokerSection {
        /// Whether the log has a thread of its own; on one or two cores it shares the network's
        /// unless this is set.
        log_thread: Option<bool> = "logThread", Unset, Start;
        /// Dispatch threads, each with one shard of the queues; 0 follows the cores.
        dispatch_threads: usize = "dispatchThreads", Is("0"), Start;
        /// Sends being worked on, over all connections. Past it: SYSTEM_BUSY.
        permit_sends: usize = "permitSends", Is("20000"), Start;
        /// Bytes of the sends being worked on. Past it: SYSTEM_BUSY.
        permit_send_bytes: usize = "permitSendBytes", Is("134217728"), Start;
        /// Pulls and pops that wait for messages.
        permit_held_pulls: usize = "permitHeldPulls", Is("100000"), Start;
        /// Retry, delay, revive and half messages that the broker itself is appending.
        permit_internal_appends: usize = "permitInternalAppends", Is("4096"), Start;
        /// Messages become visible without the replicas that SYNC_MASTER asks for.
        visible_without_replicas: bool = "visibleWithoutReplicas", Is("false"), Start;
        /// Milliseconds between snapshots of the queues' ends while the log grows, which bound how
        /// much of it a start reads. RocketMQ's `checkpoint` is written with them.
        tails_interval_ms: u64 = "tailsIntervalMs", Is("2000"), Start;
        /// Milliseconds without messages after which a queue's actor and files are let go.
        queue_sleep_ms: u64 = "queueSleepMs", Is("60000"), Start;
        /// Milliseconds that a client has a queue to itself after it last locked it (RocketMQ's system
        /// property `rocketmq.broker.rebalance.lockMaxLiveTime`). Clients renew every 20 s.
        rebalance_lock_life_ms: u64 = "rebalanceLockLifeMs", Is("60000"), Start;
    }
}

section! {
    /// Keys of Callboard for NameServers.
    OwnNamesrvSection {
        /// File of the NameServer's route snapshot; `routes.mp` beside the key-value file when
        /// not set. Empty switches it off.
        route_snapshot_path: Option<String> = "routeSnapshotPath", Unset, Start;
        /// Milliseconds between a change of routes and the snapshot that has it.
        route_snapshot_delay_ms: u64 = "routeSnapshotDelayMs", Is("500"), Start;
    }
}
