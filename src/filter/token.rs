//! The tokens of expressions, and what the parser keeps beside its place in the text.

use winnow::{
    ModalResult, Parser,
    ascii::{Caseless, digit1},
    combinator::{alt, not, opt, preceded, repeat, terminated},
    error::{ContextError, ErrMode},
    stream::Stateful,
    token::{one_of, take_till, take_until, take_while},
};

use super::expression::{Constant, Expr};

/// Words that are no names of properties.
const KEYWORDS: [&str; 12] = [
    "NOT",
    "AND",
    "OR",
    "BETWEEN",
    "IN",
    "TRUE",
    "FALSE",
    "NULL",
    "IS",
    "CONTAINS",
    "STARTSWITH",
    "ENDSWITH",
];

pub(super) type Failure = ErrMode<ContextError<&'static str>>;
pub(super) type Parsed<T> = ModalResult<T, ContextError<&'static str>>;
pub(super) type Input<'a> = Stateful<&'a str, State>;

/// What the parser collects and counts beside its place in the text.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Properties, in the order of their first use.
    pub(super) names: Vec<Box<str>>,
    /// Parentheses and signs around this place.
    pub(super) depth: usize,
    /// Comparisons whose left side is a comparison, in the whole text: each makes the tree deeper.
    pub(super) chained: usize,
}

/// A failure that ends the whole parsing.
pub(super) fn refusal(what: &'static str) -> Failure {
    let mut error = ContextError::new();
    error.push(what);
    ErrMode::Cut(error)
}

/// Blanks and comments. A comment to the end of the line needs that end; two signs without one are
/// signs.
pub(super) fn space(input: &mut Input<'_>) -> Parsed<()> {
    let line = ("--", take_till(0.., ['\n', '\r']), one_of(['\n', '\r']));
    let block = ("/*", take_until(0.., "*/"), "*/");
    let blank = take_while(1.., [' ', '\t', '\n', '\r', '\x0c']);
    repeat(0.., alt((blank.void(), line.void(), block.void()))).parse_next(input)
}

pub(super) fn symbol<'a>(text: &'static str) -> impl Parser<Input<'a>, &'a str, Failure> {
    preceded(space, text)
}

/// A word that is one of the language's, in any case, and not the start of a longer one.
pub(super) fn keyword<'a>(text: &'static str) -> impl Parser<Input<'a>, &'a str, Failure> {
    preceded(space, terminated(Caseless(text), not(one_of(is_name_part))))
}

pub(super) fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$'
}

/// A name or a keyword.
pub(super) fn word<'a>(input: &mut Input<'a>) -> Parsed<&'a str> {
    preceded(
        space,
        (
            one_of(|c: char| is_name_part(c) && !c.is_ascii_digit()),
            take_while(0.., is_name_part),
        )
            .take(),
    )
    .parse_next(input)
}

pub(super) fn property(input: &mut Input<'_>) -> Parsed<Expr> {
    let is_free = |word: &&str| !KEYWORDS.iter().any(|own| own.eq_ignore_ascii_case(word));
    let name = word.verify(is_free).parse_next(input)?;
    let names = &mut input.state.names;
    let known = names.iter().position(|known| **known == *name);
    Ok(Expr::Property(known.unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    })))
}

/// A text in single quotes; two of them inside are one.
pub(super) fn text(input: &mut Input<'_>) -> Parsed<Box<str>> {
    let piece = alt((take_till(1.., '\''), "''".value("'")));
    let inner = repeat(0.., piece).fold(String::new, |mut text, piece: &str| {
        text.push_str(piece);
        text
    });
    let quoted = (space, '\'', inner, '\'').map(|(_, _, text, _)| text.into_boxed_str());
    { quoted }.parse_next(input)
}

pub(super) fn number(input: &mut Input<'_>) -> Parsed<Constant> {
    space(input)?;
    alt((float, decimal)).parse_next(input)
}

/// `5.5`, `5.`, `.5`, each with or without an exponent, and `5E10`: not 0, and within a double.
pub(super) fn float(input: &mut Input<'_>) -> Parsed<Constant> {
    let exponent = || (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1).void();
    let form = alt((
        (digit1, '.', opt(digit1), opt(exponent())).void(),
        ('.', digit1, opt(exponent())).void(),
        (digit1, exponent()).void(),
    ));
    let text = form.take().parse_next(input)?;
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(Constant::Double(number)),
        _ => Err(refusal(
            "a number is beyond the range of a double, or is 0.0",
        )),
    }
}

/// `0`, or digits without a leading 0 and perhaps an L behind: within a long.
pub(super) fn decimal(input: &mut Input<'_>) -> Parsed<Constant> {
    if opt('0').parse_next(input)?.is_some() {
        return Ok(Constant::Int(0));
    }
    let digits = terminated(digit1, opt(one_of(['l', 'L']))).parse_next(input)?;
    let number: i64 = digits
        .parse()
        .map_err(|_| refusal("a number is beyond the range of a long"))?;
    Ok(i32::try_from(number).map_or(Constant::Long(number), Constant::Int))
}
