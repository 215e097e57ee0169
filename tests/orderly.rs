//! Orderly consumption keeps the order of each queue while consumers join, leave and die, over a
//! restart of the broker, and past messages that fail.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard::client::consumer::Expression;
use callboard::client::{
    AdminClient, ConsumeFrom, ConsumeOutcome, Message, MessageQueue, MqClient, Producer,
    PullConsumer, PushConsumer, RemotingClient, RemotingConfig,
};
use callboard::protocol::body::lock::{LockBatchRequestBody, LockBatchResponseBody};
use callboard::protocol::fastjson::{from_slice, to_vec};
use callboard::protocol::{RemotingCommand, RequestCode, ResponseCode};
use common::ours::{client, make_topic};
use common::{PATIENCE, block_on, env_number, mqadmin, server::Cluster, until};

const QUEUES: i32 = 4;

/// Stands among the offsets for the death of a consumer or of the broker.
const DEATH: i64 = -1;

/// Locks so short that a dead client's can be waited for.
const KEYS: [(&str, &str); 1] = [("rebalanceLockLifeMs", "3000")];
const RENEWAL: Duration = Duration::from_millis(900);

/// What all consumers saw, in the order they saw it.
#[derive(Default)]
struct Seen {
    /// Offsets by queue, with the consumer that saw them.
    by_queue: Mutex<BTreeMap<i32, Vec<(i64, usize)>>>,
    /// Queues with calls that run, and whose.
    running: Mutex<BTreeMap<i32, Vec<usize>>>,
    /// What was seen that must not be. A listener cannot fail the test: its panic is a message that failed.
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn begin(&self, queue_id: i32, offset: i64, who: usize) {
        let mut running = self.running.lock().unwrap();
        let calls = running.entry(queue_id).or_default();
        if !calls.is_empty() {
            let what = format!("queue {queue_id}: {who} got {offset} while {calls:?} had a call");
            self.wrong.lock().unwrap().push(what);
        }
        calls.push(who);
        drop(running);
        let mut by_queue = self.by_queue.lock().unwrap();
        by_queue.entry(queue_id).or_default().push((offset, who));
    }

    fn end(&self, queue_id: i32, who: usize) {
        if let Some(calls) = self.running.lock().unwrap().get_mut(&queue_id) {
            calls.retain(|&other| other != who);
        }
    }

    /// The last commits of who dies are lost, so that any queue may go back once.
    fn someone_died(&self) {
        for seen in self.by_queue.lock().unwrap().values_mut() {
            seen.push((DEATH, 0));
        }
    }

    /// Each offset is seen after all before it, and none again once two behind it were.
    fn check_order(&self) {
        for (queue_id, seen) in self.by_queue.lock().unwrap().iter() {
            let (mut next, mut may_go_back) = (0, false);
            for (offset, who) in seen {
                if *offset == DEATH {
                    may_go_back = true;
                    continue;
                }
                let goes_back = may_go_back && *offset < next;
                assert!(
                    *offset == next || *offset == next - 1 || goes_back,
                    "queue {queue_id}: consumer {who} saw {offset}, {next} was next"
                );
                may_go_back &= !goes_back;
                next = offset + 1;
            }
        }
    }

    fn check_one_at_a_time(&self) {
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "two calls at once:\n{}", wrong.join("\n"));
    }

    fn reached(&self) -> BTreeMap<i32, i64> {
        let by_queue = self.by_queue.lock().unwrap();
        let ends = by_queue.iter().map(|(queue_id, seen)| {
            let last = seen.iter().map(|(offset, _)| offset + 1).max();
            (*queue_id, last.unwrap_or(0))
        });
        ends.collect()
    }

    fn count(&self) -> usize {
        self.by_queue.lock().unwrap().values().map(Vec::len).sum()
    }
}

async fn consumer(client: &MqClient, topic: &str, who: usize, seen: &Arc<Seen>) -> PushConsumer {
    let call = Duration::from_millis(2);
    slow_consumer(client, topic, who, seen, call, RENEWAL).await
}

/// A consumer whose calls take a while.
async fn slow_consumer(
    client: &MqClient,
    topic: &str,
    who: usize,
    seen: &Arc<Seen>,
    call: Duration,
    renewal: Duration,
) -> PushConsumer {
    let seen = seen.clone();
    PushConsumer::builder("order_group")
        .subscribe(topic, Expression::all())
        .from(ConsumeFrom::FirstOffset)
        .orderly()
        .lock_renewal(renewal)
        .start(client, move |messages| {
            let seen = seen.clone();
            async move {
                for message in &messages {
                    seen.begin(message.queue_id, message.queue_offset, who);
                    tokio::time::sleep(call).await;
                    seen.end(message.queue_id, who);
                }
                ConsumeOutcome::Success
            }
        })
        .await
        .unwrap()
}

