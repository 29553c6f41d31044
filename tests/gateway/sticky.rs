//! `sticky`: a cookie that holds a client at an endpoint, for as long as the endpoint serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use support::bytes::Bytes;
use support::{Gateway, Http2Client, Origin, Response, http, wait_until};

use crate::pooled::{self, OK, ROUTE};

const STICKY: &str = "sticky: { cookie: hold }";

/// An origin whose responses are its number.
fn numbered(number: usize) -> Origin {
    Origin::answer(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}"))
}

/// The configuration of a route to an upstream `u` with these endpoints and further keys.
fn config(urls: &[String], keys: &str) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("'{url}'")).collect();
    let upstream = format!("{{ endpoints: [{}], {keys} }}", urls.join(", "));
    format!(
        "workers: 2\ntrusted_proxies: [127.0.0.1]\nupstreams: {{ u: {upstream} }}\nroutes: [{{ name: {ROUTE}, match: {{ prefix: / }}, upstream: u }}]"
    )
}

fn urls(origins: &[Origin]) -> Vec<String> {
    origins.iter().map(Origin::url).collect()
}

/// Sends a request with this `Cookie` on a connection of its own, unless it is empty.
async fn get(gateway: &Gateway, cookie: &str) -> Response {
    let fields = [("cookie", cookie)];
    let fields = if cookie.is_empty() { &[][..] } else { &fields[..] };
    gateway.client("web").await.request("GET", "/", fields, b"").await
}

/// Returns the `name=value` that a response sets.
fn cookie(response: &Response) -> String {
    let set = response.headers.all("set-cookie");
    assert_eq!(set.len(), 1, "{response:?}");
    set[0].split(';').next().unwrap().to_owned()
}

/// Reloads with the same listeners.
async fn reload(gateway: &Gateway, config: &str) {
    gateway.reload(&pooled::whole(config)).await;
}

/// An origin that answers with 0, and with 503 while it is broken.
fn breaking() -> (Origin, Arc<AtomicBool>) {
    let is_broken = Arc::new(AtomicBool::new(false));
    let fails = is_broken.clone();
    let origin = Origin::respond(move |_| {
        let status = if fails.load(SeqCst) { "503 Service Unavailable" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\ncontent-length: 1\r\n\r\n0").into()
    });
    (origin, is_broken)
}

#[tokio::test]
async fn first_response_sets_a_cookie_with_its_attributes() {
    let origin = numbered(0);
    let usual = "; Path=/; HttpOnly; SameSite=Lax";
    for (keys, proto, attributes) in [
        ("", "http", usual.to_owned()),
        ("", "https", format!("{usual}; Secure")),
        (", secure: true", "http", format!("{usual}; Secure")),
        (", secure: false", "https", usual.to_owned()),
        (", max_age: 1m", "http", format!("{usual}; Max-Age=60")),
        (", max_age: 1500ms", "http", format!("{usual}; Max-Age=2")),
        (", same_site: strict", "http", usual.replace("Lax", "Strict")),
        (", same_site: none", "https", format!("{}; Secure", usual.replace("Lax", "None"))),
    ] {
        let config = config(&[origin.url()], &format!("sticky: {{ cookie: hold{keys} }}"));
        let gateway = pooled::gateway(&config).start().await;
        let mut client = gateway.client("web").await;
        let response = client.request("GET", "/", &[("x-forwarded-proto", proto)], b"").await;
        let set = response.header("set-cookie").unwrap();
        let (pair, rest) = set.split_at(set.find(';').unwrap());
        assert_eq!(rest, attributes, "{keys} {proto}");
        let parts: Vec<&str> = pair.strip_prefix("hold=").unwrap().split('.').collect();
        let is_number = |part: &&str| part.len() == 16 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(parts.len() == 2 && parts.iter().all(is_number), "{pair}");
    }
}

#[tokio::test]
async fn cookie_holds_its_client_at_an_endpoint_on_every_worker() {
    for balance in ["p2c", "round_robin", "least_request", "random"] {
        let origins: Vec<Origin> = (0..3).map(numbered).collect();
        let config = config(&urls(&origins), &format!("balance: {balance}, {STICKY}"));
        let gateway = pooled::gateway(&config).start().await;
        let mut holders = BTreeSet::new();
        while holders.len() < 3 {
            let first = get(&gateway, "").await;
            let cookie = cookie(&first);
            // Connections are spread over the workers.
            for _ in 0..8 {
                let next = get(&gateway, &cookie).await;
                assert_eq!((next.text(), next.header("set-cookie")), (first.text(), None), "{balance}");
            }
            holders.insert(first.text());
        }
        // Gateways beside each other, and this one after a restart, agree about the cookie.
        let held = get(&gateway, "").await;
        let other = pooled::gateway(&config).start().await;
        for _ in 0..8 {
            assert_eq!(get(&other, &cookie(&held)).await.text(), held.text(), "{balance}");
        }
    }
}

#[tokio::test]
async fn request_keeps_its_cookie_and_the_upstream_its_own() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\nset-cookie: own=1; Path=/x\r\ncontent-length: 0\r\n\r\n");
    let gateway = pooled::gateway(&config(&[origin.url()], STICKY)).start().await;
    let response = get(&gateway, "").await;
    let set = response.headers.all("set-cookie");
    assert_eq!((set.len(), set[0]), (2, "own=1; Path=/x"));
    let sent = format!("a=1; {}; own=1", set[1].split(';').next().unwrap());
    assert_eq!(get(&gateway, &sent).await.headers.all("set-cookie"), ["own=1; Path=/x"]);
    assert_eq!(origin.requests()[1].headers.get("cookie"), Some(&*sent));
}

