//! A cluster under real failures: hosts that are cut off, slowed, paused, killed and filled up, and
//! histories of what its clients saw, checked in the manner of Jepsen's log tests.
//!
//! Each host is a network namespace of its own, joined to the others and to the test by a bridge.
//! Where those cannot be made (it takes root, `ip`, `tc` and `nsenter`) all run on loopback; then
//! `NETWORK NAMESPACES NOT AVAILABLE: links are not cut` is said, and hosts are only paused and
//! killed. Where libfaketime is installed their clocks go wrong, too; else `NO CLOCKS OF THEIR OWN` is
//! said.
//!
//! Environment, beside that of `tests/common`:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `CALLBOARD_SEED` | replays the schedule of faults, which follows from seed and seconds alone |
//! | `CALLBOARD_ROUNDS` | how often a master is lost in each double-write test; 1 without it |
//! | `CALLBOARD_CLUSTER_SECONDS` | how long the schedule of faults goes on; 12 without it |
//! | `CALLBOARD_CLUSTER_LOOPBACK` | no namespaces although they could be made |
//! | `LIBFAKETIME` | the library, where it is in no usual place |

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod checker_tests;
mod clients;
mod clocks;
mod double_write;
mod faults;
mod faulty;
mod history;
mod hosts;
mod hosts_tests;
mod leftovers;
mod nodes;
