//! Records of the commit log: one that is whole can be written again with the same length.
#![no_main]

use bytes::BytesMut;
use callboard::protocol::message::record::{
    CheckCrc, RecordView, encode_record, patch_record, peek, records,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = peek(data);
    let _ = RecordView::parse(data, CheckCrc::Body);
    for view in records(data).map_while(Result::ok) {
        let _ = (view.property("KEYS"), view.offset_id());
        let mut out = BytesMut::new();
        let written = encode_record(&view.to_new(), &mut out);
        // A short topic in a record of version 2 becomes one of version 1.
        let Ok(len) = written else {
            continue;
        };
        assert!(len == view.size || len + 1 == view.size);
        patch_record(
            &mut out,
            view.queue_offset,
            view.physical_offset,
            view.store_timestamp,
        );
        let again = RecordView::parse(&out, CheckCrc::Body).expect("our own record is readable");
        assert_eq!((again.topic, again.body), (view.topic, view.body));
        assert_eq!(again.properties, view.properties);
        assert_eq!(again.store_timestamp, view.store_timestamp);
    }
});
