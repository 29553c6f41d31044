//! The report of what a filter did, for people.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header;

use crate::config::values::printable::printable;
use crate::filter::proxy_wasm::{
    Call, CallOutcome, Change, Entry, Excerpt, GivenPart, Journal, Section, UpstreamCall,
};
use crate::filter::{Action, Direction};

/// The width of the column with a callback's time.
const TIME_WIDTH: usize = 10;

/// Most bytes of a field's value to show.
const VALUE_BYTES_MAX: usize = 200;

/// A hint for a filter whose SDK registered body callbacks that it does not need.
const IDLE_BODY_CALLBACKS: &str = "warning: its body callbacks neither read nor changed a body. Unless the filter needs to \
    know how long bodies are, set `bodies: off` for it: they then pass as they came, compressed and with their length";

/// Returns a line for each callback, with its events below it, then a total, and a hint if one applies.
pub(super) fn report(journal: &Journal, verbose: bool) -> String {
    let mut text = String::new();
    let (mut calls, mut total) = (0, Duration::ZERO);
    let mut start = Duration::ZERO;
    for entry in journal.entries() {
        let (left, right) = match entry {
            Entry::Call(call) => {
                calls += 1;
                total += call.took;
                (time(call.took), described(&call, verbose))
            }
            Entry::Started => {
                start = total;
                (calls, total) = (0, Duration::ZERO);
                continue;
            }
            Entry::Line { level, text } => (String::new(), format!("  {level}: {text}")),
            Entry::Upstream(call) => (String::new(), upstream_call(&call, verbose)),
            Entry::Note(text) => (String::new(), format!("  [{text}]")),
            Entry::Fault { fault, what } => {
                (String::new(), format!("  filter failed ({}): {what}", fault.name()))
            }
        };
        for (index, line) in right.lines().enumerate() {
            let left = if index == 0 { &*left } else { "" };
            let indent = if index == 0 { "" } else { "  " };
            let _infallible = writeln!(text, "{left:>TIME_WIDTH$}  {indent}{line}");
        }
    }
    let noun = if calls == 1 { "callback" } else { "callbacks" };
    let memory = journal.memory_bytes().div_ceil(1024);
    let start = if start.is_zero() { String::new() } else { format!(" after a start of {}", time(start)) };
    let _infallible =
        writeln!(text, "{:>TIME_WIDTH$}  {calls} {noun}{start}; {memory} KiB of memory", time(total));
    if journal.has_idle_body_callbacks() {
        let _infallible = writeln!(text, "{:>TIME_WIDTH$}  {IDLE_BODY_CALLBACKS}", "");
    }
    text
}

/// Returns the callback with its result and its changes, a line for each. With `verbose`, its input comes before the
/// changes.
fn described(call: &Call, verbose: bool) -> String {
    let mut text = heading(call);
    if verbose {
        match &call.given {
            GivenPart::Fields(fields) => {
                for (name, value) in fields {
                    let _infallible = write!(text, "\n  {}: {}", printable(name), shown(value));
                }
            }
            GivenPart::Body(excerpt) if excerpt.length > 0 => {
                let _infallible = write!(text, "\n  {}", quoted(excerpt));
            }
            GivenPart::Body(..) | GivenPart::Nothing => {}
        }
    }
    for change in &call.changes {
        for line in changed(change, call.callback) {
            let _infallible = write!(text, "\n{line}");
        }
    }
    text
}

fn heading(call: &Call) -> String {
    let Some(part) = call.part else { return call.callback.to_owned() };
    let noun = match (call.callback.ends_with("_body"), part.size == 1) {
        (true, true) => "byte",
        (true, false) => "bytes",
        (false, true) => "field",
        (false, false) => "fields",
    };
    let end = if part.end { ", the end" } else { "" };
    let action = match part.action {
        Action::Continue => "continue",
        Action::Pause | Action::PauseAll => "pause",
        Action::ContinueAndEnd => "continue, and end the message here",
        Action::PauseWithoutBuffer => "pause, without keeping what has come",
    };
    format!("{} ({} {noun}{end}): {action}", call.callback, part.size)
}

