//! What the programs in `bin/` have in common: logging, signals, limits.

use std::{io, process::ExitCode};

use rustix::process::{getppid, set_parent_process_death_signal};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::actors::kernel::Tree;

/// Logs to standard error at `info`, unless RUST_LOG says otherwise.
pub fn init_logging() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
}

/// The exit code that a shell tells of a program that SIGPIPE ended.
const ENDED_BY_PIPE: i32 = 128 + 13;

/// Ends a tool without a word when nobody reads on what it prints, as `mqadmin topicList | head` does.
/// Rust ignores SIGPIPE, and printing panics instead.
pub fn end_with_reader() {
    let closed = io::Error::from(rustix::io::Errno::PIPE);
    let of_printing = format!("failed printing to stdout: {closed}");
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() == Some(&of_printing) {
            std::process::exit(ENDED_BY_PIPE);
        }
        others(panic);
    }));
}

/// One connection is one file: the soft limit of open files goes up to the hard one.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        log::warn!("the limit of open files cannot be raised");
    }
}

/// Variable with the process id of a parent without which a program is not to live on.
pub const PARENT_VARIABLE: &str = "CALLBOARD_PARENT";

/// Has the kernel send SIGTERM to this program when its parent ends, however that ends, if the parent
/// asked for it with [`PARENT_VARIABLE`]. `Err` when it has ended already.
pub fn end_with_parent() -> Result<(), String> {
    let Ok(parent) = std::env::var(PARENT_VARIABLE) else {
        return Ok(());
    };
    set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| format!("cannot follow the parent's end: {error}"))?;
    // Between its start and the line above a program would not be told.
    let now = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if now.as_ref() == Some(&parent) {
        Ok(())
    } else {
        Err(format!("the parent {parent} has ended"))
    }
}

/// SIGTERM and SIGINT: what stops a program.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// From now on these signals are taken, and end the program no more by themselves.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Comes back with the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Hears of what ends a program: a signal, or an actor that gave up.
#[derive(Debug)]
pub struct End {
    gave_up: mpsc::UnboundedSender<String>,
    given_up: mpsc::UnboundedReceiver<String>,
    signals: Option<StopSignals>,
}

impl End {
    /// Listens to a tree; to be called before its actors start.
    pub fn of(tree: &Tree) -> Self {
        let (gave_up, given_up) = mpsc::unbounded_channel();
        let end = Self {
            gave_up,
            given_up,
            signals: None,
        };
        end.also(tree);
        end
    }

    /// Listens to another tree as well.
    pub fn also(&self, tree: &Tree) {
        let gave_up = self.gave_up.clone();
        tree.on_gave_up(move |child| {
            // The program may be ending already.
            let _ = gave_up.send(child.path.to_string());
        });
    }

    /// Takes signals from now on: to be called before a program says that it is ready, for whoever
    /// reads that may stop it at once, and in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&mut self) -> io::Result<()> {
        self.signals = Some(StopSignals::listen()?);
        Ok(())
    }

    /// Waits for the end. An actor that gave up makes the exit code non-zero: the store is made to
    /// be recovered at a start.
    pub async fn wait(mut self) -> ExitCode {
        let signals = self.signals.take().map_or_else(StopSignals::listen, Ok);
        let Ok(mut signals) = signals else {
            log::error!("signals cannot be received");
            return ExitCode::FAILURE;
        };
        tokio::select! {
            () = signals.next() => ExitCode::SUCCESS,
            path = self.given_up.recv() => {
                log::error!("an actor gave up path={}", path.unwrap_or_default());
                ExitCode::FAILURE
            }
        }
    }
}
