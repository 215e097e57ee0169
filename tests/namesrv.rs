//! The NameServer over real sockets: routes come, expire, survive restarts and crashes, and answers
//! look as those that the real RocketMQ 5.4.0 gave.
//!
//! The golden frames are looked for in `golden/wire` below the folder named by
//! `CALLBOARD_SHARED`, or below `../shared`. Without them that part is not checked, and says so.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use callboard::actors::kernel::{Crash, Tree};
use callboard::actors::namesrv::liveness::Scan;
use callboard::actors::namesrv::{Namesrv, NamesrvThreads};
use callboard::client::{RemotingClient, RemotingConfig};
use callboard::config::{BrokerConfig, Config, Env, NamesrvConfig};
use callboard::protocol::body::register_broker::RegisterBrokerBody;
use callboard::protocol::body::route::{ClusterInfo, TopicRouteData};
use callboard::protocol::body::topic_config::TopicConfig;
use callboard::protocol::fastjson::{from_slice, to_vec};
use callboard::protocol::header::namesrv as header;
use callboard::protocol::language::version;
use callboard::protocol::{RemotingCommand, RequestCode, ResponseCode};
use callboard::routes::snapshot::Snapshot;
use serde_json::Value;

/// A bound on hanging, not on speed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A NameServer in this process, with its own time, and a client.
struct Server {
    namesrv: Namesrv,
    client: RemotingClient,
    now_ms: Arc<AtomicU64>,
    tree: Tree,
}

impl Server {
    fn start(dir: &Path, now_ms: u64, extra: &[(&str, &str)]) -> Self {
        let kv = dir.join("kvConfig.json").display().to_string();
        let store = dir.join("namesrv.properties").display().to_string();
        let mut overrides = vec![
            ("listenPort", "0"),
            ("bindAddress", "127.0.0.1"),
            ("kvConfigPath", kv.as_str()),
            ("configStorePath", store.as_str()),
        ];
        overrides.extend_from_slice(extra);
        let config = NamesrvConfig::load(None, &overrides, &Env::of_process()).expect("valid");
        let tree = Tree::new("test");
        let now_ms = Arc::new(AtomicU64::new(now_ms));
        let time = now_ms.clone();
        let clock = Arc::new(move || time.load(Ordering::Relaxed));
        let threads = NamesrvThreads::current();
        let namesrv = Namesrv::start(config, &tree, &threads, Some(clock)).expect("started");
        let client = RemotingClient::new(RemotingConfig::default());
        Self {
            namesrv,
            client,
            now_ms,
            tree,
        }
    }

    async fn call(&self, request: RemotingCommand) -> RemotingCommand {
        let addr = self.namesrv.address.to_string();
        self.client
            .call(&addr, request, PATIENCE)
            .await
            .expect("an answer")
    }

    async fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let answer = self.call(route_request(topic)).await;
        match answer.response_code() {
            Some(ResponseCode::Success) => Some(from_slice(&answer.body).expect("a route")),
            Some(ResponseCode::TopicNotExist) => None,
            _ => panic!("{answer:?}"),
        }
    }

    async fn stop(self) {
        // In this order: a client that goes first takes its broker out of the tables.
        self.namesrv.shutdown().await;
        self.client.shut_down();
    }
}

fn in_system<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    actix::System::new().block_on(async move { test().await });
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn route_request(topic: &str) -> RemotingCommand {
    let header = header::GetRouteInfoRequestHeader {
        topic: topic.to_owned().into(),
        accept_standard_json_only: None,
    };
    RemotingCommand::request(RequestCode::GetRouteinfoByTopic, &header)
}

fn registration(id: i64, addr: &str, topics: &[&str]) -> RemotingCommand {
    registration_of(id, addr, &table_of(1, topics))
}

/// A broker's table at a version.
fn table_of(counter: i64, topics: &[&str]) -> RegisterBrokerBody {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version.counter = counter;
    for topic in topics {
        table
            .topic_config_table
            .insert((*topic).to_owned(), TopicConfig::new(topic, 4, 6));
    }
    body
}

