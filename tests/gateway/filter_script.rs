//! Plugins as tests write them best: a line a callback, texts where they are used, and notes of what came when.
//!
//! In the code of a plugin, `'some text'` stands for the two arguments that say where that text is and how long it is;
//! `\r`, `\n` and `\xHH` are bytes. `$note` writes a line into the log: a text and two numbers. [`notes`] reads them.

use support::{Gateway, Origin, wait_until};

use crate::PROGRAM;
use crate::filtering::plugin;

/// Where texts begin: below is the place for what a test puts there itself.
const TEXTS: usize = 2048;

const NOTES: &str = r#"
(func $decimal (param $number i32) (param $at i32) (result i32)
  (local $left i32) (local $end i32)
  (local.set $left (local.get $number))
  (local.set $end (i32.add (local.get $at) (i32.const 1)))
  (block $counted (loop $count
    (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
    (br_if $counted (i32.eqz (local.get $left)))
    (local.set $end (i32.add (local.get $end) (i32.const 1)))
    (br $count)))
  (local.set $left (local.get $end))
  (loop $write
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (i32.store8 (local.get $left) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
    (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
    (br_if $write (i32.gt_u (local.get $left) (local.get $at))))
  (local.get $end))
(func $note (param $text i32) (param $length i32) (param $first i32) (param $second i32)
  (local $at i32)
  (i32.store (i32.const 520000) (i32.const 0x65746f6e))
  (i32.store16 (i32.const 520004) (i32.const 0x203a))
  (memory.copy (i32.const 520006) (local.get $text) (local.get $length))
  (local.set $at (i32.add (i32.const 520006) (local.get $length)))
  (i32.store8 (local.get $at) (i32.const 32))
  (local.set $at (call $decimal (local.get $first) (i32.add (local.get $at) (i32.const 1))))
  (i32.store8 (local.get $at) (i32.const 32))
  (local.set $at (call $decimal (local.get $second) (i32.add (local.get $at) (i32.const 1))))
  (drop (call $log (i32.const 2) (i32.const 520000) (i32.sub (local.get $at) (i32.const 520000)))))
"#;

/// The actions that a callback returns.
pub(crate) const CONTINUE: &str = "(i32.const 0)";
pub(crate) const PAUSE: &str = "(i32.const 1)";

/// The maps and buffers by their names in the ABI.
pub(crate) const REQUEST: &str = "(i32.const 0)";
pub(crate) const RESPONSE: &str = "(i32.const 2)";
pub(crate) const REQUEST_BODY: &str = "(i32.const 0)";
pub(crate) const RESPONSE_BODY: &str = "(i32.const 1)";

/// A callback of an exchange, such as `request_body`. Its code sees `$context`, `$size` and, but for trailers, `$end`.
pub(crate) fn on(callback: &str, code: &str) -> String {
    let end = if callback.ends_with("trailers") { "" } else { "(param $end i32)" };
    format!(
        r#"(func (export "proxy_on_{callback}") (param $context i32) (param $size i32) {end} (result i32) {code})"#
    )
}

/// A callback that answers nothing, such as `tick`; with so many parameters.
pub(crate) fn when(callback: &str, parameters: usize, code: &str) -> String {
    let parameters = "i32 ".repeat(parameters);
    format!(r#"(func (export "proxy_on_{callback}") (param {parameters}) {code})"#)
}

/// Sets a field; maps are [`REQUEST`] and [`RESPONSE`].
pub(crate) fn set(map: &str, name: &str, value: &str) -> String {
    format!("(drop (call $set_field {map} '{name}' '{value}'))")
}

/// Replaces all of a body.
pub(crate) fn replace(body: &str, text: &str) -> String {
    format!("(drop (call $set_buffer {body} (i32.const 0) (i32.const 0x7fffffff) '{text}'))")
}

/// Returns code that ends the exchange with a local response, which has this text.
pub(crate) fn respond(status: u16, text: &str) -> String {
    format!(
        "(drop (call $respond (i32.const {status}) (i32.const 0) (i32.const 0) '{text}' (i32.const 0) (i32.const 0) (i32.const -1)))"
    )
}

/// Keeps the context of an exchange for callbacks that are not about one.
pub(crate) const KEPT: &str = "(global $kept (mut i32) (i32.const 0))";
pub(crate) const KEEP: &str = "(global.set $kept (local.get $context))";

/// Goes on with a stream of the exchange that was kept: 0 is the request, 1 the response.
pub(crate) fn resume(stream: u32) -> String {
    format!("(drop (call $set_context (global.get $kept))) (drop (call $continue (i32.const {stream})))")
}

/// A plugin's tick, which does this and [resumes](resume) a stream a moment after one was kept.
pub(crate) fn resumed_by_tick(stream: u32, also: &str) -> String {
    let tick =
        format!("(if (global.get $kept) (then {also} {} (global.set $kept (i32.const 0))))", resume(stream));
    format!(
        r#"{KEPT} (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $set_tick (i32.const 5))) (i32.const 1)) {}"#,
        when("tick", 1, &tick)
    )
}

/// Calls the upstream `side` for a path, within a time in milliseconds.
pub(crate) fn call(path: &str, timeout: u32) -> String {
    let pairs = [(":method", "GET"), (":path", path), (":authority", "side")];
    let mut bytes = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    let pairs: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!(
        "(drop (call $http_call 'side' '{pairs}' (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const 1024)))"
    )
}

/// A plugin that notes each of its callbacks and lets everything go on; those given here are in place of its own.
pub(crate) fn tracing(callbacks: &[(&str, &str)]) -> Vec<u8> {
    let mut code = String::new();
    let names = ["request_headers", "request_body", "request_trailers", "response_headers", "response_body"];
    for name in names.into_iter().chain(["response_trailers"]) {
        let own = callbacks.iter().find(|(callback, _)| *callback == name).map_or(CONTINUE, |(_, code)| code);
        // The number of fields depends on much that no test is about.
        let numbers = match name.split_once('_') {
            Some((_, "headers")) => "(i32.const 0) (local.get $end)",
            Some((_, "trailers")) => "(local.get $size) (i32.const 1)",
            _ => "(local.get $size) (local.get $end)",
        };
        code += &on(name, &format!("(call $note '{name}' {numbers}) {own}"));
    }
    for (name, own) in
        callbacks.iter().filter(|(name, _)| !names.contains(name) && *name != "response_trailers")
    {
        assert_eq!(*name, "more");
        code += own;
    }
    script(&code)
}

/// A gateway whose requests go through the filters `first` and `second`, by a route with these further keys, as
/// `, host: preserve`.
pub(crate) async fn with_two(origin: &Origin, first: &[u8], second: &[u8], route_keys: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
wasm: {{ cache: off }}
filters: {{ first: {{ wasm: first.wasm }}, second: {{ wasm: second.wasm }} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [first, second]{route_keys} }}]",
        origin.url()
    );
    Gateway::builder(PROGRAM, config).file("first.wasm", first).file("second.wasm", second).start().await
}

/// The module of some code.
pub(crate) fn script(code: &str) -> Vec<u8> {
    let (code, data) = placed(&format!("{NOTES} {code}"));
    plugin(&format!("{code} {data}"))
}

/// The code with the places of its texts, and the texts as data.
fn placed(code: &str) -> (String, String) {
    let (mut placed, mut data, mut at) = (String::new(), String::new(), TEXTS);
    for (index, part) in code.split('\'').enumerate() {
        if index % 2 == 0 {
            placed += part;
            continue;
        }
        let bytes = unescaped(part);
        placed += &format!("(i32.const {at}) (i32.const {})", bytes.len());
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        data += &format!("(data (i32.const {at}) \"{escaped}\")");
        at += bytes.len();
    }
    (placed, data)
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (byte, length) = match &escape[..1] {
            "r" => (b'\r', 1),
            "n" => (b'\n', 1),
            "x" => (u8::from_str_radix(&escape[1..3], 16).unwrap(), 3),
            other => panic!("\\{other} is no escape"),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// The notes of all instances so far, of which there will be `count`.
pub(crate) async fn notes(gateway: &Gateway, count: usize) -> Vec<String> {
    let so_far = || -> Vec<String> {
        let lines = gateway.logs();
        let notes = lines.iter().filter_map(|line| line.split_once("note: "));
        notes.map(|(_, note)| note.split(" filter=").next().unwrap().to_owned()).collect()
    };
    wait_until(&format!("{count} notes"), async || so_far().len() >= count).await;
    so_far()
}

/// A gateway whose one route goes to `origin` through the filter `test` with these further keys, which may call `side`.
pub(crate) async fn with_side(origin: &Origin, side: &Origin, module: &[u8], filter_keys: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 1
wasm: {{ cache: off }}
upstreams: {{ side: {{ url: '{}' }} }}
filters:
  test: {{ wasm: test.wasm{filter_keys} }}
routes: [{{ name: all, upstream: {{ url: '{}' }}, filters: [test] }}]",
        side.url(),
        origin.url()
    );
    Gateway::builder(PROGRAM, config).file("test.wasm", module).start().await
}
