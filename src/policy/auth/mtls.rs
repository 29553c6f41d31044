//! Clients known by the certificates that a listener has verified.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::Verdict;
use crate::config::{DistinguishedName, ForwardCertificate, HostPattern, MtlsAuth, SanPattern};
use crate::http::base64;
use crate::http::fields::Fields;
use crate::http::forward::is_spelling_of;
use crate::net::tls::{AltName, ClientCertificate};
use crate::policy::identity::Identity;

/// The fields of RFC 9440. Its §2.4 has a gateway remove those that clients send.
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// A way to know clients by their certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mtls(MtlsAuth);

/// The reason for which a certificate is not one of this way: the key that it does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mismatch(&'static str);

impl Mtls {
    pub(crate) fn new(settings: &MtlsAuth) -> Self {
        Self(settings.clone())
    }

    /// Judges the certificate of a request's connection.
    pub(super) fn verify(&self, way: &Arc<str>, certificate: Option<&ClientCertificate>) -> Verdict {
        let Some(certificate) = certificate else { return Verdict::Absent };
        match self.identify(certificate) {
            Ok(subject) => {
                let (subject, claims) = (subject.into(), claims(certificate));
                Verdict::Known(Arc::new(Identity { way: Arc::clone(way), subject, claims }))
            }
            Err(Mismatch(reason)) => Verdict::Refused(reason),
        }
    }

    /// Matches a certificate. Returns the name by which its client is known: the name of `san` that matched, else its subject or, as that
    /// may be empty, its first name.
    fn identify(&self, certificate: &ClientCertificate) -> Result<String, Mismatch> {
        let names = certificate.names();
        let san = match &self.0.san {
            None => None,
            Some(patterns) => {
                let found = names
                    .alt_names
                    .iter()
                    .find(|name| patterns.iter().any(|pattern| matches_san(pattern, name)));
                Some(found.ok_or(Mismatch("auth.mtls.san"))?)
            }
        };
        if !is_among(self.0.subject.as_deref(), &names.subject, names.subject_common_name.as_deref()) {
            return Err(Mismatch("auth.mtls.subject"));
        }
        if !is_among(self.0.issuer.as_deref(), &names.issuer, names.issuer_common_name.as_deref()) {
            return Err(Mismatch("auth.mtls.issuer"));
        }
        Ok(match (san, names.alt_names.first()) {
            (Some(san), _) => san.to_string(),
            (None, Some(first)) if names.subject.is_empty() => first.to_string(),
            (None, _) => names.subject.clone(),
        })
    }

    /// Removes the fields that only a gateway may set, in any spelling.
    pub(super) fn remove(headers: &mut Fields) {
        let is_forged = |name: &HeaderName| {
            [CLIENT_CERT, CLIENT_CERT_CHAIN].iter().any(|field| name == field || is_spelling_of(name, field))
        };
        headers.retain(|name, _| !is_forged(name));
    }

    /// Sets the fields that take the certificate to the upstream, if they are configured. To be called after [`Mtls::remove`].
    pub(super) fn forward(&self, certificate: &ClientCertificate, headers: &mut Fields) {
        let Some(forward) = self.0.forward.on() else { return };
        if let Some(value) = value([certificate.der()]) {
            headers.insert(CLIENT_CERT, value);
        }
        if forward == ForwardCertificate::ClientCertChain
            && certificate.issuers().next().is_some()
            && let Some(value) = value(certificate.issuers())
        {
            headers.insert(CLIENT_CERT_CHAIN, value);
        }
    }
}

