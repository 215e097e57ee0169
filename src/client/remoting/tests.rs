//! The remoting client against a small server.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Decoder;

use super::*;
use crate::protocol::{FrameCodec, RequestCode, ResponseCode};

const LONG: Duration = Duration::from_secs(10);

fn request(code: RequestCode) -> RemotingCommand {
    RemotingCommand::request_without_header(code)
}

/// Serves one connection: waits for `batch` requests, then gives `answer` all of them.
async fn serve(
    mut stream: TcpStream,
    batch: usize,
    answer: impl Fn(Vec<RemotingCommand>) -> Vec<RemotingCommand>,
) {
    let mut codec = FrameCodec {
        max_frame_len: 1 << 20,
    };
    let mut input = BytesMut::new();
    let mut requests = Vec::new();
    while stream.read_buf(&mut input).await.unwrap_or(0) > 0 {
        while let Some(command) = codec.decode(&mut input).unwrap() {
            requests.push(command);
        }
        if requests.len() < batch {
            continue;
        }
        let mut output = BytesMut::new();
        for command in answer(std::mem::take(&mut requests)) {
            command.encode(&mut output);
        }
        stream.write_all(&output).await.unwrap();
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    (listener, addr)
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (listener, addr) = listener().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, 3, |requests| {
            let answer = |request: &RemotingCommand| {
                let remark = request.ext_fields.get("n").unwrap_or_default().to_owned();
                RemotingCommand::response(request, ResponseCode::Success).with_remark(remark)
            };
            requests.iter().rev().map(answer).collect()
        })
        .await;
    });
    let client = RemotingClient::default();
    let call = async |n: &str| {
        let mut request = request(RequestCode::HeartBeat);
        request.ext_fields.insert("n", n);
        client
            .call(&addr, request, LONG)
            .await
            .unwrap()
            .remark
            .unwrap()
            .to_string()
    };
    let all = tokio::join!(call("a"), call("b"), call("c"));
    assert_eq!(all, ("a".into(), "b".into(), "c".into()));
    assert_eq!(client.connected(), [addr]);
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let (listener, addr) = listener().await;
    let client = RemotingClient::default();
    let short = Duration::from_millis(1);
    let result = client
        .call(&addr, request(RequestCode::HeartBeat), short)
        .await;
    assert!(
        matches!(result, Err(RemotingError::Timeout { .. })),
        "{result:?}"
    );
    drop(listener);
}

#[tokio::test]
async fn a_closed_connection_fails_its_calls_and_is_opened_again() {
    let (listener, addr) = listener().await;
    let client = RemotingClient::default();
    let call = || client.call(&addr, request(RequestCode::HeartBeat), LONG);
    let (result, _) = tokio::join!(call(), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    assert!(
        matches!(result, Err(RemotingError::Closed { .. })),
        "{result:?}"
    );
    let echo = |requests: Vec<RemotingCommand>| {
        let answer = |request| RemotingCommand::response(request, ResponseCode::Success);
        requests.iter().map(answer).collect()
    };
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, 1, echo).await;
    });
    assert_eq!(call().await.unwrap().code, 0);
}

#[tokio::test]
async fn a_refused_connection_is_not_tried_again_at_once() {
    let (listener, addr) = listener().await;
    drop(listener);
    let config = RemotingConfig {
        backoff_min: LONG,
        ..RemotingConfig::default()
    };
    let client = RemotingClient::new(config);
    for _ in 0..2 {
        let result = client.connect(&addr).await;
        assert!(
            matches!(result, Err(RemotingError::Connect { .. })),
            "{result:?}"
        );
    }
}

struct Answering;

impl PushHandler for Answering {
    fn on_push(&self, request: RemotingCommand, origin: PushOrigin) {
        origin.reply(RemotingCommand::response(&request, ResponseCode::NoMessage));
    }
}

#[tokio::test]
async fn requests_of_the_server_are_answered() {
    let (listener, addr) = listener().await;
    let client = RemotingClient::default();
    client.set_push_handler(Arc::new(Answering));
    client.connect(&addr).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut output = BytesMut::new();
    let mut push = request(RequestCode::GetConsumerRunningInfo);
    push.opaque = 77;
    push.encode(&mut output);
    stream.write_all(&output).await.unwrap();
    let mut codec = FrameCodec {
        max_frame_len: 1 << 20,
    };
    let mut input = BytesMut::new();
    let answer = loop {
        if let Some(answer) = codec.decode(&mut input).unwrap() {
            break answer;
        }
        stream.read_buf(&mut input).await.unwrap();
    };
    assert_eq!((answer.code, answer.opaque), (208, 77));
    assert!(answer.is_response());
}

#[tokio::test]
async fn after_shut_down_nothing_is_sent() {
    let client = RemotingClient::default();
    client.shut_down();
    let result = client
        .oneway("127.0.0.1:1", request(RequestCode::HeartBeat))
        .await;
    assert!(matches!(result, Err(RemotingError::ShutDown)));
}
