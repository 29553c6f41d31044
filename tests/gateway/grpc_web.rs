//! gRPC-Web: `grpc_web: on` translates it to gRPC and back.

use support::bytes::Bytes;
use support::http::Request;
use support::serde_json::{Value, from_str};
use support::{Gate, Gateway, Http2Client, Origin, Response};

use crate::filtering::routed;
use crate::gateway;
use crate::grpc::{answer, chunk, message};
use crate::one_route::{forwarding_to, forwarding_with};
use crate::scripted::scripted;

/// Base64 of bytes (RFC 4648 §4).
fn base64(data: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | group.get(at).copied().map_or(0, usize::from));
        let letters = [18, 12, 6, 0].map(|shift| ALPHABET[bits >> shift & 63]);
        [&letters[..=group.len()], &b"=="[group.len() - 1..]].concat()
    };
    data.chunks(3).flat_map(group).collect()
}

/// The message that has these trailers.
fn trailers(lines: &str) -> Vec<u8> {
    let mut trailers = message(lines);
    trailers[0] = 0x80;
    trailers
}

async fn translating(origin: &Origin) -> Gateway {
    forwarding_with(origin, ", grpc_web: on").await
}

async fn post(gateway: &Gateway, fields: &[(&str, &str)], body: &[u8]) -> Response {
    gateway.client("web").await.request("POST", "/a.B/C", fields, body).await
}

#[tokio::test]
async fn base64_of_the_tests_is_that_of_the_rfc() {
    for (data, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(data.as_bytes()), text.as_bytes());
    }
}

#[tokio::test]
async fn binary_call_is_translated() {
    let origin = Origin::answer(answer(&["one", "two"], 3));
    let gateway = translating(&origin).await;
    let expected =
        [message("one"), message("two"), trailers("grpc-status: 3\r\ngrpc-message: done\r\n")].concat();
    let fields = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    let response = post(&gateway, &fields, &message("hello")).await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/grpc-web+proto")));
    assert_eq!((response.body, response.trailers.0.len()), (expected.clone(), 0));
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.headers.all("content-type"), ["application/grpc+proto"]);
    assert_eq!(request.headers.all("te"), ["trailers"]);
    assert_eq!((request.headers.get("x-grpc-web"), &request.body[..]), (Some("1"), &message("hello")[..]));
    let line: Value = from_str(&gateway.wait_for_stdout("/a.B/C").await).unwrap();
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &3.into()), "{line}");

    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = Request::post("http://a/a.B/C").header("content-type", "application/grpc-web");
    let response = client.request(request.body(message("hello").into()).unwrap()).await;
    assert_eq!((response.status.as_u16(), response.body), (200, expected));
    assert_eq!(
        (&response.headers["content-type"], response.trailers.len()),
        (&"application/grpc-web+proto".parse().unwrap(), 0)
    );
}

#[tokio::test]
async fn text_call_is_translated() {
    let origin = Origin::answer(answer(&["one", "twos"], 0));
    let gateway = translating(&origin).await;
    let body = [base64(&message("hello")), base64(&message("again"))].concat();
    let response = post(&gateway, &[("content-type", "application/grpc-web-text")], &body).await;
    assert_eq!(response.header("content-type"), Some("application/grpc-web-text+proto"));
    let parts = [message("one"), message("twos"), trailers("grpc-status: 0\r\ngrpc-message: done\r\n")];
    // Messages that arrive together may share their padding.
    let all = String::from_utf8(response.body).unwrap();
    let pieces = all.split_inclusive("==").flat_map(|part| part.split_inclusive('='));
    assert!(pieces.clone().all(|piece| piece.len() % 4 == 0 || piece == "="), "{all}");
    assert!(
        all.as_bytes() == parts.clone().map(|part| base64(&part)).concat()
            || all.as_bytes() == [base64(&[&parts[0][..], &parts[1]].concat()), base64(&parts[2])].concat(),
        "{all}"
    );
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.headers.all("content-type"), ["application/grpc"]);
    assert_eq!(request.body, [message("hello"), message("again")].concat());

    // The response has the form that the client accepts.
    for (content_type, accept, expected) in [
        ("application/grpc-web", "application/grpc-web-text", "application/grpc-web-text+proto"),
        ("application/grpc-web-text", "application/grpc-web", "application/grpc-web+proto"),
    ] {
        let fields = [("content-type", content_type), ("accept", accept)];
        let response = post(&gateway, &fields, &base64(&message("hello"))).await;
        assert_eq!(response.header("content-type"), Some(expected));
    }
}

