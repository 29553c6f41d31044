//! A connection (RFC 9113), of a server or a client: bytes in, events and bytes out.

mod receive;
pub(super) mod send;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::abuse::{Abuse, Account};
use super::flow::{ReceiveWindow, SendWindow};
use super::frame::{self, Code, PAYLOAD_MAX, STREAM_MAX};
use super::head::{Malformed, RequestHead, ResponseHead};
use super::hpack::{Decoder, Encoder};
use super::output::Output;
use super::reader::Reader;
use super::settings::{DEFAULT_WINDOW, Settings};
use super::stream::{By, Part, Receiving, Sending, Stream};
use super::streams::{Absent, StreamKey, Streams};
use crate::http::message::HeadLimits;

/// The size of a buffer for header blocks that is kept from one to the next.
const SCRATCH_BYTES: usize = 1024;

/// The events for which an idle connection keeps room.
const EVENTS_KEPT: usize = 4;

/// The answers to control frames that may wait for a peer that does not read.
const UNREAD_ANSWERS_BYTES: usize = 64 * 1024;

/// The payload of our pings, of which one at a time is unanswered.
const PING: [u8; 8] = *b"gateway\0";

/// The limits of what the peer may send.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) head: HeadLimits,
    /// The streams that the peer may have open at once.
    pub(crate) max_streams: u32,
    /// The bytes of data that may wait in one stream.
    pub(crate) stream_window: u32,
    /// The same in a stream whose reader has kept up with the peer.
    pub(crate) stream_window_max: u32,
    /// The bytes of data that may wait in all streams together: what the connection can make us keep.
    pub(crate) connection_window: u32,
    /// The size of the table that the peer encodes headers with.
    pub(crate) header_table: u32,
    /// True if CONNECT may have `:protocol` (RFC 8441).
    pub(crate) connect_protocol: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// An event of a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client has sent the head of a request. The stream is held until [`Connection::release`].
    Request(StreamKey, Box<RequestHead>),
    /// A server has sent the head of a response, which is final if its status is 200 or more.
    Response(StreamKey, Box<ResponseHead>),
    /// [`Connection::take`] has something.
    Readable(StreamKey),
    /// The stream takes more data, see [`Connection::takes_data`], or has sent all of it. A server that has sent its whole
    /// response may end our sending, too: the stream has then sent all before it was given an end.
    Writable(StreamKey),
    /// The stream was reset by the peer, or by us because of the peer. `unprocessed` is true if the peer has certainly done
    /// nothing for it (RFC 9113 §8.7).
    Reset { stream: StreamKey, code: Code, unprocessed: bool },
    /// The peer's settings have changed.
    Settings,
    /// The peer opens and takes no further streams.
    GoingAway(Code),
    /// The peer has answered the last ping.
    Pong,
}

/// The error that ends a connection (RFC 9113 §5.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionError {
    pub(crate) code: Code,
    pub(crate) reason: &'static str,
    /// Set if nothing was wrong but the amount.
    pub(crate) abuse: Option<Abuse>,
}

impl ConnectionError {
    fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason, abuse: None }
    }
}

impl From<Abuse> for ConnectionError {
    fn from(abuse: Abuse) -> Self {
        Self { code: Code::ENHANCE_YOUR_CALM, reason: abuse.reason(), abuse: Some(abuse) }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

/// The error that ends a stream (RFC 9113 §5.4.2).
#[derive(Debug, Clone, Copy)]
struct StreamError(Code, &'static str);

impl From<Malformed> for StreamError {
    fn from(malformed: Malformed) -> Self {
        Self(Code::PROTOCOL_ERROR, malformed.0)
    }
}

/// The state of the settings and of the preface that the peer begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Preface,
    Settings,
    Done,
}

/// A header block of which a part has arrived (RFC 9113 §4.3).
#[derive(Debug)]
struct Block {
    stream: u32,
    end_stream: bool,
    /// True if the stream is to depend on itself (RFC 7540 §5.3.1).
    depends_on_itself: bool,
    bytes: BytesMut,
}

/// The announcement of our end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// A first GOAWAY, which takes what is on its way (RFC 9113 §6.8).
    Announced,
    /// Streams above this one are not processed.
    At(u32),
}

/// One side of a connection.
///
/// An idle one has its struct, the two header tables as far as they are filled, and no buffers.
pub(crate) struct Connection {
    role: Role,
    limits: Limits,
    /// The settings that the peer asks for.
    peer: Settings,
    reader: Reader,
    output: Output,
    decoder: Decoder,
    encoder: Encoder,
    streams: Streams,
    events: VecDeque<Event>,
    receive_window: ReceiveWindow,
    send_window: SendWindow,
    /// The streams that have something to send, in the order of their turns.
    queue: VecDeque<StreamKey>,
    account: Account,
    /// The time of the bytes that are being read.
    now: Instant,
    beginning: Beginning,
    block: Option<Block>,
    /// The time since which a frame or a header block has been arriving, if it is not whole.
    arriving_since: Option<Instant>,
    ending: Ending,
    /// The last stream that the peer processes, if it goes away.
    peer_last: Option<u32>,
    /// The number of the next stream that we open.
    next: u32,
    awaits_pong: bool,
    /// Bytes of answers that wait in the output.
    answers: usize,
    is_broken: bool,
    /// The buffer that header blocks are encoded into.
    scratch: BytesMut,
}

impl Connection {
    /// Begins the server's side. Its settings wait in the output.
    pub(crate) fn server(limits: Limits, now: Instant) -> Self {
        Self::new(Role::Server, limits, now)
    }

