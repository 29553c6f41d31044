//! TLS to endpoints.

use support::{Certificates, Origin};

use crate::pooled::{self, OK, closed, number, refusal, settled};

#[tokio::test]
async fn an_https_endpoint_is_asked_for_its_name_and_for_http_1() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost", "api.internal", "127.0.0.1"]);
    let ca = certificates.ca();
    for (host, tls, sni) in [
        ("localhost", "", Some("localhost")),
        ("localhost", ", sni: api.internal", Some("api.internal")),
        ("127.0.0.1", ", sni: api.internal", Some("api.internal")),
        // An address is no server name (RFC 6066 §3).
        ("127.0.0.1", "", None),
    ] {
        let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
        let port = origin.addr().port();
        let upstream = format!("{{ url: 'https://{host}:{port}', tls: {{ ca: {}{tls} }} }}", ca.display());
        let gateway = pooled::builder(1, &upstream, "").start().await;
        let mut client = gateway.client("web").await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.status, 200, "{upstream}");
        }
        let handshakes = origin.handshakes();
        assert_eq!(handshakes.len(), 1, "{upstream}");
        assert_eq!(
            (handshakes[0].sni.as_deref(), handshakes[0].alpn.as_deref()),
            (sni, Some("http/1.1")),
            "{upstream}"
        );
        assert!(handshakes[0].tls13);
        let pool = settled(&gateway).await;
        assert_eq!((number(&pool, "reused"), number(&pool, "tls_handshakes")), (2, 1), "{pool:#}");
    }
}

#[tokio::test]
async fn an_endpoint_whose_certificate_does_not_hold_is_not_trusted() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    for (identity, authority, settings, expected) in [
        (certificates.server(&["localhost"]), &certificates, "", (200, "-")),
        (certificates.server(&["localhost"]), &others, "", (502, "upstream.tls")),
        (certificates.server(&["elsewhere.test"]), &certificates, "", (502, "upstream.tls")),
        (certificates.server(&["localhost"]), &certificates, ", sni: elsewhere.test", (502, "upstream.tls")),
        (certificates.expired(&["localhost"]), &certificates, "", (502, "upstream.tls")),
        (certificates.expired(&["elsewhere.test"]), &others, ", verify: false", (200, "-")),
    ] {
        let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
        let ca = authority.ca();
        let upstream = format!("{{ url: '{}', tls: {{ ca: {}{settings} }} }}", origin.url(), ca.display());
        let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0 }").start().await;
        let response = gateway.client("web").await.get("/").await;
        assert_eq!(refusal(&response), expected, "{upstream}");
        let pool = settled(&gateway).await;
        if expected.0 == 502 {
            assert_eq!(response.text(), "upstream.tls: TLS handshake failed\n");
            assert!(origin.requests().is_empty());
            assert_eq!((number(&pool, "opened"), number(&pool, "connect_failed")), (0, 1), "{pool:#}");
            gateway.wait_for_log("upstream failed").await;
        }
    }
    // Without a CA of its own the system's are asked, which do not know this one.
    let identity = certificates.server(&["localhost"]);
    let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
    let gateway = pooled::builder(1, &format!("{{ url: '{}' }}", origin.url()), "").start().await;
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), (502, "upstream.tls"));
    // And an endpoint that speaks no TLS has none to offer.
    let origin = Origin::script(|mut connection| async move {
        drop(connection.read_some().await);
        connection.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let upstream = format!("{{ url: 'https://{}' }}", origin.addr());
    let gateway = pooled::builder(1, &upstream, "").start().await;
    assert_eq!(refusal(&gateway.client("web").await.get("/").await), (502, "upstream.tls"));
    settled(&gateway).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_who_asks() {
    let certificates = Certificates::new();
    let server = certificates.server(&["localhost"]);
    let client = certificates.client("gateway");
    let (ca, cert, key) = (certificates.ca(), client.cert.display(), client.key.display());
    for (shown, status) in [(format!(", client: {{ cert: {cert}, key: {key} }}"), 200), (String::new(), 502)]
    {
        let origin = Origin::builder().tls(certificates.server_config_with_client_auth(&server)).answer(OK);
        let upstream = format!("{{ url: '{}', tls: {{ ca: {}{shown} }} }}", origin.url(), ca.display());
        let gateway = pooled::builder(1, &upstream, "").start().await;
        assert_eq!(gateway.client("web").await.get("/").await.status, status);
        let certificates: Vec<_> =
            origin.handshakes().into_iter().map(|handshake| handshake.client_certificate).collect();
        if status == 200 {
            assert_eq!(certificates, [Some(client.certificate().to_vec())]);
        } else {
            assert!(certificates.is_empty());
        }
        settled(&gateway).await;
    }
}

#[tokio::test]
async fn sessions_are_resumed_where_connections_are_not_kept() {
    let certificates = Certificates::new();
    let identity = certificates.server(&["localhost"]);
    for workers in [1, 2] {
        let origin = Origin::builder().tls(certificates.server_config(&identity)).answer(OK);
        let upstream = pooled::upstream(&origin, &certificates);
        let gateway = pooled::builder(workers, &upstream, "pool: { keep_alive: false }").start().await;
        for _ in 0..6 {
            assert_eq!(gateway.client("web").await.get("/").await.status, 200);
        }
        assert_eq!((origin.handshakes().len(), origin.resumed()), (6, 5), "{workers} workers");
        let pool = settled(&gateway).await;
        assert_eq!((number(&pool, "tls_handshakes"), number(&pool, "tls_resumed")), (6, 5), "{pool:#}");
        assert_eq!(closed(&pool, "keep_alive_off"), 6);
    }
}
