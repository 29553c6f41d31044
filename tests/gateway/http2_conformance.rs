//! Conformance to RFC 9113 and RFC 7541, section by section, with frames that are written by hand on real sockets.
//!
//! The public conformance suite for HTTP/2 servers has 146 cases, and one more in its strict mode. It follows RFC 7540, which
//! RFC 9113 obsoletes. Each of its groups has one of ours by the same number, with all of its cases in our own words:
//!
//! | public group | ours |
//! |---|---|
//! | generic 1 to 5 | [`generic`] |
//! | http2 3.5, 4.1, 4.2, 4.3, 5.4.1, 5.5, 7 | [`framing`] |
//! | http2 5.1, 5.1.1, 5.1.2, 5.3.1 | [`streams`] |
//! | http2 6.1 to 6.4, 6.7, 6.8, 6.10, 8.2 | [`frames`] |
//! | http2 6.5, 6.5.2, 6.5.3, 6.9, 6.9.1, 6.9.2 | [`settings`] |
//! | http2 8.1, 8.1.2, 8.1.2.1, 8.1.2.2, 8.1.2.3, 8.1.2.6 | [`messages`] |
//! | hpack 2.3.3, 4.2, 5.2, 6.1, 6.3 | [`compression`] |
//!
//! Where that suite accepts several outcomes, such as any close in place of an error, ours demand the one of the RFC.
//! [`upstream`] has the cases of a client, which the gateway is to its upstreams.

mod case;
mod compression;
mod frames;
mod framing;
mod generic;
mod messages;
mod settings;
mod streams;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use support::rustls::ClientConfig;
use support::{Certificates, Client, Gateway, Origin};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway;
use crate::raw_frames::*;
use case::{Case, Peer, Socket, headers};

/// The cases of a section, by the number of the public suite's group, and the section of RFC 9113 or RFC 7541 that rules now.
struct Group {
    name: &'static str,
    rfc: &'static str,
    cases: Vec<Case>,
}

/// The time for a case. Each takes milliseconds; one that fails may wait in vain.
const CASE_TIME: Duration = Duration::from_secs(20);

/// The groups of the public suite, each with its number of cases. The one of its strict mode is in 5.4.1.
const PUBLIC: [(&str, usize); 49] = [
    ("generic 1", 1),
    ("generic 2", 5),
    ("generic 3.1", 3),
    ("generic 3.2", 3),
    ("generic 3.3", 5),
    ("generic 3.4", 1),
    ("generic 3.5", 1),
    ("generic 3.7", 1),
    ("generic 3.8", 1),
    ("generic 3.9", 2),
    ("generic 3.10", 2),
    ("generic 4", 4),
    ("generic 5", 15),
    ("http2 3.5", 2),
    ("http2 4.1", 3),
    ("http2 4.2", 3),
    ("http2 4.3", 3),
    ("http2 5.1", 13),
    ("http2 5.1.1", 2),
    ("http2 5.1.2", 1),
    ("http2 5.3.1", 2),
    ("http2 5.4.1", 2),
    ("http2 5.5", 2),
    ("http2 6.1", 3),
    ("http2 6.2", 4),
    ("http2 6.3", 2),
    ("http2 6.4", 3),
    ("http2 6.5", 3),
    ("http2 6.5.2", 5),
    ("http2 6.5.3", 2),
    ("http2 6.7", 4),
    ("http2 6.8", 1),
    ("http2 6.9", 3),
    ("http2 6.9.1", 3),
    ("http2 6.9.2", 3),
    ("http2 6.10", 6),
    ("http2 7", 2),
    ("http2 8.1", 1),
    ("http2 8.1.2", 1),
    ("http2 8.1.2.1", 4),
    ("http2 8.1.2.2", 2),
    ("http2 8.1.2.3", 7),
    ("http2 8.1.2.6", 2),
    ("http2 8.2", 1),
    ("hpack 2.3.3", 2),
    ("hpack 4.2", 1),
    ("hpack 5.2", 3),
    ("hpack 6.1", 1),
    ("hpack 6.3", 1),
];

#[test]
fn each_group_of_the_public_suite_has_ours_with_at_least_as_many_cases() {
    let all = [generic::groups, framing::groups, streams::groups, frames::groups, settings::groups];
    let all = all.into_iter().chain([messages::groups as fn() -> _, compression::groups]);
    let mut ours: Vec<Group> = all.flat_map(|groups| groups()).collect();
    for (name, count) in PUBLIC {
        let group = ours.iter().position(|group| group.name == name).unwrap_or_else(|| panic!("no {name}"));
        let group = ours.swap_remove(group);
        assert!(group.cases.len() >= count, "{name} has {} of {count} cases", group.cases.len());
    }
    assert!(ours.is_empty(), "{}", ours[0].name);
    assert_eq!(PUBLIC.iter().map(|(_, count)| count).sum::<usize>(), 146 + 1);
}

