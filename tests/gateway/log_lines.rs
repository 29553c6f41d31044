//! The lines of the log and their form: none about normal events, and JSON from the first line on if it is configured.

use std::io::Write as _;
use std::process::{Command, Stdio};

use support::serde_json::{Value, from_str};
use support::{
    Certificates, Client, Gateway, GatewayBuilder, Origin, PATIENCE, Signal, run_to_exit, wait_until,
};

use crate::{PROGRAM, gateway};

const BASE: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: 127.0.0.1:0 }
";

/// Asserts that every line is a JSON object with a level, or one of the access log, which has none.
fn assert_json<'a>(lines: impl IntoIterator<Item = &'a str>, what: &str) -> Vec<Value> {
    let parse = |line: &str| match from_str::<Value>(line) {
        Ok(value) if value["level"].is_string() && value["message"].is_string() => value,
        Ok(value) if value["time"].is_string() => value,
        _ => panic!("{what}: this line is not JSON:\n{line}"),
    };
    lines.into_iter().map(parse).collect()
}

/// The lines of the log so far that are warnings or errors.
pub(crate) fn problems(gateway: &Gateway) -> Vec<String> {
    let is_problem = |line: &String| line.contains(" WARN ") || line.contains("ERROR ");
    gateway.logs().into_iter().filter(is_problem).collect()
}

#[tokio::test]
async fn every_line_of_a_run_is_json() {
    let origin = Origin::echo();
    let config = format!(
        "{BASE}routes:
  - {{ name: up, match: {{ path: /up }}, upstream: {{ url: '{}' }} }}
  - {{ name: down, match: {{ path: /down }}, upstream: {{ url: 'http://127.0.0.1:1' }} }}
  - {{ name: unknown, upstream: {{ url: 'http://nowhere.invalid' }}, pool: {{ acquire_timeout: 10ms }} }}",
        origin.url()
    );
    let mut gateway =
        gateway(&config).arg("--log-format").arg("json").arg("--log").arg("debug").start().await;
    for path in ["/up", "/down", "/"] {
        gateway.client("web").await.get(path).await;
    }
    gateway.rewrite_config(&config.replace("routes:", "routs:"));
    gateway.wait_for_log("configuration refused").await;
    gateway.reload(&config.replace("name: up", "name: other")).await;
    for signal in [Signal::USR1, Signal::USR2, Signal::HUP] {
        gateway.signal(signal);
    }
    gateway.wait_for_log("configuration has not changed").await;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(PATIENCE).await.success());
    let (out, err) = (gateway.stdout_lines(), gateway.logs());
    let out = assert_json(out.iter().map(String::as_str), "stdout");
    assert!(out[0]["message"].as_str().unwrap().starts_with("listening on http://"), "{}", out[0]);
    assert_json(err.iter().map(String::as_str), "stderr");
}

#[tokio::test]
async fn every_line_of_a_start_that_fails_is_json() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let routes = "routes: [{ respond: {} }]";
    let port = format!("listeners: [{{ address: '{}' }}]\n{routes}", taken.local_addr().unwrap());
    let starts: [(&str, GatewayBuilder); 5] = [
        ("unknown key", gateway(format!("{BASE}{routes}\nlistenrs: []"))),
        ("taken port", gateway(port)),
        (
            "missing file",
            gateway(format!(
                "{BASE}filters: {{ a: {{ wasm: a.wasm }} }}\nroutes: [{{ respond: {{}}, filters: [a] }}]"
            )),
        ),
        ("bad RUST_LOG", gateway(format!("{BASE}{routes}")).env("RUST_LOG", "gateway=loud")),
        ("bad option", gateway(format!("{BASE}{routes}")).arg("--bogus")),
    ];
    for (what, builder) in starts {
        for arguments in [&["--log-format", "json"][..], &["--log-format=json"]] {
            let builder = arguments.iter().fold(builder.clone(), |builder, argument| builder.arg(*argument));
            let output = builder.run_to_exit().await;
            assert!(!output.status.success(), "{what}");
            let text = String::from_utf8(output.stderr).unwrap();
            let lines = assert_json(text.lines(), what);
            assert!(lines.iter().any(|line| line["level"] == "ERROR"), "{what}: {text}");
            assert_json(String::from_utf8(output.stdout).unwrap().lines(), what);
        }
    }
}

#[tokio::test]
async fn config_errors_in_json_have_their_place_and_their_hint() {
    let builder = gateway(format!("{BASE}routes: [{{ respond: {{}}, ppol: {{}} }}]\nlistenrs: []"));
    let output = builder.arg("--log-format").arg("json").run_to_exit().await;
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = assert_json(text.lines(), "stderr");
    assert_eq!(lines.len(), 2, "{text}");
    for (line, at, key) in [(&lines[0], 4, "ppol"), (&lines[1], 5, "listenrs")] {
        assert!(line["message"].as_str().unwrap().contains(key), "{line}");
        assert_eq!(line["line"], at, "{line}");
        assert!(line["file"].as_str().unwrap().ends_with("gateway.yaml"), "{line}");
        assert!(line["help"].as_str().unwrap().contains("did you mean"), "{line}");
    }
}

