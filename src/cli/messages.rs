//! Messages that commands print for people, in the format of `--log-format`: text, or a JSON object per line.
//!
//! The log of the running program belongs to `logging`. This module prints everything else: the addresses of the
//! gateway, the errors of a configuration or a command line, the verdict of a check, a panic.

use std::io::{self, IsTerminal, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::stdout;
use crate::config::values::printable::printable_lines;
use crate::config::{ConfigError, ConfigErrors, ConfigWarnings, Severity};

/// The option that selects the format, for command lines that clap rejects.
const OPTION: &str = "--log-format";

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Switches to JSON, including panics.
pub fn use_json() {
    IS_JSON.store(true, Ordering::Relaxed);
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string);
        let message = format!("internal error: {}", panic.payload_as_str().unwrap_or("a panic"));
        to_stderr(&json_line("ERROR", &message, &json!({ "thread": thread.name(), "location": place })));
    }));
}

/// Returns true if a command line requests JSON, whatever else it contains.
pub fn asks_for_json(arguments: impl IntoIterator<Item = String>) -> bool {
    let mut arguments = arguments.into_iter().take_while(|argument| argument != "--");
    let mut format = None;
    while let Some(argument) = arguments.next() {
        if argument == OPTION {
            format = arguments.next();
        } else if let Some(value) = argument.strip_prefix(OPTION).and_then(|rest| rest.strip_prefix('=')) {
            format = Some(value.to_owned());
        }
    }
    format.as_deref() == Some("json")
}

/// Prints a line on standard output. The first line that cannot be written causes a warning and no error: the
/// configuration has the same information, and a full disk must not keep the gateway from serving.
pub fn announce(line: &str) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    let Err(error) = stdout::print(&said(line, &Value::Null)) else { return };
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            lost = line,
            "standard output cannot be written: {error}; the gateway serves without announcing its addresses there"
        );
    }
}

pub(super) fn said(text: &str, fields: &Value) -> String {
    if is_json() {
        json_line("INFO", text.trim_end(), fields)
    } else {
        format!("{}\n", printable_lines(text.trim_end()))
    }
}

/// Prints an error on standard error.
pub fn error(message: &str) {
    let text = if is_json() {
        json_line("ERROR", message.trim_end(), &Value::Null)
    } else {
        format!("error: {}\n", printable_lines(message.trim_end()))
    };
    to_stderr(&text);
}

/// Prints clap's message about a command line: as JSON, or by `print`, which colours it.
pub fn usage(message: &str, print: impl FnOnce()) {
    if is_json() {
        error(message.strip_prefix("error: ").unwrap_or(message));
    } else {
        print();
    }
}

/// Prints a warning on standard error.
pub(crate) fn warning(message: &str) {
    to_stderr(&if is_json() {
        json_line("WARN", message, &Value::Null)
    } else {
        format!("warning: {}\n", printable_lines(message))
    });
}

/// Prints text on standard error: as it is, or line by line as JSON.
pub fn text(text: &str) {
    if is_json() {
        let lines: String = text.lines().map(|line| json_line("INFO", line, &Value::Null)).collect();
        to_stderr(&lines);
    } else {
        to_stderr(&printable_lines(text));
    }
}

/// Prints the errors of a configuration on standard error. Text is coloured if that is a terminal and `NO_COLOR` is not
/// set. JSON has a line for each error.
pub(crate) fn config_errors(errors: &ConfigErrors) {
    if !is_json() {
        return to_stderr(&errors.render(is_coloured()));
    }
    let (shown, more) = errors.shown();
    let mut text: String = shown.iter().map(finding_line).collect();
    if more > 0 {
        text.push_str(&json_line("ERROR", &format!("and {more} more errors"), &Value::Null));
    }
    to_stderr(&text);
}

/// Prints the warnings of a configuration and then its errors, which are the last lines on a terminal.
pub(crate) fn config_findings(warnings: &ConfigWarnings, errors: &ConfigErrors) {
    config_warnings(warnings);
    if warnings.len() > 0 && !is_json() {
        to_stderr("\n");
    }
    config_errors(errors);
}

/// Prints the warnings of a configuration in the same way.
pub(crate) fn config_warnings(warnings: &ConfigWarnings) {
    if !is_json() {
        return to_stderr(&warnings.render(is_coloured()));
    }
    let (shown, more) = warnings.shown();
    let mut text: String = shown.into_iter().map(finding_line).collect();
    text.extend(more.map(|more| json_line("WARN", &format!("and {more}"), &Value::Null)));
    to_stderr(&text);
}

fn is_coloured() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !no_color
}

fn finding_line(finding: &ConfigError) -> String {
    let position = finding.position();
    let fields = json!({
        "code": finding.code().as_str(),
        "file": finding.place_name(),
        "line": position.map(|position| position.line),
        "column": position.map(|position| position.column),
        "help": finding.advice(),
    });
    let level = match finding.code().severity() {
        Severity::Error => "ERROR",
        Severity::Warning => "WARN",
    };
    json_line(level, finding.message(), &fields)
}

fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Returns an object with the keys of the log. Null fields are left out.
fn json_line(level: &str, message: &str, fields: &Value) -> String {
    let mut time = String::new();
    // Writing to a string does not fail.
    let _infallible = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), time.into());
    line.insert("level".to_owned(), level.into());
    line.insert("message".to_owned(), message.into());
    for (name, value) in fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        line.insert(name.clone(), value.clone());
    }
    line.insert("target".to_owned(), "gateway".into());
    format!("{}\n", Value::Object(line))
}

fn to_stderr(text: &str) {
    // If standard error is closed, the exit status must do.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_ask_for_json_in_both_spellings() {
        for (line, expected) in [
            ("--log-format json", true),
            ("--log-format=json check", true),
            ("check --log-format json --bad", true),
            ("--log-format text", false),
            ("--log-format=json --log-format text", false),
            ("--log-format", false),
            ("-- --log-format json", false),
            ("--log-formatjson", false),
        ] {
            assert_eq!(asks_for_json(line.split(' ').map(str::to_owned)), expected, "{line}");
        }
    }

    /// Panics with the JSON hook installed. The next test runs it in a process of its own.
    #[test]
    #[ignore = "the panic of another test"]
    fn panics_in_json() {
        use_json();
        let panicked = std::thread::Builder::new().name("worker-7".to_owned()).spawn(|| panic!("two\nlines"));
        assert!(panicked.unwrap().join().is_err());
    }

    #[test]
    fn panic_is_a_line_of_json() {
        let test = ["--exact", "cli::messages::tests::panics_in_json", "--ignored", "--nocapture"];
        let output =
            std::process::Command::new(std::env::current_exe().unwrap()).args(test).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        let line: Value = serde_json::from_str(text.trim_end()).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!((&line["level"], &line["thread"]), (&json!("ERROR"), &json!("worker-7")));
        assert_eq!(line["message"], "internal error: two\nlines");
        assert!(line["location"].as_str().unwrap().contains("messages.rs:"), "{line}");
    }

    #[test]
    fn json_line_has_the_keys_of_the_log_and_no_empty_ones() {
        let line = json_line("WARN", "two\nlines", &json!({ "line": 3, "help": null }));
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["message"]), (&json!("WARN"), &json!("two\nlines")));
        assert_eq!((&value["line"], value.get("help")), (&json!(3), None));
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'), "{value}");
    }
}
