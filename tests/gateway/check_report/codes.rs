//! The codes: each that a check can find is found in a text, and each is documented.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::Certificates;

use super::{codes, report};

/// Codes that need more than a file and a check.
const NOT_BY_A_FILE: [(&str, &str); 6] = [
    ("address-unavailable", "a start binds, a check does not"),
    ("name-unresolved", "a reload resolves names, a check does not"),
    ("needs-restart", "a reload compares with what runs"),
    ("no-comparison", "`--diff` causes it, which another test has"),
    ("system", "it takes a broken system"),
    ("unsupported", "it takes a program without stores"),
];

/// Parts of the texts, each with the code that it causes. `LISTENERS` and `ROUTES` stand for valid ones, unless a text has its own.
const TEXTS: &[(&str, &str)] = &[
    ("yaml-syntax", "listeners: [\n"),
    ("yaml-syntax", "LISTENERS ROUTES ---\na: b\n"),
    (
        "too-large",
        "LISTENERS ROUTES x-a: &a [1]\nx-b: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
    ),
    ("variable", "LISTENERS ROUTES workers: '${NOPE}'\n"),
    ("duplicate-key", "LISTENERS ROUTES workers: 1\nworkers: 1\n"),
    ("duplicate-key", "LISTENERS routes: [{ match: { headers: { x-a: a, X-A: b } }, respond: {} }]\n"),
    ("unknown-key", "LISTENERS ROUTES wrokers: 1\n"),
    ("missing-key", "LISTENERS"),
    ("missing-key", "LISTENERS routes: [{ name: a }]\n"),
    ("exclusive-keys", "LISTENERS routes: [{ respond: {}, redirect: { to: / } }]\n"),
    ("wrong-type", "LISTENERS ROUTES workers: [1]\n"),
    ("wrong-type", "LISTENERS ROUTES workers:\n"),
    ("invalid-value", "LISTENERS ROUTES workers: 0\n"),
    ("invalid-value", "LISTENERS routes: [{ match: { path: a }, respond: {} }]\n"),
    ("plain-secret", "LISTENERS ROUTES stores: { a: { url: 'redis://:hunter2@a' } }\n"),
    ("unknown-name", "LISTENERS routes: [{ upstream: nowhere }]\n"),
    (
        "duplicate-name",
        "LISTENERS routes: [{ name: a, respond: {} }, { name: a, match: { path: / }, respond: {} }]\n",
    ),
    ("reserved-name", "LISTENERS routes: [{ respond: { headers: { connection: x } } }]\n"),
    ("no-effect", "LISTENERS routes: [{ respond: {}, retry: { attempts: 2 } }]\n"),
    ("contradiction", "LISTENERS ROUTES defaults: { pool: { max_idle: 5, max_connections: 4 } }\n"),
    ("address-conflict", "listeners: [{ address: 127.0.0.1:80 }, { address: 0.0.0.0:80 }]\nROUTES"),
    ("file-unreadable", "LISTENERS routes: [{ respond: {}, filters: [{ wasm: missing.wasm }] }]\n"),
    (
        "file-unreadable",
        "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [{ cert: missing, key: missing }] } }]\nROUTES",
    ),
    ("file-unwritable", "LISTENERS ROUTES telemetry: { access_log: { output: missing/access.log } }\n"),
    (
        "file-invalid",
        "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [{ cert: text, key: text }] } }]\nROUTES",
    ),
    (
        "file-invalid",
        "LISTENERS auth: { a: { basic: { users: text } } }\nroutes: [{ respond: {}, auth: [a] }]\n",
    ),
    ("filter-failed", "LISTENERS routes: [{ respond: {}, filters: [{ wasm: text.wasm }] }]\n"),
    ("unused-filter", "LISTENERS ROUTES filters: { a: { wasm: good.wasm } }\n"),
    ("unused-upstream", "LISTENERS ROUTES upstreams: { a: { url: http://a } }\n"),
    ("unused-auth", "LISTENERS ROUTES auth: { a: { basic: { users: users } } }\n"),
    (
        "unused-listener",
        "listeners: [{ name: a, address: 127.0.0.1:80 }, { name: b, address: 127.0.0.1:81 }]\nroutes: [{ respond: {}, listeners: [b] }]\n",
    ),
    ("unreachable-route", "LISTENERS routes: [{ respond: {} }, { name: b, respond: {} }]\n"),
    (
        "unreachable-callback",
        "LISTENERS auth: { a: { oidc: { issuer: http://a, client_id: a, session: { secret: file:secret } } } }\nroutes: [{ match: { path: / }, auth: [a], respond: {} }]\n",
    ),
    ("redirect-loop", "LISTENERS routes: [{ redirect: { to: / } }]\n"),
    ("unverified-upstream", "LISTENERS routes: [{ upstream: { url: https://a, tls: { verify: false } } }]\n"),
    ("open-admin", "LISTENERS ROUTES admin: { address: 0.0.0.0:9901 }\n"),
    (
        "readable-secret",
        "LISTENERS auth: { a: { basic: { users: readable/users } } }\nroutes: [{ respond: {}, auth: [a] }]\n",
    ),
    (
        "certificate-expired",
        "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [EXPIRED] } }]\nROUTES",
    ),
    ("certificate-expires", "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [SOON] } }]\nROUTES"),
    (
        "certificate-not-yet-valid",
        "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [EARLY] } }]\nROUTES",
    ),
    (
        "revocation-list-expired",
        "listeners: [{ address: 127.0.0.1:80, tls: { certificates: [GOOD], client_auth: { ca: CA, crl: [crl] } } }]\nROUTES",
    ),
];

