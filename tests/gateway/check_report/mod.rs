//! `gateway check` for machines: reports as JSON and SARIF, codes, warnings, and standard input under another name.

mod codes;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::serde_json::{Value, from_slice, from_str};
use support::{Certificates, run_to_exit};

use crate::{PROGRAM, gateway};

const GOOD: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ respond: { body: hello } }]
";

/// A configuration with a warning.
const UNUSED: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
upstreams:
  idle: { url: http://127.0.0.1:1 }
routes: [{ respond: { body: hello } }]
";

/// Runs the program in a folder with these words on the standard input.
fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env_remove("NOPE");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that does not read it closes it.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

/// Returns the JSON document about a text, and the exit status. The document is valid by its schema.
fn report(folder: &Path, arguments: &[&str], input: &str) -> (Value, i32) {
    let output = run(folder, &[&["check", "--format", "json"], arguments].concat(), input);
    let document: Value = from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.schema.json"));
    let validator = jsonschema::draft202012::new(&from_str(&schema.unwrap()).unwrap()).unwrap();
    let flaws: Vec<String> = validator.iter_errors(&document).map(|flaw| flaw.to_string()).collect();
    assert!(flaws.is_empty(), "{flaws:?}\n{document:#}");
    assert_eq!(document["ok"], output.status.success(), "{document:#}");
    (document, output.status.code().unwrap())
}

/// Returns the SARIF log about a text, and the exit status. The log is valid by the standard.
fn sarif(folder: &Path, arguments: &[&str], input: &str) -> (Value, i32) {
    let output = run(folder, &[&["check", "--format", "sarif"], arguments].concat(), input);
    let log: Value = from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let validator =
        jsonschema::draft202012::new(&from_str(include_str!("sarif.schema.json")).unwrap()).unwrap();
    let flaws: Vec<String> = validator.iter_errors(&log).map(|flaw| flaw.to_string()).collect();
    assert!(flaws.is_empty(), "{flaws:?}\n{log:#}");
    let run = &log["runs"][0];
    for result in run["results"].as_array().unwrap() {
        let rule =
            &run["tool"]["driver"]["rules"][usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert_eq!(rule["defaultConfiguration"]["level"], result["level"]);
    }
    (log, output.status.code().unwrap())
}

fn codes(document: &Value) -> Vec<&str> {
    document["findings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect()
}

#[test]
fn json_report_has_every_finding_with_its_place_and_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let (document, status) = report(folder.path(), &["-"], &GOOD.replace("respond:", "respnod:"));
    assert_eq!((status, &document["errors"], &document["warnings"]), (1, &2.into(), &0.into()));
    let unknown = document["findings"].as_array().unwrap().iter().find(|one| one["code"] == "unknown-key");
    let expected = r#"{
        "severity": "error", "code": "unknown-key", "message": "unknown key `respnod` in route 1",
        "suggestion": "did you mean `respond`?", "file": "standard input",
        "line": 3, "column": 12, "end_line": 3, "end_column": 19
    }"#;
    assert_eq!(*unknown.unwrap(), from_str::<Value>(expected).unwrap());
    let (document, status) = report(folder.path(), &["-"], GOOD);
    let expected = r#"{
        "ok": true, "file": "standard input", "errors": 0, "warnings": 0, "findings": [], "listeners": 1, "routes": 1
    }"#;
    assert_eq!((document, status), (from_str(expected).unwrap(), 0));
    // A finding about the whole file has no line.
    let (document, status) = report(folder.path(), &["missing.yaml"], "");
    let finding = &document["findings"][0];
    assert_eq!((status, &finding["code"], finding.get("line")), (1, &"file-unreadable".into(), None));
    assert_eq!((&finding["file"], &document["file"]), (&"missing.yaml".into(), &"missing.yaml".into()));
}

#[test]
fn columns_are_characters_in_json_and_utf_16_in_sarif_with_any_line_ends() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("\u{feff}{GOOD}x: '𝄞é'\r\n").replace("body: hello", "body: '𝄞é', dely: 1s");
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let (document, _) = report(folder.path(), &["-"], &text);
        let finding = &document["findings"][0];
        let place = ["line", "column", "end_line", "end_column"].map(|key| finding[key].as_u64().unwrap());
        assert_eq!(place, [3, 35, 3, 39], "{document:#}");
        let (log, _) = sarif(folder.path(), &["-"], &text);
        let run = &log["runs"][0];
        assert_eq!(run["columnKind"], "utf16CodeUnits");
        let region = &run["results"][0]["locations"][0]["physicalLocation"]["region"];
        let place =
            ["startLine", "startColumn", "endLine", "endColumn"].map(|key| region[key].as_u64().unwrap());
        assert_eq!(place, [3, 36, 3, 40], "{region}");
    }
}

