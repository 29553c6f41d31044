//! The end of a message (RFC 9112 §6). Framing that two parsers could read in two ways is rejected.

use http::{Method, StatusCode, Version};

use crate::http::error::FramingError;
use crate::http::message::may_have_body;

/// The way in which the length of a body is determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Everything until the connection closes; responses only.
    UntilClose,
}

/// The fields of a head that determine the end of its message and of its connection, collected while its lines are read.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FramingFields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl FramingFields {
    /// Records a Content-Length line.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.length.is_some() {
            return Err(FramingError::SeveralLengths);
        }
        self.length = Some(parse_length(value).ok_or(FramingError::MalformedLength)?);
        Ok(())
    }

    /// Records a Transfer-Encoding line.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(FramingError::UnknownEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// Records a Connection line.
    pub(crate) fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Returns true if the connection may serve another message after this one (RFC 9112 §9.3).
    pub(crate) fn persists(self, version: Version) -> bool {
        !self.close && (version >= Version::HTTP_11 || self.keep_alive)
    }

    /// Returns true if nothing in the head shows that the connection stays open: neither a length, nor chunks, nor
    /// `keep-alive`.
    pub(crate) fn is_silent(self) -> bool {
        self.length.is_none() && !self.chunked && !self.keep_alive
    }

    /// Returns the framing of a request (RFC 9112 §6.3).
    pub(crate) fn of_request(self, version: Version) -> Result<Framing, FramingError> {
        self.check(version)?;
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        })
    }

    /// Returns the framing of a response to `method` (RFC 9112 §6.3).
    pub(crate) fn of_response(
        self,
        version: Version,
        method: &Method,
        status: StatusCode,
    ) -> Result<Framing, FramingError> {
        self.check(version)?;
        if method == Method::HEAD || !may_have_body(status) {
            return Ok(Framing::None);
        }
        Ok(match self.length {
            _ if self.chunked => Framing::Chunked,
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }

    /// Returns the Content-Length as received. Responses to HEAD and 304 responses keep it.
    pub(crate) fn length(self) -> Option<u64> {
        self.length
    }

    fn check(self, version: Version) -> Result<(), FramingError> {
        if self.chunked && self.length.is_some() {
            return Err(FramingError::LengthAndEncoding);
        }
        if self.chunked && version < Version::HTTP_11 {
            return Err(FramingError::EncodingInHttp10);
        }
        Ok(())
    }
}

/// Parses `1*DIGIT` (RFC 9110 §8.6), at most 18 digits so that no sum of lengths overflows.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |length, digit| match digit {
        b'0'..=b'9' => Some(length * 10 + u64::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Result<FramingFields, FramingError> {
        let mut fields = FramingFields::default();
        for (name, value) in lines {
            match *name {
                "cl" => fields.content_length(value.as_bytes())?,
                _ => fields.transfer_encoding(value.as_bytes())?,
            }
        }
        Ok(fields)
    }

    fn request(lines: &[(&str, &str)]) -> Result<Framing, FramingError> {
        fields(lines)?.of_request(Version::HTTP_11)
    }

    #[test]
    fn requests_are_framed_by_one_unambiguous_field() {
        use FramingError::*;
        for (lines, expected) in [
            (&[][..], Ok(Framing::None)),
            (&[("cl", "0")], Ok(Framing::None)),
            (&[("cl", "12")], Ok(Framing::Length(12))),
            (&[("te", "chunked")], Ok(Framing::Chunked)),
            (&[("te", "Chunked")], Ok(Framing::Chunked)),
            (&[("cl", "5"), ("te", "chunked")], Err(LengthAndEncoding)),
            (&[("te", "chunked"), ("cl", "5")], Err(LengthAndEncoding)),
            (&[("cl", "5"), ("cl", "5")], Err(SeveralLengths)),
            (&[("cl", "5, 5")], Err(MalformedLength)),
            (&[("cl", "+5")], Err(MalformedLength)),
            (&[("cl", "")], Err(MalformedLength)),
            (&[("cl", "0x5")], Err(MalformedLength)),
            (&[("cl", "9999999999999999999")], Err(MalformedLength)),
            (&[("te", "gzip, chunked")], Err(UnknownEncoding)),
            (&[("te", "chunked"), ("te", "chunked")], Err(UnknownEncoding)),
            (&[("te", "identity")], Err(UnknownEncoding)),
            (&[("te", "xchunked")], Err(UnknownEncoding)),
        ] {
            assert_eq!(request(lines), expected, "{lines:?}");
        }
        let chunked = fields(&[("te", "chunked")]).unwrap();
        assert_eq!(chunked.of_request(Version::HTTP_10), Err(EncodingInHttp10));
    }

    #[test]
    fn responses_without_a_body_have_none_whatever_their_framing_fields_are() {
        let ten = fields(&[("cl", "10")]).unwrap();
        for (method, status, expected) in [
            (Method::GET, 200, Framing::Length(10)),
            (Method::HEAD, 200, Framing::None),
            (Method::GET, 204, Framing::None),
            (Method::GET, 304, Framing::None),
            (Method::GET, 100, Framing::None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(ten.of_response(Version::HTTP_11, &method, status).unwrap(), expected);
        }
        let none = FramingFields::default();
        assert_eq!(
            none.of_response(Version::HTTP_11, &Method::GET, StatusCode::OK).unwrap(),
            Framing::UntilClose
        );
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        for (version, connection, expected) in [
            (Version::HTTP_11, "", true),
            (Version::HTTP_11, "close", false),
            (Version::HTTP_11, "foo, Close", false),
            (Version::HTTP_10, "", false),
            (Version::HTTP_10, "Keep-Alive", true),
            (Version::HTTP_10, "keep-alive, close", false),
        ] {
            let mut fields = FramingFields::default();
            fields.connection(connection.as_bytes());
            assert_eq!(fields.persists(version), expected, "{version:?} {connection}");
        }
    }
}
