//! The limits of a route on an exchange: the rate of requests, and those in progress.

use std::future::poll_fn;

use crate::http::error::Error;
use crate::net::clock;
use crate::net::timer::deadline;
use crate::observe::metrics::this_worker;
use crate::policy::{Caller, Concurrent, Permit, RateLimits};
use crate::proxy::exchange::Exchange;

/// Takes a request through the limits on its rate. A request beyond them waits for its turn, if it may.
pub(super) async fn rate(limits: &RateLimits, exchange: &mut Exchange<'_>) -> Result<(), Error> {
    let admission = match limits.has_store() {
        false => limits.request(&caller(exchange), clock::uptime()),
        // Boxed: most limits are in no store.
        true => {
            let caller = caller(exchange);
            Box::pin(limits.request_shared(&caller, clock::uptime(), &exchange.call.timer)).await
        }
    };
    let notes = exchange.log.notes_mut();
    let admission = admission.map_err(|refusal| notes.refuse(refusal))?;
    notes.response.extend(admission.fields);
    if let Some(turn) = admission.queued {
        exchange.found.stats.delayed(this_worker());
        let until = deadline(Some(turn.wait()));
        let timer = &exchange.call.timer;
        // Dropped meanwhile, because the client has left or the gateway stops, it gives its turn back.
        poll_fn(|cx| timer.poll_elapsed(cx, until)).await;
        turn.keep();
    }
    Ok(())
}

/// Takes a place for a request in progress.
pub(super) fn concurrent(limit: &Concurrent, exchange: &Exchange<'_>) -> Result<Permit, Error> {
    limit.request(&caller(exchange))
}

fn caller<'e>(exchange: &'e Exchange<'_>) -> Caller<'e> {
    let identity = exchange.log.identity().map(|identity| (&*identity.way, &*identity.subject));
    Caller { client: exchange.client_ip(), identity, headers: &exchange.request.headers }
}
