//! The two identifiers of a message.
//!
//! | identifier        | capital hex of                                                         |
//! |-------------------|------------------------------------------------------------------------|
//! | offset message id | store host (4 or 16), port (4), position in the commit log (8)          |
//! | unique key        | ip (4 or 16), pid (2), class loader hash (4), ms since the start of the month (4), counter (2) |
//!
//! Both have 32 characters with IPv4 and 56 with IPv6. The producer makes the unique key
//! (`MessageClientIDSetter`), the broker the other one (`MessageDecoder.createMessageId`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};

use smallvec::SmallVec;

/// Characters of an identifier with an IPv4 address.
pub const ID_LEN_V4: usize = 32;
/// Characters of an identifier with an IPv6 address.
pub const ID_LEN_V6: usize = 56;

/// Writes bytes as hex digits, in pieces of a length that needs no allocation.
fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    for piece in bytes.chunks(16) {
        let mut hex = [0; 32];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(piece) {
            *pair = [digit(byte >> 4), digit(byte & 0xf)];
        }
        let hex = hex.get(..piece.len() * 2).unwrap_or_default();
        out.push_str(std::str::from_utf8(hex).unwrap_or_default());
    }
}

fn ip_octets(ip: IpAddr) -> SmallVec<[u8; 16]> {
    match ip {
        IpAddr::V4(ip) => ip.octets().as_slice().into(),
        IpAddr::V6(ip) => ip.octets().as_slice().into(),
    }
}

/// Reads hex of either case.
fn unhex(text: &str) -> Option<Vec<u8>> {
    if !matches!(text.len(), ID_LEN_V4 | ID_LEN_V6) {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

fn ip_from(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}

/// The offset message id of the message at a position in the commit log of a broker.
pub fn offset_id(store_host: SocketAddr, physical_offset: i64) -> String {
    let mut out = String::new();
    push_offset_ids(&mut out, store_host, std::iter::once(physical_offset));
    out
}

/// Writes the offset message ids of the messages of a batch, with commas between.
pub fn push_offset_ids(
    out: &mut String,
    store_host: SocketAddr,
    physical_offsets: impl Iterator<Item = i64>,
) {
    let mut host = SmallVec::<[u8; ID_LEN_V6 / 2]>::new();
    host.extend_from_slice(&ip_octets(store_host.ip()));
    host.extend_from_slice(&i32::from(store_host.port()).to_be_bytes());
    for (at, physical_offset) in physical_offsets.enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_hex(out, &host);
        push_hex(out, &physical_offset.to_be_bytes());
    }
}

/// The broker and the position that an offset message id names.
pub fn parse_offset_id(id: &str) -> Option<(SocketAddr, i64)> {
    let bytes = unhex(id)?;
    let (rest, offset) = bytes.split_last_chunk::<8>()?;
    let (ip, port) = rest.split_last_chunk::<4>()?;
    let port = u16::try_from(u32::from_be_bytes(*port)).ok()?;
    Some((
        SocketAddr::new(ip_from(ip)?, port),
        i64::from_be_bytes(*offset),
    ))
}

/// Makes unique keys: one for each process, or for each producer in a test.
#[derive(Debug)]
pub struct UniqueKeys {
    prefix: String,
    month: Mutex<Month>,
    counter: AtomicU16,
}

/// The month that keys count their milliseconds in.
#[derive(Clone, Copy, Debug)]
struct Month {
    start_ms: i64,
    end_ms: i64,
}

impl Month {
    /// The month of this time in the local time zone; in UTC where that is out of range.
    fn of(now_ms: i64) -> Self {
        let zone = jiff::tz::TimeZone::system();
        let month = jiff::Timestamp::from_millisecond(now_ms)
            .ok()
            .and_then(|now| {
                let start = now
                    .to_zoned(zone)
                    .first_of_month()
                    .ok()?
                    .start_of_day()
                    .ok()?;
                let end = start.checked_add(jiff::Span::new().months(1)).ok()?;
                let ms = |time: &jiff::Zoned| time.timestamp().as_millisecond();
                Some(Self {
                    start_ms: ms(&start),
                    end_ms: ms(&end),
                })
            });
        month.unwrap_or(Self {
            start_ms: now_ms,
            end_ms: now_ms,
        })
    }
}

impl UniqueKeys {
    /// Keys of the producer at this address in this process. `instance` tells apart several
    /// makers in one process, as the class loader does in Java.
    pub fn new(ip: IpAddr, pid: u32, instance: u32) -> Self {
        let mut prefix = String::with_capacity(ID_LEN_V6);
        push_hex(&mut prefix, &ip_octets(ip));
        push_hex(&mut prefix, &(pid as u16).to_be_bytes());
        push_hex(&mut prefix, &instance.to_be_bytes());
        let month = Mutex::new(Month {
            start_ms: 0,
            end_ms: 0,
        });
        Self {
            prefix,
            month,
            counter: AtomicU16::new(0),
        }
    }

    /// The next key at this time. 65,536 keys within one millisecond are different.
    pub fn next(&self, now_ms: i64) -> String {
        let month = {
            // A month is replaced as a whole, so one that a panic left behind is right as well.
            let mut month = self
                .month
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if now_ms >= month.end_ms {
                *month = Month::of(now_ms);
            }
            *month
        };
        // A clock that is set back a little must not make a negative number.
        let diff = now_ms.saturating_sub(month.start_ms).max(0);
        let mut key = String::with_capacity(ID_LEN_V6);
        key.push_str(&self.prefix);
        push_hex(&mut key, &(diff as u32).to_be_bytes());
        push_hex(
            &mut key,
            &self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes(),
        );
        key
    }
}

/// What a unique key says about its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Address of the producer.
    pub ip: IpAddr,
    /// The lower half of its process id.
    pub pid: u16,
    /// Milliseconds since the start of some month.
    pub month_ms: u32,
}

