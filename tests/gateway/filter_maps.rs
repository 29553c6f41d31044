//! Heads and trailers, as plugins read and change them.

use support::Origin;

use crate::filtering::{configured, filtered, reported};
use crate::pooled::OK;
use crate::scripted::{pairs, scripted, scripted_with};

#[tokio::test]
async fn a_requests_head_is_read_with_its_pseudo_headers() {
    let script = "
        get_field 0 :method -> bytes
        get_field 0 :path -> bytes
        get_field 0 :authority -> bytes
        get_field 0 :scheme -> bytes
        get_field 0 host -> bytes
        get_field 0 Host -> bytes
        get_field 0 X-A -> bytes
        get_field 0 x-b -> bytes
        get_field 0 x-none -> bytes
        get_field 0 :status -> bytes
        get_field 0 'a b' -> bytes
        number $1
        number $2
        get_map_size 0 -> u32
        get_pairs 0 -> bytes
        answer";
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", script)]), "").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /a?b=1 HTTP/1.1\r\nhost: gateway.test\r\nx-a: 1\r\nx-a: 2\r\n\r\n").await;
    let whole = pairs(&[
        (":authority", "gateway.test"),
        (":path", "/a?b=1"),
        (":method", "GET"),
        (":scheme", "http"),
        ("x-a", "1"),
        ("x-a", "2"),
    ])
    .replace("\\n", "\n");
    let expected = format!(
        "0 GET\n0 /a?b=1\n0 gateway.test\n0 http\n0 gateway.test\n0 gateway.test\n0 1, 2\n1 \n1 \n1 \n1 \n6\n1\n0 {}\n0 {whole}\n",
        whole.len()
    );
    assert_eq!(client.read_response().await.text(), expected);
}

#[tokio::test]
async fn a_changed_request_line_and_changed_fields_reach_the_upstream() {
    let script = "
        set_field 0 :method PUT
        set_field 0 :path /new?x=%20
        set_field 0 :authority other.test:81
        set_field 0 :scheme ftp
        set_field 0 x-set first
        set_field 0 x-set second
        add_field 0 x-added one
        add_field 0 x-added two
        add_field 0 X-Mixed-Case 'a\\r\\nx-evil: 1\\0'
        set_field 0 'x evil' '1'
        set_field 0 'x:evil' '1'
        set_field 0 '' '1'
        remove_field 0 x-gone
        remove_field 0 x-never-there
        remove_field 0 :path
        remove_field 0 host
        set_field 0 transfer-encoding gzip
        set_field 0 content-length '99'
        set_field 0 connection x-set
        get_field 0 :method -> bytes
        get_field 0 :path -> bytes
        get_field 0 host -> bytes
        get_field 0 :scheme -> bytes
        say";
    let config = "
workers: 1
filters: { test: { wasm: test.wasm } }
routes: [{ name: all, upstream: { url: '{origin}' }, host: preserve, filters: [test] }]";
    let origin = Origin::answer(OK);
    let module = scripted(&[("proxy_on_request_headers", script)]);
    let gateway = configured(config, &[("test", &module)]).set("origin", origin.url()).start().await;
    let mut client = gateway.client("web").await;
    client.request("GET", "/old", &[("x-gone", "1")], b"").await;
    let statuses = "0|0|0|0|0|0|0|0|0|2|2|2|0|0|0|0|0|0|0|";
    gateway.wait_for_log(&format!("{statuses}0 PUT|0 /new?x=%20|0 other.test:81|0 http|")).await;
    let request = &origin.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("PUT", "/new?x=%20"));
    let fields = &request.headers;
    assert_eq!(fields.all("host"), ["other.test:81"]);
    assert_eq!(fields.all("x-set"), ["second"]);
    assert_eq!(fields.all("x-added"), ["one", "two"]);
    assert_eq!(fields.all("x-mixed-case"), ["a  x-evil: 1"]);
    for absent in ["x-gone", "x-evil", "transfer-encoding"] {
        assert!(!fields.has(absent), "{absent} in {fields:?}");
    }
    assert!(fields.get("content-length").is_none_or(|length| length == "0"), "{fields:?}");
}

