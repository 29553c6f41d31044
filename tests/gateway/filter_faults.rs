//! Plugins that fail: whatever they do, in whichever callback, it is their exchange's end at most.

use support::{Client, Gate, Gateway, Origin, wait_until};

use crate::filter_report::report;
use crate::filtering::{configured, filtered};
use crate::pooled::OK;
use crate::scripted::{pairs, scripted_with};

/// Faults: WAT, and the reason that is counted.
const FAULTS: [(&str, &str); 8] = [
    ("(unreachable)", "trap"),
    ("(drop (i32.load (i32.const -4)))", "trap"),
    ("(drop (i32.div_u (i32.const 1) (global.get $nothing)))", "trap"),
    ("(call_indirect (i32.const 0))", "trap"),
    ("(call $proc_exit (i32.const 3))", "trap"),
    ("(loop $again (br $again))", "time"),
    (
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)",
        "memory",
    ),
    ("(drop (call $recurse (i32.const 1)))", "stack"),
];

/// The imports that the faults need.
const IMPORTS: &str = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))"#;
const DECLARATIONS: &str = r#"
(global $nothing (mut i32) (i32.const 0))
(table 1 funcref)
(func $recurse (param i32) (result i32) (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))"#;

/// A script that does something where the path has six bytes, as `/fault` has.
fn at_fault(action: &str) -> String {
    format!(
        "get_field 0 :path -> bytes
        (global.set $end (i32.const 0x10000))
        (if (i32.eq (i32.load (i32.const 0x8008)) (i32.const 6)) (then
        {action}
        ))"
    )
}

/// A plugin that changes the message and then fails in one callback, when the path says so.
fn failing(callback: &str, fault: &str) -> Vec<u8> {
    let action = format!(
        "set_field 0 x-changed yes
        set_field 2 x-changed yes
        set_field 1 x-changed yes
        set_field 3 x-changed yes
        set_buffer 0 0 0 changed-
        set_buffer 1 0 0 changed-
        {fault}"
    );
    scripted_with(IMPORTS, DECLARATIONS, &[(callback, &at_fault(&action))])
}

/// Failures of the filter `test` for a reason.
async fn failures(gateway: &Gateway, reason: &str) -> Option<f64> {
    gateway.metric(&format!("gateway_filter_failures_total{{filter=\"test\",reason=\"{reason}\"")).await
}

/// A request with a body and trailers, to an origin that answers with those.
async fn send(client: &mut Client, path: &str) {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send_raw(format!("{head}3\r\none\r\n3\r\ntwo\r\n0\r\nx-t: 1\r\n\r\n")).await;
}

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nup-\r\n6\r\nstream\r\n0\r\nx-t: 2\r\n\r\n";

/// The callbacks in which a request's filter may fail, and whether an answer can still say so.
const CALLBACKS: [(&str, bool); 10] = [
    ("proxy_on_context_create", true),
    ("proxy_on_request_headers", true),
    ("proxy_on_request_body", true),
    ("proxy_on_request_trailers", true),
    ("proxy_on_response_headers", true),
    ("proxy_on_response_body", true),
    ("proxy_on_response_trailers", false),
    ("proxy_on_done", false),
    ("proxy_on_log", false),
    ("proxy_on_delete", false),
];

#[tokio::test]
async fn a_failure_in_any_callback_is_the_end_of_its_request_and_of_no_other() {
    for (callback, tells) in CALLBACKS {
        let origin = Origin::answer(ANSWER);
        let gateway = filtered(&origin, &failing(callback, "(unreachable)"), "").await;
        let is_after_the_end = matches!(callback, "proxy_on_done" | "proxy_on_log" | "proxy_on_delete");
        for round in 1..=2 {
            let mut client = gateway.client("web").await;
            send(&mut client, "/fault").await;
            let response = client.try_read_response().await;
            match response {
                Ok(response) if tells => {
                    assert_eq!(
                        (response.status, response.header("x-gateway-error")),
                        (500, Some("filter.test.trap")),
                        "{callback}"
                    );
                }
                Ok(response) if is_after_the_end => assert_eq!(response.status, 200, "{callback}"),
                // It fails before the head has gone out.
                Ok(response) => assert_eq!(response.status, 500, "{callback}: {response:?}"),
                Err(error) => assert!(!tells && !is_after_the_end, "{callback}: {error}"),
            }
            wait_until("the count", async || failures(&gateway, "trap").await == Some(f64::from(round)))
                .await;
            // By a fresh instance.
            let mut client = gateway.client("web").await;
            for _ in 0..2 {
                send(&mut client, "/fine").await;
                let response = client.read_response().await;
                assert_eq!((response.status, response.text().as_str()), (200, "up-stream"), "{callback}");
                assert_eq!(response.trailers.all("x-t"), ["2"]);
            }
        }
        let line = gateway.wait_for_log("filter `test` failed").await;
        assert!(line.contains(&format!("ERROR filter `test` failed in `{callback}`: ")), "{line}");
        gateway.wait_for_log("reason=\"trap\"").await;
        assert_eq!(gateway.metric("gateway_filter_instances{filter=\"test\"}").await, Some(1.0));
    }
}

