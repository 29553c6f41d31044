//! The messages about a configuration: from a start, from `check`, and from the schema.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::serde_json::Value;
use support::{Certificates, run_to_exit};

use crate::{PROGRAM, gateway};

const GOOD: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ match: { prefix: / }, respond: { body: hello } }]
";

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs `gateway check` on this text, written into a folder of its own.
async fn check(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, text).unwrap();
    run_to_exit(PROGRAM, &["check", "--config", file.to_str().unwrap()]).await
}

/// No backtrace and no panic: a person reads this.
fn assert_for_people(stderr: &str) {
    for unwanted in ["panicked", "backtrace", "stack", "Error {", "Os {"] {
        assert!(!stderr.contains(unwanted), "`{unwanted}` in\n{stderr}");
    }
}

#[tokio::test]
async fn a_good_file_is_ok_and_nothing_runs() {
    let output = check(GOOD).await;
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.ends_with("gateway.yaml: ok, 1 listener, 1 route\n"), "{stdout}");
    assert_eq!(output.stderr, b"");
}

#[test]
fn errors_of_routes_show_a_variable_and_not_its_value() {
    for (value, keys) in [
        ("4711 {", "match: { template: '/${SECRET}' }, respond: {}"),
        ("4711%", "match: { path: '/${SECRET}' }, respond: {}"),
        ("4711%zz", "match: { prefix: '/a/${SECRET}' }, respond: {}"),
        ("4711", "match: { template: '/a/{b}/{${SECRET}-}/{${SECRET}-}' }, respond: {}"),
        ("4711..example", "match: { host: '${SECRET}' }, respond: {}"),
        ("4711 x", "redirect: { to: '${SECRET}' }"),
        ("http://4711 x/", "redirect: { to: '${SECRET}' }"),
        ("4711", "redirect: { to: '/{query.${SECRET}/}' }"),
        ("4711", "respond: {}, headers: { response: { set: { x: '{path.${SECRET}}' } } }"),
        ("4711", "respond: {}, headers: { response: { set: { x: '{identity.${SECRET}}' } } }"),
        ("\u{1}4711", "respond: { headers: { x-key: '${SECRET}' } }"),
        ("4711", "upstream: { url: 'http://127.0.0.1:1' }, rewrite: { template: '/{${SECRET}}' }"),
        (
            "4711",
            "match: { prefix: /a }, upstream: { url: 'http://127.0.0.1:1' }, rewrite: { strip_prefix: '/${SECRET}' }",
        ),
        ("4711%", "upstream: { url: 'http://127.0.0.1:1' }, rewrite: { path: '/${SECRET}' }"),
        ("4711%", "upstream: { url: 'http://127.0.0.1:1' }, rewrite: { strip_prefix: '/${SECRET}' }"),
        ("4711/", "upstream: { url: 'http://127.0.0.1:1' }, host: '${SECRET}'"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        let text = format!("listeners: [{{ address: 127.0.0.1:0 }}]\nroutes: [{{ {keys} }}]\n");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(PROGRAM);
        let output = command.arg("check").arg(&file).env("SECRET", value).output().unwrap();
        let stderr = stderr(&output);
        assert!(!output.status.success() && stderr.contains("${SECRET}"), "{keys}\n{stderr}");
        assert!(!stderr.contains("4711"), "{keys}\n{stderr}");
    }
}

#[tokio::test]
async fn all_errors_are_reported_together_with_line_and_remedy_and_nothing_is_bound() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let text = format!(
        "\
listeners:
  - address: {address}
    timeouts: {{ request_header: 10 }}
routes:
  - name: spike
    upstream: {{ url: 'http://127.0.0.1:1' }}
    pool:
      idle_timout: 20s
      max_connections: 0
  - name: other
    match: {{ path: /a/../b }}
    respond: {{ body: hello }}
  - upstream: nobody
"
    );
    let started = gateway(text.clone()).run_to_exit().await;
    let checked = check(&text).await;
    for output in [started, checked] {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        let stderr = stderr(&output);
        assert_for_people(&stderr);
        for part in [
            "gateway.yaml:3:33",
            "`10` has no unit",
            "gateway.yaml:8:7",
            "8 |       idle_timout: 20s",
            "did you mean `idle_timeout`?",
            "`max_connections` must be at least 1",
            "gateway.yaml:11:",
            "dot segments",
            "gateway.yaml:13:",
            "`nobody`",
        ] {
            assert!(stderr.contains(part), "`{part}` in\n{stderr}");
        }
    }
    TcpListener::bind(address).expect("the address was left alone");
}

