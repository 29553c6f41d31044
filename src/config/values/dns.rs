//! Servers and names of DNS, as the file writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::duration::Duration;
use super::endpoint_url::EndpointUrl;
use super::host::is_host_name;
use super::text::{Malformed, text_type};
use super::{base_path, pattern, punycode};

/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// A DNS server: an IP address, and a port unless it is 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DnsServer(SocketAddr);

text_type!(DnsServer, format: "dns-server", pattern: {
    let (ipv4, ipv6, port) = (pattern::ipv4(), pattern::ipv6(), pattern::port());
    pattern::whole(&format!("{ipv4}(?::{port})?|{ipv6}|\\[{ipv6}\\]:{port}"))
});

impl DnsServer {
    /// Returns the address to ask.
    pub(crate) fn address(self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port() == DNS_PORT { self.0.ip().fmt(f) } else { self.0.fmt(f) }
    }
}

impl FromStr for DnsServer {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let with_port = || text.parse().ok().filter(|address: &SocketAddr| address.port() > 0);
        let address = text.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)).ok().or_else(with_port);
        // A scope would not survive the way to the resolver.
        address.filter(|_| !text.contains('%')).map(Self).ok_or_else(|| {
            Malformed::new(format!("`{text}` is not the address of a DNS server")).help(
                "write an IP address, and the port unless it is 53: `10.0.0.2`, `127.0.0.1:5353`, `\"[::1]:5353\"`",
            )
        })
    }
}

/// A domain, relative or with a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainName(String);

text_type!(DomainName, format: "domain-name", pattern: {
    pattern::whole(&format!("{}\\.?", pattern::host_name()))
});

impl DomainName {
    /// Returns the name, in lower case.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if is_host_name(text.strip_suffix('.').unwrap_or(text)) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let help =
            punycode::advise(text).unwrap_or_else(|| "write a domain such as `svc.cluster.local`".to_owned());
        Err(Malformed::new(format!("`{text}` is not a domain")).help(help))
    }
}

/// The name of SRV records (RFC 2782), and how their targets are spoken to: as in a URL, but without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SrvName(EndpointUrl);

text_type!(SrvName, format: "srv-name", pattern: {
    pattern::whole(&format!("(?:https?://)?{}\\.?{}", pattern::host_name_before_path(), base_path::pattern()))
});

impl SrvName {
    /// Returns scheme, name and base path. Its port means nothing.
    pub(crate) fn url(&self) -> &EndpointUrl {
        &self.0
    }
}

impl fmt::Display for SrvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SrvName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let help = "write the name of the records, with a scheme if it is not `http`: `_http._tcp.api.internal`, \
                    `https://_api._tcp.example.com`";
        let malformed = |message: &str| Malformed::new(format!("`{text}` {message}")).help(help);
        let url = if text.contains("://") {
            text.to_owned()
        } else if text.to_ascii_lowercase().starts_with("_https.") {
            format!("https://{text}")
        } else {
            format!("http://{text}")
        };
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or(rest);
        if authority.contains(':') {
            return Err(malformed("has a port, which the records state"));
        }
        url.parse().map(Self).map_err(|_| malformed("is no name of SRV records"))
    }
}

/// The times at which a name is resolved again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Resolve {
    /// As its records say.
    #[default]
    Auto,
    /// At intervals.
    Every(Duration),
    /// Never.
    Off,
}

text_type!(Resolve, format: "resolve", pattern: format!("^(?:auto|off)$|{}", Duration::pattern()));

impl fmt::Display for Resolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Every(interval) => interval.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for Resolve {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            interval => interval.parse().map(Self::Every).map_err(|error: Malformed| Malformed {
                help: Some("write `auto`, `off` or an interval such as `30s`".to_owned()),
                ..error
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_with_or_without_a_port() {
        for (text, address, printed) in [
            ("10.0.0.2", "10.0.0.2:53", "10.0.0.2"),
            ("127.0.0.1:5353", "127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53", "::1"),
            ("[::1]:5353", "[::1]:5353", "[::1]:5353"),
        ] {
            let server: DnsServer = text.parse().unwrap();
            assert_eq!(
                (server.address().to_string(), server.to_string()),
                (address.to_owned(), printed.to_owned())
            );
        }
        for text in ["", "dns.internal", "10.0.0.2:0", "[::1]", "fe80::1%2", "10.0.0.2:99999"] {
            assert!(text.parse::<DnsServer>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_srv_name_is_like_a_url_without_a_port() {
        for (text, printed) in [
            ("_http._tcp.api.internal", "http://_http._tcp.api.internal"),
            ("_https._tcp.API.internal.", "https://_https._tcp.api.internal."),
            ("https://_api._tcp.example.com/v2", "https://_api._tcp.example.com/v2"),
            ("api.service.consul", "http://api.service.consul"),
        ] {
            let name: SrvName = text.parse().unwrap();
            assert_eq!(name.to_string(), printed);
            assert_eq!(printed.parse::<SrvName>().unwrap(), name);
        }
        for text in ["", "_http._tcp.api:80", "ftp://_ftp._tcp.a", "[::1]", "http://"] {
            assert!(text.parse::<SrvName>().is_err(), "{text}");
        }
    }
}
