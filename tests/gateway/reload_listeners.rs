//! Listeners that come, go and change while clients are connected, without one reset.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::http::Request;
use support::{Certificates, Client, Gate, Gateway, Http2Client, Origin, unused_address, wait_until};
use tokio::task::JoinHandle;

use crate::reload_clients::{ADMIN, SECURE, WEB, builder, clients, config, gated, listens, named, reload};

/// A route to the origin below `/up`, and an answer elsewhere.
const ROUTES: &str = "
routes:
  - { name: up, match: { prefix: /up }, upstream: { url: '{origin}' } }
  - { name: all, respond: { body: all } }";

/// These listeners, and the same routes.
fn with(listeners: &[&str]) -> String {
    format!("{ADMIN}listeners:\n  - {}\n{ROUTES}", listeners.join("\n  - "))
}

/// These listeners, each with a route that answers with its name.
fn named_after(listeners: &[&str]) -> String {
    let route = |listener: &&str| {
        let name = listener.split([' ', ',']).nth(2).unwrap();
        format!("\n  - {{ name: {name}, listeners: [{name}], respond: {{ body: {name} }} }}")
    };
    let routes: String = listeners.iter().map(route).collect();
    format!("{ADMIN}listeners:\n  - {}\nroutes:{routes}", listeners.join("\n  - "))
}

async fn start(config: impl Into<String>) -> Gateway {
    builder(config, &Certificates::new(), &Origin::answer(named("up"))).start().await
}

async fn refuses(address: SocketAddr) {
    // A client that comes in the moment before waits.
    wait_until("nobody listens", async || !listens(address)).await;
    assert!(Client::try_connect(address).await.is_err());
}

/// Clients that connect, ask and leave, one after the other, and must always be answered.
struct Visitors {
    stop: Arc<AtomicBool>,
    visiting: Vec<JoinHandle<usize>>,
}

impl Visitors {
    fn to(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let visiting = (0..24).map(|_| tokio::spawn(Self::visit(address, stop.clone()))).collect();
        Self { stop, visiting }
    }

    async fn visit(address: SocketAddr, stop: Arc<AtomicBool>) -> usize {
        let mut visits = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut client = Client::connect(address).await;
            let fields = [("connection", "close")];
            assert_eq!(client.request("GET", "/", &fields, b"").await.text(), "all");
            assert_eq!(client.read_to_end().await.unwrap(), b"");
            visits += 1;
        }
        visits
    }

    async fn leave(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut visits = 0;
        for visiting in self.visiting {
            visits += visiting.await.unwrap();
        }
        visits
    }
}

