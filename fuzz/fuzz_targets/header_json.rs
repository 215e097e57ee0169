//! A frame whose header is the input in its JSON form: what can be read can be written, and reads
//! the same again.
#![no_main]

use bytes::{BufMut, BytesMut};
use callboard::protocol::RemotingCommand;
use callboard::protocol::header::{pull::PullMessageRequestHeader, send::SendMessageRequestHeader};
use callboard::protocol::{CommandHeader, RequestCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| {
    if header.len() >= 1 << 24 {
        return;
    }
    let mut frame = BytesMut::new();
    frame.put_u32(4 + header.len() as u32);
    frame.put_u32(0 << 24 | header.len() as u32);
    frame.put_slice(header);
    let Ok(command) = RemotingCommand::decode(frame) else {
        return;
    };
    let mut out = BytesMut::new();
    command.encode(&mut out);
    let again = RemotingCommand::decode(out).expect("our own frame is readable");
    assert_eq!(again.ext_fields, command.ext_fields);
    assert_eq!((again.code, again.flag), (command.code, command.flag));
    let _ = SendMessageRequestHeader::of_request(RequestCode::SendMessageV2, &command.ext_fields);
    let _ = PullMessageRequestHeader::decode_lenient(&command.ext_fields);
});
