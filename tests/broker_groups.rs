//! Topics, groups, clients and offsets of a broker over real sockets: what is asked is answered as
//! the real RocketMQ 5.4.0 did, and what was answered is there after a restart.
//!
//! The golden frames are looked for in `golden/wire` below the folder named by
//! `CALLBOARD_SHARED`, or below `../shared`. Without them that part is not checked, and says so.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::System;
use bytes::BytesMut;
use callboard::actors::broker::start::Broker;
use callboard::actors::kernel::Tree;
use callboard::client::{RemotingClient, RemotingConfig};
use callboard::config::{BrokerConfig, Env, Live};
use callboard::protocol::body::heartbeat::{ConsumerData, HeartbeatData, SubscriptionData};
use callboard::protocol::body::offset::ResetOffsetBody;
use callboard::protocol::body::topic_config::TopicConfig;
use callboard::protocol::fastjson::{Value, from_slice, to_vec};
use callboard::protocol::header::pull::PullMessageRequestHeader;
use callboard::protocol::header::{client, group, offset, send, topic};
use callboard::protocol::message::sys_flag;
use callboard::protocol::{RemotingCommand, RequestCode, ResponseCode};

/// A bound on hanging, not on speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker in this process without a NameServer, and a client.
struct Server {
    broker: Broker,
    addr: String,
    client: RemotingClient,
}

impl Server {
    async fn start(dir: &Path) -> Self {
        let root = dir.display().to_string();
        for _ in 0..50 {
            // A port that was free a moment ago, and hopefully still is, as is its VIP port.
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = free.local_addr().expect("bound").port();
            drop(free);
            let (listen, debug) = (port.to_string(), "127.0.0.1:0");
            let settings = [
                ("listenPort", listen.as_str()),
                ("debugListenAddr", debug),
                ("bindAddress", "127.0.0.1"),
                ("brokerIP1", "127.0.0.1"),
                ("brokerName", "broker-a"),
                ("storePathRootDir", root.as_str()),
                ("mappedFileSizeCommitLog", "1048576"),
                ("mappedFileSizeConsumeQueue", "20000"),
            ];
            let Ok(config) = BrokerConfig::load(None, &settings, &Env::of_process()) else {
                continue;
            };
            match Broker::start(Tree::new("test"), Live::new(config)).await {
                Ok(broker) => {
                    let addr = format!("127.0.0.1:{port}");
                    let client = RemotingClient::new(RemotingConfig::default());
                    return Self {
                        broker,
                        addr,
                        client,
                    };
                }
                Err(error) => println!("port {port}: {error}"),
            }
        }
        panic!("no broker could be started");
    }

    async fn stop(self) {
        self.client.shut_down();
        self.broker.shutdown().await;
    }

