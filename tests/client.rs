//! Our own client against a whole broker: producers, consumers, transactions, request-reply, the
//! admin client, mqadmin and mqbench. `CALLBOARD_TEST_BROKER=java` runs the same against the real
//! RocketMQ of the kit, which shows that the client keeps to the protocol and not to our broker;
//! `CALLBOARD_TEST_RUNNING=NAMESRV,BROKER` takes servers that run already (and are fresh).

mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard::client::consumer::Averagely;
use callboard::client::consumer::{Expression, PullStatus};
use callboard::client::{
    AdminClient, ClientConfig, ClientError, ConsumeFrom, ConsumeOutcome, Message, MessageExt,
    MessageModel, MqClient, PopConsumer, PopOptions, Producer, PullConsumer, PushConsumer,
    TransactionListener, TransactionOutcome, TransactionProducer,
};
use common::ours::make_topic;
use common::server::{Cluster, is_java};
use common::{block_on, until};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// Delays so short that retries can be waited for, and transaction checks soon.
const KEYS: [(&str, &str); 5] = [
    (
        "messageDelayLevel",
        "1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s",
    ),
    ("transactionTimeOut", "1000"),
    ("transactionCheckInterval", "1000"),
    ("enablePropertyFilter", "true"),
    ("autoCreateTopicEnable", "true"),
];

struct Bench {
    namesrv: String,
    broker: String,
}

impl Bench {
    fn client(&self) -> MqClient {
        let mut config = ClientConfig::new(&self.namesrv);
        config.persist_offsets_interval = Duration::from_millis(500);
        config.rebalance_interval = Duration::from_secs(1);
        MqClient::start(config).unwrap()
    }

    async fn topic(&self, topic: &str) {
        let client = self.client();
        make_topic(&client, &self.broker, topic, 4).await;
        client.shut_down().await;
    }
}

#[test]
fn clients_and_tools_work() {
    if let Ok(addrs) = std::env::var("CALLBOARD_TEST_RUNNING") {
        let (namesrv, broker) = addrs.split_once(',').expect("NAMESRV,BROKER");
        let bench = Bench {
            namesrv: namesrv.into(),
            broker: broker.into(),
        };
        return all_scenarios(&bench, std::process::id());
    }
    let cluster = Cluster::start(&KEYS);
    let bench = Bench {
        namesrv: cluster.namesrv.address().to_string(),
        broker: cluster.broker.address().to_string(),
    };
    all_scenarios(&bench, cluster.broker.pid());
}

fn all_scenarios(bench: &Bench, broker_pid: u32) {
    block_on(async {
        run("send and pull", send_and_pull(bench)).await;
        run("push clustering", push_clustering(bench)).await;
        run("push broadcasting", push_broadcasting(bench)).await;
        run("retry", retry(bench)).await;
        run("offsets over a restart", offsets_over_a_restart(bench)).await;
        run("pop", pop(bench)).await;
        run("transactions", transactions(bench)).await;
        run("request and reply", request_and_reply(bench)).await;
        run("admin client", admin_client(bench)).await;
        run("missing topic is made", missing_topic(bench)).await;
    });
    println!("client: mqadmin");
    mqadmin(bench);
    println!("client: mqbench");
    mqbench(bench, broker_pid);
}

/// Whether our broker refuses a kind of request because it is not built yet; said loudly, so that
/// nobody takes it for passed. A Java broker has to know everything.
fn not_yet(what: &str, error: &ClientError) -> bool {
    let text = error.to_string();
    let missing = error.code() == Some(3);
    if missing {
        println!("client: SKIPPED {what}: {text}");
    }
    missing && !is_java()
}

async fn run(name: &str, scenario: impl Future<Output = ()>) {
    println!("client: {name}");
    scenario.await;
}

/// All messages of a topic by body.
async fn read_all(bench: &Bench, topic: &str) -> Vec<MessageExt> {
    let client = bench.client();
    let consumer = PullConsumer::new(&client, "reader").unwrap();
    let mut all = Vec::new();
    for queue in consumer.queues(topic).await.unwrap() {
        let mut offset = consumer.min_offset(&queue).await.unwrap();
        loop {
            let pulled = consumer
                .pull(&queue, &Expression::all(), offset, 32)
                .await
                .unwrap();
            offset = pulled.next_offset;
            all.extend(pulled.messages);
            if pulled.status == PullStatus::NoNewMessage {
                break;
            }
        }
    }
    client.shut_down().await;
    all
}

