//! Frames of the peer.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::http::h2::frame::{FrameHeader, Kind, flag, number, unpad};
use crate::http::h2::head::Section;
use crate::http::h2::reader::Read;
use crate::http::h2::settings::header_tables;

type Result<T> = std::result::Result<T, ConnectionError>;

/// The compressed size of a header block, as a multiple of what is accepted, up to which it is decoded so that a response can say
/// that it is too large. A larger one ends the connection.
const BLOCK_FACTOR: usize = 4;

/// The size below which a piece of a header block counts as a cheap frame.
const CHEAP_BLOCK_BYTES: usize = 64;

/// The size of data below which it does not pay for control frames.
const USEFUL_BYTES: u32 = 256;

/// The increment from which an update of a window is no cheap frame: it cannot be sent often before the window overflows.
const USEFUL_INCREMENT: u32 = 1024;

impl Connection {
    /// Takes bytes of the peer, which arrived at `now`.
    ///
    /// # Errors
    /// Returns the error that ends the connection. GOAWAY with it waits in the output, and nothing more is read.
    pub(crate) fn receive(&mut self, bytes: Bytes, now: Instant) -> Result<()> {
        if self.is_broken {
            return Ok(());
        }
        self.now = now;
        self.reader.push(bytes);
        let received = self.read_all();
        if let Err(error) = received {
            self.fail(error);
        }
        received
    }

    fn fail(&mut self, error: ConnectionError) {
        self.is_broken = true;
        self.reader = Reader::default();
        let last = self.last_processed();
        self.output.put(|out| frame::put_goaway(out, last, error.code, error.reason));
    }

    fn read_all(&mut self) -> Result<()> {
        if self.beginning == Beginning::Preface {
            match self.reader.preface() {
                Ok(true) => self.beginning = Beginning::Settings,
                Ok(false) => return Ok(()),
                Err(code) => return Err(ConnectionError::new(code, "no preface of HTTP/2")),
            }
        }
        let too_large = |code| ConnectionError::new(code, "a frame beyond SETTINGS_MAX_FRAME_SIZE");
        while let Some(read) = self.reader.next(PAYLOAD_MAX).map_err(too_large)? {
            match read {
                Read::Piece { header, data } => {
                    self.check_order(&header)?;
                    self.on_data(&header, data, header.length)?;
                }
                Read::Frame(header, payload) => {
                    self.check_order(&header)?;
                    self.frame(&header, payload)?;
                }
            }
            if self.answers > UNREAD_ANSWERS_BYTES {
                return Err(Abuse::UnreadAnswers.into());
            }
        }
        Ok(())
    }

