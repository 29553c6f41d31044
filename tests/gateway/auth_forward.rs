//! Callers that another server decides about.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use support::http::Request;
use support::serde_json::{Value, from_str};
use support::{Client, Gate, Gateway, Http2Client, Origin, PATIENCE, Response, unused_address, wait_until};

use crate::gateway;

/// The settings of the way `w` that most tests have.
const USUAL: &str = "response_headers: [x-user, x-plan], identity: x-user";

/// Returns a response with these fields and this body.
fn answer(status: &str, fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in fields {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// A server that admits `Bearer NAME` as that caller, but for the names that stand for other answers.
fn server() -> Origin {
    Origin::respond(decide)
}

fn decide(request: &support::Request) -> Vec<u8> {
    let name = request.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match name {
        None => answer(
            "401 Unauthorized",
            &[
                ("www-authenticate", "Bearer realm=\"server\""),
                ("content-type", "text/html"),
                ("server", "own"),
            ],
            "<p>who?</p>",
        ),
        Some("banned") => answer("403 Forbidden", &[("cache-control", "no-store")], "go away"),
        Some("login") => answer("302 Found", &[("location", "/login"), ("set-cookie", "state=1")], ""),
        Some("slow-down") => answer("429 Too Many Requests", &[("retry-after", "7")], ""),
        Some("broken") => answer("500 Internal Server Error", &[], "a stack trace"),
        Some("unmodified") => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
        Some("garbage") => b"SSH-2.0-server\r\n\r\n".to_vec(),
        Some("large") => answer("401 Unauthorized", &[], &"x".repeat((64 << 10) + 1)),
        Some("largest") => answer("401 Unauthorized", &[], &"x".repeat(64 << 10)),
        Some("verbose") => answer("200 OK", &[("x-user", "verbose")], &"x".repeat(1 << 20)),
        Some("nameless") => answer("204 No Content", &[], ""),
        Some(name) => answer(
            "200 OK",
            &[
                ("x-user", name),
                ("x-plan", "gold"),
                ("x-plan", "new"),
                ("x-other", "1"),
                ("set-cookie", "seen=1"),
            ],
            "welcome",
        ),
    }
}

fn config(origin: &Origin, server: &str, way: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
auth:
  w: {{ forward: {{ to: server, path: '/verify?full=1', timeout: 10s, {way} }} }}
  keys: {{ api_key: {{ header: x-api-key, keys: keys.yaml }} }}
upstreams: {{ up: {{ url: '{}' }}, server: {{ url: '{server}' }} }}
routes:
  - {{ name: public, match: {{ path: /public }}, upstream: up }}
  - {{ name: either, match: {{ path: /either }}, upstream: up, auth: [w, keys] }}
  - {{ name: other, match: {{ path: /other }}, upstream: up, auth: [keys, w] }}
  - {{ name: both, match: {{ path: /both }}, upstream: up, auth: {{ all: [w, keys] }} }}
  - {{ name: gold, match: {{ path: /gold }}, upstream: up, auth: [w], require: {{ claims: {{ x-plan: ['gold, new'] }} }} }}
  - {{ name: limited, match: {{ path: /limited }}, upstream: up, auth: [w], rate_limit: {{ rate: 1/h, by: identity }} }}
  - {{ name: asked, upstream: up, auth: [w] }}",
        origin.url()
    )
}

/// The digest of `secret`.
const KEYS: &str =
    "[{ id: kim, key: 'sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b' }]";

async fn start(origin: &Origin, server: &Origin, way: &str) -> Gateway {
    gateway(config(origin, &server.url(), way)).file("keys.yaml", KEYS).start().await
}

async fn ask(client: &mut Client, path: &str, name: &str) -> Response {
    client.request("GET", path, &[("authorization", &format!("Bearer {name}"))], b"").await
}

fn reason(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-gateway-error").unwrap_or_default())
}

#[tokio::test]
async fn decision_is_that_of_the_server() {
    let (origin, server) = (Origin::echo(), server());
    let gateway = start(&origin, &server, USUAL).await;
    let mut client = gateway.client("web").await;
    for (name, expected, fields, body) in [
        ("ann", (200, ""), &[][..], 0),
        ("nameless", (200, ""), &[], 0),
        ("verbose", (200, ""), &[], 0),
        ("banned", (403, ""), &[("cache-control", "no-store")], 7),
        ("login", (302, ""), &[("location", "/login"), ("set-cookie", "state=1")], 0),
        ("slow-down", (429, ""), &[("retry-after", "7")], 0),
        ("largest", (401, ""), &[], 64 << 10),
        ("large", (503, "auth.forward"), &[], 13),
        ("broken", (503, "auth.forward"), &[], 13),
        ("unmodified", (503, "auth.forward"), &[], 13),
        ("garbage", (503, "auth.forward"), &[], 13),
    ] {
        let before = origin.requests().len();
        let response = ask(&mut client, "/asked", name).await;
        assert_eq!(reason(&response), expected, "{name}");
        for (field, value) in fields {
            assert_eq!(response.headers.all(field), [*value], "{name}");
        }
        assert!(!response.text().contains("stack"), "{name}");
        if response.status != 503 {
            assert_eq!(response.body.len(), body, "{name}");
        }
        assert_eq!(origin.requests().len() - before, usize::from(response.status == 200), "{name}");
    }
    let response = client.get("/asked").await;
    assert_eq!((response.status, &*response.text()), (401, "<p>who?</p>"));
    assert_eq!(response.headers.all("www-authenticate"), ["Bearer realm=\"server\""]);
    assert_eq!(response.header("content-type"), Some("text/html"));
    assert_eq!(response.header("server"), None);
    // The client can use its connection for further requests, also behind a body that the server does not see.
    let response = client.request("POST", "/asked", &[], b"a body").await;
    assert_eq!(response.status, 401);
    let response = client.request("HEAD", "/asked", &[], b"").await;
    assert_eq!((response.status, response.body.len()), (401, 0));
    assert_eq!(client.get("/public").await.status, 200);
    let errors = "gateway_request_errors_total{route=\"asked\",reason=\"auth.forward\"}";
    assert_eq!(gateway.metric(errors).await, Some(4.0));
    for reason in ["upstream.body", "status", "upstream.malformed"] {
        let line = gateway.wait_for_log(&format!("\"{reason}\"")).await;
        assert!(line.contains("requests are refused") && line.contains("\"w\""), "{line}");
    }
    let pool = gateway.pool_at("server", "").await;
    assert!(pool["acquired"].as_u64() >= Some(14), "{pool}");
}

#[tokio::test]
async fn server_is_told_about_the_request_and_never_gets_its_body() {
    let (origin, server) = (Origin::echo(), server());
    let way = "request_headers: [authorization, cookie, x-tenant], method: POST";
    let gateway = start(&origin, &server, way).await;
    let mut client = gateway.client("web").await;
    let fields = [
        ("host", "shop.test:8080"),
        ("authorization", "Bearer ann"),
        ("cookie", "a=1"),
        ("x-tenant", "t"),
        ("user-agent", "u"),
        ("x-forwarded-for", "10.9.9.9"),
        ("x-forwarded-uri", "/public"),
        ("x-original-url", "http://shop.test/public"),
        ("connection", "keep-alive, x-tenant"),
        ("te", "trailers"),
    ];
    let response = client.request("PUT", "/asked/../asked/b?q=%20", &fields, b"a body").await;
    assert_eq!(response.status, 200);
    assert_eq!(origin.requests()[0].body, b"a body");
    let question = server.requests().pop().unwrap();
    assert_eq!((&*question.method, &*question.target, question.body.len()), ("POST", "/verify?full=1", 0));
    for (name, value) in [
        ("host", server.addr().to_string().as_str()),
        ("authorization", "Bearer ann"),
        ("cookie", "a=1"),
        ("x-tenant", "t"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "shop.test:8080"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-method", "PUT"),
        ("x-forwarded-uri", "/asked/b?q=%20"),
        ("x-original-method", "PUT"),
        ("x-original-url", "http://shop.test:8080/asked/b?q=%20"),
    ] {
        assert_eq!(question.headers.all(name), [value], "{name}");
    }
    for name in ["user-agent", "expect", "te", "transfer-encoding", "connection"] {
        assert!(!question.headers.has(name), "{name}: {question:?}");
    }
    assert!(matches!(question.headers.get("content-length"), None | Some("0")));
    // A body that the client has not sent yet is not asked for.
    client
        .send_raw("POST /asked HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.read_response().await.status, 401);
    assert!(!server.requests().pop().unwrap().headers.has("expect"));
}

#[tokio::test]
async fn request_gets_the_fields_of_the_answer_and_none_of_the_client() {
    let server = server();
    let origin =
        Origin::answer("HTTP/1.1 200 OK\r\nset-cookie: own=1\r\nx-plan: own\r\ncontent-length: 0\r\n\r\n");
    let gateway = start(&origin, &server, &format!("{USUAL}, client_headers: [set-cookie, x-plan]")).await;
    let mut client = gateway.client("web").await;
    let forged = [("X-User", "root"), ("x_user", "root"), ("x-plan", "free"), ("connection", "x-user")];
    for (name, user, plans, cookies, own_plans) in [
        ("ann", &["ann"][..], &["gold", "new"][..], &["own=1", "seen=1"][..], &["gold", "new"][..]),
        ("nameless", &[], &[], &["own=1"], &["own"]),
    ] {
        let bearer = format!("Bearer {name}");
        let fields = [&forged[..], &[("authorization", &bearer)]].concat();
        let response = client.request("GET", "/asked", &fields, b"").await;
        assert_eq!((response.status, response.headers.all("set-cookie")), (200, cookies.to_vec()));
        assert_eq!(response.headers.all("x-plan"), own_plans);
        let sent = origin.requests().pop().unwrap().headers;
        assert_eq!((sent.all("x-user"), sent.all("x-plan")), (user.to_vec(), plans.to_vec()), "{name}");
        assert!(!sent.has("x_user") && !sent.has("x-other"), "{sent:?}");
        assert_eq!(sent.get("authorization"), Some(&*bearer), "the upstream may need it, too");
    }
    // Fields of the way are the gateway's also if another way knows the caller.
    let fields = [&forged[..], &[("x-api-key", "secret")]].concat();
    assert_eq!(client.request("GET", "/other", &fields, b"").await.status, 200);
    assert!(!origin.requests().pop().unwrap().headers.has("x-user"));
}

#[tokio::test]
async fn caller_is_known_to_logs_limits_and_requirements() {
    let (origin, server) = (Origin::echo(), server());
    let gateway = start(&origin, &server, USUAL).await;
    let mut client = gateway.client("web").await;
    assert_eq!(ask(&mut client, "/gold", "ann").await.status, 200);
    assert_eq!(reason(&ask(&mut client, "/gold", "verbose").await), (403, "require.claims"));
    let line: Value = from_str(&gateway.wait_for_stdout("\"identity\":\"ann\"").await).unwrap();
    assert_eq!(line["auth"], "w");
    for (name, status) in [("ann", 200), ("ben", 200), ("ann", 429)] {
        assert_eq!(ask(&mut client, "/limited", name).await.status, status, "{name}");
    }
}

#[tokio::test]
async fn way_goes_together_with_others() {
    let (origin, server) = (Origin::echo(), server());
    let gateway = start(&origin, &server, USUAL).await;
    let mut client = gateway.client("web").await;
    const KEY: (&str, &str) = ("x-api-key", "secret");
    const WRONG: (&str, &str) = ("x-api-key", "wrong");
    for (path, bearer, key, expected, questions) in [
        ("/either", "ann", None, (200, ""), 1),
        ("/either", "banned", Some(KEY), (200, ""), 1),
        ("/either", "banned", None, (403, ""), 1),
        ("/either", "broken", Some(KEY), (200, ""), 1),
        ("/either", "broken", Some(WRONG), (503, "auth.forward"), 1),
        ("/other", "ann", Some(KEY), (200, ""), 0),
        ("/other", "ann", Some(WRONG), (200, ""), 1),
        ("/other", "banned", Some(WRONG), (403, ""), 1),
        ("/both", "ann", Some(KEY), (200, ""), 1),
        ("/both", "ann", None, (401, "auth.required"), 1),
        ("/both", "banned", Some(KEY), (403, ""), 1),
        ("/both", "broken", Some(KEY), (503, "auth.forward"), 1),
    ] {
        let before = server.requests().len();
        let bearer = format!("Bearer {bearer}");
        let fields: Vec<(&str, &str)> = [("authorization", &*bearer)].into_iter().chain(key).collect();
        let response = client.request("GET", path, &fields, b"").await;
        assert_eq!(reason(&response), expected, "{path} {fields:?}");
        assert_eq!(server.requests().len() - before, questions, "{path} {fields:?}");
    }
}

#[tokio::test]
async fn request_passes_without_an_identity_if_the_server_is_away_and_the_way_is_open() {
    let origin = Origin::echo();
    let server = Origin::respond(|request| match request.headers.get("authorization") {
        Some("Bearer closing") => b"".to_vec(),
        _ => decide(request),
    });
    let gateway = start(&origin, &server, &format!("{USUAL}, on_error: open")).await;
    let mut client = gateway.client("web").await;
    for (path, name, expected) in [
        ("/asked", "broken", (200, "")),
        ("/asked", "closing", (200, "")),
        ("/asked", "banned", (403, "")),
        ("/either", "broken", (200, "")),
        ("/other", "broken", (200, "")),
        ("/both", "broken", (401, "auth.required")),
        ("/gold", "broken", (403, "require.claims")),
    ] {
        let fields = [("x-user", "root"), ("authorization", &format!("Bearer {name}"))];
        let response = client.request("GET", path, &fields, b"").await;
        assert_eq!(reason(&response), expected, "{path} {name}");
        if response.status == 200 {
            assert!(!origin.requests().pop().unwrap().headers.has("x-user"), "{path} {name}");
        }
    }
    assert!(gateway.wait_for_log("\"status\"").await.contains("requests are admitted"));
    // Another way of the route is tried in any case, and has the caller.
    let fields = [("authorization", "Bearer broken"), ("x-api-key", "secret")];
    for path in ["/both?known", "/either?known"] {
        assert_eq!(client.request("GET", path, &fields, b"").await.status, 200);
        let line = gateway.wait_for_stdout(&format!("\"target\":\"{path}\"")).await;
        assert!(line.contains("\"identity\":\"kim\""), "{line}");
    }
}

#[tokio::test]
async fn server_has_only_so_much_time() {
    let origin = Origin::echo();
    let silent = Origin::script(|mut connection| async move {
        connection.read_request().await;
        connection.wait_closed().await;
    });
    // Stops in the middle of the body.
    let stalling = Origin::script(|mut connection| async move {
        connection.read_request().await;
        connection.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nab").await;
        connection.wait_closed().await;
    });
    for (server, reason_in_log) in [
        (silent.url(), "timeouts.request"),
        (stalling.url(), "timeouts.request"),
        (format!("http://{}", unused_address()), "upstream.connect"),
    ] {
        for (on_error, expected) in [("closed", (503, "auth.forward")), ("open", (200, ""))] {
            let config = config(&origin, &server, &format!("on_error: {on_error}"));
            let config = config.replace("timeout: 10s", "timeout: 20ms");
            let gateway = gateway(config).file("keys.yaml", KEYS).start().await;
            let response = gateway.client("web").await.get("/asked").await;
            assert_eq!(reason(&response), expected, "{server} {on_error}");
            gateway.wait_for_log(&format!("\"{reason_in_log}\"")).await;
        }
    }
    silent.wait_for_open(0).await;
    stalling.wait_for_open(0).await;
}

/// The callers that the server was asked about, and how often.
fn asked(server: &Origin) -> Vec<String> {
    server
        .requests()
        .iter()
        .filter_map(|request| request.headers.get("authorization").map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn answer_is_remembered_for_its_caller_alone() {
    let (origin, server) = (Origin::echo(), server());
    for (cache, repeated, remembers_refusals) in [
        ("{ ttl: 1h, key: ['header:authorization', 'header:cookie'] }", 1, false),
        ("{ ttl: 1h, refusals: 1h, key: ['header:authorization', 'header:cookie'] }", 1, true),
        // All that the server is told is part of the key, the URL as well.
        ("{ ttl: 1h, refusals: 1h }", 2, true),
    ] {
        let gateway = start(&origin, &server, &format!("{USUAL}, cache: {cache}")).await;
        let mut client = gateway.client("web").await;
        let before = server.requests().len();
        let mut questions = 0;
        for (name, status, is_remembered) in [
            ("ann", 200, true),
            ("ben", 200, true),
            ("banned", 403, remembers_refusals),
            ("login", 302, false),
            ("broken", 503, false),
        ] {
            for path in ["/asked", "/asked", "/asked/b"] {
                let response = ask(&mut client, path, name).await;
                assert_eq!(response.status, status, "{cache} {name}");
                if status == 200 {
                    let sent = origin.requests().pop().unwrap().headers;
                    assert_eq!(sent.all("x-user"), [name]);
                    assert_eq!(sent.all("x-plan"), ["gold", "new"]);
                }
            }
            questions += if is_remembered { repeated } else { 3 };
            assert_eq!(server.requests().len() - before, questions, "{cache} {name}");
        }
        // Methods and hosts never share, and a request without credentials has no key.
        client.request("DELETE", "/asked", &[("authorization", "Bearer ann")], b"").await;
        client.request("GET", "/asked", &[("authorization", "Bearer ann"), ("host", "b")], b"").await;
        client.request("GET", "/asked", &[("authorization", "Bearer ann"), ("cookie", "a=1")], b"").await;
        client.get("/asked").await;
        client.get("/asked").await;
        assert_eq!(server.requests().len() - before, questions + 5, "{cache}");
    }
}

#[tokio::test]
async fn answer_is_forgotten_after_its_time() {
    let (origin, server) = (Origin::echo(), server());
    let cache = "cache: { ttl: 1ms, refusals: 1h, key: ['header:authorization', 'header:cookie'] }";
    let gateway = start(&origin, &server, cache).await;
    let mut client = gateway.client("web").await;
    let begun = Instant::now();
    while asked(&server).len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "asked once for all");
        assert_eq!(ask(&mut client, "/asked", "ann").await.status, 200);
    }
    // Refusals are remembered where that is asked for.
    for name in ["banned", "banned", "login", "login"] {
        ask(&mut client, "/asked", name).await;
    }
    let count = |name: &str| asked(&server).iter().filter(|asked| asked.ends_with(name)).count();
    assert_eq!((count("banned"), count("login")), (1, 2));
}

/// A server that waits at the gate before each answer.
fn gated() -> (Origin, Gate) {
    let gate = Gate::new();
    let script = gate.clone();
    let server = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                gate.pass().await;
                connection.write(decide(&request)).await;
            }
        }
    });
    (server, gate)
}