async fn send_and_pull(bench: &Bench) {
    let topic = "ClientSend";
    bench.topic(topic).await;
    let client = bench.client();
    let producer = Producer::new(&client, "send_group").unwrap();
    let message = |body: &str| Message::new(topic, body.to_owned());

    let sent = producer
        .send(
            message("one")
                .with_tags("TagA")
                .with_keys("k1 k2")
                .with_property("color", "red"),
        )
        .await
        .unwrap();
    assert_eq!(sent.status.name(), "SEND_OK");
    let queues = producer.queues(topic).await.unwrap();
    assert_eq!(queues.len(), 4);
    let sent = producer
        .send_selected(message("two"), |queues, _| queues.len() + 2)
        .await
        .unwrap();
    assert_eq!(sent.queue.queue_id, 2);
    let batch = (0..3).map(|i| message(&format!("batch {i}"))).collect();
    let sent = producer.send_batch(batch).await.unwrap();
    assert_eq!(sent.message_id.split(',').count(), 3);
    assert_eq!(sent.offset_id.split(',').count(), 3);
    producer.send_oneway(message("oneway")).await.unwrap();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    producer.send_with_callback(message("callback"), move |result| {
        sender.send(result.is_ok()).unwrap();
    });
    assert!(receiver.await.unwrap());
    let large = "callboard ".repeat(2_000);
    producer.send(message(&large)).await.unwrap();
    assert!(producer.send(message("")).await.is_err());

    until("everything can be read", async || {
        read_all(bench, topic).await.len() == 8
    })
    .await;
    let all = read_all(bench, topic).await;
    let bodies: Vec<String> = all
        .iter()
        .map(|message| String::from_utf8_lossy(&message.body).into_owned())
        .collect();
    for body in [
        "one", "two", "batch 0", "batch 1", "batch 2", "oneway", "callback", &large,
    ] {
        assert!(
            bodies.iter().any(|found| found == body),
            "{body} is missing"
        );
    }
    let one = all.iter().find(|message| message.body == "one").unwrap();
    assert_eq!((one.tags(), one.keys()), (Some("TagA"), Some("k1 k2")));
    assert_eq!(one.property("color"), Some("red"));
    producer.shut_down().await;
    client.shut_down().await;
}

type Seen = Arc<Mutex<BTreeMap<String, usize>>>;

async fn start_push(
    bench: &Bench,
    group: &str,
    topic: &str,
    model: MessageModel,
    offsets: Option<&std::path::Path>,
    seen: &Seen,
) -> (MqClient, PushConsumer) {
    let client = bench.client();
    let seen = seen.clone();
    let mut builder = PushConsumer::builder(group)
        .subscribe(topic, "*")
        .from(ConsumeFrom::FirstOffset)
        .strategy(Averagely)
        .model(model);
    if let Some(folder) = offsets {
        builder = builder.offsets_directory(folder);
    }
    let consumer = builder
        .start(&client, move |messages| {
            for message in &messages {
                let body = String::from_utf8_lossy(&message.body).into_owned();
                *seen.lock().unwrap().entry(body).or_default() += 1;
            }
            async { ConsumeOutcome::Success }
        })
        .await
        .unwrap();
    (client, consumer)
}

async fn push_clustering(bench: &Bench) {
    let topic = "ClientPush";
    bench.topic(topic).await;
    let (seen, other) = (Seen::default(), Seen::default());
    let model = MessageModel::Clustering;
    let (client_a, a) = start_push(bench, "push_group", topic, model, None, &seen).await;
    assert_eq!(own(&a), 4);
    let (client_b, b) = start_push(bench, "push_group", topic, model, None, &other).await;
    until("the queues are shared", async || {
        own(&a) == 2 && own(&b) == 2
    })
    .await;
    send_numbers(bench, topic, 40).await;
    let count = |seen: &Seen| seen.lock().unwrap().len();
    until("all arrived", async || count(&seen) + count(&other) == 40).await;
    assert!(count(&seen) > 0 && count(&other) > 0);
    assert!(seen.lock().unwrap().values().all(|times| *times == 1));
    b.shut_down(Duration::from_secs(5)).await;
    client_b.shut_down().await;
    until("the queues come back", async || own(&a) == 4).await;
    a.shut_down(Duration::from_secs(5)).await;
    client_a.shut_down().await;
}