    /// Checks that a connection begins with SETTINGS (RFC 9113 §3.4), and that nothing comes between the frames of a header
    /// block (§4.3).
    fn check_order(&mut self, header: &FrameHeader) -> Result<()> {
        if self.beginning == Beginning::Settings {
            if header.kind != Kind::Settings || header.has(flag::ACK) {
                return Err(protocol_error("the first frame is not SETTINGS"));
            }
            self.beginning = Beginning::Done;
        }
        match &self.block {
            Some(block) if header.kind != Kind::Continuation || header.stream != block.stream => {
                Err(protocol_error("a header block is interrupted"))
            }
            None if header.kind == Kind::Continuation => Err(protocol_error("CONTINUATION without HEADERS")),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, header: &FrameHeader, payload: Bytes) -> Result<()> {
        match header.kind {
            Kind::Data => self.on_padded_data(header, payload),
            Kind::Headers => self.on_headers(header, payload),
            Kind::Continuation => self.on_continuation(header, &payload),
            Kind::Priority => self.on_priority(header, &payload),
            Kind::Reset => self.on_reset(header, &payload),
            Kind::Settings => self.on_settings(header, &payload),
            Kind::PushPromise => Err(protocol_error("PUSH_PROMISE")),
            Kind::Ping => self.on_ping(header, &payload),
            Kind::GoAway => self.on_goaway(header, &payload),
            Kind::WindowUpdate => self.on_window_update(header, &payload),
            Kind::Unknown(_) => self.cheap(Abuse::Useless),
        }
    }

    fn cheap(&mut self, kind: Abuse) -> Result<()> {
        Ok(self.account.frame(kind, self.now)?)
    }

    fn on_padded_data(&mut self, header: &FrameHeader, payload: Bytes) -> Result<()> {
        let data = unpad(header, payload).map_err(bad_padding)?;
        self.on_data(header, data, header.length)
    }

    /// Takes data, of which the windows count `counted` bytes (RFC 9113 §6.1).
    fn on_data(&mut self, header: &FrameHeader, data: Bytes, counted: u32) -> Result<()> {
        if header.stream == 0 {
            return Err(protocol_error("DATA on stream 0"));
        }
        let found = self.streams.find(header.stream);
        if found == Err(Absent::Idle) {
            return Err(protocol_error("DATA on an idle stream"));
        }
        let too_much =
            |_| ConnectionError::new(Code::FLOW_CONTROL_ERROR, "more data than the connection's window");
        self.receive_window.received(counted).map_err(too_much)?;
        if data.is_empty() && !header.has(flag::END_STREAM) {
            self.cheap(Abuse::EmptyData)?;
        } else if counted >= USEFUL_BYTES {
            self.account.data();
        }
        let key = match self.open_or_absent(found) {
            Ok(key) => key,
            Err(absent) => {
                self.give_back(counted);
                return self.late_data(header.stream, absent, counted);
            }
        };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.on_stream_data(key, data, counted, header.has(flag::END_STREAM)) {
            // Padding is consumed at once.
            Ok(()) => self.consumed(key, counted - length.min(counted)),
            Err(error) => {
                self.give_back(counted);
                self.stream_error(key, error)?;
            }
        }
        Ok(())
    }

    fn on_stream_data(
        &mut self,
        key: StreamKey,
        data: Bytes,
        counted: u32,
        is_end: bool,
    ) -> std::result::Result<(), StreamError> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        match stream.receiving {
            Receiving::Ended => {
                return Err(StreamError(Code::STREAM_CLOSED, "DATA after the end of a stream"));
            }
            Receiving::Head => return Err(StreamError(Code::PROTOCOL_ERROR, "DATA before a head")),
            Receiving::Body => {}
        }
        let too_much = |_| StreamError(Code::FLOW_CONTROL_ERROR, "more data than the stream's window");
        stream.receive_window.received(counted).map_err(too_much)?;
        if let Some(left) = &mut stream.length {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            *left = left.checked_sub(length).ok_or(Malformed("more data than Content-Length"))?;
        }
        if is_end {
            end(stream)?;
        }
        let is_readable = !data.is_empty() || is_end;
        stream.arrived.push(data);
        if is_readable {
            self.events.push_back(Event::Readable(key));
        }
        if is_end {
            self.ended(key);
        }
        Ok(())
    }

    /// Returns the window that data has taken which no stream takes.
    fn give_back(&mut self, counted: u32) {
        if let Some(increment) = self.receive_window.consumed(counted) {
            self.output.put(|out| frame::put_window_update(out, 0, increment));
        }
    }

    /// Tells streams that are still held, but have ended, from open ones.
    fn open_or_absent(
        &self,
        found: std::result::Result<StreamKey, Absent>,
    ) -> std::result::Result<StreamKey, Absent> {
        let key = found?;
        match self.streams.get(key) {
            Some(Stream { reset: Some((_, By::Us)), .. }) => Err(Absent::ResetByUs),
            Some(Stream { reset: Some((_, By::Peer)), .. }) => Err(Absent::ResetByPeer),
            Some(stream) if stream.is_closed() => Err(Absent::Ended),
            _ => Ok(key),
        }
    }

    /// Handles DATA for a stream that has ended (RFC 9113 §5.1).
    fn late_data(&mut self, id: u32, absent: Absent, counted: u32) -> Result<()> {
        if counted < USEFUL_BYTES {
            self.cheap(Abuse::Useless)?;
        }
        match absent {
            // It was on its way.
            Absent::ResetByUs | Absent::Idle => Ok(()),
            Absent::Ended => Err(ConnectionError::new(Code::STREAM_CLOSED, "DATA after the end of a stream")),
            Absent::ResetByPeer | Absent::Skipped => self.closed(id),
        }
    }

