use proptest::prelude::*;

use super::*;

fn properties(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in text.split(';').filter_map(|one| one.split_once('=')) {
        properties::append(&mut bytes, name, value);
    }
    bytes
}

#[track_caller]
fn check(expression: &str, message: &str, wanted: Option<bool>) {
    let filter = SqlFilter::parse(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
    let found = filter.evaluate(&properties(message));
    assert_eq!(found, wanted, "{expression} on {message}");
}

#[test]
fn logic_has_three_values() {
    for (expression, wanted) in [
        ("a = '1' AND missing > 5", None),
        ("a = '2' AND missing > 5", Some(false)),
        ("missing > 5 AND a = '2'", Some(false)),
        ("a = '1' OR missing > 5", Some(true)),
        ("a = '2' OR missing > 5", None),
        ("NOT (missing > 5)", None),
        ("missing IS NULL", Some(true)),
        ("a IS NOT NULL", Some(true)),
        ("missing = other", Some(true)),
        ("5 = missing", Some(false)),
        ("missing = 5", None),
        ("missing NOT IN ('x')", None),
        ("missing NOT CONTAINS 'x'", Some(false)),
        ("a", Some(false)),
        ("missing", None),
        ("NULL", None),
        ("NOT TRUE", Some(false)),
    ] {
        check(expression, "a=1", wanted);
    }
}

#[test]
fn what_cannot_be_compared_matches_nothing() {
    for expression in [
        "a > 5",
        "a = 5 OR TRUE",
        "a <> 5",
        "a > b",
        "TRUE = a",
        "d > 5",
        "n < 5",
    ] {
        check(expression, "a=x;b=2;d=5.5;n=3000000000", None);
    }
    check("TRUE OR a = 5", "a=x", Some(true));
    check(
        "d > 5.0 AND n > 3000000000 AND d < n",
        "d=5.5;n=3000000001",
        Some(true),
    );
}

#[test]
fn the_last_of_two_values_counts() {
    let filter = SqlFilter::parse("a = '2'").unwrap();
    assert!(filter.matches(b"a\x011\x02a\x012\x02"));
    assert!(!filter.matches(b"a\x012\x02a\x011"));
}

#[test]
fn the_text_may_go_on_after_the_expression() {
    for expression in [
        "a = '1' b",
        "a = '1')",
        "a = '1' 007",
        "a = '1' b #",
        "(a = '1') (",
        "a = '1' -- ",
    ] {
        check(expression, "a=1", Some(true));
    }
    for expression in [
        "a = '1' #",
        "a = '1' '",
        "a = '1' AND",
        "a = '1' NOT x",
        "a = '1' IS x",
        "a = '1' .",
    ] {
        assert!(SqlFilter::parse(expression).is_err(), "{expression}");
    }
}

#[test]
fn errors_say_where() {
    for (expression, text) in [
        (
            "a > 'x'",
            "what is no number is compared by its size at byte 7",
        ),
        ("a IS 5", "NULL is wanted after IS at byte 5"),
        ("(a = 1", ") is wanted at byte 6"),
    ] {
        let error = SqlFilter::parse(expression).unwrap_err().to_string();
        assert_eq!(error, format!("Invalid MessageSelector. {text}"));
    }
    assert_eq!(SqlFilter::parse(""), Err(FilterError::Empty));
    let long = format!("a = '{}'", "x".repeat(EXPRESSION_LEN_MAX));
    assert_eq!(
        SqlFilter::parse(&long),
        Err(FilterError::TooLong(long.len()))
    );
}

#[test]
fn depth_and_chains_are_bounded() {
    for piece in ["(", "NOT ", "-", "+", "(NOT ", "a = (", "(a IS NULL) = -("] {
        let expression = piece.repeat(EXPRESSION_LEN_MAX / piece.len());
        let error = SqlFilter::parse(&expression).unwrap_err().to_string();
        assert!(error.contains("nested too deep"), "{piece}: {error}");
    }
    let chain = format!("a{}", " IS NULL".repeat(5_000));
    assert!(
        SqlFilter::parse(&chain)
            .unwrap_err()
            .to_string()
            .contains("too many comparisons")
    );
    let deep = format!("{}TRUE{}", "(".repeat(DEPTH_MAX), ")".repeat(DEPTH_MAX));
    assert!(SqlFilter::parse(&deep).unwrap().matches(b""));
    let wide = format!("a = '1'{}", " OR a = '2'".repeat(5_000));
    assert!(SqlFilter::parse(&wide).unwrap().matches(b"a\x011\x02"));
    // Written twice, as RocketMQ keeps them, these would double with each level.
    let between = format!("{}a{}", "-(".repeat(30), " BETWEEN 1 AND 2)".repeat(30));
    assert!(SqlFilter::parse(&format!("{between} BETWEEN 1 AND 2")).is_ok());
}

/// Pieces of expressions, as they come in any order.
const PIECES: [&str; 40] = [
    "a",
    "b",
    "_c$1",
    "5",
    "5L",
    "3000000000",
    "5.5",
    ".5E1",
    "0",
    "'x'",
    "''",
    "'5'",
    "'it''s'",
    "TRUE",
    "false",
    "NULL",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "AND",
    "or",
    "NOT",
    "IS",
    "IN",
    "BETWEEN",
    "CONTAINS",
    "STARTSWITH",
    "ENDSWITH",
    "(",
    ")",
    ",",
    "+",
    "-",
    "/* c */",
    "-- c\n",
    "#",
    "é",
];

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}", message in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(filter) = SqlFilter::parse(&text) {
            filter.evaluate(&message);
        }
    }

    #[test]
    fn no_sequence_of_tokens_panics(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..16),
        message in "(a=[0-9x.]{1,3};)?(b=[0-9]{1,3};)?",
    ) {
        if let Ok(filter) = SqlFilter::parse(&pieces.join(" ")) {
            filter.evaluate(&properties(&message));
        }
    }

    #[test]
    fn not_turns_what_is_known(a in 0..100, low in 0..100, high in 0..100) {
        prop_assume!(low <= high);
        let message = properties(&format!("a={a}"));
        let inside = SqlFilter::parse(&format!("a BETWEEN {low} AND {high}")).unwrap();
        let outside = SqlFilter::parse(&format!("a NOT BETWEEN {low} AND {high}")).unwrap();
        prop_assert_eq!(inside.matches(&message), (low..=high).contains(&a));
        prop_assert_eq!(outside.matches(&message), !inside.matches(&message));
    }
}
