//! Redirects.

use std::num::NonZeroU16;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use super::placeholders::{RequestValues, escaped, segment};
use crate::config::{self, Part, RedirectForm, RedirectTarget, Scheme};
use crate::http::error::Error;
use crate::http::fields::Fields;
use crate::http::forward::ClientOrigin;
use crate::http::message::Response;
use crate::http::path::push_escape;

/// A response that sends the client elsewhere.
///
/// A target is used as written; the request's query is not carried over. Values of the request are inserted with escapes, parameters of
/// the route's template as the path has them. Without a target, the client is sent to the path and the query that it requested, with another
/// scheme, host or port; without `port`, a scheme implies its own port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    status: StatusCode,
    location: Location,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    Fixed(HeaderValue),
    Template(RedirectTarget),
    Elsewhere { scheme: Option<Scheme>, host: Option<Box<str>>, port: Option<u16> },
}

/// The location if a value cannot be a field's. None is: text and values are visible ASCII.
const NOWHERE: HeaderValue = HeaderValue::from_static("/");

impl Redirect {
    pub(crate) fn new(written: &config::Redirect) -> Self {
        let location = match written.form() {
            RedirectForm::To(to) => match to.fixed() {
                Some(fixed) => Location::Fixed(HeaderValue::from_str(fixed).unwrap_or(NOWHERE)),
                None => Location::Template(to.clone()),
            },
            RedirectForm::Elsewhere { scheme, host, port } => {
                let bracketed =
                    |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                let host = host.map(|host| bracketed(host.as_str()).into());
                Location::Elsewhere { scheme, host, port: port.map(NonZeroU16::get) }
            }
        };
        Self { status: written.status, location }
    }

    /// Returns the response, with an empty body, to a request for the normalised `path`.
    ///
    /// # Errors
    /// Returns [`Error::RequestHost`] if the client's host is needed and it sent none, which HTTP/1.0 permits, and
    /// [`Error::RouteValue`] if the request lacks a value, or has one in the path that cannot be a segment.
    pub(crate) fn response<'c>(
        &self,
        values: &dyn RequestValues,
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
            Location::Template(target) => HeaderValue::try_from(filled(target, values)?).unwrap_or(NOWHERE),
        };
        let headers = Fields::from_iter([(LOCATION, location)]);
        Ok(Response { status: self.status, headers, body: Bytes::new() })
    }
}

/// Returns a target with the values of a request.
fn filled(target: &RedirectTarget, values: &dyn RequestValues) -> Result<String, Error> {
    let mut url = String::new();
    for part in target.parts() {
        match part {
            Part::Literal(text) => url.push_str(text),
            Part::Parameter(placeholder) => {
                let is_in_path = !url.contains(['?', '#']);
                let value = if is_in_path { segment } else { escaped };
                url.push_str(&value(values, placeholder).ok_or(Error::RouteValue)?);
            }
        }
    }
    Ok(url)
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

#[cfg(test)]
mod tests {
    use super::super::placeholders::tests::Values;
    use super::*;
    use crate::config::section;

    fn redirect(yaml: &str) -> Redirect {
        Redirect::new(&section(yaml))
    }

    fn response(redirect: &Redirect, values: &Values) -> Result<Response<Bytes>, Error> {
        let unused = || panic!("a target asks for no origin");
        redirect.response(values, "/", None, unused)
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
        let response = redirect.response(&Values::new("/", "/", ""), "/a%20b/", query, client)?;
        Ok(response.headers.get(LOCATION).unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_redirect_elsewhere_keeps_path_and_query_and_replaces_what_is_written() {
        use Scheme::{Http, Https};
        let cases = [
            ("{ scheme: https }", (Http, "a"), "https://a"),
            ("{ scheme: https }", (Http, "A.b:8080"), "https://A.b"),
            ("{ scheme: https, port: 8443 }", (Http, "a:8080"), "https://a:8443"),
            ("{ scheme: https, port: 443 }", (Http, "a:8080"), "https://a"),
            ("{ scheme: https, host: b }", (Http, "a:8080"), "https://b"),
            ("{ scheme: https, host: '::1', port: 1 }", (Http, "a"), "https://[::1]:1"),
            ("{ scheme: https }", (Http, "[::1]:80"), "https://[::1]"),
            ("{ scheme: http }", (Https, "a:8443"), "http://a"),
            ("{ host: b }", (Https, "a"), "https://b"),
            ("{ host: b }", (Http, "a:8080"), "http://b:8080"),
            ("{ host: b }", (Http, "a:80"), "http://b"),
            ("{ host: b }", (Http, ""), "http://b"),
            ("{ port: 81 }", (Http, "a:8080"), "http://a:81"),
            ("{ port: 80 }", (Http, "a:8080"), "http://a"),
        ];
        for (written, (used, authority), expected) in cases {
            let redirect = redirect(written);
            for (query, suffix) in [(None, ""), (Some(""), "?"), (Some("b=c%2F&é=|"), "?b=c%2F&%C3%A9=|")] {
                let expected = format!("{expected}/a%20b/{suffix}");
                assert_eq!(location(&redirect, used, authority, query), Ok(expected));
            }
        }
        let redirect = redirect("{ scheme: https }");
        assert_eq!(location(&redirect, Http, "", None), Err(Error::RequestHost("host.missing")));
    }

    #[test]
    fn a_fixed_target_is_as_written() {
        for to in ["https://example.com/new?a=b#c", "http://[::1]:8080", "/new/", "/"] {
            let redirect = redirect(&format!("{{ to: '{to}' }}"));
            let response = response(&redirect, &Values::new("/", "/", "")).unwrap();
            assert_eq!(response.status, StatusCode::PERMANENT_REDIRECT);
            assert_eq!(response.headers.get(LOCATION).unwrap(), to);
        }
    }

    #[test]
    fn values_go_into_path_query_and_fragment() {
        let redirect =
            redirect("{ to: 'https://a.b/new/{id}/{query.v}?id={id}&v={query.v}#{client_ip}', status: 302 }");
        let location = |query| {
            let response = response(&redirect, &Values::new("/old/{id}", "/old/a%20b", query))?;
            Ok::<_, Error>(response.headers.get(LOCATION).unwrap().to_str().unwrap().to_owned())
        };
        let expected = "https://a.b/new/a%20b/x%26y?id=a%20b&v=x%26y#192.0.2.1";
        assert_eq!(location("v=x%26y").as_deref(), Ok(expected));
        for query in ["", "v=", "v=..", "v=a/b"] {
            assert_eq!(location(query), Err(Error::RouteValue), "{query}");
        }
    }
}
