//! The debug endpoint over a plain socket: one request, one connection.

use super::eventually;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An HTTP answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }
}

pub fn get(to: SocketAddr, path: &str) -> Result<Answer> {
    request(to, "GET", path, "application/json")
}

pub fn post(to: SocketAddr, path: &str) -> Result<Answer> {
    request(to, "POST", path, "application/json")
}

/// HTTP/1.0, so that the server closes at the end and nothing comes in chunks.
pub fn request(to: SocketAddr, method: &str, path: &str, accept: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {to}\r\nAccept: {accept}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let bad = || Error::new(ErrorKind::InvalidData, "no HTTP answer");
    let end = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(bad)?;
    Ok(Answer {
        status,
        head,
        body: all.split_off(end + 4),
    })
}

/// One actor of the tree as the endpoint shows it.
#[derive(Clone, Debug)]
pub struct ActorInfo {
    pub path: String,
    pub kind: String,
    pub state: String,
    pub restarts: u64,
}

/// All actors, depth first. A request that is in the air while the console itself restarts fails
/// (ARCHITECTURE.md, "What a crash costs"), so it is asked again.
pub fn actors(to: SocketAddr) -> Vec<ActorInfo> {
    let answer = eventually("GET /actors", || {
        get(to, "/actors?depth=16&limit=1000").ok()
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut all = Vec::new();
    collect(&answer.json(), &mut all);
    all
}

fn collect(node: &Value, all: &mut Vec<ActorInfo>) {
    if let Value::Array(list) = node {
        list.iter().for_each(|child| collect(child, all));
        return;
    }
    let text = |name: &str| node[name].as_str().unwrap_or_default().to_string();
    all.push(ActorInfo {
        path: text("path"),
        kind: text("kind"),
        state: text("state"),
        restarts: node["restarts"].as_u64().unwrap_or(0),
    });
    if let Some(children) = node.get("children") {
        collect(children, all);
    }
}

/// Restarts of every actor, by path.
pub fn restarts(console: SocketAddr) -> BTreeMap<String, u64> {
    actors(console)
        .into_iter()
        .map(|actor| (actor.path, actor.restarts))
        .collect()
}

/// Percent-encodes what a path segment may not hold (an IPv6 peer has brackets).
pub fn escape(path: &str) -> String {
    path.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b':' => {
                (b as char).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// Crashes an actor, now or at a fail point.
pub fn crash(console: SocketAddr, path: &str, at: Option<&str>) {
    let query = at.map_or(String::new(), |point| format!("?at={point}"));
    let answer = post(console, &format!("/actors/{}/crash{query}", escape(path)));
    let answer = answer.unwrap_or_else(|error| panic!("crash {path}{query}: {error}"));
    assert!(
        (200..300).contains(&answer.status),
        "{path}{query}: {}",
        answer.text()
    );
}