fn registration_of(id: i64, addr: &str, body: &RegisterBrokerBody) -> RemotingCommand {
    registration_by("broker-a", id, addr, body)
}

fn registration_by(
    broker_name: &str,
    id: i64,
    addr: &str,
    body: &RegisterBrokerBody,
) -> RemotingCommand {
    let header = header::RegisterBrokerRequestHeader {
        broker_name: broker_name.to_owned().into(),
        broker_addr: addr.to_owned().into(),
        cluster_name: "DefaultCluster".into(),
        ha_server_addr: format!("ha-{addr}").into(),
        broker_id: id,
        enable_acting_master: Some(false),
        ..header::RegisterBrokerRequestHeader::default()
    };
    let body = to_vec(body).expect("encodes");
    RemotingCommand::request(RequestCode::RegisterBroker, &header).with_body(body)
}

/// What one of two masters tells.
fn telling(broker_name: &str, counter: i64, topics: &[&str]) -> RemotingCommand {
    let addr = match broker_name {
        "broker-a" => "127.0.0.1:1",
        _ => "127.0.0.1:2",
    };
    registration_by(broker_name, 0, addr, &table_of(counter, topics))
}

/// A consumer's first heartbeats make its retry topic on one master after the other.
#[test]
fn the_route_of_a_new_retry_topic_waits_for_the_other_masters() {
    in_system(|| async {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), 1_000_000, &[]);
        for name in ["broker-a", "broker-b"] {
            assert_success(&server.call(telling(name, 1, &["TBW102", "U"])).await);
        }
        // Each time in the middle of the two registrations; on a machine that is busy the second one
        // can come too late, so not every time has to succeed.
        let times = std::cell::Cell::new(1);
        eventually("a route with both masters", || async {
            times.set(times.get() + 1);
            let topic = format!("%RETRY%G{}", times.get());
            let only = &[topic.as_str()];
            assert_success(&server.call(telling("broker-a", times.get(), only)).await);
            let second = async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                server.call(telling("broker-b", times.get(), only)).await
            };
            let (route, told) = tokio::join!(server.route(&topic), second);
            assert_success(&told);
            route.expect("known").queue_datas.len() == 2
        })
        .await;
        // Nobody waits for a master that never tells of it, nor for other topics.
        let lonely = ["%RETRY%lonely", "lonely"];
        let last = times.get() + 1;
        assert_success(&server.call(telling("broker-a", last, &lonely)).await);
        for topic in lonely {
            let route = server.route(topic).await.expect("known");
            assert_eq!(route.queue_datas.len(), 1, "{topic}");
        }
        server.stop().await;
    });
}

fn assert_success(answer: &RemotingCommand) {
    assert_eq!(
        answer.response_code(),
        Some(ResponseCode::Success),
        "{answer:?}"
    );
}

#[test]
fn routes_come_with_registrations_and_expire_with_silence() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let server = Server::start(dir.path(), 1_000_000, &[]);
        assert_eq!(server.route("T").await, None);
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        let slave = server.call(registration(1, "s:1", &["T", "U"])).await;
        assert_eq!(slave.ext_fields.get("masterAddr"), Some("m:1"));
        assert_eq!(slave.ext_fields.get("haServerAddr"), Some("ha-m:1"));
        let route = server.route("T").await.expect("registered");
        assert_eq!(route.broker_datas[0].broker_addrs.len(), 2);
        assert_eq!(route.queue_datas[0].write_queue_nums, 4);

        server.now_ms.fetch_add(120_000, Ordering::Relaxed);
        assert_eq!(
            server.namesrv.liveness.ask(Scan).await,
            Ok(0),
            "just in time"
        );
        server.now_ms.fetch_add(1, Ordering::Relaxed);
        assert_eq!(server.namesrv.liveness.ask(Scan).await, Ok(2));
        let client = RemotingClient::new(RemotingConfig::default());
        let addr = server.namesrv.address.to_string();
        eventually("the route is gone", || async {
            let answer = client
                .call(&addr, route_request("T"), PATIENCE)
                .await
                .expect("answered");
            answer.response_code() == Some(ResponseCode::TopicNotExist)
        })
        .await;
        server.stop().await;
    });
}

