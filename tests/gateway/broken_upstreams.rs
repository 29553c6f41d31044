//! Upstreams that break in the moment in which their response begins: the client gets either a 502 with its reason, or the
//! head, the bytes that there were, and a cut. It never gets nothing.

use support::bytes::Bytes;
use support::{Certificates, Connection, Gateway, Http2Client, Origin, http};

use crate::PROGRAM;
use crate::filtering::{builder, plugin};
use crate::one_route::forwarding_to;
use crate::pooled::OK;

/// The number of tries of each case: the outcome of the two that a client gets depends on the order of events.
const TRIES: usize = 30;

/// Responses behind their status line, none of them whole, and the data in each.
const BROKEN: [(&str, &str); 6] = [
    ("content-length: 10\r\n\r\nhello", "hello"),
    ("content-length: 10\r\n\r\n", ""),
    ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "hello"),
    ("transfer-encoding: chunked\r\n\r\n9\r\nhello", "hello"),
    ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n", "hello"),
    ("transfer-encoding: chunked\r\n\r\nnonsense\r\n", ""),
];

/// The ways in which the origin ends after its broken response.
const ENDS: [&str; 3] = ["/close", "/reset", "/stay"];

/// Sends what the request's body says, and ends as its path says.
async fn break_off(mut connection: Connection) {
    let Some(request) = connection.read_request().await else { return };
    connection.write([b"HTTP/1.1 200 OK\r\n", &request.body[..]].concat()).await;
    match request.target.as_str() {
        "/close" => connection.close().await,
        "/reset" => connection.reset(),
        "/stay" => drop(connection.wait_closed().await),
        _ => {} // dropped: on TLS without close_notify
    }
}

/// The outcome for a client: a status, `x-gateway-error`, the body's bytes, and whether the message ended well.
#[derive(Debug)]
struct Outcome {
    status: u16,
    reason: Option<String>,
    body: String,
    is_whole: bool,
}

impl Outcome {
    /// Holds if this is one of the two outcomes that there may be.
    #[track_caller]
    fn check(&self, data: &str, case: &str) {
        let is_refused = self.status == 502 && self.is_whole && self.reason.is_some();
        let is_cut = self.status == 200 && !self.is_whole && data.starts_with(&self.body);
        assert!(is_refused || is_cut, "{case}: {self:?}");
    }
}

async fn by_http1(gateway: &Gateway, path: &str, sent: &str) -> Outcome {
    let mut client = gateway.client("web").await;
    let length = sent.len();
    client
        .send_raw(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{sent}"))
        .await;
    let mut received = Vec::new();
    loop {
        match client.try_read_some().await {
            Ok(bytes) if !bytes.is_empty() => received.extend_from_slice(&bytes),
            _closed => break,
        }
        if received.windows(15).any(|bytes| bytes == b"x-gateway-error") {
            break; // a whole response, and the connection stays
        }
    }
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path} {sent:?}: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let reason = head.lines().find_map(|line| line.strip_prefix("x-gateway-error: ")).map(str::to_owned);
    let is_whole = reason.is_some() || body.ends_with("0\r\n\r\n");
    let data = body.lines().filter(|line| *line == "hello").collect();
    Outcome { status, reason, body: data, is_whole }
}

async fn by_http2(client: &mut Http2Client, path: &str, sent: &str) -> Outcome {
    let request = http::Request::post(format!("http://a{path}")).body(()).unwrap();
    let (response, mut stream) = client.open(request, false).await.unwrap();
    stream.send_data(Bytes::copy_from_slice(sent.as_bytes()), true).unwrap();
    let response = support::within("a head", response).await;
    let (head, mut body) =
        response.unwrap_or_else(|error| panic!("{path} {sent:?}: no head: {error}")).into_parts();
    let mut data = Vec::new();
    let is_whole = loop {
        match support::within("data or the end", body.data()).await {
            Some(Ok(piece)) => data.extend_from_slice(&piece),
            Some(Err(error)) => {
                assert!(error.is_reset(), "{path} {sent:?}: {error}");
                break false;
            }
            None => break true,
        }
    };
    let reason = head.headers.get("x-gateway-error").map(|reason| reason.to_str().unwrap().to_owned());
    Outcome { status: head.status.as_u16(), reason, body: String::from_utf8(data).unwrap(), is_whole }
}

