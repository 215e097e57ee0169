//! What a run found, for people and (with `--json`) for scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::client::error::code_name;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::process::Spent;

/// Longer latencies count as this, in µs.
const LATENCY_MAX_US: u64 = 600_000_000;

/// Counts of one connection or of the whole run.
#[derive(Debug)]
pub struct Tally {
    /// Messages answered with success (or received).
    pub messages: u64,
    /// Requests answered, whatever the code.
    pub requests: u64,
    /// Body bytes of these messages.
    pub bytes: u64,
    /// Answers other than success, by code; -1 = connection failures.
    pub errors: BTreeMap<i32, u64>,
    /// Latency of requests, µs.
    pub latency: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            messages: 0,
            requests: 0,
            bytes: 0,
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("valid bounds"),
        }
    }
}

impl Tally {
    /// Adds what another connection counted.
    pub fn merge(&mut self, other: &Tally) {
        self.messages += other.messages;
        self.requests += other.requests;
        self.bytes += other.bytes;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        self.latency
            .add(&other.latency)
            .expect("both histograms have the same bounds");
    }
}

/// Percentiles in µs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_us: u64,
    /// 99 % are faster.
    pub p99_us: u64,
    /// 99.9 % are faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Latency {
    /// The percentiles of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Latency {
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// The result of one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `produce`, `consume` or `latency`.
    pub mode: &'static str,
    /// Seconds that were measured, warm-up left out.
    pub seconds: f64,
    /// Messages that arrived.
    pub messages: u64,
    /// Requests answered.
    pub requests: u64,
    /// Messages per second.
    pub messages_per_second: f64,
    /// Body MiB per second.
    pub mib_per_second: f64,
    /// From sending a request (in an open loop: from the time it was due) to its answer.
    pub latency: Latency,
    /// From sending to receiving through a pull, in `latency` mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Latency>,
    /// Answers other than success.
    pub errors: BTreeMap<String, u64>,
    /// What the server spent, with `--server-pid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Spent>,
    /// What this load generator spent: µs of processor time per message.
    pub client_cpu_us_per_message: f64,
}

impl Report {
    /// Puts a run's numbers together.
    pub fn new(mode: &'static str, tally: &Tally, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64().max(f64::EPSILON);
        let errors = tally
            .errors
            .iter()
            .map(|(code, count)| (format!("{code} {}", code_name(*code)), *count))
            .collect();
        Report {
            mode,
            seconds,
            messages: tally.messages,
            requests: tally.requests,
            messages_per_second: tally.messages as f64 / seconds,
            mib_per_second: tally.bytes as f64 / seconds / (1024.0 * 1024.0),
            latency: Latency::of(&tally.latency),
            end_to_end: None,
            errors,
            server: None,
            client_cpu_us_per_message: 0.0,
        }
    }

    /// Prints the report, as one line of JSON (with the labels added) or as text.
    pub fn print(&self, json: bool, labels: &[(String, String)]) {
        if json {
            let mut line = serde_json::to_value(self).expect("a report is plain data");
            add_labels(&mut line, labels);
            println!("{line}");
            return;
        }
        println!(
            "{}: {} messages in {:.2} s: {:.0}/s, {:.1} MiB/s ({} requests)",
            self.mode,
            self.messages,
            self.seconds,
            self.messages_per_second,
            self.mib_per_second,
            self.requests
        );
        print_latency("latency", &self.latency);
        if let Some(latency) = &self.end_to_end {
            print_latency("end to end", latency);
        }
        if let Some(server) = &self.server {
            println!(
                "server: {:.2} us CPU per message, resident {} KiB, anonymous {} KiB",
                server.cpu_us_per_message, server.resident_kib, server.anonymous_kib
            );
            println!(
                "server: per message {:.1} bytes to the device in {:.3} writes with {:.3} flushes; \
                 {:.3} writing and {:.3} reading calls",
                server.device_write_bytes_per_message,
                server.device_writes_per_message,
                server.device_flushes_per_message,
                server.write_calls_per_message,
                server.read_calls_per_message
            );
        }
        println!(
            "load generator: {:.2} us CPU per message",
            self.client_cpu_us_per_message
        );
        for (code, count) in &self.errors {
            println!("error {code}: {count}");
        }
    }
}

/// Adds what scripts say about a run to its line.
pub fn add_labels(line: &mut serde_json::Value, labels: &[(String, String)]) {
    for (key, text) in labels {
        line[key] = match text.parse::<f64>() {
            Ok(number) => number.into(),
            Err(_) => text.as_str().into(),
        };
    }
}

fn print_latency(name: &str, latency: &Latency) {
    println!(
        "{name}: p50 {} us, p99 {} us, p99.9 {} us, max {} us",
        latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us
    );
}
