//! Appending a batch, and knowing whether all of it was stored.

use tokio::sync::oneshot;

use super::TimerParts;
use crate::actors::{
    kernel::PermitClass,
    store::append::{AppendBatch, AppendReply, AppendRequest, Appended, PutStatus},
};

/// Appends requests; whether each of them is stored, or never will be.
pub(super) async fn append_all(
    parts: &TimerParts,
    requests: Vec<AppendRequest>,
    bytes: usize,
) -> Result<(), String> {
    let permit = parts
        .permits
        .try_acquire(PermitClass::Internal, requests.len(), bytes);
    if permit.is_none() {
        return Err("the broker's own budget is spent".to_owned());
    }
    let (answer, answered) = oneshot::channel();
    parts.store.writer.tell(AppendBatch {
        requests,
        wait_store_ok: true,
        permit,
        reply: Box::new(AllStored(answer)),
    });
    let unknown = || Err("the outcome of an append is unknown".to_owned());
    answered.await.unwrap_or_else(|_| unknown())
}

/// Tells whether all of a batch was stored.
#[derive(Debug)]
struct AllStored(oneshot::Sender<Result<(), String>>);

impl AppendReply for AllStored {
    fn answer(self: Box<Self>, outcome: &Appended) {
        // What can never be stored is given up, as by RocketMQ (`PUT_NO_RETRY`).
        let is_done = |request: &AppendRequest| {
            request.status.is_stored()
                || matches!(
                    request.status,
                    PutStatus::TopicDeleted | PutStatus::MessageIllegal
                )
        };
        let stored = match outcome.requests.iter().all(is_done) {
            true => Ok(()),
            false => Err(outcome.error.clone().unwrap_or_default()),
        };
        let _ = self.0.send(stored);
    }
}
