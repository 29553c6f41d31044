//! HTTP/2 clients.

use std::time::{Duration, Instant};

use support::bytes::Bytes;
use support::http::{HeaderMap, Request, StatusCode};
use support::{
    Certificates, Client, Gate, Gateway, Http2Client, Http2Response, Origin, wait_until,
    with_longer_and_longer,
};

use crate::gateway;

const SHORT: Duration = Duration::from_millis(300);

/// The beginning of a connection (RFC 9113 §3.4): the preface and empty settings.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A gateway whose listener `web` has these further keys, with a route `/local` of its own and all others to `origin`.
async fn start(keys: &str, origin: &Origin) -> Gateway {
    gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, {keys} }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: local, match: { path: /local }, respond: { body: hello } }
  - { name: up, match: { prefix: / }, upstream: { url: '{origin}' } }",
    )
    .set("keys", keys)
    .set("origin", origin.url())
    .start()
    .await
}

fn told(response: &Http2Response) -> (u16, Option<&str>) {
    let reason = response.headers.get("x-gateway-error").map(|value| value.to_str().unwrap());
    (response.status.as_u16(), reason)
}

#[tokio::test]
async fn streams_by_alpn_and_by_prior_knowledge_are_requests_like_any_other() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let tls = format!(
        "tls: {{ certificates: [{{ cert: '{}', key: '{}' }}] }}",
        identity.cert.display(),
        identity.key.display()
    );
    let origin = Origin::echo();
    for (keys, scheme) in [("", "http"), (tls.as_str(), "https")] {
        let gateway = start(keys, &origin).await;
        let mut client = if keys.is_empty() {
            Http2Client::connect(gateway.addr("web")).await
        } else {
            Http2Client::connect_tls(gateway.addr("web"), &certificates.client_config(&["h2"]), "a.test")
                .await
        };
        let uri = |path: &str| format!("{scheme}://a.test{path}");
        assert_eq!(client.get(&uri("/local")).await.body, b"hello");

        let large = Bytes::from(vec![b'x'; 1_000_000]);
        let post = Request::post(uri("/up?q=1")).body(large.clone()).unwrap();
        let response = client.request(post).await;
        assert_eq!((response.status, response.body.len()), (StatusCode::OK, large.len()));
        let request = origin.requests().pop().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/up?q=1"));
        assert_eq!(request.headers.all("host"), [origin.addr().to_string()]);
        assert_eq!(request.headers.all("x-forwarded-proto"), [scheme]);
        assert_eq!(request.headers.all("x-forwarded-host"), ["a.test"]);
        assert_eq!(request.headers.all("via"), ["2 gateway"]);

        // A length that the client told is told once, and no other framing with it.
        let post = Request::post(uri("/")).header("content-length", "3").body(Bytes::from("abc")).unwrap();
        assert_eq!(client.request(post).await.body, b"abc");
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.headers.all("content-length"), ["3"]);
        assert!(!request.headers.has("transfer-encoding"));

        let head = Request::head(uri("/local")).body(Bytes::new()).unwrap();
        let response = client.request(head).await;
        assert_eq!((response.status, response.body.len()), (StatusCode::OK, 0));
        assert_eq!(response.headers["content-length"], "5");
    }
}

