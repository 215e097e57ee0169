//! Which broker a client asks for which logic queue.

use std::collections::BTreeMap;

use super::mock_broker_name;
use crate::protocol::body::{route::TopicRouteData, topic_config::QUEUES_MAX};

/// The broker that leads a logic queue; none while no broker says that it does.
pub type Leader = Option<String>;

/// The logic queues of a static topic: the leaders, in the order of the queues' numbers, by the broker
/// name under which clients see them. Empty for other topics
/// (`ClientMetadata.topicRouteData2EndpointsForStaticTopic`).
pub fn leaders(route: &TopicRouteData) -> BTreeMap<String, Vec<Leader>> {
    let mut by_scope: BTreeMap<String, Vec<Leader>> = BTreeMap::new();
    let infos = route.topic_queue_mapping_by_broker.iter();
    let mut infos: Vec<_> = infos.flat_map(BTreeMap::values).collect();
    // The word of a later epoch counts: it is said last.
    infos.sort_by_key(|info| info.epoch);
    for info in infos {
        let queues = by_scope.entry(mock_broker_name(&info.scope)).or_default();
        // A number from afar must not take all memory.
        let total = usize::try_from(info.total_queues.min(QUEUES_MAX)).unwrap_or(0);
        if queues.len() < total {
            queues.resize(total, None);
        }
        for id in info.curr_id_map.keys() {
            let queue = usize::try_from(*id).ok().and_then(|id| queues.get_mut(id));
            if let Some(leader) = queue {
                *leader = Some(info.bname.clone());
            }
        }
    }
    by_scope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::body::topic_queue_mapping::TopicQueueMappingInfo;

    fn route(infos: &[(&str, i64, i32, &[i32])]) -> TopicRouteData {
        let info = |(broker, epoch, total, ids): &(&str, i64, i32, &[i32])| {
            let info = TopicQueueMappingInfo {
                bname: (*broker).into(),
                epoch: *epoch,
                total_queues: *total,
                curr_id_map: ids.iter().map(|id| (*id, 0)).collect(),
                ..TopicQueueMappingInfo::default()
            };
            ((*broker).to_owned(), info)
        };
        TopicRouteData {
            topic_queue_mapping_by_broker: Some(infos.iter().map(info).collect()),
            ..TopicRouteData::default()
        }
    }

    #[test]
    fn the_later_epoch_leads() {
        let old = route(&[("a", 1, 3, &[0, 1]), ("b", 2, 3, &[1])]);
        let leaders = leaders(&old);
        let queues = &leaders["__syslo__global__"];
        assert_eq!(
            queues.as_slice(),
            [Some("a".into()), Some("b".into()), None]
        );
    }

    #[test]
    fn strange_numbers_are_left_out() {
        let odd = leaders(&route(&[
            ("a", 1, 2, &[-1, 2, i32::MAX]),
            ("b", 1, -5, &[0]),
        ]));
        assert_eq!(odd["__syslo__global__"], [Some("b".to_owned()), None]);
        let many = leaders(&route(&[("a", 1, i32::MAX, &[0])]));
        assert_eq!(many["__syslo__global__"].len(), 1 << 20);
        assert!(leaders(&TopicRouteData::default()).is_empty());
    }
}
