//! PEM files as they exist: each is read whole, or rejected with the line and what to do.

use std::fs;

use support::{Certificates, Identity};

use super::markers::BEGIN;
use super::*;

/// The contents of the files that the tests put together.
struct Material {
    certificates: Certificates,
    leaf: Identity,
    cert: String,
    chain: String,
    key: String,
}

impl Material {
    fn new() -> Self {
        let certificates = Certificates::new();
        let leaf = certificates.server(&["a.test"]);
        let [cert, chain, key] = [&leaf.cert, &certificates.ca(), &leaf.key]
            .map(|path| fs::read_to_string(path).unwrap().replace('\r', ""));
        Self { certificates, leaf, cert, chain, key }
    }

    /// Reads a file with this content.
    fn read(&self, content: impl AsRef<[u8]>, wanted: Wanted) -> Result<Vec<Decoded>, TlsError> {
        let path = self.certificates.folder().join("file.pem");
        fs::write(&path, content).unwrap();
        wanted_blocks(&path, wanted, &Files::new())
    }

    /// Returns the lines at which the blocks of a file begin.
    fn lines(&self, content: impl AsRef<[u8]>, wanted: Wanted) -> Vec<usize> {
        match self.read(content, wanted) {
            Ok(blocks) => blocks.iter().map(|block| block.line).collect(),
            Err(error) => panic!("{error}"),
        }
    }

    fn refusal(&self, content: impl AsRef<[u8]>, wanted: Wanted) -> String {
        match self.read(content, wanted) {
            Ok(blocks) => panic!("{} blocks were read", blocks.len()),
            Err(error) => error.to_string(),
        }
    }
}

/// Returns a block with this label around the contents of another one.
fn relabelled(block: &str, label: &str) -> String {
    let inside: String =
        block.lines().filter(|line| !line.starts_with('-')).map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN {label}-----\n{inside}-----END {label}-----\n")
}

#[test]
fn every_certificate_of_a_file_is_read_however_its_lines_end() {
    let made = Material::new();
    let Material { cert, chain, key, .. } = &made;
    let lines = cert.lines().count();
    let both = format!("{cert}{chain}");
    let glued = format!("{}{chain}", cert.trim_end());
    assert!(glued.contains("-----END CERTIFICATE----------BEGIN CERTIFICATE-----"));
    let text =
        "Certificate:\n    Data:\n        00:2d:2d:2d\n        Issuer: O = End-to-end, CN = M\u{fc}ller\n";
    let wrapped = both.replace('\n', " \t\n").replace("-----BEGIN", "  -----BEGIN");
    let in_one_line = cert.replace('\n', "");
    for (name, content, expected) in [
        ("a chain", both.clone().into_bytes(), vec![1, lines + 1]),
        ("without a line break at the border", glued.into_bytes(), vec![1, lines]),
        ("CR LF", both.replace('\n', "\r\n").into(), vec![1, lines + 1]),
        ("CR", both.replace('\n', "\r").into(), vec![1, lines + 1]),
        ("a byte order mark", format!("\u{feff}{both}").into(), vec![1, lines + 1]),
        ("white space around the lines", wrapped.into(), vec![1, lines + 1]),
        (
            "text around",
            format!("{text}{cert}\n{text}{chain}# end of the chain\n").into(),
            vec![5, lines + 10],
        ),
        ("text that is not UTF-8", [b"CN = M\xfcller\n", both.as_bytes()].concat(), vec![2, lines + 2]),
        ("each in one line", format!("{in_one_line}{in_one_line}").into(), vec![1, 1]),
        ("no line break at the end", both.trim_end().into(), vec![1, lines + 1]),
        ("the old label", relabelled(cert, "X509 CERTIFICATE").into(), vec![1]),
        ("the key before", format!("{key}{cert}").into(), vec![1 + key.lines().count()]),
        ("the key behind", format!("{cert}{key}").into(), vec![1]),
        ("the key glued on", format!("{}{key}", cert.trim_end()).into(), vec![1]),
    ] {
        assert_eq!(made.lines(content, Wanted::Certificates), expected, "{name}");
    }
}

