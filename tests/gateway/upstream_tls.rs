//! TLS to endpoints.

use std::fs;

use rustls::version::{TLS12, TLS13};
use support::{
    Certificates, Identity, MAIL_ADDRESS, Origin, UNKNOWN_CRITICAL_EXTENSION, as_signed_with_md5,
    as_version_1, with_extension,
};

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
async fn a_client_certificate_is_presented_to_a_server_that_requests_one() {
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
            gateway
                .wait_for_log("the server requires a client certificate; name one under `tls.client`")
                .await;
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

/// Asks an origin that shows `shown`, over an upstream with these keys of `tls`. Returns the answer, and the log line of a
/// failure.
async fn ask(
    certificates: &Certificates,
    shown: &Identity,
    tls12: bool,
    keys: &str,
) -> ((u16, String), String) {
    let versions = if tls12 { [&TLS12] } else { [&TLS13] };
    let config = certificates.server_config_of_versions(shown, &versions);
    let origin = Origin::builder().tls(config).answer(OK);
    let upstream = format!("{{ url: '{}', tls: {{ {keys} }} }}", origin.url());
    let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0 }").start().await;
    let response = gateway.client("web").await.get("/").await;
    let (status, reason) = refusal(&response);
    let why = if status == 200 { String::new() } else { gateway.wait_for_log("upstream failed").await };
    ((status, reason.to_owned()), why)
}

#[tokio::test]
async fn a_certificate_that_ca_names_is_trusted_for_exactly_itself() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let own = certificates.self_signed(&["localhost"]);
    let nameless = certificates.self_signed(&[]);
    let old = certificates.rewritten(certificates.self_signed(&[]), as_version_1);
    let signed = certificates.server(&["localhost"]);
    let elsewhere = certificates.self_signed(&["elsewhere.test"]);
    let expired = certificates.self_signed_and_expired(&["localhost"]);
    let twin = others.self_signed(&["localhost"]);
    let bundle = certificates.folder().join("bundle.pem");
    let parts = [&own.cert, &certificates.ca(), &nameless.cert].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&bundle, parts.concat()).unwrap();
    for (name, ca, shown, fault) in [
        ("as openssl req -x509 makes it", &own.cert, &own, None),
        ("without a subjectAltName", &nameless.cert, &nameless, None),
        ("of version 1", &old.cert, &old, None),
        ("one of several", &bundle, &nameless, None),
        ("signed by an authority that is not there", &signed.cert, &signed, None),
        ("signed by an authority beside it", &bundle, &signed, None),
        (
            "for another name",
            &elsewhere.cert,
            &elsewhere,
            Some("is for `elsewhere.test` and not for `localhost`"),
        ),
        ("expired", &expired.cert, &expired, Some("has expired on Mon, 01 Jan 2001")),
        ("another of the same name", &own.cert, &twin, Some("is an authority's (CA:TRUE)")),
        ("another that is expired", &own.cert, &expired, Some("has expired on Mon, 01 Jan 2001")),
        ("one that another authority has signed", &own.cert, &signed, Some("signed by no authority in")),
        ("an authority's that is not named", &certificates.ca(), &own, Some("is an authority's (CA:TRUE)")),
    ] {
        for tls12 in [true, false] {
            let keys = format!("ca: {}", ca.display());
            let (answer, why) = ask(&certificates, shown, tls12, &keys).await;
            match fault {
                None => assert_eq!(answer.0, 200, "{name}, TLS 1.2: {tls12}: {why}"),
                Some(says) => {
                    assert_eq!(answer, (502, "upstream.tls".to_owned()), "{name}, TLS 1.2: {tls12}");
                    assert!(why.contains(says), "{name}, TLS 1.2: {tls12}: {why}");
                }
            }
        }
    }
    // It is trusted for itself, and the key of another server does not become its own by showing it.
    let thief = certificates.mismatched(&["localhost"]);
    for tls12 in [true, false] {
        let keys = format!("ca: {}", thief.cert.display());
        let (answer, why) = ask(&certificates, &thief, tls12, &keys).await;
        assert_eq!(answer.0, 502);
        assert!(why.contains("does not fit a signature"), "{why}");
    }
}

