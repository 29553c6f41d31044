//! `gateway check`: says what is wrong with a configuration, or what it would change, without starting.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{messages, output};
use crate::config;
use crate::control::admin::running_config;
use crate::control::diff::Changes;
use crate::control::process::{Prepared, examine, examine_text};

/// Checks a configuration file without starting.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration file; `-` for the standard input [default: gateway.yaml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub(crate) file: Option<PathBuf>,

    /// The same as an option
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Say what it would change: which listeners, routes and pools are added, changed, drained or kept
    #[arg(long)]
    pub(crate) diff: bool,

    /// What to compare with: another file, or the admin listener of a running gateway
    /// (http://127.0.0.1:9901) [default: the admin address in the file]
    #[arg(long, value_name = "FILE|URL", requires = "diff")]
    pub(crate) against: Option<String>,
}

/// Does all that a start would do with the file, short of binding an address. All errors go to standard error; a
/// good file makes one line on standard output, and below it what it would change, if that was asked for.
/// Exit code 1 for a bad file, or where there is nothing to compare with.
pub(crate) fn run(args: &CheckArgs, file: &Path) -> ExitCode {
    let prepared = match examine(file) {
        Ok(prepared) => prepared,
        Err(errors) => {
            messages::config_errors(&errors);
            return ExitCode::FAILURE;
        }
    };
    prepared.warnings().iter().for_each(|warning| messages::warning(warning));
    let listeners = counted(prepared.config().listeners.len(), "listener");
    let routes = counted(prepared.config().routes.len(), "route");
    let verdict = format!("{}: ok, {listeners}, {routes}", config::display_name(file));
    if !args.diff {
        return output::result(&verdict, &Value::Null);
    }
    match differences(args, file, &prepared) {
        Ok(changes) => {
            output::result(&format!("{verdict}\n{}", changes.listed()), &json!({ "changes": changes }))
        }
        Err(error) => {
            messages::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn differences(args: &CheckArgs, file: &Path, prepared: &Prepared) -> Result<Changes, String> {
    let admin = || prepared.config().admin.as_on().map(|admin| format!("http://{}", admin.address));
    let against = args.against.clone().or_else(admin);
    let against =
        against.ok_or("say what to compare with: `--against` a file, or the URL of an admin listener")?;
    let cannot = |errors| format!("{against}, which is to be compared with, is not good itself\n\n{errors}");
    // What is no URL that can be asked is told so there: nobody has a file of such a name.
    let before = if against.contains("://") {
        let text = running_config(&against).map_err(|error| error.to_string())?;
        let folder = file.parent().unwrap_or(Path::new(""));
        examine_text(&text, &folder.join("what runs")).map_err(cannot)?
    } else {
        examine(Path::new(&against)).map_err(cannot)?
    };
    // What it is compared with comes first; the file itself was found to be good.
    let changes = before.changes_to(file);
    let cannot = |errors| format!("it cannot take the place of {against}\n\n{errors}");
    changes.map_err(cannot)
}

/// "1 route", "2 routes".
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
