//! Where a consumer's offsets are kept: with the brokers (clustering) or in a file of this
//! machine (broadcasting).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::client::error::ClientError;
use crate::client::instance::Inner;
use crate::client::lock;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::offset::ResetOffsetBody;
use crate::protocol::static_topic::is_mock_broker;
use crate::protocol::{Str, fastjson};

/// Offsets of one group on one client.
pub(crate) struct OffsetStore {
    group: Str,
    table: Mutex<BTreeMap<MessageQueue, Entry>>,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    /// Committed since it changed.
    saved: bool,
}

enum Place {
    Broker(Arc<Inner>),
    File(PathBuf),
}

impl OffsetStore {
    /// Offsets kept by the brokers.
    pub(crate) fn remote(client: Arc<Inner>, group: &Str) -> Self {
        OffsetStore {
            group: group.clone(),
            table: Mutex::default(),
            place: Place::Broker(client),
        }
    }

    /// Offsets kept in `directory/CLIENT_ID/GROUP/offsets.json`, RocketMQ's place and form.
    pub(crate) fn local(
        directory: &Path,
        client_id: &str,
        group: &Str,
    ) -> Result<Self, ClientError> {
        let path = directory
            .join(client_id)
            .join(&**group)
            .join("offsets.json");
        let mut table = BTreeMap::new();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let name = path.display().to_string();
                let body: ResetOffsetBody =
                    crate::client::read_json(&name, "broadcast offsets", &bytes)?;
                let entry = |offset| Entry {
                    offset,
                    saved: true,
                };
                table.extend(
                    body.offset_table
                        .into_iter()
                        .map(|(q, offset)| (q, entry(offset))),
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ClientError::File {
                    path: path.display().to_string(),
                    source,
                });
            }
        }
        let place = Place::File(path);
        Ok(OffsetStore {
            group: group.clone(),
            table: Mutex::new(table),
            place,
        })
    }

    /// Remembers an offset. With `only_up` a smaller one than known is ignored.
    pub(crate) fn update(&self, queue: &MessageQueue, offset: i64, only_up: bool) {
        let mut table = lock(&self.table);
        match table.get_mut(queue) {
            Some(entry) if (only_up && offset <= entry.offset) || offset == entry.offset => {}
            Some(entry) => {
                *entry = Entry {
                    offset,
                    saved: false,
                }
            }
            None => {
                table.insert(
                    queue.clone(),
                    Entry {
                        offset,
                        saved: false,
                    },
                );
            }
        }
    }

    /// The offset as far as this client knows.
    pub(crate) fn known(&self, queue: &MessageQueue) -> Option<i64> {
        lock(&self.table).get(queue).map(|entry| entry.offset)
    }

    /// The stored offset; None when the group has none for this queue.
    pub(crate) async fn read(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        let Place::Broker(client) = &self.place else {
            return Ok(self.known(queue));
        };
        let offset = client.query_offset(&self.group, queue).await?;
        if let Some(offset) = offset {
            lock(&self.table).insert(
                queue.clone(),
                Entry {
                    offset,
                    saved: true,
                },
            );
        }
        Ok(offset)
    }

    /// Stores what changed.
    pub(crate) async fn persist(&self) -> Result<(), ClientError> {
        match &self.place {
            Place::File(path) => self.write_file(path),
            Place::Broker(client) => {
                let changed: Vec<_> = lock(&self.table)
                    .iter()
                    .filter(|(_, entry)| !entry.saved)
                    .map(|(queue, entry)| (queue.clone(), entry.offset))
                    .collect();
                for (queue, offset) in changed {
                    self.send(client, &queue, offset).await?;
                }
                Ok(())
            }
        }
    }

    /// Stores one queue's offset now.
    pub(crate) async fn persist_one(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        match (&self.place, self.known(queue)) {
            (Place::Broker(client), Some(offset)) => self.send(client, queue, offset).await,
            (Place::File(path), Some(_)) => self.write_file(path),
            (_, None) => Ok(()),
        }
    }

    /// Forgets a queue that is no longer this consumer's.
    pub(crate) fn forget(&self, queue: &MessageQueue) {
        if matches!(self.place, Place::Broker(_)) {
            lock(&self.table).remove(queue);
        }
    }

    /// All offsets of a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> BTreeMap<MessageQueue, i64> {
        let table = lock(&self.table);
        let ours = table.iter().filter(|(queue, _)| *queue.topic == *topic);
        ours.map(|(queue, entry)| (queue.clone(), entry.offset))
            .collect()
    }

    async fn send(
        &self,
        client: &Inner,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        // A broker that does not lead a logic queue any more has to be able to say so.
        let oneway = !is_mock_broker(&queue.broker_name);
        client
            .update_offset(&self.group, queue, offset, oneway)
            .await?;
        if let Some(entry) = lock(&self.table).get_mut(queue)
            && entry.offset == offset
        {
            entry.saved = true;
        }
        Ok(())
    }

    /// Writes beside the file and renames, so that a crash leaves the old or the new one.
    fn write_file(&self, path: &Path) -> Result<(), ClientError> {
        let offset_table = {
            let table = lock(&self.table);
            if table.values().all(|entry| entry.saved) {
                return Ok(());
            }
            table
                .iter()
                .map(|(queue, entry)| (queue.clone(), entry.offset))
                .collect()
        };
        let file = |source| ClientError::File {
            path: path.display().to_string(),
            source,
        };
        let bytes = fastjson::to_vec(&ResetOffsetBody { offset_table })
            .map_err(|error| file(std::io::Error::other(error.to_string())))?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(file)?;
        }
        let new = path.with_extension("json.new");
        std::fs::write(&new, bytes).map_err(file)?;
        std::fs::rename(&new, path).map_err(file)?;
        for entry in lock(&self.table).values_mut() {
            entry.saved = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn broadcast_offsets_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let group = Str::from("G");
        let queue = MessageQueue::new("T", "b", 2);
        let store = OffsetStore::local(folder.path(), "c@1", &group).unwrap();
        assert_eq!(store.read(&queue).await.unwrap(), None);
        store.update(&queue, 5, true);
        store.update(&queue, 4, true);
        store.persist().await.unwrap();
        let again = OffsetStore::local(folder.path(), "c@1", &group).unwrap();
        assert_eq!(again.read(&queue).await.unwrap(), Some(5));
        again.update(&queue, 1, false);
        assert_eq!(again.known(&queue), Some(1));
        assert_eq!(again.of_topic("T").len(), 1);
        assert!(again.of_topic("other").is_empty());
    }
}
