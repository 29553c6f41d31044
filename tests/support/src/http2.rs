//! An HTTP/2 client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::client::tls_stream;
use crate::within;

/// An HTTP/2 client connection. Methods panic if the awaited data does not arrive within [`crate::PATIENCE`].
#[derive(Debug)]
pub struct Http2Client {
    requests: SendRequest<Bytes>,
    /// The task that drives the connection. Its result is how the connection ended.
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A response read to its end.
#[derive(Debug, Clone)]
pub struct Http2Response {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailer fields; empty if there are none.
    pub trailers: HeaderMap,
}

impl Http2Client {
    /// Connects without TLS, with prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = within(&format!("a connection to {address}"), TcpStream::connect(address)).await.unwrap();
        Self::handshake(tcp).await
    }

    /// Connects to a Unix socket without TLS, with prior knowledge.
    pub async fn connect_unix(path: impl AsRef<Path>) -> Self {
        Self::handshake(UnixStream::connect(path).await.unwrap()).await
    }

    /// Connects with TLS.
    ///
    /// # Panics
    /// Panics also if ALPN does not agree on `h2`, so `config` must offer it.
    pub async fn connect_tls(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let tls = within(&format!("TLS with {address} as {name}"), tls_stream(address, config, name))
            .await
            .unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "ALPN");
        Self::handshake(tls).await
    }

    async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (requests, connection) =
            within("the HTTP/2 preface", h2::client::handshake(stream)).await.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    /// Sends `GET uri`, with an absolute URI, and reads the response.
    pub async fn get(&mut self, uri: &str) -> Http2Response {
        self.request(Request::get(uri).body(Bytes::new()).unwrap()).await
    }

    /// Sends a request and reads the response.
    pub async fn request(&mut self, request: Request<Bytes>) -> Http2Response {
        self.try_request(request).await.unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// Returns how the stream ended instead: a reset of the stream, or the end of the connection.
    pub async fn try_request(&mut self, request: Request<Bytes>) -> Result<Http2Response, h2::Error> {
        let (head, body) = request.into_parts();
        let (response, mut stream) = self.open(Request::from_parts(head, ()), body.is_empty()).await?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        Self::read(response).await
    }

    /// Opens a stream and sends a request's head. Its body is up to the caller, unless `end` is true.
    ///
    /// # Errors
    /// Returns an error if the connection ends.
    pub async fn open(
        &mut self,
        head: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut requests = within("room for a stream", self.requests.clone().ready()).await?;
        requests.send_request(head, end)
    }

    /// Sends an extended CONNECT for a protocol (RFC 8441) and waits for the head of the response. A request must have had its
    /// response before, so that the server's settings are known.
    ///
    /// # Errors
    /// Returns an error if the server does not offer it, if the stream is reset, or if the connection ends.
    pub async fn connect_protocol(
        &mut self,
        uri: &str,
        protocol: &'static str,
    ) -> Result<(http::Response<RecvStream>, SendStream<Bytes>), h2::Error> {
        let mut head = Request::connect(uri).body(()).unwrap();
        head.extensions_mut().insert(Protocol::from_static(protocol));
        let (response, stream) = self.open(head, false).await?;
        Ok((within("a response to CONNECT", response).await?, stream))
    }

    /// Reads a response to its end.
    ///
    /// # Errors
    /// Returns an error if the stream is reset or the connection ends.
    pub async fn read(response: ResponseFuture) -> Result<Http2Response, h2::Error> {
        let (head, mut stream) = within("an HTTP/2 response", response).await?.into_parts();
        let body = within("an HTTP/2 body", read_body(&mut stream)).await?;
        let trailers = within("HTTP/2 trailers", stream.trailers()).await?.unwrap_or_default();
        Ok(Http2Response { status: head.status, headers: head.headers, body, trailers })
    }

    /// Waits until the server has closed the connection.
    ///
    /// # Errors
    /// Returns anything but a close after GOAWAY with `NO_ERROR` as an error.
    pub async fn closed(self) -> Result<(), h2::Error> {
        within("the end of the HTTP/2 connection", self.connection).await.unwrap()
    }
}

async fn read_body(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}
