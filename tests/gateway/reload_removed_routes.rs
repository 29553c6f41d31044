//! Streams and tunnels while the configuration changes, with and without `shutdown.drain_removed_routes`.

use std::time::{Duration, Instant};

use support::{Certificates, Client, Connection, Gate, Gateway, Origin, wait_until, with_longer_and_longer};

use crate::reload_clients::{ADMIN, SWITCH, builder, clients, config, reload, tunnel};

/// More bytes than there is room for between an origin and a client that reads nothing, by HTTP version: sockets take
/// megabytes, a stream's window is small.
const LARGE: [usize; 2] = [8 << 20, 1 << 20];

/// The time for which the streams of a removed route may continue if they have a limit.
const DRAIN: Duration = Duration::from_millis(300);

/// Routes to the origin by these names and below these paths, in whose `shutdown` there is a limit.
fn limited(drain: Duration, names: &[&str]) -> String {
    let shutdown = format!("shutdown: {{ drain: {}ms, drain_removed_routes: true }}\n", drain.as_millis());
    config(&format!("{shutdown}{}", routes(names)))
}

fn routes(names: &[&str]) -> String {
    let route = |name: &&str| {
        format!("  - {{ name: {name}, match: {{ prefix: /{name} }}, upstream: {{ url: '{{origin}}' }} }}\n")
    };
    let none = "  - { name: none, match: { path: /none }, respond: { body: none } }\n";
    format!("routes:\n{none}{}", names.iter().map(route).collect::<String>())
}

