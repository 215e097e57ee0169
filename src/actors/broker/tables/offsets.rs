//! Consumer offsets (`ConsumerOffsetManager`): the handle, and the actor that brings them to disk.
//!
//! Commits go straight into the [`OffsetTable`]; the actor writes consumerOffset.json every
//! `flushConsumerOffsetInterval` and at shutdown, if there is something new. A crash of the actor
//! loses nothing; a crash of the process loses the commits since the last write, as in RocketMQ:
//! their messages are consumed again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ArbiterHandle, AsyncContext, Context, Handler, Message, Supervised,
};

use super::{
    offset_table::{OffsetKey, OffsetTable},
    table_version::TableVersion,
};
use crate::{
    actors::kernel::{ActorCell, ActorError, ActorRef, Shutdown, Tree, lock, spawn},
    config::{BrokerConfig, Live},
    crashable,
    protocol::{
        body::{
            DataVersion,
            offset::{ConsumerOffsetTable, TOPIC_GROUP_SEPARATOR},
        },
        message::{multi_dispatch::LMQ_QUEUE_ID, names},
    },
    store::{
        error::StoreError,
        now_ms,
        tables::{ConfigFile, Tables},
    },
};

struct Shared {
    table: Arc<OffsetTable>,
    version: TableVersion,
    /// The version counts one for so many commits.
    version_step: u64,
    /// `enableLmq`.
    lmqs: bool,
    /// `useServerSideResetOffset` may change at any time.
    config: Arc<Live<BrokerConfig>>,
    /// Only the actor writes it.
    file: Mutex<ConfigFile<ConsumerOffsetTable>>,
}

/// The offsets of all groups. Cloning it is two reference counts.
#[derive(Clone)]
pub struct Offsets {
    shared: Arc<Shared>,
    actor: ActorRef<OffsetsActor>,
}

impl std::fmt::Debug for Offsets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Offsets({})", self.shared.table.len())
    }
}

impl Offsets {
    /// Reads consumerOffset.json and starts the actor at `parent/offsets`. Its thread writes files:
    /// it should be one that may block.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn start(
        tree: &Tree,
        parent: &str,
        arbiter: &ArbiterHandle,
        tables: &Tables,
        config: Arc<Live<BrokerConfig>>,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::load(tables, config)?);
        let own = shared.clone();
        let actor = spawn(
            tree,
            parent,
            "offsets",
            "offsets",
            arbiter,
            tree.restart_policy(),
            move |cell| OffsetsActor::recover(cell, own),
        );
        Ok(Self { shared, actor })
    }

    /// Commits an offset, whatever it is: every later query sees it.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        let Some(count) = self.shared.table.commit(topic, group, queue_id, offset) else {
            log::debug!("offset refused topic={topic} group={group} queue={queue_id}");
            return;
        };
        if count % self.shared.version_step == 0 {
            self.shared.version.count();
        }
    }

    /// Keeps where a pull of the group ended; it is never written to disk.
    pub fn set_pulled(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        self.shared.table.set_pulled(topic, group, queue_id, offset);
    }

    /// The group's offset in a queue: that of a reset which waits, or else the committed one.
    pub fn query(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let reset = self.pending_reset(group, topic, queue_id);
        reset.or_else(|| self.shared.table.committed(topic, group, queue_id))
    }

    /// Where the group's last pull ended, or else its offset.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let pulled = self.shared.table.pulled(topic, group, queue_id);
        pulled.or_else(|| self.query(group, topic, queue_id))
    }

    /// What the group committed in all queues of a topic, sorted by queue.
    pub fn of_group(&self, group: &str, topic: &str) -> Option<Vec<(i32, i64)>> {
        self.shared.table.of_group(topic, group)
    }

    /// Sends a group to an offset: its next pull starts there, and commits are refused until then.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) {
        if queue_id >= 0 && offset >= 0 {
            self.shared.table.set_reset(topic, group, queue_id, offset);
        }
    }

    /// The reset that waits for the group's next pull; none while `useServerSideResetOffset` is
    /// off.
    pub fn pending_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        let reset = self.shared.table.reset(topic, group, queue_id)?;
        let enabled = self
            .shared
            .config
            .load()
            .broker
            .use_server_side_reset_offset;
        enabled.then_some(reset)
    }

    /// Takes the reset that waits for the group's next pull.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.pending_reset(group, topic, queue_id)?;
        self.shared.table.take_reset(topic, group, queue_id)
    }

    /// Gives a group the offsets of another in a topic.
    pub fn clone_group(&self, from: &str, to: &str, topic: &str) -> bool {
        self.shared.table.clone_group(topic, from, to)
    }

    /// The table itself, for whoever lists groups or topics, removes or mirrors.
    pub fn table(&self) -> &Arc<OffsetTable> {
        &self.shared.table
    }

    /// The table's version.
    pub fn version(&self) -> DataVersion {
        self.shared.version.get()
    }

    /// The whole table: the body of code 43 and the content of the file.
    pub fn snapshot(&self) -> ConsumerOffsetTable {
        self.shared.snapshot()
    }

    /// Takes a master's table; offsets of groups that it does not know stay.
    pub fn mirror(&self, table: ConsumerOffsetTable) {
        self.shared.take(table);
        self.shared.table.mark_dirty();
    }

    /// Writes the table down now.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the actor crashed meanwhile.
    pub async fn persist(&self) -> Result<(), ActorError> {
        self.actor.ask(Persist).await
    }

    /// Writes the table down and stops the actor. Later commits are lost.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the actor crashed meanwhile.
    pub async fn shut_down(&self) -> Result<(), ActorError> {
        self.actor.ask(Shutdown).await
    }
}

