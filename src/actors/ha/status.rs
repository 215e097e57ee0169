//! What code 907 tells of replication (`DefaultHAService.getRuntimeInfo`).

use super::{HaParts, follower::FollowerStatus};
use crate::protocol::body::ha::{HaClientRuntimeInfo, HaConnectionRuntimeInfo, HaRuntimeInfo};

fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How replication is, as master or as slave.
pub fn runtime_info(
    parts: &HaParts,
    is_master: bool,
    follower: Option<&FollowerStatus>,
) -> HaRuntimeInfo {
    let end = parts.watermarks.appended();
    if let (false, Some(status)) = (is_master, follower) {
        return HaRuntimeInfo {
            ha_client_runtime_info: HaClientRuntimeInfo {
                last_read_timestamp: long(status.last_read_ms()),
                last_write_timestamp: long(status.last_write_ms()),
                master_addr: Some(status.master()).filter(|address| !address.is_empty()),
                master_flush_offset: 0,
                max_offset: end,
                transferred_byte_in_second: long(status.bytes_per_second()),
            },
            ..HaRuntimeInfo::default()
        };
    }
    let gap_max = parts.policy.load().gap_max;
    let slaves = parts.watermarks.replicas().all();
    let connections: Vec<_> = slaves
        .iter()
        .map(|slave| HaConnectionRuntimeInfo {
            addr: slave.peer.to_string(),
            diff: end - slave.reported(),
            in_sync: end - slave.reported() < gap_max,
            slave_ack_offset: slave.reported(),
            transfer_from_where: slave.next(),
            transferred_byte_in_second: long(slave.bytes_per_second()),
        })
        .collect();
    HaRuntimeInfo {
        in_sync_slave_nums: connections.iter().filter(|slave| slave.in_sync).count() as i32,
        ha_connection_info: connections,
        master: true,
        master_commit_log_max_offset: end,
        ..HaRuntimeInfo::default()
    }
}
