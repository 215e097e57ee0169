//! A cluster: a NameServer, masters and their slaves, each on a host of its own.

use crate::clients::{TOPIC, read_whole};
use crate::common::pair::{self, assert_same_log, follower_state};
use crate::common::remoting::Client;
use crate::common::requests::{GET_TOPIC_CONFIG, create_topic};
use crate::common::server::{Broker, Folder, Namesrv};
use crate::common::{PATIENCE, eventually};
use crate::faults::{CLOCK_OFF, Event, Fault, NAMESRV, partner};
use crate::history::{Entry, Queue, Replica};
use crate::hosts::{Direction, Host, Network};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub const QUEUES: i32 = 4;

const KEYS: &[(&str, &str)] = &[
    ("inSyncReplicas", "2"),
    ("slaveTimeout", "1000"),
    ("slaveReadEnable", "true"),
    // So small that faults fall beside the birth of files.
    ("mappedFileSizeCommitLog", "1048576"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "5000"),
    ("maxIndexNum", "20000"),
    // A lost link is to be found within a run.
    ("haHousekeepingInterval", "2000"),
    ("haSendHeartbeatInterval", "300"),
    // A full disk is to be found, too, and nothing is to be deleted for it.
    ("cleanResourceInterval", "500"),
    ("cleanFileForciblyEnable", "false"),
];

enum Server {
    Namesrv(Namesrv),
    Broker(Broker),
}

/// A server and its host. The server is dropped first.
struct Node {
    server: Server,
    host: Host,
}

/// See the module. Host 0 is the NameServer's, 1 and 2 are the first master's and its slave's, and
/// so on.
pub struct Cluster {
    nodes: Vec<Node>,
    pub pairs: usize,
    network: Network,
    // Dropped last: the processes are gone by then.
    _dir: Folder,
}

fn node_of(pair: usize, replica: Replica) -> usize {
    1 + 2 * pair + usize::from(replica == Replica::Slave)
}

impl Cluster {
    /// So many masters of this role, each with a slave that follows it; the topic is on all.
    pub fn start(pairs: usize, master_role: &str, extra: &[(&str, &str)]) -> Cluster {
        let dir = Folder::new();
        let network = Network::new();
        let host = network.host(None);
        let namesrv = Namesrv::start_at(host.place.clone(), &dir.0.join("namesrv"));
        let names = namesrv.address();
        let server = Server::Namesrv(namesrv);
        let mut nodes = vec![Node { server, host }];
        for pair in 0..pairs {
            let name = format!("broker-{pair}");
            for (role, id) in [(master_role, "0"), ("SLAVE", "1")] {
                let home = dir.0.join(format!("{name}-{id}"));
                let host = network.host(Some(&home.join("store")));
                let own = [
                    ("brokerName", &*name),
                    ("brokerId", id),
                    ("brokerRole", role),
                ];
                let keys: Vec<_> = [KEYS, extra, &own].concat();
                let broker = Broker::start_at(host.place.clone(), &home, names, &keys);
                if id == "0" {
                    let client = Client::connect(broker.address()).expect("connect");
                    create_topic(&client, TOPIC, QUEUES);
                }
                let server = Server::Broker(broker);
                nodes.push(Node { server, host });
            }
        }
        let cluster = Cluster {
            nodes,
            pairs,
            network,
            _dir: dir,
        };
        for pair in 0..pairs {
            cluster.wait_followed(pair);
        }
        cluster
    }

    pub fn hosts(&self) -> usize {
        self.nodes.len()
    }

    pub fn has_links(&self) -> bool {
        self.network.has_links()
    }

    pub fn broker(&self, pair: usize, replica: Replica) -> &Broker {
        match &self.nodes[node_of(pair, replica)].server {
            Server::Broker(broker) => broker,
            Server::Namesrv(_) => panic!("a broker"),
        }
    }

    /// All queues of a pair.
    pub fn queues(pair: usize) -> impl Iterator<Item = Queue> {
        (0..QUEUES).map(move |id| Queue { pair, id })
    }

