//! Which topics have queues of batches: what topics.json says, and where queues lie on the disk.

use std::{collections::HashSet, path::Path};

use crate::{
    protocol::Str,
    store::{
        consume_queue::QueueHomes,
        error::StoreError,
        fs::Fs,
        queue_table::{QueueKind, QueueTable},
        tables::Tables,
    },
};

/// Tells `table` the kinds of all topics before it has queues, and returns those whose queues have to be
/// made anew out of the log.
///
/// A folder of the wrong kind goes: its topic was deleted and made again, or a slave learned late of
/// which kind it is. (RocketMQ does not start then, `ConsumeQueueStore.queueTypeShouldBe`.)
///
/// # Errors
/// From the file system; [`StoreError::Corrupt`] for a table that cannot be read.
pub(super) fn learn(
    fs: &Fs,
    root: &Path,
    homes: &QueueHomes,
    table: &QueueTable,
) -> Result<HashSet<Str>, StoreError> {
    let (_, topics) = Tables::new(fs.clone(), root.join("config")).topics()?;
    let topics = topics.unwrap_or_default().topic_config_table;
    let mut anew = HashSet::new();
    let mut batch_topics = HashSet::new();
    for (name, topic) in &topics {
        if topic.is_batch_cq() {
            batch_topics.insert(Str::from(name.as_str()));
        }
    }
    for topic in homes.batch.topics()? {
        if !topics.contains_key(&*topic) {
            batch_topics.insert(topic);
        } else if !batch_topics.contains(&topic) {
            log::warn!("store removes queues of batches of topic={topic}, which has none");
            homes.batch.remove_topic(&topic)?;
        }
    }
    for topic in batch_topics {
        if homes.simple.has_topic(&topic) {
            log::warn!("store makes the queues of topic={topic} anew: they are queues of batches");
            homes.simple.remove_topic(&topic)?;
            anew.insert(topic.clone());
        }
        table.set_kind(&topic, QueueKind::Batch);
    }
    Ok(anew)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{
        protocol::message::{record, sys_flag},
        store::{
            commit_log::{
                Pending,
                testing::{Place, new_record, unit},
            },
            consume_queue::QueueFileSizes,
            index::IndexShape,
            open::{OpenStore, StoreConfig},
        },
    };

    /// An inner batch of so many messages, for the queue that `unit` fills.
    fn inner_batch(messages: i16, base: i64) -> Pending {
        let text = format!("INNER_NUM\x01{messages}\x02INNER_BASE\x01{base}\x02");
        let record = record::NewRecord {
            sys_flag: sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP,
            properties: text.as_bytes(),
            ..new_record(b"body")
        };
        let mut bytes = BytesMut::new();
        record::encode_record(&record, &mut bytes).unwrap();
        Pending::new(bytes, base)
    }

    struct Bench {
        place: Place,
    }

    impl Bench {
        /// A store whose log has a message, a batch of five and another message.
        fn new() -> Self {
            let place = Place::new();
            let (mut writer, _) = place.open_clean();
            let mut units = [unit(10, 0), inner_batch(5, 1), unit(10, 6)];
            writer.append(&mut units, 9).unwrap();
            Self { place }
        }

        fn declare(&self, kind: &str) {
            let attributes = format!("{{\"queue.type\":\"{kind}\"}}");
            let topic = format!("{{\"topicName\":\"T\",\"attributes\":{attributes}}}");
            let table = format!("{{\"topicConfigTable\":{{\"T\":{topic}}}}}");
            let config = self.place.dir.path().join("config");
            std::fs::create_dir_all(&config).unwrap();
            std::fs::write(config.join("topics.json"), table).unwrap();
        }

        fn has(&self, kind: &str) -> bool {
            let root = self.place.dir.path();
            root.join(kind).join("T/0").join("0".repeat(20)).exists()
        }

        /// Kind and next offset of the queue, and whether it has files of either kind.
        fn open(&self) -> (QueueKind, i64, bool, bool) {
            let config = StoreConfig {
                root: self.place.dir.path().to_path_buf(),
                commit_log: self.place.config(),
                queue_file_sizes: SIZES,
                index: Some(IndexShape::new(10, 100)),
                index_safe: false,
                holds_back: false,
                boot: None,
            };
            let open = OpenStore::open(&self.place.fs, &config).unwrap();
            let slot = open.table.get("T", 0).unwrap();
            let (simple, batch) = (self.has("consumequeue"), self.has("batchconsumequeue"));
            (slot.kind(), slot.next_offset(), simple, batch)
        }
    }

    const SIZES: QueueFileSizes = QueueFileSizes {
        simple: 6000,
        batch: 4600,
        extensions: None,
    };

    const AS_BATCHES: (QueueKind, i64, bool, bool) = (QueueKind::Batch, 7, false, true);

    #[test]
    fn the_log_tells_where_no_table_does() {
        let bench = Bench::new();
        assert_eq!(bench.open(), AS_BATCHES);
        // From the folder, now.
        assert_eq!(bench.open(), AS_BATCHES);
        bench.declare("BatchCQ");
        assert_eq!(bench.open(), AS_BATCHES);
    }

    #[test]
    fn folders_of_the_wrong_kind_go() {
        let bench = Bench::new();
        let wrong = bench.place.dir.path().join("consumequeue/T/0");
        std::fs::create_dir_all(&wrong).unwrap();
        std::fs::write(wrong.join("0".repeat(20)), [0; 6000]).unwrap();
        bench.declare("BatchCQ");
        assert_eq!(bench.open(), AS_BATCHES);
        bench.declare("SimpleCQ");
        let root = bench.place.dir.path();
        let table = QueueTable::new();
        let homes = QueueHomes::new(&bench.place.fs, root, SIZES);
        assert!(
            learn(&bench.place.fs, root, &homes, &table)
                .unwrap()
                .is_empty()
        );
        assert!(!bench.has("batchconsumequeue"));
        assert_eq!(table.kind_of("T"), QueueKind::Simple);
    }
}
