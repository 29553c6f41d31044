//! Calls, streams and WebSockets on shared connections to an upstream while the configuration changes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use support::bytes::Bytes;
use support::h2::server::Builder;
use support::h2::{RecvStream, SendStream};
use support::http::{HeaderMap, Method, Request, Response};
use support::{Client, Gateway, Http2Client, Http2Exchange, Origin, with_longer_and_longer, within};
use tokio::task::JoinSet;

use crate::grpc::message;
use crate::pooled::number;
use crate::websocket_upstream_http2::open_at as open_websocket;

/// The keys of the route `up` that the reloads set in turn.
const CHANGES: [&str; 7] = [
    "",
    "limits: { body: 1MiB }",
    "pool: { max_streams: 3 }",
    "timeouts: { request: 50s }",
    "pool: { max_streams: 200, max_connections: 2 }",
    "retry: { attempts: 0 }",
    "pool: { max_streams: 1, max_connections: 40 }",
];

/// A configuration with a route `up`, which has these keys, and further routes by these names to the same origin.
fn config(keys: &str, others: &[&str]) -> String {
    let route = |name: &str, keys: &str| {
        format!(
            "  - name: {name}\n    match: {{ prefix: /{name} }}\n    upstream: {{ url: '{{origin}}', protocol: h2 }}\n    {keys}\n"
        )
    };
    let others: String = others.iter().map(|name| route(name, "")).collect();
    format!(
        "workers: 2\nlisteners: [{{ name: web, address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         telemetry: {{ access_log: off }}\nroutes:\n{}{others}",
        route("up", keys)
    )
}

/// An origin of calls and WebSockets, whose streams send back each piece as it comes.
fn echoing() -> Origin {
    let mut settings = Builder::new();
    settings.enable_connect_protocol();
    Origin::builder().http2(settings, echo)
}

async fn echo(mut exchange: Http2Exchange) {
    let (head, mut requests) = exchange.request.into_parts();
    let reply = Response::builder();
    let is_call = head.method != Method::CONNECT;
    let reply = if is_call { reply.header("content-type", "application/grpc") } else { reply };
    let Ok(mut replies) = exchange.responder.send_response(reply.body(()).unwrap(), false) else { return };
    while let Some(Ok(data)) = requests.data().await {
        drop(requests.flow_control().release_capacity(data.len()));
        if replies.send_data(data, false).is_err() {
            return;
        }
    }
    if is_call {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        drop(replies.send_trailers(trailers));
    } else {
        drop(replies.send_data(Bytes::new(), true));
    }
}

async fn start(origin: &Origin, config: String) -> Gateway {
    crate::gateway(config).set("origin", origin.url()).start().await
}

fn call(path: &str) -> Request<()> {
    let call = Request::post(format!("http://a{path}"));
    call.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap()
}

/// A stream whose both halves are open: a call, or a WebSocket of HTTP/2.
struct Stream {
    requests: SendStream<Bytes>,
    replies: RecvStream,
}

impl Stream {
    async fn call(client: &mut Http2Client, path: &str) -> Self {
        let (response, requests) = client.open(call(path), false).await.unwrap();
        let response = within("the head of a call", response).await.unwrap();
        assert!(!response.headers().contains_key("grpc-status"), "{response:?}");
        Self { requests, replies: response.into_body() }
    }

    async fn websocket(client: &mut Http2Client, uri: &str) -> Self {
        let (response, requests) = client.connect_protocol(uri, "websocket").await.unwrap();
        assert_eq!(response.status(), 200);
        Self { requests, replies: response.into_body() }
    }

    async fn reply(&mut self) -> Option<Result<Bytes, support::h2::Error>> {
        let reply = within("a reply", self.replies.data()).await;
        if let Some(Ok(reply)) = &reply {
            self.replies.flow_control().release_capacity(reply.len()).unwrap();
        }
        reply
    }

    /// Sends a message and reads it back.
    async fn exchange(&mut self, text: &str) {
        let sent = message(text);
        self.requests.send_data(sent.clone().into(), false).unwrap();
        let mut received = Vec::new();
        while received.len() < sent.len() {
            received.extend_from_slice(&self.reply().await.unwrap().unwrap());
        }
        assert_eq!(received, sent);
    }

    /// Ends the client's half, and returns the trailers of the other one.
    async fn end(mut self) -> HeaderMap {
        self.requests.send_data(Bytes::new(), true).unwrap();
        // The end may come with a frame that is empty.
        while let Some(reply) = self.reply().await {
            assert_eq!(reply.unwrap(), Bytes::new());
        }
        within("trailers", self.replies.trailers()).await.unwrap().unwrap_or_default()
    }
}

async fn exchange(websocket: &mut Client, text: &str) {
    websocket.send_raw(text).await;
    assert_eq!(websocket.read_exact(text.len()).await, text.as_bytes());
}

