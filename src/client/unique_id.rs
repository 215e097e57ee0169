//! UNIQ_KEY: the id a client gives a message before it is sent, see
//! [`protocol::message::id`](crate::protocol::message::id) for its form.

use std::sync::OnceLock;

use crate::client::config::local_ip;
use crate::client::now_ms;
use crate::protocol::message::id::{UniqueKey, UniqueKeys};

/// A new id, unique over all hosts and processes as far as address, process id and a random number
/// go.
pub fn create() -> String {
    static KEYS: OnceLock<UniqueKeys> = OnceLock::new();
    let keys = KEYS.get_or_init(|| UniqueKeys::new(local_ip(), std::process::id(), rand::random()));
    keys.next(now_ms())
}

/// When an id was made, in ms, if that was within the last month. None when the text is no id.
pub fn creation_time_ms(id: &str, now_ms: i64) -> Option<i64> {
    UniqueKey::parse(id).map(|key| key.near_time_ms(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_tell_their_time() {
        let (one, two) = (create(), create());
        assert_ne!(one, two);
        let now = now_ms();
        let made = creation_time_ms(&one, now + 1).unwrap();
        assert!(made <= now);
        assert_eq!(creation_time_ms("", now), None);
        assert_eq!(creation_time_ms(&"Ä".repeat(16), now), None);
    }
}
