//! Which route a request belongs to, and the path that it is known by from then on.

use support::{Client, Gateway, Http2Client, Origin};

use crate::PROGRAM;
use crate::one_route::forwarding_to;

/// Routes that answer with their own name: what each is for, under which name.
static ROUTES: [(&str, &str); 17] = [
    ("any", "{}"),
    ("root", "{ path: / }"),
    ("api", "{ prefix: /api }"),
    ("api-v1", "{ prefix: /api/v1/ }"),
    ("status", "{ path: /api/status }"),
    ("user", "{ template: '/users/{id}' }"),
    ("me", "{ path: /users/me }"),
    ("order", "{ template: '/users/{id}/orders/{order}' }"),
    ("my-order", "{ template: '/users/me/orders/{order}' }"),
    ("post", "{ prefix: /api, methods: [POST, DELETE] }"),
    ("canary", "{ prefix: /api, methods: [POST], headers: { x-canary: '1' } }"),
    ("debug", "{ prefix: /api, headers: { x-debug: present } }"),
    ("v2", "{ prefix: /api, query: { v: '2' } }"),
    ("traced", "{ path: /traced, query: { trace: present } }"),
    ("wild", "{ host: '*.example.com' }"),
    ("deep", "{ host: '*.eu.example.com', path: /x }"),
    ("host", "{ host: api.example.com, prefix: /only }"),
];

async fn named_routes(routes: impl Iterator<Item = &'static (&'static str, &'static str)>) -> Gateway {
    let routes: String = routes
        .map(|(name, matched)| {
            format!("  - {{ name: {name}, match: {matched}, respond: {{ body: {name} }} }}\n")
        })
        .collect();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}, {{ name: internal, address: 127.0.0.1:0 }}]
routes:
{routes}  - {{ name: internal, match: {{ path: /api }}, listeners: [internal], respond: {{ body: internal }} }}"
    );
    Gateway::builder(PROGRAM, config).start().await
}

#[tokio::test]
async fn the_most_specific_route_answers_wherever_it_stands_in_the_file() {
    let cases: [(&str, &[(&str, &str)], &str); 40] = [
        ("GET /", &[], "root"),
        ("GET /?x", &[], "root"),
        ("GET /other", &[], "any"),
        ("GET /api", &[], "api"),
        ("GET /api/", &[], "api"),
        ("GET /api/x", &[], "api"),
        ("GET /api?x", &[], "api"),
        ("GET /apix", &[], "any"),
        ("GET /API", &[], "any"),
        ("GET /api/v1", &[], "api"),
        ("GET /api/v1/", &[], "api-v1"),
        ("GET /api/v1/x", &[], "api-v1"),
        ("GET /api/v1x", &[], "api"),
        ("GET /api/status", &[], "status"),
        ("GET /api/status/", &[], "api"),
        ("GET /users/7", &[], "user"),
        ("GET /users/%C3%A9", &[], "user"),
        ("GET /users/7/", &[], "any"),
        ("GET /users/", &[], "any"),
        ("GET /users/me", &[], "me"),
        ("GET /users/7/orders/8", &[], "order"),
        ("GET /users/me/orders/8", &[], "my-order"),
        ("POST /api", &[], "post"),
        ("DELETE /api/x", &[], "post"),
        ("PUT /api/x", &[], "api"),
        ("post /api/x", &[], "api"),
        ("POST /api", &[("x-canary", "1")], "canary"),
        ("POST /api", &[("x-canary", "2")], "post"),
        ("GET /api", &[("x-canary", "1")], "api"),
        ("GET /api", &[("X-Debug", "")], "debug"),
        ("GET /api?v=2", &[], "v2"),
        ("GET /api?a=b&v=2", &[], "v2"),
        ("GET /api?v=22", &[], "api"),
        ("GET /traced?trace", &[], "traced"),
        ("GET /traced?untrace", &[], "any"),
        ("GET /only", &[("host", "API.Example.com.:8080")], "host"),
        ("GET /api/status", &[("host", "api.example.com")], "wild"),
        ("GET /x", &[("host", "a.b.eu.example.com")], "deep"),
        ("GET /y", &[("host", "a.eu.example.com")], "wild"),
        ("GET /api", &[("host", "example.com")], "api"),
    ];
    for gateway in [named_routes(ROUTES.iter()).await, named_routes(ROUTES.iter().rev()).await] {
        let mut client = gateway.client("web").await;
        for (line, fields, expected) in cases {
            let (method, path) = line.split_once(' ').unwrap();
            let response = client.request(method, path, fields, b"").await;
            assert_eq!(response.text(), expected, "{line} {fields:?}");
        }
        let mut internal = gateway.client("internal").await;
        assert_eq!(internal.get("/api").await.text(), "internal");
        assert_eq!(internal.get("/api/x").await.text(), "api");
    }
}

