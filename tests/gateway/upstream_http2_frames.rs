//! HTTP/2 upstreams that send frames by hand: requests that they have not processed, and the faults of RFC 9113.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use support::{Connection, Gate, Gateway, Origin};

use crate::pooled::{self, ROUTE, closed, number, refusal, settled};
use crate::raw_frames::{
    ACK, CANCEL, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADER_BYTES, HEADERS, PING, PREFACE,
    REFUSED_STREAM, RST_STREAM, SETTINGS, block, frame, payload_length,
};

const INTERNAL_ERROR: u32 = 2;

/// The server's side of a connection of which a test writes the frames.
struct Server {
    connection: Connection,
}

impl Server {
    /// Reads the client's preface and sends settings.
    async fn begin(mut connection: Connection) -> Option<Self> {
        assert_eq!(connection.read_exact(PREFACE.len()).await?, PREFACE);
        let mut server = Self { connection };
        server.send(SETTINGS, 0, 0, &[]).await;
        Some(server)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.connection.write(frame(kind, flags, stream, payload)).await;
    }

    async fn next(&mut self) -> Option<Frame> {
        let mut bytes = self.connection.read_exact(HEADER_BYTES).await?;
        let payload = self.connection.read_exact(payload_length(&bytes)).await?;
        bytes.extend(payload);
        Frame::take(&mut bytes)
    }

    /// Returns the next frame of this kind.
    async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads a request to its end. Returns its stream.
    async fn request(&mut self) -> Option<u32> {
        let head = self.next_of(HEADERS).await?;
        let mut ended = head.flags & END_STREAM != 0;
        while !ended {
            ended = self.next_of(DATA).await?.flags & END_STREAM != 0;
        }
        Some(head.stream)
    }

    async fn respond(&mut self, stream: u32, body: &str) {
        self.send(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])).await;
        self.send(DATA, END_STREAM, stream, body.as_bytes()).await;
    }

    async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    async fn goaway(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), 0u32.to_be_bytes()].concat()).await;
    }

    /// Responds to requests until the client closes the connection.
    async fn serve(mut self) {
        while let Some(stream) = self.request().await {
            self.respond(stream, "ok").await;
        }
    }
}

async fn start(origin: &Origin, keys: &str) -> Gateway {
    let upstream = format!("{{ url: '{}', protocol: h2 }}", origin.url());
    pooled::builder(1, &upstream, keys).start().await
}

/// Sends a POST with a small body.
async fn post(gateway: &Gateway) -> support::Response {
    gateway.client("web").await.request("POST", "/", &[], b"body").await
}

/// An origin whose first requests end as `fail` says, each on the stream that it is given, and later ones in order.
fn failing_first<F, Fut>(failures: usize, fail: F) -> (Origin, Arc<AtomicUsize>)
where
    F: Fn(Server, u32) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Option<Server>> + Send + 'static,
{
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let origin = Origin::script(move |connection| {
        let (requests, fail) = (counted.clone(), fail.clone());
        async move {
            let Some(mut server) = Server::begin(connection).await else { return };
            while let Some(stream) = server.request().await {
                if requests.fetch_add(1, SeqCst) >= failures {
                    server.respond(stream, "ok").await;
                    continue;
                }
                match fail(server, stream).await {
                    Some(failed) => server = failed,
                    None => return,
                }
            }
        }
    });
    (origin, requests)
}

#[tokio::test]
async fn a_refused_stream_goes_again_once_whatever_the_method() {
    for failures in [1, 2] {
        let (origin, requests) = failing_first(failures, async |mut server: Server, stream| {
            server.reset(stream, REFUSED_STREAM).await;
            Some(server)
        });
        let gateway = start(&origin, "retry: { attempts: 0 }").await;
        let response = post(&gateway).await;
        match failures {
            1 => assert_eq!((response.status, &*response.body), (200, &b"ok"[..])),
            _ => assert_eq!(refusal(&response), (503, "upstream.refused")),
        }
        assert_eq!(requests.load(SeqCst), 2);
    }
}

#[tokio::test]
async fn a_stream_above_the_last_of_a_goaway_goes_again_on_another_connection() {
    let (origin, requests) = failing_first(1, async |mut server: Server, stream| {
        server.goaway(stream - 1).await;
        server.connection.wait_closed().await;
        None
    });
    let gateway = start(&origin, "").await;
    let response = post(&gateway).await;
    assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
    assert_eq!((requests.load(SeqCst), origin.accepted()), (2, 2));
    assert_eq!(closed(&gateway.pool(ROUTE).await, "peer"), 1);
}

