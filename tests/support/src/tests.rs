//! Tests of the tools against each other, so that a failing test of the gateway is the gateway's fault.

use std::io::ErrorKind;
use std::time::Duration;

use crate::message::Head;
use crate::{
    Certificates, Client, Gate, Gateway, Http2Client, Origin, Signal, SilentListener, run_to_exit,
    unused_address,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn an_answer_keeps_its_connection_and_records_requests() {
    let origin = Origin::answer(OK);
    let mut client = Client::connect(origin.addr()).await;
    assert_eq!(client.get("/first").await.body, b"ok");
    let second = client.request("POST", "/second", &[("x-a", "1")], b"body").await;
    assert_eq!((second.status, second.raw.as_slice()), (200, OK.as_bytes()));

    let requests = origin.requests();
    assert_eq!(
        requests.iter().map(|request| request.target.as_str()).collect::<Vec<_>>(),
        ["/first", "/second"]
    );
    assert_eq!(requests[1].body, b"body");
    assert_eq!(requests[1].headers.all("X-A"), ["1"]);
    assert_eq!((origin.accepted(), origin.open()), (1, 1));

    drop(client);
    origin.wait_for_open(0).await;
    assert_eq!(origin.errors(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_that_closes_is_followed_by_the_close() {
    for answer in
        ["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.0 200 OK\r\n\r\nok"]
    {
        let origin = Origin::answer(answer);
        let mut client = Client::connect(origin.addr()).await;
        assert_eq!(client.get("/").await.body, b"ok");
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn chunks_trailers_and_informational_responses_are_read() {
    let origin = Origin::answer(
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
         2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nsum: 5\r\n\r\n",
    );
    // The client takes the first head for the final response's, and 103 has no body, so it keeps the connection.
    let mut client = Client::connect(origin.addr()).await;
    let response = client.get("/").await;
    assert_eq!(response.body, b"abcde");
    assert_eq!(response.trailers.get("sum"), Some("5"));
    assert_eq!(response.informational[0].headers.get("link"), Some("a"));
    assert_eq!(client.get("/").await.status, 200, "nothing was left over");
}

#[tokio::test]
async fn an_echo_answers_a_chunked_body_and_a_head_without_one() {
    let origin = Origin::echo();
    let mut client = Client::connect(origin.addr()).await;
    client
        .send_raw(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n",
        )
        .await;
    assert_eq!(client.read_response().await.body, b"abc");
    assert_eq!(origin.requests()[0].trailers.get("t"), Some("1"));
    assert_eq!(client.request("HEAD", "/", &[], b"").await.body, b"");
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn sloppy_heads_are_malformed() {
    for head in [
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 OK\nx: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
    ] {
        let framing = Head::parse(head.into()).and_then(|head| head.response_framing(false));
        assert_eq!(framing.expect_err(head).kind(), ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn a_gate_orders_the_script_and_the_test() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await;
            gate.pass().await;
            connection.write("cd").await;
        }
    });
    let mut client = Client::connect(origin.addr()).await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(client.read_exact(2).await, b"ab");
    gate.arrivals(1).await;
    assert!(!client.is_closed());
    gate.release();
    assert_eq!(client.read_to_end().await.unwrap(), b"cd");
}

#[tokio::test]
async fn a_reset_and_a_truncated_body_are_told_apart() {
    let origin = Origin::script(async |mut connection| {
        let reset = connection.read_request().await.is_some_and(|request| request.target == "/reset");
        connection.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
        if reset {
            connection.reset();
        }
    });
    for (target, kind) in [("/reset", ErrorKind::ConnectionReset), ("/cut", ErrorKind::UnexpectedEof)] {
        let mut client = Client::connect(origin.addr()).await;
        client.send_raw(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert_eq!(client.try_read_response().await.unwrap_err().kind(), kind, "{target}");
    }
}

#[tokio::test]
async fn a_tunnel_echoes_after_a_101() {
    let origin = Origin::script(async |mut connection| {
        connection.read_request().await;
        connection
            .write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
            .await;
        connection.echo().await;
    });
    let mut client = Client::connect(origin.addr()).await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nearly").await;
    assert_eq!(client.read_response().await.status, 101);
    client.half_close().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"early");
}

#[tokio::test]
async fn a_tls_origin_records_handshakes() {
    let certificates = Certificates::new();
    let server = certificates.server(&["localhost"]);
    let shown = certificates.client("tester");
    let origin = Origin::builder().tls(certificates.server_config_with_client_auth(&server)).answer(OK);
    let config = certificates.client_config_with(&shown);
    for _ in 0..2 {
        let mut client = Client::connect_tls(origin.addr(), &config, "localhost").await;
        assert_eq!(client.get("/").await.body, b"ok");
    }
    let handshakes = origin.handshakes();
    assert_eq!(handshakes.iter().map(|handshake| handshake.resumed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(handshakes[0].sni.as_deref(), Some("localhost"));
    assert_eq!(handshakes[0].client_certificate.as_deref(), Some(shown.certificate()));

    let unknown = certificates.client_config(&[]);
    let mut client = Client::connect_tls(origin.addr(), &unknown, "localhost").await;
    assert!(client.read_to_end().await.is_err(), "no client certificate");
    origin.wait_for_error().await;

    let expired = certificates.expired(&["localhost"]);
    let origin = Origin::builder().tls(certificates.server_config(&expired)).answer(OK);
    let error = Client::try_connect_tls(origin.addr(), &unknown, "localhost").await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn an_http2_client_reads_bodies_and_trailers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let tcp = listener.accept().await.unwrap().0;
        let mut connection = h2::server::handshake(tcp).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
            stream.send_data(request.uri().path().to_owned().into(), false).unwrap();
            stream.send_trailers([(http::header::ETAG, "x".parse().unwrap())].into_iter().collect()).unwrap();
        }
    });
    let mut client = Http2Client::connect(address).await;
    let response = client.get("http://a/path").await;
    assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"/path"[..]));
    assert_eq!(response.trailers["etag"], "x");
}

#[tokio::test]
async fn a_stopped_origin_closes_and_refuses_and_can_come_back() {
    let origin = Origin::answer(OK);
    let mut client = Client::connect(origin.addr()).await;
    client.get("/").await;
    origin.stop().await;
    client.expect_closed().await;
    let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    assert!(Client::try_connect(origin.addr()).await.is_err_and(refused));
    assert!(Client::try_connect(unused_address()).await.is_err_and(refused));

    let again = Origin::builder().address(origin.addr()).answer(OK);
    assert_eq!(Client::connect(again.addr()).await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_silent_listener_neither_accepts_nor_refuses() {
    let silent = SilentListener::start().await;
    let connecting = tokio::net::TcpStream::connect(silent.addr());
    assert!(tokio::time::timeout(Duration::from_millis(200), connecting).await.is_err());
}

/// A script that prints the same lines as the program.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pretended-gateway.sh");

#[tokio::test]
async fn a_gateway_is_started_read_signalled_and_awaited() {
    let mut gateway = Gateway::builder(PROGRAM, "origin: {origin}\n").set("origin", "http://a").start().await;
    assert_eq!(gateway.addr("web").to_string(), "127.0.0.1:34567");
    assert_eq!(gateway.admin_addr().to_string(), "[::1]:40001");
    assert_eq!(gateway.wait_for_log("origin").await, "origin: http://a");
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(Duration::from_secs(10)).await.success());
    assert_eq!(gateway.stdout_lines().last().unwrap(), "stopping");
}

#[tokio::test]
async fn a_failing_start_shows_its_status_and_its_words() {
    let output = Gateway::builder(PROGRAM, "broken").run_to_exit().await;
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(1), &b"error: broken\n"[..]));
    assert!(run_to_exit("/bin/sh", &["-c", "exit 3"]).await.status.code() == Some(3));

    let start = tokio::spawn(Gateway::builder(PROGRAM, "broken").start());
    let panic = start.await.unwrap_err().into_panic();
    assert!(panic.downcast_ref::<String>().unwrap().contains("error: broken"));
}

#[tokio::test]
async fn a_test_with_longer_and_longer_limits_passes_with_one_and_fails_with_none() {
    use std::sync::Mutex;

    let tried = Mutex::new(Vec::new());
    crate::with_longer_and_longer(async |limit| {
        tokio::task::yield_now().await;
        tried.lock().unwrap().push(limit);
        assert!(limit > Duration::from_secs(1), "too short");
    })
    .await;
    let tried = tried.into_inner().unwrap();
    assert_eq!(tried.len(), 2, "{tried:?}");

    let failing = tokio::spawn(async { crate::with_longer_and_longer(async |_| panic!("a fault")).await });
    assert!(failing.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn an_unused_address_stays_free_until_a_test_listens_there() {
    let address = unused_address();
    let refused = Client::try_connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let origin = Origin::builder().address(address).answer(OK);
    assert_eq!(Client::connect(address).await.get("/").await.status, 200);
    origin.stop().await;
    let refused = Client::try_connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    let everywhere = std::net::TcpListener::bind(("0.0.0.0", crate::unused_port())).unwrap();
    std::net::TcpStream::connect(("127.0.0.1", everywhere.local_addr().unwrap().port())).unwrap();
}
