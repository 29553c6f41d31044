//! `mtls`: clients by their certificates, over HTTP/1.1, HTTP/2 and resumed sessions.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::bytes::Bytes;
use support::http;
use support::rustls::ClientConfig;
use support::{Certificates, Client, Gateway, Http2Client, Origin, Response};

use crate::pooled::OK;
use crate::reloading::check;

const ROUTES: &str = "
auth:
  dns: { mtls: { san: ['*.internal'] } }
  spiffe: { mtls: { san: ['spiffe://example.org/ns/*'], forward: client-cert-chain } }
  named: { mtls: { subject: [worker, 'CN=exact, O=Example\\, Inc'] } }
  issued: { mtls: { issuer: ['tests'' intermediate authority'] } }
  any: { mtls: { forward: client-cert } }
  ops: { basic: { users: users.htpasswd } }
routes:
  - { name: open, match: { path: /open }, upstream: { url: '{origin}' } }
  - { name: dns, match: { path: /dns }, upstream: { url: '{origin}' }, auth: [dns] }
  - { name: spiffe, match: { path: /spiffe }, upstream: { url: '{origin}' }, auth: [spiffe] }
  - { name: named, match: { path: /named }, upstream: { url: '{origin}' }, auth: [named] }
  - { name: issued, match: { path: /issued }, upstream: { url: '{origin}' }, auth: [issued] }
  - { name: any, match: { path: /any }, upstream: { url: '{origin}' }, auth: [any] }
  - { name: either, match: { path: /either }, upstream: { url: '{origin}' }, auth: [ops, dns] }
  - { name: both, match: { path: /both }, upstream: { url: '{origin}' }, auth: { all: [ops, dns] } }
";

const LISTENERS: &str = "
listeners:
  - name: web
    address: 127.0.0.1:0
    tls: { certificates: [{ cert: '{cert}', key: '{key}' }], client_auth: { ca: '{ca}', required: false } }
admin: { address: 127.0.0.1:0 }
";

/// A gateway that requests certificates of one authority, and its upstream.
struct Site {
    certificates: Certificates,
    origin: Origin,
    gateway: Gateway,
}

impl Site {
    async fn start() -> Self {
        let (certificates, origin) = (Certificates::new(), Origin::answer(OK));
        let server = certificates.server(&["a.test"]);
        let gateway = crate::gateway(format!("{LISTENERS}{ROUTES}"))
            .set("cert", server.cert.display())
            .set("key", server.key.display())
            .set("ca", certificates.ca().display())
            .set("origin", origin.url())
            .file("users.htpasswd", "ann:$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe\n")
            .start()
            .await;
        Self { certificates, origin, gateway }
    }

    fn config(&self, common_name: &str, names: &[&str]) -> Arc<ClientConfig> {
        self.certificates.client_config_with(&self.certificates.client_with_names(common_name, names))
    }

    async fn connect(&self, config: &Arc<ClientConfig>) -> Client {
        Client::connect_tls(self.gateway.addr("web"), config, "a.test").await
    }

    async fn get(&self, config: &Arc<ClientConfig>, path: &str) -> Response {
        self.connect(config).await.get(path).await
    }

