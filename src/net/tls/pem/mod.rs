//! PEM files: their contents as rustls takes them, or the reason for which they cannot be used.

mod blocks;
mod format;
mod kind;
mod markers;
mod quoted;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, SubjectPublicKeyInfoDer,
};
use rustls::sign::CertifiedKey;

use self::blocks::{Block, Flaw, blocks};
use self::kind::{Verdict, Wanted};
use super::{TlsError, der, provider, trust};
use crate::config::CertificateFiles;
use crate::config::load::files::Files;

/// The decoded contents of a block, and the line where it begins.
struct Decoded {
    kind: SectionKind,
    der: Vec<u8>,
    line: usize,
}

/// Reads the certificates of a file, at least one. Each is complete, but its contents are not checked.
pub(super) fn certificates(
    path: &Path,
    files: &Files,
) -> Result<Vec<(usize, CertificateDer<'static>)>, TlsError> {
    let decoded = wanted_blocks(path, Wanted::Certificates, files)?;
    Ok(decoded.into_iter().map(|block| (block.line, block.der.into())).collect())
}

/// Reads the revocation lists of a file, at least one, each with the line where it begins.
pub(super) fn revocation_lists(
    path: &Path,
    files: &Files,
) -> Result<Vec<(usize, CertificateRevocationListDer<'static>)>, TlsError> {
    let decoded = wanted_blocks(path, Wanted::RevocationLists, files)?;
    Ok(decoded.into_iter().map(|block| (block.line, block.der.into())).collect())
}

/// Reads the only key of a file.
fn private_key(path: &Path, files: &Files) -> Result<(usize, PrivateKeyDer<'static>), TlsError> {
    let mut keys = wanted_blocks(path, Wanted::Key, files)?.into_iter();
    let Some(Decoded { kind, der, line }) = keys.next() else {
        return Err(TlsError::NoKey { path: path.to_owned(), instead: String::new() });
    };
    if let Some(another) = keys.next() {
        let reason = format!(
            "there is a second key, after the one in line {line}; keep only the one that the certificate was issued for"
        );
        return Err(TlsError::InvalidPem { path: path.to_owned(), line: another.line, reason });
    }
    let key = PrivateKeyDer::from_pem(kind, der);
    key.map(|key| (line, key)).ok_or_else(|| TlsError::InvalidKey { path: path.to_owned(), line })
}

/// Reads a chain and its key, and checks that they belong together.
pub(super) fn identity(paths: &CertificateFiles, files: &Files) -> Result<Arc<CertifiedKey>, TlsError> {
    let CertificateFiles { cert, key } = paths;
    let chain = certificates(cert, files)?;
    let (line, private) = private_key(key, files)?;
    let private = provider()
        .key_provider
        .load_private_key(private)
        .map_err(|_| TlsError::InvalidKey { path: key.clone(), line })?;
    // A key without its public half cannot be compared.
    if let Some(public) = private.public_key() {
        let owner = chain.iter().position(|(_, certificate)| is_for(certificate, &public));
        match owner.and_then(|position| chain.get(position)) {
            Some(_) if owner == Some(0) => {}
            Some((line, _)) => return Err(TlsError::LeafNotFirst { cert: cert.clone(), line: *line }),
            None => return Err(TlsError::KeyMismatch { cert: cert.clone(), key: key.clone() }),
        }
    }
    if let Some((line, leaf)) = chain.first() {
        let flaw = trust::check_end_entity(leaf);
        flaw.map_err(|flaw| invalid_certificate(cert, *line, flaw))?;
    }
    let chain = chain.into_iter().map(|(_, certificate)| certificate).collect();
    Ok(Arc::new(CertifiedKey::new(chain, private)))
}

fn is_for(certificate: &CertificateDer<'_>, public: &SubjectPublicKeyInfoDer<'_>) -> bool {
    der::Certificate::parse(certificate).is_some_and(|certificate| certificate.key == &**public)
}

/// The certificates of a `ca` file.
pub(super) struct Authorities {
    /// The certificates that may have signed others.
    pub(super) roots: Arc<RootCertStore>,
    /// All certificates, each of which a server may show itself.
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// Reads the certificates of a file as trust anchors. Each one must be an authority's.
pub(super) fn authorities(path: &Path, files: &Files) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (line, certificate) in certificates(path, files)? {
        let anchor = trust::check_encoding(&certificate).and_then(|()| trust::anchor(&certificate));
        roots.roots.push(anchor.map_err(|flaw| invalid_certificate(path, line, flaw))?);
    }
    Ok(Arc::new(roots))
}

