//! Arbiters by kind of work.
//!
//! An arbiter is a thread: it isolates what blocks, not what panics. On one or two cores a single
//! thread serves the network, the log and everything that follows it, for a hop between two
//! sleeping threads costs more there than all the work on a message (docs/benchmarks.md), and work
//! that waits for the disk has threads of its own. With more cores the log has its own thread, the
//! network about half of the cores, and the queues shards.

use std::ffi::CString;
use std::io;

use actix::{Arbiter, ArbiterHandle};

/// How many threads of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Threads for connections, at least one.
    pub net: usize,
    /// Whether the log has a thread of its own, or shares the first one of the network.
    pub log: bool,
    /// Threads for the shards of queues; 0 puts them beside the log.
    pub shards: usize,
}

impl ThreadPlan {
    /// The plan for a machine with so many cores.
    pub fn for_cores(cores: usize) -> Self {
        match cores {
            0..=2 => ThreadPlan {
                net: 1,
                log: false,
                shards: 0,
            },
            3..=4 => ThreadPlan {
                net: 2,
                log: true,
                shards: 0,
            },
            _ => ThreadPlan {
                net: cores / 2,
                log: true,
                shards: (cores / 4).max(1),
            },
        }
    }

    /// The plan for this machine.
    pub fn for_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        ThreadPlan::for_cores(cores)
    }
}

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The nth network thread, modulo their number.
    Net(usize),
    /// The commit-log writer, acks and dispatcher, and a slave's follower; with few cores and double write
    /// what sends the log's end to slaves, too. Never waits for the disk (but when a follower begins: it
    /// compares the log's last 64 KiB).
    Log,
    /// The nth shard of queues, modulo their number.
    Shard(usize),
    /// fsync of the commit log, and nothing else: it blocks.
    Flush,
    /// Reads of cold data, file creation and deletion: it blocks, and stands back behind the others.
    Cold,
    /// What sends the log to slaves: reads what one lacks from the disk, so it may block.
    Ha,
    /// The timer wheel: reads messages that may be cold and writes its files, so it may block.
    Timer,
    /// Compaction topics: copies, compacts and reads their messages, so it blocks.
    Compaction,
    /// Tables, delay levels, registration.
    Misc,
    /// The debug endpoint.
    Console,
}

/// The arbiters of a process.
#[derive(Debug)]
pub struct Threads {
    plan: ThreadPlan,
    net: Vec<Arbiter>,
    shards: Vec<Arbiter>,
    ha: Arbiter,
    log: Option<Arbiter>,
    flush: Arbiter,
    cold: Arbiter,
    timer: Arbiter,
    compaction: Arbiter,
    misc: Arbiter,
    console: Arbiter,
}

impl Threads {
    /// Starts the threads. Runs inside an actix system.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(plan: ThreadPlan) -> io::Result<Threads> {
        let plan = ThreadPlan {
            net: plan.net.max(1),
            ..plan
        };
        let many = |name: &str, count: usize| -> io::Result<Vec<Arbiter>> {
            (0..count).map(|n| named(&format!("{name}-{n}"))).collect()
        };
        Ok(Threads {
            plan,
            net: many("net", plan.net)?,
            shards: many("shard", plan.shards)?,
            ha: named("ha")?,
            log: if plan.log { Some(named("log")?) } else { None },
            flush: named("flush")?,
            cold: yielding(named("cold")?),
            timer: named("timer")?,
            compaction: named("compaction")?,
            misc: named("misc")?,
            console: named("console")?,
        })
    }

    /// The plan in force.
    pub fn plan(&self) -> ThreadPlan {
        self.plan
    }

    /// The arbiter for a kind of work.
    pub fn get(&self, role: Role) -> ArbiterHandle {
        let net = |n: usize| self.net.get(n % self.net.len().max(1));
        let log = self.log.as_ref().or(net(0)).unwrap_or(&self.misc);
        let arbiter = match role {
            Role::Net(n) => net(n).unwrap_or(&self.misc),
            Role::Shard(n) => self.shards.get(n % self.shards.len().max(1)).unwrap_or(log),
            Role::Ha => &self.ha,
            Role::Log => log,
            Role::Flush => &self.flush,
            Role::Cold => &self.cold,
            Role::Timer => &self.timer,
            Role::Compaction => &self.compaction,
            Role::Misc => &self.misc,
            Role::Console => &self.console,
        };
        arbiter.handle()
    }

    /// Every network arbiter.
    pub fn net(&self) -> Vec<ArbiterHandle> {
        self.net.iter().map(Arbiter::handle).collect()
    }

    /// How many shards of queues there are: at least one.
    pub fn shard_count(&self) -> usize {
        self.shards.len().max(1)
    }

    /// Stops every thread and waits for them. Only after the actors answered
    /// [`super::Shutdown`]: what is in their mailboxes is lost.
    pub fn stop(self) {
        let Threads {
            net,
            shards,
            ha,
            log,
            flush,
            cold,
            timer,
            compaction,
            misc,
            console,
            ..
        } = self;
        // Edge first: nobody is fed while those behind go.
        let single = [ha, flush, cold, timer, compaction, misc, console];
        for arbiter in net.into_iter().chain(shards).chain(log).chain(single) {
            arbiter.stop();
            let _ = arbiter.join();
        }
    }
}

