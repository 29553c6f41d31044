//! Rejected certificates in words.

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{CertRevocationListError, CertificateError};

use super::Peer;
use crate::net::tls::verify::OfNamed;

/// Describes the flaw of a peer's certificate, and what to change.
pub(super) fn words(error: &CertificateError, peer: Peer<'_>) -> String {
    let named = match error {
        CertificateError::Other(other) => other.0.downcast_ref::<OfNamed>(),
        _ => None,
    };
    match named {
        Some(OfNamed(error)) => describe(error, peer, or_accept_all(peer)),
        None => describe(error, peer, or_trust_it(peer)),
    }
}

/// Describes a flaw. `or` is the way to accept a certificate that the rules reject.
fn describe(error: &CertificateError, peer: Peer<'_>, or: &str) -> String {
    use CertificateError as Flaw;
    let flaw = match error {
        Flaw::UnknownIssuer => return unknown_issuer(peer),
        Flaw::NotValidForNameContext { expected, presented } => {
            // If it names something other than servers, naming the certificate does not help.
            let or = if presented.is_empty() { or } else { or_accept_all(peer) };
            return wrong_name(&expected.to_str(), presented, or);
        }
        Flaw::Other(other) => {
            return other.0.downcast_ref().map_or_else(|| broken(peer), |error| by_webpki(error, peer, or));
        }
        Flaw::ExpiredContext { not_after, .. } => format!("has expired on {}; renew it", date(*not_after)),
        Flaw::Expired => "has expired; renew it".to_owned(),
        Flaw::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}; correct the clock of this machine, or the certificate", date(*not_before))
        }
        Flaw::NotValidYet => "is not valid yet; correct the clock of this machine, or the certificate".to_owned(),
        Flaw::Revoked => "has been revoked by its authority".to_owned(),
        Flaw::UnknownRevocationStatus => {
            "may have been revoked: no revocation list of its issuer is known; add one to `client_auth.crl`, for each authority \
             of the chain"
                .to_owned()
        }
        Flaw::ExpiredRevocationListContext { next_update, .. } => {
            format!("may have been revoked: the list of its issuer has expired on {}; renew that list", date(*next_update))
        }
        Flaw::ExpiredRevocationList => {
            "may have been revoked: the list of its issuer has expired; renew that list".to_owned()
        }
        Flaw::UnhandledCriticalExtension => {
            "has an extension that is critical and not known here; issue it again without that extension".to_owned()
        }
        Flaw::BadSignature => {
            "does not fit a signature that was made with its key, or its issuer's: the key is another one, is shorter than 2048 \
             bits (RSA), or the certificate was changed"
                .to_owned()
        }
        Flaw::UnsupportedSignatureAlgorithmContext { .. }
        | Flaw::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "or one of its issuers' is signed by an algorithm that is not accepted, such as SHA-1 or MD5; issue it again with \
             SHA-256"
                .to_owned()
        }
        Flaw::NotValidForName => "is for another name; correct `tls.sni`, or issue it for the name".to_owned(),
        Flaw::InvalidPurpose | Flaw::InvalidPurposeContext { .. } => wrong_purpose(peer).to_owned(),
        Flaw::InvalidOcspResponse => "comes with an OCSP response that is not valid; renew that".to_owned(),
        Flaw::ApplicationVerificationFailure => "is not accepted".to_owned(),
        _ => return broken(peer),
    };
    format!("the certificate of {} {flaw}", peer.name())
}

/// Describes a malformed certificate, which cannot be trusted by naming it either.
fn broken(peer: Peer<'_>) -> String {
    format!("the certificate of {} is malformed; issue it again{}", peer.name(), or_accept_all(peer))
}

