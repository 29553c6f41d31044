//! `gateway filter run` and `gateway filter new`: filters without a gateway.

use std::fs;
use std::path::Path;

use support::run_to_exit;
use tempfile::TempDir;

use crate::PROGRAM;
use crate::filtering::plugin;

/// The outcome of a run of the program.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A filter in a folder of its own.
pub(crate) struct Filter(TempDir);

impl Filter {
    fn new(declarations: &str) -> Self {
        Self::of(&plugin(declarations))
    }

    pub(crate) fn of(module: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("test.wasm"), module).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ran {
        let module = self.0.path().join("test.wasm").display().to_string();
        filter(self.0.path(), &[&["run", &module], arguments].concat()).await
    }
}

/// Runs `gateway filter` with these arguments, and with a folder for what it compiles.
async fn filter(folder: &Path, arguments: &[&str]) -> Ran {
    let cache = format!("XDG_CACHE_HOME={}", folder.display());
    let output = run_to_exit("env", &[&[&cache, PROGRAM, "filter"], arguments].concat()).await;
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Puts a bar before each piece of a response's body.
const BARS: &str = r#"
(data (i32.const 0) "|")
(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
  (drop (call $set_buffer (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)))
  (i32.const 0))"#;

/// Adds a field to requests.
const MARKED_REQUEST: &str = r#"
(data (i32.const 0) "x-markyes")
(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
  (drop (call $add_field (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 3)))
  (i32.const 0))"#;

/// Fails as soon as there is a body.
const BROKEN: &str = r#"
(func $boom (unreachable))
(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (call $boom) (i32.const 0))"#;

#[tokio::test]
async fn run_prints_the_output_of_a_filter_for_the_chosen_number_of_chunks() {
    let filter = Filter::new(BARS);
    let body = filter.file("body", "abcdef");
    for (chunks, changed) in [("1", "|abcdef"), ("3", "|ab|cd|ef"), ("100", "|a|b|c|d|e|f")] {
        let ran = filter.run(&["--body", &body, "--chunks", chunks, "--header", "etag: \"x\""]).await;
        let expected =
            format!("HTTP/1.1 200 OK\netag: W/\"x\"\ncontent-length: {}\n\n{changed}", changed.len());
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), expected.as_str()), "{}", ran.stderr);
        let ran = filter.run(&["--body", &body, "--chunks", chunks, "--body-only"]).await;
        assert_eq!(ran.stdout, changed);
    }
}

