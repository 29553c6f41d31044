//! Bodies on their way: each part is forwarded as it arrives, in both directions at once.

use std::sync::Arc;

use support::bytes::Bytes;
use support::{Connection, Gate, Gateway, Http2Client, Origin, http, within};

use crate::one_route::{forwarding_to, forwarding_with};

#[tokio::test]
async fn each_part_of_a_response_arrives_before_the_next_is_sent() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                let framing = request.headers.get("x-framing").unwrap().to_owned();
                connection.write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")).await;
                for part in ["one", "two", "end"] {
                    gate.pass().await;
                    let part = if framing.contains("chunked") {
                        format!("3\r\n{part}\r\n")
                    } else {
                        part.to_owned()
                    };
                    connection.write(part).await;
                }
                if !framing.contains("chunked") {
                    return;
                }
                gate.pass().await;
                connection.write("0\r\n\r\n").await;
            }
        }
    });
    let gateway = forwarding_to(&origin).await;
    for (framing, parts) in [
        ("content-length: 9", ["one", "two", "end"]),
        ("transfer-encoding: chunked", ["3\r\none\r\n", "3\r\ntwo\r\n", "3\r\nend\r\n"]),
        ("x-until: close", ["3\r\none\r\n", "3\r\ntwo\r\n", "3\r\nend\r\n"]),
    ] {
        let mut client = gateway.client("web").await;
        client.send_raw(format!("GET / HTTP/1.1\r\nHost: a\r\nx-framing: {framing}\r\n\r\n")).await;
        assert_eq!(client.read_head().await.first_line, "HTTP/1.1 200 OK", "{framing}");
        for part in parts {
            gate.release();
            let received = String::from_utf8(client.read_exact(part.len()).await).unwrap();
            assert_eq!(received, part, "{framing}");
        }
        if framing.contains("chunked") {
            gate.release();
        }
        if !framing.contains("length") {
            assert_eq!(client.read_exact(5).await, b"0\r\n\r\n", "{framing}");
        }
    }

    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request =
        http::Request::get("http://a/").header("x-framing", "transfer-encoding: chunked").body(()).unwrap();
    let (response, _stream) = client.open(request, true).await.unwrap();
    let mut body = within("a response", response).await.unwrap().into_body();
    for part in ["one", "two", "end"] {
        gate.release();
        assert_eq!(within("a part", body.data()).await.unwrap().unwrap(), part);
    }
    gate.release();
    while let Some(data) = within("the end", body.data()).await {
        assert_eq!(data.unwrap(), "");
    }
}

#[tokio::test]
async fn each_part_of_a_request_arrives_before_the_next_is_sent() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            let head = connection.read_head().await.unwrap();
            assert_eq!(head.headers.all("transfer-encoding"), ["chunked"]);
            for part in ["3\r\none\r\n", "3\r\ntwo\r\n"] {
                gate.pass().await;
                assert_eq!(connection.read_exact(part.len()).await.unwrap(), part.as_bytes());
            }
            gate.pass().await;
            assert_eq!(connection.read_exact(5).await.unwrap(), b"0\r\n\r\n");
            connection.write("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    gate.release_all();
    let gateway = forwarding_to(&origin).await;
    let mut client = gateway.client("web").await;
    client.send_raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // The origin is at a part when it has read all before it.
    gate.arrivals(1).await;
    client.send_raw("3\r\none\r\n").await;
    gate.arrivals(2).await;
    client.send_raw("3\r\ntwo\r\n").await;
    gate.arrivals(3).await;
    client.send_raw("0\r\n\r\n").await;
    assert_eq!(client.read_response().await.status, 204);
    assert_eq!(origin.errors(), [] as [String; 0]);

    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::post("http://a/").body(()).unwrap();
    let (response, mut stream) = client.open(request, false).await.unwrap();
    gate.arrivals(4).await;
    stream.send_data("one".into(), false).unwrap();
    gate.arrivals(5).await;
    stream.send_data("two".into(), false).unwrap();
    gate.arrivals(6).await;
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(Http2Client::read(response).await.unwrap().status, 204);
    assert_eq!(origin.errors(), [] as [String; 0]);
}

/// An origin that sends each piece of the request's body back as it comes.
pub(crate) fn duplex() -> Origin {
    Origin::script(|mut connection| async move {
        while let Some(head) = connection.read_head().await {
            connection.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let length = head.headers.get("content-length").map(|length| length.parse().unwrap());
            let whole = match length {
                Some(length) => echo_as_chunks(&mut connection, length).await,
                None => echo_chunks(&mut connection).await,
            };
            if !whole {
                return;
            }
        }
    })
}

