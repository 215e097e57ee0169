//! Columns for people, JSON for scripts.

use serde::Serialize;

/// Where subcommands print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints the value as JSON, or calls `text`.
    pub(crate) fn show(self, value: &impl Serialize, text: impl FnOnce()) {
        if !self.json {
            return text();
        }
        match serde_json::to_string_pretty(value) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("mqadmin: cannot write JSON: {error}"),
        }
    }

    /// Says that something was done.
    pub(crate) fn done(self, text: &str) {
        if self.json {
            println!("{}", serde_json::json!({ "result": text }));
        } else {
            println!("{text}");
        }
    }
}

/// The text cut at the front so that at most `len` characters are left (RocketMQ's
/// `frontStringAtLeast`, which keeps the beginning).
pub(crate) fn cut(text: &str, len: usize) -> &str {
    text.char_indices()
        .nth(len)
        .map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("äöü", 2), "äö");
    }
}
