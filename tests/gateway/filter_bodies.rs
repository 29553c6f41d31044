//! Bodies on their way through a filter: in pieces or held back, whatever tells their length, each byte once.

use support::bytes::Bytes;
use support::{Client, Connection, Gate, Gateway, Http2Client, Origin, http};

use crate::filter_script::{CONTINUE, KEEP, PAUSE, notes, on, resumed_by_tick, script, tracing};
use crate::filtering::filtered;

/// The framing of a message: the field of its head, the form of a piece, and the bytes behind the last piece.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Framed {
    Length,
    Chunked,
    Trailers,
    Close,
}

use Framed::{Chunked, Close, Length, Trailers};

impl Framed {
    fn field(self) -> &'static str {
        match self {
            Length => "content-length: 10\r\n",
            Chunked | Trailers => "transfer-encoding: chunked\r\n",
            Close => "",
        }
    }

    fn piece(self, text: &str) -> String {
        match self {
            Length | Close => text.to_owned(),
            Chunked | Trailers => format!("{:x}\r\n{text}\r\n", text.len()),
        }
    }

    fn end(self) -> &'static str {
        match self {
            Length | Close => "",
            Chunked => "0\r\n\r\n",
            Trailers => "0\r\nx-sum: 1\r\n\r\n",
        }
    }
}

/// Returns an origin that sends `hello`, `world` and an end, and passes the gate before each but the first.
fn in_pieces(framed: Framed, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::script(move |mut connection: Connection| {
        let gate = gate.clone();
        async move {
            while connection.read_request().await.is_some() {
                connection
                    .write(format!("HTTP/1.1 200 OK\r\n{}\r\n{}", framed.field(), framed.piece("hello")))
                    .await;
                gate.pass().await;
                connection.write(framed.piece("world")).await;
                gate.pass().await;
                connection.write(framed.end()).await;
                if framed == Close {
                    return connection.close().await;
                }
            }
        }
    })
}

/// Lets pieces go as they come, or all of them at the end.
fn tracer(pauses: bool) -> Vec<u8> {
    let held = format!("(if (result i32) (local.get $end) (then {CONTINUE}) (else {PAUSE}))");
    let answer = if pauses { &held } else { CONTINUE };
    tracing(&[("request_body", answer), ("response_body", answer)])
}

/// The body callbacks of two pieces: their sizes, and whether it is the last one.
fn expected(kind: &str, framed: Framed, pauses: bool) -> Vec<String> {
    let both = if pauses { 10 } else { 5 };
    let mut calls = vec![format!("{kind}_body 5 0")];
    if framed == Length {
        calls.push(format!("{kind}_body {both} 1"));
    } else {
        calls.push(format!("{kind}_body {both} 0"));
        calls.push(format!("{kind}_body {} 1", if pauses { 10 } else { 0 }));
    }
    if framed == Trailers {
        calls.push(format!("{kind}_trailers 1 1"));
    }
    calls
}

/// A client of either protocol that asks with GET and reads body and trailers.
async fn ask(
    gateway: &Gateway,
    http2: bool,
) -> tokio::task::JoinHandle<(u16, Vec<u8>, Option<String>, Option<String>)> {
    let address = gateway.addr("web");
    tokio::spawn(async move {
        if http2 {
            let mut client = Http2Client::connect(address).await;
            let response = client.get("http://gateway.test/").await;
            let text =
                |value: Option<&http::HeaderValue>| value.map(|value| value.to_str().unwrap().to_owned());
            let error = text(response.headers.get("x-gateway-error"));
            (response.status.as_u16(), response.body, text(response.trailers.get("x-sum")), error)
        } else {
            let response =
                Client::connect(address).await.request("GET", "/", &[("te", "trailers")], b"").await;
            let (sum, error) = (response.trailers.get("x-sum"), response.header("x-gateway-error"));
            (response.status, response.body.clone(), sum.map(str::to_owned), error.map(str::to_owned))
        }
    })
}

