//! Looks at a running gateway, taken by a thread of their own: one that does not answer must not stop the keys.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::tables::rows::{Pool, Route, RouteRecent};
use crate::cli::tables::{pools, routes};
use crate::control::admin::Client;

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// The reports of a gateway at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) status: Status,
    pub(super) routes: Vec<Route>,
    pub(super) pools: Vec<Pool>,
    /// The requests of the last fifteen minutes, five seconds each.
    pub(super) requests: Vec<u64>,
}

/// The state of the process.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) state: String,
    pub(super) generation: u64,
    pub(super) in_sync: bool,
    pub(super) client_connections: u64,
    pub(super) requests_in_flight: u64,
    pub(super) recent: RouteRecent,
    pub(super) problems: Vec<Problem>,
}

/// A problem that the process has.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub(super) severity: String,
    pub(super) text: String,
}

/// Takes looks until the result is dropped. It has the last look, or the reason why there is none.
pub(super) fn begin(client: Client) -> Looks {
    let (looks, receiver) = sync_channel(1);
    let (ended, end) = sync_channel(0);
    thread::spawn(move || take(&client, &looks, &end));
    Looks { receiver, _ended: ended }
}

/// The looks of a thread, which ends when this is dropped.
pub(super) struct Looks {
    pub(super) receiver: Receiver<Result<Look, String>>,
    _ended: SyncSender<()>,
}

fn take(client: &Client, looks: &SyncSender<Result<Look, String>>, end: &Receiver<()>) {
    while looks.send(Look::take(client)).is_ok() {
        if end.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Look {
    fn take(client: &Client) -> Result<Self, String> {
        let report = |path: &str| {
            let text = client.report(path).map_err(|error| error.to_string())?;
            serde_json::from_str::<Value>(&text).map_err(|error| format!("{path} cannot be read: {error}"))
        };
        let list = |mut report: Value, name: &str| match report.get_mut(name).map(Value::take) {
            Some(Value::Array(entries)) => entries,
            _ => Vec::new(),
        };
        let status = serde_json::from_value(report("/api/status")?);
        let history = report("/api/history")?;
        let requests = history.pointer("/process/requests").and_then(Value::as_array);
        Ok(Self {
            status: status.map_err(|error| format!("/api/status cannot be read: {error}"))?,
            routes: routes::parse(&list(report("/api/routes")?, "routes"))?,
            pools: pools::parse(&list(report("/api/pools")?, "pools"))?,
            requests: requests.into_iter().flatten().filter_map(Value::as_u64).collect(),
        })
    }
}