/// A client of the cluster, a new topic's queues, and who sends to them.
async fn with_topic(cluster: &Cluster, topic: &str) -> (MqClient, Vec<MessageQueue>, Producer) {
    let client = client(&cluster.namesrv.address().to_string());
    let broker = cluster.broker.address().to_string();
    make_topic(&client, &broker, topic, QUEUES).await;
    let puller = PullConsumer::new(&client, "looker").unwrap();
    let queues = puller.queues(topic).await.unwrap();
    let producer = Producer::new(&client, "order_producer").unwrap();
    (client, queues, producer)
}

async fn send(producer: &Producer, queues: &[MessageQueue], count: usize) {
    for number in 0..count {
        let queue = &queues[number % queues.len()];
        let message = Message::new(queue.topic.as_str(), format!("{number}").into_bytes());
        producer.send_to(message, queue).await.unwrap();
    }
}

#[test]
fn order_survives_joins_leaves_and_crashes() {
    let rounds = env_number("CALLBOARD_ROUNDS", 1);
    let mut cluster = Cluster::start(&KEYS);
    let namesrv = cluster.namesrv.address().to_string();
    block_on(async {
        let topic = "orderly_drill";
        let (first, queues, producer) = with_topic(&cluster, topic).await;
        let seen = Arc::new(Seen::default());
        let mut sent = 0;
        let stays = consumer(&first, topic, 0, &seen).await;
        for round in 0..rounds as usize {
            let who = round * 3 + 1;
            send(&producer, &queues, 400).await;
            sent += 400;
            // One joins and dies in the middle of its work: no lock is given back.
            let dying = client(&namesrv);
            let doomed = consumer(&dying, topic, who, &seen).await;
            until("the one to die has queues", async || {
                !doomed.queues().is_empty()
            })
            .await;
            send(&producer, &queues, 200).await;
            sent += 200;
            drop(doomed);
            dying.shut_down().await;
            seen.someone_died();
            // One joins and leaves in order.
            let leaving = client(&namesrv);
            let guest = consumer(&leaving, topic, who + 1, &seen).await;
            send(&producer, &queues, 200).await;
            sent += 200;
            until("the guest has queues", async || !guest.queues().is_empty()).await;
            guest.shut_down(Duration::from_secs(5)).await;
            leaving.shut_down().await;
            // Who holds locks trusts them meanwhile, and gets them again.
            cluster.broker.kill9();
            seen.someone_died();
            cluster.broker.restart();
            until("the broker takes messages again", async || {
                let message = Message::new(topic, b"again".to_vec());
                producer.send_to(message, &queues[0]).await.is_ok()
            })
            .await;
            send(&producer, &queues, 100).await;
            sent += 101;
        }
        until("everything is consumed", async || {
            seen.reached().values().sum::<i64>() >= sent as i64
        })
        .await;
        seen.check_order();
        seen.check_one_at_a_time();
        let shown = seen.count();
        println!("orderly: {sent} sent, {shown} consumed");
        stays.shut_down(Duration::from_secs(5)).await;
        first.shut_down().await;
    });
}

/// Asks for queues of a topic; yields those that the client has now.
async fn lock(
    broker: &str,
    client_id: &str,
    queues: &[MessageQueue],
    code: RequestCode,
) -> Vec<i32> {
    let body = LockBatchRequestBody {
        client_id: client_id.into(),
        consumer_group: "lock_group".into(),
        mq_set: queues.to_vec(),
        only_this_broker: false,
    };
    let remoting = RemotingClient::new(RemotingConfig::default());
    let request = RemotingCommand::request_without_header(code).with_body(to_vec(&body).unwrap());
    let answer = remoting.call(broker, request, PATIENCE).await.unwrap();
    assert_eq!(answer.response_code(), Some(ResponseCode::Success));
    if code == RequestCode::UnlockBatchMq {
        return Vec::new();
    }
    let body: LockBatchResponseBody = from_slice(&answer.body).unwrap();
    let mine = body.lock_ok_mq_set.iter().map(|queue| queue.queue_id);
    let mut mine: Vec<i32> = mine.collect();
    mine.sort_unstable();
    mine
}

#[test]
fn locks_hold_over_a_kill() {
    let mut cluster = Cluster::start(&[]);
    let broker = cluster.broker.address().to_string();
    let queues: Vec<MessageQueue> = (0..QUEUES)
        .map(|queue_id| MessageQueue::new("T", "broker-a", queue_id))
        .collect();
    let (take, give) = (RequestCode::LockBatchMq, RequestCode::UnlockBatchMq);
    block_on(async {
        assert_eq!(lock(&broker, "one", &queues[..3], take).await, [0, 1, 2]);
        lock(&broker, "one", &queues[..1], give).await;
        cluster.broker.kill9();
        cluster.broker.restart();
        assert_eq!(lock(&broker, "two", &queues, take).await, [0, 3]);
        assert_eq!(lock(&broker, "one", &queues, take).await, [1, 2]);
        cluster.broker.kill9();
        cluster.broker.restart();
        // No heartbeat has told of the group since.
        lock(&broker, "one", &queues, give).await;
        assert_eq!(lock(&broker, "three", &queues, take).await, [1, 2]);
    });
}

