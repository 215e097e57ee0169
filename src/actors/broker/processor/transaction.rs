//! Transactions: what producers say of them (37), and half messages that are asked about anew (323).

use tokio::sync::oneshot;

use super::{answer, decode, query::whole_record};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            inner::InnerMessage,
            refusal::Refusal,
            send::{response_of, topic_not_exist},
        },
        delivery::transactions::{End, committed, copy_of, immunity_ms},
        kernel::lock,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        header::transaction::{EndTransactionRequestHeader, ResumeCheckHalfMessageRequestHeader},
        message::{
            id, names, properties,
            record::{CheckCrc, RecordView},
            sys_flag, transaction,
        },
    },
    store::now_ms,
};

fn error(remark: impl Into<String>) -> Refusal {
    Refusal::new(ResponseCode::SystemError, remark.into())
}

/// END_TRANSACTION (37): commits or rolls back a half message. The answer comes when that is stored;
/// clients send the request oneway (`EndTransactionProcessor`).
pub async fn end(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: EndTransactionRequestHeader = decode(request)?;
    if !ctx.is_master() {
        return Ok(RemotingCommand::response(
            request,
            ResponseCode::SlaveNotAvailable,
        ));
    }
    let commits = match header.commit_or_rollback {
        sys_flag::TRANSACTION_COMMIT => true,
        sys_flag::TRANSACTION_ROLLBACK => false,
        // The producer does not know yet: it will be asked.
        sys_flag::TRANSACTION_NONE => return Ok(answer(request)),
        other => return Err(error(format!("unknown commitOrRollback: {other}"))),
    };
    let record = whole_record(ctx, header.commit_log_offset);
    let half = record
        .as_deref()
        .and_then(|record| RecordView::parse(record, CheckCrc::No).ok())
        .filter(|half| half.topic == names::TRANS_HALF_TOPIC);
    let Some(half) = half else {
        return Err(error("Find prepared transaction message failed"));
    };
    if !header.from_transaction_check && is_too_late(ctx, &half) {
        return Err(Refusal::new(ResponseCode::IllegalOperation, ""));
    }
    check(&header, &half)?;
    let place = real_place(&half);
    let (topic, queue_id) = place.ok_or_else(|| error("The half message has no real topic"))?;
    // Whoever deleted the topic deleted its open transactions, too.
    let deleted =
        lock(&ctx.store.deleted).covers(topic, half.physical_offset) || !ctx.topics.contains(topic);
    let message = if commits && !deleted {
        let slot_of = |message: &InnerMessage<'_>| ctx.timed_slot(message);
        Some(committed(&half, topic, queue_id, &ctx.store, slot_of)?)
    } else {
        None
    };
    let (told, ended) = oneshot::channel();
    ctx.transactions.actor.tell(End {
        half: half.queue_offset,
        topic: topic.to_owned(),
        message,
        answer: told,
    });
    let ended = ended.await.map_err(|_| error("outcome unknown"))?;
    if !ended.status.is_stored() {
        let (code, remark) = response_of(ended.status, ended.error.as_deref());
        return Err(Refusal::new(code, remark.unwrap_or_default()));
    }
    if commits && deleted {
        return Err(topic_not_exist(topic));
    }
    Ok(answer(request))
}

/// A producer that asked not to be asked for a while has to end its transaction within that time; later
/// only an answer to a question counts.
fn is_too_late(ctx: &BrokerContext, half: &RecordView<'_>) -> bool {
    let timeout_ms = ctx.config.load().broker.transaction_timeout_ms;
    let immunity = immunity_ms(half, timeout_ms);
    immunity.is_some_and(|immunity| now_ms() - half.born_timestamp > immunity)
}

/// Whether the producer means this half message.
fn check(header: &EndTransactionRequestHeader, half: &RecordView<'_>) -> Result<(), Refusal> {
    if half.property(properties::PGROUP) != Some(&*header.producer_group) {
        return Err(error("The producer group wrong"));
    }
    if half.queue_offset != header.tran_state_table_offset {
        return Err(error("The transaction state table offset wrong"));
    }
    if half.physical_offset != header.commit_log_offset {
        return Err(error("The commit log offset wrong"));
    }
    Ok(())
}

/// Topic and queue that a half message was sent to.
fn real_place<'a>(half: &RecordView<'a>) -> Option<(&'a str, i32)> {
    let topic = half.property(properties::REAL_TOPIC)?;
    let queue_id = half.property(properties::REAL_QID)?.parse().ok()?;
    Some((topic, queue_id))
}

/// RESUME_CHECK_HALF_MESSAGE (323): a half message that was given up is asked about anew. It is named by
/// the offset id of its copy in TRANS_CHECK_MAX_TIME_TOPIC, or of any other copy
/// (`AdminBrokerProcessor.resumeCheckHalfMessage`).
pub async fn resume_check(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: ResumeCheckHalfMessageRequestHeader = decode(request)?;
    let failed =
        || error("Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.");
    let place = header.msg_id.as_deref().and_then(id::parse_offset_id);
    let record = place.and_then(|(_, offset)| whole_record(ctx, offset));
    let record = record.ok_or_else(failed)?;
    let half = RecordView::parse(&record, CheckCrc::No).map_err(|_| failed())?;
    let (topic, _) = real_place(&half).ok_or_else(failed)?;
    let name = properties::TRANSACTION_CHECK_TIMES;
    let text = transaction::moved_properties(half.properties, name, 0);
    let append = copy_of(&half, &text, &ctx.store)?;
    let outcome = ctx.append_own(append, false).await?;
    if !outcome.status.is_stored() {
        return Err(error(
            "Put message back to RMQ_SYS_TRANS_HALF_TOPIC failed.",
        ));
    }
    ctx.transactions.counts.add(topic, 1);
    Ok(answer(request))
}
