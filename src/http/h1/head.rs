//! The head of a message: start line and fields, from bytes to [`http`] types.
//!
//! httparse splits a head into tokens. This file adds the stricter rules and the limits.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use httparse::{Header, Status};

use super::framing::{Framing, FramingFields};
use super::target::parse_target;
use crate::config::HeaderCase;
use crate::http::error::{Error, FramingError};
use crate::http::fields::Fields;
use crate::http::message::HeadLimits;

/// The number of fields that are parsed on the stack. A higher limit costs an allocation for each head.
const FIELDS_INLINE: usize = 100;

/// A request head as it was read. Content-Length and Transfer-Encoding are not among its fields; `framing` has their meaning.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) framing: Framing,
    /// True if the client accepts another exchange on this connection.
    pub(crate) persists: bool,
}

/// A response head as it was read, without its framing fields except for the Content-Length of a HEAD or 304.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: Fields,
    pub(crate) framing: Framing,
    /// True if the upstream accepts another request on this connection.
    pub(crate) persists: bool,
    /// True if the head has neither a length, nor chunks, nor `keep-alive`. Its version and `close` do
    /// not count.
    pub(crate) is_silent: bool,
}

/// Bytes that arrived and have not been used yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Bytes,
    /// The position that the search for the end of the head has reached. A client that drips bytes thus costs each byte once.
    searched: usize,
}

impl Input {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn bytes(&mut self) -> &mut Bytes {
        &mut self.bytes
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.bytes.is_empty() {
            self.bytes = chunk;
            return;
        }
        let mut whole =
            std::mem::take(&mut self.bytes).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        whole.extend_from_slice(&chunk);
        self.bytes = whole.freeze();
    }

    /// Parses a request head if all of it is there.
    ///
    /// # Errors
    /// The head is malformed, ambiguous or over a limit. Nothing after it can be trusted then.
    pub(crate) fn request_head(
        &mut self,
        limits: &HeadLimits,
        case: HeaderCase,
    ) -> Result<Option<RequestHead>, Error> {
        // RFC 9112 §2.2: an empty line before the request line is ignored.
        while self.bytes.starts_with(b"\r\n") {
            drop(self.bytes.split_to(2));
        }
        if self.bytes.is_empty() || !self.worth_parsing() {
            return self.check_unfinished(limits).map(|()| None);
        }
        let parsed = with_fields(limits.headers, |fields| {
            let mut request = httparse::Request::new(&mut []);
            match request.parse_with_uninit_headers(&self.bytes, fields).map_err(request_error)? {
                Status::Partial => Ok(None),
                Status::Complete(length) => {
                    build_request(&request, &self.bytes, limits).map(|head| Some((head, length)))
                }
            }
        })?;
        let Some((mut head, length)) = parsed else { return self.check_unfinished(limits).map(|()| None) };
        if length > limits.header_bytes {
            return Err(Error::HeadTooLarge);
        }
        let received = self.consume(length);
        // The route decides later whether the letter case is needed.
        if case == HeaderCase::Preserve {
            head.headers.remember(received);
        }
        Ok(Some(head))
    }

    /// Parses the head of a response to `method` if all of it is there. Its fields remember the head if `case` is
    /// `preserve`.
    pub(crate) fn response_head(
        &mut self,
        method: &Method,
        limits: &HeadLimits,
        case: HeaderCase,
    ) -> Result<Option<ResponseHead>, Error> {
        if !self.worth_parsing() {
            return self.check_unfinished_response(limits).map(|()| None);
        }
        let parsed = with_fields(limits.headers, |fields| {
            let mut response = httparse::Response::new(&mut []);
            let status = httparse::ParserConfig::default()
                .parse_response_with_uninit_headers(&mut response, &self.bytes, fields)
                .map_err(response_error)?;
            match status {
                Status::Partial => Ok(None),
                Status::Complete(length) => {
                    build_response(&response, &self.bytes, method).map(|head| Some((head, length)))
                }
            }
        })?;
        let Some((mut head, length)) = parsed else {
            return self.check_unfinished_response(limits).map(|()| None);
        };
        if length > limits.header_bytes {
            return Err(Error::ResponseMalformed("head too large"));
        }
        let received = self.consume(length);
        if case == HeaderCase::Preserve {
            head.headers.remember(received);
        }
        Ok(Some(head))
    }

