//! Addresses, networks, hosts and URLs, as the file writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::base_path::{self, BasePath};
use super::host::{is_host_name, is_ipv6_literal};
use super::text::{Malformed, text_type};
use super::{pattern, punycode};

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(SocketAddr);

text_type!(Address, format: "socket-address", pattern: {
    let (ipv4, ipv6, port) = (pattern::ipv4(), pattern::ipv6(), pattern::number(0, u16::MAX.into()));
    let scope = pattern::number(0, u32::MAX.into());
    pattern::whole(&format!("(?:{ipv4}|\\[{ipv6}(?:%{scope})?\\]):{port}"))
});

/// Returns the address to bind. An IPv4 address that is written as IPv6 (`[::ffff:127.0.0.1]:80`, RFC 4291 §2.5.5.2)
/// becomes IPv4, because a socket for IPv6 accepts only IPv6.
impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        match address.0.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.0.port()),
            IpAddr::V6(_) => address.0,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        Err(Malformed::new(format!("`{text}` is not an IP address with a port")).help(advise_address(text)))
    }
}

/// Returns the advice for a text that is not an address.
fn advise_address(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or(rest);
        return format!("a URL does not belong here, write only the address: `{authority}`");
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!(
            "write the address too: `127.0.0.1:{text}`, or `0.0.0.0:{text}` for all IPv4 addresses"
        );
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return format!("the port is missing: `{text}:8080`");
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>() {
        return format!("the port is missing: `\"[{address}]:8080\"`");
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
        return format!("write `0.0.0.0:{port}` for all IPv4 addresses, `\"[::]:{port}\"` for all");
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return format!("names are not resolved here: write `127.0.0.1:{port}`");
    }
    "write an address and a port: `127.0.0.1:8080` or `\"[::1]:8080\"`".to_owned()
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpNet);

text_type!(Network, format: "network", pattern: {
    let (ipv4, ipv6) = (pattern::ipv4(), pattern::ipv6());
    let length = "(?:0{0,2}[0-9]|0?[1-9][0-9]|1[01][0-9]|12[0-8])";
    pattern::whole(&format!("{ipv4}(?:/(?:[0-2]?[0-9]|3[0-2]))?|{ipv6}(?:/{length})?"))
});

impl Network {
    /// Returns the network; a single address is a network of its own.
    pub(crate) fn net(self) -> IpNet {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Network {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let net =
            text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)));
        let Ok(net) = net else {
            return Err(Malformed::new(format!("`{text}` is not a network"))
                .help("write a network or an address: `10.0.0.0/8`, `192.0.2.7`, `\"fd00::/8\"`"));
        };
        if net.addr() != net.network() {
            return Err(Malformed::new(format!("`{text}` has address bits beyond its prefix"))
                .help(format!("write `{}`", net.trunc())));
        }
        Ok(Self(net))
    }
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// Returns the port of a URL without one (RFC 9110 §4.2).
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Returns the scheme as in a URL: `http` or `https`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The URL of an endpoint: scheme, host and port, and a base path that precedes the path of each request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointUrl {
    /// The scheme, which decides on TLS.
    pub(crate) scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address without brackets; in lower case.
    pub(crate) host: String,
    /// The port written, or the scheme's.
    pub(crate) port: u16,
    /// The base path.
    pub(crate) base: BasePath,
}

text_type!(EndpointUrl, format: "endpoint-url", pattern: {
    let host = format!("(?:{}\\.?|\\[{}\\])", pattern::host_name(), pattern::ipv6());
    pattern::whole(&format!("https?://{host}(?::{})?{}", pattern::port(), base_path::pattern()))
});

impl EndpointUrl {
    /// Returns the value of a Host field for this endpoint: the host, and the port unless it is the scheme's (RFC 9110
    /// §7.2).
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.base.as_str())
    }
}

impl FromStr for EndpointUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
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
        Ok(Self { scheme, host, port, base })
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

/// A DNS name or an IP address that a certificate can be for (RFC 6125 §6.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerName(String);

text_type!(ServerName, format: "server-name", pattern: {
    let label = "[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?";
    // A name whose last label is a number would be an address.
    let name = format!("(?!(?:.*\\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\\.?$)(?=.{{1,253}}$){label}(?:\\.{label})*\\.?");
    pattern::whole(&pattern::any([pattern::ipv4(), pattern::ipv6(), name]))
});

impl ServerName {
    /// Returns the name, in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match rustls::pki_types::ServerName::try_from(text) {
            Ok(_) => Ok(Self(text.to_ascii_lowercase())),
            Err(_) => {
                let form = "write only the name: `api.internal`, without scheme, port or path";
                let help = punycode::advise(text).unwrap_or_else(|| form.to_owned());
                Err(Malformed::new(format!("`{text}` is not a host name")).help(help))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, EndpointUrl, Network, ServerName};

    #[test]
    fn an_address_is_an_ip_address_with_a_port() {
        for text in ["127.0.0.1:8080", "0.0.0.0:0", "[::]:8443", "[::1]:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for (text, help) in [
            ("http://127.0.0.1:80/x", "write only the address: `127.0.0.1:80`"),
            ("127.0.0.1", "the port is missing: `127.0.0.1:8080`"),
            ("::1", "the port is missing: `\"[::1]:8080\"`"),
            (":80", "write `0.0.0.0:80`"),
            ("8080", "write the address too: `127.0.0.1:8080`"),
            ("localhost:80", "`127.0.0.1:80`"),
            ("example.com", "write an address and a port"),
        ] {
            let malformed = text.parse::<Address>().unwrap_err();
            assert!(malformed.help.unwrap().contains(help), "{text}");
        }
    }

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
            assert_eq!((url.host.as_str(), url.port, url.to_string().as_str()), (host, port, printed));
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
        assert!("bücher.example".parse::<ServerName>().unwrap_err().help.unwrap().contains("xn--bcher-kva"));
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_prefix() {
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("192.0.2.7".parse::<Network>().unwrap().to_string(), "192.0.2.7/32");
        assert_eq!("fd00::/8".parse::<Network>().unwrap().to_string(), "fd00::/8");
        assert_eq!("10.0.0.1/8".parse::<Network>().unwrap_err().help.unwrap(), "write `10.0.0.0/8`");
        assert!("10.0.0.0/33".parse::<Network>().is_err());
    }

    #[test]
    fn a_server_name_has_no_port() {
        assert_eq!("API.internal".parse::<ServerName>().unwrap().as_str(), "api.internal");
        for text in ["", "a:443", "https://a", "a/b", "*.a"] {
            assert!(text.parse::<ServerName>().is_err(), "{text}");
        }
    }
}
