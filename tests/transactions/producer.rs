//! A producer of transactions on a raw connection.

use crate::common::record::{self, Record};
use crate::common::remoting::{Client, Frame, NoAnswer};
use crate::common::requests::{self, SEND_MESSAGE_V2, must};
use crate::common::{PATIENCE, eventually};
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;

pub const TOPIC: &str = "TxTopic";
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
pub const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
pub const MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
pub const SYSTEM_GROUP: &str = "CID_RMQ_SYS_TRANS";
pub const END_TRANSACTION: i32 = 37;
pub const CHECK_TRANSACTION_STATE: i32 = 39;
pub const RESUME_CHECK_HALF_MESSAGE: i32 = 323;

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Commit = 8,
    Rollback = 12,
}

/// What a producer knows of its half message.
#[derive(Clone, Debug)]
pub struct Half {
    pub key: String,
    pub queue_offset: i64,
    pub physical_offset: i64,
}

pub struct Producer {
    pub client: Client,
    pub group: String,
}

impl Producer {
    /// Connects and says which group it is of.
    pub fn connect(to: SocketAddr, group: &str) -> std::io::Result<Producer> {
        let client = Client::connect(to)?;
        let beat = serde_json::json!({
            "clientID": format!("{group}@{}", client.local), "consumerDataSet": [],
            "producerDataSet": [{"groupName": group}],
        });
        let sent = client.call(34, &[], beat.to_string().as_bytes(), PATIENCE);
        let closed = |_| std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        sent.map_err(closed)?;
        Ok(Producer {
            client,
            group: group.to_owned(),
        })
    }

    /// Sends a half message; `more` are properties, `name U+0001 value U+0002` each.
    pub fn try_half(&self, body: &str, queue_id: i32, more: &str) -> Result<Frame, NoAnswer> {
        let properties = format!(
            "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{}\u{2}UNIQ_KEY\u{1}{body}\u{2}{more}",
            self.group
        );
        let ext = requests::send_ext(TOPIC, queue_id, &properties);
        let code = SEND_MESSAGE_V2;
        self.client.call(code, &ext, body.as_bytes(), PATIENCE)
    }

    pub fn half(&self, body: &str) -> Half {
        half_of(&must(self.try_half(body, 1, ""), "half message"))
    }

    pub fn half_with(&self, body: &str, more: &str) -> Half {
        half_of(&must(self.try_half(body, 1, more), "half message"))
    }

    /// Says how a transaction ended.
    pub fn end(&self, half: &Half, outcome: Outcome) -> Result<Frame, NoAnswer> {
        self.end_with(&end_ext(&self.group, half, outcome as i32))
    }

    pub fn end_with(&self, ext: &[(&'static str, String)]) -> Result<Frame, NoAnswer> {
        self.client.call(END_TRANSACTION, ext, b"", PATIENCE)
    }

    pub fn checks(&self) -> Checks {
        Checks(self.client.pushes())
    }
}

pub fn end_ext(group: &str, half: &Half, outcome: i32) -> Vec<(&'static str, String)> {
    vec![
        ("producerGroup", group.to_owned()),
        ("tranStateTableOffset", half.queue_offset.to_string()),
        ("commitLogOffset", half.physical_offset.to_string()),
        ("commitOrRollback", outcome.to_string()),
        ("fromTransactionCheck", "false".into()),
        ("msgId", half.key.clone()),
        ("transactionId", half.key.clone()),
    ]
}

/// What a producer learns from the answer to its half message.
pub fn half_of(answer: &Frame) -> Half {
    let id = answer.ext_text("msgId");
    let offset = i64::from_str_radix(&id[id.len() - 16..], 16).expect("an offset id");
    Half {
        key: answer.ext_text("transactionId").to_owned(),
        queue_offset: answer.ext_number("queueOffset"),
        physical_offset: offset,
    }
}

/// Questions that a producer gets.
pub struct Checks(Receiver<Frame>);

/// One of them.
pub struct Check {
    pub frame: Frame,
    pub half: Half,
    pub message: Record,
}

impl Checks {
    pub fn next(&self) -> Check {
        eventually("a check", || self.waiting())
    }

    /// The next one, if it is there already.
    pub fn waiting(&self) -> Option<Check> {
        let frame = self.0.try_recv().ok()?;
        if frame.code != CHECK_TRANSACTION_STATE {
            return None;
        }
        let message = record::parse(&frame.body);
        let half = Half {
            key: frame.ext_text("transactionId").to_owned(),
            queue_offset: frame.ext_number("tranStateTableOffset"),
            physical_offset: frame.ext_number("commitLogOffset"),
        };
        Some(Check {
            frame,
            half,
            message,
        })
    }
}

/// Bodies of a topic's messages, in the order of its queues.
pub fn bodies(client: &Client, topic: &str, queues: i32) -> Vec<String> {
    let records = (0..queues).flat_map(|id| requests::pull_all(client, topic, id, 0));
    let text = |record: Record| String::from_utf8(record.body).expect("text");
    records.map(text).collect()
}
