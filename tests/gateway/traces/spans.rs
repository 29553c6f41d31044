//! The spans of requests.

use support::serde_json::{Value, from_str};
use support::{
    Certificates, DnsFailure, DnsServer, Gate, Http2Client, Http2Exchange, Origin, unused_address, wait_until,
};

use super::receiver::Receiver;
use super::{CALLER, TRACE, context, named, of_kind, start, to};
use crate::pooled::{self, OK};
use crate::scripted::scripted;

const FAILURE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn request_has_spans_for_itself_its_attempt_and_its_connection() {
    let receiver = Receiver::grpc();
    let origin = Origin::answer(OK);
    let gateway = start(
        &receiver,
        "service: edge, resource: { deployment.environment.name: test }",
        &to(&origin.url()),
    )
    .await;
    let mut client = gateway.client("web").await;
    let fields = [("host", "shop.test:8080"), ("user-agent", "test/1")];
    assert_eq!(client.request("GET", "/api/a?token=secret", &fields, b"").await.status, 200);
    let spans = receiver.wait_for_requests(1).await;
    let (server, attempt, connect) =
        (named(&spans, "GET /api/*"), named(&spans, "GET"), named(&spans, "connect"));
    assert_eq!((server.kind, attempt.kind, connect.kind), (2, 3, 1));
    assert_eq!((&*server.parent, &attempt.parent, &connect.parent), ("", &server.id, &attempt.id));
    assert!(server.lasts(attempt) && attempt.lasts(connect) && connect.ended > connect.began, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace_id == server.trace_id && !span.is_failed));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/api/a"),
        ("url.query", "-"),
        ("http.route", "/api/*"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "2"),
        ("server.address", "shop.test"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test/1"),
        ("error.type", "-"),
        ("gateway.listener", "web"),
        ("gateway.route", "up"),
    ] {
        assert_eq!(server.attribute(name), value, "{name}");
    }
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.full", &*format!("{}/api/a", origin.url())),
        ("server.address", "127.0.0.1"),
        ("server.port", &*origin.addr().port().to_string()),
        ("network.peer.address", "127.0.0.1"),
        ("network.peer.port", &*origin.addr().port().to_string()),
        ("http.response.status_code", "200"),
        ("http.request.resend_count", "-"),
        ("gateway.endpoint", &*origin.url()),
        ("gateway.connection_reused", "false"),
    ] {
        assert_eq!(attempt.attribute(name), value, "{name}");
    }
    assert!(!format!("{spans:?}").contains("secret"), "no query is recorded");
    assert_eq!(server.resource["service.name"], "edge");
    assert_eq!(server.resource["deployment.environment.name"], "test");
    // The upstream's spans are below the attempt's.
    let sent = origin.requests()[0].headers.get("traceparent").unwrap().to_owned();
    assert_eq!(sent, format!("00-{}-{}-03", server.trace_id, attempt.id));

    client.get("/api/b").await;
    let spans = receiver.wait_for_requests(2).await;
    let second = spans.iter().rfind(|span| span.kind == 3).unwrap();
    assert_eq!(second.attribute("gateway.connection_reused"), "true");
    assert_eq!(spans.iter().filter(|span| span.name == "connect").count(), 1, "{spans:#?}");
}

#[tokio::test]
async fn handshake_is_a_part_of_the_connection() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
    let receiver = Receiver::http();
    let routes = format!(
        "routes: [{{ upstream: {{ url: '{}', tls: {{ ca: '{}' }} }} }}]",
        origin.url(),
        certificates.ca().display()
    );
    let gateway = start(&receiver, "", &routes).await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    let spans = receiver.wait_for_requests(1).await;
    let (connect, handshake) = (named(&spans, "connect"), named(&spans, "tls handshake"));
    assert_eq!(handshake.parent, connect.id);
    assert!(connect.lasts(handshake) && handshake.ended > handshake.began, "{spans:#?}");
}

