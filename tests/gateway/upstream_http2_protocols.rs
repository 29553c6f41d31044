//! The protocol that is spoken to an upstream: as configured, or as the server chooses.

use support::h2::server::Builder;
use support::rustls::ServerConfig;
use support::{Certificates, Origin};

use crate::pooled::{self, OK, number, refusal, settled};

/// Returns the TLS of `localhost` that chooses one of these protocols.
fn offering(certificates: &Certificates, alpn: &[&str]) -> ServerConfig {
    let mut config = certificates.server_config(&certificates.server(&["localhost"]));
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_named() {
    let certificates = Certificates::new();
    let cases = [
        (
            Origin::script(async |mut connection| {
                connection.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
                connection.wait_closed().await;
            }),
            "it sent something else in place of the settings",
        ),
        (Origin::script(async |connection| connection.close().await), "it closed the connection"),
        (
            Origin::builder().tls(offering(&certificates, &[])).answer(OK),
            "does not choose HTTP/2 in the TLS handshake",
        ),
    ];
    for (origin, said) in cases {
        let upstream = format!(
            "{{ url: '{}', protocol: h2{} }}",
            origin.url(),
            if origin.url().starts_with("https") {
                format!(", tls: {{ ca: {} }}", certificates.ca().display())
            } else {
                String::new()
            }
        );
        let gateway = pooled::builder(1, &upstream, "").start().await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!(refusal(&response), (502, "upstream.protocol"), "{said}");
        gateway.wait_for_log(said).await;
        assert_eq!(number(&settled(&gateway).await, "connect_failed"), 2, "the retry is another");
    }
}

#[tokio::test]
async fn auto_speaks_what_the_server_chooses() {
    let certificates = Certificates::new();
    let via = async |origin: &Origin| {
        let upstream = pooled::upstream(origin, &certificates).replace("url:", "protocol: auto, url:");
        let gateway = pooled::builder(1, &upstream, "").start().await;
        let mut asked = Vec::new();
        for _ in 0..5 {
            asked.push(pooled::ask(&gateway, "/").await);
        }
        let mut via = Vec::new();
        for asked in asked {
            via.push(asked.await.unwrap().header("via").unwrap().to_owned());
        }
        via.dedup();
        (via.join(" "), settled(&gateway).await)
    };
    let h2 = Origin::builder()
        .tls(offering(&certificates, &["h2", "http/1.1"]))
        .http2(Builder::new(), async |exchange| exchange.respond("ok"));
    let (version, pool) = via(&h2).await;
    assert_eq!((&*version, number(&pool, "opened")), ("2 gateway", 1), "{pool:#}");
    assert_eq!(h2.handshakes()[0].alpn.as_deref(), Some("h2"));
    for alpn in [&["http/1.1"][..], &[]] {
        let h1 = Origin::builder().tls(offering(&certificates, alpn)).answer(OK);
        assert_eq!(via(&h1).await.0, "1.1 gateway");
    }
    assert_eq!(via(&Origin::answer(OK)).await.0, "1.1 gateway", "without TLS there is nothing to choose");
}

#[tokio::test]
async fn an_upgrade_under_auto_takes_a_connection_of_http_1() {
    let certificates = Certificates::new();
    let config = offering(&certificates, &["h2", "http/1.1"]);
    let origin = Origin::builder().tls(config).script(async |mut connection| {
        let request = connection.read_request().await.unwrap();
        assert_eq!(request.headers.get("upgrade"), Some("websocket"));
        connection
            .write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        connection.echo().await;
    });
    let upstream = pooled::upstream(&origin, &certificates).replace("url:", "protocol: auto, url:");
    let gateway = pooled::builder(1, &upstream, "").start().await;
    let mut client = gateway.client("web").await;
    client
        .send_raw("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.read_response_to_head().await.status, 101);
    client.send_raw("ping").await;
    assert_eq!(client.read_exact(4).await, b"ping");
    assert_eq!(origin.handshakes()[0].alpn.as_deref(), Some("http/1.1"));
}
