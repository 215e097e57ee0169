//! What is not built is refused with a clear error and never taken for something else: topics of kinds
//! that RocketMQ has and this broker has not, when somebody makes one and when a directory of a Java
//! broker holds one.

mod common;

use common::PATIENCE;
use common::pop::{POP_MESSAGE, Who, pop_ext};
use common::remoting::{Client, Frame};
use common::requests::{
    Ext, PULL_MESSAGE, SEND_MESSAGE_V2, UPDATE_AND_CREATE_TOPIC, create_topic, must, pull_ext,
    send_ext, topic_ext,
};
use common::server::{Cluster, is_java};
use serde_json::Value;
use std::path::Path;

const SYSTEM_ERROR: i32 = 1;
const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;

fn ask(client: &Client, code: i32, ext: &Ext) -> Frame {
    client.call(code, ext, b"body", PATIENCE).expect("answered")
}

/// Changes a table that was written down.
fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read(file).unwrap_or_else(|_| b"{}".to_vec());
    let mut table = serde_json::from_slice(&text).expect("JSON");
    change(&mut table);
    std::fs::write(file, table.to_string()).expect("written");
}

#[test]
fn topics_of_kinds_that_are_not_built_are_refused() {
    if is_java() {
        println!("NOT RUN: RocketMQ has them");
        return;
    }
    let mut cluster = Cluster::start(&[]);
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let kind = "queue.type=BatchCQ with cleanup.policy=COMPACTION";
    let both = [("queue.type", "BatchCQ"), ("cleanup.policy", "COMPACTION")];
    let mut ext = topic_ext("Made", 1);
    let added = both.map(|(name, value)| format!("+{name}={value}"));
    ext.push(("attributes", added.join(",")));
    let refused = ask(&client, UPDATE_AND_CREATE_TOPIC, &ext);
    let words = format!("{kind} is not supported by this broker");
    assert_eq!((refused.code, refused.remark), (SYSTEM_ERROR, words));
    for topic in ["Both", "Plain"] {
        create_topic(&client, topic, 1);
    }
    drop(client);
    cluster.broker.stop();
    let config = cluster.broker.store().join("config");
    edit(&config.join("topics.json"), |table| {
        table["topicConfigTable"]["Both"]["attributes"] = both.into_iter().collect();
    });
    cluster.broker.restart();
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let topic = "Both";
    let words = format!("topic[{topic}] is not served: {kind} is not supported by this broker");
    let who = Who {
        topic,
        group: "test_group",
    };
    let requests = [
        (SEND_MESSAGE_V2, send_ext(topic, 0, "")),
        (PULL_MESSAGE, pull_ext(topic, 0, 0, 0)),
        (POP_MESSAGE, pop_ext(who, 1, 10_000, 0, &[])),
    ];
    for (code, ext) in requests {
        let refused = ask(&client, code, &ext);
        let wanted = (REQUEST_CODE_NOT_SUPPORTED, words.clone());
        assert_eq!((refused.code, refused.remark), wanted, "{code} {topic}");
    }
    let ext = send_ext("Plain", 0, "");
    must(
        client.call(SEND_MESSAGE_V2, &ext, b"body", PATIENCE),
        "send",
    );
}
