//! `gateway health`: the exit status and the line that a container or a script gets.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use support::{Gateway, Signal, run_to_exit, unused_address, unused_port, wait_until};

use crate::{PROGRAM, gateway};

const CONFIG: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
admin: { address: '{admin}' }
shutdown: { delay: 1h }
routes: [{ respond: { body: hello } }]";

async fn health(arguments: &[&str]) -> Output {
    run_to_exit(PROGRAM, &[&["health"], arguments].concat()).await
}

/// Asserts the exit status, and returns the one line that was printed: on standard output for 0, else on standard error.
fn line(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let (said, silent) =
        if code == 0 { (&output.stdout, &output.stderr) } else { (&output.stderr, &output.stdout) };
    assert!(silent.is_empty(), "{output:?}");
    let text = String::from_utf8(said.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    text.trim_end().to_owned()
}

fn file(gateway: &Gateway) -> String {
    gateway.folder().join("gateway.yaml").display().to_string()
}

#[tokio::test]
async fn health_of_a_ready_gateway_is_0_by_its_file_its_address_and_its_url() {
    let address = unused_address();
    let gateway = gateway(CONFIG).set("admin", address).start().await;
    let file = file(&gateway);
    let (address, url) = (address.to_string(), format!("http://{address}"));
    for arguments in [["--config", &file], ["--admin", &address], ["--admin", &url]] {
        assert_eq!(line(&health(&arguments).await, 0), "ready");
    }
    let before = run_to_exit(PROGRAM, &["-c", &file, "health"]).await;
    assert_eq!(line(&before, 0), "ready");
}

#[tokio::test]
async fn health_asks_a_wildcard_address_on_loopback() {
    let address = format!("0.0.0.0:{}", unused_port());
    let gateway = gateway(CONFIG).set("admin", address).start().await;
    assert_eq!(line(&health(&["-c", &file(&gateway)]).await, 0), "ready");
}

#[tokio::test]
async fn health_does_not_depend_on_the_rest_of_the_file() {
    let address = unused_address();
    let gateway = gateway(CONFIG).set("admin", address).start().await;
    gateway.rewrite_config(&CONFIG.replace("routes:", "rotues:").replace("hello", "'${NOT_SET}'"));
    gateway.wait_for_log("configuration refused").await;
    assert_eq!(line(&health(&["-c", &file(&gateway)]).await, 0), "ready");
}

#[tokio::test]
async fn health_of_a_gateway_that_stops_is_1() {
    let address = unused_address();
    let gateway = gateway(CONFIG).set("admin", address).start().await;
    gateway.signal(Signal::TERM);
    wait_until("/ready answers 503", async || gateway.admin("/ready").await.status == 503).await;
    let said = line(&health(&["-c", &file(&gateway)]).await, 1);
    assert_eq!(said, format!("error: http://{address}: not ready: draining"));
}

#[tokio::test]
async fn health_without_an_answer_is_1_within_the_timeout() {
    let address = unused_address();
    let said = line(&health(&["--admin", &address.to_string()]).await, 1);
    assert!(said.contains("Connection refused"), "{said}");
    // It takes connections and answers none.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let began = Instant::now();
    let said = line(&health(&["--admin", &address, "--timeout", "50ms"]).await, 1);
    assert!(said.ends_with("no answer within 50ms"), "{said}");
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn health_is_1_for_what_is_no_admin_listener() {
    let gateway = gateway(CONFIG).set("admin", "127.0.0.1:0").start().await;
    let said = line(&health(&["--admin", &gateway.addr("web").to_string()]).await, 1);
    assert!(said.ends_with("it answers `hello` to /ready, which no gateway does"), "{said}");
    let said = line(&health(&["--admin", "https://127.0.0.1:9901"]).await, 1);
    assert!(said.contains("write http://"), "{said}");
    for port in ["9901", ":9901", ""] {
        let said = line(&health(&["--admin", port]).await, 1);
        assert!(said.ends_with("write HOST:PORT, such as `--admin 127.0.0.1:9901`"), "{said}");
    }
}

#[tokio::test]
async fn health_says_how_to_name_an_admin_listener_that_the_file_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let path = file.to_str().unwrap();
    for (admin, said) in [
        (
            "",
            "has no admin listener to ask; add `admin: { address: 127.0.0.1:9901 }` or name one with `--admin`",
        ),
        ("admin: off", "has no admin listener to ask"),
        ("admin: { address: 127.0.0.1:0 }", "takes any free port; name the one in use with `--admin`"),
    ] {
        write(&file, admin);
        let printed = line(&health(&["-c", path]).await, 1);
        assert!(printed.contains(said), "{printed}");
    }
    write(&file, "admin: { address: localhost:1 }");
    let output = health(&["-c", path]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not an IP address with a port"));
    let output = health(&["-c", "/nonexistent.yaml"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot read /nonexistent.yaml"));
}

fn write(file: &Path, admin: &str) {
    let rest = "listeners: [{ address: 127.0.0.1:0 }]\nroutes: [{ respond: { body: hello } }]";
    std::fs::write(file, format!("{admin}\n{rest}\n")).unwrap();
}
