//! Opening a store: what every start does, on a directory of ours or of a Java broker, after a clean
//! stop or a crash.
//!
//! The log is the truth. A valid `tails` snapshot says where the queues stood at some position of
//! the log; without one the queues' own files do, by RocketMQ's procedure. From there on the log is
//! read and handed to queues and index once more, and both drop what they have already.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::protocol::Str;

use super::{
    abort::AbortFile,
    checkpoint::{Checkpoint, CheckpointFile},
    commit_log::{
        CommitLogConfig, CommitLogReader, CommitLogWriter, RecoverFrom, RecoveryMode,
        RecoveryReport,
    },
    consume_queue::{ConsumeQueueError, QueueFileSizes, QueueHomes, TopicQueue},
    deleted_topics::DeletedTopics,
    dispatch::{DispatchRecord, ScannedRecord},
    error::StoreError,
    fs::Fs,
    index::{IndexService, IndexShape, LastExit},
    lock::StoreLock,
    queue_table::{QueueKey, QueueKind, QueueSlot, QueueTable},
    tails::{Anchor, Tails},
};

mod kinds;

/// Queues that are open at the same time while the log is read again.
const OPEN_QUEUES_MAX: usize = 1024;

/// How long a start waits for the store's lock, and how often it tries.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// See [`LOCK_PATIENCE`].
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// The log.
    pub commit_log: CommitLogConfig,
    /// Lengths of the files of queues.
    pub queue_file_sizes: QueueFileSizes,
    /// Shape of index files; `None` with `messageIndexEnable=false`.
    pub index: Option<IndexShape>,
    /// `messageIndexSafe`.
    pub index_safe: bool,
    /// SYNC_MASTER: what the snapshot does not know to have been handed over may be on no slave, and
    /// is not handed over before it is.
    pub holds_back: bool,
    /// Which boot of the machine this is, where that is known: what a killed process wrote is all there
    /// as long as the machine runs on.
    pub boot: Option<String>,
}

impl StoreConfig {
    /// Directory of the files that RocketMQ does not know.
    pub fn own_dir(&self) -> PathBuf {
        self.root.join("callboard")
    }

    /// Our snapshot of the queues' tails.
    pub fn tails_path(&self) -> PathBuf {
        self.own_dir().join("tails")
    }
}

/// An open store.
#[derive(Debug)]
pub struct OpenStore {
    /// Excludes other processes while it lives.
    pub lock: StoreLock,
    /// Marks an unclean end until it is removed.
    pub abort: AbortFile,
    /// RocketMQ's checkpoint.
    pub checkpoint: CheckpointFile,
    /// The page that is on disk.
    pub page: Checkpoint,
    /// Appends to the log.
    pub writer: CommitLogWriter,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// Where queue files live.
    pub homes: QueueHomes,
    /// The index.
    pub index: Option<IndexService>,
    /// The deleted topics.
    pub deleted: DeletedTopics,
    /// The last record that is handed over, where one is known.
    pub last: Option<Anchor>,
    /// Below this position of the log queues and index are complete; what lies behind waits for slaves.
    pub handed_over: i64,
    /// Whether the last run ended with a clean stop.
    pub clean: bool,
    /// Whether all that the last run wrote is there: the machine has not lost power since.
    pub has_all: bool,
    /// What the log's recovery found.
    pub report: RecoveryReport,
    /// How long it took.
    pub took: Duration,
}

impl OpenStore {
    /// Opens the store of `config`; an absent directory becomes an empty store.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another broker works on it, [`StoreError::Corrupt`] for files of
    /// the wrong size, [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(fs: &Fs, config: &StoreConfig) -> Result<Self, StoreError> {
        let begun = Instant::now();
        let made = |e| StoreError::io("create", &config.root, e);
        fs.create_dir_all(&config.own_dir()).map_err(made)?;
        let lock = acquire(fs, config)?;
        let abort = AbortFile::new(fs, &config.root.join("abort"));
        let clean = !abort.exists();
        let same_boot = config.boot.is_some() && abort.boot() == config.boot;
        // After a power loss the boot is noted when all was checked: this start may be killed, too.
        let has_all = clean || same_boot;
        let boot = config.boot.as_deref();
        abort.create(std::process::id(), boot.filter(|_| has_all))?;
        let checkpoint_path = config.root.join("checkpoint");
        let on_disk = CheckpointFile::peek(fs, &checkpoint_path)?;
        let tails = Tails::load(fs, &config.tails_path(), on_disk.as_ref());
        let (checkpoint, page) = CheckpointFile::open(fs, &checkpoint_path)?;

