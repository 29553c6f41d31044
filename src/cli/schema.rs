//! `gateway schema`.

use std::process::ExitCode;

use clap::Args;

/// `gateway schema` has no options of its own.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {}

/// Prints the schema.
#[must_use]
pub fn run(_args: &SchemaArgs) -> ExitCode {
    ExitCode::FAILURE
}
