//! From text to [`Expr`]: the grammar of RocketMQ's `SelectorParser.jj`, on winnow's combinators.
//!
//! ```text
//! or         = and ("OR" and)*
//! and        = equality ("AND" equality)*
//! equality   = comparison ("=" comparison | "<>" comparison | "IS" ["NOT"] "NULL")*
//! comparison = unary ((">" | ">=" | "<" | "<=") unary
//!                  | ["NOT"] ("CONTAINS" | "STARTSWITH" | "ENDSWITH") text
//!                  | ["NOT"] "BETWEEN" unary "AND" unary
//!                  | ["NOT"] "IN" "(" text ("," text)* ")")*
//! unary      = ("+" | "-" | "NOT") unary | primary
//! primary    = text | number | "TRUE" | "FALSE" | "NULL" | property | "(" or ")"
//! ```
//!
//! Keywords are of any case, names of properties of the one they are written in. As in RocketMQ
//! the expression may end before its text does: of the rest only the next token has to be one.
//! Nothing is tried twice: once an operator is read, what follows has to fit.

use winnow::{
    Parser,
    ascii::digit1,
    combinator::{alt, cut_err, eof, not, opt, peek, separated, terminated},
    token::one_of,
};

use super::{
    DEPTH_MAX, FilterError,
    expression::{Constant, Expr, List, Order, Within},
    token::{
        Failure, Input, Parsed, State, keyword, number, property, refusal, space, symbol, text,
        word,
    },
};

/// The names of an expression's properties; [`Expr::Property`] holds positions in here.
pub(super) type Names = Box<[Box<str>]>;

/// Parses a whole expression, which yields a condition and the names of its properties.
pub(super) fn parse(text: &str) -> Result<(Expr, Names), FilterError> {
    let mut input = Input {
        input: text,
        state: State::default(),
    };
    let parsed = terminated(cut_err(or), end)
        .parse_next(&mut input)
        .and_then(condition);
    match parsed {
        Ok(root) => Ok((root, input.state.names.into_boxed_slice())),
        Err(error) => {
            let context = error.into_inner().ok();
            let what = context.and_then(|context| context.context().next().copied());
            Err(FilterError::Invalid {
                what: what.unwrap_or("unexpected text"),
                at: text.len() - input.input.len(),
            })
        }
    }
}

/// What comes after the expression: nothing, or any token that does not carry it on.
fn end(input: &mut Input<'_>) -> Parsed<()> {
    space(input)?;
    let token = alt((
        (opt('.'), digit1).void(),
        text.void(),
        word.void(),
        one_of(['(', ')', ',', '+', '-', '=', '<', '>']).void(),
    ));
    cut_err(alt((eof.void(), peek(token))))
        .context("unexpected character")
        .parse_next(input)
}

fn or(input: &mut Input<'_>) -> Parsed<Expr> {
    joined(input, "OR", and, Expr::Or)
}

fn and(input: &mut Input<'_>) -> Parsed<Expr> {
    joined(input, "AND", equality, Expr::And)
}

