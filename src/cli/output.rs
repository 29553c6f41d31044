//! Writing to the standard output, which may be full, or a pipe whose reader leaves early (`gateway schema | head`).

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use super::messages;

/// The exit code of a program whose reader has left: 128 and the number of SIGPIPE, as a shell reports it for the usual tools.
const READER_GONE: u8 = 141;

/// Writes the text at once.
///
/// # Errors
/// The output cannot be written: its reader is gone ([`ErrorKind::BrokenPipe`]), or the disk is full.
pub fn print(text: &str) -> io::Result<()> {
    print_parts(&[text.as_bytes()])
}

/// As [`print()`], for bytes in several parts.
///
/// # Errors
/// As those of [`print()`].
pub fn print_parts(parts: &[&[u8]]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    parts.iter().try_for_each(|part| output.write_all(part)).and_then(|()| output.flush())
}

/// Writes all that a command has to say, and returns its exit code: as [`exit_code`] if that fails.
pub fn print_to_end(text: &str) -> ExitCode {
    print(text).map_or_else(|error| exit_code(&error), |()| ExitCode::SUCCESS)
}

/// Returns the exit code for output that cannot be written, and says why: 1, or 141 without a word if the reader is gone.
pub fn exit_code(error: &io::Error) -> ExitCode {
    if error.kind() == ErrorKind::BrokenPipe {
        return ExitCode::from(READER_GONE);
    }
    messages::error(&format!("cannot write to the standard output: {error}"));
    ExitCode::FAILURE
}