/// A large body.
fn large(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

/// Serves a stream by the end of the path: a tunnel, a body of that size, or one with a piece for each passage of the gate.
async fn stream(mut connection: Connection, gate: Gate, pieces: usize) {
    while let Some(request) = connection.read_request().await {
        if let Some(length) = request.target.strip_prefix("/up/large/") {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            connection.write([head.as_bytes(), &large(length.parse().unwrap())].concat()).await;
            continue;
        }
        let (head, chunked) = match request.target.rsplit('/').next() {
            Some("tunnel") => {
                connection.write(SWITCH).await;
                return connection.echo().await;
            }
            Some("events") => {
                ("content-type: text/event-stream\r\ntransfer-encoding: chunked".to_owned(), true)
            }
            Some("chunked") => ("transfer-encoding: chunked".to_owned(), true),
            _ => (format!("content-length: {}", pieces * 5), false),
        };
        connection.write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n")).await;
        for piece in 0..pieces {
            gate.pass().await;
            let piece = if chunked { format!("5\r\n{piece:05}\r\n") } else { format!("{piece:05}") };
            connection.write(piece).await;
        }
        if chunked {
            connection.write("0\r\n\r\n").await;
        }
    }
}

fn streaming(gate: &Gate, pieces: usize) -> Origin {
    let gate = gate.clone();
    Origin::script(move |connection| stream(connection, gate.clone(), pieces))
}

/// Returns a piece as it is on the wire.
fn piece(number: usize, kind: &str, path: &str) -> String {
    let chunked = !path.ends_with("length") && kind.starts_with("HTTP/1");
    if chunked { format!("5\r\n{number:05}\r\n") } else { format!("{number:05}") }
}

#[tokio::test]
async fn streams_continue_across_ten_reloads_to_their_last_byte() {
    const RELOADS: usize = 10;
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = streaming(&gate, RELOADS);
    let start = config(&routes(&["up"]));
    let gateway = builder(start.clone(), &certificates, &origin).start().await;
    let mut streams = Vec::new();
    for path in ["/chunked", "/events", "/length"] {
        for mut client in clients(&gateway, &certificates).await {
            client.ask(&format!("/up{path}")).await;
            assert_eq!(client.head("-").await.0, 200);
            streams.push((client, path));
        }
    }
    let mut slow = Vec::new();
    for mut client in clients(&gateway, &certificates).await {
        let length = LARGE[usize::from(client.kind.starts_with("HTTP/2"))];
        client.ask(&format!("/up/large/{length}")).await;
        assert_eq!(client.head("content-length").await, (200, Some(length.to_string())));
        slow.push((client, length));
    }
    gate.arrivals(streams.len()).await;

    // Back and forth, so that the route, its pool and the listeners go and come again.
    let no_listeners = format!("{ADMIN}listeners: [{{ name: other, address: '[::1]:0' }}]\n");
    let less = "\n    timeouts: { request: 10ms, idle: 10ms }\n    pool: { max_connections: 1, keep_alive: false }\n";
    let less = format!("routes:\n  - name: up\n    upstream: {{ url: '{{origin}}' }}{less}");
    let nexts = [
        config(&routes(&["other"])),
        start.clone(),
        config(&less),
        config(&routes(&["up"]).replace("{origin}", "http://127.0.0.1:1")),
        format!("{no_listeners}{}", routes(&[])),
    ];
    for (number, next) in nexts.iter().cycle().take(RELOADS).enumerate() {
        reload(&gateway, next).await;
        for _ in &streams {
            gate.release();
        }
        for (client, path) in &mut streams {
            let expected = piece(number, client.kind, path);
            let got = client.read(expected.len()).await.map(|got| String::from_utf8(got).unwrap());
            assert_eq!(got, Some(expected), "{path}, {}, {number}", client.kind);
        }
    }
    for (client, path) in &mut streams {
        assert!(client.ends_well(*path != "/length").await, "{path}, {}", client.kind);
    }
    let is_over = |line: &String| line.contains("/up/large");
    assert!(!gateway.stdout_lines().iter().any(is_over), "more than the sockets hold");
    for (client, length) in &mut slow {
        assert!(client.read(*length).await == Some(large(*length)), "{}", client.kind);
    }
    let slow = slow.into_iter().map(|(client, _)| client);
    for client in streams.into_iter().map(|(client, _)| client).chain(slow) {
        client.closed().await;
    }
    origin.wait_for_open(0).await;
    assert_eq!(origin.errors(), [] as [String; 0]);
}

async fn say_hello(tunnel: &mut Client, word: &str) {
    tunnel.send_raw(word).await;
    assert_eq!(tunnel.read_exact(word.len()).await, word.as_bytes());
}

/// A tunnel of HTTP/1 on each listener.
async fn tunnels(gateway: &Gateway, certificates: &Certificates, path: &str) -> [Client; 2] {
    let tls = certificates.client_config(&["http/1.1"]);
    let secure = Client::connect_tls(gateway.addr("secure"), &tls, "a.test").await;
    [tunnel(gateway.client("web").await, path).await, tunnel(secure, path).await]
}

#[tokio::test]
async fn tunnels_of_routes_and_listeners_that_go_have_no_limit() {
    let certificates = Certificates::new();
    let origin = streaming(&Gate::new(), 0);
    let gateway = builder(config(&routes(&["up"])), &certificates, &origin).start().await;
    let mut tunnels = tunnels(&gateway, &certificates, "/up/tunnel").await;
    let short = "shutdown: { drain: 1ms }\n";
    for next in [
        config(&routes(&["up", "other"])),
        config(&format!("{short}{}", routes(&[]))),
        format!("{ADMIN}{short}listeners: [{{ name: other, address: '[::1]:0' }}]\n{}", routes(&[])),
        config(&routes(&["up"])),
    ] {
        for tunnel in &mut tunnels {
            say_hello(tunnel, "before").await;
            tunnel.send_raw("dur").await;
        }
        reload(&gateway, &next).await;
        for tunnel in &mut tunnels {
            tunnel.send_raw("ing").await;
            assert_eq!(tunnel.read_exact(6).await, b"during");
            say_hello(tunnel, "after").await;
        }
    }
    for tunnel in &mut tunnels {
        tunnel.half_close().await;
        tunnel.expect_closed().await;
    }
    origin.wait_for_open(0).await;
    gateway.wait_for_stdout(r#""status":101"#).await;
}

#[tokio::test]
async fn only_streams_and_tunnels_of_removed_routes_end_at_their_limit() {
    with_longer_and_longer(only_those_of_removed_routes_end).await;
}

async fn only_those_of_removed_routes_end(drain: Duration) {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = streaming(&gate, 2);
    let gateway = builder(limited(drain, &["gone", "kept"]), &certificates, &origin).start().await;
    let mut gone_tunnels = tunnels(&gateway, &certificates, "/gone/tunnel").await;
    let mut kept_tunnels = tunnels(&gateway, &certificates, "/kept/tunnel").await;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for path in ["/chunked", "/length"] {
        for (name, streams) in [("gone", &mut gone), ("kept", &mut kept)] {
            for mut client in clients(&gateway, &certificates).await {
                client.ask(&format!("/{name}{path}")).await;
                assert_eq!(client.head("-").await.0, 200);
                streams.push((client, path));
            }
        }
    }
    let streams = gone.len() + kept.len();
    gate.arrivals(streams).await;
    let began = Instant::now();
    reload(&gateway, &limited(drain, &["kept"])).await;
    // They go on for a while.
    (0..streams).for_each(|_| gate.release());
    for (client, path) in gone.iter_mut().chain(&mut kept) {
        let expected = piece(0, client.kind, path);
        assert_eq!(client.read(expected.len()).await, Some(expected.into_bytes()), "{}", client.kind);
    }
    for tunnel in &mut gone_tunnels {
        say_hello(tunnel, "still there").await;
    }
    for tunnel in &mut gone_tunnels {
        tunnel.expect_closed().await;
        assert!(began.elapsed() >= drain, "after {:?}", began.elapsed());
    }
    for (client, _) in &mut gone {
        client.is_cut().await;
    }
    // Theirs to the upstream have ended, too.
    let is_gone = async || gateway.pools().await.iter().all(|pool| pool["draining"] == false);
    wait_until("the pool has gone", is_gone).await;
    gate.release_all();
    origin.wait_for_open(kept.len() + kept_tunnels.len()).await;
    for tunnel in &mut kept_tunnels {
        say_hello(tunnel, "for ever").await;
    }
    for (client, path) in &mut kept {
        let expected = piece(1, client.kind, path);
        assert_eq!(client.read(expected.len()).await, Some(expected.into_bytes()), "{}", client.kind);
        assert!(client.ends_well(*path != "/length").await, "{path}, {}", client.kind);
    }
    gateway.wait_for_log("shutdown.drain_removed_routes").await;
    let is_cut = |line: &String| line.contains(r#""error":"shutdown.drain_removed_routes""#);
    let cut = || gateway.stdout_lines().into_iter().filter(is_cut).collect::<Vec<_>>();
    wait_until("all lines of the log", async || cut().len() == gone.len() + gone_tunnels.len()).await;
    assert!(cut().iter().all(|line| line.contains(r#""route":"gone""#)), "{:#?}", cut());
}

#[tokio::test]
async fn a_route_that_comes_back_in_time_saves_its_streams() {
    with_longer_and_longer(comes_back_in_time).await;
}

async fn comes_back_in_time(drain: Duration) {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = streaming(&gate, 1);
    let gateway = builder(limited(drain, &["up", "gone"]), &certificates, &origin).start().await;
    let [mut back, _] = tunnels(&gateway, &certificates, "/up/tunnel").await;
    let [mut fence, _] = tunnels(&gateway, &certificates, "/gone/tunnel").await;
    reload(&gateway, &limited(drain, &[])).await;
    reload(&gateway, &limited(drain, &["up"])).await;
    fence.expect_closed().await;
    say_hello(&mut back, "saved").await;
    // Removed once more, it has its time once more.
    let began = Instant::now();
    reload(&gateway, &limited(drain, &[])).await;
    say_hello(&mut back, "still there").await;
    back.expect_closed().await;
    assert!(began.elapsed() >= drain, "after {:?}", began.elapsed());
    origin.wait_for_open(0).await;
}

#[tokio::test]
async fn an_answer_that_begins_after_the_limit_is_not_cut_off() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            let Some(request) = connection.read_request().await else { return };
            if request.target == "/up/tunnel" {
                connection.write(SWITCH).await;
                return connection.echo().await;
            }
            for part in ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "one", "two", "end"] {
                gate.pass().await;
                connection.write(part).await;
            }
            connection.wait_closed().await;
        }
    });
    let gateway = builder(limited(DRAIN, &["up"]), &certificates, &origin).start().await;
    let [mut fence, _] = tunnels(&gateway, &certificates, "/up/tunnel").await;
    let mut waiting = clients(&gateway, &certificates).await;
    for client in &mut waiting {
        client.ask("/up").await;
    }
    gate.arrivals(waiting.len()).await;
    reload(&gateway, &limited(DRAIN, &[])).await;
    fence.expect_closed().await;
    for _ in &waiting {
        gate.release();
    }
    for client in &mut waiting {
        assert_eq!(client.head("-").await.0, 200, "{}", client.kind);
    }
    for part in ["one", "two", "end"] {
        for _ in &waiting {
            gate.release();
        }
        for client in &mut waiting {
            let got = client.read(part.len()).await;
            assert_eq!(got.as_deref(), Some(part.as_bytes()), "{}", client.kind);
        }
    }
}
