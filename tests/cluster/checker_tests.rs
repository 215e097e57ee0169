//! Each property of the checker is shown a history that contradicts it, and where that is possible
//! that one alone: the checker is able to fail.

use crate::checker::{ALWAYS, COPIED, KEPT, Named, SEEN, assert_holds, check};
use crate::history::{Entry, History, Message, Operation, Queue, Replica, Seen, Sent, What};

const Q: Queue = Queue { pair: 0, id: 0 };

fn message(writer: u32, number: u32) -> Message {
    Message { writer, number }
}

fn send(times: (u64, u64), message: Message, sent: Sent) -> Operation {
    let is_open = sent == Sent::Unknown;
    Operation {
        process: message.writer,
        invoked: times.0,
        completed: (!is_open).then_some(times.1),
        what: What::Send {
            queue: Q,
            message,
            sent,
        },
    }
}

fn read(at: u64, replica: Replica, from: i64, seen: Seen) -> Operation {
    Operation {
        process: 99,
        invoked: at,
        completed: Some(at + 1),
        what: What::Read {
            queue: Q,
            replica,
            from,
            seen,
        },
    }
}

fn entries(messages: &[Message]) -> Vec<Entry> {
    (0..).zip(messages.iter().copied()).collect()
}

/// Two writers, an answer of each kind, reads of both copies: nothing is wrong with it.
fn sound() -> History {
    let log = [
        message(1, 0),
        message(2, 0),
        message(1, 1),
        message(2, 2),
        message(1, 2),
    ];
    let operations = vec![
        send((0, 10), message(1, 0), Sent::Acked(0)),
        send((0, 12), message(2, 0), Sent::Acked(1)),
        send((11, 20), message(1, 1), Sent::Stored(2)),
        send((13, 15), message(2, 1), Sent::Refused(2)),
        send((16, 0), message(2, 2), Sent::Unknown),
        send((40, 50), message(1, 2), Sent::Acked(4)),
        // Tried again, as its first outcome is not known, and stored once.
        send((51, 60), message(2, 2), Sent::Refused(14)),
        read(15, Replica::Master, 0, Seen::Messages(entries(&log[..2]))),
        read(
            45,
            Replica::Slave,
            1,
            Seen::Messages(entries(&log[..4])[1..].to_vec()),
        ),
        read(
            46,
            Replica::Slave,
            4,
            Seen::Nothing {
                min: 0,
                max: 4,
                code: 19,
            },
        ),
    ];
    let last = [Replica::Master, Replica::Slave].map(|replica| ((Q, replica), entries(&log)));
    History {
        operations,
        last: last.into(),
    }
}

fn everything() -> [&'static [Named]; 4] {
    [ALWAYS, KEPT, SEEN, COPIED]
}

fn of(operations: Vec<Operation>) -> History {
    History {
        operations,
        ..History::default()
    }
}

fn violated(history: &History) -> Vec<&'static str> {
    let mut names: Vec<_> = check(history, &everything())
        .into_iter()
        .map(|violation| violation.property)
        .collect();
    names.dedup();
    names
}

fn last(history: &mut History, replica: Replica) -> &mut Vec<Entry> {
    history.last.get_mut(&(Q, replica)).expect("a last reading")
}

#[test]
fn a_sound_history_holds() {
    assert_eq!(check(&sound(), &everything()), []);
    assert_holds(&sound(), &everything());
}

#[test]
#[should_panic(expected = "seen means kept")]
fn a_violation_fails_the_test() {
    let mut history = sound();
    history.last.clear();
    history.last.insert((Q, Replica::Master), Vec::new());
    assert_holds(&history, &everything());
}

#[test]
fn an_acknowledged_message_that_is_lost() {
    let mut history = sound();
    // The last one was seen by nobody; both copies lack it.
    last(&mut history, Replica::Master).pop();
    last(&mut history, Replica::Slave).pop();
    assert_eq!(violated(&history), ["acknowledged means kept"]);
}

#[test]
fn an_acknowledged_message_that_only_the_slave_lacks() {
    let mut history = sound();
    last(&mut history, Replica::Slave).pop();
    let expected = ["acknowledged means kept", "copies are equal"];
    assert_eq!(violated(&history), expected);
}

#[test]
fn a_stored_message_that_is_lost() {
    let mut history = sound();
    let more = send((70, 80), message(1, 3), Sent::Stored(5));
    history.operations.push(more);
    assert_eq!(violated(&history), ["stored is kept"]);
}

#[test]
fn a_message_that_nobody_sent() {
    let mut history = sound();
    for replica in [Replica::Master, Replica::Slave] {
        last(&mut history, replica).push((5, message(7, 7)));
    }
    assert_eq!(violated(&history), ["no ghost"]);
}

