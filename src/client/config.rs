//! Settings shared by everything a client does: whom to ask, how to call oneself, how often.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::client::error::ClientError;
use crate::client::remoting::RemotingConfig;
use crate::protocol::Str;

/// Environment variable with the NameServer addresses, as in RocketMQ's tools.
pub const NAMESRV_ADDR_VARIABLE: &str = "NAMESRV_ADDR";

/// Settings of one client instance (RocketMQ's ClientConfig).
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// NameServer addresses, each `host:port`.
    pub namesrv_addrs: Vec<String>,
    /// Name of this client towards brokers: `ip@instance`; unique per client in a group.
    pub client_id: String,
    /// How often routes of used topics are asked again.
    pub poll_route_interval: Duration,
    /// How often all brokers get a heartbeat.
    pub heartbeat_interval: Duration,
    /// How often consumers send their offsets to the brokers, or write them to their file.
    pub persist_offsets_interval: Duration,
    /// How often consumers compute which queues are theirs.
    pub rebalance_interval: Duration,
    /// Time allowed for requests that are neither sends nor pulls.
    pub api_timeout: Duration,
    /// Topic that gets traces of what is sent and consumed, as a rule
    /// [`TRACE_TOPIC`](crate::protocol::message::names::TRACE_TOPIC); none without it.
    pub trace_topic: Option<Str>,
    /// Limits of the connections.
    pub remoting: RemotingConfig,
}

impl ClientConfig {
    /// Defaults of RocketMQ's Java client, with these NameServers (`;` between addresses).
    pub fn new(namesrv_addrs: &str) -> Self {
        ClientConfig {
            namesrv_addrs: split_addrs(namesrv_addrs),
            client_id: new_client_id(),
            poll_route_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            persist_offsets_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
            api_timeout: Duration::from_secs(3),
            trace_topic: None,
            remoting: RemotingConfig::default(),
        }
    }

    /// As [`ClientConfig::new`], with the addresses of `NAMESRV_ADDR`.
    pub fn from_env() -> Result<Self, ClientError> {
        let addrs = std::env::var(NAMESRV_ADDR_VARIABLE).map_err(|_| ClientError::NoNameServer)?;
        let config = Self::new(&addrs);
        if config.namesrv_addrs.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        Ok(config)
    }
}

/// Splits RocketMQ's list form `host:port;host:port`.
pub fn split_addrs(addrs: &str) -> Vec<String> {
    addrs
        .split(';')
        .map(str::trim)
        .filter(|addr| !addr.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `ip@pid#n`, unique on this machine: the Java client adds a nanosecond clock for the same end.
fn new_client_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos() as u64;
    format!(
        "{}@{}#{}",
        local_ip(),
        std::process::id(),
        nanos.wrapping_add(n.into())
    )
}

/// First address of an interface that is up and not loopback (IPv4 preferred), else 127.0.0.1.
pub fn local_ip() -> IpAddr {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let outside = || {
        all.iter()
            .filter(|interface| !interface.is_loopback())
            .map(|i| i.ip())
    };
    outside()
        .find(IpAddr::is_ipv4)
        .or_else(|| outside().next())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_semicolons() {
        assert_eq!(split_addrs(" a:1; b:2 ;"), ["a:1", "b:2"]);
        assert!(split_addrs("").is_empty());
    }

    #[test]
    fn client_ids_differ() {
        assert_ne!(
            ClientConfig::new("").client_id,
            ClientConfig::new("").client_id
        );
    }
}
