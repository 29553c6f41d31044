//! Addresses, networks, hosts and URLs, as the file writes them.

use std::{fmt, net::SocketAddr, str::FromStr};

use ipnet::IpNet;

use super::text::{Malformed, text_type};

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(SocketAddr);

text_type!(Address, format: "socket-address", pattern: "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]+$");

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        address.0
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

/// What to write for something that is not an address.
fn advise_address(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or(rest);
        return format!("a URL does not belong here, write only the address: `{authority}`");
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
        return format!("a name is not looked up here: `127.0.0.1:{port}`");
    }
    "write an address and a port: `127.0.0.1:8080` or `\"[::1]:8080\"`".to_owned()
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

text_type!(Network, format: "network", pattern: "^[0-9A-Fa-f:.]+(/[0-9]+)?$");

impl Network {
    /// The network; a single address is a network of its own.
    pub fn net(self) -> IpNet {
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

/// The schemes an endpoint can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port where none is written (RFC 9110 §4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// As in a URL: `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The URL of an endpoint: scheme, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    /// How to connect.
    pub scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address without brackets; in lower case.
    pub host: String,
    /// The port written, or the scheme's.
    pub port: u16,
}

text_type!(EndpointUrl, format: "endpoint-url", pattern: "^https?://[^/?#@]+$");

impl EndpointUrl {
    /// What a Host field for this endpoint says: the host, and the port unless it is the scheme's (RFC 9110
    /// §7.2).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl FromStr for EndpointUrl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = |message: &str| Malformed::new(format!("`{text}` {message}"));
        let form =
            "write scheme, host and, where needed, port: `http://127.0.0.1:3000`, `https://example.com`";
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(malformed("is not a URL").help(form));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(malformed("has an unknown scheme").help("the schemes are `http` and `https`")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if !tail.is_empty() {
            return Err(malformed("has a path or query, an endpoint is only scheme, host and port").help(
                format!(
                    "write `{}://{authority}`, and change the path with the route's `rewrite`",
                    scheme.as_str()
                ),
            ));
        }
        if authority.contains('@') {
            return Err(
                malformed("has a user name").help("set an `authorization` header with the route's `headers`")
            );
        }
        let parsed: http::uri::Authority =
            authority.parse().map_err(|_| malformed("has no valid host").help(form))?;
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(malformed("has no host").help(form));
        }
        let port = match parsed.port_u16() {
            None if authority == parsed.host() => scheme.default_port(),
            None | Some(0) => {
                return Err(malformed("has no valid port").help("write a number from 1 to 65535"));
            }
            Some(port) => port,
        };
        Ok(Self { scheme, host, port })
    }
}

/// A DNS name or an IP address that a certificate can be for (RFC 6125 §6.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(String);

text_type!(ServerName, format: "server-name", pattern: "^[0-9A-Za-z_.:-]+$");

impl ServerName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
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
            Err(_) => Err(Malformed::new(format!("`{text}` is not a host name"))
                .help("write only the name: `api.internal`, without scheme, port or path")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

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
            "http://a/",
            "http://a/x",
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
