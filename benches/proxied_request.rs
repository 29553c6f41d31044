//! A whole proxied request, over loopback sockets: client, gateway with one worker, and an upstream that is a second listener
//! of the same worker. It shows changes of the request path, not what a proxy costs beside others: for that there is
//! `bench/`.
//!
//! ```text
//! cargo bench --bench proxied_request
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that cannot run may panic; its groups are macros' items"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::run;

const CONFIG: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:0" }
  - { name: origin, address: "ORIGIN" }
workers: 1
telemetry: { access_log: off }
routes:
  - { name: proxied, listeners: [web], match: { prefix: / }, upstream: { url: "http://ORIGIN" } }
  - { name: answer, listeners: [origin], respond: { body: "BODY" } }
"#;

const REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// Starts a gateway in this process; the address of its listener `web`.
fn start(body_bytes: usize) -> SocketAddr {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    // Free a moment ago: good enough for a benchmark.
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = CONFIG.replace("ORIGIN", &origin.to_string()).replace("BODY", &"x".repeat(body_bytes));
    std::fs::write(&file, config).unwrap();
    let prepared = run::prepare(&file).unwrap();
    let (announce, announced) = mpsc::sync_channel(16);
    std::thread::spawn(move || {
        run::run(|| Ok(prepared), |line| drop(announce.send(line.to_owned()))).unwrap()
    });
    let lines = std::iter::from_fn(|| announced.recv_timeout(Duration::from_secs(10)).ok());
    let web = lines.take_while(|line| line != "ready").find(|line| line.ends_with("(web)")).unwrap();
    web.split(['/', ' ']).find_map(|word| word.parse().ok()).unwrap()
}

/// Sends one request and reads its response, which ends with `body_bytes` of body.
fn exchange(client: &mut TcpStream, buffer: &mut [u8], body_bytes: usize) {
    client.write_all(REQUEST).unwrap();
    let (mut read, mut end) = (0, None);
    while end.is_none_or(|end| read < end) {
        read += client.read(&mut buffer[read..]).unwrap();
        end = end.or_else(|| {
            let head = buffer[..read].windows(4).position(|window| window == b"\r\n\r\n")?;
            Some(head + 4 + body_bytes)
        });
    }
}

fn proxied_request(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("proxied_request");
    for body_bytes in [1024, 65_536] {
        let mut client = TcpStream::connect(start(body_bytes)).unwrap();
        client.set_nodelay(true).unwrap();
        let mut buffer = vec![0; body_bytes + 4096];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{body_bytes} bytes"), |bencher| {
            bencher.iter(|| exchange(&mut client, &mut buffer, body_bytes));
        });
    }
    group.finish();
}

criterion_group!(benches, proxied_request);
criterion_main!(benches);
