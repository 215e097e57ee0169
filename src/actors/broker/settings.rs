//! From RocketMQ's keys to what the broker's actors are started with.

use std::{sync::Arc, time::Duration};

use crate::{
    actors::{
        kernel::{PermitClass, PermitLimit, Permits, ThreadPlan},
        store::{
            acks::WaitFor, flush::FlushPolicy, retention::RetentionPolicy, start::StoreSettings,
            watermarks::VisibleWhen,
        },
    },
    config::{
        Live,
        broker::BrokerConfig,
        store::{BrokerRole, FlushDiskType},
    },
    store::{
        commit_log::{CommitLogConfig, DelayLevels, DispatchRules, Preallocation},
        consume_queue::QueueFileSizes,
        error::StoreError,
        get_message::{FILTER_SCAN_BYTES_DEFAULT, GetLimits},
        index::IndexShape,
        open::StoreConfig,
    },
};

/// Least time between two syncs of the queues' files that `flushIntervalConsumeQueue` asks for.
const QUEUE_SYNC_MIN: Duration = Duration::from_secs(10);

/// The same for `flushConsumeQueueThoroughInterval`.
const QUEUE_SYNC_THOROUGH_MIN: Duration = Duration::from_millis(100);

/// Memory of the machine that is assumed where the system does not tell, bytes.
const MEMORY_DEFAULT: u64 = 8 << 30;

/// Settings of the store's files.
///
/// # Errors
/// [`StoreError::Invalid`] for delay levels that are not understood.
pub fn store_config(config: &BrokerConfig) -> Result<StoreConfig, StoreError> {
    let store = &config.store;
    let root = store.store_path_root_dir.clone();
    let mut commit_log = CommitLogConfig::new(config.commit_log_dir());
    commit_log.dirs = CommitLogConfig::parse_dirs(&store.store_path_commit_log);
    commit_log.segment_len = store.mapped_file_size_commit_log;
    commit_log.check_crc_on_recover = store.check_crc_on_recover;
    commit_log.preallocation = Preallocation::Sparse;
    commit_log.dispatch = Arc::new(DispatchRules {
        delay_levels: delay_levels(config)?,
        multi_dispatch: store.enable_lmq && store.enable_multi_dispatch,
    });
    let shape = IndexShape::new(store.max_hash_slot_num as u32, store.max_index_num as u32);
    Ok(StoreConfig {
        root,
        commit_log,
        queue_file_sizes: QueueFileSizes {
            simple: store.mapped_file_size_consume_queue,
            batch: store.mapper_file_size_batch_consume_queue,
            extensions: (store.enable_consume_queue_ext)
                .then_some(store.mapped_file_size_consume_queue_ext),
        },
        index: store.message_index_enable.then_some(shape),
        index_safe: store.message_index_safe,
        holds_back: visible_when(config).slaves > 0,
        boot: boot_id(),
    })
}

/// Linux's name for the time since the machine was switched on; other systems have none.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

fn delay_levels(config: &BrokerConfig) -> Result<DelayLevels, StoreError> {
    let text = &config.store.message_delay_level;
    DelayLevels::parse(text)
        .ok_or_else(|| StoreError::invalid(format!("messageDelayLevel is not understood: {text}")))
}

/// Settings of the store's actors.
///
/// # Errors
/// As [`store_config`].
pub fn store_settings(live: &Arc<Live<BrokerConfig>>) -> Result<StoreSettings, StoreError> {
    let config = live.load_full();
    let own = &config.own_broker;
    Ok(StoreSettings {
        store: store_config(&config)?,
        wait_for: live.derive(wait_for),
        visible_when: visible_when(&config),
        follows: config.store.broker_role == BrokerRole::Slave,
        flush: live.derive(flush_policy),
        limits: live.derive(get_limits),
        retention: live.derive(retention_policy),
        sync_every: live.derive(queue_sync_interval),
        tails_every: Duration::from_millis(own.tails_interval_ms.max(100)),
        queue_sleep: Duration::from_millis(own.queue_sleep_ms),
    })
}

fn ms(value: i64) -> Duration {
    Duration::from_millis(value.max(0) as u64)
}

/// Slaves that have to have a message in SYNC_MASTER.
pub fn slaves_in_sync(config: &BrokerConfig) -> usize {
    match config.store.broker_role {
        BrokerRole::SyncMaster => usize::try_from(config.store.in_sync_replicas - 1).unwrap_or(0),
        _ => 0,
    }
}

/// A master's role that promises less than its name: told at the start.
pub fn role_warning(config: &BrokerConfig) -> Option<&'static str> {
    let waits_for_nobody =
        config.store.broker_role == BrokerRole::SyncMaster && slaves_in_sync(config) == 0;
    waits_for_nobody.then_some(
        "brokerRole=SYNC_MASTER waits for no slave with inSyncReplicas=1, RocketMQ's default: set \
         inSyncReplicas=2 for messages to survive the loss of this machine",
    )
}