    /// Waits until a slave follows its master and knows the topic.
    pub fn wait_followed(&self, pair: usize) {
        let slave = self.broker(pair, Replica::Slave);
        let mut last = String::new();
        eventually("the slave follows", || {
            let state = follower_state(slave);
            if state != last {
                println!("slave of pair {pair}: {state}");
                last.clone_from(&state);
            }
            // It stays so for ever. Other ends of following are tried again.
            assert!(!state.contains("differs from"), "pair {pair} diverged");
            (state == "following").then_some(())
        });
        let client = Client::connect(slave.address()).expect("connect");
        eventually("the slave knows the topic", || {
            let ext = [("topic", TOPIC.to_owned())];
            let answer = client.call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE).ok()?;
            (answer.code == 0).then_some(())
        });
    }

    /// Waits until a slave holds all that its master holds.
    pub fn wait_in_sync(&self, pair: usize) {
        pair::wait_in_sync(self.broker(pair, Replica::Master).address());
    }

    /// Cuts the host of a broker off, where links can be cut, and kills the broker.
    pub fn lose(&mut self, pair: usize, replica: Replica) {
        let node = &mut self.nodes[node_of(pair, replica)];
        if self.network.has_links() {
            node.host.cut();
        }
        node.kill9();
    }

    pub fn slow(&self, pair: usize, replica: Replica) {
        self.nodes[node_of(pair, replica)].host.slow();
    }

    /// The link is as new.
    pub fn heal(&self, pair: usize, replica: Replica) {
        self.nodes[node_of(pair, replica)].host.heal();
    }

    pub fn kill(&mut self, pair: usize, replica: Replica) {
        self.nodes[node_of(pair, replica)].kill9();
    }

    /// Stops a broker's processes without a word to anyone.
    pub fn pause(&self, pair: usize, replica: Replica) {
        self.nodes[node_of(pair, replica)].pause();
    }

    pub fn resume(&self, pair: usize, replica: Replica) {
        self.nodes[node_of(pair, replica)].resume();
    }

    /// Brings a broker back that was lost.
    pub fn bring_back(&mut self, pair: usize, replica: Replica) {
        let node = &mut self.nodes[node_of(pair, replica)];
        node.host.heal();
        node.respawn();
        node.wait_ready();
    }

    /// Lets a schedule of faults happen, saying what happens when.
    pub fn suffer(&mut self, schedule: &[Event]) {
        let begun = Instant::now();
        let mut moments: Vec<(u64, bool, Event)> = Vec::new();
        for event in schedule {
            moments.push((event.from_ms, true, *event));
            moments.push((event.to_ms, false, *event));
        }
        moments.sort_by_key(|(at, is_begin, _)| (*at, *is_begin));
        for (at, is_begin, event) in moments {
            let due = Duration::from_millis(at);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            let fault = self.possible(event);
            if is_begin {
                println!("{:>6} ms: {event}{}", begun.elapsed().as_millis(), {
                    if fault == event.fault {
                        String::new()
                    } else {
                        format!(", not possible here: {fault:?} instead")
                    }
                });
            }
            if fault == Fault::Part {
                self.part(event.host, partner(event.host), is_begin);
                continue;
            }
            let node = &mut self.nodes[event.host];
            if is_begin {
                node.begin(fault);
            } else {
                node.end(fault);
            }
        }
    }

    /// Parts two hosts, or brings them together again.
    fn part(&self, one: usize, other: usize, is_begin: bool) {
        let (one, other) = (&self.nodes[one].host, &self.nodes[other].host);
        for (from, to) in [(one, other), (other, one)] {
            if is_begin {
                from.lose_sight_of(to);
            } else {
                from.find_again(to);
            }
        }
    }

    /// What can be done of a fault here.
    fn possible(&self, event: Event) -> Fault {
        let fault = event.fault;
        let host = &self.nodes[event.host].host;
        let is_impossible = (fault == Fault::DiskFull && !host.has_disk())
            || (fault.needs_clock() && !host.has_clock())
            || (fault.needs_link() && !self.has_links());
        if is_impossible {
            return if event.from_ms.is_multiple_of(2) {
                Fault::Pause
            } else {
                Fault::Kill
            };
        }
        fault
    }

    /// Waits until all servers answer and all slaves follow their masters.
    pub fn wait_followed_by_all(&mut self) {
        for node in &mut self.nodes {
            node.wait_ready();
        }
        for pair in 0..self.pairs {
            self.wait_followed(pair);
        }
    }

    /// Waits until all slaves hold what their masters hold, too; nobody may write meanwhile.
    pub fn wait_healed(&mut self) {
        self.wait_followed_by_all();
        for pair in 0..self.pairs {
            self.wait_in_sync(pair);
        }
    }

    /// All queues of a copy, read to their end when that no longer moves.
    pub fn read_all(
        &self,
        pair: usize,
        replica: Replica,
    ) -> BTreeMap<(Queue, Replica), Vec<Entry>> {
        let to = self.broker(pair, replica).address();
        let read = || -> Vec<Vec<Entry>> {
            let queues = Cluster::queues(pair);
            queues.map(|queue| read_whole(to, queue)).collect()
        };
        let lengths = |queues: &[Vec<Entry>]| queues.iter().map(Vec::len).sum::<usize>();
        // What arrived may still be on its way from the log into the queues.
        let mut last = (read(), 0);
        let settled = eventually("queues that no longer grow", || {
            std::thread::sleep(Duration::from_millis(50));
            let now = read();
            let same = if lengths(&now) == lengths(&last.0) {
                last.1 + 1
            } else {
                0
            };
            last = (now, same);
            (same >= 4).then(|| std::mem::take(&mut last.0))
        });
        let queues = Cluster::queues(pair).map(|queue| (queue, replica));
        queues.zip(settled).collect()
    }

    /// Stops all brokers in order and compares the logs.
    pub fn stop_and_compare(&mut self) {
        for node in self.nodes.iter_mut().skip(NAMESRV + 1) {
            if let Server::Broker(broker) = &mut node.server {
                broker.stop();
            }
        }
        for pair in 0..self.pairs {
            let master = self.broker(pair, Replica::Master);
            let slave = self.broker(pair, Replica::Slave);
            let segments = assert_same_log(master, slave);
            println!("pair {pair}: the same bytes on both, in {segments} files");
        }
    }
}