#[tokio::test]
async fn a_new_listener_serves_at_once_and_says_where() {
    let certificates = Certificates::new();
    let origin = Origin::answer(named("up"));
    let gateway = builder(with(&[WEB]), &certificates, &origin).start().await;
    let mut kept = gateway.client("web").await;
    assert_eq!(kept.get("/").await.text(), "all");
    reload(&gateway, &with(&[SECURE, WEB])).await;
    // The line is there when the reload is over.
    gateway.wait_for_stdout("listening on https://").await;
    for mut client in clients(&gateway, &certificates).await {
        assert_eq!(client.get("/up").await, (200, "up".to_owned()), "{}", client.kind);
    }
    assert_eq!(kept.get("/").await.text(), "all");
    gateway.wait_for_stdout(r#""listener":"secure""#).await;
}

#[tokio::test]
async fn a_removed_listener_accepts_no_connection_and_ends_its_own_in_order() {
    let certificates = Certificates::new();
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            while let Some(request) = connection.read_request().await {
                let response = named("up");
                let (sent, rest) =
                    response.split_at(if request.target == "/up/half" { response.len() - 1 } else { 0 });
                connection.write(sent).await;
                gate.pass().await;
                connection.write(rest).await;
            }
        }
    });
    let gateway = builder(config(ROUTES), &certificates, &origin).start().await;
    let (web, secure) = (gateway.addr("web"), gateway.addr("secure"));
    let mut idle = clients(&gateway, &certificates).await;
    for client in &mut idle {
        assert_eq!(client.get("/").await.0, 200);
    }
    let mut busy = clients(&gateway, &certificates).await;
    for client in &mut busy {
        client.ask("/up").await;
    }
    let mut halfway = clients(&gateway, &certificates).await;
    for client in &mut halfway {
        client.ask("/up/half").await;
    }
    gate.arrivals(busy.len() + halfway.len()).await;
    // Half a request counts as begun.
    let mut begun = gateway.client("web").await;
    begun.send_raw("GET / HTTP/1.1\r\nho").await;
    let connections = async || gateway.metric("gateway_listener_connections{listener=\"web\"").await;
    wait_until("all are in", async || connections().await == Some(7.0)).await;
    let other = "{ name: other, address: '[::1]:0' }";
    reload(&gateway, &with(&[other])).await;
    gateway.wait_for_stdout("(other)").await;
    for client in idle {
        client.closed().await;
    }
    refuses(web).await;
    refuses(secure).await;
    let mut fence = gateway.client("other").await;
    assert_eq!(fence.get("/").await.text(), "all");
    begun.send_raw("st: a\r\n\r\n").await;
    assert_eq!(begun.read_response().await.text(), "all");
    begun.expect_closed().await;
    gate.release_all();
    for mut client in busy {
        let (status, option, body) = client.answer("connection").await;
        assert_eq!((status, &*body), (200, "up"), "{}", client.kind);
        let expected = client.kind.starts_with("HTTP/1").then_some("close");
        assert_eq!(option.as_deref(), expected, "{}", client.kind);
        client.closed().await;
    }
    for mut client in halfway {
        assert_eq!(client.answer("-").await.2, "up", "{}", client.kind);
        client.closed().await;
    }
    let reasons = gateway.metrics().await;
    assert!(!reasons.contains(r#"listener="web""#), "{reasons}");
}

#[tokio::test]
async fn streams_complete_after_their_connection_got_goaway() {
    let certificates = Certificates::new();
    let tls = certificates.client_config(&["h2"]);
    for listener in [WEB, SECURE] {
        let gate = Gate::new();
        let origin = gated(&gate, "up");
        let gateway = builder(with(&[listener]), &certificates, &origin).start().await;
        let mut client = if listener == WEB {
            Http2Client::connect(gateway.addr("web")).await
        } else {
            Http2Client::connect_tls(gateway.addr("secure"), &tls, "a.test").await
        };
        let mut streams = Vec::new();
        for _ in 0..3 {
            let request = Request::get("http://a.test/up").body(()).unwrap();
            streams.push(client.open(request, true).await.unwrap().0);
        }
        gate.arrivals(streams.len()).await;
        reload(&gateway, &with(&["{ name: other, address: '[::1]:0' }"])).await;
        gate.release_all();
        for stream in streams {
            assert_eq!(Http2Client::read(stream).await.unwrap().body, b"up");
        }
        client.closed().await.unwrap();
    }
}

/// A frame of HTTP/2 (RFC 9113 §4.1), on a stream below 256.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The next frame: its type, its flags and its payload. `None` at the end.
async fn next_frame(client: &mut Client, unread: &mut Vec<u8>) -> Option<(u8, u8, Vec<u8>)> {
    loop {
        if let Some((head, rest)) = unread.split_at_checked(9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            if rest.len() >= length {
                let found = (head[3], head[4], rest[..length].to_vec());
                unread.drain(..9 + length);
                return Some(found);
            }
        }
        let more = client.try_read_some().await.unwrap();
        if more.is_empty() {
            return None;
        }
        unread.extend(more);
    }
}

#[tokio::test]
async fn frames_of_a_client_do_not_cost_it_the_end_of_its_last_stream() {
    const LENGTH: usize = 1_000_000;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const ACK: u8 = 1;
    let gate = Gate::new();
    let at_gate = gate.clone();
    let origin = Origin::script(move |mut connection| {
        let gate = at_gate.clone();
        async move {
            connection.read_request().await;
            gate.pass().await;
            connection.write(named(&"x".repeat(LENGTH))).await;
            connection.wait_closed().await;
        }
    });
    let gateway = builder(with(&[WEB]), &Certificates::new(), &origin).start().await;
    let mut client = gateway.client("web").await;
    let mut unread = Vec::new();
    client.send_raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // A window (setting 4) as large as those of browsers; `GET http://a/up`.
    client.send_raw(frame(SETTINGS, 0, 0, &[0, 4, 1, 0, 0, 0])).await;
    client.send_raw(frame(WINDOW_UPDATE, 0, 0, &[1, 0, 0, 0])).await;
    client.send_raw(frame(HEADERS, 5, 1, b"\x82\x86\x41\x01a\x04\x03/up")).await;
    gate.arrivals(1).await;
    reload(&gateway, &with(&["{ name: other, address: '[::1]:0' }"])).await;
    // It hears that the connection ends, and confirms it.
    let mut acknowledged = 0;
    while acknowledged < 2 {
        match next_frame(&mut client, &mut unread).await.unwrap() {
            (SETTINGS, 0, _) => client.send_raw(frame(SETTINGS, ACK, 0, &[])).await,
            (PING, 0, payload) => client.send_raw(frame(PING, ACK, 0, &payload)).await,
            _ => continue,
        }
        acknowledged += 1;
    }
    gate.release();
    // All is sent, as the gateway sees it.
    gateway.wait_for_stdout(r#""target":"/up""#).await;
    let mut read = 0;
    while let Some((kind, _, payload)) = next_frame(&mut client, &mut unread).await {
        if kind == DATA {
            read += payload.len();
            client.send_raw(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
        }
    }
    assert_eq!(read, LENGTH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_becomes_wider_and_narrower_under_load_without_a_reset() {
    let address = unused_address();
    let listener = |ip: IpAddr| format!("{{ name: web, address: {} }}", SocketAddr::new(ip, address.port()));
    let (narrow, wide) = (address.ip(), IpAddr::from([0, 0, 0, 0]));
    let gateway = start(with(&[&listener(narrow)])).await;
    let visitors = Visitors::to(address);
    // Some while the sockets before are still about to close, some after.
    let mut last = narrow;
    for (ip, settles) in [(wide, false), (narrow, true), (wide, true), (narrow, false), (wide, false)] {
        let before = gateway.stdout_lines().len();
        reload(&gateway, &with(&[&listener(ip)])).await;
        let announced = format!("listening on http://{ip}:{} (web)", address.port());
        let is_said = async || gateway.stdout_lines().iter().skip(before).any(|line| *line == announced);
        wait_until(&announced, is_said).await;
        if settles {
            let gone = SocketAddr::new(last, address.port());
            wait_until("the one before is closed", async || !listens(gone)).await;
        }
        last = ip;
    }
    assert!(visitors.leave().await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_goes_may_come_again_at_once() {
    let address = unused_address();
    let listener = format!("{{ name: web, address: {address} }}");
    let other = "{ name: other, address: '[::1]:0' }";
    let gateway = start(with(&[&listener, other])).await;
    let mut ended = Client::connect(address).await;
    assert_eq!(ended.get("/").await.text(), "all");
    let mut kept = gateway.client("other").await;
    for listeners in [&[other][..], &[&listener, other]] {
        reload(&gateway, &with(listeners)).await;
        assert_eq!(kept.get("/").await.text(), "all", "{listeners:?}");
    }
    ended.expect_closed().await;
    let visit = async || {
        let mut client = Client::connect(address).await;
        assert_eq!(client.get("/").await.text(), "all");
    };
    tokio::join!(visit(), visit(), visit(), visit(), visit(), visit());
}

#[tokio::test]
async fn a_listener_moves_to_another_port() {
    let gateway = start(with(&["{ name: web, address: 127.0.0.1:0 }"])).await;
    let before = gateway.addr("web");
    let mut kept = Client::connect(before).await;
    assert_eq!(kept.get("/").await.text(), "all");
    let to = unused_address();
    reload(&gateway, &with(&[&format!("{{ name: web, address: {to} }}")])).await;
    gateway.wait_for_stdout(&format!("listening on http://{to} (web)")).await;
    assert_eq!(Client::connect(to).await.get("/").await.text(), "all");
    kept.expect_closed().await;
    refuses(before).await;
}

#[tokio::test]
async fn open_connections_keep_a_listener_that_is_renamed_or_moved_in_the_file() {
    let (one, two) = (unused_address(), unused_address());
    let listener = |name: &str, address: SocketAddr| format!("{{ name: {name}, address: {address} }}");
    let (at_one, at_two) = (|name| listener(name, one), |name| listener(name, two));
    let gateway = start(named_after(&[&at_one("one"), &at_two("two")])).await;
    let (mut first, mut second) = (Client::connect(one).await, Client::connect(two).await);
    for (listeners, of_one, of_two) in [
        ([at_one("one"), at_two("two")], "one", "two"),
        ([at_two("two"), at_one("one")], "one", "two"),
        ([at_one("renamed"), at_two("two")], "renamed", "two"),
        // The two change places, by name.
        ([at_one("two"), at_two("renamed")], "two", "renamed"),
        ([at_two("two"), at_one("one")], "one", "two"),
    ] {
        reload(&gateway, &named_after(&[&listeners[0], &listeners[1]])).await;
        for (address, kept, expected) in [(one, &mut first, of_one), (two, &mut second, of_two)] {
            assert_eq!(kept.get(&format!("/{expected}")).await.text(), expected, "{listeners:?}");
            assert_eq!(Client::connect(address).await.get("/").await.text(), expected, "{listeners:?}");
            let line = gateway.wait_for_stdout(&format!("\"/{expected}\"")).await;
            assert!(line.contains(&format!(r#""listener":"{expected}""#)), "{line}");
        }
    }
}

#[tokio::test]
async fn tls_changes_apply_to_new_connections_and_old_ones_continue_as_they_began() {
    let certificates = Certificates::new();
    let gateway = builder(with(&[WEB]), &certificates, &Origin::answer(named("up"))).start().await;
    let address = gateway.addr("web");
    let tls = certificates.client_config(&["http/1.1"]);
    let mut plain = Client::connect(address).await;
    assert_eq!(plain.get("/").await.text(), "all");
    let mut plain_h2 = Http2Client::connect(address).await;
    assert_eq!(plain_h2.get("http://a.test/").await.body, b"all");

    reload(&gateway, &with(&[&SECURE.replace("name: secure", "name: web")])).await;
    let mut secure = Client::connect_tls(address, &tls, "a.test").await;
    assert_eq!(secure.get("/").await.text(), "all");
    assert_eq!(plain.get("/").await.text(), "all");
    assert_eq!(plain_h2.get("http://a.test/").await.body, b"all");
    let mut no_tls = Client::connect(address).await;
    no_tls.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!no_tls.read_to_end().await.is_ok_and(|answer| answer.starts_with(b"HTTP")));

    reload(&gateway, &with(&[WEB])).await;
    assert_eq!(secure.get("/").await.text(), "all");
    assert_eq!(Client::connect(address).await.get("/").await.text(), "all");
    assert!(Client::try_connect_tls(address, &tls, "a.test").await.is_err());
}

#[tokio::test]
async fn the_proxy_protocol_is_for_new_connections() {
    let origin = Origin::answer(named("up"));
    let proxied = "{ name: web, address: 127.0.0.1:0, proxy_protocol: accept }";
    let trusting = |listener| format!("trusted_proxies: [127.0.0.2]\n{}", with(&[listener]));
    let gateway = builder(trusting(WEB), &Certificates::new(), &origin).start().await;
    let address = gateway.addr("web");
    let proxy = IpAddr::from([127, 0, 0, 2]);
    let header = "PROXY TCP4 192.0.2.7 127.0.0.1 4660 80\r\n";
    let seen = || origin.requests().pop().unwrap().headers.get("x-forwarded-for").unwrap().to_owned();
    let mut plain = Client::connect_from(proxy, address).await;
    plain.get("/up").await;
    assert_eq!(seen(), "127.0.0.2");

    reload(&gateway, &trusting(proxied)).await;
    let mut told = Client::connect_from(proxy, address).await;
    told.send_raw(header).await;
    assert_eq!(told.get("/up").await.status, 200);
    assert_eq!(seen(), "192.0.2.7");
    assert_eq!(plain.get("/up").await.status, 200);
    assert_eq!(seen(), "127.0.0.2");

    reload(&gateway, &trusting(WEB)).await;
    assert_eq!(told.get("/up").await.status, 200);
    assert_eq!(seen(), "192.0.2.7");
    let mut wrong = Client::connect_from(proxy, address).await;
    wrong.send_raw(header).await;
    assert_eq!(wrong.read_response().await.status, 505);
}
