//! The kinds of probes: the request of each, and the responses that mean health.

use support::bytes::Bytes;
use support::h2::server::Builder;
use support::http::{HeaderMap, Response};
use support::serde_json::Value;
use support::{Certificates, Http2Exchange, Origin, SilentListener, unused_address, wait_until};

use crate::pooled::{self, OK, ROUTE};

/// Starts a gateway and waits for the verdict on its only endpoint, by one probe. Returns the reason if it is not healthy.
async fn verdict(upstream: &str, active: &str) -> Option<String> {
    let timeout = if active.contains("timeout") { "" } else { "timeout: 10s," };
    let keys = format!("health: {{ active: {{ interval: 10ms, unhealthy_after: 1, {timeout} {active} }} }}");
    let gateway = pooled::builder(1, &format!("{{ {upstream}, {keys} }}"), "").start().await;
    // An `https` endpoint has a name, which is resolved first.
    wait_until("an endpoint", async || !gateway.pools().await.is_empty()).await;
    let probed = gateway
        .wait_for_pool(ROUTE, "a probe", |pool| {
            pooled::number(pool, "probes_failed") + pooled::number(pool, "probes_succeeded") > 0
        })
        .await;
    match &probed["last_probe_failure"] {
        Value::Null => {
            wait_until("the endpoint to be healthy", async || {
                gateway.pool(ROUTE).await["health"] == "healthy"
            })
            .await;
            None
        }
        reason => {
            gateway.wait_for_pool(ROUTE, "unhealthy", |pool| pool["health"] == "unhealthy").await;
            Some(reason.as_str().unwrap().to_owned())
        }
    }
}

fn url(origin: &Origin) -> String {
    format!("url: '{}'", origin.url())
}

async fn assert_verdict(upstream: &str, active: &str, expected: Option<&str>) {
    let found = verdict(upstream, active).await;
    match expected {
        None => assert_eq!(found, None, "{active}"),
        Some(expected) => {
            let found = found.unwrap_or_else(|| panic!("{active} is healthy and not `{expected}`"));
            assert!(found.contains(expected), "{active}: {found}");
        }
    }
}

#[tokio::test]
async fn request_of_a_probe_is_as_configured() {
    let origin = Origin::answer(OK);
    assert_eq!(verdict(&format!("url: '{}/base'", origin.url()), "path: '/healthz?full=1'").await, None);
    let request = origin.requests().remove(0);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/healthz?full=1"));
    assert_eq!(request.headers.get("host"), Some(&*origin.addr().to_string()));
    assert_eq!(request.headers.get("user-agent"), Some("gateway-health"));
    assert_eq!(request.headers.get("connection"), Some("close"));
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n");
    assert_eq!(verdict(&url(&origin), "path: /, method: HEAD, host: 'a.test:81'").await, None);
    let request = origin.requests().remove(0);
    assert_eq!((request.method.as_str(), request.headers.get("host")), ("HEAD", Some("a.test:81")));
}

