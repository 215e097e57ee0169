//! The shipped reference files: every key that does something, with what it does and its default.

use super::key::{Key, Preset, Scope};

/// Columns of the reference files.
const WIDTH: usize = 96;

/// One section of a reference file: a heading, then each key as a comment and a commented-out
/// assignment of its default. Keys that are only kept are left out.
pub(super) fn section(out: &mut String, title: &str, keys: &[Key]) {
    out.push_str(&format!("\n# ---- {title} ----\n"));
    for key in keys.iter().filter(|key| key.scope != Scope::Kept) {
        out.push('\n');
        let when = if key.scope == Scope::Start {
            " [start]"
        } else {
            ""
        };
        let machine = match key.default {
            Preset::From(_) => " Default: from this machine.",
            _ => "",
        };
        comment(out, &format!("{}{machine}{when}", key.doc.trim()));
        let default = match key.default {
            Preset::Is(text) => text,
            Preset::From(_) | Preset::Unset => "",
        };
        out.push_str(&format!("#{}={default}\n", key.name));
    }
}

/// Text as comment lines of at most [`WIDTH`] columns.
fn comment(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let fits = column + 1 + word.len() <= WIDTH;
        if column == 0 || !fits {
            if column > 0 {
                out.push('\n');
            }
            out.push('#');
            column = 1;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push('\n');
}
