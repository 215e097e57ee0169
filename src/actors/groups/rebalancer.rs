//! One consumer group: its members, who is told when they change, and its queue locks.
//!
//! It alone changes what is published about the group, and its locks; processors and the `groups` actor
//! send to it through [`super::consumers::ConsumerGroups`]. What it owns is published, so a restart loses the
//! heartbeat that was being handled and nothing else: its client is told SYSTEM_ERROR and sends the
//! next one, and everybody is told of a change once more, for a notice may have been lost.

use std::sync::{Arc, Mutex};

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use arc_swap::ArcSwapOption;

use super::{
    info::GroupInfo,
    locks::{LockBook, LockKey},
    member::Member,
};
use crate::{
    actors::kernel::{ActorCell, Shutdown, after_drain},
    config::{BrokerConfig, Live},
    crashable,
    protocol::{
        RemotingCommand, RequestCode, Str, body::heartbeat::ConsumerData,
        header::client::NotifyConsumerIdsChangedRequestHeader,
    },
};

/// What is published about a group.
#[derive(Debug, Default)]
pub struct Published {
    /// `None` while no client is online.
    pub info: ArcSwapOption<GroupInfo>,
    /// The fingerprint of the latest heartbeat.
    pub(super) fingerprint: Mutex<Option<i32>>,
}

/// A heartbeat of a client. The answer tells whether members or subscriptions changed.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Register {
    /// The client.
    pub member: Arc<Member>,
    /// What it says about the group.
    pub data: Arc<ConsumerData>,
    /// Whether it says what it subscribes to.
    pub with_sub: bool,
    /// Whether the group's members want to know of each other (`notifyConsumerIdsChangedEnable`).
    pub notify: bool,
    /// When it came.
    pub now_ms: u64,
}

/// A client leaves.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Its connection.
    pub conn: u64,
    /// As in [`Register`].
    pub notify: bool,
}

/// Look for clients that have been silent for too long.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Expire {
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// How long a client may be silent.
    pub limit_ms: u64,
}

/// Lock or renew queues; the answer holds those that the client has now.
#[derive(Debug, Message)]
#[rtype(result = "Vec<LockKey>")]
pub struct LockQueues {
    /// Who locks.
    pub client_id: Str,
    /// What.
    pub queues: Vec<LockKey>,
    /// When.
    pub now_ms: u64,
}

/// Give queues back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct UnlockQueues {
    /// Who unlocks.
    pub client_id: Str,
    /// What.
    pub queues: Vec<LockKey>,
}

/// The actor of one consumer group.
pub struct Rebalancer {
    cell: Arc<ActorCell>,
    group: Str,
    config: Arc<Live<BrokerConfig>>,
    published: Arc<Published>,
    /// Queue locks of all groups.
    locks: Arc<LockBook>,
    /// Members have to be told; done once after each drain of the mailbox.
    tell: bool,
}

impl Rebalancer {
    /// The actor over what is published.
    pub fn recover(
        cell: Arc<ActorCell>,
        group: Str,
        config: Arc<Live<BrokerConfig>>,
        published: Arc<Published>,
        locks: Arc<LockBook>,
    ) -> Self {
        let (shown, book, name) = (published.clone(), locks.clone(), group.clone());
        cell.set_detail(move || {
            let info = shown.info.load();
            let members = info.as_ref().map_or(0, |info| info.members.len());
            let topics = info.as_ref().map_or(0, |info| info.subscriptions.len());
            serde_json::json!({
                "members": members, "topics": topics, "locks": book.len(&name),
            })
        });
        Self {
            cell,
            group,
            config,
            published,
            locks,
            tell: false,
        }
    }

    /// Changes what is published: a copy is made, changed, and swapped in. A group that nobody
    /// is left in is unknown from then on.
    fn change(&mut self, act: impl FnOnce(&mut GroupInfo) -> bool) -> bool {
        let Some(mut info) = self.published.info.load_full().map(|info| (*info).clone()) else {
            return false;
        };
        let changed = act(&mut info);
        let gone = info.members.is_empty();
        if gone {
            log::info!("{} has no member left", self.cell.path());
        }
        self.cell.fail_point("before_publish");
        self.published.info.store((!gone).then(|| Arc::new(info)));
        changed
    }

