//! The decoding of a body from the bytes that carry it.

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::chunked::ChunkedDecoder;
use super::framing::Framing;
use crate::http::error::FramingError;

/// A decoder of a body by its framing.
#[derive(Debug)]
pub(crate) enum Decoder {
    Done,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Decoder::Done,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(ChunkedDecoder::default()),
            Framing::UntilClose => Decoder::UntilClose,
        }
    }

    /// Returns true if the body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Decoder::Done)
    }

    /// Decodes the next frame from `input`. Returns `None` if it needs more input or the body has ended.
    pub(crate) fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame<Bytes>>, FramingError> {
        if input.is_empty() {
            return Ok(None);
        }
        match self {
            Decoder::Done => Ok(None),
            Decoder::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                if *left == 0 {
                    *self = Decoder::Done;
                }
                Ok(Some(Frame::data(input.split_to(take))))
            }
            Decoder::Chunked(chunked) => {
                let frame = chunked.decode(input)?;
                // The end is often in the same read as the last data. Finding it now lets the caller write this frame and
                // the end of the message together.
                if frame.is_some() && chunked.at_last_chunk(input) {
                    let _no_trailers = chunked.decode(input)?;
                }
                if chunked.is_done() {
                    *self = Decoder::Done;
                }
                Ok(frame)
            }
            Decoder::UntilClose => Ok(Some(Frame::data(std::mem::take(input)))),
        }
    }

    /// Ends the stream. Returns true if the body is complete then.
    pub(crate) fn end_of_stream(&mut self) -> bool {
        if matches!(self, Decoder::UntilClose) {
            *self = Decoder::Done;
        }
        self.is_done()
    }

    /// Returns the bounds of the bytes to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Decoder::Done => SizeHint::with_exact(0),
            Decoder::Length(left) => SizeHint::with_exact(*left),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::default(),
        }
    }
}
