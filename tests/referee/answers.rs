//! Calls both sides and compares what they say, without what has to differ: addresses, times, ids.

use crate::common::remoting::{Client, Frame, NoAnswer};
use crate::script::{Body, Step};
use callboard::protocol::fastjson::{self, Value};
use callboard::protocol::message::record::records;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Longer than any of the steps makes a server wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, and what its earlier answers said.
pub struct Side {
    address: SocketAddr,
    client: Client,
    kept: BTreeMap<String, String>,
}

/// An answer without what has to differ.
pub struct Answer {
    code: String,
    remark: String,
    ext: BTreeMap<String, String>,
    body: BTreeMap<String, String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer {
            code,
            remark,
            ext,
            body,
        } = self;
        write!(f, "{code} {remark:?} {ext:?} {body:?}")
    }
}

impl Side {
    pub fn connect(address: SocketAddr) -> Side {
        Side {
            address,
            client: Client::connect(address).expect("connect"),
            kept: BTreeMap::new(),
        }
    }

    pub fn call(&mut self, step: &Step) -> Answer {
        let fields: Vec<(&str, String)> = step
            .ext
            .iter()
            .map(|(name, value)| (name.as_str(), self.filled(value)))
            .collect();
        let body = match &step.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Text(text) => self.filled(text).into_bytes(),
        };
        let mut answer = self.client.call(step.code, &fields, &body, PATIENCE);
        // A broker also closes the connection of a client whose last heartbeat is too long ago, at any
        // moment; one that closes because of the request does it again.
        if matches!(answer, Err(NoAnswer::Closed)) {
            self.connect_again();
            answer = self.client.call(step.code, &fields, &body, PATIENCE);
        }
        if self.client.is_closed() {
            self.connect_again();
        }
        if let Ok(frame) = &answer {
            for (name, field) in &step.keeps {
                self.kept
                    .insert(name.clone(), frame.ext_text(field).to_owned());
            }
        }
        self.neutral(step, answer)
    }

    fn connect_again(&mut self) {
        self.client = Client::connect(self.address).expect("connect again");
    }

    /// The text with `{name}` replaced by what an earlier answer said.
    fn filled(&self, text: &str) -> String {
        let mut text = text.replace("{address}", &self.address.to_string());
        for (name, value) in &self.kept {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    fn neutral(&self, step: &Step, answer: Result<Frame, NoAnswer>) -> Answer {
        let frame = match answer {
            Ok(frame) => frame,
            Err(why) => {
                return Answer {
                    code: format!("{why:?}"),
                    remark: String::new(),
                    ext: BTreeMap::new(),
                    body: BTreeMap::new(),
                };
            }
        };
        let ext = frame.ext.iter().map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), self.neutral_text(&text))
        });
        Answer {
            code: frame.code.to_string(),
            remark: self.neutral_remark(&frame.remark),
            ext: ext.collect(),
            body: self.neutral_body(step, &frame.body),
        }
    }

    /// An exception's text is how RocketMQ says that it did not foresee something: only that is kept.
    fn neutral_remark(&self, remark: &str) -> String {
        let is_exception = ["Exception", "java.lang.", "Error:"];
        if is_exception.iter().any(|mark| remark.contains(mark)) {
            return "<exception>".to_owned();
        }
        self.neutral_text(&remark.replace('\n', " "))
    }

    /// Without this broker's addresses, without times and ids.
    fn neutral_text(&self, text: &str) -> String {
        let port = self.address.port();
        let mut out = String::new();
        for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
            let end =
                word.len() - usize::from(word.ends_with(|c: char| !c.is_ascii_alphanumeric()));
            // The last character may be of several bytes.
            let end = (0..=end)
                .rev()
                .find(|&at| word.is_char_boundary(at))
                .unwrap_or(0);
            let (word, rest) = word.split_at(end);
            let number = word.parse::<u64>().ok();
            let is_id =
                matches!(word.len(), 32 | 40 | 56) && word.bytes().all(|b| b.is_ascii_hexdigit());
            match number {
                _ if is_id => out.push_str("<id>"),
                Some(n) if (1_000_000_000_000..100_000_000_000_000).contains(&n) => {
                    out.push_str("<time>");
                }
                Some(n) if n.abs_diff(u64::from(port)) <= 2 => out.push_str("<port>"),
                Some(n) if n == u64::from(self.client.local.port()) => out.push_str("<client>"),
                _ => out.push_str(word),
            }
            out.push_str(rest);
        }
        out
    }

    /// The body as paths and values.
    fn neutral_body(&self, step: &Step, body: &[u8]) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        if body.is_empty() {
            return out;
        }
        if let Ok(value) = fastjson::from_slice::<Value>(body) {
            self.walk(&value, "", &mut out);
        } else if let Ok(views) = records(body).collect::<Result<Vec<_>, _>>() {
            for (at, view) in views.iter().enumerate() {
                let text = format!(
                    "{} queue {} offset {} flag {} sys flag {} reconsumed {} prepared {} {}",
                    view.topic,
                    view.queue_id,
                    view.queue_offset,
                    view.flag,
                    view.sys_flag,
                    view.reconsume_times,
                    view.prepared_transaction_offset > 0,
                    String::from_utf8_lossy(view.body),
                );
                out.insert(format!("message {at}"), self.neutral_text(&text));
                let properties = String::from_utf8_lossy(view.properties);
                for property in properties.split('\u{2}').filter(|text| !text.is_empty()) {
                    let (name, value) = property.split_once('\u{1}').unwrap_or((property, ""));
                    let path = format!("message {at} {name}");
                    out.insert(path, self.neutral_text(value));
                }
            }
        } else if let Ok(text) = std::str::from_utf8(body) {
            for line in text.lines() {
                let (name, value) = line.split_once('=').unwrap_or((line, ""));
                out.insert(name.to_owned(), self.neutral_text(value));
            }
        } else {
            out.insert("bytes".to_owned(), body.len().to_string());
        }
        if step.names_only {
            for value in out.values_mut() {
                value.clear();
            }
        }
        out
    }

    /// What tells an item of a list from the others: its only key, or all of it.
    fn name_of(&self, item: &Value) -> String {
        match item {
            Value::Object(entries) if entries.len() == 1 => {
                self.neutral_text(&text_of(&entries[0].0))
            }
            other => self.neutral_text(&text_of(other)),
        }
    }

    fn walk(&self, value: &Value, path: &str, out: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    let key = match key {
                        Value::Text(text) => self.neutral_text(text),
                        other => self.neutral_text(&text_of(other)),
                    };
                    self.walk(value, &format!("{path}.{key}"), out);
                }
                out.insert(path.to_owned(), "{}".to_owned());
            }
            Value::Array(items) => {
                // Most of RocketMQ's lists were sets. What an item has in it tells more than its figures.
                let mut items: Vec<_> = items
                    .iter()
                    .map(|item| {
                        let mut inside = BTreeMap::new();
                        self.walk(item, "", &mut inside);
                        let paths: Vec<String> = inside.into_keys().collect();
                        (paths, self.name_of(item), item)
                    })
                    .collect();
                items.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
                for (at, (_, name, item)) in items.into_iter().enumerate() {
                    let name = if name.len() > 60 {
                        at.to_string()
                    } else {
                        name
                    };
                    self.walk(item, &format!("{path}[{name}]"), out);
                }
                out.insert(path.to_owned(), "[]".to_owned());
            }
            Value::Text(text) => {
                out.insert(path.to_owned(), self.neutral_text(text));
            }
            other => {
                out.insert(path.to_owned(), self.neutral_text(&text_of(other)));
            }
        }
    }
}

