//! The `X-Forwarded-*` fields: the client's address, and the scheme and host that it used.
//!
//! These fields have no standard. `Forwarded` (RFC 7239) has one, but few upstreams read it. From a trusted peer it
//! passes unchanged.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::client_origin::{X_FORWARDED_PROTO, forwarded_scheme};
use super::list_members;
use super::spellings::{is_disguise, is_disguised_identity, is_identity};
use crate::config;
use crate::http::fields::Fields;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The values that a downstream connection adds to each of its requests. They are created once per connection.
#[derive(Debug, Clone)]
pub(crate) struct Forwarding {
    /// The peer's address; `None` on a Unix socket.
    peer: Option<IpAddr>,
    /// The value that the peer has in `X-Forwarded-For`.
    peer_value: Option<HeaderValue>,
    scheme: HeaderValue,
    is_trusted: bool,
}

impl Forwarding {
    /// Creates the values for a connection from `peer` whose requests use `scheme`. A trusted peer's own fields about
    /// the hops before it are believed.
    pub(crate) fn new(peer: Option<IpAddr>, scheme: &Scheme, is_trusted: bool) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        // An address is always a valid value. If it ever is not, `unknown` is the word of RFC 7239 §6.2.
        let peer_value = peer.map(|peer| {
            HeaderValue::from_str(&peer.to_string()).unwrap_or(const { HeaderValue::from_static("unknown") })
        });
        let scheme = HeaderValue::from_static(if *scheme == Scheme::HTTPS { "https" } else { "http" });
        Self { peer, peer_value, scheme, is_trusted }
    }

    /// Returns true if the peer's word about the hops before it is believed.
    pub(crate) fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Sets `X-Forwarded-For`, `-Proto` and `-Host` of a request.
    ///
    /// If the peer is trusted, its address is appended to `X-Forwarded-For`, which becomes one line, and the other two
    /// stay if they are present. Otherwise all three are replaced, and every other field that an upstream might believe
    /// (`Forwarded`, `X-Real-IP`, any other `X-Forwarded-…`) is removed. Other spellings of such fields, and of those
    /// that the gateway writes itself, are removed from every request.
    ///
    /// A peer on a Unix socket has no address to add: Envoy and HAProxy add none either, and few upstreams can read the `unix:` that
    /// nginx adds.
    ///
    /// `host` is the request's host with its port, or empty if it has none.
    pub(crate) fn apply(&self, headers: &mut Fields, host: &str) {
        if self.is_trusted {
            headers.retain(|name, _| !is_disguise(name.as_str()) && !is_disguised_identity(name.as_str()));
            if let Some(peer) = &self.peer_value {
                let chain = append_to_chain(headers, peer);
                headers.insert(X_FORWARDED_FOR, chain);
            }
            if !headers.contains_key(X_FORWARDED_PROTO) {
                headers.append(X_FORWARDED_PROTO, self.scheme.clone());
            }
            if !headers.contains_key(X_FORWARDED_HOST) {
                set_host(headers, host);
            }
        } else {
            headers.retain(|name, _| {
                let name = name.as_str();
                !is_disguise(name) && !is_identity(name)
            });
            if let Some(peer) = &self.peer_value {
                headers.append(X_FORWARDED_FOR, peer.clone());
            }
            headers.append(X_FORWARDED_PROTO, self.scheme.clone());
            set_host(headers, host);
        }
    }

    /// Returns the scheme that the client used: that of a trusted peer's `X-Forwarded-Proto`, else the connection's. It
    /// must be called before [`Forwarding::apply`].
    pub(crate) fn client_scheme(&self, headers: &Fields) -> config::Scheme {
        let forwarded = if self.is_trusted { forwarded_scheme(headers) } else { None };
        forwarded.unwrap_or(match self.scheme.as_bytes() {
            b"https" => config::Scheme::Https,
            _ => config::Scheme::Http,
        })
    }

    /// Returns the address of the client: the last address in `X-Forwarded-For`, read from its end, that is not a trusted
    /// proxy's. If the peer is not trusted, it is the peer's own address, and `None` on a Unix socket.
    ///
    /// An entry that is not an address ends the search, because its writer also wrote everything before it. The result is
    /// then the address of the proxy that passed it on. Entries may have ports and brackets. It must be called before
    /// [`Forwarding::apply`], with the proxies by which it was decided whether the peer is trusted.
    pub(crate) fn client_ip(&self, headers: &Fields, trusted_proxies: &TrustedProxies) -> Option<IpAddr> {
        if self.is_trusted { behind_proxies(headers, self.peer, trusted_proxies) } else { self.peer }
    }
}