#[tokio::test]
async fn every_line_of_check_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = write("good.yaml", format!("{BASE}routes: [{{ respond: {{}} }}]"));
    let other = write("other.yaml", format!("{BASE}routes: [{{ name: new, respond: {{}} }}]"));
    let bad = write("bad.yaml", format!("{BASE}routes: []"));
    let json = ["--log-format", "json"];
    for (arguments, is_good) in [
        (vec!["check", "--config", &good], true),
        (vec!["check", "--config", &bad], false),
        (vec!["check", "--config", "/nonexistent.yaml"], false),
        (vec!["check", "--config", &other, "--diff", "--against", &good], true),
        (vec!["check", "--config", &other, "--diff", "--against", &bad], false),
        (vec!["check", "--config", &other, "--diff", "--against", "http://127.0.0.1:1"], false),
        (vec!["filter", "run", "/nonexistent.wasm"], false),
        (vec!["chek"], false),
    ] {
        let output = run_to_exit(PROGRAM, &[&arguments[..], &json].concat()).await;
        let what = arguments.join(" ");
        assert_eq!(output.status.success(), is_good, "{what}");
        for stream in [output.stdout, output.stderr] {
            assert_json(String::from_utf8(stream).unwrap().lines(), &what);
        }
    }
    let output =
        run_to_exit(PROGRAM, &["check", "--config", &other, "--diff", "--against", &good, json[0], json[1]])
            .await;
    let line: Value = from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert!(line["changes"]["routes"].is_object(), "{line}");
}

#[tokio::test]
async fn name_without_an_address_is_one_line_at_info() {
    let routes = |more: &str| {
        format!(
            "{BASE}routes:
  - {{ name: unknown, match: {{ path: /unknown }}, upstream: {{ url: 'http://nowhere.invalid' }} }}
  - {{ name: local, match: {{ path: /local }}, respond: {{}} }}{more}"
        )
    };
    let other = "\n  - { name: other, match: { path: /other }, upstream: { url: 'http://nobody.invalid' } }";
    let gateway = gateway(routes("")).start().await;
    gateway.wait_for_log("cannot resolve `nowhere.invalid`").await;
    // A reload adds another such name, and keeps the first.
    gateway.reload(&routes(other)).await;
    gateway.wait_for_log("cannot resolve `nobody.invalid`").await;
    gateway.reload(&routes("")).await;
    assert_eq!(problems(&gateway), Vec::<String>::new());
    for name in ["nowhere.invalid", "nobody.invalid"] {
        let lines = gateway.logs().into_iter().filter(|line| line.contains(name));
        let lines: Vec<_> = lines.filter(|line| !line.contains("configuration reloaded")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("answered with 503 until it can be resolved"), "{lines:?}");
        assert!(!lines[0].contains("kept"), "{lines:?}");
    }
}

#[tokio::test]
async fn probes_that_send_nothing_are_no_warning() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let gateway = gateway(
        "
listeners:
  - { name: plain, address: 127.0.0.1:0 }
  - { name: proxied, address: 127.0.0.1:0, proxy_protocol: accept }
  - { name: impatient, address: 127.0.0.1:0, proxy_protocol: accept, timeouts: { request_header: 50ms } }
  - { name: secure, address: 127.0.0.1:0, tls: { certificates: [{ cert: '{cert}', key: '{key}' }] } }
  - { name: hasty, address: 127.0.0.1:0, tls: { certificates: [{ cert: '{cert}', key: '{key}' }] }, timeouts: { tls_handshake: 50ms } }
trusted_proxies: [127.0.0.0/8]
admin: { address: 127.0.0.1:0 }
routes: [{ respond: {} }]",
    )
    .set("cert", identity.cert.display())
    .set("key", identity.key.display())
    .arg("--log")
    .arg("debug")
    .start()
    .await;
    let ended = async |listener: &str, reason: &str| {
        let series = format!("gateway_listener_closed_total{{listener=\"{listener}\",reason=\"{reason}\"}}");
        wait_until(&series, async || gateway.metric(&series).await == Some(1.0)).await;
    };
    // Connected and closed; the same with a reset, as some health checks do.
    for listener in ["plain", "proxied", "secure"] {
        drop(gateway.client(listener).await);
        ended(listener, "client").await;
        gateway.client(listener).await.reset();
        let series = format!("gateway_listener_closed_total{{listener=\"{listener}\",reason=\"client\"}}");
        wait_until("the reset", async || gateway.metric(&series).await == Some(2.0)).await;
    }
    // Connected, silent, and held open.
    let mut silent = Vec::new();
    for (listener, reason) in [("impatient", "proxy_protocol"), ("hasty", "timeouts.tls_handshake")] {
        silent.push(gateway.client(listener).await);
        ended(listener, reason).await;
    }
    assert_eq!(problems(&gateway), Vec::<String>::new());
    // None of them is a failed handshake.
    assert!(
        !gateway.metrics().await.lines().any(|line| line.starts_with("gateway_listener_tls_failures_total{"))
    );
    // What speaks, and something else, is worth a warning.
    let mut wrong = gateway.client("proxied").await;
    wrong.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gateway.wait_for_log("sent no valid PROXY header").await;
}

