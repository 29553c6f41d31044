//! A peer of the gateway in memory, which is not counted: a client or an upstream, in HTTP/1 or HTTP/2.
#![allow(clippy::panic, clippy::expect_used, reason = "a benchmark that cannot run may panic")]

use std::fmt::Write as _;
use std::future::Future;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::Instant;

use crate::http::h2::{Connection, Event, Limits, OutgoingRequest, Part, StreamKey};
use crate::http::message::HeadLimits;
use crate::testing::measure_heads::Head;

/// The protocol of a connection in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// A request or a response.
#[derive(Clone, Debug)]
pub struct Message {
    start: Start,
    head: Head,
    body: Bytes,
    trailers: Option<Head>,
}

#[derive(Clone, Debug)]
enum Start {
    Request(Method, &'static str),
    Response(StatusCode),
}

impl Message {
    /// Builds a request for a path.
    pub fn request(method: Method, path: &'static str, head: Head, body: Bytes) -> Self {
        Self { start: Start::Request(method, path), head, body, trailers: None }
    }

    /// Builds a response with status 200. Only HTTP/2 sends trailers.
    pub fn response(head: Head, body: Bytes, trailers: Option<Head>) -> Self {
        Self { start: Start::Response(StatusCode::OK), head, body, trailers }
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns true if trailers follow the body.
    pub fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }
}

/// A message that has arrived at a peer.
#[derive(Debug, Default)]
pub struct Arrived {
    /// The method of a request, or the status of a response.
    pub start: String,
    /// All of its body.
    pub body: Vec<u8>,
    /// True if trailers followed.
    pub has_trailers: bool,
}

/// Limits that no exchange comes near, as those of browsers.
const LIMITS: Limits = Limits {
    head: HeadLimits { headers: 100, header_bytes: 64 * 1024, target_bytes: 8 * 1024 },
    max_streams: 100,
    stream_window: 1 << 20,
    stream_window_max: 1 << 20,
    connection_window: 1 << 24,
    header_table: 4096,
    connect_protocol: false,
};

/// The side of the gateway on which a peer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

pub(super) struct Peer {
    pipe: DuplexStream,
    buffer: Vec<u8>,
    /// Our own engine, which sends what any other would.
    h2: Option<Box<Connection>>,
    /// The stream of the present exchange.
    stream: Option<StreamKey>,
}

impl Peer {
    /// Begins a connection. A preface and settings are sent at once.
    pub(super) fn new(pipe: DuplexStream, protocol: Protocol, role: Role) -> Self {
        let h2 = (protocol == Protocol::H2).then(|| {
            let now = Instant::now();
            Box::new(match role {
                Role::Client => Connection::client(LIMITS, now),
                Role::Server => Connection::server(LIMITS, now),
            })
        });
        let mut peer = Self { pipe, buffer: vec![0; 1 << 20], h2, stream: None };
        peer.flush();
        peer
    }

    /// Sends a whole message.
    pub(super) fn send(&mut self, message: &Message) {
        let Some(engine) = &mut self.h2 else {
            return write(&mut self.pipe, &h1_text(message));
        };
        let headers = message.head.fields();
        let length = Some(message.body.len() as u64).filter(|length| *length > 0);
        let has_end = message.body.is_empty() && message.trailers.is_none();
        let key = match &message.start {
            Start::Request(method, path) => {
                let authority = headers.get("host").expect("a request has an authority").as_bytes();
                let request = OutgoingRequest {
                    method,
                    scheme: "http",
                    authority,
                    path,
                    protocol: None,
                    headers,
                    length,
                };
                engine.request(&request, has_end).expect("the gateway takes a request")
            }
            Start::Response(status) => {
                let key = self.stream.expect("a request came");
                engine.respond(key, *status, headers, length, has_end);
                key
            }
        };
        if !has_end {
            engine.data(key, message.body.clone(), message.trailers.is_none());
        }
        if let Some(trailers) = &message.trailers {
            engine.trailers(key, trailers.fields().clone());
        }
        self.stream = Some(key);
        self.flush();
        if matches!(message.start, Start::Response(_))
            && let Some(engine) = &mut self.h2
        {
            engine.release(key);
        }
    }

