//! A folder of configuration files, read as a cluster.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::ClusterError;
use crate::config::{BrokerConfig, Config, Env, NamesrvConfig};

/// What a server is in its cluster, in the order of starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Knows who is there.
    Namesrv,
    /// Takes sends.
    Master,
    /// Copies a master.
    Slave,
}

impl Role {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Namesrv => "NameServer",
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }

    /// The program that runs it.
    pub fn program(self) -> &'static str {
        match self {
            Self::Namesrv => "namesrv",
            Self::Master | Self::Slave => "broker",
        }
    }
}

/// One server of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name of its file without the ending: what its log lines begin with.
    pub name: String,
    /// Its configuration file, an absolute path.
    pub file: PathBuf,
    /// What it is.
    pub role: Role,
    /// `brokerName:brokerId`; empty for a NameServer.
    pub identity: String,
    /// Address for clients.
    pub address: String,
    /// Where its files are.
    pub store: PathBuf,
    /// Address of its debug endpoint, if it has one.
    pub debug: Option<String>,
    /// NameServers that it is told at the start, as its file names none.
    pub namesrv_addr: Option<String>,
    /// Its home directory: what its file says nothing about is kept below.
    pub home: PathBuf,
    /// How long its orderly stop may take.
    pub shutdown: Duration,
}

/// A cluster as its folder has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its servers in the order of starting.
    pub members: Vec<Member>,
    /// Where they run: relative paths of the files are below it.
    pub data: PathBuf,
    /// What is odd and does not keep it from starting.
    pub warnings: Vec<String>,
}

impl Folder {
    /// Reads every `namesrv*` and `broker*` that ends in `.properties` or `.conf`; other files are
    /// passed over.
    ///
    /// # Errors
    /// [`ClusterError::Config`] names file, line and key; [`ClusterError::Clash`] two files that
    /// cannot run beside each other; [`ClusterError::NoBroker`] a folder without a broker.
    pub fn read(dir: &Path, data: &Path, env: &Env) -> Result<Self, ClusterError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(ClusterError::io("find the folder", path))
        };
        let (dir, data) = (absolute(dir)?, absolute(data)?);
        let mut names = Vec::new();
        let entries = std::fs::read_dir(&dir).map_err(ClusterError::io("read the folder", &dir))?;
        for entry in entries {
            let entry = entry.map_err(ClusterError::io("read the folder", &dir))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        let mut members = Vec::new();
        for file in names {
            let stem = file
                .strip_suffix(".properties")
                .or_else(|| file.strip_suffix(".conf"));
            let Some(name) = stem.map(str::to_owned) else {
                continue;
            };
            let path = dir.join(&file);
            let mut env = env.clone();
            env.home = data.join(&name);
            if name.starts_with("namesrv") {
                members.push(namesrv(name, path, &data, &env)?);
            } else if name.starts_with("broker") {
                members.push(broker(name, path, &data, &env)?);
            }
        }
        if members.iter().all(|member| member.role == Role::Namesrv) {
            return Err(ClusterError::NoBroker(dir));
        }
        members.sort_by_key(|member| member.role);
        refuse_clashes(&members)?;
        let warnings = tell_namesrvs(&mut members);
        Ok(Self {
            members,
            data,
            warnings,
        })
    }
}

fn namesrv(name: String, file: PathBuf, data: &Path, env: &Env) -> Result<Member, ClusterError> {
    let config = NamesrvConfig::load(Some(&file), &[], env)?;
    let kv = data.join(&config.namesrv.kv_config_path);
    Ok(Member {
        name,
        file,
        role: Role::Namesrv,
        identity: String::new(),
        address: reachable(&config.server.bind_address, config.namesrv.listen_port),
        store: kv.parent().unwrap_or(data).to_owned(),
        debug: config.own.debug_listen_addr,
        namesrv_addr: None,
        home: env.home.clone(),
        shutdown: Duration::from_millis(config.own.shutdown_ms),
    })
}

fn broker(name: String, file: PathBuf, data: &Path, env: &Env) -> Result<Member, ClusterError> {
    let config = BrokerConfig::load(Some(&file), &[], env)?;
    let role = if config.is_master() {
        Role::Master
    } else {
        Role::Slave
    };
    let known = &config.broker;
    let namesrv_addr = config
        .settings()
        .is_set("namesrvAddr")
        .then(|| known.namesrv_addr.clone());
    Ok(Member {
        name,
        file,
        role,
        identity: format!("{}:{}", known.broker_name, known.broker_id),
        address: config.broker_addr(),
        store: data.join(&config.store.store_path_root_dir),
        debug: config.own.debug_listen_addr.clone(),
        namesrv_addr,
        home: env.home.clone(),
        shutdown: Duration::from_millis(config.own.shutdown_ms),
    })
}

/// Where something that listens on `bind` is found from this machine.
fn reachable(bind: &str, port: u16) -> String {
    match bind.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => format!("{ip}:{port}"),
        _ => format!("127.0.0.1:{port}"),
    }
}

