//! Tests of listeners that are added, removed and changed while connections are open.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use support::http::Request;
use support::{Client, Gate, Http2Client, Origin, wait_until};

use super::*;
use crate::config::load::files::Files;
use crate::config::{self, ConfigErrors};
use crate::control::compile::snapshot::Environment;
use crate::control::listeners::{Bound, Listeners};
use crate::upstream::{WorkerChannels, worker_channel};

const WORKERS: usize = 2;

/// Two workers and their state, without the rest of the process.
struct Process {
    snapshot: Arc<ArcSwap<Snapshot>>,
    workers: Workers,
    listeners: Listeners,
    channels: WorkerChannels,
}

impl Process {
    async fn start(config: &str) -> Self {
        let (channels, pool_commands): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| worker_channel(8)).unzip();
        let channels = channels.into();
        let listeners = Listeners::default();
        let (snapshot, bound) = build(config, &listeners, &channels).unwrap();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let workers = Workers::start(&snapshot, pool_commands).unwrap();
        let (listeners, worker_commands) = bound.commit();
        workers.obey(worker_commands).await.unwrap();
        Self { snapshot, workers, listeners, channels }
    }

    async fn reload(&mut self, config: &str) {
        let (snapshot, bound) =
            build(config, &self.listeners, &self.channels).unwrap_or_else(|errors| panic!("{errors}"));
        self.snapshot.store(Arc::new(snapshot));
        let (listeners, worker_commands) = bound.commit();
        self.listeners = listeners;
        self.workers.obey(worker_commands).await.unwrap();
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.listeners.iter().find(|listener| listener.name() == name).unwrap().address()
    }

    async fn client(&self, name: &str) -> Client {
        Client::connect(self.address(name)).await
    }

    fn metrics(&self, name: &str) -> crate::observe::metrics::stats::ListenerTotals {
        let stats = self.snapshot.load().listener_stats();
        stats.iter().find(|(of, _)| **of == *name).unwrap().1.totals()
    }
}

fn build(
    config: &str,
    running: &Listeners,
    channels: &WorkerChannels,
) -> Result<(Snapshot, Bound), ConfigErrors> {
    let loaded = config::parse(config, "gateway.yaml", Path::new(""))?;
    let files = Files::new();
    let plan = running.plan(&loaded, WORKERS, &files)?;
    let environment =
        Environment { channels, files: &files, listeners: plan.listener_settings(), previous: None };
    let (snapshot, _) = Snapshot::build(&loaded, &environment)?;
    let going = plan.going();
    let bound = plan.bind(&loaded, WORKERS, &going)?;
    ConfigErrors::check(bound.listen(&loaded, &going))?;
    Ok((snapshot, bound))
}

/// Returns a configuration with these listeners, and a route for each name in `routes` that responds with the name on
/// the listener of that name.
fn config(listeners: &[&str], routes: &[&str]) -> String {
    let listeners = listeners.join("}\n  - { ");
    let route = |name: &&str| format!("\n  - {{ listeners: [{name}], respond: {{ body: {name} }} }}");
    format!("listeners:\n  - {{ {listeners} }}\nroutes:{}", routes.iter().map(route).collect::<String>())
}

const ONE: &str = "name: one, address: 127.0.0.1:0";
const TWO: &str = "name: two, address: 127.0.0.1:0";

#[tokio::test]
async fn adding_and_removing_a_listener_does_not_disturb_the_others() {
    let mut process = Process::start(&config(&[ONE], &["one"])).await;
    let mut kept = process.client("one").await;
    assert_eq!(kept.get("/").await.text(), "one");
    process.reload(&config(&[TWO, ONE], &["one", "two"])).await;
    let mut ended = process.client("two").await;
    assert_eq!(ended.get("/").await.text(), "two");
    let mut ended_h2 = Http2Client::connect(process.address("two")).await;
    assert_eq!(ended_h2.get("http://a/").await.body, b"two");
    let gone = process.address("two");
    process.reload(&config(&[ONE], &["one"])).await;
    assert_eq!(ended.read_to_end().await.unwrap(), b"");
    ended_h2.closed().await.unwrap();
    wait_until("the address is closed", async || Client::try_connect(gone).await.is_err()).await;
    assert_eq!(kept.get("/").await.text(), "one");
}

