//! What a filter did, for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::filter::Action;
use crate::wasm::{Call, Entry, Journal};

/// Columns of a callback's time.
const TIME_WIDTH: usize = 10;

/// A line a callback, with what it wrote below it; then the sum of it all, then why it failed.
pub(super) fn report(journal: &Journal) -> String {
    let mut text = String::new();
    let (mut calls, mut total) = (0, Duration::ZERO);
    let mut start = Duration::ZERO;
    for entry in journal.entries() {
        let (left, right) = match entry {
            Entry::Call(call) => {
                calls += 1;
                total += call.took;
                (time(call.took), described(&call))
            }
            Entry::Started => {
                start = total;
                (calls, total) = (0, Duration::ZERO);
                continue;
            }
            Entry::Line { level, text } => (String::new(), format!("  {level}: {text}")),
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
    text
}

fn described(call: &Call) -> String {
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
        Action::Pause => "pause",
    };
    format!("{} ({} {noun}{end}): {action}", call.callback, part.size)
}

/// Three digits at most before the point.
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
