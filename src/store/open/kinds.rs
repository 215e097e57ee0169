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
