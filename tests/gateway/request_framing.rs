//! The end of a request: a request that can be read in two ways is refused, and half a body is never taken for a whole
//! one.

use support::{Client, Gate, Gateway, Origin, Response, wait_until};

use crate::one_route::forwarding_to;
use crate::pooled::OK;

/// Sends `bytes` on a connection of their own and reads the answer, after which the gateway must close.
async fn refused(gateway: &Gateway, bytes: &[u8]) -> Response {
    let mut client = gateway.client("web").await;
    client.send_raw(bytes).await;
    let shown = bytes[..bytes.len().min(200)].escape_ascii().to_string();
    let response = client.try_read_response().await;
    let response = response.unwrap_or_else(|error| panic!("no answer to {shown}: {error}"));
    assert!(response.headers.lists("connection", "close"), "{shown}: {response:?}");
    client.expect_closed().await;
    response
}

#[tokio::test]
async fn a_request_head_that_can_be_read_in_two_ways_is_refused() {
    let origin = Origin::answer(OK);
    let gateway = forwarding_to(&origin).await;
    let framing: [&[u8]; 20] = [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 18446744073709551621\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding:\r\n",
    ];
    for fields in framing {
        let head = [b"POST / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n0\r\n\r\n"].concat();
        let response = refused(&gateway, &head).await;
        assert_eq!(response.status, 400, "{}", fields.escape_ascii());
        assert_eq!(response.header("x-gateway-error"), Some("request.framing"), "{}", fields.escape_ascii());
    }
    let old = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(refused(&gateway, old).await.header("x-gateway-error"), Some("request.framing"));

    let malformed: [&[u8]; 17] = [
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tfolded\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for head in malformed {
        let response = refused(&gateway, head).await;
        assert_eq!(response.status, 400, "{}", head.escape_ascii());
        let reason = response.header("x-gateway-error");
        assert_eq!(reason, Some("request.malformed"), "{}", head.escape_ascii());
    }
    for version in ["x HTTP/1.1", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0"] {
        let response = refused(&gateway, format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes()).await;
        assert_eq!(
            (response.status, response.header("x-gateway-error")),
            (505, Some("request.version")),
            "{version}"
        );
    }
    assert_eq!(origin.accepted(), 0, "nothing of all that may reach an upstream");
}

#[tokio::test]
async fn a_chunked_request_that_is_broken_never_becomes_a_whole_one() {
    let origin = Origin::answer(OK);
    let gateway = forwarding_to(&origin).await;
    let extensions = [b"1;".as_slice(), &[b'a'; 40_000], b"\r\nx\r\n0\r\n\r\n"].concat();
    let trailers = [b"0\r\nx: ".as_slice(), &[b'a'; 40_000], b"\r\n\r\n"].concat();
    let broken: [&[u8]; 28] = [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b";a=b\r\nhello\r\n0\r\n\r\n",
        b"g\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"5 0\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello world\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;a\0b\r\nhello\r\n0\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nx : y\r\n\r\n",
        b"0\r\nx: y\r\n folded\r\n\r\n",
        b"0\r\nx: y\rz\r\n\r\n",
        b"0\r\nx: y\n\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        &extensions,
        &trailers,
    ];
    for body in broken {
        let head: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = refused(&gateway, &[head, body].concat()).await;
        let shown = body[..body.len().min(60)].escape_ascii().to_string();
        assert_eq!(response.status, 400, "{shown}");
        assert_eq!(response.header("x-gateway-error"), Some("request.framing"), "{shown}");
    }
    origin.wait_for_open(0).await;
    assert_eq!(origin.requests(), [], "the upstream took a broken request for a whole one");
}

#[tokio::test]
async fn chunk_extensions_of_a_message_are_bounded_in_all_and_never_forwarded() {
    let chunks = |length: usize, count: usize| {
        let chunk = [b"1;".as_slice(), &vec![b'a'; length], b"\r\nx\r\n"].concat();
        [&chunk.repeat(count)[..], b"0\r\n\r\n"].concat()
    };
    let origin = Origin::script(move |mut connection| async move {
        while let Some(request) = connection.read_request().await {
            let body = if request.target == "/long" { chunks(1000, 24 * 1024) } else { chunks(99, 100) };
            drop(connection.try_write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await);
            if connection.try_write(&body).await.is_err() {
                return;
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    let head: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = gateway.client("web").await;
    client.send_raw([head, &chunks(99, 100)].concat()).await;
    let response = client.read_response().await;
    assert_eq!((response.status, response.body.len()), (200, 100));
    assert!(!response.raw.windows(2).any(|bytes| bytes == b"aa"), "an extension is for one connection");
    assert_eq!(origin.requests()[0].body.len(), 100);

    let mut client = gateway.client("web").await;
    drop(client.try_send_raw([head, &chunks(1000, 24 * 1024)].concat()).await);
    let response = client.read_response().await;
    assert_eq!((response.status, response.header("x-gateway-error")), (400, Some("request.framing")));
    assert_eq!(origin.requests().len(), 1);

    let mut client = gateway.client("web").await;
    client.send_raw("GET /long HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The client gets either the reason, or a cut in its response.
    if let Ok(response) = client.try_read_response().await {
        assert_eq!((response.status, response.header("x-gateway-error")), (502, Some("upstream.framing")));
    }
    let line = gateway.wait_for_stdout("/long").await;
    assert!(line.contains(r#""error":"upstream.framing""#), "{line}");
}

#[tokio::test]
async fn a_request_body_that_ends_early_never_becomes_a_whole_one() {
    let heads = Gate::new();
    heads.release_all();
    let seen = heads.clone();
    let origin = Origin::script(move |mut connection| {
        let seen = seen.clone();
        async move {
            if let Some(head) = connection.read_head().await {
                seen.pass().await;
                connection.read_body(&head).await;
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    for (sent, begun) in [
        "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST /chunk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
        "POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST /trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gateway.client("web").await;
        client.send_raw(begun).await;
        heads.arrivals(sent + 1).await;
        client.half_close().await;
        wait_until("the origin to see the cut", async || origin.errors().len() > sent).await;
    }
    assert_eq!(origin.requests(), []);
}

#[tokio::test]
async fn a_request_hidden_in_a_body_stays_a_body() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len();
    let messages = [
        format!("GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!(
            "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"
        ),
        format!(
            "POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: content-length\r\n\r\n{hidden}"
        ),
        format!(
            "POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"
        ),
    ];
    let mut client = gateway.client("web").await;
    for message in messages {
        client.send_raw(message).await;
        assert_eq!(client.read_response().await.text(), hidden);
    }
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3", "/4"]);
    assert_eq!(origin.errors(), [] as [String; 0]);
}

#[tokio::test]
async fn requests_behind_one_another_are_answered_in_their_order() {
    let origin = Origin::respond(|request| {
        let body = &request.target;
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    client
        .send_raw(
            "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
             POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
             GET /4 HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
    for expected in ["/1", "/2", "/3", "/4"] {
        assert_eq!(client.read_response().await.text(), expected);
    }
}

#[tokio::test]
async fn a_client_may_drip_its_request_byte_by_byte() {
    let origin = Origin::echo();
    let gateway = forwarding_to(&origin).await;
    let mut client: Client = gateway.client("web").await;
    let message = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n";
    for byte in message.bytes() {
        client.send_raw([byte]).await;
    }
    assert_eq!(client.read_response().await.text(), "abcde");
    assert_eq!(origin.requests()[0].trailers.get("x-t"), Some("1"));
}
