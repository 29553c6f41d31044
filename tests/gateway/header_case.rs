//! `header_case: preserve`: field names in the letter case in which the other side wrote them.

use support::bytes::Bytes;
use support::{Client, Gateway, Http2Client, Origin, http};

use crate::PROGRAM;
use crate::filtering::configured;
use crate::one_route::builder;
use crate::scripted::{pairs, scripted, scripted_with};

const PRESERVE: &str = "header_case: preserve";

/// A response with unusual letter case.
const RESPONSE: &str =
    "HTTP/1.1 200 OK\r\ndAtE: now\r\nContent-LENGTH: 2\r\nX_Id: 1\r\nx-a: 1\r\nX-A: 2\r\nsERVER: s\r\n\r\nok";

/// A request with unusual letter case.
const REQUEST: &str = "GET / HTTP/1.1\r\naCCEPT: */*\r\nX-a: 1\r\nHOST: a\r\nx-A: 2\r\nX_Api_KEY: 1\r\n\r\n";

/// A gateway with route `all` to `origin`, an upstream with these keys.
async fn start(origin: &Origin, upstream_keys: &str) -> Gateway {
    start_with(origin, upstream_keys, "").await
}

/// As [`start`], with these further keys of the route.
async fn start_with(origin: &Origin, upstream_keys: &str, route_keys: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
routes: [{{ name: all, upstream: {{ url: '{}', {upstream_keys} }}{route_keys} }}]",
        origin.url()
    );
    Gateway::builder(PROGRAM, config).start().await
}

/// Returns the names of the fields in a head, each as it was written.
fn names(head: &[u8]) -> Vec<&str> {
    let head = std::str::from_utf8(head).unwrap();
    let (head, _) = head.split_once("\r\n\r\n").unwrap();
    head.lines().skip(1).map(|line| line.split_once(':').unwrap().0).collect()
}

/// Returns the names in the head of the last request that an origin received.
fn sent(origin: &Origin) -> Vec<String> {
    let request = origin.requests().pop().expect("a request came");
    names(&request.raw_head).into_iter().map(str::to_owned).collect()
}

/// Sends these bytes and returns the head and the body of the response as they were written.
async fn answered(client: &mut Client, request: &str) -> String {
    client.send_raw(request).await;
    String::from_utf8(client.read_response().await.raw).unwrap()
}

const FORWARDED: [&str; 4] = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via"];

#[tokio::test]
async fn field_names_are_lower_case_by_default() {
    let origin = Origin::answer(RESPONSE);
    for keys in ["", "header_case: lower"] {
        let gateway = start(&origin, keys).await;
        let mut client = gateway.client("web").await;
        let response = answered(&mut client, REQUEST).await;
        assert_eq!(
            response,
            "HTTP/1.1 200 OK\r\ndate: now\r\nx_id: 1\r\nx-a: 1\r\nx-a: 2\r\nserver: s\r\nvia: 1.1 gateway\r\ncontent-length: 2\r\n\r\nok"
        );
        let sent = sent(&origin);
        assert!(sent.iter().all(|name| *name == name.to_lowercase()), "{sent:?}");
    }
}

#[tokio::test]
async fn field_names_keep_the_letter_case_of_the_other_side_where_it_is_preserved() {
    let origin = Origin::answer(RESPONSE);
    let gateway = start(&origin, PRESERVE).await;
    let mut client = gateway.client("web").await;
    // The second request goes on a kept connection.
    for _ in 0..2 {
        assert_eq!(
            answered(&mut client, REQUEST).await,
            "HTTP/1.1 200 OK\r\ndAtE: now\r\nX_Id: 1\r\nx-a: 1\r\nX-A: 2\r\nsERVER: s\r\nVia: 1.1 gateway\r\nContent-LENGTH: 2\r\n\r\nok"
        );
        let expected = [&["HOST", "aCCEPT", "X-a", "x-A", "X_Api_KEY"][..], &FORWARDED].concat();
        assert_eq!(sent(&origin), expected);
    }
    // Each message has its own.
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncONTENT-lENGTH: 2\r\nX-FORWARDED-for: b\r\nX-A: 1\r\n\r\nhi";
    answered(&mut client, post).await;
    let expected =
        ["host", "X-A", "X-FORWARDED-for", "X-Forwarded-Proto", "X-Forwarded-Host", "Via", "cONTENT-lENGTH"];
    assert_eq!(sent(&origin), expected);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn field_names_that_the_gateway_writes_begin_their_words_with_capitals() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nok");
    let route = ", pool: { keep_alive: false },
        headers: { request: { set: { x-request-tag: a, x-known: b }, remove: [x-gone] }, response: { set: { etag: c, x-response_tag: d } } }";
    let gateway = start_with(&origin, PRESERVE, route).await;
    let mut client = gateway.client("web").await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nX-KNOWN: 1\r\nX-GONE: 1\r\nX-Listed: 1\r\nConnection: x-listed, close\r\n\
                   TE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let response = answered(&mut client, request).await;
    assert_eq!(
        names(response.as_bytes()),
        ["Via", "ETag", "X-Response_Tag", "Date", "content-length", "Connection"]
    );
    let mut expected = vec!["Host", "X-KNOWN", "TE"];
    expected.extend(FORWARDED);
    expected.extend(["X-Request-Tag", "Transfer-Encoding", "Connection"]);
    assert_eq!(sent(&origin), expected);
}