    async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        let code = request.code;
        let answered = self.client.call(&self.addr, request, PATIENCE).await;
        answered.unwrap_or_else(|error| panic!("request {code}: {error}"))
    }

    async fn ok(&self, request: RemotingCommand) -> RemotingCommand {
        let code = request.code;
        let answer = self.ask(request).await;
        assert_eq!(answer.code, 0, "request {code}: {:?}", answer.remark);
        answer
    }

    async fn make_topic(&self, topic: &str, queues: i32) {
        let header = topic::CreateTopicRequestHeader {
            topic: topic.to_owned().into(),
            default_topic: "TBW102".into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            topic_filter_type: "SINGLE_TAG".into(),
            ..Default::default()
        };
        self.ok(RemotingCommand::request(
            RequestCode::UpdateAndCreateTopic,
            &header,
        ))
        .await;
    }

    async fn make_group(&self, group: &str) {
        let header = group::GetSubscriptionGroupConfigRequestHeader {
            group: group.to_owned().into(),
        };
        self.ok(RemotingCommand::request(
            RequestCode::GetSubscriptiongroupConfig,
            &header,
        ))
        .await;
    }

    async fn heartbeat(&self, client: &str, group: &str, topic: &str) {
        self.ok(heartbeat(client, group, topic, 0, false)).await;
    }

    async fn commit(&self, group: &str, topic: &str, queue_id: i32, commit_offset: i64) {
        let header = offset::UpdateConsumerOffsetRequestHeader {
            consumer_group: group.to_owned().into(),
            topic: topic.to_owned().into(),
            queue_id,
            commit_offset,
        };
        self.ok(RemotingCommand::request(
            RequestCode::UpdateConsumerOffset,
            &header,
        ))
        .await;
    }

    async fn offset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let header = offset::QueryConsumerOffsetRequestHeader {
            consumer_group: group.to_owned().into(),
            topic: topic.to_owned().into(),
            queue_id,
            set_zero_if_not_found: Some(false),
        };
        let request = RemotingCommand::request(RequestCode::QueryConsumerOffset, &header);
        let answer = self.ask(request).await;
        if answer.code == ResponseCode::QueryNotFound.code() {
            return None;
        }
        Some(
            answer
                .decode_header::<offset::OffsetResponseHeader>()
                .expect("offset")
                .offset,
        )
    }

    async fn send(&self, topic: &str, queue_id: i32) -> RemotingCommand {
        let header = send::SendMessageRequestHeader {
            producer_group: "P".into(),
            topic: topic.to_owned().into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 4,
            queue_id,
            ..Default::default()
        };
        let request = RemotingCommand::request(RequestCode::SendMessage, &header);
        let answer = self.ask(request.with_body("hello")).await;
        self.wait_dispatched().await;
        answer
    }

    /// Waits until queues were handed all that consumers may see.
    async fn wait_dispatched(&self) {
        loop {
            let request =
                RemotingCommand::request_without_header(RequestCode::GetBrokerRuntimeInfo);
            let info: serde_json::Value =
                serde_json::from_slice(&self.ok(request).await.body).expect("JSON");
            if info["table"]["dispatchBehindBytes"] == "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn heartbeat(
    client: &str,
    group: &str,
    topic: &str,
    fingerprint: i32,
    without_sub: bool,
) -> RemotingCommand {
    let subscription = SubscriptionData::of_tags(topic, "*", 1).expect("valid");
    let data = HeartbeatData {
        client_id: client.into(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.into(),
            subscription_data_set: if without_sub {
                Vec::new()
            } else {
                vec![subscription]
            },
            ..ConsumerData::default()
        }],
        heartbeat_fingerprint: fingerprint,
        without_sub,
        ..HeartbeatData::default()
    };
    RemotingCommand::request_without_header(RequestCode::HeartBeat)
        .with_body(to_vec(&data).expect("json"))
}

// ---- Golden frames ----

fn golden() -> Option<PathBuf> {
    let shared = std::env::var_os("CALLBOARD_SHARED").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = shared.unwrap_or_else(beside).join("golden/wire");
    if folder.join("index.json").is_file() {
        return Some(folder);
    }
    println!("CONFORMANCE NOT RUN: golden frames not found");
    None
}

fn frame(folder: &Path, number: &str, kind: &str) -> RemotingCommand {
    let mut entries = std::fs::read_dir(folder).expect("a folder");
    let found = entries.find_map(|entry| {
        let path = entry.expect("readable").path();
        let name = path.file_name()?.to_string_lossy().into_owned();
        (name.starts_with(number) && name.ends_with(&format!("-{kind}.bin"))).then_some(path)
    });
    let bytes = std::fs::read(found.expect("a frame")).expect("readable");
    RemotingCommand::decode(BytesMut::from(&bytes[..])).expect("a frame")
}

/// Properties that hold tables: their entries are alike, but others than in the capture.
const TABLES: [&str; 7] = [
    "topicConfigTable",
    "subscriptionGroupTable",
    "data",
    "offsetTable",
    "subscriptionTable",
    "groupTopicMap",
    "messageRequestModeMap",
];

