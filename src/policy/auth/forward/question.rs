//! The fields of a question about a request.

use http::{HeaderName, HeaderValue};

use super::settings::ForwardSettings;
use crate::config::Scheme;
use crate::http::fields::Fields;
use crate::policy::auth::credentials::Credentials;

/// The fields about the hops before, which a trusted peer may have begun.
const OF_HOPS: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// The fields about the request as Traefik and oauth2-proxy have them, and as nginx users do.
const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

impl ForwardSettings {
    /// Returns the fields of the question about a request: those that go along, and those that describe it. The path is the one that
    /// chooses the route and that upstreams get, not the one that a client may have disguised it as.
    pub(super) fn question(&self, request: &Credentials<'_, '_>) -> Fields {
        let goes_along =
            |name: &HeaderName| self.request_headers.contains(name) || OF_HOPS.contains(&name.as_str());
        let along = request.headers.iter().filter(|(name, _)| goes_along(name));
        let mut fields: Fields = along.map(|(name, value)| (name.clone(), value.clone())).collect();
        let authority = request.authority();
        // Fields of an untrusted client about the hops before it end here.
        request.context.forwarding.apply(&mut fields, authority);
        let uri = request.path_and_query();
        let url = match (authority, request.scheme()) {
            ("", _) => None,
            (host, Scheme::Http) => Some(format!("http://{host}{uri}")),
            (host, Scheme::Https) => Some(format!("https://{host}{uri}")),
        };
        let method = HeaderValue::from_str(request.context.method.as_str()).ok();
        for (name, value) in [
            (X_FORWARDED_METHOD, method.clone()),
            (X_FORWARDED_URI, HeaderValue::try_from(uri).ok()),
            (X_ORIGINAL_METHOD, method),
            (X_ORIGINAL_URL, url.and_then(|url| HeaderValue::try_from(url).ok())),
        ] {
            fields.remove(&name);
            fields.extend(value.map(|value| (name, value)));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use http::{Method, Uri};
    use serde_json::json;

    use super::*;
    use crate::http::forward::Forwarding;
    use crate::policy::auth::credentials::RequestContext;

    fn asked(is_trusted: bool, sent: &[(&'static str, &'static str)]) -> Vec<String> {
        let written = json!({
            "to": "a", "path": "/verify",
            "request_headers": ["cookie", "x-tenant", "x-real-ip", "x-forwarded-uri"],
        });
        let settings = ForwardSettings::new(&"w".into(), &serde_json::from_value(written).unwrap());
        let mut headers = Fields::written(sent);
        let mut target = Cow::Owned("/a/%2e%2e/b?q=1".parse::<Uri>().unwrap());
        let forwarding = Forwarding::new("192.0.2.1".parse().ok(), &http::uri::Scheme::HTTPS, is_trusted);
        let context = RequestContext {
            method: &Method::POST,
            path: "/b",
            forwarding: &forwarding,
            ..RequestContext::plain()
        };
        let request = Credentials { headers: &mut headers, target: &mut target, certificate: None, context };
        let fields = settings.question(&request);
        let mut lines: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn question_describes_the_request_and_takes_the_fields_that_go_along() {
        let sent = [
            ("host", "h.test"),
            ("cookie", "a=1"),
            ("authorization", "Bearer x"),
            ("x-tenant", "t"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "other.test"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-uri", "/public"),
            ("x-forwarded-method", "GET"),
            ("x-original-url", "http://public/"),
            ("x-real-ip", "10.0.0.1"),
            ("content-length", "5"),
            ("connection", "close"),
        ];
        let own = [
            "x-forwarded-method: POST",
            "x-forwarded-uri: /b?q=1",
            "x-original-method: POST",
            "x-tenant: t",
            "cookie: a=1",
        ];
        let untrusted = [
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: h.test",
            "x-forwarded-proto: https",
            "x-original-url: https://h.test/b?q=1",
        ];
        let trusted = [
            "x-forwarded-for: 10.0.0.1, 192.0.2.1",
            "x-forwarded-host: other.test",
            "x-forwarded-proto: http",
            "x-original-url: http://h.test/b?q=1",
            "x-real-ip: 10.0.0.1",
        ];
        for (is_trusted, rest) in [(false, &untrusted[..]), (true, &trusted)] {
            let mut expected = [&own[..], rest].concat();
            expected.sort_unstable();
            assert_eq!(asked(is_trusted, &sent), expected, "{is_trusted}");
        }
    }

    #[test]
    fn request_without_a_host_has_no_url() {
        let lines = asked(false, &[]);
        assert!(
            !lines.iter().any(|line| line.starts_with("x-original-url") || line.contains("-host")),
            "{lines:?}"
        );
    }
}
