//! Pulls: the checks of a pull request on the connection's thread, against published tables, before
//! it goes to its queue. The rules and their order are RocketMQ's (`PullMessageProcessor`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    context::BrokerContext,
    pop::illegal_queue,
    refusal::{OVERLOAD, Refusal, SEE_FAQ},
    static_topics::{self, pull::Place},
    tables::attributes,
};
use crate::{
    actors::{
        ha::Ha,
        kernel::PermitClass,
        net::{ConnectionHandle, Responder},
        store::{
            cold_reader::Brought,
            pull::{LogicPull, OnSlave, Pull, Suggestion},
            queue::Serve,
        },
    },
    protocol::{
        CommandHeader, RemotingCommand, RequestCode, ResponseCode,
        body::{
            heartbeat::{EXPRESSION_TAG, SubscriptionData},
            subscription_group::SubscriptionGroupConfig,
            topic_config::TopicConfig,
        },
        header::pull::PullMessageRequestHeader,
        message::{
            names, perm,
            sys_flag::pull::{COMMIT_OFFSET, SUBSCRIPTION, SUSPEND},
        },
    },
    store::get_message::{EntryFilter, GetRequest, GetResult, GetStatus, PULL_BYTES_MAX},
};

/// The longest that a pull is held, whatever it asks for.
const HOLD_MAX: Duration = Duration::from_secs(300);

/// The most messages that one pull may ask for; more are taken as this many.
const MESSAGES_MAX: usize = 1 << 16;

/// Who is forbidden to read (`ForbiddenType`).
#[derive(Debug, Clone, Copy)]
enum Forbidden {
    Broker = 1,
    Group = 2,
    Topic = 3,
    Broadcasting = 4,
    Subscription = 5,
}

/// A refusal of a pull.
struct Refused {
    refusal: Refusal,
    forbidden: Option<Forbidden>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            forbidden: None,
        }
    }
}

fn refuse<T>(code: ResponseCode, remark: impl Into<String>) -> Result<T, Refused> {
    Err(Refusal::new(code, remark).into())
}

fn forbid<T>(forbidden: Forbidden, remark: impl Into<String>) -> Result<T, Refused> {
    let refusal = Refusal::new(ResponseCode::NoPermission, remark);
    Err(Refused {
        refusal,
        forbidden: Some(forbidden),
    })
}

/// Checks a pull and sends it to its queue; refuses it here otherwise.
pub fn pull(ctx: &Arc<BrokerContext>, request: RemotingCommand, conn: &Arc<ConnectionHandle>) {
    let mut responder = conn.responder(&request);
    let Some(permit) = ctx.permits.try_acquire(PermitClass::HeldPulls, 1, 0) else {
        return responder.fail(ResponseCode::SystemBusy, OVERLOAD);
    };
    responder.set_permit(permit);
    let header = match PullMessageRequestHeader::decode(&request.ext_fields) {
        Ok(header) => header,
        Err(error) => return responder.fail(ResponseCode::SystemError, &error.to_string()),
    };
    if ctx.subscriptions.get(&header.consumer_group).is_none() {
        // The rare road: the group is made first, where that is allowed.
        let ctx = Arc::clone(ctx);
        actix_rt::spawn(async move {
            ctx.subscriptions.find(&header.consumer_group).await;
            check_and_serve(&ctx, &request, header, responder);
        });
        return;
    }
    check_and_serve(ctx, &request, header, responder);
}

fn check_and_serve(
    ctx: &Arc<BrokerContext>,
    request: &RemotingCommand,
    mut header: PullMessageRequestHeader,
    responder: Responder,
) {
    let served = check_names(ctx, request, &header).and_then(|(group, topic)| {
        let logic = match logic_of(ctx, request, &mut header)? {
            Some(Place::There(logic, broker)) => return Ok(Checked::There(logic, broker)),
            Some(Place::Here(logic)) => Some(Box::new(logic)),
            None => None,
        };
        let filter = check_queue(ctx, &header, &group, &topic, &responder)?;
        Ok(Checked::Here(Read {
            group,
            filter,
            topic_sys_flag: topic.topic_sys_flag,
            logic,
        }))
    });
    match served {
        Ok(Checked::Here(read)) => serve(ctx, header, read, responder),
        Ok(Checked::There(logic, broker)) => {
            static_topics::pull::forward(ctx, header, logic, broker, responder);
        }
        Err(Refused { refusal, forbidden }) => {
            let who = forbidden.map(|who| (who as i32).to_string());
            let field = who.as_deref().map(|who| [("forbiddenType", who)]);
            let fields = field.as_ref().map_or(&[][..], |field| &field[..]);
            responder.answer(refusal.code, Some(&refusal.remark), None, fields, []);
        }
    }
}

