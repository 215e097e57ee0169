//! What is known about a configuration key, and the macro that makes a typed section of keys.

use std::path::PathBuf;

use super::Env;

/// When a new value of a key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// At once, through a configuration update request.
    Hot,
    /// At the next start.
    Start,
    /// Never: the key is RocketMQ's, checked and shown, but nothing here depends on it (yet).
    Kept,
}

/// Kind of value that a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within the given bounds.
    Int(i64, i64),
    /// A number with a fraction.
    Double,
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Kind {
    /// Says what is wrong with `value`, or nothing.
    pub fn complaint(self, value: &str) -> Option<String> {
        match self {
            Kind::Bool => value
                .parse::<bool>()
                .err()
                .map(|_| "true or false is wanted".to_owned()),
            Kind::Int(min, max) => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => None,
                Ok(_) => Some(format!("a whole number from {min} to {max} is wanted")),
                Err(_) => Some("a whole number is wanted".to_owned()),
            },
            Kind::Double => value
                .parse::<f64>()
                .err()
                .map(|_| "a number is wanted".to_owned()),
            Kind::Text => None,
            Kind::OneOf(words) if words.contains(&value) => None,
            Kind::OneOf(words) => Some(format!("one of {} is wanted", words.join(", "))),
        }
    }
}

/// Value of a key that no file sets.
#[derive(Debug, Clone, Copy)]
pub enum Preset {
    /// Always this text.
    Is(&'static str),
    /// Depends on the machine.
    From(fn(&Env) -> String),
    /// None: the key is not shown until it is set.
    Unset,
}

/// One known key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Name in the file.
    pub name: &'static str,
    /// Name of the field with its typed value; empty for keys that are only text.
    pub field: &'static str,
    /// Kind of its value.
    pub kind: Kind,
    /// Value when nothing sets it.
    pub default: Preset,
    /// When a change takes effect.
    pub scope: Scope,
    /// What it does; empty for keys that are only text.
    pub doc: &'static str,
}

/// A type that a configuration value can have.
pub trait Value: Sized {
    /// The kind checked before [`Value::read`].
    const KIND: Kind;
    /// Reads a checked text; `None` is a key without a value.
    fn read(text: Option<&str>) -> Option<Self>;
}

macro_rules! whole_number {
    ($($int:ty),+) => {$(
        impl Value for $int {
            const KIND: Kind = Kind::Int(
                if <$int>::MIN as i128 > i64::MIN as i128 { <$int>::MIN as i64 } else { i64::MIN },
                if (<$int>::MAX as i128) < i64::MAX as i128 { <$int>::MAX as i64 } else { i64::MAX },
            );
            fn read(text: Option<&str>) -> Option<Self> {
                text?.parse().ok()
            }
        }
    )+};
}
whole_number!(i32, i64, u16, u32, u64, usize);

impl Value for bool {
    const KIND: Kind = Kind::Bool;
    fn read(text: Option<&str>) -> Option<Self> {
        text?.parse().ok()
    }
}

impl Value for f64 {
    const KIND: Kind = Kind::Double;
    fn read(text: Option<&str>) -> Option<Self> {
        text?.parse().ok()
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;
    fn read(text: Option<&str>) -> Option<Self> {
        text.map(str::to_owned)
    }
}

impl Value for Option<bool> {
    const KIND: Kind = Kind::Bool;
    fn read(text: Option<&str>) -> Option<Self> {
        Some(text.and_then(|text| text.parse().ok()))
    }
}

impl Value for Option<String> {
    const KIND: Kind = Kind::Text;
    fn read(text: Option<&str>) -> Option<Self> {
        Some(text.filter(|text| !text.is_empty()).map(str::to_owned))
    }
}

impl Value for PathBuf {
    const KIND: Kind = Kind::Text;
    fn read(text: Option<&str>) -> Option<Self> {
        text.map(PathBuf::from)
    }
}

/// Makes an enum whose words are the values of a key.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// The word in configuration files.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl $crate::config::key::Value for $name {
            const KIND: $crate::config::key::Kind =
                $crate::config::key::Kind::OneOf(&[$($word),+]);
            fn read(text: Option<&str>) -> Option<Self> {
                match text? { $($word => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

/// Makes a struct with one typed field per key, and the table of those keys.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $key:literal, $default:expr, $scope:ident;)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $ty,)+
        }

        impl $name {
            /// The keys of this section in the order of the fields.
            pub const KEYS: &'static [$crate::config::key::Key] = {
                use $crate::config::key::{Preset::*, Key, Scope, Value};
                &[$(Key {
                    name: $key,
                    field: stringify!($field),
                    kind: <$ty as Value>::KIND,
                    default: $default,
                    scope: Scope::$scope,
                    doc: concat!($($doc),+),
                }),+]
            };

            /// Reads the fields out of checked settings.
            pub(crate) fn read(
                settings: &$crate::config::Settings,
            ) -> Result<Self, $crate::config::ConfigError> {
                Ok(Self { $($field: settings.read($key)?,)+ })
            }
        }
    };
}

pub(crate) use {section, words};

/// The known key most like `name`, if any is close enough to be what was meant.
pub fn nearest<'a>(name: &str, keys: impl Iterator<Item = &'a Key>) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase();
    let limit = (name.chars().count() / 3).clamp(1, 6);
    let scored = keys.map(|key| (distance(&lower, &key.name.to_ascii_lowercase()), key.name));
    scored
        .filter(|(score, _)| *score <= limit)
        .min()
        .map(|(_, near)| near)
}

/// Edits between two texts where swapping two neighbours is one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut older = vec![0; b.len() + 1];
    let mut old: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (old[j] + 1).min(row[j - 1] + 1).min(old[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(older[j - 2] + 1);
            }
        }
        older = std::mem::replace(&mut old, row);
    }
    old[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn kinds_complain() {
        assert_eq!(u16::KIND.complaint("10911"), None);
        assert!(u16::KIND.complaint("70000").is_some());
        assert!(i32::KIND.complaint("4G").is_some());
        assert!(bool::KIND.complaint("yes").is_some());
    }
}
