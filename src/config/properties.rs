//! Java properties text: reading it with line numbers and changing single keys in place.
//!
//! The form is that of `java.util.Properties`: `key = value` (or `:` or a blank), `#` and `!`
//! comments, `\` escapes and continuation lines, `\uXXXX`. Of two equal keys the last one wins.

use std::collections::BTreeMap;

use java_properties::{LineContent, PropertiesIter};

use super::ConfigError;

/// Largest properties text that is read, in bytes: from a file or from an admin request.
pub const PROPERTIES_LEN_MAX: usize = 1 << 20;

/// One assignment of a properties text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key, unescaped.
    pub key: String,
    /// Value, unescaped, without the blanks around it.
    pub value: String,
    /// Line of the key, counted from 1.
    pub line: usize,
}

/// Reads every assignment of `text` in order. `source` names the text in errors.
///
/// # Errors
/// [`ConfigError::TooLong`] beyond [`PROPERTIES_LEN_MAX`]; [`ConfigError::Syntax`] with the line
/// of a malformed `\u` escape.
pub fn parse(source: &str, text: &[u8]) -> Result<Vec<Entry>, ConfigError> {
    if text.len() > PROPERTIES_LEN_MAX {
        return Err(ConfigError::TooLong {
            file: source.to_owned(),
            len: text.len(),
        });
    }
    let mut whole = ascii(text);
    // The parser forgets a last line that ends in a continuation backslash.
    whole.push(b'\n');
    let mut entries = Vec::new();
    for line in PropertiesIter::new(&whole[..]) {
        let line = line.map_err(|error| ConfigError::Syntax {
            file: source.to_owned(),
            line: error.line_number().unwrap_or(0),
            what: error.to_string(),
        })?;
        let number = line.line_number();
        if let LineContent::KVPair(key, value) = line.consume_content() {
            entries.push(Entry {
                key,
                value: value.trim().to_owned(),
                line: number,
            });
        }
    }
    Ok(entries)
}

/// The same text with every byte above ASCII as the escape of its character: a file is ISO 8859-1
/// (`java.util.Properties.load`), but the parser takes a byte order mark for one of UTF-16, and then
/// panics at what is none.
fn ascii(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1);
    let mut escaped = false;
    for &byte in text {
        if byte.is_ascii() {
            out.push(byte);
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        // Behind a backslash, which stands for the character itself, that backslash does.
        if !escaped {
            out.push(b'\\');
        }
        out.extend_from_slice(format!("u{byte:04x}").as_bytes());
        escaped = false;
    }
    out
}

/// Returns `text` with the given keys set: an assignment that is there is replaced (the last one,
/// earlier equal ones go), a missing one is appended. Comments and the other lines stay.
pub fn edit(text: &[u8], changes: &BTreeMap<String, String>) -> Result<Vec<u8>, ConfigError> {
    let entries = parse("", text)?;
    let mut last_line = BTreeMap::new();
    for entry in entries
        .iter()
        .filter(|entry| changes.contains_key(&entry.key))
    {
        last_line.insert(entry.key.as_str(), entry.line);
    }
    let starts: BTreeMap<usize, &Entry> = entries.iter().map(|e| (e.line, e)).collect();
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut skipping = false;
    let mut continues = false;
    for (index, line) in natural_lines(text).enumerate() {
        if !continues {
            let entry = starts.get(&(index + 1)).copied();
            skipping = entry.is_some_and(|entry| changes.contains_key(&entry.key));
            if let Some(entry) = entry.filter(|e| last_line.get(e.key.as_str()) == Some(&e.line))
                && let Some(value) = changes.get(&entry.key)
            {
                out.extend_from_slice(&assignment(&entry.key, value));
            }
        }
        continues = (continues || !is_comment(line)) && ends_in_continuation(line);
        if !skipping {
            out.extend_from_slice(line);
        }
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    if continues && !skipping {
        out.push(b'\n');
    }
    for (key, value) in changes
        .iter()
        .filter(|(key, _)| !last_line.contains_key(key.as_str()))
    {
        out.extend_from_slice(&assignment(key, value));
    }
    Ok(out)
}

/// One escaped `key=value` line. Only what must be escaped is, so that people can read it.
fn assignment(key: &str, value: &str) -> Vec<u8> {
    let mut line = String::with_capacity(key.len() + value.len() + 2);
    for c in key.chars() {
        if matches!(c, ' ' | ':' | '=' | '#' | '!') {
            line.push('\\');
        }
        push_escaped(&mut line, c);
    }
    line.push('=');
    for (index, c) in value.chars().enumerate() {
        if index == 0 && c == ' ' {
            line.push('\\');
        }
        push_escaped(&mut line, c);
    }
    line.push('\n');
    line.into_bytes()
}

fn push_escaped(line: &mut String, c: char) {
    match c {
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        ' '..='~' => line.push(c),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

/// Lines with their ends, cut where `java.util.Properties` cuts them (LF, CR, CR LF).
fn natural_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            Some(at) if rest[at] == b'\r' && rest.get(at + 1) == Some(&b'\n') => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        let (line, tail) = rest.split_at(end);
        rest = tail;
        Some(line)
    })
}