/// Returns true if all of the body came.
async fn echo_as_chunks(connection: &mut Connection, mut left: usize) -> bool {
    while left > 0 {
        let Some(piece) = connection.read_exact(left.min(50_000)).await else { return false };
        left -= piece.len();
        connection.write([format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat()).await;
    }
    connection.write("0\r\n\r\n").await;
    true
}

/// The request's chunks are chunks of the answer just as they are.
async fn echo_chunks(connection: &mut Connection) -> bool {
    let mut tail = Vec::new();
    while !tail.ends_with(b"\r\n0\r\n\r\n") {
        let piece = connection.read_some().await;
        if piece.is_empty() {
            return false;
        }
        connection.write(&piece).await;
        tail.extend_from_slice(&piece);
        tail.drain(..tail.len().saturating_sub(7));
    }
    true
}

#[tokio::test]
async fn a_large_body_is_echoed_while_it_is_sent() {
    let origin = duplex();
    echoes_while_it_is_sent(&forwarding_to(&origin).await).await;
}

/// Sends large bodies to a gateway before a [`duplex`] origin, and reads what comes back meanwhile.
pub(crate) async fn echoes_while_it_is_sent(gateway: &Gateway) {
    const SIZE: usize = 16 << 20;
    let body: Arc<Vec<u8>> = Arc::new((0..SIZE).map(|byte| (byte / 7) as u8).collect());

    // Two sockets in one: the test writes and reads at once, as the gateway has to.
    for chunked in [true, false] {
        let stream = std::net::TcpStream::connect(gateway.addr("web")).unwrap();
        let (mut writing, mut reading) = (stream.try_clone().unwrap(), stream);
        let sending = body.clone();
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {SIZE}")
            };
            write!(writing, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n").unwrap();
            for piece in sending.chunks(50_000) {
                if chunked {
                    write!(writing, "{:x}\r\n", piece.len()).unwrap();
                }
                writing.write_all(piece).unwrap();
                if chunked {
                    writing.write_all(b"\r\n").unwrap();
                }
            }
            if chunked {
                writing.write_all(b"0\r\n\r\n").unwrap();
            }
        });
        reading.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let received = tokio::task::spawn_blocking(move || {
            use std::io::Read;
            let mut received = Vec::new();
            reading.read_to_end(&mut received).unwrap();
            received
        });
        let received = within("the echo", received).await.unwrap();
        writer.join().unwrap();
        assert!(dechunked(&received) == **body, "chunked {chunked}: what came back is not what was sent");
    }

    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::post("http://a/").body(()).unwrap();
    let (response, mut stream) = client.open(request, false).await.unwrap();
    let sending = Bytes::from(body.to_vec());
    let writer = tokio::spawn(async move {
        let mut left = sending;
        while !left.is_empty() {
            stream.reserve_capacity(left.len().min(1 << 20));
            let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
            let piece = left.split_to(capacity.min(left.len()));
            stream.send_data(piece, left.is_empty()).unwrap();
        }
    });
    let response = Http2Client::read(response).await.unwrap();
    writer.await.unwrap();
    assert!(response.body == **body, "HTTP/2: what came back is not what was sent");
}

/// The content of a chunked message, head and all.
fn dechunked(message: &[u8]) -> Vec<u8> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut content) = (&message[end..], Vec::new());
    loop {
        let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line - 1]).unwrap(), 16).unwrap();
        if size == 0 {
            return content;
        }
        content.extend_from_slice(&rest[line + 1..line + 1 + size]);
        rest = &rest[line + 3 + size..];
    }
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let origin = Origin::script(|mut connection| async move {
        connection.read_head().await;
        connection
            .write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge")
            .await;
        // Unread bytes make this close a reset.
    });
    let gateway = forwarding_to(&origin).await;
    for framing in ["Content-Length: 100000000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.client("web").await;
        client.send_raw(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")).await;
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65_536], b"\r\n"].concat();
        for _ in 0..32 {
            // The gateway may stop reading once the answer is on its way.
            if client.try_send_raw(&chunk).await.is_err() {
                break;
            }
        }
        let response = client.read_response().await;
        assert_eq!((response.status, response.text().as_str()), (413, "large"), "{framing}");
        assert_eq!(response.header("connection"), Some("close"), "{framing}");
    }
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let request = http::Request::post("http://a/").body(()).unwrap();
    let (response, mut stream) = client.open(request, false).await.unwrap();
    stream.send_data(Bytes::from(vec![b'x'; 60_000]), false).unwrap();
    let response = Http2Client::read(response).await.unwrap();
    assert_eq!((response.status.as_u16(), response.body.as_slice()), (413, &b"large"[..]));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_upstream() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = script.clone();
        async move {
            connection.read_head().await;
            gate.pass().await;
            connection.wait_closed().await;
        }
    });
    gate.release_all();
    let gateway = forwarding_with(&origin, ", timeouts: { response_header: off, idle: off }").await;
    for (count, request) in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = gateway.client("web").await;
        client.send_raw(request).await;
        gate.arrivals(count + 1).await;
        drop(client);
        origin.wait_for_open(0).await;
    }
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let (response, mut stream) =
        client.open(http::Request::get("http://a/").body(()).unwrap(), false).await.unwrap();
    gate.arrivals(4).await;
    stream.send_reset(support::h2::Reason::CANCEL);
    origin.wait_for_open(0).await;
    drop(response);
}
