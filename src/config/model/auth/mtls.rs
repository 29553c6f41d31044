//! `mtls`: clients by their certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ClaimsToHeaders;
use crate::config::values::certificate_name::{DistinguishedName, SanPattern};
use crate::config::values::or_off::OrOff;

/// Knows clients by the certificate that a listener with `tls.client_auth` has verified. Of each list one entry must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MtlsAuth {
    /// Names of the subjectAltName: a DNS name or `*.internal` for all below it, a URI or `spiffe://example.org/ns/*`, a mail address
    /// or `*@example.org`, an IP address. Default: any certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) san: Option<Vec<SanPattern>>,
    /// Subjects: a common name, or with a `=` the whole name (RFC 4514), as in `CN=worker,O=Example,C=DE`. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) subject: Option<Vec<DistinguishedName>>,
    /// Issuers, the authorities that have signed the clients' own certificates, in the form of `subject`. Default: any that
    /// `client_auth.ca` has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) issuer: Option<Vec<DistinguishedName>>,
    /// Sends the certificate to the upstream (RFC 9440): `client-cert` as `Client-Cert`, `client-cert-chain` with those above it as
    /// `Client-Cert-Chain`. Fields of these names that a client sends are removed in any case. Default: `off`.
    pub(crate) forward: OrOff<ForwardCertificate>,
    /// Claims by their names, with the request's field that gets each: `sub`, the name that matched,
    /// `subject`, `issuer`, `san`, `serial` and `fingerprint`. What clients send in these fields is removed.
    #[serde(default, skip_serializing_if = "ClaimsToHeaders::is_empty")]
    pub(crate) claims_to_headers: ClaimsToHeaders,
}

/// The fields that take a client's certificate to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardCertificate {
    /// `Client-Cert`.
    ClientCert,
    /// `Client-Cert` and `Client-Cert-Chain`.
    ClientCertChain,
}
