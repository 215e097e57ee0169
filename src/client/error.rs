//! What can go wrong between a client and the brokers and NameServers it talks to.

use std::time::Duration;

use crate::client::remoting::RemotingError;
use crate::protocol::ResponseCode;
use crate::protocol::static_topic::StaticTopicError;

/// Failure of a producer, consumer or admin operation.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection or the call failed; whether the server acted on it is unknown.
    #[error(transparent)]
    Remoting(#[from] RemotingError),
    /// The server answered with a code other than SUCCESS.
    #[error("{addr} answered {code} {name}: {remark}")]
    Refused {
        /// Address of the server that refused.
        addr: String,
        /// Response code as on the wire.
        code: i32,
        /// RocketMQ's name of the code.
        name: &'static str,
        /// The server's explanation.
        remark: String,
    },
    /// No NameServer knows the topic.
    #[error("no route for topic {0}")]
    NoRoute(String),
    /// The topic has a route, but none of its queues can be written to (or read from).
    #[error("topic {0} has no queue that can be used")]
    NoQueue(String),
    /// A broker name that the routes known to this client do not contain.
    #[error("no address known for broker {0}")]
    UnknownBroker(String),
    /// No NameServer address was configured.
    #[error("no NameServer address: set it in the configuration or in NAMESRV_ADDR")]
    NoNameServer,
    /// A static topic cannot be made or moved that way.
    #[error(transparent)]
    StaticTopic(#[from] StaticTopicError),
    /// A value that the caller gave is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// A body of the answer could not be read.
    #[error("cannot read {what} from {addr}: {reason}")]
    BadAnswer {
        /// What was expected.
        what: &'static str,
        /// Who sent it.
        addr: String,
        /// Why it could not be read.
        reason: String,
    },
    /// Every attempt failed within the time allowed.
    #[error("gave up after {attempts} attempts in {elapsed:?}: {last}")]
    Exhausted {
        /// How many times the operation was tried.
        attempts: u32,
        /// Time spent.
        elapsed: Duration,
        /// The last failure.
        last: Box<ClientError>,
    },
    /// The client, producer or consumer was shut down.
    #[error("the client is shut down")]
    ShutDown,
    /// A file of the client (broadcasting offsets) could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ClientError {
    /// The server's refusal, with the code's name looked up.
    pub fn refused(addr: &str, code: i32, remark: Option<&str>) -> Self {
        ClientError::Refused {
            addr: addr.to_owned(),
            code,
            name: code_name(code),
            remark: remark.unwrap_or_default().to_owned(),
        }
    }

    /// The response code, when a server answered with one.
    pub fn code(&self) -> Option<i32> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            ClientError::Exhausted { last, .. } => last.code(),
            _ => None,
        }
    }

    /// True when a server answered with this code.
    pub fn is(&self, code: ResponseCode) -> bool {
        self.code() == Some(code as i32)
    }
}

/// RocketMQ's name of a response code, or `UNKNOWN`.
pub fn code_name(code: i32) -> &'static str {
    ResponseCode::from_code(code).map_or("UNKNOWN", |known| known.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_code() {
        let error = ClientError::refused("127.0.0.1:1", 17, Some("no such topic"));
        assert_eq!(
            error.to_string(),
            "127.0.0.1:1 answered 17 TOPIC_NOT_EXIST: no such topic"
        );
        assert!(error.is(ResponseCode::TopicNotExist));
        assert_eq!(code_name(-7), "UNKNOWN");
    }
}
