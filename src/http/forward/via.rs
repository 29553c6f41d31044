//! The gateway's entry in `Via`.

use http::header::VIA;
use http::{HeaderValue, Version};

use crate::http::fields::Fields;

/// Appends the gateway to the `Via` of a request or response that arrived in `version` of HTTP (RFC 9110 §7.6.3). The
/// name is a pseudonym, which reveals nothing about the host.
pub(crate) fn via(headers: &mut Fields, version: Version) {
    let value = match version {
        Version::HTTP_2 => const { HeaderValue::from_static("2 gateway") },
        Version::HTTP_3 => const { HeaderValue::from_static("3 gateway") },
        Version::HTTP_10 | Version::HTTP_09 => const { HeaderValue::from_static("1.0 gateway") },
        _ => const { HeaderValue::from_static("1.1 gateway") },
    };
    // A separate line means the same as a member at the end of the previous line (RFC 9110 §5.3).
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
