//! The server behind the proxies: cheap, since it shares a CPU with the load generator, and it counts what comes in.
//!
//! HTTP/1.1, plain and over TLS: 1.3, and 1.2 on a port of its own; HTTP/2 without TLS on another. The last segment of the path says what is wanted: `1k` and
//! `64k` are texts of that size, `slow` is `1k` after ten milliseconds, `ask` is a 200 without a body, `echo` answers with the body of the request, by HTTP/2 `call` with a
//! message of gRPC, all else is 404. Another port answers every request with the counts as JSON and is not counted itself. The ports are free ones, told as JSON in the first line.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

/// Connections that wait to be accepted: more than any proxy opens at once.
const BACKLOG: u32 = 4096;
/// Sessions that clients may resume.
const SESSIONS: usize = 16 * 1024;
/// Bytes of a request's head; and of its body.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Room for a request at once, so that the usual ones are read by one system call.
const READ_BYTES: usize = 20 * 1024;
/// The window of each stream by HTTP/2.
const H2_WINDOW: u32 = 1024 * 1024;
const FIELDS_MAX: usize = 64;
/// How long `slow` takes.
const SLOW: Duration = Duration::from_millis(10);
/// What bodies are made of: letters of both cases and others, for filters that change case.
const TEXT: &[u8; 16] = b"hello, World 123";

/// Serves until it is killed.
#[derive(Parser)]
struct Arguments {
    /// The certificate, PEM
    #[arg(long)]
    certificate: PathBuf,
    /// Its key, PEM
    #[arg(long)]
    key: PathBuf,
}

/// What has come in so far.
#[derive(Default)]
struct Counts {
    plain_connections: Cell<u64>,
    h2_connections: Cell<u64>,
    tls_connections: Cell<u64>,
    tls_resumed: Cell<u64>,
    requests: Cell<u64>,
    open: Cell<u64>,
}

/// A connection that counts as open for as long as this lives.
struct Open(Rc<Counts>);

/// Whole responses, the first for connections that stay, the second for those that end.
struct Answers {
    small: [Vec<u8>; 2],
    large: [Vec<u8>; 2],
    nothing: [Vec<u8>; 2],
    not_found: [Vec<u8>; 2],
}

enum Wanted {
    Small,
    Nothing,
    Slow,
    Large,
    Echo,
    Other,
}

/// What there is to know of a request's head.
struct Head {
    bytes: usize,
    body_bytes: usize,
    wanted: Wanted,
    close: bool,
}

#[allow(clippy::print_stdout, reason = "whoever starts it reads the ports there")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut tls13 = tls(&arguments, &rustls::version::TLS13)?;
    // Tickets that hold all: there are clients that use the same one again and again.
    tls13.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // Of TLS 1.2, clients resume sessions that the server remembers more often than those of tickets.
    let mut tls12 = tls(&arguments, &rustls::version::TLS12)?;
    tls12.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    let acceptors = [tls13, tls12].map(|config| TlsAcceptor::from(Arc::new(config)));
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (plain, tls13, tls12, counts) = (listen()?, listen()?, listen()?, listen()?);
        let h2 = listen()?;
        println!(
            "{}",
            json!({
                "plain": plain.local_addr()?.port(),
                "tls": tls13.local_addr()?.port(),
                "tls12": tls12.local_addr()?.port(),
                "h2": h2.local_addr()?.port(),
                "counts": counts.local_addr()?.port(),
            })
        );
        let answers = Rc::new(Answers::new());
        let counted = Rc::new(Counts::default());
        for (listener, acceptor) in [tls13, tls12].into_iter().zip(acceptors) {
            spawn_local(accept_tls(listener, acceptor, Rc::clone(&answers), Rc::clone(&counted)));
        }
        spawn_local(accept_h2(h2, Rc::clone(&counted)));
        spawn_local(tell(counts, Rc::clone(&counted)));
        accept_plain(plain, answers, counted).await
    })
}