#[tokio::test]
async fn a_request_outlives_several_connections_that_end_before_it_was_processed() {
    let (origin, requests) = failing_first(5, async |mut server: Server, stream| {
        server.goaway(stream - 1).await;
        server.connection.wait_closed().await;
        None
    });
    let gateway = start(&origin, "retry: { attempts: 0 }").await;
    assert_eq!(post(&gateway).await.body, b"ok");
    assert_eq!((requests.load(SeqCst), origin.accepted()), (6, 6));
}

#[tokio::test]
async fn streams_up_to_the_last_of_a_goaway_are_still_served() {
    let (origin, _) = failing_first(1, async |mut server: Server, stream| {
        server.goaway(stream).await;
        server.respond(stream, "late").await;
        server.connection.wait_closed().await;
        None
    });
    let gateway = start(&origin, "").await;
    assert_eq!(post(&gateway).await.body, b"late");
    assert_eq!(post(&gateway).await.body, b"ok");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_post_that_may_have_been_processed_is_never_sent_twice() {
    // The first request makes the connection a kept one.
    for is_reset in [true, false] {
        let (origin, requests) = failing_first(0, async |_: Server, _| None);
        drop(origin);
        let counted = requests.clone();
        let origin = Origin::script(move |connection| {
            let requests = counted.clone();
            async move {
                let Some(mut server) = Server::begin(connection).await else { return };
                while let Some(stream) = server.request().await {
                    if requests.fetch_add(1, SeqCst) == 0 {
                        server.respond(stream, "ok").await;
                    } else if is_reset {
                        server.reset(stream, CANCEL).await;
                    } else {
                        return; // the connection breaks
                    }
                }
            }
        });
        let gateway = start(&origin, "retry: { attempts: 3 }").await;
        assert_eq!(post(&gateway).await.status, 200);
        let reason = if is_reset { "upstream.reset" } else { "upstream.closed" };
        assert_eq!(refusal(&post(&gateway).await), (502, reason));
        assert_eq!(requests.load(SeqCst), 2);
    }
}

#[tokio::test]
async fn a_get_on_a_kept_connection_that_breaks_goes_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let origin = Origin::script(move |connection| {
        let requests = counted.clone();
        async move {
            let Some(mut server) = Server::begin(connection).await else { return };
            while let Some(stream) = server.request().await {
                if requests.fetch_add(1, SeqCst) == 1 {
                    return;
                }
                server.respond(stream, "ok").await;
            }
        }
    });
    let gateway = start(&origin, "").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.body, b"ok");
    assert_eq!(client.get("/").await.body, b"ok");
    assert_eq!((requests.load(SeqCst), origin.accepted()), (3, 2));
    assert_eq!(number(&settled(&gateway).await, "retried"), 1);
}

#[tokio::test]
async fn a_response_that_is_malformed_ends_its_stream_alone() {
    let cases: [(&str, Vec<(&str, &str)>); 7] = [
        ("no status", vec![("a", "b")]),
        ("two", vec![(":status", "200"), (":status", "200")]),
        ("101", vec![(":status", "101")]),
        ("after a field", vec![("a", "b"), (":status", "200")]),
        ("of a request", vec![(":status", "200"), (":path", "/")]),
        ("upper case", vec![(":status", "200"), ("A", "b")]),
        ("of a connection", vec![(":status", "200"), ("connection", "close")]),
    ];
    let cases = Arc::new(cases);
    for index in 0..cases.len() {
        let scripted = cases.clone();
        let (origin, _) = failing_first(1, move |mut server: Server, stream| {
            let head = block(&scripted[index].1);
            async move {
                server.send(HEADERS, END_HEADERS | END_STREAM, stream, &head).await;
                let reset = server.next_of(RST_STREAM).await?;
                assert_eq!((reset.stream, reset.number(0)), (stream, 1), "PROTOCOL_ERROR");
                Some(server)
            }
        });
        let gateway = start(&origin, "").await;
        let mut client = gateway.client("web").await;
        assert_eq!(refusal(&client.get("/").await), (502, "upstream.malformed"), "{}", cases[index].0);
        assert_eq!(client.get("/").await.body, b"ok");
        assert_eq!((origin.accepted(), origin.errors()), (1, vec![]));
    }
}

