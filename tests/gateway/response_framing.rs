//! The end of a response: a response that can be read in two ways is refused, half a body is never taken for a whole one,
//! and each client gets the framing that it understands.

use support::{Certificates, Client, Gate, Gateway, Http2Client, Origin};

use crate::PROGRAM;
use crate::one_route::forwarding_to;

#[tokio::test]
async fn a_response_head_that_can_be_read_in_two_ways_is_a_bad_gateway() {
    let origin = Origin::script(|mut connection| async move {
        if let Some(request) = connection.read_request().await {
            connection.write(&request.body).await;
            connection.close().await;
        }
    });
    let gateway = forwarding_to(&origin).await;
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(300));
    let large_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(200 * 1024));
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let cases: [(&str, &str); 31] = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "upstream.framing",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
            "upstream.framing",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0x5\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551621\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", "upstream.framing"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "upstream.framing",
        ),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "upstream.framing"),
        ("HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/2 200 OK\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 20 OK\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 099 OK\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("HTTP/1.1 2000 OK\r\ncontent-length: 5\r\n\r\nhello", "upstream.malformed"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "upstream.malformed"),
        (&many_fields, "upstream.malformed"),
        (&large_head, "upstream.malformed"),
        (&interim, "upstream.malformed"),
        ("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", "upstream.upgrade"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "upstream.closed"),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", "upstream.closed"),
    ];
    for (answer, reason) in cases {
        let mut client = gateway.client("web").await;
        let response = client.request("POST", "/", &[], answer.as_bytes()).await;
        let shown = &answer[..answer.len().min(120)];
        assert_eq!((response.status, response.header("x-gateway-error")), (502, Some(reason)), "{shown:?}");
        assert_eq!(client.get("/").await.status, 502, "the client's own connection is in order: {shown:?}");
    }
}

