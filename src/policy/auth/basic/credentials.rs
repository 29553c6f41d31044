//! Credentials of the Basic scheme (RFC 7617).

use http::header;

use super::hash::PASSWORD_BYTES_MAX;
use crate::http::base64;
use crate::http::fields::Fields;

/// The most bytes of a user's name, as in `htpasswd`.
pub(super) const USER_BYTES_MAX: usize = 255;

/// The result of the search for credentials.
pub(super) enum Found {
    /// The request has none of this scheme.
    Absent,
    /// They are of this scheme and no credentials: broken base64 or UTF-8, no colon, control characters, or another field beside them.
    Malformed,
    /// They are longer than those of any user.
    TooLong,
    Credentials(BasicCredentials),
}

/// A user's name and password.
pub(super) struct BasicCredentials {
    text: String,
    /// The bytes before the colon.
    user: usize,
}

impl BasicCredentials {
    /// Finds the credentials of a request.
    pub(super) fn find(headers: &Fields) -> Found {
        let mut values = headers.get_all(header::AUTHORIZATION);
        let Some(value) = values.next() else { return Found::Absent };
        // A server that reads the last field and one that reads the first would see different users.
        let is_one = values.next().is_none();
        let Some(token) = token(value.as_bytes()) else {
            return match headers.get_all(header::AUTHORIZATION).any(|value| is_basic(value.as_bytes())) {
                true => Found::Malformed,
                false => Found::Absent,
            };
        };
        if !is_one {
            return Found::Malformed;
        }
        if token.len() > (USER_BYTES_MAX + 1 + PASSWORD_BYTES_MAX).div_ceil(3) * 4 {
            return Found::TooLong;
        }
        Self::decode(token).unwrap_or(Found::Malformed)
    }

    fn decode(token: &[u8]) -> Option<Found> {
        let text = String::from_utf8(base64::decode(token)?).ok()?;
        // The first colon ends the name; the password may have further ones (RFC 7617 §2).
        let user = text.find(':')?;
        if text.chars().any(char::is_control) {
            return None;
        }
        let credentials = Self { text, user };
        let is_short =
            credentials.user().len() <= USER_BYTES_MAX && credentials.password().len() <= PASSWORD_BYTES_MAX;
        Some(if is_short { Found::Credentials(credentials) } else { Found::TooLong })
    }

    pub(super) fn user(&self) -> &str {
        self.text.get(..self.user).unwrap_or_default()
    }

    pub(super) fn password(&self) -> &[u8] {
        self.text.as_bytes().get(self.user + 1..).unwrap_or_default()
    }
}

/// Returns true if a value of `Authorization` is of this scheme.
pub(super) fn is_basic(value: &[u8]) -> bool {
    token(value).is_some()
}

/// Returns what follows the name of the scheme (RFC 9110 §11.4), if it is this one.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(5)?;
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    scheme.eq_ignore_ascii_case(b"basic").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn find(values: &[&[u8]]) -> String {
        let mut headers = Fields::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        match BasicCredentials::find(&headers) {
            Found::Absent => "absent".to_owned(),
            Found::Malformed => "malformed".to_owned(),
            Found::TooLong => "too long".to_owned(),
            Found::Credentials(found) => {
                format!("{} / {}", found.user(), String::from_utf8_lossy(found.password()))
            }
        }
    }

    fn of(text: &[u8]) -> String {
        find(&[&[b"Basic ", &base64::encode(text)[..]].concat()])
    }

    #[test]
    fn credentials_are_those_of_the_rfc() {
        assert_eq!(find(&[b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]), "Aladdin / open sesame");
        assert_eq!(find(&[b"basic   dGVzdDoxMjPCow=="]), "test / 123\u{a3}");
        assert_eq!(of(b"a:b:c"), "a / b:c");
        assert_eq!(of(b":b"), " / b");
        assert_eq!(of(b"a:"), "a / ");
        assert_eq!(of("\u{fc}:\u{1f512}".as_bytes()), "\u{fc} / \u{1f512}");
    }

    #[test]
    fn other_schemes_are_absent() {
        for value in [&b"Bearer abc"[..], b"Basi", b"Basically dGVzdDoxMjPCow==", b""] {
            assert_eq!(find(&[value]), "absent", "{value:?}");
        }
        assert_eq!(find(&[]), "absent");
        assert_eq!(find(&[b"Bearer a", b"Bearer b"]), "absent");
    }

    #[test]
    fn credentials_that_can_be_read_in_two_ways_are_malformed() {
        for value in [&b"Basic"[..], b"Basic ", b"Basic !!!!", b"Basic QWxhZGRpbg==", b"Basic YTpi YTpi"] {
            assert_eq!(find(&[value]), "malformed", "{value:?}");
        }
        for text in [&b"a\0:b"[..], b"a:b\n", b"a:\x7f", b"a:\xfc", b"nocolon"] {
            assert_eq!(of(text), "malformed", "{text:?}");
        }
        assert_eq!(find(&[b"Basic YTpi", b"Basic YTpi"]), "malformed");
        assert_eq!(find(&[b"Bearer a", b"Basic YTpi"]), "malformed");
        assert_eq!(find(&[b"Basic YTpi", b"Bearer a"]), "malformed");
    }

    #[test]
    fn credentials_beyond_the_limits_are_too_long() {
        let most = |user: usize, password: usize| {
            of(format!("{}:{}", "u".repeat(user), "p".repeat(password)).as_bytes())
        };
        assert!(most(255, 512).starts_with("uuu"));
        assert_eq!(most(256, 1), "too long");
        assert_eq!(most(1, 513), "too long");
        assert_eq!(most(1, 30_000), "too long");
    }
}
