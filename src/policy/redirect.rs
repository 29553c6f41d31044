//! Redirects.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode, Uri};

use super::template::{Template, TemplateError};
use crate::config::Scheme;
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::ClientOrigin;
use crate::http::message::Response;
use crate::http::path::push_escape;
use crate::router::Parameters;

/// A response that sends the client elsewhere.
///
/// A target is used as written; the request's query is not carried over. The parameters of the route's template may
/// appear anywhere after its host, and are inserted as the path has them. Without a target, the client is sent to the
/// path and the query that it requested, with another scheme, host or port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    status: StatusCode,
    location: Location,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    Fixed(HeaderValue),
    Template(Template),
    Elsewhere { scheme: Option<Scheme>, host: Option<Box<str>>, port: Option<u16> },
}

/// The reason why a redirect cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedirectError {
    /// The status is not a redirect (RFC 9110 §15.4).
    #[error("{0} is not a redirect: write 301, 302, 303, 307 or 308")]
    Status(u16),
    /// The target is not a URL or an absolute path.
    #[error(
        "`{0}` is not a redirect target: write an http:// or https:// URL, or a path that begins with one `/`"
    )]
    Target(String),
    /// The host contains a parameter, so the sender of a request could choose where the client is sent.
    #[error(
        "`{0}` has a parameter before its path: a request must not choose the host that it is redirected to"
    )]
    HostParameter(String),
    /// Its braces are invalid.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Redirect {
    /// Returns a redirect to `to`. `known` are the names of the parameters in the route's template.
    ///
    /// # Errors
    /// Returns the first [`RedirectError`].
    pub(crate) fn new(to: &str, status: u16, known: &[String]) -> Result<Self, RedirectError> {
        let status = redirect_status(status)?;
        if host_part(to).is_some_and(|host| host.contains(['{', '}'])) {
            return Err(RedirectError::HostParameter(to.to_owned()));
        }
        let template = Template::parse(to, known)?;
        if !is_target(&template.expand_with(|_| "x")) {
            return Err(RedirectError::Target(to.to_owned()));
        }
        let location = match template.as_text().map(HeaderValue::from_str) {
            Some(Ok(fixed)) => Location::Fixed(fixed),
            Some(Err(_)) => return Err(RedirectError::Target(to.to_owned())),
            None => Location::Template(template),
        };
        Ok(Self { status, location })
    }

    /// Returns a redirect to the path and the query of the request, with these parts in place of those that the client
    /// used. Without `port`, `scheme` implies its own port. `host` is a name or an address.
    ///
    /// # Errors
    /// Returns [`RedirectError::Status`] for a status that does not redirect.
    pub(crate) fn elsewhere(
        scheme: Option<Scheme>,
        host: Option<&str>,
        port: Option<u16>,
        status: u16,
    ) -> Result<Self, RedirectError> {
        let host = host.map(|host| if host.contains(':') { format!("[{host}]") } else { host.to_owned() });
        let location = Location::Elsewhere { scheme, host: host.map(String::into_boxed_str), port };
        Ok(Self { status: redirect_status(status)?, location })
    }

    /// Returns the response, with an empty body, to a request for the normalised `path`.
    ///
    /// # Errors
    /// Returns [`Error::RequestHost`] if the client's host is needed and it sent none, which HTTP/1.0 permits.
    pub(crate) fn response<'c>(
        &self,
        parameters: &Parameters<'_, '_>,
        path: &str,
        query: Option<&str>,
        client: impl FnOnce() -> ClientOrigin<'c>,
    ) -> Result<Response<Bytes>, Error> {
        let location = match &self.location {
            Location::Elsewhere { scheme, host, port } => {
                let origin = origin(*scheme, host.as_deref(), *port, client())?;
                let url = url(origin, path, query);
                HeaderValue::try_from(url).map_err(|_| Error::RequestHost("host.malformed"))?
            }
            Location::Fixed(location) => location.clone(),
            // Text and values are both visible ASCII, which is valid in every field value.
            Location::Template(template) => HeaderValue::try_from(template.expand(parameters))
                .unwrap_or(const { HeaderValue::from_static("/") }),
        };
        let headers = Fields::from_iter([(LOCATION, location)]);
        Ok(Response { status: self.status, headers, body: Bytes::new() })
    }
}

