//! The life of a request, from top to bottom.

use std::ops::ControlFlow;

use http::{Method, header};

use crate::http::error::Error;
use crate::http::message::{Request, is_continue};
use crate::proxy::action::act;
use crate::proxy::client::{Client, RequestStart};
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange_log::ExchangeLog;
use crate::proxy::reply::{Answer, Call, Reply};
use crate::proxy::stages;

/// Serves a request. Every failure becomes a response, too.
pub(crate) async fn serve(client: &Client, mut request: Request, call: Call) -> Reply {
    let start = client.begin();
    let mut log = ExchangeLog::begin(client, &start, &mut request);
    match answer(client, &start, &mut request, &call, &mut log).await {
        Ok(Answer { mut response, tunnel, close }) => {
            log.answered(&mut response);
            Reply { response, log, close, unsent: None, tunnel }
        }
        Err(error) => refuse(error, log),
    }
}

/// Returns the response to a request that failed.
pub(crate) fn refuse(error: Error, mut log: ExchangeLog) -> Reply {
    let response = log.failed(error);
    let close = error.closes_connection();
    Reply { response, log, close, unsent: error.is_unsent().then_some(error), tunnel: None }
}

/// Responds to bytes that are not a request.
pub(crate) fn refuse_unreadable(client: &Client, error: Error) -> Reply {
    refuse(error, ExchangeLog::unreadable(client, &client.begin()))
}

async fn answer(
    client: &Client,
    start: &RequestStart,
    request: &mut Request,
    call: &Call,
    log: &mut ExchangeLog,
) -> Result<Answer, Error> {
    check(request)?;
    let is_extended_connect = request.protocol.is_some();
    // Apart from the request, so that the exchange can borrow its path from it.
    let target = std::mem::take(&mut request.target);
    let mut exchange = Exchange::begin(client, start, call, &target, request, log)?;
    let outcome = match stages::request(&mut exchange).await {
        ControlFlow::Continue(()) => act(&mut exchange).await,
        ControlFlow::Break(outcome) => outcome,
    };
    let answer = stages::response(&mut exchange, outcome).await?;
    if is_extended_connect && answer.response.status.is_success() {
        // The client would take it for the opening of a tunnel, and there is none.
        return Err(Error::RequestProtocol);
    }
    Ok(answer)
}

/// Rejects what no route could handle.
fn check(request: &Request) -> Result<(), Error> {
    if request.method == Method::CONNECT {
        return Err(Error::RequestMethod);
    }
    if request.target.path() == "*" && request.method == Method::OPTIONS {
        // `OPTIONS *` is about the server as a whole, which has nothing to report (RFC 9110 §7.1).
        return Err(Error::NoRoute);
    }
    let expect = request.headers.get(header::EXPECT);
    if expect.is_some_and(|expect| !is_continue(expect.as_bytes())) {
        return Err(Error::RequestExpectation);
    }
    Ok(())
}
