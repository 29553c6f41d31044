//! Connections of the control plane's own HTTP clients, plain or with TLS.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::config::load::files::Files;
use crate::config::{KeyUrl, Scheme};
use crate::control::upstreams::names::ActiveResolver;
use crate::net::tls::{self, ClientTls, TlsError};
use crate::upstream::literal;

/// The time to connect to one of the addresses of a name.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The TLS of clients of any host, with certificates of their own to trust or the system's.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    settings: ClientTls,
}

impl Tls {
    /// Builds it, and reads `files`.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(crate) fn new(settings: ClientTls, files: &Files) -> Result<Self, TlsError> {
        Ok(Self { config: tls::client_config(&settings, files)?, settings })
    }
}

/// Opens the connections of a client of one server.
#[derive(Clone)]
pub(crate) struct Connector {
    host: String,
    port: u16,
    tls: Option<(Tls, ServerName<'static>)>,
    /// The protocol that is spoken.
    alpn: &'static [u8],
    resolver: ActiveResolver,
    /// The runtime of the resolver, for a client that runs on another one.
    resolved_on: Option<Handle>,
}

impl Connector {
    /// Returns the connector to the server of a URL, whose path plays no part. It uses `tls` for `https` alone.
    ///
    /// # Errors
    /// The host has no name that a certificate can have.
    pub(crate) fn new(
        url: &KeyUrl,
        tls: Option<&Tls>,
        alpn: &'static [u8],
        resolver: ActiveResolver,
    ) -> Result<Self, TlsError> {
        let tls = match (url.scheme, tls) {
            (Scheme::Https, Some(tls)) => Some((tls.clone(), tls::server_name(None, &url.host)?)),
            _ => None,
        };
        Ok(Self { host: url.host.clone(), port: url.port, tls, alpn, resolver, resolved_on: None })
    }

    /// Has names resolved on the present runtime, wherever the client runs.
    pub(crate) fn resolving_here(self) -> Self {
        Self { resolved_on: Handle::try_current().ok(), ..self }
    }

    async fn connect(self) -> Result<TokioIo<Stream>, String> {
        let socket = self.open().await?;
        let Some((tls, name)) = self.tls else { return Ok(TokioIo::new(Stream(Box::new(socket)))) };
        let connector = TlsConnector::from(tls::with_own_sessions(&tls.config, &[self.alpn]));
        let stream = connector.connect(name, socket).await;
        let stream = stream.map_err(|error| tls::server_failure(&error, &tls.settings))?;
        Ok(TokioIo::new(Stream(Box::new(stream))))
    }

    /// Connects to the first address that takes a connection.
    async fn open(&self) -> Result<TcpStream, String> {
        let mut failure = "the name has no address".to_owned();
        for ip in self.addresses().await? {
            let address = SocketAddr::new(ip, self.port);
            match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failure = format!("cannot connect to {address}: {error}"),
                Err(_elapsed) => failure = format!("{address} takes no connection within {CONNECT_MAX:?}"),
            }
        }
        Err(failure)
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        if let Some(ip) = literal(&self.host) {
            return Ok(vec![ip]);
        }
        let (resolver, host) = (self.resolver.current(), self.host.clone());
        let lookup = async move {
            let found = resolver.addresses(&host).await;
            found.map(|found| found.items).map_err(|error| error.to_string())
        };
        match &self.resolved_on {
            None => lookup.await,
            // The resolver's sockets belong to the runtime on which they were opened.
            Some(runtime) => runtime.spawn(lookup).await.map_err(|error| error.to_string())?,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = String;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, String>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, plain or TLS.
pub(crate) struct Stream(Box<dyn Io>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Returns the first cause of an error, whose own text says the least.
pub(crate) fn root(error: &(dyn StdError + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}
