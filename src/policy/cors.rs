//! Cross-origin resource sharing, as the Fetch standard defines it.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::config;
use crate::config::OriginPattern;
use crate::http::fields::Fields;
use crate::http::forward::list_members;
use crate::http::message::Response;

const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");

/// The pages that may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cors {
    origins: Box<[OriginPattern]>,
    methods: Permitted,
    headers: Permitted,
    /// The value of `Access-Control-Expose-Headers`, if any field is exposed.
    expose: Option<HeaderValue>,
    credentials: bool,
    /// The value of `Access-Control-Max-Age`.
    max_age: Option<HeaderValue>,
    private_network: bool,
}

/// The methods or fields that a page may use.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Permitted {
    /// Everything that the browser asks for. `*` would not do: with credentials it is no wildcard, and it never stands for `Authorization`.
    Asked,
    /// This list; `None` for an empty one.
    Listed(Option<HeaderValue>),
}

/// The fields that make a response readable for a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sharing {
    fields: Fields,
    /// The names that the response depends on.
    vary: Option<&'static str>,
    is_preflight: bool,
}

/// Returns the method that a preflight request asks for; `None` for any other request.
pub(crate) fn preflight_method(method: &Method, headers: &Fields) -> Option<Method> {
    if method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
        return None;
    }
    Method::from_bytes(headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

/// Returns the response to a preflight request, without the fields of [`Sharing`].
pub(crate) fn preflight_response() -> Response<Bytes> {
    Response { status: StatusCode::NO_CONTENT, headers: Fields::new(), body: Bytes::new() }
}

impl Cors {
    pub(crate) fn new(written: &config::Cors) -> Self {
        let methods: Vec<String> = match &written.methods {
            Some(methods) => methods.iter().map(ToString::to_string).collect(),
            None => ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
        };
        let names = |names: &[config::HeaderName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        Self {
            origins: written.origins.clone().into(),
            methods: Permitted::new(&methods),
            headers: Permitted::new(&names(&written.headers)),
            expose: list(&names(&written.expose)),
            credentials: written.credentials,
            max_age: written.max_age.map(|age| HeaderValue::from(std::time::Duration::from(age).as_secs())),
            private_network: written.private_network,
        }
    }

    /// Returns the fields of the response to a request. A page that may not use the route gets none, so that its browser keeps the
    /// response from it.
    pub(crate) fn request(&self, method: &Method, headers: &Fields) -> Sharing {
        let mut fields = Fields::new();
        let is_open = !self.credentials && self.origins.contains(&OriginPattern::Any);
        let asked = preflight_method(method, headers);
        if let Some(origin) = headers.get(ORIGIN).filter(|origin| self.has(origin)) {
            let any = const { HeaderValue::from_static("*") };
            fields.append(ACCESS_CONTROL_ALLOW_ORIGIN, if is_open { any } else { origin.clone() });
            if self.credentials {
                fields.append(ACCESS_CONTROL_ALLOW_CREDENTIALS, const { HeaderValue::from_static("true") });
            }
            match &asked {
                Some(_) => self.preflight(headers, &mut fields),
                None => {
                    fields.extend(self.expose.clone().map(|names| (ACCESS_CONTROL_EXPOSE_HEADERS, names)));
                }
            }
        }
        let is_preflight = asked.is_some();
        let vary = match (is_preflight, is_open) {
            (true, _) => Some("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
            (false, true) => None,
            // Without an origin, too, or a cache would give that response to a page.
            (false, false) => Some("Origin"),
        };
        Sharing { fields, vary, is_preflight }
    }

    fn has(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.origins.iter().any(|pattern| pattern.has(origin)))
    }

    /// Adds the fields of a response to a preflight request.
    fn preflight(&self, headers: &Fields, fields: &mut Fields) {
        for (name, permitted, asked) in [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods, ACCESS_CONTROL_REQUEST_METHOD),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers, ACCESS_CONTROL_REQUEST_HEADERS),
        ] {
            let value = match permitted {
                Permitted::Asked => headers.get(asked).cloned(),
                Permitted::Listed(list) => list.clone(),
            };
            fields.extend(value.map(|value| (name, value)));
        }
        fields.extend(self.max_age.clone().map(|age| (ACCESS_CONTROL_MAX_AGE, age)));
        if self.private_network && headers.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            fields.append(ALLOW_PRIVATE_NETWORK, const { HeaderValue::from_static("true") });
        }
    }
}

impl Permitted {
    fn new(names: &[String]) -> Self {
        if names.iter().any(|name| name == "*") { Self::Asked } else { Self::Listed(list(names)) }
    }
}

impl Sharing {
    /// Returns true if the request only asks for permission: the gateway responds to it.
    pub(crate) fn is_preflight(&self) -> bool {
        self.is_preflight
    }

