//! gRPC calls: messages and trailers in both directions, errors as `grpc-status`, and deadlines.

use std::time::{Duration, Instant};

use support::bytes::Bytes;
use support::http::request::Builder;
use support::http::{HeaderMap, Request};
use support::serde_json::{Value, from_str};
use support::{Gate, Gateway, Http2Client, Http2Response, Origin, unused_address, wait_until};

use crate::gateway;
use crate::one_route::{builder, forwarding_to, forwarding_with};

/// A message of gRPC: a flag, a length, and its data.
pub(crate) fn message(data: &str) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&[0], &length[..], data.as_bytes()].concat()
}

/// A response of gRPC with these messages and this status in its trailers, in HTTP/1.
pub(crate) fn answer(messages: &[&str], status: u8) -> Vec<u8> {
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    messages.iter().for_each(|data| answer.extend(chunk(&message(data))));
    answer.extend(format!("0\r\ngrpc-status: {status}\r\ngrpc-message: done\r\n\r\n").as_bytes());
    answer
}

pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn call(path: &str) -> Builder {
    let call = Request::post(format!("http://a{path}"));
    call.header("content-type", "application/grpc+proto").header("te", "trailers")
}

async fn respond_to(gateway: &Gateway, call: Builder, body: impl Into<Bytes>) -> Http2Response {
    Http2Client::connect(gateway.addr("web")).await.request(call.body(body.into()).unwrap()).await
}

fn field<'f>(fields: &'f HeaderMap, name: &str) -> Option<&'f str> {
    fields.get(name).map(|value| value.to_str().unwrap())
}

/// The status of HTTP, that of gRPC, the reason, and the bytes of the body.
fn told(response: &Http2Response) -> (u16, Option<&str>, Option<&str>, usize) {
    let Http2Response { status, headers, body, .. } = response;
    (status.as_u16(), field(headers, "grpc-status"), field(headers, "x-gateway-error"), body.len())
}

/// The line of the access log that has this text, with its quotes. A command of the start shows paths, too.
async fn log_line(gateway: &Gateway, text: &str) -> Value {
    from_str(&gateway.wait_for_stdout(&format!("\"{text}\"")).await).unwrap()
}

#[tokio::test]
async fn unary_call_passes_with_its_trailers() {
    let origin = Origin::answer(answer(&["world"], 0));
    let gateway = forwarding_to(&origin).await;
    let response = respond_to(&gateway, call("/a.B/C").header("grpc-timeout", "10S"), message("hello")).await;
    assert_eq!((response.status.as_u16(), &response.body[..]), (200, &message("world")[..]));
    assert_eq!(field(&response.headers, "content-type"), Some("application/grpc+proto"));
    assert_eq!(field(&response.trailers, "grpc-status"), Some("0"));
    assert_eq!(field(&response.trailers, "grpc-message"), Some("done"));
    let request = origin.requests().pop().unwrap();
    assert_eq!((request.target.as_str(), &request.body[..]), ("/a.B/C", &message("hello")[..]));
    assert_eq!(request.headers.get("te"), Some("trailers"));
    assert_eq!(request.headers.get("content-type"), Some("application/grpc+proto"));
    assert_eq!(request.headers.get("grpc-timeout"), Some("10S"), "the upstream measures the same time");
    let line = log_line(&gateway, "/a.B/C").await;
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &0.into()), "{line}");
}

