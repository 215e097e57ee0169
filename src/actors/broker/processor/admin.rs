//! The broker itself: its configuration, its figures, its housekeeping.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{answer, decode, json, query, topic};
use crate::{
    actors::{
        broker::{
            context::BrokerContext, refusal::Refusal, static_topics::cleaner::CleanNow,
            stats::Totals,
        },
        store::retention::{CleanQueues, DeleteNow},
    },
    config::ConfigError,
    protocol::{
        RemotingCommand, ResponseCode,
        body::stats::KvTable,
        header::admin::{GetBrokerConfigResponseHeader, ViewBrokerStatsDataRequestHeader},
        message::names,
    },
    store::now_ms,
};

/// The RocketMQ release that this broker is to be taken for.
const VERSION: &str = "V5_4_0";

/// GET_BROKER_CONFIG (26).
pub fn get_config(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let (counter, timestamp) = ctx.config.version();
    let version = format!("{{\"counter\":{counter},\"stateVersion\":0,\"timestamp\":{timestamp}}}");
    Ok(answer(request)
        .with_header(&GetBrokerConfigResponseHeader {
            version: version.into(),
        })
        .with_body(Bytes::from(ctx.config.to_properties())))
}

/// What registrations mask the topics' permissions by.
const PERMISSION_KEY: &str = "brokerPermission";

/// UPDATE_BROKER_CONFIG (25). Writes the configuration file: not on a network thread.
pub async fn update_config(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let (config, text) = (ctx.config.clone(), request.body.clone());
    let updated = tokio::task::spawn_blocking(move || config.update(&text)).await;
    match updated {
        Ok(Ok(updated)) => {
            if updated.changed.contains_key(PERMISSION_KEY) {
                ctx.topics.advance_version().await?;
                ctx.registrars.announce_all().await;
            }
            Ok(answer(request))
        }
        Ok(Err(error @ ConfigError::BlackListed { .. })) => {
            Err(Refusal::new(ResponseCode::NoPermission, error.to_string()))
        }
        Ok(Err(error)) => Err(Refusal::new(ResponseCode::SystemError, error.to_string())),
        Err(_) => Err(Refusal::new(ResponseCode::SystemError, "outcome unknown")),
    }
}

/// VIEW_BROKER_STATS_DATA (315).
pub fn view_stats(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: ViewBrokerStatsDataRequestHeader = decode(request)?;
    let (name, key) = (&header.stats_name, &header.stats_key);
    match ctx.stats.view(name, key) {
        Some(data) => json(request, &data),
        None => {
            let remark = format!("The stats <{name}> <{key}> not exist");
            Err(Refusal::new(ResponseCode::SystemError, remark))
        }
    }
}

/// GET_ALL_DELAY_OFFSET (45).
pub fn delay_offsets(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    json(request, &ctx.schedule.offsets.table())
}

/// CLEAN_EXPIRED_CONSUMEQUEUE (306).
pub fn clean_queues(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    ctx.store.retention.tell(CleanQueues);
    Ok(answer(request))
}

/// DELETE_EXPIRED_COMMITLOG (329).
pub fn delete_expired(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    ctx.store.retention.tell(DeleteNow);
    ctx.static_topics.actor.tell(CleanNow);
    Ok(answer(request))
}

/// CLEAN_UNUSED_TOPIC (316): queues of topics that exist no more go, files and all.
pub async fn clean_unused_topics(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let slots = ctx.store.table.slots();
    let mut unused: Vec<String> = slots
        .iter()
        .map(|slot| slot.key.topic.to_string())
        .filter(|name| {
            let known = ctx.topics.contains(name) || ctx.topics.is_system(name);
            // `DefaultMessageStore.cleanUnusedTopic` leaves light message queues, which are in no table.
            !known && !names::is_lmq(name)
        })
        .collect();
    unused.sort_unstable();
    unused.dedup();
    for name in unused {
        topic::delete_one(ctx, name).await?;
    }
    Ok(answer(request))
}

/// GET_BROKER_RUNTIME_INFO (28).
pub async fn runtime_info(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let mut table = BTreeMap::new();
    figures(ctx, &mut table);
    store_figures(ctx, &mut table).await;
    thread_pools(ctx, &mut table);
    timer_wheel(ctx, &mut table).await;
    levels(ctx, &mut table).await;
    json(request, &KvTable { table })
}

