//! What the console itself contributes to `/metrics`: actors, network, permits, the process.
//!
//! Labels are bounded: actors are summed by kind, never listed by path.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::actors::kernel::{PermitClass, Permits, Tree};
use crate::actors::net::{Net, NetCounters};

/// Restarts, messages and mailboxes by kind of actor.
#[derive(Debug)]
pub struct ActorCollector(pub Tree);

#[derive(Default)]
struct Kind {
    actors: u64,
    restarts: u64,
    handled: u64,
    waiting: u64,
    stuck: u64,
}

impl Collector for ActorCollector {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<&'static str, Kind> = BTreeMap::new();
        for cell in self.0.cells() {
            let kind = kinds.entry(cell.kind()).or_default();
            kind.actors += 1;
            kind.restarts += cell.restarts();
            kind.handled += cell.handled();
            kind.waiting += cell.mailbox_len();
            kind.stuck += u64::from(cell.is_stuck());
        }
        let rows = |value: fn(&Kind) -> u64| {
            kinds
                .iter()
                .map(move |(kind, sums)| (*kind, value(sums)))
                .collect::<Vec<_>>()
        };
        gauges(
            &mut out,
            "callboard_actors",
            "Actors alive",
            "kind",
            &rows(|k| k.actors),
        )?;
        let waiting = rows(|k| k.waiting);
        gauges(
            &mut out,
            "callboard_actor_mailbox",
            "Messages that wait",
            "kind",
            &waiting,
        )?;
        gauges(
            &mut out,
            "callboard_actors_stuck",
            "Actors stuck",
            "kind",
            &rows(|k| k.stuck),
        )?;
        // Sums over living actors: they fall when an actor ends, so they are gauges.
        let restarts = rows(|k| k.restarts);
        gauges(
            &mut out,
            "callboard_actor_restarts",
            "Restarts of living actors",
            "kind",
            &restarts,
        )?;
        let handled = rows(|k| k.handled);
        gauges(
            &mut out,
            "callboard_actor_handled",
            "Messages of living actors",
            "kind",
            &handled,
        )
    }
}

/// Connections, frames and bytes.
#[derive(Debug)]
pub struct NetCollector(pub Net);

impl Collector for NetCollector {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let counters: &NetCounters = self.0.counters();
        let open = u64::try_from(self.0.connections().len()).unwrap_or(u64::MAX);
        gauge(
            &mut out,
            "callboard_net_connections",
            "Open connections",
            open,
        )?;
        let table: [(&str, &str, &AtomicU64); 9] = [
            ("accepted", "Connections accepted", &counters.accepted),
            (
                "refused",
                "Connections above the maximum",
                &counters.refused,
            ),
            ("accept_errors", "Failed accepts", &counters.accept_errors),
            ("crashed", "Connections ended by a panic", &counters.crashed),
            (
                "timed_out",
                "Connections closed as idle or stalled",
                &counters.timed_out,
            ),
            (
                "bad_frames",
                "Connections closed for a malformed frame",
                &counters.bad_frames,
            ),
            ("received_frames", "Frames read", &counters.received_frames),
            ("received_bytes", "Bytes read", &counters.received_bytes),
            ("sent_bytes", "Bytes written", &counters.sent_bytes),
        ];
        for (name, help, value) in table {
            counter(
                &mut out,
                &format!("callboard_net_{name}"),
                help,
                value.load(Relaxed),
            )?;
        }
        Ok(())
    }
}

/// What is out of each budget, and what was refused.
#[derive(Debug)]
pub struct PermitCollector(pub Permits);

impl Collector for PermitCollector {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let usage = PermitClass::ALL.map(|class| self.0.usage(class));
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let count = usage.map(|used| (used.class.name(), wide(used.count)));
        gauges(
            &mut out,
            "callboard_permits",
            "Requests inside",
            "class",
            &count,
        )?;
        let bytes = usage.map(|used| (used.class.name(), wide(used.bytes)));
        gauges(
            &mut out,
            "callboard_permit_bytes",
            "Bytes of requests inside",
            "class",
            &bytes,
        )?;
        let refused = usage.map(|used| (used.class.name(), used.refused));
        let (name, help) = (
            "callboard_permits_refused",
            "Requests refused for want of budget",
        );
        family(&mut out, name, help, "class", &refused, &ConstCounter::new)
    }
}

/// Memory, processor time and open files of the process, from `/proc/self`.
#[derive(Debug)]
pub struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = resident_bytes() {
            gauge(
                &mut out,
                "process_resident_memory_bytes",
                "Resident memory",
                bytes,
            )?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            gauge(
                &mut out,
                "process_open_fds",
                "Open files",
                files.count() as u64,
            )?;
        }
        let Some(seconds) = cpu_seconds() else {
            return Ok(());
        };
        let metric = ConstCounter::new(seconds);
        let (name, help) = ("process_cpu", "Processor time, user and system");
        let unit = Some(&Unit::Seconds);
        metric.encode(out.encode_descriptor(name, help, unit, metric.metric_type())?)
    }
}

/// Resident memory of this process.
pub(super) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Processor time of this process, user and system.
pub(super) fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold anything, so count from behind it: utime and stime are fields
    // 14 and 15 of proc(5), the 12th and 13th behind the name.
    let (_, rest) = text.rsplit_once(')')?;
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(out.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauges(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    rows: &[(&'static str, u64)],
) -> fmt::Result {
    family(out, name, help, label, rows, &ConstGauge::new)
}

/// One metric with one label.
fn family<M: EncodeMetric>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    rows: &[(&'static str, u64)],
    make: &dyn Fn(u64) -> M,
) -> fmt::Result {
    let Some((_, first)) = rows.first() else {
        return Ok(());
    };
    let kind = make(*first).metric_type();
    let mut encoder = out.encode_descriptor(name, help, None, kind)?;
    for (value_of_label, value) in rows {
        make(*value).encode(encoder.encode_family(&[(label, *value_of_label)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn collectors_write_text() {
        let permits = Permits::new(&[]);
        let _held = permits.try_acquire(PermitClass::Sends, 2, 300).unwrap();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(PermitCollector(permits)));
        registry.register_collector(Box::new(ProcessCollector));
        registry.register_collector(Box::new(ActorCollector(Tree::new("t"))));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("callboard_permit_bytes{class=\"sends\"} 300\n"),
            "{text}"
        );
        assert!(
            text.contains("callboard_permits_refused_total{class=\"control\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(text.contains("process_cpu_seconds_total "), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
