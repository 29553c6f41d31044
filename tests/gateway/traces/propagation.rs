//! The context of a trace on its way through the gateway, and what is recorded because of it.

use support::{Client, Origin, wait_until};

use super::receiver::Receiver;
use super::{CALLER, TRACE, builder, context, of_kind, start, to};
use crate::pooled::OK;
use crate::scripted::{pairs, scripted_with};

/// Returns the fields of a trace that the origin got last.
fn sent(origin: &Origin) -> (String, String) {
    let request = origin.requests().pop().unwrap();
    (request.headers.all("traceparent").join(" and "), request.headers.all("tracestate").join(" and "))
}

async fn get(client: &mut Client, fields: &[(&str, &str)]) {
    assert_eq!(client.request("GET", "/api", fields, b"").await.status, 200);
}

#[tokio::test]
async fn caller_decides_about_its_trace() {
    let receiver = Receiver::grpc();
    let origin = Origin::answer(OK);
    let gateway = start(&receiver, "sample: 0", &to(&origin.url())).await;
    let mut client = gateway.client("web").await;
    let state = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
    // Without a record, the upstream's parent is the caller, and no byte is changed.
    for flags in ["00", "02"] {
        get(&mut client, &[("traceparent", &context(flags)), ("tracestate", state)]).await;
        assert_eq!(sent(&origin), (context(flags), state.to_owned()));
    }
    get(&mut client, &[("traceparent", &context("01")), ("tracestate", state)]).await;
    let spans = receiver.wait_for_requests(1).await;
    let (server, attempt) = (of_kind(&spans, 2)[0], of_kind(&spans, 3)[0]);
    assert_eq!((&*server.trace_id, &*server.parent, &*server.state), (TRACE, CALLER, state));
    assert_eq!(sent(&origin), (format!("00-{TRACE}-{}-01", attempt.id), state.to_owned()));
}

#[tokio::test]
async fn invalid_context_begins_a_new_trace() {
    let receiver = Receiver::http();
    let origin = Origin::answer(OK);
    let gateway = start(&receiver, "sample: 0", &to(&origin.url())).await;
    let mut client = gateway.client("web").await;
    let (upper, zero) = (context("01").to_uppercase(), format!("00-{}-{CALLER}-01", "0".repeat(32)));
    let (newest, valid) = (format!("ff-{TRACE}-{CALLER}-01"), context("01"));
    for fields in [
        &[][..],
        &[("tracestate", "a=1")],
        &[("traceparent", ""), ("tracestate", "a=1")],
        &[("traceparent", &*upper), ("tracestate", "a=1")],
        &[("traceparent", &*zero), ("tracestate", "a=1")],
        &[("traceparent", &*newest)],
        &[("traceparent", &*valid), ("traceparent", &*valid), ("tracestate", "a=1")],
    ] {
        get(&mut client, fields).await;
        let (parent, state) = sent(&origin);
        let parts: Vec<&str> = parent.split('-').collect();
        assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "02"), "{parent} for {fields:?}");
        assert!(parts[1] != TRACE && parts[1].len() == 32 && parts[2].len() == 16, "{parent}");
        assert_eq!(state, "", "{fields:?}");
    }
    // A later version is read as far as it is known, and not written.
    get(&mut client, &[("traceparent", &format!("cc-{TRACE}-{CALLER}-08-more"))]).await;
    assert_eq!(sent(&origin).0, context("00"));
    get(&mut client, &[("traceparent", &valid)]).await;
    receiver.wait_for_requests(1).await;
}

#[tokio::test]
async fn untrusted_caller_decides_nothing_if_only_trusted_ones_may() {
    let origin = Origin::answer(OK);
    for (settings, trusted, is_continued) in [
        ("parents: trusted", "[]", false),
        ("parents: trusted", "[127.0.0.1]", true),
        ("parents: none", "[127.0.0.1]", false),
        ("parents: any", "[]", true),
    ] {
        let receiver = Receiver::http();
        let routes = format!("trusted_proxies: {trusted}\n{}", to(&origin.url()));
        let gateway = start(&receiver, &format!("sample: 0, {settings}"), &routes).await;
        let mut client = gateway.client("web").await;
        get(&mut client, &[("traceparent", &context("01")), ("tracestate", "a=1")]).await;
        let (parent, state) = sent(&origin);
        assert_eq!((parent.contains(TRACE), state == "a=1"), (is_continued, is_continued), "{settings}");
        if is_continued {
            receiver.wait_for_requests(1).await;
        }
    }
}

