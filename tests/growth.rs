//! A cluster that grows and shrinks with ordinary tools, while messages flow: a second master is added
//! and gets its share; the first one loses its write permission, is drained, and is taken away. No
//! message is lost. And NameServers in number: one that goes costs nobody anything.

mod common;

use callboard::client::{
    ClientConfig, ConsumeFrom, ConsumeOutcome, Message, MessageExt, MqClient, Producer,
    PushConsumer,
};
use common::ours::wait_route;
use common::server::{Broker, Folder, Namesrv};
use common::{block_on, eventually, mqadmin, until};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOPIC: &str = "GrowingTopic";

fn client(namesrv: &str) -> MqClient {
    let mut config = ClientConfig::new(namesrv);
    config.persist_offsets_interval = Duration::from_millis(300);
    config.rebalance_interval = Duration::from_millis(500);
    config.poll_route_interval = Duration::from_millis(500);
    MqClient::start(config).expect("a client")
}

/// Sends numbered messages; yields the brokers that took them.
async fn send(producer: &Producer, numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    let mut brokers = BTreeSet::new();
    for number in numbers {
        let sent = producer.send(Message::new(TOPIC, number.to_string())).await;
        brokers.insert(sent.expect("sent").queue.broker_name.to_string());
    }
    brokers
}

fn names(brokers: &[&str]) -> BTreeSet<String> {
    brokers.iter().map(|name| (*name).to_owned()).collect()
}

/// Queues of the topic; a consumer has those of its retry topic, too.
fn queues(consumer: &PushConsumer) -> usize {
    let queues = consumer.queues();
    queues.iter().filter(|queue| queue.topic == TOPIC).count()
}

#[test]
fn masters_come_and_go_and_no_message_is_lost() {
    let dir = Folder::new();
    let first = Namesrv::start(&dir.0.join("ns1"));
    let mut second = Namesrv::start(&dir.0.join("ns2"));
    let second_address = second.address();
    let namesrvs = format!("{};{second_address}", first.address());
    let start = |name: &str| {
        let keys = [("brokerName", name), ("namesrvAddr", namesrvs.as_str())];
        let broker = Broker::start_in(&dir.0.join(name), first.address(), &keys);
        // `-n` on the command line of a test's broker names one; the file has both.
        let set = format!(
            "updateBrokerConfig -b {} -k namesrvAddr -v {namesrvs}",
            broker.address()
        );
        mqadmin(&namesrvs, &set);
        eventually("both NameServers know the broker", || {
            let both = [first.address(), second_address];
            let know = |at: &SocketAddr| mqadmin(&at.to_string(), "clusterList").contains(name);
            both.iter().all(know).then_some(())
        });
        broker
    };
    let mut a = start("broker-a");
    block_on(async {
        mqadmin(
            &namesrvs,
            &format!("updateTopic -c DefaultCluster -t {TOPIC} -r 4 -w 4"),
        );
        let client = client(&namesrvs);
        wait_route(&client, TOPIC).await;
        let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let got = seen.clone();
        let consumer = PushConsumer::builder("growing_group")
            .subscribe(TOPIC, "*")
            .from(ConsumeFrom::FirstOffset)
            .start(&client, move |messages: Vec<MessageExt>| {
                let mut seen = got.lock().expect("lock");
                let bodies = messages
                    .iter()
                    .map(|m| String::from_utf8_lossy(&m.body).into_owned());
                seen.extend(bodies);
                async { ConsumeOutcome::Success }
            })
            .await
            .expect("a consumer");
        let producer = Producer::new(&client, "growing_producer").expect("a producer");
        let consumed = async |count: usize| {
            until("all is consumed", async || {
                seen.lock().expect("lock").len() == count
            })
            .await;
        };
        assert_eq!(send(&producer, 0..40).await, names(&["broker-a"]));
        consumed(40).await;

        // A second master: the topic is made there, and both sides of the client find it.
        let _b = start("broker-b");
        mqadmin(
            &namesrvs,
            &format!("updateTopic -c DefaultCluster -t {TOPIC} -r 4 -w 4"),
        );
        until("the consumer has the new queues", async || {
            queues(&consumer) == 8
        })
        .await;
        let mut number = 40;
        until("both take messages", async || {
            number += 8;
            send(&producer, number - 8..number).await.len() == 2
        })
        .await;
        consumed(number).await;

        // One NameServer goes; nobody minds.
        second.kill9();
        send(&producer, number..number + 16).await;
        number += 16;
        consumed(number).await;
        let ns = first.address().to_string();

        // The first master is drained: no more writes, then consumed, then gone.
        mqadmin(&ns, "wipeWritePerm -b broker-a");
        until("only the second takes messages", async || {
            number += 8;
            send(&producer, number - 8..number).await == names(&["broker-b"])
        })
        .await;
        consumed(number).await;
        until("the group has no lag", async || {
            let text = mqadmin(&ns, "consumerProgress -g growing_group --json");
            text.contains("\"diffTotal\":0") || text.contains("\"diffTotal\": 0")
        })
        .await;
        a.stop();
        until("the consumer lets go of it", async || {
            queues(&consumer) == 4
        })
        .await;
        send(&producer, number..number + 16).await;
        number += 16;
        consumed(number).await;
        consumer.shut_down(Duration::from_secs(5)).await;
        client.shut_down().await;
        println!("{number} messages, none lost");
    });
}
