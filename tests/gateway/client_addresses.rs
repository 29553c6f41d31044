//! `allow` and `deny`: the addresses whose clients a route serves.

use support::{Client, Gateway, Origin};

use crate::PROGRAM;

async fn start(origin: &Origin, keys: &str) -> Gateway {
    let config = format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
trusted_proxies: [127.0.0.9]
defaults: {{ deny: [127.0.0.66] }}
routes:
  - {{ name: inside, upstream: {{ url: '{0}' }}, match: {{ prefix: /inside }}, {keys} }}
  - {{ name: open, upstream: {{ url: '{0}' }}, match: {{ prefix: /open }}, deny: off }}
  - {{ name: default, respond: {{ status: 200 }} }}",
        origin.url()
    );
    Gateway::builder(PROGRAM, config).start().await
}

/// Returns the status and the reason of the response to a client with this address.
async fn outcome(gateway: &Gateway, from: &str, path: &str, forwarded: &[&str]) -> (u16, String) {
    let mut client = Client::connect_from(from.parse().unwrap(), gateway.addr("web")).await;
    let fields: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
    let response = client.request("GET", path, &fields, b"").await;
    (response.status, response.header("x-gateway-error").unwrap_or_default().to_owned())
}

fn refused(reason: &str) -> (u16, String) {
    (403, reason.to_owned())
}

const SERVED: (u16, String) = (200, String::new());

#[tokio::test]
async fn smallest_network_that_has_the_client_decides() {
    let origin = Origin::echo();
    let gateway =
        start(&origin, "allow: [127.0.0.0/8], deny: [127.0.1.0/24, 127.0.2.2], limits: { body: off }").await;
    for (from, expected) in [
        ("127.0.0.1", SERVED),
        ("127.0.1.1", refused("deny")),
        ("127.0.2.1", SERVED),
        ("127.0.2.2", refused("deny")),
    ] {
        assert_eq!(outcome(&gateway, from, "/inside", &[]).await, expected, "{from}");
    }
    let gateway = start(&origin, "allow: [127.0.0.0/24, 127.0.1.7], deny: off").await;
    for (from, expected) in [("127.0.0.66", SERVED), ("127.0.1.6", refused("allow")), ("127.0.1.7", SERVED)] {
        assert_eq!(outcome(&gateway, from, "/inside", &[]).await, expected, "{from}");
    }
    for (from, path, expected) in
        [("127.0.0.66", "/", refused("deny")), ("127.0.0.66", "/open", SERVED), ("127.0.0.67", "/", SERVED)]
    {
        assert_eq!(outcome(&gateway, from, path, &[]).await, expected, "{from} {path}");
    }
    // Nothing that was refused has reached the upstream.
    assert_eq!(origin.requests().len(), 2 + 2 + 1);
}

#[tokio::test]
async fn client_cannot_talk_itself_into_a_network() {
    let origin = Origin::echo();
    let gateway = start(&origin, "allow: [10.0.0.0/8, 127.0.0.9], deny: [10.6.0.0/16]").await;
    for (from, forwarded, expected) in [
        // A stranger's field is worth nothing.
        ("127.0.0.1", &["10.0.0.1"][..], refused("allow")),
        ("127.0.0.1", &["127.0.0.9"], refused("allow")),
        // Of a trusted proxy's field, the last entry is the proxy's own word; the ones before it are the client's.
        ("127.0.0.9", &["10.0.0.1"], SERVED),
        ("127.0.0.9", &["10.6.0.1"], refused("deny")),
        ("127.0.0.9", &["10.0.0.1, 192.0.2.1"], refused("allow")),
        ("127.0.0.9", &["10.0.0.1", "192.0.2.1"], refused("allow")),
        ("127.0.0.9", &["192.0.2.1, 10.0.0.1"], SERVED),
        ("127.0.0.9", &["10.0.0.1, 127.0.0.9"], SERVED),
        ("127.0.0.9", &["::ffff:10.6.0.1"], refused("deny")),
        ("127.0.0.9", &["10.0.0.1, nonsense"], SERVED),
        ("127.0.0.9", &[], SERVED),
    ] {
        assert_eq!(outcome(&gateway, from, "/inside", forwarded).await, expected, "{from} {forwarded:?}");
    }
}

#[tokio::test]
async fn reload_changes_who_is_served_on_connections_that_there_are() {
    let config = |allow: &str| {
        format!(
            "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
routes: [{{ allow: [{allow}], respond: {{ status: 200 }} }}]"
        )
    };
    let gateway = Gateway::builder(PROGRAM, config("127.0.0.1")).start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.status, 200);
    gateway.reload(&config("127.0.0.2")).await;
    assert_eq!(client.get("/").await.status, 403);
}
