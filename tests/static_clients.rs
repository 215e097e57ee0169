//! Static topics seen from our side: what our client and mqadmin do with logic queues, over two brokers,
//! also while the queues move from one to the other. `CALLBOARD_TEST_BROKER=java` runs the same against
//! RocketMQ's brokers.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard::client::consumer::{Expression, PullStatus};
use callboard::client::{
    AdminClient, ClientConfig, ConsumeFrom, ConsumeOutcome, Message, MessageExt, MessageQueue,
    MqClient, Producer, PullConsumer, PushConsumer, SendStatus, TransactionListener,
    TransactionOutcome, TransactionProducer,
};
use callboard::protocol::message::names;
use callboard::protocol::static_topic::plan::{self, BLOCK_SIZE};
use callboard::protocol::static_topic::{check, is_mock_broker};
use common::ours::wait_route;
use common::server::{Broker, Folder, Namesrv};
use common::{block_on, until};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

const KEYS: [(&str, &str); 4] = [
    (
        "messageDelayLevel",
        "1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s",
    ),
    ("transactionTimeOut", "1000"),
    ("transactionCheckInterval", "1000"),
    ("brokerName", "broker-a"),
];

/// Two brokers of one cluster.
struct Two {
    namesrv: Namesrv,
    _a: Broker,
    b: Broker,
    // Dropped last: the processes are gone by then.
    dir: Folder,
}

impl Two {
    fn start() -> Two {
        let dir = Folder::new();
        let namesrv = Namesrv::start(&dir.0);
        let broker = |name: &'static str| {
            let mut keys = KEYS;
            keys[3].1 = name;
            Broker::start_in(&dir.0.join(name), namesrv.address(), &keys)
        };
        let (a, b) = (broker("broker-a"), broker("broker-b"));
        let two = Two {
            namesrv,
            _a: a,
            b,
            dir,
        };
        common::eventually("both brokers are registered", || {
            let text = two.admin("clusterList");
            (text.contains("broker-a") && text.contains("broker-b")).then_some(())
        });
        two
    }

    /// What our mqadmin says to a line of arguments; its files go to the folder of the test.
    fn tool(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqadmin"));
        command
            .args(line.split(' '))
            .args(["-n", &self.namesrv.address().to_string()])
            .env("TMPDIR", &self.dir.0);
        command
    }

    fn admin(&self, line: &str) -> String {
        said(self.tool(line))
    }

    fn admin_json(&self, line: &str) -> Value {
        serde_json::from_str(&self.admin(&format!("{line} --json"))).expect("JSON")
    }

    /// As [`Two::admin`], while the tasks of this thread go on.
    async fn admin_meanwhile(&self, line: &str) {
        let command = self.tool(line);
        tokio::task::spawn_blocking(move || said(command))
            .await
            .expect("mqadmin");
    }

    /// A client that refreshes its routes as rarely as RocketMQ's: what it knows of moves it was told by
    /// brokers.
    fn client(&self) -> MqClient {
        let mut config = ClientConfig::new(&self.namesrv.address().to_string());
        config.persist_offsets_interval = Duration::from_millis(300);
        config.rebalance_interval = Duration::from_secs(1);
        config.poll_route_interval = Duration::from_secs(600);
        MqClient::start(config).expect("a client")
    }

    async fn make(&self, client: &MqClient, topic: &str, queues: i32) {
        self.admin(&format!(
            "updateStaticTopic -t {topic} -b broker-a -qn {queues}"
        ));
        let producer = Producer::new(client, "maker").unwrap();
        until("all queues are led", async || {
            client.route(topic).await.is_ok_and(|route| {
                let led = |queue| route.broker_of(queue) == Some("broker-a");
                route.read_queues.len() == queues as usize && route.read_queues.iter().all(led)
            })
        })
        .await;
        assert_eq!(producer.queues(topic).await.unwrap().len(), queues as usize);
    }
}

/// What a command prints; panics when it fails.
fn said(mut command: Command) -> String {
    let output = command.output().expect("mqadmin");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text} {output:?}");
    text
}

async fn send(producer: &Producer, queue: &MessageQueue, body: &str) -> i64 {
    let message = Message::new(queue.topic.as_str(), body.to_owned());
    let sent = producer.send_to(message, queue).await.unwrap();
    assert_eq!(sent.status, SendStatus::Ok);
    assert_eq!(sent.queue, *queue);
    sent.queue_offset
}