#[test]
fn a_message_that_was_refused_and_is_there() {
    let mut history = sound();
    for replica in [Replica::Master, Replica::Slave] {
        last(&mut history, replica).push((5, message(2, 1)));
    }
    let names = violated(&history);
    assert!(names.contains(&"no ghost"), "{names:?}");
}

#[test]
fn a_message_that_is_seen_before_it_was_sent() {
    let mut history = sound();
    let seen = Seen::Messages(vec![(4, message(1, 2))]);
    history.operations.push(read(30, Replica::Master, 4, seen));
    assert_eq!(violated(&history), ["no ghost"]);
}

#[test]
fn a_message_of_another_queue() {
    let mut history = sound();
    let other = Queue { pair: 1, id: 0 };
    history
        .last
        .insert((other, Replica::Master), entries(&[message(1, 0)]));
    let expected = ["no ghost", "at most once a try"];
    assert_eq!(violated(&history), expected);
}

#[test]
fn a_message_that_is_there_twice() {
    let mut history = sound();
    for replica in [Replica::Master, Replica::Slave] {
        last(&mut history, replica).push((5, message(2, 2)));
    }
    // Its second try was refused: one try may have stored it.
    assert_eq!(violated(&history), ["at most once a try"]);
}

#[test]
fn a_read_with_a_hole() {
    let mut history = sound();
    let seen = vec![(0, message(1, 0)), (2, message(1, 1))];
    let hole = read(60, Replica::Master, 0, Seen::Messages(seen));
    history.operations.push(hole);
    assert_eq!(violated(&history), ["no holes"]);
}

#[test]
fn a_read_that_begins_too_late() {
    let mut history = sound();
    let seen = vec![(1, message(2, 0))];
    let late = read(60, Replica::Master, 0, Seen::Messages(seen));
    history.operations.push(late);
    assert_eq!(violated(&history), ["no holes"]);
}

#[test]
fn nothing_where_something_is() {
    for (min, from) in [(0, 2), (3, 5)] {
        let mut history = sound();
        let (max, code) = (4, 21);
        let nothing = Seen::Nothing { min, max, code };
        history
            .operations
            .push(read(60, Replica::Slave, from, nothing));
        assert_eq!(violated(&history), ["no holes"], "{min} {from}");
    }
}

#[test]
fn two_messages_at_one_offset() {
    let mut history = sound();
    let seen = Seen::Messages(vec![(1, message(1, 0))]);
    history.operations.push(read(60, Replica::Slave, 1, seen));
    let names = violated(&history);
    assert!(names.contains(&"one message at an offset"), "{names:?}");
}

#[test]
fn two_senders_that_are_told_one_offset() {
    let mut history = sound();
    let twice = send((70, 80), message(1, 3), Sent::Acked(4));
    history.operations.push(twice);
    let names = violated(&history);
    assert!(names.contains(&"one message at an offset"), "{names:?}");
}

#[test]
fn a_writer_whose_messages_lie_in_another_order() {
    // Both in the air at a time, so that time says nothing about them.
    let history = of(vec![
        send((0, 10), message(1, 0), Sent::Acked(1)),
        send((0, 10), message(1, 1), Sent::Acked(0)),
    ]);
    assert_eq!(violated(&history), ["order of writers"]);
}

#[test]
fn an_offset_that_goes_against_time() {
    let history = of(vec![
        send((0, 10), message(1, 0), Sent::Acked(1)),
        send((11, 20), message(2, 0), Sent::Acked(0)),
    ]);
    assert_eq!(violated(&history), ["order in time"]);
}

#[test]
fn a_message_of_unknown_outcome_that_goes_against_time() {
    let mut history = sound();
    let late = send((70, 0), message(3, 0), Sent::Unknown);
    history.operations.push(late);
    for replica in [Replica::Master, Replica::Slave] {
        let entries = last(&mut history, replica);
        entries.insert(3, (3, message(3, 0)));
        for (at, entry) in (0..).zip(entries.iter_mut()) {
            entry.0 = at;
        }
    }
    // It pushed others from their places, too.
    let names = violated(&history);
    assert!(names.contains(&"order in time"), "{names:?}");
}

#[test]
fn something_seen_that_vanishes() {
    let mut history = sound();
    // An unknown outcome may be stored and be lost, but not once it was seen.
    let unknown = send((70, 0), message(3, 0), Sent::Unknown);
    let seen = Seen::Messages(vec![(5, message(3, 0))]);
    let sight = read(75, Replica::Master, 5, seen);
    history.operations.extend([unknown, sight]);
    assert_eq!(violated(&history), ["seen means kept"]);
}

#[test]
fn copies_that_differ() {
    let mut history = sound();
    let unknown = send((70, 0), message(3, 0), Sent::Unknown);
    history.operations.push(unknown);
    last(&mut history, Replica::Master).push((5, message(3, 0)));
    assert_eq!(violated(&history), ["copies are equal"]);
}
