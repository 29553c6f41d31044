//! The `gateway` program: arguments, logging, exit code. What it does is in the library.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser as _;
use gateway::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start(&cli).unwrap_or_else(|error| {
        // A standard error that nobody reads is no reason to panic.
        writeln!(std::io::stderr(), "error: {error:#}").ok();
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    cli.logging
        .start()
        .map_err(|error| anyhow!("RUST_LOG is not a filter like `info` or `warn,gateway=debug`: {error}"))?;
    Ok(cli.execute())
}
