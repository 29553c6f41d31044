//! `gateway man`: writes the manual pages, one for each command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Command;

use super::messages;

/// Write the manual pages into a folder
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The folder, which is created if it does not exist.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// Writes `gateway.1` and a page for each command. Returns 1 if the folder cannot be written to.
pub(crate) fn run(args: &ManArgs, command: Command) -> ExitCode {
    match write(&args.folder, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            messages::error(&format!("cannot write the manual pages to {}: {error}", args.folder.display()));
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, command: Command) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Hidden commands have no page.
    clap_mangen::generate_to(command, folder)
}
