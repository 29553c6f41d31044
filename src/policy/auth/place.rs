//! The part of a request that has a token or a key.

use http::header;

use crate::config::{CookieName, HeaderName, ParameterName, TokenPlace};
use crate::http::parts::{cookies, parameters, remove_cookies};
use crate::policy::auth::credentials::Credentials;

/// The scheme of tokens in `Authorization` (RFC 6750 §2.1).
const BEARER: &[u8] = b"bearer";

/// The part of a request that has a token or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `Authorization`, behind `Bearer`.
    Bearer,
    /// `Authorization`, behind any scheme.
    AnyScheme,
    /// A field, with `Bearer` or without it.
    Header(HeaderName),
    Cookie(CookieName),
    Query(ParameterName),
}

/// The reason for which a place has no single text: each reader could take another one for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misplaced {
    Several,
    NotText,
}

impl Place {
    /// Returns the place of a token.
    pub(super) fn of_token(written: TokenPlace) -> Self {
        match written {
            TokenPlace::Bearer => Self::Bearer,
            TokenPlace::Header(name) => Self::Header(name),
            TokenPlace::Cookie(name) => Self::Cookie(name),
            TokenPlace::Query(name) => Self::Query(name),
        }
    }

    /// Returns the place of a key. In `Authorization`, any scheme stands before it.
    pub(super) fn of_key(written: TokenPlace) -> Self {
        match Self::of_token(written) {
            Self::Header(name) if *name.as_http() == header::AUTHORIZATION => Self::AnyScheme,
            place => place,
        }
    }

    /// Returns the token or the key, if there is one.
    ///
    /// # Errors
    /// Fails if there are several, or one that is not text.
    pub(super) fn find<'r>(&'r self, request: &'r Credentials<'_, '_>) -> Result<Option<&'r str>, Misplaced> {
        let lines = |name| request.headers.get_all(name).map(http::HeaderValue::as_bytes);
        match self {
            Self::Bearer => one(lines(&header::AUTHORIZATION).filter_map(of_bearer)),
            Self::AnyScheme => one(lines(&header::AUTHORIZATION).filter_map(of_any_scheme)),
            Self::Header(name) => one(lines(name.as_http()).map(|value| of_bearer(value).unwrap_or(value))),
            Self::Cookie(name) => one(cookies(request.headers, name.as_str())),
            Self::Query(name) => {
                let query = request.target.query().unwrap_or_default();
                one(parameters(query, name.as_str()).map(str::as_bytes))
            }
        }
    }

    /// Removes the token or the key.
    pub(super) fn remove(&self, request: &mut Credentials<'_, '_>) {
        match self {
            Self::Bearer => request
                .headers
                .retain(|name, value| name != header::AUTHORIZATION || of_bearer(value.as_bytes()).is_none()),
            Self::AnyScheme => drop(request.headers.remove(header::AUTHORIZATION)),
            Self::Header(name) => drop(request.headers.remove(name.as_http())),
            Self::Cookie(name) => remove_cookies(request.headers, name.as_str()),
            Self::Query(name) => request.remove_parameter(name.as_str()),
        }
    }
}

/// Returns the only value.
fn one<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Result<Option<&'v str>, Misplaced> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Misplaced::Several);
    }
    std::str::from_utf8(value).map(Some).map_err(|_| Misplaced::NotText)
}

/// Returns the token behind the scheme `Bearer`, in any letter case; `None` for another scheme.
fn of_bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && rest.first().is_none_or(|byte| *byte == b' ');
    is_bearer.then(|| rest.trim_ascii())
}

/// Returns the text behind the scheme.
fn of_any_scheme(value: &[u8]) -> Option<&[u8]> {
    let scheme = value.iter().position(|byte| *byte == b' ')?;
    value.get(scheme..).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::Uri;

    use super::*;
    use crate::http::fields::Fields;
    use crate::policy::auth::credentials::RequestContext;

    type Found = Result<Option<&'static str>, Misplaced>;

    #[test]
    fn token_is_found_in_its_place_and_removed() {
        const NONE: Found = Ok(None);
        let cases: &[(&str, &[(&str, &str)], &str, Found)] = &[
            ("bearer", &[("authorization", "Bearer a.b.c")], "/", Ok(Some("a.b.c"))),
            ("bearer", &[("authorization", "bEARER  a.b.c ")], "/", Ok(Some("a.b.c"))),
            ("bearer", &[("authorization", "Bearer")], "/", Ok(Some(""))),
            (
                "bearer",
                &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
                "/",
                Err(Misplaced::Several),
            ),
            ("bearer", &[], "/", NONE),
            ("header:x-token", &[("x-token", "a.b.c")], "/", Ok(Some("a.b.c"))),
            ("header:x-token", &[("x-token", "Bearer a.b.c")], "/", Ok(Some("a.b.c"))),
            ("header:x-token", &[("x-token", "a"), ("x-token", "b")], "/", Err(Misplaced::Several)),
            ("cookie:t", &[("cookie", "t=a.b.c")], "/", Ok(Some("a.b.c"))),
            ("cookie:t", &[("cookie", "t=a; t=b")], "/", Err(Misplaced::Several)),
            ("query:t", &[], "/?t=a.b.c", Ok(Some("a.b.c"))),
            ("query:t", &[], "/?t=a&t=b", Err(Misplaced::Several)),
            ("query:t", &[], "/", NONE),
        ];
        for (place, fields, target, expected) in cases {
            let place = Place::of_token(place.parse().unwrap());
            let mut headers = Fields::written(fields);
            let mut target = Cow::Owned(target.parse::<Uri>().unwrap());
            let context = RequestContext::plain();
            let mut request =
                Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
            assert_eq!(place.find(&request), *expected, "{place:?} {fields:?}");
            place.remove(&mut request);
            assert_eq!((headers.len(), target.query()), (0, None), "{place:?} {fields:?}");
        }
    }

    #[test]
    fn credentials_of_another_scheme_are_left_alone() {
        for value in ["Basic YTpi", "BearerX a.b.c", "Bear", ""] {
            let place = Place::Bearer;
            let mut headers = Fields::written(&[("authorization", value)]);
            let mut target = Cow::Owned(Uri::from_static("/"));
            let context = RequestContext::plain();
            let mut request =
                Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
            assert_eq!(place.find(&request), Ok(None), "{value}");
            place.remove(&mut request);
            assert_eq!(headers.len(), 1);
        }
    }

    #[test]
    fn key_in_authorization_is_behind_any_scheme() {
        for (value, expected) in
            [("ApiKey k1", Some("k1")), ("Bearer  k1", Some("k1")), ("Basic", None), ("k1", None)]
        {
            let place = Place::of_key("header:authorization".parse().unwrap());
            let mut headers = Fields::written(&[("authorization", value)]);
            let mut target = Cow::Owned(Uri::from_static("/"));
            let context = RequestContext::plain();
            let mut request =
                Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
            assert_eq!(place.find(&request), Ok(expected), "{value}");
            place.remove(&mut request);
            assert_eq!(headers.len(), 0);
        }
    }
}
