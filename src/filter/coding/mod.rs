//! Removal of content codings (RFC 9110 §8.4), for filters that read bodies.

mod decoder;
mod head;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use decoder::{Coding, Decoder};
pub(crate) use head::{head_of_changed, head_of_decoded};
use http::header::{CONTENT_ENCODING, CONTENT_RANGE};
use http_body::Frame;
use tokio::io::AsyncReadExt;

use super::Direction;
use crate::http::body::{Body, PollFrame, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;

/// The most codings that are removed. More than two have no use, and each has a window of its own.
const CODINGS_MAX: usize = 3;

/// The most bytes that are decoded at once, however much further the input expands.
const FRAME_BYTES_MAX: usize = 32 * 1024;

/// Frames smaller than this are copied out of the buffer, so that they do not keep all of it alive.
const COPY_BELOW: usize = 8 * 1024;

/// The codings of a message, in the order in which they must be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Codings(Vec<Coding>);

impl Codings {
    /// Returns the codings that `headers` name. Returns `None` if the body must stay as it is: it has no coding, a coding
    /// is unknown, or a response is a part of a coded representation (`Content-Range`). `Content-Range` on a request is
    /// ignored: an upstream that does not know it would decode a body that no filter has seen.
    pub(crate) fn of(direction: Direction, headers: &Fields) -> Option<Self> {
        let mut codings = Vec::new();
        for line in headers.get_all(CONTENT_ENCODING) {
            for member in line.to_str().ok()?.split(',') {
                match member.trim_matches([' ', '\t']).to_ascii_lowercase().as_str() {
                    "" | "identity" => {}
                    // RFC 9110 §8.4.1.3 defines the two as equivalent.
                    "gzip" | "x-gzip" => codings.push(Coding::Gzip),
                    "br" => codings.push(Coding::Brotli),
                    "zstd" => codings.push(Coding::Zstd),
                    "deflate" => codings.push(Coding::Deflate),
                    _ => return None,
                }
            }
        }
        let is_part = direction == Direction::Response && headers.contains_key(CONTENT_RANGE);
        if codings.is_empty() || codings.len() > CODINGS_MAX || is_part {
            return None;
        }
        // Codings are listed in the order in which they were applied.
        codings.reverse();
        Some(Self(codings))
    }
}

/// Returns a body that removes the codings as data arrives. Everything that can be decoded is returned at once, at most
/// 32 KiB in a frame, and `body` is not polled again before its previous data is decoded. An empty body is no error,
/// whatever the codings. Trailers follow, without digests of the coded bytes.
///
/// # Errors
/// The body fails with the errors of `body`, and with `failure` if the bytes do not match the codings or end too early.
pub(crate) fn decoded(body: Body, codings: &Codings, failure: Error) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let undo = |body, coding: &Coding| {
        Body::boxed(Decoded {
            decoder: Decoder::new(*coding, body),
            output: BytesMut::new(),
            state: DecodeState::Begin,
            failure,
        })
    };
    codings.0.iter().fold(body, undo)
}

/// Returns false if a complete body is not in the codings that its head names, because they have already been removed.
/// A body that begins as encoded and is corrupt later counts as encoded, and so does one in unknown codings.
pub(crate) fn is_encoded(body: &Bytes, headers: &Fields) -> bool {
    const MAGICS: [&[u8]; 2] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd"];
    let Some(codings) = Codings::of(Direction::Response, headers) else { return true };
    if MAGICS.iter().any(|magic| body.starts_with(magic)) {
        return true;
    }
    // All of the body is in memory, so it is never pending.
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut decoded = decoded(Body::full(body.clone()), &codings, Error::ResponseCoding);
    loop {
        match decoded.poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_))) => return false,
            Poll::Ready(None) | Poll::Pending => return true,
        }
    }
}

/// A body with one coding removed.
struct Decoded {
    decoder: Decoder,
    output: BytesMut,
    state: DecodeState,
    failure: Error,
}

enum DecodeState {
    /// No data has arrived yet.
    Begin,
    Data,
    /// All data was returned; trailers may follow.
    Trailers,
    Over,
}

impl Decoded {
    /// Returns the next piece of decoded data, which is empty at the end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.output.reserve(FRAME_BYTES_MAX);
        let mut room = (&mut self.output).limit(FRAME_BYTES_MAX);
        let length = ready!(pin!(self.decoder.read_buf(&mut room)).poll(cx))?;
        if length < COPY_BELOW {
            let data = Bytes::copy_from_slice(&self.output);
            self.output.clear();
            return Poll::Ready(Ok(data));
        }
        Poll::Ready(Ok(self.output.split().freeze()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Error>> {
        loop {
            match self.state {
                DecodeState::Begin => {
                    let is_empty = ready!(self.decoder.poll_begin(cx));
                    self.state = if is_empty { DecodeState::Trailers } else { DecodeState::Data };
                }
                DecodeState::Data => match ready!(self.poll_data(cx)) {
                    Ok(data) if data.is_empty() => self.state = DecodeState::Trailers,
                    Ok(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                    Err(_malformed) => {
                        return Poll::Ready(Err(self.decoder.coded().failed.unwrap_or(self.failure)));
                    }
                },
                DecodeState::Trailers => {
                    let coded = self.decoder.coded();
                    let has_more = !ready!(coded.poll_bytes(cx)).is_empty();
                    if let Some(error) = coded.failed.or(has_more.then_some(self.failure)) {
                        return Poll::Ready(Err(error));
                    }
                    let trailers = coded.trailers.take();
                    self.state = DecodeState::Over;
                    return Poll::Ready(Ok(trailers.map(Frame::trailers)));
                }
                DecodeState::Over => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Streaming for Decoded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> PollFrame {
        let next = ready!(self.poll_next(cx));
        if next.is_err() {
            self.state = DecodeState::Over;
        }
        Poll::Ready(next.transpose())
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, DecodeState::Over)
    }

    fn poll_background(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.decoder.coded().body.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.decoder.coded_ref().body.is_held_back()
    }
}
