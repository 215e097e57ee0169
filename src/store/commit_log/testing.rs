//! Records and logs for the unit tests of this folder.

use bytes::BytesMut;

use super::{CommitLogConfig, CommitLogWriter, Pending, RecoverFrom, RecoveryReport};
use crate::{
    protocol::message::record::{NewRecord, encode_record},
    store::fs::{Fs, RealFs},
};

/// Length of test segments.
pub(in crate::store) const SEGMENT_LEN: u64 = 4096;

/// A temporary directory with a log in it.
pub(in crate::store) struct Place {
    pub(in crate::store) dir: tempfile::TempDir,
    pub(in crate::store) fs: Fs,
}

impl Place {
    pub(in crate::store) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            fs: RealFs::shared(),
        }
    }

    pub(in crate::store) fn config(&self) -> CommitLogConfig {
        CommitLogConfig {
            segment_len: SEGMENT_LEN,
            ..CommitLogConfig::new(self.dir.path().join("commitlog"))
        }
    }

    pub(in crate::store) fn open(&self, from: &RecoverFrom) -> (CommitLogWriter, RecoveryReport) {
        CommitLogWriter::recover(&self.fs, self.config(), from).unwrap()
    }

    pub(in crate::store) fn open_clean(&self) -> (CommitLogWriter, RecoveryReport) {
        let from = RecoverFrom {
            clean: true,
            ..RecoverFrom::default()
        };
        self.open(&from)
    }
}

/// A record with a body of `body_len` bytes; 97 bytes longer than its body.
pub(in crate::store) fn unit(body_len: usize, queue_offset: i64) -> Pending {
    let body: Vec<u8> = (0..body_len)
        .map(|i| i as u8 ^ queue_offset as u8)
        .collect();
    let mut bytes = BytesMut::new();
    encode_record(&new_record(&body), &mut bytes).unwrap();
    Pending::new(bytes, queue_offset)
}

pub(in crate::store) fn new_record(body: &[u8]) -> NewRecord<'_> {
    NewRecord {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"A\x01b\x02",
    }
}

/// Length of the records that [`unit`] makes with an empty body.
pub(in crate::store) const EMPTY_LEN: usize = 91 + 1 + 4;