/// A Java broker hears of the brokers' addresses some seconds after they have started; until then it can't
/// ask for what lies elsewhere, nor itself for the time of the first message.
async fn wait_forwarded(consumer: &PullConsumer, queue: &MessageQueue) {
    until("the leader reaches the former one", async || {
        consumer.committed(queue).await.is_ok()
            && consumer.min_offset(queue).await.is_ok()
            && consumer.earliest_store_time(queue).await.is_ok()
    })
    .await;
}

/// All messages of a queue from an offset on.
async fn pull_from(consumer: &PullConsumer, queue: &MessageQueue, from: i64) -> Vec<MessageExt> {
    let (mut offset, mut all) = (from, Vec::new());
    loop {
        let pulled = consumer.pull(queue, &Expression::all(), offset, 32).await;
        let pulled = pulled.unwrap();
        all.extend(pulled.messages);
        match pulled.status {
            PullStatus::Found | PullStatus::NoMatchedMessage => {
                assert!(pulled.next_offset > offset);
                offset = pulled.next_offset;
            }
            PullStatus::NoNewMessage => return all,
            PullStatus::OffsetIllegal => panic!("{queue:?} at {offset}: {}", pulled.next_offset),
        }
    }
}

fn bodies(messages: &[MessageExt]) -> Vec<String> {
    let body = |message: &MessageExt| String::from_utf8_lossy(&message.body).into_owned();
    messages.iter().map(body).collect()
}