#[tokio::test]
async fn chunk_sizes_padded_to_a_fixed_width_carry_a_response_of_any_length() {
    const PIECES: usize = 64;
    // 64 MiB in chunks of 1 KiB, padded by some 200 KiB of blanks; or with more blanks than any width has.
    let piece = |blanks: usize| {
        let chunk = [b"400", &vec![b' '; blanks][..], b"\r\n", &[b'x'; 1024], b"\r\n"].concat();
        chunk.repeat(1024)
    };
    let origin = Origin::script(move |mut connection| async move {
        while let Some(request) = connection.read_request().await {
            let piece = piece(if request.target == "/attack" { 9 } else { 3 });
            connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for _ in 0..PIECES {
                if connection.try_write(&piece).await.is_err() {
                    return;
                }
            }
            drop(connection.try_write("0     \r\n\r\n").await);
        }
    });
    let gateway = forwarding_to(&origin).await;
    let response = gateway.client("web").await.get("/padded").await;
    assert_eq!((response.status, response.body.len()), (200, PIECES << 20));
    let mut client = gateway.client("web").await;
    client.send_raw("GET /attack HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(client.try_read_response().await.is_err(), "a response with a flood of blanks ended well");

    let mut client = gateway.client("web").await;
    let flood =
        [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1", &[b' '; 40_000][..]].concat();
    drop(client.try_send_raw(flood).await);
    let response = client.read_response().await;
    assert_eq!((response.status, response.header("x-gateway-error")), (400, Some("request.framing")));
}

/// The rests of responses that an upstream sends behind its status line, none of them whole.
const CUT_BODIES: [&str; 12] = [
    "content-length: 10\r\n\r\nhello",
    "content-length: 10\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "transfer-encoding: chunked\r\n\r\n9\r\nhello",
    "transfer-encoding: chunked\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n10000000000000000\r\n\r\n0\r\n\r\n",
    "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
];

/// An origin that sends `HTTP/1.1 200 OK` and what it is sent, then closes.
fn cutting_origin() -> Origin {
    Origin::script(|mut connection| async move {
        if let Some(request) = connection.read_request().await {
            connection.write([b"HTTP/1.1 200 OK\r\n", &request.body[..]].concat()).await;
            connection.close().await;
        }
    })
}

#[tokio::test]
async fn half_a_response_is_never_taken_for_a_whole_one() {
    let origin = cutting_origin();
    let gateway = forwarding_to(&origin).await;
    for sent in CUT_BODIES {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut client = gateway.client("web").await;
            let length = sent.len();
            client
                .send_raw(format!("POST / {version}\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{sent}"))
                .await;
            match client.try_read_response().await {
                // What was not yet sent can still be called what it is.
                Ok(response) => assert_eq!(response.status, 502, "{version}, {sent:?}: {response:?}"),
                Err(_cut) => {}
            }
        }
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        let request = support::http::Request::post("http://a/").body(sent.into()).unwrap();
        match client.try_request(request).await {
            Ok(response) => assert_eq!(response.status, 502, "HTTP/2, {sent:?}: {response:?}"),
            Err(error) => assert!(error.is_reset(), "HTTP/2, {sent:?}: {error}"),
        }
        // The stream is cut, not the connection with all the others.
        let request =
            support::http::Request::post("http://a/").body("content-length: 0\r\n\r\n".into()).unwrap();
        assert_eq!(client.request(request).await.status, 200, "{sent:?}");
    }
}

#[tokio::test]
async fn a_response_that_ends_too_early_is_cut_for_a_client_that_has_its_head() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            if let Some(request) = connection.read_request().await {
                connection.write([b"HTTP/1.1 200 OK\r\n", &request.body[..]].concat()).await;
                gate.pass().await;
                if request.target == "/reset" { connection.reset() } else { connection.close().await }
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    // The first seven are cut, the others bad as they are. And what ends with a FIN does not end with a reset.
    let closed = CUT_BODIES[..7].iter().map(|sent| ("/close", *sent));
    let reset = CUT_BODIES[..7].iter().chain(&["x-until: close\r\n\r\nhello"]).map(|sent| ("/reset", *sent));
    for (path, sent) in closed.chain(reset) {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            let mut client = gateway.client("web").await;
            let length = sent.len();
            client
                .send_raw(format!(
                    "POST {path} {version}\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{sent}"
                ))
                .await;
            assert_eq!(client.read_head().await.first_line, "HTTP/1.1 200 OK", "{version} {path} {sent:?}");
            gate.release();
            let rest = client.read_to_end().await;
            if version == "HTTP/1.0" && !sent.starts_with("content-length") {
                // It has neither a length nor a last chunk: a FIN would be the end in good order.
                let error = rest.expect_err(&format!("{version} {path} {sent:?}: it ended in good order"));
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{version} {path} {sent:?}");
            } else {
                // A FIN leaves the client all that was sent.
                let rest = String::from_utf8(rest.unwrap()).unwrap();
                let data = if sent.contains("hello") { "hello" } else { "" };
                assert!(rest.contains(data) && !rest.ends_with("0\r\n\r\n"), "{path} {sent:?}: {rest:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_tls_connection_ends_with_a_close_notify() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    let origin =
        Origin::builder().tls(certificates.server_config(&identity)).script(|mut connection| async move {
            if let Some(request) = connection.read_request().await {
                connection.write("HTTP/1.1 200 OK\r\n\r\nhello").await;
                // A FIN alone is not protected, so an attacker on the way can send it (RFC 8446 §6.1).
                if request.target == "/close" {
                    connection.close().await;
                }
            }
        });
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes: [{{ upstream: {{ url: '{}', tls: {{ ca: {} }} }} }}]",
        origin.url(),
        certificates.ca().display()
    );
    let gateway = Gateway::builder(PROGRAM, config).start().await;
    assert_eq!(gateway.client("web").await.get("/close").await.text(), "hello");
    let mut client = gateway.client("web").await;
    client.send_raw("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n").await;
    if let Ok(response) = client.try_read_response().await {
        assert_eq!((response.status, response.header("x-gateway-error")), (502, Some("upstream.truncated")));
    }
}

#[tokio::test]
async fn a_connection_with_unasked_for_bytes_is_not_used_again() {
    // The second response would be taken for the answer to the next client's request.
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    );
    let gateway = forwarding_to(&origin).await;
    for _ in 0..3 {
        assert_eq!(gateway.client("web").await.get("/").await.text(), "ok");
    }
    assert_eq!(origin.accepted(), 3);
    let pool = gateway.pool("all").await;
    assert_eq!(pool["closed"]["unexpected_bytes"], 3, "{pool}");

    let bodiless = Origin::respond(|request| match request.method.as_str() {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil".to_vec(),
        _ => b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil".to_vec(),
    });
    let gateway = forwarding_to(&bodiless).await;
    for method in ["HEAD", "GET", "HEAD"] {
        let mut client = gateway.client("web").await;
        let response = client.request(method, "/", &[], b"").await;
        assert_eq!((response.status, response.body.len()), (if method == "GET" { 204 } else { 200 }, 0));
        drop(client);
    }
    assert_eq!(bodiless.accepted(), 3);
}

#[tokio::test]
async fn each_client_gets_the_framing_that_it_understands() {
    let origin = Origin::respond(|request| {
        let answer = match request.target.as_str() {
            "/chunked" => {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            }
            "/length" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde",
            "/close" => "HTTP/1.1 200 OK\r\n\r\nabcde",
            "/old" => "HTTP/1.0 200 OK\r\n\r\nabcde",
            "/empty-chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "/empty-length" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\n\r\n",
        };
        answer.as_bytes().to_vec()
    });
    let gateway = forwarding_to(&origin).await;
    let mut client: Client = gateway.client("web").await;
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    for (path, body, length, chunked) in [
        ("/chunked", "abcde", None, true),
        ("/length", "abcde", Some("5"), false),
        ("/close", "abcde", None, true),
        ("/old", "abcde", None, true),
        ("/empty-chunked", "", None, true),
        ("/empty-length", "", Some("0"), false),
        ("/empty-close", "", None, true),
    ] {
        let response = client.get(path).await;
        assert_eq!((response.text().as_str(), response.header("content-length")), (body, length), "{path}");
        assert_eq!(response.headers.lists("transfer-encoding", "chunked"), chunked, "{path}");
        assert_eq!(response.header("connection"), None, "{path}: the client's connection stays");

        let mut old = gateway.client("web").await;
        old.send_raw(format!("GET {path} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")).await;
        let response = old.read_response().await;
        assert_eq!(
            (response.text().as_str(), response.header("content-length")),
            (body, length),
            "{path} 1.0"
        );
        assert!(!response.headers.has("transfer-encoding"), "{path} 1.0");
        // Without a length, only the close can end it.
        let stays = if length.is_some() { "keep-alive" } else { "close" };
        assert_eq!(response.header("connection"), Some(stays), "{path} 1.0");

        let response = http2.get(&format!("http://a{path}")).await;
        assert_eq!(response.body, body.as_bytes(), "{path} 2");
    }
}
