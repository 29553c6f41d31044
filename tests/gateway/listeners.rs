//! Where clients come in: addresses, TLS, and the HTTP/1 versions.

use std::sync::Arc;
use std::{fs, io};

use support::rustls::crypto::aws_lc_rs;
use support::rustls::pki_types::CertificateDer;
use support::rustls::pki_types::pem::PemObject;
use support::rustls::version::TLS12;
use support::rustls::{ClientConfig, RootCertStore};
use support::{Certificates, Client, Gateway, Identity, Origin, wait_until};

use crate::gateway;

/// A route that answers anything, at listeners that a test writes before it.
const HELLO: &str = "
admin: { address: 127.0.0.1:0 }
routes: [{ match: { prefix: / }, respond: { body: hello } }]
";

#[tokio::test]
async fn listeners_on_ipv4_and_ipv6_serve_side_by_side() {
    let gateway = gateway(
        "
listeners:
  - { name: four, address: 127.0.0.1:0 }
  - { name: six, address: '[::1]:0' }
  - { name: other, address: 127.0.0.1:0 }
routes:
  - { match: { prefix: / }, respond: { body: any } }
  - { match: { path: /own }, listeners: [other], respond: { body: own } }",
    )
    .start()
    .await;
    for (listener, path, body) in
        [("four", "/", "any"), ("six", "/", "any"), ("four", "/own", "any"), ("other", "/own", "own")]
    {
        assert_eq!(gateway.client(listener).await.get(path).await.text(), body, "{listener} {path}");
    }
    assert!(gateway.addr("six").is_ipv6());
}

