//! The part of a message that a filter holds back.

use bytes::Bytes;

use super::buffer::Buffer;
use super::original_head::OriginalHead;
use crate::filter::{Action, Policy};
use crate::http::fields::Fields;

/// The most bytes by which a body may grow in one callback, beyond what the filter may hold back anyway.
pub(super) const GROWTH_BYTES: usize = 64 * 1024;

/// The part of a message of one direction that a filter holds back. Its callbacks, and `proxy_continue_stream` between
/// them, lead from one state to the next:
///
/// | state | held back | callbacks meanwhile | next state |
/// |---|---|---|---|
/// | `Open` | nothing | for each part as it comes | Pause of a head: `HeadHeld`; of a body: `BodyHeld`; of trailers: `TrailersHeld` |
/// | `HeadHeld` | the head | for the body, unless it waits | Pause of a body, or Continue while a call is unanswered: `AllHeld` |
/// | `AllHeld` | the head and the body so far | for more of the body | Pause: the same |
/// | `BodyHeld` | the body so far | for more of the body | Pause: the same |
/// | `TrailersHeld` | the trailers, and what the filter puts before them | none | |
///
/// Every state becomes `Open`, and what it holds is sent on, when a callback returns Continue or the filter continues
/// the message. If a filter that fails open traps or pauses for too long, what it holds of either message is sent on in
/// its original form: head, body and trailers.
#[derive(Default)]
pub(super) enum Flow {
    #[default]
    Open,
    HeadHeld {
        /// The original head, for a filter that fails open.
        original: Option<OriginalHead>,
        /// The body waits for the head, and has no callbacks.
        body_waits: bool,
    },
    AllHeld {
        original: Option<OriginalHead>,
        keeps_pieces: bool,
    },
    BodyHeld {
        /// The filter asked to keep pieces of the body, and none has been sent on since.
        keeps_pieces: bool,
    },
    TrailersHeld {
        /// The original trailers, for a filter that fails open.
        original: Option<Fields>,
    },
}

/// The parts of a message that a filter held back, as they were before the filter.
#[derive(Default)]
pub(super) struct Original {
    pub(super) head: Option<OriginalHead>,
    pub(super) body: Bytes,
    pub(super) trailers: Option<Fields>,
}

impl Flow {
    pub(super) fn holds_head(&self) -> bool {
        matches!(self, Self::HeadHeld { .. } | Self::AllHeld { .. })
    }

    /// Returns true if any of the body, or the trailers, is held back.
    pub(super) fn holds_body(&self) -> bool {
        matches!(self, Self::AllHeld { .. } | Self::BodyHeld { .. } | Self::TrailersHeld { .. })
    }

    fn keeps_pieces(&self) -> bool {
        matches!(self, Self::AllHeld { keeps_pieces: true, .. } | Self::BodyHeld { keeps_pieces: true })
    }
}

/// A filter's state for one direction.
#[derive(Default)]
pub(super) struct Side {
    pub(super) flow: Flow,
    /// The filter has continued the message since its last callback began.
    pub(super) continued: bool,
    pub(super) buffer: Buffer,
    /// Bytes in the buffer that the filter has produced.
    pub(super) made: usize,
    /// The original content of the buffer, for a filter that fails open.
    original: Buffer,
    /// The most bytes that the buffer may grow to.
    pub(super) bytes_max: usize,
}

impl Side {
    /// Adds a piece of the body for the next callback. Returns the length of the buffer.
    pub(super) fn add(&mut self, piece: Bytes, policy: &Policy) -> usize {
        if policy.fails_open {
            self.original.append(piece.clone());
        }
        self.buffer.append(piece);
        self.bytes_max = self.buffer.len().max(policy.body_bytes_max).saturating_add(GROWTH_BYTES);
        self.buffer.len()
    }

    /// Holds the body back after a callback for it.
    pub(super) fn hold_body(&mut self, action: Action) {
        let keeps_pieces = action != Action::PauseWithoutBuffer || self.flow.keeps_pieces();
        self.flow = match std::mem::take(&mut self.flow) {
            Flow::HeadHeld { original, .. } | Flow::AllHeld { original, .. } => {
                Flow::AllHeld { original, keeps_pieces }
            }
            Flow::Open | Flow::BodyHeld { .. } | Flow::TrailersHeld { .. } => Flow::BodyHeld { keeps_pieces },
        };
        if !keeps_pieces {
            // The original is kept for a filter that fails open: nothing has been sent on, so if the filter fails, the
            // message must continue whole.
            self.made = 0;
            self.buffer = Buffer::default();
        }
    }

    /// Returns the number of body bytes that are held back: the filter's version or, if it fails open, the original. A
    /// filter that empties its buffer makes no room for more of the original.
    pub(super) fn bytes_kept(&self) -> usize {
        self.buffer.len().max(self.original.len())
    }

    /// Takes what is held back, to be sent on.
    pub(super) fn release(&mut self) -> Bytes {
        self.flow = Flow::Open;
        self.original = Buffer::default();
        self.made = 0;
        self.buffer.take()
    }

    /// Takes what is held back in its original form, and puts a further piece of the body behind it.
    pub(super) fn release_original(&mut self, next: Bytes) -> Original {
        let (head, trailers) = match std::mem::take(&mut self.flow) {
            Flow::HeadHeld { original, .. } | Flow::AllHeld { original, .. } => (original, None),
            Flow::TrailersHeld { original } => (None, original),
            Flow::Open | Flow::BodyHeld { .. } => (None, None),
        };
        self.original.append(next);
        let body = self.original.take();
        self.release();
        Original { head, body, trailers }
    }
}
