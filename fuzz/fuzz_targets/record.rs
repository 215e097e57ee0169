//! Message records as they come from a disk or a peer, alone and in a row.
#![no_main]

use bytes::BytesMut;
use callboard::protocol::message::record::{CheckCrc, RecordView, encode_record, peek, records};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = peek(bytes);
    for record in records(bytes).take(1000) {
        if record.is_err() {
            break;
        }
    }
    let Ok(view) = RecordView::parse(bytes, CheckCrc::Body) else {
        return;
    };
    assert!(view.size <= bytes.len());
    let _ = view.property("KEYS");
    let _ = view.offset_id();
    // What can be read can be written, and says the same.
    let mut out = BytesMut::new();
    if encode_record(&view.to_new(), &mut out).is_ok() {
        let again = RecordView::parse(&out, CheckCrc::Body).expect("what we wrote can be read");
        assert_eq!(again.body, view.body);
        assert_eq!(again.topic, view.topic);
        assert_eq!(again.properties, view.properties);
    }
});
