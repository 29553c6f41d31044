//! Counts of what ways of authentication find out.

use std::fmt::Write as _;

use support::{Client, Gateway, Origin};

use crate::gateway;

/// A server that knows the callers of `x-name`, by the name in hexadecimal digits, but for some.
fn server() -> Origin {
    Origin::respond(|request| {
        let answer = match request.headers.get("x-name") {
            Some("down") => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_owned(),
            Some("banned") => "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned(),
            name => format!(
                "HTTP/1.1 200 OK\r\nx-user: {}\r\ncontent-length: 0\r\n\r\n",
                name.unwrap_or_default()
            ),
        };
        answer.into_bytes()
    })
}

/// The digest of `secret`.
const KEYS: &str =
    "[{ id: kim, key: 'sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b' }]";

fn config(server: &Origin) -> String {
    format!(
        "
workers: 2
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
telemetry: {{ access_log: off }}
auth:
  keys: {{ api_key: {{ header: x-api-key, keys: keys.yaml }} }}
  asked:
    forward: {{ to: server, path: /, timeout: 10s, request_headers: [x-name], identity: x-user }}
    identity_metrics: true
upstreams: {{ server: {{ url: '{}' }} }}
routes:
  - {{ match: {{ path: /keys }}, respond: {{ body: ok }}, auth: [keys] }}
  - {{ match: {{ path: /asked }}, respond: {{ body: ok }}, auth: [asked], require: {{ claims: {{ sub: [ann] }} }} }}
  - {{ match: {{ path: /either }}, respond: {{ body: ok }}, auth: [keys, asked] }}",
        server.url()
    )
}

async fn start(server: &Origin) -> Gateway {
    gateway(config(server)).file("keys.yaml", KEYS).start().await
}

async fn ask(client: &mut Client, path: &str, fields: &[(&str, &str)]) -> u16 {
    client.request("GET", path, fields, b"").await.status
}

async fn outcome(gateway: &Gateway, auth: &str, outcome: &str) -> Option<f64> {
    gateway.metric(&format!("gateway_auth_requests_total{{auth=\"{auth}\",outcome=\"{outcome}\"}}")).await
}

/// The lines of `/metrics` about identities.
async fn identities(gateway: &Gateway) -> Vec<String> {
    let metrics = gateway.metrics().await;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("gateway_identity_requests_total"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn requests_are_counted_by_way_and_outcome() {
    let server = server();
    let gateway = start(&server).await;
    let mut client = gateway.client("web").await;
    for (path, fields, status) in [
        ("/keys", &[("x-api-key", "secret")][..], 200),
        ("/keys", &[("x-api-key", "wrong")], 401),
        ("/keys", &[], 401),
        ("/asked", &[("x-name", "ann")], 200),
        ("/asked", &[("x-name", "ben")], 403),
        ("/asked", &[("x-name", "banned")], 403),
        ("/asked", &[("x-name", "down")], 503),
        ("/either", &[("x-name", "ann")], 200),
        ("/either", &[("x-api-key", "secret"), ("x-name", "ann")], 200),
    ] {
        assert_eq!(ask(&mut client, path, fields).await, status, "{path} {fields:?}");
    }
    for (auth, name, count) in [
        ("keys", "known", Some(2.0)),
        ("keys", "refused", Some(1.0)),
        ("keys", "absent", Some(2.0)),
        ("keys", "unavailable", None),
        ("keys", "responded", None),
        // Also a caller that may not use the route is known.
        ("asked", "known", Some(3.0)),
        ("asked", "responded", Some(1.0)),
        ("asked", "unavailable", Some(1.0)),
        ("asked", "absent", None),
    ] {
        assert_eq!(outcome(&gateway, auth, name).await, count, "{auth} {name}");
    }
    let expected = ["{auth=\"asked\",identity=\"ann\"} 2", "{auth=\"asked\",identity=\"ben\"} 1"];
    assert_eq!(identities(&gateway).await, expected, "none of the way that does not ask for them");
}

#[tokio::test]
async fn counts_outlive_a_reload() {
    let server = server();
    let gateway = start(&server).await;
    let mut client = gateway.client("web").await;
    assert_eq!(ask(&mut client, "/asked", &[("x-name", "ann")]).await, 200);
    gateway.reload(&config(&server).replace("path: /, timeout: 10s", "path: /v2, timeout: 9s")).await;
    assert_eq!(ask(&mut client, "/asked", &[("x-name", "ann")]).await, 200);
    assert_eq!(outcome(&gateway, "asked", "known").await, Some(2.0));
    assert_eq!(identities(&gateway).await, ["{auth=\"asked\",identity=\"ann\"} 2"]);
    gateway.reload(&config(&server).replace("identity_metrics: true", "identity_metrics: false")).await;
    assert_eq!(ask(&mut client, "/asked", &[("x-name", "ann")]).await, 200);
    assert_eq!(outcome(&gateway, "asked", "known").await, Some(3.0));
    assert_eq!(identities(&gateway).await, [""; 0]);
}

#[tokio::test]
async fn identities_are_bounded_and_cannot_break_the_page() {
    let server = server();
    let gateway = start(&server).await;
    let mut client = gateway.client("web").await;
    let mut name = String::new();
    for number in 0..98 {
        name.clear();
        write!(name, "user-{number:03}").unwrap();
        assert_eq!(ask(&mut client, "/either", &[("x-name", &name)]).await, 200);
    }
    for name in ["q\"} 7", "back\\slash", "too late", "", "other"] {
        assert_eq!(ask(&mut client, "/either", &[("x-name", name)]).await, 200);
    }
    let lines = identities(&gateway).await;
    assert_eq!(lines.len(), 101, "{lines:#?}");
    assert!(lines.contains(&"{auth=\"asked\",identity=\"q\\\"} 7\"} 1".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"{auth=\"asked\",identity=\"back\\\\slash\"} 1".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"{auth=\"asked\",identity=\"other\"} 3".to_owned()), "{lines:#?}");
}
