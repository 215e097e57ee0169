//! One NameServer: registers this broker with it, again and again.
//!
//! One request is under way at a time; what changes meanwhile goes with the next. Nothing here is
//! worth keeping: a restart registers everything once more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use tokio::sync::oneshot;

use super::Shared;
use crate::{
    actors::{
        broker::tables::topics::TopicsChanged,
        kernel::{ActorCell, Shutdown, now_ms},
    },
    client::RemotingError,
    crashable,
    protocol::{
        CommandHeader, RemotingCommand, RequestCode, ResponseCode,
        body::{DataVersion, stats::KvTable, topic_config::TopicConfig},
        fastjson,
        header::namesrv::{
            BrokerHeartbeatRequestHeader, QueryDataVersionRequestHeader,
            QueryDataVersionResponseHeader, RegisterBrokerResponseHeader,
            UnRegisterBrokerRequestHeader,
        },
    },
};

/// When the first registration after the one at start is made.
const SECOND_AFTER: Duration = Duration::from_secs(10);
/// When a failed registration is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// How long a NameServer has to take a broker out.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// Register all topics now; whoever gave the reply hears whether it worked.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RegisterAll {
    /// Told once the NameServer answered, or did not.
    pub reply: oneshot::Sender<bool>,
}

/// Topics changed; whoever gave the reply hears whether the NameServer knows.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Announce {
    /// What changed.
    pub changed: Arc<TopicsChanged>,
    /// Told once the NameServer answered, or did not.
    pub reply: oneshot::Sender<bool>,
}

/// Take the broker out, and register no more. The answer tells whether the NameServer heard.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "bool")]
pub struct Unregister;

/// The actor of one NameServer.
pub struct Registrar {
    cell: Arc<ActorCell>,
    addr: String,
    shared: Arc<Shared>,
    busy: bool,
    /// Register everything next.
    all: bool,
    waiting: Vec<oneshot::Sender<bool>>,
    /// Or only these, as of this version.
    some: BTreeMap<String, TopicConfig>,
    version: DataVersion,
    /// Failures since the last success: one log line for each series.
    failures: u64,
    stopped: bool,
}

type Outcome = Result<(), String>;

impl Registrar {
    /// The actor before its first registration.
    pub(super) fn recover(cell: Arc<ActorCell>, addr: String, shared: Arc<Shared>) -> Self {
        Self {
            cell,
            addr,
            shared,
            busy: false,
            all: true,
            waiting: Vec::new(),
            some: BTreeMap::new(),
            version: DataVersion::default(),
            failures: 0,
            stopped: false,
        }
    }

    /// Begins the next registration, if there is something to tell and none is under way.
    fn next(&mut self, ctx: &mut Context<Self>) {
        let idle = !self.all && self.some.is_empty();
        if self.busy || self.stopped || idle {
            return;
        }
        let config = self.shared.config.load_full();
        let some = std::mem::take(&mut self.some);
        let waiting = std::mem::take(&mut self.waiting);
        let was_all = std::mem::replace(&mut self.all, false);
        let bodies = if was_all {
            self.shared.announcements.all(&config, &self.shared.topics)
        } else {
            let announcements = &self.shared.announcements;
            let body = announcements.some(&config, &self.shared.topics, some, self.version);
            [body].into()
        };
        self.busy = true;
        let (shared, addr) = (self.shared.clone(), self.addr.clone());
        let version = self.shared.topics.version();
        // What somebody waits for, or what was announced, is told without asking first.
        let ask_first = was_all
            && waiting.is_empty()
            && !config.broker.force_register
            && !config.broker.enable_split_registration;
        let work = async move {
            if ask_first && !shared.is_outdated(&addr, version).await {
                return Ok(());
            }
            for body in bodies.iter() {
                shared.register(&addr, body.request(&config)).await?;
            }
            Ok(())
        };
        let done = work
            .into_actor(self)
            .map(move |outcome: Outcome, act, ctx| {
                for reply in waiting {
                    let _ = reply.send(outcome.is_ok());
                }
                act.registered(outcome, ctx);
            });
        ctx.spawn(done);
    }

    fn registered(&mut self, outcome: Outcome, ctx: &mut Context<Self>) {
        self.busy = false;
        match outcome {
            Ok(()) => {
                if self.failures > 0 || self.shared.first_success(&self.addr) {
                    log::info!("{} registered failures={}", self.cell.path(), self.failures);
                }
                self.failures = 0;
                self.shared.set_state(&self.addr, true);
                self.next(ctx);
            }
            Err(error) => {
                if self.failures == 0 {
                    log::warn!("{} not registered error={error}", self.cell.path());
                }
                self.failures += 1;
                self.cell.set_last_error(&error);
                self.shared.set_state(&self.addr, false);
                // Whatever it was told, all is told again: part of it may have been lost.
                ctx.run_later(RETRY_AFTER, |act, ctx| {
                    act.all = true;
                    act.next(ctx);
                });
            }
        }
    }

    fn arm(&self, ctx: &mut Context<Self>, after: Duration) {
        ctx.run_later(after, |act, ctx| {
            let period = act
                .shared
                .config
                .load()
                .broker
                .register_name_server_period_ms;
            let period = Duration::from_millis(u64::try_from(period).unwrap_or(0).max(1000));
            act.all = true;
            act.next(ctx);
            act.arm(ctx, period);
        });
    }