#[tokio::test]
async fn messages_pass_as_they_come() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            let sent = chunk(&message("hello"));
            while connection.read_head().await.is_some() {
                assert_eq!(connection.read_exact(sent.len()).await.unwrap(), sent);
                connection
                    .write(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
                    )
                    .await;
                connection.write(chunk(&message("one"))).await;
                gate.pass().await;
                // The last chunk. A response that ends before its request would end the connection, too.
                connection.read_exact(5).await;
                connection.write("0\r\ngrpc-status: 0\r\n\r\n").await;
            }
        }
    });
    let gateway = translating(&origin).await;
    for (form, is_text) in [("application/grpc-web", false), ("application/grpc-web-text", true)] {
        let in_form = |data: &[u8]| if is_text { base64(data) } else { data.to_vec() };
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let head = Request::post("http://a/").header("content-type", form).body(()).unwrap();
        let (response, mut stream) = client.open(head, false).await.unwrap();
        // The request stays open meanwhile.
        stream.send_data(in_form(&message("hello")).into(), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        let one = body.data().await.unwrap().unwrap();
        assert_eq!(&one[..], in_form(&message("one")), "{form}");
        body.flow_control().release_capacity(one.len()).unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
        gate.release();
        assert_eq!(
            &body.data().await.unwrap().unwrap()[..],
            in_form(&trailers("grpc-status: 0\r\n")),
            "{form}"
        );
    }
    assert_eq!(origin.errors(), <[String; 0]>::default());
}

#[tokio::test]
async fn status_in_the_head_moves_into_the_body() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: no\r\nx-a: b\r\ncontent-length: 0\r\n\r\n",
    );
    let gateway = translating(&origin).await;
    let response = post(&gateway, &[("content-type", "application/grpc-web")], &message("hello")).await;
    assert_eq!((response.header("grpc-status"), response.header("x-a")), (None, Some("b")));
    assert_eq!(response.body, trailers("grpc-status: 5\r\ngrpc-message: no\r\n"));
    let line: Value = from_str(&gateway.wait_for_stdout("/a.B/C").await).unwrap();
    assert_eq!(line["grpc_status"], 5);
}

#[tokio::test]
async fn errors_of_the_gateway_have_the_form_of_the_call() {
    let origin = Origin::script(async |mut connection| {
        connection.read_request().await;
    });
    for keys in [", grpc_web: on", ", grpc_web: off"] {
        let gateway = forwarding_with(&origin, &format!("{keys}, retry: {{ attempts: 0 }}")).await;
        let lines =
            "grpc-status: 14\r\ngrpc-message: upstream.closed: upstream closed without a response\r\n";
        let expected = trailers(lines);
        for (form, expected) in
            [("application/grpc-web", expected.clone()), ("application/grpc-web-text", base64(&expected))]
        {
            let response = post(&gateway, &[("content-type", form)], &base64(&message("hello"))).await;
            assert_eq!((response.status, response.header("x-gateway-error")), (200, Some("upstream.closed")));
            assert_eq!((response.header("content-type"), &response.body), (Some(form), &expected), "{keys}");
        }
    }
}

#[tokio::test]
async fn text_that_is_not_base64_ends_the_call() {
    let origin = Origin::echo();
    let gateway = translating(&origin).await;
    for body in ["AAAA!AAA", "AAAAA"] {
        let response =
            post(&gateway, &[("content-type", "application/grpc-web-text")], body.as_bytes()).await;
        assert_eq!(
            (response.status, response.header("x-gateway-error")),
            (200, Some("grpc_web.text")),
            "{body}"
        );
    }
    assert_eq!(origin.requests(), [], "half a body was taken for a whole one");
}

#[tokio::test]
async fn other_requests_pass_as_they_are() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 0\r\ncontent-length: 2\r\n\r\nhi",
    );
    let on = translating(&origin).await;
    let off = forwarding_to(&origin).await;
    for (gateway, content_type) in
        [(&on, "application/grpc+proto"), (&on, "application/json"), (&off, "application/grpc-web-text")]
    {
        let response = post(gateway, &[("content-type", content_type)], b"AAAA").await;
        assert_eq!((response.header("grpc-status"), response.text().as_str()), (Some("0"), "hi"));
        assert_eq!(response.header("content-type"), Some("application/grpc"));
        let request = origin.requests().pop().unwrap();
        assert_eq!(
            (request.headers.all("content-type"), &request.body[..]),
            (vec![content_type], &b"AAAA"[..])
        );
        assert!(!request.headers.has("te"));
    }
    // A response that is not gRPC passes, too.
    let origin =
        Origin::answer("HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno");
    let gateway = translating(&origin).await;
    let response = post(&gateway, &[("content-type", "application/grpc-web")], &message("hello")).await;
    assert_eq!((response.status, response.text().as_str()), (404, "no"));
}

