//! Coded bodies: decoded for the filters that read them, and left alone otherwise.

use async_compression::tokio::write::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
use support::{Gate, Origin, Response};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::filter_script::{CONTINUE, REQUEST_BODY, RESPONSE_BODY, notes, on, script};
use crate::filtering::{configured, filtered};

const PLAIN: &str = "hello, hello, hello, hello";

/// The pieces of a coded body: the coder is flushed after each.
async fn pieces(coding: &str, plain: &[&[u8]]) -> Vec<Vec<u8>> {
    async fn run<E: AsyncWrite + Unpin>(
        mut coder: E,
        coded: impl Fn(&mut E) -> &mut Vec<u8>,
        plain: &[&[u8]],
    ) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        for (index, piece) in plain.iter().enumerate() {
            coder.write_all(piece).await.unwrap();
            if index + 1 < plain.len() {
                coder.flush().await.unwrap()
            } else {
                coder.shutdown().await.unwrap()
            }
            pieces.push(std::mem::take(coded(&mut coder)));
        }
        pieces
    }
    match coding {
        "gzip" => run(GzipEncoder::new(Vec::new()), GzipEncoder::get_mut, plain).await,
        "br" => run(BrotliEncoder::new(Vec::new()), BrotliEncoder::get_mut, plain).await,
        "zstd" => run(ZstdEncoder::new(Vec::new()), ZstdEncoder::get_mut, plain).await,
        "deflate" => run(ZlibEncoder::new(Vec::new()), ZlibEncoder::get_mut, plain).await,
        "raw deflate" => run(DeflateEncoder::new(Vec::new()), DeflateEncoder::get_mut, plain).await,
        other => panic!("{other} is no coding"),
    }
}

/// Returns codings as Content-Encoding lists them: both forms of deflate have one name.
fn listed(codings: &str) -> String {
    codings.replace("raw deflate", "deflate")
}

async fn coded(coding: &str, plain: &[u8]) -> Vec<u8> {
    pieces(coding, &[plain]).await.concat()
}

/// A response with everything that a coding has to do with.
fn response(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {}\r\ncontent-length: {}\r\netag: \"v1\"\r\naccept-ranges: bytes\r\n\
         vary: accept-encoding\r\ndigest: sha-256=x\r\n\r\n",
        listed(coding),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Adds `!` behind the end of bodies, and notes how long they are.
fn shouter() -> Vec<u8> {
    let shout = |name: &str, body: &str| {
        on(
            name,
            &format!(
                "(if (local.get $end) (then (call $note '{name}' (local.get $size) (i32.const 0))
               (drop (call $set_buffer {body} (i32.const -1) (i32.const 0) '!'))))
             (i32.sub (i32.const 1) (local.get $end))"
            ),
        )
    };
    script(&[shout("request_body", REQUEST_BODY), shout("response_body", RESPONSE_BODY)].concat())
}

fn assert_decoded(response: &Response, case: &str) {
    let expected = format!("{PLAIN}!");
    assert_eq!((response.status, response.text()), (200, expected.clone()), "{case}");
    assert_eq!(response.header("content-encoding"), None, "{case}");
    assert_eq!(
        (response.header("etag"), response.header("vary")),
        (Some("W/\"v1\""), Some("accept-encoding")),
        "{case}"
    );
    assert_eq!((response.header("accept-ranges"), response.header("digest")), (None, None), "{case}");
    assert_eq!(response.headers.all("content-length"), [expected.len().to_string()], "{case}");
}