#[tokio::test]
async fn streams_of_a_connection_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                if request.target == "/slow" {
                    gate.pass().await;
                }
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    });
    let gateway = start("", &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let head = Request::get("http://a/slow").body(()).unwrap();
        slow.push(client.open(head, true).await.unwrap().0);
    }
    gate.arrivals(10).await;
    assert_eq!(client.get("http://a/fast").await.body, b"ok");
    gate.release_all();
    for response in slow {
        assert_eq!(Http2Client::read(response).await.unwrap().body, b"ok");
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\nhost: evil\r\n\r\n",
    );
    let gateway = start("", &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let head = Request::post("http://a/").body(()).unwrap();
    let (response, mut stream) = client.open(head, false).await.unwrap();
    stream.send_data(Bytes::from("abc"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-check", "3".parse().unwrap());
    trailers.insert("content-length", "9".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let response = Http2Client::read(response).await.unwrap();
    assert_eq!(response.body, b"ok");
    assert_eq!(response.trailers.len(), 1, "{:?}", response.trailers);
    assert_eq!(response.trailers["x-sum"], "2");
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.body, b"abc");
    assert_eq!(request.trailers.0, [("x-check".to_owned(), "3".to_owned())]);
}

#[tokio::test]
async fn a_listener_speaks_only_its_protocols() {
    let origin = Origin::echo();
    let gateway = start("protocols: [h1]", &origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw(OPENING).await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.header("x-gateway-error")), (505, Some("request.version")));

    let gateway = start("protocols: [h2]", &origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.expect_closed().await;
    assert_eq!(Http2Client::connect(gateway.addr("web")).await.get("http://a/local").await.body, b"hello");
}

#[tokio::test]
async fn the_preface_may_come_in_pieces_and_so_may_requests_that_look_like_it() {
    let origin = Origin::echo();
    let gateway = start("", &origin).await;
    let mut client = gateway.client("web").await;
    for byte in OPENING {
        client.send_raw([*byte]).await;
    }
    // The server's own settings: a frame of type 4 on stream 0.
    let frame = client.read_exact(9).await;
    assert_eq!((frame[3], &frame[5..]), (4, [0; 4].as_slice()), "{frame:?}");

    let mut client = gateway.client("web").await;
    for byte in b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok" {
        client.send_raw([*byte]).await;
    }
    assert_eq!(client.read_response().await.text(), "ok");
}

#[tokio::test]
async fn the_limits_of_the_listener_hold_for_streams_too() {
    let origin = Origin::echo();
    let keys = "limits: { headers: 10, header_bytes: 4KiB, target_bytes: 100B, body: 10B }";
    let gateway = start(keys, &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let get = |length: usize, fields: usize| {
        let request = Request::get(format!("http://a/local?{}", "q".repeat(length - 7)));
        let request = (0..fields).fold(request, |request, _| request.header("x", "y"));
        request.body(Bytes::new()).unwrap()
    };
    let post = |length: usize| Request::post("http://a/").body(Bytes::from(vec![b'x'; length])).unwrap();
    let told_length = Request::post("http://a/").header("content-length", "11");
    let told_length = told_length.body(Bytes::from_static(b"01234567890")).unwrap();
    for (request, expected) in [
        (get(100, 10), (200, None)),
        (get(101, 0), (414, Some("limits.target_bytes"))),
        (get(20, 11), (431, Some("limits.headers"))),
        (post(10), (200, None)),
        (post(11), (413, Some("limits.body"))),
        (told_length, (413, Some("limits.body"))),
        (get(20, 0), (200, None)),
    ] {
        let shown = format!("{} {}", request.method(), request.uri());
        assert_eq!(told(&client.request(request).await), expected, "{shown}");
    }
    let large = Request::get("http://a/local").header("x", "y".repeat(5000)).body(Bytes::new()).unwrap();
    assert_eq!(told(&client.request(large).await), (431, Some("limits.header_bytes")));
    assert_eq!(client.get("http://a/local").await.status, StatusCode::OK, "the connection goes on");
}

#[tokio::test]
async fn after_its_last_request_a_connection_goes_away_in_order() {
    let origin = Origin::echo();
    let gateway = start("limits: { requests_per_connection: 3 }", &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for _ in 0..3 {
        assert_eq!(client.get("http://a/local").await.body, b"hello");
    }
    client.closed().await.unwrap();
}

#[tokio::test]
async fn a_request_body_that_stalls_is_408_and_other_streams_continue() {
    let origin = Origin::echo();
    let gateway = start("timeouts: { request_body: 300ms }", &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let began = Instant::now();
    let head = Request::post("http://a/").body(()).unwrap();
    let (response, mut stream) = client.open(head, false).await.unwrap();
    stream.send_data(Bytes::from("abc"), false).unwrap();
    assert_eq!(client.get("http://a/local").await.body, b"hello");
    let response = Http2Client::read(response).await.unwrap();
    assert_eq!(told(&response), (408, Some("timeouts.request_body")));
    assert!(began.elapsed() >= SHORT, "after {:?}", began.elapsed());
    assert_eq!(client.get("http://a/local").await.body, b"hello");
    assert_eq!(origin.requests(), [], "half a body was taken for a whole one");
}

#[tokio::test]
async fn an_idle_connection_goes_away_and_one_with_a_stream_stays() {
    with_longer_and_longer(goes_away_or_stays).await;
}

async fn goes_away_or_stays(limit: Duration) {
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
    let limit_ms = limit.as_millis();
    let timeouts = format!("timeouts: {{ keep_alive: {limit_ms}ms, request_header: {limit_ms}ms }}");
    let gateway = start(&timeouts, &origin).await;
    let mut busy = Http2Client::connect(gateway.addr("web")).await;
    let (response, _) = busy.open(Request::get("http://a/").body(()).unwrap(), true).await.unwrap();
    gate.arrivals(1).await;

    let began = Instant::now();
    let mut idle = Http2Client::connect(gateway.addr("web")).await;
    idle.get("http://a/local").await;
    idle.closed().await.unwrap();
    assert!(began.elapsed() >= limit, "after {:?}", began.elapsed());
    Http2Client::connect(gateway.addr("web")).await.closed().await.unwrap();

    gate.release();
    assert_eq!(Http2Client::read(response).await.unwrap().body, b"ok");
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_closed_all_the_same() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let tls = format!(
        ", tls: {{ certificates: [{{ cert: '{}', key: '{}' }}] }}",
        identity.cert.display(),
        identity.key.display()
    );
    let origin = Origin::echo();
    let config = certificates.client_config(&["h2"]);
    let timeouts = "timeouts: { keep_alive: 300ms, request_header: 300ms }";
    let plain = start(timeouts, &origin).await;
    let tls = start(&format!("{timeouts}{tls}"), &origin).await;
    // Without TLS, a part of the preface; then all of it, but no answer to any frame. With TLS, not a byte after ALPN.
    let mut clients = Vec::new();
    for bytes in [&OPENING[..10], OPENING] {
        clients.push((plain.client("web").await, bytes));
    }
    for bytes in [&OPENING[..0], &OPENING[..10], OPENING] {
        clients.push((Client::connect_tls(tls.addr("web"), &config, "a.test").await, bytes));
    }
    for (client, bytes) in &mut clients {
        // On a busy machine the time of the first is over by now.
        drop(client.try_send_raw(bytes).await);
    }
    for (mut client, _) in clients {
        drop(client.read_to_end().await);
    }
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_cut_off_and_its_upstream_with_it() {
    let origin = Origin::script(async |mut connection| {
        connection.read_request().await;
        connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        while connection.try_write(&chunk).await.is_ok() {}
    });
    let gateway = start("timeouts: { response_write: 300ms }", &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, _) = client.open(Request::get("http://a/").body(()).unwrap(), true).await.unwrap();
    // Reads the head, and opens no window for the body; its connection is read all the time.
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!(head.status, StatusCode::OK);
    gateway.wait_for_stdout(r#""error":"timeouts.response_write""#).await;
    origin.wait_for_open(0).await;
    // The connection has no room for data either, but serves on.
    let head = Request::head("http://a/local").body(Bytes::new()).unwrap();
    assert_eq!(client.request(head).await.status, StatusCode::OK);
    loop {
        match body.data().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break assert!(error.is_reset(), "{error}"),
            None => panic!("a cut body came to an end"),
        }
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_frees_its_upstream_connection() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            gate.pass().await;
            connection.wait_closed().await;
        }
    });
    let gateway = start("", &origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, mut stream) =
        client.open(Request::get("http://a/").body(()).unwrap(), true).await.unwrap();
    gate.arrivals(1).await;
    gate.release();
    stream.send_reset(support::h2::Reason::CANCEL);
    drop(response);
    origin.wait_for_open(0).await;
    gateway.wait_for_stdout(r#""error":"client.closed""#).await;
    wait_until("no pool connection in use", async || gateway.pool("up").await["active"] == 0).await;
    assert_eq!(client.get("http://a/local").await.body, b"hello");
}