#[tokio::test]
async fn each_attempt_has_a_span_and_its_own_context() {
    let receiver = Receiver::http();
    let (failing, good) = (Origin::answer(FAILURE), Origin::answer(OK));
    let away = unused_address();
    let routes = format!(
        "routes: [{{ upstream: {{ endpoints: ['http://{away}', '{}', '{}'], balance: round_robin }}, \
         retry: {{ attempts: 3, on: [connect, 503], backoff: 1ms }} }}]",
        failing.url(),
        good.url()
    );
    let gateway = start(&receiver, "", &routes).await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.request("GET", "/", &[("traceparent", &context("01"))], b"").await.status, 200);
    let spans = receiver.wait_for_requests(1).await;
    let attempts = of_kind(&spans, 3);
    let shown: Vec<_> = attempts
        .iter()
        .map(|span| {
            let names = ["error.type", "http.response.status_code", "http.request.resend_count"];
            (span.is_failed, names.map(|name| span.attribute(name)))
        })
        .collect();
    assert_eq!(
        shown,
        [(true, ["upstream.connect", "-", "-"]), (true, ["503", "503", "1"]), (false, ["-", "200", "2"]),],
        "{spans:#?}"
    );
    let connect = spans.iter().find(|span| span.parent == attempts[0].id).unwrap();
    assert_eq!((&*connect.name, connect.attribute("error.type")), ("connect", "upstream.connect"));
    for (origin, attempt) in [(&failing, attempts[1]), (&good, attempts[2])] {
        let sent = origin.requests()[0].headers.all("traceparent").join(" and ");
        assert_eq!(sent, format!("00-{TRACE}-{}-01", attempt.id));
    }
    let server = of_kind(&spans, 2)[0];
    assert_eq!((&*server.trace_id, &*server.parent, server.is_failed), (TRACE, CALLER, false));
    assert_eq!(server.flags, 0x301, "its parent is elsewhere");
    assert!(attempts.iter().all(|attempt| attempt.flags == 0x101 && attempt.parent == server.id));
}

#[tokio::test]
async fn second_attempt_beside_a_slow_one_has_a_span_beside_it() {
    let receiver = Receiver::http();
    let gate = Gate::new();
    let (slow, quick) = (pooled::gated(&gate), Origin::answer(OK));
    let routes = format!(
        "routes: [{{ upstream: {{ endpoints: ['{}', '{}'], balance: round_robin }}, hedge: {{ after: 20ms }} }}]",
        slow.url(),
        quick.url()
    );
    let gateway = start(&receiver, "", &routes).await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    let spans = receiver.wait_for_requests(1).await;
    let attempts = of_kind(&spans, 3);
    assert_eq!(attempts.len(), 2, "{spans:#?}");
    let (overtaken, won) = (attempts[0], attempts[1]);
    assert_eq!(overtaken.attribute("error.type"), "hedge.overtaken");
    assert_eq!((won.attribute("gateway.hedge"), won.attribute("http.response.status_code")), ("true", "200"));
    assert!(overtaken.began < won.began && won.began < overtaken.ended);
    let sent = quick.requests()[0].headers.get("traceparent").unwrap().to_owned();
    assert!(sent.contains(&won.id), "{sent} is not of {won:?}");
    gate.release_all();
}

#[tokio::test]
async fn response_that_streams_ends_its_spans_with_its_last_byte() {
    let receiver = Receiver::http();
    let gate = Gate::new();
    let of_origin = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = of_origin.clone();
        async move {
            connection.read_request().await.unwrap();
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na").await;
            gate.pass().await;
            connection.write("b").await;
        }
    });
    let gateway = start(&receiver, "", &to(&origin.url())).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /api HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_head().await;
    gate.arrivals(1).await;
    assert!(receiver.exports().is_empty(), "it has not ended");
    gate.release();
    client.read_exact(2).await;
    let spans = receiver.wait_for_requests(1).await;
    let (server, attempt) = (of_kind(&spans, 2)[0], of_kind(&spans, 3)[0]);
    assert_eq!(server.ended, attempt.ended);
}

