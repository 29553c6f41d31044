//! The answer of a server to a question about a request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::failure::Failure;
use super::settings::ForwardSettings;
use crate::http::fields::Fields;
use crate::http::message::Response;
use crate::policy::identity::Identity;

/// The fields of a denial that the client gets: those that say what to do next, what the body is, and what a browser may do with it. Others
/// would reveal the server, or contradict the gateway: `Server`, `Access-Control-…`, the length of the body.
const OF_DENIALS: [&str; 22] = [
    "cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-security-policy",
    "content-type",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "pragma",
    "referrer-policy",
    "refresh",
    "retry-after",
    "set-cookie",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-frame-options",
];

/// The decision of a server about a request.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Admitted(Admitted),
    /// The response for the client.
    Denied(Response<Bytes>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Admitted {
    pub(super) identity: Arc<Identity>,
    /// The fields that the request gets.
    pub(super) request: Fields,
    /// The fields that the response gets.
    pub(super) response: Fields,
}

impl ForwardSettings {
    /// Reads the decision in an answer.
    pub(super) fn read(&self, answer: Response<Bytes>) -> Result<Answer, Failure> {
        let status = answer.status;
        if status.is_success() {
            return Ok(Answer::Admitted(self.admitted(&answer.headers)));
        }
        // A client could take the 304 for the resource itself, of which it may have a copy.
        let is_decided = status.is_client_error() || status.is_redirection();
        if !is_decided || status == StatusCode::NOT_MODIFIED {
            return Err(Failure::Undecided(status.as_u16()));
        }
        let headers = picked(&answer.headers, |name| {
            OF_DENIALS.contains(&name.as_str()) || self.client_headers.contains(name)
        });
        Ok(Answer::Denied(Response { status, headers, body: answer.body }))
    }

    fn admitted(&self, headers: &Fields) -> Admitted {
        let claims = self.response_headers.iter().filter_map(|name| {
            let values: Vec<&str> = headers.get_all(name).filter_map(text).collect();
            (!values.is_empty()).then(|| (name.as_str().to_owned(), Value::from(values.join(", "))))
        });
        let subject = self.identity.as_ref().and_then(|name| headers.get(name)).and_then(text);
        let identity = Identity {
            way: self.way.clone(),
            subject: subject.unwrap_or_default().into(),
            claims: claims.collect::<Map<_, _>>(),
        };
        Admitted {
            identity: Arc::new(identity),
            request: picked(headers, |name| self.response_headers.contains(name)),
            response: picked(headers, |name| self.client_headers.contains(name)),
        }
    }
}

impl Answer {
    /// Returns true if the answer is for a single request: it sets a cookie at the client.
    pub(super) fn is_personal(&self) -> bool {
        match self {
            Self::Admitted(admitted) => admitted.response.contains_key(header::SET_COOKIE),
            Self::Denied(response) => response.headers.contains_key(header::SET_COOKIE),
        }
    }

    /// Returns the bytes that the answer takes in memory, by estimate.
    pub(super) fn bytes(&self) -> usize {
        let of = |fields: &Fields| -> usize {
            // Values may share the bytes of a whole head.
            fields.iter().map(|(name, value)| 64 + name.as_str().len() + value.len()).sum()
        };
        match self {
            // Each field of the request is a claim, too.
            Self::Admitted(admitted) => {
                256 + 2 * of(&admitted.request) + of(&admitted.response) + admitted.identity.subject.len()
            }
            Self::Denied(response) => 256 + of(&response.headers) + response.body.len(),
        }
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes()).ok()
}

/// Returns copies of the fields with these names. They hold no other part of the head that they were read from.
fn picked(headers: &Fields, is_wanted: impl Fn(&HeaderName) -> bool) -> Fields {
    let wanted = headers.iter().filter(|(name, _)| is_wanted(name));
    wanted
        .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value.as_bytes()).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ForwardSettings {
        ForwardSettings {
            way: "w".into(),
            method: http::Method::GET,
            target: "/".to_owned(),
            timeout: std::time::Duration::from_secs(1),
            request_headers: [].into(),
            response_headers: ["x-plan", "x-token"].map(HeaderName::from_static).into(),
            client_headers: [header::SET_COOKIE].into(),
            identity: Some(HeaderName::from_static("x-user")),
            is_open: false,
            cache: None,
        }
    }

    fn read(status: u16, headers: &[(&'static str, &'static str)]) -> Result<Answer, Failure> {
        let status = StatusCode::from_u16(status).unwrap();
        settings().read(Response { status, headers: Fields::written(headers), body: Bytes::from("body") })
    }

    #[test]
    fn answer_admits_or_is_for_the_client_or_is_none() {
        for status in [200, 204, 206] {
            assert!(matches!(read(status, &[]), Ok(Answer::Admitted(_))), "{status}");
        }
        for status in [301, 302, 303, 307, 400, 401, 403, 404, 429] {
            assert!(matches!(read(status, &[]), Ok(Answer::Denied(_))), "{status}");
        }
        for status in [304, 500, 502, 503, 599, 100, 600] {
            assert_eq!(read(status, &[]), Err(Failure::Undecided(status)));
        }
    }

    #[test]
    fn request_and_client_get_only_the_fields_that_are_listed() {
        let answer = read(
            200,
            &[
                ("x-user", "ann"),
                ("x-plan", "gold"),
                ("x-plan", "new"),
                ("x-other", "1"),
                ("set-cookie", "a=1"),
                ("location", "/"),
            ],
        );
        let Ok(Answer::Admitted(admitted)) = answer else { panic!("{answer:?}") };
        assert_eq!(admitted.request, Fields::written(&[("x-plan", "gold"), ("x-plan", "new")]));
        assert_eq!(admitted.response, Fields::written(&[("set-cookie", "a=1")]));
        assert_eq!(&*admitted.identity.subject, "ann");
        assert_eq!(admitted.identity.text("x-plan").as_deref(), Some("gold, new"));
        assert_eq!(admitted.identity.text("x-token"), None);
    }

    #[test]
    fn denial_has_the_fields_that_a_client_needs() {
        let answer = read(
            302,
            &[
                ("server", "s"),
                ("location", "/login"),
                ("content-length", "4"),
                ("x-token", "secret"),
                ("set-cookie", "a=1"),
                ("access-control-allow-origin", "*"),
            ],
        );
        let expected = Fields::written(&[("location", "/login"), ("set-cookie", "a=1")]);
        let Ok(Answer::Denied(response)) = answer else { panic!("{answer:?}") };
        assert_eq!((response.status, response.headers), (StatusCode::FOUND, expected));
        assert_eq!(&*response.body, b"body");
    }
}
