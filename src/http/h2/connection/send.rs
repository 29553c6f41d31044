//! The sending side: heads, data by turns, and the end of the connection.

use std::io::IoSlice;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::*;
use crate::http::fields::Fields;
use crate::http::h2::frame::{Kind, flag, put_block, put_header};
use crate::http::h2::hpack::Pseudo;
use crate::http::h2::stream::End;

/// The size up to which data is put into the output before some of it is written. What is not in there still obeys a reset.
const OUTPUT_BYTES: usize = 64 * 1024;

/// The size from which a frame of data pays for updates of windows although more data waits.
const USEFUL_BYTES: usize = 1024;

/// A request as it is sent.
#[derive(Clone, Copy)]
pub(crate) struct OutgoingRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: &'static str,
    pub(crate) authority: &'a [u8],
    /// The path and query.
    pub(crate) path: &'a str,
    /// `:protocol` of an extended CONNECT (RFC 8441 §4).
    pub(crate) protocol: Option<&'a str>,
    /// Host and the fields of one connection are left out: `authority` takes the place of Host.
    pub(crate) headers: &'a Fields,
    pub(crate) length: Option<u64>,
}

impl Connection {
    /// Opens a stream with a request. Returns `None` if the connection takes no further ones: the peer's limit is reached, it
    /// goes away, or the numbers are used up.
    pub(crate) fn request(&mut self, request: &OutgoingRequest<'_>, end_stream: bool) -> Option<StreamKey> {
        if !self.can_open() {
            return None;
        }
        let id = self.next;
        self.next += 2;
        let sending = if end_stream { Sending::Ended } else { Sending::Body };
        let mut stream = self.stream(id, Receiving::Head, sending, None);
        stream.is_head = request.method == Method::HEAD;
        let key = self.streams.add(stream);
        let mut block = std::mem::take(&mut self.scratch);
        self.encoder.begin(&mut block);
        let is_plain_connect = request.method == Method::CONNECT && request.protocol.is_none();
        self.encoder.pseudo(Pseudo::Method, request.method.as_str().as_bytes(), &mut block);
        if !is_plain_connect {
            self.encoder.pseudo(Pseudo::Scheme, request.scheme.as_bytes(), &mut block);
        }
        self.encoder.pseudo(Pseudo::Authority, request.authority, &mut block);
        if !is_plain_connect {
            self.encoder.pseudo(Pseudo::Path, request.path.as_bytes(), &mut block);
        }
        if let Some(protocol) = request.protocol {
            self.encoder.pseudo(Pseudo::Protocol, protocol.as_bytes(), &mut block);
        }
        self.encode(request.headers, request.length, &mut block);
        self.put_block(id, block, end_stream);
        Some(key)
    }

    /// Returns true if [`Connection::request`] can open a stream.
    pub(crate) fn can_open(&self) -> bool {
        let max = self.peer.max_streams.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
        self.can_open_later() && self.streams.len() < max
    }

    /// Returns true if a stream can be opened, if need be when another one has ended.
    pub(crate) fn can_open_later(&self) -> bool {
        !self.is_ending() && self.next <= STREAM_MAX
    }

    /// Sends an interim response.
    pub(crate) fn interim(&mut self, key: StreamKey, status: StatusCode, headers: &Fields) {
        if self
            .streams
            .get(key)
            .is_some_and(|stream| stream.sending == Sending::Head && stream.reset.is_none())
        {
            self.put_response(key, status, headers, None, false);
        }
    }