impl UniqueKey {
    /// Reads a key.
    pub fn parse(key: &str) -> Option<Self> {
        let bytes = unhex(key)?;
        let (rest, _counter) = bytes.split_last_chunk::<2>()?;
        let (rest, month_ms) = rest.split_last_chunk::<4>()?;
        let (rest, _instance) = rest.split_last_chunk::<4>()?;
        let (ip, pid) = rest.split_last_chunk::<2>()?;
        Some(Self {
            ip: ip_from(ip)?,
            pid: u16::from_be_bytes(*pid),
            month_ms: u32::from_be_bytes(*month_ms),
        })
    }

    /// When the key was made, if that was within the last month.
    pub fn near_time_ms(&self, now_ms: i64) -> i64 {
        let this_month = Month::of(now_ms).start_ms;
        let time = this_month.saturating_add(i64::from(self.month_ms));
        if time < now_ms {
            return time;
        }
        let last_month = Month::of(this_month.saturating_sub(1)).start_ms;
        last_month.saturating_add(i64::from(self.month_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offset_id_of_the_reference() {
        let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
        let id = offset_id(host, 0x1234);
        assert_eq!(id, "7F00000100002A9F0000000000001234");
        assert_eq!(parse_offset_id(&id), Some((host, 0x1234)));
        assert_eq!(parse_offset_id(&id.to_lowercase()), Some((host, 0x1234)));
    }

    #[test]
    fn what_is_no_id_is_none() {
        for bad in [
            "",
            "7F",
            "7F00000100002A9F000000000000123G",
            "7F0000017FFFFFFF0000000000001234",
        ] {
            assert_eq!(parse_offset_id(bad), None, "{bad}");
        }
        assert_eq!(UniqueKey::parse("0000000000000000000000000000000ä"), None);
    }

    #[test]
    fn unique_keys_differ_and_tell_their_time() {
        let keys = UniqueKeys::new("10.0.0.1".parse().unwrap(), 0x1_0203, 7);
        let now = 1_764_000_000_123;
        let (one, two) = (keys.next(now), keys.next(now));
        assert_ne!(one, two);
        assert!(one.starts_with("0A000001020300000007"));
        assert_eq!(one.len(), ID_LEN_V4);
        let parsed = UniqueKey::parse(&one).unwrap();
        assert_eq!(parsed.pid, 0x0203);
        assert_eq!(parsed.near_time_ms(now + 5), now);
        // Twenty days later the month may be another one.
        let later = now + 20 * 86_400_000;
        assert!(parsed.near_time_ms(later) <= later);
        let v6 = UniqueKeys::new("::1".parse().unwrap(), 1, 7).next(now);
        assert_eq!(v6.len(), ID_LEN_V6);
        assert_eq!(
            UniqueKey::parse(&v6).unwrap().ip,
            "::1".parse::<IpAddr>().unwrap()
        );
    }

    proptest! {
        #[test]
        fn offset_ids_round_trip(ip: [u8; 16], v4: [u8; 4], is_v6: bool, port: u16, offset: i64) {
            let ip = if is_v6 { IpAddr::from(ip) } else { IpAddr::from(v4) };
            let host = SocketAddr::new(ip, port);
            prop_assert_eq!(parse_offset_id(&offset_id(host, offset)), Some((host, offset)));
        }
    }
}