    /// Takes the head, which has this length, out of the input.
    fn consume(&mut self, length: usize) -> Bytes {
        self.searched = 0;
        self.bytes.split_to(length)
    }

    /// Returns true if a parse may get further than the last one. The first bytes are always parsed, so that garbage is
    /// found at once. Later bytes are parsed only if they may end the head.
    fn worth_parsing(&mut self) -> bool {
        let first = self.searched == 0;
        let from = self.searched.saturating_sub(3);
        let new = self.bytes.get(from..).unwrap_or_default();
        self.searched = self.bytes.len();
        first || new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
    }

    fn check_unfinished(&self, limits: &HeadLimits) -> Result<(), Error> {
        // A method of any sensible length and two spaces precede the target.
        let longest_line = limits.target_bytes.saturating_add(64);
        if self.bytes.len() > longest_line
            && !self.bytes.get(..longest_line).unwrap_or_default().contains(&b'\n')
        {
            return Err(Error::TargetTooLong);
        }
        if self.bytes.len() > limits.header_bytes {
            return Err(Error::HeadTooLarge);
        }
        Ok(())
    }

    fn check_unfinished_response(&self, limits: &HeadLimits) -> Result<(), Error> {
        if self.bytes.len() > limits.header_bytes {
            return Err(Error::ResponseMalformed("head too large"));
        }
        Ok(())
    }
}

/// Calls `parse` with room for `limit` fields.
fn with_fields<'b, T>(limit: usize, parse: impl FnOnce(&mut [MaybeUninit<Header<'b>>]) -> T) -> T {
    if limit <= FIELDS_INLINE {
        let mut inline = [const { MaybeUninit::uninit() }; FIELDS_INLINE];
        return parse(inline.get_mut(..limit).unwrap_or_default());
    }
    let mut fields = Vec::new();
    fields.resize_with(limit, MaybeUninit::uninit);
    parse(&mut fields)
}

fn request_error(error: httparse::Error) -> Error {
    use httparse::Error as E;
    match error {
        E::TooManyHeaders => Error::TooManyHeaders,
        E::Version => Error::RequestVersion,
        E::HeaderName => Error::RequestMalformed("bad character in a field name, or space before its colon"),
        E::HeaderValue => Error::RequestMalformed("bad character in a field value"),
        E::NewLine => Error::RequestMalformed("bad line end"),
        E::Status | E::Token => Error::RequestMalformed("bad request line"),
    }
}

fn response_error(error: httparse::Error) -> Error {
    use httparse::Error as E;
    match error {
        E::TooManyHeaders => Error::ResponseMalformed("too many header fields"),
        E::HeaderName | E::HeaderValue | E::NewLine => Error::ResponseMalformed("bad header field"),
        E::Version | E::Status | E::Token => Error::ResponseMalformed("bad status line"),
    }
}

fn build_request(
    request: &httparse::Request<'_, '_>,
    bytes: &Bytes,
    limits: &HeadLimits,
) -> Result<RequestHead, Error> {
    let target = request.path.unwrap_or_default();
    if target.len() > limits.target_bytes {
        return Err(Error::TargetTooLong);
    }
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes())
        .map_err(|_| Error::RequestMalformed("bad method"))?;
    let version = version(request.version);
    let mut fields = FramingFields::default();
    let headers = build_headers(request.headers, bytes, &mut fields)
        .map_err(|error| error.into_error(Error::RequestFraming, Error::RequestMalformed))?;
    Ok(RequestHead {
        target: parse_target(target, bytes.slice_ref(target.as_bytes())).map_err(Error::RequestMalformed)?,
        framing: fields.of_request(version).map_err(Error::RequestFraming)?,
        persists: fields.persists(version),
        method,
        version,
        headers,
    })
}

