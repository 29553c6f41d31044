//! Calls: what plugins ask of upstreams while an exchange waits, or from a tick.

use support::{Gate, Gateway, Origin, wait_until};

use crate::filtering::configured;
use crate::pooled::OK;
use crate::scripted::{pairs, scripted, scripted_with};

const CONFIG: &str = "
workers: 1
upstreams:
  side: { url: '{side}', pool: { max_connections: 7 } }
filters: { test: { wasm: test.wasm{keys} } }
routes: [{ name: all, upstream: { url: '{origin}' }, filters: [test] }]";

async fn gateway(origin: &Origin, side: &str, module: &[u8], keys: &str) -> Gateway {
    let builder = configured(CONFIG, &[("test", module)]);
    builder.set("origin", origin.url()).set("side", side).set("keys", keys).start().await
}

fn fields(more: &[(&str, &str)]) -> String {
    pairs(&[&[(":method", "POST"), (":path", "/check?a=1"), (":authority", "side.test")], more].concat())
}

/// A request that waits for the answer to a call, and is answered with what is known of that.
fn asking(call: &str) -> Vec<u8> {
    scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0))",
        &[
            (
                "proxy_on_request_headers",
                &format!(
                    "(global.set $waiting (local.get 0))\n{call}\n(global.set $end (i32.const 0x10000))\nreturn 1"
                ),
            ),
            (
                "proxy_on_http_call_response",
                "number $0
                number $1
                number $2
                number $3
                number $4
                get_field 6 :status -> bytes
                get_field 6 x-side -> bytes
                get_field 7 x-trailer -> bytes
                get_buffer 4 0 100 -> bytes
                get_buffer_status 4 -> u32 u32
                set_field 6 x-side changed
                get_field 0 :path -> bytes
                (drop (call $set_context (global.get $waiting)))
                get_field 0 :path -> bytes
                answer",
            ),
        ],
    )
}

#[tokio::test]
async fn an_upstream_is_asked_and_its_answer_is_all_there() {
    let side = Origin::answer(
        "HTTP/1.1 203 Fine\r\nx-side: yes\r\ntransfer-encoding: chunked\r\n\r\n4\r\nside\r\n0\r\nx-trailer: t\r\n\r\n",
    );
    let origin = Origin::answer(OK);
    let more = [("x-a", "1"), ("x-a", "2"), ("te", "gzip"), ("content-length", "99"), ("x-evil", "a\u{b}b")];
    let call = format!("http_call side '{}' 'the body' '' 5000 -> u32", fields(&more));
    let gateway = gateway(&origin, &side.url(), &asking(&call), "").await;
    let mut client = gateway.client("web").await;
    let expected = |token: u32, path: &str| {
        format!("1\n{token}\n4\n4\n1\n0 203\n0 yes\n0 t\n0 side\n0 4 0\n2\n1 \n0 {path}\n")
    };
    let text = client.get("/first").await.text();
    let (head, rest) = text.split_once("\n0 203").unwrap();
    assert_eq!(
        format!("0 203{rest}"),
        expected(1, "/first").split_once("1\n0 203").map(|(_, rest)| format!("0 203{rest}")).unwrap()
    );
    let numbers: Vec<u32> = head.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!((numbers[0], numbers[1], numbers[3], numbers[4]), (1, 1, 4, 1), "root, token, body, trailers");
    assert!(numbers[2] >= 2, "status and fields");
    assert!(client.get("/second").await.text().starts_with("1\n2\n"));
    let request = &side.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.target.as_str(), &*request.body),
        ("POST", "/check?a=1", &b"the body"[..])
    );
    assert_eq!(request.headers.all("host"), ["side.test"]);
    assert_eq!(request.headers.all("x-a"), ["1", "2"]);
    assert_eq!(request.headers.all("x-evil"), ["a b"]);
    assert_eq!(request.headers.all("content-length"), ["8"]);
    assert!(!request.headers.has("te"));
    assert_eq!((side.accepted(), origin.accepted()), (1, 0), "its connection is kept");
}

#[tokio::test]
async fn a_call_goes_behind_the_base_path_of_its_upstream() {
    let (side, origin) = (Origin::answer(OK), Origin::answer(OK));
    let call = format!("http_call side '{}' '' '' 5000 -> u32", fields(&[]));
    let gateway = gateway(&origin, &format!("{}/base/", side.url()), &asking(&call), "").await;
    assert!(gateway.client("web").await.get("/").await.text().contains("0 200"));
    let targets: Vec<String> = side.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/base/check?a=1"]);
}

