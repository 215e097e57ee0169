//! Replication's bytes from both sides, and the bodies that slaves and masters exchange.

#![no_main]

use bytes::BytesMut;
use callboard::protocol::{
    body::mirror::{self, MirrorAnswer, MirrorRequest, OffsetsAnswer, OffsetsRequest},
    ha::{Reports, take_transfer},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut buf = BytesMut::from(data);
    while let Ok(Some(transfer)) = take_transfer(&mut buf) {
        assert!(transfer.offset >= 0);
    }
    let mut reports = Reports::default();
    for piece in data.chunks(5) {
        if reports.feed(piece).is_err() {
            break;
        }
    }
    let _ = mirror::decode::<MirrorRequest>(data);
    let _ = mirror::decode_plain::<MirrorRequest>(data);
    let _ = mirror::decode_plain::<MirrorAnswer>(data);
    let _ = mirror::decode_plain::<OffsetsRequest>(data);
    let _ = mirror::decode_plain::<OffsetsAnswer>(data);
});
