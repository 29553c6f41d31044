//! The signature of a handshake, which proves that a server has the key of its certificate.

use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, UnparsedPublicKey,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};

use super::{der, provider};

/// The version of a handshake, which decides how a signature is verified.
#[derive(Debug, Clone, Copy)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

/// A signed message of a handshake, and the certificate whose key should have signed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) version: Version,
    pub(super) message: &'a [u8],
    pub(super) certificate: &'a CertificateDer<'a>,
    pub(super) signature: &'a DigitallySignedStruct,
}

/// Signatures that only [`Signed::verify_leniently`] accepts, or from keys that only it accepts.
const LEGACY: [(SignatureScheme, &RsaParameters); 3] = [
    (SignatureScheme::RSA_PKCS1_SHA256, &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
    (SignatureScheme::RSA_PKCS1_SHA512, &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
    (SignatureScheme::RSA_PKCS1_SHA1, &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
];

impl Signed<'_> {
    /// Verifies the signature with a certificate that follows webpki's rules.
    pub(super) fn verify_by(
        &self,
        verifier: &WebPkiServerVerifier,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Self { message, certificate, signature, .. } = self;
        match self.version {
            Version::Tls12 => verifier.verify_tls12_signature(message, certificate, signature),
            Version::Tls13 => verifier.verify_tls13_signature(message, certificate, signature),
        }
    }

    /// Verifies the signature with the key of the certificate, even if everything else about the certificate is wrong.
    pub(super) fn verify_by_key(&self) -> Result<HandshakeSignatureValid, Error> {
        let key = self.key()?;
        match self.version {
            Version::Tls12 => self.verify_tls12(&key),
            Version::Tls13 => {
                let algorithms = provider().signature_verification_algorithms;
                verify_tls13_signature_with_raw_key(self.message, &key, self.signature, &algorithms)
            }
        }
    }

    /// Verifies the signature as [`Self::verify_by_key`] does. In TLS 1.2 it also accepts RSA from 1024 bits and SHA-1.
    pub(super) fn verify_leniently(&self) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.verify_by_key();
        if verified.is_err() && matches!(self.version, Version::Tls12) && self.is_legacy()? {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verified
    }

    /// Verifies the signature of a TLS 1.2 handshake, for which rustls has no function that takes a key alone. In TLS
    /// 1.2 a scheme does not determine the curve, so it may stand for several algorithms (RFC 5246 §7.4.1.4.1).
    fn verify_tls12(&self, key: &SubjectPublicKeyInfoDer<'_>) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        let mapped = algorithms.mapping.iter().find(|(scheme, _)| *scheme == self.signature.scheme);
        let (_, candidates) = mapped.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let raw = webpki::RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
        let verified = candidates.iter().any(|algorithm| {
            raw.verify_signature(*algorithm, self.message, self.signature.signature()).is_ok()
        });
        if verified {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }

    fn is_legacy(&self) -> Result<bool, Error> {
        let Self { message, signature, .. } = self;
        Ok(is_legacy_signature(signature.scheme, &self.key()?, message, signature.signature()))
    }

    fn key(&self) -> Result<SubjectPublicKeyInfoDer<'_>, Error> {
        let certificate = der::Certificate::parse(self.certificate).ok_or(CertificateError::BadEncoding)?;
        Ok(certificate.key.into())
    }
}

/// Returns true for a valid signature of one of the [`LEGACY`] schemes.
fn is_legacy_signature(scheme: SignatureScheme, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm = LEGACY.iter().find(|(known, _)| *known == scheme).map(|(_, algorithm)| *algorithm);
    let key = der::subject_public_key(key);
    algorithm.zip(key).is_some_and(|(algorithm, key)| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    })
}

/// Returns the schemes that [`Signed::verify_by_key`] verifies.
pub(super) fn schemes() -> Vec<SignatureScheme> {
    provider().signature_verification_algorithms.supported_schemes()
}

/// Returns the schemes that [`Signed::verify_leniently`] verifies.
pub(super) fn lenient_schemes() -> Vec<SignatureScheme> {
    use SignatureScheme as Scheme;
    let mut schemes = schemes();
    // PKCS #1 comes before PSS, because short keys are verified for PKCS #1 only. TLS 1.3 has PSS alone.
    let is_pss = |scheme: &Scheme| {
        matches!(*scheme, Scheme::RSA_PSS_SHA256 | Scheme::RSA_PSS_SHA384 | Scheme::RSA_PSS_SHA512)
    };
    schemes.sort_by_key(|scheme| (is_pss(scheme), *scheme == Scheme::RSA_PKCS1_SHA384));
    schemes.push(Scheme::RSA_PKCS1_SHA1);
    schemes
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// A key of 1024 bits, as old appliances have them, and its signatures of `message` by PKCS #1, made by openssl.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCqcFZMB0ul1l/OflPE3S8rZuJx\n\
        xNGw5YszrY4CQc5oc1iKQO7vJpDFoxct9QqJYkgMBYWl7q29FyIXb/wasLeYQRMS\n\
        tDnCrXH824qJzi4Z9zpgFmbRhLtb+JJ9RfM5qZj84WkAK+ATLBSBqygRCxoZj+Z6\n\
        gnLHaQyZTl8/bbsUvQIDAQAB\n\
        -----END PUBLIC KEY-----\n";
    const SIGNATURES: [(SignatureScheme, &str); 3] = [
        (
            SignatureScheme::RSA_PKCS1_SHA1,
            "3b9770d3b8cc0d756351afa8793294f4bd765e6cfe3c9602c7e8db85d1be138c14754499d46151abda181df2446adc92\
             d3a21efe4ba278b12f5ea842f2026465a1e16ba99865959f8f1864d2d7133c16299a18df2b0abc5f47d0a51978b7f647\
             678c7e45e647caa85e1787a6c7b17ffe4f5c59ecf4fc5b833cd7780cedd68b91",
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA256,
            "640a5b306689ccc4afe3dc90bc0abfd4e70a62b7b96a5b22537e6f4ed10ddda2ea02871188497d9de155a3791ea31706\
             0c0aaa0f2662f486e40402ed04cf73049d959891642fc9a6a204c46256a0f17e41e3f7939014c07260f55ddf6b11d804\
             2442edbfeff65b2e4ece06af5c1bab22e10b6da76d968b0318afad17aedeee01",
        ),
        (
            SignatureScheme::RSA_PKCS1_SHA512,
            "5b7b5140a365ad34bf592a204e450168d9d609d4ae1af24f5e6bdb8a641a118bc3859cb3e12d9ee3d46f125cf71b4328\
             1e0491b0da8db19ea43e215e7ffebaaaa73668984fa8bad3e796935375123ff77a4ce92a196d8d8b74571fc68410d3f1\
             0676f8040e6879f4958a6f9e6d0093d0fb6e89de7537c5517200e0822da9bc9e",
        ),
    ];

    #[test]
    fn a_signature_of_a_short_key_or_with_sha_1_is_checked_like_any_other() {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(KEY.as_bytes()).unwrap();
        for (scheme, hex) in SIGNATURES {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let mut signature: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            assert!(is_legacy_signature(scheme, &key, b"message", &signature), "{scheme:?}");
            assert!(!is_legacy_signature(scheme, &key, b"another", &signature), "{scheme:?}");
            assert!(!is_legacy_signature(SignatureScheme::RSA_PSS_SHA256, &key, b"message", &signature));
            signature.pop();
            assert!(!is_legacy_signature(scheme, &key, b"message", &signature), "{scheme:?}");
        }
    }
}
