//! What a NameServer does with requests, on the thread of their connection.
//!
//! Questions are answered at once out of the published tables; only the route of a group's new
//! retry topic is held for a moment while masters still tell of it. Changes go to the actor that
//! owns what they change, which answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Handler;
use bytes::Bytes;

use super::json;
use super::kv_config::{Delete, KvConfig, Put, UpdateConfig};
use super::registration::{self, RegistrationError, ZONE_MODE, ZONE_NAME};
use super::route_table::{
    ChannelClosed, DeleteTopic, Register, RegisterTopic, RouteTable, SetWritePermission, Unregister,
};
use super::shared::{ORDER_TOPIC_CONFIG, Shared, take_unregistration_place};
use crate::actors::kernel::{ActorRef, Permit, PermitClass, Permits};
use crate::actors::net::{ConnectionHandle, Responder, Service, ServiceFactory};
use crate::protocol::fastjson::{JsonError, to_vec};
use crate::protocol::header::namesrv as header;
use crate::protocol::language::version;
use crate::protocol::message::names;
use crate::protocol::{
    CommandHeader, HeaderError, RemotingCommand, RequestCode, ResponseCode, Str, detached,
};
use crate::routes::model::{BrokerAddr, Unregistration};
use crate::routes::tables::UnitTopics;

/// Where RocketMQ sends people who meet an error.
const FAQ: &str = "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";
const BUSY: &str = "[OVERLOAD]system busy, start flow control for a while";
/// Memory of a request beside its body, roughly.
const REQUEST_OVERHEAD: usize = 512;
/// Longest that the route of a retry topic is held while masters still tell of it.
const HOLD: Duration = Duration::from_millis(100);
/// How often the tables are looked at meanwhile.
const HOLD_LOOK: Duration = Duration::from_millis(2);

/// What every connection of a NameServer has.
#[derive(Clone)]
pub struct Doors {
    /// Tables and configuration.
    pub shared: Arc<Shared>,
    /// Changes routes.
    pub route_table: ActorRef<RouteTable>,
    /// Changes keys, values and configuration.
    pub kv: ActorRef<KvConfig>,
    /// Bounds the changes that wait.
    pub permits: Permits,
}

impl Doors {
    /// Makes the service of each connection.
    pub fn factory(self) -> ServiceFactory {
        Arc::new(move |_| {
            Box::new(NamesrvService {
                doors: self.clone(),
            })
        })
    }
}

/// The service of one connection.
pub struct NamesrvService {
    doors: Doors,
}

impl Service for NamesrvService {
    fn frames(&mut self, frames: &mut Vec<RemotingCommand>, conn: &Arc<ConnectionHandle>) {
        for request in frames.drain(..) {
            if request.is_response() {
                continue;
            }
            let responder = conn.responder(&request);
            if let Err(refused) = self.doors.serve(&request, responder, conn) {
                refused.answer();
            }
        }
    }

    fn closed(&mut self, conn: &Arc<ConnectionHandle>) {
        self.doors.route_table.tell(ChannelClosed(conn.id));
    }
}

/// A request that cannot be served.
struct Refused {
    responder: Responder,
    code: ResponseCode,
    remark: String,
}

impl Refused {
    fn answer(self) {
        self.responder.fail(self.code, &self.remark);
    }
}

type Served = Result<(), Box<Refused>>;

fn refuse(responder: Responder, code: ResponseCode, remark: impl Into<String>) -> Served {
    Err(Box::new(Refused {
        responder,
        code,
        remark: remark.into(),
    }))
}

/// Reads a header or refuses the request.
macro_rules! header_or_refuse {
    ($request:expr, $responder:expr) => {
        match decode($request) {
            Ok(header) => header,
            Err(error) => {
                return refuse($responder, ResponseCode::SystemError, error.to_string());
            }
        }
    };
}

fn decode<H: CommandHeader>(request: &RemotingCommand) -> Result<H, HeaderError> {
    request.decode_header()
}

/// Answers with a JSON body.
fn body(responder: Responder, json: Result<Vec<u8>, JsonError>) -> Served {
    match json {
        Ok(json) => raw_body(responder, json),
        Err(error) => refuse(responder, ResponseCode::SystemError, error.to_string()),
    }
}

fn raw_body(responder: Responder, body: impl Into<Bytes>) -> Served {
    responder.answer(ResponseCode::Success, None, None, &[], [body.into()]);
    Ok(())
}