#[tokio::test]
async fn failures_are_shown_and_client_errors_are_no_failures_of_the_server() {
    let receiver = Receiver::http();
    let origin = Origin::answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let routes = format!(
        "routes: [{{ name: up, match: {{ prefix: /api }}, upstream: {{ url: '{}' }} }}, \
         {{ name: away, match: {{ template: '/users/{{id}}' }}, upstream: {{ url: 'http://{}' }} }}]",
        origin.url(),
        unused_address()
    );
    let gateway = start(&receiver, "", &routes).await;
    let mut client = gateway.client("web").await;
    for (path, status) in [("/api", 404), ("/users/7", 503), ("/none", 404)] {
        assert_eq!(client.get(path).await.status, status);
    }
    let spans = receiver.wait_for_requests(3).await;
    let shown: Vec<_> = of_kind(&spans, 2)
        .into_iter()
        .map(|span| {
            let names = ["http.response.status_code", "error.type", "gateway.route"];
            (&*span.name, span.is_failed, names.map(|name| span.attribute(name)))
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("GET /api/*", false, ["404", "-", "up"]),
            ("GET /users/{id}", true, ["503", "upstream.connect", "away"]),
            ("GET", false, ["404", "route.none", "-"]),
        ]
    );
    let attempt = of_kind(&spans, 3)[0];
    assert_eq!((attempt.is_failed, attempt.attribute("error.type")), (true, "404"));
}

#[tokio::test]
async fn method_that_nothing_knows_gives_names_and_attributes_no_new_values() {
    let receiver = Receiver::http();
    let gateway = start(&receiver, "", "routes: [{ respond: {} }]").await;
    gateway.client("web").await.request("BREW", "/", &[], b"").await;
    let spans = receiver.wait_for_requests(1).await;
    let span = named(&spans, "HTTP");
    assert_eq!(span.attribute("http.request.method"), "_OTHER");
    assert_eq!(span.attribute("http.request.method_original"), "BREW");
}

#[tokio::test]
async fn policies_that_wait_and_filters_have_spans() {
    let receiver = Receiver::http();
    let (gate, origin) = (Gate::new(), Origin::answer(OK));
    let authority = pooled::gated(&gate);
    let routes = format!(
        "
upstreams: {{ authority: {{ url: '{}' }} }}
auth: {{ w: {{ forward: {{ to: authority, path: /verify }} }} }}
filters: {{ upper: {{ wasm: upper.wasm }} }}
routes:
  - name: up
    upstream: {{ url: '{}' }}
    auth: [w]
    rate_limit: {{ rate: 10/s, burst: 1, queue: 5s, by: route }}
    filters: [upper]",
        authority.url(),
        origin.url()
    );
    let traces = format!("{{ {} }}", receiver.settings());
    let module = scripted(&[("proxy_on_response_headers", "field x-seen")]);
    let gateway = super::builder(&traces, &routes).file("upper.wasm", module).start().await;
    gate.release_all();
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let spans = receiver.wait_for_requests(2).await;
    let requests = of_kind(&spans, 2);
    for request in &requests {
        let below: Vec<&str> = spans
            .iter()
            .filter(|span| span.parent == request.id && request.lasts(span) && span.kind == 1)
            .map(|span| &*span.name)
            .collect();
        assert!(below.contains(&"auth"), "{below:?}");
        assert!(below.contains(&"filter upper response"), "{below:?}");
    }
    let queued = spans.iter().find(|span| span.name == "rate_limit").unwrap();
    assert_eq!(queued.parent, requests[1].id);
    // The server that decides belongs to the same trace.
    let asked = authority.requests()[0].headers.get("traceparent").unwrap().to_owned();
    assert_eq!(asked, format!("00-{}-{}-03", requests[0].trace_id, requests[0].id));
}

#[tokio::test]
async fn wait_for_addresses_has_a_span_also_if_the_client_leaves_meanwhile() {
    let dns = DnsServer::start().await;
    dns.fail("api.internal", &["A", "AAAA"], DnsFailure::Silence);
    let receiver = Receiver::http();
    let routes = format!(
        "dns: {{ servers: ['{}'], search: [] }}\n\
         routes: [{{ name: up, upstream: {{ url: 'http://api.internal' }}, timeouts: {{ connect: 100ms }} }}]",
        dns.addr()
    );
    let gateway = start(&receiver, "", &routes).await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 503);
    let spans = receiver.wait_for_requests(1).await;
    let (server, wait) = (of_kind(&spans, 2)[0], named(&spans, "resolve"));
    assert_eq!((wait.kind, &wait.parent), (1, &server.id));
    assert!(server.lasts(wait) && wait.ended > wait.began, "{spans:#?}");
    drop(gateway);

    let receiver = Receiver::http();
    let gateway = start(&receiver, "", &routes.replace("100ms", "100s")).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let in_flight = "gateway_requests_in_flight{route=\"up\"}";
    wait_until("the request", async || gateway.metric(in_flight).await == Some(1.0)).await;
    drop(client);
    let spans = receiver.wait_for_requests(1).await;
    let wait = named(&spans, "resolve");
    assert_eq!((wait.attribute("error.type"), wait.is_failed), ("client.closed", true));
}

