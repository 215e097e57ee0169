//! The library's own client, where it is a means and not under test.

use super::until;
use callboard::client::{AdminClient, ClientConfig, MqClient};
use callboard::protocol::body::topic_config::TopicConfig;
use std::time::Duration;

/// A client that tells and asks often.
pub fn client(namesrv: &str) -> MqClient {
    let mut config = ClientConfig::new(namesrv);
    config.persist_offsets_interval = Duration::from_millis(200);
    config.rebalance_interval = Duration::from_millis(500);
    config.heartbeat_interval = Duration::from_millis(500);
    MqClient::start(config).expect("a client")
}

/// Makes a topic with so many queues at a broker, and waits until it has a route.
pub async fn make_topic(client: &MqClient, broker: &str, topic: &str, queues: i32) {
    let admin = AdminClient::new(client);
    let config = TopicConfig::new(topic, queues, 6);
    admin.update_topic(broker, &config).await.expect("a topic");
    wait_route(client, topic).await;
}

/// Waits until a NameServer knows the topic.
pub async fn wait_route(client: &MqClient, topic: &str) {
    let known = async || client.route(topic).await.is_ok();
    until("the topic has a route", known).await;
}
