//! The effect of each stage on an exchange. The orders of the stages are in [`crate::snapshot::stage`].

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::http::error::Error;
use crate::proxy::exchange::Exchange;
use crate::proxy::filters;
use crate::proxy::reply::Answer;
use crate::snapshot::stage::Stage;

/// Takes a request through the stages before its action. Breaks off with the outcome if one of them takes the action's place.
pub(super) async fn request(exchange: &mut Exchange<'_>) -> ControlFlow<Result<Answer, Error>> {
    for stage in &exchange.found.stages.entry {
        stage.request(exchange).await?;
    }
    ControlFlow::Continue(())
}

/// Takes the outcome of an action through the stages of the response: those of the route that acted, if a filter chose it,
/// then those of the route that was found.
pub(super) async fn response(
    exchange: &mut Exchange<'_>,
    mut outcome: Result<Answer, Error>,
) -> Result<Answer, Error> {
    let (found, route) = (exchange.found, exchange.route);
    let chosen: &[Arc<Stage>] = if exchange.is_rerouted() { &route.stages.response } else { &[] };
    // Its filters are among those of the route that was found, which also decides about gRPC-Web.
    let chosen = chosen.iter().filter(|stage| !stage.is_filters() && !stage.is_grpc_web());
    for stage in chosen.chain(&found.stages.response) {
        outcome = stage.response(exchange, outcome).await;
    }
    outcome
}

impl Stage {
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
            Self::Headers(_) => ControlFlow::Continue(()),
            #[cfg(test)]
            Self::Probe(probe) => match probe.request(&exchange.request.headers) {
                None => ControlFlow::Continue(()),
                Some(response) => ControlFlow::Break(Ok(response.map(crate::http::body::Body::full).into())),
            },
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
            self.edit_response(&mut answer.response.headers);
        }
        outcome
    }
}