#[tokio::test]
async fn an_upstream_that_no_route_uses_has_its_pool() {
    let side = Origin::answer(OK);
    let origin = Origin::answer(OK);
    let call = format!("http_call side '{}' '' '' 5000 -> u32", fields(&[]));
    let gateway = gateway(&origin, &side.url(), &asking(&call), "").await;
    gateway.client("web").await.get("/").await;
    let address = side.addr().to_string();
    let pools = gateway.pools().await;
    let pool = pools.iter().find(|pool| pool["address"] == *address).unwrap_or_else(|| panic!("{pools:#?}"));
    assert_eq!(pool["max_connections"], 7, "{pool}");
    assert_eq!((&pool["opened"], &pool["idle"]), (&1.into(), &1.into()), "{pool}");
}

#[tokio::test]
async fn a_call_that_comes_to_nothing_arrives_with_no_fields() {
    let gate = Gate::new();
    let silent = {
        let gate = gate.clone();
        Origin::script(move |mut connection| {
            let gate = gate.clone();
            async move {
                connection.read_request().await;
                gate.pass().await;
            }
        })
    };
    let refused = support::unused_address();
    let large =
        Origin::answer(format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{}", "x".repeat(2000)));
    let endless = Origin::answer(format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2000)
    ));
    let cut = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\ncut");
    let garbage = Origin::answer("no HTTP at all\r\n\r\n");
    for (what, side, timeout) in [
        ("time-out", silent.url(), 50),
        ("refused", format!("http://{refused}"), 5000),
        ("too large", large.url(), 5000),
        ("too large, in chunks", endless.url(), 5000),
        ("cut", cut.url(), 5000),
        ("garbage", garbage.url(), 5000),
    ] {
        let origin = Origin::answer(OK);
        let call = format!("http_call side '{}' '' '' {timeout} -> u32", fields(&[]));
        let gateway = gateway(&origin, &side, &asking(&call), ", limits: { body: 1KiB }").await;
        let answer = gateway.client("web").await.get("/").await.text();
        assert_eq!(answer, "1\n1\n0\n0\n0\n1 \n1 \n1 \n0 \n0 0 0\n2\n1 \n0 /\n", "{what}");
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_made_is_refused_at_once() {
    let good = fields(&[]);
    let without = |name: &str| {
        let all = [(":method", "POST"), (":path", "/c"), (":authority", "side.test")];
        pairs(&all.into_iter().filter(|(field, _)| *field != name).collect::<Vec<_>>())
    };
    let mut script =
        format!("http_call nobody '{good}' '' '' 100 -> u32\nhttp_call '' '{good}' '' '' 100 -> u32\n");
    for name in [":method", ":path", ":authority"] {
        script += &format!("http_call side '{}' '' '' 100 -> u32\n", without(name));
    }
    for pseudo in [
        [("method", "CONNECT"), ("path", "/c")],
        [("method", "G T"), ("path", "/c")],
        [("method", "GET"), ("path", "c")],
        [("method", "GET"), ("path", "/c d")],
        [("method", "GET"), ("path", "/c#d")],
        [("method", "GET"), ("path", "https://a.test/c#d")],
        [("method", "GET"), ("path", "https://a.test#d")],
        [("method", "GET"), ("path", "https://a.test/c d")],
        [("method", "GET"), ("path", "https://me@a.test/c")],
        [("method", "GET"), ("path", "ftp://a.test/c")],
    ] {
        let written: Vec<(String, &str)> =
            pseudo.iter().map(|(name, value)| (format!(":{name}"), *value)).collect();
        let mut written: Vec<(&str, &str)> =
            written.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        written.push((":authority", "a"));
        script += &format!("http_call side '{}' '' '' 100 -> u32\n", pairs(&written));
    }
    script += &format!("http_call side '{}' '' '' 100 -> u32\n", fields(&[("a b", "1")]));
    script += &format!("http_call side '{}' '' '' 100 -> u32\nanswer", &good[..12]);
    let (origin, side) = (Origin::answer(OK), Origin::answer(OK));
    let module = scripted(&[("proxy_on_request_headers", &script)]);
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "2 0\n".repeat(17));
    assert_eq!(side.accepted(), 0);
}

#[tokio::test]
async fn call_to_an_unknown_upstream_is_logged_once_in_a_while() {
    let call = format!("http_call sied '{}' '' '' 100 -> u32", fields(&[]));
    let module = scripted(&[("proxy_on_request_headers", &format!("{call}\n{call}\nanswer"))]);
    let (origin, side) = (Origin::answer(OK), Origin::answer(OK));
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "2 0\n".repeat(2));
    let warning =
        "filter `test` calls upstream `sied`, which the configuration does not have: add it to `upstreams`";
    let line = gateway.wait_for_log(warning).await;
    assert!(line.contains("suppressed=0"), "{line}");
    let warnings = gateway.logs().into_iter().filter(|line| line.contains(warning));
    assert_eq!(warnings.count(), 1);
}