    /// With `enableSlaveActingMaster` NameServers want a sign of life every second.
    fn arm_heartbeat(&self, ctx: &mut Context<Self>) {
        let config = self.shared.config.load();
        if !config.broker.enable_slave_acting_master {
            return;
        }
        let every = config.broker.broker_heartbeat_interval_ms;
        let every = Duration::from_millis(u64::try_from(every).unwrap_or(0).max(100));
        ctx.run_interval(every, |act, ctx| {
            if act.stopped {
                return;
            }
            let (shared, addr) = (act.shared.clone(), act.addr.clone());
            let beat = shared.heartbeat();
            // Nobody waits for it, and a lost one is followed by the next.
            let sent = async move { drop(shared.client.oneway(&addr, beat).await) };
            ctx.spawn(sent.into_actor(act));
        });
    }
}

impl Shared {
    async fn register(&self, addr: &str, request: RemotingCommand) -> Outcome {
        let timeout = self.config.load().broker.register_broker_timeout_ms;
        let timeout = Duration::from_millis(u64::try_from(timeout).unwrap_or(0).max(1));
        let answer = self
            .client
            .ask(addr, request, timeout)
            .await
            .map_err(|e| e.to_string())?;
        let header = RegisterBrokerResponseHeader::decode_lenient(&answer.ext_fields);
        self.learn_master(&header);
        if !answer.body.is_empty()
            && let Ok(order) = fastjson::from_slice::<KvTable>(&answer.body)
        {
            self.topics.mark_ordered(order.table.into_keys());
        }
        Ok(())
    }

    /// Asks whether a NameServer has other topics of this broker (code 322); no answer means yes.
    async fn is_outdated(&self, addr: &str, version: DataVersion) -> bool {
        const TIMEOUT: Duration = Duration::from_secs(3);
        let request = self.version_request(version);
        let Ok(answer) = self.client.call(addr, request, TIMEOUT).await else {
            return true;
        };
        let header = QueryDataVersionResponseHeader::decode(&answer.ext_fields);
        let theirs = fastjson::from_slice::<DataVersion>(&answer.body);
        header.map_or(true, |header| header.changed) || theirs.is_ok_and(|theirs| theirs != version)
    }

    fn version_request(&self, version: DataVersion) -> RemotingCommand {
        let config = self.config.load();
        let header = QueryDataVersionRequestHeader {
            broker_name: config.broker.broker_name.clone().into(),
            broker_addr: config.broker_addr().into(),
            cluster_name: config.broker.broker_cluster_name.clone().into(),
            broker_id: config.broker.broker_id,
        };
        RemotingCommand::request(RequestCode::QueryDataVersion, &header)
            .with_body(fastjson::to_vec(&version).unwrap_or_default())
    }

    fn heartbeat(&self) -> RemotingCommand {
        let config = self.config.load();
        if config.broker.compatible_with_old_name_srv {
            return self.version_request(self.topics.version());
        }
        let header = BrokerHeartbeatRequestHeader {
            cluster_name: config.broker.broker_cluster_name.clone().into(),
            broker_addr: config.broker_addr().into(),
            broker_name: config.broker.broker_name.clone().into(),
            ..Default::default()
        };
        RemotingCommand::request(RequestCode::BrokerHeartbeat, &header)
    }

    async fn unregister(&self, addr: &str) -> Result<RemotingCommand, RemotingError> {
        let config = self.config.load_full();
        let header = UnRegisterBrokerRequestHeader {
            broker_name: config.broker.broker_name.clone().into(),
            broker_addr: config.broker_addr().into(),
            cluster_name: config.broker.broker_cluster_name.clone().into(),
            broker_id: config.broker.broker_id,
        };
        let request = RemotingCommand::request(RequestCode::UnregisterBroker, &header);
        self.client.call(addr, request, UNREGISTER_TIMEOUT).await
    }
}

impl Actor for Registrar {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.next(ctx);
        self.arm(ctx, SECOND_AFTER);
        self.arm_heartbeat(ctx);
    }
}

impl Supervised for Registrar {
    fn restarting(&mut self, _: &mut Self::Context) {
        let stopped = self.stopped;
        *self = Self::recover(self.cell.clone(), self.addr.clone(), self.shared.clone());
        self.stopped = stopped;
    }
}

crashable!(Registrar);

impl Handler<RegisterAll> for Registrar {
    type Result = ();

    fn handle(&mut self, message: RegisterAll, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.waiting.push(message.reply);
        self.all = true;
        self.next(ctx);
    }
}

impl Handler<Announce> for Registrar {
    type Result = ();

    fn handle(&mut self, message: Announce, ctx: &mut Self::Context) {
        self.cell.begin_work();
        let Announce { changed, reply } = message;
        self.waiting.push(reply);
        for topic in &changed.deleted {
            self.some.remove(&**topic);
        }
        for topic in &changed.topics {
            self.some
                .insert(topic.topic_name.clone(), (**topic).clone());
        }
        self.version = changed.version;
        self.next(ctx);
    }
}

impl Handler<Unregister> for Registrar {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, _: Unregister, _: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        self.stopped = true;
        self.waiting.clear();
        let (shared, addr, path) = (
            self.shared.clone(),
            self.addr.clone(),
            self.cell.path().clone(),
        );
        let begun_ms = now_ms();
        Box::pin(async move {
            match shared.unregister(&addr).await {
                Ok(answer) => {
                    log::info!(
                        "{path} unregistered ms={}",
                        now_ms().saturating_sub(begun_ms)
                    );
                    answer.code == ResponseCode::Success.code()
                }
                Err(error) => {
                    log::warn!("{path} not unregistered error={error}");
                    false
                }
            }
        })
    }
}

impl Handler<Shutdown> for Registrar {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.stopped = true;
        ctx.stop();
    }
}
