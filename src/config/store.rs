//! Keys of the store: RocketMQ's `MessageStoreConfig`.

use std::path::PathBuf;

use super::Env;
use super::key::{section, words};

words! {
    /// What a broker is to its group, and what its sends wait for.
    BrokerRole {
        /// A master whose sends do not wait for slaves.
        AsyncMaster = "ASYNC_MASTER",
        /// A master whose sends wait for `inSyncReplicas` replicas.
        SyncMaster = "SYNC_MASTER",
        /// A slave.
        Slave = "SLAVE",
    }
}

words! {
    /// Whether sends wait for the disk.
    FlushDiskType {
        /// They are answered before the flush.
        Async = "ASYNC_FLUSH",
        /// They are answered after it.
        Sync = "SYNC_FLUSH",
    }
}

fn root_dir(env: &Env) -> String {
    env.home.join("store").display().to_string()
}

section! {
    /// Keys of the store.
    StoreSection {
        /// Root of the store.
        store_path_root_dir: PathBuf = "storePathRootDir", From(root_dir), Start;
        /// Commit log; `commitlog` below the root when not set.
        store_path_commit_log: String = "storePathCommitLog", Unset, Start;
        /// Master or slave, and whether sends wait for slaves.
        broker_role: BrokerRole = "brokerRole", Is("ASYNC_MASTER"), Start;
        /// Whether sends wait for the disk.
        flush_disk_type: FlushDiskType = "flushDiskType", Is("ASYNC_FLUSH"), Start;
        /// Bytes of one commit log file.
        mapped_file_size_commit_log: u64 = "mappedFileSizeCommitLog", Is("1073741824"), Start;
        /// Bytes of one consume queue file, rounded up to whole entries of 20.
        mapped_file_size_consume_queue: u64 = "mappedFileSizeConsumeQueue", Is("6000000"), Start;
        /// Queue entries have extensions: store time and bit map of filters, in files of their own.
        enable_consume_queue_ext: bool = "enableConsumeQueueExt", Is("false"), Start;
        /// Bytes of one file of extensions.
        mapped_file_size_consume_queue_ext: u64 =
            "mappedFileSizeConsumeQueueExt", Is("50331648"), Start;
        /// Bytes of one file of a queue of batches (`queue.type=BatchCQ`), rounded up to whole units of 46.
        mapper_file_size_batch_consume_queue: u64 =
            "mapperFileSizeBatchConsumeQueue", Is("13800000"), Start;
        /// Milliseconds between flushes when sends do not wait for them.
        flush_interval_commit_log_ms: i64 = "flushIntervalCommitLog", Is("500"), Hot;
        /// Flushes keep to the interval; otherwise each append wakes them, too.
        flush_commit_log_timed: bool = "flushCommitLogTimed", Is("true"), Hot;
        /// Pages of 4 KiB below which a flush is not worth it.
        flush_commit_log_least_pages: i32 = "flushCommitLogLeastPages", Is("4"), Hot;
        /// Milliseconds after which few pages are flushed too.
        flush_commit_log_thorough_interval_ms: i64 =
            "flushCommitLogThoroughInterval", Is("10000"), Hot;
        /// Milliseconds between syncs of queue and index files, which go to disk in one call for all
        /// of them; at least 10000.
        flush_interval_consume_queue_ms: i64 = "flushIntervalConsumeQueue", Is("1000"), Hot;
        /// Pages below which a consume queue is not flushed.
        flush_consume_queue_least_pages: i32 = "flushConsumeQueueLeastPages", Is("2"), Kept;
        /// The most milliseconds between those syncs, down to 100: shortens
        /// `flushIntervalConsumeQueue`.
        flush_consume_queue_thorough_interval_ms: i64 =
            "flushConsumeQueueThoroughInterval", Is("60000"), Hot;
        /// Milliseconds a send waits for the disk.
        sync_flush_timeout_ms: i64 = "syncFlushTimeout", Is("5000"), Hot;
        /// Milliseconds a send waits for slaves.
        slave_timeout_ms: i64 = "slaveTimeout", Is("3000"), Hot;
        /// Milliseconds RocketMQ gives a synchronous send.
        put_message_timeout_ms: i64 = "putMessageTimeout", Is("8000"), Kept;
        /// Bytes of the largest message body.
        max_message_size: i32 = "maxMessageSize", Is("4194304"), Hot;
        /// Most messages one query by key gives.
        max_msgs_num_batch: usize = "maxMsgsNumBatch", Is("64"), Hot;
        /// Most messages a query gives when it does not say.
        default_query_max_num: usize = "defaultQueryMaxNum", Is("32"), Hot;
        /// Checksums are compared in recovery.
        check_crc_on_recover: bool = "checkCRCOnRecover", Is("true"), Start;
        /// Commit log files that recovery goes back at most.
        max_recovery_commitlog_files: usize = "maxRecoveryCommitlogFiles", Is("30"), Kept;
        /// Messages are indexed by key.
        message_index_enable: bool = "messageIndexEnable", Is("true"), Start;
        /// Recovery trusts only what the index itself says.
        message_index_safe: bool = "messageIndexSafe", Is("false"), Start;
        /// Slots of one index file.
        max_hash_slot_num: i32 = "maxHashSlotNum", Is("5000000"), Start;
        /// Entries of one index file.
        max_index_num: i32 = "maxIndexNum", Is("20000000"), Start;
        /// Topics and groups with the prefix `%LMQ%` need not be made.
        enable_lmq: bool = "enableLmq", Is("false"), Start;
        /// Messages enter the light message queues that they name; needs `enableLmq`.
        enable_multi_dispatch: bool = "enableMultiDispatch", Is("false"), Start;
        /// Most light message queues.
        max_lmq_consume_queue_num: usize = "maxLmqConsumeQueueNum", Is("20000"), Start;
        /// Delay levels, one number with unit (s, m, h, d) each.
        message_delay_level: String =
            "messageDelayLevel", Is("1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"), Start;
        /// Milliseconds between writes of delayOffset.json.
        flush_delay_offset_interval_ms: i64 = "flushDelayOffsetInterval", Is("10000"), Start;
        /// Hours of the day in which old files go, separated by `;`.
        delete_when: String = "deleteWhen", Is("04"), Hot;
        /// Hours a file is kept.
        file_reserved_time_hours: i32 = "fileReservedTime", Is("72"), Hot;
        /// Percent of disk above which old files go, held within 10 and 95.
        disk_max_used_space_ratio: i32 = "diskMaxUsedSpaceRatio", Is("75"), Hot;
        /// Percent of disk above which files go though they are young.
        disk_space_clean_forcibly_ratio: i32 = "diskSpaceCleanForciblyRatio", Is("85"), Hot;
        /// Percent of disk above which sends are refused.
        disk_space_warning_level_ratio: i32 = "diskSpaceWarningLevelRatio", Is("90"), Hot;
        /// Files may go though they are young.
        clean_file_forcibly_enable: bool = "cleanFileForciblyEnable", Is("true"), Hot;
        /// Milliseconds between looks for files to delete.
        clean_resource_interval_ms: i64 = "cleanResourceInterval", Is("10000"), Start;
        /// Milliseconds between deletions of two commit log files.
        delete_commit_log_files_interval_ms: i64 = "deleteCommitLogFilesInterval", Is("100"), Kept;
        /// Milliseconds between deletions of two consume queue files.
        delete_consume_queue_files_interval_ms: i64 =
            "deleteConsumeQueueFilesInterval", Is("100"), Kept;
        /// Files deleted in one round.
        delete_file_batch_max: usize = "deleteFileBatchMax", Is("10"), Hot;
        /// Milliseconds between tries at a file that would not go.
        redelete_hanged_file_interval_ms: i64 = "redeleteHangedFileInterval", Is("120000"), Kept;
        /// Milliseconds after which a deleted file goes though it is read.
        destroy_mapped_file_interval_forcibly_ms: i64 =
            "destroyMapedFileIntervalForcibly", Is("120000"), Kept;
        /// Bytes one pull gives from memory.
        max_transfer_bytes_on_message_in_memory: i32 =
            "maxTransferBytesOnMessageInMemory", Is("262144"), Hot;
        /// Messages one pull gives from memory.
        max_transfer_count_on_message_in_memory: i32 =
            "maxTransferCountOnMessageInMemory", Is("32"), Hot;
        /// Bytes one pull gives from disk.
        max_transfer_bytes_on_message_in_disk: i32 =
            "maxTransferBytesOnMessageInDisk", Is("65536"), Hot;
        /// Messages one pull gives from disk.
        max_transfer_count_on_message_in_disk: i32 = "maxTransferCountOnMessageInDisk", Is("8"), Hot;
        /// Percent of memory that recent messages are taken to be in.
        access_message_in_memory_max_ratio: i32 = "accessMessageInMemoryMaxRatio", Is("40"), Hot;
        /// Bytes of queue entries that one filtered pull looks through.
        max_filter_message_size: i32 = "maxFilterMessageSize", Is("16000"), Hot;
        /// Most messages of one pull.
        pull_batch_max_message_count: i32 = "pullBatchMaxMessageCount", Is("160"), Kept;
        /// Entries looked at for an estimate of lag.
        max_consume_queue_scan: i32 = "maxConsumeQueueScan", Is("20000"), Kept;
        /// Entries above which lag is estimated by samples.
        sample_count_threshold: i32 = "sampleCountThreshold", Is("5000"), Kept;
        /// How far pulls fall behind is recorded.
        disk_fall_recorded: bool = "diskFallRecorded", Is("true"), Kept;
        /// Consumers see messages before they are safe.
        read_uncommitted: bool = "readUnCommitted", Is("false"), Start;
        /// Milliseconds of a slow append above which RocketMQ refuses sends.
        os_page_cache_busy_timeout_ms: i64 = "osPageCacheBusyTimeOutMills", Is("1000"), Kept;
        /// Longest topic name in bytes.
        max_topic_length: i32 = "maxTopicLength", Is("127"), Kept;
        /// Names over 127 bytes use the second record form.
        auto_message_version_on_topic_len: bool = "autoMessageVersionOnTopicLen", Is("true"), Kept;
        /// Records end in a property with the checksum of all of it.
        enabled_append_prop_crc: bool = "enabledAppendPropCRC", Is("false"), Kept;
        /// Records without that property are refused in recovery.
        force_verify_prop_crc: bool = "forceVerifyPropCRC", Is("false"), Kept;
        /// Port for slaves; one above `listenPort` when not set.
        ha_listen_port: u16 = "haListenPort", Unset, Start;
        /// Master that a slave follows; otherwise the NameServer names it.
        ha_master_address: Option<String> = "haMasterAddress", Unset, Start;
        /// Milliseconds between heartbeats of replication.
        ha_send_heartbeat_interval_ms: i64 = "haSendHeartbeatInterval", Is("5000"), Hot;
        /// Milliseconds after which a silent replication connection is closed.
        ha_housekeeping_interval_ms: i64 = "haHousekeepingInterval", Is("20000"), Hot;
        /// Bytes of log in one replication frame.
        ha_transfer_batch_bytes: usize = "haTransferBatchSize", Is("32768"), Hot;
        /// Bytes behind which a slave is not in sync.
        ha_max_gap_not_in_sync_bytes: i64 = "haMaxGapNotInSync", Is("268435456"), Hot;
        /// Replication is held to `maxHaTransferByteInSecond`.
        ha_flow_control_enable: bool = "haFlowControlEnable", Is("false"), Hot;
        /// Bytes of replication a second.
        max_ha_transfer_byte_in_second: i64 = "maxHaTransferByteInSecond", Is("104857600"), Hot;
        /// Replicas, the master counted, that must have a message in SYNC_MASTER.
        in_sync_replicas: i32 = "inSyncReplicas", Is("1"), Start;
        /// Lowest number that `inSyncReplicas` is lowered to on its own.
        min_in_sync_replicas: i32 = "minInSyncReplicas", Is("1"), Kept;
        /// `inSyncReplicas` follows the number of slaves.
        enable_auto_in_sync_replicas: bool = "enableAutoInSyncReplicas", Is("false"), Kept;
        /// Replicas there should be.
        total_replicas: i32 = "totalReplicas", Is("1"), Kept;
        /// All replicas in sync must have a message (controller mode).
        all_ack_in_sync_state_set: bool = "allAckInSyncStateSet", Is("false"), Kept;
        /// Slaves correct the next offset of pulls.
        offset_check_in_slave: bool = "offsetCheckInSlave", Is("false"), Hot;
        /// Messages may name any time of delivery.
        timer_wheel_enable: bool = "timerWheelEnable", Is("true"), Start;
        /// Milliseconds of one slot: 1000, 500, 200 or 100.
        timer_precision_ms: i32 = "timerPrecisionMs", Is("1000"), Start;
        /// Seconds that a message may be delayed.
        timer_max_delay_s: i64 = "timerMaxDelaySec", Is("259200"), Hot;
        /// Slots after which a far message is looked at again.
        timer_roll_window_slots: i32 = "timerRollWindowSlot", Is("172800"), Start;
        /// Messages of one slot above which more are refused.
        timer_congest_num_each_slot: i32 = "timerCongestNumEachSlot", Is("2147483647"), Hot;
        /// Delay levels use the timer.
        timer_intercept_delay_level: bool = "timerInterceptDelayLevel", Is("false"), Kept;
        /// Milliseconds between flushes of the timer.
        timer_flush_interval_ms: i64 = "timerFlushIntervalMs", Is("1000"), Hot;
        /// Timed messages up to which a start counts anew how many wait for each topic.
        timer_metric_small_threshold: i32 = "timerMetricSmallThreshold", Is("1000000"), Start;
        /// Bytes of one timer log file.
        mapped_file_size_timer_log: u64 = "mappedFileSizeTimerLog", Is("104857600"), Start;
        /// Whether a recall names the topic of its message, too.
        append_topic_for_timer_delete_key: bool = "appendTopicForTimerDeleteKey", Is("false"), Hot;
        /// Timed messages are not taken in.
        timer_stop_enqueue: bool = "timerStopEnqueue", Is("false"), Hot;
        /// Timed messages are not delivered.
        timer_stop_dequeue: bool = "timerStopDequeue", Is("false"), Hot;
        /// Of compaction topics the last message of each key is kept; otherwise they are as others.
        enable_compaction: bool = "enableCompaction", Is("true"), Start;
        /// Bytes of one file of a compaction topic's messages, made a multiple of the next.
        compaction_mapped_file_size: u64 = "compactionMappedFileSize", Is("104857600"), Start;
        /// Bytes of one file of its entries, cut to whole ones of 46.
        compaction_cq_mapped_file_size: u64 = "compactionCqMappedFileSize", Is("10485760"), Start;
        /// Milliseconds between two compactions of a queue, to which up to as many and a second are added.
        compaction_schedule_interval_ms: i64 = "compactionScheduleInternal", Is("900000"), Start;
        /// Bytes of memory for the keys of a compaction.
        max_offset_map_size: usize = "maxOffsetMapSize", Is("104857600"), Start;    }
}
