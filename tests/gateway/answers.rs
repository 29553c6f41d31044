//! What a route answers with, and what it makes of a request before that: `respond`, `redirect`, `rewrite`, `host` and
//! `headers`.

use support::{Gateway, Http2Client, Origin, Request, http};

use crate::PROGRAM;
use crate::one_route::builder;

#[tokio::test]
async fn a_fixed_answer_has_its_length_whoever_asks_for_it() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
  - match: { path: /text }
    respond: { status: 418, headers: { content-type: text/plain, x-a: '1' }, body: 'grüezi' }
  - { match: { path: /nothing }, respond: { status: 204 } }
  - { match: { path: /empty }, respond: {} }";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    let answer = client.get("/text").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "grüezi"));
    assert_eq!(answer.status_line, "HTTP/1.1 418 I'm a teapot");
    for (field, value) in [("content-type", "text/plain"), ("x-a", "1"), ("content-length", "7")] {
        assert_eq!(answer.headers.all(field), [value], "{field}");
    }
    assert!(answer.headers.has("date"));

    let head = client.request("HEAD", "/text", &[], b"").await;
    assert_eq!((head.status, head.headers.all("content-length")), (418, vec!["7"]));
    let nothing = client.get("/nothing").await;
    assert_eq!((nothing.status, nothing.header("content-length")), (204, None));
    let empty = client.get("/empty").await;
    assert_eq!((empty.status, empty.header("content-length")), (200, Some("0")));

    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://a/text").await.body, "grüezi".as_bytes());
    let head = http2.request(http::Request::head("http://a/text").body("".into()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (418, 0));
    assert_eq!(head.headers["content-length"], "7");
}

#[tokio::test]
async fn a_redirect_says_where_to_with_the_parameters_of_its_template() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
  - { match: { path: /old }, redirect: { to: 'https://example.com/new' } }
  - match: { template: '/u/{id}/{part}' }
    redirect: { to: 'https://example.com/users/{id}?part={part}', status: 302 }";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for (method, path, status, location) in [
        ("GET", "/old", 308, "https://example.com/new"),
        ("HEAD", "/old?a=b", 308, "https://example.com/new"),
        ("POST", "/old", 308, "https://example.com/new"),
        ("GET", "/u/7/%C3%A9", 302, "https://example.com/users/7?part=%C3%A9"),
        ("GET", "/u/a%0Ab/c", 400, ""),
    ] {
        let response = client.request(method, path, &[], b"").await;
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header("location").unwrap_or_default(), location, "{method} {path}");
        assert!(status == 400 || response.body.is_empty());
    }
}

/// What `origin` received last.
fn last(origin: &Origin) -> Request {
    origin.requests().pop().expect("a request came")
}

#[tokio::test]
async fn a_rewrite_changes_the_path_and_keeps_the_query() {
    let origin = Origin::echo();
    let cases: [(&str, &str, &[(&str, &str)]); 5] = [
        ("{ prefix: / }", "{ path: /fixed }", &[("/", "/fixed"), ("/a/b?c=%2F", "/fixed?c=%2F")]),
        (
            "{ prefix: / }",
            "{ strip_prefix: /api }",
            &[
                ("/api", "/"),
                ("/api/", "/"),
                ("/api?x", "/?x"),
                ("/api/a%20b?c=d", "/a%20b?c=d"),
                ("/apix", "/apix"),
                ("/x/api", "/x/api"),
                ("/api/api/a", "/api/a"),
                ("/api//evil.example", "//evil.example"),
                ("/api/x/../y", "/y"),
            ],
        ),
        ("{ prefix: /api }", "{ strip_prefix: /api/ }", &[("/api/a", "/a"), ("/api", "/")]),
        (
            "{ template: '/users/{id}/orders/{order}' }",
            "{ template: '/v2/{order}/of/{id}' }",
            &[("/users/7/orders/8?x=y", "/v2/8/of/7?x=y"), ("/users/%C3%A9/orders/a;b", "/v2/a;b/of/%C3%A9")],
        ),
        ("{ template: '/{a}' }", "{ template: '/x/{a}/y' }", &[("/b", "/x/b/y"), ("/%3F%23", "/x/%3F%23/y")]),
    ];
    for (matched, rewrite, requests) in cases {
        let gateway = builder(&origin, &format!(", match: {matched}, rewrite: {rewrite}")).start().await;
        let mut client = gateway.client("web").await;
        for (target, expected) in requests {
            assert_eq!(client.get(target).await.status, 200, "{rewrite}: {target}");
            assert_eq!(last(&origin).target, *expected, "{rewrite}: {target}");
        }
    }
}

