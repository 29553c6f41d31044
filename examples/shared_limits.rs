//! Limits that two gateways share in one Redis: how exact they are, the latency that they add, and the seconds around the death of Redis.
//!
//! ```text
//! cargo build --profile dist --features redis && cargo run --profile dist --features redis --example shared_limits
//! ```
//!
//! It starts `redis-server` without persistence. Latencies are of requests that are sent at a fixed rate, each at its time whatever became
//! of those before, and count from the time at which a request was due. Everything is on loopback; clients are threads of this process.
#![allow(clippy::print_stdout, reason = "its results are its output")]
#![allow(clippy::disallowed_methods, reason = "its clients are threads that send at their time")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use support::Gateway;
use tokio::runtime::{self, Runtime};

/// Measures limits that two gateways share.
#[derive(Parser)]
struct Arguments {
    /// The program to measure
    #[arg(long, default_value = "target/dist/gateway")]
    gateway: PathBuf,
    /// Requests per second, to both gateways together, where latencies are measured
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Client connections to each gateway
    #[arg(long, default_value_t = 10)]
    connections: u32,
    /// Length of a window
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Windows of each kind
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// A request that has ended: when it was due, its latency and its status.
#[derive(Clone, Copy)]
struct Sample {
    due: Instant,
    latency: Duration,
    status: u16,
}

/// A Redis that is killed when it is dropped.
struct Redis {
    child: Child,
    port: u16,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.connections > 0 && arguments.rate > 0 && arguments.seconds > 1, "nothing to measure");
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let redis = Redis::start(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())?;
    exactness(&arguments, &runtime, &redis)?;
    latency(&arguments, &runtime, &redis)?;
    death(&arguments, &runtime, redis)
}

/// As many requests as both gateways take, against a limit that is far lower.
fn exactness(arguments: &Arguments, runtime: &Runtime, redis: &Redis) -> Result<()> {
    println!("exactness: 1000/s with a burst of 1000, both gateways under as much load as they take");
    println!("requests   admitted   permitted   difference %   decisions per command");
    for round in 0..arguments.rounds {
        let limit = format!("{{ rate: 1000/s, by: 'header:x-{round}', store: shared }}");
        let gateways = start(arguments, runtime, redis, &limit);
        let began = Instant::now();
        let until = began + Duration::from_secs(arguments.seconds.into());
        let samples = send(arguments, &gateways, began, Duration::ZERO, until)?;
        let admitted = samples.iter().filter(|sample| sample.status == 200).count();
        // The last decision was made a moment before the last response.
        let permitted = 1000.0 + 1000.0 * until.duration_since(began).as_secs_f64();
        let commands: f64 =
            metrics(runtime, &gateways, "gateway_rate_limit_store_commands_total{store=\"shared\"}");
        println!(
            "{:>8}   {admitted:>8}   {permitted:>9.0}   {:>12.2}   {:>21.1}",
            samples.len(),
            (admitted as f64 / permitted - 1.0) * 100.0,
            samples.len() as f64 / commands
        );
    }
    Ok(())
}

/// The same load without a limit, with one of each gateway, and with one in Redis, for one key and for many.
fn latency(arguments: &Arguments, runtime: &Runtime, redis: &Redis) -> Result<()> {
    println!("\nlatency at {} requests/s, no request is refused", arguments.rate);
    println!("limit                    p50 µs   p99 µs   p99.9 µs   max µs   CPU µs/request");
    for _ in 0..arguments.rounds {
        for (name, limit) in [
            ("none", "off"),
            ("each gateway's", "{ rate: 1000000/s, by: route }"),
            ("Redis, one key", "{ rate: 1000000/s, by: route, store: shared }"),
            ("Redis, 20 keys", "{ rate: 1000000/s, by: 'header:x-client', store: shared }"),
        ] {
            let gateways = start(arguments, runtime, redis, limit);
            let began = Instant::now();
            let interval = Duration::from_secs(1) * arguments.connections * 2 / arguments.rate;
            let until = began + Duration::from_secs(arguments.seconds.into());
            let before: f64 = gateways.iter().map(cpu_seconds).sum();
            let samples = send(arguments, &gateways, began, interval, until)?;
            let cpu = gateways.iter().map(cpu_seconds).sum::<f64>() - before;
            ensure!(samples.iter().all(|sample| sample.status == 200), "a request was refused");
            let [p50, p99, p999, max] = percentiles(samples.iter());
            let each = cpu * 1e6 / samples.len() as f64;
            println!("{name:<24} {p50:>6}   {p99:>6}   {p999:>8}   {max:>6}   {each:>14.1}");
        }
    }
    Ok(())
}

