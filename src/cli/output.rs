//! The end of a command: its result on standard output, and its exit code.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use serde_json::Value;

use super::messages;
use super::messages::said;
use super::stdout::print;

/// The exit code if the reader of the output is gone: 128 and the number of SIGPIPE, as a shell reports for the usual
/// tools.
const READER_GONE: u8 = 141;

/// Prints the whole output of a command, and returns its exit code: that of [`exit_code`] if printing fails.
pub fn print_to_end(text: &str) -> ExitCode {
    print(text).map_or_else(|error| exit_code(&error), |()| ExitCode::SUCCESS)
}

/// Returns the exit code for output that cannot be written: 1 with an error message, or 141 without one if the reader
/// is gone.
pub fn exit_code(error: &io::Error) -> ExitCode {
    if error.kind() == ErrorKind::BrokenPipe {
        return ExitCode::from(READER_GONE);
    }
    messages::error(&format!("cannot write to standard output: {error}"));
    ExitCode::FAILURE
}

/// Prints the result of a command on standard output, with fields that only JSON shows. Returns failure if it cannot be
/// written.
pub(crate) fn result(text: &str, fields: &Value) -> ExitCode {
    print_to_end(&said(text, fields))
}
