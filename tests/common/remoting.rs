//! A raw remoting client on a blocking socket, written apart from the library under test so that
//! no mistake of its codec can hide here. JSON headers only.

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A decoded frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub code: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: String,
    pub ext: Map<String, Value>,
    pub body: Vec<u8>,
}

impl Frame {
    pub fn ext_text(&self, name: &str) -> &str {
        self.ext.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub fn ext_number(&self, name: &str) -> i64 {
        let text = self.ext_text(name);
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} in {:?}", self.ext))
    }
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The connection ended before the answer.
    Closed,
    /// Nothing came in time although the connection lives.
    Timeout,
}

/// What arrives for one request: the answer, or that the connection ended.
pub struct Arrival {
    pub opaque: i32,
    pub at: Instant,
    pub answer: Option<Frame>,
}

#[derive(Default)]
struct Pending {
    waiting: HashMap<i32, Sender<Arrival>>,
    closed: bool,
}

struct Shared {
    pending: Mutex<Pending>,
    closed: AtomicBool,
    pushed: AtomicUsize,
    pushes: Mutex<Option<Sender<Frame>>>,
}

/// One connection: any thread may write requests, a reader thread hands answers out.
pub struct Client {
    stream: Mutex<TcpStream>,
    shared: Arc<Shared>,
    next: AtomicI32,
    pub local: SocketAddr,
}

/// Encodes a request frame with a JSON header.
pub fn encode(code: i32, opaque: i32, flag: i32, ext: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let fields: Map<String, Value> = ext
        .iter()
        .map(|(k, v)| ((*k).to_string(), Value::from(v.as_str())))
        .collect();
    let header = json!({
        "code": code, "extFields": fields, "flag": flag, "language": "JAVA",
        "opaque": opaque, "serializeTypeCurrentRPC": "JSON", "version": 493,
    })
    .to_string();
    let mut frame = Vec::with_capacity(8 + header.len() + body.len());
    frame.extend(((4 + header.len() + body.len()) as u32).to_be_bytes());
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    frame
}

/// Reads one frame; an error is the end of the connection.
pub fn read_frame(stream: &mut TcpStream) -> std::io::Result<Frame> {
    let mut word = [0u8; 4];
    stream.read_exact(&mut word)?;
    let mut frame = vec![0u8; u32::from_be_bytes(word) as usize];
    stream.read_exact(&mut frame)?;
    let marked = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    assert_eq!(marked >> 24, 0, "an answer in JSON was expected");
    let header_len = (marked & 0x00FF_FFFF) as usize;
    let body = frame.split_off(4 + header_len);
    let header: Value = serde_json::from_slice(&frame[4..])
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&frame[4..])));
    let number = |name: &str| header[name].as_i64().unwrap_or(0) as i32;
    Ok(Frame {
        code: number("code"),
        opaque: number("opaque"),
        flag: number("flag"),
        remark: header["remark"].as_str().unwrap_or("").to_string(),
        ext: header["extFields"].as_object().cloned().unwrap_or_default(),
        body,
    })
}

impl Client {
    pub fn connect(to: SocketAddr) -> std::io::Result<Client> {
        Client::connect_within(to, Duration::from_secs(5))
    }

    pub fn connect_within(to: SocketAddr, timeout: Duration) -> std::io::Result<Client> {
        let stream = TcpStream::connect_timeout(&to, timeout)?;
        stream.set_nodelay(true)?;
        let shared = Arc::new(Shared {
            pending: Mutex::new(Pending::default()),
            closed: AtomicBool::new(false),
            pushed: AtomicUsize::new(0),
            pushes: Mutex::default(),
        });
        let reader = (stream.try_clone()?, shared.clone());
        std::thread::spawn(move || read_loop(reader.0, &reader.1));
        Ok(Client {
            local: stream.local_addr()?,
            stream: Mutex::new(stream),
            shared,
            next: AtomicI32::new(1),
        })
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Requests that the server sent to us (change notices); they are read and not answered.
    pub fn pushed(&self) -> usize {
        self.shared.pushed.load(Ordering::Relaxed)
    }

    /// What the server asks of us from now on.
    pub fn pushes(&self) -> Receiver<Frame> {
        let (to, from) = mpsc::channel();
        *self.shared.pushes.lock().expect("pushes") = Some(to);
        from
    }

    /// Answers a request of the server.
    pub fn answer(&self, request: &Frame, code: i32) {
        // A connection that has ended says so elsewhere.
        let _ = self.write_raw(&encode(code, request.opaque, 1, &[], b""));
    }

    /// Writes a request; its answer goes to `to`. Gives the opaque number, or none when closed.
    pub fn start(
        &self,
        code: i32,
        ext: &[(&str, String)],
        body: &[u8],
        to: &Sender<Arrival>,
    ) -> Option<i32> {
        let opaque = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut pending = self.shared.pending.lock().expect("pending");
            if pending.closed {
                return None;
            }
            pending.waiting.insert(opaque, to.clone());
        }
        let frame = encode(code, opaque, 0, ext, body);
        // A failed write ends the connection; the reader then tells everyone who waits.
        let mut stream = self.stream.lock().expect("stream");
        if stream.write_all(&frame).is_err() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        Some(opaque)
    }

    /// One request and its answer.
    pub fn call(
        &self,
        code: i32,
        ext: &[(&str, String)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Frame, NoAnswer> {
        let (to, from): (Sender<Arrival>, Receiver<Arrival>) = mpsc::channel();
        self.start(code, ext, body, &to).ok_or(NoAnswer::Closed)?;
        drop(to);
        match from.recv_timeout(timeout) {
            Ok(arrival) => arrival.answer.ok_or(NoAnswer::Closed),
            Err(RecvTimeoutError::Timeout) => Err(NoAnswer::Timeout),
            Err(RecvTimeoutError::Disconnected) => Err(NoAnswer::Closed),
        }
    }

    /// Writes raw bytes.
    pub fn write_raw(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.lock().expect("stream").write_all(bytes)
    }

    pub fn close(&self) {
        let _ = self.stream.lock().expect("stream").shutdown(Shutdown::Both);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

fn read_loop(mut stream: TcpStream, shared: &Shared) {
    while let Ok(frame) = read_frame(&mut stream) {
        if frame.flag & 1 == 0 {
            shared.pushed.fetch_add(1, Ordering::Relaxed);
            if let Some(to) = &*shared.pushes.lock().expect("pushes") {
                let _ = to.send(frame);
            }
            continue;
        }
        let waiting = shared
            .pending
            .lock()
            .expect("pending")
            .waiting
            .remove(&frame.opaque);
        let waiting = waiting.unwrap_or_else(|| panic!("two answers or a foreign one: {frame:?}"));
        let _ = waiting.send(Arrival {
            opaque: frame.opaque,
            at: Instant::now(),
            answer: Some(frame),
        });
    }
    shared.closed.store(true, Ordering::Release);
    let mut pending = shared.pending.lock().expect("pending");
    pending.closed = true;
    for (opaque, to) in pending.waiting.drain() {
        let _ = to.send(Arrival {
            opaque,
            at: Instant::now(),
            answer: None,
        });
    }
}
