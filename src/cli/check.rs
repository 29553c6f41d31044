//! `gateway check`: says what is wrong with a configuration, or what it would change, without starting.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::output;
use crate::admin::running_config;
use crate::config::ConfigErrors;
use crate::run::{Prepared, prepare, prepare_text};

/// Checks a configuration file without starting.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "gateway.yaml")]
    pub config: PathBuf,

    /// Say what it would change: which listeners, routes and pools are added, changed, drained or kept
    #[arg(long)]
    pub diff: bool,

    /// What to compare with: another file, or the admin listener of a running gateway
    /// (http://127.0.0.1:9901) [default: the admin address in the file]
    #[arg(long, value_name = "FILE|URL", requires = "diff")]
    pub against: Option<String>,
}

/// Does all that a start would do with the file, short of binding an address. All errors go to standard error; a
/// good file makes one line on standard output, and below it what it would change, if that was asked for.
/// Exit code 1 for a bad file, or where there is nothing to compare with.
pub fn run(args: &CheckArgs) -> ExitCode {
    let prepared = match prepare(&args.config) {
        Ok(prepared) => prepared,
        Err(errors) => {
            report(&errors);
            return ExitCode::FAILURE;
        }
    };
    let listeners = counted(prepared.config().listeners.len(), "listener");
    let routes = counted(prepared.config().routes.len(), "route");
    let verdict = format!("{}: ok, {listeners}, {routes}\n", args.config.display());
    if !args.diff {
        return output::print_to_end(&verdict);
    }
    match differences(args, &prepared) {
        Ok(differences) => output::print_to_end(&format!("{verdict}{differences}")),
        Err(error) => {
            complain(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn differences(args: &CheckArgs, prepared: &Prepared) -> Result<String, String> {
    let admin = || prepared.config().admin.as_on().map(|admin| format!("http://{}", admin.address));
    let against = args.against.clone().or_else(admin);
    let against =
        against.ok_or("say what to compare with: `--against` a file, or the URL of an admin listener")?;
    let cannot = |errors| format!("{against}, which is to be compared with, is not good itself\n\n{errors}");
    // What is no URL that can be asked is told so there: nobody has a file of such a name.
    let before = if against.contains("://") {
        let text = running_config(&against).map_err(|error| error.to_string())?;
        let folder = args.config.parent().unwrap_or(Path::new(""));
        prepare_text(&text, &folder.join("what runs")).map_err(cannot)?
    } else {
        prepare(Path::new(&against)).map_err(cannot)?
    };
    // What it is compared with comes first; the file itself was found to be good.
    let changes = before.changes_to(&args.config);
    let cannot = |errors| format!("it cannot take the place of {against}\n\n{errors}");
    changes.map(|changes| changes.listed()).map_err(cannot)
}

/// Prints errors of a configuration for people: on standard error, coloured where that is a terminal and
/// `NO_COLOR` is not set.
pub fn report(errors: &ConfigErrors) {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    complain(&errors.render(io::stderr().is_terminal() && !no_color));
}

fn complain(text: &str) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "with standard error closed, only the exit code is left"
    )]
    let _: io::Result<()> = io::stderr().lock().write_all(text.as_bytes());
}

/// "1 route", "2 routes".
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
