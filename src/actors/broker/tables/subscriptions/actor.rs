//! The actor behind [`super::SubscriptionGroups`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use tokio::sync::oneshot;

use super::{GroupError, Shared};
use crate::{
    actors::{
        broker::tables::attributes,
        kernel::{ActorCell, Shutdown, after_drain, lock},
    },
    crashable,
    protocol::body::{
        assignment::{MessageRequestModeSerializeWrapper, SetMessageRequestModeRequestBody},
        subscription_group::{SubscriptionGroupConfig, SubscriptionGroupWrapper},
    },
    store::error::StoreError,
};

/// How often a table that could not be written is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// A change of the tables, answered once it is on disk.
#[derive(Debug)]
pub(super) enum Change {
    Create(String),
    Update(Vec<SubscriptionGroupConfig>),
    Delete(String),
    Forbid {
        group: String,
        topic: String,
        bits: i32,
        on: bool,
    },
    SetMode(SetMessageRequestModeRequestBody),
    Mirror(SubscriptionGroupWrapper),
    MirrorModes(MessageRequestModeSerializeWrapper),
}

pub(super) type Changed = Result<(), GroupError>;

/// Change the tables.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChangeGroups {
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Changed>,
}

/// Alone changes the tables of groups and writes them down.
pub struct SubscriptionsActor {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    /// Answers that wait for the tables to be written.
    waiting: Vec<(oneshot::Sender<Changed>, Changed)>,
}

impl SubscriptionsActor {
    pub(super) fn recover(cell: Arc<ActorCell>, shared: Arc<Shared>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            serde_json::json!({
                "groups": shown.groups.len(), "version": shown.version.get().counter,
                "unwritten": shown.dirty.load(Relaxed),
            })
        });
        Self {
            cell,
            shared,
            waiting: Vec::new(),
        }
    }

    fn apply(&mut self, change: Change) -> Changed {
        let shared = &self.shared;
        match change {
            Change::Create(group) if shared.groups.contains_key(group.as_str()) => Ok(()),
            Change::Create(group) => {
                log::info!("{} makes group={group}", self.cell.path());
                shared.put(SubscriptionGroupConfig::new(&group))
            }
            Change::Update(configs) => configs
                .into_iter()
                .try_for_each(|config| self.update(config)),
            Change::Delete(group) => {
                if shared.forbidden.remove(group.as_str()).is_some() {
                    shared.forbidden_len.store(shared.forbidden.len(), Relaxed);
                }
                if shared.groups.remove(group.as_str()).is_none() {
                    return Err(GroupError::NotExist(group));
                }
                log::info!("{} deletes group={group}", self.cell.path());
                shared.count_change();
                Ok(())
            }
            Change::Forbid {
                group,
                topic,
                bits,
                on,
            } => {
                self.forbid(group, topic, bits, on);
                Ok(())
            }
            Change::SetMode(mode) => {
                let mut modes = (*shared.modes.load_full()).clone();
                let groups = modes
                    .message_request_mode_map
                    .entry(mode.topic.clone())
                    .or_default();
                groups.insert(mode.consumer_group.clone(), mode);
                self.set_modes(modes);
                // Modes have no version; slaves ask for them when that of the groups changes.
                shared.count_change();
                Ok(())
            }
            Change::Mirror(table) => {
                shared
                    .groups
                    .retain(|name, _| table.subscription_group_table.contains_key(&**name));
                shared.forbidden.clear();
                shared.take(table);
                shared.dirty.store(true, Relaxed);
                Ok(())
            }
            Change::MirrorModes(modes) => {
                self.set_modes(modes);
                Ok(())
            }
        }
    }

    fn update(&self, mut config: SubscriptionGroupConfig) -> Changed {
        let known = self
            .shared
            .groups
            .get(config.group_name.as_str())
            .map(|known| known.clone());
        let current = known.as_ref().map(|known| &known.attributes);
        config.attributes = attributes::alter(attributes::OF_GROUPS, current, &config.attributes)?;
        log::info!(
            "{} {} group={}",
            self.cell.path(),
            if known.is_some() { "changes" } else { "makes" },
            config.group_name
        );
        self.shared.put(config)
    }

    /// RocketMQ forgets all topics of the group when the last bit of one is cleared, and does not
    /// write that down; here only that topic is forgotten, and it is written down.
    fn forbid(&self, group: String, topic: String, bits: i32, on: bool) {
        let shared = &self.shared;
        {
            let mut topics = shared.forbidden.entry(group.into()).or_default();
            let now = topics.entry(topic).or_insert(0);
            *now = if on { *now | bits } else { *now & !bits };
            topics.retain(|_, bits| *bits > 0);
        }
        shared.forbidden.retain(|_, topics| !topics.is_empty());
        shared.forbidden_len.store(shared.forbidden.len(), Relaxed);
        shared.count_change();
    }

    fn set_modes(&self, modes: MessageRequestModeSerializeWrapper) {
        self.shared.modes.store(Arc::new(modes));
        self.shared.modes_dirty.store(true, Relaxed);
    }

    /// After each drain: writes the tables, then answers.
    fn commit(&mut self) {
        if self.shared.dirty.swap(false, Relaxed) {
            let table = self.shared.snapshot();
            self.save(
                |shared| lock(&shared.file).save(&table),
                |shared| &shared.dirty,
            );
            self.shared.version.tell();
        }
        if self.shared.modes_dirty.swap(false, Relaxed) {
            let modes = self.shared.modes.load_full();
            self.save(
                |shared| lock(&shared.modes_file).save(&modes),
                |shared| &shared.modes_dirty,
            );
        }
        for (reply, answer) in self.waiting.drain(..) {
            let _ = reply.send(answer);
        }
    }

    fn save(
        &self,
        write: impl FnOnce(&Shared) -> Result<bool, StoreError>,
        mark: impl FnOnce(&Shared) -> &AtomicBool,
    ) {
        self.cell.fail_point("before_save");
        if !self.cell.write_file(|| write(&self.shared)) {
            // As RocketMQ: the group works, and the next change or tick writes it down.
            mark(&self.shared).store(true, Relaxed);
        }
    }
}

impl Actor for SubscriptionsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        after_drain(ctx, |act: &mut Self, _| {
            if !act.waiting.is_empty() {
                act.commit();
            }
        });
        ctx.run_interval(RETRY_EVERY, |act, _| act.commit());
    }
}

impl Supervised for SubscriptionsActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.shared.clone());
        self.shared.dirty.store(true, Relaxed);
        self.shared.modes_dirty.store(true, Relaxed);
    }
}

crashable!(SubscriptionsActor);

impl Handler<ChangeGroups> for SubscriptionsActor {
    type Result = ();

    fn handle(&mut self, message: ChangeGroups, _: &mut Self::Context) {
        self.cell.begin_work();
        let answer = self.apply(message.change);
        self.cell.fail_point("after_change");
        self.waiting.push((message.reply, answer));
    }
}

impl Handler<Shutdown> for SubscriptionsActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.commit();
        ctx.stop();
    }
}
