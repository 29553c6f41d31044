//! The tables of a running gateway: `gateway pools` and `gateway routes`.

mod advice;
mod check;
pub(crate) mod pools;
pub(crate) mod routes;
pub(crate) mod rows;
pub(crate) mod table;
mod terminal;
pub(crate) mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::running::RunningArgs;
use super::{messages, output};
use crate::control::admin::Client;
use table::Medium;

/// The time between two looks.
const REFRESHED_EVERY: Duration = Duration::from_secs(2);

/// The options of a table.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TableArgs {
    #[command(flatten)]
    pub(crate) running: RunningArgs,

    /// Print the table once, as it is done anyway if the output is no terminal
    #[arg(long)]
    once: bool,

    /// Print the report of the API
    #[arg(long)]
    json: bool,

    /// Only these; an upstream's name, a route's, or an endpoint's address
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A table that a command shows.
struct Shown {
    /// The path of its report.
    path: &'static str,
    /// The list in it.
    list: &'static str,
    /// The members of an entry that names may equal.
    named_by: &'static [&'static str],
    /// Writes the entries.
    write: fn(&[Value], Medium) -> Result<String, String>,
}

/// Shows a table, once or again and again until the command is interrupted.
fn show(args: &TableArgs, file: &Path, shown: &Shown) -> ExitCode {
    let client = match args.running.client(file) {
        Ok(client) => client,
        Err(error) => return failed(&error),
    };
    let is_once = args.once || args.json || !terminal::is_one();
    loop {
        let text = match look(args, &client, shown) {
            Ok(text) => text,
            Err(error) => return failed(&error),
        };
        if is_once {
            return output::print_to_end(&text);
        }
        if let Err(error) = terminal::show(&format!("{text}\n{} every 2 s; ctrl-c ends\n", client.url())) {
            return output::exit_code(&error);
        }
        terminal::wait(REFRESHED_EVERY);
    }
}

/// Asks once. Returns the text to print.
fn look(args: &TableArgs, client: &Client, shown: &Shown) -> Result<String, String> {
    let text = client.report(shown.path).map_err(|error| error.to_string())?;
    if args.json && args.names.is_empty() {
        return Ok(text);
    }
    let mut report: Value = serde_json::from_str(&text).map_err(|error| unreadable(client, &error))?;
    let entries = chosen(&mut report, shown, &args.names)?;
    if args.json {
        if let Some(list) = report.get_mut(shown.list) {
            *list = entries.into();
        }
        return Ok(format!("{report:#}\n"));
    }
    (shown.write)(&entries, terminal::medium())
}

/// Returns the entries that names name; all without names.
fn chosen(report: &mut Value, shown: &Shown, names: &[String]) -> Result<Vec<Value>, String> {
    let entries = report.get_mut(shown.list).map(Value::take);
    let Some(Value::Array(mut entries)) = entries else {
        return Err(format!("the gateway's {} has no list `{}`", shown.path, shown.list));
    };
    let is_named =
        |entry: &Value, name: &str| shown.named_by.iter().any(|member| names_it(&entry[*member], name));
    let unknown: BTreeSet<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !entries.iter().any(|entry| is_named(entry, name)))
        .collect();
    if let Some(name) = unknown.first() {
        return Err(format!("nothing is called `{name}`"));
    }
    if !names.is_empty() {
        entries.retain(|entry| names.iter().any(|name| is_named(entry, name)));
    }
    Ok(entries)
}

/// Returns true if a member of an entry is a name, or a list with it.
fn names_it(member: &Value, name: &str) -> bool {
    match member {
        Value::String(text) => text == name,
        Value::Array(texts) => texts.iter().any(|text| text == name),
        _ => false,
    }
}

fn unreadable(client: &Client, error: &serde_json::Error) -> String {
    format!("{}: its report cannot be read: {error}", client.url())
}

fn failed(error: &str) -> ExitCode {
    messages::error(error);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_choose_entries_by_any_of_their_names() {
        let shown = Shown {
            path: "/api/pools",
            list: "pools",
            named_by: &["pool", "routes"],
            write: |_, _| Ok(String::new()),
        };
        let report = json!({ "pools": [
            { "pool": "users", "routes": ["a", "b"] },
            { "pool": "orders", "routes": ["c"] },
        ] });
        let choose = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let entries = chosen(&mut report.clone(), &shown, &names)?;
            Ok::<_, String>(
                entries.iter().map(|entry| entry["pool"].to_string()).collect::<Vec<_>>().join(" "),
            )
        };
        assert_eq!(choose(&[]).unwrap(), "\"users\" \"orders\"");
        assert_eq!(choose(&["b"]).unwrap(), "\"users\"");
        assert_eq!(choose(&["c", "users"]).unwrap(), "\"users\" \"orders\"");
        assert_eq!(choose(&["users", "x"]).unwrap_err(), "nothing is called `x`");
    }
}