impl Node {
    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Cut => self.host.cut(),
            Fault::CutIn => self.host.cut_one_way(Direction::In),
            Fault::CutOut => self.host.cut_one_way(Direction::Out),
            Fault::Part => unreachable!("two hosts are parted by the cluster"),
            Fault::Slow => self.host.slow(),
            Fault::Lossy => self.host.lose_packets(),
            Fault::Pause => self.pause(),
            Fault::Kill => self.kill9(),
            Fault::DiskFull => self.host.fill_disk(),
            Fault::ClockAhead => self.host.set_clock(CLOCK_OFF),
            Fault::ClockBack => self.host.set_clock(-CLOCK_OFF),
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Pause => self.resume(),
            Fault::Kill => self.respawn(),
            Fault::DiskFull => self.host.free_disk(),
            Fault::ClockAhead | Fault::ClockBack => self.host.set_clock(0),
            _ => self.host.heal(),
        }
    }

    fn pause(&self) {
        match &self.server {
            Server::Namesrv(namesrv) => namesrv.pause(),
            Server::Broker(broker) => broker.pause(),
        }
    }

    fn resume(&self) {
        match &self.server {
            Server::Namesrv(namesrv) => namesrv.resume(),
            Server::Broker(broker) => broker.resume(),
        }
    }

    fn kill9(&mut self) {
        match &mut self.server {
            Server::Namesrv(namesrv) => namesrv.kill9(),
            Server::Broker(broker) => broker.kill9(),
        }
    }

    fn respawn(&mut self) {
        match &mut self.server {
            Server::Namesrv(namesrv) => namesrv.respawn(),
            Server::Broker(broker) => broker.respawn(),
        }
    }

    fn wait_ready(&mut self) {
        match &mut self.server {
            Server::Namesrv(namesrv) => namesrv.wait_ready(),
            Server::Broker(broker) => broker.wait_ready(),
        }
    }
}
