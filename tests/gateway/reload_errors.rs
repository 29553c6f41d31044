//! A configuration that cannot be changes nothing, and says all that is wrong with it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use support::serde_json::{Value, from_slice, json};
use support::{Certificates, Client, Gateway, unused_address, wait_until};

use crate::reloading::{
    BASE, answering, check_errors, file, get, in_sync, post, refused, refused_times, replace, report,
};

/// The parts of a process in which a refused reload could have left something behind.
#[derive(Debug, PartialEq)]
struct Traces {
    /// The target of each file descriptor, except for connections, which come and go.
    files: Vec<String>,
    /// The names of the threads, but for those that the runtime keeps for blocking work for a while.
    threads: Vec<String>,
    /// The sockets that listen.
    listening: Vec<String>,
}

impl Traces {
    fn of(gateway: &Gateway) -> Self {
        let process = format!("/proc/{}", gateway.pid());
        let entries = |folder: &str| {
            let entries = fs::read_dir(format!("{process}/{folder}")).unwrap();
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
        };
        let links: Vec<String> = entries("fd")
            .iter()
            .filter_map(|fd| Some(fs::read_link(fd).ok()?.display().to_string()))
            .collect();
        let table =
            ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("{process}/net/{table}")).unwrap());
        let rows = table.iter().flat_map(|table| table.lines().skip(1));
        let sockets = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
        // The state LISTEN is 0A; the tenth column is the inode (proc(5)).
        let mut listening: Vec<String> = sockets
            .filter(|columns| columns[3] == "0A" && links.contains(&format!("socket:[{}]", columns[9])))
            .map(|columns| columns[1].to_owned())
            .collect();
        let mut files: Vec<String> = links.into_iter().filter(|link| !link.starts_with("socket:")).collect();
        let named = |task: &PathBuf| fs::read_to_string(task.join("comm")).ok();
        let mut threads: Vec<String> = entries("task").iter().filter_map(named).collect();
        threads.retain(|name| !name.starts_with("tokio-rt"));
        for list in [&mut files, &mut threads, &mut listening] {
            list.sort();
        }
        Self { files, threads, listening }
    }
}

/// A bad configuration, and what is said of it.
struct Bad {
    what: &'static str,
    content: Vec<u8>,
    says: &'static [&'static str],
    /// True if the file alone shows it; otherwise it shows only against the active configuration.
    is_seen_by_check: bool,
}

fn bad(what: &'static str, content: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Bad {
    Bad { what, content: content.into(), says, is_seen_by_check: true }
}

fn bad_here(what: &'static str, content: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Bad {
    Bad { is_seen_by_check: false, ..bad(what, content, says) }
}

/// The good configuration, with this in place of that. Every one of them has another answer, which must never be given.
fn with(old: &str, new: &str) -> String {
    let config = answering("never");
    assert!(config.contains(old), "{old}");
    config.replacen(old, new, 1)
}

fn of_the_file_alone() -> Vec<Bad> {
    let two_errors = "listeners: [{ name: web, address: 127.0.0.1:0, limts: {} }]\nroutes: [{ match: { prefix: / }, pool: { max_idle: -1 } }]\n";
    vec![
        bad("no YAML", "listeners: [\n", &["gateway.yaml:"]),
        bad("an unknown key", with("respond", "resond"), &["did you mean `respond`?"]),
        bad("an unknown upstream", with("respond: { body: 'never' }", "upstream: nobody"), &["`nobody`"]),
        bad(
            "a bad pool",
            with(
                "respond: { body: 'never' }",
                "upstream: { url: 'http://127.0.0.1:1' }, pool: { max_connections: 0 }",
            ),
            &["`max_connections` must be at least 1"],
        ),
        bad("two errors", two_errors, &["limts", "max_idle"]),
        bad("an empty file", "", &["gateway.yaml is empty"]),
        bad("a file of comments", "# nothing\n", &["gateway.yaml is empty"]),
        bad("not UTF-8", [answering("never").as_bytes(), b"# \xff\xfe\n"].concat(), &["not UTF-8"]),
        bad(
            "too large",
            [answering("never").as_bytes(), &[b'#'; 16 << 20]].concat(),
            &["larger than 16 MiB"],
        ),
        bad(
            "a variable that is not set",
            with("'never'", "'${NOT_SET_ANYWHERE}'"),
            &["NOT_SET_ANYWHERE", "is not set"],
        ),
        bad(
            "an access log that cannot be written",
            with(
                "telemetry: { access_log: off }",
                "telemetry: { access_log: { output: nowhere/access.log } }",
            ),
            &["cannot write the access log"],
        ),
    ]
}

