//! One connection, and the requests on it.

use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use crate::trusting;

/// What is asked for, and where.
pub struct Target {
    address: SocketAddr,
    authority: String,
    path: String,
    tls: Option<TlsConnector>,
}

impl Target {
    pub fn new(url: &Uri) -> Result<Self> {
        let authority = url.authority().context("the URL has no address")?.to_string();
        Ok(Self {
            address: authority.parse().context("the URL has no address with a port")?,
            authority,
            path: url.path().to_owned(),
            tls: (url.scheme_str() == Some("https")).then(trusting::connector).transpose()?,
        })
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => shake_hands(stream).await,
            Some(tls) => shake_hands(tls.connect(ServerName::try_from("localhost")?, stream).await?).await,
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>> {
        let request = Request::get(self.path.as_str()).header(header::HOST, self.authority.as_str());
        Ok(request.body(Empty::new())?)
    }
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is told to whoever has a request on it.
    spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

/// A connection that is opened again when it ends.
pub struct Client {
    target: Rc<Target>,
    sender: Option<SendRequest<Empty<Bytes>>>,
    reconnected: u64,
}

impl Client {
    pub async fn connect(target: Rc<Target>) -> Result<Self> {
        let sender = Some(target.connect().await?);
        Ok(Self { target, sender, reconnected: 0 })
    }

    /// How many times the connection had to be opened again since this was last asked.
    pub fn reconnected(&mut self) -> u64 {
        mem::take(&mut self.reconnected)
    }

    /// Sends a request and reads its answer to the end.
    pub async fn ask(&mut self) -> Result<()> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.reconnect().await?,
        };
        if sender.ready().await.is_err() {
            sender = self.reconnect().await?;
        }
        let response = match sender.send_request(self.target.request()?).await {
            // The end of the connection came first, and nothing was sent.
            Err(error) if error.is_canceled() => {
                sender = self.reconnect().await?;
                sender.send_request(self.target.request()?).await?
            }
            answer => answer?,
        };
        let (head, mut body) = response.into_parts();
        while let Some(frame) = body.frame().await {
            frame.context("the body")?;
        }
        ensure!(head.status == StatusCode::OK, "it answers {}", head.status);
        self.sender = Some(sender);
        Ok(())
    }

    async fn reconnect(&mut self) -> Result<SendRequest<Empty<Bytes>>> {
        self.reconnected += 1;
        self.target.connect().await.context("no connection")
    }
}
