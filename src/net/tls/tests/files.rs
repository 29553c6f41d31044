//! The errors of files that cannot be used.

use std::path::Path;

use support::{
    MAIL_ADDRESS, MALFORMED_EXTENSION, UNKNOWN_CRITICAL_EXTENSION, as_version_1, with_extension,
    with_unreadable_dates,
};

use super::*;

#[test]
fn each_bad_file_is_one_sentence_with_the_file_and_what_to_change() {
    let certificates = Certificates::new();
    let good = certificates.server(&["localhost"]);
    let mismatched = certificates.mismatched(&["localhost"]);
    let write = |name: &str, content: &str| {
        let path = certificates.folder().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let empty = write("empty.pem", "");
    let cut = write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let garbage = write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let weak = write("weak.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    // An empty SEQUENCE.
    let empty_key = write("empty.key", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n");
    let missing = certificates.folder().join("missing.pem");

    let with = |cert: &Path, key: &Path| CertificateFiles { cert: cert.to_owned(), key: key.to_owned() };
    for (files, says) in [
        (with(&missing, &good.key), "cannot read `"),
        (with(&good.cert, &missing), "cannot read `"),
        (with(&empty, &good.key), "holds no certificate"),
        (with(&good.key, &good.key), "holds no certificate"),
        (with(&good.cert, &good.cert), "holds no private key"),
        (
            with(&cut, &good.key),
            "line 1: the block that begins here never ends: `-----END CERTIFICATE-----` is missing",
        ),
        (with(&garbage, &good.key), "line 1: the block `CERTIFICATE` is damaged"),
        (with(&good.cert, &weak), "line 1: the block `PRIVATE KEY` is damaged"),
        (with(&good.cert, &empty_key), "line 1: the key cannot be used; it has to be RSA of 2048"),
        (files(&mismatched), "does not belong to"),
    ] {
        let blamed = [&files.cert, &files.key].map(|path| format!("`{}`", path.display()));
        let tls = ServerTls { certificates: vec![files], ..listener(&[]) };
        let error = server_of(&tls).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(blamed.iter().any(|path| error.contains(path)), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    assert!(matches!(server_of(&listener(&[])), Err(TlsError::NoIdentity)));

    let mut no_authority = listener(&[&good]);
    no_authority.client_auth = Some(ClientAuth { ca: empty, crl: Vec::new(), required: true });
    assert!(server_of(&no_authority).unwrap_err().to_string().contains("empty.pem` holds no certificate"));
    let no_authority = ClientTls { ca: Some(missing), verify: false, ..ClientTls::default() };
    assert!(client_of(&no_authority).unwrap_err().to_string().contains("missing.pem"));
    let wrong_key = ClientTls { identity: Some(self::files(&mismatched)), ..ClientTls::default() };
    assert!(matches!(client_of(&wrong_key), Err(TlsError::KeyMismatch { .. })));
}

/// A list as `openssl ca -gencrl` makes it without `crl_extensions` in its configuration.
const VERSION_1_LIST: &str = "\
-----BEGIN X509 CRL-----\n\
MIIBbDBWMA0GCSqGSIb3DQEBCwUAMBExDzANBgNVBAMMBnRlc3RjYRcNMjYxMTI4\n\
MjE1MzEyWhcNMjYxMjI4MjE1MzEyWjAUMBICAQIXDTI2MTEyODIxNTMxMlowDQYJ\n\
KoZIhvcNAQELBQADggEBAGQxsV7IbSM9mFBGr3XOBdncga4dA0EffwHF/sA7SQZy\n\
qFhKrxZNrIHxXsUGFryWr5zY79NwcILpOT7DXqf4VBFwZZ8Z8QEspCxMcpz6FeSN\n\
I6P9CV1r4IIn4jzgvA50QMEtP6Ul1l10EcnLRk5XNRBfnxfbGPxC3Vb4NXtE1orN\n\
2gNWIFjNAHYKTFFvkLb+Xu4l51WErn7knFP0AdVdpVHpWKwJfVGVQ11C88Bbo7wJ\n\
rz3d3gXAfQdnc5J4HADWjfPlt8NUT9zn6/UJOhMiYsc4gpsACvKOFzBJPGeK8CYU\n\
/qAUHQ1WFMfu4pi/f7dNzXj8oriEcI28zr+Ld0a2qug=\n\
-----END X509 CRL-----\n\
";

#[test]
fn material_of_version_1_is_refused_as_such() {
    let certificates = Certificates::new();
    let old = certificates.rewritten(certificates.server(&["localhost"]), as_version_1);
    let error = server_of(&listener(&[&old])).unwrap_err().to_string();
    assert!(error.contains("line 1: the certificate cannot be used: it is of X.509 version 1"), "{error}");

    let path = certificates.folder().join("old.crl");
    fs::write(&path, VERSION_1_LIST).unwrap();
    let mut tls = listener(&[&certificates.server(&["localhost"])]);
    tls.client_auth = Some(ClientAuth { ca: certificates.ca(), crl: vec![path], required: true });
    let error = server_of(&tls).unwrap_err().to_string();
    assert!(
        error.contains("old.crl`, line 1: the revocation list cannot be used: it is of version 1"),
        "{error}"
    );
}

#[test]
fn a_second_revocation_list_of_one_issuer_is_refused() {
    let root = Certificates::new();
    let (server, bad) = (root.server(&["localhost"]), root.client("bad"));
    let path = root.folder().join("both.crl");
    fs::write(&path, [root.revocation_list(&[], 2099), root.revocation_list(&[&bad], 2099)].concat())
        .unwrap();
    let mut tls = listener(&[&server]);
    tls.client_auth = Some(ClientAuth { ca: root.ca(), crl: vec![path], required: true });
    let error = server_of(&tls).err().unwrap().to_string();
    assert!(error.contains("another list of the same issuer"), "{error}");
}

/// Returns certificates of all sorts: a name, the certificate, the flaw that keeps it from being an authority's, and
/// the flaw that keeps a server from showing it if it is not an authority's.
fn oddities(certificates: &Certificates) -> Vec<(&'static str, Identity, Option<&str>, Option<&str>)> {
    let rewritten =
        |identity, extension| certificates.rewritten(identity, |der: &[u8]| with_extension(der, extension));
    let root = || certificates.self_signed(&["localhost"]);
    let leaf = || certificates.self_signed_leaf(&["localhost"]);
    let nameless = || certificates.self_signed_leaf(&[]);
    let (no_authority, malformed) = (Some("lack CA:TRUE"), Some("its extensions are malformed"));
    let dates = Some("its dates cannot be read");
    let unreadable_dates = |identity| certificates.rewritten(identity, with_unreadable_dates);
    let version_1 = |identity| certificates.rewritten(identity, as_version_1);
    let bare = certificates.self_signed_without_key_cert_sign(&["localhost"]);
    vec![
        ("a root", root(), None, None),
        ("a leaf", leaf(), no_authority, None),
        ("a leaf for an address", certificates.self_signed_leaf(&["127.0.0.1"]), no_authority, None),
        ("a leaf that an authority has signed", certificates.server(&["localhost"]), no_authority, None),
        ("a key that signs no certificates", bare, Some("lacks keyCertSign"), None),
        ("a root of version 1", version_1(certificates.self_signed(&[])), None, None),
        ("a signed one of version 1", version_1(certificates.server(&[])), Some("it is of version 1"), None),
        ("a root with a critical extension", rewritten(root(), UNKNOWN_CRITICAL_EXTENSION), None, None),
        (
            "a leaf with a critical extension",
            rewritten(leaf(), UNKNOWN_CRITICAL_EXTENSION),
            no_authority,
            Some("an extension that is critical and not known here"),
        ),
        (
            "a nameless leaf with a critical extension",
            rewritten(nameless(), UNKNOWN_CRITICAL_EXTENSION),
            no_authority,
            None,
        ),
        ("a root for a mail address", rewritten(certificates.self_signed(&[]), MAIL_ADDRESS), None, None),
        (
            "a leaf for a mail address",
            rewritten(nameless(), MAIL_ADDRESS),
            no_authority,
            Some("neither a DNS name nor an IP address"),
        ),
        ("a root with a malformed extension", rewritten(root(), MALFORMED_EXTENSION), malformed, malformed),
        ("a leaf with a malformed extension", rewritten(leaf(), MALFORMED_EXTENSION), malformed, malformed),
        ("a nameless malformed leaf", rewritten(nameless(), MALFORMED_EXTENSION), malformed, malformed),
        ("two subjectAltNames", rewritten(leaf(), MAIL_ADDRESS), malformed, malformed),
        ("a root with unreadable dates", unreadable_dates(root()), dates, dates),
        ("a leaf with unreadable dates", unreadable_dates(leaf()), dates, dates),
    ]
}

/// Checks that a file is rejected for the expected flaw, or accepted without one. Returns the error.
fn check_refusal<T>(name: &str, result: Result<T, TlsError>, flaw: Option<&str>) -> Option<String> {
    let error = result.err().map(|error| error.to_string());
    match (&error, flaw) {
        (Some(text), Some(flaw)) => {
            let place = "line 1: the certificate cannot be used: ";
            assert!(text.contains(flaw) && text.contains(place), "{name}: {text}");
        }
        (None, None) => {}
        _ => panic!("{name}: {error:?} and not {flaw:?}"),
    }
    error
}

#[test]
fn a_certificate_in_tls_ca_is_refused_if_no_handshake_could_use_it() {
    let certificates = Certificates::new();
    for (name, identity, _, flaw) in oddities(&certificates) {
        let result = client_of(&ClientTls { ca: Some(identity.cert), ..ClientTls::default() });
        let error = check_refusal(name, result, flaw);
        let way_out = "remove `tls.ca` and set `tls.verify: false`";
        assert!(error.is_none_or(|text| text.contains(way_out)), "{name}");
    }
}

#[test]
fn a_certificate_in_client_auth_ca_is_refused_if_it_may_not_sign() {
    let certificates = Certificates::new();
    for (name, identity, flaw, _) in oddities(&certificates) {
        let mut tls = listener(&[&certificates.server(&["localhost"])]);
        tls.client_auth = Some(ClientAuth { ca: identity.cert, crl: Vec::new(), required: true });
        check_refusal(name, server_of(&tls), flaw);
    }
}
