//! Bodies of answers: the tables as RocketMQ's JSON.

use std::collections::BTreeMap;

use crate::protocol::Str;
use crate::protocol::body::list::TopicList;
use crate::protocol::body::route::{
    BrokerData, BrokerMemberGroup, ClusterInfo, GetBrokerMemberGroupResponseBody, QueueData,
    TopicRouteData,
};
use crate::protocol::fastjson::{JsonError, Style, to_vec, to_vec_styled};
use crate::routes::model::{BrokerGroup, Queues};
use crate::routes::tables::{Route, RouteTables};

/// A route, with the order configuration of its topic. Clients from 4.9.4 on, and those that ask
/// for it, get standard JSON.
pub fn route(
    route: &Route,
    order_topic_conf: Option<String>,
    standard: bool,
) -> Result<Vec<u8>, JsonError> {
    let mappings = route.mappings.as_ref().map(|mappings| {
        let entries = mappings.iter();
        entries
            .map(|(name, mapping)| (name.to_string(), mapping.clone()))
            .collect()
    });
    let filters = route.filter_servers.iter();
    let data = TopicRouteData {
        broker_datas: route.groups.iter().map(broker_data).collect(),
        filter_server_table: filters
            .map(|(addr, list)| (addr.to_string(), texts(list)))
            .collect(),
        order_topic_conf,
        queue_datas: route.queues.iter().map(queue_data).collect(),
        topic_queue_mapping_by_broker: mappings,
    };
    to_vec_styled(
        &data,
        if standard {
            Style::Standard
        } else {
            Style::Compact
        },
    )
}

/// All groups and clusters, never in standard JSON.
pub fn cluster_info(tables: &RouteTables) -> Result<Vec<u8>, JsonError> {
    let (groups, clusters) = (tables.groups(), tables.clusters());
    let groups = groups
        .iter()
        .map(|(name, group)| (name.to_string(), broker_data(group)));
    let clusters = clusters
        .iter()
        .map(|(name, brokers)| (name.to_string(), texts(brokers)));
    to_vec(&ClusterInfo {
        broker_addr_table: groups.collect(),
        cluster_addr_table: clusters.collect(),
    })
}

/// A list of topics.
pub fn topic_list(topics: &[Str], broker_addr: Option<Str>) -> Result<Vec<u8>, JsonError> {
    let broker_addr = broker_addr.map(|addr| addr.to_string());
    to_vec(&TopicList {
        broker_addr,
        topic_list: texts(topics),
    })
}

/// The brokers of one name.
pub fn member_group(
    cluster: &str,
    name: &str,
    group: Option<&BrokerGroup>,
) -> Result<Vec<u8>, JsonError> {
    let group = BrokerMemberGroup {
        broker_addrs: group.map(addrs).unwrap_or_default(),
        broker_name: name.to_owned(),
        cluster: cluster.to_owned(),
    };
    to_vec(&GetBrokerMemberGroupResponseBody {
        broker_member_group: Some(group),
    })
}

fn texts<'a>(list: impl IntoIterator<Item = &'a Str>) -> Vec<String> {
    list.into_iter().map(Str::to_string).collect()
}

fn addrs(group: &BrokerGroup) -> BTreeMap<i64, String> {
    group
        .addrs
        .iter()
        .map(|(id, addr)| (*id, addr.to_string()))
        .collect()
}

fn broker_data(group: &BrokerGroup) -> BrokerData {
    BrokerData {
        broker_addrs: addrs(group),
        broker_name: group.name.to_string(),
        cluster: group.cluster.to_string(),
        enable_acting_master: group.enable_acting_master,
        zone_name: group.zone.as_ref().map(Str::to_string),
    }
}

fn queue_data((name, queues): &(Str, Queues)) -> QueueData {
    QueueData {
        broker_name: name.to_string(),
        perm: queues.perm,
        read_queue_nums: queues.read_queue_nums,
        topic_sys_flag: queues.topic_sys_flag,
        write_queue_nums: queues.write_queue_nums,
    }
}