impl Doors {
    fn serve(
        &self,
        request: &RemotingCommand,
        responder: Responder,
        conn: &Arc<ConnectionHandle>,
    ) -> Served {
        use RequestCode as Code;
        let tables = &self.shared.tables;
        match request.request_code() {
            Some(Code::GetRouteinfoByTopic) => self.route(request, responder),
            Some(Code::RegisterBroker) => self.register(request, responder, conn),
            Some(Code::UnregisterBroker) => self.unregister(request, responder),
            Some(Code::QueryDataVersion) => self.query_version(request, responder),
            Some(Code::BrokerHeartbeat) => self.heartbeat(request, responder),
            Some(Code::GetBrokerClusterInfo) => body(responder, json::cluster_info(tables)),
            Some(Code::GetBrokerMemberGroup) => self.member_group(request, responder),
            Some(Code::PutKvConfig) => self.put_kv(request, responder),
            Some(Code::GetKvConfig) => self.get_kv(request, responder),
            Some(Code::DeleteKvConfig) => self.delete_kv(request, responder),
            Some(Code::GetKvlistByNamespace) => self.list_kv(request, responder),
            Some(Code::WipeWritePermOfBroker) => {
                let header: header::WipeWritePermOfBrokerRequestHeader =
                    header_or_refuse!(request, responder);
                self.set_write_permission(header.broker_name, false, responder)
            }
            Some(Code::AddWritePermOfBroker) => {
                let header: header::AddWritePermOfBrokerRequestHeader =
                    header_or_refuse!(request, responder);
                self.set_write_permission(header.broker_name, true, responder)
            }
            Some(Code::GetAllTopicListFromNameserver) => self.all_topics(responder),
            Some(Code::DeleteTopicInNamesrv) => self.delete_topic(request, responder),
            Some(Code::RegisterTopicInNamesrv) => self.register_topic(request, responder),
            Some(Code::GetTopicsByCluster) => self.topics_of_cluster(request, responder),
            Some(Code::GetSystemTopicListFromNs) => {
                let (topics, addr) = tables.system_topics();
                body(responder, json::topic_list(&topics, addr))
            }
            Some(Code::GetUnitTopicList) => self.unit_topics(UnitTopics::Unit, responder),
            Some(Code::GetHasUnitSubTopicList) => self.unit_topics(UnitTopics::UnitSub, responder),
            Some(Code::GetHasUnitSubUnunitTopicList) => {
                self.unit_topics(UnitTopics::UnitSubNotUnit, responder)
            }
            Some(Code::UpdateNamesrvConfig) => self.update_config(request, responder),
            Some(Code::GetNamesrvConfig) => raw_body(responder, self.shared.config.to_properties()),
            _ => {
                let remark = format!(" request type {} not supported", request.code);
                refuse(responder, ResponseCode::RequestCodeNotSupported, remark)
            }
        }
    }

    fn route(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::GetRouteInfoRequestHeader = header_or_refuse!(request, responder);
        match self.permit_to_hold(&header.topic) {
            None => self.answer_route(request, &header, responder),
            Some(permit) => {
                self.hold_route(request.clone(), header, responder.with_permit(permit));
                Ok(())
            }
        }
    }

    /// A permit if the topic is a group's retry topic that not all masters have told of yet: a
    /// consumer's heartbeats make it on one master after the other, and a client that asks between
    /// two of them knows half of the queues until it asks again, 30 s later.
    fn permit_to_hold(&self, topic: &str) -> Option<Permit> {
        let is_partial = topic.starts_with(names::RETRY_PREFIX) && self.is_spreading(topic);
        let permit = || {
            self.permits
                .try_acquire(PermitClass::Control, 1, REQUEST_OVERHEAD)
        };
        is_partial.then(permit).flatten()
    }

    fn is_spreading(&self, topic: &str) -> bool {
        let shared = &self.shared;
        shared.tables.is_spreading(topic, shared.now_ms())
    }

    /// Answers when all masters have told of the topic, after [`HOLD`] at the latest.
    fn hold_route(
        &self,
        request: RemotingCommand,
        header: header::GetRouteInfoRequestHeader,
        responder: Responder,
    ) {
        let doors = self.clone();
        actix_rt::spawn(async move {
            let until = Instant::now() + HOLD;
            while Instant::now() < until && doors.is_spreading(&header.topic) {
                actix_rt::time::sleep(HOLD_LOOK).await;
            }
            if let Err(refused) = doors.answer_route(&request, &header, responder) {
                refused.answer();
            }
        });
    }

