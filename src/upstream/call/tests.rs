//! Tests of calls on real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::{Connection, Origin, SilentListener, unused_address};

use super::*;
use crate::config::load::files::Files;
use crate::config::{self, HeaderCase, PoolSettings};
use crate::observe::metrics::enter_worker;
use crate::upstream::pool::{WorkerChannels, worker_channel};
use crate::upstream::targets::Targets;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A caller of an upstream with these endpoints, on the only worker.
struct Caller {
    upstream: Arc<Upstream>,
    timeouts: RouteTimeouts,
    keep_alive: bool,
    time: Duration,
    body_bytes_max: usize,
}

impl Caller {
    fn new(endpoints: &[String]) -> Self {
        enter_worker(0);
        let upstream: config::Upstream =
            serde_json::from_value(json!({ "endpoints": endpoints, "balance": "round_robin" })).unwrap();
        let channels: WorkerChannels = [worker_channel(8).0].into();
        let targets =
            Targets::build(&upstream, &PoolSettings::default(), &channels, None, &Files::new()).unwrap();
        Self {
            upstream: targets.upstream().clone(),
            timeouts: RouteTimeouts::default(),
            keep_alive: true,
            time: support::PATIENCE,
            body_bytes_max: 1000,
        }
    }

    fn of(origin: &Origin) -> Self {
        Self::new(&[origin.url()])
    }

    async fn call(&self, request: &OwnRequest) -> Result<OwnResponse, Error> {
        let limits = CallLimits {
            timeouts: &self.timeouts,
            done_by: Some(Instant::now() + self.time),
            body_bytes_max: self.body_bytes_max,
            keep_alive: self.keep_alive,
            header_case: HeaderCase::Lower,
        };
        call(&self.upstream, request, limits).await
    }

    async fn get(&self) -> Result<Bytes, Error> {
        self.call(&request("GET", &[], b"")).await.map(|response| response.body)
    }

    /// Returns the number of requests that were sent again.
    fn retried(&self) -> u64 {
        self.upstream.current().iter().map(|endpoint| endpoint.report().retried).sum()
    }
}

fn request(method: &str, lines: &[(&'static str, &'static str)], body: &'static [u8]) -> OwnRequest {
    let method = method.parse().unwrap();
    OwnRequest::new(method, "/a?b".to_owned(), Fields::written(lines), Bytes::from_static(body)).unwrap()
}

