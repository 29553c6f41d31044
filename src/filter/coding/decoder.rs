//! The decoders, one for each coding.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{
    BrotliDecoder, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};
use async_compression::zstd::DParameter;
use bytes::{Buf, Bytes};
use http::header::HeaderMap;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::filter::coding::head::without_digests;
use crate::http::body::Body;
use crate::http::error::Error;

/// The binary logarithm of the largest window of `zstd`: 8 MiB (RFC 9659 §3).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Brotli,
    Zstd,
    Deflate,
}

pub(super) enum Decoder {
    Gzip(GzipDecoder<Coded>),
    Brotli(BrotliDecoder<Coded>),
    Zstd(ZstdDecoder<Coded>),
    /// `deflate` in the zlib format, unless the body begins differently.
    Zlib(ZlibDecoder<Coded>),
    /// `deflate` without the zlib wrapper.
    RawDeflate(DeflateDecoder<Coded>),
}

/// Evaluates an expression with the decoder, whichever it is.
macro_rules! each {
    ($of:expr, $decoder:ident => $value:expr) => {
        match $of {
            Decoder::Gzip($decoder) => $value,
            Decoder::Brotli($decoder) => $value,
            Decoder::Zstd($decoder) => $value,
            Decoder::Zlib($decoder) => $value,
            Decoder::RawDeflate($decoder) => $value,
        }
    };
}

impl Decoder {
    pub(super) fn new(coding: Coding, body: Body) -> Self {
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
    pub(super) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
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

    pub(super) fn coded_ref(&self) -> &Coded {
        each!(self, decoder => decoder.get_ref())
    }

    pub(super) fn coded(&mut self) -> &mut Coded {
        each!(self, decoder => decoder.get_mut())
    }
}

impl AsyncRead for Decoder {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), decoder => Pin::new(decoder).poll_read(cx, buf))
    }
}

/// Returns true if the bytes begin with a header of the zlib format (RFC 1950 §2.2): method 8, a window of at most 32
/// KiB, and a check that makes the header a multiple of 31. Raw deflate data begins like this only with a stored block
/// whose padding is not zero, which no encoder writes. A single byte counts as zlib: no stream of either form is that
/// short.
pub(super) fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => {
            method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes([*method, *flags]) % 31 == 0
        }
        _ => true,
    }
}

/// The coded bytes of a body, as a decoder reads them.
pub(super) struct Coded {
    pub(super) body: Body,
    /// Data that has arrived and is not decoded yet.
    bytes: Bytes,
    pub(super) trailers: Option<HeaderMap>,
    /// The error of the body. A decoder sees it as the end of the data, so that it first returns everything it can.
    pub(super) failed: Option<Error>,
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
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<&[u8]> {
        while self.bytes.is_empty() && !self.is_over {
            match ready!(self.body.poll_frame(cx)) {
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
