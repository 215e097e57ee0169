//! RocketMQ itself as referee: the same requests, right and wrong ones, go to a RocketMQ broker and to
//! ours, and the answers are compared: code, header fields, remark, body.
//!
//! Differences that are meant are rows of "Differences found by the referee" in docs/compatibility.md; a
//! row that explains no difference is a failure, too, so that the table stays true.
//! `tests/conformance/referee.sh` starts both brokers, fresh and configured alike, and runs this.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `REFEREE_ROCKETMQ`, `REFEREE_CALLBOARD` | addresses of the brokers |
//! | `REFEREE_ONLY` | only steps whose name contains this; rows without a difference are then no failure |
//! | `REFEREE_SHOW` | prints all answers of both |

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod batches;
mod filters;
mod known;
mod pops;
mod script;
mod statics;
mod sweep;

use answers::{Side, compare};
use known::Known;
use script::Step;
use std::time::{Duration, Instant};

#[test]
fn both_answer_alike() {
    let address = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
    };
    let (Some(theirs), Some(ours)) = (address("REFEREE_ROCKETMQ"), address("REFEREE_CALLBOARD"))
    else {
        println!("REFEREE NOT RUN: see tests/conformance/referee.sh");
        return;
    };
    let only = std::env::var("REFEREE_ONLY").ok();
    let (mut theirs, mut ours) = (Side::connect(theirs), Side::connect(ours));
    let mut known = Known::read();
    let (mut steps, mut explained, mut unexplained) = (0, 0, Vec::new());
    for step in script::steps()
        .into_iter()
        .chain(filters::steps())
        .chain(batches::steps())
        .chain(pops::steps())
        .chain(statics::steps())
        .chain(sweep::steps())
    {
        // Later steps need what earlier ones made.
        if !step.makes && only.as_ref().is_some_and(|only| !step.name.contains(only)) {
            continue;
        }
        steps += 1;
        let differences = run(&step, &mut theirs, &mut ours);
        for difference in differences {
            if known.explains(&step.name, &difference) {
                explained += 1;
            } else {
                unexplained.push(format!("{}: {difference}", step.name));
            }
        }
    }
    println!("{steps} requests to each, {explained} differences that are meant");
    let useless = if only.is_some() {
        Vec::new()
    } else {
        known.unused()
    };
    assert!(
        unexplained.is_empty() && useless.is_empty(),
        "{} differences:\n{}\nrows that explain nothing:\n{}",
        unexplained.len(),
        unexplained.join("\n"),
        useless.join("\n")
    );
}

/// One request to both; a step that only looks is tried again for a while, for what was sent before may
/// still be on its way into queues and index.
fn run(step: &Step, theirs: &mut Side, ours: &mut Side) -> Vec<String> {
    std::thread::sleep(step.pause);
    let begun = Instant::now();
    loop {
        let (their, our) = (theirs.call(step), ours.call(step));
        let differences = compare(step, &their, &our);
        if differences.is_empty() || begun.elapsed() >= step.patience {
            if std::env::var_os("REFEREE_SHOW").is_some() {
                println!("{}\n  RocketMQ  {their}\n  Callboard {our}", step.name);
            }
            return differences;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
