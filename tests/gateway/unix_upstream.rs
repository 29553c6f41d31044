//! Endpoints on Unix sockets: they serve as those of TCP do, and their failures say what is wrong.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use support::{Client, Gate, Gateway, Http2Exchange, Origin, OriginBuilder, run_to_exit, wait_until};
use tempfile::TempDir;

use crate::pooled::{self, OK, ROUTE, closed, number, refusal, statuses};

/// A folder for sockets.
struct Sockets(TempDir);

impl Sockets {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }

    /// Returns a builder of an origin on the socket of this name.
    fn origin(&self, name: &str) -> OriginBuilder {
        Origin::builder().unix(self.path(name))
    }
}

fn one(url: &str, keys: &str) -> String {
    format!("{{ url: '{url}', {keys} }}")
}

async fn start(workers: usize, upstream: &str) -> Gateway {
    pooled::builder(workers, upstream, "").start().await
}

#[tokio::test]
async fn requests_share_one_kept_connection_to_a_unix_socket() {
    let sockets = Sockets::new();
    let origin = sockets.origin("app.sock").echo();
    for upstream in [
        one(&origin.url(), ""),
        format!("{{ endpoints: ['{}'] }}", origin.url()),
        format!("{{ endpoints: [{{ url: '{}', weight: 2 }}] }}", origin.url()),
    ] {
        let before = (origin.accepted(), origin.requests().len());
        let gateway = start(1, &upstream).await;
        let mut client = gateway.client("web").await;
        for body in [&b"a"[..], &[b'b'; 300_000]] {
            let response = client.request("POST", "/a?b", &[("host", "client.example")], body).await;
            assert_eq!((response.status, response.body.as_slice()), (200, body), "{upstream}");
        }
        assert_eq!((origin.accepted() - before.0, origin.requests().len() - before.1), (1, 2), "{upstream}");
        let pool = gateway.pool(ROUTE).await;
        assert_eq!((&pool["endpoint"], &pool["address"]), (&origin.url().into(), &origin.url().into()));
        assert_eq!(
            (number(&pool, "opened"), number(&pool, "reused"), number(&pool, "idle")),
            (1, 1, 1),
            "{pool}"
        );
    }
    let hosts: Vec<_> =
        origin.requests().iter().map(|request| request.headers.get("host").unwrap().to_owned()).collect();
    assert_eq!(hosts, ["localhost"; 6]);
    assert_eq!(origin.requests()[0].target, "/a?b");
}

#[tokio::test]
async fn host_of_the_client_reaches_a_unix_socket_if_the_route_preserves_it() {
    let sockets = Sockets::new();
    let origin = sockets.origin("app.sock").answer(OK);
    for (host, sent) in [("preserve", "client.example"), ("app.example", "app.example")] {
        let keys = format!("host: {host}");
        let gateway = pooled::builder(1, &one(&origin.url(), ""), &keys).start().await;
        let fields = [("host", "client.example")];
        assert_eq!(gateway.client("web").await.request("GET", "/", &fields, b"").await.status, 200);
        assert_eq!(origin.requests().last().unwrap().headers.get("host"), Some(sent));
    }
}

#[tokio::test]
async fn abstract_socket_serves_as_one_with_a_file_does() {
    let name = format!("gateway-test-{}", std::process::id());
    let origin = Origin::builder().unix(format!("\0{name}")).answer(OK);
    let gateway = start(1, &one(&format!("unix:@{name}"), "")).await;
    assert_eq!(statuses(&gateway, 3).await, [200; 3]);
    assert_eq!(origin.accepted(), 1);
    assert_eq!(gateway.pool(ROUTE).await["address"], format!("unix:@{name}"));
}

