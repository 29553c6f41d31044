//! An HTTP client for small documents, such as key sets and tokens. Requests are rare, so one idle connection is kept.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::config::{KeyUrl, Scheme};
use crate::control::upstreams::names::ActiveResolver;
use crate::net::tls::{self, ClientTls, TlsError};
use crate::upstream::literal;

/// The largest document.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The largest head of a response.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The time for which a connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(90);

/// The time to connect to one of the addresses of a name.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A client for one URL. Redirects are not followed: the operator names the place that is trusted.
#[derive(Clone)]
pub(crate) struct Client {
    url: KeyUrl,
    pool: Pool<Connector, String>,
}

/// A document.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) body: Bytes,
    /// The time for which it is fresh, if its server says so (RFC 9111 §5.2.2.1).
    pub(super) max_age: Option<Duration>,
}

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
    pub(crate) fn new(
        settings: ClientTls,
        files: &crate::config::load::files::Files,
    ) -> Result<Self, TlsError> {
        Ok(Self { config: tls::client_config(&settings, files)?, settings })
    }
}

impl Client {
    /// Creates a client. It uses `tls` for `https` alone.
    ///
    /// # Errors
    /// The host has no name that a certificate can have.
    pub(crate) fn new(url: KeyUrl, tls: &Tls, resolver: ActiveResolver) -> Result<Self, TlsError> {
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some((tls.clone(), tls::server_name(None, &url.host)?)),
        };
        let connector = Connector { url: url.clone(), tls, resolver };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { url, pool })
    }

    /// Fetches the document.
    ///
    /// # Errors
    /// Returns the reason why there is none.
    pub(super) async fn fetch(&self) -> Result<Document, String> {
        let request = http::Request::get(self.url.to_string())
            .header(header::USER_AGENT, "gateway")
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(String::new());
        let response = self.send(request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(format!("status {}", status.as_u16()));
        }
        let max_age = max_age(&response);
        Ok(Document { body: read(response.into_body()).await?, max_age })
    }

    /// Posts a form. Returns the response's status and body.
    ///
    /// # Errors
    /// Returns the reason why there is no response.
    pub(super) async fn post(
        &self,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = http::Request::post(self.url.to_string())
            .header(header::USER_AGENT, "gateway")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = self.send(request.body(form)).await?;
        Ok((response.status(), read(response.into_body()).await?))
    }

    async fn send(&self, request: http::Result<http::Request<String>>) -> Result<Response<Incoming>, String> {
        let request = request.map_err(|error| error.to_string())?;
        let response = self.pool.request(request).await.map_err(|error| reason(&error))?;
        if response.status().is_redirection() {
            let location = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let to = location.map(|to| format!(" to {to:?}")).unwrap_or_default();
            return Err(format!("it redirects{to}, and redirects are not followed: name that URL"));
        }
        Ok(response)
    }
}

async fn read(mut incoming: Incoming) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        let frame = frame.map_err(|error| format!("the response broke: {}", root(&error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len().saturating_add(data.len()) > BODY_BYTES_MAX {
            return Err("its response is larger than 1 MiB".to_owned());
        }
        body.extend_from_slice(&data);
    }
    Ok(body.freeze())
}

/// Returns the `max-age` of a response.
fn max_age<B>(response: &Response<B>) -> Option<Duration> {
    let values = response.headers().get_all(header::CACHE_CONTROL).iter();
    let directives = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut ages = directives.filter_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    ages.next().map(Duration::from_secs)
}

fn reason(error: &Error) -> String {
    if error.is_connect() { root(error) } else { format!("no response: {}", root(error)) }
}

/// Returns the first cause of an error, whose own text says the least.
fn root(error: &(dyn StdError + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

/// Opens the connections of a client.
#[derive(Clone)]
struct Connector {
    url: KeyUrl,
    tls: Option<(Tls, ServerName<'static>)>,
    resolver: ActiveResolver,
}

impl Connector {
    async fn connect(self) -> Result<TokioIo<Stream>, String> {
        let socket = self.open().await?;
        let Some((tls, name)) = self.tls else { return Ok(TokioIo::new(Stream(Box::new(socket)))) };
        let connector = TlsConnector::from(tls::with_own_sessions(&tls.config, &[tls::ALPN_H1]));
        let stream = connector.connect(name, socket).await;
        let stream = stream.map_err(|error| tls::server_failure(&error, &tls.settings))?;
        Ok(TokioIo::new(Stream(Box::new(stream))))
    }

    /// Connects to the first address that takes a connection.
    async fn open(&self) -> Result<TcpStream, String> {
        let mut failure = "the name has no address".to_owned();
        for ip in self.addresses().await? {
            let address = SocketAddr::new(ip, self.url.port);
            match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failure = format!("cannot connect to {address}: {error}"),
                Err(_elapsed) => failure = format!("{address} takes no connection within {CONNECT_MAX:?}"),
            }
        }
        Err(failure)
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, String> {
        if let Some(ip) = literal(&self.url.host) {
            return Ok(vec![ip]);
        }
        let found = self.resolver.current().addresses(&self.url.host).await;
        Ok(found.map_err(|error| error.to_string())?.items)
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
struct Stream(Box<dyn Io>);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_from_any_field() {
        for (values, expected) in [
            (&["public, max-age=300"][..], Some(300)),
            (&["public", "Max-Age=\"5\", must-revalidate"], Some(5)),
            (&["s-maxage=5"], None),
            (&["max-age=-1"], None),
            (&["no-cache"], None),
            (&[], None),
        ] {
            let mut response = Response::builder();
            for value in values {
                response = response.header(header::CACHE_CONTROL, *value);
            }
            let age = max_age(&response.body(()).unwrap());
            assert_eq!(age, expected.map(Duration::from_secs), "{values:?}");
        }
    }
}
