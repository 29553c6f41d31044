//! `POST /api/reload`: reads the configuration again and reports the outcome.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::{Answer, JSON};
use super::problem::Problem;

/// The time that a client waits at most. A reload takes less than a second, except when DNS is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The queue of reload requests. It is bounded, since each reload takes time.
pub(crate) type ReloadRequests = mpsc::Sender<ReloadRequest>;

/// A request to reload: the channel for its outcome.
pub(crate) type ReloadRequest = oneshot::Sender<ReloadOutcome>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReloadOutcome {
    /// The files on disk are active now. Contains the changes as JSON.
    Live(serde_json::Value),
    /// The files have errors, and nothing changed.
    Refused {
        /// The errors as JSON.
        errors: serde_json::Value,
        /// The errors as `gateway check` prints them.
        text: String,
    },
}

/// Returns the response to `POST /api/reload`.
pub(super) async fn answer(requests: &ReloadRequests) -> Result<Answer, Box<Problem>> {
    let problem = |kind, status, detail: &str| Box::new(Problem::new(kind, status, detail));
    let (request, outcome) = oneshot::channel();
    if requests.try_send(request).is_err() {
        let detail = "Too many reloads are waiting, or the gateway is stopping.";
        return Err(problem("busy", StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    match timeout(PATIENCE, outcome).await {
        Ok(Ok(ReloadOutcome::Live(report))) => Ok(Answer::ok(JSON, format!("{report:#}\n"))),
        Ok(Ok(ReloadOutcome::Refused { errors, text })) => {
            let detail = "The files have errors, and nothing changed.";
            let problem = Problem::new("refused", StatusCode::UNPROCESSABLE_ENTITY, detail);
            Err(problem.with("errors", errors).with("error_text", text).into())
        }
        Ok(Err(_)) => Err(problem("stopping", StatusCode::SERVICE_UNAVAILABLE, "The gateway is stopping.")),
        Err(_) => {
            let detail = "The reload is taking long; GET /api/reload will show its outcome.";
            Err(problem("timeout", StatusCode::GATEWAY_TIMEOUT, detail))
        }
    }
}
