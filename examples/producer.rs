//! Sends messages in RocketMQ's ways: one by one, to a chosen queue, in batches, without an answer.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example producer -- TopicTest 10
//! ```

use callboard::client::{ClientConfig, ClientError, Message, MqClient, Producer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "TopicTest".to_owned());
    let count: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(10);

    let client = MqClient::start(ClientConfig::from_env()?)?;
    let producer = Producer::new(&client, "example_producer")?;

    for i in 0..count {
        let message = Message::new(topic.as_str(), format!("hello {i}"))
            .with_tags("TagA")
            .with_keys(format!("key{i}"));
        let result = producer.send(message).await?;
        println!(
            "{} {} at {}",
            result.message_id, result.queue, result.queue_offset
        );
    }

    // All messages of one order go to one queue.
    let order = 42_usize;
    let message = Message::new(topic.as_str(), format!("order {order}"));
    let result = producer
        .send_selected(message, |queues, _| order % queues.len())
        .await?;
    println!("order {order} went to {}", result.queue);

    let batch: Vec<_> = (0..3)
        .map(|i| Message::new(topic.as_str(), format!("batch {i}")).with_tags("TagB"))
        .collect();
    let result = producer.send_batch(batch).await?;
    println!(
        "batch begins at {} of {}",
        result.queue_offset, result.queue
    );

    producer
        .send_oneway(Message::new(topic.as_str(), "fire and forget"))
        .await?;

    producer.shut_down().await;
    client.shut_down().await;
    Ok(())
}
