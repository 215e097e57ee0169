//! NameServer and broker as real processes: started in a temporary folder on free ports, waited
//! for, paused, killed, restarted and stopped. Every process is killed when its handle is dropped.

use super::{PATIENCE, console, eventually};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// True when the tests run against the kit's Java servers (to check the tests themselves).
pub fn is_java() -> bool {
    std::env::var("CALLBOARD_TEST_BROKER").is_ok_and(|sut| sut == "java")
}

/// A port with its four neighbours free (fast, HA and debug ports live there), below the kernel's
/// ephemeral range so that no outgoing connection takes it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id();
        let port = 10_005 + (step.wrapping_mul(2_654_435_761) >> 8) % 2_200 * 10;
        let port = u16::try_from(port).expect("below 32768");
        let free = |p: u16| TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, p)).is_ok();
        if (port - 2..=port + 2).all(free) {
            return port;
        }
    }
}

/// Where a server runs.
#[derive(Clone, Debug)]
pub struct Place {
    pub ip: Ipv4Addr,
    /// What is put before its command so that it runs there; it must `exec` the command.
    pub enter: Vec<String>,
}

impl Place {
    /// This machine, on its loopback interface.
    pub fn here() -> Place {
        Place {
            ip: Ipv4Addr::LOCALHOST,
            enter: Vec::new(),
        }
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip, port))
    }

    fn enter(&self, inner: Command) -> Command {
        let Some((first, rest)) = self.enter.split_first() else {
            return inner;
        };
        let mut command = Command::new(first);
        command.args(rest).arg(inner.get_program());
        command.args(inner.get_args());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(dir) = inner.get_current_dir() {
            command.current_dir(dir);
        }
        command
    }
}

/// One process and what it printed.
pub struct Process {
    child: Option<Child>,
    log: PathBuf,
}

