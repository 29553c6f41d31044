//! Changes to a message on its way: fields for one connection only, the client's address, interim responses, absent bodies,
//! and connections that stay or do not.

use support::{Gate, Gateway, Http2Client, Origin, Request, http};

use crate::PROGRAM;
use crate::one_route::{builder, forwarding_to, forwarding_with};
use crate::pooled::OK;

/// Returns the request that `origin` received last.
pub(crate) fn last(origin: &Origin) -> Request {
    origin.requests().pop().expect("a request came")
}

#[tokio::test]
async fn fields_for_one_connection_stay_on_it() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive, content-type\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\n\
         proxy-authenticate: Basic\r\nproxy-connection: keep-alive\r\nupgrade: h2c\r\ncontent-type: text/plain\r\n\
         trailer: x-t\r\nx-stays: 1\r\ncontent-length: 2\r\n\r\nok",
    );
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    let fields = [
        ("Connection", "x-hop, Keep-Alive,, x-missing"),
        ("connection", "X-Second, cookie, authorization, x-forwarded-for, host"),
        ("X-Hop", "1"),
        ("x-second", "2"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "trailers, deflate"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("cookie", "a=b"),
        ("authorization", "Basic eDp5"),
        ("x-stays", "1"),
    ];
    let response = client.request("GET", "/", &fields, b"").await;
    let sent = last(&origin).headers;
    for gone in [
        "x-hop",
        "x-second",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "http2-settings",
        "transfer-encoding",
        "content-length",
    ] {
        assert_eq!(sent.all(gone), [] as [&str; 0], "request: {gone}");
    }
    // Naming an end-to-end field in Connection does not take it away from the upstream.
    for (field, value) in [
        ("x-stays", "1"),
        ("cookie", "a=b"),
        ("authorization", "Basic eDp5"),
        ("x-forwarded-for", "127.0.0.1"),
        ("te", "trailers"),
        // What is left of TE is for the next hop alone (RFC 9110 §10.1.4).
        ("connection", "te"),
    ] {
        assert_eq!(sent.all(field), [value], "request: {field}");
    }
    assert_eq!(sent.all("host").len(), 1);
    for gone in ["connection", "x-hop", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade"] {
        assert_eq!(response.headers.all(gone), [] as [&str; 0], "response: {gone}");
    }
    assert_eq!(response.header("x-stays"), Some("1"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(client.get("/").await.status, 200, "neither side's connection was closed");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn forwarded_fields_name_the_client_and_only_trusted_peers_extend_them() {
    let origin = Origin::answer(OK);
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
trusted_proxies: [127.0.0.2/32]
routes: [{{ upstream: {{ url: '{}' }} }}]",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let claims = [
        ("host", "shop.example.com:8080"),
        ("X-Forwarded-For", "203.0.113.7"),
        ("x-forwarded-for", "203.0.113.8, 10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "claimed.example.com"),
        ("X-Forwarded-Prefix", "/claimed"),
        ("X-Real-IP", "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7"),
        ("via", "1.0 proxy"),
    ];
    let trusted = [
        ("x-forwarded-for", vec!["203.0.113.7, 203.0.113.8, 10.0.0.1, 127.0.0.2"]),
        ("x-forwarded-proto", vec!["https"]),
        ("x-forwarded-host", vec!["claimed.example.com"]),
        ("x-forwarded-prefix", vec!["/claimed"]),
        ("x-real-ip", vec!["203.0.113.7"]),
        ("forwarded", vec!["for=203.0.113.7"]),
        ("via", vec!["1.0 proxy", "1.1 gateway"]),
    ];
    let untrusted = [
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-forwarded-host", vec!["shop.example.com:8080"]),
        ("x-forwarded-prefix", vec![]),
        ("x-real-ip", vec![]),
        ("forwarded", vec![]),
        ("via", vec!["1.0 proxy", "1.1 gateway"]),
    ];
    for (from, expected) in [("127.0.0.2", trusted), ("127.0.0.1", untrusted)] {
        let mut client = support::Client::connect_from(from.parse().unwrap(), gateway.addr("web")).await;
        client.request("GET", "/", &claims, b"").await;
        for (field, values) in expected {
            assert_eq!(last(&origin).headers.all(field), values, "from {from}: {field}");
        }
    }
}

#[tokio::test]
async fn via_has_the_version_in_which_each_message_came() {
    let origin = Origin::respond(|request| match request.target.as_str() {
        "/old" => b"HTTP/1.0 200 OK\r\nvia: 1.1 cache\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        _ => OK.as_bytes().to_vec(),
    });
    let gateway = forwarding_to(&origin).await;
    let response = gateway.client("web").await.get("/old").await;
    assert_eq!(response.headers.all("via"), ["1.1 cache", "1.0 gateway"]);
    assert_eq!(response.status_line, "HTTP/1.1 200 OK", "the gateway speaks its own version");

    let mut old = gateway.client("web").await;
    old.send_raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(old.read_response().await.headers.all("via"), ["1.1 gateway"]);
    assert_eq!(last(&origin).headers.all("via"), ["1.0 gateway"]);
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://a/").await.headers["via"], "1.1 gateway");
    assert_eq!(last(&origin).headers.all("via"), ["2 gateway"]);
}

#[tokio::test]
async fn a_request_without_exactly_one_good_host_is_refused() {
    let origin = Origin::answer(OK);
    let gateway = forwarding_to(&origin).await;
    for (fields, reason) in [
        ("", "host.missing"),
        ("Host: a\r\nHost: a\r\n", "host.repeated"),
        ("Host: a\r\nhost: b\r\n", "host.repeated"),
        ("Host:\r\n", "host.malformed"),
        ("Host: a b\r\n", "host.malformed"),
        ("Host: a, b\r\n", "host.malformed"),
        ("Host: user@a\r\n", "host.malformed"),
        ("Host: http://a\r\n", "host.malformed"),
        ("Host: a/b\r\n", "host.malformed"),
        ("Host: a:b\r\n", "host.malformed"),
        ("Host: a:99999\r\n", "host.malformed"),
        ("Host: [::1\r\n", "host.malformed"),
        ("Host: a..b\r\n", "host.malformed"),
        ("Host: \u{e9}\r\n", "host.malformed"),
    ] {
        let mut client = gateway.client("web").await;
        for target in ["/", "http://a/"] {
            client.send_raw(format!("GET {target} HTTP/1.1\r\n{fields}\r\n")).await;
            let response = client.read_response().await;
            assert_eq!(
                (response.status, response.header("x-gateway-error")),
                (400, Some(reason)),
                "{target} {fields:?}"
            );
        }
    }
    let mut client = gateway.client("web").await;
    client.send_raw("GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.read_response().await.header("x-gateway-error"), Some("host.malformed"));
    assert_eq!(origin.accepted(), 0);

    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let contradiction = http::Request::get("http://a/").header("host", "b").body("".into()).unwrap();
    assert_eq!(http2.request(contradiction).await.headers["x-gateway-error"], "host.contradiction");
    let agreement = http::Request::get("http://a/").header("host", "A:80").body("".into()).unwrap();
    assert_eq!(http2.request(agreement).await.status, 200);
    assert_eq!(last(&origin).headers.all("host"), [origin.addr().to_string()]);
}

#[tokio::test]
async fn a_body_is_framed_once_whatever_the_method() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let response = client.request(method, "/", &[], b"hello").await;
        assert_eq!(response.text(), "hello", "{method}");
        let request = http::Request::builder().method(method).uri("http://a/").header("content-length", "5");
        let response = http2.request(request.body("hello".into()).unwrap()).await;
        assert_eq!(response.body, b"hello", "{method} over HTTP/2, with a length");
        assert_eq!(last(&origin).headers.all("content-length"), ["5"], "{method}");
        let request = http::Request::builder().method(method).uri("http://a/");
        let response = http2.request(request.body("hello".into()).unwrap()).await;
        assert_eq!(response.body, b"hello", "{method} over HTTP/2, without a length");

        // No body: a length of 0 where the method expects one, and nothing at all elsewhere (RFC 9110 §8.6).
        let expected = if matches!(method, "POST" | "PUT" | "PATCH") { vec!["0"] } else { vec![] };
        for fields in [&[][..], &[("content-length", "0")]] {
            client.request(method, "/", fields, b"").await;
            assert_eq!(last(&origin).headers.all("content-length"), expected, "{method} {fields:?}");
        }
        let request = http::Request::builder().method(method).uri("http://a/").header("content-length", "0");
        http2.request(request.body("".into()).unwrap()).await;
        assert_eq!(last(&origin).headers.all("content-length"), expected, "{method} over HTTP/2");
        assert!(!last(&origin).headers.has("transfer-encoding"), "{method}");
    }
    assert_eq!(origin.errors(), [] as [String; 0]);
}

#[tokio::test]
async fn cookies_that_http2_splits_are_one_field_again() {
    let origin = Origin::answer(OK);
    let gateway = forwarding_to(&origin).await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::get("http://a/")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3");
    http2.request(request.body("".into()).unwrap()).await;
    // RFC 9113 §8.2.3.
    assert_eq!(last(&origin).headers.all("cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn responses_without_a_body_have_none_in_every_version() {
    let origin = Origin::respond(|request| {
        let answer = match request.target.as_str() {
            "/length" => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
            "/chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "/neither" => "HTTP/1.1 200 OK\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\netag: x\r\n\r\n",
            _ => "HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 1234\r\n\r\n",
        };
        answer.as_bytes().to_vec()
    });
    let gateway = forwarding_to(&origin).await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for (method, path, status, length) in [
        ("HEAD", "/length", 200, Some("1234")),
        ("HEAD", "/chunked", 200, None),
        ("HEAD", "/neither", 200, None),
        ("HEAD", "/204", 204, None),
        ("HEAD", "/304", 304, Some("1234")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("1234")),
    ] {
        for version in ["1.1", "1.0"] {
            let mut client = gateway.client("web").await;
            let keep = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client
                .send_raw(format!(
                    "{method} {path} HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n{keep}"
                ))
                .await;
            let response = client.read_response_to_head().await;
            assert_eq!(response.status, status, "{method} {path} {version}");
            assert_eq!(response.header("content-length"), length, "{method} {path} {version}");
            assert!(!response.headers.has("transfer-encoding"), "{method} {path} {version}");
            let next = client.read_head().await;
            assert_eq!(
                next.first_line, "HTTP/1.1 304 Not Modified",
                "{method} {path} {version}: then the next answer"
            );
        }
        let request = http::Request::builder().method(method).uri(format!("http://a{path}"));
        let response = http2.request(request.body("".into()).unwrap()).await;
        assert_eq!((response.status.as_u16(), response.body.len()), (status, 0), "{method} {path} 2");
        let told = response.headers.get("content-length").map(|value| value.to_str().unwrap());
        assert_eq!(told, length, "{method} {path} 2");
    }
}

#[tokio::test]
async fn early_hints_come_before_the_response_is_there() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            while connection.read_request().await.is_some() {
                let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\n\
                             x-hop: 1\r\nkeep-alive: timeout=5\r\n\r\n";
                connection.write([hints, "HTTP/1.1 102 Processing\r\n\r\n"].concat()).await;
                gate.pass().await;
                connection.write(OK).await;
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let hints = client.read_head().await;
    assert_eq!(hints.first_line, "HTTP/1.1 103 Early Hints");
    assert_eq!(hints.headers.all("link"), ["</a.css>; rel=preload"]);
    for gone in ["connection", "x-hop", "keep-alive"] {
        assert!(!hints.headers.has(gone), "{gone}: {hints:?}");
    }
    assert_eq!(client.read_head().await.first_line, "HTTP/1.1 102 Processing");
    gate.release();
    assert_eq!(client.read_response().await.text(), "ok");

    gate.release_all();
    let mut old = gateway.client("web").await;
    old.send_raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let response = old.read_response().await;
    assert_eq!((response.informational.len(), response.text().as_str()), (0, "ok"), "HTTP/1.0 knows no 1xx");
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://a/").await.body, b"ok");
}

#[tokio::test]
async fn an_old_client_keeps_its_connection_only_where_it_asks_to() {
    let origin = Origin::answer(OK);
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        client.send_raw("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.header("connection")), (200, Some("keep-alive")));
    }
    client.send_raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.read_response().await.header("connection"), Some("close"));
    client.expect_closed().await;

    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.header("connection"), None);
    let answer = client.request("GET", "/", &[("connection", "close")], b"").await;
    assert_eq!(answer.header("connection"), Some("close"));
    client.expect_closed().await;
    assert!(!last(&origin).headers.has("connection"), "the upstream's connection is another matter");
}

#[tokio::test]
async fn a_large_answer_to_an_unread_body_arrives_whole() {
    // A close with unread bytes is a reset, which would take the answer with it.
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ respond: {{ body: '{}' }} }}]",
        "x".repeat(200_000)
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    let upload =
        [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n".as_slice(), &[b'y'; 400_000]]
            .concat();
    client.send_raw(upload).await;
    assert_eq!(client.read_response().await.body.len(), 200_000);
}

#[tokio::test]
async fn a_route_limits_bodies_of_unknown_length_too() {
    let origin = Origin::echo();
    let gateway = forwarding_with(&origin, ", limits: { body: 10B }").await;
    let mut client = gateway.client("web").await;
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send_raw(format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n")).await;
    assert_eq!(client.read_response().await.text(), "0123456789");
    client.send_raw(format!("{chunked}6\r\n012345\r\n5\r\n67890\r\n0\r\n\r\n")).await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.header("x-gateway-error")), (413, Some("limits.body")));
    assert_eq!(origin.requests().len(), 1, "what was cut is not a request");
}

#[tokio::test]
async fn an_upstream_without_keep_alive_gets_connection_close() {
    let origin = Origin::answer(OK);
    let gateway = builder(&origin, ", pool: { keep_alive: false }").start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.header("connection"), None, "the client's connection stays");
        assert_eq!(last(&origin).headers.all("connection"), ["close"]);
    }
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_client_that_ends_in_mid_body_is_not_answered_with_a_made_up_status() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    client.half_close().await;
    client.expect_closed().await;
}