fn tls(arguments: &Arguments, version: &'static SupportedProtocolVersion) -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(&arguments.certificate).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key).context("the key")?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[version])
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(BACKLOG)
}

async fn accept_plain(listener: TcpListener, answers: Rc<Answers>, counts: Rc<Counts>) -> Result<()> {
    loop {
        let stream = accept(&listener).await;
        add(&counts.plain_connections);
        let (answers, open) = (Rc::clone(&answers), Open::new(&counts));
        // A connection that breaks is the proxy's to tell.
        spawn_local(async move { drop(serve(stream, &answers, &open.0).await) });
    }
}

async fn accept_tls(listener: TcpListener, acceptor: TlsAcceptor, answers: Rc<Answers>, counts: Rc<Counts>) {
    loop {
        let stream = accept(&listener).await;
        add(&counts.tls_connections);
        let (acceptor, answers, open) = (acceptor.clone(), Rc::clone(&answers), Open::new(&counts));
        spawn_local(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                add(&open.0.tls_resumed);
            }
            drop(serve(stream, &answers, &open.0).await);
        });
    }
}

async fn accept_h2(listener: TcpListener, counts: Rc<Counts>) {
    let texts = Rc::new(Texts::new());
    loop {
        let stream = accept(&listener).await;
        add(&counts.h2_connections);
        let (texts, open) = (Rc::clone(&texts), Open::new(&counts));
        spawn_local(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(1000).initial_window_size(H2_WINDOW);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
            while let Some(Ok((request, responder))) = connection.accept().await {
                add(&open.0.requests);
                let texts = Rc::clone(&texts);
                spawn_local(async move { drop(answer_h2(request, responder, &texts).await) });
            }
        });
    }
}

/// The bodies of responses by HTTP/2.
struct Texts {
    small: Bytes,
    large: Bytes,
    message: Bytes,
}

impl Texts {
    fn new() -> Self {
        let small = TEXT.repeat(64);
        let message = [&[0, 0, 0, 4, 0][..], &small].concat();
        Self { small: small.into(), large: TEXT.repeat(4096).into(), message: message.into() }
    }
}

async fn answer_h2(
    mut request: Request<RecvStream>,
    mut responder: SendResponse<Bytes>,
    texts: &Texts,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let is_call = path.ends_with("/call");
    let body = match path.rsplit('/').next() {
        Some("1k") => texts.small.clone(),
        Some("64k") => texts.large.clone(),
        Some("call") => texts.message.clone(),
        _ => {
            let mut missing = Response::new(());
            *missing.status_mut() = http::StatusCode::NOT_FOUND;
            return responder.send_response(missing, true).map(drop);
        }
    };
    let stream = request.body_mut();
    while let Some(data) = stream.data().await {
        stream.flow_control().release_capacity(data?.len())?;
    }
    let mut head = Response::new(());
    let kind = if is_call { "application/grpc" } else { "text/plain" };
    head.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut sending = responder.send_response(head, false)?;
    sending.send_data(body, !is_call)?;
    if is_call {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        sending.send_trailers(trailers)?;
    }
    Ok(())
}

/// The next connection. Those that end before they are accepted are passed over.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await
            && stream.set_nodelay(true).is_ok()
        {
            return stream;
        }
    }
}

