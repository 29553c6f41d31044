//! The gateway's mark in `Via`.

use http::header::VIA;
use http::{HeaderValue, Version};

use crate::http::fields::Fields;

/// Appends the gateway to `Via`, for a message that came in `version` of HTTP (RFC 9110 §7.6.3); for requests
/// and responses. The name is a pseudonym: who runs where is not told.
pub(crate) fn via(headers: &mut Fields, version: Version) {
    let value = match version {
        Version::HTTP_2 => const { HeaderValue::from_static("2 gateway") },
        Version::HTTP_3 => const { HeaderValue::from_static("3 gateway") },
        Version::HTTP_10 | Version::HTTP_09 => const { HeaderValue::from_static("1.0 gateway") },
        _ => const { HeaderValue::from_static("1.1 gateway") },
    };
    // A line of its own means the same as a member at the end of the line before (RFC 9110 §5.3).
    headers.append(VIA, value);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    #[test]
    fn the_gateway_comes_after_those_before_it() {
        let mut headers = headers(&["via: 1.0 other"]);
        via(&mut headers, Version::HTTP_11);
        via(&mut headers, Version::HTTP_2);
        assert_eq!(lines(&headers), ["via: 1.0 other", "via: 1.1 gateway", "via: 2 gateway"]);
    }
}
