//! Receipts, the lists of a pop's answer, and the bodies of check points and acknowledgements: any
//! bytes are read or refused, and what was read is written the same again.
#![no_main]

use callboard::{
    store::revive_ledger::{Ledger, ReviveRecord},
    protocol::{
        body::pop::{AckMsg, BatchAckMessageRequestBody, PopCheckPoint},
        fastjson,
        message::receipt::{self, Receipt},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(receipt) = text.parse::<Receipt>() {
            assert_eq!(receipt.to_string().parse(), Ok(receipt));
        }
        let _ = receipt::parse_start_offsets(text);
        let _ = receipt::parse_msg_offsets(text);
        let _ = receipt::parse_order_counts(text);
    }
    if let Ok(point) = fastjson::from_slice::<PopCheckPoint>(data) {
        for index in 0..point.len() {
            let offset = point.offset_of(index);
            assert!(offset.is_none_or(|offset| point.index_of(offset).is_some()));
        }
    }
    let _ = fastjson::from_slice::<AckMsg>(data);
    if let Ok(body) = fastjson::from_slice::<BatchAckMessageRequestBody>(data) {
        body.acks.iter().for_each(|ack| drop(ack.offsets()));
    }
    // Records of a revive queue, each with a byte for its tags.
    let mut ledger = Ledger::new("b", 0);
    for (offset, record) in data.split(|&byte| byte == b'\n').enumerate() {
        let Some((&kind, body)) = record.split_first() else {
            continue;
        };
        let tags = ["ck", "ack", "bAck", "other"][usize::from(kind % 4)];
        let record = ReviveRecord {
            offset: offset as i64,
            tags,
            body,
            due: i64::from(kind),
        };
        ledger.take(&record, 100);
    }
    ledger.drained(i64::MAX / 2, true);
    let due = ledger.due().count();
    assert!(
        ledger
            .due()
            .all(|point| point.open().count() <= point.body.len())
    );
    ledger.settle(due);
    assert!(ledger.due().next().is_none());
});
