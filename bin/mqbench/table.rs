//! One markdown table out of many runs: medians per row and server, and ratios between servers.
//!
//! The input is one JSON object per line: what `--json` prints with the `row` and `system` that the
//! script adds by `--label`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A number that the table shows: heading, place in the report, factor, decimals, and whether a
/// smaller one is better (for the ratio's direction nothing is turned: it is always a / b).
const COLUMNS: [(&str, &str, f64, usize); 12] = [
    ("msgs/s", "/messages_per_second", 1.0, 0),
    ("CPU us/msg", "/server/cpu_us_per_message", 1.0, 2),
    ("p50 us", "/latency/p50_us", 1.0, 0),
    ("p99 us", "/latency/p99_us", 1.0, 0),
    ("p99.9 us", "/latency/p999_us", 1.0, 0),
    ("e2e p50 us", "/end_to_end/p50_us", 1.0, 0),
    ("e2e p99 us", "/end_to_end/p99_us", 1.0, 0),
    ("anon MiB", "/server/anonymous_kib", 1.0 / 1024.0, 1),
    ("open files", "/server/open_files", 1.0, 0),
    (
        "device B/msg",
        "/server/device_write_bytes_per_message",
        1.0,
        0,
    ),
    (
        "device writes/msg",
        "/server/device_writes_per_message",
        1.0,
        3,
    ),
    (
        "device flushes/msg",
        "/server/device_flushes_per_message",
        1.0,
        3,
    ),
];

/// Further numbers that scripts add to a line (`--label key=number`).
const EXTRAS: [(&str, &str, usize); 6] = [
    ("start ms", "/start_ms", 0),
    ("msgs/fsync", "/messages_per_fsync", 1),
    ("store files", "/store_files", 0),
    ("store MiB", "/store_mib", 0),
    ("KiB anon/queue", "/anon_kib_per_queue", 2),
    ("idle CPU ms/s", "/idle_cpu_ms_per_second", 1),
];

type Cells = BTreeMap<(String, String), Vec<Value>>;

/// The table of a file's lines. Rows and servers are in the order of their first line.
pub fn render(text: &str, base: &str) -> Result<String, String> {
    let mut rows: Vec<String> = Vec::new();
    let mut servers: Vec<String> = Vec::new();
    let mut cells = Cells::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        let name = |key: &str| {
            let missing = || format!("line {}: no {key}", number + 1);
            value
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(missing)
        };
        let (row, server) = (name("row")?, name("system")?);
        remember(&mut rows, &row);
        remember(&mut servers, &server);
        cells.entry((row, server)).or_default().push(value);
    }
    let mut columns: Vec<(&str, &str, f64, usize)> = COLUMNS.to_vec();
    columns.extend(
        EXTRAS
            .iter()
            .map(|(heading, place, decimals)| (*heading, *place, 1.0, *decimals)),
    );
    let used: BTreeSet<&str> = columns
        .iter()
        .map(|(_, place, _, _)| *place)
        .filter(|place| {
            cells
                .values()
                .flatten()
                .any(|run| run.pointer(place).is_some())
        })
        .collect();
    columns.retain(|(_, place, _, _)| used.contains(place));
    let mut out = String::from("| row | system | runs |");
    for (heading, ..) in &columns {
        out += &format!(" {heading} |");
    }
    out += "\n| --- | --- | ---: |";
    out += &" ---: |".repeat(columns.len());
    out.push('\n');
    for row in &rows {
        let key = |server: &str| (row.clone(), server.to_owned());
        for server in &servers {
            let Some(runs) = cells.get(&key(server)) else {
                continue;
            };
            out += &format!("| {row} | {server} | {} |", runs.len());
            for (_, place, factor, decimals) in &columns {
                let base = cells.get(&key(base)).filter(|_| server != base);
                out += &cell(runs, base, place, *factor, *decimals);
            }
            out.push('\n');
        }
    }
    Ok(out)
}

fn remember(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
}

fn cell(
    runs: &[Value],
    base: Option<&Vec<Value>>,
    place: &str,
    factor: f64,
    decimals: usize,
) -> String {
    let Some(value) = median(runs, place) else {
        return " |".into();
    };
    let ratio = base
        .and_then(|runs| median(runs, place))
        .filter(|base| *base > 0.0)
        .map_or(String::new(), |base| format!(" ({:.2}x)", value / base));
    format!(" {:.decimals$}{ratio} |", value * factor)
}

fn median(runs: &[Value], place: &str) -> Option<f64> {
    let mut values: Vec<f64> = runs
        .iter()
        .filter_map(|run| run.pointer(place).and_then(Value::as_f64))
        .collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(middle.checked_sub(1)?)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        let line = |server: &str, rate: f64| {
            format!("{{\"row\":\"r\",\"system\":\"{server}\",\"messages_per_second\":{rate}}}\n")
        };
        let text: String = [
            line("java", 100.0),
            line("ours", 250.0),
            line("java", 300.0),
            line("java", 200.0),
        ]
        .concat();
        let table = render(&text, "java").unwrap();
        assert!(table.contains("| r | java | 3 | 200 |"), "{table}");
        assert!(table.contains("| r | ours | 1 | 250 (1.25x) |"), "{table}");
        assert!(render("{}", "java").is_err());
    }
}
