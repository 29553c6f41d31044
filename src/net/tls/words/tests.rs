//! Each failure has its own words, and none of them are a library's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    AlertDescription, CertRevocationListError, CertificateError, ContentType, ExtendedKeyPurpose,
    InconsistentKeys, OtherError,
};

use super::*;
use crate::net::tls::verify::OfNamed;

fn settings(ca: Option<&str>) -> ClientTls {
    ClientTls { ca: ca.map(PathBuf::from), ..ClientTls::default() }
}

fn as_io(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn by_webpki(error: webpki::Error) -> CertificateError {
    CertificateError::Other(OtherError(Arc::new(error)))
}

#[test]
fn the_failure_of_a_certificate_says_what_is_wrong_and_what_to_change() {
    let now = time(1_700_000_000);
    let expected = ServerName::try_from("api.test").unwrap();
    let presented = ["DnsName(\"a.test\")", "DnsName(\"*.b.test\")", "IpAddress(10.0.0.1)", "DirectoryName"];
    let presented = presented.map(str::to_owned).to_vec();
    for (error, says) in [
        (CertificateError::UnknownIssuer, &["signed by no authority in `ca.pem`", "add the authority's"][..]),
        (
            CertificateError::ExpiredContext { time: now, not_after: time(978_307_200) },
            &["has expired on Mon, 01 Jan 2001 00:00:00 GMT", "renew it"],
        ),
        (CertificateError::Expired, &["has expired", "renew it"]),
        (
            CertificateError::NotValidYetContext { time: now, not_before: time(u64::MAX) },
            &["not valid before Fri, 31 Dec 9999", "correct the clock"],
        ),
        (CertificateError::NotValidYet, &["not valid yet", "correct the clock"]),
        (
            CertificateError::NotValidForNameContext { expected: expected.clone(), presented },
            &["is for `a.test`, `*.b.test`, `10.0.0.1` and not for `api.test`", "under `tls.sni`"],
        ),
        (
            CertificateError::NotValidForNameContext { expected, presented: Vec::new() },
            &["names no server (subjectAltName)", "issue it for `api.test`"],
        ),
        (CertificateError::NotValidForName, &["for another name", "`tls.sni`"]),
        (CertificateError::BadEncoding, &["malformed", "`tls.verify: false`"]),
        (CertificateError::BadSignature, &["another one", "2048"]),
        (CertificateError::Revoked, &["revoked"]),
        (CertificateError::UnhandledCriticalExtension, &["critical", "issue it again"]),
        (CertificateError::UnknownRevocationStatus, &["no revocation list", "`client_auth.crl`"]),
        (CertificateError::ExpiredRevocationList, &["list of its issuer has expired", "renew"]),
        (
            CertificateError::ExpiredRevocationListContext { time: now, next_update: time(978_307_200) },
            &["has expired on Mon, 01 Jan 2001", "renew"],
        ),
        (CertificateError::InvalidPurpose, &["lacks serverAuth"]),
        (
            CertificateError::InvalidPurposeContext {
                required: ExtendedKeyPurpose::ServerAuth,
                presented: vec![ExtendedKeyPurpose::ClientAuth],
            },
            &["lacks serverAuth", "issue it again"],
        ),
        (
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: vec![1],
                supported_algorithms: Vec::new(),
            },
            &["SHA-1 or MD5", "SHA-256"],
        ),
        (CertificateError::InvalidOcspResponse, &["OCSP"]),
        (CertificateError::ApplicationVerificationFailure, &["not accepted"]),
        (
            by_webpki(webpki::Error::CaUsedAsEndEntity),
            &["CA:TRUE", "exactly this certificate under `tls.ca`"],
        ),
        (by_webpki(webpki::Error::UnsupportedCertVersion), &["version 1", "subjectAltName"]),
        (by_webpki(webpki::Error::EndEntityUsedAsCa), &["CA:FALSE"]),
        (by_webpki(webpki::Error::UnsupportedCriticalExtension), &["critical"]),
        (by_webpki(webpki::Error::PathLenConstraintViolated), &["longer than its authorities allow"]),
        (by_webpki(webpki::Error::NameConstraintViolation), &["may not issue certificates for this name"]),
        (by_webpki(webpki::Error::MaximumSignatureChecksExceeded), &["too much work"]),
        (by_webpki(webpki::Error::SignatureAlgorithmMismatch), &["two different signature algorithms"]),
        (by_webpki(webpki::Error::MalformedDnsIdentifier), &["malformed", "issue it again"]),
    ] {
        let text = server_failure(&as_io(error.clone().into()), &settings(Some("ca.pem")));
        for part in says {
            assert!(text.contains(part), "{error:?}: {text}");
        }
        assert_no_librarys_words(&text, &error);
        assert_no_librarys_words(&client_failure(&as_io(error.clone().into())), &error);
    }
    let text = server_failure(&as_io(CertificateError::UnknownIssuer.into()), &settings(None));
    assert!(text.contains("that this system trusts") && text.contains("under `tls.ca`"), "{text}");
}

