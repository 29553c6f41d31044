//! `rewrite_location` and `rewrite_cookies`: what an upstream says of its own address becomes what the client used.

use support::{Certificates, Client, Gateway, Http2Client, Origin, Request};

use crate::PROGRAM;
use crate::filtering::filtered;
use crate::one_route::builder;
use crate::scripted::scripted;

/// An origin that responds with the status and the fields that the request's `x-status` and `x-answer` name. In them, `OWN` stands
/// for the host and port that it listens at.
fn naming() -> Origin {
    Origin::respond(|request: &Request| {
        let own = request.headers.all("x-own").concat();
        let status = request.headers.all("x-status").concat();
        let fields: String = request
            .headers
            .all("x-answer")
            .iter()
            .map(|field| format!("{}\r\n", field.replace("OWN", &own)))
            .collect();
        format!("HTTP/1.1 {status} Some\r\ncontent-length: 0\r\n{fields}\r\n").into_bytes()
    })
}

/// Asks for `target`, which must come back with this status. Returns the values of `field`.
async fn asked(
    client: &mut Client,
    origin: &Origin,
    target: &str,
    status: u16,
    answer: &[&str],
    more: &[(&str, &str)],
    field: &str,
) -> Vec<String> {
    let (own, shown) = (origin.addr().to_string(), status.to_string());
    let mut fields = vec![("x-own", own.as_str()), ("x-status", shown.as_str())];
    fields.extend(answer.iter().map(|line| ("x-answer", *line)));
    fields.extend(more);
    let response = client.request("GET", target, &fields, b"").await;
    assert_eq!(response.status, status, "{target} {answer:?}");
    response.headers.all(field).into_iter().map(str::to_owned).collect()
}

/// A gateway with this route's keys to an endpoint with this base path, which trusts 127.0.0.2.
async fn start(origin: &Origin, base: &str, keys: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
trusted_proxies: [127.0.0.2]
routes: [{{ upstream: {{ url: '{}{base}' }}{keys} }}]",
        origin.url()
    );
    Gateway::builder(PROGRAM, config).start().await
}

const REPLACED: &str = ", rewrite: { strip_prefix: /api, add_prefix: /v2 }";

#[tokio::test]
async fn a_location_that_names_the_upstream_names_the_gateway_to_the_client() {
    let origin = naming();
    let cases: [(&str, &str, &str, &str); 14] = [
        ("", "", "location: http://OWN/x?y#z", "http://shop.example:8080/x?y#z"),
        ("", "", "location: HTTP://OWN/x", "http://shop.example:8080/x"),
        ("", "", "location: //OWN/x", "http://shop.example:8080/x"),
        ("", "", "location: http://OWN", "http://shop.example:8080/"),
        ("", ", host: a.internal", "location: http://OWN/x", "http://shop.example:8080/x"),
        ("/v2/", "", "location: http://OWN/v2/x", "http://shop.example:8080/x"),
        ("/v2", "", "location: /v2/x?y", "/x?y"),
        ("/v2", "", "location: /v2//evil.example", "http://shop.example:8080//evil.example"),
        ("", REPLACED, "location: /v2/x", "/api/x"),
        ("", REPLACED, "location: http://OWN/v2", "http://shop.example:8080/api"),
        ("/base", REPLACED, "location: /base/v2/x", "/api/x"),
        ("", ", rewrite: { strip_prefix: /api }", "location: /x", "/api/x"),
        ("", ", rewrite: { strip_prefix: /api }", "location: http://OWN/", "http://shop.example:8080/api/"),
        ("", ", rewrite: { add_prefix: /v2 }", "location: /v2/x", "/x"),
    ];
    for (base, keys, answer, expected) in cases {
        let gateway = start(&origin, base, keys).await;
        let mut client = gateway.client("web").await;
        // All on one connection on each side.
        for status in [201, 202, 301, 302, 303, 307, 308] {
            let host = [("host", "shop.example:8080")];
            let location = asked(&mut client, &origin, "/api/a", status, &[answer], &host, "location").await;
            assert_eq!(location, [expected], "{base}{keys}: {status} {answer}");
        }
        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        let request = support::http::Request::get("http://shop.example:8080/api/a")
            .header("x-own", origin.addr().to_string())
            .header("x-status", "302")
            .header("x-answer", answer);
        let response = http2.request(request.body(support::bytes::Bytes::new()).unwrap()).await;
        assert_eq!(response.headers["location"], expected, "{base}{keys}: {answer} over HTTP/2");
    }
}

