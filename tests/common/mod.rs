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
pub mod pair;
pub mod pop;
pub mod record;
pub mod remoting;
pub mod requests;
pub mod rng;
pub mod server;

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

/// A number from the environment, or the default.
pub fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}