#[test]
fn a_key_is_read_beside_its_chain_and_its_parameters() {
    let made = Material::new();
    let Material { cert, key, .. } = &made;
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for (content, line) in [
        (key.clone(), 1),
        (format!("{parameters}{key}"), 4),
        (format!("{}{key}", parameters.trim_end()), 3),
        (format!("{key}{cert}"), 1),
        (format!("{cert}{parameters}{key}"), cert.lines().count() + 4),
        (format!("Bag Attributes\n    friendlyName: a\nKey Attributes: <No Attributes>\n{key}"), 4),
    ] {
        assert_eq!(made.lines(&content, Wanted::Key), [line], "{content}");
    }
    for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        assert_eq!(made.lines(relabelled(key, label), Wanted::Key), [1], "{label}");
    }
}

#[test]
fn a_damaged_file_is_refused_at_the_line_of_the_damage() {
    let made = Material::new();
    let Material { cert, chain, key, .. } = &made;
    let lines = cert.lines().count();
    let without = |line: usize| -> String {
        cert.lines()
            .enumerate()
            .filter(|(at, _)| at + 1 != line)
            .map(|(_, line)| format!("{line}\n"))
            .collect()
    };
    let changed = |from: &str, to: &str| cert.replacen(from, to, 1);
    let body = cert.lines().nth(1).unwrap();
    for (name, content, line, says) in [
        ("no END", without(lines), 1, "never ends: `-----END CERTIFICATE-----` is missing"),
        (
            "no END before a BEGIN",
            format!("{}{chain}", without(lines)),
            lines,
            "a block begins inside the block of line 1",
        ),
        ("no BEGIN", without(1), 1, "without its BEGIN marker"),
        (
            "no BEGIN in the middle",
            format!("{chain}{}", without(1)),
            1 + chain.lines().count(),
            "without its BEGIN marker",
        ),
        ("END alone", format!("{cert}-----END CERTIFICATE-----\n"), lines + 1, "no BEGIN marker"),
        (
            "another END",
            changed("END CERTIFICATE", "END X509 CRL"),
            lines,
            "`END X509 CRL` ends the block `CERTIFICATE` of line 1",
        ),
        (
            "four hyphens",
            changed("-----BEGIN", "----BEGIN"),
            1,
            "`----BEGIN CERTIFICATE-----` is not a marker",
        ),
        ("four hyphens behind", changed("TE-----\n", "TE----\n"), 1, "is not a marker"),
        (
            "six hyphens' worth of dashes",
            changed("-----BEGIN", "\u{2014}\u{2014}-BEGIN"),
            1,
            "is not a marker",
        ),
        ("no label", format!("{cert}see -----BEGIN \n"), lines + 1, "is not a marker"),
        ("a label in the next line", changed("BEGIN ", "BEGIN\n"), 1, "`-----BEGIN` is not a marker"),
        ("a label of END in the next line", changed("END ", "END\n"), lines, "is not a marker"),
        ("small letters", changed("BEGIN CERTIFICATE", "begin certificate"), 1, "is not a marker"),
        ("a damaged END", changed("-----END", "---END"), lines, "`---END CERTIFICATE-----` is not a marker"),
        (
            "a block that is commented out",
            format!("{cert}# {}", chain.replace('\n', "\n# ")),
            lines + 1,
            "behind other text",
        ),
        (
            "a word after END",
            format!("{} chain\n{chain}", cert.trim_end()),
            lines,
            "something follows the END marker",
        ),
        ("garbage", changed(body, &body.replacen('I', "\u{e4}", 1)), 2, "`\u{e4}` is not base64"),
        ("a star", changed(body, &body.replacen('I', "*", 1)), 2, "`*` is not base64"),
        (
            "a header",
            changed(body, &format!("Comment: mine\n{body}")),
            2,
            "the header `Comment` does not belong",
        ),
        ("escaped line breaks", cert.replace('\n', "\\n"), 1, "two characters"),
        ("a line lost", without(2), 1, "is damaged or cut off inside"),
        ("a byte lost", changed(body, &body[1..]), 1, "is damaged or cut off inside"),
        (
            "nothing inside",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
            1,
            "is damaged",
        ),
        ("padding in the middle", changed(body, &format!("{}==", &body[..62])), 1, "is damaged"),
    ] {
        let error = made.refusal(&content, Wanted::Certificates);
        assert!(
            error.contains(&format!("file.pem`, line {line}: ")) && error.contains(says),
            "{name}: {error}"
        );
    }
    // Damage in a skipped block counts as well.
    let error = made.refusal(format!("{}{key}", changed(body, "?")), Wanted::Key);
    assert!(error.contains("line 2: `?` is not base64"), "{error}");
}

