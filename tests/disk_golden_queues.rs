//! Our queues, index and tables read what the real RocketMQ 5.4.0 wrote, entry by entry, and from
//! its commit log write the same bytes.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use callboard::{
    protocol::{Str, java::IndexKeyHash},
    store::{
        ScannedRecord,
        commit_log::{CommitLogConfig, CommitLogWriter, RecoverFrom},
        consume_queue::{Boundary, ConsumeQueue, Entry, QueueHome, list_queues},
        fs::{FileSystem, RealFs},
        index::{IndexService, IndexShape, LastExit},
        tables::{ConfigFile, Tables},
    },
};
use serde_json::Value;

/// Sizes that the golden stores were made with.
const SEGMENT_LEN: u64 = 65536;
const QUEUE_FILE_LEN: u64 = 2000;

fn shape() -> IndexShape {
    IndexShape::new(100, 400)
}

fn int(value: &Value, name: &str) -> i64 {
    let number = value.get(name).and_then(Value::as_i64);
    number.unwrap_or_else(|| panic!("no number {name} in {value}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

/// Runs a check with each golden store, unpacked.
fn with_each_store(check: impl Fn(&Value, &Path)) {
    let Some(folder) = support::golden_stores() else {
        return;
    };
    let stores = support::golden_index(&folder);
    assert!(!stores.is_empty());
    for golden in &stores {
        let place = tempfile::tempdir().expect("a folder");
        let root = support::unpack(&folder, text(golden, "file"), place.path());
        check(golden, &root);
    }
}

fn messages(golden: &Value) -> &Vec<Value> {
    golden["messages"].as_array().expect("messages")
}

/// All records of the store's commit log.
fn scan(root: &Path) -> Vec<ScannedRecord> {
    let config = CommitLogConfig {
        segment_len: SEGMENT_LEN,
        ..CommitLogConfig::new(root.join("commitlog"))
    };
    let from = RecoverFrom::default();
    let (writer, _) = CommitLogWriter::recover(&RealFs::shared(), config, &from).expect("a log");
    let reader = writer.reader();
    let found: Result<Vec<_>, _> = reader.scan(0, reader.end()).collect();
    found.expect("a whole log")
}

fn home(root: &Path) -> Arc<QueueHome> {
    QueueHome::new(RealFs::shared(), root.join("consumequeue"), QUEUE_FILE_LEN)
}

fn open(home: &Arc<QueueHome>, name: &str) -> ConsumeQueue {
    let (topic, queue_id) = name.rsplit_once('/').expect("topic/queue");
    let queue_id = queue_id.parse().expect("a number");
    ConsumeQueue::recover(Arc::clone(home), Str::from(topic), queue_id).expect("a queue")
}

/// Contents of the files below a folder, by path below it.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in RealFs.read_dir(&folder).expect("a folder") {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                folders.push(path);
            } else {
                let content = fs::read(&path).expect("readable");
                let below = path.strip_prefix(root).expect("below the root");
                files.insert(below.to_path_buf(), content);
            }
        }
    }
    files
}

#[test]
fn every_entry_of_every_queue_is_read() {
    with_each_store(|golden, root| {
        let home = home(root);
        let queues = golden["queues"].as_object().expect("queues");
        let listed = list_queues(&RealFs, home.root()).expect("listed");
        let listed: Vec<_> = listed.iter().map(|(t, q)| format!("{t}/{q}")).collect();
        assert_eq!(listed.len(), queues.len());
        for name in listed {
            let expected = queues
                .get(&name)
                .unwrap_or_else(|| panic!("no queue {name}"));
            let mut queue = open(&home, &name);
            queue
                .correct_min_offset(int(golden, "commitLogMinOffset"))
                .expect("corrected");
            assert_eq!(queue.min_offset(), int(expected, "minOffset"), "{name}");
            assert_eq!(queue.max_offset(), int(expected, "maxOffset"), "{name}");
            let entries = queue.get(queue.min_offset(), usize::MAX).expect("entries");
            assert_eq!(entries.len() as i64, int(expected, "entries"), "{name}");
        }
        let mut times = BTreeMap::new();
        for message in messages(golden) {
            times.insert(int(message, "phys"), int(message, "storeTimestamp"));
            // Neither half nor rolled back messages are in a queue.
            if int(message, "sysFlag") & 0xC != 0 && int(message, "sysFlag") & 0xC != 0x8 {
                continue;
            }
            let name = format!("{}/{}", text(message, "topic"), int(message, "queueId"));
            let mut queue = open(&home, &name);
            let entry = queue.get(int(message, "queueOffset"), 1).expect("an entry")[0];
            assert_eq!(entry.physical_offset, int(message, "phys"), "{name}");
            assert_eq!(i64::from(entry.size), int(message, "size"), "{name}");
        }
        search_by_time(
            &mut open(&home, queues.keys().next().expect("a queue")),
            &times,
        );
        let longest = queues
            .iter()
            .max_by_key(|(_, q)| int(q, "entries"))
            .expect("a queue");
        search_by_time(&mut open(&home, longest.0), &times);
    });
}

