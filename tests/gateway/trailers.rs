//! Trailers of requests and responses, for clients of HTTP/1 and HTTP/2.

use support::{Http2Client, Origin, http};

use crate::one_route::forwarding_to;

#[tokio::test]
async fn trailers_pass_both_ways_but_for_those_that_must_not_come_late() {
    let trailers = "x-checksum: 9\r\nX-Two: a\r\nx-two: b\r\ncontent-length: 5\r\nhost: evil\r\nauthorization: x\r\n\
                    transfer-encoding: chunked\r\nx-forwarded-for: 1.2.3.4\r\nset-cookie: a=b\r\ncontent-type: a/b\r\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-checksum\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
    );
    let origin = Origin::answer(answer);
    let gateway = forwarding_to(&origin).await;
    let expected = [("x-checksum", "9"), ("x-two", "a"), ("x-two", "b")];
    let as_lines = |trailers: &support::Headers| -> Vec<(String, String)> {
        let mut lines: Vec<_> =
            trailers.0.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        lines.sort();
        lines
    };
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));

    let mut client = gateway.client("web").await;
    client
        .send_raw(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-checksum\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n{trailers}\r\n"
        ))
        .await;
    let response = client.read_response().await;
    assert_eq!((response.text().as_str(), response.header("trailer")), ("hello", Some("x-checksum")));
    assert_eq!(as_lines(&response.trailers), expected);
    let request = origin.requests().pop().unwrap();
    assert_eq!((request.body.as_slice(), as_lines(&request.trailers)), (&b"hello"[..], expected.to_vec()));

    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let head = http::Request::post("http://a/").header("te", "trailers").body(()).unwrap();
    let (response, mut stream) = http2.open(head, false).await.unwrap();
    stream.send_data("hello".into(), false).unwrap();
    let mut sent = http::HeaderMap::new();
    for (name, value) in
        [("x-checksum", "9"), ("x-two", "a"), ("x-two", "b"), ("host", "evil"), ("set-cookie", "a=b")]
    {
        sent.append(name, value.parse().unwrap());
    }
    stream.send_trailers(sent).unwrap();
    let response = Http2Client::read(response).await.unwrap();
    let mut received: Vec<_> = response
        .trailers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    received.sort();
    assert_eq!((response.body.as_slice(), received), (&b"hello"[..], expected.to_vec()));
    let request = origin.requests().pop().unwrap();
    assert_eq!((request.body.as_slice(), as_lines(&request.trailers)), (&b"hello"[..], expected.to_vec()));

    // HTTP/1.0 has none: they are left out, and the rest is whole.
    let mut old = gateway.client("web").await;
    old.send_raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(old.read_response().await.text(), "hello");
    // Trailers without a body before them.
    client
        .send_raw(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-checksum: 0\r\n\r\n",
        )
        .await;
    client.read_response().await;
    let request = origin.requests().pop().unwrap();
    assert_eq!((request.body.len(), request.trailers.get("x-checksum")), (0, Some("0")));
}
