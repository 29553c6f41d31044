//! Declarations of a configuration are checked, used or not: `check` and a reload refuse all that a start would refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::{Client, PATIENCE, run_to_exit, unused_address, within};
use tempfile::TempDir;

use crate::reloading::{post, refused};
use crate::{PROGRAM, gateway};

/// A folder with a file `gateway.yaml`.
fn folder(config: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, config).unwrap();
    (folder, file)
}

async fn check(file: &Path, more: &[&str]) -> (bool, String) {
    let file = file.display().to_string();
    let output = run_to_exit(PROGRAM, &[&["check", "--config", &file], more].concat()).await;
    (output.status.success(), stderr(&output))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration with these addresses of listeners, and of the admin listener, if any.
fn listening(addresses: &[String], admin: Option<&str>) -> String {
    let listeners = addresses.iter().map(|address| format!("  - {{ address: '{address}' }}\n"));
    let admin = admin.map(|address| format!("admin: {{ address: '{address}' }}\n")).unwrap_or_default();
    format!("listeners:\n{}{admin}routes: [{{ respond: {{}} }}]\n", listeners.collect::<String>())
}

#[tokio::test]
async fn overlapping_addresses_are_refused_by_check_start_and_reload_alike() {
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    let running = gateway(listening(&["127.0.0.1:0".to_owned()], Some("127.0.0.1:0"))).start().await;
    let (_other_folder, other) = folder(&listening(&["127.0.0.1:0".to_owned()], None));
    let mut reloads = 0;
    for (listeners, admin, overlaps) in [
        ("127.0.0.1:P 0.0.0.0:P", None, true),
        ("0.0.0.0:P 127.0.0.1:P", None, true),
        ("[::1]:P [::]:P", None, true),
        ("[::ffff:127.0.0.1]:P 127.0.0.1:P", None, true),
        ("[::ffff:127.0.0.1]:P 0.0.0.0:P", None, true),
        ("[::ffff:0.0.0.0]:P 127.0.0.1:P", None, true),
        ("127.0.0.1:P 127.0.0.2:P 0.0.0.0:P", None, true),
        ("0.0.0.0:P", Some("127.0.0.1:P"), true),
        ("127.0.0.1:P", Some("0.0.0.0:P"), true),
        ("127.0.0.1:P", Some("[::ffff:127.0.0.1]:P"), true),
        ("0.0.0.0:P [::]:P", None, false),
        ("127.0.0.1:P [::]:P", None, false),
        ("127.0.0.1:P 127.0.0.2:P", None, false),
        ("[::1]:P", Some("0.0.0.0:P"), false),
        ("127.0.0.1:0 0.0.0.0:0", Some("0.0.0.0:0"), false),
    ] {
        if !has_ipv6 && (listeners.contains("[::]") || listeners.contains("[::1]")) {
            eprintln!("NOT TESTED: listeners {listeners}, admin {admin:?}: this machine has no IPv6");
            continue;
        }
        let port = unused_address().port().to_string();
        let addresses: Vec<String> =
            listeners.split(' ').map(|address| address.replace('P', &port)).collect();
        let admin = admin.map(|address| address.replace('P', &port));
        let config = listening(&addresses, admin.as_deref());
        let (_folder, file) = folder(&config);
        let (is_good, text) = check(&file, &[]).await;
        assert_eq!(is_good, !overlaps, "{config}{text}");
        let other = other.display().to_string();
        let (is_good, _) = check(&file, &["--diff", "--against", &other]).await;
        assert_eq!(is_good, !overlaps, "{config}");
        if !overlaps {
            drop(gateway(config).start().await);
            continue;
        }
        assert!(text.contains("overlaps with") || text.contains("appears twice"), "{text}");
        let start = gateway(&config).run_to_exit().await;
        assert_eq!(start.status.code(), Some(1), "{config}");
        let said = stderr(&start);
        assert!(!said.contains("another program"), "{said}");
        running.rewrite_config(&config);
        assert_eq!(post(&running).await.status, 422, "{config}");
        reloads += 1;
        assert!(refused(&running).await >= reloads);
        assert_eq!(running.generation().await, 1);
    }
}

#[tokio::test]
async fn ipv4_address_in_the_form_of_ipv6_listens_for_ipv4() {
    let gateway = gateway(
        "listeners: [{ name: web, address: '[::ffff:127.0.0.1]:0' }]
admin: { address: '[::ffff:127.0.0.1]:0' }
routes: [{ respond: { body: hello } }]",
    )
    .start()
    .await;
    assert!(gateway.addr("web").is_ipv4() && gateway.admin_addr().is_ipv4(), "{}", gateway.output());
    assert_eq!(gateway.client("web").await.get("/").await.text(), "hello");
}

#[tokio::test]
async fn addresses_that_no_socket_can_have_are_refused_by_check() {
    for (address, said) in [("[ff02::1]:8080", "multicast"), ("[fe80::1]:8080", "link-local")] {
        for config in
            [listening(&[address.to_owned()], None), listening(&["127.0.0.1:0".to_owned()], Some(address))]
        {
            let (_folder, file) = folder(&config);
            let (is_good, text) = check(&file, &[]).await;
            assert!(!is_good && text.contains(said), "{config}{text}");
        }
    }
}

#[tokio::test]
async fn reload_onto_an_address_of_the_gateway_says_that_it_is_its_own() {
    let config = |admin: &str| listening(&["127.0.0.1:0".to_owned()], Some(admin));
    let named = |config: &str| config.replacen("  - { address", "  - { name: web, address", 1);
    let gateway = gateway(named(&config("127.0.0.1:0"))).start().await;
    // The listener's port was free when it took it: no file shows that the admin listener cannot have it.
    gateway.rewrite_config(&named(&config(&gateway.addr("web").to_string())));
    let answer = post(&gateway).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("the gateway itself listens there"), "{}", answer.text());
    // And no listener can have that of the admin listener.
    let more = listening(&["127.0.0.1:0".to_owned(), gateway.admin_addr().to_string()], Some("127.0.0.1:0"));
    gateway.rewrite_config(&named(&more));
    let answer = post(&gateway).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("the gateway itself listens there"), "{}", answer.text());
}