impl Shared {
    fn load(tables: &Tables, config: Arc<Live<BrokerConfig>>) -> Result<Self, StoreError> {
        let (step, lmqs) = {
            let config = config.load();
            let step = config.broker.consumer_offset_update_version_step;
            (step, config.store.enable_lmq)
        };
        let (file, loaded) = match lmqs {
            // What was committed before light message queues were switched on goes over.
            true => match tables.lmq_consumer_offsets()? {
                (file, None) => (file, tables.consumer_offsets()?.1),
                known => known,
            },
            false => tables.consumer_offsets()?,
        };
        let shared = Self {
            table: Arc::default(),
            version: TableVersion::new(DataVersion::at(now_ms())),
            version_step: u64::try_from(step).unwrap_or(0).max(1),
            lmqs,
            config,
            file: Mutex::new(file),
        };
        if let Some(loaded) = loaded {
            shared.take(loaded);
        }
        Ok(shared)
    }

    fn take(&self, table: ConsumerOffsetTable) {
        self.version.set(table.data_version);
        for (key, offsets) in table.offset_table {
            match OffsetKey::parse(&key) {
                Some(key) => self.table.replace(key, offsets),
                None => log::warn!("offsets of \"{key}\" belong to no group and are dropped"),
            }
        }
        for (key, offset) in table.lmq_offset_table.unwrap_or_default() {
            if let Some(key) = OffsetKey::parse(&key) {
                self.table.replace(key, [(LMQ_QUEUE_ID, offset)]);
            }
        }
    }

    fn snapshot(&self) -> ConsumerOffsetTable {
        let group_topics = self.table.group_topics().into_iter();
        let mut all = self.table.all();
        let lmqs = self.lmqs.then(|| {
            let of_lmqs = all.extract_if(.., |key, _| is_of_lmq_group(key));
            of_lmqs
                .filter_map(|(key, offsets)| Some((key, offsets.first()?.1)))
                .collect()
        });
        let all = all.into_iter();
        ConsumerOffsetTable {
            data_version: self.version.get(),
            lmq_offset_table: lmqs,
            group_topic_map: group_topics
                .map(|(group, topics)| {
                    (
                        group.to_string(),
                        topics.iter().map(ToString::to_string).collect(),
                    )
                })
                .collect(),
            offset_table: all
                .map(|(key, offsets)| (key, offsets.into_iter().collect::<BTreeMap<_, _>>()))
                .collect(),
        }
    }
}

