//! A shipped folder of configuration files, copied with free ports and run with `callboard cluster`.

use super::eventually;
use super::server::{Folder, Process, free_port};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the tests set beyond the ports: on a loaded machine no send is refused for its age, and none
/// gives up its slave.
const KEYS: &str = "brokerFastFailureEnable=false\nslaveTimeout=60000\n";

/// One server of the copied folder.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its file without the ending.
    pub name: String,
    pub file: PathBuf,
    pub address: SocketAddr,
    pub keys: BTreeMap<String, String>,
}

impl Server {
    pub fn key(&self, key: &str) -> &str {
        self.keys.get(key).map_or("", String::as_str)
    }

    pub fn is_namesrv(&self) -> bool {
        self.name.starts_with("namesrv")
    }

    pub fn is_slave(&self) -> bool {
        self.key("brokerRole") == "SLAVE"
    }
}

/// A process by its number and the time of its start, so that a number that was given again is not
/// taken for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Child {
    pub pid: u32,
    started: String,
}

impl Child {
    /// Whether it runs; one that ended and was not waited for does not.
    pub fn is_running(&self) -> bool {
        fields(self.pid).is_some_and(|f| f[0] != "Z" && f[19] == self.started)
    }

    /// Whether it is in the process table, dead or alive.
    pub fn is_listed(&self) -> bool {
        fields(self.pid).is_some_and(|f| f[19] == self.started)
    }

    /// What it was started with.
    pub fn command_line(&self) -> String {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }

    pub fn kill9(&self) {
        let pid = rustix::process::Pid::from_raw(self.pid as i32).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }
}

/// The fields of /proc/PID/stat from the state on.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may have blanks and parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
    (fields.len() > 19).then_some(fields)
}

/// The children of a process.
pub fn children(parent: u32) -> BTreeSet<Child> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let child = |pid: u32| {
        let fields = fields(pid)?;
        (fields[1] == parent.to_string()).then(|| Child {
            pid,
            started: fields[19].clone(),
        })
    };
    pids.filter_map(child).collect()
}

/// A folder of `config/` with other ports, and the command that runs it.
pub struct Model {
    pub servers: Vec<Server>,
    pub process: Option<Process>,
    // Dropped last: the processes are gone by then.
    dir: Folder,
}

