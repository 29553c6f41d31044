//! Scripted upstream servers.

mod connection;
mod http2;
mod record;
mod silent;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;

pub use connection::Connection;
pub use http2::Http2Exchange;
pub use record::Handshake;
use record::Record;
use rustls::ServerConfig;
pub use silent::{SilentListener, unused_address, unused_port};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::message::Request;
use crate::wire::Transport;

/// A server on 127.0.0.1, or on a Unix socket, that runs a script for each connection, in the test's runtime, and records the events.
///
/// It must be made in a runtime, and accepts at once. When it is dropped or [stopped](Self::stop), it refuses
/// connections and closes those that it has.
#[derive(Debug)]
pub struct Origin {
    address: Address,
    tls: bool,
    record: Arc<Record>,
    accepting: AbortHandle,
    /// Reserves the port after the origin has stopped; `None` if the address was given.
    _reserved: Option<TcpSocket>,
}

#[derive(Debug)]
enum Address {
    Inet(SocketAddr),
    Unix(PathBuf),
}

/// An origin's settings, from [`Origin::builder`].
#[derive(Debug, Default)]
pub struct OriginBuilder {
    tls: Option<Arc<ServerConfig>>,
    address: Option<SocketAddr>,
    unix: Option<PathBuf>,
}

impl Origin {
    /// Returns a builder for an origin with settings.
    #[must_use]
    pub fn builder() -> OriginBuilder {
        OriginBuilder::default()
    }

    /// Returns an origin that sends these bytes in response to each request, once the request has been read to its end.
    /// The connection is kept unless the response says `connection: close`, or only the close ends its body.
    #[must_use]
    pub fn answer(response: impl Into<Vec<u8>>) -> Self {
        Self::builder().answer(response)
    }

    /// Returns an origin like [`Self::answer`] that sends the result of `respond` to each request.
    #[must_use]
    pub fn respond(respond: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::builder().respond(respond)
    }

    /// Returns an origin that responds to each request with 200 and the request's own body.
    #[must_use]
    pub fn echo() -> Self {
        Self::builder().echo()
    }

    /// Returns an origin that runs `script` for each connection. The connection closes when the script drops it.
    #[must_use]
    pub fn script<F, Fut>(script: F) -> Self
    where
        F: Fn(Connection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::builder().script(script)
    }

