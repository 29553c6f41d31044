//! The errors of building a TLS configuration.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The reason for which a TLS configuration cannot be built: one sentence with the file and what to change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    #[error("cannot read `{}` ({source}); correct its path or permissions", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A file is not PEM.
    #[error("`{}` {reason}", path.display())]
    WrongFormat {
        path: PathBuf,
        /// The format that it has, and how to convert it.
        reason: String,
    },
    /// A PEM file has a mistake, or a block that does not belong there.
    #[error("`{}`, line {line}: {reason}", path.display())]
    InvalidPem {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The mistake, and what to do about it.
        reason: String,
    },
    /// A file that should hold certificates holds none.
    #[error("`{}` holds no certificate{instead}; name the file that has a PEM block `BEGIN CERTIFICATE`", path.display())]
    NoCertificate {
        path: PathBuf,
        /// The contents that it has instead, with a comma or colon before them.
        instead: String,
    },
    /// A file that should hold a private key holds none.
    #[error(
        "`{}` holds no private key{instead}; name the file that has an unencrypted PEM block such as `BEGIN PRIVATE KEY`",
        path.display()
    )]
    NoKey {
        path: PathBuf,
        /// The contents that it has instead, with a comma or colon before them.
        instead: String,
    },
    /// A file that should hold revocation lists holds none.
    #[error("`{}` holds no revocation list{instead}; name the file that has a PEM block `BEGIN X509 CRL`", path.display())]
    NoRevocationList {
        path: PathBuf,
        /// The contents that it has instead, with a comma or colon before them.
        instead: String,
    },
    /// A revocation list cannot be used.
    #[error("`{}`, line {line}: the revocation list cannot be used: {reason}", path.display())]
    InvalidRevocationList {
        path: PathBuf,
        /// The line where its block begins, counted from 1.
        line: usize,
        /// The flaw, and what to do about it.
        reason: String,
    },
    /// A certificate cannot be used.
    #[error("`{}`, line {line}: the certificate cannot be used: {reason}", path.display())]
    InvalidCertificate {
        path: PathBuf,
        /// The line where its block begins, counted from 1.
        line: usize,
        /// The flaw, and what to do about it.
        reason: String,
    },
    /// A key is of a kind that is not supported, or damaged.
    #[error(
        "`{0}`, line {line}: the key cannot be used; it has to be RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, \
         or Ed25519, and undamaged: `openssl pkey -in {0} -noout -text` shows what it is",
        path.display()
    )]
    InvalidKey {
        path: PathBuf,
        /// The line where its block begins, counted from 1.
        line: usize,
    },
    /// The certificate that a key was issued for is not the first of its file.
    #[error(
        "`{}`: the certificate of the key is not the first, but the one in line {line}; move it to the top, before those that \
         have signed it",
        cert.display()
    )]
    LeafNotFirst {
        cert: PathBuf,
        /// The line where its block begins, counted from 1.
        line: usize,
    },
    /// A key belongs to another certificate.
    #[error(
        "the key in `{}` does not belong to any certificate in `{}`; name the key that the certificate was issued for",
        key.display(), cert.display()
    )]
    KeyMismatch { cert: PathBuf, key: PathBuf },
    /// A listener without a certificate.
    #[error("a TLS listener needs at least one certificate; add one under `certificates`")]
    NoIdentity,
    /// A name that is neither a DNS name nor an IP address.
    #[error("`{name}` is no server name; use a DNS name or an IP address")]
    InvalidName { name: String },
    /// rustls failed for a reason that no file is to blame for.
    #[error(
        "TLS cannot be set up, although its files are valid; the system may be unable to provide random numbers"
    )]
    Setup(#[from] rustls::Error),
}

/// Describes the flaw of a certificate in a file, and what to do about it.
pub(super) fn certificate_flaw(error: &webpki::Error) -> String {
    use webpki::Error::{
        ExtensionValueInvalid, InvalidSerialNumber, MalformedExtensions, UnsupportedCertVersion,
        UnsupportedCriticalExtension,
    };
    let flaw = match error {
        UnsupportedCertVersion => {
            "it is of X.509 version 1, which has no names; issue it again with a subjectAltName, which makes it version 3"
        }
        UnsupportedCriticalExtension => {
            "it has an extension that is critical and not known here; issue it again without that extension"
        }
        InvalidSerialNumber => "its serial number is negative or too long; issue it again with another",
        MalformedExtensions | ExtensionValueInvalid => "its extensions are malformed; issue it again",
        _ => "it is damaged, or no X.509 certificate; restore the file from where it came",
    };
    flaw.to_owned()
}

/// Describes the flaw of a revocation list in a file, and what to do about it.
pub(super) fn revocation_list_flaw(error: &webpki::Error) -> String {
    use webpki::Error::{
        InvalidCrlNumber, InvalidSerialNumber, UnsupportedCriticalExtension,
        UnsupportedCrlIssuingDistributionPoint, UnsupportedCrlVersion, UnsupportedDeltaCrl,
        UnsupportedIndirectCrl, UnsupportedRevocationReason, UnsupportedRevocationReasonsPartitioning,
    };
    let flaw = match error {
        UnsupportedCrlVersion => {
            "it is of version 1; issue it with extensions, for which `openssl ca -gencrl` needs `crl_extensions` with a \
             `crlNumber` in its configuration"
        }
        UnsupportedDeltaCrl => "it lists only changes (a delta CRL); name the complete list",
        UnsupportedIndirectCrl => {
            "it covers certificates of other issuers (an indirect CRL); name a list of each issuer"
        }
        UnsupportedRevocationReason | UnsupportedRevocationReasonsPartitioning => {
            "it covers only some reasons for a revocation; name the complete list"
        }
        UnsupportedCrlIssuingDistributionPoint => {
            "its issuing distribution point has no full name; issue it again with one, or without that extension"
        }
        UnsupportedCriticalExtension => {
            "it has an extension that is critical and not known here; issue it again without that extension"
        }
        InvalidCrlNumber => "its CRL number is negative or too long; issue it again",
        InvalidSerialNumber => {
            "the serial number of a revoked certificate is negative or too long; issue it again"
        }
        _ => "it is damaged, or has no time of its next update; fetch it again, or issue it again",
    };
    flaw.to_owned()
}
