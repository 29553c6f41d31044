//! Frames of the peer.

mod control;
mod data;
mod head;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::http::h2::frame::{FrameHeader, Kind, flag};
use crate::http::h2::reader::Read;

type Result<T> = std::result::Result<T, ConnectionError>;

/// The size of data below which it does not pay for control frames.
const USEFUL_BYTES: u32 = 256;

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
        let is_arriving = self.block.is_some() || self.reader.is_within_frame();
        self.arriving_since = is_arriving.then(|| self.arriving_since.unwrap_or(now));
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
            if self.block.is_none() {
                // The next frame begins now.
                self.arriving_since = None;
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

    /// Resets a stream that the peer has closed and sends on. Further frames are ignored.
    fn closed(&mut self, id: u32) -> Result<()> {
        self.answer(|out| frame::put_reset(out, id, Code::STREAM_CLOSED));
        match self.find(id) {
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

    /// Notes that the peer has sent everything.
    fn ended(&mut self, key: StreamKey) {
        if self.streams.get(key).is_some_and(|stream| stream.is_closed() && stream.reset.is_none()) {
            self.account.completed();
        }
        self.settle(key);
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
}

fn bad_padding(code: Code) -> ConnectionError {
    ConnectionError::new(code, "a frame too short for its padding or priority")
}

fn protocol_error(reason: &'static str) -> ConnectionError {
    ConnectionError::new(Code::PROTOCOL_ERROR, reason)
}

/// Notes that the peer has sent everything.
fn end(stream: &mut Stream) -> std::result::Result<(), StreamError> {
    if stream.length.is_some_and(|left| left > 0) {
        return Err(Malformed("less data than Content-Length").into());
    }
    stream.receiving = Receiving::Ended;
    Ok(())
}