/// Queues of topics other than the group's retry topic.
fn own(consumer: &PushConsumer) -> usize {
    consumer
        .queues()
        .iter()
        .filter(|queue| !queue.topic.starts_with('%'))
        .count()
}

async fn send_numbers(bench: &Bench, topic: &str, count: usize) {
    let client = bench.client();
    let producer = Producer::new(&client, "numbers").unwrap();
    for i in 0..count {
        producer
            .send(Message::new(topic, format!("{i}")))
            .await
            .unwrap();
    }
    client.shut_down().await;
}

async fn push_broadcasting(bench: &Bench) {
    let topic = "ClientBroadcast";
    bench.topic(topic).await;
    send_numbers(bench, topic, 10).await;
    let folder = tempfile::tempdir().unwrap();
    let (seen, other) = (Seen::default(), Seen::default());
    let model = MessageModel::Broadcasting;
    let at = Some(folder.path());
    let (client_a, a) = start_push(bench, "broad_group", topic, model, at, &seen).await;
    let (client_b, b) = start_push(bench, "broad_group", topic, model, at, &other).await;
    let all = |seen: &Seen| seen.lock().unwrap().len() == 10;
    until("both have all", async || all(&seen) && all(&other)).await;
    a.shut_down(Duration::from_secs(5)).await;
    b.shut_down(Duration::from_secs(5)).await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    client_a.shut_down().await;
    client_b.shut_down().await;
}

async fn retry(bench: &Bench) {
    let topic = "ClientRetry";
    bench.topic(topic).await;
    let client = bench.client();
    let tries = Arc::new(Mutex::new(Vec::new()));
    let seen = tries.clone();
    let consumer = PushConsumer::builder("retry_group")
        .subscribe(topic, "*")
        .from(ConsumeFrom::FirstOffset)
        .start(&client, move |messages| {
            let message = &messages[0];
            let times = {
                let mut seen = seen.lock().unwrap();
                seen.push((message.reconsume_times, message.topic.to_string()));
                seen.len()
            };
            let outcome = match times {
                1 => ConsumeOutcome::Later,
                2 => panic!("on purpose: a listener that panics asks for the message again"),
                _ => ConsumeOutcome::Success,
            };
            async move { outcome }
        })
        .await
        .unwrap();
    send_numbers(bench, topic, 1).await;
    until("the third try", async || tries.lock().unwrap().len() == 3).await;
    let expected: Vec<_> = (0..3).map(|times| (times, topic.to_owned())).collect();
    assert_eq!(*tries.lock().unwrap(), expected);
    consumer.shut_down(Duration::from_secs(5)).await;
    client.shut_down().await;
}

async fn offsets_over_a_restart(bench: &Bench) {
    let topic = "ClientOffsets";
    bench.topic(topic).await;
    send_numbers(bench, topic, 20).await;
    let seen = Seen::default();
    for (total, more) in [(20, 0), (25, 5)] {
        send_numbers(bench, topic, more).await;
        let model = MessageModel::Clustering;
        let (client, consumer) = start_push(bench, "offset_group", topic, model, None, &seen).await;
        let times = || seen.lock().unwrap().values().sum::<usize>();
        until("all arrived", async || times() >= total).await;
        consumer.shut_down(Duration::from_secs(5)).await;
        client.shut_down().await;
        assert_eq!(times(), total, "something came twice");
    }
}

struct Listener {
    checks: AtomicUsize,
}

impl TransactionListener for Listener {
    fn execute<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, TransactionOutcome> {
        let outcome = match &message.body[..] {
            b"commit" => TransactionOutcome::Commit,
            b"rollback" => TransactionOutcome::Rollback,
            _ => TransactionOutcome::Unknown,
        };
        async move { outcome }.boxed()
    }