#[tokio::test]
async fn access_log_shows_the_unix_socket_as_the_endpoint() {
    let sockets = Sockets::new();
    let origin = sockets.origin("app.sock").answer(OK);
    let config = pooled::whole(&pooled::to_upstream(1, &one(&origin.url(), ""), ""))
        .replace("telemetry: { access_log: off }\n", "");
    let gateway = crate::gateway(config).start().await;
    assert_eq!(statuses(&gateway, 1).await, [200]);
    let line = gateway.wait_for_stdout(r#""status":200"#).await;
    assert!(line.contains(&format!(r#""endpoint":"{}""#, origin.url())), "{line}");
    let label = format!(r#"endpoint="{}""#, origin.url());
    assert!(gateway.metrics().await.contains(&label), "{label}");
}

#[tokio::test]
async fn requests_of_http2_share_a_connection_to_a_unix_socket() {
    let sockets = Sockets::new();
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = sockets.origin("app.sock").http2(
        support::h2::server::Builder::new(),
        move |exchange: Http2Exchange| {
            let gate = at_gate.clone();
            async move {
                gate.pass().await;
                let authority = exchange.request.uri().authority().unwrap().to_string();
                exchange.respond(authority);
            }
        },
    );
    let gateway = start(1, &one(&origin.url(), "protocol: h2")).await;
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let address = gateway.addr("web");
            tokio::spawn(async move { Client::connect(address).await.get("/").await.text() })
        })
        .collect();
    gate.arrivals(3).await;
    gate.release_all();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), "localhost");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn tunnel_to_a_unix_socket_carries_bytes_both_ways() {
    let sockets = Sockets::new();
    let origin = sockets.origin("app.sock").script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly").await;
            connection.echo().await;
        }
    });
    let gateway = start(1, &one(&origin.url(), "")).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(client.read_exact(5).await, b"early");
    for size in [1, 300_000] {
        let message: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
        client.send_raw(&message).await;
        assert_eq!(client.read_exact(size).await, message);
    }
    client.half_close().await;
    client.expect_closed().await;
    gateway.wait_for_pool(ROUTE, "the end of the tunnel", |pool| closed(pool, "upgraded") == 1).await;
}

#[tokio::test]
async fn unix_socket_that_takes_no_connection_is_a_failure_that_says_why() {
    let sockets = Sockets::new();
    std::fs::write(sockets.path("file"), "").unwrap();
    drop(UnixListener::bind(sockets.path("stale")).unwrap());
    for (name, why) in [
        (
            "missing",
            "No such file or directory (os error 2); its server may not be running, or listens elsewhere",
        ),
        ("stale", "Connection refused (os error 111); its server has ended and left the file behind"),
        ("file", "Connection refused"),
    ] {
        let upstream = one(&sockets.url(name), "");
        let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0 }").start().await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!(refusal(&response), (503, "upstream.connect"), "{name}");
        let log = gateway.wait_for_log("upstream failed").await;
        assert!(log.contains(why) && log.contains(&sockets.url(name)), "{log}");
        assert_eq!(number(&gateway.pool(ROUTE).await, "connect_failed"), 1, "{name}");
    }
}

#[tokio::test]
async fn request_goes_from_a_missing_unix_socket_to_another_endpoint() {
    let sockets = Sockets::new();
    let (local, remote) = (sockets.origin("app.sock").answer(OK), Origin::answer(OK));
    for other in [&local, &remote] {
        let upstream = format!(
            "{{ endpoints: ['{}', '{}'], balance: round_robin }}",
            sockets.url("missing"),
            other.url()
        );
        let gateway = start(1, &upstream).await;
        assert_eq!(statuses(&gateway, 6).await, [200; 6]);
        assert_eq!(number(&gateway.pool_at(ROUTE, &sockets.url("missing")).await, "opened"), 0);
    }
    assert_eq!((local.requests().len(), remote.requests().len()), (6, 6));
}

#[tokio::test]
async fn endpoint_returns_when_its_server_listens_on_the_unix_socket_again() {
    let sockets = Sockets::new();
    let first = sockets.origin("app.sock").answer(OK);
    let gateway = start(1, &one(&first.url(), "health: { passive: off }")).await;
    assert_eq!(statuses(&gateway, 1).await, [200]);
    first.stop().await;
    wait_until("a failure", async || statuses(&gateway, 1).await == [503]).await;
    let second = sockets.origin("app.sock").answer(OK);
    assert_eq!(statuses(&gateway, 2).await, [200; 2]);
    assert_eq!(second.accepted(), 1);
}