#[tokio::test]
async fn an_odd_certificate_that_ca_names_is_trusted_if_no_name_of_it_has_to_be_read() {
    let certificates = Certificates::new();
    let odd =
        |identity, extension| certificates.rewritten(identity, |der: &[u8]| with_extension(der, extension));
    for (name, shown, fault) in [
        ("a nameless leaf", odd(certificates.self_signed_leaf(&[]), UNKNOWN_CRITICAL_EXTENSION), None),
        ("a nameless root", odd(certificates.self_signed(&[]), UNKNOWN_CRITICAL_EXTENSION), None),
        ("a signed one of version 1", certificates.rewritten(certificates.server(&[]), as_version_1), None),
        (
            "a root with a name",
            odd(certificates.self_signed(&["localhost"]), UNKNOWN_CRITICAL_EXTENSION),
            Some("an extension that is critical and not known here"),
        ),
        (
            "a root with the name of no server",
            odd(certificates.self_signed(&[]), MAIL_ADDRESS),
            Some("names no server (subjectAltName); issue it for `localhost`"),
        ),
    ] {
        for tls12 in [true, false] {
            let (answer, why) =
                ask(&certificates, &shown, tls12, &format!("ca: {}", shown.cert.display())).await;
            assert_eq!(answer.0, if fault.is_some() { 502 } else { 200 }, "{name}, TLS 1.2: {tls12}: {why}");
            assert!(why.contains(fault.unwrap_or_default()), "{name}, TLS 1.2: {tls12}: {why}");
            assert!(!why.contains("under `tls.ca`"), "{name}, TLS 1.2: {tls12}: {why}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_ca_names_vouches_for_others_only_if_it_may_sign() {
    let certificates = Certificates::new();
    let root = certificates.self_signed(&[]);
    let old_root = certificates.rewritten(certificates.self_signed(&[]), as_version_1);
    let leaf = certificates.self_signed_leaf(&[]);
    let expired_root = certificates.self_signed_and_expired(&[]);
    let signs_nothing = certificates.self_signed_without_key_cert_sign(&[]);
    for (name, signer, is_accepted) in [
        ("a root", &root, true),
        ("a root of version 1", &old_root, true),
        ("a root that has expired", &expired_root, true),
        ("a leaf", &leaf, false),
        ("one whose keyUsage lacks keyCertSign", &signs_nothing, false),
    ] {
        let shown = certificates.signed_by(signer, &["localhost"]);
        let (answer, why) =
            ask(&certificates, &shown, false, &format!("ca: {}", signer.cert.display())).await;
        assert_eq!(answer.0, if is_accepted { 200 } else { 502 }, "{name}: {why}");
        assert!(is_accepted || why.contains("signed by no authority in"), "{name}: {why}");
    }
}

#[tokio::test]
async fn without_verification_any_certificate_will_do_if_the_server_has_its_key() {
    let certificates = Certificates::new();
    let made = |names: &[&str]| certificates.server(names);
    let garbled = |der: &[u8]| {
        // The signature is not looked at, and neither are the extensions.
        let mut der = der.to_vec();
        let length = der.len();
        der[length - 40..].fill(0xff);
        der
    };
    for (name, shown) in [
        ("of version 1", certificates.rewritten(made(&["localhost"]), as_version_1)),
        ("signed with MD5", certificates.rewritten(made(&["localhost"]), as_signed_with_md5)),
        ("with another signature", certificates.rewritten(made(&["localhost"]), garbled)),
        ("expired", certificates.expired(&["elsewhere.test"])),
        ("self-signed", certificates.self_signed(&[])),
        ("a client's", certificates.client("gateway")),
    ] {
        for tls12 in [true, false] {
            let (answer, why) = ask(&certificates, &shown, tls12, "verify: false").await;
            assert_eq!(answer.0, 200, "{name}, TLS 1.2: {tls12}: {why}");
        }
    }
    for tls12 in [true, false] {
        let (answer, why) =
            ask(&certificates, &certificates.mismatched(&["localhost"]), tls12, "verify: false").await;
        assert_eq!(answer, (502, "upstream.tls".to_owned()), "the key is another's, TLS 1.2: {tls12}");
        assert!(why.contains("does not fit a signature"), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_another_tls_or_none_is_named_in_the_log() {
    // Alerts of servers with older versions, or other suites, alone; and the hello of one that chooses TLS 1.0.
    let old_hello =
        [&b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01"[..], &[7; 32], b"\x00\x00\x2f\x00"].concat();
    for (answer, says) in [
        (b"\x15\x03\x01\x00\x02\x02\x46".to_vec(), "neither TLS 1.2 nor TLS 1.3"),
        (old_hello, "neither TLS 1.2 nor TLS 1.3"),
        (b"\x15\x03\x03\x00\x02\x02\x28".to_vec(), "TLS 1.2 with ECDHE and AES-GCM"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "write `http://`"),
        (Vec::new(), "may not speak TLS"),
    ] {
        let origin = Origin::script(move |mut connection| {
            let answer = answer.clone();
            async move {
                connection.read_some().await;
                connection.write(answer).await;
            }
        });
        for keys in ["", ", tls: { verify: false }"] {
            let upstream = format!("{{ url: 'https://{}'{keys} }}", origin.addr());
            let gateway = pooled::builder(1, &upstream, "retry: { attempts: 0 }").start().await;
            assert_eq!(refusal(&gateway.client("web").await.get("/").await), (502, "upstream.tls"));
            let line = gateway.wait_for_log("upstream failed").await;
            assert!(line.contains(says), "{says}: {line}");
        }
    }
}