#[tokio::test]
async fn check_rejects_in_a_sentence_whatever_a_start_rejects() {
    let certificates = Certificates::new();
    let (good, other) = (certificates.server(&["a.test"]), certificates.mismatched(&["a.test"]));
    let empty = certificates.folder().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let folder = certificates.folder().to_owned();
    let tls = |cert: &Path, key: &Path| {
        format!(
            "listeners: [{{ address: '127.0.0.1:0', tls: {{ certificates: [{{ cert: '{}', key: '{}' }}] }} }}]\n\
             routes: [{{ match: {{ prefix: / }}, respond: {{ body: hello }} }}]\n",
            cert.display(),
            key.display()
        )
    };
    let at = |address: &str| GOOD.replace("127.0.0.1:0", address);
    let upstream = |upstream: &str| {
        GOOD.replace(
            "respond: { body: hello }",
            &format!("upstream: {{ url: 'https://a.test', {upstream} }}"),
        )
    };
    for (text, parts) in [
        (tls(&folder.join("none.pem"), &good.key), &["none.pem", "No such file", "gateway.yaml:1:"][..]),
        (tls(&folder, &good.key), &["cannot read"]),
        (tls(&empty, &good.key), &["holds no certificate", "BEGIN CERTIFICATE"]),
        (tls(&good.cert, &empty), &["holds no private key"]),
        (tls(&other.cert, &other.key), &["does not belong to", "gateway.yaml:1:"]),
        (at("http://127.0.0.1:8080"), &["http://127.0.0.1:8080", "127.0.0.1:8080", "gateway.yaml:2:"]),
        (at("127.0.0.1"), &["127.0.0.1", "port", "gateway.yaml:2:"]),
        (at("localhost:8080"), &["localhost:8080"]),
        (at("127.0.0.1:99999"), &["99999"]),
        (upstream("tls: { ca: none.pem }"), &["none.pem", "No such file"]),
        (
            GOOD.to_owned() + "telemetry: { access_log: { output: /nowhere/at/all.log } }\n",
            &["access log", "gateway.yaml:4:"],
        ),
        ("listeners: [\n".to_owned(), &["gateway.yaml:"]),
        ("".to_owned(), &["gateway.yaml is empty"]),
        (
            GOOD.replace("hello", "'${NOT_SET_ANYWHERE}'"),
            &["NOT_SET_ANYWHERE", "is not set", "gateway.yaml:3:"],
        ),
    ] {
        let output = check(&text).await;
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}\n{stderr}");
        assert_eq!(stderr.matches("error:").count(), 1, "{text}\n{stderr}");
        assert_for_people(&stderr);
        for part in parts {
            assert!(stderr.contains(part), "`{part}` in\n{stderr}");
        }
        let started = gateway(text.clone()).run_to_exit().await;
        assert_eq!(started.status.code(), Some(1), "{text}");
        assert_eq!(started.stdout, b"", "{text}");
    }
}

#[tokio::test]
async fn a_missing_or_unreadable_file_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.yaml");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, b"listeners: \xff\xfe").unwrap();
    for path in [&missing, &folder.path().to_owned(), &binary] {
        let path = path.to_str().unwrap();
        for arguments in [&["--config", path][..], &["check", "--config", path]] {
            let output = run_to_exit(PROGRAM, arguments).await;
            let stderr = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.starts_with("error: ") && stderr.contains(path), "{stderr}");
            assert_for_people(&stderr);
        }
    }
}

#[tokio::test]
async fn every_occupied_port_is_reported_at_its_line() {
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [taken, taken_too] = [&first, &second].map(|socket| socket.local_addr().unwrap());
    let text = format!(
        "\
listeners:
  - {{ address: '127.0.0.1:0' }}
  - {{ address: '{taken}' }}
  - {{ address: '192.0.2.1:80' }}
admin: {{ address: '{taken_too}' }}
routes: [{{ match: {{ prefix: / }}, respond: {{ body: hello }} }}]
"
    );
    let output = gateway(text.clone()).run_to_exit().await;
    let stderr = stderr(&output);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()), "{stderr}");
    for part in ["gateway.yaml:3:", "another program listens there", "gateway.yaml:4:", "gateway.yaml:5:"] {
        assert!(stderr.contains(part), "`{part}` in\n{stderr}");
    }
    assert_for_people(&stderr);
    // Which ports are free is a question of the moment: `check` does not ask it.
    assert!(check(&text).await.status.success());
}

#[tokio::test]
async fn the_environment_is_put_into_strings_and_is_no_yaml() {
    let text = "
listeners: [{ name: '${LISTENER:-web}', address: '127.0.0.1:${PORT}' }]
routes:
  - { match: { path: /a }, respond: { body: '${BODY}' } }
  - { match: { path: /b }, respond: { body: '${UNSET_BY_ALL:-a default} $${BODY}' } }";
    // What would be a list, a comment or a key in the file is text in a value.
    let body = "[x] # \"'y': ${PORT}";
    let gateway = gateway(text).env("PORT", "0").env("BODY", body).start().await;
    let mut client = gateway.client("${LISTENER:-web}").await;
    assert_eq!(client.get("/a").await.text(), body);
    assert_eq!(client.get("/b").await.text(), "a default ${BODY}");
}