/// What the checks found out.
enum Checked {
    /// It is read here.
    Here(Read),
    /// An older stretch of a static topic's queue, which another broker keeps.
    There(LogicPull, String),
}

/// What a pull that is served here needs beside its header.
struct Read {
    group: Arc<SubscriptionGroupConfig>,
    filter: EntryFilter,
    topic_sys_flag: i32,
    logic: Option<Box<LogicPull>>,
}

/// Makes a pull of a static topic one of a physical queue; `None` for other topics.
fn logic_of(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: &mut PullMessageRequestHeader,
) -> Result<Option<Place>, Refusal> {
    if ctx.topics.mappings().is_empty() {
        return Ok(None);
    }
    match static_topics::mapping_of(ctx, &header.topic, request) {
        Some(mapping) => static_topics::pull::place(mapping, header).map(Some),
        None => {
            let is_static = ctx.topics.mapping(&header.topic).is_some();
            Ok(is_static.then_some(Place::Here(LogicPull::Physical)))
        }
    }
}

fn check_names(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: &PullMessageRequestHeader,
) -> Result<(Arc<SubscriptionGroupConfig>, Arc<TopicConfig>), Refused> {
    let config = ctx.config.load();
    let ip = &config.broker.broker_ip1;
    let (group_name, topic_name) = (&header.consumer_group, &header.topic);
    if !perm::is_readable(config.broker.broker_permission) {
        return forbid(
            Forbidden::Broker,
            format!("the broker[{ip}] pulling message is forbidden"),
        );
    }
    let lite = request.request_code() == Some(RequestCode::LitePullMessage);
    if lite && !config.broker.lite_pull_message_enable {
        let remark = format!("the broker[{ip}] for lite pull consumer is forbidden");
        return forbid(Forbidden::Broker, remark);
    }
    let Some(group) = ctx.subscriptions.get(group_name) else {
        let remark = format!("subscription group [{group_name}] does not exist, {SEE_FAQ}");
        return refuse(ResponseCode::SubscriptionGroupNotExist, remark);
    };
    if !group.consume_enable {
        let remark = format!("subscription group no permission, {group_name}");
        return forbid(Forbidden::Group, remark);
    }
    let Some(topic) = ctx.topics.get(topic_name) else {
        let remark = format!("topic[{topic_name}] not exist, apply first please! {SEE_FAQ}");
        return refuse(ResponseCode::TopicNotExist, remark);
    };
    if let Some(what) = attributes::not_built(&topic.attributes) {
        return Err(Refusal::not_built(topic_name, what).into());
    }
    if !perm::is_readable(topic.perm) {
        let remark = format!("the topic[{topic_name}] pulling message is forbidden");
        return forbid(Forbidden::Topic, remark);
    }
    Ok((group, topic))
}

/// The filter of a pull of a queue that exists.
fn check_queue(
    ctx: &BrokerContext,
    header: &PullMessageRequestHeader,
    group: &SubscriptionGroupConfig,
    topic: &TopicConfig,
    responder: &Responder,
) -> Result<EntryFilter, Refused> {
    if header.queue_id < 0 || header.queue_id >= topic.read_queue_nums {
        let (queues, peer) = (topic.read_queue_nums, responder.conn().peer);
        let remark = illegal_queue(header.queue_id, &header.topic, queues, peer);
        return refuse(ResponseCode::InvalidParameter, remark);
    }
    if header.sys_flag & SUBSCRIPTION != 0 {
        return own_filter(ctx, header);
    }
    let data = subscription(ctx, header, group)?;
    if data.sub_version < header.sub_version {
        unheard_filter(header, &data)
    } else {
        group_filter(ctx, header, &data)
    }
}

