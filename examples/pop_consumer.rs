//! Pops messages of a topic, prints and acknowledges them, until it is interrupted. Start as many as you
//! like: they share the topic's queues without any assignment.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example pop_consumer -- TopicTest example_workers
//! ```

use std::time::Duration;

use callboard::client::consumer::Expression;
use callboard::client::{
    ClientConfig, ClientError, ConsumeFrom, MqClient, PopConsumer, PopOptions,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    env_logger::init();
    let mut args = std::env::args().skip(1);
    let topic = args.next().unwrap_or_else(|| "TopicTest".to_owned());
    let group = args.next().unwrap_or_else(|| "example_workers".to_owned());

    let client = MqClient::start(ClientConfig::from_env()?)?;
    let consumer = PopConsumer::new(&client, &group)?;
    let options = PopOptions {
        // Whoever does not acknowledge in time lets others have the message.
        invisible: Duration::from_secs(30),
        from: ConsumeFrom::FirstOffset,
        ..PopOptions::default()
    };
    loop {
        for popped in consumer.pop(&topic, &Expression::all(), options).await? {
            let message = &popped.message;
            let body = String::from_utf8_lossy(&message.body);
            println!("try {}: {body}", message.reconsume_times + 1);
            consumer.ack(&popped).await?;
        }
    }
}
