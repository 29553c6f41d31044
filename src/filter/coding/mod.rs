//! Removal of content codings (RFC 9110 §8.4), for filters that read bodies.

#[cfg(test)]
mod tests;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
};
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use super::Direction;
use crate::http::body::{Body, Streaming};
use crate::http::error::Error;
use crate::http::fields::Fields;

/// The most codings that are removed. More than two have no use, and each has a window of its own.
const CODINGS_MAX: usize = 3;

/// The most bytes that are decoded at once, however much further the input expands.
const FRAME_BYTES_MAX: usize = 32 * 1024;

/// Frames smaller than this are copied out of the buffer, so that they do not keep all of it alive.
const COPY_BELOW: usize = 8 * 1024;

/// The binary logarithm of the largest window of `zstd`: 8 MiB (RFC 9659 §3).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Returns true if a field describes the exact bytes of a message: a digest (RFC 9530), or one of its predecessors
/// `Digest` and `Content-MD5`.
fn is_digest(name: &str) -> bool {
    // Compare the length first, because every field of a message is checked.
    match name.len() {
        6 => name == "digest",
        11 => matches!(name, "repr-digest" | "content-md5"),
        14 => name == "content-digest",
        _ => false,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

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

/// Adjusts the head of a message whose body is [`decoded`].
pub(crate) fn head_of_decoded(headers: &mut Fields) {
    headers.remove(CONTENT_ENCODING);
    head_of_changed(headers);
}

/// Adjusts the head of a message whose body may have been replaced. Its length is unknown, and statements about its
/// exact bytes no longer hold. A strong validator becomes a weak one (RFC 9110 §8.8.1), because ranges of one body must
/// not be combined with those of another (§14.3).
pub(crate) fn head_of_changed(headers: &mut Fields) {
    headers.retain(|name, _| name != CONTENT_LENGTH && name != ACCEPT_RANGES && !is_digest(name.as_str()));
    match headers.get(ETAG).map(weak) {
        Some(Some(weak)) => headers.insert(ETAG, weak),
        Some(None) => drop(headers.remove(ETAG)),
        None => {}
    }
}

/// Returns the weak form of a validator, or `None` if it is malformed.
fn weak(etag: &HeaderValue) -> Option<HeaderValue> {
    match etag.as_bytes() {
        [b'W', b'/', ..] => Some(etag.clone()),
        strong @ [b'"', ..] => HeaderValue::from_bytes(&[b"W/", strong].concat()).ok(),
        _ => None,
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
            stage: Stage::Begin,
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
        match Pin::new(&mut decoded).poll_frame(&mut cx) {
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
    stage: Stage,
    failure: Error,
}

enum Stage {
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
            match self.stage {
                Stage::Begin => {
                    let is_empty = ready!(self.decoder.poll_begin(cx));
                    self.stage = if is_empty { Stage::Trailers } else { Stage::Data };
                }
                Stage::Data => match ready!(self.poll_data(cx)) {
                    Ok(data) if data.is_empty() => self.stage = Stage::Trailers,
                    Ok(data) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                    Err(_malformed) => {
                        return Poll::Ready(Err(self.decoder.coded().failed.unwrap_or(self.failure)));
                    }
                },
                Stage::Trailers => {
                    let coded = self.decoder.coded();
                    let has_more = !ready!(coded.poll_bytes(cx)).is_empty();
                    if let Some(error) = coded.failed.or(has_more.then_some(self.failure)) {
                        return Poll::Ready(Err(error));
                    }
                    let trailers = coded.trailers.take();
                    self.stage = Stage::Over;
                    return Poll::Ready(Ok(trailers.map(Frame::trailers)));
                }
                Stage::Over => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Streaming for Decoded {
    fn poll_background(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Error> {
        self.decoder.coded().body.poll_background(cx)
    }

    fn is_held_back(&self) -> bool {
        self.decoder.coded_ref().body.is_held_back()
    }
}

impl HttpBody for Decoded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = ready!(self.poll_next(cx));
        if next.is_err() {
            self.stage = Stage::Over;
        }
        Poll::Ready(next.transpose())
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

/// A decoder of one coding.
enum Decoder {
    Gzip(GzipDecoder<Coded>),
    Brotli(BrotliDecoder<Coded>),
    Zstd(ZstdDecoder<Coded>),
    /// `deflate` in the zlib format, unless the body begins differently.
    Zlib(ZlibDecoder<Coded>),
    /// `deflate` without the zlib wrapper.
    RawDeflate(DeflateDecoder<Coded>),
}

impl Decoder {
    fn new(coding: Coding, body: Body) -> Self {
        let coded = Coded::new(body);
        match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(coded);
                // RFC 1952 §2.2: members may follow one another.
                decoder.multiple_members(true);
                Decoder::Gzip(decoder)
            }
            Coding::Brotli => Decoder::Brotli(BrotliDecoder::new(coded)),
            Coding::Zstd => {
                let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
                let mut decoder = ZstdDecoder::with_params(coded, &[window]);
                // RFC 8878 §3: so may frames.
                decoder.multiple_members(true);
                Decoder::Zstd(decoder)
            }
            // The name means the zlib format, but not to every sender (RFC 9110 §8.4.1.2).
            Coding::Deflate => Decoder::Zlib(ZlibDecoder::new(coded)),
        }
    }

    /// Waits for the first bytes, which distinguish the two forms of `deflate`. Returns true if there are none.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Decoder::Zlib(decoder) = self else {
            return self.coded().poll_bytes(cx).map(<[u8]>::is_empty);
        };
        let coded = decoder.get_mut();
        let header = ready!(coded.poll_two_bytes(cx));
        let (is_empty, is_zlib) = (header.is_empty(), is_zlib(header));
        if !is_empty && !is_zlib {
            let coded = std::mem::replace(coded, Coded::new(Body::Empty));
            *self = Decoder::RawDeflate(DeflateDecoder::new(coded));
        }
        Poll::Ready(is_empty)
    }

    fn coded_ref(&self) -> &Coded {
        match self {
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Brotli(decoder) => decoder.get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref(),
            Decoder::Zlib(decoder) => decoder.get_ref(),
            Decoder::RawDeflate(decoder) => decoder.get_ref(),
        }
    }

    fn coded(&mut self) -> &mut Coded {
        match self {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Brotli(decoder) => decoder.get_mut(),
            Decoder::Zstd(decoder) => decoder.get_mut(),
            Decoder::Zlib(decoder) => decoder.get_mut(),
            Decoder::RawDeflate(decoder) => decoder.get_mut(),
        }
    }
}

impl AsyncRead for Decoder {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Decoder::Gzip(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Decoder::Brotli(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Decoder::Zstd(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Decoder::Zlib(decoder) => Pin::new(decoder).poll_read(cx, buf),
            Decoder::RawDeflate(decoder) => Pin::new(decoder).poll_read(cx, buf),
        }
    }
}

/// Returns true if the bytes begin with a header of the zlib format (RFC 1950 §2.2): method 8, a window of at most 32
/// KiB, and a check that makes the header a multiple of 31. Raw deflate data begins like this only with a stored block
/// whose padding is not zero, which no encoder writes. A single byte counts as zlib: no stream of either form is that
/// short.
fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => {
            method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]) % 31 == 0
        }
        _ => true,
    }
}