#[test]
fn the_failure_of_a_certificate_that_ca_names_does_not_advise_to_name_it() {
    let expected = ServerName::try_from("api.test").unwrap();
    let of_others = CertificateError::NotValidForNameContext {
        expected: expected.clone(),
        presented: vec!["Unsupported(0x81)".to_owned()],
    };
    for (error, says) in [
        (by_webpki(webpki::Error::UnsupportedCriticalExtension), "critical"),
        (by_webpki(webpki::Error::UnsupportedCertVersion), "version 1"),
        (by_webpki(webpki::Error::BadDer), "malformed"),
        (CertificateError::BadEncoding, "malformed"),
        (of_others.clone(), "names no server"),
        (
            CertificateError::NotValidForNameContext { expected, presented: Vec::new() },
            "issue it for `api.test`",
        ),
    ] {
        let named = CertificateError::Other(OtherError(Arc::new(OfNamed(error.clone()))));
        let text = server_failure(&as_io(named.into()), &settings(Some("ca.pem")));
        assert!(text.contains(says) && text.contains("`tls.verify: false`"), "{error:?}: {text}");
        assert!(!text.contains("under `tls.ca`"), "{error:?}: {text}");
    }
    // A failure for which naming the certificate would not help does not advise it either.
    for error in [of_others, CertificateError::BadEncoding] {
        let text = server_failure(&as_io(error.into()), &settings(None));
        assert!(!text.contains("under `tls.ca`"), "{text}");
    }
}

#[test]
fn the_names_of_a_certificate_are_shown_within_bounds() {
    let expected = ServerName::try_from("api.test").unwrap();
    let presented = vec![format!("DnsName(\"{}\")", "a".repeat(60_000)); 100];
    let error = CertificateError::NotValidForNameContext { expected, presented };
    let text = server_failure(&as_io(error.into()), &settings(None));
    assert!(text.len() < 3_000 && text.contains("and 90 more"), "{}", text.len());
}

#[test]
fn a_failed_negotiation_names_the_feature_that_the_peers_do_not_share() {
    use AlertDescription as Alert;
    let older = &["neither TLS 1.2 nor TLS 1.3"][..];
    let suites = &["ECDHE and AES-GCM", "enable one of these there"][..];
    for (error, says) in [
        (Error::AlertReceived(Alert::ProtocolVersion), older),
        (PeerIncompatible::ServerDoesNotSupportTls12Or13.into(), older),
        (PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into(), older),
        (Error::AlertReceived(Alert::HandshakeFailure), suites),
        (Error::AlertReceived(Alert::InsufficientSecurity), suites),
        (PeerIncompatible::NoCipherSuitesInCommon.into(), suites),
        (PeerIncompatible::NoKxGroupsInCommon.into(), &["groups", "X25519"]),
        (
            PeerMisbehaved::SelectedUnofferedCipherSuite.into(),
            &["chose a cipher suite that was not offered", "ECDHE"],
        ),
        (PeerMisbehaved::SignedKxWithWrongAlgorithm.into(), &["SHA-1"]),
        (PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported.into(), &["intercepts TLS"]),
        (Error::AlertReceived(Alert::UnrecognisedName), &["`tls.sni`"]),
        (
            Error::AlertReceived(Alert::CertificateRequired),
            &["requires a client certificate", "`tls.client`"],
        ),
        (
            Error::AlertReceived(Alert::UnknownCA),
            &["refuses the client certificate (unknown_ca)", "`tls.client`"],
        ),
        (Error::AlertReceived(Alert::InternalError), &["alert internal_error"]),
        (Error::AlertReceived(Alert::Unknown(200)), &["alert 200"]),
        (Error::AlertReceived(Alert::NoApplicationProtocol), &["ALPN", "HTTP/1.1"]),
        (Error::NoApplicationProtocol, &["ALPN", "HTTP/1.1"]),
        (InvalidMessage::InvalidContentType.into(), &["not TLS", "write `http://`"]),
        (Error::PeerSentOversizedRecord, &["not TLS"]),
        (InvalidMessage::CertificatePayloadTooLarge.into(), &["64 KiB"]),
        (InvalidMessage::TrailingData("x").into(), &["breaks the rules of TLS"]),
        (PeerMisbehaved::TooManyEmptyFragments.into(), &["breaks the rules of TLS"]),
    ] {
        let text = server_failure(&as_io(error.clone()), &settings(None));
        for part in says {
            assert!(text.contains(part), "{error:?}: {text}");
        }
        assert_no_librarys_words(&text, &error);
    }
    let end = server_failure(&io::ErrorKind::UnexpectedEof.into(), &settings(None));
    assert!(end.contains("may not speak TLS") && end.contains("`tls.client`"), "{end}");
}