#[tokio::test]
async fn a_response_longer_or_shorter_than_its_length_is_broken() {
    for (body, length) in [("abc", "5"), ("abcdef", "5")] {
        let (origin, _) = failing_first(1, move |mut server: Server, stream| async move {
            let head = block(&[(":status", "200"), ("content-length", length)]);
            server.send(HEADERS, END_HEADERS, stream, &head).await;
            server.send(DATA, END_STREAM, stream, body.as_bytes()).await;
            server.next_of(RST_STREAM).await?;
            Some(server)
        });
        let gateway = start(&origin, "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let response = client.try_read_response().await;
        assert!(response.is_err() || response.is_ok_and(|response| response.status == 502));
        assert_eq!(gateway.client("web").await.get("/").await.body, b"ok");
    }
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_loses_the_connection_and_is_named() {
    let (origin, _) = failing_first(1, async |mut server: Server, _| {
        server.send(DATA, 0, 0, b"on no stream").await;
        let goaway = server.next_of(GOAWAY).await?;
        assert_eq!(goaway.number(4), 1, "PROTOCOL_ERROR");
        server.connection.wait_closed().await;
        None
    });
    let gateway = start(&origin, "").await;
    let mut client = gateway.client("web").await;
    assert_eq!(refusal(&client.get("/").await), (502, "upstream.malformed"));
    gateway.wait_for_log("DATA on stream 0").await;
    assert_eq!(client.get("/").await.body, b"ok");
    assert_eq!(closed(&settled(&gateway).await, "error"), 1);
}

#[tokio::test]
async fn a_whole_response_counts_although_the_server_wants_no_more_of_the_request() {
    let origin = Origin::script(async |connection| {
        let Some(mut server) = Server::begin(connection).await else { return };
        let Some(head) = server.next_of(HEADERS).await else { return };
        server.respond(head.stream, "enough").await;
        server.reset(head.stream, 0).await;
        server.serve().await;
    });
    let gateway = start(&origin, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nfirst").await;
    let response = client.read_response().await;
    assert_eq!((response.status, &*response.body), (200, &b"enough"[..]));
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_body_breaks_the_response() {
    let origin = Origin::script(async |connection| {
        let Some(mut server) = Server::begin(connection).await else { return };
        let Some(stream) = server.request().await else { return };
        server.send(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])).await;
        let event = frame(DATA, 0, stream, b"event");
        server
            .connection
            .write([event, frame(RST_STREAM, 0, stream, &INTERNAL_ERROR.to_be_bytes())].concat())
            .await;
        server.serve().await;
    });
    let gateway = start(&origin, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // Nothing of it was sent to the client yet, so the reason can be.
    assert_eq!(refusal(&client.read_response().await), (502, "upstream.truncated"));
    let mut again = gateway.client("web").await;
    assert_eq!(again.get("/").await.body, b"ok");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn interim_responses_pass_and_100_releases_the_body() {
    let origin = Origin::script(async |connection| {
        let Some(mut server) = Server::begin(connection).await else { return };
        let Some(head) = server.next_of(HEADERS).await else { return };
        let hints = block(&[(":status", "103"), ("link", "</a.css>")]);
        server.send(HEADERS, END_HEADERS, head.stream, &hints).await;
        server.send(HEADERS, END_HEADERS, head.stream, &block(&[(":status", "100")])).await;
        let Some(body) = server.next_of(DATA).await else { return };
        server.respond(head.stream, std::str::from_utf8(&body.payload).unwrap()).await;
        server.serve().await;
    });
    let gateway = start(&origin, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    let hints = client.read_head().await;
    assert!(hints.raw.starts_with(b"HTTP/1.1 103 "));
    assert_eq!(hints.headers.get("link"), Some("</a.css>"));
    assert!(client.read_head().await.raw.starts_with(b"HTTP/1.1 100 "));
    client.send_raw("body").await;
    assert_eq!(client.read_response().await.body, b"body");
}

#[tokio::test]
async fn a_silent_connection_is_pinged_before_a_request_rides_on_it() {
    for is_alive in [true, false] {
        let pings = Arc::new(AtomicUsize::new(0));
        let counted = pings.clone();
        let origin = Origin::script(move |connection: Connection| {
            let pings = counted.clone();
            async move {
                let number = connection.number();
                let Some(mut server) = Server::begin(connection).await else { return };
                loop {
                    let Some(frame) = server.next().await else { return };
                    match frame.kind {
                        PING if frame.flags & ACK == 0 => {
                            pings.fetch_add(1, SeqCst);
                            if is_alive || number > 0 {
                                server.send(PING, ACK, 0, &frame.payload).await;
                            }
                        }
                        HEADERS => server.respond(frame.stream, &number.to_string()).await,
                        _ => {}
                    }
                }
            }
        });
        let keys = "pool: { ping_interval: 1ms }\ntimeouts: { connect: 200ms }";
        let gateway = start(&origin, keys).await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/").await.body, b"0");
        // Sooner or later a millisecond has passed between two requests.
        for _ in 0..10_000 {
            let response = client.request("POST", "/", &[], b"").await;
            assert_eq!(response.status, 200);
            if pings.load(SeqCst) > 0 {
                break;
            }
        }
        assert!(pings.load(SeqCst) > 0);
        assert_eq!(closed(&settled(&gateway).await, "ping"), u64::from(!is_alive));
        assert_eq!(origin.accepted(), if is_alive { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_arrives_serves_no_further_request_after_a_timeout() {
    let origin = Origin::script(async |connection| {
        let number = connection.number();
        let Some(mut server) = Server::begin(connection).await else { return };
        while let Some(stream) = server.request().await {
            if number > 0 {
                server.respond(stream, "ok").await;
            }
        }
    });
    let gateway = start(&origin, "timeouts: { response_header: 200ms }").await;
    let mut client = gateway.client("web").await;
    assert_eq!(refusal(&client.get("/").await), (504, "timeouts.response_header"));
    assert_eq!(client.get("/").await.body, b"ok");
    assert_eq!(closed(&settled(&gateway).await, "timeout"), 1);
}

#[tokio::test]
async fn a_request_looks_for_a_connection_that_answers_as_long_as_nothing_is_sent() {
    let origin = Origin::script(|connection: Connection| async move {
        let number = connection.number();
        let Some(mut server) = Server::begin(connection).await else { return };
        while let Some(frame) = server.next().await {
            match frame.kind {
                PING if frame.flags & ACK == 0 && number > 2 => {
                    server.send(PING, ACK, 0, &frame.payload).await
                }
                HEADERS => server.respond(frame.stream, &number.to_string()).await,
                _ => {}
            }
        }
    });
    let keys =
        "pool: { ping_interval: 1ms, min_idle: 3 }\ntimeouts: { connect: 200ms }\nretry: { attempts: 0 }";
    let gateway = start(&origin, keys).await;
    gateway.wait_for_pool(ROUTE, "three idle connections", |pool| number(pool, "idle") == 3).await;
    // Sooner or later a millisecond has passed since the connection was read. The others have been silent since their start.
    let mut response = post(&gateway).await;
    for _ in 0..10_000 {
        if response.body == b"3" {
            break;
        }
        response = post(&gateway).await;
    }
    assert_eq!(response.body, b"3", "the others do not answer the ping");
    assert_eq!(closed(&gateway.pool(ROUTE).await, "ping"), 3);
}

#[tokio::test]
async fn late_frames_of_many_cancelled_streams_do_not_end_the_connection() {
    let (arrived, cancelled) = (Gate::new(), Gate::new());
    let origin = {
        let (arrived, cancelled) = (arrived.clone(), cancelled.clone());
        Origin::script(move |connection| {
            let (arrived, cancelled) = (arrived.clone(), cancelled.clone());
            async move {
                let Some(mut server) = Server::begin(connection).await else { return };
                let mut streams = Vec::new();
                for _ in 0..100 {
                    let Some(stream) = server.request().await else { return };
                    streams.push(stream);
                }
                arrived.release();
                for _ in 0..100 {
                    server.next_of(RST_STREAM).await;
                }
                cancelled.release();
                for stream in streams {
                    server.send(HEADERS, END_HEADERS, stream, &block(&[(":status", "200")])).await;
                    server.send(DATA, 0, stream, &[b'x'; 2000]).await;
                    server.send(DATA, END_STREAM, stream, &[b'x'; 2000]).await;
                }
                server.serve().await;
            }
        })
    };
    let gateway = start(&origin, "").await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    arrived.pass().await;
    drop(clients);
    // The first free stream is there before the last one is cancelled.
    cancelled.pass().await;
    assert_eq!(gateway.client("web").await.get("/").await.body, b"ok");
    assert_eq!((origin.accepted(), origin.errors()), (1, vec![]));
}
