//! `gateway new`: from a URL to a gateway that serves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::{Origin, unused_address};

use crate::{PROGRAM, gateway};

fn new(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("new").args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn new_configuration_serves_its_upstream() {
    let origin = Origin::echo();
    let folder = tempfile::tempdir().unwrap();
    let output = new(folder.path(), &[&format!("{}/v2", origin.url())]);
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    for part in [
        "gateway.yaml forwards http://127.0.0.1:8080 to ",
        "--config gateway.yaml\n",
        "curl -i http://127.0.0.1:8080/\n",
    ] {
        assert!(stdout.contains(part), "{stdout}");
    }
    let mut config = fs::read_to_string(folder.path().join("gateway.yaml")).unwrap();
    for port in ["8080", "9901"] {
        config = config.replace(&format!("address: 127.0.0.1:{port}"), "address: 127.0.0.1:0");
    }
    let gateway = gateway(config).start().await;
    assert_eq!(gateway.client("web").await.get("/a?b=c").await.status, 200);
    assert_eq!(origin.requests()[0].target, "/v2/a?b=c");
}

#[test]
fn new_configuration_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    for (index, url) in
        ["http://127.0.0.1:3000", "https://example.com", "http://[::1]:81/x/"].iter().enumerate()
    {
        let file = format!("{index}.yaml");
        assert!(new(folder.path(), &[url, "--output", &file]).status.success(), "{url}");
        let check = Command::new(PROGRAM).args(["check", &file]).current_dir(folder.path()).output().unwrap();
        assert_eq!(text(&check.stdout), format!("{file}: ok, 1 listener, 1 route\n"), "{check:?}");
        assert_eq!(text(&check.stderr), "", "a new file needs no warning");
    }
}

#[test]
fn printed_commands_work_for_every_file_name() {
    for (name, word) in [
        ("my file.yaml", "'my file.yaml'"),
        ("-f.yaml", "./-f.yaml"),
        ("it's $HOME.yaml", "'it'\\''s $HOME.yaml'"),
        ("plain.yaml", "plain.yaml"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = new(folder.path(), &["http://127.0.0.1:3000", &format!("--output={name}")]);
        let stdout = text(&output.stdout);
        assert!(stdout.contains(&format!(" --config {word}\n")), "{stdout}");
        let check = stdout.split('`').find(|part| part.contains(" check ")).unwrap();
        let checked = Command::new("sh").args(["-c", check]).current_dir(folder.path()).output().unwrap();
        assert!(checked.status.success(), "{check}: {checked:?}");
    }
}

#[test]
fn file_that_exists_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, "mine").unwrap();
    let output = new(folder.path(), &["http://127.0.0.1:3000"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("gateway.yaml exists already and was not changed"), "{output:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let output = new(folder.path(), &["http://127.0.0.1:3000", "--output", "no/such/folder.yaml"]);
    assert!(text(&output.stderr).contains("its folder does not exist"), "{output:?}");
}

#[test]
fn standard_output_has_the_configuration_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}", unused_address());
    let output = new(folder.path(), &[&url, "--output", "-"]);
    let stdout = text(&output.stdout);
    assert!(
        output.status.success() && stdout.starts_with(&format!("# A gateway in front of {url}\n")),
        "{stdout}"
    );
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn text_that_is_no_url_is_refused_with_one_that_is() {
    let folder = tempfile::tempdir().unwrap();
    for (url, message, help) in [
        ("127.0.0.1:3000", "is not a URL", "write `http://127.0.0.1:3000`"),
        ("ftp://a", "has an unknown scheme", "the schemes are `http` and `https`"),
        ("http://a:99999", "has no valid port", "1 to 65535"),
        ("http://::1:80", "has no valid host", "write scheme, host"),
        ("http://", "has no host", "write scheme, host"),
        ("http://user@a", "has a user name", "authorization"),
    ] {
        let output = new(folder.path(), &[url]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{url}: {stderr}");
        assert!(stderr.contains(message) && stderr.contains(help), "{url}: {stderr}");
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}