#[tokio::test]
async fn statuses_and_bodies_decide() {
    let with = |status: u16, body: &str| {
        Origin::answer(format!("HTTP/1.1 {status} Any\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    };
    let large = "x".repeat(100_000);
    for (origin, active, expected) in [
        (with(200, ""), "path: /", None),
        (with(299, ""), "path: /", None),
        (with(302, ""), "path: /", Some("status 302")),
        (with(302, ""), "path: /, expect: [200, 300-399]", None),
        (with(204, ""), "path: /, expect: [200, 300-399]", Some("status 204")),
        (with(404, "db ok"), "path: /, expect: [404], body: 'db ok'", None),
        (with(200, "it is ok here"), "path: /, body: ok", None),
        (with(200, "failed"), "path: /, body: ok", Some("body without \"ok\"")),
        (with(200, &format!("ok{large}")), "path: /, body: ok", None),
        (with(200, &format!("{large}ok")), "path: /, body: ok", Some("body without \"ok\"")),
        (Origin::answer("HTTP/1.1 200 OK\r\n\r\nok until the close"), "path: /, body: close", None),
        (
            Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nok"),
            "path: /, timeout: 50ms",
            Some(""),
        ),
        (Origin::answer("220 mail.test ready\r\n"), "path: /", Some("invalid")),
        (
            Origin::script(async |mut connection| drop(connection.read_request().await)),
            "path: /",
            Some("closed the connection in place of a response"),
        ),
    ] {
        assert_verdict(&url(&origin), active, expected).await;
    }
}

#[tokio::test]
async fn probe_without_a_connection_or_a_response_fails() {
    let refuses = format!("url: 'http://{}'", unused_address());
    assert_verdict(&refuses, "path: /", Some("cannot connect: Connection refused")).await;
    assert_verdict(&refuses, "tcp: true", Some("cannot connect: Connection refused")).await;
    let silent = SilentListener::start().await;
    assert_verdict(
        &format!("url: 'http://{}'", silent.addr()),
        "tcp: true, timeout: 50ms",
        Some("timed out after 50ms"),
    )
    .await;
    let stalls = Origin::script(async |mut connection| drop(connection.wait_closed().await));
    assert_verdict(&url(&stalls), "path: /, timeout: 50ms", Some("timed out after 50ms")).await;
    assert_verdict(&url(&stalls), "tcp: true", None).await;
    let other = unused_address();
    assert_verdict(&url(&stalls), &format!("tcp: true, port: {}", other.port()), Some("Connection refused"))
        .await;
}

#[tokio::test]
async fn probes_speak_tls_as_requests_do() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let identity = certificates.server(&["localhost"]);
    for (authority, active, expected) in [
        (&certificates, "path: /", None),
        (&certificates, "tcp: true", None),
        (&others, "path: /", Some("certificate")),
        (&others, "tcp: true", Some("certificate")),
    ] {
        let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
        let upstream = format!("{}, tls: {{ ca: {} }}", url(&origin), authority.ca().display());
        assert_verdict(&upstream, active, expected).await;
    }
}

/// Serves checks of health: `ready` serves, `busy` does not, and no other is known.
async fn serve(mut exchange: Http2Exchange) {
    let body = exchange.read_body().await.unwrap();
    let head = &exchange.request;
    if head.uri().path() == "/healthz" {
        return exchange.respond("ok");
    }
    assert_eq!((head.method().as_str(), head.uri().path()), ("POST", "/grpc.health.v1.Health/Check"));
    assert_eq!(
        (&head.headers()["content-type"], &head.headers()["te"]),
        (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
    );
    let (state, status) = match &body[..] {
        b"\0\0\0\0\x07\x0a\x05ready" | b"\0\0\0\0\0" => (1, "0"),
        b"\0\0\0\0\x06\x0a\x04busy" => (2, "0"),
        b"\0\0\0\0\x06\x0a\x04late" => (1, "14"),
        _ => (3, "5"),
    };
    let head = Response::builder().header("content-type", "application/grpc");
    if status == "5" {
        let head = head.header("grpc-status", status).body(()).unwrap();
        return drop(exchange.responder.send_response(head, true));
    }
    let mut stream = exchange.responder.send_response(head.body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, state]), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    stream.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn http2_and_grpc_are_probed_in_their_own_protocol() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    for (active, expected) in [
        ("path: /healthz, body: ok", None),
        ("path: /healthz, body: ko", Some("body without \"ko\"")),
        ("grpc: ''", None),
        ("grpc: ready", None),
        ("grpc: busy", Some("NOT_SERVING")),
        ("grpc: late", Some("grpc-status UNAVAILABLE")),
        ("grpc: other", Some("grpc-status NOT_FOUND")),
    ] {
        let plain = Origin::http2(serve);
        assert_verdict(&format!("{}, protocol: h2", url(&plain)), active, expected).await;
        let mut tls = certificates.server_config(&identity);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let origin = Origin::builder().tls(tls).http2(Builder::new(), serve);
        let upstream = |protocol: &str| {
            format!("{}, protocol: {protocol}, tls: {{ ca: {} }}", url(&origin), certificates.ca().display())
        };
        assert_verdict(&upstream("h2"), active, expected).await;
        assert_verdict(&upstream("auto"), active, expected).await;
    }
}

#[tokio::test]
async fn server_without_http2_fails_the_probes_that_need_it() {
    let plain = Origin::answer(OK);
    for active in ["grpc: ''", "path: /healthz"] {
        assert_verdict(
            &format!("{}, protocol: h2", url(&plain)),
            active,
            Some("in place of the settings of HTTP/2"),
        )
        .await;
    }
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
    let upstream = format!("{}, protocol: h2, tls: {{ ca: {} }}", url(&origin), certificates.ca().display());
    for active in ["grpc: ''", "path: /healthz"] {
        assert_verdict(&upstream, active, Some("(ALPN)")).await;
    }
    let resets = Origin::http2(async |mut exchange: Http2Exchange| {
        exchange.responder.send_reset(support::h2::Reason::REFUSED_STREAM)
    });
    assert_verdict(&format!("{}, protocol: h2", url(&resets)), "path: /", Some("reset the stream, code 7"))
        .await;
}
