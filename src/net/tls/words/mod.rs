//! Failed handshakes in words: the reason, and what to change. rustls's own text is the debug form of its enums.

mod alert;
mod certificate;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible, PeerMisbehaved};

use super::ClientTls;

/// The versions and suites of the provider, in the terms that an operator would search for.
const OFFERED: &str =
    "TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305, over X25519, P-256 or P-384";

/// The peer of a failed handshake.
#[derive(Debug, Clone, Copy)]
enum Peer<'a> {
    Server(&'a ClientTls),
    Client,
}

impl Peer<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Server(_) => "the server",
            Self::Client => "the client",
        }
    }

    /// Returns the file of the authorities that the peer's certificate is verified against, if the configuration names one.
    fn authorities(&self) -> Option<&Path> {
        match self {
            Self::Server(settings) => settings.ca.as_deref(),
            Self::Client => None,
        }
    }
}

/// Describes the reason for a failed handshake with an upstream, and what to change.
pub(crate) fn server_failure(error: &io::Error, settings: &ClientTls) -> String {
    let Some(error) = cause(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                "the server closed the connection during the TLS handshake; it may not speak TLS \
                                             at this port, or want a client certificate (`tls.client`)"
                    .to_owned()
            }
            _ => format!("the connection broke during the TLS handshake: {error}"),
        };
    };
    words(error, Peer::Server(settings))
}

/// Describes the reason for a failed handshake with a client.
pub(crate) fn client_failure(error: &io::Error) -> String {
    match cause(error) {
        Some(error) => words(error, Peer::Client),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client closed the connection during the handshake".to_owned()
        }
        None => format!("the connection broke during the handshake: {error}"),
    }
}

/// Returns true if a client was rejected because the revocation lists of its authorities do not decide about it. Only
/// the gateway's operator can change that.
pub(crate) fn is_about_revocation_lists(error: &io::Error) -> bool {
    use CertificateError as Flaw;
    match cause(error) {
        Some(Error::InvalidCertRevocationList(_)) => true,
        Some(Error::InvalidCertificate(flaw)) => matches!(
            flaw,
            Flaw::UnknownRevocationStatus
                | Flaw::ExpiredRevocationList
                | Flaw::ExpiredRevocationListContext { .. }
        ),
        _ => false,
    }
}