#[tokio::test]
async fn ejected_endpoint_loses_its_clients() {
    let (held, is_broken) = breaking();
    let other = numbered(1);
    let keys = format!("{STICKY}, health: {{ passive: {{ failures: 1, eject_for: 1h }} }}");
    let gateway = pooled::gateway(&config(&[held.url(), other.url()], &keys)).start().await;
    let mut first = get(&gateway, "").await;
    while first.text() != "0" {
        first = get(&gateway, "").await;
    }
    let cookie_before = cookie(&first);
    is_broken.store(true, SeqCst);
    assert_eq!(get(&gateway, &cookie_before).await.status, 503);
    let moved = get(&gateway, &cookie_before).await;
    assert_eq!((moved.status, moved.text()), (200, "1".to_owned()));
    let cookie_after = cookie(&moved);
    assert_ne!(cookie_after, cookie_before);
    assert_eq!(get(&gateway, &cookie_after).await.header("set-cookie"), None);
}

#[tokio::test]
async fn endpoint_that_comes_back_has_its_clients_at_once() {
    let (held, is_broken) = breaking();
    let other = numbered(1);
    let health = "health: { passive: { failures: 1, eject_for: 50ms }, slow_start: 1h }";
    let keys = format!("{STICKY}, {health}");
    let gateway = pooled::gateway(&config(&[held.url(), other.url()], &keys)).start().await;
    let mut first = get(&gateway, "").await;
    while first.text() != "0" {
        first = get(&gateway, "").await;
    }
    let cookie = cookie(&first);
    is_broken.store(true, SeqCst);
    assert_eq!(get(&gateway, &cookie).await.status, 503);
    is_broken.store(false, SeqCst);
    let is_starting = async || gateway.pool_at(ROUTE, &held.url()).await["health"] == "starting";
    wait_until("its return", is_starting).await;
    // Others get a tenth of the requests there.
    for _ in 0..30 {
        assert_eq!(get(&gateway, &cookie).await.text(), "0");
    }
}

#[tokio::test]
async fn cookie_names_the_endpoint_at_which_a_retry_ended() {
    let (held, other) = (numbered(0), numbered(1));
    let keys = format!("{STICKY}, health: {{ passive: off }}");
    let gateway = pooled::gateway(&config(&[held.url(), other.url()], &keys)).start().await;
    let mut first = get(&gateway, "").await;
    while first.text() != "0" {
        first = get(&gateway, "").await;
    }
    held.stop().await;
    let retried = get(&gateway, &cookie(&first)).await;
    assert_eq!((retried.status, retried.text()), (200, "1".to_owned()));
    assert_eq!(get(&gateway, &cookie(&retried)).await.header("set-cookie"), None);
}

#[tokio::test]
async fn removed_endpoint_loses_its_clients_and_the_others_keep_theirs() {
    let origins: Vec<Origin> = (0..3).map(numbered).collect();
    let gateway = pooled::gateway(&config(&urls(&origins), STICKY)).start().await;
    let mut held = vec![String::new(); 3];
    while held.iter().any(String::is_empty) {
        let response = get(&gateway, "").await;
        held[response.text().parse::<usize>().unwrap()] = cookie(&response);
    }
    // In another order, and with other settings.
    let left = [origins[2].url(), origins[0].url()];
    reload(&gateway, &config(&left, &format!("balance: random, {STICKY}"))).await;
    for number in [0, 2] {
        let response = get(&gateway, &held[number]).await;
        assert_eq!((response.text(), response.header("set-cookie")), (number.to_string(), None));
    }
    let moved = get(&gateway, &held[1]).await;
    assert!(["0", "2"].contains(&&*moved.text()));
    assert_ne!(cookie(&moved), held[1]);
    // Another name of the upstream is another one to its clients.
    let renamed = config(&left, STICKY).replace("{ u:", "{ v:").replace("upstream: u", "upstream: v");
    reload(&gateway, &renamed).await;
    let renewed = cookie(&get(&gateway, &held[0]).await);
    let shared: Vec<&str> = held[0].split(['=', '.']).filter(|part| renewed.contains(part)).collect();
    assert_eq!(shared, ["hold"], "{renewed}");
}

