//! The named texts of a frame header (`extFields`).
//!
//! Decoding a frame copies nothing and allocates one vector of spans: every key and value stays
//! where it is in the frame. Entries added later live in one text of our own.

use super::Str;
use super::command_header::FieldValue;

/// Set in `start` of a span that lies in our own text and not in the frame.
const OWN: u32 = 1 << 31;

/// Where one text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// A span of the frame's header; `None` beyond 2 GiB, which no frame limit allows.
    pub(super) fn new(start: usize, len: usize) -> Option<Self> {
        let start = u32::try_from(start).ok().filter(|start| start & OWN == 0)?;
        Some(Self {
            start,
            len: u32::try_from(len).ok()?,
        })
    }

    /// The text of this span in the header it was made for.
    pub(super) fn of(self, header: &str) -> &str {
        let start = (self.start & !OWN) as usize;
        header.get(start..start + self.len as usize).unwrap_or("")
    }

    /// The same as a slice that shares the header's memory.
    pub(super) fn slice(self, header: &Str) -> Str {
        header.slice_ref(self.of(header))
    }

    /// The bytes of this span in a header that is still being read.
    pub(super) fn bytes(self, header: &[u8]) -> &[u8] {
        let start = self.start as usize;
        header.get(start..start + self.len as usize).unwrap_or(&[])
    }
}

/// Key and value of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) value: Span,
}

/// The named texts of a header, in the order they came or were added.
///
/// A key that came twice is looked up by its last value, as in the reference implementation.
#[derive(Clone, Default)]
pub struct ExtFields {
    frame: Str,
    own: String,
    entries: Vec<Entry>,
}

/// One entry on its way into a typed header: the value can be had as a slice of the frame.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    fields: &'a ExtFields,
    /// The key.
    pub key: &'a str,
    /// The value.
    pub text: &'a str,
    span: Span,
}

impl Field<'_> {
    /// The value as a string of its own: a slice of the frame where it came from one.
    pub fn to_str(&self) -> Str {
        self.fields.str_of(self.span)
    }
}

impl ExtFields {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries that were found in the header `frame`.
    pub(super) fn from_frame(frame: Str, entries: Vec<Entry>) -> Self {
        Self {
            frame,
            own: String::new(),
            entries,
        }
    }

    fn text_of(&self, span: Span) -> &str {
        if span.start & OWN == 0 {
            span.of(&self.frame)
        } else {
            span.of(&self.own)
        }
    }

    fn str_of(&self, span: Span) -> Str {
        if span.start & OWN == 0 {
            span.slice(&self.frame)
        } else {
            Str::from(span.of(&self.own).to_owned())
        }
    }

    /// Bytes of the header that the entries are from, and of those added: no value is longer.
    pub fn byte_len(&self) -> usize {
        self.frame.len() + self.own.len()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .rev()
            .find(|entry| self.text_of(entry.key) == key)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.find(key).map(|entry| self.text_of(entry.value))
    }

    /// The value of a key as a string that shares the frame's memory.
    pub fn get_str(&self, key: &str) -> Option<Str> {
        self.find(key).map(|entry| self.str_of(entry.value))
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: &str, value: &str) {
        self.remove(key);
        self.push(key, value);
    }

    /// Adds an entry without looking for an older one of the same key.
    pub fn push(&mut self, key: &str, value: &str) {
        self.push_value(key, FieldValue::Str(value));
    }

    /// Adds an entry, the value as it is written on the wire.
    pub fn push_value(&mut self, key: &str, value: FieldValue<'_>) {
        let start = self.own.len();
        self.own.push_str(key);
        let middle = self.own.len();
        match value {
            FieldValue::Str(text) => self.own.push_str(text),
            FieldValue::Int(number) => self.own.push_str(itoa::Buffer::new().format(number)),
            FieldValue::Bool(true) => self.own.push_str("true"),
            FieldValue::Bool(false) => self.own.push_str("false"),
        }
        let own = |start: usize, end: usize| {
            let mut span = Span::new(start, end - start)?;
            span.start |= OWN;
            Some(span)
        };
        let (key, value) = (own(start, middle), own(middle, self.own.len()));
        // Two gigabytes of added texts never fit a frame: the entry would be refused anyway.
        if let (Some(key), Some(value)) = (key, value) {
            self.entries.push(Entry { key, value });
        }
    }

    /// Removes a key and tells whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.entries.len();
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| self.text_of(entry.key) != key);
        self.entries = entries;
        self.entries.len() != before
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|entry| (self.text_of(entry.key), self.text_of(entry.value)))
    }

    /// The entries in order, for reading into typed headers.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| Field {
            fields: self,
            key: self.text_of(entry.key),
            text: self.text_of(entry.value),
            span: entry.value,
        })
    }

    /// The value of a key whose letters may be of the other case: some old clients write `Topic`.
    pub(super) fn find_ignoring_case(&self, key: &str) -> Option<Field<'_>> {
        self.fields()
            .filter(|field| field.key.eq_ignore_ascii_case(key))
            .last()
    }
}

impl std::fmt::Debug for ExtFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The same keys with the same values, in any order.
impl PartialEq for ExtFields {
    fn eq(&self, other: &Self) -> bool {
        let covers = |a: &Self, b: &Self| a.iter().all(|(key, _)| a.get(key) == b.get(key));
        covers(self, other) && covers(other, self)
    }
}

impl Eq for ExtFields {}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for ExtFields {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let mut fields = Self::new();
        for (key, value) in iter {
            fields.insert(key.as_ref(), value.as_ref());
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_value_of_a_key_wins() {
        let mut fields = ExtFields::new();
        fields.push("a", "1");
        fields.push("b", "2");
        fields.push("a", "3");
        assert_eq!(fields.get("a"), Some("3"));
        fields.insert("a", "4");
        assert_eq!(fields.len(), 2);
        assert_eq!(fields.get_str("a"), Some(Str::from_static("4")));
        assert!(fields.remove("b"));
        assert!(!fields.remove("b"));
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("a", "4")]);
    }

    #[test]
    fn equality_ignores_order() {
        let one: ExtFields = [("a", "1"), ("b", "2")].into_iter().collect();
        let two: ExtFields = [("b", "2"), ("a", "1")].into_iter().collect();
        let three: ExtFields = [("a", "1")].into_iter().collect();
        assert_eq!(one, two);
        assert_ne!(one, three);
        assert_ne!(three, one);
    }
}