/// The coded bytes of a body, as a decoder reads them.
struct Coded {
    body: Body,
    /// Data that has arrived and is not decoded yet.
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    /// The error of the body. A decoder sees it as the end of the data, so that it first returns everything it can.
    failed: Option<Error>,
    is_over: bool,
}

impl Coded {
    fn new(body: Body) -> Self {
        Self { body, bytes: Bytes::new(), trailers: None, failed: None, is_over: false }
    }

    /// Returns the available data: at least two bytes, unless the body ends earlier.
    fn poll_two_bytes(&mut self, cx: &mut Context<'_>) -> Poll<&[u8]> {
        while self.bytes.len() < 2 && !self.is_over {
            let first = std::mem::take(&mut self.bytes);
            let next = match self.poll_bytes(cx) {
                Poll::Ready(bytes) => bytes,
                Poll::Pending => {
                    self.bytes = first;
                    return Poll::Pending;
                }
            };
            if !first.is_empty() {
                self.bytes = [&first, next].concat().into();
            }
        }
        Poll::Ready(&self.bytes)
    }

    /// Returns the data that is not decoded yet, which is empty at the end.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<&[u8]> {
        while self.bytes.is_empty() && !self.is_over {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.is_over = true,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.bytes = data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(without_digests);
                        self.is_over = true;
                    }
                },
                Some(Err(error)) => {
                    self.failed = Some(error);
                    self.is_over = true;
                }
            }
        }
        Poll::Ready(&self.bytes)
    }
}

fn without_digests(mut trailers: HeaderMap) -> HeaderMap {
    let digests: Vec<HeaderName> = trailers.keys().filter(|name| is_digest(name.as_str())).cloned().collect();
    for digest in digests {
        trailers.remove(digest);
    }
    trailers
}

impl AsyncBufRead for Coded {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_bytes(cx).map(Ok)
    }

    fn consume(mut self: Pin<&mut Self>, length: usize) {
        let length = length.min(self.bytes.len());
        self.bytes.advance(length);
    }
}

impl AsyncRead for Coded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let bytes = ready!(this.poll_bytes(cx));
        let length = bytes.len().min(buf.remaining());
        buf.put_slice(&this.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}
