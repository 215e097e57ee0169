//! The body of a batch send.
#![no_main]

use bytes::BytesMut;
use callboard::protocol::message::batch::{decode, encode_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(messages) = decode(bytes) else { return };
    let mut out = BytesMut::new();
    for message in &messages {
        if encode_message(message, &mut out).is_err() {
            return;
        }
    }
    let again = decode(&out).expect("what we wrote can be read");
    assert_eq!(again.len(), messages.len());
});