    /// A broker under load may ask although the outcome is on its way, so the answer is the same.
    fn check<'a>(&'a self, message: &'a MessageExt) -> BoxFuture<'a, TransactionOutcome> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let outcome = match &message.body[..] {
            b"rollback" => TransactionOutcome::Rollback,
            _ => TransactionOutcome::Commit,
        };
        async move { outcome }.boxed()
    }
}

async fn transactions(bench: &Bench) {
    let topic = "ClientTransaction";
    bench.topic(topic).await;
    let client = bench.client();
    let listener = Arc::new(Listener {
        checks: AtomicUsize::new(0),
    });
    let producer = TransactionProducer::new(&client, "tx_group", listener.clone()).unwrap();
    for body in ["commit", "rollback", "unknown"] {
        producer.send(Message::new(topic, body)).await.unwrap();
    }
    // A message that was committed and checked at the same time comes twice.
    let bodies = async || {
        let all = read_all(bench, topic).await;
        all.into_iter()
            .map(|message| message.body)
            .collect::<std::collections::HashSet<_>>()
    };
    until("commit and check", async || {
        let bodies = bodies().await;
        bodies.contains(&b"commit"[..]) && bodies.contains(&b"unknown"[..])
    })
    .await;
    assert!(listener.checks.load(Ordering::Relaxed) >= 1);
    assert!(!bodies().await.contains(&b"rollback"[..]));
    client.shut_down().await;
}

async fn request_and_reply(bench: &Bench) {
    let topic = "ClientRpc";
    bench.topic(topic).await;
    let (asker, replier) = (bench.client(), bench.client());
    let replies = Producer::new(&replier, "reply_producer").unwrap();
    let consumer = PushConsumer::builder("reply_group")
        .subscribe(topic, "*")
        .from(ConsumeFrom::FirstOffset)
        .start(&replier, move |messages| {
            let replies = replies.clone();
            async move {
                replies.reply(&messages[0], "pong").await.unwrap();
                ConsumeOutcome::Success
            }
        })
        .await
        .unwrap();
    let producer = Producer::new(&asker, "request_producer").unwrap();
    let request = Message::new(topic, "ping");
    let reply = producer.request(request, Duration::from_secs(10)).await;
    assert_eq!(reply.unwrap().body, "pong");
    consumer.shut_down(Duration::from_secs(5)).await;
    asker.shut_down().await;
    replier.shut_down().await;
}

async fn admin_client(bench: &Bench) {
    let topic = "ClientAdmin";
    bench.topic(topic).await;
    let client = bench.client();
    let admin = AdminClient::new(&client);
    let producer = Producer::new(&client, "admin_producer").unwrap();
    let sent = producer
        .send(Message::new(topic, "x").with_keys("needle"))
        .await
        .unwrap();
    let by_id = admin
        .message_by_offset_id(topic, &sent.offset_id)
        .await
        .unwrap();
    assert_eq!(by_id.body, "x");
    let found = async || {
        admin
            .messages_by_key(topic, "needle", 32, 0, i64::MAX)
            .await
            .unwrap()
    };
    until("the key is indexed", async || found().await.len() == 1).await;
    let by_unique = admin
        .messages_by_unique_key(topic, &sent.message_id)
        .await
        .unwrap();
    assert_eq!(by_unique.len(), 1);
    let seen = Seen::default();
    let model = MessageModel::Clustering;
    let (consuming, consumer) = start_push(bench, "admin_group", topic, model, None, &seen).await;
    let times = || seen.lock().unwrap().values().sum::<usize>();
    until("consumed", async || times() == 1).await;
    let connection = admin
        .consumer_connection(&bench.broker, "admin_group")
        .await
        .unwrap();
    let id = &connection.connection_set[0].client_id;
    let info = admin
        .consumer_running_info(&bench.broker, "admin_group", id, false)
        .await
        .unwrap();
    assert_eq!(
        info.mq_table
            .keys()
            .filter(|queue| queue.topic == topic)
            .count(),
        4
    );
    let result = admin
        .consume_directly(&bench.broker, "admin_group", id, &by_id)
        .await;
    if !result
        .as_ref()
        .is_err_and(|error| not_yet("consuming directly", error))
    {
        assert_eq!(result.unwrap().consume_result.as_str(), "CR_SUCCESS");
        assert_eq!(times(), 2);
    }
    let caught_up = async || {
        let stats = admin
            .consume_stats(&bench.broker, "admin_group", Some(topic))
            .await;
        stats.is_ok_and(|stats| !stats.offset_table.is_empty() && stats.total_diff() == 0)
    };
    until("the offset is stored", caught_up).await;
    let reset = callboard::client::admin::OffsetReset {
        group: "admin_group",
        topic,
        timestamp_ms: 0,
        force: true,
        queue_id: -1,
        offset: None,
    };
    admin.reset_offset(&bench.broker, &reset).await.unwrap();
    until("consumed again after the reset", async || times() >= 3).await;
    consumer.shut_down(Duration::from_secs(5)).await;
    consuming.shut_down().await;
    client.shut_down().await;
}

