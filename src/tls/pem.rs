//! PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{IdentityFiles, TlsError, provider};
use crate::files::Files;

/// The certificates of a file, at least one.
fn certificates(path: &Path, files: &Files) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = read(path, files)?;
    let certificates = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| invalid_pem(path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

fn private_key(path: &Path, files: &Files) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path, files)?).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        error => invalid_pem(path, &error),
    })
}

/// A chain and its key, which is checked to belong to it.
pub(super) fn identity(paths: &IdentityFiles, files: &Files) -> Result<Arc<CertifiedKey>, TlsError> {
    let IdentityFiles { cert, key } = paths;
    let chain = certificates(cert, files)?;
    let private = provider()
        .key_provider
        .load_private_key(private_key(key, files)?)
        .map_err(|error| TlsError::InvalidKey { path: key.clone(), reason: error.to_string() })?;
    let identity = CertifiedKey::new(chain, private);
    match identity.keys_match() {
        // `Unknown`: the key can't tell its public half, so there is nothing to compare.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(identity))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::KeyMismatch { cert: cert.clone(), key: key.clone() })
        }
        Err(error) => Err(TlsError::InvalidCertificate { path: cert.clone(), reason: error.to_string() }),
    }
}

/// The certificates of a file as trust anchors: every one has to be usable.
pub(super) fn authorities(path: &Path, files: &Files) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, files)? {
        roots.add(certificate).map_err(|error| TlsError::InvalidCertificate {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(Arc::new(roots))
}

fn read(path: &Path, files: &Files) -> Result<Arc<[u8]>, TlsError> {
    files.read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// The library's own words show bytes as numbers. Its marker is the bare label.
fn invalid_pem(path: &Path, error: &PemError) -> TlsError {
    let reason = match error {
        PemError::MissingSectionEnd { end_marker } => {
            format!("`-----END {}-----` is missing", String::from_utf8_lossy(end_marker))
        }
        PemError::IllegalSectionStart { line } => {
            format!("the line `{}` begins no block", String::from_utf8_lossy(line).trim_end())
        }
        PemError::Base64Decode(reason) => format!("not base64: {reason}"),
        error => error.to_string(),
    };
    TlsError::InvalidPem { path: path.to_owned(), reason }
}
