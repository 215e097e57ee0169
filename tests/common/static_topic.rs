//! Brokers of one cluster, and the mappings of static topics as tools send them (code 513).

use super::remoting::{Client, Frame};
use super::requests::{
    Ext, GET_TOPIC_CONFIG, PULL_MESSAGE, SEND_MESSAGE_V2, create_group, must, pull_ext, send_ext,
    topic_ext, wait_dispatched,
};
use super::server::{Broker, Folder, Namesrv, is_java};
use super::{PATIENCE, record};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub const UPDATE_AND_CREATE_STATIC_TOPIC: i32 = 513;
pub const NOT_LEADER_FOR_QUEUE: i32 = 501;
const PULL_NOT_FOUND: i32 = 19;
const PULL_RETRY_IMMEDIATELY: i32 = 20;
const PULL_OFFSET_MOVED: i32 = 21;

/// Masters of one cluster: broker-a, broker-b and so on.
pub struct Masters {
    pub brokers: Vec<Broker>,
    pub namesrv: Namesrv,
    // Dropped last: the processes are gone by then.
    _dir: Folder,
}

/// The name of the broker with this number.
pub fn name(at: usize) -> String {
    format!("broker-{}", char::from(b'a' + at as u8))
}

impl Masters {
    pub fn start(count: usize, extra: &[(&str, &str)]) -> Masters {
        let dir = Folder::new();
        let namesrv = Namesrv::start(&dir.0);
        let start = |at| {
            let name = name(at);
            let mut keys = vec![("brokerName", name.as_str())];
            keys.extend(extra);
            Broker::start_in(&dir.0.join(&name), namesrv.address(), &keys)
        };
        let brokers: Vec<_> = (0..count).map(start).collect();
        for broker in &brokers {
            let client = Client::connect(broker.address()).expect("connect");
            create_group(&client, "test_group");
        }
        Masters {
            brokers,
            namesrv,
            _dir: dir,
        }
    }

    pub fn client(&self, at: usize) -> Client {
        Client::connect(self.brokers[at].address()).expect("connect")
    }
}

/// One stretch of a logic queue: broker, generation, physical queue, logic offset.
pub type Stretch = (usize, i32, i32, i64);

/// What a tool sends to one broker.
#[derive(Clone, Debug)]
pub struct Mapping {
    pub topic: &'static str,
    pub broker: usize,
    pub epoch: i64,
    pub total: i32,
    pub queues: Vec<(i32, Vec<Stretch>)>,
}

impl Mapping {
    pub fn json(&self) -> Value {
        let item = |&(broker, generation, queue, logic): &Stretch| {
            json!({
                "bname": name(broker), "endOffset": -1, "gen": generation, "logicOffset": logic,
                "queueId": queue, "startOffset": 0, "timeOfEnd": -1, "timeOfStart": -1,
            })
        };
        let queues = self.queues.iter().map(|(queue, stretches)| {
            let items: Vec<Value> = stretches.iter().map(item).collect();
            (queue.to_string(), Value::from(items))
        });
        json!({
            "bname": name(self.broker), "currIdMap": {}, "dirty": false, "epoch": self.epoch,
            "hostedQueues": Map::from_iter(queues), "scope": "__global__", "topic": self.topic,
            "totalQueues": self.total,
        })
    }

    /// Sends it to its broker, with so many physical queues there.
    pub fn send(&self, client: &Client, physical: i32, force: bool) -> Frame {
        send_mapping(client, self.topic, physical, force, &self.json())
    }

    /// As [`send`](Self::send); has to be taken.
    pub fn put(&self, client: &Client, physical: i32) {
        must(Ok(self.send(client, physical, false)), "513");
    }
}

pub fn send_mapping(
    client: &Client,
    topic: &str,
    physical: i32,
    force: bool,
    mapping: &Value,
) -> Frame {
    let mut ext = topic_ext(topic, physical);
    ext.push(("force", force.to_string()));
    let body = mapping.to_string();
    let code = UPDATE_AND_CREATE_STATIC_TOPIC;
    let answer = client.call(code, &ext, body.as_bytes(), PATIENCE);
    answer.expect("answered")
}