#[tokio::test]
async fn a_location_that_does_not_name_the_upstream_stays_as_it_is() {
    let origin = naming();
    let gateway = start(&origin, "/base", REPLACED).await;
    let mut client = gateway.client("web").await;
    for location in [
        "http://other.example/base/v2/x",
        "https://OWN/base/v2/x",
        "http://user@OWN/base/v2/x",
        "http://OWN@evil.example/base/v2/x",
        "http://OWN\\@evil.example/base/v2/x",
        "http://OWN/base/v20/x",
        "http://OWN/other",
        "//other.example/base/v2",
        "/base/v20",
        "/base/v2/../x",
        "/base/x",
        "/v2/x",
        "/api/x",
        "x",
        "../x",
        "?x",
        "#x",
        "mailto:a@b",
    ] {
        let answer = format!("location: {location}");
        let kept = asked(&mut client, &origin, "/api/a", 302, &[&answer], &[], "location").await;
        assert_eq!(kept, [location.replace("OWN", &origin.addr().to_string())]);
    }
    // Only where a location means a place to go to, and no other field.
    for (status, field) in [
        (200, "location"),
        (304, "location"),
        (404, "location"),
        (302, "content-location"),
        (302, "x-location"),
    ] {
        let answer = format!("{field}: http://OWN/base/v2/x");
        let kept = asked(&mut client, &origin, "/api/a", status, &[&answer], &[], field).await;
        assert_eq!(kept, [format!("http://{}/base/v2/x", origin.addr())], "{status} {field}");
    }
    let several = ["location: /base/v2/x", "location: http://b/", "location: http://OWN/base/v2/y"];
    let host = [("host", "a")];
    let each = asked(&mut client, &origin, "/api/a", 302, &several, &host, "location").await;
    assert_eq!(each, ["/api/x", "http://b/", "http://a/api/y"], "each field by itself");
}

#[tokio::test]
async fn a_location_of_the_endpoint_stays_where_the_host_is_preserved_or_the_route_says_off() {
    let origin = naming();
    for (keys, is_rewritten) in [
        ("", true),
        (", rewrite_location: auto", true),
        (", host: upstream", true),
        (", host: a.internal", true),
        (", host: preserve", false),
        (", host: preserve, rewrite_location: auto", false),
        (", rewrite_location: off", false),
    ] {
        let gateway = start(&origin, "", keys).await;
        let mut client = gateway.client("web").await;
        let host = [("host", "a")];
        let location =
            asked(&mut client, &origin, "/", 302, &["location: http://OWN/x"], &host, "location").await;
        let own = format!("http://{}/x", origin.addr());
        assert_eq!(location, [if is_rewritten { "http://a/x" } else { own.as_str() }], "{keys}");
    }
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
defaults: {{ rewrite_location: off }}
upstreams: {{ all: {{ url: '{}/v2' }} }}
routes: [{{ upstream: all }}, {{ match: {{ prefix: /own }}, upstream: all, rewrite_location: auto }}]",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for (target, expected) in [("/", "/v2/x"), ("/own", "/x")] {
        let location = asked(&mut client, &origin, target, 302, &["location: /v2/x"], &[], "location").await;
        assert_eq!(location, [expected], "{target}");
    }
}

