//! The terminal that a table is shown on.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use super::table::Medium;
use crate::cli::stdout::print;

/// The width of a terminal that does not tell it.
const USUAL_WIDTH: usize = 80;

/// Moves to the upper left corner, and clears from there.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Returns true if standard output is a terminal.
pub(super) fn is_one() -> bool {
    io::stdout().is_terminal()
}

/// Returns the width of standard output, and whether it has colours (<https://no-color.org>).
pub(super) fn medium() -> Medium {
    if !is_one() {
        return Medium { width: None, has_colors: false };
    }
    let width = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    let forbids = |value: std::ffi::OsString| !value.is_empty();
    let has_colors = !std::env::var_os("NO_COLOR").is_some_and(forbids);
    Medium { width: Some(if width == 0 { USUAL_WIDTH } else { width }), has_colors }
}

/// Shows a text in place of the one before.
pub(super) fn show(text: &str) -> io::Result<()> {
    print(&format!("{CLEAR}{text}"))
}

/// Waits until the next look.
#[expect(clippy::disallowed_methods, reason = "the command has nothing else to do meanwhile")]
pub(super) fn wait(time: Duration) {
    std::thread::sleep(time);
}
