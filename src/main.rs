//! The `gateway` program: arguments, logging, exit code. What it does is in the library.

use std::process::ExitCode;

use anyhow::anyhow;
use gateway::cli::{Cli, messages, output};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status for a command line that cannot be understood, as clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Before the command line is understood: what is wrong with it is said in the format that it asks for.
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    if messages::asks_for_json(arguments) {
        messages::use_json();
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let text = error.render().to_string();
            messages::usage(&text, || drop(error.print()));
            return ExitCode::from(USAGE);
        }
        // `--help` and `--version`.
        Err(text) => {
            return text.print().map_or_else(|error| output::exit_code(&error), |()| ExitCode::SUCCESS);
        }
    };
    Cli::compile_in_children();
    start(&cli).unwrap_or_else(|error| {
        messages::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    cli.logging.start().map_err(|_| {
        anyhow!("RUST_LOG is not a filter; write a level, or levels of modules: gateway::upstream=debug")
    })?;
    Ok(cli.execute())
}