const BASE: &str = "listeners: [{ name: web, address: 127.0.0.1:0 }]\nadmin: { address: 127.0.0.1:0 }\n";

const LOCAL: &str = "routes: [{ respond: {} }]\n";

#[tokio::test]
async fn filter_that_no_route_uses_must_be_a_module_all_the_same() {
    let declared = "filters: { idle: { wasm: idle.wasm } }\n";
    let inline = "defaults: { filters: [{ wasm: idle.wasm }] }\n";
    let own_list = "routes: [{ respond: {}, filters: [] }]\n";
    for (config, place) in [
        (format!("{BASE}{declared}{LOCAL}"), "filters: { idle"),
        (format!("{BASE}{inline}{own_list}"), "defaults: { filters"),
    ] {
        for (content, said) in [
            (None, "cannot read"),
            (Some(&b"hello"[..]), "module"),
            // A component has another version than a module.
            (Some(b"\0asm\x0d\0\x01\0"), "module"),
            (Some(b"\0asm\x01\0\0\0\xff"), "module"),
        ] {
            let (folder, file) = folder(&config);
            if let Some(content) = content {
                fs::write(folder.path().join("idle.wasm"), content).unwrap();
            }
            let (is_good, text) = check(&file, &[]).await;
            assert!(!is_good && text.contains(said) && text.contains(place), "{config}{text}");
            let builder = gateway(&config);
            let builder = content.iter().fold(builder, |builder, content| builder.file("idle.wasm", content));
            assert_eq!(builder.run_to_exit().await.status.code(), Some(1), "{config}");
        }
    }
}