#[test]
fn a_lost_connection_takes_its_brokers_along() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let server = Server::start(dir.path(), 1_000_000, &[]);
        let broker = RemotingClient::new(RemotingConfig::default());
        let addr = server.namesrv.address.to_string();
        let register = registration(0, "m:1", &["T", "U"]);
        assert_success(
            &broker
                .call(&addr, register.clone(), PATIENCE)
                .await
                .expect("answered"),
        );
        assert!(server.route("T").await.is_some());
        broker.shut_down();
        eventually("the route is gone", || async {
            server.route("T").await.is_none()
        })
        .await;
        assert_success(&server.call(register).await);
        assert!(server.route("T").await.is_some());
        let leave = header::UnRegisterBrokerRequestHeader {
            broker_name: "broker-a".into(),
            broker_addr: "m:1".into(),
            cluster_name: "DefaultCluster".into(),
            broker_id: 0,
        };
        let leave = RemotingCommand::request(RequestCode::UnregisterBroker, &leave);
        assert_success(&server.call(leave).await);
        eventually("it left", || async { server.route("T").await.is_none() }).await;
        server.stop().await;
    });
}

#[test]
fn a_restart_answers_at_once_and_still_forgets_the_silent() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let server = Server::start(dir.path(), 1_000_000, &[]);
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        let put = header::PutKvConfigRequestHeader {
            namespace: "ORDER_TOPIC_CONFIG".into(),
            key: "T".into(),
            value: "broker-a:4".into(),
        };
        let put = RemotingCommand::request(RequestCode::PutKvConfig, &put);
        assert_success(&server.call(put).await);
        let before = server.route("T").await;
        server.stop().await;

        let server = Server::start(dir.path(), 1_060_000, &[("orderMessageEnable", "true")]);
        let mut after = server.route("T").await;
        let order = after
            .as_mut()
            .and_then(|route| route.order_topic_conf.take());
        assert_eq!(order.as_deref(), Some("broker-a:4"));
        assert_eq!(after, before);
        server.now_ms.store(1_120_001, Ordering::Relaxed);
        assert_eq!(server.namesrv.liveness.ask(Scan).await, Ok(1));
        eventually("the route is gone", || async {
            server.route("T").await.is_none()
        })
        .await;
        // Registered again, it lives as long as any other.
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        server.stop().await;

        let server = Server::start(dir.path(), 2_000_000, &[]);
        assert_eq!(
            server.route("T").await,
            None,
            "silent for too long before the start"
        );
        server.stop().await;
    });
}

#[test]
fn a_crash_of_the_route_table_keeps_the_routes() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let server = Server::start(dir.path(), 1_000_000, &[]);
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        for path in [
            "route_table",
            "liveness",
            "kv_config",
            "snapshot",
            "notifier",
        ] {
            let cell = server
                .tree
                .get(&format!("namesrv/{path}"))
                .expect("in the tree");
            assert!(cell.crash());
            eventually("it is back", || async { cell.restarts() == 1 }).await;
        }
        assert!(server.route("T").await.is_some());
        // A request that is being handled is answered, though nobody knows how it ended.
        server.namesrv.route_table.cell().arm("after_register");
        let lost = server.call(registration(0, "m:1", &["T", "U"])).await;
        assert_eq!(lost.response_code(), Some(ResponseCode::SystemError));
        assert_eq!(lost.remark.as_deref(), Some("outcome unknown"));
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        assert!(server.namesrv.route_table.ask(Crash).await.is_err());
        assert!(server.route("U").await.is_some());
        server.stop().await;
    });
}

