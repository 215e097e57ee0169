//! Files of our own and the checkpoint page: whatever is in them, they are taken or ignored.
#![no_main]

use callboard::routes::snapshot::Snapshot;
use callboard::store::checkpoint::Checkpoint;
use callboard::store::queue_locks::QueueLocks;
use callboard::store::tails::Tails;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(checkpoint) = Checkpoint::decode(bytes) {
        let page = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&page), Some(checkpoint));
        let _ = Checkpoint::decode(&page).map(|c| c.min_timestamp());
    }
    if let Ok(snapshot) = Snapshot::decode(bytes) {
        let written = snapshot.encode().expect("what was read can be written");
        assert!(Snapshot::decode(&written).is_ok());
    }
    if let Some(locks) = QueueLocks::decode(bytes) {
        let written = locks.encode().expect("what was read can be written");
        assert_eq!(QueueLocks::decode(&written), Some(locks));
    }
    if let Some(tails) = Tails::decode(bytes) {
        let written = tails.encode().expect("what was read can be written");
        let again = Tails::decode(&written).expect("what we wrote can be read");
        assert_eq!(again.queues.len(), tails.queues.len());
    }
});
