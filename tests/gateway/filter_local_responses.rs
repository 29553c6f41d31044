//! Local responses: which filters see them on their way to the client, and what those may make of them.

use support::bytes::Bytes;
use support::{Gateway, Http2Client, Origin, http};

use crate::filter_script::{
    CONTINUE, KEEP, KEPT, PAUSE, RESPONSE, RESPONSE_BODY, call, notes, on, replace, respond, resumed_by_tick,
    script, set, tracing, when,
};
use crate::filtering::configured;

/// A gateway whose requests go through these filters, by their names; each may call `side`. `keys` are those of all.
async fn with_filters(filters: &[(&str, &[u8])], keys: &str) -> (Gateway, Origin, Origin) {
    let (origin, side) = (Origin::echo(), Origin::echo());
    let declared: String =
        filters.iter().map(|(name, _)| format!("  {name}: {{ wasm: {name}.wasm{keys} }}\n")).collect();
    let names: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
    let config = format!(
        "
workers: 1
upstreams: {{ side: {{ url: '{}' }} }}
filters:
{declared}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [{}] }}]",
        side.url(),
        origin.url(),
        names.join(", ")
    );
    (configured(&config, filters).start().await, origin, side)
}

/// A filter that adds a field to responses, and notes that by its name.
fn adding(name: &str) -> Vec<u8> {
    let add = format!("(drop (call $add_field {RESPONSE} 'x-seen' '{name}'))");
    script(&on(
        "response_headers",
        &format!("(call $note '{name}' (i32.const 0) (local.get $end)) {add} {CONTINUE}"),
    ))
}

/// A filter that sends a local response in a callback, and adds a field to responses.
fn making(callback: &str, code: &str) -> Vec<u8> {
    let add = format!(
        "(call $note 'maker' (i32.const 0) (local.get $end)) (drop (call $add_field {RESPONSE} 'x-seen' 'maker')) {CONTINUE}"
    );
    script(&[on(callback, code), on("response_headers", &add)].concat())
}

async fn post(gateway: &Gateway) -> support::Response {
    gateway.client("web").await.request("POST", "/", &[], b"hello").await
}

#[tokio::test]
async fn a_local_response_passes_the_filters_that_the_request_has_passed_and_its_maker() {
    let answer = format!("{} {PAUSE}", respond(403, "no"));
    for callback in ["request_headers", "request_body"] {
        let filters = [
            ("a", adding("a")),
            ("b", adding("b")),
            ("maker", making(callback, &answer)),
            ("behind", adding("behind")),
        ];
        let filters = filters.each_ref().map(|(name, module)| (*name, &**module));
        let (gateway, origin, _side) = with_filters(&filters, "").await;
        // A body comes once the head has gone through all of them.
        let seen: &[&str] = match callback {
            "request_headers" => &["maker", "b", "a"],
            _ => &["behind", "maker", "b", "a"],
        };
        for round in 1..=2 {
            let response = post(&gateway).await;
            assert_eq!((response.status, response.text().as_str()), (403, "no"), "{callback}");
            assert_eq!(response.headers.all("x-seen"), seen, "{callback}");
            assert_eq!(response.headers.all("content-length"), ["2"], "{callback}");
            let noted: Vec<String> = seen.iter().map(|name| format!("{name} 0 0")).collect();
            assert_eq!(notes(&gateway, round * seen.len()).await, vec![noted; round].concat(), "{callback}");
        }
        let mut http2 = Http2Client::connect(gateway.addr("web")).await;
        let request = http::Request::post("http://gateway.test/").body(Bytes::from_static(b"hello"));
        let response = http2.request(request.unwrap()).await;
        assert_eq!((response.status.as_u16(), &response.body[..]), (403, &b"no"[..]), "{callback}");
        assert_eq!(response.headers.get_all("x-seen").iter().count(), seen.len(), "{callback}");
        assert_eq!(origin.requests().len(), 0, "{callback}");
    }
}