#[tokio::test]
async fn a_message_goes_on_as_it_was_where_the_filter_fails_open() {
    for (callback, _) in CALLBACKS {
        let origin = Origin::answer(ANSWER);
        let gateway = filtered(&origin, &failing(callback, "(unreachable)"), ", on_error: open").await;
        let mut client = gateway.client("web").await;
        for path in ["/fault", "/fine"] {
            send(&mut client, path).await;
            let response = client.read_response().await;
            assert_eq!((response.status, response.text().as_str()), (200, "up-stream"), "{callback}");
            assert_eq!(response.trailers.all("x-t"), ["2"], "{callback}");
            assert!(
                !response.headers.has("x-changed") && !response.trailers.has("x-changed"),
                "{callback}: {response:?}"
            );
        }
        for request in origin.requests() {
            assert_eq!(
                (&*request.body, request.trailers.all("x-t")),
                (&b"onetwo"[..], vec!["1"]),
                "{callback}"
            );
            assert!(!request.trailers.has("x-changed"), "{callback}");
            // A body callback may have changed the head before it is sent; that is for another day.
            if callback != "proxy_on_request_body" {
                assert!(!request.headers.has("x-changed"), "{callback}: {request:?}");
            }
        }
        wait_until("the count", async || failures(&gateway, "trap").await == Some(1.0)).await;
    }
}

#[tokio::test]
async fn each_kind_of_fault_has_its_reason_and_harms_no_other_request() {
    for (fault, reason) in FAULTS {
        for callback in ["proxy_on_request_headers", "proxy_on_response_body"] {
            let origin = Origin::answer(OK);
            let gateway = filtered(&origin, &failing(callback, fault), "").await;
            let mut client = gateway.client("web").await;
            for _ in 0..2 {
                let response = client.get("/fault").await;
                let expected = format!("filter.test.{reason}");
                assert_eq!(
                    (response.status, response.header("x-gateway-error")),
                    (500, Some(&*expected)),
                    "{fault}"
                );
                assert_eq!(client.get("/fine").await.text(), "ok", "{fault}");
            }
            assert_eq!(failures(&gateway, reason).await, Some(2.0), "{fault}");
        }
    }
}

#[tokio::test]
async fn each_kind_of_fault_is_logged_with_its_call_stack() {
    for ((fault, _), says) in FAULTS.into_iter().zip([
        "unreachable",
        "out of bounds memory access",
        "integer divide by zero",
        "uninitialized element",
        "it exited with code 3",
        "it took more than `limits.time`, 50ms of CPU time",
        "of memory, more than `limits.memory`, 32MiB",
        "call stack exhausted",
    ]) {
        let declarations =
            format!("{DECLARATIONS} (func $deep_inside {fault}) (func $further_out (call $deep_inside))");
        let script = at_fault("(call $further_out)");
        let module = scripted_with(IMPORTS, &declarations, &[("proxy_on_request_headers", &script)]);
        let gateway = filtered(&Origin::answer(OK), &module, "").await;
        gateway.client("web").await.get("/fault").await;
        let line = gateway.wait_for_log("filter `test` failed").await;
        assert!(line.contains(says), "{says} in {line}");
        assert!(line.contains("failed in `proxy_on_request_headers`"), "{line}");
        if !fault.contains("$recurse") {
            for function in ["deep_inside", "further_out", "proxy_on_request_headers"] {
                wait_until(&format!("{function} for {fault}"), async || {
                    gateway.logs().iter().any(|line| line.contains(&format!("!{function}")))
                })
                .await;
            }
        }
    }
}

