//! Parsed expressions and their values.
//!
//! Logic has three values: what compares a property that a message lacks is neither true nor false
//! (`None`), and stays so through AND, OR and NOT unless the other side decides.

use std::{cmp::Ordering, collections::HashSet};

use memchr::memmem;

use super::value::{NotComparable, Value};

/// A constant of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

/// `<` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Order {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Order::Less => found.is_lt(),
            Order::LessEqual => found.is_le(),
            Order::Greater => found.is_gt(),
            Order::GreaterEqual => found.is_ge(),
        }
    }
}

/// Where a text is looked for in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    Anywhere,
    Start,
    End,
}

/// The texts of an IN: searched one by one while they are few, as RocketMQ does it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum List {
    Few(Box<[Box<str>]>),
    Many(HashSet<Box<[u8]>>),
}

impl List {
    pub(super) fn new(texts: Vec<Box<str>>) -> Self {
        const FEW: usize = 8;
        if texts.len() <= FEW {
            return List::Few(texts.into_boxed_slice());
        }
        List::Many(texts.into_iter().map(Box::<[u8]>::from).collect())
    }

    fn contains(&self, text: &[u8]) -> bool {
        match self {
            List::Few(texts) => texts.iter().any(|known| known.as_bytes() == text),
            List::Many(texts) => texts.contains(text),
        }
    }
}

/// A node of a parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Constant(Constant),
    /// A property, by its position among the names of the filter.
    Property(usize),
    Negate(Box<Expr>),
    /// A property as a condition: never true, for it is text.
    Cast(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Equal(Box<Expr>, Box<Expr>),
    IsNull(Box<Expr>),
    Compare(Order, Box<Expr>, Box<Expr>),
    Between {
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        not: bool,
    },
    Match {
        within: Within,
        not: bool,
        value: Box<Expr>,
        text: Box<str>,
    },
    In {
        property: usize,
        list: List,
        not: bool,
    },
}

/// The properties of a message that the filter names, in the order of its names.
type Found<'a> = [Option<&'a [u8]>];

type Truth = Result<Option<bool>, NotComparable>;

impl Expr {
    /// The value as a condition; what is none (a number, a text) has no truth.
    pub(super) fn truth(&self, found: &Found<'_>) -> Truth {
        Ok(match self {
            Expr::Constant(Constant::Bool(truth)) => Some(*truth),
            Expr::Constant(_) | Expr::Property(_) | Expr::Negate(_) => None,
            Expr::Cast(inner) => match inner.value(found)? {
                None => None,
                Some(Value::Bool(truth)) => Some(truth),
                Some(_) => Some(false),
            },
            Expr::Not(inner) => inner.truth(found)?.map(|truth| !truth),
            Expr::And(all) => return join(all, found, false),
            Expr::Or(all) => return join(all, found, true),
            Expr::Equal(left, right) => match (left.value(found)?, right.value(found)?) {
                (None, None) => Some(true),
                (None, Some(_)) => None,
                (Some(_), None) => Some(false),
                (Some(left), Some(right)) => Some(left.equals(right)?),
            },
            Expr::IsNull(inner) => Some(inner.value(found)?.is_none()),
            Expr::Compare(order, left, right) => {
                let Some(left) = left.value(found)? else {
                    return Ok(None);
                };
                compare(*order, left, right, found)?
            }
            Expr::Between {
                value,
                low,
                high,
                not,
            } => return between(value, low, high, *not, found),
            Expr::Match {
                within,
                not,
                value,
                text,
            } => match value.value(found)? {
                Some(Value::Text(value)) if !text.is_empty() => {
                    Some(holds(*within, value, text.as_bytes()) != *not)
                }
                _ => Some(false),
            },
            Expr::In {
                property,
                list,
                not,
            } => found
                .get(*property)
                .copied()
                .flatten()
                .map(|text| list.contains(text) != *not),
        })
    }

    fn value<'a>(&'a self, found: &Found<'a>) -> Result<Option<Value<'a>>, NotComparable> {
        Ok(match self {
            Expr::Constant(constant) => match constant {
                Constant::Null => None,
                Constant::Bool(truth) => Some(Value::Bool(*truth)),
                Constant::Int(number) => Some(Value::Int(*number)),
                Constant::Long(number) => Some(Value::Long(*number)),
                Constant::Double(number) => Some(Value::Double(*number)),
                Constant::Text(text) => Some(Value::Text(text.as_bytes())),
            },
            Expr::Property(at) => found.get(*at).copied().flatten().map(Value::Text),
            Expr::Negate(inner) => match inner.value(found)? {
                Some(Value::Int(number)) => Some(Value::Int(number.wrapping_neg())),
                Some(Value::Long(number)) => Some(Value::Long(number.wrapping_neg())),
                Some(Value::Double(number)) => Some(Value::Double(-number)),
                _ => None,
            },
            _ => self.truth(found)?.map(Value::Bool),
        })
    }

    /// Whether it is a condition by its form (a `BooleanExpression`).
    pub(super) fn is_condition(&self) -> bool {
        match self {
            Expr::Constant(constant) => matches!(constant, Constant::Null | Constant::Bool(_)),
            Expr::Property(_) | Expr::Negate(_) => false,
            _ => true,
        }
    }
}

/// AND and OR: the first that `decides` ends it, in the order they were written.
fn join(all: &[Expr], found: &Found<'_>, decides: bool) -> Truth {
    let mut unknown = false;
    for one in all {
        match one.truth(found)? {
            Some(truth) if truth == decides => return Ok(Some(decides)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok((!unknown).then_some(!decides))
}

fn compare<'a>(
    order: Order,
    left: Value<'a>,
    right: &'a Expr,
    found: &Found<'a>,
) -> Result<Option<bool>, NotComparable> {
    let Some(right) = right.value(found)? else {
        return Ok(None);
    };
    Ok(Some(order.holds(left.order(right)?)))
}

/// BETWEEN is `>= low AND <= high`, its negation `< low OR > high`.
fn between(value: &Expr, low: &Expr, high: &Expr, not: bool, found: &Found<'_>) -> Truth {
    let (first, second) = if not {
        (Order::Less, Order::Greater)
    } else {
        (Order::GreaterEqual, Order::LessEqual)
    };
    let Some(value) = value.value(found)? else {
        return Ok(None);
    };
    let low = compare(first, value, low, found)?;
    if low == Some(not) {
        return Ok(low);
    }
    let high = compare(second, value, high, found)?;
    Ok(if high == Some(not) {
        high
    } else {
        low.and(high)
    })
}

fn holds(within: Within, value: &[u8], text: &[u8]) -> bool {
    match within {
        Within::Anywhere => memmem::find(value, text).is_some(),
        Within::Start => value.starts_with(text),
        Within::End => value.ends_with(text),
    }
}
