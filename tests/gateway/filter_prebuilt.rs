//! The filters that are kept ready to use are those that the sources make.

use std::path::Path;

use crate::filter_plugins::{built, plugins, run_offline};

/// Returns the status and the output of `gateway filter run` for a filter with these arguments.
async fn output_of(module: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run_offline(module, arguments).await;
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_kept_filters_do_what_fresh_ones_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let text = file("text", "Hello, wörld\n".repeat(100).as_bytes());
    let json = file("json", br#"{"a":[{"ssn":{"b":1},"n":1e400}],"s\u0073n":"x","c":"ssn"}"#);
    let (as_json, redact) =
        ("content-type: application/json", r#"{"fields":["ssn"],"replacement":{"hidden":true}}"#);
    for (name, arguments, is_good) in [
        ("uppercase", vec![], true),
        ("uppercase", vec!["--body", &text, "--chunks", "7"], true),
        ("redact", vec!["--config", redact, "--body", &json, "--header", as_json], true),
        ("redact", vec!["--config", redact, "--body", &json, "--header", as_json, "--chunks", "9"], true),
        ("redact", vec!["--config", redact, "--body", &text, "--header", as_json], true),
        ("redact", vec!["--config", redact, "--body", &json], true),
        ("redact", vec!["--config", redact, "--request-header", "range: bytes=0-1"], true),
        ("redact", vec!["--config", r#"{"field":["ssn"]}"#], false),
        ("redact", vec![], false),
        ("c-header", vec!["--config", "x-a: b", "--body", &text], true),
        ("c-header", vec!["--config", "x a: b"], false),
    ] {
        let kept = output_of(&plugins().join("prebuilt").join(format!("{name}.wasm")), &arguments).await;
        let fresh = output_of(&built(name), &arguments).await;
        assert_eq!(kept, fresh, "{name} {arguments:?}: run `bash plugins/build.sh --keep`");
        assert_eq!(fresh.0 == Some(0), is_good, "{name} {arguments:?}: {}", fresh.1);
    }
}
