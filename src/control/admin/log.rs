//! `/api/log`: shows and sets the level of the program's own messages while it runs.

use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use http_body::Body;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use super::answer::{Answer, JSON};
use super::problem::Problem;
use crate::observe::log_filter;

/// The largest body that is read, in bytes.
const BYTES_MAX: usize = 4096;

/// The time in which the body must arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// The filter of the log.
#[derive(Debug, Clone, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogFilter {
    /// A level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or levels by module as in `RUST_LOG`:
    /// `warn,gateway::upstream=debug`.
    pub(crate) level: String,
}

/// Returns the response to `GET /api/log`.
pub(super) fn show() -> Answer {
    Answer::ok(JSON, format!("{:#}\n", json!(LogFilter { level: log_filter::current() })))
}

/// Returns the response to `PUT /api/log`.
pub(super) async fn set<B>(body: B) -> Result<Answer, Box<Problem>>
where
    B: Body<Data: AsRef<[u8]>> + Unpin,
{
    let problem = |status, detail: String| Box::new(Problem::new("log", status, detail));
    let body = timeout(PATIENCE, read(body)).await.ok().flatten();
    let body = body.ok_or_else(|| {
        problem(StatusCode::BAD_REQUEST, "The body did not arrive whole, or is too large.".into())
    })?;
    let LogFilter { level } = serde_json::from_slice(&body).map_err(|error| {
        problem(StatusCode::BAD_REQUEST, format!("Send {{\"level\": \"debug\"}}: {error}."))
    })?;
    let before = log_filter::current();
    log_filter::set(&level).map_err(|error| problem(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    let now = log_filter::current();
    if now != before {
        // It is a warning so that it is seen at most levels.
        tracing::warn!(before, now, "the level of the log was changed through the admin listener");
    }
    Ok(show())
}

/// Returns a body, or `None` if it breaks off or is too large.
async fn read<B>(mut body: B) -> Option<Vec<u8>>
where
    B: Body<Data: AsRef<[u8]>> + Unpin,
{
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        bytes.extend_from_slice(data.as_ref());
        if bytes.len() > BYTES_MAX {
            return None;
        }
    }
    Some(bytes)
}