#[test]
fn a_block_of_another_kind_is_refused_with_what_to_do() {
    let made = Material::new();
    let Material { cert, key, .. } = &made;
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,C0BA3282\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let openssh = |cipher: &str| {
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA{cipher}\n-----END OPENSSH PRIVATE KEY-----\n"
        )
    };
    for (wanted, content, says) in [
        (Wanted::Certificates, relabelled(cert, "TRUSTED CERTIFICATE"), "openssl x509 -in "),
        (Wanted::Certificates, relabelled(cert, "NEW CERTIFICATE REQUEST"), "is a request for a certificate"),
        (Wanted::Certificates, relabelled(cert, "CERTIFICATE REQUEST"), "is a request for a certificate"),
        (Wanted::Certificates, relabelled(cert, "PUBLIC KEY"), "public half"),
        (Wanted::Certificates, relabelled(cert, "DH PARAMETERS"), "delete the block"),
        (Wanted::Certificates, relabelled(cert, "PKCS7"), "openssl pkcs7 -print_certs"),
        (Wanted::Certificates, relabelled(cert, "X509 CRL"), "under `client_auth.crl`"),
        (Wanted::Certificates, relabelled(cert, "certificate"), "is not a marker"),
        (Wanted::Certificates, relabelled(cert, "SOMETHING"), "`SOMETHING` is of a kind that is not known"),
        (Wanted::Key, relabelled(key, "ENCRYPTED PRIVATE KEY"), "is an encrypted key"),
        (Wanted::Key, legacy.to_owned(), "is an encrypted key"),
        (Wanted::Key, openssh("BG5vbmUAAAAEbm9uZQ"), "ssh-keygen -p -m PKCS8 -f COPY"),
        (Wanted::Key, openssh("CmFlczI1Ni1jdHIAAAAGYmNyeXB0"), "is an encrypted key in OpenSSH's own format"),
        (Wanted::Key, relabelled(key, "DSA PRIVATE KEY"), "is a DSA key"),
        (
            Wanted::Key,
            relabelled(key, "ED25519 PRIVATE KEY"),
            "is a key of a kind that is not known; use ECDSA",
        ),
        (Wanted::Key, relabelled(key, "PUBLIC KEY"), "public half"),
        (Wanted::Key, relabelled(key, "SOMETHING"), "not known"),
        (Wanted::RevocationLists, cert.clone(), "is a certificate; a file under `crl`"),
        (Wanted::RevocationLists, key.clone(), "is a private key; a file under `crl`"),
        (
            Wanted::RevocationLists,
            relabelled(key, "ED25519 PRIVATE KEY"),
            "is a private key; a file under `crl`",
        ),
        (
            Wanted::RevocationLists,
            relabelled(key, "ENCRYPTED PRIVATE KEY"),
            "is a private key; a file under `crl`",
        ),
        (Wanted::RevocationLists, openssh("BG5vbmUAAAAEbm9uZQ"), "is a private key; a file under `crl`"),
    ] {
        // The block is also found beside a good one in the same file.
        let good = match wanted {
            Wanted::Certificates => cert.as_str(),
            Wanted::Key => key.as_str(),
            Wanted::RevocationLists => "",
        };
        for content in [content.clone(), format!("{good}{content}"), format!("{content}{good}")] {
            let error = made.refusal(&content, wanted);
            assert!(error.contains(says) && error.contains("file.pem`, line "), "{error}\n{content}");
            assert!(!error.contains("FILE"), "{error}");
        }
    }
    // A chain that shares its file with an encrypted key is valid: the key may come from another file.
    assert_eq!(made.lines(format!("{cert}{legacy}"), Wanted::Certificates), [1]);
}

