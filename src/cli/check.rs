//! `gateway check`: checks a configuration, and shows what it would change, without starting.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{messages, output};
use crate::config;
use crate::control::admin::running_config;
use crate::control::announce::reachable;
use crate::control::compile::generation::Purpose;
use crate::control::diff::Changes;
use crate::control::process::{Prepared, prepare};

/// Checks a configuration file without starting.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The configuration file; `-` for the standard input [default: gateway.yaml]
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub(crate) file: Option<PathBuf>,

    /// The configuration file, as an option
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Show what the file would change: the listeners, routes and pools that are added, changed, drained or kept
    #[arg(long)]
    pub(crate) diff: bool,

    /// The configuration to compare with: another file, or the admin listener of a running gateway
    /// (http://127.0.0.1:9901) [default: the admin address in the file]
    #[arg(long, value_name = "FILE|URL", requires = "diff")]
    pub(crate) against: Option<String>,
}

/// Does everything that a start would do with the file, except for binding addresses. All errors go to standard error.
/// A valid file makes one line on standard output and, with `--diff`, its changes below. Returns 1 if the file is
/// invalid, or if there is nothing to compare with.
pub(crate) fn run(args: &CheckArgs, file: &Path) -> ExitCode {
    let prepared = match prepare(Purpose::Check, file, None) {
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
    let admin =
        || prepared.config().admin.as_on().map(|admin| format!("http://{}", reachable(admin.address.into())));
    let against = args.against.clone().or_else(admin);
    let against = against
        .ok_or("name what to compare with: `--against FILE`, or `--against` the URL of an admin listener")?;
    let cannot = |errors| format!("cannot compare with {against}, which has errors itself\n\n{errors}");
    // Anything with `://` counts as a URL, so that the error speaks of a URL. No file has such a name.
    let before = if against.contains("://") {
        let text = running_config(&against).map_err(|error| error.to_string())?;
        let folder = file.parent().unwrap_or(Path::new(""));
        prepare(Purpose::Check, &folder.join("what runs"), Some(&text)).map_err(cannot)?
    } else {
        prepare(Purpose::Check, Path::new(&against), None).map_err(cannot)?
    };
    // Only the other configuration can fail here, because the file itself has been checked.
    let changes = before.changes_to(file);
    let cannot = |errors| format!("it cannot replace {against}\n\n{errors}");
    changes.map_err(cannot)
}

/// "1 route", "2 routes".
fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
