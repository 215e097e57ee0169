//! JSON: any text is read without panic, and what can be read can be written and read again.
#![no_main]

use callboard::protocol::body::{heartbeat, lock, offset, route, stats, subscription_group};
use callboard::protocol::body::{running_info, topic_config};
use callboard::protocol::fastjson::{Style, Value, from_slice, to_vec, to_vec_styled};
use libfuzzer_sys::fuzz_target;

fn body<T: serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
    if let Ok(body) = from_slice::<T>(data) {
        let written = to_vec(&body).expect("a body can be written");
        from_slice::<T>(&written).expect("our own body is readable");
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = from_slice::<Value>(data) {
        for style in [Style::Compact, Style::Pretty] {
            let written = to_vec_styled(&value, style).expect("a value can be written");
            from_slice::<Value>(&written).expect("our own value is readable");
        }
    }
    body::<heartbeat::HeartbeatData>(data);
    body::<lock::LockBatchRequestBody>(data);
    body::<offset::ConsumerOffsetTable>(data);
    body::<offset::ResetOffsetBody>(data);
    body::<route::TopicRouteData>(data);
    body::<stats::ConsumeStats>(data);
    body::<subscription_group::SubscriptionGroupWrapper>(data);
    body::<running_info::ConsumerRunningInfo>(data);
    body::<topic_config::TopicConfigAndMappingSerializeWrapper>(data);
});