#[test]
fn a_file_of_another_kind_is_named_and_how_to_convert_it() {
    let made = Material::new();
    let der = made.leaf.certificate();
    let pkcs8 = made.read(&made.key, Wanted::Key).unwrap().remove(0).der;
    let pkcs12 = [&[0x30, 0x82, 0x09, 0xdf, 0x02, 0x01, 0x03, 0x30][..], &[0; 64]].concat();
    let pkcs7 = b"\x30\x82\x03\x38\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0".to_vec();
    let putty =
        |cipher| format!("PuTTY-User-Key-File-2: ssh-rsa\r\nEncryption: {cipher}\r\nComment: a\r\n").into();
    for (content, says) in [
        (der.to_vec(), "certificate in DER and not PEM; convert it with `openssl x509 -inform DER -in "),
        (pkcs8, "key in DER and not PEM; convert it with `openssl pkey -inform DER -in "),
        (pkcs12, "PKCS #12 container and not PEM; convert it with `openssl pkcs12 -in "),
        (pkcs7, "PKCS #7 container and not PEM; convert it with `openssl pkcs7 -inform DER"),
        (b"\xfe\xed\xfe\xed\0\0".to_vec(), "Java key store"),
        (
            b"PuTTY-User-Key-File-3: ssh-rsa\n".to_vec(),
            "is a key in PuTTY's format; convert it with `puttygen",
        ),
        (putty("none"), "is a key in PuTTY's format; convert it with `puttygen"),
        (putty("aes256-cbc"), "is an encrypted key in PuTTY's format"),
        (putty("aes256-cbc"), "`ssh-keygen -p -m PKCS8 -N \"\" -f COPY`"),
        (b"\xff\xfe-\0-\0".to_vec(), "UTF-16"),
        (b"ssh-ed25519 AAAA a@b\n".to_vec(), "public key of OpenSSH"),
        (b"\n<!DOCTYPE html>".to_vec(), "web page"),
    ] {
        for wanted in [Wanted::Certificates, Wanted::Key, Wanted::RevocationLists] {
            let error = made.refusal(&content, wanted);
            assert!(error.contains(says), "{error}");
        }
    }
}

#[test]
fn a_file_without_what_is_wanted_is_refused_with_what_it_holds() {
    let made = Material::new();
    let (lines, keys) = (made.cert.lines().count(), format!("{}{}", made.key, made.key));
    for (wanted, content, says) in [
        (
            Wanted::Certificates,
            made.key.clone(),
            "holds no certificate, but a private key in line 1".to_owned(),
        ),
        (Wanted::Certificates, String::new(), "holds no certificate: it is empty".to_owned()),
        (Wanted::Certificates, "\n \n".to_owned(), "holds no certificate: it is empty".to_owned()),
        (Wanted::Certificates, "hello\n".to_owned(), "holds no certificate; name".to_owned()),
        (Wanted::Key, made.cert.clone(), "holds no private key, but `CERTIFICATE` in line 1".to_owned()),
        (Wanted::Key, String::new(), "holds no private key: it is empty".to_owned()),
        (Wanted::RevocationLists, String::new(), "holds no revocation list: it is empty".to_owned()),
    ] {
        let error = made.refusal(&content, wanted);
        assert!(error.contains(&says), "{error}");
    }
    let path = made.certificates.folder().join("keys.pem");
    fs::write(&path, format!("{}{keys}", made.cert)).unwrap();
    let error = private_key(&path, &Files::new()).unwrap_err().to_string();
    let second = lines + 1 + made.key.lines().count();
    assert!(
        error.contains(&format!("line {second}: there is a second key, after the one in line {}", lines + 1)),
        "{error}"
    );
}

#[test]
fn a_chain_in_the_wrong_order_is_refused_with_the_line_of_the_leaf() {
    let made = Material::new();
    let path = made.certificates.folder().join("chain.pem");
    fs::write(&path, format!("{}{}", made.chain, made.cert)).unwrap();
    let paths = CertificateFiles { cert: path, key: made.leaf.key.clone() };
    let error = identity(&paths, &Files::new()).unwrap_err().to_string();
    let line = made.chain.lines().count() + 1;
    assert!(error.contains(&format!("the one in line {line}; move it to the top")), "{error}");
}

#[test]
fn a_damaged_marker_beside_a_key_shows_nothing_of_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.key");
    for text in [
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIESECRET----END PRIVATE KEY-----\n",
        "----BEGIN PRIVATE KEY----- MC4CAQAwBQYDK2VwBCIESECRET -----END PRIVATE KEY-----\n",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = super::private_key(&path, &Files::new()).unwrap_err().to_string();
        assert!(error.contains("is not a marker") && !error.contains("MC4C"), "{error}");
    }
}

#[test]
fn a_trusted_certificate_that_may_not_sign_is_no_authority() {
    let material = Material::new();
    for (path, roots) in [(material.certificates.ca(), 1), (material.leaf.cert, 0)] {
        let trusted = trusted(&path, &Files::new()).unwrap();
        assert_eq!((trusted.roots.len(), trusted.certificates.len()), (roots, 1), "{}", path.display());
    }
}

