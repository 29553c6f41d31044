//! A redirect.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode, Uri};

use super::template::{Template, TemplateError};
use crate::fields::Fields;
use crate::message::Response;
use crate::router::Parameters;

/// An answer that sends the client elsewhere.
///
/// The target is used as it is written; the request's query is not carried over. The parameters of the
/// route's template may stand anywhere after its host, and go in as the path has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    status: StatusCode,
    location: Location,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    Fixed(HeaderValue),
    Template(Template),
}

/// Why a redirect cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Not a status that redirects (RFC 9110 §15.4).
    #[error("{0} is not a redirect: write 301, 302, 303, 307 or 308")]
    Status(u16),
    /// Not a URL or an absolute path.
    #[error(
        "`{0}` is no place to redirect to: write an http:// or https:// URL, or a path that begins with one `/`"
    )]
    Target(String),
    /// A parameter in the host: whoever writes the request would choose where the client goes.
    #[error(
        "`{0}` has a parameter before its path: a request must not choose the host that it is redirected to"
    )]
    HostParameter(String),
    /// Its braces are wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Redirect {
    /// A redirect to `to`; `known` are the names of the parameters in the route's template.
    ///
    /// # Errors
    /// [`RedirectError`], the first that there is.
    pub fn new(to: &str, status: u16, known: &[String]) -> Result<Self, RedirectError> {
        let code =
            StatusCode::from_u16(status).ok().filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
        let status = code.ok_or(RedirectError::Status(status))?;
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

    /// The answer, with an empty body.
    #[must_use]
    pub fn response(&self, parameters: &Parameters<'_, '_>) -> Response<Bytes> {
        let location = match &self.location {
            Location::Fixed(location) => location.clone(),
            // Text and values are both visible ASCII, of which every field value may consist.
            Location::Template(template) => HeaderValue::try_from(template.expand(parameters))
                .unwrap_or(const { HeaderValue::from_static("/") }),
        };
        let headers = Fields::from_iter([(LOCATION, location)]);
        Response { status: self.status, headers, body: Bytes::new() }
    }
}

/// What stands between the scheme and the path of a URL.
fn host_part(to: &str) -> Option<&str> {
    let rest = to.strip_prefix("https://").or_else(|| to.strip_prefix("http://"))?;
    rest.split(['/', '?', '#', '\\']).next()
}

/// Whether browsers and RFC 9110 §10.2.2 take `to` for the same place: to a browser, `//a` and `/\a` are
/// hosts.
fn is_target(to: &str) -> bool {
    let is_url = host_part(to).is_some_and(|host| !host.is_empty());
    let is_path = to.starts_with('/') && !to.starts_with("//");
    let is_plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_plain && (is_url || is_path) && to.parse::<Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use http::Method;

    use crate::fields::Fields;

    use super::*;
    use crate::router::{PathPattern, RequestLine, RouteMatch, Router};

    #[test]
    fn a_fixed_target_is_as_written() {
        for to in ["https://example.com/new?a=b#c", "http://[::1]:8080", "/new/", "/"] {
            let response = Redirect::new(to, 308, &[]).unwrap().response(&Parameters::none());
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
        let response = redirect.response(&router.find(&request).unwrap().parameters);
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
    fn what_is_no_redirect_is_refused() {
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