async fn pop(bench: &Bench) {
    let topic = "ClientPop";
    bench.topic(topic).await;
    send_numbers(bench, topic, 20).await;
    let client = bench.client();
    let consumer = PopConsumer::new(&client, "pop_group").unwrap();
    let options = PopOptions {
        invisible: Duration::from_secs(3),
        wait: Duration::from_secs(1),
        from: ConsumeFrom::FirstOffset,
        ..PopOptions::default()
    };
    let all = Expression::all();
    let mut popped = Vec::new();
    until("all are popped", async || {
        popped.extend(consumer.pop(topic, &all, options).await.unwrap());
        popped.len() == 20
    })
    .await;
    let forgotten = popped.split_off(17);
    for message in &popped {
        consumer.ack(message).await.unwrap();
    }
    let mut hidden = forgotten[0].clone();
    let long = Duration::from_secs(60);
    consumer.change_invisible(&mut hidden, long).await.unwrap();
    assert_ne!(hidden.receipt, forgotten[0].receipt);
    let mut back = Vec::new();
    until("two come back", async || {
        back.extend(consumer.pop(topic, &all, options).await.unwrap());
        back.len() >= 2
    })
    .await;
    let bodies = |messages: &[callboard::client::PoppedMessage]| {
        let mut all: Vec<_> = messages
            .iter()
            .map(|popped| popped.message.body.clone())
            .collect();
        all.sort();
        all
    };
    assert_eq!(bodies(&back), bodies(&forgotten[1..]));
    for message in &back {
        assert_eq!(message.message.reconsume_times, 1);
        consumer.ack(message).await.unwrap();
    }
    consumer.ack(&hidden).await.unwrap();
    client.shut_down().await;
}

async fn missing_topic(bench: &Bench) {
    let client = bench.client();
    let producer = Producer::new(&client, "missing_producer").unwrap();
    let sent = producer
        .send(Message::new("ClientMadeOnTheWay", "x"))
        .await
        .unwrap();
    assert!(sent.queue.queue_id < 4);
    until("readable", async || {
        client_sees(bench, "ClientMadeOnTheWay").await == 1
    })
    .await;
    client.shut_down().await;
}

async fn client_sees(bench: &Bench, topic: &str) -> usize {
    let client = bench.client();
    let known = client.route(topic).await.is_ok();
    client.shut_down().await;
    if known {
        read_all(bench, topic).await.len()
    } else {
        0
    }
}

