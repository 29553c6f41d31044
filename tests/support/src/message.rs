//! HTTP/1 messages as the tests see them. They are parsed strictly: sloppy syntax is an error, because the gateway
//! should never send it.

use std::io;

/// Header or trailer fields in their order, with names as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Returns the value of the first field `name`, in any letter case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Returns the values of all fields `name`, in any letter case.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.0.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns true if there is a field `name`, in any letter case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Returns true if one of the fields `name` has `item` in its comma-separated list, in any letter case.
    #[must_use]
    pub fn lists(&self, name: &str, item: &str) -> bool {
        let values = self.all(name);
        values.iter().flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(item))
    }
}

/// The first line and the fields of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The request line or status line, without its CRLF.
    pub first_line: String,
    /// The fields.
    pub headers: Headers,
    /// Every byte, including the empty line.
    pub raw: Vec<u8>,
}

/// A request as an origin received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target, as it came.
    pub target: String,
    /// The fields.
    pub headers: Headers,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Headers,
    /// Every byte of the head.
    pub raw_head: Vec<u8>,
    /// The number of its connection, counted from 0 in the order of accepting.
    pub connection: usize,
}

/// A response as a client received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code; `status_line` has the rest.
    pub status: u16,
    /// The status line, without its CRLF.
    pub status_line: String,
    /// The fields.
    pub headers: Headers,
    /// The body, without its transfer coding.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Headers,
    /// Every byte, from the final status line to the last of the body, its transfer coding included.
    pub raw: Vec<u8>,
    /// The informational (1xx) responses before it.
    pub informational: Vec<Head>,
}

impl Response {
    /// Returns the value of the first field `name`, in any letter case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Returns the body as text.
    ///
    /// # Panics
    /// Panics if it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is UTF-8")
    }
}

/// The way in which the end of a body is found (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Parses a head, its empty line included (RFC 9112 §2.1, §5).
    pub(crate) fn parse(raw: Vec<u8>) -> io::Result<Self> {
        let text = std::str::from_utf8(&raw).map_err(|_| malformed("a head that is not UTF-8", &raw))?;
        let text = text.strip_suffix("\r\n\r\n").ok_or_else(|| malformed("a head without its end", &raw))?;
        let (first_line, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        if first_line.contains(['\r', '\n']) {
            return Err(malformed("a bare CR or LF", &raw));
        }
        let headers = parse_fields(fields)?;
        Ok(Self { first_line: first_line.to_owned(), headers, raw })
    }

    /// Returns the method and the target of a request line.
    pub(crate) fn request_line(&self) -> io::Result<(&str, &str)> {
        match self.first_line.split(' ').collect::<Vec<_>>()[..] {
            [method, target, "HTTP/1.1" | "HTTP/1.0"] => Ok((method, target)),
            _ => Err(malformed("a request line", self.first_line.as_bytes())),
        }
    }

    /// Returns the status code of a status line.
    pub(crate) fn status(&self) -> io::Result<u16> {
        let wrong = || malformed("a status line", self.first_line.as_bytes());
        let (version, rest) = self.first_line.split_once(' ').ok_or_else(wrong)?;
        // The space before an empty reason is mandatory (RFC 9112 §4).
        let (code, _reason) = rest.split_once(' ').ok_or_else(wrong)?;
        let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return Err(wrong());
        }
        code.parse().map_err(|_| wrong())
    }

    /// Returns the framing of a request's body.
    pub(crate) fn request_framing(&self) -> io::Result<Framing> {
        Ok(self.framing()?.unwrap_or(Framing::Length(0)))
    }

    /// Returns the framing of a response's body, to HEAD or to another method.
    pub(crate) fn response_framing(&self, to_head: bool) -> io::Result<Framing> {
        let status = self.status()?;
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Length(0));
        }
        Ok(self.framing()?.unwrap_or(Framing::UntilClose))
    }

    fn framing(&self) -> io::Result<Option<Framing>> {
        match (
            self.headers.all("transfer-encoding")[..].as_ref(),
            self.headers.all("content-length")[..].as_ref(),
        ) {
            ([], []) => Ok(None),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
                .parse()
                .map(|length| Some(Framing::Length(length)))
                .map_err(|_| malformed("a length", &self.raw)),
            _ => Err(malformed("ambiguous framing", &self.raw)),
        }
    }
}

/// Parses lines of fields, without the empty line after them.
pub(crate) fn parse_fields(lines: &str) -> io::Result<Headers> {
    let mut fields = Vec::new();
    for line in lines.split("\r\n").filter(|_| !lines.is_empty()) {
        let (name, value) =
            line.split_once(':').ok_or_else(|| malformed("a field without a colon", line.as_bytes()))?;
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(malformed("a field name", line.as_bytes()));
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err(malformed("a field value", line.as_bytes()));
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Headers(fields))
}

pub(crate) fn malformed(what: &str, bytes: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {}", bytes.escape_ascii()))
}
