//! From the command line to frames and addresses: routes, topic creation, request templates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use callboard::client::RemotingClient;
use callboard::protocol::{ExtFields, RemotingCommand, RequestCode, SerializeType};

use crate::frames::{COUNTER_MARK, OFFSET_MARK, TIME_MARK, Template};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time a pull may be held by the broker.
const SUSPEND_MS: u64 = 15_000;

/// Wall clock, ms.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as i64
}

/// A queue of the topic and the broker that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Topic.
    pub topic: String,
    /// Broker address.
    pub addr: String,
    /// Broker name.
    pub broker: String,
    /// Queue id.
    pub queue_id: u32,
}

/// What the requests look like.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Body bytes of a message.
    pub body: usize,
    /// Messages in a request.
    pub batch: usize,
    /// Header serialization.
    pub serialize: SerializeType,
    /// Adds a KEYS property per message.
    pub keys: bool,
}

/// Sixteen hex digits that tell this run's unique keys from those of any other.
pub fn run_prefix() -> String {
    format!("{:016X}", rand::random::<u64>())
}

/// A send request for one queue, with marks for opaque, unique keys and time.
pub fn send_template(shape: &Shape, target: &Target, prefix: &str) -> Template {
    let code = match shape.batch {
        0 | 1 => RequestCode::SendMessageV2,
        _ => RequestCode::SendBatchMessage,
    };
    let mut request = RemotingCommand::request_without_header(code);
    request.serialize_type = shape.serialize;
    let properties = message_properties(shape, prefix);
    let header_properties = if shape.batch > 1 {
        "WAIT\u{1}true\u{2}"
    } else {
        properties.as_str()
    };
    let time = TIME_MARK.to_string();
    let queue_id = target.queue_id.to_string();
    let fields = [
        ("a", "mqbench_producer"),
        ("b", target.topic.as_str()),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", &queue_id),
        ("f", "0"),
        ("g", &time),
        ("h", "0"),
        ("i", header_properties),
        ("j", "0"),
        ("k", "false"),
        ("m", if shape.batch > 1 { "true" } else { "false" }),
        ("n", &target.broker),
    ];
    insert_all(&mut request.ext_fields, &fields);
    let body = if shape.batch > 1 {
        batch_body(shape, &properties)
    } else {
        vec![b'a'; shape.body]
    };
    Template::new(request.with_body(body))
}

fn message_properties(shape: &Shape, prefix: &str) -> String {
    let keys = if shape.keys {
        format!("KEYS\u{1}{COUNTER_MARK}\u{2}")
    } else {
        String::new()
    };
    format!("{keys}UNIQ_KEY\u{1}{prefix}{COUNTER_MARK}\u{2}WAIT\u{1}true\u{2}")
}

/// The wire form of a batch: total size, magic, CRC, flag, body, properties, all big-endian.
fn batch_body(shape: &Shape, properties: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..shape.batch {
        let total = 4 + 4 + 4 + 4 + 4 + shape.body + 2 + properties.len();
        out.extend_from_slice(&(total as u32).to_be_bytes());
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&(shape.body as u32).to_be_bytes());
        out.resize(out.len() + shape.body, b'a');
        out.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        out.extend_from_slice(properties.as_bytes());
    }
    out
}

/// A pull request for one queue with a mark for the offset.
pub fn pull_template(
    shape: &Shape,
    target: &Target,
    group: &str,
    messages_max: u32,
    hold: bool,
) -> Template {
    let mut request = RemotingCommand::request_without_header(RequestCode::PullMessage);
    request.serialize_type = shape.serialize;
    // Subscription in the request; suspended when there is nothing new and `hold` says so.
    let sys_flag = if hold { "6" } else { "4" };
    let fields = [
        ("consumerGroup", group),
        ("topic", target.topic.as_str()),
        ("queueId", &target.queue_id.to_string()),
        ("queueOffset", &OFFSET_MARK.to_string()),
        ("maxMsgNums", &messages_max.to_string()),
        ("maxMsgBytes", &(1 << 20).to_string()),
        ("sysFlag", sys_flag),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", &SUSPEND_MS.to_string()),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    insert_all(&mut request.ext_fields, &fields);
    Template::new(request)
}

fn insert_all(fields: &mut ExtFields, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        fields.insert(key, value);
    }
}

/// Asks a queue for one of its ends.
pub async fn queue_offset(
    client: &RemotingClient,
    target: &Target,
    code: RequestCode,
) -> Result<i64, String> {
    let mut request = RemotingCommand::request_without_header(code);
    let queue_id = target.queue_id.to_string();
    insert_all(
        &mut request.ext_fields,
        &[("topic", &target.topic), ("queueId", &queue_id)],
    );
    let answer = client.call(&target.addr, request, TIMEOUT).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let offset = answer
        .ext_fields
        .get("offset")
        .and_then(|text| text.parse().ok());
    offset.ok_or_else(|| {
        let remark = answer.remark.as_deref().unwrap_or_default();
        format!(
            "{} gave no offset: code {} {remark}",
            target.addr, answer.code
        )
    })
}
