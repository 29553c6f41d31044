//! `gateway pools`: the connections to upstreams.

use std::cmp::Reverse;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::rows::{Pool, PoolRecent};
use super::table::{Column, Emphasis, Medium, Row, lines};
use super::words::{rate, share, time};
use super::{Shown, TableArgs, advice, check, show};

/// Show the upstream connections of a running gateway, those that need attention first
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PoolsArgs {
    #[command(flatten)]
    pub(crate) table: TableArgs,

    /// Compare the connections with those that the kernel counts; exit status 1 if they differ
    #[arg(long, conflicts_with = "advise")]
    check: bool,

    /// Say which settings hold requests back, and which values would have sufficed
    #[arg(long)]
    advise: bool,
}

const POOLS: Shown =
    Shown { path: "/api/pools", list: "pools", named_by: &["pool", "routes", "endpoint", "address"], write };

const COLUMNS: [Column; 9] = [
    Column::Name("POOL"),
    Column::Name("ADDRESS"),
    Column::Number("USED/MAX"),
    Column::Number("IDLE"),
    Column::Number("WAIT"),
    Column::Number("REQ/S"),
    Column::Number("REUSE"),
    Column::Number("P99"),
    Column::Text("STATE"),
];

/// Shows the pools. Returns 1 if the gateway cannot be asked, and with `--check` if its count differs from the kernel's.
pub(crate) fn run(args: &PoolsArgs, file: &Path) -> ExitCode {
    match (args.check, args.advise) {
        (true, _) => check::run(&args.table, file),
        (_, true) => advice::run(&args.table, file),
        _ => show(&args.table, file, &POOLS),
    }
}

fn write(entries: &[Value], medium: Medium) -> Result<String, String> {
    let mut pools = parse(entries)?;
    sort(&mut pools);
    let rows: Vec<Row> = pools.iter().map(row).collect();
    Ok(lines(&COLUMNS, &rows, medium))
}

pub(crate) fn parse(entries: &[Value]) -> Result<Vec<Pool>, String> {
    let pools = entries.iter().map(|entry| serde_json::from_value(entry.clone()));
    pools.collect::<Result<_, _>>().map_err(|error| format!("a pool cannot be read: {error}"))
}

/// Sorts pools by what needs attention: failures, waits, then requests.
pub(crate) fn sort(pools: &mut [Pool]) {
    pools.sort_by(|one, other| {
        let key = |pool: &Pool| (emphasis(pool), Reverse(pool.pending), pool.draining);
        let limited = |pool: &Pool| pool.recent.as_ref().map_or(0.0, PoolRecent::limited);
        let rate = |pool: &Pool| pool.recent.as_ref().map_or(0.0, |recent| recent.rate);
        let by_share = limited(other).total_cmp(&limited(one)).then(rate(other).total_cmp(&rate(one)));
        let by_name = (&one.pool, &one.address).cmp(&(&other.pool, &other.address));
        key(one).cmp(&key(other)).then(by_share).then(by_name)
    });
}

impl PoolRecent {
    /// Returns the share of the time during which a limit was reached.
    pub(crate) fn limited(&self) -> f64 {
        self.max_connections_reached_share.max(self.max_concurrent_reached_share)
    }
}

/// Returns the emphasis of a pool.
pub(crate) fn emphasis(pool: &Pool) -> Emphasis {
    let is_broken =
        matches!(&*pool.health, "ejected" | "unhealthy") || pool.breaker.as_deref() == Some("open");
    let is_limited = pool.pending > 0 || pool.recent.as_ref().is_some_and(|recent| recent.limited() >= 0.01);
    match () {
        () if is_broken => Emphasis::Error,
        () if is_limited => Emphasis::Warning,
        () => Emphasis::Plain,
    }
}

/// Returns what is to say about a pool, if anything is.
fn state(pool: &Pool) -> String {
    let limited = pool.recent.as_ref().map_or(0.0, PoolRecent::limited);
    match () {
        () if pool.draining => "draining".to_owned(),
        () if pool.breaker.as_deref().is_some_and(|state| state != "closed") => {
            format!("breaker {}", pool.breaker.as_deref().unwrap_or_default())
        }
        () if !matches!(&*pool.health, "healthy" | "") => pool.health.clone(),
        () if limited > 0.0 => format!("full {}", share(Some(limited))),
        () => String::new(),
    }
}

/// Returns the address of a pool's connections, or its endpoint before the name is resolved.
fn place(pool: &Pool) -> &str {
    if pool.address.is_empty() { &pool.endpoint } else { &pool.address }
}

fn row(pool: &Pool) -> Row {
    Row { emphasis: emphasis(pool), cells: cells(pool) }
}

/// Returns the cells of a pool in a table.
pub(crate) fn cells(pool: &Pool) -> Vec<String> {
    let recent = pool.recent.clone().unwrap_or_default();
    vec![
        pool.pool.clone(),
        place(pool).to_owned(),
        format!("{}/{}", pool.active + pool.connecting, pool.max_connections),
        pool.idle.to_string(),
        pool.pending.to_string(),
        rate(recent.rate),
        share(recent.reuse_share),
        time(recent.acquire_p99_seconds),
        state(pool),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pools_that_need_attention_come_first_and_fit_80_characters() {
        let recent = |share, rate| {
            json!({
                "rate": rate, "reuse_share": 0.987, "acquire_p99_seconds": 0.18, "max_connections_reached_share": share,
                "max_concurrent_reached_share": 0.0,
            })
        };
        let pool = |name: &str, health: &str, pending: u64, recent: Value| {
            json!({
                "pool": name, "endpoint": "http://users.internal:8080", "address": "10.120.130.140:8080", "health": health,
                "idle": 12, "active": 244, "connecting": 2, "pending": pending, "max_connections": 256, "recent": recent,
            })
        };
        let entries = [
            pool("calm", "healthy", 0, recent(0.0, 2.0)),
            pool("busy", "healthy", 0, recent(0.0, 1234.5)),
            pool("full-of-requests-at-times", "healthy", 0, recent(0.4, 1.0)),
            pool("waiting", "healthy", 7, recent(0.02, 1.0)),
            pool("broken", "ejected", 0, Value::Null),
        ];
        let text = write(&entries, Medium { width: Some(80), has_colors: false }).unwrap();
        assert_eq!(
            text,
            "\
POOL              ADDRESS          USED/MAX IDLE WAIT REQ/S REUSE   P99 STATE
broken            10.120.130.140:…  246/256   12    0     0     -     - ejected
waiting           10.120.130.140:…  246/256   12    7   1.0   98% 180ms full 2%
full-of-requests… 10.120.130.140:…  246/256   12    0   1.0   98% 180ms full 40%
busy              10.120.130.140:…  246/256   12    0  1234   98% 180ms
calm              10.120.130.140:…  246/256   12    0   2.0   98% 180ms
"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
}
