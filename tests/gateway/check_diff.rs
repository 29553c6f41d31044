//! `gateway check --diff`: what a file would change, told before it does.

use std::fs;
use std::path::Path;

use support::serde_json::{Value, from_slice};
use support::{Certificates, Gateway, private_folder, unused_address};

use crate::reload_fields::NOTHING;
use crate::reloading::{BASE, answering, check, file, post, replace, start};

/// Returns the text that `check --diff` prints below its verdict.
async fn diff(file: &Path, against: &str) -> String {
    let output = check(file, &["--diff", "--against", against]).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{stdout}");
    let (verdict, changes) = stdout.split_once('\n').unwrap();
    assert!(verdict.contains(": ok, "), "{stdout}");
    changes.to_owned()
}

/// The same of the changes that a reload tells, in the same words.
fn listed(changes: &Value) -> String {
    let mut text = String::new();
    for section in ["listeners", "routes", "filters", "pools"] {
        let of = &changes[section];
        let names = |key: &str| of[key].as_array().unwrap().clone();
        let is_empty = ["added", "changed", "drained"].iter().all(|key| names(key).is_empty());
        if section == "filters" && is_empty && of["kept"] == 0 {
            continue;
        }
        text += &format!("{section}\n");
        for name in names("added") {
            text += &format!("  + {}\n", name.as_str().unwrap());
        }
        for change in names("changed") {
            let keys: Vec<&str> =
                change["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
            text += &format!("  ~ {}: {}\n", change["name"].as_str().unwrap(), keys.join(", "));
        }
        for name in names("drained") {
            text += &format!("  - {} (drained)\n", name.as_str().unwrap());
        }
        text += &format!("  = {} kept\n", of["kept"]);
    }
    let settings = changes["settings"].as_array().unwrap();
    if !settings.is_empty() {
        text += "settings\n";
        text.extend(settings.iter().map(|key| format!("  ~ {}\n", key.as_str().unwrap())));
    }
    text
}

/// The line of the log that tells of this generation.
async fn logged(gateway: &Gateway, generation: u64) -> String {
    gateway.wait_for_log(&format!("configuration reloaded generation={generation} ")).await
}

const UPSTREAMS: &str = "
upstreams:
  shared: { endpoints: ['http://127.0.0.1:1'], pool: { max_idle: 4 } }
  two: { endpoints: ['http://127.0.0.1:2', { url: 'http://127.0.0.1:3', weight: 2 }] }
routes:
  - { name: one, match: { path: /1 }, upstream: shared }
  - { name: other, match: { path: /2 }, upstream: shared }
  - { name: both, match: { path: /3 }, upstream: two }
  - { name: own, match: { path: /4 }, upstream: { url: 'http://127.0.0.1:4' } }
  - { name: limited, match: { path: /5 }, upstream: shared, pool: { max_connections: 3 } }
  - { name: local, match: { prefix: / }, respond: { body: hello } }
";

/// Edits of the configuration: a text, its replacement, and the lines that `--diff` prints of it, in that order. Each edit
/// continues from the one before.
const EDITS: &[(&str, &str, &[&str])] = &[
    (
        "max_idle: 4",
        "max_idle: 8",
        &[
            "~ one: inherited settings",
            "~ other: inherited settings",
            "~ shared to http://127.0.0.1:1: max_idle 4 → 8",
            "= 4 kept",
        ],
    ),
    (
        "max_connections: 3",
        "max_connections: 5",
        &["~ limited: pool.max_connections", "~ limited to http://127.0.0.1:1: max_connections 3 → 5"],
    ),
    ("weight: 2", "weight: 5", &["= 6 kept", "~ two to http://127.0.0.1:3: weight 2 → 5", "= 4 kept"]),
    ("'http://127.0.0.1:2', ", "", &["- two to http://127.0.0.1:2 (drained)", "= 4 kept"]),
    ("path: /4 }", "path: /four }", &["~ own: match.path", "= 5 kept", "pools", "= 4 kept"]),
    // Renamed, what it has stays.
    ("name: own", "name: renamed", &["+ renamed", "- own (drained)", "= 5 kept", "pools", "= 4 kept"]),
    (
        "{ url: 'http://127.0.0.1:4' }",
        "{ url: 'http://127.0.0.1:5' }",
        &[
            "~ renamed: upstream",
            "+ renamed to http://127.0.0.1:5",
            "- renamed to http://127.0.0.1:4 (drained)",
            "= 3 kept",
        ],
    ),
    ("  two: {", "  deux: {", &[]),
    ("upstream: two", "upstream: deux", &["~ both: upstream", "= 5 kept", "pools", "= 4 kept"]),
    (
        "routes:",
        "defaults: { pool: { acquire_timeout: 7s } }\nroutes:",
        &["inherited settings", "acquire_timeout", "→ 7s"],
    ),
    ("[{ name: web,", "[{ name: new, address: '{new}' }, { name: web,", &["+ new", "= 1 kept", "= 6 kept"]),
    (
        "address: '{new}'",
        "address: '{new}', limits: { connections: 9 }",
        &["~ new: limits.connections", "= 1 kept"],
    ),
    ("name: new", "name: newer", &["~ newer: name", "= 1 kept"]),
    ("address: '{new}'", "address: '{newer}'", &["+ newer", "- newer on 127", "= 1 kept"]),
    (
        "{ name: newer, address: '{newer}', limits: { connections: 9 } }, ",
        "",
        &["- newer on 127", "= 1 kept"],
    ),
    (
        "telemetry:",
        "trusted_proxies: [10.0.0.0/8]\nshutdown: { drain: 3s }\ntelemetry:",
        &["settings", "~ trusted_proxies", "~ shutdown"],
    ),
    ("access_log: off", "access_log: { output: stderr }", &["settings", "~ telemetry"]),
    ("# the end", "# for people only", &["= 1 kept", "= 6 kept", "= 4 kept"]),
];

#[tokio::test]
async fn check_diff_predicts_the_reload() {
    let [new, newer] = [(); 2].map(|()| unused_address().to_string());
    let filled = |config: &str| config.replace("{new}", &new).replace("{newer}", &newer);
    let mut config = format!("{BASE}{UPSTREAMS}# the end\n");
    let gateway = start(filled(&config)).await;
    let (next, url) = (gateway.folder().join("next.yaml"), format!("http://{}", gateway.admin_addr()));
    let mut generation = 1;
    for (old, new, says) in EDITS {
        assert_eq!(config.matches(old).count(), 1, "{old} in\n{config}");
        config = config.replace(old, new);
        if says.is_empty() {
            continue;
        }
        fs::write(&next, filled(&config)).unwrap();
        let told = diff(&next, &url).await;
        assert_eq!(
            told,
            diff(&next, file(&gateway).to_str().unwrap()).await,
            "against the file, {old} to {new}"
        );
        let mut rest = told.as_str();
        for part in *says {
            let at = rest.find(part).unwrap_or_else(|| panic!("{old} to {new}: `{part}` in\n{told}"));
            rest = &rest[at + part.len()..];
        }

        replace(&file(&gateway), filled(&config));
        let answer = post(&gateway).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let report: Value = from_slice(&answer.body).unwrap();
        assert_eq!(listed(&report["changes"]), told, "{old} to {new}");
        generation += 1;
        let log = logged(&gateway, generation).await;
        let count = |sign: &str| told.lines().filter(|line| line.trim_start().starts_with(sign)).count();
        let is_quiet = ["+", "~", "-"].iter().all(|sign| count(sign) == 0);
        assert_eq!(log.contains("changed=nothing"), is_quiet, "{log}\n{told}");
        // The line of the log has the same names.
        for line in
            told.lines().filter_map(|line| line.strip_prefix("  + ").or(line.strip_prefix("  ~ "))).take(5)
        {
            assert!(log.contains(line), "`{line}` in {log}");
        }
    }
    let nothing = diff(&file(&gateway), &url).await;
    assert_eq!(nothing, "listeners\n  = 1 kept\nroutes\n  = 6 kept\npools\n  = 4 kept\n");
}

#[tokio::test]
async fn between_two_files_the_content_of_certificates_counts() {
    let certificates = Certificates::new();
    let [one, two] = [(); 2].map(|()| certificates.server(&["a.test"]));
    let folder = private_folder();
    for (name, identity) in [("one", &one), ("two", &two)] {
        let here = folder.path().join(name);
        fs::create_dir(&here).unwrap();
        fs::copy(&identity.cert, here.join("cert.pem")).unwrap();
        fs::copy(&identity.key, here.join("key.pem")).unwrap();
        let tls = "address: 127.0.0.1:0, tls: { certificates: [{ cert: cert.pem, key: key.pem }] } }]";
        fs::write(here.join("gateway.yaml"), answering("hello").replace("address: 127.0.0.1:0 }]", tls))
            .unwrap();
    }
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name).join("gateway.yaml"));
    assert!(diff(&two, one.to_str().unwrap()).await.starts_with("listeners\n  ~ web: tls"));
}

