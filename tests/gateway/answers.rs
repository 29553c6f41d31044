//! The parts of a route that change a request or answer it: `respond`, `redirect`, `rewrite`, `host` and
//! `headers`.

use support::{Gateway, Http2Client, Origin, http};

use crate::PROGRAM;
use crate::forwarding::last;
use crate::one_route::builder;

#[tokio::test]
async fn a_fixed_response_has_its_length_for_every_protocol_version() {
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

#[tokio::test]
async fn a_redirect_to_https_keeps_host_path_and_query_and_takes_no_host_from_strangers() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
trusted_proxies: [127.0.0.2]
routes:
  - { match: { prefix: / }, redirect: { scheme: https } }
  - { match: { prefix: /port }, redirect: { scheme: https, port: 8443, status: 301 } }
  - { match: { prefix: /www }, redirect: { host: www.example.com, status: 307 } }";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for (method, target, host, status, location) in [
        ("GET", "/", "example.com", 308, "https://example.com/"),
        ("POST", "/a%2eb/../c?d=%2F", "example.com:8080", 308, "https://example.com/c?d=%2F"),
        ("GET", "/x?", "[::1]:8080", 308, "https://[::1]/x?"),
        ("GET", "//evil.example/", "example.com", 308, "https://example.com//evil.example/"),
        ("GET", "http://b.example:81/x", "a.example", 308, "https://b.example/x"),
        ("GET", "/port?x", "example.com:8080", 301, "https://example.com:8443/port?x"),
        ("PUT", "/www/x?y", "example.com:8080", 307, "http://www.example.com:8080/www/x?y"),
    ] {
        let fields = [("host", host), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "ftp")];
        let response = client.request(method, target, &fields, b"").await;
        assert_eq!(response.status, status, "{method} {target}");
        assert_eq!(response.headers.all("location"), [location], "{method} {target}");
        assert!(response.body.is_empty());
    }
    for host in ["evil.example/", "user@evil.example", "evil.example\\", "a b"] {
        let mut client = gateway.client("web").await;
        let response = client.request("GET", "/", &[("host", host)], b"").await;
        assert_eq!((response.status, response.header("location")), (400, None), "{host}");
    }
    // A client of HTTP/1.0 need not say which host it asks for.
    for (target, status, expected) in [
        ("/", 400, None),
        ("/www", 307, Some("http://www.example.com/www")),
        ("http://a/x", 308, Some("https://a/x")),
    ] {
        let mut old = gateway.client("web").await;
        old.send_raw(format!("GET {target} HTTP/1.0\r\n\r\n")).await;
        let response = old.read_response().await;
        assert_eq!((response.status, response.header("location")), (status, expected), "{target}");
        let reason = (status == 400).then_some("host.missing");
        assert_eq!(response.header("x-gateway-error"), reason, "{target}");
    }
    // A proxy that the gateway trusts says which scheme the client used, and no host: it may pass on what the client wrote.
    let mut proxied = support::Client::connect_from("127.0.0.2".parse().unwrap(), gateway.addr("web")).await;
    let fields =
        [("host", "a.example:444"), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "https")];
    for (target, location) in [("/x", "https://a.example/x"), ("/www", "https://www.example.com:444/www")] {
        let response = proxied.request("GET", target, &fields, b"").await;
        assert_eq!(response.headers.all("location"), [location]);
    }
    // Proxies append to the field: the first scheme is the one of the client's connection.
    for (schemes, scheme) in [("https, http", "https"), ("http,https", "http"), ("ftp, https", "http")] {
        let fields = [("host", "a.example"), ("x-forwarded-proto", schemes)];
        let response = proxied.request("GET", "/www", &fields, b"").await;
        assert_eq!(
            response.headers.all("location"),
            [format!("{scheme}://www.example.com/www")],
            "{schemes}"
        );
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let response = http2.get("http://example.com:8080/a?b").await;
    assert_eq!(response.status, 308);
    assert_eq!(response.headers["location"], "https://example.com/a?b");
}

