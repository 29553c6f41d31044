//! Frames of control: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY and WINDOW_UPDATE (RFC 9113 §6.3 to §6.9).

use super::*;
use crate::http::h2::frame::number;
use crate::http::h2::settings::{enables_push, header_tables};

/// The increment from which an update of a window is no cheap frame: it cannot be sent often before the window overflows.
const USEFUL_INCREMENT: u32 = 1024;

impl Connection {
    pub(super) fn on_priority(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
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
        match self.open_or_absent(self.find(id)) {
            Ok(key) => self.stream_error(key, StreamError(code, reason)),
            Err(Absent::Idle) => {
                self.answer(|out| frame::put_reset(out, id, code));
                Ok(self.account.reset(self.now)?)
            }
            Err(_) => Ok(()),
        }
    }

    pub(super) fn on_reset(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        let Some(code) = number(payload, 0).filter(|_| payload.len() == 4) else {
            return Err(ConnectionError::new(Code::FRAME_SIZE_ERROR, "RST_STREAM of another length than 4"));
        };
        let key = match self.find(header.stream) {
            _ if header.stream == 0 => return Err(protocol_error("RST_STREAM on stream 0")),
            Err(Absent::Idle) => return Err(protocol_error("RST_STREAM on an idle stream")),
            Err(_) => return self.cheap(Abuse::Useless),
            Ok(key) => key,
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(()) };
        if stream.is_closed() {
            return self.cheap(Abuse::Useless);
        }
        if self.role == Role::Client && stream.has_arrived() {
            self.stop_sending(key);
            return Ok(());
        }
        let is_early = stream.sending != Sending::Ended;
        let code = Code(code);
        stream.reset = Some((code, By::Peer));
        let unprocessed = self.role == Role::Client && code == Code::REFUSED_STREAM;
        self.events.push_back(Event::Reset { stream: key, code, unprocessed });
        self.settle(key);
        if is_early && self.role == Role::Server { Ok(self.account.reset(self.now)?) } else { Ok(()) }
    }

    /// Ends our sending on a stream whose response is whole (RFC 9113 §8.1).
    fn stop_sending(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.stop_sending();
            self.events.push_back(Event::Writable(key));
            self.settle(key);
        }
    }

    pub(super) fn on_settings(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
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
        if self.role == Role::Client && enables_push(payload) {
            return Err(protocol_error("a server that enables pushes"));
        }
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

    pub(super) fn on_ping(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if header.stream != 0 {
            return Err(protocol_error("PING on a stream"));
        }
        let Some(payload) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
            return Err(ConnectionError::new(Code::FRAME_SIZE_ERROR, "PING of another length than 8"));
        };
        self.cheap(Abuse::Pings)?;
        if !header.has(flag::ACK) {
            self.answer(|out| frame::put_ping(out, *payload, true));
        } else if self.awaits_pong && *payload == PING {
            self.awaits_pong = false;
            self.events.push_back(Event::Pong);
        }
        Ok(())
    }

    pub(super) fn on_goaway(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
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
        let keys: Vec<(StreamKey, bool)> = above.map(|(key, stream)| (key, stream.has_arrived())).collect();
        for (stream, has_arrived) in keys {
            if has_arrived {
                self.stop_sending(stream);
                continue;
            }
            if let Some(stream) = self.streams.get_mut(stream) {
                stream.reset = Some((Code::REFUSED_STREAM, By::Peer));
            }
            self.events.push_back(Event::Reset { stream, code: Code::REFUSED_STREAM, unprocessed: true });
            self.settle(stream);
        }
    }

    pub(super) fn on_window_update(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<()> {
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
        let key = match self.find(header.stream) {
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