/// What a body is made of, without its values.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Int(_) => "int".into(),
        Value::Float(_) => "float".into(),
        Value::Text(_) => "text".into(),
        Value::Array(items) => {
            let items: BTreeSet<String> = items.iter().map(shape).collect();
            format!("{items:?}")
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| match key {
                Value::Text(name) if TABLES.contains(&name.as_str()) => {
                    let Value::Object(rows) = value else {
                        return format!("{name}: no table");
                    };
                    let rows: BTreeSet<String> = rows.iter().map(row).collect();
                    format!("{name}: {rows:?}")
                }
                Value::Text(name) => format!("{name}: {}", shape(value)),
                other => format!("{}: {}", shape(other), shape(value)),
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

fn row((key, value): &(Value, Value)) -> String {
    // Queues come as numbers: how many there are is no part of the shape.
    let inner = match value {
        Value::Object(rows) if rows.iter().all(|(key, _)| matches!(key, Value::Int(_))) => {
            "queues".to_owned()
        }
        value => shape(value),
    };
    format!("{}: {inner}", shape(key))
}

/// Sends a captured request, changed by `change`, and compares the answer with the captured one.
async fn replay(
    server: &Server,
    folder: &Path,
    number: &str,
    change: impl FnOnce(&mut RemotingCommand),
) -> RemotingCommand {
    let (mut request, theirs) = (frame(folder, number, "req"), frame(folder, number, "resp"));
    change(&mut request);
    let name = format!("{number}, code {}", request.code);
    let ours = server.ask(request).await;
    assert_eq!(
        (ours.code, &ours.remark),
        (theirs.code, &theirs.remark),
        "{name}"
    );
    let keys = |command: &RemotingCommand| -> BTreeSet<String> {
        command
            .ext_fields
            .iter()
            .map(|(key, _)| key.to_string())
            .collect()
    };
    assert_eq!(keys(&ours), keys(&theirs), "{name}");
    assert_eq!(ours.body.is_empty(), theirs.body.is_empty(), "{name}");
    if !ours.body.is_empty() {
        let read = |command: &RemotingCommand| -> Value {
            from_slice(&command.body).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        assert_eq!(shape(&read(&ours)), shape(&read(&theirs)), "{name}");
    }
    ours
}

fn set(key: &'static str, value: &'static str) -> impl FnOnce(&mut RemotingCommand) {
    move |request| request.ext_fields.insert(key, value)
}

fn table(command: &RemotingCommand, name: &str) -> Value {
    from_slice::<Value>(&command.body)
        .expect("json")
        .get(name)
        .expect("a table")
        .clone()
}

#[test]
fn answers_look_as_those_of_the_reference() {
    let Some(folder) = golden() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        let server = Server::start(dir.path()).await;
        let as_is = |_: &mut RemotingCommand| {};
        replay(&server, &folder, "0406", as_is).await;
        for number in ["0092", "0176", "0294", "0298", "0299", "0300", "0339"] {
            replay(&server, &folder, number, as_is).await;
        }
        for topic in [
            "pull_j5A",
            "adm",
            "adm2",
            "retry_goA",
            "reset_j5A",
            "pop_j5C",
            "pop_j4A",
        ] {
            server.make_topic(topic, 4).await;
        }
        for group in ["gretry_goA", "g_reset_j5A", "gtag_goA"] {
            server.make_group(group).await;
        }
        replay(&server, &folder, "0407", as_is).await;
        for number in ["0042", "0043", "0113"] {
            replay(&server, &folder, number, as_is).await;
        }
        replay(&server, &folder, "0052", set("consumerGroup", "gclu_goA")).await;
        for number in ["0251", "0313", "0318", "0388"] {
            replay(&server, &folder, number, as_is).await;
        }
        replay(&server, &folder, "0319", set("producerGroup", "pg_j4A_1")).await;
        server.heartbeat("192.0.2.2@cc", "CG_adm", "adm").await;
        replay(&server, &folder, "0314", as_is).await;
        for number in ["0063", "0064", "0066", "0033", "0290", "0037"] {
            replay(&server, &folder, number, as_is).await;
        }
        for (group, topic) in [("gretry_goA", "retry_goA"), ("gtag_goA", "tag_goA")] {
            server.commit(group, topic, 0, 7).await;
        }
        replay(&server, &folder, "0353", as_is).await;
        replay(&server, &folder, "0352", as_is).await;
        server
            .broker
            .ctx
            .offsets
            .commit("gb@broadcast", "adm", 0, 1);
        let all = replay(&server, &folder, "0004", as_is).await;
        assert!(String::from_utf8_lossy(&all.body).contains(r#""adm@gb@broadcast":{0:1}"#));
        replay(&server, &folder, "0334", as_is).await;
        replay(&server, &folder, "0335", as_is).await;
        let other_names = |request: &mut RemotingCommand| {
            let body = String::from_utf8_lossy(&request.body).replace("j4A", "j5C");
            request.body = body.into_bytes().into();
        };
        replay(&server, &folder, "0416", other_names).await;
        replay(&server, &folder, "0003", as_is).await;
        replay(&server, &folder, "0415", as_is).await;
        server
            .heartbeat("192.0.2.2@c7", "g_pop_j5C", "pop_j5C")
            .await;
        replay(&server, &folder, "0264", as_is).await;
        let system = replay(&server, &folder, "0365", as_is).await;
        let names = |command: &RemotingCommand| -> BTreeSet<String> {
            let Value::Array(names) = table(command, "topicList") else {
                panic!("no list")
            };
            names
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect()
        };
        assert_eq!(names(&system), names(&frame(&folder, "0365", "resp")));
        same_entries(&server, &folder, "0002", "topicConfigTable", |name| {
            !name.contains("j5C") || name == "pop_j5C"
        })
        .await;
        same_entries(&server, &folder, "0001", "subscriptionGroupTable", |name| {
            name.contains("CONSUMER") || name.starts_with("CID_ONS")
        })
        .await;
        for number in ["0321", "0330", "0119"] {
            replay(&server, &folder, number, as_is).await;
        }
        assert!(!server.broker.ctx.topics.contains("adm2"));
        server.stop().await;
    });
}

/// Entries of a table are exactly those of the capture.
async fn same_entries(
    server: &Server,
    folder: &Path,
    number: &str,
    name: &str,
    compared: impl Fn(&str) -> bool,
) {
    let ours = replay(server, folder, number, |_| {}).await;
    let (ours, theirs) = (
        table(&ours, name),
        table(&frame(folder, number, "resp"), name),
    );
    let Value::Object(entries) = &theirs else {
        panic!("no table")
    };
    let mut count = 0;
    for (key, theirs) in entries {
        let key = key.as_str().expect("a name");
        if compared(key) {
            assert_eq!(ours.get(key), Some(theirs), "{number} {key}");
            count += 1;
        }
    }
    assert!(count > 3, "{number}: {count} compared");
}

// ---- Promises ----

#[test]
fn what_was_answered_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        let server = Server::start(dir.path()).await;
        server.make_topic("T", 4).await;
        server.heartbeat("c", "G", "T").await;
        server.commit("G", "T", 2, 41).await;
        server.commit("G", "T", 2, 42).await;
        assert_eq!(server.offset("G", "T", 2).await, Some(42));
        assert_eq!(server.offset("G", "T", 1).await, None);
        assert!(server.broker.ctx.topics.contains("%RETRY%G"));
        server.stop().await;
        let server = Server::start(dir.path()).await;
        assert_eq!(server.offset("G", "T", 2).await, Some(42));
        assert!(server.broker.ctx.subscriptions.contains("G"));
        assert_eq!(
            server
                .broker
                .ctx
                .topics
                .get("T")
                .expect("kept")
                .write_queue_nums,
            4
        );
        server.stop().await;
    });
}

