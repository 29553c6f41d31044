//! Where the configuration is named, where output goes, and what of it a terminal would obey.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use support::{Client, Pid, Signal, kill_process};

use crate::PROGRAM;

const GOOD: &str = "
listeners: [{ name: web, address: 127.0.0.1:0 }]
routes: [{ respond: { body: hello } }]
";

/// Runs the program in a folder with these words on the standard input.
fn run(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = spawn(folder, arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A program that does not read it closes it.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn check_reads_the_file_that_is_named_anywhere_or_the_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    for (arguments, input, name) in [
        (&["check", "good.yaml"][..], "", "good.yaml"),
        (&["check", "--config", "good.yaml"], "", "good.yaml"),
        (&["--config", "good.yaml", "check"], "", "good.yaml"),
        (&["-c", "good.yaml", "check"], "", "good.yaml"),
        (&["check", "-"], GOOD, "standard input"),
        (&["check", "-c", "-"], GOOD, "standard input"),
        (&["-c", "-", "check"], GOOD, "standard input"),
    ] {
        let output = run(folder.path(), arguments, input);
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout, format!("{name}: ok, 1 listener, 1 route\n"), "{arguments:?} {output:?}");
        assert!(output.status.success(), "{arguments:?}");
    }
    for arguments in [&["-c", "a", "check", "b"][..], &["check", "a", "-c", "b"], &["-c", "a", "schema"]] {
        assert_eq!(run(folder.path(), arguments, "").status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_error_on_the_standard_input_has_its_place_and_paths_are_relative_to_the_current_folder() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["check", "-"], &GOOD.replace("respond", "respnod"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("--> standard input:3:"), "{stderr}");
    assert_eq!(output.status.code(), Some(1));
    fs::write(folder.path().join("a.wasm"), "").unwrap();
    let filters = GOOD.replace("respond", "filters: [{ wasm: a.wasm }], respond");
    let stderr = run(folder.path(), &["check", "-"], &filters).stderr;
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(stderr.contains("a.wasm") && !stderr.contains("No such file"), "{stderr}");
    let stderr = run(folder.path(), &["check", "-"], "").stderr;
    assert!(String::from_utf8_lossy(&stderr).contains("standard input is empty"));
}

#[tokio::test]
async fn a_configuration_from_the_standard_input_serves_and_stays_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = spawn(folder.path(), &["--config", "-"]);
    child.stdin.take().unwrap().write_all(GOOD.as_bytes()).unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut announced = String::new();
    while !announced.ends_with("ready\n") {
        assert!(stdout.read_line(&mut announced).unwrap() > 0, "{announced}");
    }
    let port: u16 = announced
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(Client::connect(address).await.get("/").await.text(), "hello");
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    let mut logged = String::new();
    while !logged.contains("the configuration has not changed") {
        assert!(stderr.read_line(&mut logged).unwrap() > 0, "{logged}");
    }
    assert!(!logged.contains("ERROR"), "{logged}");
    assert_eq!(Client::connect(address).await.get("/").await.text(), "hello");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn gateway_whose_standard_output_cannot_be_written_serves_and_warns_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["--config", "good.yaml"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut logged = String::new();
    while !logged.contains("standard output cannot be written") {
        assert!(stderr.read_line(&mut logged).unwrap() > 0, "{logged}");
    }
    let warning = logged.lines().last().unwrap();
    assert!(warning.contains(" WARN ") && warning.contains("No space left on device"), "{warning}");
    // The lost line has the address.
    let address = warning.split("http://").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(Client::connect(address.parse().unwrap()).await.get("/").await.text(), "hello");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    stderr.read_to_string(&mut logged).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(logged.matches("standard output cannot be written").count(), 1, "{logged}");
}

/// Command lines whose output is on standard output, in a folder with `good.yaml` and `pass.wasm`.
const PRINTING: [&[&str]; 8] = [
    &["schema"],
    &["schema", "--format", "markdown"],
    &["check", "good.yaml"],
    &["check", "good.yaml", "--format", "json"],
    &["check", "good.yaml", "--format", "sarif"],
    &["check", "good.yaml", "--diff", "--against", "good.yaml"],
    &["--help"],
    &["--version"],
];

#[test]
fn output_that_cannot_be_written_is_an_error_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    for arguments in PRINTING {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = print_to(folder.path(), arguments, full.into());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("error: cannot write to standard output: No space left"),
            "{arguments:?}: {stderr}"
        );
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_is_gone_ends_a_command_quietly_with_the_status_of_a_broken_pipe() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = print_to(folder.path(), arguments, writer.into());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
    }
}

