//! Properties of messages: reading, looking up, and what an editor writes can be read again.
#![no_main]

use callboard::protocol::message::properties::{Editor, entries, get, get_int, keys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let list: Vec<_> = entries(bytes).collect();
    for (name, value) in &list {
        let _ = value.len();
        if let Ok(name) = std::str::from_utf8(name) {
            let _ = get(bytes, name);
            let _ = get_int(bytes, name);
        }
    }
    let _ = keys(bytes).count();
    let mut editor = Editor::new(bytes);
    editor.set("added", "value");
    editor.remove("KEYS");
    let written = editor.to_vec();
    assert_eq!(get(&written, "added"), Some("value"));
    let before: Vec<_> = editor.iter().collect();
    let after = Editor::new(&written);
    assert_eq!(before, after.iter().collect::<Vec<_>>());
});
