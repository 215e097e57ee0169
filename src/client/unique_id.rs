//! UNIQ_KEY: the id a client gives a message before it is sent (RocketMQ's MessageClientIDSetter).
//!
//! ```text
//! ip (4 or 16) | pid (2) | random per process (4) | ms since start of month (4) | counter (2)
//! ```
//!
//! in upper-case hex: 32 characters with an IPv4 address, 56 with IPv6. Tools read the creation
//! time back from the id to narrow the range of a query, so month and milliseconds follow Java.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::{Timestamp, ToSpan, Zoned, civil, tz::TimeZone};

use crate::client::config::local_ip;

/// Characters of an id made on an IPv4 host.
pub const ID_LEN_V4: usize = 32;
/// Characters of an id made on an IPv6 host.
pub const ID_LEN_V6: usize = 56;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn prefix() -> &'static (IpAddr, [u8; 6]) {
    static PREFIX: OnceLock<(IpAddr, [u8; 6])> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let pid = (std::process::id() as u16).to_be_bytes();
        let salt = rand::random::<u32>().to_be_bytes();
        (
            local_ip(),
            [pid[0], pid[1], salt[0], salt[1], salt[2], salt[3]],
        )
    })
}

/// A new id, unique over all hosts and processes as far as address, pid and salt go.
pub fn create() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed) as u16;
    create_at(Timestamp::now().as_millisecond(), count)
}

fn create_at(now_ms: i64, count: u16) -> String {
    let (ip, process) = prefix();
    let since = now_ms.saturating_sub(month_start_ms(now_ms)) as u32;
    let mut id = String::with_capacity(ID_LEN_V6);
    match ip {
        IpAddr::V4(v4) => push_hex(&mut id, &v4.octets()),
        IpAddr::V6(v6) => push_hex(&mut id, &v6.octets()),
    }
    push_hex(&mut id, process);
    push_hex(&mut id, &since.to_be_bytes());
    push_hex(&mut id, &count.to_be_bytes());
    id
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)] as char);
        out.push(HEX[usize::from(byte & 15)] as char);
    }
}

/// Start of the local month that `now_ms` is in. Kept until the month ends: the conversion of
/// time zones costs more than the rest of the id.
fn month_start_ms(now_ms: i64) -> i64 {
    static MONTH: std::sync::Mutex<(i64, i64)> = std::sync::Mutex::new((0, 0));
    let mut month = super::lock(&MONTH);
    if now_ms < month.0 || now_ms >= month.1 {
        *month = month_around(now_ms).unwrap_or((now_ms, now_ms));
    }
    month.0
}

fn month_around(now_ms: i64) -> Option<(i64, i64)> {
    let zone = TimeZone::system();
    let now: Zoned = Timestamp::from_millisecond(now_ms)
        .ok()?
        .to_zoned(zone.clone());
    let first: civil::Date = now.date().first_of_month();
    let next = first.checked_add(1.month()).ok()?;
    let begin = first
        .to_zoned(zone.clone())
        .ok()?
        .timestamp()
        .as_millisecond();
    let end = next.to_zoned(zone).ok()?.timestamp().as_millisecond();
    Some((begin, end))
}

/// When an id was made, in ms: the latest month whose start plus the id's milliseconds is not in
/// the future, as Java's `getNearlyTimeFromID`. None when the text is not such an id.
pub fn creation_time_ms(id: &str, now_ms: i64) -> Option<i64> {
    let ip_hex = match id.len() {
        ID_LEN_V4 => 8,
        ID_LEN_V6 => 32,
        _ => return None,
    };
    let since = i64::from(u32::from_str_radix(id.get(ip_hex + 12..ip_hex + 20)?, 16).ok()?);
    let (begin, _) = month_around(now_ms)?;
    let time = begin.checked_add(since)?;
    if time <= now_ms {
        return Some(time);
    }
    let (before, _) = month_around(begin - 1)?;
    before.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gives_its_time_back() {
        let now = 1_763_900_000_123;
        let id = create_at(now, 7);
        assert!(id.len() == ID_LEN_V4 || id.len() == ID_LEN_V6);
        assert!(id.ends_with("0007"));
        assert_eq!(creation_time_ms(&id, now + 5), Some(now));
    }

    #[test]
    fn foreign_texts_have_no_time() {
        assert_eq!(creation_time_ms("", 0), None);
        assert_eq!(creation_time_ms(&"Ä".repeat(16), 0), None);
        assert_eq!(creation_time_ms(&"z".repeat(32), 0), None);
    }

    #[test]
    fn ids_differ() {
        assert_ne!(create(), create());
    }
}
