//! Replication: code 907.

body! {
    /// How a slave's client is.
    #[derive(Eq)]
    pub struct HaClientRuntimeInfo {
        /// When it last read, ms.
        last_read_timestamp: i64,
        /// When it last wrote, ms.
        last_write_timestamp: i64,
        /// Address of the master.
        master_addr: Option<String>,
        /// Position up to which the master is flushed.
        master_flush_offset: i64,
        /// End of the slave's commit log.
        max_offset: i64,
        /// Bytes per second.
        transferred_byte_in_second: i64,
    }
}

body! {
    /// One slave of a master.
    #[derive(Eq)]
    pub struct HaConnectionRuntimeInfo {
        /// Address of the slave.
        addr: String,
        /// Bytes it is behind.
        diff: i64,
        /// Whether it is in sync.
        in_sync: bool,
        /// Position it has acknowledged.
        slave_ack_offset: i64,
        /// Position from which it was given the log.
        transfer_from_where: i64,
        /// Bytes per second.
        transferred_byte_in_second: i64,
    }
}

body! {
    /// How replication is.
    #[derive(Eq)]
    pub struct HaRuntimeInfo {
        /// On a slave: its client.
        ha_client_runtime_info: HaClientRuntimeInfo,
        /// On a master: its slaves.
        ha_connection_info: Vec<HaConnectionRuntimeInfo>,
        /// Slaves in sync.
        in_sync_slave_nums: i32,
        /// Whether this is a master.
        master: bool,
        /// End of the master's commit log.
        master_commit_log_max_offset: i64,
    }
}
