//! `gateway pools --check`: the pools' count of connections beside the kernel's.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::rows::{Address, KernelReport};
use super::table::{Column, Emphasis, Medium, Row, lines};
use super::{TableArgs, failed, terminal, unreadable};
use crate::cli::output;
use crate::control::admin::Client;

/// The path of the report.
const PATH: &str = "/api/kernel";

/// The looks before a difference is one: a connection that is opened or closed meanwhile makes one, too.
const LOOKS: usize = 3;

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(300);

const COLUMNS: [Column; 10] = [
    Column::Name("ADDRESS"),
    Column::Number("ESTAB"),
    Column::Number("SYN"),
    Column::Number("CLOSE_WAIT"),
    Column::Number("TIME_WAIT"),
    Column::Number("IDLE"),
    Column::Number("USED"),
    Column::Number("DIAL"),
    Column::Name("AGREES"),
    Column::Text("POOLS"),
];

/// Compares, prints the counts, and returns 1 if they differ at each look.
pub(super) fn run(args: &TableArgs, file: &Path) -> ExitCode {
    let client = match args.running.client(file) {
        Ok(client) => client,
        Err(error) => return failed(&error),
    };
    let mut looked = look(&client);
    for _ in 1..LOOKS {
        match &looked {
            Ok((_, report)) if !report.agrees && report.error.is_none() => terminal::wait(PAUSE),
            _ => break,
        }
        looked = look(&client);
    }
    let (text, report) = match looked {
        Ok(looked) => looked,
        Err(error) => return failed(&error),
    };
    if let Some(error) = &report.error {
        return failed(&format!("{}: the kernel does not show its sockets: {error}", client.url()));
    }
    let printed = if args.json { text } else { written(&report, terminal::medium()) };
    match output::print_to_end(&printed) {
        ExitCode::SUCCESS if !report.agrees => ExitCode::FAILURE,
        code => code,
    }
}

fn look(client: &Client) -> Result<(String, KernelReport), String> {
    let text = client.report(PATH).map_err(|error| error.to_string())?;
    let report = serde_json::from_str(&text).map_err(|error| unreadable(client, &error))?;
    Ok((text, report))
}

fn written(report: &KernelReport, medium: Medium) -> String {
    let rows: Vec<Row> = report.addresses.iter().map(row).collect();
    let differing = report.addresses.iter().filter(|address| !address.agrees).count();
    let verdict = match differing {
        0 => "the kernel has as many connections open as the gateway counts".to_owned(),
        1 => "the kernel and the gateway disagree about 1 address".to_owned(),
        _ => format!("the kernel and the gateway disagree about {differing} addresses"),
    };
    format!("{}{verdict}\n", lines(&COLUMNS, &rows, medium))
}

fn row(address: &Address) -> Row {
    let Address { kernel, gateway, .. } = address;
    Row {
        emphasis: if address.agrees { Emphasis::Plain } else { Emphasis::Error },
        cells: vec![
            address.address.clone(),
            kernel.established.to_string(),
            kernel.connecting.to_string(),
            kernel.close_wait.to_string(),
            kernel.time_wait.to_string(),
            gateway.idle.to_string(),
            gateway.active.to_string(),
            gateway.connecting.to_string(),
            if address.agrees { "yes" } else { "NO" }.to_owned(),
            address.pools.join(", "),
        ],
    }
}
