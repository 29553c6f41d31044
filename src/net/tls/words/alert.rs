//! Alerts: a peer's reasons for ending a handshake (RFC 8446 §6.2).

use rustls::AlertDescription as Alert;

use super::{OFFERED, Peer, no_protocol, too_old};

/// Describes the objection of the peer, and what to change.
pub(super) fn words(alert: Alert, peer: Peer<'_>) -> String {
    match (alert, peer) {
        (Alert::ProtocolVersion, _) => too_old(peer).to_owned(),
        (Alert::NoApplicationProtocol, _) => no_protocol(peer).to_owned(),
        (Alert::HandshakeFailure | Alert::InsufficientSecurity, Peer::Server(_)) => format!(
            "the server refuses what it is offered: {OFFERED}; enable one of these there, or show it the client certificate \
             that it may want (`tls.client`)"
        ),
        (Alert::UnrecognisedName, Peer::Server(_)) => {
            "the server does not know the name that it is asked for (SNI); write a name that it knows under `tls.sni`".to_owned()
        }
        (Alert::CertificateRequired, Peer::Server(settings)) if settings.identity.is_none() => {
            "the server requires a client certificate; name one under `tls.client`".to_owned()
        }
        (alert, Peer::Server(_)) if is_about_certificate(alert) => format!(
            "the server refuses the client certificate ({}); name one that it accepts under `tls.client`",
            name(alert)
        ),
        (alert, Peer::Client) if is_about_certificate(alert) => {
            format!("the client refuses the listener's certificate ({})", name(alert))
        }
        (alert, peer) => format!("{} ends the handshake with the alert {}", peer.name(), name(alert)),
    }
}

fn is_about_certificate(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateUnobtainable
            | Alert::BadCertificateStatusResponse
            | Alert::BadCertificateHashValue
            | Alert::CertificateRequired
    )
}

/// Returns an alert's name as the RFCs write it.
fn name(alert: Alert) -> String {
    let name = match alert {
        Alert::CloseNotify => "close_notify",
        Alert::UnexpectedMessage => "unexpected_message",
        Alert::BadRecordMac => "bad_record_mac",
        Alert::DecryptionFailed => "decryption_failed",
        Alert::RecordOverflow => "record_overflow",
        Alert::DecompressionFailure => "decompression_failure",
        Alert::HandshakeFailure => "handshake_failure",
        Alert::NoCertificate => "no_certificate",
        Alert::BadCertificate => "bad_certificate",
        Alert::UnsupportedCertificate => "unsupported_certificate",
        Alert::CertificateRevoked => "certificate_revoked",
        Alert::CertificateExpired => "certificate_expired",
        Alert::CertificateUnknown => "certificate_unknown",
        Alert::IllegalParameter => "illegal_parameter",
        Alert::UnknownCA => "unknown_ca",
        Alert::AccessDenied => "access_denied",
        Alert::DecodeError => "decode_error",
        Alert::DecryptError => "decrypt_error",
        Alert::ExportRestriction => "export_restriction",
        Alert::ProtocolVersion => "protocol_version",
        Alert::InsufficientSecurity => "insufficient_security",
        Alert::InternalError => "internal_error",
        Alert::InappropriateFallback => "inappropriate_fallback",
        Alert::UserCanceled => "user_canceled",
        Alert::NoRenegotiation => "no_renegotiation",
        Alert::MissingExtension => "missing_extension",
        Alert::UnsupportedExtension => "unsupported_extension",
        Alert::CertificateUnobtainable => "certificate_unobtainable",
        Alert::UnrecognisedName => "unrecognized_name",
        Alert::BadCertificateStatusResponse => "bad_certificate_status_response",
        Alert::BadCertificateHashValue => "bad_certificate_hash_value",
        Alert::UnknownPSKIdentity => "unknown_psk_identity",
        Alert::CertificateRequired => "certificate_required",
        Alert::NoApplicationProtocol => "no_application_protocol",
        Alert::EncryptedClientHelloRequired => "ech_required",
        other => return format!("{}", u8::from(other)),
    };
    name.to_owned()
}
