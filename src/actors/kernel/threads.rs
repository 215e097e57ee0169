//! Arbiters by kind of work.
//!
//! An arbiter is a thread: it isolates what blocks, not what panics. On two cores one thread
//! serves the network and one the log with everything that follows it, and blocking work has its
//! own; with more cores the network gets about half of them and the queues shards of their own.

use std::ffi::CString;
use std::io;

use actix::{Arbiter, ArbiterHandle};

/// How many threads of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Threads for connections, at least one.
    pub net: usize,
    /// Threads for the shards of queues; 0 puts them beside the log.
    pub shards: usize,
    /// Whether replication has a thread of its own, or shares the one of odd jobs.
    pub ha: bool,
}

impl ThreadPlan {
    /// The plan for a machine with so many cores.
    pub fn for_cores(cores: usize) -> Self {
        match cores {
            0..=2 => ThreadPlan {
                net: 1,
                shards: 0,
                ha: false,
            },
            3..=4 => ThreadPlan {
                net: 2,
                shards: 0,
                ha: true,
            },
            _ => ThreadPlan {
                net: cores / 2,
                shards: (cores / 4).max(1),
                ha: true,
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
    /// The commit-log writer, acks and dispatcher. Never blocks.
    Log,
    /// The nth shard of queues, modulo their number.
    Shard(usize),
    /// fsync of the commit log, and nothing else: it blocks.
    Flush,
    /// Reads of cold data, file creation and deletion: it blocks.
    Cold,
    /// Replication.
    Ha,
    /// Tables, timers, delivery, registration.
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
    ha: Option<Arbiter>,
    log: Arbiter,
    flush: Arbiter,
    cold: Arbiter,
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
            ha: if plan.ha { Some(named("ha")?) } else { None },
            log: named("log")?,
            flush: named("flush")?,
            cold: named("cold")?,
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
        let arbiter = match role {
            Role::Net(n) => self
                .net
                .get(n % self.net.len().max(1))
                .unwrap_or(&self.misc),
            Role::Shard(n) => self
                .shards
                .get(n % self.shards.len().max(1))
                .unwrap_or(&self.log),
            Role::Ha => self.ha.as_ref().unwrap_or(&self.misc),
            Role::Log => &self.log,
            Role::Flush => &self.flush,
            Role::Cold => &self.cold,
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
            misc,
            console,
            ..
        } = self;
        // Edge first: nobody is fed while those behind go.
        let single = [log, flush, cold, misc, console];
        for arbiter in net.into_iter().chain(shards).chain(ha).chain(single) {
            arbiter.stop();
            let _ = arbiter.join();
        }
    }
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
                shards: 0,
                ha: false
            }
        );
        assert_eq!(
            ThreadPlan::for_cores(16),
            ThreadPlan {
                net: 8,
                shards: 4,
                ha: true
            }
        );
    }

    #[test]
    fn every_role_has_a_thread() {
        actix::System::new().block_on(async {
            let threads = Threads::start(ThreadPlan::for_cores(1)).unwrap();
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
            assert_eq!(names, ["console", "log", "log", "misc", "net-0"]);
            threads.stop();
        });
    }
}
