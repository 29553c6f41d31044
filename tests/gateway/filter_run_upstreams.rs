//! `gateway filter run --answer`: upstreams that are played for the calls of a filter.

use crate::filter_run::{Filter, Ran};
use crate::scripted::{pairs, scripted, scripted_with};

/// A call of upstream `users`, which lasts 150 ms at most.
fn call(more: &[(&str, &str)]) -> String {
    let fields =
        [&[(":method", "POST"), (":path", "/check?a=1"), (":authority", "users.test")], more].concat();
    format!("http_call users '{}' 'the body' '' 150 -> u32", pairs(&fields))
}

/// A filter that calls upstream `users` once, and sends what it is answered with to the client.
fn asking() -> Filter {
    let head = format!(
        "(global.set $waiting (local.get 0))\n{}\n(global.set $end (i32.const 0x10000))\nreturn 1",
        call(&[("x-key", "k")])
    );
    Filter::of(&scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0))",
        &[
            ("proxy_on_request_headers", &head),
            (
                "proxy_on_http_call_response",
                "number $2
                get_field 6 :status -> bytes
                get_field 6 x-a -> bytes
                get_field 6 content-length -> bytes
                get_buffer 4 0 100 -> bytes
                (drop (call $set_context (global.get $waiting)))
                answer",
            ),
        ],
    ))
}

fn assert_shows(ran: &Ran, expected: &[&str]) {
    let mut rest = ran.stderr.as_str();
    for expected in expected {
        let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} in {}", ran.stderr));
        rest = &rest[at + expected.len()..];
    }
}