/// One TLS listener `web` with these certificates and further keys of `tls`.
async fn tls_gateway(identities: &[&Identity], keys: &str, protocols: &str) -> Gateway {
    let certificates = identities
        .iter()
        .map(|identity| format!("{{ cert: {}, key: {} }}", identity.cert.display(), identity.key.display()));
    let certificates = certificates.collect::<Vec<_>>().join(", ");
    let listener = format!(
        "
listeners:
  - name: web
    address: 127.0.0.1:0
    protocols: {protocols}
    tls: {{ certificates: [{certificates}] {keys} }}"
    );
    gateway(listener + HELLO).start().await
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate_and_the_first_is_for_all_others() {
    let certificates = Certificates::new();
    let [one, two] = [&["one.test"], &["*.two.test"]].map(|names| certificates.server(names));
    let gateway = tls_gateway(&[&one, &two], "", "[h1]").await;
    let (address, config) = (gateway.addr("web"), certificates.client_config(&[]));
    for name in ["one.test", "a.two.test", "b.two.test", "ONE.test"] {
        let mut client = Client::connect_tls(address, &config, name).await;
        assert_eq!(client.get("/").await.text(), "hello", "{name}");
    }
    for name in ["other.test", "two.test", "a.b.two.test"] {
        let error = Client::try_connect_tls(address, &config, name).await.unwrap_err();
        assert!(error.to_string().contains("one.test"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_chain_without_a_line_break_at_its_border_is_shown_whole() {
    let root = Certificates::new();
    let intermediate = root.intermediate();
    let identity = intermediate.server(&["a.test"]);
    let chain = fs::read_to_string(&identity.cert).unwrap();
    let border = "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----";
    assert!(chain.contains(border));
    fs::write(&identity.cert, chain.replace(border, &border.replace('\n', ""))).unwrap();
    let gateway = tls_gateway(&[&identity], "", "[h1]").await;
    // It knows the root alone, so the certificate in between has to come with the server's own.
    let mut client = Client::connect_tls(gateway.addr("web"), &root.client_config(&[]), "a.test").await;
    assert_eq!(client.get("/").await.text(), "hello");
}

#[tokio::test]
async fn alpn_agrees_on_a_protocol_that_both_sides_speak() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    for (protocols, offered, agreed) in [
        ("[h1, h2]", &["h2", "http/1.1"][..], Some("h2")),
        ("[h1, h2]", &["http/1.1"], Some("http/1.1")),
        ("[h1, h2]", &[], None),
        ("[h1]", &["h2", "http/1.1"], Some("http/1.1")),
        ("[h1]", &[], None),
        // The server's order counts: what both sides speak best.
        ("[h1]", &["http/1.0"], Some("http/1.0")),
        ("[h1, h2]", &["http/1.0"], Some("http/1.0")),
        ("[h1, h2]", &["http/1.0", "http/1.1"], Some("http/1.1")),
        ("[h1, h2]", &["http/1.0", "h2"], Some("h2")),
        ("[h1]", &["http/0.9", "http/1.0", "spdy/3"], Some("http/1.0")),
    ] {
        let gateway = tls_gateway(&[&identity], "", protocols).await;
        let config = certificates.client_config(offered);
        let mut client = Client::connect_tls(gateway.addr("web"), &config, "a.test").await;
        assert_eq!(client.alpn(), agreed.map(str::as_bytes), "{protocols} {offered:?}");
        if agreed != Some("h2") {
            assert_eq!(client.get("/").await.text(), "hello", "{protocols} {offered:?}");
        }
    }
    for (protocols, offered) in [
        ("[h1]", "h2"),
        ("[h2]", "http/1.1"),
        ("[h2]", "http/1.0"),
        ("[h1, h2]", "http/0.9"),
        ("[h1, h2]", "acme-tls/1"),
    ] {
        let gateway = tls_gateway(&[&identity], "", protocols).await;
        let config = certificates.client_config(&[offered]);
        let connected = Client::try_connect_tls(gateway.addr("web"), &config, "a.test").await;
        assert!(connected.is_err(), "{protocols} agreed with {offered}");
    }
}

#[tokio::test]
async fn client_certificates_are_required_or_optional_and_never_of_strangers() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let (known, stranger) = (certificates.client("known"), Certificates::new().client("stranger"));
    let [none, known, stranger] = [
        certificates.client_config(&[]),
        certificates.client_config_with(&known),
        certificates.client_config_with(&stranger),
    ];
    for required in [true, false] {
        let keys = format!(", client_auth: {{ ca: {}, required: {required} }}", certificates.ca().display());
        let gateway = tls_gateway(&[&identity], &keys, "[h1]").await;
        for (who, config, served) in
            [("none", &none, !required), ("known", &known, true), ("stranger", &stranger, false)]
        {
            let answer = get_over_tls(&gateway, config).await;
            assert_eq!(answer.is_ok(), served, "{who}, required: {required}: {answer:?}");
        }
    }
}

/// Returns the response to a client with this TLS configuration; in TLS 1.3 a refused certificate shows only here.
async fn get_over_tls(gateway: &Gateway, config: &Arc<ClientConfig>) -> io::Result<String> {
    let mut client = Client::try_connect_tls(gateway.addr("web"), config, "a.test").await?;
    client.try_send_raw("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await?;
    Ok(client.try_read_response().await?.text())
}

#[tokio::test]
async fn min_version_refuses_older_clients() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.ca()).unwrap()).unwrap();
    let old = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (old, new) = (Arc::new(old), certificates.client_config(&[]));
    for (keys, old_is_served) in [("", true), (", min_version: '1.2'", true), (", min_version: '1.3'", false)]
    {
        let gateway = tls_gateway(&[&identity], keys, "[h1]").await;
        assert_eq!(get_over_tls(&gateway, &old).await.is_ok(), old_is_served, "{keys}");
        assert_eq!(get_over_tls(&gateway, &new).await.unwrap(), "hello", "{keys}");
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_listener_is_closed_and_counted() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["a.test"]);
    let gateway = tls_gateway(&[&identity], "", "[h1]").await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = client.read_to_end().await.unwrap_or_default();
    // A TLS alert at most, and no HTTP.
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    let failures = "gateway_listener_tls_failures_total{listener=\"web\",reason=\"handshake\"}";
    wait_until("the failure is counted", async || gateway.metric(failures).await == Some(1.0)).await;
}

#[tokio::test]
async fn an_http_1_0_client_is_kept_only_if_it_asks_and_gets_no_chunks() {
    let origin =
        Origin::answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let gateway = gateway(format!(
        "
listeners: [{{ name: web, address: 127.0.0.1:0 }}]
routes:
  - {{ match: {{ path: /known }}, respond: {{ body: hello }} }}
  - {{ match: {{ path: /streamed }}, upstream: {{ url: '{}' }} }}",
        origin.url()
    ))
    .start()
    .await;

    let mut client = gateway.client("web").await;
    for _ in 0..2 {
        client.send_raw("GET /known HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n").await;
        let response = client.read_response().await;
        assert_eq!((response.status, response.header("connection")), (200, Some("keep-alive")));
    }
    client.send_raw("GET /known HTTP/1.0\r\n\r\n").await;
    let response = client.read_response().await;
    assert_eq!((response.text().as_str(), response.header("connection")), ("hello", Some("close")));
    client.expect_closed().await;

    // A body of unknown length can only end with the connection, kept or not.
    let mut client = gateway.client("web").await;
    client.send_raw("GET /streamed HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
    let response = client.read_response().await;
    assert_eq!((response.text().as_str(), response.header("connection")), ("hello", Some("close")));
    assert!(!response.headers.has("transfer-encoding") && !response.headers.has("content-length"));
}

#[tokio::test]
async fn a_client_that_says_close_is_closed_after_its_answer() {
    let gateway =
        gateway(String::from("listeners: [{ name: web, address: 127.0.0.1:0 }]") + HELLO).start().await;
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.header("connection"), None);
    let response = client.request("GET", "/", &[("connection", "x, Close")], b"").await;
    assert_eq!(response.header("connection"), Some("close"));
    client.expect_closed().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::echo();
    let gateway = gateway(
        "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes:
  - { match: { path: /local }, respond: { body: local } }
  - { match: { prefix: / }, upstream: { url: '{origin}' } }",
    )
    .set("origin", origin.url())
    .start()
    .await;
    let mut client = gateway.client("web").await;
    let post =
        |body: &str| format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let local = "GET /local HTTP/1.1\r\nhost: a\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n";
    let large = "x".repeat(100_000);
    // Without a read between them, and the last one cut in two.
    let all = [post("one"), chunked.into(), local.into(), post(&large), post("last")].concat();
    let (now, later) = all.split_at(all.len() - 30);
    client.send_raw(now).await;
    for body in ["one", "two", "local", &large] {
        assert_eq!(client.read_response().await.text(), body);
    }
    client.send_raw(later).await;
    assert_eq!(client.read_response().await.text(), "last");
}

#[tokio::test]
async fn a_client_that_half_closes_after_its_request_still_gets_its_answer() {
    let gateway =
        gateway(String::from("listeners: [{ name: web, address: 127.0.0.1:0 }]") + HELLO).start().await;
    let mut client = gateway.client("web").await;
    client.send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.half_close().await;
    assert_eq!(client.read_response().await.text(), "hello");
    client.expect_closed().await;
}