/// Returns a change as lines that begin with `+`, `-` or `~`. If it is of another message than the callback's, that is
/// named.
fn changed(change: &Change, callback: &str) -> Vec<String> {
    match change {
        Change::Field { section, name, before, after } => {
            let place = place_of(*section, callback);
            let name = printable(name);
            let lines = |sign: char, values: &[Bytes]| {
                values.iter().map(|value| format!("{sign} {place}{name}: {}", shown(value))).collect()
            };
            match (before.is_empty(), after.is_empty()) {
                (true, _) => lines('+', after),
                (_, true) => lines('-', before),
                (false, false) => {
                    let [before, after] =
                        [before, after].map(|values| values.iter().map(shown).collect::<Vec<_>>().join(", "));
                    vec![format!("~ {place}{name}: {before} → {after}")]
                }
            }
        }
        Change::Body { direction, before, after } => {
            let place = if is_of(callback, *direction) { "" } else { message_of(*direction) };
            vec![
                format!("~ {place}body: {} → {}", length(before), length(after)),
                format!("    - {}", quoted(before)),
                format!("    + {}", quoted(after)),
            ]
        }
    }
}

/// Returns the section of a field, with a space behind it. Returns nothing for the callback's own section.
fn place_of(section: Section, callback: &str) -> &'static str {
    match section {
        Section::Head(direction) if is_of(callback, direction) => "",
        Section::Trailers(direction) if is_of(callback, direction) && callback.ends_with("_trailers") => "",
        Section::Head(direction) => message_of(direction),
        Section::Trailers(Direction::Request) => "request trailers ",
        Section::Trailers(Direction::Response) => "response trailers ",
    }
}

fn message_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Request => "request ",
        Direction::Response => "response ",
    }
}

fn is_of(callback: &str, direction: Direction) -> bool {
    callback.starts_with(match direction {
        Direction::Request => "proxy_on_request_",
        Direction::Response => "proxy_on_response_",
    })
}

/// Describes a call to an upstream and its outcome. A call without an answer is shown in full, so that one can be
/// written for it.
fn upstream_call(call: &UpstreamCall, verbose: bool) -> String {
    let upstream = printable(&call.upstream);
    let host = call.headers.get(header::HOST).map_or_else(String::new, |host| escaped(host.as_bytes()));
    let mut text = format!(
        "  calls upstream `{upstream}`: {}, host {host}, at most {:?}",
        printable(&call.line),
        call.timeout
    );
    if verbose || call.outcome == CallOutcome::NotPlayed {
        for (name, value) in call.headers.iter().filter(|(name, _)| *name != header::HOST) {
            let _infallible = write!(text, "\n  > {name}: {}", escaped(value.as_bytes()));
        }
        if !call.body.is_empty() {
            let body = Excerpt::beginning(&call.body);
            let _infallible = write!(text, "\n  > body of {}: {}", length(&body), quoted(&body));
        }
    }
    let outcome = match call.outcome {
        CallOutcome::Answered { status, fields, bytes } => {
            let noun = if fields == 1 { "field" } else { "fields" };
            format!("{status} ({fields} {noun}, {})", length_of(bytes))
        }
        CallOutcome::Failed => "fails, as `--answer` says".to_owned(),
        CallOutcome::TimedOut => format!("times out after {:?}, as `--answer` says", call.timeout),
        CallOutcome::TooLong { bytes, max } => {
            format!("fails: the answer has {bytes} bytes, more than `limits.body`, {max}")
        }
        CallOutcome::NotPlayed => format!(
            "fails, as nothing answers it; add `--answer {upstream}=FILE`, with a response as `curl -si` prints it"
        ),
    };
    let _infallible = write!(text, "\n  < {outcome}");
    text
}

fn length(excerpt: &Excerpt) -> String {
    length_of(excerpt.length)
}

fn length_of(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// Returns the excerpt of a body, quoted on one line.
fn quoted(excerpt: &Excerpt) -> String {
    let begins = if excerpt.start > 0 { "…" } else { "" };
    let ends = if excerpt.start + excerpt.part.len() < excerpt.length { "…" } else { "" };
    format!("\"{begins}{}{ends}\"", escaped(&excerpt.part))
}

/// Returns the value of a field on one line, cut if it is long.
fn shown(value: &Bytes) -> String {
    match value.get(..VALUE_BYTES_MAX) {
        Some(beginning) if value.len() > VALUE_BYTES_MAX => {
            format!("{}… ({} bytes)", escaped(beginning), value.len())
        }
        _ => escaped(value),
    }
}

/// Returns text with escapes for everything that a terminal would interpret.
fn escaped(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes)).into_owned()
}

/// Returns a time with at most three digits before the point.
fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.1} µs", nanos / 1e3),
        ..1e9 => format!("{:.1} ms", nanos / 1e6),
        _ => format!("{:.1} s", nanos / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_readable() {
        for (nanos, is) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.0 µs"),
            (25_340_000, "25.3 ms"),
            (3_000_000_000, "3.0 s"),
        ] {
            assert_eq!(time(Duration::from_nanos(nanos)), is);
        }
    }
}
