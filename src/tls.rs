//! TLS on both sides: what listeners show and require, what upstreams are asked to show.
//!
//! Files in, through [`Files`](crate::files::Files), and rustls configurations out; nothing here knows the configuration
//! file. A configuration is built on the control side, once a listener or upstream and reload, and then shared by all
//! workers.

mod client;
mod error;
mod pem;
mod server;
mod sessions;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client::{ClientTls, client_config, server_name, with_own_sessions};
pub use error::TlsError;
pub use server::{ClientAuth, MinVersion, ServerTls, server_config};

/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub const ALPN_H1: &[u8] = b"http/1.1";

/// HTTP/2 over TLS in ALPN (RFC 9113 §3.1).
pub const ALPN_H2: &[u8] = b"h2";

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityFiles {
    /// The chain: the own certificate first, then the intermediate ones.
    pub cert: PathBuf,
    /// The unencrypted private key of the first certificate: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// The cryptography of every configuration, named here instead of installed for the process, so that a library that
/// installs another changes nothing.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