    /// Resets a stream that the peer has closed and sends on. Further frames are ignored.
    fn closed(&mut self, id: u32) -> Result<()> {
        self.answer(|out| frame::put_reset(out, id, Code::STREAM_CLOSED));
        match self.streams.find(id) {
            Ok(key) => {
                if let Some(stream) = self.streams.get_mut(key) {
                    stream.reset = Some((Code::STREAM_CLOSED, By::Us));
                }
            }
            Err(_) => self.streams.remember(id, Absent::ResetByUs),
        }
        Ok(self.account.reset(self.now)?)
    }

    /// Puts a frame that the peer has provoked.
    pub(super) fn answer(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let before = self.output.waiting();
        self.output.put(put);
        self.answers += self.output.waiting() - before;
    }

    fn on_headers(&mut self, header: &FrameHeader, payload: Bytes) -> Result<()> {
        if header.stream == 0 {
            return Err(protocol_error("HEADERS on stream 0"));
        }
        let dependency = match header.has(flag::PRIORITY) {
            true => number(&payload, usize::from(header.has(flag::PADDED))).map(|number| number & STREAM_MAX),
            false => None,
        };
        let mut fragment = unpad(header, payload).map_err(bad_padding)?;
        if self.reader.is_large() {
            fragment = Bytes::copy_from_slice(&fragment);
        }
        if fragment.len() < CHEAP_BLOCK_BYTES && !header.has(flag::END_HEADERS) {
            self.cheap(Abuse::Continuations)?;
        }
        let (stream, end_stream) = (header.stream, header.has(flag::END_STREAM));
        let depends_on_itself = dependency == Some(stream);
        if header.has(flag::END_HEADERS) {
            return self.on_block(stream, end_stream, depends_on_itself, &fragment);
        }
        let bytes = BytesMut::from(&*fragment);
        self.block = Some(Block { stream, end_stream, depends_on_itself, bytes });
        Ok(())
    }

    /// Takes a whole header block.
    fn on_block(&mut self, id: u32, end_stream: bool, depends_on_itself: bool, block: &Bytes) -> Result<()> {
        self.on_section(id, end_stream, block)?;
        // RFC 7540 §5.3.1. Later documents have dropped priorities, and not the error.
        match (depends_on_itself, self.streams.find(id)) {
            (true, Ok(key)) => {
                self.stream_error(key, StreamError(Code::PROTOCOL_ERROR, "a stream that depends on itself"))
            }
            _ => Ok(()),
        }
    }

    fn on_continuation(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if payload.len() < CHEAP_BLOCK_BYTES && !header.has(flag::END_HEADERS) {
            self.cheap(Abuse::Continuations)?;
        }
        let Some(block) = &mut self.block else { return Ok(()) };
        if block.bytes.len() + payload.len() > self.limits.head.header_bytes.saturating_mul(BLOCK_FACTOR) {
            return Err(ConnectionError::new(Code::ENHANCE_YOUR_CALM, "a header block beyond any limit"));
        }
        block.bytes.extend_from_slice(payload);
        if !header.has(flag::END_HEADERS) {
            return Ok(());
        }
        let Some(block) = self.block.take() else { return Ok(()) };
        self.on_block(block.stream, block.end_stream, block.depends_on_itself, &block.bytes.freeze())
    }

    /// Takes a whole header block, which is decoded in any case: the tables of both sides must stay the same.
    fn on_section(&mut self, id: u32, end_stream: bool, block: &Bytes) -> Result<()> {
        let limits = self.limits.head;
        let mut section = Section::new(&limits);
        let decoded = self.decoder.decode(block, &mut |field| section.push(field));
        decoded.map_err(|_| ConnectionError::new(Code::COMPRESSION_ERROR, "a bad header block"))?;
        match self.open_or_absent(self.streams.find(id)) {
            Ok(key) => {
                if let Err(error) = self.on_next_section(key, end_stream, section) {
                    self.stream_error(key, error)?;
                }
                Ok(())
            }
            Err(Absent::Idle) if self.role == Role::Server => self.on_request(id, end_stream, section),
            Err(Absent::ResetByUs) => self.cheap(Abuse::Useless),
            Err(Absent::ResetByPeer) => self.closed(id),
            Err(Absent::Ended) => {
                Err(ConnectionError::new(Code::STREAM_CLOSED, "HEADERS after the end of a stream"))
            }
            Err(Absent::Idle | Absent::Skipped) => {
                Err(protocol_error("HEADERS on a stream that cannot be opened"))
            }
        }
    }