/// Who works on a queue when the broker dies trusts its lock, and may not hear of the restart for a
/// while: a consumer that joins then has to wait for it.
#[test]
fn a_restart_gives_no_queue_away() {
    let mut cluster = Cluster::start(&[]);
    let namesrv = cluster.namesrv.address().to_string();
    block_on(async {
        let topic = "orderly_restart";
        let (first, queues, producer) = with_topic(&cluster, topic).await;
        let seen = Arc::new(Seen::default());
        let (call, renewal) = (Duration::from_millis(300), Duration::from_secs(20));
        let one = slow_consumer(&first, topic, 1, &seen, call, renewal).await;
        send(&producer, &queues, 60).await;
        until("all queues are worked on", async || {
            seen.by_queue.lock().unwrap().len() == 4
        })
        .await;
        cluster.broker.kill9();
        cluster.broker.restart();
        let second = client(&namesrv);
        let two = slow_consumer(&second, topic, 2, &seen, call, renewal).await;
        let by_the_second = || {
            let by_queue = seen.by_queue.lock().unwrap();
            let all = by_queue.values().flatten();
            all.filter(|(_, who)| *who == 2).count()
        };
        until("the second consumes", async || by_the_second() > 3).await;
        seen.check_one_at_a_time();
        two.shut_down(Duration::from_secs(5)).await;
        second.shut_down().await;
        one.shut_down(Duration::from_secs(5)).await;
        first.shut_down().await;
    });
}

#[test]
fn a_message_that_fails_holds_its_queue_and_becomes_a_dead_letter() {
    let cluster = Cluster::start(&KEYS);
    block_on(async {
        let topic = "orderly_fails";
        let (client, queues, producer) = with_topic(&cluster, topic).await;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let tried = Arc::new(AtomicUsize::new(0));
        let (own, count) = (calls.clone(), tried.clone());
        let consumer = PushConsumer::builder("order_fails")
            .subscribe(topic, Expression::all())
            .from(ConsumeFrom::FirstOffset)
            .orderly()
            .suspend(Duration::from_millis(20))
            .reconsume_times_max(2)
            .start(&client, move |messages| {
                let message = &messages[0];
                own.lock()
                    .unwrap()
                    .push((message.queue_offset, message.reconsume_times));
                // The second fails once, the third always.
                let fails = match message.queue_offset {
                    1 => count.fetch_add(1, Ordering::Relaxed) == 0,
                    offset => offset == 2,
                };
                async move {
                    if fails {
                        ConsumeOutcome::Later
                    } else {
                        ConsumeOutcome::Success
                    }
                }
            })
            .await
            .unwrap();
        send(&producer, &queues[..1], 4).await;
        until("all are consumed", async || {
            calls.lock().unwrap().iter().any(|(offset, _)| *offset == 3)
        })
        .await;
        let calls = calls.lock().unwrap().clone();
        let wanted = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0)];
        assert_eq!(calls, wanted);
        let puller = PullConsumer::new(&client, "looker").unwrap();
        until("the third is a dead letter", async || {
            let Ok(queues) = puller.queues("%DLQ%order_fails").await else {
                return false;
            };
            let Ok(found) = puller.pull(&queues[0], &Expression::all(), 0, 32).await else {
                return false;
            };
            found.messages.len() == 1 && &found.messages[0].body[..] == b"2"
        })
        .await;
        consumer.shut_down(Duration::from_secs(5)).await;
        client.shut_down().await;
    });
}

#[test]
fn producers_keep_to_the_order_configuration() {
    let cluster = Cluster::start(&[]);
    let namesrv = cluster.namesrv.address().to_string();
    let broker = cluster.broker.address().to_string();
    block_on(async {
        let topic = "orderly_configured";
        let first = client(&namesrv);
        make_topic(&first, &broker, topic, QUEUES).await;
        let admin = AdminClient::new(&first);
        let switch = admin.update_namesrv_config("orderMessageEnable", "true");
        switch.await.unwrap();
        mqadmin(
            &namesrv,
            "updateOrderConf -t orderly_configured -m put -v broker-a:2",
        );
        let told = mqadmin(&namesrv, "updateOrderConf -t orderly_configured -m get");
        assert!(told.contains("broker-a:2"), "{told}");
        let queues_of_a_new_client = async || {
            let client = client(&namesrv);
            let route = client.route(topic).await.unwrap();
            client.shut_down().await;
            route.write_queues.clone()
        };
        let queues = queues_of_a_new_client().await;
        assert_eq!(queues.len(), 2);
        assert!(queues.iter().all(|queue| queue.queue_id < 2));
        mqadmin(&namesrv, "updateOrderConf -t orderly_configured -m delete");
        assert_eq!(queues_of_a_new_client().await.len(), QUEUES as usize);
        first.shut_down().await;
    });
}
