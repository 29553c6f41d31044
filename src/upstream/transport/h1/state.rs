//! The state of an exchange in either direction, and of the request's body.

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use crate::http::body::{Body, KeptBody};
use crate::http::h1::decoder::Decoder;

/// The state of sending the request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Writing {
    /// The body waits for `100 Continue`, until this time.
    AwaitingContinue(Option<Instant>),
    /// Frames are taken from the body.
    Body,
    /// The body has ended. The rest of it is being written.
    Rest,
    /// The request is sent. The head of the response is due by this time.
    Sent(Option<Instant>),
    /// Some of the request will never be sent. A response may still come by this time.
    Abandoned(Option<Instant>),
}

impl Writing {
    /// Returns true if nothing more will be sent.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Writing::Sent(_) | Writing::Abandoned(_))
    }
}

/// The state of receiving the response.
pub(super) enum Reading {
    /// No byte of a response has arrived.
    Nothing,
    /// The final head is awaited, after this number of interim ones.
    Head { interim: u32 },
    /// The body is read. The connection may serve another exchange afterwards if it `persists`.
    Body { decoder: Decoder, persists: bool },
}

/// The part of the request's body that has been taken, for another attempt that sends all of it again.
pub(super) enum Taken {
    /// Nothing was taken. What will be goes into the buffer, if there is one.
    Nothing(Option<Box<KeptBody>>),
    /// All that was taken is kept.
    Kept(Box<KeptBody>),
    /// Some of the body is gone.
    Lost,
}

impl Taken {
    /// Records a frame. Trailers cannot be sent again, so only data is kept.
    pub(super) fn push(&mut self, frame: &Frame<Bytes>) {
        let kept = match std::mem::replace(self, Taken::Lost) {
            Taken::Nothing(kept) => kept,
            Taken::Kept(kept) => Some(kept),
            Taken::Lost => None,
        };
        if let (Some(mut kept), Some(data)) = (kept, frame.data_ref())
            && kept.push(data)
        {
            *self = Taken::Kept(kept);
        }
    }

    /// Frees the buffer once a response has begun: the request is not sent again after that.
    pub(super) fn free(&mut self) {
        *self = match self {
            Taken::Nothing(_) => Taken::Nothing(None),
            Taken::Kept(_) | Taken::Lost => Taken::Lost,
        };
    }

    /// Returns the whole body, if nothing of it is lost. `rest` is the part that was not taken.
    pub(super) fn whole(&mut self, rest: Body) -> Option<Body> {
        match std::mem::replace(self, Taken::Lost) {
            Taken::Nothing(_) => Some(rest),
            Taken::Kept(kept) => Some(kept.resume(rest)),
            Taken::Lost => None,
        }
    }
}
