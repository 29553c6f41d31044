//! Heads and bodies on their way out, in as few writes as possible.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::case::recase;
use super::framing::Framing;
use crate::config::HeaderCase;
use crate::http::date::with_date;
use crate::http::fields::Fields;
use crate::net::stream::Stream;

/// The size below which data is copied next to its head: one slice is cheaper to write than two.
pub(crate) const COPY_BELOW: usize = 2 * 1024;

/// The size up to which small frames are gathered into one write.
const GATHER_BYTES: usize = 16 * 1024;

/// The room that is reserved for a typical head.
const HEAD_BYTES: usize = 512;

/// The head of a request as it is sent.
pub(crate) struct OutgoingHead<'a> {
    pub(crate) method: &'a Method,
    /// The path and query, as sent.
    pub(crate) target: &'a str,
    /// The fields, without those of framing and with exactly one Host.
    pub(crate) headers: &'a Fields,
    /// The `Connection` field: `close`, `te` or `close, te`. An upgrade has its own among `headers`.
    pub(crate) connection: Option<&'a str>,
    /// The letter case of names in this head, and in that of the response.
    pub(crate) case: HeaderCase,
}

/// Bytes that wait to be written: a head part, at most one chunk of a body, and the bytes that end that chunk.
#[derive(Debug, Default)]
pub(crate) struct Output {
    head: Vec<u8>,
    head_written: usize,
    chunk: Bytes,
    tail: &'static [u8],
    /// True if TLS holds bytes that were written but not sent.
    unflushed: bool,
    /// The letter case of names in the message whose head was pushed last, for its trailers.
    case: HeaderCase,
}

impl Output {
    /// Returns true if everything has been written and flushed.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_taken() && !self.unflushed
    }

    /// Returns true if the stream has accepted everything. TLS may still hold some of it back.
    fn is_taken(&self) -> bool {
        self.head_written == self.head.len() && self.chunk.is_empty() && self.tail.is_empty()
    }

    /// Returns true if another frame fits. Small frames are gathered up to a bound; a large one is written first.
    pub(crate) fn takes_more(&self) -> bool {
        self.chunk.is_empty() && self.tail.is_empty() && self.head.len() < GATHER_BYTES
    }

    /// Frees the memory of a connection that becomes idle.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Output::default();
        }
    }

    /// Returns the number of bytes that wait in front of the next pushed ones.
    pub(crate) fn waiting(&self) -> u64 {
        (self.head.len() - self.head_written) as u64
    }

    /// Drops the bytes that were pushed behind the first `keep` waiting ones. None of them has been written.
    pub(crate) fn retract(&mut self, keep: u64) {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        self.head.truncate(self.head_written.saturating_add(keep));
        self.chunk = Bytes::new();
        self.tail = b"";
    }

    fn head(&mut self) -> &mut Vec<u8> {
        self.head.reserve(HEAD_BYTES);
        &mut self.head
    }

    /// Pushes an interim response (RFC 9110 §15.2).
    pub(crate) fn push_informational(&mut self, status: StatusCode, headers: &Fields) {
        let head = self.head();
        let start = head.len();
        status_line(head, status);
        fields(head, headers.iter());
        head.extend_from_slice(b"\r\n");
        if let Some(received) = headers.received() {
            recase(head, start, received);
        }
    }

    /// Pushes the head of a response. The option `close` in `connection` announces that no other response follows.
    /// Names have the letter case of the head that was received, if the fields remember it.
    pub(crate) fn push_response(
        &mut self,
        status: StatusCode,
        headers: &Fields,
        framing: Framing,
        connection: Option<&'static str>,
    ) {
        // A small body is written behind its head, from the same buffer.
        let body = match framing {
            Framing::Length(length) => usize::try_from(length).ok().filter(|length| *length < COPY_BELOW),
            _ => None,
        };
        self.head.reserve(HEAD_BYTES + body.unwrap_or(0));
        let head = &mut self.head;
        let start = head.len();
        status_line(head, status);
        fields(head, headers.iter());
        if !headers.contains_key(header::DATE) && status != StatusCode::SWITCHING_PROTOCOLS {
            date(head);
        }
        framing_field(head, framing);
        end_head(head, connection);
        self.case = HeaderCase::Lower;
        if let Some(received) = headers.received() {
            self.case = HeaderCase::Preserve;
            recase(&mut self.head, start, received);
        }
    }

    /// Pushes the head of a request, with its only Host first (RFC 9110 §7.2).
    pub(crate) fn push_request(&mut self, request: &OutgoingHead<'_>, framing: Framing) {
        let OutgoingHead { method, target, headers, connection, case } = *request;
        let head = self.head();
        let start = head.len();
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(headers.get(header::HOST).map_or(b"" as &[u8], HeaderValue::as_bytes));
        head.extend_from_slice(b"\r\n");
        for (name, value) in headers.iter() {
            if name != header::HOST {
                field(head, name, value);
            }
        }
        // Framing signals the presence of a body (RFC 9112 §6). Methods that expect one signal its absence by a length of 0.
        let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if framing == Framing::None && expects_body {
            framing_field(head, Framing::Length(0));
        } else {
            framing_field(head, framing);
        }
        end_head(head, connection);
        self.case = case;
        if case == HeaderCase::Preserve {
            // A request of HTTP/2, or one of the gateway's own, has no letter case to preserve.
            recase(&mut self.head, start, headers.received().map_or(b"", |received| received));
        }
    }

    /// Pushes a frame of a body. `last` is true if nothing follows it.
    pub(crate) fn push_frame(&mut self, framing: Framing, frame: Frame<Bytes>, last: bool) {
        let chunked = framing == Framing::Chunked;
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if chunked {
                    // Writing to a Vec cannot fail.
                    let _infallible = write!(self.head, "{:x}\r\n", data.len());
                    self.tail = if last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                }
                if data.len() < COPY_BELOW {
                    self.head.extend_from_slice(&data);
                    self.head.extend_from_slice(std::mem::take(&mut self.tail));
                } else {
                    self.chunk = data;
                }
                return;
            }
            Err(frame) => {
                if let (true, Ok(trailers)) = (chunked, frame.into_trailers()) {
                    let start = self.head.len();
                    self.head.extend_from_slice(b"0\r\n");
                    fields(&mut self.head, &trailers);
                    self.head.extend_from_slice(b"\r\n");
                    if self.case == HeaderCase::Preserve {
                        recase(&mut self.head, start, b"");
                    }
                    return;
                }
            }
        }
        if last {
            self.push_end(framing);
        }
    }

    /// Pushes the end of a body whose last frame was not marked as the last.
    pub(crate) fn push_end(&mut self, framing: Framing) {
        if framing == Framing::Chunked {
            self.head.extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// Waits for the end of the worker's turn, once, if the message is small. A large message takes long enough to
    /// write as it is, and would have left the processor's caches by then.
    pub(crate) fn poll_turn(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_taken() || !self.chunk.is_empty() {
            return Poll::Ready(());
        }
        stream.poll_turn(cx)
    }

    /// Writes everything that waits. The number of written bytes is added to `written`.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        while !self.is_taken() {
            let head = self.head.get(self.head_written..).unwrap_or_default();
            let mut count = if self.chunk.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(cx, head))?
            } else {
                let slices = [IoSlice::new(head), IoSlice::new(&self.chunk), IoSlice::new(self.tail)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count as u64;
            self.unflushed = true;
            let of_head = count.min(head.len());
            self.head_written += of_head;
            count -= of_head;
            let of_chunk = count.min(self.chunk.len());
            self.chunk.advance(of_chunk);
            count -= of_chunk;
            self.tail = self.tail.get(count..).unwrap_or_default();
        }
        self.head.clear();
        self.head_written = 0;
        self.chunk = Bytes::new();
        if self.unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

fn status_line(head: &mut Vec<u8>, status: StatusCode) {
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
}

fn field(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
}

fn fields<'a>(head: &mut Vec<u8>, fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
    for (name, value) in fields {
        field(head, name, value);
    }
}

