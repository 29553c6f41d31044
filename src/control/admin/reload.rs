//! `POST /reload`: has the configuration read again, and tells what came of it.

use std::time::Duration;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::Answer;

/// How long a client is kept waiting. A reload takes less than a second, but for names that DNS is slow to tell.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where reloads are asked for; bounded, since each takes its time.
pub(crate) type ReloadRequests = mpsc::Sender<ReloadRequest>;

/// The wish for a reload: where its outcome is to go.
pub(crate) type ReloadRequest = oneshot::Sender<ReloadOutcome>;

/// What came of a reload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReloadOutcome {
    /// The files on disk serve now. What that changed, as JSON.
    Live(serde_json::Value),
    /// They have errors, and changed nothing. The errors as `gateway check` prints them.
    Refused(String),
}

/// The answer to `POST /reload`.
pub(super) async fn answer(requests: &ReloadRequests, headers: &HeaderMap) -> Answer {
    if !is_same_origin(headers) {
        return Answer::text(StatusCode::FORBIDDEN, "Another site's page may not ask for this.\n");
    }
    let (request, outcome) = oneshot::channel();
    if requests.try_send(request).is_err() {
        return Answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many reloads are waiting, or the gateway stops.\n",
        );
    }
    match timeout(PATIENCE, outcome).await {
        Ok(Ok(ReloadOutcome::Live(report))) => Answer::json(&report),
        Ok(Ok(ReloadOutcome::Refused(errors))) => Answer::text(StatusCode::UNPROCESSABLE_ENTITY, errors),
        Ok(Err(_)) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, "The gateway stops.\n"),
        Err(_) => Answer::text(
            StatusCode::GATEWAY_TIMEOUT,
            "The reload takes long; GET /reload will tell what came of it.\n",
        ),
    }
}

/// A browser names the site whose page sends a POST (RFC 6454 §7); other clients name none.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| headers.get(HOST).is_some_and(|host| host == authority))
}
