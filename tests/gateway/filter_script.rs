//! Callbacks of plugins in WAT, with texts in quotes and notes of what came when: see [`scripted`](crate::scripted).

use support::{Gateway, Origin};

use crate::filtering::routed;
use crate::scripted::pairs;
pub(crate) use crate::scripted::{notes, script};

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
    let pairs = pairs(&[(":method", "GET"), (":path", path), (":authority", "side")]);
    format!(
        "(drop (call $http_call 'side' '{pairs}' (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {timeout}) (i32.const 1024)))"
    )
}

/// A plugin that notes each of its callbacks and lets everything go on; those given here are in place of its own.
pub(crate) fn tracing(callbacks: &[(&str, &str)]) -> Vec<u8> {
    let mut code = String::new();
    for message in ["request", "response"] {
        // The number of fields depends on much that no test is about.
        for (part, numbers) in [
            ("headers", "(i32.const 0) (local.get $end)"),
            ("body", "(local.get $size) (local.get $end)"),
            ("trailers", "(local.get $size) (i32.const 1)"),
        ] {
            let name = format!("{message}_{part}");
            let own = callbacks.iter().find(|(callback, _)| *callback == name);
            let own = own.map_or(CONTINUE, |(_, code)| code);
            code += &on(&name, &format!("(call $note '{name}' {numbers}) {own}"));
        }
    }
    for (name, own) in callbacks {
        let part = name.strip_prefix("request_").or(name.strip_prefix("response_"));
        if !part.is_some_and(|part| matches!(part, "headers" | "body" | "trailers")) {
            assert_eq!(*name, "more", "no such callback");
            code += own;
        }
    }
    script(&code)
}

/// A gateway whose requests go through the filters `first` and `second`, by a route with these further keys, as
/// `, host: preserve`.
pub(crate) async fn with_two(origin: &Origin, first: &[u8], second: &[u8], route_keys: &str) -> Gateway {
    let filters = "{ first: { wasm: first.wasm }, second: { wasm: second.wasm } }";
    let builder = routed(origin, "", filters, &format!("[first, second]{route_keys}"));
    builder.file("first.wasm", first).file("second.wasm", second).start().await
}

/// A gateway whose one route goes to `origin` through the filter `test` with these further keys, which may call `side`.
pub(crate) async fn with_side(origin: &Origin, side: &Origin, module: &[u8], filter_keys: &str) -> Gateway {
    let upstreams = format!("upstreams: {{ side: {{ url: '{}' }} }}", side.url());
    let filters = format!("{{ test: {{ wasm: test.wasm{filter_keys} }} }}");
    routed(origin, &upstreams, &filters, "[test]").file("test.wasm", module).start().await
}