fn is_comment(line: &[u8]) -> bool {
    let first = line
        .iter()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\x0c'));
    matches!(first, Some(b'#' | b'!'))
}

fn ends_in_continuation(line: &[u8]) -> bool {
    let body = line
        .iter()
        .rev()
        .skip_while(|byte| matches!(byte, b'\r' | b'\n'));
    body.take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String, usize)> {
        let entries = parse("t", text.as_bytes()).expect("well formed");
        entries
            .into_iter()
            .map(|e| (e.key, e.value, e.line))
            .collect()
    }

    fn changes(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// Found by the fuzz target: a byte order mark made the parser panic, and one of UTF-8 vanished.
    #[test]
    fn bytes_above_ascii_are_latin_1() {
        let entries = parse("f", b"\xfe\xffd\nk=\xe4\\\xe4\\\\\xe4\x80\n").unwrap();
        let all: Vec<_> = entries.iter().map(|e| (&*e.key, &*e.value)).collect();
        assert_eq!(
            all,
            [("\u{fe}\u{ff}d", ""), ("k", "\u{e4}\u{e4}\\\u{e4}\u{80}")]
        );
        let marked = parse("f", b"\xef\xbb\xbfk=1").unwrap();
        assert_eq!(marked[0].key, "\u{ef}\u{bb}\u{bf}k");
    }

    #[test]
    fn java_forms_are_read_with_their_lines() {
        let text = "# c\n a = 1 \n! d\nb:2\nc 3\nd=x\\\n   y\ne=\\u0041\\tz\n\nf\nlast=a\\";
        let expected = [
            ("a", "1", 2),
            ("b", "2", 4),
            ("c", "3", 5),
            ("d", "xy", 6),
            ("e", "A\tz", 8),
            ("f", "", 10),
            ("last", "a", 11),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(k, v, n)| ((*k).to_owned(), (*v).to_owned(), *n))
            .collect();
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        let error = parse("broker.conf", b"a=1\nb=\\u12\n").expect_err("malformed");
        assert!(error.to_string().starts_with("broker.conf:2: "), "{error}");
    }

    #[test]
    fn editing_keeps_comments_and_order() {
        let text = b"# head\na=1\r\nb=2\\\n  3\n# b=4\nb=5\nc=6";
        let out = edit(text, &changes(&[("b", "9"), ("z", "C:\\d e")])).expect("edited");
        let out = String::from_utf8(out).expect("ascii");
        assert_eq!(out, "# head\na=1\r\n# b=4\nb=9\nc=6\nz=C:\\\\d e\n");
        let again = parse("t", out.as_bytes()).expect("readable");
        assert_eq!(again.last().map(|e| e.value.as_str()), Some("C:\\d e"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in proptest::collection::vec(0u8..128, 0..200)) {
            let _ = parse("t", &text);
        }

        #[test]
        fn an_edited_key_reads_back(
            text in "([a-c] ?[=:] ?[ -~]{0,6}(\n|\\\\\n|\r\n)|#[ -~]{0,5}\n){0,8}",
            value in "[!-~]([ -~]{0,10}[!-~])?",
        ) {
            if let Ok(before) = parse("t", text.as_bytes()) {
                let out = edit(text.as_bytes(), &changes(&[("a", &value)])).expect("edited");
                let after = parse("t", &out).expect("readable");
                let got: Vec<_> = after.iter().filter(|e| e.key == "a").collect();
                proptest::prop_assert_eq!(got.len(), 1);
                proptest::prop_assert_eq!(&got[0].value, &value);
                let others = |list: &[Entry]| -> Vec<(String, String)> {
                    let kept = list.iter().filter(|e| e.key != "a");
                    kept.map(|e| (e.key.clone(), e.value.clone())).collect()
                };
                proptest::prop_assert_eq!(others(&before), others(&after));
            }
        }
    }
}
