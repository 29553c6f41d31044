//! The part of a request that has its token.

use http::header;

use super::failure::Failure;
use crate::config::TokenPlace;
use crate::http::parts::{cookies, remove_cookies};
use crate::policy::auth::credentials::Credentials;

/// The scheme of tokens in `Authorization` (RFC 6750 §2.1).
const BEARER: &[u8] = b"bearer";

/// The part of a request that has its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(TokenPlace);

impl Place {
    pub(super) fn new(written: &TokenPlace) -> Self {
        Self(written.clone())
    }

    /// Returns the token, if there is one.
    ///
    /// # Errors
    /// There is more than one, or one that is not text: each reader could take another for the token.
    pub(super) fn token<'r>(&'r self, request: &'r Credentials<'_, '_>) -> Result<Option<&'r str>, Failure> {
        match &self.0 {
            TokenPlace::Bearer => {
                let fields = request.headers.get_all(header::AUTHORIZATION);
                one(fields.filter_map(|value| of_scheme(value.as_bytes())))
            }
            TokenPlace::Header(name) => {
                let fields = request.headers.get_all(name.as_http()).map(|value| value.as_bytes());
                one(fields.map(|value| of_scheme(value).unwrap_or(value)))
            }
            TokenPlace::Cookie(name) => one(cookies(request.headers, name.as_str())),
            TokenPlace::Query(name) => {
                let parameters = request.target.query().unwrap_or_default().split('&');
                let named = parameters.filter_map(|parameter| {
                    let (written, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                    (written == name).then_some(value.as_bytes())
                });
                one(named)
            }
        }
    }

    /// Removes the token.
    pub(super) fn remove(&self, request: &mut Credentials<'_, '_>) {
        match &self.0 {
            TokenPlace::Bearer => request
                .headers
                .retain(|name, value| name != header::AUTHORIZATION || of_scheme(value.as_bytes()).is_none()),
            TokenPlace::Header(name) => drop(request.headers.remove(name.as_http())),
            TokenPlace::Cookie(name) => remove_cookies(request.headers, name.as_str()),
            TokenPlace::Query(name) => request.remove_parameter(name),
        }
    }
}

/// Returns the only value.
fn one<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Result<Option<&'v str>, Failure> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::Several);
    }
    std::str::from_utf8(value).map(Some).map_err(|_| Failure::Malformed)
}

/// Returns the token behind the scheme `Bearer`, in any letter case; `None` for another scheme.
fn of_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && rest.first().is_none_or(|byte| *byte == b' ');
    is_bearer.then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::Uri;

    use super::*;
    use crate::http::fields::Fields;

    type Found = Result<Option<&'static str>, Failure>;

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
                Err(Failure::Several),
            ),
            ("bearer", &[], "/", NONE),
            ("header:x-token", &[("x-token", "a.b.c")], "/", Ok(Some("a.b.c"))),
            ("header:x-token", &[("x-token", "Bearer a.b.c")], "/", Ok(Some("a.b.c"))),
            ("header:x-token", &[("x-token", "a"), ("x-token", "b")], "/", Err(Failure::Several)),
            ("cookie:t", &[("cookie", "t=a.b.c")], "/", Ok(Some("a.b.c"))),
            ("cookie:t", &[("cookie", "t=a; t=b")], "/", Err(Failure::Several)),
            ("query:t", &[], "/?t=a.b.c", Ok(Some("a.b.c"))),
            ("query:t", &[], "/?t=a&t=b", Err(Failure::Several)),
            ("query:t", &[], "/", NONE),
        ];
        for (place, fields, target, expected) in cases {
            let place = Place::new(&place.parse().unwrap());
            let mut headers = Fields::written(fields);
            let mut target = Cow::Owned(target.parse::<Uri>().unwrap());
            let mut request = Credentials { headers: &mut headers, target: &mut target, certificate: None };
            assert_eq!(place.token(&request), *expected, "{place:?} {fields:?}");
            place.remove(&mut request);
            assert_eq!((headers.len(), target.query()), (0, None), "{place:?} {fields:?}");
        }
    }

    #[test]
    fn credentials_of_another_scheme_are_left_alone() {
        for value in ["Basic YTpi", "BearerX a.b.c", "Bear", ""] {
            let place = Place::new(&TokenPlace::Bearer);
            let mut headers = Fields::written(&[("authorization", value)]);
            let mut target = Cow::Owned(Uri::from_static("/"));
            let mut request = Credentials { headers: &mut headers, target: &mut target, certificate: None };
            assert_eq!(place.token(&request), Ok(None), "{value}");
            place.remove(&mut request);
            assert_eq!(headers.len(), 1);
        }
    }
}