fn redirect_status(status: u16) -> Result<StatusCode, RedirectError> {
    let code = StatusCode::from_u16(status).ok().filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
    code.ok_or(RedirectError::Status(status))
}

/// Returns scheme and authority of a URL: the written ones, or else those that the client used.
fn origin(
    scheme: Option<Scheme>,
    host: Option<&str>,
    port: Option<u16>,
    client: ClientOrigin<'_>,
) -> Result<String, Error> {
    let host = host.unwrap_or(client.host.host);
    if host.is_empty() {
        return Err(Error::RequestHost("host.missing"));
    }
    // The client's port belongs to the client's scheme.
    let port = port.or(client.host.port.filter(|_| scheme.is_none()));
    let scheme = scheme.unwrap_or(client.scheme);
    Ok(match port.filter(|port| *port != scheme.default_port()) {
        Some(port) => format!("{}://{host}:{port}", scheme.as_str()),
        None => format!("{}://{host}", scheme.as_str()),
    })
}

/// Returns a URL of visible ASCII. A query may have arrived with other characters, which must be escaped in a URL (RFC
/// 3986 §2.1).
fn url(mut url: String, path: &str, query: Option<&str>) -> String {
    url.push_str(path);
    let Some(query) = query else { return url };
    url.push('?');
    for byte in query.bytes() {
        if byte.is_ascii_graphic() {
            url.push(char::from(byte));
        } else {
            push_escape(&mut url, byte);
        }
    }
    url
}

/// Returns the part between the scheme and the path of a URL.
fn host_part(to: &str) -> Option<&str> {
    let rest = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"))?;
    rest.split(['/', '?', '#', '\\']).next()
}

