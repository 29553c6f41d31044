//! `gateway routes`: the routes and their requests.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::rows::Route;
use super::table::{Column, Emphasis, Medium, Row, lines};
use super::words::{ago, rate, share, time};
use super::{Shown, TableArgs, show};

/// Show the routes of a running gateway and their last minute, those that need attention first
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RoutesArgs {
    #[command(flatten)]
    pub(crate) table: TableArgs,
}

const ROUTES: Shown = Shown { path: "/api/routes", list: "routes", named_by: &["name", "upstreams"], write };

const COLUMNS: [Column; 8] = [
    Column::Name("ROUTE"),
    Column::Name("MATCH"),
    Column::Number("REQ/S"),
    Column::Number("ERRORS"),
    Column::Number("P50"),
    Column::Number("P99"),
    Column::Number("OPEN"),
    Column::Text("LAST USED"),
];

/// The part of failed requests from which on a route needs attention.
const ERRORS_MIN: f64 = 0.01;

/// Shows the routes. Returns 1 if the gateway cannot be asked.
pub(crate) fn run(args: &RoutesArgs, file: &Path) -> ExitCode {
    show(&args.table, file, &ROUTES)
}

fn write(entries: &[Value], medium: Medium) -> Result<String, String> {
    let mut routes = parse(entries)?;
    sort(&mut routes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let rows: Vec<Row> = routes.iter().map(|route| row(route, now)).collect();
    Ok(lines(&COLUMNS, &rows, medium))
}

pub(crate) fn parse(entries: &[Value]) -> Result<Vec<Route>, String> {
    let routes = entries.iter().map(|entry| serde_json::from_value(entry.clone()));
    routes.collect::<Result<_, _>>().map_err(|error| format!("a route cannot be read: {error}"))
}

/// Returns the failed requests per second.
fn failing(route: &Route) -> f64 {
    route.recent.rate * route.recent.error_share.unwrap_or_default()
}

/// Sorts routes by what needs attention: failures, then requests, then the last use.
pub(crate) fn sort(routes: &mut [Route]) {
    routes.sort_by(|one, other| {
        let by_errors = emphasis(one).cmp(&emphasis(other)).then(failing(other).total_cmp(&failing(one)));
        let by_rate = other.recent.rate.total_cmp(&one.recent.rate);
        let used = |route: &Route| route.last_used.unwrap_or_default();
        by_errors.then(by_rate).then(used(other).total_cmp(&used(one)))
    });
}

/// Returns the emphasis of a route.
pub(crate) fn emphasis(route: &Route) -> Emphasis {
    match route.recent.error_share {
        Some(share) if share >= ERRORS_MIN => Emphasis::Error,
        Some(share) if share > 0.0 => Emphasis::Warning,
        _ => Emphasis::Plain,
    }
}

fn row(route: &Route, now: f64) -> Row {
    let mut cells = cells(route);
    cells.push(ago(route.last_used.map(|used| now - used)));
    Row { emphasis: emphasis(route), cells }
}

/// Returns the cells that every table of routes begins with.
pub(crate) fn cells(route: &Route) -> Vec<String> {
    vec![
        route.name.clone(),
        route.matches.clone(),
        rate(route.recent.rate),
        share(route.recent.error_share),
        time(route.recent.p50_seconds),
        time(route.recent.p99_seconds),
        route.in_flight.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_with_errors_come_first_and_unused_ones_last() {
        let route = |name: &str, rate: f64, errors: Option<f64>, used: Option<f64>| {
            let (p50, p99) = (errors.map(|_| 0.0012), errors.map(|_| 0.18));
            json!({
                "name": name, "match": "GET api.example.com/users/* ?page", "in_flight": 3, "last_used": used,
                "recent": { "rate": rate, "error_share": errors, "p50_seconds": p50, "p99_seconds": p99 },
            })
        };
        let entries = [
            route("unused", 0.0, None, None),
            route("old", 0.0, None, Some(1000.0)),
            route("quiet", 1.0, Some(0.0), Some(1000.0)),
            route("busy", 900.0, Some(0.0), Some(1000.0)),
            route("fails-now-and-then", 10.0, Some(0.002), Some(1000.0)),
            route("fails", 2.0, Some(0.5), Some(1000.0)),
        ];
        let text = write(&entries, Medium { width: Some(80), has_colors: false }).unwrap();
        let names: Vec<&str> = text.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["fails", "fails-now-and-then", "busy", "quiet", "old", "unused"], "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.lines().last().unwrap().ends_with(" never"), "{text}");
    }
}