    /// Begins the client's side. Its preface and settings wait in the output.
    pub(crate) fn client(limits: Limits, now: Instant) -> Self {
        Self::new(Role::Client, limits, now)
    }

    fn new(role: Role, limits: Limits, now: Instant) -> Self {
        let mut output = Output::default();
        let settings = Settings {
            header_table: limits.header_table,
            push: role == Role::Server,
            max_streams: Some(limits.max_streams).filter(|_| role == Role::Server),
            window: limits.stream_window,
            payload_max: PAYLOAD_MAX,
            header_list: u32::try_from(limits.head.header_bytes).ok(),
            connect_protocol: limits.connect_protocol && role == Role::Server,
        };
        let mut receive_window = ReceiveWindow::new(DEFAULT_WINDOW);
        output.put(|out| {
            if role == Role::Client {
                out.extend_from_slice(super::reader::PREFACE);
            }
            settings.put(out);
            if let Some(increment) = receive_window.raise(limits.connection_window) {
                frame::put_window_update(out, 0, increment);
            }
        });
        Self {
            role,
            peer: Settings::default(),
            reader: Reader::default(),
            output,
            decoder: Decoder::new(usize::try_from(limits.header_table).unwrap_or_default()),
            encoder: Encoder::new(),
            streams: Streams::default(),
            events: VecDeque::new(),
            receive_window,
            send_window: SendWindow::new(DEFAULT_WINDOW),
            queue: VecDeque::new(),
            account: Account::new(now),
            now,
            beginning: if role == Role::Server { Beginning::Preface } else { Beginning::Settings },
            block: None,
            arriving_since: None,
            ending: Ending::No,
            peer_last: None,
            next: 1,
            awaits_pong: false,
            answers: 0,
            is_broken: false,
            scratch: BytesMut::new(),
            limits,
        }
    }