#[tokio::test]
async fn calls_of_grpc_have_their_status_and_http_2_its_version() {
    let receiver = Receiver::grpc();
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        let head = support::http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "13")
            .body(())
            .unwrap();
        exchange.responder.send_response(head, true).unwrap();
    });
    let routes = format!("routes: [{{ upstream: {{ url: '{}', protocol: h2 }} }}]", origin.url());
    let gateway = start(&receiver, "", &routes).await;
    let call = support::http::Request::post("http://a.test/s.S/M").header("content-type", "application/grpc");
    let call = call.header("te", "trailers").body(Default::default()).unwrap();
    Http2Client::connect(gateway.addr("web")).await.request(call).await;
    let spans = receiver.wait_for_requests(1).await;
    let span = of_kind(&spans, 2)[0];
    assert!(span.is_failed);
    for (name, value) in [
        ("rpc.system", "grpc"),
        ("rpc.grpc.status_code", "13"),
        ("network.protocol.version", "2"),
        ("http.response.status_code", "200"),
        ("server.address", "a.test"),
    ] {
        assert_eq!(span.attribute(name), value, "{name}");
    }
}

#[tokio::test]
async fn logs_name_the_trace_and_the_span() {
    let receiver = Receiver::http();
    let routes = format!("routes: [{{ upstream: {{ url: 'http://{}' }} }}]", unused_address());
    let gateway = start(&receiver, "", &routes).await;
    let mut client = gateway.client("web").await;
    client.request("GET", "/recorded", &[("traceparent", &context("01"))], b"").await;
    client.request("GET", "/other", &[("traceparent", &context("00"))], b"").await;
    let spans = receiver.wait_for_requests(1).await;
    let line = async |target: &str| -> Value {
        from_str(&gateway.wait_for_stdout(&format!(r#""target":"{target}"#)).await).unwrap()
    };
    let (recorded, other) = (line("/recorded").await, line("/other").await);
    assert_eq!(
        (&recorded["trace_id"], &recorded["span_id"]),
        (&TRACE.into(), &of_kind(&spans, 2)[0].id.clone().into())
    );
    assert_eq!((&other["trace_id"], &other["span_id"]), (&TRACE.into(), &Value::Null));
    let warning = gateway.wait_for_log("request failed").await;
    assert!(warning.contains(TRACE), "{warning}");
}

#[tokio::test]
async fn durations_have_the_last_trace_of_their_bucket_as_exemplar() {
    let receiver = Receiver::http();
    let routes = "routes: [{ name: 'a \"b', match: { path: /a }, respond: {} }, { name: c, respond: {} }]";
    let gateway = start(&receiver, "", routes).await;
    let mut client = gateway.client("web").await;
    for (path, flags) in [("/a", "01"), ("/c", "00")] {
        client.request("GET", path, &[("traceparent", &context(flags))], b"").await;
    }
    receiver.wait_for_requests(1).await;
    let metrics = gateway.metrics().await;
    let exemplars: Vec<&str> = metrics.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(exemplars.len(), 1, "{metrics}");
    let (series, exemplar) = exemplars[0].split_once(" # ").unwrap();
    assert!(series.starts_with("gateway_request_duration_seconds_bucket{le=\""), "{series}");
    assert!(series.ends_with(r#",route="a \"b"} 1"#), "{series}");
    let parts: Vec<&str> = exemplar.split(' ').collect();
    assert_eq!(parts[0], format!("{{trace_id=\"{TRACE}\"}}"));
    assert!(parts.len() == 3 && parts[1..].iter().all(|number| number.parse::<f64>().is_ok()), "{exemplar}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}