#[test]
fn sarif_log_names_the_file_as_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a b")).unwrap();
    let absolute = folder.path().join("a b/gateway.yaml");
    fs::write(&absolute, UNUSED).unwrap();
    let uri = |path: &str| {
        let (log, status) = sarif(folder.path(), &[path], "");
        let result = &log["runs"][0]["results"][0];
        assert_eq!(
            (status, &result["ruleId"], &result["level"]),
            (0, &"unused-upstream".into(), &"warning".into())
        );
        assert_eq!(
            result["message"]["text"],
            "the upstream `idle` is declared and used by no route; name it in `upstream` of a route, or take it out"
        );
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap().to_owned()
    };
    assert_eq!(uri("a b/gateway.yaml"), "a%20b/gateway.yaml");
    let absolute = absolute.display().to_string();
    assert_eq!(uri(&absolute), format!("file://{}", absolute.replace(' ', "%20")));
    let (log, status) = sarif(folder.path(), &["missing.yaml"], "");
    let location = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!((status, location.get("region")), (1, None));
    assert_eq!(log["runs"][0]["invocations"][0]["exitCode"], 1);
}

#[test]
fn warnings_fail_a_check_only_if_they_are_denied_and_not_allowed() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&[][..], 0),
        (&["--deny", "warnings"], 1),
        (&["--deny", "warnings", "--allow", "unused-upstream"], 0),
        (&["--deny", "warnings", "--allow", "unused-filter"], 1),
        (&["--deny", "warnings", "--allow", "unused-filter", "--allow", "unused-upstream"], 0),
        (&["--deny", "everything"], 2),
        (&["--allow", "unknown-key"], 2),
        (&["--format", "xml"], 2),
    ] {
        let output = run(folder.path(), &[&["check", "-"], arguments].concat(), UNUSED);
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout.contains("standard input: ok, "), expected == 0, "{arguments:?}: {stdout}");
        if expected == 2 {
            continue;
        }
        let (document, status) = report(folder.path(), &[&["-"], arguments].concat(), UNUSED);
        assert_eq!(status, expected, "{arguments:?}");
        let is_allowed = arguments.contains(&"unused-upstream");
        assert_eq!(document["warnings"], u64::from(!is_allowed), "{arguments:?}");
        assert_eq!(sarif(folder.path(), &[&["-"], arguments].concat(), UNUSED).1, expected, "{arguments:?}");
    }
    let output = run(folder.path(), &["check", "-"], UNUSED);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(stdout, "standard input: ok, 1 listener, 1 route, 1 warning\n");
    let expected = "\
warning: the upstream `idle` is declared and used by no route
 --> standard input:4:3
4 |   idle: { url: http://127.0.0.1:1 }
  |   ^^^^ name it in `upstream` of a route, or take it out
";
    assert_eq!(stderr, expected);
    let output = run(folder.path(), &["check", "-", "--deny", "warnings"], UNUSED);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.ends_with("error: standard input: 1 warning, which `--deny warnings` refuses\n"),
        "{stderr}"
    );
}

#[test]
fn warnings_stand_beside_errors_of_what_a_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("{UNUSED}telemetry: {{ access_log: {{ output: missing/access.log }} }}\n");
    let (document, status) = report(folder.path(), &["-"], &missing);
    assert_eq!((status, codes(&document)), (1, vec!["file-unwritable", "unused-upstream"]));
    assert_eq!((&document["errors"], &document["warnings"]), (&1.into(), &1.into()));
    let allowed = report(folder.path(), &["-", "--allow", "unused-upstream"], &missing).0;
    assert_eq!(codes(&allowed), ["file-unwritable"]);
    let output = run(folder.path(), &["check", "-"], &missing);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let (warning, error) = stderr.split_once("\n\n").unwrap();
    assert!(warning.starts_with("warning: the upstream `idle`"), "{stderr}");
    assert!(error.starts_with("error: cannot write the access log") && output.stdout.is_empty(), "{stderr}");

    let filter = format!("{GOOD}filters: {{ a: {{ wasm: missing.wasm }} }}\n");
    assert_eq!(codes(&report(folder.path(), &["-"], &filter).0), ["file-unreadable", "unused-filter"]);

    // It needs a route that is built.
    let redirect = "routes: [{ redirect: { to: / } }]";
    let route = "routes: [{ respond: { body: hello } }]";
    let (document, _) = report(folder.path(), &["-"], &missing.replace(route, redirect));
    assert_eq!(codes(&document), ["file-unwritable", "unused-upstream"]);
    // The upstream may be the one that the route means.
    let unknown = UNUSED.replace("respond: { body: hello }", "upstream: idel");
    assert_eq!(codes(&report(folder.path(), &["-"], &unknown).0), ["unknown-name"]);
}