/// Returns the way to accept a certificate that the rules reject.
fn or_trust_it(peer: Peer<'_>) -> &'static str {
    match peer {
        Peer::Server(_) => ", or name exactly this certificate under `tls.ca` to trust it as it is",
        Peer::Client => "",
    }
}

/// Returns the way to accept a certificate for which naming it under `tls.ca` does not help.
fn or_accept_all(peer: Peer<'_>) -> &'static str {
    match peer {
        Peer::Server(_) => ", or set `tls.verify: false`, which accepts every certificate",
        Peer::Client => "",
    }
}

fn unknown_issuer(peer: Peer<'_>) -> String {
    match (peer, peer.authorities()) {
        (Peer::Server(_), Some(path)) => format!(
            "the certificate of the server is signed by no authority in `{}`, and is none that is in it; add the authority's \
             certificate, or the server's own, to that file, or have the server send the intermediate ones",
            path.display()
        ),
        (Peer::Server(_), None) => "the certificate of the server is signed by no authority that this system trusts; name the \
                                    file of its authority under `tls.ca`, or have the server send the intermediate ones"
            .to_owned(),
        (Peer::Client, _) => "the certificate of the client is signed by no authority in `client_auth.ca`".to_owned(),
    }
}

/// Describes the names that a certificate is for. `presented` are webpki's names, each with its kind around it.
fn wrong_name(expected: &str, presented: &[String], or: &str) -> String {
    const NAMES_SHOWN_MAX: usize = 10;
    /// The length of the longest DNS name (RFC 1035 §2.3.4). A certificate may have anything of up to 64 KiB in its place.
    const NAME_CHARACTERS_MAX: usize = 253;
    let names = presented.iter().filter_map(|name| {
        let name =
            name.strip_prefix("DnsName(").or_else(|| name.strip_prefix("IpAddress("))?.strip_suffix(')')?;
        let name: String = name.trim_matches('"').chars().take(NAME_CHARACTERS_MAX).collect();
        Some(format!("`{}`", name.escape_debug()))
    });
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
    names.truncate(NAMES_SHOWN_MAX);
    if names.is_empty() {
        return format!(
            "the certificate of the server names no server (subjectAltName); issue it for `{expected}`{or}"
        );
    }
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "the certificate of the server is for {}{more} and not for `{expected}`; write one of its names under `tls.sni`, or \
         issue it for `{expected}`",
        names.join(", ")
    )
}

fn wrong_purpose(peer: Peer<'_>) -> &'static str {
    match peer {
        Peer::Server(_) => {
            "is not for servers: its extendedKeyUsage lacks serverAuth; issue it again with that"
        }
        Peer::Client => "is not for clients: its extendedKeyUsage lacks clientAuth",
    }
}

/// Describes an objection of webpki that rustls has no error for.
fn by_webpki(error: &webpki::Error, peer: Peer<'_>, or: &str) -> String {
    use webpki::Error as Flaw;
    let owner = peer.name();
    match error {
        Flaw::CaUsedAsEndEntity => {
            format!(
                "the certificate of {owner} is an authority's (CA:TRUE); issue one for {owner} itself{or}"
            )
        }
        Flaw::UnsupportedCertVersion => format!(
            "a certificate in the chain of {owner} is of X.509 version 1; issue it again with a subjectAltName, which makes it \
             version 3{or}"
        ),
        Flaw::UnsupportedCriticalExtension => format!(
            "a certificate in the chain of {owner} has an extension that is critical and not known here; issue it again \
             without{}",
            or_accept_all(peer)
        ),
        Flaw::EndEntityUsedAsCa => format!(
            "the certificate of {owner} is signed by one that is no authority's (CA:FALSE); have an authority sign it{or}"
        ),
        Flaw::PathLenConstraintViolated | Flaw::MaximumPathDepthExceeded => {
            format!("the certificate chain of {owner} is longer than its authorities allow; shorten it{or}")
        }
        Flaw::NameConstraintViolation => {
            format!(
                "the authority of {owner} may not issue certificates for this name; have another one sign it{or}"
            )
        }
        Flaw::MaximumNameConstraintComparisonsExceeded
        | Flaw::MaximumPathBuildCallsExceeded
        | Flaw::MaximumSignatureChecksExceeded => {
            format!("the certificate chain of {owner} takes too much work to verify; shorten it{or}")
        }
        Flaw::SignatureAlgorithmMismatch => {
            format!(
                "a certificate in the chain of {owner} names two different signature algorithms; issue it again{or}"
            )
        }
        Flaw::CertDistrusted => format!("a key in the chain of {owner} is distrusted"),
        Flaw::UnsupportedCrlIssuingDistributionPoint
        | Flaw::UnsupportedCrlVersion
        | Flaw::UnsupportedDeltaCrl
        | Flaw::UnsupportedIndirectCrl => {
            format!("a revocation list that covers {owner} is of a kind that is not supported")
        }
        _ => broken(peer),
    }
}

/// Describes the reason for which a revocation list decides nothing about a certificate that it covers.
pub(super) fn revocation_list(error: &CertRevocationListError) -> String {
    use CertRevocationListError as Flaw;
    let flaw = match error {
        Flaw::BadSignature => "is not signed by the authority that it names",
        Flaw::UnsupportedSignatureAlgorithmContext { .. }
        | Flaw::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed by an algorithm that is not accepted, such as SHA-1; issue it again with SHA-256"
        }
        Flaw::IssuerInvalidForCrl => {
            "is signed by an authority whose keyUsage lacks cRLSign; issue that authority again with it"
        }
        Flaw::UnsupportedCrlVersion => "is of version 1; issue it again with a CRL number",
        Flaw::UnsupportedDeltaCrl => "lists only changes; name the complete list",
        Flaw::UnsupportedIndirectCrl => "covers certificates of other issuers; name a list of each issuer",
        Flaw::UnsupportedRevocationReason => {
            "covers only some reasons for a revocation; name the complete list"
        }
        Flaw::UnsupportedCriticalExtension => "has an extension that is critical and not known here",
        _ => "is malformed; fetch it again, or issue it again",
    };
    format!("a revocation list of `client_auth.crl` that covers the client {flaw}")
}

fn date(time: UnixTime) -> String {
    /// The first second of the year 10000, which the date format of HTTP cannot express.
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = time.as_secs().min(YEAR_10000 - 1);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).map(httpdate::fmt_http_date).unwrap_or_default()
}