/// What would only show as a strange failure of one of them.
fn refuse_clashes(members: &[Member]) -> Result<(), ClusterError> {
    let mut seen: BTreeMap<String, &Member> = BTreeMap::new();
    for member in members {
        let mut has = vec![
            format!("the name {}", member.name),
            format!("the address {}", member.address),
            format!("the store {}", member.store.display()),
        ];
        if !member.identity.is_empty() {
            has.push(format!("brokerName:brokerId {}", member.identity));
        }
        for what in has {
            if let Some(first) = seen.insert(what.clone(), member) {
                return Err(ClusterError::Clash {
                    one: first.file.clone(),
                    other: member.file.clone(),
                    what,
                });
            }
        }
    }
    Ok(())
}

/// Brokers whose files name no NameServer get those of the folder; of the others it is told when they
/// register where none of these is.
fn tell_namesrvs(members: &mut [Member]) -> Vec<String> {
    let is_namesrv = |member: &&Member| member.role == Role::Namesrv;
    let here: Vec<String> = members
        .iter()
        .filter(is_namesrv)
        .map(|member| member.address.clone())
        .collect();
    let port = |address: &str| address.rsplit(':').next().map(str::to_owned);
    let ports: Vec<_> = here.iter().map(|address| port(address)).collect();
    let mut warnings = Vec::new();
    for member in members.iter_mut().filter(|m| m.role != Role::Namesrv) {
        let Some(own) = member.namesrv_addr.take() else {
            member.namesrv_addr = (!here.is_empty()).then(|| here.join(";"));
            continue;
        };
        let is_here = |one: &str| ports.contains(&port(one.trim()));
        if !here.is_empty() && !own.split(';').any(is_here) {
            let name = &member.name;
            warnings.push(format!(
                "{name} registers at {own}, where no NameServer of this folder is"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::test_env;

    fn read(files: &[(&str, &str)]) -> Result<Folder, ClusterError> {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        Folder::read(dir.path(), Path::new("/data"), &test_env(dir.path()))
    }

    const SLAVE: &str = "brokerName=x\nbrokerRole=SLAVE\nbrokerId=1\nlistenPort=11011\n\
                         storePathRootDir=s\nnamesrvAddr=127.0.0.1:9876\n";

    #[test]
    fn servers_are_found_and_start_in_their_order() {
        let folder = read(&[
            ("broker-a-s.conf", SLAVE),
            ("broker-b.properties", "brokerName=x\n"),
            ("namesrv.conf", "kvConfigPath=ns/kv.json\n"),
            ("logback.xml", "no configuration"),
            ("plain_acl.conf", "nor this"),
        ])
        .expect("a cluster");
        let of =
            |of: fn(&Member) -> String| -> Vec<String> { folder.members.iter().map(of).collect() };
        assert_eq!(
            of(|m| format!("{} {} {}", m.name, m.role.word(), m.identity)),
            [
                "namesrv NameServer ",
                "broker-b master x:0",
                "broker-a-s slave x:1"
            ]
        );
        // What a file does not say lies below the folder of its name.
        assert_eq!(
            of(|m| m.store.display().to_string()),
            ["/data/ns", "/data/broker-b/store", "/data/s"]
        );
        // And who names no NameServer is told those of the folder.
        let told = |m: &Member| m.namesrv_addr.clone().unwrap_or_default();
        assert_eq!(of(told), ["", "127.0.0.1:9876", ""]);
        assert!(folder.warnings.is_empty(), "{:?}", folder.warnings);
    }

    #[test]
    fn what_cannot_run_together_is_refused_by_name() {
        let cases = [
            (
                "brokerName=y\nlistenPort=11011\n",
                "the address 192.0.2.2:11011",
            ),
            (
                "brokerName=y\nlistenPort=11021\nstorePathRootDir=s\n",
                "the store /data/s",
            ),
            ("brokerName=x\nbrokerId=0\n", "brokerName:brokerId x:0"),
        ];
        for (other, what) in cases {
            let master = "brokerName=x\nlistenPort=12011\nstorePathRootDir=m\n";
            let files = [
                ("broker-a.conf", master),
                ("broker-s.conf", SLAVE),
                ("broker-z.conf", other),
            ];
            let error = read(&files).expect_err("a clash").to_string();
            assert!(error.contains(what), "{error}");
            assert!(error.contains("broker-z.conf"), "{error}");
        }
        let error = read(&[("namesrv.conf", "")]).expect_err("no broker");
        assert!(matches!(error, ClusterError::NoBroker(_)), "{error}");
        let error = read(&[("broker.conf", "brokerRole=BOSS\n")]).expect_err("bad value");
        assert!(error.to_string().contains("broker.conf:1: brokerRole=BOSS"));
    }

    #[test]
    fn a_broker_that_registers_elsewhere_is_told_of() {
        let folder = read(&[
            ("broker.conf", "namesrvAddr=192.0.2.9:1;192.0.2.9:2\n"),
            ("namesrv.conf", ""),
        ]);
        let warnings = folder.expect("a cluster").warnings;
        assert!(matches!(&warnings[..], [one] if one.starts_with("broker registers at")));
        let folder = read(&[
            ("broker.conf", "namesrvAddr=192.0.2.9:1;localhost:9876\n"),
            ("namesrv.conf", ""),
        ]);
        assert!(folder.expect("a cluster").warnings.is_empty());
    }
}