#[tokio::test]
async fn response_pieces_come_once_and_the_last_one_ends_the_stream_in_every_framing() {
    for framed in [Length, Chunked, Trailers, Close] {
        for (pauses, http2) in [(false, false), (true, false), (false, true), (true, true)] {
            let case = format!("{framed:?}, pauses: {pauses}, HTTP/2: {http2}");
            let gate = Gate::new();
            let origin = in_pieces(framed, &gate);
            let gateway = filtered(&origin, &tracer(pauses), "").await;
            let answer = ask(&gateway, http2).await;
            let mut all = vec!["request_headers 0 1".to_owned(), "response_headers 0 0".to_owned()];
            all.extend(expected("response", framed, pauses));
            assert_eq!(notes(&gateway, 3).await, all[..3], "{case}");
            gate.arrivals(1).await;
            gate.release();
            assert_eq!(notes(&gateway, 4).await, all[..4], "{case}");
            gate.release_all();
            let (status, body, sum, _) = answer.await.unwrap();
            assert_eq!((status, &body[..]), (200, &b"helloworld"[..]), "{case}");
            assert_eq!(sum.as_deref(), (framed == Trailers).then_some("1"), "{case}");
            assert_eq!(notes(&gateway, all.len()).await, all, "{case}");
        }
    }
}

#[tokio::test]
async fn request_pieces_come_once_and_the_last_one_ends_the_stream_in_every_framing() {
    for framed in [Length, Chunked, Trailers] {
        for pauses in [false, true] {
            let case = format!("{framed:?}, pauses: {pauses}");
            let origin = Origin::echo();
            let gateway = filtered(&origin, &tracer(pauses), "").await;
            let mut client = gateway.client("web").await;
            let mut all = vec!["request_headers 0 0".to_owned()];
            all.extend(expected("request", framed, pauses));
            client
                .send_raw(format!(
                    "POST / HTTP/1.1\r\nhost: a\r\n{}\r\n{}",
                    framed.field(),
                    framed.piece("hello")
                ))
                .await;
            assert_eq!(notes(&gateway, 2).await, all[..2], "{case}");
            client.send_raw(framed.piece("world")).await;
            assert_eq!(notes(&gateway, 3).await[..3], all[..3], "{case}");
            client.send_raw(framed.end()).await;
            assert_eq!(client.read_response().await.text(), "helloworld", "{case}");
            assert_eq!(notes(&gateway, all.len()).await[..all.len()], all, "{case}");
            let sent = &origin.requests()[0];
            assert_eq!(sent.body, b"helloworld", "{case}");
            let trailers = if framed == Trailers { vec!["1"] } else { vec![] };
            assert_eq!(sent.trailers.all("x-sum"), trailers, "{case}");
        }
    }
}

#[tokio::test]
async fn every_piece_of_an_http2_request_comes_once() {
    for ends_with in ["data", "empty data", "trailers"] {
        for pauses in [false, true] {
            let case = format!("{ends_with}, pauses: {pauses}");
            let origin = Origin::echo();
            let gateway = filtered(&origin, &tracer(pauses), "").await;
            let mut client = Http2Client::connect(gateway.addr("web")).await;
            let head = http::Request::post("http://gateway.test/").body(()).unwrap();
            let (response, mut stream) = client.open(head, false).await.unwrap();
            stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
            notes(&gateway, 2).await;
            stream.send_data(Bytes::from_static(b"world"), ends_with == "data").unwrap();
            notes(&gateway, 3).await;
            match ends_with {
                "empty data" => stream.send_data(Bytes::new(), true).unwrap(),
                "trailers" => {
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("x-sum", http::HeaderValue::from_static("1"));
                    stream.send_trailers(trailers).unwrap();
                }
                _ => {}
            }
            let response = Http2Client::read(response).await.unwrap();
            assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"helloworld"[..]), "{case}");
            let framed = match ends_with {
                "data" => Length,
                "trailers" => Trailers,
                _ => Chunked,
            };
            let all = [vec!["request_headers 0 0".to_owned()], expected("request", framed, pauses)].concat();
            assert_eq!(notes(&gateway, all.len()).await[..all.len()], all, "{case}");
            let sum = origin.requests()[0].trailers.get("x-sum").map(str::to_owned);
            assert_eq!(sum.as_deref(), (ends_with == "trailers").then_some("1"), "{case}");
        }
    }
}

/// Holds all of a body back, and lets it go a moment after its end.
fn holder(kind: &str, stream: u32) -> Vec<u8> {
    let code = on(&format!("{kind}_body"), &format!("(if (local.get $end) (then {KEEP})) {PAUSE}"));
    script(&(code + &resumed_by_tick(stream, "")))
}