#[test]
fn a_deleted_topic_starts_afresh() {
    let dir = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        let server = Server::start(dir.path()).await;
        server.make_topic("T", 1).await;
        server.make_group("G").await;
        for _ in 0..3 {
            assert_eq!(server.send("T", 0).await.code, 0);
        }
        server.commit("G", "T", 0, 3).await;
        let delete = || {
            let header = topic::DeleteTopicRequestHeader { topic: "T".into() };
            RemotingCommand::request(RequestCode::DeleteTopicInBroker, &header)
        };
        server.ok(delete()).await;
        assert_eq!(server.offset("G", "T", 0).await, None);
        server.make_topic("T", 1).await;
        let first = server.send("T", 0).await;
        assert_eq!(first.ext_fields.get("queueOffset"), Some("0"));
        server.ok(delete()).await;
        server.ok(delete()).await;
        server.make_topic("T", 1).await;
        server.stop().await;
        let server = Server::start(dir.path()).await;
        assert_eq!(
            server.send("T", 0).await.ext_fields.get("queueOffset"),
            Some("0")
        );
        server.stop().await;
    });
}

#[test]
fn a_reset_is_waited_for() {
    let dir = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        let server = Server::start(dir.path()).await;
        server.make_topic("T", 2).await;
        server.make_group("G").await;
        for _ in 0..5 {
            server.send("T", 0).await;
        }
        server.commit("G", "T", 0, 2).await;
        let reset = |queue_id, offset, timestamp| {
            let header = group::ResetOffsetRequestHeader {
                group: "G".into(),
                topic: "T".into(),
                queue_id,
                offset,
                timestamp,
                is_force: true,
            };
            RemotingCommand::request(RequestCode::InvokeBrokerToResetOffset, &header)
        };
        let all = server.ok(reset(-1, None, -1)).await;
        let body: ResetOffsetBody = from_slice(&all.body).expect("json");
        assert_eq!(
            body.offset_table.values().copied().collect::<Vec<_>>(),
            [5, 0]
        );
        assert_eq!(server.offset("G", "T", 0).await, Some(5));
        let refused = server.ask(reset(0, Some(9), 0)).await;
        assert_eq!(
            refused.remark.as_deref(),
            Some("Target offset 9 not in consume queue range [0-5]")
        );
        server.ok(reset(0, Some(3), 0)).await;
        // No commit gets through before the next pull has taken it.
        let commit = offset::UpdateConsumerOffsetRequestHeader {
            consumer_group: "G".into(),
            topic: "T".into(),
            queue_id: 0,
            commit_offset: 5,
        };
        let commit = RemotingCommand::request(RequestCode::UpdateConsumerOffset, &commit);
        let answer = server.ok(commit).await;
        assert_eq!(
            answer.remark.as_deref(),
            Some("Offset has been previously reset")
        );
        assert_eq!(server.offset("G", "T", 0).await, Some(3));
        // The pull that takes it brings the old offset along, which counts from the next pull on.
        let pull = || {
            let header = PullMessageRequestHeader {
                consumer_group: "G".into(),
                topic: "T".into(),
                queue_id: 0,
                queue_offset: 5,
                max_msg_nums: 32,
                sys_flag: sys_flag::pull::COMMIT_OFFSET
                    | sys_flag::pull::SUSPEND
                    | sys_flag::pull::SUBSCRIPTION,
                commit_offset: 5,
                suspend_timeout_millis: 1,
                subscription: Some("*".into()),
                sub_version: 1,
                ..PullMessageRequestHeader::default()
            };
            RemotingCommand::request(RequestCode::PullMessage, &header)
        };
        let moved = server.ask(pull()).await;
        assert_eq!(moved.response_code(), Some(ResponseCode::PullOffsetMoved));
        assert_eq!(moved.remark.as_deref(), Some("OFFSET_RESET"));
        assert_eq!(moved.ext_fields.get("nextBeginOffset"), Some("3"));
        assert_eq!(server.offset("G", "T", 0).await, Some(3));
        let nothing = server.ask(pull()).await;
        assert_eq!(nothing.response_code(), Some(ResponseCode::PullNotFound));
        assert_eq!(server.offset("G", "T", 0).await, Some(5));
        server.stop().await;
    });
}