    /// Returns the address on which it listens.
    ///
    /// # Panics
    /// Panics on a Unix socket.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        match &self.address {
            Address::Inet(address) => *address,
            Address::Unix(path) => panic!("{} has no IP address", path.display()),
        }
    }

    /// Returns `http://127.0.0.1:PORT`, `https://localhost:PORT` with TLS, or `unix:PATH` on a Unix socket.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.address {
            Address::Inet(address) if self.tls => format!("https://localhost:{}", address.port()),
            Address::Inet(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Stops listening and closes every connection, with a FIN.
    pub async fn stop(&self) {
        self.accepting.abort();
        self.record.wait("the origin to stop", |record| record.stopped).await;
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.record.read(|record| record.accepted)
    }

    /// Returns the number of open connections: those accepted and not yet dropped by their script, which notices a
    /// close only when it reads or writes.
    #[must_use]
    pub fn open(&self) -> usize {
        self.record.read(|record| record.open)
    }

    /// Returns the requests read to their end, in that order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.record.read(|record| record.requests.clone())
    }

    /// Returns the errors on connections: malformed or truncated requests, resets, writes to a closed peer, failed TLS
    /// handshakes. A close between two requests is not an error.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        self.record.read(|record| record.errors.clone())
    }

    /// Returns the completed TLS handshakes, in that order.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.record.read(|record| record.handshakes.clone())
    }

    /// Returns the number of TLS handshakes that resumed a session.
    #[must_use]
    pub fn resumed(&self) -> usize {
        self.handshakes().iter().filter(|handshake| handshake.resumed).count()
    }

    /// Waits until `count` connections have been accepted.
    pub async fn wait_for_accepted(&self, count: usize) {
        self.record.wait(&format!("{count} accepted connections"), |record| record.accepted >= count).await;
    }

    /// Waits until exactly `count` connections are open; see [`Self::open`].
    pub async fn wait_for_open(&self, count: usize) {
        self.record.wait(&format!("{count} open connections"), |record| record.open == count).await;
    }

    /// Waits until `count` requests have been read, and returns all that have.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        self.record.wait(&format!("{count} requests"), |record| record.requests.len() >= count).await;
        self.requests()
    }

    /// Waits until an error has occurred on a connection; see [`Self::errors`].
    pub async fn wait_for_error(&self) -> Vec<String> {
        self.record.wait("an error on a connection", |record| !record.errors.is_empty()).await;
        self.errors()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl OriginBuilder {
    /// Enables TLS.
    #[must_use]
    pub fn tls(mut self, config: ServerConfig) -> Self {
        self.tls = Some(Arc::new(config));
        self
    }

    /// Listens here instead of on a port that the kernel chooses, for an origin that returns after a stop.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Listens on a Unix socket, in place of one that an earlier origin left behind.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix = Some(path.into());
        self
    }

    /// Builds an origin like [`Origin::answer`].
    #[must_use]
    pub fn answer(self, response: impl Into<Vec<u8>>) -> Origin {
        let response = response.into();
        self.respond(move |_| response.clone())
    }

    /// Builds an origin like [`Origin::respond`].
    #[must_use]
    pub fn respond(self, respond: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        let respond = Arc::new(respond);
        self.script(move |mut connection| {
            let respond = Arc::clone(&respond);
            async move {
                while let Some(request) = connection.read_request().await {
                    let response = respond(&request);
                    connection.write(&response).await;
                    if connection::ends_connection(&response, request.method == "HEAD") {
                        connection.close().await;
                        return;
                    }
                }
            }
        })
    }

    /// Builds an origin like [`Origin::echo`].
    #[must_use]
    pub fn echo(self) -> Origin {
        self.respond(|request| {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
            let body = if request.method == "HEAD" { &[] } else { &request.body[..] };
            [head.as_bytes(), body].concat()
        })
    }

    /// Builds an origin like [`Origin::script`].
    #[must_use]
    pub fn script<F, Fut>(self, script: F) -> Origin
    where
        F: Fn(Connection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let record = Arc::new(Record::default());
        if let Some(path) = self.unix {
            drop(std::fs::remove_file(&path));
            let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
            let accepting = tokio::spawn(accept(listener, None, Arc::clone(&record), script)).abort_handle();
            return Origin { address: Address::Unix(path), tls: false, record, accepting, _reserved: None };
        }
        let reserved = self.address.is_none().then(|| silent::reserve(([127, 0, 0, 1], 0).into()));
        let address = self.address.or_else(|| reserved.as_ref()?.local_addr().ok()).unwrap();
        let listener = StdListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = Listener::Tcp(TcpListener::from_std(listener).unwrap());

        let tls = self.tls.map(TlsAcceptor::from);
        let speaks_tls = tls.is_some();
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&record), script)).abort_handle();
        Origin { address: Address::Inet(address), tls: speaks_tls, record, accepting, _reserved: reserved }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> Transport {
        match self {
            Self::Tcp(listener) => Transport::Plain(listener.accept().await.unwrap().0),
            Self::Unix(listener) => Transport::Unix(listener.accept().await.unwrap().0),
        }
    }
}

/// Accepts connections until it is aborted. That also ends the scripts, which are in its `JoinSet`.
async fn accept<F, Fut>(listener: Listener, tls: Option<TlsAcceptor>, record: Arc<Record>, script: F)
where
    F: Fn(Connection) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    // Dropped last, after the scripts and the listener.
    let _stopped = record.stops_at_drop();
    let (listener, script) = (listener, Arc::new(script));
    let mut scripts = JoinSet::new();
    loop {
        let (stream, opened) = tokio::select! {
            accepted = listener.accept() => (accepted, record.accepted()),
            Some(ended) = scripts.join_next() => {
                if let Err(panicked) = ended {
                    record.error(format!("a script panicked: {panicked}"));
                }
                continue;
            }
        };
        let (tls, record, script) = (tls.clone(), Arc::clone(&record), Arc::clone(&script));
        scripts.spawn(async move {
            match handshake(stream, tls, &record).await {
                Ok(transport) => script(Connection::new(transport, opened)).await,
                Err(error) => record.error(format!("TLS handshake: {error}")),
            }
        });
    }
}

async fn handshake(plain: Transport, tls: Option<TlsAcceptor>, record: &Record) -> io::Result<Transport> {
    let (tls, tcp) = match (tls, plain) {
        (Some(tls), Transport::Plain(tcp)) => (tls, tcp),
        (_, plain) => return Ok(plain),
    };
    let stream = tls.accept(tcp).await?;
    record.handshake(Handshake::of(stream.get_ref().1));
    Ok(Transport::Tls(Box::new(stream.into())))
}
