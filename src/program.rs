//! What the programs in `bin/` have in common: logging, signals, limits.

use std::process::ExitCode;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::actors::kernel::Tree;

/// Logs to standard error at `info`, unless RUST_LOG says otherwise.
pub fn init_logging() {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
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

/// Hears of what ends a program: a signal, or an actor that gave up.
#[derive(Debug)]
pub struct End {
    gave_up: mpsc::UnboundedSender<String>,
    given_up: mpsc::UnboundedReceiver<String>,
}

impl End {
    /// Listens to a tree; to be called before its actors start.
    pub fn of(tree: &Tree) -> Self {
        let (gave_up, given_up) = mpsc::unbounded_channel();
        let end = Self { gave_up, given_up };
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

    /// Waits for the end. An actor that gave up makes the exit code non-zero: the store is made to
    /// be recovered at a start.
    pub async fn wait(mut self) -> ExitCode {
        let (Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            log::error!("signals cannot be received");
            return ExitCode::FAILURE;
        };
        tokio::select! {
            _ = terminate.recv() => ExitCode::SUCCESS,
            _ = interrupt.recv() => ExitCode::SUCCESS,
            path = self.given_up.recv() => {
                log::error!("an actor gave up path={}", path.unwrap_or_default());
                ExitCode::FAILURE
            }
        }
    }
}
