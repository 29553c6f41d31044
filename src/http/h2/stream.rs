//! One stream (RFC 9113 §5.1): what has arrived on it, and what waits to be sent.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::flow::{ReceiveWindow, SendWindow};
use super::frame::Code;
use crate::http::fields::Fields;

/// The size below which arriving data is copied together if some waits already: a slice would keep a whole read buffer alive,
/// which may be many times larger.
const COPY_BELOW: usize = 16 * 1024;

/// The part of a message that the peer sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// The head of a response, after any number of interim ones.
    Head,
    /// Data and trailers.
    Body,
    Ended,
}

/// The part of a message that we send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    Head,
    Body,
    Ended,
}

/// A part of a message that has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(Bytes),
    Trailers(Fields),
    End,
    /// The stream was reset. Data that arrived before is lost.
    Reset(Code),
}

/// The side that has reset a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Us,
    Peer,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
    pub(crate) reset: Option<(Code, By)>,
    /// True while the application has the stream.
    pub(crate) is_held: bool,
    pub(crate) arrived: Arrived,
    pub(crate) receive_window: ReceiveWindow,
    pub(crate) send_window: SendWindow,
    /// The rest of the data by Content-Length, if it is known.
    pub(crate) length: Option<u64>,
    /// The bytes of data that have gone out.
    pub(crate) sent: u64,
    /// True if the response has no content whatever its fields say: that to HEAD.
    pub(crate) is_head: bool,
    pub(crate) outgoing: Outgoing,
}

/// The data that has arrived and was not taken yet. The window bounds it.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pieces: VecDeque<Bytes>,
    /// Small data, behind the pieces.
    small: BytesMut,
    pub(crate) trailers: Option<Fields>,
}

/// The data that waits for windows and for its turn.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) data: Bytes,
    /// The end that follows the data, if it is known.
    pub(crate) end: Option<End>,
    /// True if the stream is in the queue of those that send.
    pub(crate) is_queued: bool,
}

#[derive(Debug)]
pub(crate) enum End {
    Data,
    Trailers(Fields),
}

impl Arrived {
    pub(crate) fn push(&mut self, data: Bytes) {
        if data.len() < COPY_BELOW && self.has_data() {
            self.small.extend_from_slice(&data);
            return;
        }
        self.flush();
        self.pieces.push_back(data);
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }

    pub(crate) fn take(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.flush();
        }
        self.pieces.pop_front()
    }

    /// Takes everything if it is in one piece.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match (self.pieces.len(), self.small.is_empty()) {
            (0, _) => Some(self.small.split().freeze()),
            (1, true) => self.pieces.pop_front(),
            _ => None,
        }
    }

    pub(crate) fn has_data(&self) -> bool {
        !self.pieces.is_empty() || !self.small.is_empty()
    }

    /// Returns the number of bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum::<usize>() + self.small.len()
    }
}

impl Stream {
    pub(crate) fn is_closed(&self) -> bool {
        self.reset.is_some() || (self.receiving == Receiving::Ended && self.sending == Sending::Ended)
    }

    /// Returns true if more data may be handed over.
    pub(crate) fn takes_data(&self) -> bool {
        self.sending == Sending::Body
            && self.outgoing.data.is_empty()
            && self.outgoing.end.is_none()
            && self.reset.is_none()
    }

    /// Returns true if something can go out, as far as this stream's own window is concerned.
    pub(crate) fn can_send(&self) -> bool {
        match self.outgoing.data.is_empty() {
            true => self.outgoing.end.is_some(),
            false => self.send_window.available() > 0,
        }
    }

    /// Returns true if the peer has sent everything.
    pub(crate) fn has_arrived(&self) -> bool {
        self.receiving == Receiving::Ended && self.reset.is_none()
    }

    /// Ends our sending, and drops what waits. What has arrived stays.
    pub(crate) fn stop_sending(&mut self) {
        self.sending = Sending::Ended;
        (self.outgoing.data, self.outgoing.end) = (Bytes::new(), None);
    }

    /// Returns the code if the stream was reset, by either side.
    pub(crate) fn reset_code(&self) -> Option<Code> {
        self.reset.map(|(code, _)| code)
    }
}
