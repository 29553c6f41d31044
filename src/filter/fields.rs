//! Names and values that a filter may put into a header section.

use http::{HeaderName, HeaderValue, header};

use crate::http::fields::Fields;
use crate::http::forward;

/// The error of an invalid field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldError;

/// Parses a field name written by a filter.
///
/// # Errors
/// Fails if the name is not a token (RFC 9110 §5.1). A filter can therefore put no line end or space into a head.
pub(crate) fn field_name(bytes: &[u8]) -> Result<HeaderName, FieldError> {
    HeaderName::from_bytes(bytes).map_err(|_| FieldError)
}

/// Converts a field value written by a filter. CR, LF and NUL could turn a value into another field or message, so they
/// become spaces (RFC 9110 §5.5). Other control characters cannot be sent and become spaces too.
pub(crate) fn field_value(bytes: &[u8]) -> HeaderValue {
    let trimmed = bytes.trim_ascii();
    HeaderValue::from_bytes(trimmed).unwrap_or_else(|_| {
        let clean: Vec<u8> = trimmed
            .iter()
            .map(|byte| if byte.is_ascii_control() && *byte != b'\t' { b' ' } else { *byte })
            .collect();
        HeaderValue::from_bytes(clean.trim_ascii()).unwrap_or(const { HeaderValue::from_static("") })
    })
}

/// Removes the fields that filters do not control: those of one connection (RFC 9110 §7.6.1), and the length of the
/// body, which is derived from the body itself.
pub(super) fn remove_framing(headers: &mut Fields) {
    forward::remove_hop_by_hop(headers);
    // The TE that remains on a request has no meaning on a response.
    headers.retain(|name, _| name != header::TE && name != header::CONTENT_LENGTH);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_begins_another_line() {
        for (written, is) in [
            (&b"plain"[..], &b"plain"[..]),
            (b" a\tb ", b"a\tb"),
            (b"a\r\nx-evil: 1", b"a  x-evil: 1"),
            (b"\na\0", b"a"),
            (b"caf\xe9", b"caf\xe9"),
            (b"\x7f", b""),
            (b"", b""),
        ] {
            assert_eq!(field_value(written).as_bytes(), is, "{written:?}");
        }
    }

    #[test]
    fn a_name_is_a_token_or_an_error() {
        assert_eq!(field_name(b"X-Name").map(|name| name.as_str().to_owned()), Ok("x-name".to_owned()));
        for bad in [&b""[..], b"a b", b"a:", b":path", b"a\r\nb", b"\xff"] {
            assert_eq!(field_name(bad), Err(FieldError), "{bad:?}");
        }
    }
}