#[test]
fn a_client_is_asked_for_its_subscriptions_again() {
    let dir = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        let server = Server::start(dir.path()).await;
        let beat = async |fingerprint, without_sub| {
            let answer = server
                .ok(heartbeat("c", "G", "T", fingerprint, without_sub))
                .await;
            assert_eq!(
                answer.ext_fields.get("IS_SUPPORT_HEART_BEAT_V2"),
                Some("true")
            );
            answer.ext_fields.get("IS_SUB_CHANGE") == Some("true")
        };
        // The broker knows nothing of what the client told another one, or this one before.
        assert!(beat(7, true).await);
        assert!(!beat(7, false).await);
        assert!(!beat(7, true).await);
        assert!(beat(8, true).await);
        assert!(beat(0, false).await);
        assert!(server.broker.ctx.consumers.subscription("G", "T").is_some());
        let header = client::GetConsumerListByGroupRequestHeader {
            consumer_group: "G".into(),
        };
        let list = RemotingCommand::request(RequestCode::GetConsumerListByGroup, &header);
        let list = server.ok(list).await;
        assert_eq!(list.body, r#"{"consumerIdList":["c"]}"#);
        server.client.disconnect(&server.addr);
        // The connection's end is seen soon; nothing else tells.
        while server.broker.ctx.consumers.get("G").is_some() {
            actix_rt::time::sleep(Duration::from_millis(2)).await;
        }
        server.stop().await;
    });
}