/// Answers every request with the counts.
async fn tell(listener: TcpListener, counts: Rc<Counts>) {
    loop {
        let mut stream = accept(&listener).await;
        let counts = Rc::clone(&counts);
        spawn_local(async move {
            let mut buffer = Vec::new();
            while let Ok(Some(head)) = read_head(&mut stream, &mut buffer).await {
                buffer.drain(..head.bytes);
                let text = counts.json();
                if stream.write_all(&answer("200 OK", text.as_bytes(), false)).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The requests of one connection.
async fn serve<S>(mut stream: S, answers: &Answers, counts: &Counts) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = Vec::with_capacity(READ_BYTES);
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        let end = head.bytes + head.body_bytes;
        while buffer.len() < end {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        add(&counts.requests);
        match head.wanted {
            Wanted::Small => stream.write_all(choose(&answers.small, head.close)).await?,
            Wanted::Slow => {
                tokio::time::sleep(SLOW).await;
                stream.write_all(choose(&answers.small, head.close)).await?;
            }
            Wanted::Nothing => stream.write_all(choose(&answers.nothing, head.close)).await?,
            Wanted::Large => stream.write_all(choose(&answers.large, head.close)).await?,
            Wanted::Other => stream.write_all(choose(&answers.not_found, head.close)).await?,
            Wanted::Echo => {
                let body = buffer.get(head.bytes..end).unwrap_or_default();
                stream.write_all(&answer("200 OK", body, head.close)).await?;
            }
        }
        stream.flush().await?;
        if head.close {
            return stream.shutdown().await;
        }
        buffer.drain(..end);
    }
    Ok(())
}

/// Reads to the end of a request's head; `None` where the stream ends, or holds no request that this server takes.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Option<Head>> {
    loop {
        match Head::parse(buffer) {
            Ok(Some(head)) => return Ok(Some(head)),
            Ok(None) if buffer.len() < HEAD_BYTES_MAX => {}
            Ok(None) | Err(_) => return Ok(None),
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

impl Head {
    /// The head that the buffer begins with, once it is all there.
    fn parse(buffer: &[u8]) -> Result<Option<Self>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(bytes) = request.parse(buffer)? else { return Ok(None) };
        let (mut body_bytes, mut close) = (0, request.version == Some(0));
        for field in request.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                body_bytes = std::str::from_utf8(field.value)?.parse()?;
            } else if field.name.eq_ignore_ascii_case("connection") {
                close |= field.value.eq_ignore_ascii_case(b"close");
            }
            anyhow::ensure!(!field.name.eq_ignore_ascii_case("transfer-encoding"), "it is not needed here");
        }
        anyhow::ensure!(body_bytes <= BODY_BYTES_MAX, "a body too long");
        let path = request.path.and_then(|path| path.split('?').next());
        let wanted = match path.and_then(|path| path.rsplit('/').next()) {
            Some("1k") => Wanted::Small,
            Some("slow") => Wanted::Slow,
            Some("64k") => Wanted::Large,
            Some("echo") => Wanted::Echo,
            Some("ask") => Wanted::Nothing,
            _ => Wanted::Other,
        };
        Ok(Some(Self { bytes, body_bytes, wanted, close }))
    }
}

impl Answers {
    fn new() -> Self {
        let both = |status: &str, bytes: usize| {
            let body = TEXT.repeat(bytes / TEXT.len());
            [answer(status, &body, false), answer(status, &body, true)]
        };
        Self {
            small: both("200 OK", 1024),
            large: both("200 OK", 64 * 1024),
            nothing: both("200 OK", 0),
            not_found: both("404 Not Found", TEXT.len()),
        }
    }
}

/// A response as servers usually send them.
fn answer(status: &str, body: &[u8], close: bool) -> Vec<u8> {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nServer: origin\r\nDate: Tue, 24 Nov 2026 09:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{connection}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn choose(both: &[Vec<u8>; 2], close: bool) -> &[u8] {
    let [stays, ends] = both;
    if close { ends } else { stays }
}

fn add(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl Counts {
    fn json(&self) -> String {
        json!({
            "h2_connections": self.h2_connections.get(),
            "plain_connections": self.plain_connections.get(),
            "tls_connections": self.tls_connections.get(),
            "tls_resumed": self.tls_resumed.get(),
            "requests": self.requests.get(),
            "open": self.open.get(),
        })
        .to_string()
    }
}

impl Open {
    fn new(counts: &Rc<Counts>) -> Self {
        add(&counts.open);
        Self(Rc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}
