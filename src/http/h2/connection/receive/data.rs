//! DATA (RFC 9113 §6.1).

use bytes::Bytes;

use super::*;
use crate::http::h2::frame::unpad;

impl Connection {
    pub(super) fn on_padded_data(&mut self, header: &FrameHeader, payload: Bytes) -> Result<()> {
        let data = unpad(header, payload).map_err(bad_padding)?;
        self.on_data(header, data, header.length)
    }

    /// Takes data, of which the windows count `counted` bytes (RFC 9113 §6.1).
    pub(super) fn on_data(&mut self, header: &FrameHeader, data: Bytes, counted: u32) -> Result<()> {
        if header.stream == 0 {
            return Err(protocol_error("DATA on stream 0"));
        }
        let found = self.find(header.stream);
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
}
