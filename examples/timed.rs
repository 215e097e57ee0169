//! Sends a message that is delivered later, and one that is called back before its time.
//!
//! The broker needs `recallMessageEnable=true` for the second one.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example timed -- TopicTest 10
//! ```

use std::time::Duration;

use callboard::client::{ClientConfig, ClientError, Message, MqClient, Producer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "TopicTest".to_owned());
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let delay = Duration::from_secs(seconds);

    let client = MqClient::start(ClientConfig::from_env()?)?;
    let producer = Producer::new(&client, "example_producer")?;

    let message = Message::new(topic.as_str(), "tea is ready").with_delay(delay);
    let result = producer.send(message).await?;
    println!("{} comes in {seconds} s", result.message_id);

    let message = Message::new(topic.as_str(), "never mind").with_delay(delay);
    let result = producer.send(message).await?;
    if let Some(handle) = &result.recall_handle {
        let message_id = producer.recall(&topic, handle).await?;
        println!("{message_id} was called back");
    }

    producer.shut_down().await;
    client.shut_down().await;
    Ok(())
}
