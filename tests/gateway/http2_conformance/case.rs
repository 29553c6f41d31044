//! A case: the frames that one side of a connection writes by hand, and what the gateway must send back.

use support::{Client, Connection};

use crate::raw_frames::*;

/// The payload of the ping that shows at the end of a case that the connection lives.
const LAST_PING: &[u8; 8] = b"the end.";

/// The largest payload that a frame may have without a setting (RFC 9113 §4.2).
pub(crate) const PAYLOAD_MAX: usize = 16_384;

/// The largest window (RFC 9113 §6.9.1).
pub(crate) const WINDOW_MAX: u32 = 0x7fff_ffff;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// True if the case writes its side's preface itself.
    pub(crate) is_raw: bool,
    steps: Vec<Step>,
}

enum Step {
    Send(Vec<u8>),
    Expect(Outcome),
}

/// The reaction of the gateway. While one is awaited, frames of responses, settings and updates of windows may come before it;
/// an error or an answer that the case does not expect fails it.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// GOAWAY with this code, and then the end of the connection (RFC 9113 §5.4.1).
    ConnectionError(u32),
    /// RST_STREAM for this stream with this code (RFC 9113 §5.4.2).
    StreamError(u32, u32),
    /// A head with the status 200 for this stream.
    Head(u32),
    /// A head that opens this stream.
    Opened(u32),
    /// DATA that ends this stream.
    End(u32),
    /// A DATA frame for this stream with this payload.
    Data(u32, &'static [u8]),
    /// SETTINGS with this setting among them.
    Setting(u16, u32),
    SettingsAck,
    /// The answer to a PING with this payload.
    Pong(&'static [u8; 8]),
    /// The end of the connection without an error.
    Closed,
}

use Outcome::*;

pub(crate) fn case(name: &'static str) -> Case {
    Case { name, is_raw: false, steps: Vec::new() }
}

/// A case that writes its side's preface itself.
pub(crate) fn raw_case(name: &'static str) -> Case {
    Case { name, is_raw: true, steps: Vec::new() }
}

impl Case {
    pub(crate) fn sends(mut self, bytes: impl AsRef<[u8]>) -> Self {
        match self.steps.last_mut() {
            // What follows directly arrives in one piece.
            Some(Step::Send(before)) => before.extend_from_slice(bytes.as_ref()),
            _ => self.steps.push(Step::Send(bytes.as_ref().to_vec())),
        }
        self
    }

    pub(crate) fn gets(mut self, outcome: Outcome) -> Self {
        self.steps.push(Step::Expect(outcome));
        self
    }

    /// Expects a whole response with the status 200.
    pub(crate) fn gets_response(self, stream: u32) -> Self {
        self.gets(Head(stream)).gets(End(stream))
    }

    /// Runs the steps on a connection, and then shows by a ping that it lives, unless it has ended.
    pub(crate) async fn run(&self, peer: &mut Peer) -> Result<(), String> {
        for step in &self.steps {
            match step {
                Step::Send(bytes) => peer.write(bytes).await,
                Step::Expect(outcome) => peer.expect(outcome).await?,
            }
        }
        if let Some(Step::Expect(ConnectionError(_) | Closed)) = self.steps.last() {
            return Ok(());
        }
        peer.write(&ping(0, LAST_PING)).await;
        peer.expect(&Pong(LAST_PING)).await
    }
}

/// The gateway's peer on a connection, with the bytes that have arrived and are not read.
pub(crate) struct Peer {
    socket: Socket,
    arrived: Vec<u8>,
}

pub(crate) enum Socket {
    /// The client of a listener.
    Client(Box<Client>),
    /// The origin that the gateway is a client of.
    Origin(Connection),
}

impl Peer {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, arrived: Vec::new() }
    }

    /// Writes bytes. The gateway may have closed; the outcome that is expected next shows it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        drop(match &mut self.socket {
            Socket::Client(client) => client.try_send_raw(bytes).await,
            Socket::Origin(connection) => connection.try_write(bytes).await,
        });
    }

    /// Reads the bytes that have arrived, at least one; none at the end.
    async fn read(&mut self) -> Vec<u8> {
        match &mut self.socket {
            Socket::Client(client) => client.try_read_some().await.unwrap_or_default(),
            Socket::Origin(connection) => connection.read_some().await,
        }
    }

    /// Reads exactly these bytes.
    pub(crate) async fn expect_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        while self.arrived.len() < bytes.len() {
            let more = self.read().await;
            if more.is_empty() {
                return Err("the connection ended".to_owned());
            }
            self.arrived.extend(more);
        }
        let found: Vec<u8> = self.arrived.drain(..bytes.len()).collect();
        if found == bytes { Ok(()) } else { Err(format!("{} came", found.escape_ascii())) }
    }

    /// Returns the next frame, or `None` at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::take(&mut self.arrived) {
                return Some(frame);
            }
            let more = self.read().await;
            if more.is_empty() {
                return None;
            }
            self.arrived.extend(more);
        }
    }

    /// Returns the next frame of this kind.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    pub(crate) async fn expect(&mut self, outcome: &Outcome) -> Result<(), String> {
        loop {
            let Some(frame) = self.next().await else {
                let has_ended = matches!(outcome, Closed);
                return if has_ended { Ok(()) } else { Err(format!("no {outcome:?}, but the end")) };
            };
            check(&frame)?;
            if !is_expected(&frame, outcome) {
                match frame.kind {
                    // They come at any time.
                    HEADERS | DATA | SETTINGS | WINDOW_UPDATE => continue,
                    // RFC 9113 §6.8: a connection also ends in order with GOAWAY.
                    GOAWAY if matches!(outcome, Closed) && frame.number(4) == 0 => continue,
                    _ => return Err(format!("no {outcome:?}, but {}", shown(&frame))),
                }
            }
            return match outcome {
                ConnectionError(_) => self.expect_end().await,
                _ => Ok(()),
            };
        }
    }

    /// Reads the end of the connection behind GOAWAY.
    async fn expect_end(&mut self) -> Result<(), String> {
        match self.next().await {
            None => Ok(()),
            Some(frame) => Err(format!("after GOAWAY came {}", shown(&frame))),
        }
    }
}