fn framing_field(head: &mut Vec<u8>, framing: Framing) {
    match framing {
        // Writing to a Vec cannot fail.
        Framing::Length(length) => drop(write!(head, "content-length: {length}\r\n")),
        Framing::Chunked => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

fn end_head(head: &mut Vec<u8>, connection: Option<&str>) {
    if let Some(option) = connection {
        head.extend_from_slice(b"connection: ");
        head.extend_from_slice(option.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
}

/// Returns the `Connection` option of a response. HTTP/1.0 clients need one to know that a connection stays open.
pub(crate) fn connection_option(version: Version, close: bool) -> Option<&'static str> {
    match (close, version) {
        (true, _) => Some("close"),
        (false, Version::HTTP_10) => Some("keep-alive"),
        (false, _) => None,
    }
}

fn date(head: &mut Vec<u8>) {
    with_date(|date| field(head, &header::DATE, date));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(output: &Output) -> Vec<u8> {
        [&output.head, &*output.chunk, output.tail].concat()
    }

    #[test]
    fn a_request_has_one_host_and_one_framing() {
        let mut headers = Fields::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::HOST, HeaderValue::from_static("a.example"));
        let mut output = Output::default();
        let head = OutgoingHead {
            method: &Method::POST,
            target: "/x?y",
            headers: &headers,
            connection: Some("close"),
            case: HeaderCase::Lower,
        };
        output.push_request(&head, Framing::None);
        assert_eq!(
            String::from_utf8_lossy(&bytes(&output)),
            "POST /x?y HTTP/1.1\r\nhost: a.example\r\naccept: */*\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn chunks_are_framed_and_ended_once() {
        for size in [3, COPY_BELOW + 1] {
            let data = Bytes::from(vec![b'a'; size]);
            let mut output = Output::default();
            output.push_frame(Framing::Chunked, Frame::data(data.clone()), true);
            let expected = [format!("{size:x}\r\n").as_bytes(), &data, b"\r\n0\r\n\r\n"].concat();
            assert_eq!(bytes(&output), expected);
        }
        let mut output = Output::default();
        output.push_frame(Framing::Chunked, Frame::data(Bytes::new()), true);
        assert_eq!(bytes(&output), b"0\r\n\r\n");
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-t", HeaderValue::from_static("1"));
        let mut output = Output::default();
        output.push_frame(Framing::Chunked, Frame::trailers(trailers), true);
        assert_eq!(bytes(&output), b"0\r\nx-t: 1\r\n\r\n");
    }
}