#[tokio::test]
async fn upstream_that_no_route_uses_must_have_its_files_all_the_same() {
    let config = format!(
        "{BASE}upstreams: {{ idle: {{ url: 'https://a.invalid', tls: {{ ca: missing.pem }} }} }}\n{LOCAL}"
    );
    let (_folder, file) = folder(&config);
    let (is_good, text) = check(&file, &[]).await;
    assert!(!is_good && text.contains("missing.pem"), "{text}");
    let running = gateway(format!("{BASE}{LOCAL}")).start().await;
    running.rewrite_config(&config);
    assert_eq!(post(&running).await.status, 422);
}

#[tokio::test]
async fn unused_filters_and_upstreams_are_warned_about_once() {
    let module = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/prebuilt/uppercase.wasm")).unwrap();
    let upstreams = |count: usize| {
        let upstreams = (0..count).map(|index| format!("  u{index:02}: {{ url: 'http://127.0.0.1:1' }}\n"));
        format!("upstreams:\n{}", upstreams.collect::<String>())
    };
    let filters = "filters: { idle: { wasm: idle.wasm } }\n";
    let config = format!("{BASE}{filters}{}{LOCAL}", upstreams(1));
    let (folder, file) = folder(&config);
    fs::write(folder.path().join("idle.wasm"), &module).unwrap();
    let expected = [
        "the filter `idle` is declared and used by no route",
        "the upstream `u00` is declared and used by no route",
    ];
    let (is_good, text) = check(&file, &[]).await;
    assert!(is_good, "{text}");
    let warnings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    assert_eq!(warnings, expected, "{text}");

    let gateway = gateway(&config).file("idle.wasm", &module).start().await;
    let warned = || gateway.logs().iter().filter(|line| line.contains("used by no route")).count();
    for line in expected {
        gateway.wait_for_log(line).await;
    }
    assert_eq!(warned(), 2);
    // A reload warns of what is new, and of no more than twenty of a kind.
    gateway.reload(&format!("{BASE}{filters}{}{LOCAL}", upstreams(30))).await;
    gateway.wait_for_log("there are 9 more warnings like these; `gateway check` lists them").await;
    assert_eq!(warned(), 2 + 20, "{}", gateway.output());
    // A plugin may call any upstream.
    let used = LOCAL.replace("{} }", "{}, filters: [idle] }");
    fs::write(&file, format!("{BASE}{filters}{}{used}", upstreams(1))).unwrap();
    assert_eq!(check(&file, &[]).await, (true, String::new()));
}

#[tokio::test]
async fn check_refuses_a_log_that_cannot_be_opened_and_creates_none() {
    let with_log = |path: &str| format!("{BASE}telemetry: {{ access_log: {{ output: {path} }} }}\n{LOCAL}");
    for (path, is_good) in [
        ("access.log", true),
        ("there.log", true),
        ("missing/access.log", false),
        ("folder", false),
        ("there.log/access.log", false),
    ] {
        let (folder, file) = folder(&with_log(path));
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("there.log"), "a line\n").unwrap();
        let (checked, text) = check(&file, &[]).await;
        assert_eq!(checked, is_good, "{path}: {text}");
        assert!(!folder.path().join("access.log").exists(), "{path}");
        assert_eq!(fs::read_to_string(folder.path().join("there.log")).unwrap(), "a line\n");
        if !is_good {
            assert!(text.contains("cannot write the access log"), "{path}: {text}");
            let file = file.display().to_string();
            assert_eq!(run_to_exit(PROGRAM, &["--config", &file]).await.status.code(), Some(1), "{path}");
        }
    }
}

#[tokio::test]
async fn check_binds_nothing() {
    let address = unused_address();
    let held = std::net::TcpListener::bind(address).unwrap();
    let (_folder, file) = folder(&listening(&[address.to_string()], None));
    assert_eq!(check(&file, &[]).await, (true, String::new()));
    drop(held);
    let refused = within("the connection", Client::try_connect(address)).await;
    assert!(refused.is_err(), "within {PATIENCE:?}");
}
