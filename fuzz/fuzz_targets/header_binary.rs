//! The header in its binary form, and the typed headers made from it.
#![no_main]

use bytes::{BufMut, BytesMut};
use callboard::protocol::frame::RemotingCommand;
use callboard::protocol::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() > 1 << 20 {
        return;
    }
    let mut frame = BytesMut::new();
    frame.put_u32(4 + bytes.len() as u32);
    frame.put_u32(1 << 24 | bytes.len() as u32);
    frame.put_slice(bytes);
    let Ok(command) = RemotingCommand::decode(frame) else {
        return;
    };
    let _ = command.decode_header::<header::send::SendMessageRequestHeaderV2>();
    let _ = command.decode_header::<header::pull::PullMessageRequestHeader>();
    let _ = command.decode_header::<header::client::ConsumerSendMsgBackRequestHeader>();
    let _ = command.decode_header::<header::client::UnregisterClientRequestHeader>();
});
