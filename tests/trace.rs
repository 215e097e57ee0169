//! Message traces: what our client tells about sending and consuming is what `mqadmin` shows, and a
//! client that tells nothing leaves no trace.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use callboard::client::{
    ClientConfig, ConsumeFrom, ConsumeOutcome, Message, MqClient, Producer, PushConsumer,
};
use callboard::protocol::message::names::TRACE_TOPIC;
use common::PATIENCE;
use common::ours::wait_route;
use common::remoting::Client;
use common::requests::create_topic;
use common::server::Cluster;
use serde_json::Value;

/// What `mqadmin queryMsgTraceById` finds about a message.
fn traces(namesrv: &str, id: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqadmin"));
    command.args(["queryMsgTraceById", "-n", namesrv, "-i", id, "--json"]);
    let output = command.output().expect("mqadmin");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn count(traces: &Value, what: &str, status: &str) -> usize {
    let all = traces[what].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(|trace| trace["status"] == status).count()
}

#[tokio::test]
async fn traces_are_told_and_found() {
    let cluster = Cluster::start(&[
        ("messageDelayLevel", "1s 1s 1s 1s"),
        ("traceTopicEnable", "true"),
    ]);
    let namesrv = cluster.namesrv.address().to_string();
    let raw = Client::connect(cluster.broker.address()).expect("connect");
    create_topic(&raw, "Traced", 1);
    let mut config = ClientConfig::new(&namesrv);
    config.rebalance_interval = Duration::from_secs(1);
    let silent = MqClient::start(config.clone()).unwrap();
    config = ClientConfig {
        client_id: format!("{}x", config.client_id),
        trace_topic: Some(TRACE_TOPIC.into()),
        ..config
    };
    let client = MqClient::start(config).unwrap();
    wait_route(&client, "Traced").await;

    let message = || {
        Message::new("Traced", "body")
            .with_keys("a b")
            .with_tags("Tag")
    };
    let producer = Producer::new(&client, "traced_p").unwrap();
    let sent = producer.send(message()).await.unwrap();
    let batch = producer
        .send_batch(vec![message(), message()])
        .await
        .unwrap();
    let untold = Producer::new(&silent, "silent_p").unwrap();
    let untold = untold.send(message()).await.unwrap();

    // Each message fails once and is consumed when it comes again.
    let consumer = PushConsumer::builder("traced_g")
        .subscribe("Traced", "*")
        .from(ConsumeFrom::FirstOffset)
        .start(&client, |messages| async move {
            match messages[0].reconsume_times {
                0 => ConsumeOutcome::Later,
                _ => ConsumeOutcome::Success,
            }
        })
        .await
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let found = loop {
        let found = traces(&namesrv, &sent.message_id);
        if count(&found, "consumed", "success") > 0 {
            break found;
        }
        assert!(
            Instant::now() < deadline,
            "no trace of consumption: {found}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(count(&found, "sent", "success"), 1, "{found}");
    assert_eq!(found["sent"][0]["group"], "traced_p");
    assert_eq!(count(&found, "consumed", "failed"), 1, "{found}");
    assert_eq!(found["consumed"][0]["group"], "traced_g");
    for id in batch.message_id.split(',') {
        assert_eq!(count(&traces(&namesrv, id), "sent", "success"), 1, "{id}");
    }
    // Told by the consumer, but not by the producer.
    assert_eq!(
        count(&traces(&namesrv, &untold.message_id), "sent", "success"),
        0
    );

    // What is told last is sent before the client is gone.
    consumer.shut_down(Duration::from_secs(5)).await;
    let last = producer.send(message()).await.unwrap();
    client.shut_down().await;
    let deadline = Instant::now() + PATIENCE;
    while count(&traces(&namesrv, &last.message_id), "sent", "success") == 0 {
        assert!(Instant::now() < deadline, "the last event was lost");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    silent.shut_down().await;
}
