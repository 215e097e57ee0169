//! Why a request is refused: a response code and a text for people.

use crate::protocol::ResponseCode;

/// A refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {remark}")]
pub struct Refusal {
    /// The code of the answer.
    pub code: ResponseCode,
    /// Its remark.
    pub remark: String,
}

impl Refusal {
    /// A refusal with a text.
    pub fn new(code: ResponseCode, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
        }
    }

    /// Of a topic that only a Java broker can have made: `what` it needs is not built.
    pub fn not_built(topic: &str, what: &str) -> Self {
        let remark =
            format!("topic[{topic}] is not served: {what} is not supported by this broker");
        Self::new(ResponseCode::RequestCodeNotSupported, remark)
    }
}

/// The sentence that RocketMQ puts behind some remarks (`FAQUrl.suggestTodo`).
pub const SEE_FAQ: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// The remark past a budget.
pub const OVERLOAD: &str = "[OVERLOAD]system busy, start flow control for a while";