/// How far the thread for cold data stands back where processors are short (`nice(2)`, of 19).
const COLD_NICE: i32 = 19;

/// Lets the others of the process go first: whoever reads old messages as fast as the disk gives them
/// would keep those from a processor who wait for what was sent just now.
fn yielding(arbiter: Arbiter) -> Arbiter {
    arbiter.spawn_fn(|| {
        // Of the calling thread, on Linux. Where it is refused, the thread is one like the others.
        if let Err(error) = rustix::process::nice(COLD_NICE) {
            log::warn!("the thread for cold data keeps its priority: {error}");
        }
    });
    arbiter
}

/// An arbiter whose thread shows `name` in ps and top.
fn named(name: &str) -> io::Result<Arbiter> {
    let arbiter = Arbiter::try_new()?;
    if let Ok(name) = CString::new(name) {
        arbiter.spawn_fn(move || {
            let _ = rustix::thread::set_name(&name);
        });
    }
    Ok(arbiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_follows_the_cores() {
        assert_eq!(
            ThreadPlan::for_cores(2),
            ThreadPlan {
                net: 1,
                log: false,
                shards: 0,
            }
        );
        assert_eq!(
            ThreadPlan::for_cores(16),
            ThreadPlan {
                net: 8,
                log: true,
                shards: 4,
            }
        );
    }

    #[test]
    fn only_the_thread_for_cold_data_stands_back() {
        actix::System::new().block_on(async {
            let threads = Threads::start(ThreadPlan::for_cores(16)).expect("started");
            for (role, nice) in [(Role::Cold, COLD_NICE), (Role::Log, 0), (Role::Net(0), 0)] {
                let (tell, told) = std::sync::mpsc::channel();
                threads.get(role).spawn_fn(move || {
                    let _ = tell.send(rustix::process::getpriority_process(None));
                });
                let own = told.recv().expect("runs").expect("known");
                assert_eq!(own, nice, "{role:?}");
            }
            threads.stop();
        });
    }

    #[test]
    fn every_role_has_a_thread() {
        actix::System::new().block_on(async {
            let plan = ThreadPlan {
                log: true,
                ..ThreadPlan::for_cores(1)
            };
            let threads = Threads::start(plan).unwrap();
            let (sender, receiver) = std::sync::mpsc::channel();
            for role in [
                Role::Net(3),
                Role::Shard(2),
                Role::Log,
                Role::Ha,
                Role::Console,
            ] {
                let sender = sender.clone();
                threads.get(role).spawn_fn(move || {
                    let name = rustix::thread::name().unwrap_or_default();
                    sender.send(name.to_string_lossy().into_owned()).unwrap();
                });
            }
            let mut names: Vec<String> = (0..5).map(|_| receiver.recv().unwrap()).collect();
            names.sort();
            assert_eq!(names, ["console", "ha", "log", "log", "net-0"]);
            threads.stop();
        });
    }
}
