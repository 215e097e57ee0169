//! Values of expressions, and how two of them compare (`ComparisonExpression.__compare`).

use std::cmp::Ordering;

use super::number;

/// Why an expression has no value for a message: what RocketMQ ends with an exception then, which
/// makes the whole expression match nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotComparable;

/// A value other than null; text points into the message or the expression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a [u8]),
}

impl Value<'_> {
    /// `=`: equal as they are, or once one is made the other's kind.
    pub(super) fn equals(self, other: Self) -> Result<bool, NotComparable> {
        match (self, other) {
            (Value::Text(left), Value::Text(right)) => Ok(left == right),
            _ => Ok(self.compare(other)? == Ordering::Equal),
        }
    }

    /// For `<` and its like: two texts are compared as numbers.
    pub(super) fn order(self, other: Self) -> Result<Ordering, NotComparable> {
        match (self, other) {
            (Value::Text(left), Value::Text(right)) => Ok(double(left)?.total_cmp(&double(right)?)),
            _ => self.compare(other),
        }
    }

    /// Two values that are not both text. A text becomes what the other one is; of numbers the
    /// narrower becomes the wider; a boolean and a number are never equal, whichever is left is
    /// less.
    fn compare(self, other: Self) -> Result<Ordering, NotComparable> {
        use Value::{Bool, Double, Int, Long, Text};
        Ok(match (self, other) {
            (Bool(left), Bool(right)) => left.cmp(&right),
            (Int(left), Int(right)) => left.cmp(&right),
            (Int(left), Text(right)) => left.cmp(&whole(right)?),
            (Text(left), Int(right)) => whole::<i32>(left)?.cmp(&right),
            (Long(left), Text(right)) => left.cmp(&whole(right)?),
            (Text(left), Long(right)) => whole::<i64>(left)?.cmp(&right),
            (Double(left), Text(right)) => left.total_cmp(&double(right)?),
            (Text(left), Double(right)) => double(left)?.total_cmp(&right),
            (Text(left), Bool(right)) => left.eq_ignore_ascii_case(b"true").cmp(&right),
            // RocketMQ takes the boolean for the text here, and fails.
            (Bool(_), Text(_)) => return Err(NotComparable),
            (Int(left), Long(right)) => i64::from(left).cmp(&right),
            (Long(left), Int(right)) => left.cmp(&i64::from(right)),
            (Long(left), Long(right)) => left.cmp(&right),
            (Double(left), Double(right)) => left.total_cmp(&right),
            (Double(left), Int(right)) => left.total_cmp(&f64::from(right)),
            (Int(left), Double(right)) => f64::from(left).total_cmp(&right),
            (Double(left), Long(right)) => left.total_cmp(&(right as f64)),
            (Long(left), Double(right)) => (left as f64).total_cmp(&right),
            (Text(left), Text(right)) => left.cmp(right),
            (Bool(_), _) | (_, Bool(_)) => Ordering::Less,
        })
    }
}

fn whole<T: std::str::FromStr>(text: &[u8]) -> Result<T, NotComparable> {
    number::whole(text).ok_or(NotComparable)
}

fn double(text: &[u8]) -> Result<f64, NotComparable> {
    number::double(text).ok_or(NotComparable)
}