#[tokio::test]
async fn filters_see_grpc() {
    let origin = Origin::answer(answer(&["one"], 0));
    let module = scripted(&[
        ("proxy_on_request_headers", "get_field 0 content-type -> bytes"),
        ("proxy_on_request_body", "get_buffer 0 0 100 -> bytes"),
        ("proxy_on_response_headers", "get_field 2 content-type -> bytes\nset_field 2 x-filter seen"),
        ("proxy_on_response_trailers", "get_field 3 grpc-status -> bytes\nset_field 3 grpc-status '7'\nsay"),
    ]);
    let gateway = routed(&origin, "defaults: { grpc_web: on }", "{ test: { wasm: test.wasm } }", "[test]")
        .file("test.wasm", module)
        .start()
        .await;
    let fields = [("content-type", "application/grpc-web-text+proto"), ("accept", "application/grpc-web")];
    let response = post(&gateway, &fields, &base64(&message("hello"))).await;
    assert_eq!(response.header("x-filter"), Some("seen"));
    let expected = [message("one"), trailers("grpc-status: 7\r\ngrpc-message: done\r\n")].concat();
    assert_eq!(response.body, expected);
    let said = gateway.wait_for_log("application/grpc+proto").await;
    assert_eq!(said.matches("application/grpc+proto").count(), 2, "{said}");
    assert!(said.contains("hello"), "{said}");
    let line: Value = from_str(&gateway.wait_for_stdout("/a.B/C").await).unwrap();
    assert_eq!(line["grpc_status"], 7, "the status is the one that the client got");
}

#[tokio::test]
async fn response_of_a_filter_is_translated() {
    // Without a message, the callback of the trailers comes before anything is sent.
    let origin = Origin::answer(answer(&[], 0));
    let respond = "respond 403 '' 'body' 0 0 7";
    for callback in ["proxy_on_request_headers", "proxy_on_response_headers", "proxy_on_response_trailers"] {
        let module = scripted(&[(callback, respond)]);
        let gateway =
            routed(&origin, "defaults: { grpc_web: on }", "{ test: { wasm: test.wasm } }", "[test]")
                .file("test.wasm", module)
                .start()
                .await;
        let response = post(&gateway, &[("content-type", "application/grpc-web")], &message("hello")).await;
        assert_eq!(
            (response.status, response.header("content-type")),
            (200, Some("application/grpc-web")),
            "{callback}"
        );
        let expected = trailers("grpc-status: 7\r\ngrpc-message: body\r\n");
        assert_eq!(response.body, expected, "{callback}");
    }
}

#[tokio::test]
async fn route_that_was_found_translates_though_a_filter_chooses_another() {
    let origin = Origin::answer(answer(&["one"], 0));
    let module = scripted(&[
        ("proxy_on_request_headers", "set_field 0 :path /chosen\nforeign clear_route_cache '' 0 0"),
        ("proxy_on_response_headers", "get_field 2 content-type -> bytes\nsay"),
    ]);
    for (found, chosen) in [("on", "on"), ("on", "off"), ("off", "on")] {
        let config = format!(
            "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
wasm: {{ cache: off }}
filters: {{ test: {{ wasm: test.wasm }} }}
defaults: {{ filters: [test] }}
routes:
  - {{ match: {{ path: /a.B/C }}, upstream: {{ url: '{url}' }}, grpc_web: {found} }}
  - {{ match: {{ path: /chosen }}, upstream: {{ url: '{url}' }}, grpc_web: {chosen} }}",
            url = origin.url()
        );
        let gateway = gateway(config).file("test.wasm", &module).start().await;
        let response = post(&gateway, &[("content-type", "application/grpc-web")], &message("hello")).await;
        gateway.wait_for_log("application/grpc+proto").await; // what the filter sees
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.target, "/chosen");
        let (sent, received) = match found {
            "on" => ("application/grpc", "application/grpc-web+proto"),
            _ => ("application/grpc-web", "application/grpc+proto"),
        };
        assert_eq!(request.headers.get("content-type"), Some(sent), "{found} {chosen}");
        assert_eq!(response.header("content-type"), Some(received), "{found} {chosen}");
    }
}
