//! What the measured server spent: processor time, memory and writes, read from `/proc`. Writes and
//! flushes of the disks are the machine's: nothing else may be writing meanwhile.

use std::fs;

use serde::Serialize;

/// A reading of one process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    cpu_us: u64,
    written_bytes: u64,
    write_calls: u64,
    read_calls: u64,
    device_writes: u64,
    device_flushes: u64,
}

/// What a process spent between two readings, and its memory at the second.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Spent {
    /// User and system time, µs.
    pub cpu_us: u64,
    /// µs per message.
    pub cpu_us_per_message: f64,
    /// Bytes given to the block layer, per message.
    pub device_write_bytes_per_message: f64,
    /// Writes that the machine's disks completed, per message.
    pub device_writes_per_message: f64,
    /// Flushes of their caches, per message: about one for each fsync.
    pub device_flushes_per_message: f64,
    /// write-like system calls per message.
    pub write_calls_per_message: f64,
    /// read-like system calls per message.
    pub read_calls_per_message: f64,
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// Anonymous memory (not backed by files), KiB.
    pub anonymous_kib: u64,
    /// Open file descriptors, sockets included.
    pub open_files: u64,
}

/// Reads a process; None when it is not there or not ours to read.
pub fn read(pid: u32) -> Option<Reading> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may contain spaces and brackets: fields are counted after the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let (device_writes, device_flushes) = disks();
    Some(Reading {
        cpu_us: ticks.saturating_mul(1_000_000) / per_second.max(1),
        written_bytes: field(&io, "write_bytes:"),
        write_calls: field(&io, "syscw:"),
        read_calls: field(&io, "syscr:"),
        device_writes,
        device_flushes,
    })
}

/// Writes and flushes that all disks of this machine have completed
/// (Documentation/admin-guide/iostats.rst: fields 5 and 16 behind the name).
fn disks() -> (u64, u64) {
    let stats = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let mut sum = (0, 0);
    for line in stats.lines() {
        let mut fields = line.split_whitespace().skip(2);
        let name = fields.next().unwrap_or_default();
        // Whole disks only: no partitions, and nothing that is made of memory, files or other disks.
        if !fs::exists(format!("/sys/block/{name}/device")).unwrap_or(false) {
            continue;
        }
        let numbers: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
        sum.0 += numbers.get(4).unwrap_or(&0);
        sum.1 += numbers.get(15).unwrap_or(&0);
    }
    sum
}

/// Resident and anonymous memory in KiB.
pub fn memory(pid: u32) -> (u64, u64) {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    if rollup.contains("Anonymous:") {
        return (field(&rollup, "Rss:"), field(&rollup, "Anonymous:"));
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    (field(&status, "VmRSS:"), field(&status, "RssAnon:"))
}

fn open_files(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64)
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

impl Reading {
    /// What was spent since `before`, over `messages`.
    pub fn since(&self, before: &Reading, messages: u64, pid: u32) -> Spent {
        let per = |now: u64, then: u64| now.saturating_sub(then) as f64 / messages.max(1) as f64;
        let (resident_kib, anonymous_kib) = memory(pid);
        Spent {
            cpu_us: self.cpu_us.saturating_sub(before.cpu_us),
            cpu_us_per_message: per(self.cpu_us, before.cpu_us),
            device_write_bytes_per_message: per(self.written_bytes, before.written_bytes),
            device_writes_per_message: per(self.device_writes, before.device_writes),
            device_flushes_per_message: per(self.device_flushes, before.device_flushes),
            write_calls_per_message: per(self.write_calls, before.write_calls),
            read_calls_per_message: per(self.read_calls, before.read_calls),
            resident_kib,
            anonymous_kib,
            open_files: open_files(pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let reading = read(std::process::id()).unwrap();
        let spent = reading.since(&Reading::default(), 1, std::process::id());
        assert!(spent.resident_kib > 0 && spent.anonymous_kib > 0);
        assert!(read(u32::MAX).is_none());
    }
}
