//! Consumer groups: make, change, delete, list, forbid (`AdminBrokerProcessor`).

use super::{answer, decode, json, read_json, topic::Portion};
use crate::{
    actors::broker::{
        context::BrokerContext,
        refusal::Refusal,
        tables::subscriptions::{FORBIDDEN_READ, GroupError},
    },
    protocol::{
        RemotingCommand, ResponseCode,
        body::subscription_group::{
            GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList,
            SubscriptionGroupWrapper,
        },
        header::group::{
            DeleteSubscriptionGroupRequestHeader, GetAllSubscriptionGroupRequestHeader,
            GetAllSubscriptionGroupResponseHeader, GetSubscriptionGroupConfigRequestHeader,
            UpdateGroupForbiddenRequestHeader,
        },
        message::names,
    },
};

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        Refusal::new(error.code(), error.to_string())
    }
}

fn check_name(config: &SubscriptionGroupConfig) -> Result<(), Refusal> {
    names::validate_group(&config.group_name)
        .map_err(|error| Refusal::new(ResponseCode::InvalidParameter, error.to_string()))
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200).
pub async fn update(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    // Without a body RocketMQ does nothing, successfully.
    if !request.body.is_empty() {
        let config: SubscriptionGroupConfig = read_json(request)?;
        check_name(&config)?;
        ctx.subscriptions.update(vec![config]).await?;
    }
    Ok(answer(request))
}

/// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST (225).
pub async fn update_list(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let body: SubscriptionGroupList = read_json(request)?;
    body.group_config_list.iter().try_for_each(check_name)?;
    if !body.group_config_list.is_empty() {
        ctx.subscriptions.update(body.group_config_list).await?;
    }
    Ok(answer(request))
}

/// DELETE_SUBSCRIPTIONGROUP (207); an unknown group is no error.
pub async fn delete(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: DeleteSubscriptionGroupRequestHeader = decode(request)?;
    match ctx.subscriptions.delete(&header.group_name).await {
        Ok(()) | Err(GroupError::NotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    ctx.pops.parts.in_flight.forget_group(&header.group_name);
    if header.clean_offset {
        let topics = ctx.offsets.table().remove_group(&header.group_name);
        log::info!(
            "broker/offsets forgets group={} topics={topics}",
            header.group_name
        );
    }
    Ok(answer(request))
}

/// GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201): all groups, or a portion of them in the order of their
/// names.
pub async fn list(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetAllSubscriptionGroupRequestHeader = decode(request)?;
    let table = ctx.subscriptions.snapshot();
    let total = i32::try_from(table.subscription_group_table.len()).unwrap_or(i32::MAX);
    let portion = Portion::of(
        ctx,
        header.data_version.as_deref(),
        header.group_seq,
        header.max_group_num,
        table.data_version,
    );
    let mut body = SubscriptionGroupWrapper {
        subscription_group_table: portion.cut(table.subscription_group_table),
        ..table
    };
    let groups = &body.subscription_group_table;
    body.forbidden_table
        .retain(|group, _| groups.contains_key(group));
    let header = GetAllSubscriptionGroupResponseHeader {
        total_group_num: Some(total),
    };
    Ok(json(request, &body)?.with_header(&header))
}

/// GET_SUBSCRIPTIONGROUP_CONFIG (352); a lookup may make the group.
pub async fn get(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetSubscriptionGroupConfigRequestHeader = decode(request)?;
    match ctx.subscriptions.find(&header.group).await {
        Some(config) => json(request, &*config),
        None => {
            let code = ResponseCode::SubscriptionGroupNotExist;
            Err(Refusal::new(code, "No group in this broker"))
        }
    }
}

/// UPDATE_AND_GET_GROUP_FORBIDDEN (353).
pub async fn forbid(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: UpdateGroupForbiddenRequestHeader = decode(request)?;
    let (group, topic) = (&*header.group, &*header.topic);
    if let Some(readable) = header.readable {
        ctx.subscriptions
            .set_forbidden(group, topic, FORBIDDEN_READ, !readable)
            .await?;
    }
    let body = GroupForbidden {
        group: group.to_owned(),
        readable: Some(!ctx.subscriptions.is_read_forbidden(group, topic)),
        topic: topic.to_owned(),
    };
    Ok(json(request, &body)?.with_remark(""))
}
