use super::*;
use crate::protocol::message::record::CheckCrc;

const RULES: Rules = Rules {
    timeout_ms: 6_000,
    check_max: 15,
    reserved_ms: 72 * 3_600_000,
};

/// A half message, born at 1,000 ms and stored at once, with more properties.
fn half(more: &[(&str, &str)]) -> Bytes {
    let mut text = transaction::half_properties(b"UNIQ_KEY\x01k\x02PGROUP\x01g\x02", "T", 2);
    for (name, value) in more {
        properties::append(&mut text, name, value);
    }
    let host: SocketAddr = "127.0.0.1:10911".parse().unwrap();
    let record = NewRecord {
        topic: names::TRANS_HALF_TOPIC,
        queue_id: 0,
        flag: 5,
        sys_flag: 0,
        born_timestamp: 1_000,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        properties: &text,
    };
    let mut out = BytesMut::new();
    record::encode_record(&record, &mut out).unwrap();
    record::patch_record(&mut out, 7, 4_096, 1_000);
    out.freeze()
}

fn verdict_at(now_ms: i64, more: &[(&str, &str)]) -> Verdict {
    let record = half(more);
    let view = RecordView::parse(&record, CheckCrc::Body).unwrap();
    judge(&view, &RULES, 5_000, now_ms)
}

#[test]
fn a_half_message_is_asked_about_when_its_time_is_over() {
    assert_eq!(verdict_at(7_000, &[]), Verdict::Later);
    assert_eq!(verdict_at(7_001, &[]), Verdict::Check { times: 1 });
    // The clock of its producer is ahead of ours.
    assert_eq!(verdict_at(999, &[]), Verdict::Check { times: 1 });
    let asked = |times| [(properties::TRANSACTION_CHECK_TIMES, times)];
    assert_eq!(
        verdict_at(7_001, &asked("14")),
        Verdict::Check { times: 15 }
    );
    assert_eq!(verdict_at(7_001, &asked("15")), Verdict::GiveUp);
    assert_eq!(verdict_at(1_000 + 72 * 3_600_000 + 1, &[]), Verdict::GiveUp);
}

#[test]
fn what_a_round_stored_is_for_the_next_one() {
    let record = half(&[(properties::TRANSACTION_CHECK_TIMES, "15")]);
    let view = RecordView::parse(&record, CheckCrc::Body).unwrap();
    assert_eq!(judge(&view, &RULES, 1_000, 90_000), Verdict::Later);
}

#[test]
fn a_wish_not_to_be_asked_is_heard() {
    let wish = |seconds| [(properties::CHECK_IMMUNITY_TIME_IN_SECONDS, seconds)];
    assert_eq!(verdict_at(61_000, &wish("60")), Verdict::Wait { first: 7 });
    assert_eq!(verdict_at(61_001, &wish("60")), Verdict::Check { times: 1 });
    assert_eq!(verdict_at(7_000, &wish("x")), Verdict::Wait { first: 7 });
    let copy = |first| {
        [
            (properties::CHECK_IMMUNITY_TIME_IN_SECONDS, "60"),
            (properties::TRANSACTION_PREPARED_QUEUE_OFFSET, first),
        ]
    };
    assert_eq!(verdict_at(7_000, &copy("3")), Verdict::Wait { first: 3 });
    assert_eq!(verdict_at(7_000, &copy("-1")), Verdict::Check { times: 1 });
    let record = half(&wish("1"));
    let view = RecordView::parse(&record, CheckCrc::Body).unwrap();
    assert_eq!(immunity_ms(&view, 6_000), Some(6_000));
    let record = half(&wish("9"));
    let view = RecordView::parse(&record, CheckCrc::Body).unwrap();
    assert_eq!(immunity_ms(&view, 6_000), Some(9_000));
}

#[test]
fn a_question_carries_the_message_as_it_was_sent() {
    let record = half(&[]);
    let view = RecordView::parse(&record, CheckCrc::Body).unwrap();
    let name = properties::TRANSACTION_CHECK_TIMES;
    let text = transaction::moved_properties(view.properties, name, 1);
    let question = Question::about(&view, &text, "T", view.store_host).unwrap();
    assert_eq!(question.group, "g");
    let request = question.request(9, 8_192, "b");
    let field = |name| request.ext_fields.get(name).unwrap_or_default().to_owned();
    assert_eq!(field("tranStateTableOffset"), "9");
    assert_eq!(field("commitLogOffset"), "8192");
    assert_eq!(field("topic"), names::TRANS_HALF_TOPIC);
    assert_eq!(field("bname"), "b");
    assert_eq!(
        (field("msgId"), field("transactionId")),
        ("k".into(), "k".into())
    );
    assert_eq!(field("offsetMsgId"), id::offset_id(view.store_host, 8_192));
    let sent = RecordView::parse(&request.body, CheckCrc::Body).unwrap();
    assert_eq!((sent.topic, sent.queue_id), ("T", 2));
    assert_eq!((sent.queue_offset, sent.physical_offset), (9, 8_192));
    assert_eq!((sent.flag, sent.body), (5, &b"body"[..]));
    assert_eq!(sent.property(name), Some("1"));
}
