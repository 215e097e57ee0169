//! The route table actor: the one that changes routes.
//!
//! Connections send to it, and liveness. Departures are collected and taken out together after
//! the mailbox is drained, since each round looks at every topic; a registration that follows a
//! departure in the same drain takes it out first. A restart loses departures that were collected:
//! liveness finds them again. The tables themselves are published and stay.

use std::sync::Arc;

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};

use super::notifier::{Notifier, NotifyMinId};
use super::shared::{ORDER_TOPIC_CONFIG, Shared, free_unregistration_places};
use crate::actors::kernel::{ActorCell, ActorRef, Shutdown, after_drain};
use crate::actors::net::Responder;
use crate::protocol::header::namesrv::{
    AddWritePermOfBrokerResponseHeader, RegisterBrokerResponseHeader,
    WipeWritePermOfBrokerResponseHeader,
};
use crate::protocol::{ResponseCode, Str};
use crate::routes::model::{
    BrokerAddr, Live, MinIdChange, Queues, Registered, Registration, Unregistration,
};
use crate::routes::registry;

/// Departures that are taken out even though more messages wait.
const DEPARTURES_PER_ROUND_MAX: usize = 1024;

/// Registers a broker (code 103).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Register {
    /// What the broker says.
    pub registration: Registration,
    /// Who is answered.
    pub responder: Responder,
}

/// A broker leaves (code 104). It has a place taken with
/// [`Shared::unregistrations_waiting`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unregister(pub Unregistration);

/// A connection is gone, and with it the brokers that registered over it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ChannelClosed(pub u64);

/// A broker was silent for too long, or its connection closed unnoticed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Expired {
    /// Who.
    pub identity: BrokerAddr,
}

/// Takes or gives the write permission of a broker (codes 205, 327).
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetWritePermission {
    /// The broker's name.
    pub broker_name: Str,
    /// Give, not take.
    pub write: bool,
    /// Who is answered.
    pub responder: Responder,
}

/// Deletes a topic (code 216).
#[derive(Message)]
#[rtype(result = "()")]
pub struct DeleteTopic {
    /// The topic.
    pub topic: Str,
    /// Only from the brokers of this cluster.
    pub cluster: Option<Str>,
    /// Who is answered.
    pub responder: Responder,
}

/// Registers single queues of a topic (code 217).
#[derive(Message)]
#[rtype(result = "()")]
pub struct RegisterTopic {
    /// The topic.
    pub topic: Str,
    /// Queues by broker name.
    pub queues: Vec<(Str, Queues)>,
    /// Who is answered.
    pub responder: Responder,
}

/// The actor.
pub struct RouteTable {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    notifier: ActorRef<Notifier>,
    leaving: Vec<Unregistration>,
}

impl RouteTable {
    /// An actor over the published tables.
    pub fn new(cell: Arc<ActorCell>, shared: Arc<Shared>, notifier: ActorRef<Notifier>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            let (topics, groups, live) = shown.tables.counts();
            let changes = shown.tables.changes();
            serde_json::json!({
                "topics": topics, "groups": groups, "live_brokers": live, "changes": changes,
            })
        });
        Self {
            cell,
            shared,
            notifier,
            leaving: Vec::new(),
        }
    }

    /// Takes out everybody who left so far.
    fn take_out(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let leaving = std::mem::take(&mut self.leaving);
        free_unregistration_places(&self.shared, &leaving);
        let changes = registry::unregister(&self.shared.tables, &leaving);
        self.cell.fail_point("after_unregister");
        changes.into_iter().for_each(|change| self.notify(change));
    }

    fn leave(&mut self, one: Unregistration) {
        self.leaving.push(one);
        if self.leaving.len() >= DEPARTURES_PER_ROUND_MAX {
            self.take_out();
        }
    }

    fn leave_by_identity(&mut self, identity: &BrokerAddr) {
        match registry::unregistration_of(&self.shared.tables, identity) {
            Some(one) => {
                self.shared
                    .unregistrations_waiting
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.leave(one);
            }
            // It is in no group: only its sign of life is left.
            None => registry::forget_live(&self.shared.tables, identity),
        }
    }

    fn notify(&self, change: MinIdChange) {
        if self
            .shared
            .config
            .load()
            .namesrv
            .notify_min_broker_id_changed
        {
            self.notifier.tell(NotifyMinId(change));
        }
    }
}