#[tokio::test]
async fn plain_http_and_scanners_at_a_tls_listener_are_no_warning() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let gateway = gateway(
        "
listeners: [{ name: secure, address: 127.0.0.1:0, tls: { certificates: [{ cert: '{cert}', key: '{key}' }] } }]
admin: { address: 127.0.0.1:0 }
routes: [{ respond: {} }]",
    )
    .set("cert", identity.cert.display())
    .set("key", identity.key.display())
    .arg("--log")
    .arg("debug")
    .start()
    .await;
    for bytes in
        ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "\x16\x03\x01\0\x05hello", "SSH-2.0-scan\r\n", "\0\0\0\0"]
    {
        let mut client = Client::connect(gateway.addr("secure")).await;
        drop(client.try_send_raw(bytes).await);
        drop(client.read_to_end().await);
    }
    gateway.wait_for_log("TLS handshake failed").await;
    assert_eq!(problems(&gateway), Vec::<String>::new());
}

#[tokio::test]
async fn certificate_that_is_renewed_before_its_key_is_no_error() {
    let certificates = Certificates::new();
    let [old, new] = [(); 2].map(|()| certificates.server(&["a.test"]));
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0, tls: { certificates: [{ cert: a.pem, key: a.key }] } }]
admin: { address: 127.0.0.1:0 }
routes: [{ respond: {} }]",
    )
    .file("a.pem", std::fs::read(&old.cert).unwrap())
    .file("a.key", std::fs::read(&old.key).unwrap())
    .arg("--log")
    .arg("debug")
    .start()
    .await;
    let install = |name: &str, content: Vec<u8>| {
        let mut file = std::fs::File::create(gateway.folder().join(name)).unwrap();
        file.write_all(&content).unwrap();
    };
    let renewals = || gateway.logs().iter().filter(|line| line.contains("about to be renewed")).count();
    // Both removed, and then written one after the other.
    std::fs::remove_file(gateway.folder().join("a.pem")).unwrap();
    wait_until("the missing file is seen", async || renewals() >= 1).await;
    install("a.pem", std::fs::read(&new.cert).unwrap());
    wait_until("the new certificate is seen", async || renewals() >= 2).await;
    install("a.key", std::fs::read(&new.key).unwrap());
    gateway.wait_for_log("configuration reloaded").await;
    assert_eq!(problems(&gateway), Vec::<String>::new());
    assert_eq!(gateway.metric("gateway_config_reloads_refused_total").await, Some(0.0));
}

#[tokio::test]
async fn configuration_that_is_moved_away_before_its_successor_is_written_is_no_error() {
    let config = |body: &str| format!("{BASE}routes: [{{ respond: {{ body: {body} }} }}]\n");
    let gateway = gateway(config("first")).arg("--log").arg("debug").start().await;
    let file = gateway.folder().join("gateway.yaml");
    std::fs::rename(&file, gateway.folder().join("gateway.yaml.old")).unwrap();
    gateway.wait_for_log("about to be renewed").await;
    std::fs::write(&file, config("second")).unwrap();
    gateway.wait_for_log("configuration reloaded").await;
    assert_eq!(gateway.client("web").await.get("/").await.body, b"second");
    assert_eq!(problems(&gateway), Vec::<String>::new());
    assert_eq!(gateway.metric("gateway_config_reloads_refused_total").await, Some(0.0));
}

#[tokio::test]
async fn signal_that_a_wrapper_repeats_does_not_cut_the_drain_short() {
    let gate = support::Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            gate.pass().await;
            connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let config = format!("{BASE}routes: [{{ upstream: {{ url: '{}' }} }}]", origin.url());
    let mut gateway = gateway(config).start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    // timeout(1) signals its child and then its process group.
    for signal in [Signal::TERM, Signal::TERM, Signal::INT] {
        gateway.signal(signal);
    }
    gateway.wait_for_log("stopping: no new connections").await;
    gate.release_all();
    assert_eq!(client.read_response().await.text(), "ok");
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

#[test]
fn closed_standard_streams_are_no_reason_to_fail() {
    let mut child = Command::new(PROGRAM);
    child.args(["check", "--config", "/nonexistent.yaml", "--log-format", "json"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
