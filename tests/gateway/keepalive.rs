//! Keepalive probes of TCP: on both sides, by default and as the keys say, and what becomes of a peer that has vanished.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use socket2::{SockFilter, SockRef};
use support::{Client, Gateway, Origin, wait_until};

use crate::PROGRAM;

/// A gateway with these keys of its listener and its route.
fn config(origin: &Origin, listener: &str, route: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0{listener} }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
routes: [{{ name: all, upstream: {{ url: '{}' }}{route} }}]",
        origin.url()
    )
}

/// Returns the hundredths of a second until the next probe on the gateway's connection between these ports; `None` if there
/// are no probes. Linux shows each socket's timer as `KIND:HUNDREDTHS`, where kind 2 is that of probes.
async fn next_probe(local: Option<u16>, remote: Option<u16>) -> Option<u64> {
    // While bytes are on the way the timer is that of their repetition. The table may leave out a connection while others
    // come and go.
    wait_until("the connection to rest", async || timer(local, remote).is_some_and(|(kind, _)| kind != 1))
        .await;
    timer(local, remote).and_then(|(kind, hundredths)| (kind == 2).then_some(hundredths))
}

/// Returns the kind of the connection's timer, and the hundredths of a second until its end.
fn timer(local: Option<u16>, remote: Option<u16>) -> Option<(u8, u64)> {
    let port = |address: &str| u16::from_str_radix(address.split_once(':').unwrap().1, 16).unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut established = rows.filter(|row| row[3] == "01").filter(|row| {
        local.is_none_or(|local| port(row[1]) == local) && remote.is_none_or(|remote| port(row[2]) == remote)
    });
    let (kind, hundredths) = established.next()?[5].split_once(':')?;
    Some((kind.parse().unwrap(), u64::from_str_radix(hundredths, 16).unwrap()))
}

/// Returns the next probe on the connection that the gateway has accepted from `client`.
async fn next_probe_of(gateway: &Gateway, client: &Client) -> Option<u64> {
    next_probe(Some(gateway.addr("web").port()), Some(client.local_addr().port())).await
}

/// Asserts that a connection that was opened since `began` is probed after so many seconds without traffic, or not at all.
fn assert_probed(next: Option<u64>, idle: Option<u64>, began: Instant, case: &str) {
    let passed = began.elapsed().as_secs() + 1;
    let is_it = match (next, idle) {
        (Some(next), Some(idle)) => (100 * idle.saturating_sub(passed)..=100 * idle).contains(&next),
        (next, idle) => next == idle,
    };
    assert!(is_it, "{case}: {next:?} hundredths of a second are left of {idle:?} seconds after {passed}");
}

#[tokio::test]
async fn connections_are_probed_on_both_sides_as_the_keys_say() {
    for (listener, route, expected) in [
        ("", "", (Some(60), Some(60))),
        (
            ", tcp_keepalive: { idle: 90s }",
            ", pool: { tcp_keepalive: { idle: 120s } }",
            (Some(90), Some(120)),
        ),
        (", tcp_keepalive: off", ", pool: { tcp_keepalive: off }", (None, None)),
    ] {
        let origin = Origin::echo();
        let gateway = Gateway::builder(PROGRAM, config(&origin, listener, route)).start().await;
        let began = Instant::now();
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.status, 200);
        assert_probed(next_probe_of(&gateway, &client).await, expected.0, began, listener);
        assert_probed(next_probe(None, Some(origin.addr().port())).await, expected.1, began, route);
    }
}

#[tokio::test]
async fn new_connections_have_the_probes_of_a_reload() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let gateway = Gateway::builder(PROGRAM, config(&origin, "", "")).start().await;
    for (keepalive, expected) in [("off", None), ("{ idle: 90s }", Some(90))] {
        gateway.reload(&config(&origin, &format!(", tcp_keepalive: {keepalive}"), "")).await;
        for _ in 0..2 {
            let began = Instant::now();
            let mut client = gateway.client("web").await;
            assert_eq!(client.get("/").await.status, 200);
            assert_probed(next_probe_of(&gateway, &client).await, expected, began, keepalive);
        }
    }
}