fn build_response(
    response: &httparse::Response<'_, '_>,
    bytes: &Bytes,
    method: &Method,
) -> Result<ResponseHead, Error> {
    let status = StatusCode::from_u16(response.code.unwrap_or_default())
        .map_err(|_| Error::ResponseMalformed("bad status code"))?;
    let version = version(response.version);
    let mut fields = FramingFields::default();
    let mut headers = build_headers(response.headers, bytes, &mut fields)
        .map_err(|error| error.into_error(Error::ResponseFraming, Error::ResponseMalformed))?;
    let framing = fields.of_response(version, method, status).map_err(Error::ResponseFraming)?;
    // This is the length for a GET (RFC 9110 §8.6), and the only case of a length without a body.
    if (method == Method::HEAD || status == StatusCode::NOT_MODIFIED)
        && let Some(length) = fields.length()
    {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let (persists, is_silent) = (fields.persists(version), fields.is_silent());
    Ok(ResponseHead { persists, is_silent, status, version, headers, framing })
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

enum FieldError {
    Framing(FramingError),
    Malformed(&'static str),
}

impl FieldError {
    fn into_error(self, framing: fn(FramingError) -> Error, malformed: fn(&'static str) -> Error) -> Error {
        match self {
            FieldError::Framing(error) => framing(error),
            FieldError::Malformed(what) => malformed(what),
        }
    }
}

/// Builds the fields as slices of `bytes`. Framing fields are left out and recorded in `framing`.
fn build_headers(
    fields: &[Header<'_>],
    bytes: &Bytes,
    framing: &mut FramingFields,
) -> Result<Fields, FieldError> {
    // Room for a few more, because the gateway adds its own.
    let mut headers = Fields::with_capacity(fields.len() + 6);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| FieldError::Malformed("bad field name"))?;
        match name {
            header::CONTENT_LENGTH => framing.content_length(field.value).map_err(FieldError::Framing)?,
            header::TRANSFER_ENCODING => {
                framing.transfer_encoding(field.value).map_err(FieldError::Framing)?;
            }
            _ => {
                if name == header::CONNECTION {
                    framing.connection(field.value);
                }
                let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
                    .map_err(|_| FieldError::Malformed("bad field value"))?;
                headers.append(name, value);
            }
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { headers: 10, header_bytes: 1024, target_bytes: 100 };

    fn request(text: &str) -> Result<Option<RequestHead>, Error> {
        let mut input = Input::default();
        input.push(Bytes::copy_from_slice(text.as_bytes()));
        input.request_head(&LIMITS, HeaderCase::Preserve)
    }

    #[test]
    fn a_request_head_is_read_and_its_framing_taken_out() {
        let text = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nX-A: 1\r\nx-a: 2\r\n\r\nabc";
        let mut input = Input::default();
        input.push(Bytes::from_static(text.as_bytes()));
        let head = input.request_head(&LIMITS, HeaderCase::Preserve).unwrap().unwrap();
        assert_eq!((head.method, head.target.to_string().as_str()), (Method::POST, "/a?b=c"));
        assert_eq!((head.framing, head.persists), (Framing::Length(3), true));
        assert_eq!(head.headers.get_all("x-a").count(), 2);
        assert!(!head.headers.contains_key(header::CONTENT_LENGTH));
        assert_eq!(input.bytes().as_ref(), b"abc");
    }

    #[test]
    fn a_head_may_come_byte_by_byte() {
        let text = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut input = Input::default();
        let mut found = None;
        for byte in text.bytes() {
            assert!(found.is_none());
            input.push(Bytes::copy_from_slice(&[byte]));
            found = input.request_head(&LIMITS, HeaderCase::Preserve).unwrap();
        }
        assert_eq!(found.unwrap().method, Method::GET);
    }

    #[test]
    fn malformed_and_oversized_heads_are_refused() {
        let long_target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200));
        let endless_target = format!("GET /{}", "a".repeat(200));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(11));
        let large = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(1100));
        for (text, reason) in [
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", "request.malformed"),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", "request.malformed"),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "request.malformed"),
            ("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", "request.malformed"),
            ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", "request.malformed"),
            ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "request.malformed"),
            ("\x16\x03\x01\x02", "request.malformed"),
            ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", "request.version"),
            ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "request.framing"),
            (&long_target, "limits.target_bytes"),
            (&endless_target, "limits.target_bytes"),
            (&many, "limits.headers"),
            (&large, "limits.header_bytes"),
        ] {
            let error = request(text).map(|head| head.is_some()).unwrap_err();
            assert_eq!(error.reason(), reason, "{text:?}");
        }
    }

    #[test]
    fn a_response_keeps_the_length_of_a_head_request() {
        let mut input = Input::default();
        input.push(Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"));
        let head = input.response_head(&Method::HEAD, &LIMITS, HeaderCase::Lower).unwrap().unwrap();
        assert_eq!(head.framing, Framing::None);
        assert_eq!(head.headers.get("content-length").unwrap(), "7");
    }
}
