//! `position-checkpoint`: up to which queue offset each queue was compacted (`CompactionPositionMgr`).
//!
//! A JSON object with `queueOffsetMap`, from `TOPIC_QUEUEID` to the queue offset of the last message whose key
//! a compaction has looked at. Without it all is looked at again, which costs time and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::CompactionHome;
use crate::{
    protocol::fastjson::Style,
    store::{error::StoreError, tables::ConfigFile},
};

/// Name of the file.
pub(super) const FILE_NAME: &str = "position-checkpoint";

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    queue_offset_map: BTreeMap<String, i64>,
}

/// The positions of all queues, with their file.
#[derive(Debug)]
pub struct Positions {
    table: Table,
    file: ConfigFile<Table>,
}

impl Positions {
    /// Reads the file; one that is missing holds nothing.
    ///
    /// # Errors
    /// As [`ConfigFile::load`].
    pub fn load(home: &CompactionHome) -> Result<Self, StoreError> {
        let path = home.position_path();
        let (file, table) = ConfigFile::load(home.fs.clone(), path, Style::Pretty)?;
        let table = table.unwrap_or_default();
        Ok(Self { table, file })
    }

    /// Up to where a queue was compacted; −1 when it never was.
    pub fn get(&self, topic: &str, queue_id: i32) -> i64 {
        let position = self.table.queue_offset_map.get(&name(topic, queue_id));
        position.copied().unwrap_or(-1)
    }

    /// Notes how far a queue was compacted, and writes the file.
    ///
    /// # Errors
    /// As [`ConfigFile::save`].
    pub fn set(&mut self, topic: &str, queue_id: i32, position: i64) -> Result<(), StoreError> {
        let positions = &mut self.table.queue_offset_map;
        positions.insert(name(topic, queue_id), position);
        self.file.save(&self.table).map(drop)
    }

    /// Forgets a queue.
    ///
    /// # Errors
    /// As [`ConfigFile::save`].
    pub fn forget(&mut self, topic: &str, queue_id: i32) -> Result<(), StoreError> {
        let positions = &mut self.table.queue_offset_map;
        if positions.remove(&name(topic, queue_id)).is_some() {
            self.file.save(&self.table)?;
        }
        Ok(())
    }

    /// Forgets all queues of a topic.
    ///
    /// # Errors
    /// As [`ConfigFile::save`].
    pub fn forget_topic(&mut self, topic: &str) -> Result<(), StoreError> {
        let positions = &mut self.table.queue_offset_map;
        let before = positions.len();
        positions.retain(|name, _| {
            let queue_id = name.strip_prefix(topic).and_then(|n| n.strip_prefix('_'));
            queue_id.is_none_or(|number| number.parse::<i32>().is_err())
        });
        if positions.len() < before {
            self.file.save(&self.table)?;
        }
        Ok(())
    }
}

fn name(topic: &str, queue_id: i32) -> String {
    format!("{topic}_{queue_id}")
}