/// Each time of a message is found at both ends of the messages with that time.
fn search_by_time(queue: &mut ConsumeQueue, times: &BTreeMap<i64, i64>) {
    let entries = queue.get(queue.min_offset(), usize::MAX).expect("entries");
    let time = |entry: Entry| times.get(&entry.physical_offset).copied();
    let all: Vec<_> = entries.iter().map(|e| time(*e).expect("a time")).collect();
    for t in &all {
        let lower = queue
            .offset_by_time(*t, Boundary::Lower, time)
            .expect("found");
        assert_eq!(
            lower as usize,
            all.iter().position(|x| x == t).expect("there")
        );
        let upper = queue
            .offset_by_time(*t, Boundary::Upper, time)
            .expect("found");
        assert_eq!(
            upper as usize,
            all.iter().rposition(|x| x == t).expect("there")
        );
    }
}

/// Queues made from the commit log have the files that the real broker wrote, byte for byte.
#[test]
fn queues_made_from_the_log_are_those_of_the_broker() {
    with_each_store(|_, root| {
        let theirs = tree(&root.join("consumequeue"));
        let place = tempfile::tempdir().expect("a folder");
        let ours = home(place.path());
        let mut queues = BTreeMap::new();
        for ScannedRecord { key, record } in scan(root) {
            if record.in_queue() {
                let queue = queues
                    .entry((key.topic.clone(), key.queue_id))
                    .or_insert_with(|| open(&ours, &key.to_string()));
                let entry = Entry {
                    physical_offset: record.physical_offset,
                    size: record.size,
                    tags_code: record.tags_code,
                };
                queue
                    .append(record.queue_offset, &[entry])
                    .expect("in order");
            }
        }
        for queue in queues.values_mut() {
            queue.sync().expect("synced");
        }
        assert_eq!(tree(ours.root()), theirs);
        // Opening the broker's own files changes nothing in them.
        let opened = home(root);
        for name in queues.keys() {
            drop(open(&opened, &format!("{}/{}", name.0, name.1)));
        }
        assert_eq!(tree(opened.root()), theirs);
    });
}

fn recover_index(dir: &Path, last_exit: LastExit) -> IndexService {
    IndexService::recover(RealFs::shared(), dir, shape(), last_exit).expect("an index")
}

fn dispatch(index: &mut IndexService, records: &[ScannedRecord]) {
    for ScannedRecord { record, .. } in records {
        let (at, time) = (record.physical_offset, record.store_timestamp);
        index.put_record(at, time, &record.index_keys).expect("put");
    }
}

fn find_all(index: &IndexService, golden: &Value) {
    let find = |hash| index.query(hash, usize::MAX, 0, i64::MAX).physical_offsets;
    for message in messages(golden) {
        let topic = text(message, "topic");
        let at = int(message, "phys");
        let mut hashes = Vec::new();
        for key in text(message, "keys").split(' ').filter(|k| !k.is_empty()) {
            hashes.push(IndexKeyHash::of(topic).key(key));
        }
        if !text(message, "msgId").is_empty() {
            hashes.push(IndexKeyHash::of(topic).key(text(message, "msgId")));
        }
        if !text(message, "tags").is_empty() {
            hashes.push(IndexKeyHash::of(topic).tags(text(message, "tags")));
        }
        if int(message, "sysFlag") & 0xC == 0xC {
            continue;
        }
        for hash in hashes {
            assert!(find(hash).contains(&at), "{hash} at {at} in {topic}");
        }
    }
}