#[tokio::test]
async fn the_upstream_is_sent_the_host_that_the_route_says() {
    let origin = Origin::echo();
    let upstream = origin.addr().to_string();
    let cases = [
        ("", upstream.as_str()),
        (", host: upstream", upstream.as_str()),
        (", host: preserve", "a.example.com:81"),
        (", host: internal.example.com", "internal.example.com"),
    ];
    for (keys, expected) in cases {
        let gateway = builder(&origin, keys).start().await;
        let mut client = gateway.client("web").await;
        client.request("GET", "/", &[("host", "a.example.com:81")], b"").await;
        assert_eq!(last(&origin).headers.all("host"), [expected], "{keys}");
        client.request("GET", "http://a.example.com:81/", &[("host", "b.example.com")], b"").await;
        assert_eq!(last(&origin).headers.all("host"), [expected], "{keys}, the target names the host");

        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        http2.get("http://a.example.com:81/").await;
        assert_eq!(last(&origin).headers.all("host"), [expected], "{keys}, HTTP/2");

        let mut old = gateway.client("web").await;
        old.send_raw("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(old.read_response().await.status, 200, "{keys}");
        let without = if expected.starts_with('a') { upstream.as_str() } else { expected };
        assert_eq!(last(&origin).headers.all("host"), [without], "{keys}, HTTP/1.0 without a Host");
    }
}

#[tokio::test]
async fn headers_are_edited_on_the_way_up_and_on_the_way_back() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\nserver: origin\r\nx-set: a\r\nX-Set: b\r\nx-add: a\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n",
    );
    let gateway = builder(
        &origin,
        ", headers: {
            request: { set: { x-set: new, x-gateway: all }, add: { x-add: b }, remove: [x-internal, cookie] },
            response: { set: { x-set: new }, add: { x-add: b, set-cookie: c=3 }, remove: [server] } }",
    )
    .start()
    .await;
    let mut client = gateway.client("web").await;
    let fields = [
        ("X-Internal", "1"),
        ("x-internal", "2"),
        ("x-set", "a"),
        ("x-set", "b"),
        ("X-Add", "a"),
        ("cookie", "a=b"),
        ("x-other", "1"),
    ];
    let response = client.request("GET", "/", &fields, b"").await;
    let sent = last(&origin).headers;
    for (field, values) in [
        ("x-internal", vec![]),
        ("cookie", vec![]),
        ("x-set", vec!["new"]),
        ("x-gateway", vec!["all"]),
        ("x-add", vec!["a", "b"]),
        ("x-other", vec!["1"]),
    ] {
        assert_eq!(sent.all(field), values, "request: {field}");
    }
    for (field, values) in [
        ("server", vec![]),
        ("x-set", vec!["new"]),
        ("x-add", vec!["a", "b"]),
        ("set-cookie", vec!["a=1", "b=2", "c=3"]),
    ] {
        assert_eq!(response.headers.all(field), values, "response: {field}");
    }
}

#[tokio::test]
async fn a_route_inherits_the_defaults_and_its_own_keys_win() {
    let origin = Origin::echo();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
defaults:
  host: default.example.com
  limits: {{ body: 4B }}
  headers: {{ request: {{ set: {{ x-a: default, x-b: default }} }}, response: {{ set: {{ x-c: default }} }} }}
routes:
  - {{ match: {{ path: /inherits }}, upstream: {{ url: '{0}' }} }}
  - match: {{ path: /own }}
    upstream: {{ url: '{0}' }}
    host: own.example.com
    limits: {{ body: 8B }}
    headers: {{ request: {{ set: {{ x-a: own }}, remove: [x-b] }} }}
  - {{ match: {{ path: /local }}, respond: {{ body: local }} }}",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    for (path, host, a, b, longest) in [
        ("/inherits", "default.example.com", "default", vec!["default"], 4),
        ("/own", "own.example.com", "own", vec![], 8),
    ] {
        let mut client = gateway.client("web").await;
        let response = client.request("POST", path, &[], &vec![b'x'; longest]).await;
        assert_eq!((response.status, response.header("x-c")), (200, Some("default")), "{path}");
        let sent = last(&origin).headers;
        assert_eq!(sent.get("host"), Some(host), "{path}");
        assert_eq!(sent.all("x-a"), [a], "{path}");
        assert_eq!(sent.all("x-b"), b, "{path}");
        let response = client.request("POST", path, &[], &vec![b'x'; longest + 1]).await;
        assert_eq!(
            (response.status, response.header("x-gateway-error")),
            (413, Some("limits.body")),
            "{path}"
        );
    }
    assert_eq!(gateway.client("web").await.get("/local").await.header("x-c"), Some("default"));
}
