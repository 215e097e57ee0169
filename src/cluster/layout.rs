//! The configuration files of a cluster of so many masters and slaves.

use std::{
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;

use super::ClusterError;

/// Port of the first NameServer.
const NAMESRV_PORT: u16 = 9876;

/// Port of the first broker.
const BROKER_PORT: u16 = 10911;

/// From one server's port to the next one's: each has its further ports within three of its own.
const PORT_STEP: u16 = 10;

/// NameServers there may be, so that their ports end below the brokers'.
const NAMESRVS_MAX: u16 = (BROKER_PORT - NAMESRV_PORT) / PORT_STEP - 1;

/// Brokers there may be, so that there are ports for all.
const BROKERS_MAX: u16 = (u16::MAX - BROKER_PORT) / PORT_STEP;

/// What stands for a server's number in an address.
const NUMBER: &str = "{i}";

/// So many masters and slaves, and how they work together.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Layout {
    /// Masters.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub masters: u16,
    /// Slaves of each master.
    #[arg(long, default_value_t = 0)]
    pub slaves: u16,
    /// Sends wait until a slave has the message.
    #[arg(long)]
    pub sync: bool,
    /// Sends wait until the message is on disk.
    #[arg(long)]
    pub sync_flush: bool,
    /// NameServers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub namesrvs: u16,
    /// IP address of every server; `{i}` in it stands for the server's number, NameServers first.
    #[arg(long, default_value = "127.0.0.1", value_name = "PATTERN")]
    pub host_pattern: String,
    /// Name of the cluster.
    #[arg(long, default_value = "DefaultCluster", value_name = "NAME")]
    pub cluster_name: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            masters: 1,
            slaves: 0,
            sync: false,
            sync_flush: false,
            namesrvs: 1,
            host_pattern: "127.0.0.1".to_owned(),
            cluster_name: "DefaultCluster".to_owned(),
        }
    }
}

/// One broker of a layout.
struct BrokerFile {
    master: String,
    /// Its number among the slaves, from 1; 0 is the master.
    id: u16,
    /// `broker-a`, `broker-a-s` or `broker-a-s2`.
    name: String,
    port: u16,
    host: String,
}

impl Layout {
    /// Name and content of every file.
    ///
    /// # Errors
    /// [`ClusterError::Layout`] says what cannot be.
    pub fn files(&self) -> Result<Vec<(String, String)>, ClusterError> {
        self.check()?;
        let mut files = Vec::new();
        let mut addresses = Vec::new();
        let mut number = 0;
        for index in 0..self.namesrvs {
            number += 1;
            let port = NAMESRV_PORT + index * PORT_STEP;
            addresses.push(format!("{}:{port}", self.host(number)?));
            let name = match self.namesrvs {
                1 => "namesrv".to_owned(),
                _ => format!("namesrv-{}", index + 1),
            };
            files.push((format!("{name}.properties"), namesrv_text(&name, port)));
        }
        let addresses = addresses.join(";");
        // All masters first: their ports stay what they are when slaves are added.
        let mut port = BROKER_PORT;
        for id in 0..=self.slaves {
            for index in 0..self.masters {
                number += 1;
                let master = format!("broker-{}", letters(index));
                let broker = BrokerFile {
                    name: match (id, self.slaves) {
                        (0, _) => master.clone(),
                        (_, 1) => format!("{master}-s"),
                        _ => format!("{master}-s{id}"),
                    },
                    master,
                    id,
                    port,
                    host: self.host(number)?,
                };
                port += PORT_STEP;
                let text = self.broker_text(&broker, &addresses);
                files.push((format!("{}.properties", broker.name), text));
            }
        }
        Ok(files)
    }

    /// Writes the files into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// As [`Layout::files`]; [`ClusterError::Io`] also when one of the files is there already.
    pub fn write(&self, dir: &Path) -> Result<Vec<PathBuf>, ClusterError> {
        let files = self.files()?;
        std::fs::create_dir_all(dir).map_err(ClusterError::io("make the folder", dir))?;
        let mut written = Vec::new();
        for (name, text) in files {
            let path = dir.join(name);
            let file = std::fs::File::create_new(&path);
            let done =
                file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
            done.map_err(ClusterError::io("write", &path))?;
            written.push(path);
        }
        Ok(written)
    }

    fn check(&self) -> Result<(), ClusterError> {
        let wrong = |what: String| Err(ClusterError::Layout(what));
        if self.sync && self.slaves == 0 {
            return wrong("--sync needs slaves: without one no send would ever be answered".into());
        }
        if self.masters == 0 || self.namesrvs == 0 {
            return wrong("at least one master and one NameServer are wanted".into());
        }
        if self.namesrvs > NAMESRVS_MAX {
            return wrong(format!("at most {NAMESRVS_MAX} NameServers have ports"));
        }
        let brokers = u32::from(self.masters) * (u32::from(self.slaves) + 1);
        if brokers > u32::from(BROKERS_MAX) {
            return wrong(format!("at most {BROKERS_MAX} brokers have ports"));
        }
        if self.cluster_name.is_empty() || !self.cluster_name.chars().all(is_plain) {
            return wrong(format!(
                "a cluster's name has letters, digits, - and _ only: {}",
                self.cluster_name
            ));
        }
        Ok(())
    }

