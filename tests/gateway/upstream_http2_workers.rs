//! Requests on an HTTP/2 connection of another worker: with two workers and one connection, half of the clients' requests are such.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use support::http::{Response, StatusCode};
use support::{Client, Gate, Gateway, Http2Exchange, Origin, Signal, bytes::Bytes};

use crate::pooled::{self, ROUTE, closed, number, refusal};

/// The clients of a test. With so many, each worker has some, but for one test in thousands.
const CLIENTS: usize = 12;

/// Starts a gateway whose only connection is open, with CLIENTS connections to it.
async fn start(origin: &Origin, keys: &str) -> (Gateway, Vec<Client>) {
    let upstream = format!("{{ url: '{}', protocol: h2 }}", origin.url());
    let keys = format!("pool: {{ max_connections: 1, acquire_timeout: 30s }}\n{keys}");
    let gateway = pooled::builder(2, &upstream, &keys).start().await;
    assert_eq!(gateway.client("web").await.get("/first").await.status, 200);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(gateway.client("web").await);
    }
    (gateway, clients)
}

/// Responds with 200 to the first request of a test.
fn is_first(exchange: &Http2Exchange) -> bool {
    exchange.request.uri().path() == "/first"
}

#[tokio::test]
async fn early_response_to_an_upload_arrives_whole() {
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        if is_first(&exchange) {
            return exchange.respond("ok");
        }
        let head = Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(()).unwrap();
        let mut stream = exchange.responder.send_response(head, false).unwrap();
        for piece in ["too ", "large", ""] {
            stream.send_data(Bytes::from_static(piece.as_bytes()), piece.is_empty()).unwrap();
            tokio::task::yield_now().await;
        }
    });
    let (gateway, clients) = start(&origin, "").await;
    for mut client in clients {
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegun").await;
        let response = client.read_response().await;
        assert_eq!((response.status, &*response.body), (413, &b"too large"[..]));
    }
    assert_eq!(number(&gateway.pool(ROUTE).await, "opened"), 1);
}

#[tokio::test]
async fn length_of_a_response_is_kept() {
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        let body = Bytes::from(vec![b'x'; 300_000]);
        let head = Response::builder().header("content-length", body.len()).body(()).unwrap();
        let mut stream = exchange.responder.send_response(head, false).unwrap();
        stream.send_data(body, true).unwrap();
    });
    let (_gateway, clients) = start(&origin, "").await;
    for mut client in clients {
        let response = client.get("/").await;
        assert_eq!((response.header("content-length"), response.body.len()), (Some("300000"), 300_000));
    }
}

#[tokio::test]
async fn body_is_not_asked_for_before_the_upstream_wants_it() {
    let origin = Origin::http2(async |mut exchange: Http2Exchange| {
        if is_first(&exchange) {
            return exchange.respond("ok");
        }
        let head = Response::builder().status(StatusCode::UNAUTHORIZED).body(()).unwrap();
        drop(exchange.responder.send_response(head, true));
    });
    let (_gateway, clients) = start(&origin, "").await;
    for mut client in clients {
        client
            .send_raw("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
            .await;
        let head = client.read_head().await;
        assert!(head.raw.starts_with(b"HTTP/1.1 401 "), "{head:?}");
    }
}

#[tokio::test]
async fn shutdown_waits_for_requests_of_other_workers() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::http2(move |exchange: Http2Exchange| {
            let gate = gate.clone();
            async move {
                if !is_first(&exchange) {
                    gate.pass().await;
                }
                exchange.respond("whole");
            }
        })
    };
    let (mut gateway, clients) = start(&origin, "").await;
    let mut asked = Vec::new();
    for mut client in clients {
        asked.push(tokio::spawn(async move { client.get("/").await }));
    }
    gate.arrivals(CLIENTS).await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping").await;
    gate.release_all();
    for asked in asked {
        assert_eq!(asked.await.unwrap().body, b"whole");
    }
    assert!(gateway.wait_exit(support::PATIENCE).await.success());
}

#[tokio::test]
async fn timeout_of_a_request_makes_its_connection_suspect() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    // The connection of the first request falls silent.
    let origin = Origin::http2(move |mut exchange: Http2Exchange| {
        let requests = counted.clone();
        async move {
            requests.fetch_add(1, SeqCst);
            if is_first(&exchange) || exchange.connection > 0 {
                return exchange.respond("ok");
            }
            exchange.wait_reset().await;
        }
    });
    let (gateway, clients) = start(&origin, "timeouts: { per_try: 300ms }\nretry: { attempts: 0 }").await;
    let mut late = 0;
    for mut client in clients {
        let response = client.get("/").await;
        if response.status != 200 {
            assert_eq!(refusal(&response), (504, "timeouts.per_try"));
            late += 1;
        }
    }
    // The next request may have begun when the worker of the connection does not know yet.
    assert!((1..=2).contains(&late), "{late}: later requests have another connection");
    assert_eq!(closed(&gateway.pool(ROUTE).await, "timeout"), 1);
}