#[tokio::test]
async fn a_preflight_that_one_filter_answers_gets_the_fields_that_another_one_adds() {
    let cors = set(RESPONSE, "access-control-allow-origin", "*");
    let cors = script(&on("response_headers", &format!("{cors} {CONTINUE}")));
    let answering = script(&on("request_headers", &format!("{} {PAUSE}", respond(204, ""))));
    let (gateway, _origin, _side) = with_filters(&[("cors", &cors), ("answering", &answering)], "").await;
    let response = gateway.client("web").await.request("OPTIONS", "/", &[], b"").await;
    assert_eq!((response.status, response.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!((response.header("content-length"), response.body.len()), (None, 0));
}

#[tokio::test]
async fn a_local_response_to_a_calls_answer_or_in_a_tick_passes_filters_too() {
    let maker = |code: &str| {
        format!(
            "{} {}",
            on(
                "response_headers",
                &format!("(drop (call $add_field {RESPONSE} 'x-seen' 'maker')) {CONTINUE}")
            ),
            code
        )
    };
    let back = format!("(drop (call $set_context (global.get $kept))) {}", respond(403, "no"));
    // While the request is held, and while the upstream is waited for.
    for (action, requests) in [(PAUSE, 0), (CONTINUE, 1)] {
        let by_call = maker(&format!(
            "{KEPT} {} {}",
            on("request_headers", &format!("{KEEP} {} {action}", call("/check", 5000))),
            when("http_call_response", 5, &back)
        ));
        let (gateway, origin, _side) = {
            let silent = Origin::script(|mut connection| async move {
                connection.read_request().await;
                connection.wait_closed().await;
            });
            let side = Origin::echo();
            let config = format!(
                "
workers: 1
upstreams: {{ side: {{ url: '{}' }} }}
filters: {{ a: {{ wasm: a.wasm }}, maker: {{ wasm: maker.wasm }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [a, maker] }}]",
                side.url(),
                silent.url()
            );
            let (a, maker) = (adding("a"), script(&by_call));
            (configured(&config, &[("a", &a), ("maker", &maker)]).start().await, silent, side)
        };
        let response = post(&gateway).await;
        assert_eq!((response.status, response.text().as_str()), (403, "no"), "{action}");
        assert_eq!(response.headers.all("x-seen"), ["maker", "a"], "{action}");
        assert!(origin.requests().len() <= requests, "{action}");
    }
    let ticking = maker(&format!(
        "{} {}",
        resumed_by_tick(0, &back),
        on("request_headers", &format!("{KEEP} {PAUSE}"))
    ));
    let (gateway, _origin, _side) =
        with_filters(&[("a", &adding("a")), ("maker", &script(&ticking))], "").await;
    let response = post(&gateway).await;
    assert_eq!((response.status, response.headers.all("x-seen")), (403, vec!["maker", "a"]));
}

#[tokio::test]
async fn a_local_response_in_the_place_of_a_response_goes_out_as_it_is() {
    for callback in ["response_headers", "response_body"] {
        let maker = script(&on(callback, &format!("{} {PAUSE}", respond(403, "no"))));
        // Responses come to `behind` first, and never to `a`.
        let (gateway, _origin, _side) =
            with_filters(&[("a", &adding("a")), ("maker", &maker), ("behind", &adding("behind"))], "").await;
        let response = post(&gateway).await;
        assert_eq!((response.status, response.text().as_str()), (403, "no"), "{callback}");
        let before: &[&str] =
            if callback == "response_headers" { &["behind 0 0"] } else { &["behind 0 0", "a 0 0"] };
        assert_eq!(response.headers.all("x-seen"), [""; 0], "{callback}");
        assert_eq!(notes(&gateway, before.len()).await, before, "{callback}");
    }
}

#[tokio::test]
async fn a_local_response_to_a_local_response_goes_out_as_it_is() {
    for callback in ["response_headers", "response_body"] {
        let again = |status: u16| {
            [
                on(
                    "request_headers",
                    &format!("(call $note 'request' (i32.const 0) (i32.const 0)) {CONTINUE}"),
                ),
                on(
                    callback,
                    &format!(
                        "(call $note 'again' (i32.const 0) (i32.const 0)) {} {PAUSE}",
                        respond(status, "again")
                    ),
                ),
            ]
            .concat()
        };
        // Another filter answers the maker's response, and the maker answers its own one.
        let maker = script(&on("request_headers", &format!("{} {PAUSE}", respond(403, "no"))));
        let filters = [("other", script(&again(418))), ("maker", maker)];
        let (gateway, _origin, _side) =
            with_filters(&filters.each_ref().map(|(name, module)| (*name, &**module)), "").await;
        for _ in 0..2 {
            let response = post(&gateway).await;
            assert_eq!((response.status, response.text().as_str()), (418, "again"), "{callback}");
        }
        assert_eq!(notes(&gateway, 4).await, ["request 0 0", "again 0 0", "request 0 0", "again 0 0"]);
        let own = script(
            &[
                on("request_headers", &format!("{} {PAUSE}", respond(403, "no"))),
                on(
                    callback,
                    &format!(
                        "(call $note 'own' (i32.const 0) (i32.const 0)) {} {PAUSE}",
                        respond(418, "own")
                    ),
                ),
            ]
            .concat(),
        );
        let (gateway, _origin, _side) = with_filters(&[("a", &adding("a")), ("maker", &own)], "").await;
        let response = post(&gateway).await;
        assert_eq!((response.status, response.text().as_str()), (418, "own"), "{callback}");
        assert_eq!(response.headers.all("x-seen"), [""; 0], "{callback}");
    }
}

#[tokio::test]
async fn a_filter_changes_the_status_fields_and_body_of_a_local_response() {
    let changing = script(
        &[
            on(
                "response_headers",
                &format!("{} {} {CONTINUE}", set(RESPONSE, ":status", "451"), set(RESPONSE, "x-more", "yes")),
            ),
            on("response_body", &format!("{} {CONTINUE}", replace(RESPONSE_BODY, "something else"))),
        ]
        .concat(),
    );
    let maker = script(&on("request_headers", &format!("{} {PAUSE}", respond(403, "no"))));
    let (gateway, _origin, _side) = with_filters(&[("changing", &changing), ("maker", &maker)], "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.request("POST", "/", &[], b"hello").await;
        assert_eq!((response.status, response.text().as_str()), (451, "something else"));
        assert_eq!((response.header("x-more"), response.header("content-length")), (Some("yes"), Some("14")));
    }
    // A HEAD has no body that a filter could change, and what its length would be is not known.
    let response = client.request("HEAD", "/", &[], b"").await;
    assert_eq!((response.status, response.header("x-more"), response.body.len()), (451, Some("yes"), 0));
    assert_eq!(response.header("content-length"), None);
    assert_eq!(client.get("/").await.status, 451);
}

#[tokio::test]
async fn a_local_response_that_a_filter_holds_back_waits_for_it() {
    let maker = script(&on("request_headers", &format!("{} {PAUSE}", respond(403, "no"))));
    let back = "(drop (call $set_context (global.get $kept))) (drop (call $continue (i32.const 1)))";
    for callback in ["response_headers", "response_body"] {
        let by_tick = tracing(&[
            (callback, &format!("{KEEP} {PAUSE}")),
            ("more", &resumed_by_tick(1, "(call $note 'tick' (i32.const 0) (i32.const 0))")),
        ]);
        let by_call = tracing(&[
            (callback, &format!("{KEEP} {} {PAUSE}", call("/check", 5000))),
            (
                "more",
                &format!(
                    "{KEPT} {}",
                    when(
                        "http_call_response",
                        5,
                        &format!("(call $note 'tick' (i32.const 0) (i32.const 0)) {back}")
                    )
                ),
            ),
        ]);
        for holding in [by_tick, by_call] {
            let (gateway, _origin, _side) =
                with_filters(&[("holding", &holding), ("maker", &maker)], "").await;
            let response = post(&gateway).await;
            assert_eq!((response.status, response.text().as_str()), (403, "no"), "{callback}");
            let seen = notes(&gateway, 4).await;
            let at = |note: &str| seen.iter().position(|seen| seen.starts_with(note)).unwrap();
            assert_eq!(at("tick"), at(callback) + 1, "{seen:?}");
        }
    }
}

#[tokio::test]
async fn a_failure_while_a_local_response_passes_has_the_filters_policy() {
    let maker = script(&on("request_headers", &format!("{} {PAUSE}", respond(403, "no"))));
    for callback in ["response_headers", "response_body"] {
        for (code, reason) in [("(unreachable)", "filter.failing.trap"), (PAUSE, "filter.failing.pause")] {
            for on_error in ["closed", "open"] {
                let failing = script(&on(callback, code));
                let keys = format!(", on_error: {on_error}, limits: {{ pause: 50ms }}");
                let (gateway, _origin, _side) =
                    with_filters(&[("failing", &failing), ("maker", &maker)], &keys).await;
                let response = post(&gateway).await;
                let expected = if on_error == "open" { (403, None) } else { (500, Some(reason)) };
                let case = format!("{callback} {code} {on_error}");
                assert_eq!((response.status, response.header("x-gateway-error")), expected, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_filter_that_turns_local_responses_off_sees_none_and_all_others() {
    let maker = making(
        "request_headers",
        &format!(
            "(if (i32.gt_u (local.get $size) (i32.const 6)) (then {} (return {PAUSE}))) {CONTINUE}",
            respond(403, "no")
        ),
    );
    let (gateway, _origin, _side) =
        with_filters(&[("a", &adding("a")), ("maker", &maker)], ", local_responses: off").await;
    let mut client = gateway.client("web").await;
    let extra = [("x-one", "1"), ("x-two", "2"), ("x-three", "3")];
    let response = client.request("GET", "/", &extra, b"").await;
    assert_eq!((response.status, response.headers.all("x-seen")), (403, vec![]));
    let response = client.request("GET", "/", &[], b"").await;
    assert_eq!((response.status, response.headers.all("x-seen")), (200, vec!["maker", "a"]));
}

#[tokio::test]
async fn the_end_of_an_exchange_without_a_local_response_passes_no_filter() {
    for (code, error) in [
        ("(drop (call $close (i32.const 0)))", None),
        ("(unreachable)", Some("filter.maker.trap")),
        (
            "(drop (call $respond (i32.const 99) (i32.const 0) (i32.const 0) 'no' (i32.const 0) (i32.const 0) (i32.const -1)))",
            Some("filter.maker.response"),
        ),
    ] {
        let maker = script(&on("request_headers", &format!("{code} {PAUSE}")));
        let (gateway, _origin, _side) = with_filters(&[("a", &adding("a")), ("maker", &maker)], "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        match error {
            None => client.expect_closed().await,
            Some(_) => {
                let response = client.read_response().await;
                assert_eq!((response.status, response.header("x-gateway-error")), (500, error));
                assert_eq!(response.headers.all("x-seen"), [""; 0]);
            }
        }
    }
}

#[tokio::test]
async fn a_local_response_before_any_head_is_seen_passes_no_filter() {
    let create = format!(
        r#"(func (export "proxy_on_context_create") (param $context i32) (param $parent i32)
             (if (local.get $parent) (then {})))"#,
        respond(403, "no")
    );
    let maker = script(&format!(
        "{create} {}",
        on("response_headers", &format!("{} {CONTINUE}", set(RESPONSE, "x-seen", "maker")))
    ));
    let (gateway, _origin, _side) = with_filters(&[("a", &adding("a")), ("maker", &maker)], "").await;
    let response = post(&gateway).await;
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    assert_eq!(response.headers.all("x-seen"), [""; 0]);
}