#[test]
fn lines_of_json_have_the_code_and_the_place_of_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["check", "-", "--log-format", "json"], UNUSED);
    let line: Value = from_slice(&output.stderr).unwrap();
    assert_eq!(
        (&line["level"], &line["code"], &line["line"]),
        (&"WARN".into(), &"unused-upstream".into(), &4.into())
    );
    assert!(output.status.success());
}

#[test]
fn standard_input_stands_for_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    fs::write(folder.path().join("conf/gateway.yaml"), "what is on disk: does not matter").unwrap();
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/prebuilt/uppercase.wasm");
    fs::copy(module, folder.path().join("conf/a.wasm")).unwrap();
    let text = GOOD.replace("respond", "filters: [{ wasm: a.wasm }], respond");
    let named = ["-", "--stdin-name", "conf/gateway.yaml"];
    assert_eq!(report(folder.path(), &named, &text).0["file"], "conf/gateway.yaml");
    let (document, status) = report(folder.path(), &named, &text.replace("a.wasm", "b.wasm"));
    assert_eq!((status, codes(&document)), (1, vec!["file-unreadable"]));
    assert_eq!(document["findings"][0]["file"], "conf/gateway.yaml");
    // Without the name, paths begin in the current folder.
    assert_eq!(report(folder.path(), &["-"], &text).1, 1);
    fs::write(folder.path().join("before.yaml"), GOOD).unwrap();
    let diff = [&named[..], &["--diff", "--against", "before.yaml"]].concat();
    let (document, status) = report(folder.path(), &diff, &text);
    assert_eq!((status, &document["changes"]["routes"]["changed"][0]["keys"][0]), (0, &"filters".into()));
    let output = run(folder.path(), &["check", "conf/gateway.yaml", "--stdin-name", "x"], "");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn changes_are_a_part_of_the_json_report() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("before.yaml"), GOOD).unwrap();
    fs::write(folder.path().join("bad.yaml"), "routes: 1").unwrap();
    let text = GOOD.replace("[{ respond", "[{ name: new, respond");
    let (document, status) = report(folder.path(), &["-", "--diff", "--against", "before.yaml"], &text);
    assert_eq!((status, &document["changes"]["routes"]["added"][0]), (0, &"new".into()), "{document:#}");
    assert_eq!(document["changes"]["listeners"]["kept"], 1);
    for (arguments, expected, message) in [
        (&["--diff"][..], &["no-comparison"][..], "name what to compare with"),
        (&["--diff", "--against", "http://127.0.0.1:1"], &["no-comparison"], "127.0.0.1:1"),
        (
            &["--diff", "--against", "bad.yaml"],
            &["no-comparison", "missing-key", "wrong-type"],
            "cannot compare with bad.yaml",
        ),
    ] {
        let (document, status) = report(folder.path(), &[&["-"], arguments].concat(), &text);
        assert_eq!((status, &codes(&document)[..]), (1, expected), "{document:#}");
        assert!(document["findings"][0]["message"].as_str().unwrap().contains(message), "{document:#}");
        assert_eq!(document["findings"][0]["file"], "standard input");
    }
}

#[test]
fn report_lists_a_thousand_findings_and_counts_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{GOOD}trusted_proxies: [{}x]\n", "x, ".repeat(1499));
    let (document, _) = report(folder.path(), &["-"], &text);
    assert_eq!((&document["errors"], codes(&document).len()), (&1500.into(), 1000));
    assert_eq!(sarif(folder.path(), &["-"], &text).0["runs"][0]["results"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn start_and_reload_log_a_warning_with_its_code_and_place_once() {
    let base = "admin: { address: 127.0.0.1:0 }\n".to_owned() + UNUSED;
    let gateway = gateway(&base).start().await;
    let line = gateway.wait_for_log("`idle` is declared and used by no route").await;
    assert!(
        line.contains("WARN") && line.contains("name it in `upstream` of a route, or take it out"),
        "{line}"
    );
    assert!(line.contains("unused-upstream") && line.contains("gateway.yaml:5:3"), "{line}");
    // The same warning in another line is not new.
    let more = "upstreams:\n  unused: { url: http://127.0.0.1:2 }\n";
    gateway.reload(&format!("# A line more.\n{}", base.replace("upstreams:\n", more))).await;
    gateway.wait_for_log("`unused` is declared and used by no route").await;
    let count = gateway.logs().iter().filter(|line| line.contains("used by no route")).count();
    assert_eq!(count, 2, "{}", gateway.output());
}

#[test]
fn secret_that_is_written_out_has_a_place_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let way = "auth: { staff: { oidc: { issuer: http://a, client_id: b, client_secret: hunter2, session: { secret: file:s } } } }\n";
    let (document, _) = report(folder.path(), &["-"], &format!("{way}{GOOD}"));
    let finding = &document["findings"][0];
    assert_eq!((&finding["code"], &finding["line"]), (&"plain-secret".into(), &1.into()), "{document:#}");
    let stderr = run(folder.path(), &["check", "-"], &format!("{way}{GOOD}")).stderr;
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.contains("--> standard input:1:73\n  = write `file:PATH`"), "{stderr}");
    assert!(!stderr.contains("hunter2") && !document.to_string().contains("hunter2"), "{stderr}");
}

