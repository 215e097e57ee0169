//! Consumes a topic as a member of a group, until Ctrl-C. The third argument chooses messages: by tags, or
//! with `sql:` before it by an expression on properties (the broker needs `enablePropertyFilter=true`). With
//! `orderly` as the fourth each queue is consumed in its order, by one member of the group at a time.
//!
//! ```text
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example push_consumer -- TopicTest example_group 'TagA || TagB'
//! NAMESRV_ADDR=127.0.0.1:9876 cargo run --example push_consumer -- TopicTest sql_group 'sql:price > 10' orderly
//! ```

use std::time::Duration;

use callboard::client::consumer::Expression;
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
    let wanted = args.next().unwrap_or_else(|| "*".to_owned());
    let expression = match wanted.strip_prefix("sql:") {
        Some(sql) => Expression::Sql92(sql.into()),
        None => wanted.as_str().into(),
    };
    let orderly = args.next().is_some_and(|mode| mode == "orderly");

    let client = MqClient::start(ClientConfig::from_env()?)?;
    let mut builder = PushConsumer::builder(group)
        .subscribe(topic, expression)
        .from(ConsumeFrom::FirstOffset);
    if orderly {
        builder = builder.orderly();
    }
    let consumer = builder.start(&client, consume).await?;
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