#[tokio::test]
async fn a_location_has_the_scheme_that_a_trusted_peer_forwards_and_the_host_of_the_request() {
    let origin = naming();
    let gateway = start(&origin, "/v2", "").await;
    let claims = [("host", "inner"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.example")];
    let answer = ["location: http://OWN/v2/x"];
    let mut stranger = gateway.client("web").await;
    let location = asked(&mut stranger, &origin, "/", 302, &answer, &claims, "location").await;
    assert_eq!(location, ["http://inner/x"], "nobody believes a stranger");
    let mut proxied = Client::connect_from("127.0.0.2".parse().unwrap(), gateway.addr("web")).await;
    let location = asked(&mut proxied, &origin, "/", 302, &answer, &claims, "location").await;
    assert_eq!(location, ["https://inner/x"], "a trusted proxy may pass on the host that its client wrote");
    // An upstream that believes what it is told writes the client's scheme.
    let told = ["location: https://OWN/v2/x"];
    let location = asked(&mut proxied, &origin, "/", 302, &told, &claims, "location").await;
    assert_eq!(location, ["https://inner/x"]);

    // Of a client of HTTP/1.0 without Host nothing is known but the path.
    let mut old = gateway.client("web").await;
    let fields = format!("x-own: {}\r\nx-status: 302\r\nx-answer: {}\r\n", origin.addr(), answer[0]);
    old.send_raw(format!("GET / HTTP/1.0\r\n{fields}\r\n")).await;
    assert_eq!(old.read_response().await.headers.all("location"), ["/x"]);

    // What a route does to these fields is for its upstream, and changes nothing for the client.
    for keys in [
        ", headers: { request: { remove: [x-forwarded-proto, x-forwarded-host] } }",
        ", headers: { request: { set: { x-forwarded-proto: http, x-forwarded-host: other.example } } }",
    ] {
        let gateway = start(&origin, "/v2", keys).await;
        let mut client = Client::connect_from("127.0.0.2".parse().unwrap(), gateway.addr("web")).await;
        let location = asked(&mut client, &origin, "/", 302, &answer, &claims, "location").await;
        assert_eq!(location, ["https://inner/x"], "{keys}");
    }
}

#[tokio::test]
async fn a_location_has_its_path_reversed_where_the_host_is_preserved() {
    let origin = naming();
    for (base, keys, answer, expected) in [
        ("/v2", "", "location: /v2/x", "/x"),
        ("/v2", ", rewrite_location: auto", "location: http://a.example/v2/x", "http://a.example/x"),
        ("/v2", "", "location: https://a.example/v2/x", "https://a.example/x"),
        ("/v2", ", rewrite_location: off", "location: /v2/x", "/v2/x"),
        ("", REPLACED, "location: http://a.example/v2/x", "http://a.example/api/x"),
        ("", ", rewrite: { strip_prefix: /api }", "location: /x", "/api/x"),
        ("", ", rewrite: { strip_prefix: /other }", "location: /x", "/x"),
        ("", ", rewrite: { add_prefix: /v2 }", "location: /v2", "/"),
        ("", "", "location: https://a.example/x", "https://a.example/x"),
    ] {
        let gateway = start(&origin, base, &format!("{keys}, host: preserve")).await;
        let mut client = gateway.client("web").await;
        let host = [("host", "a.example")];
        let location = asked(&mut client, &origin, "/api/a", 302, &[answer], &host, "location").await;
        assert_eq!(location, [expected], "{base}{keys}: {answer}");
    }
}

#[tokio::test]
async fn a_prefix_that_a_request_did_not_have_is_not_put_before_locations_and_cookies() {
    let origin = naming();
    let gateway = start(&origin, "", ", rewrite: { strip_prefix: /api }, rewrite_cookies: auto").await;
    let mut client = gateway.client("web").await;
    let answer = ["location: /x", "set-cookie: a=b; Path=/x"];
    for (target, location, cookie) in
        [("/api/login", "/api/x", "a=b; Path=/api/x"), ("/login", "/x", "a=b; Path=/x")]
    {
        for (field, expected) in [("location", location), ("set-cookie", cookie)] {
            let values = asked(&mut client, &origin, target, 302, &answer, &[("host", "a")], field).await;
            assert_eq!(values, [expected], "{target}");
        }
    }
}

#[tokio::test]
async fn a_location_follows_the_host_that_the_route_sends() {
    let origin = naming();
    let gateway = builder(&origin, ", host: 'api.internal:81'").start().await;
    let mut client = gateway.client("web").await;
    for (answer, expected) in [
        ("location: http://api.internal:81/x", "http://a/x"),
        ("location: http://API.internal:81/x", "http://a/x"),
        ("location: http://api.internal/x", "http://api.internal/x"),
    ] {
        let location = asked(&mut client, &origin, "/", 307, &[answer], &[("host", "a")], "location").await;
        assert_eq!(location, [expected], "{answer}");
    }
}

#[tokio::test]
async fn a_filter_sees_the_location_of_the_client() {
    let module = scripted(&[("proxy_on_response_headers", "get_field 2 location -> bytes\nfield x-seen")]);
    let origin = naming();
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    let (answer, host) = (["location: http://OWN/x"], [("host", "a")]);
    let seen = asked(&mut client, &origin, "/", 302, &answer, &host, "x-seen").await;
    assert!(seen.concat().contains("http://a/x"), "{seen:?}");
}

#[tokio::test]
async fn cookies_of_the_upstream_become_the_clients_where_the_route_says_so() {
    let origin = naming();
    let answer = [
        "set-cookie: a=\"1, 2\"; Domain=127.0.0.1; Path=/v2/x; Expires=Wed, 09 Jun 2100 10:18:14 GMT; X-Odd",
        "set-cookie: b=1;path=/v2;Secure",
        "set-cookie: c=1; Domain=example.com; Path=/v20",
        "set-cookie: d=/v2/x",
    ];
    let as_they_came = answer.map(|line| line.strip_prefix("set-cookie: ").unwrap());
    let rewritten = [
        "a=\"1, 2\"; Path=/api/x; Expires=Wed, 09 Jun 2100 10:18:14 GMT; X-Odd",
        "b=1;path=/api;Secure",
        "c=1; Domain=example.com; Path=/v20",
        "d=/v2/x",
    ];
    for (keys, expected) in [
        ("", as_they_came),
        (", rewrite_cookies: off", as_they_came),
        (", rewrite_cookies: auto", rewritten),
        (", rewrite_cookies: auto, rewrite_location: off", rewritten),
    ] {
        let gateway = start(&origin, "", &format!("{REPLACED}{keys}")).await;
        let mut client = gateway.client("web").await;
        for status in [200, 302, 404] {
            let host = [("host", "shop.example")];
            let cookies = asked(&mut client, &origin, "/api/a", status, &answer, &host, "set-cookie").await;
            assert_eq!(cookies, expected, "{keys}: {status}");
        }
    }
}

#[tokio::test]
async fn upstream_that_redirects_https_requests_to_themselves_is_warned_of() {
    let origin = naming();
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let (cert, key) = (identity.cert.display(), identity.key.display());
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0, tls: {{ certificates: [{{ cert: {cert}, key: {key} }}] }} }}]
routes:
  - {{ name: kept, match: {{ prefix: /kept }}, host: preserve, upstream: app }}
  - {{ name: own, match: {{ prefix: /own }}, upstream: app }}
  - {{ name: off, match: {{ prefix: /off }}, rewrite_location: off, upstream: app }}
  - {{ name: without, match: {{ prefix: /without }}, headers: {{ request: {{ remove: [x-forwarded-proto] }} }}, upstream: app }}
