//! A request's body on its way to an endpoint, in every protocol: how far it is sent, and the part that can be sent again.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Instant;

use crate::http::body::{Body, KeptBody};

/// The most interim responses before the final one.
pub(in crate::upstream::transport) const INTERIM_RESPONSES: u32 = 64;

/// The time that a body waits for `100 Continue` before it is sent anyway (RFC 9110 §10.1.1).
pub(in crate::upstream::transport) const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of sending the request.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream::transport) enum Writing {
    /// The body waits for `100 Continue`, until this time.
    AwaitingContinue(Option<Instant>),
    /// The body begins when the protocol has changed. The response is due by this time.
    Upgrading(Option<Instant>),
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
    pub(in crate::upstream::transport) fn is_over(self) -> bool {
        matches!(self, Writing::Sent(_) | Writing::Abandoned(_))
    }
}

/// The part of the request's body that has been taken, for another attempt that sends all of it again.
pub(in crate::upstream::transport) enum Taken {
    /// Nothing was taken. What will be goes into the buffer, if there is one.
    Nothing(Option<Box<KeptBody>>),
    /// All that was taken is kept.
    Kept(Box<KeptBody>),
    /// Some of the body is gone.
    Lost,
}

impl Taken {
    /// Records a frame. Trailers cannot be sent again, so only data is kept.
    pub(in crate::upstream::transport) fn push(&mut self, frame: &Frame<Bytes>) {
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
    pub(in crate::upstream::transport) fn free(&mut self) {
        *self = match self {
            Taken::Nothing(_) => Taken::Nothing(None),
            Taken::Kept(_) | Taken::Lost => Taken::Lost,
        };
    }

    /// Returns the whole body, if nothing of it is lost. `rest` is the part that was not taken.
    pub(in crate::upstream::transport) fn whole(&mut self, rest: Body) -> Option<Body> {
        match std::mem::replace(self, Taken::Lost) {
            Taken::Nothing(_) => Some(rest),
            Taken::Kept(kept) => Some(kept.resume(rest)),
            Taken::Lost => None,
        }
    }
}
