//! Tests that no text causes a panic, an endless loop or unbounded memory.

use std::fmt::Write;

use proptest::prelude::*;

use super::{MINIMAL, parse};
use crate::config::load;
use crate::config::load::files::Files;

const SAMPLE: &str = concat!(
    include_str!("../../../gateway.yaml"),
    "defaults:\n",
    "  filters:\n",
    "    - uppercase\n",
    "    - { use: uppercase, config: { b: [1.5, ~, 9223372036854775808, -1, '${PORT}'] } }\n",
    "    - { wasm: b.wasm, env: { C: d }, limits: { memory: 64KiB } }\n",
    "wasm: { cache: off }\n",
);

#[test]
fn the_sample_that_these_tests_mutate_is_valid() {
    parse(SAMPLE).unwrap();
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[-:{}\\[\\]&*!|>'\"%@`#,? \\n\\ta-c$~<]{0,60}") {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_change_of_a_good_file_panics(
        at in 0..SAMPLE.len(),
        length in 0usize..20,
        with in "[-:{}\\[\\]&*!'\"0-9a-cé \\n$~<]{0,8}",
    ) {
        let mut text = SAMPLE.to_owned();
        let end = (at + length).min(text.len());
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(end));
        text.replace_range(at..end, &with);
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("a: {}{}", open.repeat(10_000), close.repeat(10_000));
        assert!(parse(&text).is_err());
    }
    let mut text = String::new();
    for depth in 0..1000 {
        writeln!(text, "{}a:", " ".repeat(depth)).unwrap();
    }
    assert!(parse(&text).unwrap_err().to_string().contains("nested deeper"));
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = format!("*a{}, ", level - 1).repeat(10);
        writeln!(text, "a{level}: &a{level} [{previous}]").unwrap();
    }
    assert!(parse(&text).unwrap_err().to_string().contains("aliases make the file too large"));
    assert!(parse("a: &a [*a]").unwrap_err().to_string().contains("alias"));
}

#[test]
fn aliases_that_copy_much_text_are_refused() {
    let long = |character: &str| character.repeat(1000);
    let keys: String = (0..100).map(|number| format!("{}{number}: 1, ", long("k"))).collect();
    for (kept, anchored) in [
        ("texts", format!("[{}]", format!("{}, ", long("x")).repeat(100))),
        ("keys", format!("{{{keys}}}")),
        ("floats", format!("[{}]", format!("{}.5, ", long("1")).repeat(100))),
        ("texts as written", format!("[{}]", format!("'${{PORT:-{}}}', ", long("x")).repeat(100))),
    ] {
        // A file of about 110 kB that would grow to 200 MB.
        let text = format!("a: &a {anchored}\nb: [{}]\n", "*a, ".repeat(2000));
        assert!(text.len() < 200_000, "{kept}");
        let errors = parse(&text).unwrap_err().to_string();
        assert!(errors.contains("aliases make the file too large"), "{kept}\n{errors}");
    }
}

#[test]
fn a_key_longer_than_any_is_an_error() {
    let errors = parse(&format!("{MINIMAL}? \"{}\"\n: 1\n", "k".repeat(1025))).unwrap_err();
    assert!(errors.to_string().contains("a key of more than 1024 characters"), "{errors}");
    assert!(parse(&format!("{MINIMAL}? \"x-{}\"\n: 1\n", "k".repeat(1022))).is_ok());
}

#[test]
fn a_message_shows_only_the_beginning_of_a_long_text() {
    let long = "x".repeat(1 << 20);
    for keys in [
        format!("name: '{long}', tiemouts: 1"),
        format!("upstream: '{long}'"),
        format!("listeners: ['{long}']"),
        format!("filters: ['{long}.wasm']"),
        format!("match: {{ path: '{long}' }}"),
        format!("match: {{ path: '/{long} ?' }}"),
        format!("match: {{ host: '{long}' }}"),
        format!("timeouts: {{ connect: '{long}' }}"),
        format!("pool: {{ keep_alive: '{long}' }}"),
        format!("pool: {{ max_connections: {} }}", "0".repeat(1 << 20)),
        format!("filters: [{{ wasm: a.wasm, config: {} }}]", "1".repeat(1 << 20)),
        format!("respond: {{ body: {} }}", "1".repeat(1 << 20)),
        format!("tiemouts: !{long} 1"),
    ] {
        let text = format!("listeners: [{{ address: 127.0.0.1:8080 }}]\nroutes: [{{ {keys} }}]\n");
        let errors = parse(&text).unwrap_err();
        for error in errors.errors() {
            let shown = error.message().len() + error.advice().unwrap_or_default().len();
            assert!(shown < 1000, "{}", error.message());
        }
        assert!(errors.to_string().len() < 10_000);
    }
}

#[test]
fn ten_thousand_routes_are_read() {
    let mut text = String::from("listeners: [{ address: 127.0.0.1:8080 }]\nroutes:\n");
    for index in 0..10_000 {
        writeln!(text, "  - {{ name: r{index}, match: {{ path: /r{index} }}, upstream: u{index} }}").unwrap();
    }
    text.push_str("upstreams:\n");
    for index in 0..10_000 {
        writeln!(text, "  u{index}: {{ url: http://127.0.0.1:3000 }}").unwrap();
    }
    assert_eq!(parse(&text).unwrap().config.routes.len(), 10_000);
}

#[test]
fn a_byte_order_mark_and_crlf_do_not_matter() {
    let text = format!("\u{feff}{MINIMAL}nonsense: 1\n").replace('\n', "\r\n");
    let position = parse(&text).unwrap_err().errors()[0].position().unwrap();
    assert_eq!((position.line, position.column, position.end_column), (3, 1, 9));
}

#[test]
fn a_file_that_cannot_be_read_is_one_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let error = |expected: &str| {
        let errors = load(&file, &Files::new()).unwrap_err();
        assert_eq!(errors.errors().len(), 1);
        assert!(errors.to_string().contains(expected), "{errors}");
        errors.errors()[0].position().map(|position| (position.line, position.column))
    };
    assert_eq!(error("cannot read "), None);
    std::fs::write(&file, b"a: b\nc: \xff\n").unwrap();
    assert_eq!(error("not UTF-8"), Some((2, 4)));
    std::fs::write(&file, "#".repeat((16 << 20) + 1)).unwrap();
    assert_eq!(error("is larger than 16 MiB"), None);
    std::fs::write(&file, MINIMAL).unwrap();
    assert!(load(&file, &Files::new()).is_ok());
}

#[test]
fn errors_are_transient_if_the_files_are_to_blame_for_none() {
    use crate::config::{Code, ConfigError, ConfigErrors};
    let lasting = ConfigError::new(Code::FileInvalid, "wrong");
    let passing = ConfigError::new(Code::FilterFailed, "killed").transient();
    for (errors, expected) in
        [(vec![passing.clone()], true), (vec![lasting.clone()], false), (vec![passing, lasting], false)]
    {
        assert_eq!(ConfigErrors::check(errors).unwrap_err().is_transient(), expected);
    }
}