/// Returns the address of the client behind a trusted peer.
fn behind_proxies(
    headers: &Fields,
    peer: Option<IpAddr>,
    trusted_proxies: &TrustedProxies,
) -> Option<IpAddr> {
    let mut client = peer;
    for line in headers.get_all(X_FORWARDED_FOR).rev() {
        for entry in line.to_str().unwrap_or("?").rsplit(',').map(str::trim).filter(|entry| !entry.is_empty())
        {
            if entry == UNIX && trusted_proxies.has_unix {
                continue;
            }
            let Some(address) = parse_address(entry) else { return client };
            client = Some(address);
            if !trusted_proxies.has(client) {
                return client;
            }
        }
    }
    client
}

/// Appends `X-Forwarded-Host`, which must be absent.
fn set_host(headers: &mut Fields, host: &str) {
    // Usually it is the Host field's own value, which is shared instead of copied.
    let shared = headers.get(HOST).filter(|value| value.as_bytes() == host.as_bytes()).cloned();
    if let Some(value) = shared.or_else(|| HeaderValue::from_str(host).ok()).filter(|value| !value.is_empty())
    {
        headers.append(X_FORWARDED_HOST, value);
    }
}

/// Returns the addresses so far and the peer's, in one line. Upstreams that read only the first line must find all of them there.
fn append_to_chain(headers: &Fields, peer: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(X_FORWARDED_FOR) {
        return peer.clone();
    }
    let mut chain = String::new();
    for address in list_members(headers, X_FORWARDED_FOR).chain(peer.to_str()) {
        if !chain.is_empty() {
            chain.push_str(", ");
        }
        chain.push_str(address);
    }
    HeaderValue::try_from(chain).unwrap_or_else(|_| peer.clone())
}

/// The entry of `X-Forwarded-For` that nginx writes for a client on a Unix socket.
const UNIX: &str = "unix:";

/// The peers whose word about the hops before them is believed.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
    /// True if those on Unix sockets are among them.
    has_unix: bool,
}

impl TrustedProxies {
    pub(crate) fn new(proxies: &[config::PeerNetwork]) -> Self {
        let networks = proxies.iter().filter_map(|proxy| match proxy {
            config::PeerNetwork::Network(network) => Some(*network),
            config::PeerNetwork::Unix => None,
        });
        Self { networks: networks.collect(), has_unix: proxies.contains(&config::PeerNetwork::Unix) }
    }

