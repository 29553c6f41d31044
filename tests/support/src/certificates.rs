//! Test certificates, as files and as rustls configurations.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;

use crate::private_folder;

/// A certificate authority with a temporary folder for the certificates that it signs.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    /// True for an authority whose own certificate comes with those that it signs.
    is_intermediate: bool,
    issued: AtomicUsize,
}

/// A certificate and its key, as PEM files and as values.
#[derive(Debug)]
pub struct Identity {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
    /// Its own certificate first, then those that a peer may lack.
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
    serial_number: u64,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// Creates an authority.
    #[must_use]
    pub fn new() -> Self {
        let params = authority("tests' own authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::of(Issuer::new(params, key), &certificate, false)
    }

    /// Returns an authority that this one has signed. The certificates that it signs come with its own.
    #[must_use]
    pub fn intermediate(&self) -> Self {
        let mut params = authority("tests' intermediate authority");
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(self.next_number().into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self::of(Issuer::new(params, key), &certificate, true)
    }

    fn of(issuer: Issuer<'static, KeyPair>, certificate: &rcgen::Certificate, is_intermediate: bool) -> Self {
        let folder = private_folder();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let authority = certificate.der().clone();
        Self { folder, issuer, authority, is_intermediate, issued: AtomicUsize::new(1) }
    }

    /// Returns the file of the authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a server's certificate for DNS names, which may begin with `*.`, and IP addresses.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue(names, |_| {})
    }

    /// Returns a client's certificate.
    #[must_use]
    pub fn client(&self, name: &str) -> Identity {
        self.issue(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// Returns a client's certificate with alternative names: URIs if they have `://`, mail addresses if they have `@`, else DNS names
    /// and IP addresses.
    #[must_use]
    pub fn client_with_names(&self, common_name: &str, names: &[&str]) -> Identity {
        self.issue(&[], |params| {
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Example, Inc");
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names = names
                .iter()
                .map(|name| match name.parse() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
                    Err(_) if name.contains('@') => SanType::Rfc822Name((*name).try_into().unwrap()),
                    Err(_) => SanType::DnsName((*name).try_into().unwrap()),
                })
                .collect();
        })
    }

    /// Returns a server's certificate that expired in 2001.
    #[must_use]
    pub fn expired(&self, names: &[&str]) -> Identity {
        self.issue(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// Returns a server's certificate that is valid between two times.
    #[must_use]
    pub fn valid_between(&self, names: &[&str], from: SystemTime, until: SystemTime) -> Identity {
        self.issue(names, |params| {
            params.not_before = from.into();
            params.not_after = until.into();
        })
    }

    /// Returns a server's certificate with the key of another one.
    #[must_use]
    pub fn mismatched(&self, names: &[&str]) -> Identity {
        let Identity { cert, chain, serial_number, .. } = self.server(names);
        let Identity { key, private, .. } = self.server(names);
        Identity { cert, key, chain, private, serial_number }
    }

    /// Returns a self-signed certificate like that of `openssl req -x509` for a server: an authority's, CA:TRUE.
    /// Without names it has no subjectAltName.
    #[must_use]
    pub fn self_signed(&self, names: &[&str]) -> Identity {
        self.issue_self_signed(names, |_| {})
    }

    /// Returns a server's self-signed certificate that may not sign others. Without names it has no subjectAltName.
    #[must_use]
    pub fn self_signed_leaf(&self, names: &[&str]) -> Identity {
        self.issue_self_signed(names, |params| params.is_ca = IsCa::ExplicitNoCa)
    }

    /// Returns a certificate like that of [`Self::self_signed`], whose key usage lacks `keyCertSign`.
    #[must_use]
    pub fn self_signed_without_key_cert_sign(&self, names: &[&str]) -> Identity {
        self.issue_self_signed(names, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature])
    }

    /// Returns a server's certificate signed by the key of a self-signed one, which may have no right to sign.
    #[must_use]
    pub fn signed_by(&self, signer: &Identity, names: &[&str]) -> Identity {
        let key = KeyPair::try_from(&signer.private).unwrap();
        let pair = KeyPair::generate().unwrap();
        let certificate = subject(names).signed_by(&pair, &Issuer::new(self_signed(&[]), key)).unwrap();
        self.write(self.next_number(), vec![certificate.der().clone()], &pair)
    }

    /// Returns a certificate like that of [`Self::self_signed`] that expired in 2001.
    #[must_use]
    pub fn self_signed_and_expired(&self, names: &[&str]) -> Identity {
        self.issue_self_signed(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// Returns the revocation list for these certificates of this authority, as PEM, with its next update in this year.
    #[must_use]
    pub fn revocation_list(&self, revoked: &[&Identity], next_update_year: i32) -> String {
        let revoked = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial_number.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_update_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn issue(&self, names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = subject(names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        adjust(&mut params);
        let number = self.next_number();
        params.serial_number = Some(number.into());
        let pair = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&pair, &self.issuer).unwrap().der().clone();
        let above = self.is_intermediate.then(|| self.authority.clone());
        self.write(number, [certificate].into_iter().chain(above).collect(), &pair)
    }

    fn issue_self_signed(&self, names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = self_signed(names);
        adjust(&mut params);
        let pair = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&pair).unwrap().der().clone();
        self.write(self.next_number(), vec![certificate], &pair)
    }

    fn next_number(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::Relaxed) as u64
    }

    fn write(&self, number: u64, chain: Vec<CertificateDer<'static>>, pair: &KeyPair) -> Identity {
        let cert = self.folder.path().join(format!("{number}.pem"));
        let key = self.folder.path().join(format!("{number}.key"));
        fs::write(&cert, chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect::<String>())
            .unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let private = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
        Identity { cert, key, chain, private, serial_number: number }
    }

    /// Returns the same certificate with other bytes, which no library would make, and writes them to its file. It
    /// matches no signature any more but that of its own key.
    #[must_use]
    pub fn rewritten(&self, identity: Identity, rewrite: impl FnOnce(&[u8]) -> Vec<u8>) -> Identity {
        let certificate = CertificateDer::from(rewrite(identity.certificate()));
        fs::write(&identity.cert, pem("CERTIFICATE", &certificate)).unwrap();
        Identity { chain: vec![certificate], ..identity }
    }

    /// Returns a server configuration with `identity`, HTTP/1.1 by ALPN and session tickets, like that of an ordinary
    /// HTTPS server.
    #[must_use]
    pub fn server_config(&self, identity: &Identity) -> ServerConfig {
        self.server_config_of_versions(identity, rustls::ALL_VERSIONS)
    }

    /// Returns a server configuration like [`Self::server_config`] for these TLS versions. It shows any certificate,
    /// however broken.
    #[must_use]
    pub fn server_config_of_versions(
        &self,
        identity: &Identity,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(identity.private.clone_key()).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(identity.chain(), key));
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        ordinary(builder.with_no_client_auth().with_cert_resolver(Arc::new(shown)))
    }

    /// Returns a server configuration like [`Self::server_config`] that requires a client certificate of this
    /// authority.
    #[must_use]
    pub fn server_config_with_client_auth(&self, identity: &Identity) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), Arc::clone(&provider));
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
        ordinary(builder.with_single_cert(identity.chain(), identity.private.clone_key()).unwrap())
    }

    /// Returns a client configuration that trusts only this authority and offers these protocols by ALPN.
    #[must_use]
    pub fn client_config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.client_builder().with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Returns a client configuration that trusts only this authority and shows `identity`.
    #[must_use]
    pub fn client_config_with(&self, identity: &Identity) -> Arc<ClientConfig> {
        let builder = self.client_builder();
        Arc::new(builder.with_client_auth_cert(identity.chain(), identity.private.clone_key()).unwrap())
    }

    fn client_builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        roots
    }
}

impl Identity {
    /// Returns the certificate, as a peer sees it.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().expect("a chain begins with the certificate itself")
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits =
            three.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        for position in 0..4 {
            let digit = char::from(ALPHABET[bits >> (18 - 6 * position) & 63]);
            text.push(if position > three.len() { '=' } else { digit });
        }
    }
    let lines: String =
        text.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn subject(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn self_signed(names: &[&str]) -> CertificateParams {
    let mut params = subject(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params
}

fn ordinary(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    config
}