#[tokio::test]
async fn invalid_fields_and_pseudo_headers_are_refused_and_change_nothing() {
    let long = "x".repeat(70_000);
    let mut script = String::new();
    for (name, value) in [
        (":method", "CONNECT"),
        (":method", "G T"),
        (":method", ""),
        (":path", ""),
        (":path", "relative"),
        (":path", "/a b"),
        (":path", "/a\\r\\n"),
        (":path", "/a#b"),
        (":authority", "a\\nb"),
        (":authority", ""),
        (":authority", "a b"),
        (":status", "200"),
        (":unknown", "1"),
    ] {
        script += &format!("set_field 0 {name} '{value}'\n");
    }
    script += "get_field 0 :method -> bytes\nget_field 0 :path -> bytes\nget_field 0 :authority -> bytes\n";
    assert_eq!(reported(&script).await, format!("{}0 GET\n0 /\n0 gateway.test\n", "2\n".repeat(13)));
    // Too long for a request line, and for anything that a head should have in it.
    let module = scripted_with(
        "",
        &format!(r#"(data (i32.const 0x40000) "/{long}")"#),
        &[(
            "proxy_on_request_headers",
            "set_field 0 :path 0x40000 70001
             answer",
        )],
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, "").await;
    assert_eq!(gateway.client("web").await.get("/").await.text(), "2\n");
}

#[tokio::test]
async fn a_whole_head_is_set_and_pseudo_headers_that_are_left_out_stay() {
    let all = pairs(&[(":path", "/set"), ("x-one", "1"), ("x-two", "2"), ("x-one", "\u{b}3")]);
    let bad_name = pairs(&[("x-ok", "1"), ("x bad", "1")]);
    let bad_pseudo = pairs(&[(":path", "nowhere"), ("x-ok", "1")]);
    let cut = &all[..20];
    let script = format!(
        "set_pairs 0 '{all}'
        set_pairs 0 '{bad_name}'
        set_pairs 0 '{bad_pseudo}'
        set_pairs 0 '{cut}'
        get_field 0 x-ok -> bytes
        get_field 0 x-one -> bytes
        get_field 0 user-agent -> bytes
        get_field 0 :path -> bytes
        get_field 0 :method -> bytes
        say"
    );
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &scripted(&[("proxy_on_request_headers", &script)]), "").await;
    gateway.client("web").await.request("GET", "/old", &[("user-agent", "test")], b"").await;
    gateway.wait_for_log("0|2|2|2|1 |0 1, 3|1 |0 /set|0 GET|").await;
    let request = &origin.requests()[0];
    assert_eq!(request.target, "/set");
    assert_eq!(request.headers.all("x-one"), ["1", "3"]);
    assert!(!request.headers.has("user-agent"));
}

#[tokio::test]
async fn maps_that_are_not_there_are_empty_and_cannot_be_changed() {
    let mut script = String::new();
    for map in 1..=7 {
        script += &format!(
            "get_field {map} :status -> bytes
            get_map_size {map} -> u32
            get_pairs {map} -> bytes
            set_field {map} x-a '1'
            add_field {map} x-a '1'
            set_pairs {map} '\\0'
            remove_field {map} x-a\n"
        );
    }
    script += "
        get_field 8 x -> bytes
        get_map_size 8 -> u32
        get_pairs 8 -> bytes
        set_field 8 x-a '1'
        set_pairs 8 '\\0'
        remove_field -1 x-a";
    let none = "1 \n0 0\n0 \n2\n2\n2\n0\n".repeat(7);
    assert_eq!(reported(&script).await, format!("{none}2 \n2 0\n2 \n2\n2\n2\n"));
}