impl Process {
    pub fn spawn(mut command: Command, log: PathBuf) -> Process {
        let out = File::create(&log).expect("log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("log handle"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process {
            child: Some(child),
            log,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    pub fn log_text(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The exit code, if it has ended (a signal gives -1).
    pub fn exited(&mut self) -> Option<i32> {
        let child = self.child.as_mut()?;
        let status = child.try_wait().expect("wait for a child")?;
        Some(status.code().unwrap_or(-1))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid() as i32).expect("a pid");
        // An error means that it ended by itself just now; waiting tells.
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// SIGSTOP, and waits until every thread has stopped: a signal takes its time to arrive.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        eventually("all threads stop", || {
            let mut tasks = std::fs::read_dir(&tasks).ok()?;
            tasks
                .all(|task| task.is_ok_and(|task| has_stopped(&task.path())))
                .then_some(())
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, then waits: the exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        let log = self.log.clone();
        let code = eventually(&format!("end after SIGTERM, see {}", log.display()), || {
            self.exited()
        });
        self.child = None;
        code
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            let text = self.log_text();
            let tail: Vec<&str> = text.lines().rev().take(25).collect();
            eprintln!("--- end of {}", self.log.display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        self.kill();
    }
}

/// A NameServer.
pub struct Namesrv {
    process: Process,
    place: Place,
    pub port: u16,
    pub dir: PathBuf,
}

impl Namesrv {
    pub fn start(dir: &Path) -> Namesrv {
        Namesrv::start_at(Place::here(), &dir.join("namesrv"))
    }

    /// As [`Namesrv::start`], in a folder of its own at some other place.
    pub fn start_at(place: Place, dir: &Path) -> Namesrv {
        let port = free_port();
        let dir = dir.to_path_buf();
        std::fs::create_dir_all(&dir).expect("folder");
        let conf = format!(
            "listenPort={port}\nkvConfigPath={d}/kvConfig.json\n\
             configStorePath={d}/namesrv.properties\ndebugAllowCrash={}\n\
             debugListenAddr={}\n",
            !is_java(),
            place.at(port + 1),
            d = dir.display()
        );
        std::fs::write(dir.join("namesrv.conf"), conf).expect("namesrv.conf");
        let process = Self::spawn(&place, &dir);
        let mut namesrv = Namesrv {
            process,
            place,
            port,
            dir,
        };
        namesrv.wait_ready();
        namesrv
    }

    fn spawn(place: &Place, dir: &Path) -> Process {
        let conf = dir.join("namesrv.conf");
        let mut command = if is_java() {
            java(dir, "org.apache.rocketmq.namesrv.NamesrvStartup", "128m")
        } else {
            Command::new(env!("CARGO_BIN_EXE_namesrv"))
        };
        command
            .arg("-c")
            .arg(conf)
            .current_dir(dir)
            .env("HOME", dir);
        Process::spawn(place.enter(command), dir.join("namesrv.out"))
    }

    pub fn wait_ready(&mut self) {
        let address = self.address();
        eventually("NameServer accepts", || {
            assert!(
                self.process.exited().is_none(),
                "the NameServer ended: {}",
                self.process.log_text()
            );
            TcpStream::connect(address).ok()
        });
    }

    pub fn address(&self) -> SocketAddr {
        self.place.at(self.port)
    }

    pub fn console(&self) -> SocketAddr {
        self.place.at(self.port + 1)
    }

    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    pub fn kill9(&mut self) {
        self.process.kill();
    }

    pub fn restart(&mut self) {
        self.respawn();
        self.wait_ready();
    }

    /// Starts again and waits for nothing.
    pub fn respawn(&mut self) {
        self.process = Self::spawn(&self.place, &self.dir);
    }

    /// SIGSTOP: it holds its connections and does nothing.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(rustix::process::Signal::CONT);
    }
}

/// A broker, with its store in a folder of its own.
pub struct Broker {
    process: Process,
    place: Place,
    pub port: u16,
    pub dir: PathBuf,
    conf: PathBuf,
    namesrv: SocketAddr,
    /// From the start of the process to readiness, of the last start.
    pub ready_after: Duration,
}

impl Broker {
    /// Starts with RocketMQ's keys in `extra` (the last of two equal keys wins).
    pub fn start(dir: &Path, namesrv: SocketAddr, extra: &[(&str, &str)]) -> Broker {
        Broker::start_in(&dir.join("broker"), namesrv, extra)
    }

    /// As [`Broker::start`], in a folder of its own: for tests with several brokers.
    pub fn start_in(dir: &Path, namesrv: SocketAddr, extra: &[(&str, &str)]) -> Broker {
        Broker::start_at(Place::here(), dir, namesrv, extra)
    }

    /// As [`Broker::start_in`], at some other place.
    pub fn start_at(
        place: Place,
        dir: &Path,
        namesrv: SocketAddr,
        extra: &[(&str, &str)],
    ) -> Broker {
        let port = free_port();
        let ip = place.ip.to_string();
        let dir = dir.to_path_buf();
        std::fs::create_dir_all(&dir).expect("folder");
        let store = dir.join("store");
        let mut keys: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in [
            ("brokerClusterName", "DefaultCluster"),
            ("brokerName", "broker-a"),
            ("brokerId", "0"),
            ("brokerIP1", ip.as_str()),
            ("brokerIP2", ip.as_str()),
            ("brokerFastFailureEnable", "false"),
            // Larger answers to one pull, so that the check of what is stored is quick.
            ("maxTransferCountOnMessageInMemory", "1024"),
            ("maxTransferBytesOnMessageInMemory", "4194304"),
            ("maxTransferCountOnMessageInDisk", "1024"),
            ("maxTransferBytesOnMessageInDisk", "4194304"),
        ] {
            keys.insert(key, value.to_string());
        }
        keys.insert("listenPort", port.to_string());
        keys.insert("storePathRootDir", store.display().to_string());
        keys.insert(
            "storePathCommitLog",
            store.join("commitlog").display().to_string(),
        );
        if !is_java() {
            keys.insert("debugAllowCrash", "true".to_string());
            keys.insert("debugListenAddr", place.at(port + 2).to_string());
        }
        for (key, value) in extra {
            keys.insert(key, (*value).to_string());
        }
        let text: String = keys.iter().map(|(k, v)| format!("{k}={v}\n")).collect();
        let conf = dir.join("broker.conf");
        std::fs::write(&conf, text).expect("broker.conf");
        let started = Instant::now();
        let mut broker = Broker {
            process: Self::spawn(&place, &dir, &conf, namesrv),
            place,
            port,
            dir,
            conf,
            namesrv,
            ready_after: Duration::ZERO,
        };
        broker.wait_ready_since(started);
        broker
    }

    fn spawn(place: &Place, dir: &Path, conf: &Path, namesrv: SocketAddr) -> Process {
        let mut command = if is_java() {
            java(dir, "org.apache.rocketmq.broker.BrokerStartup", "512m")
        } else {
            Command::new(env!("CARGO_BIN_EXE_broker"))
        };
        command
            .arg("-c")
            .arg(conf)
            .args(["-n", &namesrv.to_string()])
            .current_dir(dir)
            .env("HOME", dir);
        Process::spawn(place.enter(command), dir.join("broker.out"))
    }

    /// Waits until it is ready, after [`Broker::respawn`].
    pub fn wait_ready(&mut self) {
        self.wait_ready_since(Instant::now());
    }

    /// Ready = it said so, and its debug endpoint says so too.
    fn wait_ready_since(&mut self, started: Instant) {
        let console = self.console();
        eventually("broker ready", || {
            if let Some(code) = self.process.exited() {
                panic!("the broker ended with {code}: {}", self.process.log_text());
            }
            let said = self.process.log_text().contains("boot success");
            let ready = said
                && (is_java() || console::get(console, "/readyz").is_ok_and(|a| a.status == 200));
            ready.then_some(())
        });
        self.ready_after = started.elapsed();
    }

    pub fn address(&self) -> SocketAddr {
        self.place.at(self.port)
    }

    pub fn console(&self) -> SocketAddr {
        self.place.at(self.port + 2)
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn log_text(&self) -> String {
        self.process.log_text()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// The exit code of a broker that gives up by itself.
    pub fn wait_exit(&mut self) -> i32 {
        eventually("the broker gives up", || self.process.exited())
    }

    pub fn kill9(&mut self) {
        self.process.kill();
    }

    /// SIGTERM and wait; the exit code must be 0.
    pub fn stop(&mut self) {
        let code = self.process.stop();
        assert!(
            code == 0 || is_java(),
            "exit code {code} after SIGTERM: {}",
            self.process.log_text()
        );
    }

    /// Sets a key for the next start.
    pub fn set(&self, key: &str, value: &str) {
        let mut text = std::fs::read_to_string(&self.conf).expect("broker.conf");
        // The last of two equal keys wins.
        text.push_str(&format!("{key}={value}\n"));
        std::fs::write(&self.conf, text).expect("broker.conf");
    }

    /// A slave is stopped, and started as the master of its name.
    pub fn become_master(&mut self) {
        self.stop();
        self.set("brokerRole", "ASYNC_MASTER");
        self.set("brokerId", "0");
        self.restart();
    }

    /// Starts again on the same folder and port.
    pub fn restart(&mut self) {
        let started = Instant::now();
        self.respawn();
        self.wait_ready_since(started);
    }

    /// Starts again and waits for nothing.
    pub fn respawn(&mut self) {
        assert!(self.process.child.is_none(), "still running");
        let kept = self.dir.join("broker.out.before");
        let _ = std::fs::rename(self.dir.join("broker.out"), kept);
        self.process = Self::spawn(&self.place, &self.dir, &self.conf, self.namesrv);
    }

    /// SIGSTOP: it holds its connections and does nothing.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(rustix::process::Signal::CONT);
    }

    /// Anonymous resident memory in bytes, from /proc.
    pub fn anonymous_memory(&self) -> u64 {
        proc_status(self.pid(), "RssAnon:")
    }
}

/// Whether a thread, by its folder in /proc, is stopped; one that has ended is none.
fn has_stopped(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The state is behind the name, which is in parentheses and may hold anything.
    let behind_name = stat.rsplit(')').next();
    behind_name.is_some_and(|rest| rest.starts_with(" T"))
}

/// A figure in kB from /proc/PID/status, in bytes; 0 when it is not there.
pub fn proc_status(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// A JVM with the kit's jars.
fn java(dir: &Path, main: &str, heap: &str) -> Command {
    let kit = std::env::var("KIT").expect("KIT names the kit's folder");
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("KIT_CACHE").unwrap_or(format!("{home}/.cache/callboard-kit"));
    let mut command = Command::new("java");
    command
        .env("ROCKETMQ_HOME", format!("{kit}/rocketmq"))
        .arg(format!("-Xms{heap}"))
        .arg(format!("-Xmx{heap}"))
        .arg("-XX:MaxDirectMemorySize=512m")
        .arg(format!("-Duser.home={}", dir.display()))
        .arg("-cp")
        .arg(format!("{kit}/rocketmq/conf:{cache}/rocketmq/lib/*"))
        .arg(main);
    command
}

/// A temporary folder with a NameServer and a broker in it.
pub struct Cluster {
    pub broker: Broker,
    pub namesrv: Namesrv,
    // Dropped last: the processes are gone by then.
    _dir: Folder,
}

impl Cluster {
    pub fn start(extra: &[(&str, &str)]) -> Cluster {
        let dir = Folder::new();
        let namesrv = Namesrv::start(&dir.0);
        let broker = Broker::start(&dir.0, namesrv.address(), extra);
        Cluster {
            broker,
            namesrv,
            _dir: dir,
        }
    }
}

/// A temporary folder, removed with all its content unless `CALLBOARD_TEST_KEEP` is set.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let dir = tempfile::Builder::new()
            .prefix("callboard-test-")
            .tempdir()
            .expect("temporary folder");
        Folder(dir.keep())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("CALLBOARD_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Used by tests that wait for a liveness property with a deadline of their own.
pub fn patience_left(since: Instant) -> Duration {
    PATIENCE.saturating_sub(since.elapsed())
}