#[test]
fn every_key_of_the_index_is_found() {
    with_each_store(|golden, root| {
        let index = recover_index(&root.join("index"), LastExit::Clean);
        let files = golden["indexFiles"].as_array().expect("index files");
        assert_eq!(index.headers().len(), files.len());
        for (header, file) in index.headers().zip(files) {
            assert_eq!(header.begin_timestamp, int(file, "beginTimestamp"));
            assert_eq!(header.end_timestamp, int(file, "endTimestamp"));
            assert_eq!(header.begin_physical, int(file, "beginPhyOffset"));
            assert_eq!(header.end_physical, int(file, "endPhyOffset"));
            assert_eq!(
                i64::from(header.hash_slot_count),
                int(file, "hashSlotCount")
            );
            assert_eq!(i64::from(header.index_count), int(file, "indexCount"));
            let kinds = file["entriesByKind"].as_object().expect("kinds");
            let entries: i64 = kinds.values().filter_map(Value::as_i64).sum();
            assert_eq!(i64::from(header.index_count) - 1, entries);
        }
        let last = files.last().expect("a file");
        assert_eq!(index.last_physical_offset(), int(last, "endPhyOffset"));
        find_all(&index, golden);
    });
}

/// An index made from the commit log has the files that the real broker wrote, byte for byte; and
/// one that is opened after a crash of that broker becomes the same again.
#[test]
fn an_index_made_from_the_log_is_that_of_the_broker() {
    with_each_store(|golden, root| {
        let dir = root.join("index");
        let theirs = tree(&dir);
        let records = scan(root);
        let place = tempfile::tempdir().expect("a folder");
        let mut index = recover_index(place.path(), LastExit::Clean);
        dispatch(&mut index, &records);
        index.flush().expect("flushed");
        drop(index);
        let ours: Vec<_> = tree(place.path()).into_values().collect();
        assert_eq!(
            ours,
            theirs.values().cloned().collect::<Vec<_>>(),
            "{}",
            text(golden, "file")
        );

        let safe_timestamp = int(&golden["checkpoint"], "indexMsgTimestamp");
        let mut index = recover_index(&dir, LastExit::Crashed { safe_timestamp });
        assert!(index.last_physical_offset() < records.last().expect("one").record.physical_offset);
        dispatch(&mut index, &records);
        find_all(&index, golden);
        drop(index);
        assert_eq!(tree(&dir), theirs, "{}", text(golden, "file"));
    });
}

/// Loads a table and writes it again: nothing may be lost, and nothing may look different.
fn rewrite<T>(loaded: Result<(ConfigFile<T>, Option<T>), callboard::store::StoreError>) -> Option<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let (file, table) = loaded.expect("readable");
    let table = table?;
    let theirs = fs::read_to_string(file.path()).expect("readable");
    let ours = String::from_utf8(file.encode(&table).expect("a table")).expect("text");
    // Maps are in another order: so are their lines, and which of them end with a comma.
    let lines = |text: &str| {
        let mut lines: Vec<_> = text
            .lines()
            .map(|l| l.trim_end_matches(',').to_owned())
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(ours.len(), theirs.len(), "{}", file.path().display());
    assert_eq!(lines(&ours), lines(&theirs), "{}", file.path().display());
    Some(table)
}

#[test]
fn every_table_is_read_and_written_as_it_was() {
    with_each_store(|golden, root| {
        let tables = Tables::new(RealFs::shared(), root.join("config"));
        let topics = rewrite(tables.topics()).expect("topics.json");
        for name in golden["queues"].as_object().expect("queues").keys() {
            let topic = name.rsplit_once('/').expect("topic/queue").0;
            assert!(topics.topic_config_table.contains_key(topic), "{topic}");
        }
        assert!(rewrite(tables.subscription_groups()).is_some());
        assert!(rewrite(tables.consumer_order_info()).is_some());
        assert!(rewrite(tables.consumer_filters()).is_some());
        assert!(rewrite(tables.timer_metrics()).is_some());
        assert!(rewrite(tables.transaction_metrics()).is_some());
        assert!(rewrite(tables.topic_queue_mapping()).is_none());
        assert!(rewrite(tables.message_request_modes()).is_none());
        let offsets = rewrite(tables.consumer_offsets()).expect("consumerOffset.json");
        let offsets = serde_json::to_value(&offsets.offset_table).expect("a map");
        assert_eq!(offsets, golden["consumerOffsets"]);
        let offsets = rewrite(tables.delay_offsets()).expect("delayOffset.json");
        let offsets = serde_json::to_value(&offsets.offset_table).expect("a map");
        assert_eq!(offsets, golden["delayOffsets"]);
    });
}
