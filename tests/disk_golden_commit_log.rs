//! Our commit log reads what the real RocketMQ 5.4.0 wrote, record by record, after a clean stop and
//! after `kill -9`, and goes on where it ended.

mod support;

use std::path::Path;

use callboard::{
    protocol::message::{
        properties,
        record::{CheckCrc, MAGIC_V1, RecordView, body_crc},
        sys_flag,
    },
    store::{
        ScannedRecord,
        abort::AbortFile,
        checkpoint::CheckpointFile,
        commit_log::{
            CommitLogConfig, CommitLogReader, CommitLogWriter, RecoverFrom, RecoveryMode,
        },
        fs::RealFs,
        lock::StoreLock,
    },
};
use serde_json::Value;

const SEGMENT_LEN: u64 = 65536;

fn int(value: &Value, name: &str) -> i64 {
    let number = value.get(name).and_then(Value::as_i64);
    number.unwrap_or_else(|| panic!("no number {name} in {value}"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("")
}

fn config(root: &Path) -> CommitLogConfig {
    CommitLogConfig {
        segment_len: SEGMENT_LEN,
        ..CommitLogConfig::new(root.join("commitlog"))
    }
}

fn recover_from(root: &Path) -> RecoverFrom {
    let fs = RealFs::shared();
    RecoverFrom {
        clean: !AbortFile::new(&fs, &root.join("abort")).exists(),
        checkpoint: CheckpointFile::peek(&fs, &root.join("checkpoint")).expect("readable"),
        ..RecoverFrom::default()
    }
}

fn check_record(reader: &CommitLogReader, expected: &Value, found: &ScannedRecord) {
    let record = &found.record;
    let at = int(expected, "phys");
    assert_eq!(record.physical_offset, at);
    assert_eq!(i64::from(record.size), int(expected, "size"), "at {at}");
    assert_eq!(&*found.key.topic, text(expected, "topic"), "at {at}");
    assert_eq!(i64::from(found.key.queue_id), int(expected, "queueId"));
    assert_eq!(record.queue_offset, int(expected, "queueOffset"));
    assert_eq!(i64::from(record.sys_flag), int(expected, "sysFlag"));
    assert_eq!(record.store_timestamp, int(expected, "storeTimestamp"));

    let bytes = reader.record_at(at).expect("a record");
    assert_eq!(bytes.len() as i64, int(expected, "size"));
    let view = RecordView::parse(&bytes, CheckCrc::Body).expect("a valid record");
    assert_eq!(view.magic == MAGIC_V1, text(expected, "magic") == "v1");
    assert_eq!(i64::from(view.flag), int(expected, "flag"));
    assert_eq!(view.born_timestamp, int(expected, "bornTimestamp"));
    assert_eq!(view.store_host.to_string(), text(expected, "storeHost"));
    assert_eq!(view.body.len() as i64, int(expected, "bodyLen"));
    assert_eq!(i64::from(view.body_crc), int(expected, "bodyCRC"));
    assert_eq!(view.body_crc, body_crc(view.body));
    assert_eq!(reader.store_timestamp_at(at), Some(view.store_timestamp));
    let property = |name| properties::get(view.properties, name).unwrap_or("");
    assert_eq!(property("UNIQ_KEY"), text(expected, "msgId"), "at {at}");
    assert_eq!(property("KEYS"), text(expected, "keys"), "at {at}");
    assert_eq!(property("TAGS"), text(expected, "tags"), "at {at}");

    let kind = sys_flag::transaction_type(view.sys_flag);
    let half = kind == sys_flag::TRANSACTION_PREPARED || kind == sys_flag::TRANSACTION_ROLLBACK;
    assert_eq!(record.in_queue(), !half);
    let keys = properties::keys(view.properties).count();
    let texts = ["UNIQ_KEY", "TAGS"]
        .iter()
        .filter(|n| !property(n).is_empty());
    assert_eq!(record.index_keys.len(), keys + texts.count(), "at {at}");
}

fn check_store(folder: &Path, golden: &Value) {
    let archive = text(golden, "file");
    let place = tempfile::tempdir().expect("a folder");
    let root = support::unpack(folder, archive, place.path());
    let fs = RealFs::shared();
    let _lock = StoreLock::acquire(&fs, &root.join("lock")).expect("nobody holds the lock");

    let from = recover_from(&root);
    assert_eq!(!from.clean, golden["abortFile"] == Value::Bool(true));
    let checkpoint = from.checkpoint.expect("a checkpoint");
    let page = &golden["checkpoint"];
    assert_eq!(
        checkpoint.physic_msg_timestamp,
        int(page, "physicMsgTimestamp")
    );
    assert_eq!(
        checkpoint.logics_msg_timestamp,
        int(page, "logicsMsgTimestamp")
    );
    assert_eq!(
        checkpoint.index_msg_timestamp,
        int(page, "indexMsgTimestamp")
    );

    let (writer, report) = CommitLogWriter::recover(&fs, config(&root), &from).expect("a log");
    let mode = match from.clean {
        true => RecoveryMode::Normal,
        false => RecoveryMode::Abnormal,
    };
    assert_eq!(report.mode, mode, "{archive}");
    assert_eq!(report.end, int(golden, "commitLogEnd"), "{archive}");
    assert_eq!(report.min_offset, int(golden, "commitLogMinOffset"));
    assert_eq!((&report.torn, &report.damage), (&None, &Vec::new()));
    // kill -9 leaves the next segment behind, made ahead of time and empty
    assert_eq!(report.removed.len(), usize::from(!from.clean), "{archive}");

    let reader = writer.reader();
    let scan = reader.scan(reader.min_offset(), reader.end());
    let found: Result<Vec<_>, _> = scan.collect();
    let found = found.expect("a whole log");
    let messages = golden["messages"].as_array().expect("messages");
    assert_eq!(found.len(), messages.len(), "{archive}");
    for (expected, found) in messages.iter().zip(&found) {
        check_record(&reader, expected, found);
    }
    for blank in golden["blanks"].as_array().expect("blanks") {
        let bytes = reader.slice(int(blank, "at"), 8).expect("a blank");
        let size = i32::try_from(int(blank, "blankSize")).expect("an int");
        assert_eq!(bytes[..4], size.to_be_bytes());
        assert_eq!(bytes[4..], [0xCB, 0xD4, 0x31, 0x94]);
    }
    go_on(writer, &root, found.len() as u64);
}

/// Appends to a store of the real broker, and recovers both parts.
fn go_on(mut writer: CommitLogWriter, root: &Path, before: u64) {
    let mut random = support::Random(1);
    let mut units: Vec<_> = (0..80)
        .map(|i| support::record(&mut random, 2000, i))
        .collect();
    writer.append(&mut units, 1_900_000_000_000).expect("room");
    let end = writer.end();
    writer.flusher().flush(end).expect("flushed");
    writer.close().expect("closed");
    let from = RecoverFrom::default();
    let fs = RealFs::shared();
    let (_, report) = CommitLogWriter::recover(&fs, config(root), &from).expect("a log");
    assert_eq!((report.records, report.end), (before + 80, end));
    assert_eq!((report.torn, report.damage), (None, Vec::new()));
}

#[test]
fn every_record_of_the_golden_stores_is_read() {
    let Some(folder) = support::golden_stores() else {
        return;
    };
    let stores = support::golden_index(&folder);
    assert!(!stores.is_empty());
    for golden in &stores {
        check_store(&folder, golden);
    }
}

/// The queue entries that the real broker wrote are the ones that we would write.
#[test]
fn dispatching_the_golden_stores_gives_the_broker_s_queue_entries() {
    let Some(folder) = support::golden_stores() else {
        return;
    };
    for golden in support::golden_index(&folder) {
        let place = tempfile::tempdir().expect("a folder");
        let root = support::unpack(&folder, text(&golden, "file"), place.path());
        let fs = RealFs::shared();
        let from = recover_from(&root);
        let (writer, _) = CommitLogWriter::recover(&fs, config(&root), &from).expect("a log");
        let reader = writer.reader();
        let mut entries = 0;
        for found in reader.scan(0, reader.end()) {
            let ScannedRecord { key, record } = found.expect("a whole log");
            if !record.in_queue() {
                continue;
            }
            // 100 entries in each file of the golden stores
            let file_start = record.queue_offset / 100 * 2000;
            let file = root.join(format!("consumequeue/{key}/{file_start:020}"));
            let content = std::fs::read(&file).expect("a consume queue file");
            let at = (record.queue_offset * 20 - file_start) as usize;
            let mut entry = record.physical_offset.to_be_bytes().to_vec();
            entry.extend(record.size.to_be_bytes());
            entry.extend(record.tags_code.to_be_bytes());
            assert_eq!(content[at..at + 20], entry, "{key} {}", record.queue_offset);
            entries += 1;
        }
        let queues = golden["queues"].as_object().expect("queues");
        let expected: i64 = queues.values().map(|q| int(q, "entries")).sum();
        assert_eq!(entries, expected);
    }
}
