//! Why a TLS configuration can't be built.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a TLS configuration can't be built: one sentence with the file and what to change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read `{}` ({source}); correct its path or permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file has PEM markers and something wrong between them.
    #[error("`{}` is not valid PEM ({reason}); write the file anew", path.display())]
    InvalidPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that should hold certificates holds none.
    #[error("`{}` holds no certificate; it needs a PEM block `BEGIN CERTIFICATE`", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file that should hold a private key holds none, or an encrypted one.
    #[error("`{}` holds no private key; it needs an unencrypted PEM block such as `BEGIN PRIVATE KEY`", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate can't be understood.
    #[error("a certificate in `{}` cannot be used ({reason}); replace it by a valid X.509 v3 one", path.display())]
    InvalidCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is of a kind that is not supported.
    #[error("the key in `{}` cannot be used ({reason}); use an RSA key of 2048 bits or more, ECDSA or Ed25519", path.display())]
    InvalidKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key belongs to another certificate.
    #[error(
        "the key in `{}` does not belong to the first certificate in `{}`; name the key that the certificate was issued for",
        key.display(), cert.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A listener without a certificate.
    #[error("a TLS listener needs at least one certificate; add one under `certificates`")]
    NoIdentity,
    /// A name that is neither a DNS name nor an IP address.
    #[error("`{name}` is no server name; use a DNS name or an IP address")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// rustls refused for a reason that no file is to blame for.
    #[error("TLS cannot be set up ({0})")]
    Setup(#[from] rustls::Error),
}