#[tokio::test]
async fn every_failure_is_counted_and_logging_is_rate_limited() {
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &failing("proxy_on_request_headers", "(unreachable)"), "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..20 {
        assert_eq!(client.get("/fault").await.status, 500);
    }
    assert_eq!(failures(&gateway, "trap").await, Some(20.0));
    gateway.wait_for_log("filter `test` failed").await;
    assert_eq!(gateway.logs().iter().filter(|line| line.contains("filter `test` failed")).count(), 1);
    // A request is counted at its end, which is after the client has its answer.
    let counted = "gateway_request_errors_total{route=\"all\",reason=\"filter.test.trap\"";
    wait_until("all are counted", async || gateway.metric(counted).await == Some(20.0)).await;
}

#[tokio::test]
async fn a_failure_touches_no_request_that_is_under_way_elsewhere() {
    let config = "
workers: 1
filters: { test: { wasm: test.wasm }, other: { wasm: other.wasm } }
routes:
  - { name: test, match: { prefix: /test }, respond: { body: own }, filters: [test] }
  - { name: other, match: { prefix: /other }, upstream: { url: '{origin}' }, filters: [other] }
  - { name: bare, match: { prefix: /bare }, upstream: { url: '{origin}' } }";
    let gate = Gate::new();
    let origin = waiting(&gate);
    for (fault, _) in FAULTS {
        let test = scripted_with(IMPORTS, DECLARATIONS, &[("proxy_on_request_headers", fault)]);
        let other = scripted_with("", "", &[("proxy_on_response_body", "set_buffer 1 -1 0 '-other'")]);
        let gateway = configured(config, &[("test", &test), ("other", &other)])
            .set("origin", origin.url())
            .start()
            .await;
        let arrived = origin.requests().len();
        let mut clients = [gateway.client("web").await, gateway.client("web").await];
        for (client, path) in clients.iter_mut().zip(["/other", "/bare"]) {
            client.send_raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        }
        origin.wait_for_requests(arrived + 2).await;
        assert_eq!(gateway.client("web").await.get("/test").await.status, 500);
        gate.release();
        gate.release();
        assert_eq!(clients[0].read_response().await.text(), "ok-other", "{fault}");
        assert_eq!(clients[1].read_response().await.text(), "ok", "{fault}");
    }
}

/// An origin that answers each request when the gate lets it.
fn waiting(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection| {
        let gate = gate.clone();
        async move {
            while connection.read_request().await.is_some() {
                gate.pass().await;
                connection.write(OK).await;
            }
        }
    })
}

#[tokio::test]
async fn a_request_whose_part_of_the_filter_is_over_is_not_touched_by_the_end_of_the_instance() {
    // The filter has nothing to say about responses.
    let gate = Gate::new();
    let origin = waiting(&gate);
    let gateway = filtered(&origin, &failing("proxy_on_request_headers", "(unreachable)"), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /fine HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    assert_eq!(gateway.client("web").await.get("/fault").await.status, 500);
    gate.release_all();
    assert_eq!(client.read_response().await.text(), "ok");
}

#[tokio::test]
async fn a_request_that_the_ended_instance_holds_fails_as_the_filter_is_to_fail() {
    for (keys, status) in [("", 500), (", on_error: open", 200)] {
        let script = format!("{}\nset_field 0 x-changed yes\nreturn 1", at_fault("(unreachable)"));
        let module = scripted_with(IMPORTS, DECLARATIONS, &[("proxy_on_request_headers", &script)]);
        let origin = Origin::answer(OK);
        let gateway = filtered(&origin, &module, keys).await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let calls = async || gateway.metric("gateway_filter_calls_total{filter=\"test\"").await;
        wait_until("the pause", async || calls().await == Some(1.0)).await;
        assert_eq!(gateway.client("web").await.get("/fault").await.status, status);
        assert_eq!(client.read_response().await.status, status, "{keys}");
        // What the filter has made of it until then is not what it was.
        assert!(
            origin.requests().iter().all(|request| !request.headers.has("x-changed")),
            "{:?}",
            origin.requests()
        );
    }
}

#[tokio::test]
async fn failures_of_the_root_context_are_the_filters_as_well() {
    let config = "
workers: 1
upstreams: { side: { url: '{side}' } }
filters: { test: { wasm: test.wasm{keys} } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [test] }]";
    let fields = pairs(&[(":method", "GET"), (":path", "/"), (":authority", "a")]);
    let call = format!("http_call side '{fields}' '' '' 5000 -> u32\nreturn 1");
    let enqueue = "register_queue jobs -> u32\nenqueue 1 entry\nreturn 1";
    let tick = "set_tick 10\nreturn 1";
    for (callback, brings_about) in
        [("proxy_on_http_call_response", &*call), ("proxy_on_queue_ready", enqueue), ("proxy_on_tick", tick)]
    {
        for (keys, status) in [("", 500), (", on_error: open", 200)] {
            let module = scripted_with(
                IMPORTS,
                DECLARATIONS,
                &[("proxy_on_request_headers", &at_fault(brings_about)), (callback, "(unreachable)")],
            );
            let (origin, side) = (Origin::answer(OK), Origin::answer(OK));
            let builder = configured(config, &[("test", &module)]).set("keys", keys);
            let gateway = builder.set("origin", origin.url()).set("side", side.url()).start().await;
            let mut client = gateway.client("web").await;
            for count in 1..=2 {
                let response = client.get("/fault").await;
                assert_eq!(response.status, status, "{callback} {keys}");
                assert_eq!(client.get("/fine").await.status, 200, "{callback} {keys}");
                assert_eq!(failures(&gateway, "trap").await, Some(f64::from(count)), "{callback} {keys}");
            }
            gateway.wait_for_log(&format!("filter `test` failed in `{callback}`")).await;
        }
    }
}

