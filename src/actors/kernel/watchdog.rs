//! Finds actors that do not move while work waits.
//!
//! A stuck handler cannot be killed; it can be seen. The watchdog is a plain thread, since an
//! arbiter may be what is stuck, and reads only cells. Readiness is red while anything is stuck.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lock;
use super::tree::Tree;

/// When an actor counts as stuck.
#[derive(Clone, Copy, Debug)]
pub struct WatchdogConfig {
    /// No progress for so long while work waits.
    pub stuck_after: Duration,
    /// How often the watchdog looks.
    pub look_every: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        WatchdogConfig {
            stuck_after: Duration::from_secs(30),
            look_every: Duration::from_secs(5),
        }
    }
}

/// The watching thread; dropping it ends the watch.
#[derive(Debug)]
pub struct Watchdog {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts to watch every actor of `tree`.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub fn start(tree: &Tree, config: WatchdogConfig) -> std::io::Result<Self> {
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let (tree, ended) = (tree.clone(), over.clone());
        let thread = std::thread::Builder::new()
            .name("watchdog".to_string())
            .spawn(move || watch(&tree, config, &ended))?;
        Ok(Watchdog {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *lock(&self.over.0) = true;
        self.over.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(tree: &Tree, config: WatchdogConfig, over: &(Mutex<bool>, Condvar)) {
    let begun = Instant::now();
    let mut ended = lock(&over.0);
    while !*ended {
        let waited = over.1.wait_timeout(ended, config.look_every);
        ended = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !*ended {
            look(tree, config.stuck_after, begun.elapsed());
        }
    }
}

/// One look over the tree, `uptime` after the watch began.
fn look(tree: &Tree, stuck_after: Duration, uptime: Duration) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut stuck = 0;
    for cell in tree.cells() {
        let before = cell.is_stuck();
        let after = cell.watch(millis(uptime), millis(stuck_after));
        stuck += usize::from(after);
        if after && !before {
            log::error!(
                "{} is stuck: no progress mailbox={} stuck_after_ms={}",
                cell.path(),
                cell.mailbox_len(),
                millis(stuck_after)
            );
        } else if before && !after {
            log::warn!("{} moves again", cell.path());
        }
    }
    tree.set_stuck_count(stuck);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::kernel::ActorState;

    #[test]
    fn readiness_follows_the_stuck() {
        let tree = Tree::new("t");
        let busy = tree.insert("t", "busy", "x");
        tree.insert("t", "idle", "x");
        busy.count_sent();
        let after = Duration::from_secs(30);
        look(&tree, after, Duration::from_secs(1));
        look(&tree, after, Duration::from_secs(30));
        assert_eq!(tree.stuck_count(), 0);
        look(&tree, after, Duration::from_secs(31));
        assert_eq!((tree.stuck_count(), busy.state()), (1, ActorState::Stuck));
        busy.begin_work();
        look(&tree, after, Duration::from_secs(32));
        assert_eq!((tree.stuck_count(), busy.state()), (0, ActorState::Running));
    }

    #[test]
    fn an_announced_block_is_excused_up_to_its_limit() {
        let tree = Tree::new("t");
        let cell = tree.insert("t", "flush", "x");
        cell.count_sent();
        let after = Duration::from_secs(30);
        look(&tree, after, Duration::from_secs(1));
        cell.blocking(Duration::from_secs(60), || {
            look(&tree, after, Duration::from_secs(40));
            look(&tree, after, Duration::from_secs(60));
            assert_eq!(tree.stuck_count(), 0);
        });
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let tree = Tree::new("t");
        drop(Watchdog::start(&tree, WatchdogConfig::default()).unwrap());
    }
}
