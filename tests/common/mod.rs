//! What the tests of whole processes share: real servers in temporary folders, a raw client that
//! knows nothing of the library under test, numbered load, and the check of a broker's content.
//!
//! Environment:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `CALLBOARD_SEED` | replays the random choices of a run (each test prints its seed) |
//! | `CALLBOARD_ROUNDS` | rounds of the kill tests; 1 without it |
//! | `CALLBOARD_PRELOAD_MB` | stored before the first kill |
//! | `CALLBOARD_TEST_BROKER=java` | the kit's Java servers instead of ours (`KIT`): what the tests are checked with |
//! | `CALLBOARD_TEST_KEEP` | keep the temporary folders |

#![allow(dead_code)] // each test binary uses its own part

pub mod check;
pub mod cluster;
pub mod console;
pub mod load;
pub mod many;
pub mod ours;
pub mod pair;
pub mod pop;
pub mod record;
pub mod remoting;
pub mod requests;
pub mod rng;
pub mod server;
pub mod static_topic;

use std::process::Command;
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it stuck: a bound on hanging, not on speed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `probe` gives something; panics with `what` when patience ends.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As [`eventually`], for what is asked of our own client.
pub async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !probe().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a test of tasks on this thread.
pub fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(test);
}

/// What our mqadmin prints for a line of arguments; panics when it fails.
pub fn mqadmin(namesrv: &str, line: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mqadmin"))
        .args(line.split(' '))
        .args(["-n", namesrv])
        .output()
        .expect("mqadmin");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "mqadmin {line}: {text} {output:?}");
    text
}

/// A number from the environment, or the default.
pub fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}