/// The subscription that the group's heartbeats told.
fn subscription(
    ctx: &BrokerContext,
    header: &PullMessageRequestHeader,
    group: &SubscriptionGroupConfig,
) -> Result<Arc<SubscriptionData>, Refused> {
    let (group_name, topic_name) = (&header.consumer_group, &header.topic);
    let Some(online) = ctx.consumers.get(group_name) else {
        let remark = format!("the consumer's group info not exist{SEE_FAQ}");
        return refuse(ResponseCode::SubscriptionNotExist, remark);
    };
    if !group.consume_broadcast_enable && online.is_broadcasting() {
        let remark = format!("the consumer group[{group_name}] can not consume by broadcast way");
        return forbid(Forbidden::Broadcasting, remark);
    }
    if ctx.subscriptions.is_read_forbidden(group_name, topic_name) {
        let remark =
            format!("the consumer group[{group_name}] is forbidden for topic[{topic_name}]");
        return forbid(Forbidden::Subscription, remark);
    }
    let Some(data) = online.subscription(topic_name).cloned() else {
        let remark = format!("the consumer's subscription not exist{SEE_FAQ}");
        return refuse(ResponseCode::SubscriptionNotExist, remark);
    };
    Ok(data)
}

/// The filter of a pull whose subscription no heartbeat has told yet. Java's push consumer of 5.x renews the
/// version with its queues and may leave out the heartbeat that tells it, until the next in 30 s
/// (`MQClientInstance.sendHeartbeatToAllBrokerWithLockV2`). Clients compare tags themselves, so that every
/// message serves any subscription to tags; RocketMQ refuses.
fn unheard_filter(
    header: &PullMessageRequestHeader,
    known: &SubscriptionData,
) -> Result<EntryFilter, Refused> {
    let kind = header.expression_type.as_deref();
    if known.is_tag_type() && kind.is_none_or(|kind| kind == EXPRESSION_TAG) {
        return Ok(EntryFilter::All);
    }
    let remark = "the consumer's subscription not latest";
    refuse(ResponseCode::SubscriptionNotLatest, remark)
}

/// The filter that a pull brings along.
fn own_filter(
    ctx: &BrokerContext,
    header: &PullMessageRequestHeader,
) -> Result<EntryFilter, Refused> {
    let text = header.subscription.as_deref().unwrap_or_default();
    let kind = header.expression_type.as_deref();
    let parse_failed = || {
        let remark = "parse the consumer's subscription failed";
        Refused::from(Refusal::new(ResponseCode::SubscriptionParseFailed, remark))
    };
    let data = SubscriptionData::build(&header.topic, text, kind, header.sub_version)
        .map_err(|_| parse_failed())?;
    if !data.is_tag_type() {
        check_enabled(ctx, &data)?;
    }
    // RocketMQ's broker goes on with a bad expression, and answers every message.
    filter_of(ctx, &data).ok_or_else(parse_failed)
}

/// The filter that a group's heartbeats asked for.
fn group_filter(
    ctx: &BrokerContext,
    header: &PullMessageRequestHeader,
    data: &SubscriptionData,
) -> Result<EntryFilter, Refused> {
    if data.is_tag_type() {
        return Ok(tag_filter(data));
    }
    let Some(known) = ctx.filters.get(&header.topic, &header.consumer_group) else {
        let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
        return refuse(ResponseCode::FilterDataNotExist, remark);
    };
    if known.data.client_version < header.sub_version {
        let remark = "the consumer's consumer filter data not latest";
        return refuse(ResponseCode::FilterDataNotLatest, remark);
    }
    check_enabled(ctx, data)?;
    if data.class_filter_mode {
        return Ok(EntryFilter::All);
    }
    let of_origin = ctx.config.load().broker.filter_support_retry;
    if of_origin && names::is_retry_topic(&header.topic) {
        let filters = ctx.filters.of_group(&header.consumer_group);
        return Ok(EntryFilter::SqlOfOrigin(filters.into()));
    }
    Ok(known.on_entries().unwrap_or_default())
}

