//! Starting and stopping the store's actors.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicI64},
    time::Duration,
};

use super::{
    acks::{Acks, WaitFor},
    arrivals::Arrivals,
    checkpoint::{CheckpointParts, Checkpointer, HandOverMarks},
    cold_reader::ColdReader,
    commit_log_writer::{CommitLogWriter, WriterParts},
    compaction::Compactions,
    dispatcher::{Dispatcher, DispatcherParts},
    far_reader::FarReader,
    flush::{FlushActor, FlushParts, FlushPolicy, FlushWake},
    index::{IndexActor, IndexMarks, IndexParts},
    queue::QueueParts,
    queues::QueueShards,
    rescan::Rescan,
    retention::{Retention, RetentionParts, RetentionPolicy},
    shard::{Shard, ShardParts},
    watermarks::{VisibleWhen, Watermarks},
};
use crate::{
    actors::{
        broker::stats::Stats,
        kernel::{
            ActorCell, ActorRef, Crash, Role, Shutdown, TellRef, Threads, Tree, shutdown_in_order,
            spawn,
        },
    },
    config::Derived,
    filter::bloom::BitMaps,
    store::{
        abort::AbortFile,
        commit_log::ColdBlocks,
        consume_queue::QueueHomes,
        deleted_topics::DeletedTopics,
        fs::Fs,
        get_message::GetLimits,
        index::{IndexService, LastExit},
        lock::StoreLock,
        open::{OpenStore, StoreConfig},
        queue_table::QueueTable,
        tails::Anchor,
    },
};

/// Where the store's actors stand in the tree.
const PATH: &str = "broker/store";

/// How the store's actors behave.
#[derive(Clone)]
pub struct StoreSettings {
    /// Files.
    pub store: StoreConfig,
    /// What answers wait for.
    pub wait_for: Derived<WaitFor>,
    /// What readers wait for.
    pub visible_when: VisibleWhen,
    /// Whether this is a slave, whose log takes its master's bytes and nothing else.
    pub follows: bool,
    /// When the log is flushed.
    pub flush: Derived<FlushPolicy>,
    /// Limits of pulls.
    pub limits: Derived<GetLimits>,
    /// What is deleted when.
    pub retention: Derived<RetentionPolicy>,
    /// How often queue and index files are synced.
    pub sync_every: Derived<Duration>,
    /// How often the files for the next start are written while the log grows.
    pub tails_every: Duration,
    /// After how long without work a queue sleeps.
    pub queue_sleep: Duration,
}

/// The running store.
pub struct StoreActors {
    /// Positions.
    pub watermarks: Watermarks,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// Their actors.
    pub shards: QueueShards,
    /// The index.
    pub index: Option<ActorRef<IndexActor>>,
    /// Positions of the index.
    pub index_marks: Arc<IndexMarks>,
    /// The one who appends.
    pub writer: ActorRef<CommitLogWriter>,
    /// Holds the answers that wait.
    pub acks: ActorRef<Acks>,
    /// Hands over what became visible.
    pub dispatcher: ActorRef<Dispatcher>,
    /// Deletes old files.
    pub retention: ActorRef<Retention>,
    /// Where the queues' files live.
    pub homes: QueueHomes,
    /// To be set to what makes the bit maps of extensions.
    pub bit_maps: Arc<OnceLock<Arc<dyn BitMaps>>>,
    /// The deleted topics.
    pub deleted: Arc<Mutex<DeletedTopics>>,
    /// Who hears of messages of whole topics.
    pub arrivals: Arrivals,
    /// The queues of compaction topics.
    pub compactions: Compactions,
    steps: Vec<TellRef<Shutdown>>,
    abort: AbortFile,
    _lock: StoreLock,
}

impl StoreActors {
    /// Starts the actors of an open store.
    pub fn start(
        tree: &Tree,
        threads: &Threads,
        fs: &Fs,
        settings: StoreSettings,
        open: OpenStore,
        stats: Stats,
    ) -> Self {
        let log = open.writer.reader();
        let watermarks = Watermarks::new(log.clone(), settings.visible_when, open.handed_over);
        if settings.follows {
            watermarks.set_whole(log.end());
        }
        let start = Starter {
            tree,
            threads,
            watermarks,
            table: Arc::clone(&open.table),
        };
        start.all(fs, settings, open, stats)
    }

    /// Ends the actors in order: take no more, flush, hand over, write everything down. The `abort`
    /// file goes only if all of them, and everybody before them (`clean`), ended well.
    pub async fn shutdown(&self, deadline: Duration, clean: bool) {
        let failed = shutdown_in_order(&self.steps, deadline).await;
        if !clean || !failed.is_empty() {
            return;
        }
        if let Err(error) = self.abort.remove() {
            log::warn!("{PATH} leaves its abort file: {error}");
        }
    }
}

struct Starter<'a> {
    tree: &'a Tree,
    threads: &'a Threads,
    watermarks: Watermarks,
    table: Arc<QueueTable>,
}