/// Redis is killed, and started again, under load.
fn death(arguments: &Arguments, runtime: &Runtime, mut redis: Redis) -> Result<()> {
    for on_error in ["local", "open", "closed"] {
        println!("\nRedis is killed after 2 s and started again after 4 s; on_error: {on_error}");
        println!("100 ms from   requests   200   503   p50 µs   p99 µs   max µs");
        let limit = format!("{{ rate: 1000000/s, by: route, store: shared, on_error: {on_error} }}");
        let gateways = start(arguments, runtime, &redis, &limit);
        let began = Instant::now();
        let port = redis.port;
        let replaced = thread::spawn(move || {
            thread::sleep(Duration::from_secs(2));
            drop(redis);
            thread::sleep(Duration::from_secs(2));
            Redis::start(port)
        });
        let interval = Duration::from_secs(1) * arguments.connections * 2 / arguments.rate;
        let samples = send(arguments, &gateways, began, interval, began + Duration::from_secs(7))?;
        redis = replaced.join().map_err(|_| anyhow!("Redis was not started again"))??;
        for slot in [18, 19, 20, 21, 22, 30, 39, 40, 41, 42, 45, 50, 60] {
            let of = |sample: &&Sample| sample.due.duration_since(began).as_millis() / 100 == slot;
            let within: Vec<&Sample> = samples.iter().filter(of).collect();
            let count = |status| within.iter().filter(|sample| sample.status == status).count();
            let [p50, p99, _, max] = percentiles(within.iter().copied());
            println!(
                "{:>9}.{} s   {:>8}   {:>3}   {:>3}   {p50:>6}   {p99:>6}   {max:>6}",
                slot / 10,
                slot % 10,
                within.len(),
                count(200),
                count(503)
            );
        }
        let missed = "gateway_rate_limit_store_decisions_total{store=\"shared\",result=\"missed\"}";
        println!("requests that Redis did not decide about: {}", metrics(runtime, &gateways, missed));
    }
    Ok(())
}

/// Starts two gateways that share a limit.
fn start(arguments: &Arguments, runtime: &Runtime, redis: &Redis, limit: &str) -> [Gateway; 2] {
    let config = format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\nadmin: {{ address: '127.0.0.1:0' }}\nworkers: 1\n\
         telemetry: {{ access_log: off }}\nstores: {{ shared: {{ url: 'redis://127.0.0.1:{}' }} }}\n\
         routes: [{{ name: r, respond: {{ body: ok }}, rate_limit: {limit} }}]",
        redis.port
    );
    let start = || runtime.block_on(Gateway::builder(&arguments.gateway, config.as_str()).start());
    [start(), start()]
}

/// Returns the sum of a metric over the gateways.
fn metrics(runtime: &Runtime, gateways: &[Gateway; 2], name: &str) -> f64 {
    gateways.iter().map(|gateway| runtime.block_on(gateway.metric(name)).unwrap_or_default()).sum()
}

/// Returns the CPU time of a process, of all of its threads.
fn cpu_seconds(gateway: &Gateway) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// Sends requests over all connections, one each `interval` on each of them, or as many as come back.
fn send(
    arguments: &Arguments,
    gateways: &[Gateway; 2],
    began: Instant,
    interval: Duration,
    until: Instant,
) -> Result<Vec<Sample>> {
    let connections = arguments.connections * 2;
    let clients: Vec<_> = (0..connections)
        .zip(gateways.iter().cycle())
        .map(|(number, gateway)| {
            let (address, first) = (gateway.addr("web"), began + interval * number / connections);
            thread::spawn(move || client(address, number, first, interval, until))
        })
        .collect();
    let mut samples = Vec::new();
    for client in clients {
        samples.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    Ok(samples)
}

/// Sends the requests of one connection, each at its time.
fn client(
    address: SocketAddr,
    number: u32,
    first: Instant,
    interval: Duration,
    until: Instant,
) -> Result<Vec<Sample>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Client: {number}\r\n\r\n");
    let (mut samples, mut due) = (Vec::new(), first);
    loop {
        due = if interval.is_zero() { Instant::now() } else { due };
        if due >= until {
            return Ok(samples);
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let status = ask(&mut stream, request.as_bytes())?;
        samples.push(Sample { due, latency: due.elapsed(), status });
        due += interval;
    }
}

/// Sends a request, and returns the status of its response.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<u16> {
    stream.write_all(request)?;
    let (mut response, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, io::Error::from(io::ErrorKind::UnexpectedEof));
        response.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let text = String::from_utf8_lossy(&response);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.context("a response without a length")?.parse::<usize>()? {
            return Ok(head.get(9..12).context("no status")?.parse()?);
        }
    }
}

/// Returns p50, p99, p99.9 and the maximum, in microseconds.
fn percentiles<'s>(samples: impl Iterator<Item = &'s Sample>) -> [u128; 4] {
    let mut latencies: Vec<u128> = samples.map(|sample| sample.latency.as_micros()).collect();
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).or(latencies.last());
    [0.5, 0.99, 0.999, 1.0].map(|part| at(part).copied().unwrap_or_default())
}

impl Redis {
    fn start(port: u16) -> Result<Self> {
        let port_text = port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server is not installed: bash scripts/clients.sh")?;
        let redis = Self { child, port };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(Instant::now() < until, "redis-server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = (self.child.kill(), self.child.wait());
    }
}
