//! A raw HTTP/1 client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::message::{Head, Response};
use crate::wire::{Transport, Wire};
use crate::within;

/// A client connection that sends exactly the given bytes and reads strictly.
///
/// Methods panic if the awaited data does not arrive within [`crate::PATIENCE`] or is not valid HTTP. The `try_`
/// methods return the error instead.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// The local address; `None` on a Unix socket.
    local: Option<SocketAddr>,
    tls: Option<Agreed>,
}

/// The result of a TLS handshake.
#[derive(Debug)]
struct Agreed {
    alpn: Option<Vec<u8>>,
    certificate: Vec<u8>,
    resumed: bool,
}

impl Agreed {
    fn of(session: &ClientConnection) -> Self {
        Self {
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            certificate: session.peer_certificates().and_then(<[_]>::first).unwrap().to_vec(),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl Client {
    /// Connects without TLS.
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = within(&format!("a connection to {address}"), TcpStream::connect(address)).await;
        Self::plain(tcp.unwrap_or_else(|error| panic!("connecting to {address}: {error}")))
    }

    /// Connects without TLS.
    ///
    /// # Errors
    /// Returns the system's error.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        within(&format!("a connection to {address}"), TcpStream::connect(address)).await.map(Self::plain)
    }

    /// Connects without TLS from a local address. On Linux, each address in 127.0.0.0/8 is a different client.
    pub async fn connect_from(local: IpAddr, address: SocketAddr) -> Self {
        let socket = if local.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind(SocketAddr::new(local, 0)).unwrap();
        let tcp = within(&format!("a connection from {local} to {address}"), socket.connect(address)).await;
        Self::plain(tcp.unwrap_or_else(|error| panic!("connecting from {local} to {address}: {error}")))
    }

    /// Connects with TLS. `name` is the SNI and the name that the certificate must have.
    pub async fn connect_tls(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let connected = Self::try_connect_tls(address, config, name).await;
        connected.unwrap_or_else(|error| panic!("TLS with {address} as {name}: {error}"))
    }

    /// Connects with TLS. In TLS 1.3 a server rejects a client certificate only after the handshake, so that error
    /// appears at the first read.
    ///
    /// # Errors
    /// Returns the error of the system or the handshake.
    pub async fn try_connect_tls(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let tls = within(&format!("TLS with {address} as {name}"), tls_stream(address, config, name)).await?;
        Self::tls(tls)
    }

    /// Connects from a local address, sends `prefix` as it is, and then begins TLS, like a proxy with its PROXY header.
    pub async fn connect_tls_after(
        local: IpAddr,
        address: SocketAddr,
        prefix: &[u8],
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> Self {
        let mut client = Self::connect_from(local, address).await;
        client.send_raw(prefix).await;
        let what = format!("TLS with {address} as {name}");
        let tls = within(&what, handshake(client.wire.into_tcp(), config, name)).await;
        Self::tls(tls.unwrap_or_else(|error| panic!("{what}: {error}"))).unwrap()
    }

    /// Connects to a Unix socket, without TLS.
    pub async fn connect_unix(path: impl AsRef<Path>) -> Self {
        let shown = path.as_ref().display().to_string();
        Self::try_connect_unix(path).await.unwrap_or_else(|error| panic!("connecting to {shown}: {error}"))
    }

    /// Connects to a Unix socket, without TLS.
    ///
    /// # Errors
    /// Returns the system's error.
    pub async fn try_connect_unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let unix = UnixStream::connect(path).await?;
        Ok(Self { wire: Wire::new(Transport::Unix(unix)), local: None, tls: None })
    }

    /// Connects to a Unix socket, with TLS.
    pub async fn connect_unix_tls(path: impl AsRef<Path>, config: &Arc<ClientConfig>, name: &str) -> Self {
        let unix = UnixStream::connect(path).await.expect("the socket takes a connection");
        let tls = within("TLS on a Unix socket", handshake(unix, config, name)).await.expect("a handshake");
        let agreed = Some(Agreed::of(tls.get_ref().1));
        Self { wire: Wire::new(Transport::UnixTls(Box::new(tls.into()))), local: None, tls: agreed }
    }

    fn tls(tls: TlsStream<TcpStream>) -> io::Result<Self> {
        let local = Some(tls.get_ref().0.local_addr()?);
        let agreed = Some(Agreed::of(tls.get_ref().1));
        Ok(Self { wire: Wire::new(Transport::Tls(Box::new(tls.into()))), local, tls: agreed })
    }

    fn plain(tcp: TcpStream) -> Self {
        let local = Some(tcp.local_addr().unwrap());
        Self { wire: Wire::new(Transport::Plain(tcp)), local, tls: None }
    }

    /// Returns the local address, which the server sees as this client's.
    ///
    /// # Panics
    /// Panics on a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local.expect("a TCP connection")
    }