#[tokio::test]
async fn fields_pass_as_any_others_while_traces_are_off() {
    let origin = Origin::answer(OK);
    let gateway = builder("off", &to(&origin.url())).start().await;
    let mut client = gateway.client("web").await;
    for (parent, state) in [(&*context("01"), "a=1"), ("nonsense", ""), ("", "a=1")] {
        get(&mut client, &[("traceparent", parent), ("tracestate", state)]).await;
        assert_eq!(sent(&origin), (parent.to_owned(), state.to_owned()));
    }
    get(&mut client, &[]).await;
    assert_eq!(sent(&origin), (String::new(), String::new()));
    let line = gateway.wait_for_stdout("\"target\":\"/api\"").await;
    assert!(!line.contains("trace_id"), "{line}");
    assert!(!gateway.metrics().await.contains("gateway_traces"));
}

#[tokio::test]
async fn share_of_new_traces_is_recorded() {
    let receiver = Receiver::http();
    let gateway = start(&receiver, "sample: 0.5", "routes: [{ respond: {} }]").await;
    let mut client = gateway.client("web").await;
    for _ in 0..200 {
        client.get("/").await;
    }
    // All that come later are recorded, so the others have been exported before.
    let last = [("traceparent", &*context("01"))];
    client.request("GET", "/last", &last, b"").await;
    wait_until("the last request", async || {
        receiver.spans().iter().any(|span| span.attribute("url.path") == "/last")
    })
    .await;
    let recorded = receiver.spans().len() - 1;
    assert!((60..140).contains(&recorded), "{recorded} of 200");
}

#[tokio::test]
async fn failures_are_recorded_whatever_was_decided() {
    let receiver = Receiver::http();
    let routes = "routes: [{ match: { path: /fails }, respond: { status: 500 } }, \
                  { match: { path: /refuses }, respond: { status: 403 } }, { respond: {} }]";
    let gateway = start(&receiver, "sample: 0, errors: always", routes).await;
    let mut client = gateway.client("web").await;
    for path in ["/", "/refuses", "/fails"] {
        client.get(path).await;
    }
    client.request("GET", "/fails", &[("traceparent", &context("00"))], b"").await;
    let spans = receiver.wait_for_requests(2).await;
    assert!(spans.iter().all(|span| span.is_failed && span.attribute("url.path") == "/fails"), "{spans:#?}");
    assert_eq!((&*spans[1].trace_id, &*spans[1].parent, spans[1].flags & 1), (TRACE, CALLER, 0));
    assert_eq!(spans[0].attribute("error.type"), "500");
}

#[tokio::test]
async fn mirrored_requests_and_those_of_filters_belong_to_the_trace() {
    let receiver = Receiver::http();
    let (origin, mirror, side) = (Origin::answer(OK), Origin::answer(OK), Origin::answer(OK));
    let fields = pairs(&[(":method", "GET"), (":path", "/check"), (":authority", "side.test")]);
    let call =
        format!("(global.set $waiting (local.get 0))\nhttp_call side '{fields}' '' '' 5000 -> u32\nreturn 1");
    let module = scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0))",
        &[
            ("proxy_on_request_headers", &call),
            ("proxy_on_http_call_response", "(drop (call $set_context (global.get $waiting)))\ncontinue 0"),
        ],
    );
    let routes = format!(
        "
upstreams: {{ copy: {{ url: '{}' }}, side: {{ url: '{}' }} }}
filters: {{ asks: {{ wasm: asks.wasm }} }}
routes: [{{ match: {{ prefix: /api }}, upstream: {{ url: '{}' }}, mirror: {{ to: copy }}, filters: [asks] }}]",
        mirror.url(),
        side.url(),
        origin.url()
    );
    let traces = format!("{{ {} }}", receiver.settings());
    let gateway = builder(&traces, &routes).file("asks.wasm", module).start().await;
    get(&mut gateway.client("web").await, &[("traceparent", &context("01")), ("tracestate", "a=1")]).await;
    let spans = receiver.wait_for_requests(1).await;
    let server = of_kind(&spans, 2)[0];
    mirror.wait_for_requests(1).await;
    for other in [&mirror, &side] {
        assert_eq!(sent(other), (format!("00-{TRACE}-{}-01", server.id), "a=1".to_owned()));
    }
}

#[tokio::test]
async fn wishes_of_a_route_for_the_fields_come_first() {
    let receiver = Receiver::http();
    let origin = Origin::answer(OK);
    let own = format!("00-{}-{CALLER}-01", "1".repeat(32));
    for (edit, expected) in
        [("remove: [traceparent]", ""), (&*format!("set: {{ traceparent: {own} }}"), &*own)]
    {
        let routes = format!(
            "routes: [{{ upstream: {{ url: '{}' }}, headers: {{ request: {{ {edit} }} }} }}]",
            origin.url()
        );
        let gateway = start(&receiver, "", &routes).await;
        get(&mut gateway.client("web").await, &[]).await;
        assert_eq!(sent(&origin).0, expected);
    }
}