#[tokio::test]
async fn listener_at_its_connections_limit_takes_the_probes_of_a_reload() {
    let origin = Origin::echo();
    let keys = |idle: &str| format!(", limits: {{ connections: 1 }}, tcp_keepalive: {{ idle: {idle} }}");
    let gateway = Gateway::builder(PROGRAM, config(&origin, &keys("90s"), "")).start().await;
    let mut first = gateway.client("web").await;
    assert_eq!(first.get("/").await.status, 200);
    // It is accepted under the old settings, and let in under the new ones.
    let mut second = gateway.client("web").await;
    gateway.wait_for_log("the connection limit is reached").await;
    gateway.reload(&config(&origin, &keys("120s"), "")).await;
    drop(first);
    assert_eq!(second.get("/").await.status, 200);
    drop(second);
    let began = Instant::now();
    let mut third = gateway.client("web").await;
    assert_eq!(third.get("/").await.status, 200);
    assert_probed(next_probe_of(&gateway, &third).await, Some(120), began, "the third");
}

/// Lets a socket vanish: the kernel drops all that arrives for it, before TCP can answer.
fn vanish(socket: &TcpStream) {
    SockRef::from(socket).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).unwrap();
}

#[tokio::test]
async fn a_tunnel_whose_client_has_vanished_is_closed() {
    let origin = Origin::script(|mut connection| async move {
        connection.read_head().await;
        connection
            .write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        connection.wait_closed().await;
    });
    let keepalive = ", tcp_keepalive: { idle: 1s, interval: 1s, probes: 1 }";
    let gateway =
        Gateway::builder(PROGRAM, config(&origin, keepalive, ", timeouts: { idle: off }")).start().await;
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, gateway.addr("web").port()).into();
    let client = TcpStream::connect(address).unwrap();
    {
        (&client)
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .unwrap();
        let client = client.try_clone().unwrap();
        let head = tokio::task::spawn_blocking(move || {
            let mut head = [0; 12];
            (&client).read_exact(&mut head).map(|()| head)
        });
        assert_eq!(&head.await.unwrap().unwrap(), b"HTTP/1.1 101");
    }
    let began = Instant::now();
    vanish(&client);
    // Nothing is sent on the tunnel: only the probes can find out.
    origin.wait_for_open(0).await;
    wait_until("the tunnel's end", async || {
        gateway.metric("gateway_listener_connections{listener=\"web\"}").await == Some(0.0)
    })
    .await;
    assert!(began.elapsed().as_secs() >= 1, "not before the first probe");
}

/// Accepts a connection, reads a request's head and answers it with `response`.
fn answered(listener: &TcpListener, response: &str) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    stream.write_all(response.as_bytes()).unwrap();
    stream
}

#[tokio::test]
async fn connections_to_an_upstream_that_has_vanished_are_closed_idle_and_in_use() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keepalive = "pool: { tcp_keepalive: { idle: 1s, interval: 1s, probes: 1 }, idle_timeout: 1h }";
    let gateway = crate::gateway(format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
routes: [{{ name: all, upstream: {{ url: '{url}' }}, {keepalive}, timeouts: {{ idle: off, response_header: off, request: off }} }}]"
    ))
    .start()
    .await;
    let [mut served, mut waiting] = [gateway.client("web").await, gateway.client("web").await];
    served.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let upstream = tokio::task::spawn_blocking(move || {
        let idle = answered(&listener, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        (listener, idle)
    });
    let (listener, idle) = upstream.await.unwrap();
    assert_eq!(served.read_response().await.status, 200);
    gateway.wait_for_pool("all", "an idle connection", |pool| pool["idle"] == 1).await;
    let began = Instant::now();
    vanish(&idle);
    // Nothing is sent on the idle connection: only the probes can find out.
    gateway.wait_for_pool("all", "no idle connection", |pool| pool["idle"] == 0).await;
    assert!(began.elapsed().as_millis() >= 900, "not before the first probe");

    waiting.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let _vanished = tokio::task::spawn_blocking(move || {
        let in_use = answered(&listener, "");
        vanish(&in_use);
        in_use
    })
    .await
    .unwrap();
    let response = waiting.read_response().await;
    assert_eq!((response.status, response.header("x-gateway-error")), (502, Some("upstream.closed")));
}
