//! The requests that the tests make, by code and field name.

use super::record::{self, Record};
use super::remoting::{Client, Frame, NoAnswer};
use super::{PATIENCE, eventually};
use serde_json::json;

pub const SEND_MESSAGE_V2: i32 = 310;
pub const PULL_MESSAGE: i32 = 11;
pub const QUERY_MESSAGE: i32 = 12;
pub const QUERY_CONSUMER_OFFSET: i32 = 14;
pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
pub const UPDATE_BROKER_CONFIG: i32 = 25;
pub const GET_BROKER_RUNTIME_INFO: i32 = 28;
pub const GET_MAX_OFFSET: i32 = 30;
pub const GET_MIN_OFFSET: i32 = 31;
pub const VIEW_MESSAGE_BY_ID: i32 = 33;
pub const HEART_BEAT: i32 = 34;
pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
pub const GET_CONSUME_STATS: i32 = 208;
pub const GET_BROKER_HA_STATUS: i32 = 907;
pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
pub const DELETE_EXPIRED_COMMITLOG: i32 = 329;
pub const GET_TOPIC_CONFIG: i32 = 351;

pub type Ext = Vec<(&'static str, String)>;

pub fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as i64)
}

/// The text of properties.
pub fn properties(entries: &[(&str, &str)]) -> String {
    let entry = |(name, value): &(&str, &str)| format!("{name}\u{1}{value}\u{2}");
    entries.iter().map(entry).collect()
}

/// Gives a field that is there another value.
pub fn set(ext: &mut Ext, name: &str, value: impl Into<String>) {
    let field = ext.iter_mut().find(|(known, _)| *known == name);
    field.unwrap_or_else(|| panic!("a field {name}")).1 = value.into();
}

/// SEND_MESSAGE_V2's short names.
pub fn send_ext(topic: &str, queue_id: i32, properties: &str) -> Ext {
    vec![
        ("a", "test_producer".into()),
        ("b", topic.into()),
        ("c", "TBW102".into()),
        ("d", "4".into()),
        ("e", queue_id.to_string()),
        ("f", "0".into()),
        ("g", now_ms().to_string()),
        ("h", "0".into()),
        ("i", properties.into()),
        ("j", "0".into()),
        ("k", "false".into()),
        ("m", "false".into()),
    ]
}

pub fn pull_ext(topic: &str, queue_id: i32, offset: i64, suspend_ms: u64) -> Ext {
    vec![
        ("consumerGroup", "test_group".into()),
        ("topic", topic.into()),
        ("queueId", queue_id.to_string()),
        ("queueOffset", offset.to_string()),
        ("maxMsgNums", "1024".into()),
        // 4: the subscription is in the request; 2: wait for news.
        ("sysFlag", if suspend_ms > 0 { "6" } else { "4" }.into()),
        ("commitOffset", "0".into()),
        ("suspendTimeoutMillis", suspend_ms.to_string()),
        ("subscription", "*".into()),
        ("subVersion", "0".into()),
        ("expressionType", "TAG".into()),
    ]
}

pub fn must(answer: Result<Frame, NoAnswer>, what: &str) -> Frame {
    let frame = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!(frame.code, 0, "{what}: {} {}", frame.code, frame.remark);
    frame
}

/// Changes keys of the broker's configuration, `key=value` a line.
pub fn update_config(client: &Client, text: &str) {
    let answer = client.call(UPDATE_BROKER_CONFIG, &[], text.as_bytes(), PATIENCE);
    must(answer, text);
}

/// UPDATE_AND_CREATE_TOPIC's fields.
pub fn topic_ext(topic: &str, queues: i32) -> Ext {
    vec![
        ("topic", topic.to_string()),
        ("defaultTopic", "TBW102".into()),
        ("readQueueNums", queues.to_string()),
        ("writeQueueNums", queues.to_string()),
        ("perm", "6".into()),
        ("topicFilterType", "SINGLE_TAG".into()),
        ("topicSysFlag", "0".into()),
        ("order", "false".into()),
    ]
}

pub fn create_topic(client: &Client, topic: &str, queues: i32) {
    let ext = topic_ext(topic, queues);
    must(
        client.call(UPDATE_AND_CREATE_TOPIC, &ext, b"", PATIENCE),
        "create topic",
    );
    create_group(client, "test_group");
}

pub fn create_group(client: &Client, group: &str) {
    let body = json!({
        "groupName": group, "consumeEnable": true, "consumeFromMinEnable": true,
        "consumeBroadcastEnable": true, "retryQueueNums": 1, "retryMaxTimes": 16,
        "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1, "notifyConsumerIdsChangedEnable": true,
    });
    let body = body.to_string();
    must(
        client.call(
            UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            &[],
            body.as_bytes(),
            PATIENCE,
        ),
        "create group",
    );
}

pub fn offset_of(client: &Client, code: i32, topic: &str, queue_id: i32) -> i64 {
    let ext = [
        ("topic", topic.to_string()),
        ("queueId", queue_id.to_string()),
    ];
    must(client.call(code, &ext, b"", PATIENCE), "queue offset").ext_number("offset")
}