#[tokio::test]
async fn messages_of_both_directions_pass_as_they_come() {
    let origin = Origin::script(async |mut connection| {
        connection.read_head().await;
        connection
            .write("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        for number in 0..3 {
            let expected = chunk(&message(&format!("ping {number}")));
            let received = connection.read_exact(expected.len()).await;
            assert_eq!(received.unwrap(), expected);
            connection.write(chunk(&message(&format!("pong {number}")))).await;
        }
        connection.read_exact(5).await;
        connection.write("0\r\ngrpc-status: 0\r\n\r\n").await;
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, mut stream) = client.open(call("/a.B/Chat").body(()).unwrap(), false).await.unwrap();
    let mut body = response.await.unwrap().into_body();
    for number in 0..3 {
        stream.send_data(message(&format!("ping {number}")).into(), false).unwrap();
        let pong = body.data().await.unwrap().unwrap();
        assert_eq!(&pong[..], message(&format!("pong {number}")));
        body.flow_control().release_capacity(pong.len()).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(body.data().await.is_none());
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(field(&trailers, "grpc-status"), Some("0"));
    assert_eq!(origin.errors(), <[String; 0]>::default());
}

#[tokio::test]
async fn response_without_trailers_ends_with_its_head() {
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 5\r\ncontent-length: 0\r\n\r\n",
    );
    let gateway = forwarding_to(&origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, _) = client.open(call("/a.B/C").body(()).unwrap(), true).await.unwrap();
    let response = response.await.unwrap();
    assert_eq!(field(response.headers(), "grpc-status"), Some("5"));
    assert!(response.body().is_end_stream());
    assert_eq!(log_line(&gateway, "/a.B/C").await["grpc_status"], 5);
}

#[tokio::test]
async fn errors_of_the_gateway_are_statuses_of_grpc() {
    let closing = Origin::script(async |mut connection| {
        connection.read_request().await;
    });
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, limits: { target_bytes: 100B, headers: 10 } }]
admin: { address: 127.0.0.1:0 }
routes:
  - { name: down, match: { path: /down }, upstream: { url: 'http://{unused}' }, retry: { attempts: 0 } }
  - { name: closing, match: { path: /closing }, upstream: { url: '{closing}' }, retry: { attempts: 0 } }
  - { name: small, match: { path: /small }, upstream: { url: '{closing}' }, limits: { body: 4B } }",
    )
    .set("unused", unused_address())
    .set("closing", closing.url())
    .start()
    .await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let long = format!("/{}", "x".repeat(100));
    for (path, status, reason) in [
        ("/none", "12", "route.none"),
        ("/down", "14", "upstream.connect"),
        ("/closing", "14", "upstream.closed"),
        ("/small", "8", "limits.body"),
        ("/a%00b", "13", "path.control_character"),
        (long.as_str(), "8", "limits.target_bytes"),
    ] {
        let request = call(path).body(message("hello").into()).unwrap();
        let response = client.request(request).await;
        assert_eq!(told(&response), (200, Some(status), Some(reason), 0), "{path}");
        assert_eq!(field(&response.headers, "content-type"), Some("application/grpc"));
        assert_eq!(field(&response.headers, "content-length"), None, "it would be metadata");
        let text = field(&response.headers, "grpc-message").unwrap();
        assert!(text.starts_with(&format!("{reason}: ")), "{text}");
        assert!(response.trailers.is_empty());
    }
    let many = (0..10).fold(call("/none"), |call, _| call.header("x", "y"));
    let response = client.request(many.body(Bytes::new()).unwrap()).await;
    assert_eq!(told(&response), (200, Some("8"), Some("limits.headers"), 0));
    let (response, _) = client.open(call("/none").body(()).unwrap(), true).await.unwrap();
    assert!(response.await.unwrap().body().is_end_stream(), "END_STREAM is on the head");

    // The log and the metrics have the reason, and the status that the client got.
    let line = log_line(&gateway, "/down").await;
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &14.into()), "{line}");
    assert_eq!(line["error"], "upstream.connect");
    let counted = r#"gateway_request_errors_total{route="down",reason="upstream.connect"}"#;
    wait_until("the error is counted", async || gateway.metric(counted).await == Some(1.0)).await;
    let counted = r#"gateway_grpc_calls_total{route="down",grpc_status="UNAVAILABLE"}"#;
    assert_eq!(gateway.metric(counted).await, Some(1.0));

    // HTTP/1 has the same, and other requests have their own.
    let mut client = gateway.client("web").await;
    let grpc = [("content-type", "application/grpc")];
    let response = client.request("POST", "/down", &grpc, b"hello").await;
    assert_eq!((response.status, response.header("grpc-status")), (200, Some("14")));
    let response = client.request("GET", "/none", &grpc, b"").await;
    assert_eq!((response.status, response.header("grpc-status")), (404, None), "calls are POST");
    let response = client
        .request("POST", "/down", &[("content-type", "a/b"), ("user-agent", "text/plain")], b"hello")
        .await;
    assert_eq!((response.status, response.header("grpc-status")), (503, None));
    assert_eq!(log_line(&gateway, "text/plain").await["grpc_status"], Value::Null);
}

#[tokio::test]
async fn response_of_an_upstream_that_is_not_grpc_passes() {
    let origin =
        Origin::answer("HTTP/1.1 503 Busy\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nbusy");
    let gateway = forwarding_to(&origin).await;
    let response = respond_to(&gateway, call("/a.B/C"), message("hello")).await;
    assert_eq!((told(&response), &response.body[..]), ((503, None, None, 4), &b"busy"[..]));
}