#[tokio::test]
async fn check_diff_lists_filters_and_the_routes_that_change_theirs() {
    let folder = private_folder();
    fs::write(folder.path().join("nothing.wasm"), wat::parse_str(NOTHING).unwrap()).unwrap();
    let write = |name: &str, filters: &str, used: &str| {
        let file = folder.path().join(name);
        let config = format!("{}filters: {{ {filters} }}\n", answering("hello"));
        let config = config.replace("routes: [{ ", &format!("routes: [{{ filters: [{used}], "));
        assert!(config.contains(used), "{config}");
        fs::write(&file, config).unwrap();
        file
    };
    let one =
        write("one.yaml", "a: { wasm: nothing.wasm, config: { b: 1 } }, gone: { wasm: nothing.wasm }", "a");
    let two = write(
        "two.yaml",
        "a: { wasm: nothing.wasm, config: { c: 1 }, on_error: open }, new: { wasm: nothing.wasm }",
        "a, new",
    );
    let told = diff(&two, one.to_str().unwrap()).await;
    let filters = "filters\n  + new\n  ~ a: config, on_error\n  - gone (drained)\n  = 0 kept\n";
    assert!(told.contains("~ all: filters\n") && told.contains(filters), "{told}");
}

#[tokio::test]
async fn without_a_word_it_compares_with_the_gateway_that_the_file_describes() {
    let address = unused_address();
    let config = |body: &str| {
        answering(body)
            .replace("admin: { address: 127.0.0.1:0 }", &format!("admin: {{ address: '{address}' }}"))
    };
    let gateway = start(config("first")).await;
    let next = gateway.folder().join("next.yaml");
    fs::write(&next, config("second")).unwrap();
    let output = check(&next, &["--diff"]).await;
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && stdout.contains("~ all: respond.body"), "{stdout}");
    // Nothing has come of it.
    assert_eq!(
        (gateway.generation().await, gateway.client("web").await.get("/").await.text().as_str()),
        (1, "first")
    );
}

