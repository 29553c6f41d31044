//! Files that are not PEM: their actual formats, and how to convert them.

use std::path::Path;

use super::der;

/// `INTEGER 3`, the version that a PKCS #12 file begins with (RFC 7292 §4).
const PKCS12: &[u8] = &[0x02, 0x01, 0x03];
/// The object identifier of signed data, which a PKCS #7 file begins with (RFC 5652 §5.1).
const PKCS7: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const JAVA_KEY_STORE: &[u8] = &[0xfe, 0xed, 0xfe, 0xed];

/// Returns the actual format of a file that is not PEM, and how to convert it. Returns `None` for a file that may be PEM.
pub(super) fn not_pem(content: &[u8], path: &Path) -> Option<String> {
    let file = path.display();
    let starts = |prefix: &[u8]| content.starts_with(prefix);
    if let Some(inside) = der::inside_sequence(content) {
        return Some(match inside {
            _ if inside.starts_with(PKCS12) => format!(
                "is a PKCS #12 container and not PEM; convert it with `openssl pkcs12 -in {file} -nodes -out {file}.pem`"
            ),
            _ if inside.starts_with(PKCS7) => format!(
                "is a PKCS #7 container and not PEM; convert it with `openssl pkcs7 -inform DER -print_certs -in {file} \
                 -out {file}.pem`"
            ),
            _ if der::Certificate::parse(content).is_some() => format!(
                "is a certificate in DER and not PEM; convert it with `openssl x509 -inform DER -in {file} -out {file}.pem`"
            ),
            [0x02, 0x01, ..] => format!(
                "is a key in DER and not PEM; convert it with `openssl pkey -inform DER -in {file} -out {file}.pem`"
            ),
            _ if der::is_encrypted_key(inside) => format!(
                "is an encrypted key in DER and not PEM, and the gateway has no password for it; convert and decrypt it with \
                 `openssl pkcs8 -inform DER -in {file} -out PLAIN.key`, and make the result readable to the gateway's user alone"
            ),
            [0x30, ..] if der::is_revocation_list(content) => format!(
                "is a revocation list in DER and not PEM; convert it with `openssl crl -inform DER -in {file} -out {file}.pem`"
            ),
            _ => "is DER and not PEM, and neither a certificate nor a key; name another file".to_owned(),
        });
    }
    if starts(JAVA_KEY_STORE) {
        return Some(format!(
            "is a Java key store and not PEM; convert it with `keytool -importkeystore -srckeystore {file} -destkeystore \
             {file}.p12 -deststoretype PKCS12`, and that with `openssl pkcs12 -in {file}.p12 -nodes -out {file}.pem`"
        ));
    }
    if starts(b"PuTTY-User-Key-File") {
        if is_encrypted_putty_key(content) {
            return Some(format!(
                "is an encrypted key in PuTTY's format, and the gateway has no password for it; convert and decrypt it with \
                 `puttygen {file} -O private-openssh -o COPY` and `ssh-keygen -p -m PKCS8 -N \"\" -f COPY`"
            ));
        }
        return Some(format!(
            "is a key in PuTTY's format; convert it with `puttygen {file} -O private-openssh -o COPY` and \
             `ssh-keygen -p -m PKCS8 -f COPY`"
        ));
    }
    if starts(b"\xff\xfe") || starts(b"\xfe\xff") {
        return Some("is text in UTF-16; save it as UTF-8 or ASCII".to_owned());
    }
    if starts(b"ssh-") || starts(b"ecdsa-sha2-") {
        return Some(
            "is a public key of OpenSSH; TLS needs an X.509 certificate and its private key".to_owned(),
        );
    }
    if content.trim_ascii_start().starts_with(b"<") {
        return Some("is a web page or XML and not PEM; download the file itself".to_owned());
    }
    None
}

/// Returns true if a key in PuTTY's format has an `Encryption` header, its second line, that names a cipher.
fn is_encrypted_putty_key(content: &[u8]) -> bool {
    let header = content.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Encryption:"));
    header.is_some_and(|cipher| cipher.trim_ascii() != b"none")
}
