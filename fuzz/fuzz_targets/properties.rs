//! Properties: taking them apart and putting them together loses none and settles at once.
#![no_main]

use callboard::protocol::message::{
    multi_dispatch,
    properties::{self, Editor},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let rebuilt = Editor::new(data).to_vec();
    assert!(properties::entries(&rebuilt).eq(properties::entries(data)));
    assert_eq!(Editor::new(&rebuilt).to_vec(), rebuilt);
    let mut editor = Editor::new(data);
    editor.set("CLUSTER", "c");
    editor.remove("POP_CK");
    let edited = editor.to_vec();
    assert_eq!(properties::get(&edited, "CLUSTER"), Some("c"));
    assert_eq!(properties::get(&edited, "POP_CK"), None);
    let _ = properties::keys(data).count();
    for (name, _) in multi_dispatch::entries_of("T", data) {
        assert!(multi_dispatch::is_valid_name(name));
    }
});