fn with_tls(cert: &Path, key: &Path) -> String {
    let pair = format!("{{ cert: {}, key: {} }}", cert.display(), key.display());
    // A good listener beside it, whose port must not stay bound.
    let listeners = format!(
        "listeners: [{{ name: other, address: 127.0.0.1:0 }}, {{ name: tls, address: 127.0.0.1:0, tls: {{ certificates: [{pair}] }} }}, "
    );
    with("listeners: [", &listeners)
}

fn of_certificates(certificates: &Certificates) -> Vec<Bad> {
    let (good, other) = (certificates.server(&["a.test"]), certificates.mismatched(&["a.test"]));
    let ca = "upstream: { url: 'https://127.0.0.1:1', tls: { ca: none.pem } }";
    vec![
        bad("an unreadable certificate", with_tls(certificates.folder(), &good.key), &["cannot read"]),
        bad(
            "a missing certificate",
            with_tls(Path::new("none.pem"), &good.key),
            &["none.pem", "No such file"],
        ),
        bad("no certificate", with_tls(&good.key, &good.key), &["holds no certificate"]),
        bad("the key of another", with_tls(&other.cert, &other.key), &["does not belong to"]),
        bad("a missing authority", with("respond: { body: 'never' }", ca), &["none.pem", "No such file"]),
    ]
}

fn of_addresses(taken: &TcpListener) -> Vec<Bad> {
    let taken = taken.local_addr().unwrap();
    let listener = |more: &str| {
        with("listeners: [", &format!("listeners: [{{ name: other, address: 127.0.0.1:0 }}, {more}, "))
    };
    vec![
        bad_here(
            "a taken port",
            listener(&format!("{{ address: '{taken}' }}")),
            &["another program listens there"],
        ),
        bad_here(
            "no address of this machine's",
            listener("{ address: '192.0.2.1:0' }"),
            &["does not have that address"],
        ),
        bad_here(
            "a taken port for the admin listener",
            with("admin: { address: 127.0.0.1:0 }", &format!("admin: {{ address: '{taken}' }}")),
            &["another program listens there"],
        ),
        bad_here(
            "more workers",
            with("telemetry:", "workers: 3\ntelemetry:"),
            &["`workers` cannot change from 2 to 3", "restore the number"],
        ),
    ]
}

async fn start() -> Gateway {
    crate::gateway(answering("good") + "workers: 2\n").start().await
}

/// Goes through bad configurations, with a good one after each.
async fn each_changes_nothing(gateway: &Gateway, cases: &[Bad]) {
    let mut client = gateway.client("web").await;
    assert_eq!(client.get("/").await.text(), "good");
    let admin = gateway.admin_addr();
    // The first reload has begun what stays: it is not what this is about.
    gateway.reload(&format!("{}workers: 2\n# again\n", answering("good"))).await;
    let (before, generation) = (Traces::of(gateway), gateway.generation().await);
    for (number, case) in (1..).zip(cases) {
        let what = case.what;
        // In place of the number of workers that the good one has.
        let mut content = case.content.clone();
        if what != "more workers" && !what.contains("empty") && !what.contains("comments") {
            content.extend(b"\nworkers: 2\n");
        }
        replace(&file(gateway), &content);
        refused_times(gateway, number).await;

        assert_eq!(client.get("/").await.text(), "good", "{what}: on the connection that there was");
        assert_eq!(get(gateway, "/").await, "good", "{what}: on a new one");
        assert_eq!(
            (gateway.generation().await, gateway.admin_addr()),
            (generation + number - 1, admin),
            "{what}"
        );
        assert!(!in_sync(gateway).await, "{what}");
        let told = report(gateway).await;
        let errors = told["error_text"].as_str().unwrap_or_else(|| panic!("{what}: {told}"));
        case.says.iter().for_each(|part| assert!(errors.contains(part), "{what}: `{part}` in\n{errors}"));
        if case.is_seen_by_check {
            assert_eq!(errors, check_errors(gateway).await, "{what}");
        }
        // The thread that reports it ends with it.
        wait_until(&format!("nothing to be left of {what}"), async || Traces::of(gateway) == before).await;

        // Unchanged, it is not reported again; and one good file later all is well.
        let text = format!("{}workers: 2\n# after {what}\n", answering("good"));
        replace(&file(gateway), &content);
        gateway.reload(&text).await;
        assert_eq!((in_sync(gateway).await, refused(gateway).await), (true, number), "{what}");
        assert_eq!(report(gateway).await["error_text"], Value::Null, "{what}");
        gateway.wait_for_log(case.says[0]).await;
        let logged = gateway.logs().iter().filter(|line| line.contains("configuration refused")).count();
        assert_eq!(logged as u64, number, "{what}");
    }
}

#[tokio::test]
async fn a_reload_with_errors_in_the_file_changes_nothing() {
    each_changes_nothing(&start().await, &of_the_file_alone()).await;
}

#[tokio::test]
async fn a_reload_with_errors_in_named_files_changes_nothing() {
    let certificates = Certificates::new();
    each_changes_nothing(&start().await, &of_certificates(&certificates)).await;
}