impl Actor for RouteTable {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, |actor: &mut Self, _| actor.take_out());
    }
}

impl Supervised for RouteTable {
    fn restarting(&mut self, _: &mut Self::Context) {
        free_unregistration_places(&self.shared, &self.leaving);
        self.leaving.clear();
        registry::reconcile(&self.shared.tables);
    }
}

crate::crashable!(RouteTable);

impl Handler<Register> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: Register, _: &mut Self::Context) {
        self.cell.begin_work();
        self.take_out();
        let Register {
            registration,
            responder,
        } = message;
        let config = self.shared.config.load();
        let delete_absent = config.namesrv.delete_topic_with_broker_registration;
        let now_ms = self.shared.now_ms();
        let (result, change) =
            registry::register(&self.shared.tables, &registration, delete_absent, now_ms);
        self.cell.fail_point("after_register");
        match result {
            Registered::Accepted {
                ha_server_addr,
                master_addr,
            } => {
                let header = RegisterBrokerResponseHeader {
                    ha_server_addr,
                    master_addr,
                };
                let told = config.namesrv.return_order_topic_config_to_broker;
                let orders = told
                    .then(|| self.shared.kv.list(ORDER_TOPIC_CONFIG))
                    .flatten();
                let body = orders.unwrap_or_default();
                responder.answer(ResponseCode::Success, None, Some(&header), &[], [body]);
            }
            Registered::Unknown => {
                responder.fail(ResponseCode::SystemError, "register broker failed");
            }
            Registered::Full => responder.fail(ResponseCode::SystemError, "route table is full"),
        }
        drop(config);
        if let Some(change) = change {
            self.notify(change);
        }
    }
}

impl Handler<Unregister> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: Unregister, _: &mut Self::Context) {
        self.cell.begin_work();
        self.leave(message.0);
    }
}

impl Handler<ChannelClosed> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: ChannelClosed, _: &mut Self::Context) {
        self.cell.begin_work();
        for identity in registry::brokers_of_channel(&self.shared.tables, message.0) {
            log::info!("{} connection lost addr={identity}", self.cell.path());
            self.leave_by_identity(&identity);
        }
    }
}

impl Handler<Expired> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: Expired, _: &mut Self::Context) {
        self.cell.begin_work();
        // It may have come back since liveness looked.
        let live = self.shared.tables.live(&message.identity);
        let now_ms = self.shared.now_ms();
        let closed = |live: &Live| live.channel.as_ref().is_some_and(|c| c.is_closed());
        if live.is_some_and(|live| live.expired(now_ms) || closed(&live)) {
            self.leave_by_identity(&message.identity);
        }
    }
}

impl Handler<SetWritePermission> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: SetWritePermission, _: &mut Self::Context) {
        self.cell.begin_work();
        let SetWritePermission {
            broker_name,
            write,
            responder,
        } = message;
        let count = registry::set_write_permission(&self.shared.tables, &broker_name, write);
        log::info!(
            "{} write permission broker={broker_name} write={write} topics={count}",
            self.cell.path()
        );
        if write {
            let header = AddWritePermOfBrokerResponseHeader {
                add_topic_count: count,
            };
            responder.answer(ResponseCode::Success, None, Some(&header), &[], []);
        } else {
            let header = WipeWritePermOfBrokerResponseHeader {
                wipe_topic_count: count,
            };
            responder.answer(ResponseCode::Success, None, Some(&header), &[], []);
        }
    }
}

impl Handler<DeleteTopic> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: DeleteTopic, _: &mut Self::Context) {
        self.cell.begin_work();
        let cluster = message.cluster.as_deref();
        registry::delete_topic(&self.shared.tables, &message.topic, cluster);
        message.responder.success();
    }
}

impl Handler<RegisterTopic> for RouteTable {
    type Result = ();

    fn handle(&mut self, message: RegisterTopic, _: &mut Self::Context) {
        self.cell.begin_work();
        registry::register_topic(&self.shared.tables, &message.topic, &message.queues);
        message.responder.success();
    }
}

impl Handler<Shutdown> for RouteTable {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.take_out();
        ctx.stop();
    }
}