    /// Puts the fields into a response. Those of the upstream go: two answers to one question make a browser refuse both.
    pub(crate) fn finish(&self, headers: &mut Fields) {
        headers.retain(|name, _| !name.as_str().starts_with("access-control-"));
        headers.extend(self.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        let Some(vary) = self.vary else { return };
        let has = |wanted: &str| {
            list_members(headers, VARY).any(|member| member == "*" || member.eq_ignore_ascii_case(wanted))
        };
        if !vary.split(", ").all(has) {
            headers.append(VARY, HeaderValue::from_static(vary));
        }
    }
}

fn list(names: &[String]) -> Option<HeaderValue> {
    // Names consist of visible ASCII.
    HeaderValue::try_from(names.join(", ")).ok().filter(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::section;

    /// Returns the fields of a response with these fields, as lines in their order.
    fn finished(
        yaml: &str,
        method: &Method,
        request: &[(&'static str, &'static str)],
        response: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let sharing = Cors::new(&section(yaml)).request(method, &Fields::written(request));
        let mut headers = Fields::written(response);
        sharing.finish(&mut headers);
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    const PREFLIGHT: [(&str, &str); 4] = [
        ("origin", "https://a.test"),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-a,authorization"),
        ("access-control-request-private-network", "true"),
    ];

    #[test]
    fn page_of_an_allowed_origin_may_read_the_response() {
        let yaml = "{ origins: ['https://a.test'], expose: [X-Total, x-page], credentials: true }";
        let page = [("origin", "https://a.test")];
        assert_eq!(
            finished(yaml, &Method::GET, &page, &[]),
            [
                "access-control-allow-origin: https://a.test",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: x-total, x-page",
                "vary: Origin",
            ]
        );
        for page in [&[("origin", "https://b.test")][..], &[("origin", "null")], &[]] {
            assert_eq!(finished(yaml, &Method::GET, page, &[]), ["vary: Origin"], "{page:?}");
        }
    }

    #[test]
    fn any_origin_has_one_response_unless_there_are_credentials() {
        let page = [("origin", "https://a.test")];
        let open = finished("{ origins: ['*'] }", &Method::GET, &page, &[]);
        assert_eq!(open, ["access-control-allow-origin: *"]);
        assert_eq!(finished("{ origins: ['*'] }", &Method::GET, &[], &[]), [""; 0]);
    }

    #[test]
    fn preflight_is_told_what_the_page_may_send() {
        let vary = "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        let listed =
            "{ origins: ['https://a.test'], methods: [GET, DELETE], headers: [Authorization], max_age: 10m }";
        assert_eq!(
            finished(listed, &Method::OPTIONS, &PREFLIGHT, &[]),
            [
                "access-control-allow-origin: https://a.test",
                "access-control-allow-methods: GET, DELETE",
                "access-control-allow-headers: authorization",
                "access-control-max-age: 600",
                vary,
            ]
        );
        let open = "{ origins: ['*'], methods: ['*'], headers: ['*'], private_network: true }";
        assert_eq!(
            finished(open, &Method::OPTIONS, &PREFLIGHT, &[]),
            [
                "access-control-allow-origin: *",
                "access-control-allow-methods: PUT",
                "access-control-allow-headers: x-a,authorization",
                "access-control-allow-private-network: true",
                vary,
            ]
        );
        let other = "{ origins: ['https://b.test'] }";
        assert_eq!(finished(other, &Method::OPTIONS, &PREFLIGHT, &[]), [vary]);
    }

    #[test]
    fn preflight_has_an_origin_and_a_method() {
        let fields = Fields::written(&PREFLIGHT);
        assert_eq!(preflight_method(&Method::OPTIONS, &fields), Some(Method::PUT));
        assert_eq!(preflight_method(&Method::GET, &fields), None);
        for missing in ["origin", "access-control-request-method"] {
            let mut fields = fields.clone();
            fields.remove(missing);
            assert_eq!(preflight_method(&Method::OPTIONS, &fields), None, "{missing}");
        }
    }

    #[test]
    fn fields_of_the_upstream_give_way_and_what_varies_is_said_once() {
        let yaml = "{ origins: ['https://a.test'] }";
        let page = [("origin", "https://a.test")];
        let upstream = [
            ("access-control-allow-origin", "*"),
            ("access-control-max-age", "1"),
            ("vary", "Accept, origin"),
        ];
        let expected = ["vary: Accept, origin", "access-control-allow-origin: https://a.test"];
        assert_eq!(finished(yaml, &Method::GET, &page, &upstream), expected);
        let any = finished(yaml, &Method::GET, &page, &[("vary", "*")]);
        assert_eq!(any, ["vary: *", "access-control-allow-origin: https://a.test"]);
    }
}
