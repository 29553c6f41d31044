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
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "its results are its output, and a failure ends it"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use support::{Certificates, Client, Connection, Gateway, Origin};
use tokio::task::JoinSet;

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
    handshakes: usize,
    sockets: Sockets,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.rounds > 0 && arguments.requests > 0 && arguments.concurrency > 0,
        "nothing to measure"
    );
    let program = arguments.gateway.display();
    ensure!(arguments.gateway.exists(), "there is no {program}; cargo build --profile dist makes it");
    let certificates = Certificates::new();
    println!(
        "{} requests a round, {} at once, to an HTTPS origin on loopback\n",
        arguments.requests, arguments.concurrency
    );
    println!("keep_alive   requests/s   TLS handshakes   ESTABLISHED   TIME_WAIT");
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        for (keep_alive, rates) in [(true, &mut kept), (false, &mut new)] {
            let Round { per_second, handshakes, sockets } =
                round(&arguments, keep_alive, &certificates).await?;
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
async fn round(arguments: &Arguments, keep_alive: bool, certificates: &Certificates) -> Result<Round> {
    let tls = certificates.server_config(&certificates.server(&["127.0.0.1"]));
    let origin = Origin::builder().tls(tls).script(answer);
    let address = origin.addr();
    let (ca, connections) = (certificates.ca(), arguments.concurrency);
    let config = format!(
        r#"
listeners: [{{ name: web, address: "127.0.0.1:0" }}]
telemetry: {{ access_log: off }}
upstreams:
  origin:
    endpoints: ["https://{address}"]
    tls: {{ ca: "{}" }}
routes:
  - match: {{ prefix: / }}
    upstream: origin
    pool: {{ keep_alive: {keep_alive}, max_connections: {connections}, max_idle: {connections} }}
"#,
        ca.display()
    );
    let gateway = Gateway::builder(&arguments.gateway, config).arg("--log").arg("warn").start().await;
    let begun = Instant::now();
    let established = send_all(arguments, gateway.addr("web"), address.port()).await?;
    let per_second = arguments.requests as f64 / begun.elapsed().as_secs_f64();
    let after = Sockets::to(address.port())?;
    Ok(Round {
        per_second,
        handshakes: origin.handshakes().len(),
        sockets: Sockets { established: established.max(after.established), ..after },
    })
}

/// Sends all requests over as many connections as may be under way at once. Returns the connections that there were to
/// the origin when half of the requests were done.
async fn send_all(arguments: &Arguments, gateway: SocketAddr, origin_port: u16) -> Result<u64> {
    let sent = Arc::new(AtomicU64::new(0));
    let (requests, half) = (arguments.requests, arguments.requests / 2);
    let mut clients = JoinSet::new();
    for _ in 0..arguments.concurrency {
        let sent = Arc::clone(&sent);
        clients.spawn(async move {
            let mut client = Client::connect(gateway).await;
            let mut established = 0;
            loop {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return anyhow::Ok(established);
                }
                let response = client.get("/").await;
                ensure!(response.status == 200, "a request failed: {response:?}");
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

/// Sends 1 KiB for each request, none of which has a body, so that the heads are all that is read. Closes first where the
/// request asks for it, as servers do.
async fn answer(mut connection: Connection) {
    let body = "x".repeat(1024);
    while let Some(request) = connection.read_head().await {
        let close = request.headers.lists("connection", "close");
        let option = if close { "close" } else { "keep-alive" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 1024\r\nConnection: {option}\r\n\r\n");
        connection.write(format!("{head}{body}")).await;
        if close {
            connection.half_close().await;
            // To close with bytes unread would reset the connection, and a reset leaves no TIME_WAIT behind.
            connection.wait_closed().await;
            return;
        }
    }
    // The peer closed first, and a close_notify sent to it now would be answered with a reset.
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
