//! SQL92 expressions answer what RocketMQ's own filter answers.
//!
//! `tests/sql92/answers.txt` is what RocketMQ 5.4.0 said, made by
//! `tests/conformance/sql92.sh`; see `tests/conformance/java/SqlAnswers.java` for its form.

use std::path::Path;

use callboard::{
    filter::{SqlFilter, bloom::Bloom},
    protocol::message::properties,
};

fn read(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql92");
    std::fs::read_to_string(dir.join(name)).unwrap()
}

fn message(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in line.split(';').filter_map(|pair| pair.split_once('=')) {
        properties::append(&mut bytes, name, value);
    }
    bytes
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t")
        .replace("\\f", "\x0c")
        .replace("\\u00a0", "\u{a0}")
}

/// What an exception ends in RocketMQ has no value here: neither is a match.
fn letter(truth: Option<bool>, theirs: char) -> char {
    match (truth, theirs) {
        (Some(true), _) => 't',
        (Some(false), _) => 'f',
        (None, 'x') => 'x',
        (None, _) => 'n',
    }
}

#[test]
fn every_answer_is_rocketmqs() {
    let messages: Vec<Vec<u8>> = read("messages.txt").lines().map(message).collect();
    let (mut answers, mut wrong) = (0, Vec::new());
    for line in read("answers.txt").lines() {
        let (theirs, expression) = line.split_once('\t').unwrap();
        let ours = match SqlFilter::parse(&unescape(expression)) {
            Err(_) => "E".to_owned(),
            Ok(filter) => messages
                .iter()
                .zip(theirs.chars().chain(std::iter::repeat('?')))
                .map(|(message, theirs)| letter(filter.evaluate(message), theirs))
                .collect(),
        };
        answers += ours.len();
        if ours != theirs {
            wrong.push(format!("{expression}\n  theirs {theirs}\n  ours   {ours}"));
        }
    }
    assert!(answers > 50_000, "only {answers} answers were compared");
    assert!(
        wrong.is_empty(),
        "{} expressions differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_bloom_filter_is_rocketmqs() {
    let text = read("bloom.txt");
    assert!(text.lines().count() >= 25);
    for line in text.lines() {
        let [error, count, entry, bits, positions] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let bloom = Bloom::new(error.parse().unwrap(), count.parse().unwrap());
        let ours = bloom.generate(entry);
        let theirs: Vec<i64> = positions.split(',').map(|p| p.parse().unwrap()).collect();
        assert_eq!(ours.bit_num.to_string(), bits, "{line}");
        assert_eq!(ours.bit_pos.0, theirs, "{line}");
    }
}
