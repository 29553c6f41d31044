//! The body of a response by gRPC-Web.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use crate::http::base64::Encoder;
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;

/// The flag of the message that has the trailers.
const TRAILERS: u8 = 0x80;

/// The form of a body.
pub(super) enum Form {
    Binary,
    Text { encoder: Encoder, messages: Messages },
}

impl Form {
    pub(super) fn text() -> Self {
        Self::Text { encoder: Encoder::default(), messages: Messages::default() }
    }

    /// Returns data in this form. In text, padding comes only behind whole messages: up to two bytes of an incomplete one wait for the
    /// rest, without which a client has no use for them.
    pub(super) fn of_data(&mut self, data: Bytes) -> Bytes {
        match self {
            Self::Binary => data,
            Self::Text { encoder, messages } => {
                let ends = messages.advance(&data);
                let mut text = Vec::new();
                encoder.encode(&data, ends, &mut text);
                text.into()
            }
        }
    }

    /// Returns the last bytes of a body.
    pub(super) fn of_trailers(&mut self, trailers: Option<Vec<u8>>) -> Bytes {
        let data = trailers.unwrap_or_default();
        match self {
            Self::Binary => data.into(),
            Self::Text { encoder, .. } => {
                let mut text = Vec::new();
                encoder.encode(&data, true, &mut text);
                text.into()
            }
        }
    }
}

/// The position of a body in its messages: each is a flag, a length of four bytes, and its data.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// The bytes of the next prefix that have passed.
    prefix: u8,
    length: u32,
    /// The bytes of the message's data that have yet to pass.
    left: u32,
}

impl Messages {
    /// Passes data. Returns true if a message ends with it.
    fn advance(&mut self, mut data: &[u8]) -> bool {
        loop {
            let passed = data.len().min(self.left as usize);
            data = data.split_at(passed).1;
            self.left = self.left.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            let Some((byte, rest)) = data.split_first() else { break };
            data = rest;
            // The flag leaves the four bytes of the length behind it.
            self.length = self.length << 8 | u32::from(*byte);
            self.prefix += 1;
            if self.prefix == 5 {
                (self.prefix, self.left) = (0, std::mem::take(&mut self.length));
            }
        }
        self.prefix == 0 && self.left == 0
    }
}

/// A body with its trailers at its end.
pub(super) struct EncodedBody {
    source: Body,
    form: Form,
    /// The status from the head of the response. Trailers follow it.
    status: Option<Fields>,
    is_over: bool,
}

impl EncodedBody {
    pub(super) fn new(source: Body, form: Form, status: Option<Fields>) -> Self {
        Self { source, form, status, is_over: false }
    }

    /// Returns the body, in memory if nothing of it has yet to arrive.
    pub(super) fn shortened(mut self) -> Body {
        if self.source.is_end_stream() { Body::full(self.last(None)) } else { Body::boxed(self) }
    }

    /// Returns the last bytes, with the trailers if there are any.
    fn last(&mut self, trailers: Option<HeaderMap>) -> Bytes {
        self.is_over = true;
        let status = self.status.take();
        let has_any = status.is_some() || trailers.is_some();
        let mut fields = status.unwrap_or_default();
        fields.extend(Fields::from(trailers.unwrap_or_default()));
        self.form.of_trailers(has_any.then(|| message(&fields)))
    }
}

/// Returns the message that has the trailers.
fn message(fields: &Fields) -> Vec<u8> {
    let mut message = vec![TRAILERS, 0, 0, 0, 0];
    for (name, value) in fields.iter() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            message.extend_from_slice(part);
        }
    }
    // Heads and trailers have bounds far below 4 GiB.
    let length = u32::try_from(message.len() - 5).unwrap_or(u32::MAX).to_be_bytes();
    message.iter_mut().skip(1).zip(length).for_each(|(place, byte)| *place = byte);
    message
}

impl Streaming for EncodedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let data = match ready!(self.source.poll_frame(cx)) {
                None => self.last(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.form.of_data(data),
                    Err(frame) => self.last(frame.into_trailers().ok()),
                },
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_over { SizeHint::with_exact(0) } else { SizeHint::default() }
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.source.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.source.is_held_back()
    }
}
