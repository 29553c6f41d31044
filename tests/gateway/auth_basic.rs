//! `basic`: users by their passwords, on files that Apache's `htpasswd`, OpenSSL and argon2 make.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{Client, Gateway, GatewayBuilder, Origin, Response, wait_until};

use crate::pooled::OK;
use crate::programs::{program, run};
use crate::reloading::{check_errors, is_generation, refused_times, replace};

/// Hashes of `open sesame` by bcrypt: one that takes no time, and one that takes half a second in a build for tests.
const CHEAP: &str = "$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe";
const COSTLY: &str = "$2y$11$abcdefghijklmnopqrstuu74xmB/NJkGNKfoNHO3z5FV3/sM3pMe.";

/// The hash of `close sesame`, which takes no time.
const CLOSE: &str = "$2y$04$abcdefghijklmnopqrstuu5aKXdR/RXaNN4ZllVfXtHNZnfSHAyAS";

const COMPUTATIONS: &str = "gateway_auth_basic_computations_total";

fn config(keys: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
workers: 2
auth: {{ ops: {{ basic: {{ users: users.htpasswd{keys} }} }} }}
routes:
  - {{ name: open, match: {{ path: /open }}, respond: {{ body: open }} }}
  - {{ name: closed, match: {{ path: /closed }}, respond: {{ body: closed }}, auth: [ops] }}
  - {{ name: up, match: {{ path: /up }}, upstream: {{ url: '{{origin}}' }}, auth: [ops] }}"
    )
}

fn builder(users: &str, keys: &str) -> GatewayBuilder {
    crate::gateway(config(keys)).set("origin", "http://127.0.0.1:1").file("users.htpasswd", users)
}

/// Returns the value of `Authorization` (RFC 7617 §2).
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn get(gateway: &Gateway, path: &str, authorization: &str) -> Response {
    gateway.client("web").await.request("GET", path, &[("authorization", authorization)], b"").await
}

async fn status(gateway: &Gateway, user: &str, password: &str) -> u16 {
    get(gateway, "/closed", &basic(user, password)).await.status
}

async fn computations(gateway: &Gateway) -> f64 {
    gateway.metric(COMPUTATIONS).await.unwrap()
}

/// Sends a request and does not wait for its response.
async fn begin(gateway: &Gateway, user: &str, password: &str) -> Client {
    let mut client = gateway.client("web").await;
    let authorization = basic(user, password);
    let head = format!("GET /closed HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n\r\n");
    client.send_raw(head).await;
    client
}

#[tokio::test]
async fn password_of_an_entry_opens_the_route_and_goes_no_further() {
    let origin = Origin::answer(OK);
    let users = format!("ann:{CHEAP}\nb\u{f6}b:{CLOSE}\n");
    let gateway = crate::gateway(config(", realm: the realm"))
        .set("origin", origin.url())
        .file("users.htpasswd", users)
        .start()
        .await;
    for (user, password, expected) in [
        ("ann", "open sesame", 200),
        ("b\u{f6}b", "close sesame", 200),
        ("ann", "close sesame", 401),
        ("b\u{f6}b", "open sesame", 401),
        ("carl", "open sesame", 401),
        ("", "open sesame", 401),
        ("ann", "", 401),
    ] {
        assert_eq!(status(&gateway, user, password).await, expected, "{user} {password}");
    }
    let challenged = gateway.client("web").await.get("/closed").await;
    let challenge = "Basic realm=\"the realm\", charset=\"UTF-8\"";
    assert_eq!((challenged.status, challenged.header("www-authenticate")), (401, Some(challenge)));
    assert_eq!(challenged.header("x-gateway-error"), Some("auth.required"));
    let wrong = get(&gateway, "/closed", &basic("ann", "x")).await;
    assert_eq!(wrong.header("x-gateway-error"), Some("auth.basic.credentials"));
    assert_eq!(wrong.header("www-authenticate"), Some(challenge));
    for malformed in ["Basic", "Basic !", "Basic YQ==", "Basic YTph, Basic YTph"] {
        let response = get(&gateway, "/closed", malformed).await;
        assert_eq!(response.status, 401, "{malformed}");
        assert_eq!(response.header("x-gateway-error"), Some("auth.basic.malformed"), "{malformed}");
    }

    assert_eq!(get(&gateway, "/up", &basic("ann", "open sesame")).await.status, 200);
    let head = origin.requests().pop().unwrap();
    assert_eq!(head.headers.get("authorization"), None, "{head:?}");
    let log = gateway.output();
    assert!(!log.contains("sesame") && !log.contains("b3BlbiBzZXNhbWU"), "{log}");
}

