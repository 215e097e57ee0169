//! JSON bodies in fastjson's dialect: as loose values and as the bodies that servers take.
#![no_main]

use callboard::protocol::body;
use callboard::protocol::fastjson::{Value, from_slice};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = from_slice::<Value>(bytes);
    let _ = from_slice::<body::heartbeat::HeartbeatData>(bytes);
    let _ = from_slice::<body::route::TopicRouteData>(bytes);
    let _ = from_slice::<body::offset::ConsumerOffsetTable>(bytes);
    let _ = body::register_broker::RegisterBrokerBody::decode(bytes, false, 493);
    let _ = body::register_broker::RegisterBrokerBody::decode(bytes, true, 493);
});