#[test]
fn a_call_with_an_invalid_method_or_target_is_no_request() {
    for (method, target, is_request) in [
        ("GET", "/", true),
        ("DELETE", "/a%20b?c={d}", true),
        ("CONNECT", "/", false),
        ("OPTIONS", "*", false),
        ("GET", "", false),
        ("GET", "a", false),
        ("GET", "http://a/", false),
        ("GET", "/a b", false),
        ("GET", "/a#b", false),
        ("GET", "/a\r\nx: y", false),
        ("GET", "/ä", false),
        ("GET", "/\0", false),
    ] {
        let made = OwnRequest::new(method.parse().unwrap(), target.to_owned(), Fields::new(), Bytes::new());
        assert_eq!(made.is_some(), is_request, "{method} {target:?}");
    }
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_but_for_what_the_gateway_has_to_say() {
    let origin = Origin::answer(OK);
    let caller = Caller::of(&origin);
    let fields = [
        ("x-a", "1"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("content-length", "999"),
        ("expect", "100-continue"),
        ("upgrade", "websocket"),
        ("trailer", "x-sum"),
        ("x-a", "2"),
    ];
    let with_host = [&fields[..], &[("host", "auth.example"), ("host", "other.example")]].concat();
    caller.call(&request("POST", &with_host, b"body")).await.unwrap();
    let response = caller.call(&request("GET", &[], b"")).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
    assert_eq!(origin.accepted(), 1, "the connection was kept");
    let [post, get] = <[_; 2]>::try_from(origin.requests()).unwrap();
    assert_eq!((&*post.method, &*post.target, &*post.body), ("POST", "/a?b", &b"body"[..]));
    let expected = [("host", "auth.example"), ("x-a", "1"), ("x-a", "2"), ("content-length", "4")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(post.headers.0, expected);
    let host = origin.addr().to_string();
    assert_eq!(get.headers.0, [("host".to_owned(), host)], "the endpoint's");
}

#[tokio::test]
async fn a_connection_is_not_kept_where_it_should_not() {
    let origin = Origin::answer("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    let caller = Caller { keep_alive: false, ..Caller::of(&origin) };
    for _ in 0..2 {
        assert_eq!(caller.call(&request("GET", &[], b"")).await.unwrap().status, StatusCode::NO_CONTENT);
    }
    assert_eq!(origin.accepted(), 2);
    assert!(origin.requests().iter().all(|request| request.headers.get("connection") == Some("close")));
}

#[tokio::test]
async fn a_response_comes_as_a_whole_with_its_trailers_and_without_what_was_for_the_connection() {
    let origin = Origin::answer(
        "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n\
         HTTP/1.1 418 Teapot\r\ntransfer-encoding: chunked\r\nx-a: 1\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
         3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-sum: 7\r\nset-cookie: a=b\r\n\r\n",
    );
    let response = Caller::of(&origin).call(&request("GET", &[], b"")).await.unwrap();
    assert_eq!((response.status.as_u16(), &response.body[..]), (418, &b"abcdefg"[..]));
    assert_eq!(response.headers, Fields::written(&[("x-a", "1")]));
    assert_eq!(response.trailers, Some(Fields::written(&[("x-sum", "7")])));
}

#[tokio::test]
async fn a_body_has_a_limit_however_it_is_framed() {
    for framed in [
        "content-length: 7\r\n\r\nabcdefg",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
        "connection: close\r\n\r\nabcdefg",
    ] {
        let origin = Origin::answer(format!("HTTP/1.1 200 OK\r\n{framed}"));
        for (limit, expected) in [(7, Ok(&b"abcdefg"[..])), (6, Err(Error::ResponseTooLarge))] {
            let caller = Caller { body_bytes_max: limit, ..Caller::of(&origin) };
            assert_eq!(caller.get().await.as_deref(), expected.as_ref().copied(), "{limit}: {framed}");
        }
    }
    // A body whose length is too long is rejected at once. A response without a body has no limit.
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n");
    let caller = Caller { body_bytes_max: 0, ..Caller::of(&origin) };
    assert_eq!(caller.get().await, Err(Error::ResponseTooLarge));
    assert_eq!(caller.call(&request("HEAD", &[], b"")).await.unwrap().body, "");
}

#[tokio::test]
async fn a_call_tries_the_next_endpoint_if_no_connection_can_be_opened() {
    let origin = Origin::answer(OK);
    let refuses = || format!("http://{}", unused_address());
    let caller = Caller::new(&[refuses(), refuses(), origin.url()]);
    for _ in 0..3 {
        assert_eq!(caller.get().await, Ok(Bytes::from("ok")));
    }
    assert_eq!((caller.retried(), origin.requests().len()), (3, 3), "two, one and none, in turn");
    let caller = Caller::new(&[refuses(), refuses()]);
    assert_eq!(caller.get().await, Err(Error::ConnectFailed));
    assert_eq!(caller.retried(), 1, "each was asked once");
}

/// Returns an origin that responds to the first request on a connection. On the first `stale` connections it closes
/// instead of responding to the second.
fn stale(stale: usize) -> Origin {
    Origin::script(move |mut connection: Connection| async move {
        while connection.read_request().await.is_some() {
            connection.write(OK).await;
            if connection.number() < stale {
                connection.read_request().await;
                return;
            }
        }
    })
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_closed_is_replaced_once_where_nothing_is_done_twice() {
    let origin = stale(1);
    let caller = Caller::of(&origin);
    for _ in 0..3 {
        assert_eq!(caller.get().await, Ok(Bytes::from("ok")));
    }
    assert_eq!((origin.accepted(), caller.retried()), (2, 1));

    let origin = stale(1);
    let caller = Caller::of(&origin);
    let post = request("POST", &[], b"pay");
    caller.call(&post).await.unwrap();
    assert_eq!(caller.call(&post).await.err(), Some(Error::UpstreamClosed), "it may have been received");
    assert_eq!((origin.requests().len(), caller.retried()), (2, 0));

    // A new connection that closes is not a stale one.
    let origin = Origin::script(|mut connection: Connection| async move {
        connection.read_request().await;
    });
    let caller = Caller::of(&origin);
    assert_eq!(caller.get().await, Err(Error::UpstreamClosed));
    assert_eq!((origin.accepted(), caller.retried()), (1, 0));
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_in_every_phase() {
    let scripts = [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no",
        // For a client's event stream this deadline would not apply.
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n",
    ];
    let time = Duration::from_millis(30);
    for script in scripts {
        let origin = Origin::script(move |mut connection: Connection| async move {
            connection.read_request().await;
            connection.write(script).await;
            connection.wait_closed().await;
        });
        let caller = Caller { time, ..Caller::of(&origin) };
        assert_eq!(caller.get().await, Err(Error::RequestTimeout), "{script}");
        let timeouts = RouteTimeouts { request: Some(time), ..RouteTimeouts::default() };
        let caller = Caller { timeouts, ..Caller::of(&origin) };
        assert_eq!(caller.get().await, Err(Error::RequestTimeout), "{script}");
        origin.wait_for_open(0).await;
    }
    let silent = SilentListener::start().await;
    let caller = Caller { time, ..Caller::new(&[format!("http://{}", silent.addr())]) };
    assert_eq!(caller.get().await, Err(Error::RequestTimeout), "to connect");
    let caller = Caller { time, ..Caller::new(&["http://name.invalid".to_owned()]) };
    assert_eq!(caller.get().await, Err(Error::RequestTimeout), "to be looked up");
}

#[tokio::test]
async fn an_invalid_response_fails_a_call_with_the_reason_of_a_forwarded_request() {
    for (answer, error) in [
        ("nonsense\r\n\r\n", Error::ResponseMalformed("status line")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nshort", Error::ResponseTruncated),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: a\r\n\r\n",
            Error::UnexpectedUpgrade,
        ),
    ] {
        let origin = Origin::script(move |mut connection: Connection| async move {
            connection.read_request().await;
            connection.write(answer).await;
        });
        let given = Caller::of(&origin).get().await.unwrap_err();
        assert_eq!(given.reason(), error.reason(), "{answer}");
    }
}

/// The log of this thread, from which the outcomes of attempts are read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Returns the outcomes since the last call, in order.
    fn outcomes(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().filter_map(|line| Some(line.split_once("outcome=")?.1.trim().to_owned())).collect()
    }
}

#[tokio::test]
async fn each_attempt_has_exactly_one_outcome() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());

    let origin = Origin::answer(OK);
    Caller::new(&[format!("http://{}", unused_address()), origin.url()]).get().await.unwrap();
    assert_eq!(log.outcomes(), ["no connection", "status 200"]);

    let origin = stale(1);
    let caller = Caller::of(&origin);
    for outcomes in [&["status 200"][..], &["unknown", "status 200"]] {
        caller.get().await.unwrap();
        assert_eq!(log.outcomes(), outcomes, "a stale connection says nothing");
    }

    let origin = Origin::answer("nonsense\r\n\r\n");
    Caller::of(&origin).get().await.unwrap_err();
    assert_eq!(log.outcomes(), ["broken connection"]);

    let silent = Origin::script(|mut connection: Connection| async move {
        connection.read_request().await;
        connection.write(OK).await;
        connection.wait_closed().await;
    });
    let mut caller = Caller::of(&silent);
    caller.get().await.unwrap();
    caller.time = Duration::from_millis(30);
    caller.get().await.unwrap_err();
    assert_eq!(log.outcomes(), ["status 200", "too slow"]);

    caller.time = support::PATIENCE;
    caller.get().await.unwrap();
    let abandoned = tokio::time::timeout(Duration::from_millis(30), caller.get()).await;
    assert!(abandoned.is_err());
    assert_eq!(log.outcomes(), ["status 200", "unknown"]);
}
