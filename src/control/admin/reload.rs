//! `POST /reload`: reads the configuration again and reports the outcome.

use std::time::Duration;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::Answer;

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
    /// The files have errors, and nothing changed. Contains the errors as `gateway check` prints them.
    Refused(String),
}

/// Returns the response to `POST /reload`.
pub(super) async fn answer(requests: &ReloadRequests, headers: &HeaderMap) -> Answer {
    if !is_same_origin(headers) {
        return Answer::text(StatusCode::FORBIDDEN, "A page of another site must not request a reload.\n");
    }
    let (request, outcome) = oneshot::channel();
    if requests.try_send(request).is_err() {
        return Answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many reloads are waiting, or the gateway is stopping.\n",
        );
    }
    match timeout(PATIENCE, outcome).await {
        Ok(Ok(ReloadOutcome::Live(report))) => Answer::json(&report),
        Ok(Ok(ReloadOutcome::Refused(errors))) => Answer::text(StatusCode::UNPROCESSABLE_ENTITY, errors),
        Ok(Err(_)) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "The gateway is stopping.\n"),
        Err(_) => Answer::text(
            StatusCode::GATEWAY_TIMEOUT,
            "The reload is taking long; GET /reload will show its outcome.\n",
        ),
    }
}

/// Returns true unless a page of another site sent the request. A browser names the site whose page sends a POST
/// (RFC 6454 §7); other clients name none.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| headers.get(HOST).is_some_and(|host| host == authority))
}
