//! Configuration files: an error that names the line, or settings.
#![no_main]

use callboard::config::properties;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|input: (&[u8], &str, &str)| {
    let (bytes, key, value) = input;
    let _ = properties::parse("fuzz.conf", bytes);
    let changes = BTreeMap::from([(key.to_string(), value.to_string())]);
    if let Ok(edited) = properties::edit(bytes, &changes) {
        let _ = properties::parse("edited.conf", &edited);
    }
});