#[tokio::test]
async fn a_coded_response_arrives_decoded_and_goes_out_without_its_coding() {
    for coding in
        ["gzip", "br", "zstd", "deflate", "raw deflate", "gzip, br", "deflate, zstd, gzip", "raw deflate, br"]
    {
        let mut body = PLAIN.as_bytes().to_vec();
        for one in coding.split(", ") {
            body = coded(one, &body).await;
        }
        let origin = Origin::answer(response(coding, &body));
        let gateway = filtered(&origin, &shouter(), "").await;
        let mut client = gateway.client("web").await;
        for _ in 0..2 {
            assert_decoded(&client.get("/").await, coding);
        }
        assert_eq!(
            notes(&gateway, 2).await,
            [format!("response_body {} 0", PLAIN.len()), format!("response_body {} 0", PLAIN.len())]
        );
        assert_eq!(origin.accepted(), 1, "{coding}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_to_be_or_cannot_be_decoded_goes_as_it_came() {
    let gzip = coded("gzip", PLAIN.as_bytes()).await;
    for (coding, keys) in [("gzip", ", decode: off"), ("compress", ""), ("gzip, aes128gcm", "")] {
        let origin = Origin::answer(response(coding, &gzip));
        let gateway = filtered(&origin, &shouter(), keys).await;
        let answer = gateway.client("web").await.get("/").await;
        assert_eq!(answer.body, [&gzip[..], b"!"].concat(), "{coding}");
        assert_eq!(answer.header("content-encoding"), Some(coding));
        assert_eq!(answer.headers.all("content-length"), [(gzip.len() + 1).to_string()]);
        assert_eq!(notes(&gateway, 1).await, [format!("response_body {} 0", gzip.len())], "{coding}");
    }
}

#[tokio::test]
async fn a_part_of_a_coded_response_goes_as_it_came() {
    let gzip = coded("gzip", PLAIN.as_bytes()).await;
    for field in ["content-range: bytes 0-9/100", "content-type: multipart/byteranges; boundary=x"] {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-encoding: gzip\r\n{field}\r\ncontent-length: 10\r\n\r\n"
        );
        let origin = Origin::answer([head.as_bytes(), &gzip[..10]].concat());
        let module = script(&on("response_body", CONTINUE));
        let gateway = filtered(&origin, &module, "").await;
        let answer = gateway.client("web").await.get("/").await;
        assert_eq!((answer.status, &answer.body[..]), (206, &gzip[..10]), "{field}");
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{field}");
    }
}

#[tokio::test]
async fn filters_that_read_no_bodies_leave_codings_alone() {
    let gzip = coded("gzip", PLAIN.as_bytes()).await;
    let heads = script(&on("response_headers", CONTINUE));
    for (module, keys) in [(heads, ""), (shouter(), ", bodies: off")] {
        let origin = Origin::answer(response("gzip", &gzip));
        let gateway = filtered(&origin, &module, keys).await;
        let answer = gateway.client("web").await.get("/").await;
        assert_eq!(answer.body, gzip, "{keys}");
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("etag", "\"v1\""),
            ("accept-ranges", "bytes"),
            ("digest", "sha-256=x"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{keys}");
        }
        assert_eq!(answer.headers.all("content-length"), [gzip.len().to_string()]);
    }
}

#[tokio::test]
async fn a_body_that_is_not_of_its_coding_is_an_error_of_the_upstream() {
    let mut damaged = coded("gzip", PLAIN.as_bytes()).await;
    let end = damaged.len() - 6;
    damaged[end] ^= 1;
    let short = coded("gzip", PLAIN.as_bytes()).await[..15].to_vec();
    for (name, body) in [("no gzip", b"hello".to_vec()), ("damaged", damaged), ("cut short", short)] {
        let origin = Origin::answer(response("gzip", &body));
        let gateway = filtered(&origin, &shouter(), "").await;
        let mut client = gateway.client("web").await;
        let answer = client.get("/").await;
        assert_eq!(
            (answer.status, answer.header("x-gateway-error")),
            (502, Some("upstream.coding")),
            "{name}"
        );
        assert_eq!(client.get("/").await.status, 502, "the client's connection is as good as before");
    }
}

#[tokio::test]
async fn damage_behind_the_beginning_cuts_the_response() {
    let first = pieces("gzip", &[b"hello", b"more"]).await.remove(0);
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let (first, gate) = (first.clone(), opened.clone());
        async move {
            while connection.read_request().await.is_some() {
                let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1000\r\n\r\n";
                connection.write([head.as_bytes(), &first].concat()).await;
                gate.pass().await;
                connection.write(vec![0xff; 1000 - first.len()]).await;
            }
        }
    });
    let gateway = filtered(&origin, &script(&on("response_body", CONTINUE)), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_head().await;
    assert_eq!(client.read_exact(10).await, b"5\r\nhello\r\n");
    gate.release();
    client.expect_closed().await;
}

#[tokio::test]
async fn a_request_that_says_it_is_a_part_is_decoded_all_the_same() {
    let origin = Origin::echo();
    let gateway = filtered(&origin, &shouter(), "").await;
    let body = coded("gzip", PLAIN.as_bytes()).await;
    let fields = [("content-encoding", "gzip"), ("content-range", "bytes 0-1/2")];
    let answer = gateway.client("web").await.request("POST", "/", &fields, &body).await;
    assert_eq!(answer.text(), format!("{PLAIN}!!"), "once on its way up, once on its way back");
}

