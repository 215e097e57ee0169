//! Consumes a topic as a member of a group, until Ctrl-C.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example push_consumer -- TopicTest example_group 'TagA || TagB'
//! ```

use std::time::Duration;

use callboard::client::{
    ClientConfig, ClientError, ConsumeFrom, ConsumeOutcome, MessageExt, MqClient, PushConsumer,
};

async fn consume(messages: Vec<MessageExt>) -> ConsumeOutcome {
    for message in messages {
        let body = String::from_utf8_lossy(&message.body);
        let (topic, queue, offset) = (&message.topic, message.queue_id, message.queue_offset);
        println!(
            "{topic} {queue}@{offset} try {}: {body}",
            message.reconsume_times
        );
    }
    ConsumeOutcome::Success
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "TopicTest".to_owned());
    let group = args.next().unwrap_or_else(|| "example_group".to_owned());
    let tags = args.next().unwrap_or_else(|| "*".to_owned());

    let client = MqClient::start(ClientConfig::from_env()?)?;
    let consumer = PushConsumer::builder(group)
        .subscribe(topic, tags.as_str())
        .from(ConsumeFrom::FirstOffset)
        .start(&client, consume)
        .await?;
    println!(
        "{} has {} queues",
        client.client_id(),
        consumer.queues().len()
    );

    let _ = tokio::signal::ctrl_c().await;
    consumer.shut_down(Duration::from_secs(5)).await;
    client.shut_down().await;
    Ok(())
}
