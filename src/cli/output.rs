//! The end of a command: its result on the standard output, and its exit code.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use serde_json::Value;

use super::messages;
use super::messages::said;
use super::stdout::print;

/// The exit code of a program whose reader has left: 128 and the number of SIGPIPE, as a shell reports it for the usual tools.
const READER_GONE: u8 = 141;

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

/// Prints the result of a command on standard output, with fields that only JSON has. Returns failure if it cannot be written.
pub(crate) fn result(text: &str, fields: &Value) -> ExitCode {
    print_to_end(&said(text, fields))
}