#[test]
fn bad_topics_and_groups_are_refused_as_by_the_reference() {
    let dir = tempfile::tempdir().expect("a folder");
    System::new().block_on(async {
        let server = Server::start(dir.path()).await;
        let make = |name: &str, attributes: &str| {
            let header = topic::CreateTopicRequestHeader {
                topic: name.to_owned().into(),
                default_topic: "TBW102".into(),
                read_queue_nums: 1,
                write_queue_nums: 1,
                perm: 6,
                topic_filter_type: "SINGLE_TAG".into(),
                attributes: Some(attributes.to_owned().into()),
                ..Default::default()
            };
            RemotingCommand::request(RequestCode::UpdateAndCreateTopic, &header)
        };
        let cases = [
            (
                "TBW102",
                "",
                29,
                "The topic[TBW102] is conflict with system topic.",
            ),
            (
                "T",
                "+message.type=MIXED",
                29,
                "MIXED message type is not supported.",
            ),
            (
                "T",
                "message.type=FIFO",
                1,
                "add/alter attribute format is wrong: message.type",
            ),
            ("T", "+color=red", 1, "unsupported key: color"),
        ];
        for (name, attributes, code, remark) in cases {
            let answer = server.ask(make(name, attributes)).await;
            assert_eq!(
                (answer.code, answer.remark.as_deref()),
                (code, Some(remark)),
                "{name}"
            );
        }
        server.ok(make("T", "+message.type=FIFO")).await;
        let config: TopicConfig = {
            let header = topic::GetTopicConfigRequestHeader { topic: "T".into() };
            let get = RemotingCommand::request(RequestCode::GetTopicConfig, &header);
            from_slice(&server.ok(get).await.body).expect("json")
        };
        assert_eq!(config.attributes["message.type"], "FIFO");
        let bad =
            RemotingCommand::request_without_header(RequestCode::UpdateAndCreateSubscriptiongroup);
        let answer = server
            .ask(bad.clone().with_body(r#"{"groupName":"a b"}"#))
            .await;
        assert_eq!(answer.code, 29);
        assert_eq!(server.ask(bad.with_body("{")).await.code, 1);
        server.stop().await;
    });
}