/// Returns true for an error of TLS itself, and not of the connection below it.
pub(crate) fn is_about_tls(error: &io::Error) -> bool {
    cause(error).is_some()
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn words(error: &Error, peer: Peer<'_>) -> String {
    let name = peer.name();
    match error {
        Error::InvalidCertificate(error) => certificate::words(error, peer),
        Error::InvalidCertRevocationList(error) => certificate::revocation_list(error),
        Error::AlertReceived(alert) => alert::words(*alert, peer),
        Error::PeerIncompatible(missing) => incompatible(missing, peer),
        Error::PeerMisbehaved(fault) => misbehaved(fault, peer),
        Error::InvalidMessage(fault) => invalid(*fault, peer),
        Error::NoCertificatesPresented => format!("{name} shows no certificate, but one is required"),
        Error::NoApplicationProtocol => no_protocol(peer).to_owned(),
        Error::PeerSentOversizedRecord => not_tls(peer).to_owned(),
        Error::DecryptError => {
            format!("a message of {name} cannot be decrypted: it was damaged or changed on its way")
        }
        Error::FailedToGetCurrentTime => "the clock of this machine cannot be read".to_owned(),
        Error::FailedToGetRandomBytes => "the system provides no random numbers".to_owned(),
        Error::UnsupportedNameType => {
            "the name to ask for is neither a DNS name nor an IP address; correct `sni`".to_owned()
        }
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidEncryptedClientHello(_) => breaks_rules(peer),
        _ => "the TLS handshake cannot be completed for a reason on the gateway's side".to_owned(),
    }
}

fn breaks_rules(peer: Peer<'_>) -> String {
    format!("{} breaks the rules of TLS; it, or something on the way to it, is at fault", peer.name())
}

fn not_tls(peer: Peer<'_>) -> &'static str {
    match peer {
        Peer::Server(_) => {
            "the server answers with something that is not TLS; if it speaks plain HTTP at this port, write `http://` in \
             place of `https://`"
        }
        Peer::Client => "the client does not speak TLS; it may have sent plain HTTP to this port",
    }
}

fn no_protocol(peer: Peer<'_>) -> &'static str {
    match peer {
        Peer::Server(_) => {
            "the server speaks none of the protocols that are offered (ALPN); enable HTTP/1.1 there"
        }
        Peer::Client => "the client offers none of the listener's protocols (ALPN)",
    }
}

fn too_old(peer: Peer<'_>) -> &'static str {
    match peer {
        Peer::Server(_) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3, and older versions are not safe; enable one of them there"
        }
        Peer::Client => {
            "the client offers no TLS version that the listener accepts; see `tls.min_version`, which may be 1.2 or 1.3"
        }
    }
}

/// Describes that the peer and the gateway have nothing in common. `what` is a noun in the plural.
fn nothing_in_common(what: &str, peer: Peer<'_>) -> String {
    let advice = match peer {
        Peer::Server(_) => "; enable one of these there",
        Peer::Client => "",
    };
    format!("{} and the gateway have no {what} in common: the gateway has {OFFERED}{advice}", peer.name())
}

fn incompatible(missing: &PeerIncompatible, peer: Peer<'_>) -> String {
    use PeerIncompatible as Missing;
    let name = peer.name();
    match missing {
        Missing::ServerDoesNotSupportTls12Or13
        | Missing::ServerTlsVersionIsDisabledByOurConfig
        | Missing::Tls12NotOffered
        | Missing::Tls12NotOfferedOrEnabled
        | Missing::SupportedVersionsExtensionRequired => too_old(peer).to_owned(),
        Missing::NoCipherSuitesInCommon => nothing_in_common("cipher suites", peer),
        Missing::NoKxGroupsInCommon
        | Missing::NamedGroupsExtensionRequired
        | Missing::KeyShareExtensionRequired => nothing_in_common("groups for the key exchange", peer),
        Missing::NoSignatureSchemesInCommon | Missing::SignatureAlgorithmsExtensionRequired => format!(
            "{name} and the gateway have no signature scheme in common for the key of the certificate; use a key of another \
             kind, such as ECDSA on P-256 or RSA of 2048 bits"
        ),
        Missing::NoCertificateRequestSignatureSchemesInCommon => {
            format!(
                "{name} asks for a client certificate whose key is of another kind; use one that it accepts under `tls.client`"
            )
        }
        Missing::EcPointsExtensionRequired
        | Missing::NoEcPointFormatsInCommon
        | Missing::UncompressedEcPointsRequired => {
            format!(
                "{name} does not accept uncompressed points of elliptic curves, which every implementation has to"
            )
        }
        Missing::NullCompressionRequired => {
            format!("{name} insists on compression, which is not safe; switch it off there")
        }
        Missing::ExtendedMasterSecretExtensionRequired => {
            format!(
                "{name} speaks TLS 1.2 without extended master secrets (RFC 7627), which are required; update it"
            )
        }
        Missing::IncorrectCertificateTypeExtension | Missing::UnsolicitedCertificateTypeExtension => {
            format!("{name} wants raw public keys in place of certificates; configure a certificate there")
        }
        _ => format!("{name} lacks a part of TLS that is required; update it"),
    }
}

fn misbehaved(fault: &PeerMisbehaved, peer: Peer<'_>) -> String {
    use PeerMisbehaved as Fault;
    match fault {
        Fault::SelectedUnofferedCipherSuite
        | Fault::SelectedUnusableCipherSuiteForVersion
        | Fault::SelectedDifferentCipherSuiteAfterRetry => {
            format!("{} chose a cipher suite that was not offered: the gateway has {OFFERED}", peer.name())
        }
        Fault::SelectedUnofferedKxGroup | Fault::WrongGroupForKeyShare => {
            nothing_in_common("groups for the key exchange", peer)
        }
        Fault::SignedKxWithWrongAlgorithm | Fault::SignedHandshakeWithUnadvertisedSigScheme => format!(
            "{} signs the handshake by an algorithm that was not offered, such as SHA-1; update it, or give it a key of another \
             kind",
            peer.name()
        ),
        Fault::SelectedUnofferedApplicationProtocol => no_protocol(peer).to_owned(),
        Fault::AttemptedDowngradeToTls12WhenTls13IsSupported => {
            "something on the way has forced an older version of TLS; look for a proxy that intercepts TLS"
                .to_owned()
        }
        Fault::SelectedUnofferedCompression => {
            format!("{} insists on compression, which is not safe", peer.name())
        }
        _ => breaks_rules(peer),
    }
}

fn invalid(fault: InvalidMessage, peer: Peer<'_>) -> String {
    match fault {
        InvalidMessage::InvalidContentType
        | InvalidMessage::UnknownProtocolVersion
        | InvalidMessage::MessageTooLarge
        | InvalidMessage::InvalidEmptyPayload => not_tls(peer).to_owned(),
        InvalidMessage::UnsupportedKeyExchangeAlgorithm(_)
        | InvalidMessage::UnsupportedCurveType
        | InvalidMessage::InvalidDhParams => nothing_in_common("groups for the key exchange", peer),
        InvalidMessage::CertificatePayloadTooLarge | InvalidMessage::HandshakePayloadTooLarge => {
            format!("{} sends a certificate chain above 64 KiB; shorten it", peer.name())
        }
        InvalidMessage::InvalidServerName => {
            format!("{} sends a server name that is no DNS name", peer.name())
        }
        InvalidMessage::UnsupportedCompression => {
            format!("{} insists on compression, which is not safe", peer.name())
        }
        _ => breaks_rules(peer),
    }
}