/// A request for a response of the gateway, `hello`.
const HELLO: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a.test")];

/// A request for an origin that echoes the body.
const ECHO: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "https"), (":path", "/echo"), (":authority", "a.test")];

/// A request for an origin that never responds, so that only its client can end the stream.
const HELD: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "https"), (":path", "/held"), (":authority", "a.test")];

/// A whole request for `hello`.
fn hello(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, HELLO)
}

/// The head of a request, as the beginning of a stream that stays open.
fn open(stream: u32) -> Vec<u8> {
    headers(stream, 0, HELD)
}

/// A whole request whose stream stays half-closed.
fn half_closed(stream: u32) -> Vec<u8> {
    headers(stream, END_STREAM, HELD)
}

/// The fields of a request with further ones.
fn with(
    fields: &[(&'static str, &'static str)],
    more: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    [fields, more].concat()
}

/// A gateway with TLS, and what its clients need.
struct Downstream {
    gateway: Gateway,
    client: Arc<ClientConfig>,
    _certificates: Certificates,
    _origins: [Origin; 2],
}

impl Downstream {
    async fn start() -> Self {
        let certificates = Certificates::new();
        let identity = certificates.server(&["a.test"]);
        let (echo, held) = (
            Origin::echo(),
            Origin::script(async |mut connection| {
                connection.wait_closed().await;
            }),
        );
        let gateway = gateway(
            "
listeners:
  - name: web
    address: 127.0.0.1:0
    http2: { stream_window: 64KiB, connection_window: 128KiB }
    tls: { certificates: [{ cert: '{cert}', key: '{key}' }] }
admin: { address: 127.0.0.1:0 }
telemetry: { access_log: off }
routes:
  - { name: test, match: { prefix: /, headers: { x-test: test } }, respond: { body: seen } }
  - { name: agent, match: { prefix: /, headers: { user-agent: test } }, respond: { body: seen } }
  - { name: codings, match: { prefix: /, headers: { accept-encoding: 'gzip, deflate' } }, respond: { body: seen } }
  - { name: echo, match: { path: /echo }, upstream: { url: '{echo}' } }
  - { name: held, match: { path: /held }, upstream: { url: '{held}' } }
  - { name: hello, match: { prefix: / }, respond: { body: hello } }",
        )
        .set("cert", identity.cert.display())
        .set("key", identity.key.display())
        .set("echo", echo.url())
        .set("held", held.url())
        .start()
        .await;
        let client = certificates.client_config(&["h2"]);
        Self { gateway, client, _certificates: certificates, _origins: [echo, held] }
    }

    /// Runs a case on a connection of its own.
    async fn run(&self, case: &Case) -> Result<(), String> {
        let client = Client::connect_tls(self.gateway.addr("web"), &self.client, "a.test").await;
        if client.alpn() != Some(b"h2") {
            return Err(format!("ALPN agreed on {:?}", client.alpn()));
        }
        let mut peer = Peer::new(Socket::Client(Box::new(client)));
        if !case.is_raw {
            peer.write(&[PREFACE, &case::settings(&[])].concat()).await;
        }
        case.run(&mut peer).await
    }
}

/// Runs the cases of groups, all at the same time, against one gateway, and names all that fail.
async fn run(groups: Vec<Group>) {
    let downstream = Arc::new(Downstream::start().await);
    let mut running = JoinSet::new();
    for Group { name, rfc, cases } in groups {
        for case in cases {
            let downstream = downstream.clone();
            running.spawn(async move {
                let title = format!("{name} ({rfc}): {}", case.name);
                let ended = timeout(CASE_TIME, downstream.run(&case)).await;
                let outcome = ended.unwrap_or_else(|_| Err("the gateway is silent".to_owned()));
                outcome.map_err(|error| format!("{title}\n    {error}"))
            });
        }
    }
    report(running).await;
}

/// Waits for the cases, and panics with those that fail.
async fn report(mut running: JoinSet<Result<(), String>>) {
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(outcome) => failed.extend(outcome.err()),
            Err(panicked) => failed.push(panicked.to_string()),
        }
    }
    assert!(failed.is_empty(), "{} cases fail:\n{}", failed.len(), failed.join("\n"));
}