/// Commits an offset of a group.
pub fn commit(client: &Client, group: &str, topic: &str, queue_id: i32, offset: i64) {
    let ext = commit_ext(group, topic, queue_id, offset);
    let answer = client.call(UPDATE_CONSUMER_OFFSET, &ext, b"", PATIENCE);
    must(answer, "commit");
}

/// What a group committed, if the broker answers that it did.
pub fn committed(client: &Client, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
    let ext = [
        ("consumerGroup", group.to_owned()),
        ("topic", topic.to_owned()),
        ("queueId", queue_id.to_string()),
    ];
    let answer = client.call(QUERY_CONSUMER_OFFSET, &ext, b"", PATIENCE);
    let answer = answer.ok()?;
    (answer.code == 0).then(|| answer.ext_number("offset"))
}

/// Waits until queues were handed all that consumers may see: a send is answered a moment before.
pub fn wait_dispatched(client: &Client) {
    eventually("all is handed to the queues", || {
        let info = client.call(GET_BROKER_RUNTIME_INFO, &[], b"", PATIENCE);
        // RocketMQ's fails within its first second.
        let info = info.ok().filter(|info| info.code == 0)?;
        let info: serde_json::Value = serde_json::from_slice(&info.body).expect("JSON");
        (info["table"]["dispatchBehindBytes"] == "0").then_some(())
    });
}

/// Everything of a queue from `from` on, through the front door.
pub fn pull_all(client: &Client, topic: &str, queue_id: i32, from: i64) -> Vec<Record> {
    wait_dispatched(client);
    let mut all: Vec<Record> = Vec::new();
    let mut offset = from;
    loop {
        let ext = pull_ext(topic, queue_id, offset, 0);
        let frame = client
            .call(PULL_MESSAGE, &ext, b"", PATIENCE)
            .unwrap_or_else(|e| panic!("pull {topic}/{queue_id} at {offset}: {e:?}"));
        match frame.code {
            0 => {
                all.extend(record::parse_all(&frame.body));
                let next = frame.ext_number("nextBeginOffset");
                assert!(next > offset, "pull at {offset} goes on at {next}");
                offset = next;
            }
            19 => return all, // nothing there yet: the end
            // The same from a slave, which sends its readers back to the master.
            20 if ["OFFSET_OVERFLOW_ONE", "NO_MESSAGE_IN_QUEUE"].contains(&&*frame.remark) => {
                return all;
            }
            // An empty queue answers 19 at 0 too; 20 and 21 would be holes.
            code => panic!(
                "pull {topic}/{queue_id} at {offset}: {code} {}",
                frame.remark
            ),
        }
    }
}

pub fn query_by_key(client: &Client, topic: &str, key: &str) -> Vec<Record> {
    let ext = [
        ("topic", topic.to_string()),
        ("key", key.to_string()),
        ("maxNum", "32".into()),
        ("beginTimestamp", "0".into()),
        ("endTimestamp", (now_ms() + 3_600_000).to_string()),
        ("indexType", "K".into()),
        ("_UNIQUE_KEY_QUERY", "false".into()),
    ];
    let frame = client
        .call(QUERY_MESSAGE, &ext, b"", PATIENCE)
        .unwrap_or_else(|e| panic!("query {key}: {e:?}"));
    match frame.code {
        0 => record::parse_all(&frame.body),
        22 => Vec::new(), // nothing found
        code => panic!("query {key}: {code} {}", frame.remark),
    }
}

/// The record at a place of the log, if one begins there.
pub fn view(client: &Client, physical_offset: i64) -> Option<Record> {
    let ext = [("offset", physical_offset.to_string())];
    let frame = client
        .call(VIEW_MESSAGE_BY_ID, &ext, b"", PATIENCE)
        .unwrap_or_else(|e| panic!("view {physical_offset}: {e:?}"));
    (frame.code == 0).then(|| record::parse(&frame.body))
}

pub fn heartbeat_body(client_id: &str, group: &str, topic: &str) -> Vec<u8> {
    json!({
        "clientID": client_id,
        "heartbeatFingerprint": 0,
        "withoutSub": false,
        "consumerDataSet": [{
            "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "consumeType": "CONSUME_PASSIVELY",
            "groupName": group, "messageModel": "CLUSTERING", "unitMode": false,
            "subscriptionDataSet": [{
                "classFilterMode": false, "codeSet": [], "expressionType": "TAG",
                "subString": "*", "subVersion": now_ms(), "tagsSet": [], "topic": topic,
            }],
        }],
        "producerDataSet": [{"groupName": "test_producer"}],
    })
    .to_string()
    .into_bytes()
}

pub fn commit_ext(group: &str, topic: &str, queue_id: i32, offset: i64) -> Ext {
    vec![
        ("consumerGroup", group.into()),
        ("topic", topic.into()),
        ("queueId", queue_id.to_string()),
        ("commitOffset", offset.to_string()),
    ]
}
