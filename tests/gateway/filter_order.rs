//! The filters of routes: which there are, in which order, and with which configuration.

use support::{Gateway, Origin, unused_address};

use crate::PROGRAM;
use crate::filter_script::{CONTINUE, notes, on, replace, respond, script, set, tracing};

/// Adds its configuration, a letter, to the field `x-order` and to the end of the body, of requests and of responses.
fn letter() -> Vec<u8> {
    let head = |map: u32| {
        format!(
            "(drop (call $add_field (i32.const {map}) 'x-order' (i32.load (i32.const 1024)) (i32.load (i32.const 1028)))) {CONTINUE}"
        )
    };
    let body = |buffer: u32| {
        format!("(if (local.get $end) (then (drop (call $set_buffer (i32.const {buffer}) (i32.const -1) (i32.const 0) (i32.load (i32.const 1024)) (i32.load (i32.const 1028))))))
                 (i32.sub (i32.const 1) (local.get $end))")
    };
    // The allocator hands the same place out again: it is kept elsewhere.
    let configure = "(func (export \"proxy_on_configure\") (param i32 i32) (result i32)
        (drop (call $get_buffer (i32.const 7) (i32.const 0) (i32.const 100) (i32.const 1024) (i32.const 1028)))
        (memory.copy (i32.const 1040) (i32.load (i32.const 1024)) (i32.load (i32.const 1028)))
        (i32.store (i32.const 1024) (i32.const 1040))
        (i32.const 1))";
    script(
        &[
            configure,
            &on("request_headers", &head(0)),
            &on("response_headers", &head(2)),
            &on("request_body", &body(0)),
            &on("response_body", &body(1)),
        ]
        .concat(),
    )
}

/// A gateway with these filters and routes, whose modules are `letter.wasm` and `trace.wasm`.
async fn with_routes(rest: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
wasm: {{ cache: off }}
{rest}"
    );
    Gateway::builder(PROGRAM, config)
        .file("letter.wasm", letter())
        .file("trace.wasm", tracing(&[]))
        .start()
        .await
}

#[tokio::test]
async fn requests_go_through_filters_in_the_order_of_the_route_and_responses_the_other_way_round() {
    let origin = Origin::echo();
    let gateway = with_routes(&format!(
        "
filters: {{ a: {{ wasm: letter.wasm, config: a }}, b: {{ wasm: letter.wasm, config: b }}, c: {{ wasm: letter.wasm, config: c }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [a, b, c] }}]",
        origin.url()
    ))
    .await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.request("POST", "/", &[], b"-").await;
        let request = origin.requests().pop().unwrap();
        assert_eq!((request.headers.all("x-order"), &request.body[..]), (vec!["a", "b", "c"], &b"-abc"[..]));
        assert_eq!(
            (response.headers.all("x-order"), response.text().as_str()),
            (vec!["c", "b", "a"], "-abccba")
        );
    }
}