    fn answer_route(
        &self,
        request: &RemotingCommand,
        header: &header::GetRouteInfoRequestHeader,
        responder: Responder,
    ) -> Served {
        if !self.shared.is_ready() {
            return refuse(
                responder,
                ResponseCode::SystemError,
                "name server not ready",
            );
        }
        let config = self.shared.config.load();
        let topic = &*header.topic;
        let acting = config.namesrv.support_acting_master;
        let Some(mut route) = self.shared.tables.route(topic, acting) else {
            let remark = format!("No topic route info in name server for the topic: {topic}{FAQ}");
            return refuse(responder, ResponseCode::TopicNotExist, remark);
        };
        let zone = request
            .ext_fields
            .get(ZONE_NAME)
            .filter(|zone| !zone.trim().is_empty());
        let zone_mode = request.ext_fields.get(ZONE_MODE);
        if let Some(zone) = zone
            && zone_mode.is_some_and(|mode| mode.eq_ignore_ascii_case("true"))
        {
            route.keep_zone(zone);
        }
        let order = config.namesrv.order_message_enable;
        let order = order
            .then(|| self.shared.kv.get(ORDER_TOPIC_CONFIG, topic))
            .flatten();
        let standard =
            request.version >= version::V4_9_4 || header.accept_standard_json_only.unwrap_or(false);
        body(responder, json::route(&route, order, standard))
    }

    fn register(
        &self,
        request: &RemotingCommand,
        responder: Responder,
        conn: &Arc<ConnectionHandle>,
    ) -> Served {
        match registration::decode(request) {
            Ok(mut registration) => {
                registration.channel = Some(conn.clone());
                let message = |responder| Register {
                    registration,
                    responder,
                };
                tell(
                    &self.permits,
                    &self.route_table,
                    request,
                    responder,
                    message,
                )
            }
            Err(error) => {
                if !matches!(error, RegistrationError::Header(_)) {
                    log::warn!(
                        "namesrv/net bad registration peer={} error={error}",
                        conn.peer
                    );
                }
                refuse(responder, ResponseCode::SystemError, error.to_string())
            }
        }
    }

    fn unregister(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::UnRegisterBrokerRequestHeader = header_or_refuse!(request, responder);
        let capacity = self
            .shared
            .config
            .load()
            .namesrv
            .un_register_broker_queue_capacity;
        if !take_unregistration_place(&self.shared, capacity) {
            log::warn!("namesrv/net too many brokers leave at once capacity={capacity}");
            responder.answer(ResponseCode::SystemError, None, None, &[], []);
            return Ok(());
        }
        self.route_table.tell(Unregister(Unregistration {
            broker_name: detached(&header.broker_name),
            broker_id: header.broker_id,
            identity: BrokerAddr {
                cluster: detached(&header.cluster_name),
                addr: detached(&header.broker_addr),
            },
        }));
        responder.success();
        Ok(())
    }

    fn query_version(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::QueryDataVersionRequestHeader = header_or_refuse!(request, responder);
        let asked = match registration::decode_version(&request.body) {
            Ok(asked) => asked,
            Err(error) => return refuse(responder, ResponseCode::SystemError, error.to_string()),
        };
        let identity = BrokerAddr {
            cluster: header.cluster_name,
            addr: header.broker_addr,
        };
        let now_ms = self.shared.now_ms();
        let tables = &self.shared.tables;
        let (changed, known) = tables.query_version(&identity, asked.unwrap_or_default(), now_ms);
        let changed = changed || asked.is_none();
        let answer = header::QueryDataVersionResponseHeader { changed };
        let version = known.map(|known| to_vec(&known).unwrap_or_default());
        responder.answer(
            ResponseCode::Success,
            None,
            Some(&answer),
            &[],
            [version.unwrap_or_default().into()],
        );
        Ok(())
    }

    fn heartbeat(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::BrokerHeartbeatRequestHeader = header_or_refuse!(request, responder);
        let identity = BrokerAddr {
            cluster: header.cluster_name,
            addr: header.broker_addr,
        };
        self.shared
            .tables
            .heartbeat(&identity, self.shared.now_ms());
        responder.success();
        Ok(())
    }

    fn member_group(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::GetBrokerMemberGroupRequestHeader =
            header_or_refuse!(request, responder);
        let group = self.shared.tables.group(&header.broker_name);
        body(
            responder,
            json::member_group(&header.cluster_name, &header.broker_name, group.as_deref()),
        )
    }

    fn put_kv(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let Ok(header) = decode::<header::PutKvConfigRequestHeader>(request) else {
            return refuse(
                responder,
                ResponseCode::SystemError,
                "namespace or key is null",
            );
        };
        let header::PutKvConfigRequestHeader {
            namespace,
            key,
            value,
        } = header;
        tell(&self.permits, &self.kv, request, responder, |responder| {
            Put {
                namespace: namespace.to_string(),
                key: key.to_string(),
                value: value.to_string(),
                responder,
            }
        })
    }

