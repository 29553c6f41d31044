//! Reloads and the operators' view: the access log and the admin listener.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use support::serde_json::{Value, from_slice, from_str};
use support::{Client, Gate, Gateway, PATIENCE, Signal, unused_address, wait_until, within};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::pooled::gated;
use crate::reloading::{
    BASE, Clock, answering, file, get, in_sync, is_generation, post, refused, replace, serves, start,
    write_open,
};

/// A configuration that answers everything with `body`, and writes this access log.
fn logging(body: &str, access_log: &str) -> String {
    answering(body).replace("access_log: off", &format!("access_log: {access_log}"))
}

/// The requests for `path` in a log of JSON lines.
fn logged(log: &Path, path: &str) -> usize {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| line.contains(&format!("\"{path}\""))).count()
}

async fn is_logged(log: &Path, path: &str) {
    wait_until(&format!("{path} in {}", log.display()), async || logged(log, path) == 1).await;
}

#[tokio::test]
async fn another_format_or_output_of_the_access_log_takes_effect() {
    let gateway = start(logging("hello", "{ format: json }")).await;
    let mut client = gateway.client("web").await;
    client.get("/get-1").await;
    let line = gateway.wait_for_stdout("/get-1").await;
    assert!(from_str::<Value>(&line).is_ok(), "{line}");
    gateway.reload(&logging("hello", "{ format: common }")).await;
    client.get("/get-2").await;
    let line = gateway.wait_for_stdout("/get-2").await;
    assert!(line.contains("\"GET /get-2 HTTP/1.1\" 200 5"), "{line}");
    let log = gateway.folder().join("access.log");
    gateway.reload(&logging("hello", "{ output: access.log }")).await;
    client.get("/get-3").await;
    is_logged(&log, "/get-3").await;
    gateway.reload(&logging("hello", "off")).await;
    client.get("/get-4").await;
    gateway.reload(&logging("hello", "{ output: access.log }")).await;
    client.get("/get-5").await;
    is_logged(&log, "/get-5").await;
    assert_eq!((logged(&log, "/get-3"), logged(&log, "/get-4")), (1, 0), "it was appended to");
    assert!(!gateway.stdout_lines().iter().any(|line| line.contains("/get-3") || line.contains("/get-5")));
}

#[tokio::test]
async fn a_moved_access_log_is_reopened_and_no_line_is_lost() {
    let config = logging("hello", "{ output: access.log }");
    let gateway = start(config.clone()).await;
    let mut client = gateway.client("web").await;
    let log = gateway.folder().join("access.log");
    // Whether what is on disk is good makes no difference to it.
    for (turn, on_disk) in
        [(1, config.clone()), (2, config.replace("respond", "resond")), (3, config.clone())]
    {
        replace(&file(&gateway), on_disk);
        wait_until("it to be looked at", async || in_sync(&gateway).await == (turn != 2)).await;
        let moved = gateway.folder().join(format!("access.log.{turn}"));
        let path = |number: u32| format!("/{turn}-{number}");
        for number in 0..200 {
            match number {
                50 => fs::rename(&log, &moved).unwrap(),
                100 => {
                    is_logged(&moved, &path(99)).await;
                    gateway.signal(Signal::HUP);
                }
                _ => {}
            }
            assert_eq!(client.get(&path(number)).await.status, 200);
        }
        wait_until("the log to be there again", async || log.exists()).await;
        // After this, that reload is over.
        post(&gateway).await;
        client.get(&path(200)).await;
        is_logged(&log, &path(200)).await;
        let [now, before] = [&log, &moved].map(|log| fs::read_to_string(log).unwrap());
        for number in 0..=200 {
            let target = format!("\"{}\"", path(number));
            assert_eq!((now.matches(&target).count() + before.matches(&target).count()), 1, "{target}");
            assert!(number >= 100 || before.contains(&target), "{target} before it was asked for");
        }
    }
    for reason in ["buffer", "closed", "output", "too_long"] {
        let dropped = format!("gateway_access_log_dropped_lines_total{{reason=\"{reason}\"}}");
        assert_eq!(gateway.metric(&dropped).await, Some(0.0), "{reason}");
    }
    assert_eq!(gateway.generation().await, 1, "the configuration is the same");
    // Without a move, there is nothing to do.
    let inode = fs::metadata(&log).unwrap().ino();
    assert_eq!(post(&gateway).await.status, 200);
    client.get("/last").await;
    is_logged(&log, "/last").await;
    assert_eq!(fs::metadata(&log).unwrap().ino(), inode);
}

