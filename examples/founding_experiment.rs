//! The measurement that the project began with: requests per second to an HTTPS upstream with its connections kept, and
//! with a new one for each request.
//!
//! ```text
//! cargo build --profile dist && cargo run --profile dist --example founding_experiment
//! ```
//!
//! Everything is on loopback: an HTTPS origin and a client in this process, the gateway as a process of its own between
//! them. The rounds with and without keep-alive take turns. Each round has an origin on a port of its own, so that no
//! socket of an earlier round is counted.
#![allow(clippy::print_stdout, reason = "its results are its output")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Compares requests per second with upstream connections kept and not kept.
#[derive(Parser)]
struct Arguments {
    /// The program to measure
    #[arg(long, default_value = "target/dist/gateway")]
    gateway: PathBuf,
    /// Requests in each round
    #[arg(long, default_value_t = 5000)]
    requests: u64,
    /// Requests under way at once
    #[arg(long, default_value_t = 32)]
    concurrency: u64,
    /// Rounds of each kind
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// The measurements of one round.
struct Round {
    per_second: f64,
    handshakes: u64,
    sockets: Sockets,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.rounds > 0 && arguments.requests > 0 && arguments.concurrency > 0,
        "nothing to measure"
    );
    let folder = tempfile::tempdir()?;
    println!(
        "{} requests a round, {} at once, to an HTTPS origin on loopback\n",
        arguments.requests, arguments.concurrency
    );
    println!("keep_alive   requests/s   TLS handshakes   ESTABLISHED   TIME_WAIT");
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        for (keep_alive, rates) in [(true, &mut kept), (false, &mut new)] {
            let Round { per_second, handshakes, sockets } = round(&arguments, keep_alive, folder.path())?;
            let (established, time_wait) = (sockets.established, sockets.time_wait);
            println!(
                "{keep_alive:<10} {per_second:>12.0} {handshakes:>16} {established:>13} {time_wait:>11}"
            );
            rates.push(per_second);
        }
    }
    let (kept, new) = (median(kept), median(new));
    println!("\nMedian: {kept:.0}/s kept, {new:.0}/s not kept: {:.1} times as many.", kept / new);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Starts an origin and a gateway, sends the requests, and looks at the sockets.
fn round(arguments: &Arguments, keep_alive: bool, folder: &Path) -> Result<Round> {
    let origin = Origin::start(folder)?;
    let gateway =
        Gateway::start(&arguments.gateway, &config(keep_alive, origin.port, arguments, folder), folder)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let established = send_all(arguments, gateway.port, origin.port).await?;
        let per_second = arguments.requests as f64 / begun.elapsed().as_secs_f64();
        let after = Sockets::to(origin.port)?;
        Ok(Round {
            per_second,
            handshakes: origin.handshakes.load(Ordering::Relaxed),
            sockets: Sockets { established: established.max(after.established), ..after },
        })
    })
}

fn config(keep_alive: bool, origin_port: u16, arguments: &Arguments, folder: &Path) -> String {
    let ca = folder.join("origin.pem");
    let connections = arguments.concurrency;
    format!(
        r#"
listeners: [{{ address: "127.0.0.1:0" }}]
telemetry: {{ access_log: off }}
upstreams:
  origin:
    endpoints: ["https://127.0.0.1:{origin_port}"]
    tls: {{ ca: "{}" }}
routes:
  - match: {{ prefix: / }}
    upstream: origin
    pool: {{ keep_alive: {keep_alive}, max_connections: {connections}, max_idle: {connections} }}
"#,
        ca.display()
    )
}

// The client.

/// Sends all requests over as many connections as may be under way at once; answers the connections that there were to
/// the origin when half of the requests were done.
async fn send_all(arguments: &Arguments, gateway_port: u16, origin_port: u16) -> Result<u64> {
    let sent = Arc::new(AtomicU64::new(0));
    let (requests, half) = (arguments.requests, arguments.requests / 2);
    let mut clients = JoinSet::new();
    for _ in 0..arguments.concurrency {
        let sent = Arc::clone(&sent);
        clients.spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", gateway_port)).await?;
            stream.set_nodelay(true)?;
            let mut established = 0;
            loop {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return anyhow::Ok(established);
                }
                stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
                read_response(&mut stream).await?;
                if number == half {
                    established = Sockets::to(origin_port)?.established;
                }
            }
        });
    }
    let mut established = 0;
    while let Some(client) = clients.join_next().await {
        established = established.max(client??);
    }
    Ok(established)
}