/// One or more parts with a word between them.
fn joined(
    input: &mut Input<'_>,
    between: &'static str,
    part: fn(&mut Input<'_>) -> Parsed<Expr>,
    join: fn(Vec<Expr>) -> Expr,
) -> Parsed<Expr> {
    let first = part(input)?;
    if opt(keyword(between)).parse_next(input)?.is_none() {
        return Ok(first);
    }
    let mut all = vec![condition(first)?];
    loop {
        all.push(condition(cut_err(part).parse_next(input)?)?);
        if opt(keyword(between)).parse_next(input)?.is_none() {
            return Ok(join(all));
        }
    }
}

/// The operators of equality.
#[derive(Clone, Copy)]
enum Equality {
    Equal,
    NotEqual,
    Is,
}

fn equality(input: &mut Input<'_>) -> Parsed<Expr> {
    let mut left = comparison(input)?;
    let mut operator = alt((
        symbol("=").value(Equality::Equal),
        symbol("<>").value(Equality::NotEqual),
        keyword("IS").value(Equality::Is),
    ));
    let mut is_first = true;
    while let Some(found) = opt(operator.by_ref()).parse_next(input)? {
        chain(input, &mut is_first)?;
        left = match found {
            Equality::Is => {
                let not = opt(keyword("NOT")).parse_next(input)?.is_some();
                cut_err(keyword("NULL"))
                    .context("NULL is wanted after IS")
                    .parse_next(input)?;
                negated(not, Expr::IsNull(left.into()))
            }
            Equality::Equal | Equality::NotEqual => {
                let right = cut_err(comparison).parse_next(input)?;
                let not = matches!(found, Equality::NotEqual);
                negated(not, equal(left, right)?)
            }
        };
    }
    Ok(left)
}

/// The operators of comparison, those that NOT may stand before last.
#[derive(Clone, Copy)]
enum Comparison {
    Order(Order),
    Match(Within),
    Between,
    In,
    Not,
}

fn comparison_operator(input: &mut Input<'_>) -> Parsed<Comparison> {
    alt((
        symbol(">=").value(Comparison::Order(Order::GreaterEqual)),
        symbol(">").value(Comparison::Order(Order::Greater)),
        symbol("<=").value(Comparison::Order(Order::LessEqual)),
        terminated(symbol("<"), peek(not_greater)).value(Comparison::Order(Order::Less)),
        text_operator,
        keyword("NOT").value(Comparison::Not),
    ))
    .parse_next(input)
}

/// `<` is not the start of `<>`.
fn not_greater(input: &mut Input<'_>) -> Parsed<()> {
    not('>').parse_next(input)
}

fn text_operator(input: &mut Input<'_>) -> Parsed<Comparison> {
    alt((
        keyword("CONTAINS").value(Comparison::Match(Within::Anywhere)),
        keyword("STARTSWITH").value(Comparison::Match(Within::Start)),
        keyword("ENDSWITH").value(Comparison::Match(Within::End)),
        keyword("BETWEEN").value(Comparison::Between),
        keyword("IN").value(Comparison::In),
    ))
    .parse_next(input)
}

fn comparison(input: &mut Input<'_>) -> Parsed<Expr> {
    let mut left = unary(input)?;
    let mut is_first = true;
    while let Some(mut found) = opt(comparison_operator).parse_next(input)? {
        chain(input, &mut is_first)?;
        let not = matches!(found, Comparison::Not);
        if not {
            found = cut_err(text_operator)
                .context("CONTAINS, STARTSWITH, ENDSWITH, BETWEEN or IN is wanted after NOT")
                .parse_next(input)?;
        }
        left = match found {
            Comparison::Order(order) => {
                let right = cut_err(unary).parse_next(input)?;
                numeric(&left)?;
                numeric(&right)?;
                Expr::Compare(order, left.into(), right.into())
            }
            Comparison::Match(within) => Expr::Match {
                within,
                not,
                value: left.into(),
                text: wanted_text(input)?,
            },
            Comparison::Between => between(input, left, not)?,
            Comparison::In | Comparison::Not => in_list(input, left, not)?,
        };
    }
    Ok(left)
}

/// Counts a comparison whose left side is one already.
fn chain(input: &mut Input<'_>, is_first: &mut bool) -> Result<(), Failure> {
    if !std::mem::replace(is_first, false) {
        input.state.chained += 1;
        if input.state.chained > DEPTH_MAX {
            return Err(refusal("too many comparisons of comparisons"));
        }
    }
    Ok(())
}

fn wanted_text(input: &mut Input<'_>) -> Parsed<Box<str>> {
    cut_err(text)
        .context("a text in single quotes is wanted")
        .parse_next(input)
}

fn between(input: &mut Input<'_>, value: Expr, not: bool) -> Parsed<Expr> {
    let low = cut_err(unary).parse_next(input)?;
    cut_err(keyword("AND"))
        .context("AND is wanted in BETWEEN")
        .parse_next(input)?;
    let high = cut_err(unary).parse_next(input)?;
    for side in [&value, &low, &high] {
        numeric(side)?;
    }
    if !not
        && let (Expr::Constant(low), Expr::Constant(high)) = (&low, &high)
        && is_less(high, low)
    {
        return Err(refusal(
            "the left value of BETWEEN is greater than the right one",
        ));
    }
    Ok(Expr::Between {
        value: value.into(),
        low: low.into(),
        high: high.into(),
        not,
    })
}

fn in_list(input: &mut Input<'_>, left: Expr, not: bool) -> Parsed<Expr> {
    let mut list = cut_err((symbol("("), separated(1.., text, symbol(",")), symbol(")")))
        .context("a list of texts in parentheses is wanted after IN");
    let (_, texts, _): (_, Vec<Box<str>>, _) = list.parse_next(input)?;
    let Expr::Property(property) = left else {
        return Err(refusal("a property is wanted before IN"));
    };
    Ok(Expr::In {
        property,
        list: List::new(texts),
        not,
    })
}

fn unary(input: &mut Input<'_>) -> Parsed<Expr> {
    let sign = alt((
        symbol("+").value("+"),
        symbol("-").value("-"),
        keyword("NOT").value("NOT"),
    ));
    let Some(sign) = opt(sign).parse_next(input)? else {
        return primary(input);
    };
    let inner = deeper(input, unary)?;
    match sign {
        "+" => Ok(inner),
        "-" => Ok(Expr::Negate(inner.into())),
        _ => Ok(Expr::Not(condition(inner)?.into())),
    }
}

fn primary(input: &mut Input<'_>) -> Parsed<Expr> {
    if opt(symbol("(")).parse_next(input)?.is_some() {
        let inner = deeper(input, or)?;
        cut_err(symbol(")"))
            .context(") is wanted")
            .parse_next(input)?;
        return Ok(inner);
    }
    alt((
        text.map(|text| Expr::Constant(Constant::Text(text))),
        number.map(Expr::Constant),
        keyword("TRUE").value(Expr::Constant(Constant::Bool(true))),
        keyword("FALSE").value(Expr::Constant(Constant::Bool(false))),
        keyword("NULL").value(Expr::Constant(Constant::Null)),
        property,
    ))
    .context("a value, a property or a parenthesis is wanted")
    .parse_next(input)
}

/// Parses what stands behind a sign or a parenthesis, one level deeper.
fn deeper(input: &mut Input<'_>, parser: fn(&mut Input<'_>) -> Parsed<Expr>) -> Parsed<Expr> {
    input.state.depth += 1;
    if input.state.depth > DEPTH_MAX {
        return Err(refusal("nested too deep"));
    }
    let inner = cut_err(parser).parse_next(input)?;
    input.state.depth -= 1;
    Ok(inner)
}

