//! Pairs about TLS.

use support::{Certificates, Client, Origin};

use super::both::{Asked, Both, Proxy};

#[tokio::test]
async fn the_server_name_chooses_the_certificate_of_both() {
    let authority = Certificates::new();
    let section = "Choose the certificate by server name";
    let both = Both::start_secure(section, Origin::echo(), &authority, str::to_owned).await;
    let config = authority.client_config(&["h2", "http/1.1"]);
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        // A certificate for another name would end the handshake.
        for name in ["a.example.com", "b.example.com"] {
            let client = Client::connect_tls(both.addr(proxy), &config, name).await;
            assert_eq!(client.alpn(), Some(&b"h2"[..]), "{proxy:?}");
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_by_both_in_different_places() {
    let authority = Certificates::new();
    let section = "Ask clients for certificates";
    let both = Both::start_secure(section, Origin::echo(), &authority, str::to_owned).await;
    let known = authority.client_config_with(&authority.client("known"));
    let nameless = authority.client_config(&[]);
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        let mut client = Client::connect_tls(both.addr(proxy), &known, "a.example.com").await;
        // Neither block has anything to serve.
        assert_eq!(client.get("/none").await.status, 404, "{proxy:?}");
    }
    let mut client = Client::connect_tls(both.addr(Proxy::Nginx), &nameless, "a.example.com").await;
    assert_eq!(client.get("/none").await.status, 400);
    // In TLS 1.3 the refusal shows at the first read.
    let mut client = Client::connect_tls(both.addr(Proxy::Gateway), &nameless, "a.example.com").await;
    let _refused = client.try_send_raw("GET /none HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.try_read_response().await.is_err());
}

#[tokio::test]
async fn upstreams_see_the_name_and_the_certificate_of_both() {
    let authority = Certificates::new();
    let server = authority.server_config_with_client_auth(&authority.server(&["api.internal"]));
    let origin = Origin::builder().tls(server).echo();
    let both = Both::start_secure("Speak TLS to upstreams", origin, &authority, str::to_owned).await;
    let get = Asked { method: "GET", target: "/", ..Asked::default() };
    for proxy in [Proxy::Nginx, Proxy::Gateway] {
        assert_eq!(both.through(proxy, &get).await.response.status, 200, "{proxy:?}");
    }
    let handshakes = both.origin.handshakes();
    assert_eq!(handshakes.len(), 2, "{handshakes:?}");
    for handshake in handshakes {
        assert_eq!(handshake.sni.as_deref(), Some("api.internal"));
        assert!(handshake.client_certificate.is_some());
    }
}

#[tokio::test]
async fn an_upstream_with_another_name_in_its_certificate_is_refused_by_both() {
    let authority = Certificates::new();
    let origin =
        Origin::builder().tls(authority.server_config(&authority.server(&["other.internal"]))).echo();
    let both = Both::start_secure("Speak TLS to upstreams", origin, &authority, str::to_owned).await;
    let outcome = both.same_get("/").await;
    assert_eq!((outcome.response.status, outcome.target()), (502, None));
}