    /// Returns the values of a field of the last request that the upstream got.
    fn sent(&self, name: &str) -> Vec<String> {
        let request = self.origin.requests().pop().unwrap();
        request.headers.all(name).into_iter().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn route_serves_those_whose_certificate_has_a_listed_name() {
    let site = Site::start().await;
    let worker = site.config("worker", &["a.b.internal"]);
    let exact = site.config("exact", &["internal", "spiffe://example.org/ns/prod/api"]);
    let other = site.config("other", &["b.example", "spiffe://example.org/ns/../admin"]);
    for (who, config, paths, reason) in [
        ("worker", &worker, ["/dns", "/named", "/any", "/open"], ("/spiffe", "auth.mtls.san")),
        ("exact", &exact, ["/spiffe", "/named", "/any", "/open"], ("/dns", "auth.mtls.san")),
        ("other", &other, ["/any", "/open", "/any", "/open"], ("/named", "auth.mtls.subject")),
        ("other", &other, ["/any", "/open", "/any", "/open"], ("/spiffe", "auth.mtls.san")),
        ("worker", &worker, ["/any", "/open", "/any", "/open"], ("/issued", "auth.mtls.issuer")),
    ] {
        for path in paths {
            assert_eq!(site.get(config, path).await.status, 200, "{who} {path}");
        }
        let refused = site.get(config, reason.0).await;
        assert_eq!((refused.status, refused.header("x-gateway-error")), (403, Some(reason.1)), "{who}");
        assert_eq!(refused.header("www-authenticate"), None);
    }
    let none = site.certificates.client_config(&[]);
    assert_eq!(site.get(&none, "/open").await.status, 200);
    let refused = site.get(&none, "/any").await;
    assert_eq!((refused.status, refused.header("x-gateway-error")), (403, Some("auth.required")));

    // An authority below the one that is trusted has signed this one.
    let intermediate = site.certificates.intermediate();
    let identity = intermediate.client_with_names("below", &["c.internal"]);
    let below = site.certificates.client_config_with(&identity);
    assert_eq!(site.get(&below, "/issued").await.status, 200);
}

#[tokio::test]
async fn certificate_is_one_way_among_others() {
    let site = Site::start().await;
    let (none, worker) = (site.certificates.client_config(&[]), site.config("worker", &["a.internal"]));
    let password = ("authorization", "Basic YW5uOm9wZW4gc2VzYW1l");
    for (path, config, fields, expected) in [
        ("/either", &none, &[][..], 401),
        ("/either", &none, &[password], 200),
        ("/either", &worker, &[], 200),
        ("/both", &worker, &[], 401),
        ("/both", &none, &[password], 401),
        ("/both", &worker, &[password], 200),
    ] {
        let response = site.connect(config).await.request("GET", path, fields, b"").await;
        assert_eq!(response.status, expected, "{path} {fields:?}");
    }
}

#[tokio::test]
async fn resumed_session_and_http_2_have_the_certificate_of_their_handshake() {
    let site = Site::start().await;
    let worker = site.config("worker", &["a.internal"]);
    assert_eq!(site.get(&worker, "/dns").await.status, 200);
    let mut resumed = site.connect(&worker).await;
    assert!(resumed.is_resumed());
    assert_eq!(resumed.get("/dns").await.status, 200);
    assert_eq!(resumed.get("/spiffe").await.status, 403);

    let mut h2 = ClientConfig::clone(&worker);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = Http2Client::connect_tls(site.gateway.addr("web"), &Arc::new(h2), "a.test").await;
    assert_eq!(client.get("https://a.test/dns").await.status, 200);
    assert_eq!(client.get("https://a.test/spiffe").await.status, 403);
    let forged = http::Request::get("https://a.test/any").header("client-cert", ":Zm9yZ2Vk:");
    assert_eq!(client.request(forged.body(Bytes::new()).unwrap()).await.status, 200);
    let sent = site.sent("client-cert");
    assert!(sent.len() == 1 && sent[0] != ":Zm9yZ2Vk:", "{sent:?}");
}

#[tokio::test]
async fn upstream_gets_the_certificate_and_no_forged_one() {
    let site = Site::start().await;
    let intermediate = site.certificates.intermediate();
    let identity = intermediate.client_with_names("below", &["a.internal", "spiffe://example.org/ns/x"]);
    let config = site.certificates.client_config_with(&identity);
    let own = format!(":{}:", STANDARD.encode(identity.certificate()));
    let forged = [
        ("client-cert", ":Zm9yZ2Vk:"),
        ("Client_Cert", ":Zm9yZ2Vk:"),
        ("client-cert-chain", ":Zm9yZ2Vk:"),
        // A client that names the field here would have it removed behind the gateway's own.
        ("connection", "client-cert, client-cert-chain"),
    ];
    for (path, certs, chains) in [("/any", 1, 0), ("/spiffe", 1, 1), ("/dns", 0, 0)] {
        let response = site.connect(&config).await.request("GET", path, &forged, b"").await;
        assert_eq!(response.status, 200);
        let sent = site.sent("client-cert");
        assert_eq!(sent, vec![own.clone(); certs], "{path}");
        let chain = site.sent("client-cert-chain");
        assert!(chain.len() == chains && chain.iter().all(|chain| chain.starts_with(":MII")), "{chain:?}");
        assert_eq!(site.sent("client_cert"), [""; 0], "{path}");
    }
    // Another route passes on what comes.
    let none = site.certificates.client_config(&[]);
    site.connect(&none).await.request("GET", "/open", &forged[..1], b"").await;
    assert_eq!(site.sent("client-cert"), [":Zm9yZ2Vk:"]);
}

#[tokio::test]
async fn route_that_no_listener_with_client_auth_serves_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let config = "
listeners:
  - { name: plain, address: 127.0.0.1:8080 }
auth: { machines: { mtls: {} } }
routes:
  - { name: closed, match: { path: / }, respond: {}, auth: [machines] }
";
    std::fs::write(&file, config).unwrap();
    let output = check(&file, &[]).await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("`machines` is `mtls`") && errors.contains("client_auth"), "{errors}");
    assert!(errors.contains("gateway.yaml:6:"), "{errors}");
}
