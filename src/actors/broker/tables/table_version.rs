//! The version of a published table, and those who wait for the next one.

use std::sync::Mutex;

use tokio::sync::{Notify, futures::Notified};

use crate::{actors::kernel::lock, protocol::body::DataVersion, store::now_ms};

/// Counted by whoever changes the table, once what changed is in it.
#[derive(Debug)]
pub(super) struct TableVersion {
    now: Mutex<DataVersion>,
    told: Notify,
}

impl TableVersion {
    /// The version of a table that was loaded, or is new.
    pub(super) fn new(version: DataVersion) -> Self {
        Self {
            now: Mutex::new(version),
            told: Notify::new(),
        }
    }

    /// The version.
    pub(super) fn get(&self) -> DataVersion {
        *lock(&self.now)
    }

    /// Takes a master's, with its table.
    pub(super) fn set(&self, version: DataVersion) {
        *lock(&self.now) = version;
    }

    /// Counts a change. No broker here has a state version (`DataVersion.nextVersion(long)`).
    pub(super) fn count(&self) {
        lock(&self.now).next(now_ms(), 0);
    }

    /// Ends all waiting for [`Self::next_change`]: once for what changed together.
    pub(super) fn tell(&self) {
        self.told.notify_waiters();
    }

    /// Ends when changes are told; one between this call and the first await counts, too.
    pub(super) fn next_change(&self) -> Notified<'_> {
        self.told.notified()
    }
}