        let homes = QueueHomes::new(fs, &config.root, config.queue_file_sizes);
        homes.set_open_files_max(open_files_limit() / 2);
        let table = Arc::new(QueueTable::new());
        let anew = kinds::learn(fs, &config.root, &homes, &table)?;
        let mut queues_max = None;
        if tails.is_none() {
            queues_max = load_queues(&homes, &table)?;
        }
        let from = RecoverFrom {
            clean,
            checkpoint: on_disk,
            queues_max_offset: queues_max,
            index_safe: config.index_safe,
            snapshot: tails.as_ref().map(|tails| tails.anchor),
        };
        let (writer, report) = CommitLogWriter::recover(fs, config.commit_log.clone(), &from)?;
        let handed_over = match &tails {
            Some(tails) if config.holds_back => tails.anchor.log_end.min(report.end),
            _ => report.end,
        };
        match tails {
            Some(tails) if report.mode == RecoveryMode::Snapshot => adopt(&table, &tails),
            Some(_) => {
                load_queues(&homes, &table)?;
            }
            None => {}
        }
        let safe_timestamp = page.index_msg_timestamp;
        let last_exit = match (clean, same_boot) {
            (true, _) => LastExit::Clean,
            (false, true) => LastExit::Killed { safe_timestamp },
            (false, false) => LastExit::Crashed { safe_timestamp },
        };
        let mut index = open_index(fs, config, last_exit)?;
        if let Some(index) = &mut index {
            index.truncate_above(report.end)?;
        }
        let deleted = DeletedTopics::load(fs, &config.own_dir().join("deleted_topics"));
        drop_deleted(&homes, &table, &deleted)?;
        let log = writer.reader();
        let mut redispatch = Redispatch {
            table: &table,
            homes: &homes,
            log: &log,
            deleted: &deleted,
            index,
            open: HashMap::new(),
            broken: HashSet::new(),
            anew,
            last: None,
            handed_over,
            held_back: HashMap::new(),
        };
        redispatch.run(&report)?;
        let (index, last) = (redispatch.index.take(), redispatch.last);
        for slot in table.slots() {
            slot.set_complete_upto(handed_over);
        }
        if boot.is_some() && !has_all {
            abort.create(std::process::id(), boot)?;
        }
        let took = begun.elapsed();
        log::info!(
            "store opened clean={clean} mode={:?} scan_from={} end={} queues={} took_ms={}",
            report.mode,
            report.scan_from,
            report.end,
            table.len(),
            took.as_millis()
        );
        Ok(Self {
            lock,
            abort,
            checkpoint,
            page,
            writer,
            table,
            homes,
            index,
            deleted,
            last,
            handed_over,
            clean,
            has_all,
            report,
            took,
        })
    }
}

/// Files that this process may open.
fn open_files_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Takes the store's lock. A broker that was killed a moment ago may not have let go of it yet.
fn acquire(fs: &Fs, config: &StoreConfig) -> Result<StoreLock, StoreError> {
    let path = config.root.join("lock");
    let begun = Instant::now();
    loop {
        match StoreLock::acquire(fs, &path) {
            Err(StoreError::Locked { .. }) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
            }
            taken => return taken,
        }
    }
}

/// Learns the queues' ends from their files (RocketMQ's procedure). Returns the largest physical
/// offset that any of them knows.
fn load_queues(homes: &QueueHomes, table: &QueueTable) -> Result<Option<i64>, StoreError> {
    let begun = Instant::now();
    let mut largest = None;
    let queues = homes.list()?;
    for (topic, queue_id, kind) in &queues {
        let queue = TopicQueue::recover(homes, *kind, topic.clone(), *queue_id)?;
        let slot = table.get_or_create(topic, *queue_id);
        publish(&slot, &queue);
        if queue.last_physical_offset() >= 0 {
            largest = largest.max(Some(queue.last_physical_offset()));
        }
    }
    log::info!(
        "store read queues={} took_ms={}",
        queues.len(),
        begun.elapsed().as_millis()
    );
    Ok(largest)
}

/// Drops queues of deleted topics that a process was killed with: their files may have outlived
/// them, or the snapshot that knew them. A queue of a new topic of that name ends behind.
fn drop_deleted(
    homes: &QueueHomes,
    table: &QueueTable,
    deleted: &DeletedTopics,
) -> Result<(), StoreError> {
    let positions: HashMap<&str, i64> = deleted.positions().collect();
    if positions.is_empty() {
        return Ok(());
    }
    for slot in table.slots() {
        let deleted_at = positions.get(&*slot.key.topic);
        if deleted_at.is_some_and(|&at| slot.last_physical() <= at) {
            table.remove(&slot);
        }
    }
    for (topic, deleted_at) in positions {
        for (queue_id, kind) in homes.list_of(topic)? {
            if table.get(topic, queue_id).is_some() {
                continue;
            }
            let mut queue = TopicQueue::recover(homes, kind, topic.into(), queue_id)?;
            // Files of a queue that was born after the snapshot are another matter.
            if queue.last_physical_offset() <= deleted_at {
                log::info!("store drops a queue of a deleted topic queue={topic}/{queue_id}");
                queue.destroy()?;
            }
        }
    }
    Ok(())
}

