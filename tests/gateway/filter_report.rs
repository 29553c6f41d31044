//! `/api/filters`: the last failure of a filter and its last log lines, for an operator who does not have the log at hand.

use std::time::{SystemTime, UNIX_EPOCH};

use support::serde_json::{Value, from_slice, json};
use support::{Gateway, Origin, wait_until};

use crate::filtering::{builder, filtered, routed};
use crate::pooled::OK;
use crate::scripted::scripted_with;

/// The import and the function by which a plugin writes to its standard output (1) or error (2), and functions that fail.
const IMPORTS: &str =
    r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;
const DECLARATIONS: &str = "
(global $left (mut i32) (i32.const 0))
(func $print (param $to i32) (param $at i32) (param $length i32)
  (i32.store (i32.const 0x100) (local.get $at))
  (i32.store (i32.const 0x104) (local.get $length))
  (drop (call $fd_write (local.get $to) (i32.const 0x100) (i32.const 1) (i32.const 0x108))))
(func $deep_inside (unreachable))
(func $further_out (call $deep_inside))";

/// Returns a script that does something if the path has so many bytes.
fn at_path(bytes: usize, action: &str) -> String {
    format!(
        "get_field 0 :path -> bytes
        (global.set $end (i32.const 0x10000))
        (if (i32.eq (i32.load (i32.const 0x8008)) (i32.const {bytes})) (then
        {action}
        ))"
    )
}

/// Returns a plugin that logs a line for each request, fails in the request for `/trap`, and in the response for `/other`.
pub(crate) fn failing() -> Vec<u8> {
    let request = format!("log 2 '<b>a request</b>'\n{}", at_path("/trap".len(), "(call $further_out)"));
    let response = at_path("/other".len(), "(call $deep_inside)");
    scripted_with(
        IMPORTS,
        DECLARATIONS,
        &[("proxy_on_request_headers", &request), ("proxy_on_response_headers", &response)],
    )
}

/// Returns the reports of all filters.
async fn filters(gateway: &Gateway) -> Vec<Value> {
    let report: Value = from_slice(&gateway.admin("/api/filters").await.body).unwrap();
    report["filters"].as_array().unwrap().clone()
}