/// Whether offsets of `topic@group` are of a group that reads light message queues, which have one
/// queue each.
fn is_of_lmq_group(key: &str) -> bool {
    key.split_once(TOPIC_GROUP_SEPARATOR)
        .is_some_and(|(_, group)| names::is_lmq(group))
}

/// Write the table down now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Persist;

/// Brings the offsets to disk.
pub struct OffsetsActor {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
}

impl OffsetsActor {
    fn recover(cell: Arc<ActorCell>, shared: Arc<Shared>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            serde_json::json!({
                "groups": shown.table.len(), "commits": shown.table.commits(),
                "version": shown.version.get().counter,
            })
        });
        Self { cell, shared }
    }

    fn save(&mut self) {
        if !self.shared.table.take_dirty() {
            return;
        }
        self.cell.fail_point("before_save");
        let table = self.shared.snapshot();
        let file = &self.shared.file;
        if !self.cell.write_file(|| lock(file).save(&table)) {
            self.shared.table.mark_dirty();
        }
    }
}

impl Actor for OffsetsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let every = self
            .shared
            .config
            .load()
            .broker
            .flush_consumer_offset_interval_ms;
        let every = Duration::from_millis(u64::try_from(every).unwrap_or(0).max(100));
        ctx.run_interval(every, |act, _| act.save());
    }
}

impl Supervised for OffsetsActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.shared.clone());
        // What was being written may be half on disk.
        self.shared.table.mark_dirty();
    }
}

crashable!(OffsetsActor);

impl Handler<Persist> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, _: Persist, _: &mut Self::Context) {
        self.cell.begin_work();
        self.save();
    }
}

impl Handler<Shutdown> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.save();
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use actix::{Arbiter, System};

    use super::*;
    use crate::{config::test_env, protocol::fastjson, store::fs::RealFs};

    fn start(tree: &Tree, dir: &Path) -> Offsets {
        let settings = [
            ("listenPort", "20911"),
            ("consumerOffsetUpdateVersionStep", "3"),
        ];
        let config = BrokerConfig::load(None, &settings, &test_env(dir)).unwrap();
        let tables = Tables::new(RealFs::shared(), dir.join("config"));
        let arbiter = Arbiter::current();
        Offsets::start(tree, "broker", &arbiter, &tables, Live::new(config)).unwrap()
    }

    #[test]
    fn offsets_come_back_from_disk() {
        System::new().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let tree = Tree::new("t");
            let offsets = start(&tree, dir.path());
            for queue_id in 0..4 {
                offsets.commit("G", "T", queue_id, i64::from(queue_id) * 10);
            }
            offsets.commit("G@broadcast", "T", 0, 5);
            assert_eq!(offsets.version().counter, 1);
            tree.get("broker/offsets").unwrap().arm("before_save");
            offsets.persist().await.unwrap_err();
            offsets.shut_down().await.unwrap();
            let again = start(&Tree::new("t2"), dir.path());
            assert_eq!(again.version(), offsets.version());
            assert_eq!(again.query("G", "T", 3), Some(30));
            let body = fastjson::to_string(&again.snapshot()).unwrap();
            let (_, rest) = body.split_once("},").unwrap();
            assert_eq!(
                rest,
                r#""groupTopicMap":{"G":["T"]},"offsetTable":{"T@G":{0:0,1:10,2:20,3:30},"T@G@broadcast":{0:5}}}"#
            );
        });
    }

    #[test]
    fn a_reset_waits_for_the_next_pull() {
        System::new().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let offsets = start(&Tree::new("t"), dir.path());
            offsets.commit("G", "T", 0, 50);
            offsets.set_pulled("G", "T", 0, 60);
            assert_eq!(offsets.pulled("G", "T", 0), Some(60));
            offsets.reset("G", "T", 0, 10);
            offsets.reset("G", "T", 0, -1);
            assert_eq!(offsets.query("G", "T", 0), Some(10));
            assert_eq!(offsets.take_reset("G", "T", 0), Some(10));
            assert_eq!(offsets.pending_reset("G", "T", 0), None);
            assert_eq!(offsets.query("G", "T", 0), Some(10));
        });
    }
}