impl Starter<'_> {
    fn all(&self, fs: &Fs, settings: StoreSettings, open: OpenStore, stats: Stats) -> StoreActors {
        let end = open.handed_over;
        let rescan = Rescan::new(self.watermarks.log().clone());
        let shards = QueueShards::default();
        let index_marks = Arc::new(IndexMarks::default());
        index_marks
            .taken
            .store(end, std::sync::atomic::Ordering::Release);
        let marks = HandOverMarks::default();
        if let Some(last) = open.last {
            marks.push(Anchor {
                log_end: end,
                ..last
            });
        }

        let deleted = Arc::new(Mutex::new(open.deleted));
        let cold_blocks = ColdBlocks::new(self.watermarks.log().clone());
        let cold_reader = self.cold_reader(shards.clone(), cold_blocks.clone());
        let arrivals = Arrivals::default();
        let bit_maps = Arc::default();
        let compactions = Compactions::default();
        let queues = Arc::new(QueueParts {
            homes: open.homes.clone(),
            watermarks: self.watermarks.clone(),
            limits: settings.limits.clone(),
            stats: stats.clone(),
            rescan: rescan.clone(),
            deleted: Arc::clone(&deleted),
            cold_reader: cold_reader.clone(),
            cold_blocks,
            arrivals: arrivals.clone(),
            bit_maps: Arc::clone(&bit_maps),
            compactions: compactions.clone(),
        });
        let (complete, far_readers) = self.shards(&shards, queues, end, settings.queue_sleep);
        let index = self.index(fs, &settings, open.index, &rescan, &index_marks);
        let dispatcher = self.dispatcher(&shards, index.clone(), &marks, &rescan);
        let acks = self.acks(settings.wait_for.clone());
        let wake = FlushWake::default();
        let flush = self.flush(settings.flush.clone(), &wake, &acks, &dispatcher);
        let writer_parts = WriterParts {
            watermarks: self.watermarks.clone(),
            table: Arc::clone(&self.table),
            holds_answers: settings.wait_for.load().anything(),
            follows: settings.follows,
            deleted: Arc::clone(&deleted),
            dispatcher: dispatcher.clone(),
            acks: acks.clone(),
            flush: flush.clone(),
            flush_wake: wake,
            flush_policy: settings.flush,
            stats,
        };
        let writer = self.writer(writer_parts, open.writer);
        let checkpointer = self.checkpointer(CheckpointParts {
            watermarks: self.watermarks.clone(),
            table: Arc::clone(&self.table),
            shards: complete,
            index: index.as_ref().map(|_| Arc::clone(&index_marks)),
            marks,
            checkpoint: Arc::new(open.checkpoint),
            page: open.page,
            fs: fs.clone(),
            root: settings.store.root.clone(),
            tails_path: settings.store.tails_path(),
            write_every: settings.tails_every,
            sync_every: settings.sync_every,
        });
        let retention = self.retention(RetentionParts {
            watermarks: self.watermarks.clone(),
            preparer: Arc::new(self.watermarks.log().preparer()),
            shards: shards.clone(),
            index: index.clone(),
            fs: fs.clone(),
            log_dir: settings
                .store
                .commit_log
                .dirs
                .first()
                .cloned()
                .unwrap_or_else(PathBuf::new),
            policy: settings.retention,
        });

        let mut steps = vec![
            retention.narrow(),
            writer.narrow(),
            flush.narrow(),
            acks.narrow(),
        ];
        steps.push(dispatcher.narrow());
        steps.push(cold_reader.narrow());
        steps.extend(shards.all().iter().map(ActorRef::narrow));
        steps.extend(far_readers.iter().map(ActorRef::narrow));
        steps.extend(index.iter().map(ActorRef::narrow));
        steps.push(checkpointer.narrow());
        StoreActors {
            watermarks: self.watermarks.clone(),
            table: Arc::clone(&self.table),
            shards,
            index,
            index_marks,
            writer,
            acks,
            dispatcher,
            retention,
            homes: open.homes,
            bit_maps,
            deleted,
            arrivals,
            compactions,
            steps,
            abort: open.abort,
            _lock: open.lock,
        }
    }

    fn spawn<A>(
        &self,
        name: &str,
        kind: &'static str,
        role: Role,
        make: impl FnOnce(Arc<ActorCell>) -> A + Send + 'static,
    ) -> ActorRef<A>
    where
        A: actix::Actor<Context = actix::Context<A>> + actix::Supervised + actix::Handler<Crash>,
    {
        let policy = self.tree.restart_policy().without_backoff();
        spawn(
            self.tree,
            PATH,
            name,
            kind,
            &self.threads.get(role),
            policy,
            make,
        )
    }

    fn cold_reader(&self, shards: QueueShards, blocks: ColdBlocks) -> ActorRef<ColdReader> {
        let log = self.watermarks.log().clone();
        self.spawn("cold_reader", "cold_reader", Role::Cold, move |cell| {
            ColdReader::recover(cell, log, shards, blocks)
        })
    }

    fn far_reader(&self, shard: usize, queues: Arc<QueueParts>) -> ActorRef<FarReader> {
        let name = format!("far_readers/{shard}");
        self.spawn(&name, "far_reader", Role::Shard(shard), move |cell| {
            FarReader::recover(cell, queues)
        })
    }

    /// Starts the shards, with a far reader each; returns the shards' published positions, and those
    /// readers.
    fn shards(
        &self,
        shards: &QueueShards,
        queues: Arc<QueueParts>,
        end: i64,
        sleep_after: Duration,
    ) -> (Vec<Arc<AtomicI64>>, Vec<ActorRef<FarReader>>) {
        let count = self.threads.shard_count();
        let complete: Vec<_> = (0..count).map(|_| Arc::new(AtomicI64::new(end))).collect();
        let far_readers: Vec<_> = (0..count)
            .map(|id| self.far_reader(id, Arc::clone(&queues)))
            .collect();
        let both = complete.iter().zip(&far_readers).enumerate();
        let started = both.map(|(id, (complete, far_reader))| {
            let parts = ShardParts {
                tree: self.tree.clone(),
                id,
                shards: count,
                table: Arc::clone(&self.table),
                queues: Arc::clone(&queues),
                far_reader: far_reader.narrow(),
                sleep_after,
                arbiter: self.threads.get(Role::Shard(id)),
                complete: Arc::clone(complete),
            };
            let name = format!("queues/{id}");
            self.spawn(&name, "shard", Role::Shard(id), move |cell| {
                Shard::recover(cell, parts)
            })
        });
        shards.set(started.collect());
        (complete, far_readers)
    }

    fn index(
        &self,
        fs: &Fs,
        settings: &StoreSettings,
        files: Option<IndexService>,
        rescan: &Rescan,
        marks: &Arc<IndexMarks>,
    ) -> Option<ActorRef<IndexActor>> {
        let (shape, dir) = (settings.store.index?, settings.store.root.join("index"));
        let fs = fs.clone();
        let parts = IndexParts {
            // Within one process the files are whole: every put goes straight into them.
            open: Arc::new(move || {
                IndexService::recover(fs.clone(), dir.clone(), shape, LastExit::Clean)
            }),
            marks: Arc::clone(marks),
            watermarks: self.watermarks.clone(),
            rescan: rescan.clone(),
            table: Arc::clone(&self.table),
        };
        Some(self.spawn("index", "index", Role::Log, move |cell| {
            IndexActor::recover(cell, parts, files)
        }))
    }

    fn dispatcher(
        &self,
        shards: &QueueShards,
        index: Option<ActorRef<IndexActor>>,
        marks: &HandOverMarks,
        rescan: &Rescan,
    ) -> ActorRef<Dispatcher> {
        let parts = DispatcherParts {
            watermarks: self.watermarks.clone(),
            table: Arc::clone(&self.table),
            shards: shards.clone(),
            index,
            marks: marks.clone(),
            rescan: rescan.clone(),
        };
        self.spawn("dispatcher", "dispatcher", Role::Log, move |cell| {
            Dispatcher::recover(cell, parts)
        })
    }

    fn acks(&self, wait_for: Derived<WaitFor>) -> ActorRef<Acks> {
        let watermarks = self.watermarks.clone();
        self.spawn("acks", "acks", Role::Log, move |cell| {
            Acks::recover(cell, watermarks, wait_for)
        })
    }

    fn flush(
        &self,
        policy: Derived<FlushPolicy>,
        wake: &FlushWake,
        acks: &ActorRef<Acks>,
        dispatcher: &ActorRef<Dispatcher>,
    ) -> ActorRef<FlushActor> {
        let parts = FlushParts {
            watermarks: self.watermarks.clone(),
            policy,
            wake: wake.clone(),
            acks: acks.narrow(),
            dispatcher: dispatcher.narrow(),
            passes: Arc::default(),
        };
        self.spawn("flush", "flush", Role::Flush, move |cell| {
            FlushActor::recover(cell, parts)
        })
    }

    fn writer(
        &self,
        parts: WriterParts,
        files: crate::store::commit_log::CommitLogWriter,
    ) -> ActorRef<CommitLogWriter> {
        self.spawn(
            "commit_log_writer",
            "commit_log_writer",
            Role::Log,
            move |cell| CommitLogWriter::recover(cell, parts, Some(files)),
        )
    }

    fn checkpointer(&self, parts: CheckpointParts) -> ActorRef<Checkpointer> {
        self.spawn("checkpoint", "checkpoint", Role::Cold, move |cell| {
            Checkpointer::recover(cell, parts)
        })
    }

    fn retention(&self, parts: RetentionParts) -> ActorRef<Retention> {
        self.spawn("retention", "retention", Role::Cold, move |cell| {
            Retention::recover(cell, parts)
        })
    }
}