#[tokio::test]
async fn trailers_begin_their_words_with_capitals_where_letter_case_is_preserved() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: x-y: 1\r\netag: 2\r\n\r\n",
    );
    for (keys, names) in [("", ["x-sum", "etag"]), (PRESERVE, ["X-Sum", "ETag"])] {
        let gateway = start(&origin, keys).await;
        let mut client = gateway.client("web").await;
        client
            .send_raw("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-SUM: x-y: 1\r\nEtag: 2\r\n\r\n")
            .await;
        let expected = [(names[0].to_owned(), "x-y: 1".to_owned()), (names[1].to_owned(), "2".to_owned())];
        assert_eq!(client.read_response().await.trailers.0, expected);
        assert_eq!(origin.requests().pop().unwrap().trailers.0, expected);
    }
}

#[tokio::test]
async fn interim_responses_keep_the_letter_case_of_their_field_names() {
    let origin = Origin::answer(
        "HTTP/1.1 103 Early Hints\r\nLINK: </a>\r\nlink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nLink: </c>\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = start(&origin, PRESERVE).await;
    let mut client = gateway.client("web").await;
    client.send_raw(REQUEST).await;
    let response = client.read_response().await;
    assert_eq!(names(&response.informational[0].raw), ["LINK", "link"]);
    assert_eq!(names(&response.raw), ["Link", "Via", "Date", "Content-Length"]);
}

#[tokio::test]
async fn an_upgrade_keeps_the_letter_case_of_field_names_both_ways() {
    let origin = Origin::script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            connection
                .write("HTTP/1.1 101 Switching Protocols\r\nCONNECTION: Upgrade\r\nUpGrade: websocket\r\nSEC-WebSocket-Accept: x\r\n\r\nearly")
                .await;
            connection.echo().await;
        }
    });
    let gateway = start(&origin, PRESERVE).await;
    let mut client = gateway.client("web").await;
    client
        .send_raw("GET / HTTP/1.1\r\nHost: a\r\nCONNECTION: upgrade\r\nUPGRADE: websocket\r\nSEC-WebSocket-Key: x\r\n\r\n")
        .await;
    let head = client.read_head().await;
    assert_eq!(names(&head.raw), ["SEC-WebSocket-Accept", "CONNECTION", "UpGrade", "Via"]);
    assert_eq!(client.read_exact(5).await, b"early");
    client.send_raw("more").await;
    assert_eq!(client.read_exact(4).await, b"more");
    let expected = [&["Host", "SEC-WebSocket-Key"][..], &FORWARDED, &["CONNECTION", "UPGRADE"]].concat();
    assert_eq!(sent(&origin), expected);
}

#[tokio::test]
async fn a_request_of_http2_has_capitals_at_a_preserving_upstream_and_its_response_is_lower_case() {
    let origin = Origin::answer(RESPONSE);
    let gateway = start(&origin, PRESERVE).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::post("http://a/").header("x-a", "1").header("dnt", "1");
    let response = client.request(request.body(Bytes::from_static(b"hi")).unwrap()).await;
    assert_eq!((response.status.as_u16(), response.headers.get_all("x-a").iter().count()), (200, 2));
    let expected = [&["Host", "X-A", "DNT"][..], &FORWARDED, &["Transfer-Encoding"]].concat();
    assert_eq!(sent(&origin), expected);
}

#[tokio::test]
async fn a_second_try_has_the_same_letter_case() {
    // The first connection is closed where a second request comes.
    let origin = Origin::script(|mut connection| async move {
        let first = connection.read_request().await;
        if first.is_some() {
            connection.write(RESPONSE).await;
        }
        let _closed_unanswered = connection.read_request().await;
    });
    let gateway = start(&origin, PRESERVE).await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        answered(&mut client, REQUEST).await;
    }
    let requests = origin.wait_for_requests(3).await;
    assert_eq!(origin.accepted(), 2);
    for request in requests {
        assert_eq!(names(&request.raw_head)[..3], ["HOST", "aCCEPT", "X-a"]);
    }
}

#[tokio::test]
async fn responses_of_the_gateway_itself_are_lower_case() {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
routes:
  - {{ upstream: {{ url: 'http://{}', header_case: preserve }} }}
  - {{ match: {{ path: /fixed }}, respond: {{ headers: {{ X-Fixed: a }} }} }}",
        support::unused_address()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let mut client = gateway.client("web").await;
    for (path, status) in [("/", 503), ("/fixed", 200)] {
        let response = client.get(path).await;
        let names = names(&response.raw);
        assert_eq!(response.status, status);
        assert!(names.iter().all(|name| *name == name.to_lowercase()), "{names:?}");
    }
}

const FILTERED: &str = "
workers: 1
upstreams:
  side: { url: '{side}', header_case: preserve }
