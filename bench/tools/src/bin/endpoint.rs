//! An endpoint that fails on command: it becomes slow, stalls, answers errors, and closes idle connections.
//!
//! It speaks plain HTTP/1.1 and takes GET requests without bodies. Another port takes commands: `GET /?status=500&delay_ms=5`
//! changes these settings, and every response there has the counts as JSON. Requests for `/health` behave as all others do, and are
//! counted apart. The ports are told as JSON in the first line.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

/// Connections that wait to be accepted: more than any proxy opens at once.
const BACKLOG: u32 = 4096;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;
/// The path of health probes.
const HEALTH: &str = "/health";
/// Bytes of the body of a 200.
const BODY_BYTES: usize = 1024;

/// Serves until it is killed.
#[derive(Parser)]
struct Arguments {
    /// The port to serve on; 0 for a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// The present behaviour, and what came in.
struct Endpoint {
    /// The response time of a request that is alone.
    delay: Cell<Duration>,
    /// The number of requests at once with which the response time doubles; it grows with the square. 0 for one that stays.
    capacity: Cell<u64>,
    status: Cell<u16>,
    /// True while requests are read and get no answer. They get it when the stall ends.
    is_stalled: Cell<bool>,
    stall_ended: Notify,
    /// The idle time after which connections are closed; zero for never.
    idle_timeout: Cell<Duration>,
    /// The time from that close until the peer can see it, as over a long line. A request that comes in between is lost.
    round_trip: Cell<Duration>,
    connections: Cell<u64>,
    requests: Cell<u64>,
    probes: Cell<u64>,
    under_way: Cell<u64>,
    /// Requests that came after their connection's close.
    lost: Cell<u64>,
}

/// The head of a request, as far as it matters.
struct Head {
    bytes: usize,
    path: String,
}

/// A request that counts as under way for as long as this lives.
struct UnderWay<'e>(&'e Cell<u64>);

#[allow(clippy::print_stdout, reason = "its parent process reads the ports there")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (plain, control) = (listen(arguments.port)?, listen(0)?);
        println!(
            "{}",
            json!({ "plain": plain.local_addr()?.port(), "control": control.local_addr()?.port() })
        );
        let endpoint = Rc::new(Endpoint::new());
        spawn_local(take_commands(control, Rc::clone(&endpoint)));
        loop {
            let stream = accept(&plain).await;
            add(&endpoint.connections);
            let endpoint = Rc::clone(&endpoint);
            // A connection that breaks is the proxy's to tell.
            spawn_local(async move { drop(endpoint.serve(stream).await) });
        }
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The one before may have been killed a moment ago.
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    socket.listen(BACKLOG)
}

/// Returns the next connection. Those that end before they are accepted are passed over.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await
            && stream.set_nodelay(true).is_ok()
        {
            return stream;
        }
    }
}

async fn take_commands(listener: TcpListener, endpoint: Rc<Endpoint>) {
    loop {
        let mut stream = accept(&listener).await;
        let endpoint = Rc::clone(&endpoint);
        spawn_local(async move {
            let mut buffer = Vec::new();
            while let Ok(Some(head)) = read_head(&mut stream, &mut buffer).await {
                buffer.drain(..head.bytes);
                let (status, text) = match endpoint.command(&head.path) {
                    Ok(()) => (200, endpoint.counts()),
                    Err(error) => (400, format!("{error:#}")),
                };
                if stream.write_all(&response(status, text.as_bytes())).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Endpoint {
    fn new() -> Self {
        let (zero, none) = (Cell::new(Duration::ZERO), Cell::new(0));
        Self {
            delay: zero.clone(),
            capacity: none.clone(),
            status: Cell::new(200),
            is_stalled: Cell::new(false),
            stall_ended: Notify::new(),
            idle_timeout: zero.clone(),
            round_trip: zero,
            connections: none.clone(),
            requests: none.clone(),
            probes: none.clone(),
            under_way: none.clone(),
            lost: none,
        }
    }

    /// Changes the settings that the path's query names.
    fn command(&self, path: &str) -> Result<()> {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').context("a setting without a value")?;
            let number: u64 = value.parse().with_context(|| format!("{name} is no number"))?;
            let time = Duration::from_millis(number);
            match name {
                "delay_ms" => self.delay.set(time),
                "capacity" => self.capacity.set(number),
                "status" => self.status.set(u16::try_from(number)?),
                "stalled" => self.is_stalled.set(number != 0),
                "idle_timeout_ms" => self.idle_timeout.set(time),
                "round_trip_ms" => self.round_trip.set(time),
                _ => bail!("there is no setting {name}"),
            }
        }
        if !self.is_stalled.get() {
            self.stall_ended.notify_waiters();
        }
        Ok(())
    }

    fn counts(&self) -> String {
        json!({
            "connections": self.connections.get(),
            "requests": self.requests.get(),
            "probes": self.probes.get(),
            "under_way": self.under_way.get(),
            "lost": self.lost.get(),
        })
        .to_string()
    }

    /// Serves the requests of one connection.
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = Vec::new();
        while let Some(head) = self.next_head(&mut stream, &mut buffer).await? {
            buffer.drain(..head.bytes);
            add(if head.path == HEALTH { &self.probes } else { &self.requests });
            self.take_time().await;
            let status = self.status.get();
            let body = if status == 200 { &[b'a'; BODY_BYTES][..] } else { b"it fails on command" };
            stream.write_all(&response(status, body)).await?;
        }
        Ok(())
    }

    /// Returns the next request's head, or nothing at the end of the connection, be it by the idle timeout.
    async fn next_head(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Head>> {
        let limit = self.idle_timeout.get();
        if limit.is_zero() {
            return read_head(stream, buffer).await;
        }
        let Ok(head) = timeout(limit, read_head(stream, buffer)).await else {
            if let Ok(Ok(Some(_late))) = timeout(self.round_trip.get(), read_head(stream, buffer)).await {
                add(&self.lost);
            }
            return Ok(None);
        };
        head
    }

    /// Waits as long as a request takes.
    async fn take_time(&self) {
        add(&self.under_way);
        let under_way = UnderWay(&self.under_way);
        let factor = match self.capacity.get() {
            0 => 1.0,
            capacity => 1.0 + (under_way.0.get() as f64 / capacity as f64).powi(2),
        };
        let takes = self.delay.get().mul_f64(factor);
        if !takes.is_zero() {
            sleep(takes).await;
        }
        while self.is_stalled.get() {
            self.stall_ended.notified().await;
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Reads to the end of a request's head. Returns nothing if the stream ends, or has no request that this server takes.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Head>> {
    loop {
        match parse(buffer) {
            Ok(Some(head)) => return Ok(Some(head)),
            Ok(None) if buffer.len() < HEAD_BYTES_MAX => {}
            Ok(None) | Err(_) => return Ok(None),
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse(buffer: &[u8]) -> Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(bytes) = request.parse(buffer)? else { return Ok(None) };
    Ok(Some(Head { bytes, path: request.path.unwrap_or_default().to_owned() }))
}

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} On command\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn add(count: &Cell<u64>) {
    count.set(count.get() + 1);
}