/// Returns true if browsers and RFC 9110 §10.2.2 take `to` for the same place. To a browser, `//a` and `/\a` are hosts.
fn is_target(to: &str) -> bool {
    let is_url = host_part(to).is_some_and(|host| !host.is_empty());
    let is_path = to.starts_with('/') && !to.starts_with("//");
    let is_plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_plain && (is_url || is_path) && to.parse::<Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::http::fields::Fields;
    use crate::router::{PathPattern, RequestLine, RouteMatch, Router};

    fn response(redirect: &Redirect, parameters: &Parameters<'_, '_>) -> Response<Bytes> {
        let unused = || panic!("a target asks for no origin");
        redirect.response(parameters, "/", None, unused).unwrap()
    }

    /// Returns the location for a request over HTTP or HTTPS to a host.
    fn location(
        redirect: &Redirect,
        scheme: Scheme,
        host: &str,
        query: Option<&str>,
    ) -> Result<String, Error> {
        let host = crate::http::forward::parse_authority(host).unwrap_or_default();
        let client = || ClientOrigin { scheme, host };
        let response = redirect.response(&Parameters::none(), "/a%20b/", query, client)?;
        Ok(response.headers.get(LOCATION).unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_redirect_elsewhere_keeps_path_and_query_and_replaces_what_is_written() {
        use Scheme::{Http, Https};
        type Case =
            ((Option<Scheme>, Option<&'static str>, Option<u16>), (Scheme, &'static str), &'static str);
        let cases: [Case; 14] = [
            ((Some(Https), None, None), (Http, "a"), "https://a"),
            ((Some(Https), None, None), (Http, "A.b:8080"), "https://A.b"),
            ((Some(Https), None, Some(8443)), (Http, "a:8080"), "https://a:8443"),
            ((Some(Https), None, Some(443)), (Http, "a:8080"), "https://a"),
            ((Some(Https), Some("b"), None), (Http, "a:8080"), "https://b"),
            ((Some(Https), Some("::1"), Some(1)), (Http, "a"), "https://[::1]:1"),
            ((Some(Https), None, None), (Http, "[::1]:80"), "https://[::1]"),
            ((Some(Http), None, None), (Https, "a:8443"), "http://a"),
            ((None, Some("b"), None), (Https, "a"), "https://b"),
            ((None, Some("b"), None), (Http, "a:8080"), "http://b:8080"),
            ((None, Some("b"), None), (Http, "a:80"), "http://b"),
            ((None, Some("b"), None), (Http, ""), "http://b"),
            ((None, None, Some(81)), (Http, "a:8080"), "http://a:81"),
            ((None, None, Some(80)), (Http, "a:8080"), "http://a"),
        ];
        for ((scheme, host, port), (used, authority), expected) in cases {
            let redirect = Redirect::elsewhere(scheme, host, port, 308).unwrap();
            for (query, suffix) in [(None, ""), (Some(""), "?"), (Some("b=c%2F&é=|"), "?b=c%2F&%C3%A9=|")] {
                let expected = format!("{expected}/a%20b/{suffix}");
                assert_eq!(location(&redirect, used, authority, query), Ok(expected));
            }
        }
        let redirect = Redirect::elsewhere(Some(Https), None, None, 308).unwrap();
        assert_eq!(location(&redirect, Http, "", None), Err(Error::RequestHost("host.missing")));
        assert_eq!(Redirect::elsewhere(Some(Https), None, None, 200), Err(RedirectError::Status(200)));
    }

    #[test]
    fn a_fixed_target_is_as_written() {
        for to in ["https://example.com/new?a=b#c", "http://[::1]:8080", "/new/", "/"] {
            let response = response(&Redirect::new(to, 308, &[]).unwrap(), &Parameters::none());
            assert_eq!(response.status, StatusCode::PERMANENT_REDIRECT);
            assert_eq!(response.headers.get(LOCATION).unwrap(), to);
        }
    }

    #[test]
    fn parameters_go_into_path_query_and_fragment() {
        let path = PathPattern::Template("/old/{id}".into());
        let redirect = Redirect::new("https://a.b/new/{id}?id={id}", 302, &path.parameter_names()).unwrap();
        let router = Router::build(vec![(RouteMatch { path, ..RouteMatch::default() }, ())]).unwrap();
        let (path, method, headers) = ("/old/a%20b", &Method::GET, &Fields::new());
        let request = RequestLine { listener: 0, host: "", path, query: None, method, headers };
        let found = router.find(&request).unwrap();
        let response = response(&redirect, &Parameters::new(found.template, path));
        assert_eq!(response.headers.get(LOCATION).unwrap(), "https://a.b/new/a%20b?id=a%20b");
    }

    #[test]
    fn a_request_does_not_choose_the_host() {
        let known = ["id".to_owned()];
        for to in
            ["https://{id}", "https://{id}.a.b/", "https://a.b{id}/", "https://a:{id}@b/", "http://{id}?x"]
        {
            assert_eq!(Redirect::new(to, 302, &known), Err(RedirectError::HostParameter(to.into())), "{to}");
        }
        for to in ["//{id}/a", "{id}", "/\\{id}", "ftp://{id}"] {
            assert_eq!(Redirect::new(to, 302, &known), Err(RedirectError::Target(to.into())), "{to}");
        }
    }

    #[test]
    fn invalid_redirects_are_rejected() {
        for to in [
            "",
            "new",
            "//a.b",
            "https://",
            "https:///a",
            "javascript:alert(1)",
            "/a b",
            "/é",
            "https://a b/",
        ] {
            assert_eq!(Redirect::new(to, 301, &[]), Err(RedirectError::Target(to.into())), "{to}");
        }
        for status in [200, 300, 304, 305, 306, 400] {
            assert_eq!(Redirect::new("/", status, &[]), Err(RedirectError::Status(status)));
        }
        assert!(matches!(Redirect::new("/{id}", 302, &[]), Err(RedirectError::Template(_))));
    }
}
