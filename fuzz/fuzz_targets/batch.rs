//! Batches: what can be read can be written, and reads the same again.
#![no_main]

use bytes::BytesMut;
use callboard::protocol::message::batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(messages) = batch::decode(data) else {
        return;
    };
    let mut out = BytesMut::new();
    for message in &messages {
        batch::encode_message(message, &mut out).expect("what was read fits");
    }
    assert_eq!(
        batch::decode(&out).expect("our own batch is readable"),
        messages
    );
});
