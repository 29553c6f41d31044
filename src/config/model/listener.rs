//! `listeners`: the addresses that accept connections.

use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http2::ListenerHttp2;
use super::keepalive::TcpKeepalive;
use crate::config::values::byte_size::ByteSize;
use crate::config::values::duration::Duration;
use crate::config::values::listener_address::{FileMode, ListenerAddress};
use crate::config::values::or_off::OrOff;
use crate::config::values::unix_socket::SocketAddress;

/// An address that accepts connections.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// The name in logs, metrics and the `listeners` of routes. Default: the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// IP address and port to listen on: `127.0.0.1:8080`, `"[::]:8443"`. Port 0 takes any free port. Or a Unix socket:
    /// `unix:/run/gateway.sock`, `unix:@gateway` for an abstract one of Linux.
    pub(crate) address: ListenerAddress,
    /// The permissions of a Unix socket's file, in quotes. Clients need write permission. Default: `"0660"`, for owner and group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<FileMode>,
    /// TLS of the listener. Default: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ListenerTls>,
    /// The HTTP versions spoken. With TLS the client chooses by ALPN. Without TLS, `h2` means HTTP/2 with prior
    /// knowledge.
    #[serde(default = "Protocol::all")]
    #[schemars(length(min = 1))]
    pub(crate) protocols: Vec<Protocol>,
    /// Time limits for clients.
    #[serde(default)]
    pub(crate) timeouts: ListenerTimeouts,
    /// Resource limits for clients.
    #[serde(default)]
    pub(crate) limits: ListenerLimits,
    /// Windows and limits of HTTP/2 connections.
    #[serde(default)]
    pub(crate) http2: ListenerHttp2,
    /// Rules for the header fields of requests.
    #[serde(default)]
    pub(crate) headers: ListenerHeaders,
    /// Probes on client connections without traffic, which find clients that have vanished. A Unix socket needs none.
    #[serde(default = "TcpKeepalive::on")]
    pub(crate) tcp_keepalive: OrOff<TcpKeepalive>,
    /// The PROXY protocol (v1 or v2) at the beginning of connections.
    #[serde(default)]
    pub(crate) proxy_protocol: ProxyProtocol,
    /// The fate of an HTTP/1 client that ends its sending half (FIN, on TLS close_notify) while it waits for a
    /// response. On HTTP/2 requests end by themselves, and tunnels always pass on the end of each half.
    #[serde(default)]
    pub(crate) half_close: HalfClose,
}

impl Listener {
    /// Returns the name in logs, metrics and the `listeners` of routes: the one written, or the address as written.
    pub(crate) fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.address.to_string())
    }

    /// Returns the address to bind.
    pub(crate) fn socket_address(&self) -> SocketAddress {
        (&self.address).into()
    }

    /// Returns the permissions of a Unix socket's file.
    pub(crate) fn file_mode(&self) -> FileMode {
        self.mode.unwrap_or(FileMode::OWNER_AND_GROUP)
    }
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// Certificates with their keys. The client's SNI chooses; the first is for clients that match none. The files are
    /// read again when they change.
    #[schemars(length(min = 1))]
    pub(crate) certificates: Vec<CertificateFiles>,
    /// The oldest TLS version accepted, in quotes: `"1.2"` or `"1.3"`.
    #[serde(default)]
    pub(crate) min_version: TlsVersion,
    /// Requests certificates from clients. Default: none are requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<ClientAuth>,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    /// File with the certificate and its chain, PEM, leaf first. Relative to the folder of the configuration
    /// file.
    pub(crate) cert: PathBuf,
    /// File with the private key, PEM. Relative to the folder of the configuration file.
    pub(crate) key: PathBuf,
}

/// The supported TLS versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// The verification of client certificates.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuth {
    /// File with the authorities that must have issued client certificates, PEM. Relative to the folder of the
    /// configuration file.
    pub(crate) ca: PathBuf,
    /// Files with certificate revocation lists, PEM. With any, a client is accepted only if each certificate of its
    /// chain, except the authority itself, is covered by a list of its issuer that has not expired and does not name
    /// it. Relative to the folder of the configuration file. The files are read again when they change; then no earlier
    /// TLS session is resumed. Default: nothing is revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) crl: Vec<PathBuf>,
    /// Rejects clients without a certificate.
    #[serde(default = "crate::config::model::yes")]
    pub(crate) required: bool,
}

/// The HTTP versions that a listener can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// HTTP/1.0 and 1.1 (RFC 9112).
    H1,
    /// HTTP/2 (RFC 9113).
    H2,
}

impl Protocol {
    fn all() -> Vec<Self> {
        vec![Self::H1, Self::H2]
    }
}

