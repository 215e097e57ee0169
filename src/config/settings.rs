//! Known keys and their values as text: what a configuration request shows.

use std::collections::BTreeMap;
use std::path::Path;

use super::key::{Key, Kind, Preset, Scope, Value, nearest};
use super::{ConfigError, Env, properties};

/// Values of all known keys, and of the unknown ones that a file sets.
#[derive(Debug, Clone)]
pub struct Settings {
    tables: &'static [&'static [Key]],
    values: BTreeMap<String, String>,
    origins: BTreeMap<String, Origin>,
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// File, or a word for the command line or an admin request.
    pub file: String,
    /// Line from 1; 0 where there are no lines.
    pub line: usize,
}

/// What happens to a key that is in no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Kept and shown, as RocketMQ does with a file.
    Keep,
    /// Left out, as RocketMQ does with an update request.
    Ignore,
}

impl Settings {
    /// The defaults of `tables` on this machine.
    pub(crate) fn new(tables: &'static [&'static [Key]], env: &Env) -> Self {
        let mut values = BTreeMap::new();
        for key in tables.iter().copied().flatten() {
            match key.default {
                Preset::Is(text) => drop(values.insert(key.name.to_owned(), text.to_owned())),
                Preset::From(make) => drop(values.insert(key.name.to_owned(), make(env))),
                Preset::Unset => {}
            }
        }
        Self {
            tables,
            values,
            origins: BTreeMap::new(),
        }
    }

    /// Reads a properties file over the values so far.
    pub(crate) fn apply_file(&mut self, path: &Path) -> Result<Vec<String>, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read(path).map_err(|source| ConfigError::Read {
            file: file.clone(),
            source,
        })?;
        Ok(self.apply(&file, &text, Unknown::Keep)?.warnings)
    }

    /// Reads a properties text over the values so far; nothing changes when one value is bad.
    pub(crate) fn apply(
        &mut self,
        source: &str,
        text: &[u8],
        unknown: Unknown,
    ) -> Result<Applied, ConfigError> {
        let mut applied = Applied::default();
        let entries = properties::parse(source, text)?;
        for entry in &entries {
            if self.key(&entry.key).is_some() {
                self.check(source, entry.line, &entry.key, &entry.value)?;
            }
        }
        for entry in entries {
            if self.key(&entry.key).is_none() {
                applied
                    .warnings
                    .push(self.unknown(source, entry.line, &entry.key));
                if unknown == Unknown::Ignore {
                    continue;
                }
            }
            let origin = Origin {
                file: source.to_owned(),
                line: entry.line,
            };
            self.origins.insert(entry.key.clone(), origin);
            let value = self.canonical(&entry.key, entry.value);
            if self
                .values
                .insert(entry.key.clone(), value.clone())
                .as_ref()
                != Some(&value)
            {
                applied.changed.insert(entry.key, value);
            }
        }
        Ok(applied)
    }

    /// Sets one key that did not come from a file (command line).
    pub(crate) fn set(&mut self, from: &str, name: &str, value: &str) -> Result<(), ConfigError> {
        self.check(from, 0, name, value)?;
        self.origins.insert(
            name.to_owned(),
            Origin {
                file: from.to_owned(),
                line: 0,
            },
        );
        let value = self.canonical(name, value.to_owned());
        self.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// The keys that were set and change nothing.
    pub(crate) fn without_effect(&self) -> Vec<&str> {
        let is_kept = |name: &&str| self.key(name).is_some_and(|key| key.scope == Scope::Kept);
        let set = self.origins.keys().map(String::as_str);
        set.filter(is_kept).collect()
    }

    /// Tells in the log which keys those are.
    pub(crate) fn warn_of_keys_without_effect(&self) {
        let keys = self.without_effect();
        if !keys.is_empty() {
            log::warn!(
                "config keys without effect here, see docs/compatibility.md keys={}",
                keys.join(",")
            );
        }
    }

    /// Gives a key that nobody set a default that follows from other keys.
    pub(crate) fn fill(&mut self, name: &str, value: impl Into<String>) {
        if !self.is_set(name) {
            self.values.insert(name.to_owned(), value.into());
        }
    }

    /// As [`Settings::fill`], but a key that was set to nothing stays empty.
    pub(crate) fn fill_absent(&mut self, name: &str, value: impl Into<String>) {
        if !self.origins.contains_key(name) {
            self.values.insert(name.to_owned(), value.into());
        }
    }

    /// Replaces a value by what a rule makes of it.
    pub(crate) fn force(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Whether a file, the command line or a request set this key to something.
    pub fn is_set(&self, name: &str) -> bool {
        self.origins.contains_key(name) && self.get(name).is_some_and(|value| !value.is_empty())
    }

    /// Text of a key, known or not.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The table row of a key.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.tables
            .iter()
            .copied()
            .flatten()
            .find(|key| key.name == name)
    }

    /// All values as `key=value` lines sorted by key: the body of the configuration requests.
    pub fn to_properties(&self) -> String {
        let mut text = String::with_capacity(self.values.len() * 40);
        for (key, value) in &self.values {
            text.push_str(key);
            text.push('=');
            text.push_str(value);
            text.push('\n');
        }
        text
    }

    /// Same values, but keys that need a restart as they are in `running`: what the process obeys.
    pub(crate) fn in_force(&self, running: &Settings) -> Settings {
        let mut merged = self.clone();
        for key in self
            .tables
            .iter()
            .copied()
            .flatten()
            .filter(|key| key.scope == Scope::Start)
        {
            match running.values.get(key.name) {
                Some(value) => drop(merged.values.insert(key.name.to_owned(), value.clone())),
                None => drop(merged.values.remove(key.name)),
            }
        }
        merged
    }

    /// Typed value of a key.
    pub(crate) fn read<T: Value>(&self, name: &'static str) -> Result<T, ConfigError> {
        let text = self.get(name);
        T::read(text).ok_or_else(|| self.refused(name, "a value is wanted"))
    }

    /// The error of a rule over several keys, at the place where `name` was set.
    pub(crate) fn refused(&self, name: &str, why: impl Into<String>) -> ConfigError {
        let default = Origin {
            file: "defaults".to_owned(),
            line: 0,
        };
        let origin = self.origins.get(name).cloned().unwrap_or(default);
        ConfigError::BadValue {
            file: origin.file,
            line: origin.line,
            key: name.to_owned(),
            value: self.get(name).unwrap_or("").to_owned(),
            why: why.into(),
        }
    }

    fn check(&self, file: &str, line: usize, name: &str, value: &str) -> Result<(), ConfigError> {
        let Some(key) = self.key(name) else {
            return Ok(());
        };
        let value = &self.canonical(name, value.to_owned());
        match key.kind.complaint(value) {
            None => Ok(()),
            Some(why) => Err(ConfigError::BadValue {
                file: file.to_owned(),
                line,
                key: name.to_owned(),
                value: value.clone(),
                why,
            }),
        }
    }

    /// Java reads booleans in any case.
    fn canonical(&self, name: &str, value: String) -> String {
        match self.key(name).map(|key| key.kind) {
            Some(Kind::Bool) => value.to_ascii_lowercase(),
            _ => value,
        }
    }

    fn unknown(&self, file: &str, line: usize, name: &str) -> String {
        match nearest(name, self.tables.iter().copied().flatten()) {
            Some(near) => format!("{file}:{line}: unknown key {name}, the nearest known is {near}"),
            None => format!("{file}:{line}: unknown key {name}"),
        }
    }
}

/// What reading a text over the settings did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// New values of the keys that changed.
    pub(crate) changed: BTreeMap<String, String>,
    /// Unknown keys, for the log.
    pub(crate) warnings: Vec<String>,
}
