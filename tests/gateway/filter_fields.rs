//! Fields that filters write into heads, and that never reach the wire.

use support::Origin;

use crate::filter_script::{CONTINUE, REQUEST, RESPONSE, notes, on, script, set};
use crate::filtering::filtered;

/// Notes the status of an edit of a map.
fn tried(function: &str, map: &str, name: &str, value: &str) -> String {
    format!("(call $note 'tried' (call {function} {map} '{name}' '{value}') (i32.const 0))")
}

const ORIGIN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn line_ends_in_values_are_spaces_and_in_names_are_refused() {
    let edits = |map: &str| {
        [
            tried("$add_field", map, "x-value", "a\\r\\nx-evil: 1\\r\\n\\r\\nGET /evil HTTP/1.1\\r\\n\\x00"),
            tried("$set_field", map, "x-set", "\\nb\\x00\\x0bc\\x7f"),
            tried("$add_field", map, "x-name\\r\\nx-evil: 1", "v"),
            tried("$add_field", map, "x name", "v"),
            tried("$add_field", map, "x-name:", "v"),
            tried("$add_field", map, "x\\x00", "v"),
            tried("$set_field", map, "", "v"),
        ]
        .concat()
    };
    let module = script(
        &[
            on("request_headers", &format!("{} {CONTINUE}", edits(REQUEST))),
            on("response_headers", &format!("{} {CONTINUE}", edits(RESPONSE))),
        ]
        .concat(),
    );
    let origin = Origin::answer(ORIGIN);
    let gateway = filtered(&origin, &module, "").await;
    let response = gateway.client("web").await.get("/").await;
    let request = &origin.requests()[0];
    for (raw, headers) in [(&request.raw_head, &request.headers), (&response.raw, &response.headers)] {
        let text = String::from_utf8_lossy(raw);
        assert!(text.contains("\r\nx-value: a  x-evil: 1    GET /evil HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\r\nx-set: b  c\r\n"), "{text}");
        assert_eq!(text.matches("\r\n\r\n").count(), 1, "{text}");
        assert!(!raw.contains(&0) && headers.get("x-evil").is_none(), "{text}");
    }
    assert_eq!(origin.requests().len(), 1);
    let statuses =
        ["tried 0 0", "tried 0 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0"];
    assert_eq!(notes(&gateway, 14).await, [statuses, statuses].concat());
}

#[tokio::test]
async fn a_request_line_is_one_line() {
    let edits = [
        tried("$set_field", REQUEST, ":path", "/a HTTP/1.1\\r\\nx-evil: 1"),
        tried("$set_field", REQUEST, ":path", "a"),
        tried("$set_field", REQUEST, ":method", "GET /evil"),
        tried("$set_field", REQUEST, ":method", "CONNECT"),
        tried("$set_field", REQUEST, ":authority", "a\\r\\nx-evil: 1"),
        tried("$set_field", REQUEST, ":status", "200"),
        tried("$set_field", REQUEST, ":path", "/fine?x=%20"),
    ];
    let module = script(&on("request_headers", &format!("{} {CONTINUE}", edits.concat())));
    let origin = Origin::answer(ORIGIN);
    let gateway = filtered(&origin, &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.status, 200);
    let request = &origin.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/fine?x=%20"));
    assert!(request.headers.get("x-evil").is_none());
    let statuses =
        ["tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 0 0"];
    assert_eq!(notes(&gateway, 7).await, statuses);
}

#[tokio::test]
async fn a_status_is_that_of_a_final_response() {
    let wrong = ["99", "101", "199", "600", "1000", "2x0", "", "200 OK\\r\\nx-evil: 1"];
    let edits: String = wrong.iter().map(|status| tried("$set_field", RESPONSE, ":status", status)).collect();
    let fine = tried("$set_field", RESPONSE, ":status", "599");
    let module = script(&on("response_headers", &format!("{edits} {fine} {CONTINUE}")));
    let origin = Origin::answer(ORIGIN);
    let gateway = filtered(&origin, &module, "").await;
    let response = gateway.client("web").await.get("/").await;
    assert_eq!(response.status_line.trim_end(), "HTTP/1.1 599");
    assert_eq!(response.text(), "hello");
    assert_eq!(notes(&gateway, 9).await, [vec!["tried 2 0"; 8], vec!["tried 0 0"]].concat());
}

