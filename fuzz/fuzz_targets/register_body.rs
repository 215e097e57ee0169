//! Compressed register bodies: the first byte tells whether the rest is one or is compressed
//! first, so that the inner layout is reached as well.
#![no_main]

use callboard::protocol::body::register_broker::RegisterBrokerBody;
use callboard::protocol::language::version;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libfuzzer_sys::fuzz_target;
use std::io::Write;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let stream = if kind & 1 == 0 {
        data.to_vec()
    } else {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::none());
        out.write_all(data).expect("memory does not fail");
        out.finish().expect("memory does not fail")
    };
    if let Ok(body) = RegisterBrokerBody::decode(&stream, true, version::V5_4_0) {
        let written = body.encode_compressed().expect("a body can be written");
        RegisterBrokerBody::decode(&written, true, version::V5_4_0).expect("our own is readable");
    }
});