#[tokio::test]
async fn the_same_plugin_has_its_own_configuration_on_every_route() {
    let origin = Origin::echo();
    let gateway = with_routes(&format!(
        "
filters: {{ letter: {{ wasm: letter.wasm, config: x }} }}
upstreams: {{ echo: {{ url: '{}' }} }}
defaults: {{ filters: [{{ use: letter, config: d }}] }}
routes:
  - {{ name: one, match: {{ prefix: /one }}, upstream: echo, filters: [{{ use: letter, config: a }}] }}
  - {{ name: two, match: {{ prefix: /two }}, upstream: echo, filters: [{{ use: letter, config: b }}, letter] }}
  - {{ name: inline, match: {{ prefix: /inline }}, upstream: echo, filters: [{{ wasm: letter.wasm, config: i }}] }}
  - {{ name: none, match: {{ prefix: /none }}, upstream: echo, filters: [] }}
  - {{ name: default, upstream: echo }}",
        origin.url()
    ))
    .await;
    let mut client = gateway.client("web").await;
    for (path, request, response) in [
        ("/one", "a", "aa"),
        ("/two", "bx", "bxxb"),
        ("/inline", "i", "ii"),
        ("/none", "", ""),
        ("/", "d", "dd"),
        ("/one", "a", "aa"),
    ] {
        let answer = client.request("POST", path, &[], b"-").await;
        assert_eq!(answer.text(), format!("-{response}"), "{path}");
        assert_eq!(origin.requests().pop().unwrap().body, format!("-{request}").into_bytes(), "{path}");
    }
    // Five configurations of one module, each with its own instance.
    assert_eq!(gateway.metric(r#"gateway_filter_instances{filter="letter"}"#).await, Some(5.0));
}

#[tokio::test]
async fn responses_of_the_gateway_itself_pass_filters_too() {
    let closed = unused_address();
    let gateway = with_routes(&format!(
        "
filters: {{ letter: {{ wasm: letter.wasm, config: a }} }}
routes:
  - {{ name: respond, match: {{ prefix: /respond }}, respond: {{ status: 203, body: 'here' }}, filters: [letter] }}
  - {{ name: redirect, match: {{ prefix: /redirect }}, redirect: {{ to: '/respond' }}, filters: [letter] }}
  - {{ name: down, upstream: {{ url: 'http://{closed}' }}, filters: [letter] }}"
    ))
    .await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/respond").await;
        assert_eq!(
            (response.status, response.text().as_str(), response.headers.all("x-order")),
            (203, "herea", vec!["a"])
        );
        assert_eq!(response.headers.all("content-length"), ["5"]);
        let response = client.get("/redirect").await;
        assert!((300..400).contains(&response.status), "{response:?}");
        assert_eq!(
            (response.header("location"), response.headers.all("x-order")),
            (Some("/respond"), vec!["a"])
        );
        let response = client.get("/down").await;
        assert_eq!((response.status, response.header("x-gateway-error")), (503, Some("upstream.connect")));
        assert!(response.text().ends_with("\na") && response.headers.all("x-order") == ["a"], "{response:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_filters_own_takes_the_place_of_an_error() {
    let closed = unused_address();
    let code = [
        on(
            "response_headers",
            &format!(
                "{} {CONTINUE}",
                set("(i32.const 2)", "content-type", "text/html") + &set("(i32.const 2)", ":status", "500")
            ),
        ),
        on("response_body", &format!("{} {CONTINUE}", replace("(i32.const 1)", "<p>sorry"))),
    ]
    .concat();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
wasm: {{ cache: off }}
routes: [{{ name: down, upstream: {{ url: 'http://{closed}' }}, filters: [{{ wasm: page.wasm }}] }}]"
    );
    let gateway = Gateway::builder(PROGRAM, config).file("page.wasm", script(&code)).start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (500, "<p>sorry"));
        assert_eq!(
            (response.header("content-type"), response.header("x-gateway-error")),
            (Some("text/html"), Some("upstream.connect"))
        );
    }
    // What was done to the answer does not change why the request failed.
    assert!(
        gateway.wait_for_stdout("upstream.connect").await.contains("\"status\":500"),
        "{}",
        gateway.output()
    );
}

#[tokio::test]
async fn bodies_pass_a_filter_by_that_is_not_to_have_them() {
    let origin = Origin::echo();
    let gateway = with_routes(&format!(
        "
filters: {{ trace: {{ wasm: trace.wasm, bodies: off }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [trace] }}]",
        origin.url()
    ))
    .await;
    let mut client = gateway.client("web").await;
    let response = client.request("POST", "/", &[], b"hello").await;
    assert_eq!((response.text().as_str(), response.header("content-length")), ("hello", Some("5")));
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n").await;
    assert_eq!(client.read_response().await.text(), "hi");
    assert_eq!(origin.requests()[1].trailers.all("x-sum"), ["1"]);
    let heads = ["request_headers 0 0", "response_headers 0 0"];
    assert_eq!(notes(&gateway, 4).await, [heads, heads].concat());
}

#[tokio::test]
async fn a_local_response_passes_the_filters_before_and_none_behind() {
    let origin = Origin::echo();
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
wasm: {{ cache: off }}
filters: {{ letter: {{ wasm: letter.wasm, config: a }}, no: {{ wasm: no.wasm }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [letter, no, letter] }}]",
        origin.url()
    );
    let no = script(&on("request_headers", &format!("{} {CONTINUE}", respond(403, "no"))));
    let gateway =
        Gateway::builder(PROGRAM, config).file("letter.wasm", letter()).file("no.wasm", no).start().await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!(
        (response.status, response.text().as_str(), response.header("x-order")),
        (403, "noa", Some("a"))
    );
}
