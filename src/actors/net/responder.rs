//! The right and duty to answer one request.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::handle::ConnectionHandle;
use crate::actors::kernel::Permit;
use crate::protocol::frame::FLAG_RESPONSE;
use crate::protocol::{
    CommandHeaderFields, RemotingCommand, ResponseCode, SerializeType, encode_response_head,
};

/// What a client is told when the request was lost on the way, for example by a panic.
pub const OUTCOME_UNKNOWN: &str = "outcome unknown";

/// Answers one request, from any thread, once.
///
/// Dropped without an answer it answers SYSTEM_ERROR, "outcome unknown": no crash leaves a client
/// waiting. A oneway request is never answered, whatever is called here. The request counts against
/// its connection's budget until the answer is written, the responder is dropped, or
/// [`Responder::park`].
pub struct Responder {
    conn: Arc<ConnectionHandle>,
    permit: Option<Permit>,
    opaque: i32,
    code: i32,
    serialize: SerializeType,
    oneway: bool,
    done: bool,
    requests: u8,
    bytes: usize,
}

impl fmt::Debug for Responder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "Responder({} code={} opaque={})",
            self.conn.peer, self.code, self.opaque
        )
    }
}

impl Responder {
    /// Memory of a request beside its body, roughly: what a budget counts for it.
    const REQUEST_OVERHEAD: usize = 256;

    pub(super) fn new(conn: Arc<ConnectionHandle>, request: &RemotingCommand) -> Self {
        let bytes = request.body.len() + Self::REQUEST_OVERHEAD;
        conn.begin_request(bytes);
        Responder {
            conn,
            permit: None,
            opaque: request.opaque,
            code: request.code,
            serialize: request.serialize_type,
            oneway: request.is_oneway(),
            done: false,
            requests: 1,
            bytes,
        }
    }

    /// Keeps a permit until the answer is written. One given before is given back.
    pub fn set_permit(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// As [`Responder::set_permit`].
    pub fn with_permit(mut self, permit: Permit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// The request will wait for long, as a held pull does: gives its permit and its share of the
    /// connection's budget back, so that others of the same connection pass.
    pub fn park(&mut self) {
        self.permit = None;
        let requests = usize::from(std::mem::take(&mut self.requests));
        self.conn
            .free_requests(requests, std::mem::take(&mut self.bytes));
    }

    /// The connection the request came from.
    pub fn conn(&self) -> &Arc<ConnectionHandle> {
        &self.conn
    }

    /// The number of the request.
    pub fn opaque(&self) -> i32 {
        self.opaque
    }

    /// The code of the request, as it was on the wire.
    pub fn request_code(&self) -> i32 {
        self.code
    }

    /// Whether nobody waits for an answer.
    pub fn is_oneway(&self) -> bool {
        self.oneway
    }

    /// Answers with a whole command. Opaque and serialization are those of the request.
    pub fn respond(mut self, mut response: RemotingCommand) {
        response.opaque = self.opaque;
        response.serialize_type = self.serialize;
        response.flag |= FLAG_RESPONSE;
        self.finish(|outbox| {
            outbox.encode(|tail| response.encode_head(response.body.len(), tail));
            outbox.push(response.body);
        });
    }

    /// Answers without building a command: the header is written straight into the outbox, the
    /// slices of the body follow uncopied.
    pub fn answer(
        mut self,
        code: ResponseCode,
        remark: Option<&str>,
        header: Option<&dyn CommandHeaderFields>,
        extra: &[(&str, &str)],
        bodies: impl IntoIterator<Item = Bytes> + AsRef<[Bytes]>,
    ) {
        let body_len: usize = bodies.as_ref().iter().map(Bytes::len).sum();
        let (opaque, serialize) = (self.opaque, self.serialize);
        self.finish(|outbox| {
            outbox.encode(|tail| {
                let code = code.code();
                encode_response_head(
                    tail, serialize, code, opaque, remark, header, extra, body_len,
                );
            });
            bodies.into_iter().for_each(|body| outbox.push(body));
        });
    }

    /// Answers with a code and a text.
    pub fn fail(self, code: ResponseCode, remark: &str) {
        self.answer(code, Some(remark), None, &[], []);
    }

    /// Answers SUCCESS without anything else.
    pub fn success(self) {
        self.answer(ResponseCode::Success, None, None, &[], []);
    }

    /// If `fill` panics the request is not done, and the drop that follows answers it.
    fn finish(&mut self, fill: impl FnOnce(&mut super::outbox::Outbox)) {
        let requests = usize::from(self.requests);
        if self.oneway {
            self.permit = None;
            self.conn.free_requests(requests, self.bytes);
        } else {
            self.conn
                .enqueue(self.permit.take(), requests, self.bytes, fill);
        }
        self.requests = 0;
        self.done = true;
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (opaque, serialize) = (self.opaque, self.serialize);
        self.finish(|outbox| {
            outbox.encode(|tail| {
                let code = ResponseCode::SystemError.code();
                let remark = Some(OUTCOME_UNKNOWN);
                encode_response_head(tail, serialize, code, opaque, remark, None, &[], 0);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::kernel::{PermitClass, Permits};
    use crate::protocol::RequestCode;

    fn request(opaque: i32) -> RemotingCommand {
        let mut request = RemotingCommand::request_without_header(RequestCode::HeartBeat);
        request.opaque = opaque;
        request
    }

    fn answer_of(conn: &ConnectionHandle) -> RemotingCommand {
        RemotingCommand::decode(conn.sent()).unwrap()
    }

    #[test]
    fn dropping_answers_that_the_outcome_is_unknown() {
        let conn = ConnectionHandle::detached();
        drop(conn.responder(&request(5)));
        let answer = answer_of(&conn);
        assert_eq!(
            (answer.code, answer.opaque),
            (ResponseCode::SystemError.code(), 5)
        );
        assert_eq!(answer.remark.as_deref(), Some(OUTCOME_UNKNOWN));
        assert_eq!(conn.in_flight(), 0);
    }

    #[test]
    fn oneway_is_never_answered() {
        let conn = ConnectionHandle::detached();
        let oneway = request(1).mark_oneway();
        conn.responder(&oneway).success();
        drop(conn.responder(&oneway));
        assert!(conn.sent().is_empty());
        assert_eq!(conn.in_flight(), 0);
    }

    #[test]
    fn permit_is_given_back_when_written_and_when_parked() {
        let permits = Permits::new(&[]);
        let used = || permits.usage(PermitClass::Control).count;
        let take = || permits.try_acquire(PermitClass::Control, 1, 0).unwrap();
        let conn = ConnectionHandle::detached();
        conn.responder(&request(1)).with_permit(take()).success();
        assert_eq!((used(), conn.in_flight()), (1, 1));
        let _ = conn.sent();
        assert_eq!((used(), conn.in_flight()), (0, 0));
        let mut parked = conn.responder(&request(2)).with_permit(take());
        parked.park();
        assert_eq!((used(), conn.in_flight()), (0, 0));
        parked.answer(
            ResponseCode::Success,
            None,
            None,
            &[],
            [Bytes::from(vec![1; 999])],
        );
        assert_eq!(answer_of(&conn).body.len(), 999);
        conn.finish();
        conn.responder(&request(3)).with_permit(take()).success();
        assert_eq!((used(), conn.in_flight()), (0, 0));
    }
}
