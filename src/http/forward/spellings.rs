//! Spellings of a field's name that some upstreams take for the field itself.
//!
//! CGI (RFC 3875 §4.1.18), and with it PHP, WSGI and FastCGI, turns `-` into `_` in the names that programs see. A few
//! servers do so with every character other than letters and digits. To such a program `X_Real_IP` and `X-Real-IP` are
//! one field. A client could thus smuggle a field past the gateway that the gateway sets or removes under its own name.

use http::HeaderName;

/// Returns true if `name` and `field` are equal when all characters other than letters and digits count as the same.
/// Both are in lower case.
fn folds_to(name: &[u8], field: &[u8]) -> bool {
    name.len() == field.len() && begins_like(name, field)
}

/// Returns true if `name` begins with `prefix` by the rule of [`folds_to`].
fn begins_like(name: &[u8], prefix: &[u8]) -> bool {
    let is_same = |(one, other): (&u8, &u8)| {
        one == other || !(one.is_ascii_alphanumeric() || other.is_ascii_alphanumeric())
    };
    name.len() >= prefix.len() && name.iter().zip(prefix).all(is_same)
}

/// Returns true if `name` is another spelling of `field`, and not `field` itself.
#[inline]
pub(crate) fn is_spelling_of(name: &HeaderName, field: &HeaderName) -> bool {
    // Most names differ in their length or in their first letter.
    folds_to(name.as_str().as_bytes(), field.as_str().as_bytes()) && name != field
}

/// Returns true if a field's name can have another spelling.
pub(crate) fn has_spellings(field: &HeaderName) -> bool {
    field.as_str().bytes().any(|byte| !byte.is_ascii_alphanumeric())
}

/// Returns true if `name` has a character other than letters, digits and dashes.
pub(crate) fn is_unusual(name: &HeaderName) -> bool {
    is_unusual_name(name.as_str())
}

fn is_unusual_name(name: &str) -> bool {
    name.bytes().any(|byte| !byte.is_ascii_alphanumeric() && byte != b'-')
}

/// Returns true if `name` is a field by which a client could pass for another one: `Forwarded`, `X-Real-IP`,
/// `X-Forwarded-…`, in any spelling. `name` is in lower case.
#[inline]
pub(super) fn is_identity(name: &str) -> bool {
    // The first letter is compared first, because every field of every request is checked.
    match name.as_bytes() {
        [b'x', ..] => {
            begins_like(name.as_bytes(), b"x-forwarded-") || folds_to(name.as_bytes(), b"x-real-ip")
        }
        [b'f', ..] => name == "forwarded",
        _ => false,
    }
}

/// The fields of the connection and of the message's length, which the gateway writes itself.
const WRITTEN_HERE: [&str; 8] = [
    "keep-alive",
    "content-length",
    "http2-settings",
    "proxy-connection",
    "transfer-encoding",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// A bit set of the lengths of these names.
#[allow(clippy::indexing_slicing, reason = "the loop ends with the array")]
const LENGTHS: u32 = {
    let (mut lengths, mut index) = (0, 0);
    while index < WRITTEN_HERE.len() {
        lengths |= 1 << WRITTEN_HERE[index].len();
        index += 1;
    }
    lengths
};

/// Returns true if `name`, in lower case, is another spelling of a field that the gateway writes itself.
#[inline]
pub(super) fn is_disguise(name: &str) -> bool {
    // The length is compared first, because every field of every request is checked.
    name.len() < 32 && LENGTHS & (1 << name.len()) != 0 && is_spelling_of_written(name)
}

fn is_spelling_of_written(name: &str) -> bool {
    let is_spelling = |field: &&str| folds_to(name.as_bytes(), field.as_bytes()) && name != *field;
    WRITTEN_HERE.iter().any(is_spelling)
}

/// Returns true if `name`, in lower case, is an identity field in another spelling.
pub(super) fn is_disguised_identity(name: &str) -> bool {
    name.starts_with('x') && is_identity(name) && is_unusual_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spelling_differs_from_its_field_in_what_is_neither_letter_nor_digit() {
        for (name, field, expected) in [
            ("x_user", "x-user", true),
            ("x.user", "x-user", true),
            ("x-user", "x_user", true),
            ("x~a|b", "x-a-b", true),
            ("x-user", "x-user", false),
            ("x_users", "x-user", false),
            ("x1user", "x-user", false),
            ("xuser", "x-user", false),
            ("y_user", "x-user", false),
        ] {
            let parse = |name: &str| name.parse::<HeaderName>().unwrap();
            assert_eq!(is_spelling_of(&parse(name), &parse(field)), expected, "{name} {field}");
        }
    }

    #[test]
    fn identity_is_recognised_in_each_spelling() {
        for name in [
            "x_forwarded_for",
            "x-forwarded_for",
            "x_forwarded-proto",
            "x.forwarded.host",
            "x_forwarded_anything",
            "x-forwarded-any_thing",
            "x_real_ip",
            "x-real.ip",
        ] {
            assert!(is_identity(name) && is_disguised_identity(name), "{name}");
        }
        for name in ["forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-any-thing"] {
            assert!(is_identity(name) && !is_disguised_identity(name), "{name}");
        }
        for name in ["x_request_id", "xforwardedfor", "x_forwarded", "x_real_ips", "forwarded_", "accept"] {
            assert!(!is_identity(name), "{name}");
        }
    }

    #[test]
    fn disguises_are_spellings_of_what_the_gateway_writes_itself() {
        for name in [
            "content_length",
            "transfer_encoding",
            "keep_alive",
            "proxy_connection",
            "proxy_authorization",
            "proxy_authenticate",
            "proxy_authentication-info",
            "http2_settings",
        ] {
            assert!(is_disguise(name), "{name}");
        }
        for name in [
            "content-length",
            "transfer-encoding",
            "content_type",
            "user_agent",
            "api_key",
            "x_forwarded_for",
        ] {
            assert!(!is_disguise(name), "{name}");
        }
    }
}