#[tokio::test]
async fn probes_of_each_kind_reach_a_unix_socket() {
    let sockets = Sockets::new();
    let is_well = Arc::new(AtomicBool::new(true));
    let switch = is_well.clone();
    let origin = sockets.origin("app.sock").respond(move |_| match switch.load(SeqCst) {
        true => OK.into(),
        false => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".into(),
    });
    let health = |kind: &str| {
        format!(
            "health: {{ active: {{ {kind}, interval: 10ms, timeout: 5s }}, slow_start: 100ms, passive: off }}"
        )
    };
    let wait = async |gateway: &Gateway, state: &str| {
        gateway.wait_for_pool(ROUTE, state, |pool| pool["health"] == state).await
    };

    let gateway = start(1, &one(&origin.url(), &health("path: /healthz"))).await;
    origin.wait_for_requests(1).await;
    assert_eq!(origin.requests()[0].headers.get("host"), Some("localhost"));
    is_well.store(false, SeqCst);
    let pool = wait(&gateway, "unhealthy").await;
    assert_eq!(pool["address"], origin.url());
    is_well.store(true, SeqCst);
    wait(&gateway, "healthy").await;
    drop(gateway);

    let gateway = start(1, &one(&origin.url(), &health("tcp: true"))).await;
    gateway.wait_for_pool(ROUTE, "a probe", |pool| number(pool, "probes_succeeded") > 0).await;
    origin.stop().await;
    wait(&gateway, "unhealthy").await;
    let _again = sockets.origin("app.sock").answer(OK);
    wait(&gateway, "healthy").await;
}

#[tokio::test]
async fn reload_keeps_the_connection_to_a_unix_socket_and_drains_a_removed_one() {
    let sockets = Sockets::new();
    let [first, second] = ["one.sock", "two.sock"].map(|name| sockets.origin(name).answer(OK));
    let config = |upstream: &str| pooled::whole(&pooled::to_upstream(1, upstream, ""));
    let gateway = crate::gateway(config(&one(&first.url(), ""))).start().await;
    assert_eq!(statuses(&gateway, 1).await, [200]);
    gateway.reload(&config(&one(&first.url(), "pool: { max_idle: 7 }"))).await;
    assert_eq!(statuses(&gateway, 1).await, [200]);
    assert_eq!(first.accepted(), 1, "the kept connection serves the next generation");
    gateway.reload(&config(&one(&second.url(), ""))).await;
    first.wait_for_open(0).await;
    assert_eq!(statuses(&gateway, 1).await, [200]);
    assert_eq!((first.requests().len(), second.requests().len()), (2, 1));
}

#[tokio::test]
async fn connect_waits_while_the_queue_of_a_unix_socket_is_full() {
    let sockets = Sockets::new();
    let path = sockets.path("app.sock");
    let listener = tokio::net::UnixSocket::new_stream().unwrap();
    listener.bind(&path).unwrap();
    let listener = listener.listen(0).unwrap();
    // A backlog of 0 still holds one connection.
    let queued = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let gateway = start(1, &one(&sockets.url("app.sock"), "")).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gateway.wait_for_pool(ROUTE, "a dial", |pool| number(pool, "connecting") == 1).await;
    drop((queued, listener.accept().await.unwrap()));
    let (mut accepted, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut accepted, OK.as_bytes()).await.unwrap();
    assert_eq!(client.read_response().await.status, 200);

    // The limit of connecting ends the wait.
    let _queued = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let gateway =
        pooled::builder(1, &one(&sockets.url("app.sock"), ""), "timeouts: { connect: 200ms }").start().await;
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), (503, "timeouts.connect"));
}

#[tokio::test]
async fn check_accepts_unix_sockets_and_says_what_is_wrong_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let check = async |upstream: &str| {
        let config = pooled::whole(&pooled::to_upstream(1, upstream, ""));
        std::fs::write(&file, config).unwrap();
        let output = run_to_exit(env!("CARGO_BIN_EXE_gateway"), &["check", file.to_str().unwrap()]).await;
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(check("{ url: 'unix:/run/app.sock' }").await.0);
    let long = format!("{{ url: 'unix:/{}' }}", "a".repeat(107));
    for (upstream, said) in [
        ("{ url: 'unix:run/app.sock' }", "has a relative path"),
        ("{ url: 'unix:/run/app.sock:/v2' }", "a Unix socket has no base path"),
        ("'unix:/run/app.sock'", "write `upstream: { url: \"unix:/run/app.sock\" }`"),
        ("{ endpoints: ['http://unix:/run/app.sock'] }", "write `unix:/run/app.sock`"),
        (&long, "has a path of 108 bytes"),
        ("{ url: 'unix:/run/app.sock', tls: { verify: false } }", "a Unix socket is plain: take `tls` out"),
        (
            "{ url: 'unix:/run/app.sock', health: { active: { tcp: true, port: 1 } } }",
            "`port` has no effect: a Unix socket has no port",
        ),
    ] {
        let (is_good, output) = check(upstream).await;
        assert!(!is_good && output.contains(said), "{upstream}: {output}");
    }
}
