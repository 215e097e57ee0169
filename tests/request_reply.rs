//! A reply goes through the broker to the client that asked, which is one of its producers; the sender
//! of the reply is told in RocketMQ's words when that fails, and the reply is stored all the same.

mod common;

use common::PATIENCE;
use common::remoting::{Client, Frame};
use common::requests::{self, create_group, must, pull_all};
use common::server::Cluster;
use std::time::Duration;

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";
const SEND_REPLY_MESSAGE: i32 = 324;
const SEND_REPLY_MESSAGE_V2: i32 = 325;
const PUSH_REPLY_MESSAGE_TO_CLIENT: i32 = 326;

/// A producer that waits for replies.
fn asker(cluster: &Cluster, client_id: &str) -> Client {
    let client = Client::connect(cluster.broker.address()).expect("connect");
    let beat = serde_json::json!({
        "clientID": client_id, "consumerDataSet": [],
        "producerDataSet": [{"groupName": "askers"}],
    });
    let body = beat.to_string();
    must(client.call(34, &[], body.as_bytes(), PATIENCE), "heartbeat");
    client
}

fn reply_to(client_id: &str) -> String {
    format!(
        "MSG_TYPE\u{1}reply\u{2}REPLY_TO_CLIENT\u{1}{client_id}\u{2}CORRELATION_ID\u{1}c1\u{2}UNIQ_KEY\u{1}u1\u{2}"
    )
}

fn send(client: &Client, code: i32, ext: &[(&'static str, String)]) -> Frame {
    client
        .call(code, ext, b"pong", PATIENCE)
        .expect("an answer")
}

#[test]
fn a_reply_reaches_who_asked() {
    let cluster = Cluster::start(&[]);
    let asker = asker(&cluster, "asker-1");
    let pushes = asker.pushes();
    let replier = Client::connect(cluster.broker.address()).expect("connect");
    create_group(&replier, "test_group");
    let ext = requests::send_ext(REPLY_TOPIC, 0, &reply_to("asker-1"));
    let answer = std::thread::scope(|scope| {
        let sent = scope.spawn(|| send(&replier, SEND_REPLY_MESSAGE_V2, &ext));
        let pushed = pushes.recv_timeout(PATIENCE).expect("a reply");
        assert_eq!(pushed.code, PUSH_REPLY_MESSAGE_TO_CLIENT);
        assert_eq!((pushed.flag, &*pushed.body), (0, &b"pong"[..]));
        assert_eq!(pushed.ext_text("topic"), REPLY_TOPIC);
        assert_eq!(pushed.ext_text("bornHost"), replier.local.to_string());
        let store_host = cluster.broker.address().to_string();
        assert_eq!(pushed.ext_text("storeHost"), store_host);
        let properties = pushed.ext_text("properties");
        for part in [
            "CORRELATION_ID\u{1}c1\u{2}",
            "PUSH_REPLY_TIME\u{1}",
            "MSG_REGION\u{1}",
        ] {
            assert!(properties.contains(part), "{properties:?}");
        }
        asker.answer(&pushed, 0);
        sent.join().expect("a sender")
    });
    assert_eq!((answer.code, answer.ext_number("queueId")), (0, 0));
    assert_eq!(answer.ext_text("TRACE_ON"), "true");
    let stored = pull_all(&replier, REPLY_TOPIC, 0, 0);
    assert_eq!((stored.len(), &*stored[0].body), (1, &b"pong"[..]));
    assert_eq!(answer.ext_number("queueOffset"), stored[0].queue_offset);
    let id = answer.ext_text("msgId");
    assert!(
        id.ends_with(&format!("{:016X}", stored[0].physical_offset)),
        "{id}"
    );
    assert!(!stored[0].properties.contains("PUSH_REPLY_TIME"));
}

#[test]
fn what_cannot_be_pushed_is_told_and_stored() {
    let cluster = Cluster::start(&[]);
    let asker = asker(&cluster, "asker-1");
    let pushes = asker.pushes();
    let replier = Client::connect(cluster.broker.address()).expect("connect");
    create_group(&replier, "test_group");
    let refused = |properties: &str| {
        let ext = requests::send_ext(REPLY_TOPIC, 0, properties);
        let answer = send(&replier, SEND_REPLY_MESSAGE_V2, &ext);
        assert_eq!(answer.code, 1);
        answer.remark
    };
    assert_eq!(
        refused(&reply_to("nobody")),
        "push reply message fail, channel of <nobody> not found."
    );
    assert_eq!(
        refused("UNIQ_KEY\u{1}u\u{2}"),
        "reply message properties[REPLY_TO_CLIENT] is null"
    );
    // A client that does not take it.
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| refused(&reply_to("asker-1")));
        let pushed = pushes.recv_timeout(PATIENCE).expect("a reply");
        asker.answer(&pushed, 1);
        let remark = sent.join().expect("a sender");
        assert_eq!(remark, "push reply message to asker-1fail.");
    });
    assert_eq!(pull_all(&replier, REPLY_TOPIC, 0, 0).len(), 3);

    // Without storing there is no id to tell. The long names are the other form.
    requests::update_config(&replier, "storeReplyMessageEnable=false");
    let ext: Vec<_> = [
        ("producerGroup", "repliers".to_owned()),
        ("topic", REPLY_TOPIC.into()),
        ("defaultTopic", "TBW102".into()),
        ("defaultTopicQueueNums", "4".into()),
        ("queueId", "-1".into()),
        ("sysFlag", "0".into()),
        ("bornTimestamp", requests::now_ms().to_string()),
        ("flag", "0".into()),
        ("properties", reply_to("asker-1")),
    ]
    .into();
    let answer = std::thread::scope(|scope| {
        let sent = scope.spawn(|| send(&replier, SEND_REPLY_MESSAGE, &ext));
        let pushed = pushes.recv_timeout(PATIENCE).expect("a reply");
        asker.answer(&pushed, 0);
        sent.join().expect("a sender")
    });
    assert_eq!((answer.code, answer.ext_text("msgId")), (0, "0"));
    assert_eq!(answer.ext_number("queueOffset"), 0);
    assert_eq!(pull_all(&replier, REPLY_TOPIC, 0, 0).len(), 3);

    // The client goes away while the reply is on its way.
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| refused(&reply_to("asker-1")));
        pushes.recv_timeout(PATIENCE).expect("a reply");
        asker.close();
        assert!(sent.join().expect("a sender").contains("fail"));
    });
    let bad = requests::send_ext("RMQ_SYS_TRANS_HALF_TOPIC", 0, &reply_to("asker-1"));
    assert_eq!(send(&replier, SEND_REPLY_MESSAGE_V2, &bad).code, 16);
    let bad = requests::send_ext(REPLY_TOPIC, 99, &reply_to("asker-1"));
    assert_eq!(send(&replier, SEND_REPLY_MESSAGE_V2, &bad).code, 29);
    let none = replier.call(SEND_REPLY_MESSAGE_V2, &[], b"", Duration::from_secs(30));
    assert_eq!(none.expect("an answer").code, 1);
}