#[tokio::test]
async fn cookies_that_are_not_the_upstreams_are_ignored() {
    let origins: Vec<Origin> = (0..2).map(numbered).collect();
    let gateway = pooled::gateway(&config(&urls(&origins), STICKY)).start().await;
    let first = get(&gateway, "").await;
    let (held, value) = (cookie(&first), cookie(&first).replace("hold=", ""));
    let (upstream, endpoint) = value.split_once('.').unwrap();
    for garbage in [
        "hold=".to_owned(),
        "hold=é".to_owned(),
        format!("hold={upstream}"),
        format!("hold={endpoint}.{upstream}"),
        format!("hold={upstream}.{}", "0".repeat(16)),
        format!("hold={}.{endpoint}", "0".repeat(16)),
        format!("hold={value}0"),
        format!("other={value}"),
        format!("xhold={value}"),
    ] {
        let response = get(&gateway, &garbage).await;
        assert_eq!(response.status, 200, "{garbage}");
        cookie(&response);
    }
    for beside in [
        format!("a=1; {held}; b=2"),
        format!("a=1;{held};b"),
        format!("hold=another; {held}"),
        format!("hold={}.{endpoint}; {held}", "0".repeat(16)),
    ] {
        for _ in 0..4 {
            let response = get(&gateway, &beside).await;
            assert_eq!((response.text(), response.header("set-cookie")), (first.text(), None), "{beside}");
        }
    }
}

#[tokio::test]
async fn cookie_is_found_among_the_crumbs_of_http2() {
    let origins: Vec<Origin> = (0..2).map(numbered).collect();
    let gateway = pooled::gateway(&config(&urls(&origins), STICKY)).start().await;
    let mut client = Http2Client::connect(gateway.addr("web")).await;
    let first = client.get("http://a/").await;
    let set = first.headers["set-cookie"].to_str().unwrap();
    let held = set.split(';').next().unwrap();
    for _ in 0..8 {
        let request = http::Request::get("http://a/").header("cookie", "a=1").header("cookie", held);
        let next = client.request(request.header("cookie", "b=2").body(Bytes::new()).unwrap()).await;
        assert_eq!(next.body, first.body);
        assert!(!next.headers.contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn response_that_opens_a_websocket_has_the_cookie() {
    let origin = Origin::script(|mut connection| async move {
        if connection.read_request().await.is_some() {
            let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            let fields = format!("connection: Upgrade\r\nupgrade: websocket\r\n{accept}");
            connection.write(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n")).await;
            connection.echo().await;
        }
    });
    let gateway = pooled::gateway(&config(&[origin.url()], STICKY)).start().await;
    let mut client = gateway.client("web").await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13";
    let fields = format!("host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n{key}");
    client.send_raw(format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n")).await;
    let head = client.read_head().await;
    assert_eq!(head.first_line, "HTTP/1.1 101 Switching Protocols");
    assert!(head.headers.get("set-cookie").is_some_and(|set| set.starts_with("hold=")), "{head:?}");
}

#[tokio::test]
async fn upstream_without_sticky_sets_no_cookie() {
    let origin = Origin::answer(OK);
    let gateway = pooled::gateway(&config(&[origin.url()], "")).start().await;
    assert_eq!(get(&gateway, "hold=1").await.header("set-cookie"), None);
}

#[tokio::test]
async fn sticky_needs_a_cookie_that_can_have_an_effect() {
    let origin = "http://127.0.0.1:1".to_owned();
    for (keys, said) in [
        (
            "balance: hash, hash_on: path, sticky: { cookie: a }",
            "`sticky` has no effect with `balance: hash`",
        ),
        ("sticky: {}", "the key `cookie` is missing"),
        ("sticky: { cookie: a b }", "`a b` is not the name of a cookie"),
        ("sticky: { cookie: a, same_site: none, secure: false }", "no effect without `Secure`"),
        ("sticky: { cookie: __Host-a, secure: false }", "no effect without `Secure`"),
    ] {
        let output = pooled::gateway(&config(std::slice::from_ref(&origin), keys)).run_to_exit().await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(said), "{keys}: {error}");
    }
}