fn is_expected(frame: &Frame, outcome: &Outcome) -> bool {
    let is_ack = frame.flags & ACK != 0;
    match *outcome {
        ConnectionError(code) => frame.kind == GOAWAY && frame.number(4) == code,
        StreamError(stream, code) => {
            frame.kind == RST_STREAM && frame.stream == stream && frame.number(0) == code
        }
        Opened(stream) => frame.kind == HEADERS && frame.stream == stream,
        Head(stream) => {
            frame.kind == HEADERS && frame.stream == stream && frame.payload.first() == Some(&STATUS_200)
        }
        End(stream) => frame.kind == DATA && frame.stream == stream && frame.flags & END_STREAM != 0,
        Data(stream, payload) => frame.kind == DATA && frame.stream == stream && frame.payload == payload,
        Setting(id, value) => {
            let setting = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
            frame.kind == SETTINGS && !is_ack && frame.payload.chunks(6).any(|found| found == setting)
        }
        SettingsAck => frame.kind == SETTINGS && is_ack && frame.payload.is_empty(),
        Pong(payload) => frame.kind == PING && is_ack && frame.payload == payload,
        Closed => false,
    }
}

/// Checks the format of a frame of the gateway (RFC 9113 §4.1, §4.2): a known kind with no other than its flags, without the
/// reserved bit, and no larger than without a setting.
fn check(frame: &Frame) -> Result<(), String> {
    let flags = match frame.kind {
        DATA => END_STREAM | PADDED,
        HEADERS => END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
        SETTINGS | PING => ACK,
        CONTINUATION => END_HEADERS,
        _ => 0,
    };
    let is_well = frame.kind <= CONTINUATION
        && frame.kind != PUSH_PROMISE
        && frame.flags & !flags == 0
        && frame.stream >> 31 == 0
        && frame.payload.len() <= PAYLOAD_MAX;
    if is_well { Ok(()) } else { Err(format!("bad format: {}", shown(frame))) }
}

/// Shows a frame in a message: an error by its code and GOAWAY by its reason.
fn shown(frame: &Frame) -> String {
    let Frame { kind, flags, stream, payload } = frame;
    match *kind {
        GOAWAY => format!("GOAWAY with code {}: {}", frame.number(4), payload[8..].escape_ascii()),
        RST_STREAM => format!("RST_STREAM {stream} with code {}", frame.number(0)),
        _ => format!("kind {kind}, flags {flags}, stream {stream}: {}", payload.escape_ascii()),
    }
}

pub(crate) fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, payload)
}

/// HEADERS with a whole block of these fields.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

pub(crate) fn continuation(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(CONTINUATION, flags, stream, &block(fields))
}

pub(crate) fn priority(stream: u32, dependency: u32, weight: u8) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[&dependency.to_be_bytes()[..], &[weight]].concat())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let setting = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &values.iter().flat_map(setting).collect::<Vec<u8>>())
}

pub(crate) fn ping(flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(PING, flags, 0, payload)
}

pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}