fn publish(slot: &QueueSlot, queue: &TopicQueue) {
    slot.set_next_offset(queue.max_offset());
    slot.set_readable_end(queue.max_offset());
    slot.set_min_offset(queue.min_offset());
    slot.set_last_physical(queue.last_physical_offset());
}

/// Takes the queues' ends from a snapshot.
fn adopt(table: &QueueTable, tails: &Tails) {
    for tail in &tails.queues {
        let slot = table.get_or_create(&tail.topic, tail.queue_id);
        slot.set_next_offset(tail.next_offset);
        slot.set_readable_end(tail.next_offset);
        slot.set_last_physical(tail.last_physical_offset);
    }
}

fn open_index(
    fs: &Fs,
    config: &StoreConfig,
    last_exit: LastExit,
) -> Result<Option<IndexService>, StoreError> {
    let Some(shape) = config.index else {
        return Ok(None);
    };
    IndexService::recover(fs.clone(), config.root.join("index"), shape, last_exit).map(Some)
}

/// Reads the log again and hands its records to queues and index.
struct Redispatch<'a> {
    table: &'a QueueTable,
    homes: &'a QueueHomes,
    log: &'a CommitLogReader,
    deleted: &'a DeletedTopics,
    index: Option<IndexService>,
    open: HashMap<u64, (Arc<QueueSlot>, TopicQueue)>,
    /// Queues whose files lack entries below where the log is read from.
    broken: HashSet<u64>,
    /// Topics whose queues have no files of the right kind.
    anew: HashSet<Str>,
    last: Option<Anchor>,
    /// What lies behind is not handed over yet: it gives queues their next offsets only.
    handed_over: i64,
    /// Those next offsets.
    held_back: HashMap<u64, (Arc<QueueSlot>, i64)>,
}

