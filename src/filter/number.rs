//! Numbers as Java reads them from text.

/// `Integer.valueOf` and `Long.valueOf`: a sign and digits, nothing else.
pub(super) fn whole<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `Double.valueOf`: blanks around it do not count, a type suffix is allowed, `NaN` and `Infinity`
/// are written so. Java's hexadecimal form is not taken.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let blank = |byte: &u8| *byte <= b' ';
    let from = text.iter().position(|byte| !blank(byte))?;
    let to = text.iter().rposition(|byte| !blank(byte))?;
    let text = std::str::from_utf8(text.get(from..=to)?).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = match digits {
        "NaN" => return Some(f64::NAN),
        "Infinity" => f64::INFINITY,
        // What is no digit here is a word that only Rust takes for a number, or a second sign.
        _ if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => return None,
        _ => digits
            .strip_suffix(['f', 'F', 'd', 'D'])
            .unwrap_or(digits)
            .parse()
            .ok()?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_java_s() {
        for (text, value) in [
            ("5", 5.0),
            (" \t5.5e1 ", 55.0),
            ("-5.", -5.0),
            (".5f", 0.5),
            ("+1E+2D", 100.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
        ] {
            assert_eq!(double(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "", " ", "inf", "nan", "infinity", ".", "+-5", "5_0", "1e", "5ff", "f", "0x", "d5",
            "5 5",
        ] {
            assert_eq!(double(text.as_bytes()), None, "{text}");
        }
        assert!(double(b"NaN").unwrap().is_nan());
    }

    #[test]
    fn whole_numbers_have_no_blanks_and_no_fraction() {
        assert_eq!(whole::<i32>(b"+7"), Some(7));
        assert_eq!(whole::<i64>(b"-9223372036854775808"), Some(i64::MIN));
        for text in ["", "+", " 7", "7.0", "7L", "2147483648"] {
            assert_eq!(whole::<i32>(text.as_bytes()), None, "{text}");
        }
    }
}
