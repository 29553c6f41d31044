//! Addresses, networks and names of servers, as the file writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Malformed, text_type};
use super::unix_socket::UnixSocket;
use super::{pattern, punycode};

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(SocketAddr);

text_type!(Address, format: "socket-address", pattern: pattern::whole(&address_pattern()));

/// Returns a pattern for what [`Address`] parses.
pub(super) fn address_pattern() -> String {
    let (ipv4, ipv6, port) = (pattern::ipv4(), pattern::ipv6(), pattern::number(0, u16::MAX.into()));
    let scope = pattern::number(0, u32::MAX.into());
    format!("(?:{ipv4}|\\[{ipv6}(?:%{scope})?\\]):{port}")
}

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
        if UnixSocket::is_meant(text) {
            return Err(Malformed::new(format!(
                "`{text}` is a Unix socket, and only `listeners` can have one"
            ))
            .help("write an IP address and a port: `127.0.0.1:9901`"));
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

/// A network or one address whose proxies are trusted, or the programs on the other side of Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerNetwork {
    /// A network; a single address is a network of its own.
    Network(IpNet),
    /// Written as `unix`: every client of a listener on a Unix socket.
    Unix,
}

text_type!(PeerNetwork, format: "peer-network", pattern: {
    let (ipv4, ipv6) = (pattern::ipv4(), pattern::ipv6());
    let length = "(?:0{0,2}[0-9]|0?[1-9][0-9]|1[01][0-9]|12[0-8])";
    pattern::whole(&format!("{ipv4}(?:/(?:[0-2]?[0-9]|3[0-2]))?|{ipv6}(?:/{length})?|unix"))
});

impl fmt::Display for PeerNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl FromStr for PeerNetwork {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let net =
            text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)));
        let Ok(net) = net else {
            let help = match UnixSocket::is_meant(text) {
                true => "write `unix` for the clients of all listeners on Unix sockets",
                false => "write a network or an address: `10.0.0.0/8`, `192.0.2.7`, `\"fd00::/8\"`",
            };
            return Err(Malformed::new(format!("`{text}` is not a network")).help(help));
        };
        if net.addr() != net.network() {
            return Err(Malformed::new(format!("`{text}` has address bits beyond its prefix"))
                .help(format!("write `{}`", net.trunc())));
        }
        Ok(Self::Network(net))
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
    use super::{Address, PeerNetwork, ServerName};

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
    fn a_network_has_no_bits_beyond_its_prefix() {
        assert_eq!("10.0.0.0/8".parse::<PeerNetwork>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("192.0.2.7".parse::<PeerNetwork>().unwrap().to_string(), "192.0.2.7/32");
        assert_eq!("fd00::/8".parse::<PeerNetwork>().unwrap().to_string(), "fd00::/8");
        assert_eq!("10.0.0.1/8".parse::<PeerNetwork>().unwrap_err().help.unwrap(), "write `10.0.0.0/8`");
        assert!("10.0.0.0/33".parse::<PeerNetwork>().is_err());
        assert_eq!("unix".parse::<PeerNetwork>().unwrap(), PeerNetwork::Unix);
        assert!("unix:/run/a".parse::<PeerNetwork>().unwrap_err().help.unwrap().contains("write `unix`"));
    }

    #[test]
    fn a_server_name_has_no_port() {
        assert_eq!("API.internal".parse::<ServerName>().unwrap().as_str(), "api.internal");
        for text in ["", "a:443", "https://a", "a/b", "*.a"] {
            assert!(text.parse::<ServerName>().is_err(), "{text}");
        }
        assert!("bücher.example".parse::<ServerName>().unwrap_err().help.unwrap().contains("xn--bcher-kva"));
    }
}