#[tokio::test]
async fn call_with_an_absolute_path_sends_its_origin_form_and_the_authority_field() {
    let (origin, side) = (Origin::answer(OK), Origin::answer(OK));
    for (path, target) in [
        ("https://id.test/keys?a=1", "/keys?a=1"),
        ("http://id.test:8080/keys", "/keys"),
        ("HTTPS://id.test", "/"),
        ("https://id.test?a=1", "/?a=1"),
    ] {
        let call =
            pairs(&[(":method", "GET"), (":path", path), (":authority", "side.test"), (":scheme", "https")]);
        let module = asking(&format!("http_call side '{call}' '' '' 5000 -> u32"));
        let gateway = gateway(&origin, &side.url(), &module, "").await;
        gateway.client("web").await.get("/").await;
        let requests = side.requests();
        let request = requests.last().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", target), "{path}");
        assert_eq!(request.headers.all("host"), ["side.test"], "{path}");
    }
}

#[tokio::test]
async fn several_calls_at_once_are_answered_each_by_itself() {
    let gate = Gate::new();
    let side = {
        let gate = gate.clone();
        Origin::script(move |mut connection| {
            let gate = gate.clone();
            async move {
                let Some(request) = connection.read_request().await else { return };
                gate.pass().await;
                let body = request.target;
                connection
                    .write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
                    .await;
                connection.wait_closed().await;
            }
        })
    };
    let to = |path: &str| pairs(&[(":method", "GET"), (":path", path), (":authority", "a")]);
    let module = scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0)) (global $out (mut i32) (i32.const 3))",
        &[
            (
                "proxy_on_request_headers",
                &format!(
                    "(global.set $waiting (local.get 0))
                    http_call side '{}' '' '' 5000 -> u32
                    http_call side '{}' '' '' 5000 -> u32
                    http_call side '{}' '' '' 5000 -> u32
                    say
                    return 1",
                    to("/one"),
                    to("/two"),
                    to("/three")
                ),
            ),
            (
                "proxy_on_http_call_response",
                "number $1
                get_buffer 4 0 100 -> bytes
                say
                (global.set $out (i32.sub (global.get $out) (i32.const 1)))
                (if (i32.eqz (global.get $out)) (then
                  (drop (call $set_context (global.get $waiting)))
                  (drop (call $continue (i32.const 0)))))",
            ),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(3).await;
    gateway.wait_for_log("0 1|0 2|0 3|").await;
    assert_eq!(origin.accepted(), 0);
    gate.release_all();
    assert_eq!(client.read_response().await.text(), "ok");
    for (token, path) in [(1, "/one"), (2, "/two"), (3, "/three")] {
        gateway.wait_for_log(&format!("{token}|0 {path}|")).await;
    }
}

#[tokio::test]
async fn a_tick_may_call_as_well() {
    let call = format!("http_call side '{}' '' '' 5000 -> u32", fields(&[]));
    let module = scripted(&[
        ("proxy_on_configure", "set_tick 10\n(global.set $end (i32.const 0x10000))"),
        ("proxy_on_tick", &format!("set_tick 0\n{call}\nsay")),
        ("proxy_on_http_call_response", "get_buffer 4 0 100 -> bytes\ntext came\nsay"),
    ]);
    let (origin, side) =
        (Origin::answer(OK), Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nto-root"));
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    gateway.wait_for_log("0 to-root|came|").await;
    assert_eq!(side.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_to_an_abandoned_call_does_no_harm() {
    let gate = Gate::new();
    let side = {
        let gate = gate.clone();
        Origin::script(move |mut connection| {
            let gate = gate.clone();
            async move {
                connection.read_request().await;
                gate.pass().await;
                connection.write(OK).await;
                connection.wait_closed().await;
            }
        })
    };
    let call = format!("http_call side '{}' '' '' 5000 -> u32", fields(&[]));
    let module = scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0))",
        &[
            (
                "proxy_on_request_headers",
                &format!("(global.set $waiting (local.get 0))\n{call}\nsay\nreturn 1"),
            ),
            ("proxy_on_delete", "text deleted\nsay"),
            (
                "proxy_on_http_call_response",
                "(local.set 0 (call $set_context (global.get $waiting)))\nnumber $0\ncontinue 0\ntext came\nsay",
            ),
        ],
    );
    let origin = Origin::answer(OK);
    let gateway = gateway(&origin, &side.url(), &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    drop(client);
    gateway.wait_for_log("deleted|").await;
    gate.release_all();
    gateway.wait_for_log("2|2|came|").await;
    wait_until("nothing failed", async || {
        gateway.metric("gateway_filter_failures_total{filter=\"test\"").await.is_none()
    })
    .await;
}