#[tokio::test]
async fn options_of_check_are_in_its_manual_and_in_completions() {
    let folder = tempfile::tempdir().unwrap();
    run_to_exit(PROGRAM, &["man", folder.path().to_str().unwrap()]).await;
    let manual = fs::read_to_string(folder.path().join("gateway-check.1")).unwrap().replace('\\', "");
    for option in ["--format", "--deny", "--allow", "--stdin-name"] {
        assert!(manual.contains(option), "{option}: {manual}");
        for (shell, form) in [("bash", option), ("zsh", option), ("fish", &option[2..])] {
            let output = run_to_exit(PROGRAM, &["completions", shell]).await;
            let script = String::from_utf8(output.stdout).unwrap();
            assert!(script.contains(form), "{shell}: {option}");
            assert!(script.contains("unreachable-route") && script.contains("sarif"), "{shell}");
        }
    }
}

#[test]
fn certificates_and_lists_with_wrong_dates_are_warned_of_at_their_places() {
    let certificates = Certificates::new();
    let (day, now) = (std::time::Duration::from_secs(24 * 3600), std::time::SystemTime::now());
    let soon = certificates.valid_between(&["a.test"], now - day, now + 13 * day);
    let later = certificates.valid_between(&["a.test"], now - day, now + 15 * day);
    let early = certificates.valid_between(&["a.test"], now + day, now + 90 * day);
    let expired = certificates.expired(&["a.test"]);
    let list = certificates.folder().join("clients.crl");
    fs::write(&list, certificates.revocation_list(&[], 2021)).unwrap();
    let pair = |identity: &support::Identity| {
        format!("{{ cert: {}, key: {} }}", identity.cert.display(), identity.key.display())
    };
    let text = format!(
        "listeners:
  - address: 127.0.0.1:8443
    tls:
      certificates:
        - {}
        - {}
        - {}
        - {}
      client_auth: {{ ca: {}, crl: [{}] }}
upstreams:
  up: {{ url: https://a.test, tls: {{ ca: {}, client: {} }} }}
routes: [{{ upstream: up }}]
",
        pair(&soon),
        pair(&later),
        pair(&early),
        pair(&expired),
        certificates.ca().display(),
        list.display(),
        expired.cert.display(),
        pair(&soon),
    );
    let (document, status) = report(certificates.folder(), &["-"], &text);
    let found = document["findings"].as_array().unwrap().iter();
    let found: Vec<_> =
        found.map(|one| (one["code"].as_str().unwrap(), one["line"].as_u64().unwrap())).collect();
    let expected = [
        ("certificate-expires", 5),
        ("certificate-not-yet-valid", 7),
        ("certificate-expired", 8),
        ("revocation-list-expired", 9),
        ("certificate-expired", 11),
        ("certificate-expires", 11),
    ];
    assert_eq!((&found[..], status), (&expected[..], 0), "{document:#}");
    let message = document["findings"][2]["message"].as_str().unwrap();
    assert!(message.contains("line 1, has expired on Mon, 01 Jan 2001 00:00:00 GMT"), "{message}");
}

#[test]
fn secret_that_every_user_can_read_is_warned_of_unless_a_folder_protects_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    let users = secrets.join("users");
    fs::write(&users, "a:$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe\n").unwrap();
    std::os::unix::fs::symlink(&users, folder.path().join("link")).unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let auth = "auth: { ops: { basic: { users: link } } }\n";
    let text = auth.to_owned() + &GOOD.replace("[{ respond", "[{ auth: [ops], respond");
    for (outer, inner, file, is_readable) in [
        (0o755, 0o755, 0o644, true),
        (0o711, 0o701, 0o604, true),
        (0o755, 0o755, 0o640, false),
        (0o755, 0o755, 0o660, false),
        (0o755, 0o750, 0o644, false),
        (0o700, 0o755, 0o644, false),
    ] {
        set(&users, file);
        set(&secrets, inner);
        set(folder.path(), outer);
        let (document, _) = report(folder.path(), &["-"], &text);
        let expected: &[&str] = if is_readable { &["readable-secret"] } else { &[] };
        assert_eq!(codes(&document), expected, "{outer:o} {inner:o} {file:o}: {document:#}");
    }
}