#[tokio::test]
async fn played_upstream_answers_with_the_response_in_a_file() {
    let filter = asking();
    for (answer, read) in [
        ("HTTP/1.1 203 Fine\r\nX-A: b\r\n\r\nside", "4\n0 203\n0 b\n0 4\n0 side\n"),
        ("HTTP/1.1 302 Found\r\nlocation: /b\r\n\r\nHTTP/2 401 \r\nx-a: c\r\n\r\n", "3\n0 401\n0 c\n0 0\n"),
        ("HTTP/1.1 200 OK\nx-a: d\ntransfer-encoding: chunked\n\nside", "2\n0 200\n0 d\n1 \n0 side\n"),
    ] {
        let file = filter.file("answer", answer);
        let ran = filter.run(&["--answer", &format!("users={file}")]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let body = ran.stdout.split_once("\n\n").unwrap().1;
        let read = read.split_once('\n').unwrap().1;
        assert!(body.contains(read), "{answer:?}: {body:?} without {read:?}");
        assert_shows(
            &ran,
            &[
                "proxy_on_request_headers (4 fields, the end): pause\n",
                "calls upstream `users`: POST /check?a=1, host users.test, at most 150ms\n",
                "< ",
                "proxy_on_http_call_response\n",
                "[sends a local response: 200 OK]",
            ],
        );
        assert!(!ran.stderr.contains("x-key"), "only `--verbose` shows a call in full: {}", ran.stderr);
    }
}

#[tokio::test]
async fn played_upstream_fails_or_is_late() {
    let filter = asking();
    for (answer, shown) in [
        ("users=fail", "< fails, as `--answer` says\n"),
        ("users=timeout", "< times out after 150ms, as `--answer` says\n"),
    ] {
        let ran = filter.run(&["--answer", answer]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_shows(&ran, &[shown, "proxy_on_http_call_response\n"]);
        assert!(ran.stdout.contains("\n\n0 0\n0\n") || ran.stdout.contains("\n0\n1 \n"), "{}", ran.stdout);
    }
    let ran = filter.run(&["--answer", "users=timeout", "--keys", "{ limits: { pause: 20ms } }"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert_shows(&ran, &["filter failed (pause)"]);
}

#[tokio::test]
async fn answers_of_an_upstream_come_in_their_order_and_the_last_one_stays() {
    let calls = [call(&[]), call(&[]), call(&[]), call(&[])].join("\n");
    let filter = Filter::of(&scripted(&[("proxy_on_request_headers", &calls)]));
    let file = filter.file("answer", "HTTP/1.1 204 No Content\n\n");
    let created = filter.file("created", "HTTP/1.1 201 Created\n\nabc");
    let answers = [format!("users={file}"), "users=fail".to_owned(), format!("users={created}")];
    let ran = filter.run(&["--answer", &answers[0], "--answer", &answers[1], "--answer", &answers[2]]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_shows(
        &ran,
        &[
            "< 204 No Content (",
            "< fails, as `--answer` says",
            "< 201 Created (1 field, 3 bytes)",
            "< 201 Created (1 field, 3 bytes)",
        ],
    );
    let again = filter.run(&["--answer", &answers[0], "--answer", "other=fail"]).await;
    assert_eq!(again.stderr.matches("< 204 No Content").count(), 4, "{}", again.stderr);
    assert_shows(
        &again,
        &["warning: `--answer other=…` is not used: the filter does not call an upstream `other`"],
    );
}

#[tokio::test]
async fn call_without_an_answer_is_shown_in_full_and_fails() {
    let filter = asking();
    let ran = filter.run(&["--answer", "other=fail"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_shows(
        &ran,
        &[
            "calls upstream `users`: POST /check?a=1, host users.test, at most 150ms\n",
            "> x-key: k\n",
            "> body of 8 bytes: \"the body\"\n",
            "< fails, as nothing answers it; add `--answer users=FILE`",
        ],
    );
}

#[tokio::test]
async fn answer_that_a_gateway_would_refuse_fails_the_call() {
    let filter = asking();
    let long = filter.file("long", "HTTP/1.1 200 OK\n\nmore than eight");
    let ran = filter.run(&["--answer", &format!("users={long}"), "--keys", "{ limits: { body: 8B } }"]).await;
    assert_shows(&ran, &["< fails: the answer has 15 bytes, more than `limits.body`, 8\n"]);
    let interim = filter.file("interim", "HTTP/1.1 103 Early Hints\n\n");
    let ran = filter.run(&["--answer", &format!("users={interim}")]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("only the interim response 103"), "{}", ran.stderr);
}

#[tokio::test]
async fn call_that_cannot_be_made_is_noted_with_its_reason() {
    let incomplete = format!("http_call users '{}' '' '' 150 -> u32", pairs(&[(":method", "GET")]));
    let filter = Filter::of(&scripted(&[("proxy_on_request_headers", &incomplete)]));
    let ran = filter.run(&[]).await;
    assert_shows(&ran, &["[`proxy_http_call` returns BadArgument: a call has a valid `:method`"]);
    let bad = scripted(&[("proxy_on_request_headers", "grpc_call users a '' '' '' 100 -> u32")]);
    let ran = Filter::of(&bad).run(&[]).await;
    assert_shows(&ran, &["[`proxy_grpc_call` returns ParseFailure: the upstream is unknown, or the service"]);
}

#[tokio::test]
async fn grpc_call_is_noted_and_ends_as_unavailable() {
    let module = scripted_with(
        "",
        "(global $waiting (mut i32) (i32.const 0))",
        &[
            (
                "proxy_on_request_headers",
                "(global.set $waiting (local.get 0))
                grpc_call users shop.Users Check '' 'hello' 150 -> u32
                return 1",
            ),
            ("proxy_on_grpc_close", "number $2\n(drop (call $set_context (global.get $waiting)))\nanswer"),
        ],
    );
    let ran = Filter::of(&module).run(&["--answer", "users=fail"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_shows(
        &ran,
        &[
            "[calls upstream `users` by gRPC: POST /shop.Users/Check; the call ends with UNAVAILABLE, because a run",
            "proxy_on_grpc_close",
        ],
    );
    assert!(ran.stdout.ends_with("0 1\n14\n"), "{}", ran.stdout);
}