#[tokio::test]
async fn a_responses_head_is_read_and_changed() {
    let script = format!(
        "get_field 2 :status -> bytes
        get_field 2 x-many -> bytes
        get_field 2 :path -> bytes
        get_field 0 :path -> bytes
        get_pairs 2 -> bytes
        set_field 2 :status '299'
        set_field 2 :status '100'
        set_field 2 :status '600'
        set_field 2 :status '20x'
        set_field 2 :path /x
        remove_field 2 :status
        remove_field 2 x-many
        set_pairs 2 '{}'
        add_field 2 x-late 'a\\nb'
        set_field 2 keep-alive '1'
        set_field 2 content-length '1'
        say",
        pairs(&[(":status", "404"), ("x-new", "1")])
    );
    let origin = Origin::answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-many: 1\r\nx-many: 2\r\n\r\nok");
    let gateway = filtered(&origin, &scripted(&[("proxy_on_response_headers", &script)]), "").await;
    let response = gateway.client("web").await.get("/asked").await;
    let line = gateway.wait_for_log("|0 /asked|0 ").await;
    assert!(line.contains("0 200|0 1, 2|1 |0 /asked|0 "), "{line}");
    assert!(line.contains("x-many\\u{0}1\\u{0}x-many\\u{0}2"), "{line}");
    assert!(line.ends_with("|0|2|2|2|2|0|0|0|0|0|0|") || line.contains("|0|2|2|2|2|0|0|0|0|0|0|"), "{line}");
    assert_eq!((response.status, response.text().as_str()), (404, "ok"));
    assert_eq!(response.headers.all("x-new"), ["1"]);
    assert_eq!(response.headers.all("x-late"), ["a b"]);
    assert_eq!(response.headers.all("content-length"), ["2"]);
    for absent in ["x-many", "keep-alive"] {
        assert!(!response.headers.has(absent), "{absent} in {response:?}");
    }
}

#[tokio::test]
async fn trailers_of_both_directions_are_read_and_changed() {
    let edit = |map: u32| {
        format!(
            "number $1
            get_field {map} x-t -> bytes
            get_map_size {map} -> u32
            get_pairs {map} -> bytes
            set_field {map} x-t changed
            add_field {map} x-more '1'
            remove_field {map} x-gone
            set_field {map} :path /x
            set_field {map} content-length '1'
            say"
        )
    };
    let module =
        scripted(&[("proxy_on_request_trailers", &edit(1)), ("proxy_on_response_trailers", &edit(3))]);
    let origin = Origin::answer(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: up\r\nx-gone: 1\r\n\r\n",
    );
    let gateway = filtered(&origin, &module, "").await;
    let mut client = gateway.client("web").await;
    client
        .send_raw(
            "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: down\r\nx-gone: 1\r\n\r\n",
        )
        .await;
    let response = client.read_response().await;
    for value in ["down", "up"] {
        let line = gateway.wait_for_log(&format!("2|0 {value}|0 ")).await;
        assert!(line.contains("|0|0|0|2|0|"), "{line}");
    }
    let request = &origin.requests()[0];
    for (body, trailers) in [(&request.body, &request.trailers), (&response.body, &response.trailers)] {
        assert_eq!(body.len(), 2);
        assert_eq!((trailers.all("x-t"), trailers.all("x-more")), (vec!["changed"], vec!["1"]));
        assert!(!trailers.has("x-gone") && !trailers.has("content-length"), "{trailers:?}");
    }
}