#[tokio::test]
async fn a_reload_with_an_occupied_address_changes_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    each_changes_nothing(&start().await, &of_addresses(&taken)).await;
}

#[tokio::test]
async fn every_error_of_the_log_is_one_that_check_prints() {
    let gateway = start().await;
    let text = "listeners: [{ name: web, address: 127.0.0.1:0, limts: {} }]\nroutes:\n  - { name: a, upstream: nobody }\n  - { name: b, pool: { max_idle: -1 }, respond: {} }\n";
    gateway.rewrite_config(text);
    refused_times(&gateway, 1).await;
    let printed = check_errors(&gateway).await;
    assert!(printed.matches("error: ").count() >= 3, "{printed}");
    let last = printed.lines().last().unwrap();
    gateway.wait_for_log(last.trim_end()).await;
    let log = gateway.logs().join("\n");
    assert!(log.contains("generation 1 continues to serve"), "{log}");
    assert!(log.contains(printed.trim_end()), "{printed}\nin\n{log}");
}

#[tokio::test]
async fn a_missing_file_is_reported_and_restoring_it_makes_no_generation() {
    let gateway = start().await;
    let before = fs::read(file(&gateway)).unwrap();
    fs::remove_file(file(&gateway)).unwrap();
    refused_times(&gateway, 1).await;
    assert_eq!(report(&gateway).await["error_text"], check_errors(&gateway).await);
    assert!(!in_sync(&gateway).await);
    fs::write(file(&gateway), before).unwrap();
    gateway.wait_for_log("matches the running one again").await;
    let told = report(&gateway).await;
    assert_eq!(
        (&told["generation"], &told["in_sync"], &told["error_text"]),
        (&json!(1), &json!(true), &Value::Null)
    );
    assert_eq!((refused(&gateway).await, gateway.generation().await), (1, 1));
}

#[tokio::test]
async fn a_port_that_was_taken_is_had_when_asked_for_again_and_after_a_while_by_itself() {
    let gateway = start().await;
    let address = unused_address();
    let taken = TcpListener::bind(address).unwrap();
    let config = answering("second")
        .replace("listeners: [", &format!("listeners: [{{ name: other, address: '{address}' }}, "));
    gateway.rewrite_config(&(config + "workers: 2\n"));
    refused_times(&gateway, 1).await;
    drop(taken);
    // No file tells that a port is free.
    assert_eq!(post(&gateway).await.status, 200);
    assert_eq!(Client::connect(address).await.get("/").await.text(), "second");

    let address = unused_address();
    let taken = TcpListener::bind(address).unwrap();
    let third = answering("third");
    gateway.rewrite_config(&third.replace(
        "listeners: [",
        &format!("workers: 2\nlisteners: [{{ name: other, address: '{address}' }}, "),
    ));
    refused_times(&gateway, 2).await;
    drop(taken);
    wait_until("the port to be had", async || Client::try_connect(address).await.is_ok()).await;
    assert_eq!(Client::connect(address).await.get("/").await.text(), "third");
    assert_eq!(refused(&gateway).await, 2, "a try that fails as the one before is not told again");
}

#[tokio::test]
async fn a_listener_that_overlaps_with_one_that_stays_is_refused() {
    let gateway = start().await;
    let admin = gateway.admin_addr();
    for (what, port, help) in [
        ("the admin listener", admin.port(), "the gateway itself listens there"),
        ("a listener", gateway.addr("web").port(), "`web` has it or a part of it"),
    ] {
        let config = format!(
            "{BASE}routes: [{{ match: {{ prefix: / }}, respond: {{ body: second }} }}]\nworkers: 2\n"
        );
        let config = config
            .replace("listeners: [", &format!("listeners: [{{ name: wide, address: '0.0.0.0:{port}' }}, "));
        gateway.rewrite_config(&config);
        let answer = post(&gateway).await;
        assert_eq!(answer.status, 422, "{what}");
        assert_eq!(get(&gateway, "/").await, "good", "{what}");
        let answer: Value = from_slice(&answer.body).unwrap();
        let text = answer["error_text"].as_str().unwrap();
        for part in ["gateway.yaml:2:", help] {
            assert!(text.contains(part), "{what}: {text}");
        }
    }
}

#[tokio::test]
async fn auto_workers_are_the_same_as_their_number() {
    let number = std::thread::available_parallelism().unwrap();
    let gateway = crate::gateway(answering("first") + "workers: auto\n").start().await;
    gateway.reload(&(answering("second") + &format!("workers: {number}\n"))).await;
    assert_eq!(get(&gateway, "/").await, "second");
    gateway.reload(&answering("third")).await;
    assert_eq!((get(&gateway, "/").await.as_str(), refused(&gateway).await), ("third", 0));
}
