//! The connection of a probe: TCP or a Unix socket, and TLS if the endpoint uses it.

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::config::SocketAddress;
use crate::net::socket::ConnectedSocket;
use crate::net::tls;
use crate::upstream::Endpoint;

/// A stream of bytes, plain or TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens the connections of an endpoint's probes.
pub(super) struct Dialer<'e> {
    endpoint: &'e Endpoint,
    address: SocketAddress,
    /// Has sessions of its own: those of the pool are for requests.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// An open connection.
pub(super) struct Connection {
    pub(super) stream: Box<dyn Io>,
    /// True if HTTP/2 was chosen in the TLS handshake; `None` without one.
    alpn_is_h2: Option<bool>,
}

impl<'e> Dialer<'e> {
    pub(super) fn new(endpoint: &'e Endpoint, protocols: &[&[u8]], port: Option<u16>) -> Self {
        let mut address = endpoint.address().clone();
        // A Unix socket has no port, so its probes go to the socket itself.
        if let (SocketAddress::Inet(address), Some(port)) = (&mut address, port) {
            address.set_port(port);
        }
        Self { endpoint, address, tls: endpoint.own_tls(protocols) }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Returns the reason why none can be opened.
    pub(super) async fn open(&self) -> Result<Connection, String> {
        let connected = ConnectedSocket::connect(&self.address).await;
        let socket = connected.map_err(|error| format!("cannot connect: {error}"))?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Connection { stream: Box::new(socket), alpn_is_h2: None });
        };
        let handshake = connector.connect(name.clone(), socket).await;
        let stream = handshake.map_err(|error| self.endpoint.tls_failure(&error))?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2);
        Ok(Connection { stream: Box::new(stream), alpn_is_h2: Some(is_h2) })
    }
}

impl Connection {
    /// Returns true if HTTP/2 is spoken on it. Without TLS that is as `prior` says.
    pub(super) fn chose_h2(&self, prior: bool) -> bool {
        self.alpn_is_h2.unwrap_or(prior)
    }
}
