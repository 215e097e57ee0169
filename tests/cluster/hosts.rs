//! Hosts: network namespaces on one bridge, with links that can be cut and slowed, and disks that
//! can be filled. All of it is gone with its handles; what a killed test left is removed at the next
//! start.

use crate::clocks::FakeClock;
use crate::common::server::{Folder, Place};
use crate::leftovers::sweep;
use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

/// Bytes of a host's disk, enough for twenty rounds of load on a fast machine: memory is taken for what
/// is written only.
const DISK_LEN: &str = "512m";

/// Names of what is made here begin with this and the process id.
pub const PREFIX: &str = "cb";

/// A link-layer address for private use that no host has.
const NOBODY: &str = "02:00:00:00:00:01";

/// Slower than the load is, so that packets queue up.
const SLOW: [&[&str]; 2] = [
    &["netem", "delay", "150ms", "50ms"],
    // Not every kernel has netem: a narrow link delays by its queue.
    &["tbf", "rate", "1mbit", "burst", "4k", "latency", "400ms"],
];

const LOSSY: [&[&str]; 2] = [
    &["netem", "loss", "20%"],
    // A narrow link with next to no queue drops what does not fit.
    &["tbf", "rate", "1mbit", "burst", "2k", "limit", "3k"],
];

/// Nothing gets through: every packet is larger than the bucket. Unlike a link that is down, neither
/// end is told.
const DEAF: [&[&str]; 2] = [
    &["netem", "loss", "100%"],
    &["tbf", "rate", "8bit", "burst", "1", "limit", "1"],
];

/// Once, and past the test's captured output: who reads that all tests passed is to know.
fn say_aloud(what: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut said = SAID.lock().expect("what was said");
    if !said.iter().any(|before| before == what) {
        said.push(what.to_owned());
        let _ = writeln!(std::io::stderr(), "{what}");
    }
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        let args = args.join(" ");
        Err(format!("{program} {args}: {}", text(&output.stderr)))
    }
}

pub fn ip(args: &str) -> Result<String, String> {
    run("ip", &args.split_whitespace().collect::<Vec<_>>())
}

/// The hosts' network: a bridge, or only the loopback interface.
pub struct Network {
    /// Unique to this network: bridge, namespaces, interfaces and disks are named after it.
    name: String,
    /// The first three bytes of its addresses; none on loopback.
    subnet: Option<[u8; 3]>,
    hosts: AtomicU32,
    /// What the hosts' clocks show.
    clocks: Folder,
}

impl Network {
    pub fn new() -> Network {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut network = Network {
            name,
            subnet: None,
            hosts: AtomicU32::new(0),
            clocks: Folder::new(),
        };
        let forbidden = std::env::var_os("CALLBOARD_CLUSTER_LOOPBACK").is_some();
        let made = if forbidden {
            Err("CALLBOARD_CLUSTER_LOOPBACK is set".to_owned())
        } else {
            bridge(&network.name, number).and_then(|subnet| {
                network.subnet = Some(subnet);
                network.probe()
            })
        };
        if let Err(why) = made {
            network.subnet = None;
            remove_network(&network.name);
            say_aloud(&format!(
                "NETWORK NAMESPACES NOT AVAILABLE: links are not cut ({why})"
            ));
        }
        network
    }

    /// Whether links can be cut here.
    pub fn has_links(&self) -> bool {
        self.subnet.is_some()
    }

    /// A host made and forgotten: it shows whether one can be made, entered and made deaf.
    fn probe(&self) -> Result<(), String> {
        let link = Link::new(&self.name, 0, Ipv4Addr::from([198, 18, 0, 1]))?;
        run("nsenter", &[&link.enter_flag(), "--", "true"])?;
        link.impair(&DEAF, Direction::Out)?;
        link.impair(&DEAF, Direction::In)
    }

    /// A host; its disk is mounted at `disk`, if that is given.
    pub fn host(&self, disk: Option<&Path>) -> Host {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let link = self.subnet.map(|[a, b, c]| {
            let ip = Ipv4Addr::from([a, b, c, number as u8 + 1]);
            Link::new(&self.name, number, ip).unwrap_or_else(|error| panic!("{error}"))
        });
        let mut place = link.as_ref().map_or_else(Place::here, |link| Place {
            ip: link.ip,
            enter: vec!["nsenter".into(), link.enter_flag(), "--".into()],
        });
        let clock = FakeClock::new(self.clocks.0.join(number.to_string()));
        match &clock {
            Some(clock) => place.enter.extend(clock.enter()),
            None => say_aloud("NO CLOCKS OF THEIR OWN: none goes wrong (libfaketime is not here)"),
        }
        Host {
            place,
            link,
            disk: disk.and_then(|at| Disk::mount(&self.name, at)),
            clock,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.has_links() {
            remove_network(&self.name);
        }
    }
}

/// Makes the bridge; gives the subnet.
fn bridge(name: &str, number: u32) -> Result<[u8; 3], String> {
    let taken = ip("-o -4 addr show")?;
    ip(&format!(
        "link add {name} type bridge stp_state 0 forward_delay 0"
    ))?;
    // 198.18.0.0/15 is for such tests: it is nobody's network. Processes beside this one have other
    // ids, and so other subnets.
    let first = std::process::id().wrapping_mul(7).wrapping_add(number);
    let subnet = (0..512)
        .map(|step| {
            let [.., high, low] = ((first + step) % 512).to_be_bytes();
            [198, 18 + high, low]
        })
        .find(|[a, b, c]| !taken.contains(&format!(" {a}.{b}.{c}.")))
        .ok_or("no subnet is free")?;
    let [a, b, c] = subnet;
    ip(&format!("addr add {a}.{b}.{c}.1/24 dev {name}"))?;
    ip(&format!("link set {name} up"))?;
    Ok(subnet)
}

/// Which way packets go, as seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// A host's namespace and its link to the bridge.
struct Link {
    /// The namespace, and the bridge's end of the link.
    name: String,
    ip: Ipv4Addr,
}

impl Link {
    fn new(network: &str, number: u32, address: Ipv4Addr) -> Result<Link, String> {
        let name = format!("{network}h{number}");
        ip(&format!("netns add {name}"))?;
        // From here on a failure is cleaned up by the handle.
        let link = Link { name, ip: address };
        let name = &link.name;
        ip(&format!(
            "link add {name} type veth peer name eth0 netns {name}"
        ))?;
        ip(&format!("link set {name} master {network} up"))?;
        ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(link)
    }

