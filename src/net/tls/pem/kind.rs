//! The kinds of PEM blocks, and the decision about each in a file that should hold certificates, a key or revocation lists.

use std::fmt;

use super::quoted::Quoted;

/// The label of a block: the text between `BEGIN` and the hyphens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(String);

/// The purpose for which a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Certificates,
    Key,
    RevocationLists,
}

/// The decision about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The block is what the file is read for.
    Take,
    /// The block may be in such a file beside the wanted ones.
    PassOver,
    /// The block is an error, for this reason. `FILE` stands for the file's path.
    Refuse(&'static str),
}

const CERTIFICATES: [&str; 2] = ["CERTIFICATE", "X509 CERTIFICATE"];
const KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const REVOCATION_LISTS: &str = "X509 CRL";
/// The curve of a key, which the key names as well; `openssl ecparam -genkey` writes both.
const EC_PARAMETERS: &str = "EC PARAMETERS";

const ENCRYPTED: &str = "is an encrypted key, and the gateway has no password for it; decrypt it with \
                         `openssl pkey -in FILE -out PLAIN.key`, and make the result readable to the gateway's user alone";
const OPENSSH: &str =
    "is a key in OpenSSH's own format; convert a copy of it with `ssh-keygen -p -m PKCS8 -f COPY`";
const OPENSSH_ENCRYPTED: &str = "is an encrypted key in OpenSSH's own format; convert and decrypt a copy of it with \
                                 `ssh-keygen -p -m PKCS8 -N \"\" -f COPY`";
const UNKNOWN_KEY: &str = "is a key of a kind that is not known; use ECDSA, RSA or Ed25519";
const REQUEST: &str = "is a request for a certificate and none itself; name the certificate that the authority has issued for it";
const DH_PARAMETERS: &str = "sets up a key exchange that the gateway does not use; delete the block";
const OPENPGP: &str = "belongs to OpenPGP and not to TLS; name a file with X.509 certificates and their key";

/// Other labels of PEM files, and the advice about each.
const FOREIGN: [(&str, &str); 20] = [
    ("ENCRYPTED PRIVATE KEY", ENCRYPTED),
    ("OPENSSH PRIVATE KEY", OPENSSH),
    ("DSA PRIVATE KEY", "is a DSA key, which TLS no longer has; use ECDSA, RSA or Ed25519"),
    ("ANY PRIVATE KEY", UNKNOWN_KEY),
    (
        "TRUSTED CERTIFICATE",
        "is a certificate with OpenSSL's trust settings; write it without them by \
                             `openssl x509 -in FILE -out PLAIN.pem`",
    ),
    ("CERTIFICATE REQUEST", REQUEST),
    ("NEW CERTIFICATE REQUEST", REQUEST),
    ("PUBLIC KEY", PUBLIC),
    ("RSA PUBLIC KEY", PUBLIC),
    ("EC PUBLIC KEY", PUBLIC),
    ("DSA PUBLIC KEY", PUBLIC),
    ("SSH2 PUBLIC KEY", PUBLIC),
    ("DH PARAMETERS", DH_PARAMETERS),
    ("X9.42 DH PARAMETERS", DH_PARAMETERS),
    ("DSA PARAMETERS", "belongs to DSA, which TLS no longer has; use ECDSA, RSA or Ed25519"),
    ("PKCS7", PKCS7),
    ("PKCS #7 SIGNED DATA", PKCS7),
    ("CMS", PKCS7),
    ("PGP PRIVATE KEY BLOCK", OPENPGP),
    ("PGP PUBLIC KEY BLOCK", OPENPGP),
];
const PUBLIC: &str = "is only the public half of a key; name the file with the private key, or for a certificate the file \
                      with the certificate";
const PKCS7: &str = "is a PKCS #7 container; take the certificates out of it by \
                     `openssl pkcs7 -print_certs -in FILE -out CHAIN.pem`";

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl Label {
    pub(super) fn is(&self, other: &str) -> bool {
        self.0 == other.trim()
    }

    pub(super) fn is_certificate(&self) -> bool {
        CERTIFICATES.contains(&&*self.0)
    }

    pub(super) fn is_key(&self) -> bool {
        KEYS.contains(&&*self.0) || self.0.ends_with("PRIVATE KEY")
    }

    pub(super) fn is_revocation_list(&self) -> bool {
        self.0 == REVOCATION_LISTS
    }

    /// Returns the label by which the library knows the contents.
    pub(super) fn canonical(&self) -> &str {
        if self.is_certificate() { CERTIFICATES[0] } else { &self.0 }
    }

    /// Decides about a block with this label. `is_encrypted` comes from its header, and `body` has its contents in base64.
    pub(super) fn verdict(&self, wanted: Wanted, is_encrypted: bool, body: &[u8]) -> Verdict {
        let is_plain_key = KEYS.contains(&&*self.0) && !is_encrypted;
        match wanted {
            Wanted::Certificates if self.is_certificate() => Verdict::Take,
            Wanted::Key if is_plain_key => Verdict::Take,
            Wanted::RevocationLists if self.is_revocation_list() => Verdict::Take,
            // A key and its chain may share a file, in either order.
            Wanted::Certificates if self.is_key() || self.0 == EC_PARAMETERS => Verdict::PassOver,
            Wanted::Key if self.is_certificate() || self.0 == EC_PARAMETERS => Verdict::PassOver,
            Wanted::Key if is_encrypted => Verdict::Refuse(ENCRYPTED),
            _ => Verdict::Refuse(self.advice(wanted, body)),
        }
    }

    fn advice(&self, wanted: Wanted, body: &[u8]) -> &'static str {
        if wanted == Wanted::RevocationLists && self.is_key() {
            return "is a private key; a file under `crl` holds revocation lists alone: move it";
        }
        if self.0 == "OPENSSH PRIVATE KEY" {
            // The name of its cipher comes first: `none`.
            return if body.starts_with(b"b3BlbnNzaC1rZXktdjEAAAAABG5vbm") {
                OPENSSH
            } else {
                OPENSSH_ENCRYPTED
            };
        }
        if self.is_revocation_list() {
            return "is a revocation list; name its file under `client_auth.crl`, or delete the block";
        }
        if self.is_certificate() {
            return "is a certificate; a file under `crl` holds revocation lists alone: move it";
        }
        match FOREIGN.iter().find(|(label, _)| *label == self.0) {
            Some((_, advice)) => advice,
            None if self.is_key() => UNKNOWN_KEY,
            None => "is of a kind that is not known here; delete the block, or name another file",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted(&self.0).fmt(f)
    }
}

/// Returns all known labels, in capitals.
pub(super) fn known_labels() -> impl Iterator<Item = &'static str> {
    let foreign = FOREIGN.iter().map(|(label, _)| *label);
    foreign.chain(CERTIFICATES).chain(KEYS).chain([REVOCATION_LISTS, EC_PARAMETERS])
}