#[tokio::test]
async fn exchanges_of_a_removed_listener_complete() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none").await;
            gate.pass().await;
            connection.write("two").await;
        }
    });
    let routes = format!("\nroutes: [{{ upstream: {{ url: '{}' }} }}]", origin.url());
    let listeners = |names: &[&str]| format!("listeners: [{{ {} }}]{routes}", names.join("}, {"));
    let mut process = Process::start(&listeners(&[ONE, TWO])).await;
    let mut streams = process.client("two").await;
    streams.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut streams_h2 = Http2Client::connect(process.address("two")).await;
    let request = Request::get("http://a/").body(()).unwrap();
    let (response_h2, _) = streams_h2.open(request, true).await.unwrap();
    gate.arrivals(2).await;
    // Half a request counts as begun.
    let mut begun = process.client("two").await;
    begun.send_raw("GET / HTTP/1.1\r\nho").await;
    wait_until("all are in", async || process.metrics("two").active == 3).await;
    process.reload(&listeners(&[ONE])).await;
    gate.release_all();
    begun.send_raw("st: a\r\n\r\n").await;
    for client in [&mut streams, &mut begun] {
        assert_eq!(client.read_response().await.text(), "onetwo");
        client.expect_closed().await;
    }
    assert_eq!(Http2Client::read(response_h2).await.unwrap().body, b"onetwo");
    streams_h2.closed().await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_listeners_that_ended_before() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            gate.pass().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let routes = format!("\nroutes: [{{ upstream: {{ url: '{}' }} }}]", origin.url());
    let mut process = Process::start(&format!("listeners: [{{ {ONE} }}]{routes}")).await;
    let mut client = process.client("one").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    process.reload(&format!("listeners: [{{ {} }}]{routes}", "address: '[::1]:0'")).await;
    process.reload(&format!("listeners: [{{ {} }}]{routes}", "address: '127.0.0.1:0'")).await;
    let last = process.address("127.0.0.1:0");
    let drained = tokio::spawn(process.workers.drain(None, std::future::pending()));
    wait_until("the address is closed", async || Client::try_connect(last).await.is_err()).await;
    assert!(!client.is_closed());
    gate.release_all();
    assert_eq!(client.read_response().await.text(), "ok");
    drained.await.unwrap();
}

#[tokio::test]
async fn an_open_connection_keeps_its_listener_across_reordering_and_renaming() {
    let mut process = Process::start(&config(&[ONE, TWO], &["one", "two"])).await;
    let (mut one, mut two) = (process.client("one").await, process.client("two").await);
    for (names, routes, of_one, of_two) in [
        (&[TWO, ONE][..], &["one", "two"][..], "one", "two"),
        (&["name: new, address: '[::1]:0'", TWO, ONE], &["new", "one", "two"], "one", "two"),
        (&[TWO, "name: first, address: 127.0.0.1:0"], &["first", "two"], "first", "two"),
    ] {
        process.reload(&config(names, routes)).await;
        assert_eq!(one.get("/").await.text(), of_one, "{names:?}");
        assert_eq!(two.get("/").await.text(), of_two, "{names:?}");
    }
    assert_eq!(process.metrics("first").accepted, 1, "a renamed listener keeps counting");
}

#[tokio::test]
async fn the_next_request_of_an_open_connection_has_the_new_limits() {
    let with = |limits: &str| {
        let listener = format!("name: one, address: 127.0.0.1:0, limits: {{ {limits} }}");
        config(&[&listener], &["one"])
    };
    let mut process = Process::start(&with("")).await;
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".to_owned();
    let wide = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(600));
    for (limits, request, status, connection) in [
        ("body: 2B", &post, 413, Some("close")),
        ("header_bytes: 500B", &wide, 431, Some("close")),
        ("requests_per_connection: 2", &post, 200, Some("close")),
        ("requests_per_connection: 3", &post, 200, None),
    ] {
        process.reload(&with("")).await;
        let mut client = process.client("one").await;
        client.send_raw(request).await;
        assert_eq!(client.read_response().await.status, 200, "before {limits}");
        process.reload(&with(limits)).await;
        client.send_raw(request).await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.header("connection")), (status, connection), "{limits}");
    }
}

#[tokio::test]
async fn the_next_stream_of_an_open_connection_has_the_new_limits() {
    let with = |limits: &str| {
        let listener = format!("name: one, address: 127.0.0.1:0, limits: {{ {limits} }}");
        config(&[&listener], &["one"])
    };
    let mut process = Process::start(&with("")).await;
    let mut client = Http2Client::connect(process.address("one")).await;
    let long = format!("http://a/{}", "q".repeat(100));
    assert_eq!(client.get(&long).await.status, 200);
    process.reload(&with("target_bytes: 50B")).await;
    assert_eq!(client.get(&long).await.status, 414);
    process.reload(&with("requests_per_connection: 3")).await;
    assert_eq!(client.get(&long).await.status, 200);
    client.closed().await.unwrap();
}