    /// Sends the head of the response. `length` becomes Content-Length.
    pub(crate) fn respond(
        &mut self,
        key: StreamKey,
        status: StatusCode,
        headers: &Fields,
        length: Option<u64>,
        end_stream: bool,
    ) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.sending != Sending::Head || stream.reset.is_some() {
            return;
        }
        // A client that reads nothing must not have heads pile up: a stream that has not sent its end counts as open.
        let ends_now = end_stream && self.output.waiting() < OUTPUT_BYTES;
        stream.sending = if ends_now { Sending::Ended } else { Sending::Body };
        self.put_response(key, status, headers, length, ends_now);
        if ends_now {
            self.sent(key);
        } else if end_stream {
            self.data(key, Bytes::new(), true);
        }
    }

    fn put_response(
        &mut self,
        key: StreamKey,
        status: StatusCode,
        headers: &Fields,
        length: Option<u64>,
        end_stream: bool,
    ) {
        let mut block = std::mem::take(&mut self.scratch);
        self.encoder.begin(&mut block);
        self.encoder.pseudo(Pseudo::Status, status.as_str().as_bytes(), &mut block);
        self.encode(headers, length, &mut block);
        self.put_block(key.id, block, end_stream);
    }

    fn encode(&mut self, headers: &Fields, length: Option<u64>, block: &mut BytesMut) {
        for (name, value) in headers.iter().filter(|(name, _)| !is_of_connection(name)) {
            self.encoder.field(name, value, block);
        }
        if let Some(length) = length {
            self.encoder.field(&header::CONTENT_LENGTH, &HeaderValue::from(length), block);
        }
    }

    fn put_block(&mut self, id: u32, mut block: BytesMut, end_stream: bool) {
        let payload_max = self.peer.payload_max.min(PAYLOAD_MAX);
        self.output.put(|out| put_block(out, id, &block, payload_max, end_stream));
        if block.capacity() <= SCRATCH_BYTES {
            block.clear();
            self.scratch = block;
        }
    }

    /// Returns true if the stream takes more data: nothing of what it was given waits.
    pub(crate) fn takes_data(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(Stream::takes_data)
    }

    /// Returns true if everything of the stream has gone into the output.
    pub(crate) fn has_sent_all(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.sending == Sending::Ended)
    }

    /// Returns the number of bytes of data that have gone into the output.
    pub(crate) fn sent_bytes(&self, key: StreamKey) -> u64 {
        self.streams.get(key).map_or(0, |stream| stream.sent)
    }

    /// Sends data, all of which goes out before more is taken.
    pub(crate) fn data(&mut self, key: StreamKey, data: Bytes, end_stream: bool) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.takes_data()) else { return };
        stream.outgoing.data = data;
        stream.outgoing.end = end_stream.then_some(End::Data);
        self.enqueue(key);
    }

    /// Ends the stream with trailers, behind the data.
    pub(crate) fn trailers(&mut self, key: StreamKey, trailers: Fields) {
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.sending == Sending::Body) else {
            return;
        };
        let end = if trailers.len() > 0 { End::Trailers(trailers) } else { End::Data };
        stream.outgoing.end.get_or_insert(end);
        self.enqueue(key);
    }

    /// Puts a stream into the queue if it can send something.
    pub(super) fn enqueue(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.can_send()
            && !stream.outgoing.is_queued
        {
            stream.outgoing.is_queued = true;
            self.queue.push_back(key);
        }
    }

    /// Puts frames of data into the output, one of each stream in turn, as far as the windows and the output's bound allow.
    pub(crate) fn schedule(&mut self) {
        let mut blocked = 0;
        while self.output.waiting() < OUTPUT_BYTES && blocked < self.queue.len() {
            let Some(key) = self.queue.pop_front() else { return };
            match self.turn(key) {
                Turn::Again => {
                    self.queue.push_back(key);
                    blocked = 0;
                }
                Turn::Blocked => {
                    // The connection has no window. What needs none, the end of a stream, may still go.
                    self.queue.push_back(key);
                    blocked += 1;
                }
                Turn::Over => {
                    if let Some(stream) = self.streams.get_mut(key) {
                        stream.outgoing.is_queued = false;
                    }
                }
            }
        }
    }

    /// Sends one frame of a stream.
    fn turn(&mut self, key: StreamKey) -> Turn {
        let Some(stream) = self.streams.get_mut(key) else { return Turn::Over };
        if stream.reset.is_some() || !stream.can_send() {
            return Turn::Over;
        }
        let outgoing = &mut stream.outgoing;
        let window = stream.send_window.available().min(self.send_window.available());
        let length = outgoing.data.len().min(window).min(DATA_MAX);
        if length == 0 && !outgoing.data.is_empty() {
            return Turn::Blocked;
        }
        let data = outgoing.data.split_to(length);
        stream.send_window.sent(length);
        stream.sent += length as u64;
        self.send_window.sent(length);
        // A frame that the window has cut to a few bytes pays for no update: windows could be opened byte by byte.
        if length > 0 && (outgoing.data.is_empty() || length >= USEFUL_BYTES) {
            self.account.data();
        }
        let end = if outgoing.data.is_empty() { outgoing.end.take() } else { None };
        let is_end = matches!(end, Some(End::Data));
        let (more, is_open) = (!outgoing.data.is_empty(), end.is_none());
        if is_end || length > 0 {
            let flags = if is_end { flag::END_STREAM } else { 0 };
            self.output.put(|out| put_header(out, Kind::Data, flags, key.id, length));
            self.output.push(data);
        }
        if let Some(End::Trailers(trailers)) = end {
            self.put_trailers(key, &trailers);
        }
        if !is_open {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.sending = Sending::Ended;
                stream.outgoing.is_queued = false;
            }
            self.events.push_back(Event::Writable(key));
            self.sent(key);
            return Turn::Over;
        }
        if more {
            return Turn::Again;
        }
        self.events.push_back(Event::Writable(key));
        Turn::Over
    }

    fn put_trailers(&mut self, key: StreamKey, trailers: &Fields) {
        let mut block = std::mem::take(&mut self.scratch);
        self.encoder.begin(&mut block);
        self.encode(trailers, None, &mut block);
        self.put_block(key.id, block, true);
    }

    /// Notes that everything of a stream was sent.
    fn sent(&mut self, key: StreamKey) {
        if self.streams.get(key).is_some_and(|stream| stream.is_closed() && stream.reset.is_none()) {
            self.account.completed();
        }
        self.settle(key);
    }

    /// Pings the peer, unless it owes an answer. [`Event::Pong`] follows.
    pub(crate) fn ping(&mut self) {
        if !std::mem::replace(&mut self.awaits_pong, true) {
            self.output.put(|out| frame::put_ping(out, PING, false));
        }
    }

    /// Announces the end: streams that the peer opens meanwhile are still served (RFC 9113 §6.8). A ping follows, after whose
    /// answer [`Connection::end`] loses none.
    pub(crate) fn announce_end(&mut self) {
        if self.ending == Ending::No && !self.is_broken {
            self.ending = Ending::Announced;
            self.output.put(|out| frame::put_goaway(out, STREAM_MAX, Code::NO_ERROR, ""));
            self.ping();
        }
    }

    /// Takes no further streams.
    pub(crate) fn end(&mut self, code: Code, why: &str) {
        if matches!(self.ending, Ending::At(_)) || self.is_broken {
            return;
        }
        let last = self.last_processed();
        self.ending = Ending::At(last);
        self.output.put(|out| frame::put_goaway(out, last, code, why));
    }

    /// Returns the last stream of the peer's.
    pub(super) fn last_processed(&self) -> u32 {
        match (self.role, self.ending) {
            (_, Ending::At(last)) => last,
            (Role::Server, _) => self.streams.last(),
            (Role::Client, _) => 0,
        }
    }

    /// Returns true if something waits to be written. [`Connection::schedule`] may find more.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Returns the number of bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.output.waiting()
    }

    /// Fills `slices` with what is written next, and returns how many it filled.
    pub(crate) fn output<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.slices(slices)
    }

    /// Notes that bytes of the output were written.
    pub(crate) fn written(&mut self, count: usize) {
        self.output.written(count);
        self.answers = self.answers.saturating_sub(count);
        if self.output.is_empty() {
            self.answers = 0;
            self.output.release();
            if self.queue.is_empty() && self.streams.len() == 0 {
                self.queue = VecDeque::new();
            }
        }
    }

    pub(super) fn stream(
        &self,
        id: u32,
        receiving: Receiving,
        sending: Sending,
        length: Option<u64>,
    ) -> Stream {
        Stream {
            id,
            receiving,
            sending,
            reset: None,
            is_held: true,
            arrived: Default::default(),
            receive_window: ReceiveWindow::new(self.limits.stream_window),
            send_window: SendWindow::new(self.peer.window),
            length,
            sent: 0,
            is_head: false,
            outgoing: Default::default(),
        }
    }
}

/// Returns true for fields that belong to a connection of HTTP/1 (RFC 9113 §8.2.2), and for Host, in whose place
/// `:authority` is sent.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host" | "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// The largest payload of our DATA frames.
const DATA_MAX: usize = 16 * 1024;

/// The outcome of a stream's turn.
enum Turn {
    /// It has more to send.
    Again,
    /// It has something to send, for which there is no window.
    Blocked,
    Over,
}
