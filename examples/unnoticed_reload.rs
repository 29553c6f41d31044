//! The cost of a reload to requests: latencies with ten reloads in ten seconds against none, and the time that one takes.
//!
//! ```text
//! cargo build --profile dist && cargo run --profile dist --example unnoticed_reload
//! ```
//!
//! Requests are sent at a fixed rate, each at its time whatever became of those before, and latencies count from
//! the time at which a request was due: a stall shows in all the requests that it held up. Windows with and without
//! reloads take turns. Everything is on loopback; client and origin are in this process, the gateway is one of its own.
#![allow(clippy::print_stdout, reason = "its results are its output")]
#![allow(clippy::disallowed_methods, reason = "its clients are threads that send at their time")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;
use support::{Client, Gateway};
use tokio::runtime;

/// Compares latencies with and without reloads.
#[derive(Parser)]
struct Arguments {
    /// The program to measure
    #[arg(long, default_value = "target/dist/gateway")]
    gateway: PathBuf,
    /// Requests per second
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Client connections
    #[arg(long, default_value_t = 20)]
    connections: u32,
    /// Length of a window
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Reloads in a window that has some
    #[arg(long, default_value_t = 10)]
    reloads: u32,
    /// Windows of each kind, for each number of routes
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Numbers of routes
    #[arg(long, default_values_t = [100, 10_000])]
    routes: Vec<usize>,
}

/// The measurements of a window.
struct Window {
    latencies: Vec<Duration>,
    failed: usize,
    /// The time that each reload took, as the gateway reports it.
    reloads: Vec<Duration>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.connections > 0 && arguments.rate > 0, "nothing to measure");
    let origin = start_origin()?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    println!("{} requests/s over {} connections", arguments.rate, arguments.connections);
    println!("routes   reloads   p50 µs   p99 µs   p99.9 µs   max µs   failed   reload ms (median, longest)");
    for routes in &arguments.routes {
        let config = |version| config(*routes, origin, version);
        let gateway = runtime.block_on(Gateway::builder(&arguments.gateway, config(0)).start());
        for round in 0..arguments.rounds {
            for reloads in [0, arguments.reloads] {
                let version = (round + 1) * 1000;
                let window = runtime.block_on(window(&arguments, &gateway, reloads, version, &config))?;
                window.print(*routes, reloads);
            }
        }
    }
    Ok(())
}

/// So many routes; each version gives another answer on one of them, and another limit to another.
fn config(routes: usize, origin: SocketAddr, version: u32) -> String {
    let mut text = format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\nadmin: {{ address: '127.0.0.1:0' }}\n\
         telemetry: {{ access_log: off }}\nroutes:\n  - name: measured\n    match: {{ path: /measured }}\n    \
         upstream: {{ url: 'http://{origin}' }}\n  - name: answered\n    match: {{ path: /answered }}\n    \
         respond: {{ body: 'version {version}' }}\n"
    );
    for number in 2..routes {
        let idle = if number == 2 { version % 50 + 1 } else { 64 };
        text.push_str(&format!(
            "  - name: route-{number}\n    match: {{ path: /service-{}/item-{number} }}\n    \
             upstream: {{ url: 'http://{origin}' }}\n    pool: {{ max_idle: {idle} }}\n",
            number % 100
        ));
    }
    text
}

/// Sends requests for as long as a window is, reloading meanwhile.
async fn window(
    arguments: &Arguments,
    gateway: &Gateway,
    reloads: u32,
    version: u32,
    config: &impl Fn(u32) -> String,
) -> Result<Window> {
    let address = gateway.addr("web");
    let length = Duration::from_secs(arguments.seconds.into());
    let began = Instant::now();
    let interval = Duration::from_secs(1) * arguments.connections / arguments.rate;
    let clients: Vec<_> = (0..arguments.connections)
        .map(|number| {
            let first = began + Duration::from_secs(1) * number / arguments.rate;
            thread::spawn(move || client(address, first, interval, began + length))
        })
        .collect();
    let mut took = Vec::new();
    for number in 0..reloads {
        let at = began + length * (2 * number + 1) / (2 * reloads);
        tokio::time::sleep_until(at.into()).await;
        gateway.rewrite_config(&config(version + number));
        // Not by /metrics, which ten thousand routes make a page of a million lines.
        let mut admin = Client::connect(gateway.admin_addr()).await;
        let answer = admin.request("POST", "/reload", &[("host", "localhost")], b"").await;
        let report: Value = serde_json::from_slice(&answer.body).context("it was refused")?;
        let seconds =
            report.get("took_seconds").and_then(Value::as_f64).context("it does not say how long")?;
        took.push(Duration::from_secs_f64(seconds));
    }
    let (mut latencies, mut failed) = (Vec::new(), 0);
    for client in clients {
        let client = tokio::task::spawn_blocking(move || client.join());
        let (some, failures) = client.await?.map_err(|_| anyhow::anyhow!("a client panicked"))??;
        latencies.extend(some);
        failed += failures;
    }
    latencies.sort_unstable();
    took.sort_unstable();
    Ok(Window { latencies, failed, reloads: took })
}

/// One connection's requests, each at its time; their latencies, and how many failed.
fn client(
    address: SocketAddr,
    first: Instant,
    interval: Duration,
    until: Instant,
) -> Result<(Vec<Duration>, usize)> {
    let connect = || -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    };
    let (mut stream, mut latencies, mut failed) = (connect()?, Vec::new(), 0);
    let mut due = first;
    while due < until {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match ask(&mut stream) {
            Ok(()) => latencies.push(due.elapsed()),
            Err(_) => {
                failed += 1;
                stream = connect()?;
            }
        }
        due += interval;
    }
    Ok((latencies, failed))
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"GET /measured HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let head = read_head(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    // The origin's answers have no body.
    if head.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads up to the empty line that ends a head; `None` at the end of the stream.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            read => head.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(Some(head))
}

/// Starts an origin that sends an empty 200 for every request.
fn start_origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        // A connection that breaks is the client's to count.
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || serve(stream))));
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while read_head(&mut stream)?.is_some() {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

impl Window {
    fn print(&self, routes: usize, reloads: u32) {
        let at = |part: f64| {
            let index = (self.latencies.len() as f64 * part) as usize;
            self.latencies
                .get(index.min(self.latencies.len().saturating_sub(1)))
                .map_or(0, Duration::as_micros)
        };
        let took = |index: usize| {
            self.reloads.get(index).map_or("-".to_owned(), |took| format!("{:.0}", took.as_secs_f64() * 1e3))
        };
        println!(
            "{routes:>6} {reloads:>9} {:>8} {:>8} {:>10} {:>8} {:>8}   {} {}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            self.failed,
            took(self.reloads.len() / 2),
            took(self.reloads.len().saturating_sub(1))
        );
    }
}