fn wait_for(config: &BrokerConfig) -> WaitFor {
    let store = &config.store;
    let slaves = slaves_in_sync(config);
    WaitFor {
        flush: is_sync(config).then(|| ms(store.sync_flush_timeout_ms)),
        slaves: (slaves > 0).then(|| (slaves, ms(store.slave_timeout_ms))),
    }
}

fn is_sync(config: &BrokerConfig) -> bool {
    config.store.flush_disk_type == FlushDiskType::Sync
}

fn visible_when(config: &BrokerConfig) -> VisibleWhen {
    VisibleWhen {
        flushed: is_sync(config) && !config.store.read_uncommitted,
        slaves: if config.own_broker.visible_without_replicas {
            0
        } else {
            slaves_in_sync(config)
        },
    }
}

fn flush_policy(config: &BrokerConfig) -> FlushPolicy {
    let store = &config.store;
    FlushPolicy {
        sync: is_sync(config),
        interval: ms(store.flush_interval_commit_log_ms.max(10)),
        timed: store.flush_commit_log_timed,
        least_pages: i64::from(store.flush_commit_log_least_pages),
        thorough_interval: ms(store.flush_commit_log_thorough_interval_ms),
    }
}

/// One call syncs the files of all queues: RocketMQ's second between rounds, of which each takes a few
/// queues, would be too often.
fn queue_sync_interval(config: &BrokerConfig) -> Duration {
    let interval = ms(config.store.flush_interval_consume_queue_ms).max(QUEUE_SYNC_MIN);
    let thorough = ms(config.store.flush_consume_queue_thorough_interval_ms);
    interval.min(thorough.max(QUEUE_SYNC_THOROUGH_MIN))
}

fn get_limits(config: &BrokerConfig) -> GetLimits {
    let store = &config.store;
    let memory = memory_bytes() as f64;
    let ratio = f64::from(store.access_message_in_memory_max_ratio) / 100.0;
    let count = |value: i32| usize::try_from(value).unwrap_or(1).max(1);
    GetLimits {
        memory_count: count(store.max_transfer_count_on_message_in_memory),
        memory_bytes: count(store.max_transfer_bytes_on_message_in_memory),
        disk_count: count(store.max_transfer_count_on_message_in_disk),
        disk_bytes: count(store.max_transfer_bytes_on_message_in_disk),
        filter_scan_bytes: count(store.max_filter_message_size).max(FILTER_SCAN_BYTES_DEFAULT / 8),
        memory_distance: (memory * ratio) as i64,
    }
}

/// Memory of the machine in bytes.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let bytes = info
        .totalram
        .saturating_mul(u64::from(info.mem_unit.max(1)));
    if bytes == 0 { MEMORY_DEFAULT } else { bytes }
}

/// What is deleted when.
pub fn retention_policy(config: &BrokerConfig) -> RetentionPolicy {
    let store = &config.store;
    let percent = |value: i32| u32::try_from(value).unwrap_or(0);
    let hours = store
        .delete_when
        .split(';')
        .filter_map(|hour| hour.trim().parse().ok());
    let hours_kept = u64::try_from(store.file_reserved_time_hours).unwrap_or(0);
    RetentionPolicy {
        interval: Duration::from_millis(store.clean_resource_interval_ms.max(100) as u64),
        hours: hours.collect(),
        reserved: Duration::from_secs(hours_kept * 3600),
        disk_max_percent: percent(store.disk_max_used_space_ratio),
        disk_force_percent: percent(store.disk_space_clean_forcibly_ratio),
        disk_full_percent: percent(store.disk_space_warning_level_ratio),
        batch_max: store.delete_file_batch_max,
        force_enabled: store.clean_file_forcibly_enable,
    }
}

/// The broker's budgets.
pub fn permits(config: &BrokerConfig) -> Permits {
    let (own, broker) = (&config.own, &config.own_broker);
    let both = |count_max, bytes_max| PermitLimit {
        count_max,
        bytes_max,
    };
    Permits::new(&[
        (
            PermitClass::Sends,
            both(broker.permit_sends, broker.permit_send_bytes),
        ),
        (
            PermitClass::Control,
            both(own.permit_controls, own.permit_control_bytes),
        ),
        (
            PermitClass::HeldPulls,
            PermitLimit::count(broker.permit_held_pulls),
        ),
        (
            PermitClass::Internal,
            PermitLimit::count(broker.permit_internal_appends),
        ),
    ])
}

/// Threads by kind of work.
pub fn threads(config: &BrokerConfig) -> ThreadPlan {
    let mut plan = ThreadPlan::for_this_machine();
    if config.own.network_threads > 0 {
        plan.net = config.own.network_threads;
    }
    if let Some(log) = config.own_broker.log_thread {
        plan.log = log;
    }
    if config.own_broker.dispatch_threads > 0 {
        plan.shards = config.own_broker.dispatch_threads;
    }
    plan
}
