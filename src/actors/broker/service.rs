//! What a broker does with the requests of one connection.
//!
//! Sends and pulls go straight to the store's actors; everything else is a task of its own on the
//! connection's thread, under a permit of the control class, so that it never waits behind sends.

use std::sync::Arc;

use super::{context::BrokerContext, pop, processor, pull, refusal::OVERLOAD, send::SendBatch};
use crate::{
    actors::{
        kernel::PermitClass,
        net::{ConnectionHandle, Service, ServiceFactory},
    },
    protocol::{RemotingCommand, RequestCode, ResponseCode},
};

/// What RocketMQ's slaves answer to sends, and to pulls without `slaveReadEnable`.
const REJECTED: &str = "[REJECTREQUEST]system busy, start flow control for a while";

/// The service of one connection.
pub struct BrokerService {
    ctx: Arc<BrokerContext>,
    sends: SendBatch,
}

impl BrokerService {
    /// Makes services for new connections.
    pub fn factory(ctx: Arc<BrokerContext>) -> ServiceFactory {
        Arc::new(move |_| {
            Box::new(Self {
                ctx: Arc::clone(&ctx),
                sends: SendBatch::default(),
            })
        })
    }

    /// Whether a slave refuses the request before anything else (`rejectRequest` of the processors).
    fn is_for_master(&self, code: RequestCode) -> bool {
        if self.ctx.is_master() {
            return false;
        }
        let is_send = matches!(
            code,
            RequestCode::SendMessage
                | RequestCode::SendMessageV2
                | RequestCode::SendBatchMessage
                | RequestCode::ConsumerSendMsgBack
                | RequestCode::SendReplyMessage
                | RequestCode::SendReplyMessageV2
                | RequestCode::PopMessage
                | RequestCode::AckMessage
                | RequestCode::BatchAckMessage
                | RequestCode::ChangeMessageInvisibletime
        );
        let is_pull = matches!(
            code,
            RequestCode::PullMessage | RequestCode::LitePullMessage
        );
        is_send || (is_pull && !self.ctx.config.load().broker.slave_read_enable)
    }

    fn control(&self, code: RequestCode, request: RemotingCommand, conn: &Arc<ConnectionHandle>) {
        let mut responder = conn.responder(&request);
        let class = match code {
            // They are sends, and wait for a client that may be slow.
            RequestCode::SendReplyMessage | RequestCode::SendReplyMessageV2 => PermitClass::Sends,
            _ => PermitClass::Control,
        };
        let permits = &self.ctx.permits;
        let permit = permits.try_acquire(class, 1, request.body.len());
        let Some(permit) = permit else {
            return responder.fail(ResponseCode::SystemBusy, OVERLOAD);
        };
        responder.set_permit(permit);
        let (ctx, conn) = (Arc::clone(&self.ctx), Arc::clone(conn));
        actix_rt::spawn(async move {
            let response = processor::process(&ctx, code, &request, &conn).await;
            responder.respond(response);
        });
    }
}

impl Service for BrokerService {
    fn frames(&mut self, frames: &mut Vec<RemotingCommand>, conn: &Arc<ConnectionHandle>) {
        self.sends.expect(frames);
        for request in frames.drain(..) {
            match request.request_code() {
                Some(code) if self.is_for_master(code) => {
                    conn.responder(&request)
                        .fail(ResponseCode::SystemBusy, REJECTED);
                }
                Some(
                    RequestCode::SendMessage
                    | RequestCode::SendMessageV2
                    | RequestCode::SendBatchMessage,
                ) => self.sends.push(&self.ctx, request, conn),
                Some(RequestCode::PullMessage | RequestCode::LitePullMessage) => {
                    pull::pull(&self.ctx, request, conn);
                }
                Some(code @ (RequestCode::PopMessage | RequestCode::Notification)) => {
                    pop::take(&self.ctx, code, request, conn);
                }
                Some(code) => self.control(code, request, conn),
                None => conn
                    .responder(&request)
                    .respond(processor::not_supported(&request)),
            }
        }
        self.sends.submit(&self.ctx);
    }

    fn closed(&mut self, conn: &Arc<ConnectionHandle>) {
        self.ctx.consumers.closed(conn);
        self.ctx.producers.closed(conn.id);
    }
}