    /// Returns the message that has arrived. What the peer sends because of it, such as updates of windows, goes with its next
    /// message.
    pub(super) fn arrived(&mut self) -> Option<Arrived> {
        let bytes = read(&mut self.pipe, &mut self.buffer);
        match &mut self.h2 {
            None => h1_arrived(bytes),
            Some(engine) => {
                engine
                    .receive(Bytes::copy_from_slice(bytes), Instant::now())
                    .expect("the gateway sends HTTP/2");
                let (key, arrived) = h2_arrived(engine)?;
                match self.stream {
                    Some(sent) if sent == key => engine.release(key),
                    _ => self.stream = Some(key),
                }
                Some(arrived)
            }
        }
    }

    /// Writes what the engine has to send.
    fn flush(&mut self) {
        let Some(engine) = &mut self.h2 else { return };
        loop {
            engine.schedule();
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = engine.output(&mut slices);
            let bytes: Vec<u8> = slices.iter().take(filled).flat_map(|slice| slice.iter().copied()).collect();
            if bytes.is_empty() {
                return;
            }
            write(&mut self.pipe, &bytes);
            engine.written(bytes.len());
        }
    }
}

fn h1_text(message: &Message) -> Vec<u8> {
    let mut text = match &message.start {
        Start::Request(method, path) => format!("{method} {path} HTTP/1.1\r\n"),
        Start::Response(status) => format!("HTTP/1.1 {status}\r\n"),
    };
    for (name, value) in message.head.fields().iter() {
        let value = value.to_str().expect("a field of a benchmark is text");
        write!(text, "{name}: {value}\r\n").expect("a string takes text");
    }
    if !message.body.is_empty() {
        write!(text, "content-length: {}\r\n", message.body.len()).expect("a string takes text");
    }
    [text.as_bytes(), b"\r\n", &message.body].concat()
}

fn h1_arrived(bytes: &[u8]) -> Option<Arrived> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let mut words = bytes.split(|byte| *byte == b' ');
    let first = words.next()?;
    let start = if first.starts_with(b"HTTP/") { words.next()? } else { first };
    let body = bytes.get(head + 4..)?.to_vec();
    Some(Arrived { start: String::from_utf8_lossy(start).into_owned(), body, has_trailers: false })
}

/// Takes the message of the stream whose head has arrived.
fn h2_arrived(engine: &mut Connection) -> Option<(StreamKey, Arrived)> {
    let mut found = None;
    while let Some(event) = engine.event() {
        match event {
            Event::Request(key, head) => found = Some((key, head.method.to_string())),
            Event::Response(key, head) => found = Some((key, head.status.as_str().to_owned())),
            Event::Reset { stream, code, .. } => panic!("{stream:?} was reset: {code:?}"),
            _ => {}
        }
    }
    let (key, start) = found?;
    let mut arrived = Arrived { start, ..Arrived::default() };
    loop {
        match engine.take(key)? {
            Part::Data(data) => arrived.body.extend_from_slice(&data),
            Part::Trailers(_) => arrived.has_trailers = true,
            Part::End => return Some((key, arrived)),
            Part::Reset(code) => panic!("{key:?} was reset: {code:?}"),
        }
    }
}

fn write(pipe: &mut DuplexStream, bytes: &[u8]) {
    let written = pin!(pipe.write_all(bytes)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(written, Poll::Ready(Ok(()))), "the pipe is full, or the gateway has closed it");
}

/// Reads all bytes that are available.
fn read<'b>(pipe: &mut DuplexStream, buffer: &'b mut [u8]) -> &'b [u8] {
    let mut read = ReadBuf::new(buffer);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let before = read.filled().len();
        match Pin::new(&mut *pipe).poll_read(&mut cx, &mut read) {
            Poll::Pending => break,
            Poll::Ready(result) => result.expect("a pipe in memory does not fail"),
        }
        assert!(read.filled().len() > before, "the gateway has closed the connection");
    }
    let length = read.filled().len();
    buffer.get(..length).unwrap_or_default()
}
