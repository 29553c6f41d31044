//! The manual pages and completion scripts that packages take from the program.

use std::fs;

use support::run_to_exit;

use crate::PROGRAM;

#[tokio::test]
async fn manual_has_a_page_for_each_command_that_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("new/man1");
    let output = run_to_exit(PROGRAM, &["man", into.to_str().unwrap()]).await;
    assert!(output.status.success(), "{output:?}");
    let page = |name: &str| fs::read_to_string(into.join(name)).unwrap_or_else(|_| panic!("no page {name}"));
    let main = page("gateway.1");
    for text in ["SYNOPSIS", "SIGTERM", "shutdown.delay"] {
        assert!(main.contains(text), "{text}");
    }
    let help = String::from_utf8(run_to_exit(PROGRAM, &["--help"]).await.stdout).unwrap();
    let listed = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let mut commands: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    commands.retain(|command| *command != "help");
    assert!(commands.contains(&"new") && commands.contains(&"filter"), "{help}");
    let commands = commands.into_iter().map(|command| (command, command));
    for (command, shown) in commands.chain([("filter-new", "filter new"), ("filter-run", "filter run")]) {
        let text = page(&format!("gateway-{command}.1"));
        assert!(text.contains("\\-\\-help"), "{command}: {text}");
        assert!(text.replace("\\-", "-").contains(&format!("gateway {shown}")), "{command}: {text}");
    }
    assert!(!into.join("gateway-compile-module.1").exists());
}

#[tokio::test]
async fn manual_that_cannot_be_written_is_an_error() {
    let output = run_to_exit(PROGRAM, &["man", "/proc/nowhere"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("error: cannot write the manual pages to /proc/nowhere: "), "{said}");
}

#[tokio::test]
async fn completions_know_the_commands_and_their_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run_to_exit(PROGRAM, &["completions", shell]).await;
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["health", "against", "schema", "filter"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("compile-module"), "{shell}");
    }
    let output = run_to_exit(PROGRAM, &["completions", "tcsh"]).await;
    assert_eq!(output.status.code(), Some(2));
}