#[tokio::test]
async fn without_anything_to_compare_with_it_says_what_is_missing() {
    let gateway = start(answering("first")).await;
    let folder = gateway.folder();
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    let good = answering("second");
    let bad = write("bad.yaml", "listeners: [\n");
    let missing = folder.join("missing.yaml").to_str().unwrap().to_owned();
    let (dead, web) = (format!("http://{}", unused_address()), format!("http://{}", gateway.addr("web")));
    let admin = gateway.admin_addr();
    let running = file(&gateway).to_str().unwrap().to_owned();
    let no_admin = good.replace("admin: { address: 127.0.0.1:0 }\n", "");
    let workers = format!("{good}workers: {}\n", std::thread::available_parallelism().unwrap().get() + 1);
    for (text, against, parts) in [
        (&no_admin, None, &["what to compare with", "--against"][..]),
        (&good, Some(&bad), &["cannot compare with", "bad.yaml:"]),
        (&good, Some(&missing), &["missing.yaml", "there is no such file"]),
        (&good, Some(&dead), &[&dead, "refused"]),
        (&good, Some(&format!("https://{admin}")), &["https://", "write http://"]),
        (&good, Some(&format!("unix://{admin}")), &["unix://", "write http://"]),
        (&good, Some(&"http://".to_owned()), &["http://"]),
        // It serves, but it is no admin listener.
        (&good, Some(&web), &[&web, "first"]),
        (&workers, Some(&running), &["cannot replace", "`workers` cannot change", "next.yaml:"]),
        (&workers, Some(&format!("http://{admin}")), &["cannot replace", "`workers` cannot change"]),
        (&"routes: []".to_owned(), Some(&running), &["listeners"]),
    ] {
        let next = folder.join("next.yaml");
        fs::write(&next, text).unwrap();
        let against: Vec<&str> = against.iter().flat_map(|against| ["--against", against.as_str()]).collect();
        let output = check(&next, &[&["--diff"], &against[..]].concat()).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{against:?}\n{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{against:?}: `{part}` in\n{stderr}");
        }
    }
    // Without `--diff` there is nothing to compare: an error of usage.
    let output = check(&file(&gateway), &["--against", &running]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
