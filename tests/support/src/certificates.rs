//! Certificates made for a test, as files and as rustls configurations.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// A certificate authority with a folder in which it puts what it signs; the folder goes with it.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    issued: AtomicUsize,
}

/// A certificate and its key, as PEM files and as values.
#[derive(Debug)]
pub struct Identity {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// The file of the key.
    pub key: PathBuf,
    certificate: CertificateDer<'static>,
    private: PrivateKeyDer<'static>,
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificates {
    /// A new authority.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests' own authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let authority = certificate.der().clone();
        Self { folder, issuer: Issuer::new(params, key), authority, issued: AtomicUsize::new(0) }
    }

    /// The file of the authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The folder of the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A server's certificate for DNS names, `*.` at their front allowed, and IP addresses.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue(names, |_| {})
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(&self, name: &str) -> Identity {
        self.issue(&[], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    /// A server's certificate that expired in 2001.
    #[must_use]
    pub fn expired(&self, names: &[&str]) -> Identity {
        self.issue(names, |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    /// A server's certificate beside the key of another.
    #[must_use]
    pub fn mismatched(&self, names: &[&str]) -> Identity {
        let Identity { cert, certificate, .. } = self.server(names);
        let Identity { key, private, .. } = self.server(names);
        Identity { cert, key, certificate, private }
    }

    fn issue(&self, names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        adjust(&mut params);
        let pair = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&pair, &self.issuer).unwrap();

        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let cert = self.folder.path().join(format!("{number}.pem"));
        let key = self.folder.path().join(format!("{number}.key"));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
        let private = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
        Identity { cert, key, certificate: certificate.der().clone(), private }
    }

    /// A server with `identity`: HTTP/1.1 by ALPN and session tickets, as an ordinary HTTPS server has them.
    #[must_use]
    pub fn server_config(&self, identity: &Identity) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        ordinary(builder.with_single_cert(identity.chain(), identity.private.clone_key()).unwrap())
    }

    /// A server as [`Self::server_config`] makes it, that requires a client certificate of this authority.
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

    /// A client that trusts this authority only and offers these protocols by ALPN.
    #[must_use]
    pub fn client_config(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.client_builder().with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A client that trusts this authority only and shows `identity`.
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
    /// The certificate, as a peer sees it.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }
}

fn ordinary(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
    config
}
