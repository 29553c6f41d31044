//! The stage of a route's filters.

use std::pin::Pin;
use std::task::Poll;

use http::HeaderValue;

use crate::filter::{Chain, RequestHead, Session};
use crate::http::body::Body;
use crate::http::error::Error;
use crate::http::trace;
use crate::net::timer::Timer;
use crate::proxy::exchange::Exchange;
use crate::proxy::reply::Answer;

/// Takes a request through the filters of its route.
///
/// # Errors
/// Fails if a filter ends the exchange, be it by a response of its own, and if the request is not acceptable afterwards.
pub(super) async fn request(chain: &Chain, exchange: &mut Exchange<'_>) -> Result<(), Error> {
    let Exchange { request, found, .. } = exchange;
    let (method, version, began) = (request.method.clone(), request.version, exchange.log.began());
    let mut info = exchange.client.request_info(method, version, &exchange.start.settings, found, began);
    (info.identity, info.request_id) = (exchange.log.identity().cloned(), exchange.log.request_id().cloned());
    if exchange.start.snapshot.telemetry.traces.is_some() {
        info.trace = Some(Box::new(trace::fields(&exchange.request.headers)));
    }
    let session = Session::new(info, head(chain, exchange));
    if exchange.log.is_recorded() {
        session.record_work();
    }
    exchange.log.filtered(&session);
    session.begin(chain)?;
    if !chain.sees_requests() {
        return Ok(());
    }
    let body = std::mem::replace(&mut exchange.request.body, Body::Empty);
    let (head, body) = session.request(body, &exchange.call.timer).await?;
    exchange.request.body = body;
    exchange.take_filtered(head, session.exchange.is_route_cleared())
}

/// Returns the head for the filters. The exchange keeps its own if they do not read it.
fn head(chain: &Chain, exchange: &mut Exchange<'_>) -> RequestHead {
    let (method, scheme) = (exchange.request.method.clone(), exchange.client.scheme());
    if !chain.sees_requests() {
        return RequestHead::unseen(method, scheme);
    }
    let authority = HeaderValue::from_str(exchange.authority());
    let authority = authority.unwrap_or(const { HeaderValue::from_static("") });
    let headers = std::mem::take(&mut exchange.request.headers);
    RequestHead::new(method, exchange.target.clone().into_owned(), authority, scheme, headers)
}

/// Takes a response through the filters that the request has passed. The gateway's own errors pass them as any response does,
/// and so do local responses.
pub(super) async fn response(
    exchange: &mut Exchange<'_>,
    outcome: Result<Answer, Error>,
) -> Result<Answer, Error> {
    let Some(session) = exchange.log.filters() else { return outcome };
    let timer = &exchange.call.timer;
    let answer = match outcome {
        Ok(answer) => answer,
        Err(error) => match local_response(&session, timer, error).await {
            Err(error) if is_final(error) || !session.awaits_response() => return Err(error),
            Err(error) => {
                let response = exchange.log.failed_before_filters(error);
                Answer { response, tunnel: None, close: error.closes_connection() }
            }
            Ok(answer) => return Ok(answer),
        },
    };
    let Answer { response, tunnel, close } = answer;
    match session.response(response, timer).await {
        Ok(response) => Ok(Answer { response, tunnel, close }),
        Err(error) => local_response(&session, timer, error).await,
    }
}

/// Ends the exchange with a filter's own response, or with the error.
async fn local_response(session: &Session, timer: &Timer, error: Error) -> Result<Answer, Error> {
    // Boxed, because it is large and most exchanges never get here.
    match Box::pin(session.local_response(timer)).await {
        Some(response) => Ok(response?.into()),
        // The filter has closed the exchange without a response.
        None if error == Error::FilterAnswered => Err(Error::FilterClosed),
        None => Err(error),
    }
}

/// Runs an action until a filter, whose own call completes meanwhile, decides otherwise.
pub(super) async fn unless_decided(
    session: &Session,
    mut action: Pin<Box<impl Future<Output = Result<Answer, Error>>>>,
) -> Result<Answer, Error> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(error) = session.poll_decided(cx) {
            return Poll::Ready(Err(error));
        }
        action.as_mut().poll(cx)
    })
    .await
}

/// Returns true if no filter sees a response for this error: the client has left, or a filter has ended the exchange.
fn is_final(error: Error) -> bool {
    matches!(error, Error::Filter(_) | Error::FilterClosed | Error::ClientClosed | Error::ShuttingDown)
}