    /// Returns the protocol that ALPN agreed on, if any.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.alpn.as_deref()
    }

    /// Returns the server's certificate. In a resumed session, it is that of the session's first handshake.
    ///
    /// # Panics
    /// Panics without TLS.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.tls.as_ref().expect("a connection with TLS").certificate
    }

    /// Returns true if TLS resumed a session of an earlier connection.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.resumed)
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send_raw(bytes).await.expect("the server takes the bytes");
    }

    /// Sends bytes as they are, to a server that may close meanwhile.
    ///
    /// # Errors
    /// Returns the system's error.
    pub async fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("the server to take the bytes", self.wire.write(bytes.as_ref())).await
    }

    /// Reads the next response, to any method but HEAD.
    pub async fn read_response(&mut self) -> Response {
        self.try_read_response().await.unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads the next response, to HEAD, which has no body whatever its fields say.
    pub async fn read_response_to_head(&mut self) -> Response {
        let response = within("a response", self.response(true)).await;
        response.unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads the next response, to any method but HEAD.
    ///
    /// # Errors
    /// Returns `UnexpectedEof` if the server closed before its end, and `InvalidData` if it is malformed.
    pub async fn try_read_response(&mut self) -> io::Result<Response> {
        within("a response", self.response(false)).await
    }

    /// Reads the next head, informational or final, without the body.
    pub async fn read_head(&mut self) -> Head {
        within("a head", self.wire.read_head()).await.unwrap().expect("a head before the end")
    }

    async fn response(&mut self, to_head: bool) -> io::Result<Response> {
        let mut informational = Vec::new();
        loop {
            let Some(head) = self.wire.read_head().await? else {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed without a response",
                ));
            };
            let status = head.status()?;
            if status < 200 && status != 101 {
                informational.push(head);
                continue;
            }
            let body = self.wire.read_body(head.response_framing(to_head)?).await?;
            let mut raw = head.raw;
            raw.extend_from_slice(&body.raw);
            return Ok(Response {
                status,
                status_line: head.first_line,
                headers: head.headers,
                body: body.content,
                trailers: body.trailers,
                raw,
                informational,
            });
        }
    }

    /// Sends `GET path` with a Host and reads the response.
    pub async fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"").await
    }

    /// Sends a request and reads the response. The request has these fields, a Host unless they include one, and a
    /// Content-Length if there is a body.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut message = format!("{method} {path} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            message += "host: gateway.test\r\n";
        }
        for (name, value) in fields {
            message += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            message += &format!("content-length: {}\r\n", body.len());
        }
        message += "\r\n";
        self.send_raw([message.as_bytes(), body].concat()).await;
        if method == "HEAD" { self.read_response_to_head().await } else { self.read_response().await }
    }

    /// Reads exactly `length` bytes, such as those of a tunnel.
    pub async fn read_exact(&mut self, length: usize) -> Vec<u8> {
        within(&format!("{length} bytes"), self.wire.read_exact(length)).await.unwrap()
    }

    /// Reads the available bytes, at least one; none at the end.
    pub async fn read_some(&mut self) -> Vec<u8> {
        within("bytes or the end", self.wire.read_some()).await.unwrap()
    }

    /// Reads the available bytes, at least one; none at the end.
    ///
    /// # Errors
    /// Returns the system's error.
    pub async fn try_read_some(&mut self) -> io::Result<Vec<u8>> {
        within("bytes or the end", self.wire.read_some()).await
    }

    /// Reads all bytes until the server closes.
    ///
    /// # Errors
    /// Returns `ConnectionReset` if the server resets instead, and `UnexpectedEof` if TLS ends without close_notify.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        within("the end of the connection", self.wire.read_to_end()).await
    }

    /// Waits until the server closes or resets without sending another byte.
    ///
    /// # Panics
    /// Panics if it sends something, or does not close.
    pub async fn expect_closed(&mut self) {
        let rest = match self.read_to_end().await {
            Ok(rest) => rest,
            Err(error) if is_close(&error) => Vec::new(),
            Err(error) => panic!("{error}"),
        };
        assert!(rest.is_empty(), "before the close came {}", rest.escape_ascii());
    }

    /// Returns true if the server has closed by now. It does not wait, so only a true is final.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut byte = [0];
        match self.wire.try_read(&mut byte) {
            Ok(0) => true,
            // A byte is lost, so this connection cannot continue: the test's order is wrong.
            Ok(_) => panic!("the server sent something that the test has not read"),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Ends the sending side and keeps reading.
    pub async fn half_close(&mut self) {
        self.wire.shutdown().await.unwrap();
    }

    /// Closes with a RST.
    pub fn reset(self) {
        self.wire.reset();
    }
}

fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

pub(crate) async fn tls_stream(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, config, name).await
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await
}
