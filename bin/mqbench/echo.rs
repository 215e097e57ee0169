//! The floor: a server on one thread that stores nothing and answers sends with a canned SEND_OK.
//! What a broker spends beyond this is its own; what this spends is the kernel's and the client's.

use std::rc::Rc;

use bytes::BytesMut;
use callboard::protocol::{FrameCodec, RemotingCommand, RequestCode, ResponseCode, SerializeType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Decoder;

use crate::frames::{self, Template};

/// Largest frame taken.
const FRAME_LEN_MAX: usize = 16 * 1024 * 1024;

/// The canned answers of both serializations.
struct Canned {
    json: Template,
    binary: Template,
    addr: String,
    queues: u32,
}

/// Serves until the process is stopped.
pub async fn run(addr: &str, queues: u32) -> std::io::Result<()> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?.to_string();
    println!("echo: listening on {addr}");
    let canned = Rc::new(Canned {
        json: send_ok(SerializeType::Json),
        binary: send_ok(SerializeType::RocketMq),
        addr,
        queues,
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let canned = canned.clone();
        tokio::task::spawn_local(async move {
            // A client that goes away, or that talks nonsense, ends its own connection only.
            let _ = serve(stream, &canned).await;
        });
    }
}

fn send_ok(serialize_type: SerializeType) -> Template {
    let mut request = RemotingCommand::request_without_header(RequestCode::SendMessageV2);
    request.serialize_type = serialize_type;
    let mut answer = RemotingCommand::response(&request, ResponseCode::Success);
    answer
        .ext_fields
        .insert("msgId", "7F00000100002A9F0000000000000000");
    answer.ext_fields.insert("queueId", "0");
    answer.ext_fields.insert("queueOffset", "0");
    answer.ext_fields.insert("MSG_REGION", "DefaultRegion");
    answer.ext_fields.insert("TRACE_ON", "true");
    Template::new(answer)
}

async fn serve(mut stream: TcpStream, canned: &Canned) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut input: Vec<u8> = Vec::with_capacity(256 * 1024);
    let mut output: Vec<u8> = Vec::new();
    let mut counter = 0;
    loop {
        if stream.read_buf(&mut input).await.map_err(text)? == 0 {
            return Ok(());
        }
        let mut used = 0;
        output.clear();
        while let Some(frame) = frames::parse(&input[used..])? {
            let whole = &input[used..used + frame.len];
            used += frame.len;
            let send = matches!(frame.code, 10 | 310 | 320);
            if send && (frames::OPAQUE_BASE..=i32::MAX).contains(&frame.opaque) {
                let template = if frame.binary {
                    &canned.binary
                } else {
                    &canned.json
                };
                template.append(&mut output, frame.opaque, &mut counter, 0);
            } else {
                answer_other(whole, send, canned, &mut output)?;
            }
        }
        if !output.is_empty() {
            stream.write_all(&output).await.map_err(text)?;
        }
        input.drain(..used);
    }
}

/// Requests of ordinary clients: sends with small opaques, routes, heartbeats.
fn answer_other(
    frame: &[u8],
    send: bool,
    canned: &Canned,
    output: &mut Vec<u8>,
) -> Result<(), String> {
    let mut codec = FrameCodec {
        max_frame_len: FRAME_LEN_MAX,
    };
    let decoded = codec
        .decode(&mut BytesMut::from(frame))
        .map_err(|error| error.to_string())?;
    let Some(request) = decoded else {
        return Ok(());
    };
    if request.is_oneway() || request.is_response() {
        return Ok(());
    }
    let mut answer = RemotingCommand::response(&request, ResponseCode::Success);
    if send {
        let id = "7F00000100002A9F0000000000000000";
        for (key, value) in [("msgId", id), ("queueId", "0"), ("queueOffset", "0")] {
            answer.ext_fields.insert(key, value);
        }
    } else if request.code == RequestCode::GetRouteinfoByTopic.code() {
        let (addr, queues) = (&canned.addr, canned.queues);
        answer = answer.with_body(
            format!(
                "{{\"brokerDatas\":[{{\"brokerAddrs\":{{\"0\":\"{addr}\"}},\"brokerName\":\"echo\",\
                 \"cluster\":\"DefaultCluster\"}}],\"filterServerTable\":{{}},\"queueDatas\":[\
                 {{\"brokerName\":\"echo\",\"perm\":6,\"readQueueNums\":{queues},\
                 \"topicSysFlag\":0,\"writeQueueNums\":{queues}}}]}}"
            )
            .into_bytes(),
        );
    }
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes);
    output.extend_from_slice(&bytes);
    Ok(())
}