    fn want_notice(&mut self, notify: bool) {
        let broadcasting = self
            .published
            .info
            .load()
            .as_ref()
            .is_some_and(|info| info.is_broadcasting());
        self.tell |= notify && !broadcasting;
    }

    /// Tells all members once, however much has changed since.
    fn tell_members(&mut self) {
        let config = self.config.load();
        if !self.tell || !config.broker.real_time_notify_consumer_change {
            return;
        }
        self.tell_now();
    }

    fn tell_now(&mut self) {
        self.tell = false;
        if !self.config.load().broker.notify_consumer_ids_changed_enable {
            return;
        }
        let Some(info) = self.published.info.load_full() else {
            return;
        };
        let header = NotifyConsumerIdsChangedRequestHeader {
            consumer_group: self.group.clone(),
        };
        let notice = RemotingCommand::request(RequestCode::NotifyConsumerIdsChanged, &header);
        for member in &info.members {
            member.conn.notify(notice.clone());
        }
    }
}

impl Actor for Rebalancer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, |act: &mut Self, _| act.tell_members());
    }
}

impl Supervised for Rebalancer {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(
            self.cell.clone(),
            self.group.clone(),
            self.config.clone(),
            self.published.clone(),
            self.locks.clone(),
        );
        self.want_notice(true);
    }
}

crashable!(Rebalancer);

impl Handler<Register> for Rebalancer {
    type Result = bool;

    fn handle(&mut self, heartbeat: Register, _: &mut Self::Context) -> bool {
        self.cell.begin_work();
        let Register {
            member,
            data,
            with_sub,
            notify,
            now_ms,
        } = heartbeat;
        if member.conn.is_closed() {
            return false;
        }
        let known = self.published.info.load_full();
        if let Some(info) = &known
            && info.is_unchanged_by(&member, &data, with_sub)
        {
            if let Some(member) = info.member_on(member.conn.id) {
                member.seen(now_ms);
            }
            return false;
        }
        if known.is_none() {
            let fresh = GroupInfo::new(self.group.clone(), &data);
            self.published.info.store(Some(Arc::new(fresh)));
        }
        let changed = self.change(|info| {
            let is_new = info.update_member(&member, &data);
            let other_topics = with_sub && info.update_subscriptions(&data.subscription_data_set);
            is_new || other_topics
        });
        if changed {
            log::info!(
                "{} changed client={} peer={}",
                self.cell.path(),
                member.client_id,
                member.conn.peer
            );
            self.want_notice(notify);
        }
        changed
    }
}

impl Handler<Leave> for Rebalancer {
    type Result = ();

    fn handle(&mut self, leave: Leave, _: &mut Self::Context) {
        self.cell.begin_work();
        if self.change(|info| info.remove(leave.conn)) {
            self.want_notice(leave.notify);
        }
    }
}

impl Handler<Expire> for Rebalancer {
    type Result = ();

    fn handle(&mut self, expire: Expire, _: &mut Self::Context) {
        self.cell.begin_work();
        let info = self.published.info.load_full();
        let members = info.iter().flat_map(|info| &info.members);
        let silent: Vec<Arc<Member>> = members
            .filter(|member| {
                member.is_expired(expire.now_ms, expire.limit_ms) || member.conn.is_closed()
            })
            .cloned()
            .collect();
        for member in silent {
            log::warn!(
                "{} removes a silent client client={} peer={}",
                self.cell.path(),
                member.client_id,
                member.conn.peer
            );
            member.conn.close();
            if self.change(|info| info.remove(member.conn.id)) {
                self.want_notice(true);
            }
        }
        if self.tell {
            self.tell_now();
        }
    }
}

impl Handler<LockQueues> for Rebalancer {
    type Result = Vec<LockKey>;

    fn handle(&mut self, wanted: LockQueues, _: &mut Self::Context) -> Vec<LockKey> {
        self.cell.begin_work();
        let mut queues = wanted.queues;
        let (client_id, now_ms) = (&wanted.client_id, wanted.now_ms);
        self.locks.lock(&self.group, client_id, &mut queues, now_ms);
        queues
    }
}

impl Handler<UnlockQueues> for Rebalancer {
    type Result = ();

    fn handle(&mut self, given: UnlockQueues, _: &mut Self::Context) {
        self.cell.begin_work();
        self.locks
            .unlock(&self.group, &given.client_id, &given.queues);
    }
}

impl Handler<Shutdown> for Rebalancer {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}