fn numbers(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[test]
fn clients_and_tools_know_static_topics() {
    let mut two = Two::start();
    block_on(async {
        println!("static: queues move under a client that is not told");
        queues_move(&two).await;
        println!("static: consumers and producers while queues move");
        consumers_stay_right(&two).await;
        println!("static: what failed comes back");
        failures_come_back(&two).await;
        println!("static: all kinds of sends");
        all_sends(&two).await;
        println!("static: files of mappings");
        files(&two).await;
        println!("static: a move that was interrupted");
        an_interrupted_move(&two).await;
        println!("static: a broker is away");
        a_broker_is_away(&mut two).await;
    });
}

async fn queues_move(two: &Two) {
    let topic = "StaticMoves";
    let client = two.client();
    two.make(&client, topic, 4).await;
    let producer = Producer::new(&client, "moves_p").unwrap();
    let consumer = PullConsumer::new(&client, "moves_c").unwrap();
    let admin = AdminClient::new(&client);
    let queues = consumer.queues(topic).await.unwrap();
    assert!(
        queues
            .iter()
            .all(|queue| is_mock_broker(&queue.broker_name))
    );
    for number in 0..25 {
        for queue in &queues {
            assert_eq!(send(&producer, queue, &number.to_string()).await, number);
        }
    }
    for queue in &queues {
        until("dispatched", async || {
            consumer.max_offset(queue).await.unwrap() == 25
        })
        .await;
        assert_eq!(
            bodies(&pull_from(&consumer, queue, 0).await),
            numbers(0..25)
        );
        consumer.commit(queue, 10).await.unwrap();
    }

    two.admin(&format!(
        "remappingStaticTopic -t {topic} -b broker-a,broker-b"
    ));
    // The client has the old route: it learns of the new leaders by asking the old ones.
    for queue in &queues {
        wait_forwarded(&consumer, queue).await;
        assert_eq!(consumer.committed(queue).await.unwrap(), Some(10));
        let moved = queue.queue_id >= 2;
        let base = if moved { BLOCK_SIZE } else { 25 };
        for number in 0..25 {
            let sent = send(&producer, queue, &(25 + number).to_string()).await;
            assert_eq!(sent, base + number);
        }
        let end = base + 25;
        until("dispatched", async || {
            consumer.max_offset(queue).await.unwrap() == end
        })
        .await;
        assert_eq!(consumer.min_offset(queue).await.unwrap(), 0);
        let all = pull_from(&consumer, queue, 10).await;
        assert_eq!(bodies(&all), numbers(10..50));
        assert!(all.iter().all(|message| message.queue() == *queue));
        assert_eq!(all.last().unwrap().queue_offset, end - 1);
        consumer.commit(queue, end - 5).await.unwrap();
        assert_eq!(consumer.committed(queue).await.unwrap(), Some(end - 5));
        let since = all[20].store_timestamp;
        let found = consumer.offset_by_time(queue, since).await.unwrap();
        let first = all
            .iter()
            .find(|message| message.store_timestamp >= since)
            .unwrap();
        assert!(
            found <= first.queue_offset,
            "{found} > {}",
            first.queue_offset
        );
        assert!(consumer.earliest_store_time(queue).await.unwrap() <= all[0].store_timestamp);
    }

    let configs = admin.static_topic(topic).await.unwrap();
    let logic = check::logic_queues(&configs).unwrap();
    let leaders: Vec<&str> = logic.values().map(|queue| queue.leader()).collect();
    assert_eq!(leaders, ["broker-a", "broker-a", "broker-b", "broker-b"]);
    let status = two.admin_json(&format!("topicStatus -t {topic}"));
    let rows = status["queues"].as_array().unwrap();
    let of_logic = |row: &&Value| row["brokerName"] == "__syslo__global__";
    let ends: Vec<i64> = rows
        .iter()
        .filter(of_logic)
        .map(|r| r["maxOffset"].as_i64().unwrap())
        .collect();
    assert_eq!(ends, [50, 50, BLOCK_SIZE + 25, BLOCK_SIZE + 25]);
    let route = two.admin(&format!("topicRoute -t {topic}"));
    assert!(route.contains("topicQueueMappingByBroker"), "{route}");
    client.shut_down().await;
}

/// What a push consumer got, by queue, in the order it came.
type Seen = Arc<Mutex<BTreeMap<i32, Vec<(i64, i64)>>>>;

async fn start_orderly(
    two: &Two,
    group: &str,
    topic: &str,
    seen: &Seen,
) -> (MqClient, PushConsumer) {
    let (client, seen) = (two.client(), seen.clone());
    let consumer = PushConsumer::builder(group)
        .subscribe(topic, "*")
        .from(ConsumeFrom::FirstOffset)
        .orderly()
        .start(&client, move |messages| {
            for message in &messages {
                let number = String::from_utf8_lossy(&message.body).parse().unwrap();
                let mut seen = seen.lock().unwrap();
                let queue = seen.entry(message.queue_id).or_default();
                queue.push((message.queue_offset, number));
            }
            async { ConsumeOutcome::Success }
        })
        .await
        .unwrap();
    (client, consumer)
}

/// A sender sends to every queue while all of them move to the other broker and back: each message comes
/// once, in order, and the committed offset is the end.
async fn consumers_stay_right(two: &Two) {
    let (topic, group) = ("StaticLive", "static_live");
    let client = two.client();
    two.make(&client, topic, 4).await;
    let seen = Seen::default();
    let (consumers, consumer) = start_orderly(two, group, topic, &seen).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, producer) = (stop.clone(), Producer::new(&client, "live_p").unwrap());
    let queues = producer.queues(topic).await.unwrap();
    let sender = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            for queue in &queues {
                let message = Message::new(topic, number.to_string());
                producer.send_to(message, queue).await.unwrap();
            }
            number += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        number
    });
    for targets in ["broker-b", "broker-a,broker-b", "broker-a"] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        two.admin_meanwhile(&format!("remappingStaticTopic -t {topic} -b {targets}"))
            .await;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::Relaxed);
    let sent: i64 = sender.await.unwrap();
    let count = || seen.lock().unwrap().values().map(Vec::len).sum::<usize>() as i64;
    until("all came", async || count() >= 4 * sent).await;
    consumer.shut_down(Duration::from_secs(5)).await;
    consumers.shut_down().await;
    for (queue, messages) in &*seen.lock().unwrap() {
        let numbers: Vec<i64> = messages.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers, (0..sent).collect::<Vec<_>>(), "queue {queue}");
        let rises = messages.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(rises, "queue {queue}: {messages:?}");
    }
    let reader = PullConsumer::new(&client, group).unwrap();
    for queue in reader.queues(topic).await.unwrap() {
        let end = reader.max_offset(&queue).await.unwrap();
        assert_eq!(reader.committed(&queue).await.unwrap(), Some(end));
        assert!(queue.queue_id != 0 || end > 2 * BLOCK_SIZE);
    }
    let progress = two.admin_json(&format!("consumerProgress -g {group}"));
    assert_eq!(progress["diffTotal"], 0, "{progress}");
    println!("static: {} messages came in order", 4 * sent);
    client.shut_down().await;
}

