//! The URLs of endpoints, as the file writes them.

use std::fmt;
use std::str::FromStr;

use super::base_path::{self, BasePath};
use super::host::{is_host_name, is_ipv6_literal};
use super::network::Scheme;
use super::text::{Malformed, text_type};
use super::unix_socket::{self, UnixSocket};
use super::{pattern, punycode};

/// The URL of an endpoint: scheme, host and port, and a base path that precedes the path of each request; or a Unix socket, which
/// has none of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointUrl {
    /// The scheme, which decides on TLS. A Unix socket is plain: `http`.
    pub(crate) scheme: Scheme,
    /// The server that connections are opened to.
    pub(crate) server: Server,
    /// The base path.
    pub(crate) base: BasePath,
}

/// The server of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Server {
    /// A server in a network.
    Inet {
        /// A name, an IPv4 address, or an IPv6 address without brackets; in lower case.
        host: String,
        /// The port written, or the scheme's.
        port: u16,
    },
    /// A server on this machine.
    Unix(UnixSocket),
}

text_type!(EndpointUrl, format: "endpoint-url", pattern: {
    let host = format!("(?:{}\\.?|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    let inet = format!("https?://{host}(?::{})?{}", pattern::port(), base_path::pattern());
    pattern::whole(&pattern::any([inet, unix_socket::pattern()]))
});

impl EndpointUrl {
    /// Returns the host. That of a Unix socket is `localhost`, as in nginx and curl.
    pub(crate) fn host(&self) -> &str {
        match &self.server {
            Server::Inet { host, .. } => host,
            Server::Unix(_) => "localhost",
        }
    }

    /// Returns the value of a Host field for this endpoint: the host, and the port unless it is the scheme's (RFC 9110
    /// §7.2).
    pub(crate) fn authority(&self) -> String {
        let host = self.host();
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self.server {
            Server::Inet { port, .. } if port != self.scheme.default_port() => format!("{host}:{port}"),
            Server::Inet { .. } | Server::Unix(_) => host,
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Server::Inet { .. } => {
                write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.base.as_str())
            }
            Server::Unix(socket) => socket.fmt(f),
        }
    }
}

impl FromStr for EndpointUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if UnixSocket::is_meant(text) {
            let server = Server::Unix(text.parse()?);
            return Ok(Self { scheme: Scheme::Http, server, base: BasePath::default() });
        }
        let malformed = |message: &str| Malformed::new(format!("`{text}` {message}"));
        let form = "write scheme, host and, where needed, port and path: `http://127.0.0.1:3000`, `https://example.com/v2`";
        let Some((scheme, rest)) = text.split_once("://") else {
            let help = advise_endpoint(text).map_or(form.to_owned(), |url| format!("write `{url}`"));
            return Err(malformed("is not a URL").help(help));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => {
                let url = match scheme.to_ascii_lowercase().as_str() {
                    "http" | "ws" | "h2c" | "grpc" => format!("http://{rest}"),
                    "https" | "wss" | "grpcs" => format!("https://{rest}"),
                    _ => String::new(),
                };
                let help = match url.parse::<Self>() {
                    Ok(_) => format!("write `{url}`"),
                    Err(_) => "the schemes are `http` and `https`".to_owned(),
                };
                return Err(malformed("has an unknown scheme").help(help));
            }
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let path = tail.split(['?', '#']).next().unwrap_or(tail);
        if path.len() < tail.len() {
            let help = format!("write `{}://{authority}{path}`", scheme.as_str());
            return Err(malformed("has a query or a fragment, which no endpoint has").help(help));
        }
        if authority.contains('@') {
            return Err(
                malformed("has a user name").help("set an `authorization` header with the route's `headers`")
            );
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if host.is_empty() {
            return Err(malformed("has no host").help(form));
        }
        // A trailing dot makes the name absolute.
        if !is_ipv6_literal(host) && !is_host_name(host.strip_suffix('.').unwrap_or(host)) {
            let help = match punycode::advise(host) {
                Some(help) => help,
                None if host.contains('*') => {
                    "an endpoint is one host: list several under `endpoints`".to_owned()
                }
                None => form.to_owned(),
            };
            return Err(malformed("has no valid host").help(help));
        }
        let port = match port {
            None => scheme.default_port(),
            Some(port) => match port.parse::<u16>() {
                Ok(number) if number > 0 && !port.starts_with('+') => number,
                _ => return Err(malformed("has no valid port").help("write a number from 1 to 65535")),
            },
        };
        let base = BasePath::parse(path).map_err(|problem| {
            let error = malformed(&format!("has a path that no endpoint can have: {}", problem.message));
            Malformed { help: problem.help, ..error }
        })?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Self { scheme, server: Server::Inet { host, port }, base })
    }
}