#[tokio::test]
async fn response_that_breaks_off_resets_its_stream() {
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            connection
                .write(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
                )
                .await;
            connection.write(chunk(&message("half"))).await;
            gate.pass().await;
        }
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, _) = client.open(call("/a.B/C").body(()).unwrap(), true).await.unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(&body.data().await.unwrap().unwrap()[..], message("half"));
    gate.release();
    assert!(body.data().await.unwrap().unwrap_err().is_reset());
    let line = log_line(&gateway, "upstream.truncated").await;
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &Value::Null), "{line}");
}

/// An origin that sends the head of a response and a message if `begins`, and then nothing.
fn stalled(begins: bool) -> Origin {
    Origin::script(move |mut connection| async move {
        connection.read_request().await;
        if begins {
            connection
                .write(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
                )
                .await;
            connection.write(chunk(&message("one"))).await;
        }
        connection.wait_closed().await;
    })
}

#[tokio::test]
async fn deadline_of_the_client_ends_its_call() {
    let origin = stalled(false);
    let gateway = forwarding_to(&origin).await;
    let began = Instant::now();
    let response =
        respond_to(&gateway, call("/a.B/C").header("grpc-timeout", "200m"), message("hello")).await;
    assert_eq!(told(&response), (200, Some("4"), Some("grpc.timeout"), 0));
    assert!(began.elapsed() >= Duration::from_millis(190), "after {:?}", began.elapsed());
    origin.wait_for_open(0).await;
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.headers.get("grpc-timeout"), Some("200m"));
    let line = log_line(&gateway, "/a.B/C").await;
    assert_eq!((&line["error"], &line["grpc_status"]), (&"grpc.timeout".into(), &4.into()), "{line}");
    assert!(!gateway.logs().iter().any(|line| line.contains("WARN")), "the client chose the deadline");
}

#[tokio::test]
async fn deadline_of_the_client_ends_a_stream_too() {
    let origin = stalled(true);
    let gateway = forwarding_to(&origin).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let head = call("/a.B/Watch").header("grpc-timeout", "300m").body(()).unwrap();
    let (response, _stream) = client.open(head, true).await.unwrap();
    let mut body = response.await.unwrap().into_body();
    assert_eq!(&body.data().await.unwrap().unwrap()[..], message("one"));
    assert!(body.data().await.unwrap().unwrap_err().is_reset());
    origin.wait_for_open(0).await;
    assert_eq!(log_line(&gateway, "/a.B/Watch").await["error"], "grpc.timeout");
}

#[tokio::test]
async fn earlier_of_the_two_deadlines_holds() {
    let origin = stalled(false);
    let gateway = forwarding_with(&origin, ", timeouts: { request: 200ms }").await;
    for (timeout, reason) in [
        ("100m", "grpc.timeout"),
        ("10S", "timeouts.request"),
        ("99999999H", "timeouts.request"),
        ("soon", "timeouts.request"),
    ] {
        let response =
            respond_to(&gateway, call("/").header("grpc-timeout", timeout), message("hello")).await;
        assert_eq!(told(&response), (200, Some("4"), Some(reason), 0), "{timeout}");
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.headers.get("grpc-timeout"), Some(timeout), "a malformed one is the server's");
    }
    // It is a field like any other in requests that are not calls.
    let other = Request::get("http://a/").header("grpc-timeout", "1m").body(Bytes::new()).unwrap();
    let response = Http2Client::connect(gateway.addr("web")).await.request(other).await;
    assert_eq!(
        (response.status.as_u16(), field(&response.headers, "x-gateway-error")),
        (504, Some("timeouts.request"))
    );
}

#[tokio::test]
async fn call_without_any_time_does_not_reach_the_upstream() {
    let origin = stalled(false);
    let gateway = forwarding_to(&origin).await;
    let response = respond_to(&gateway, call("/").header("grpc-timeout", "0n"), message("hello")).await;
    assert_eq!(told(&response), (200, Some("4"), Some("grpc.timeout"), 0));
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn late_response_head_is_a_deadline_that_was_exceeded() {
    let origin = stalled(false);
    let gateway = builder(&origin, ", timeouts: { response_header: 200ms }").start().await;
    let response = respond_to(&gateway, call("/").header("grpc-timeout", "1M"), message("hello")).await;
    assert_eq!(told(&response), (200, Some("4"), Some("timeouts.response_header"), 0));
}