#[tokio::test]
async fn a_request_from_before_the_reload_is_in_the_log_that_it_began_with_though_the_program_stops() {
    let gate = Gate::new();
    let origin = gated(&gate);
    let route = format!("{{ name: up, match: {{ prefix: / }}, upstream: {{ url: '{}' }} }}", origin.url());
    let config = |log: &str| {
        format!("{BASE}routes: [{route}]\n").replace("log: off", &format!("log: {{ output: {log} }}"))
    };
    let mut gateway = start(config("second.log")).await;
    // A log that takes nothing until it is read: a pipe that is full.
    let path = gateway.folder().join("first.log");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut open = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
    let filler = pipe::OpenOptions::new().open_sender(&path).unwrap();
    filler.writable().await.unwrap();
    while filler.try_write(&[b'-'; 4096]).is_ok() {}

    gateway.reload(&config("first.log")).await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET /early HTTP/1.1\r\nhost: a\r\n\r\n").await;
    gate.arrivals(1).await;
    gateway.reload(&config("second.log")).await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("stopping").await;
    gate.release_all();
    assert_eq!(client.read_response().await.status, 200);
    wait_until("the workers to end", async || !has_workers(&gateway)).await;
    Clock::start().await.stop().await;
    let mut text = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&text).contains("/early") {
            assert!(open.read_buf(&mut text).await.unwrap() > 0, "the line was lost");
        }
    };
    within("the line", read).await;
    assert!(gateway.wait_exit(PATIENCE).await.success());
}

/// Returns true if the program runs, and threads of it serve.
fn has_workers(gateway: &Gateway) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", gateway.pid())) else { return false };
    let mut names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.any(|name| name.starts_with("worker"))
}

fn with_admin(body: &str, admin: &str) -> String {
    answering(body).replace("admin: { address: 127.0.0.1:0 }", &format!("admin: {admin}"))
}

/// Makes the gateway read this by a request for a reload, and not because it was saved.
async fn ask_for(gateway: &Gateway, config: &str) -> Value {
    let _open = write_open(&file(gateway), config);
    let answer = post(gateway).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    from_slice(&answer.body).unwrap()
}

async fn is_left(address: SocketAddr) {
    wait_until(&format!("{address} to be left"), async || Client::try_connect(address).await.is_err()).await;
}

#[tokio::test]
async fn a_reload_that_removes_the_admin_listener_is_answered() {
    let gateway = start(answering("first")).await;
    let (first, second) = (gateway.admin_addr(), unused_address());
    let there = format!("{{ address: '{second}' }}");
    let report = ask_for(&gateway, &with_admin("second", &there)).await;
    assert_eq!(report["changes"]["settings"], Value::from(vec!["admin"]), "{report}");
    gateway.wait_for_stdout(&format!("admin on http://{second}")).await;
    assert_eq!((gateway.admin_addr(), gateway.generation().await), (second, 2));
    is_left(first).await;

    let report = ask_for(&gateway, &with_admin("third", "off")).await;
    assert_eq!((&report["generation"], &report["changed"]), (&Value::from(3), &Value::from(true)));
    assert_eq!(get(&gateway, "/").await, "third");
    is_left(second).await;

    replace(&file(&gateway), with_admin("fourth", &there));
    serves(&gateway, "fourth").await;
    wait_until("it to be there again", async || Client::try_connect(second).await.is_ok()).await;
    is_generation(&gateway, 4).await;
    assert!(in_sync(&gateway).await);
}

#[tokio::test]
async fn the_admin_listener_can_come_back_at_once() {
    let address = unused_address();
    let (there, wide) =
        (format!("{{ address: '{address}' }}"), format!("{{ address: '0.0.0.0:{}' }}", address.port()));
    let gateway = start(with_admin("1", &there)).await;
    let turns = ["off", &there, &wide, &there, "{ address: 127.0.0.1:0 }", &there];
    let mut clients = Vec::new();
    for (turn, admin) in (2..).zip(turns) {
        // Those that are connected do not keep the address.
        if let Ok(mut client) = Client::try_connect(address).await {
            client.request("GET", "/live", &[("host", "localhost")], b"").await;
            clients.push(client);
        }
        gateway.rewrite_config(&with_admin(&turn.to_string(), admin));
        gateway.signal(Signal::HUP);
        serves(&gateway, &turn.to_string()).await;
        gateway.wait_for_log(&format!("configuration reloaded generation={turn} ")).await;
    }
    // What is printed arrives by a pipe of its own.
    wait_until("the last address to be printed", async || gateway.admin_addr() == address).await;
    is_generation(&gateway, 7).await;
    assert_eq!(refused(&gateway).await, 0);
    assert!(clients.len() >= 3);
}

#[tokio::test]
async fn connections_of_an_unchanged_admin_listener_stay_open() {
    let gateway = start(answering("first")).await;
    let mut client = Client::connect(gateway.admin_addr()).await;
    let _open = write_open(&file(&gateway), answering("second"));
    for (method, path) in [("POST", "/reload"), ("GET", "/reload"), ("GET", "/live")] {
        let answer = client.request(method, path, &[("host", "localhost")], b"").await;
        assert_eq!((answer.status, answer.header("connection")), (200, None), "{method} {path}");
    }
    assert_eq!(get(&gateway, "/").await, "second");
}

#[tokio::test]
async fn clients_of_a_listener_at_the_place_of_the_admin_listener_never_see_it() {
    let address = unused_address();
    let gateway = start(with_admin("first", &format!("{{ address: '{address}' }}"))).await;
    let config = with_admin("second", "{ address: 127.0.0.1:0 }");
    let listeners = format!("listeners: [{{ name: public, address: '{address}' }}, ");
    ask_for(&gateway, &config.replace("listeners: [", &listeners)).await;
    for _ in 0..50 {
        assert_eq!(Client::connect(address).await.get("/live").await.text(), "second");
    }
}
