//! `gateway pools --advise`: the settings that hold requests back.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::rows::Advice;
use super::table::Medium;
use super::{Shown, TableArgs, failed, look};
use crate::cli::output;

const ADVICE: Shown = Shown {
    path: "/api/advice",
    list: "advice",
    named_by: &["pool", "routes", "endpoint", "address"],
    write,
};

/// Prints the advice once.
pub(super) fn run(args: &TableArgs, file: &Path) -> ExitCode {
    let looked = args.running.client(file).and_then(|client| look(args, &client, &ADVICE));
    looked.map_or_else(|error| failed(&error), |text| output::print_to_end(&text))
}

fn write(entries: &[Value], _: Medium) -> Result<String, String> {
    let mut text = String::new();
    for entry in entries {
        let advice: Advice = serde_json::from_value(entry.clone())
            .map_err(|error| format!("an advice cannot be read: {error}"))?;
        let at = if advice.address.is_empty() { &advice.endpoint } else { &advice.address };
        text.push_str(&format!("{} at {at}: {}\n", advice.pool, advice.text));
    }
    if text.is_empty() {
        text.push_str("no setting holds requests back\n");
    }
    Ok(text)
}
