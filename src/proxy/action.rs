//! The action of a route: respond, redirect, or forward to an upstream.

use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::forward::ClientOrigin;
use crate::net::timer::deadline;
use crate::policy::{Redirect, Respond};
use crate::proxy::affinity;
use crate::proxy::delay;
use crate::proxy::exchange::Exchange;
use crate::proxy::filters::unless_decided;
use crate::proxy::forward::forward_request;
use crate::proxy::reply::Answer;
use crate::snapshot::Action;

/// Performs the action of the exchange's route, until a filter decides otherwise.
pub(super) async fn act(exchange: &mut Exchange<'_>) -> Result<Answer, Error> {
    match exchange.log.filters().filter(|session| session.may_decide_later()) {
        Some(session) => unless_decided(&session, Box::pin(perform(exchange))).await,
        None => perform(exchange).await,
    }
}

async fn perform(exchange: &mut Exchange<'_>) -> Result<Answer, Error> {
    let upstream = match &exchange.route.action {
        Action::Respond(action) => return respond(action, exchange).await,
        Action::Redirect(action) => return redirect(action, exchange),
        Action::Upstream(upstream) => upstream,
        Action::Split(split) => affinity::choose(split, exchange).ok_or(Error::Internal)?,
    };
    forward_request(upstream, exchange).await
}

async fn respond(action: &Respond, exchange: &mut Exchange<'_>) -> Result<Answer, Error> {
    if let Some(delay) = action.delay() {
        let until = deadline(Some(delay));
        let body = std::mem::replace(&mut exchange.request.body, Body::Empty);
        delay::pass(until, body, &exchange.call.timer).await?;
    }
    Ok(action.response().map(Body::full).into())
}

fn redirect(action: &Redirect, exchange: &Exchange<'_>) -> Result<Answer, Error> {
    let scheme = || exchange.settings().forwarding.client_scheme(&exchange.request.headers);
    let client = || ClientOrigin::new(scheme(), exchange.authority());
    let response = action.response(exchange, &exchange.path, exchange.query(), client)?;
    Ok(response.map(Body::full).into())
}