#[tokio::test]
async fn streams_and_websockets_outlive_reloads_that_keep_their_route() {
    let origin = echoing();
    let gateway = start(&origin, config("", &[])).await;
    let (mut calls, mut sockets, mut sockets_of_http_1) = (Vec::new(), Vec::new(), Vec::new());
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        for _ in 0..3 {
            calls.push(Stream::call(&mut client, "/up").await);
        }
        sockets.push(Stream::websocket(&mut client, "http://a/up").await);
        sockets_of_http_1.push(open_websocket(&gateway, "/up").await);
        clients.push(client);
    }
    let streams = (calls.len() + sockets.len() + sockets_of_http_1.len()) as u64;
    let opened = number(&gateway.pool("up").await, "opened");
    assert!(opened <= 2, "one for each worker");
    for (round, keys) in CHANGES.iter().cycle().skip(1).take(14).enumerate() {
        let others: &[&str] = if round % 2 == 0 { &["other"] } else { &[] };
        gateway.reload(&config(keys, others)).await;
        let text = format!("round {round}");
        for stream in calls.iter_mut().chain(&mut sockets) {
            stream.exchange(&text).await;
        }
        for socket in &mut sockets_of_http_1 {
            exchange(socket, &text).await;
        }
        let pool = gateway.pool("up").await;
        assert_eq!([number(&pool, "streams"), number(&pool, "opened")], [streams, opened], "{pool:#}");
    }
    for call in calls {
        assert_eq!(call.end().await["grpc-status"], "0");
    }
    for socket in sockets {
        assert!(socket.end().await.is_empty());
    }
    for mut socket in sockets_of_http_1 {
        socket.half_close().await;
        assert_eq!(socket.read_to_end().await.unwrap(), b"");
    }
    gateway.wait_for_pool("up", "no streams", |pool| number(pool, "streams") == 0).await;
    assert_eq!(origin.errors(), <[String; 0]>::default());
}

/// Makes calls one after the other until it is told to stop. Returns their number.
async fn keep_calling(gateway: &Gateway, stop: Arc<AtomicBool>) -> impl Future<Output = usize> + use<> {
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    async move {
        for number in 0.. {
            if stop.load(Relaxed) {
                return number;
            }
            let sent = message(&format!("call {number}"));
            let response = client.request(call("/up").map(|()| Bytes::from(sent.clone()))).await;
            assert_eq!((response.status.as_u16(), &response.body), (200, &sent), "{response:?}");
            assert_eq!(response.trailers["grpc-status"], "0");
        }
        unreachable!("usize has an end")
    }
}

#[tokio::test]
async fn calls_and_handshakes_succeed_while_the_configuration_changes() {
    let origin = echoing();
    let gateway = Arc::new(start(&origin, config("", &[])).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut calling = JoinSet::new();
    for _ in 0..12 {
        calling.spawn(keep_calling(&gateway, stop.clone()).await);
    }
    let opening = {
        let (gateway, stop) = (gateway.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Relaxed) {
                let mut socket = open_websocket(&gateway, "/up").await;
                exchange(&mut socket, "hello").await;
                socket.half_close().await;
                assert_eq!(socket.read_to_end().await.unwrap(), b"");
            }
        })
    };
    for (round, keys) in CHANGES.iter().cycle().skip(1).take(21).enumerate() {
        let others: &[&str] = [&[][..], &["other"], &["other", "third"]][round % 3];
        gateway.reload(&config(keys, others)).await;
    }
    stop.store(true, Relaxed);
    while let Some(calls) = calling.join_next().await {
        assert!(calls.unwrap() > 0);
    }
    opening.await.unwrap();
    let errors = gateway.metrics().await;
    let errors: Vec<&str> =
        errors.lines().filter(|line| line.starts_with("gateway_request_errors_total{")).collect();
    assert!(errors.iter().all(|line| line.ends_with(" 0")), "{errors:#?}");
}

#[tokio::test]
async fn streams_of_a_removed_route_end_in_their_own_time() {
    let origin = echoing();
    let gateway = start(&origin, config("", &["gone"])).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let mut stream = Stream::call(&mut client, "/gone").await;
    let mut socket = open_websocket(&gateway, "/gone").await;
    let mut kept = Stream::call(&mut client, "/up").await;
    gateway.reload(&config("", &[])).await;
    let response = client.request(call("/gone").map(|()| Bytes::new())).await;
    assert_eq!(response.headers["grpc-status"], "12");
    assert_eq!(response.headers["x-gateway-error"], "route.none");
    for round in 0..3 {
        stream.exchange("still here").await;
        exchange(&mut socket, "still here").await;
        kept.exchange("kept").await;
        gateway.reload(&config(CHANGES[round + 1], &[])).await;
    }
    assert_eq!(stream.end().await["grpc-status"], "0");
    exchange(&mut socket, "alone").await;
    socket.half_close().await;
    assert_eq!(socket.read_to_end().await.unwrap(), b"");
    // Their pool has gone with the last of them, and the other one's connection has stayed.
    origin.wait_for_open(1).await;
    kept.exchange("kept").await;
    assert_eq!(kept.end().await["grpc-status"], "0");
}

#[tokio::test]
async fn streams_of_a_removed_route_end_at_the_limit_of_the_drain() {
    with_longer_and_longer(end_at_the_limit).await;
}

async fn end_at_the_limit(drain: Duration) {
    let shutdown = format!("shutdown: {{ drain: {}ms, drain_removed_routes: true }}\n", drain.as_millis());
    let limited = |others: &[&str]| format!("{shutdown}{}", config("", others));
    let origin = echoing();
    let gateway = start(&origin, limited(&["gone"])).await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let mut stream = Stream::call(&mut client, "/gone").await;
    let mut socket = open_websocket(&gateway, "/gone").await;
    let mut kept = Stream::call(&mut client, "/up").await;
    let began = Instant::now();
    gateway.reload(&limited(&[])).await;
    stream.exchange("still here").await;
    exchange(&mut socket, "still here").await;
    assert!(stream.reply().await.is_some_and(|reply| reply.is_err()), "a reset");
    socket.expect_closed().await;
    assert!(began.elapsed() >= drain, "after {:?}", began.elapsed());
    origin.wait_for_open(1).await;
    kept.exchange("kept").await;
    assert_eq!(kept.end().await["grpc-status"], "0");
}