    fn get_kv(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::GetKvConfigRequestHeader = header_or_refuse!(request, responder);
        let (namespace, key) = (&*header.namespace, &*header.key);
        match self.shared.kv.get(namespace, key) {
            Some(value) => {
                let answer = header::GetKvConfigResponseHeader {
                    value: Some(value.into()),
                };
                responder.answer(ResponseCode::Success, None, Some(&answer), &[], []);
                Ok(())
            }
            None => {
                let remark = format!("No config item, Namespace: {namespace} Key: {key}");
                refuse(responder, ResponseCode::QueryNotFound, remark)
            }
        }
    }

    fn delete_kv(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::DeleteKvConfigRequestHeader = header_or_refuse!(request, responder);
        tell(&self.permits, &self.kv, request, responder, |responder| {
            Delete {
                namespace: header.namespace.to_string(),
                key: header.key.to_string(),
                responder,
            }
        })
    }

    fn list_kv(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::GetKvListByNamespaceRequestHeader =
            header_or_refuse!(request, responder);
        match self.shared.kv.list(&header.namespace) {
            Some(table) => raw_body(responder, table),
            None => {
                let remark = format!("No config item, Namespace: {}", header.namespace);
                refuse(responder, ResponseCode::QueryNotFound, remark)
            }
        }
    }

    fn set_write_permission(&self, broker: Str, write: bool, responder: Responder) -> Served {
        let broker_name = detached(&broker);
        self.route_table.tell(SetWritePermission {
            broker_name,
            write,
            responder,
        });
        Ok(())
    }

    fn all_topics(&self, responder: Responder) -> Served {
        if !self.shared.config.load().namesrv.enable_all_topic_list {
            return refuse(responder, ResponseCode::SystemError, "disable");
        }
        body(
            responder,
            json::topic_list(&self.shared.tables.topics(), None),
        )
    }

    fn topics_of_cluster(&self, request: &RemotingCommand, responder: Responder) -> Served {
        if !self.shared.config.load().namesrv.enable_topic_list {
            return refuse(responder, ResponseCode::SystemError, "disable");
        }
        let header: header::GetTopicsByClusterRequestHeader = header_or_refuse!(request, responder);
        let topics = self.shared.tables.topics_of_cluster(&header.cluster);
        body(responder, json::topic_list(&topics, None))
    }

    fn unit_topics(&self, kind: UnitTopics, responder: Responder) -> Served {
        if !self.shared.config.load().namesrv.enable_topic_list {
            return refuse(responder, ResponseCode::SystemError, "disable");
        }
        body(
            responder,
            json::topic_list(&self.shared.tables.unit_topics(kind), None),
        )
    }

    fn delete_topic(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::DeleteTopicFromNamesrvRequestHeader =
            header_or_refuse!(request, responder);
        let (topic, cluster) = (header.topic, header.cluster_name);
        tell(
            &self.permits,
            &self.route_table,
            request,
            responder,
            |responder| DeleteTopic {
                topic,
                cluster,
                responder,
            },
        )
    }

    fn register_topic(&self, request: &RemotingCommand, responder: Responder) -> Served {
        let header: header::RegisterTopicRequestHeader = header_or_refuse!(request, responder);
        let queues = match registration::decode_queues(&request.body) {
            Ok(queues) => queues,
            Err(error) => return refuse(responder, ResponseCode::SystemError, error.to_string()),
        };
        let topic = detached(&header.topic);
        tell(
            &self.permits,
            &self.route_table,
            request,
            responder,
            |responder| RegisterTopic {
                topic,
                queues,
                responder,
            },
        )
    }

    fn update_config(&self, request: &RemotingCommand, responder: Responder) -> Served {
        if request.body.is_empty() {
            responder.success();
            return Ok(());
        }
        let text = request.body.clone();
        tell(&self.permits, &self.kv, request, responder, |responder| {
            UpdateConfig { text, responder }
        })
    }
}

/// Sends a change to its owner, within the budget of changes that wait.
fn tell<A, M>(
    permits: &Permits,
    owner: &ActorRef<A>,
    request: &RemotingCommand,
    responder: Responder,
    message: impl FnOnce(Responder) -> M,
) -> Served
where
    A: Handler<M>,
    A::Context: actix::dev::ToEnvelope<A, M>,
    M: actix::Message<Result = ()> + Send + 'static,
{
    let bytes = request.body.len() + REQUEST_OVERHEAD;
    let Some(permit) = permits.try_acquire(PermitClass::Control, 1, bytes) else {
        return refuse(responder, ResponseCode::SystemBusy, BUSY);
    };
    owner.tell(message(responder.with_permit(permit)));
    Ok(())
}