    /// Takes the head of a request, which opens a stream.
    fn on_request(&mut self, id: u32, end_stream: bool, section: Section<'_>) -> Result<()> {
        if id.is_multiple_of(2) {
            return Err(protocol_error("a client's stream with an even number"));
        }
        if id > self.highest_processed() {
            // The client knows by GOAWAY that it must send it elsewhere.
            self.streams.refuse(id);
            return self.cheap(Abuse::Useless);
        }
        if let Some(is_wrong) = self.is_full() {
            self.streams.refuse(id);
            self.answer(|out| frame::put_reset(out, id, Code::REFUSED_STREAM));
            return if is_wrong { Ok(self.account.reset(self.now)?) } else { Ok(()) };
        }
        let head = section.request(self.limits.connect_protocol);
        let (receiving, length) = match &head {
            Ok(head) if end_stream && head.length.is_some_and(|length| length > 0) => {
                return self.refuse(id);
            }
            Ok(head) => (if end_stream { Receiving::Ended } else { Receiving::Body }, head.length),
            Err(_malformed) => return self.refuse(id),
        };
        let stream = self.stream(id, receiving, Sending::Head, length);
        let key = self.streams.add(stream);
        if let Ok(head) = head {
            self.events.push_back(Event::Request(key, Box::new(head)));
        }
        Ok(())
    }

    /// Returns `Some` if no further stream is taken: true if as many are open as SETTINGS_MAX_CONCURRENT_STREAMS allows. Streams
    /// that have ended count until they are let go, but only against twice that number: the client may not know yet.
    fn is_full(&self) -> Option<bool> {
        let max = usize::try_from(self.limits.max_streams).unwrap_or(usize::MAX);
        if self.streams.len() < max {
            return None;
        }
        let is_wrong = self.streams.open() >= max;
        (is_wrong || self.streams.len() >= max.saturating_mul(2)).then_some(is_wrong)
    }

    /// Refuses a request that is malformed.
    fn refuse(&mut self, id: u32) -> Result<()> {
        self.streams.refuse(id);
        self.answer(|out| frame::put_reset(out, id, Code::PROTOCOL_ERROR));
        Ok(self.account.reset(self.now)?)
    }

