//! Tests of hints: what the file has, and what to write instead.

use super::errors::shown;

#[test]
fn a_hint_has_what_stands_in_the_file() {
    for (keys, message, help) in [
        ("respond: { body: 0123 }", "`body` must be text, not a number", "`\"0123\"`"),
        ("respond: { body: 0x1F }", "`body` must be text, not a number", "`\"0x1F\"`"),
        ("respond: { body: 0o17 }", "`body` must be text, not a number", "`\"0o17\"`"),
        ("respond: { body: +5 }", "`body` must be text, not a number", "`\"+5\"`"),
        ("respond: { body: 1e3 }", "`body` must be text, not a number", "`\"1e3\"`"),
        ("respond: { body: 1.0 }", "`body` must be text, not a number", "`\"1.0\"`"),
        ("respond: { body: True }", "`body` must be text, not `true`", "`\"True\"`"),
        (
            "respond: { headers: { x-a: 007 } }",
            "`x-a` must be text of printable ASCII or a list, not a number",
            "`\"007\"`",
        ),
        ("respond: {}, limits: { body: 0100 }", "`0100` has no unit", ""),
        ("redirect: { to: /, status: 0x12C }", "`status` cannot be 0x12C", ""),
        ("upstream: 'localhost:3000'", "unknown upstream `localhost:3000`", "url: \"http://localhost:3000\""),
    ] {
        let text = format!("listeners: [{{ address: 127.0.0.1:80 }}]\nroutes: [{{ {keys} }}]");
        let shown = shown(&text);
        assert!(shown.contains(message) && shown.contains(help), "{keys}\n{shown}");
    }
}

#[test]
fn a_character_that_looks_like_another_is_named() {
    for (text, message, help) in [
        (
            "LISTENER\nroutes: [{ respond: {}, \"time\u{200b}outs\": {} }]",
            "unknown key `time\\u{200b}outs`",
            "write `timeouts`",
        ),
        (
            "LISTENER\n\u{a0}routes: [{ respond: {} }]",
            "unknown key `\\u{a0}routes`",
            "a no-break space (U+00A0): write `routes`",
        ),
        (
            "LISTENER\nroutes: [{ respond: {}, match: { host: “a.example” } }]",
            "`“a.example”` is not a host",
            "write `a.example`",
        ),
        (
            "LISTENER\nroutes: [{ upstream: us\u{200b}ers }]",
            "unknown upstream `us\\u{200b}ers`",
            "write `users`",
        ),
        (
            "LISTENER\nroutes: [{ upstream: { url: http://a, pool: { idle_timeout: 30\u{a0}s } } }]",
            "30\\u{a0}s",
            "(U+00A0)",
        ),
        (
            "LISTENER\nroutes: [{ respond: {}, match: { path: /a–b } }]",
            "cannot stand in a path",
            "a dash (U+2013): write `/a-b`",
        ),
        (
            "LISTENER\nroutes: [{ respond: {}, match: { host: bücher.example } }]",
            "is not a host",
            "`xn--bcher-kva.example`",
        ),
        (
            "LISTENER\nroutes: [{ upstream: { url: 'localhost:3000' } }]",
            "is not a URL",
            "write `http://localhost:3000`",
        ),
        ("LISTENER\nworkers: “auto”\nroutes: [{ respond: {} }]", "`workers`", "write `auto`"),
        ("LISTENER\nroutes:\n\t- respond: {}", "not valid YAML", "indent with spaces"),
        ("LISTENER\nroutes:\n  - name: a\n  \t  respond: {}", "not valid YAML", "indent with spaces"),
    ] {
        let shown = shown(&text.replace("LISTENER", "listeners: [{ address: 127.0.0.1:80 }]"));
        assert!(shown.contains(message) && shown.contains(help), "{text}\n{shown}");
    }
}