#[tokio::test]
async fn fields_of_one_connection_and_of_framing_are_the_gateways_own() {
    let fields = [
        ("connection", "close, x-kept"),
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("upgrade", "websocket"),
        ("te", "trailers"),
        ("keep-alive", "timeout=1"),
        ("proxy-connection", "close"),
    ];
    let edits = |map: &str| fields.map(|(name, value)| set(map, name, value)).concat();
    let module = script(
        &[
            on(
                "request_headers",
                &format!("{} {} {CONTINUE}", set(REQUEST, "x-seen", "yes"), edits(REQUEST)),
            ),
            on(
                "response_headers",
                &format!("{} {} {CONTINUE}", set(RESPONSE, "x-seen", "yes"), edits(RESPONSE)),
            ),
        ]
        .concat(),
    );
    let origin = Origin::echo();
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.request("POST", "/", &[], b"hello").await;
        let request = origin.requests().pop().unwrap();
        for (message, headers) in [("request", &request.headers), ("response", &response.headers)] {
            for (name, _) in fields.iter().filter(|(name, _)| *name != "content-length") {
                assert_eq!(headers.get(name), None, "{message}: {name}");
            }
            assert_eq!(
                (headers.get("content-length"), headers.get("x-seen")),
                (Some("5"), Some("yes")),
                "{message}"
            );
        }
        assert_eq!((response.text().as_str(), &request.body[..]), ("hello", &b"hello"[..]));
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn a_client_cannot_take_away_what_a_filter_says_of_it() {
    let module =
        script(&on("request_headers", &format!("{} {CONTINUE}", set(REQUEST, "x-user", "verified"))));
    let origin = Origin::answer(ORIGIN);
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    client
        .request(
            "GET",
            "/",
            &[("connection", "x-user, x-other"), ("x-user", "forged"), ("x-other", "1")],
            b"",
        )
        .await;
    let request = &origin.requests()[0];
    assert_eq!((request.headers.all("x-user"), request.headers.get("x-other")), (vec!["verified"], None));
}

#[tokio::test]
async fn a_head_grows_to_its_bound_and_no_further() {
    // Values of 64000 bytes, until one is refused.
    let grow = "
        (memory.fill (i32.const 100000) (i32.const 120) (i32.const 64000))
        (block $full (loop $more
          (br_if $full (call $add_field (i32.const 2) 'x-more' (i32.const 100000) (i32.const 64000)))
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (br_if $more (i32.lt_u (global.get $count) (i32.const 100)))))
        (call $note 'grown' (global.get $count) (call $add_field (i32.const 2) 'x-more' (i32.const 100000) (i32.const 64000)))
        (drop (call $remove_field (i32.const 2) 'x-more'))";
    let many = "
        (global.set $count (i32.const 0))
        (block $full (loop $more
          (br_if $full (call $add_field (i32.const 2) 'x-more' 'y'))
          (global.set $count (i32.add (global.get $count) (i32.const 1)))
          (br_if $more (i32.lt_u (global.get $count) (i32.const 5000)))))
        (call $note 'many' (i32.lt_u (global.get $count) (i32.const 1001)) (i32.gt_u (global.get $count) (i32.const 900)))
        (drop (call $remove_field (i32.const 2) 'x-more'))";
    let code = format!(
        "(global $count (mut i32) (i32.const 0)) {}",
        on("response_headers", &format!("{grow} {many} {CONTINUE}"))
    );
    let origin = Origin::answer(ORIGIN);
    // Each of a thousand changes measures the whole map, which takes a build without optimization tens of milliseconds.
    let gateway = filtered(&origin, &script(&code), ", limits: { time: 10s }").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "hello");
    assert_eq!(notes(&gateway, 2).await, ["grown 16 2", "many 1 1"]);
}

#[tokio::test]
async fn a_local_response_has_no_more_to_say_than_others() {
    // Three fields: a line end in a value, framing, and one that is fine.
    let pairs = |pairs: &[(&str, &str)]| {
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut bytes = number(pairs.len()).to_vec();
        for (name, value) in pairs {
            bytes.extend([number(name.len()), number(value.len())].concat());
        }
        for (name, value) in pairs {
            bytes.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()
    };
    let respond = |status: u32, fields: &str| {
        format!(
            "(call $note 'tried' (call $respond (i32.const {status}) (i32.const 0) (i32.const 0) 'no' '{fields}' (i32.const -1)) (i32.const 0))"
        )
    };
    let fine = pairs(&[
        ("x-value", "a\r\nx-evil: 1"),
        ("content-length", "100"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("x-fine", "yes"),
    ]);
    let edits = [
        respond(101, ""),
        respond(99, ""),
        respond(600, ""),
        respond(70_000, ""),
        respond(403, &pairs(&[("x-bad\r\n", "v")])),
        respond(403, &fine),
        respond(404, ""),
    ];
    let module = script(&on("request_headers", &format!("{} {CONTINUE}", edits.concat())));
    let origin = Origin::answer(ORIGIN);
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.get("/").await;
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
        assert_eq!(response.headers.all("content-length"), ["2"]);
        assert_eq!(
            (response.header("x-value"), response.header("x-fine")),
            (Some("a  x-evil: 1"), Some("yes"))
        );
        assert_eq!((response.header("transfer-encoding"), response.header("connection")), (None, None));
    }
    let statuses =
        ["tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 2 0", "tried 0 0", "tried 0 0"];
    assert_eq!(notes(&gateway, 14).await, [statuses, statuses].concat());
    assert_eq!(origin.accepted(), 0);
}