    /// Takes a section on an open stream: the head of a response, or trailers.
    fn on_next_section(
        &mut self,
        key: StreamKey,
        end_stream: bool,
        section: Section<'_>,
    ) -> std::result::Result<(), StreamError> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        match stream.receiving {
            Receiving::Ended => {
                return Err(StreamError(Code::STREAM_CLOSED, "HEADERS after the end of a stream"));
            }
            Receiving::Body if !end_stream => {
                return Err(Malformed("trailers before the end of a stream").into());
            }
            Receiving::Body => {
                stream.arrived.trailers = Some(section.trailers()?).filter(|trailers| trailers.len() > 0);
                end(stream)?;
            }
            Receiving::Head => {
                let head = section.response()?;
                response(stream, &head, end_stream)?;
                self.events.push_back(Event::Response(key, Box::new(head)));
            }
        }
        if end_stream {
            self.events.push_back(Event::Readable(key));
            self.ended(key);
        }
        Ok(())
    }

    /// Notes that the peer has sent everything.
    fn ended(&mut self, key: StreamKey) {
        if self.streams.get(key).is_some_and(|stream| stream.is_closed() && stream.reset.is_none()) {
            self.account.completed();
        }
        self.settle(key);
    }

    fn on_priority(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if header.stream == 0 {
            return Err(protocol_error("PRIORITY on stream 0"));
        }
        self.cheap(Abuse::Useless)?;
        if payload.len() != 5 {
            return self.reset_by_id(
                header.stream,
                Code::FRAME_SIZE_ERROR,
                "PRIORITY of another length than 5",
            );
        }
        match number(payload, 0).map(|number| number & STREAM_MAX) == Some(header.stream) {
            true => self.reset_by_id(header.stream, Code::PROTOCOL_ERROR, "a stream that depends on itself"),
            false => Ok(()),
        }
    }

    /// Ends a stream that may not be open: PRIORITY may be sent for any.
    fn reset_by_id(&mut self, id: u32, code: Code, reason: &'static str) -> Result<()> {
        match self.open_or_absent(self.streams.find(id)) {
            Ok(key) => self.stream_error(key, StreamError(code, reason)),
            Err(Absent::Idle) => {
                self.answer(|out| frame::put_reset(out, id, code));
                Ok(self.account.reset(self.now)?)
            }
            Err(_) => Ok(()),
        }
    }

    /// Ends a stream because of what the peer has sent.
    fn stream_error(&mut self, key: StreamKey, error: StreamError) -> Result<()> {
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.reset.is_none() {
            let StreamError(code, reason) = error;
            tracing::debug!(stream = key.id, code = code.0, reason, "an HTTP/2 stream was reset");
            stream.reset = Some((code, By::Us));
            self.answer(|out| frame::put_reset(out, key.id, code));
            self.events.push_back(Event::Reset { stream: key, code, unprocessed: false });
            self.settle(key);
        }
        Ok(self.account.reset(self.now)?)
    }

    fn on_reset(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let Some(code) = number(payload, 0).filter(|_| payload.len() == 4) else {
            return Err(ConnectionError::new(Code::FRAME_SIZE_ERROR, "RST_STREAM of another length than 4"));
        };
        let key = match self.streams.find(header.stream) {
            _ if header.stream == 0 => return Err(protocol_error("RST_STREAM on stream 0")),
            Err(Absent::Idle) => return Err(protocol_error("RST_STREAM on an idle stream")),
            Err(_) => return self.cheap(Abuse::Useless),
            Ok(key) => key,
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.reset.is_some() {
            return self.cheap(Abuse::Useless);
        }
        let is_early = stream.sending != Sending::Ended;
        let code = Code(code);
        stream.reset = Some((code, By::Peer));
        let unprocessed = self.role == Role::Client && code == Code::REFUSED_STREAM;
        self.events.push_back(Event::Reset { stream: key, code, unprocessed });
        self.settle(key);
        if is_early && self.role == Role::Server { Ok(self.account.reset(self.now)?) } else { Ok(()) }
    }

    fn on_settings(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if header.stream != 0 {
            return Err(protocol_error("SETTINGS on a stream"));
        }
        self.cheap(Abuse::Settings)?;
        if header.has(flag::ACK) {
            return match payload.is_empty() {
                true => Ok(()),
                false => Err(ConnectionError::new(Code::FRAME_SIZE_ERROR, "SETTINGS with ACK and a payload")),
            };
        }
        let before = i64::from(self.peer.window);
        self.peer.take(payload).map_err(|code| ConnectionError::new(code, "bad SETTINGS"))?;
        // Each value counts on its way to the last (RFC 7541 §4.2).
        for limit in header_tables(payload) {
            self.encoder.set_limit(limit);
        }
        let change = i64::from(self.peer.window) - before;
        if change != 0 {
            self.change_windows(change)?;
        }
        self.answer(|out| frame::put_header(out, Kind::Settings, flag::ACK, 0, 0));
        self.events.push_back(Event::Settings);
        Ok(())
    }

    /// Changes the windows of all streams by the difference of two settings (RFC 9113 §6.9.2).
    fn change_windows(&mut self, change: i64) -> Result<()> {
        let mut wider = Vec::new();
        for (key, stream) in self.streams.iter_mut() {
            let overflow = |_| ConnectionError::new(Code::FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1");
            stream.send_window.widen(change).map_err(overflow)?;
            wider.push(key);
        }
        wider.into_iter().for_each(|key| self.enqueue(key));
        Ok(())
    }

    fn on_ping(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if header.stream != 0 {
            return Err(protocol_error("PING on a stream"));
        }
        let Some(payload) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
            return Err(ConnectionError::new(Code::FRAME_SIZE_ERROR, "PING of another length than 8"));
        };
        self.cheap(Abuse::Pings)?;
        if !header.has(flag::ACK) {
            self.answer(|out| frame::put_ping(out, *payload, true));
        } else if std::mem::take(&mut self.awaits_pong) {
            self.events.push_back(Event::Pong);
        }
        Ok(())
    }

    fn on_goaway(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if header.stream != 0 {
            return Err(protocol_error("GOAWAY on a stream"));
        }
        let (Some(last), Some(code)) = (number(payload, 0), number(payload, 4)) else {
            return Err(ConnectionError::new(Code::FRAME_SIZE_ERROR, "GOAWAY shorter than 8"));
        };
        let last = last & STREAM_MAX;
        self.cheap(Abuse::Useless)?;
        if self.peer_last.is_some_and(|before| last > before) {
            return Err(protocol_error("a GOAWAY that takes back another"));
        }
        self.peer_last = Some(last);
        self.events.push_back(Event::GoingAway(Code(code)));
        if self.role == Role::Client {
            self.reset_unprocessed(last);
        }
        Ok(())
    }

    /// Ends our streams above the last one that the server processes (RFC 9113 §6.8).
    fn reset_unprocessed(&mut self, last: u32) {
        let above = self.streams.iter_mut().filter(|(key, stream)| key.id > last && !stream.is_closed());
        let keys: Vec<StreamKey> = above
            .map(|(key, stream)| {
                stream.reset = Some((Code::REFUSED_STREAM, By::Peer));
                key
            })
            .collect();
        for stream in keys {
            self.events.push_back(Event::Reset { stream, code: Code::REFUSED_STREAM, unprocessed: true });
            self.settle(stream);
        }
    }

    fn on_window_update(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let Some(increment) = number(payload, 0).filter(|_| payload.len() == 4) else {
            return Err(ConnectionError::new(
                Code::FRAME_SIZE_ERROR,
                "WINDOW_UPDATE of another length than 4",
            ));
        };
        let increment = increment & STREAM_MAX;
        if increment < USEFUL_INCREMENT {
            self.cheap(Abuse::WindowUpdates)?;
        }
        if header.stream == 0 {
            if increment == 0 {
                return Err(protocol_error("WINDOW_UPDATE by 0"));
            }
            let overflow = |_| ConnectionError::new(Code::FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1");
            return self.send_window.widen(increment.into()).map_err(overflow);
        }
        let key = match self.streams.find(header.stream) {
            Ok(key) => key,
            Err(Absent::Idle) => return Err(protocol_error("WINDOW_UPDATE on an idle stream")),
            Err(_) => return Ok(()),
        };
        if increment == 0 {
            return self.stream_error(key, StreamError(Code::PROTOCOL_ERROR, "WINDOW_UPDATE by 0"));
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.send_window.widen(increment.into()).is_err() {
            return self.stream_error(key, StreamError(Code::FLOW_CONTROL_ERROR, "a window beyond 2^31 - 1"));
        }
        self.enqueue(key);
        Ok(())
    }
}

fn bad_padding(code: Code) -> ConnectionError {
    ConnectionError::new(code, "a frame too short for its padding or priority")
}

fn protocol_error(reason: &'static str) -> ConnectionError {
    ConnectionError::new(Code::PROTOCOL_ERROR, reason)
}

/// Takes the head of a response.
fn response(
    stream: &mut Stream,
    head: &ResponseHead,
    end_stream: bool,
) -> std::result::Result<(), StreamError> {
    if head.status.is_informational() {
        return match end_stream {
            true => Err(Malformed("an interim response that ends its stream").into()),
            false => Ok(()),
        };
    }
    let has_content = !stream.is_head && !matches!(head.status.as_u16(), 204 | 304);
    stream.length = if has_content { head.length } else { Some(0) };
    stream.receiving = Receiving::Body;
    if end_stream { end(stream) } else { Ok(()) }
}

/// Notes that the peer has sent everything.
fn end(stream: &mut Stream) -> std::result::Result<(), StreamError> {
    if stream.length.is_some_and(|left| left > 0) {
        return Err(Malformed("less data than Content-Length").into());
    }
    stream.receiving = Receiving::Ended;
    Ok(())
}