#[test]
fn permissions_topics_and_configuration_are_administered() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let server = Server::start(dir.path(), 1_000_000, &[]);
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        let wipe = header::WipeWritePermOfBrokerRequestHeader {
            broker_name: "broker-a".into(),
        };
        let wipe = RemotingCommand::request(RequestCode::WipeWritePermOfBroker, &wipe);
        assert_eq!(
            server.call(wipe).await.ext_fields.get("wipeTopicCount"),
            Some("2")
        );
        assert_eq!(
            server.route("T").await.expect("known").queue_datas[0].perm,
            4
        );
        let add = header::AddWritePermOfBrokerRequestHeader {
            broker_name: "broker-a".into(),
        };
        let add = RemotingCommand::request(RequestCode::AddWritePermOfBroker, &add);
        assert_eq!(
            server.call(add).await.ext_fields.get("addTopicCount"),
            Some("2")
        );
        assert_eq!(
            server.route("T").await.expect("known").queue_datas[0].perm,
            6
        );
        let delete = header::DeleteTopicFromNamesrvRequestHeader {
            topic: "T".into(),
            cluster_name: Some("DefaultCluster".into()),
        };
        let delete = RemotingCommand::request(RequestCode::DeleteTopicInNamesrv, &delete);
        assert_success(&server.call(delete).await);
        assert_eq!(server.route("T").await, None);

        let update = |text: &'static str| {
            RemotingCommand::request_without_header(RequestCode::UpdateNamesrvConfig)
                .with_body(text)
        };
        assert_success(&server.call(update("enableAllTopicList=false\n")).await);
        let list =
            RemotingCommand::request_without_header(RequestCode::GetAllTopicListFromNameserver);
        let list = server.call(list).await;
        assert_eq!((list.code, list.remark.as_deref()), (1, Some("disable")));
        let refused = server.call(update("kvConfigPath=/tmp/x\n")).await;
        assert_eq!(refused.response_code(), Some(ResponseCode::NoPermission));
        assert_eq!(
            refused.remark.as_deref(),
            Some("Can not update config in black list.")
        );
        let refused = server.call(update("enableTopicList=perhaps\n")).await;
        assert_eq!(refused.response_code(), Some(ResponseCode::SystemError));
        let stored = std::fs::read_to_string(dir.path().join("namesrv.properties"));
        assert_eq!(stored.expect("written"), "enableAllTopicList=false\n");

        let mut strange = RemotingCommand::request_without_header(RequestCode::HeartBeat);
        strange.code = 12345;
        let strange = server.call(strange).await;
        assert_eq!(
            strange.response_code(),
            Some(ResponseCode::RequestCodeNotSupported)
        );
        assert_eq!(
            strange.remark.as_deref(),
            Some(" request type 12345 not supported")
        );
        let bare = RemotingCommand::request_without_header(RequestCode::GetRouteinfoByTopic);
        assert_eq!(server.call(bare).await.code, 1, "the topic is missing");
        server.stop().await;
    });
}

#[test]
fn old_clients_get_integer_keys_without_quotes() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let server = Server::start(dir.path(), 1_000_000, &[]);
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        let mut old = route_request("T");
        old.version = version::V4_9_4 - 1;
        let body = server.call(old).await.body;
        assert!(
            body.starts_with(br#"{"brokerDatas":[{"brokerAddrs":{0:"m:1"}"#),
            "{body:?}"
        );
        let body = server.call(route_request("T")).await.body;
        assert!(
            body.starts_with(br#"{"brokerDatas":[{"brokerAddrs":{"0":"m:1"}"#),
            "{body:?}"
        );
        server.stop().await;
    });
}

