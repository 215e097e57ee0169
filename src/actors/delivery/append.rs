//! Appends of the broker's own: within its share of the budget, and told whether all was stored.

use tokio::sync::oneshot;

use crate::{
    actors::{
        broker::{
            context::StoreHandles,
            refusal::{OVERLOAD, Refusal},
        },
        kernel::{PermitClass, Permits},
        store::append::{AppendBatch, AppendReply, AppendRequest, Appended, PutStatus},
    },
    protocol::ResponseCode,
};

/// Appends requests with one write; those that end as one of `gone` count as done, for they never
/// can be stored.
///
/// # Errors
/// SYSTEM_BUSY past the budget, else SYSTEM_ERROR. Some of them may be stored.
pub async fn append_all(
    store: &StoreHandles,
    permits: &Permits,
    requests: Vec<AppendRequest>,
    gone: &'static [PutStatus],
) -> Result<(), Refusal> {
    if requests.is_empty() {
        return Ok(());
    }
    let bytes = requests.iter().map(|request| request.bytes.len()).sum();
    let permit = permits.try_acquire(PermitClass::Internal, requests.len(), bytes);
    if permit.is_none() {
        return Err(Refusal::new(ResponseCode::SystemBusy, OVERLOAD));
    }
    let (answer, answered) = oneshot::channel();
    store.writer.tell(AppendBatch {
        requests,
        wait_store_ok: true,
        permit,
        reply: Box::new(AllStored { answer, gone }),
    });
    let unknown = || Err("outcome unknown".to_owned());
    let stored = answered.await.unwrap_or_else(|_| unknown());
    stored.map_err(|error| Refusal::new(ResponseCode::SystemError, error))
}

/// Tells whether all of a batch was stored.
#[derive(Debug)]
struct AllStored {
    answer: oneshot::Sender<Result<(), String>>,
    gone: &'static [PutStatus],
}

impl AppendReply for AllStored {
    fn answer(self: Box<Self>, outcome: &Appended) {
        let is_done = |request: &&AppendRequest| {
            request.status.is_stored() || self.gone.contains(&request.status)
        };
        let failed = outcome.requests.iter().find(|request| !is_done(request));
        let told = failed.map_or(Ok(()), |request| {
            let why = outcome.error.as_deref().unwrap_or("not stored");
            Err(format!("{why} ({:?})", request.status))
        });
        // The asker may have gone.
        let _ = self.answer.send(told);
    }
}
