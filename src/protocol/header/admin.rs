//! Configuration and statistics of a broker: codes 26, 315, 354, 355, 906, 908 and 2004.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// The version of the configuration (code 26).
    pub struct GetBrokerConfigResponseHeader {
        /// JSON of the data version.
        version: Str => "version",
    }
}

command_header! {
    /// Asks for one statistic (code 315).
    pub struct ViewBrokerStatsDataRequestHeader {
        /// Name of the statistics.
        stats_name: Str => "statsName",
        /// Key within the statistics.
        stats_key: Str => "statsKey",
    }
}

command_header! {
    /// Asks how far RocksDB consume queues are written (code 354).
    pub struct CheckRocksdbCqWriteProgressRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// From this store time on, ms.
        check_store_time: i64 = 0 => "checkStoreTime",
    }
}

command_header! {
    /// Has the RocksDB configuration exported (code 355).
    pub struct ExportRocksDbConfigToJsonRequestHeader {
        /// Kind of configuration.
        type_name: Option<Str> => "typeName",
        /// Kind of configuration.
        config_type: Str => "configType",
    }
}

command_header! {
    /// Tells where a broker stands (code 906).
    pub struct ExchangeHaInfoRequestHeader {
        /// The master's HA address.
        master_ha_address: Option<Str> => "masterHaAddress",
        /// Position up to which the master is flushed.
        master_flush_offset: Option<i64> => "masterFlushOffset",
        /// The master's address.
        master_address: Option<Str> => "masterAddress",
    }
}

command_header! {
    /// Where the other broker stands.
    pub struct ExchangeHaInfoResponseHeader {
        /// The master's HA address.
        master_ha_address: Option<Str> => "masterHaAddress",
        /// Position up to which the master is flushed.
        master_flush_offset: Option<i64> => "masterFlushOffset",
        /// The master's address.
        master_address: Option<Str> => "masterAddress",
    }
}

command_header! {
    /// Sets the flushed position of the master (code 908).
    pub struct ResetMasterFlushOffsetHeader {
        /// Position up to which the master is flushed.
        master_flush_offset: i64 => "masterFlushOffset",
    }
}

command_header! {
    /// Sets how the commit log is read ahead (code 2004).
    pub struct SetCommitLogReadModeRequestHeader {
        /// `0` normal, `1` random.
        read_ahead_mode: Option<Str> => "READ_AHEAD_MODE",
    }
}
