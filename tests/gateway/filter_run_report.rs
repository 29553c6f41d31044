//! `gateway filter run`: the saved responses that it reads, and the report that it prints of a filter's work.

use crate::filter_run::Filter;
use crate::scripted::scripted;

fn changing() -> Filter {
    Filter::of(&scripted(&[
        (
            "proxy_on_request_headers",
            "add_field 0 x-user ada
            set_field 0 :path /b
            get_property 'request\\0nothing' -> bytes
            get_property 'request\\0nothing' -> bytes
            get_property 'request\\0path' -> bytes",
        ),
        (
            "proxy_on_response_headers",
            "remove_field 2 x-old
            set_field 2 x-new fresh
            set_field 2 x-kept other
            set_field 0 x-late yes",
        ),
        ("proxy_on_response_body", "set_buffer 1 0 5 'HELLO' "),
    ]))
}

#[tokio::test]
async fn report_shows_what_a_callback_changed() {
    let filter = changing();
    let response = filter.file("response", "HTTP/1.1 200 OK\nx-old: 1\nx-kept: \u{9b}2\n\nhello, \x07you");
    let ran = filter.run(&["--response", &response]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mut rest = ran.stderr.as_str();
    for expected in [
        "proxy_on_request_headers (4 fields, the end): continue\n",
        "~ :path: / → /b\n",
        "+ x-user: ada\n",
        "[property `request.nothing` does not exist]\n",
        "proxy_on_response_headers (",
        "- x-old: 1\n",
        "~ x-kept: \\u{9b}2 → other\n",
        "+ x-new: fresh\n",
        "proxy_on_response_body (11 bytes, the end): continue\n",
        "~ body: 11 bytes → 11 bytes\n",
        "- \"hello, \\u{7}you\"\n",
        "+ \"HELLO, \\u{7}you\"\n",
    ] {
        let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} in {}", ran.stderr));
        rest = &rest[at + expected.len()..];
    }
    assert_eq!(ran.stderr.matches("request.nothing").count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("request.path"), "it is there: {}", ran.stderr);
    assert!(!ran.stderr.contains("host"), "only `--verbose` shows what stays: {}", ran.stderr);
    assert!(!ran.stderr.contains(['\u{9b}', '\x07']), "{:?}", ran.stderr);
}

#[tokio::test]
async fn verbose_report_shows_what_a_callback_was_given() {
    let filter = changing();
    let response = filter.file("response", "HTTP/1.1 200 OK\nx-kept: same\n\nhello");
    for verbose in ["--verbose", "-v"] {
        let ran = filter.run(&["--response", &response, verbose, "--chunks", "2"]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let mut rest = ran.stderr.as_str();
        for expected in [
            "proxy_on_request_headers (4 fields, the end): continue\n",
            ":authority: localhost\n",
            ":method: GET\n",
            "proxy_on_response_headers (",
            ":status: 200\n",
            "x-kept: same\n",
            "proxy_on_response_body (2 bytes): continue\n",
            "\"he\"\n",
            "proxy_on_response_body (3 bytes, the end): continue\n",
            "\"llo\"\n",
        ] {
            let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} in {}", ran.stderr));
            rest = &rest[at + expected.len()..];
        }
    }
}

#[tokio::test]
async fn saved_response_is_read_in_every_form_and_its_oddities_are_noted() {
    let filter = Filter::of(&scripted(&[("proxy_on_response_headers", "(drop (i32.const 0))")]));
    for (saved, arguments, stdout, note) in [
        (
            "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 301 Moved\r\nlocation: /b\r\n\r\nHTTP/2 200 \r\na: b\r\n\r\nx",
            &[][..],
            "HTTP/1.1 200 OK\na: b\ncontent-length: 1\n\nx",
            "response: it has several heads (200, 301); the last one counts: 200 OK",
        ),
        (
            "HTTP/2 200\ncontent-encoding: gzip\ncontent-length: 99\n\nplain",
            &[],
            "HTTP/1.1 200 OK\ncontent-length: 5\n\nplain",
            "content-encoding is gzip, but the body is not",
        ),
        (
            "HTTP/1.0 200 OK\ncontent-length: 99\n\nplain",
            &[],
            "HTTP/1.1 200 OK\ncontent-length: 5\n\nplain",
            "content-length is 99, but the file has 5 bytes of body",
        ),
        (
            "HTTP/1.1 200 OK\ncontent-length: 99\n\nplain",
            &["--method", "HEAD"],
            "HTTP/1.1 200 OK\ncontent-length: 99\n\n",
            "a response to HEAD has no body: 5 bytes are left out",
        ),
    ] {
        let response = filter.file("response", saved);
        let ran = filter.run(&[&["--response", &response][..], arguments].concat()).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), stdout), "{saved:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(note), "{saved:?}: {}", ran.stderr);
    }
    let verbose = filter.file("response", "* Host x\n< HTTP/1.1 200 OK\n");
    let ran = filter.run(&["--response", &verbose]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("it is output of `curl -v`"), "{}", ran.stderr);
}
