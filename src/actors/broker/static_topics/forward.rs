//! Questions of the leader of a logic queue to the brokers that keep its older stretches (`RpcClientImpl`).
//!
//! Each is part of a request that holds a permit until it is answered, waits for `forwardTimeout` at most,
//! and there are so many at a time: a broker that does not answer is not to take the permits of all
//! other requests with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use super::LOGIC;
use crate::{
    actors::broker::{
        refusal::{OVERLOAD, Refusal},
        registrar::Registrars,
    },
    client::{RemotingClient, RemotingConfig, RemotingError},
    config::{BrokerConfig, Live},
    protocol::{CommandHeader, HeaderError, RemotingCommand, RequestCode, ResponseCode},
};

/// Questions that may be under way at a time; a small part of the budgets of those that ask.
pub const FORWARDS_MAX: usize = 1024;

/// The field that names the broker that is asked (`RpcRequestHeader.bname`).
const BROKER_NAME: &str = "bname";

/// Why there is no answer of another broker.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No NameServer knows a master of that name.
    #[error("cannot find addr for broker {0}")]
    Unknown(String),
    /// Too many questions are under way.
    #[error("{OVERLOAD}")]
    Busy,
    /// It did not answer.
    #[error(transparent)]
    Remoting(#[from] RemotingError),
    /// It answered something else.
    #[error("broker {broker} answered code {code}: {remark}")]
    Refused {
        /// The broker.
        broker: String,
        /// The code of its answer.
        code: i32,
        /// Its remark.
        remark: String,
    },
    /// Its answer cannot be read.
    #[error("broker {broker} answered without what was asked for: {source}")]
    Header {
        /// The broker.
        broker: String,
        /// What is wrong.
        source: HeaderError,
    },
    /// The body of its answer cannot be read.
    #[error("broker {broker} answered what cannot be read: {reason}")]
    Body {
        /// The broker.
        broker: String,
        /// What is wrong.
        reason: String,
    },
}

impl From<ForwardError> for Refusal {
    fn from(error: ForwardError) -> Self {
        let code = match error {
            ForwardError::Busy => ResponseCode::SystemBusy,
            _ => ResponseCode::SystemError,
        };
        Refusal::new(code, error.to_string())
    }
}

/// Asks other brokers.
pub struct Forwarder {
    registrars: Registrars,
    config: Arc<Live<BrokerConfig>>,
    client: RemotingClient,
    slots: Semaphore,
    asked: AtomicU64,
    failed: AtomicU64,
}

impl Forwarder {
    /// Nobody is asked yet.
    pub fn new(registrars: Registrars, config: Arc<Live<BrokerConfig>>) -> Self {
        Self {
            registrars,
            config,
            client: RemotingClient::new(RemotingConfig::default()),
            slots: Semaphore::new(FORWARDS_MAX),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Who knows where brokers and topics are.
    pub(super) fn registrars(&self) -> &Registrars {
        &self.registrars
    }

    /// Questions so far, those without an answer, and those under way.
    pub fn counts(&self) -> (u64, u64, usize) {
        let under_way = FORWARDS_MAX.saturating_sub(self.slots.available_permits());
        (
            self.asked.load(Relaxed),
            self.failed.load(Relaxed),
            under_way,
        )
    }

    /// Ends all connections.
    pub fn shut_down(&self) {
        self.client.shut_down();
    }

    /// Asks the master of a broker's name about a physical queue; its answer, whatever its code.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(
        &self,
        broker: &str,
        code: RequestCode,
        header: &impl CommandHeader,
    ) -> Result<RemotingCommand, ForwardError> {
        self.send(broker, "false", RemotingCommand::request(code, header))
            .await
    }

    /// As [`ask`](Self::ask), with the mapping of a static topic.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(super) async fn ask_logic(
        &self,
        broker: &str,
        code: RequestCode,
        header: &impl CommandHeader,
    ) -> Result<RemotingCommand, ForwardError> {
        self.send(broker, "true", RemotingCommand::request(code, header))
            .await
    }

    /// Asks, and expects SUCCESS with such a header.
    ///
    /// # Errors
    /// When it is another code, too.
    pub async fn expect<H: CommandHeader>(
        &self,
        broker: &str,
        code: RequestCode,
        header: &impl CommandHeader,
    ) -> Result<H, ForwardError> {
        let answer = success(broker, self.ask(broker, code, header).await?)?;
        answer
            .decode_header()
            .map_err(|source| ForwardError::Header {
                broker: broker.to_owned(),
                source,
            })
    }

    async fn send(
        &self,
        broker: &str,
        logic: &str,
        mut request: RemotingCommand,
    ) -> Result<RemotingCommand, ForwardError> {
        let _slot = self.slots.try_acquire().map_err(|_| ForwardError::Busy)?;
        self.asked.fetch_add(1, Relaxed);
        request.ext_fields.insert(LOGIC, logic);
        request.ext_fields.insert(BROKER_NAME, broker);
        let timeout_ms = self.config.load().broker.forward_timeout_ms;
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0).max(1));
        let answer = match tokio::time::timeout(
            timeout,
            self.send_to_master(broker, request, timeout),
        )
        .await
        {
            Ok(answer) => answer,
            Err(_) => Err(RemotingError::Timeout {
                addr: broker.to_owned(),
                timeout,
            }
            .into()),
        };
        if answer.is_err() {
            self.failed.fetch_add(1, Relaxed);
            // It may have moved.
            self.registrars.doubt_masters();
        }
        answer
    }

    async fn send_to_master(
        &self,
        broker: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ForwardError> {
        let addr = self.registrars.master_of(broker).await;
        let addr = addr.ok_or_else(|| ForwardError::Unknown(broker.to_owned()))?;
        Ok(self.client.call(&addr, request, timeout).await?)
    }
}

/// An answer, if it is one of SUCCESS.
///
/// # Errors
/// [`ForwardError::Refused`].
pub(super) fn success(
    broker: &str,
    answer: RemotingCommand,
) -> Result<RemotingCommand, ForwardError> {
    if answer.code == ResponseCode::Success.code() {
        return Ok(answer);
    }
    Err(ForwardError::Refused {
        broker: broker.to_owned(),
        code: answer.code,
        remark: answer.remark.as_deref().unwrap_or_default().to_owned(),
    })
}
