//! Identifiers of requests, from the client to the log.

use support::serde_json::{Value, from_str};
use support::{Client, Gateway, Http2Client, Origin};

use crate::PROGRAM;

fn config(origin: &Origin, request_id: &str) -> String {
    format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
trusted_proxies: [127.0.0.9]
defaults: {{ request_id: {request_id} }}
upstreams: {{ up: {{ url: '{}' }}, gone: {{ url: 'http://127.0.0.1:1' }} }}
routes:
  - {{ match: {{ path: /up }}, upstream: up }}
  - {{ match: {{ path: /gone }}, upstream: gone }}
  - {{ match: {{ path: /denied }}, upstream: up, deny: [127.0.0.1] }}
  - {{ match: {{ path: /off }}, upstream: up, request_id: off }}",
        origin.url()
    )
}

/// Returns the identifier of a response, which must have one.
fn id(response: &support::Response) -> String {
    let ids = response.headers.all("x-request-id");
    assert_eq!(ids.len(), 1, "{ids:?}");
    ids[0].to_owned()
}

fn is_uuid_7(id: &str) -> bool {
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && id.as_bytes()[14] == b'7'
        && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[tokio::test]
async fn upstream_client_and_log_get_the_same_new_identifier() {
    let origin = Origin::answer("HTTP/1.1 200 OK\r\nx-request-id: of-upstream\r\ncontent-length: 0\r\n\r\n");
    let gateway = Gateway::builder(PROGRAM, config(&origin, "on")).start().await;
    let mut client = gateway.client("web").await;
    let forged = [("x-request-id", "forged"), ("X_Request_Id", "forged")];
    let first = id(&client.request("GET", "/up", &forged, b"").await);
    let sent = origin.requests().pop().unwrap().headers;
    assert_eq!((sent.all("x-request-id"), sent.all("x_request_id")), (vec![&*first], vec![]));
    assert!(is_uuid_7(&first), "{first}");
    let line: Value = from_str(&gateway.wait_for_stdout(&first).await).unwrap();
    assert_eq!((&line["request_id"], &line["status"]), (&Value::from(&*first), &Value::from(200)));
    // Errors have one, too.
    for (path, status) in [("/gone", 503), ("/denied", 403)] {
        let response = client.get(path).await;
        let id = id(&response);
        assert_eq!(response.status, status);
        assert!(is_uuid_7(&id) && id > first, "{id} after {first}");
        gateway.wait_for_stdout(&id).await;
    }
    let mut http2 = Http2Client::connect(gateway.addr("web")).await;
    let response = http2.get(&format!("http://{}/up", gateway.addr("web"))).await;
    assert!(is_uuid_7(response.headers["x-request-id"].to_str().unwrap()));
}

#[tokio::test]
async fn identifier_of_a_trusted_proxy_is_kept_if_it_is_one_word() {
    let origin = Origin::echo();
    let gateway = Gateway::builder(PROGRAM, config(&origin, "on")).start().await;
    let mut proxy = Client::connect_from("127.0.0.9".parse().unwrap(), gateway.addr("web")).await;
    let long = "x".repeat(129);
    for (sent, is_kept) in
        [("of-the-proxy/1", true), (&long[..128], true), (&long[..], false), ("a b", false), ("", false)]
    {
        let id = id(&proxy.request("GET", "/up", &[("x-request-id", sent)], b"").await);
        assert_eq!(id == sent, is_kept, "{sent}");
        assert_eq!(origin.requests().pop().unwrap().headers.get("x-request-id"), Some(&*id));
    }
}

#[tokio::test]
async fn field_passes_as_it_is_where_identifiers_are_off_and_a_reload_switches_them() {
    let origin = Origin::echo();
    let gateway = Gateway::builder(PROGRAM, config(&origin, "on")).start().await;
    let mut client = gateway.client("web").await;
    for path in ["/off", "/up", "/off"] {
        let response = client.request("GET", path, &[("x-request-id", "own")], b"").await;
        assert_eq!(origin.requests().pop().unwrap().headers.get("x-request-id"), Some("own"), "{path}");
        assert_eq!(response.header("x-request-id"), None);
        if gateway.generation().await == 1 {
            gateway.reload(&config(&origin, "off")).await;
        }
    }
    gateway.reload(&config(&origin, "on")).await;
    assert!(is_uuid_7(&id(&client.get("/up").await)));
}