fn print_to(folder: &Path, arguments: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn control_characters_of_files_names_and_variables_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad\u{1b}[31m.yaml");
    let mut file = File::create(&bad).unwrap();
    file.write_all(
        b"listeners: [{ address: 127.0.0.1:80 }]\nroutes:\n  - name: \"\\e]0;title\\a\"\n    \"no\\e[2Jsuch\": 1\n    host: \xc2\x9b\xe2\x80\x8b\xe2\x80\xae\n    respond: {}\n",
    )
    .unwrap();
    let good = GOOD.replace("routes: [{", "routes: [{ name: \"a\\e[31m\\nb\\u202e\",");
    let good_name = "good\u{7}.yaml";
    fs::write(folder.path().join(good_name), &good).unwrap();
    fs::write(folder.path().join("other.yaml"), GOOD).unwrap();
    for arguments in [
        &["check", bad.to_str().unwrap()][..],
        &["check", good_name],
        &["check", bad.to_str().unwrap(), "--format", "json"],
        &["check", "missing\u{1b}.yaml"],
        &["check", good_name, "--diff", "--against", "other.yaml"],
        &["check", "other.yaml", "--diff", "--against", good_name],
        &["check", "other.yaml", "--diff", "--against", bad.to_str().unwrap()],
        &["check", "other.yaml", "--diff", "--against", "http://127.0.0.1:1/\u{1b}"],
        &["filter", "run", "missing\u{1b}.wasm"],
    ] {
        let output = run(folder.path(), arguments, "");
        for text in [&output.stdout, &output.stderr] {
            let text = std::str::from_utf8(text).unwrap();
            let is_bad = |c: char| (c.is_control() && c != '\n') || ('\u{200b}'..='\u{202e}').contains(&c);
            assert!(!text.contains(is_bad), "{arguments:?}: {text:?}");
        }
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let is_escaped = ["\\u{1b}", "\\u{7}", "\\u001b"].iter().any(|escape| shown.contains(escape));
        assert!(is_escaped, "{arguments:?}: {shown}");
    }
}

#[test]
fn missing_configuration_file_is_an_error_with_its_place_and_the_way_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    for (arguments, file) in
        [(&[][..], "gateway.yaml"), (&["check"], "gateway.yaml"), (&["-c", "a/b.yaml"], "a/b.yaml")]
    {
        let output = run(&here, arguments, "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let expected = format!("error: cannot read {}: there is no such file", here.join(file).display());
        assert!(stderr.starts_with(&expected), "{arguments:?}: {stderr}");
        assert!(stderr.contains("`gateway new http://127.0.0.1:3000`"), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    }
}

#[test]
fn command_of_another_server_is_an_error_that_names_the_option() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["run", "serve", "server", "start"] {
        let output = run(folder.path(), &[command, "--config", "mine.yaml"], "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("the gateway serves without one: `gateway --config gateway.yaml`"),
            "{stderr}"
        );
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn configuration_file_in_place_of_a_command_is_an_error_that_names_the_option() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), GOOD).unwrap();
    for file in ["gateway.yaml", "conf/a.yml", "mine"] {
        let output = run(folder.path(), &[file], "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(&format!("write `--config {file}`")), "{stderr}");
        assert_eq!(output.status.code(), Some(2));
    }
    let stderr = run(folder.path(), &["chek"], "").stderr;
    assert!(String::from_utf8_lossy(&stderr).contains("'check'"));
}

#[test]
fn port_in_use_is_an_error_with_its_line_and_the_way_to_the_other_program() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = GOOD.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    fs::write(folder.path().join("gateway.yaml"), config).unwrap();
    let output = run(folder.path(), &[], "");
    let stderr = String::from_utf8_lossy(&output.stderr);
    for part in ["cannot listen on this address", "gateway.yaml:2:", "`ss -ltnp`", "write another port"] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
}

#[test]
fn missing_module_of_a_filter_is_an_error_with_the_path_that_was_tried_and_the_way_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().canonicalize().unwrap();
    let cargo = "build it: `cargo build --release --target wasm32-wasip1`";
    for (module, advice) in [
        ("plugins/a.wasm", "build the filter, or correct the path"),
        ("target/wasm32-wasip1/release/a.wasm", cargo),
    ] {
        let config = GOOD.replace("respond", &format!("filters: [{{ wasm: {module} }}], respond"));
        fs::write(here.join("gateway.yaml"), config).unwrap();
        let output = run(&here, &[], "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let path = here.join(module);
        for part in [path.to_str().unwrap(), "gateway.yaml:3:", "there is no such file", advice] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
        assert_eq!(output.status.code(), Some(1));
    }
}