#[tokio::test]
async fn entries_of_other_programs_are_understood() {
    let htpasswd = program("htpasswd");
    let mut users = String::new();
    for (user, kind) in [("bcrypt", "-nbB"), ("sha512", "-nb5"), ("sha256", "-nb2")] {
        users += run(&htpasswd, &[kind, user, "p\u{e4}ss: word"]).await.trim();
        users += "\n";
    }
    let openssl = run(&program("openssl"), &["passwd", "-6", "p\u{e4}ss: word"]).await;
    users += &format!("openssl:{openssl}");
    let mut argon2 = Command::new(program("argon2"))
        .args(["saltysalt", "-id", "-e", "-k", "64"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    argon2.stdin.take().unwrap().write_all("p\u{e4}ss: word".as_bytes()).unwrap();
    users += &format!("argon2:{}", String::from_utf8(argon2.wait_with_output().unwrap().stdout).unwrap());

    let gateway = builder(&users, "").start().await;
    for user in ["bcrypt", "sha512", "sha256", "openssl", "argon2"] {
        assert_eq!(status(&gateway, user, "p\u{e4}ss: word").await, 200, "{user}");
        assert_eq!(status(&gateway, user, "p\u{e4}ss: work").await, 401, "{user}");
    }
}

#[tokio::test]
async fn weak_entries_are_refused_by_their_lines_without_showing_them() {
    let htpasswd = program("htpasswd");
    let mut users = format!("# users\nann:{CHEAP}\n");
    for (user, kind) in [("md5", "-nbm"), ("sha1", "-nbs"), ("des", "-nbd")] {
        users += run(&htpasswd, &[kind, user, "sesame"]).await.trim();
        users += "\n";
    }
    users += "plain:sesame\nann:zweites\n";
    let output = builder(&users, "").run_to_exit().await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for expected in [
        "line 3: the hash is of MD5",
        "line 4: the hash is of SHA-1",
        "line 5: the hash is of DES",
        "line 6: the hash is no hash",
        "htpasswd -B",
    ] {
        assert!(errors.contains(expected), "{expected}: {errors}");
    }
    for line in users.lines().skip(2) {
        let (_, hash) = line.split_once(':').unwrap();
        assert!(!errors.contains(hash), "{errors}");
    }
}

#[tokio::test]
async fn storm_of_equal_requests_is_one_computation() {
    let gateway = builder(&format!("ann:{COSTLY}\n"), "").start().await;
    let mut storm = Vec::new();
    for _ in 0..200 {
        storm.push(begin(&gateway, "ann", "open sesame").await);
    }
    for mut client in storm {
        assert_eq!(client.read_response().await.text(), "closed");
    }
    assert_eq!(computations(&gateway).await, 1.0);
    assert_eq!(status(&gateway, "ann", "open sesame").await, 200);
    assert_eq!(computations(&gateway).await, 1.0, "the result is remembered");
    for _ in 0..2 {
        assert_eq!(status(&gateway, "ann", "guess").await, 401);
    }
    assert_eq!(computations(&gateway).await, 2.0);
    assert_eq!(status(&gateway, "unknown", "open sesame").await, 401);
    assert_eq!(computations(&gateway).await, 3.0, "an unknown user costs as much");
}

/// On a busy machine, a computation may end before the others have been served. If it is a worker's, it always does.
#[tokio::test]
async fn workers_serve_others_during_a_computation() {
    const TRIES: usize = 8;
    let users: String = (0..TRIES).map(|number| format!("u{number}:{COSTLY}\n")).collect();
    let gateway = builder(&users, "").start().await;
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut client = gateway.client("web").await;
        assert_eq!(client.get("/open").await.text(), "open");
        others.push(client);
    }
    for number in 0..TRIES {
        let before = computations(&gateway).await;
        let mut client = begin(&gateway, &format!("u{number}"), "open sesame").await;
        for other in &mut others {
            assert_eq!(other.get("/open").await.text(), "open");
        }
        let is_during = computations(&gateway).await == before;
        assert_eq!(client.read_response().await.text(), "closed");
        if is_during {
            return;
        }
    }
    panic!("none of {TRIES} computations let others be served");
}

#[tokio::test]
async fn nothing_is_remembered_without_a_cache() {
    let gateway = builder(&format!("ann:{CHEAP}\n"), ", cache: off").start().await;
    for number in 1..=3 {
        assert_eq!(status(&gateway, "ann", "open sesame").await, 200);
        assert_eq!(computations(&gateway).await, f64::from(number));
    }
}

/// The responses to guesses beyond the queue come at once, and a user with a remembered password waits for none of them.
#[tokio::test]
async fn guesses_fill_the_queue_and_not_the_workers() {
    let gateway = builder(&format!("ann:{CHEAP}\nbob:{COSTLY}\n"), "").start().await;
    assert_eq!(status(&gateway, "ann", "open sesame").await, 200);
    let mut guesses = Vec::new();
    for number in 0..300 {
        guesses.push(begin(&gateway, "bob", &format!("guess {number}")).await);
    }
    let refused = "gateway_request_errors_total{route=\"closed\",reason=\"auth.basic.busy\"}";
    wait_until("a guess to be refused", async || gateway.metric(refused).await.is_some()).await;
    assert_eq!(status(&gateway, "ann", "open sesame").await, 200);
    assert_eq!(gateway.client("web").await.get("/open").await.status, 200);
    drop(guesses);
    // A comparison that no request awaits any more is left out.
    wait_until("the queue to be empty", async || {
        gateway.metric("gateway_auth_basic_queued").await == Some(0.0)
    })
    .await;
    assert!(computations(&gateway).await < 100.0);
}

#[tokio::test]
async fn changed_entry_counts_at_once_and_a_broken_file_changes_nothing() {
    let gateway = builder(&format!("ann:{CHEAP}\nbob:{CHEAP}\n"), "").start().await;
    let file = gateway.folder().join("users.htpasswd");
    assert_eq!(status(&gateway, "ann", "open sesame").await, 200);
    assert_eq!(status(&gateway, "bob", "open sesame").await, 200);
    replace(&file, format!("ann:{CLOSE}\n"));
    is_generation(&gateway, 2).await;
    assert_eq!(status(&gateway, "ann", "open sesame").await, 401);
    assert_eq!(status(&gateway, "bob", "open sesame").await, 401);
    assert_eq!(status(&gateway, "ann", "close sesame").await, 200);

    replace(&file, "ann:sesame\n");
    refused_times(&gateway, 1).await;
    assert_eq!(status(&gateway, "ann", "close sesame").await, 200);
    let errors = check_errors(&gateway).await;
    assert!(errors.contains("users.htpasswd") && errors.contains("line 1: the hash is no hash"), "{errors}");
    fs::remove_file(&file).unwrap();
    refused_times(&gateway, 2).await;
    assert_eq!(status(&gateway, "ann", "close sesame").await, 200);
}