/// The mapping that a broker has of a topic.
pub fn mapping_at(client: &Client, topic: &str) -> Option<Value> {
    let ext = [("topic", topic.to_owned()), ("lo", "true".to_owned())];
    let answer = client
        .call(GET_TOPIC_CONFIG, &ext, b"", PATIENCE)
        .expect("answered");
    if answer.code != 0 {
        return None;
    }
    // Java's keys are numbers.
    let config = callboard::protocol::fastjson::from_slice::<
        callboard::protocol::body::topic_config::TopicConfigAndQueueMapping,
    >(&answer.body)
    .expect("a topic");
    config
        .mapping_detail
        .map(|detail| serde_json::to_value(detail).expect("JSON"))
}

pub fn send(client: &Client, topic: &str, queue: i32, body: &str) -> Frame {
    let ext = send_ext(topic, queue, "");
    let answer = client.call(SEND_MESSAGE_V2, &ext, body.as_bytes(), PATIENCE);
    answer.expect("answered")
}

/// Sends one; has to be taken. Yields the logic offset.
pub fn sent(client: &Client, topic: &str, queue: i32, body: &str) -> i64 {
    let answer = must(Ok(send(client, topic, queue, body)), "send");
    assert_eq!(answer.ext_number("queueId"), i64::from(queue));
    answer.ext_number("queueOffset")
}

/// What a reader of a logic queue gets: logic offsets and bodies; and where it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub messages: Vec<(i64, String)>,
    pub end: i64,
}

impl Read {
    pub fn bodies(&self) -> Vec<&str> {
        self.messages.iter().map(|(_, body)| &**body).collect()
    }
}

pub fn logic_pull_ext(topic: &str, queue: i32, offset: i64, max: i32) -> Ext {
    let mut ext = pull_ext(topic, queue, offset, 0);
    super::requests::set(&mut ext, "maxMsgNums", max.to_string());
    ext
}

/// Reads a logic queue at its leader from an offset on, as clients do, until nothing more is there.
pub fn read(client: &Client, topic: &str, queue: i32, from: i64, batch: i32) -> Read {
    wait_dispatched(client);
    let (mut messages, mut offset) = (Vec::new(), from);
    for _ in 0..100_000 {
        let ext = logic_pull_ext(topic, queue, offset, batch);
        let answer = client
            .call(PULL_MESSAGE, &ext, b"", PATIENCE)
            .expect("answered");
        let next = |answer: &Frame| answer.ext_number("nextBeginOffset");
        match answer.code {
            0 => {
                let delta = answer.ext_number("offsetDelta");
                for found in record::parse_all(&answer.body) {
                    let body = String::from_utf8(found.body).expect("text");
                    messages.push((found.queue_offset + delta, body));
                }
                assert!(next(&answer) > offset, "at {offset}: {answer:?}");
                offset = next(&answer);
            }
            PULL_RETRY_IMMEDIATELY | PULL_OFFSET_MOVED => {
                assert!(next(&answer) > offset, "at {offset}: {answer:?}");
                offset = next(&answer);
            }
            PULL_NOT_FOUND => {
                let end = next(&answer);
                return Read { messages, end };
            }
            // RocketMQ looks for other brokers every five seconds.
            _ if is_java() && answer.remark.contains("cannot find addr for broker") => {
                std::thread::sleep(Duration::from_millis(100));
            }
            code => panic!("pull {topic}/{queue} at {offset}: {code} {}", answer.remark),
        }
    }
    panic!("no end of {topic}/{queue} from {from}");
}

/// The route of a topic as the NameServer tells it.
pub fn route(namesrv: &Namesrv, topic: &str) -> Option<Value> {
    let client =
        Client::connect_within(namesrv.address(), Duration::from_secs(5)).expect("connect");
    let ext = [
        ("topic", topic.to_owned()),
        ("acceptStandardJsonOnly", "true".to_owned()),
    ];
    let answer = client
        .call(super::requests::GET_ROUTEINFO_BY_TOPIC, &ext, b"", PATIENCE)
        .expect("answered");
    (answer.code == 0).then(|| serde_json::from_slice(&answer.body).expect("JSON"))
}