#[test]
fn the_debug_endpoint_shows_tree_and_topics() {
    let dir = tempfile::tempdir().expect("a folder");
    in_system(|| async {
        let extra = [("debugListenAddr", "127.0.0.1:0")];
        let server = Server::start(dir.path(), 1_000_000, &extra);
        assert_success(&server.call(registration(0, "m:1", &["T", "U"])).await);
        let here = actix::Arbiter::current();
        let console = server
            .namesrv
            .start_console(&server.tree, &here)
            .expect("listens");
        let (_console, address) = console.expect("switched on");
        for (path, text) in [
            ("/actors/namesrv/route_table", r#""live_brokers":1"#),
            ("/overview", r#""topic":"U""#),
            ("/readyz", "200 OK"),
            ("/metrics", "# EOF"),
        ] {
            let page = get(address, path).await;
            assert!(page.contains(text), "{path}: {page}");
        }
        server.stop().await;
    });
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("answered");
    page
}

/// The program itself, killed at any moment, answers routes when it is back.
#[test]
fn the_program_is_back_after_kill_and_signal() {
    let dir = tempfile::tempdir().expect("a folder");
    let conf = dir.path().join("namesrv.conf");
    let kv = dir.path().join("kv.json").display().to_string();
    let text = format!(
        "listenPort=0\nbindAddress=127.0.0.1\nkvConfigPath={kv}\nrouteSnapshotDelayMs=10\n\
         debugListenAddr=\n"
    );
    std::fs::write(&conf, text).expect("written");
    let (mut child, addr) = start_program(&conf);
    in_system(|| async move {
        let client = RemotingClient::new(RemotingConfig::default());
        let topics: Vec<String> = (0..TOPICS).map(|n| format!("T{n}")).collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let register = registration(0, "m:1", &names);
        assert_success(
            &client
                .call(&addr, register, PATIENCE)
                .await
                .expect("answered"),
        );
        let path = dir.path().join("routes.mp");
        // A tick in the middle of the registration writes down what is there by then.
        let written = || async {
            let snapshot = Snapshot::read(&path).ok().flatten();
            snapshot.is_some_and(|s| s.live.len() == 1 && s.topics.len() >= TOPICS)
        };
        eventually("a snapshot has the broker and its topics", written).await;
        child.kill().expect("killed");
        child.wait().expect("gone");
        let mut child = back(&conf, &client, &topics, "a kill").await;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
        assert!(child.wait().expect("gone").success(), "an orderly stop");
        let mut child = back(&conf, &client, &topics, "an orderly stop").await;
        child.kill().expect("killed");
        child.wait().expect("gone");
    });
}

/// Topics that the program has to know again.
const TOPICS: usize = 2_000;

/// Starts the program again and asks it for all topics; prints when the first was answered.
async fn back(conf: &Path, client: &RemotingClient, topics: &[String], after: &str) -> Child {
    let begun = std::time::Instant::now();
    let (child, addr) = start_program(conf);
    let ask = async |topic| {
        let answer = client.call(&addr, route_request(topic), PATIENCE).await;
        assert_success(&answer.expect("answered"));
    };
    ask(&topics[0]).await;
    println!(
        "first of {} routes {:?} after {after}",
        topics.len(),
        begun.elapsed()
    );
    for topic in topics {
        ask(topic).await;
    }
    child
}

fn start_program(conf: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_namesrv"))
        .arg("-c")
        .arg(conf)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.next().expect("a line").expect("text");
    let (before, addr) = line.rsplit_once("address ").expect("the boot line");
    assert_eq!(before, "The Name Server boot success. serializeType=JSON, ");
    (child, addr.to_owned())
}

// ---- beside the real one ----

struct Golden {
    folder: PathBuf,
    index: Vec<Value>,
}

impl Golden {
    fn find() -> Option<Self> {
        let named = std::env::var_os("CALLBOARD_SHARED").map(PathBuf::from);
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
        let folder = named.unwrap_or(beside).join("golden/wire");
        let Ok(index) = std::fs::read(folder.join("index.json")) else {
            println!("CONFORMANCE NOT RUN: golden frames not found");
            return None;
        };
        let index = serde_json::from_slice(&index).expect("the index is JSON");
        Some(Self { folder, index })
    }

    fn frame(&self, file: &str) -> RemotingCommand {
        let bytes = std::fs::read(self.folder.join(file)).expect("a golden frame");
        RemotingCommand::decode(bytes.as_slice().into()).expect("a frame")
    }

    /// Requests of this code to the NameServer with the answers that they got.
    fn pairs(&self, code: i64) -> Vec<(RemotingCommand, RemotingCommand)> {
        let requests = self.index.iter().filter(|entry| {
            entry["kind"] == "request" && entry["code"] == code && entry["server"] == "namesrv"
        });
        let pairs: Vec<_> = requests
            .filter_map(|entry| {
                Some((
                    self.frame(entry["file"].as_str()?),
                    self.frame(entry["pair"].as_str()?),
                ))
            })
            .collect();
        assert!(!pairs.is_empty(), "no golden frames of code {code}");
        pairs
    }
}

/// Tells our NameServer what the real one knew when it answered so.
async fn teach(server: &Server, route: &TopicRouteData, topic: &str) {
    for group in &route.broker_datas {
        for (id, addr) in &group.broker_addrs {
            let mut body = RegisterBrokerBody::default();
            let table = &mut body.topic_config_serialize_wrapper;
            table
                .topic_config_table
                .insert("other".into(), TopicConfig::new("other", 1, 6));
            for queues in route
                .queue_datas
                .iter()
                .filter(|q| q.broker_name == group.broker_name)
            {
                let config = TopicConfig {
                    topic_name: topic.to_owned(),
                    perm: queues.perm,
                    read_queue_nums: queues.read_queue_nums,
                    write_queue_nums: queues.write_queue_nums,
                    topic_sys_flag: queues.topic_sys_flag,
                    ..TopicConfig::default()
                };
                table.topic_config_table.insert(topic.to_owned(), config);
            }
            assert_success(&server.call(registration_of(*id, addr, &body)).await);
        }
    }
}

#[test]
fn routes_and_clusters_are_answered_byte_for_byte_as_by_the_real_one() {
    let Some(golden) = Golden::find() else { return };
    in_system(|| async {
        for (request, expected) in golden.pairs(105) {
            let dir = tempfile::tempdir().expect("a folder");
            let server = Server::start(dir.path(), 1_000_000, &[]);
            let topic = request.ext_fields.get("topic").expect("a topic").to_owned();
            if expected.code == 0 {
                let route: TopicRouteData = from_slice(&expected.body).expect("a route");
                teach(&server, &route, &topic).await;
            }
            same(&server.call(request).await, &expected);
            server.stop().await;
        }
        for (request, expected) in golden.pairs(106) {
            let dir = tempfile::tempdir().expect("a folder");
            let server = Server::start(dir.path(), 1_000_000, &[]);
            let known: ClusterInfo = from_slice(&expected.body).expect("clusters");
            let broker_datas = known.broker_addr_table.into_values().collect();
            let route = TopicRouteData {
                broker_datas,
                ..TopicRouteData::default()
            };
            teach_groups(&server, &route).await;
            same(&server.call(request).await, &expected);
            server.stop().await;
        }
    });
}

async fn teach_groups(server: &Server, route: &TopicRouteData) {
    for group in &route.broker_datas {
        for (id, addr) in &group.broker_addrs {
            assert_success(&server.call(registration(*id, addr, &["T", "U"])).await);
        }
    }
}

#[test]
fn registrations_and_keys_are_answered_as_by_the_real_one() {
    let Some(golden) = Golden::find() else { return };
    in_system(|| async {
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start(dir.path(), 1_000_000, &[]);
        // The golden registrations hold one topic each: the brokers were known before.
        for (id, addr) in [(0, "127.0.0.1:49111"), (1, "127.0.0.1:49151")] {
            assert_success(&server.call(registration(id, addr, &["T", "U"])).await);
        }
        for (request, expected) in golden.pairs(103) {
            let answer = server.call(request).await;
            assert_eq!(
                (answer.code, &answer.remark),
                (expected.code, &expected.remark)
            );
            let ha =
                |frame: &RemotingCommand| frame.ext_fields.get("masterAddr").map(str::to_owned);
            assert_eq!(ha(&answer), ha(&expected));
        }
        let route = server
            .route("admst")
            .await
            .expect("registered by a golden frame");
        let mapping = route.topic_queue_mapping_by_broker.expect("a static topic");
        assert_eq!(mapping["broker-a"].total_queues, 4);
        for (request, expected) in golden.pairs(100) {
            same(&server.call(request).await, &expected);
        }
        for (request, expected) in golden.pairs(101) {
            // The capture asks once for a key that is there and once for one that is not.
            if expected.code == 0 {
                let put = header::PutKvConfigRequestHeader {
                    namespace: request.ext_fields.get_str("namespace").expect("named"),
                    key: request.ext_fields.get_str("key").expect("named"),
                    value: expected.ext_fields.get_str("value").expect("named"),
                };
                let put = RemotingCommand::request(RequestCode::PutKvConfig, &put);
                assert_success(&server.call(put).await);
            } else {
                let delete = header::DeleteKvConfigRequestHeader {
                    namespace: request.ext_fields.get_str("namespace").expect("named"),
                    key: request.ext_fields.get_str("key").expect("named"),
                };
                let delete = RemotingCommand::request(RequestCode::DeleteKvConfig, &delete);
                assert_success(&server.call(delete).await);
            }
            same(&server.call(request).await, &expected);
        }
        for code in [102, 216, 318, 104] {
            for (request, expected) in golden.pairs(code) {
                same(&server.call(request).await, &expected);
            }
        }
        server.stop().await;
    });
}

/// Code, remark, fields and body are the same.
fn same(answer: &RemotingCommand, expected: &RemotingCommand) {
    assert_eq!(
        (answer.code, &answer.remark),
        (expected.code, &expected.remark)
    );
    let fields = |frame: &RemotingCommand| -> BTreeMap<String, String> {
        let fields = frame.ext_fields.iter();
        fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    assert_eq!(fields(answer), fields(expected));
    assert_eq!(
        String::from_utf8_lossy(&answer.body),
        String::from_utf8_lossy(&expected.body)
    );
}

/// Every key of the real broker and NameServer is shown, with the same value unless the capture
/// set it or it depends on the machine.
#[test]
fn all_keys_of_the_real_configurations_are_shown() {
    let Some(golden) = Golden::find() else { return };
    let lines = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    let body = |file: &str| {
        let frame = golden.frame(file);
        lines(&String::from_utf8_lossy(&frame.body))
    };
    let env = Env {
        cores: 2,
        ..Env::of_process()
    };
    let real = body("0455-319-GET_NAMESRV_CONFIG-resp.bin");
    let ours = NamesrvConfig::load(None, &[("listenPort", "49000")], &env).expect("valid");
    let paths = ["configStorePath", "kvConfigPath", "rocketmqHome"];
    compare(&real, &lines(&ours.to_properties()), &paths);

    let real = body("0342-26-GET_BROKER_CONFIG-resp.bin");
    let set = [
        "brokerIP1",
        "brokerName",
        "listenPort",
        "namesrvAddr",
        "enablePropertyFilter",
        "transactionCheckInterval",
        "recallMessageEnable",
        "brokerFastFailureEnable",
        "mappedFileSizeCommitLog",
        "fileReservedTime",
        "maxHashSlotNum",
        "maxIndexNum",
        "bitMapLengthConsumeQueueExt",
    ];
    let overrides: Vec<(&str, &str)> = set
        .iter()
        .map(|key| (*key, real.get(*key).map_or("", String::as_str)))
        .collect();
    let ours = BrokerConfig::load(None, &overrides, &env).expect("valid");
    let machine = [
        "brokerIP2",
        "rocketmqHome",
        "storePathCommitLog",
        "storePathRootDir",
    ];
    compare(&real, &lines(&ours.to_properties()), &machine);
}

fn compare(real: &BTreeMap<String, String>, ours: &BTreeMap<String, String>, differs: &[&str]) {
    assert!(real.len() > 30, "the golden body was read");
    for (key, value) in real {
        let own = ours.get(key);
        assert!(own.is_some(), "{key} is missing");
        if !differs.contains(&key.as_str()) {
            assert_eq!(own, Some(value), "{key}");
        }
    }
}