impl Model {
    /// Copies `config/NAME` with every port replaced by a free one.
    pub fn copy(name: &str) -> Model {
        let dir = Folder::new();
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("config")
            .join(name);
        let to = dir.0.join("conf");
        std::fs::create_dir(&to).expect("folder");
        let mut texts = BTreeMap::new();
        for entry in std::fs::read_dir(&from).expect("a shipped folder") {
            let file = entry
                .expect("entry")
                .file_name()
                .into_string()
                .expect("name");
            let text = std::fs::read_to_string(from.join(&file)).expect("readable");
            texts.insert(file, text);
        }
        let old_port = |text: &str| -> u16 {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("listenPort="));
            line.and_then(|port| port.parse().ok()).expect("a port")
        };
        let ports: BTreeMap<_, _> = texts
            .values()
            .map(|text| (old_port(text), free_port()))
            .collect();
        assert_eq!(ports.len(), texts.len(), "{name}: each has its own port");
        let mut servers = Vec::new();
        for (file, mut text) in texts {
            let address = SocketAddr::from(([127, 0, 0, 1], ports[&old_port(&text)]));
            for (old, new) in &ports {
                text = text.replace(
                    &format!("listenPort={old}\n"),
                    &format!("listenPort={new}\n"),
                );
                text = text.replace(&format!("127.0.0.1:{old}"), &format!("127.0.0.1:{new}"));
            }
            if !file.starts_with("namesrv") {
                text.push_str(KEYS);
            }
            let path = to.join(&file);
            std::fs::write(&path, &text).expect("written");
            let pair = |line: &str| {
                let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
                Some((key.to_owned(), value.to_owned()))
            };
            servers.push(Server {
                name: file.rsplit_once('.').expect("an ending").0.to_owned(),
                file: path,
                address,
                keys: text.lines().filter_map(pair).collect(),
            });
        }
        Model {
            servers,
            process: None,
            dir,
        }
    }

    pub fn conf(&self) -> PathBuf {
        self.dir.0.join("conf")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    pub fn brokers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| !server.is_namesrv())
    }

    pub fn masters(&self) -> impl Iterator<Item = &Server> {
        self.brokers().filter(|server| !server.is_slave())
    }

    pub fn slaves(&self) -> impl Iterator<Item = &Server> {
        self.brokers().filter(|server| server.is_slave())
    }

    pub fn server(&self, name: &str) -> &Server {
        let found = self.servers.iter().find(|server| server.name == name);
        found.unwrap_or_else(|| panic!("no {name} in {:?}", self.servers))
    }

    pub fn store(&self, server: &Server) -> PathBuf {
        self.data().join(server.key("storePathRootDir"))
    }

    /// Sets a key of a server for the next start.
    pub fn set(&mut self, name: &str, key: &str, value: &str) {
        let file = self.server(name).file.clone();
        let mut text = std::fs::read_to_string(&file).expect("readable");
        // The last of two equal keys wins.
        text.push_str(&format!("{key}={value}\n"));
        std::fs::write(&file, text).expect("written");
        let server = self.servers.iter_mut().find(|server| server.name == name);
        let keys = &mut server.expect("known").keys;
        keys.insert(key.to_owned(), value.to_owned());
    }

    /// The one command.
    pub fn spawn(&mut self, flags: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callboard"));
        command
            .arg("cluster")
            .arg(self.conf())
            .arg("--data")
            .arg(self.data())
            .args(flags);
        self.process = Some(Process::spawn(command, self.dir.0.join("cluster.out")));
    }

    /// The one command, and what it says when all are there.
    pub fn start(&mut self, flags: &[&str]) {
        self.spawn(flags);
        self.wait_for("cluster ready");
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("started")
    }

    pub fn log_text(&mut self) -> String {
        self.process().log_text()
    }

    /// Waits until it printed a line with these words, while it runs.
    pub fn wait_for(&mut self, words: &str) {
        eventually(words, || {
            if self.log_text().contains(words) {
                return Some(());
            }
            if let Some(code) = self.process().exited() {
                panic!("ended with {code}: {}", self.log_text());
            }
            None
        });
    }

    pub fn children(&mut self) -> BTreeSet<Child> {
        children(self.process().pid())
    }

    /// The child that runs a server.
    pub fn child(&mut self, name: &str) -> Child {
        let file = self.server(name).file.display().to_string();
        let all = self.children();
        let found = all.into_iter().find(|c| c.command_line().contains(&file));
        found.unwrap_or_else(|| panic!("no child runs {name}"))
    }

    /// SIGTERM; all that were children have to be gone with it.
    pub fn stop(&mut self) -> i32 {
        let children = self.children();
        let code = self.process().stop();
        let left: Vec<_> = children.iter().filter(|child| child.is_listed()).collect();
        assert!(left.is_empty(), "{left:?} left: {}", self.log_text());
        code
    }

    /// The brokers that the NameServer knows, as mqadmin tells: name, id, port.
    pub fn known_brokers(&self) -> BTreeSet<(String, i64, String)> {
        let namesrv = self.servers.iter().find(|server| server.is_namesrv());
        let output = Command::new(env!("CARGO_BIN_EXE_mqadmin"))
            .args(["clusterList", "--json", "-n"])
            .arg(namesrv.expect("a NameServer").address.to_string())
            .output()
            .expect("mqadmin");
        let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let rows = list.as_array().cloned().unwrap_or_default();
        rows.iter()
            .map(|row| {
                let id = row["brokerId"].as_i64().unwrap_or(-1);
                let address = text(row, "addr");
                let port = address.rsplit(':').next().unwrap_or_default();
                (text(row, "brokerName"), id, port.to_owned())
            })
            .collect()
    }

    /// Waits until the NameServer knows each broker as its file has it.
    pub fn wait_registered(&self) {
        let wanted: BTreeSet<_> = self
            .brokers()
            .map(|server| {
                let id = server.key("brokerId").parse().expect("a number");
                let name = server.key("brokerName").to_owned();
                (name, id, server.address.port().to_string())
            })
            .collect();
        eventually("all brokers are registered", || {
            (self.known_brokers() == wanted).then_some(())
        });
    }
}
