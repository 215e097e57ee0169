//! Clusters on one machine: a folder of configuration files becomes running servers with one command.
//!
//! [`Layout`] writes such a folder, [`Folder`] reads one and says what is wrong with it, and
//! [`Run`] starts its servers as child processes: NameServers, then masters, then slaves. Nothing here
//! takes part in the cluster: whoever starts the same files by hand on several machines has the same.

mod child;
mod folder;
mod layout;
mod run;

use std::path::PathBuf;

use thiserror::Error;

use crate::config::ConfigError;

pub use folder::{Folder, Member, Role};
pub use layout::Layout;
pub use run::Run;

/// Why a cluster was not started, or its folder not written.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A file or folder cannot be read, written or started.
    #[error("{}: cannot {what}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no runtime to wait for servers with.
    #[error("cannot wait for events: {0}")]
    Runtime(std::io::Error),
    /// A configuration file is not accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The folder has no broker.
    #[error("{}: no broker*.properties or broker*.conf is there", .0.display())]
    NoBroker(PathBuf),
    /// Two files want the same.
    #[error("{} and {}: both have {what}", one.display(), other.display())]
    Clash {
        /// The file that was read first.
        one: PathBuf,
        /// The other.
        other: PathBuf,
        /// What both have.
        what: String,
    },
    /// A layout that cannot be.
    #[error("{0}")]
    Layout(String),
    /// A server ended instead of becoming ready, or did not become ready in time.
    #[error("{name} did not start: {program} -c {} {why}; its last output:\n{output}", file.display())]
    NotReady {
        /// Its name.
        name: String,
        /// Its program.
        program: &'static str,
        /// Its configuration.
        file: PathBuf,
        /// What became of it.
        why: String,
        /// The last lines that it wrote.
        output: String,
    },
}

impl ClusterError {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// Writes a line for people; that nobody reads any more is no reason to end.
fn tell(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}