/// A text that only a program with stores accepts.
const WITH_STORES: (&str, &str) = ("unused-store", "LISTENERS ROUTES stores: { a: { url: 'redis://a' } }\n");

/// Replaces the names of certificates and of valid parts in a text.
fn completed(text: &str, certificates: &Certificates) -> String {
    let (day, now) = (std::time::Duration::from_secs(24 * 3600), std::time::SystemTime::now());
    let mut text = text
        .replace("LISTENERS ", "listeners: [{ address: 127.0.0.1:8080 }]\n")
        .replace("LISTENERS", "listeners: [{ address: 127.0.0.1:8080 }]\n")
        .replace("ROUTES ", "routes: [{ respond: {} }]\n")
        .replace("ROUTES", "routes: [{ respond: {} }]\n")
        .replace("CA,", &format!("{},", certificates.ca().display()));
    for (name, from, until) in [
        ("EXPIRED", now - 9 * day, now - day),
        ("SOON", now - day, now + 9 * day),
        ("EARLY", now + day, now + 90 * day),
        ("GOOD", now - day, now + 90 * day),
    ] {
        if text.contains(name) {
            let identity = certificates.valid_between(&["a.test"], from, until);
            let pair = format!("{{ cert: {}, key: {} }}", identity.cert.display(), identity.key.display());
            text = text.replace(name, &pair);
        }
    }
    text
}

/// Writes the files that the texts name.
fn write_files(folder: &Path, certificates: &Certificates) {
    let module = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/prebuilt/uppercase.wasm");
    fs::copy(module, folder.join("good.wasm")).unwrap();
    let users = "a:$2y$04$NbHAbOP6rn8d9dO8vkm3qusBqrp1TUQwXZhe9/L4gryMVd57pGVGe\n";
    fs::create_dir(folder.join("readable")).unwrap();
    for (name, content) in [
        ("text", "text"),
        ("text.wasm", "text"),
        ("users", users),
        ("readable/users", users),
        ("secret", "0123456789abcdef0123456789abcdef"),
        ("crl", &certificates.revocation_list(&[], 2021)),
    ] {
        fs::write(folder.join(name), content).unwrap();
        let is_readable = name.starts_with("readable/");
        fs::set_permissions(
            folder.join(name),
            fs::Permissions::from_mode(if is_readable { 0o644 } else { 0o600 }),
        )
        .unwrap();
    }
    for path in [folder, &folder.join("readable")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Returns the codes in the tables of the documentation.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/check.md")).unwrap();
    let (_, tables) = page.split_once("## Codes").unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(code, _)| code.to_owned()).collect()
}

#[test]
fn each_code_is_found_in_its_text_and_is_documented() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &certificates);
    let mut found = BTreeSet::new();
    let has_stores = codes(&report(folder.path(), &["-"], &completed(WITH_STORES.1, &certificates)).0)
        .iter()
        .all(|code| *code != "unsupported");
    found.insert(WITH_STORES.0.to_owned());
    for (code, text) in TEXTS.iter().chain(has_stores.then_some(&WITH_STORES)) {
        let text = completed(text, &certificates);
        let (document, status) = report(folder.path(), &["-"], &text);
        let codes: BTreeSet<&str> = codes(&document).into_iter().collect();
        assert_eq!(codes, [*code].into(), "{text}{document:#}");
        let is_error = document["findings"][0]["severity"] == "error";
        assert_eq!(status, i32::from(is_error), "{text}{document:#}");
        let finding = &document["findings"][0];
        let has_line = finding["line"].is_u64() && finding["end_column"].is_u64();
        assert!(has_line && finding["suggestion"] != "", "{text}{document:#}");
        found.insert((*code).to_owned());
    }
    found.extend(NOT_BY_A_FILE.map(|(code, _reason)| code.to_owned()));
    let documented = documented();
    assert_eq!(found, documented);
    // SARIF lists all rules.
    let (log, _) = super::sarif(folder.path(), &["-"], super::GOOD);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let rules: BTreeSet<String> = rules.iter().map(|rule| rule["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(rules, documented);
}