filters: { test: { wasm: test.wasm } }
routes: [{ name: all, upstream: { url: '{origin}', header_case: preserve }, filters: [test] }]";

async fn filtered(origin: &Origin, side: &Origin, module: &[u8]) -> Gateway {
    let builder = configured(FILTERED, &[("test", module)]);
    builder.set("origin", origin.url()).set("side", side.url()).start().await
}

#[tokio::test]
async fn field_names_that_a_filter_writes_have_the_letter_case_of_the_message_or_capitals() {
    let changes = |map: u32| {
        format!(
            "set_field {map} x-a changed
            remove_field {map} server
            remove_field {map} accept
            add_field {map} server again
            add_field {map} X-ADDED '1'"
        )
    };
    let module =
        scripted(&[("proxy_on_request_headers", &changes(0)), ("proxy_on_response_headers", &changes(2))]);
    let origin = Origin::answer(RESPONSE);
    let gateway = filtered(&origin, &origin, &module).await;
    let mut client = gateway.client("web").await;
    let response = answered(&mut client, REQUEST).await;
    assert_eq!(
        names(response.as_bytes()),
        ["dAtE", "X_Id", "x-a", "Via", "sERVER", "X-Added", "Content-LENGTH"]
    );
    let expected = [&["HOST", "X-a", "X_Api_KEY", "Server", "X-Added"][..], &FORWARDED].concat();
    assert_eq!(sent(&origin), expected);
}

#[tokio::test]
async fn field_names_keep_their_letter_case_where_a_filter_replaces_the_whole_map() {
    let request =
        pairs(&[(":path", "/"), (":method", "GET"), (":authority", "a"), ("x-a", "1"), ("x-new", "1")]);
    let response = pairs(&[(":status", "200"), ("server", "1"), ("x-new", "1")]);
    let module = scripted(&[
        ("proxy_on_request_headers", &format!("set_pairs 0 '{request}'")),
        ("proxy_on_response_headers", &format!("set_pairs 2 '{response}'")),
    ]);
    let origin = Origin::answer(RESPONSE);
    let gateway = filtered(&origin, &origin, &module).await;
    let mut client = gateway.client("web").await;
    let response = answered(&mut client, REQUEST).await;
    assert_eq!(names(response.as_bytes()), ["sERVER", "X-New", "dAtE", "Content-LENGTH"]);
    let expected = [&["HOST", "X-a", "X-New"][..], &FORWARDED].concat();
    assert_eq!(sent(&origin), expected);
}

#[tokio::test]
async fn a_call_of_a_filter_to_a_preserving_upstream_has_capitals() {
    let call =
        pairs(&[(":method", "POST"), (":path", "/check"), (":authority", "side.test"), ("x-api-key", "1")]);
    let module = scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0))",
        &[
            (
                "proxy_on_request_headers",
                &format!(
                    "(global.set $waiting (local.get 0))\nhttp_call side '{call}' 'hi' '' 5000 -> u32\nreturn 1"
                ),
            ),
            (
                "proxy_on_http_call_response",
                "get_field 6 x-a -> bytes
                (drop (call $set_context (global.get $waiting)))
                (drop (call $continue (i32.const 0)))",
            ),
        ],
    );
    let (origin, side) = (Origin::answer(RESPONSE), Origin::answer(RESPONSE));
    let gateway = filtered(&origin, &side, &module).await;
    let mut client = gateway.client("web").await;
    answered(&mut client, REQUEST).await;
    assert_eq!(sent(&side), ["Host", "X-Api-Key", "Content-Length"]);
    assert_eq!(sent(&origin)[..2], ["HOST", "aCCEPT"]);
}

#[tokio::test]
async fn a_reload_changes_the_letter_case_on_open_connections() {
    let origin = Origin::answer(RESPONSE);
    let gateway = builder(&origin, "").start().await;
    let config = std::fs::read_to_string(gateway.folder().join("gateway.yaml")).unwrap();
    let mut client = gateway.client("web").await;
    answered(&mut client, REQUEST).await;
    assert_eq!(sent(&origin)[0], "host");
    let url = format!("'{}'", origin.url());
    gateway.reload(&config.replace(&url, &format!("{url}, {PRESERVE}"))).await;
    answered(&mut client, REQUEST).await;
    assert_eq!(sent(&origin)[0], "HOST");
    gateway.reload(&config).await;
    answered(&mut client, REQUEST).await;
    assert_eq!(sent(&origin)[0], "host");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_message_with_many_lines_of_few_names_keeps_the_letter_case_of_each() {
    let spell = |number: usize| if number.is_multiple_of(3) { "X-Many" } else { "x-mANY" };
    let written: Vec<&str> = (0..95).map(spell).collect();
    let lines: String = written.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let origin = Origin::answer(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{lines}\r\n"));
    let gateway = start(&origin, PRESERVE).await;
    let mut client = gateway.client("web").await;
    let response = answered(&mut client, &format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n")).await;
    assert_eq!(names(response.as_bytes())[..95], written);
    assert_eq!(sent(&origin)[1..96], written);
}