/// Returns the facts about a certificate.
fn claims(certificate: &ClientCertificate) -> Map<String, Value> {
    let names = certificate.names();
    let san: Vec<String> = names.alt_names.iter().map(ToString::to_string).collect();
    let claims: [(&str, Value); 5] = [
        ("subject", names.subject.clone().into()),
        ("issuer", names.issuer.clone().into()),
        ("san", san.into()),
        ("serial", names.serial_number.clone().into()),
        ("fingerprint", names.fingerprint.clone().into()),
    ];
    claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns byte sequences, with commas between them (RFC 9440 §2.1, RFC 9651 §3.3.5).
fn value<'c>(certificates: impl IntoIterator<Item = &'c [u8]>) -> Option<HeaderValue> {
    let mut text = Vec::new();
    for certificate in certificates {
        if !text.is_empty() {
            text.extend(b", ");
        }
        text.push(b':');
        text.extend(base64::encode(certificate));
        text.push(b':');
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

fn is_among(patterns: Option<&[DistinguishedName]>, whole: &str, common_name: Option<&str>) -> bool {
    let Some(patterns) = patterns else { return true };
    patterns.iter().any(|pattern| match pattern {
        DistinguishedName::Whole(pattern) => pattern == whole,
        DistinguishedName::CommonName(pattern) => common_name == Some(pattern),
    })
}

fn matches_san(pattern: &SanPattern, name: &AltName) -> bool {
    match (pattern, name) {
        (SanPattern::Dns(HostPattern::Exact(host)), AltName::Dns(name)) => host == name,
        (SanPattern::Dns(HostPattern::Below(domain)), AltName::Dns(name)) => {
            name.strip_suffix(domain.as_str()).is_some_and(|label| label.len() > 1 && label.ends_with('.'))
        }
        (SanPattern::Uri(uri), AltName::Uri(name)) => uri == name,
        (SanPattern::UriBelow(start), AltName::Uri(name)) => {
            // A segment that leads out of the path could lead to another one's. No URI of SPIFFE has any.
            name.strip_prefix(start.as_str()).is_some_and(|rest| {
                !rest.is_empty()
                    && !rest.contains('%')
                    && !rest.split('/').any(|segment| matches!(segment, "." | ".."))
            })
        }
        (SanPattern::Email(address), AltName::Email(name)) => {
            name.rsplit_once('@').is_some_and(|(local, domain)| {
                address
                    .strip_prefix(local)
                    .and_then(|rest| rest.strip_prefix('@'))
                    .is_some_and(|own| domain.eq_ignore_ascii_case(own))
            })
        }
        (SanPattern::EmailAt(own), AltName::Email(name)) => name
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && domain.eq_ignore_ascii_case(own)),
        (SanPattern::Ip(address), AltName::Ip(name)) => address == name,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &AltName) -> bool {
        matches_san(&pattern.parse().unwrap(), name)
    }

    #[test]
    fn pattern_of_a_kind_matches_names_of_its_kind_alone() {
        let dns = |name: &str| AltName::Dns(name.to_owned());
        let uri = |name: &str| AltName::Uri(name.to_owned());
        let email = |name: &str| AltName::Email(name.to_owned());
        for (pattern, name, expected) in [
            ("a.internal", dns("a.internal"), true),
            ("a.internal", dns("b.internal"), false),
            ("a.internal", uri("a.internal"), false),
            ("*.internal", dns("a.internal"), true),
            ("*.internal", dns("a.b.internal"), true),
            ("*.internal", dns("internal"), false),
            ("*.internal", dns(".internal"), false),
            ("*.internal", dns("evilinternal"), false),
            ("*.internal", dns("a.internal.evil"), false),
            ("spiffe://x/a", uri("spiffe://x/a"), true),
            ("spiffe://x/a", uri("spiffe://x/a/b"), false),
            ("spiffe://x/a/*", uri("spiffe://x/a/b/c"), true),
            ("spiffe://x/a/*", uri("spiffe://x/a/"), false),
            ("spiffe://x/a/*", uri("spiffe://x/ab"), false),
            ("spiffe://x/a/*", uri("spiffe://x/a/../b"), false),
            ("spiffe://x/a/*", uri("spiffe://x/a/%2e%2e/b"), false),
            ("spiffe://x/*", uri("spiffe://x.evil/a"), false),
            ("a@b.test", email("a@B.test"), true),
            ("a@b.test", email("A@b.test"), false),
            ("a@b.test", email("xa@b.test"), false),
            ("*@b.test", email("x@b.test"), true),
            ("*@b.test", email("x@sub.b.test"), false),
            ("*@b.test", email("x@b.test@c.test"), false),
            ("*@b.test", email("@b.test"), false),
            ("10.0.0.1", AltName::Ip([10, 0, 0, 1].into()), true),
            ("10.0.0.1", dns("10.0.0.1"), false),
        ] {
            assert_eq!(matches(pattern, &name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn certificates_are_byte_sequences() {
        assert_eq!(value([&b"foo"[..], b"f"]).unwrap(), ":Zm9v:, :Zg==:");
    }
}