/// A message that fails is sent to the retry topic by the client, for no broker is asked to: comes back,
/// and ends with the dead letters when it was tried often enough.
async fn failures_come_back(two: &Two) {
    let topic = "StaticRetry";
    let client = two.client();
    two.make(&client, topic, 2).await;
    let producer = Producer::new(&client, "retry_p").unwrap();
    let queue = producer.queues(topic).await.unwrap().remove(0);
    let tries = Arc::new(Mutex::new(Vec::new()));
    let seen = tries.clone();
    let consumer = PushConsumer::builder("static_retry")
        .subscribe(topic, "*")
        .from(ConsumeFrom::FirstOffset)
        .reconsume_times_max(2)
        .start(&client, move |messages| {
            for message in &messages {
                let retried = (message.reconsume_times, message.topic.to_string());
                seen.lock().unwrap().push(retried);
            }
            async { ConsumeOutcome::Later }
        })
        .await
        .unwrap();
    send(&producer, &queue, "fails").await;
    until("three tries", async || tries.lock().unwrap().len() == 3).await;
    let expected: Vec<_> = (0..3).map(|times| (times, topic.to_owned())).collect();
    assert_eq!(*tries.lock().unwrap(), expected);
    dead_letter(two, "static_retry").await;
    consumer.shut_down(Duration::from_secs(5)).await;

    let consumer = PushConsumer::builder("static_dead")
        .subscribe(topic, "*")
        .from(ConsumeFrom::FirstOffset)
        .orderly()
        .suspend(Duration::from_millis(50))
        .reconsume_times_max(1)
        .start(&client, |_| async { ConsumeOutcome::Later })
        .await
        .unwrap();
    dead_letter(two, "static_dead").await;
    consumer.shut_down(Duration::from_secs(5)).await;
    client.shut_down().await;
}

async fn dead_letter(two: &Two, group: &str) {
    let client = two.client();
    let topic = names::dlq_topic(group);
    wait_route(&client, &topic).await;
    let reader = PullConsumer::new(&client, "dead_reader").unwrap();
    until("the dead letter", async || {
        let mut found = 0;
        for queue in reader.queues(&topic).await.unwrap() {
            found += reader.max_offset(&queue).await.unwrap();
        }
        found == 1
    })
    .await;
    client.shut_down().await;
}

struct Committing;

impl TransactionListener for Committing {
    fn execute(&self, _: &Message) -> BoxFuture<'_, TransactionOutcome> {
        async { TransactionOutcome::Commit }.boxed()
    }

    fn check(&self, _: &MessageExt) -> BoxFuture<'_, TransactionOutcome> {
        async { TransactionOutcome::Commit }.boxed()
    }
}

async fn all_sends(two: &Two) {
    let topic = "StaticSends";
    let client = two.client();
    two.make(&client, topic, 2).await;
    let producer = Producer::new(&client, "sends_p").unwrap();
    let transactions = TransactionProducer::new(&client, "sends_tx", Arc::new(Committing)).unwrap();
    let message = |body: &str| Message::new(topic, body.to_owned());
    let mut expected = BTreeSet::new();
    for round in ["before", "after"] {
        let name = |kind: &str| {
            let name = format!("{kind} {round}");
            expected.insert(name.clone());
            name
        };
        let names = [
            "any",
            "selected",
            "first",
            "second",
            "late",
            "committed",
            "called",
            "oneway",
        ];
        let names: Vec<String> = names.map(name).into_iter().collect();
        producer.send(message(&names[0])).await.unwrap();
        let selected = producer.send_selected(message(&names[1]), |_, _| 1).await;
        assert_eq!(selected.unwrap().queue.queue_id, 1);
        let batch = vec![message(&names[2]), message(&names[3])];
        producer.send_batch(batch).await.unwrap();
        producer
            .send(message(&names[4]).with_delay_level(1))
            .await
            .unwrap();
        transactions.send(message(&names[5])).await.unwrap();
        let (done, wait) = tokio::sync::oneshot::channel();
        producer.send_with_callback(message(&names[6]), |result| {
            let _ = done.send(result.map(|sent| sent.status));
        });
        assert_eq!(wait.await.unwrap().unwrap(), SendStatus::Ok);
        // Nobody would say that the leader is another one: sent when the route is known to be right.
        producer.send_oneway(message(&names[7])).await.unwrap();
        let reader = PullConsumer::new(&client, "sends_reader").unwrap();
        until("everything is there", async || {
            let mut found = BTreeSet::new();
            for queue in reader.queues(topic).await.unwrap() {
                found.extend(bodies(&pull_from(&reader, &queue, 0).await));
            }
            found == expected
        })
        .await;
        if round == "before" {
            two.admin(&format!("remappingStaticTopic -t {topic} -b broker-b"));
        }
    }
    client.shut_down().await;
}

