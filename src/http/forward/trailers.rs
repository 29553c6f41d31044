//! The fields that may come after a body.

use http::{HeaderMap, HeaderName};

use super::is_unusual;

/// Removes fields that must not come in trailers (RFC 9110 §6.5.1): those that a recipient must know before the body,
/// and those that would change a decision already made by the header. It allocates only if there are such fields.
pub(crate) fn filter_trailers(trailers: &mut HeaderMap) {
    remove(trailers, is_forbidden);
}

/// Removes trailers whose names have characters other than letters, digits and dashes.
pub(crate) fn drop_unusual_trailers(trailers: &mut HeaderMap) {
    remove(trailers, is_unusual);
}

fn remove(trailers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: Vec<HeaderName> = trailers.keys().filter(|name| is_unwanted(name)).cloned().collect();
    for name in unwanted {
        trailers.remove(name);
    }
}

fn is_forbidden(name: &HeaderName) -> bool {
    if is_unusual(name) {
        // A recipient that joins trailers with the header may mistake it for the field that it looks like.
        let folded: String = name.as_str().replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        return is_forbidden_name(&folded);
    }
    is_forbidden_name(name.as_str())
}

fn is_forbidden_name(name: &str) -> bool {
    match name {
        // Framing and the connection.
        "connection" | "content-length" | "keep-alive" | "proxy-connection" | "te" | "trailer"
        | "transfer-encoding" | "upgrade" | "http2-settings" => true,
        // Routing.
        "forwarded" | "host" | "max-forwards" | "via" | "x-real-ip" => true,
        // Authentication and state.
        "authorization"
        | "cookie"
        | "set-cookie"
        | "www-authenticate"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-authentication-info" => true,
        // Modifiers of a request.
        "expect" | "range" | "cache-control" | "pragma" => true,
        // Control data of a response.
        "age" | "date" | "expires" | "location" | "retry-after" | "vary" | "warning" => true,
        // The format of the content.
        "content-encoding" | "content-range" | "content-type" => true,
        name => name.starts_with("x-forwarded-") || name.starts_with("if-"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    fn after(before: &[&str]) -> Vec<String> {
        let mut trailers = headers(before).into();
        filter_trailers(&mut trailers);
        lines(&trailers.into())
    }

    #[test]
    fn fields_needed_before_the_body_are_removed_from_trailers() {
        let forbidden = [
            "content-length",
            "transfer-encoding",
            "trailer",
            "connection",
            "host",
            "via",
            "x-forwarded-for",
            "authorization",
            "set-cookie",
            "if-none-match",
            "expect",
            "location",
            "cache-control",
            "content-type",
            "content-encoding",
            "te",
            "x_forwarded_for",
            "content_length",
            "if_none.match",
        ];
        for name in forbidden {
            let before = [&format!("{name}: 1"), "grpc-status: 0", &format!("{name}: 2")];
            assert_eq!(after(&before), ["grpc-status: 0"], "{name}");
        }
    }

    #[test]
    fn fields_known_only_after_the_body_stay_in_trailers() {
        let usual = [
            "digest: x",
            "etag: x",
            "grpc-message: ok",
            "grpc-status: 0",
            "server-timing: x",
            "x-checksum: y",
        ];
        assert_eq!(after(&usual), usual);
    }
}
