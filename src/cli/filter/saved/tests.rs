use super::*;

fn saved(message: &[u8], method: &Method) -> Saved {
    read(&Bytes::copy_from_slice(message), method).unwrap_or_else(|error| panic!("{message:?}: {error}"))
}

/// Asserts the result of reading a response: its status, its fields as `name: value`, its body, and a part of its only
/// remark, if any.
fn assert_read(message: &[u8], status: u16, fields: &[&str], body: &[u8], note: Option<&str>) {
    let Saved { response, notes } = saved(message, &Method::GET);
    let shown = String::from_utf8_lossy(message).into_owned();
    let read: Vec<String> = response
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    assert_eq!((response.status().as_u16(), &**response.body()), (status, body), "{shown}");
    assert_eq!(read, fields, "{shown}");
    assert_eq!(notes.len(), usize::from(note.is_some()), "{shown}: {notes:?}");
    let expected = note.unwrap_or_default();
    assert!(notes.concat().contains(expected), "{shown}: {notes:?} without {expected:?}");
}

#[test]
fn response_is_read_in_each_form_of_a_head() {
    for (message, status, fields, body) in [
        (
            &b"HTTP/1.1 200 OK\r\nA: b: c\r\n\r\none\r\n\r\ntwo"[..],
            200,
            &["a: b: c"][..],
            &b"one\r\n\r\ntwo"[..],
        ),
        (b"HTTP/2 404 \na:b: c \n\n", 404, &["a: b: c"], b""),
        (b"HTTP/2 200\r\na: b\r\n\r\n", 200, &["a: b"], b""),
        (b"HTTP/3 200 \r\na: b\n\r\nx", 200, &["a: b"], b"x"),
        (b"HTTP/1.0 503\n\n\n", 503, &[], b"\n"),
        (b"HTTP/1.1 200 a b c\nempty:\na: 1\na: 2\n\nx", 200, &["empty: ", "a: 1", "a: 2"], b"x"),
        (b"HTTP/1.1 200 OK\na: b\n\tc\n  d\n\nx", 200, &["a: b c d"], b"x"),
        (b"\xef\xbb\xbfHTTP/1.1 200 OK\n\nx", 200, &[], b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n\0\xff\n\r\n\x1b", 200, &[], b"\0\xff\n\r\n\x1b"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, &[], b""),
    ] {
        assert_read(message, status, fields, body, None);
    }
    let latin = saved(b"HTTP/1.1 200 OK\na: \xe9\n\n", &Method::GET);
    assert_eq!(latin.response.headers()["a"].as_bytes(), b"\xe9");
}

#[test]
fn last_head_counts_where_curl_prints_several() {
    const CONNECT: &str = "HTTP/1.1 200 Connection established\r\nvia: p\r\n\r\n";
    const MOVED: &str = "HTTP/1.1 301 Moved\r\nlocation: /b\r\ncontent-length: 10\r\n\r\n";
    const LAST: &str = "HTTP/2 200 \r\na: b\r\n\r\nx";
    for (before, note) in [
        (vec!["HTTP/1.1 100 Continue\r\n\r\n"], None),
        (vec!["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"], None),
        (vec!["HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"], None),
        (vec![CONNECT], Some("several heads (200)")),
        (vec![MOVED], Some("several heads (301)")),
        (
            vec![CONNECT, MOVED, "HTTP/1.1 100 Continue\n\n", CONNECT, MOVED],
            Some("heads (200, 301, 200, 301)"),
        ),
        (vec!["HTTP/1.1 401 Unauthorized\nwww-authenticate: Digest\n\n"], Some("heads (401)")),
        (vec!["HTTP/1.1 407 No\r\ncontent-length: 3\r\n\r\n", CONNECT], Some("the last one counts: 200 OK")),
    ] {
        assert_read([before.concat().as_str(), LAST].concat().as_bytes(), 200, &["a: b"], b"x", note);
    }
}

#[test]
fn body_that_is_a_response_stays_a_body() {
    const INNER: &[u8] = b"HTTP/1.1 404 Not Found\n\nx";
    for head in ["HTTP/1.1 200 OK\ncontent-type: message/http\n\n", "HTTP/1.1 200 OK\ncontent-length: 25\n\n"]
    {
        let message = [head.as_bytes(), INNER].concat();
        assert_eq!(&**saved(&message, &Method::GET).response.body(), INNER, "{head}");
    }
    for body in ["HTTP/1.1 is a protocol\n\n", "HTTP/1.1 200 OK", "HTTP/2 2000\n\n"] {
        assert_read(format!("HTTP/1.1 200 OK\n\n{body}").as_bytes(), 200, &[], body.as_bytes(), None);
    }
}

#[test]
fn body_is_given_as_it_is_where_head_and_body_differ() {
    for (fields, body, kept, given, note) in [
        ("content-length: 2", "ab", &[][..], "ab", None),
        ("content-length: 12", "ab", &[], "ab", Some("content-length is 12, but the file has 2 bytes")),
        ("content-length: 0", "a", &[], "a", Some("has 1 byte of body")),
        ("content-length: x", "a", &[], "a", Some("content-length is x")),
        ("content-length: 9", "", &[], "", Some("add `--method HEAD`")),
        ("transfer-encoding: chunked", "ab", &["transfer-encoding: chunked"], "ab", None),
        (
            "transfer-encoding: chunked",
            "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            &["transfer-encoding: chunked"],
            "abc",
            Some("--raw"),
        ),
        (
            "transfer-encoding: chunked",
            "1\nc\n0\nt: u\n\n",
            &["transfer-encoding: chunked"],
            "c",
            Some("--raw"),
        ),
        (
            "transfer-encoding: chunked",
            "1\nc\n0\n\nmore",
            &["transfer-encoding: chunked"],
            "1\nc\n0\n\nmore",
            None,
        ),
        ("content-encoding: gzip\ncontent-length: 44", "plain", &[], "plain", Some("`curl --compressed`")),
        ("content-encoding: br", "<p>plain</p>", &[], "<p>plain</p>", Some("content-encoding is br")),
        ("content-encoding: deflate", "{\"a\": 1}", &[], "{\"a\": 1}", Some("content-encoding is deflate")),
        ("content-encoding: zstd", "plain", &[], "plain", Some("content-encoding is zstd")),
        ("content-encoding: gzip", "", &["content-encoding: gzip"], "", None),
        ("content-encoding: identity", "plain", &["content-encoding: identity"], "plain", None),
        ("content-encoding: other", "plain", &["content-encoding: other"], "plain", None),
    ] {
        let message = format!("HTTP/1.1 200 OK\n{fields}\n\n{body}");
        assert_read(message.as_bytes(), 200, kept, given.as_bytes(), note);
    }
    // "hi", compressed; and the beginning of it, which stays a broken gzip body.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\xc8\x04\0\xac\x2a\x93\xd8\x02\0\0\0";
    for body in [&gzip[..], &gzip[..11]] {
        let message = [&b"HTTP/1.1 200 OK\ncontent-encoding: gzip\n\n"[..], body].concat();
        assert_read(&message, 200, &["content-encoding: gzip"], body, None);
    }
}

#[test]
fn response_without_a_body_keeps_the_length_of_its_head() {
    let message = b"HTTP/1.1 200 OK\ncontent-length: 12\n\n";
    let Saved { response, notes } = saved(message, &Method::HEAD);
    assert_eq!(response.headers()["content-length"], "12");
    assert!(notes.is_empty(), "{notes:?}");
    let with_body = [&message[..], b"ab"].concat();
    let Saved { response, notes } = saved(&with_body, &Method::HEAD);
    assert!(
        response.body().is_empty() && notes.concat().contains("to HEAD has no body: 2 bytes"),
        "{notes:?}"
    );
    assert_read(b"HTTP/1.1 204 No Content\n\nab", 204, &[], b"", Some("a response with 204 has no body"));
}

#[test]
fn file_without_a_response_is_refused_with_what_it_is() {
    for (message, says) in [
        (&b""[..], "status line"),
        (b"{\"a\": 1}\n\n", "status line"),
        (b"{\"a\": 1}", "`{\"a\": 1}` and not with a status line"),
        (b"HTTP/1.1 2xx OK\n\n", "status line"),
        (b"HTTP/x 200 OK\n\n", "status line"),
        (b"\x1b[1mHTTP/1.1 200\n\n", "`\\u{1b}[1mHTTP/1.1 200`"),
        (b"HTTP/1.1 200 OK\nno field\n\n", "`no field` is not a field"),
        (b"HTTP/1.1 200 OK\n: b\n\n", "`: b` is not a field"),
        (b"HTTP/1.1 200 OK\na: \0\n\n", "is not a field"),
        (b"HTTP/1.1 200 OK\na: b\n", "empty line"),
        (b"< HTTP/1.1 200 OK\r\n< a: b\r\n< \r\nx", "output of `curl -v`"),
        (b"* Host localhost:80 was resolved.\n", "`curl -si URL >FILE`"),
        (b"  % Total    % Received % Xferd\n", "curl's progress"),
        (b"\xff\xfeH\0T\0", "UTF-16"),
    ] {
        let error = read(&Bytes::copy_from_slice(message), &Method::GET).unwrap_err();
        assert!(error.contains(says), "{message:?}: {error}");
    }
}