/// Each of these takes minutes or hours if any step reads the rest of its line again.
#[test]
fn a_file_of_one_line_is_read_in_one_pass() {
    const BYTES: usize = 1 << 20;
    let repeated = |text: &str| text.repeat(BYTES / text.len());
    for content in [
        repeated("-----BEGIN CERTIFICATE-----AAAA-----END CERTIFICATE-----"),
        repeated("-----BEGIN CERTIFICATE "),
        repeated("-----BEGIN SOMETHING-----"),
        repeated("-----BEGIN "),
        format!("-{}", repeated("BEGIN ")),
        format!("{}{}", repeated("-"), "BEGIN x".repeat(BYTES / 8)),
        format!("-----BEGIN{}", repeated(" END")),
        format!("-----BEGIN{}CERTIFICATE", repeated(" ")),
        format!("-----BEGIN CERTIFICATE{}-", repeated(" ")),
        repeated(":"),
    ] {
        let start: String = content.chars().take(40).collect();
        match blocks(content.as_bytes()) {
            Ok(found) => assert!(found.len() == content.matches(BEGIN).count(), "{start}"),
            Err(flaw) => assert!(flaw.reason.len() < 300, "{start}: {}", flaw.reason.len()),
        }
    }
}

#[test]
fn an_error_quotes_no_more_than_the_beginning_of_a_long_text() {
    let made = Material::new();
    let long = "LONG".repeat(1 << 18);
    let key = "MC4CAQAwBQYDK2VwBCIEISECRETSECRETSECRET";
    for content in [
        format!("-----BEGIN {long}-----\nAAAA\n-----END {long}-----\n"),
        format!("-----BEGIN {long}-----\nAAAA\n"),
        format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END {long}-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{long}: a\n-----END CERTIFICATE-----\n"),
        format!("{}-----BEGIN {long}-----\nAAAA\n-----END {long}-----\n", made.cert),
        format!("-----BEGIN PRIVATE KEY {key}-----\nAAAA\n"),
        format!("-----BEGIN PRIVATE KEY----{key}-----\nAAAA\n"),
        format!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END {key}-----\n"),
        format!("-----BEGIN PRIVATE KEY-----\n{key}: \n-----END PRIVATE KEY-----\n"),
    ] {
        for wanted in [Wanted::Certificates, Wanted::Key, Wanted::RevocationLists] {
            let error = made.refusal(&content, wanted);
            assert!(error.len() < 500 && !error.contains("SECRET"), "{}", error.len());
        }
    }
}

/// Returns a DER element with fewer than 256 bytes inside.
fn element(tag: u8, inside: &[&[u8]]) -> Vec<u8> {
    let inside = inside.concat();
    [&[tag, 0x81, inside.len().try_into().unwrap()][..], &inside].concat()
}

#[test]
fn an_encrypted_key_in_der_is_named_as_encrypted_with_the_command_that_decrypts_it() {
    let made = Material::new();
    let encrypted = |algorithm: &[u8]| {
        let parameters = element(0x30, &[&element(0x04, &[&[7; 8]]), &[0x02, 0x02, 0x08, 0]]);
        let algorithm = element(0x30, &[&element(0x06, &[algorithm]), &parameters]);
        element(0x30, &[&algorithm, &element(0x04, &[&[7; 144]])])
    };
    let advice = "is an encrypted key in DER and not PEM, and the gateway has no password for it; convert and decrypt it with \
                  `openssl pkcs8 -inform DER -in ";
    // As `openssl pkcs8 -topk8 -outform DER` writes them, without `-v1` and with it.
    for (name, algorithm) in [
        ("PBES2", &b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"[..]),
        ("PBE-MD5-DES", b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x03"),
        ("PBE-SHA1-3DES", b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03"),
    ] {
        for wanted in [Wanted::Certificates, Wanted::Key, Wanted::RevocationLists] {
            let error = made.refusal(encrypted(algorithm), wanted);
            assert!(error.contains(advice) && error.contains("file.pem -out PLAIN.key`"), "{name}: {error}");
        }
    }
    // A digest, SHA-256 here, has the same shape.
    let error = made.refusal(encrypted(b"\x60\x86\x48\x01\x65\x03\x04\x02\x01"), Wanted::Key);
    assert!(error.contains("neither a certificate nor a key"), "{error}");
}