/// A topic is made from a file, and a mapping that is there is not made twice.
async fn files(two: &Two) {
    let topic = "StaticFile";
    let plan = two.admin_json(&format!(
        "updateStaticTopic -t {topic} -b broker-a,broker-b -qn 3"
    ));
    assert_eq!(plan["type"], "CREATE_OR_UPDATE");
    let other = plan.to_string().replace(topic, "StaticOther");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), other).unwrap();
    let path = file.path().display();
    two.admin(&format!("updateStaticTopic -t StaticOther -mf {path}"));
    let client = two.client();
    until("the route", async || {
        client.route("StaticOther").await.is_ok_and(|route| {
            route.read_queues.len() == 3
                && route
                    .read_queues
                    .iter()
                    .all(|queue| route.broker_of(queue).is_some())
        })
    })
    .await;
    let refused = |line: &str, text: &str| {
        let output = two.tool(line).output().expect("mqadmin");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && error.contains(text),
            "{line}: {error}"
        );
    };
    let line = format!("updateStaticTopic -t {topic} -b broker-a -qn");
    refused(&format!("{line} 3"), "equal the existed queue num");
    refused(&format!("{line} 2"), "Cannot decrease the queue num");
    refused(
        "remappingStaticTopic -t StaticNone -b broker-a",
        "No topic route",
    );
    refused(
        &format!("remappingStaticTopic -t {topic} -b broker-z"),
        "broker-z",
    );
    refused(
        &format!("remappingStaticTopic -t {topic} -mf {path}"),
        "not match",
    );
    two.admin(&format!("updateStaticTopic -t {topic} -b broker-a -qn 4"));
    client.shut_down().await;
}

/// A remapping whose tool was killed is ended with the file that it wrote, wherever it stood; what was
/// sent meanwhile is stored, though nobody can say at which offset.
async fn an_interrupted_move(two: &Two) {
    let topic = "StaticInterrupted";
    let client = two.client();
    two.make(&client, topic, 1).await;
    let (admin, producer) = (
        AdminClient::new(&client),
        Producer::new(&client, "cut_p").unwrap(),
    );
    let queue = producer.queues(topic).await.unwrap().remove(0);
    for number in 0..3 {
        assert_eq!(send(&producer, &queue, &number.to_string()).await, number);
    }
    let brokers = admin.topic_config_everywhere(topic).await.unwrap();
    let targets = BTreeSet::from(["broker-b".to_owned()]);
    let plan = plan::remap(topic, brokers, &targets, 0).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(&plan).unwrap()).unwrap();
    for broker in ["broker-b", "broker-a"] {
        let addr = admin.broker_addr(broker).await.unwrap();
        let part = &plan.broker_config_map[broker];
        admin.put_static_topic(&addr, part, false).await.unwrap();
    }
    assert_eq!(send(&producer, &queue, "3").await, -1);
    let line = format!(
        "remappingStaticTopic -t {topic} -mf {}",
        file.path().display()
    );
    two.admin(&line);
    assert_eq!(send(&producer, &queue, "4").await, BLOCK_SIZE + 1);
    two.admin(&format!("{line} -fr true"));
    let reader = PullConsumer::new(&client, "cut_c").unwrap();
    let end = BLOCK_SIZE + 2;
    until("dispatched", async || {
        reader.max_offset(&queue).await.unwrap() == end
    })
    .await;
    let all = pull_from(&reader, &queue, 0).await;
    assert_eq!(bodies(&all), numbers(0..5));
    let offsets: Vec<i64> = all.iter().map(|message| message.queue_offset).collect();
    assert_eq!(offsets, [0, 1, 2, BLOCK_SIZE, BLOCK_SIZE + 1]);
    client.shut_down().await;
}

/// While a broker is away, messages to any queue go to those that are led; what it has is back with it.
async fn a_broker_is_away(two: &mut Two) {
    let topic = "StaticAway";
    let client = two.client();
    two.make(&client, topic, 4).await;
    let producer = Producer::new(&client, "away_p").unwrap();
    two.admin(&format!(
        "remappingStaticTopic -t {topic} -b broker-a,broker-b"
    ));
    let queues = producer.queues(topic).await.unwrap();
    for queue in &queues {
        send(&producer, queue, "before").await;
    }
    two.b.kill9();
    for _ in 0..8 {
        let sent = producer
            .send(Message::new(topic, "meanwhile"))
            .await
            .unwrap();
        assert!(sent.queue.queue_id < 2, "{sent:?}");
    }
    two.b.restart();
    let reader = PullConsumer::new(&client, "away_c").unwrap();
    until("its queues are back", async || {
        let message = Message::new(topic, "after");
        producer.send_to(message, &queues[3]).await.is_ok()
    })
    .await;
    wait_forwarded(&reader, &queues[3]).await;
    let mut found = Vec::new();
    for queue in &queues {
        found.extend(bodies(&pull_from(&reader, queue, 0).await));
    }
    let count = |body: &str| found.iter().filter(|found| *found == body).count();
    assert_eq!((count("before"), count("meanwhile")), (4, 8));
    client.shut_down().await;
}