upstreams: {{ app: {{ url: '{}' }} }}",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let tls = certificates.client_config(&[]);
    let mut client = Client::connect_tls(gateway.addr("web"), &tls, "a.test").await;
    let host = [("host", "a.test")];
    for (target, status, answer) in [
        ("/kept", 302, &["location: https://a.test/other"][..]),
        ("/kept", 302, &["location: http://a.test/kept"]),
        ("/kept", 302, &["location: /kept"]),
        ("/kept", 302, &["location: https://a.test/kept?next"]),
        ("/kept", 201, &["location: https://a.test/kept"]),
        ("/kept", 302, &["location: https://a.test/kept", "set-cookie: seen=1"]),
        ("/kept", 302, &["location: https://b.test/kept"]),
    ] {
        let location = asked(&mut client, &origin, target, status, answer, &host, "location").await;
        assert_eq!(location.len(), 1, "{answer:?}");
    }
    let trust = "configure it to trust the `X-Forwarded-Proto: https` that it is sent";
    let send = "the route's `headers.request` changes that field";
    for (target, name, answer, location, cure) in [
        ("/kept?a=b", "kept", "location: https://a.test/kept?a=b", "https://a.test/kept?a=b", trust),
        // The name of the upstream becomes the gateway's.
        ("/own", "own", "location: https://OWN/own", "https://a.test/own", trust),
        ("/off", "off", "location: https://a.test:443/off", "https://a.test:443/off", trust),
        ("/without", "without", "location: https://a.test/without", "https://a.test/without", send),
    ] {
        for status in [301, 308] {
            let seen = asked(&mut client, &origin, target, status, &[answer], &host, "location").await;
            assert_eq!(seen, [location], "the response is the upstream's");
        }
        let warning = gateway.wait_for_log(&format!("route=\"{name}\"")).await;
        assert!(warning.contains("redirect loop") && warning.contains(cure), "{warning}");
    }
    let warnings = gateway.logs().iter().filter(|line| line.contains("redirect loop")).count();
    assert_eq!(warnings, 4, "one of each route, and none of other locations\n{}", gateway.output());
}
