//! Finding the topic's queues, and making the topic when it is not there.

use std::time::{Duration, Instant};

use callboard::client::RemotingClient;
use callboard::protocol::{RemotingCommand, RequestCode};
use serde_json::Value;

use crate::setup::Target;

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new topic may take to show up at the NameServer.
const ROUTE_WAIT: Duration = Duration::from_secs(15);
/// Topics whose route tells which brokers there are.
const KNOWN_TOPICS: [&str; 2] = ["TBW102", "BenchmarkTest"];
const READ: u64 = 4;
const WRITE: u64 = 2;

/// What a topic's queues are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Sending: the write queues.
    Send,
    /// Pulling: the read queues.
    Pull,
}

/// The queues of a topic; with `create`, a missing topic is made with that many on each master.
pub async fn targets(
    client: &RemotingClient,
    namesrv: &str,
    topic: &str,
    create: Option<u32>,
    usage: Use,
) -> Result<Vec<Target>, String> {
    if let Some(route) = ask(client, namesrv, topic).await? {
        return Ok(queues(topic, &route, usage));
    }
    let Some(count) = create else {
        return Err(format!(
            "no route for topic {topic}; give --queues to create it"
        ));
    };
    let mut masters = Vec::new();
    for known in KNOWN_TOPICS {
        if let Some(route) = ask(client, namesrv, known).await? {
            masters = queues(known, &route, Use::Pull);
            break;
        }
    }
    masters.dedup_by(|a, b| a.addr == b.addr);
    if masters.is_empty() {
        return Err(format!(
            "{namesrv} knows no broker on which {topic} could be made"
        ));
    }
    for master in &masters {
        create_topic(client, &master.addr, topic, count).await?;
    }
    let begin = Instant::now();
    loop {
        if let Some(route) = ask(client, namesrv, topic).await? {
            return Ok(queues(topic, &route, usage));
        }
        if begin.elapsed() > ROUTE_WAIT {
            return Err(format!("{topic} was made, but {namesrv} does not show it"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes a topic on one broker, or leaves it as it is.
pub async fn create_topic(
    client: &RemotingClient,
    addr: &str,
    topic: &str,
    queues: u32,
) -> Result<(), String> {
    let code = RequestCode::UpdateAndCreateTopic;
    let mut request = RemotingCommand::request_without_header(code);
    let queues = queues.to_string();
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    for (key, value) in fields {
        request.ext_fields.insert(key, value);
    }
    let answer = client
        .call(addr, request, TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    match answer.code {
        0 => Ok(()),
        code => Err(format!(
            "{addr} did not make {topic}: {code} {:?}",
            answer.remark
        )),
    }
}

async fn ask(client: &RemotingClient, namesrv: &str, topic: &str) -> Result<Option<Value>, String> {
    let code = RequestCode::GetRouteinfoByTopic;
    let mut request = RemotingCommand::request_without_header(code);
    request.ext_fields.insert("topic", topic);
    request.ext_fields.insert("acceptStandardJsonOnly", "true");
    let answer = client
        .call(namesrv, request, TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    match answer.code {
        0 => serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|error| error.to_string()),
        17 => Ok(None),
        code => Err(format!(
            "{namesrv} gave no route of {topic}: {code} {:?}",
            answer.remark
        )),
    }
}

fn queues(topic: &str, route: &Value, usage: Use) -> Vec<Target> {
    let list = |name: &str| {
        route
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let (bit, field) = match usage {
        Use::Send => (WRITE, "writeQueueNums"),
        Use::Pull => (READ, "readQueueNums"),
    };
    let mut targets = Vec::new();
    for data in list("queueDatas") {
        let name = data
            .get("brokerName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let number = |field: &str| data.get(field).and_then(Value::as_u64).unwrap_or(0);
        let master = list("brokerDatas").into_iter().find_map(|broker| {
            let found = broker.get("brokerName").and_then(Value::as_str) == Some(name);
            let addr = broker.pointer("/brokerAddrs/0").and_then(Value::as_str)?;
            found.then(|| addr.to_owned())
        });
        if let Some(addr) = master.filter(|_| number("perm") & bit != 0) {
            targets.extend((0..number(field)).map(|id| Target {
                topic: topic.to_owned(),
                addr: addr.clone(),
                broker: name.to_owned(),
                queue_id: id as u32,
            }));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_those_of_masters_with_the_permission() {
        let route = serde_json::json!({
            "brokerDatas": [
                {"brokerName": "a", "brokerAddrs": {"0": "h:1", "1": "h:2"}},
                {"brokerName": "b", "brokerAddrs": {"1": "h:3"}},
            ],
            "queueDatas": [
                {"brokerName": "a", "perm": 6, "readQueueNums": 1, "writeQueueNums": 2},
                {"brokerName": "b", "perm": 6, "readQueueNums": 1, "writeQueueNums": 2},
            ],
        });
        assert_eq!(queues("T", &route, Use::Send).len(), 2);
        assert_eq!(queues("T", &route, Use::Pull)[0].addr, "h:1");
    }
}