/// An expression where a condition is wanted (`asBooleanExpression`).
fn condition(expr: Expr) -> Result<Expr, Failure> {
    match expr {
        expr if expr.is_condition() => Ok(expr),
        Expr::Property(_) => Ok(Expr::Cast(expr.into())),
        _ => Err(refusal("what is no condition stands where one is wanted")),
    }
}

/// `checkLessThanOperand`: what is known not to be a number cannot be compared so.
fn numeric(expr: &Expr) -> Result<(), Failure> {
    match expr {
        Expr::Constant(Constant::Int(_) | Constant::Long(_) | Constant::Double(_)) => Ok(()),
        Expr::Property(_) | Expr::Negate(_) => Ok(()),
        _ => Err(refusal("what is no number is compared by its size")),
    }
}

/// `createEqual`: NULL is not compared, and a boolean with nothing else.
fn equal(left: Expr, right: Expr) -> Result<Expr, Failure> {
    use Constant::{Bool, Null};
    match (&left, &right) {
        (Expr::Constant(Null), _) | (_, Expr::Constant(Null)) => {
            Err(refusal("NULL is compared, IS NULL is wanted"))
        }
        (Expr::Constant(Bool(_)), Expr::Constant(right)) if !matches!(right, Bool(_)) => {
            Err(refusal("a boolean is compared with another kind"))
        }
        _ => Ok(Expr::Equal(left.into(), right.into())),
    }
}

fn negated(not: bool, expr: Expr) -> Expr {
    if not { Expr::Not(expr.into()) } else { expr }
}

/// Whether of two numbers the first is less.
fn is_less(left: &Constant, right: &Constant) -> bool {
    let as_double = |constant: &Constant| match *constant {
        Constant::Int(number) => Some(f64::from(number)),
        Constant::Long(number) => Some(number as f64),
        Constant::Double(number) => Some(number),
        _ => None,
    };
    match (left, right) {
        (Constant::Long(left), Constant::Long(right)) => left < right,
        _ => as_double(left) < as_double(right),
    }
}