fn text_of(value: &Value) -> String {
    let bytes = fastjson::to_vec(value).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What differs, a line each.
pub fn compare(step: &Step, theirs: &Answer, ours: &Answer) -> Vec<String> {
    let mut out = Vec::new();
    // What one side lacks altogether is told once, without its parts.
    let mut lacking: Option<String> = None;
    let mut line = |what: &str, theirs: Option<&str>, ours: Option<&str>| {
        if lacking
            .as_ref()
            .is_some_and(|whole| what.starts_with(whole))
        {
            return;
        }
        if theirs != ours {
            if theirs.is_none() || ours.is_none() {
                lacking = Some(format!("{what}."));
            }
            let show =
                |text: Option<&str>| text.map_or("nothing".to_owned(), |t| format!("\"{t}\""));
            out.push(format!("{what}: {} here {}", show(theirs), show(ours)));
        }
    };
    // Where RocketMQ stumbles over an exception that it did not foresee, any refusal will do.
    if theirs.code == "1" && theirs.remark == "<exception>" {
        if ours.code == "0" {
            line("code", Some(&theirs.code), Some(&ours.code));
        }
        return out;
    }
    line("code", Some(&theirs.code), Some(&ours.code));
    if theirs.remark != "<exception>" {
        line("remark", Some(&theirs.remark), Some(&ours.remark));
    }
    for (what, theirs, ours) in [
        ("field", &theirs.ext, &ours.ext),
        ("body", &theirs.body, &ours.body),
    ] {
        let names: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for name in names {
            if step
                .ignores
                .iter()
                .any(|ignored| name.ends_with(ignored.as_str()))
            {
                continue;
            }
            let of = |side: &BTreeMap<String, String>| side.get(name).cloned();
            line(
                &format!("{what} {name}"),
                of(theirs).as_deref(),
                of(ours).as_deref(),
            );
        }
    }
    out
}
