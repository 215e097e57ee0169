//! Times as RocketMQ's tools print and read them, in the local time zone.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::client::ClientError;

fn format(ms: i64, pattern: &str) -> String {
    Timestamp::from_millisecond(ms)
        .map(|time| {
            time.to_zoned(TimeZone::system())
                .strftime(pattern)
                .to_string()
        })
        .unwrap_or_default()
}

/// `2026-11-22 10:20:30,123`.
pub(crate) fn with_ms(ms: i64) -> String {
    format(ms, "%Y-%m-%d %H:%M:%S,%3f")
}

/// `2026-11-22 10:20:30`.
pub(crate) fn with_seconds(ms: i64) -> String {
    format(ms, "%Y-%m-%d %H:%M:%S")
}

/// Reads `now`, ms since 1970, or `2026-11-22#10:20:30:123`.
pub(crate) fn parse(text: &str, now_ms: i64) -> Result<i64, ClientError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Ok(now_ms);
    }
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let invalid = || {
        let text = format!("{text} is not now, ms since 1970, or yyyy-MM-dd#HH:mm:ss:SSS");
        ClientError::Invalid(text)
    };
    let (seconds, ms) = text.rsplit_once(':').ok_or_else(invalid)?;
    let ms: i64 = ms.parse().map_err(|_| invalid())?;
    let time = DateTime::strptime("%Y-%m-%d#%H:%M:%S", seconds).map_err(|_| invalid())?;
    let zoned = time.to_zoned(TimeZone::system()).map_err(|_| invalid())?;
    Ok(zoned.timestamp().as_millisecond().saturating_add(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        let ms = 1_763_900_000_123;
        let text = with_ms(ms).replace(' ', "#").replace(',', ":");
        assert_eq!(parse(&text, 0).unwrap(), ms);
        assert_eq!(parse("now", 7).unwrap(), 7);
        assert_eq!(parse("-1", 7).unwrap(), -1);
        assert!(parse("yesterday", 7).is_err());
    }
}