    /// Returns the next event, in order.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > EVENTS_KEPT {
            self.events = VecDeque::new();
        }
        event
    }

    /// Takes the next part of a message, and lets the peer send as much again. Returns `None` if nothing has arrived.
    pub(crate) fn take(&mut self, key: StreamKey) -> Option<Part> {
        let stream = self.streams.get_mut(key)?;
        if let Some((code, by)) = stream.reset
            && (by == By::Us || !stream.arrived.has_data())
        {
            return Some(Part::Reset(code));
        }
        if let Some(data) = stream.arrived.take() {
            let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
            self.consumed(key, length);
            return Some(Part::Data(data));
        }
        if let Some(trailers) = stream.arrived.trailers.take() {
            return Some(Part::Trailers(trailers));
        }
        (stream.receiving == Receiving::Ended).then_some(Part::End)
    }

    /// Returns true if the peer has sent everything and all of it was taken.
    pub(crate) fn is_taken(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_none_or(|stream| {
            stream.receiving == Receiving::Ended
                && !stream.arrived.has_data()
                && stream.arrived.trailers.is_none()
        })
    }

    /// Takes all of a message's data, if the message has ended, its data is in one piece, and there are no trailers.
    pub(crate) fn take_whole(&mut self, key: StreamKey) -> Option<Bytes> {
        let stream = self.streams.get_mut(key)?;
        let has_ended = stream.receiving == Receiving::Ended && stream.reset.is_none();
        if !has_ended || stream.arrived.trailers.is_some() {
            return None;
        }
        let whole = stream.arrived.take_whole()?;
        self.consumed(key, u32::try_from(whole.len()).unwrap_or(u32::MAX));
        Some(whole)
    }

    /// Counts data that no longer waits, and updates the windows. A connection that takes nothing more needs none.
    fn consumed(&mut self, key: StreamKey, length: u32) {
        let increment = self.receive_window.consumed(length);
        if self.is_broken {
            return;
        }
        if let Some(increment) = increment {
            self.output.put(|out| frame::put_window_update(out, 0, increment));
        }
        let (min, max) = (self.limits.stream_window, self.limits.stream_window_max);
        let Some(stream) = self.streams.get_mut(key) else { return };
        // A stream that has ended needs no window.
        if stream.receiving == Receiving::Ended || stream.reset.is_some() {
            return;
        }
        let waiting = u32::try_from(stream.arrived.waiting()).unwrap_or(u32::MAX);
        stream.receive_window.fit(length, waiting, min, max);
        if let Some(increment) = stream.receive_window.consumed(length) {
            self.output.put(|out| frame::put_window_update(out, key.id, increment));
        }
    }

    /// Lets a stream go. If it has not ended, it is reset; a server that has responded asks for no more (RFC 9113 §8.1).
    pub(crate) fn release(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.is_held = false;
        if !stream.is_closed() {
            let has_responded = self.role == Role::Server && stream.sending == Sending::Ended;
            self.reset(key, if has_responded { Code::NO_ERROR } else { Code::CANCEL });
        }
        self.settle(key);
    }

    /// Resets a stream.
    pub(crate) fn reset(&mut self, key: StreamKey, code: Code) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| !stream.is_closed()) else { return };
        stream.reset = Some((code, By::Us));
        self.answer(|out| frame::put_reset(out, key.id, code));
        self.settle(key);
    }

    /// Frees what a stream holds that has ended, and forgets the stream once it was let go.
    fn settle(&mut self, key: StreamKey) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.is_closed()) else { return };
        let (reset, is_held) = (stream.reset, stream.is_held);
        // A server's response counts up to its reset.
        let is_of_use = is_held
            && (reset.is_none()
                || (self.role == Role::Client && reset.is_some_and(|(_, by)| by == By::Peer)));
        let dropped = match !is_of_use {
            true => std::mem::take(&mut stream.arrived).waiting(),
            false => 0,
        };
        if reset.is_some() {
            stream.outgoing.data = Bytes::new();
            stream.outgoing.end = None;
        }
        if !is_held {
            let how = match reset {
                Some((_, By::Us)) => Absent::ResetByUs,
                Some((_, By::Peer)) => Absent::ResetByPeer,
                None => Absent::Ended,
            };
            self.streams.remove(key, how);
        }
        if dropped > 0 {
            self.consumed(key, u32::try_from(dropped).unwrap_or(u32::MAX));
        }
    }

    /// Gives up all streams: the connection is gone. Responses that have arrived whole can still be taken.
    pub(crate) fn lose(&mut self) {
        self.is_broken = true;
        self.queue = VecDeque::new();
        let role = self.role;
        for (_, stream) in self.streams.iter_mut() {
            if role == Role::Client && stream.has_arrived() {
                stream.stop_sending();
            } else {
                stream.reset.get_or_insert((Code::CANCEL, By::Peer));
            }
        }
    }

    /// Returns true if a stream was reset, by either side, or is gone.
    pub(crate) fn is_reset(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_none_or(|stream| stream.reset.is_some())
    }

    /// Returns true if we have reset a stream because of what the peer sent on it.
    pub(crate) fn is_malformed(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| matches!(stream.reset, Some((_, By::Us))))
    }

    /// Changes the limits of heads that have not arrived yet.
    pub(crate) fn set_head_limits(&mut self, limits: HeadLimits) {
        self.limits.head = limits;
    }

    /// Returns the number of streams that are open or held.
    pub(crate) fn open(&self) -> usize {
        self.streams.len()
    }

    /// Returns the bytes of data that have arrived and were not taken, of all streams.
    pub(crate) fn held(&self) -> u32 {
        self.receive_window.held()
    }

    /// Returns the stream with this number, or the reason for which it is not there.
    fn find(&self, id: u32) -> Result<StreamKey, Absent> {
        match self.streams.find(id) {
            // Neither side opens streams with even numbers: a server that pushes would.
            Err(Absent::Skipped) if id.is_multiple_of(2) => Err(Absent::Idle),
            // We have opened each odd number so far, and this one ended long ago: what still comes may have been on its way.
            Err(Absent::Skipped) if self.role == Role::Client => Err(Absent::ResetByUs),
            found => found,
        }
    }

    /// Returns the settings that the peer asks for.
    pub(crate) fn peer(&self) -> &Settings {
        &self.peer
    }

    /// Returns the time since which a frame or a header block has been arriving that is kept until it is whole, if there is one.
    /// Unpadded data is not: each piece goes to its stream, whose reader has the patience that it likes.
    pub(crate) fn arriving_since(&self) -> Option<Instant> {
        self.arriving_since
    }

    /// Returns true if the connection takes no further streams, by our word or the peer's.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending != Ending::No || self.peer_last.is_some() || self.is_broken
    }

    /// Returns true if no further streams of the peer are processed.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.ending, Ending::At(_)) || self.is_broken
    }

    fn highest_processed(&self) -> u32 {
        match self.ending {
            Ending::No | Ending::Announced => STREAM_MAX,
            Ending::At(last) => last,
        }
    }
}