/// Reads the certificates of a file as trust anchors and as certificates that servers may show. Each one must be usable
/// in at least one of these ways.
pub(super) fn trusted(path: &Path, files: &Files) -> Result<Authorities, TlsError> {
    let (mut roots, mut all) = (RootCertStore::empty(), Vec::new());
    for (line, certificate) in certificates(path, files)? {
        let usable = trust::check_encoding(&certificate).and_then(|()| match trust::anchor(&certificate) {
            Ok(anchor) => {
                roots.roots.push(anchor);
                Ok(())
            }
            Err(_no_authority) => trust::check_for_server(&certificate),
        });
        usable.map_err(|flaw| {
            let way_out = "or remove `tls.ca` and set `tls.verify: false`, which accepts every certificate";
            invalid_certificate(path, line, format!("{flaw}, {way_out}"))
        })?;
        all.push(certificate);
    }
    Ok(Authorities { roots: Arc::new(roots), certificates: all })
}

fn invalid_certificate(path: &Path, line: usize, reason: String) -> TlsError {
    TlsError::InvalidCertificate { path: path.to_owned(), line, reason }
}

/// Reads the blocks of the wanted kind from a file, at least one.
fn wanted_blocks(path: &Path, wanted: Wanted, files: &Files) -> Result<Vec<Decoded>, TlsError> {
    let content =
        files.read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    if let Some(reason) = format::not_pem(&content, path) {
        return Err(TlsError::WrongFormat { path: path.to_owned(), reason });
    }
    let invalid = |Flaw { line, reason }| TlsError::InvalidPem { path: path.to_owned(), line, reason };
    let (mut taken, mut passed) = (Vec::new(), Vec::new());
    for mut block in blocks(&content).map_err(invalid)? {
        let verdict = block.label.verdict(wanted, block.is_encrypted, &block.body);
        if let Verdict::Refuse(advice) = verdict {
            let advice = advice.replace("FILE", &path.display().to_string());
            return Err(invalid(Flaw::new(block.line, format!("the block `{}` {advice}", block.label))));
        }
        if let Some(flaw) = block.damage.take() {
            return Err(invalid(flaw));
        }
        match verdict {
            Verdict::Take => taken.push(decode(&block).map_err(invalid)?),
            _ => passed.push(block),
        }
    }
    if taken.is_empty() { Err(nothing_of(wanted, path, &content, &passed)) } else { Ok(taken) }
}

/// Decodes a block. A key is decoded in constant time.
fn decode(block: &Block) -> Result<Decoded, Flaw> {
    let label = block.label.canonical();
    let begin = format!("-----BEGIN {label}-----\n");
    let text = [begin.as_bytes(), &block.body, format!("\n-----END {label}-----\n").as_bytes()].concat();
    let decoded = <(SectionKind, Vec<u8>)>::from_pem_slice(&text).ok();
    match decoded.filter(|(_, der)| der::is_whole_sequence(der)) {
        Some((kind, der)) => Ok(Decoded { kind, der, line: block.line }),
        None => {
            let what = "is damaged or cut off inside; restore the file from where it came";
            Err(Flaw::new(block.line, format!("the block `{}` {what}", block.label)))
        }
    }
}

/// Returns the error for a file without a block of the wanted kind. It names what the file holds instead.
fn nothing_of(wanted: Wanted, path: &Path, content: &[u8], passed: &[Block]) -> TlsError {
    let path = path.to_owned();
    let instead = match passed.first() {
        Some(block) if block.label.is_key() => format!(", but a private key in line {}", block.line),
        Some(block) => format!(", but `{}` in line {}", block.label, block.line),
        None if content.trim_ascii().is_empty() => ": it is empty".to_owned(),
        None => String::new(),
    };
    match wanted {
        Wanted::Certificates => TlsError::NoCertificate { path, instead },
        Wanted::Key => TlsError::NoKey { path, instead },
        Wanted::RevocationLists => TlsError::NoRevocationList { path, instead },
    }
}

/// Parses bytes as a PEM file. If all of its blocks are complete, every marker must have led to one.
#[cfg(fuzzing)]
#[allow(clippy::panic, reason = "a panic is how a fuzz target reports")]
pub(super) fn fuzz(data: &[u8]) {
    let Ok(found) = blocks(data) else { return };
    let damaged = found.iter().filter(|block| block.damage.is_some() || decode(block).is_err()).count();
    if damaged == 0 {
        let begin = markers::BEGIN.as_bytes();
        let markers = data.windows(begin.len()).filter(|window| *window == begin).count();
        assert_eq!(found.len(), markers, "a block was skipped");
    }
}