#[tokio::test]
async fn relative_paths_start_from_the_folder_of_the_file() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let [cert, key] = [&identity.cert, &identity.key].map(|path| std::fs::read(path).unwrap());
    let text = GOOD.replace(
        "127.0.0.1:0",
        "127.0.0.1:0, tls: { certificates: [{ cert: certs/a.pem, key: certs/a.key }] }",
    );
    let gateway = gateway(text).file("certs/a.pem", cert).file("certs/a.key", key).start().await;
    let config = certificates.client_config(&[]);
    let mut client = support::Client::connect_tls(gateway.addr("web"), &config, "a.test").await;
    assert_eq!(client.get("/").await.text(), "hello");
}

async fn schema() -> Value {
    let output = run_to_exit(PROGRAM, &["schema"]).await;
    assert!(output.status.success());
    support::serde_json::from_slice(&output.stdout).unwrap()
}

/// The YAML of gateway.yaml, and of every fenced block in README and docs. docs/migrating.md is left out: it has blocks of other
/// products, and a test of its own, `migrating`.
fn examples() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = root.join("gateway.yaml");
    let mut found = vec![(sample.clone(), std::fs::read_to_string(&sample).unwrap())];
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md"), root.join("CONTRIBUTING.md")];
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|page| page.extension().is_some_and(|kind| kind == "md") && !page.ends_with("migrating.md"));
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            found.push((page.clone(), block.split("```").next().unwrap().to_owned()));
        }
    }
    found
}

/// A fragment of a configuration as a whole one.
fn completed(example: &str) -> String {
    let mut whole = example.to_owned();
    for (key, text) in [
        ("listeners", "listeners: [{ name: web, address: '127.0.0.1:0' }]\n"),
        ("routes", "routes: [{ match: { prefix: / }, respond: { body: hello } }]\n"),
    ] {
        if !example.lines().any(|line| line.starts_with(&format!("{key}:"))) {
            whole += text;
        }
    }
    whole
}

#[tokio::test]
async fn the_schema_and_check_accept_every_example_there_is() {
    let schema = schema().await;
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let examples = examples();
    assert!(!examples.is_empty());
    for (file, example) in examples {
        let whole = completed(&example);
        let value: Value = serde_yaml::from_str(&whole).unwrap();
        let errors = validator.iter_errors(&value).map(|error| error.to_string()).collect::<Vec<_>>();
        assert_eq!(errors, Vec::<String>::new(), "{}:\n{example}", file.display());
        // Plugins are named as seen from the project's folder.
        let prebuilt = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/prebuilt/");
        let output = check(&whole.replace("plugins/prebuilt/", prebuilt)).await;
        assert!(output.status.success(), "{}:\n{}", file.display(), stderr(&output));
    }
}

#[tokio::test]
async fn the_schema_rejects_what_a_start_rejects_and_describes_every_key() {
    let schema = schema().await;
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for (text, is_good) in [
        (GOOD.to_owned(), true),
        (GOOD.replace("listeners", "listners"), false),
        (GOOD.replace("address", "adress"), false),
        (GOOD.replace("127.0.0.1:0", "127.0.0.1:0, timeouts: { keep_alive: 75 }"), false),
        (GOOD.replace("127.0.0.1:0", "127.0.0.1:0, protocols: [h3]"), false),
        (GOOD.replace("prefix: /", "prefix: api"), false),
        (GOOD.to_owned() + "unknown: 1\n", false),
        (GOOD.to_owned() + "shutdown: { drain: soon }\n", false),
    ] {
        let value: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(validator.is_valid(&value), is_good, "{text}");
        assert_eq!(check(&text).await.status.success(), is_good, "{text}");
    }
    let listener = &schema["$defs"]["Listener"]["properties"];
    for key in ["address", "tls", "protocols", "timeouts", "limits", "proxy_protocol"] {
        assert!(listener[key]["description"].as_str().is_some_and(|text| text.len() > 20), "{key}");
    }
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_error() {
    for arguments in [&["schema"][..], &["schema", "--format", "markdown"], &["--help"], &["--version"]] {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The pipe is closed before, or while, the program writes.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
    for (arguments, part) in [(["--help"], "Usage: gateway"), (["--version"], env!("CARGO_PKG_VERSION"))] {
        let output = run_to_exit(PROGRAM, &arguments).await;
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{arguments:?}");
    }
}

#[tokio::test]
async fn unknown_arguments_are_refused_with_a_usage() {
    for arguments in [&["serve"][..], &["--confg", "x"], &["check", "--config"], &["--log", "loud"]] {
        let output = run_to_exit(PROGRAM, arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_for_people(&stderr(&output));
    }
}
