//! Whether a history is one that a cluster may have: each property is a function from a history to
//! what contradicts it.
//!
//! Why none of the crates: a search for "is there an order that explains this" (`stateright`'s and
//! `todc-utils`' linearizability testers, Porcupine's relatives) takes time beyond all bounds with
//! ten thousands of operations of which some never end, and `stateright`'s is for the states of its
//! model checker, `todc-utils` is at rest since 2023. Here nothing has to be searched: an answer to
//! a send names an offset, so that the order is in the history, and each property is checked in one
//! pass. `spectroscope` checks sets in this manner (Jepsen's `set-full`), but knows no offsets, and
//! its licence is not for here (EPL).

use crate::history::{Entry, History, Message, Operation, Queue, Replica, Seen, Sent, What};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A property, and how a history contradicts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub property: &'static str,
    pub what: String,
}

type Property = fn(&History) -> Vec<String>;

/// A property under its name.
pub type Named = (&'static str, Property);

/// What holds whatever is lost: also with a slave that lacks the end of its master's log.
pub const ALWAYS: &[Named] = &[
    ("no ghost", no_ghost),
    ("at most once a try", at_most_once_a_try),
    ("no holes", no_holes),
    ("one message at an offset", one_message_at_an_offset),
    ("order of writers", order_of_writers),
    ("order in time", order_in_time),
];

/// What holds of the last reading beside that, if nothing that was acknowledged may be lost.
pub const KEPT: &[Named] = &[("acknowledged means kept", acked_is_kept)];

/// Neither may what was seen.
pub const SEEN: &[Named] = &[("seen means kept", seen_is_kept)];

/// What holds beside that when all hosts live on and were healed.
pub const COPIED: &[Named] = &[
    ("stored is kept", stored_is_kept),
    ("copies are equal", copies_are_equal),
];

/// All contradictions, property by property.
pub fn check(history: &History, properties: &[&[Named]]) -> Vec<Violation> {
    let mut all = Vec::new();
    for (property, contradictions) in properties.iter().copied().flatten() {
        let found = contradictions(history).into_iter();
        all.extend(found.map(|what| Violation { property, what }));
    }
    all
}

/// Panics with the first contradictions of each property.
pub fn assert_holds(history: &History, properties: &[&[Named]]) {
    const SHOWN: usize = 5;
    let violations = check(history, properties);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in &violations {
        let count = counts.entry(violation.property).or_default();
        *count += 1;
        if *count <= SHOWN {
            println!("VIOLATED {}: {}", violation.property, violation.what);
        }
    }
    assert!(violations.is_empty(), "violated, so often: {counts:?}");
}

fn read_by(operation: &Operation) -> String {
    format!(
        "process {} at {}..{:?} us",
        operation.process, operation.invoked, operation.completed
    )
}

/// What is delivered was sent to this queue, before, and was not refused.
fn no_ghost(history: &History) -> Vec<String> {
    // When the first try that may have stored it began.
    let mut begun: HashMap<(Queue, Message), u64> = HashMap::new();
    for send in history.sends() {
        if !matches!(send.sent, Sent::Refused(_)) {
            let first = begun.entry((send.queue, send.message)).or_insert(u64::MAX);
            *first = send.operation.invoked.min(*first);
        }
    }
    let mut found = Vec::new();
    for sight in history.sights() {
        let seen = sight.operation.completed.unwrap_or(u64::MAX);
        for (offset, message) in sight.entries {
            let begun = begun.get(&(sight.queue, *message));
            if begun.is_none_or(|begun| *begun > seen) {
                let by = read_by(sight.operation);
                found.push(format!(
                    "{message:?} at {offset} of {:?}, {by}, sent: {begun:?}",
                    sight.queue
                ));
            }
        }
    }
    for ((queue, replica), entries) in &history.last {
        for (offset, message) in entries {
            if !begun.contains_key(&(*queue, *message)) {
                found.push(format!("{message:?} at {offset} of {queue:?} {replica:?}"));
            }
        }
    }
    found
}

/// A message is at no more offsets than there were tries that may have stored it.
fn at_most_once_a_try(history: &History) -> Vec<String> {
    let mut tries: HashMap<Message, usize> = HashMap::new();
    for send in history.sends() {
        if !matches!(send.sent, Sent::Refused(_)) {
            *tries.entry(send.message).or_default() += 1;
        }
    }
    let mut places: HashMap<Message, HashSet<(Queue, i64)>> = HashMap::new();
    for (queue, (offset, message)) in all_entries(history) {
        places.entry(message).or_default().insert((queue, offset));
    }
    let mut found = Vec::new();
    for (message, places) in places {
        // None at all is a ghost's business.
        let tries = tries.get(&message).copied().unwrap_or(usize::MAX);
        if places.len() > tries {
            found.push(format!("{message:?} after {tries} tries at {places:?}"));
        }
    }
    found
}

/// Every read begins where it was to and has no gap, and nothing is missing below a queue's end.
fn no_holes(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let mut walk = |from: i64, entries: &[Entry], who: &dyn Fn() -> String| {
        for (expected, (offset, _)) in (from..).zip(entries) {
            if *offset != expected {
                found.push(format!("{offset} where {expected} was due, {}", who()));
                return;
            }
        }
    };
    for sight in history.sights() {
        let who = || {
            let by = read_by(sight.operation);
            format!("{:?} {:?}, {by}", sight.queue, sight.replica)
        };
        walk(sight.from, sight.entries, &who);
    }
    for ((queue, replica), entries) in &history.last {
        walk(0, entries, &|| format!("{queue:?} {replica:?} at the end"));
    }
    for operation in &history.operations {
        let What::Read {
            queue,
            replica,
            from,
            seen: Seen::Nothing { min, max, code },
        } = operation.what
        else {
            continue;
        };
        if min > 0 || (0..max).contains(&from) {
            found.push(format!(
                "code {code} at {from} of {min}..{max}, {queue:?} {replica:?}, {}",
                read_by(operation)
            ));
        }
    }
    found
}

/// Nobody ever saw, or was told, something else at an offset than another did.
fn one_message_at_an_offset(history: &History) -> Vec<String> {
    let mut known: HashMap<(Queue, i64), Message> = HashMap::new();
    let mut found = Vec::new();
    let told = history.sends().filter_map(|send| {
        let offset = send.sent.offset()?;
        Some((send.queue, (offset, send.message)))
    });
    for (queue, (offset, message)) in told.chain(all_entries(history)) {
        let first = *known.entry((queue, offset)).or_insert(message);
        if first != message {
            found.push(format!(
                "{first:?} and {message:?} at {offset} of {queue:?}"
            ));
        }
    }
    found
}

/// Per writer and queue, offsets that it was told rise with its numbers.
fn order_of_writers(history: &History) -> Vec<String> {
    let mut told: BTreeMap<(Queue, u32), Vec<(u32, i64)>> = BTreeMap::new();
    for send in history.sends() {
        if let Some(offset) = send.sent.offset() {
            let Message { writer, number } = send.message;
            let list = told.entry((send.queue, writer)).or_default();
            list.push((number, offset));
        }
    }
    let mut found = Vec::new();
    for ((queue, writer), mut list) in told {
        list.sort_unstable();
        for pair in list.windows(2) {
            if pair[0].1 >= pair[1].1 {
                found.push(format!("writer {writer} in {queue:?}: {pair:?}"));
            }
        }
    }
    found
}

/// What was stored before a try began lies before what that try stored: offsets do not go against
/// time, whoever sent.
fn order_in_time(history: &History) -> Vec<String> {
    let mut first_try: HashMap<(Queue, Message), u64> = HashMap::new();
    for send in history.sends() {
        let first = first_try.entry((send.queue, send.message));
        let first = first.or_insert(u64::MAX);
        *first = send.operation.invoked.min(*first);
    }
    // What came to lie at an offset cannot have been sent after a higher offset was acknowledged.
    let mut places: BTreeMap<Queue, BTreeMap<i64, Message>> = BTreeMap::new();
    for (queue, (offset, message)) in all_entries(history) {
        places.entry(queue).or_default().insert(offset, message);
    }
    let mut acked: BTreeMap<Queue, Vec<(i64, u64)>> = BTreeMap::new();
    for send in history.sends() {
        if let (Some(offset), Some(completed)) = (send.sent.offset(), send.operation.completed) {
            acked
                .entry(send.queue)
                .or_default()
                .push((offset, completed));
            let at = places.entry(send.queue).or_default();
            at.entry(offset).or_insert(send.message);
        }
    }
    let mut found = Vec::new();
    for (queue, messages) in places {
        let mut acked = acked.remove(&queue).unwrap_or_default();
        acked.sort_unstable();
        // From the end on: the earliest time at which an offset above was acknowledged.
        let mut earliest: Option<(i64, u64)> = None;
        for (offset, message) in messages.into_iter().rev() {
            while let Some(&(above, completed)) = acked.last()
                && above > offset
            {
                acked.pop();
                if earliest.is_none_or(|(_, known)| completed < known) {
                    earliest = Some((above, completed));
                }
            }
            let begun = first_try.get(&(queue, message));
            if let (Some(&begun), Some((above, completed))) = (begun, earliest)
                && completed < begun
            {
                found.push(format!(
                    "{message:?}, sent at {begun} us, is at {offset} of {queue:?}, and {above} was \
                     answered at {completed} us"
                ));
            }
        }
    }
    found
}

/// Every acknowledged message is at the offset that its sender was told.
fn acked_is_kept(history: &History) -> Vec<String> {
    missing(history, |sent| match sent {
        Sent::Acked(offset) => Some(offset),
        _ => None,
    })
}

/// So is what was stored without being acknowledged.
fn stored_is_kept(history: &History) -> Vec<String> {
    missing(history, |sent| match sent {
        Sent::Stored(offset) => Some(offset),
        _ => None,
    })
}

fn missing(history: &History, expected: impl Fn(Sent) -> Option<i64>) -> Vec<String> {
    let mut found = Vec::new();
    for send in history.sends() {
        let Some(offset) = expected(send.sent) else {
            continue;
        };
        for replica in [Replica::Master, Replica::Slave] {
            let Some(entries) = history.last.get(&(send.queue, replica)) else {
                continue;
            };
            let there = usize::try_from(offset).ok().and_then(|at| entries.get(at));
            if there != Some(&(offset, send.message)) {
                found.push(format!(
                    "{:?} of {:?} at {offset}, told at {:?} us: {there:?} on the {replica:?}, \
                     which ends at {}",
                    send.message,
                    send.queue,
                    send.operation.completed,
                    entries.len()
                ));
            }
        }
    }
    found
}

/// What any read showed, of any copy, is there at the end, on all copies.
fn seen_is_kept(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for sight in history.sights() {
        for replica in [Replica::Master, Replica::Slave] {
            let Some(entries) = history.last.get(&(sight.queue, replica)) else {
                continue;
            };
            let lost = sight.entries.iter().find(|entry| {
                let at = usize::try_from(entry.0).ok();
                at.and_then(|at| entries.get(at)) != Some(entry)
            });
            if let Some(entry) = lost {
                found.push(format!(
                    "{entry:?} of {:?}, seen on the {:?} by {}, is not on the {replica:?}",
                    sight.queue,
                    sight.replica,
                    read_by(sight.operation)
                ));
            }
        }
    }
    found
}

/// Master and slave end with the same messages.
fn copies_are_equal(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for ((queue, replica), entries) in &history.last {
        let master = history.last.get(&(*queue, Replica::Master));
        if *replica == Replica::Slave
            && let Some(master) = master
            && master != entries
        {
            let same = master.iter().zip(entries).take_while(|(a, b)| a == b);
            found.push(format!(
                "{queue:?}: {} on the master, {} on the slave, the same below {}",
                master.len(),
                entries.len(),
                same.count()
            ));
        }
    }
    found
}

/// Everything that was seen anywhere at any time.
fn all_entries(history: &History) -> impl Iterator<Item = (Queue, Entry)> {
    let sights = history.sights();
    let seen = sights.flat_map(|sight| sight.entries.iter().map(move |e| (sight.queue, *e)));
    let last = history.last.iter();
    seen.chain(last.flat_map(|((queue, _), entries)| entries.iter().map(|e| (*queue, *e))))
}