#[tokio::test]
async fn a_response_held_beyond_the_limit_is_an_error_and_never_cut_short() {
    for framed in [Length, Chunked, Trailers, Close] {
        for http2 in [false, true] {
            for (limit, status) in [(10, 200), (9, 500), (4, 500)] {
                let case = format!("{framed:?}, HTTP/2: {http2}, {limit} bytes");
                let gate = Gate::new();
                gate.release_all();
                let origin = in_pieces(framed, &gate);
                let gateway =
                    filtered(&origin, &holder("response", 1), &format!(", limits: {{ body: {limit}B }}"))
                        .await;
                let (answered, body, _, error) = ask(&gateway, http2).await.await.unwrap();
                assert_eq!(answered, status, "{case}");
                match status {
                    200 => assert_eq!(body, b"helloworld", "{case}"),
                    _ => assert_eq!(error.as_deref(), Some("filter.test.body"), "{case}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_held_beyond_the_limit_is_too_large_and_never_cut_short() {
    for framed in [Length, Chunked, Trailers] {
        for (limit, status) in [(10, 200), (9, 413), (4, 413)] {
            for on_error in ["closed", "open"] {
                let case = format!("{framed:?}, {limit} bytes, {on_error}");
                let origin = Origin::echo();
                let keys = format!(", on_error: {on_error}, limits: {{ body: {limit}B }}");
                let gateway = filtered(&origin, &holder("request", 0), &keys).await;
                let mut client = gateway.client("web").await;
                let pieces = format!("{}{}{}", framed.piece("hello"), framed.piece("world"), framed.end());
                client
                    .send_raw(format!("POST / HTTP/1.1\r\nhost: a\r\n{}\r\n{pieces}", framed.field()))
                    .await;
                let response = client.read_response().await;
                assert_eq!(response.status, status, "{case}");
                if status == 200 {
                    assert_eq!(response.body, b"helloworld", "{case}");
                } else {
                    assert_eq!(response.header("x-gateway-error"), Some("filter.test.body"), "{case}");
                    assert_eq!(origin.requests().len(), 0, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_response_whose_beginning_is_out_is_cut_where_too_much_is_held() {
    // The first piece goes, whatever comes behind it does not.
    let code = format!(
        "(global $seen (mut i32) (i32.const 0)) {}",
        on(
            "response_body",
            &format!(
                "(call $note 'response_body' (local.get $size) (local.get $end))
             (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
             (if (result i32) (i32.eq (global.get $seen) (i32.const 1)) (then {CONTINUE}) (else {PAUSE}))"
            )
        )
    );
    for framed in [Length, Chunked, Close] {
        for http2 in [false, true] {
            let gate = Gate::new();
            let origin = in_pieces(framed, &gate);
            let gateway = filtered(&origin, &script(&code), ", limits: { body: 4B }").await;
            if http2 {
                let mut client = Http2Client::connect(gateway.addr("web")).await;
                let head = http::Request::get("http://gateway.test/").body(()).unwrap();
                let (response, _) = client.open(head, true).await.unwrap();
                notes(&gateway, 1).await;
                gate.release_all();
                let error = Http2Client::read(response).await.unwrap_err();
                assert!(error.is_reset(), "{framed:?}: {error}");
            } else {
                let mut client = gateway.client("web").await;
                client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
                let head = client.read_head().await;
                assert!(head.headers.lists("transfer-encoding", "chunked"), "{framed:?}");
                assert_eq!(client.read_exact(10).await, b"5\r\nhello\r\n");
                gate.release_all();
                client.expect_closed().await;
            }
        }
    }
}

#[tokio::test]
async fn a_held_body_continues_from_another_callback_before_its_end() {
    let note = "(call $note 'response_body' (local.get $size) (local.get $end))";
    let module = script(&(on("response_body", &format!("{note} {KEEP} {PAUSE}")) + &resumed_by_tick(1, "")));
    for framed in [Length, Chunked, Close] {
        let gate = Gate::new();
        let origin = in_pieces(framed, &gate);
        let gateway = filtered(&origin, &module, "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.read_head().await;
        assert_eq!(client.read_exact(10).await, b"5\r\nhello\r\n", "{framed:?}");
        gate.release();
        if framed == Length {
            assert_eq!(client.read_exact(15).await, b"5\r\nworld\r\n0\r\n\r\n");
            assert_eq!(notes(&gateway, 2).await, ["response_body 5 0", "response_body 5 1"]);
            continue;
        }
        assert_eq!(client.read_exact(10).await, b"5\r\nworld\r\n", "{framed:?}");
        gate.release();
        assert_eq!(client.read_exact(5).await, b"0\r\n\r\n", "{framed:?}");
        assert_eq!(notes(&gateway, 3).await, ["response_body 5 0", "response_body 5 0", "response_body 0 1"]);
    }
}