async fn wait_for_requests_in_flight(gateway: &Gateway, count: f64) {
    wait_until("the requests", async || {
        gateway.metric("gateway_requests_in_flight{route=\"asked\"}").await == Some(count)
    })
    .await;
}

#[tokio::test]
async fn many_equal_requests_at_once_are_one_question() {
    let origin = Origin::echo();
    let (server, gate) = gated();
    let cache = "cache: { ttl: 1h, key: ['header:authorization', 'cookie:a'] }";
    let config = format!("workers: 2\n{}", config(&origin, &server.url(), cache));
    let gateway = gateway(config).file("keys.yaml", KEYS).start().await;
    let statuses = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let (address, statuses) = (gateway.addr("web"), statuses.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let name = if number % 2 == 0 { "ann" } else { "login" };
                let expected = if number % 2 == 0 { 200 } else { 302 };
                assert_eq!(ask(&mut client, "/asked", name).await.status, expected);
                statuses.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    wait_for_requests_in_flight(&gateway, 64.0).await;
    gate.release_all();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(statuses.load(Ordering::Relaxed), 64);
    // The answer of the one is remembered, that of the other is not, and both were shared.
    assert_eq!(asked(&server).len(), 2, "{:?}", asked(&server));
}

#[tokio::test]
async fn question_outlives_the_client_that_was_first() {
    let origin = Origin::echo();
    let (server, gate) = gated();
    let cache = "cache: { ttl: 1h, key: ['header:authorization', 'cookie:a'] }";
    let gateway = start(&origin, &server, cache).await;
    let bytes = "GET /asked HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ann\r\n\r\n";
    let mut first = gateway.client("web").await;
    first.send_raw(bytes).await;
    gate.arrivals(1).await;
    let mut second = gateway.client("web").await;
    second.send_raw(bytes).await;
    wait_for_requests_in_flight(&gateway, 2.0).await;
    first.reset();
    gate.arrivals(2).await;
    gate.release_all();
    assert_eq!(second.read_response().await.status, 200);
}

#[tokio::test]
async fn http2_clients_and_upgrades_are_asked_about_as_well() {
    let origin = Origin::script(|mut connection| async move {
        while let Some(request) = connection.read_request().await {
            if !request.headers.has("upgrade") {
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                continue;
            }
            connection
                .write(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )
                .await;
            return connection.echo().await;
        }
    });
    let server = server();
    let gateway = start(&origin, &server, USUAL).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = |name: &str| {
        let request =
            Request::get("http://shop.test/asked?a").header("authorization", format!("Bearer {name}"));
        request.header("cookie", "a=1").header("cookie", "b=2").header("x-user", "root")
    };
    let response = client.request(request("ann").body("".into()).unwrap()).await;
    assert_eq!(response.status, 200);
    let question = server.requests().pop().unwrap().headers;
    assert_eq!(question.all("cookie"), ["a=1; b=2"]);
    assert_eq!(question.all("x-original-url"), ["http://shop.test/asked?a"]);
    assert_eq!(origin.requests().pop().unwrap().headers.all("x-user"), ["ann"]);
    let response = client.request(request("banned").body("".into()).unwrap()).await;
    assert_eq!((response.status.as_u16(), &*response.body), (403, &b"go away"[..]));

    for (name, status) in [("banned", "403"), ("ann", "101")] {
        let mut client = gateway.client("web").await;
        let request = format!(
            "GET /asked HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer {name}\r\n\r\n"
        );
        client.send_raw(request).await;
        assert!(client.read_head().await.first_line.contains(status), "{name}");
        let question = server.requests().pop().unwrap().headers;
        assert!(!question.has("upgrade") && !question.has("sec-websocket-key"), "{question:?}");
        if status == "101" {
            client.send_raw("hello").await;
            assert_eq!(client.read_exact(5).await, b"hello");
        }
    }
}

#[tokio::test]
async fn call_of_grpc_gets_a_status_and_no_page() {
    let (origin, server) = (Origin::echo(), server());
    let gateway = start(&origin, &server, USUAL).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    for (name, status) in [("banned", "7"), ("login", "16"), ("broken", "14")] {
        let call = Request::post("http://shop.test/asked").header("content-type", "application/grpc");
        let call = call.header("te", "trailers").header("authorization", format!("Bearer {name}"));
        let response = client.request(call.body("".into()).unwrap()).await;
        assert_eq!(
            (response.status.as_u16(), response.headers["grpc-status"].to_str().unwrap()),
            (200, status)
        );
    }
}

#[tokio::test]
async fn settings_change_with_a_reload_and_answers_outlive_others() {
    let (origin, server) = (Origin::echo(), server());
    let cache = "cache: { ttl: 1h, key: ['header:authorization', 'header:cookie'] }";
    let gateway = start(&origin, &server, cache).await;
    let mut client = gateway.client("web").await;
    assert_eq!(ask(&mut client, "/asked", "ann").await.status, 200);
    let pool = gateway.pool_at("server", "").await;
    // Another route, the same way.
    let before = config(&origin, &server.url(), cache);
    gateway.reload(&before.replace("name: public", "name: open")).await;
    assert_eq!(ask(&mut client, "/asked", "ann").await.status, 200);
    assert_eq!(asked(&server).len(), 1);
    // Another way: it asks on the same connections.
    gateway.reload(&before.replace("/verify?full=1", "/v2")).await;
    assert_eq!(ask(&mut client, "/asked", "ann").await.status, 200);
    assert_eq!(server.requests().last().unwrap().target, "/v2");
    assert_eq!((asked(&server).len(), server.accepted()), (2, 1));
    assert_eq!(gateway.pool_at("server", "").await["opened"], pool["opened"]);
    // Another server.
    let other = self::server();
    gateway.reload(&config(&origin, &other.url(), cache)).await;
    assert_eq!(ask(&mut client, "/asked", "ann").await.status, 200);
    assert_eq!(asked(&other).len(), 1);
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn mistakes_are_reported_with_their_remedy() {
    for (way, message, help) in [
        ("to: severs, path: /", "unknown upstream `severs`", "did you mean `servers`?"),
        ("to: 'http://a', path: /", "unknown upstream `http://a`", "add it to `upstreams`"),
        ("to: servers", "`path`", ""),
        ("to: servers, path: verify", "`verify` is not a path", "begins with `/`"),
        ("to: servers, path: /, request_headers: [host]", "`host` cannot be passed on", "X-Forwarded-Host"),
        ("to: servers, path: /, request_headers: [expect]", "`expect` cannot be passed on", "body"),
        ("to: servers, path: /, response_headers: [content-length]", "`content-length` cannot", "body"),
        ("to: servers, path: /, client_headers: [connection]", "`connection` cannot", "connection"),
        (
            "to: servers, path: /, cache: { ttl: 1s, key: ['header:authorization', path] }",
            "the key lacks `cookie`",
            "add `cookie:NAME`",
        ),
        (
            "to: servers, path: /, request_headers: [x-key], cache: { ttl: 1s, key: [path] }",
            "the key lacks `x-key`",
            "add `header:NAME`",
        ),
        ("to: servers, path: /, on_error: close", "close", "closed"),
    ] {
        let config = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\nupstreams: {{ servers: {{ url: 'http://127.0.0.1:1' }} }}\n\
             auth: {{ w: {{ forward: {{ {way} }} }} }}\nroutes: [{{ respond: {{}}, auth: [w] }}]"
        );
        let output = gateway(config).run_to_exit().await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(message) && text.contains(help), "{way}\n{text}");
    }
}

#[tokio::test]
async fn upstream_of_a_way_counts_as_used() {
    let (origin, server) = (Origin::echo(), server());
    let gateway = start(&origin, &server, "").await;
    assert!(!gateway.output().contains("used by no route"), "{}", gateway.output());
    let pools = gateway.pools().await;
    let names: BTreeSet<&str> = pools.iter().filter_map(|pool| pool["pool"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["server", "up"]));
}
