//! Configuration: RocketMQ's properties files with its keys and defaults.
//!
//! A file moves over unchanged. All keys share one flat name space, as in RocketMQ where several
//! config objects are filled from one file: [`broker`] holds the keys of the broker, [`store`]
//! those of its store, [`server`] those of the listening side, [`own`] the keys that only
//! Callboard has, [`namesrv`] the keys of the NameServer, and [`kept`] the keys that are known,
//! checked and shown, and on which nothing depends here.
//!
//! A bad value is an error that names file, line and key. An unknown key is a warning with the
//! nearest known key, and is kept. [`Live`] is a configuration that admin requests change.

use std::net::IpAddr;
use std::path::PathBuf;

use thiserror::Error;

pub mod broker;
pub mod broker_keys;
pub mod kept;
pub mod key;
mod live;
pub mod namesrv;
pub mod own;
mod properties;
mod reference;
pub mod server;
mod settings;
pub mod store;

pub use broker::BrokerConfig;
pub use broker_keys::BrokerSection;
pub use live::{Config, Derived, Live, Updated};
pub use namesrv::{NamesrvConfig, NamesrvSection};
pub use own::{OwnBrokerSection, OwnNamesrvSection, OwnSection};
pub use properties::{Entry, PROPERTIES_LEN_MAX, edit, parse};
pub use server::ServerSection;
pub use settings::{Origin, Settings};
pub use store::{BrokerRole, FlushDiskType, StoreSection};

/// Why a configuration was not accepted.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("{file}: cannot be written: {source}")]
    Write {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is longer than [`PROPERTIES_LEN_MAX`].
    #[error("{file}: {len} bytes are too many for a configuration")]
    TooLong {
        /// The text's source.
        file: String,
        /// Its length in bytes.
        len: usize,
    },
    /// The text is not in properties form.
    #[error("{file}:{line}: {what}")]
    Syntax {
        /// The text's source.
        file: String,
        /// Line from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A value does not fit its key.
    #[error("{file}:{line}: {key}={value}: {why}")]
    BadValue {
        /// The text's source.
        file: String,
        /// Line from 1, or 0 when the value is from no file.
        line: usize,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What is wanted.
        why: String,
    },
    /// An update names a key that may not be changed from afar (RocketMQ's `configBlackList`).
    #[error("Can not update config in black list.")]
    BlackListed {
        /// The key.
        key: String,
    },
}

/// What configuration takes from the machine, so that tests can give their own.
#[derive(Debug, Clone)]
pub struct Env {
    /// Home directory of the user: the default store is `store` below it.
    pub home: PathBuf,
    /// Host name, the default broker name.
    pub host_name: Option<String>,
    /// First address that is not loopback.
    pub address: IpAddr,
    /// `NAMESRV_ADDR`.
    pub namesrv_addr: Option<String>,
    /// `ROCKETMQ_HOME`.
    pub rocketmq_home: Option<String>,
    /// Processors.
    pub cores: usize,
}

impl Env {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Self {
            home: std::env::home_dir().unwrap_or_else(|| PathBuf::from(".")),
            host_name: Some(host).filter(|name| !name.is_empty()),
            address: first_address(),
            namesrv_addr: std::env::var("NAMESRV_ADDR")
                .ok()
                .filter(|addr| !addr.is_empty()),
            rocketmq_home: std::env::var("ROCKETMQ_HOME")
                .ok()
                .filter(|dir| !dir.is_empty()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// First address of this host that others can reach: IPv4 before IPv6, link-local last of all,
/// 127.0.0.1 when there is none (RocketMQ's `NetworkUtil.getLocalAddress` prefers IPv4 as well).
fn first_address() -> IpAddr {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let candidates = interfaces
        .iter()
        .filter(|one| !one.is_loopback())
        .map(|one| one.ip());
    let rank = |address: &IpAddr| match address {
        IpAddr::V4(four) if four.is_link_local() => 2,
        IpAddr::V4(_) => 0,
        IpAddr::V6(six) if six.is_unicast_link_local() => 3,
        IpAddr::V6(_) => 1,
    };
    candidates
        .min_by_key(rank)
        .unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

#[cfg(test)]
pub(crate) fn test_env(home: &std::path::Path) -> Env {
    Env {
        home: home.to_owned(),
        host_name: Some("host-a".to_owned()),
        address: IpAddr::from([192, 0, 2, 2]),
        namesrv_addr: None,
        rocketmq_home: None,
        cores: 2,
    }
}