/// Time limits for clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerTimeouts {
    /// From the accept to the end of the TLS handshake; then the connection is closed.
    pub(crate) tls_handshake: OrOff<Duration>,
    /// From the accept (with TLS, from the end of the handshake), or from the first byte of a later request, to the end
    /// of the request's header. A client that drips bytes does not extend it. Then 408 if a part of the request has
    /// arrived, and the connection is closed. It is also the time in which a frame of HTTP/2 that has begun to arrive must be
    /// whole; data may take longer, unless it is padded.
    pub(crate) request_header: OrOff<Duration>,
    /// Between two reads of a request's body; then 408.
    pub(crate) request_body: OrOff<Duration>,
    /// A client that reads nothing of its response for this long is cut off.
    pub(crate) response_write: OrOff<Duration>,
    /// A connection idle for this long is closed.
    pub(crate) keep_alive: OrOff<Duration>,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            tls_handshake: OrOff::On(Duration::from_secs(10)),
            request_header: OrOff::On(Duration::from_secs(10)),
            request_body: OrOff::On(Duration::from_secs(60)),
            response_write: OrOff::On(Duration::from_secs(60)),
            keep_alive: OrOff::On(Duration::from_secs(75)),
        }
    }
}

/// Resource limits for clients, for the whole process. Those that bound the memory of one request cannot be `off`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerLimits {
    /// Connections at once. Beyond it, the next one is accepted when one ends.
    pub(crate) connections: OrOff<NonZeroU32>,
    /// Connections at once from one client address. Beyond it, a new connection is closed. Clients on a Unix socket have no
    /// address and no such limit.
    pub(crate) connections_per_client: OrOff<NonZeroU32>,
    /// Requests on one connection, which is closed after the last of them.
    pub(crate) requests_per_connection: OrOff<NonZeroU32>,
    /// Fields in a request's header, at most 10000; 431 over it.
    #[schemars(range(max = ListenerLimits::HEADERS_MAX))]
    pub(crate) headers: NonZeroU32,
    /// Bytes of a request's header; 431 over it.
    pub(crate) header_bytes: ByteSize,
    /// Bytes of the request target; 414 over it.
    pub(crate) target_bytes: ByteSize,
    /// Bytes of a request's body; 413 over it. A route may set its own.
    pub(crate) body: OrOff<ByteSize>,
}

impl ListenerLimits {
    /// The maximum of `headers`: a header is held in a map, which ends at 32768.
    const HEADERS_MAX: u32 = 10_000;
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: OrOff::On(crate::config::model::count(10_000)),
            connections_per_client: OrOff::Off,
            requests_per_connection: OrOff::Off,
            headers: crate::config::model::count(100),
            header_bytes: ByteSize::from_bytes(32 << 10),
            target_bytes: ByteSize::from_bytes(8 << 10),
            body: OrOff::Off,
        }
    }
}

/// Header fields of requests. Another spelling of a header field that the gateway, a route or a filter sets or removes,
/// such as `X_Real_IP` for `X-Real-IP`, never reaches an upstream: CGI, PHP and WSGI programs confuse the two. Trailers
/// are checked only for the fields that the gateway itself sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerHeaders {
    /// The treatment of fields, trailers included, whose names contain an underscore, or another character than
    /// letters, digits and dashes. They pass by default, as in Envoy and HAProxy and unlike in nginx, because APIs use
    /// such fields (`api_key`).
    pub(crate) underscores: Underscores,
}

/// The treatment of fields whose names some upstreams confuse with others.
// nginx drops them to protect programs that confuse names. Here the rule on spellings protects those. Gateways built on
// nginx pass them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Underscores {
    /// They pass unchanged.
    #[default]
    Pass,
    /// They are removed before routes and filters see them, as nginx does.
    Drop,
}

/// The treatment of a client that has ended its sending half.
// `abort` is the default, as in nginx: nearly every such client has left, and its request holds an upstream connection
// for nothing. HAProxy and Envoy allow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HalfClose {
    /// The client counts as gone: its request is abandoned.
    #[default]
    Abort,
    /// The client gets the responses to all requests that it has sent completely; then the connection is closed. A
    /// client that is gone altogether is noticed only when the gateway writes to it, or when a timeout expires. On TLS,
    /// a FIN without close_notify still counts as gone.
    Allow,
}

/// The PROXY protocol on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProxyProtocol {
    /// Connections begin with HTTP or TLS.
    #[default]
    Off,
    /// Connections from `trusted_proxies` begin with a PROXY header, v1 or v2; those of other peers are plain.
    Accept,
}
