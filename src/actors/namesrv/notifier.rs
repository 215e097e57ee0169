//! The notifier: tells brokers that the smallest id of their group changed (code 905).
//!
//! It connects to brokers by itself, so that a broker that cannot be reached delays nobody else.
//! Notices are oneway and best effort: a restart loses those on their way.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};

use crate::actors::kernel::{ActorCell, Shutdown};
use crate::client::{RemotingClient, RemotingConfig};
use crate::protocol::header::namesrv::NotifyMinBrokerIdChangeRequestHeader;
use crate::protocol::{RemotingCommand, RequestCode};
use crate::routes::model::MinIdChange;

/// Longest that one notice may take, connecting included.
const NOTICE_TIMEOUT: Duration = Duration::from_millis(300);

/// Tells the brokers of a group.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NotifyMinId(pub MinIdChange);

/// The actor.
pub struct Notifier {
    cell: Arc<ActorCell>,
    client: RemotingClient,
}

impl Notifier {
    /// An actor without connections.
    pub fn new(cell: Arc<ActorCell>) -> Self {
        Self {
            cell,
            client: RemotingClient::new(RemotingConfig::default()),
        }
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;
}

impl Supervised for Notifier {}

crate::crashable!(Notifier);

impl Handler<NotifyMinId> for Notifier {
    type Result = ();

    fn handle(&mut self, message: NotifyMinId, _: &mut Self::Context) {
        self.cell.begin_work();
        let change = message.0;
        let header = NotifyMinBrokerIdChangeRequestHeader {
            min_broker_id: Some(change.min_id),
            broker_name: None,
            min_broker_addr: Some(change.min_addr.clone()),
            offline_broker_addr: change.offline_addr.clone(),
            ha_broker_addr: change.ha_addr.clone(),
        };
        log::info!(
            "{} smallest id changed min_id={} min_addr={} tell={}",
            self.cell.path(),
            change.min_id,
            change.min_addr,
            change.tell.join(",")
        );
        for addr in change.tell {
            let request = RemotingCommand::request(RequestCode::NotifyMinBrokerIdChange, &header);
            let (client, path) = (self.client.clone(), self.cell.path().clone());
            actix_rt::spawn(async move {
                let sent =
                    tokio::time::timeout(NOTICE_TIMEOUT, client.oneway(&addr, request)).await;
                match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::warn!("{path} not told addr={addr} error={error}"),
                    Err(_) => log::warn!("{path} not told in time addr={addr}"),
                }
            });
        }
    }
}

impl Handler<Shutdown> for Notifier {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.client.shut_down();
        ctx.stop();
    }
}