#[tokio::test]
async fn a_response_is_taken_as_curl_prints_it_and_can_come_from_another_run() {
    let filter = Filter::new(BARS);
    let written = "HTTP/1.1 404 Not Found\r\nA: b\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\nhello";
    let response = filter.file("response", written);
    let once = filter.run(&["--response", &response, "--header", "a: c", "--status", "410"]).await;
    assert_eq!(once.stdout, "HTTP/1.1 410 Gone\nx: y\na: c\ncontent-length: 6\n\n|hello");
    let again = filter.file("again", &once.stdout);
    let piped = format!(
        "XDG_CACHE_HOME={} {PROGRAM} filter run {} --response - <{again}",
        filter.0.path().display(),
        filter.0.path().join("test.wasm").display()
    );
    let output = run_to_exit("sh", &["-c", &piped]).await;
    let expected = "HTTP/1.1 410 Gone\nx: y\na: c\ncontent-length: 7\n\n||hello";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[tokio::test]
async fn the_request_is_printed_if_it_was_changed_or_as_asked_for() {
    const REQUEST: &str = "POST /a?b HTTP/1.1\nhost: example.com\nx-mark: yes\ncontent-length: 4\n\nbody\n\n";
    const UNCHANGED: &str = "GET / HTTP/1.1\nhost: localhost\n\n";
    const RESPONSE: &str = "HTTP/1.1 200 OK\ncontent-length: 0\n\n";
    let (changes, leaves) = (Filter::new(MARKED_REQUEST), Filter::new(BARS));
    let body = changes.file("body", "body");
    let request = [
        "--method",
        "POST",
        "--path",
        "/a?b",
        "--request-header",
        "Host: example.com",
        "--request-body",
        &body,
    ];
    for (arguments, expected) in [
        (&[][..], [REQUEST, RESPONSE].concat()),
        (&["--show-request"], [REQUEST, RESPONSE].concat()),
        (&["--show-request=never"], RESPONSE.to_owned()),
        (&["--body-only"], String::new()),
    ] {
        let ran = changes.run(&[&request[..], arguments].concat()).await;
        assert_eq!((ran.code, ran.stdout), (Some(0), expected), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(leaves.run(&[]).await.stdout, RESPONSE);
    assert_eq!(leaves.run(&["--show-request"]).await.stdout, [UNCHANGED, RESPONSE].concat());
}

#[tokio::test]
async fn run_reports_the_actions_of_a_filter_on_standard_error_in_order() {
    let filter = Filter::new(
        r#"
(data (i32.const 0) "the configuration is: ")
(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
(func (export "proxy_on_configure") (param i32 i32) (result i32)
  (drop (call $get_buffer (i32.const 7) (i32.const 0) (local.get 1) (i32.const 64) (i32.const 68)))
  (memory.copy (i32.const 22) (i32.load (i32.const 64)) (local.get 1))
  (drop (call $log (i32.const 0) (i32.const 0) (i32.add (i32.const 22) (local.get 1))))
  (i32.const 1))
(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.eqz (local.get 2)))
(func (export "proxy_on_log") (param i32))"#,
    );
    let body = filter.file("body", "abcd");
    let config = filter.file("config", r#"{ "key": 1 }"#);
    for (config, seen) in [
        (r#"{ "b": 1, "a": [null] }"#, r#"{"b":1,"a":[null]}"#),
        (r#""text""#, "text"),
        ("x: y", "x: y"),
        (&format!("@{config}"), r#"{"key":1}"#),
    ] {
        let ran = filter.run(&["--body", &body, "--chunks", "2", "--config", config]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let logged = format!("trace: the configuration is: {seen}");
        let mut rest = ran.stderr.as_str();
        for expected in [
            "proxy_on_vm_start\n",
            "proxy_on_configure\n",
            &logged,
            "proxy_on_response_headers (2 fields): continue\n",
            "proxy_on_response_body (2 bytes): pause\n",
            "proxy_on_response_body (4 bytes, the end): continue\n",
            "proxy_on_log\n",
            "4 callbacks after a start of ",
            "; 1024 KiB of memory\n",
        ] {
            let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} in {}", ran.stderr));
            rest = &rest[at + expected.len()..];
        }
        assert!(!ran.stderr.contains("proxy_on_done"), "it has none: {}", ran.stderr);
    }
}

#[tokio::test]
async fn run_warns_of_body_callbacks_that_never_read_or_change_a_body() {
    const WARNING: &str = "set `bodies: off`";
    let body_callback = |script: &str| {
        let name = "proxy_on_response_body";
        format!(r#"(func (export "{name}") (param i32 i32 i32) (result i32) {script})"#)
    };
    let get =
        "(drop (call $get_buffer (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 68)))";
    let trailers = "(drop (call $get_map_size (i32.const 3) (i32.const 64)))";
    for (script, keys, warns) in [
        ("(i32.const 0)".to_owned(), "{}", true),
        ("(i32.const 0)".to_owned(), "{ bodies: off }", false),
        ("(i32.eqz (local.get 2))".to_owned(), "{}", false),
        (format!("{get} (i32.const 0)"), "{}", false),
        (format!("{trailers} (i32.const 0)"), "{}", false),
    ] {
        let filter = Filter::new(&body_callback(&script));
        let body = filter.file("body", "hello");
        let ran = filter.run(&["--body", &body, "--chunks", "2", "--keys", keys]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains(WARNING), warns, "{script} {keys}: {}", ran.stderr);
        let ran = filter.run(&["--keys", keys]).await;
        assert!(!ran.stderr.contains(WARNING), "without a body nothing is known: {}", ran.stderr);
    }
    let changes = Filter::new(BARS);
    let body = changes.file("body", "hello");
    assert!(!changes.run(&["--body", &body]).await.stderr.contains(WARNING));
}

#[tokio::test]
async fn a_filter_that_fails_is_exit_code_1_with_what_the_client_would_get() {
    let filter = Filter::new(BROKEN);
    let body = filter.file("body", "hello");
    let ran = filter.run(&["--body", &body]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("HTTP/1.1 500 Internal Server Error\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("\nx-gateway-error: filter.test.trap\n"), "{}", ran.stdout);
    for expected in ["filter failed (trap): in proxy_on_response_body: ", "boom", "wasm backtrace"] {
        assert!(ran.stderr.contains(expected), "no {expected:?} in {}", ran.stderr);
    }
    let ran = filter.run(&["--body", &body, "--body-only", "--keys", "{ on_error: open }"]).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(1), "hello"),
        "as a client gets it, and failed all the same"
    );
}

#[tokio::test]
async fn limits_hold_without_a_gateway() {
    let holds = r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 1))"#;
    let filter = Filter::new(holds);
    let body = filter.file("body", "hello");
    for (keys, reason, says) in [
        ("{ limits: { pause: 10ms } }", "pause", "`limits.pause`, 10ms"),
        ("{ limits: { body: 4B } }", "body", "`limits.body`, 4 bytes"),
    ] {
        let ran = filter.run(&["--body", &body, "--keys", keys]).await;
        assert_eq!(ran.code, Some(1), "{keys}");
        assert!(ran.stdout.contains(&format!("\nx-gateway-error: filter.test.{reason}\n")), "{}", ran.stdout);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_call_of_the_filter_is_shown_and_fails() {
    let filter = Filter::new(
        r#"
(data (i32.const 0) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\02\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/x\00:authority\00a\00users")
(data (i32.const 100) "fields: ")
(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
  (drop (call $http_call (i32.const 62) (i32.const 5) (i32.const 0) (i32.const 62)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 200)))
  (i32.const 1))
(func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
  (i32.store8 (i32.const 108) (i32.add (i32.const 48) (local.get 2)))
  (drop (call $log (i32.const 2) (i32.const 100) (i32.const 9)))
  (drop (call $set_context (i32.const 2)))
  (drop (call $continue (i32.const 0))))"#,
    );
    let ran = filter.run(&[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("calls upstream `users`: GET /x, host a, at most 1s"), "{}", ran.stderr);
    assert!(ran.stderr.contains("info: fields: 0\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_context_that_is_not_done_is_finished_at_the_end() {
    let filter = Filter::new(
        r#"
(func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
(func (export "proxy_on_log") (param i32))
(func (export "proxy_on_delete") (param i32))"#,
    );
    let ran = filter.run(&[]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let called: Vec<_> = ran.stderr.lines().filter_map(|line| line.split("proxy_on_").nth(1)).collect();
    assert_eq!(called, ["done", "log", "delete"], "{}", ran.stderr);
}

#[tokio::test]
async fn run_exits_with_2_for_bad_arguments_and_with_1_for_a_bad_filter() {
    let filter =
        Filter::new("(func (export \"proxy_on_configure\") (param i32 i32) (result i32) (i32.const 0))");
    let text = filter.file("text", "no response");
    for (arguments, code, says) in [
        (&["--body", "/not/there"][..], 2, "cannot read /not/there: "),
        (&["--response", &text], 2, "is not a response: "),
        (&["--header", "no field"], 2, "--header: `no field` is not a field"),
        (&["--body", &text, "--response", &text], 2, "cannot be used with"),
        (&["--body", "-", "--request-body", "-"], 2, "standard input can be read once"),
        (&["--status", "101"], 2, "from 200 to 599"),
        (&["--path", "a"], 2, "--path"),
        (&["--keys", "{ on_eror: open }"], 2, "on_eror"),
        (&["--answer", "users"], 2, "--answer: `users` has another form than NAME=FILE"),
        (&["--answer", "users=/not/there"], 2, "--answer: cannot read /not/there: "),
        (&["--answer", &format!("users={text}")], 2, "text is not a response: it begins with `no response`"),
        (&["--answer", "users=-", "--response", "-"], 2, "standard input can be read once"),
        (&["--keys", "{ config: 1 }"], 2, "`config` is given elsewhere"),
        (&[], 1, "filter failed (start): `proxy_on_configure` returned false"),
        (&[], 1, "give it one by `--config`"),
    ] {
        let ran = filter.run(arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    let ran = filter.run(&["--answer", "users=fail"]).await;
    assert!(!ran.stderr.contains("is not used"), "a filter that did not start cannot call: {}", ran.stderr);
    let ran = self::filter(filter.0.path(), &["run", &text]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("it is not a WebAssembly module"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_new_filter_is_made_once_and_prints_the_next_steps() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().display().to_string();
    let made = filter(folder.path(), &["new", "my-filter", "--path", &parent]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    for command in [
        "rustup target add wasm32-wasip1",
        "cargo build --release",
        "gateway --config gateway.yaml",
        "filter run",
    ] {
        assert!(made.stdout.contains(command), "{}", made.stdout);
    }
    assert!(folder.path().join("my-filter/src/lib.rs").is_file());
    let made = filter(folder.path(), &["new", "heads", "--path", &parent, "--bodies", "off"]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let config = fs::read_to_string(folder.path().join("heads/gateway.yaml")).unwrap();
    assert!(config.contains("bodies: off"), "{config}");
    for (arguments, says) in [
        (["new", "my-filter", "--path", &parent], "exists already"),
        (["new", "My Filter", "--path", &parent], "is not a name for a filter"),
    ] {
        let ran = filter(folder.path(), &arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_local_response_goes_through_the_filters_own_callbacks() {
    let answering = Filter::new(
        r#"
(data (i32.const 0) "nox-seenyes")
(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
  (drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2)
    (i32.const 0) (i32.const 0) (i32.const -1)))
  (i32.const 1))
(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
  (drop (call $set_field (i32.const 2) (i32.const 2) (i32.const 6) (i32.const 8) (i32.const 3)))
  (i32.const 0))"#,
    );
    for (keys, is_seen) in [("{}", true), ("{ local_responses: off }", false)] {
        let ran = answering.run(&["--keys", keys]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains("403") && ran.stdout.ends_with("no"), "{}", ran.stdout);
        assert_eq!(ran.stdout.contains("x-seen: yes"), is_seen, "{keys}: {}", ran.stdout);
        assert!(ran.stderr.contains("[sends a local response: 403 Forbidden]"), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("proxy_on_response_headers"), is_seen, "{keys}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn a_run_shows_what_a_callback_answered() {
    for (answer, code, shown) in [
        (0, 0, "proxy_on_request_headers (4 fields, the end): continue\n"),
        (2, 0, "proxy_on_request_headers (4 fields, the end): continue, and end the message here\n"),
        (4, 1, "proxy_on_request_headers (4 fields, the end): pause\n"),
        (77, 1, "[the result 77 is unknown in this ABI: it counts as a pause]"),
    ] {
        let filter = Filter::new(&format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const {answer}))"#
        ));
        let ran = filter.run(&["--keys", "{ limits: { pause: 50ms } }"]).await;
        assert_eq!(ran.code, Some(code), "{answer}: {}", ran.stderr);
        assert!(ran.stderr.contains(shown), "{answer}: {}", ran.stderr);
    }
}