#[tokio::test]
async fn new_timeouts_hold_for_the_next_request_of_an_open_connection() {
    let with = |timeouts: &str| {
        let listener = format!("name: one, address: 127.0.0.1:0, timeouts: {{ {timeouts} }}");
        config(&[&listener], &["one"])
    };
    let mut process = Process::start(&with("")).await;
    let (mut header, mut idle) = (process.client("one").await, process.client("one").await);
    for client in [&mut header, &mut idle] {
        assert_eq!(client.get("/").await.text(), "one");
    }
    process.reload(&with("request_header: 10ms, keep_alive: 10ms")).await;
    header.send_raw("GET").await;
    assert_eq!(header.read_response().await.status, 408);
    assert_eq!(idle.get("/").await.text(), "one");
    idle.expect_closed().await;
}

#[tokio::test]
async fn the_limits_of_a_listener_change_while_connections_are_open() {
    let with = |limits: &str| {
        let listener = format!("name: one, address: 127.0.0.1:0, limits: {{ {limits} }}");
        config(&[&listener], &["one"])
    };
    let mut process = Process::start(&with("connections: off")).await;
    let (mut first, mut second) = (process.client("one").await, process.client("one").await);
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/").await.text(), "one");
    }
    process.reload(&with("connections: 1")).await;
    let mut third = process.client("one").await;
    third.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    drop(first);
    wait_until("one has gone", async || process.metrics("one").active == 1).await;
    assert_eq!(second.get("/").await.text(), "one");
    assert!(!third.is_closed());
    process.reload(&with("connections: 2")).await;
    assert_eq!(third.read_response().await.text(), "one");
    // The limit applies to new connections, so the two open ones do not count.
    process.reload(&with("connections_per_client: 1")).await;
    let mut fourth = process.client("one").await;
    assert_eq!(fourth.get("/").await.text(), "one");
    process.client("one").await.expect_closed().await;
}

#[tokio::test]
async fn trusted_proxies_change_for_open_connections() {
    let origin = Origin::echo();
    let with = |trusted: &str| {
        let route = format!("{{ upstream: {{ url: '{}' }} }}", origin.url());
        format!("listeners: [{{ {ONE} }}]\ntrusted_proxies: [{trusted}]\nroutes: [{route}]")
    };
    let mut process = Process::start(&with("")).await;
    let mut client = process.client("one").await;
    for (trusted, expected) in [("", "127.0.0.1"), ("127.0.0.0/8", "9.9.9.9, 127.0.0.1"), ("", "127.0.0.1")] {
        process.reload(&with(trusted)).await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 9.9.9.9\r\n\r\n").await;
        client.read_response().await;
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.headers.get("x-forwarded-for"), Some(expected), "trusted: {trusted}");
    }
}

#[tokio::test]
async fn workers_let_go_of_a_snapshot_although_connections_are_idle() {
    let mut process = Process::start(&config(&[ONE], &["one"])).await;
    let mut client = process.client("one").await;
    client.get("/").await;
    let before = Arc::downgrade(&process.snapshot.load_full());
    process.reload(&config(&[ONE], &["one"])).await;
    assert!(before.upgrade().is_none());
    assert_eq!(client.get("/").await.text(), "one");
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_changes_nothing() {
    let mut process = Process::start(&config(&[ONE], &["one"])).await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong = format!("name: two, address: {}", other.local_addr().unwrap());
    let errors = build(&config(&[&wrong], &["two"]), &process.listeners, &process.channels).err().unwrap();
    assert!(errors.to_string().contains("another program listens there"), "{errors}");
    let part = format!("name: two, address: 0.0.0.0:{}", process.address("one").port());
    let errors =
        build(&config(&[ONE, &part], &["two"]), &process.listeners, &process.channels).err().unwrap();
    assert!(errors.to_string().contains("`one` has it"), "{errors}");
    assert_eq!(process.client("one").await.get("/").await.text(), "one");
    process.reload(&config(&[ONE, TWO], &["one", "two"])).await;
}

/// Clients that connect, send a request and disconnect in a loop, and must always get a response.
struct Visitors {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Visitors {
    fn to(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = stop.clone();
        let visit = move || {
            let mut visits = 0;
            while !stops.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                visits += 1;
            }
            visits
        };
        Self { stop, threads: (0..4).map(|_| std::thread::spawn(visit.clone())).collect() }
    }

    fn leave(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

#[tokio::test]
async fn an_address_widens_and_narrows_under_load() {
    let mut process = Process::start(&config(&[ONE], &["one"])).await;
    let address = process.address("one");
    let visitors = Visitors::to(address);
    for ip in ["0.0.0.0", "127.0.0.1"].repeat(3) {
        let listener = format!("name: one, address: {ip}:{}", address.port());
        process.reload(&config(&[&listener], &["one"])).await;
        wait_until("the old one is closed", async || !process.listeners.is_one_closing()).await;
    }
    assert!(visitors.leave() > 0);
}