fn check_enabled(ctx: &BrokerContext, data: &SubscriptionData) -> Result<(), Refused> {
    if ctx.config.load().broker.enable_property_filter {
        return Ok(());
    }
    refuse(ResponseCode::SystemError, not_supported(data))
}

/// What is said of an expression while `enablePropertyFilter` is off.
pub fn not_supported(data: &SubscriptionData) -> String {
    let kind = &data.expression_type;
    format!("The broker does not support consumer to filter message by {kind}")
}

/// The filter of a subscription that a request brings along; none when its expression is bad. RocketMQ
/// asks for no `enablePropertyFilter` when that is a pop.
pub fn filter_of(ctx: &BrokerContext, data: &SubscriptionData) -> Option<EntryFilter> {
    if data.is_tag_type() {
        return Some(tag_filter(data));
    }
    let parsed = ctx.filters.parsed(&data.expression_type, &data.sub_string);
    let filter = parsed.ok()?;
    Some(EntryFilter::Sql(filter, None))
}

/// The filter on queue entries that a subscription to tags asks for.
fn tag_filter(data: &SubscriptionData) -> EntryFilter {
    if data.is_all() || data.class_filter_mode {
        return EntryFilter::All;
    }
    EntryFilter::Tags(
        data.code_set
            .iter()
            .copied()
            .collect::<SmallVec<[i32; 4]>>(),
    )
}

fn serve(
    ctx: &BrokerContext,
    header: PullMessageRequestHeader,
    checked: Read,
    responder: Responder,
) {
    let config = ctx.config.load();
    let suspend = header.sys_flag & SUSPEND != 0;
    let (group, topic) = (&header.consumer_group, &header.topic);
    let reset = ctx.offsets.take_reset(group, topic, header.queue_id);
    // The offset that a pull brings along is from before the reset that it takes. RocketMQ commits it: a
    // consumer whose next query overtakes its own commit of the reset then goes on as if there were none.
    if suspend && header.sys_flag & COMMIT_OFFSET != 0 && reset.is_none() {
        match &checked.logic {
            None => {
                let offset = header.commit_offset;
                ctx.offsets.commit(group, topic, header.queue_id, offset);
            }
            Some(logic) => static_topics::pull::commit(ctx, &header, logic),
        }
    }
    let hold = if config.broker.long_polling_enable {
        Duration::from_millis(header.suspend_timeout_millis.max(0) as u64).min(HOLD_MAX)
    } else {
        Duration::from_millis(config.broker.short_polling_time_ms.max(0) as u64)
    };
    let slot = ctx.store.slot(&header.topic, header.queue_id);
    let bytes = header.max_msg_bytes.filter(|&bytes| bytes > 0);
    let pull = Pull {
        request: GetRequest {
            offset: header.queue_offset,
            max_messages: (header.max_msg_nums.max(1) as usize).min(MESSAGES_MAX),
            max_bytes: bytes.map_or(PULL_BYTES_MAX, |bytes| bytes as usize),
            filter: checked.filter,
        },
        slot: Arc::clone(&slot),
        wait_until: suspend.then(|| Instant::now() + hold),
        suggestion: Suggestion {
            slave_read: config.broker.slave_read_enable,
            normally: checked.group.broker_id,
            when_slow: checked.group.which_broker_when_consume_slowly,
        },
        on_slave: (!config.is_master()).then(|| OnSlave {
            master_alive: ctx.ha.get().is_some_and(Ha::master_alive),
            corrects_offsets: config.store.offset_check_in_slave,
        }),
        topic_sys_flag: checked.topic_sys_flag,
        group_sys_flag: checked.group.group_sys_flag,
        brought: Brought::Nothing,
        logic: checked.logic,
        offsets: Arc::clone(ctx.offsets.table()),
        responder,
        group: header.consumer_group.clone(),
    };
    if let Some(reset) = reset {
        let (min, max) = (slot.min_offset(), slot.readable_end());
        let result = GetResult::empty(GetStatus::OffsetReset, reset, min, max);
        return pull.answer(result, &ctx.stats);
    }
    ctx.store.shards.to_queue(
        slot,
        Serve {
            pull: Box::new(pull),
            turn: None,
        },
    );
}
