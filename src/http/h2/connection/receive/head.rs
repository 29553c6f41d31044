//! HEADERS and CONTINUATION (RFC 9113 §6.2, §6.10): heads and trailers.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::http::h2::frame::{number, unpad};
use crate::http::h2::head::Section;

/// The compressed size of a header block, as a multiple of what is accepted, up to which it is decoded so that a response can say
/// that it is too large. A larger one ends the connection.
const BLOCK_FACTOR: usize = 4;

/// The size below which a piece of a header block counts as a cheap frame.
const CHEAP_BLOCK_BYTES: usize = 64;

impl Connection {
    pub(super) fn on_headers(&mut self, header: &FrameHeader, payload: Bytes) -> Result<()> {
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
        match (depends_on_itself, self.find(id)) {
            (true, Ok(key)) => {
                self.stream_error(key, StreamError(Code::PROTOCOL_ERROR, "a stream that depends on itself"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn on_continuation(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
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
        match self.open_or_absent(self.find(id)) {
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