type Table = BTreeMap<String, String>;

fn put(table: &mut Table, key: &str, value: impl ToString) {
    table.insert(key.to_owned(), value.to_string());
}

/// Counts and rates (`StoreStatsService.getRuntimeInfo`).
fn figures(ctx: &BrokerContext, table: &mut Table) {
    let totals = ctx.stats.totals();
    let mornings = ctx.stats.mornings();
    put(table, "bootTimestamp", ctx.started_at_ms);
    put(table, "runtime", runtime_text(now_ms() - ctx.started_at_ms));
    put(table, "putMessageTimesTotal", totals.put);
    put(table, "putMessageFailedTimes", totals.put_failed);
    put(table, "putMessageSizeTotal", totals.put_bytes);
    let average = totals.put_bytes as f64 / totals.put.max(1) as f64;
    put(table, "putMessageAverageSize", average);
    put(table, "putMessageEntireTimeMax", ctx.stats.put_ms_max());
    put(
        table,
        "putMessageDistributeTime",
        ctx.stats.put_distribution(),
    );
    put(table, "putLatency99", ctx.stats.put_ms_at(0.99));
    put(table, "putLatency999", ctx.stats.put_ms_at(0.999));
    put(table, "getMessageEntireTimeMax", ctx.stats.get_ms_max());
    put(
        table,
        "putTps",
        ctx.stats.rates(|totals: &Totals| totals.put),
    );
    put(table, "getFoundTps", ctx.stats.rates(|totals| totals.found));
    put(table, "getMissTps", ctx.stats.rates(|totals| totals.missed));
    put(
        table,
        "getTotalTps",
        ctx.stats.rates(|totals| totals.found + totals.missed),
    );
    put(
        table,
        "getTransferredTps",
        ctx.stats.rates(|totals| totals.got),
    );
    put(table, "msgPutTotalYesterdayMorning", mornings.put.0);
    put(table, "msgPutTotalTodayMorning", mornings.put.1);
    put(table, "msgPutTotalTodayNow", totals.put);
    put(table, "msgGetTotalYesterdayMorning", mornings.got.0);
    put(table, "msgGetTotalTodayMorning", mornings.got.1);
    put(table, "msgGetTotalTodayNow", totals.got);
    put(table, "brokerActive", true);
    put(table, "brokerVersionDesc", VERSION);
    let opens = ctx
        .config
        .load()
        .broker
        .start_accept_send_request_timestamp_ms;
    put(table, "startAcceptSendRequestTimeStamp", opens);
}

/// Positions of the log and space of its disk.
async fn store_figures(ctx: &BrokerContext, table: &mut Table) {
    let marks = &ctx.store.watermarks;
    let log = marks.log();
    put(table, "commitLogMinOffset", log.min_offset());
    put(table, "commitLogMaxOffset", log.end());
    put(
        table,
        "dispatchBehindBytes",
        (marks.visible() - marks.dispatched()).max(0),
    );
    put(
        table,
        "remainHowManyDataToFlush",
        bytes_text(marks.appended() - marks.flushed()),
    );
    // No second pool of memory stands between a send and the page cache.
    put(table, "remainTransientStoreBufferNumbs", i32::MAX);
    let earliest = log.store_timestamp_at(log.min_offset()).unwrap_or(-1);
    put(table, "earliestMessageTimeStamp", earliest);
    // Nothing waits for a page cache lock here: there is none.
    put(table, "pageCacheLockTimeMills", 0);
    let dispatcher = ctx.tree.get("broker/store/dispatcher");
    put(
        table,
        "dispatchMaxBuffer",
        dispatcher.map_or(0, |cell| cell.mailbox_max()),
    );
    let dir = log.dirs().first().cloned().unwrap_or_default();
    let space = tokio::task::spawn_blocking(move || {
        use crate::store::fs::{FileSystem, RealFs};
        RealFs.disk_space(&dir)
    });
    if let Ok(Ok(space)) = space.await {
        let used = space.total.saturating_sub(space.free) as f64 / space.total.max(1) as f64;
        let ratio = format!("{used:.2}");
        put(table, "commitLogDiskRatio", &ratio);
        put(table, "consumeQueueDiskRatio", &ratio);
        for dir in log.dirs() {
            put(
                table,
                &format!("commitLogDiskRatio_{}", dir.display()),
                &ratio,
            );
        }
        let (total, free) = (
            bytes_text(space.total as i64),
            bytes_text(space.free as i64),
        );
        put(
            table,
            "commitLogDirCapacity",
            format!("Total : {total}, Free : {free}."),
        );
    }
}

