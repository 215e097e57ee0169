//! A server with a service that echoes, holds or panics, and a client on a plain socket.

use std::net::SocketAddr;
use std::sync::Arc;

use actix::Arbiter;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;

use crate::actors::kernel::Tree;
use crate::actors::net::*;
use crate::protocol::{FrameCodec, RemotingCommand, RequestCode, ResponseCode};

/// What the service hands to the test.
pub(super) enum Event {
    Batch(usize),
    Held(Responder),
    Opened(Arc<ConnectionHandle>),
    Closed(u64),
}

pub(super) struct Echo {
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) big: Bytes,
}

impl Service for Echo {
    fn frames(&mut self, frames: &mut Vec<RemotingCommand>, conn: &Arc<ConnectionHandle>) {
        let _ = self.events.send(Event::Batch(frames.len()));
        for frame in frames.drain(..) {
            let responder = conn.responder(&frame);
            match frame.request_code() {
                Some(RequestCode::HeartBeat) => {
                    responder.answer(
                        ResponseCode::Success,
                        None,
                        None,
                        &[("k", "v")],
                        [frame.body],
                    );
                }
                Some(RequestCode::PullMessage) => {
                    let bodies = [self.big.clone(), self.big.clone()];
                    responder.answer(ResponseCode::Success, None, None, &[], bodies);
                }
                Some(RequestCode::SendMessage) => {
                    let _ = self.events.send(Event::Held(responder));
                }
                Some(RequestCode::GetMaxOffset) => panic!("service panics"),
                _ => drop(responder),
            }
        }
    }

    fn closed(&mut self, conn: &Arc<ConnectionHandle>) {
        let _ = self.events.send(Event::Closed(conn.id));
    }
}

pub(super) const BIG_LEN: usize = 64 * 1024;

pub(super) struct Server {
    pub(super) tree: Tree,
    pub(super) net: Net,
    pub(super) address: SocketAddr,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) arbiter: Arbiter,
}

impl Server {
    pub(super) fn start(config: NetConfig) -> Server {
        let tree = Tree::new("test");
        let arbiter = Arbiter::new();
        let net = Net::start(&tree, "test", vec![arbiter.handle()], config);
        let (sender, events) = mpsc::unbounded_channel();
        let factory: ServiceFactory = Arc::new(move |conn| {
            let _ = sender.send(Event::Opened(conn.clone()));
            Box::new(Echo {
                events: sender.clone(),
                big: Bytes::from(vec![b'x'; BIG_LEN]),
            })
        });
        let address = net.listen("127.0.0.1:0".parse().unwrap(), factory).unwrap();
        Server {
            tree,
            net,
            address,
            events,
            arbiter,
        }
    }

    pub(super) async fn held(&mut self) -> Responder {
        loop {
            if let Event::Held(responder) = self.events.recv().await.unwrap() {
                return responder;
            }
        }
    }

    pub(super) async fn opened(&mut self) -> Arc<ConnectionHandle> {
        loop {
            if let Event::Opened(conn) = self.events.recv().await.unwrap() {
                return conn;
            }
        }
    }

    pub(super) async fn closed(&mut self) -> u64 {
        loop {
            if let Event::Closed(id) = self.events.recv().await.unwrap() {
                return id;
            }
        }
    }

    pub(super) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Client {
            stream,
            arrived: BytesMut::new(),
            opaque: 0,
        }
    }
}

pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) arrived: BytesMut,
    pub(super) opaque: i32,
}

impl Client {
    pub(super) fn frame(&mut self, code: RequestCode, body: &[u8]) -> BytesMut {
        self.opaque += 1;
        let mut command = RemotingCommand::request_without_header(code).with_body(body.to_vec());
        command.opaque = self.opaque;
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        bytes
    }

    pub(super) async fn send(&mut self, code: RequestCode, body: &[u8]) {
        let bytes = self.frame(code, body);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next frame, or `None` once the server has closed.
    pub(super) async fn receive(&mut self) -> Option<RemotingCommand> {
        let mut codec = FrameCodec::default();
        loop {
            if let Some(frame) = codec.decode(&mut self.arrived).unwrap() {
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.arrived).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(super) async fn echo(&mut self, body: &[u8]) {
        self.send(RequestCode::HeartBeat, body).await;
        let answer = self.receive().await.unwrap();
        assert_eq!((answer.opaque, &answer.body[..]), (self.opaque, body));
        assert!(answer.is_response());
        assert_eq!(answer.ext_fields.get("k"), Some("v"));
    }
}