#[tokio::test]
async fn a_head_has_a_thousand_fields_and_a_megabyte_at_most() {
    // Adds a field until that fails, and answers how many there are.
    let fill = |value_bytes: u32| {
        format!(
            "(memory.fill (i32.const 0x10000) (i32.const 97) (i32.const {value_bytes}))
            (block $full (loop $next
              (br_if $full (call $add_field (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0x10000) (i32.const {value_bytes})))
              (global.set $added (i32.add (global.get $added) (i32.const 1)))
              (br $next)))
            number (global.get $added)
            answer"
        )
    };
    let declarations = r#"(global $added (mut i32) (i32.const 0)) (data (i32.const 0) "x")"#;
    // One field more is the client's: `x-own: 1`.
    for (value_bytes, fields) in [(10, 999), (100_000, 10)] {
        let script = fill(value_bytes).replace(
            "number (global.get $added)",
            "(call $show_number (i64.extend_i32_u (global.get $added)))",
        );
        let module = scripted_with("", declarations, &[("proxy_on_request_headers", &script)]);
        let origin = Origin::answer(OK);
        let gateway = filtered(&origin, &module, ", limits: { time: 10s }").await;
        let response = gateway.client("web").await.request("GET", "/", &[("x-own", "1")], b"").await;
        assert_eq!(response.text(), fields.to_string());
    }
}

#[tokio::test]
async fn more_pairs_than_any_head_may_have_are_refused_wherever_they_are_given() {
    // 40,000 pairs without names or values: a count, then zeroes.
    let script = "
        (i32.store (i32.const 0x10000) (i32.const 40000))
        (memory.fill (i32.const 0x10004) (i32.const 0) (i32.const 400000))
        (global.set $end (i32.const 0x7f000))
        (local.set 0 (call $set_pairs (i32.const 0) (i32.const 0x10000) (i32.const 400004)))
        (local.set 1 (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0x10000) (i32.const 400004) (i32.const -1)))
        (local.set 2 (call $http_call (i32.const 0x1000) (i32.const 2) (i32.const 0x10000) (i32.const 400004)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 0)))
        (global.set $end (i32.const 0x10000))
        text up
        number $0
        number $1
        number $2
        answer";
    let config = "
workers: 1
upstreams: { up: { url: '{origin}' } }
filters: { test: { wasm: test.wasm, limits: { time: 10s } } }
routes: [{ name: all, upstream: up, filters: [test] }]";
    // Names that are there: one that is missing would be refused for that.
    for name_bytes in [0, 1] {
        let fill = format!("(block $done (loop $next
              (br_if $done (i32.ge_u (global.get $added) (i32.const 40000)))
              (i32.store (i32.add (i32.const 0x10004) (i32.mul (global.get $added) (i32.const 8))) (i32.const {name_bytes}))
              (global.set $added (i32.add (global.get $added) (i32.const 1)))
              (br $next)))
            (memory.fill (i32.const 385540) (i32.const 97) (i32.const 80000))");
        let script = script.replace("(global.set $end (i32.const 0x7f000))", &fill);
        let declarations = "(global $added (mut i32) (i32.const 0))";
        let module = scripted_with("", declarations, &[("proxy_on_request_headers", &script)]);
        let origin = Origin::answer(OK);
        let gateway = configured(config, &[("test", &module)]).set("origin", origin.url()).start().await;
        assert_eq!(gateway.client("web").await.get("/").await.text(), "up\n2\n2\n2\n");
    }
}

#[tokio::test]
async fn a_changed_path_is_looked_at_as_any_other() {
    let keep = "paths: { encoded_slash: keep }";
    for (path, keys, status, sent) in [
        ("/a/../b", "", 200, Some("/b")),
        ("/../../etc", "", 400, None),
        ("/a%00b", "", 400, None),
        ("/a|b?c=|", "", 200, Some("/a%7Cb?c=|")),
        ("/a%2fb", "", 400, None),
        ("/a%2fb", keep, 200, Some("/a%2Fb")),
        ("/a%2f..", keep, 400, None),
    ] {
        let module = scripted(&[("proxy_on_request_headers", &format!("set_field 0 :path {path}"))]);
        let origin = Origin::answer(OK);
        let config = format!(
            "
filters: {{ test: {{ wasm: test.wasm }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [test], {keys} }}]",
            origin.url()
        );
        let gateway = configured(&config, &[("test", &module)]).start().await;
        assert_eq!(gateway.client("web").await.get("/").await.status, status, "{path}");
        assert_eq!(
            origin.requests().first().map(|request| request.target.clone()).as_deref(),
            sent,
            "{path}"
        );
    }
}