/// Every subcommand that changes nothing for others, in text and as JSON.
fn mqadmin(bench: &Bench) {
    let broker = bench.broker.as_str();
    let lines = [
        "clusterList".to_owned(),
        "clusterList -m".to_owned(),
        "updateTopic -c DefaultCluster -t AdminTopic -r 4 -w 4".to_owned(),
        "updateTopicPerm -c DefaultCluster -t ClientAdmin -p 4".to_owned(),
        "updateTopicPerm -c DefaultCluster -t ClientAdmin -p 6".to_owned(),
        "topicList".to_owned(),
        "topicList -c".to_owned(),
        "topicRoute -t ClientAdmin".to_owned(),
        "topicRoute -l -t ClientAdmin".to_owned(),
        "topicStatus -t ClientAdmin".to_owned(),
        "topicClusterList -t ClientAdmin".to_owned(),
        "allocateMQ -t ClientAdmin -i a,b".to_owned(),
        "updateSubGroup -c DefaultCluster -g AdminMadeGroup -d true -r 3".to_owned(),
        "consumerProgress".to_owned(),
        "consumerProgress -g admin_group".to_owned(),
        "sendMessage -t ClientAdmin -p hello -k mqadminkey -c TagA".to_owned(),
        "sendMessage -t ClientAdmin -p hello -b broker-a -i 1".to_owned(),
        "consumeMessage -t ClientAdmin".to_owned(),
        "printMsg -t ClientAdmin -d true".to_owned(),
        "queryMsgByKey -t ClientAdmin -k needle".to_owned(),
        format!("brokerStatus -b {broker}"),
        format!("getBrokerConfig -b {broker}"),
        format!("updateBrokerConfig -b {broker} -k fileReservedTime -v 71"),
        "getNamesrvConfig".to_owned(),
        "updateKvConfig -s TestSpace -k key -v value".to_owned(),
        "deleteKvConfig -s TestSpace -k key".to_owned(),
        "updateOrderConf -t ClientAdmin -m put -v broker-a:4".to_owned(),
        "updateOrderConf -t ClientAdmin -m get".to_owned(),
        "updateOrderConf -t ClientAdmin -m delete".to_owned(),
        "wipeWritePerm -b broker-a".to_owned(),
        "addWritePerm -b broker-a".to_owned(),
        "statsAll -t ClientAdmin".to_owned(),
        "resetOffsetByTime -g admin_group -t ClientAdmin -s now".to_owned(),
        format!("brokerConsumeStats -b {broker}"),
        format!("producer -b {broker}"),
        format!("haStatus -b {broker}"),
        "getConsumerConfig -g AdminMadeGroup".to_owned(),
        format!("queryCq -t ClientAdmin -q 1 -i 0 -b {broker}"),
        "printMsgByQueue -t ClientAdmin -a broker-a -i 1 -p true -d true".to_owned(),
        "sendMsgStatus -b broker-a -c 2".to_owned(),
        "cloneGroupOffset -s admin_group -d AdminMadeGroup -t ClientAdmin -o true".to_owned(),
        "deleteSubGroup -c DefaultCluster -g AdminMadeGroup".to_owned(),
    ];
    for line in &lines {
        for json in [false, true] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mqadmin"));
            command.args(line.split(' ')).args(["-n", &bench.namesrv]);
            command.args(json.then_some("--json"));
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let error = String::from_utf8_lossy(&output.stderr);
            if !is_java() && error.contains("3 REQUEST_CODE_NOT_SUPPORTED") {
                println!("client: SKIPPED mqadmin {line}: {error}");
                break;
            }
            assert!(output.status.success(), "mqadmin {line}: {text}{error}");
            // Without a producer online there is nothing to print about producers.
            let may_be_empty = line.starts_with("producer ");
            let printed = !text.trim().is_empty();
            assert!(printed || may_be_empty, "mqadmin {line} printed nothing");
            if json {
                let values: Result<Vec<serde_json::Value>, _> =
                    serde_json::Deserializer::from_str(&text)
                        .into_iter()
                        .collect();
                assert!(values.is_ok(), "mqadmin {line} --json: {text}");
            }
        }
    }
    common::mqadmin(
        &bench.namesrv,
        "deleteTopic -c DefaultCluster -t AdminTopic",
    );
}

fn mqbench(bench: &Bench, pid: u32) {
    let pid = pid.to_string();
    let runs: [&[&str]; 5] = [
        &[
            "produce", "--queues", "4", "--window", "16", "--count", "2000",
        ],
        &[
            "produce",
            "--senders",
            "4",
            "--count",
            "500",
            "--serialize",
            "binary",
        ],
        &[
            "produce", "--batch", "16", "--window", "2", "--count", "1600",
        ],
        &["consume"],
        &["latency", "--rate", "200", "--duration", "1"],
    ];
    for run in runs {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqbench"));
        command
            .args(run)
            .args(["--namesrv", &bench.namesrv, "--topic", "BenchTopic"]);
        command.args(["--server-pid", &pid, "--json"]);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mqbench {run:?}: {error}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            report["messages"].as_u64().unwrap() > 0,
            "{run:?}: {report}"
        );
        assert_eq!(report["errors"], serde_json::json!({}), "{run:?}");
    }
}
