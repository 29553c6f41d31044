//! Clients that end their sending half and still read.

use std::fs;

use support::{Certificates, Client, Connection, Gate, Gateway, Origin};

use crate::pooled::{OK, gated, refusal};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A gateway before `origin` with a plain and a TLS listener, one worker, and `half_close` as given.
async fn start(half_close: &str, origin: &Origin, certificates: &Certificates, keys: &str) -> Gateway {
    let identity = certificates.server(&["localhost"]);
    crate::gateway(format!(
        "
workers: 1
listeners:
  - {{ name: plain, address: 127.0.0.1:0, half_close: {half_close} }}
  - name: tls
    address: 127.0.0.1:0
    half_close: {half_close}
    tls: {{ certificates: [{{ cert: '{}', key: '{}' }}] }}
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: {{ format: json }} }}
routes:
  - {{ match: {{ path: /local }}, respond: {{ body: local }} }}
  - {{ match: {{ prefix: / }}, upstream: {{ url: '{}' }}{keys} }}",
        identity.cert.display(),
        identity.key.display(),
        origin.url()
    ))
    .start()
    .await
}

async fn connect(gateway: &Gateway, listener: &str, certificates: &Certificates) -> Client {
    match listener {
        "tls" => {
            let config = certificates.client_config(&["http/1.1"]);
            Client::connect_tls(gateway.addr("tls"), &config, "localhost").await
        }
        _ => gateway.client("plain").await,
    }
}

/// Returns when the only worker has seen all that was sent before: it has served two requests since.
async fn seen(gateway: &Gateway) {
    let mut client = gateway.client("plain").await;
    for _ in 0..2 {
        assert_eq!(client.get("/local").await.status, 200);
    }
}

#[tokio::test]
async fn a_response_reaches_a_client_that_has_ended_its_sending_half_where_that_is_allowed() {
    let certificates = Certificates::new();
    for (request, body) in [
        (GET, ""),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", "body"),
        ("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "body"),
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", ""),
    ] {
        for (listener, half_close) in
            [("plain", "allow"), ("tls", "allow"), ("plain", "abort"), ("tls", "abort")]
        {
            let case = format!("{listener} {half_close} {request}");
            let gate = Gate::new();
            let origin = gated(&gate);
            let gateway = start(half_close, &origin, &certificates, "").await;
            let mut client = connect(&gateway, listener, &certificates).await;
            client.send_raw(request).await;
            gate.arrivals(1).await;
            client.half_close().await;
            seen(&gateway).await;
            gate.release_all();
            if half_close == "allow" {
                let response = client.read_response().await;
                assert_eq!((refusal(&response), response.text()), ((200, "-"), "ok".to_owned()), "{case}");
                assert_eq!(response.header("connection"), Some("close"), "{case}");
                assert_eq!(origin.requests()[0].body, body.as_bytes(), "{case}");
            }
            client.expect_closed().await;
            let line = gateway.wait_for_stdout("\"target\":\"/\"").await;
            assert_eq!(line.contains("client.closed"), half_close == "abort", "{case} {line}");
        }
    }
}

#[tokio::test]
async fn all_requests_before_the_end_of_the_sending_half_are_answered() {
    let certificates = Certificates::new();
    for listener in ["plain", "tls"] {
        let origin = Origin::respond(|request| {
            let target = &request.target;
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len()).into_bytes()
        });
        let gateway = start("allow", &origin, &certificates, "").await;
        let mut client = connect(&gateway, listener, &certificates).await;
        let requests: String =
            (0..5).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        client.send_raw(requests).await;
        client.half_close().await;
        for number in 0..5 {
            assert_eq!(client.read_response().await.text(), format!("/{number}"), "{listener}");
        }
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn a_streaming_response_continues_after_the_end_of_the_sending_half() {
    let certificates = Certificates::new();
    for listener in ["plain", "tls"] {
        let gate = Gate::new();
        let script = gate.clone();
        let origin = Origin::script(move |mut connection: Connection| {
            let gate = script.clone();
            async move {
                connection.read_request().await;
                connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
                gate.pass().await;
                connection.write("3\r\ntwo\r\n0\r\n\r\n").await;
            }
        });
        let gateway = start("allow", &origin, &certificates, "").await;
        let mut client = connect(&gateway, listener, &certificates).await;
        client.send_raw(GET).await;
        gate.arrivals(1).await;
        client.half_close().await;
        seen(&gateway).await;
        gate.release_all();
        assert_eq!(client.read_response().await.text(), "onetwo", "{listener}");
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn a_client_that_is_gone_altogether_ends_its_request() {
    let certificates = Certificates::new();
    // An origin that sends until its connection ends.
    let origin = Origin::script(async |mut connection: Connection| {
        connection.read_request().await;
        connection.write("HTTP/1.1 200 OK\r\n\r\n").await;
        while connection.try_write(vec![b'x'; 10_000]).await.is_ok() {}
    });
    let gateway = start("allow", &origin, &certificates, "").await;
    for (count, ends_first) in [(1, false), (2, true)] {
        let mut client = gateway.client("plain").await;
        client.send_raw(GET).await;
        client.read_head().await;
        if ends_first {
            client.half_close().await;
            seen(&gateway).await;
        }
        client.reset();
        origin.wait_for_accepted(count).await;
        origin.wait_for_open(0).await;
    }

    // A reset alone is seen though nothing is written.
    let gate = Gate::new();
    let silent = gated(&gate);
    let gateway = start("allow", &silent, &certificates, "").await;
    let mut client = gateway.client("plain").await;
    client.send_raw(GET).await;
    gate.arrivals(1).await;
    client.reset();
    gateway.wait_for_stdout("client.closed").await;

    // So is a request that its client did not send as a whole.
    let mut client = gateway.client("plain").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo").await;
    client.half_close().await;
    client.expect_closed().await;
}

/// The processor time of a process, in ticks of 10 ms (proc(5)).
fn ticks(gateway: &Gateway) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_wait_behind_an_ended_sending_half_is_idle_and_ends_by_its_timeout() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let origin = gated(&gate);
    let gateway = start("allow", &origin, &certificates, ", timeouts: { response_header: 2s }").await;
    for listener in ["plain", "tls"] {
        let mut client = connect(&gateway, listener, &certificates).await;
        client.send_raw(GET).await;
        client.half_close().await;
        seen(&gateway).await;
        let before = ticks(&gateway);
        let response = client.read_response().await;
        assert_eq!(refusal(&response), (504, "timeouts.response_header"), "{listener}");
        let used = ticks(&gateway) - before;
        assert!(used < 50, "{listener}: {used} ticks while nothing happened");
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn the_end_of_a_sending_half_between_two_requests_closes_the_connection() {
    let certificates = Certificates::new();
    let origin = Origin::answer(OK);
    for half_close in ["allow", "abort"] {
        let gateway = start(half_close, &origin, &certificates, "").await;
        let mut client = gateway.client("plain").await;
        assert_eq!(client.get("/").await.status, 200);
        client.half_close().await;
        client.expect_closed().await;
    }
}
