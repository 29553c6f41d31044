//! Trailers, as filters see and change them.

use support::bytes::Bytes;
use support::{Http2Client, Origin, http};

use crate::filter_script::{CONTINUE, KEEP, PAUSE, notes, on, resumed_by_tick, script, tracing};
use crate::filtering::filtered;

#[tokio::test]
async fn trailers_can_be_changed_and_added_to_in_both_directions() {
    let change = |map: u32| {
        format!(
            "(call $note 'trailers' (local.get $size) (i32.const 0))
             (drop (call $set_field (i32.const {map}) 'x-sum' '2')) (drop (call $add_field (i32.const {map}) 'x-more' 'yes'))
             (drop (call $add_field (i32.const {map}) 'content-length' '7'))
             {CONTINUE}"
        )
    };
    let module = script(&[on("request_trailers", &change(1)), on("response_trailers", &change(3))].concat());
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    );
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!(response.text(), "hello");
        let expected = [("x-sum".to_owned(), "2".to_owned()), ("x-more".to_owned(), "yes".to_owned())];
        assert_eq!(response.trailers.0, expected);
        let sent = origin.requests().pop().unwrap();
        assert_eq!((&sent.body[..], &sent.trailers.0[..]), (&b"hi"[..], &expected[..]));
    }
    assert_eq!(notes(&gateway, 4).await, ["trailers 1 0"; 4]);
}

#[tokio::test]
async fn trailers_are_held_until_the_filter_lets_them_go() {
    for (callback, stream) in [("request_trailers", 0), ("response_trailers", 1)] {
        let tick = resumed_by_tick(stream, "(call $note 'tick' (i32.const 0) (i32.const 0))");
        let module = tracing(&[(callback, &format!("{KEEP} {PAUSE}")), ("more", &tick)]);
        let origin = Origin::answer(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        );
        let gateway = filtered(&origin, &module, "").await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!(
            (response.text().as_str(), response.trailers.get("x-sum")),
            ("hello", Some("1")),
            "{callback}"
        );
        let sent = &origin.requests()[0];
        assert_eq!((&sent.body[..], sent.trailers.get("x-sum")), (&b"hi"[..], Some("1")), "{callback}");
        let seen = notes(&gateway, 9).await;
        let at = |note: &str| seen.iter().position(|seen| seen.starts_with(note)).unwrap();
        assert_eq!(at("tick"), at(callback) + 1, "{seen:?}");
    }
}

#[tokio::test]
async fn trailers_held_for_too_long_go_on_as_they_were_where_the_filter_fails_open() {
    for (callback, map, buffer) in [("request_trailers", 1, 0), ("response_trailers", 3, 1)] {
        let change = format!(
            "(drop (call $set_field (i32.const {map}) 'x-sum' '2')) (drop (call $add_field (i32.const {map}) 'x-more' 'yes'))
             (drop (call $set_buffer (i32.const {buffer}) (i32.const -1) (i32.const 0) '!')) {PAUSE}"
        );
        let module = script(&on(callback, &change));
        let origin = Origin::answer(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        );
        let gateway = filtered(&origin, &module, ", on_error: open, limits: { pause: 200ms }").await;
        let mut client = gateway.client("web").await;
        client.send_raw("POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n").await;
        let response = client.read_response().await;
        let expected = [("x-sum".to_owned(), "1".to_owned())];
        assert_eq!(
            (response.text().as_str(), &response.trailers.0[..]),
            ("hello", &expected[..]),
            "{callback}"
        );
        let sent = &origin.requests()[0];
        assert_eq!((&sent.body[..], &sent.trailers.0[..]), (&b"hi"[..], &expected[..]), "{callback}");
        gateway.wait_for_log("limits.pause").await;
    }
}

#[tokio::test]
async fn body_bytes_added_in_a_trailers_callback_end_the_body() {
    let add = |buffer: u32| {
        format!("(drop (call $set_buffer (i32.const {buffer}) (i32.const -1) (i32.const 0) '!')) {CONTINUE}")
    };
    let reads = [on("request_body", CONTINUE), on("response_body", CONTINUE)].concat();
    for reads in ["", &*reads] {
        let module = script(
            &[on("request_trailers", &add(0)), on("response_trailers", &add(1)), reads.to_owned()].concat(),
        );
        let origin = Origin::answer(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        );
        let gateway = filtered(&origin, &module, "").await;
        let mut client = Http2Client::connect(gateway.addr("web")).await;
        for length in [None, Some(2)] {
            let mut head = http::Request::post("http://gateway.test/");
            if let Some(length) = length {
                head = head.header("content-length", length);
            }
            let (response, mut stream) = client.open(head.body(()).unwrap(), false).await.unwrap();
            stream.send_data(Bytes::from_static(b"hi"), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("x-sum", http::HeaderValue::from_static("1"));
            stream.send_trailers(trailers).unwrap();
            let response = Http2Client::read(response).await.unwrap();
            assert_eq!(
                (&response.body[..], &response.trailers["x-sum"]),
                (&b"hello!"[..], &http::HeaderValue::from_static("1"))
            );
            let request = origin.requests().pop().unwrap();
            assert_eq!(
                (&request.body[..], request.trailers.get("x-sum")),
                (&b"hi!"[..], Some("1")),
                "{length:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_filter_of_trailers_leaves_the_length_of_a_message_without_them() {
    let module = script(&[on("request_trailers", CONTINUE), on("response_trailers", CONTINUE)].concat());
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.request("POST", "/", &[], b"hello").await;
        assert_eq!((response.text().as_str(), response.headers.all("content-length")), ("hello", vec!["5"]));
        assert_eq!(origin.requests().pop().unwrap().body, b"hello");
    }
}
