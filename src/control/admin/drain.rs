//! `/api/drain`: has `/ready` answer 503, so that a load balancer sends its requests elsewhere, and takes that back.

use http::StatusCode;

use super::AdminState;
use super::answer::{Answer, JSON};
use super::problem::Problem;

/// Returns the response to `POST /api/drain`.
pub(super) fn begin(state: &AdminState) -> Answer {
    let was_ready = state.readiness.as_word().0;
    state.readiness.hold();
    if was_ready {
        tracing::info!("/ready answers 503 from now on, at an operator's wish; requests are still accepted");
    }
    shown(state)
}

/// Returns the response to `DELETE /api/drain`.
pub(super) fn end(state: &AdminState) -> Result<Answer, Box<Problem>> {
    let was_ready = state.readiness.as_word().0;
    if !state.readiness.release() {
        let detail = "The gateway is starting or stopping, which only its end undoes.";
        return Err(Problem::new("stopping", StatusCode::CONFLICT, detail).into());
    }
    if !was_ready {
        tracing::info!("/ready answers 200 again, at an operator's wish");
    }
    Ok(shown(state))
}

fn shown(state: &AdminState) -> Answer {
    let report = state.reports.report(super::Report::Drain, "", super::Form::Indented);
    Answer::ok(JSON, report.unwrap_or_default())
}