    fn host(&self, number: u32) -> Result<String, ClusterError> {
        let host = self.host_pattern.replace(NUMBER, &number.to_string());
        match host.parse::<IpAddr>() {
            Ok(_) => Ok(host),
            Err(_) => Err(ClusterError::Layout(format!(
                "--host-pattern gives {host}, which is not an IP address"
            ))),
        }
    }

    /// What the cluster of these files promises.
    fn head(&self) -> String {
        let many = self.masters > 1;
        let masters = match self.masters {
            1 => "One master".to_owned(),
            2 => "Two masters".to_owned(),
            3 => "Three masters".to_owned(),
            many => format!("{many} masters"),
        };
        let each = if many { " each" } else { "" };
        let slaves = match self.slaves {
            0 => {
                return format!(
                    "# {masters} without slaves: a lost machine takes its messages along until it is \
                     back.\n"
                );
            }
            1 => format!("a slave{each}"),
            2 => format!("two slaves{each}"),
            more => format!("{more} slaves{each}"),
        };
        let waits = match (self.sync, self.slaves) {
            (false, _) => "Sends do not wait for slaves: a lost master may lose its last messages.",
            (true, 1) => "Sends wait for the slave: no answered message is lost with a machine.",
            (true, _) => "Sends wait for one slave: no answered message is lost with a machine.",
        };
        format!("# {masters} with {slaves}. {waits}\n")
    }

    fn broker_text(&self, broker: &BrokerFile, namesrvs: &str) -> String {
        let BrokerFile {
            master,
            id,
            name,
            port,
            host,
        } = broker;
        let mut text = match (id, self.slaves) {
            (0, _) => self.head() + "# Ports differ, so that all of them can run on one machine.\n",
            (_, 1) => format!("# The slave of {master}.\n"),
            (id, _) => format!("# Slave {id} of {master}.\n"),
        };
        let mut key = |comment: &str, key: &str, value: &str| {
            text.push('\n');
            for line in comment.lines() {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "{key}={value}");
        };
        key(
            "Cluster of this broker.",
            "brokerClusterName",
            &self.cluster_name,
        );
        key("Shared by a master and its slaves.", "brokerName", master);
        key(
            "0 is the master, higher numbers are slaves.",
            "brokerId",
            &id.to_string(),
        );
        key(
            "NameServers, host:port separated by \";\".",
            "namesrvAddr",
            namesrvs,
        );
        key("IP address that clients are told.", "brokerIP1", host);
        key("IP address that slaves are told.", "brokerIP2", host);
        key(
            "For clients. The fast port is two below, replication one above, the debug endpoint two above.",
            "listenPort",
            &port.to_string(),
        );
        let store = name.replacen("broker", "store", 1);
        key(
            "Root of the store; relative to where the broker is started.",
            "storePathRootDir",
            &store,
        );
        key("Hour of the day in which old files go.", "deleteWhen", "04");
        key("Hours that files are kept.", "fileReservedTime", "48");
        let (comment, role) = match (id, self.sync) {
            (0, false) => ("Sends do not wait for slaves.", "ASYNC_MASTER"),
            (0, true) => ("Sends wait for slaves.", "SYNC_MASTER"),
            _ => ("Copies the master of the same name.", "SLAVE"),
        };
        key(comment, "brokerRole", role);
        if self.sync_flush {
            key(
                "Sends wait for the disk (ASYNC_FLUSH: they do not).",
                "flushDiskType",
                "SYNC_FLUSH",
            );
        } else {
            key(
                "Sends do not wait for the disk (SYNC_FLUSH: they do).",
                "flushDiskType",
                "ASYNC_FLUSH",
            );
        }
        if self.sync && *id == 0 {
            key(
                "Replicas, the master counted, that must have a message before its send is answered and consumers\n\
                 see it. RocketMQ's default of 1 would make SYNC_MASTER wait for nobody.",
                "inSyncReplicas",
                "2",
            );
        }
        match (self.slaves, id) {
            (0, _) => {}
            (_, 0) => key(
                "Consumers that read far behind, and so from the disk, are sent to a slave.",
                "slaveReadEnable",
                "true",
            ),
            _ => key(
                "Serves reads: to consumers far behind, and to all while the master is away.",
                "slaveReadEnable",
                "true",
            ),
        }
        text
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn namesrv_text(name: &str, port: u16) -> String {
    format!(
        "# A NameServer of the brokers beside it.\n\n\
         # For brokers and clients. The debug endpoint is one above.\n\
         listenPort={port}\n\n\
         # Key-value store; the snapshot of the routes lies beside it. Relative to where it is started.\n\
         kvConfigPath={name}/kvConfig.json\n"
    )
}

/// a, b, ..., z, aa, ab, ...
fn letters(index: u16) -> String {
    let mut out = Vec::new();
    let mut rest = u32::from(index) + 1;
    while rest > 0 {
        rest -= 1;
        out.insert(0, b'a' + (rest % 26) as u8);
        rest /= 26;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