#[tokio::test]
async fn a_coded_request_is_no_larger_than_a_route_allows_once_it_is_decoded() {
    let origin = Origin::echo();
    let config = format!(
        "
workers: 1
filters: {{ test: {{ wasm: test.wasm, limits: {{ body: 10MiB }} }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, limits: {{ body: 64KiB }}, filters: [test] }}]",
        origin.url()
    );
    let gateway = configured(&config, &[("test", &shouter())]).start().await;
    let bomb = coded("gzip", &vec![b'a'; 1 << 20]).await;
    assert!(bomb.len() < 64 * 1024);
    let fields = [("content-encoding", "gzip")];
    let answer = gateway.client("web").await.request("POST", "/", &fields, &bomb).await;
    assert_eq!((answer.status, answer.header("x-gateway-error")), (413, Some("limits.body")));
    let small = coded("gzip", PLAIN.as_bytes()).await;
    let answer = gateway.client("web").await.request("POST", "/", &fields, &small).await;
    assert_eq!((answer.status, answer.text()), (200, format!("{PLAIN}!!")));
}

#[tokio::test]
async fn a_coded_request_arrives_decoded_and_goes_on_without_its_coding() {
    for coding in ["gzip", "br", "zstd", "deflate", "raw deflate"] {
        let body = coded(coding, PLAIN.as_bytes()).await;
        let origin = Origin::echo();
        let gateway = filtered(&origin, &shouter(), "").await;
        let mut client = gateway.client("web").await;
        let answer = client.request("POST", "/", &[("content-encoding", &listed(coding))], &body).await;
        // The answer is read by the filter, too.
        assert_eq!(answer.text(), format!("{PLAIN}!!"), "{coding}");
        let request = &origin.requests()[0];
        let length = (PLAIN.len() + 1).to_string();
        assert_eq!(
            (request.headers.all("content-length"), request.headers.get("content-encoding")),
            (vec![&*length], None)
        );
        let broken = client
            .request(
                "POST",
                "/",
                &[("content-encoding", &listed(coding))],
                b"neither this nor that, nor anything else at all",
            )
            .await;
        assert_eq!(
            (broken.status, broken.header("x-gateway-error")),
            (400, Some("request.coding")),
            "{coding}"
        );
        assert_eq!(origin.requests().len(), 1, "{coding}");
    }
}

#[tokio::test]
async fn heads_without_a_body_say_the_same_as_those_with_one() {
    let gzip = coded("gzip", PLAIN.as_bytes()).await;
    let whole = response("gzip", &gzip);
    let head_bytes = whole.len() - gzip.len();
    let head = whole[..head_bytes].to_vec();
    let origin = Origin::respond(move |request| match (&*request.method, &*request.target) {
        ("HEAD", _) => head.clone(),
        (_, "/fresh") => {
            b"HTTP/1.1 304 Not Modified\r\ncontent-encoding: gzip\r\netag: \"v1\"\r\n\r\n".to_vec()
        }
        _ => whole.clone(),
    });
    let gateway = filtered(&origin, &shouter(), "").await;
    let mut client = gateway.client("web").await;
    let get = client.get("/").await;
    assert_decoded(&get, "GET");
    for response in [client.request("HEAD", "/", &[], b"").await, client.get("/fresh").await] {
        assert_eq!(response.header("etag"), get.header("etag"));
        for name in ["content-encoding", "accept-ranges", "digest", "content-length", "transfer-encoding"] {
            assert_eq!(response.header(name), None, "{name}");
        }
        assert!(response.body.is_empty());
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn coded_events_are_decoded_as_they_come() {
    for coding in ["gzip", "br", "zstd", "deflate", "raw deflate"] {
        let events = pieces(coding, &[b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"]).await;
        let gate = Gate::new();
        let opened = gate.clone();
        let name = listed(coding);
        let origin = Origin::script(move |mut connection| {
            let (events, gate, name) = (events.clone(), opened.clone(), name.clone());
            async move {
                connection.read_request().await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: {name}\r\n\r\n"
                );
                connection.write(head).await;
                for event in events {
                    gate.pass().await;
                    connection.write(event).await;
                }
                connection.close().await;
            }
        });
        let gateway = filtered(&origin, &script(&on("response_body", CONTINUE)), "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let head = client.read_head().await;
        assert_eq!(head.headers.get("content-encoding"), None, "{coding}");
        for event in 1..=3 {
            gate.release();
            assert_eq!(
                client.read_exact(14).await,
                format!("9\r\ndata: {event}\n\n\r\n").as_bytes(),
                "{coding}"
            );
        }
        assert_eq!(client.read_exact(5).await, b"0\r\n\r\n", "{coding}");
    }
}