/// Returns the URL that was probably meant by a text without `://`.
fn advise_endpoint(text: &str) -> Option<String> {
    let written = [("https", "https"), ("http", "http")].into_iter().find_map(|(start, scheme)| {
        let rest = text.strip_prefix(start)?;
        // `https//a`, `https:/a` and `https:a`.
        let host = rest.trim_start_matches([':', '/']);
        (host.len() < rest.len()).then(|| format!("{scheme}://{host}"))
    });
    let url = written.unwrap_or_else(|| format!("http://{}", text.trim_start_matches('/')));
    url.parse::<EndpointUrl>().is_ok().then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for (text, host, port, printed) in [
            ("http://127.0.0.1:3000", "127.0.0.1", 3000, "http://127.0.0.1:3000"),
            ("https://example.com", "example.com", 443, "https://example.com"),
            ("http://Example.com:80", "example.com", 80, "http://example.com"),
            ("http://[::1]:3000", "::1", 3000, "http://[::1]:3000"),
            ("https://[2001:db8::1]", "2001:db8::1", 443, "https://[2001:db8::1]"),
            ("http://a/", "a", 80, "http://a"),
            ("http://a:3000/v2/", "a", 3000, "http://a:3000/v2"),
            ("http://a/%7Ev2/x%c3%a9", "a", 80, "http://a/~v2/x%C3%A9"),
        ] {
            let url: EndpointUrl = text.parse().unwrap();
            assert_eq!(url.server, Server::Inet { host: host.to_owned(), port });
            assert_eq!((url.host(), url.to_string().as_str()), (host, printed));
        }
        for text in [
            "",
            "example.com",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a/x?y",
            "http://a/?",
            "http://a//",
            "http://a/../b",
            "http://a/x%2Fy",
            "http://a?x",
            "http://a#x",
            "http://u@a",
            "http://u:p@a",
            "http://a:0",
            "http://a:",
            "http://a:99999",
            "http://a b",
            "HTTP://a",
            "http://[::1",
            "http://:80",
        ] {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_on_a_unix_socket_is_plain_and_has_the_host_localhost() {
        let url: EndpointUrl = "unix:/run/app.sock".parse().unwrap();
        assert_eq!((url.to_string().as_str(), url.authority().as_str()), ("unix:/run/app.sock", "localhost"));
        assert_eq!((url.scheme, url.base.as_str()), (Scheme::Http, ""));
        for text in ["unix:app.sock", "unix:/run/app.sock:/v2", "http://unix:/run/app.sock"] {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_endpoint_that_is_no_url_gets_the_nearest_one() {
        for (text, help) in [
            ("localhost:3000", "write `http://localhost:3000`"),
            ("127.0.0.1", "write `http://127.0.0.1`"),
            ("//a", "write `http://a`"),
            ("https//a", "write `https://a`"),
            ("http:/a", "write `http://a`"),
            ("https:a:8443", "write `https://a:8443`"),
            ("HTTP://a", "write `http://a`"),
            ("ws://a:80", "write `http://a:80`"),
            ("wss://a", "write `https://a`"),
            ("ftp://a", "the schemes are `http` and `https`"),
            ("http://a/b?c=d", "write `http://a/b`"),
            ("http://a/b#c", "write `http://a/b`"),
            ("http://a/b/../c", "write `/c`"),
            ("http://a/b//c", "write `/b/c`"),
            ("http://a/b%2Fc", "without `%2F`"),
            ("a:80/b", "write `http://a:80/b`"),
            ("http://bücher.example:80", "write the name as DNS has it: `xn--bcher-kva.example`"),
            ("http://*.a", "an endpoint is one host"),
            ("", "write scheme, host and, where needed, port"),
        ] {
            let help_given = text.parse::<EndpointUrl>().unwrap_err().help.unwrap();
            assert!(help_given.contains(help), "{text}: {help_given}");
        }
    }
}
