//! Marks of ended half messages: any bytes are read, and what was read can be written and reads the same
//! again.
#![no_main]

use callboard::protocol::message::transaction;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let offsets: Vec<i64> = transaction::marked_offsets(data).collect();
    assert!(offsets.iter().all(|&offset| offset >= 0));
    let mut body = Vec::new();
    for &offset in &offsets {
        transaction::mark_offset(&mut body, offset);
    }
    let again: Vec<i64> = transaction::marked_offsets(&body).collect();
    assert_eq!(again, offsets);
    // Its neighbours: the properties of half messages, moved and committed ones.
    let half = transaction::half_properties(data, "T", 1);
    let _ = transaction::moved_properties(&half, "TRANSACTION_CHECK_TIMES", 1);
    let _ = transaction::committed_properties(&half);
});