#[test]
fn no_failure_shows_a_librarys_words() {
    use CertRevocationListError as List;
    use PeerIncompatible as Missing;
    let lists = [
        List::BadSignature,
        List::InvalidCrlNumber,
        List::InvalidRevokedCertSerialNumber,
        List::IssuerInvalidForCrl,
        List::Other(OtherError(Arc::new(webpki::Error::BadDer))),
        List::ParseError,
        List::UnsupportedCrlVersion,
        List::UnsupportedCriticalExtension,
        List::UnsupportedDeltaCrl,
        List::UnsupportedIndirectCrl,
        List::UnsupportedRevocationReason,
    ];
    let missing = [
        Missing::EcPointsExtensionRequired,
        Missing::ExtendedMasterSecretExtensionRequired,
        Missing::IncorrectCertificateTypeExtension,
        Missing::KeyShareExtensionRequired,
        Missing::NamedGroupsExtensionRequired,
        Missing::NoCertificateRequestSignatureSchemesInCommon,
        Missing::NoEcPointFormatsInCommon,
        Missing::NoSignatureSchemesInCommon,
        Missing::NullCompressionRequired,
        Missing::ServerSentHelloRetryRequestWithUnknownExtension,
        Missing::SignatureAlgorithmsExtensionRequired,
        Missing::SupportedVersionsExtensionRequired,
        Missing::Tls12NotOffered,
        Missing::Tls12NotOfferedOrEnabled,
        Missing::Tls13RequiredForQuic,
        Missing::UncompressedEcPointsRequired,
        Missing::UnsolicitedCertificateTypeExtension,
        Missing::ServerRejectedEncryptedClientHello(None),
    ];
    let others = [
        Error::InappropriateMessage { expect_types: Vec::new(), got_type: ContentType::Alert },
        Error::NoCertificatesPresented,
        Error::UnsupportedNameType,
        Error::DecryptError,
        Error::EncryptError,
        Error::General("of the library".to_owned()),
        Error::FailedToGetCurrentTime,
        Error::FailedToGetRandomBytes,
        Error::HandshakeNotComplete,
        Error::BadMaxFragmentSize,
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch),
        Error::Other(OtherError(Arc::new(webpki::Error::BadDer))),
    ];
    let alerts = (0..=u8::MAX).map(|code| Error::AlertReceived(code.into()));
    let errors = lists.into_iter().map(Error::InvalidCertRevocationList);
    let errors = errors.chain(missing.into_iter().map(Error::from)).chain(others).chain(alerts);
    for error in errors {
        for text in
            [server_failure(&as_io(error.clone()), &settings(None)), client_failure(&as_io(error.clone()))]
        {
            assert_no_librarys_words(&text, &error);
            assert!(!text.is_empty() && !text.contains("of the library"), "{text}");
        }
    }
}

/// Checks that a text has no name of a library's enum, which is one word with capitals inside.
fn assert_no_librarys_words(text: &str, error: &dyn std::fmt::Debug) {
    let allowed = [
        "AES-GCM",
        "ChaCha20-Poly1305",
        "extendedKeyUsage",
        "serverAuth",
        "clientAuth",
        "subjectAltName",
        "keyUsage",
    ];
    for word in text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-') {
        let has_hump = word
            .as_bytes()
            .windows(2)
            .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
        assert!(
            !has_hump || allowed.contains(&word) || ["cRLSign", "KiB"].contains(&word),
            "`{word}` of {error:?} in: {text}"
        );
    }
    assert!(!text.contains('{') && !text.contains('\n'), "{text}");
}