    fn enter_flag(&self) -> String {
        format!("--net=/run/netns/{}", self.name)
    }

    /// Takes the first of these disciplines that the kernel knows.
    fn impair(&self, disciplines: &[&[&str]], way: Direction) -> Result<(), String> {
        let mut why = String::new();
        for discipline in disciplines {
            let mut args: Vec<&str> = match way {
                Direction::Out => vec!["-n", &self.name, "qdisc", "replace", "dev", "eth0"],
                Direction::In => vec!["qdisc", "replace", "dev", &self.name],
            };
            args.push("root");
            args.extend(*discipline);
            match run("tc", &args) {
                Ok(_) => return Ok(()),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn must_impair(&self, disciplines: &[&[&str]], ways: &[Direction]) {
        for way in ways {
            let done = self.impair(disciplines, *way);
            done.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn heal(&self) {
        let name = &self.name;
        // There may be none.
        let _ = run("tc", &["qdisc", "del", "dev", name, "root"]);
        let _ = run("tc", &["-n", name, "qdisc", "del", "dev", "eth0", "root"]);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        remove_link(&self.name);
    }
}

/// A file system of its own under a host's files.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(network: &str, at: &Path) -> Option<Disk> {
        std::fs::create_dir_all(at).expect("folder");
        let to = at.display().to_string();
        let size = format!("size={DISK_LEN}");
        // The network's name is in the table of mounts, for the sweeper.
        match run("mount", &["-t", "tmpfs", "-o", &size, network, &to]) {
            Ok(_) => Some(Disk {
                at: at.to_path_buf(),
            }),
            Err(why) => {
                say_aloud(&format!("NO DISKS OF THEIR OWN: none gets full ({why})"));
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Takes all that is free.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("filler");
        let block = vec![0; 1 << 16];
        while file.write_all(&block).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.at.display().to_string());
    }
}

/// One host: where servers run, and what may befall it.
pub struct Host {
    pub place: Place,
    link: Option<Link>,
    disk: Option<Disk>,
    clock: Option<FakeClock>,
}

impl Host {
    fn link(&self) -> &Link {
        self.link.as_ref().expect("a link of its own")
    }

    /// Whether a command ends well there.
    pub fn runs(&self, command: &[&str]) -> bool {
        let flag = self.link().enter_flag();
        run("nsenter", &[&[&*flag, "--"], command].concat()).is_ok()
    }

    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Its clock shows so many seconds more than the true time; 0 sets it right.
    pub fn set_clock(&self, offset_seconds: i64) {
        let clock = self.clock.as_ref().expect("a clock of its own");
        clock.set(offset_seconds);
    }

    /// Nothing comes in or goes out any more.
    pub fn cut(&self) {
        self.link()
            .must_impair(&DEAF, &[Direction::In, Direction::Out]);
    }

    pub fn cut_one_way(&self, way: Direction) {
        self.link().must_impair(&DEAF, &[way]);
    }

    pub fn slow(&self) {
        self.link()
            .must_impair(&SLOW, &[Direction::In, Direction::Out]);
    }

    pub fn lose_packets(&self) {
        self.link()
            .must_impair(&LOSSY, &[Direction::In, Direction::Out]);
    }

    /// What it sends to another goes nowhere: to an address that no host has.
    pub fn lose_sight_of(&self, other: &Host) {
        let (name, ip_of_other) = (&self.link().name, other.place.ip);
        let done = ip(&format!(
            "-n {name} neigh replace {ip_of_other} lladdr {NOBODY} nud permanent dev eth0"
        ));
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn find_again(&self, other: &Host) {
        let (name, ip_of_other) = (&self.link().name, other.place.ip);
        // Two faults may have parted them, and the first that ended brought them together.
        let _ = ip(&format!("-n {name} neigh del {ip_of_other} dev eth0"));
    }

    /// The link is as new.
    pub fn heal(&self) {
        if let Some(link) = &self.link {
            link.heal();
        }
    }

    pub fn fill_disk(&self) {
        self.disk.as_ref().expect("a disk of its own").fill();
    }

    pub fn free_disk(&self) {
        let disk = self.disk.as_ref().expect("a disk of its own");
        std::fs::remove_file(disk.filler()).expect("the filler");
    }
}

pub fn unmount(at: &str) {
    if let Err(error) = run("umount", &["-l", at]) {
        eprintln!("{error}");
    }
}

pub fn remove_link(name: &str) {
    // The link goes with its namespace, later; its name is to be free now.
    let _ = ip(&format!("link del {name}"));
    let _ = ip(&format!("netns del {name}"));
}

pub fn remove_network(name: &str) {
    let _ = ip(&format!("link del {name}"));
}