impl Redispatch<'_> {
    fn run(&mut self, report: &RecoveryReport) -> Result<(), StoreError> {
        for slot in self.table.slots() {
            if self.anew.contains(&slot.key.topic) {
                self.broken.insert(slot.generation);
            }
        }
        self.cut_queues(report)?;
        let from = report.scan_from.max(report.min_offset);
        let index_from = self.index.as_ref().map(IndexService::last_physical_offset);
        let index_from = index_from
            .filter(|&at| at >= report.min_offset)
            .unwrap_or(from);
        for scanned in self.log.scan(index_from.min(from), report.end) {
            let ScannedRecord { key, record } = scanned?;
            if record.physical_offset >= self.handed_over {
                self.hold_back(&key, &record);
                continue;
            }
            self.last = Some(Anchor {
                log_end: record.end(),
                last_record: Some(record.physical_offset),
                last_store_timestamp: record.store_timestamp,
            });
            if self.deleted.covers(&key.topic, record.physical_offset) {
                continue;
            }
            if let Some(index) = &mut self.index {
                let (at, time) = (record.physical_offset, record.store_timestamp);
                index.put_record(at, time, &record.index_keys)?;
            }
            if record.physical_offset >= from && record.in_queue() {
                let slot = self.table.slot_for(&key, &record, 0);
                self.append(&slot, &record)?;
            }
        }
        self.close_queues()?;
        self.rebuild(report)?;
        for (slot, next_offset) in self.held_back.values() {
            slot.raise_next_offset(*next_offset);
        }
        Ok(())
    }

    fn hold_back(&mut self, key: &QueueKey, record: &DispatchRecord) {
        if !record.in_queue() || self.deleted.covers(&key.topic, record.physical_offset) {
            return;
        }
        let slot = self.table.slot_for(key, record, 0);
        let next = record.queue_offset + slot.offsets_of(record);
        let held = self.held_back.entry(slot.generation);
        let held = held.or_insert_with(|| (slot, next));
        held.1 = held.1.max(next);
    }

    /// Takes entries out of the queues that point behind the log's end. Only RocketMQ's procedure
    /// can find such: a snapshot's queues end where the log did.
    fn cut_queues(&mut self, report: &RecoveryReport) -> Result<(), StoreError> {
        for slot in self.table.slots() {
            let beyond = slot.last_physical() > report.end;
            let before = report.mode != RecoveryMode::Snapshot && report.min_offset > 0;
            if !beyond && !before {
                continue;
            }
            let mut queue = self.queue_of(&slot)?;
            queue.truncate_above(report.end)?;
            queue.correct_min_offset(report.min_offset)?;
            publish(&slot, &queue);
        }
        Ok(())
    }

    fn queue_of(&self, slot: &QueueSlot) -> Result<TopicQueue, StoreError> {
        TopicQueue::resume(self.homes, slot)
    }

    fn append(&mut self, slot: &Arc<QueueSlot>, record: &DispatchRecord) -> Result<(), StoreError> {
        let id = slot.generation;
        if self.broken.contains(&id) {
            return Ok(());
        }
        if !self.open.contains_key(&id) {
            if self.anew.contains(&slot.key.topic) {
                self.broken.insert(id);
                return Ok(());
            }
            if self.open.len() >= OPEN_QUEUES_MAX {
                self.close_queues()?;
            }
            let queue = self.queue_of(slot)?;
            self.open.insert(id, (Arc::clone(slot), queue));
        }
        let Some((_, queue)) = self.open.get_mut(&id) else {
            return Ok(());
        };
        if queue.kind() != slot.kind() {
            // The log was the first to tell of which kind its topic is.
            self.broken.insert(id);
            self.open.remove(&id);
            return Ok(());
        }
        match queue.append(record) {
            Ok(()) => {}
            Err(ConsumeQueueError::Gap { .. }) => {
                self.broken.insert(id);
                self.open.remove(&id);
                return Ok(());
            }
            Err(ConsumeQueueError::Store(error)) => return Err(error),
        }
        if queue.needs_flush() {
            queue.flush()?;
        }
        Ok(())
    }

    fn close_queues(&mut self) -> Result<(), StoreError> {
        for (_, (slot, mut queue)) in self.open.drain() {
            queue.flush()?;
            publish(&slot, &queue);
        }
        Ok(())
    }

    /// Makes queues that lack entries in their middle anew, out of the whole log.
    fn rebuild(&mut self, report: &RecoveryReport) -> Result<(), StoreError> {
        let broken = std::mem::take(&mut self.broken);
        self.anew.clear();
        if broken.is_empty() {
            return Ok(());
        }
        log::warn!(
            "store builds queues anew out of the whole log queues={}",
            broken.len()
        );
        for slot in self
            .table
            .slots()
            .iter()
            .filter(|slot| broken.contains(&slot.generation))
        {
            for kind in QueueKind::ALL {
                let (home, key) = (self.homes.of(kind), &slot.key);
                home.remove_queue(&key.topic, key.queue_id)?;
            }
            slot.set_next_offset(0);
            slot.set_readable_end(0);
            slot.set_last_physical(-1);
        }
        for scanned in self.log.scan(report.min_offset, self.handed_over) {
            let ScannedRecord { key, record } = scanned?;
            let slot = self.table.get_or_create(&key.topic, key.queue_id);
            let wanted = broken.contains(&slot.generation) && record.in_queue();
            if wanted && !self.deleted.covers(&key.topic, record.physical_offset) {
                self.append(&slot, &record)?;
            }
        }
        self.close_queues()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        commit_log::testing::Place,
        fs::fault::{Call, Fault, FaultFs},
    };

    /// A start behind a power loss that ends before all was checked is followed by one that checks all.
    #[test]
    fn the_boot_is_noted_when_all_was_checked() {
        let place = Place::new();
        let (fs, faults) = FaultFs::wrap(place.fs.clone());
        let root = place.dir.path().to_path_buf();
        let abort = AbortFile::new(&fs, &root.join("abort"));
        let open = |boot: &str| {
            let config = StoreConfig {
                root: root.clone(),
                commit_log: place.config(),
                queue_file_sizes: QueueFileSizes {
                    simple: 6000,
                    batch: 4600,
                    extensions: None,
                },
                index: Some(IndexShape::new(10, 100)),
                index_safe: false,
                holds_back: false,
                boot: Some(boot.to_owned()),
            };
            OpenStore::open(&fs, &config).map(|open| open.clean)
        };
        assert!(open("one").unwrap());
        assert_eq!(abort.boot().as_deref(), Some("one"));
        let mut failed = 0;
        for after in 0.. {
            faults.arm(Fault {
                kind: Some(Call::ReadDir),
                after,
                times: 1,
                errno: libc::EIO,
            });
            match open("two") {
                Ok(clean) => {
                    assert!(!clean);
                    break;
                }
                Err(_) => assert_eq!(abort.boot(), None),
            }
            failed += 1;
        }
        assert!(failed > 0);
        assert_eq!(abort.boot().as_deref(), Some("two"));
    }
}
