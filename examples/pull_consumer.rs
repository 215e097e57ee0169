//! Reads every queue of a topic from the group's committed offset to its end, and commits.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example pull_consumer -- TopicTest example_reader
//! ```

use callboard::client::consumer::{Expression, PullStatus};
use callboard::client::{ClientConfig, ClientError, MqClient, PullConsumer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "TopicTest".to_owned());
    let group = args.next().unwrap_or_else(|| "example_reader".to_owned());

    let client = MqClient::start(ClientConfig::from_env()?)?;
    let consumer = PullConsumer::new(&client, &group)?;
    for queue in consumer.queues(&topic).await? {
        let mut offset = match consumer.committed(&queue).await? {
            Some(offset) => offset,
            None => consumer.min_offset(&queue).await?,
        };
        loop {
            let pulled = consumer
                .pull(&queue, &Expression::all(), offset, 32)
                .await?;
            for message in &pulled.messages {
                let body = String::from_utf8_lossy(&message.body);
                println!("{queue} {}: {body}", message.queue_offset);
            }
            offset = pulled.next_offset;
            if pulled.status == PullStatus::NoNewMessage {
                break;
            }
        }
        consumer.commit(&queue, offset).await?;
    }
    client.shut_down().await;
    Ok(())
}
