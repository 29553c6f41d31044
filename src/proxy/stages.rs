//! The effect of each stage on an exchange. The orders of the stages are in [`crate::snapshot::stage`].

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::http::body::Body;
use crate::http::error::Error;
use crate::policy::auth::{Auth, Credentials, Denial, RequestContext, WayResponse};
use crate::policy::preflight_response;
use crate::proxy::exchange::Exchange;
use crate::proxy::filters;
use crate::proxy::limits;
use crate::proxy::reply::Answer;
use crate::proxy::request_values;
use crate::snapshot::stage::Stage;

/// Takes a request through the stages before its action. Breaks off with the outcome if one of them takes the action's place.
pub(super) async fn request(exchange: &mut Exchange<'_>) -> ControlFlow<Result<Answer, Error>> {
    if !exchange.found.stages.admission.is_empty() {
        // Boxed, so that a request of a route without policies holds no room for theirs.
        Box::pin(admit(exchange)).await?;
    }
    if let Err(error) = exchange.limit_body() {
        return ControlFlow::Break(Err(error));
    }
    for stage in &exchange.found.stages.entry {
        stage.request(exchange).await?;
    }
    ControlFlow::Continue(())
}

async fn admit(exchange: &mut Exchange<'_>) -> ControlFlow<Result<Answer, Error>> {
    for stage in &exchange.found.stages.admission {
        stage.admit(exchange).await?;
    }
    ControlFlow::Continue(())
}

/// Takes the outcome of an action through the stages of the response: those of the route that acted, if a filter chose it,
/// then those of the route that was found.
pub(super) async fn response(
    exchange: &mut Exchange<'_>,
    mut outcome: Result<Answer, Error>,
) -> Result<Answer, Error> {
    request_values::resolve_edits(exchange);
    let (found, route) = (exchange.found, exchange.route);
    let chosen: &[Arc<Stage>] = if exchange.is_rerouted() { &route.stages.response } else { &[] };
    // Its filters are among those of the route that was found, which also decides about gRPC-Web.
    let chosen = chosen.iter().filter(|stage| !stage.is_filters() && !stage.is_grpc_web());
    for stage in chosen.chain(&found.stages.response) {
        outcome = stage.response(exchange, outcome).await;
    }
    outcome
}

/// Finds out who calls, and refuses a caller whom the route does not admit.
async fn authenticate(auth: &Auth, exchange: &mut Exchange<'_>) -> ControlFlow<Result<Answer, Error>> {
    exchange.log.begin_wait("auth");
    let known = {
        let Exchange { client, start, request, target, path, .. } = exchange;
        let certificate = client.certificate();
        let context = RequestContext {
            method: &request.method,
            path,
            forwarding: &start.settings.forwarding,
            trusted_proxies: &start.snapshot.trusted_proxies,
            is_traced: start.snapshot.telemetry.traces.is_some(),
        };
        let headers = &mut request.headers;
        let mut credentials = Credentials { headers, target, certificate, context };
        auth.request(&mut credentials).await
    };
    exchange.log.end_wait();
    let notes = exchange.log.notes_mut();
    match known {
        Ok(admitted) => {
            notes.identities = admitted.identities;
            notes.response.extend(admitted.response);
            ControlFlow::Continue(())
        }
        Err(Denial::Refused(refusal)) => ControlFlow::Break(Err(notes.refuse(refusal))),
        Err(Denial::Response(own)) if exchange.log.has_call() => {
            ControlFlow::Break(Err(Denial::error_for_call(&own)))
        }
        Err(Denial::Response(own)) => {
            let WayResponse { response, reason } = *own;
            exchange.log.reported(reason.map(Error::Forbidden));
            ControlFlow::Break(Ok(response.map(Body::full).into()))
        }
    }
}

impl Stage {
    /// Takes a request through a stage of the admission.
    async fn admit(&self, exchange: &mut Exchange<'_>) -> ControlFlow<Result<Answer, Error>> {
        match self {
            Self::RequestId(policy) => {
                let is_trusted = exchange.settings().forwarding.is_trusted();
                let id = policy.request(&mut exchange.request.headers, is_trusted);
                exchange.log.notes_mut().request_id = Some(id);
                ControlFlow::Continue(())
            }
            Self::Addresses(addresses) => match addresses.request(exchange.client_ip()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            },
            Self::Cors(cors) => {
                let sharing = cors.request(&exchange.request.method, &exchange.request.headers);
                let is_preflight = sharing.is_preflight();
                exchange.log.notes_mut().sharing = Some(sharing);
                match is_preflight {
                    true => ControlFlow::Break(Ok(preflight_response().map(Body::full).into())),
                    false => ControlFlow::Continue(()),
                }
            }
            // Boxed, so that a route with limits alone holds no room for it.
            Self::Auth(auth) => Box::pin(authenticate(auth, exchange)).await,
            Self::RateLimits(limits) => {
                exchange.log.begin_wait("rate_limit");
                let admitted = limits::rate(limits, exchange).await;
                exchange.log.end_wait();
                match admitted {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => ControlFlow::Break(Err(error)),
                }
            }
            Self::Concurrent(limit) => match limits::concurrent(limit, exchange) {
                Ok(permit) => {
                    exchange.log.notes_mut().permit = Some(permit);
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(Err(error)),
            },
            #[cfg(test)]
            Self::Probe(probe) => match probe.request(&exchange.request.headers) {
                None => ControlFlow::Continue(()),
                Some(response) => ControlFlow::Break(Ok(response.map(Body::full).into())),
            },
            Self::Filters(_) | Self::GrpcWeb(_) | Self::Headers(_) => ControlFlow::Continue(()),
        }
    }

    /// Takes an admitted request through a stage of the entry.
    async fn request(&self, exchange: &mut Exchange<'_>) -> ControlFlow<Result<Answer, Error>> {
        match self {
            Self::Filters(chain) => match filters::request(chain, exchange).await {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            },
            Self::GrpcWeb(grpc_web) => {
                if let Some(web) = exchange.log.translated() {
                    grpc_web.request(web, &mut exchange.request.headers, &mut exchange.request.body);
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    /// Takes the outcome through the stage. An error becomes the client's response behind the last stage, so that stages see
    /// only those errors that filters have seen as responses before them.
    async fn response(
        &self,
        exchange: &mut Exchange<'_>,
        mut outcome: Result<Answer, Error>,
    ) -> Result<Answer, Error> {
        if self.is_filters() {
            return filters::response(exchange, outcome).await;
        }
        if let (Self::GrpcWeb(grpc_web), Ok(answer), Some(web)) =
            (self, &mut outcome, exchange.log.translated())
        {
            exchange.log.observe(&mut answer.response);
            grpc_web.response(web, &mut answer.response);
        }
        if let Ok(answer) = &mut outcome {
            self.edit_response(exchange.log.edits(), &mut answer.response.headers);
        }
        outcome
    }
}