#[tokio::test]
async fn between_equals_the_first_in_the_file_answers_and_without_any_it_is_404() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
  - { match: { prefix: /a }, respond: { body: first } }
  - { match: { prefix: /a }, respond: { body: second } }";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/a/b").await.text(), "first");
    for (line, status, reason) in [
        ("GET /b", 404, "route.none"),
        ("GET /a2", 404, "route.none"),
        // About the server as a whole, of which a gateway has nothing to say (RFC 9110 §9.3.7).
        ("OPTIONS *", 404, "route.none"),
        ("GET *", 400, "path.not_absolute"),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let response = client.request(method, path, &[], b"").await;
        assert_eq!((response.status, response.header("x-gateway-error")), (status, Some(reason)), "{line}");
    }
    assert_eq!(client.get("/a").await.text(), "first", "the connection serves on");
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused_on_every_protocol() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    let cases = [
        ("/a%2Fb", "path.encoded_slash"),
        ("/a%2fb", "path.encoded_slash"),
        ("/a%5Cb", "path.backslash"),
        ("/a%5cb", "path.backslash"),
        ("/a%00", "path.control_character"),
        ("/a%0d%0ax:%20y", "path.control_character"),
        ("/a%7F", "path.control_character"),
        ("/a%", "path.invalid_escape"),
        ("/a%g0", "path.invalid_escape"),
        ("/a/..;/b", "path.hidden_dot_segment"),
        ("/a/.;x/b", "path.hidden_dot_segment"),
        ("/a/..%3Bx/b", "path.hidden_dot_segment"),
        ("/a/%2e%2e;x/b", "path.hidden_dot_segment"),
        ("/..", "path.climbs_above_root"),
        ("/a/../../b", "path.climbs_above_root"),
        ("/%2e%2e/b", "path.climbs_above_root"),
        ("/a/.%2E/%2e%2E/b", "path.climbs_above_root"),
    ];
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for (path, reason) in cases {
        let response = client.get(path).await;
        assert_eq!((response.status, response.header("x-gateway-error")), (400, Some(reason)), "{path}");
        let response = http2.get(&format!("http://gateway.test{path}")).await;
        assert_eq!(response.status, 400, "{path} over HTTP/2");
        assert_eq!(response.headers["x-gateway-error"], reason, "{path} over HTTP/2");
    }
    // What HTTP/1 alone can write into a request line.
    for target in ["/a\\b", "\\a", "/a#b", "/a/\u{e9}", "gateway.test:80", "a", "//", "?a", "http://"] {
        let mut client = gateway.client("web").await;
        client.send_raw(format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")).await;
        let response = client.read_response().await;
        let expected = if target == "//" { 200 } else { 400 };
        assert_eq!(response.status, expected, "{target:?}: {response:?}");
    }
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["//"], "an empty segment is a segment; the rest reached no upstream");
}

#[tokio::test]
async fn the_path_that_is_matched_is_the_path_that_is_forwarded() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    let cases = [
        ("/", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/b/..", "/a/"),
        ("/%61%7e%2D", "/a~-"),
        ("/caf%c3%a9%20%25", "/caf%C3%A9%20%25"),
        ("/%252e%252e/%252f", "/%252e%252e/%252f"),
        ("/a;v=1/b,c=d:@!$&'()*+", "/a;v=1/b,c=d:@!$&'()*+"),
        ("//a///b", "//a///b"),
        ("/a?", "/a?"),
        ("/a?b=%2F../%00&c=/../", "/a?b=%2F../%00&c=/../"),
        ("/a/../b?x=1?y=2", "/b?x=1?y=2"),
        ("http://gateway.test/a/../b?c", "/b?c"),
        ("http://gateway.test", "/"),
        ("http://gateway.test?a", "/?a"),
    ];
    for (target, expected) in cases {
        assert_eq!(client.get(target).await.status, 200, "{target}");
        let request = origin.requests().pop().unwrap();
        let line = String::from_utf8(request.raw_head).unwrap();
        assert_eq!(line.lines().next(), Some(format!("GET {expected} HTTP/1.1").as_str()), "{target}");
    }
}