    /// Returns true if a peer is trusted, by its address. An IPv4 address in IPv6 form counts as IPv4; a peer without an address is one
    /// on a Unix socket.
    pub(crate) fn has(&self, peer: Option<IpAddr>) -> bool {
        let Some(address) = peer else { return self.has_unix };
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Parses an address as `X-Forwarded-For` has it in practice: bare, with a port, or in brackets.
fn parse_address(entry: &str) -> Option<IpAddr> {
    let bracketed = entry.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let address = match bracketed {
        Some((inside, _port)) => inside.parse().ok()?,
        None => match entry.parse() {
            Ok(address) => address,
            Err(_) => entry.split_once(':')?.0.parse().ok()?,
        },
    };
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, lines};
    use super::*;

    fn after(before: &[&str], is_trusted: bool) -> Vec<String> {
        let mut headers = headers(before);
        let forwarding = Forwarding::new("192.0.2.1".parse().ok(), &Scheme::HTTPS, is_trusted);
        forwarding.apply(&mut headers, "example.com:8080");
        lines(&headers)
    }

    /// Returns the address of the client behind a peer.
    fn client_ip(headers: &Fields, peer: Option<IpAddr>, trusted: &TrustedProxies) -> Option<IpAddr> {
        Forwarding::new(peer, &Scheme::HTTP, trusted.has(peer)).client_ip(headers, trusted)
    }

    const FRESH: [&str; 3] =
        ["x-forwarded-for: 192.0.2.1", "x-forwarded-host: example.com:8080", "x-forwarded-proto: https"];

    #[test]
    fn forwarded_fields_are_added_for_trusted_and_untrusted_peers() {
        assert_eq!(after(&[], true), FRESH);
        assert_eq!(after(&[], false), FRESH);
    }

    #[test]
    fn an_untrusted_peer_is_believed_nothing() {
        let before = [
            "x-forwarded-for: 10.0.0.1",
            "x-forwarded-for: 10.0.0.2",
            "x-forwarded-proto: gopher",
            "x-forwarded-host: evil",
            "x-forwarded-port: 1",
            "x-forwarded-prefix: /x",
            "x-real-ip: 10.0.0.1",
            "forwarded: for=10.0.0.1",
        ];
        assert_eq!(after(&before, false), FRESH);
    }

    #[test]
    fn a_trusted_peer_is_appended_and_its_word_stays() {
        let before = [
            "x-forwarded-for: 10.0.0.1 ,10.0.0.2",
            "x-forwarded-for: 10.0.0.3",
            "x-forwarded-proto: https, http",
            "x-forwarded-host: a",
            "x-forwarded-port: 1",
            "forwarded: for=10.0.0.1",
        ];
        let expected = [
            "forwarded: for=10.0.0.1",
            "x-forwarded-for: 10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.1",
            "x-forwarded-host: a",
            "x-forwarded-port: 1",
            "x-forwarded-proto: https, http",
        ];
        assert_eq!(after(&before, true), expected);
    }

    #[test]
    fn a_request_without_a_host_has_no_forwarded_host() {
        let mut headers = headers(&["x-forwarded-host: evil"]);
        Forwarding::new("::ffff:192.0.2.1".parse().ok(), &Scheme::HTTP, false).apply(&mut headers, "");
        assert_eq!(lines(&headers), ["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http"]);
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxys() {
        let trusted =
            TrustedProxies::new(&["10.0.0.0/8", "fd00::/8", "unix"].map(|proxy| proxy.parse().unwrap()));
        // `unix:` is a peer on a Unix socket, and a client there.
        let cases: [(&str, &[&str], &str); 19] = [
            ("unix:", &[], "unix:"),
            ("unix:", &["198.51.100.1"], "198.51.100.1"),
            ("unix:", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("unix:", &["198.51.100.1, unix:"], "198.51.100.1"),
            ("unix:", &["unix:"], "unix:"),
            ("unix:", &["nonsense"], "unix:"),
            ("192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("::ffff:192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.2,"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:4711, fd00::2"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
        ];
        for (peer, chain, expected) in cases {
            let lines: Vec<_> = chain.iter().map(|value| format!("x-forwarded-for: {value}")).collect();
            let headers = headers(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let client = client_ip(&headers, peer.parse().ok(), &trusted);
            assert_eq!(client, expected.parse().ok(), "{peer} {chain:?}");
        }
    }

    #[test]
    fn peer_on_a_unix_socket_adds_no_address_and_is_trusted_only_as_unix() {
        let before = ["x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https", "x-forwarded-host: a"];
        for (is_trusted, after) in
            [(true, &before[..]), (false, &["x-forwarded-proto: http", "x-forwarded-host: b"])]
        {
            let mut headers = headers(&before);
            Forwarding::new(None, &Scheme::HTTP, is_trusted).apply(&mut headers, "b");
            let mut after = after.to_vec();
            after.sort_unstable();
            assert_eq!(lines(&headers), after);
        }
        let headers = headers(&["x-forwarded-for: 198.51.100.1"]);
        for (proxies, client) in [("unix", "198.51.100.1".parse().ok()), ("0.0.0.0/0", None)] {
            let trusted = TrustedProxies::new(&[proxies.parse().unwrap()]);
            assert_eq!((trusted.has(None), client_ip(&headers, None, &trusted)), (proxies == "unix", client));
        }
        assert_eq!(
            client_ip(&headers, "10.0.0.1".parse().ok(), &TrustedProxies::default()),
            "10.0.0.1".parse().ok()
        );
    }
}