/// Returns the report of the filter `test`.
pub(crate) async fn report(gateway: &Gateway) -> Value {
    let found = filters(gateway).await.into_iter().find(|filter| filter["filter"] == "test");
    found.expect("the filter `test`")
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns the levels and the texts of the last lines.
fn lines(report: &Value) -> Vec<(&str, &str)> {
    let lines = report["last_lines"].as_array().unwrap().iter();
    lines.map(|line| (line["level"].as_str().unwrap(), line["text"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn report_has_the_last_failure_with_the_functions_of_the_guest() {
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &failing(), "").await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(report(&gateway).await["last_failure"], json!(null));

    let before = unix_now();
    assert_eq!(client.get("/trap").await.status, 500);
    let failure = report(&gateway).await["last_failure"].clone();
    assert_eq!(failure["reason"], "trap");
    assert!((before..=unix_now()).contains(&failure["at"].as_u64().unwrap()), "{failure}");
    let text = failure["text"].as_str().unwrap();
    assert!(text.starts_with("in `proxy_on_request_headers`: wasm trap: "), "{text}");
    let place = |function: &str| text.find(&format!("!{function}")).unwrap_or_else(|| panic!("{text}"));
    assert!(place("deep_inside") < place("further_out"), "{text}");
    assert!(place("further_out") < place("proxy_on_request_headers"), "{text}");
    assert!(text.lines().count() >= 4 && text.len() <= 4096, "{text}");

    // The log has one failure of a reason in ten seconds. The report has the last one.
    assert_eq!(client.get("/other").await.status, 500);
    let text = report(&gateway).await["last_failure"]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("in `proxy_on_response_headers`: "), "{text}");
    assert!(text.contains("!deep_inside") && !text.contains("!further_out"), "{text}");
    gateway.wait_for_log("filter `test` failed").await;
    assert_eq!(gateway.logs().iter().filter(|line| line.contains("filter `test` failed")).count(), 1);
}

#[tokio::test]
async fn failures_without_a_trap_are_kept_with_their_message() {
    let respond = "respond 99 '' '' '' -1";
    let output = "(loop $again (br_if $again (i32.eqz (call $set_buffer (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0x20000) (i32.const 4096)))))";
    for (callback, script, keys, reason, says) in [
        (
            "headers",
            respond,
            "",
            "response",
            "in `proxy_on_request_headers`: it sent an invalid local response",
        ),
        (
            "body",
            output,
            ", limits: { output: 8KiB, time: 10s }",
            "output",
            "it produced more than `limits.output`, 8192 bytes",
        ),
        (
            "headers",
            "return 1",
            ", limits: { pause: 20ms }",
            "pause",
            "held a message back for longer than `limits.pause`, 20ms",
        ),
    ] {
        let module =
            scripted_with(IMPORTS, DECLARATIONS, &[(&format!("proxy_on_request_{callback}"), script)]);
        let origin = Origin::answer(OK);
        let gateway = filtered(&origin, &module, keys).await;
        let mut client = gateway.client("web").await;
        assert_eq!(client.request("POST", "/", &[("host", "a")], b"hello").await.status, 500, "{reason}");
        let failure = report(&gateway).await["last_failure"].clone();
        assert_eq!(failure["reason"], reason, "{failure}");
        assert!(failure["text"].as_str().unwrap().contains(says), "{failure}");
    }
}

#[tokio::test]
async fn lines_are_those_of_the_log_and_are_safe_in_json() {
    let script = "
        log 1 'at debug'
        log 2 'at info'
        log 5 'at critical'
        (call $print (i32.const 1) 'to \u{1b}[2J output\\n')
        (call $print (i32.const 2) 'to the error output\\nsecond \u{202e}line\\n')
        log 3 'a\\nb'";
    let module = scripted_with(IMPORTS, DECLARATIONS, &[("proxy_on_request_headers", script)]);
    let expected = [
        ("debug", "at debug"),
        ("info", "at info"),
        ("error", "at critical"),
        ("info", r"to \u{1b}[2J output"),
        ("error", "to the error output"),
        ("error", r"second \u{202e}line"),
        ("warn", r"a\nb"),
    ];
    for (level, hidden) in [("debug", 0), ("info", 1)] {
        let origin = Origin::answer(OK);
        let gateway = builder(&origin, &module, "").arg("--log").arg(level).start().await;
        assert_eq!(report(&gateway).await["last_lines"], json!([]));
        let before = unix_now();
        assert_eq!(gateway.client("web").await.get("/").await.status, 200);
        let report = report(&gateway).await;
        assert_eq!(lines(&report), expected[hidden..], "{level}");
        let mut times =
            report["last_lines"].as_array().unwrap().iter().map(|line| line["at"].as_u64().unwrap());
        assert!(times.all(|at| (before..=unix_now()).contains(&at)), "{report}");
        assert_eq!(report["last_failure"], json!(null));
    }
}

#[tokio::test]
async fn thousand_long_lines_leave_twenty_that_are_cut() {
    let script = format!(
        "(memory.fill (i32.const 0x20000) (i32.const 97) (i32.const 10000))
        (global.set $left (i32.const 1000))
        {}
        (loop $next
          (drop (call $log (i32.const 3) (i32.const 0x20000) (i32.const 10000)))
          (global.set $left (i32.sub (global.get $left) (i32.const 1)))
          (br_if $next (global.get $left)))",
        at_path("/last".len(), "log 3 'the last of all'\n(global.set $left (i32.const 1))")
    );
    let module = scripted_with(IMPORTS, DECLARATIONS, &[("proxy_on_request_headers", &script)]);
    let origin = Origin::answer(OK);
    let gateway = filtered(&origin, &module, ", limits: { time: 10s }").await;
    let mut client = gateway.client("web").await;
    // An exchange has 64 KiB for its lines.
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let long = format!("{}…", "a".repeat(509));
    assert_eq!(lines(&report(&gateway).await), [("warn", &*long); 20]);
    assert_eq!(client.get("/last").await.status, 200);
    let after = report(&gateway).await;
    let lines = lines(&after);
    assert_eq!((lines.len(), &lines[18..]), (20, &[("warn", "the last of all"), ("warn", &*long)][..]));
    assert!(gateway.admin("/api/filters").await.body.len() < 20 * 1024);
}

#[tokio::test]
async fn reload_keeps_failure_and_lines_of_a_name_until_no_route_uses_it() {
    let origin = Origin::answer(OK);
    let builder = routed(&origin, "", "{ test: { wasm: test.wasm } }", "[test]");
    let gateway = builder.file("test.wasm", failing()).start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/trap").await.status, 500);
    let known = report(&gateway).await;
    assert_eq!(lines(&known), [("info", "<b>a request</b>")]);

    let file = std::fs::read_to_string(gateway.folder().join("gateway.yaml")).unwrap();
    let changed = file.replace("wasm: test.wasm }", "wasm: test.wasm, on_error: open }");
    assert_ne!(changed, file);
    gateway.reload(&changed).await;
    let after = report(&gateway).await;
    assert_eq!(
        (&after["last_failure"], &after["last_lines"]),
        (&known["last_failure"], &known["last_lines"])
    );

    let without = file.replace("filters: [test]", "filters: []");
    assert_ne!(without, file);
    gateway.reload(&without).await;
    wait_until("the filter to be gone", async || filters(&gateway).await.is_empty()).await;
    gateway.reload(&file).await;
    let renewed = report(&gateway).await;
    assert_eq!((&renewed["last_failure"], &renewed["last_lines"]), (&json!(null), &json!([])));
}