/// The target that the origin is sent for this one, if it is sent anything.
async fn sent_for(client: &mut Client, origin: &Origin, target: &str) -> Result<String, u16> {
    let before = origin.requests().len();
    client.send_raw(format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")).await;
    let status = client.read_response().await.status;
    match origin.requests().get(before) {
        Some(request) => Ok(request.target.clone()),
        None => Err(status),
    }
}

#[tokio::test]
async fn every_byte_of_a_target_is_treated_alike_in_every_position() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    for byte in 0x21..0x7f {
        let character = char::from(byte);
        let in_path = match character {
            '#' | '%' | '\\' => Err(400),
            '"' | '<' | '>' | '[' | ']' | '^' | '`' | '{' | '|' | '}' => Ok(format!("%{byte:02X}")),
            _ => Ok(character.to_string()),
        };
        let in_query = match character {
            '#' => Err(400),
            '"' | '<' | '>' => Ok(format!("%{byte:02X}")),
            _ => Ok(character.to_string()),
        };
        for (before, after, expected) in
            [("/a", "b", &in_path), ("/a", "b?c", &in_path), ("/a?b", "c", &in_query), ("/?", "/", &in_query)]
        {
            // A refusal closes the connection.
            let mut client = gateway.client("web").await;
            let sent = sent_for(&mut client, &origin, &format!("{before}{character}{after}")).await;
            let expected = expected.clone().map(|text| format!("{before}{text}{after}"));
            assert_eq!(sent, expected, "{before}{character}{after}");
        }
    }
    // HTTP/2 has the same grammar, but for what its library refuses or cuts off: a fragment, and characters of no URI.
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for (target, expected) in [("/a|b{c}?d=|{e}`", "/a%7Cb%7Bc%7D?d=|{e}`"), ("/a[b]?[c]", "/a%5Bb%5D?[c]")] {
        assert_eq!(http2.get(&format!("http://gateway.test{target}")).await.status, 200, "{target}");
        assert_eq!(origin.requests().last().unwrap().target, expected);
    }
}

#[tokio::test]
async fn characters_and_their_escapes_are_the_same_to_routes() {
    let origin = Origin::echo();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes:
  - {{ match: {{ prefix: '/a%7Cb' }}, respond: {{ status: 403 }} }}
  - {{ match: {{ prefix: '/%3Cadmin%3E' }}, respond: {{ status: 403 }} }}
  - {{ match: {{ prefix: '/%5Badmin%5D' }}, respond: {{ status: 403 }} }}
  - {{ match: {{ prefix: / }}, upstream: {{ url: '{}' }} }}",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for target in ["/a|b", "/a%7Cb", "/a%7cb/x", "/<admin>", "/%3cadmin>/x", "/[admin]", "/%5badmin]/x"] {
        assert_eq!(sent_for(&mut client, &origin, target).await, Err(403), "{target}");
    }
}

#[tokio::test]
async fn an_encoded_slash_is_kept_by_the_routes_that_say_so() {
    let origin = Origin::echo();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
upstreams: {{ origin: {{ url: '{}' }} }}
routes:
  - {{ match: {{ path: '/api/queues/%2F/secret' }}, paths: {{ encoded_slash: keep }}, respond: {{ status: 403 }} }}
  - {{ match: {{ prefix: /api }}, paths: {{ encoded_slash: keep }}, upstream: origin }}
  - {{ match: {{ prefix: /npm }}, paths: {{ encoded_slash: keep }}, rewrite: {{ strip_prefix: /npm }}, upstream: origin }}
  - {{ match: {{ template: '/projects/{{id}}/{{file}}' }}, paths: {{ encoded_slash: keep }}, rewrite: {{ template: '/v4/{{file}}/{{id}}' }}, upstream: origin }}
  - {{ match: {{ path: /static }}, paths: {{ encoded_slash: keep }}, rewrite: {{ path: '/q/%2f' }}, upstream: origin }}
  - {{ match: {{ path: /fixed }}, respond: {{ body: fixed }} }}
  - {{ match: {{ prefix: /strict }}, upstream: origin }}",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    for (target, expected) in [
        ("/api/queues/%2F/name", Ok("/api/queues/%2F/name")),
        ("/api/queues/%2f/name?a=%2f", Ok("/api/queues/%2F/name?a=%2f")),
        ("/api/x/../queues/%2f", Ok("/api/queues/%2F")),
        ("/api/queues/%2f/secret", Err(403)),
        ("/npm/@scope%2fpackage", Ok("/@scope%2Fpackage")),
        ("/projects/group%2Fproject/a%2Fb.rs", Ok("/v4/a%2Fb.rs/group%2Fproject")),
        ("/static", Ok("/q/%2F")),
        // A kept slash is no border: these are below no prefix.
        ("/api%2Fqueues", Err(400)),
        ("/npm%2f..%2fapi", Err(400)),
        ("/api/..%2fstrict", Err(400)),
        ("/api/a%2F%2e%2e", Err(400)),
        ("/api/a%2f%5c", Err(400)),
        ("/strict/a%2Fb", Err(400)),
        ("/fixed%2F", Err(400)),
        ("/nowhere%2F", Err(400)),
        ("/nowhere", Err(404)),
    ] {
        let mut client = gateway.client("web").await;
        assert_eq!(
            sent_for(&mut client, &origin, target).await.as_deref().map_err(|s| *s),
            expected,
            "{target}"
        );
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://gateway.test/api/queues/%2f").await.status, 200);
    assert_eq!(origin.requests().last().unwrap().target, "/api/queues/%2F");
    let refused = http2.get("http://gateway.test/strict/%2f").await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.headers["x-gateway-error"], "path.encoded_slash");
}