async fn breaks_in_one_of_two_ways(gateway: &Gateway, ends: &[&str], broken: &[(&str, &str)]) {
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for end in ends {
        for (sent, data) in broken {
            for _ in 0..TRIES {
                by_http1(gateway, end, sent).await.check(data, &format!("HTTP/1.1 {end} {sent:?}"));
                by_http2(&mut http2, end, sent).await.check(data, &format!("HTTP/2 {end} {sent:?}"));
            }
        }
    }
}

/// A filter that reads bodies and changes nothing.
fn reading() -> Vec<u8> {
    plugin(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
           (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))"#,
    )
}

#[tokio::test]
async fn a_response_that_breaks_with_its_head_is_a_502_or_is_cut() {
    let origin = Origin::script(break_off);
    // The other cases wait for more of the response, and would end only by `timeouts.idle`.
    let gateway = forwarding_to(&origin).await;
    breaks_in_one_of_two_ways(&gateway, &ENDS[..2], &BROKEN).await;
    breaks_in_one_of_two_ways(&gateway, &ENDS[2..], &BROKEN[4..]).await;
}

#[tokio::test]
async fn a_response_that_breaks_with_its_head_is_a_502_or_is_cut_behind_a_filter() {
    let origin = Origin::script(break_off);
    let gateway = builder(&origin, &reading(), "").start().await;
    breaks_in_one_of_two_ways(&gateway, &ENDS[..2], &BROKEN).await;
    breaks_in_one_of_two_ways(&gateway, &ENDS[2..], &BROKEN[4..]).await;
}

#[tokio::test]
async fn a_tls_response_that_ends_without_close_notify_is_a_502_or_is_cut() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let origin = Origin::builder().tls(certificates.server_config(&identity)).script(break_off);
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ upstream: {{ url: '{}', tls: {{ ca: {} }} }} }}]",
        origin.url(),
        certificates.ca().display()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    let until_close = [("x-until: close\r\n\r\nhello", "hello"), ("x-until: close\r\n\r\n", "")];
    breaks_in_one_of_two_ways(&gateway, &["/drop"], &until_close).await;
    breaks_in_one_of_two_ways(&gateway, &["/drop", "/reset"], &BROKEN).await;
}

#[tokio::test]
async fn a_filter_that_fails_at_the_first_piece_of_a_response_is_answered_with_its_reason() {
    let failing = plugin(
        r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
           (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) unreachable)"#,
    );
    // Length and body are there at once: nothing of the head has gone out when the filter fails.
    let origin = Origin::answer(OK);
    let gateway = builder(&origin, &failing, "").start().await;
    let mut client = gateway.client("web").await;
    for _ in 0..3 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.header("x-gateway-error")), (500, Some("filter.test.trap")));
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let response = http2.get("http://a/").await;
    assert_eq!(response.status, 500);
    assert_eq!(response.headers["x-gateway-error"], "filter.test.trap");
}

#[tokio::test]
async fn a_response_that_is_replaced_before_its_head_is_logged_as_what_the_client_got() {
    let origin = Origin::script(break_off);
    let gateway = forwarding_to(&origin).await;
    let sent = "transfer-encoding: chunked\r\n\r\nnonsense\r\n";
    let outcome = by_http1(&gateway, "/stay", sent).await;
    assert_eq!((outcome.status, outcome.reason.as_deref()), (502, Some("upstream.framing")));
    let logged = |line: &String| line.contains(r#""status":502"#) && line.contains("upstream.framing");
    support::wait_until("the log line", async || gateway.stdout_lines().iter().any(logged)).await;
}

#[tokio::test]
async fn a_response_replaced_for_http10_leaves_the_connection_in_order() {
    let origin = Origin::script(break_off);
    let gateway = forwarding_to(&origin).await;
    let sent = "transfer-encoding: chunked\r\n\r\nnonsense\r\n";
    let mut client = gateway.client("web").await;
    let length = sent.len();
    let head =
        format!("POST /stay HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: {length}");
    for _ in 0..2 {
        client.send_raw(format!("{head}\r\n\r\n{sent}")).await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.header("connection")), (502, Some("keep-alive")));
    }
}