/// Work that waits: RocketMQ's pools are the permits of this broker.
fn thread_pools(ctx: &BrokerContext, table: &mut Table) {
    use crate::actors::kernel::PermitClass;
    let pools = [
        ("send", PermitClass::Sends),
        ("pull", PermitClass::HeldPulls),
        ("litePull", PermitClass::HeldPulls),
        ("query", PermitClass::Control),
        ("ack", PermitClass::Control),
    ];
    for (name, class) in pools {
        let (usage, limit) = (ctx.permits.usage(class), ctx.permits.limit(class));
        put(table, &format!("{name}ThreadPoolQueueSize"), usage.count);
        put(
            table,
            &format!("{name}ThreadPoolQueueCapacity"),
            limit.count_max,
        );
        put(table, &format!("{name}ThreadPoolQueueHeadWaitTimeMills"), 0);
    }
    // The ends of transactions are control requests; RocketMQ's key lacks the pool's usual name.
    let (usage, limit) = (
        ctx.permits.usage(PermitClass::Control),
        ctx.permits.limit(PermitClass::Control),
    );
    put(table, "EndTransactionQueueSize", usage.count);
    put(
        table,
        "EndTransactionThreadPoolQueueCapacity",
        limit.count_max,
    );
}

/// The timer wheel's figures, which `clusterList` prints.
async fn timer_wheel(ctx: &BrokerContext, table: &mut Table) {
    let Some(timer) = &ctx.timer else {
        for key in ["timerReadBehind", "timerOffsetBehind", "timerCongestNum"] {
            put(table, key, 0);
        }
        put(table, "timerEnqueueTps", "0.0");
        put(table, "timerDequeueTps", "0.0");
        return;
    };
    let marks = &timer.marks;
    let behind_ms = now_ms() - marks.checkpoint().last_read_time_ms;
    put(table, "timerReadBehind", behind_ms / 1000);
    let (_, max) = query::queue_range(ctx, names::TIMER_TOPIC, 0).await;
    put(table, "timerOffsetBehind", max - marks.queue_offset());
    put(table, "timerCongestNum", marks.pending());
    let (taken_in, delivered) = marks.rates();
    put(table, "timerEnqueueTps", format!("{taken_in:.1}"));
    put(table, "timerDequeueTps", format!("{delivered:.1}"));
}

/// Delivered and last offset of each delay level in use.
async fn levels(ctx: &BrokerContext, table: &mut Table) {
    for (level, delivered) in ctx.schedule.offsets.table().offset_table {
        let (_, max) = query::queue_range(ctx, names::SCHEDULE_TOPIC, level - 1).await;
        put(
            table,
            &format!("scheduleMessageOffset_{level}"),
            format!("{delivered},{max}"),
        );
    }
}

/// A duration as `StoreStatsService.getFormatRuntime` writes it.
fn runtime_text(elapsed_ms: i64) -> String {
    let seconds = elapsed_ms.max(0) / 1000;
    let (days, hours) = (seconds / 86_400, seconds % 86_400 / 3600);
    let (minutes, seconds) = (seconds % 3600 / 60, seconds % 60);
    format!("[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]")
}

/// A size in binary units with one digit behind the point (`MixAll.humanReadableByteCount`).
fn bytes_text(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes.max(0) as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_as_the_real_brokers() {
        assert_eq!(bytes_text(1536), "1.5 KiB");
        assert_eq!(bytes_text(3072), "3.0 KiB");
        assert_eq!(bytes_text(252 << 30), "252.0 GiB");
        assert_eq!(bytes_text(0), "0 B");
        assert_eq!(
            runtime_text(547_000),
            "[ 0 days, 0 hours, 9 minutes, 7 seconds ]"
        );
    }
}
