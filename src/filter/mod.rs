//! Filters on the properties of messages: SQL92 expressions (`org.apache.rocketmq.filter`).
//!
//! An expression is parsed once per subscription into a [`SqlFilter`], which is then asked for each
//! message, with the bytes of its properties as the log holds them: nothing is allocated for that.
//!
//! ```
//! use callboard::filter::SqlFilter;
//!
//! let filter = SqlFilter::parse("price BETWEEN 10 AND 20 AND (colour IN ('red') OR size IS NULL)")?;
//! assert!(filter.matches(b"price\x0112\x02colour\x01red\x02"));
//! assert!(!filter.matches(b"price\x01cheap\x02"));
//! # Ok::<(), callboard::filter::FilterError>(())
//! ```

pub mod bloom;
mod expression;
mod number;
mod parser;
mod token;
mod value;

use smallvec::SmallVec;

use self::{expression::Expr, parser::Names};
use crate::protocol::message::properties;

/// Longest expression that is taken, in bytes. RocketMQ has no such limit.
pub const EXPRESSION_LEN_MAX: usize = 64 * 1024;

/// How deep an expression may be nested: parentheses, signs and NOTs inside each other, and
/// comparisons of comparisons. RocketMQ refuses at some thousands, when its stack is full.
pub const DEPTH_MAX: usize = 64;

/// Properties that a filter of ordinary size names; more take one allocation per message.
const NAMES_INLINE: usize = 8;

/// Why an expression is none. The text begins as RocketMQ's does (`MQFilterException`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No text at all.
    #[error("Invalid MessageSelector. The expression is empty")]
    Empty,
    /// The text is longer than [`EXPRESSION_LEN_MAX`].
    #[error("Invalid MessageSelector. {0} bytes are too many, {EXPRESSION_LEN_MAX} is the most")]
    TooLong(usize),
    /// The text does not follow the grammar, or compares what cannot be compared.
    #[error("Invalid MessageSelector. {what} at byte {at}")]
    Invalid {
        /// What is wrong.
        what: &'static str,
        /// Where, from the start of the expression.
        at: usize,
    },
}

/// A parsed SQL92 expression (`SqlFilter.compile`).
#[derive(Debug, Clone, PartialEq)]
pub struct SqlFilter {
    root: Expr,
    names: Names,
}

impl SqlFilter {
    /// Parses an expression.
    ///
    /// # Errors
    /// See [`FilterError`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > EXPRESSION_LEN_MAX {
            return Err(FilterError::TooLong(text.len()));
        }
        let (root, names) = parser::parse(text)?;
        Ok(Self { root, names })
    }

    /// Whether the expression is true for a message with these properties. What is neither true
    /// nor false, or compares what cannot be compared, does not match
    /// (`ExpressionMessageFilter.isMatchedByCommitLog`).
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.evaluate(properties) == Some(true)
    }

    /// The value of the expression; `None` where it has none.
    pub fn evaluate(&self, properties: &[u8]) -> Option<bool> {
        let mut found: SmallVec<[Option<&[u8]>; NAMES_INLINE]> = SmallVec::new();
        found.resize(self.names.len(), None);
        if !found.is_empty() {
            for (name, value) in properties::entries(properties) {
                let known = self.names.iter().position(|own| own.as_bytes() == name);
                if let Some(slot) = known.and_then(|at| found.get_mut(at)) {
                    *slot = Some(value);
                }
            }
        }
        self.root.truth(&found).ok().flatten()
    }

    /// The properties that the expression looks at.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

#[cfg(test)]
mod tests;