#[tokio::test]
async fn a_plugin_with_only_a_root_context_is_reported_as_no_filter() {
    let module = scripted_with(
        "",
        "",
        &[("proxy_on_context_create", "(if (i32.ne (local.get 0) (i32.const 1)) (then (unreachable)))")],
    );
    let gateway = filtered(&Origin::answer(OK), &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 500);
    let line = gateway.wait_for_log("filter `test` failed").await;
    assert!(line.contains("a plugin that has only a root context cannot be a filter"), "{line}");
}

#[tokio::test]
async fn an_instance_that_cannot_be_started_is_tried_again_after_a_while() {
    // The second start of those that share data fails: the first one's instance ends by a request.
    let configure = "
        get_shared starts -> bytes u32
        (if (i32.eqz (i32.load (i32.const 0x8008))) (then
        set_shared starts '1' 0
        ) (else (if (i32.eq (i32.load8_u (i32.load (i32.const 0x8000))) (i32.const 49)) (then
        set_shared starts '2' 0
        return 0
        ))))";
    for (keys, failed) in [("", 500), (", on_error: open", 200)] {
        let script = at_fault("(unreachable)");
        let module = scripted_with(
            IMPORTS,
            DECLARATIONS,
            &[
                ("proxy_on_configure", configure),
                ("proxy_on_request_headers", &format!("{script}\nset_field 0 x-filtered yes")),
            ],
        );
        let origin = Origin::answer(OK);
        let gateway = filtered(&origin, &module, keys).await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/fine").await.status, 200);
        assert_eq!(client.get("/fault").await.status, failed);
        for _ in 0..2 {
            let response = client.get("/fine").await;
            assert_eq!(response.status, failed, "{keys}");
            if failed == 500 {
                assert_eq!(response.header("x-gateway-error"), Some("filter.test.start"));
            }
        }
        assert_eq!(failures(&gateway, "start").await, Some(2.0));
        let line = gateway.wait_for_log("the filter cannot be started").await;
        assert!(line.contains("`proxy_on_configure` returned false"), "{line}");
        // The requests that came before the next start have no better reason.
        let failure = report(&gateway).await["last_failure"].clone();
        assert_eq!(
            (&failure["reason"], &failure["text"]),
            (&"start".into(), &"`proxy_on_configure` returned false".into())
        );
        wait_until("the next start", async || {
            gateway.client("web").await.get("/fine").await;
            failures(&gateway, "start").await > Some(2.0)
                && gateway.metric("gateway_filter_instances{filter=\"test\"}").await == Some(1.0)
        })
        .await;
        assert_eq!(client.get("/fine").await.status, 200);
        assert!(origin.requests().last().unwrap().headers.has("x-filtered"));
    }
}
