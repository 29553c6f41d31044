//! The length of what filters change: told rightly whatever they did to the head, so that the next message is found.

use support::{Gate, Origin};

use crate::filter_script::{
    CONTINUE, PAUSE, REQUEST, REQUEST_BODY, RESPONSE, RESPONSE_BODY, notes, on, replace, script, set, tracing,
};
use crate::filtering::filtered;

/// Changes to `hello`, and what comes of them.
fn changes(body: &str) -> [(&'static str, String, String); 8] {
    let splice = |start: u32, length: u32, text: &str| {
        format!("(drop (call $set_buffer {body} (i32.const {start}) (i32.const {length}) '{text}'))")
    };
    let long = "x".repeat(100_000);
    [
        ("prepended to", splice(0, 0, "oh, "), "oh, hello".into()),
        ("appended to", splice(u32::MAX, 0, " world"), "hello world".into()),
        ("spliced", splice(1, 3, "ipp"), "hippo".into()),
        ("cut", splice(1, 3, ""), "ho".into()),
        ("replaced", replace(body, "bye"), "bye".into()),
        ("emptied", replace(body, ""), String::new()),
        ("grown", grow(body), format!("hello{long}")),
        ("left", String::new(), "hello".into()),
    ]
}

/// Appends a hundred thousand times an `x`, in two steps.
fn grow(body: &str) -> String {
    let half = format!(
        "(drop (call $set_buffer {body} (i32.const -1) (i32.const 0) (i32.const 100000) (i32.const 50000)))"
    );
    format!("(memory.fill (i32.const 100000) (i32.const 120) (i32.const 50000)) {half} {half}")
}

/// The changes that a filter may make to the fields that give a length.
fn fields(map: &str) -> [(&'static str, String); 5] {
    let remove = |name: &str| format!("(drop (call $remove_field {map} '{name}'))");
    [
        ("left alone", String::new()),
        ("no length", remove("content-length")),
        ("a shorter length", set(map, "content-length", "2")),
        ("a longer length", set(map, "content-length", "4000")),
        ("chunked", set(map, "transfer-encoding", "chunked") + &remove("content-length")),
    ]
}

#[tokio::test]
async fn a_changed_request_stays_one_request() {
    for (field, edit) in fields(REQUEST) {
        for (change, code, expected) in changes(REQUEST_BODY) {
            let case = format!("{field}, {change}");
            let origin = Origin::echo();
            let module = script(
                &[
                    on("request_headers", &format!("{edit} {CONTINUE}")),
                    on(
                        "request_body",
                        &format!(
                            "(if (local.get $end) (then {code})) (i32.sub (i32.const 1) (local.get $end))"
                        ),
                    ),
                ]
                .concat(),
            );
            let gateway = filtered(&origin, &module, "").await;
            let mut client = gateway.client("web").await;
            let ways = [
                "content-length: 5\r\n\r\nhello",
                "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            ];
            for framed in ways {
                client.send_raw(format!("POST /first HTTP/1.1\r\nhost: a\r\n{framed}")).await;
                let response = client.read_response().await;
                assert_eq!(response.status, 200, "{case}");
                assert!(response.body == expected.as_bytes(), "{case}: {}", response.body.len());
            }
            assert_eq!(client.get("/second").await.status, 200, "{case}");
            let requests = origin.requests();
            let targets: Vec<&str> = requests.iter().map(|request| &*request.target).collect();
            assert_eq!(targets, ["/first", "/first", "/second"], "{case}");
            let length = expected.len().to_string();
            for request in &requests[..2] {
                assert_eq!(request.headers.all("content-length"), [&*length], "{case}");
                assert!(request.headers.all("transfer-encoding").is_empty(), "{case}");
            }
            assert_eq!((origin.errors(), origin.accepted()), (vec![], 1), "{case}");
        }
    }
}

#[tokio::test]
async fn a_changed_response_is_followed_by_the_next_one() {
    for (field, edit) in fields(RESPONSE) {
        for (change, code, expected) in changes(RESPONSE_BODY) {
            let case = format!("{field}, {change}");
            let origin = Origin::respond(|request| match &*request.target {
                "/length" => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
                "/chunked" => {
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
                        .to_vec()
                }
                _ => b"HTTP/1.1 200 OK\r\n\r\nhello".to_vec(),
            });
            let module = script(
                &[
                    on("response_headers", &format!("{edit} {CONTINUE}")),
                    on(
                        "response_body",
                        &format!(
                            "(if (local.get $end) (then {code})) (i32.sub (i32.const 1) (local.get $end))"
                        ),
                    ),
                ]
                .concat(),
            );
            let gateway = filtered(&origin, &module, "").await;
            let mut client = gateway.client("web").await;
            for path in ["/length", "/chunked", "/close", "/length"] {
                let response = client.get(path).await;
                assert!(response.body == expected.as_bytes(), "{case} {path}: {}", response.body.len());
                assert_eq!(
                    response.headers.all("content-length"),
                    [expected.len().to_string()],
                    "{case} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_grows_as_it_streams_reaches_clients_of_every_version() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = opened.clone();
        async move {
            while connection.read_request().await.is_some() {
                connection.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
                gate.pass().await;
                connection.write("world").await;
            }
        }
    });
    let module = script(&on(
        "response_body",
        "(drop (call $set_buffer (i32.const 1) (i32.const -1) (i32.const 0) '!')) (i32.const 0)",
    ));
    let gateway = filtered(&origin, &module, "").await;
    for (version, head, body) in [
        ("HTTP/1.1", "transfer-encoding", "6\r\nhello!\r\n6\r\nworld!\r\n0\r\n\r\n"),
        ("HTTP/1.0", "connection", "hello!world!"),
    ] {
        let mut client = gateway.client("web").await;
        client.send_raw(format!("GET / {version}\r\nhost: a\r\n\r\n")).await;
        let first = client.read_head().await;
        assert!(
            first.headers.get(head).is_some() && first.headers.get("content-length").is_none(),
            "{first:?}"
        );
        gate.release();
        assert_eq!(client.read_exact(body.len()).await, body.as_bytes());
        if version == "HTTP/1.0" {
            client.expect_closed().await;
        }
    }
}

#[tokio::test]
async fn responses_without_a_body_have_no_body_callback_and_keep_their_heads() {
    let tracer = tracing(&[]);
    let passes = script(&on(
        "response_headers",
        &format!("(call $note 'response_headers' (i32.const 0) (local.get $end)) {CONTINUE}"),
    ));
    // What tells of a length is true of a GET's answer only where no filter can change that.
    for (module, kept) in [(tracer, None), (passes, Some("5"))] {
        let cases = [
            ("HEAD", "200 OK\r\ncontent-length: 5", kept),
            ("GET", "304 Not Modified\r\ncontent-length: 5", kept),
            ("GET", "204 No Content", None),
            ("GET", "200 OK\r\ncontent-length: 0", Some("0")),
            ("HEAD", "200 OK\r\ntransfer-encoding: chunked", None),
        ];
        for (method, head, length) in cases {
            let origin = Origin::answer(format!("HTTP/1.1 {head}\r\n\r\n"));
            let gateway = filtered(&origin, &module, "").await;
            let mut client = gateway.client("web").await;
            for _ in 0..2 {
                let response = client.request(method, "/", &[], b"").await;
                assert_eq!(response.status_line, format!("HTTP/1.1 {}", head.lines().next().unwrap()));
                assert_eq!(response.header("content-length"), length, "{method} {head} {kept:?}");
                assert!(
                    response.body.is_empty() && response.header("transfer-encoding").is_none(),
                    "{method} {head}"
                );
            }
            let all: Vec<String> = notes(&gateway, 2).await;
            assert!(all.contains(&"response_headers 0 1".to_owned()), "{method} {head}: {all:?}");
            assert!(!all.iter().any(|note| note.starts_with("response_body")), "{method} {head}: {all:?}");
            assert_eq!(origin.accepted(), 1, "{method} {head}");
        }
    }
}

#[tokio::test]
async fn a_status_that_a_filter_sets_decides_whether_there_is_a_body() {
    let with_body = "200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let reads = on("response_body", CONTINUE);
    for reads in ["", &*reads] {
        let cases = [
            (with_body, "204", None, ""),
            (with_body, "304", None, ""),
            (with_body, "404", Some("5"), "hello"),
            ("304 Not Modified\r\ncontent-length: 5\r\n\r\n", "200", Some("0"), ""),
            ("204 No Content\r\n\r\n", "200", Some("0"), ""),
        ];
        for (answer, status, length, body) in cases {
            let case = format!("{answer:?} as {status}, reads: {}", !reads.is_empty());
            let origin = Origin::answer(format!("HTTP/1.1 {answer}"));
            let change = set(RESPONSE, ":status", status);
            let module =
                script(&format!("{} {reads}", on("response_headers", &format!("{change} {CONTINUE}"))));
            let gateway = filtered(&origin, &module, "").await;
            let mut client = gateway.client("web").await;
            for _ in 0..2 {
                let response = client.get("/").await;
                assert_eq!(
                    (response.status.to_string().as_str(), response.text().as_str()),
                    (status, body),
                    "{case}"
                );
                assert_eq!(response.header("content-length"), length, "{case}");
                assert_eq!(response.header("transfer-encoding"), None, "{case}");
            }
            let mut http2 = support::Http2Client::connect(gateway.addr("web")).await;
            let response = http2.get("http://gateway.test/").await;
            assert_eq!((response.status.as_str(), &response.body[..]), (status, body.as_bytes()), "{case}");
        }
    }
}

#[tokio::test]
async fn a_method_that_a_filter_sets_decides_whether_there_is_a_body() {
    for (asked, sent, body) in [("GET", "HEAD", ""), ("HEAD", "GET", ""), ("GET", "POST", "hello")] {
        for reads in ["", &*on("response_body", CONTINUE)] {
            let case = format!("{asked} as {sent}, reads: {}", !reads.is_empty());
            let origin = Origin::respond(|request| {
                let body = if request.method == "HEAD" { "" } else { "hello" };
                format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{body}").into_bytes()
            });
            let change = set(REQUEST, ":method", sent);
            let module =
                script(&format!("{} {reads}", on("request_headers", &format!("{change} {CONTINUE}"))));
            let gateway = filtered(&origin, &module, "").await;
            let mut client = gateway.client("web").await;
            for _ in 0..2 {
                let response = client.request(asked, "/", &[], b"").await;
                assert_eq!((response.status, response.text().as_str()), (200, body), "{case}");
            }
            assert_eq!(origin.requests()[0].method, sent, "{case}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_goes_through_a_filter_that_sees_its_heads() {
    let origin = Origin::script(|mut connection| async move {
        if connection.read_head().await.is_some() {
            connection.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly").await;
            connection.echo().await;
        }
    });
    let module = tracing(&[
        (
            "request_headers",
            &format!("{} {CONTINUE}", set(REQUEST, "upgrade", "other") + &set(REQUEST, "x-seen", "yes")),
        ),
        (
            "response_headers",
            &format!(
                "{} {CONTINUE}",
                [("upgrade", "other"), (":status", "200"), ("x-seen", "yes")]
                    .map(|(name, value)| set(RESPONSE, name, value))
                    .concat()
            ),
        ),
    ]);
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    let head = client.read_head().await;
    assert_eq!(head.first_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!((head.headers.all("upgrade"), head.headers.get("x-seen")), (vec!["websocket"], Some("yes")));
    assert_eq!(client.read_exact(5).await, b"early");
    client.send_raw("frame").await;
    assert_eq!(client.read_exact(5).await, b"frame");
    assert_eq!(notes(&gateway, 2).await, ["request_headers 0 1", "response_headers 0 1"]);
}

#[tokio::test]
async fn a_held_head_has_the_length_of_the_changed_body() {
    // The head waits for the body, and the body is made shorter in the same callback.
    let origin = Origin::echo();
    let change = |buffer: &str| format!("{} {CONTINUE}", replace(buffer, "bye"));
    let module = script(
        &[
            on("request_headers", PAUSE),
            on("request_body", &change(REQUEST_BODY)),
            on("response_headers", PAUSE),
            on("response_body", &change(RESPONSE_BODY)),
        ]
        .concat(),
    );
    let gateway = filtered(&origin, &module, ", on_headers_pause: continue_body").await;
    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        let response = client.request("POST", "/", &[], b"hello").await;
        assert_eq!((response.text().as_str(), response.headers.all("content-length")), ("bye", vec!["3"]));
    }
    assert_eq!(origin.requests()[1].headers.all("content-length"), ["3"]);
}

#[tokio::test]
async fn an_empty_message_with_an_end_of_its_own_can_be_given_a_body() {
    // Nothing tells from the head that nothing comes; where something does, there is no callback.
    let add = |buffer: &str| {
        format!(
            "(call $note 'body' (local.get $size) (local.get $end)) {} {CONTINUE}",
            replace(buffer, "new")
        )
    };
    let module =
        script(&[on("request_body", &add(REQUEST_BODY)), on("response_body", &add(RESPONSE_BODY))].concat());
    let origin = Origin::respond(|request| match &*request.target {
        "/none" => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
    });
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    for (path, framing, sent, answered) in [
        ("/none", "content-length: 0\r\n\r\n", "", ""),
        ("/", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "new", "new"),
        ("/none", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "new", ""),
    ] {
        client.send_raw(format!("POST {path} HTTP/1.1\r\nhost: a\r\n{framing}")).await;
        let response = client.read_response().await;
        assert_eq!(
            (response.text().as_str(), response.headers.all("content-length")),
            (answered, vec![&*answered.len().to_string()])
        );
        let request = origin.requests().pop().unwrap();
        assert_eq!(
            (&request.body[..], request.headers.all("content-length")),
            (sent.as_bytes(), vec![&*sent.len().to_string()])
        );
    }
    assert_eq!(notes(&gateway, 3).await, ["body 0 1"; 3]);
}