#[tokio::test]
async fn an_encoded_slash_in_the_path_of_a_route_that_refuses_it_is_an_error() {
    let config = |keys: &str| {
        format!(
            "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes:
  - {{ match: {{ path: '/a%2Fb' }}, respond: {{ body: own }} {keys} }}"
        )
    };
    let refused = Gateway::builder(PROGRAM, config("")).run_to_exit().await;
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && errors.contains("`paths: { encoded_slash: keep }`"), "{errors}");
    let defaults = "\ndefaults: { paths: { encoded_slash: keep } }\nroutes:";
    for text in [config(", paths: { encoded_slash: keep }"), config("").replace("\nroutes:", defaults)] {
        let gateway = Gateway::builder(PROGRAM, text.clone()).start().await;
        assert_eq!(gateway.client("web").await.get("/a%2fb").await.text(), "own", "{text}");
    }
}

#[tokio::test]
async fn dot_segments_and_escapes_do_not_lead_around_a_route() {
    let origin = Origin::echo();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes:
  - {{ match: {{ prefix: /admin }}, respond: {{ status: 403 }} }}
  - {{ match: {{ prefix: / }}, upstream: {{ url: '{}' }} }}",
        origin.url()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for path in [
        "/admin",
        "/admin/x",
        "/public/../admin/x",
        "/./admin",
        "/%61dmin",
        "/%2e/admin",
        "/public/%2e%2e/%61%64min/x",
        "http://gateway.test/public/../admin",
    ] {
        assert_eq!(client.get(path).await.status, 403, "{path}");
    }
    for path in ["/public/..;/admin", "/public%2f..%2fadmin", "/public/..%5cadmin", "/public/..\\admin"] {
        assert_eq!(client.get(path).await.status, 400, "{path}");
    }
    assert_eq!(origin.requests(), []);
}

#[tokio::test]
async fn the_target_names_the_host_where_it_has_one() {
    let config = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
  - { match: { host: a.example.com }, respond: { body: a } }
  - { match: { host: '[::1]' }, respond: { body: six } }
  - { respond: { body: other } }";
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for (target, host, expected) in [
        ("/", "a.example.com", "a"),
        ("/", "a.example.com:81", "a"),
        ("/", "b.example.com", "other"),
        ("http://a.example.com/", "b.example.com", "a"),
        ("http://b.example.com/", "a.example.com", "other"),
        ("/", "[::1]:8080", "six"),
    ] {
        let response = client.request("GET", target, &[("host", host)], b"").await;
        assert_eq!(response.text(), expected, "{target} of {host}");
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    assert_eq!(http2.get("http://A.example.com/").await.body, b"a");
    assert_eq!(http2.get("http://b.example.com/").await.body, b"other");
}

#[tokio::test]
async fn connect_is_never_served() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    for target in ["example.com:443", "/", "http://example.com/"] {
        let mut client = gateway.client("web").await;
        client.send_raw(format!("CONNECT {target} HTTP/1.1\r\nHost: example.com:443\r\n\r\n")).await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.header("x-gateway-error")), (501, Some("request.method")));
    }
    assert_eq!(origin.accepted(), 0);
}
