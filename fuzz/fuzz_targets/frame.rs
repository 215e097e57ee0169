//! Frames out of a stream that is cut anywhere; what is read can be written and read again.
#![no_main]

use bytes::BytesMut;
use callboard::protocol::frame::{FRAME_LEN_MAX, FrameCodec, RemotingCommand};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder;

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, cut) = input;
    let mut codec = FrameCodec {
        max_frame_len: FRAME_LEN_MAX,
    };
    let mut buffer = BytesMut::new();
    for chunk in bytes.chunks(usize::from(cut).max(1)) {
        buffer.extend_from_slice(chunk);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(command)) => write_and_read(&command),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});

fn write_and_read(command: &RemotingCommand) {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    let again = RemotingCommand::decode(out).expect("what we wrote can be read");
    assert_eq!(again.opaque, command.opaque);
    assert_eq!(again.flag, command.flag);
    assert_eq!(again.body, command.body);
    assert_eq!(again.ext_fields, command.ext_fields);
}
