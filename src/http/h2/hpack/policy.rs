//! The indexing policy of the encoder: which fields go into the dynamic table.

use http::{HeaderName, HeaderValue};

use super::Pseudo;

/// The length from which a cookie is too long to be guessed. The table matches whole values only, so a guess has to
/// have all of one (RFC 7541 §7.1).
const COOKIE_BYTES_MIN: usize = 20;

/// The treatment of a field by the dynamic table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// The field goes into the table: its value is likely to repeat on the connection.
    Index,
    /// The field stays out of the table: its value rarely repeats, and would only evict others.
    Omit,
    /// The field stays out of the table, and all further encoders on its way keep it out of theirs. It is a secret,
    /// which an attacker who shares the connection could guess by the length of blocks (RFC 7541 §7.1).
    Never,
}

impl Policy {
    /// Returns the policy for a pseudo-header field. A path with a query rarely repeats; one without may be a method
    /// of gRPC.
    pub(super) fn of_pseudo(pseudo: Pseudo, value: &[u8]) -> Self {
        if pseudo == Pseudo::Path && value.contains(&b'?') { Self::Omit } else { Self::Index }
    }

    /// Returns the policy for a field; `static_index` is that of its name in the static table.
    pub(super) fn of_field(name: &HeaderName, static_index: Option<usize>, value: &HeaderValue) -> Self {
        if value.is_sensitive() {
            return Self::Never;
        }
        match static_index {
            Some(index) => Self::of_static(index, value.len()),
            None => match name.as_str() {
                "x-request-id" | "traceparent" | "tracestate" => Self::Omit,
                _ => Self::Index,
            },
        }
    }

    /// Returns the policy for a field by the index of its name. `date` goes into the table: a busy connection repeats
    /// it for a second, and on another one compression matters less.
    const fn of_static(index: usize, value_bytes: usize) -> Self {
        match index {
            AUTHORIZATION | PROXY_AUTHORIZATION => Self::Never,
            COOKIE | SET_COOKIE if value_bytes < COOKIE_BYTES_MIN => Self::Never,
            AGE | CONTENT_LENGTH | CONTENT_RANGE | ETAG | IF_MODIFIED_SINCE | IF_NONE_MATCH
            | LAST_MODIFIED | LOCATION | SET_COOKIE => Self::Omit,
            _ => Self::Index,
        }
    }
}

// Indices of names in the static table (RFC 7541 Appendix A).
const AGE: usize = 21;
const AUTHORIZATION: usize = 23;
const CONTENT_LENGTH: usize = 28;
const CONTENT_RANGE: usize = 30;
const COOKIE: usize = 32;
const ETAG: usize = 34;
const IF_MODIFIED_SINCE: usize = 40;
const IF_NONE_MATCH: usize = 41;
const LAST_MODIFIED: usize = 44;
const LOCATION: usize = 46;
const PROXY_AUTHORIZATION: usize = 49;
const SET_COOKIE: usize = 55;

#[cfg(test)]
mod tests {
    use super::super::static_table;
    use super::*;

    #[test]
    fn fields_have_the_policy_of_their_name_and_value() {
        use Policy::*;
        let (short, long) = ("session=1", "session=0123456789ab");
        for (name, value, expected) in [
            ("accept", "*/*", Index),
            ("x-other", "1", Index),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT", Index),
            ("authorization", "Bearer 1", Never),
            ("proxy-authorization", "Basic 1", Never),
            ("cookie", short, Never),
            ("cookie", long, Index),
            ("set-cookie", short, Never),
            ("set-cookie", long, Omit),
            ("age", "1", Omit),
            ("content-length", "1", Omit),
            ("content-range", "bytes 0-1/2", Omit),
            ("etag", "\"1\"", Omit),
            ("if-modified-since", "1", Omit),
            ("if-none-match", "\"1\"", Omit),
            ("last-modified", "1", Omit),
            ("location", "/", Omit),
            ("traceparent", "00", Omit),
            ("tracestate", "a=1", Omit),
            ("x-request-id", "1", Omit),
        ] {
            let name = HeaderName::from_static(name);
            let mut value = HeaderValue::from_static(value);
            let policy = |value: &HeaderValue| {
                Policy::of_field(&name, static_table::field_index(name.as_str()), value)
            };
            assert_eq!(policy(&value), expected, "{name}");
            value.set_sensitive(true);
            assert_eq!(policy(&value), Never, "{name}");
        }
        for (pseudo, value, expected) in [
            (Pseudo::Path, "/pets.v1.Pets/List", Index),
            (Pseudo::Path, "/pets?page=2", Omit),
            (Pseudo::Authority, "example.com", Index),
        ] {
            assert_eq!(Policy::of_pseudo(pseudo, value.as_bytes()), expected, "{value}");
        }
    }
}