async fn read_response(stream: &mut TcpStream) -> Result<()> {
    let mut received = Vec::with_capacity(4096);
    let head = read_head(stream, &mut received).await?.context("the gateway closed a connection")?;
    let text = String::from_utf8_lossy(received.get(..head).unwrap_or_default()).to_ascii_lowercase();
    ensure!(text.starts_with("http/1.1 200 "), "a request failed: {text}");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|value| value.trim().parse::<usize>().ok())
        .context("a response without Content-Length")?;
    let missing = (head + length).checked_sub(received.len()).context("more than a response")?;
    let mut rest = vec![0; missing];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

/// Reads up to the end of a message's header, and answers its length; `None` at the end of the stream.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> Result<Option<usize>> {
    loop {
        if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

// The origin.

struct Origin {
    port: u16,
    handshakes: Arc<AtomicU64>,
}

impl Origin {
    /// Serves on a thread of its own until the program ends, and leaves its certificate in the folder.
    fn start(folder: &Path) -> Result<Self> {
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        fs::write(folder.join("origin.pem"), identity.cert.pem())?;
        let certificate = CertificateDer::from(identity.cert);
        let key =
            PrivateKeyDer::try_from(identity.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls));

        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let handshakes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&handshakes);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || runtime.block_on(serve(listener, acceptor, counter)));
        Ok(Self { port, handshakes })
    }
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    handshakes: Arc<AtomicU64>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let stream = acceptor.accept(stream).await?;
            handshakes.fetch_add(1, Ordering::Relaxed);
            answer(stream).await
        });
    }
}

/// Sends 1 KiB for each request, none of which has a body; closes first where the request asks for it, as servers do.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let (body, mut received) = ("x".repeat(1024), Vec::with_capacity(4096));
    while let Some(head) = read_head(&mut stream, &mut received).await? {
        let request = String::from_utf8_lossy(received.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let close = request.lines().any(|line| line.starts_with("connection:") && line.contains("close"));
        received.drain(..head);
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nConnection: {connection}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        stream.flush().await?;
        if close {
            stream.shutdown().await?;
            // To close with bytes unread would reset the connection, and a reset leaves no TIME_WAIT behind.
            while stream.read_buf(&mut received).await? > 0 {
                received.clear();
            }
            return Ok(());
        }
    }
    // The peer closed first, and a close_notify sent to it now would be answered with a reset.
    Ok(())
}

// The gateway.

struct Gateway {
    process: Child,
    port: u16,
}

impl Gateway {
    /// Starts the program and waits until it says where it listens.
    fn start(program: &Path, config: &str, folder: &Path) -> Result<Self> {
        let path = folder.join("gateway.yaml");
        fs::write(&path, config)?;
        let mut process = Command::new(program)
            .args(["--log", "warn", "--config"])
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!("{} does not start; cargo build --profile dist makes it", program.display())
            })?;
        let lines = process.stdout.take().map(BufReader::new).context("no standard output")?.lines();
        let mut gateway = Self { process, port: 0 };
        let mut lines = lines.map_while(Result::ok);
        gateway.port = lines
            .find_map(|line| listening_port(&line))
            .context("the gateway ended, or closed its standard output, before it said where it listens")?;
        // Whatever else it says must find a reader.
        thread::spawn(move || lines.for_each(drop));
        gateway.wait_until_it_accepts()?;
        Ok(gateway)
    }

    fn wait_until_it_accepts(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > deadline {
                bail!("the gateway does not accept connections on port {}", self.port);
            }
            thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// The port of the first address on loopback in a line; the origin's is an https URL and does not count.
fn listening_port(line: &str) -> Option<u16> {
    line.match_indices("127.0.0.1:").find_map(|(at, address)| {
        let (before, rest) = (line.get(..at)?, line.get(at + address.len()..)?);
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().filter(|port| *port != 0 && !before.ends_with("https://"))
    })
}

// What `netstat -nt | grep -c` counted.

/// TCP connections to the origin, by state.
struct Sockets {
    established: u64,
    time_wait: u64,
}

impl Sockets {
    /// Those whose far end is this port, and of the ones in TIME_WAIT also those whose near end it is: either side may have
    /// closed first, and only that one waits.
    fn to(port: u16) -> Result<Self> {
        const ESTABLISHED: &str = "01";
        const TIME_WAIT: &str = "06";
        let suffix = format!(":{port:04X}");
        let mut sockets = Self { established: 0, time_wait: 0 };
        for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
            // A machine may be without IPv6.
            for line in fs::read_to_string(file).unwrap_or_default().lines().skip(1) {
                let mut fields = line.split_whitespace().skip(1);
                let (Some(near), Some(far), Some(state)) = (fields.next(), fields.next(), fields.next())
                else {
                    bail!("{file} has a line that is not understood: {line}");
                };
                let (near, far) = (near.ends_with(&suffix), far.ends_with(&suffix));
                sockets.established += u64::from(state == ESTABLISHED && far);
                sockets.time_wait += u64::from(state == TIME_WAIT && (near || far));
            }
        }
        Ok(sockets)
    }
}