#[tokio::test]
async fn a_base_path_in_the_url_of_an_endpoint_goes_before_every_path() {
    let origin = Origin::echo();
    let cases: [(&str, &str, &[(&str, &str)]); 6] = [
        (
            "/v2/",
            ", paths: { encoded_slash: keep }",
            &[
                ("/", "/v2/"),
                ("/?", "/v2/?"),
                ("/a?b=c/../d", "/v2/a?b=c/../d"),
                ("/v2", "/v2/v2"),
                ("//a", "/v2//a"),
                ("/a/../b/", "/v2/b/"),
                ("/a%2fb", "/v2/a%2Fb"),
                ("http://a.example?x", "/v2/?x"),
            ],
        ),
        ("/%7ev2/a;b=c", "", &[("/x", "/~v2/a;b=c/x")]),
        ("/", "", &[("/", "/"), ("/x", "/x")]),
        ("/v2", ", rewrite: { path: /fixed }", &[("/x?y", "/v2/fixed?y")]),
        (
            "/v2",
            ", rewrite: { strip_prefix: /api, add_prefix: /b }",
            &[("/api/x", "/v2/b/x"), ("/api", "/v2/b")],
        ),
        (
            "/v2",
            ", match: { template: '/{a}/{b}' }, rewrite: { template: '/x/{b}/{a}' }",
            &[("/1/2?y", "/v2/x/2/1?y")],
        ),
    ];
    for (base, keys, requests) in cases {
        let config = format!(
            "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ upstream: {{ url: '{}{base}' }}{keys} }}]",
            origin.url()
        );
        let gateway = Gateway::builder(PROGRAM, config).start().await;
        let mut client = gateway.client("web").await;
        for (target, expected) in requests {
            assert_eq!(client.get(target).await.status, 200, "{base}{keys}: {target}");
            assert_eq!(last(&origin).target, *expected, "{base}{keys}: {target}");
        }
        for target in ["/..", "/%2e%2e/x", "/a/../../x", "/..;/x"] {
            let mut client = gateway.client("web").await;
            assert_eq!(client.get(target).await.status, 400, "{base}{keys}: {target}");
        }
    }
}

#[tokio::test]
async fn endpoints_of_one_upstream_each_have_their_own_base_path() {
    let origin = Origin::echo();
    let (url, refused) = (origin.url(), support::unused_address());
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
upstreams:
  several: {{ endpoints: ['{url}/one', '{url}/two/', '{url}', 'http://{refused}/three'], balance: round_robin }}
routes: [{{ upstream: several, timeouts: {{ connect: 1s }} }}]"
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..4 {
        assert_eq!(client.get("/x?y").await.status, 200);
    }
    let targets: std::collections::BTreeSet<String> =
        origin.requests().into_iter().map(|request| request.target).collect();
    // A request that finds no connection at one endpoint goes to the next one, with the base path of that.
    assert_eq!(targets, ["/one/x?y", "/two/x?y", "/x?y"].map(str::to_owned).into());
    let pools = gateway.pools().await;
    let endpoints: Vec<&str> = pools.iter().map(|pool| pool["endpoint"].as_str().unwrap()).collect();
    assert_eq!(
        endpoints,
        [&*format!("{url}/one"), &*format!("{url}/two"), &*url, &*format!("http://{refused}/three")]
    );
}

#[tokio::test]
async fn a_rewrite_changes_the_path_and_keeps_the_query() {
    let origin = Origin::echo();
    let cases: [(&str, &str, &[(&str, &str)]); 7] = [
        (
            "{ prefix: / }",
            "{ add_prefix: /v2 }",
            &[("/", "/v2/"), ("/a?b=c", "/v2/a?b=c"), ("/v2", "/v2/v2")],
        ),
        (
            "{ prefix: / }",
            "{ strip_prefix: /api, add_prefix: /v2/ }",
            &[
                ("/api", "/v2"),
                ("/api?x", "/v2?x"),
                ("/api/", "/v2/"),
                ("/api/a%20b?c=d", "/v2/a%20b?c=d"),
                ("/apix", "/v2/apix"),
                ("/api/../x", "/v2/x"),
                ("/api//evil.example", "/v2//evil.example"),
            ],
        ),
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
            request: { set: { x-set: new, x-gateway: all }, add: { x-add: b }, remove: [x-internal, cookie, via] },
            response: { set: { x-set: new }, add: { x-add: b, set-cookie: c=3 }, remove: [server, via] } }",
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
        // The edits come last, behind the fields that the gateway adds.
        ("via", vec![]),
        ("x-set", vec!["new"]),
        ("x-gateway", vec!["all"]),
        ("x-add", vec!["a", "b"]),
        ("x-other", vec!["1"]),
    ] {
        assert_eq!(sent.all(field), values, "request: {field}");
    }
    for (field, values) in [
        ("server", vec![]),
        ("via", vec![]),
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

#[tokio::test]
async fn a_header_with_several_values_is_a_line_of_each() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
  - match: { path: / }
    respond: { headers: { set-cookie: [a=1, b=2], x-one: '1' }, body: hello }
  - match: { path: /edited }
    respond: { headers: { x-set: [a, b] } }
    headers: { response: { set: { x-set: [c, d, e] }, add: { x-set: [f], x-add: [g, h] } } }";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    let response = client.get("/").await;
    assert_eq!(response.headers.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.headers.all("x-one"), ["1"]);
    let response = client.get("/edited").await;
    assert_eq!(response.headers.all("x-set"), ["c", "d", "e", "f"]);
    assert_eq!(response.headers.all("x-add"), ["g", "h"]);
}
